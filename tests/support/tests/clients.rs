//! The kit against Debian's own programs: what it makes must be what dpkg, apt, gpg and nginx accept.

use std::fs;
use std::path::Path;

use mirrorctl_testkit::{
    AptRoot, Archive, ArchiveBuilder, Deb, DpkgArchive, GpgHome, Nginx, Package, Policy, Program, RepreproArchive,
    Scratch, Signing, SuiteSpec, Upstream, Variant, fetch, is_root, now,
};

fn hello(version: &str) -> Deb {
    Deb::new("hello", version, "amd64")
        .depends("libhello (>= 1)")
        .file("usr/share/hello/version", version)
}

fn suite() -> SuiteSpec {
    SuiteSpec::new("bookworm")
        .components(&["main", "contrib"])
        .package("main", hello("1:1.0-1"))
        .package(
            "main",
            Deb::new("libhello", "1", "all").file("usr/share/libhello/data", vec![0; 100_000]),
        )
        .package("contrib", Deb::new("extra", "1", "amd64"))
}

fn make(scratch: &Scratch, suite: SuiteSpec) -> Archive {
    ArchiveBuilder::new()
        .suite(suite)
        .create(&scratch.path().join("archive"), now())
        .expect("an archive")
}

/// An apt that uses the archive at `url`.
fn apt_of(archive: &Archive, url: &str) -> AptRoot {
    let apt = AptRoot::new();
    let key = apt.path().join("key.gpg");
    fs::write(&key, archive.key().public_binary().expect("a key")).expect("own directory");
    apt.source(url, "bookworm", &["main", "contrib"], &key);
    apt
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn dpkg_accepts_our_packages() {
    let scratch = Scratch::new();
    let deb = scratch.file("hello.deb", hello("1:1.0-1").to_bytes().expect("builds"));
    let dpkg_deb = |option: &str| Program::new("dpkg-deb", "dpkg").arg(option).arg(&deb).run().success();
    dpkg_deb("--info")
        .stdout_has("Version: 1:1.0-1\n")
        .stdout_has("Depends: libhello (>= 1)\n")
        .stderr_lacks("warning");
    dpkg_deb("--contents")
        .stdout_has("-rw-r--r-- root/root")
        .stdout_has("./usr/share/hello/version");
    let tree = scratch.directory("tree");
    Program::new("dpkg-deb", "dpkg")
        .arg("--extract")
        .arg(&deb)
        .arg(&tree)
        .run()
        .success()
        .stderr_lacks("implausibly");
    assert_eq!(read(tree.join("usr/share/hello/version")), "1:1.0-1");
}

#[test]
fn apt_installs_and_upgrades_from_our_archive() {
    assert!(is_root(), "dpkg installs for root only");
    let scratch = Scratch::new();
    let mut archive = make(&scratch, suite().valid_for(86_400));
    let upstream = Upstream::serve(archive.root());
    let apt = apt_of(&archive, &upstream.url());
    apt.update().success();
    assert!(
        upstream.hits("dists/bookworm/main/binary-amd64/by-hash/SHA512/*") > 0,
        "by-hash is used"
    );
    apt.install(&["hello"]).success();
    assert_eq!(apt.installed("hello").as_deref(), Some("1:1.0-1"));
    assert_eq!(apt.installed("libhello").as_deref(), Some("1"));
    assert_eq!(read(apt.path().join("usr/share/hello/version")), "1:1.0-1");

    archive.add("bookworm", "main", &hello("1:2.0-1")).expect("a package");
    archive.publish(now().plus(1)).expect("publishes");
    apt.update().success();
    let offered = Policy {
        installed: Some("1:1.0-1".to_owned()),
        candidate: Some("1:2.0-1".to_owned()),
        versions: vec!["1:2.0-1".to_owned(), "1:1.0-1".to_owned()],
    };
    assert_eq!(apt.policy("hello"), offered);
    apt.upgrade().success();
    assert_eq!(read(apt.path().join("usr/share/hello/version")), "1:2.0-1");
}

#[test]
fn apt_takes_every_form_of_our_archive() {
    let forms = [
        suite().signing(Signing::InRelease),
        suite().signing(Signing::Detached),
        suite().by_hash(false),
        suite().served(&[Variant::Xz]),
        suite().served(&[Variant::Plain]).listed(&[Variant::Plain]),
        suite().architectures(&["amd64", "arm64", "all"]),
    ];
    for form in forms {
        let scratch = Scratch::new();
        let archive = make(&scratch, form.clone());
        let upstream = Upstream::serve(archive.root());
        let apt = apt_of(&archive, &upstream.url());
        apt.update().success();
        apt.download(&["hello"]).success();
        assert_eq!(apt.downloaded().len(), 2, "{form:?}");
        apt.forget();
        assert_eq!(apt.downloaded().len(), 0);
    }
}

#[test]
fn apt_refuses_what_it_should() {
    for (form, complaint) in [
        (suite().signing(Signing::Unsigned), "is not signed"),
        (suite().valid_for(-60), "is expired"),
    ] {
        let scratch = Scratch::new();
        let archive = make(&scratch, form);
        let upstream = Upstream::serve(archive.root());
        apt_of(&archive, &upstream.url())
            .update()
            .code(100)
            .stderr_has(complaint);
    }
}

#[test]
fn apt_trusts_gnupg_signatures_except_bad_ones() {
    let scratch = Scratch::new();
    let archive = make(&scratch, suite());
    let directory = archive.root().join("dists/bookworm");
    let upstream = Upstream::serve(archive.root());
    let home = GpgHome::new();
    let update_with = |key| {
        let apt = AptRoot::new();
        let file = apt.path().join("key.gpg");
        home.export(key, &file);
        apt.source(&upstream.url(), "bookworm", &["main"], &file);
        apt.update()
    };
    let key = home.key("Good <good@example.org>");
    home.sign_release(&key, &directory);
    update_with(&key).success();
    assert!(
        home.public_armored(&key)
            .starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    );
    home.revoke(&key);
    update_with(&key).code(100).stderr_has("REVKEYSIG");
    let key = home.expired_key("Old <old@example.org>");
    home.sign_release(&key, &directory);
    update_with(&key).code(100).stderr_has("EXPKEYSIG");
}

#[test]
fn nginx_serves_a_private_directory_to_apt() {
    let scratch = Scratch::new();
    let archive = make(&scratch, suite());
    let nginx = Nginx::serve(archive.root());
    let release = fetch(&format!("{}/dists/bookworm/Release", nginx.url())).expect("an answer");
    assert_eq!(
        (release.status, release.text()),
        (200, read(archive.root().join("dists/bookworm/Release")))
    );
    assert_eq!(
        fetch(&format!("{}/missing", nginx.url())).expect("an answer").status,
        404
    );
    let apt = apt_of(&archive, &nginx.url());
    apt.update().success();
    apt.download(&["hello"]).success();
    assert!(
        nginx
            .access_log()
            .contains("200 GET /pool/main/h/hello/hello_1.0-1_amd64.deb\n"),
        "{}",
        nginx.access_log()
    );
}

#[test]
fn an_archive_of_debians_tools_changes() {
    let mut archive = DpkgArchive::new("stable", &["amd64"]);
    let package = |version: &str| Package::new("hello", version, "amd64").file("usr/share/hello/version", version);
    archive.add(&package("1"));
    archive.add(&Package::new("other", "1", "all").depends("hello"));
    archive.publish();
    let upstream = Upstream::serve(&archive.root());
    let apt = AptRoot::new();
    apt.source(&upstream.url(), "stable", &["main"], &archive.key_file());
    apt.update().success();
    apt.download(&["other"]).success();
    for (version, signing) in [("2", Signing::InRelease), ("3", Signing::Detached)] {
        archive.add(&package(version));
        archive.set_signing(signing);
        archive.publish();
        // Without its lists, apt does not depend on the clock's having moved on since the last Release.
        apt.forget();
        apt.update().success();
        assert_eq!(apt.policy("hello").candidate.as_deref(), Some(version));
    }
    archive.remove("other");
    archive.publish();
    apt.forget();
    apt.update().success();
    assert_eq!(apt.policy("other").candidate, None);
    let (home, key) = archive.signer();
    assert!(!home.public_armored(key).is_empty());
}

#[test]
fn an_archive_of_reprepro_changes() {
    let archive = RepreproArchive::new("stable", &["main", "contrib"], &["amd64", "arm64"]);
    let package = |version: &str| Package::new("hello", version, "amd64").file("usr/share/hello/version", version);
    archive.add("main", &package("1"));
    archive.add("contrib", &Package::new("other", "1", "amd64"));
    let upstream = Upstream::serve(&archive.root());
    let apt = AptRoot::new();
    apt.source(&upstream.url(), "stable", &["main", "contrib"], &archive.key_file());
    apt.update().success();
    apt.download(&["hello", "other"]).success();
    archive.add("main", &package("2"));
    archive.remove("other");
    apt.forget();
    apt.update().success();
    assert_eq!(apt.policy("hello").candidate.as_deref(), Some("2"));
    assert_eq!(apt.policy("other").candidate, None);
}

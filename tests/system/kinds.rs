//! apt and every kind of archive and index, through the mount.
//!
//! Owns the proof that what is mirrored beside Packages is of use to its clients: apt reads it, where and how it looks
//! for it. What comes from where is tested without a mount.

use std::fs;
use std::path::{Path, PathBuf};

use mirrorctl::model::HashType;
use mirrorctl_testkit::{
    AptRoot, ArchiveBuilder, Config, Deb, Fault, FlatArchive, Mirror, MountGuard, Nginx, Package, RepreproArchive,
    SuiteSpec, TestEnv, Upstream, Variant, now,
};

const SUITE: &str = "stable";

/// An installation with one mirror, `site`, whose snapshots go to production, mounted, with nginx before it.
struct Site {
    env: TestEnv,
    nginx: Nginx,
    key: PathBuf,
    upstream: Upstream,
    _mount: MountGuard,
}

impl Site {
    /// A site of the archive at `root`, synced once.
    fn new(root: &Path, key: &[u8], change: impl FnOnce(Mirror) -> Mirror) -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let upstream = Upstream::serve(root);
        // apt goes by the name.
        let name = if key.starts_with(b"-----BEGIN") {
            "archive.asc"
        } else {
            "archive.gpg"
        };
        let key = env.key(name, key);
        let mirror = mirror(&upstream, &key);
        env.configure(Config::new().mirror(change(mirror)));
        let mount = MountGuard::mount(&env);
        let site = Self {
            nginx: Nginx::serve(&env.mount_dir()),
            env,
            key,
            upstream,
            _mount: mount,
        };
        site.sync();
        site
    }

    /// A configuration of the mirror, changed by `change`.
    fn mirrored(&self, change: impl FnOnce(Mirror) -> Mirror) -> Config {
        Config::new().mirror(change(mirror(&self.upstream, &self.key)))
    }

    fn sync(&self) {
        self.env.mirrorctl(&["sync"]).success();
    }

    /// A line of `sources.list`, of type `deb` or `deb-src`.
    fn line(&self, kind: &str, suite: &str, components: &[&str]) -> String {
        let line = AptRoot::source_line(
            &format!("{}/site/current", self.nginx.url()),
            suite,
            components,
            &self.key,
        );
        line.replacen("deb", kind, 1)
    }
}

/// A new machine whose apt uses these lines.
fn client(lines: &[String]) -> AptRoot {
    let apt = AptRoot::new();
    apt.sources(lines);
    apt
}

fn mirror(upstream: &Upstream, key: &Path) -> Mirror {
    let mirror = Mirror::new("site", &upstream.url()).suites(&[SUITE]);
    mirror.key(key).publish_to_production(true)
}

fn flat(mirror: Mirror, suite: &str) -> Mirror {
    mirror.suites(&[suite]).without("sections").without("architectures")
}

/// Names in apt's directory of lists, without what tells the source.
fn lists(apt: &AptRoot) -> Vec<String> {
    let lists = fs::read_dir(apt.path().join("var/lib/apt/lists")).expect("own directory");
    let names = lists.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names
        .filter_map(|name| Some(name.split_once("_dists_stable_")?.1.to_owned()))
        .collect();
    names.sort();
    names
}

/// What software centres, `command-not-found` and `apt-file` tell apt to fetch.
const TARGETS: &str = r#"
Acquire::IndexTargets::deb::DEP-11 {
  MetaKey "$(COMPONENT)/dep11/Components-$(NATIVE_ARCHITECTURE).yml";
  ShortDescription "Components-$(NATIVE_ARCHITECTURE)"; Description "$(RELEASE)/$(COMPONENT) DEP-11";
};
Acquire::IndexTargets::deb::CNF {
  MetaKey "$(COMPONENT)/cnf/Commands-$(NATIVE_ARCHITECTURE)";
  ShortDescription "Commands-$(NATIVE_ARCHITECTURE)"; Description "$(RELEASE)/$(COMPONENT) Commands";
};
Acquire::IndexTargets::deb::Contents-deb {
  MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)";
  ShortDescription "Contents-$(ARCHITECTURE)"; Description "$(RELEASE)/$(COMPONENT) Contents";
};
Acquire::Languages { "en"; "de"; };
"#;

fn translation(language: &str) -> String {
    format!("Package: hello\nDescription-md5: 00000000000000000000000000000000\nDescription-{language}: hello\n")
}

#[test]
fn apt_reads_every_index_and_falls_back_from_differences_that_are_not_mirrored() {
    let root = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let made = now().plus(-36_000);
    let suite = SuiteSpec::new(SUITE)
        .package("main", Deb::new("hello", "1", "amd64"))
        .index("main/i18n/Translation-en", translation("en"))
        .index("main/i18n/Translation-de", translation("de"))
        .index("main/dep11/Components-amd64.yml", "File: DEP-11\n")
        .index("main/cnf/Commands-amd64", "suite: stable\n")
        .index("main/Contents-amd64", "usr/bin/hello misc/hello\n")
        .file("main/binary-amd64/Packages.diff/Index", "SHA256-Current: 0 0\n");
    let mut archive = ArchiveBuilder::new()
        .suite(suite)
        .create(&root.root().join("archive"), made)
        .expect("an archive");
    let key = archive.key().public_armored().expect("a key");
    let all = |mirror: Mirror| mirror.set("content.contents", "true");
    let site = Site::new(archive.root(), &key, all);
    let apt = client(&[site.line("deb", SUITE, &["main"])]);
    let parts = apt.path().join("etc/apt/apt.conf.d");
    fs::create_dir_all(&parts).expect("own directory");
    fs::write(parts.join("50targets"), TARGETS).expect("own directory");
    apt.update().success();
    let expected = [
        "InRelease",
        "main_Contents-amd64",
        "main_binary-amd64_Packages",
        "main_cnf_Commands-amd64",
        "main_dep11_Components-amd64.yml",
        "main_i18n_Translation-de",
        "main_i18n_Translation-en",
    ];
    let found = lists(&apt);
    for name in expected {
        assert!(found.iter().any(|list| list == name), "{name}: {found:?}");
    }
    // The mirror could do without none of them: apt takes what Release lists for available, even what it calls optional.
    let only_english = site.mirrored(|mirror| {
        let mirror = mirror.set("content.contents", "true");
        mirror.set("content.translations", "[\"en\"]")
    });
    // Nor does it come from what was published before.
    site.env.configure(only_english.lending_nothing());
    site.sync();
    apt.forget();
    apt.apt_get(&["update"]).run().code(100).stderr_has("Translation-de");
    site.env.configure(site.mirrored(all));
    site.sync();
    apt.update().success();

    // Now that apt has an index, it would take the difference to the next one.
    archive
        .add(SUITE, "main", &Deb::new("hello", "2", "amd64"))
        .expect("a package");
    archive.publish(made.plus(60)).expect("publishes");
    site.sync();
    apt.update().success();
    assert_eq!(apt.policy("hello").candidate.as_deref(), Some("2"));
    let log = site.nginx.access_log();
    let asked = log.lines().filter(|line| line.contains("Packages.diff/"));
    let asked: Vec<&str> = asked.collect();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| line.starts_with("404 ")),
        "{log}"
    );
}

#[test]
fn apt_gets_source_packages_of_an_archive_made_by_reprepro() {
    let archive = RepreproArchive::new(SUITE, &["main"], &["amd64", "source"]);
    archive.add("main", &Package::new("hello", "1", "amd64"));
    archive.add_source("main", &Package::new("hello", "1", "all"));
    let key = fs::read(archive.key_file()).expect("a key");
    let site = Site::new(&archive.root(), &key, |mirror| mirror.set("mirror_source", "true"));
    for file in [
        "main/binary-amd64/Release",
        "main/source/Release",
        "main/source/Sources.gz",
    ] {
        let served = fs::read(site.env.served(&format!("site/current/dists/stable/{file}"))).expect(file);
        let upstream = fs::read(archive.root().join("dists/stable").join(file)).expect(file);
        assert_eq!(served, upstream, "{file}");
    }
    let apt = client(&[
        site.line("deb", SUITE, &["main"]),
        site.line("deb-src", SUITE, &["main"]),
    ]);
    apt.update().success();
    apt.apt_get(&["source", "--download-only", "hello"]).run().success();
    for file in ["hello_1.dsc", "hello_1.tar.xz"] {
        assert!(apt.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn apt_installs_from_flat_repositories_made_by_apt_ftparchive() {
    for directory in ["./", "stable/"] {
        let archive = FlatArchive::new(directory);
        archive.add(&Package::new("hello", "1", "amd64").file("usr/share/hello/data", "hello"));
        archive.publish();
        let key = fs::read(archive.key_file()).expect("a key");
        let site = Site::new(&archive.root(), &key, |mirror| {
            flat(mirror, directory).set("mirror_source", "true")
        });
        let apt = client(&[site.line("deb", directory, &[]), site.line("deb-src", directory, &[])]);
        apt.update().success();
        apt.install(&["hello"]).success();
        assert_eq!(apt.installed("hello").as_deref(), Some("1"), "{directory}");
        apt.apt_get(&["source", "--download-only", "hello"]).run().success();
        assert!(apt.path().join("hello_1.dsc").is_file(), "{directory}");

        archive.add(&Package::new("hello", "2", "amd64"));
        archive.publish();
        site.sync();
        apt.update().success();
        apt.upgrade().success();
        assert_eq!(apt.installed("hello").as_deref(), Some("2"), "{directory}");
    }
}

#[test]
fn apt_installs_from_an_archive_with_sha512_alone() {
    let root = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let suite = SuiteSpec::new(SUITE)
        .hashes([HashType::Sha512])
        .pool_hashes([HashType::Sha512])
        .package("main", Deb::new("hello", "1", "amd64"));
    let archive = ArchiveBuilder::new()
        .suite(suite)
        .create(&root.root().join("archive"), now().plus(-36_000))
        .expect("an archive");
    let site = Site::new(
        archive.root(),
        &archive.key().public_armored().expect("a key"),
        |mirror| mirror,
    );
    let apt = client(&[site.line("deb", SUITE, &["main"])]);
    apt.update().success();
    apt.install(&["hello"]).success();
    assert!(site.nginx.access_log().contains("/by-hash/SHA512/"));
}

#[test]
fn apt_reads_components_with_slashes_in_suites_with_slashes() {
    let root = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let suite = SuiteSpec::new("stable/updates")
        .components(&["main", "main/debian-installer"])
        .architectures(&["amd64", "all"])
        .package("main", Deb::new("hello", "1", "amd64"))
        .package("main", Deb::new("data", "1", "all"))
        .package("main/debian-installer", Deb::new("hello-udeb", "1", "amd64"));
    let archive = ArchiveBuilder::new()
        .suite(suite)
        .create(&root.root().join("archive"), now().plus(-36_000))
        .expect("an archive");
    let sections = ["main", "main/debian-installer"];
    let site = Site::new(
        archive.root(),
        &archive.key().public_armored().expect("a key"),
        |mirror| mirror.suites(&["stable/updates"]).sections(&sections),
    );
    let apt = client(&[site.line("deb", "stable/updates", &sections)]);
    apt.update().success();
    for package in ["hello", "data", "hello-udeb"] {
        assert_eq!(apt.policy(package).candidate.as_deref(), Some("1"), "{package}");
    }
    apt.install(&["hello", "data"]).success();
}

#[test]
fn apt_installs_from_an_index_with_the_line_ends_of_windows() {
    let root = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let made = now().plus(-36_000);
    let suite = || SuiteSpec::new(SUITE).package("main", Deb::new("hello", "1", "amd64"));
    let usual = ArchiveBuilder::new()
        .suite(suite().served(&[Variant::Plain]))
        .create(&root.root().join("usual"), made)
        .expect("an archive");
    let index = "main/binary-amd64/Packages";
    let text = fs::read_to_string(usual.root().join("dists").join(SUITE).join(index)).expect("an index");
    let archive = ArchiveBuilder::new()
        .suite(suite().listed(&[]).served(&[]).file(index, text.replace('\n', "\r\n")))
        .create(&root.root().join("archive"), made)
        .expect("an archive");
    let key = archive.key().public_armored().expect("a key");
    let site = Site::new(archive.root(), &key, |mirror| mirror);
    let apt = client(&[site.line("deb", SUITE, &["main"])]);
    apt.update().success();
    apt.install(&["hello"]).success();
    assert_eq!(apt.installed("hello").as_deref(), Some("1"));
}

#[test]
fn what_apt_reads_of_a_server_that_refuses_what_it_lacks_is_mirrored() {
    for refused in [
        &["*/by-hash/*"][..],
        &["*/Release.gpg"],
        &["*/Release", "*/Release.gpg"],
    ] {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let archive = ArchiveBuilder::new()
            .suite(SuiteSpec::new(SUITE).package("main", Deb::new("hello", "1", "amd64")))
            .create(&env.root().join("archive"), now().plus(-36_000))
            .expect("an archive");
        let upstream = Upstream::serve(archive.root());
        let key = env.key("archive.asc", &archive.key().public_armored().expect("a key"));
        for pattern in refused {
            upstream.fault(pattern, Fault::Status(403));
        }
        env.configure(Config::new().mirror(mirror(&upstream, &key)));
        env.mirrorctl(&["sync"]).success();
        let mount = MountGuard::mount(&env);
        let nginx = Nginx::serve(&env.mount_dir());
        for url in [upstream.url(), format!("{}/site/current", nginx.url())] {
            let apt = client(&[AptRoot::source_line(&url, SUITE, &["main"], &key)]);
            apt.update().success();
            apt.install(&["hello"]).success();
        }
        mount.stop().success();
    }
}

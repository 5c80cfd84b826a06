//! apt and nginx against what the mount serves.
//!
//! Owns the proof that real clients work: updating, installing and upgrading from every place of the tree and with
//! every form of signature, and that what nginx answers is exactly what upstream has. The archives are made by Debian's
//! own tools and by ours. Nothing here looks into the state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mirrorctl::model::{Digest, HashType, Timestamp};
use mirrorctl_testkit::{
    AptRoot, Archive, ArchiveBuilder, Config, Deb, DpkgArchive, Fault, Fetched, Mirror, MountGuard, Nginx, Package,
    Program, RepreproArchive, Scratch, SuiteSpec, TestEnv, Upstream, fetch, fetch_with, head, now,
};

/// The suite of every archive here.
const SUITE: &str = "stable";

/// Where the index of every archive here lies.
const INDEX: &str = "dists/stable/main/binary-amd64/Packages";

/// The files that sign a suite.
const RELEASE_FILES: [&str; 3] = ["InRelease", "Release", "Release.gpg"];

/// Mirrors of one archive, each named after the Release files that its upstream has, and those that it lacks.
const FORMS: [(&str, &[&str]); 3] = [
    ("all", &[]),
    ("inline", &["Release", "Release.gpg"]),
    ("detached", &["InRelease"]),
];

/// A configured installation, mounted, with nginx before it.
struct Site {
    nginx: Nginx,
    _mount: MountGuard,
    env: TestEnv,
}

impl Site {
    /// A site of these mirrors, nothing synced yet.
    fn new(mirrors: impl IntoIterator<Item = Mirror>) -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        env.configure(mirrors.into_iter().fold(Config::new(), Config::mirror));
        let mount = MountGuard::mount(&env);
        let nginx = Nginx::serve(&env.mount_dir());
        Self {
            nginx,
            _mount: mount,
            env,
        }
    }

    /// A site with one mirror, `site`, which stages what it syncs.
    fn of(upstream: &Upstream, key: &Path) -> Self {
        Self::new([staged("site", upstream, key)])
    }

    fn sync(&self) {
        self.env.mirrorctl(&["sync"]).success();
    }

    fn promote(&self, mirrors: &[&str]) {
        let command = [&["snapshot", "promote"], mirrors].concat();
        self.env.mirrorctl(&command).success();
    }

    /// The snapshot that a pointer leads to.
    fn snapshot(&self, pointer: &str) -> String {
        let getfattr = Program::new("getfattr", "attr").args(["--only-values", "--name", "user.mirrorctl.snapshot"]);
        getfattr.arg(self.env.served(pointer)).run().success().stdout
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.nginx.url())
    }

    fn get(&self, path: &str) -> Fetched {
        fetch(&self.url(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The body at `path`, which must be there.
    fn body(&self, path: &str) -> Vec<u8> {
        let answer = self.get(path);
        assert_eq!((answer.status, answer.complete), (200, true), "{path}");
        answer.body
    }

    fn has(&self, path: &str) -> bool {
        let status = self.get(path).status;
        assert!(matches!(status, 200 | 404), "{path}: {status}");
        status == 200
    }

    /// A new machine whose apt uses the archive at `place`.
    fn client(&self, place: &str, key: &Path) -> AptRoot {
        let apt = AptRoot::new();
        apt.source(&self.url(place), SUITE, &["main"], key);
        apt
    }
}

fn staged(id: &str, upstream: &Upstream, key: &Path) -> Mirror {
    Mirror::new(id, &upstream.url())
        .suites(&[SUITE])
        .key(key)
        .publish_to_staging(true)
}

/// Our own archive below `scratch`, and the file with its key in the form that apt wants.
fn ours(scratch: &Scratch, suite: SuiteSpec, time: Timestamp) -> (Archive, PathBuf) {
    let root = scratch.path().join("archive");
    let archive = ArchiveBuilder::new()
        .suite(suite)
        .create(&root, time)
        .expect("an archive");
    let key = scratch.file("key.gpg", archive.key().public_binary().expect("a key"));
    (archive, key)
}

fn installed(apt: &AptRoot) -> (Option<String>, String) {
    let file = fs::read_to_string(apt.path().join("usr/share/hello/version"));
    (apt.installed("hello"), file.expect("hello is installed"))
}

/// Clients of every place and form, through a sync, a promote, an upstream change, and a second promote. `publish`
/// puts a version of the package hello into the archive at `root`.
fn clients_follow(root: &Path, key: &Path, mut publish: impl FnMut(&str)) {
    publish("1");
    let upstreams = FORMS.map(|(form, absent)| {
        let upstream = Upstream::serve(root);
        for file in absent {
            upstream.fault(&format!("dists/{SUITE}/{file}"), Fault::Status(404));
        }
        (form, upstream)
    });
    let site = Site::new(upstreams.iter().map(|(form, upstream)| staged(form, upstream, key)));
    let forms = FORMS.map(|(form, _)| form);
    site.sync();
    let signed_first = signed_files(root);
    let version = |version: &str| (Some(version.to_owned()), version.to_owned());

    let mut production = Vec::new();
    let mut frozen = Vec::new();
    for form in forms {
        let snapshot = format!("{form}/snapshots/{}", site.snapshot(&format!("{form}/staging")));
        for place in [format!("{form}/staging"), snapshot.clone()] {
            serves_signed_files(&site, &place, form, &signed_first);
            let apt = site.client(&place, key);
            apt.update().success();
            apt.install(&["hello"]).success();
            assert_eq!(installed(&apt), version("1"), "{place}");
            assert_eq!(apt.installed("libhello").as_deref(), Some("1"), "{place}");
            frozen.push((place, apt));
        }
        assert!(
            !site.has(&format!("{form}/current/dists/{SUITE}/Release")),
            "{form} was never promoted"
        );
    }
    site.promote(&forms);
    for form in forms {
        let place = format!("{form}/current");
        serves_signed_files(&site, &place, form, &signed_first);
        let apt = site.client(&place, key);
        apt.update().success();
        apt.install(&["hello"]).success();
        assert_eq!(installed(&apt), version("1"), "{place}");
        production.push((form, apt));
    }

    publish("2");
    site.sync();
    let signed_second = signed_files(root);
    assert_ne!(signed_first, signed_second);
    for (place, apt) in &frozen {
        let staging = place.ends_with("staging");
        apt.update().success();
        apt.upgrade().success();
        assert_eq!(installed(apt), version(if staging { "2" } else { "1" }), "{place}");
    }
    for (form, apt) in &production {
        apt.update().success();
        assert_eq!(
            apt.policy("hello").candidate.as_deref(),
            Some("1"),
            "{form}: production has not moved"
        );
    }
    site.promote(&forms);
    for (form, apt) in &production {
        serves_signed_files(&site, &format!("{form}/current"), form, &signed_second);
        apt.update().success();
        apt.upgrade().success();
        assert_eq!(installed(apt), version("2"), "{form}/current");
    }
    // It logs what is absent and directories that it does not list; nothing else may have gone wrong.
    let log = site.nginx.error_log();
    let mut complaints = log.lines();
    assert!(
        complaints.all(|line| line.contains("(2: No such file or directory)") || line.contains("directory index")),
        "{log}"
    );
}

/// The signed files of the archive at `root`, as upstream has them.
fn signed_files(root: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let read = |file| fs::read(root.join(format!("dists/{SUITE}/{file}"))).expect("a published archive");
    RELEASE_FILES.into_iter().map(|file| (file, read(file))).collect()
}

/// Exactly those Release files that upstream has are served, byte for byte.
fn serves_signed_files(site: &Site, place: &str, form: &str, signed: &BTreeMap<&str, Vec<u8>>) {
    let absent = FORMS.iter().find(|(known, _)| *known == form).expect("a form").1;
    for (file, bytes) in signed {
        let path = format!("{place}/dists/{SUITE}/{file}");
        if absent.contains(file) {
            assert_eq!(site.get(&path).status, 404, "{path}");
        } else {
            assert!(site.body(&path) == *bytes, "{path} is not upstream's");
        }
    }
}

#[test]
fn apt_follows_an_archive_of_debians_tools() {
    let mut archive = DpkgArchive::new(SUITE, &["amd64"]);
    archive.add(&Package::new("libhello", "1", "all"));
    let (root, key) = (archive.root(), archive.key_file());
    clients_follow(&root, &key, |version| {
        archive.add(&hello_by_dpkg(version));
        archive.publish();
    });
}

#[test]
fn apt_follows_an_archive_of_reprepro() {
    let archive = RepreproArchive::new(SUITE, &["main"], &["amd64"]);
    archive.add("main", &Package::new("libhello", "1", "all"));
    let (root, key) = (archive.root(), archive.key_file());
    clients_follow(&root, &key, |version| archive.add("main", &hello_by_dpkg(version)));
}

#[test]
fn apt_follows_an_archive_like_debians_own() {
    let scratch = Scratch::new();
    let lib = Deb::new("libhello", "1", "all");
    // An hour old at first: apt takes a Release that is not newer for none.
    let (mut archive, key) = ours(&scratch, SuiteSpec::new(SUITE).package("main", lib), now().plus(-3600));
    let root = archive.root().to_owned();
    let mut time = now().plus(-1800);
    clients_follow(&root, &key, |version| {
        archive.add(SUITE, "main", &hello(version)).expect("a package");
        archive.publish(time).expect("publishes");
        time = time.plus(60);
    });
}

fn hello_by_dpkg(version: &str) -> Package {
    Package::new("hello", version, "amd64")
        .depends("libhello (>= 1)")
        .file("usr/share/hello/version", version)
}

fn hello(version: &str) -> Deb {
    Deb::new("hello", version, "amd64")
        .depends("libhello (>= 1)")
        .file("usr/share/hello/version", version)
}

/// A line of a Release file.
#[derive(Debug)]
struct Listed {
    kind: String,
    hash: String,
    size: usize,
    path: String,
}

/// Every file that a Release file lists, once for each type of hash.
fn listed(release: &str) -> Vec<Listed> {
    let mut kind = String::new();
    let mut found = Vec::new();
    for line in release.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (line.strip_suffix(':'), &words[..]) {
            (Some(field), _) => field.clone_into(&mut kind),
            (None, [hash, size, path]) if line.starts_with(' ') => found.push(Listed {
                kind: kind.clone(),
                hash: (*hash).to_owned(),
                size: size.parse().expect("a size"),
                path: format!("dists/{SUITE}/{path}"),
            }),
            _ => {}
        }
    }
    found
}

/// Every file that is served has a by-hash name for each listed hash, every other name below by-hash is absent, and
/// the directories list just those names. Gives the types of hash that were seen.
fn by_hash_is_exact(site: &Site, place: &str) -> BTreeSet<String> {
    let release = String::from_utf8(site.body(&format!("{place}/dists/{SUITE}/Release"))).expect("text");
    let listed = listed(&release);
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for Listed { kind, hash, size, path } in &listed {
        let (directory, _) = path.rsplit_once('/').expect("below dists");
        let by_hash = format!("{place}/{directory}/by-hash");
        let name = format!("{by_hash}/{kind}/{hash}");
        let plain = site.get(&format!("{place}/{path}"));
        if plain.status == 404 {
            assert_eq!(site.get(&name).status, 404, "{name}, though {path} is absent");
            continue;
        }
        assert_eq!((plain.status, plain.body.len()), (200, *size), "{path}");
        if kind == "SHA256" {
            assert_eq!(Digest::of(&plain.body).to_string(), *hash, "{path}");
        }
        assert!(site.body(&name) == plain.body, "{name} is not {path}");
        names
            .entry(format!("{by_hash}/{kind}"))
            .or_default()
            .insert(hash.clone());
        seen.insert(kind.clone());
        let other_kind = if kind == "MD5Sum" { "SHA1" } else { "MD5Sum" };
        for wrong in [
            format!("{by_hash}/{other_kind}/{hash}"),
            format!("{by_hash}/{}/{hash}", kind.to_lowercase()),
            format!("{by_hash}/SHA224/{hash}"),
            format!("{by_hash}/{hash}"),
            format!("{by_hash}/{kind}/{}", hash.to_uppercase()),
            format!("{by_hash}/{kind}/{}", &hash[1..]),
            format!("{by_hash}/{kind}/{hash}0"),
            format!("{by_hash}/{kind}/{}", "0".repeat(hash.len())),
            format!("{by_hash}/{kind}/{hash}/x"),
            format!("{place}/dists/{SUITE}/by-hash/{kind}/{hash}"),
            format!("{place}/by-hash/{kind}/{hash}"),
        ] {
            // A digest without letters is its own upper case.
            if wrong != name {
                assert_eq!(site.get(&wrong).status, 404, "{wrong}");
            }
        }
    }
    for (directory, names) in names {
        let entries = fs::read_dir(site.env.served(&directory)).expect("a directory");
        let found: BTreeSet<String> = entries
            .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
            .collect();
        assert_eq!(found, names, "{directory}");
    }
    // What is no index has no such name either.
    for (file, beside) in [
        (
            format!("{place}/dists/{SUITE}/Release"),
            format!("{place}/dists/{SUITE}"),
        ),
        (format!("{place}/{}", any_package(site, place)), format!("{place}/pool")),
    ] {
        let digest = Digest::of(&site.body(&file));
        let name = format!("{beside}/by-hash/SHA256/{digest}");
        assert_eq!(site.get(&name).status, 404, "{name}");
    }
    seen
}

/// The path of a package that the index at `place` lists.
fn any_package(site: &Site, place: &str) -> String {
    let index = Program::new("zcat", "gzip").arg(site.env.served(&format!("{place}/{INDEX}.gz")));
    let index = index.run().success().stdout;
    let path = index.lines().find_map(|line| line.strip_prefix("Filename: "));
    path.expect("a package").to_owned()
}

fn kinds(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn every_listed_hash_is_a_name_of_its_index_and_nothing_else_is() {
    let all = ["MD5Sum", "SHA1", "SHA256", "SHA512"];
    let scratch = Scratch::new();
    let suite = SuiteSpec::new(SUITE)
        .architectures(&["amd64", "arm64"])
        .package("main", Deb::new("hello", "1", "amd64"));
    let (mut archive, key) = ours(&scratch, suite, now().plus(-60));
    let upstream = Upstream::serve(archive.root());
    let site = Site::of(&upstream, &key);
    site.sync();
    site.promote(&["site"]);
    let first = format!("site/snapshots/{}", site.snapshot("site/current"));
    for place in ["site/current", "site/staging", &first] {
        assert_eq!(by_hash_is_exact(&site, place), kinds(&all), "{place}");
    }
    // The upstream of this kind lists a plain index that it does not have.
    assert!(!site.has(&format!("site/current/{INDEX}")));
    let apt = site.client("site/current", &key);
    apt.update().success();
    let asked = format!(
        "200 GET /site/current/{}/by-hash/SHA512/",
        INDEX.trim_end_matches("/Packages")
    );
    assert!(site.nginx.access_log().contains(&asked), "{}", site.nginx.access_log());

    // Another selection of hashes, in staging only.
    archive
        .alter(SUITE, |suite| suite.hashes([HashType::Md5Sum, HashType::Sha256]))
        .expect("a suite");
    archive.publish(now()).expect("publishes");
    site.sync();
    assert_eq!(by_hash_is_exact(&site, "site/staging"), kinds(&["MD5Sum", "SHA256"]));
    assert_eq!(by_hash_is_exact(&site, "site/current"), kinds(&all));
}

#[test]
fn by_hash_exists_where_upstream_has_none() {
    let mut archive = DpkgArchive::new(SUITE, &["amd64", "arm64"]);
    archive.add(&Package::new("hello", "1", "amd64"));
    archive.publish();
    let upstream = Upstream::serve(&archive.root());
    let site = Site::of(&upstream, &archive.key_file());
    site.sync();
    site.promote(&["site"]);
    assert_eq!(
        by_hash_is_exact(&site, "site/current"),
        kinds(&["MD5Sum", "SHA1", "SHA256", "SHA512"])
    );
    assert_eq!(upstream.hits("*by-hash*"), 0, "Release does not promise it");
    assert!(
        site.has(&format!("site/current/{INDEX}")),
        "this one serves what it lists"
    );
    // The archive does not promise by-hash, so apt has to be told.
    let before = site.nginx.access_log().len();
    let apt = site.client("site/current", &archive.key_file());
    apt.apt_get(&["update", "--error-on=any", "-o", "Acquire::By-Hash=force"])
        .run()
        .success();
    let log = site.nginx.access_log().split_off(before);
    let found = log.lines().all(|line| line.starts_with("200 "));
    assert!(log.contains("/by-hash/SHA512/") && found, "{log}");
}

/// What a client would ask with after `answer`.
fn validators(answer: &Fetched) -> [(String, String); 2] {
    let value = |name| answer.header(name).expect("nginx sends it").to_owned();
    [
        ("If-Modified-Since".to_owned(), value("last-modified")),
        ("If-None-Match".to_owned(), value("etag")),
    ]
}

#[test]
fn a_moved_pointer_is_never_not_modified() {
    let scratch = Scratch::new();
    let time = now().plus(-7200);
    let suite = SuiteSpec::new(SUITE).package("main", hello("1"));
    let (mut archive, key) = ours(&scratch, suite, time);
    let upstream = Upstream::serve(archive.root());
    // Both states have the same date and time, so that the mirror must not rely on conditions to tell them apart.
    upstream.fault("*Release*", Fault::Unconditional);
    let site = Site::of(&upstream, &key);
    site.sync();
    let first = site.snapshot("site/staging");
    let size = |archive: &Archive| {
        signed_files(archive.root())
            .into_values()
            .map(|bytes| bytes.len())
            .collect::<Vec<_>>()
    };
    let wanted = size(&archive);
    // Signatures differ by a few bytes now and then.
    for version in 2.. {
        assert!(version < 60, "no second state has the sizes of the first");
        archive
            .add(SUITE, "main", &hello(&(version % 8 + 2).to_string()))
            .expect("a package");
        archive.publish(time).expect("publishes");
        if size(&archive) == wanted {
            break;
        }
    }
    site.sync();
    let second = site.snapshot("site/staging");
    assert_ne!(first, second);

    // The control: where mtime and size agree, nginx does take one state for the other.
    let path = format!("dists/{SUITE}/InRelease");
    let known = validators(&site.get(&format!("site/snapshots/{first}/{path}")));
    for (name, value) in &known {
        let answer = fetch_with(&site.url(&format!("site/snapshots/{second}/{path}")), &[(name, value)]);
        assert_eq!(answer.expect("an answer").status, 304, "{name}: {value}");
    }

    // Ten moves, many of them within one second, forth and back.
    let mut serials = Vec::new();
    let mut known: Vec<(&str, [(String, String); 2])> = Vec::new();
    for snapshot in [&first, &second].into_iter().cycle().take(10) {
        site.env.mirrorctl(&["snapshot", "publish", "site", snapshot]).success();
        for file in RELEASE_FILES {
            let path = format!("site/current/dists/{SUITE}/{file}");
            let bytes = site.body(&format!("site/snapshots/{snapshot}/dists/{SUITE}/{file}"));
            // With everything that a client can have kept from any earlier move.
            for (_, earlier) in known.iter().filter(|(of, _)| *of == file) {
                for (name, value) in earlier {
                    let answer = fetch_with(&site.url(&path), &[(name, value)]).expect("an answer");
                    assert_eq!(answer.status, 200, "{path} with {name}: {value}");
                    assert!(answer.body == bytes, "{path} is not that of {snapshot}");
                }
            }
            let answer = site.get(&path);
            assert!(answer.body == bytes, "{path} is not that of {snapshot}");
            let fresh = validators(&answer);
            for (name, value) in &fresh {
                let answer = fetch_with(&site.url(&path), &[(name, value)]).expect("an answer");
                assert_eq!(answer.status, 304, "{path} is the same: {name}: {value}");
            }
            known.push((file, fresh));
        }
        serials.push(plain_mtime(&site, "site/current"));
    }
    assert!(serials.is_sorted_by(|earlier, later| earlier < later), "{serials:?}");
    assert_eq!(plain_mtime(&site, &format!("site/snapshots/{first}")), time.unix());
}

/// The one time that all plain names below `dists/` show.
fn plain_mtime(site: &Site, place: &str) -> i64 {
    let names = RELEASE_FILES.map(|file| format!("dists/{SUITE}/{file}"));
    let indices = [format!("{INDEX}.gz"), format!("{INDEX}.xz")];
    let times: BTreeSet<i64> = names
        .iter()
        .chain(&indices)
        .map(|name| {
            fs::metadata(site.env.served(&format!("{place}/{name}")))
                .expect("served")
                .mtime()
        })
        .collect();
    assert_eq!(times.len(), 1, "{place}: {times:?}");
    times.into_iter().next().expect("one")
}

#[test]
fn pool_and_by_hash_files_keep_the_times_of_upstream() {
    let scratch = Scratch::new();
    let published = now().plus(-7200);
    let suite = SuiteSpec::new(SUITE)
        .package("main", Deb::new("hello", "1", "amd64"))
        .package("main", Deb::new("early", "1", "amd64"));
    let (archive, key) = ours(&scratch, suite, published);
    let old = published.plus(-86_400);
    let early = "pool/main/e/early/early_1_amd64.deb";
    let hello = "pool/main/h/hello/hello_1_amd64.deb";
    set_mtime(&archive.root().join(hello), old);
    set_mtime(&archive.root().join(early), now().plus(86_400));
    let upstream = Upstream::serve(archive.root());
    let site = Site::of(&upstream, &key);
    let before = now();
    site.sync();
    let after = now();
    site.promote(&["site"]);
    let shown = |path: &str| fs::metadata(site.env.served(path)).expect("served").mtime();
    let snapshot = format!("site/snapshots/{}", site.snapshot("site/current"));
    let release = site.body(&format!("{snapshot}/dists/{SUITE}/Release"));
    let indices = listed(std::str::from_utf8(&release).expect("text"));
    for place in ["site/current", "site/staging", &snapshot] {
        assert_eq!(shown(&format!("{place}/{hello}")), old.unix(), "{place}");
        let said = site.get(&format!("{place}/{hello}"));
        let expected = upstream_says(&upstream, hello);
        assert_eq!(said.header("last-modified"), Some(expected.as_str()), "{place}");
        // A time in the future is none: it would let "not modified" be said for ever.
        let limit = before.unix()..=after.unix();
        assert!(limit.contains(&shown(&format!("{place}/{early}"))), "{place}");
        for index in indices
            .iter()
            .filter(|index| site.has(&format!("{place}/{}", index.path)))
        {
            let (directory, _) = index.path.rsplit_once('/').expect("below dists");
            let name = format!("{place}/{directory}/by-hash/{}/{}", index.kind, index.hash);
            assert_eq!(shown(&name), published.unix(), "{name}");
        }
    }
    assert_eq!(plain_mtime(&site, &snapshot), published.unix());
    assert!(
        plain_mtime(&site, "site/current") >= after.unix(),
        "the time of the move"
    );
    assert!(
        plain_mtime(&site, "site/staging") >= before.unix(),
        "the time of the move"
    );
}

fn set_mtime(path: &Path, time: Timestamp) {
    let seconds = u64::try_from(time.unix()).expect("after 1970");
    let file = File::open(path).expect("a file of the archive");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .expect("own file");
}

fn upstream_says(upstream: &Upstream, path: &str) -> String {
    let answer = head(&format!("{}/{path}", upstream.url())).expect("an answer");
    answer.header("last-modified").expect("sent").to_owned()
}

#[test]
fn everything_is_readable_by_everybody_and_writable_by_nobody() {
    let scratch = Scratch::new();
    let (archive, key) = ours(&scratch, SuiteSpec::new(SUITE).package("main", hello("1")), now());
    let upstream = Upstream::serve(archive.root());
    let site = Site::of(&upstream, &key);
    site.sync();
    site.promote(&["site"]);
    let mut files = 0;
    let mut waiting = vec![site.env.mount_dir()];
    while let Some(path) = waiting.pop() {
        let facts = fs::symlink_metadata(&path).expect("served");
        let (kind, mode) = if facts.is_dir() {
            ("directory", 0o555)
        } else {
            ("file", 0o444)
        };
        assert_eq!(facts.permissions().mode() & 0o7777, mode, "{kind} {}", path.display());
        assert_eq!((facts.uid(), facts.gid()), (0, 0), "{kind} {}", path.display());
        if facts.is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .expect("readable")
                    .map(|entry| entry.expect("readable").path()),
            );
        } else {
            files += 1;
        }
    }
    // Three places with three Release files, two indices by five names each, and a package.
    assert_eq!(files, 3 * (3 + 2 * 5 + 1));
    // The worker of nginx and any other program of that user.
    let tar = Program::new("tar", "tar")
        .user("www-data")
        .args(["--create", "--file=-", "."]);
    let archived = tar.directory(&site.env.mount_dir()).run().success();
    assert_eq!(archived.stderr, "");
}

/// Bytes that no compression makes smaller, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn a_large_package_arrives_byte_for_byte_and_in_pieces() {
    let scratch = Scratch::new();
    let big = Deb::new("big", "1", "amd64").file("usr/share/big/noise", noise(2_500_013));
    let (archive, key) = ours(&scratch, SuiteSpec::new(SUITE).package("main", big), now().plus(-60));
    let path = "pool/main/b/big/big_1_amd64.deb";
    let bytes = fs::read(archive.root().join(path)).expect("in the pool");
    let length = bytes.len();
    assert!(length > 2 << 20);
    let upstream = Upstream::serve(archive.root());
    let site = Site::of(&upstream, &key);
    site.sync();
    site.promote(&["site"]);
    let path = format!("site/current/{path}");
    let url = site.url(&path);

    let asked = head(&url).expect("an answer");
    assert_eq!((asked.status, asked.body.len()), (200, 0));
    assert_eq!(asked.header("content-length"), Some(length.to_string().as_str()));
    assert_eq!(asked.header("accept-ranges"), Some("bytes"));
    // From the disk, and then from the page cache.
    for _ in 0..2 {
        assert!(site.body(&path) == bytes, "the file is not upstream's");
    }
    let mebibyte = 1 << 20;
    for (range, from, to) in [
        ("0-0".to_owned(), 0, 1),
        (format!("{}-{}", mebibyte - 7, mebibyte + 6), mebibyte - 7, mebibyte + 7),
        (format!("{}-", length - 4096), length - 4096, length),
        ("-13".to_owned(), length - 13, length),
        (format!("1-{}", length * 2), 1, length),
    ] {
        let answer = fetch_with(&url, &[("Range", &format!("bytes={range}"))]).expect("an answer");
        assert_eq!(answer.status, 206, "{range}");
        let covered = format!("bytes {from}-{}/{length}", to - 1);
        assert_eq!(answer.header("content-range"), Some(covered.as_str()), "{range}");
        assert!(answer.body == bytes[from..to], "{range} has other bytes");
    }
    let beyond = fetch_with(&url, &[("Range", &format!("bytes={length}-"))]).expect("an answer");
    assert_eq!(beyond.status, 416);
    // What apt sends to go on with a partial file, and what it must be told once the file is another one.
    let modified = asked.header("last-modified").expect("sent");
    let resume =
        |condition: &str| fetch_with(&url, &[("Range", "bytes=1000-"), ("If-Range", condition)]).expect("an answer");
    assert_eq!(resume(modified).status, 206);
    let restart = resume("Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!((restart.status, restart.body == bytes), (200, true));

    let apt = site.client("site/current", &key);
    apt.update().success();
    apt.install(&["big"]).success();
    let unpacked = fs::read(apt.path().join("usr/share/big/noise")).expect("installed");
    assert!(unpacked == noise(2_500_013), "the installed file is another one");
}

#[test]
fn names_with_signs_are_served_and_installed() {
    let mut archive = DpkgArchive::new(SUITE, &["amd64"]);
    let pool = archive.root().join("pool/main");
    let mut paths = BTreeMap::new();
    for (package, version, built, name) in [
        (
            "lib++",
            "1.0+b1~rc2-1",
            "lib++_1.0+b1~rc2-1_amd64.deb",
            "lib++_1.0+b1~rc2-1_amd64.deb",
        ),
        ("escaped", "1:2~a", "escaped_2~a_amd64.deb", "escaped_1%3a2~a_amd64.deb"),
        ("colon", "2:1.0", "colon_1.0_amd64.deb", "colon_2:1.0_amd64.deb"),
        ("percent", "1", "percent_1_amd64.deb", "100%_amd64.deb"),
        ("query", "1", "query_1_amd64.deb", "a?b#c&d=e;f_amd64.deb"),
        ("quotes", "1", "quotes_1_amd64.deb", "it's_[1]_{2}@$!,_amd64.deb"),
    ] {
        archive.add(&Package::new(package, version, "amd64").file(&format!("usr/share/odd/{package}"), version));
        let directory = pool.join(package);
        fs::rename(directory.join(built), directory.join(name)).expect("just built");
        paths.insert(format!("pool/main/{package}/{name}"), (package, version));
    }
    archive.publish();
    let upstream = Upstream::serve(&archive.root());
    let site = Site::of(&upstream, &archive.key_file());
    site.sync();
    site.promote(&["site"]);
    for path in paths.keys() {
        let bytes = fs::read(archive.root().join(path)).expect("in the pool");
        let served = fs::read(site.env.served(&format!("site/current/{path}")));
        assert!(
            served.unwrap_or_else(|error| panic!("{path}: {error}")) == bytes,
            "{path}"
        );
        for url in [escaped(path, false), escaped(path, true)] {
            assert!(site.body(&format!("site/current/{url}")) == bytes, "{url}");
        }
    }
    // An escape in a name is not the sign that it would stand for.
    for other in [
        "escaped/escaped_1:2~a_amd64.deb",
        "colon/colon_2%253a1.0_amd64.deb",
        "lib++/lib%20%20_1.0+b1~rc2-1_amd64.deb",
    ] {
        assert_eq!(
            site.get(&format!("site/current/pool/main/{other}")).status,
            404,
            "{other}"
        );
    }
    let apt = site.client("site/current", &archive.key_file());
    apt.update().success();
    // apt does not escape a question mark, so that no server could give it that file.
    let known: Vec<_> = paths.into_values().filter(|(package, _)| *package != "query").collect();
    let names: Vec<&str> = known.iter().map(|(package, _)| *package).collect();
    apt.install(&names).success();
    for (package, version) in &known {
        assert_eq!(apt.installed(package).as_deref(), Some(*version), "{package}");
    }
}

/// A path as it stands in a URL: with the escapes that it needs, or everything escaped that may be.
fn escaped(path: &str, everything: bool) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) || !everything && b"+~:@$!,;&='".contains(&byte)
    };
    path.bytes().fold(String::new(), |mut url, byte| {
        if plain(byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("a string takes all that is written");
        }
        url
    })
}

#[test]
fn what_is_absent_is_not_found_until_it_is_there() {
    let scratch = Scratch::new();
    let (mut archive, key) = ours(
        &scratch,
        SuiteSpec::new(SUITE).package("main", hello("1")),
        now().plus(-60),
    );
    let upstream = Upstream::serve(archive.root());
    let site = Site::of(&upstream, &key);
    let later = [
        format!("site/staging/dists/{SUITE}/InRelease"),
        "site/staging/pool/main/h/hello/hello_1_amd64.deb".to_owned(),
        format!("site/current/dists/{SUITE}/InRelease"),
        "site/current/pool/main/h/hello/hello_1_amd64.deb".to_owned(),
    ];
    let status = || later.each_ref().map(|path| site.get(path).status);
    assert_eq!(status(), [404; 4], "nothing was synced");
    site.sync();
    assert_eq!(status(), [200, 200, 404, 404], "staged");
    site.promote(&["site"]);
    assert_eq!(status(), [200; 4], "promoted");
    let snapshot = site.snapshot("site/current");
    for absent in [
        "nope".to_owned(),
        "nope/current/".to_owned(),
        ".doors".to_owned(),
        "site/nope".to_owned(),
        "site/.doors".to_owned(),
        "site/.doors/1".to_owned(),
        "site/at".to_owned(),
        "site/snapshots/nope".to_owned(),
        format!("site/snapshots/{snapshot}x"),
        format!("site/snapshots/{snapshot}/dists/nope/InRelease"),
        "site/current/dists/nope/InRelease".to_owned(),
        format!("site/current/dists/{SUITE}/inrelease"),
        format!("site/current/dists/{SUITE}/InRelease/x"),
        format!("site/current/{INDEX}"),
        format!("site/current/{INDEX}.zst"),
        "site/current/pool/main/h/hello/hello_2_amd64.deb".to_owned(),
        format!("site/current/pool/{}", "x".repeat(300)),
        "site/current/%FF".to_owned(),
        "catalog.db".to_owned(),
    ] {
        for _ in 0..2 {
            assert_eq!(site.get(&absent).status, 404, "{absent}");
        }
    }
    // Directories are not listed, which is nginx's own choice.
    for directory in [
        "",
        "site/",
        "site/current/",
        "site/snapshots/",
        "site/current/pool/main/",
    ] {
        assert_eq!(site.get(directory).status, 403, "{directory}");
    }

    let next = "site/current/pool/main/h/hello/hello_2_amd64.deb";
    archive.add(SUITE, "main", &hello("2")).expect("a package");
    archive.publish(now()).expect("publishes");
    site.sync();
    assert_eq!(site.get(next).status, 404, "production has not moved");
    site.promote(&["site"]);
    assert_eq!(site.get(next).status, 200);
}

/// Everything that apt has stored of its sources.
fn lists(apt: &AptRoot) -> BTreeMap<PathBuf, Vec<u8>> {
    let directory = apt.path().join("var/lib/apt/lists");
    let paths = fs::read_dir(directory)
        .expect("apt's own")
        .map(|entry| entry.expect("readable").path());
    paths
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "lock"))
        .map(|path| (path.clone(), fs::read(&path).expect("readable")))
        .collect()
}

#[test]
fn a_signature_of_another_state_leaves_a_client_as_it_was() {
    let scratch = Scratch::new();
    let lib = Deb::new("libhello", "1", "all");
    let suite = SuiteSpec::new(SUITE).package("main", hello("1")).package("main", lib);
    let (mut archive, key) = ours(&scratch, suite, now().plus(-3600));
    let upstream = Upstream::serve(archive.root());
    upstream.fault("*/InRelease", Fault::Status(404));
    let site = Site::of(&upstream, &key);
    let mut snapshots = Vec::new();
    for (version, age) in [("1", -3600), ("2", -1800), ("3", -900)] {
        archive.add(SUITE, "main", &hello(version)).expect("a package");
        archive.publish(now().plus(age)).expect("publishes");
        site.sync();
        snapshots.push(site.snapshot("site/staging"));
    }
    let [first, second, third] = &snapshots[..] else {
        panic!("three states");
    };
    let publish = |env: &TestEnv, name: &str| env.mirrorctl(&["snapshot", "publish", "site", name]).success();
    publish(&site.env, first);
    // A server on the mounted tree that lets production move between two requests of one client.
    let server = Upstream::serve(&site.env.mount_dir());
    let apt = AptRoot::new();
    apt.source(&format!("{}/site/current", server.url()), SUITE, &["main"], &key);
    apt.update().success();
    let old = lists(&apt);
    assert!(old.len() >= 3, "Release, signature, index: {:?}", old.keys());

    publish(&site.env, second);
    server.take_requests();
    let signature = format!("site/current/dists/{SUITE}/Release.gpg");
    let move_on = site.env.command(&["snapshot", "publish", "site", third]);
    server.before(&signature, move || drop(move_on.run().success()));
    apt.update().code(100).stderr_has("invalid");
    let asked: Vec<(String, u16)> = server
        .requests()
        .into_iter()
        .map(|request| {
            (
                request.path.rsplit('/').next().unwrap_or_default().to_owned(),
                request.status,
            )
        })
        .collect();
    let expected = [("InRelease", 404), ("Release", 200), ("Release.gpg", 200)];
    assert_eq!(
        asked,
        expected.map(|(name, status)| (name.to_owned(), status)),
        "one update across the move"
    );
    assert_eq!(site.snapshot("site/current"), *third, "production moved in between");
    assert!(lists(&apt) == old, "the client keeps what it had");
    assert_eq!(apt.policy("hello").candidate.as_deref(), Some("1"));

    apt.update().success();
    assert_eq!(apt.policy("hello").candidate.as_deref(), Some("3"));
    apt.install(&["hello"]).success();
    assert_eq!(installed(&apt), (Some("3".to_owned()), "3".to_owned()));
}

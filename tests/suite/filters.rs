//! Mirrors that keep a part of their archive.
//!
//! Owns the proof that what a filter leaves out is neither fetched nor, where the mirror is reindexed, listed; that a
//! reindexed archive is whole, signed by the mirror's own key, and stays as it is when nothing changes; and that a
//! mirror whose indices list more than it has says so everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mirrorctl::apt::{Compression, PackagesReader, Release, decompress};
use mirrorctl::model::{Digest, HashType, RepoPath};
use mirrorctl::signature::{Keyring, verify_detached, verify_inline};
use mirrorctl_testkit::{Config, Deb, GpgHome, GpgKey, Mirror, SigningKey, SuiteSpec, now};

use crate::site::{Files, SUITE, Site, deb, text};

/// An archive with several versions for two architectures, a package for all of them, and dependencies.
fn many() -> Site {
    let suite = SuiteSpec::new(SUITE).architectures(&["amd64", "arm64"]);
    let mut site = Site::new([suite]);
    for (name, version, architecture, depends) in [
        ("app", "1.9", "amd64", "lib (>= 2), data"),
        ("app", "1.10", "amd64", "lib (>= 2), data"),
        ("app", "1.10~rc1", "amd64", "lib (>= 2), data"),
        ("app", "1.2", "arm64", "data"),
        ("app", "1.1", "arm64", "data"),
        ("app-dbg", "1.10", "amd64", ""),
        ("data", "1", "all", ""),
        ("lib", "2", "amd64", ""),
        ("other", "1", "amd64", ""),
    ] {
        let contents = format!("{name} {version} {architecture}");
        let deb = Deb::new(name, version, architecture).file(&format!("usr/share/{name}"), contents);
        let deb = if depends.is_empty() { deb } else { deb.depends(depends) };
        site.archive.add_version(SUITE, "main", &deb).expect("a package");
    }
    site.publish();
    site
}

/// A site of [`many`] and a key of the mirror's own.
struct Filtered {
    site: Site,
    gpg: GpgHome,
    key: GpgKey,
}

impl Filtered {
    fn new() -> Self {
        let gpg = GpgHome::new();
        let key = gpg.key("Mirror <mirror@example.org>");
        Self { site: many(), gpg, key }
    }

    /// The file with the secret key.
    fn secret(&self, key: &GpgKey) -> PathBuf {
        let path = self.site.env.key("secret.asc", &self.gpg.secret_armored(key));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
        path
    }

    fn reindexed(&self, key: &GpgKey, filters: &[(&str, &str)]) {
        let secret = format!("{:?}", self.secret(key).display().to_string());
        let signing = [("reindex", "true"), ("signing_key_path", secret.as_str())];
        configure(&self.site, &[filters, &signing].concat());
    }

    fn keyring(&self) -> Keyring {
        Keyring::parse(&self.gpg.public_armored(&self.key)).expect("a key")
    }
}

/// The mirror `debian` for both architectures, with filters.
fn configure(site: &Site, filters: &[(&str, &str)]) {
    let mirror = site.mirror("debian").architectures(&["amd64", "arm64"]);
    let config = Config::new().mirror(mirror.publish_to_production(true));
    let with = |config: Config, (key, value): &(&str, &str)| config.set_in("mirrors.debian.filters", key, value);
    site.configure_all(filters.iter().fold(config, with));
}

/// Names of the pool's files, without their directories.
fn pool(files: &Files) -> BTreeSet<&str> {
    let pool = files.keys().filter(|path| path.starts_with("pool/"));
    pool.map(|path| path.rsplit('/').next().expect("a name")).collect()
}

fn bytes(site: &Site, files: &Files, path: &str) -> Vec<u8> {
    let (digest, _) = files.get(path).unwrap_or_else(|| panic!("no {path}"));
    fs::read(site.blob(*digest)).expect("a blob")
}

/// The uncompressed index at `path`, read from both forms that are served, which must agree.
fn index(site: &Site, files: &Files, path: &str) -> Vec<u8> {
    let read = |compression: Compression| {
        let packed = bytes(site, files, &format!("{path}{}", compression.suffix()));
        let mut text = Vec::new();
        let mut reader = decompress(compression, &packed[..], 1 << 20).expect("sets up");
        reader.read_to_end(&mut text).expect("decompresses");
        text
    };
    let text = read(Compression::Gzip);
    assert_eq!(text, read(Compression::Xz), "{path}");
    text
}

/// Asserts that the newest snapshot is one consistent archive signed by `keyring`, and gives its files.
#[track_caller]
fn assert_consistent(site: &Site, keyring: &Keyring) -> Files {
    let files = site.newest();
    let suite = format!("dists/{SUITE}");
    let verified = verify_inline(&bytes(site, &files, &format!("{suite}/InRelease")), keyring, now()).expect("signed");
    let plain = bytes(site, &files, &format!("{suite}/Release"));
    let detached = bytes(site, &files, &format!("{suite}/Release.gpg"));
    assert!(verify_detached(&plain, &detached, keyring, now()).is_ok());
    assert_eq!(verified.text().as_bytes().trim_ascii_end(), plain.trim_ascii_end());
    let release = Release::parse(&verified).expect("a Release file");
    let (mut served, mut named) = (0, BTreeSet::new());
    for (path, listed) in &release.files {
        let kinds: Vec<HashType> = listed.hashes.iter().map(|hash| hash.kind).collect();
        assert!(
            kinds.ends_with(&[HashType::Sha256, HashType::Sha512]),
            "{path}: {kinds:?}"
        );
        let place = format!("{suite}/{path}");
        if let Some((digest, size)) = files.get(&place) {
            assert_eq!(
                (Some(*digest), *size),
                (listed.checksum.digest(), listed.size),
                "{place}"
            );
            let directory = place.rsplit_once('/').expect("a directory").0;
            for hash in &listed.hashes {
                let by_hash = format!("{directory}/by-hash/{}/{}", hash.kind, hash.hex);
                assert_eq!(files.get(&by_hash).map(|file| file.0), Some(*digest), "{by_hash}");
            }
            served += 1;
        } else {
            assert!(path.file_name() == "Packages", "{path} is listed and not there");
            let text = index(site, &files, &place);
            assert_eq!(
                (Some(Digest::of(&text)), text.len() as u64),
                (listed.checksum.digest(), listed.size),
                "{path}"
            );
            let mut reader = PackagesReader::new(|file| {
                let there = files.get(file.path.as_str());
                assert_eq!(
                    there,
                    file.checksum.digest().map(|digest| (digest, file.size)).as_ref(),
                    "{} is listed and not there",
                    file.path
                );
                named.insert(file.path.to_string());
            });
            reader.push(&text).expect("an index");
            reader.finish().expect("an index");
        }
    }
    assert!(
        served >= 4,
        "{:?}",
        release.files.keys().map(RepoPath::as_str).collect::<Vec<_>>()
    );
    let held: BTreeSet<String> = files.keys().filter(|path| path.starts_with("pool/")).cloned().collect();
    assert_eq!(held, named, "every file is listed");
    site.assert_whole();
    files
}

/// Counts architectures as versions, and goes on to list what was left out, so that clients get 404s.
#[test]
fn fault_7_versions_are_counted_by_architecture_and_nothing_is_listed_that_is_left_out() {
    let filtered = Filtered::new();
    let site = &filtered.site;
    filtered.reindexed(
        &filtered.key,
        &[("keep_versions", "1"), ("exclude_patterns", "[\"-dbg$\"]")],
    );
    let report = site.sync();
    assert_eq!(
        (&report["outcome"], &report["snapshot"]["absent_files"]),
        (&"recorded".into(), &0.into())
    );
    let files = assert_consistent(site, &filtered.keyring());
    let expected = [
        "app_1.10_amd64.deb",
        "app_1.2_arm64.deb",
        "data_1_all.deb",
        "lib_2_amd64.deb",
        "other_1_amd64.deb",
    ];
    assert_eq!(pool(&files), BTreeSet::from(expected));
    // Nothing else was fetched.
    let fetched = Site::fetched(&site.upstream.requests(), "pool/");
    assert_eq!(fetched.len(), expected.len(), "{fetched:?}");
    // What is kept is said in upstream's own words.
    let packed = site
        .archive
        .root()
        .join(format!("dists/{SUITE}/main/binary-arm64/Packages.gz"));
    let packed = fs::read(packed).expect("an index");
    let mut upstream = String::new();
    let mut reader = decompress(Compression::Gzip, &packed[..], 1 << 20).expect("sets up");
    reader.read_to_string(&mut upstream).expect("text");
    let ours = index(site, &files, &format!("dists/{SUITE}/main/binary-arm64/Packages"));
    let stanzas = |text: &str| text.split_inclusive("\n\n").map(str::to_owned).collect::<Vec<_>>();
    let kept: Vec<String> = stanzas(&upstream)
        .into_iter()
        .filter(|stanza| !stanza.contains("Version: 1.1\n"))
        .collect();
    assert_eq!(
        stanzas(&String::from_utf8(ours).expect("text")).concat().trim_end(),
        kept.concat().trim_end()
    );
    // What upstream signed stays beside it.
    for name in ["InRelease", "Release", "Release.gpg"] {
        let original = fs::read(site.archive.root().join(format!("dists/{SUITE}/{name}"))).expect("a Release file");
        assert_eq!(
            bytes(site, &files, &format!("dists/{SUITE}/.upstream/{name}")),
            original
        );
    }
}

#[test]
fn an_unchanged_upstream_costs_one_conditional_request_and_no_snapshot() {
    let mut filtered = Filtered::new();
    filtered.reindexed(&filtered.key, &[("keep_versions", "1")]);
    let first = filtered.site.sync();
    for _ in 0..2 {
        filtered.site.upstream.take_requests();
        assert_eq!(filtered.site.sync()["outcome"], "unchanged");
        let requests = filtered.site.upstream.take_requests();
        let asked: Vec<_> = requests
            .iter()
            .map(|r| (r.path.as_str(), r.conditional, r.status))
            .collect();
        assert_eq!(asked, [(format!("dists/{SUITE}/InRelease").as_str(), true, 304)]);
    }
    // Made anew from the same input, it is the same, signature included.
    let before = filtered.site.newest();
    let forced = filtered.site.json("sync --force")["mirrors"][0].take();
    assert_eq!(
        (&forced["outcome"], &forced["snapshot"]["changes"]),
        (&"recorded".into(), &0.into())
    );
    assert_eq!(filtered.site.newest(), before);
    assert_ne!(first["snapshot"]["name"], forced["snapshot"]["name"]);
    // And it follows upstream.
    filtered.site.add(&deb("new", "1", 100));
    assert_eq!(filtered.site.sync()["outcome"], "recorded");
    let files = assert_consistent(&filtered.site, &filtered.keyring());
    assert!(pool(&files).contains("new_1_amd64.deb"));
}

#[test]
fn another_filter_or_key_makes_a_new_snapshot() {
    let filtered = Filtered::new();
    let site = &filtered.site;
    filtered.reindexed(&filtered.key, &[("keep_versions", "1")]);
    site.sync();
    filtered.reindexed(&filtered.key, &[("keep_versions", "2")]);
    assert_eq!(site.sync()["outcome"], "recorded");
    assert!(pool(&assert_consistent(site, &filtered.keyring())).contains("app_1.1_arm64.deb"));

    let other = filtered.gpg.key("Other <other@example.org>");
    filtered.reindexed(&other, &[("keep_versions", "2")]);
    assert_eq!(site.sync()["outcome"], "recorded");
    let keyring = Keyring::parse(&filtered.gpg.public_armored(&other)).expect("a key");
    assert_consistent(site, &keyring);
    assert_eq!(site.sync()["outcome"], "unchanged");

    // Without a filter, upstream's own files are back.
    configure(site, &[]);
    assert_eq!(site.sync()["outcome"], "recorded");
    let files = site.newest();
    let original = fs::read(site.archive.root().join(format!("dists/{SUITE}/InRelease"))).expect("a Release file");
    assert_eq!(bytes(site, &files, &format!("dists/{SUITE}/InRelease")), original);
    assert!(!files.keys().any(|path| path.contains(".upstream")), "{files:?}");
    assert_eq!(site.snapshots("debian").len(), 4);
}

#[test]
fn reindexing_without_a_filter_signs_the_archive_anew() {
    let filtered = Filtered::new();
    filtered.reindexed(&filtered.key, &[]);
    filtered.site.sync();
    let files = filtered.site.newest();
    let in_release = bytes(&filtered.site, &files, &format!("dists/{SUITE}/InRelease"));
    let verified = verify_inline(&in_release, &filtered.keyring(), now()).expect("signed by the mirror");
    let release = Release::parse(&verified).expect("a Release file");
    // Indices of which nothing is left out are upstream's.
    for form in [".gz", ".xz"] {
        let path: RepoPath = format!("main/binary-amd64/Packages{form}").parse().expect("valid");
        let original = fs::read(filtered.site.archive.root().join(format!("dists/{SUITE}/{path}")));
        let digest = Digest::of(&original.expect("an index"));
        assert_eq!(release.files[&path].checksum.digest(), Some(digest));
    }
    assert_eq!(filtered.site.sync()["outcome"], "unchanged");
}

#[test]
fn upstreams_signature_counts_as_ever() {
    let filtered = Filtered::new();
    filtered.reindexed(&filtered.key, &[("keep_versions", "1")]);
    filtered.site.sync();
    let visible = filtered.site.visible();
    let other = SigningKey::generate("Other <other@example.org>", now().plus(-60)).expect("a key");
    let trusted = filtered
        .site
        .env
        .key("archive.asc", &other.public_armored().expect("a key"));
    // Neither what is stored nor what is new passes, and our own key vouches for nothing of upstream's.
    filtered.site.run("sync").code(5).stderr_has("not in the keyring");
    fs::write(trusted, filtered.gpg.public_armored(&filtered.key)).expect("own file");
    filtered
        .site
        .run("sync --force")
        .code(5)
        .stderr_has("not in the keyring");
    assert_eq!(filtered.site.visible(), visible);
}

#[test]
fn a_filter_without_a_word_on_the_indices_is_refused() {
    let site = many();
    configure(&site, &[("keep_versions", "1")]);
    site.run("sync")
        .code(1)
        .stderr_has("mirrors.debian.filters.keep_versions: leaves out files that upstream's signed indices list")
        .stderr_has("filters.reindex = true")
        .stderr_has("filters.allow_missing = true");
    assert!(!site.env.state_dir().join("catalog.db").exists(), "nothing was begun");
}

#[test]
fn what_is_listed_and_left_out_is_counted_everywhere() {
    let mut site = many();
    configure(&site, &[("keep_versions", "1"), ("allow_missing", "true")]);
    let report = site.sync();
    assert_eq!(report["snapshot"]["absent_files"], 3);
    let files = site.newest();
    assert_eq!(pool(&files).len(), 6);
    let original = fs::read(site.archive.root().join(format!("dists/{SUITE}/InRelease"))).expect("a Release file");
    assert_eq!(bytes(&site, &files, &format!("dists/{SUITE}/InRelease")), original);
    site.assert_whole();

    let absent = |document: &serde_json::Value, list: &str| document[list][0]["absent_files"].clone();
    assert_eq!(absent(&site.json("snapshot list --detailed"), "snapshots"), 3);
    assert_eq!(absent(&site.json("status"), "mirrors"), 3);
    let sentence = "3 files that its indices list are absent: the filters leave them out";
    let detailed = site.run("snapshot list --detailed").success().stdout_has(sentence);
    detailed.stdout_has("\n\ndebian 20");
    site.run("status").success().stdout_has(&format!("debian: {sentence}"));
    site.run("check config")
        .success()
        .stdout_has("upstream's, which list what the filters leave out");
    assert_eq!(site.sync()["outcome"], "unchanged");

    // A later snapshot has its own number.
    site.add(&deb("app", "1.10", 100));
    let listed = site.run("sync").success();
    listed.stdout_has("its indices list 1 files more, which the filters leave out");
    let counts = site.json("snapshot list");
    let counts: Vec<_> = counts["snapshots"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| s["absent_files"].clone())
        .collect();
    assert_eq!(counts, [1, 3]);
    configure(&site, &[]);
    assert_eq!(site.sync()["snapshot"]["absent_files"], 0);
    assert_eq!(absent(&site.json("status"), "mirrors"), 0);
}

#[test]
fn packages_are_kept_with_what_they_need() {
    let filtered = Filtered::new();
    let site = &filtered.site;
    filtered.reindexed(
        &filtered.key,
        &[("packages", "[\"app\", \"gone\"]"), ("keep_versions", "1")],
    );
    let ran = site.run("sync").success();
    ran.stderr_has("names gone, which upstream does not have");
    let files = assert_consistent(site, &filtered.keyring());
    let expected = [
        "app_1.10_amd64.deb",
        "app_1.2_arm64.deb",
        "data_1_all.deb",
        "lib_2_amd64.deb",
    ];
    assert_eq!(pool(&files), BTreeSet::from(expected));
}

#[test]
fn filters_that_leave_nothing_are_refused_and_change_nothing() {
    let site = many();
    configure(&site, &[]);
    site.sync();
    let visible = site.visible();
    configure(&site, &[("packages", "[\"gone\"]"), ("allow_missing", "true")]);
    site.run("sync")
        .code(4)
        .stderr_has("leave out all")
        .stderr_has("correct the mirror's filters");
    assert_eq!(site.visible(), visible);
}

#[test]
fn keys_that_cannot_sign_are_told_apart() {
    let filtered = Filtered::new();
    let site = &filtered.site;
    filtered.reindexed(&filtered.key, &[("keep_versions", "1")]);
    let path = site.env.root().join("keys/secret.asc");
    assert_refused(site, &path, 0o644, None, "open to everybody");
    let public = filtered.gpg.public_armored(&filtered.key);
    assert_refused(site, &path, 0o600, Some(&public), "it holds no secret key");
    let expired = filtered.gpg.expired_key("Old <old@example.org>");
    let expired = filtered.gpg.secret_armored(&expired);
    assert_refused(site, &path, 0o600, Some(&expired), "Expired on");
    fs::remove_file(&path).expect("own file");
    site.run("sync").code(1).stderr_has("filters.signing_key_path");
    assert!(site.snapshots("debian").is_empty());
}

#[track_caller]
fn assert_refused(site: &Site, path: &Path, mode: u32, contents: Option<&[u8]>, why: &str) {
    if let Some(contents) = contents {
        fs::write(path, contents).expect("own file");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
    site.run("sync").code(1).stderr_has(why).stderr_has("secret.asc");
}

#[test]
fn the_check_tells_of_shell_patterns_and_gives_the_certificate() {
    let filtered = Filtered::new();
    let site = &filtered.site;
    filtered.reindexed(&filtered.key, &[("exclude_patterns", "[\"linux-*\", \"-dbg$\"]")]);
    let checked = site.run("check config").success();
    checked
        .stdout_has("did you mean \"^linux-\" by \"linux-*\"?")
        .stdout_has(&format!("rebuilt, signed by {}", filtered.key.fingerprint));
    let mirror = site.json("check config")["mirrors"][0].take();
    assert_eq!(mirror["warnings"].as_array().map(Vec::len), Some(1));
    let certificate = text(&mirror["filters"]["signing"]["certificate"]);
    Keyring::parse(certificate.as_bytes()).expect("a public key");
    configure(site, &[("exclude_patterns", "[\"*-dbg\"]"), ("allow_missing", "true")]);
    site.run("check config").code(1).stderr_has("did you mean \"-dbg$\"?");
}

#[test]
fn a_dry_run_tells_what_is_fetched_apart_from_what_is_made_here() {
    let filtered = Filtered::new();
    let site = &filtered.site;
    filtered.reindexed(&filtered.key, &[("exclude_patterns", "[\"-dbg$\"]")]);
    let told = site.json("sync --dry-run");
    site.run("sync --dry-run").success().stdout_has(" to make here (");
    let synced = site.sync();
    for (told_as, is) in [("fetch_files", "fetched_files"), ("fetch_bytes", "fetched_bytes")] {
        assert_eq!(told["mirrors"][0][told_as], synced["snapshot"][is], "{told}\n{synced}");
        assert_eq!(told[told_as], synced["snapshot"][is]);
    }
    // At least two forms of one index, and three Release files.
    assert!(
        told["made_files"].as_u64() >= Some(5) && told["made_bytes"].as_u64() > Some(0),
        "{told}"
    );
    assert_eq!(told["made_files"], told["mirrors"][0]["made_files"]);
    let after = told["free_bytes"].as_u64().expect("a number") - told["free_bytes_after"].as_u64().expect("a number");
    let bytes = |key: &str| told[key].as_u64().expect("a number");
    assert!(
        after >= bytes("fetch_bytes") + bytes("made_bytes"),
        "what is made takes room: {told}"
    );
}

/// Puts filters over a mirror of one suite, whose indices its own key signs.
fn sign_own(site: &Site, mirror: Mirror, gpg: &GpgHome, key: &GpgKey, filters: &[(&str, &str)]) {
    let secret = site.env.key("secret.asc", &gpg.secret_armored(key));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("own file");
    let table = "mirrors.debian.filters";
    let config = Config::new().mirror(mirror).set_in(table, "reindex", "true").set_in(
        table,
        "signing_key_path",
        &format!("{:?}", secret.display().to_string()),
    );
    let with = |config: Config, (key, value): &(&str, &str)| config.set_in(table, key, value);
    site.configure_all(filters.iter().fold(config, with));
}

fn release_at(site: &Site, files: &Files, path: &str, keyring: &Keyring) -> Release {
    let verified = verify_inline(&bytes(site, files, path), keyring, now()).expect("signed by the mirror");
    Release::parse(&verified).expect("a Release file")
}

#[test]
fn sources_follow_and_other_indices_stay() {
    let sha256 = |name: &str| Digest::of(name.as_bytes());
    let stanza = |name: &str| {
        let file = format!("{name}_1.dsc");
        format!(
            "Package: {name}\nVersion: 1\nDirectory: pool/src\nFiles:\n {} {} {file}\nChecksums-Sha256:\n {} {} {file}\n",
            "0".repeat(32),
            file.len(),
            sha256(&file),
            file.len()
        )
    };
    let suite = SuiteSpec::new(SUITE)
        .package("main", deb("aa", "1", 100))
        .package("main", deb("bb", "1", 100))
        .index("main/source/Sources", stanza("aa") + "\n" + &stanza("bb"))
        .index("main/i18n/Translation-en", "Package: aa\n");
    let site = Site::new([suite]);
    let pool_directory = site.archive.root().join("pool/src");
    fs::create_dir_all(&pool_directory).expect("own directory");
    for name in ["aa_1.dsc", "bb_1.dsc"] {
        fs::write(pool_directory.join(name), name).expect("own directory");
    }
    let (gpg, mirror) = (GpgHome::new(), site.mirror("debian").set("mirror_source", "true"));
    let key = gpg.key("Mirror <mirror@example.org>");
    sign_own(&site, mirror, &gpg, &key, &[("exclude_patterns", "[\"^bb$\"]")]);
    assert_eq!(site.json("sync --dry-run")["mirrors"][0]["outcome"], "changed");
    site.sync();
    let files = site.newest();
    assert_eq!(pool(&files), BTreeSet::from(["aa_1.dsc", "aa_1_amd64.deb"]));
    let sources = index(&site, &files, &format!("dists/{SUITE}/main/source/Sources"));
    assert_eq!(String::from_utf8(sources).expect("text"), stanza("aa") + "\n");
    let keyring = Keyring::parse(&gpg.public_armored(&key)).expect("a key");
    let release = release_at(&site, &files, &format!("dists/{SUITE}/InRelease"), &keyring);
    let listed: Vec<&str> = release.files.keys().map(RepoPath::as_str).collect();
    assert!(
        listed.contains(&"main/i18n/Translation-en.xz") && listed.contains(&"main/source/Sources.gz"),
        "{listed:?}"
    );
    for (path, file) in &release.files {
        if let Some((digest, size)) = files.get(&format!("dists/{SUITE}/{path}")) {
            assert_eq!((Some(*digest), *size), (file.checksum.digest(), file.size), "{path}");
        }
    }
    assert_eq!(site.json("sync --dry-run")["mirrors"][0]["outcome"], "unchanged");
    assert_eq!(site.sync()["outcome"], "unchanged");
    site.assert_whole();
}

#[test]
fn flat_repositories_are_filtered_and_reindexed() {
    let suite = SuiteSpec::flat("./")
        .package("main", deb("aa", "1", 100))
        .package("main", deb("bb", "1", 100));
    let site = Site::new([suite]);
    let (gpg, key) = (GpgHome::new(), site.archive.key().public_armored().expect("a key"));
    let mirror = Mirror::new("debian", &site.upstream.url())
        .suites(&["./"])
        .without("sections")
        .without("architectures")
        .key(&site.env.key("archive.asc", &key));
    let key = gpg.key("Mirror <mirror@example.org>");
    sign_own(&site, mirror, &gpg, &key, &[("packages", "[\"aa\"]")]);
    site.sync();
    let files = site.newest();
    let keyring = Keyring::parse(&gpg.public_armored(&key)).expect("a key");
    let release = release_at(&site, &files, "InRelease", &keyring);
    assert!(release.files.contains_key(&"Packages.gz".parse().expect("valid")));
    let text = String::from_utf8(index(&site, &files, "Packages")).expect("text");
    assert!(
        text.contains("Package: aa\n") && !text.contains("Package: bb\n"),
        "{text}"
    );
    let debs: Vec<&String> = files.keys().filter(|path| path.contains("_amd64")).collect();
    assert!(debs.len() == 1 && debs[0].contains("aa_1"), "{debs:?}");
    assert!(files.contains_key(".upstream/InRelease"));
    assert_eq!(site.sync()["outcome"], "unchanged");
}

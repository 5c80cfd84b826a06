//! The checks on snapshots of a small signed archive, as it is and damaged in every way that a check is for.
//!
//! Owns the fixture: an archive on disk whose files become a snapshot, after a test has tampered with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::catalog::{Catalog, Recording, ReleaseFacts, Source};
use crate::demo::{Archive as Upstream, ArchiveBuilder, Deb, Signing, SigningKey, SuiteSpec};
use crate::model::{BlobFacts, Checksum, Digest, Entry, ListingBuilder, Role};

const SUITE: &str = "stable";
const INDEX: &str = "dists/stable/main/binary-amd64/Packages";
const NOW: Timestamp = Timestamp::from_unix(1_750_000_000);

/// A state directory with snapshots of archives.
struct House {
    place: tempfile::TempDir,
    catalog: Catalog,
    blobs: BlobStore,
    snapshots: u32,
}

/// Files of a snapshot to be: path to bytes.
type Files = BTreeMap<String, Vec<u8>>;

/// A test of a snapshot with nothing to compare it with, and whose signatures do not matter.
fn alone(snapshot: &SnapshotRecord) -> Subject<'_> {
    Subject {
        mirror: &snapshot.mirror,
        snapshot,
        production: None,
        trust: Trust::Unchecked,
        suites: &[],
        rules: Rules {
            min_packages: 1,
            max_shrink: Percent::HALF,
            min_validity: Duration::ZERO,
        },
        companions: Vec::new(),
        deep: false,
        now: NOW,
    }
}

impl House {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("temporary directory");
        let (path, root) = (place.path().join("catalog.db"), place.path().join("blobs"));
        fs::write(&path, "").expect("makes a file");
        fs::create_dir(&root).expect("makes a directory");
        Self {
            catalog: Catalog::open(&path).expect("opens"),
            blobs: BlobStore::open(&root, None).expect("opens"),
            place,
            snapshots: 0,
        }
    }

    fn archive(&self, name: &str, suite: SuiteSpec) -> Upstream {
        let root = self.place.path().join("archives").join(name);
        ArchiveBuilder::new()
            .suite(suite)
            .create(&root, NOW.plus(-100))
            .expect("an archive")
    }

    /// Records `files` as a snapshot of `mirror`, and points `pointers` there.
    fn record(&mut self, mirror: &str, files: &Files, absent: u64, pointers: &[Pointer]) -> SnapshotRecord {
        let id: MirrorId = mirror.parse().expect("valid");
        let row = self.catalog.adopt_mirror(&id).expect("adopts");
        let mut listing = ListingBuilder::new();
        for (path, bytes) in files {
            let role = match path {
                _ if path.starts_with("pool/") => Role::Pool,
                _ if path.ends_with("Release") || path.ends_with("Release.gpg") => Role::Release,
                _ => Role::Index,
            };
            let entry = Entry {
                role,
                blob: self.keep(bytes),
                by_hash: Vec::new(),
            };
            listing.add(path.parse().expect("valid"), entry).expect("no clash");
        }
        let listing = listing.build().expect("no clash");
        let prepared = self.catalog.prepare(&id, &listing, NOW).expect("prepares");
        let manifest = self.keep(prepared.manifest()).digest;
        self.snapshots += 1;
        let name = format!("s{}", self.snapshots).parse().expect("valid");
        let releases = [ReleaseFacts {
            suite: SUITE.parse().expect("valid"),
            date: None,
            valid_until: None,
            origin: None,
            label: None,
            suite_field: None,
            codename: None,
            signers: Vec::new(),
            etag: None,
            last_modified: None,
        }];
        let what = Recording {
            source: Source {
                url: "http://h/",
                selection: "all",
                releases: &releases,
            },
            absent,
            pointers,
            ..Recording::plain(manifest, &name, NOW)
        };
        self.catalog.record(&prepared, &what).expect("records");
        let snapshots = self.catalog.reader().snapshots(row).expect("reads");
        snapshots
            .into_iter()
            .find(|snapshot| snapshot.name == name)
            .expect("recorded")
    }

    fn keep(&mut self, bytes: &[u8]) -> BlobFacts {
        let digest = Digest::of(bytes);
        let inbox = self.blobs.inbox(&self.place.path().join("tmp")).expect("opens");
        let mut incoming = inbox
            .begin(bytes.len() as u64, Some(Checksum::Sha256(digest)))
            .expect("begins");
        incoming.write(bytes).expect("fits");
        let mut arrived = incoming.finish(Some(bytes.len() as u64), NOW).expect("as announced");
        self.blobs.place([&mut arrived]).expect("places");
        let facts = BlobFacts {
            digest,
            size: bytes.len() as u64,
            mtime: NOW,
        };
        if self.catalog.reader().blob(digest).expect("reads").is_none() {
            self.catalog.add_blobs(&[facts]).expect("adds");
        }
        facts
    }

    fn blob(&self, bytes: &[u8]) -> std::path::PathBuf {
        let hex = Digest::of(bytes).to_string();
        self.place.path().join("blobs").join(&hex[..2]).join(hex)
    }

    /// The report on a snapshot by these rules.
    fn check(&self, snapshot: &SnapshotRecord, change: impl FnOnce(&mut Subject<'_>)) -> Report {
        let production = self
            .catalog
            .reader()
            .snapshots(self.catalog.reader().mirror(&snapshot.mirror).expect("known"));
        let production = production.expect("reads").into_iter().find(SnapshotRecord::is_current);
        let mut subject = Subject {
            production: production.as_ref(),
            ..alone(snapshot)
        };
        change(&mut subject);
        let report = check(&subject, self.catalog.reader(), &self.blobs, &|| false);
        report.expect("reads").expect("is not stopped")
    }
}

fn trusts(key: &SigningKey) -> Trust {
    Trust::Keyring(Arc::new(
        Keyring::parse(&key.public_armored().expect("a key")).expect("a keyring"),
    ))
}

fn suite() -> SuiteSpec {
    SuiteSpec::new(SUITE)
        .package("main", Deb::new("app", "1", "amd64").depends("lib (>= 1)"))
        .package("main", Deb::new("lib", "1", "amd64"))
}

/// Every file below `root` but those by hash.
fn files(root: &Path) -> Files {
    let (mut found, mut open) = (Files::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("reads") {
            let path = entry.expect("reads").path();
            if path.is_dir() {
                open.extend((path.file_name() != Some("by-hash".as_ref())).then_some(path));
            } else {
                let name = path.strip_prefix(root).expect("below").to_str().expect("text");
                found.insert(name.to_owned(), fs::read(&path).expect("reads"));
            }
        }
    }
    found
}

/// The checks that failed, each with its details.
fn failed(report: &Report) -> Vec<(&str, Vec<&str>)> {
    let failed = report.checks.iter().filter(|check| check.outcome == Outcome::Failed);
    failed
        .map(|check| (check.name.as_str(), check.details.iter().map(String::as_str).collect()))
        .collect()
}

fn named<'r>(report: &'r Report, name: &str) -> &'r Check {
    report.checks.iter().find(|check| check.name == name).expect("is there")
}

#[test]
fn a_good_snapshot_passes_every_check() {
    let mut house = House::new();
    let archive = house.archive("a", suite().valid_for(1000));
    let snapshot = house.record("debian", &files(archive.root()), 0, &[Pointer::Current]);
    for deep in [false, true] {
        let report = house.check(&snapshot, |subject| {
            subject.trust = trusts(archive.key());
            subject.deep = deep;
        });
        assert_eq!(failed(&report), []);
        let outcomes: Vec<_> = report
            .checks
            .iter()
            .map(|check| (check.name.as_str(), check.outcome))
            .collect();
        let expected = [
            "signatures",
            "valid-until",
            "suites",
            "indices",
            "listing",
            "cache",
            "counts",
        ];
        assert_eq!(outcomes[..7], expected.map(|name| (name, Outcome::Passed)));
        assert_eq!(outcomes[7], ("installability", Outcome::Skipped), "it is in production");
        assert!(report.passed() && report.deep == deep);
    }
    let unchecked = house.check(&snapshot, |_| ());
    assert_eq!(named(&unchecked, "signatures").outcome, Outcome::Skipped);
    assert!(named(&unchecked, "signatures").text.contains("no_pgp_check"));
}

#[test]
fn release_files_must_be_signed_by_todays_keys_and_say_the_same() {
    let mut house = House::new();
    let (archive, other) = (house.archive("a", suite()), house.archive("b", suite()));
    let whole = files(archive.root());
    let judged = |house: &mut House, files: &Files| {
        let snapshot = house.record("debian", files, 0, &[]);
        let report = house.check(&snapshot, |subject| subject.trust = trusts(archive.key()));
        let details = named(&report, "signatures").details.clone();
        assert_eq!(report.failed().any(|name| name == "signatures"), !details.is_empty());
        details
    };
    assert_eq!(judged(&mut house, &whole), [""; 0]);
    let details = judged(&mut house, &files(other.root()));
    assert!(
        details.len() == 2 && details[0].contains("is not in the keyring"),
        "{details:?}"
    );

    let (inline, plain, gpg) = (
        "dists/stable/InRelease",
        "dists/stable/Release",
        "dists/stable/Release.gpg",
    );
    let without = |names: &[&str]| {
        let mut files = whole.clone();
        for name in names {
            files.remove(*name);
        }
        files
    };
    assert_eq!(judged(&mut house, &without(&[inline])), [""; 0]);
    assert_eq!(judged(&mut house, &without(&[plain, gpg])), [""; 0]);
    assert_eq!(judged(&mut house, &without(&[gpg])), [""; 0], "clients take InRelease");
    assert_eq!(
        judged(&mut house, &without(&[inline, gpg])),
        ["stable: Release is not signed"]
    );
    assert_eq!(
        judged(&mut house, &without(&[inline, plain, gpg])),
        ["stable: there is no Release file"]
    );

    let mut older = whole.clone();
    let newer = house.archive(
        "a",
        suite()
            .origin("Other", "Other")
            .package("main", Deb::new("new", "1", "amd64")),
    );
    older.insert(plain.to_owned(), fs::read(newer.root().join(plain)).expect("reads"));
    let details = judged(&mut house, &older);
    assert!(
        details.contains(&"stable: InRelease and Release do not say the same".to_owned()),
        "{details:?}"
    );
    let unsigned = house.archive("c", suite().signing(Signing::Unsigned));
    assert_eq!(
        judged(&mut house, &files(unsigned.root())),
        ["stable: Release is not signed"]
    );
}

#[test]
fn release_files_must_hold_for_a_while() {
    let mut house = House::new();
    for (valid_for, least, outcome) in [
        (None, 1_000_000, Outcome::Passed),
        (Some(1100), 0, Outcome::Passed),
        (Some(1100), 1000, Outcome::Passed),
        (Some(1100), 1001, Outcome::Failed),
        (Some(100), 0, Outcome::Failed),
    ] {
        let suite = valid_for.map_or_else(suite, |seconds| suite().valid_for(seconds));
        let archive = house.archive("a", suite);
        let snapshot = house.record("debian", &files(archive.root()), 0, &[]);
        let report = house.check(&snapshot, |subject| {
            subject.rules.min_validity = Duration::from_secs(least);
        });
        assert_eq!(named(&report, "valid-until").outcome, outcome, "{valid_for:?} {least}");
    }
}

#[test]
fn indices_must_be_what_release_lists_in_every_form() {
    let mut house = House::new();
    let archive = house.archive("a", suite());
    let whole = files(archive.root());
    let other = files(
        house
            .archive(
                "b",
                SuiteSpec::new(SUITE).package("main", Deb::new("else", "1", "amd64")),
            )
            .root(),
    );
    let (gz, xz) = (format!("{INDEX}.gz"), format!("{INDEX}.xz"));
    let mut judged = |files: &Files| {
        let snapshot = house.record("debian", files, 0, &[]);
        let report = house.check(&snapshot, |_| ());
        named(&report, "indices").details.clone()
    };
    let mut files = whole.clone();
    files.insert(xz.clone(), other[&xz].clone());
    assert_eq!(judged(&files), [format!("{xz} is another file than Release lists")]);
    // The form that is read is not even one.
    files.insert(gz.clone(), b"no gzip".to_vec());
    let details = judged(&files);
    assert!(
        details.len() == 1 && details[0].starts_with(&format!("{gz}: ")),
        "{details:?}"
    );
    files.remove(&gz);
    files.remove(&xz);
    assert_eq!(judged(&files), [""; 0], "what was not there is absent");
    let mut files = whole.clone();
    files.insert("dists/stable/InRelease".to_owned(), b"nonsense".to_vec());
    assert_eq!(judged(&files).len(), 1);
}

#[test]
fn forms_with_different_texts_are_found_though_release_lists_them() {
    let mut house = House::new();
    // Listed as it is: a form of an index whose other form has another text, and one that cannot be decompressed.
    let gzip = |text: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text).expect("memory");
        gzip.finish().expect("memory")
    };
    let suite = suite()
        .file("main/i18n/Translation-en", "one text")
        .file("main/i18n/Translation-en.gz", gzip(b"another!"))
        .file("main/i18n/Translation-de.gz", gzip(b"ein Text"))
        .file("main/i18n/Translation-fr.gz", &b"no gzip"[..]);
    let archive = house.archive("a", suite);
    let snapshot = house.record("debian", &files(archive.root()), 0, &[]);
    let report = house.check(&snapshot, |_| ());
    let details = &named(&report, "indices").details;
    let place = "dists/stable/main/i18n/Translation";
    assert_eq!(details.len(), 2, "{details:?}");
    assert_eq!(
        details[0],
        format!("{place}-en.gz does not decompress to what Release lists")
    );
    assert!(details[1].starts_with(&format!("{place}-fr.gz: ")), "{details:?}");
}

#[test]
fn what_indices_name_must_be_there_unless_filters_leave_it_out() {
    let mut house = House::new();
    let archive = house.archive("a", suite());
    let mut files = files(archive.root());
    let app = files
        .keys()
        .find(|path| path.contains("/app_"))
        .expect("a package")
        .clone();
    let lib = files
        .keys()
        .find(|path| path.contains("/lib_"))
        .expect("a package")
        .clone();
    let bytes = files.remove(&app).expect("there");
    for (absent, outcome) in [(0, Outcome::Failed), (1, Outcome::Passed), (2, Outcome::Passed)] {
        let snapshot = house.record("debian", &files, absent, &[]);
        let report = house.check(&snapshot, |_| ());
        let check = named(&report, "listing");
        assert_eq!(check.outcome, outcome, "{absent}");
        if absent == 0 {
            assert_eq!(check.details, [format!("{app} is not there")]);
        } else {
            assert_eq!(
                check.text,
                "1 files that indices name are there; 1 more are not, because the filters leave them out"
            );
        }
    }
    files.insert(app, bytes);
    files.insert(lib.clone(), b"something else".to_vec());
    let snapshot = house.record("debian", &files, 5, &[]);
    let report = house.check(&snapshot, |_| ());
    assert_eq!(
        named(&report, "listing").details,
        [format!("{lib} is another file than its index names")]
    );
}

#[test]
fn files_must_be_in_the_cache_and_whole() {
    let mut house = House::new();
    let archive = house.archive("a", suite());
    let files = files(archive.root());
    let snapshot = house.record("debian", &files, 0, &[]);
    let of = |house: &House, name: &str| {
        let bytes = files.iter().find(|(path, _)| path.contains(name)).expect("a file").1;
        house.blob(bytes)
    };
    let (app, lib) = (of(&house, "/app_"), of(&house, "/lib_"));
    let length = fs::metadata(&app).expect("there").len();
    fs::remove_file(&app).expect("removes");
    fs::write(&app, vec![0; usize::try_from(length).expect("small")]).expect("writes");
    assert_eq!(failed(&house.check(&snapshot, |_| ())), [], "only reading it tells");
    let deep = house.check(&snapshot, |subject| subject.deep = true);
    assert_eq!(
        failed(&deep),
        [("cache", vec!["pool/main/a/app/app_1_amd64.deb is damaged"])]
    );
    fs::remove_file(&lib).expect("removes");
    let shallow = house.check(&snapshot, |_| ());
    assert_eq!(
        failed(&shallow),
        [(
            "cache",
            vec!["pool/main/l/lib/lib_1_amd64.deb is not in the cache with its size"]
        )]
    );
}

#[test]
fn far_fewer_packages_than_in_production_fail() {
    let mut house = House::new();
    let many = (0..9).fold(suite(), |suite, n| {
        suite.package("main", Deb::new(&format!("extra{n}"), "1", "amd64"))
    });
    let whole = files(house.archive("a", many).root());
    house.record("debian", &whole, 0, &[Pointer::Current]);
    let few = files(house.archive("b", suite()).root());
    let snapshot = house.record("debian", &few, 0, &[Pointer::Staging]);
    let report = house.check(&snapshot, |_| ());
    assert_eq!(
        failed(&report),
        [(
            "counts",
            vec!["it has 2 packages where there were 11, and max_shrink is 50"]
        )]
    );
    let report = house.check(&snapshot, |subject| {
        subject.rules.max_shrink = Percent::new(90).expect("a percentage");
    });
    assert_eq!(failed(&report), []);
    let report = house.check(&snapshot, |subject| {
        subject.rules.max_shrink = Percent::new(90).expect("a percentage");
        subject.rules.min_packages = 3;
    });
    assert_eq!(failed(&report), [("counts", vec!["min_packages is 3"])]);
}

#[test]
fn dependencies_that_production_satisfies_must_stay_so_companions_included() {
    let mut house = House::new();
    let lib = |version: &str| SuiteSpec::new(SUITE).package("main", Deb::new("lib", version, "amd64"));
    let app = |needs: &str| SuiteSpec::new(SUITE).package("main", Deb::new("app", "1", "amd64").depends(needs));
    let tree = |house: &House, name: &str, suite: SuiteSpec| files(house.archive(name, suite).root());
    let (one, two) = (tree(&house, "l1", lib("1")), tree(&house, "l2", lib("2")));
    let (old, new) = (
        tree(&house, "a1", app("lib (>= 1)")),
        tree(&house, "a2", app("lib (>= 2)")),
    );
    house.record("base", &one, 0, &[Pointer::Current]);
    house.record("apps", &old, 0, &[Pointer::Current]);
    let snapshot = house.record("apps", &new, 0, &[Pointer::Staging]);
    let companion = |pointer: Pointer| ("base", pointer);
    let judged = |house: &House, companions: Vec<(&str, Pointer)>| {
        let at = |(mirror, pointer): &(&str, Pointer)| {
            let mirror = mirror.parse().expect("valid");
            Companion::at(house.catalog.reader(), &mirror, pointer).expect("reads")
        };
        let companions: Vec<Companion> = companions.iter().map(at).collect();
        let report = house.check(&snapshot, |subject| subject.companions = companions);
        let check = named(&report, "installability").clone();
        (check.outcome, check.details)
    };
    assert_eq!(
        judged(&house, Vec::new()),
        (Outcome::Passed, Vec::new()),
        "alone, it never could"
    );
    let worse = "app 1 on amd64: needs lib (>= 2), which nothing satisfies".to_owned();
    assert_eq!(
        judged(&house, vec![companion(Pointer::Current)]),
        (Outcome::Failed, vec![worse.clone()])
    );
    assert_eq!(
        judged(&house, vec![companion(Pointer::Staging)]).0,
        Outcome::Failed,
        "nothing is staged"
    );
    house.record("base", &two, 0, &[Pointer::Staging]);
    assert_eq!(
        judged(&house, vec![companion(Pointer::Current)]),
        (Outcome::Failed, vec![worse])
    );
    assert_eq!(
        judged(&house, vec![companion(Pointer::Staging)]),
        (Outcome::Passed, Vec::new())
    );
    let unknown = ("never-synced", Pointer::Current);
    assert_eq!(judged(&house, vec![unknown]).0, Outcome::Passed);
}

#[test]
fn an_index_to_compare_with_that_cannot_be_read_fails_by_name() {
    let mut house = House::new();
    let lib = |version: &str| SuiteSpec::new(SUITE).package("main", Deb::new("lib", version, "amd64"));
    let app = |needs: &str| SuiteSpec::new(SUITE).package("main", Deb::new("app", "1", "amd64").depends(needs));
    let base = files(house.archive("l1", lib("1")).root());
    let old = files(house.archive("a1", app("lib (>= 1)")).root());
    let new = files(house.archive("a2", app("lib (>= 2)")).root());
    house.record("base", &base, 0, &[Pointer::Current]);
    house.record("apps", &old, 0, &[Pointer::Current]);
    let snapshot = house.record("apps", &new, 0, &[Pointer::Staging]);
    let judged = |house: &House| {
        let mirror = "base".parse().expect("valid");
        let companion = Companion::at(house.catalog.reader(), &mirror, &Pointer::Current).expect("reads");
        let report = house.check(&snapshot, |subject| subject.companions = vec![companion]);
        let check = named(&report, "installability").clone();
        assert_eq!(check.outcome, Outcome::Failed);
        check.details
    };
    assert!(judged(&house)[0].starts_with("app 1 on amd64: needs"));
    for (mirror, files) in [("apps", &old), ("base", &base)] {
        for (_, bytes) in files.iter().filter(|(path, _)| path.starts_with(INDEX)) {
            fs::remove_file(house.blob(bytes)).expect("removes");
        }
        let details = judged(&house);
        let told = format!("{mirror}: {INDEX}");
        assert!(details.iter().any(|detail| detail.starts_with(&told)), "{details:?}");
    }
}

#[test]
fn whoever_stops_a_test_waits_for_one_file_at_most() {
    let mut house = House::new();
    let archive = house.archive("a", suite());
    house.record("debian", &files(archive.root()), 0, &[Pointer::Current]);
    let more = suite().package("main", Deb::new("more", "1", "amd64"));
    let files = files(house.archive("b", more).root());
    let snapshot = house.record("debian", &files, 0, &[]);
    let looks = |deep: bool, stop_at: usize| {
        let looked = std::cell::Cell::new(0);
        let stop = || {
            looked.set(looked.get() + 1);
            looked.get() > stop_at
        };
        let subject = Subject {
            deep,
            ..alone(&snapshot)
        };
        let report = check(&subject, house.catalog.reader(), &house.blobs, &stop).expect("reads");
        assert_eq!(report.is_some(), looked.get() <= stop_at);
        looked.get()
    };
    for deep in [false, true] {
        let all = looks(deep, usize::MAX);
        assert!(all > files.len(), "before each file");
        for stop_at in 0..all {
            assert_eq!(looks(deep, stop_at), stop_at + 1, "not one more");
        }
    }
}

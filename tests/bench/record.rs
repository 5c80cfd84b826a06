//! What recording a snapshot costs: time, entry rows and bytes of the database.
//!
//! Run with `cargo bench --bench record`; it prints one line for each case. Times include the waits for the disk below
//! the temporary directory. It judges nothing.

#![expect(clippy::print_stdout, reason = "printing its figures is what it is for")]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mirrorctl::catalog::{Catalog, CatalogReader, Claim, DirRow, MirrorRow, ROOT_DIR, Recorded, Seq, TreeNode};
use mirrorctl::model::{
    BlobFacts, Digest, Entry, HashType, IndexHash, Listing, ListingBuilder, MirrorId, RepoPath, Role, SnapshotName,
    Timestamp,
};
use mirrorctl_testkit::recording;

/// Files of the ordinary archive, and how many of them change from one snapshot to the next.
const FILES: u32 = 63_000;
const CHANGED: u32 = 300;
/// Index files, which all change with every snapshot that changes anything: part of `CHANGED`.
const INDICES: u32 = 40;
/// Snapshots of the long history.
const SNAPSHOTS: u32 = 1_000;
/// Snapshots that a site keeps.
const SNAPSHOTS_KEPT: u32 = 50;
/// Files of the archive that is one directory.
const FLAT_FILES: u32 = 100_000;
/// Names looked up, and directories listed, for one figure.
const LOOK_UPS: u32 = 5_000;

/// An archive whose files change from turn to turn.
struct Archive {
    files: BTreeMap<RepoPath, Entry>,
    turn: u32,
}

impl Archive {
    /// Two files in each directory of `pool/`, as source packages have on average, and some indices.
    fn ordinary() -> Self {
        let mut archive = Self {
            files: BTreeMap::new(),
            turn: 0,
        };
        archive.publish_indices();
        for n in 0..FILES - INDICES {
            archive.put_package(n);
        }
        archive
    }

    /// Every file in one directory, without indices.
    fn flat() -> Self {
        let files = (0..FLAT_FILES).map(|n| (path(&format!("package-{n:06}_1.0_amd64.deb")), pool_file(n, 0)));
        Self {
            files: files.collect(),
            turn: 0,
        }
    }

    fn put_package(&mut self, n: u32) {
        self.files.insert(package_path(n, self.turn), pool_file(n, self.turn));
    }

    /// New versions of some packages: the old names end and new ones begin.
    fn upgrade(&mut self) {
        let before = self.turn;
        self.turn += 1;
        for n in self.upgraded() {
            let old = (0..=before)
                .rev()
                .find(|turn| self.files.remove(&package_path(n, *turn)).is_some());
            assert!(old.is_some(), "package {n} was there");
            self.put_package(n);
        }
        self.publish_indices();
    }

    /// The packages of this turn: spread over the archive, others in every turn.
    fn upgraded(&self) -> impl Iterator<Item = u32> + use<> {
        let turn = self.turn;
        (0..CHANGED - INDICES).map(move |n| (n * 241 + turn * 17) % (FILES - INDICES))
    }

    fn publish_indices(&mut self) {
        for n in 0..INDICES {
            let path = path(&format!("dists/trixie/component-{}/binary-{n}/Packages.xz", n % 4));
            let blob = blob(&format!("index {n} {}", self.turn));
            let hex = blob.digest.to_string();
            let by_hash = [(HashType::Md5Sum, &hex[..32]), (HashType::Sha256, &hex[..])];
            let by_hash = by_hash.map(|(kind, hex)| IndexHash { kind, hex: hex.into() }).into();
            let role = Role::Index;
            self.files.insert(path, Entry { role, blob, by_hash });
        }
    }

    fn listing(&self) -> Listing {
        let mut builder = ListingBuilder::new();
        for (path, entry) in &self.files {
            builder.add(path.clone(), entry.clone()).expect("no clash");
        }
        builder.build().expect("no clash")
    }
}

fn path(text: &str) -> RepoPath {
    text.parse().expect("a valid path")
}

fn package_path(n: u32, turn: u32) -> RepoPath {
    let source = n / 2;
    path(&format!(
        "pool/main/{:02}/source-{source:05}/package-{n:05}_1.{turn}-1_amd64.deb",
        source % 40
    ))
}

fn pool_file(n: u32, turn: u32) -> Entry {
    Entry {
        role: Role::Pool,
        blob: blob(&format!("package {n} {turn}")),
        by_hash: Vec::new(),
    }
}

fn blob(content: &str) -> BlobFacts {
    BlobFacts {
        digest: Digest::of(content.as_bytes()),
        size: 123_456,
        mtime: Timestamp::from_unix(1_700_000_000),
    }
}

/// A catalog to measure.
struct Bench {
    catalog: Catalog,
    path: PathBuf,
    mirror: MirrorId,
    recorded: u32,
    /// Bytes of all manifests, which are blobs beside the database.
    manifests: u64,
    _place: tempfile::TempDir,
}

/// What one snapshot cost.
struct Cost {
    claim: Duration,
    prepare: Duration,
    record: Duration,
    changes: usize,
    manifest: u64,
    /// Bytes of database pages written by preparing and recording.
    written: u64,
    recorded: Recorded,
}

impl Bench {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("catalog.db");
        std::fs::write(&path, "").expect("makes a file");
        Self {
            catalog: Catalog::open(&path).expect("opens"),
            path,
            mirror: "debian".parse().expect("a valid id"),
            recorded: 0,
            manifests: 0,
            _place: place,
        }
    }

    /// Closes the catalog, which moves everything from the log into the database, and opens it again.
    fn settle(&mut self) -> u64 {
        let elsewhere = self.path.with_file_name("elsewhere.db");
        std::fs::write(&elsewhere, "").expect("makes a file");
        self.catalog = Catalog::open(&elsewhere).expect("opens");
        self.catalog = Catalog::open(&self.path).expect("opens");
        size(&self.path)
    }

    /// The steps of a sync whose blobs are all there.
    fn record(&mut self, listing: &Listing) -> Cost {
        let now = Timestamp::from_unix(1_700_000_000 + i64::from(self.recorded));
        let mirror = self.catalog.adopt_mirror(&self.mirror).expect("adopts");
        let blobs: Vec<_> = listing.iter().map(|(_, entry)| entry.blob).collect();
        let digests: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
        let (have, claim) = timed(|| self.catalog.claim(mirror, &digests, now).expect("claims"));
        let absent = blobs
            .iter()
            .zip(have)
            .filter(|(_, have)| *have == Claim::Absent)
            .map(|(blob, _)| *blob);
        let absent: Vec<_> = absent.collect();
        self.catalog.add_blobs(&absent).expect("adds");
        let log = self.path.with_file_name("catalog.db-wal");
        let before = size(&log);
        let (prepared, prepare) = timed(|| self.catalog.prepare(&self.mirror, listing, now).expect("prepares"));
        let manifest = BlobFacts {
            digest: Digest::of(prepared.manifest()),
            size: prepared.manifest().len() as u64,
            mtime: now,
        };
        self.catalog.add_blobs(&[manifest]).expect("adds");
        let called = snapshot(self.recorded);
        let what = recording(manifest.digest, &called, now);
        let (recorded, record) = timed(|| self.catalog.record(&prepared, &what).expect("records"));
        self.recorded += 1;
        self.manifests += manifest.size;
        Cost {
            claim,
            prepare,
            record,
            changes: recorded.changes,
            manifest: manifest.size,
            written: size(&log).saturating_sub(before),
            recorded,
        }
    }
}

fn snapshot(n: u32) -> SnapshotName {
    format!("snapshot-{n}").parse().expect("a valid name")
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let answer = act();
    (answer, start.elapsed())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The part of `time` that each of `count` things took.
fn microseconds(time: Duration, count: usize) -> f64 {
    let each = time / u32::try_from(count).expect("fewer than four thousand million");
    each.as_secs_f64() * 1e6
}

fn report(case: &str, cost: &Cost, grown: u64) {
    println!(
        "{case:<44} prepare {:>8.1} ms  record {:>7.1} ms  claim {:>7.1} ms  {:>6} entry rows  manifest {:>8} B  \
         written {:>9} B  database grew {grown:>9} B",
        milliseconds(cost.prepare),
        milliseconds(cost.record),
        milliseconds(cost.claim),
        cost.changes,
        cost.manifest,
        cost.written,
    );
}

fn measure(bench: &mut Bench, case: &str, listing: &Listing) -> Cost {
    let before = bench.settle();
    let cost = bench.record(listing);
    let after = bench.settle();
    report(case, &cost, after.saturating_sub(before));
    cost
}

/// Follows a path from the root of a listing, one look-up for each component.
fn resolve(reader: &CatalogReader, mirror: MirrorRow, seq: Seq, path: &RepoPath) -> DirRow {
    path.components()
        .fold(ROOT_DIR, |dir, name| match reader.child(mirror, seq, dir, name) {
            Ok(Some(TreeNode::Directory(child))) => child,
            Ok(Some(TreeNode::File(_))) => dir,
            other => panic!("{path}: {other:?}"),
        })
}

fn measure_reading(bench: &Bench, case: &str, seq: Seq, listing: &Listing) {
    let reader = CatalogReader::open(&bench.path).expect("opens");
    let mirror = reader.mirror(&bench.mirror).expect("is known");
    let step = listing.len() / LOOK_UPS as usize;
    let paths: Vec<_> = listing
        .iter()
        .map(|(path, _)| path)
        .step_by(step)
        .take(LOOK_UPS as usize)
        .collect();
    let look_up_all = || {
        paths
            .iter()
            .map(|path| resolve(&reader, mirror, seq, path))
            .collect::<Vec<_>>()
    };
    look_up_all();
    let (dirs, look_up) = timed(look_up_all);
    let names: usize = paths.iter().map(|path| path.components().count()).sum();
    let list = || -> usize {
        dirs.iter()
            .map(|dir| reader.children(mirror, seq, *dir).expect("reads").len())
            .sum()
    };
    list();
    let (_, list) = timed(list);
    println!(
        "{case:<44} look-up {:.2} µs a name, listing {:.2} µs a directory",
        microseconds(look_up, names),
        microseconds(list, dirs.len()),
    );
}

fn measure_changes(bench: &Bench, case: &str, from: Seq, to: Seq) {
    let reader = CatalogReader::open(&bench.path).expect("opens");
    let mirror = reader.mirror(&bench.mirror).expect("is known");
    let (changes, cold) = timed(|| reader.changes(mirror, from, to).expect("reads"));
    let (_, warm) = timed(|| reader.changes(mirror, from, to).expect("reads"));
    println!(
        "{case:<44} {} changed paths in {:.1} ms, once more in {:.1} ms",
        changes.files.len(),
        milliseconds(cold),
        milliseconds(warm),
    );
}

/// What deleting all but the newest five would free.
fn measure_freed(bench: &Bench) {
    let reader = CatalogReader::open(&bench.path).expect("opens");
    let mirror = reader.mirror(&bench.mirror).expect("is known");
    let snapshots = reader.snapshots(mirror).expect("reads");
    let going: HashSet<_> = snapshots.iter().skip(5).map(|snapshot| snapshot.row).collect();
    let (freed, time) = timed(|| reader.freed(&[mirror], &going).expect("reckons"));
    println!(
        "{:<44} {:.1} ms, {} blobs",
        format!("what {} of {} would free", going.len(), snapshots.len()),
        milliseconds(time),
        freed.total.blobs,
    );
}

fn ordinary_archive() {
    let mut bench = Bench::new();
    let mut archive = Archive::ordinary();
    let oldest = archive.listing();
    let first = measure(&mut bench, "first listing of 63,000 files", &oldest);
    for _ in 0..3 {
        measure(&mut bench, "unchanged", &oldest);
    }
    for _ in 0..5 {
        archive.upgrade();
        measure(&mut bench, "300 changes", &archive.listing());
    }
    let mut totals: Vec<Duration> = Vec::new();
    let (mut newest, mut before_newest) = (first.recorded.seq, first.recorded.seq);
    while bench.recorded < SNAPSHOTS {
        archive.upgrade();
        let cost = bench.record(&archive.listing());
        totals.push(cost.prepare + cost.record);
        (before_newest, newest) = (newest, cost.recorded.seq);
        if bench.recorded == SNAPSHOTS_KEPT {
            measure_freed(&bench);
        }
    }
    measure_freed(&bench);
    totals.sort();
    println!(
        "{SNAPSHOTS} snapshots with 300 changes each: database {} KB, manifests {} KB; prepare and record together: \
         median {:.1} ms, slowest {:.1} ms",
        bench.settle() / 1000,
        bench.manifests / 1000,
        milliseconds(totals[totals.len() / 2]),
        milliseconds(totals[totals.len() - 1]),
    );
    measure_reading(&bench, "in the oldest of them", first.recorded.seq, &oldest);
    measure_reading(&bench, "in the newest of them", newest, &archive.listing());
    measure_changes(&bench, "from the oldest to the newest", first.recorded.seq, newest);
    measure_changes(&bench, "from the last but one to the newest", before_newest, newest);
    let old: Vec<_> = (0..SNAPSHOTS / 2).map(snapshot).collect();
    let (one, rest) = (&old[..1], &old[1..]);
    for (case, names) in [("one", one), ("half of them", rest)] {
        let (gone, time) = timed(|| {
            bench
                .catalog
                .delete_snapshots(&bench.mirror, names, false, Timestamp::from_unix(1_800_000_000))
        });
        gone.expect("deletes");
        println!("deleting {case:<35} {:.1} ms", milliseconds(time));
    }
}

fn flat_archive() {
    let mut bench = Bench::new();
    let mut archive = Archive::flat();
    measure(&mut bench, "first listing of 100,000 files, flat", &archive.listing());
    for turn in 1..=3 {
        let changed = path(&format!("package-{:06}_1.0_amd64.deb", 50_000 + turn));
        archive.files.insert(changed, pool_file(50_000 + turn, turn));
        measure(&mut bench, "one change", &archive.listing());
    }
}

fn main() {
    ordinary_archive();
    flat_archive();
}

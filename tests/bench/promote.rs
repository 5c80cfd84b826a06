//! What a promote costs as an operator sees it: the whole process, in a catalog with many snapshots.
//!
//! Owns the comparison of `snapshot promote`, with and without a running mount, with the least that could be done
//! instead: renaming a symbolic link. With a mount, each promote is checked to be visible when the process has ended.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{is_wanted, machine, median, milliseconds, samples, settle, table};
use mirrorctl::blobs::BlobStore;
use mirrorctl::catalog::{Catalog, Recording, Source};
use mirrorctl::model::{BlobFacts, Entry, ListingBuilder, MirrorId, MoveTerms, Role, Timestamp};
use mirrorctl::state::StateDir;
use mirrorctl_testkit::{Config, Mirror, MountGuard, Scratch, TestEnv, is_root, now};

/// Snapshots in the catalog.
const SNAPSHOTS: usize = 500;
/// Files in each of them.
const FILES: usize = 3_000;
/// Files of a snapshot that are not those of the one before, spread over the archive.
const CHANGED: usize = 30;
/// Promotes, and runs of whatever they are compared with.
const RUNS: usize = 100;

const MIRROR: &str = "archive";
/// A file that holds the name of its snapshot.
const NAME_FILE: &str = "dists/stable/Release";

fn main() {
    if !is_wanted() {
        return;
    }
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let mirror = Mirror::new(MIRROR, "http://127.0.0.1:9/").suites(&["stable"]);
    env.configure(Config::new().mirror(mirror));
    fill(&env);
    settle();
    let scratch = Scratch::new();
    println!("{}", machine(&scratch));
    println!("{SNAPSHOTS} snapshots of {FILES} files, {CHANGED} of them new in each; {RUNS} runs of each");

    let mut rows = links(&scratch).to_vec();
    rows.push(row(
        "mirrorctl version: a process that does nothing",
        &run(&env, &["version"]),
    ));
    rows.push(row("mirrorctl snapshot list", &run(&env, &["snapshot", "list"])));
    rows.push(row("mirrorctl snapshot promote, no mount", &promote(&env, |_| {})));
    if is_root() && Path::new("/dev/fuse").exists() {
        let mount = MountGuard::mount(&env);
        let served = format!("{MIRROR}/current/{NAME_FILE}");
        let promoted = promote(&env, |name| {
            assert_eq!(
                env.read_served(&served),
                name,
                "the promote is visible when it has returned"
            );
        });
        rows.push(row("mirrorctl snapshot promote, mounted", &promoted));
        drop(mount);
    } else {
        println!("MISSING: a mount, which needs root and /dev/fuse");
    }
    print!(
        "{}",
        table("from start to end of the process", &["", "median", "slowest"], &rows)
    );
}

/// Records the snapshots, with real blobs.
fn fill(env: &TestEnv) {
    let state = StateDir::open_to_change(&env.state_dir()).expect("a state directory");
    let mut stores = Stores {
        catalog: Catalog::open(&state.catalog()).expect("a catalog"),
        blobs: BlobStore::open(&state.blobs(), state.owner().ids()).expect("a store"),
        incoming: state.incoming_root().join(MIRROR),
        mirror: MIRROR.parse().expect("a name"),
    };
    stores.catalog.adopt_mirror(&stores.mirror).expect("a mirror");
    let begun = now().plus(-1_000_000);
    let mut pool = BTreeMap::new();
    for number in 0..SNAPSHOTS {
        let time = begun.plus(i64::try_from(number).expect("a small number"));
        let step = if number == 0 { 1 } else { FILES / CHANGED };
        let new: Vec<usize> = (number % step..FILES).step_by(step).collect();
        let mut contents: Vec<String> = new.iter().map(|file| format!("file {file}, {number}")).collect();
        contents.push(snapshot_name(number));
        let mut blobs = stores.keep(&contents, time);
        let name_file = blobs.pop().expect("the last one");
        pool.extend(new.into_iter().zip(blobs));
        stores.record(&pool, name_file, &snapshot_name(number), time);
    }
}

fn snapshot_name(number: usize) -> String {
    format!("snapshot-{number}")
}

/// An entry of a listing, whose names for by-hash are nobody's business here.
fn entry(role: Role, blob: BlobFacts) -> Entry {
    Entry {
        role,
        blob,
        by_hash: Vec::new(),
    }
}

/// Where snapshots are recorded.
struct Stores {
    catalog: Catalog,
    blobs: BlobStore,
    incoming: PathBuf,
    mirror: MirrorId,
}

impl Stores {
    /// Makes blobs of `contents`.
    fn keep(&mut self, contents: &[impl AsRef<[u8]>], time: Timestamp) -> Vec<BlobFacts> {
        let inbox = self.blobs.inbox(&self.incoming).expect("an inbox");
        let keep = |bytes: &[u8]| {
            let size = bytes.len() as u64;
            let mut incoming = inbox.begin(size, None).expect("a file");
            incoming.write(bytes).expect("writes");
            let mut arrived = incoming.finish(Some(size), time).expect("complete");
            self.blobs.place([&mut arrived]).expect("has a place");
            BlobFacts {
                digest: arrived.digest(),
                size,
                mtime: time,
            }
        };
        let kept: Vec<BlobFacts> = contents.iter().map(|bytes| keep(bytes.as_ref())).collect();
        self.catalog.add_blobs(&kept).expect("records");
        kept
    }

    fn record(&mut self, pool: &BTreeMap<usize, BlobFacts>, name_file: BlobFacts, name: &str, time: Timestamp) {
        let mut listing = ListingBuilder::new();
        let release = NAME_FILE.parse().expect("a path");
        listing.add(release, entry(Role::Release, name_file)).expect("no clash");
        for (file, blob) in pool {
            let source = file / 2;
            let path = format!("pool/main/{}/source-{source}/package-{file}.deb", source % 40);
            let path = path.parse().expect("a path");
            listing.add(path, entry(Role::Pool, *blob)).expect("no clash");
        }
        let listing = listing.build().expect("no clash");
        let prepared = self.catalog.prepare(&self.mirror, &listing, time).expect("prepares");
        let manifest = self.keep(&[prepared.manifest()], time)[0].digest;
        let what = Recording {
            manifest,
            name: &name.parse().expect("a name"),
            source: Source {
                url: "http://127.0.0.1:9/",
                selection: "everything",
                releases: &[],
            },
            held: None,
            absent: 0,
            pointers: &[],
            terms: MoveTerms::default(),
            actor: "bench",
            created_at: time,
            now: time,
        };
        self.catalog.record(&prepared, &what).expect("records");
    }
}

/// The least that could be done instead: `current` as a symbolic link that is replaced.
fn links(scratch: &Scratch) -> [Vec<String>; 2] {
    let (next, current) = (scratch.path().join("next"), scratch.path().join("current"));
    let directory = File::open(scratch.path()).expect("own directory");
    let replace = |run: usize, durably: bool| {
        symlink(snapshot_name(run), &next).expect("own directory");
        let begun = Instant::now();
        fs::rename(&next, &current).expect("own directory");
        if durably {
            directory.sync_all().expect("own directory");
        }
        begun.elapsed()
    };
    [
        row(
            "rename(2) of a symbolic link",
            &samples(RUNS, |run| replace(run, false)),
        ),
        row(
            "rename(2) and fsync(2) of its directory",
            &samples(RUNS, |run| replace(run, true)),
        ),
    ]
}

fn run(env: &TestEnv, arguments: &[&str]) -> Vec<Duration> {
    samples(RUNS, |_| env.command(arguments).measure().wall)
}

/// Promotes two snapshots in turn; `check` gets the name of the one that was promoted.
fn promote(env: &TestEnv, check: impl Fn(&str)) -> Vec<Duration> {
    samples(RUNS, |run| {
        let name = snapshot_name(if run.is_multiple_of(2) { 0 } else { SNAPSHOTS - 1 });
        env.mirrorctl(&["snapshot", "stage", MIRROR, &name]).success();
        let took = env.command(&["snapshot", "promote", MIRROR]).measure().wall;
        check(&name);
        took
    })
}

fn row(what: &str, times: &[Duration]) -> Vec<String> {
    let slowest = times.iter().max().expect("some runs");
    vec![what.to_owned(), milliseconds(median(times)), milliseconds(*slowest)]
}

//! What clients of the mount notice of promotes: nothing stale, nothing slow, nothing cold.
//!
//! Owns three comparisons, each beside a control that shows that the way of looking can say no: answers to walks while
//! promotes run, against moves that nobody tells the mount; the slowest request around a promote with a large warm tree, against
//! a process that promotes nothing; and what the daemon reads for files that clients always ask for, against files that
//! nobody asked for before. `cargo bench --bench walks -- 50 3000` makes fewer and smaller snapshots.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;
mod many;
mod stores;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{is_wanted, machine, median, milliseconds, samples, settle, table};
use many::{HOT, MIRROR, NAME_FILE, Scale, snapshot_name};
use mirrorctl_testkit::{MountGuard, Scratch, TestEnv};

/// A directory that walks lead to, below `current`.
const SUITE: &str = "dists/stable";
/// Walks that are checked, at least.
const WALKS: u64 = 1_000_000;
/// Promotes around which requests are timed, and as many runs of a process that promotes nothing.
const TIMED: usize = 10;
/// How long requests are timed on after the promote has returned.
const AFTER: Duration = Duration::from_millis(200);

fn main() {
    if !is_wanted() {
        return;
    }
    let scale = Scale::wanted();
    let env = many::installation(scale);
    settle();
    println!("{}", machine(&Scratch::new()));
    println!("{}", scale.sentence());
    let mut ends = Ends([snapshot_name(0), snapshot_name(scale.snapshots - 1)]);
    env.mirrorctl(&["snapshot", "publish", MIRROR, ends.other()]).success();
    let mut mount = MountGuard::mount(&env);
    stale_answers(&env, &mut ends);
    slow_requests(&env, &mut ends);
    cold_files(&env, &mut ends, mount.worker());
}

/// The two snapshots between which production goes to and fro; it leads to the first.
struct Ends([String; 2]);

impl Ends {
    /// Where production does not lead, but will now.
    fn other(&mut self) -> &str {
        self.0.swap(0, 1);
        &self.0[0]
    }
}

/// Stages a snapshot and promotes it; what the promote took.
fn promote(env: &TestEnv, name: &str) -> Duration {
    env.mirrorctl(&["snapshot", "stage", MIRROR, name]).success();
    env.command(&["snapshot", "promote", MIRROR]).measure().wall
}

/// A walk down to the directory `suite`, whose number is another one after every move.
fn walk(suite: &Path) -> u64 {
    fs::symlink_metadata(suite).expect("always there").ino()
}

/// Moves by number, and what walks saw of them.
#[derive(Default)]
struct Timeline {
    begun: AtomicUsize,
    done: AtomicUsize,
    walks: AtomicU64,
    over: AtomicBool,
}

/// Walks alike, one after the other: the last move done before each, what they saw, the last move begun when they ended.
struct Looks {
    done: usize,
    seen: u64,
    begun: usize,
    count: u64,
}

impl Timeline {
    fn watch(&self, suite: &Path) -> Vec<Looks> {
        let mut all: Vec<Looks> = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            let done = self.done.load(Ordering::SeqCst);
            let seen = walk(suite);
            let begun = self.begun.load(Ordering::SeqCst);
            match all.last_mut() {
                Some(last) if (last.done, last.seen, last.begun) == (done, seen, begun) => last.count += 1,
                Some(_) | None => all.push(Looks {
                    done,
                    seen,
                    begun,
                    count: 1,
                }),
            }
            self.walks.fetch_add(1, Ordering::Relaxed);
        }
        all
    }
}

/// Lets two readers walk while `act` moves `current` to one and the other snapshot, until there were enough walks and moves.
/// `settled` returns when a move can be seen. Gives the walks, the stale ones of them, and the moves.
fn watched(
    env: &TestEnv,
    (walks, least_moves): (u64, usize),
    mut act: impl FnMut(),
    settled: impl Fn(u64),
) -> [u64; 3] {
    let suite = env.served(&format!("{MIRROR}/current/{SUITE}"));
    let timeline = Timeline::default();
    let mut seen = vec![walk(&suite)];
    let looks: Vec<Looks> = thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| timeline.watch(&suite)));
        while timeline.walks.load(Ordering::Relaxed) < walks || seen.len() <= least_moves {
            let number = seen.len();
            timeline.begun.store(number, Ordering::SeqCst);
            act();
            timeline.done.store(number, Ordering::SeqCst);
            settled(seen[number - 1]);
            seen.push(walk(&suite));
        }
        timeline.over.store(true, Ordering::SeqCst);
        let ended = readers.map(|reader| reader.join().expect("walks never fail"));
        ended.into_iter().flatten().collect()
    });
    let distinct: BTreeSet<&u64> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "moves can be told apart");
    let is_stale = |looks: &&Looks| !seen[looks.done..=looks.begun].contains(&looks.seen);
    let sum = |looks: &mut dyn Iterator<Item = &Looks>| looks.map(|looks| looks.count).sum();
    [
        sum(&mut looks.iter()),
        sum(&mut looks.iter().filter(is_stale)),
        seen.len() as u64 - 1,
    ]
}

fn stale_answers(env: &TestEnv, ends: &mut Ends) {
    let told = || {
        promote(env, ends.other());
    };
    let promoted = watched(env, (WALKS, 100), told, |_| {});
    let elsewhere = env.root().join("elsewhere");
    let untold = || {
        let publish = env.command(&["snapshot", "publish", MIRROR, ends.other()]);
        publish.env("MIRRORCTL_RUN_DIR", &elsewhere).run().success();
    };
    let suite = env.served(&format!("{MIRROR}/current/{SUITE}"));
    let noticed = |before: u64| {
        while walk(&suite) == before {
            thread::sleep(Duration::from_millis(5));
        }
    };
    let control = watched(env, (0, 5), untold, noticed);
    let row = |what: &str, figures: [u64; 3], good: bool| {
        let verdict = if good { "yes" } else { "no" };
        let figures = figures.map(|figure| figure.to_string());
        [&[what.to_owned()][..], &figures, &[verdict.to_owned()]].concat()
    };
    let rows = [
        row("promotes", promoted, promoted[1] == 0),
        row("control: moves that nobody tells", control, control[1] > 0),
    ];
    let head = ["", "walks", "stale", "moves", "as it must be"];
    println!("{}", table("stale answers", &head, &rows));
}

/// Looks at everything below `directory`, and counts it.
fn warm(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).expect("a directory");
    let each = entries.map(|entry| {
        let path = entry.expect("readable").path();
        let is_directory = fs::symlink_metadata(&path).expect("was listed").is_dir();
        1 + if is_directory { warm(&path) } else { 0 }
    });
    each.sum()
}

/// The slowest of the requests that a client makes during `act` and for a moment after it.
fn slowest(env: &TestEnv, act: impl FnOnce()) -> Duration {
    let current = env.served(&format!("{MIRROR}/current"));
    let paths = [current.join(NAME_FILE), current.join(HOT).join("hot-0.deb"), current];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::SeqCst) {
                for path in &paths {
                    let begun = Instant::now();
                    let _found = fs::symlink_metadata(path).expect("always there");
                    slowest = slowest.max(begun.elapsed());
                }
                // As clients do; and the promote needs the processor too.
                thread::sleep(Duration::from_micros(100));
            }
            slowest
        });
        act();
        thread::sleep(AFTER);
        over.store(true, Ordering::SeqCst);
        client.join().expect("requests never fail")
    })
}

fn slow_requests(env: &TestEnv, ends: &mut Ends) {
    let current = env.served(&format!("{MIRROR}/current"));
    let mut dentries = 0;
    let mut promotes = Vec::new();
    let around = samples(TIMED, |_| {
        env.mirrorctl(&["snapshot", "stage", MIRROR, ends.other()]).success();
        // A pointer that moved a moment ago would wait for the next second.
        thread::sleep(Duration::from_secs(1));
        dentries = warm(&current);
        slowest(env, || {
            promotes.push(env.command(&["snapshot", "promote", MIRROR]).measure().wall);
        })
    });
    let _warm = warm(&current);
    let control = samples(TIMED, |_| {
        slowest(env, || {
            let _usage = env.command(&["snapshot", "list", MIRROR]).measure();
        })
    });
    let row = |what: &str, times: &[Duration]| {
        let most = times.iter().max().expect("some rounds");
        vec![what.to_owned(), milliseconds(median(times)), milliseconds(*most)]
    };
    let rows = [
        row("the promote", &promotes),
        row("slowest request around a promote (aim: 20 ms)", &around),
        row("control: around `snapshot list`", &control),
    ];
    let title = format!("requests with {dentries} warm names below current; {TIMED} rounds");
    println!("{}", table(&title, &["", "median", "slowest"], &rows));
}

/// Bytes that a process has read by system calls.
fn read_by(process: u32) -> u64 {
    let counters = fs::read_to_string(format!("/proc/{process}/io")).expect("a running child");
    let read = counters.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|number| number.parse().ok()).expect("a counter")
}

/// Reads all files of the hot directory; their bytes, what the daemon read meanwhile, and the time.
fn read_all(hot: &Path, daemon: u32) -> (usize, u64, Duration) {
    let (before, begun) = (read_by(daemon), Instant::now());
    let entries = fs::read_dir(hot).expect("a directory");
    let bytes = entries
        .map(|entry| fs::read(entry.expect("readable").path()).expect("a file").len())
        .sum();
    (bytes, read_by(daemon) - before, begun.elapsed())
}

fn cold_files(env: &TestEnv, ends: &mut Ends, daemon: u32) {
    let hot = env.served(&format!("{MIRROR}/current/{HOT}"));
    let row = |what: &str| {
        let (bytes, read, time) = read_all(&hot, daemon);
        vec![what.to_owned(), bytes.to_string(), read.to_string(), milliseconds(time)]
    };
    let mut rows = vec![row("control: never asked for before"), row("asked for again")];
    for _ in 0..3 {
        promote(env, ends.other());
        rows.push(row("right after a promote"));
    }
    let head = ["", "bytes", "read by the daemon", "time"];
    println!("{}", table("files that did not change", &head, &rows));
}

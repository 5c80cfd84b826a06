//! What the mount alone costs for names and attributes, with a tree in memory behind its port, beside an ordinary file system.
//!
//! Owns the measurement of look-ups, attributes, listings and small reads, by one thread and by two; and how serving grows with its threads. The tree answers at once, so
//! what is seen is the way through the kernel and this crate; what the program adds is measured by its own benchmarks.
//! `cargo bench -p mirrorctl-mount --bench metadata -- 5000 3` takes fewer files and rounds.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail where it stands")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/common/mod.rs"]
#[expect(dead_code, reason = "what only tests need")]
mod common;
#[path = "../tests/common/sys.rs"]
#[expect(dead_code, reason = "what only tests need")]
mod sys;

use std::fs::{self, File};
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::MemoryTree;
use mirrorctl_mount::{Options, mount};

/// Bytes of each file.
const BYTES: usize = 2_048;
/// Different contents; more would only fill the disk.
const CONTENTS: usize = 100;
/// Files of one directory among those that are looked up.
const DIRECTORY: usize = 100;
/// How many serve, and how many ask, where that is compared.
const COUNTS: [usize; 3] = [1, 2, 4];
/// Where the tree stands below the mount.
const SNAPSHOT: &str = "archive/snapshots/one";
/// The directory of many small ones, and the large one.
const SPREAD: &str = "pool";
const FLAT: &str = "wide";

/// One way of asking for paths.
struct Ask {
    what: &'static str,
    /// What the kernel shall forget before.
    forgets: Forgets,
    ask: fn(&Path),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Forgets {
    Nothing,
    Names,
    Everything,
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if !Path::new("/dev/fuse").exists() || fs::write("/proc/sys/vm/drop_caches", "1").is_err() {
        println!("MISSING: root and /dev/fuse, without which there is nothing to measure");
        return;
    }
    let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let (files, rounds) = match numbers[..] {
        [files, rounds] => (files, rounds),
        _ => (60_000, 5),
    };
    let (tree, place, ordinary) = (
        MemoryTree::new(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let archive = archive(files);
    for (path, bytes) in &archive {
        let path = ordinary.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let paths = archive.iter().map(|(path, _)| path.clone());
    let paths: Vec<String> = paths.filter(|path| path.starts_with(SPREAD)).collect();
    let mirror = tree.add_mirror("archive");
    tree.add_snapshot(mirror, "one", archive);
    let session = mount(Arc::clone(&tree) as _, place.path(), &Options::new("memory", 1)).unwrap();

    println!("{files} files of {BYTES} bytes in directories of {DIRECTORY}, and as many in one directory");
    println!("medians of {rounds} rounds: how many a second");
    println!("{:52} {:>9} {:>9} {:>6}", "", "the mount", "ordinary", "ratio");
    let sides = Sides {
        roots: [place.path().join(SNAPSHOT), ordinary.path().to_owned()],
        rounds,
    };
    for ask in ASKED {
        sides.ask(ask, &paths);
    }
    sides.list("listing of all in one directory, cold", Forgets::Everything, files);
    sides.list("listing of all in one directory, warm", Forgets::Nothing, files);
    drop(session);
    scaling(&tree, place.path(), &paths, rounds);
}

/// What is asked of the mount each time, by so many clients of so many serving threads: how many a second.
fn scaling(tree: &Arc<MemoryTree>, place: &Path, paths: &[String], rounds: usize) {
    let processors = thread::available_parallelism().map_or(0, usize::from);
    println!(
        "\nserving threads and clients, on {processors} processors; medians of {rounds} rounds: how many a second"
    );
    println!("{:52} {:>9} {:>9} {:>9}", "", "1 client", "2 clients", "4 clients");
    for asked in GROWING {
        for threads in COUNTS {
            let options = Options {
                threads: NonZeroUsize::new(threads).unwrap(),
                ..Options::new("memory", 1)
            };
            let session = mount(Arc::clone(tree) as _, place, &options).unwrap();
            let paths: Vec<PathBuf> = paths.iter().map(|path| place.join(SNAPSHOT).join(path)).collect();
            // Names are known from here on.
            from_threads(&paths, 1, look);
            let rates = COUNTS.map(|clients| {
                let rates = (0..rounds).map(|_| rate(paths.len(), timed(|| from_threads(&paths, clients, asked.ask))));
                median(rates.collect())
            });
            drop(session);
            let what = format!("{}, {threads} serving", asked.what);
            println!("{what:52} {:>9} {:>9} {:>9}", rates[0], rates[1], rates[2]);
        }
    }
}

/// The same files in the mount and in an ordinary file system.
struct Sides {
    roots: [PathBuf; 2],
    rounds: usize,
}

impl Sides {
    fn ask(&self, ask: &Ask, paths: &[String]) {
        for (threads, words) in [(1, "1 thread"), (2, "2 threads")] {
            let rates = self.in_turns(|root| {
                let paths: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
                forget(ask.forgets);
                rate(paths.len(), timed(|| from_threads(&paths, threads, ask.ask)))
            });
            row(&format!("{}, {words}", ask.what), rates);
        }
    }

    fn list(&self, what: &str, forgets: Forgets, files: usize) {
        let rates = self.in_turns(|root| {
            forget(forgets);
            let list = || assert_eq!(fs::read_dir(root.join(FLAT)).unwrap().count(), files);
            rate(files, timed(list))
        });
        row(what, rates);
    }

    /// What `measure` gives for both, round by round, after one round that does not count.
    fn in_turns(&self, measure: impl Fn(&Path) -> u64) -> [Vec<u64>; 2] {
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..=self.rounds {
            for side in [round % 2, (round + 1) % 2] {
                let rate = measure(&self.roots[side]);
                if round > 0 {
                    rates[side].push(rate);
                }
            }
        }
        rates
    }
}

const ASKED: &[Ask] = &[
    Ask {
        what: "look-up of names that the kernel forgot",
        forgets: Forgets::Names,
        ask: look,
    },
    Ask {
        what: "attributes of names that it knows",
        forgets: Forgets::Nothing,
        ask: look,
    },
    Ask {
        what: "attributes, each time asked of the mount",
        forgets: Forgets::Nothing,
        ask: |path| sys::ask_attributes(path),
    },
    Ask {
        what: "open and read of what it forgot",
        forgets: Forgets::Everything,
        ask: read,
    },
    Ask {
        what: "open and read of what it knows",
        forgets: Forgets::Nothing,
        ask: read,
    },
];

/// What reaches the mount each time, by as many threads as serve.
const GROWING: &[Ask] = &[
    Ask {
        what: "attributes",
        forgets: Forgets::Nothing,
        ask: |path| sys::ask_attributes(path),
    },
    Ask {
        what: "read of 2 KiB",
        forgets: Forgets::Nothing,
        ask: |path| sys::read_directly(path),
    },
];

/// As many files in directories of a hundred as in a single one.
fn archive(files: usize) -> common::Files {
    let paths = (0..files).flat_map(|file| {
        let spread = format!("{SPREAD}/{:04}/package-{file:06}.deb", file / DIRECTORY);
        [(spread, file), (format!("{FLAT}/package-{file:06}.deb"), file)]
    });
    paths
        .map(|(path, file)| (path, format!("{:04}", file % CONTENTS).repeat(BYTES / 4).into_bytes()))
        .collect()
}

fn look(path: &Path) {
    let _found = fs::symlink_metadata(path).unwrap();
}

fn read(path: &Path) {
    let mut buffer = [0; 2 * BYTES];
    assert_eq!(File::open(path).unwrap().read(&mut buffer).unwrap(), BYTES);
}

/// Makes the kernel forget, on all file systems. What was written is on disk before, since it is not forgotten otherwise.
fn forget(what: Forgets) {
    let what = match what {
        Forgets::Nothing => return,
        Forgets::Names => "2",
        Forgets::Everything => "3",
    };
    sys::settle();
    fs::write("/proc/sys/vm/drop_caches", what).unwrap();
}

fn from_threads(paths: &[PathBuf], threads: usize, ask: fn(&Path)) {
    thread::scope(|scope| {
        for part in paths.chunks(paths.len().div_ceil(threads)) {
            scope.spawn(move || part.iter().for_each(|path| ask(path)));
        }
    });
}

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

/// How many of `count` were done in a second.
fn rate(count: usize, took: Duration) -> u64 {
    count as u64 * 1_000_000 / u64::try_from(took.as_micros()).unwrap()
}

fn row(what: &str, rates: [Vec<u64>; 2]) {
    let ratios = rates[0].iter().zip(&rates[1]).map(|(own, other)| own * 100 / other);
    let ratio = median(ratios.collect());
    let [own, other] = rates.map(median);
    println!("{what:52} {own:>9} {other:>9} {:>3}.{:02}", ratio / 100, ratio % 100);
}

fn median(mut samples: Vec<u64>) -> u64 {
    samples.sort_unstable();
    samples[(samples.len() - 1) / 2]
}

//! The mount beside an ordinary file system and a squashfs: under a web server, and under walks.
//!
//! Owns the comparison of one tree of 60,000 files in three places, in interleaved rounds, with the same read-ahead everywhere;
//! of the oldest with the newest of 2,000 snapshots; and what a mount of them takes until it answers, and of memory. *Warm* is after
//! a warm-up, *cold* after the kernel has dropped all it had cached. What a promote costs clients is measured by the benchmark
//! `walks`, what recording costs by `record`. `cargo bench --bench serving -- 50 3000 3` makes fewer and smaller snapshots, and
//! fewer rounds.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod archive;
#[path = "../common/mod.rs"]
mod common;
mod places;
mod sheet;
#[path = "../stores.rs"]
mod stores;
mod walking;
mod web;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use archive::{BY_HASH, HOT, HUGE, HUGE_BYTES, IN_RELEASE, MIRROR, Scale, snapshot_name};
use common::{is_wanted, machine, median, settle, table};
use mirrorctl_testkit::{Dice, Scratch, TestEnv, is_root};
use places::{Mount, ReadAhead, Squashfs, drop_caches, tree};
use sheet::{Bar, Measure, Sheet};
use walking::{find, list, read, stat};
use web::{Wanted, Web};

/// Small files that are asked for one after the other.
const MANY: usize = 2_000;
/// What a mount may take until it answers, in milliseconds.
const READY_BAR: u64 = 200;
/// Look-ups of one lent name.
const LENT_LOOKS: usize = 50;
/// What each of them may take, in microseconds: a question to the daemon, and not a walk over all snapshots.
const LENT_BAR: u64 = 1_000;
/// What it may have resident, in KiB.
const RESIDENT_BAR: u64 = 64 << 10;

fn main() {
    if !is_wanted() {
        return;
    }
    if !is_root() || !Path::new("/dev/fuse").exists() {
        println!("MISSING: root and /dev/fuse, without which there is nothing to measure");
        return;
    }
    let scale = Scale::wanted();
    let begun = Instant::now();
    let env = archive::installation(scale);
    settle();
    println!("{}", machine(&Scratch::new()));
    println!("{}; {} rounds", scale.sentence(), scale.rounds);
    println!("the catalog was made in {} s", begun.elapsed().as_secs());

    let mut mount = Mount::of(&env);
    let mut memory = vec![("right after its start", mount.resident())];
    let ready: Vec<u64> = (0..scale.rounds).map(|_| milliseconds(mount.restart())).collect();

    let house = House::build(&env, scale);
    let head = ["", "unit", "mirrorctl", "ordinary", "squashfs", "ratio", "bar", "held"];
    print!(
        "{}",
        table(
            "one tree in three places",
            &head,
            &house.compare(&mut mount, scale.rounds)
        )
    );
    memory.push(("after a web server and walks", mount.resident()));

    let head = ["", "unit", "newest", "oldest", "ratio", "bar", "held"];
    print!(
        "{}",
        table("the oldest snapshot", &head, &ages(&env, &mut mount, scale))
    );
    memory.push(("after walks over the oldest and the newest", mount.resident()));
    let lent = lent_name(&env, scale);
    let rows = cost(&ready, lent, &memory);
    print!("{}", table("the mount", &["", "", "bar", "held"], &rows));
}

/// The tree in every place that this machine has for it.
struct House {
    scratch: Scratch,
    /// The own place first, then what it is held against.
    roots: Vec<PathBuf>,
    packages: Vec<String>,
    _squashfs: Option<Squashfs>,
    _read_ahead: Vec<ReadAhead>,
}

impl House {
    fn build(env: &TestEnv, scale: Scale) -> Self {
        let scratch = Scratch::new();
        let copy = places::copy(&env.mount_dir(), &scratch);
        let squashfs = Squashfs::mount(&copy, &scratch);
        let mut roots = vec![env.mount_dir(), copy];
        match &squashfs {
            Ok(squashfs) => roots.push(squashfs.path().to_owned()),
            Err(missing) => println!("MISSING: {missing}"),
        }
        // The mount has its own.
        let read_ahead: Vec<Option<ReadAhead>> = roots[1..].iter().map(|root| ReadAhead::set(root)).collect();
        match read_ahead.first() {
            Some(Some(set)) => println!("read-ahead 4096 KiB everywhere; the disk had {} KiB", set.before()),
            _ => println!(
                "MISSING: the same read-ahead everywhere, which needs a disk of its own below {}",
                roots[1].display()
            ),
        }
        Self {
            scratch,
            roots,
            packages: (0..scale.files).map(archive::package).collect(),
            _squashfs: squashfs.ok(),
            _read_ahead: read_ahead.into_iter().flatten().collect(),
        }
    }

    /// Measures everything, in turns.
    fn compare(&self, mount: &mut Mount<'_>, rounds: usize) -> Vec<Vec<String>> {
        let mut sheet = Sheet::default();
        let webs: Vec<Web> = match web::missing() {
            Some(missing) => {
                println!("MISSING: {missing}");
                Vec::new()
            }
            None => self.roots.iter().map(|root| Web::serve(root)).collect(),
        };
        let some = self.some();
        let wanted = [
            (Wanted::of(&self.scratch, "hot", &[HOT.to_owned()]), HOT_FILE),
            (
                Wanted::of(&self.scratch, "in-release", &[IN_RELEASE.to_owned()]),
                HOT_IN_RELEASE,
            ),
            (Wanted::of(&self.scratch, "many", &some), RANDOM_FILES),
        ];
        for round in 0..rounds {
            // Nobody is always first.
            let places = (0..self.roots.len()).map(|place| (place + round) % self.roots.len());
            let places: Vec<usize> = places.collect();
            for &place in &places {
                self.walk_warm(&mut sheet, place);
            }
            for (wanted, measures) in wanted.iter().filter(|_| !webs.is_empty()) {
                for &place in &places {
                    let files: Vec<String> = [HOT, IN_RELEASE]
                        .map(str::to_owned)
                        .into_iter()
                        .chain(some.clone())
                        .collect();
                    read(&self.below(place, &files));
                    let load = webs[place].load(wanted);
                    sheet.add(measures[0], place, load.rate);
                    sheet.add(measures[1], place, load.p99);
                    sheet.add(measures[2], place, load.cpu);
                }
            }
            for &place in places.iter().filter(|_| !webs.is_empty()) {
                drop_caches();
                for measure in [HUGE_COLD, HUGE_WARM] {
                    let took = webs[place].download(HUGE, HUGE_BYTES);
                    sheet.add(measure, place, HUGE_BYTES as u64 / microseconds(took));
                }
            }
            for &place in &places {
                self.walk_cold(&mut sheet, place, mount);
            }
        }
        sheet.rows(3)
    }

    fn walk_warm(&self, sheet: &mut Sheet, place: usize) {
        let tree = self.tree(place);
        let _warm = find(&tree);
        sheet.add(FIND_WARM, place, milliseconds(find(&tree)));
        let by_hash = tree.join(BY_HASH);
        let _warm = list(&by_hash);
        sheet.add(BY_HASH_WARM, place, microseconds(list(&by_hash).0));
        let paths = self.below(place, &self.packages);
        for (threads, measure) in [(1, STAT_ALONE), (2, STAT_TOGETHER)] {
            sheet.add(measure, place, milliseconds(stat(&paths, threads)));
        }
    }

    /// The daemon remembers what it has listed; once more without that.
    fn walk_cold(&self, sheet: &mut Sheet, place: usize, mount: &mut Mount<'_>) {
        let tree = self.tree(place);
        drop_caches();
        sheet.add(FIND_COLD, place, milliseconds(find(&tree)));
        mount.restart();
        drop_caches();
        sheet.add(FIND_FIRST, place, milliseconds(find(&tree)));
        mount.restart();
        drop_caches();
        sheet.add(BY_HASH_FIRST, place, microseconds(list(&tree.join(BY_HASH)).0));
    }

    fn tree(&self, place: usize) -> PathBuf {
        self.roots[place].join(tree())
    }

    fn below(&self, place: usize, paths: &[String]) -> Vec<PathBuf> {
        let tree = self.tree(place);
        paths.iter().map(|path| tree.join(path)).collect()
    }

    fn some(&self) -> Vec<String> {
        let mut dice = Dice(7);
        let some = (0..MANY).map(|_| self.packages[dice.roll(self.packages.len())].clone());
        some.collect()
    }
}

const HOT_FILE: [Measure; 3] = under_load(
    ["P1 hot file of 2 KB", "P1 its 99th percentile", "P1 nginx per request"],
    [Bar::AtLeast(95), Bar::AtMost(120)],
);
const HOT_IN_RELEASE: [Measure; 3] = under_load(
    [
        "P1 hot InRelease of 150 KB",
        "P1 that one's 99th percentile",
        "P1 nginx per request of that",
    ],
    [Bar::AtLeast(95), Bar::AtMost(120)],
);
const RANDOM_FILES: [Measure; 3] = under_load(
    [
        "P2 2,000 files of 2 KB, warm",
        "P2 their 99th percentile",
        "P2 nginx per request",
    ],
    [Bar::AtLeast(90), Bar::None],
);
const FIND_COLD: Measure = measure("P3 find -printf %s, cold", "ms", Bar::AtMost(60));
const FIND_WARM: Measure = measure("P3 find -printf %s, warm", "ms", Bar::AtMost(105));
const STAT_ALONE: Measure = measure("P3 stat of known files, warm, 1 thread", "ms", Bar::AtMost(105));
const STAT_TOGETHER: Measure = measure("P3 stat of known files, warm, 2 threads", "ms", Bar::AtMost(105));
const FIND_FIRST: Measure = measure("P3 find -printf %s, cold, new daemon", "ms", Bar::None);
const BY_HASH_FIRST: Measure = measure("P3 by-hash directory, cold, new daemon", "us", Bar::AtMost(100));
const BY_HASH_WARM: Measure = measure("P3 by-hash directory, warm", "us", Bar::AtMost(105));
const HUGE_COLD: Measure = measure("P4 file of 128 MB, cold", "MB/s", Bar::AtLeast(100));
const HUGE_WARM: Measure = measure("P4 file of 128 MB, warm", "MB/s", Bar::AtLeast(95));

const fn measure(what: &'static str, unit: &'static str, bar: Bar) -> Measure {
    Measure { what, unit, bar }
}

const fn under_load(what: [&'static str; 3], bar: [Bar; 2]) -> [Measure; 3] {
    [
        measure(what[0], "requests/s", bar[0]),
        measure(what[1], "us", bar[1]),
        measure(what[2], "ns of CPU", Bar::None),
    ]
}

/// No slower, but for what two runs of one thing differ by.
const AGE_BAR: Bar = Bar::AtMost(110);
const AGED_FIND: Measure = measure("P6 find -printf %s", "ms", AGE_BAR);
const AGED_STAT: Measure = measure("P6 look-up of 2,000 files", "ms", AGE_BAR);
const AGED_LIST: Measure = measure("P6 by-hash directory, listed", "us", AGE_BAR);
const AGED_NAMES: Measure = measure("P6 by-hash names, looked up", "us", AGE_BAR);

/// Walks over the oldest and the newest snapshot, each time through a daemon that remembers nothing and a kernel that
/// has nothing cached. The ratio is the oldest's to the newest's.
fn ages(env: &TestEnv, mount: &mut Mount<'_>, scale: Scale) -> Vec<Vec<String>> {
    let trees = [snapshot_name(0), scale.newest()].map(|name| env.served(&format!("{MIRROR}/snapshots/{name}")));
    let mut dice = Dice(11);
    let files: Vec<String> = (0..MANY).map(|_| archive::package(dice.roll(scale.files))).collect();
    let names = trees.each_ref().map(|tree| list(&tree.join(BY_HASH)).1);
    let mut forgotten = || {
        mount.restart();
        drop_caches();
    };
    let mut sheet = Sheet::default();
    for round in 0..scale.rounds {
        for place in [round % 2, (round + 1) % 2] {
            let tree = &trees[place];
            let paths: Vec<PathBuf> = files.iter().map(|file| tree.join(file)).collect();
            forgotten();
            sheet.add(AGED_FIND, place, milliseconds(find(tree)));
            forgotten();
            sheet.add(AGED_STAT, place, milliseconds(stat(&paths, 1)));
            forgotten();
            sheet.add(AGED_LIST, place, microseconds(list(&tree.join(BY_HASH)).0));
            forgotten();
            sheet.add(AGED_NAMES, place, microseconds(stat(&names[place], 1)));
        }
    }
    let mut rows = sheet.rows(2);
    for row in &mut rows {
        row.swap(2, 3);
    }
    rows
}

/// Microseconds that a look-up takes of an index by hash which only an earlier publication has. The kernel asks each time.
fn lent_name(env: &TestEnv, scale: Scale) -> u64 {
    let earlier = snapshot_name(scale.snapshots.saturating_sub(2));
    let (_, paths) = list(&env.served(&format!("{MIRROR}/snapshots/{earlier}/{BY_HASH}")));
    let name = paths[0].file_name().expect("a file");
    let path = [env.served(&tree()).join(BY_HASH).join(name)];
    let times: Vec<u64> = (0..LENT_LOOKS).map(|_| microseconds(stat(&path, 1))).collect();
    median(&times)
}

/// What the mount itself takes: times until it answers, and memory at some moments, now and at most so far.
fn cost(ready: &[u64], lent: u64, memory: &[(&str, (u64, u64))]) -> Vec<Vec<String>> {
    let row = |what: String, figure: u64, bar: u64, unit: &str| {
        let held = if figure < bar { "yes" } else { "NO" };
        vec![
            what,
            format!("{figure} {unit}"),
            format!("< {bar} {unit}"),
            held.to_owned(),
        ]
    };
    let mut rows = vec![row(
        "P7 from its start to its first answer".to_owned(),
        median(ready),
        READY_BAR,
        "ms",
    )];
    let what = "P6 look-up of a name by hash that is lent".to_owned();
    rows.push(row(what, lent, LENT_BAR, "us"));
    for (when, (now, most)) in memory {
        rows.push(row(format!("P7 resident {when}"), *now, RESIDENT_BAR, "KiB"));
        rows.push(row(format!("P7 at most {when}"), *most, RESIDENT_BAR, "KiB"));
    }
    rows
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("no age of the world")
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("no age of the world").max(1)
}

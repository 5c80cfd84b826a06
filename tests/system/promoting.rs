//! Moves of pointers under readers, with controls.
//!
//! Owns the tests of what readers of the mount see while pointers move, mirrors and snapshots come and go. How stale an
//! answer may be is judged by [`Timeline`], and a control shows that it can say no.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mirrorctl_testkit::{Config, Mirror, Program};

use crate::site::{COMMON, RELEASE, Site, Tree, comes_true, inode, mtime, names, read, tree};

/// A reader's pause between two looks: the commands need the processor too.
const BREATH: Duration = Duration::from_micros(200);

/// Moves of a pointer, and what readers saw of them. A move is known by its place in the order of the moves.
#[derive(Default)]
struct Timeline {
    /// The last move that was begun.
    begun: AtomicUsize,
    /// The last move whose command has returned.
    done: AtomicUsize,
    over: AtomicBool,
}

/// One look of a reader: which move had been done when it began, what it saw, which move had begun when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    done_before: usize,
    seen: Seen,
    begun_after: usize,
}

/// What tells one move from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Serial time of the files at their plain names.
    Time(i64),
    /// Inode of the pointer's directory.
    Inode(u64),
}

/// What a move turned out to look like.
#[derive(Debug)]
struct Moved {
    time: i64,
    inode: u64,
    /// Which of the snapshots it led to.
    target: usize,
}

impl Timeline {
    /// Looks again and again until the moves are over. Looks that tell nothing new are not kept.
    fn watch(&self, mut look: impl FnMut() -> Seen) -> Vec<Look> {
        let mut looks = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            let done_before = self.done.load(Ordering::SeqCst);
            let seen = look();
            let begun_after = self.begun.load(Ordering::SeqCst);
            let look = Look {
                done_before,
                seen,
                begun_after,
            };
            if looks.last() != Some(&look) {
                looks.push(look);
            }
            thread::sleep(BREATH);
        }
        looks
    }
}

/// The looks that saw no move between the last one done before them and the last one begun before their end.
fn stale(looks: &[Look], moves: &[Moved]) -> Vec<Look> {
    let could_be = |moved: &Moved, seen| match seen {
        Seen::Time(time) => moved.time == time,
        Seen::Inode(inode) => moved.inode == inode,
    };
    let fresh = |look: &&Look| {
        moves[look.done_before..=look.begun_after]
            .iter()
            .any(|moved| could_be(moved, look.seen))
    };
    looks.iter().filter(|look| !fresh(look)).copied().collect()
}

/// The snapshot that the Release file in `bytes` is of.
fn snapshot_of(bytes: &[u8], releases: &[Vec<u8>]) -> usize {
    let found = releases.iter().position(|release| release == bytes);
    found.unwrap_or_else(|| panic!("a Release file of no snapshot:\n{}", String::from_utf8_lossy(bytes)))
}

/// The way to what a held directory shows, whatever its path leads to meanwhile.
fn within(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// What is done for a move, given its number and the snapshot that it leads to.
type Act<'a> = &'a mut dyn FnMut(usize, &str);

/// Moves `current` of `debian` so many times from snapshot to snapshot, by `command`, while readers stat, open, read,
/// list and walk. `settled` is called when the command has returned, and must return when the move can be seen.
/// Returns the looks that were stale. Anything that fails, or a mixture of two snapshots, is a panic.
fn move_under_readers(
    site: &Site,
    snapshots: &[String],
    count: usize,
    command: Act<'_>,
    settled: Act<'_>,
) -> Vec<Look> {
    let current = site.served("debian/current");
    let trees: Vec<Tree> = snapshots
        .iter()
        .map(|name| tree(&site.served(&format!("debian/snapshots/{name}"))))
        .collect();
    let releases: Vec<Vec<u8>> = snapshots
        .iter()
        .map(|name| read(&site.served(&format!("debian/snapshots/{name}/{RELEASE}"))))
        .collect();
    let common = read(&current.join(COMMON));
    let timeline = Timeline::default();
    let mut moves = vec![look_at(&current, &releases)];

    let (looks, contents, walks) = thread::scope(|scope| {
        let stats = scope.spawn(|| timeline.watch(|| Seen::Time(mtime(&current.join("dists/stable/InRelease")))));
        let doors = scope.spawn(|| {
            timeline.watch(|| {
                assert!(names(current.parent().expect("a mirror")).contains(&"current".to_owned()));
                Seen::Inode(inode(&current))
            })
        });
        let reads = scope.spawn(|| {
            let mut contents = Vec::new();
            let looks = timeline.watch(|| {
                let mut file = File::open(current.join(RELEASE)).expect("always there");
                let time = file.metadata().expect("open").mtime();
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).expect("readable");
                contents.push((time, snapshot_of(&bytes, &releases)));
                contents.dedup();
                assert_eq!(read(&current.join(COMMON)).len(), common.len());
                Seen::Time(time)
            });
            (looks, contents)
        });
        let walks = scope.spawn(|| {
            let mut walks = Vec::new();
            let looks = timeline.watch(|| {
                let held = File::open(&current).expect("always there");
                let door = held.metadata().expect("open").ino();
                let seen = tree(&within(&held));
                let of = trees.iter().position(|tree| *tree == seen);
                walks.push((door, of.expect("a walk saw one snapshot whole")));
                Seen::Inode(door)
            });
            (looks, walks)
        });

        for number in 1..=count {
            let target = number % snapshots.len();
            timeline.begun.store(number, Ordering::SeqCst);
            command(number, &snapshots[target]);
            timeline.done.store(number, Ordering::SeqCst);
            settled(number, &snapshots[target]);
            moves.push(look_at(&current, &releases));
        }
        timeline.over.store(true, Ordering::SeqCst);

        let (mut looks, (reads, contents), (walked, walks)) = (
            stats.join().expect("the reader that stats"),
            reads.join().expect("the reader that reads"),
            walks.join().expect("the reader that walks"),
        );
        looks.extend(reads);
        looks.extend(walked);
        looks.extend(doors.join().expect("the reader of doors"));
        (looks, contents, walks)
    });
    assert!(!walks.is_empty() && looks.len() > count / 2, "the readers were idle");
    let target = |found: Option<&Moved>| found.map(|moved| moved.target);
    for (time, of) in contents {
        let told = target(moves.iter().find(|moved| moved.time == time));
        assert_eq!(told, Some(of), "time and bytes of one file are of two moves");
    }
    for (door, of) in walks {
        let told = target(moves.iter().find(|moved| moved.inode == door));
        assert_eq!(told, Some(of), "a door showed another snapshot than its move's");
    }
    stale(&looks, &moves)
}

/// What `current` looks like just after a move.
fn look_at(current: &Path, releases: &[Vec<u8>]) -> Moved {
    Moved {
        time: mtime(&current.join(RELEASE)),
        inode: inode(current),
        target: snapshot_of(&read(&current.join(RELEASE)), releases),
    }
}

#[test]
fn readers_see_no_gap_no_mixture_and_nothing_old() {
    let (site, snapshots) = Site::with_snapshots(3);
    let _mount = site.mount();
    site.publish("debian", &snapshots[0]);
    let release = |place: &str| read(&site.served(&format!("debian/{place}/{RELEASE}")));
    let mut command = |number: usize, name: &str| {
        if number.is_multiple_of(3) {
            site.publish("debian", name);
            return;
        }
        site.stage("debian", name);
        let staged = release("staging") == release(&format!("snapshots/{name}"));
        assert!(staged, "staging before move {number}");
        site.env.mirrorctl(&["snapshot", "promote", "debian"]).success();
    };
    let mut last = (0, 0);
    let mut settled = |number: usize, name: &str| {
        let moved = release("current") == release(&format!("snapshots/{name}"));
        assert!(moved, "production after move {number}");
        let current = site.served("debian/current");
        let now = (mtime(&current.join(RELEASE)), inode(&current));
        assert!(now.0 > last.0 && now.1 > last.1, "{now:?} after {last:?}");
        last = now;
    };
    let stale = move_under_readers(&site, &snapshots, 300, &mut command, &mut settled);
    assert!(stale.is_empty(), "{} stale answers: {stale:?}", stale.len());
}

#[test]
fn control_moves_that_nobody_tells_are_seen_late_but_are_seen() {
    let (site, snapshots) = Site::with_snapshots(2);
    let _mount = site.mount();
    site.publish("debian", &snapshots[0]);
    let elsewhere = site.env.root().join("elsewhere");
    let current = site.served("debian/current");
    let before = std::cell::Cell::new(0);
    let mut untold = |_: usize, name: &str| {
        before.set(inode(&current));
        let publish = site.env.command(&["snapshot", "publish", "debian", name]);
        publish.env("MIRRORCTL_RUN_DIR", &elsewhere).run().success();
    };
    let mut noticed = |number: usize, _: &str| {
        let seen = comes_true(|| inode(&current) != before.get());
        assert!(seen, "move {number} was never noticed");
    };
    let stale = move_under_readers(&site, &snapshots, 5, &mut untold, &mut noticed);
    assert!(!stale.is_empty(), "this way of looking cannot see what is stale");
}

/// What a mirror's directory should show.
#[derive(Debug, Default, Clone)]
struct Shown {
    staging: Option<&'static str>,
    current: Option<&'static str>,
    snapshots: Vec<&'static str>,
}

/// All names of snapshots that the test below ever uses, so that each is looked up long before it exists.
const SNAPSHOTS: [&str; 5] = ["auto", "auto-2", "auto-3", "first", "second"];

impl Shown {
    /// Compares `ls` and `stat` of the mirror's directory with what it should show.
    fn check(&self, site: &Site, mirror: &str, after: &str) {
        let pointers = [("current", self.current), ("staging", self.staging)];
        let set = pointers.iter().filter(|(_, target)| target.is_some());
        let expected: Vec<&str> = set.map(|(name, _)| *name).collect();
        let mut listed = names(&site.served(mirror));
        listed.retain(|name| !["at", "snapshots"].contains(&name.as_str()));
        assert_eq!(listed, expected, "ls {mirror} after {after}");
        let listed = names(&site.served(&format!("{mirror}/snapshots")));
        assert_eq!(listed, self.snapshots, "ls {mirror}/snapshots after {after}");
        for (name, target) in pointers {
            let release = site.served(&format!("{mirror}/{name}/{RELEASE}"));
            let shown = target.map(|target| read(&site.served(&format!("{mirror}/snapshots/{target}/{RELEASE}"))));
            assert_eq!(
                existing(&release).map(|()| read(&release)),
                shown,
                "{mirror}/{name} after {after}"
            );
        }
        for name in SNAPSHOTS {
            let path = site.served(&format!("{mirror}/snapshots/{name}"));
            let expected = self.snapshots.contains(&name);
            assert_eq!(
                existing(&path).is_some(),
                expected,
                "stat {mirror}/snapshots/{name} after {after}"
            );
        }
    }
}

/// Whether there is such a path. Any trouble but its absence is a panic.
fn existing(path: &Path) -> Option<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => Some(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

#[test]
fn ls_and_stat_are_right_after_every_command() {
    let mut site = Site::new(&["debian", "vendor"]);
    // So that what was published can go.
    let named = |config: Config| {
        let config = config.set_in("snapshot", "default_name_format", "\"auto\"");
        config.lending_nothing()
    };
    site.env.configure(named(site.config(1)));
    let _mount = site.mount();
    let none = Vec::<String>::new();
    assert_eq!(names(&site.served("")), none);
    assert_eq!(existing(&site.served("debian/snapshots/auto")), None);

    let mut debian = Shown::default();
    let run = |site: &Site, command: &[&str]| site.env.mirrorctl(command).success();
    let mut step = |site: &Site, command: &[&str], change: &dyn Fn(&mut Shown)| {
        run(site, command);
        change(&mut debian);
        debian.check(site, "debian", &command.join(" "));
        debian.clone()
    };
    site.source("debian").change();
    step(&site, &["sync", "debian"], &|shown| shown.snapshots = vec!["auto"]);
    assert_eq!(names(&site.served("")), ["debian"]);
    step(&site, &["snapshot", "create", "debian", "first"], &|shown| {
        shown.snapshots = vec!["auto", "first"];
    });
    step(&site, &["snapshot", "stage", "debian", "first"], &|shown| {
        shown.staging = Some("first");
    });
    step(&site, &["snapshot", "promote", "debian"], &|shown| {
        shown.current = Some("first");
    });

    // A name below a pointer that only the next snapshot has.
    let only = "debian/current/pool/main/o/only2/only2_1_amd64.deb";
    assert_eq!(existing(&site.served(only)), None);
    site.source("debian").change();
    step(&site, &["sync"], &|shown| {
        shown.snapshots = vec!["auto", "auto-2", "first"];
    });
    assert_eq!(existing(&site.served(only)), None);
    step(&site, &["snapshot", "publish", "debian", "auto-2"], &|shown| {
        shown.current = Some("auto-2");
    });
    assert_eq!(existing(&site.served(only)), Some(()));
    step(
        &site,
        &["snapshot", "create", "debian", "second", "--stage"],
        &|shown| {
            shown.snapshots = vec!["auto", "auto-2", "first", "second"];
            shown.staging = Some("second");
        },
    );

    // Another snapshot takes the name of one that was deleted, or replaced.
    let first = site.served("debian/snapshots/first");
    let old = inode(&first);
    step(&site, &["snapshot", "create", "debian", "first", "--force"], &|_| {});
    let replaced = inode(&first);
    assert_ne!(replaced, old, "another snapshot is another door");
    assert_eq!(
        read(&first.join(RELEASE)),
        read(&site.served(&format!("debian/current/{RELEASE}")))
    );
    step(&site, &["snapshot", "delete", "debian", "first", "auto"], &|shown| {
        shown.snapshots = vec!["auto-2", "second"];
    });
    site.env.mirrorctl(&["snapshot", "delete", "debian", "auto-2"]).code(4);
    site.env.mirrorctl(&["snapshot", "delete", "debian", "second"]).code(4);
    step(&site, &["snapshot", "create", "debian", "first"], &|shown| {
        shown.snapshots = vec!["auto-2", "first", "second"];
    });
    assert!(![old, replaced].contains(&inode(&first)), "no door is used again");

    // Staged and published by the sync itself.
    let (auto, vendor) = (site.sources[0].settings(), site.sources[1].settings());
    let auto = auto.publish_to_staging(true).publish_to_production(true);
    site.env.configure(named(Config::new().mirror(auto.clone())));
    site.source("debian").change();
    step(&site, &["sync", "debian"], &|shown| {
        *shown = Shown {
            staging: Some("auto"),
            current: Some("auto"),
            snapshots: vec!["auto", "auto-2", "first", "second"],
        };
    });

    // A mirror that is new in the configuration, and staged.
    assert_eq!(existing(&site.served("vendor")), None);
    site.env.configure(named(
        Config::new().mirror(auto).mirror(vendor.publish_to_staging(true)),
    ));
    run(&site, &["sync", "vendor"]);
    assert_eq!(names(&site.served("")), ["debian", "vendor"]);
    let shown = Shown {
        staging: Some("auto"),
        current: None,
        snapshots: vec!["auto"],
    };
    shown.check(&site, "vendor", "sync vendor");

    // Until the newest alone is young enough.
    thread::sleep(Duration::from_secs(2));
    let prune = ["snapshot", "prune", "debian", "--keep-last", "1", "--keep-within", "1s"];
    step(&site, &prune, &|shown| shown.snapshots = vec!["auto"]);
    shown.check(&site, "vendor", "snapshot prune debian");
}

#[test]
fn who_holds_a_directory_stays_in_its_tree() {
    let (site, snapshots) = Site::with_snapshots(2);
    let _mount = site.mount();
    site.publish("debian", &snapshots[0]);
    let current = site.served("debian/current");
    let old = tree(&current);
    let held = File::open(&current).expect("a directory");
    let mut open = File::open(current.join(COMMON)).expect("a file");
    let mut head = vec![0; 1000];
    open.read_exact(&mut head).expect("readable");

    // A shell whose working directory is below the pointer: it looks, waits for a sign, and looks again.
    let (sign, suite) = (site.env.root().join("sign"), current.join("dists/stable"));
    let script = format!(
        "cat Release && echo ready >&2 && while [ ! -e {} ]; do sleep 0.02; done && cat Release && ls ../..",
        sign.display()
    );
    let shell = Program::new("sh", "dash").args(["-c", &script]).directory(&suite);
    let mut shell = shell.spawn();
    shell.wait_until("the first look", |shell| shell.stderr().contains("ready"));

    site.publish("debian", &snapshots[1]);
    let new = tree(&current);
    assert_ne!(new, old);
    assert_eq!(tree(&within(&held)), old, "a held descriptor");
    fs::write(&sign, "").expect("written");
    let release = String::from_utf8(read(&within(&held).join(RELEASE))).expect("text");
    let shell = shell.wait().success();
    assert_eq!(
        shell.stdout,
        format!("{release}{release}dists\npool\n"),
        "a working directory"
    );
    let mut tail = Vec::new();
    open.read_to_end(&mut tail).expect("readable");
    assert_eq!([head, tail].concat(), read(&current.join(COMMON)), "an open file");

    // Back to the first snapshot: the same files behind another door.
    site.publish("debian", &snapshots[0]);
    assert_eq!(tree(&current), old);
    assert_eq!(tree(&within(&held)), old);
    let door = held.metadata().expect("open").ino();
    assert_ne!(inode(&current), door, "a move back is a new door");
    assert_eq!(inode(&within(&held).join(COMMON)), inode(&current.join(COMMON)));
}

#[test]
fn mirrors_promoted_together_move_in_one_act() {
    let mut site = Site::new(&["debian", "ubuntu", "vendor"]);
    let _mount = site.mount();
    let mirrors = ["debian", "ubuntu", "vendor"];
    for round in 0..2 {
        let staged = mirrors.map(|mirror| {
            let name = site.next_snapshot(mirror);
            site.stage(mirror, &name);
            name
        });
        let promote = [&["--json", "snapshot", "promote"][..], &mirrors[..]].concat();
        let report = site.env.mirrorctl(&promote).success().json();
        for (mirror, name) in mirrors.iter().zip(&staged) {
            let release = |place: &str| read(&site.served(&format!("{mirror}/{place}/{RELEASE}")));
            assert_eq!(release("current"), release(&format!("snapshots/{name}")), "{mirror}");
        }
        let moved = report["moves"].as_array().expect("a list").clone();
        assert_eq!(moved.len(), 3, "{report}");
        let history = site.env.mirrorctl(&["--json", "snapshot", "history"]).success().json();
        let moves = history["moves"].as_array().expect("a list").clone();
        let newest: Vec<_> = moves
            .iter()
            .filter(|entry| entry["pointer"] == "current")
            .take(3)
            .collect();
        for entry in &newest {
            assert_eq!(
                (&entry["act"], &entry["command"]),
                (&newest[0]["act"], &"promote".into()),
                "{history}"
            );
            let at = mirrors
                .iter()
                .position(|mirror| entry["mirror"] == *mirror)
                .expect("one of them");
            assert_eq!(entry["to"], staged[at], "round {round}: {history}");
        }
        let acts: std::collections::BTreeSet<_> = moves.iter().map(|entry| entry["act"].as_i64()).collect();
        // Each staging is an act, each promotion of all is one.
        assert_eq!(acts.len(), 4 * (round + 1), "{history}");
    }
    // One that has nothing staged holds all back.
    let before = mirrors.map(|mirror| inode(&site.served(&format!("{mirror}/current"))));
    let name = site.next_snapshot("debian");
    site.stage("debian", &name);
    let unsynced = Mirror::new("empty", "http://127.0.0.1:9/").suites(&["stable"]);
    site.env.configure(site.config(3).mirror(unsynced));
    let refused = site.env.mirrorctl(&["snapshot", "promote", "debian", "empty"]);
    refused.failure().stderr_has("empty");
    let after = mirrors.map(|mirror| inode(&site.served(&format!("{mirror}/current"))));
    assert_eq!(after, before);
}

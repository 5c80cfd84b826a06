//! Killed at any moment: the next run finishes, and nothing published has changed.
//!
//! Fifty kills without warning, at moments spread over the measured length of a sync and of a promote. After each, what
//! was published is compared: where the pointers lead, their history, every listing, and the bytes of every blob.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use mirrorctl_testkit::{Config, Fault, Ran, Running, Signal, SuiteSpec};
use serde_json::Value;

use crate::site::{Files, SUITE, Site, deb};

/// Syncs that are killed.
const SYNCS: u32 = 28;
/// Promotes that are killed.
const PROMOTES: u32 = 16;
/// Collections of garbage that are killed.
const COLLECTIONS: u32 = 6;
/// Repairs of damaged files that are killed.
const REPAIRS: u32 = 12;

/// A sequence of numbers that look random and are the same in every run (Steele and Vigna's `SplitMix64`).
struct Random(u64);

impl Random {
    #[expect(
        clippy::print_stdout,
        reason = "a failed test shows it, to be told apart from a change of the sequence"
    )]
    fn new(seed: u64) -> Self {
        println!("seed {seed:#x}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Kills, spread over the time that the killed command usually takes.
struct Kills {
    random: Random,
    /// The shortest time in which the command has ended by itself.
    usual: Duration,
    wanted: u32,
    killed: u32,
    rounds: u32,
}

impl Kills {
    /// So many kills of a command that took `usual`.
    fn new(seed: u64, wanted: u32, usual: Duration) -> Self {
        Self {
            random: Random::new(seed),
            usual,
            wanted,
            killed: 0,
            rounds: 0,
        }
    }

    /// The number of the next round, as long as there were not enough kills. Those that came too late do not count.
    fn next_round(&mut self) -> Option<u32> {
        assert!(
            self.rounds < 5 * self.wanted,
            "{} of {} kills came too late",
            self.rounds - self.killed,
            self.rounds
        );
        self.rounds += 1;
        (self.killed < self.wanted).then_some(self.rounds)
    }

    /// Kills the command that `start` starts, sooner or later. Returns how it ended and a description of all this.
    fn kill(&mut self, start: impl FnOnce() -> Running) -> (Ran, String) {
        let micros = u64::try_from(self.usual.as_micros()).expect("a short time");
        let delay = Duration::from_micros(self.random.next() % micros);
        let started = Instant::now();
        let mut running = start();
        if running.ends_within(delay) {
            self.usual = self.usual.min(started.elapsed());
        }
        running.signal(Signal::Kill);
        let ran = running.wait();
        self.killed += u32::from(ran.status.code().is_none());
        let what = format!(
            "round {}, killed after {delay:?} of {:?}: {ran}",
            self.rounds, self.usual
        );
        (ran, what)
    }
}

/// What readers of production have: where it leads, and every file of it.
#[derive(Debug, PartialEq, Eq)]
struct Published {
    snapshot: Option<String>,
    files: Files,
    moves: Vec<Value>,
}

impl Published {
    fn of(site: &Site, mirror: &str) -> Self {
        let snapshot = site.pointer(mirror, "current");
        let history = site.json(&format!("snapshot history {mirror}"));
        let moves = history["moves"].as_array().expect("a list").iter();
        Self {
            files: snapshot
                .as_ref()
                .map(|name| site.files(mirror, name))
                .unwrap_or_default(),
            snapshot,
            moves: moves.filter(|entry| entry["pointer"] == "current").cloned().collect(),
        }
    }
}

#[test]
fn a_killed_sync_changes_nothing_that_is_published() {
    let names: Vec<String> = (0..24).map(|n| format!("pkg{n:02}")).collect();
    let add = |suite: SuiteSpec, name: &String| suite.package("main", deb(name, "1", 3_000));
    let mut site = Site::new([names.iter().fold(SuiteSpec::new(SUITE), add)]);
    let config = Config::new()
        .mirror(site.mirror("debian").publish_to_staging(true))
        .set("max_conns", "3")
        .set_in("snapshot.prune", "keep_last", "2")
        .set_in("snapshot.prune", "keep_within", "\"0\"");
    site.configure_all(config);
    site.sync();
    site.run("snapshot promote debian").success();
    let published = Published::of(&site, "debian");
    // Slow enough that a good part of the kills comes while files arrive.
    let pause = Duration::from_millis(6);
    site.upstream.fault("pool/*", Fault::Slow { piece: 1_000, pause });
    let change = |site: &mut Site, round: u32| {
        for (nth, name) in names.iter().enumerate() {
            let times = if nth % 4 == 0 { round } else { round / 8 };
            let changed = deb(name, &format!("2.{times}"), 3_000);
            site.archive.add(SUITE, "main", &changed).expect("a package");
        }
        site.publish();
    };
    change(&mut site, 1_000);
    let started = Instant::now();
    site.sync();
    let usual = started.elapsed();

    let mut kills = Kills::new(0x6d69_7272_6f72, SYNCS, usual);
    while let Some(round) = kills.next_round() {
        change(&mut site, round);
        let before = site.snapshots("debian");
        let (_, what) = kills.kill(|| site.env.spawn(&["sync"]));
        assert_eq!(Published::of(&site, "debian"), published, "{what}");
        // Either nothing of it is there, or all.
        let after = site.snapshots("debian");
        if after[0] != before[0] {
            assert_eq!(site.pointer("debian", "staging").as_ref(), Some(&after[0]), "{what}");
        }
        site.assert_whole();
        // The next run finishes what this one began, and cleans up after it.
        site.run("sync").success();
        assert!(site.leftovers().is_empty(), "{what}: {:?}", site.leftovers());
        let newest = site.newest();
        for path in site.archive.pool_paths() {
            assert!(newest.contains_key(path), "{what}: {path}");
        }
        assert_eq!(Published::of(&site, "debian"), published, "{what}");
        site.assert_whole();
    }
    // Nothing that syncs had fetched and no longer need stays for ever.
    site.run("gc --now").success();
    let listed: std::collections::BTreeSet<_> = site
        .snapshots("debian")
        .iter()
        .flat_map(|name| site.files("debian", name).into_values())
        .collect();
    // At most as many manifests as the two listings can be chained to.
    let others = site.blobs().len() - listed.len();
    assert!(others <= 66, "{others} blobs belong to no listing");
    site.assert_whole();
}

#[test]
fn a_killed_promote_moves_all_or_nothing() {
    let mut site = Site::new([SuiteSpec::new(SUITE).package("main", deb("aa", "1", 10))]);
    let config = Config::new().mirror(site.mirror("one")).mirror(site.mirror("two"));
    site.configure_all(config);
    site.json("sync");
    site.run("snapshot create one a").success();
    site.run("snapshot create two a").success();
    site.add(&deb("aa", "2", 10));
    site.json("sync");
    site.run("snapshot create one b").success();
    site.run("snapshot create two b").success();
    let stage = |name: &str| {
        site.run(&format!("snapshot stage one {name}")).success();
        site.run(&format!("snapshot stage two {name}")).success();
    };
    stage("a");
    let started = Instant::now();
    site.run("snapshot promote one two").success();
    let usual = started.elapsed();
    let files = ["a", "b"].map(|name| site.files("one", name));

    let mut kills = Kills::new(0x0070_726f_6d6f_7465, PROMOTES, usual);
    while let Some(round) = kills.next_round() {
        let (old, new) = if round % 2 == 0 { ("b", "a") } else { ("a", "b") };
        stage(new);
        let before = ["one", "two"].map(|mirror| Published::of(&site, mirror));
        assert!(
            before
                .iter()
                .all(|published| published.snapshot.as_deref() == Some(old))
        );
        let (ended, what) = kills.kill(|| site.env.spawn(&["snapshot", "promote", "one", "two"]));
        let after = ["one", "two"].map(|mirror| Published::of(&site, mirror));
        let has_moved = after[0].snapshot.as_deref() == Some(new);
        if has_moved {
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(after.snapshot.as_deref(), Some(new), "{what}");
                assert_eq!(after.moves[1..], before.moves, "{what}");
            }
            // Both in one act.
            assert_eq!(after[0].moves[0]["act"], after[1].moves[0]["act"], "{what}");
        } else {
            assert_eq!(after, before, "{what}");
            assert_ne!(ended.status.code(), Some(0), "{what}");
        }
        // Repeating it is safe, whatever it came to.
        site.run("snapshot promote one two").success();
        for mirror in ["one", "two"] {
            let published = Published::of(&site, mirror);
            assert_eq!(published.snapshot.as_deref(), Some(new), "{what}");
            assert_eq!(published.moves.len(), before[0].moves.len() + 1, "{what}");
            assert_eq!(published.files, files[usize::from(new == "b")], "{what}");
        }
        site.assert_whole();
    }
}

#[test]
fn a_killed_collection_loses_nothing_that_is_needed() {
    let mut site = Site::small();
    site.sync();
    site.run(&format!("snapshot publish debian {}", site.snapshots("debian")[0]))
        .success();
    let mut kills = Kills::new(0x6763, COLLECTIONS, Duration::from_secs(1));
    while let Some(round) = kills.next_round() {
        for step in 0..3 {
            site.add(&deb("aa", &format!("2.{round}.{step}"), 1_000));
            site.sync();
        }
        let published = Published::of(&site, "debian");
        let mut old = site.snapshots("debian");
        old.retain(|name| Some(name) != published.snapshot.as_ref());
        site.run(&format!("snapshot delete debian {}", old[1..].join(" ")))
            .success();
        let (_, what) = kills.kill(|| site.env.spawn(&["gc", "--now"]));
        assert_eq!(Published::of(&site, "debian"), published, "{what}");
        site.assert_whole();
        // The next one finishes it, and syncs go on.
        site.run("gc --now").success();
        assert_eq!(site.json("status")["cache"]["unused_files"], 0, "{what}");
        site.assert_whole();
        assert_eq!(site.sync()["outcome"], "unchanged", "{what}");
    }
}

#[test]
fn a_killed_repair_loses_nothing_and_is_finished_by_the_next() {
    let names: Vec<String> = (0..12).map(|n| format!("pkg{n:02}")).collect();
    let add = |suite: SuiteSpec, name: &String| suite.package("main", deb(name, "1", 3_000));
    let site = Site::new([names.iter().fold(SuiteSpec::new(SUITE), add)]);
    site.sync();
    site.run(&format!("snapshot publish debian {}", site.snapshots("debian")[0]))
        .success();
    let published = Published::of(&site, "debian");
    let pool: Vec<_> = site.archive.pool_paths().into_iter().map(str::to_owned).collect();
    let damage = |round: usize| {
        for (nth, path) in pool
            .iter()
            .enumerate()
            .filter(|(nth, _)| (nth + round).is_multiple_of(2))
        {
            let blob = site.blob(published.files[path].0);
            match (nth + round) % 3 {
                0 => fs::remove_file(&blob).expect("removes"),
                1 => rot(&blob, 1),
                _ => rot(&blob, 2),
            }
        }
    };
    damage(0);
    let started = Instant::now();
    site.run("verify --deep --repair").success();
    let usual = started.elapsed();
    let mut kills = Kills::new(0x7665_7269_6679, REPAIRS, usual);
    let mut aside = 0;
    while let Some(round) = kills.next_round() {
        damage(usize::try_from(round).expect("a small number"));
        let (_, what) = kills.kill(|| site.env.spawn(&["verify", "--deep", "--repair"]));
        assert_eq!(Published::of(&site, "debian"), published, "{what}");
        // Nothing bad has been removed without a trace.
        let bad = site.quarantined().len();
        assert!(bad >= aside, "{what}");
        aside = bad;
        site.run("verify --deep --repair").success();
        site.assert_whole();
        assert_eq!(site.json("status")["cache"]["damaged_files"], 0, "{what}");
        site.run("verify --deep").success();
    }
}

/// Makes a blob shorter, or changes a byte of it.
fn rot(blob: &Path, how: usize) {
    let mut bytes = fs::read(blob).expect("a blob");
    if how == 1 {
        bytes.pop();
    } else {
        bytes[100] ^= 1;
    }
    fs::set_permissions(blob, fs::Permissions::from_mode(0o644)).expect("sets");
    fs::write(blob, bytes).expect("writes");
    fs::set_permissions(blob, fs::Permissions::from_mode(0o444)).expect("sets");
}

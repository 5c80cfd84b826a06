//! What a promote costs as an operator sees it: the whole process, in a catalog with many snapshots.
//!
//! Owns the comparison of `snapshot promote`, with and without a running mount, with the least that could be done
//! instead: renaming a symbolic link. With a mount, each promote is checked to be visible when the process has ended.
//! `cargo bench --bench promote -- 50 3000` makes fewer and smaller snapshots.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;
mod many;
mod stores;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{is_wanted, machine, median, milliseconds, samples, settle, table};
use many::{MIRROR, NAME_FILE, Scale, snapshot_name};
use mirrorctl_testkit::{MountGuard, Scratch, TestEnv, is_root};

/// Promotes, and runs of whatever they are compared with.
const RUNS: usize = 50;
/// How long a pointer that moved has to rest before it moves again without waiting for its turn.
const REST: Duration = Duration::from_secs(1);
/// The slowest that a promote may be.
const BAR: Duration = Duration::from_millis(20);

fn main() {
    if !is_wanted() {
        return;
    }
    let scale = Scale::wanted();
    let env = many::installation(scale);
    settle();
    let scratch = Scratch::new();
    println!("{}", machine(&scratch));
    println!("{}; {RUNS} runs of each", scale.sentence());

    let mut rows = links(&scratch).to_vec();
    rows.push(row(
        "mirrorctl version: a process that does nothing",
        &run(&env, &["version"]),
    ));
    rows.push(row("mirrorctl snapshot list", &run(&env, &["snapshot", "list"])));
    let last = scale.snapshots - 1;
    let ways = [("to the next", [last - 1, last]), ("and to the oldest", [0, last])];
    for (way, ends) in ways {
        let what = format!("mirrorctl snapshot promote, no mount, {way}");
        rows.push(row(&what, &promote(&env, ends, |_| {})));
    }
    if is_root() && Path::new("/dev/fuse").exists() {
        let mount = MountGuard::mount(&env);
        let served = format!("{MIRROR}/current/{NAME_FILE}");
        let check = |name: &str| {
            let found = env.read_served(&served);
            assert_eq!(found, name, "the promote is visible when it has returned");
        };
        for (way, ends) in ways {
            let what = format!("mirrorctl snapshot promote, mounted, {way}");
            rows.push(row(&what, &promote(&env, ends, check)));
        }
        drop(mount);
    } else {
        println!("MISSING: a mount, which needs root and /dev/fuse");
    }
    print!(
        "{}",
        table(
            "from start to end of the process",
            &["", "median", "slowest", "all < 20 ms"],
            &rows
        )
    );
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

/// Promotes the two snapshots with these numbers in turn, each a second after the one before; `check` gets the name of the one that was promoted.
fn promote(env: &TestEnv, ends: [usize; 2], check: impl Fn(&str)) -> Vec<Duration> {
    samples(RUNS, |run| {
        let name = snapshot_name(ends[run % 2]);
        env.mirrorctl(&["snapshot", "stage", MIRROR, &name]).success();
        // What is asked is what a promote costs, not what the one before makes it wait.
        thread::sleep(REST);
        let took = env.command(&["snapshot", "promote", MIRROR]).measure().wall;
        check(&name);
        took
    })
}

fn row(what: &str, times: &[Duration]) -> Vec<String> {
    let slowest = times.iter().max().expect("some runs");
    let verdict = if *slowest < BAR { "yes" } else { "no" };
    let figures = [milliseconds(median(times)), milliseconds(*slowest), verdict.to_owned()];
    [&[what.to_owned()][..], &figures].concat()
}

//! What listing and pruning many snapshots cost as an operator sees it: the whole process.
//!
//! Owns the measurement of `snapshot list`, of a dry run of `snapshot prune` and of the prune itself, against the times they are
//! held to. What comparing two snapshots costs is measured by the benchmark `diff`. `cargo bench --bench keeping -- 200 3000` makes
//! fewer and smaller snapshots.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;
mod many;
mod stores;

use std::time::Duration;

use common::{is_wanted, machine, median, milliseconds, samples, settle, table};
use many::{MIRROR, NAME_FILE, Scale, snapshot_name};
use mirrorctl_testkit::{Scratch, TestEnv};

/// Runs of what can be done again.
const RUNS: usize = 20;
/// Snapshots that one prune deletes.
const PRUNED: usize = 100;

fn main() {
    if !is_wanted() {
        return;
    }
    let scale = Scale::wanted();
    let env = many::installation(scale);
    let newest = snapshot_name(scale.snapshots - 1);
    env.mirrorctl(&["snapshot", "publish", MIRROR, &newest]).success();
    settle();
    println!("{}", machine(&Scratch::new()));
    println!("{}, and {NAME_FILE}", scale.sentence());

    // As many prunes as there are hundreds of snapshots, but for the last, of which the newest stay.
    let prunes = (scale.snapshots / PRUNED).saturating_sub(1);
    let prune = |done: usize| {
        let kept = (scale.snapshots - (done + 1) * PRUNED).to_string();
        ["snapshot", "prune", MIRROR, "--keep-within", "1d", "--keep-last", &kept].map(str::to_owned)
    };
    let measured = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        env.command(&words).measure().wall
    };
    let list = ["snapshot", "list"].map(str::to_owned);
    let dry = [&prune(0)[..], &["--dry-run".to_owned()]].concat();
    let rows = [
        row("snapshot list", 50, &samples(RUNS, |_| measured(&list))),
        row(
            "snapshot prune --dry-run of 100",
            1_000,
            &samples(RUNS, |_| measured(&dry)),
        ),
        row(
            "snapshot prune of 100",
            1_000,
            &samples(prunes, |done| measured(&prune(done))),
        ),
    ];
    assert_eq!(left(&env), scale.snapshots - prunes * PRUNED, "the prunes did prune");
    let head = ["", "runs", "median", "slowest", "bar", "held"];
    print!("{}", table("from start to end of the process", &head, &rows));
}

/// Snapshots that there are.
fn left(env: &TestEnv) -> usize {
    let list = env.mirrorctl(&["--json", "snapshot", "list"]).success().json();
    list["snapshots"].as_array().map_or(0, Vec::len)
}

fn row(what: &str, bar: u64, times: &[Duration]) -> Vec<String> {
    let slowest = times.iter().max().expect("more than a hundred snapshots");
    let held = if *slowest < Duration::from_millis(bar) {
        "yes"
    } else {
        "no"
    };
    vec![
        format!("mirrorctl {what}"),
        times.len().to_string(),
        milliseconds(median(times)),
        milliseconds(*slowest),
        format!("{bar} ms"),
        held.to_owned(),
    ]
}

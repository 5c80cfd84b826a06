//! How fast the whole cache is hashed again, beside sha256sum on all processors.
//!
//! Owns the measurement of `verify --deep` against the bar that it is held to: 0.9 of what `xargs -P` with sha256sum reads of the
//! same files, with the page cache empty before each of both. `cargo bench --bench verify -- 4096` takes so many MiB.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;
#[expect(dead_code, reason = "no snapshot is recorded here")]
mod stores;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{is_wanted, machine, median, milliseconds, settle, table};
use mirrorctl_testkit::{Config, Dice, Mirror, Program, Scratch, TestEnv, now};
use rustix::fs::{Advice, fadvise};
use stores::Stores;

/// Rounds, in each of which both are measured.
const ROUNDS: usize = 5;

/// MiB of files, unless said otherwise.
const USUAL: usize = 1024;

/// Lengths of files as archives have them, in KiB, with the share of each in all bytes, in percent: many small packages, and few
/// large ones with most of the bytes.
const LENGTHS: [(usize, usize); 4] = [(20, 5), (200, 20), (2_000, 40), (40_000, 35)];

/// The bar: of sha256sum's speed.
const BAR: f64 = 0.9;

fn main() {
    if !is_wanted() {
        return;
    }
    let wanted = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(USUAL);
    let (env, files, bytes) = cache(wanted);
    settle();
    println!("{}", machine(&Scratch::new()));
    println!("{files} files, {} MiB", bytes >> 20);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Whoever is first in one round is second in the next.
        let mut pair = [Duration::ZERO; 2];
        for turn in [round % 2, (round + 1) % 2] {
            forget(&env);
            pair[turn] = if turn == 0 { verify(&env) } else { sha256sum(&env) };
        }
        ours.push(pair[0]);
        theirs.push(pair[1]);
        ratios.push((pair[1].as_secs_f64() / pair[0].as_secs_f64() * 1e3).round());
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[(ROUNDS - 1) / 2] / 1e3;
    let speed = |times: &[Duration]| {
        let mebibytes = u32::try_from(bytes >> 20).expect("no more than fits");
        format!("{:.0} MiB/s", f64::from(mebibytes) / median(times).as_secs_f64())
    };
    let held = if ratio >= BAR { "yes" } else { "no" };
    let rows = [
        vec![
            "mirrorctl verify --deep".to_owned(),
            milliseconds(median(&ours)),
            speed(&ours),
        ],
        vec![
            "xargs -P sha256sum".to_owned(),
            milliseconds(median(&theirs)),
            speed(&theirs),
        ],
        vec![
            "ratio of speeds".to_owned(),
            format!("{ratio:.2}"),
            format!(">= {BAR}: {held}"),
        ],
    ];
    print!("{}", table("hashing the whole cache again", &["", "median", ""], &rows));
}

/// An installation with so many MiB of blobs: their number and their bytes.
fn cache(mebibytes: usize) -> (TestEnv, usize, u64) {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    env.configure(Config::new().mirror(Mirror::new("archive", "http://127.0.0.1:1").suites(&["stable"])));
    let mut stores = Stores::open(&env, "archive");
    let (mut files, mut bytes, mut dice) = (0, 0, Dice(1));
    for (kibibytes, percent) in LENGTHS {
        let count = (mebibytes * 1024 * percent / 100).div_ceil(kibibytes);
        let contents = (0..count).map(|_| dice.noise(kibibytes << 10));
        for blob in stores.keep(contents, now()) {
            (files, bytes) = (files + 1, bytes + blob.size);
        }
    }
    (env, files, bytes)
}

fn verify(env: &TestEnv) -> Duration {
    let begun = Instant::now();
    env.mirrorctl(&["verify", "--deep"]).success();
    begun.elapsed()
}

fn sha256sum(env: &TestEnv) -> Duration {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let line = format!("find blobs -type f -print0 | xargs -0 -n 64 -P {processors} sha256sum > /dev/null");
    let begun = Instant::now();
    Program::new("sh", "dash")
        .args(["-c", &line])
        .directory(&env.state_dir())
        .run()
        .success();
    begun.elapsed()
}

/// Gives up whatever is in memory of the blobs.
fn forget(env: &TestEnv) {
    settle();
    for directory in fs::read_dir(env.state_dir().join("blobs")).expect("a directory") {
        let directory = directory.expect("an entry").path();
        for blob in fs::read_dir(directory).expect("a directory") {
            forget_file(&blob.expect("an entry").path());
        }
    }
}

fn forget_file(path: &Path) {
    let file = File::open(path).expect("a blob");
    fadvise(file, 0, None, Advice::DontNeed).expect("nothing that is dirty");
}

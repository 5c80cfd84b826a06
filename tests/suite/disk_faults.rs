//! System calls that fail, one in each run, wherever a command changes the state.
//!
//! Owns the proof that no such failure loses anything, that a command which fails says what is and what to do, and that the
//! same command succeeds when the fault is gone. The faults are spread over all calls that a run without any makes on the state
//! directory; strace puts them in.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mirrorctl::catalog::CatalogReader;
use mirrorctl::model::Digest;
use mirrorctl_testkit::{Call, Config, Injection, Program, Ran, TestEnv};
use serde_json::Value;

use crate::site::{Site, deb, text};

/// What can fail with what, and what a command says then, if it fails. Where several words are possible, any of them.
const FAULTS: [(&str, &str, &[&str]); 21] = [
    ("write", "ENOSPC", FULL),
    ("pwrite64", "ENOSPC", FULL),
    ("openat", "ENOSPC", FULL),
    ("mkdirat", "ENOSPC", FULL),
    ("renameat2", "ENOSPC", FULL),
    ("write", "EDQUOT", &["quota", "dmesg"]),
    ("pwrite64", "EDQUOT", &["quota", "dmesg"]),
    ("write", "EIO", DAMAGED),
    ("pwrite64", "EIO", DAMAGED),
    ("pread64", "EIO", DAMAGED),
    ("fdatasync", "EIO", DAMAGED),
    ("fsync", "EIO", DAMAGED),
    ("syncfs", "EIO", DAMAGED),
    ("unlinkat", "EIO", DAMAGED),
    ("ftruncate", "EIO", DAMAGED),
    ("openat", "EROFS", READ_ONLY),
    ("renameat2", "EROFS", READ_ONLY),
    ("unlinkat", "EROFS", READ_ONLY),
    ("openat", "EMFILE", &["ulimit"]),
    ("openat", "EACCES", &["sudo", "ulimit", "Permission denied"]),
    ("mmap", "ENOMEM", &["dmesg", "memory"]),
];

const FULL: &[&str] = &["df -", "dmesg", "ulimit"];
const DAMAGED: &[&str] = &["dmesg"];
const READ_ONLY: &[&str] = &["read-only", "ulimit", "dmesg"];

/// A command, the state before it, and what it is to bring about.
struct Case {
    site: Site,
    line: &'static str,
    /// Whether what it is to bring about is there.
    done: fn(&Site) -> bool,
}

/// What one case came to.
#[derive(Debug, Default)]
struct Figures {
    injected: u32,
    succeeded: u32,
    failed: u32,
    /// Failed, although what the command is for has happened; it said so.
    done_all_the_same: u32,
    /// Failed in a commit, of which was found out what became of it.
    settled: u32,
}

impl Case {
    /// Takes the state as it is for the one before the command.
    fn new(site: Site, line: &'static str, done: fn(&Site) -> bool) -> Self {
        assert!(!done(&site), "{line} has nothing to do");
        copy(&site.env.state_dir(), &template(&site.env));
        Self { site, line, done }
    }

    fn restore(&self) {
        let state = self.site.env.state_dir();
        fs::remove_dir_all(&state).expect("own directory");
        copy(&template(&self.site.env), &state);
    }

    fn command(&self) -> Program {
        self.site.env.command(&self.line.split_whitespace().collect::<Vec<_>>())
    }

    /// The calls of a run without faults that are about the state.
    fn calls(&self) -> Vec<Call> {
        let log = self.site.env.root().join("calls");
        let names: Vec<&str> = FAULTS.iter().map(|(name, ..)| *name).collect();
        self.restore();
        self.command().watched(&names, &log).run().success();
        assert!((self.done)(&self.site), "{}", self.line);
        Call::all(&log, &self.site.env.state_dir())
    }

    /// Lets up to `most` calls of each kind fail, one in each run.
    fn run(&self, most: usize) -> Figures {
        self.run_with(&FAULTS, most, false)
    }

    /// As [`Case::run`] with these faults, which may last.
    fn run_with(&self, faults: &[(&str, &str, &[&str])], most: usize, lasting: bool) -> Figures {
        let mut figures = Figures::default();
        let calls = self.calls();
        for (syscall, errno, words) in faults {
            let mut calls: Vec<&Call> = calls.iter().filter(|call| call.syscall == *syscall).collect();
            let mut seen = BTreeSet::new();
            calls.retain(|call| seen.insert(*call));
            for call in spread(&calls, most) {
                let injection = Injection {
                    call: call.clone(),
                    errno: (*errno).to_owned(),
                    lasting,
                };
                self.inject(&injection, words, &mut figures);
            }
        }
        println(self.line, &figures);
        figures
    }

    fn inject(&self, injection: &Injection, words: &[&str], figures: &mut Figures) {
        self.restore();
        let log = self.site.env.root().join("log");
        let ran = self.command().injected(injection, &log).run();
        let what = || format!("{injection:?}\n{ran}");
        if !Call::all(&log, &self.site.env.state_dir())
            .iter()
            .any(|call| call.injected)
        {
            // Another order of threads.
            return;
        }
        figures.injected += 1;
        // No panic, and no signal.
        assert!(
            ran.status.code().is_some() && !ran.stderr.contains("panicked"),
            "{}",
            what()
        );
        check_invariants(&self.site, &what());
        let done = (self.done)(&self.site);
        if ran.status.code() == Some(0) {
            figures.succeeded += 1;
            assert!(done, "it said that all is well: {}", what());
        } else {
            figures.failed += 1;
            assert!(ran.stderr.contains("error: "), "{}", what());
            assert!(
                words.iter().any(|word| ran.stderr.contains(word)),
                "it does not say what to do: {}",
                what()
            );
            let not = ["it is not recorded", "does not find it there"];
            if not.iter().any(|words| ran.stderr.contains(words)) {
                figures.settled += 1;
                assert!(!done, "it is recorded: {}", what());
            }
            if ran.stderr.contains("the change is recorded") {
                figures.settled += 1;
                assert!(done, "it is not recorded: {}", what());
            }
            if done {
                figures.done_all_the_same += 1;
                assert!(admits(&ran), "it does not say that it is done: {}", what());
            }
        }
        // The same command, now without a fault.
        let again = self.command().run();
        let repeated = matches!(again.status.code(), Some(0)) || (done && again.status.code().is_some());
        assert!(repeated && (self.done)(&self.site), "{}\nthen {again}", what());
        check_invariants(&self.site, &what());
    }
}

/// Whether a command that failed says that what it is for has happened.
fn admits(ran: &Ran) -> bool {
    let report = ["is deleted", "removed", "debian: snapshot", "debian/current", "tags"];
    let about_the_rest = "what was removed until then is gone";
    ran.stderr.contains("recorded")
        || ran.stderr.contains(about_the_rest)
        || report.iter().any(|words| ran.stdout.contains(words))
}

/// Up to `most` of `calls`, from the first to the last.
fn spread<'c>(calls: &[&'c Call], most: usize) -> Vec<&'c Call> {
    let count = calls.len().min(most);
    let nth = |n: usize| {
        calls[if count < 2 {
            0
        } else {
            n * (calls.len() - 1) / (count - 1)
        }]
    };
    (0..count).map(nth).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are what the test is for")]
fn println(line: &str, figures: &Figures) {
    let Figures {
        injected,
        succeeded,
        failed,
        done_all_the_same,
        settled,
    } = figures;
    println!(
        "{line}: faults injected {injected}, of which {succeeded} did not fail the command and {failed} did: {settled} in a \
         commit, which was settled, {done_all_the_same} after it was done, which it said"
    );
}

fn template(env: &TestEnv) -> std::path::PathBuf {
    env.root().join("template")
}

fn copy(from: &Path, to: &Path) {
    Program::new("cp", "coreutils")
        .args(["--archive", "--no-target-directory"])
        .args([from, to])
        .run()
        .success();
}

/// I1: whatever a snapshot lists is there, whole. I2: every pointer leads to a snapshot, and the history says so. I4: a file
/// with the name of a blob is that blob. I5 is I1 after a collection.
fn check_invariants(site: &Site, what: &str) {
    let reader = CatalogReader::open(&site.env.state_dir().join("catalog.db"));
    let reader = reader.unwrap_or_else(|error| panic!("{error}: {what}"));
    for path in site.blobs() {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let bytes = fs::read(&path).expect("a blob");
        assert_eq!(Digest::of(&bytes).to_string(), name, "I4: {what}");
    }
    for (row, mirror) in reader.mirrors().expect("readable") {
        let snapshots = reader.snapshots(row).expect("readable");
        for snapshot in &snapshots {
            for (path, (digest, size)) in site.files(mirror.as_str(), snapshot.name.as_str()) {
                let length = fs::metadata(site.blob(digest)).map(|facts| facts.len());
                assert_eq!(length.ok(), Some(size), "I1: {} {path}: {what}", snapshot.name);
            }
        }
        let history = reader.history(row).expect("readable");
        for there in reader.pointers(row).expect("readable") {
            assert!(
                snapshots.iter().any(|snapshot| snapshot.row == there.snapshot_row),
                "I2: {} leads nowhere: {what}",
                there.pointer
            );
            let newest = history.iter().find(|moved| moved.pointer == there.pointer);
            assert_eq!(newest.map(|moved| moved.row), Some(there.row), "I2: {what}");
        }
    }
}

/// A site with snapshots `one`, `two` and `three`, of which `one` is staged, and unused files of a fourth that is gone.
fn site() -> Site {
    let mut site = Site::small();
    configure(&site);
    for name in ["gone", "one", "two", "three"] {
        site.add(&deb(name, "1", 3_000));
        let made = text(&site.sync()["snapshot"]["name"]);
        site.run(&format!("snapshot rename debian {made} {name}")).success();
        site.archive.remove(crate::site::SUITE, name).expect("a suite");
    }
    site.run("snapshot stage debian one").success();
    site.run("snapshot delete debian gone").success();
    site
}

fn configure(site: &Site) {
    let config = Config::new()
        .mirror(site.mirror("debian"))
        .lending_nothing()
        .set("max_conns", "1")
        .set_in("gc", "auto", "false")
        .set_in("http", "retries", "0");
    site.configure_all(config);
}

fn unused(site: &Site) -> Value {
    site.json("status")["cache"]["unused_files"].clone()
}

#[test]
fn a_sync_in_which_a_call_fails_loses_nothing() {
    let mut site = site();
    site.add(&deb("four", "1", 3_000));
    site.add(&deb("large", "1", 2_000_000));
    let case = Case::new(site, "sync debian", |site| site.snapshots("debian").len() == 4);
    let figures = case.run(4);
    assert!(figures.injected > 20 && figures.failed > 10, "{figures:?}");
}

#[test]
fn a_move_in_which_a_call_fails_says_whether_it_is_recorded() {
    let case = Case::new(site(), "snapshot promote debian", |site| {
        site.pointer("debian", "current").as_deref() == Some("one")
    });
    let figures = case.run(8);
    assert!(figures.injected > 20 && figures.failed > 10, "{figures:?}");
}

#[test]
fn a_disk_that_stays_broken_is_told_of_truly() {
    let case = Case::new(site(), "snapshot promote debian", |site| {
        site.pointer("debian", "current").as_deref() == Some("one")
    });
    let faults: [(&str, &str, &[&str]); 3] = [
        ("fdatasync", "EIO", DAMAGED),
        ("fsync", "EIO", DAMAGED),
        ("pwrite64", "EIO", DAMAGED),
    ];
    let figures = case.run_with(&faults, 6, true);
    assert!(figures.injected > 5 && figures.settled > 0, "{figures:?}");
}

#[test]
fn a_deletion_in_which_a_call_fails_says_whether_it_is_recorded() {
    let delete = Case::new(site(), "snapshot delete debian two", |site| {
        !site.snapshots("debian").contains(&"two".to_owned())
    });
    let figures = delete.run(4);
    assert!(figures.injected > 10 && figures.failed > 5, "{figures:?}");
    let prune = Case::new(site(), "snapshot prune --keep-last 1 --keep-within 0", |site| {
        site.snapshots("debian") == ["three", "one"]
    });
    let figures = prune.run(4);
    assert!(figures.injected > 10 && figures.failed > 5, "{figures:?}");
}

#[test]
fn a_collection_in_which_a_call_fails_takes_nothing_that_is_needed() {
    let case = Case::new(site(), "gc --now", |site| unused(site) == 0);
    let figures = case.run(6);
    assert!(figures.injected > 20 && figures.failed > 10, "{figures:?}");
}

#[test]
fn a_word_in_which_a_call_fails_says_whether_it_is_recorded() {
    let case = Case::new(site(), "snapshot tag debian one tried", |site| {
        let list = site.json("snapshot list --tag tried");
        list["snapshots"].as_array().is_some_and(|found| found.len() == 1)
    });
    let figures = case.run(3);
    assert!(figures.injected > 10 && figures.failed > 5, "{figures:?}");
}

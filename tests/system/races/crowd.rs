//! Many clients and many moves.
//!
//! Owns the proof by numbers: clients that update and install without a pause while production moves a hundred times, on
//! the mount and, as a control, behind a symlink that is removed and made anew.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use mirrorctl_testkit::{AptRoot, Ran};

use super::world::{ONE, Ours, Plain, World};

/// How many clients there are.
const CLIENTS: usize = 8;

/// How often production moves.
const MOVES: i64 = 100;

/// Which moves have been begun, and which are done. A state is known by its number, and each move leads to the next.
#[derive(Default)]
struct Progress {
    begun: AtomicI64,
    done: AtomicI64,
    over: AtomicBool,
}

/// What became of the rounds of a client, or of all.
#[derive(Debug, Default)]
struct Tally {
    rounds: usize,
    /// Rounds in which production moved between the beginning of the update and the end of the installation.
    crossed: usize,
    /// How many states were installed.
    states: usize,
    /// By what failed, with the last words of one that did.
    failures: BTreeMap<&'static str, (usize, String)>,
}

impl Tally {
    fn failed(&self) -> usize {
        self.failures.values().map(|(count, _)| count).sum()
    }

    fn note(&mut self, what: &'static str, said: String) {
        let entry = self.failures.entry(what).or_default();
        *entry = (entry.0 + 1, said);
    }

    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.crossed += other.crossed;
        self.states += other.states;
        for (what, (count, said)) in other.failures {
            let entry = self.failures.entry(what).or_default();
            *entry = (entry.0 + count, said);
        }
    }
}

/// Updates and fetches the changing packages again and again until the moves are over.
fn live(apt: &AptRoot, progress: &Progress) -> Tally {
    let mut tally = Tally::default();
    let mut last = 0;
    while !progress.over.load(Ordering::SeqCst) {
        tally.rounds += 1;
        let done_before = progress.done.load(Ordering::SeqCst);
        match round(apt) {
            Err((what, ran)) => tally.note(what, ran.to_string()),
            Ok(got) => {
                let begun = progress.begun.load(Ordering::SeqCst);
                tally.crossed += usize::from(begun > done_before);
                tally.states += usize::from(got != last);
                // Nothing older than what production was, nor than what this client had; nothing from nowhere.
                if got < done_before || got < last || got > begun {
                    tally.note("stale", format!("state {got}, after {done_before} and {last}, before {begun}"));
                }
                last = got;
            }
        }
        forget(apt);
    }
    tally
}

/// One update and one installation, as far as the download. Gives the state whose packages came.
fn round(apt: &AptRoot) -> Result<i64, (&'static str, Ran)> {
    let update = apt.update();
    if !update.status.success() {
        return Err(("update", update));
    }
    let install = apt.download(&["changing"]);
    if !install.status.success() {
        return Err(("install", install));
    }
    let files: Vec<String> = apt
        .downloaded()
        .iter()
        .map(|path| path.file_name().expect("a file").to_string_lossy().into_owned())
        .collect();
    let version = |name: &str| {
        let file = files.iter().find_map(|file| file.strip_prefix(name))?;
        file.strip_suffix("_amd64.deb")?.parse().ok()
    };
    match (version("changing_"), version("partner_")) {
        (Some(one), Some(other)) if one == other && files.len() == 2 => Ok(one),
        _ => Err(("mixture", install)),
    }
}

fn forget(apt: &AptRoot) {
    for file in apt.downloaded() {
        fs::remove_file(file).expect("apt's own");
    }
}

/// Moves production as often while the clients live on it.
fn crowd(world: &mut dyn World, moves: i64) -> Tally {
    world.advance(ONE);
    let clients: Vec<AptRoot> = (0..CLIENTS).map(|_| world.direct_client()).collect();
    let first = world.stock(ONE).number();
    let progress = Progress {
        begun: first.into(),
        done: first.into(),
        over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let living: Vec<_> = clients.iter().map(|apt| scope.spawn(|| live(apt, &progress))).collect();
        for _ in 0..moves {
            world.next(ONE);
            let number = world.stock(ONE).number();
            progress.begun.store(number, Ordering::SeqCst);
            world.switch(&[ONE]);
            progress.done.store(number, Ordering::SeqCst);
        }
        progress.over.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        for client in living {
            all.add(client.join().expect("a client"));
        }
        all
    })
}

#[expect(clippy::print_stderr, reason = "a test that passes says what it has seen when it is asked to")]
fn announce(of: &str, tally: &Tally) {
    let failures: Vec<String> = tally
        .failures
        .iter()
        .map(|(what, (count, _))| format!("{count} {what}"))
        .collect();
    eprintln!(
        "{of}: {} rounds, {} of them across a move; failed: {} ({})",
        tally.rounds,
        tally.crossed,
        tally.failed(),
        failures.join(", ")
    );
}

#[test]
fn a_hundred_moves_fail_none_of_eight_clients() {
    let tally = crowd(&mut Ours::by_default(), MOVES);
    announce("mirrorctl", &tally);
    assert_eq!(tally.failed(), 0, "{tally:#?}");
    // The clients must have met the moves.
    assert!(tally.rounds >= 50 && tally.crossed >= 20, "{tally:?}");
    assert!(tally.states > CLIENTS, "{tally:?}");
}

#[test]
fn control_a_symlink_fails_some_of_them() {
    let mut all = Tally::default();
    let mut world = Plain::new();
    // Chance might spare them all once.
    for _ in 0..5 {
        all.add(crowd(&mut world, MOVES));
        announce("a symlink", &all);
        if all.failed() > 0 {
            return;
        }
    }
    panic!("these clients do not notice anything: {all:?}");
}

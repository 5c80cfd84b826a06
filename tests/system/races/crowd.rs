//! Many clients and many moves.
//!
//! Owns the proof by numbers: clients that update and install without a pause while production moves a hundred times, on
//! the mount and, as a control, behind a symlink that is removed and made anew.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use mirrorctl_testkit::{AptRoot, Ran, SuiteSpec};

use super::world::{ONE, Ours, Plain, SUITE, TWO, World, pair_of};

/// The mirrors, each with its own production, which move in turns: one pointer moves once in a second at most.
const MIRRORS: [&str; 2] = [ONE, TWO];

/// How many clients there are. Each uses both mirrors.
const CLIENTS: usize = 8;

/// How often production moves, of both mirrors together.
const MOVES: usize = 100;

/// How many of the moves follow a sync at once. The others lead to states that were synced before, as syncs take most of
/// the time and are not what is asked here.
const FRESH: usize = 10;

/// How often the whole is tried again when chance has spared every client of the control.
const ATTEMPTS: usize = 3;

/// Which moves of a mirror's production have been begun, and which are done. A state is known by its number, and each move
/// leads to the next.
#[derive(Default)]
struct Moves {
    begun: AtomicI64,
    done: AtomicI64,
}

/// The moves of each mirror, and whether there will be more.
#[derive(Default)]
struct Progress {
    moves: [Moves; 2],
    over: AtomicBool,
}

impl Progress {
    fn begun(&self) -> [i64; 2] {
        self.moves.each_ref().map(|moves| moves.begun.load(Ordering::SeqCst))
    }

    fn done(&self) -> [i64; 2] {
        self.moves.each_ref().map(|moves| moves.done.load(Ordering::SeqCst))
    }
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

/// Updates and installs the changing packages again and again until the moves are over.
fn live(apt: &AptRoot, progress: &Progress) -> Tally {
    let mut tally = Tally::default();
    let mut last = [0; 2];
    while !progress.over.load(Ordering::SeqCst) {
        tally.rounds += 1;
        let done_before = progress.done();
        let ended = round(apt);
        let begun = progress.begun();
        tally.crossed += usize::from(begun != done_before);
        match ended {
            Err((what, ran)) => tally.note(what, ran.to_string()),
            Ok(got) => {
                for mirror in 0..MIRRORS.len() {
                    let (got, last, before) = (got[mirror], last[mirror], done_before[mirror]);
                    tally.states += usize::from(got != last);
                    // Nothing older than what production was, nor than what this client had; nothing from nowhere.
                    if got < before || got < last || got > begun[mirror] {
                        let said = format!("state {got}, after {before} and {last}, before {}", begun[mirror]);
                        tally.note("stale", said);
                    }
                }
                last = got;
            }
        }
        forget(apt);
    }
    tally
}

/// One update and one installation, with all that dpkg does. Gives the states of both mirrors whose packages are installed
/// then.
fn round(apt: &AptRoot) -> Result<[i64; 2], (&'static str, Ran)> {
    let update = apt.update();
    if !update.status.success() {
        return Err(("update", update));
    }
    let pairs = MIRRORS.map(pair_of);
    let wanted = pairs.each_ref().map(|[changing, _]| changing.as_str());
    let install = apt.install(&wanted);
    if !install.status.success() {
        return Err(("install", install));
    }
    let installed = apt.all_installed();
    // What dpkg says that it has, and what it has unpacked.
    let state = |[one, other]: &[String; 2]| -> Option<i64> {
        let unpacked = fs::read_to_string(apt.path().join(format!("usr/share/{one}/version"))).ok()?;
        let versions = [installed.get(one)?, installed.get(other)?];
        versions
            .iter()
            .all(|version| **version == unpacked)
            .then(|| unpacked.parse().ok())?
    };
    match pairs.each_ref().map(state) {
        [Some(one), Some(other)] if installed.len() == 4 => Ok([one, other]),
        _ => Err(("mixture", install)),
    }
}

fn forget(apt: &AptRoot) {
    for file in apt.downloaded() {
        fs::remove_file(file).expect("apt's own");
    }
}

/// Clients, and the production that they live on.
struct Crowd<'a> {
    of: &'static str,
    world: &'a mut (dyn World + Send),
    clients: Vec<AptRoot>,
    progress: Progress,
    /// States of each mirror that are ready, oldest first.
    ready: [VecDeque<i64>; 2],
}

impl<'a> Crowd<'a> {
    /// Nobody has asked for anything yet.
    fn new(of: &'static str, world: &'a mut (dyn World + Send)) -> Self {
        let progress = Progress::default();
        for (mirror, moves) in MIRRORS.iter().zip(&progress.moves) {
            world.next(mirror);
            let first = world.stock(mirror).number();
            world.switch_to(mirror, first);
            moves.begun.store(first, Ordering::SeqCst);
            moves.done.store(first, Ordering::SeqCst);
        }
        let ready = MIRRORS.map(|mirror| {
            let states = (FRESH / 2..MOVES / 2).map(|_| {
                world.next(mirror);
                world.stock(mirror).number()
            });
            states.collect()
        });
        Self {
            of,
            clients: (0..CLIENTS).map(|_| world.direct_client(&MIRRORS)).collect(),
            progress,
            ready,
            world,
        }
    }
}

/// Moves production of the mirror `at` of a crowd to its next state.
fn advance(world: &mut dyn World, at: usize, ready: &mut [VecDeque<i64>; 2], progress: &Progress) {
    let (mirror, moves) = (MIRRORS[at], &progress.moves[at]);
    let number = ready[at].pop_front().unwrap_or_else(|| {
        world.next(mirror);
        world.stock(mirror).number()
    });
    moves.begun.store(number, Ordering::SeqCst);
    world.switch_to(mirror, number);
    moves.done.store(number, Ordering::SeqCst);
}

/// Moves production of both crowds, side by side, while their clients live on it.
fn live_together(crowds: [Crowd<'_>; 2]) -> [Tally; 2] {
    let mut worlds = Vec::new();
    let mut parts = Vec::new();
    for Crowd {
        of,
        world,
        clients,
        progress,
        ready,
    } in crowds
    {
        worlds.push((world, ready));
        parts.push((of, clients, progress));
    }
    thread::scope(|scope| {
        let living: Vec<Vec<_>> = parts
            .iter()
            .map(|(_, clients, progress)| clients.iter().map(|apt| scope.spawn(|| live(apt, progress))).collect())
            .collect();
        for number in 0..MOVES {
            for ((world, ready), (_, _, progress)) in worlds.iter_mut().zip(&parts) {
                advance(&mut **world, number % MIRRORS.len(), ready, progress);
            }
        }
        for (_, _, progress) in &parts {
            progress.over.store(true, Ordering::SeqCst);
        }
        let tallies = living.into_iter().zip(&parts).map(|(living, (of, clients, progress))| {
            let mut all = Tally::default();
            for client in living {
                all.add(client.join().expect("a client"));
            }
            announce(of, &all);
            // Whoever failed was well, and is well again when nothing moves.
            for apt in clients {
                let (what, ran) = match round(apt) {
                    Ok(got) => {
                        assert_eq!(got, progress.done(), "{of}");
                        continue;
                    }
                    Err(failure) => failure,
                };
                panic!("{of}: {what}, though nothing moves: {ran}");
            }
            all
        });
        let tallies: Vec<Tally> = tallies.collect();
        tallies.try_into().expect("two crowds")
    })
}

#[expect(
    clippy::print_stderr,
    reason = "a test that passes says what it has seen when it is asked to"
)]
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
fn a_hundred_moves_fail_none_of_eight_clients_and_a_symlink_fails_some() {
    for _ in 0..ATTEMPTS {
        let specs = MIRRORS.map(|mirror| (mirror, SuiteSpec::new(SUITE)));
        let (mut ours, mut plain) = (Ours::unstaged(&specs), Plain::of(&specs));
        let crowds = thread::scope(|scope| {
            let ours = scope.spawn(|| Crowd::new("mirrorctl", &mut ours));
            let plain = Crowd::new("a symlink", &mut plain);
            [ours.join().expect("a crowd"), plain]
        });
        let [ours, plain] = live_together(crowds);
        assert_eq!(ours.failed(), 0, "{ours:#?}");
        // They must have met the moves.
        assert!(ours.rounds >= 3 * CLIENTS && ours.crossed >= 2 * CLIENTS, "{ours:?}");
        assert!(ours.states > CLIENTS, "{ours:?}");
        if plain.failed() > 0 {
            return;
        }
    }
    panic!("clients like these do not notice anything");
}

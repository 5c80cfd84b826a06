//! Many clients and many moves.
//!
//! Owns the proof by numbers: clients that update and install without a pause while production moves a hundred times, on
//! the mount and, as a control, behind a symlink that is removed and made anew.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use mirrorctl_testkit::{AptRoot, Ran};

use super::world::{ONE, Ours, Plain, World};

/// How many clients there are.
const CLIENTS: usize = 8;

/// How often production moves.
const MOVES: usize = 100;

/// How many of the moves follow a sync at once. The others lead to states that were synced before, as syncs take most of
/// the time and are not what is asked here.
const FRESH: usize = 10;

/// How often the whole is tried again when chance has spared every client of the control.
const ATTEMPTS: usize = 3;

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
        let ended = round(apt);
        let begun = progress.begun.load(Ordering::SeqCst);
        tally.crossed += usize::from(begun > done_before);
        match ended {
            Err((what, ran)) => tally.note(what, ran.to_string()),
            Ok(got) => {
                tally.states += usize::from(got != last);
                // Nothing older than what production was, nor than what this client had; nothing from nowhere.
                if got < done_before || got < last || got > begun {
                    tally.note(
                        "stale",
                        format!("state {got}, after {done_before} and {last}, before {begun}"),
                    );
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

/// Clients, and the production that they live on.
struct Crowd<'a> {
    of: &'static str,
    world: &'a mut dyn World,
    clients: Vec<AptRoot>,
    progress: Progress,
    /// States that are ready, oldest first.
    ready: VecDeque<i64>,
}

impl<'a> Crowd<'a> {
    /// Nobody has asked for anything yet.
    fn new(of: &'static str, world: &'a mut dyn World) -> Self {
        world.advance(ONE);
        let clients = (0..CLIENTS).map(|_| world.direct_client()).collect();
        let first = world.stock(ONE).number();
        let ready = (FRESH..MOVES).map(|_| {
            world.next(ONE);
            world.stock(ONE).number()
        });
        Self {
            of,
            clients,
            progress: Progress {
                begun: first.into(),
                done: first.into(),
                over: AtomicBool::new(false),
            },
            ready: ready.collect(),
            world,
        }
    }
}

/// Moves the production of a crowd to its next state.
fn advance(world: &mut dyn World, ready: &mut VecDeque<i64>, progress: &Progress) {
    let number = ready.pop_front().unwrap_or_else(|| {
        world.next(ONE);
        world.stock(ONE).number()
    });
    progress.begun.store(number, Ordering::SeqCst);
    world.switch_to(ONE, number);
    progress.done.store(number, Ordering::SeqCst);
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
        for _ in 0..MOVES {
            for ((world, ready), (_, _, progress)) in worlds.iter_mut().zip(&parts) {
                advance(&mut **world, ready, progress);
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
                        assert_eq!(got, progress.done.load(Ordering::SeqCst), "{of}");
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
        let (mut ours, mut plain) = (Ours::by_default(), Plain::new());
        let [ours, plain] = live_together([Crowd::new("mirrorctl", &mut ours), Crowd::new("a symlink", &mut plain)]);
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

//! Everything at once: a web server, promotes, syncs, collections, checks, apt, and a serving process that is killed.
//!
//! Owns the soak: who is at work, what each may see, and the count of what was wrong. What is right is known from the archive
//! upstream, never from what is served. `cargo bench --bench soak` runs the same for longer.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use mirrorctl::model::Digest;
use mirrorctl_testkit::{AptRoot, Dice, MountGuard, Nginx, Ran, Signal, TestEnv, fetch};

use crate::site::{COMMON, SUITE, Site, Source, names, read};

/// The only mirror.
const MIRROR: &str = "debian";

/// The extended attribute by which the mount says which snapshot a directory shows.
const SNAPSHOT_ATTRIBUTE: &str = "user.mirrorctl.snapshot";

/// Snapshots that are there from the beginning and stay.
const LASTING: usize = 3;

/// Clients of the web server.
const CLIENTS: u64 = 3;

/// Exit code of a move that is recorded, and that a mount has not confirmed: its process was killed just then.
const NOT_VISIBLE: i32 = 7;

/// Exit code of a command that another one keeps from its work: a sync that is just sweeping what is unused.
const BUSY: i32 = 3;

/// How long each worker rests between two things, so that all get on with two processors.
const REST: Duration = Duration::from_millis(5);

/// How long a serving process lives at most before it is killed.
const LONGEST_LIFE: Duration = Duration::from_secs(5);

/// How many lies the soak is told at its end, each of which it must see.
const CONTROLS: u64 = 4;

/// How many failures are told in words.
const TOLD: usize = 20;

/// The files of a snapshot, by path, as the archive had them.
type Files = BTreeMap<String, Digest>;

/// What was done, and what of it was wrong.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) looks: u64,
    pub(crate) moves: u64,
    pub(crate) unconfirmed: u64,
    pub(crate) kills: u64,
    pub(crate) syncs: u64,
    pub(crate) collections: u64,
    pub(crate) checks: u64,
    pub(crate) updates: u64,
    pub(crate) slowest: Duration,
    pub(crate) not_served: u64,
    pub(crate) wrong_bytes: u64,
    pub(crate) stale: u64,
    pub(crate) failed_commands: u64,
    pub(crate) failed_updates: u64,
    /// Resident memory in KiB and open files of the process that holds the mount: at the beginning and at the end.
    pub(crate) burden: ((u64, usize), (u64, usize)),
    /// Of four lies, how many were seen.
    pub(crate) controls: u64,
    /// The first of what was wrong, in words.
    pub(crate) words: Vec<String>,
}

impl Counts {
    fn wrong(&mut self, which: fn(&mut Self) -> &mut u64, words: String) {
        *which(self) += 1;
        if self.words.len() < TOLD {
            self.words.push(words);
        }
    }

    /// Whether nothing was wrong.
    pub(crate) fn is_clean(&self) -> bool {
        let all = [
            self.not_served,
            self.wrong_bytes,
            self.stale,
            self.failed_commands,
            self.failed_updates,
        ];
        all == [0; 5] && self.controls == CONTROLS
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "requests {} | other looks {} | moves {} (unconfirmed {}) | kills {} | syncs {} | collections {} | deep checks {} | apt updates {}",
            self.requests,
            self.looks,
            self.moves,
            self.unconfirmed,
            self.kills,
            self.syncs,
            self.collections,
            self.checks,
            self.updates
        )?;
        writeln!(
            f,
            "slowest request {} ms | holder: {} -> {} KiB, {} -> {} open files",
            self.slowest.as_millis(),
            self.burden.0.0,
            self.burden.1.0,
            self.burden.0.1,
            self.burden.1.1
        )?;
        writeln!(
            f,
            "non-200 {} | wrong bytes {} | stale reads {} | failed commands {} | failed apt updates {} | controls caught {}/{CONTROLS}",
            self.not_served, self.wrong_bytes, self.stale, self.failed_commands, self.failed_updates, self.controls
        )?;
        self.words.iter().try_for_each(|word| writeln!(f, "  {word}"))
    }
}

/// Where production has led, in order, also by moves that have just begun. Whoever looks may see what any move leads to from the one
/// that was acknowledged last before, to the one that was begun last before the answer.
struct History {
    moves: Vec<String>,
    /// The last acknowledged one.
    done: usize,
}

/// What all workers share.
struct Soak<'a> {
    env: &'a TestEnv,
    web: String,
    history: Mutex<History>,
    known: Mutex<BTreeMap<String, Files>>,
    counts: Mutex<Counts>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no worker panics while it holds it")
}

/// Runs everything for `length`, and a little longer until all are done with what they are at.
pub(crate) fn soak(length: Duration) -> Counts {
    let mut site = Site::new(&[MIRROR]);
    let mut mount = site.mount();
    let nginx = Nginx::serve(&site.env.mount_dir());
    let Site { env, sources } = &mut site;
    let source = &mut sources[0];
    let (mut known, mut first) = (BTreeMap::new(), String::new());
    for _ in 0..LASTING {
        source.change();
        first = snapshot_made(&sync(env).success());
        env.mirrorctl(&["snapshot", "protect", MIRROR, &first]).success();
        known.insert(first.clone(), files(source));
    }
    env.mirrorctl(&["snapshot", "publish", MIRROR, &first]).success();
    let apt = AptRoot::new();
    apt.source(
        &format!("{}/{MIRROR}/current", nginx.url()),
        SUITE,
        &["main"],
        source.key(),
    );
    let soak = Soak {
        env,
        web: nginx.url(),
        history: Mutex::new(History {
            moves: vec![first],
            done: 0,
        }),
        known: Mutex::new(known),
        counts: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let before = burden(mount.daemon().pid());
    thread::scope(|scope| {
        let soak = &soak;
        for seed in 0..CLIENTS {
            scope.spawn(move || soak.work(client(soak, Dice(seed + 1))));
        }
        scope.spawn(|| soak.work(|| soak.watch()));
        scope.spawn(|| soak.work(promoter(soak, Dice(71))));
        scope.spawn(|| soak.work(|| soak.follow(source)));
        scope.spawn(|| soak.work(|| soak.collect()));
        scope.spawn(|| soak.work(|| soak.check()));
        scope.spawn(|| soak.work(|| soak.update(&apt)));
        soak.kill_again_and_again(&mut mount, length);
        soak.over.store(true, Ordering::SeqCst);
    });
    let mut counts = std::mem::take(&mut *lock(&soak.counts));
    counts.controls = soak.controls();
    counts.burden = (before, burden(mount.daemon().pid()));
    counts
}

impl Soak<'_> {
    /// Does `once` until all is over.
    fn work(&self, mut once: impl FnMut()) {
        while !self.over.load(Ordering::SeqCst) {
            once();
            thread::sleep(REST);
        }
    }

    /// Looks once more, for a move that was never made, for other bytes, and for what is not there. How much of that was seen.
    fn controls(&self) -> u64 {
        let (_, shown) = self.acknowledged();
        let other = lock(&self.known).keys().find(|name| **name != shown).cloned();
        let mut history = lock(&self.history);
        history.moves.push(other.expect("another snapshot"));
        history.done = history.moves.len() - 1;
        drop(history);
        self.fetch_moving(RELEASES[0]);
        self.watch();
        self.fetch_fixed(&format!("current/{COMMON}"), Digest::of(b"something else"));
        self.fetch_fixed("current/absent", Digest::of(b""));
        let seen = std::mem::take(&mut *lock(&self.counts));
        seen.stale + seen.wrong_bytes + seen.not_served
    }

    fn count(&self, which: fn(&mut Counts) -> &mut u64) {
        *which(&mut lock(&self.counts)) += 1;
    }

    fn wrong(&self, which: fn(&mut Counts) -> &mut u64, words: String) {
        lock(&self.counts).wrong(which, words);
    }

    /// Which move was the last acknowledged one, and where it led.
    fn acknowledged(&self) -> (usize, String) {
        let history = lock(&self.history);
        (history.done, history.moves[history.done].clone())
    }

    /// Where production may have led since the move `since` was the last acknowledged one.
    fn possible(&self, since: usize) -> Vec<String> {
        lock(&self.history).moves[since..].to_vec()
    }

    /// The digest of `path` in the snapshot `name`.
    fn digest(&self, name: &str, path: &str) -> Option<Digest> {
        lock(&self.known).get(name)?.get(path).copied()
    }

    /// Fetches `path` below `current`, which may answer with that file of any snapshot that production leads to meanwhile.
    fn fetch_moving(&self, path: &str) {
        let (since, _) = self.acknowledged();
        let Some(body) = self.body(&format!("current/{path}")) else {
            return;
        };
        let got = Digest::of(&body);
        let possible = self.possible(since);
        if possible.iter().any(|name| self.digest(name, path) == Some(got)) {
            return;
        }
        let known = lock(&self.known)
            .iter()
            .find_map(|(name, files)| (files.get(path) == Some(&got)).then(|| name.clone()));
        match known {
            Some(name) => self.wrong(
                |c| &mut c.stale,
                format!("{path} of {name} instead of one of {possible:?}"),
            ),
            None => self.wrong(|c| &mut c.wrong_bytes, format!("{path} of current is of no snapshot")),
        }
    }

    /// Fetches what can only have one content.
    fn fetch_fixed(&self, path: &str, digest: Digest) {
        if self.body(path).is_some_and(|body| Digest::of(&body) != digest) {
            self.wrong(|c| &mut c.wrong_bytes, format!("{path} has other bytes"));
        }
    }

    /// The body of an answer from the web server; `None` when there is no good one, which is counted.
    fn body(&self, path: &str) -> Option<Vec<u8>> {
        let begun = Instant::now();
        let answer = fetch(&format!("{}/{MIRROR}/{path}", self.web));
        let took = begun.elapsed();
        let mut counts = lock(&self.counts);
        counts.requests += 1;
        counts.slowest = counts.slowest.max(took);
        match answer {
            Ok(answer) if answer.status == 200 && answer.complete => return Some(answer.body),
            Ok(answer) => {
                let words = format!("{path}: HTTP {}, complete: {}", answer.status, answer.complete);
                counts.wrong(|c| &mut c.not_served, words);
            }
            Err(error) => counts.wrong(|c| &mut c.not_served, format!("{path}: {error}")),
        }
        None
    }

    /// Asks the mount itself which snapshot production shows.
    fn watch(&self) {
        let (since, _) = self.acknowledged();
        let mut name = [0; 256];
        let found = rustix::fs::getxattr(
            self.env.served(&format!("{MIRROR}/current")),
            SNAPSHOT_ATTRIBUTE,
            &mut name[..],
        );
        self.count(|c| &mut c.looks);
        match found {
            Ok(length) => {
                let (found, possible) = (String::from_utf8_lossy(&name[..length]), self.possible(since));
                if !possible.iter().any(|name| *name == found) {
                    self.wrong(
                        |c| &mut c.stale,
                        format!("current shows {found} instead of one of {possible:?}"),
                    );
                }
            }
            Err(error) => self.wrong(|c| &mut c.not_served, format!("current cannot be asked: {error}")),
        }
    }

    /// Moves production to the snapshot `name`.
    fn publish(&self, name: &str) {
        let number = {
            let mut history = lock(&self.history);
            history.moves.push(name.to_owned());
            history.moves.len() - 1
        };
        let ran = self.env.mirrorctl(&["snapshot", "publish", MIRROR, name]);
        match ran.status.code() {
            Some(0) => {
                lock(&self.history).done = number;
                self.count(|c| &mut c.moves);
            }
            Some(NOT_VISIBLE) => self.count(|c| &mut c.unconfirmed),
            _ => self.wrong(|c| &mut c.failed_commands, ran.to_string()),
        }
    }

    /// Changes the archive upstream and syncs; the snapshot is published, too.
    fn follow(&self, source: &mut Source) {
        source.change();
        let ran = sync(self.env);
        if ran.status.success() {
            let name = snapshot_made(&ran);
            lock(&self.known).insert(name, files(source));
            self.count(|c| &mut c.syncs);
        } else {
            self.wrong(|c| &mut c.failed_commands, ran.to_string());
        }
        thread::sleep(Duration::from_millis(500));
    }

    fn run(&self, arguments: &[&str], which: fn(&mut Counts) -> &mut u64) {
        let ran = self.env.mirrorctl(arguments);
        if ran.status.code() == Some(BUSY) {
            return;
        }
        self.count(which);
        if !ran.status.success() {
            self.wrong(|c| &mut c.failed_commands, ran.to_string());
        }
    }

    /// Deletes old snapshots, and then the files that nobody needs. What it deletes is not published any more: only the newest
    /// and the protected ones are.
    fn collect(&self) {
        self.run(
            &["snapshot", "prune", MIRROR, "--keep-last", "6", "--keep-within", "0"],
            |c| &mut c.looks,
        );
        self.run(&["gc", "--now"], |c| &mut c.collections);
        thread::sleep(Duration::from_millis(700));
    }

    fn check(&self) {
        self.run(&["verify", "--deep"], |c| &mut c.checks);
        thread::sleep(Duration::from_millis(300));
    }

    /// Has apt read the lists anew and fetch packages by them.
    fn update(&self, apt: &AptRoot) {
        apt.forget();
        self.count(|c| &mut c.updates);
        for ran in [apt.update(), apt.download(&["common", "changing"])] {
            if !ran.status.success() {
                self.wrong(|c| &mut c.failed_updates, ran.to_string());
                return;
            }
        }
    }

    /// Kills the process that serves, as often as there is time for it.
    fn kill_again_and_again(&self, mount: &mut MountGuard, length: Duration) {
        let until = Instant::now() + length;
        let pause = (length / 8).min(LONGEST_LIFE);
        while Instant::now() + pause < until {
            thread::sleep(pause);
            mount.signal_worker(Signal::Kill);
            self.count(|c| &mut c.kills);
        }
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// One client of the web server, who fetches what every client of apt does: what moves, and what is named by it.
fn client<'a>(soak: &'a Soak<'_>, mut dice: Dice) -> impl FnMut() + use<'a> {
    move || {
        let (_, shown) = soak.acknowledged();
        let files = lock(&soak.known)[&shown].clone();
        let choice = dice.roll(files.len());
        let (path, digest) = files.iter().nth(choice).expect("one of them");
        let lasting: Vec<String> = lock(&soak.known).keys().take(LASTING).cloned().collect();
        match dice.roll(4) {
            0 => soak.fetch_moving(RELEASES[dice.roll(RELEASES.len())]),
            1 => soak.fetch_fixed(&format!("current/{COMMON}"), files[COMMON]),
            2 if !RELEASES.contains(&path.as_str()) => {
                soak.fetch_fixed(&format!("current/{}", lasting_name(path, digest)), *digest);
            }
            _ => {
                let name = &lasting[dice.roll(lasting.len())];
                let (path, digest) = lock(&soak.known)[name]
                    .iter()
                    .nth(choice)
                    .map(|(p, d)| (p.clone(), *d))
                    .expect("alike");
                soak.fetch_fixed(&format!("snapshots/{name}/{path}"), digest);
            }
        }
    }
}

/// Moves production to one of the lasting snapshots or to one of the two newest.
fn promoter<'a>(soak: &'a Soak<'_>, mut dice: Dice) -> impl FnMut() + use<'a> {
    move || {
        let mut names: Vec<String> = lock(&soak.known).keys().cloned().collect();
        let old = names.len().saturating_sub(2).max(LASTING);
        names.drain(LASTING..old);
        soak.publish(&names[dice.roll(names.len())]);
    }
}

/// The names of the files that every client reads first.
const RELEASES: [&str; 2] = ["dists/stable/InRelease", "dists/stable/Release"];

/// How the names of indices begin.
const INDEX: &str = "Packages";

/// A name by which nothing else than these bytes can be had: of a package its own, of an index that by hash.
fn lasting_name(path: &str, digest: &Digest) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) if path.contains(INDEX) => format!("{directory}/by-hash/SHA256/{digest}"),
        Some(_) | None => path.to_owned(),
    }
}

fn sync(env: &TestEnv) -> Ran {
    env.mirrorctl(&["--json", "sync", MIRROR])
}

fn snapshot_made(ran: &Ran) -> String {
    let name = ran.json()["mirrors"][0]["snapshot"]["name"].clone();
    name.as_str().unwrap_or_else(|| panic!("no snapshot: {ran}")).to_owned()
}

/// The files of what the archive upstream is now, as far as clients are told of them.
fn files(source: &Source) -> Files {
    let root = source.archive.root();
    let digest = |path: &str| Digest::of(&read(&root.join(path)));
    let suite = RELEASES.map(|path| (path.to_owned(), digest(path)));
    let directory = format!("dists/{SUITE}/main/binary-amd64");
    let indices = names(&root.join(&directory)).into_iter();
    let indices = indices
        .filter(|name| name.starts_with(INDEX))
        .map(|name| format!("{directory}/{name}"));
    let others = indices.chain(source.archive.pool_paths().into_iter().map(ToOwned::to_owned));
    suite
        .into_iter()
        .chain(others.map(|path| (path.clone(), digest(&path))))
        .collect()
}

/// What a process weighs: its resident memory in KiB, and how many files it has open.
fn burden(process: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a running process");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let open = fs::read_dir(format!("/proc/{process}/fd"))
        .expect("a running process")
        .count();
    (resident.expect("a size"), open)
}

#[test]
fn nothing_is_wrong_while_everything_happens_at_once() {
    let counts = soak(Duration::from_secs(20));
    assert!(counts.is_clean(), "{counts}");
    let done = [
        counts.requests / 100,
        counts.looks,
        counts.moves,
        counts.kills,
        counts.syncs,
        counts.collections,
        counts.checks,
        counts.updates,
    ];
    assert!(done.iter().all(|count| *count > 2), "everybody was at work: {counts}");
}

//! The holder's life: a worker after the other, until the mount is taken away.
//!
//! Owns the loop that listens to the worker, to its death, and to signals, and what follows from each. There is one thread, so
//! that a worker lives exactly as long as its holder; and nothing is waited for without a limit.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::backoff::Lives;
use super::channel::{Kept, PROTOCOL, Task, Word};
use super::handover::{Handover, HandoverOf, is_understood_by};
use super::worker::{OURSELVES, Worker, kill_before, reap_all};
use super::{HolderError, sys};

/// How often a worker is looked after: as often as it says that it serves.
const TICK: Duration = Duration::from_secs(1);

/// How long a worker may take to take the mount away when it is asked to, and to end after that. Somebody who still reads
/// does not hold that up for more than a second.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a worker that is to be replaced has for the answer to whoever wished that.
const FAREWELL: Duration = Duration::from_millis(100);

/// What a holder is to keep going.
#[derive(Debug, Clone)]
pub struct Orders<'a> {
    /// The file of the program to start as a worker: as it is when one is needed.
    pub program: &'a Path,
    /// With what arguments.
    pub arguments: &'a [&'a str],
    /// What to serve, for the worker to understand.
    pub plan: String,
    /// How long a worker may not show that it serves before it is replaced. Zero: for ever.
    pub watchdog: Duration,
}

/// How a mount ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was taken away.
    TakenAway,
    /// It never was there, for a reason in the worker's words.
    Refused(String),
    /// Its first worker died before there was a mount.
    Died(String),
}

/// Has a mount served until it is taken away. `ready` is called once, when it is there; `take_away` takes it away where
/// no worker can.
///
/// # Errors
/// When the operating system refuses what a holder needs, before there is a mount.
pub fn hold(orders: &Orders<'_>, ready: impl FnOnce(), take_away: impl Fn()) -> Result<End, HolderError> {
    Holder::new(orders)?.run(Some(ready), take_away)
}

/// As [`hold`], for a mount that is there already, which this process held before it became this program.
///
/// # Errors
/// When the operating system refuses what a holder needs.
pub fn hold_on(orders: &Orders<'_>, handover: Handover, take_away: impl Fn()) -> Result<End, HolderError> {
    let mut holder = Holder::new(orders)?;
    sys::hold_signals_back(false);
    holder.kept = Some(handover.kept);
    holder.restarts = handover.restarts;
    kill_before(handover.worker, &mut holder.ghosts);
    holder.run(None::<fn()>, take_away)
}

/// A holder at work.
struct Holder<'a> {
    orders: &'a Orders<'a>,
    /// Readable when a signal has come.
    signals: UnixStream,
    kept: Option<Kept>,
    restarts: u64,
    /// When a signal came that ends the mount.
    stopping: Option<Instant>,
    /// Workers that were killed and are not gone yet.
    ghosts: Vec<Pid>,
}

/// The life of a worker.
struct Life {
    outcome: Outcome,
    /// How long it served.
    served: Duration,
}

/// How a worker's life ended.
enum Outcome {
    /// The mount was taken away.
    Ended,
    /// It said why it cannot serve.
    Failed(String),
    /// It was killed because it did not show that it serves.
    Hung,
    /// It died by itself, by another's hand, or because it would not stop.
    Died,
}

impl<'a> Holder<'a> {
    fn new(orders: &'a Orders<'a>) -> Result<Self, HolderError> {
        Ok(Self {
            orders,
            signals: signals().map_err(HolderError::system("listen for signals"))?,
            kept: None,
            restarts: 0,
            stopping: None,
            ghosts: Vec::new(),
        })
    }

    fn run(mut self, mut ready: Option<impl FnOnce()>, take_away: impl Fn()) -> Result<End, HolderError> {
        let mut lives = Lives::default();
        loop {
            let life = match self.start(&lives) {
                Ok(worker) => {
                    let life = self.attend(&worker, &mut ready);
                    let how = worker.reap(&mut self.ghosts);
                    if let Some(end) = end(&life.outcome, &how, ready.is_some(), self.stopping.is_some()) {
                        return Ok(end);
                    }
                    tell(&life.outcome, &how);
                    life
                }
                Err(source) if ready.is_some() => {
                    let action = "start the process that serves the mount";
                    return Err(HolderError::System { action, source });
                }
                Err(error) => {
                    tracing::error!(%error, "the process that serves the mount cannot be started");
                    Life::none()
                }
            };
            lives.ended(life.served);
            if self.pauses_until_stopped(&lives) {
                // Nobody serves any more; who waits is freed when this process ends.
                if ready.is_none() {
                    take_away();
                }
                return Ok(End::TakenAway);
            }
        }
    }

    fn start(&mut self, lives: &Lives) -> io::Result<Worker> {
        let task = Task {
            protocol: PROTOCOL,
            holder: std::process::id(),
            plan: self.orders.plan.clone(),
            restarts: self.restarts,
            note: self.kept.as_ref().map(|kept| kept.note.clone()),
        };
        let program = if lives.suggest_ourselves() {
            Path::new(OURSELVES)
        } else {
            self.orders.program
        };
        let worker = Worker::start(program, self.orders.arguments, &task, self.kept.as_ref())?;
        self.restarts += 1;
        Ok(worker)
    }

    /// Becomes the program that is installed now, if that understands; it replaces `worker`. Otherwise nothing changes.
    fn become_what_is_installed(&self, worker: &Worker) {
        let program = self.orders.program;
        let Some(kept) = &self.kept else { return };
        if !is_understood_by(program) {
            tracing::error!(
                program = %program.display(),
                "not upgraded: the program that is installed cannot go on with this mount (mirrorctl unmount and mount take it over)"
            );
            return;
        }
        thread::sleep(FAREWELL);
        let error = Handover::become_program(&HandoverOf {
            plan: &self.orders.plan,
            program,
            watchdog: self.orders.watchdog,
            restarts: self.restarts,
            worker: worker.pid(),
            kept,
        });
        tracing::error!(%error, program = %program.display(), "not upgraded: the program cannot be started");
    }

    /// Listens to `worker` until it is no more.
    fn attend(&mut self, worker: &Worker, ready: &mut Option<impl FnOnce()>) -> Life {
        let (mut since, mut last_word): (Option<Instant>, Option<Outcome>) = (None, None);
        let mut silence = Silence::new(self.orders.watchdog);
        let mut leaving: Option<Instant> = None;
        let outcome = loop {
            let came = self.wait(Some(worker), silence.next_look());
            while let Some((word, descriptors)) = worker.word() {
                silence.is_broken();
                match word {
                    Word::Hold(note) => self.keep(note, descriptors),
                    Word::Beat => {}
                    Word::Ready => {
                        since = Some(Instant::now());
                        ready.take().into_iter().for_each(|ready| ready());
                    }
                    Word::Replace => self.become_what_is_installed(worker),
                    Word::Ended => {
                        leaving.get_or_insert_with(Instant::now);
                        last_word = Some(Outcome::Ended);
                    }
                    Word::Failed(why) => {
                        leaving.get_or_insert_with(Instant::now);
                        last_word = Some(Outcome::Failed(why));
                    }
                }
            }
            let looks = silence.is_looked_at();
            if came.death || (looks && worker.cannot_run()) {
                break last_word.unwrap_or(Outcome::Died);
            }
            if came.signal && self.stopping.is_none() {
                self.stopping = Some(Instant::now());
                worker.terminate();
            }
            if looks {
                reap_all(&mut self.ghosts);
            }
            let overdue = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() > LAST_WORDS);
            if overdue(self.stopping) || overdue(leaving) {
                worker.kill();
                break last_word.unwrap_or(Outcome::Died);
            }
            // Nobody waits for a mount that is not there yet.
            let watched = ready.is_none() && leaving.is_none() && self.stopping.is_none();
            if watched && silence.is_too_long() {
                worker.kill();
                break Outcome::Hung;
            }
        };
        let served = since.map(|since| since.elapsed()).unwrap_or_default();
        Life { outcome, served }
    }

    fn keep(&mut self, note: String, descriptors: Vec<OwnedFd>) {
        match descriptors.try_into() {
            Ok(descriptors) => self.kept = Some(Kept { note, descriptors }),
            Err(_) => tracing::error!("the process that serves the mount leaves too little for the next one"),
        }
    }

    /// Waits before the next start, as long as it should be; whether to stop instead. Lets go of the mount when there is no hope.
    fn pauses_until_stopped(&mut self, lives: &Lives) -> bool {
        if lives.are_hopeless() && self.kept.take().is_some() {
            tracing::error!("whoever waits for the mount gets errors until it can be mounted anew");
        }
        let until = Instant::now() + lives.wait();
        loop {
            if self.stopping.is_some() {
                return true;
            }
            let now = Instant::now();
            if self.wait(None, until.max(now)).signal {
                self.stopping = Some(now);
            } else if now >= until {
                return false;
            }
        }
    }

    /// Waits until something comes, at most until `until`.
    fn wait(&mut self, worker: Option<&Worker>, until: Instant) -> Came {
        let mut waited = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(worker) = worker {
            waited.push(PollFd::from_borrowed_fd(worker.process(), PollFlags::IN));
            waited.push(PollFd::from_borrowed_fd(worker.line(), PollFlags::IN));
        }
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a short time");
        // An interruption is a signal's, which is seen next time.
        let _ = poll(&mut waited, Some(&left));
        let is_there = |number: usize| {
            waited
                .get(number)
                .is_some_and(|fd| fd.revents().contains(PollFlags::IN))
        };
        let came = Came {
            signal: is_there(0),
            death: is_there(1),
        };
        if came.signal {
            // A byte for each; one is as good as many.
            let _ = self.signals.read(&mut [0; 64]);
        }
        came
    }
}

impl Life {
    /// That of a worker that could not even be started.
    fn none() -> Self {
        Self {
            outcome: Outcome::Died,
            served: Duration::ZERO,
        }
    }
}

/// Whether a life that ended so was the last: of a mount that is `awaited` for the first time, or that is being `stopped`.
fn end(outcome: &Outcome, how: &str, awaited: bool, stopped: bool) -> Option<End> {
    match outcome {
        Outcome::Ended => Some(End::TakenAway),
        Outcome::Failed(why) => awaited.then(|| End::Refused(why.clone())),
        Outcome::Died if stopped => None,
        Outcome::Died => awaited.then(|| End::Died(how.to_owned())),
        Outcome::Hung => None,
    }
}

/// Writes into the log why another worker is started.
fn tell(outcome: &Outcome, how: &str) {
    match outcome {
        Outcome::Ended => {}
        Outcome::Failed(why) => tracing::error!(%why, "the process that was to serve the mount cannot"),
        Outcome::Hung => tracing::error!("the process that serves the mount did not answer, and was killed"),
        Outcome::Died => tracing::error!("the process that serves the mount {how}"),
    }
}

/// What has come.
struct Came {
    signal: bool,
    death: bool,
}

/// For how long a worker has said nothing, counted in looks: time in which this process itself stood still does not count.
struct Silence {
    looks: u64,
    next: Instant,
    longest: u64,
}

impl Silence {
    fn new(longest: Duration) -> Self {
        Self {
            looks: 0,
            next: Instant::now() + TICK,
            longest: longest.as_secs(),
        }
    }

    fn next_look(&self) -> Instant {
        self.next
    }

    fn is_broken(&mut self) {
        self.looks = 0;
    }

    /// Counts a look if it is time for one; whether it was.
    fn is_looked_at(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.looks += 1;
            self.next = now + TICK;
        }
        due
    }

    fn is_too_long(&self) -> bool {
        self.longest > 0 && self.looks > self.longest
    }
}

/// Readable when one of the signals has come that end a mount.
fn signals() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        pipe::register(signal, write.as_fd().try_clone_to_owned()?)?;
    }
    Ok(read)
}

//! The operator's own programs: tests of snapshots, and hooks.
//!
//! Owns the starting, feeding, limiting and ending of processes that a configuration names; no other room starts any. A
//! program gets the environment, the directory and the input that it is given here, and nothing else of this process: no
//! variables, no descriptors. What it writes is kept up to a limit. Neither a program that never ends nor one that leaves
//! others behind can hold the caller up: its process group is ended with it, and with this process, however that ends. What
//! it is run for is not known here.

#![expect(clippy::disallowed_types, reason = "the one room that runs the operator's programs")]

mod guard;
mod pipes;
mod sys;

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use guard::Guard;
pub use pipes::Forgotten;
use pipes::Pipes;

/// Where programs are looked for: the usual places, whatever the caller's own path is.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a program has from SIGTERM to SIGKILL: enough to remove what it has made.
const TIME_TO_TIDY_UP: Duration = Duration::from_secs(5);

/// How long output is waited for after the program has ended: it is in the pipe already, unless somebody who left the
/// process group still holds that open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How often a program that says nothing is looked after: a person would not notice less.
const BREATH: Duration = Duration::from_millis(20);

/// What to run, and within which bounds.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The program and its arguments; no shell reads them.
    pub argv: &'a [&'a str],
    /// Its environment, all of it, but for `PATH`.
    pub environment: &'a [(&'a str, &'a str)],
    /// Where it starts.
    pub directory: &'a Path,
    /// What it can read from standard input.
    pub input: &'a [u8],
    /// How long it may take.
    pub limit: Duration,
    /// Most bytes of its output, both streams together, that are kept: the last ones.
    pub keep: usize,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that was not ours.
    Killed(i32),
    /// It took too long and was ended.
    TimedOut,
    /// The caller wished to stop, and it was ended.
    Stopped,
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// The last of what it wrote.
    pub output: Vec<u8>,
    /// What it wrote before that.
    pub forgotten: Forgotten,
}

impl Ended {
    /// Whether it ended by itself and said that all is well.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.end == End::Exited(0)
    }
}

/// A program that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}")]
pub struct StartError {
    /// The program.
    pub program: String,
    /// Why not.
    pub source: io::Error,
}

/// Runs a program to its end, which comes when it likes, when its time is up, or when `stop` says so.
///
/// # Errors
/// When it cannot be started or looked after.
///
/// # Panics
/// When `argv` is empty.
pub fn run(program: &Program<'_>, stop: &dyn Fn() -> bool) -> Result<Ended, StartError> {
    let failed = |source| StartError {
        program: program.argv[0].to_owned(),
        source,
    };
    let mut running = Running::start(program).map_err(failed)?;
    let outcome = running.attend(program.limit, stop);
    // Also when attending failed: nothing of it may stay.
    let reaped = running.end_group();
    let end = outcome.map_err(failed)?;
    let status = reaped.map_err(failed)?;
    let (output, forgotten) = running.pipes.into_output();
    Ok(Ended {
        end: end.unwrap_or_else(|| of(status)),
        output,
        forgotten,
    })
}

fn of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Killed(signal.unwrap_or_default()),
    }
}

/// A started program.
struct Running<'a> {
    child: Child,
    /// Its process group, which it leads.
    group: Pid,
    pipes: Pipes<'a>,
    /// Ends the group when this process is no more.
    _guard: Guard,
}

impl<'a> Running<'a> {
    fn start(program: &Program<'a>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(program.argv[0]);
        command
            .args(&program.argv[1..])
            .env_clear()
            .env("PATH", PATH)
            .envs(program.environment.iter().copied())
            .current_dir(program.directory)
            .stdin(if program.input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let guard = Guard::new(&mut command)?;
        sys::without_other_descriptors(&mut command);
        let mut child = command.spawn()?;
        // Holds the writing end, without which the reading one never ends.
        drop(command);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self {
            pipes: Pipes::new(reader, child.stdin.take(), program.input, program.keep)?,
            group: pid.expect("the kernel numbers processes from 1 to a small number"),
            child,
            _guard: guard,
        })
    }

    /// Feeds it and listens to it until it ends by itself (`None`) or has to be ended.
    fn attend(&mut self, limit: Duration, stop: &dyn Fn() -> bool) -> io::Result<Option<End>> {
        let begun = Instant::now();
        let why = loop {
            self.pipes.exchange(BREATH)?;
            if self.has_ended()? {
                break None;
            }
            if stop() {
                break Some(End::Stopped);
            }
            if begun.elapsed() >= limit {
                break Some(End::TimedOut);
            }
        };
        if why.is_some() {
            self.signal(Signal::TERM);
            let told = Instant::now();
            while !self.has_ended()? && told.elapsed() < TIME_TO_TIDY_UP {
                self.pipes.exchange(BREATH)?;
            }
        }
        Ok(why)
    }

    /// Whether it has ended. It stays a zombie, so that its number stays that of its group.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.group), options)?.is_some())
    }

    /// Ends whatever is left of its group, reads its last words, and tells how it ended itself.
    fn end_group(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        let status = self.child.wait()?;
        let asked = Instant::now();
        while self.pipes.are_open() && asked.elapsed() < LAST_WORDS {
            self.pipes.exchange(BREATH)?;
        }
        Ok(status)
    }

    /// A group without processes cannot be told anything, and need not.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.group, signal);
    }
}

#[cfg(test)]
mod tests;

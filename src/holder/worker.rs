//! One worker, as its holder sees it: a process, and the line to it.
//!
//! Owns the starting, killing and reaping of that process, and the judgement of whether it is dead enough for the next. What its
//! words mean is `keep`'s.

#![expect(clippy::disallowed_types, reason = "starts this program once more, to serve")]

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, pidfd_open, pidfd_send_signal, waitid,
};

use super::channel::{self, Kept, Task, Word};

/// This program, whatever has become of its file.
pub(super) const OURSELVES: &str = "/proc/self/exe";

/// The name that processes of this program go by.
pub(super) const NAME: &str = "mirrorctl";

/// How long a process that was killed may take to be gone. It takes milliseconds.
const DYING: Duration = Duration::from_secs(5);

/// How often that is looked at, and the time between two looks at threads that cannot run.
const LOOK: Duration = Duration::from_millis(20);

/// A process that serves the mount, or is about to.
#[derive(Debug)]
pub(super) struct Worker {
    pid: Pid,
    process: OwnedFd,
    line: OwnedFd,
}

impl Worker {
    /// Starts `program` with `arguments`, and sends it `task` with what the last worker left.
    pub(super) fn start(program: &Path, arguments: &[&str], task: &Task, kept: Option<&Kept>) -> io::Result<Self> {
        let (line, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let descriptors: Vec<BorrowedFd<'_>> = kept
            .iter()
            .flat_map(|kept| &kept.descriptors)
            .map(OwnedFd::as_fd)
            .collect();
        channel::send(&line, task, &descriptors)?;
        let pid = spawn(program.as_os_str(), arguments, theirs)?;
        // It is our child and not waited for, so that its number is its own.
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, process, line })
    }

    /// Its process number.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Readable when it says something.
    pub(super) fn line(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }

    /// Readable when it has died.
    pub(super) fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// What it has said and was not heard yet, with descriptors. `None` when there is nothing (more).
    pub(super) fn word(&self) -> Option<(Word, Vec<OwnedFd>)> {
        // Whatever else is wrong with the line, its process tells by dying.
        channel::receive(&self.line, false).ok().flatten()
    }

    /// Asks it to take the mount away and end.
    pub(super) fn terminate(&self) {
        // It may have died.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
    }

    /// Kills it, and waits until it does nothing any more.
    pub(super) fn kill(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let until = Instant::now() + DYING;
        while !is_dead(self.pid) && !cannot_run(self.pid) && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }

    /// Whether it was killed but cannot end.
    pub(super) fn cannot_run(&self) -> bool {
        cannot_run(self.pid)
    }

    /// Lets go of a worker that has died, and says how it ended. One that still waits for an answer is left among `ghosts`.
    pub(super) fn reap(self, ghosts: &mut Vec<Pid>) -> String {
        match ended(self.pid) {
            Some(how) => how,
            None => {
                ghosts.push(self.pid);
                "was killed".to_owned()
            }
        }
    }
}

/// Kills the worker `pid` of the program that this process was before; it becomes one of `ghosts`.
pub(super) fn kill_before(pid: i32, ghosts: &mut Vec<Pid>) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    // It is a child still and not waited for, so that its number is its own.
    let _ = kill_process(pid, Signal::KILL);
    ghosts.push(pid);
    let until = Instant::now() + DYING;
    while !is_dead(pid) && !cannot_run(pid) && Instant::now() < until {
        thread::sleep(LOOK);
    }
    reap_all(ghosts);
}

/// Lets go of those `ghosts` that have died at last.
pub(super) fn reap_all(ghosts: &mut Vec<Pid>) {
    ghosts.retain(|ghost| ended(*ghost).is_none());
}

fn ended(pid: Pid) -> Option<String> {
    let status = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    status.ok().flatten().map(|status| sentence(&status))
}

fn sentence(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn spawn(program: &OsStr, arguments: &[&str], line: OwnedFd) -> io::Result<Pid> {
    let child = Command::new(program)
        .arg0(NAME)
        .args(arguments)
        .stdin(Stdio::from(line))
        // What there is to print is the holder's to print.
        .stdout(Stdio::null())
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok(pid.expect("the kernel numbers processes from 1 to a small number"))
}

/// Whether a child has died. It is a zombie until it is reaped.
fn is_dead(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), options).is_ok_and(|status| status.is_some())
}

/// Whether a process was killed, but for threads that wait in the kernel for an answer from the mount itself, which only the next
/// worker can give: no thread of a live process is like that, let alone all, at two looks.
fn cannot_run(pid: Pid) -> bool {
    let look = || {
        let states = states(pid).unwrap_or_default();
        !states.is_empty() && states.iter().all(|state| b"DZX".contains(state))
    };
    look() && {
        thread::sleep(LOOK);
        look()
    }
}

/// The states of a process's threads, as letters of proc(5).
fn states(pid: Pid) -> io::Result<Vec<u8>> {
    let mut states = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()))? {
        // One that ends while it is looked for is none that runs.
        let Ok(stat) = fs::read(task?.path().join("stat")) else {
            continue;
        };
        // The state follows the name, which ends with the last parenthesis.
        let after = stat.iter().rposition(|byte| *byte == b')');
        states.extend(after.and_then(|at| stat.get(at + 2)));
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_not_taken_for_one_that_cannot() {
        let own = rustix::process::getpid();
        let states = states(own).expect("procfs");
        assert!(states.contains(&b'R'), "{states:?}");
    }

    #[test]
    fn a_worker_that_was_killed_is_dead_and_can_be_reaped() {
        let task = Task {
            protocol: channel::PROTOCOL,
            holder: std::process::id(),
            plan: String::new(),
            restarts: 0,
            note: None,
        };
        let worker = Worker::start(Path::new("/bin/sleep"), &["100"], &task, None).expect("started");
        assert!(!is_dead(worker.pid) && !worker.cannot_run());
        worker.kill();
        assert!(is_dead(worker.pid));
        let mut ghosts = Vec::new();
        assert_eq!(worker.reap(&mut ghosts), "was ended by signal 9");
        assert!(ghosts.is_empty());
    }

    #[test]
    fn a_program_that_was_removed_cannot_be_started_and_this_one_can() {
        let (line, _theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair");
        assert!(spawn("/nowhere/mirrorctl".as_ref(), &[], line.try_clone().expect("copied")).is_err());
        let pid = spawn(OURSELVES.as_ref(), &["--list"], line).expect("this test program");
        let status = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)
            .expect("a child")
            .expect("ended");
        assert_eq!(status.exit_status(), Some(0));
    }
}

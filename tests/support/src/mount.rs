//! The mount, as a process of its own.
//!
//! Owns [`MountGuard`] and what `/proc/self/mountinfo` says. It mounts through the real binary only.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys;
use crate::{Program, Ran, Running, Signal, TestEnv};

/// How long the daemon may take to end after SIGTERM before it is killed: it gives who serves five seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// A running `mirrorctl mount`. Unmounts when dropped, by force if need be.
#[derive(Debug)]
pub struct MountGuard {
    directory: PathBuf,
    daemon: Option<Running>,
}

impl MountGuard {
    /// Mounts what `env` is configured to serve, and waits until the daemon says that it is there.
    ///
    /// # Panics
    /// When the daemon ends before, or `/dev/fuse` is missing.
    pub fn mount(env: &TestEnv) -> Self {
        Self::start(env, env.command(&["mount"]))
    }

    /// As [`MountGuard::mount`], with a command of one's own made by [`TestEnv::command`].
    pub fn start(env: &TestEnv, command: Program) -> Self {
        Self::start_at(&env.mount_dir(), command)
    }

    /// As [`MountGuard::start`], for a configuration whose `dir` is `directory`.
    pub fn start_at(directory: &Path, command: Program) -> Self {
        assert!(
            Path::new("/dev/fuse").exists(),
            "no /dev/fuse: the kernel or the container lacks FUSE"
        );
        let directory = directory.to_owned();
        let mut guard = Self {
            directory: directory.clone(),
            daemon: Some(command.spawn()),
        };
        let daemon = guard.daemon.as_mut().expect("just started");
        daemon.wait_until("mount", |daemon| !daemon.stdout().is_empty());
        guard
    }

    /// The mount point.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process that serves the mount at the moment; [`MountGuard::daemon`] holds it, and starts another when it dies.
    ///
    /// # Panics
    /// When there is none for a minute.
    pub fn worker(&mut self) -> u32 {
        let holder = self.daemon().pid();
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            // One that is about to become a worker, or has been one, has other arguments or none.
            let serves = |pid: &u32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0).any(|argument| argument == b"--serve")
            };
            if let Some(worker) = children(holder).into_iter().find(serves) {
                return worker;
            }
            assert!(Instant::now() < until, "nobody serves {}", self.directory.display());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends `signal` to the process that serves the mount at the moment, and tells which it was.
    pub fn signal_worker(&mut self, signal: Signal) -> u32 {
        let worker = self.worker();
        // It may have ended just now by itself.
        drop(sys::send(worker, signal));
        worker
    }

    /// Freezes who serves the mount, and waits until none of its threads runs: one that still took a request would keep whoever
    /// asked waiting in the kernel, where nothing can interrupt them. That may be a thread of its own, which asks from time to
    /// time.
    ///
    /// # Panics
    /// When it goes on for a minute.
    pub fn freeze(&mut self) {
        let worker = self.signal_worker(Signal::Stop);
        let until = Instant::now() + Duration::from_mins(1);
        let is_stopped = |task: std::io::Result<fs::DirEntry>| {
            let stat = task.and_then(|task| fs::read_to_string(task.path().join("stat")));
            // The state follows the name, which ends with the last parenthesis.
            stat.is_ok_and(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with(['T', 'D']))
            })
        };
        while !fs::read_dir(format!("/proc/{worker}/task"))
            .expect("threads")
            .all(is_stopped)
        {
            assert!(Instant::now() < until, "process {worker} does not stop");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets go on what [`MountGuard::freeze`] has stopped.
    pub fn thaw(&mut self) {
        self.signal_worker(Signal::Continue);
    }

    /// Kills the holder, and waits until who served has gone with it.
    pub fn kill(&mut self) {
        let worker = self.worker();
        self.daemon().signal(Signal::Kill);
        self.daemon().wait_until_ended();
        while Path::new(&format!("/proc/{worker}")).exists() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The daemon, to send it signals or read its log.
    pub fn daemon(&mut self) -> &mut Running {
        self.daemon.as_mut().expect("taken only at the end")
    }

    /// Asks the daemon to end, as a service manager does, and gives what it said.
    pub fn stop(mut self) -> Ran {
        let mut daemon = self.daemon.take().expect("taken only here");
        daemon.signal(Signal::Terminate);
        daemon.wait()
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // One that is frozen cannot end.
            daemon.signal(Signal::Continue);
            for worker in children(daemon.pid()) {
                drop(sys::send(worker, Signal::Continue));
            }
            daemon.signal(Signal::Terminate);
            daemon.ends_within(PATIENCE);
        }
        if is_fuse(&self.directory) {
            detach(&self.directory);
        }
    }
}

/// The processes that the main thread of `pid` has started.
fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

/// Takes a mount out of the tree, though it may be busy or its daemon dead.
pub(crate) fn detach(directory: &Path) {
    // Somebody else may have unmounted it meanwhile; then there is nothing left to do.
    drop(Program::new("umount", "mount").arg("-l").arg(directory).run());
}

/// Every mount point at or below `directory`, innermost first.
pub fn mounted_below(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = mounts()
        .into_iter()
        .map(|(point, _)| point)
        .filter(|point| point.starts_with(directory))
        .collect();
    found.reverse();
    found
}

fn is_fuse(directory: &Path) -> bool {
    mounts()
        .iter()
        .any(|(point, kind)| point == directory && kind.starts_with("fuse"))
}

/// Mount points and file system types, in the order of mounting.
fn mounts() -> Vec<(PathBuf, String)> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    table.lines().filter_map(parse_mount).collect()
}

/// Field 5 of a line is the mount point, the first field after ` - ` the type.
fn parse_mount(line: &str) -> Option<(PathBuf, String)> {
    let (left, right) = line.split_once(" - ")?;
    let point = unescape(left.split(' ').nth(4)?);
    Some((point, right.split(' ').next()?.to_owned()))
}

/// Resolves `\ooo`, which the kernel writes for space, tab, newline and backslash.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let digits = tail
            .get(..3)
            .filter(|_| *byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(value) = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(value);
            rest = &tail[3..];
        } else {
            bytes.push(*byte);
            rest = tail;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo_are_understood() {
        let line = r"42 28 0:40 / /tmp/a\040b ro,nosuid - fuse.mirrorctl mirrorctl ro,user_id=0";
        assert_eq!(parse_mount(line), Some(("/tmp/a b".into(), "fuse.mirrorctl".into())));
        assert_eq!(parse_mount("nonsense"), None);
        assert!(
            mounts()
                .iter()
                .any(|(point, kind)| point == Path::new("/proc") && kind == "proc")
        );
    }
}

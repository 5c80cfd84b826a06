//! System calls that fail on purpose, by strace.
//!
//! Owns how a program is watched and how a fault is put into it: the n-th call of one kind, in each of its threads, does
//! nothing and answers with an error. What a test makes of it is the test's.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::Program;

/// A system call that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// Its name: `pwrite64`.
    pub syscall: String,
    /// The error that it answers with: `ENOSPC`.
    pub errno: String,
    /// Which call of this name in each thread, from 1.
    pub number: usize,
}

/// A system call that a program made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub syscall: String,
    /// Which call of this name it was in its thread, from 1.
    pub number: usize,
    /// What strace wrote of it, with the paths that descriptors lead to.
    pub text: String,
    /// Whether it was made to fail.
    pub injected: bool,
}

impl Program {
    /// Has the calls of these names written to `log`.
    #[must_use]
    pub fn watched(self, syscalls: &[&str], log: &Path) -> Self {
        self.started_by(strace(log, &syscalls.join(",")))
    }

    /// Lets a call fail, and has those of its name written to `log`.
    #[must_use]
    pub fn injected(self, injection: &Injection, log: &Path) -> Self {
        let Injection {
            syscall,
            errno,
            number,
        } = injection;
        let fault = format!("inject={syscall}:error={errno}:when={number}");
        self.started_by(strace(log, syscall).arg("-e").arg(fault))
    }
}

/// strace with what is common to all uses: every thread, no text of what is read and written, and as little delay as can be.
fn strace(log: &Path, syscalls: &str) -> Program {
    Program::new("strace", "strace")
        .args(["-f", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", "signal=none", "-o"])
        .arg(log)
        .arg("-e")
        .arg(format!("trace={syscalls}"))
}

impl Call {
    /// The calls in `log`, in the order in which they were made.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn all(log: &Path) -> Vec<Self> {
        let text = fs::read_to_string(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut calls: Vec<Self> = Vec::new();
        let mut numbers: HashMap<(String, String), usize> = HashMap::new();
        let mut unfinished: HashMap<(String, String), usize> = HashMap::new();
        for line in text.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let name = resumed.split(' ').next().unwrap_or_default().to_owned();
                if let Some(index) = unfinished.remove(&(thread.to_owned(), name)) {
                    calls[index].injected |= rest.contains(INJECTED);
                }
                continue;
            }
            let Some((name, _)) = rest.split_once('(') else { continue };
            let key = (thread.to_owned(), name.to_owned());
            let number = numbers.entry(key.clone()).or_default();
            *number += 1;
            if rest.contains("<unfinished ...>") {
                unfinished.insert(key, calls.len());
            }
            calls.push(Self {
                syscall: name.to_owned(),
                number: *number,
                text: rest.to_owned(),
                injected: rest.contains(INJECTED),
            });
        }
        calls
    }
}

/// How strace marks what it made fail.
const INJECTED: &str = "(INJECTED)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread_and_joined_where_they_were_cut() {
        let place = tempfile::tempdir().expect("temporary directory");
        let log = place.path().join("log");
        let lines = [
            "10 openat(AT_FDCWD</>, \"/a\", O_RDONLY) = 3</a>",
            "10 write(3</a>, \"\"..., 4 <unfinished ...>",
            "11 write(4</b>, \"\"..., 4) = -1 ENOSPC (No space left on device) (INJECTED)",
            "10 <... write resumed>) = -1 ENOSPC (No space left on device) (INJECTED)",
            "10 write(3</a>, \"\"..., 4) = 4",
        ];
        fs::write(&log, lines.join("\n")).expect("writes");
        let seen: Vec<_> = Call::all(&log)
            .into_iter()
            .map(|call| (call.syscall, call.number, call.injected))
            .collect();
        let expected = [("openat", 1, false), ("write", 1, true), ("write", 1, true), ("write", 2, false)];
        assert_eq!(seen, expected.map(|(name, number, injected)| (name.to_owned(), number, injected)));
    }
}

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
    /// The call, as an earlier run made it.
    pub call: Call,
    /// The error that it answers with: `ENOSPC`.
    pub errno: String,
    /// Whether all later ones fail, too.
    pub lasting: bool,
}

/// A system call that a program made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Its name: `pwrite64`.
    pub syscall: String,
    /// The file that it was about, or the directory in which its name was looked up.
    pub path: String,
    /// Which call of this name about this path it was in its thread, from 1.
    pub number: usize,
    /// Whether it was made to fail.
    pub injected: bool,
}

impl Program {
    /// Has the calls of these names written to `log`.
    #[must_use]
    pub fn watched(self, syscalls: &[&str], log: &Path) -> Self {
        self.started_by(strace(log, &syscalls.join(",")))
    }

    /// Lets a call fail, and has those of its name about its path written to `log`.
    #[must_use]
    pub fn injected(self, injection: &Injection, log: &Path) -> Self {
        let Injection { call, errno, lasting } = injection;
        let more = if *lasting { "+" } else { "" };
        let fault = format!("inject={}:error={errno}:when={}{more}", call.syscall, call.number);
        // Other calls are not counted.
        let strace = strace(log, &call.syscall).arg("-P").arg(&call.path);
        self.started_by(strace.arg("-e").arg(fault))
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
    /// The calls in `log` about what is in the directory `below`, in the order in which they were made.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn all(log: &Path, below: &Path) -> Vec<Self> {
        let text = fs::read_to_string(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let below = format!("{}/", below.display());
        let mut calls: Vec<Self> = Vec::new();
        let mut numbers: HashMap<(&str, &str, &str), usize> = HashMap::new();
        let mut unfinished: HashMap<(&str, &str), usize> = HashMap::new();
        for line in text.lines() {
            let Some((thread, rest)) = line.split_once(' ') else {
                continue;
            };
            let (rest, injected) = (rest.trim_start(), rest.contains(INJECTED));
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let name = resumed.split(' ').next().unwrap_or_default();
                if let Some(index) = unfinished.remove(&(thread, name)) {
                    calls[index].injected |= injected;
                }
                continue;
            }
            let Some((name, words)) = rest.split_once('(') else {
                continue;
            };
            let Some(path) = path_in(words, &below) else { continue };
            let number = numbers.entry((thread, name, path)).or_default();
            *number += 1;
            if rest.contains("<unfinished ...>") {
                unfinished.insert((thread, name), calls.len());
            }
            calls.push(Self {
                syscall: name.to_owned(),
                path: path.to_owned(),
                number: *number,
                injected,
            });
        }
        calls
    }
}

/// The first path below `below` in the words of a call: what a descriptor leads to, or what stands there itself.
fn path_in<'w>(words: &'w str, below: &str) -> Option<&'w str> {
    let of_descriptor = words.split('<').skip(1).find(|rest| rest.starts_with(below));
    let itself = || words.split('"').find(|word| word.starts_with(below));
    of_descriptor.map_or_else(itself, |rest| rest.split('>').next())
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
            "10 openat(AT_FDCWD</s>, \"/s/t/a\", O_RDONLY) = 3</s/t/a>",
            "10 write(3</s/t/a>, \"\"..., 4 <unfinished ...>",
            "11 write(4</s/t/b>, \"\"..., 4) = -1 ENOSPC (No space left on device) (INJECTED)",
            "11 write(5<anon_inode:[eventfd]>, \"\"..., 8) = 8",
            "10 <... write resumed>) = -1 ENOSPC (No space left on device) (INJECTED)",
            "10 write(3</s/t/a>, \"\"..., 4) = 4",
            "10 unlinkat(6</s/t/d>, \"x\", 0) = 0",
        ];
        fs::write(&log, lines.join("\n")).expect("writes");
        let call = |syscall: &str, path: &str, number, injected| Call {
            syscall: syscall.to_owned(),
            path: path.to_owned(),
            number,
            injected,
        };
        let expected = [
            call("openat", "/s/t/a", 1, false),
            call("write", "/s/t/a", 1, true),
            call("write", "/s/t/b", 1, true),
            call("write", "/s/t/a", 2, false),
            call("unlinkat", "/s/t/d", 1, false),
        ];
        assert_eq!(Call::all(&log, Path::new("/s/t")), expected);
    }
}

//! The end of a program with the process that runs it.
//!
//! Owns a process beside the program that waits for the end of this one, which nothing but a pipe tells when it is killed, and
//! then kills the program's group. (The kernel can kill a child when the thread that made it ends, but neither the children of
//! that child, nor one that has become a program of another user, as by sudo.) It belongs to that group itself, so it goes
//! with it whenever that is ended. It must never write, and make no call but those that are allowed between fork and exec: it
//! has no threads and no memory of its own.

use std::io::{self, PipeWriter};
use std::process::Command;

use super::sys;

/// As long as it is there, so is this process.
#[derive(Debug)]
pub(super) struct Guard {
    _life: PipeWriter,
}

impl Guard {
    /// Lets `command`, which is to lead a process group of its own, start with a guard of that group.
    ///
    /// # Errors
    /// When there is no pipe to be had.
    pub(super) fn new(command: &mut Command) -> io::Result<Self> {
        let (end, life) = io::pipe()?;
        sys::with_guard(command, end.into());
        Ok(Self { _life: life })
    }
}

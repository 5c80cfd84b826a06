//! The end of a program with the process that runs it.
//!
//! Owns a process beside the program that waits for the end of this one, which nothing but a pipe tells when it is killed, and
//! then kills the program's group. It belongs to that group itself, so it goes with it whenever that is ended. It must
//! never write, and make no call but those that are allowed between fork and exec: it has no threads and no memory of its own.

use std::io::{self, PipeWriter};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
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
        let end = OwnedFd::from(end);
        #[expect(
            unsafe_code,
            reason = "std has no process that outlives its parent's end to see to it"
        )]
        // SAFETY: start_guard only makes system calls, which signal handlers may, and allocates nothing.
        unsafe {
            command.pre_exec(move || sys::start_guard(end.as_raw_fd()));
        }
        Ok(Self { _life: life })
    }
}

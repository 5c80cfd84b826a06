//! What starting a program needs of the system and std does not offer.
//!
//! Owns what is done between fork and exec, where only calls are allowed that signal handlers may make, too.

use std::ffi::{c_int, c_uint};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The first descriptor after the three that programs start with.
const FIRST: c_int = 3;

/// Descriptors looked at where the kernel cannot close all at once (before Linux 5.11): what processes may have by default.
const USUAL_LIMIT: c_int = 1024;

/// Lets `command` start without any descriptor but its three: std closes its own, and this those that our own process was
/// started with.
pub(super) fn without_other_descriptors(command: &mut Command) {
    #[expect(unsafe_code, reason = "std has no way to close what it has not opened")]
    // SAFETY: close_on_exec only makes system calls, which signal handlers may, and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            close_on_exec();
            Ok(())
        });
    }
}

fn close_on_exec() {
    #[expect(unsafe_code, reason = "libc calls without a safe form in std")]
    // SAFETY: both calls take numbers alone, and setting the flag of a descriptor that is not open is an error without
    // consequences.
    unsafe {
        let (all, flags) = (c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if libc::syscall(libc::SYS_close_range, FIRST, all, flags) != 0 {
            for descriptor in FIRST..USUAL_LIMIT {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Lets `command` start with a process beside it that kills its process group once nobody can write to the pipe that `end`
/// reads from.
pub(super) fn with_guard(command: &mut Command, end: OwnedFd) {
    #[expect(
        unsafe_code,
        reason = "std has no process that outlives its parent to see to its end"
    )]
    // SAFETY: start_guard only makes system calls, which signal handlers may, and allocates nothing.
    unsafe {
        command.pre_exec(move || start_guard(end.as_raw_fd()));
    }
}

/// Starts a process that waits until nobody can write to the pipe that `end` reads from, and then kills its own process group,
/// which is that of the caller. The caller is not its parent: programs that wait for all their children know nothing of it.
///
/// # Errors
/// When there can be no further process.
fn start_guard(end: c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "libc calls without a safe form in std")]
    // SAFETY: the caller is the one thread of a process between fork and exec, and all that is called in it and in those that
    // it makes are system calls on numbers and on memory of this frame.
    unsafe {
        let between = match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => match libc::fork() {
                0 => guard(end),
                made => libc::_exit(c_int::from(made < 0)),
            },
            between => between,
        };
        let mut status = 0;
        while libc::waitpid(between, &raw mut status, 0) < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        if status == 0 {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }
}

/// The life of a guard. Signals for the group are for the others, but for SIGKILL.
#[expect(unsafe_code, reason = "libc calls without a safe form in std")]
// SAFETY: for callers, nothing but that the process has one thread, which may make system calls alone.
unsafe fn guard(end: c_int) -> ! {
    // SAFETY: all calls take numbers, or memory of this frame that is large enough; a descriptor that is not open is an error
    // without consequences.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        // Of the pipes, above all: whoever reads the program's output waits until nobody can write to it.
        let kept = 0;
        libc::dup2(end, kept);
        if libc::syscall(libc::SYS_close_range, kept + 1, c_uint::MAX, 0) != 0 {
            for descriptor in kept + 1..USUAL_LIMIT {
                libc::close(descriptor);
            }
        }
        let mut byte = 0_u8;
        loop {
            match libc::read(kept, (&raw mut byte).cast(), 1) {
                // Nobody is left to end the group.
                0 => libc::kill(0, libc::SIGKILL),
                -1 if *libc::__errno_location() != libc::EINTR => libc::_exit(1),
                _ => 0,
            };
        }
    }
}

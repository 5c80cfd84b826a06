//! What starting a program needs of the system and std does not offer.
//!
//! Owns the one call between fork and exec, where only calls are allowed that signal handlers may make, too.

use std::ffi::{c_int, c_uint};
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

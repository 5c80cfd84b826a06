//! What the blob store needs of the system and std does not offer.
//!
//! Owns the unsafe calls of this room and nothing else.

#![expect(unsafe_code, reason = "libc calls without a safe form in std or rustix")]

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// The command of fcntl(2) that chooses a signal; libc has no name for it. The kernel's `asm-generic/fcntl.h`.
const F_SETSIG: c_int = 10;

/// Asks for a read lease of `file`, which must be open for reading alone, until it is closed or [`end_lease`] is called.
///
/// # Errors
/// `WouldBlock` while anybody has the file open for writing, or mapped so; others where there are no leases, or this
/// process may not have one: the file is neither its user's nor does it have `CAP_LEASE`.
pub(super) fn lease(file: &File) -> io::Result<()> {
    // Whoever opens the file for writing makes the kernel tell us, with a signal that ends a process unless another is
    // chosen. Nobody minds this one, and [`is_leased`] tells the same.
    control(file, F_SETSIG, libc::SIGURG)?;
    control(file, libc::F_SETLEASE, libc::F_RDLCK).map(drop)
}

/// Whether `file` has its read lease still, and nobody waits for its end to write.
pub(super) fn is_leased(file: &File) -> bool {
    control(file, libc::F_GETLEASE, 0).is_ok_and(|lease| lease == libc::F_RDLCK)
}

/// Gives the lease of `file` back: who waits for that may write.
pub(super) fn end_lease(file: &File) -> io::Result<()> {
    control(file, libc::F_SETLEASE, libc::F_UNLCK).map(drop)
}

fn control(file: &File, command: c_int, argument: c_int) -> io::Result<c_int> {
    // SAFETY: the descriptor is open, and the commands above take a number.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

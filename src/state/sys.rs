//! What the state directory needs of libc.
//!
//! Owns the unsafe calls of this room and nothing else.

#![expect(unsafe_code, reason = "libc calls without a safe form in std")]

use std::ffi::{CStr, CString, c_int, c_short};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether this process may do what root may.
pub(super) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether this process may write to `path`, going by its effective ids; the error says why not.
pub(super) fn may_change(path: &Path) -> io::Result<()> {
    access(path, libc::W_OK)
}

/// Whether this process may read `path`, going by its effective ids; the error says why not.
///
/// Opening a database to find out would give up, on closing, every lock that this process has on it.
pub(super) fn may_read(path: &Path) -> io::Result<()> {
    access(path, libc::R_OK)
}

fn access(path: &Path, how: c_int) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: path is a C string that outlives the call.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), how, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ids of the user and of the group called `name`, when both exist.
pub(super) fn user_and_group(name: &CStr) -> Option<(u32, u32)> {
    // SAFETY: name is a C string; the returned records are read at once, before any other call could overwrite them,
    // and no other thread of a starting command looks users up.
    unsafe {
        let user = libc::getpwnam(name.as_ptr()).as_ref()?.pw_uid;
        let group = libc::getgrnam(name.as_ptr()).as_ref()?.gr_gid;
        Some((user, group))
    }
}

/// Locks `file`, which must be open for writing, until [`unlock`] or until all that share its opening have closed it. False when another open file has the lock.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match record_lock(file, libc::F_WRLCK, libc::F_OFD_SETLK) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives up the lock that [`try_lock`] took, also for those who share the opening.
pub(super) fn unlock(file: &File) -> io::Result<()> {
    record_lock(file, libc::F_UNLCK, libc::F_OFD_SETLK).map(drop)
}

/// Whether another open file has the lock that [`try_lock`] takes. Takes nothing itself.
pub(super) fn is_locked(file: &File) -> io::Result<bool> {
    Ok(c_int::from(record_lock(file, libc::F_WRLCK, libc::F_OFD_GETLK)?.l_type) == libc::F_WRLCK)
}

/// Asks for, or about, a lock of all of `file` of some `kind`, which belongs to the open file and not to the process.
fn record_lock(file: &File, kind: c_int, command: c_int) -> io::Result<libc::flock> {
    // SAFETY: the structure is made of integers, for which zero is a value: from the start (0) to the end (0).
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = c_short::try_from(kind).expect("a small constant");
    lock.l_whence = c_short::try_from(libc::SEEK_SET).expect("a small constant");
    // SAFETY: the descriptor is open, and both commands take a pointer to this structure, which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock),
    }
}

//! What the blob store needs of libc.
//!
//! Owns the unsafe calls of this room and nothing else.

#![expect(unsafe_code, reason = "libc calls without a safe form in std")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Makes everything durable that was written to the file system of `file`.
pub(super) fn sync_file_system(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call.
    if unsafe { libc::syncfs(file.as_raw_fd()) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Total and available bytes of the file system of `file`.
pub(super) fn space(file: &File) -> io::Result<(u64, u64)> {
    let mut answer = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the descriptor is open and answer has room for the structure.
    if unsafe { libc::fstatvfs(file.as_raw_fd(), answer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled the structure.
    let answer = unsafe { answer.assume_init() };
    Ok((answer.f_blocks * answer.f_frsize, answer.f_bavail * answer.f_frsize))
}

/// Opens `path` for reading; a symbolic link in its place is an error, and a fifo does not block.
pub(super) fn open_without_links(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
}

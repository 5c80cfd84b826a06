//! A file that is mapped into memory and stays so, whatever becomes of its bytes.
//!
//! Owns the unsafe calls for that and nothing else.

#![expect(unsafe_code, reason = "libc calls without a safe form in std")]

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::ptr::null_mut;

/// A mapping of a file, for as long as it lives.
pub(crate) struct Mapping {
    start: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    /// Maps the first `length` bytes.
    pub(crate) fn of(file: &File, length: usize) -> Self {
        let (how, what) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a new shared mapping for reading of `length` bytes; the kernel chooses the place.
        let start = unsafe { libc::mmap(null_mut(), length, how, what, file.as_raw_fd(), 0) };
        assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { start, length }
    }

    /// Has the kernel copy the bytes into a file in memory: what it cannot read is an error of the copy, and not a signal that
    /// ends this process.
    pub(crate) fn copied(&self) -> io::Result<Vec<u8>> {
        // SAFETY: the name ends in a zero byte.
        let copy = unsafe { libc::memfd_create(c"copy".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(copy >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor is new and nobody else's.
        let mut copy = unsafe { File::from_raw_fd(copy) };
        let mut done = 0;
        while done < self.length {
            // SAFETY: the kernel reads within the mapping, and says so where it cannot.
            let written = unsafe { libc::write(copy.as_raw_fd(), self.start.byte_add(done), self.length - done) };
            done += usize::try_from(written).map_err(|_| io::Error::last_os_error())?;
        }
        let mut bytes = Vec::new();
        copy.rewind()?;
        copy.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is not used any more.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

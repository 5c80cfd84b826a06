//! Calls that programs make of a file system besides reading files.
//!
//! Owns the unsafe calls for that and nothing else.

#![expect(unsafe_code, reason = "libc calls without a safe form in std")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// An open directory with a position.
pub(crate) struct Directory(*mut libc::DIR);

impl Directory {
    pub(crate) fn open(path: &Path) -> Self {
        let path = c_path(path);
        // SAFETY: the string ends in a zero byte.
        let stream = unsafe { libc::opendir(path.as_ptr()) };
        assert!(!stream.is_null(), "{}", io::Error::last_os_error());
        Self(stream)
    }

    /// The next name.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        // SAFETY: the stream is open and used by one thread.
        let entry = unsafe { libc::readdir(self.0) };
        // SAFETY: an entry is valid until the next call, and its name ends in a zero byte.
        (!entry.is_null()).then(|| unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) }.to_bytes().to_vec())
    }

    pub(crate) fn tell(&mut self) -> libc::c_long {
        // SAFETY: the stream is open.
        unsafe { libc::telldir(self.0) }
    }

    pub(crate) fn seek(&mut self, position: libc::c_long) {
        // SAFETY: the stream is open, and the position one it has told.
        unsafe { libc::seekdir(self.0, position) }
    }

    pub(crate) fn rewind(&mut self) {
        // SAFETY: the stream is open.
        unsafe { libc::rewinddir(self.0) }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: the stream is open and not used any more.
        unsafe { libc::closedir(self.0) };
    }
}

/// Takes and refuses locks of both kinds on the file at `path`, by two openings of it.
pub(crate) fn locks_of_all_kinds(path: &Path) {
    let (ours, theirs) = (File::open(path).unwrap(), File::open(path).unwrap());
    ours.lock().unwrap();
    assert!(matches!(theirs.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
    ours.unlock().unwrap();
    theirs.try_lock_shared().unwrap();
    ours.try_lock_shared().unwrap();
    drop((ours, theirs));

    let (ours, theirs) = (File::open(path).unwrap(), File::open(path).unwrap());
    let lock = |file: &File, kind: libc::c_int| {
        // SAFETY: a lock is plain numbers, for which zeros are good.
        let mut wanted: libc::flock = unsafe { MaybeUninit::zeroed().assume_init() };
        wanted.l_type = libc::c_short::try_from(kind).unwrap();
        // SAFETY: the descriptor is open, and `wanted` outlives the call.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) };
        (result != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap())
    };
    // Nobody can open the file for writing, so nobody can ask for a lock of records against readers.
    for file in [&ours, &theirs] {
        assert_eq!(lock(file, libc::F_RDLCK), None);
        assert_eq!(lock(file, libc::F_WRLCK), Some(libc::EBADF));
    }
}

/// What a request that no file system knows leads to.
pub(crate) fn unknown_ioctl(file: &File) -> Option<i32> {
    let request = libc::_IO(u32::from(b'?'), 77);
    // SAFETY: the descriptor is open, and the request has no argument.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request) };
    (result != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap())
}

/// What stands for a file outside of any path, as an NFS server keeps it. The head of two numbers, and room for what follows.
#[repr(C, align(8))]
pub(crate) struct Handle {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

impl Handle {
    pub(crate) fn of(path: &Path) -> Self {
        let path = c_path(path);
        let mut handle = Self {
            bytes: 128,
            kind: 0,
            handle: [0; 128],
        };
        let mut mount = 0;
        // SAFETY: the string ends in a zero byte, and the handle has the room that it says.
        let result = unsafe {
            libc::name_to_handle_at(
                libc::AT_FDCWD,
                path.as_ptr(),
                (&raw mut handle).cast(),
                &raw mut mount,
                0,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        handle
    }

    /// Opens what it stands for in the file system of `root`.
    pub(crate) fn open(&self, root: &File) -> io::Result<File> {
        // SAFETY: the descriptor is open, and the call only reads the handle.
        let opened =
            unsafe { libc::open_by_handle_at(root.as_raw_fd(), (&raw const *self).cast_mut().cast(), libc::O_RDONLY) };
        if opened < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this descriptor, so nothing else owns it.
        Ok(unsafe { File::from_raw_fd(opened) })
    }
}

//! A file that another process has mapped into memory, and looks at whenever it is told to.
//!
//! Owns the unsafe calls for that and nothing else. It has to be another process: who touches a page that the kernel has to ask
//! for waits with its memory locked, and a thread that serves the mount may need just that lock to answer.

#![expect(unsafe_code, reason = "libc calls without a safe form in std")]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;

use tempfile::NamedTempFile;

/// Tells [`hold_as_told`] which file to map, and where its bytes shall go.
const HELD: &str = "MIRRORCTL_TEST_HOLD_MAP_OF";
const COPY: &str = "MIRRORCTL_TEST_HOLD_COPY_TO";

/// A file that another process has mapped, for as long as this lives.
pub(crate) struct Mapped {
    process: Child,
    copy: NamedTempFile,
}

impl Mapped {
    /// Has another process map the file at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let copy = NamedTempFile::new().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "holds_a_map"])
            .env(HELD, path)
            .env(COPY, copy.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self {
            process: process.unwrap(),
            copy,
        }
    }

    /// The bytes as the other process sees them now; `None` when looking at them has ended it.
    pub(crate) fn bytes(&mut self) -> Option<Vec<u8>> {
        self.process.stdin.as_mut().unwrap().write_all(b"?").unwrap();
        let answered = self.process.stderr.as_mut().unwrap().read_exact(&mut [0]);
        if answered.is_ok() {
            return Some(std::fs::read(self.copy.path()).unwrap());
        }
        assert_eq!(self.process.wait().unwrap().signal(), Some(libc::SIGBUS));
        None
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // One that has ended already is fine.
        drop(self.process.stdin.take());
        drop(self.process.wait());
    }
}

/// What the other process of [`Mapped`] does: maps the file once, and copies it through the map each time that it is asked to.
pub(crate) fn hold_as_told() {
    let (Some(held), Some(copy)) = (std::env::var_os(HELD), std::env::var_os(COPY)) else {
        return;
    };
    let file = File::open(held).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let (how, what) = (libc::PROT_READ, libc::MAP_SHARED);
    // SAFETY: a new shared mapping for reading of `length` bytes; the kernel chooses the place.
    let start = unsafe { libc::mmap(null_mut(), length, how, what, file.as_raw_fd(), 0) };
    assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    while io::stdin().read_exact(&mut [0]).is_ok() {
        // SAFETY: the mapping has `length` bytes and stays until the process ends. Where the kernel cannot give one of them, that
        // ends it.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) }.to_vec();
        std::fs::write(&copy, bytes).unwrap();
        io::stderr().write_all(b"!").unwrap();
    }
}

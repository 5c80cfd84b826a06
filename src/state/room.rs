//! How much more the file system of the state directory takes.
//!
//! Owns the measuring of bytes and inodes. What is done about too little is for the use cases to say.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::StateError;

/// The room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Size of the file system in bytes.
    pub total: u64,
    /// Bytes that can still be written by users other than root.
    pub free: u64,
    /// Bytes that files are rounded up to.
    pub block: u64,
    /// Files that can still be made; `None` where there is no such limit.
    pub inodes: Option<u64>,
}

impl Room {
    /// The room where `path` is, or would be made: what is missing of it does not matter.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn at(path: &Path) -> Result<Self, StateError> {
        for there in path.ancestors() {
            match rustix::fs::statvfs(there) {
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(cannot(there, errno.into())),
                Ok(found) => {
                    return Ok(Self {
                        total: found.f_blocks.saturating_mul(found.f_frsize),
                        free: found.f_bavail.saturating_mul(found.f_frsize),
                        block: found.f_frsize.max(1),
                        // Those that make inodes as they need them say 0.
                        inodes: (found.f_files > 0).then_some(found.f_favail),
                    });
                }
            }
        }
        Err(cannot(path, io::ErrorKind::NotFound.into()))
    }

    /// Whether the file system of the directory `path` is known to take no changes.
    #[must_use]
    pub fn is_read_only_at(path: &Path) -> bool {
        let mounted = rustix::fs::statvfs(path);
        if mounted.is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY)) {
            return true;
        }
        // After an error, a file system can be so without being mounted so. A file without a name leaves nothing behind.
        let nameless = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, path, nameless, Mode::RUSR);
        matches!(opened, Err(Errno::ROFS))
    }
}

fn cannot(path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        action: "measure the file system of",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_yet_is_measured_where_it_would_be() {
        let place = tempfile::tempdir().expect("temporary directory");
        let room = Room::at(&place.path().join("a/b/c")).expect("measures");
        assert_eq!(room.total, Room::at(place.path()).expect("measures").total);
        assert!(room.free <= room.total && room.block > 0, "{room:?}");
    }
}

//! Directories held open, and names in them.
//!
//! Owns the rule that this room never follows a symbolic link: the directories are writable for a group, root works in
//! them, and whoever may plant a link must not lead root out of them. Everything is reached from an open directory by
//! a single name, and owner and mode are set on what is open. It knows nothing of digests.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{BLOB_MODE, BlobError, DIRECTORY_MODE};
use crate::model::Timestamp;

/// How directories are opened: themselves, never what a link leads to.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How files are opened for reading: without following a link, and without waiting for the other end of a fifo.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Mode of files that may be continued, while they grow.
const CONTINUABLE_MODE: u32 = 0o600;

/// User and group that new files are given to, if any.
pub(super) type Owner = Option<(u32, u32)>;

/// What stands under a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Whether it is a regular file.
    pub(super) is_file: bool,
    /// Its length in bytes.
    pub(super) size: u64,
    /// The bits of its mode that say who may do what.
    pub(super) permissions: u32,
    /// The device that it is on.
    pub(super) device: u64,
    /// Its number there.
    pub(super) inode: u64,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    descriptor: OwnedFd,
    /// Where it was when it was opened, for messages only.
    path: PathBuf,
}

impl Directory {
    /// Opens the directory at `path`, whose last component must not be a link.
    pub(super) fn open(path: &Path) -> Result<Self, BlobError> {
        Ok(Self {
            descriptor: rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
                .map_err(|errno| BlobError::io("open", path)(errno.into()))?,
            path: path.to_owned(),
        })
    }

    /// Opens the directory `name` in this one.
    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        Ok(Self {
            descriptor: rustix::fs::openat(&self.descriptor, name, DIRECTORY, Mode::empty())?,
            path: self.path.join(name),
        })
    }

    /// As [`Directory::child`]; makes the directory when it is missing.
    pub(super) fn child_or_new(&self, name: &str, owner: Owner) -> Result<Self, BlobError> {
        match self.child(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.new_child(name, owner),
            found => found.map_err(BlobError::io("open", &self.path.join(name))),
        }
    }

    fn new_child(&self, name: &str, owner: Owner) -> Result<Self, BlobError> {
        let path = self.path.join(name);
        let made = match rustix::fs::mkdirat(&self.descriptor, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) => true,
            // Another sync was faster, and gives it away.
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(BlobError::io("create", &path)(errno.into())),
        };
        let child = self.child(name).map_err(BlobError::io("open", &path))?;
        if made {
            give(&child.descriptor, owner, DIRECTORY_MODE).map_err(BlobError::io("give away", &path))?;
        }
        Ok(child)
    }

    /// Its own owner, when this process is root and so can give new files to it.
    pub(super) fn owner_for_new(&self) -> io::Result<Owner> {
        let found = rustix::fs::fstat(&self.descriptor)?;
        let is_root = rustix::process::geteuid().is_root();
        Ok(is_root.then_some((found.st_uid, found.st_gid)))
    }

    /// Whether this user may make files in it.
    pub(super) fn may_be_written(&self) -> bool {
        let (access, flags) = (Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
        rustix::fs::accessat(&self.descriptor, ".", access, flags).is_ok()
    }

    /// Where it was when it was opened, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file `name`, which must not exist, for writing.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.descriptor, name, how, Mode::from_raw_mode(BLOB_MODE))?.into())
    }

    /// Makes the file `name`, which must not exist, for whoever may go on with it: the same user, or root.
    pub(super) fn create_continuable(&self, name: &str) -> io::Result<File> {
        let how = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.descriptor, name, how, Mode::from_raw_mode(CONTINUABLE_MODE))?.into())
    }

    /// Opens the file `name` to go on with it. One that has a second name is somebody's trick: writing to it would write
    /// to what has the other name.
    pub(super) fn reopen(&self, name: &str) -> io::Result<File> {
        let how = FILE.difference(OFlags::RDONLY) | OFlags::RDWR;
        let file = File::from(rustix::fs::openat(&self.descriptor, name, how, Mode::empty())?);
        let found = file.metadata()?;
        if found.is_file() && found.nlink() == 1 {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// Opens the regular file `name` for reading.
    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        let file = File::from(rustix::fs::openat(&self.descriptor, name, FILE, Mode::empty())?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// Length of the regular file `name`; `None` when it is none.
    pub(super) fn length(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.regular(name)?.map(|(length, _)| length))
    }

    /// Length of the regular file `name`, and when it was last changed in any way; `None` when it is none.
    pub(super) fn regular(&self, name: impl rustix::path::Arg) -> io::Result<Option<(u64, Timestamp)>> {
        let found = rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        let length = u64::try_from(found.st_size).ok().filter(|_| regular);
        Ok(length.map(|length| (length, Timestamp::from_unix(found.st_ctime))))
    }

    /// What stands under `name`: itself, never what a link leads to.
    pub(super) fn entry(&self, name: impl rustix::path::Arg) -> io::Result<Entry> {
        let found = rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Entry {
            is_file: FileType::from_raw_mode(found.st_mode) == FileType::RegularFile,
            size: u64::try_from(found.st_size).unwrap_or(0),
            permissions: found.st_mode & 0o7777,
            device: found.st_dev,
            inode: found.st_ino,
        })
    }

    /// Gives the file `name` the name `new` in `to` as well; an error when that exists.
    pub(super) fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(rustix::fs::linkat(&self.descriptor, name, &to.descriptor, new, flags)?)
    }

    /// Gives the open file `source`, wherever it is, the name `new` in this directory as well.
    pub(super) fn link_open(&self, source: &File, new: &str) -> io::Result<()> {
        // By its descriptor, so that it is this file whatever has happened to its path meanwhile.
        let source = format!("/proc/self/fd/{}", source.as_raw_fd());
        Ok(rustix::fs::linkat(
            CWD,
            source,
            &self.descriptor,
            new,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    /// Moves the file `name` to the name `new` in `to`; an error when that exists.
    pub(super) fn rename_new(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.descriptor, name, &to.descriptor, new, flags) {
            // Some network file systems cannot promise to replace nothing.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.link(name, to, new)?;
                self.remove(name)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Moves the file `name` to the name `new` in `to`, replacing what is there.
    pub(super) fn rename(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.descriptor, name, &to.descriptor, new)?)
    }

    /// Removes the file `name`; a link goes itself, not what it leads to.
    pub(super) fn remove(&self, name: impl rustix::path::Arg) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty())?)
    }

    /// Everything in it.
    pub(super) fn names(&self) -> io::Result<Vec<CString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        Ok(names)
    }

    /// The regular files whose names `known` knows, each with what it makes of the name, the file's length, and when it was last
    /// changed in any way. One that goes meanwhile may be left out.
    pub(super) fn files<T>(&self, known: impl Fn(&str) -> Option<T>) -> io::Result<Vec<(CString, T, u64, Timestamp)>> {
        let mut files = Vec::new();
        for name in self.names()? {
            let Some(meaning) = name.to_str().ok().and_then(&known) else {
                continue;
            };
            match self.regular(name.as_c_str()) {
                Ok(Some((size, since))) => files.push((name, meaning, size, since)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Removes one of [`Directory::files`]. One that is gone already is fine.
    pub(super) fn discard(&self, name: &CStr) -> Result<(), BlobError> {
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.path().join(name.to_string_lossy().as_ref());
                Err(BlobError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes everything durable that was written to its file system.
    pub(super) fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.descriptor)?)
    }

    /// Total and available bytes of its file system.
    pub(super) fn space(&self) -> io::Result<(u64, u64)> {
        let found = rustix::fs::fstatvfs(&self.descriptor)?;
        Ok((found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize))
    }
}

/// Sets owner and mode of what is open. What is right already is not set again: for every file of a sync that would be
/// two more changes for the file system to write.
pub(super) fn give(open: impl AsFd, owner: Owner, mode: u32) -> io::Result<()> {
    let is = rustix::fs::fstat(&open)?;
    let foreign = owner.filter(|owner| *owner != (is.st_uid, is.st_gid));
    if let Some((user, group)) = foreign {
        fchown(&open, Some(user), Some(group))?;
    }
    // Whatever the umask was; after fchown, which clears the set-group-id bit.
    if foreign.is_some() || Mode::from_raw_mode(is.st_mode) != Mode::from_raw_mode(mode) {
        rustix::fs::fchmod(open, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

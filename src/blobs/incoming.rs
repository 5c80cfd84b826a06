//! Bytes on their way into the store.
//!
//! Owns the files in `tmp/<mirror>/`: each is written once, hashed while it is written, never longer than announced,
//! and removed unless it was placed. It never gives a file its final name: the store does, after the bytes are
//! durable.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{BLOB_MODE, BlobError, DIRECTORY_MODE};
use crate::model::{Digest, Hasher};

/// A directory for files on their way in. One process at a time uses it.
#[derive(Debug)]
pub struct Inbox {
    directory: PathBuf,
    owner: Option<(u32, u32)>,
    next: AtomicU64,
}

impl Inbox {
    pub(super) fn open(directory: &Path, owner: Option<(u32, u32)>) -> Result<Self, BlobError> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Ok(()) => give(directory, owner, DIRECTORY_MODE).map_err(BlobError::io("give away", directory))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => clear(directory)?,
            Err(error) => return Err(BlobError::io("create", directory)(error)),
        }
        Ok(Self {
            directory: directory.to_owned(),
            owner,
            next: AtomicU64::new(0),
        })
    }

    /// Begins a file of at most `longest` bytes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self, longest: u64) -> Result<Incoming, BlobError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(number.to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(BLOB_MODE)
            .open(&path)
            .map_err(BlobError::io("create", &path))?;
        let place = Place(path);
        Ok(Incoming {
            file,
            place,
            owner: self.owner,
            hasher: Hasher::new(),
            written: 0,
            longest,
        })
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    place: Place,
    owner: Option<(u32, u32)>,
    hasher: Hasher,
    written: u64,
    longest: u64,
}

impl Incoming {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLong`] when more come than announced, or the file system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.written += bytes.len() as u64;
        if self.written > self.longest {
            return Err(BlobError::TooLong(self.longest));
        }
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(BlobError::io("write", &self.place.0))
    }

    /// Ends the file, which must have the announced size and digest where they are known.
    ///
    /// # Errors
    /// When the bytes are not those announced; they are then gone.
    pub fn finish(self, size: Option<u64>, digest: Option<Digest>) -> Result<Arrived, BlobError> {
        let got = self.hasher.finish();
        match (size, digest) {
            (Some(expected), _) if self.written < expected => {
                return Err(BlobError::TooShort {
                    expected,
                    got: self.written,
                });
            }
            (_, Some(expected)) if expected != got => return Err(BlobError::Different { expected, got }),
            _ => {}
        }
        give(&self.place.0, self.owner, BLOB_MODE).map_err(BlobError::io("give away", &self.place.0))?;
        Ok(Arrived {
            place: self.place,
            digest: got,
            size: self.written,
        })
    }
}

/// A complete file that has no final name yet. Dropping it removes it from the inbox.
#[derive(Debug)]
#[must_use = "an arrived file is removed unless it is placed"]
pub struct Arrived {
    place: Place,
    digest: Digest,
    size: u64,
}

impl Arrived {
    /// Digest of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the bytes are for now, for reading them before they are placed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.0
    }
}

/// A name in the inbox, removed with the value.
#[derive(Debug)]
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // Best effort: the next inbox of the mirror removes what could not be removed now.
        drop(fs::remove_file(&self.0));
    }
}

fn clear(directory: &Path) -> Result<(), BlobError> {
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    };
    remove().map_err(BlobError::io("clear", directory))
}

pub(super) fn give(path: &Path, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
    if let Some((user, group)) = owner {
        chown(path, Some(user), Some(group))?;
    }
    // Whatever the umask was; after chown, which clears the set-group-id bit.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

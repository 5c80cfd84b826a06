//! Bytes of files: read for the kernel, or opened for it.
//!
//! Owns which blobs are held open for that, and gives them up when they are not what they were.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::Arc;

use fuser::BackingId;

use super::Filesystem;
use crate::error::FsError;
use crate::ino::Ino;
use crate::tree::{BlobNo, FileId};

impl Filesystem {
    /// Fills `buffer` from `offset` of the file `ino` on and returns how many bytes that were: fewer only at its end.
    ///
    /// # Errors
    /// When `ino` is no file, or its bytes cannot be read or trusted.
    pub fn read(&self, ino: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        self.blobs.read(&*self.tree, blob_of(ino)?, offset, buffer)
    }

    /// Sees to it that the file `ino` can be read.
    ///
    /// # Errors
    /// When `ino` is no file, or its bytes cannot be read or trusted.
    pub(crate) fn open(&self, ino: u64) -> Result<(), FsError> {
        self.blobs.prepare(&*self.tree, blob_of(ino)?)
    }

    /// Opens the file `ino` for the kernel, which reads it by itself: under the number it has for it, or one that `name` gets
    /// from it. To be [released](Self::release_backed).
    ///
    /// # Errors
    /// As [`Filesystem::open`], and when `name` fails.
    pub(crate) fn open_backed(
        &self,
        ino: u64,
        name: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Result<Arc<BackingId>, FsError> {
        let blob = blob_of(ino)?;
        self.backed
            .open(blob, || Ok(name(&self.blobs.file(&*self.tree, blob)?)?))
    }

    /// One opening of the file `ino` by [`Filesystem::open_backed`] has ended.
    pub(crate) fn release_backed(&self, ino: u64) {
        if let Ok(blob) = blob_of(ino) {
            self.backed.release(blob);
        }
    }

    /// The blobs held open.
    pub fn held_blobs(&self) -> Vec<BlobNo> {
        let mut held = self.blobs.held();
        held.extend(self.backed.blobs());
        held
    }

    /// Gives up what is open of the blobs of `files`, which are not what they were.
    pub(crate) fn forget_bytes(&self, files: &[FileId]) {
        let blobs: HashSet<BlobNo> = files.iter().map(|file| file.blob).collect();
        self.blobs.forget(&blobs);
        self.backed.spoil(&blobs);
    }
}

/// The blob of the file `ino`.
fn blob_of(ino: u64) -> Result<BlobNo, FsError> {
    match Ino::from_number(ino).ok_or(FsError::NotFound)? {
        Ino::File(FileId { blob, .. }) => Ok(blob),
        Ino::Root | Ino::Mirror(_) | Ino::Snapshots(_) | Ino::Hidden(_) | Ino::At(_) | Ino::Directory(..) => {
            Err(FsError::IsADirectory)
        }
        Ino::Link(_) => Err(FsError::WrongKind),
    }
}

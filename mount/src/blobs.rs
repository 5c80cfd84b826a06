//! Open blobs: what serves reads that come without an open.
//!
//! Owns the descriptors of the blobs read last. The kernel is told that files need no opening, so a read names only
//! the file; which descriptor serves it is decided here. Bytes are answered only if the blob has the recorded
//! length: a shorter one would reach the reader as zeros. No lock is held while a blob is opened or read.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lru::LruCache;

use crate::cache::lock;
use crate::error::{FsError, out_of_descriptors};
use crate::tree::{BlobNo, FileId, Tree};

/// The open blobs, least recently read ones closed first.
#[derive(Debug)]
pub(crate) struct Blobs {
    open: Mutex<LruCache<BlobNo, Arc<OpenBlob>>>,
    /// How often blobs were forgotten: what was opened before the last time may be what was to be forgotten.
    forgotten: AtomicU64,
}

#[derive(Debug)]
struct OpenBlob {
    file: File,
    size: u64,
}

impl Blobs {
    /// Room for `limit` open blobs.
    pub(crate) fn new(limit: NonZeroUsize) -> Self {
        Self {
            open: Mutex::new(LruCache::new(limit)),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Gives up these blobs, which are not what they were. Whoever is just opening one asks the tree again.
    pub(crate) fn forget(&self, blobs: &HashSet<BlobNo>) {
        let closed: Vec<_> = {
            let mut open = lock(&self.open);
            self.forgotten.fetch_add(1, Ordering::SeqCst);
            blobs.iter().filter_map(|blob| open.pop(blob)).collect()
        };
        // Closing may take its time: not under the lock.
        drop(closed);
    }

    /// The blobs held open.
    pub(crate) fn held(&self) -> Vec<BlobNo> {
        lock(&self.open).iter().map(|(blob, _)| *blob).collect()
    }

    /// Fills `buffer` from `offset` of `blob` on and returns how many bytes that were: fewer only at the blob's end.
    pub(crate) fn read(&self, tree: &dyn Tree, blob: BlobNo, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let open = self.open(tree, blob)?;
        let left = usize::try_from(open.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        match open.file.read_exact_at(&mut buffer[..wanted], offset) {
            Ok(()) => Ok(wanted),
            Err(error) => {
                // A repaired blob is another file: the next read must open it anew.
                lock(&self.open).pop(&blob);
                Err(if error.kind() == io::ErrorKind::UnexpectedEof {
                    FsError::Damaged
                } else {
                    error.into()
                })
            }
        }
    }

    /// Opens `blob`, so that reading it soon finds it open.
    pub(crate) fn prepare(&self, tree: &dyn Tree, blob: BlobNo) -> Result<(), FsError> {
        self.open(tree, blob).map(drop)
    }

    /// The file of `blob`, for who reads it elsewhere.
    pub(crate) fn file(&self, tree: &dyn Tree, blob: BlobNo) -> Result<File, FsError> {
        Ok(self.open_whole(tree, blob)?.file)
    }

    fn open(&self, tree: &dyn Tree, blob: BlobNo) -> Result<Arc<OpenBlob>, FsError> {
        loop {
            if let Some(open) = lock(&self.open).get(&blob) {
                return Ok(Arc::clone(open));
            }
            let before = self.forgotten.load(Ordering::SeqCst);
            let open = Arc::new(self.open_whole(tree, blob)?);
            let mut all = lock(&self.open);
            if self.forgotten.load(Ordering::SeqCst) != before {
                // It may be one of those that were forgotten meanwhile.
                continue;
            }
            let closed = all.push(blob, Arc::clone(&open));
            drop(all);
            // Closing may take its time: not under the lock.
            drop(closed);
            return Ok(open);
        }
    }

    /// Opens `blob` without keeping it, if it has the recorded length.
    fn open_whole(&self, tree: &dyn Tree, blob: BlobNo) -> Result<OpenBlob, FsError> {
        let recorded = tree.file(FileId { blob, serial: 0 })?.ok_or(FsError::NotFound)?;
        let file = match tree.open(blob) {
            Err(error) if out_of_descriptors(&error) => {
                self.close_half();
                tree.open(blob)?
            }
            other => other?,
        };
        if file.metadata()?.len() != recorded.size {
            return Err(FsError::Damaged);
        }
        Ok(OpenBlob {
            file,
            size: recorded.size,
        })
    }

    fn close_half(&self) {
        let closed: Vec<_> = {
            let mut blobs = lock(&self.open);
            (0..blobs.len().div_ceil(2)).map_while(|_| blobs.pop_lru()).collect()
        };
        drop(closed);
    }
}

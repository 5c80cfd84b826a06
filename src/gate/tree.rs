//! The files of a snapshot, and the reading of those that describe the others.
//!
//! Owns what a check can look at. It judges nothing.

use std::collections::HashMap;

use super::report::in_one_line;
use crate::apt::{Compression, read_pieces};
use crate::blobs::BlobStore;
use crate::catalog::{CatalogError, CatalogReader, ListedFile, MirrorRow, Seq};
use crate::model::{Checksum, ContentHasher, ContentHashes};

/// A snapshot's files.
pub(super) struct Tree<'a> {
    pub(super) files: HashMap<Box<str>, ListedFile>,
    pub(super) blobs: &'a BlobStore,
}

/// What some text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) hashes: ContentHashes,
    pub(super) size: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn of(
        reader: &CatalogReader,
        blobs: &'a BlobStore,
        (mirror, seq): (MirrorRow, Seq),
    ) -> Result<Self, CatalogError> {
        let files = reader.files(mirror, seq)?;
        Ok(Self { files, blobs })
    }

    /// The file at `path`, whole; `None` when there is none.
    ///
    /// # Errors
    /// In words, why it cannot be read.
    pub(super) fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>, String> {
        let Some(file) = self.files.get(path) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        self.read_text(file, Compression::None, (cap, None), |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(Some(bytes))
    }

    /// Hands the decompressed text of a file, of at most `cap` bytes, to `each` in pieces, and tells what it is; with the
    /// SHA-512 hash if that is what `expected` is.
    ///
    /// # Errors
    /// In words, why it cannot be read.
    pub(super) fn read_text(
        &self,
        file: &ListedFile,
        compression: Compression,
        (cap, expected): (u64, Option<Checksum>),
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Text, String> {
        let blob = self.blobs.read(file.digest).map_err(|error| in_one_line(&error))?;
        let mut hasher = ContentHasher::comparing_with(expected);
        let in_words = |error: std::io::Error| error.to_string();
        let size = read_pieces(compression, blob, cap, in_words, |piece| {
            hasher.update(piece);
            each(piece)
        })?;
        let hashes = hasher.finish();
        Ok(Text { hashes, size })
    }
}

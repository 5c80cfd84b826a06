//! The packages of one index, streamed from the cache.
//!
//! Owns the way from a blob to its packages, and the check that its text is the one that was recorded: a rotten index
//! must not become a difference. No text of an index is ever in memory.

use super::indices::{Index, Key};
use super::{CompareError, Side};
use crate::apt::inventory::{InventoryReader, Package};
use crate::apt::{LONGEST_UNLISTED_INDEX, read_pieces};
use crate::blobs::BlobStore;
use crate::model::Hasher;

/// Hands every package of `index` to `each`.
pub(super) fn read(
    blobs: &BlobStore,
    side: &Side,
    key: &Key,
    index: &Index,
    each: impl FnMut(Package),
) -> Result<(), CompareError> {
    let about = || (index.path.clone(), side.snapshot.clone());
    let unreadable = |source| {
        let (path, snapshot) = about();
        CompareError::Read { path, snapshot, source }
    };
    let meaningless = |source| {
        let (path, snapshot) = about();
        CompareError::Parse { path, snapshot, source }
    };
    let blob = blobs.read(index.digest).map_err(|source| {
        let (path, snapshot) = about();
        CompareError::Blob { path, snapshot, source }
    })?;
    let cap = index.text.map_or(LONGEST_UNLISTED_INDEX, |(_, size)| size);
    let mut reader = if key.of_sources {
        InventoryReader::of_sources(each)
    } else {
        InventoryReader::of_packages(each)
    };
    let mut hasher = Hasher::new();
    read_pieces(index.compression, blob, cap, unreadable, |piece| {
        hasher.update(piece);
        reader.push(piece).map_err(meaningless)
    })?;
    reader.finish().map_err(meaningless)?;
    if index.text.is_some_and(|(digest, _)| digest != hasher.finish()) {
        let (path, snapshot) = about();
        return Err(CompareError::Damaged { path, snapshot });
    }
    Ok(())
}

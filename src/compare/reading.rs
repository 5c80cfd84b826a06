//! The inventory of one index: the one that is stored, or else what its text says.
//!
//! Owns the way from a blob to its packages, and the check that its text is the one that was recorded: a rotten index
//! must become neither a difference nor an inventory that outlives it. No text of an index is ever in memory.

use super::indices::{Index, Key};
use super::{CompareError, Side};
use crate::apt::inventory::{Inventory, InventoryReader, LONGEST_STORED};
use crate::apt::{LONGEST_UNLISTED_INDEX, read_pieces};
use crate::blobs::BlobStore;
use crate::model::Hasher;

/// The packages of `index`. Taken from its text, they are stored for the next time, as far as this user may.
pub(super) fn inventory(blobs: &BlobStore, side: &Side, key: &Key, index: &Index) -> Result<Inventory, CompareError> {
    let derived = blobs.derived();
    let stored = derived.read(index.digest, LONGEST_STORED);
    if let Some(inventory) = stored.and_then(|stored| Inventory::from_stored(&stored, index.digest)) {
        return Ok(inventory);
    }
    let inventory = read(blobs, side, key, index)?;
    // Where nobody knows what the text should be, the blob has to be what its name says.
    if derived.may_keep()
        && (index.text.is_some() || blobs.is_whole(index.digest, index.size))
        && let Some(stored) = inventory.to_stored(index.digest)
    {
        derived.keep(index.digest, &stored);
    }
    Ok(inventory)
}

/// What the text of `index` says.
fn read(blobs: &BlobStore, side: &Side, key: &Key, index: &Index) -> Result<Inventory, CompareError> {
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
        InventoryReader::of_sources()
    } else {
        InventoryReader::of_packages()
    };
    let mut hasher = Hasher::new();
    read_pieces(index.compression, blob, cap, unreadable, |piece| {
        hasher.update(piece);
        reader.push(piece).map_err(meaningless)
    })?;
    let inventory = reader.finish().map_err(meaningless)?;
    if index.text.is_some_and(|(digest, _)| digest != hasher.finish()) {
        let (path, snapshot) = about();
        return Err(CompareError::Damaged { path, snapshot });
    }
    Ok(inventory)
}

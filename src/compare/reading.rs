//! The packages of one index, streamed from the cache.
//!
//! Owns the way from a blob to its packages, and the check that its text is the one that was recorded: a rotten index
//! must not become a difference. No index is ever in memory.

use std::io::{BufReader, Read as _};

use super::indices::{Index, Key};
use super::{CompareError, Side};
use crate::apt::decompress;
use crate::apt::inventory::{InventoryReader, Package};
use crate::blobs::BlobStore;
use crate::model::Hasher;

/// Bytes decompressed at a time.
const CHUNK: usize = 256 << 10;

/// Longest text of an index of which nothing is recorded, in bytes: ten times Debian's. The same as when it was synced.
const LONGEST_UNKNOWN: u64 = 1 << 30;

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
    let cap = index.text.map_or(LONGEST_UNKNOWN, |(_, size)| size);
    let file = BufReader::with_capacity(CHUNK, blob);
    let mut text = decompress(index.compression, file, cap).map_err(unreadable)?;
    let mut reader = if key.of_sources {
        InventoryReader::of_sources(each)
    } else {
        InventoryReader::of_packages(each)
    };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = text.read(&mut buffer).map_err(unreadable)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        reader.push(&buffer[..n]).map_err(meaningless)?;
    }
    reader.finish().map_err(meaningless)?;
    if index.text.is_some_and(|(digest, _)| digest != hasher.finish()) {
        let (path, snapshot) = about();
        return Err(CompareError::Damaged { path, snapshot });
    }
    Ok(())
}

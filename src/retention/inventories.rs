//! Inventories of indices that the cache does not have any more.
//!
//! Owns when they go: with the blob that they were made of, in the collection that removes it, or in the next one if that was
//! killed. Nothing needs them, so nobody waits.

use std::collections::HashSet;

use super::sweep::RetentionError;
use crate::blobs::{Derived, DerivedFile};
use crate::catalog::{CatalogError, CatalogReader, Marked};
use crate::model::Digest;
use crate::state::StateDir;

/// All inventories there are.
///
/// # Errors
/// When the directory cannot be read.
pub fn inventories(state: &StateDir) -> Result<Marked, RetentionError> {
    let files = Derived::at(&state.inventories()).files()?;
    Ok(sum(&files))
}

/// What [`discard`] would remove if the blobs `going` were not there; changes nothing.
pub(super) fn plan(
    state: &StateDir,
    reader: &CatalogReader,
    going: &HashSet<Digest>,
) -> Result<Marked, RetentionError> {
    let mut removed = Vec::new();
    for file in Derived::at(&state.inventories()).files()? {
        let goes = file.of.is_some_and(|of| going.contains(&of));
        if goes || is_orphan(reader, &file)? {
            removed.push(file);
        }
    }
    Ok(sum(&removed))
}

/// Removes those whose blob has gone, and what was not finished: whoever is writing it just now keeps nothing.
pub(super) fn discard(state: &StateDir, reader: &CatalogReader) -> Result<Marked, RetentionError> {
    let derived = Derived::at(&state.inventories());
    let mut removed = Vec::new();
    for file in derived.files()? {
        if is_orphan(reader, &file)? {
            derived.remove(&file)?;
            removed.push(file);
        }
    }
    Ok(sum(&removed))
}

fn is_orphan(reader: &CatalogReader, file: &DerivedFile) -> Result<bool, CatalogError> {
    match file.of {
        Some(of) => Ok(reader.blob(of)?.is_none()),
        None => Ok(true),
    }
}

fn sum(files: &[DerivedFile]) -> Marked {
    Marked {
        blobs: files.len() as u64,
        bytes: files.iter().map(|file| file.size).sum(),
    }
}

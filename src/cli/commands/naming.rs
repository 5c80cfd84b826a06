//! Words that name a snapshot of a mirror, by its own name or by a pointer that leads to it.
//!
//! Owns what such a word means, and what is said of one that means nothing.

use crate::catalog::{CatalogError, CatalogReader};
use crate::cli::failure::Failure;
use crate::config::{MirrorSettings, nearest};
use crate::model::Pointer;

/// The pointer of `mirror` that `word` names.
pub(super) fn pointer(mirror: &MirrorSettings, word: &str) -> Option<Pointer> {
    mirror.pointers().into_iter().find(|pointer| pointer.name() == word)
}

/// `unknown`, with what `word` may have been meant to be: the nearest snapshot or pointer, and all the pointers.
pub(super) fn with_what_there_is(
    unknown: Failure,
    mirror: &MirrorSettings,
    reader: &CatalogReader,
    word: &str,
) -> Result<Failure, CatalogError> {
    let snapshots = reader.snapshot_names(reader.mirror(&mirror.id)?)?;
    let pointers = mirror.pointers();
    let pointers = || pointers.iter().map(Pointer::name);
    let near = nearest(word, snapshots.iter().map(|(name, _)| name.as_str()).chain(pointers()));
    let failure = match near {
        Some(near) => unknown.hint(format!("did you mean {near:?}?")),
        None => unknown,
    };
    let environments = pointers().collect::<Vec<_>>().join(", ");
    Ok(failure.hint(format!("the environments of {} are {environments}", mirror.id)))
}

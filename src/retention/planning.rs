//! What a collection would do now.
//!
//! Owns the foretelling, which changes nothing and any local user may ask for. It is what [`super::collect`] does, except for
//! what cannot be known without asking or changing: what mounts hold open is not asked for, and files and rows that killed syncs
//! or forgotten mirrors left, and nobody has taken up yet, are not counted.

use super::sweep::{Collected, GcPolicy, RetentionError, wipe};
use super::{inventories, leftovers};
use crate::catalog::{CatalogReader, Marked, Unneeded};
use crate::model::Timestamp;
use crate::state::StateDir;

/// What [`super::collect`] would remove now; changes nothing.
///
/// # Errors
/// When the catalog or the state directory cannot be read.
pub fn plan_collect(
    state: &StateDir,
    reader: &CatalogReader,
    policy: &GcPolicy,
    now: Timestamp,
) -> Result<Collected, RetentionError> {
    // Who may not look at the locks is told what would go if no sync ran.
    let syncing = state.syncing(reader.known_mirrors()?).unwrap_or_default();
    let expired = now.plus(-policy.keep_partial);
    let until = now.plus(-policy.grace);
    let (unneeded, bases) = reader.at_once(|reader| {
        let unneeded = reader.unneeded(expired, &syncing)?;
        let bases = if policy.grace > 0 {
            // They wait for a grace of their own.
            Vec::new()
        } else {
            reader.bases_freed_by(&unneeded)?
        };
        Ok((unneeded, bases))
    })?;
    // What the clock was ahead for counts as condemned now.
    let since = |blob: &Unneeded| blob.since.map_or(now, |since| since.min(now));
    let (mut due, waiting): (Vec<Unneeded>, Vec<Unneeded>) = unneeded.iter().partition(|blob| since(blob) <= until);
    due.extend(bases);
    let ends = || waiting.iter().map(|blob| since(blob).plus(policy.grace));
    let going = due.iter().map(|blob| blob.digest).collect();
    let collected = Collected {
        swept: total(&due),
        marked: total(unneeded.iter().filter(|blob| blob.since.is_none())),
        waiting: total(&waiting),
        waits_until: ends().min().zip(ends().max()),
        inventories: inventories::plan(state, reader, &going)?,
        wipe: wipe(reader, total(&due))?,
        ..Collected::default()
    };
    Ok(collected.with(leftovers::plan(state, expired)?))
}

fn total<'b>(blobs: impl IntoIterator<Item = &'b Unneeded>) -> Marked {
    blobs.into_iter().fold(Marked::default(), |sum, blob| Marked {
        blobs: sum.blobs + 1,
        bytes: sum.bytes + blob.size,
    })
}

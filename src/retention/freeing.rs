//! What a prune would free, told before it is done.
//!
//! Owns the step from plans to that question. The reckoning is the catalog's, and nothing is changed.

use std::collections::HashSet;

use super::policy::Verdict;
use super::sweep::Pruned;
use crate::catalog::{CatalogError, CatalogReader, Freed, SnapshotRow};

/// What carrying out all of these plans together would free.
///
/// # Errors
/// When the catalog cannot be read.
pub fn freed(reader: &CatalogReader, plans: &[Pruned]) -> Result<Freed, CatalogError> {
    let going: HashSet<SnapshotRow> = plans.iter().flat_map(|pruned| pruned.plan.deleted()).map(row).collect();
    reader.at_once(|reader| {
        let mirrors: Result<Vec<_>, _> = plans.iter().map(|pruned| reader.mirror(&pruned.mirror)).collect();
        reader.freed(&mirrors?, &going)
    })
}

/// The snapshot that a verdict is about.
#[must_use]
pub fn row(verdict: &Verdict) -> SnapshotRow {
    SnapshotRow::from_number(verdict.seq)
}

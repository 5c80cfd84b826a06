//! Forgetting a mirror whose table has gone from the configuration.
//!
//! Owns the order of steps: files that a killed sync placed get rows, then the mirror vanishes in one transaction, then,
//! once mounts were told, what is left of it is cleared. Its files are garbage collection's part, with its grace, so that
//! whoever reads one goes on reading. It must never remove a file itself.

use super::sweep::{RetentionError, take_up_leased_by};
use crate::blobs::BlobStore;
use crate::catalog::{Catalog, CatalogError, CatalogReader, Marked};
use crate::model::{MirrorId, Pointer, SnapshotName};
use crate::state::SyncLock;

/// What goes with a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgetting {
    /// The mirror.
    pub mirror: MirrorId,
    /// Its snapshots, newest first.
    pub snapshots: Vec<SnapshotName>,
    /// Those of them that an operator protected.
    pub protected: Vec<SnapshotName>,
    /// Its pointers, and where they lead.
    pub pointers: Vec<(Pointer, SnapshotName)>,
    /// What nothing else needs: collections delete it after their grace.
    pub freed: Marked,
}

impl Forgetting {
    /// Whether only force forgets the mirror.
    #[must_use]
    pub fn needs_force(&self) -> bool {
        !self.protected.is_empty() || self.pointers.iter().any(|(pointer, _)| *pointer != Pointer::Staging)
    }
}

/// What would go with `mirror`; changes nothing.
///
/// # Errors
/// When there is no such mirror or the catalog cannot be read.
pub fn plan_forget(reader: &CatalogReader, mirror: &MirrorId) -> Result<Forgetting, CatalogError> {
    reader.at_once(|reader| {
        let row = reader.mirror(mirror)?;
        let snapshots = reader.snapshots(row)?;
        let pointers = reader.pointers(row)?.into_iter();
        let protected = snapshots.iter().filter(|snapshot| snapshot.protected);
        Ok(Forgetting {
            mirror: mirror.clone(),
            protected: protected.map(|snapshot| snapshot.name.clone()).collect(),
            snapshots: snapshots.into_iter().map(|snapshot| snapshot.name).collect(),
            pointers: pointers.map(|there| (there.pointer, there.snapshot)).collect(),
            freed: reader.needed_by_it_alone(row)?,
        })
    })
}

/// Takes the mirror that `lock` is for out of the catalog: it is whole before this and gone after it, whatever happens on
/// the way. Mounts are to be told then, and [`Catalog::clear_forgotten`] is to be called, or left to the next collection.
///
/// # Errors
/// When there is no such mirror, it needs force and there is none, or the catalog cannot be written. Then it is all there.
pub fn forget(
    catalog: &mut Catalog,
    blobs: &BlobStore,
    lock: &SyncLock,
    force: bool,
) -> Result<Forgetting, RetentionError> {
    let mirror = lock.mirror();
    take_up_leased_by(catalog, blobs, mirror)?;
    let forgetting = plan_forget(catalog.reader(), mirror).map_err(RetentionError::Forget)?;
    catalog.forget_mirror(mirror, force).map_err(RetentionError::Forget)?;
    Ok(forgetting)
}

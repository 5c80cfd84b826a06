//! Where an operator's tests read the snapshot that is tested.
//!
//! Owns the choice of that directory, and the question whether it has been the snapshot's all the while. Test systems read
//! staging, so a staged snapshot is read there; but staging moves, and snapshots get other names. It moves nothing itself.

use std::path::PathBuf;

use crate::catalog::{CatalogError, CatalogReader, MoveRow, SnapshotRecord};
use crate::cli::context::Context;
use crate::control;
use crate::model::{Pointer, SnapshotName};
use crate::publish;

/// A directory of the mount, and by what it is the snapshot's.
pub(super) struct Place<'a> {
    snapshot: &'a SnapshotRecord,
    pub(super) path: PathBuf,
    by: By,
}

/// How a directory leads to a snapshot.
enum By {
    /// By this move of staging, until the next one: also one that leads back.
    Staging(MoveRow),
    /// By this name.
    Name(SnapshotName),
}

impl<'a> Place<'a> {
    /// Where `snapshot` can be read now.
    ///
    /// # Errors
    /// In words, why it cannot.
    pub(super) fn find(
        context: &Context,
        reader: &CatalogReader,
        snapshot: &'a SnapshotRecord,
    ) -> Result<Self, String> {
        let Context { settings, run_dir, .. } = context;
        let dir = mirrorctl_mount::resolve(&settings.dir).unwrap_or_else(|_| settings.dir.clone());
        let live = control::mounts_of(run_dir, &settings.state).map_err(|error| error.to_string())?;
        if !live.iter().any(|mount| mount.is_at(&dir)) {
            return Err(format!(
                "nothing is mounted at {}, where the command would find the snapshot: run mirrorctl mount",
                dir.display()
            ));
        }
        // One that has not noticed the last move shows something else there.
        let unseen = publish::make_visible(run_dir, &settings.state).map_err(|error| error.to_string())?;
        if let Some(unseen) = unseen.iter().find(|unseen| unseen.mount.is_at(&dir)) {
            return Err(format!(
                "{} may show an older state than the snapshot's, as it does not answer: {}",
                unseen.mount, unseen.error
            ));
        }
        Self::below(&settings.dir.join(snapshot.mirror.as_str()), reader, snapshot)
            .map_err(|error| error.to_string())?
    }

    fn below(
        of_mirror: &std::path::Path,
        reader: &CatalogReader,
        snapshot: &'a SnapshotRecord,
    ) -> Result<Result<Self, String>, CatalogError> {
        let staging = reader.pointer(reader.mirror(&snapshot.mirror)?, &Pointer::Staging)?;
        if let Some(there) = staging.filter(|there| there.snapshot_row == snapshot.row) {
            return Ok(Ok(Self {
                snapshot,
                path: of_mirror.join(Pointer::Staging.name()),
                by: By::Staging(there.row),
            }));
        }
        let Some(name) = name(reader, snapshot)? else {
            return Ok(Err(gone(snapshot)));
        };
        Ok(Ok(Self {
            snapshot,
            path: of_mirror.join("snapshots").join(name.as_str()),
            by: By::Name(name),
        }))
    }

    /// Makes sure that the directory has been the snapshot's since it was found.
    ///
    /// # Errors
    /// In words, what has become of either, and what to do.
    pub(super) fn is_still_there(&self, reader: &CatalogReader) -> Result<(), String> {
        self.judge(reader).map_err(|error| error.to_string())?
    }

    fn judge(&self, reader: &CatalogReader) -> Result<Result<(), String>, CatalogError> {
        let Self { snapshot, .. } = self;
        let mirror = &snapshot.mirror;
        let Some(name) = name(reader, snapshot)? else {
            return Ok(Err(gone(snapshot)));
        };
        let again = format!("mirrorctl snapshot test {mirror} {name}");
        Ok(match &self.by {
            By::Staging(found) => {
                let staging = reader.pointer(reader.mirror(mirror)?, &Pointer::Staging)?;
                match staging.filter(|there| there.row != *found) {
                    None => Ok(()),
                    Some(there) if there.snapshot_row == snapshot.row => Err(format!(
                        "staging was moved, and leads to snapshot {name} now, as before: run {again}"
                    )),
                    Some(there) => Err(format!(
                        "staging was moved, and leads to snapshot {} now: {again} reads {name} where nobody moves it",
                        there.snapshot
                    )),
                }
            }
            By::Name(then) if *then == name => Ok(()),
            By::Name(then) => Err(format!("snapshot {then} has another name now, {name}: run {again}")),
        })
    }
}

/// The name that a snapshot has now; `None` when it was deleted.
fn name(reader: &CatalogReader, snapshot: &SnapshotRecord) -> Result<Option<SnapshotName>, CatalogError> {
    let snapshots = reader.snapshots(reader.mirror(&snapshot.mirror)?)?;
    let found = snapshots.into_iter().find(|found| found.row == snapshot.row);
    Ok(found.map(|found| found.name))
}

fn gone(snapshot: &SnapshotRecord) -> String {
    format!("snapshot {} was deleted", snapshot.name)
}

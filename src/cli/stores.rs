//! Opening what a command works on, and telling the mounts afterwards.
//!
//! Owns the step from a loaded configuration to open stores: for reading, which any local user may, or for changing.

use super::context::Context;
use super::failure::{Failure, Kind};
use super::sys;
use crate::blobs::{BlobStore, Derived};
use crate::catalog::{Catalog, CatalogError, CatalogReader, MirrorRow};
use crate::model::MirrorId;
use crate::publish::{self, By};
use crate::retention::{self, BackupPolicy};
use crate::state::StateDir;

/// The row of a mirror; `None` when it has never been synced, which for lists is no error.
///
/// # Errors
/// When the catalog cannot be read: that nothing is known does not mean that there is nothing.
pub(super) fn synced(reader: &CatalogReader, mirror: &MirrorId) -> Result<Option<MirrorRow>, CatalogError> {
    match reader.mirror(mirror) {
        Ok(row) => Ok(Some(row)),
        Err(CatalogError::UnknownMirror(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What can be done about a mirror that the catalog has and the configuration does not.
pub(super) fn unconfigured_hint(mirror: &str) -> String {
    format!("{mirror} is not configured any more; mirrorctl forget {mirror} takes it out of the catalog and the mount")
}

/// What is to be said of a pointer that leads somewhere and is not configured any more.
pub(super) fn left_over(mirror: &str, pointer: &str) -> String {
    format!(
        "is not configured any more, and served all the same; mirrorctl snapshot unpublish {mirror} --of {pointer} takes it out"
    )
}

impl Context {
    /// Whether the catalog has this mirror, as far as it can be read.
    pub(super) fn was_configured(&self, mirror: &MirrorId) -> bool {
        self.reader().is_ok_and(|reader| reader.mirror(mirror).is_ok())
    }

    /// The mirrors that the catalog has and the configuration does not, sorted by id.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub(super) fn unconfigured(&self, reader: &CatalogReader) -> Result<Vec<MirrorId>, CatalogError> {
        let mut known = reader.known_mirrors()?;
        known.retain(|mirror| !self.settings.mirrors.contains_key(mirror));
        Ok(known)
    }

    /// The catalog, for a command that only reads.
    ///
    /// # Errors
    /// When nothing was synced yet, or it cannot be read.
    pub(super) fn reader(&self) -> Result<CatalogReader, Failure> {
        Ok(CatalogReader::open(&self.state_to_read()?.catalog())?)
    }

    /// The state directory, for a command that only reads.
    ///
    /// # Errors
    /// When nothing was synced yet, or it cannot be read.
    pub(super) fn state_to_read(&self) -> Result<StateDir, Failure> {
        Ok(StateDir::open_to_read(&self.settings.state)?)
    }

    /// The state directory, for a command that changes it.
    ///
    /// # Errors
    /// When the user may not change it, or it cannot be made.
    pub(super) fn state(&self) -> Result<StateDir, Failure> {
        if !self.settings.any_file_system {
            StateDir::require_local(&self.settings.state)?;
        }
        sys::share_with_group();
        Ok(StateDir::open_to_change(&self.settings.state)?)
    }

    /// The state directory, for a command that changes what a sync has made.
    ///
    /// # Errors
    /// When nothing was synced yet, or the user may not change it.
    pub(super) fn existing_state(&self) -> Result<StateDir, Failure> {
        self.state_to_read()?;
        self.state()
    }

    /// The catalog, for a command that changes it.
    ///
    /// # Errors
    /// When the user may not change it, or it cannot be opened.
    pub(super) fn catalog(&self) -> Result<Catalog, Failure> {
        Ok(Catalog::open(&self.existing_state()?.catalog())?)
    }

    /// The blobs of `state`, with what was made of them.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub(super) fn blobs(state: &StateDir) -> Result<BlobStore, Failure> {
        let blobs = BlobStore::open(&state.blobs(), state.owner().ids())?;
        Ok(blobs.with_derived(Derived::at(&state.inventories())))
    }

    /// Copies the catalog if a copy is due, and shortens its ledger. What was done before stays done whatever becomes of
    /// this, so that trouble is only logged.
    pub(super) fn look_after(&self, state: &StateDir, catalog: &mut Catalog) {
        let settings = self.settings.backup;
        let policy = BackupPolicy {
            every: i64::try_from(settings.every.as_secs()).unwrap_or(i64::MAX),
            keep: settings.keep,
        };
        let copied = retention::back_up(state, catalog, policy, self.clock.now());
        match copied
            .map_err(Failure::from)
            .map(|copy| copy.map(|copy| copy.display().to_string()))
        {
            Ok(Some(copy)) => tracing::info!("Catalog copied to {copy}"),
            Ok(None) => {}
            Err(failure) => tracing::warn!("The catalog was not copied: {}", failure.in_one_line()),
        }
        if let Err(error) = catalog.tidy_ledger() {
            tracing::warn!("The ledger was not shortened: {error}");
        }
    }

    /// Who acts, and when.
    pub(super) fn by(&self, force: bool) -> By<'_> {
        By {
            actor: &self.actor,
            message: None,
            clock: &self.clock,
            force,
        }
    }

    /// Tells every running mount that something changed, and waits until each shows it.
    ///
    /// # Errors
    /// When one did not confirm it in time: what was recorded stays recorded.
    pub(super) fn make_visible(&self) -> Result<(), Failure> {
        self.make_visible_by("repeating the command is safe")
    }

    /// As [`Context::make_visible`], for commands that are not to be repeated: `advice` is what to do instead.
    ///
    /// # Errors
    /// As those of [`Context::make_visible`].
    pub(super) fn make_visible_by(&self, advice: &str) -> Result<(), Failure> {
        let unseen = publish::make_visible(&self.run_dir, &self.settings.state).map_err(|error| {
            let failure = Failure::new(
                Kind::NotVisible,
                "recorded, but it is unknown which mounts there are to tell",
            );
            let detail = serde_json::json!({ "error": error.to_string() });
            failure
                .problem(error.to_string(), detail)
                .hint("mounts notice it by themselves within seconds")
        })?;
        let Some(first) = unseen.first() else { return Ok(()) };
        let failure = Failure::new(
            Kind::NotVisible,
            format!("recorded, not yet visible at {}", first.mount),
        );
        let failure = unseen.iter().fold(failure, |failure, unseen| {
            let detail = serde_json::json!({ "mount": unseen.mount.to_string(), "error": unseen.error.to_string() });
            failure.problem(format!("{}: {}", unseen.mount, unseen.error), detail)
        });
        Err(failure.hint(format!("the mount shows it as soon as it answers again; {advice}")))
    }
}

//! What one process that serves a mount leaves to the next, and how that goes on with it.
//!
//! Owns the note and the order of the descriptors that the holder keeps, and the choice between going on with the mount as it
//! is and putting a new one into its place. A mount may only be gone on with by who has the same catalog: the kernel remembers
//! its numbers.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirrorctl_mount::{AdoptError, Held, Options, Session};
use serde::{Deserialize, Serialize};

use super::{CatalogFile, DaemonError, Mounting, no_holder};
use crate::control::{Facts, Registration};
use crate::holder::{Kept, Line};
use crate::model::Timestamp;
use crate::view::View;

/// What the next process must know of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Without links.
    mountpoint: PathBuf,
    /// Without links.
    state: PathBuf,
    /// When it was mounted, in seconds since 1970: the time that its own directories show.
    mounted: i64,
    /// Which catalog its numbers are of: the generation, and the file.
    generation: String,
    catalog: (u64, u64),
}

impl Note {
    pub(super) fn new(mounting: &Mounting, view: &View, catalog: &CatalogFile) -> Self {
        Self {
            mountpoint: mounting.mountpoint.clone(),
            state: mounting.state.clone(),
            mounted: mounting.now.unix(),
            generation: view.generation().to_owned(),
            catalog: catalog.identity,
        }
    }

    /// `mounting`, where and when the mount was made.
    pub(super) fn apply_to(&self, mounting: &Mounting) -> Mounting {
        Mounting {
            mountpoint: self.mountpoint.clone(),
            now: Timestamp::from_unix(self.mounted),
            ..mounting.clone()
        }
    }

    /// Leaves `session` and its registration with the holder.
    pub(super) fn leave(&self, line: &Line, session: &Session, registration: &Registration) -> Result<(), DaemonError> {
        let held = session.held().map_err(no_holder)?;
        let [lock, socket] = registration.descriptors();
        let text = serde_json::to_string(self).map_err(DaemonError::Legacy)?;
        let descriptors = [held.device.as_fd(), held.record.as_fd(), lock, socket];
        line.hold(text, descriptors).map_err(no_holder)?;
        registration.keep();
        Ok(())
    }

    fn is_of_the_same_catalog(&self, other: &Self) -> bool {
        (&self.generation, self.catalog) == (&other.generation, other.catalog)
    }
}

/// What an earlier process has left.
#[derive(Debug)]
pub(super) struct Legacy {
    pub(super) note: Note,
    kept: Kept,
}

/// What of that is the mount's own.
#[derive(Debug)]
pub(super) struct LegacyMount {
    note: Note,
    held: Held,
}

impl Legacy {
    pub(super) fn open(kept: Kept) -> Result<Self, DaemonError> {
        let note = serde_json::from_str(&kept.note).map_err(DaemonError::Legacy)?;
        Ok(Self { note, kept })
    }

    /// Goes on with the registration: commands have found the mount all the time.
    pub(super) fn resume(self, run: &Path, facts: &Facts) -> Result<(Registration, LegacyMount), DaemonError> {
        let [device, record, lock, socket] = self.kept.descriptors;
        let facts = Facts {
            state: std::fs::canonicalize(&facts.state).unwrap_or_else(|_| facts.state.clone()),
            ..facts.clone()
        };
        let registration = Registration::resume(run, &facts, lock, socket)?;
        let held = Held { device, record };
        let note = self.note;
        Ok((registration, LegacyMount { note, held }))
    }
}

impl LegacyMount {
    /// Goes on with the mount for who has `view` and would write `note` of it, or puts another into its place; `None` when it was
    /// taken away meanwhile.
    pub(super) fn go_on(
        self,
        view: &Arc<View>,
        note: &Note,
        options: &Options,
    ) -> Result<Option<Session>, DaemonError> {
        let place = &self.note.mountpoint;
        if !mirrorctl_mount::stands_at(place).map_err(not_seen)? {
            return Ok(None);
        }
        let tree = || Arc::clone(view) as Arc<_>;
        if self.note.is_of_the_same_catalog(note) {
            match mirrorctl_mount::adopt(tree(), self.held, place, options) {
                Ok(session) => return Ok(Some(session)),
                Err(error) if error.says_ended() => return Ok(None),
                Err(error) if error.asks_for_a_new_mount() => warn(&error),
                Err(error) => return Err(error.into()),
            }
        } else {
            tracing::warn!("the catalog was replaced: mounting afresh");
        }
        Ok(Some(mirrorctl_mount::replace(tree(), place, options)?))
    }
}

fn warn(error: &AdoptError) {
    tracing::warn!(
        "{error}; who was inside the mount when its process died gets errors, and everybody else the new one"
    );
}

fn not_seen(source: io::Error) -> DaemonError {
    DaemonError::System {
        action: "look at the table of mounts",
        source,
    }
}

//! What the catalog has of each mirror, as `mirrorctl status` says it.
//!
//! Owns the words for pointers and for the age of upstream's Release files. It asks no mount.

use std::time::Duration;

use serde::Serialize;

use super::lending::{self, Reachable};
use crate::catalog::{CatalogError, CatalogReader, MirrorRow, MoveRecord, ReleaseFacts};
use crate::cli::stores::{left_over, synced};
use crate::cli::text::{span, utc};
use crate::config::MirrorSettings;
use crate::model::{MirrorId, Pointer, Timestamp};

/// A mirror.
#[derive(Serialize)]
pub(super) struct Mirror {
    pub(super) mirror: String,
    /// Whether the configuration has it.
    pub(super) configured: bool,
    pub(super) staging: Option<String>,
    pub(super) current: Option<String>,
    /// Every pointer that is configured or set, in the order of the workflow.
    pub(super) pointers: Vec<Place>,
    pub(super) snapshots: usize,
    pub(super) checked: Option<String>,
    /// Why no pointer moves to the last synced state without force.
    pub(super) held: Option<String>,
    /// Files that the indices of the last synced state list and a filter has left out.
    pub(super) absent_files: u64,
    pub(super) suites: Vec<Suite>,
    /// Earlier publications whose files are reachable below the pointers.
    pub(super) reachable: Vec<Reachable>,
}

#[derive(Serialize)]
pub(super) struct Suite {
    suite: String,
    release_date: Option<String>,
    release_age_seconds: Option<i64>,
    valid_until: Option<String>,
    expired: bool,
    /// Whether it is older than the mirror's `max_age`.
    old: bool,
}

/// A pointer, and where it leads.
#[derive(Serialize)]
pub(super) struct Place {
    pub(super) pointer: String,
    pub(super) snapshot: Option<String>,
    /// Whether the configuration knows it.
    pub(super) configured: bool,
}

impl Place {
    fn each(known: &[Pointer], set: &[MoveRecord]) -> Vec<Self> {
        let mut pointers = known.to_vec();
        let others = set.iter().map(|there| &there.pointer);
        let others: Vec<_> = others.filter(|pointer| !pointers.contains(pointer)).cloned().collect();
        pointers.extend(others);
        let place = |(at, pointer): (usize, &Pointer)| Self {
            pointer: pointer.to_string(),
            snapshot: led_to(set, pointer),
            configured: at < known.len(),
        };
        pointers.iter().enumerate().map(place).collect()
    }

    /// As people read it; `None` where the table says it. Of a mirror that is not configured itself, more is said than that its
    /// pointers are not.
    pub(super) fn sentence(&self, of: &Mirror) -> Option<String> {
        if Pointer::ALWAYS.iter().any(|pointer| pointer.name() == self.pointer) {
            return None;
        }
        let (mirror, pointer) = (&of.mirror, &self.pointer);
        let snapshot = self.snapshot.as_deref().unwrap_or("-");
        let warning = if self.configured || !of.configured {
            String::new()
        } else {
            format!("; it {}", left_over(mirror, pointer))
        };
        Some(format!("{mirror}/{pointer} -> {snapshot}{warning}"))
    }
}

fn led_to(set: &[MoveRecord], pointer: &Pointer) -> Option<String> {
    let there = set.iter().find(|there| there.pointer == *pointer);
    there.map(|there| there.snapshot.to_string())
}

impl Mirror {
    /// A mirror that is configured and was never synced.
    pub(super) fn unsynced(settings: &MirrorSettings) -> Self {
        Self {
            mirror: settings.id.to_string(),
            configured: true,
            staging: None,
            current: None,
            pointers: Place::each(&settings.pointers(), &[]),
            snapshots: 0,
            checked: None,
            held: None,
            absent_files: 0,
            suites: Vec::new(),
            reachable: Vec::new(),
        }
    }

    /// What the catalog has of a mirror that is configured.
    pub(super) fn read(
        reader: &CatalogReader,
        settings: &MirrorSettings,
        now: Timestamp,
    ) -> Result<Self, CatalogError> {
        match synced(reader, &settings.id)? {
            Some(row) => Self::of(reader, (row, &settings.id), &settings.pointers(), settings.max_age, now),
            None => Ok(Self::unsynced(settings)),
        }
    }

    /// What the catalog has of a mirror that is not configured any more.
    pub(super) fn read_unconfigured(
        reader: &CatalogReader,
        id: &MirrorId,
        now: Timestamp,
    ) -> Result<Self, CatalogError> {
        Ok(Self {
            configured: false,
            ..Self::of(reader, (reader.mirror(id)?, id), &[], None, now)?
        })
    }

    fn of(
        reader: &CatalogReader,
        (row, id): (MirrorRow, &MirrorId),
        known: &[Pointer],
        max_age: Option<Duration>,
        now: Timestamp,
    ) -> Result<Self, CatalogError> {
        let set = reader.pointers(row)?;
        let at = |pointer: &Pointer| led_to(&set, pointer);
        let state = reader.last_state(row)?;
        let releases = state.as_ref().map_or(&[][..], |state| &state.releases);
        Ok(Self {
            mirror: id.to_string(),
            configured: true,
            staging: at(&Pointer::Staging),
            current: at(&Pointer::Current),
            pointers: Place::each(known, &set),
            snapshots: reader.snapshot_names(row)?.len(),
            checked: state.as_ref().and_then(|state| state.checked_at).map(utc),
            held: reader.last_held(row)?.map(|shrink| shrink.to_string()),
            absent_files: state.as_ref().map_or(0, |state| state.absent),
            suites: releases
                .iter()
                .map(|release| Suite::of(release, max_age, now))
                .collect(),
            reachable: lending::read(reader, row, now)?,
        })
    }

    /// Its name in a table.
    pub(super) fn label(&self) -> String {
        if self.configured {
            self.mirror.clone()
        } else {
            format!("{} (not configured)", self.mirror)
        }
    }
}

impl Suite {
    fn of(release: &ReleaseFacts, max_age: Option<Duration>, now: Timestamp) -> Self {
        let age = release.date.map(|date| now.unix() - date.unix());
        let limit = max_age.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        Self {
            suite: release.suite.to_string(),
            release_date: release.date.map(utc),
            release_age_seconds: age,
            valid_until: release.valid_until.map(utc),
            expired: release.valid_until.is_some_and(|until| until < now),
            old: limit.is_some_and(|limit| age.is_none_or(|age| age > limit)),
        }
    }

    /// As people read it.
    pub(super) fn sentence(&self) -> String {
        let age = match self.release_age_seconds.map(u64::try_from) {
            None => "of unknown age".to_owned(),
            Some(Ok(age)) => format!("{} old", span(Duration::from_secs(age - age % 60))),
            Some(Err(_)) => "from the future".to_owned(),
        };
        let expired = if self.expired { ", EXPIRED" } else { "" };
        let old = if self.old { ", OLD" } else { "" };
        format!("{} {age}{old}{expired}", self.suite)
    }
}

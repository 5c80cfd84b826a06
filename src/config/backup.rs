//! `[backup]`: copies of the catalog.
//!
//! Owns the meaning of those keys. When a copy is made and which ones go, `retention` decides.

use std::time::Duration;

use super::error::Notes;
use super::file::RawBackup;
use super::pruning::at_least_none;
use super::resolve::duration;

/// How often the catalog is copied, and how many copies stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupSettings {
    /// A copy is made when the newest is older than this.
    pub every: Duration,
    /// The newest so many copies stay; with 0 none is made.
    pub keep: usize,
}

impl BackupSettings {
    /// What applies when nothing is configured: a copy a day, and a week of them.
    pub const DEFAULT: Self = Self {
        every: Duration::from_hours(24),
        keep: 7,
    };
}

pub(super) fn settings(raw: &RawBackup, notes: &mut Notes) -> BackupSettings {
    let keep = raw.keep.as_ref().and_then(|number| at_least_none(number, notes));
    BackupSettings {
        every: duration(raw.every.as_ref(), notes).unwrap_or(BackupSettings::DEFAULT.every),
        keep: keep.unwrap_or(BackupSettings::DEFAULT.keep),
    }
}

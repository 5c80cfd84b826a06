//! `[snapshot.prune]`: which snapshots are kept.
//!
//! Owns the meaning of those keys. What becomes of a snapshot by them, `retention` decides.

use std::time::Duration;

use super::error::{Located, Notes};
use super::file::RawPrune;
use super::resolve::{at_least_one, duration};

/// Which snapshots pruning keeps: those that satisfy any of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneSettings {
    /// The newest so many; at least 1.
    pub keep_last: usize,
    /// Those younger than this.
    pub keep_within: Duration,
    /// The newest of each of the last so many days that have one.
    pub keep_daily: usize,
    /// The newest of each of the last so many weeks that have one.
    pub keep_weekly: usize,
    /// The newest of each of the last so many months that have one.
    pub keep_monthly: usize,
}

impl PruneSettings {
    /// What is kept when nothing is configured: the newest 5, and 30 days.
    pub const DEFAULT: Self = Self {
        keep_last: 5,
        keep_within: Duration::from_hours(30 * 24),
        keep_daily: 0,
        keep_weekly: 0,
        keep_monthly: 0,
    };
}

/// The rules of one table, over those that are inherited.
pub(super) fn settings(raw: &RawPrune, inherited: PruneSettings, notes: &mut Notes) -> PruneSettings {
    let keep_last = raw.keep_last.as_ref().and_then(|number| at_least_one(number, notes));
    let keep_within = duration(raw.keep_within.as_ref(), notes);
    let mut periods = |raw: &Option<Located<i64>>, inherited| {
        let number = raw.as_ref().and_then(|number| at_least_none(number, notes));
        number.unwrap_or(inherited)
    };
    PruneSettings {
        keep_last: keep_last.unwrap_or(inherited.keep_last),
        keep_within: keep_within.unwrap_or(inherited.keep_within),
        keep_daily: periods(&raw.keep_daily, inherited.keep_daily),
        keep_weekly: periods(&raw.keep_weekly, inherited.keep_weekly),
        keep_monthly: periods(&raw.keep_monthly, inherited.keep_monthly),
    }
}

pub(super) fn at_least_none(number: &Located<i64>, notes: &mut Notes) -> Option<usize> {
    let count = usize::try_from(number.value).ok();
    if count.is_none() {
        notes.fault(number, format!("must be 0 or more, but is {}", number.value));
    }
    count
}

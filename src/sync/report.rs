//! What a sync tells: while it runs, and when it is done.
//!
//! Owns the values; how they look is for `cli` to say.

use super::Job;
use super::release::SuiteRelease;
use crate::catalog::{Moved, Recorded};
use crate::model::{Listing, MirrorId, Shrink, SnapshotName, Suite, Timestamp};

/// Hears what a running sync does. Called from several threads.
pub trait Progress: Send + Sync {
    /// The sync of `mirror` begins something new.
    fn stage(&self, mirror: &MirrorId, what: &str);
    /// So many files with so many bytes will be fetched now.
    fn begin(&self, files: u64, bytes: u64);
    /// So many bytes more have arrived.
    fn bytes(&self, bytes: u64);
    /// One more file is complete.
    fn file(&self);
    /// What was begun is over.
    fn end(&self);
}

/// How much came over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transferred {
    /// Files fetched.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that the cache already had.
    pub reused: u64,
}

/// What one sync came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReport {
    /// The mirror.
    pub mirror: MirrorId,
    /// Suites with the date of their Release files.
    pub releases: Vec<(Suite, Option<Timestamp>)>,
    /// The outcome.
    pub outcome: Outcome,
    /// Why no pointer moves to the mirror's last synced state without force.
    pub held: Option<Shrink>,
}

/// How a sync ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Upstream has nothing new; no snapshot was made.
    Unchanged,
    /// A snapshot was recorded.
    Recorded {
        /// Its name.
        snapshot: SnapshotName,
        /// Files in it.
        files: u64,
        /// Sum of their sizes in bytes.
        bytes: u64,
        /// Names in it that differ from the state before.
        changes: usize,
        /// Files that its indices list and a filter has left out.
        absent: u64,
        /// What was fetched for it.
        fetched: Transferred,
        /// Pointers that lead to it now.
        moves: Vec<Moved>,
    },
}

impl SyncReport {
    pub(super) fn unchanged(job: &Job, releases: &[SuiteRelease], held: Option<Shrink>) -> Self {
        Self {
            mirror: job.mirror.clone(),
            releases: dates(releases),
            outcome: Outcome::Unchanged,
            held,
        }
    }

    pub(super) fn recorded(
        job: &Job,
        releases: &[SuiteRelease],
        listing: &Listing,
        (snapshot, recorded): (SnapshotName, Recorded),
        fetched: Transferred,
        held: Option<Shrink>,
        absent: u64,
    ) -> Self {
        let outcome = Outcome::Recorded {
            snapshot,
            files: listing.len() as u64,
            bytes: listing.size(),
            changes: recorded.changes,
            absent,
            fetched,
            moves: recorded.moves,
        };
        Self {
            mirror: job.mirror.clone(),
            releases: dates(releases),
            outcome,
            held,
        }
    }
}

pub(super) fn dates(releases: &[SuiteRelease]) -> Vec<(Suite, Option<Timestamp>)> {
    releases
        .iter()
        .map(|release| (release.suite.clone(), release.release.date))
        .collect()
}

//! Trees that are on this machine already and become snapshots as they are.
//!
//! Owns what is different there from a sync: the tree may be old, so its Release files need not be fresh; it may have
//! holes, which are counted to the last one instead of ending the work at the first few; and the snapshot has a date
//! of its own.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SyncError;
use super::error::FileError;
use super::indices::Missing;
use super::plan::Want;
use super::release;
use super::report::dates;
use super::transfer::Transfer;
use super::{Job, Transferred};
use crate::blobs::Sharing;
use crate::model::{BlobFacts, Checksum, RepoPath, Suite, Timestamp};
use crate::upstream::{Archive, Client};

/// How a tree becomes a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adoption {
    /// Whether its pool files may also be the cache's.
    pub sharing: Sharing,
    /// The date of the snapshot; that of the job if there is none.
    pub created_at: Option<Timestamp>,
}

/// A file that the tree's indices list and that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The file.
    pub path: RepoPath,
    /// Its length in bytes, where a list tells it.
    pub size: Option<u64>,
    /// What is wrong with what is there; `None` when nothing is.
    pub damage: Option<String>,
}

/// Why a tree is no snapshot: what it lacks, and what was kept of it.
#[derive(Debug)]
pub struct Incomplete {
    /// The files that could not be taken, in the order of the indices.
    pub absent: Vec<Absent>,
    /// Number of pool files that are listed.
    pub listed: usize,
    /// What was taken for the mirror's next sync.
    pub kept: Transferred,
}

impl Incomplete {
    /// Number of files that are there and are not what is listed.
    #[must_use]
    pub fn damaged(&self) -> usize {
        self.absent.iter().filter(|absent| absent.damage.is_some()).count()
    }
}

/// What is wrong with files that are there and are not what is listed.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<HashMap<Checksum, String>>);

impl Damage {
    /// Remembers why the file of this checksum cannot be taken.
    pub(super) fn note(&self, file: Checksum, error: &FileError) {
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let why = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        self.noted().insert(file, why);
    }

    /// Why the file of this checksum cannot be taken.
    pub(super) fn of(&self, file: Checksum) -> Option<String> {
        self.noted().get(&file).cloned()
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<Checksum, String>> {
        // An insertion is never half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dates of the Release files that the upstream of `job` has, once they are verified. Stores nothing.
///
/// # Errors
/// When one is missing or cannot be verified.
pub async fn release_dates(job: &Job, client: &Client) -> Result<Vec<(Suite, Option<Timestamp>)>, SyncError> {
    let archive = Archive::new(client.clone(), job.urls.clone());
    Ok(dates(&release::fetch_anew(job, &archive, &[]).await?.suites))
}

/// Takes the pool files, each path with its blob.
pub(super) async fn take_pool(transfer: &Transfer, pool: &[Want]) -> Result<Vec<(RepoPath, BlobFacts)>, SyncError> {
    let blobs = transfer.fetch(pool, Missing::Noted).await?;
    let (mut taken, mut absent) = (Vec::with_capacity(pool.len()), Vec::new());
    let mut told = HashSet::new();
    for (want, blob) in pool.iter().zip(blobs) {
        let path = want.paths[0].clone();
        match blob {
            Some(blob) => taken.push((path, blob)),
            // Several suites may list one file.
            None if !told.insert(&want.paths[0]) => {}
            None => absent.push(Absent {
                path,
                size: want.size,
                damage: transfer.damage(want.checksum),
            }),
        }
    }
    if absent.is_empty() {
        return Ok(taken);
    }
    Err(SyncError::Incomplete(Box::new(Incomplete {
        absent,
        listed: pool.len(),
        kept: transfer.transferred(),
    })))
}

//! Fetching single files again, by their digests: those that the cache has lost.
//!
//! Owns the way of a damaged blob's bytes from upstream back to their place. A file is asked for at every path at which the mirror
//! ever had these bytes, at each of its URLs, and taken if the bytes are right; what upstream lists by now does not matter.
//! It records no snapshot.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::{self, JoinSet};

use super::SyncError;
use super::download::{Downloaded, Downloads, Trouble};
use super::error::FileError;
use super::indices::Missing;
use super::plan::Want;
use super::report::Progress;
use super::store::{Dated, Store};
use crate::blobs::Sharing;
use crate::catalog::MirrorRow;
use crate::model::{BaseUrl, Checksum, Digest, MirrorId, RepoPath, Timestamp};
use crate::state::SyncLock;
use crate::upstream::{Archive, Client};

/// Files that are made durable together: few, so that an interruption loses little.
const BATCH: usize = 64;

/// Where to fetch from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The mirror.
    pub mirror: MirrorId,
    /// Upstream's archive root, at every place that has it, in the order to try.
    pub urls: Vec<BaseUrl>,
    /// Number of files fetched at the same time.
    pub connections: usize,
    /// The time of day.
    pub now: Timestamp,
}

/// A file that the cache has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Their length.
    pub size: u64,
    /// Its modification time.
    pub mtime: Timestamp,
    /// Where upstream may have it, in the order to try.
    pub paths: Vec<RepoPath>,
}

/// What came of a repair.
#[derive(Debug, Default)]
pub struct Repaired {
    /// The files that are in the cache again.
    pub fetched: Vec<Digest>,
    /// Those that could not be had, and why.
    pub failed: Vec<(Digest, FileError)>,
}

/// Fetches each of `lost` again. The mirror's lock stays held until the last file is kept. When `interrupted` becomes true,
/// stops at once and keeps every finished file.
///
/// # Errors
/// When our own disk or catalog fails. That upstream does not have a file is no error.
pub async fn repair(
    source: &Source,
    lost: Vec<Lost>,
    _lock: &SyncLock,
    client: &Client,
    store: &Arc<Store>,
    progress: &Arc<dyn Progress>,
    interrupted: &watch::Receiver<bool>,
) -> Result<Repaired, SyncError> {
    let mut stop = interrupted.clone();
    progress.stage(&source.mirror, "Fetching damaged files again");
    let bytes = lost.iter().map(|lost| lost.size).sum();
    progress.begin(lost.len() as u64, bytes);
    let round = Arc::new(Round {
        downloads: Downloads {
            archive: Arc::new(Archive::new(client.clone(), source.urls.clone())),
            inbox: Arc::new(store.inbox(&source.mirror)?),
            store: Arc::clone(store),
            progress: Arc::clone(progress),
            sharing: Sharing::Never,
            now: source.now,
        },
        store: Arc::clone(store),
        mirror: store.catalog().reader().mirror(&source.mirror)?,
        now: source.now,
        lost,
        next: AtomicUsize::new(0),
        outcome: Mutex::default(),
    });
    let work = round.run(source.connections);
    let worked = tokio::select! {
        worked = work => worked,
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    progress.end();
    // What has arrived is kept whatever has happened.
    let kept = round.keep(0).await;
    worked.and(kept)?;
    Ok(std::mem::take(&mut round.outcome().repaired))
}

/// Files that several workers fetch together.
struct Round {
    downloads: Downloads,
    store: Arc<Store>,
    mirror: MirrorRow,
    now: Timestamp,
    lost: Vec<Lost>,
    next: AtomicUsize,
    outcome: Mutex<Outcome>,
}

#[derive(Default)]
struct Outcome {
    arrived: Vec<Dated>,
    repaired: Repaired,
}

impl Round {
    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: &Arc<Self>, connections: usize) -> Result<(), SyncError> {
        let mut workers = JoinSet::new();
        for _ in 0..connections.min(self.lost.len()) {
            let round = Arc::clone(self);
            workers.spawn(async move { round.work().await });
        }
        while let Some(outcome) = workers.join_next().await {
            outcome.map_err(|_| SyncError::Worker)??;
        }
        Ok(())
    }

    /// Fetches one file after the other until none is left.
    async fn work(&self) -> Result<(), SyncError> {
        while let Some(lost) = self.lost.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            match self.fetch(lost).await {
                Ok(Downloaded { file, .. }) => {
                    self.outcome().arrived.push(file);
                    self.downloads.progress.file();
                    self.keep(BATCH).await?;
                }
                Err(Trouble::File(error)) => self.outcome().repaired.failed.push((lost.digest, error)),
                Err(Trouble::Local(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fetches a file from whichever path still has it. That other bytes are at one says nothing of the next.
    async fn fetch(&self, lost: &Lost) -> Result<Downloaded, Trouble> {
        let mut why_not = FileError::Missing;
        for path in &lost.paths {
            let want = Want {
                paths: vec![path.clone()],
                checksum: Checksum::Sha256(lost.digest),
                size: Some(lost.size),
                date: lost.mtime,
            };
            match self.downloads.fetch(&want, Missing::Refused).await {
                Ok(Some(came)) => return Ok(came),
                Ok(None) => {}
                Err(Trouble::File(error)) => why_not = error,
                Err(local) => return Err(local),
            }
        }
        Err(Trouble::File(why_not))
    }

    /// Makes what has arrived blobs again, if it is as many as `enough`.
    async fn keep(&self, enough: usize) -> Result<(), SyncError> {
        let batch = {
            let mut outcome = self.outcome();
            if outcome.arrived.len() < enough {
                return Ok(());
            }
            std::mem::take(&mut outcome.arrived)
        };
        if batch.is_empty() {
            return Ok(());
        }
        let (store, mirror, now) = (Arc::clone(&self.store), self.mirror, self.now);
        let kept = task::spawn_blocking(move || store.commit(mirror, batch, now)).await;
        let kept = kept.map_err(|_| SyncError::Worker)??;
        let digests = kept.into_iter().map(|blob| blob.digest);
        self.outcome().repaired.fetched.extend(digests);
        Ok(())
    }
}

//! What a sync would fetch, found out without storing anything.
//!
//! Owns the comparison of everything upstream lists with what the cache has. Release files and indices are fetched by the
//! very code of a sync, into stores of their own that the caller throws away; the real ones are only read.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::filtering::Filtered;
use super::plan::{self, Aliases};
use super::release::{self, SuiteRelease};
use super::report::{Progress, dates};
use super::store::Store;
use super::transfer::{Made, Transfer};
use super::{Job, SyncError, survey};
use crate::blobs::BlobStore;
use crate::catalog::{CatalogError, CatalogReader, MirrorRow, ReleaseFacts, SyncedState};
use crate::model::{BlobFacts, Checksum, Digest, MirrorId, Suite, Timestamp};
use crate::state::SyncLock;
use crate::upstream::{Archive, Client};

/// The real stores, for reading. Before the first sync there are none.
#[derive(Debug)]
pub struct Known {
    /// The catalog.
    pub catalog: CatalogReader,
    /// The blobs.
    pub blobs: BlobStore,
}

/// What a sync of one mirror would do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The mirror.
    pub mirror: MirrorId,
    /// Suites with the date of their Release files.
    pub releases: Vec<(Suite, Option<Timestamp>)>,
    /// Whether a snapshot would be recorded.
    pub changed: bool,
    /// The size in bytes of every content that would be fetched; 0 where no list tells it.
    pub fetch: HashMap<Checksum, u64>,
    /// The size in bytes of every index and Release file that the mirror would make itself and the cache lacks.
    pub make: HashMap<Checksum, u64>,
    /// Files that the cache has already.
    pub reused: u64,
}

/// Finds out what a sync of `job` would fetch. `scratch` is an empty store that is thrown away afterwards, and `lock` a
/// lock in its state directory.
///
/// # Errors
/// Whatever would make the sync fail before its first pool file.
pub async fn preview(
    job: &Job,
    lock: &Arc<SyncLock>,
    client: &Client,
    scratch: &Arc<Store>,
    known: Option<&Known>,
    progress: &Arc<dyn Progress>,
    interrupted: &watch::Receiver<bool>,
) -> Result<Preview, SyncError> {
    let mut stop = interrupted.clone();
    tokio::select! {
        outcome = look(job, lock, client, scratch, known, progress) => outcome,
        _ = stop.wait_for(|stop| *stop) => Err(SyncError::Interrupted),
    }
}

async fn look(
    job: &Job,
    lock: &Arc<SyncLock>,
    client: &Client,
    scratch: &Arc<Store>,
    known: Option<&Known>,
    progress: &Arc<dyn Progress>,
) -> Result<Preview, SyncError> {
    let mirror = scratch.catalog().adopt_mirror(&job.mirror)?;
    let archive = Arc::new(Archive::new(client.clone(), job.urls.clone()));
    let transfer = Transfer::begin(job, lock, &archive, scratch, mirror, progress).await?;
    progress.stage(&job.mirror, "Downloading Release files");
    let last = known.map_or(Ok(None), |known| known.last_state(job))?;
    let before = known.map_or(Ok(Vec::new()), |known| known.said_before(job))?;
    let releases = release::fetch_anew(job, &archive, &before).await?.suites;
    let mut preview = Preview {
        mirror: job.mirror.clone(),
        releases: dates(&releases),
        changed: false,
        fetch: HashMap::new(),
        make: HashMap::new(),
        reused: 0,
    };
    if let (Some(known), Some(last)) = (known, &last)
        && !job.force
        && known.has_synced(job, last, &releases)?
    {
        return Ok(preview);
    }
    preview.changed = true;
    let Filtered {
        indices, release_files, ..
    } = survey(job, mirror, &releases, &transfer, progress).await?;
    let content = |blob: BlobFacts| (Checksum::Sha256(blob.digest), blob.size);
    let (fetched, made): (Vec<_>, Vec<_>) = release_files.iter().partition(|file| file.fetched);
    let (rebuilt, served): (Vec<_>, Vec<_>) = indices
        .obtained
        .iter()
        .partition(|index| indices.made.contains(&index.blob.digest));
    let obtained = served.into_iter().chain(&indices.replaced).map(|index| index.blob);
    let fetched = fetched.into_iter().map(Made::facts).chain(obtained);
    let files = indices.pool.iter().chain(&indices.further);
    let files = files.map(|want| (want.checksum, want.size.unwrap_or(0)));
    let wanted: HashMap<Checksum, u64> = fetched.map(content).chain(files).collect();
    let made = made.into_iter().map(Made::facts);
    let made = made.chain(rebuilt.into_iter().map(|index| index.blob)).map(content);
    preview.reused = wanted.len() as u64;
    preview.fetch = lacking(known, wanted)?;
    preview.reused -= preview.fetch.len() as u64;
    preview.make = lacking(known, made.collect())?;
    Ok(preview)
}

/// What of `contents` the cache does not have.
fn lacking(known: Option<&Known>, contents: HashMap<Checksum, u64>) -> Result<HashMap<Checksum, u64>, CatalogError> {
    let Some(known) = known else { return Ok(contents) };
    let aliases = known.aliases(&contents)?;
    let mut lacking = HashMap::new();
    for (content, size) in contents {
        let digest = plan::digest_of(content, &aliases);
        if !digest.map_or(Ok(false), |digest| known.has(digest))? {
            lacking.insert(content, size);
        }
    }
    Ok(lacking)
}

impl Known {
    fn has(&self, digest: Digest) -> Result<bool, CatalogError> {
        let blob = self.catalog.blob(digest)?;
        Ok(blob.is_some_and(|blob| self.blobs.has(digest, blob.size)))
    }

    /// The digests of those of `wanted` that are known by SHA-512 hashes only.
    fn aliases(&self, wanted: &HashMap<Checksum, u64>) -> Result<Aliases, CatalogError> {
        let hashes = wanted.keys().filter_map(|content| match content {
            Checksum::Sha256(_) => None,
            Checksum::Sha512(hash) => Some(*hash),
        });
        self.catalog.digests_by_sha512(&hashes.collect())
    }

    fn mirror(&self, job: &Job) -> Result<Option<MirrorRow>, CatalogError> {
        match self.catalog.mirror(&job.mirror) {
            Err(CatalogError::UnknownMirror(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    fn last_state(&self, job: &Job) -> Result<Option<(MirrorRow, SyncedState)>, CatalogError> {
        let Some(mirror) = self.mirror(job)? else {
            return Ok(None);
        };
        Ok(self.catalog.last_state(mirror)?.map(|last| (mirror, last)))
    }

    fn said_before(&self, job: &Job) -> Result<Vec<ReleaseFacts>, CatalogError> {
        let mirror = self.mirror(job)?;
        mirror.map_or(Ok(Vec::new()), |mirror| {
            release::said_before(job, &self.catalog, mirror)
        })
    }

    /// Whether the mirror's last synced state was made of these very Release files.
    fn has_synced(
        &self,
        job: &Job,
        (mirror, last): &(MirrorRow, SyncedState),
        releases: &[SuiteRelease],
    ) -> Result<bool, SyncError> {
        for (suite, file) in releases
            .iter()
            .flat_map(|release| release.files.iter().map(|file| (&release.suite, file)))
        {
            let path = release::path_of(suite, &job.filtering.recorded_name(file.path.file_name()))?;
            if self.catalog.digest_at(*mirror, last.seq, &path)? != Some(Digest::of(&file.bytes)) {
                return Ok(false);
            }
        }
        Ok(last.selection == job.selection())
    }
}

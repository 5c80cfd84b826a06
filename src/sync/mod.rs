//! One mirror's sync: from upstream's Release files to a recorded snapshot.
//!
//! Owns the order of things and nothing of how they are done: Release files first and verified, then their indices,
//! then the pool files these name, then one transaction that records it all. Whatever fails before that transaction
//! changes nothing that anybody can see, and keeps what was fetched for the next attempt. It never decides where
//! pointers lead beyond what the job says, and prints nothing.

mod adopt;
mod batch;
mod download;
mod error;
mod filtering;
mod fit;
mod indices;
mod local;
mod plan;
mod plausible;
mod preview;
mod reading;
mod reindex;
mod release;
mod repair;
mod report;
mod store;
mod transfer;
mod wanted;

use std::sync::Arc;

use tokio::sync::watch;

pub use adopt::{Absent, Adoption, Incomplete, release_dates};
pub use error::{FileError, SyncError};
pub use filtering::Filtering;
pub use fit::{Load, reserve};
pub use plausible::{Acceptance, ChangedField};
pub use preview::{Known, Preview, preview};
pub use repair::{Lost, Repaired, Source as RepairSource, repair};
pub use report::{Outcome, Progress, SyncReport, Transferred};
pub use store::Store;

use crate::catalog::{CatalogError, MirrorRow, Prepared, Recorded, Recording, ReleaseFacts, Source, in_turn};
use crate::model::{
    Architecture, BaseUrl, Clock, Component, Content, Language, MirrorId, MoveTerms, Percent, Pointer, Shrink,
    SnapshotName, Suite, Timestamp, Translations,
};
use crate::signature::Keyring;
use crate::state::SyncLock;
use crate::upstream::{Archive, Client};
use filtering::Filtered;
use release::{Releases, SuiteRelease};
use transfer::Transfer;

/// How often a sync is begun in all when upstream publishes while it goes on.
const ATTEMPTS: u32 = 3;

/// What to sync, and what to do with the result.
#[derive(Debug, Clone)]
pub struct Job {
    /// The mirror.
    pub mirror: MirrorId,
    /// Upstream's archive root, at every place that has it, in the order to try.
    pub urls: Vec<BaseUrl>,
    /// Suites wanted.
    pub suites: Vec<Suite>,
    /// Components wanted of each suite; of a flat repository, none.
    pub components: Vec<Component>,
    /// Architectures wanted of each component.
    pub architectures: Vec<Architecture>,
    /// What is wanted of each suite besides packages.
    pub content: Content,
    /// Which of its packages are kept, and whether indices list these alone.
    pub filtering: Filtering,
    /// Whose signatures count.
    pub trust: Trust,
    /// The snapshot's name; a number is added when it is taken.
    pub name: SnapshotName,
    /// Pointers that move to a new snapshot in the transaction that records it.
    pub pointers: Vec<Pointer>,
    /// On which terms they move.
    pub terms: MoveTerms,
    /// Record a snapshot even if upstream has nothing new, and do not hold it.
    pub force: bool,
    /// What is accepted this once.
    pub accept: Acceptance,
    /// A listing that lost a larger share of its pool files is held.
    pub max_shrink: Percent,
    /// Most bytes that the snapshot may have.
    pub max_size: Option<u64>,
    /// Set when upstream is a tree that becomes a snapshot as it is.
    pub adoption: Option<Adoption>,
    /// Number of files fetched at the same time.
    pub connections: usize,
    /// Who syncs.
    pub actor: String,
    /// The time at which the sync begins.
    pub now: Timestamp,
    /// The time of day, for what is judged or recorded later.
    pub clock: Clock,
}

impl Job {
    /// What is selected from the archive, in one line: another selection means that an unchanged Release file still
    /// needs a sync. The order of the configuration does not matter.
    fn selection(&self) -> String {
        let list = |mut items: Vec<&str>| {
            items.sort_unstable();
            items.join(",")
        };
        let content = &self.content;
        let translations = match &content.translations {
            Translations::All => "*".to_owned(),
            Translations::Of(languages) => list(languages.iter().map(Language::as_str).collect()),
        };
        let switches = [
            ("sources", content.sources),
            ("contents", content.contents),
            ("appstream", content.appstream),
            ("command-not-found", content.command_not_found),
            ("installer", content.installer),
        ];
        let on = switches.into_iter().filter_map(|(name, on)| on.then_some(name));
        format!(
            "suites={} components={} architectures={} translations={translations} content={}{}",
            list(self.suites.iter().map(Suite::as_str).collect()),
            list(self.components.iter().map(Component::as_str).collect()),
            list(self.architectures.iter().map(Architecture::as_str).collect()),
            list(on.collect()),
            self.filtering.selection(),
        )
    }
}

/// Whose signatures on Release files count.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those by a key of this keyring.
    Keyring(Arc<Keyring>),
    /// Nobody's: the operator switched the check off.
    Unchecked,
}

/// Syncs one mirror, whose lock stays held until the last file is kept, even past an interruption. When `interrupted` becomes true, stops at once and keeps every finished file.
///
/// # Errors
/// Whatever keeps the mirror from being complete and verified; then no snapshot is recorded and no pointer moves.
pub async fn run(
    job: &Job,
    lock: &Arc<SyncLock>,
    client: &Client,
    store: &Arc<Store>,
    progress: &Arc<dyn Progress>,
    interrupted: &watch::Receiver<bool>,
) -> Result<SyncReport, SyncError> {
    let mut stop = interrupted.clone();
    tokio::select! {
        outcome = sync(job, lock, client, store, progress) => outcome,
        _ = stop.wait_for(|stop| *stop) => Err(SyncError::Interrupted),
    }
}

async fn sync(
    job: &Job,
    lock: &Arc<SyncLock>,
    client: &Client,
    store: &Arc<Store>,
    progress: &Arc<dyn Progress>,
) -> Result<SyncReport, SyncError> {
    let mirror = store.catalog().adopt_mirror(&job.mirror)?;
    let name = store.catalog().reader().free_name(mirror, &job.name)?;
    store.take_up_leased(mirror)?;
    let archive = Arc::new(Archive::new(client.clone(), job.urls.clone()));
    let transfer = Transfer::begin(job, lock, &archive, store, mirror, progress).await?;
    let mut attempt = 1;
    loop {
        progress.stage(&job.mirror, "Downloading Release files");
        let releases = release::fetch_all(job, &archive, store, mirror).await?;
        let is_whole = !store.catalog().reader().is_last_state_damaged(mirror)?;
        if !job.force && is_whole && releases.suites.iter().all(|release| !release.changed) {
            transfer.discard_incomplete();
            return unchanged(job, store, mirror, &releases);
        }
        match complete(job, store, (mirror, &name), progress, &releases, &transfer).await {
            Err(error) if error.may_come_from_publishing() && release::have_changed(&archive, &releases).await => {
                if attempt == ATTEMPTS {
                    return Err(SyncError::Unsteady(ATTEMPTS, Box::new(error)));
                }
                tracing::warn!(
                    "Upstream of {} has changed during the sync ({error}): starting again",
                    job.mirror
                );
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Fetches all that `releases` lead to, and records it.
async fn complete(
    job: &Job,
    store: &Arc<Store>,
    (mirror, name): (MirrorRow, &SnapshotName),
    progress: &Arc<dyn Progress>,
    releases: &Releases,
    transfer: &Transfer,
) -> Result<SyncReport, SyncError> {
    let surveyed = survey(job, mirror, &releases.suites, transfer, progress).await?;
    let Filtered {
        mut indices,
        release_files,
        absent,
    } = surveyed;
    progress.stage(&job.mirror, "Downloading packages");
    let pool = match job.adoption {
        Some(_) => adopt::take_pool(transfer, &indices.pool).await?,
        None => transfer.fetch_pool(&indices.pool).await?,
    };
    let further = transfer.fetch_pool(&indices.further).await?;
    indices.add_further(further);
    let release_files = transfer.keep_made(&release_files).await?;
    transfer.discard_incomplete();

    let listing = plan::listing(release_files, indices.obtained, pool)?;
    let now = job.clock.now();
    let prepared = store.catalog().prepare(&job.mirror, &listing, now)?;
    if prepared.is_unchanged() && !job.force {
        return unchanged(job, store, mirror, releases);
    }
    let held = shrink(job, store, mirror, &prepared)?;
    let recorded = record(job, store, (mirror, name), &prepared, releases, (held, absent), now)?;
    let fetched = transfer.transferred();
    Ok(SyncReport::recorded(
        job,
        &releases.suites,
        &listing,
        recorded,
        fetched,
        held,
        absent,
    ))
}

/// What the new listing is held for: it lost too much against the last one that was not held. A state of another
/// selection says nothing about this one.
fn shrink(job: &Job, store: &Store, mirror: MirrorRow, prepared: &Prepared) -> Result<Option<Shrink>, SyncError> {
    let accepted = store.catalog().reader().last_accepted(mirror)?;
    let comparable = accepted.filter(|accepted| !job.force && accepted.selection == job.selection());
    Ok(comparable.and_then(|accepted| Shrink::beyond(job.max_shrink, accepted.pool_files, prepared.pool_files())))
}

fn unchanged(job: &Job, store: &Store, mirror: MirrorRow, releases: &Releases) -> Result<SyncReport, SyncError> {
    note_unchanged(job, store, mirror, releases)?;
    let held = store.catalog().reader().last_held(mirror)?;
    Ok(SyncReport::unchanged(job, &releases.suites, held))
}

/// Everything that is wanted of what upstream lists, as it is known before the first pool file is fetched.
async fn survey<'r>(
    job: &Job,
    mirror: MirrorRow,
    releases: &'r [SuiteRelease],
    transfer: &Transfer,
    progress: &Arc<dyn Progress>,
) -> Result<Filtered<'r>, SyncError> {
    progress.stage(&job.mirror, "Downloading package indices");
    let indices = indices::fetch_all(job, releases, transfer).await?;
    let filtered = filtering::apply(job, mirror, releases, indices, transfer).await?;
    let release_files = filtered
        .release_files
        .iter()
        .map(|file| (file.path.clone(), file.facts()));
    plan::check(
        release_files.collect(),
        &filtered.indices.obtained,
        &filtered.indices.pool,
    )?;
    fit::within(job.max_size, &filtered.indices.obtained, &filtered.indices.pool)?;
    Ok(filtered)
}

fn note_unchanged(job: &Job, store: &Store, mirror: MirrorRow, releases: &Releases) -> Result<(), SyncError> {
    let source = Source {
        url: &releases.url.to_string(),
        selection: &job.selection(),
        releases: &facts(&releases.suites),
    };
    Ok(store.catalog().note_unchanged(mirror, &source, job.clock.now())?)
}

fn facts(releases: &[SuiteRelease]) -> Vec<ReleaseFacts> {
    releases.iter().map(|release| release.facts.clone()).collect()
}

/// Makes the listing's manifest durable and records both. A name that somebody took during the download gives way to
/// the next free one.
fn record(
    job: &Job,
    store: &Store,
    (mirror, name): (MirrorRow, &SnapshotName),
    prepared: &Prepared,
    releases: &Releases,
    (held, absent): (Option<Shrink>, u64),
    now: Timestamp,
) -> Result<(SnapshotName, Recorded), SyncError> {
    let mut name = name.clone();
    let manifest = store.keep_manifest(mirror, &job.mirror, prepared.manifest(), now)?;
    let (url, selection, releases) = (releases.url.to_string(), job.selection(), facts(&releases.suites));
    loop {
        let outcome = in_turn(&job.clock, |turn, in_turn| {
            let what = Recording {
                manifest,
                name: &name,
                source: Source {
                    url: &url,
                    selection: &selection,
                    releases: &releases,
                },
                held,
                absent,
                pointers: &job.pointers,
                terms: job.terms,
                actor: &job.actor,
                created_at: job.adoption.and_then(|adoption| adoption.created_at).unwrap_or(turn),
                now: turn,
                in_turn,
            };
            store.catalog().record(prepared, &what)
        });
        match outcome {
            Ok(recorded) => return Ok((name, recorded)),
            Err(CatalogError::SnapshotExists { .. }) => {
                name = store.catalog().reader().free_name(mirror, &job.name)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

//! Giving disk space back: condemn what nothing needs, wait, sweep.
//!
//! Owns the acts of pruning and of garbage collection; the rule of pruning is `policy`. Pruning forgets snapshots and
//! never touches a blob. Collecting removes only blobs that the catalog has rows for, after a grace period in which
//! readers finish, and never one that a mount still holds open.

use std::collections::HashSet;
use std::path::Path;

use super::guard::Wipe;
use super::inventories;
use super::leftovers::{self, Unfinished};
use super::policy::{Candidate, PrunePlan, PrunePolicy, plan};
use crate::blobs::{BlobError, BlobStore};
use crate::catalog::{BlobRow, Catalog, CatalogError, CatalogReader, Condemned, Marked, SnapshotRecord, SnapshotRow};
use crate::control::{self, ControlError, Reply, Request};
use crate::model::{MirrorId, SnapshotName, Timestamp};
use crate::state::{GcLock, StateDir, StateError};

/// Blobs removed in one transaction: some milliseconds of unlinking, so that no command waits noticeably.
const BATCH: u32 = 256;

/// Why disk space could not be given back.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The catalog failed.
    #[error("the catalog failed")]
    Catalog(#[from] CatalogError),
    /// A mirror was not forgotten.
    #[error(transparent)]
    Forget(CatalogError),
    /// It would remove more than half of the cache, and has no force.
    #[error("more than half of the cache would be removed; nothing was removed")]
    Wipe(Wipe),
    /// A blob or an unfinished file could not be removed.
    #[error("a file could not be removed")]
    Blobs(#[from] BlobError),
    /// The state directory failed.
    #[error("the state directory failed")]
    State(#[from] StateError),
    /// It is unknown which mounts there are or what they hold.
    #[error("the mounts could not be asked which blobs they hold; nothing was removed")]
    Mounts(#[from] ControlError),
    /// A mount answered something else than which blobs it holds.
    #[error("the mount at {0} gave an answer to another question; nothing was removed")]
    WrongAnswer(String),
    /// A mount did not say which blobs it holds.
    #[error("the mount at {mount} did not say which blobs it holds; nothing was removed")]
    SilentMount {
        /// Where it is mounted.
        mount: String,
        /// Why not.
        source: ControlError,
    },
}

/// What pruning one mirror came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// The mirror.
    pub mirror: MirrorId,
    /// The verdict on every snapshot.
    pub plan: PrunePlan,
    /// What nothing needs any more, of all mirrors together; swept after the grace period.
    pub unused: Marked,
}

/// What `policy` would do to `mirror`'s snapshots.
///
/// # Errors
/// When the catalog cannot be read or the mirror has never been synced.
pub fn plan_prune(
    reader: &CatalogReader,
    mirror: &MirrorId,
    policy: &PrunePolicy,
    now: Timestamp,
) -> Result<Pruned, CatalogError> {
    let row = reader.mirror(mirror)?;
    let lenders = reader.lenders(row, now)?;
    let lent: HashSet<SnapshotRow> = lenders
        .iter()
        .flat_map(|lenders| &lenders.generations)
        .map(|generation| generation.snapshot_row)
        .collect();
    let snapshots = reader.snapshots(row)?;
    let candidates: Vec<Candidate> = snapshots
        .iter()
        .map(|snapshot| candidate(snapshot, lent.contains(&snapshot.row)))
        .collect();
    Ok(Pruned {
        mirror: mirror.clone(),
        plan: plan(&candidates, policy, now),
        unused: reader.unused()?,
    })
}

/// Forgets the snapshots of `mirror` that `policy` does not keep, in one transaction.
///
/// # Errors
/// When the catalog cannot be read or written. A pointer that moves to a snapshot meanwhile keeps all of them.
pub fn prune(
    catalog: &mut Catalog,
    mirror: &MirrorId,
    policy: &PrunePolicy,
    now: Timestamp,
) -> Result<Pruned, CatalogError> {
    let mut pruned = plan_prune(catalog.reader(), mirror, policy, now)?;
    let names: Vec<SnapshotName> = pruned.plan.deleted().map(|verdict| verdict.name.clone()).collect();
    if !names.is_empty() {
        catalog.delete_snapshots(mirror, &names, false, now)?;
        pruned.unused = catalog.reader().unused()?;
    }
    Ok(pruned)
}

fn candidate(snapshot: &SnapshotRecord, lent: bool) -> Candidate {
    Candidate {
        name: snapshot.name.clone(),
        seq: snapshot.row.number(),
        created: snapshot.created_at,
        staged: snapshot.is_staged(),
        current: snapshot.is_current(),
        elsewhere: snapshot.is_elsewhere(),
        lent,
        protected: snapshot.protected,
    }
}

/// How garbage is collected. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcPolicy {
    /// How long a blob stays after it was condemned.
    pub grace: i64,
    /// How long the files of a failed sync are kept for the next one.
    pub keep_partial: i64,
    /// Most blobs to remove; the rest is left for the next time.
    pub at_most: u64,
    /// Whether it may remove more than half of the cache.
    pub force: bool,
}

/// What one collection came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// What was removed, or would be.
    pub swept: Marked,
    /// What was found to be unused for the first time, or would be; among the waiting, unless there is no grace.
    pub marked: Marked,
    /// What is condemned and waits for its grace to end.
    pub waiting: Marked,
    /// When the grace of the first and of the last of these ends.
    pub waits_until: Option<(Timestamp, Timestamp)>,
    /// What stays because a mount has it open.
    pub held: Marked,
    /// Files of failed syncs that were removed, or would be; never in the cache, and so not among the swept.
    pub discarded: Marked,
    /// Inventories of indices that went, or would go; not in the cache either.
    pub inventories: Marked,
    /// Files of failed syncs that stay for the next one of their mirror, and those of syncs that run.
    pub unfinished: Marked,
    /// Why only force removes it; for what is foretold.
    pub wipe: Option<Wipe>,
}

impl Collected {
    /// All that was removed, or would be.
    #[must_use]
    pub fn removed(&self) -> Marked {
        sum(sum(self.swept, self.discarded), self.inventories)
    }

    pub(super) fn with(self, unfinished: Unfinished) -> Self {
        Self {
            discarded: unfinished.removed,
            unfinished: unfinished.kept,
            ..self
        }
    }
}

/// Clears what is left of forgotten mirrors, condemns what nothing needs and removes what was condemned a grace period ago,
/// the inventories of what is gone, and what failed syncs left and no sync has touched for as long as such files are kept.
///
/// # Errors
/// When something fails; what was removed until then is gone, and everything still needed is there.
pub fn collect(
    state: &StateDir,
    catalog: &mut Catalog,
    blobs: &BlobStore,
    run: &Path,
    policy: &GcPolicy,
    now: Timestamp,
    _lock: &GcLock,
) -> Result<Collected, RetentionError> {
    catalog.clear_forgotten()?;
    let syncing = state.syncing(catalog.reader().known_mirrors()?)?;
    take_up_leased(catalog, blobs, &syncing)?;
    catalog.correct_times(now)?;
    catalog.expire_leases(now.plus(-policy.keep_partial), &syncing)?;
    let until = now.plus(-policy.grace);
    let mut collected = Collected {
        marked: catalog.reader().unnoticed()?,
        ..Collected::default()
    };
    catalog.condemn_unused(now)?;
    let mut held = HashSet::new();
    if !catalog.reader().condemned(until, 1)?.is_empty() {
        held = held_by_mounts(run, state)?;
        if !policy.force {
            refuse_wipe(catalog.reader(), until, &held)?;
        }
        collected.swept = sweep(catalog, blobs, (now, until), &held, policy.at_most)?;
    }
    collected.inventories = inventories::discard(state, catalog.reader())?;
    let collected = finish(catalog, (until, policy.grace), &held, collected)?;
    Ok(collected.with(leftovers::discard(state, now.plus(-policy.keep_partial))?))
}

/// Refuses to remove more than half of the cache, however many times that would take.
fn refuse_wipe(reader: &CatalogReader, until: Timestamp, held: &HashSet<BlobRow>) -> Result<(), RetentionError> {
    let mut due = reader.condemned(until, u32::MAX)?;
    due.retain(|blob| !held.contains(&blob.row));
    match wipe(reader, total(&due))? {
        Some(wipe) => Err(RetentionError::Wipe(wipe)),
        None => Ok(()),
    }
}

/// The wipe that removing `going` is, if it is one.
pub(super) fn wipe(reader: &CatalogReader, going: Marked) -> Result<Option<Wipe>, CatalogError> {
    // Counting the cache reads every row of it, for which there is most often no reason.
    if Wipe::is_little(going) {
        return Ok(None);
    }
    let (blobs, bytes) = reader.blob_totals()?;
    Ok(Wipe::of(going, Marked { blobs, bytes }))
}

/// Removes what was condemned at or before `until`, other than what is `held`, and what becomes unused by that.
fn sweep(
    catalog: &mut Catalog,
    blobs: &BlobStore,
    (now, until): (Timestamp, Timestamp),
    held: &HashSet<BlobRow>,
    at_most: u64,
) -> Result<Marked, RetentionError> {
    let mut all = Marked::default();
    loop {
        let batch = next_batch(catalog, until, held, at_most.saturating_sub(all.blobs))?;
        if batch.is_empty() {
            return Ok(all);
        }
        let swept = catalog.sweep(&batch, until, |digest| {
            blobs.remove(digest).map_err(RetentionError::from)
        })?;
        all = sum(all, swept);
        // Removing a manifest can make the one it builds on unused.
        catalog.condemn_unused(now)?;
    }
}

/// Gives rows to files that killed syncs placed and did not record, so that they can be condemned one day.
fn take_up_leased(catalog: &mut Catalog, blobs: &BlobStore, syncing: &[MirrorId]) -> Result<(), RetentionError> {
    for id in catalog.reader().known_mirrors()? {
        if !syncing.contains(&id) {
            take_up_leased_by(catalog, blobs, &id)?;
        }
    }
    Ok(())
}

/// As [`take_up_leased`], for the syncs of one mirror. One that was forgotten meanwhile has none.
pub(super) fn take_up_leased_by(
    catalog: &mut Catalog,
    blobs: &BlobStore,
    mirror: &MirrorId,
) -> Result<(), RetentionError> {
    let row = match catalog.reader().mirror(mirror) {
        Err(CatalogError::UnknownMirror(_)) => return Ok(()),
        found => found?,
    };
    let leased = catalog.reader().leased_without_row(row)?;
    let found = leased.into_iter().filter_map(|digest| blobs.find(digest));
    let (found, hashes): (Vec<_>, Vec<_>) = found
        .map(|(blob, hash)| (blob, hash.map(|hash| (blob.digest, hash))))
        .unzip();
    let hashes: Vec<_> = hashes.into_iter().flatten().collect();
    if !found.is_empty() {
        blobs.sync()?;
        catalog.add_hashed_blobs(&found, &hashes)?;
    }
    Ok(())
}

fn next_batch(
    catalog: &Catalog,
    until: Timestamp,
    held: &HashSet<BlobRow>,
    room: u64,
) -> Result<Vec<Condemned>, CatalogError> {
    // Held ones are few and stay condemned, so they are read again each time and left out.
    let some = BATCH.saturating_add(u32::try_from(held.len()).unwrap_or(u32::MAX));
    let mut batch = catalog.reader().condemned(until, some)?;
    batch.retain(|blob| !held.contains(&blob.row));
    batch.truncate(usize::try_from(room.min(u64::from(BATCH))).unwrap_or(usize::MAX));
    Ok(batch)
}

fn finish(
    catalog: &Catalog,
    (until, grace): (Timestamp, i64),
    held: &HashSet<BlobRow>,
    mut collected: Collected,
) -> Result<Collected, RetentionError> {
    catalog.reader().at_once(|reader| {
        if !held.is_empty() {
            let mut due = reader.condemned(until, u32::MAX)?;
            due.retain(|blob| held.contains(&blob.row));
            collected.held = total(&due);
        }
        collected.waiting = minus(reader.unused()?, collected.held);
        let waits = reader.condemned_after(until)?;
        collected.waits_until = waits.map(|(first, last)| (first.plus(grace), last.plus(grace)));
        Ok(())
    })?;
    Ok(collected)
}

/// The blobs that live mounts have open. A mount that does not answer may hold anything.
fn held_by_mounts(run: &Path, state: &StateDir) -> Result<HashSet<BlobRow>, RetentionError> {
    let mut held = HashSet::new();
    for (mount, outcome) in control::tell_all(run, state.root(), Request::HeldBlobs, control::DEADLINE)? {
        let silent = |source| RetentionError::SilentMount {
            mount: mount.to_string(),
            source,
        };
        match outcome.map_err(silent)? {
            Reply::HeldBlobs(blobs) => held.extend(blobs.into_iter().map(|blob| BlobRow::from_number(blob.into()))),
            Reply::Done | Reply::Status(_) => return Err(RetentionError::WrongAnswer(mount.to_string())),
        }
    }
    Ok(held)
}

fn total(blobs: &[Condemned]) -> Marked {
    Marked {
        blobs: blobs.len() as u64,
        bytes: blobs.iter().map(|blob| blob.size).sum(),
    }
}

fn sum(a: Marked, b: Marked) -> Marked {
    Marked {
        blobs: a.blobs + b.blobs,
        bytes: a.bytes + b.bytes,
    }
}

fn minus(a: Marked, b: Marked) -> Marked {
    Marked {
        blobs: a.blobs.saturating_sub(b.blobs),
        bytes: a.bytes.saturating_sub(b.bytes),
    }
}

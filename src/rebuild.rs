//! Making the catalog anew when it is damaged: from its ledger and the manifests, or from a copy, and never from upstream.
//!
//! Owns the order of that: nobody syncs or collects, nobody writes to the old catalog; the new one is made beside it, compared
//! with the files that lie in the cache, and takes its place in one step. It removes no blob and fetches nothing.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::blobs::{BlobError, BlobStore};
use crate::catalog::{CatalogError, Health, Held, Ledger, Making, Rebuilt, examine, read_ledger};
use crate::model::{Digest, MirrorId, Timestamp};
use crate::state::{GcLock, StateDir, StateError, SyncLock};

/// Longest manifest that is read, in bytes: ten times that of the largest archives.
const LONGEST_MANIFEST: u64 = 256 << 20;

/// Why the catalog was not made anew.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A catalog failed: the one that is there, or the one that was made.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The cache failed.
    #[error("the cache of files cannot be looked through")]
    Blobs(#[from] BlobError),
    /// The state directory failed, or somebody is working in it.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no ledger.
    #[error("there is no ledger in {}, so the catalog cannot be made from it", .0.display())]
    NoLedger(PathBuf),
    /// The ledger cannot be read.
    #[error("the ledger beside the catalog cannot be read")]
    Ledger(#[source] io::Error),
    /// Nothing was ever recorded there.
    #[error("nothing was recorded in {} yet", .0.display())]
    Nothing(PathBuf),
}

/// What the catalog is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The ledger beside it, and manifests.
    Ledger,
    /// A copy of it.
    Copy(PathBuf),
}

/// How the catalog shall be made anew.
#[derive(Debug, Clone)]
pub struct Rebuilding {
    /// From what.
    pub source: Source,
    /// Even if nothing is wrong with the one that is there.
    pub force: bool,
    /// Read every file and hash it again.
    pub deep: bool,
    /// The mirrors that are configured.
    pub mirrors: Vec<MirrorId>,
    /// The time of day.
    pub now: Timestamp,
}

/// Files of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Files {
    /// Their number.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Files {
    fn add(&mut self, size: u64) {
        self.files += 1;
        self.bytes += size;
    }
}

/// What came of it, or would come.
#[derive(Debug, Default)]
pub struct Done {
    /// What is wrong with the catalog that was there; `None` when nothing is.
    pub damage: Option<String>,
    /// Whether another catalog has taken its place, or would.
    pub rebuilt: bool,
    /// What could be made of ledger and manifests.
    pub contents: Option<Rebuilt>,
    /// Lines of the ledger that are damaged.
    pub damaged_lines: u64,
    /// Files that snapshots have, and that are not in the cache or not whole.
    pub missing: Files,
    /// The snapshots that have such files, as mirror and name.
    pub incomplete: BTreeSet<(String, String)>,
    /// Files in the cache that no snapshot has: used again or collected.
    pub unlisted: Files,
    /// Where the old catalog is now.
    pub aside: Option<PathBuf>,
    /// The generation of the new one.
    pub generation: Option<String>,
}

impl Done {
    /// Whether all is there that was.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let all = |contents: &Rebuilt| contents.lost.is_empty() && contents.left_out == 0;
        self.damaged_lines == 0 && self.missing.files == 0 && self.contents.as_ref().is_none_or(all)
    }
}

/// Nobody works in the state directory meanwhile.
struct Alone {
    _syncs: Vec<SyncLock>,
    _gc: GcLock,
    _catalog: Held,
}

impl Alone {
    /// # Errors
    /// When somebody does.
    fn in_state(state: &StateDir, mirrors: impl IntoIterator<Item = MirrorId>) -> Result<Self, RebuildError> {
        let mirrors: BTreeSet<MirrorId> = mirrors.into_iter().collect();
        let syncs = mirrors.iter().map(|mirror| state.lock_sync(mirror));
        Ok(Self {
            _syncs: syncs.collect::<Result<_, _>>()?,
            _gc: state.lock_gc()?,
            _catalog: Held::take(&state.catalog())?,
        })
    }
}

/// Says what would come of making the catalog anew from ledger and manifests; changes nothing.
///
/// # Errors
/// When it could not be made, or is that of a newer program.
pub fn plan(state: &StateDir, blobs: &BlobStore, how: &Rebuilding) -> Result<Done, RebuildError> {
    let Some(mut done) = needed(state, how)? else {
        return Ok(Done::default());
    };
    let ledger = ledger(state)?.ok_or_else(|| RebuildError::NoLedger(state.root().to_owned()))?;
    let mut making = from_ledger(state, blobs, &ledger, None, &mut done)?;
    compare(&mut making, blobs, how.deep, &mut done)?;
    Ok(done)
}

/// Makes the catalog anew where it is damaged, or in any case with force.
///
/// # Errors
/// When it cannot be made, is that of a newer program, or somebody is syncing or collecting. Then the one that was there is where
/// it was, or aside.
pub fn rebuild(state: &StateDir, blobs: &BlobStore, how: &Rebuilding) -> Result<Done, RebuildError> {
    let ledger = ledger(state)?;
    let known = ledger.iter().flat_map(Ledger::mirrors);
    let alone = Alone::in_state(state, how.mirrors.iter().cloned().chain(known))?;
    let Some(mut done) = needed(state, how)? else {
        return Ok(Done::default());
    };
    let new = state.catalog().with_extension("db.rebuilt");
    let mut making = match &how.source {
        Source::Ledger => {
            let ledger = ledger.ok_or_else(|| RebuildError::NoLedger(state.root().to_owned()))?;
            from_ledger(state, blobs, &ledger, Some(&new), &mut done)?
        }
        Source::Copy(copy) => Making::from_copy(&new, &state.catalog(), copy, ledger.as_ref())?,
    };
    compare(&mut making, blobs, how.deep, &mut done)?;
    done.generation = Some(making.generation()?);
    done.aside = making.take_place(&state.catalog(), how.now)?;
    drop(alone);
    Ok(done)
}

/// What is wrong with the catalog, if it is to be made anew.
fn needed(state: &StateDir, how: &Rebuilding) -> Result<Option<Done>, RebuildError> {
    let damage = match (examine(&state.catalog())?, &how.source) {
        (Health::Damaged(error), _) => Some(in_one_line(&error)),
        (Health::Sound, Source::Copy(_)) => None,
        (Health::Sound, Source::Ledger) if how.force => None,
        (Health::Sound, Source::Ledger) => return Ok(None),
        (Health::Nothing, Source::Copy(_)) => Some("there is none".to_owned()),
        (Health::Nothing, Source::Ledger) => return Err(RebuildError::Nothing(state.root().to_owned())),
    };
    Ok(Some(Done {
        damage,
        rebuilt: true,
        ..Done::default()
    }))
}

fn in_one_line(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn ledger(state: &StateDir) -> Result<Option<Ledger>, RebuildError> {
    read_ledger(&state.catalog()).map_err(RebuildError::Ledger)
}

fn from_ledger(
    state: &StateDir,
    blobs: &BlobStore,
    ledger: &Ledger,
    new: Option<&Path>,
    done: &mut Done,
) -> Result<Making, RebuildError> {
    let mut load = |digest| manifest(blobs, digest);
    let (making, contents) = Making::from_ledger(new, &state.catalog(), ledger, &mut load)?;
    done.damaged_lines = ledger.damaged_lines;
    done.contents = Some(contents);
    Ok(making)
}

/// The bytes of a manifest, as they lie there.
fn manifest(blobs: &BlobStore, digest: Digest) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = blobs.read(digest).ok()?;
    file.take(LONGEST_MANIFEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Compares what snapshots have with what lies in the cache, and takes up what only the cache has.
fn compare(making: &mut Making, blobs: &BlobStore, deep: bool, done: &mut Done) -> Result<(), RebuildError> {
    let present = blobs.present()?;
    let mut needed = HashMap::new();
    making.needed_blobs(|digest, size| {
        needed.insert(digest, size);
    })?;
    let mut missing = Vec::new();
    let mut hashed = Vec::new();
    for (digest, size) in &needed {
        let is_there = present.get(digest) == Some(size);
        let found = (is_there && deep).then(|| blobs.find(*digest)).flatten();
        if !is_there || (deep && found.is_none()) {
            missing.push(*digest);
            done.missing.add(*size);
        }
        hashed.extend(found);
    }
    let mut unlisted: Vec<Digest> = present
        .into_keys()
        .filter(|digest| !needed.contains_key(digest))
        .collect();
    unlisted.sort_unstable();
    // What is not whole is nobody's: it gets no row, as if a sync had died over it.
    let found: Vec<_> = unlisted.into_iter().filter_map(|digest| blobs.find(digest)).collect();
    for (blob, _) in &found {
        done.unlisted.add(blob.size);
    }
    hashed.extend(found);
    blobs.sync()?;
    making.take_up(&hashed)?;
    done.incomplete = making.snapshots_with(&missing)?;
    Ok(())
}

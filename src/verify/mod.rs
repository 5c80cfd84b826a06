//! Checking that everything stored is whole.
//!
//! Owns what is looked at and in which order: the catalog by itself, then the file of every blob, then what lies in the
//! directories of blobs besides. A blob that is damaged is marked in the catalog, its file is put aside, and running mounts
//! are told, so that from then on reading it fails; what is whole again loses its mark. It removes nothing and fetches nothing:
//! that is `sync`'s part.
//!
//! It takes no lock, and may run beside syncs, collections and pointer moves: whatever it acts on, it looks at again inside
//! the transaction that records it. Killed at any step, it leaves what the next run finds: a bad file that was moved and not
//! marked is missing then, and one that was marked and not moved is still bad.

mod files;
mod pace;
mod strays;

use std::io;
use std::num::NonZeroU64;
use std::path::Path;

use crate::blobs::{BlobError, BlobStore, Quarantine};
use crate::catalog::{Catalog, CatalogError, CatalogReader, Marked, Soundness, Suspect};
use crate::control::{self, ControlError, LiveMount, Request};
use crate::model::{Clock, Digest, MirrorId, Part, Timestamp};
use crate::state::StateDir;

/// What is to be checked, and how.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Whether every file is read and hashed again.
    pub deep: bool,
    /// The part of the cache.
    pub part: Part,
    /// The mirrors whose files are checked, sorted; `None` for the whole cache.
    pub mirrors: Option<Vec<MirrorId>>,
    /// Most bytes that are read in a second; `None` for no limit.
    pub rate: Option<NonZeroU64>,
    /// Number of files that are looked at at the same time.
    pub threads: usize,
    /// Whether files with right bytes and a wrong mode get the right one.
    pub mend: bool,
}

/// Where it looks, and whom it tells.
#[derive(Debug)]
pub struct Stores<'a> {
    /// The state directory.
    pub state: &'a StateDir,
    /// The catalog.
    pub catalog: &'a mut Catalog,
    /// The blobs.
    pub blobs: &'a BlobStore,
    /// The directory in which running mounts registered.
    pub run: &'a Path,
}

/// Hears what a running check does. Called from several threads.
pub trait Watch: Sync {
    /// So many files with so many bytes will be looked at.
    fn begin(&self, files: u64, bytes: u64);
    /// So many bytes more are done.
    fn bytes(&self, bytes: u64);
    /// It is over.
    fn end(&self);
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Verified {
    /// What is wrong with the catalog.
    pub soundness: Soundness,
    /// How much was looked at.
    pub checked: Marked,
    /// When the run was begun that this one went on with.
    pub went_on: Option<Timestamp>,
    /// Whether somebody stopped it before its end.
    pub stopped: bool,
    /// Blobs that were found damaged, and were not known to be.
    pub found: Vec<Suspect>,
    /// Blobs that were marked as damaged and are whole.
    pub healed: Vec<Digest>,
    /// Blobs with right bytes and a wrong mode, and whether they have the right one now.
    pub wrong_modes: Vec<(Digest, bool)>,
    /// What lies in the directories of blobs and belongs to nobody, by its path below the cache.
    pub strays: Vec<String>,
    /// Mounts that may still show what is damaged.
    pub unseen: Vec<Unseen>,
}

/// A mount that was not told of damage.
#[derive(Debug)]
pub struct Unseen {
    /// The mount.
    pub mount: LiveMount,
    /// Why not.
    pub error: ControlError,
}

/// Why a check came to no end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The catalog failed.
    #[error("the catalog failed")]
    Catalog(#[from] CatalogError),
    /// The directories of blobs cannot be read.
    #[error("the blob store failed")]
    Blobs(#[from] BlobError),
    /// A file could not be looked at, for a reason that says nothing of the file.
    #[error("blob {digest} could not be looked at")]
    Look {
        /// The blob.
        digest: Digest,
        /// Why not.
        source: io::Error,
    },
    /// No blob is there, which is no damage to single files.
    #[error("the cache is empty, and {blobs} files should be in it")]
    NoBlobs {
        /// How many the catalog knows.
        blobs: u64,
    },
    /// It is unknown which mounts there are.
    #[error("the mounts could not be told what is damaged")]
    Mounts(#[from] ControlError),
}

/// Checks what `wish` says, until the end or until `stop` says so.
///
/// # Errors
/// When it cannot go on. What was found until then is marked.
pub fn run(
    stores: &mut Stores<'_>,
    wish: &Wish,
    clock: &Clock,
    watch: &dyn Watch,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Verified, VerifyError> {
    let soundness = stores.catalog.reader().soundness()?;
    if soundness.is_broken {
        return Ok(Verified {
            soundness,
            ..Verified::default()
        });
    }
    refuse_an_empty_cache(stores)?;
    let quarantine = Quarantine::open(&stores.state.quarantine())?;
    let mut verified = files::check(stores, &quarantine, wish, clock, (watch, stop))?;
    verified.soundness = soundness;
    if wish.mirrors.is_none() && !verified.stopped {
        verified.strays = strays::find(stores.catalog.reader(), stores.blobs, wish.part)?;
    }
    Ok(verified)
}

/// A file system that is not mounted must not make every file of it damaged.
fn refuse_an_empty_cache(stores: &Stores<'_>) -> Result<(), VerifyError> {
    let (blobs, _) = stores.catalog.reader().blob_totals()?;
    if blobs > 0 && stores.blobs.is_empty()? {
        return Err(VerifyError::NoBlobs { blobs });
    }
    Ok(())
}

/// Makes every running mount forget what it remembers of blobs that are damaged now, or were until now; answers those that
/// have not done so.
///
/// # Errors
/// When it cannot be known which mounts there are.
pub fn tell(run: &Path, state: &Path) -> Result<Vec<Unseen>, ControlError> {
    let told = control::tell_all(run, state, Request::Damage, control::DEADLINE)?;
    let unseen = told
        .into_iter()
        .filter_map(|(mount, outcome)| outcome.err().map(|error| Unseen { mount, error }));
    Ok(unseen.collect())
}

/// The word by which a run over these mirrors is known.
fn scope(mirrors: Option<&[MirrorId]>) -> String {
    let names = mirrors.unwrap_or_default().iter().map(MirrorId::as_str);
    names.collect::<Vec<_>>().join(" ")
}

/// The rows of `mirrors`, without those that were never synced.
fn rows(reader: &CatalogReader, mirrors: &[MirrorId]) -> Result<Vec<crate::catalog::MirrorRow>, CatalogError> {
    let found = mirrors.iter().map(|mirror| match reader.mirror(mirror) {
        Err(CatalogError::UnknownMirror(_)) => Ok(None),
        found => found.map(Some),
    });
    found.filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests;

//! The indices of the wanted suites: fetched in every form upstream offers, and read for the files they name.
//!
//! Owns the rule that a listed variant may be absent as long as one variant of its index can be had. An index of which none
//! can be had fails the sync, unless no client asks for it: then it is left out.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::plan::{ObtainedIndex, Want};
use super::reading::{Form, Named, Reading};
use super::release::{SuiteRelease, path_of};
use super::transfer::Transfer;
use super::{Job, SyncError};
use crate::apt::{self, Selection, Variant, WantedIndex};
use crate::catalog::Uncompressed;
use crate::model::{BlobFacts, Digest, RepoPath, Timestamp};

/// Indices read at the same time: each may take 128 MiB for its decompressor, and two keep two cores busy.
const READ_AT_ONCE: usize = 2;

/// What the indices of all suites come to.
#[derive(Debug, Default)]
pub(super) struct Indices {
    /// The variants upstream offers, and the further files once they are fetched.
    pub(super) obtained: Vec<ObtainedIndex>,
    /// Those of upstream that were obtained and are not served, because the mirror has made its own of them.
    pub(super) replaced: Vec<ObtainedIndex>,
    /// The contents of those that it has made.
    pub(super) made: HashSet<Digest>,
    /// The pool files they name.
    pub(super) pool: Vec<Want>,
    /// The files they name that are served as if the Release file listed them: no pool file, and found by no hash.
    pub(super) further: Vec<Want>,
    uncompressed: Vec<Uncompressed>,
}

impl Indices {
    /// Adds the further files, which are there now.
    pub(super) fn add_further(&mut self, files: Vec<(RepoPath, BlobFacts)>) {
        let files = files.into_iter().map(|(path, blob)| ObtainedIndex {
            path,
            blob,
            hashes: Vec::new(),
        });
        self.obtained.extend(files);
    }

    fn take_in(&mut self, read: Option<Result<Result<Named, SyncError>, JoinError>>) -> Result<(), SyncError> {
        if let Some(read) = read {
            let mut named = read.map_err(|_| SyncError::Worker)??;
            self.pool.append(&mut named.pool);
            self.further.append(&mut named.further);
            self.uncompressed.append(&mut named.uncompressed);
        }
        Ok(())
    }
}

/// Fetches, checks and reads the indices that `job` wants of `releases`.
pub(super) async fn fetch_all(job: &Job, releases: &[SuiteRelease], transfer: &Transfer) -> Result<Indices, SyncError> {
    let mut indices = Indices::default();
    let mut readings = JoinSet::new();
    for suite in releases {
        for (index, obtained) in fetch_suite(job, suite, transfer).await? {
            if readings.len() >= READ_AT_ONCE {
                indices.take_in(readings.join_next().await)?;
            }
            if let Some(reading) = reading(job, suite, index, &obtained)? {
                let store = Arc::clone(transfer.store());
                readings.spawn_blocking(move || reading.run(&store));
            }
            indices.obtained.extend(obtained.into_iter().map(|(index, _)| index));
        }
    }
    while let Some(outcome) = readings.join_next().await {
        indices.take_in(Some(outcome))?;
    }
    transfer.store().catalog().note_uncompressed(&indices.uncompressed)?;
    Ok(indices)
}

/// Modification time for files of which upstream does not tell one.
pub(super) fn date_of(suite: &SuiteRelease, job: &Job) -> Timestamp {
    suite.release.date.map_or(job.now, |date| date.min(job.now))
}

/// A variant at its place in the tree, and what the Release file calls it.
type Obtained = (ObtainedIndex, Variant);

/// Every wanted index of one suite with the variants that upstream has.
async fn fetch_suite(
    job: &Job,
    suite: &SuiteRelease,
    transfer: &Transfer,
) -> Result<Vec<(WantedIndex, Vec<Obtained>)>, SyncError> {
    let selection = Selection {
        flat: suite.suite.is_flat(),
        components: &job.components,
        architectures: &job.architectures,
        content: &job.content,
    };
    let wanted = apt::indices::wanted(&suite.release, &selection).map_err(|source| SyncError::Wanted {
        suite: suite.suite.clone(),
        source,
    })?;
    let mut wants = Vec::new();
    for variant in wanted.iter().flat_map(|index| &index.variants) {
        wants.push(want(suite, variant, date_of(suite, job))?);
    }
    let mut blobs = transfer.fetch(&wants, Missing::Allowed).await?.into_iter();
    let mut indices = Vec::new();
    for index in wanted {
        let mut obtained = Vec::new();
        for (variant, blob) in index.variants.iter().zip(blobs.by_ref()) {
            let path = path_of(&suite.suite, variant.path.as_str())?;
            let hashes = variant.file.hashes.clone();
            obtained.extend(blob.map(|blob| (ObtainedIndex { path, blob, hashes }, variant.clone())));
        }
        indices.push((index, obtained));
    }
    Ok(indices)
}

/// Whether a file that upstream does not have is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// No: archives list variants that they do not offer.
    Allowed,
    /// Yes.
    Refused,
    /// No, and neither is a damaged one: whoever asks tells of all of them together.
    Noted,
}

/// Where to get a variant: under its strongest hash where the archive offers that, else under its name.
fn want(suite: &SuiteRelease, variant: &Variant, date: Timestamp) -> Result<Want, SyncError> {
    let plain = path_of(&suite.suite, variant.path.as_str())?;
    let strongest = variant.file.hashes.last().filter(|_| suite.release.acquire_by_hash);
    let by_hash = strongest.and_then(|hash| apt::layout::by_hash(&plain, hash).ok());
    let paths = by_hash.into_iter().chain([plain]).collect();
    Ok(Want {
        paths,
        checksum: variant.file.checksum,
        size: Some(variant.file.size),
        date,
    })
}

/// The work of reading an index, from the cheapest variant; `None` for one that upstream lists in vain and no client asks
/// for.
fn reading(
    job: &Job,
    suite: &SuiteRelease,
    index: WantedIndex,
    obtained: &[Obtained],
) -> Result<Option<Reading>, SyncError> {
    let plain = path_of(&suite.suite, index.plain.as_str())?;
    let mut forms = obtained.iter().map(|(index, variant)| Form {
        path: index.path.clone(),
        blob: index.blob,
        compression: variant.compression,
    });
    let Some(form) = forms.next() else {
        let lenient = job.adoption.is_some() && !index.kind.names_pool();
        if index.required && !lenient {
            return Err(SyncError::NoVariant(plain));
        }
        tracing::warn!(index = %plain, "upstream lists it but offers it in no form: it is left out");
        return Ok(None);
    };
    Ok(Some(Reading {
        kind: index.kind,
        suite: suite.suite.clone(),
        plain,
        plain_file: index.plain_file,
        form,
        others: forms.collect(),
        date: date_of(suite, job),
        // Of an index that is rebuilt, the first comparison takes the inventory.
        served: job.filtering.signer.is_none(),
    }))
}

//! The indices of the wanted suites: fetched in every form upstream offers, checked, and read for pool files.
//!
//! Owns the rule that a listed variant may be absent as long as one variant of its index can be had, and that every
//! variant that was had decompresses to exactly what the Release file lists.

use std::io::{BufReader, Read};
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::plan::{ObtainedIndex, Want};
use super::release::{SuiteRelease, path_of};
use super::store::Store;
use super::transfer::Transfer;
use super::{Job, SyncError};
use crate::apt::{self, Compression, IndexKind, PackagesReader, ParseError, ReleaseFile, Variant, WantedIndex};
use crate::model::{BlobFacts, Digest, Hasher, RepoPath, Suite, Timestamp};

/// Longest decompressed index whose uncompressed form the Release file does not list, in bytes: ten times Debian's.
const LONGEST_UNLISTED: u64 = 1 << 30;

/// Indices read at the same time: each may take 128 MiB for its decompressor, and two keep two cores busy.
const READ_AT_ONCE: usize = 2;

/// Bytes decompressed at a time.
const CHUNK: usize = 256 << 10;

/// What the indices of all suites come to.
#[derive(Debug, Default)]
pub(super) struct Indices {
    /// The variants upstream offers.
    pub(super) obtained: Vec<ObtainedIndex>,
    /// The pool files they name.
    pub(super) pool: Vec<Want>,
}

/// Fetches, checks and reads the indices that `job` wants of `releases`.
pub(super) async fn fetch_all(job: &Job, releases: &[SuiteRelease], transfer: &Transfer) -> Result<Indices, SyncError> {
    let mut indices = Indices::default();
    let mut readings = JoinSet::new();
    for suite in releases {
        for (index, obtained) in fetch_suite(job, suite, transfer).await? {
            if readings.len() >= READ_AT_ONCE {
                take_in(&mut indices, readings.join_next().await)?;
            }
            readings.spawn_blocking(index.reading(&suite.suite, transfer.store(), date_of(suite, job), &obtained)?);
            indices.obtained.extend(obtained.into_iter().map(|(index, _)| index));
        }
    }
    while let Some(outcome) = readings.join_next().await {
        take_in(&mut indices, Some(outcome))?;
    }
    Ok(indices)
}

fn take_in(
    indices: &mut Indices,
    read: Option<Result<Result<Vec<Want>, SyncError>, JoinError>>,
) -> Result<(), SyncError> {
    if let Some(read) = read {
        indices.pool.append(&mut read.map_err(|_| SyncError::Worker)??);
    }
    Ok(())
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
) -> Result<Vec<(Index, Vec<Obtained>)>, SyncError> {
    let wanted = apt::indices::wanted(&suite.release, &job.components, &job.architectures).map_err(|source| {
        SyncError::Wanted {
            suite: suite.suite.clone(),
            source,
        }
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
        indices.push((Index(index), obtained));
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
        digest: variant.file.sha256,
        size: variant.file.size,
        date,
    })
}

struct Index(WantedIndex);

impl Index {
    /// The work of reading the index from its cheapest variant.
    fn reading(
        self,
        suite: &Suite,
        store: &Arc<Store>,
        date: Timestamp,
        obtained: &[Obtained],
    ) -> Result<impl FnOnce() -> Result<Vec<Want>, SyncError> + Send + use<>, SyncError> {
        let plain = path_of(suite, self.0.plain.as_str())?;
        let mut forms = obtained.iter().map(|(index, variant)| Form {
            path: index.path.clone(),
            blob: index.blob,
            compression: variant.compression,
        });
        let Some(form) = forms.next() else {
            return Err(SyncError::NoVariant(plain));
        };
        let reading = Reading {
            kind: self.0.kind,
            plain,
            plain_file: self.0.plain_file,
            form,
            others: forms.collect(),
            date,
        };
        let store = Arc::clone(store);
        Ok(move || reading.run(&store))
    }
}

/// One obtained variant of an index.
struct Form {
    path: RepoPath,
    blob: BlobFacts,
    compression: Compression,
}

impl Form {
    /// Hands the uncompressed text, of at most `cap` bytes, to `each` in pieces, and answers its digest and length.
    fn read(
        &self,
        store: &Store,
        cap: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), SyncError>,
    ) -> Result<(Digest, u64), SyncError> {
        let damaged = |source| SyncError::Decompress {
            path: self.path.clone(),
            source,
        };
        let file = BufReader::with_capacity(CHUNK, store.blobs().read(self.blob.digest)?);
        let mut text = apt::decompress(self.compression, file, cap).map_err(damaged)?;
        let (mut hasher, mut size) = (Hasher::new(), 0);
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = text.read(&mut buffer).map_err(damaged)?;
            if n == 0 {
                return Ok((hasher.finish(), size));
            }
            hasher.update(&buffer[..n]);
            size += n as u64;
            each(&buffer[..n])?;
        }
    }

    /// Whether it decompresses to the text with this digest and length.
    fn is(&self, store: &Store, digest: Digest, size: u64) -> Result<bool, SyncError> {
        if self.compression == Compression::None {
            return Ok(self.blob.digest == digest);
        }
        Ok(self.read(store, size, |_| Ok(()))? == (digest, size))
    }
}

/// An index that can be read now.
struct Reading {
    kind: IndexKind,
    plain: RepoPath,
    plain_file: Option<ReleaseFile>,
    /// The variant that is cheapest to read.
    form: Form,
    /// Clients choose among all of them, so all must be the same index.
    others: Vec<Form>,
    date: Timestamp,
}

impl Reading {
    fn run(self, store: &Store) -> Result<Vec<Want>, SyncError> {
        let cap = self.plain_file.as_ref().map_or(LONGEST_UNLISTED, |plain| plain.size);
        let mut files = Vec::new();
        let (digest, size) = match self.kind {
            IndexKind::Packages => self.read_packages(store, cap, &mut files)?,
        };
        if let Some(plain) = &self.plain_file
            && (plain.sha256 != digest || plain.size != size)
        {
            return Err(SyncError::IndexMismatch {
                path: self.form.path,
                plain: self.plain,
            });
        }
        for other in self.others {
            if !other.is(store, digest, size)? {
                return Err(SyncError::VariantsDiffer(other.path, self.form.path));
            }
        }
        Ok(files)
    }

    /// Reads to the end, and answers digest and length of the uncompressed text.
    fn read_packages(&self, store: &Store, cap: u64, files: &mut Vec<Want>) -> Result<(Digest, u64), SyncError> {
        let date = self.date;
        let mut packages = PackagesReader::new(|file| {
            files.push(Want {
                paths: vec![file.path],
                digest: file.sha256,
                size: file.size,
                date,
            });
        });
        let parse = |source: ParseError| SyncError::Parse {
            path: self.form.path.clone(),
            source,
        };
        let read = self
            .form
            .read(store, cap, |piece| packages.push(piece).map_err(parse))?;
        packages.finish().map_err(parse)?;
        Ok(read)
    }
}

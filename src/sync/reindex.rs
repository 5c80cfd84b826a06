//! The indices and Release files of a mirror that signs its own.
//!
//! Owns what takes the place of upstream's files in the listing, and where these go. It is told what is kept; what that
//! comes to in text is worked out in `apt::rebuild`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::task;

use super::filtering::{FoundIndex, below};
use super::indices::Indices;
use super::plan::ObtainedIndex;
use super::release::{SuiteRelease, path_of};
use super::store::Store;
use super::transfer::{Made, Transfer};
use super::{Job, SyncError};
use crate::apt::Compression;
use crate::apt::rebuild::{self, Listed};
use crate::catalog::MirrorRow;
use crate::model::{IndexHash, RepoPath, Suite, Timestamp, VerifiedText};
use crate::signature::{self, Signer};

/// Bytes of rebuilt indices that wait in memory until they are kept together: claiming and committing costs the same for
/// one as for all, and those of a whole archive with all its architectures can be larger than memory.
const TOGETHER: usize = 64 << 20;

/// Puts rebuilt indices in the place of those that list too much, and answers signed Release files that list what there
/// is.
pub(super) async fn reindex(
    job: &Job,
    mirror: MirrorRow,
    signer: &Arc<Signer>,
    indices_kept: Vec<(FoundIndex, Vec<bool>)>,
    releases: &[SuiteRelease],
    indices: &mut Indices,
    transfer: &Transfer,
) -> Result<Vec<Made<'static>>, SyncError> {
    let mut listed: BTreeMap<Suite, Vec<Listed>> = BTreeMap::new();
    let mut waiting = Waiting::default();
    for (index, kept) in indices_kept {
        // An index of which nothing is left out is still true.
        if kept.iter().all(|kept| *kept) {
            continue;
        }
        let store = Arc::clone(transfer.store());
        let suite = index.suite.clone();
        let replaced = index.plain.clone();
        let rebuilding = task::spawn_blocking(move || index.rebuild(&store, &kept));
        let rebuilt = rebuilding.await.map_err(|_| SyncError::Worker)??;
        let of_suite = listed.entry(suite.clone()).or_default();
        let is_replaced = |index: &mut ObtainedIndex| is_variant(&index.path, &replaced);
        indices.replaced.extend(indices.obtained.extract_if(.., is_replaced));
        of_suite.push(rebuilt.plain);
        for (file, bytes) in rebuilt.served {
            waiting.add(path_of(&suite, file.path.as_str())?, bytes, &file, job.now);
            of_suite.push(file);
        }
        if waiting.bytes >= TOGETHER {
            std::mem::take(&mut waiting).keep(transfer, indices).await?;
        }
    }
    waiting.keep(transfer, indices).await?;
    let mut made = Vec::new();
    for release in releases {
        let mut files = listed.remove(&release.suite).unwrap_or_default();
        files.extend(still_true(release, &files, indices)?);
        let text = rebuild::release(release.text.text(), files);
        let (inline, detached) = signed(job, mirror, signer, &release.suite, &text, transfer.store())?;
        for (name, bytes) in [
            ("InRelease", inline),
            ("Release", text.into_bytes()),
            ("Release.gpg", detached),
        ] {
            made.push(Made {
                path: path_of(&release.suite, name)?,
                bytes: bytes.into(),
                mtime: job.now,
                fetched: false,
            });
        }
    }
    Ok(made)
}

/// Rebuilt indices on their way to the cache.
#[derive(Default)]
struct Waiting {
    made: Vec<Made<'static>>,
    hashes: Vec<Vec<IndexHash>>,
    bytes: usize,
}

impl Waiting {
    fn add(&mut self, path: RepoPath, bytes: Vec<u8>, listed: &Listed, mtime: Timestamp) {
        self.bytes += bytes.len();
        self.hashes.push(listed.hashes.clone());
        self.made.push(Made {
            path,
            bytes: bytes.into(),
            mtime,
            fetched: false,
        });
    }

    /// Keeps all of them, as indices that there are.
    async fn keep(self, transfer: &Transfer, indices: &mut Indices) -> Result<(), SyncError> {
        if self.made.is_empty() {
            return Ok(());
        }
        let kept = transfer.keep_made(&self.made).await?.into_iter().zip(self.hashes);
        for ((path, blob), hashes) in kept {
            indices.made.insert(blob.digest);
            indices.obtained.push(ObtainedIndex { path, blob, hashes });
        }
        Ok(())
    }
}

/// Whether `path` is a form of the index `plain`.
fn is_variant(path: &RepoPath, plain: &RepoPath) -> bool {
    let suffix = path.as_str().strip_prefix(plain.as_str());
    suffix.is_some_and(|suffix| Compression::ALL.iter().any(|form| form.suffix() == suffix))
}

/// What upstream's Release file says of files that are kept as they are: those that are there, and the uncompressed
/// forms of indices of which another form is.
fn still_true(release: &SuiteRelease, rebuilt: &[Listed], indices: &Indices) -> Result<Vec<Listed>, SyncError> {
    let mut there = HashSet::new();
    let paths = indices.obtained.iter().map(|index| &index.path);
    let wanted = indices.pool.iter().chain(&indices.further).map(|want| &want.paths[0]);
    for path in paths.chain(wanted) {
        there.extend(below(&release.suite, path)?);
    }
    let is_there = |path: &str| {
        Compression::ALL
            .iter()
            .any(|form| there.contains(format!("{path}{}", form.suffix()).as_str()))
    };
    let made: HashSet<&RepoPath> = rebuilt.iter().map(|file| &file.path).collect();
    let upstream = release.release.files.iter();
    let kept = upstream.filter(|(path, _)| !made.contains(path) && is_there(path.as_str()));
    let listed = kept.map(|(path, file)| Listed {
        path: path.clone(),
        size: file.size,
        hashes: file.hashes.clone(),
    });
    Ok(listed.collect())
}

/// `text` with its signatures: `InRelease`, `Release.gpg`.
type Signed = (Vec<u8>, Vec<u8>);

/// Signs a Release file, unless the last state has the very text with good signatures: signing again would only make
/// other bytes of the same statement.
fn signed(
    job: &Job,
    mirror: MirrorRow,
    signer: &Signer,
    suite: &Suite,
    text: &str,
    store: &Store,
) -> Result<Signed, SyncError> {
    let failed = |source| SyncError::Signing {
        suite: suite.clone(),
        source,
    };
    let last = store.catalog().reader().last_state(mirror)?;
    let file = |name| match &last {
        Some(last) => store.recorded_file(mirror, last.seq, &path_of(suite, name)?),
        None => Ok(None),
    };
    if let (Some(inline), Some(detached)) = (file("InRelease")?, file("Release.gpg")?) {
        let keyring = signer.keyring().map_err(failed)?;
        let says = |verified: VerifiedText| verified.text().trim_ascii_end() == text.trim_ascii_end();
        if signature::verify_inline(&inline, &keyring, job.clock.now()).is_ok_and(says)
            && signature::verify_detached(text.as_bytes(), &detached, &keyring, job.clock.now()).is_ok()
        {
            return Ok((inline, detached));
        }
    }
    let inline = signer.sign_inline(text, job.clock.now()).map_err(failed)?;
    Ok((inline, signer.sign_detached(text, job.clock.now()).map_err(failed)?))
}

//! What a mirror's filter leaves of what upstream has, and the indices that say so.
//!
//! Owns the step between the indices and the pool: the indices are read once more from the cache, the rules decide
//! over all of them together, and files that only stanzas left out name are not wanted any more. A mirror that is
//! reindexed then gets indices and Release files of its own, and upstream's Release files move to `.upstream` beside
//! them, where the next sync finds what it compares with. Upstream's signatures were checked before any of this.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::task;

use super::indices::Indices;
use super::plan::ObtainedIndex;
use super::reindex::reindex;
use super::release::{SuiteRelease, path_of};
use super::store::Store;
use super::transfer::{Made, Transfer};
use super::{Job, SyncError};
use crate::apt::rebuild::{IndexBuilder, RebuiltIndex};
use crate::apt::selection::{self, Candidate, CandidateReader, Copier, Lists, Selection};
use crate::apt::{Compression, LONGEST_UNLISTED_INDEX, ParseError, read_pieces};
use crate::catalog::MirrorRow;
use crate::model::{Digest, Filter, RepoPath, Suite};
use crate::signature::Signer;

/// Where upstream's own Release files are in a suite that is reindexed. No archive has a component of that name.
const UPSTREAM: &str = ".upstream";

/// Most dependencies that nothing satisfies of which the log tells each.
const MOST_TOLD: usize = 20;

/// What becomes of the packages that upstream has.
#[derive(Debug, Clone, Default)]
pub struct Filtering {
    /// Which of them are kept.
    pub filter: Arc<Filter>,
    /// Who signs indices that list the kept ones alone; without, upstream's indices are served.
    pub signer: Option<Arc<Signer>>,
}

impl Filtering {
    /// What is selected, for comparison with an earlier sync; empty where nothing differs from upstream.
    pub(super) fn selection(&self) -> String {
        let rules = || Digest::of(self.filter.canonical().as_bytes());
        let filter = (!self.filter.is_empty()).then(|| format!(" filters={}", rules()));
        let signer = self
            .signer
            .as_ref()
            .map(|signer| format!(" signer={}", signer.fingerprint()));
        filter.into_iter().chain(signer).collect()
    }

    /// The name under which the last state has upstream's Release file `name`.
    pub(super) fn recorded_name(&self, name: &str) -> String {
        match &self.signer {
            Some(_) => format!("{UPSTREAM}/{name}"),
            None => name.to_owned(),
        }
    }
}

/// What a filter leaves of an archive.
pub(super) struct Filtered<'r> {
    /// The indices to serve, and the files of the pool that are wanted.
    pub(super) indices: Indices,
    /// The Release files to serve.
    pub(super) release_files: Vec<Made<'r>>,
    /// Number of files that the indices list and that are not wanted.
    pub(super) absent: u64,
}

/// Applies the filter of `job` to what upstream has.
pub(super) async fn apply<'r>(
    job: &Job,
    mirror: MirrorRow,
    releases: &'r [SuiteRelease],
    mut indices: Indices,
    transfer: &Transfer,
) -> Result<Filtered<'r>, SyncError> {
    let Filtering { filter, signer } = &job.filtering;
    let mut absent = 0;
    let mut release_files = upstreams(job, releases)?;
    if !filter.is_empty() || signer.is_some() {
        let chosen = choose(job, releases, &indices, transfer).await?;
        let left_out: HashSet<&str> = chosen.selection.absent(&chosen.read);
        indices.pool.retain(|want| !left_out.contains(want.paths[0].as_str()));
        absent = left_out.len() as u64;
        if let Some(signer) = signer {
            let kept = chosen.found.into_iter().zip(chosen.selection.kept).collect();
            let made = reindex(job, mirror, signer, kept, releases, &mut indices, transfer).await?;
            release_files.extend(made);
            absent = 0;
        }
    }
    Ok(Filtered {
        indices,
        release_files,
        absent,
    })
}

/// Upstream's Release files, where the mirror serves them.
fn upstreams<'r>(job: &Job, releases: &'r [SuiteRelease]) -> Result<Vec<Made<'r>>, SyncError> {
    let mut files = Vec::new();
    for release in releases {
        for (file, blob) in release.blobs(job) {
            files.push(Made {
                path: path_of(&release.suite, &job.filtering.recorded_name(file.path.file_name()))?,
                bytes: Cow::from(&file.bytes),
                mtime: blob.mtime,
                fetched: true,
            });
        }
    }
    Ok(files)
}

async fn choose(
    job: &Job,
    releases: &[SuiteRelease],
    indices: &Indices,
    transfer: &Transfer,
) -> Result<Chosen, SyncError> {
    let suites: Vec<Suite> = releases.iter().map(|release| release.suite.clone()).collect();
    let (rules, store) = (Arc::clone(&job.filtering.filter), Arc::clone(transfer.store()));
    let obtained = indices.obtained.clone();
    let work = move || Chosen::of(&rules, &store, &suites, &obtained);
    let chosen = task::spawn_blocking(work).await.map_err(|_| SyncError::Worker)??;
    chosen.report(job);
    Ok(chosen)
}

/// The package indices of every suite, and what is kept of each.
struct Chosen {
    found: Vec<FoundIndex>,
    /// What they say, alongside `found`.
    read: Vec<selection::Index>,
    selection: Selection,
}

/// A package index with the variant that is cheapest to read.
#[derive(Debug, Clone)]
pub(super) struct FoundIndex {
    pub(super) suite: Suite,
    /// Path of the uncompressed index, relative to the archive root, whether or not that is there.
    pub(super) plain: RepoPath,
    /// The same, relative to the Release file's directory.
    listed: RepoPath,
    lists: Lists,
    compression: Compression,
    digest: Digest,
}

impl Chosen {
    fn of(filter: &Filter, store: &Store, suites: &[Suite], obtained: &[ObtainedIndex]) -> Result<Self, SyncError> {
        let found = find(suites, obtained)?;
        let read = found.iter().map(|index| {
            Ok::<_, SyncError>(selection::Index {
                lists: index.lists.clone(),
                candidates: index.candidates(filter, store)?,
            })
        });
        let read = read.collect::<Result<Vec<_>, _>>()?;
        let selection = selection::select(filter, &read);
        let listed = read.iter().map(|index| index.candidates.len()).sum();
        if selection.held() == 0 && listed > 0 {
            return Err(SyncError::NothingKept { listed });
        }
        Ok(Self { found, read, selection })
    }

    /// Tells the log what an operator may not have meant.
    fn report(&self, job: &Job) {
        let Selection {
            unknown, unsatisfied, ..
        } = &self.selection;
        for name in unknown {
            tracing::warn!(
                "filters.packages of {} names {name}, which upstream does not have",
                job.mirror
            );
        }
        for lacking in unsatisfied.iter().take(MOST_TOLD) {
            tracing::warn!(
                "{}: {} needs {} on {}, which nothing that is kept satisfies",
                job.mirror,
                lacking.package,
                lacking.dependency,
                lacking.architecture
            );
        }
        if let Some(more) = unsatisfied.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            tracing::warn!("{}: {more} further dependencies are not satisfied", job.mirror);
        }
        let listed: usize = self.read.iter().map(|index| index.candidates.len()).sum();
        tracing::info!(
            "The filters of {} keep {} of {listed} packages",
            job.mirror,
            self.selection.held()
        );
    }
}

/// The package indices among what was obtained.
fn find(suites: &[Suite], obtained: &[ObtainedIndex]) -> Result<Vec<FoundIndex>, SyncError> {
    let mut found: BTreeMap<RepoPath, FoundIndex> = BTreeMap::new();
    for index in obtained {
        // A suite can lie in the directory of another, as trixie/updates in that of trixie.
        let mut recognized = Vec::new();
        for suite in suites {
            recognized.extend(recognize(suite, &index.path)?.map(|what| (suite, what)));
        }
        let innermost = recognized.into_iter().max_by_key(|(suite, _)| suite.as_str().len());
        let Some((suite, (listed, compression, lists))) = innermost else {
            continue;
        };
        let candidate = FoundIndex {
            suite: suite.clone(),
            plain: path_of(suite, listed.as_str())?,
            listed,
            lists,
            compression,
            digest: index.blob.digest,
        };
        let known = found
            .entry(candidate.plain.clone())
            .or_insert_with(|| candidate.clone());
        // The order of forms is that of what they cost to read.
        if candidate.compression < known.compression {
            *known = candidate;
        }
    }
    Ok(found.into_values().collect())
}

/// What the file at `path` is a package index of: its uncompressed name relative to the suite, its form, and what it
/// lists. `None` for anything else.
fn recognize(suite: &Suite, path: &RepoPath) -> Result<Option<(RepoPath, Compression, Lists)>, SyncError> {
    let Some(listed) = below(suite, path)? else {
        return Ok(None);
    };
    let name = listed.rsplit('/').next().unwrap_or(listed);
    let (stem, suffix) = name
        .split_once('.')
        .map_or((name, ""), |(stem, _)| name.split_at(stem.len()));
    let Some(compression) = Compression::ALL.into_iter().find(|form| form.suffix() == suffix) else {
        return Ok(None);
    };
    let lists = match stem {
        "Packages" => Lists::Binaries {
            installer: listed.contains("/debian-installer/") || listed.starts_with("debian-installer/"),
        },
        "Sources" => Lists::Sources,
        _ => return Ok(None),
    };
    let plain = listed[..listed.len() - suffix.len()].parse();
    Ok(plain.ok().map(|plain| (plain, compression, lists)))
}

/// `path` relative to the directory of the suite's Release file, if it is below that.
pub(super) fn below<'p>(suite: &Suite, path: &'p RepoPath) -> Result<Option<&'p str>, SyncError> {
    let release = path_of(suite, "Release")?;
    let directory = release.as_str().len() - "Release".len();
    Ok(path.as_str().strip_prefix(&release.as_str()[..directory]))
}

impl FoundIndex {
    /// Hands the uncompressed text to `each` in pieces.
    fn read(&self, store: &Store, each: impl FnMut(&[u8]) -> Result<(), SyncError>) -> Result<(), SyncError> {
        let damaged = |source| SyncError::Decompress {
            path: self.plain.clone(),
            source,
        };
        let file = store.blobs().read(self.digest)?;
        read_pieces(self.compression, file, LONGEST_UNLISTED_INDEX, damaged, each)?;
        Ok(())
    }

    fn candidates(&self, filter: &Filter, store: &Store) -> Result<Vec<Candidate>, SyncError> {
        let parse = |source: ParseError| SyncError::Parse {
            path: self.plain.clone(),
            source,
        };
        let mut reader = CandidateReader::new(filter, &self.lists);
        self.read(store, |piece| reader.push(piece).map_err(parse))?;
        reader.finish().map_err(parse)
    }

    /// The index with the kept stanzas alone.
    pub(super) fn rebuild(&self, store: &Store, kept: &[bool]) -> Result<RebuiltIndex, SyncError> {
        let failed = |source| SyncError::Rebuild {
            path: self.plain.clone(),
            source,
        };
        let (mut copier, mut builder) = (Copier::new(kept), IndexBuilder::default());
        let mut text = Vec::new();
        self.read(store, |piece| {
            text.clear();
            copier.push(piece, &mut text);
            builder.push(&text).map_err(failed)
        })?;
        text.clear();
        copier.finish(&mut text);
        builder.push(&text).map_err(failed)?;
        builder.finish(&self.listed).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_indices_are_recognized_in_every_form() {
        let suite: Suite = "trixie/updates".parse().expect("valid");
        let recognized = |path: &str| {
            let path = format!("dists/trixie/updates/{path}").parse().expect("valid");
            let found = recognize(&suite, &path).expect("short");
            found.map(|(plain, compression, lists)| (plain.to_string(), compression, lists))
        };
        let binaries = |installer| Lists::Binaries { installer };
        for (path, plain, compression, lists) in [
            (
                "main/binary-amd64/Packages",
                "main/binary-amd64/Packages",
                Compression::None,
                binaries(false),
            ),
            (
                "main/binary-all/Packages.xz",
                "main/binary-all/Packages",
                Compression::Xz,
                binaries(false),
            ),
            (
                "main/debian-installer/binary-amd64/Packages.gz",
                "main/debian-installer/binary-amd64/Packages",
                Compression::Gzip,
                binaries(true),
            ),
            (
                "main/source/Sources.zst",
                "main/source/Sources",
                Compression::Zstd,
                Lists::Sources,
            ),
        ] {
            assert_eq!(recognized(path), Some((plain.to_owned(), compression, lists)), "{path}");
        }
        for path in [
            "main/i18n/Translation-en.xz",
            "main/Contents-amd64.gz",
            "main/binary-amd64/Packages.diff",
            "Release",
        ] {
            assert_eq!(recognized(path), None, "{path}");
        }
        let elsewhere = "dists/trixie/main/binary-amd64/Packages".parse().expect("valid");
        assert_eq!(recognize(&suite, &elsewhere).expect("short"), None);
    }

    #[test]
    fn the_selection_names_rules_and_signer() {
        assert_eq!(Filtering::default().selection(), "");
        let filter = |versions| Filter {
            keep_versions: versions,
            ..Filter::default()
        };
        let of = |versions| Filtering {
            filter: Arc::new(filter(versions)),
            signer: None,
        };
        assert_ne!(of(1).selection(), of(2).selection());
        assert_eq!(of(1).selection(), of(1).selection());
        assert_eq!(of(1).recorded_name("Release"), "Release");
    }
}

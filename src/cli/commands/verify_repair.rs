//! `mirrorctl verify --repair`: fetching what is damaged again.
//!
//! Owns the way from one mirror to the next: every configured one that ever listed the bytes is asked, until they are there. A mirror
//! that cannot be asked now, because it is being synced, say, does not keep the others from helping out.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::sync::{Run, Terms};
use super::verify_report::Known;
use crate::catalog::{Damaged, ListedAs};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::config::MirrorSettings;
use crate::model::{Digest, HashType, RepoPath};
use crate::state::StateDir;
use crate::sync::{self, FileError, Lost, RepairSource};

/// Most paths of one mirror at which one file is asked for: packages have one, and an index that is the same in all suites some.
const MOST_PATHS: usize = 16;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// The blobs that are whole again, each with the mirror that has helped.
    pub(super) whole: BTreeMap<Digest, String>,
    /// Why others are not, a reason for each mirror that was asked.
    pub(super) failed: HashMap<Digest, Vec<String>>,
    /// Whether somebody stopped it.
    pub(super) interrupted: bool,
}

/// Fetches every blob that is known to be damaged from whichever mirror has it.
///
/// # Errors
/// When our own disk or catalog fails.
pub(super) fn fetch(state: StateDir, known: &Known, context: &Context, output: &Output) -> Result<Fetched, Failure> {
    let mut fetched = Fetched::default();
    if known.damaged.is_empty() {
        return Ok(fetched);
    }
    let run = Run::on(state, Terms::default(), context, output)?;
    for mirror in context.settings.mirrors.values() {
        let lost = lost(mirror, known, &fetched);
        if lost.is_empty() {
            continue;
        }
        if let Err(failure) = fetch_from(&run, mirror, lost.clone(), context, &mut fetched) {
            for lost in lost {
                let why = format!("{}: {}", mirror.id, failure.in_one_line());
                fetched.failed.entry(lost.digest).or_default().push(why);
            }
        }
        if run.interrupt.came() {
            fetched.interrupted = true;
            break;
        }
    }
    Ok(fetched)
}

/// What `mirror` may have of that which is not whole yet.
fn lost(mirror: &MirrorSettings, known: &Known, fetched: &Fetched) -> Vec<Lost> {
    let is_left = |damaged: &&Damaged| !fetched.whole.contains_key(&damaged.digest);
    let lost = known.damaged.iter().filter(is_left).map(|damaged| Lost {
        digest: damaged.digest,
        size: damaged.size,
        mtime: damaged.mtime,
        paths: paths(mirror, damaged, known),
    });
    lost.filter(|lost| !lost.paths.is_empty()).collect()
}

/// Where the upstream of `mirror` may have a blob: by its hash first, where it is listed so, as that name stays when the index
/// is replaced.
fn paths(mirror: &MirrorSettings, damaged: &Damaged, known: &Known) -> Vec<RepoPath> {
    let (mut by_hash, mut plain) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for place in known.places(damaged.row).filter(|place| place.mirror == mirror.id) {
        let ListedAs::File {
            path,
            by_hash: is_by_hash,
            ..
        } = &place.listed
        else {
            continue;
        };
        if *is_by_hash && let Some(path) = path_by_hash(path, damaged.digest) {
            by_hash.extend(seen.insert(path.clone()).then_some(path));
        }
        plain.extend(seen.insert(path.clone()).then(|| path.clone()));
    }
    by_hash.extend(plain);
    by_hash.truncate(MOST_PATHS);
    by_hash
}

fn path_by_hash(path: &RepoPath, digest: Digest) -> Option<RepoPath> {
    path.parent()?
        .join(&format!("by-hash/{}/{digest}", HashType::Sha256))
        .ok()
}

fn fetch_from(
    run: &Run<'_>,
    mirror: &MirrorSettings,
    lost: Vec<Lost>,
    context: &Context,
    fetched: &mut Fetched,
) -> Result<(), Failure> {
    let lock = run.state.lock_sync(&mirror.id)?;
    let source = RepairSource {
        mirror: mirror.id.clone(),
        urls: mirror.urls.clone(),
        connections: context.settings.max_conns,
        now: context.clock.now(),
    };
    let client = run.client_of(mirror)?;
    let stop = run.interrupt.receiver();
    let repair = sync::repair(&source, lost, &lock, &client, &run.store, &run.progress, stop);
    let repaired = run.runtime.block_on(repair)?;
    for digest in repaired.fetched {
        fetched.whole.insert(digest, mirror.id.to_string());
    }
    for (digest, error) in repaired.failed {
        let why = match &error {
            FileError::Missing => "upstream has it no more".to_owned(),
            FileError::Content(_) => "upstream has other bytes in its place".to_owned(),
            FileError::Upstream(_) => Failure::caused(Kind::Failed, &error).in_one_line(),
        };
        fetched
            .failed
            .entry(digest)
            .or_default()
            .push(format!("{}: {why}", mirror.id));
    }
    Ok(())
}

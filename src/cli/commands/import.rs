//! `mirrorctl import`: a mirror tree that is on this machine becomes a snapshot
//!
//! Owns the report, and the choice of the snapshot's name. The work is that of a sync whose upstream is the tree.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::moves::{Move, Moves};
use super::replaced::{Replaced, replaced, tell};
use super::sync::{Release, Run, Terms, held};
use crate::blobs::Sharing;
use crate::cli::args::ImportArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::moving::is_no_environment;
use crate::cli::output::{Human, Output, Page};
use crate::cli::stores::synced;
use crate::cli::text::size;
use crate::config::MirrorSettings;
use crate::model::{BaseUrl, MirrorId, SnapshotName};
use crate::sync::{self, Absent, Acceptance, Adoption, Incomplete, Job, Outcome, SyncError, SyncReport};
use crate::upstream::Client;

/// Most missing files that are named to people; programs get all.
const NAMED: usize = 20;

#[derive(Serialize)]
pub(super) struct Report {
    mirror: String,
    outcome: &'static str,
    releases: Vec<Release>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot>,
    taken_files: u64,
    taken_bytes: u64,
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Snapshot {
    name: String,
    files: u64,
    bytes: u64,
    changes: usize,
    /// Files that its indices list and a filter has left out.
    absent_files: u64,
    moves: Vec<Move>,
    replaced: Vec<Replaced>,
}

#[derive(Serialize)]
struct Missing {
    path: String,
    bytes: Option<u64>,
    damage: Option<String>,
}

/// Makes a snapshot of a tree.
pub(in crate::cli) fn run(arguments: &ImportArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirror = context.mirror(&arguments.mirror)?;
    let url = tree(&arguments.dir)?;
    let terms = Terms {
        force: arguments.name.is_some(),
        accept: Acceptance {
            rollback: arguments.accept_rollback,
            release_info: arguments.accept_release_info,
        },
        no_pgp_check: arguments.no_pgp_check,
        promote_if_tested: false,
    };
    let run = Run::begin(terms, context, output)?;
    let lock = Arc::new(run.state.lock_sync(&mirror.id)?);
    let client = run.client_of_trees()?;
    let job = job(&run, &client, mirror, url, arguments)?;
    tracing::info!("Starting import for mirror: {}", mirror.id);
    let stop = run.interrupt.receiver();
    let done = sync::run(&job, &lock, &client, &run.store, &run.progress, stop);
    match run.runtime.block_on(done) {
        Ok(done) => {
            if let Outcome::Recorded { moves, .. } = &done.outcome {
                Moves::log(moves);
                let seen = context.make_visible();
                output.done(&Report::of(&done, replaced(moves, context)));
                context.after_sync(&done);
                seen?;
            } else {
                output.done(&Report::of(&done, Vec::new()));
            }
            held(&done).map_or(Ok(()), Err)
        }
        Err(SyncError::Interrupted) => Err(run.interrupt.failure(&mirror.id)),
        Err(error) => {
            if let SyncError::Incomplete(incomplete) = &error {
                output.answer(&Report::incomplete(&mirror.id, incomplete));
            }
            Err(explained(error))
        }
    }
}

/// The URL of the tree at `dir`.
pub(super) fn tree(dir: &Path) -> Result<BaseUrl, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| Failure::new(Kind::Failed, format!("cannot read {}: {error}", dir.display()));
    let dir = std::fs::canonicalize(dir).map_err(|error| cannot(&error))?;
    if !dir.is_dir() {
        return Err(cannot(&"it is not a directory"));
    }
    BaseUrl::of_directory(&dir).map_err(|error| cannot(&error))
}

fn job(
    run: &Run<'_>,
    client: &Client,
    mirror: &MirrorSettings,
    url: BaseUrl,
    arguments: &ImportArgs,
) -> Result<Job, Failure> {
    let mut job = run.job(mirror)?;
    job.urls = vec![url];
    job.adoption = Some(Adoption {
        sharing: sharing(arguments.copy),
        created_at: None,
    });
    let dates = run
        .runtime
        .block_on(sync::release_dates(&job, client))
        .map_err(explained)?;
    let date = dates
        .iter()
        .filter_map(|(_, date)| *date)
        .max()
        .map_or(job.now, |date| date.min(job.now));
    job.adoption = job.adoption.map(|adoption| Adoption {
        created_at: Some(date),
        ..adoption
    });
    job.name = match &arguments.name {
        Some(name) => untaken(run, mirror, name)?,
        None => mirror
            .generated_name(date)
            .map_err(|error| Failure::caused(Kind::Failed, &error))?,
    };
    Ok(job)
}

/// Whether the tree and the cache may have files together.
pub(super) fn sharing(copy: bool) -> Sharing {
    if copy { Sharing::Never } else { Sharing::Links }
}

/// The name, unless a snapshot or an environment has it.
fn untaken(run: &Run<'_>, mirror: &MirrorSettings, name: &SnapshotName) -> Result<SnapshotName, Failure> {
    is_no_environment(mirror, name)?;
    let mirror = &mirror.id;
    let catalog = run.store.catalog();
    let taken = match synced(catalog.reader(), mirror)? {
        Some(row) => catalog.reader().snapshot_named(row, name)?.is_some(),
        None => false,
    };
    if taken {
        let message = format!("mirror {mirror} already has a snapshot {name}");
        return Err(Failure::new(Kind::Refused, message).hint("choose another name"));
    }
    Ok(name.clone())
}

/// An error of a sync in the words of an import.
fn explained(error: SyncError) -> Failure {
    match &error {
        SyncError::NoRelease(_) => Failure::caused(Kind::Failed, &error)
            .hint("name the archive's root: the directory that holds dists/ with the suites of the mirror"),
        SyncError::NoVariant(_) => Failure::caused(Kind::Failed, &error).hint(
            "the tree is not one of this mirror as configured: run mirrorctl sync, or correct the mirror's sections",
        ),
        _ => error.into(),
    }
}

impl Report {
    fn of(done: &SyncReport, replaced: Vec<Replaced>) -> Self {
        let mut report = Self {
            mirror: done.mirror.to_string(),
            outcome: "unchanged",
            releases: Release::each(&done.releases),
            snapshot: None,
            taken_files: 0,
            taken_bytes: 0,
            missing: Vec::new(),
        };
        match &done.outcome {
            Outcome::Unchanged => {}
            Outcome::Recorded {
                snapshot,
                files,
                bytes,
                changes,
                absent,
                fetched,
                moves,
            } => {
                report.outcome = "recorded";
                (report.taken_files, report.taken_bytes) = (fetched.files, fetched.bytes);
                report.snapshot = Some(Snapshot {
                    name: snapshot.to_string(),
                    files: *files,
                    bytes: *bytes,
                    changes: *changes,
                    absent_files: *absent,
                    moves: moves.iter().map(Move::of).collect(),
                    replaced,
                });
            }
        }
        report
    }

    fn incomplete(mirror: &MirrorId, incomplete: &Incomplete) -> Self {
        let missing = |absent: &Absent| Missing {
            path: absent.path.to_string(),
            bytes: absent.size,
            damage: absent.damage.clone(),
        };
        Self {
            mirror: mirror.to_string(),
            outcome: "incomplete",
            releases: Vec::new(),
            snapshot: None,
            taken_files: incomplete.kept.files,
            taken_bytes: incomplete.kept.bytes,
            missing: incomplete.absent.iter().map(missing).collect(),
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let (mirror, taken, bytes) = (&self.mirror, self.taken_files, size(self.taken_bytes));
        page.line(match (&self.snapshot, self.outcome) {
            (Some(Snapshot { name, files, .. }), _) => {
                format!("{mirror}: snapshot {name}, {files} files, {taken} taken from the tree ({bytes})")
            }
            (None, "incomplete") => format!("{mirror}: incomplete, {taken} files taken from the tree ({bytes})"),
            (None, outcome) => format!("{mirror}: {outcome}"),
        });
        if let Some(Snapshot { moves, replaced, .. }) = &self.snapshot {
            tell(moves, replaced, page);
        }
        for missing in self.missing.iter().take(NAMED) {
            let what = missing.damage.as_deref().unwrap_or("missing");
            let bytes = missing.bytes.map_or("size not listed".to_owned(), size);
            page.line(format!("  {} ({bytes}): {what}", missing.path));
        }
        if self.missing.len() > NAMED {
            page.line(format!("  and {} more", self.missing.len() - NAMED));
        }
    }
}

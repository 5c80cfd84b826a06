//! `mirrorctl sync --dry-run`: how much a sync would fetch, and whether there is room for it
//!
//! Owns the report, and the temporary directory in which Release files and indices lie meanwhile. The state directory
//! is read and never written; it need not even exist.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use tempfile::TempDir;

use super::sync::{Release, Run, Terms, conclude};
use crate::blobs::BlobStore;
use crate::catalog::{CatalogError, CatalogReader};
use crate::cli::args::SyncArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::cli::text::size;
use crate::config::MirrorSettings;
use crate::model::Checksum;
use crate::state::{Room, StateDir, StateError};
use crate::sync::{self, Known, Load, Preview};

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    mirrors: Vec<Mirror>,
    fetch_files: u64,
    fetch_bytes: u64,
    made_files: u64,
    made_bytes: u64,
    free_bytes: u64,
    free_bytes_after: i128,
    fits: bool,
}

#[derive(Serialize)]
struct Mirror {
    mirror: String,
    outcome: &'static str,
    releases: Vec<Release>,
    fetch_files: u64,
    fetch_bytes: u64,
    made_files: u64,
    made_bytes: u64,
    reused_files: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
}

/// Says what a sync of the named mirrors, or all, would fetch.
pub(in crate::cli) fn run(arguments: &SyncArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirrors = context.mirrors(&arguments.mirrors)?;
    let known = look(context)?;
    let place = scratch()?;
    let run = Run::on(
        StateDir::open_to_change(place.path())?,
        Terms::of(arguments),
        context,
        output,
    )?;
    let (mut previews, mut reports, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for mirror in &mirrors {
        match preview(&run, mirror, known.as_ref()) {
            Ok(preview) => {
                reports.push(Mirror::of(&preview));
                previews.push(preview);
            }
            Err(failure) => {
                reports.push(Mirror::failed(mirror, &failure));
                failures.push((*mirror, failure));
                if run.interrupt.came() {
                    break;
                }
            }
        }
    }
    let room = Room::at(&context.settings.state)?;
    let report = Report::of(reports, &previews, &room);
    output.answer(&report);
    conclude(failures, mirrors.len(), &run.interrupt)?;
    if report.fits {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Refused,
        "there is no room for what would be fetched: a sync would be refused",
    )
    .hint("free space or inodes, or put [snapshot] path on a larger file system"))
}

/// A directory for what a command only looks at; it goes with the value.
pub(super) fn scratch() -> Result<TempDir, Failure> {
    let place = tempfile::Builder::new().prefix("mirrorctl-dry-run-").tempdir();
    place.map_err(|error| {
        Failure::new(Kind::Failed, format!("cannot make a temporary directory: {error}"))
            .hint("free space there, or name another one with TMPDIR")
    })
}

fn preview(run: &Run<'_>, mirror: &MirrorSettings, known: Option<&Known>) -> Result<Preview, Failure> {
    let lock = Arc::new(run.state.lock_sync(&mirror.id)?);
    let job = run.job(mirror)?;
    let stop = run.interrupt.receiver();
    let client = run.client_of(mirror)?;
    let preview = sync::preview(&job, &lock, &client, &run.store, known, &run.progress, stop);
    Ok(run.runtime.block_on(preview)?)
}

/// The real stores; `None` before the first sync.
pub(super) fn look(context: &Context) -> Result<Option<Known>, Failure> {
    let state = match StateDir::open_to_read(&context.settings.state) {
        Err(StateError::Missing(_)) => return Ok(None),
        found => found?,
    };
    let catalog = match CatalogReader::open_without_trace(&state.catalog()) {
        Err(CatalogError::Empty) => return Ok(None),
        found => found?,
    };
    let blobs = BlobStore::open(&state.blobs(), None)?;
    Ok(Some(Known { catalog, blobs }))
}

impl Report {
    fn of(mirrors: Vec<Mirror>, previews: &[Preview], room: &Room) -> Self {
        // What two mirrors share is fetched once.
        let fetch: HashMap<&Checksum, &u64> = previews.iter().flat_map(|preview| &preview.fetch).collect();
        let made: HashMap<&Checksum, &u64> = previews.iter().flat_map(|preview| &preview.make).collect();
        let (fetch_files, made_files) = (fetch.len() as u64, made.len() as u64);
        let (fetch_bytes, made_bytes) = (fetch.values().copied().sum(), made.values().copied().sum());
        // What is made takes room as what is fetched does.
        let load = Load::of(fetch.into_values().chain(made.into_values()).copied(), room);
        Self {
            dry_run: true,
            mirrors,
            fetch_files,
            fetch_bytes,
            made_files,
            made_bytes,
            free_bytes: room.free,
            free_bytes_after: i128::from(room.free) - i128::from(load.occupied),
            fits: load.files == 0 || load.fits(room),
        }
    }
}

impl Mirror {
    fn of(preview: &Preview) -> Self {
        Self {
            mirror: preview.mirror.to_string(),
            outcome: if preview.changed { "changed" } else { "unchanged" },
            releases: Release::each(&preview.releases),
            fetch_files: preview.fetch.len() as u64,
            fetch_bytes: preview.fetch.values().sum(),
            made_files: preview.make.len() as u64,
            made_bytes: preview.make.values().sum(),
            reused_files: preview.reused,
            error: None,
        }
    }

    fn failed(mirror: &MirrorSettings, failure: &Failure) -> Self {
        Self {
            mirror: mirror.id.to_string(),
            outcome: "failed",
            releases: Vec::new(),
            fetch_files: 0,
            fetch_bytes: 0,
            made_files: 0,
            made_bytes: 0,
            reused_files: 0,
            error: Some(failure.json()),
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        for mirror in &self.mirrors {
            let (files, bytes, reused) = (mirror.fetch_files, size(mirror.fetch_bytes), mirror.reused_files);
            page.line(match mirror.outcome {
                "changed" => {
                    let made = match mirror.made_files {
                        0 => String::new(),
                        n => format!(", {n} to make here ({})", size(mirror.made_bytes)),
                    };
                    format!(
                        "{}: {files} files to fetch ({bytes}){made}, {reused} are there",
                        mirror.mirror
                    )
                }
                outcome => format!("{}: {outcome}", mirror.mirror),
            });
        }
        page.line(format!(
            "in all: {} files to fetch ({})",
            self.fetch_files,
            size(self.fetch_bytes)
        ));
        page.line(match u64::try_from(self.free_bytes_after) {
            Ok(after) => format!("free: {} now, {} after", size(self.free_bytes), size(after)),
            Err(_) => format!("free: {} now, too little", size(self.free_bytes)),
        });
    }
}

//! The command `mirrorctl repair`.
//!
//! Owns the step from flags to a catalog that is made anew, the wait until mounts show it, and the report.

use std::time::Duration;

use serde::Serialize;

use crate::blobs::BlobStore;
use crate::cli::args::RepairArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::cli::text::size;
use crate::control;
use crate::rebuild::{self, Done, Files, Rebuilding, Source};

/// How often mounts are looked at that are about to show the new catalog, and how many times: they notice it within a second.
const LOOKS: (Duration, u32) = (Duration::from_millis(100), 100);

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    /// What is wrong with the catalog.
    damage: Option<String>,
    rebuilt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<Restored>,
    lost: Vec<Lost>,
    damaged_lines: u64,
    rows_left_out: u64,
    missing: Amount,
    incomplete: Vec<Snapshot>,
    unlisted: Amount,
    moved_aside: Option<String>,
    complete: bool,
}

#[derive(Serialize)]
struct Restored {
    mirrors: u64,
    snapshots: u64,
    moves: u64,
    files: u64,
    bytes: u64,
}

/// Snapshots whose listing could not be had.
#[derive(Serialize)]
struct Lost {
    mirror: String,
    snapshots: Vec<String>,
    pointers: Vec<String>,
    why: String,
}

/// A snapshot that has files which are missing.
#[derive(Serialize)]
struct Snapshot {
    mirror: String,
    snapshot: String,
}

#[derive(Serialize)]
struct Amount {
    files: u64,
    bytes: u64,
}

/// Makes the catalog anew, or says what would come of that.
pub(in crate::cli) fn run(arguments: &RepairArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let how = Rebuilding {
        source: arguments.restore.clone().map_or(Source::Ledger, Source::Copy),
        force: arguments.force,
        deep: arguments.deep,
        mirrors: context.settings.mirrors.keys().cloned().collect(),
        now: context.now,
    };
    let mounts = control::mounts_of(&context.run_dir, &context.settings.state)?.len();
    let done = if arguments.dry_run {
        let state = context.state_to_read()?;
        rebuild::plan(&state, &BlobStore::open(&state.blobs(), None)?, &how)?
    } else {
        let state = if arguments.restore.is_some() {
            context.state()?
        } else {
            context.existing_state()?
        };
        rebuild::rebuild(&state, &Context::blobs(&state)?, &how)?
    };
    output.done(&Report::of(&done, arguments.dry_run));
    let shown = done
        .generation
        .as_deref()
        .map_or(Ok(()), |new| await_mounts(context, new, mounts));
    let complete = if done.is_complete() {
        Ok(())
    } else {
        Err(incomplete(&done))
    };
    shown.and(complete)
}

/// Waits until all of so many mounts show the catalog of this generation. Each notices it by itself, and is unknown for a moment
/// while it changes over.
fn await_mounts(context: &Context, generation: &str, mounts: usize) -> Result<(), Failure> {
    let mut behind = Vec::new();
    for _ in 0..LOOKS.1 {
        behind = control::mounts_of(&context.run_dir, &context.settings.state)?;
        let all = behind.len();
        behind.retain(|mount| mount.facts.as_ref().is_none_or(|facts| facts.generation != generation));
        if behind.is_empty() && all >= mounts {
            return Ok(());
        }
        context.clock.pause(LOOKS.0);
    }
    if behind.is_empty() {
        // One was unmounted meanwhile.
        return Ok(());
    }
    let mounts = behind.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let failure = Failure::new(
        Kind::NotVisible,
        format!("the catalog was made anew, and is not shown yet at {mounts}"),
    );
    Err(failure.hint("the mount shows it as soon as it notices; mirrorctl status says whether it has"))
}

fn incomplete(done: &Done) -> Failure {
    let failure = Failure::new(
        Kind::Partial,
        "the catalog was made, but not all of it could be restored",
    );
    let failure = if done.missing.files > 0 {
        failure
            .hint("reading a missing file is an error; a sync of a snapshot's mirror fetches what upstream still has")
    } else {
        failure
    };
    if done.contents.as_ref().is_some_and(|contents| !contents.lost.is_empty()) {
        failure.hint("a copy of the catalog may have what is lost, if its files are still in the cache")
    } else {
        failure
    }
}

impl Report {
    fn of(done: &Done, dry_run: bool) -> Self {
        let contents = done.contents.as_ref();
        let lost = contents.map(|contents| &contents.lost[..]).unwrap_or_default();
        Self {
            dry_run,
            damage: done.damage.clone(),
            rebuilt: done.rebuilt,
            restored: contents.map(|contents| Restored {
                mirrors: contents.mirrors,
                snapshots: contents.snapshots,
                moves: contents.moves,
                files: contents.blobs,
                bytes: contents.bytes,
            }),
            lost: lost
                .iter()
                .map(|lost| Lost {
                    mirror: lost.mirror.clone(),
                    snapshots: lost.snapshots.clone(),
                    pointers: lost.pointers.clone(),
                    why: lost.why.clone(),
                })
                .collect(),
            damaged_lines: done.damaged_lines,
            rows_left_out: contents.map_or(0, |contents| contents.left_out),
            missing: Amount::of(done.missing),
            incomplete: done
                .incomplete
                .iter()
                .map(|(mirror, snapshot)| Snapshot {
                    mirror: mirror.clone(),
                    snapshot: snapshot.clone(),
                })
                .collect(),
            unlisted: Amount::of(done.unlisted),
            moved_aside: done.aside.as_ref().map(|path| path.display().to_string()),
            complete: done.is_complete(),
        }
    }
}

impl Amount {
    fn of(files: Files) -> Self {
        let Files { files, bytes } = files;
        Self { files, bytes }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        if !self.rebuilt {
            page.line("the catalog is sound: nothing needs rebuilding");
            return;
        }
        if let Some(damage) = &self.damage {
            page.line(format!("the catalog is damaged: {damage}"));
        }
        let (is, was) = if self.dry_run {
            ("would be", "would be")
        } else {
            ("is", "was")
        };
        if let Some(restored) = &self.restored {
            page.line(format!(
                "{} snapshots of {} mirrors, {} moves and {} files ({}) {is} in the new catalog",
                restored.snapshots,
                restored.mirrors,
                restored.moves,
                restored.files,
                size(restored.bytes)
            ));
        } else {
            page.line("the copy was put back");
        }
        for lost in &self.lost {
            let snapshots = if lost.snapshots.is_empty() {
                "the last synced state".to_owned()
            } else {
                format!("snapshot {}", lost.snapshots.join(", "))
            };
            page.line(format!("{}: {snapshots} {is} lost: {}", lost.mirror, lost.why));
            for pointer in &lost.pointers {
                page.line(format!("{}/{pointer} {is} left without its snapshot", lost.mirror));
            }
        }
        if self.damaged_lines > 0 {
            page.line(format!(
                "{} lines of the ledger are damaged, and what they said is lost",
                self.damaged_lines
            ));
        }
        if self.rows_left_out > 0 {
            page.line(format!(
                "{} rows were left out that refer to what is lost",
                self.rows_left_out
            ));
        }
        if self.missing.files > 0 {
            let Amount { files, bytes } = self.missing;
            page.line(format!(
                "{files} files ({}) are not in the cache, or not whole:",
                size(bytes)
            ));
            for Snapshot { mirror, snapshot } in &self.incomplete {
                page.line(format!("{mirror}: snapshot {snapshot} has some of them"));
            }
        }
        if self.unlisted.files > 0 {
            let Amount { files, bytes } = self.unlisted;
            page.line(format!(
                "{files} files ({}) that no snapshot has {is} kept for the next sync or collection",
                size(bytes)
            ));
        }
        if let Some(aside) = &self.moved_aside {
            page.line(format!("the old catalog {was} moved to {aside}"));
        }
    }
}

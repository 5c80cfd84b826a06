//! The command `mirrorctl snapshot create`.
//!
//! Owns the choice of a name when none is given, and the report.

use serde::Serialize;

use super::moves::Move;
use super::replaced::{Replaced, replaced, tell};
use crate::catalog::{Act, CatalogError, CatalogReader, in_turn};
use crate::cli::args::CreateArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::moving::is_no_environment;
use crate::cli::output::{Human, Output, Page};
use crate::model::{MirrorId, Pointer, SnapshotName};

#[derive(Serialize)]
struct Report {
    mirror: String,
    snapshot: String,
    /// Files of it that are damaged, by their names.
    damaged_files: u64,
    moves: Vec<Move>,
    replaced: Vec<Replaced>,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        page.line(format!(
            "{}: snapshot {} names the last synced state",
            self.mirror, self.snapshot
        ));
        if self.damaged_files > 0 {
            page.line(format!(
                "{} files of it are damaged, and reading them fails: mirrorctl verify --repair fetches them again",
                self.damaged_files
            ));
        }
        tell(&self.moves, &self.replaced, page);
    }
}

/// Gives the last synced state of a mirror a name.
pub(in crate::cli) fn run(arguments: &CreateArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirror = context.mirror(&arguments.mirror)?;
    let mut catalog = context.catalog()?;
    let name = match &arguments.name {
        Some(name) => {
            is_no_environment(mirror, name)?;
            name.clone()
        }
        None => {
            let made = mirror.generated_name(context.now);
            let made = made.map_err(|error| Failure::caused(Kind::Failed, &error).hint("give a name"))?;
            catalog
                .reader()
                .free_name(catalog.reader().mirror(&mirror.id)?, &made)?
        }
    };
    let pointers: &[Pointer] = if arguments.stage { &[Pointer::Staging] } else { &[] };
    let terms = mirror.terms(&Pointer::Staging);
    let moved = in_turn(&context.clock, |now, in_turn| {
        let act = Act {
            command: "stage",
            actor: &context.actor,
            message: arguments.message.as_deref(),
            now,
            in_turn,
            force: false,
            retracts: false,
        };
        catalog.create_snapshot(&mirror.id, &name, arguments.force, pointers, terms, act)
    })?;
    tracing::info!("Snapshot created: {} {name}", mirror.id);
    let visible = context.make_visible();
    let damaged_files = damaged_files(catalog.reader(), &mirror.id, &name)?;
    output.done(&Report {
        mirror: mirror.id.to_string(),
        snapshot: name.to_string(),
        damaged_files,
        moves: moved.iter().map(Move::of).collect(),
        replaced: replaced(&moved, context),
    });
    context.after_moves(&moved);
    visible
}

/// Number of files of a snapshot that are damaged.
fn damaged_files(reader: &CatalogReader, mirror: &MirrorId, name: &SnapshotName) -> Result<u64, CatalogError> {
    let row = reader.mirror(mirror)?;
    let snapshots = reader.snapshots(row)?;
    let snapshot = snapshots.iter().find(|snapshot| snapshot.name == *name);
    snapshot.map_or(Ok(0), |snapshot| reader.damaged_files(row, snapshot.seq))
}

//! The command `mirrorctl snapshot note`.
//!
//! Owns the choice between telling a note and changing it, and the report.

use serde::Serialize;

use crate::catalog::CatalogError;
use crate::cli::args::NoteArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::model::{Note, NoteError};

#[derive(Serialize)]
struct Report {
    mirror: String,
    snapshot: String,
    note: Option<String>,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let Self { mirror, snapshot, note } = self;
        page.line(match note {
            Some(note) => format!("{mirror}: snapshot {snapshot}: {note}"),
            None => format!("{mirror}: snapshot {snapshot} has no note"),
        });
    }
}

/// Puts a note on a snapshot, takes it away, or tells it where nothing was said about it.
pub(in crate::cli) fn run(arguments: &NoteArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    context.mirror(&arguments.mirror)?;
    let report = |note: Option<Note>| Report {
        mirror: arguments.mirror.to_string(),
        snapshot: arguments.name.to_string(),
        note: note.map(|note| note.to_string()),
    };
    let Some(text) = arguments.text.as_deref().or(arguments.remove.then_some("")) else {
        output.answer(&report(note_of(arguments, context)?));
        return Ok(());
    };
    let note = match text.parse::<Note>() {
        Ok(note) => Some(note),
        Err(NoteError::Empty) => None,
        Err(error @ NoteError::TooLong(_)) => return Err(Failure::caused(Kind::Usage, &error)),
    };
    let mut catalog = context.catalog()?;
    catalog.note_snapshot(&arguments.mirror, &arguments.name, note.as_ref())?;
    output.done(&report(note));
    Ok(())
}

fn note_of(arguments: &NoteArgs, context: &Context) -> Result<Option<Note>, Failure> {
    let reader = context.reader()?;
    let snapshots = reader.snapshots(reader.mirror(&arguments.mirror)?)?;
    let found = snapshots.into_iter().find(|snapshot| snapshot.name == arguments.name);
    let unknown = || CatalogError::UnknownSnapshot {
        mirror: arguments.mirror.clone(),
        name: arguments.name.clone(),
    };
    Ok(found.ok_or_else(unknown)?.note)
}

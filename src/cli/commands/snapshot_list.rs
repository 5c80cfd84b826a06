//! The command `mirrorctl snapshot list`.
//!
//! Owns the table of snapshots.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::catalog::SnapshotRecord;
use crate::cli::args::ListArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Align, Human, Output, Page, Table};
use crate::cli::stores::{synced, unconfigured_hint};
use crate::cli::text::{size, utc};
use crate::model::{MirrorId, Pointer};

/// The status of a snapshot whose mirror the configuration does not have.
const UNCONFIGURED: &str = "unconfigured";

#[derive(Serialize)]
struct Report {
    snapshots: Vec<Snapshot>,
    #[serde(skip)]
    detailed: bool,
}

#[derive(Serialize)]
struct Snapshot {
    mirror: String,
    name: String,
    created: String,
    bytes: u64,
    files: u64,
    /// Files that its indices list and a filter has left out.
    absent_files: u64,
    status: Vec<String>,
    tags: Vec<String>,
    note: Option<String>,
    held: Option<String>,
    listing: i64,
    suites: Vec<Suite>,
}

#[derive(Serialize)]
struct Suite {
    suite: String,
    date: Option<String>,
    valid_until: Option<String>,
    signers: Vec<String>,
}

/// Lists snapshots, newest first.
pub(in crate::cli) fn run(arguments: &ListArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let reader = context.reader();
    // Of no catalog, nothing is left over either.
    let left = reader
        .as_ref()
        .map_or(Ok(Vec::new()), |reader| context.unconfigured(reader))?;
    let mirrors = wanted(&arguments.mirrors, &left, context)?;
    let reader = reader?;
    let mut snapshots = Vec::new();
    for mirror in mirrors {
        // A mirror that is configured and was never synced has no snapshots, which is no error.
        let Some(row) = synced(&reader, &mirror)? else {
            continue;
        };
        let mut records = reader.snapshots(row)?;
        records.retain(|record| arguments.tags.iter().all(|tag| record.tags.contains(tag)));
        for record in records {
            let releases = if arguments.detailed {
                reader.releases(row, record.seq)?
            } else {
                Vec::new()
            };
            let suites = releases.iter().map(|release| Suite {
                suite: release.suite.to_string(),
                date: release.date.map(utc),
                valid_until: release.valid_until.map(utc),
                signers: release.signers.clone(),
            });
            snapshots.push(Snapshot::of(&record, !left.contains(&mirror), suites.collect()));
        }
    }
    output.answer(&Report {
        snapshots,
        detailed: arguments.detailed,
    });
    Ok(())
}

/// The mirrors to list: the named ones, or all, first those that are configured and then those that are `left` over.
fn wanted(named: &[MirrorId], left: &[MirrorId], context: &Context) -> Result<Vec<MirrorId>, Failure> {
    let is_wanted = |id: &&MirrorId| named.is_empty() || named.contains(id);
    let left_over: Vec<_> = left.iter().filter(is_wanted).cloned().collect();
    let configured: Vec<_> = named.iter().filter(|id| !left.contains(id)).cloned().collect();
    if configured.is_empty() && !named.is_empty() {
        return Ok(left_over);
    }
    let configured = context
        .mirrors(&configured)?
        .into_iter()
        .map(|mirror| mirror.id.clone());
    Ok(configured.chain(left_over).collect())
}

impl Snapshot {
    fn of(record: &SnapshotRecord, configured: bool, suites: Vec<Suite>) -> Self {
        // Sorted by their names, which has the two that every mirror has between others.
        let (first, further): (Vec<&Pointer>, Vec<&Pointer>) = record
            .pointers
            .iter()
            .partition(|pointer| Pointer::ALWAYS.contains(pointer));
        let pointers = first.into_iter().chain(further).map(Pointer::name);
        let marks = [
            (record.protected, "protected"),
            (record.held.is_some(), "held"),
            (!configured, UNCONFIGURED),
        ];
        let marks = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark));
        Self {
            mirror: record.mirror.to_string(),
            name: record.name.to_string(),
            created: utc(record.created_at),
            bytes: record.bytes,
            files: record.files,
            absent_files: record.absent,
            status: pointers.chain(marks).map(str::to_owned).collect(),
            tags: record.tags.iter().map(ToString::to_string).collect(),
            note: record.note.as_ref().map(ToString::to_string),
            held: record.held.map(|shrink| shrink.to_string()),
            listing: record.seq.number(),
            suites,
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let mut columns = vec![
            ("MIRROR", Align::Left),
            ("SNAPSHOT NAME", Align::Left),
            ("CREATED", Align::Left),
            ("SIZE", Align::Right),
            ("FILES", Align::Right),
            ("STATUS", Align::Left),
        ];
        // Most have neither, and a terminal is narrow.
        let with_tags = self.snapshots.iter().any(|snapshot| !snapshot.tags.is_empty());
        let with_notes = self.snapshots.iter().any(|snapshot| snapshot.note.is_some());
        columns.extend(with_tags.then_some(("TAGS", Align::Left)));
        columns.extend(with_notes.then_some(("NOTE", Align::Left)));
        let mut table = Table::new(&columns);
        for snapshot in &self.snapshots {
            let mut cells = vec![
                snapshot.mirror.clone(),
                snapshot.name.clone(),
                snapshot.created.clone(),
                size(snapshot.bytes),
                snapshot.files.to_string(),
                snapshot.status.join(","),
            ];
            cells.extend(with_tags.then(|| snapshot.tags.join(",")));
            cells.extend(with_notes.then(|| snapshot.note.clone().unwrap_or_default()));
            table.row(cells);
        }
        page.table(&table);
        let left = self
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.status.iter().any(|mark| mark == UNCONFIGURED));
        let left: BTreeSet<_> = left.map(|snapshot| &snapshot.mirror).collect();
        for mirror in left {
            page.line(unconfigured_hint(mirror));
        }
        if self.detailed {
            self.snapshots.iter().for_each(|snapshot| snapshot.details(page));
        }
    }
}

impl Snapshot {
    fn details(&self, page: &mut Page) {
        page.line("");
        page.line(format!("{} {} (listing {})", self.mirror, self.name, self.listing));
        if self.absent_files > 0 {
            page.line(format!(
                "  {} files that its indices list are absent: the filters leave them out",
                self.absent_files
            ));
        }
        if let Some(held) = &self.held {
            page.line(format!("  held: {held}"));
        }
        for suite in &self.suites {
            let known = |time: &Option<String>| time.clone().unwrap_or_else(|| "not stated".to_owned());
            page.line(format!(
                "  {}: Release of {}, valid until {}, signed by {}",
                suite.suite,
                known(&suite.date),
                known(&suite.valid_until),
                if suite.signers.is_empty() {
                    "nobody".to_owned()
                } else {
                    suite.signers.join(" ")
                }
            ));
        }
    }
}

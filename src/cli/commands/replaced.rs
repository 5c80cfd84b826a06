//! The end of every command that moves pointers: mounts are told, then people and programs, and hooks last.
//!
//! Owns that order, and the report of pool files that have other bytes than before under the same path. Clients wait for the
//! first and not for the second. It moves nothing.

use std::collections::BTreeSet;

use serde::Serialize;

use super::moves::{Move, Moves};
use crate::catalog::{CatalogError, CatalogReader, MoveRecord, Moved, Seq};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Human, Output, Page};

/// Paths of one move that programs get.
const LISTED: usize = 1_000;

/// Paths of one move that people get.
const SHOWN: usize = 3;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    moves: Moves,
    replaced: Vec<Replaced>,
}

/// What one move replaced.
#[derive(Debug, Serialize)]
pub(super) struct Replaced {
    mirror: String,
    pointer: String,
    files: usize,
    paths: Vec<String>,
}

/// Makes moves visible, and reports them.
///
/// # Errors
/// When a mount did not confirm that it shows them. They are recorded and reported all the same.
pub(in crate::cli) fn conclude(moved: &[Moved], context: &Context, output: &mut Output) -> Result<(), Failure> {
    let visible = context.make_visible();
    output.done(&Report {
        moves: Moves::of(moved),
        replaced: replaced(moved, context),
    });
    context.after_moves(moved);
    visible
}

/// What the moves replaced; to be asked when mounts were told. The moves are done: that it cannot be told is no failure.
pub(super) fn replaced(moved: &[Moved], context: &Context) -> Vec<Replaced> {
    let found = context.reader().and_then(|reader| {
        let each = moved.iter().map(|moved| Replaced::read(&reader, moved));
        Ok(each.collect::<Result<Vec<_>, _>>()?)
    });
    match found {
        Ok(found) => found.into_iter().flatten().collect(),
        Err(failure) => {
            tracing::warn!(
                "cannot tell which files changed under their names: {}",
                failure.in_one_line()
            );
            Vec::new()
        }
    }
}

impl Replaced {
    fn read(reader: &CatalogReader, moved: &Moved) -> Result<Option<Self>, CatalogError> {
        let Moved {
            before: Some(before),
            now,
        } = moved
        else {
            return Ok(None);
        };
        if !moved.changed() {
            return Ok(None);
        }
        let replaced = replaced_paths(reader, before, now)?;
        Ok((!replaced.is_empty()).then(|| Self {
            mirror: now.mirror.to_string(),
            pointer: now.pointer.to_string(),
            files: replaced.len(),
            paths: replaced.iter().take(LISTED).map(ToString::to_string).collect(),
        }))
    }

    pub(super) fn sentence(&self) -> String {
        let Self {
            mirror,
            pointer,
            files,
            paths,
        } = self;
        let mut shown: Vec<String> = paths.iter().take(SHOWN).cloned().collect();
        if *files > shown.len() {
            shown.push(format!("{} more", files - shown.len()));
        }
        let s = if *files == 1 { "" } else { "s" };
        format!(
            "{mirror}/{pointer}: {files} file{s} changed under the same name, and clients refuse them until they update: {}",
            shown.join(", ")
        )
    }
}

/// The pool files that the target of `now` has, and that have other bytes under the same path in the target of `before` or,
/// where that has none there, in a publication that was reachable through it and still is.
fn replaced_paths(
    reader: &CatalogReader,
    before: &MoveRecord,
    now: &MoveRecord,
) -> Result<BTreeSet<Box<str>>, CatalogError> {
    let mirror = reader.mirror(&now.mirror)?;
    let lenders = reader.generations(mirror, now, now.moved_at)?;
    let lenders: Vec<Seq> = lenders.iter().map(|lender| lender.seq).collect();
    reader.replaced(mirror, now.seq, before.seq, &lenders)
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        tell(&self.moves.moves, &self.replaced, page);
    }
}

/// Says which pointers moved, and what that replaced.
pub(super) fn tell(moves: &[Move], replaced: &[Replaced], page: &mut Page) {
    for moved in moves {
        page.line(moved.sentence());
    }
    for replaced in replaced {
        page.line(replaced.sentence());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_shown_a_few_paths() {
        let said = |files: usize| {
            let one = Replaced {
                mirror: "debian".to_owned(),
                pointer: "current".to_owned(),
                files,
                paths: (1..=files).map(|n| format!("pool/{n}")).collect(),
            };
            let sentence = one.sentence();
            sentence.split_once("they update: ").expect("paths").1.to_owned()
        };
        assert_eq!([said(1), said(3)], ["pool/1", "pool/1, pool/2, pool/3"]);
        assert_eq!(said(5), "pool/1, pool/2, pool/3, 2 more");
    }
}

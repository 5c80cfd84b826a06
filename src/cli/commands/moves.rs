//! The report of pointers that moved, shared by the commands that move them.
//!
//! Owns its form for people and for programs.

use serde::Serialize;

use crate::catalog::Moved;
use crate::cli::output::{Human, Page};
use crate::model::{MirrorId, Pointer, SnapshotName};

#[derive(Serialize)]
pub(in crate::cli) struct Moves {
    pub(super) moves: Vec<Move>,
}

#[derive(Serialize)]
pub(in crate::cli) struct Move {
    mirror: String,
    pointer: String,
    from: Option<String>,
    /// `None` where it was taken out.
    to: Option<String>,
    changed: bool,
}

impl Moves {
    pub(in crate::cli) fn of(moved: &[Moved]) -> Self {
        Self {
            moves: moved.iter().map(Move::of).collect(),
        }
    }

    /// Writes the moves that happened to the log, as the event it is.
    pub(in crate::cli) fn log(moved: &[Moved]) {
        for moved in moved.iter().filter(|moved| moved.changed()) {
            let what = match &moved.now.pointer {
                Pointer::Staging => "Staging",
                Pointer::Current => "Production",
                Pointer::Environment(name) => name.as_str(),
            };
            tracing::info!("{what} updated: {} -> {}", moved.now.mirror, moved.now.snapshot);
        }
    }
}

impl Move {
    pub(in crate::cli) fn of(moved: &Moved) -> Self {
        Self {
            mirror: moved.now.mirror.to_string(),
            pointer: moved.now.pointer.to_string(),
            from: moved.before.as_ref().map(|before| before.snapshot.to_string()),
            to: Some(moved.now.snapshot.to_string()),
            changed: moved.changed(),
        }
    }

    /// A move that is only talked of.
    pub(in crate::cli) fn planned(
        mirror: &MirrorId,
        pointer: &Pointer,
        from: Option<String>,
        to: &SnapshotName,
        changed: bool,
    ) -> Self {
        Self {
            mirror: mirror.to_string(),
            pointer: pointer.to_string(),
            from,
            to: Some(to.to_string()),
            changed,
        }
    }

    /// A pointer that leads nowhere now, and where it led until then, if it led anywhere.
    pub(in crate::cli) fn taken_out(mirror: &MirrorId, pointer: &Pointer, led: Option<SnapshotName>) -> Self {
        Self {
            mirror: mirror.to_string(),
            pointer: pointer.to_string(),
            changed: led.is_some(),
            from: led.map(|led| led.to_string()),
            to: None,
        }
    }

    pub(in crate::cli) fn sentence(&self) -> String {
        let Self {
            mirror,
            pointer,
            from,
            to,
            changed,
        } = self;
        match (from, to) {
            (_, Some(to)) if !changed => format!("{mirror}/{pointer} is at {to} already"),
            (Some(from), Some(to)) => format!("{mirror}/{pointer}: {from} -> {to}"),
            (None, Some(to)) => format!("{mirror}/{pointer} -> {to}"),
            (Some(from), None) => format!("{mirror}/{pointer} is taken out; it led to {from}"),
            (None, None) => format!("{mirror}/{pointer} leads nowhere already"),
        }
    }
}

impl Human for Moves {
    fn human(&self, page: &mut Page) {
        self.moves.iter().for_each(|moved| page.line(moved.sentence()));
    }
}

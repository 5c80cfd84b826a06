//! A recording of a snapshot of which little matters.
//!
//! Owns the values of the rest, for benchmarks that write to a catalog of their own.

use mirrorctl::catalog::{Recording, Source};
use mirrorctl::model::{Digest, MoveTerms, SnapshotName, Timestamp};

/// A recording of the snapshot `name` at the time `now` that moves no pointer.
pub fn recording(manifest: Digest, name: &SnapshotName, now: Timestamp) -> Recording<'_> {
    Recording {
        manifest,
        name,
        source: Source {
            url: "http://h/",
            selection: "everything",
            releases: &[],
        },
        held: None,
        absent: 0,
        pointers: &[],
        terms: MoveTerms::default(),
        actor: "bench",
        created_at: now,
        now,
        in_turn: false,
    }
}

//! Time travel: which snapshot a name in a mirror's directory `at` stands for.
//!
//! Owns the rule that only times which have come have a tree. How times are spelt is `model`'s, which snapshot was the
//! newest the catalog's.

use std::io;

use mirrorctl_mount::tree::{Door, MirrorNo};

use super::{View, doors, mirror_row};
use crate::model::Timestamp;

impl View {
    /// The snapshot that was the newest at the time that `name` spells. A catalog that cannot be read leaves unknown what
    /// it would have said, but not that a name is no time or that a time has not come.
    pub(super) fn newest_at(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<Option<Door>> {
        let Some(time) = std::str::from_utf8(name).ok().and_then(Timestamp::from_spelling) else {
            return Ok(None);
        };
        if time > self.clock.now() {
            return Ok(None);
        }
        let row = self
            .readers
            .read(|reader| reader.snapshot_at(mirror_row(mirror), time))?;
        row.map(doors::of_snapshot).transpose()
    }
}

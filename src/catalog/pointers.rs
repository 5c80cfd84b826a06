//! Where the pointers lead: the appended moves, and the one act that adds to them.
//!
//! Owns table `move`. Rows are only ever added; the newest row of a pointer is where it leads. All moves of one act
//! become visible in one transaction. It does not judge whether a move is wise: `publish` does.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::sql_types::Sql;
use super::{Catalog, CatalogError, CatalogReader, MirrorRow, MoveRow, Seq, SnapshotRow, snapshots};
use crate::model::{MirrorId, Pointer, SnapshotName, Timestamp};

/// One move of a pointer, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveRecord {
    /// Its row; greater is later.
    pub row: MoveRow,
    /// The first move of the same act: moves with one act became visible together.
    pub act_row: MoveRow,
    /// The mirror.
    pub mirror: MirrorId,
    /// The pointer.
    pub pointer: Pointer,
    /// The snapshot it has led to since.
    pub snapshot_row: SnapshotRow,
    /// That snapshot's name at the time.
    pub snapshot: SnapshotName,
    /// That snapshot's listing.
    pub seq: Seq,
    /// When.
    pub moved_at: Timestamp,
    /// Modification time of plain index names below the pointer from this move on: it grows by at least a second
    /// with every move, whatever the clock does.
    pub serial_mtime: Timestamp,
    /// The command that moved it: `stage`, `publish`, `promote` or `sync`.
    pub act: String,
    /// Who did it.
    pub actor: String,
}

/// Where a pointer shall lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointerTarget {
    /// To the snapshot of this name.
    Snapshot(SnapshotName),
    /// To wherever this other pointer of the same mirror leads at that moment.
    SameAs(Pointer),
}

/// A wish to move one pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedMove {
    /// The mirror.
    pub mirror: MirrorId,
    /// The pointer.
    pub pointer: Pointer,
    /// Where to.
    pub target: PointerTarget,
}

const COLUMNS: &str = "move.id, act_id, mirror.name, pointer, snapshot_id, snapshot_name, seq, moved_at, \
                       serial_mtime, act, actor";

impl CatalogReader {
    /// Where `pointer` leads now; `None` when it was never set.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn pointer(&self, mirror: MirrorRow, pointer: Pointer) -> Result<Option<MoveRecord>, CatalogError> {
        newest(&self.connection, mirror, pointer)
    }

    /// The move of this row.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn pointer_move(&self, row: MoveRow) -> Result<Option<MoveRecord>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM move JOIN mirror ON mirror.id = mirror_id WHERE move.id = ?");
        Ok(self
            .connection
            .prepare_cached(&sql)?
            .query_row([row], read_move)
            .optional()?)
    }

    /// Every move of a mirror's pointers, newest first.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn history(&self, mirror: MirrorRow) -> Result<Vec<MoveRecord>, CatalogError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM move JOIN mirror ON mirror.id = mirror_id WHERE mirror_id = ? ORDER BY move.id DESC"
        );
        let mut query = self.connection.prepare_cached(&sql)?;
        let rows = query.query_map([mirror], read_move)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Catalog {
    /// Moves pointers, all in one transaction: either every wish is fulfilled or none. A pointer that already leads
    /// to its target stays where it is and gets no new row. Answers where each pointer leads afterwards, in the
    /// order of the wishes, with the move that it replaced.
    ///
    /// # Errors
    /// When a mirror, snapshot or source pointer does not exist, or the catalog cannot be written.
    pub fn move_pointers(
        &mut self,
        wishes: &[RequestedMove],
        act: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Vec<Moved>, CatalogError> {
        self.write(|transaction| {
            let mut append = Appender {
                transaction,
                act,
                actor,
                now,
                act_row: None,
            };
            wishes.iter().map(|wish| append.fulfil(wish)).collect()
        })
    }
}

/// The outcome of one wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Where the pointer led before.
    pub before: Option<MoveRecord>,
    /// Where it leads now: the same as before when it was there already.
    pub now: MoveRecord,
}

impl Moved {
    /// Whether the pointer leads elsewhere now.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.before.as_ref().is_none_or(|before| before.row != self.now.row)
    }
}

/// Appends the moves of one act.
pub(super) struct Appender<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) act: &'a str,
    pub(super) actor: &'a str,
    pub(super) now: Timestamp,
    pub(super) act_row: Option<MoveRow>,
}

impl Appender<'_> {
    fn fulfil(&mut self, wish: &RequestedMove) -> Result<Moved, CatalogError> {
        let mirror = super::tree::mirror_row(self.transaction, &wish.mirror)?;
        let target = match &wish.target {
            PointerTarget::Snapshot(name) => snapshots::find(self.transaction, mirror, &wish.mirror, name)?,
            PointerTarget::SameAs(pointer) => {
                let source = newest(self.transaction, mirror, *pointer)?.ok_or_else(|| CatalogError::NotSet {
                    mirror: wish.mirror.clone(),
                    pointer: *pointer,
                })?;
                snapshots::Target {
                    row: source.snapshot_row,
                    name: source.snapshot,
                    seq: source.seq,
                }
            }
        };
        self.lead(mirror, wish.pointer, &target)
    }

    /// Makes `pointer` lead to `target`.
    pub(super) fn lead(
        &mut self,
        mirror: MirrorRow,
        pointer: Pointer,
        target: &snapshots::Target,
    ) -> Result<Moved, CatalogError> {
        let before = newest(self.transaction, mirror, pointer)?;
        if let Some(there) = before.as_ref().filter(|before| before.snapshot_row == target.row) {
            return Ok(Moved {
                now: there.clone(),
                before,
            });
        }
        let serial = before
            .as_ref()
            .map_or(self.now, |before| self.now.max(before.serial_mtime.plus(1)));
        self.transaction
            .prepare_cached(
                "INSERT INTO move (act_id, mirror_id, pointer, snapshot_id, snapshot_name, seq, moved_at,
                                   serial_mtime, act, actor)
                 VALUES (coalesce(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                self.act_row,
                mirror,
                Sql(pointer),
                target.row,
                Sql(&target.name),
                target.seq,
                Sql(self.now),
                Sql(serial),
                self.act,
                self.actor
            ])?;
        let row = MoveRow(self.transaction.last_insert_rowid());
        if self.act_row.is_none() {
            self.transaction
                .execute("UPDATE move SET act_id = id WHERE id = ?", [row])?;
            self.act_row = Some(row);
        }
        let now = newest(self.transaction, mirror, pointer)?.expect("a move was just appended");
        Ok(Moved { before, now })
    }
}

pub(super) fn newest(
    connection: &rusqlite::Connection,
    mirror: MirrorRow,
    pointer: Pointer,
) -> Result<Option<MoveRecord>, CatalogError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM move JOIN mirror ON mirror.id = mirror_id
         WHERE mirror_id = ? AND pointer = ? ORDER BY move.id DESC LIMIT 1"
    );
    let mut query = connection.prepare_cached(&sql)?;
    Ok(query.query_row(params![mirror, Sql(pointer)], read_move).optional()?)
}

fn read_move(row: &Row<'_>) -> rusqlite::Result<MoveRecord> {
    let (Sql(mirror), Sql(pointer), Sql(snapshot)) = (row.get(2)?, row.get(3)?, row.get(5)?);
    let (Sql(moved_at), Sql(serial_mtime)) = (row.get(7)?, row.get(8)?);
    Ok(MoveRecord {
        row: row.get(0)?,
        act_row: row.get(1)?,
        mirror,
        pointer,
        snapshot_row: row.get(4)?,
        snapshot,
        seq: row.get(6)?,
        moved_at,
        serial_mtime,
        act: row.get(9)?,
        actor: row.get(10)?,
    })
}

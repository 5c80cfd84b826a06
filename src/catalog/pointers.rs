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
    /// The command that moved it: `stage`, `publish`, `promote`, `sync` or `migrate`.
    pub act: String,
    /// Who did it.
    pub actor: String,
    /// Whether a rule was against it.
    pub forced: bool,
}

/// What moves pointers: the command, on whose behalf, and when.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// The command's name: `stage`, `publish`, `promote` or `sync`.
    pub command: &'a str,
    /// Who acts.
    pub actor: &'a str,
    /// The time of day.
    pub now: Timestamp,
    /// Whether rules that stand against it are overridden.
    pub force: bool,
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
                       serial_mtime, act, actor, forced";

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
    /// When a mirror, snapshot or source pointer does not exist, a target is held and the act has no force, or the
    /// catalog cannot be written.
    pub fn move_pointers(&mut self, wishes: &[RequestedMove], act: Act<'_>) -> Result<Vec<Moved>, CatalogError> {
        self.write(|transaction| {
            let mut append = Appender::begin(transaction, act);
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
    transaction: &'a Transaction<'a>,
    act: Act<'a>,
    act_row: Option<MoveRow>,
}

impl<'a> Appender<'a> {
    pub(super) fn begin(transaction: &'a Transaction<'a>, act: Act<'a>) -> Self {
        Self {
            transaction,
            act,
            act_row: None,
        }
    }

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
        self.lead(mirror, &wish.mirror, wish.pointer, &target)
    }

    /// Makes `pointer` lead to `target`.
    pub(super) fn lead(
        &mut self,
        mirror: MirrorRow,
        id: &MirrorId,
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
        let forced = self.release(mirror, id, target)?;
        let Act {
            command, actor, now, ..
        } = self.act;
        let serial = before
            .as_ref()
            .map_or(now, |before| now.max(before.serial_mtime.plus(1)));
        self.transaction
            .prepare_cached(
                "INSERT INTO move (act_id, mirror_id, pointer, snapshot_id, snapshot_name, seq, moved_at,
                                   serial_mtime, act, actor, forced)
                 VALUES (coalesce(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                self.act_row,
                mirror,
                Sql(pointer),
                target.row,
                Sql(&target.name),
                target.seq,
                Sql(now),
                Sql(serial),
                command,
                actor,
                forced
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

    /// Makes sure that nothing stands against a move to `target`, and answers whether that took force.
    fn release(&self, mirror: MirrorRow, id: &MirrorId, target: &snapshots::Target) -> Result<bool, CatalogError> {
        let Some(shrink) = snapshots::held(self.transaction, mirror, target.seq)? else {
            return Ok(false);
        };
        if !self.act.force {
            return Err(CatalogError::Held {
                mirror: id.clone(),
                name: target.name.clone(),
                shrink,
            });
        }
        let end = "UPDATE listing SET held_against = NULL WHERE mirror_id = ? AND seq = ?";
        self.transaction.execute(end, params![mirror, target.seq])?;
        Ok(true)
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
        forced: row.get(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::*;

    /// Two mirrors with the snapshots `one` and `two`.
    fn house() -> House {
        let mut house = House::new();
        for mirror in ["debian", "other"] {
            for (name, content) in [("one", "x"), ("two", "y")] {
                house
                    .sync(mirror, &listing(&[("a", content)]), name, &[], at(0))
                    .expect("records");
            }
        }
        house
    }

    fn wish(mirror: &str, pointer: Pointer, name: &str) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id(mirror),
            pointer,
            target: PointerTarget::Snapshot(snapshot_name(name)),
        }
    }

    fn promote(mirror: &str) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id(mirror),
            pointer: Pointer::Current,
            target: PointerTarget::SameAs(Pointer::Staging),
        }
    }

    fn publish(house: &mut House, name: &str, now: i64) -> Moved {
        let wishes = [wish("debian", Pointer::Current, name)];
        let moved = house
            .catalog
            .move_pointers(&wishes, act("publish", at(now)))
            .expect("moves");
        moved.into_iter().next().expect("one wish, one answer")
    }

    #[test]
    fn serial_times_grow_by_a_second_whatever_the_clock_says() {
        let mut house = house();
        let times = [
            ("one", 100, 100),
            ("two", 100, 101),
            ("one", 50, 102),
            ("two", 102, 103),
            ("one", 500, 500),
        ];
        for (name, now, serial) in times {
            let moved = publish(&mut house, name, now);
            assert_eq!((moved.now.moved_at, moved.now.serial_mtime), (at(now), at(serial)));
        }
        let wishes = [wish("debian", Pointer::Staging, "one")];
        let moved = house
            .catalog
            .move_pointers(&wishes, act("stage", at(7)))
            .expect("moves");
        assert_eq!(moved[0].now.serial_mtime, at(7), "each pointer has its own");
    }

    #[test]
    fn a_pointer_that_is_there_already_gets_no_row() {
        let mut house = house();
        let first = publish(&mut house, "one", 1);
        assert!(first.changed());
        let again = publish(&mut house, "one", 2);
        assert!(!again.changed());
        assert_eq!(again.now, first.now);
        assert_eq!(house.number("SELECT count(*) FROM move"), 1);
    }

    #[test]
    fn all_wishes_are_fulfilled_or_none() {
        let mut house = house();
        let good = [
            wish("debian", Pointer::Current, "one"),
            wish("debian", Pointer::Staging, "two"),
        ];
        for bad in [
            wish("unknown", Pointer::Current, "one"),
            wish("other", Pointer::Current, "three"),
            promote("other"),
        ] {
            let wishes = [good[0].clone(), good[1].clone(), bad.clone()];
            house
                .catalog
                .move_pointers(&wishes, act("publish", at(1)))
                .expect_err("one cannot be");
            assert_eq!(house.number("SELECT count(*) FROM move"), 0, "{bad:?}");
        }
        house
            .catalog
            .move_pointers(&good, act("publish", at(1)))
            .expect("moves");
    }

    #[test]
    fn moves_of_one_act_say_so_and_answers_keep_the_order_of_the_wishes() {
        let mut house = house();
        publish(&mut house, "one", 1);
        let wishes = [
            wish("other", Pointer::Current, "two"),
            wish("debian", Pointer::Current, "one"),
            wish("debian", Pointer::Staging, "one"),
        ];
        let moves = house
            .catalog
            .move_pointers(&wishes, act("publish", at(2)))
            .expect("moves");
        assert_eq!(
            moves.iter().map(Moved::changed).collect::<Vec<_>>(),
            [true, false, true]
        );
        assert_eq!(moves[0].now.act_row, moves[0].now.row);
        assert_eq!(moves[2].now.act_row, moves[0].now.row);
        assert_ne!(moves[1].now.act_row, moves[0].now.act_row);
        let mirrors: Vec<_> = moves.iter().map(|moved| moved.now.mirror.as_str()).collect();
        assert_eq!(mirrors, ["other", "debian", "debian"]);
        let reader = house.catalog.reader();
        for moved in &moves {
            assert_eq!(
                reader.pointer_move(moved.now.row).expect("reads").as_ref(),
                Some(&moved.now)
            );
        }
    }

    #[test]
    fn a_pointer_follows_another_to_where_it_leads_at_that_moment() {
        let mut house = house();
        let wishes = [wish("debian", Pointer::Staging, "two"), promote("debian")];
        let moves = house
            .catalog
            .move_pointers(&wishes, act("promote", at(1)))
            .expect("moves");
        assert_eq!(moves[1].now.snapshot, snapshot_name("two"));
        assert_eq!(moves[1].now.snapshot_row, moves[0].now.snapshot_row);
        assert!(matches!(
            house.catalog.move_pointers(&[promote("other")], act("promote", at(2))),
            Err(CatalogError::NotSet {
                pointer: Pointer::Staging,
                ..
            })
        ));
    }

    #[test]
    fn processes_that_move_one_pointer_together_all_leave_their_row() {
        let mut house = house();
        publish(&mut house, "one", 1);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let path = &house.path;
                scope.spawn(move || {
                    let mut catalog = Catalog::open(path).expect("opens");
                    for turn in 0..10 {
                        let name = if (n + turn) % 2 == 0 { "one" } else { "two" };
                        let wishes = [wish("debian", Pointer::Current, name)];
                        let moved = catalog.move_pointers(&wishes, act("publish", at(1))).expect("moves");
                        assert_eq!(moved[0].now.snapshot, snapshot_name(name));
                    }
                });
            }
        });
        let history = house.catalog.reader().history(house.row("debian")).expect("reads");
        assert!(history.is_sorted_by(|a, b| a.row > b.row && a.serial_mtime == b.serial_mtime.plus(1)));
        assert!(history.is_sorted_by(|a, b| a.snapshot != b.snapshot));
    }
}

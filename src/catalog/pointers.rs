//! Where the pointers lead: the appended moves, and the one act that adds to them.
//!
//! Owns tables `pointer` and `move`. Rows are only ever added; the newest row of a pointer is where it leads. All moves of
//! one act become visible in one transaction. What a wish means, and what stands against it, `wishes` knows; whether a move
//! is wise, `publish` judges.

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::sql_types::Sql;
use super::standing::Production;
use super::{Catalog, CatalogError, CatalogReader, MirrorRow, MoveRow, Seq, SnapshotRow, snapshots, wishes};
use crate::model::{Leads, Lending, MirrorId, MoveTerms, Pointer, SnapshotName, Timestamp};

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
    /// That snapshot's name now; at the time, if it is gone.
    pub snapshot: SnapshotName,
    /// That snapshot's name at the time.
    pub snapshot_then: SnapshotName,
    /// That snapshot's listing.
    pub seq: Seq,
    /// When.
    pub moved_at: Timestamp,
    /// Modification time of plain index names below the pointer from this move on: it grows by at least a second
    /// with every move, whatever the clock does.
    pub serial_mtime: Timestamp,
    /// The command that moved it: `stage`, `publish`, `promote`, `rollback`, `sync`, `migrate` or `unpublish`.
    pub act: String,
    /// Who did it.
    pub actor: String,
    /// Why, in their words.
    pub message: Option<String>,
    /// Whether a rule was against it.
    pub forced: bool,
    /// Whether the snapshot had passed its checks; `None` where no test of it counted.
    pub passed: Option<bool>,
    /// What of the publications before stays reachable from this move on.
    pub lending: Lending,
    /// Whether it takes back what was published after its target.
    pub retracts: bool,
    /// Whether the pointer has led nowhere since: the snapshot is where it led until then.
    pub ends: bool,
}

/// What moves pointers: the command, on whose behalf, when, and why.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// The command's name: `stage`, `publish`, `promote`, `rollback`, `sync` or `migrate`.
    pub command: &'a str,
    /// Who acts.
    pub actor: &'a str,
    /// Why, in their words.
    pub message: Option<&'a str>,
    /// The time of day.
    pub now: Timestamp,
    /// Whether a move whose serial time would be later than `now` is refused ([`CatalogError::TooSoon`]).
    pub in_turn: bool,
    /// Whether rules that stand against it are overridden.
    pub force: bool,
    /// Whether what was published after the targets is taken back, so that nothing of it stays reachable.
    pub retracts: bool,
}

/// Where a pointer shall lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointerTarget {
    /// To the snapshot of this name.
    Snapshot(SnapshotName),
    /// To wherever this other pointer of the same mirror leads at that moment.
    SameAs(Pointer),
    /// To where it led before it was moved to where it leads: going back twice goes back two steps.
    Previous,
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
    /// Where the pointer must lead at that moment; `None` for anywhere.
    pub expect: Option<Leads>,
    /// On which terms.
    pub terms: MoveTerms,
}

const COLUMNS: &str = "move.id, act_id, mirror.name, pointer.name, snapshot_id, snapshot_name, seq, moved_at, \
                       serial_mtime, act, actor, message, forced, passed, keep_generations, keep_for, retracts, \
                       (SELECT snapshot.name FROM snapshot WHERE snapshot.id = snapshot_id), act = 'unpublish'";
const FROM: &str = "move JOIN mirror ON mirror.id = mirror_id JOIN pointer ON pointer.id = move.pointer";

impl CatalogReader {
    /// Where `pointer` leads now; `None` when it was never set, or was taken out.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn pointer(&self, mirror: MirrorRow, pointer: &Pointer) -> Result<Option<MoveRecord>, CatalogError> {
        newest(&self.connection, mirror, pointer)
    }

    /// Where each pointer of a mirror leads that leads somewhere, sorted by their names.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn pointers(&self, mirror: MirrorRow) -> Result<Vec<MoveRecord>, CatalogError> {
        pointers(&self.connection, mirror)
    }

    /// The move of this row.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn pointer_move(&self, row: MoveRow) -> Result<Option<MoveRecord>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE move.id = ?");
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
        let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE mirror_id = ? ORDER BY move.id DESC");
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
    /// When a mirror, snapshot or source pointer does not exist, a pointer does not lead where it is expected to, a
    /// target is held or has not passed its checks and the act has no force, it is not a pointer's turn yet, or the catalog
    /// cannot be written.
    pub fn move_pointers(&mut self, wishes: &[RequestedMove], act: Act<'_>) -> Result<Vec<Moved>, CatalogError> {
        self.write(|transaction| {
            let mut append = Appender::begin(transaction, act);
            append.production = Production::after(transaction, wishes);
            wishes::require_checks(transaction, wishes, &append.production, act)?;
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
    production: Production,
}

impl<'a> Appender<'a> {
    pub(super) fn begin(transaction: &'a Transaction<'a>, act: Act<'a>) -> Self {
        Self {
            transaction,
            act,
            act_row: None,
            production: Production::default(),
        }
    }

    fn fulfil(&mut self, wish: &RequestedMove) -> Result<Moved, CatalogError> {
        let (mirror, target) = wishes::resolve(self.transaction, wish)?;
        self.lead(mirror, &wish.mirror, &wish.pointer, &target, wish.terms)
    }

    /// Makes `pointer` lead to `target`.
    pub(super) fn lead(
        &mut self,
        mirror: MirrorRow,
        id: &MirrorId,
        pointer: &Pointer,
        target: &snapshots::Target,
        terms: MoveTerms,
    ) -> Result<Moved, CatalogError> {
        let before = newest(self.transaction, mirror, pointer)?;
        let is_there = wishes::is_there(self.transaction, before.as_ref(), target, self.act)?;
        if let Some(there) = before.clone().filter(|_| is_there) {
            return Ok(Moved { before, now: there });
        }
        let verdict = wishes::judge(
            self.transaction,
            (mirror, id),
            target,
            (terms, &self.production),
            self.act,
        )?;
        if verdict.held {
            let end = "UPDATE listing SET held_against = NULL WHERE mirror_id = ? AND seq = ?";
            self.transaction.execute(end, params![mirror, target.seq])?;
        }
        let Act { now, in_turn, .. } = self.act;
        let last = last_serial(self.transaction, mirror, pointer)?;
        let serial = last.map_or(now, |last| now.max(last.plus(1)));
        if in_turn && serial > now {
            return Err(CatalogError::TooSoon {
                mirror: id.clone(),
                pointer: pointer.clone(),
                until: serial,
            });
        }
        let verdict = (verdict.forced, verdict.passed);
        self.append((mirror, pointer), target, serial, verdict, terms.lending)?;
        let now = newest(self.transaction, mirror, pointer)?.expect("a move was just appended");
        Ok(Moved { before, now })
    }

    /// Makes a pointer, which leads where `there` says, lead nowhere.
    pub(super) fn end(&mut self, mirror: MirrorRow, there: &MoveRecord) -> Result<(), CatalogError> {
        let target = snapshots::Target {
            row: there.snapshot_row,
            name: there.snapshot.clone(),
            seq: there.seq,
        };
        let verdict = (self.act.force, None);
        // Nothing shows this time, and that of the next move is later.
        let serial = there.serial_mtime;
        self.append((mirror, &there.pointer), &target, serial, verdict, there.lending)
    }

    fn append(
        &mut self,
        (mirror, pointer): (MirrorRow, &Pointer),
        target: &snapshots::Target,
        serial: Timestamp,
        (forced, passed): (bool, Option<bool>),
        lending: Lending,
    ) -> Result<(), CatalogError> {
        let number = intern(self.transaction, pointer)?;
        let Act {
            command,
            actor,
            message,
            now,
            retracts,
            ..
        } = self.act;
        self.transaction
            .prepare_cached(
                "INSERT INTO move (act_id, mirror_id, pointer, snapshot_id, snapshot_name, seq, moved_at,
                                   serial_mtime, act, actor, message, forced, passed, keep_generations, keep_for,
                                   retracts)
                 VALUES (coalesce(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                self.act_row,
                mirror,
                number,
                target.row,
                Sql(&target.name),
                target.seq,
                Sql(now),
                Sql(serial),
                command,
                actor,
                message,
                forced,
                passed,
                lending.generations,
                i64::try_from(lending.within.as_secs()).unwrap_or(i64::MAX),
                retracts
            ])?;
        let row = MoveRow(self.transaction.last_insert_rowid());
        if self.act_row.is_none() {
            self.transaction
                .execute("UPDATE move SET act_id = id WHERE id = ?", [row])?;
            self.act_row = Some(row);
        }
        Ok(())
    }
}

/// The number of a pointer, which gets one with its first move.
fn intern(transaction: &Transaction<'_>, pointer: &Pointer) -> Result<i64, CatalogError> {
    let number = |transaction: &Transaction<'_>| {
        transaction
            .prepare_cached("SELECT id FROM pointer WHERE name = ?")?
            .query_row([pointer.name()], |row| row.get(0))
            .optional()
    };
    if let Some(number) = number(transaction)? {
        return Ok(number);
    }
    transaction.execute("INSERT INTO pointer (name) VALUES (?)", [pointer.name()])?;
    Ok(transaction.last_insert_rowid())
}

pub(super) fn newest(
    connection: &Connection,
    mirror: MirrorRow,
    pointer: &Pointer,
) -> Result<Option<MoveRecord>, CatalogError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM}
         WHERE mirror_id = ? AND move.pointer = (SELECT id FROM pointer WHERE name = ?)
         ORDER BY move.id DESC LIMIT 1"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let newest = query.query_row(params![mirror, pointer.name()], read_move).optional()?;
    Ok(newest.filter(|newest| !newest.ends))
}

/// The serial time of the newest move of a pointer that may lead nowhere now: times never go back.
fn last_serial(
    connection: &Connection,
    mirror: MirrorRow,
    pointer: &Pointer,
) -> Result<Option<Timestamp>, CatalogError> {
    let mut query = connection.prepare_cached(
        "SELECT serial_mtime FROM move
         WHERE mirror_id = ? AND pointer = (SELECT id FROM pointer WHERE name = ?) ORDER BY id DESC LIMIT 1",
    )?;
    let found = query.query_row(params![mirror, pointer.name()], |row| row.get(0));
    Ok(found.optional()?.map(|Sql(serial)| serial))
}

/// Where each pointer of a mirror leads that leads somewhere, sorted by their names.
pub(super) fn pointers(connection: &Connection, mirror: MirrorRow) -> Result<Vec<MoveRecord>, CatalogError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM}
         WHERE move.id IN (SELECT max(id) FROM move WHERE mirror_id = ? GROUP BY pointer) ORDER BY pointer.name"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let rows = query.query_map([mirror], read_move)?;
    let mut moves: Vec<MoveRecord> = rows.collect::<rusqlite::Result<_>>()?;
    moves.retain(|newest| !newest.ends);
    Ok(moves)
}

/// Every move of one pointer since it last led nowhere, newest first.
pub(super) fn moves_of(
    connection: &Connection,
    mirror: MirrorRow,
    pointer: &Pointer,
) -> Result<Vec<MoveRecord>, CatalogError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM}
         WHERE mirror_id = ? AND move.pointer = (SELECT id FROM pointer WHERE name = ?) ORDER BY move.id DESC"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let rows = query.query_map(params![mirror, pointer.name()], read_move)?;
    let moves: Vec<MoveRecord> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(moves.into_iter().take_while(|moved| !moved.ends).collect())
}

fn read_move(row: &Row<'_>) -> rusqlite::Result<MoveRecord> {
    let (Sql(mirror), Sql(pointer), Sql(snapshot_then)) =
        (row.get(2)?, row.get(3)?, row.get::<_, Sql<SnapshotName>>(5)?);
    let snapshot_now: Option<Sql<SnapshotName>> = row.get(17)?;
    let (Sql(moved_at), Sql(serial_mtime)) = (row.get(7)?, row.get(8)?);
    Ok(MoveRecord {
        row: row.get(0)?,
        act_row: row.get(1)?,
        mirror,
        pointer,
        snapshot_row: row.get(4)?,
        snapshot: snapshot_now.map_or_else(|| snapshot_then.clone(), |Sql(name)| name),
        snapshot_then,
        seq: row.get(6)?,
        moved_at,
        serial_mtime,
        act: row.get(9)?,
        actor: row.get(10)?,
        message: row.get(11)?,
        forced: row.get(12)?,
        passed: row.get(13)?,
        lending: Lending {
            generations: row.get(14)?,
            within: std::time::Duration::from_secs(row.get::<_, i64>(15)?.max(0).cast_unsigned()),
        },
        retracts: row.get(16)?,
        ends: row.get(18)?,
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
            expect: None,
            terms: MoveTerms::default(),
        }
    }

    fn promote(mirror: &str) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id(mirror),
            pointer: Pointer::Current,
            target: PointerTarget::SameAs(Pointer::Staging),
            expect: None,
            terms: MoveTerms::default(),
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

//! The ledger: what no manifest holds, once more, beside the catalog.
//!
//! Owns table `ledger`, in which triggers note each change in the same transaction, and the step that writes what was noted
//! into the file, after the commit. The catalog wins: what a killed process had committed and not written is written by
//! whoever comes next. The other way round there is nothing: a ledger that knows of later changes than its catalog says that the
//! catalog has lost them, and nobody writes to it then. The file's form is `line`'s, the file itself `file`'s.

mod file;
mod line;
mod tables;

use std::io;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

pub use line::Ledger;

pub(super) use tables::{LISTING, LOGGED, columns, install};

use super::CatalogError;
use file::{Found, LedgerFile, Sound};

/// A ledger is written anew when what was added to it is longer than what it began with, and than this.
const LEAST_TAIL: u64 = 256 << 10;

/// Why the ledger could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum LedgerError {
    #[error("the file cannot be read or written")]
    Io(#[from] io::Error),
    #[error("the catalog cannot be read")]
    Sql(#[from] rusqlite::Error),
}

/// What a writer knows of the ledger of its catalog.
#[derive(Debug)]
pub(super) struct Writing {
    file: LedgerFile,
    /// The last change that is known to stand in it.
    written: Option<i64>,
}

/// What stood in the ledger before a transaction began.
#[derive(Debug)]
pub(super) struct Before(Option<Sound>);

impl Writing {
    pub(super) fn beside(catalog: &Path) -> Self {
        Self {
            file: LedgerFile::beside(catalog),
            written: None,
        }
    }

    /// Looks at the ledger, which has to come before the transaction: what stands in it then, the transaction sees.
    pub(super) fn before(&mut self) -> Before {
        match self.file.look() {
            Ok(Found::Sound(sound)) => Before(Some(sound)),
            Ok(Found::Nothing | Found::Unusable) => Before(None),
            Err(error) => {
                tracing::debug!(%error, "the ledger cannot be read");
                Before(None)
            }
        }
    }

    /// Brings the ledger to the last commit. The commit counts whatever becomes of this.
    pub(super) fn follow(&mut self, connection: &mut Connection, catalog: &Path) {
        if let Err(error) = self.try_to_follow(connection, catalog) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the ledger beside the catalog could not be brought up to date; the next change does it"
            );
        }
    }

    fn try_to_follow(&mut self, connection: &mut Connection, catalog: &Path) -> Result<(), LedgerError> {
        if self.written == Some(newest(connection)?) {
            return Ok(());
        }
        // The lock of writers, under which nothing is written to the catalog.
        let turn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (newest, generation) = (newest(&turn)?, generation(&turn)?);
        let found = self.file.look()?;
        match &found {
            Found::Sound(sound) if sound.head.generation == generation && sound.n == newest => {}
            Found::Sound(sound) if sound.head.generation == generation && continues(&turn, sound.n)? => {
                self.file
                    .append(sound, &line::step(newest, &changes_after(&turn, sound.n)?))?;
            }
            Found::Sound(_) | Found::Unusable | Found::Nothing => {
                let is_of_another = matches!(&found, Found::Sound(sound) if sound.head.generation != generation);
                let keep = is_of_another || found == Found::Unusable;
                self.file.replace(catalog, &everything(&turn)?, keep)?;
            }
        }
        turn.rollback()?;
        self.written = Some(newest);
        Ok(())
    }

    /// Writes the ledger anew where that makes it a good deal shorter.
    pub(super) fn tidy(&mut self, connection: &mut Connection, catalog: &Path) -> Result<(), CatalogError> {
        let is_long = |sound: &Sound| sound.end > (2 * sound.head.base).max(LEAST_TAIL + sound.head.base);
        if !matches!(self.file.look(), Ok(Found::Sound(sound)) if is_long(&sound)) {
            return Ok(());
        }
        let turn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let written = self.file.replace(catalog, &everything(&turn)?, false);
        turn.rollback()?;
        if let Err(error) = written {
            tracing::warn!(%error, "the ledger beside the catalog was not shortened");
        }
        Ok(())
    }
}

impl Before {
    /// Refuses to go on with a catalog that lacks what its ledger has, and takes away what stands there.
    pub(super) fn settle(&self, transaction: &Transaction<'_>) -> Result<(), CatalogError> {
        let Some(sound) = &self.0 else { return Ok(()) };
        if sound.head.generation != generation(transaction)? {
            return Ok(());
        }
        refuse(sound, newest(transaction)?)?;
        transaction
            .prepare_cached("DELETE FROM ledger WHERE id <= ?")?
            .execute([sound.n])?;
        Ok(())
    }
}

/// Refuses a catalog that lacks what the ledger beside it has. A ledger that cannot be read says nothing.
pub(super) fn refuse_stale(connection: &Connection, catalog: &Path) -> Result<(), CatalogError> {
    match LedgerFile::beside(catalog).look() {
        Ok(Found::Sound(sound)) if sound.head.generation == generation(connection)? => {
            refuse(&sound, newest(connection)?)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Refuses to begin a new catalog where a ledger says that there was one.
pub(super) fn refuse_lost(catalog: &Path) -> Result<(), CatalogError> {
    let ledger = file::path_beside(catalog);
    match std::fs::symlink_metadata(&ledger) {
        Ok(facts) if facts.len() > 0 => Err(CatalogError::Lost { ledger }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What it means that a catalog is empty: nothing was ever there, or it is lost.
pub(super) fn or_lost(error: CatalogError, catalog: &Path) -> CatalogError {
    match error {
        CatalogError::Empty => refuse_lost(catalog).err().unwrap_or(CatalogError::Empty),
        other => other,
    }
}

/// Whether there is a ledger beside the catalog at `catalog`.
pub(super) fn is_beside(catalog: &Path) -> bool {
    file::path_beside(catalog).exists()
}

/// What the ledger beside the catalog at `catalog` says; `None` when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn read(catalog: &Path) -> io::Result<Option<Ledger>> {
    Ok(file::read(catalog)?.map(|text| Ledger::parse(&text)))
}

fn refuse(sound: &Sound, newest: i64) -> Result<(), CatalogError> {
    match sound.n - newest {
        ..=0 => Ok(()),
        changes => Err(CatalogError::Stale { changes }),
    }
}

/// The number of the last change that the catalog has noted.
fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'ledger'";
    let found = connection.prepare_cached(sql)?.query_row([], |row| row.get(0));
    Ok(found.optional()?.unwrap_or(0))
}

fn generation(connection: &Connection) -> rusqlite::Result<String> {
    let sql = "SELECT lower(hex(generation)) FROM catalog";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// Whether the catalog still has all that was noted after change `n`.
fn continues(connection: &Connection, n: i64) -> rusqlite::Result<bool> {
    let first: Option<i64> = connection.query_row("SELECT min(id) FROM ledger WHERE id > ?", [n], |row| row.get(0))?;
    Ok(first == Some(n + 1))
}

fn changes_after(connection: &Connection, n: i64) -> rusqlite::Result<Vec<String>> {
    let mut query = connection.prepare_cached("SELECT change FROM ledger WHERE id > ? ORDER BY id")?;
    query.query_map([n], |row| row.get(0))?.collect()
}

fn everything(connection: &Connection) -> rusqlite::Result<Vec<u8>> {
    let mut sequences = std::collections::BTreeMap::new();
    for table in line::numbered_tables() {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?";
        let found = connection.query_row(sql, [table], |row| row.get(0));
        sequences.insert(table.to_owned(), found.optional()?.unwrap_or(0));
    }
    let rows = tables::all_rows(connection)?;
    Ok(line::whole(
        &generation(connection)?,
        newest(connection)?,
        sequences,
        &rows,
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::super::{Catalog, CatalogReader, PointerTarget, RequestedMove};
    use super::*;
    use crate::model::{MoveTerms, Pointer};

    fn wish(name: &str) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name(name)),
            expect: None,
            terms: MoveTerms::default(),
        }
    }

    fn publish(catalog: &mut Catalog, name: &str) -> Result<(), CatalogError> {
        catalog.move_pointers(&[wish(name)], act("publish", at(1)))?;
        Ok(())
    }

    /// The mirror `debian` with the snapshots `one` and `two`.
    fn house() -> House {
        let mut house = House::new();
        for name in ["one", "two"] {
            house
                .sync("debian", &listing(&[("a", name)]), name, &[], at(0))
                .expect("records");
        }
        house
    }

    fn ledger(house: &House) -> Ledger {
        read(&house.path).expect("readable").expect("there is one")
    }

    /// Asserts that the ledger says of every table what the table does.
    fn assert_equal(house: &House) {
        let rows = tables::all_rows(house.sql()).expect("reads");
        let now = Ledger::parse(&line::whole("00", 0, [].into(), &rows));
        let ledger = ledger(house);
        let filled = |ledger: Ledger| {
            let mut tables = ledger.tables;
            tables.retain(|_, rows| !rows.is_empty());
            tables
        };
        assert_eq!(ledger.damaged_lines, 0);
        assert_eq!(filled(ledger), filled(now));
    }

    #[test]
    fn every_change_is_in_the_ledger_when_its_command_ends() {
        let mut house = house();
        assert_equal(&house);
        publish(&mut house.catalog, "one").expect("moves");
        assert_equal(&house);
        let (debian, two) = (mirror_id("debian"), snapshot_name("two"));
        let tags = ["x".parse().expect("a tag"), "y".parse().expect("a tag")];
        house.catalog.tag_snapshot(&debian, &two, &tags, false).expect("tags");
        house
            .catalog
            .tag_snapshot(&debian, &two, &tags[..1], true)
            .expect("untags");
        let new = snapshot_name("second");
        house.catalog.rename_snapshot(&debian, &two, &new).expect("renames");
        assert_equal(&house);
        house
            .catalog
            .delete_snapshots(&debian, &[new], true, at(3))
            .expect("deletes");
        assert_equal(&house);
        house.catalog.forget_mirror(&debian, true).expect("forgets");
        house.catalog.clear_forgotten().expect("clears");
        assert_equal(&house);
        assert!(
            house.number("SELECT count(*) FROM ledger") < 50,
            "what is written is not kept twice"
        );
    }

    #[test]
    fn what_a_killed_process_did_not_write_the_next_one_does() {
        let mut house = house();
        let path = file::path_beside(&house.path);
        let before = fs::read(&path).expect("readable");
        publish(&mut house.catalog, "one").expect("moves");
        let with_move = fs::read(&path).expect("readable");
        for left in [
            &before[..],
            &with_move[..before.len() + 30],
            &with_move[..with_move.len() - 1],
        ] {
            fs::write(&path, left).expect("writes");
            let mut next = Catalog::open(&house.path).expect("opens");
            next.note_unchanged(house.row("debian"), &super::super::tests::SAME, at(2))
                .expect("notes");
            assert_equal(&house);
        }
        fs::remove_file(&path).expect("removes");
        drop(Catalog::open(&house.path).expect("opens"));
        assert_equal(&house);
    }

    #[test]
    fn a_ledger_with_a_gap_is_written_anew() {
        let mut house = house();
        let path = file::path_beside(&house.path);
        let before = fs::read(&path).expect("readable");
        for name in ["one", "two", "one"] {
            publish(&mut house.catalog, name).expect("moves");
        }
        fs::write(&path, before).expect("writes");
        publish(&mut house.catalog, "two").expect("moves");
        assert_equal(&house);
    }

    #[test]
    fn a_catalog_that_lost_what_its_ledger_has_is_refused() {
        let mut house = house();
        let copy = house.path.with_file_name("copy.db");
        house
            .sql()
            .execute("VACUUM INTO ?", [copy.to_str().expect("text")])
            .expect("copies");
        publish(&mut house.catalog, "one").expect("moves");
        let logged = fs::read(file::path_beside(&house.path)).expect("readable");
        // As without its write-ahead log: everything is sound, but of an earlier time.
        let place = tempfile::tempdir().expect("temporary directory");
        let old = place.path().join("catalog.db");
        fs::copy(&copy, &old).expect("copies");
        fs::write(file::path_beside(&old), &logged).expect("writes");
        let stale = |error: CatalogError| matches!(error, CatalogError::Stale { changes: 1.. });
        assert!(stale(CatalogReader::open(&old).expect_err("too old")));
        assert!(stale(CatalogReader::open_without_trace(&old).expect_err("too old")));
        assert!(stale(Catalog::open(&old).expect_err("too old")));
        assert_eq!(fs::read(file::path_beside(&old)).expect("readable"), logged);
        // A process that has it open already.
        fs::remove_file(file::path_beside(&old)).expect("removes");
        let mut open = Catalog::open(&old).expect("nothing says otherwise");
        fs::write(file::path_beside(&old), &logged).expect("writes");
        assert!(stale(publish(&mut open, "two").expect_err("too old")));
        assert_eq!(fs::read(file::path_beside(&old)).expect("readable"), logged);
    }

    #[test]
    fn no_catalog_is_begun_where_there_was_one() {
        let house = house();
        let place = tempfile::tempdir().expect("temporary directory");
        let empty = place.path().join("catalog.db");
        fs::write(&empty, "").expect("writes");
        fs::copy(file::path_beside(&house.path), file::path_beside(&empty)).expect("copies");
        assert!(matches!(Catalog::open(&empty), Err(CatalogError::Lost { .. })));
        assert_eq!(fs::metadata(&empty).expect("exists").len(), 0);
        fs::write(file::path_beside(&empty), "").expect("empties");
        drop(Catalog::open(&empty).expect("an empty ledger says nothing"));
    }

    #[test]
    fn a_ledger_of_another_catalog_is_kept_aside() {
        let (house, other) = (house(), House::new());
        let theirs = fs::read(file::path_beside(&other.path)).expect("readable");
        fs::write(file::path_beside(&house.path), &theirs).expect("writes");
        drop(Catalog::open(&house.path).expect("opens"));
        assert_equal(&house);
        assert_eq!(fs::read(house.path.with_file_name("ledger.old")).expect("kept"), theirs);
    }

    #[test]
    fn a_long_tail_is_cut_and_nothing_is_lost() {
        let mut house = house();
        let length = |house: &House| fs::metadata(file::path_beside(&house.path)).expect("exists").len();
        house.catalog.tidy_ledger().expect("tidies");
        for turn in 0..300 {
            publish(&mut house.catalog, if turn % 2 == 0 { "one" } else { "two" }).expect("moves");
            let note = "x".repeat(2_000).parse().expect("a note");
            let one = snapshot_name("one");
            house
                .catalog
                .note_snapshot(&mirror_id("debian"), &one, Some(&note))
                .expect("notes");
        }
        let before = length(&house);
        house.catalog.tidy_ledger().expect("tidies");
        assert!(length(&house) < before / 2, "{} {before}", length(&house));
        assert_equal(&house);
        publish(&mut house.catalog, "two").expect("is there");
        publish(&mut house.catalog, "one").expect("moves");
        assert_equal(&house);
    }

    #[test]
    fn processes_that_write_together_leave_one_ledger() {
        let house = house();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let path = &house.path;
                scope.spawn(move || {
                    let mut catalog = Catalog::open(path).expect("opens");
                    for turn in 0..10 {
                        publish(&mut catalog, if (n + turn) % 2 == 0 { "one" } else { "two" }).expect("moves");
                    }
                });
            }
        });
        assert_equal(&house);
    }
}

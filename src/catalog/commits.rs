//! Commits that report an error, and what became of them.
//!
//! Owns table `commit_mark` and the judgement. An error of a commit says nothing certain: the change may have reached the
//! log all the same, and whoever opens the catalog next may see it. So each transaction leaves a mark of its own, and after
//! an error it is looked for. It changes nothing else of the catalog.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{Catalog, CatalogError, says_busy};

/// Marks that are kept: so many commits of other processes may come between a commit that failed and the look for its mark.
const KEPT: i64 = 256;

/// The mark of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    id: i64,
    /// Random: a transaction that comes in the place of one that failed has the same number.
    token: Vec<u8>,
}

/// Leaves a mark in a transaction.
pub(super) fn mark(transaction: &Transaction<'_>) -> rusqlite::Result<Mark> {
    let mark = transaction
        .prepare_cached("INSERT INTO commit_mark (token) VALUES (randomblob(16)) RETURNING id, token")?
        .query_row([], |row| {
            Ok(Mark {
                id: row.get(0)?,
                token: row.get(1)?,
            })
        })?;
    transaction
        .prepare_cached("DELETE FROM commit_mark WHERE id <= ?")?
        .execute([mark.id - KEPT])?;
    Ok(mark)
}

fn is_there(connection: &Connection, mark: &Mark) -> rusqlite::Result<bool> {
    let mut query = connection.prepare("SELECT 1 FROM commit_mark WHERE id = ? AND token = ?")?;
    query.exists(params![mark.id, mark.token])
}

impl Catalog {
    /// Finds out what became of a change whose commit reported `error`. Succeeds when it is recorded and durable.
    ///
    /// # Errors
    /// What is: that it is not recorded, or not as far as can be seen; that it is and the disk has not confirmed it; or that
    /// nothing can be known.
    pub(super) fn settle(&mut self, mark: &Mark, error: rusqlite::Error) -> Result<(), CatalogError> {
        if error.sqlite_error_code().is_some_and(says_busy) {
            // It waited for another process, and wrote nothing.
            return Err(CatalogError::Sql(error));
        }
        if self.decide(mark).is_ok_and(|recorded| !recorded) {
            return Err(CatalogError::NotRecorded(error));
        }
        // Others see what is in the log, and not what this process remembers of it.
        let fresh = self.reopen();
        match fresh.and_then(|()| is_there(&self.reader.connection, mark)) {
            Ok(true) if self.make_durable().is_ok_and(|durable| durable) => Ok(()),
            Ok(true) => Err(CatalogError::Undurable(error)),
            Ok(false) if self.decide(mark).is_ok_and(|recorded| !recorded) => Err(CatalogError::NotRecorded(error)),
            Ok(false) => Err(CatalogError::NotSeen(error)),
            Err(_) => Err(CatalogError::CommitUnknown(error)),
        }
    }

    /// Commits a mark: it takes the place in the log of what did not get there whole, so that whatever is seen then is what
    /// stays. Answers whether `mark` is seen.
    fn decide(&mut self, mark: &Mark) -> rusqlite::Result<bool> {
        let connection = &mut self.reader.connection;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let recorded = is_there(&transaction, mark)?;
        self::mark(&transaction)?;
        transaction.commit()?;
        Ok(recorded)
    }

    /// Opens the catalog anew, after everything that this connection has open is closed.
    fn reopen(&mut self) -> rusqlite::Result<()> {
        let closed = std::mem::replace(&mut self.reader.connection, Connection::open_in_memory()?);
        drop(closed);
        match Self::connect(&self.path) {
            Ok(connection) => {
                self.reader.connection = connection;
                Ok(())
            }
            Err(CatalogError::Sql(error) | CatalogError::Open { source: error, .. }) => Err(error),
            Err(_) => Err(rusqlite::Error::InvalidPath(self.path.clone())),
        }
    }

    /// Brings what is in the log into the database itself. The log's own pages count as written once a sync of it has failed,
    /// so that another sync of it would prove nothing. Answers whether all of it is there.
    fn make_durable(&self) -> rusqlite::Result<bool> {
        let connection = &self.reader.connection;
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0))?;
        Ok(busy == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::CatalogReader;
    use super::super::tests::{House, at, mirror_id};
    use super::*;

    fn error() -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None)
    }

    /// The mark of a transaction that adopts the mirror `name`, and is committed or not.
    fn adopt(house: &House, name: &str, commit: bool) -> Mark {
        let transaction = house.sql().unchecked_transaction().expect("begins");
        transaction
            .execute("INSERT INTO mirror (name) VALUES (?)", [name])
            .expect("inserts");
        let mark = mark(&transaction).expect("marks");
        if commit {
            transaction.commit().expect("commits");
        } else {
            transaction.rollback().expect("rolls back");
        }
        mark
    }

    #[test]
    fn what_was_recorded_is_said_to_be_and_what_was_not_is_not() {
        let mut house = House::new();
        let mark = adopt(&house, "debian", true);
        house.catalog.settle(&mark, error()).expect("it is there");
        let lost = adopt(&house, "other", false);
        // Somebody else's transaction has the number now.
        let next = adopt(&house, "third", true);
        assert_eq!((lost.id, next.id > mark.id), (next.id, true));
        let told = house.catalog.settle(&lost, error());
        assert!(matches!(told, Err(CatalogError::NotRecorded(_))), "{told:?}");
        let known = CatalogReader::open(&house.path).expect("opens").known_mirrors();
        assert_eq!(known.expect("reads"), [mirror_id("debian"), mirror_id("third")]);
        house.catalog.adopt_mirror(&mirror_id("fourth")).expect("it goes on");
    }

    #[test]
    fn nothing_is_known_of_a_catalog_that_is_gone() {
        let mut house = House::new();
        let mark = adopt(&house, "debian", true);
        std::fs::remove_file(&house.path).expect("removes");
        // What the connection has open still says that it is recorded, and nobody else would find it.
        let told = house.catalog.settle(&mark, error());
        assert!(matches!(told, Err(CatalogError::CommitUnknown(_))), "{told:?}");
    }

    #[test]
    fn one_who_waited_in_vain_has_changed_nothing() {
        let mut house = House::new();
        let mark = adopt(&house, "debian", false);
        let busy = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None);
        assert!(house.catalog.settle(&mark, busy).is_err_and(|told| told.is_busy()));
    }

    #[test]
    fn few_marks_are_kept_and_none_without_a_change() {
        let mut house = House::new();
        let row = house.catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        for second in 0..KEPT + 9 {
            let digest = super::super::tests::facts(&second.to_string()).digest;
            house.catalog.lease(row, &[digest], at(second)).expect("leases");
        }
        assert_eq!(house.number("SELECT count(*) FROM commit_mark"), KEPT);
        let last = house.number("SELECT max(id) FROM commit_mark");
        house.catalog.condemn_unused(at(0)).expect("finds nothing");
        assert_eq!(house.number("SELECT max(id) FROM commit_mark"), last);
    }
}

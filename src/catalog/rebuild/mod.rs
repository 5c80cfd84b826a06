//! A catalog made anew: from the ledger and manifests, or from a copy.
//!
//! Owns the examination of a catalog and the making of another one beside it. It never changes the one that is there, and
//! never puts anything in its place. Numbers of directories and blobs are those of the manifests, so that manifests go on saying the
//! same as their catalog; the generation is a new one.

mod making;
mod swap;
#[cfg(test)]
pub(super) mod tests;
mod tree;

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

pub use making::{LostListing, Making, Rebuilt};

use super::{CatalogError, CatalogReader, backup, connect, ledger, schema, sys};

/// How a catalog is.
#[derive(Debug)]
pub enum Health {
    /// There is none and there was none.
    Nothing,
    /// It is sound, as far as SQLite, its own counts and its ledger can tell.
    Sound,
    /// It is not.
    Damaged(CatalogError),
}

/// Looks all of the catalog at `path` through.
///
/// # Errors
/// When it is of a newer program, which alone can judge it, or cannot be read for a reason that is no damage.
pub fn examine(path: &Path) -> Result<Health, CatalogError> {
    match std::fs::metadata(path) {
        Ok(facts) if facts.len() > 0 => {}
        Ok(_) | Err(_) => {
            return Ok(match ledger::refuse_lost(path) {
                Ok(()) => Health::Nothing,
                Err(lost) => Health::Damaged(lost),
            });
        }
    }
    match look_through(path) {
        // The next sync brings an older one up to date.
        Ok(()) | Err(CatalogError::Older { .. }) => Ok(Health::Sound),
        Err(error) if error.is_damage() => Ok(Health::Damaged(error)),
        Err(error) => Err(error),
    }
}

fn look_through(path: &Path) -> Result<(), CatalogError> {
    let reader = CatalogReader::open(path)?;
    require_sound(&reader.connection)
}

/// Refuses a database whose structure or own counts are wrong.
fn require_sound(connection: &Connection) -> Result<(), CatalogError> {
    let unsound = |what: String| Err(CatalogError::Unsound(what));
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return unsound(found);
    }
    let mut dangling = connection.prepare("SELECT \"table\", parent FROM pragma_foreign_key_check LIMIT 1")?;
    let mut rows = dangling.query([])?;
    if let Some(row) = rows.next()? {
        let (table, parent): (String, String) = (row.get(0)?, row.get(1)?);
        return unsound(format!("a row of {table} refers to none of {parent}"));
    }
    let miscounted: i64 = connection.query_row(MISCOUNTED, [], |row| row.get(0))?;
    if miscounted > 0 {
        return unsound(format!(
            "{miscounted} blobs are referred to by other rows than they count"
        ));
    }
    Ok(())
}

/// Blobs whose count of the rows that name them is wrong.
const MISCOUNTED: &str = "
    WITH named (blob_id) AS (
        SELECT blob_id FROM entry WHERE blob_id IS NOT NULL
        UNION ALL SELECT manifest_id FROM listing
        UNION ALL SELECT base_id FROM manifest WHERE base_id IS NOT NULL),
    counted (blob_id, times) AS (SELECT blob_id, count(*) FROM named GROUP BY blob_id)
    SELECT count(*) FROM blob LEFT JOIN counted ON blob_id = id WHERE refs <> coalesce(times, 0)";

/// The write lock of a catalog that is to be replaced: nobody commits to it any more.
#[derive(Debug)]
#[must_use = "the lock is held as long as this value lives"]
pub struct Held {
    /// `None` where nobody can write anyway.
    _connection: Option<Connection>,
}

impl Held {
    /// Takes the write lock of the catalog at `path`, as far as it can be had of one that is damaged. Changes nothing in it,
    /// not even what is in its write-ahead log.
    ///
    /// # Errors
    /// When somebody else has it for too long.
    pub fn take(path: &Path) -> Result<Self, CatalogError> {
        match lock(path) {
            Ok(connection) => Ok(Self {
                _connection: Some(connection),
            }),
            Err(error) if error.is_busy() => Err(error),
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "nobody can write to the catalog"
                );
                Ok(Self { _connection: None })
            }
        }
    }
}

fn lock(path: &Path) -> Result<Connection, CatalogError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    sys::keep_log_on_close(&connection)?;
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    Ok(connection)
}

/// Opens the file of a copy, and makes sure that it is a catalog of this or an earlier program.
fn require_copy(path: &Path) -> Result<(), CatalogError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match schema::refuse_unknown(&connection)? {
        0 => Err(CatalogError::Empty),
        _ => match backup::complaint(&connection)? {
            None => Ok(()),
            Some(complaint) => Err(CatalogError::Unsound(complaint)),
        },
    }
}

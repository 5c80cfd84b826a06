//! The versions of the catalog's schema and the way from each to the next.
//!
//! Owns the list of migrations, which is only ever appended to, and the refusal of a newer format. The number of
//! applied migrations is SQLite's `user_version`.

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::CatalogError;

/// `application_id` of a catalog, "MRCT" in ASCII, so that `file` and we can tell it from any other database.
const APPLICATION_ID: i32 = 0x4d52_4354;

/// Every migration, oldest first. A released one is never edited.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];

/// The format that this program reads and writes.
const KNOWN: u32 = 1;
const _: () = assert!(KNOWN as usize == MIGRATIONS.len(), "one migration for each format");

/// Refuses what this program must not touch: a newer catalog, or anything else than a catalog.
pub(super) fn refuse_unknown(connection: &Connection) -> Result<(), CatalogError> {
    check(connection).map(|_| ())
}

/// Brings the database to this program's version, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), CatalogError> {
    if version(connection)? == Some(KNOWN) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let applied = check(&transaction)?;
    for migration in &MIGRATIONS[applied as usize..] {
        transaction.execute_batch(migration)?;
    }
    if applied == 0 {
        transaction.execute("INSERT INTO catalog (id, generation) VALUES (1, randomblob(16))", [])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.pragma_update(None, "user_version", KNOWN)?;
    transaction.commit()?;
    Ok(())
}

/// Makes sure that the database has exactly this program's version, without changing it.
pub(super) fn require_current(connection: &Connection) -> Result<(), CatalogError> {
    match check(connection)? {
        KNOWN => Ok(()),
        0 => Err(CatalogError::Empty),
        found => Err(CatalogError::Older { found, known: KNOWN }),
    }
}

/// The number of applied migrations; refuses what this program must not touch.
fn check(connection: &Connection) -> Result<u32, CatalogError> {
    match version(connection)? {
        None => Err(CatalogError::Foreign),
        Some(found) if found > KNOWN => Err(CatalogError::Newer { found, known: KNOWN }),
        Some(found) => Ok(found),
    }
}

/// The number of applied migrations; `None` for what is no catalog. One statement reads all three facts, so that they
/// are of one state even while another process makes the tables.
fn version(connection: &Connection) -> Result<Option<u32>, CatalogError> {
    let sql = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
               FROM pragma_application_id, pragma_user_version";
    let facts = connection.query_row(sql, [], |row| {
        Ok((row.get::<_, i32>(0)?, row.get::<_, u32>(1)?, row.get::<_, i64>(2)?))
    });
    match facts {
        Ok((APPLICATION_ID, version, _)) => Ok(Some(version)),
        Ok((0, 0, 0)) => Ok(Some(0)),
        Ok(_) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

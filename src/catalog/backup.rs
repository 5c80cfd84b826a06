//! Copies of the catalog: before it is migrated, and whenever somebody asks for one.
//!
//! Owns how a copy is made: as the last commit left the catalog, whole and sound or not at all. Where copies lie, and how
//! many of them, is for others to say.

use std::io;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Catalog, CatalogError, beside};

/// Why a catalog could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum BackUpError {
    /// The copy could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// SQLite could not copy.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// SQLite takes paths that are text.
    #[error("the path of the state directory is not UTF-8 text")]
    Path,
    /// What was copied is damaged.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
}

impl Catalog {
    /// Copies the catalog to `copy`, durably, whatever others commit meanwhile. A damaged catalog is not copied, so that no
    /// good copy gives way to it.
    ///
    /// # Errors
    /// When it cannot be copied, or is damaged; then `copy` is as it was.
    pub fn back_up(&self, copy: &Path) -> Result<(), CatalogError> {
        back_up(&self.path, copy).map_err(|source| CatalogError::BackUp {
            copy: copy.to_owned(),
            source,
        })
    }
}

/// Copies the catalog at `path` as the last commit left it.
pub(super) fn back_up(path: &Path, copy: &Path) -> Result<(), BackUpError> {
    let unfinished = copy.with_extension("db.new");
    let made = copy_to(path, &unfinished, path).and_then(|()| Ok(beside::put(&unfinished, copy)?));
    if made.is_err() {
        // What is half made helps nobody; the next attempt begins anew where this fails too.
        drop(beside::remove(&unfinished));
    }
    made
}

/// Copies the catalog at `path` to the file `copy`, which is made with owner and mode of the file `like`, and makes sure that
/// the copy is sound.
pub(super) fn copy_to(path: &Path, copy: &Path, like: &Path) -> Result<(), BackUpError> {
    drop(beside::create(copy, like)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let reader = Connection::open_with_flags(path, flags)?;
    let target = copy.to_str().ok_or(BackUpError::Path)?;
    reader.execute("VACUUM INTO ?", [target])?;
    let copied = Connection::open_with_flags(copy, flags)?;
    match complaint(&copied)? {
        None => Ok(()),
        Some(complaint) => Err(BackUpError::Damaged(complaint)),
    }
}

/// What is wrong with the structure of a database, in SQLite's words; `None` when nothing is.
pub(super) fn complaint(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

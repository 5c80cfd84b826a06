//! Reading the catalog without leaving a trace in its files.
//!
//! Owns the way of opening that commands with `--dry-run` use. Readers otherwise note themselves in the shared memory
//! beside the database.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;

use super::{CatalogError, CatalogReader, connect, ledger, schema};

impl CatalogReader {
    /// As [`CatalogReader::open`], but not even the shared memory of the database is written to.
    ///
    /// # Errors
    /// As those of [`CatalogReader::open`].
    pub fn open_without_trace(path: &Path) -> Result<Self, CatalogError> {
        let read = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = connect(&without_trace(path), read)?;
        schema::require_current(&connection).map_err(|error| ledger::or_lost(error, path))?;
        ledger::refuse_stale(&connection, path)?;
        Ok(Self { connection })
    }
}

/// The name by which SQLite opens the database at `path`, and its shared memory for reading only.
fn without_trace(path: &Path) -> PathBuf {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02x}").expect("a String takes all");
        }
    }
    uri.push_str("?readonly_shm=1");
    uri.into()
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;
    use super::super::tests::mirror_id;
    use super::*;
    use crate::model::Digest;

    #[test]
    fn a_look_without_trace_sees_everything_and_changes_no_file() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("100% odd?#\u{fc}.db");
        std::fs::write(&path, "").expect("makes a file");
        let mut catalog = Catalog::open(&path).expect("opens");
        let files = || -> Vec<_> {
            let entries = std::fs::read_dir(place.path()).expect("readable");
            let read = |entry: std::io::Result<std::fs::DirEntry>| {
                let path = entry.expect("an entry").path();
                (path.clone(), Digest::of(&std::fs::read(path).expect("readable")))
            };
            let mut files: Vec<_> = entries.map(read).collect();
            files.sort();
            files
        };
        // Beside a writer, whose changes are in the log only. (Within one process, both have the same shared memory.)
        catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        let reader = CatalogReader::open_without_trace(&path).expect("opens");
        assert_eq!(reader.known_mirrors().expect("reads"), [mirror_id("debian")]);
        drop((reader, catalog));

        let before = files();
        let reader = CatalogReader::open_without_trace(&path).expect("opens");
        assert_eq!(reader.known_mirrors().expect("reads"), [mirror_id("debian")]);
        assert_eq!(files(), before);
        drop(reader);
        assert_eq!(files(), before);
    }
}

//! Connections to the catalog for many threads.
//!
//! Owns a pool that grows to one connection for each thread that reads at the same time. No lock is held while a
//! connection reads.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::catalog::{CatalogError, CatalogReader};

/// Idle connections to one catalog, and one that only watches.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<CatalogReader>>,
    /// Data versions compare only within one connection, so this one is used for nothing else.
    watching: Mutex<CatalogReader>,
}

impl Readers {
    pub(super) fn open(path: PathBuf) -> Result<Self, CatalogError> {
        let first = CatalogReader::open(&path)?;
        let watching = Mutex::new(CatalogReader::open(&path)?);
        Ok(Self {
            path,
            idle: Mutex::new(vec![first]),
            watching,
        })
    }

    /// Asks the catalog something, on a connection that no other thread uses meanwhile.
    pub(super) fn read<T>(&self, ask: impl FnOnce(&CatalogReader) -> Result<T, CatalogError>) -> io::Result<T> {
        let taken = self.idle().pop();
        let reader = match taken {
            Some(reader) => reader,
            None => CatalogReader::open(&self.path).map_err(failed)?,
        };
        let answer = ask(&reader).map_err(failed)?;
        self.idle().push(reader);
        Ok(answer)
    }

    /// Asks the connection that watches for commits.
    pub(super) fn watch<T>(&self, ask: impl FnOnce(&CatalogReader) -> Result<T, CatalogError>) -> io::Result<T> {
        ask(&self.watching.lock().unwrap_or_else(PoisonError::into_inner)).map_err(failed)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<CatalogReader>> {
        // A panic elsewhere cannot leave a list of connections half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mount only needs to know that it cannot know; the log says why. A connection that failed is not used again.
fn failed(error: CatalogError) -> io::Error {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "the catalog could not be read"
    );
    io::Error::other(error)
}

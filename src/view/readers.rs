//! Connections to the catalog for many threads.
//!
//! Owns a pool that grows to one connection for each thread that reads at the same time, one more that watches for
//! commits, and the knowledge whether the catalog can be read. Every connection of the pool is to the catalog that was
//! opened first, by its generation: numbers of another one would mean other things. No lock is held while a connection
//! of the pool reads.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Version;
use crate::catalog::{CatalogError, CatalogReader};

/// Idle connections to one catalog, and one that only watches.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    generation: String,
    idle: Mutex<Vec<CatalogReader>>,
    watching: Mutex<Watching>,
    failing: AtomicBool,
}

/// Data versions compare only within one connection, so this one is used for nothing else.
#[derive(Debug, Default)]
struct Watching {
    reader: Option<CatalogReader>,
    /// How many connections there have been.
    connections: u64,
}

impl Readers {
    pub(super) fn open(path: PathBuf) -> Result<Self, CatalogError> {
        let first = CatalogReader::open(&path)?;
        Ok(Self {
            path,
            generation: first.generation()?,
            idle: Mutex::new(vec![first]),
            watching: Mutex::default(),
            failing: AtomicBool::new(false),
        })
    }

    /// The generation of the catalog that was opened first.
    pub(super) fn generation(&self) -> &str {
        &self.generation
    }

    /// Whether the catalog could not be read when it was last tried.
    pub(super) fn are_failing(&self) -> bool {
        self.failing.load(Ordering::SeqCst)
    }

    /// Asks the catalog something, on a connection that no other thread uses meanwhile.
    pub(super) fn read<T>(&self, ask: impl FnOnce(&CatalogReader) -> Result<T, CatalogError>) -> io::Result<T> {
        let taken = lock(&self.idle).pop();
        let reader = match taken {
            Some(reader) => reader,
            None => self.connect()?,
        };
        // A connection that failed is not used again.
        let answer = ask(&reader).map_err(|error| self.failed(error))?;
        lock(&self.idle).push(reader);
        Ok(answer)
    }

    /// Asks the connection that watches for what the catalog is now.
    pub(super) fn version(&self) -> io::Result<Version> {
        let mut watching = lock(&self.watching);
        if self.are_failing() {
            // Connections remember pages, and keep what they know of the write-ahead log for each other, right or
            // wrong, for as long as there is one: only when all of them are new is everything read anew.
            watching.reader = None;
            let idle = std::mem::take(&mut *lock(&self.idle));
            drop(idle);
        }
        let version = self.ask_version(&mut watching).map_err(|error| self.failed(error))?;
        if self.failing.swap(false, Ordering::SeqCst) {
            tracing::info!("the catalog can be read again");
        }
        Ok(version)
    }

    fn ask_version(&self, watching: &mut Watching) -> Result<Version, CatalogError> {
        let reader = match &watching.reader {
            Some(reader) => reader,
            None => {
                watching.connections += 1;
                watching.reader.insert(CatalogReader::open(&self.path)?)
            }
        };
        Ok(Version {
            generation: reader.generation()?,
            commits: (watching.connections, reader.data_version()?),
        })
    }

    fn connect(&self) -> io::Result<CatalogReader> {
        let open = || {
            let reader = CatalogReader::open(&self.path)?;
            let generation = reader.generation()?;
            Ok((reader, generation))
        };
        let (reader, generation) = open().map_err(|error| self.failed(error))?;
        if generation == self.generation {
            Ok(reader)
        } else {
            Err(io::Error::other("the catalog is another one now"))
        }
    }

    /// The mount only needs to know that it cannot know; the log says why, once until it can be read again.
    fn failed(&self, error: CatalogError) -> io::Error {
        if !self.failing.swap(true, Ordering::SeqCst) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the catalog cannot be read; what was published last is still served"
            );
        }
        io::Error::other(error)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are put in and taken out, so a panic elsewhere leaves nothing half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::catalog::Catalog;

    /// A new catalog at `path`, complete in its one file.
    fn catalog(path: &Path) {
        fs::write(path, "").expect("written");
        drop(Catalog::open(path).expect("made"));
    }

    /// Reads while another read is going on, so that a second connection is needed.
    fn read_twice_at_once(readers: &Readers) -> io::Result<String> {
        let mut inner = None;
        readers.read(|_| {
            inner = Some(readers.read(CatalogReader::generation));
            Ok(())
        })?;
        inner.expect("asked")
    }

    #[test]
    fn no_connection_is_to_another_catalog() {
        let dir = tempfile::tempdir().expect("a directory");
        let elsewhere = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (dir.path().join("catalog.db"), elsewhere.path().join("catalog.db"));
        catalog(&ours);
        catalog(&theirs);
        let readers = Readers::open(ours.clone()).expect("opens");
        let generation = readers.generation().to_owned();
        assert_eq!(read_twice_at_once(&readers).expect("readable"), generation);

        let readers = Readers::open(ours.clone()).expect("opens");
        for log in ["catalog.db-wal", "catalog.db-shm"] {
            fs::remove_file(dir.path().join(log)).expect("removed");
        }
        fs::rename(&theirs, &ours).expect("replaced");
        assert!(read_twice_at_once(&readers).is_err());
        // The connection that was there before is still to the catalog that it was opened to.
        let still = readers.read(CatalogReader::generation);
        assert!(still.is_ok_and(|found| found == generation));
        let now = readers.version().expect("readable");
        assert_ne!(now.generation, generation, "who watches sees the other one");
    }

    #[test]
    fn a_catalog_that_fails_is_read_again_when_it_is_whole_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("catalog.db");
        catalog(&path);
        let readers = Readers::open(path.clone()).expect("opens");
        let before = readers.version().expect("readable");
        assert_eq!(readers.version().expect("readable"), before, "nothing was committed");
        assert!(!readers.are_failing());

        let log = dir.path().join("catalog.db-wal");
        let good = [&path, &log].map(|path| fs::read(path).expect("readable"));
        for path in [&path, &log] {
            fs::write(path, "").expect("damaged");
        }
        // A connection that is opened now notices.
        assert!(read_twice_at_once(&readers).is_err());
        assert!(readers.are_failing());
        assert!(readers.version().is_err());
        assert!(
            readers.read(CatalogReader::generation).is_err(),
            "old connections are not trusted"
        );

        for (path, bytes) in [&log, &path].into_iter().zip(good.iter().rev()) {
            fs::write(path, bytes).expect("restored");
        }
        let after = readers.version().expect("readable again");
        assert!(!readers.are_failing());
        assert_eq!(after.generation, before.generation);
        assert_ne!(
            after.commits, before.commits,
            "something may have been committed meanwhile"
        );
        assert!(readers.read(CatalogReader::generation).is_ok());
    }
}

//! Connections to the catalog for many threads.
//!
//! Owns a pool that grows to one connection for each thread that reads at the same time, and the knowledge whether the
//! catalog can be read. Every connection is to the catalog that was opened first: when another file takes its name, its
//! numbers mean other things. No lock is held while a connection of the pool reads.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::catalog::{CatalogError, CatalogReader};

/// Idle connections to one catalog, and one that only watches.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    which: Which,
    idle: Mutex<Vec<CatalogReader>>,
    watching: Mutex<Watching>,
    /// Since the log said so.
    failing: AtomicBool,
}

/// Data versions compare only within one connection, so this one is used for nothing else.
#[derive(Debug, Default)]
struct Watching {
    reader: Option<CatalogReader>,
    /// How many connections there have been.
    connections: u64,
}

/// Which catalog it is: the file and its generation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Which {
    device: u64,
    inode: u64,
    generation: String,
}

impl Which {
    /// What `reader`, just opened at `path`, reads. Where there is no such file any more, it is told from every other.
    fn of(path: &Path, reader: &CatalogReader) -> Result<Self, CatalogError> {
        let found = fs::metadata(path).ok();
        Ok(Self {
            device: found.as_ref().map_or(0, fs::Metadata::dev),
            inode: found.as_ref().map_or(0, fs::Metadata::ino),
            generation: reader.generation()?,
        })
    }
}

impl Readers {
    pub(super) fn open(path: PathBuf) -> Result<Self, CatalogError> {
        let first = CatalogReader::open(&path)?;
        Ok(Self {
            which: Which::of(&path, &first)?,
            path,
            idle: Mutex::new(vec![first]),
            watching: Mutex::default(),
            failing: AtomicBool::new(false),
        })
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

    /// The catalog's generation, and a number of commits that has no meaning by itself: another one than before means
    /// that something was committed, or may have been.
    pub(super) fn version(&self) -> io::Result<(String, (u64, i64))> {
        let mut watching = lock(&self.watching);
        let version = self.ask_version(&mut watching).map_err(|error| {
            // Connections share what they know of the write-ahead log, right or wrong, as long as there is one: only
            // when all are new is everything read anew.
            watching.reader = None;
            lock(&self.idle).clear();
            self.failed(error)
        })?;
        // What an old connection can read a new one may not.
        if self.failing.load(Ordering::SeqCst) && self.connect().is_ok() {
            self.failing.store(false, Ordering::SeqCst);
            tracing::info!("the catalog can be read again");
        }
        Ok(version)
    }

    fn ask_version(&self, watching: &mut Watching) -> Result<(String, (u64, i64)), CatalogError> {
        let reader = match &watching.reader {
            Some(reader) => reader,
            None => {
                watching.connections += 1;
                watching.reader.insert(CatalogReader::open(&self.path)?)
            }
        };
        Ok((reader.generation()?, (watching.connections, reader.data_version()?)))
    }

    fn connect(&self) -> io::Result<CatalogReader> {
        let open = || {
            let reader = CatalogReader::open(&self.path)?;
            let which = Which::of(&self.path, &reader)?;
            Ok((reader, which))
        };
        let (reader, which) = open().map_err(|error| self.failed(error))?;
        if which == self.which {
            Ok(reader)
        } else {
            Err(io::Error::other("the catalog is another one now"))
        }
    }

    /// The mount only needs to know that it cannot know; the log says why, once until the catalog can be read again.
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

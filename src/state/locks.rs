//! The locks: one for each mirror's sync, one for garbage collection.
//!
//! Owns the lock files' contents. A lock is held as long as its value lives.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{StateDir, StateError};
use crate::model::MirrorId;

/// How long a lock that seems taken is waited for: garbage collection looks at sync locks by taking them briefly.
const PATIENCE: Duration = Duration::from_millis(400);

/// The right to sync one mirror.
#[derive(Debug)]
#[must_use = "the lock is held as long as this value lives"]
pub struct SyncLock {
    mirror: MirrorId,
    _file: File,
}

impl SyncLock {
    /// The mirror that may be synced.
    #[must_use]
    pub fn mirror(&self) -> &MirrorId {
        &self.mirror
    }
}

/// The right to collect garbage.
#[derive(Debug)]
#[must_use = "the lock is held as long as this value lives"]
pub struct GcLock {
    _file: File,
}

impl StateDir {
    /// Takes the right to sync `mirror`.
    ///
    /// # Errors
    /// [`StateError::SyncBusy`] at once when another process has it.
    pub fn lock_sync(&self, mirror: &MirrorId) -> Result<SyncLock, StateError> {
        match self.lock(&self.sync_lock(mirror), PATIENCE)? {
            Ok(file) => Ok(SyncLock {
                mirror: mirror.clone(),
                _file: file,
            }),
            Err(holder) => Err(StateError::SyncBusy {
                mirror: mirror.clone(),
                holder,
            }),
        }
    }

    /// Takes the right to collect garbage.
    ///
    /// # Errors
    /// [`StateError::GcBusy`] at once when another process has it.
    pub fn lock_gc(&self) -> Result<GcLock, StateError> {
        match self.lock(&self.root.join("locks").join("gc"), PATIENCE)? {
            Ok(file) => Ok(GcLock { _file: file }),
            Err(holder) => Err(StateError::GcBusy { holder }),
        }
    }

    /// Those of `mirrors` that a live process is syncing now.
    ///
    /// # Errors
    /// When a lock file cannot be opened.
    pub fn syncing(&self, mirrors: impl IntoIterator<Item = MirrorId>) -> Result<Vec<MirrorId>, StateError> {
        let mut syncing = Vec::new();
        for mirror in mirrors {
            // Taken and given back at once, which whoever really wants the lock waits out.
            if self.lock(&self.sync_lock(&mirror), Duration::ZERO)?.is_err() {
                syncing.push(mirror);
            }
        }
        Ok(syncing)
    }

    fn sync_lock(&self, mirror: &MirrorId) -> PathBuf {
        self.root.join("locks").join(format!("{mirror}.sync"))
    }

    /// The locked file, or who still holds the lock after `patience`.
    fn lock(&self, path: &Path, patience: Duration) -> Result<Result<File, String>, StateError> {
        self.make_file(path)?;
        let io = |action| {
            move |source| StateError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| super::refused_or("open", path, source))?;
        let until = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(PATIENCE / 20),
                Err(TryLockError::WouldBlock) => {
                    let holder = fs::read_to_string(path).unwrap_or_default();
                    let holder = holder.trim();
                    return Ok(Err(if holder.is_empty() { "unknown" } else { holder }.to_owned()));
                }
                Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
            }
        }
        let mut write = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())
        };
        write().map_err(io("write"))?;
        Ok(Ok(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_its_holder_and_a_dropped_one_is_free() {
        let place = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::open_to_change(&place.path().join("state")).expect("opens");
        let mirror: MirrorId = "debian".parse().expect("valid");
        let held = state.lock_sync(&mirror).expect("free");
        assert_eq!(held.mirror(), &mirror);
        let Err(StateError::SyncBusy { holder, .. }) = state.lock_sync(&mirror) else {
            panic!("held")
        };
        assert_eq!(holder, std::process::id().to_string());
        let other: MirrorId = "other".parse().expect("valid");
        assert_eq!(
            state.syncing([mirror.clone(), other]).expect("readable"),
            std::slice::from_ref(&mirror)
        );
        drop(held);
        let _held = state.lock_sync(&mirror).expect("free again");
        let _gc = state.lock_gc().expect("free");
        assert!(matches!(state.lock_gc(), Err(StateError::GcBusy { .. })));
    }
}

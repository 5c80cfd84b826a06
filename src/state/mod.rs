//! The state directory: what lies where in it, whom it belongs to, and the locks.
//!
//! Owns the layout (`docs/formats.md`), the owner and mode of everything in it, and the two kinds of lock. It knows
//! nothing of what the catalog or the blobs contain.
//!
//! Lock order: a mirror's sync lock before the gc lock; the catalog's own transactions last. Pointer moves take no
//! lock but their transaction. Locks are the kernel's (flock) on files that are never removed, so a dead holder
//! never blocks anybody.

mod locks;
mod ownership;
mod sys;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

pub use locks::{GcLock, SyncLock};
pub use ownership::Owner;

use crate::model::MirrorId;

/// Mode of directories: the group writes, everybody reads, and new files inherit the group.
const DIRECTORY_MODE: u32 = 0o2775;

/// Mode of the catalog and the lock files: the group writes, everybody reads.
const FILE_MODE: u32 = 0o664;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Something in the state directory could not be made, read or changed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The user may not change this state.
    #[error("changing {0} needs the group mirrorctl or sudo")]
    NotPermitted(PathBuf),
    /// There is no state yet.
    #[error("there is no mirror state in {0}: nothing was synced yet")]
    Missing(PathBuf),
    /// Another process syncs the mirror.
    #[error("mirror {mirror} is being synced by process {holder}")]
    SyncBusy {
        /// The mirror.
        mirror: MirrorId,
        /// The process, as far as it left its number.
        holder: String,
    },
    /// Another process collects garbage.
    #[error("process {holder} is collecting garbage")]
    GcBusy {
        /// The process, as far as it left its number.
        holder: String,
    },
}

/// A state directory that exists.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
    owner: Owner,
}

impl StateDir {
    /// Opens the state directory for a command that changes it, making whatever is missing. As root, what is made
    /// belongs to the directory's owner; a new directory belongs to the user and group `mirrorctl` where they exist.
    ///
    /// # Errors
    /// When something cannot be made, or the user may not change the state.
    pub fn open_to_change(root: &Path) -> Result<Self, StateError> {
        if !root.exists() {
            make_root(root)?;
        }
        let owner = Owner::of(root)?;
        let state = Self {
            root: root.to_owned(),
            owner,
        };
        if !sys::may_change(root) {
            return Err(StateError::NotPermitted(state.root));
        }
        for directory in [state.blobs(), state.root.join("tmp"), state.root.join("locks")] {
            state.make_directory(&directory)?;
        }
        state.make_file(&state.catalog())?;
        if !sys::may_change(&state.catalog()) {
            return Err(StateError::NotPermitted(state.root));
        }
        Ok(state)
    }

    /// Opens an existing state directory for a command that only reads.
    ///
    /// # Errors
    /// When there is none.
    pub fn open_to_read(root: &Path) -> Result<Self, StateError> {
        let state = Self {
            root: root.to_owned(),
            owner: Owner::unchanged(),
        };
        if !state.catalog().exists() {
            return Err(StateError::Missing(root.to_owned()));
        }
        Ok(state)
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The catalog's database file.
    #[must_use]
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// The directory of the blobs.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The directory below which each mirror's sync writes files that have no name yet, in a directory of its own that
    /// only the holder of its sync lock may use.
    #[must_use]
    pub fn incoming_root(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Whom new files shall belong to.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    fn make_directory(&self, path: &Path) -> Result<(), StateError> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Ok(()) => self.owner.give(path, DIRECTORY_MODE),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(refused_or("create", path, source)),
        }
    }

    /// Makes an empty file with the right owner and mode, unless it exists.
    fn make_file(&self, path: &Path) -> Result<(), StateError> {
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)
        {
            Ok(_) => self.owner.give(path, FILE_MODE),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(refused_or("create", path, source)),
        }
    }
}

/// Makes the state directory itself and gives it to the user and group `mirrorctl` where root makes it and both exist.
fn make_root(root: &Path) -> Result<(), StateError> {
    fs::create_dir_all(root).map_err(|source| refused_or("create", root, source))?;
    Owner::for_new_state().give(root, DIRECTORY_MODE)
}

fn refused_or(action: &'static str, path: &Path, source: io::Error) -> StateError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => StateError::NotPermitted(path.to_owned()),
        _ => StateError::Io {
            action,
            path: path.to_owned(),
            source,
        },
    }
}

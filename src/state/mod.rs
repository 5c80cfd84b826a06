//! The state directory: what lies where in it, whom it belongs to, and the locks.
//!
//! Owns the layout (`docs/formats.md`), the owner and mode of everything in it, and the two kinds of lock. It knows
//! nothing of what the catalog or the blobs contain.
//!
//! Lock order: a mirror's sync lock before the gc lock; the catalog's own transactions last. Nobody waits for a lock, so
//! a collection may ask for sync locks while it has the gc lock. Pointer moves take no lock but their transaction. Locks
//! are the kernel's (write locks of open files) on files that are never removed, so a dead holder never blocks anybody.
//!
//! The directories are writable for a group and root works in them, so nothing below the root is reached through a
//! symbolic link. The root itself may lie behind links: it is the operator who named it.

mod fitness;
mod locks;
mod ownership;
mod room;
mod sys;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

pub use locks::{GcLock, SyncLock};
pub use ownership::Owner;
pub use room::Room;

use crate::model::MirrorId;

/// Mode of directories: the group writes, everybody reads, and new files inherit the group.
const DIRECTORY_MODE: u32 = 0o2775;

/// Mode of the catalog: the group writes, everybody reads.
const CATALOG_MODE: u32 = 0o664;

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
    /// The directory is on a file system that cannot carry it.
    #[error("{path} is on {kind}, where neither locks nor shared memory can be relied on")]
    Unfit {
        /// The directory, or the nearest one above it that exists.
        path: PathBuf,
        /// The kind of file system, with its article.
        kind: &'static str,
    },
    /// Anybody may put anything there.
    #[error("{0} can be written by every user of this machine")]
    WritableByAll(PathBuf),
    /// Something else is in the place of a file of the state.
    #[error("{0} is not a plain file")]
    NotAFile(PathBuf),
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
    /// Without symbolic links: SQLite opens no database behind one.
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
        let root = match fs::canonicalize(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_root(root)?,
            found => found.map_err(|source| refused_or("find", root, source))?,
        };
        let owner = Owner::of(&root)?;
        sys::may_change(&root).map_err(|source| refused_or("change", &root, source))?;
        fitness::refuse_writable_by_all(&open_directory(&root)?, &root)?;
        let state = Self { root, owner };
        for directory in [
            state.blobs(),
            state.quarantine(),
            state.inventories(),
            state.backups(),
            state.incoming_root(),
            state.locks(),
        ] {
            state.make_directory(&directory)?;
        }
        state.make_catalog()?;
        let catalog = state.catalog();
        fitness::require_plain_file(&catalog)?;
        sys::may_change(&catalog).map_err(|source| refused_or("change", &state.root, source))?;
        Ok(state)
    }

    /// Opens an existing state directory for a command that only reads.
    ///
    /// # Errors
    /// [`StateError::Missing`] when there is none, and another error when it is there and cannot be read.
    pub fn open_to_read(root: &Path) -> Result<Self, StateError> {
        let missing_or = |path: &Path, source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => StateError::Missing(root.to_owned()),
            _ => StateError::Io {
                action: "read",
                path: path.to_owned(),
                source,
            },
        };
        let state = Self {
            root: fs::canonicalize(root).map_err(|source| missing_or(root, source))?,
            owner: Owner::unchanged(),
        };
        let catalog = state.catalog();
        match sys::may_read(&catalog) {
            // Where there is a ledger there was a catalog, and whoever opens it is told so.
            Err(source) if source.kind() == io::ErrorKind::NotFound && state.ledger().exists() => Ok(state),
            found => found.map(|()| state).map_err(|source| missing_or(&catalog, source)),
        }
    }

    /// The directory itself, without symbolic links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The catalog's database file.
    #[must_use]
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// The ledger of the catalog, from which it can be made anew.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.log")
    }

    /// The directory of copies of the catalog.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// The directory of the blobs.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The directory of files that stood in the places of blobs and were bad.
    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The directory of the inventories of indices, which may be missing: nothing there is needed.
    #[must_use]
    pub fn inventories(&self) -> PathBuf {
        self.root.join("inventories")
    }

    /// The directory below which each mirror's sync writes files that have no name yet, in a directory of its own that
    /// only the holder of its sync lock may use.
    #[must_use]
    pub fn incoming_root(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The mirrors that have such a directory, whether they are configured or not.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub fn with_incoming(&self) -> Result<Vec<MirrorId>, StateError> {
        let root = self.incoming_root();
        let io = |source| StateError::Io {
            action: "read",
            path: root.clone(),
            source,
        };
        let entries = match fs::read_dir(&root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io)?,
        };
        let mut mirrors = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io)?;
            let mirror = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(mirror) = mirror
                && entry.file_type().map_err(io)?.is_dir()
            {
                mirrors.push(mirror);
            }
        }
        mirrors.sort_unstable();
        Ok(mirrors)
    }

    fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Whom new files shall belong to.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Makes a directory with the right owner and mode, unless it exists.
    fn make_directory(&self, path: &Path) -> Result<(), StateError> {
        let made = match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(source) => return Err(refused_or("create", path, source)),
        };
        let directory = open_directory(path)?;
        if made {
            self.owner.give(&directory, path, DIRECTORY_MODE)?;
        }
        fitness::refuse_writable_by_all(&directory, path)
    }

    /// Makes an empty catalog with the right owner and mode, unless it exists.
    fn make_catalog(&self) -> Result<(), StateError> {
        let path = self.catalog();
        let new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(CATALOG_MODE)
            .open(&path);
        match new {
            Ok(file) => self.owner.give(&file, &path, CATALOG_MODE),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(refused_or("create", &path, source)),
        }
    }
}

/// Makes the state directory itself and gives it to the user and group `mirrorctl` where root makes it and both exist.
/// Answers its path without symbolic links.
fn make_root(root: &Path) -> Result<PathBuf, StateError> {
    fs::create_dir_all(root).map_err(|source| refused_or("create", root, source))?;
    let root = fs::canonicalize(root).map_err(|source| refused_or("find", root, source))?;
    Owner::for_new_state().give(&open_directory(&root)?, &root, DIRECTORY_MODE)?;
    Ok(root)
}

/// Opens the directory at `path`: itself, never what a link leads to.
fn open_directory(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
        .map_err(|source| refused_or("open", path, source))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_made_has_its_mode() {
        let place = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::open_to_change(&place.path().join("state")).expect("opens");
        let mode = |path: &Path| fs::symlink_metadata(path).expect("exists").mode() & 0o7777;
        for directory in [
            state.root(),
            &state.blobs(),
            &state.quarantine(),
            &state.inventories(),
            &state.backups(),
            &state.incoming_root(),
            &state.locks(),
        ] {
            assert_eq!(mode(directory), 0o2775, "{}", directory.display());
        }
        assert_eq!(mode(&state.catalog()), 0o664);
    }

    #[test]
    fn a_state_behind_links_is_the_one_that_they_lead_to() {
        let place = tempfile::tempdir().expect("temporary directory");
        let canonical = fs::canonicalize(place.path()).expect("exists");
        let link = canonical.join("link");
        fs::create_dir(canonical.join("disk")).expect("makes");
        symlink(canonical.join("disk"), &link).expect("links");
        for root in [link.join("state"), link.clone()] {
            let state = StateDir::open_to_change(&root).expect("opens");
            let real = fs::canonicalize(&root).expect("exists");
            assert_eq!(state.root(), real);
            assert_eq!(StateDir::open_to_read(&root).expect("exists").root(), real);
        }
    }

    #[test]
    fn links_in_the_place_of_directories_are_refused() {
        for name in ["blobs", "quarantine", "inventories", "backups", "tmp", "locks"] {
            let place = tempfile::tempdir().expect("temporary directory");
            let root = place.path().join("state");
            let elsewhere = place.path().join("elsewhere");
            for directory in [&root, &elsewhere] {
                fs::create_dir(directory).expect("makes");
                fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("sets");
            }
            symlink(&elsewhere, root.join(name)).expect("links");
            let refused = StateDir::open_to_change(&root);
            assert!(matches!(refused, Err(StateError::Io { .. })), "{name}: {refused:?}");
            let found = fs::metadata(&elsewhere).expect("exists");
            assert_eq!(found.mode() & 0o7777, 0o700, "{name}");
        }
    }

    #[test]
    fn only_what_is_not_there_is_missing() {
        let place = tempfile::tempdir().expect("temporary directory");
        let none = place.path().join("none");
        assert!(matches!(StateDir::open_to_read(&none), Err(StateError::Missing(path)) if path == none));
        let missing = StateDir::open_to_read(place.path());
        assert!(matches!(missing, Err(StateError::Missing(path)) if path == place.path()));
        // Any error but that there is nothing: root, who may run this test, is denied nothing.
        let file = place.path().join("file");
        fs::write(&file, "").expect("writes");
        let below = file.join("state");
        assert!(matches!(StateDir::open_to_read(&below), Err(StateError::Io { path, .. }) if path == below));
        symlink("catalog.db", place.path().join("catalog.db")).expect("links");
        let looped = StateDir::open_to_read(place.path());
        assert!(matches!(looped, Err(StateError::Io { path, .. }) if path.ends_with("catalog.db")));
    }
}

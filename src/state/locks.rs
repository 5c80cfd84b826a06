//! The locks: one for each mirror's sync, one for garbage collection.
//!
//! Owns the lock files' contents. A lock is held as long as its value lives.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{StateDir, StateError, sys};
use crate::model::MirrorId;

/// Mode of lock files. Whoever may open one for reading can put a read lock on it that keeps every writer out, so
/// nobody outside the group may.
const LOCK_MODE: u32 = 0o660;

/// How an existing lock file is opened besides: itself, never what a link leads to, and without waiting for the other
/// end of a fifo.
const AS_IT_IS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Longest process number that is believed, in bytes.
const LONGEST_HOLDER: u64 = 20;

/// The lock file of garbage collection.
const GC: &str = "gc";

/// The right to sync one mirror.
#[derive(Debug)]
#[must_use = "the lock is held as long as this value lives"]
pub struct SyncLock {
    mirror: MirrorId,
    _file: Locked,
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
    _file: Locked,
}

/// A file that is locked. It is unlocked in words, as closing it would leave the lock to whatever child another thread is just
/// about to start, until that child has become another program.
#[derive(Debug)]
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing it, which comes next, does the same a little later.
        let _ = sys::unlock(&self.0);
    }
}

impl StateDir {
    /// Takes the right to sync `mirror`.
    ///
    /// # Errors
    /// [`StateError::SyncBusy`] at once when another process has it.
    pub fn lock_sync(&self, mirror: &MirrorId) -> Result<SyncLock, StateError> {
        match self.lock(&sync_lock(mirror))? {
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
        match self.lock(GC)? {
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
            if self.is_locked(&sync_lock(&mirror))? {
                syncing.push(mirror);
            }
        }
        Ok(syncing)
    }

    fn is_locked(&self, name: &str) -> Result<bool, StateError> {
        let directory = super::open_directory(&self.locks())?;
        let path = self.locks().join(name);
        match rustix::fs::openat(directory, name, OFlags::RDONLY | AS_IT_IS, Mode::empty()) {
            Ok(file) => sys::is_locked(&file.into()).map_err(io("look at", &path)),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(errno) => Err(super::refused_or("open", &path, errno.into())),
        }
    }

    /// The locked file, or who holds the lock.
    fn lock(&self, name: &str) -> Result<Result<Locked, String>, StateError> {
        let path = self.locks().join(name);
        let mut file = self.lock_file(name, &path)?;
        if !sys::try_lock(&file).map_err(io("lock", &path))? {
            return Ok(Err(holder(&mut file)));
        }
        let mut locked = Locked(file);
        let mut write = || -> io::Result<()> {
            locked.0.set_len(0)?;
            locked.0.rewind()?;
            write!(locked.0, "{}", std::process::id())
        };
        write().map_err(io("write", &path))?;
        Ok(Ok(locked))
    }

    /// Opens a lock file, making it when it is missing. What is there already may have been put there by any member of
    /// the group, and is written to only if it is a file of nowhere else.
    fn lock_file(&self, name: &str, path: &Path) -> Result<File, StateError> {
        let directory = super::open_directory(&self.locks())?;
        let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::openat(&directory, name, new, Mode::from_raw_mode(LOCK_MODE)) {
            Ok(file) => {
                let file = file.into();
                self.owner.give(&file, path, LOCK_MODE)?;
                return Ok(file);
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(super::refused_or("create", path, errno.into())),
        }
        let file = rustix::fs::openat(&directory, name, OFlags::RDWR | AS_IT_IS, Mode::empty());
        let file = File::from(file.map_err(|errno| super::refused_or("open", path, errno.into()))?);
        let found = file.metadata().map_err(io("read", path))?;
        if found.is_file() && found.nlink() == 1 {
            Ok(file)
        } else {
            Err(io("use", path)(io::Error::other("it is no lock file")))
        }
    }
}

fn sync_lock(mirror: &MirrorId) -> String {
    format!("{mirror}.sync")
}

/// The process number in a lock file.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(LONGEST_HOLDER).read_to_string(&mut text);
    let holder = read.ok().and_then(|_| text.trim().parse::<u32>().ok());
    holder.map_or_else(|| "unknown".to_owned(), |holder| holder.to_string())
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let place = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::open_to_change(&place.path().join("state")).expect("opens");
        (place, state)
    }

    #[test]
    fn a_held_lock_names_its_holder_and_a_dropped_one_is_free() {
        let (_place, state) = state();
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

    #[test]
    fn asking_takes_and_makes_nothing() {
        let (_place, state) = state();
        let mirror: MirrorId = "debian".parse().expect("valid");
        assert_eq!(state.syncing([mirror.clone()]).expect("readable"), []);
        assert_eq!(fs::read_dir(state.locks()).expect("exists").count(), 0);
        drop(state.lock_sync(&mirror).expect("free"));
        assert_eq!(state.syncing([mirror]).expect("readable"), []);
    }

    #[test]
    fn a_child_that_was_begun_meanwhile_keeps_no_lock() {
        let (_place, state) = state();
        let held = state.lock(GC).expect("a lock file").expect("free");
        // What a child has until it becomes another program.
        let _inherited = held.0.try_clone().expect("a descriptor more");
        drop(held);
        let _again = state.lock_gc().expect("free again");
    }

    #[test]
    fn who_may_only_read_cannot_keep_a_lock_from_anybody() {
        let (_place, state) = state();
        drop(state.lock_gc().expect("free"));
        let path = state.locks().join(GC);
        let mode = fs::metadata(&path).expect("exists").mode();
        assert_eq!(mode & 0o7777, 0o660, "a read lock is for those who may read");
        // The lock that needs no more than any open file.
        let reader = File::open(&path).expect("opens");
        reader.try_lock_shared().expect("free");
        let _held = state.lock_gc().expect("still free");
    }

    #[test]
    fn what_is_no_lock_file_is_never_written_to() {
        for plant in [
            |target: &Path, lock: &Path| symlink(target, lock),
            |target: &Path, lock: &Path| fs::hard_link(target, lock),
            |_: &Path, lock: &Path| fs::create_dir(lock),
        ] {
            let (place, state) = state();
            let target = place.path().join("target");
            fs::write(&target, "precious").expect("writes");
            plant(&target, &state.locks().join(GC)).expect("plants");
            let refused = state.lock_gc();
            assert!(matches!(refused, Err(StateError::Io { .. })), "{refused:?}");
            assert_eq!(fs::read(&target).expect("exists"), b"precious");
        }
    }

    #[test]
    fn locks_elsewhere_are_not_ours() {
        let (place, state) = state();
        let elsewhere = place.path().join("elsewhere");
        fs::rename(state.locks(), &elsewhere).expect("moves");
        symlink(&elsewhere, state.locks()).expect("links");
        assert!(matches!(state.lock_gc(), Err(StateError::Io { .. })));
        assert_eq!(fs::read_dir(&elsewhere).expect("exists").count(), 0);
    }
}

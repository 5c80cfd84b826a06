//! Which mounts live, as the run directory tells.
//!
//! Owns the names of the files there, the reading of lock files, and the rule that a mount lives exactly as long as
//! its lock is held. Whoever reads removes what dead mounts left, as far as permitted. It connects to nobody.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{ControlError, Facts};
use crate::model::Digest;

/// Where mounts register in an installed system.
pub const RUN_DIRECTORY: &str = "/run/mirrorctl";

/// How lock files end.
pub(super) const LOCK: &str = "lock";
/// How sockets end.
pub(super) const SOCKET: &str = "sock";

/// Hexadecimal digits of the state directory's digest in file names: 64 bits, so that two state directories of one
/// host never meet.
const KEY_DIGITS: usize = 16;

/// Most that is read of a lock file; two of the longest paths and some numbers fit.
const LONGEST_FACTS: u64 = 64 * 1024;

/// How often a wait for a mount looks again: short against what a person notices.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// A mount that was live when the run directory was read. Displays as its mount point and process number.
#[derive(Debug, Clone)]
pub struct LiveMount {
    /// Its process number.
    pub pid: u32,
    /// What it announced; `None` when another version wrote it in a form this one cannot read. It must be told of
    /// changes all the same.
    pub facts: Option<Facts>,
    lock: PathBuf,
    identity: Identity,
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// What a lock file says of its mount.
#[derive(Debug)]
pub(super) enum Probe {
    /// A process holds the lock.
    Live(File),
    /// No process does, or there is no file.
    Dead,
}

impl LiveMount {
    /// Whether it announced that it is mounted at `mountpoint`, an absolute path without links.
    pub fn is_at(&self, mountpoint: &Path) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.mountpoint == mountpoint)
    }

    /// The path of its socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.lock.with_extension(SOCKET)
    }

    /// Whether the mount has ended since.
    ///
    /// # Errors
    /// [`ControlError::File`] when its lock file cannot be read.
    pub fn is_gone(&self) -> Result<bool, ControlError> {
        Ok(match probe(&self.lock)? {
            Probe::Dead => true,
            // Another mount may have taken the name over.
            Probe::Live(file) => self.identity != identity(&self.lock, &file)?,
        })
    }

    /// Waits until the mount has ended, at most for `patience`. Returns whether it has.
    ///
    /// # Errors
    /// [`ControlError::File`] when its lock file cannot be read.
    pub fn wait_until_gone(&self, patience: Duration) -> Result<bool, ControlError> {
        let start = Instant::now();
        loop {
            if self.is_gone()? {
                return Ok(true);
            }
            if start.elapsed() >= patience {
                return Ok(false);
            }
            thread::sleep(POLL);
        }
    }
}

impl fmt::Display for LiveMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.facts {
            Some(facts) => write!(f, "{} (pid {})", facts.mountpoint.display(), self.pid),
            None => write!(f, "pid {}", self.pid),
        }
    }
}

/// The live mounts of all state directories that registered in `run`, in the order of their file names. None when
/// the directory does not exist.
///
/// # Errors
/// [`ControlError::File`] when the directory or a lock file cannot be read: it is then unknown who lives.
pub fn mounts_in(run: &Path) -> Result<Vec<LiveMount>, ControlError> {
    live(run, |_| true)
}

/// The live mounts that registered in `run` and show the state directory `state`. None when either directory does
/// not exist.
///
/// # Errors
/// As for [`mounts_in`], and when `state` cannot be looked at.
pub fn mounts_of(run: &Path, state: &Path) -> Result<Vec<LiveMount>, ControlError> {
    match fs::canonicalize(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => {
            let key = state_key(&found.map_err(ControlError::file("find", state))?);
            live(run, |other| other == key)
        }
    }
}

/// The part of file names that stands for the state directory with the canonical path `state`.
pub(super) fn state_key(state: &Path) -> String {
    let mut digits = Digest::of(state.as_os_str().as_encoded_bytes()).to_string();
    digits.truncate(KEY_DIGITS);
    digits
}

fn live(run: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<LiveMount>, ControlError> {
    let mut mounts = Vec::new();
    for lock in lock_files(run)? {
        // Anything whose name is not of our making is left alone.
        let Some((key, pid)) = parts(&lock) else { continue };
        if !wanted(key) {
            continue;
        }
        if let Probe::Live(file) = probe(&lock)? {
            mounts.push(LiveMount {
                pid,
                identity: identity(&lock, &file)?,
                facts: facts(file),
                lock,
            });
        }
    }
    Ok(mounts)
}

fn lock_files(run: &Path) -> Result<Vec<PathBuf>, ControlError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(run) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = read().map_err(ControlError::file("list", run))?;
    paths.sort();
    Ok(paths)
}

/// The key of the state directory and the process number in the name of a lock file.
fn parts(lock: &Path) -> Option<(&str, u32)> {
    if lock.extension() != Some(OsStr::new(LOCK)) {
        return None;
    }
    let (key, pid) = lock.file_stem()?.to_str()?.split_once('-')?;
    let hexadecimal = key.len() == KEY_DIGITS && key.bytes().all(|digit| digit.is_ascii_hexdigit());
    Some((key, pid.parse().ok()?)).filter(|_| hexadecimal)
}

/// Whether the mount of the lock file at `path` lives. The files of a dead one are removed.
pub(super) fn probe(path: &Path) -> Result<Probe, ControlError> {
    let opened = OpenOptions::new()
        .read(true)
        // What is neither a symbolic link nor a pipe is not affected.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Probe::Dead),
        opened => opened.map_err(ControlError::file("open", path))?,
    };
    // Shared, so that two readers do not take each other for the mount.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(Probe::Live(file)),
        Err(TryLockError::Error(source)) => Err(ControlError::file("lock", path)(source)),
        Ok(()) => {
            clean(path, &file);
            Ok(Probe::Dead)
        }
    }
}

/// Removes the files of a dead mount. Who may not leaves them to somebody who may.
fn clean(lock: &Path, file: &File) {
    // A mount with the same process number may have come in between: then the name is another file's.
    let same = fs::symlink_metadata(lock).is_ok_and(|now| file.metadata().is_ok_and(|then| of(&now) == of(&then)));
    if same {
        // The lock file last: as long as it is there, the socket will be found.
        let _ = fs::remove_file(lock.with_extension(SOCKET));
        let _ = fs::remove_file(lock);
    }
}

fn identity(path: &Path, file: &File) -> Result<Identity, ControlError> {
    let metadata = file.metadata().map_err(ControlError::file("look at", path))?;
    Ok(of(&metadata))
}

fn of(metadata: &fs::Metadata) -> Identity {
    Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
    }
}

fn facts(file: File) -> Option<Facts> {
    let mut text = Vec::new();
    file.take(LONGEST_FACTS).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::super::Registration;
    use super::super::registration::tests::facts;
    use super::*;

    fn pids(mounts: &[LiveMount]) -> Vec<u32> {
        mounts.iter().map(|mount| mount.pid).collect()
    }

    #[test]
    fn mounts_are_found_by_their_state_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let (run, here, there) = (dir.path().join("run"), dir.path().join("a"), dir.path().join("b"));
        for state in [&here, &there] {
            fs::create_dir(state).expect("made");
        }
        assert!(mounts_in(&run).expect("no directory is no mount").is_empty());
        let _first = Registration::announce(&run, &facts("/srv/1", &here, 1)).expect("announced");
        let second = Registration::announce(&run, &facts("/srv/2", &here, 2)).expect("announced");
        let _third = Registration::announce(&run, &facts("/srv/3", &there, 3)).expect("announced");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&here, &link).expect("made");
        for way in [&here, &link, &here.join("../a")] {
            assert_eq!(pids(&mounts_of(&run, way).expect("readable")), [1, 2], "{way:?}");
        }
        assert_eq!(pids(&mounts_of(&run, &there).expect("readable")), [3]);
        assert!(mounts_of(&run, &dir.path().join("none")).expect("readable").is_empty());
        assert_eq!(mounts_in(&run).expect("readable").len(), 3);

        let mounts = mounts_of(&run, &here).expect("readable");
        assert_eq!(mounts[1].to_string(), "/srv/2 (pid 2)");
        assert!(mounts[1].is_at(Path::new("/srv/2")) && !mounts[0].is_at(Path::new("/srv/2")));
        assert_eq!(mounts[1].facts.as_ref(), Some(second.facts()));
        drop(second);
        assert!(!mounts[0].is_gone().expect("readable"));
        assert!(mounts[1].is_gone().expect("readable"));
        assert!(!mounts[0].wait_until_gone(Duration::from_millis(30)).expect("readable"));
        assert!(mounts[1].wait_until_gone(Duration::ZERO).expect("readable"));
        assert_eq!(pids(&mounts_of(&run, &here).expect("readable")), [1]);
    }

    #[test]
    fn a_name_taken_over_is_another_mount() {
        let dir = tempfile::tempdir().expect("a directory");
        let announce = || Registration::announce(dir.path(), &facts("/srv", dir.path(), 1)).expect("announced");
        let first = announce();
        // Keeps the number of the first one's file from being used again.
        let kept = fs::read_dir(dir.path())
            .expect("listable")
            .map(|entry| File::open(entry.expect("an entry").path()))
            .find_map(Result::ok)
            .expect("the lock file");
        let mount = mounts_in(dir.path()).expect("readable").remove(0);
        drop(first);
        let _second = announce();
        assert!(mount.is_gone().expect("readable"));
        drop(kept);
    }

    #[test]
    fn the_files_of_the_dead_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let mine = ["0123456789abcdef-9.lock", "0123456789abcdef-9.sock"];
        let others = ["0123456789abcdef-x.lock", "0123-9.lock", "notes.txt", "a.sock"];
        for name in mine.iter().chain(&others) {
            fs::write(dir.path().join(name), "{}").expect("written");
        }
        assert!(mounts_in(dir.path()).expect("readable").is_empty());
        for name in mine {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
        for name in others {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_live_mount_of_another_version_still_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0123456789abcdef-9.lock");
        fs::write(&path, "{\"later\":true}").expect("written");
        let file = File::open(&path).expect("opened");
        file.try_lock().expect("free");
        let mounts = mounts_in(dir.path()).expect("readable");
        assert_eq!((pids(&mounts), mounts[0].facts.as_ref()), (vec![9], None));
        assert_eq!(mounts[0].to_string(), "pid 9");
    }

    #[test]
    fn two_readers_do_not_take_each_other_for_the_mount() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0123456789abcdef-9.lock");
        fs::write(&path, "{}").expect("written");
        let reader = File::open(&path).expect("opened");
        reader.try_lock_shared().expect("free");
        assert!(mounts_in(dir.path()).expect("readable").is_empty());
    }
}

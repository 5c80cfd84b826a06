//! How a mount makes itself known, and vanishes from the run directory when it ends.
//!
//! Owns the two files of one mount: their names, modes, owners, and the order in which they come and go. The lock
//! file appears under its name complete and already locked, so whoever sees it unlocked sees a dead mount. It serves
//! nothing: that is `server.rs`, which takes the listening socket over.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::ControlError;
use super::access::Owner;
use super::roster::{self, Probe};
use crate::model::Timestamp;

/// Mode of the run directory: all may see what is mounted.
const RUN_DIRECTORY_MODE: u32 = 0o755;
/// Mode of a lock file while it is not complete: nobody else can hold a lock on it first.
const UNFINISHED_MODE: u32 = 0o600;
/// Mode of a lock file: its facts are for all.
const LOCK_MODE: u32 = 0o644;
/// Mode of a socket: the state's owner and group.
const SOCKET_MODE: u32 = 0o660;

/// What a mount tells the world about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Process number.
    pub pid: u32,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The state directory it shows. Stored in its canonical form.
    pub state: PathBuf,
    /// The catalog's generation id, which changes when the catalog is rebuilt or restored.
    pub generation: String,
    /// Version of the program.
    pub version: String,
    /// When it started.
    #[serde(with = "seconds")]
    pub started: Timestamp,
}

/// Times as seconds since 1970 in JSON.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde prescribes the signature")]
    pub(super) fn serialize<S: Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_i64(time.unix())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_unix)
    }
}

/// A mount's presence in the run directory: present as long as the value lives, or whoever else has its descriptors.
#[derive(Debug)]
pub struct Registration {
    facts: Facts,
    owner: Owner,
    // Before the listener, as fields are dropped in order: who loses its connection finds the mount gone.
    presence: Presence,
    listener: UnixListener,
}

impl Registration {
    /// Makes the mount described by `facts` known in `run`, which is created when it is missing, and removes what
    /// dead mounts have left there. Connections wait until [`Server::serve`](super::Server::serve) takes them.
    ///
    /// # Errors
    /// [`ControlError::AlreadyAnnounced`] when a live mount has the same state directory and process number;
    /// [`ControlError::Facts`] when a path is not UTF-8; [`ControlError::File`] when a file cannot be made.
    pub fn announce(run: &Path, facts: &Facts) -> Result<Self, ControlError> {
        let mut facts = facts.clone();
        facts.state = fs::canonicalize(&facts.state).map_err(ControlError::file("find", &facts.state))?;
        let owner = owner_of(&facts.state)?;
        let text = serde_json::to_vec(&facts).map_err(ControlError::Facts)?;
        make_run_directory(run)?;
        // Looking at every mount removes the dead ones.
        roster::mounts_in(run)?;
        let presence = Presence::new(run, &stem(&facts.state, facts.pid), &text)?;
        let listener = listen(&presence.socket, owner)?;
        Ok(Self {
            facts,
            owner,
            presence,
            listener,
        })
    }

    /// Goes on with the registration of an earlier process whose `lock` and `socket` somebody has kept
    /// ([`Registration::descriptors`]), and says what is new of the mount. It is left in place ([`Registration::keep`]).
    ///
    /// # Errors
    /// [`ControlError::Facts`] when a path is not UTF-8; [`ControlError::File`] when the files cannot be used.
    pub fn resume(run: &Path, facts: &Facts, lock: OwnedFd, socket: OwnedFd) -> Result<Self, ControlError> {
        let text = serde_json::to_vec(facts).map_err(ControlError::Facts)?;
        let presence = Presence::resume(run, &stem(&facts.state, facts.pid), &text, lock.into())?;
        Ok(Self {
            facts: facts.clone(),
            owner: owner_of(&facts.state)?,
            presence,
            listener: socket.into(),
        })
    }

    /// The lock and the socket: as long as anybody has them, the mount lives for commands, and what they say waits to be heard.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.presence.file.as_fd(), self.listener.as_fd()]
    }

    /// Lets the registration stay when this value goes: another process will go on with it.
    pub fn keep(&self) {
        self.presence.stays.store(true, Ordering::SeqCst);
    }

    /// Lets the registration go with this value after all: the mount ends.
    pub fn give_up(&self) {
        self.presence.stays.store(false, Ordering::SeqCst);
    }

    /// What was announced, with the canonical path of the state directory.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// To whom the state directory belongs.
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// The listening socket.
    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

/// The locked file and the path of the socket beside it; both files go when it is dropped.
#[derive(Debug)]
struct Presence {
    lock: PathBuf,
    socket: PathBuf,
    // Held for its lock. The kernel frees it when the last process that has it ends, however it ends.
    file: File,
    /// Whether the files outlive this value.
    stays: AtomicBool,
}

impl Presence {
    fn new(run: &Path, stem: &str, text: &[u8]) -> Result<Self, ControlError> {
        let unfinished = run.join(format!(".{stem}.new"));
        let lock = run.join(format!("{stem}.{}", roster::LOCK));
        let file = locked_file(&unfinished, text)?;
        let linked = link(&unfinished, &lock);
        fs::remove_file(&unfinished).map_err(ControlError::file("remove", &unfinished))?;
        linked?;
        Ok(Self {
            socket: lock.with_extension(roster::SOCKET),
            lock,
            file,
            stays: AtomicBool::new(false),
        })
    }

    fn resume(run: &Path, stem: &str, text: &[u8], file: File) -> Result<Self, ControlError> {
        let lock = run.join(format!("{stem}.{}", roster::LOCK));
        let write = || {
            if file.metadata()?.len() != text.len() as u64 || fs::read(&lock)? != text {
                // In one piece, and no longer than it is: for somebody who reads meanwhile.
                file.write_all_at(text, 0)?;
                file.set_len(text.len() as u64)?;
            }
            Ok(())
        };
        write().map_err(ControlError::file("write", &lock))?;
        Ok(Self {
            socket: lock.with_extension(roster::SOCKET),
            lock,
            file,
            stays: AtomicBool::new(true),
        })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if *self.stays.get_mut() {
            return;
        }
        // The socket first: while the lock file is there, commands know that something may answer. What cannot be
        // removed is removed by the next one who sees it unlocked.
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_file(&self.lock);
    }
}

/// The part of both file names before the dot.
fn stem(state: &Path, pid: u32) -> String {
    format!("{}-{pid}", roster::state_key(state))
}

/// Whom `state` belongs to.
fn owner_of(state: &Path) -> Result<Owner, ControlError> {
    let facts = fs::metadata(state).map_err(ControlError::file("look at", state))?;
    Ok(Owner {
        user: facts.uid(),
        group: facts.gid(),
    })
}

/// A new file at `path` with `text` in it, locked and readable by all.
fn locked_file(path: &Path, text: &[u8]) -> Result<File, ControlError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
    .map_err(ControlError::file("remove", path))?;
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(UNFINISHED_MODE)
            .open(path)?;
        file.try_lock()?;
        file.write_all(text)?;
        // After the lock, and not by the mode of the open call, from which the umask takes away.
        file.set_permissions(Permissions::from_mode(LOCK_MODE))?;
        Ok(file)
    };
    write().map_err(ControlError::file("write", path))
}

/// Gives the finished file its name, unless a live mount has it.
fn link(unfinished: &Path, lock: &Path) -> Result<(), ControlError> {
    let link = || fs::hard_link(unfinished, lock);
    let outcome = match link() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if let Probe::Live(_) = roster::probe(lock)? {
                return Err(ControlError::AlreadyAnnounced { path: lock.to_owned() });
            }
            link()
        }
        outcome => outcome,
    };
    outcome.map_err(ControlError::file("create", lock))
}

/// A listening socket at `path` for the state's owner and group.
fn listen(path: &Path, owner: Owner) -> Result<UnixListener, ControlError> {
    let listen = || {
        let listener = UnixListener::bind(path)?;
        give(path, owner)?;
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        Ok(listener)
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // Before this moment the name belonged to a dead mount, if to any: its lock file is ours now.
        _ => listen(),
    }
    .map_err(ControlError::file("listen at", path))
}

/// Gives the file to the state's owner and group; a process that is not root can only give it to the group, of which
/// it must be a member.
fn give(path: &Path, owner: Owner) -> io::Result<()> {
    match chown(path, Some(owner.user), Some(owner.group)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => chown(path, None, Some(owner.group)),
        outcome => outcome,
    }
}

/// Makes the run directory, whose parents may be missing too, so that everybody can look into it whatever the umask is.
/// One that exists is left as it is.
///
/// # Errors
/// [`ControlError::File`] when it cannot be made.
pub fn make_run_directory(run: &Path) -> Result<(), ControlError> {
    let make = || {
        if let Some(parent) = run.parent() {
            fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(RUN_DIRECTORY_MODE).create(run) {
            // The umask may have taken away what all need.
            Ok(()) => fs::set_permissions(run, Permissions::from_mode(RUN_DIRECTORY_MODE)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    };
    make().map_err(ControlError::file("create", run))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Digest;

    /// Facts of a mount that need not exist.
    pub(in crate::control) fn facts(mountpoint: &str, state: impl AsRef<Path>, pid: u32) -> Facts {
        Facts {
            pid,
            mountpoint: mountpoint.into(),
            state: state.as_ref().to_owned(),
            generation: "5f0c".into(),
            version: "0.1.0".into(),
            started: Timestamp::from_unix(1_700_000_000),
        }
    }

    fn names(run: &Path) -> Vec<String> {
        let entries = fs::read_dir(run).expect("listable");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("ASCII"))
            .collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").mode() & 0o7777
    }

    #[test]
    fn a_mount_has_two_files_while_it_lives() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("deep/run");
        let registration = Registration::announce(&run, &facts("/srv/apt", dir.path(), 7)).expect("announced");
        let state = fs::canonicalize(dir.path()).expect("exists");
        let key = Digest::of(state.as_os_str().as_encoded_bytes()).to_string();
        let stem = format!("{}-7", &key[..16]);
        assert_eq!(names(&run), [format!("{stem}.lock"), format!("{stem}.sock")]);
        assert_eq!(mode(&run), 0o755);
        assert_eq!(mode(&run.join(format!("{stem}.lock"))), 0o644);
        assert_eq!(mode(&run.join(format!("{stem}.sock"))), 0o660);
        let text = fs::read_to_string(run.join(format!("{stem}.lock"))).expect("readable");
        assert_eq!(
            &serde_json::from_str::<Facts>(&text).expect("facts"),
            registration.facts()
        );
        drop(registration);
        assert!(names(&run).is_empty());
    }

    #[test]
    fn the_same_process_cannot_show_one_state_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("run");
        let first = Registration::announce(&run, &facts("/a", dir.path(), 7)).expect("announced");
        let second = Registration::announce(&run, &facts("/b", dir.path(), 7));
        assert!(matches!(second, Err(ControlError::AlreadyAnnounced { .. })));
        // The refused one took nothing away.
        assert_eq!(names(&run).len(), 2);
        drop(first);
        Registration::announce(&run, &facts("/b", dir.path(), 7)).expect("free again");
    }

    #[test]
    fn a_registration_outlives_its_process_and_is_gone_on_with() {
        let dir = tempfile::tempdir().expect("a directory");
        let (run, state) = (dir.path().join("run"), fs::canonicalize(dir.path()).expect("exists"));
        let first = Registration::announce(&run, &facts("/srv/apt", &state, 7)).expect("announced");
        let copies = first
            .descriptors()
            .map(|descriptor| descriptor.try_clone_to_owned().expect("copied"));
        first.keep();
        drop(first);
        let live = || roster::mounts_in(&run).expect("readable");
        assert_eq!(live().len(), 1, "it lives as long as the lock is held");

        let mut later = facts("/srv/apt", &state, 7);
        later.version = "9".into();
        let [lock, socket] = copies;
        let second = Registration::resume(&run, &later, lock, socket).expect("gone on with");
        assert_eq!(live()[0].facts.as_ref(), Some(&later));
        second.give_up();
        drop(second);
        assert!(names(&run).is_empty());
    }

    #[test]
    fn what_a_dead_mount_left_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join("run");
        let state = fs::canonicalize(dir.path()).expect("exists");
        fs::create_dir(&run).expect("made");
        for (stem, suffixes) in [
            (stem(&state, 7), &["lock", "sock"][..]),
            (stem(&state, 8), &["lock", "sock"]),
            (format!(".{}", stem(&state, 7)), &["new"]),
        ] {
            for suffix in suffixes {
                fs::write(run.join(format!("{stem}.{suffix}")), "left").expect("written");
            }
        }
        let _registration = Registration::announce(&run, &facts("/a", dir.path(), 7)).expect("announced");
        let stem = stem(&state, 7);
        assert_eq!(names(&run), [format!("{stem}.lock"), format!("{stem}.sock")]);
    }

    #[test]
    fn a_missing_state_directory_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = dir.path().join("none");
        let error = Registration::announce(dir.path(), &facts("/a", &missing, 7)).expect_err("refused");
        assert_eq!(error.to_string(), format!("cannot find {}", missing.display()));
    }
}

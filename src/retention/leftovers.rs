//! Files of syncs that failed, on their way into the cache and not in it.
//!
//! Owns when they go: the mirror's next successful sync removes what it does not need, and a collection what nobody has
//! touched for long. It never touches the files of a sync that runs.

use super::sweep::RetentionError;
use crate::blobs::{Leftover, Leftovers};
use crate::catalog::Marked;
use crate::model::{MirrorId, Timestamp};
use crate::state::{StateDir, StateError};

/// What lies in the inboxes, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unfinished {
    /// What was removed, or would be.
    pub(super) removed: Marked,
    /// What stays for the next sync of its mirror, or belongs to one that runs.
    pub(super) kept: Marked,
}

/// Files on their way into the cache, of syncs that run and of those that failed.
///
/// # Errors
/// When the directories cannot be read.
pub fn unfinished(state: &StateDir) -> Result<Marked, RetentionError> {
    let mut all = Marked::default();
    for mirror in state.with_incoming()? {
        of(state, &mirror)?
            .files()
            .iter()
            .for_each(|file| count(&mut all, file));
    }
    Ok(all)
}

/// What [`discard`] would do now; changes nothing.
pub(super) fn plan(state: &StateDir, until: Timestamp) -> Result<Unfinished, RetentionError> {
    let mut unfinished = Unfinished::default();
    for mirror in state.with_incoming()? {
        // Who may not look at the lock is told what would go if no sync ran.
        let runs = state.syncing([mirror.clone()]).is_ok_and(|found| !found.is_empty());
        for file in of(state, &mirror)?.files() {
            if file.since < until && !runs {
                count(&mut unfinished.removed, file);
            } else {
                count(&mut unfinished.kept, file);
            }
        }
    }
    Ok(unfinished)
}

/// Removes files that were last touched before `until`, of every mirror that is not being synced.
pub(super) fn discard(state: &StateDir, until: Timestamp) -> Result<Unfinished, RetentionError> {
    let mut unfinished = Unfinished::default();
    for mirror in state.with_incoming()? {
        discard_of(state, &mirror, until, &mut unfinished)?;
    }
    Ok(unfinished)
}

fn discard_of(
    state: &StateDir,
    mirror: &MirrorId,
    until: Timestamp,
    unfinished: &mut Unfinished,
) -> Result<(), RetentionError> {
    let mut left = of(state, mirror)?;
    // A sync that begins while the lock is held is refused, so it is taken for something to remove only.
    let lock = if left.files().iter().any(|file| file.since < until) {
        match state.lock_sync(mirror) {
            Ok(lock) => Some(lock),
            Err(StateError::SyncBusy { .. }) => None,
            Err(error) => return Err(error.into()),
        }
    } else {
        None
    };
    if lock.is_some() {
        // A sync may have come and gone meanwhile.
        left = of(state, mirror)?;
    }
    for file in left.files() {
        if lock.is_some() && file.since < until {
            left.remove(file)?;
            count(&mut unfinished.removed, file);
        } else {
            count(&mut unfinished.kept, file);
        }
    }
    Ok(())
}

fn of(state: &StateDir, mirror: &MirrorId) -> Result<Leftovers, RetentionError> {
    Ok(Leftovers::of(&state.incoming_root().join(mirror.as_str()))?)
}

fn count(sum: &mut Marked, file: &Leftover) {
    sum.blobs += 1;
    sum.bytes += file.size;
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct House {
        _place: tempfile::TempDir,
        state: StateDir,
    }

    /// A time before and one after everything that a test does.
    const PAST: Timestamp = Timestamp::from_unix(1_000_000_000);
    const FUTURE: Timestamp = Timestamp::from_unix(100_000_000_000);

    impl House {
        fn new() -> Self {
            let place = tempfile::tempdir().expect("temporary directory");
            let state = StateDir::open_to_change(&place.path().join("state")).expect("opens");
            Self { _place: place, state }
        }

        fn leave(&self, mirror: &str, name: &str) -> PathBuf {
            let inbox = self.state.incoming_root().join(mirror);
            fs::create_dir_all(&inbox).expect("makes");
            fs::write(inbox.join(name), "12345").expect("writes");
            inbox.join(name)
        }
    }

    fn files(n: u64) -> Marked {
        Marked { blobs: n, bytes: 5 * n }
    }

    #[test]
    fn what_is_old_goes_and_what_is_young_stays() {
        let house = House::new();
        let part = format!("{}.part", crate::model::Digest::of(b"x"));
        let left = house.leave("gone", &part);
        house.leave("gone", "3");
        let foreign = house.leave("gone", "notes");
        let kept = Unfinished {
            removed: files(0),
            kept: files(2),
        };
        assert_eq!(plan(&house.state, PAST).expect("plans"), kept);
        assert_eq!(discard(&house.state, PAST).expect("looks"), kept);
        assert_eq!(unfinished(&house.state).expect("counts"), files(2));
        let removed = Unfinished {
            removed: files(2),
            kept: files(0),
        };
        assert_eq!(plan(&house.state, FUTURE).expect("plans"), removed);
        assert!(left.exists());
        assert_eq!(discard(&house.state, FUTURE).expect("removes"), removed);
        assert!(!left.exists() && foreign.exists());
        assert_eq!(unfinished(&house.state).expect("counts"), files(0));
    }

    #[test]
    fn the_files_of_a_sync_that_runs_stay() {
        let house = House::new();
        let (running, other) = (house.leave("running", "1"), house.leave("other", "1"));
        let lock = house.state.lock_sync(&"running".parse().expect("valid")).expect("free");
        let some = Unfinished {
            removed: files(1),
            kept: files(1),
        };
        assert_eq!(plan(&house.state, FUTURE).expect("plans"), some);
        assert_eq!(discard(&house.state, FUTURE).expect("removes"), some);
        assert!(running.exists() && !other.exists());
        drop(lock);
        assert_eq!(discard(&house.state, FUTURE).expect("removes").removed, files(1));
        assert!(!running.exists());
    }

    #[test]
    fn what_is_no_inbox_is_left_alone() {
        let house = House::new();
        let root = house.state.incoming_root();
        fs::write(root.join("file"), "").expect("writes");
        fs::create_dir(root.join("Not An Id")).expect("makes");
        std::os::unix::fs::symlink("Not An Id", root.join("link")).expect("links");
        fs::write(root.join("Not An Id/1"), "").expect("writes");
        assert_eq!(discard(&house.state, FUTURE).expect("looks"), Unfinished::default());
        assert!(root.join("Not An Id/1").exists());
    }
}

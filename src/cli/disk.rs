//! Troubles of this machine behind a failure: a full disk, a damaged one, limits of the process.
//!
//! Owns how they are recognised, wherever in the chain of causes they are, and what users are told: what holds, and what to
//! do. It changes nothing and prints nothing.

use std::error::Error;
use std::io;
use std::path::Path;

use super::failure::{Failure, Kind};
use super::text::size;
use crate::catalog::CatalogError;
use crate::state::Room;

/// What the system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No blocks or no inodes are left.
    Full,
    /// The user's share of the file system is used up.
    Quota,
    /// The file system takes no changes.
    ReadOnly,
    /// Reading or writing failed.
    Damaged,
    /// A file could not be opened or made, for a reason that was not told.
    Unopened,
    /// Too many files are open, in this process or in all.
    TooManyFiles,
}

/// Inodes below which a file system counts as having none: a command makes some files of its own besides.
const FEW_INODES: u64 = 16;

/// Bytes below which a file system counts as full: the catalog's log and its index take more than that.
const FEW_BYTES: u64 = 256 << 10;

impl Trouble {
    /// The trouble that `error` goes back to, if it is one.
    pub(super) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
            let io = error.downcast_ref::<io::Error>().and_then(Self::of_io);
            io.or_else(|| error.downcast_ref::<CatalogError>().and_then(Self::of_catalog))
        })
    }

    fn of_io(error: &io::Error) -> Option<Self> {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::StorageFull, _) => Some(Self::Full),
            (io::ErrorKind::QuotaExceeded, _) => Some(Self::Quota),
            (io::ErrorKind::ReadOnlyFilesystem, _) => Some(Self::ReadOnly),
            (_, Some(libc::EIO)) => Some(Self::Damaged),
            (_, Some(libc::EMFILE | libc::ENFILE)) => Some(Self::TooManyFiles),
            _ => None,
        }
    }

    fn of_catalog(error: &CatalogError) -> Option<Self> {
        let troubles = [
            (error.is_out_of_space(), Self::Full),
            (error.is_of_the_disk(), Self::Damaged),
            // SQLite opens what it cannot open for writing for reading, whatever the reason.
            (error.is_read_only() || error.cannot_open(), Self::Unopened),
        ];
        troubles.into_iter().find_map(|(is, trouble)| is.then_some(trouble))
    }
}

/// Adds to a failure with such a trouble how much room is where `state` is, and what to do.
pub(super) fn explain(mut failure: Failure, state: &Path) -> Failure {
    let trouble = match failure.take_trouble() {
        None => return failure,
        Some(Trouble::Unopened) if Room::is_read_only_at(state) => Trouble::ReadOnly,
        Some(trouble) => trouble,
    };
    let room = Room::at(state).ok();
    let place = state.display();
    let scarce = room.and_then(|room| scarce(&room));
    let failure = match (room, scarce) {
        (Some(room), Some(_)) => failure.because(format!("the file system of {place} has {}", left(&room))),
        _ => failure,
    };
    match (trouble, scarce) {
        (Trouble::Full | Trouble::Damaged | Trouble::Unopened, Some(Scarce::Inodes)) => failure.hint(format!(
            "remove files (df -i {place}), or use a file system with more inodes; {THEN}"
        )),
        (Trouble::Full | Trouble::Damaged | Trouble::Unopened, Some(Scarce::Bytes)) => {
            failure.hint(format!("make room (df -h {place}); {THEN}"))
        }
        (Trouble::Full, None) => failure.hint(format!("make room: space (df -h {place}) or inodes (df -i {place}); {THEN}")),
        (Trouble::Quota, _) => failure.hint(format!(
            "the quota of whoever owns {place} is used up: raise it or remove files; {THEN}"
        )),
        (Trouble::ReadOnly, _) => failure.hint(format!(
            "the file system of {place} is read-only, as the kernel makes it after errors (dmesg tells): mend that and mount it \
             again; what is published is still served"
        )),
        (Trouble::Damaged, None) => failure.hint(format!(
            "the disk of {place} reports errors (dmesg tells): see to it first; what is published is still served, and \
             mirrorctl status says what is recorded"
        )),
        (Trouble::TooManyFiles, _) => failure.of_kind(Kind::Failed).hint(format!(
            "allow more open files (ulimit -n, LimitNOFILE=, fs.file-max), or set a lower max_conns; {THEN}"
        )),
        (Trouble::Unopened, None) => failure.hint(format!(
            "see who may read and write {place}, and how many files may be open (ulimit -n); {THEN}"
        )),
    }
}

/// What every command leaves in order.
const THEN: &str = "then run it again: what was fetched or recorded is kept";

/// What a file system has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scarce {
    Bytes,
    Inodes,
}

fn scarce(room: &Room) -> Option<Scarce> {
    if room.inodes.is_some_and(|free| free < FEW_INODES) {
        Some(Scarce::Inodes)
    } else {
        (room.free < FEW_BYTES).then_some(Scarce::Bytes)
    }
}

fn left(room: &Room) -> String {
    match room.inodes {
        Some(inodes) => format!("{} and {inodes} inodes left", size(room.free)),
        None => format!("{} left", size(room.free)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::BlobError;
    use crate::retention::RetentionError;

    fn blob(code: i32) -> RetentionError {
        RetentionError::Blobs(BlobError::Io {
            action: "write",
            path: "/s/blobs".into(),
            source: io::Error::from_raw_os_error(code),
        })
    }

    #[test]
    fn a_trouble_is_found_however_deep_it_is() {
        for (code, trouble) in [
            (libc::ENOSPC, Some(Trouble::Full)),
            (libc::EDQUOT, Some(Trouble::Quota)),
            (libc::EROFS, Some(Trouble::ReadOnly)),
            (libc::EIO, Some(Trouble::Damaged)),
            (libc::EMFILE, Some(Trouble::TooManyFiles)),
            (libc::ENFILE, Some(Trouble::TooManyFiles)),
            (libc::ENOENT, None),
        ] {
            assert_eq!(Trouble::behind(&blob(code)), trouble, "{code}");
        }
    }

    #[test]
    fn what_is_scarce_is_named() {
        let room = |free, inodes| Room {
            total: 1 << 30,
            free,
            block: 4096,
            inodes,
        };
        assert_eq!(scarce(&room(1 << 29, Some(3))), Some(Scarce::Inodes));
        assert_eq!(scarce(&room(0, Some(3_000))), Some(Scarce::Bytes));
        assert_eq!(scarce(&room(0, None)), Some(Scarce::Bytes));
        assert_eq!(scarce(&room(1 << 29, None)), None);
        assert_eq!(left(&room(2048, Some(0))), "2.0 KiB and 0 inodes left");
    }

    #[test]
    fn a_failure_says_what_holds_and_what_to_do() {
        let place = tempfile::tempdir().expect("temporary directory");
        for (code, words) in [
            (libc::EROFS, "still served"),
            (libc::EIO, "dmesg"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EDQUOT, "quota"),
            (libc::ENOSPC, "df -"),
        ] {
            let failure = explain(Failure::caused(Kind::Failed, &blob(code)), place.path());
            assert!(failure.hints().iter().any(|hint| hint.contains(words)), "{failure:?}");
            let again = explain(failure.clone(), place.path());
            assert_eq!(again, failure, "it is said once");
        }
    }
}

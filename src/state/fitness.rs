//! Whether a place can carry the state, and what is there can be trusted.
//!
//! Owns the judgement. It changes nothing; what an operator takes all the same is for `cli` to know.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{StateDir, StateError};

/// File systems whose files other machines or processes answer for, by the number that statfs(2) has for them. SQLite's log
/// lives in memory that all who use it share, locks must be the kernel's own, and what was synced must be on a disk.
/// The numbers are those of the kernel's `magic.h` and of statfs(2).
const FOREIGN: [(u32, &str); 13] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "a FUSE file system"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0bd0_0bd0, "Lustre"),
    (0x786f_4256, "a shared folder of VirtualBox"),
    (0xbacb_acbc, "a shared folder of VMware"),
];

/// The bits of a mode that let everybody write.
const WRITE_FOR_ALL: u32 = 0o002;

impl StateDir {
    /// Refuses a place for state that is on a file system of another machine or process. What is missing of the path does not
    /// matter.
    ///
    /// # Errors
    /// [`StateError::Unfit`], or that the file system cannot be asked.
    pub fn require_local(root: &Path) -> Result<(), StateError> {
        for there in root.ancestors() {
            match rustix::fs::statfs(there) {
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(cannot("look at the file system of", there, errno.into())),
                Ok(found) => return judge(there, u64::try_from(found.f_type).unwrap_or(0)),
            }
        }
        Ok(())
    }
}

fn judge(path: &Path, found: u64) -> Result<(), StateError> {
    match FOREIGN.iter().find(|(magic, _)| u64::from(*magic) == found) {
        None => Ok(()),
        Some((_, kind)) => Err(StateError::Unfit {
            path: path.to_owned(),
            kind,
        }),
    }
}

/// Refuses a directory in which every user can put files: what is in it need not be ours.
pub(super) fn refuse_writable_by_all(directory: &File, path: &Path) -> Result<(), StateError> {
    let found = directory.metadata().map_err(|source| cannot("read", path, source))?;
    if found.mode() & WRITE_FOR_ALL == 0 {
        Ok(())
    } else {
        Err(StateError::WritableByAll(path.to_owned()))
    }
}

/// Refuses what is no plain file, or one that every user can write.
pub(super) fn require_plain_file(path: &Path) -> Result<(), StateError> {
    let found = fs::symlink_metadata(path).map_err(|source| cannot("read", path, source))?;
    if !found.is_file() {
        return Err(StateError::NotAFile(path.to_owned()));
    }
    if found.mode() & WRITE_FOR_ALL != 0 {
        return Err(StateError::WritableByAll(path.to_owned()));
    }
    Ok(())
}

fn cannot(action: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn file_systems_of_others_are_refused_by_name() {
        let place = Path::new("/s");
        for (magic, name) in FOREIGN {
            let refused = judge(place, magic.into()).expect_err("another machine's");
            assert!(refused.to_string().contains(&format!("/s is on {name},")), "{refused}");
        }
        // ext4, tmpfs, btrfs, overlay.
        for magic in [0xef53, 0x0102_1994, 0x9123_683e, 0x794c_7630] {
            judge(place, magic).expect("a local one");
        }
    }

    #[test]
    fn a_place_that_is_not_there_yet_is_judged_where_it_would_be() {
        let place = tempfile::tempdir().expect("temporary directory");
        StateDir::require_local(&place.path().join("a/b")).expect("tests run on a local disk");
    }

    #[test]
    fn what_everybody_can_write_is_refused() {
        for name in ["", "blobs", "tmp", "locks", "inventories", "catalog.db"] {
            let place = tempfile::tempdir().expect("temporary directory");
            let root = place.path().join("state");
            drop(StateDir::open_to_change(&root).expect("opens"));
            let path = root.join(name);
            let mode = fs::metadata(&path).expect("exists").mode();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode | WRITE_FOR_ALL)).expect("own file");
            let refused = StateDir::open_to_change(&root);
            assert!(
                matches!(refused, Err(StateError::WritableByAll(_))),
                "{name}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_catalog_is_refused() {
        let place = tempfile::tempdir().expect("temporary directory");
        let root = place.path().join("state");
        drop(StateDir::open_to_change(&root).expect("opens"));
        let catalog = root.join("catalog.db");
        fs::rename(&catalog, place.path().join("elsewhere")).expect("moves");
        symlink(place.path().join("elsewhere"), &catalog).expect("links");
        let refused = StateDir::open_to_change(&root);
        assert!(matches!(refused, Err(StateError::NotAFile(_))), "{refused:?}");
    }
}

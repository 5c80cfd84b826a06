//! What `stat` shows, and how long the kernel may remember it.
//!
//! Owns every attribute of every inode and every time-to-live, each with its reason. It asks the tree nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

/// How long the kernel may remember a name, an absence, attributes or a listing. Long for one of two reasons: behind a
/// door nothing that is listed ever changes, and nothing is added; and of what does change (mirrors, pointers, snapshots)
/// the kernel is told. A short time would not only cost a question per path walk: a walk's revalidation could meet
/// an answer from before a change after the change was told.
pub const FOR_EVER: Duration = Duration::from_hours(10 * 365 * 24);

/// How long the kernel may remember a link: not at all. There are as many names of links as anybody makes up, so nobody
/// keeps a record of which of them would have to be told of a change. Asking costs one question per walk.
pub(crate) const LINK: Duration = Duration::ZERO;

/// How long the kernel may remember a name behind a door that may vanish. Such names come and go by the thousand with
/// nobody knowing which of them the kernel has seen, so it is not told but asks at every walk.
pub const ASK_AGAIN: Duration = Duration::ZERO;

/// Longest name, in bytes: what `statfs` promises and a look-up enforces (the kernel itself lets longer names pass).
pub const NAME_MAX: usize = 255;

/// Unit of `statfs` and preferred size of a read.
pub const BLOCK_SIZE: u32 = 4096;

/// Unit of `st_blocks`, fixed by POSIX practice.
const STAT_BLOCK: u64 = 512;

const FILE_MODE: u16 = 0o444;
const DIRECTORY_MODE: u16 = 0o555;
/// What every link has on Linux; it means nothing.
const LINK_MODE: u16 = 0o777;

/// A size no file can have: the kernel refuses to make an inode of attributes that claim it.
const IMPOSSIBLE_SIZE: u64 = u64::MAX;

/// Attributes of the directory `ino`, changed at `mtime` (seconds since 1970).
pub fn directory(ino: u64, mtime: i64) -> FileAttr {
    // One link: with more, programs such as find conclude how many subdirectories there are.
    plain(ino, FileType::Directory, DIRECTORY_MODE, 0, mtime)
}

/// Attributes of the file `ino` of `size` bytes, changed at `mtime` (seconds since 1970).
pub fn file(ino: u64, size: u64, mtime: i64) -> FileAttr {
    plain(ino, FileType::RegularFile, FILE_MODE, size, mtime)
}

/// Attributes of the link `ino`, whose target has `length` bytes and changed at `mtime` (seconds since 1970).
pub(crate) fn link(ino: u64, length: usize, mtime: i64) -> FileAttr {
    FileAttr {
        blocks: 0,
        ..plain(ino, FileType::Symlink, LINK_MODE, length as u64, mtime)
    }
}

/// Attributes that stand for "there is no such name": the protocol says so with inode number 0.
pub(crate) fn absent() -> FileAttr {
    plain(0, FileType::RegularFile, 0, 0, 0)
}

/// `attr` for a listing whose names the kernel shall show but not look up by the way.
///
/// The protocol's own word for that is node number 0, but the library puts one number into both the node and the
/// entry shown, and the C library skips entries numbered 0. The kernel shows an entry *before* it makes an inode of
/// its attributes, and makes none of attributes that claim an impossible size; it then only sends a forget.
pub(crate) fn name_only(mut attr: FileAttr) -> FileAttr {
    attr.size = IMPOSSIBLE_SIZE;
    attr
}

fn plain(ino: u64, kind: FileType, perm: u16, size: u64, mtime: i64) -> FileAttr {
    let time = time(mtime);
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(STAT_BLOCK),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// `seconds` since 1970, and 1970 itself for a time that the platform cannot express.
fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_write_and_everybody_may_read() {
        let file = file(7, 1025, 3);
        assert_eq!((file.perm, file.uid, file.gid, file.nlink), (0o444, 0, 0, 1));
        assert_eq!((file.size, file.blocks), (1025, 3));
        let directory = directory(8, 3);
        assert_eq!(
            (directory.perm, directory.uid, directory.gid, directory.nlink),
            (0o555, 0, 0, 1)
        );
    }

    #[test]
    fn times_before_1970_are_kept() {
        assert_eq!(
            UNIX_EPOCH.duration_since(file(1, 0, -5).mtime).unwrap(),
            Duration::from_secs(5)
        );
        assert_eq!(
            file(1, 0, 5).mtime.duration_since(UNIX_EPOCH).unwrap(),
            Duration::from_secs(5)
        );
    }
}

//! Inode numbers: the only file that knows how a number is made.
//!
//! Owns the two-way translation between what a thing *is* and the number the kernel knows it by. There is no table:
//! a number is computed from the thing and the thing from the number, so forgetting costs nothing and a restarted
//! process answers the same numbers. It must never give two things one number, nor one directory two places. (A link
//! may have many names: a number stands for where it leads.)
//!
//! ```text
//! bit 63 62                     32 31                              0
//!      0 | door, 31 bits, not 0   | directory, 32 bits              |  a directory behind a door
//!      0 | door, 31 bits, not 0   | all ones                        |  the link that leads to a snapshot's door
//!      0 | 0                      | mirror + 1, 30 bits | kind, 2   |  a directory of the mount itself; 1 is the root
//!      1 | blob, 30 bits               | serial time, 33 bits       |  a file
//! ```

use crate::tree::{BlobNo, DirNo, Door, FileId, MirrorNo};

/// The number of the mount's root, fixed by the protocol.
pub const ROOT: u64 = 1;

const FILE: u64 = 1 << 63;
const SERIAL_BITS: u32 = 33;
const SERIAL_MAX: u64 = (1 << SERIAL_BITS) - 1;
const DOOR_SHIFT: u32 = 32;
const KIND_BITS: u32 = 2;
const KIND_MIRROR: u64 = 0;
const KIND_SNAPSHOTS: u64 = 1;
const KIND_HIDDEN: u64 = 2;
const KIND_AT: u64 = 3;
/// What stands in a directory's place for the link to a door: one more than the largest directory number.
const LINK: u32 = DirNo::MAX + 1;

/// What an inode number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ino {
    /// The root of the mount.
    Root,
    /// The directory of a mirror.
    Mirror(MirrorNo),
    /// The directory `snapshots` of a mirror.
    Snapshots(MirrorNo),
    /// The unlisted directory of a mirror to which superseded doors are moved aside.
    Hidden(MirrorNo),
    /// The directory `at` of a mirror, whose names are links to snapshots.
    At(MirrorNo),
    /// One directory path behind one door.
    Directory(Door, DirNo),
    /// The link that leads to a snapshot, the same under every name.
    Link(Door),
    /// A file, the same behind every door.
    File(FileId),
}

impl Ino {
    /// The number the kernel knows it by; `None` when a part exceeds its documented maximum.
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Root => Some(ROOT),
            Self::Mirror(mirror) => fixed(mirror, KIND_MIRROR),
            Self::Snapshots(mirror) => fixed(mirror, KIND_SNAPSHOTS),
            Self::Hidden(mirror) => fixed(mirror, KIND_HIDDEN),
            Self::At(mirror) => fixed(mirror, KIND_AT),
            Self::Directory(door, DirNo(dir)) => (dir <= DirNo::MAX).then_some(dir).and_then(|dir| at_door(door, dir)),
            Self::Link(door) => at_door(door, LINK),
            Self::File(FileId { blob, serial }) => (blob.0 <= BlobNo::MAX && serial <= SERIAL_MAX)
                .then(|| FILE | u64::from(blob.0) << SERIAL_BITS | serial),
        }
    }

    /// What `number` stands for; `None` for a number that is never given out.
    pub fn from_number(number: u64) -> Option<Self> {
        if number & FILE != 0 {
            let blob = BlobNo(low_word((number & !FILE) >> SERIAL_BITS));
            return Some(Self::File(FileId {
                blob,
                serial: number & SERIAL_MAX,
            }));
        }
        let door = low_word(number >> DOOR_SHIFT);
        let low = low_word(number);
        match (door, low) {
            (0, _) => {}
            (door, LINK) => return Some(Self::Link(Door(door))),
            (door, dir) => return Some(Self::Directory(Door(door), DirNo(dir))),
        }
        if number == ROOT {
            return Some(Self::Root);
        }
        let mirror = MirrorNo((low >> KIND_BITS).checked_sub(1)?);
        match number & ((1 << KIND_BITS) - 1) {
            KIND_MIRROR => Some(Self::Mirror(mirror)),
            KIND_SNAPSHOTS => Some(Self::Snapshots(mirror)),
            KIND_HIDDEN => Some(Self::Hidden(mirror)),
            KIND_AT => Some(Self::At(mirror)),
            _ => None,
        }
    }
}

fn fixed(mirror: MirrorNo, kind: u64) -> Option<u64> {
    (mirror.0 <= MirrorNo::MAX).then(|| (u64::from(mirror.0) + 1) << KIND_BITS | kind)
}

fn at_door(door: Door, low: u32) -> Option<u64> {
    (1..=Door::MAX)
        .contains(&door.0)
        .then(|| u64::from(door.0) << DOOR_SHIFT | u64::from(low))
}

/// The low 32 bits: the callers have shifted the field they want there.
fn low_word(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("masked to 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(blob: u32, serial: u64) -> Ino {
        Ino::File(FileId {
            blob: BlobNo(blob),
            serial,
        })
    }

    #[test]
    fn numbers_are_the_documented_ones() {
        let cases = [
            (Ino::Root, 1),
            (Ino::Mirror(MirrorNo(0)), 4),
            (Ino::Snapshots(MirrorNo(0)), 5),
            (Ino::Hidden(MirrorNo(0)), 6),
            (Ino::At(MirrorNo(0)), 7),
            (Ino::Mirror(MirrorNo(MirrorNo::MAX)), 0xffff_fffc),
            (Ino::At(MirrorNo(MirrorNo::MAX)), 0xffff_ffff),
            (Ino::Directory(Door(1), DirNo(0)), 1 << 32),
            (Ino::Link(Door(1)), (2 << 32) - 1),
            (Ino::Directory(Door(Door::MAX), DirNo(DirNo::MAX)), (1 << 63) - 2),
            (Ino::Link(Door(Door::MAX)), (1 << 63) - 1),
            (file(0, 0), 1 << 63),
            (file(1, 0), 1 << 63 | 1 << 33),
            (file(BlobNo::MAX, (1 << 33) - 1), u64::MAX),
        ];
        for (ino, number) in cases {
            assert_eq!(ino.number(), Some(number), "{ino:?}");
            assert_eq!(Ino::from_number(number), Some(ino), "{number:#x}");
        }
    }

    #[test]
    fn parts_beyond_their_maximum_have_no_number() {
        let refused = [
            Ino::Mirror(MirrorNo(MirrorNo::MAX + 1)),
            Ino::Directory(Door(0), DirNo(1)),
            Ino::Directory(Door(Door::MAX + 1), DirNo(1)),
            Ino::Directory(Door(1), DirNo(DirNo::MAX + 1)),
            Ino::Link(Door(0)),
            Ino::Link(Door(Door::MAX + 1)),
            Ino::At(MirrorNo(MirrorNo::MAX + 1)),
            file(BlobNo::MAX + 1, 0),
            file(0, 1 << 33),
        ];
        for ino in refused {
            assert_eq!(ino.number(), None, "{ino:?}");
        }
    }

    #[test]
    fn numbers_never_given_out_stand_for_nothing() {
        for number in [0, 2, 3] {
            assert_eq!(Ino::from_number(number), None, "{number}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_number_that_means_something_is_made_of_just_that(number: u64) {
            if let Some(ino) = Ino::from_number(number) {
                proptest::prop_assert_eq!(ino.number(), Some(number));
            }
        }
    }
}

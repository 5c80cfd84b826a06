//! Whether what is to be fetched has a place to go.
//!
//! Pure: sizes and room in, verdict out. Judged before the first pool file is fetched: a disk that fills up in the middle
//! of a sync harms whatever else lives on it.

use std::collections::HashSet;

use super::SyncError;
use super::plan::{ObtainedIndex, Want};
use crate::model::Checksum;
use crate::state::Room;

/// The part of the file system that a sync leaves free, as a divisor: 1 %, for the catalog, its log and other programs.
const RESERVED_PART: u64 = 100;

/// Most bytes that a sync leaves free: on large disks, a part would be wasteful.
const MOST_RESERVED: u64 = 1 << 30;

/// Inodes that a sync leaves free: blobs lie in at most 256 directories, and the catalog has a few files.
const RESERVED_INODES: u64 = 512;

/// What files take on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What they take, in whole blocks.
    pub occupied: u64,
}

impl Load {
    /// The load of files of these sizes.
    #[must_use]
    pub fn of(sizes: impl IntoIterator<Item = u64>, room: &Room) -> Self {
        sizes.into_iter().fold(Self::default(), |load, size| Self {
            files: load.files + 1,
            bytes: load.bytes.saturating_add(size),
            occupied: load
                .occupied
                .saturating_add(size.div_ceil(room.block).saturating_mul(room.block)),
        })
    }

    /// Whether `room` has a place for it, and what has to stay free.
    #[must_use]
    pub fn fits(&self, room: &Room) -> bool {
        let inodes = room
            .inodes
            .is_none_or(|free| self.files.saturating_add(RESERVED_INODES) <= free);
        inodes && self.occupied.saturating_add(reserve(room)) <= room.free
    }
}

/// Bytes that have to stay free on such a file system.
#[must_use]
pub fn reserve(room: &Room) -> u64 {
    (room.total / RESERVED_PART).min(MOST_RESERVED)
}

/// Refuses to fetch `fetch` into `room`, which is too little for it.
pub(super) fn into_room(fetch: &[&Want], room: Room) -> Result<(), SyncError> {
    if fetch.is_empty() {
        return Ok(());
    }
    fits(Load::of(fetch.iter().filter_map(|want| want.size), &room), room)
}

/// Refuses one file of which `bytes` are still to come into `room`, which is too little for it. Asked once upstream is
/// known to have the file: of the forms that are listed of an index, archives do not offer the largest.
pub(super) fn file_into_room(bytes: u64, room: Room) -> Result<(), SyncError> {
    fits(Load::of([bytes], &room), room)
}

fn fits(load: Load, room: Room) -> Result<(), SyncError> {
    if load.fits(&room) {
        return Ok(());
    }
    Err(SyncError::NoRoom { load, room })
}

/// Refuses a snapshot of more than `max` bytes; each content counts once.
pub(super) fn within(max: Option<u64>, indices: &[ObtainedIndex], pool: &[Want]) -> Result<(), SyncError> {
    let Some(max) = max else { return Ok(()) };
    let indices = indices
        .iter()
        .map(|index| (Checksum::Sha256(index.blob.digest), index.blob.size));
    let pool = pool.iter().filter_map(|want| Some((want.checksum, want.size?)));
    let mut seen = HashSet::new();
    let each = indices.chain(pool).filter(|(content, _)| seen.insert(*content));
    let bytes = each.fold(0_u64, |sum, (_, size)| sum.saturating_add(size));
    if bytes > max {
        return Err(SyncError::TooLarge { bytes, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, Timestamp};

    const ROOM: Room = Room {
        total: 1_000_000,
        free: 110_000,
        block: 1_000,
        inodes: None,
    };

    fn want(content: &str, size: u64) -> Want {
        Want {
            paths: vec!["pool/a".parse().expect("valid")],
            checksum: Checksum::Sha256(Digest::of(content.as_bytes())),
            size: Some(size),
            date: Timestamp::from_unix(0),
        }
    }

    #[test]
    fn files_take_whole_blocks_and_leave_a_reserve() {
        // 1 % of the file system is 10,000.
        assert!(into_room(&[&want("a", 99_001)], ROOM).is_ok());
        let refused = into_room(&[&want("a", 99_001), &want("b", 1)], ROOM);
        let Err(SyncError::NoRoom { load, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((load.files, load.bytes, load.occupied), (2, 99_002, 101_000));
        let full = Room { free: 0, ..ROOM };
        assert!(into_room(&[], full).is_ok(), "nothing always fits");
        assert!(into_room(&[&want("a", u64::MAX), &want("b", u64::MAX)], ROOM).is_err());
        assert_eq!(
            reserve(&Room {
                total: u64::MAX,
                ..ROOM
            }),
            MOST_RESERVED
        );
    }

    #[test]
    fn inodes_count_where_they_are_limited() {
        let room = |inodes| Room {
            inodes: Some(inodes),
            ..ROOM
        };
        assert!(into_room(&[&want("a", 1)], room(RESERVED_INODES + 1)).is_ok());
        assert!(into_room(&[&want("a", 1)], room(RESERVED_INODES)).is_err());
    }

    #[test]
    fn a_mirror_stays_within_its_size() {
        let pool = [want("a", 60), want("a", 60), want("b", 40)];
        assert!(within(None, &[], &pool).is_ok());
        assert!(within(Some(100), &[], &pool).is_ok());
        let refused = within(Some(99), &[], &pool);
        assert!(
            matches!(refused, Err(SyncError::TooLarge { bytes: 100, max: 99 })),
            "{refused:?}"
        );
    }
}

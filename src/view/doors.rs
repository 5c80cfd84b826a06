//! Doors: what number denotes which snapshot or pointer move, and what is behind it.
//!
//! Owns the numbering (snapshots have even door numbers, moves odd ones) and a small memory of doors. What is behind a
//! door never changes while it exists; [`DoorCache::forget`] is for when some may have ceased to exist.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use mirrorctl_mount::tree::Door;

use super::out_of_numbers;
use crate::catalog::{CatalogError, CatalogReader, MirrorRow, MoveRow, Seq, SnapshotRow};
use crate::model::{SnapshotName, Timestamp};

/// What is behind a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DoorTarget {
    pub(super) mirror: MirrorRow,
    pub(super) seq: Seq,
    pub(super) snapshot: SnapshotName,
    /// Modification time of directories.
    pub(super) mtime: Timestamp,
    /// Modification time of plain index names, for doors that are pointer moves.
    pub(super) serial: Option<Timestamp>,
}

pub(super) fn of_snapshot(row: SnapshotRow) -> io::Result<Door> {
    door(row.number(), 0)
}

pub(super) fn of_move(row: MoveRow) -> io::Result<Door> {
    door(row.number(), 1)
}

fn door(row: i64, low_bit: u32) -> io::Result<Door> {
    let number = u32::try_from(row)
        .ok()
        .filter(|row| *row <= Door::MAX >> 1)
        .ok_or_else(out_of_numbers)?;
    Ok(Door(number << 1 | low_bit))
}

/// The pointer move that a door is; `None` for a snapshot's.
pub(super) fn move_row(door: Door) -> Option<MoveRow> {
    (door.0 & 1 == 1).then(|| MoveRow::from_number(i64::from(door.0 >> 1)))
}

/// What is behind `door` by the catalog; `None` when its snapshot was deleted.
pub(super) fn load(reader: &CatalogReader, door: Door) -> Result<Option<DoorTarget>, CatalogError> {
    let Some(row) = move_row(door) else {
        let row = SnapshotRow::from_number(i64::from(door.0 >> 1));
        let found = reader.snapshot_row(row)?;
        return Ok(found.map(|(mirror, snapshot, seq, mtime)| DoorTarget {
            mirror,
            seq,
            snapshot,
            mtime,
            serial: None,
        }));
    };
    let Some(found) = reader.pointer_move(row)? else {
        return Ok(None);
    };
    let target = reader.snapshot_row(found.snapshot_row)?;
    Ok(target.map(|(mirror, snapshot, seq, _)| DoorTarget {
        mirror,
        seq,
        snapshot,
        mtime: found.serial_mtime,
        serial: Some(found.serial_mtime),
    }))
}

/// Doors that were asked for before.
#[derive(Debug, Default)]
pub(super) struct DoorCache(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Counts the times of forgetting, so that an answer read before one is not remembered after it.
    epoch: u64,
    targets: HashMap<Door, Arc<DoorTarget>>,
}

impl DoorCache {
    /// What is behind `door`, from memory or by `load`.
    pub(super) fn get(
        &self,
        door: Door,
        load: impl FnOnce() -> io::Result<Option<DoorTarget>>,
    ) -> io::Result<Option<Arc<DoorTarget>>> {
        let epoch = {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(target) = known.targets.get(&door) {
                return Ok(Some(Arc::clone(target)));
            }
            known.epoch
        };
        let Some(target) = load()?.map(Arc::new) else {
            return Ok(None);
        };
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.epoch == epoch {
            known.targets.insert(door, Arc::clone(&target));
        }
        Ok(Some(target))
    }

    /// Forgets every door.
    pub(super) fn forget(&self) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.epoch += 1;
        known.targets.clear();
    }
}

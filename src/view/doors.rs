//! Doors: what number denotes which snapshot or pointer move, and what is behind it.
//!
//! Owns the numbering (snapshots have even door numbers, moves odd ones) and a small memory of doors. The target of a
//! door never changes while it exists, and its lenders only become fewer; [`DoorCache::replace`] is for when something may
//! have ceased to exist.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use mirrorctl_mount::tree::Door;

use super::out_of_numbers;
use crate::catalog::{CatalogError, CatalogReader, Generation, MirrorRow, MoveRecord, MoveRow, Seq, SnapshotRow};
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
    /// The earlier publications that lend names, newest first, for doors that are pointer moves. Some may have ceased to.
    pub(super) lenders: Vec<Generation>,
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

/// What is behind `door` by the catalog at the time `now`; `None` when its snapshot was deleted.
pub(super) fn load(reader: &CatalogReader, door: Door, now: Timestamp) -> Result<Option<DoorTarget>, CatalogError> {
    let Some(row) = move_row(door) else {
        let row = SnapshotRow::from_number(i64::from(door.0 >> 1));
        let found = reader.snapshot_row(row)?;
        return Ok(found.map(|(mirror, snapshot, seq, mtime)| DoorTarget {
            mirror,
            seq,
            snapshot,
            mtime,
            serial: None,
            lenders: Vec::new(),
        }));
    };
    match reader.pointer_move(row)? {
        Some(found) => load_move(reader, &found, now),
        None => Ok(None),
    }
}

/// What is behind the door that `found` is; `None` when its snapshot was deleted.
pub(super) fn load_move(
    reader: &CatalogReader,
    found: &MoveRecord,
    now: Timestamp,
) -> Result<Option<DoorTarget>, CatalogError> {
    let Some((mirror, snapshot, seq, _)) = reader.snapshot_row(found.snapshot_row)? else {
        return Ok(None);
    };
    Ok(Some(DoorTarget {
        mirror,
        seq,
        snapshot,
        mtime: found.serial_mtime,
        serial: Some(found.serial_mtime),
        lenders: reader.generations(mirror, found, now)?,
    }))
}

/// What has become of `target`, which was loaded before as what is behind the door that `found` is. All that can have
/// changed is that snapshots are gone or have other names, and it takes less than reading all moves again.
pub(super) fn reload_move(
    reader: &CatalogReader,
    found: &MoveRecord,
    mut target: DoorTarget,
) -> Result<Option<DoorTarget>, CatalogError> {
    let Some((_, snapshot, ..)) = reader.snapshot_row(found.snapshot_row)? else {
        return Ok(None);
    };
    target.snapshot = snapshot;
    let mut lenders = Vec::with_capacity(target.lenders.len());
    for lender in target.lenders {
        if let Some((_, snapshot, ..)) = reader.snapshot_row(lender.snapshot_row)? {
            lenders.push(Generation { snapshot, ..lender });
        }
    }
    target.lenders = lenders;
    Ok(Some(target))
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

    /// Forgets every door but `targets`.
    pub(super) fn replace(&self, targets: impl IntoIterator<Item = (Door, Arc<DoorTarget>)>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.epoch += 1;
        known.targets = targets.into_iter().collect();
    }
}

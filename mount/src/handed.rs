//! What the kernel has been handed: the names that can change, and where they led when the kernel asked.
//!
//! Owns the record from which told changes are worked out. A name is recorded before its answer is sent, so whatever
//! the kernel may hold is here; what is here need not be in the kernel any more, since forgetting is not tracked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::cache::lock;
use crate::tree::{Door, MirrorNo};

/// Doors by the name they were handed out under. More than one when a name moved while it was looked up.
pub(crate) type Doors = BTreeMap<Box<[u8]>, BTreeSet<Door>>;

/// What was handed out of and below one mirror.
#[derive(Debug, Default)]
struct HandedMirror {
    /// Names of the mirror's directory.
    names: BTreeSet<Box<[u8]>>,
    /// Pointers in it.
    pointers: Doors,
    /// Whether its directory of snapshots was handed out.
    snapshots_directory: bool,
    /// Snapshots in that.
    snapshots: Doors,
}

/// The record.
#[derive(Debug, Default)]
pub(crate) struct HandedOut(Mutex<BTreeMap<MirrorNo, HandedMirror>>);

impl HandedOut {
    pub(crate) fn mirror(&self, mirror: MirrorNo, name: &[u8]) {
        self.edit(mirror, |handed| {
            handed.names.insert(name.into());
        });
    }

    pub(crate) fn pointer(&self, mirror: MirrorNo, name: &[u8], door: Door) {
        self.edit(mirror, |handed| add(&mut handed.pointers, name, door));
    }

    pub(crate) fn snapshots_directory(&self, mirror: MirrorNo) {
        self.edit(mirror, |handed| handed.snapshots_directory = true);
    }

    pub(crate) fn snapshot(&self, mirror: MirrorNo, name: &[u8], door: Door) {
        self.edit(mirror, |handed| add(&mut handed.snapshots, name, door));
    }

    /// The mirrors, each with the names its directory was handed out under.
    pub(crate) fn mirrors(&self) -> BTreeMap<MirrorNo, BTreeSet<Box<[u8]>>> {
        lock(&self.0)
            .iter()
            .map(|(mirror, handed)| (*mirror, handed.names.clone()))
            .collect()
    }

    /// The pointers of `mirror`.
    pub(crate) fn pointers(&self, mirror: MirrorNo) -> Doors {
        lock(&self.0)
            .get(&mirror)
            .map(|handed| handed.pointers.clone())
            .unwrap_or_default()
    }

    /// The doors to which the pointer `name` of `mirror` led.
    pub(crate) fn doors_of_pointer(&self, mirror: MirrorNo, name: &[u8]) -> BTreeSet<Door> {
        lock(&self.0)
            .get(&mirror)
            .and_then(|handed| handed.pointers.get(name))
            .cloned()
            .unwrap_or_default()
    }

    /// The snapshots of `mirror`; `None` if not even their directory was handed out.
    pub(crate) fn snapshots(&self, mirror: MirrorNo) -> Option<Doors> {
        let all = lock(&self.0);
        let handed = all.get(&mirror)?;
        handed.snapshots_directory.then(|| handed.snapshots.clone())
    }

    /// The kernel has nothing of the mirror left under `name`.
    pub(crate) fn mirror_gone(&self, mirror: MirrorNo, name: &[u8]) {
        let mut all = lock(&self.0);
        if let Some(handed) = all.get_mut(&mirror) {
            handed.names.remove(name);
            if handed.names.is_empty() {
                all.remove(&mirror);
            }
        }
    }

    /// The kernel does not lead the pointer `name` to `door` any more.
    pub(crate) fn pointer_gone(&self, mirror: MirrorNo, name: &[u8], door: Door) {
        self.edit(mirror, |handed| remove(&mut handed.pointers, name, door));
    }

    /// The kernel does not lead the snapshot's `name` to `door` any more.
    pub(crate) fn snapshot_gone(&self, mirror: MirrorNo, name: &[u8], door: Door) {
        self.edit(mirror, |handed| remove(&mut handed.snapshots, name, door));
    }

    fn edit(&self, mirror: MirrorNo, change: impl FnOnce(&mut HandedMirror)) {
        change(lock(&self.0).entry(mirror).or_default());
    }
}

fn add(doors: &mut Doors, name: &[u8], door: Door) {
    if let Some(known) = doors.get_mut(name) {
        known.insert(door);
    } else {
        doors.insert(name.into(), BTreeSet::from([door]));
    }
}

fn remove(doors: &mut Doors, name: &[u8], door: Door) {
    if let Some(known) = doors.get_mut(name) {
        known.remove(&door);
        if known.is_empty() {
            doors.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIRROR: MirrorNo = MirrorNo(3);

    #[test]
    fn a_name_keeps_every_door_until_told_that_it_is_gone() {
        let handed = HandedOut::default();
        handed.mirror(MIRROR, b"debian");
        handed.pointer(MIRROR, b"current", Door(1));
        handed.pointer(MIRROR, b"current", Door(2));
        assert_eq!(
            handed.doors_of_pointer(MIRROR, b"current"),
            BTreeSet::from([Door(1), Door(2)])
        );
        handed.pointer_gone(MIRROR, b"current", Door(1));
        assert_eq!(handed.doors_of_pointer(MIRROR, b"current"), BTreeSet::from([Door(2)]));
        handed.pointer_gone(MIRROR, b"current", Door(2));
        assert!(handed.pointers(MIRROR).is_empty());
    }

    #[test]
    fn snapshots_are_known_from_their_directory_on() {
        let handed = HandedOut::default();
        handed.mirror(MIRROR, b"debian");
        assert_eq!(handed.snapshots(MIRROR), None);
        handed.snapshots_directory(MIRROR);
        assert_eq!(handed.snapshots(MIRROR), Some(Doors::new()));
        handed.snapshot(MIRROR, b"one", Door(9));
        assert_eq!(handed.snapshots(MIRROR).unwrap().len(), 1);
        handed.snapshot_gone(MIRROR, b"one", Door(9));
        assert_eq!(handed.snapshots(MIRROR), Some(Doors::new()));
    }

    #[test]
    fn a_mirror_is_forgotten_with_its_last_name() {
        let handed = HandedOut::default();
        handed.mirror(MIRROR, b"old");
        handed.mirror(MIRROR, b"new");
        handed.pointer(MIRROR, b"current", Door(1));
        handed.mirror_gone(MIRROR, b"old");
        assert_eq!(handed.mirrors().len(), 1);
        assert_eq!(handed.pointers(MIRROR).len(), 1);
        handed.mirror_gone(MIRROR, b"new");
        assert!(handed.mirrors().is_empty());
        assert!(handed.pointers(MIRROR).is_empty());
    }
}

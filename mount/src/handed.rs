//! What the kernel has been handed: the names that can change, and where they led when the kernel asked.
//!
//! Owns the record from which told changes are worked out. A name is recorded before its answer is sent, so whatever
//! the kernel may hold is here; what is here need not be in the kernel any more, since forgetting is not tracked. The
//! kernel's memory outlives this process, so each change is written to a [`Record`], too, before it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Mutex;

use crate::cache::lock;
use crate::record::Record;
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

/// One change of what the kernel may hold of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Mirror,
    MirrorGone,
    SnapshotsDirectory,
    Pointer(Door),
    PointerGone(Door),
    Snapshot(Door),
    SnapshotGone(Door),
}

type Mirrors = BTreeMap<MirrorNo, HandedMirror>;

#[derive(Debug, Default)]
struct Kept {
    mirrors: Mirrors,
    /// `None` until there is one, and when it could not be kept any longer.
    record: Option<Record>,
}

/// The record.
#[derive(Debug, Default)]
pub(crate) struct HandedOut(Mutex<Kept>);

impl HandedOut {
    /// What an earlier process wrote as `frames`.
    ///
    /// # Errors
    /// When one of them cannot be understood.
    pub(crate) fn from_frames(frames: &[Vec<u8>]) -> io::Result<Self> {
        let mut mirrors = Mirrors::new();
        for frame in frames {
            let (mirror, name, change) = decode(frame).ok_or(io::ErrorKind::InvalidData)?;
            apply(&mut mirrors, mirror, name, change);
        }
        Ok(Self(Mutex::new(Kept { mirrors, record: None })))
    }

    /// Writes every change from now on to `record`, which has those so far.
    pub(crate) fn write_to(&self, record: Record) {
        lock(&self.0).record = Some(record);
    }

    pub(crate) fn mirror(&self, mirror: MirrorNo, name: &[u8]) {
        self.note(mirror, name, Change::Mirror);
    }

    pub(crate) fn pointer(&self, mirror: MirrorNo, name: &[u8], door: Door) {
        self.note(mirror, name, Change::Pointer(door));
    }

    pub(crate) fn snapshots_directory(&self, mirror: MirrorNo) {
        self.note(mirror, b"", Change::SnapshotsDirectory);
    }

    pub(crate) fn snapshot(&self, mirror: MirrorNo, name: &[u8], door: Door) {
        self.note(mirror, name, Change::Snapshot(door));
    }

    /// The mirrors, each with the names its directory was handed out under.
    pub(crate) fn mirrors(&self) -> BTreeMap<MirrorNo, BTreeSet<Box<[u8]>>> {
        lock(&self.0)
            .mirrors
            .iter()
            .map(|(mirror, handed)| (*mirror, handed.names.clone()))
            .collect()
    }

    /// The pointers of `mirror`.
    pub(crate) fn pointers(&self, mirror: MirrorNo) -> Doors {
        lock(&self.0)
            .mirrors
            .get(&mirror)
            .map(|handed| handed.pointers.clone())
            .unwrap_or_default()
    }

    /// The doors to which the pointer `name` of `mirror` led.
    pub(crate) fn doors_of_pointer(&self, mirror: MirrorNo, name: &[u8]) -> BTreeSet<Door> {
        lock(&self.0)
            .mirrors
            .get(&mirror)
            .and_then(|handed| handed.pointers.get(name))
            .cloned()
            .unwrap_or_default()
    }

    /// The snapshots of `mirror`; `None` if not even their directory was handed out.
    pub(crate) fn snapshots(&self, mirror: MirrorNo) -> Option<Doors> {
        let all = lock(&self.0);
        let handed = all.mirrors.get(&mirror)?;
        handed.snapshots_directory.then(|| handed.snapshots.clone())
    }

    /// The kernel has nothing of the mirror left under `name`.
    pub(crate) fn mirror_gone(&self, mirror: MirrorNo, name: &[u8]) {
        self.note(mirror, name, Change::MirrorGone);
    }

    /// The kernel does not lead the pointer `name` to `door` any more.
    pub(crate) fn pointer_gone(&self, mirror: MirrorNo, name: &[u8], door: Door) {
        self.note(mirror, name, Change::PointerGone(door));
    }

    /// The kernel does not lead the snapshot's `name` to `door` any more.
    pub(crate) fn snapshot_gone(&self, mirror: MirrorNo, name: &[u8], door: Door) {
        self.note(mirror, name, Change::SnapshotGone(door));
    }

    fn note(&self, mirror: MirrorNo, name: &[u8], change: Change) {
        let kept = &mut *lock(&self.0);
        if !apply(&mut kept.mirrors, mirror, name, change) {
            return;
        }
        let Some(record) = &mut kept.record else { return };
        let written = if record.is_long() {
            record.compact(&frames(&kept.mirrors))
        } else {
            record.append(&encode(mirror, name, change))
        };
        if let Err(error) = written {
            tracing::warn!(%error, "no other process will be able to take this mount over");
            kept.record = None;
        }
    }
}

/// Makes `change`; whether anything is different now.
fn apply(mirrors: &mut Mirrors, mirror: MirrorNo, name: &[u8], change: Change) -> bool {
    let handed = mirrors.entry(mirror).or_default();
    let changed = match change {
        Change::Mirror => handed.names.insert(name.into()),
        Change::MirrorGone => handed.names.remove(name),
        Change::SnapshotsDirectory => !std::mem::replace(&mut handed.snapshots_directory, true),
        Change::Pointer(door) => add(&mut handed.pointers, name, door),
        Change::PointerGone(door) => remove(&mut handed.pointers, name, door),
        Change::Snapshot(door) => add(&mut handed.snapshots, name, door),
        Change::SnapshotGone(door) => remove(&mut handed.snapshots, name, door),
    };
    if change == Change::MirrorGone && handed.names.is_empty() {
        mirrors.remove(&mirror);
    }
    changed
}

/// The frames that lead to `mirrors` from nothing.
fn frames(mirrors: &Mirrors) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (mirror, handed) in mirrors {
        let mut frame = |name: &[u8], change| frames.push(encode(*mirror, name, change));
        for name in &handed.names {
            frame(name, Change::Mirror);
        }
        if handed.snapshots_directory {
            frame(b"", Change::SnapshotsDirectory);
        }
        for (name, doors) in &handed.pointers {
            for door in doors {
                frame(name, Change::Pointer(*door));
            }
        }
        for (name, doors) in &handed.snapshots {
            for door in doors {
                frame(name, Change::Snapshot(*door));
            }
        }
    }
    frames
}

/// A change as a frame: one byte for its kind, the mirror, the door or 0, the name.
fn encode(mirror: MirrorNo, name: &[u8], change: Change) -> Vec<u8> {
    let (kind, door) = match change {
        Change::Mirror => (b'M', 0),
        Change::MirrorGone => (b'm', 0),
        Change::SnapshotsDirectory => (b'D', 0),
        Change::Pointer(door) => (b'P', door.0),
        Change::PointerGone(door) => (b'p', door.0),
        Change::Snapshot(door) => (b'S', door.0),
        Change::SnapshotGone(door) => (b's', door.0),
    };
    [&[kind][..], &mirror.0.to_le_bytes(), &door.to_le_bytes(), name].concat()
}

fn decode(frame: &[u8]) -> Option<(MirrorNo, &[u8], Change)> {
    let (kind, rest) = frame.split_first()?;
    let (mirror, rest) = rest.split_first_chunk()?;
    let (door, name) = rest.split_first_chunk()?;
    let door = Door(u32::from_le_bytes(*door));
    let change = match kind {
        b'M' => Change::Mirror,
        b'm' => Change::MirrorGone,
        b'D' => Change::SnapshotsDirectory,
        b'P' => Change::Pointer(door),
        b'p' => Change::PointerGone(door),
        b'S' => Change::Snapshot(door),
        b's' => Change::SnapshotGone(door),
        _ => return None,
    };
    Some((MirrorNo(u32::from_le_bytes(*mirror)), name, change))
}

fn add(doors: &mut Doors, name: &[u8], door: Door) -> bool {
    if let Some(known) = doors.get_mut(name) {
        return known.insert(door);
    }
    doors.insert(name.into(), BTreeSet::from([door]));
    true
}

fn remove(doors: &mut Doors, name: &[u8], door: Door) -> bool {
    let Some(known) = doors.get_mut(name) else { return false };
    let removed = known.remove(&door);
    if known.is_empty() {
        doors.remove(name);
    }
    removed
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

    #[test]
    fn another_process_reads_what_this_one_wrote() {
        use crate::record::{Begun, Record};
        use crate::transport::Negotiated;
        let negotiated = Negotiated {
            request: Vec::new(),
            reply: Vec::new(),
        };
        let begun = Begun {
            secret: [0; 16],
            mount: "0:1".to_owned(),
            negotiated,
        };
        let record = Record::new(&begun).unwrap();
        let descriptor = record.descriptor().unwrap();
        let handed = HandedOut::default();
        handed.write_to(record);
        handed.mirror(MIRROR, b"debian");
        handed.mirror(MirrorNo(4), b"gone");
        handed.mirror_gone(MirrorNo(4), b"gone");
        handed.snapshots_directory(MIRROR);
        handed.snapshot(MIRROR, b"one", Door(9));
        // As many moves as make the journal be written anew.
        for door in 1..100_000 {
            handed.pointer(MIRROR, b"current", Door(door));
            handed.pointer_gone(MIRROR, b"current", Door(door - 1));
        }
        let (_, _, frames) = Record::read(descriptor).unwrap();
        assert!(frames.len() < 150_000, "the journal was never written anew");
        let read = HandedOut::from_frames(&frames).unwrap();
        assert_eq!(read.mirrors(), handed.mirrors());
        assert_eq!(read.pointers(MIRROR), handed.pointers(MIRROR));
        assert_eq!(read.snapshots(MIRROR), handed.snapshots(MIRROR));
        assert_eq!(
            read.doors_of_pointer(MIRROR, b"current"),
            BTreeSet::from([Door(99_999)])
        );
        assert!(HandedOut::from_frames(&[b"?".to_vec()]).is_err());
    }
}

//! Told changes: bringing what the kernel remembers in line with the tree as it is now.
//!
//! Owns the order of steps on which the promise rests that no walk begun after [`reconcile`] has returned sees an old
//! answer. It changes nothing in the tree and keeps no state of its own.
//!
//! For every directory that can change, first a *barrier*: a look-up or listing may have been answered from before
//! the change and not yet been processed by the kernel; were the change told now, that answer would put the old
//! thing back. After the barrier every answer in flight is from after the change, and everything answered before is
//! on record, because it is recorded before it is sent. Then what is on record is compared with the tree:
//!
//! - a **pointer** that moved: its old door is *moved aside*. A directory has one place in the kernel's tree of
//!   names, so looking the old door up under a hidden name moves it there in one step, with all that is cached
//!   below it. Nothing is dropped, readers in the old tree keep it, and the pointer's name is unknown to the kernel
//!   until it is asked for. That the name now leads to the new door is checked by walking to it.
//! - a **snapshot** or **mirror** that vanished or was replaced: the kernel is told to forget its name.
//!
//! Last, the kernel forgets the directory's listing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use crate::ToldBy;
use crate::error::FsError;
use crate::filesystem::{Filesystem, SNAPSHOTS};
use crate::ino::{Ino, ROOT};
use crate::kernel::{Kernel, join};
use crate::sys;
use crate::transport;
use crate::tree::{Door, MirrorNo, NamedDoor};

/// How often an old door is moved aside before the kernel is told to forget the pointer's name instead. The move fails
/// only while the kernel happens to move another directory of this mount, which takes microseconds.
const MOVES: u32 = 20;

/// How often the walk to a pointer may disagree with the tree in all. It can disagree for as long as pointers keep
/// moving meanwhile.
const ATTEMPTS: u32 = 60;

/// Pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(1);

/// Brings the kernel in line with the tree. Must not run on a serving thread, nor twice at the same time.
///
/// What fails for one mirror does not stop the others; the first error is returned.
pub(crate) fn reconcile(filesystem: &Filesystem, kernel: &Kernel, manner: Manner<'_>) -> io::Result<()> {
    let telling = Telling {
        filesystem,
        kernel,
        manner,
    };
    let mut result = telling.mirrors();
    let handed = filesystem.handed().mirrors();
    for (name, mirror) in filesystem.tree().mirrors()? {
        if handed.contains_key(&mirror) {
            let told = telling.pointers(mirror, &name).and(telling.snapshots(mirror, &name));
            result = result.and(told);
        }
    }
    result
}

/// How changes are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// Whether answers in flight are waited for.
    pub(crate) with_barriers: bool,
    /// How it is told that a pointer has moved.
    pub(crate) told_by: ToldBy,
    /// The kernel's end of the mount.
    pub(crate) device: BorrowedFd<'a>,
}

struct Telling<'a> {
    filesystem: &'a Filesystem,
    kernel: &'a Kernel,
    manner: Manner<'a>,
}

impl Telling<'_> {
    fn mirrors(&self) -> io::Result<()> {
        self.barrier(b"", ROOT)?;
        let now = self.filesystem.tree().mirrors()?;
        for (mirror, names) in self.filesystem.handed().mirrors() {
            for name in names {
                if !now.iter().any(|(known, number)| *known == name && *number == mirror) {
                    self.kernel.forget_name(ROOT, &name)?;
                    self.filesystem.handed().mirror_gone(mirror, &name);
                }
            }
        }
        self.filesystem.forget_begun_listings();
        self.kernel.forget_listing(ROOT)
    }

    fn pointers(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<()> {
        let directory = number(Ino::Mirror(mirror))?;
        self.barrier(name, directory)?;
        let now = self.filesystem.tree().pointers(mirror)?;
        for (pointer, doors) in self.filesystem.handed().pointers(mirror) {
            let door = find(&now, &pointer);
            if doors.iter().any(|handed| Some(*handed) != door) {
                self.pointer(mirror, name, &pointer)?;
            }
        }
        self.filesystem.forget_begun_listings();
        self.kernel.forget_listing(directory)
    }

    /// Makes `pointer` lead where the tree says, and be seen to.
    fn pointer(&self, mirror: MirrorNo, mirror_name: &[u8], pointer: &[u8]) -> io::Result<()> {
        let directory = number(Ino::Mirror(mirror))?;
        let path = join(mirror_name, pointer);
        let moves = match self.manner.told_by {
            ToldBy::MovingAside => MOVES,
            ToldBy::Forgetting => 0,
            ToldBy::Expiring => return self.expire(mirror, directory, pointer),
        };
        for attempt in 0..ATTEMPTS {
            let now = find(&self.filesystem.tree().pointers(mirror)?, pointer);
            let handed = self.filesystem.handed().doors_of_pointer(mirror, pointer);
            let old: Vec<Door> = handed.into_iter().filter(|door| Some(*door) != now).collect();
            let root = self.kernel.root();
            match &root {
                Some(root) if attempt < moves => self.move_aside(root, mirror_name, &old),
                Some(_) | None => self.kernel.forget_name(directory, pointer)?,
            }
            if root.is_none_or(|root| self.leads_to(&root, &path, now)) {
                for door in old {
                    self.filesystem.handed().pointer_gone(mirror, pointer, door);
                }
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        let path = String::from_utf8_lossy(&path).into_owned();
        Err(io::Error::other(format!(
            "the kernel still shows another target of {path} than the recorded one"
        )))
    }

    /// Leaves it to the next walk to find out where `pointer` leads.
    fn expire(&self, mirror: MirrorNo, directory: u64, pointer: &[u8]) -> io::Result<()> {
        let now = find(&self.filesystem.tree().pointers(mirror)?, pointer);
        match transport::expire_name(self.manner.device, directory, pointer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
        for door in self.filesystem.handed().doors_of_pointer(mirror, pointer) {
            if Some(door) != now {
                self.filesystem.handed().pointer_gone(mirror, pointer, door);
            }
        }
        Ok(())
    }

    /// Tries to move `doors` aside. Failing is not an error: whether it was done is seen by walking to the pointer.
    fn move_aside(&self, root: &OwnedFd, mirror_name: &[u8], doors: &[Door]) {
        let hidden = join(mirror_name, &self.filesystem.hidden().doors);
        for door in doors {
            let path = join(&hidden, door.0.to_string().as_bytes());
            if let Err(error) = sys::inode_number(root.as_fd(), &path) {
                tracing::debug!(door = door.0, %error, "a door could not be moved aside");
            }
        }
    }

    /// Whether a walk to `path` ends at `door`, or at nothing if there is none.
    fn leads_to(&self, root: &OwnedFd, path: &[u8], door: Option<Door>) -> bool {
        let seen = sys::inode_number(root.as_fd(), path);
        match (seen, door) {
            (Ok(seen), Some(door)) => self.filesystem.door_number(door).is_ok_and(|number| number == seen),
            (Err(error), None) => error.kind() == io::ErrorKind::NotFound,
            (Ok(_), None) | (Err(_), Some(_)) => false,
        }
    }

    fn snapshots(&self, mirror: MirrorNo, mirror_name: &[u8]) -> io::Result<()> {
        if self.filesystem.handed().snapshots(mirror).is_none() {
            return Ok(());
        }
        let directory = number(Ino::Snapshots(mirror))?;
        self.barrier(&join(mirror_name, SNAPSHOTS), directory)?;
        let handed = self.filesystem.handed().snapshots(mirror).unwrap_or_default();
        let now = if handed.is_empty() {
            Vec::new()
        } else {
            self.filesystem.tree().snapshots(mirror)?
        };
        for (name, doors) in handed {
            let door = find(&now, &name);
            let old: Vec<Door> = doors.into_iter().filter(|handed| Some(*handed) != door).collect();
            if !old.is_empty() {
                self.kernel.forget_name(directory, &name)?;
            }
            for door in old {
                self.filesystem.handed().snapshot_gone(mirror, &name, door);
            }
        }
        self.filesystem.forget_begun_listings();
        self.kernel.forget_listing(directory)
    }

    fn barrier(&self, path: &[u8], directory: u64) -> io::Result<()> {
        if !self.manner.with_barriers {
            return Ok(());
        }
        self.kernel.barrier(path, directory, &self.filesystem.hidden().barrier)
    }
}

fn number(ino: Ino) -> io::Result<u64> {
    ino.number().ok_or_else(|| io::Error::other(FsError::OutOfRange))
}

fn find(doors: &[NamedDoor], name: &[u8]) -> Option<Door> {
    doors.iter().find(|known| *known.name == *name).map(|known| known.door)
}

//! The mount's semantics as plain functions: numbers, names and offsets in, values or a reason out.
//!
//! Owns what stands where: the mount's own directories, the doors, and what is behind them. It knows neither requests
//! nor replies, so all of it can be tested without a kernel. No lock is held while the tree is asked, and whatever
//! can change is recorded as handed out before it is answered.
//!
//! ```text
//! /                       the mirrors; changes, and the kernel is told
//! /<mirror>/              the pointers that are set, `snapshots` and `at`; changes, and the kernel is told
//! /<mirror>/snapshots/    the snapshots; changes, and the kernel is told
//! /<mirror>/at/           links to snapshots, never listed; changes, and the kernel asks every time
//! /<mirror>/.doors.<…>/   superseded doors by number: unlisted, under a name that is new with every mount
//! below any door          the archive: nothing listed there ever changes; what is not listed may vanish
//! ```

mod bytes;
mod listings;
mod names;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fuser::{BackingId, FileAttr};

use crate::Options;
use crate::attr::{self, FOR_EVER};
use crate::backed::Backed;
use crate::blobs::Blobs;
use crate::cache::{Doors, Listings, lock};
use crate::error::FsError;
use crate::handed::HandedOut;
use crate::ino::Ino;
use crate::tree::{Door, DoorFacts, FileNode, Node, Totals, Tree};

use listings::FixedEntry;
pub use listings::{Listed, Room};
pub use names::Lookup;

/// The extended attribute of a door's root that names the snapshot.
pub const SNAPSHOT_ATTRIBUTE: &[u8] = b"user.mirrorctl.snapshot";

/// The name of a mirror's directory of snapshots.
pub const SNAPSHOTS: &[u8] = b"snapshots";

/// Length of the secret in the hidden names: enough that nobody finds them by trying.
pub const SECRET_BYTES: usize = 16;

/// Names that only this process knows, new with every mount.
#[derive(Debug, Clone)]
pub struct HiddenNames {
    /// The directory of a mirror to which superseded doors are moved aside.
    pub doors: Box<[u8]>,
    /// A name that never exists: asking for it makes the kernel wait for look-ups in flight.
    pub barrier: Box<[u8]>,
}

impl HiddenNames {
    /// The names made of `secret`.
    pub fn new(secret: [u8; SECRET_BYTES]) -> Self {
        let mut hex = String::with_capacity(2 * SECRET_BYTES);
        for byte in secret {
            write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Self {
            doors: format!(".doors.{hex}").into_bytes().into(),
            barrier: format!(".barrier.{hex}").into_bytes().into(),
        }
    }
}

/// What the mount shows, answered from a [`Tree`].
pub struct Filesystem {
    tree: Arc<dyn Tree>,
    doors: Doors,
    listings: Listings,
    /// Listings of directories that can change, as they were when somebody last began to read them.
    begun: Mutex<HashMap<Ino, Arc<[FixedEntry]>>>,
    blobs: Blobs,
    backed: Backed<BackingId>,
    handed: HandedOut,
    hidden: HiddenNames,
    /// Modification time of the directories that are the mount's own.
    own_time: i64,
}

impl std::fmt::Debug for Filesystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filesystem").finish_non_exhaustive()
    }
}

impl Filesystem {
    /// Shows `tree` to a kernel that knows nothing of it yet.
    pub fn new(tree: Arc<dyn Tree>, hidden: HiddenNames, options: &Options) -> Self {
        Self::resumed(tree, hidden, HandedOut::default(), options)
    }

    /// Shows `tree` to a kernel that has been `handed` some of it.
    pub(crate) fn resumed(tree: Arc<dyn Tree>, hidden: HiddenNames, handed: HandedOut, options: &Options) -> Self {
        Self {
            tree,
            doors: Doors::new(),
            listings: Listings::new(options.listing_cache_bytes),
            begun: Mutex::default(),
            blobs: Blobs::new(options.open_blobs),
            backed: Backed::default(),
            handed,
            hidden,
            own_time: options.own_time,
        }
    }

    /// What `stat` shows of `ino`, and how long that may be remembered.
    ///
    /// # Errors
    /// When there is no such thing (any more), or it cannot be known now.
    pub fn attributes(&self, ino: u64) -> Result<(FileAttr, Duration), FsError> {
        let attr = match Ino::from_number(ino).ok_or(FsError::NotFound)? {
            Ino::Root | Ino::Mirror(_) | Ino::Snapshots(_) | Ino::Hidden(_) | Ino::At(_) => {
                attr::directory(ino, self.own_time)
            }
            Ino::Directory(door, _) => attr::directory(ino, self.facts(door)?.mtime),
            Ino::Link(door) => return Ok((self.link_attributes(door)?, attr::LINK)),
            Ino::File(file) => {
                let node = self.tree.file(file)?.ok_or(FsError::NotFound)?;
                attr::file(ino, node.size, node.mtime)
            }
        };
        Ok((attr, FOR_EVER))
    }

    /// The value of the extended attribute `name` of `ino`.
    ///
    /// # Errors
    /// [`FsError::NoSuchAttribute`] for all but [`SNAPSHOT_ATTRIBUTE`] of a door's root.
    pub fn extended_attribute(&self, ino: u64, name: &[u8]) -> Result<Box<[u8]>, FsError> {
        if *name != *SNAPSHOT_ATTRIBUTE {
            return Err(FsError::NoSuchAttribute);
        }
        let door = self.root_of_door(ino)?.ok_or(FsError::NoSuchAttribute)?;
        // Alone of all facts the name can change, so it is never answered from memory.
        Ok(self.tree.door(door)?.ok_or(FsError::NotFound)?.snapshot)
    }

    /// The names of the extended attributes of `ino`, each ended by a zero byte.
    ///
    /// # Errors
    /// When it cannot be known now.
    pub fn extended_attributes(&self, ino: u64) -> Result<Vec<u8>, FsError> {
        let mut names = Vec::new();
        if self.root_of_door(ino)?.is_some() {
            names.extend_from_slice(SNAPSHOT_ATTRIBUTE);
            names.push(0);
        }
        Ok(names)
    }

    /// The door of which `ino` is the root directory, if it is one.
    fn root_of_door(&self, ino: u64) -> Result<Option<Door>, FsError> {
        let Some(Ino::Directory(door, dir)) = Ino::from_number(ino) else {
            return Ok(None);
        };
        Ok((self.facts(door)?.root == dir).then_some(door))
    }

    /// Sizes for `statfs`.
    ///
    /// # Errors
    /// When they cannot be known now.
    pub fn totals(&self) -> Result<Totals, FsError> {
        Ok(self.tree.totals()?)
    }

    /// Bytes that cached listings of directories take.
    pub fn cached_listing_bytes(&self) -> usize {
        self.listings.bytes()
    }

    /// Forgets listings of directories that can change: they have changed.
    pub(crate) fn forget_begun_listings(&self) {
        lock(&self.begun).clear();
    }

    pub(crate) fn handed(&self) -> &HandedOut {
        &self.handed
    }

    pub(crate) fn hidden(&self) -> &HiddenNames {
        &self.hidden
    }

    pub(crate) fn tree(&self) -> &dyn Tree {
        &*self.tree
    }

    /// The number of the directory that `door` shows at first.
    pub(crate) fn door_number(&self, door: Door) -> Result<u64, FsError> {
        number(Ino::Directory(door, self.facts(door)?.root))
    }

    fn facts(&self, door: Door) -> Result<Arc<DoorFacts>, FsError> {
        if let Some(facts) = self.doors.get(door) {
            return Ok(facts);
        }
        let facts = Arc::new(self.tree.door(door)?.ok_or(FsError::NotFound)?);
        self.doors.keep(door, &facts);
        Ok(facts)
    }
}

pub(crate) fn number(ino: Ino) -> Result<u64, FsError> {
    ino.number().ok_or(FsError::OutOfRange)
}

/// What `stat` shows of `node` behind `door`.
fn behind(door: Door, facts: &DoorFacts, node: Node) -> Result<FileAttr, FsError> {
    match node {
        Node::Directory(dir) => Ok(attr::directory(number(Ino::Directory(door, dir))?, facts.mtime)),
        Node::File(FileNode { id, size, mtime }) => Ok(attr::file(number(Ino::File(id))?, size, mtime)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_hold_the_whole_secret() {
        let names = HiddenNames::new([0xab; SECRET_BYTES]);
        assert_eq!(*names.doors, *format!(".doors.{}", "ab".repeat(16)).as_bytes());
        assert_eq!(*names.barrier, *format!(".barrier.{}", "ab".repeat(16)).as_bytes());
    }
}

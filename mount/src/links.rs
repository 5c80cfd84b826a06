//! The directory `at` of a mirror: links to snapshots by names that are looked up and never listed.
//!
//! Owns what a link is: where it leads, what `stat` shows of it, and that it is asked for at every walk. Which names
//! there are is the tree's knowledge. Nothing here is remembered, so nothing needs to be told when snapshots change.

use fuser::FileAttr;

use crate::attr;
use crate::error::FsError;
use crate::filesystem::{Filesystem, Lookup, SNAPSHOTS, number};
use crate::ino::Ino;
use crate::tree::{Door, DoorFacts, MirrorNo};

/// The name of a mirror's directory of links.
pub const AT: &[u8] = b"at";

impl Filesystem {
    pub(crate) fn lookup_link(&self, mirror: MirrorNo, name: &[u8]) -> Result<Lookup, FsError> {
        let door = self.tree().snapshot_at(mirror, name)?.ok_or(FsError::NotFound)?;
        Ok(Lookup::Present {
            attr: self.link_attributes(door)?,
            ttl: attr::LINK,
        })
    }

    /// What `stat` shows of the link to the snapshot behind `door`.
    pub(crate) fn link_attributes(&self, door: Door) -> Result<FileAttr, FsError> {
        let facts = self.facts_now(door)?;
        Ok(attr::link(number(Ino::Link(door))?, target(&facts).len(), facts.mtime))
    }

    /// Where the link `ino` leads.
    ///
    /// # Errors
    /// When there is no such link (any more), or it cannot be known now.
    pub fn link_target(&self, ino: u64) -> Result<Vec<u8>, FsError> {
        match Ino::from_number(ino).ok_or(FsError::NotFound)? {
            Ino::Link(door) => Ok(target(&self.facts_now(door)?)),
            Ino::Root
            | Ino::Mirror(_)
            | Ino::Snapshots(_)
            | Ino::Hidden(_)
            | Ino::At(_)
            | Ino::Directory(..)
            | Ino::File(_) => Err(FsError::WrongKind),
        }
    }

    /// The facts of a door as they are now: unlike what is behind it, the name of a snapshot can change.
    fn facts_now(&self, door: Door) -> Result<DoorFacts, FsError> {
        self.tree().door(door)?.ok_or(FsError::NotFound)
    }
}

/// The way from the directory `at` to the snapshot.
fn target(snapshot: &DoorFacts) -> Vec<u8> {
    [&b".."[..], SNAPSHOTS, &*snapshot.snapshot].join(&b'/')
}

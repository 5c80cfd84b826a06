//! Look-ups: what stands under a name of a directory.
//!
//! Owns the answers to them. Whatever can change is recorded as handed out before it is answered.

use std::time::Duration;

use fuser::FileAttr;

use super::{Filesystem, SNAPSHOTS, behind, number};
use crate::attr::{self, ASK_AGAIN, FOR_EVER, NAME_MAX};
use crate::error::FsError;
use crate::ino::Ino;
use crate::links::AT;
use crate::tree::{DirNo, Door, Found, MirrorNo, NamedDoor, Node, Parent};

/// The answer to a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// There is such a name.
    Present {
        /// What `stat` shows of it.
        attr: FileAttr,
        /// How long the name may be remembered. Attributes may be for ever.
        ttl: Duration,
    },
    /// There is no such name, and that may be remembered.
    Absent {
        /// For how long.
        ttl: Duration,
    },
}

impl Filesystem {
    /// What stands under `name` in the directory `parent`.
    ///
    /// # Errors
    /// [`FsError::NotFound`] for an absence that must not be remembered; otherwise why it cannot be answered.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<Lookup, FsError> {
        if name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        match name {
            b"." => return self.present(parent),
            b".." => return self.present(number(self.parent(parent)?)?),
            _ => {}
        }
        match Ino::from_number(parent).ok_or(FsError::NotFound)? {
            Ino::Root => self.lookup_mirror(name),
            Ino::Mirror(mirror) => self.lookup_in_mirror(mirror, name),
            Ino::Snapshots(mirror) => self.lookup_snapshot(mirror, name),
            Ino::Hidden(mirror) => self.lookup_moved_aside(mirror, name),
            Ino::At(mirror) => self.lookup_link(mirror, name),
            Ino::Directory(door, dir) => self.lookup_behind(door, dir, name),
            Ino::Link(_) | Ino::File(_) => Err(FsError::NotADirectory),
        }
    }

    /// What has the number `ino`, for who comes with that instead of a name.
    fn present(&self, ino: u64) -> Result<Lookup, FsError> {
        let (attr, _) = self.attributes(ino)?;
        Ok(Lookup::Present { attr, ttl: ASK_AGAIN })
    }

    /// The directory in which the directory `ino` stands.
    fn parent(&self, ino: u64) -> Result<Ino, FsError> {
        match Ino::from_number(ino).ok_or(FsError::NotFound)? {
            Ino::Root | Ino::Mirror(_) => Ok(Ino::Root),
            Ino::Snapshots(mirror) | Ino::Hidden(mirror) | Ino::At(mirror) => Ok(Ino::Mirror(mirror)),
            Ino::Directory(door, dir) => match self.tree.parent(door, dir)?.ok_or(FsError::NotFound)? {
                Parent::Directory(parent) => Ok(Ino::Directory(door, parent)),
                Parent::Pointers(mirror) => Ok(Ino::Mirror(mirror)),
                Parent::Snapshots(mirror) => Ok(Ino::Snapshots(mirror)),
            },
            Ino::Link(_) | Ino::File(_) => Err(FsError::NotADirectory),
        }
    }

    fn lookup_mirror(&self, name: &[u8]) -> Result<Lookup, FsError> {
        if *name == *self.hidden.barrier {
            return Err(FsError::NotFound);
        }
        let mirrors = self.tree.mirrors()?;
        let (_, mirror) = mirrors
            .iter()
            .find(|(known, _)| **known == *name)
            .ok_or(FsError::NotFound)?;
        self.handed.mirror(*mirror, name);
        self.present_own(Ino::Mirror(*mirror))
    }

    fn lookup_in_mirror(&self, mirror: MirrorNo, name: &[u8]) -> Result<Lookup, FsError> {
        if *name == *self.hidden.barrier {
            return Err(FsError::NotFound);
        }
        if *name == *SNAPSHOTS {
            self.handed.snapshots_directory(mirror);
            return self.present_own(Ino::Snapshots(mirror));
        }
        if *name == *AT {
            return self.present_own(Ino::At(mirror));
        }
        if *name == *self.hidden.doors {
            return self.present_own(Ino::Hidden(mirror));
        }
        let door = find(&self.tree.pointers(mirror)?, name).ok_or(FsError::NotFound)?;
        self.handed.pointer(mirror, name, door);
        self.present_door(door)
    }

    fn lookup_snapshot(&self, mirror: MirrorNo, name: &[u8]) -> Result<Lookup, FsError> {
        if *name == *self.hidden.barrier {
            return Err(FsError::NotFound);
        }
        let door = self.tree.snapshot(mirror, name)?.ok_or(FsError::NotFound)?;
        self.handed.snapshot(mirror, name, door);
        self.present_door(door)
    }

    fn lookup_moved_aside(&self, mirror: MirrorNo, name: &[u8]) -> Result<Lookup, FsError> {
        let door = parse_door(name).ok_or(FsError::NotFound)?;
        if !self.tree.superseded(mirror, door)? {
            return Err(FsError::NotFound);
        }
        self.present_door(door)
    }

    fn lookup_behind(&self, door: Door, dir: DirNo, name: &[u8]) -> Result<Lookup, FsError> {
        let found = match self.listed(door, dir, name) {
            Some(node) => Some(Found { node, lasts: true }),
            // There may be more than is listed.
            None => self.tree.child(door, dir, name)?,
        };
        let facts = self.facts(door)?;
        match found {
            Some(Found { node, lasts }) => Ok(Lookup::Present {
                attr: behind(door, &facts, node)?,
                ttl: if lasts { FOR_EVER } else { ASK_AGAIN },
            }),
            None => Ok(Lookup::Absent { ttl: FOR_EVER }),
        }
    }

    /// What stands under `name` by the listing of its directory, if that is kept.
    fn listed(&self, door: Door, dir: DirNo, name: &[u8]) -> Option<Node> {
        self.listings.get(door, dir)?.find(name)
    }

    fn present_own(&self, ino: Ino) -> Result<Lookup, FsError> {
        Ok(Lookup::Present {
            attr: attr::directory(number(ino)?, self.own_time),
            ttl: FOR_EVER,
        })
    }

    fn present_door(&self, door: Door) -> Result<Lookup, FsError> {
        let facts = self.facts(door)?;
        let ino = number(Ino::Directory(door, facts.root))?;
        Ok(Lookup::Present {
            attr: attr::directory(ino, facts.mtime),
            ttl: FOR_EVER,
        })
    }
}

fn find(doors: &[NamedDoor], name: &[u8]) -> Option<Door> {
    doors.iter().find(|known| *known.name == *name).map(|known| known.door)
}

/// The door that a name of the hidden directory stands for: its number in decimal, spelt in the one usual way.
fn parse_door(name: &[u8]) -> Option<Door> {
    let text = std::str::from_utf8(name).ok()?;
    let door: u32 = text.parse().ok()?;
    (door.to_string() == text).then_some(Door(door))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_has_one_spelling() {
        assert_eq!(parse_door(b"17"), Some(Door(17)));
        for other in ["017", "+17", " 17", "17 ", "", "-1", "4294967296", "x"] {
            assert_eq!(parse_door(other.as_bytes()), None, "{other:?}");
        }
    }
}

//! Listings: the names of a directory in pages, each at an offset of its own.
//!
//! Owns the offsets, and what somebody who lists a directory that changes meanwhile sees of it.

use std::sync::Arc;

use fuser::FileAttr;

use super::{Filesystem, SNAPSHOTS, behind, number};
use crate::cache::lock;
use crate::error::FsError;
use crate::ino::Ino;
use crate::links::AT;
use crate::listing::Listing;
use crate::tree::{DirNo, Door, MirrorNo, NamedDoor};

/// One entry of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What `stat` shows of it.
    pub attr: FileAttr,
    /// The offset at which the listing goes on after this entry.
    pub next: u64,
    /// Whether the kernel may take the entry for a look-up. Never for names that can change.
    pub counts_as_lookup: bool,
}

/// Whether a listing's receiver can take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The entry was taken; more can come.
    Left,
    /// The entry did not fit.
    Full,
}

/// One name of a directory that can change, at an offset that stays its own.
#[derive(Debug)]
pub(super) struct FixedEntry {
    offset: u64,
    name: Box<[u8]>,
    ino: Ino,
}

/// Offset of the first entry after `.` and `..` in a listing.
const FIRST_ENTRY: u64 = 2;

impl Filesystem {
    /// Lists the directory `ino` from `offset` on (0 is its beginning) into `receive` until that is full.
    ///
    /// # Errors
    /// When there is no such directory (any more), or it cannot be known now.
    pub fn list(&self, ino: u64, offset: u64, mut receive: impl FnMut(&Listed<'_>) -> Room) -> Result<(), FsError> {
        let directory = Ino::from_number(ino).ok_or(FsError::NotFound)?;
        if let Ino::Link(_) | Ino::File(_) = directory {
            return Err(FsError::NotADirectory);
        }
        let (own, _) = self.attributes(ino)?;
        let parent = self.parent_shown(directory)?;
        for (at, name, attr) in [(0, &b"."[..], own), (1, &b".."[..], parent)] {
            let entry = Listed {
                name,
                attr,
                next: at + 1,
                counts_as_lookup: false,
            };
            if offset <= at && receive(&entry) == Room::Full {
                return Ok(());
            }
        }
        match directory {
            Ino::Directory(door, dir) => self.list_behind(door, dir, offset, receive),
            Ino::Root
            | Ino::Mirror(_)
            | Ino::Snapshots(_)
            | Ino::Hidden(_)
            | Ino::At(_)
            | Ino::Link(_)
            | Ino::File(_) => self.list_own(directory, offset, receive),
        }
    }

    /// What a listing shows as `..`. A directory behind a door is not asked for its parent (its number does not tell
    /// and nothing depends on it: the kernel walks up by itself), so it shows itself.
    fn parent_shown(&self, directory: Ino) -> Result<FileAttr, FsError> {
        let parent = match directory {
            Ino::Root | Ino::Mirror(_) => Ino::Root,
            Ino::Snapshots(mirror) | Ino::Hidden(mirror) | Ino::At(mirror) => Ino::Mirror(mirror),
            Ino::Directory(..) | Ino::Link(_) | Ino::File(_) => directory,
        };
        Ok(self.attributes(number(parent)?)?.0)
    }

    fn list_behind(
        &self,
        door: Door,
        dir: DirNo,
        offset: u64,
        mut receive: impl FnMut(&Listed<'_>) -> Room,
    ) -> Result<(), FsError> {
        let facts = self.facts(door)?;
        let listing = self.children(door, dir)?;
        let skip = usize::try_from(offset.saturating_sub(FIRST_ENTRY)).unwrap_or(usize::MAX);
        for (next, (name, node)) in (FIRST_ENTRY.max(offset) + 1..).zip(listing.iter_from(skip)) {
            let attr = behind(door, &facts, node)?;
            if receive(&Listed {
                name,
                attr,
                next,
                counts_as_lookup: true,
            }) == Room::Full
            {
                break;
            }
        }
        Ok(())
    }

    fn list_own(
        &self,
        directory: Ino,
        offset: u64,
        mut receive: impl FnMut(&Listed<'_>) -> Room,
    ) -> Result<(), FsError> {
        let entries = self.own_entries(directory, offset)?;
        for entry in entries.iter().filter(|entry| entry.offset >= offset) {
            let (attr, _) = self.attributes(number(entry.ino)?)?;
            let listed = Listed {
                name: &entry.name,
                attr,
                next: entry.offset + 1,
                counts_as_lookup: false,
            };
            if receive(&listed) == Room::Full {
                break;
            }
        }
        Ok(())
    }

    /// The entries of a directory that can change: asked anew at the beginning of a listing, and for its later pages
    /// those of the beginning, where they are still known. Each entry's offset is its own, so that even when they
    /// are not, no entry that stays is listed twice or missed.
    fn own_entries(&self, directory: Ino, offset: u64) -> Result<Arc<[FixedEntry]>, FsError> {
        if offset > FIRST_ENTRY {
            let begun = lock(&self.begun).get(&directory).cloned();
            if let Some(entries) = begun {
                return Ok(entries);
            }
        }
        let entries: Arc<[FixedEntry]> = self.ask_own_entries(directory)?.into();
        lock(&self.begun).insert(directory, Arc::clone(&entries));
        Ok(entries)
    }

    fn ask_own_entries(&self, directory: Ino) -> Result<Vec<FixedEntry>, FsError> {
        let mut entries = match directory {
            Ino::Root => {
                let mirrors = self.tree.mirrors()?.into_iter();
                let entry = |(name, mirror): (Box<[u8]>, MirrorNo)| FixedEntry {
                    offset: FIRST_ENTRY + u64::from(mirror.0),
                    name,
                    ino: Ino::Mirror(mirror),
                };
                mirrors.map(entry).collect()
            }
            Ino::Mirror(mirror) => {
                let mut entries = self.door_entries(self.tree.pointers(mirror)?)?;
                // Pointers have no number that outlives a move. They are few and fit one page, so that their place
                // in the list will do.
                for (offset, entry) in (FIRST_ENTRY + 2..).zip(&mut entries) {
                    entry.offset = offset;
                }
                let own = [(SNAPSHOTS, Ino::Snapshots(mirror)), (AT, Ino::At(mirror))];
                for (offset, (name, ino)) in (FIRST_ENTRY..).zip(own) {
                    let name = name.into();
                    entries.push(FixedEntry { offset, name, ino });
                }
                entries
            }
            Ino::Snapshots(mirror) => self.door_entries(self.tree.snapshots(mirror)?)?,
            Ino::Hidden(_) | Ino::At(_) | Ino::Directory(..) | Ino::Link(_) | Ino::File(_) => Vec::new(),
        };
        entries.sort_unstable_by_key(|entry| entry.offset);
        Ok(entries)
    }

    /// Entries for `doors`. One whose door has just gone is left out: its listing is about to be invalidated.
    fn door_entries(&self, doors: Vec<NamedDoor>) -> Result<Vec<FixedEntry>, FsError> {
        let mut entries = Vec::with_capacity(doors.len());
        for NamedDoor { name, door } in doors {
            match self.facts(door) {
                Ok(facts) => entries.push(FixedEntry {
                    offset: FIRST_ENTRY + u64::from(door.0),
                    name,
                    ino: Ino::Directory(door, facts.root),
                }),
                Err(FsError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn children(&self, door: Door, dir: DirNo) -> Result<Arc<Listing>, FsError> {
        if let Some(listing) = self.listings.get(door, dir) {
            return Ok(listing);
        }
        let listing = Arc::new(Listing::new(&self.tree.children(door, dir)?)?);
        self.listings.keep(door, dir, Arc::clone(&listing));
        Ok(listing)
    }
}

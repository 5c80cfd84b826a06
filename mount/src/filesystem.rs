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

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fuser::{BackingId, FileAttr};

use crate::Options;
use crate::attr::{self, ASK_AGAIN, FOR_EVER, NAME_MAX};
use crate::backed::Backed;
use crate::blobs::Blobs;
use crate::cache::{Doors, Listings, lock};
use crate::error::FsError;
use crate::handed::HandedOut;
use crate::ino::Ino;
use crate::links::AT;
use crate::listing::Listing;
use crate::tree::{
    BlobNo, DirNo, Door, DoorFacts, FileId, FileNode, Found, MirrorNo, NamedDoor, Node, Parent, Totals, Tree,
};

/// The extended attribute of a door's root that names the snapshot.
pub const SNAPSHOT_ATTRIBUTE: &[u8] = b"user.mirrorctl.snapshot";

/// The name of a mirror's directory of snapshots.
pub const SNAPSHOTS: &[u8] = b"snapshots";

/// Offset of the first entry after `.` and `..` in a listing.
const FIRST_ENTRY: u64 = 2;

/// Length of the secret in the hidden names: enough that nobody finds them by trying.
pub const SECRET_BYTES: usize = 16;

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

/// One name of a directory that can change, at an offset that stays its own.
#[derive(Debug)]
struct FixedEntry {
    offset: u64,
    name: Box<[u8]>,
    ino: Ino,
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

    /// Fills `buffer` from `offset` of the file `ino` on and returns how many bytes that were: fewer only at its end.
    ///
    /// # Errors
    /// When `ino` is no file, or its bytes cannot be read or trusted.
    pub fn read(&self, ino: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        self.blobs.read(&*self.tree, blob_of(ino)?, offset, buffer)
    }

    /// Sees to it that the file `ino` can be read.
    ///
    /// # Errors
    /// When `ino` is no file, or its bytes cannot be read or trusted.
    pub(crate) fn open(&self, ino: u64) -> Result<(), FsError> {
        self.blobs.prepare(&*self.tree, blob_of(ino)?)
    }

    /// Opens the file `ino` for the kernel, which reads it by itself: under the number it has for it, or one that `name` gets
    /// from it. To be [released](Self::release_backed).
    ///
    /// # Errors
    /// As [`Filesystem::open`], and when `name` fails.
    pub(crate) fn open_backed(
        &self,
        ino: u64,
        name: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Result<Arc<BackingId>, FsError> {
        let blob = blob_of(ino)?;
        self.backed
            .open(blob, || Ok(name(&self.blobs.file(&*self.tree, blob)?)?))
    }

    /// One opening of the file `ino` by [`Filesystem::open_backed`] has ended.
    pub(crate) fn release_backed(&self, ino: u64) {
        if let Ok(blob) = blob_of(ino) {
            self.backed.release(blob);
        }
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

    /// The blobs held open.
    pub fn held_blobs(&self) -> Vec<BlobNo> {
        let mut held = self.blobs.held();
        held.extend(self.backed.blobs());
        held
    }

    /// Gives up what is open of the blobs of `files`, which are not what they were.
    pub(crate) fn forget_bytes(&self, files: &[FileId]) {
        let blobs: HashSet<BlobNo> = files.iter().map(|file| file.blob).collect();
        self.blobs.forget(&blobs);
        self.backed.spoil(&blobs);
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

    fn children(&self, door: Door, dir: DirNo) -> Result<Arc<Listing>, FsError> {
        if let Some(listing) = self.listings.get(door, dir) {
            return Ok(listing);
        }
        let listing = Arc::new(Listing::new(&self.tree.children(door, dir)?)?);
        self.listings.keep(door, dir, Arc::clone(&listing));
        Ok(listing)
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

/// The blob of the file `ino`.
fn blob_of(ino: u64) -> Result<BlobNo, FsError> {
    match Ino::from_number(ino).ok_or(FsError::NotFound)? {
        Ino::File(FileId { blob, .. }) => Ok(blob),
        Ino::Root | Ino::Mirror(_) | Ino::Snapshots(_) | Ino::Hidden(_) | Ino::At(_) | Ino::Directory(..) => {
            Err(FsError::IsADirectory)
        }
        Ino::Link(_) => Err(FsError::WrongKind),
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
    fn hidden_names_hold_the_whole_secret() {
        let names = HiddenNames::new([0xab; SECRET_BYTES]);
        assert_eq!(*names.doors, *format!(".doors.{}", "ab".repeat(16)).as_bytes());
        assert_eq!(*names.barrier, *format!(".barrier.{}", "ab".repeat(16)).as_bytes());
    }

    #[test]
    fn a_door_has_one_spelling() {
        assert_eq!(parse_door(b"17"), Some(Door(17)));
        for other in ["017", "+17", " 17", "17 ", "", "-1", "4294967296", "x"] {
            assert_eq!(parse_door(other.as_bytes()), None, "{other:?}");
        }
    }
}

//! The bridge between the mount and the store: what the mount's port asks, answered from catalog and blobs.
//!
//! Owns the meaning of a door (a snapshot, or one move of a pointer), the numbers by which the mount knows mirrors,
//! directories and blobs, and the times that files show. It changes nothing, and knows nothing of inodes or FUSE. The
//! time of day, after which no time has a tree yet and by which earlier publications cease to lend names, is told by a clock
//! that it is given.

mod damage;
mod doors;
mod last_known;
mod overlay;
mod readers;
#[cfg(test)]
mod tests;
mod times;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mirrorctl_mount::tree::{
    BlobNo, Child, DirNo, Door, DoorFacts, FileId, FileNode, Found, MirrorNo, NamedDoor, Node, Parent, Totals, Tree,
};

use crate::blobs::BlobStore;
use crate::catalog::{BlobRow, CatalogError, CatalogReader, DirRow, FileRow, MirrorRow, ROOT_DIR, Seq, TreeNode};
use crate::model::{Clock, Digest, Role, SnapshotName, Timestamp};
use damage::Damage;
use doors::{DoorCache, DoorTarget};
use last_known::{LastKnown, ManifestTree};
use overlay::Standing;
use readers::Readers;

/// The served tree, read from one catalog and one blob store.
#[derive(Debug)]
pub struct View {
    readers: Readers,
    blobs: BlobStore,
    doors: DoorCache,
    last_known: LastKnown,
    damage: Damage,
    clock: Clock,
    /// One at a time, so that what was read first is not remembered last.
    refreshing: Mutex<()>,
}

/// What the catalog was at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Another generation means that numbers mean other things.
    pub generation: String,
    /// Another value means that something was committed, or may have been. Meaningless by itself.
    pub commits: (u64, i64),
}

impl View {
    /// A view of the catalog at `catalog` and its blobs, by the time that `clock` tells. It knows nothing to fall back on
    /// before the first [`View::refresh`].
    ///
    /// # Errors
    /// When the catalog cannot be opened.
    pub fn open(catalog: PathBuf, blobs: BlobStore, clock: Clock) -> Result<Self, CatalogError> {
        Ok(Self {
            readers: Readers::open(catalog)?,
            blobs,
            doors: DoorCache::default(),
            last_known: LastKnown::default(),
            damage: Damage::default(),
            clock,
            refreshing: Mutex::default(),
        })
    }

    /// Learns where the pointers lead and what lends to them, and forgets what it remembers of other doors: to be called
    /// when the catalog changed, before the mount is told.
    ///
    /// # Errors
    /// When the catalog cannot be read. What was known before stays, which is what it is for.
    pub fn refresh(&self) -> io::Result<()> {
        let _turn = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        self.readers
            .read(|reader| reader.at_once(|reader| self.last_known.remember(reader, now)))?;
        self.doors.replace(self.last_known.doors());
        Ok(())
    }

    /// Hands the files to `forget` of which the kernel may remember bytes that it must not show any more, or had none to
    /// remember: those of blobs that were found damaged since the last time, and of those that are whole again.
    ///
    /// # Errors
    /// When the catalog cannot be read, or `forget` fails. Then they are handed out again the next time.
    pub fn damage(&self, forget: impl FnOnce(&[FileId]) -> io::Result<()>) -> io::Result<()> {
        let news = self
            .readers
            .read(|reader| reader.at_once(|reader| self.damage.news(reader)))?;
        news.map_or(Ok(()), |now| self.damage.change(now, forget))
    }

    /// Whether a blob is damaged; when the catalog fails, whether it was when it was last looked at.
    fn is_damaged(&self, blob: BlobNo) -> bool {
        let from_catalog = self.readers.read(|reader| reader.is_damaged(blob_row(blob)));
        from_catalog.unwrap_or_else(|_| self.damage.has(blob))
    }

    /// The generation of the catalog that is shown, whatever has become of it meanwhile.
    pub fn generation(&self) -> &str {
        self.readers.generation()
    }

    /// What the catalog is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn version(&self) -> io::Result<Version> {
        self.readers.version()
    }

    /// Whether the catalog could not be read when it was last tried, so that only what was published last is shown.
    pub fn is_degraded(&self) -> bool {
        self.readers.are_failing()
    }

    fn target(&self, door: Door) -> io::Result<Option<Arc<DoorTarget>>> {
        let from_catalog = self.doors.get(door, || {
            let now = self.clock.now();
            self.readers.read(|reader| doors::load(reader, door, now))
        });
        from_catalog.or_else(|error| self.last_known.target(door).map(Some).ok_or(error))
    }

    /// Digest, size and modification time of a blob.
    fn blob(&self, blob: BlobNo) -> io::Result<Option<(Digest, u64, Timestamp)>> {
        let from_catalog = self.readers.read(|reader| reader.blob_row(blob_row(blob)));
        from_catalog.or_else(|error| match self.last_known.blob(blob_row(blob), &self.blobs) {
            Some(found) => Ok(Some(found)),
            None => Err(error),
        })
    }

    /// The listing `seq` of `mirror` from its manifests, after the catalog has failed with `error`.
    fn fallback(&self, mirror: MirrorRow, seq: Seq, error: &io::Error) -> io::Result<Arc<ManifestTree>> {
        let failed = || io::Error::new(error.kind(), error.to_string());
        match self.last_known.tree((mirror, seq), &self.blobs) {
            Ok(Some(tree)) => Ok(tree),
            Ok(None) => Err(failed()),
            Err(unreadable) => {
                tracing::error!(%unreadable, "the manifests of a listing cannot be read either");
                Err(failed())
            }
        }
    }

    /// What stands under `name` behind a door, by the catalog or, when that fails, by manifests.
    fn look_up(&self, target: &DoorTarget, dir: DirRow, name: &str) -> io::Result<Option<Standing>> {
        let mirror = target.mirror;
        let from_catalog = self
            .readers
            .read(|reader| overlay::look_up(target, &self.clock, |seq| reader.child(mirror, seq, dir, name)));
        from_catalog.or_else(|error| {
            overlay::look_up(target, &self.clock, |seq| {
                Ok(self.fallback(mirror, seq, &error)?.child(dir, name))
            })
        })
    }
}

impl Tree for View {
    fn mirrors(&self) -> io::Result<Vec<(Box<[u8]>, MirrorNo)>> {
        let Ok(mirrors) = self.readers.read(CatalogReader::mirrors) else {
            return Ok(self.last_known.mirrors());
        };
        mirrors
            .into_iter()
            .map(|(row, id)| Ok((id.as_str().as_bytes().into(), mirror_number(row)?)))
            .collect()
    }

    fn pointers(&self, mirror: MirrorNo) -> io::Result<Vec<NamedDoor>> {
        let Ok(found) = self.readers.read(|reader| reader.pointers(mirror_row(mirror))) else {
            return Ok(self.last_known.pointers(mirror));
        };
        found
            .into_iter()
            .map(|found| {
                Ok(NamedDoor {
                    name: found.pointer.name().as_bytes().into(),
                    door: doors::of_move(found.row)?,
                })
            })
            .collect()
    }

    fn snapshots(&self, mirror: MirrorNo) -> io::Result<Vec<NamedDoor>> {
        let names = self.readers.read(|reader| reader.snapshot_names(mirror_row(mirror)))?;
        names
            .into_iter()
            .map(|(name, row)| {
                Ok(NamedDoor {
                    name: name.as_str().as_bytes().into(),
                    door: doors::of_snapshot(row)?,
                })
            })
            .collect()
    }

    fn snapshot(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<Option<Door>> {
        let Some(name) = parse::<SnapshotName>(name) else {
            return Ok(None);
        };
        let row = self
            .readers
            .read(|reader| reader.snapshot_named(mirror_row(mirror), &name))?;
        row.map(doors::of_snapshot).transpose()
    }

    fn snapshot_at(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<Option<Door>> {
        self.newest_at(mirror, name)
    }

    fn superseded(&self, mirror: MirrorNo, door: Door) -> io::Result<bool> {
        let Some(row) = doors::move_row(door) else {
            return Ok(false);
        };
        let mirror = mirror_row(mirror);
        self.readers.read(|reader| {
            let Some(found) = reader.pointer_move(row)? else {
                return Ok(false);
            };
            let newest = reader.pointer(mirror, &found.pointer)?;
            Ok(reader.mirror(&found.mirror)? == mirror && newest.is_none_or(|newest| newest.row != row))
        })
    }

    fn door(&self, door: Door) -> io::Result<Option<DoorFacts>> {
        let Some(target) = self.target(door)? else {
            return Ok(None);
        };
        Ok(Some(DoorFacts {
            root: DirNo(number(ROOT_DIR.number())?),
            mtime: target.mtime.unix(),
            snapshot: target.snapshot.as_str().as_bytes().into(),
        }))
    }

    fn parent(&self, door: Door, dir: DirNo) -> io::Result<Option<Parent>> {
        let dir = dir_row(dir);
        if dir != ROOT_DIR {
            let parent = self.readers.read(|reader| reader.parent(dir))?;
            return parent
                .map(|row| Ok(Parent::Directory(DirNo(number(row.number())?))))
                .transpose();
        }
        let Some(target) = self.target(door)? else {
            return Ok(None);
        };
        let mirror = mirror_number(target.mirror)?;
        Ok(Some(match doors::move_row(door) {
            Some(_) => Parent::Pointers(mirror),
            None => Parent::Snapshots(mirror),
        }))
    }

    fn child(&self, door: Door, dir: DirNo, name: &[u8]) -> io::Result<Option<Found>> {
        let Some(target) = self.target(door)? else {
            return Ok(None);
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(None);
        };
        let (found, lasts) = match self.look_up(&target, dir_row(dir), name)? {
            Some(Standing::Own(found)) => (found, true),
            Some(Standing::Lent(found)) => (found, false),
            None => return Ok(None),
        };
        let node = node(found, target.serial)?;
        Ok(Some(Found { node, lasts }))
    }

    fn children(&self, door: Door, dir: DirNo) -> io::Result<Arc<[Child]>> {
        let Some(target) = self.target(door)? else {
            return Ok(Arc::new([]));
        };
        let found = self
            .readers
            .read(|reader| reader.children(target.mirror, target.seq, dir_row(dir)))
            .or_else(|error| {
                let listing = self.fallback(target.mirror, target.seq, &error)?;
                Ok::<_, io::Error>(listing.children(dir_row(dir)).to_vec())
            })?;
        found
            .into_iter()
            .map(|(name, found)| {
                Ok(Child {
                    name: name.into_bytes().into(),
                    node: node(found, target.serial)?,
                })
            })
            .collect()
    }

    fn file(&self, file: FileId) -> io::Result<Option<FileNode>> {
        Ok(self.blob(file.blob)?.map(|(_, size, mtime)| FileNode {
            id: file,
            size,
            mtime: shown_mtime(file.serial, mtime),
        }))
    }

    fn open(&self, blob: BlobNo) -> io::Result<File> {
        let (digest, size, _) = self.blob(blob)?.ok_or(io::ErrorKind::NotFound)?;
        if self.is_damaged(blob) {
            tracing::error!(%digest, "a blob is damaged: mirrorctl verify --repair fetches it again");
            return Err(io::ErrorKind::InvalidData.into());
        }
        let file = self.blobs.read(digest).map_err(io::Error::other)?;
        // A blob that lost or gained bytes must not be served as if it were whole.
        if file.metadata()?.len() != size {
            tracing::error!(%digest, "a blob has the wrong length");
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(file)
    }

    fn totals(&self) -> io::Result<Totals> {
        let (bytes, free_bytes) = self.blobs.space().map_err(io::Error::other)?;
        // Programs that watch disks must not take a failing catalog for a failing disk.
        let (files, _) = self.readers.read(CatalogReader::blob_totals).unwrap_or_default();
        Ok(Totals {
            bytes,
            free_bytes,
            files,
        })
    }
}

/// A node with the time it shows: plain index names below a pointer carry that pointer's serial time.
fn node(found: TreeNode, serial: Option<Timestamp>) -> io::Result<Node> {
    Ok(match found {
        TreeNode::Directory(row) => Node::Directory(DirNo(number(row.number())?)),
        TreeNode::File(file) => Node::File(file_node(&file, serial)?),
    })
}

fn file_node(file: &FileRow, serial: Option<Timestamp>) -> io::Result<FileNode> {
    let serial = match (file.role, serial) {
        (Some(Role::Release | Role::Index), Some(serial)) => u64::try_from(serial.unix()).unwrap_or(0),
        (Some(Role::Pool) | None, _) | (_, None) => 0,
    };
    let id = FileId {
        blob: BlobNo(number(file.blob.number())?),
        serial,
    };
    if id.blob.0 > BlobNo::MAX {
        return Err(out_of_numbers());
    }
    Ok(FileNode {
        id,
        size: file.size,
        mtime: shown_mtime(serial, file.mtime),
    })
}

fn shown_mtime(serial: u64, mtime: Timestamp) -> i64 {
    if serial == 0 {
        mtime.unix()
    } else {
        serial.cast_signed()
    }
}

fn number(row: i64) -> io::Result<u32> {
    u32::try_from(row).map_err(|_| out_of_numbers())
}

/// The catalog has handed out more rows than inode numbers have room for.
fn out_of_numbers() -> io::Error {
    io::Error::other("the catalog's row numbers exceed what the mount can show")
}

fn mirror_number(row: MirrorRow) -> io::Result<MirrorNo> {
    number(row.number()).map(MirrorNo)
}

fn mirror_row(mirror: MirrorNo) -> MirrorRow {
    MirrorRow::from_number(i64::from(mirror.0))
}

fn dir_row(dir: DirNo) -> DirRow {
    DirRow::from_number(i64::from(dir.0))
}

fn blob_row(blob: BlobNo) -> BlobRow {
    BlobRow::from_number(i64::from(blob.0))
}

fn parse<T: std::str::FromStr>(name: &[u8]) -> Option<T> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

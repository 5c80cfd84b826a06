//! The port: the questions the mount asks about what it shows.
//!
//! Owns the trait [`Tree`] and the plain values of its answers. It knows nothing of snapshots' storage, of archives
//! or of FUSE; who implements it knows nothing of inodes.
//!
//! A *door* is one way into a tree of files: a snapshot's directory, or one move of one pointer. What is listed behind a
//! door never changes, so it can be cached for ever. More names than are listed may be found there for a while: each
//! of them says that it does not last. None is ever added, so that what is absent can be cached as well. Doors, directories
//! and blobs are numbered by the implementer, who never uses a number for a second thing, not even across restarts.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// One mirror: a directory directly below the mount's root. At most [`MirrorNo::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorNo(pub u32);

impl MirrorNo {
    /// Largest mirror number: the inode number of a mirror's own directories keeps 30 bits for it, counted from 1.
    pub const MAX: u32 = (1 << 30) - 2;
}

/// One way into a tree of files. At most [`Door::MAX`], never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Door(pub u32);

impl Door {
    /// Largest door number: an inode number keeps 31 bits for it.
    pub const MAX: u32 = (1 << 31) - 1;
}

/// One directory path inside archives, the same number behind every door. At most [`DirNo::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirNo(pub u32);

impl DirNo {
    /// Largest directory number: the one after it, behind a door, is the inode number of the link that leads there.
    pub const MAX: u32 = u32::MAX - 1;
}

/// One blob. At most [`BlobNo::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobNo(pub u32);

impl BlobNo {
    /// Largest blob number: an inode number keeps 30 bits for it.
    pub const MAX: u32 = (1 << 30) - 1;
}

/// A file as the kernel knows it: a blob, and for plain index names below a pointer that pointer's serial time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The bytes.
    pub blob: BlobNo,
    /// Seconds since 1970 that the file shows as its modification time in place of the blob's, or 0 for the
    /// blob's own. At most 2^33 - 1.
    pub serial: u64,
}

/// What stands under a name inside an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory(DirNo),
    /// A regular file.
    File(FileNode),
}

/// A regular file with what `stat` shows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileNode {
    /// Which file.
    pub id: FileId,
    /// Length in bytes.
    pub size: u64,
    /// Modification time shown, in seconds since 1970 (the serial time when there is one).
    pub mtime: i64,
}

/// What a look-up behind a door finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What stands under the name.
    pub node: Node,
    /// Whether it stands there for as long as the door exists, as all that is listed does. What does not last may be
    /// gone at the next look-up, for good; but it never becomes something else.
    pub lasts: bool,
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The name, without `/`.
    pub name: Box<[u8]>,
    /// What stands there.
    pub node: Node,
}

/// One door by name: a pointer (`current`) or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDoor {
    /// The directory's name.
    pub name: Box<[u8]>,
    /// Where it leads now.
    pub door: Door,
}

/// Where a directory behind a door stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// In this directory behind the same door.
    Directory(DirNo),
    /// It is the door's root, and the door a move of a pointer of this mirror.
    Pointers(MirrorNo),
    /// It is the door's root, and the door a snapshot of this mirror.
    Snapshots(MirrorNo),
}

/// What is the same for everything behind one door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorFacts {
    /// The archive's root directory.
    pub root: DirNo,
    /// Modification time of every directory behind the door, in seconds since 1970.
    pub mtime: i64,
    /// The snapshot's name now: the value of the extended attribute `user.mirrorctl.snapshot` of the door's root. The one
    /// fact that can change while the door exists.
    pub snapshot: Box<[u8]>,
}

/// Sizes for `statfs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes of the file system that holds the blobs.
    pub bytes: u64,
    /// Bytes still free there.
    pub free_bytes: u64,
    /// Number of blobs.
    pub files: u64,
}

/// What the mount shows. Every method may block on local disks; none may wait for the network.
///
/// An `Err` becomes `EIO` (or `EMFILE` when that is the error): it means "cannot know now", never "does not exist".
pub trait Tree: Send + Sync + 'static {
    /// The mirrors, sorted by name.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn mirrors(&self) -> io::Result<Vec<(Box<[u8]>, MirrorNo)>>;

    /// The pointers of `mirror` that are set, sorted by name, with their doors as of now.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn pointers(&self, mirror: MirrorNo) -> io::Result<Vec<NamedDoor>>;

    /// The snapshots of `mirror` as of now, sorted by name.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn snapshots(&self, mirror: MirrorNo) -> io::Result<Vec<NamedDoor>>;

    /// The snapshot of `mirror` called `name`, as of now.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn snapshot(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<Option<Door>>;

    /// The snapshot of `mirror` to which the link called `name` leads, as of now. Such names cannot be listed. What was
    /// absent may be there at the next question, and what a name leads to may change.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn snapshot_at(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<Option<Door>>;

    /// Whether `door` is a move of a pointer of `mirror` that a later move has superseded.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn superseded(&self, mirror: MirrorNo, door: Door) -> io::Result<bool>;

    /// What is behind `door`; `None` when no such door exists any more.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn door(&self, door: Door) -> io::Result<Option<DoorFacts>>;

    /// Where the directory `dir` behind `door` stands; `None` when there is no such directory any more. Asked only for who comes with
    /// a handle instead of a path, such as an NFS server.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn parent(&self, door: Door, dir: DirNo) -> io::Result<Option<Parent>>;

    /// What stands under `name` in the directory `dir` behind `door`: all that is listed there, and possibly more. A name
    /// that is absent stays so for as long as the door exists: the kernel remembers it.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn child(&self, door: Door, dir: DirNo, name: &[u8]) -> io::Result<Option<Found>>;

    /// Everything listed in the directory `dir` behind `door`, sorted by name in byte order. Empty when there is no such
    /// directory.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn children(&self, door: Door, dir: DirNo) -> io::Result<Arc<[Child]>>;

    /// What `stat` shows of `file`; `None` when its blob is gone.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn file(&self, file: FileId) -> io::Result<Option<FileNode>>;

    /// The bytes of `blob`, opened for reading at any offset.
    ///
    /// # Errors
    /// When the blob is gone, damaged, or cannot be opened.
    fn open(&self, blob: BlobNo) -> io::Result<File>;

    /// Sizes for `statfs`.
    ///
    /// # Errors
    /// When it cannot be known now.
    fn totals(&self) -> io::Result<Totals>;
}

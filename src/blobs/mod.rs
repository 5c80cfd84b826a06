//! Content-addressed files: the bytes of everything that is mirrored, each once.
//!
//! Owns the directory `blobs/` and the way of bytes into it: written and hashed under a nameless place, made durable,
//! and only then linked to the name that their digest gives. A file under its final name is whole, or was damaged
//! later; it is never written again. This room knows nothing of the catalog: which blobs are needed, and the order
//! of rows and files (`docs/formats.md`), is for the use cases to keep.

mod incoming;
mod layout;
mod sys;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

pub use incoming::{Arrived, Inbox, Incoming};

use crate::model::{BlobFacts, Digest, Hasher, Timestamp};

/// Mode of blobs: everybody reads, nobody writes.
const BLOB_MODE: u32 = 0o444;

/// Mode of the directories that hold blobs.
const DIRECTORY_MODE: u32 = 0o2775;

/// Bytes read at a time when a blob is hashed again.
const CHUNK: usize = 1 << 20;

/// Why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The file system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// More bytes came than were announced.
    #[error("more than the expected {0} bytes came")]
    TooLong(u64),
    /// Fewer bytes came than were announced.
    #[error("only {got} of {expected} bytes came")]
    TooShort {
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// Other bytes came than were announced.
    #[error("the bytes have SHA-256 {got}, not {expected}")]
    Different {
        /// Digest announced.
        expected: Digest,
        /// Digest of what came.
        got: Digest,
    },
}

impl BlobError {
    /// Whether our own file system is at fault, and not the bytes that came.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::TooLong(_) | Self::TooShort { .. } | Self::Different { .. } => false,
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// The cache of blobs.
#[derive(Debug)]
pub struct BlobStore {
    root: PathBuf,
    /// Open since before any write, so that syncing it reports every failed write.
    directory: File,
    owner: Option<(u32, u32)>,
}

impl BlobStore {
    /// Opens the store in the existing directory `root`. New files are given to `owner` (user and group), if any.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn open(root: &Path, owner: Option<(u32, u32)>) -> Result<Self, BlobError> {
        let directory = File::open(root).map_err(BlobError::io("open", root))?;
        Ok(Self {
            root: root.to_owned(),
            directory,
            owner,
        })
    }

    /// A place for files that are on their way in. Whatever an earlier process left in `directory` is removed, so
    /// the caller must hold the lock that makes the place its own.
    ///
    /// # Errors
    /// When the directory cannot be made or cleared.
    pub fn inbox(&self, directory: &Path) -> Result<Inbox, BlobError> {
        Inbox::open(directory, self.owner)
    }

    /// Makes everything written so far durable: bytes, names and directories.
    ///
    /// # Errors
    /// When any write since the store was opened failed; what was written meanwhile must then be discarded.
    pub fn sync(&self) -> Result<(), BlobError> {
        sys::sync_file_system(&self.directory).map_err(BlobError::io("sync", &self.root))
    }

    /// Gives arrived bytes, which [`BlobStore::sync`] has made durable, the name of their digest. Bytes that are there
    /// already are read again; if they are damaged, the new ones take their place.
    ///
    /// # Errors
    /// When the file system refuses.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what was placed is no longer on its way in"
    )]
    pub fn place(&self, arrived: Arrived) -> Result<(), BlobError> {
        let target = layout::path(&self.root, arrived.digest());
        match fs::hard_link(arrived.path(), &target) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_parent(&target)?;
                if fs::hard_link(arrived.path(), &target).is_ok() {
                    return Ok(());
                }
            }
            Err(_) => {}
        }
        if self.is_whole(arrived.digest(), arrived.size()) {
            return Ok(());
        }
        fs::rename(arrived.path(), &target).map_err(BlobError::io("put a blob at", &target))
    }

    /// Whether the blob is there, as a regular file of `size` bytes.
    #[must_use]
    pub fn has(&self, digest: Digest, size: u64) -> bool {
        let found = fs::symlink_metadata(layout::path(&self.root, digest));
        found.is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// Whether the blob is there with exactly the bytes that its name promises.
    #[must_use]
    pub fn is_whole(&self, digest: Digest, size: u64) -> bool {
        let whole = || -> io::Result<bool> {
            let mut file = self.open_regular(digest)?;
            let mut hasher = Hasher::new();
            let mut buffer = vec![0; CHUNK];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hasher.finish() == digest),
                    n => hasher.update(&buffer[..n]),
                }
            }
        };
        self.has(digest, size) && whole().unwrap_or(false)
    }

    /// The blob as it lies there, when it is whole: for a file that has no row yet.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<BlobFacts> {
        let found = self.open_regular(digest).ok()?.metadata().ok()?;
        let facts = BlobFacts {
            digest,
            size: found.len(),
            mtime: Timestamp::from_unix(found.mtime()),
        };
        self.is_whole(digest, facts.size).then_some(facts)
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// When it is missing or is no regular file.
    pub fn read(&self, digest: Digest) -> Result<File, BlobError> {
        self.open_regular(digest)
            .map_err(BlobError::io("open", &layout::path(&self.root, digest)))
    }

    /// Removes a blob. One that is gone already is fine; readers that have it open go on.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, digest: Digest) -> Result<(), BlobError> {
        let path = layout::path(&self.root, digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BlobError::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Size and free space of the file system, in bytes.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn space(&self) -> Result<(u64, u64), BlobError> {
        sys::space(&self.directory).map_err(BlobError::io("measure", &self.root))
    }

    fn open_regular(&self, digest: Digest) -> io::Result<File> {
        let file = sys::open_without_links(&layout::path(&self.root, digest))?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    fn make_parent(&self, target: &Path) -> Result<(), BlobError> {
        let parent = target.parent().expect("blobs lie in directories");
        match DirBuilder::new().mode(DIRECTORY_MODE).create(parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(BlobError::io("create", parent)(error)),
            Err(_) => Ok(()),
            Ok(()) => incoming::give(parent, self.owner, DIRECTORY_MODE).map_err(BlobError::io("give away", parent)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn store() -> (tempfile::TempDir, BlobStore) {
        let place = tempfile::tempdir().expect("temporary directory");
        let root = place.path().join("blobs");
        fs::create_dir(&root).expect("makes a directory");
        let store = BlobStore::open(&root, None).expect("opens");
        (place, store)
    }

    fn arrive(place: &tempfile::TempDir, store: &BlobStore, bytes: &[u8]) -> Arrived {
        let inbox = store.inbox(&place.path().join("tmp")).expect("opens");
        let mut incoming = inbox.begin(bytes.len() as u64).expect("begins");
        incoming.write(bytes).expect("fits");
        incoming
            .finish(Some(bytes.len() as u64), Some(Digest::of(bytes)))
            .expect("as announced")
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (place, store) = store();
        let digest = Digest::of(b"hello");
        assert!(!store.has(digest, 5));
        let arrived = arrive(&place, &store, b"hello");
        store.sync().expect("syncs");
        store.place(arrived).expect("places");
        assert!(store.has(digest, 5) && !store.has(digest, 6) && store.is_whole(digest, 5));
        let mut text = String::new();
        store
            .read(digest)
            .expect("opens")
            .read_to_string(&mut text)
            .expect("reads");
        assert_eq!(text, "hello");
        assert_eq!(
            fs::read_dir(place.path().join("tmp")).expect("exists").count(),
            0,
            "nothing is left behind"
        );
        store.remove(digest).expect("removes");
        store.remove(digest).expect("removing twice is fine");
        assert!(store.read(digest).is_err());
    }

    #[test]
    fn damaged_bytes_are_replaced_and_good_ones_kept() {
        let (place, store) = store();
        let digest = Digest::of(b"hello");
        store.place(arrive(&place, &store, b"hello")).expect("places");
        store
            .place(arrive(&place, &store, b"hello"))
            .expect("a second time is fine");
        let path = layout::path(&place.path().join("blobs"), digest);
        fs::remove_file(&path).expect("removes");
        fs::write(&path, "hellO").expect("writes");
        assert!(!store.is_whole(digest, 5));
        store.place(arrive(&place, &store, b"hello")).expect("replaces");
        assert!(store.is_whole(digest, 5));
    }

    #[test]
    fn what_is_no_regular_file_is_never_read() {
        let (place, store) = store();
        let digest = Digest::of(b"hello");
        let path = layout::path(&place.path().join("blobs"), digest);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("makes");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("links");
        assert!(store.read(digest).is_err() && !store.has(digest, 5) && !store.is_whole(digest, 5));
    }

    #[test]
    fn only_what_was_announced_is_taken() {
        let (place, store) = store();
        let inbox = store.inbox(&place.path().join("tmp")).expect("opens");
        let mut incoming = inbox.begin(3).expect("begins");
        assert!(matches!(incoming.write(b"four"), Err(BlobError::TooLong(3))));
        drop(incoming);
        let mut incoming = inbox.begin(9).expect("begins");
        incoming.write(b"four").expect("fits");
        assert!(matches!(
            incoming.finish(Some(9), None),
            Err(BlobError::TooShort { expected: 9, got: 4 })
        ));
        let mut incoming = inbox.begin(4).expect("begins");
        incoming.write(b"four").expect("fits");
        let wanted = Some(Digest::of(b"five"));
        assert!(matches!(
            incoming.finish(Some(4), wanted),
            Err(BlobError::Different { .. })
        ));
        assert_eq!(
            fs::read_dir(place.path().join("tmp")).expect("exists").count(),
            0,
            "refused bytes are removed"
        );
    }

    #[test]
    fn a_new_inbox_forgets_what_a_dead_process_left() {
        let (place, store) = store();
        let tmp = place.path().join("tmp");
        fs::create_dir(&tmp).expect("makes");
        fs::write(tmp.join("17"), "left over").expect("writes");
        let _inbox = store.inbox(&tmp).expect("opens");
        assert_eq!(fs::read_dir(&tmp).expect("exists").count(), 0);
    }
}

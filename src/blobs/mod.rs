//! Content-addressed files: the bytes of everything that is mirrored, each once.
//!
//! Owns the directory `blobs/` and the way of bytes into it: written and hashed under a nameless place, made durable,
//! and only then linked to the name that their digest gives. A file under its final name is whole, or was damaged
//! later; it is never written again. This room knows nothing of the catalog: which blobs are needed, and the order
//! of rows and files (`docs/formats.md`), is for the use cases to keep.

mod derived;
mod directory;
mod incoming;
mod layout;
mod leftovers;
mod scrub;
mod sys;
mod taking;
mod walking;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub use derived::{Derived, DerivedFile};
pub use incoming::{Arrived, Inbox, Incoming, LEAST_CONTINUED};
pub use leftovers::{Leftover, Leftovers};
pub use scrub::{Identity, Moved, Quarantine, Sight};
pub use taking::{Expected, Sharable, Sharing};

use directory::{Directory, Owner};
use layout::Place;

use crate::model::{BlobFacts, Checksum, ContentHasher, ContentHashes, Digest, Sha512, Timestamp};

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
    /// A file that was to be taken over cannot be read.
    #[error("it cannot be read")]
    Source(#[source] io::Error),
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
    #[error("the bytes have {}, not {}", .0.got, .0.expected)]
    Different(Box<Mismatch>),
    /// Nobody waits for the file any more.
    #[error("nobody waits for the file any more")]
    Unwanted,
}

/// Two hashes of the same type that should be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// The hash announced.
    pub expected: Checksum,
    /// That of what came.
    pub got: Checksum,
}

impl BlobError {
    /// Whether our own file system is at fault, and not the bytes that came.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Source(_) | Self::TooLong(_) | Self::TooShort { .. } | Self::Different(_) | Self::Unwanted => false,
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
    /// Open since before any write, so that syncing it reports every failed write.
    root: Directory,
    owner: Owner,
    derived: Derived,
}

impl BlobStore {
    /// Opens the store in the existing directory `root`, which must not be a link. New files are given to `owner` (user
    /// and group), if any.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn open(root: &Path, owner: Option<(u32, u32)>) -> Result<Self, BlobError> {
        Ok(Self {
            root: Directory::open(root)?,
            owner,
            derived: Derived::default(),
        })
    }

    /// The same store, with what was made of its blobs in `derived`.
    #[must_use]
    pub fn with_derived(self, derived: Derived) -> Self {
        Self { derived, ..self }
    }

    /// What was made of its blobs.
    #[must_use]
    pub fn derived(&self) -> &Derived {
        &self.derived
    }

    /// A place for files that are on their way in. What an earlier process left unfinished in `directory` is removed where
    /// it cannot be continued, so the caller must hold the lock that makes the place its own. Neither the directory nor the one that
    /// holds it may be a link.
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
        self.root
            .sync_file_system()
            .map_err(BlobError::io("sync", self.root.path()))
    }

    /// Gives arrived files, whose bytes [`BlobStore::sync`] has made durable, the names of their digests: each leaves the
    /// inbox for its place. Bytes that are there already are read again; if they are damaged, the new ones take their
    /// place, else the new ones go with their `Arrived`.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn place<'a>(&self, arrived: impl IntoIterator<Item = &'a mut Arrived>) -> Result<(), BlobError> {
        let mut arrived: Vec<&mut Arrived> = arrived.into_iter().collect();
        // Those of one directory together, which is then opened once.
        arrived.sort_unstable_by_key(|arrived| arrived.digest());
        for together in
            arrived.chunk_by_mut(|a, b| Place::of(a.digest()).directory() == Place::of(b.digest()).directory())
        {
            let place = Place::of(together[0].digest());
            let directory = self.root.child_or_new(place.directory(), self.owner)?;
            for arrived in together {
                self.place_in(&directory, arrived)?;
            }
        }
        Ok(())
    }

    fn place_in(&self, directory: &Directory, arrived: &mut Arrived) -> Result<(), BlobError> {
        let (digest, size) = (arrived.digest(), arrived.size());
        let (blob, from) = (Place::of(digest), &mut arrived.place);
        if from.directory.rename_new(&from.name, directory, blob.name()).is_err() {
            if self.is_whole(digest, size) {
                return Ok(());
            }
            from.directory
                .rename(&from.name, directory, blob.name())
                .map_err(BlobError::io("put a blob at", &directory.path().join(blob.name())))?;
        }
        // The name in the inbox has gone.
        from.left = true;
        Ok(())
    }

    /// Whether the blob is there, as a regular file of `size` bytes.
    #[must_use]
    pub fn has(&self, digest: Digest, size: u64) -> bool {
        let blob = Place::of(digest);
        let directory = self.root.child(blob.directory());
        let length = directory.and_then(|directory| directory.length(blob.name()));
        matches!(length, Ok(Some(length)) if length == size)
    }

    /// Whether the blob is there with exactly the bytes that its name promises.
    #[must_use]
    pub fn is_whole(&self, digest: Digest, size: u64) -> bool {
        let whole = || -> io::Result<bool> {
            let hasher = ContentHasher::comparing_with(None);
            Ok(hash(&mut self.open_regular(digest)?, hasher)?.digest == digest)
        };
        self.has(digest, size) && whole().unwrap_or(false)
    }

    /// The blob as it lies there and its SHA-512 hash, when it is whole: for a file that has no row yet.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<(BlobFacts, Option<Sha512>)> {
        let mut file = self.open_regular(digest).ok()?;
        let found = file.metadata().ok()?;
        let facts = BlobFacts {
            digest,
            size: found.len(),
            mtime: Timestamp::from_unix(found.mtime()),
        };
        let hashes = hash(&mut file, ContentHasher::of_everything()).ok()?;
        (hashes.digest == digest).then_some((facts, hashes.sha512))
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// When it is missing or is no regular file.
    pub fn read(&self, digest: Digest) -> Result<File, BlobError> {
        self.open_regular(digest)
            .map_err(BlobError::io("open", &self.path(digest)))
    }

    /// Removes a blob. One that is gone already is fine; readers that have it open go on.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, digest: Digest) -> Result<(), BlobError> {
        let blob = Place::of(digest);
        let directory = self.root.child(blob.directory());
        match directory.and_then(|directory| directory.remove(blob.name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BlobError::io("remove", &self.path(digest))(error))
            }
            _ => Ok(()),
        }
    }

    /// Size and free space of the file system, in bytes.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn space(&self) -> Result<(u64, u64), BlobError> {
        self.root.space().map_err(BlobError::io("measure", self.root.path()))
    }

    fn open_regular(&self, digest: Digest) -> io::Result<File> {
        let blob = Place::of(digest);
        self.root.child(blob.directory())?.read(blob.name())
    }

    /// Where a blob lies, for messages.
    fn path(&self, digest: Digest) -> PathBuf {
        let blob = Place::of(digest);
        self.root.path().join(blob.directory()).join(blob.name())
    }
}

/// The digest of everything that is left to read of `file`.
fn hash(file: &mut File, mut hasher: ContentHasher) -> io::Result<ContentHashes> {
    read_all(file, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok(hasher.finish())
}

/// Hands everything that is left to read of `file` to `each`, and answers how many bytes that was. Ends early with the
/// error of `each`.
fn read_all(file: &mut File, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let (mut buffer, mut length) = (vec![0; CHUNK], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(n) => {
                each(&buffer[..n])?;
                length += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;
    use crate::model::Timestamp;

    const MTIME: Timestamp = Timestamp::from_unix(1_600_000_000);

    fn store() -> (tempfile::TempDir, BlobStore) {
        let place = tempfile::tempdir().expect("temporary directory");
        let root = place.path().join("blobs");
        fs::create_dir(&root).expect("makes a directory");
        let store = BlobStore::open(&root, None).expect("opens");
        (place, store)
    }

    fn receive(inbox: &Inbox, bytes: &[u8]) -> Arrived {
        let checksum = Checksum::Sha256(Digest::of(bytes));
        let mut incoming = inbox.begin(bytes.len() as u64, Some(checksum)).expect("begins");
        incoming.write(bytes).expect("fits");
        incoming.finish(Some(bytes.len() as u64), MTIME).expect("as announced")
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("exists");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    fn arrive(place: &tempfile::TempDir, store: &BlobStore, bytes: &[u8]) -> Arrived {
        let inbox = store.inbox(&place.path().join("tmp")).expect("opens");
        receive(&inbox, bytes)
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (place, store) = store();
        let digest = Digest::of(b"hello");
        assert!(!store.has(digest, 5));
        let mut arrived = arrive(&place, &store, b"hello");
        store.sync().expect("syncs");
        store.place([&mut arrived]).expect("places");
        drop(arrived);
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
        store.place([&mut arrive(&place, &store, b"hello")]).expect("places");
        store
            .place([&mut arrive(&place, &store, b"hello")])
            .expect("a second time is fine");
        let path = store.path(digest);
        fs::remove_file(&path).expect("removes");
        fs::write(&path, "hellO").expect("writes");
        assert!(!store.is_whole(digest, 5));
        store.place([&mut arrive(&place, &store, b"hello")]).expect("replaces");
        assert!(store.is_whole(digest, 5));
    }

    #[test]
    fn what_is_no_regular_file_is_never_read() {
        let (_place, store) = store();
        let digest = Digest::of(b"hello");
        let path = store.path(digest);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("makes");
        symlink("/etc/hostname", &path).expect("links");
        assert!(store.read(digest).is_err() && !store.has(digest, 5) && !store.is_whole(digest, 5));
    }

    #[test]
    fn only_what_was_announced_is_taken() {
        let (place, store) = store();
        let inbox = store.inbox(&place.path().join("tmp")).expect("opens");
        let mut incoming = inbox.begin(3, None).expect("begins");
        assert!(matches!(incoming.write(b"four"), Err(BlobError::TooLong(3))));
        drop(incoming);
        let mut incoming = inbox.begin(9, None).expect("begins");
        incoming.write(b"four").expect("fits");
        assert!(matches!(
            incoming.finish(Some(9), MTIME),
            Err(BlobError::TooShort { expected: 9, got: 4 })
        ));
        let mut hasher = ContentHasher::of_everything();
        hasher.update(b"five");
        let five = hasher.finish().sha512.expect("computed");
        for wanted in [Checksum::Sha256(Digest::of(b"five")), Checksum::Sha512(five)] {
            let mut incoming = inbox.begin(4, Some(wanted)).expect("begins");
            incoming.write(b"four").expect("fits");
            let refused = incoming.finish(Some(4), MTIME);
            assert!(matches!(refused, Err(BlobError::Different(hashes)) if hashes.expected == wanted));
        }
        let mut incoming = inbox.begin(4, Some(Checksum::Sha512(five))).expect("begins");
        incoming.write(b"five").expect("fits");
        let arrived = incoming.finish(None, MTIME).expect("is what was announced");
        assert_eq!((arrived.digest(), arrived.sha512()), (Digest::of(b"five"), Some(five)));
        drop(arrived);
        assert_eq!(
            fs::read_dir(place.path().join("tmp")).expect("exists").count(),
            0,
            "refused bytes are removed"
        );
    }

    #[test]
    fn a_new_inbox_keeps_what_a_dead_process_finished() {
        let (place, store) = store();
        let tmp = place.path().join("tmp");
        let inbox = store.inbox(&tmp).expect("opens");
        let mut partial = inbox.begin(9, None).expect("begins");
        partial.write(b"part").expect("fits");
        // A killed process drops nothing.
        std::mem::forget((receive(&inbox, b"hello"), partial));
        let false_name = Digest::of(b"other").to_string();
        fs::write(tmp.join(&false_name), "damaged").expect("writes");
        fs::set_permissions(tmp.join(&false_name), fs::Permissions::from_mode(BLOB_MODE)).expect("sets");
        fs::write(tmp.join(Digest::of(b"open").to_string()), "open").expect("writes");
        fs::write(tmp.join(Digest::of(b"upper").to_string().to_uppercase()), "upper").expect("writes");

        let inbox = store.inbox(&tmp).expect("opens");
        let mut adopted = inbox.adopted();
        let digest = Digest::of(b"hello");
        assert_eq!(names(&tmp), [digest.to_string()], "all else is removed");
        let [(arrived, mtime)] = &mut adopted[..] else {
            panic!("{adopted:?}")
        };
        assert_eq!((arrived.digest(), arrived.size(), *mtime), (digest, 5, MTIME));
        assert!(inbox.adopted().is_empty(), "every file once");
        store.place([arrived]).expect("places");
        assert!(store.is_whole(digest, 5));
        drop(adopted);
        assert_eq!(names(&tmp).len(), 0);
        let found = fs::metadata(store.path(digest)).expect("exists");
        assert_eq!((found.mtime(), found.mode() & 0o7777), (MTIME.unix(), BLOB_MODE));
    }

    /// More than is thrown away when it is incomplete.
    fn large() -> Vec<u8> {
        let length = usize::try_from(LEAST_CONTINUED).expect("fits") + 5_000;
        b"large\n".iter().copied().cycle().take(length).collect()
    }

    #[test]
    fn a_large_file_is_continued_by_the_next_process() {
        let (place, store) = store();
        let tmp = place.path().join("tmp");
        let bytes = large();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let begin = || {
            let inbox = store.inbox(&tmp).expect("opens");
            inbox
                .begin_or_continue(Checksum::Sha256(digest), size, || true)
                .expect("begins")
        };
        let mut incoming = begin();
        assert_eq!(incoming.written(), 0);
        incoming.write(&bytes[..700]).expect("fits");
        // Given up in order, or killed: both leave it.
        drop(incoming);
        let mut incoming = begin();
        assert!(incoming.written() == 700 && incoming.check().is_err());
        incoming.write(&bytes[700..2_000]).expect("fits");
        std::mem::forget(incoming);
        let mut incoming = begin();
        assert_eq!(incoming.written(), 2_000);
        incoming.write(&bytes[2_000..]).expect("fits");
        let mut arrived = incoming.finish(Some(size), MTIME).expect("whole");
        store.place([&mut arrived]).expect("places");
        drop(arrived);
        assert!(store.is_whole(digest, size));
        assert_eq!(names(&tmp), [""; 0]);
        let found = fs::metadata(store.path(digest)).expect("exists");
        assert_eq!((found.mtime(), found.mode() & 0o7777), (MTIME.unix(), BLOB_MODE));
    }

    #[test]
    fn what_is_left_is_read_no_longer_than_somebody_waits_and_stays() {
        let (place, store) = store();
        let tmp = place.path().join("tmp");
        let bytes = large().repeat(2);
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let inbox = store.inbox(&tmp).expect("opens");
        let checksum = Checksum::Sha256(digest);
        let mut incoming = inbox.begin_or_continue(checksum, size, || true).expect("begins");
        incoming.write(&bytes[1..]).expect("fits");
        drop(incoming);
        let asked = std::cell::Cell::new(0);
        let ended = inbox.begin_or_continue(checksum, size, || {
            asked.set(asked.get() + 1);
            false
        });
        assert!(matches!(ended, Err(BlobError::Unwanted)), "{ended:?}");
        assert_eq!(asked.get(), 2, "once in the file, and once why");
        assert_eq!(names(&tmp), [format!("{digest}.part")]);
        let incoming = inbox.begin_or_continue(checksum, size, || true).expect("begins");
        assert_eq!(incoming.written(), size - 1);
    }

    #[test]
    fn wrong_bytes_are_not_continued() {
        let (place, store) = store();
        let tmp = place.path().join("tmp");
        let bytes = large();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let inbox = store.inbox(&tmp).expect("opens");
        let mut incoming = inbox
            .begin_or_continue(Checksum::Sha256(digest), size, || true)
            .expect("begins");
        incoming.write(b"wrong").expect("fits");
        incoming.restart().expect("empties");
        incoming.write(&bytes[1..]).expect("fits");
        incoming.write(b"!").expect("fits");
        assert!(incoming.finish(Some(size), MTIME).is_err());
        assert_eq!(names(&tmp), [""; 0]);

        let mut incoming = inbox
            .begin_or_continue(Checksum::Sha256(digest), size, || true)
            .expect("begins");
        incoming.write(b"some").expect("fits");
        drop(incoming);
        assert_eq!(names(&tmp), [format!("{digest}.part")]);
        let shorter = inbox
            .begin_or_continue(Checksum::Sha256(digest), LEAST_CONTINUED, || true)
            .expect("begins");
        assert_eq!(shorter.written(), 4);
        shorter.discard();
        assert_eq!(names(&tmp), [""; 0]);

        fs::write(tmp.join(format!("{digest}.part")), "xxxxxxxxx").expect("writes");
        drop(
            inbox
                .begin_or_continue(Checksum::Sha256(digest), size, || true)
                .expect("begins"),
        );
        inbox.discard_incomplete();
        assert_eq!(names(&tmp), [""; 0]);
    }

    #[test]
    fn what_is_planted_as_incomplete_is_not_written_to() {
        let (place, store) = store();
        let tmp = place.path().join("tmp");
        let bytes = large();
        let digest = Digest::of(&bytes);
        let inbox = store.inbox(&tmp).expect("opens");
        let precious = place.path().join("precious");
        fs::write(&precious, "precious").expect("writes");
        let planted = tmp.join(format!("{digest}.part"));
        for plant in [
            &(|| fs::hard_link(&precious, &planted)) as &dyn Fn() -> io::Result<()>,
            &|| symlink(&precious, &planted),
        ] {
            plant().expect("plants");
            let mut incoming = inbox
                .begin_or_continue(Checksum::Sha256(digest), bytes.len() as u64, || true)
                .expect("begins");
            assert_eq!(incoming.written(), 0);
            incoming.write(&bytes).expect("fits");
            incoming.discard();
            assert_eq!(fs::read(&precious).expect("reads"), b"precious");
        }
    }

    #[test]
    fn two_files_with_the_same_bytes_do_not_clash() {
        let (place, store) = store();
        let tmp = place.path().join("tmp");
        let inbox = store.inbox(&tmp).expect("opens");
        let (one, two) = (receive(&inbox, b"hello"), receive(&inbox, b"hello"));
        assert_eq!(names(&tmp).len(), 2);
        for mut arrived in [one, two] {
            store.place([&mut arrived]).expect("places");
        }
        assert!(store.is_whole(Digest::of(b"hello"), 5));
        assert_eq!(names(&tmp).len(), 0);
    }

    #[test]
    fn links_never_lead_out_of_the_inbox() {
        let (place, store) = store();
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("mirror")).expect("makes");
        let precious = elsewhere.join("mirror").join("precious");
        fs::write(&precious, "precious").expect("writes");
        let tmp = place.path().join("tmp");
        fs::create_dir(&tmp).expect("makes");

        symlink(elsewhere.join("mirror"), tmp.join("mirror")).expect("links");
        assert!(store.inbox(&tmp.join("mirror")).is_err());
        symlink(&elsewhere, place.path().join("linked")).expect("links");
        assert!(store.inbox(&place.path().join("linked/mirror")).is_err());
        assert!(precious.exists());

        fs::create_dir(tmp.join("other")).expect("makes");
        let named = tmp.join("other").join(Digest::of(b"precious").to_string());
        fs::set_permissions(&precious, fs::Permissions::from_mode(BLOB_MODE)).expect("sets");
        for planted in [&named, &tmp.join("other/7")] {
            symlink(&precious, planted).expect("links");
        }
        let inbox = store.inbox(&tmp.join("other")).expect("opens");
        assert!(inbox.adopted().is_empty());
        assert_eq!(names(&tmp.join("other")).len(), 0, "links go themselves");
        assert!(precious.exists());

        let mut arrived = receive(&inbox, b"hello");
        fs::rename(tmp.join("other"), tmp.join("moved")).expect("moves");
        symlink(elsewhere.join("mirror"), tmp.join("other")).expect("links");
        store.place([&mut arrived]).expect("works in the directory it opened");
        drop(arrived);
        assert_eq!(names(&tmp.join("moved")).len(), 0);
    }

    #[test]
    fn links_never_lead_out_of_the_store() {
        let (place, store) = store();
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("makes");
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).expect("sets");
        let digest = Digest::of(b"hello");
        let path = store.path(digest);
        symlink(&elsewhere, path.parent().expect("has a parent")).expect("links");
        assert!(store.place([&mut arrive(&place, &store, b"hello")]).is_err());
        assert_eq!(names(&elsewhere).len(), 0);
        fs::write(elsewhere.join(digest.to_string()), "hello").expect("writes");
        assert!(store.remove(digest).is_err() && store.read(digest).is_err() && !store.has(digest, 5));
        assert_eq!(names(&elsewhere).len(), 1);
        assert_eq!(fs::metadata(&elsewhere).expect("exists").mode() & 0o7777, 0o700);

        let linked = place.path().join("linked");
        symlink(place.path().join("blobs"), &linked).expect("links");
        assert!(BlobStore::open(&linked, None).is_err());
    }
}

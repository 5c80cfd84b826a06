//! Bytes that are on this machine already, on their way into the store.
//!
//! Owns the choice of how a file of an archive on a disk becomes a file of the inbox: as a clone that shares its
//! blocks where the file system has such, else as another name of the same file where the caller allows that, else as
//! a copy. Whatever the way, what is hashed is what lies in the inbox then, not what lay elsewhere before.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

use super::incoming::{Arrived, Inbox, Incoming};
use super::{BlobError, CHUNK};
use crate::model::{Checksum, Timestamp};

/// Whether the store may have a file together with whoever it is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// No: whoever has it may write to it later.
    Never,
    /// Yes, under a second name, where blocks cannot be shared otherwise. It becomes a blob with a blob's mode and owner
    /// under its first name too.
    Links,
}

/// What is known of a file before it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its length in bytes, where that is known.
    pub size: Option<u64>,
    /// What its bytes are checked against.
    pub checksum: Checksum,
    /// The modification time to serve it with.
    pub mtime: Timestamp,
}

impl Inbox {
    /// Takes the open file `source`, which must be what is `expected`. Tells `heard` how many bytes more were looked at,
    /// and stops when it answers false.
    ///
    /// # Errors
    /// When the bytes are not those expected, or one of the file systems refuses.
    pub fn take(
        &self,
        source: &File,
        expected: Expected,
        sharing: Sharing,
        mut heard: impl FnMut(u64) -> bool,
    ) -> Result<Arrived, BlobError> {
        let facts = source.metadata().map_err(reading)?;
        let (size, got) = (expected.size.unwrap_or(facts.len()), facts.len());
        if got > size {
            return Err(BlobError::TooLong(size));
        }
        if got < size {
            return Err(BlobError::TooShort { expected: size, got });
        }
        let mut incoming = self.begin(size, Some(expected.checksum))?;
        let shared = incoming.clone_of(source) || sharing == Sharing::Links && incoming.link_to(source);
        let mut copy = if shared { Some(incoming.reopened()?) } else { None };
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = match &mut copy {
                Some(there) => there.read(&mut buffer),
                None => (&mut &*source).read(&mut buffer),
            };
            match n {
                Ok(0) => break,
                Ok(n) if !heard(n as u64) => return Err(reading(io::Error::other(format!("stopped after {n} bytes")))),
                Ok(n) if shared => incoming.look_at(&buffer[..n])?,
                Ok(n) => incoming.write(&buffer[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reading(error)),
            }
        }
        incoming.finish(Some(size), expected.mtime)
    }
}

impl Incoming {
    /// Makes the empty file share the blocks of `source`; false where the file system cannot.
    fn clone_of(&self, source: &File) -> bool {
        rustix::fs::ioctl_ficlone(self.file(), source).is_ok()
    }

    /// Puts `source` itself in the place of the empty file; false where that cannot be, or where this process could not
    /// give it the mode of a blob.
    fn link_to(&mut self, source: &File) -> bool {
        let (Ok(ours), Ok(theirs)) = (self.file().metadata(), source.metadata()) else {
            return false;
        };
        // What this process makes belongs to it: 0 may change everything.
        (ours.uid() == 0 || ours.uid() == theirs.uid()) && self.become_link(source).is_ok()
    }
}

fn reading(source: io::Error) -> BlobError {
    BlobError::Source(source)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::BlobStore;
    use super::*;
    use crate::model::Digest;

    struct House {
        place: tempfile::TempDir,
        store: BlobStore,
        inbox: Inbox,
    }

    fn house() -> House {
        let place = tempfile::tempdir().expect("temporary directory");
        fs::create_dir(place.path().join("blobs")).expect("makes");
        let store = BlobStore::open(&place.path().join("blobs"), None).expect("opens");
        let inbox = store.inbox(&place.path().join("tmp")).expect("opens");
        fs::write(place.path().join("file"), "hello").expect("writes");
        House { place, store, inbox }
    }

    impl House {
        fn take(&self, sharing: Sharing, text: &[u8]) -> Result<Arrived, BlobError> {
            let source = File::open(self.place.path().join("file")).expect("opens");
            let expected = Expected {
                size: Some(text.len() as u64),
                checksum: Checksum::Sha256(Digest::of(text)),
                mtime: Timestamp::from_unix(1_600_000_000),
            };
            self.inbox.take(&source, expected, sharing, |_| true)
        }

        fn file(&self) -> fs::Metadata {
            fs::metadata(self.place.path().join("file")).expect("is there")
        }

        fn inbox_is_empty(&self) -> bool {
            fs::read_dir(self.place.path().join("tmp")).expect("is there").count() == 0
        }
    }

    #[test]
    fn a_file_that_may_not_be_shared_is_copied_or_cloned() {
        let house = house();
        let before = house.file();
        house
            .store
            .place([&mut house.take(Sharing::Never, b"hello").expect("takes")])
            .expect("places");
        assert!(house.store.is_whole(Digest::of(b"hello"), 5));
        let after = house.file();
        assert_eq!(
            (after.nlink(), after.mode(), after.mtime()),
            (1, before.mode(), before.mtime())
        );
        fs::write(house.place.path().join("file"), "jello").expect("writes");
        assert!(house.store.is_whole(Digest::of(b"hello"), 5));
    }

    #[test]
    fn a_file_that_may_be_shared_is_not_copied() {
        let house = house();
        house
            .store
            .place([&mut house.take(Sharing::Links, b"hello").expect("takes")])
            .expect("places");
        assert!(house.store.is_whole(Digest::of(b"hello"), 5));
        let after = house.file();
        // Where blocks can be shared, there is no need for a second name.
        if after.nlink() == 2 {
            assert_eq!((after.mode() & 0o7777, after.mtime()), (0o444, 1_600_000_000));
        }
        assert!(house.inbox_is_empty());
    }

    #[test]
    fn what_is_not_as_expected_is_neither_taken_nor_touched() {
        let house = house();
        let path = house.place.path().join("file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("sets");
        for sharing in [Sharing::Never, Sharing::Links] {
            assert!(matches!(house.take(sharing, b"jello"), Err(BlobError::Different(_))));
            assert!(matches!(house.take(sharing, b"hell"), Err(BlobError::TooLong(4))));
            assert!(matches!(
                house.take(sharing, b"hello!"),
                Err(BlobError::TooShort { .. })
            ));
            assert!(house.inbox_is_empty());
            assert_eq!((house.file().nlink(), house.file().mode() & 0o7777), (1, 0o640));
        }
    }

    #[test]
    fn taking_stops_when_nobody_wants_it_any_more() {
        let house = house();
        let source = File::open(house.place.path().join("file")).expect("opens");
        let expected = Expected {
            size: Some(5),
            checksum: Checksum::Sha256(Digest::of(b"hello")),
            mtime: Timestamp::from_unix(0),
        };
        house
            .inbox
            .take(&source, expected, Sharing::Links, |_| false)
            .expect_err("stopped");
        assert!(house.inbox_is_empty());
        assert!(fs::read(house.place.path().join("file")).expect("is there") == b"hello");
    }
}

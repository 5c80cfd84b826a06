//! Bytes that are on this machine already, on their way into the store.
//!
//! Owns the choice of how a file of an archive on a disk becomes a file of the inbox: as a clone that shares its
//! blocks where the file system has such, else as another name of the same file where the caller allows that, else as
//! a copy. Whatever the way, what is hashed is what lies in the inbox then, not what lay elsewhere before.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, fchown};

use super::incoming::{Arrived, Inbox, Incoming};
use super::{BlobError, CHUNK, sys};
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
        let cloned = incoming.clone_of(source);
        let linked = if !cloned && sharing == Sharing::Links {
            incoming.link_to(source)
        } else {
            None
        };
        let shared = cloned || linked.is_some();
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
        let arrived = incoming.finish(Some(size), expected.mtime)?;
        if linked.is_some_and(|lease| !lease.held()) {
            // Somebody opened it for writing before it had the mode of a blob, and gets to it now.
            drop(arrived);
            return self.take(source, expected, Sharing::Never, heard);
        }
        Ok(arrived)
    }

    /// Which files [`Inbox::take`] takes without bytes of their own, if links are allowed. Tries on files of its own.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn sharable(&self) -> Result<Sharable, BlobError> {
        let (tried, clone) = (self.begin(0, None)?, self.begin(0, None)?);
        let file = tried.reopened()?;
        let facts = file.metadata().map_err(reading)?;
        let clones = clone.clone_of(&file);
        // It must not be open for writing any more.
        drop(tried);
        let links = Lease::of(&file).is_some();
        // 0 may change everything; in a container, it may lack the capability to have leases of what belongs to others.
        let of_all = facts.uid() == 0 && fchown(&file, Some(SOMEBODY), None).is_ok() && Lease::of(&file).is_some();
        Ok(Sharable {
            device: facts.dev(),
            owner: (!of_all).then_some(facts.uid()),
            clones,
            links,
        })
    }
}

/// A user that is not root; no user need have this number.
const SOMEBODY: u32 = 1;

/// The files that an inbox takes without bytes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharable {
    device: u64,
    /// Whose they must be to be linked; `None`: anybody's.
    owner: Option<u32>,
    clones: bool,
    links: bool,
}

impl Sharable {
    /// Whether the file with these facts is among them, unless somebody writes to it meanwhile.
    #[must_use]
    pub fn covers(&self, file: &Metadata) -> bool {
        let own = self.owner.is_none_or(|owner| owner == file.uid());
        file.dev() == self.device && (self.clones || self.links && own)
    }
}

/// The kernel's word that nobody has a file open for writing, or can, unnoticed.
#[derive(Debug)]
struct Lease<'f>(&'f File);

impl<'f> Lease<'f> {
    /// Of `file`, which is open for reading alone; `None` while somebody writes to it, or where there are no leases.
    fn of(file: &'f File) -> Option<Self> {
        sys::lease(file).ok().map(|()| Self(file))
    }

    /// Whether nobody has asked to write since.
    fn held(&self) -> bool {
        sys::is_leased(self.0)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // What cannot be given back ends when the file is closed.
        drop(sys::end_lease(self.0));
    }
}

impl Incoming {
    /// Makes the empty file share the blocks of `source`; false where the file system cannot.
    fn clone_of(&self, source: &File) -> bool {
        rustix::fs::ioctl_ficlone(self.file(), source).is_ok()
    }

    /// Puts `source` itself in the place of the empty file, while nobody can write to it unnoticed; `None` where that
    /// cannot be, or where this process could not give it the mode of a blob.
    ///
    /// The lease has to be held until it has that mode: who has opened it before keeps the right to write.
    fn link_to<'f>(&mut self, source: &'f File) -> Option<Lease<'f>> {
        let (ours, theirs) = (self.file().metadata().ok()?, source.metadata().ok()?);
        // What this process makes belongs to it: 0 may change everything.
        if ours.uid() != 0 && ours.uid() != theirs.uid() {
            return None;
        }
        let lease = Lease::of(source)?;
        self.become_link(source).is_ok().then_some(lease)
    }
}

fn reading(source: io::Error) -> BlobError {
    BlobError::Source(source)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

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
    fn a_file_that_somebody_can_write_to_is_not_shared() {
        let house = house();
        let mut writer = fs::OpenOptions::new()
            .write(true)
            .open(house.place.path().join("file"))
            .expect("opens");
        house
            .store
            .place([&mut house.take(Sharing::Links, b"hello").expect("takes")])
            .expect("places");
        assert_eq!(house.file().nlink(), 1);
        writer.write_all(b"jello").expect("writes");
        assert!(
            house.store.is_whole(Digest::of(b"hello"), 5),
            "the blob is another file"
        );
        drop(writer);
        assert_eq!(fs::read(house.place.path().join("file")).expect("is there"), b"jello");
    }

    /// Opens the file for writing while it is taken, and is not kept waiting.
    #[test]
    fn a_file_that_somebody_opens_for_writing_meanwhile_is_not_shared() {
        let house = house();
        let path = house.place.path().join("file");
        let source = File::open(&path).expect("opens");
        let expected = Expected {
            size: Some(5),
            checksum: Checksum::Sha256(Digest::of(b"hello")),
            mtime: Timestamp::from_unix(0),
        };
        let linked = |_| {
            if house.file().nlink() == 2 {
                let opened = fs::OpenOptions::new()
                    .write(true)
                    .custom_flags(libc::O_NONBLOCK)
                    .open(&path);
                assert_eq!(opened.expect_err("is leased").kind(), io::ErrorKind::WouldBlock);
            }
            true
        };
        let arrived = house.inbox.take(&source, expected, Sharing::Links, linked);
        house.store.place([&mut arrived.expect("takes")]).expect("places");
        assert_eq!(house.file().nlink(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("sets");
        fs::write(&path, "jello").expect("nobody has a lease of it any more");
        assert!(house.store.is_whole(Digest::of(b"hello"), 5));
    }

    #[test]
    fn it_is_known_before_which_files_are_shared() {
        let house = house();
        let facts = house.file();
        let sharable = house.inbox.sharable().expect("looks");
        assert!(house.inbox_is_empty());
        assert_eq!(sharable.device, facts.dev());
        let arrived = house.take(Sharing::Links, b"hello").expect("takes");
        assert_eq!(
            sharable.covers(&facts),
            sharable.clones || house.file().nlink() == 2,
            "{sharable:?}"
        );
        drop(arrived);
        let by = |owner, links, clones| Sharable {
            device: facts.dev(),
            owner,
            clones,
            links,
        };
        let (own, other) = (Some(facts.uid()), Some(facts.uid() + 1));
        for (sharable, expected) in [
            (by(None, true, false), true),
            (by(own, true, false), true),
            (by(other, true, false), false),
            (by(other, true, true), true),
            (by(own, false, false), false),
        ] {
            assert_eq!(sharable.covers(&facts), expected, "{sharable:?}");
            let elsewhere = Sharable {
                device: facts.dev() + 1,
                ..sharable
            };
            assert!(!elsewhere.covers(&facts));
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

//! Looking at blobs again, long after they came: what stands in their places, and whether it is still whole.
//!
//! Owns the look at single files, the hashing of them as the disk has them, and the way of bad ones into the quarantine.
//! It decides nothing: what a look means, and which blobs there should be, is for the callers to say. A bad file is moved,
//! never removed, and never followed where it leads elsewhere.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Advice, Mode};

use super::directory::{Directory, Entry};
use super::layout::Place;
use super::{BLOB_MODE, BlobError, BlobStore};
use crate::model::{Digest, Hasher};

/// Most names that one digest has in the quarantine. A blob that goes bad so often has a bad disk.
const MOST_ASIDE: u32 = 1_000;

/// What stands in the place of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Its length in bytes.
    pub size: u64,
    /// Whether everybody may read it and nobody write to it.
    pub has_right_mode: bool,
    identity: Identity,
}

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// What became of a bad file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It has this name in the quarantine now.
    To(String),
    /// There is nothing in the blob's place.
    Nothing,
    /// Another file has come to the blob's place meanwhile, and stays there.
    Replaced,
}

/// Where bad files go.
#[derive(Debug)]
pub struct Quarantine {
    directory: Directory,
}

impl Quarantine {
    /// Opens the quarantine in the existing directory `path`, which must not be a link.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, BlobError> {
        Ok(Self {
            directory: Directory::open(path)?,
        })
    }

    /// Number of things in it, and the bytes of those that are files.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self) -> Result<(u64, u64), BlobError> {
        let read = || -> io::Result<(u64, u64)> {
            let (mut count, mut bytes) = (0, 0);
            for name in self.directory.names()? {
                if let Some(entry) = found(self.directory.entry(name.as_c_str()))? {
                    count += 1;
                    bytes += if entry.is_file { entry.size } else { 0 };
                }
            }
            Ok((count, bytes))
        };
        read().map_err(BlobError::io("read", self.directory.path()))
    }
}

impl Sight {
    /// Which file it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    fn of(entry: Entry) -> Self {
        Self {
            is_file: entry.is_file,
            size: entry.size,
            has_right_mode: entry.permissions == BLOB_MODE,
            identity: Identity {
                device: entry.device,
                inode: entry.inode,
            },
        }
    }
}

impl BlobStore {
    /// What stands in the place of a blob; `None` when nothing does.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn sight(&self, digest: Digest) -> io::Result<Option<Sight>> {
        let blob = Place::of(digest);
        let Some(directory) = reached(self.root.child(blob.directory()))? else {
            return Ok(None);
        };
        Ok(found(directory.entry(blob.name()))?.map(Sight::of))
    }

    /// The digest of the bytes in the place of a blob, as they are on the disk; `None` when `goes_on`, which is told of every
    /// piece, ended it. What the system keeps of the file in memory is given up before and after: hashing it there would say
    /// nothing of the disk, and keeping it would drive out what is in use.
    ///
    /// # Errors
    /// When the file is none or cannot be read.
    pub fn rehash(
        &self,
        digest: Digest,
        buffer: &mut [u8],
        mut goes_on: impl FnMut(u64) -> bool,
    ) -> io::Result<Option<Digest>> {
        let mut file = self.open_regular(digest)?;
        forget(&file);
        let mut hasher = Hasher::new();
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    if !goes_on(n as u64) {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        forget(&file);
        Ok(Some(hasher.finish()))
    }

    /// Moves the bad file in the place of a blob to `quarantine`, if it still is the file `bad`.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn set_aside(&self, digest: Digest, bad: Identity, quarantine: &Quarantine) -> Result<Moved, BlobError> {
        let put_aside = || -> io::Result<Moved> {
            let blob = Place::of(digest);
            let Some(directory) = reached(self.root.child(blob.directory()))? else {
                return Ok(Moved::Nothing);
            };
            match found(directory.entry(blob.name()))?.map(Sight::of) {
                None => Ok(Moved::Nothing),
                Some(there) if there.identity != bad => Ok(Moved::Replaced),
                Some(_) => move_aside((&directory, blob.name()), bad, &quarantine.directory),
            }
        };
        put_aside().map_err(BlobError::io("put aside", &self.path(digest)))
    }

    /// Gives a blob's file, whose bytes are right, the mode that it should have.
    ///
    /// # Errors
    /// When it is not a file or not ours.
    pub fn mend_mode(&self, digest: Digest) -> Result<(), BlobError> {
        let mend = || -> io::Result<()> {
            let file = self.open_regular(digest)?;
            Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(BLOB_MODE))?)
        };
        mend().map_err(BlobError::io("set the mode of", &self.path(digest)))
    }

    /// The names in one of the 256 directories of blobs, each with its path below the store, and what digest it is the place
    /// of, if it is one.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self, first: u8) -> Result<Vec<(String, Option<Digest>)>, BlobError> {
        let directory = format!("{first:02x}");
        let read = || -> io::Result<Vec<(String, Option<Digest>)>> {
            let Some(open) = reached(self.root.child(&directory))? else {
                return Ok(Vec::new());
            };
            let names = open.names()?.into_iter().map(|name| {
                let name = name.to_string_lossy().into_owned();
                let digest = name.parse().ok().filter(|digest| {
                    let place = Place::of(*digest);
                    place.name() == name && place.directory() == directory
                });
                (format!("{directory}/{name}"), digest)
            });
            Ok(names.collect())
        };
        read().map_err(BlobError::io("read", &self.root.path().join(&directory)))
    }

    /// The names in the store beside the directories of blobs.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names_beside(&self) -> Result<Vec<String>, BlobError> {
        let names = self.root.names().map_err(BlobError::io("read", self.root.path()))?;
        let names = names.into_iter().map(|name| name.to_string_lossy().into_owned());
        Ok(names.filter(|name| !is_directory_of_blobs(name)).collect())
    }

    /// Whether there is no directory of blobs at all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_empty(&self) -> Result<bool, BlobError> {
        let names = self.root.names().map_err(BlobError::io("read", self.root.path()))?;
        Ok(!names.iter().any(|name| name.to_str().is_ok_and(is_directory_of_blobs)))
    }
}

fn is_directory_of_blobs(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Moves the file `name` of `directory` to a name of its own in the quarantine. When that was another file than the bad one,
/// which came in the last moment, it goes back.
fn move_aside((directory, name): (&Directory, &str), bad: Identity, quarantine: &Directory) -> io::Result<Moved> {
    for number in 1..=MOST_ASIDE {
        let aside = if number == 1 {
            name.to_owned()
        } else {
            format!("{name}-{number}")
        };
        match directory.rename_new(name, quarantine, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Moved::Nothing),
            moved => moved?,
        }
        if Sight::of(quarantine.entry(aside.as_str())?).identity == bad {
            return Ok(Moved::To(aside));
        }
        quarantine.rename_new(&aside, directory, name)?;
        return Ok(Moved::Replaced);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// `None` for what does not exist.
fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// `None` for a directory of blobs that does not exist, or in whose place something else stands: then its files are gone.
fn reached(directory: io::Result<Directory>) -> io::Result<Option<Directory>> {
    match directory {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => Ok(None),
        reached => reached.map(Some),
    }
}

/// Gives up what the system keeps of a file in memory. Where that is not possible, nothing is lost but memory.
fn forget(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::model::Timestamp;

    struct House {
        place: tempfile::TempDir,
        store: BlobStore,
        quarantine: Quarantine,
    }

    impl House {
        fn new() -> Self {
            let place = tempfile::tempdir().expect("temporary directory");
            for name in ["blobs", "quarantine"] {
                fs::create_dir(place.path().join(name)).expect("makes");
            }
            Self {
                store: BlobStore::open(&place.path().join("blobs"), None).expect("opens"),
                quarantine: Quarantine::open(&place.path().join("quarantine")).expect("opens"),
                place,
            }
        }

        fn add(&self, bytes: &[u8]) -> Digest {
            let inbox = self.store.inbox(&self.place.path().join("tmp")).expect("opens");
            let mut incoming = inbox.begin(bytes.len() as u64, None).expect("begins");
            incoming.write(bytes).expect("fits");
            let mut arrived = incoming.finish(None, Timestamp::from_unix(0)).expect("arrives");
            self.store.place([&mut arrived]).expect("places");
            Digest::of(bytes)
        }

        fn aside(&self) -> Vec<String> {
            let names = fs::read_dir(self.place.path().join("quarantine")).expect("exists");
            let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
            let mut names: Vec<String> = names.map(|entry| name(entry).expect("text")).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_whole_blob_is_seen_as_it_is() {
        let house = House::new();
        let digest = house.add(b"hello");
        let sight = house.store.sight(digest).expect("looks").expect("is there");
        assert!(sight.is_file && sight.has_right_mode && sight.size == 5);
        let mut pieces = Vec::new();
        let hashed = house.store.rehash(digest, &mut [0; 2], |bytes| {
            pieces.push(bytes);
            true
        });
        assert_eq!((hashed.expect("reads"), pieces), (Some(digest), vec![2, 2, 1]));
        assert_eq!(house.store.rehash(digest, &mut [0; 2], |_| false).expect("reads"), None);
        assert_eq!(house.store.sight(Digest::of(b"x")).expect("looks"), None);
        let place = Place::of(digest);
        let name = format!("{}/{digest}", place.directory());
        let first = digest.as_bytes()[0];
        assert_eq!(house.store.names(first).expect("lists"), [(name, Some(digest))]);
        assert_eq!(house.store.names(first.wrapping_add(1)).expect("lists"), []);
        assert!(!house.store.is_empty().expect("looks") && House::new().store.is_empty().expect("looks"));
    }

    #[test]
    fn whatever_stands_in_its_place_is_put_aside_and_never_removed() {
        let house = House::new();
        let digest = house.add(b"hello");
        let path = house.store.path(digest);
        let elsewhere = house.place.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("makes");
        let plant: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "hellO").expect("writes"),
            &|| symlink(&elsewhere, &path).expect("links"),
            &|| fs::create_dir(&path).expect("makes"),
            &|| rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::from_raw_mode(0o600)).expect("makes"),
        ];
        fs::remove_file(&path).expect("removes");
        for (number, plant) in plant.iter().enumerate() {
            plant();
            let sight = house.store.sight(digest).expect("looks").expect("is there");
            assert_eq!((sight.is_file, sight.has_right_mode), (number == 0, false));
            let moved = house.store.set_aside(digest, sight.identity(), &house.quarantine);
            let name = if number == 0 {
                digest.to_string()
            } else {
                format!("{digest}-{}", number + 1)
            };
            assert_eq!(moved.expect("moves"), Moved::To(name));
            assert_eq!(house.store.sight(digest).expect("looks"), None);
            let again = house.store.set_aside(digest, sight.identity(), &house.quarantine);
            assert_eq!(again.expect("looks"), Moved::Nothing);
        }
        assert_eq!(house.aside().len(), plant.len());
        let (count, bytes) = house.quarantine.contents().expect("counts");
        assert_eq!((count, bytes), (4, 5));
        assert!(elsewhere.exists());
    }

    #[test]
    fn a_file_that_came_meanwhile_stays() {
        let house = House::new();
        let digest = house.add(b"hello");
        let path = house.store.path(digest);
        let old = house.store.sight(digest).expect("looks").expect("is there").identity();
        // Kept, so that its number is not given out again.
        fs::rename(&path, house.place.path().join("old")).expect("moves");
        house.add(b"hello");
        let moved = house.store.set_aside(digest, old, &house.quarantine).expect("looks");
        assert_eq!((moved, house.aside().len()), (Moved::Replaced, 0));
        // In the last moment: between the look and the move.
        let blob = Place::of(digest);
        let directory = house.store.root.child(blob.directory()).expect("opens");
        let moved = move_aside((&directory, blob.name()), old, &house.quarantine.directory).expect("moves");
        assert_eq!((moved, house.aside().len()), (Moved::Replaced, 0));
        assert!(house.store.is_whole(digest, 5));
    }

    #[test]
    fn modes_are_mended() {
        let house = House::new();
        let digest = house.add(b"hello");
        let path = house.store.path(digest);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("sets");
        assert!(
            !house
                .store
                .sight(digest)
                .expect("looks")
                .expect("is there")
                .has_right_mode
        );
        house.store.mend_mode(digest).expect("mends");
        assert!(
            house
                .store
                .sight(digest)
                .expect("looks")
                .expect("is there")
                .has_right_mode
        );
    }

    #[test]
    fn what_is_no_blob_has_no_digest() {
        let house = House::new();
        let digest = house.add(b"hello");
        let directory = house.store.path(digest).parent().expect("has one").to_owned();
        let other = Digest::of(b"other").to_string();
        for name in [other.as_str(), "notes"] {
            fs::write(directory.join(name), "").expect("writes");
        }
        fs::write(house.place.path().join("blobs/README"), "").expect("writes");
        let mut names = house.store.names(digest.as_bytes()[0]).expect("lists");
        names.retain(|(_, known)| known.is_none());
        assert_eq!(names.len(), 2);
        assert_eq!(house.store.names_beside().expect("lists"), ["README"]);
    }
}

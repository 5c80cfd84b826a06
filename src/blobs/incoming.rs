//! Bytes on their way into the store.
//!
//! Owns the files in `tmp/<mirror>/`: each is written once, hashed while it is written, never longer than announced,
//! and removed unless the process dies. A finished file has its digest for its name, so that whoever comes after a dead
//! process knows what need not be fetched again, and reads it to make sure. A file that is being written has the digest
//! it is expected to have, which saves a renaming, or a number where none is known. A large one has `.part` behind it and
//! stays when it is given up: whoever wants it next goes on where it ended. It never gives a file its final name: the
//! store does, after the bytes are durable.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

use super::directory::{Directory, Owner, give};
use super::{BLOB_MODE, BlobError, Mismatch, hash, read_all};
use crate::model::{Checksum, ContentHasher, ContentHashes, Digest, Sha512, Timestamp};

/// Files below this length, in bytes, are not kept when they are incomplete: fetching them again costs less than keeping
/// their names does.
pub const LEAST_CONTINUED: u64 = 1 << 20;

/// What the name of an incomplete file ends with.
const PART: &str = ".part";

/// The bits of a file's mode that say who may do what.
const PERMISSIONS: u32 = 0o7777;

/// A directory for files on their way in. One process at a time uses it.
#[derive(Debug)]
pub struct Inbox {
    directory: Arc<Directory>,
    owner: Owner,
    next: AtomicU64,
    /// Names of finished files that an earlier process left.
    left: Mutex<Vec<Digest>>,
}

impl Inbox {
    pub(super) fn open(path: &Path, owner: Owner) -> Result<Self, BlobError> {
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(parent), Some(name)) = (path.parent(), name) else {
            return Err(BlobError::io("open", path)(io::ErrorKind::InvalidInput.into()));
        };
        let directory = Directory::open(parent)?.child_or_new(name, owner)?;
        let left = clear(&directory).map_err(BlobError::io("clear", path))?;
        Ok(Self {
            directory: Arc::new(directory),
            owner,
            next: AtomicU64::new(0),
            left: Mutex::new(left),
        })
    }

    /// The finished files that an earlier process left, each with the modification time to serve it with. Reads them
    /// whole: what is not what its name says is removed. Answers every file once.
    #[must_use]
    pub fn adopted(&self) -> Vec<(Arrived, Timestamp)> {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        left.into_iter().filter_map(|digest| self.adopt(digest)).collect()
    }

    fn adopt(&self, digest: Digest) -> Option<(Arrived, Timestamp)> {
        let place = self.place(digest.to_string());
        let read = || -> io::Result<(ContentHashes, u64, Timestamp)> {
            let mut file = self.directory.read(&place.name)?;
            let found = file.metadata()?;
            if found.mode() & PERMISSIONS != BLOB_MODE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            // Nobody knows any more by which hash it was asked for.
            let hashes = hash(&mut file, ContentHasher::of_everything())?;
            Ok((hashes, found.len(), Timestamp::from_unix(found.mtime())))
        };
        match read() {
            Ok((hashes, size, mtime)) if hashes.digest == digest => Some((Arrived { place, hashes, size }, mtime)),
            _ => None,
        }
    }

    /// Begins a file of at most `longest` bytes, which will be compared with `checksum`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self, longest: u64, checksum: Option<Checksum>) -> Result<Incoming, BlobError> {
        let expected = match checksum {
            Some(Checksum::Sha256(digest)) => self.create(digest.to_string()),
            Some(Checksum::Sha512(_)) | None => self.create_numbered(),
        };
        let created = match expected {
            // Somebody else is at it, or an earlier process was and it has not been adopted.
            Err((_, error)) if error.kind() == io::ErrorKind::AlreadyExists => self.create_numbered(),
            created => created,
        };
        let (file, name) =
            created.map_err(|(name, error)| BlobError::io("create", &self.directory.path().join(name))(error))?;
        Ok(Incoming::new(file, self.place(name), self.owner, (longest, checksum)))
    }

    fn create_numbered(&self) -> Result<(File, String), (String, io::Error)> {
        self.create(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn create(&self, name: String) -> Result<(File, String), (String, io::Error)> {
        match self.directory.create(&name) {
            Ok(file) => Ok((file, name)),
            Err(error) => Err((name, error)),
        }
    }

    /// Begins a file of `size` bytes that is expected to have this checksum, or goes on with what is left of an earlier
    /// attempt at it, which is read whole for that, for as long as `wanted` says so.
    ///
    /// # Errors
    /// When it cannot be made, or [`BlobError::Unwanted`]; what is left stays then.
    pub fn begin_or_continue(
        &self,
        checksum: Checksum,
        size: u64,
        wanted: impl Fn() -> bool,
    ) -> Result<Incoming, BlobError> {
        if size < LEAST_CONTINUED {
            return self.begin(size, Some(checksum));
        }
        let name = name_of_part(checksum);
        if let Some(incoming) = self.continued(&name, checksum, size, &wanted)? {
            return Ok(incoming);
        }
        let place = self.place(name);
        match self.directory.create_continuable(&place.name) {
            Ok(file) => Ok(Incoming {
                continuable: true,
                ..Incoming::new(file, place, self.owner, (size, Some(checksum)))
            }),
            // Somebody else is at it, or what is there can neither be used nor removed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                place.leave();
                self.begin(size, Some(checksum))
            }
            Err(error) => Err(BlobError::io("create", &place.path())(error)),
        }
    }

    /// What is left of the file `name`; removed when it cannot be the beginning of one of `size` bytes.
    fn continued(
        &self,
        name: &str,
        checksum: Checksum,
        size: u64,
        wanted: &impl Fn() -> bool,
    ) -> Result<Option<Incoming>, BlobError> {
        let open = || -> io::Result<Incoming> {
            let mut file = self.directory.reopen(name)?;
            let mut hasher = ContentHasher::comparing_with(Some(checksum));
            let written = read_all(&mut file, |bytes| {
                hasher.update(bytes);
                if wanted() {
                    Ok(())
                } else {
                    Err(io::Error::other("nobody waits for it"))
                }
            })?;
            if written > size {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut place = self.place(name.to_owned());
            place.left = written > 0;
            Ok(Incoming {
                hasher,
                written,
                continuable: true,
                ..Incoming::new(file, place, self.owner, (size, Some(checksum)))
            })
        };
        match open() {
            Ok(incoming) => Ok(Some(incoming)),
            // It was not read whole, so nothing speaks against it.
            Err(_) if !wanted() => Err(BlobError::Unwanted),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    drop(self.directory.remove(name));
                }
                Ok(None)
            }
        }
    }

    /// Removes what is left of files that were given up: nothing needs them any more.
    pub fn discard_incomplete(&self) {
        for name in self.directory.names().unwrap_or_default() {
            if name.to_str().is_ok_and(is_part) {
                // Best effort: the next successful sync comes by here, too.
                drop(self.directory.remove(name.as_c_str()));
            }
        }
    }

    fn place(&self, name: String) -> Place {
        Place {
            directory: Arc::clone(&self.directory),
            name,
            left: false,
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    place: Place,
    owner: Owner,
    hasher: ContentHasher,
    checksum: Option<Checksum>,
    written: u64,
    longest: u64,
    /// Whether what there is of it stays when it is given up.
    continuable: bool,
}

impl Incoming {
    fn new(file: File, place: Place, owner: Owner, (longest, checksum): (u64, Option<Checksum>)) -> Self {
        Self {
            file,
            place,
            owner,
            hasher: ContentHasher::comparing_with(checksum),
            checksum,
            written: 0,
            longest,
            continuable: false,
        }
    }

    /// How many bytes are there.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether what is there is what was announced.
    ///
    /// # Errors
    /// [`BlobError::Different`].
    pub fn check(&self) -> Result<(), BlobError> {
        match self.checksum {
            Some(expected) => compare(self.hasher.clone().finish(), expected),
            None => Ok(()),
        }
    }

    /// Begins again with nothing.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn restart(&mut self) -> Result<(), BlobError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| BlobError::io("empty", &self.place.path())(error))?;
        (self.written, self.place.left) = (0, false);
        self.hasher = ContentHasher::comparing_with(self.checksum);
        Ok(())
    }

    /// Removes it, whatever could have been made of it.
    pub fn discard(mut self) {
        self.place.left = false;
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLong`] when more come than announced, or the file system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.look_at(bytes)?;
        self.place.left = self.continuable;
        self.file
            .write_all(bytes)
            .map_err(|error| BlobError::io("write", &self.place.path())(error))
    }

    /// As [`Incoming::write`], for bytes that the file has already.
    pub(super) fn look_at(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.written += bytes.len() as u64;
        if self.written > self.longest {
            return Err(BlobError::TooLong(self.longest));
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The file, open for reading from its beginning.
    pub(super) fn reopened(&self) -> Result<File, BlobError> {
        let opened = self.place.directory.read(&self.place.name);
        opened.map_err(|error| BlobError::io("open", &self.place.path())(error))
    }

    /// Puts the open file `source` in the place of this one, which is empty. When that cannot be, this one stays.
    pub(super) fn become_link(&mut self, source: &File) -> io::Result<()> {
        let link = format!("{}{LINK}", self.place.name);
        self.place.directory.link_open(source, &link)?;
        let replaced = self.place.directory.read(&link).and_then(|file| {
            self.place
                .directory
                .rename(&link, &self.place.directory, &self.place.name)?;
            Ok(file)
        });
        match replaced {
            Ok(file) => self.file = file,
            Err(error) => {
                // The next inbox of the mirror removes what could not be removed now.
                drop(self.place.directory.remove(link.as_str()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the file, which must have the announced checksum, and the size where it is known, and will be served with the
    /// modification time `mtime`.
    ///
    /// # Errors
    /// When the bytes are not those announced; they are then gone.
    pub fn finish(mut self, size: Option<u64>, mtime: Timestamp) -> Result<Arrived, BlobError> {
        let got = self.hasher.finish();
        // Neither wrong bytes nor finished ones are there to be continued.
        self.place.left = false;
        match (size, self.checksum) {
            (Some(expected), _) if self.written < expected => {
                return Err(BlobError::TooShort {
                    expected,
                    got: self.written,
                });
            }
            (_, Some(expected)) => compare(got, expected)?,
            (_, None) => {}
        }
        let path = self.place.path();
        set_modified(&self.file, mtime).map_err(BlobError::io("date", &path))?;
        give(&self.file, self.owner, BLOB_MODE).map_err(BlobError::io("give away", &path))?;
        self.place.take_name_of(got.digest);
        Ok(Arrived {
            place: self.place,
            hashes: got,
            size: self.written,
        })
    }
}

/// A complete file that has no final name yet. Dropping it removes it from the inbox.
#[derive(Debug)]
#[must_use = "an arrived file is removed unless it is placed"]
pub struct Arrived {
    pub(super) place: Place,
    hashes: ContentHashes,
    size: u64,
}

impl Arrived {
    /// Digest of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hashes.digest
    }

    /// Their SHA-512 hash, where it was computed: when they were compared with one, or arrived in an earlier process.
    #[must_use]
    pub fn sha512(&self) -> Option<Sha512> {
        self.hashes.sha512
    }

    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Leaves the file where it is, for the next inbox to adopt: it could not be made a blob now.
    pub fn leave(mut self) {
        self.place.left = true;
    }
}

/// A name in the inbox, removed with the value.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: Arc<Directory>,
    pub(super) name: String,
    /// Whether it stays when the value goes.
    pub(super) left: bool,
}

impl Place {
    /// Forgets the name, and leaves what has it.
    fn leave(mut self) {
        self.left = true;
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    /// Gives the file its digest for a name, so that it outlives this process. Best effort: where a file with the same bytes
    /// has that name, the number stays and the file is as good as any.
    fn take_name_of(&mut self, digest: Digest) {
        let name = digest.to_string();
        if name != self.name && self.directory.rename_new(&self.name, &self.directory, &name).is_ok() {
            self.name = name;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // Best effort: the next inbox of the mirror removes what could not be removed now.
        drop(self.directory.remove(self.name.as_str()));
    }
}

/// The name of a file that will have this checksum when it is complete.
fn name_of_part(checksum: Checksum) -> String {
    match checksum {
        Checksum::Sha256(digest) => format!("{digest}{PART}"),
        Checksum::Sha512(hash) => format!("{hash}{PART}"),
    }
}

/// What the name of a link ends with that is about to take the place of a file.
const LINK: &str = "-link";

/// Whether `name` is one that an inbox gives.
pub(super) fn is_ours(name: &str) -> bool {
    let plain = name.strip_suffix(LINK).unwrap_or(name);
    let is_number = plain.parse::<u64>().is_ok_and(|number| number.to_string() == plain);
    is_number || is_digest(name) || is_part(name)
}

/// Whether `name` is one that a finished file has.
fn is_digest(name: &str) -> bool {
    name.parse::<Digest>().is_ok_and(|digest| digest.to_string() == name)
}

/// Whether `name` is one that an incomplete file has.
fn is_part(name: &str) -> bool {
    let Some(hex) = name.strip_suffix(PART) else {
        return false;
    };
    let digest = hex.parse().ok().map(Checksum::Sha256);
    let checksum = digest.or_else(|| Sha512::from_hex(hex).map(Checksum::Sha512));
    checksum.is_some_and(|checksum| name_of_part(checksum) == name)
}

fn compare(got: ContentHashes, expected: Checksum) -> Result<(), BlobError> {
    if got.fit(expected) {
        return Ok(());
    }
    let got = got.sha512.map_or(Checksum::Sha256(got.digest), Checksum::Sha512);
    Err(BlobError::Different(Box::new(Mismatch { expected, got })))
}

/// Removes what an earlier process did not finish and nobody can go on with, and answers the names of what it did.
fn clear(directory: &Directory) -> io::Result<Vec<Digest>> {
    let mut finished = Vec::new();
    for name in directory.names()? {
        if name.to_str().is_ok_and(is_part) {
            continue;
        }
        let digest = name.to_str().ok().and_then(|name| name.parse::<Digest>().ok());
        match digest.filter(|digest| digest.to_string().as_bytes() == name.to_bytes()) {
            Some(digest) => finished.push(digest),
            None => directory.remove(name.as_c_str())?,
        }
    }
    Ok(finished)
}

fn set_modified(file: &File, time: Timestamp) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: time.unix(),
            tv_nsec: 0,
        },
    };
    Ok(rustix::fs::futimens(file, &times)?)
}

//! What was made of blobs and can be made again: files beside the cache, each under the digest of its blob.
//!
//! Owns the directory `inventories/` and the way in and out of it. Nothing there is ever needed, so nothing here fails for
//! those who read or keep: what cannot be read is not there, and what cannot be written is not kept. What the bytes mean,
//! and whether they are whole, is for whoever reads them to check: they are not synced, so a power cut may leave anything under
//! a right name. It follows no symbolic link.

use std::ffi::CString;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::directory::{Directory, Owner, give};
use super::{BLOB_MODE, BlobError};
use crate::model::Digest;

/// The directory with what was made of blobs.
#[derive(Debug, Default)]
pub struct Derived {
    /// `None` when there is none, or it cannot be opened.
    directory: Option<Directory>,
    owner: Owner,
    next: AtomicU64,
}

/// A file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedFile {
    name: CString,
    /// The blob that it was made of; `None` for one that was not finished.
    pub of: Option<Digest>,
    /// Length in bytes.
    pub size: u64,
}

impl Derived {
    /// The directory at `path`. Without one, nothing is read or kept.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let opened = Directory::open(path).and_then(|directory| {
            let owner = directory.owner_for_new().map_err(BlobError::io("read", path))?;
            Ok((directory, owner))
        });
        match opened {
            Ok((directory, owner)) => Self {
                directory: Some(directory),
                owner,
                next: AtomicU64::new(0),
            },
            Err(error) => {
                tracing::debug!("Inventories are neither read nor kept: {error}");
                Self::default()
            }
        }
    }

    /// What was made of the blob `of`, unless it is longer than `most` bytes.
    #[must_use]
    pub fn read(&self, of: Digest, most: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.directory.as_ref()?.read(&of.to_string()).ok()?.take(most + 1);
        file.read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= most).then_some(bytes)
    }

    /// Whether there is something under the digest `of`.
    #[must_use]
    pub fn has(&self, of: Digest) -> bool {
        let length = self
            .directory
            .as_ref()
            .map(|directory| directory.length(&of.to_string()));
        matches!(length, Some(Ok(Some(_))))
    }

    /// Whether there is a directory that this user may write to: then making something to keep is no wasted work.
    #[must_use]
    pub fn may_keep(&self) -> bool {
        self.directory.as_ref().is_some_and(Directory::may_be_written)
    }

    /// Keeps what was made of the blob `of`, in the place of what was there. It appears whole or not at all, unless the power
    /// fails.
    pub fn keep(&self, of: Digest, bytes: &[u8]) {
        let Some(directory) = &self.directory else { return };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let unfinished = format!("{of}.{}-{number}", std::process::id());
        let write = || {
            let mut file = directory.create(&unfinished)?;
            let written = file
                .write_all(bytes)
                .and_then(|()| give(&file, self.owner, BLOB_MODE))
                .and_then(|()| directory.rename(&unfinished, directory, &of.to_string()));
            if written.is_err() {
                // Whatever is left of it goes with the next collection.
                drop(directory.remove(&*unfinished));
            }
            written
        };
        if let Err(error) = write() {
            tracing::debug!("The inventory of {of} was not kept: {error}");
        }
    }

    /// What lies there, unfinished files included. Names that are not given here are left out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn files(&self) -> Result<Vec<DerivedFile>, BlobError> {
        let Some(directory) = &self.directory else {
            return Ok(Vec::new());
        };
        let known = |name: &str| match blob_of(name) {
            Some(of) => Some(Some(of)),
            None => is_unfinished(name).then_some(None),
        };
        let files = directory
            .files(known)
            .map_err(BlobError::io("read", directory.path()))?;
        let derived = |(name, of, size, _)| DerivedFile { name, of, size };
        Ok(files.into_iter().map(derived).collect())
    }

    /// Removes one of [`Derived::files`]. One that is gone already is fine; whoever is writing it notices, and keeps nothing.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, file: &DerivedFile) -> Result<(), BlobError> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        directory.discard(&file.name)
    }
}

/// The blob that a file of this name was made of.
fn blob_of(name: &str) -> Option<Digest> {
    let digest = name.parse::<Digest>().ok()?;
    (digest.to_string() == name).then_some(digest)
}

/// Whether a file that is being written can have this name.
fn is_unfinished(name: &str) -> bool {
    let parts = name
        .split_once('.')
        .and_then(|(of, number)| Some((of, number.split_once('-')?)));
    parts.is_some_and(|(of, (process, number))| {
        blob_of(of).is_some() && process.parse::<u32>().is_ok() && number.parse::<u64>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn place() -> (tempfile::TempDir, Derived) {
        let place = tempfile::tempdir().expect("temporary directory");
        let derived = Derived::at(place.path());
        (place, derived)
    }

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_kept_is_read_and_replaced_whole() {
        let (place, derived) = place();
        let of = Digest::of(b"blob");
        assert!(!derived.has(of) && derived.read(of, 99).is_none() && derived.may_keep());
        for bytes in [&b"first"[..], b"second, and longer"] {
            derived.keep(of, bytes);
            assert!(derived.has(of));
            assert_eq!(derived.read(of, 99).as_deref(), Some(bytes));
            assert_eq!(derived.read(of, bytes.len() as u64 - 1), None);
        }
        assert_eq!(names(place.path()), [of.to_string()]);
        let facts = fs::metadata(place.path().join(of.to_string())).expect("exists");
        assert_eq!(facts.mode() & 0o7777, 0o444);
    }

    #[test]
    fn without_a_directory_nothing_is_kept_and_nothing_fails() {
        let (place, _) = place();
        let of = Digest::of(b"blob");
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("makes");
        let (link, file) = (place.path().join("link"), place.path().join("file"));
        symlink(&elsewhere, &link).expect("links");
        fs::write(&file, "").expect("writes");
        for path in [&place.path().join("none"), &link, &file] {
            let derived = Derived::at(path);
            derived.keep(of, b"bytes");
            assert!(!derived.may_keep() && !derived.has(of) && derived.read(of, 99).is_none());
            assert_eq!(derived.files().expect("none"), []);
        }
        assert_eq!(names(&elsewhere), [""; 0]);
    }

    #[test]
    fn links_are_neither_read_nor_written_through() {
        let (place, derived) = place();
        let (of, own) = (Digest::of(b"blob"), tempfile::tempdir().expect("temporary directory"));
        let precious = own.path().join("precious");
        fs::write(&precious, "precious").expect("writes");
        symlink(&precious, place.path().join(of.to_string())).expect("links");
        assert!(!derived.has(of) && derived.read(of, 99).is_none());
        derived.keep(of, b"bytes");
        assert_eq!(derived.read(of, 99).as_deref(), Some(&b"bytes"[..]));
        assert_eq!(fs::read(&precious).expect("reads"), b"precious");
    }

    #[test]
    fn only_names_that_are_given_here_are_listed() {
        let (place, derived) = place();
        let of = Digest::of(b"blob");
        derived.keep(of, b"12345");
        let unfinished = format!("{of}.812-3");
        for name in [
            &unfinished,
            "notes",
            &format!("{of}.part"),
            &of.to_string().to_uppercase(),
        ] {
            fs::write(place.path().join(name), "1").expect("writes");
        }
        fs::create_dir(place.path().join(Digest::of(b"directory").to_string())).expect("makes");
        let mut files = derived.files().expect("lists");
        files.sort_by_key(|file| file.size);
        let found: Vec<_> = files.iter().map(|file| (file.of, file.size)).collect();
        assert_eq!(found, [(None, 1), (Some(of), 5)]);
        for file in &files {
            derived.remove(file).expect("removes");
            derived.remove(file).expect("is gone");
        }
        assert_eq!(names(place.path()).len(), 4);
    }
}

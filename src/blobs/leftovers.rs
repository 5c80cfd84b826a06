//! What nobody writes any more in an inbox.
//!
//! Owns the look into `tmp/<mirror>/` from outside a sync, and the removal of single files there. It touches only
//! regular files with names that an inbox gives; when one may go is for the caller to say, who must hold the lock that
//! makes the inbox its own before anything is removed.

use std::ffi::CString;
use std::io;
use std::path::Path;

use super::BlobError;
use super::directory::Directory;
use super::incoming::is_ours;
use crate::model::Timestamp;

/// The files in one inbox.
#[derive(Debug)]
pub struct Leftovers {
    /// `None` when there is no inbox.
    directory: Option<Directory>,
    files: Vec<Leftover>,
}

/// A file in an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    name: CString,
    /// Length in bytes.
    pub size: u64,
    /// When it was last touched. Not its modification time: that of a finished file is upstream's.
    pub since: Timestamp,
}

impl Leftovers {
    /// What lies in the inbox at `path`; neither it nor the directory that holds it may be a link.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn of(path: &Path) -> Result<Self, BlobError> {
        let Some(directory) = open(path)? else {
            return Ok(Self {
                directory: None,
                files: Vec::new(),
            });
        };
        let files = directory.files(|name| is_ours(name).then_some(()));
        let leftover = |(name, (), size, since)| Leftover { name, size, since };
        let files = files.map_err(BlobError::io("read", path))?;
        Ok(Self {
            directory: Some(directory),
            files: files.into_iter().map(leftover).collect(),
        })
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &[Leftover] {
        &self.files
    }

    /// Removes one of [`Leftovers::files`]. One that is gone already is fine.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, file: &Leftover) -> Result<(), BlobError> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        directory.discard(&file.name)
    }
}

fn open(path: &Path) -> Result<Option<Directory>, BlobError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let (Some(parent), Some(name)) = (path.parent(), name) else {
        return Err(BlobError::io("open", path)(io::ErrorKind::InvalidInput.into()));
    };
    match Directory::open(parent)?.child(name) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BlobError::io("open", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::model::Digest;

    #[test]
    fn only_what_an_inbox_makes_is_left_over() {
        let place = tempfile::tempdir().expect("temporary directory");
        let inbox = place.path().join("debian");
        assert_eq!(Leftovers::of(&inbox).expect("is no error").files(), []);
        fs::create_dir(&inbox).expect("makes");
        let digest = Digest::of(b"x").to_string();
        let upper = digest.to_uppercase();
        let ours = [
            "0",
            "17",
            "17-link",
            &digest,
            &format!("{digest}.part"),
            &format!("{digest}{digest}.part"),
        ];
        let foreign = [
            "notes",
            "01",
            "-link",
            "x.part",
            ".part",
            &upper,
            &format!("{upper}.part"),
            &format!("{digest}.part.bak"),
        ];
        for name in ours.iter().chain(&foreign) {
            fs::write(inbox.join(name), "12345").expect("writes");
        }
        fs::create_dir(inbox.join("5")).expect("makes");
        symlink("17", inbox.join("6")).expect("links");

        let left = Leftovers::of(&inbox).expect("reads");
        let mut found: Vec<_> = left
            .files()
            .iter()
            .map(|file| file.name.to_str().expect("text"))
            .collect();
        found.sort_unstable();
        let mut expected = ours;
        expected.sort_unstable();
        assert_eq!(found, expected);
        for file in left.files() {
            assert_eq!(file.size, 5);
            left.remove(file).expect("removes");
            left.remove(file).expect("removing twice is fine");
        }
        assert_eq!(Leftovers::of(&inbox).expect("reads").files(), []);
        assert_eq!(fs::read_dir(&inbox).expect("reads").count(), foreign.len() + 2);
    }

    #[test]
    fn the_age_is_not_that_of_upstream() {
        let place = tempfile::tempdir().expect("temporary directory");
        let inbox = place.path().join("debian");
        fs::create_dir(&inbox).expect("makes");
        let file = fs::File::create(inbox.join("0")).expect("makes");
        file.set_modified(std::time::UNIX_EPOCH).expect("dates");
        let left = Leftovers::of(&inbox).expect("reads");
        assert!(left.files()[0].since > Timestamp::from_unix(1_600_000_000), "{left:?}");
    }

    #[test]
    fn an_inbox_behind_a_link_is_not_looked_into() {
        let place = tempfile::tempdir().expect("temporary directory");
        fs::create_dir(place.path().join("elsewhere")).expect("makes");
        symlink("elsewhere", place.path().join("debian")).expect("links");
        assert!(Leftovers::of(&place.path().join("debian")).is_err());
    }
}

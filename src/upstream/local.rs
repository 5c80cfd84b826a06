//! Files of an archive in a directory of this machine: upstreams with a `file:` URL, and trees that are taken over.
//!
//! Owns the way from a path of the archive to an open regular file of that directory. Symbolic links are followed as
//! long as they stay in the directory: mirrors have them between suites, and one that leads elsewhere would make files
//! of the machine into files of an archive. Devices and named pipes are refused before anything is read of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::UpstreamError;
use crate::model::{RepoPath, Timestamp};

/// A file of the archive, open for reading.
#[derive(Debug)]
pub struct LocalFile {
    file: File,
    path: PathBuf,
    size: u64,
    modified: Timestamp,
}

impl LocalFile {
    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it lies, without links, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When it was last changed.
    #[must_use]
    pub fn modified(&self) -> Timestamp {
        self.modified
    }

    /// All its bytes, of which there may be `cap` at most.
    ///
    /// # Errors
    /// When there are more, or they cannot be read.
    pub fn read_capped(&self, cap: u64) -> Result<Vec<u8>, UpstreamError> {
        let mut bytes = Vec::new();
        let read = (&self.file).take(cap.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|source| unreadable(&self.path, source))?;
        if bytes.len() as u64 > cap {
            let path = self.path.clone();
            return Err(UpstreamError::FileTooLong { path, cap });
        }
        Ok(bytes)
    }
}

/// Opens the file at `path` of the archive in the directory `root`; `None` when there is no such file.
pub(super) fn open(root: &Path, path: &RepoPath) -> Result<Option<LocalFile>, UpstreamError> {
    // A directory that is gone, such as that of a disk which is not mounted, is no archive without files.
    let root = fs::canonicalize(root).map_err(|source| UpstreamError::NoDirectory {
        path: root.to_owned(),
        source,
    })?;
    let named = root.join(path.as_str());
    let found = match fs::canonicalize(&named) {
        Err(error) if is_absent(&error) => return Ok(None),
        found => found.map_err(|source| unreadable(&named, source))?,
    };
    if !found.starts_with(&root) {
        return Err(UpstreamError::OutsideDirectory { path: named });
    }
    open_regular(found).map(Some)
}

/// Opens what a path without links names, without waiting for the other end of a named pipe.
fn open_regular(path: PathBuf) -> Result<LocalFile, UpstreamError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).expect("flags are small");
    let is_file = fs::symlink_metadata(&path).map_err(|source| unreadable(&path, source))?;
    if !is_file.is_file() {
        return Err(UpstreamError::NotAFile { path });
    }
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path);
    let file = file.map_err(|source| unreadable(&path, source))?;
    let facts = file.metadata().map_err(|source| unreadable(&path, source))?;
    if !facts.is_file() {
        return Err(UpstreamError::NotAFile { path });
    }
    Ok(LocalFile {
        file,
        path,
        size: facts.len(),
        modified: Timestamp::from_unix(facts.mtime()),
    })
}

/// Whether a name cannot be resolved because nothing is there, a link to nowhere included.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Path, source: io::Error) -> UpstreamError {
    UpstreamError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn archive() -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("temporary directory");
        let root = place.path().join("archive");
        fs::create_dir_all(root.join("dists/a b")).expect("makes");
        fs::write(root.join("dists/a b/Release"), "hello").expect("writes");
        fs::write(place.path().join("secret"), "secret").expect("writes");
        place
    }

    fn find(place: &tempfile::TempDir, path: &str) -> Result<Option<LocalFile>, UpstreamError> {
        open(&place.path().join("archive"), &path.parse().expect("valid"))
    }

    #[test]
    fn files_and_links_within_the_directory_are_found() {
        let place = archive();
        let root = place.path().join("archive");
        symlink("a b", root.join("dists/relative")).expect("links");
        symlink(root.join("dists/a b"), root.join("dists/absolute")).expect("links");
        for path in ["dists/a b/Release", "dists/relative/Release", "dists/absolute/Release"] {
            let file = find(&place, path).expect(path).expect(path);
            assert_eq!(file.read_capped(5).expect(path), b"hello");
            assert_eq!(file.size(), 5);
        }
        let file = find(&place, "dists/relative/Release")
            .expect("opens")
            .expect("is there");
        assert!(matches!(
            file.read_capped(4),
            Err(UpstreamError::FileTooLong { cap: 4, .. })
        ));
    }

    #[test]
    fn what_is_not_there_is_missing() {
        let place = archive();
        symlink("nowhere", place.path().join("archive/dangling")).expect("links");
        for path in ["x", "x/y", "dists/a b/Release/x", "dangling"] {
            assert!(find(&place, path).expect(path).is_none(), "{path}");
        }
        fs::remove_dir_all(place.path().join("archive")).expect("removes");
        assert!(matches!(find(&place, "x"), Err(UpstreamError::NoDirectory { .. })));
    }

    #[test]
    fn links_out_of_the_directory_and_what_is_no_file_are_refused() {
        let place = archive();
        let root = place.path().join("archive");
        symlink("../secret", root.join("out")).expect("links");
        symlink("/", root.join("slash")).expect("links");
        for path in ["out", "slash/etc/hostname"] {
            let found = find(&place, path);
            assert!(
                matches!(found, Err(UpstreamError::OutsideDirectory { .. })),
                "{found:?}"
            );
        }
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo"),
            rustix::fs::FileType::Fifo,
            0o644.into(),
            0,
        )
        .expect("makes a named pipe");
        for path in ["fifo", "dists"] {
            let found = find(&place, path);
            assert!(matches!(found, Err(UpstreamError::NotAFile { .. })), "{found:?}");
        }
    }
}

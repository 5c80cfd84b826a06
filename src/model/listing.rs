//! What an archive holds at one moment: every served file with its blob.
//!
//! Owns [`Listing`], which is sorted, free of duplicates and free of clashes between files and directories, because
//! it can only be made by a [`ListingBuilder`] that checks. It knows nothing of how listings are stored.

use std::collections::BTreeMap;
use std::collections::btree_map;

use super::{Digest, HashType, RepoPath, Timestamp};

/// What an archive uses a file for. Decides file times below pointers and what old publications keep reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `InRelease`, `Release` or `Release.gpg`.
    Release,
    /// A file that a Release file lists, at its plain name.
    Index,
    /// A file that an index names; most lie below `pool/`.
    Pool,
}

/// What is known of a blob besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobFacts {
    /// The bytes' digest.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Modification time to serve: upstream's when the bytes first arrived.
    pub mtime: Timestamp,
}

/// A hash of an index as its Release file lists it: the name of the file in `by-hash/<type>/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexHash {
    /// The hash type.
    pub kind: HashType,
    /// Lower-case hexadecimal digits, as many as the type has.
    pub hex: Box<str>,
}

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the archive uses the file for.
    pub role: Role,
    /// Its bytes.
    pub blob: BlobFacts,
    /// For an index: every hash its Release lists for it, sorted by type. Empty for other roles.
    pub by_hash: Vec<IndexHash>,
}

/// Files that cannot stand in one tree together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// One path is listed with two different contents.
    #[error("{path} is listed twice with different contents: {first} and {second}")]
    Conflict {
        /// The path.
        path: RepoPath,
        /// The content listed first.
        first: Digest,
        /// The other content.
        second: Digest,
    },
    /// One path is a file and also a directory of another file.
    #[error("{file} is listed as a file, and {below} needs it to be a directory")]
    FileAndDirectory {
        /// The path that is a file.
        file: RepoPath,
        /// A file below it.
        below: RepoPath,
    },
    /// A listed file lies in a `by-hash` directory, whose contents are derived from Release files.
    #[error("{0} lies in a by-hash directory; those hold only what a Release file lists")]
    InByHash(RepoPath),
}

/// A complete, consistent set of files, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing(BTreeMap<RepoPath, Entry>);

impl Listing {
    /// The files, sorted by path.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&RepoPath, &Entry)> {
        self.0.iter()
    }

    /// The file at `path`.
    #[must_use]
    pub fn get(&self, path: &RepoPath) -> Option<&Entry> {
        self.0.get(path)
    }

    /// Number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of files that indices name.
    #[must_use]
    pub fn pool_files(&self) -> u64 {
        self.0.values().filter(|entry| entry.role == Role::Pool).count() as u64
    }

    /// Sum of the files' sizes in bytes; a blob under two paths counts twice, as a client sees it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, entry| sum.saturating_add(entry.blob.size))
    }
}

/// Collects the files of a [`Listing`].
#[derive(Debug, Default)]
pub struct ListingBuilder(BTreeMap<RepoPath, Entry>);

impl ListingBuilder {
    /// A builder without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file. The same path with the same content is accepted once more without effect, as two suites may
    /// list one pool file.
    ///
    /// # Errors
    /// [`ListingError::Conflict`] when the path is known with other content, [`ListingError::InByHash`] when it
    /// lies in a `by-hash` directory.
    pub fn add(&mut self, path: RepoPath, entry: Entry) -> Result<(), ListingError> {
        if path.components().any(|component| component == "by-hash") {
            return Err(ListingError::InByHash(path));
        }
        match self.0.entry(path) {
            btree_map::Entry::Vacant(place) => {
                place.insert(entry);
            }
            btree_map::Entry::Occupied(place) if place.get().blob.digest != entry.blob.digest => {
                return Err(ListingError::Conflict {
                    path: place.key().clone(),
                    first: place.get().blob.digest,
                    second: entry.blob.digest,
                });
            }
            btree_map::Entry::Occupied(_) => {}
        }
        Ok(())
    }

    /// The listing of everything added.
    ///
    /// # Errors
    /// [`ListingError::FileAndDirectory`] when one file's path is a directory of another's.
    pub fn build(self) -> Result<Listing, ListingError> {
        for path in self.0.keys() {
            let mut ancestor = path.parent();
            while let Some(directory) = ancestor {
                if self.0.contains_key(&directory) {
                    return Err(ListingError::FileAndDirectory {
                        file: directory,
                        below: path.clone(),
                    });
                }
                ancestor = directory.parent();
            }
        }
        Ok(Listing(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &[u8]) -> Entry {
        let blob = BlobFacts {
            digest: Digest::of(content),
            size: content.len() as u64,
            mtime: Timestamp::from_unix(0),
        };
        Entry {
            role: Role::Pool,
            blob,
            by_hash: Vec::new(),
        }
    }

    fn path(text: &str) -> RepoPath {
        text.parse().expect("valid path")
    }

    #[test]
    fn files_come_out_sorted_and_once() {
        let mut builder = ListingBuilder::new();
        for name in ["pool/b", "pool/a", "pool/b"] {
            builder.add(path(name), entry(b"x")).expect("no clash");
        }
        let listing = builder.build().expect("no clash");
        let paths: Vec<_> = listing.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["pool/a", "pool/b"]);
        assert_eq!((listing.len(), listing.size()), (2, 2));
    }

    #[test]
    fn two_contents_for_one_path_are_refused() {
        let mut builder = ListingBuilder::new();
        builder.add(path("a"), entry(b"x")).expect("first");
        assert!(matches!(
            builder.add(path("a"), entry(b"y")),
            Err(ListingError::Conflict { .. })
        ));
    }

    #[test]
    fn a_file_cannot_be_a_directory_too() {
        let mut builder = ListingBuilder::new();
        for name in ["a", "a-b", "a/b/c"] {
            builder.add(path(name), entry(b"x")).expect("no clash yet");
        }
        assert!(matches!(builder.build(), Err(ListingError::FileAndDirectory { .. })));
    }

    #[test]
    fn by_hash_directories_belong_to_release_files() {
        let mut builder = ListingBuilder::new();
        let refused = builder.add(path("dists/x/by-hash/SHA256/00"), entry(b"x"));
        assert!(matches!(refused, Err(ListingError::InByHash(_))));
    }
}

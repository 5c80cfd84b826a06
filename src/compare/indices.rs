//! The indices of packages in a recorded listing.
//!
//! Owns where they are looked for: below the directory of each recorded suite by their names, as the format lays them
//! out. It reads none; of several forms it takes the one that is cheapest to read.

use std::collections::{BTreeMap, BTreeSet};

use super::{CompareError, Side};
use crate::apt::Compression;
use crate::blobs::BlobStore;
use crate::catalog::{CatalogError, CatalogReader, DirRow, FileRow, MirrorRow, ROOT_DIR, ReleaseFacts, Seq, TreeNode};
use crate::model::{Digest, Suite};

/// The indices of one listing.
pub(super) type Indices = BTreeMap<Key, Index>;

/// What an index is for: the same in both listings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) suite: Suite,
    /// `None` in a flat repository.
    pub(super) component: Option<Box<str>>,
    pub(super) of_sources: bool,
    /// `None` in a flat repository and for source packages.
    pub(super) architecture: Option<Box<str>>,
}

/// One form of an index.
#[derive(Debug)]
pub(super) struct Index {
    /// Its path, relative to the archive root.
    pub(super) path: String,
    pub(super) compression: Compression,
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Digest and length of its text, as far as they are known.
    pub(super) text: Option<(Digest, u64)>,
}

impl Key {
    /// The directory of the index below that of the suite, as people know it: `main/binary-amd64`.
    pub(super) fn name(&self) -> String {
        let kind = if self.of_sources { "source" } else { "binary" };
        match (&self.component, &self.architecture) {
            (Some(component), Some(architecture)) => format!("{component}/{kind}-{architecture}"),
            (Some(component), None) => format!("{component}/{kind}"),
            (None, _) if self.of_sources => SOURCES.to_owned(),
            (None, _) => PACKAGES.to_owned(),
        }
    }
}

impl Index {
    /// Whether both are known to have the same text.
    pub(super) fn has_text_of(&self, other: &Self) -> bool {
        self.digest == other.digest || (self.text.is_some() && self.text == other.text)
    }
}

const PACKAGES: &str = "Packages";
const SOURCES: &str = "Sources";

/// The indices of the suites `releases` in the listing `seq`.
pub(super) fn find(
    reader: &CatalogReader,
    mirror: MirrorRow,
    seq: Seq,
    releases: &[ReleaseFacts],
) -> Result<Indices, CatalogError> {
    let mut search = Search {
        reader,
        mirror,
        seq,
        roots: releases.iter().map(|facts| format!("dists/{}", facts.suite)).collect(),
        found: Indices::new(),
    };
    for facts in releases {
        let suite = &facts.suite;
        if suite.is_flat() {
            search.flat(suite)?;
        } else {
            let root = format!("dists/{suite}");
            if let Some(dir) = search.directory(&root)? {
                search.below(suite, dir, &root, "")?;
            }
        }
    }
    Ok(search.found)
}

/// Makes sure that the indices are in the cache, and that no suite is without: it was recorded with one.
pub(super) fn check(
    blobs: &BlobStore,
    side: &Side,
    releases: &[ReleaseFacts],
    indices: &Indices,
) -> Result<(), CompareError> {
    for facts in releases {
        if !indices.keys().any(|key| key.suite == facts.suite && !key.of_sources) {
            return Err(CompareError::NoIndex {
                suite: facts.suite.clone(),
                snapshot: side.snapshot.clone(),
            });
        }
    }
    match indices.values().find(|index| !blobs.has(index.digest, index.size)) {
        Some(index) => Err(CompareError::Missing {
            path: index.path.clone(),
            snapshot: side.snapshot.clone(),
        }),
        None => Ok(()),
    }
}

struct Search<'a> {
    reader: &'a CatalogReader,
    mirror: MirrorRow,
    seq: Seq,
    /// The directories of all suites: one may lie in another's, as `bookworm/updates` in `bookworm`.
    roots: BTreeSet<String>,
    found: Indices,
}

impl Search<'_> {
    fn directory(&self, path: &str) -> Result<Option<DirRow>, CatalogError> {
        let mut dir = ROOT_DIR;
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            match self.reader.child(self.mirror, self.seq, dir, name)? {
                Some(TreeNode::Directory(row)) => dir = row,
                Some(TreeNode::File(_)) | None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// The indices beside the Release file of a flat repository, asked for by name: it may have thousands of packages there.
    fn flat(&mut self, suite: &Suite) -> Result<(), CatalogError> {
        let Some(dir) = self.directory(suite.as_str())? else {
            return Ok(());
        };
        let prefix = suite.as_str().strip_prefix("./").unwrap_or(suite.as_str());
        for (plain, of_sources) in [(PACKAGES, false), (SOURCES, true)] {
            for compression in Compression::ALL {
                let name = format!("{plain}{}", compression.suffix());
                if let Some(TreeNode::File(file)) = self.reader.child(self.mirror, self.seq, dir, &name)? {
                    let key = Key {
                        suite: suite.clone(),
                        component: None,
                        of_sources,
                        architecture: None,
                    };
                    self.add(key, compression, format!("{prefix}{name}"), &file)?;
                }
            }
        }
        Ok(())
    }

    /// The indices of `suite` in the directory `dir`, which lies at `path`, and at `within` in the suite's own.
    fn below(&mut self, suite: &Suite, dir: DirRow, path: &str, within: &str) -> Result<(), CatalogError> {
        for (name, node) in self.reader.children(self.mirror, self.seq, dir)? {
            let child = format!("{path}/{name}");
            match node {
                TreeNode::Directory(_) if name == "by-hash" || self.roots.contains(&child) => {}
                TreeNode::Directory(row) => {
                    let within = if within.is_empty() {
                        name
                    } else {
                        format!("{within}/{name}")
                    };
                    self.below(suite, row, &child, &within)?;
                }
                TreeNode::File(file) => {
                    if let Some((key, compression)) = key(suite, within, &name) {
                        self.add(key, compression, child, &file)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a form of an index in, unless a cheaper one was found.
    fn add(&mut self, key: Key, compression: Compression, path: String, file: &FileRow) -> Result<(), CatalogError> {
        if self
            .found
            .get(&key)
            .is_some_and(|found| found.compression <= compression)
        {
            return Ok(());
        }
        let Some((digest, size, _)) = self.reader.blob_row(file.blob)? else {
            return Ok(());
        };
        let text = if compression == Compression::None {
            Some((digest, size))
        } else {
            let known = self.reader.uncompressed(digest)?;
            known.map(|known| (known.digest, known.size))
        };
        let index = Index {
            path,
            compression,
            digest,
            size,
            text,
        };
        self.found.insert(key, index);
        Ok(())
    }
}

/// What the file `name` in the directory `within` of a suite is an index of, and in which form.
fn key(suite: &Suite, within: &str, name: &str) -> Option<(Key, Compression)> {
    let (component, directory) = within.rsplit_once('/')?;
    let (plain, architecture) = match directory.strip_prefix("binary-") {
        Some(architecture) => (PACKAGES, Some(architecture)),
        None if directory == "source" => (SOURCES, None),
        None => return None,
    };
    let suffix = name.strip_prefix(plain)?;
    let compression = Compression::ALL.into_iter().find(|form| form.suffix() == suffix)?;
    let key = Key {
        suite: suite.clone(),
        component: Some(component.into()),
        of_sources: architecture.is_none(),
        architecture: architecture.map(Into::into),
    };
    Some((key, compression))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_told_by_their_places() {
        let suite: Suite = "trixie".parse().expect("valid");
        let found = |within, name| key(&suite, within, name).map(|(key, form)| (key.name(), form));
        let amd64 = |form| Some(("main/binary-amd64".to_owned(), form));
        assert_eq!(found("main/binary-amd64", "Packages"), amd64(Compression::None));
        assert_eq!(found("main/binary-amd64", "Packages.xz"), amd64(Compression::Xz));
        let udebs = Some(("main/debian-installer/binary-arm64".to_owned(), Compression::Gzip));
        assert_eq!(found("main/debian-installer/binary-arm64", "Packages.gz"), udebs);
        let sources = Some(("main/source".to_owned(), Compression::Zstd));
        assert_eq!(found("main/source", "Sources.zst"), sources);
        for (within, name) in [
            ("main/binary-amd64", "Packages.lzo"),
            ("main/binary-amd64", "Packages.diff"),
            ("main/binary-amd64", "Release"),
            ("main/source", "Packages"),
            ("main/binary-amd64", "Sources"),
            ("binary-amd64", "Packages"),
            ("main/i18n", "Packages"),
            ("", "Packages"),
        ] {
            assert_eq!(found(within, name), None, "{within}/{name}");
        }
    }
}

//! From manifests to what began and ended with each listing.
//!
//! Owns that reckoning, in memory: it is given manifests and touches no table. Directories are not said to end in a
//! manifest; they are there as long as anything is in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::catalog::{DirRow, Manifest, ManifestFile};
use crate::model::{Digest, RepoPath};

/// Most manifests in a chain, and some: more of them lead in a circle.
const LONGEST_CHAIN: usize = 64;

/// Why a listing cannot be had from its manifests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("its manifest {0} is missing or damaged")]
    Manifest(Digest),
    #[error("its manifest {0} leads in a circle")]
    Circle(Digest),
    #[error("its manifest is that of another listing")]
    Another,
    #[error("its manifest does not number the directory {0}")]
    Unnumbered(Box<str>),
    #[error(
        "its manifest has {found} files of {bytes} bytes, not the {expected} files of {expected_bytes} bytes that it had"
    )]
    Size {
        found: u64,
        bytes: u64,
        expected: u64,
        expected_bytes: u64,
    },
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Directory,
    File(Box<ManifestFile>),
}

/// A name that leads elsewhere than in the listing before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) path: Box<str>,
    /// Whether it led anywhere.
    pub(super) ends: bool,
    pub(super) begins: Option<Standing>,
}

/// What is known of a manifest that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) base: Option<Digest>,
    pub(super) size: u64,
    pub(super) recorded_at: crate::model::Timestamp,
}

/// Manifests as they are read.
pub(super) struct Manifests<'a> {
    load: &'a mut dyn FnMut(Digest) -> Option<Vec<u8>>,
    /// Every one that was read.
    pub(super) read: HashMap<Digest, Read>,
    /// The greatest numbers of directories and blobs in any of them.
    pub(super) newest: (i64, i64),
}

impl<'a> Manifests<'a> {
    pub(super) fn new(load: &'a mut dyn FnMut(Digest) -> Option<Vec<u8>>) -> Self {
        Self {
            load,
            read: HashMap::new(),
            newest: (0, 0),
        }
    }

    fn get(&mut self, digest: Digest) -> Result<Manifest, Unreadable> {
        let bytes = (self.load)(digest).filter(|bytes| Digest::of(bytes) == digest);
        let bytes = bytes.ok_or(Unreadable::Manifest(digest))?;
        let manifest = Manifest::decode(&bytes).map_err(|_| Unreadable::Manifest(digest))?;
        let read = Read {
            base: manifest.base,
            size: bytes.len() as u64,
            recorded_at: manifest.recorded_at,
        };
        self.read.insert(digest, read);
        let dirs = manifest.dirs.values().map(|row| row.number());
        let blobs = manifest.files.values().flatten().map(|file| file.row.number());
        self.newest.0 = dirs.fold(self.newest.0, i64::max);
        self.newest.1 = blobs.fold(self.newest.1, i64::max);
        Ok(manifest)
    }

    /// The whole listing that `manifest` with this digest is a form of.
    fn whole(&mut self, digest: Digest, manifest: Manifest) -> Result<Manifest, Unreadable> {
        let mut chain = vec![(digest, manifest)];
        while let Some(base) = chain.last().and_then(|(_, manifest)| manifest.base) {
            if chain.len() > LONGEST_CHAIN {
                return Err(Unreadable::Circle(digest));
            }
            chain.push((base, self.get(base)?));
        }
        let mut links = chain.into_iter().rev();
        let (mut at, mut whole) = links.next().expect("a chain has a manifest");
        for (digest, manifest) in links {
            whole = manifest.onto(at, whole).map_err(|_| Unreadable::Manifest(digest))?;
            at = digest;
        }
        Ok(whole)
    }
}

/// A mirror's tree, as of one listing after the other.
#[derive(Default)]
pub(super) struct Tree {
    /// The manifest of the listing that it is of.
    at: Option<Digest>,
    files: BTreeMap<RepoPath, ManifestFile>,
    bytes: u64,
    /// How many files keep a directory there.
    kept_by: HashMap<Box<str>, u32>,
    numbers: HashMap<Box<str>, DirRow>,
}

/// What a listing says of itself besides its manifest.
pub(super) struct Expected {
    pub(super) seq: i64,
    pub(super) manifest: Digest,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Tree {
    /// The number of a directory; the root is the empty text.
    pub(super) fn number(&self, path: &str) -> Result<DirRow, Unreadable> {
        if path.is_empty() {
            return Ok(crate::catalog::ROOT_DIR);
        }
        let number = self.numbers.get(path).copied();
        number.ok_or_else(|| Unreadable::Unnumbered(path.into()))
    }

    /// Goes on to a later listing, and answers what changed. After an error it is where it was.
    pub(super) fn go_to(
        &mut self,
        listing: &Expected,
        manifests: &mut Manifests<'_>,
    ) -> Result<Vec<Change>, Unreadable> {
        let manifest = manifests.get(listing.manifest)?;
        if manifest.seq.number() != listing.seq {
            return Err(Unreadable::Another);
        }
        let (dirs, changed) = if manifest.base.is_some() && manifest.base == self.at {
            (manifest.dirs, manifest.files)
        } else {
            let whole = manifests.whole(listing.manifest, manifest)?;
            (whole.dirs, self.difference(whole.files))
        };
        let numbers = self.numbers.clone();
        self.numbers
            .extend(dirs.into_iter().map(|(path, row)| (path.as_str().into(), row)));
        let before: BTreeMap<_, _> = changed
            .keys()
            .map(|path| (path.clone(), self.files.get(path).cloned()))
            .collect();
        let changes = self.apply(changed);
        if let Err(error) = self.check(listing, &changes) {
            self.apply(before);
            self.numbers = numbers;
            return Err(error);
        }
        self.at = Some(listing.manifest);
        Ok(changes)
    }

    /// Makes sure that the tree is as the listing was, and that every directory that began has a number.
    fn check(&self, listing: &Expected, changes: &[Change]) -> Result<(), Unreadable> {
        for change in changes {
            if change.begins == Some(Standing::Directory) {
                self.number(&change.path)?;
            }
        }
        let found = self.files.len() as u64;
        if (found, self.bytes) == (listing.files, listing.bytes) {
            return Ok(());
        }
        Err(Unreadable::Size {
            found,
            bytes: self.bytes,
            expected: listing.files,
            expected_bytes: listing.bytes,
        })
    }

    /// What has to change for the tree to have just `files`.
    fn difference(&self, files: BTreeMap<RepoPath, Option<ManifestFile>>) -> BTreeMap<RepoPath, Option<ManifestFile>> {
        let ended = self.files.keys().filter(|path| !files.contains_key(*path));
        let mut changed: BTreeMap<_, _> = ended.map(|path| (path.clone(), None)).collect();
        changed.extend(
            files
                .into_iter()
                .filter(|(path, file)| self.files.get(path) != file.as_ref()),
        );
        changed
    }

    fn apply(&mut self, changed: BTreeMap<RepoPath, Option<ManifestFile>>) -> Vec<Change> {
        let mut touched: BTreeMap<Box<str>, Option<Standing>> = BTreeMap::new();
        for (path, new) in changed {
            self.touch(&mut touched, path.as_str());
            if let Some(old) = self.files.remove(&path) {
                self.bytes = self.bytes.saturating_sub(old.blob.size);
                for directory in directories(&path, &old) {
                    self.touch(&mut touched, &directory);
                    let files = self.kept_by.get_mut(&directory).expect("the file keeps it");
                    *files -= 1;
                }
            }
            if let Some(new) = new {
                self.bytes = self.bytes.saturating_add(new.blob.size);
                for directory in directories(&path, &new) {
                    self.touch(&mut touched, &directory);
                    *self.kept_by.entry(directory).or_default() += 1;
                }
                self.files.insert(path, new);
            }
        }
        let change = |(path, before): (Box<str>, Option<Standing>)| {
            let now = self.standing(&path);
            (now != before).then(|| Change {
                path,
                ends: before.is_some(),
                begins: now,
            })
        };
        touched.into_iter().filter_map(change).collect()
    }

    /// Notes what `path` leads to before anything about it is changed.
    fn touch(&self, touched: &mut BTreeMap<Box<str>, Option<Standing>>, path: &str) {
        if !touched.contains_key(path) {
            touched.insert(path.into(), self.standing(path));
        }
    }

    fn standing(&self, path: &str) -> Option<Standing> {
        if self.kept_by.get(path).is_some_and(|files| *files > 0) {
            return Some(Standing::Directory);
        }
        let path: RepoPath = path.parse().ok()?;
        let file = self.files.get(&path)?;
        Some(Standing::File(Box::new(file.clone())))
    }
}

/// The directories that a file keeps: those around it, and those in which it is found by hash.
fn directories(path: &RepoPath, file: &ManifestFile) -> BTreeSet<Box<str>> {
    let text = path.as_str();
    let mut around: BTreeSet<Box<str>> = text.match_indices('/').map(|(at, _)| text[..at].into()).collect();
    let parent = text.rsplit_once('/').map_or("", |(parent, _)| parent);
    for hash in &file.by_hash {
        let by_hash = crate::catalog::record::below(parent, "by-hash");
        let kind = crate::catalog::record::below(&by_hash, hash.kind.name());
        // As when the listing was recorded: those that would be too deep are left out.
        if kind.len() <= RepoPath::LONGEST {
            around.insert(by_hash.into());
            around.insert(kind.into());
        }
    }
    around
}

//! What the mount goes on showing when the catalog cannot be read.
//!
//! Owns a memory of where the pointers led last, and the reading of their listings, and of those that lend to them, from
//! manifest blobs. Manifests carry the catalog's own numbers, so everything keeps the inode it had. Snapshots that no
//! pointer leads to are not covered: they fail until the catalog is back.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mirrorctl_mount::tree::{Door, MirrorNo, NamedDoor};

use super::doors::{self, DoorTarget};
use super::mirror_number;
use crate::blobs::BlobStore;
use crate::catalog::{
    BlobRow, CatalogError, CatalogReader, DirRow, FileRow, Manifest, ManifestError, ManifestFile, MirrorRow, ROOT_DIR,
    Seq, TreeNode,
};
use crate::model::{Digest, RepoPath, Timestamp};

/// Where every pointer led when the catalog was last readable.
#[derive(Debug, Default)]
pub(super) struct LastKnown {
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    mirrors: Vec<(Box<[u8]>, MirrorNo)>,
    pointers: HashMap<MirrorNo, Vec<KnownPointer>>,
    /// The listings behind the pointers first, then those that lend.
    listings: Vec<ListingId>,
    manifests: HashMap<ListingId, Arc<[Digest]>>,
    /// Listings read from manifests so far.
    trees: HashMap<ListingId, Arc<ManifestTree>>,
}

/// Which listing: no two are ever called the same.
type ListingId = (MirrorRow, Seq);

#[derive(Debug, Clone)]
struct KnownPointer {
    name: Box<[u8]>,
    door: Door,
    target: Arc<DoorTarget>,
}

/// A listing as its manifests tell it.
#[derive(Debug, Default)]
pub(super) struct ManifestTree {
    directories: HashMap<DirRow, Vec<(String, TreeNode)>>,
    blobs: HashMap<BlobRow, (Digest, u64, Timestamp)>,
}

impl ManifestTree {
    pub(super) fn child(&self, dir: DirRow, name: &str) -> Option<TreeNode> {
        let children = self.children(dir);
        let found = children.binary_search_by(|(child, _)| child.as_str().cmp(name));
        found.ok().map(|at| children[at].1)
    }

    pub(super) fn children(&self, dir: DirRow) -> &[(String, TreeNode)] {
        self.directories.get(&dir).map_or(&[], Vec::as_slice)
    }
}

impl LastKnown {
    /// Learns from a catalog that can be read, at the time `now`. Must not run twice at the same time.
    pub(super) fn remember(&self, reader: &CatalogReader, now: Timestamp) -> Result<(), CatalogError> {
        let before = self.state().clone();
        let mut state = State::default();
        for (row, id) in reader.mirrors()? {
            let Ok(mirror) = mirror_number(row) else { continue };
            state.mirrors.push((id.as_str().as_bytes().into(), mirror));
            for found in reader.pointers(row)? {
                let Ok(door) = doors::of_move(found.row) else { continue };
                let target = match before.target(door) {
                    Some(known) => doors::reload_move(reader, &found, DoorTarget::clone(known))?,
                    None => doors::load_move(reader, &found, now)?,
                };
                let Some(target) = target else { continue };
                state.pointers.entry(mirror).or_default().push(KnownPointer {
                    name: found.pointer.name().as_bytes().into(),
                    door,
                    target: Arc::new(target),
                });
            }
        }
        state.remember_listings(&before, reader)?;
        *self.state() = state;
        Ok(())
    }

    /// The doors that the pointers lead through, with what is behind them.
    pub(super) fn doors(&self) -> Vec<(Door, Arc<DoorTarget>)> {
        let door = |known: &KnownPointer| (known.door, Arc::clone(&known.target));
        self.state().known().map(door).collect()
    }

    pub(super) fn mirrors(&self) -> Vec<(Box<[u8]>, MirrorNo)> {
        self.state().mirrors.clone()
    }

    pub(super) fn pointers(&self, mirror: MirrorNo) -> Vec<NamedDoor> {
        let named = |known: &KnownPointer| NamedDoor {
            name: known.name.clone(),
            door: known.door,
        };
        self.state()
            .pointers
            .get(&mirror)
            .map(|known| known.iter().map(named).collect())
            .unwrap_or_default()
    }

    pub(super) fn target(&self, door: Door) -> Option<Arc<DoorTarget>> {
        self.state().target(door).map(Arc::clone)
    }

    /// A listing to which a pointer led or that lent to one, read from its manifests; `None` for any other.
    pub(super) fn tree(&self, listing: ListingId, blobs: &BlobStore) -> io::Result<Option<Arc<ManifestTree>>> {
        if let Some(tree) = self.state().trees.get(&listing) {
            return Ok(Some(Arc::clone(tree)));
        }
        let manifests = self.state().manifests.get(&listing).map(Arc::clone);
        let Some(manifests) = manifests else { return Ok(None) };
        let manifest = read_chain(&manifests, blobs)?.ok_or(io::ErrorKind::NotFound)?;
        let tree = Arc::new(build(manifest));
        self.state().trees.insert(listing, Arc::clone(&tree));
        Ok(Some(tree))
    }

    /// A blob of a listing to which a pointer led or that lent to one. Its listing may not have been needed so far: the
    /// kernel asks for bytes of files whose names it remembers. Manifests that cannot be read have no blobs.
    pub(super) fn blob(&self, blob: BlobRow, blobs: &BlobStore) -> Option<(Digest, u64, Timestamp)> {
        let listings = self.state().listings.clone();
        listings
            .into_iter()
            .filter_map(|listing| self.tree(listing, blobs).ok().flatten())
            .find_map(|tree| tree.blobs.get(&blob).copied())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change replaces or adds whole values, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn known(&self) -> impl Iterator<Item = &KnownPointer> {
        self.pointers.values().flatten()
    }

    fn target(&self, door: Door) -> Option<&Arc<DoorTarget>> {
        let found = self.known().find(|known| known.door == door)?;
        Some(&found.target)
    }

    /// Notes which manifests make up the listings that matter; those that mattered `before` are made up of the same.
    fn remember_listings(&mut self, before: &Self, reader: &CatalogReader) -> Result<(), CatalogError> {
        let targets = self.known().map(|known| (known.target.mirror, known.target.seq));
        let lenders = self.known().flat_map(|known| {
            let lenders = known.target.lenders.iter();
            lenders.map(|lender| (known.target.mirror, lender.seq))
        });
        let listings: Vec<ListingId> = targets.chain(lenders).collect();
        for listing in listings {
            if self.manifests.contains_key(&listing) {
                continue;
            }
            let manifests = match before.manifests.get(&listing) {
                Some(known) => Arc::clone(known),
                None => reader.manifest_chain(listing.0, listing.1)?.into(),
            };
            self.manifests.insert(listing, manifests);
            self.listings.push(listing);
        }
        Ok(())
    }
}

/// The whole manifest that a chain, newest first, adds up to.
fn read_chain(chain: &[Digest], blobs: &BlobStore) -> io::Result<Option<Manifest>> {
    let mut whole: Option<(Digest, Manifest)> = None;
    for digest in chain.iter().rev() {
        let manifest = read_manifest(*digest, blobs)?;
        let manifest = match whole {
            Some((base_digest, base)) => manifest.onto(base_digest, base).map_err(io::Error::other)?,
            None => manifest,
        };
        whole = Some((*digest, manifest));
    }
    Ok(whole.map(|(_, manifest)| manifest))
}

fn read_manifest(digest: Digest, blobs: &BlobStore) -> io::Result<Manifest> {
    let mut bytes = Vec::new();
    blobs.read(digest).map_err(io::Error::other)?.read_to_end(&mut bytes)?;
    if Digest::of(&bytes) != digest {
        return Err(io::Error::other(ManifestError::Magic));
    }
    Manifest::decode(&bytes).map_err(io::Error::other)
}

fn build(manifest: Manifest) -> ManifestTree {
    let mut tree = ManifestTree::default();
    let dirs = manifest.dirs;
    let row_of = |path: Option<RepoPath>| path.map_or(Some(ROOT_DIR), |path| dirs.get(&path).copied());
    let mut put = |dir: Option<DirRow>, name: &str, node: TreeNode| {
        if let Some(dir) = dir {
            tree.directories.entry(dir).or_default().push((name.to_owned(), node));
        }
    };
    let files: Vec<(RepoPath, ManifestFile)> = manifest
        .files
        .into_iter()
        .filter_map(|(path, file)| Some((path, file?)))
        .collect();
    let alive = living_directories(&files);
    for path in &alive {
        if let Some(row) = dirs.get(path) {
            put(row_of(path.parent()), path.file_name(), TreeNode::Directory(*row));
        }
    }
    for (path, file) in &files {
        let row = |role| FileRow {
            blob: file.row,
            size: file.blob.size,
            mtime: file.blob.mtime,
            role,
        };
        put(
            row_of(path.parent()),
            path.file_name(),
            TreeNode::File(row(Some(file.role))),
        );
        for hash in &file.by_hash {
            let directory = by_hash_directory(path, hash.kind.name());
            put(
                directory.and_then(|path| row_of(Some(path))),
                &hash.hex,
                TreeNode::File(row(None)),
            );
        }
    }
    for children in tree.directories.values_mut() {
        children.sort_by(|(a, _), (b, _)| a.cmp(b));
        children.dedup_by(|(a, _), (b, _)| a == b);
    }
    tree.blobs = files
        .into_iter()
        .map(|(_, file)| (file.row, (file.blob.digest, file.blob.size, file.blob.mtime)))
        .collect();
    tree
}

/// Directories that have files, which a chain of manifests may list among others that have ended.
fn living_directories(files: &[(RepoPath, ManifestFile)]) -> BTreeSet<RepoPath> {
    let mut alive = BTreeSet::new();
    for (path, file) in files {
        let by_hash = file
            .by_hash
            .iter()
            .filter_map(|hash| by_hash_directory(path, hash.kind.name()));
        for directory in path.parent().into_iter().chain(by_hash) {
            let mut at = Some(directory);
            while let Some(directory) = at {
                at = directory.parent();
                alive.insert(directory);
            }
        }
    }
    alive
}

fn by_hash_directory(index: &RepoPath, kind: &str) -> Option<RepoPath> {
    match index.parent() {
        Some(parent) => parent.join(&format!("by-hash/{kind}")).ok(),
        None => format!("by-hash/{kind}").parse().ok(),
    }
}

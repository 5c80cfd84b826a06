//! What the mount goes on showing when the catalog cannot be read.
//!
//! Owns a memory of where the pointers led last, and the reading of their listings from manifest blobs. Manifests carry
//! the catalog's own numbers, so everything keeps the inode it had. Snapshots that no pointer leads to are not
//! covered: they fail until the catalog is back.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mirrorctl_mount::tree::{Door, MirrorNo, NamedDoor};

use super::doors::{self, DoorTarget};
use super::mirror_number;
use crate::blobs::BlobStore;
use crate::catalog::{
    BlobRow, CatalogError, CatalogReader, DirRow, FileRow, Manifest, ManifestError, ManifestFile, ROOT_DIR, TreeNode,
};
use crate::model::{Digest, RepoPath, Timestamp};

/// Where every pointer led when the catalog was last readable.
#[derive(Debug, Default)]
pub(super) struct LastKnown {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mirrors: Vec<(Box<[u8]>, MirrorNo)>,
    pointers: HashMap<MirrorNo, Vec<KnownPointer>>,
    /// Listings read from manifests so far.
    trees: HashMap<Door, Arc<ManifestTree>>,
}

#[derive(Debug, Clone)]
struct KnownPointer {
    name: Box<[u8]>,
    door: Door,
    target: DoorTarget,
    manifests: Vec<Digest>,
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
    /// Learns from a catalog that can be read.
    pub(super) fn remember(&self, reader: &CatalogReader) -> Result<(), CatalogError> {
        let mut state = State::default();
        for (row, id) in reader.mirrors()? {
            let Ok(mirror) = mirror_number(row) else { continue };
            state.mirrors.push((id.as_str().as_bytes().into(), mirror));
            for found in reader.pointers(row)? {
                let Ok(door) = doors::of_move(found.row) else { continue };
                let Some(target) = doors::load(reader, door)? else {
                    continue;
                };
                let manifests = reader.manifest_chain(row, target.seq)?;
                let name = found.pointer.name().as_bytes().into();
                state.pointers.entry(mirror).or_default().push(KnownPointer {
                    name,
                    door,
                    target,
                    manifests,
                });
            }
        }
        *self.state() = state;
        Ok(())
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

    pub(super) fn target(&self, door: Door) -> Option<DoorTarget> {
        self.known(door).map(|known| known.target)
    }

    /// The listing behind `door`, read from its manifests; `None` when no pointer led there.
    pub(super) fn tree(&self, door: Door, blobs: &BlobStore) -> io::Result<Option<Arc<ManifestTree>>> {
        if let Some(tree) = self.state().trees.get(&door) {
            return Ok(Some(Arc::clone(tree)));
        }
        let Some(known) = self.known(door) else { return Ok(None) };
        let manifest = read_chain(&known.manifests, blobs)?.ok_or(io::ErrorKind::NotFound)?;
        let tree = Arc::new(build(manifest));
        self.state().trees.insert(door, Arc::clone(&tree));
        Ok(Some(tree))
    }

    /// A blob of a listing to which a pointer led. Its listing may not have been needed so far: the kernel asks for
    /// bytes of files whose names it remembers. Manifests that cannot be read have no blobs.
    pub(super) fn blob(&self, blob: BlobRow, blobs: &BlobStore) -> Option<(Digest, u64, Timestamp)> {
        let doors: Vec<Door> = self
            .state()
            .pointers
            .values()
            .flatten()
            .map(|known| known.door)
            .collect();
        doors
            .into_iter()
            .filter_map(|door| self.tree(door, blobs).ok().flatten())
            .find_map(|tree| tree.blobs.get(&blob).copied())
    }

    fn known(&self, door: Door) -> Option<KnownPointer> {
        self.state()
            .pointers
            .values()
            .flatten()
            .find(|known| known.door == door)
            .cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change replaces or adds whole values, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

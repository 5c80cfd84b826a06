//! Tests of the catalog as a whole: random histories, compared with a naive model after every step.
//!
//! Owns the fixture [`House`] that the tests of this room share, and the model: maps in memory which hold every listing
//! whole. It never looks at how the catalog stores what it is asked for, except to count its rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{
    BlobFacts, Entry, HashType, HashTypes, IndexHash, Lending, Listing, ListingBuilder, MoveTerms, RepoPath, Role,
    Timestamp,
};

/// A catalog in a directory of its own, with the "files" of its blobs.
pub(super) struct House {
    pub(super) catalog: Catalog,
    pub(super) path: PathBuf,
    /// Manifests, as the blob cache would hold them.
    pub(super) manifests: HashMap<Digest, Vec<u8>>,
    _place: TempDir,
}

/// The upstream that every sync of these tests has.
pub(super) const SAME: Source<'static> = Source {
    url: "http://h/",
    selection: "everything",
    releases: &[],
};

/// Terms by which nothing of earlier publications is needed.
pub(super) const LENDING_NOTHING: MoveTerms = MoveTerms {
    lending: Lending {
        generations: 0,
        within: std::time::Duration::ZERO,
    },
    must_have_passed: false,
    min_validity: std::time::Duration::ZERO,
};

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).expect("a small number")
}

pub(super) fn mirror_id(text: &str) -> MirrorId {
    text.parse().expect("valid mirror id")
}

pub(super) fn snapshot_name(text: &str) -> SnapshotName {
    text.parse().expect("valid snapshot name")
}

pub(super) fn repo_path(text: &str) -> RepoPath {
    text.parse().expect("valid path")
}

/// What is known of the bytes `content`.
pub(super) fn facts(content: &str) -> BlobFacts {
    BlobFacts {
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        mtime: at(1000).plus(count(content.len())),
    }
}

/// A hash of the right shape, for one type of one content.
fn index_hash(kind: HashType, content: &str) -> IndexHash {
    let half = |text: &str| Digest::of(text.as_bytes()).to_string();
    let long = match kind {
        HashType::Sha256 => half(content),
        _ => half(&format!("{kind} {content}")) + &half(&format!("{content} {kind}")),
    };
    IndexHash {
        kind,
        hex: long[..kind.hex_length()].into(),
    }
}

pub(super) fn entry(content: &str, role: Role, kinds: HashTypes) -> Entry {
    Entry {
        role,
        blob: facts(content),
        by_hash: kinds.iter().map(|kind| index_hash(kind, content)).collect(),
    }
}

/// A listing of pool files, from their paths and contents.
pub(super) fn listing(files: &[(&str, &str)]) -> Listing {
    let mut builder = ListingBuilder::new();
    for (path, content) in files {
        let entry = entry(content, Role::Pool, HashTypes::NONE);
        builder.add(repo_path(path), entry).expect("no clash");
    }
    builder.build().expect("no clash")
}

/// An act of the tester's.
pub(super) fn act(command: &'static str, now: Timestamp) -> Act<'static> {
    Act {
        command,
        actor: "tester",
        message: None,
        now,
        in_turn: false,
        force: false,
        retracts: false,
    }
}

impl House {
    pub(super) fn new() -> Self {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("catalog.db");
        std::fs::write(&path, "").expect("makes a file");
        let catalog = Catalog::open(&path).expect("opens");
        // The tests pull no plugs, so they need not wait for the disk.
        let connection = &catalog.reader.connection;
        connection.pragma_update(None, "synchronous", "off").expect("a pragma");
        Self {
            catalog,
            path,
            manifests: HashMap::new(),
            _place: place,
        }
    }

    pub(super) fn sql(&self) -> &Connection {
        &self.catalog.reader.connection
    }

    pub(super) fn number(&self, sql: &str) -> i64 {
        self.sql().query_row(sql, [], |row| row.get(0)).expect("counts")
    }

    pub(super) fn row(&self, mirror: &str) -> MirrorRow {
        self.catalog.reader().mirror(&mirror_id(mirror)).expect("is known")
    }

    /// Makes blobs of `contents`, as a sync does for what it fetched.
    pub(super) fn add(&mut self, contents: &[&str]) {
        let blobs: Vec<_> = contents.iter().map(|content| facts(content)).collect();
        self.catalog.add_blobs(&blobs).expect("adds blobs");
    }

    /// The steps of a sync: claim, lease, add, prepare, record.
    pub(super) fn sync(
        &mut self,
        mirror: &str,
        listing: &Listing,
        name: &str,
        pointers: &[Pointer],
        now: Timestamp,
    ) -> Result<Recorded, CatalogError> {
        let id = mirror_id(mirror);
        let row = self.catalog.adopt_mirror(&id)?;
        let wanted: Vec<_> = listing.iter().map(|(_, entry)| entry.blob).collect();
        let digests: Vec<_> = wanted.iter().map(|blob| blob.digest).collect();
        let have = self.catalog.claim(row, &digests, now)?;
        let absent: Vec<_> = wanted
            .iter()
            .zip(&have)
            .filter(|(_, have)| **have == Claim::Absent)
            .map(|(blob, _)| *blob)
            .collect();
        let digests: Vec<_> = absent.iter().map(|blob| blob.digest).collect();
        self.catalog.lease(row, &digests, now)?;
        self.catalog.add_blobs(&absent)?;
        let prepared = self.catalog.prepare(&id, listing, now)?;
        let manifest = self.store_manifest(row, &prepared, now)?;
        let name = snapshot_name(name);
        let what = Recording {
            source: SAME,
            pointers,
            terms: LENDING_NOTHING,
            ..Recording::plain(manifest, &name, now)
        };
        self.catalog.record(&prepared, &what)
    }

    pub(super) fn store_manifest(
        &mut self,
        mirror: MirrorRow,
        prepared: &Prepared,
        now: Timestamp,
    ) -> Result<Digest, CatalogError> {
        let bytes = prepared.manifest().to_vec();
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.catalog.lease(mirror, &[digest], now)?;
        self.manifests.insert(digest, bytes);
        self.catalog.add_blobs(&[BlobFacts {
            digest,
            size,
            mtime: now,
        }])?;
        Ok(digest)
    }

    /// Sweeps what is unused, without any grace, until nothing is left to sweep.
    pub(super) fn sweep_all(&mut self, now: Timestamp) {
        loop {
            self.catalog.condemn_unused(now).expect("marks");
            let candidates = self.catalog.reader().condemned(now, 1000).expect("lists");
            if candidates.is_empty() {
                return;
            }
            let manifests = &mut self.manifests;
            let unlink = |digest| -> Result<(), CatalogError> {
                manifests.remove(&digest);
                Ok(())
            };
            self.catalog.sweep(&candidates, now, unlink).expect("sweeps");
        }
    }

    /// The manifest of a listing, put together from its chain; and the number of manifests in the chain.
    pub(super) fn whole_manifest(&self, mirror: MirrorRow, seq: Seq) -> (Manifest, usize) {
        let chain = self.catalog.reader().manifest_chain(mirror, seq).expect("reads");
        let (manifest, length) = self.expand(chain[0]);
        assert_eq!(
            chain.len(),
            length,
            "the catalog knows the chain without reading manifests"
        );
        (manifest, length)
    }

    fn expand(&self, digest: Digest) -> (Manifest, usize) {
        let bytes = self.manifests.get(&digest).expect("the manifest was not swept");
        let manifest = Manifest::decode(bytes).expect("decodes");
        let Some(base) = manifest.base else {
            return (manifest, 1);
        };
        let (whole, length) = self.expand(base);
        (manifest.onto(base, whole).expect("its base"), length + 1)
    }
}

/// A tree as a reader of the mount would see it: path of each name, and what stands there.
type Tree = BTreeMap<String, Seen>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Directory,
    File(BlobFacts, Option<Role>),
}

/// The tree that a listing describes.
fn tree_of(listing: &Listing) -> Tree {
    let mut tree = Tree::new();
    for (path, entry) in listing.iter() {
        let parent = path.parent();
        add_directories(&mut tree, parent.as_ref().map_or("", RepoPath::as_str));
        tree.insert(path.to_string(), Seen::File(entry.blob, Some(entry.role)));
        for hash in &entry.by_hash {
            let beside = parent.as_ref().map_or(String::new(), |parent| format!("{parent}/"));
            let directory = format!("{beside}by-hash/{}", hash.kind);
            add_directories(&mut tree, &directory);
            tree.insert(format!("{directory}/{}", hash.hex), Seen::File(entry.blob, None));
        }
    }
    tree
}

fn add_directories(tree: &mut Tree, path: &str) {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    for end in ends.filter(|end| *end > 0) {
        tree.insert(path[..end].to_owned(), Seen::Directory);
    }
}

/// Reads a whole listing through `children` and `child`, and notes which row every directory and blob has.
struct Walk<'a> {
    reader: &'a CatalogReader,
    mirror: MirrorRow,
    seq: Seq,
    tree: Tree,
    meanings: &'a mut Meanings,
}

impl Walk<'_> {
    fn directory(&mut self, path: &str, dir: DirRow) {
        let children = self.reader.children(self.mirror, self.seq, dir).expect("reads");
        let names: Vec<_> = children.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "children are sorted and distinct");
        self.look_up(dir, &children);
        for (name, node) in children {
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            match node {
                TreeNode::Directory(row) => {
                    self.meanings.note("dir", row.number(), &path);
                    self.tree.insert(path.clone(), Seen::Directory);
                    self.directory(&path, row);
                }
                TreeNode::File(file) => {
                    let found = self.reader.blob_row(file.blob).expect("reads");
                    let (digest, size, mtime) = found.expect("a served blob has a row");
                    assert_eq!((size, mtime), (file.size, file.mtime));
                    let at = self.reader.digest_at(self.mirror, self.seq, &repo_path(&path));
                    assert_eq!(at.expect("reads"), Some(digest));
                    self.meanings.note("blob", file.blob.number(), &digest.to_string());
                    self.tree
                        .insert(path, Seen::File(BlobFacts { digest, size, mtime }, file.role));
                }
            }
        }
    }

    /// Every name that is listed is found, and no other.
    fn look_up(&self, dir: DirRow, children: &[(String, TreeNode)]) {
        let child = |name: &str| self.reader.child(self.mirror, self.seq, dir, name).expect("reads");
        for (name, node) in children {
            assert_eq!(child(name), Some(*node), "{name}");
        }
        let hashes = HashType::ALL.map(|kind| String::from(index_hash(kind, CONTENTS[0]).hex));
        for name in NAMES.into_iter().chain(hashes.iter().map(String::as_str)) {
            let listed = children
                .iter()
                .find(|(listed, _)| listed == name)
                .map(|(_, node)| *node);
            assert_eq!(child(name), listed, "{name}");
        }
    }
}

/// What every row id has ever stood for.
#[derive(Default)]
struct Meanings(BTreeMap<(&'static str, i64), String>);

impl Meanings {
    fn note(&mut self, table: &'static str, id: i64, meaning: &str) {
        let before = self.0.entry((table, id)).or_insert_with(|| meaning.to_owned());
        assert_eq!(before, meaning, "{table} {id} means something else than before");
    }

    /// Notes every row of a table; new ones must have greater ids than any before.
    fn note_table(&mut self, connection: &Connection, table: &'static str, meaning: &str) {
        let greatest = self
            .0
            .range((table, i64::MIN)..=(table, i64::MAX))
            .next_back()
            .map_or(0, |((_, id), _)| *id);
        let mut query = connection
            .prepare(&format!("SELECT id, {meaning} FROM {table} ORDER BY id"))
            .expect("prepares");
        let rows = query
            .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .expect("reads");
        for (id, meaning) in rows.map(|row| row.expect("reads")) {
            assert!(
                id > greatest || self.0.contains_key(&(table, id)),
                "{table} {id} comes after {greatest}"
            );
            self.note(table, id, &meaning);
        }
    }
}

const MIRRORS: [&str; 2] = ["debian", "other"];
const SNAPSHOTS: [&str; 5] = ["one", "two", "three", "four", "five"];
const CONTENTS: [&str; 7] = ["", "x", "xx", "apple", "a longer text", "pear", "plum"];
const NAMES: [&str; 10] = ["a", "b", "c", "by-hash", "SHA256", "a.b", "x", "nothing", "ä z", ""];
/// Paths that are files in some listings and directories in others.
const PATHS: [&str; 15] = [
    "a",
    "a/a",
    "a/b",
    "a/b/a",
    "a/b/c",
    "a-b",
    "a.b/x",
    "b",
    "b/a",
    "b/a/c",
    "b/b",
    "c/a",
    "c/a/b/c/a",
    "c/b",
    "ä z",
];

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    /// A sync. Starts from the mirror's last listing, or from nothing.
    Sync {
        mirror: usize,
        afresh: bool,
        edits: Vec<Edit>,
        name: usize,
        pointers: Vec<Pointer>,
    },
    /// A sync that dies before it prepares: it has leased and added this content.
    Fetch {
        mirror: usize,
        content: usize,
    },
    Claim {
        mirror: usize,
        content: usize,
    },
    Create {
        mirror: usize,
        name: usize,
        replace: bool,
        pointers: Vec<Pointer>,
    },
    Delete {
        mirror: usize,
        names: Vec<usize>,
    },
    /// Mirror 2 is unknown.
    Move(Vec<(usize, Pointer, Result<usize, Pointer>)>),
    Condemn,
    /// Sweeps what was condemned `grace` seconds ago; between listing the candidates and sweeping them a sync claims
    /// one content, and the removal of one file fails.
    Sweep {
        grace: i64,
        limit: u32,
        claims: usize,
        fails: Option<u64>,
    },
    NoteUnchanged {
        mirror: usize,
    },
    Expire {
        age: i64,
        syncing: Option<usize>,
    },
    Clock(i64),
}

#[derive(Debug, Clone)]
struct Edit {
    path: usize,
    /// Content, role and hash types; `None` removes.
    file: Option<(usize, Role, HashTypes)>,
}

fn pointer() -> impl Strategy<Value = Pointer> {
    prop::sample::select(&Pointer::ALWAYS[..])
}

fn pointers() -> impl Strategy<Value = Vec<Pointer>> {
    prop::sample::subsequence(&Pointer::ALWAYS[..], 0..=2)
}

fn edit() -> impl Strategy<Value = Edit> {
    let roles = prop::sample::select(&[Role::Release, Role::Index, Role::Index, Role::Pool][..]);
    let file = (0..CONTENTS.len(), roles, 0..16_u8).prop_map(|(content, role, bits)| {
        let kinds = if role == Role::Index {
            HashTypes::from_bits(bits)
        } else {
            HashTypes::NONE
        };
        (content, role, kinds)
    });
    (0..PATHS.len(), prop::option::weighted(0.8, file)).prop_map(|(path, file)| Edit { path, file })
}

fn step() -> impl Strategy<Value = Step> {
    let mirror = || 0..MIRRORS.len();
    let name = || 0..SNAPSHOTS.len();
    let target = prop_oneof![3 => name().prop_map(Ok), 1 => pointer().prop_map(Err)];
    let known = prop_oneof![8 => 0..MIRRORS.len(), 1 => Just(MIRRORS.len())];
    prop_oneof![
        8 => (mirror(), prop::bool::weighted(0.1), prop::collection::vec(edit(), 0..6), name(), pointers())
            .prop_map(|(mirror, afresh, edits, name, pointers)| Step::Sync { mirror, afresh, edits, name, pointers }),
        1 => (mirror(), 0..CONTENTS.len()).prop_map(|(mirror, content)| Step::Fetch { mirror, content }),
        1 => (mirror(), 0..CONTENTS.len()).prop_map(|(mirror, content)| Step::Claim { mirror, content }),
        2 => (mirror(), name(), any::<bool>(), pointers())
            .prop_map(|(mirror, name, replace, pointers)| Step::Create { mirror, name, replace, pointers }),
        5 => (mirror(), prop::collection::vec(name(), 1..3)).prop_map(|(mirror, names)| Step::Delete { mirror, names }),
        3 => prop::collection::vec((known, pointer(), target), 1..4).prop_map(Step::Move),
        2 => Just(Step::Condemn),
        4 => (0..3_i64, 1..20_u32, 0..CONTENTS.len(), prop::option::weighted(0.2, 0..4_u64))
            .prop_map(|(grace, limit, claims, fails)| Step::Sweep { grace, limit, claims, fails }),
        1 => mirror().prop_map(|mirror| Step::NoteUnchanged { mirror }),
        2 => (-1..4_i64, prop::option::of(mirror())).prop_map(|(age, syncing)| Step::Expire { age, syncing }),
        3 => (-3..5_i64).prop_map(Step::Clock),
    ]
}

/// What the catalog should hold, in its plainest form.
#[derive(Default)]
struct Model {
    mirrors: [ModelMirror; 2],
    /// Every blob that has a row, and since when it is condemned.
    blobs: BTreeMap<Digest, Option<Timestamp>>,
    /// Every manifest that was not swept, and its base.
    bases: BTreeMap<Digest, Option<Digest>>,
}

#[derive(Default)]
struct ModelMirror {
    known: bool,
    /// Greatest sequence number so far.
    seq: i64,
    listings: BTreeMap<i64, (Listing, Digest)>,
    snapshots: BTreeMap<&'static str, (SnapshotRow, i64)>,
    pointers: BTreeMap<Pointer, (SnapshotRow, Timestamp)>,
    leases: BTreeMap<Digest, Timestamp>,
    history: Vec<MoveRecord>,
}

impl ModelMirror {
    /// Makes a pointer lead to a snapshot; answers whether that is a change.
    fn lead(&mut self, pointer: Pointer, to: SnapshotRow, now: Timestamp) -> bool {
        let before = self.pointers.get(&pointer).copied();
        if before.is_some_and(|(row, _)| row == to) {
            return false;
        }
        let serial = before.map_or(now, |(_, serial)| now.max(serial.plus(1)));
        self.pointers.insert(pointer, (to, serial));
        true
    }

    fn is_pointed(&self, row: SnapshotRow) -> bool {
        self.pointers.values().any(|(there, _)| *there == row)
    }

    fn drop_unneeded(&mut self) {
        let newest = self.seq;
        let named: BTreeSet<_> = self.snapshots.values().map(|(_, seq)| *seq).collect();
        self.listings.retain(|seq, _| *seq == newest || named.contains(seq));
    }
}

impl Model {
    fn lease(&mut self, mirror: usize, digest: Digest, now: Timestamp) {
        self.mirrors[mirror].leases.insert(digest, now);
    }

    fn claim(&mut self, mirror: usize, blob: BlobFacts, now: Timestamp) -> Claim {
        let last = self.mirrors[mirror].listings.values().next_back();
        let holds = |(listing, _): &(Listing, Digest)| listing.iter().any(|(_, entry)| entry.blob == blob);
        if !self.blobs.contains_key(&blob.digest) {
            return Claim::Absent;
        }
        if last.is_some_and(holds) {
            return Claim::Held(blob);
        }
        self.lease(mirror, blob.digest, now);
        Claim::Leased(blob)
    }

    fn is_used(&self, digest: Digest) -> bool {
        self.bases.values().any(|base| *base == Some(digest))
            || self.mirrors.iter().any(|mirror| {
                let names = |(listing, manifest): &(Listing, Digest)| {
                    *manifest == digest || listing.iter().any(|(_, entry)| entry.blob.digest == digest)
                };
                mirror.leases.contains_key(&digest) || mirror.listings.values().any(names)
            })
    }

    /// Whatever is needed is condemned no more.
    fn acquit(&mut self) {
        let used: Vec<_> = self
            .blobs
            .keys()
            .copied()
            .filter(|digest| self.is_used(*digest))
            .collect();
        for digest in used {
            self.blobs.insert(digest, None);
        }
    }
}

/// A catalog and its model, going through one history.
struct History {
    house: House,
    model: Model,
    meanings: Meanings,
    now: Timestamp,
}

/// What a sweep can fail with.
#[derive(Debug)]
pub(super) enum SweepFailure {
    Catalog,
    Unlink,
}

impl From<CatalogError> for SweepFailure {
    fn from(_: CatalogError) -> Self {
        Self::Catalog
    }
}

impl History {
    fn new() -> Self {
        Self {
            house: House::new(),
            model: Model::default(),
            meanings: Meanings::default(),
            now: at(1_700_000_000),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Sync {
                mirror,
                afresh,
                edits,
                name,
                pointers,
            } => {
                let listing = self.edited(*mirror, *afresh, edits);
                self.sync(*mirror, &listing, SNAPSHOTS[*name], pointers);
            }
            Step::Fetch { mirror, content } => self.fetch(*mirror, CONTENTS[*content]),
            Step::Claim { mirror, content } => self.claim(*mirror, CONTENTS[*content]),
            Step::Create {
                mirror,
                name,
                replace,
                pointers,
            } => {
                self.create(*mirror, SNAPSHOTS[*name], *replace, pointers);
            }
            Step::Delete { mirror, names } => self.delete(*mirror, names),
            Step::Move(wishes) => self.move_pointers(wishes),
            Step::Condemn => self.condemn(),
            Step::Sweep {
                grace,
                limit,
                claims,
                fails,
            } => self.sweep(*grace, *limit, CONTENTS[*claims], *fails),
            Step::NoteUnchanged { mirror } => self.note_unchanged(*mirror),
            Step::Expire { age, syncing } => self.expire(*age, *syncing),
            Step::Clock(seconds) => self.now = self.now.plus(*seconds),
        }
        self.model.acquit();
    }

    fn row(&mut self, mirror: usize) -> MirrorRow {
        self.model.mirrors[mirror].known = true;
        self.house
            .catalog
            .adopt_mirror(&mirror_id(MIRRORS[mirror]))
            .expect("adopts")
    }

    /// The mirror's last listing after some edits. A file that is put in the way of others displaces them.
    fn edited(&self, mirror: usize, afresh: bool, edits: &[Edit]) -> Listing {
        let last = self.model.mirrors[mirror].listings.values().next_back();
        let mut files: BTreeMap<RepoPath, Entry> = match last {
            Some((listing, _)) if !afresh => listing
                .iter()
                .map(|(path, entry)| (path.clone(), entry.clone()))
                .collect(),
            _ => BTreeMap::new(),
        };
        for edit in edits {
            let path = PATHS[edit.path];
            let below = |inner: &str, outer: &str| inner.starts_with(&format!("{outer}/"));
            files.retain(|other, _| {
                other.as_str() != path && !below(other.as_str(), path) && !below(path, other.as_str())
            });
            if let Some((content, role, kinds)) = edit.file {
                files.insert(repo_path(path), entry(CONTENTS[content], role, kinds));
            }
        }
        let mut builder = ListingBuilder::new();
        for (path, entry) in files {
            builder.add(path, entry).expect("no clash");
        }
        builder.build().expect("no clash")
    }

    fn sync(&mut self, mirror: usize, listing: &Listing, name: &'static str, pointers: &[Pointer]) {
        let row = self.row(mirror);
        for (_, entry) in listing.iter() {
            let digest = entry.blob.digest;
            if self.model.claim(mirror, entry.blob, self.now) == Claim::Absent {
                self.model.lease(mirror, digest, self.now);
            }
        }
        for (_, entry) in listing.iter() {
            self.model.blobs.entry(entry.blob.digest).or_default();
        }
        let known: BTreeSet<_> = self.house.manifests.keys().copied().collect();
        let outcome = self.house.sync(MIRRORS[mirror], listing, name, pointers, self.now);
        let manifest = self
            .house
            .manifests
            .keys()
            .copied()
            .find(|digest| !known.contains(digest));
        // A manifest that is prepared again in the same second is the same blob.
        let prepared = manifest
            .or_else(|| self.leased_manifest(mirror, listing))
            .expect("makes a manifest");
        self.model.blobs.insert(prepared, None);
        self.model.lease(mirror, prepared, self.now);
        let theirs = &mut self.model.mirrors[mirror];
        if theirs.snapshots.contains_key(name) {
            assert!(
                matches!(outcome, Err(CatalogError::SnapshotExists { .. })),
                "{outcome:?}"
            );
            return;
        }
        let recorded = outcome.expect("records");
        theirs.seq += 1;
        assert_eq!(recorded.seq.number(), theirs.seq);
        theirs.leases.clear();
        theirs.listings.insert(theirs.seq, (listing.clone(), prepared));
        theirs.snapshots.insert(name, (recorded.row, theirs.seq));
        for (pointer, moved) in pointers.iter().zip(&recorded.moves) {
            assert_eq!(moved.changed(), theirs.lead(pointer.clone(), recorded.row, self.now));
        }
        theirs.drop_unneeded();
        let base = Manifest::decode(&self.house.manifests[&prepared])
            .expect("decodes")
            .base;
        self.model.bases.insert(prepared, base);
        let state = self
            .house
            .catalog
            .reader()
            .last_state(row)
            .expect("reads")
            .expect("was synced");
        assert_eq!(
            (state.seq, state.files, state.bytes),
            (recorded.seq, listing.len() as u64, listing.size())
        );
        assert_eq!(state.checked_at, Some(self.now));
    }

    /// The manifest that an attempt to record the same listing at the same time has left.
    fn leased_manifest(&self, mirror: usize, listing: &Listing) -> Option<Digest> {
        let theirs = &self.model.mirrors[mirror];
        self.house.manifests.iter().find_map(|(digest, bytes)| {
            let manifest = Manifest::decode(bytes).expect("decodes");
            let same = manifest.mirror == MIRRORS[mirror]
                && manifest.seq.number() == theirs.seq + 1
                && manifest.recorded_at == self.now
                && manifest_files(&self.house.expand(*digest).0) == plain(listing);
            same.then_some(*digest)
        })
    }

    fn fetch(&mut self, mirror: usize, content: &str) {
        let row = self.row(mirror);
        let blob = facts(content);
        self.house.catalog.lease(row, &[blob.digest], self.now).expect("leases");
        self.house.catalog.add_blobs(&[blob]).expect("adds");
        self.model.lease(mirror, blob.digest, self.now);
        self.model.blobs.insert(blob.digest, None);
    }

    fn claim(&mut self, mirror: usize, content: &str) {
        let row = self.row(mirror);
        let blob = facts(content);
        let found = self.house.catalog.claim(row, &[blob.digest], self.now).expect("claims");
        assert_eq!(found, [self.model.claim(mirror, blob, self.now)]);
    }

    fn create(&mut self, mirror: usize, name: &'static str, replace: bool, pointers: &[Pointer]) {
        let (id, name_value) = (mirror_id(MIRRORS[mirror]), snapshot_name(name));
        let outcome = self.house.catalog.create_snapshot(
            &id,
            &name_value,
            replace,
            pointers,
            LENDING_NOTHING,
            act("stage", self.now),
        );
        let theirs = &mut self.model.mirrors[mirror];
        let old = theirs.snapshots.get(name).copied();
        if theirs.seq == 0 {
            assert!(matches!(outcome, Err(CatalogError::UnknownMirror(_))), "{outcome:?}");
        } else if old.is_some() && !replace {
            assert!(
                matches!(outcome, Err(CatalogError::SnapshotExists { .. })),
                "{outcome:?}"
            );
        } else if old.is_some_and(|(row, _)| theirs.is_pointed(row)) {
            assert!(matches!(outcome, Err(CatalogError::Pointed { .. })), "{outcome:?}");
        } else {
            let moves = outcome.expect("creates");
            let reader = self.house.catalog.reader();
            let row = reader.mirror(&id).expect("is known");
            let row = reader
                .snapshot_named(row, &name_value)
                .expect("reads")
                .expect("was made");
            theirs.snapshots.insert(name, (row, theirs.seq));
            theirs.drop_unneeded();
            for (pointer, moved) in pointers.iter().zip(&moves) {
                assert_eq!(moved.changed(), theirs.lead(pointer.clone(), row, self.now));
            }
        }
    }

    fn delete(&mut self, mirror: usize, names: &[usize]) {
        let id = mirror_id(MIRRORS[mirror]);
        let values: Vec<_> = names.iter().map(|name| snapshot_name(SNAPSHOTS[*name])).collect();
        let outcome = self.house.catalog.delete_snapshots(&id, &values, false, self.now);
        let theirs = &mut self.model.mirrors[mirror];
        let distinct: BTreeSet<_> = names.iter().map(|name| SNAPSHOTS[*name]).collect();
        let may_go = |name: &&str| {
            theirs
                .snapshots
                .get(name)
                .is_some_and(|(row, _)| !theirs.is_pointed(*row))
        };
        if distinct.iter().all(may_go) {
            outcome.expect("deletes");
            theirs.snapshots.retain(|name, _| !distinct.contains(name));
            theirs.drop_unneeded();
        } else {
            outcome.expect_err("something cannot go");
        }
    }

    fn move_pointers(&mut self, wishes: &[(usize, Pointer, Result<usize, Pointer>)]) {
        let requested: Vec<_> = wishes
            .iter()
            .map(|(mirror, pointer, target)| RequestedMove {
                mirror: mirror_id(MIRRORS.get(*mirror).unwrap_or(&"unknown")),
                pointer: pointer.clone(),
                target: match target {
                    Ok(name) => PointerTarget::Snapshot(snapshot_name(SNAPSHOTS[*name])),
                    Err(pointer) => PointerTarget::SameAs(pointer.clone()),
                },
                expect: None,
                terms: LENDING_NOTHING,
            })
            .collect();
        let before = self.house.number("SELECT count(*) FROM move");
        let outcome = self.house.catalog.move_pointers(&requested, act("publish", self.now));
        let after = self.house.number("SELECT count(*) FROM move");
        match self.wished(wishes) {
            None => {
                outcome.expect_err("one wish cannot be fulfilled");
                assert_eq!(before, after, "then none is");
            }
            Some(expected) => {
                let moves = outcome.expect("moves");
                let changed: Vec<_> = moves.iter().map(Moved::changed).collect();
                assert_eq!(changed, expected);
                assert_eq!(
                    after - before,
                    count(expected.iter().filter(|changed| **changed).count())
                );
                let acts: BTreeSet<_> = moves.iter().filter(|m| m.changed()).map(|m| m.now.act_row).collect();
                assert!(acts.len() <= 1, "moves of one act say so");
            }
        }
    }

    /// Fulfils wishes in the model, and answers which of them change something. `None`, and no change, when one of
    /// them cannot be fulfilled.
    fn wished(&mut self, wishes: &[(usize, Pointer, Result<usize, Pointer>)]) -> Option<Vec<bool>> {
        let before: Vec<_> = self
            .model
            .mirrors
            .iter()
            .map(|mirror| mirror.pointers.clone())
            .collect();
        let outcome: Option<Vec<bool>> = wishes
            .iter()
            .map(|(mirror, pointer, target)| {
                let theirs = self.model.mirrors.get_mut(*mirror)?;
                let row = match target {
                    Ok(name) => theirs.snapshots.get(SNAPSHOTS[*name])?.0,
                    Err(source) => theirs.pointers.get(source)?.0,
                };
                Some(theirs.lead(pointer.clone(), row, self.now))
            })
            .collect();
        if outcome.is_none() {
            for (mirror, pointers) in self.model.mirrors.iter_mut().zip(before) {
                mirror.pointers = pointers;
            }
        }
        outcome
    }

    fn condemn(&mut self) {
        let unused: Vec<_> = self
            .model
            .blobs
            .keys()
            .copied()
            .filter(|digest| !self.model.is_used(*digest))
            .collect();
        for digest in &unused {
            self.model
                .blobs
                .entry(*digest)
                .and_modify(|since| *since = since.or(Some(self.now)));
        }
        let marked = self.house.catalog.condemn_unused(self.now).expect("marks");
        assert_eq!(marked.blobs, unused.len() as u64);
    }

    fn sweep(&mut self, grace: i64, limit: u32, claims: &str, fails: Option<u64>) {
        let until = self.now.plus(-grace);
        let candidates = self.house.catalog.reader().condemned(until, limit).expect("lists");
        assert_eq!(
            candidates.iter().map(|found| found.digest).collect::<Vec<_>>(),
            self.condemned(until, limit)
        );
        self.claim(0, claims);
        let spared = facts(claims).digest;
        let going: Vec<_> = candidates
            .iter()
            .map(|found| found.digest)
            .filter(|digest| *digest != spared)
            .collect();
        let mut removed = Vec::new();
        let outcome = self.house.catalog.sweep(&candidates, until, |digest| {
            if fails == Some(removed.len() as u64) {
                return Err(SweepFailure::Unlink);
            }
            removed.push(digest);
            Ok(())
        });
        let fails = fails
            .and_then(|fails| usize::try_from(fails).ok())
            .filter(|fails| *fails < going.len());
        match (outcome, fails) {
            (Ok(swept), None) => assert_eq!(swept.blobs, going.len() as u64),
            (Err(SweepFailure::Unlink), Some(_)) => {}
            (outcome, _) => panic!("{outcome:?}"),
        }
        assert_eq!(
            removed,
            going[..fails.unwrap_or(going.len())],
            "unlinks in order, and stops at a failure"
        );
        for digest in removed {
            self.house.manifests.remove(&digest);
            self.model.blobs.remove(&digest);
            self.model.bases.remove(&digest);
        }
    }

    /// The candidates of a sweep: longest condemned first, then in the order of their rows.
    fn condemned(&self, until: Timestamp, limit: u32) -> Vec<Digest> {
        let mut query = self
            .house
            .sql()
            .prepare("SELECT sha256 FROM blob ORDER BY id")
            .expect("prepares");
        let rows = query.query_map([], |row| row.get(0)).expect("reads");
        let mut found: Vec<(Timestamp, Digest)> = rows
            .map(|row| row.map(|sql_types::Sql(digest)| digest).expect("reads"))
            .filter_map(|digest| Some((self.model.blobs[&digest]?, digest)))
            .filter(|(since, digest)| *since <= until && !self.model.is_used(*digest))
            .collect();
        found.sort_by_key(|(since, _)| *since);
        found
            .into_iter()
            .map(|(_, digest)| digest)
            .take(limit as usize)
            .collect()
    }

    fn note_unchanged(&mut self, mirror: usize) {
        let row = self.row(mirror);
        self.house.catalog.note_unchanged(row, &SAME, self.now).expect("notes");
        self.model.mirrors[mirror].leases.clear();
    }

    fn expire(&mut self, age: i64, syncing: Option<usize>) {
        let until = self.now.plus(-age);
        let ids: Vec<_> = syncing.iter().map(|mirror| mirror_id(MIRRORS[*mirror])).collect();
        let dropped = self.house.catalog.expire_leases(until, &ids).expect("expires");
        let mut expected = 0;
        for (index, mirror) in self.model.mirrors.iter_mut().enumerate() {
            let before = mirror.leases.len();
            mirror
                .leases
                .retain(|_, since| *since >= until || syncing == Some(index));
            expected += before - mirror.leases.len();
        }
        assert_eq!(dropped, expected);
    }

    /// Everything that can be read is what the model says.
    fn check(&mut self) {
        for mirror in 0..MIRRORS.len() {
            if self.model.mirrors[mirror].known {
                self.check_mirror(mirror);
            }
        }
        self.check_blobs();
        check_rows(&self.house);
        let connection = &self.house.catalog.reader.connection;
        self.meanings.note_table(connection, "blob", "lower(hex(sha256))");
        self.meanings
            .note_table(connection, "snapshot", "mirror_id || name || seq || created_at");
        self.meanings.note_table(connection, "mirror", "name");
        let meaning = "act_id || mirror_id || pointer || snapshot_id || snapshot_name || serial_mtime";
        self.meanings.note_table(connection, "move", meaning);
    }

    fn check_mirror(&mut self, mirror: usize) {
        let row = self.house.row(MIRRORS[mirror]);
        let reader = self.house.catalog.reader();
        let theirs = &mut self.model.mirrors[mirror];
        let pointed = |pointer| theirs.pointers.get(&pointer).map(|(row, _): &(SnapshotRow, _)| *row);
        let (staging, current) = (pointed(Pointer::Staging), pointed(Pointer::Current));
        let snapshots = reader.snapshots(row).expect("reads");
        assert!(snapshots.is_sorted_by(|a, b| a.row > b.row), "newest first");
        assert_eq!(snapshots.len(), theirs.snapshots.len());
        for found in &snapshots {
            let (expected, seq) = theirs.snapshots[found.name.as_str()];
            let (listing, _) = &theirs.listings[&seq];
            assert_eq!((found.row, found.seq.number()), (expected, seq));
            assert_eq!((found.files, found.bytes), (listing.len() as u64, listing.size()));
            assert_eq!(
                (found.is_staged(), found.is_current()),
                (staging == Some(expected), current == Some(expected))
            );
        }
        check_history(reader, row, theirs);
        for (seq, (listing, _)) in &theirs.listings {
            let mut walk = Walk {
                reader,
                mirror: row,
                seq: Seq(*seq),
                tree: Tree::new(),
                meanings: &mut self.meanings,
            };
            walk.directory("", ROOT_DIR);
            let tree = walk.tree;
            assert_eq!(tree, tree_of(listing));
            let (manifest, _) = self.house.whole_manifest(row, Seq(*seq));
            check_manifest(&manifest, listing, &tree, &mut self.meanings);
        }
    }

    fn check_blobs(&self) {
        let mut query = self
            .house
            .sql()
            .prepare("SELECT sha256, condemned_at FROM blob")
            .expect("prepares");
        let rows = query.query_map([], |row| {
            let sql_types::Sql(digest) = row.get(0)?;
            Ok((digest, row.get::<_, Option<i64>>(1)?.map(at)))
        });
        let rows: BTreeMap<Digest, Option<Timestamp>> = rows.expect("reads").map(|row| row.expect("reads")).collect();
        assert_eq!(rows, self.model.blobs);
        let leases: usize = self.model.mirrors.iter().map(|mirror| mirror.leases.len()).sum();
        assert_eq!(self.house.number("SELECT count(*) FROM lease"), count(leases));
        let unused = self
            .model
            .blobs
            .keys()
            .filter(|digest| !self.model.is_used(**digest))
            .count();
        assert_eq!(
            self.house.catalog.reader().unused().expect("reads").blobs,
            unused as u64
        );
    }
}

/// Moves are only ever appended, their serial times grow, and the newest is where a pointer leads.
fn check_history(reader: &CatalogReader, row: MirrorRow, theirs: &mut ModelMirror) {
    let mut history = reader.history(row).expect("reads");
    history.reverse();
    assert!(history.starts_with(&theirs.history), "moves are only appended");
    for pointer in Pointer::ALWAYS {
        let moves: Vec<_> = history.iter().filter(|moved| moved.pointer == pointer).collect();
        assert!(moves.is_sorted_by(|a, b| a.serial_mtime < b.serial_mtime && a.snapshot_row != b.snapshot_row));
        let newest = reader.pointer(row, &pointer).expect("reads");
        assert_eq!(newest.as_ref(), moves.last().copied());
        let expected = theirs.pointers.get(&pointer).copied();
        assert_eq!(newest.map(|moved| (moved.snapshot_row, moved.serial_mtime)), expected);
    }
    theirs.history = history;
}

/// A listing without row numbers, for comparison.
fn plain(listing: &Listing) -> BTreeMap<RepoPath, Entry> {
    listing
        .iter()
        .map(|(path, entry)| (path.clone(), entry.clone()))
        .collect()
}

fn manifest_files(manifest: &Manifest) -> BTreeMap<RepoPath, Entry> {
    let entry = |file: &ManifestFile| Entry {
        role: file.role,
        blob: file.blob,
        by_hash: file.by_hash.clone(),
    };
    let files = manifest
        .files
        .iter()
        .filter_map(|(path, file)| Some((path.clone(), entry(file.as_ref()?))));
    files.collect()
}

fn check_manifest(manifest: &Manifest, listing: &Listing, tree: &Tree, meanings: &mut Meanings) {
    assert_eq!(manifest_files(manifest), plain(listing));
    for file in manifest.files.values().flatten() {
        meanings.note("blob", file.row.number(), &file.blob.digest.to_string());
    }
    for (path, row) in &manifest.dirs {
        meanings.note("dir", row.number(), path.as_str());
    }
    for path in tree
        .iter()
        .filter(|(_, seen)| **seen == Seen::Directory)
        .map(|(path, _)| path)
    {
        assert!(
            manifest.dirs.contains_key(&repo_path(path)),
            "{path} has a row in the manifest"
        );
    }
}

/// What must be true of the rows, whatever happened.
pub(super) fn check_rows(house: &House) {
    let violations = [
        (
            "a digest has two rows",
            "(SELECT sha256 FROM blob GROUP BY sha256 HAVING count(*) > 1)",
        ),
        (
            "a blob's count is wrong",
            "blob WHERE refs <> (SELECT count(*) FROM entry WHERE blob_id = blob.id)
           + (SELECT count(*) FROM listing WHERE manifest_id = blob.id)
           + (SELECT count(*) FROM manifest WHERE base_id = blob.id)",
        ),
        (
            "an entry names no blob",
            "entry WHERE blob_id IS NOT NULL AND blob_id NOT IN (SELECT id FROM blob)",
        ),
        (
            "a listing names no manifest",
            "listing WHERE manifest_id NOT IN (SELECT blob_id FROM manifest)",
        ),
        (
            "a manifest is no blob",
            "manifest WHERE blob_id NOT IN (SELECT id FROM blob)",
        ),
        (
            "a manifest changes no blob",
            "manifest WHERE base_id NOT IN (SELECT id FROM blob)",
        ),
        (
            "an entry is in no listing",
            "entry WHERE NOT EXISTS (SELECT 1 FROM listing
           WHERE listing.mirror_id = entry.mirror_id AND seq >= from_seq AND seq < to_seq)",
        ),
        (
            "a listing is in no snapshot",
            "listing WHERE NOT EXISTS
             (SELECT 1 FROM snapshot WHERE snapshot.mirror_id = listing.mirror_id AND snapshot.seq = listing.seq)
           AND seq < (SELECT max(seq) FROM listing AS newer WHERE newer.mirror_id = listing.mirror_id)",
        ),
        (
            "two rows of one name overlap",
            "entry AS a JOIN entry AS b USING (mirror_id, dir_id, name)
           WHERE a.from_seq < b.from_seq AND a.to_seq > b.from_seq",
        ),
        (
            "a file is a directory elsewhere",
            "entry WHERE child_dir IS NOT NULL AND NOT EXISTS
           (SELECT 1 FROM dir WHERE dir.id = child_dir AND dir.parent_id = entry.dir_id AND dir.name = entry.name)",
        ),
        ("a foreign key is broken", "pragma_foreign_key_check"),
    ];
    for (what, rows) in violations {
        assert_eq!(house.number(&format!("SELECT count(*) FROM {rows}")), 0, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_read_as_the_model_says(steps in prop::collection::vec(step(), 1..40)) {
        let mut history = History::new();
        for step in &steps {
            history.take(step);
            history.check();
        }
        super::rebuild::tests::check_rebuilt(&history.house);
    }
}

#[test]
fn manifests_start_anew_after_a_long_chain_and_bases_outlive_their_listings() {
    let mut house = House::new();
    let mut listings = Vec::new();
    for n in 0..70 {
        let path = format!("pool/{}", n % 9);
        let content = format!("content {n}");
        let mut files = vec![("dists/Release".to_owned(), format!("release {n}"))];
        files.push((path, content));
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_str()))
            .collect();
        let listing = listing(&files);
        let recorded = house
            .sync("debian", &listing, &format!("s{n}"), &[], at(n))
            .expect("records");
        listings.push((recorded.seq, listing));
    }
    let row = house.row("debian");
    let lengths: Vec<_> = listings
        .iter()
        .map(|(seq, _)| house.whole_manifest(row, *seq).1)
        .collect();
    let expected: Vec<_> = (0..70).map(|n| n % 33 + 1).collect();
    assert_eq!(lengths, expected, "a whole manifest, 32 that hold changes, and again");

    // Only the last listing of the second chain and the newest stay.
    let gone: Vec<_> = (0..69)
        .filter(|n| *n != 65)
        .map(|n| snapshot_name(&format!("s{n}")))
        .collect();
    house
        .catalog
        .delete_snapshots(&mirror_id("debian"), &gone, false, at(9))
        .expect("deletes");
    house.sweep_all(at(100));
    check_rows(&house);
    for n in [65, 69] {
        let (seq, listing) = &listings[n];
        let (manifest, length) = house.whole_manifest(row, *seq);
        assert_eq!(manifest_files(&manifest), plain(listing));
        assert_eq!(length, lengths[n]);
    }
    assert_eq!(
        house.manifests.len(),
        lengths[65] + lengths[69],
        "the first chain is gone"
    );
    assert_eq!(house.number("SELECT count(*) FROM entry WHERE child_dir IS NULL"), 4);
}

//! Tests of the grace overlay over a real catalog and real manifests, by a clock that the tests set.
//!
//! Owns [`House`]. Every look is taken twice: by the catalog, and by a view whose catalog has failed.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::catalog::{Act, Catalog, Claim, PointerTarget, Recording, RequestedMove};
use crate::model::{
    BlobFacts, Entry, HashType, IndexHash, Lending, ListingBuilder, MirrorId, MoveTerms, Pointer, RepoPath,
};

const HOUR: i64 = 3_600;

/// A pool file, a Release file, and an index that is found by its SHA-256 as well.
const POOL: Role = Role::Pool;
const RELEASE: Role = Role::Release;
const INDEX: Role = Role::Index;

type Files<'a> = &'a [(&'a str, &'a str, Role)];

/// A catalog with blobs, and the view of them.
struct House {
    place: TempDir,
    catalog: Catalog,
    view: View,
    hands: Arc<AtomicI64>,
}

fn at(hour: i64) -> Timestamp {
    Timestamp::from_unix(hour * HOUR)
}

fn mirror() -> MirrorId {
    "debian".parse().expect("valid")
}

fn name(text: &str) -> SnapshotName {
    text.parse().expect("valid")
}

/// The name by which an index with these bytes is found by hash.
fn by_hash(directory: &str, content: &str) -> String {
    format!("{directory}/by-hash/SHA256/{}", Digest::of(content.as_bytes()))
}

fn entry(content: &str, role: Role) -> Entry {
    let blob = BlobFacts {
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        mtime: at(-1),
    };
    let hash = IndexHash {
        kind: HashType::Sha256,
        hex: blob.digest.to_string().into(),
    };
    Entry {
        role,
        blob,
        by_hash: (role == INDEX).then_some(hash).into_iter().collect(),
    }
}

/// What a walk found: bytes of a file, or a directory, of the target or lent.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Own(String),
    Lent(String),
    OwnDirectory,
    LentDirectory,
    Absent,
}

fn own(content: &str) -> Seen {
    Seen::Own(content.to_owned())
}

fn lent(content: &str) -> Seen {
    Seen::Lent(content.to_owned())
}

impl House {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("catalog.db");
        fs::write(&path, "").expect("written");
        fs::create_dir(place.path().join("blobs")).expect("made");
        let hands = Arc::new(AtomicI64::new(0));
        let catalog = Catalog::open(&path).expect("made");
        let view = view(&path, &place.path().join("blobs"), &hands);
        Self {
            place,
            catalog,
            view,
            hands,
        }
    }

    fn blobs(&self) -> PathBuf {
        self.place.path().join("blobs")
    }

    fn store(&self, bytes: &[u8]) -> BlobFacts {
        let digest = Digest::of(bytes);
        let hex = digest.to_string();
        let directory = self.blobs().join(&hex[..2]);
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join(hex), bytes).expect("written");
        BlobFacts {
            digest,
            size: bytes.len() as u64,
            mtime: at(-1),
        }
    }

    /// Records a snapshot with these files.
    fn snapshot(&mut self, text: &str, files: Files<'_>) {
        let mut builder = ListingBuilder::new();
        for (path, content, role) in files {
            let path: RepoPath = path.parse().expect("valid");
            builder.add(path, entry(content, *role)).expect("no clash");
        }
        let listing = builder.build().expect("no clash");
        let row = self.catalog.adopt_mirror(&mirror()).expect("adopts");
        let mut blobs: Vec<_> = files
            .iter()
            .map(|(_, content, _)| self.store(content.as_bytes()))
            .collect();
        self.add(row, &mut blobs);
        let prepared = self.catalog.prepare(&mirror(), &listing, at(0)).expect("prepares");
        let manifest = self.store(prepared.manifest());
        self.add(row, &mut vec![manifest]);
        let called = name(text);
        let what = Recording::plain(manifest.digest, &called, at(0));
        self.catalog.record(&prepared, &what).expect("records");
    }

    fn add(&mut self, row: MirrorRow, blobs: &mut Vec<BlobFacts>) {
        let digests: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
        let have = self.catalog.claim(row, &digests, at(0)).expect("claims");
        let mut have = have.iter();
        blobs.retain(|_| have.next() == Some(&Claim::Absent));
        self.catalog.lease(row, &digests, at(0)).expect("leases");
        self.catalog.add_blobs(blobs).expect("adds");
    }

    /// Moves `current` at the time `hour`, by terms that keep the last publication and those of two hours.
    fn publish(&mut self, text: &str, hour: i64, retracts: bool) {
        let wish = RequestedMove {
            mirror: mirror(),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(name(text)),
            expect: None,
            terms: MoveTerms {
                lending: Lending {
                    generations: 1,
                    within: std::time::Duration::from_hours(2),
                },
                ..MoveTerms::default()
            },
        };
        let act = Act {
            command: "publish",
            actor: "tester",
            message: None,
            now: at(hour),
            in_turn: false,
            force: false,
            retracts,
        };
        self.catalog.move_pointers(&[wish], act).expect("moves");
        self.set_clock(hour);
        self.view.refresh().expect("readable");
    }

    fn delete(&mut self, text: &str) {
        self.catalog
            .delete_snapshots(&mirror(), &[name(text)], true, at(1_000))
            .expect("deletes");
        self.view.refresh().expect("readable");
    }

    fn set_clock(&self, hour: i64) {
        self.hands.store(hour * HOUR, Ordering::SeqCst);
    }

    /// What is found at `path` below `current`, whether the catalog can be read or not.
    fn see(&self, path: &str) -> Seen {
        let seen = see(&self.view, path).expect("known");
        let degraded = self.degraded();
        assert_eq!(see(&degraded.view, path).expect("known"), seen, "{path}, degraded");
        assert_eq!(
            see(
                &view(&self.place.path().join("catalog.db"), &self.blobs(), &self.hands),
                path
            )
            .expect("known"),
            seen,
            "{path}, after a restart"
        );
        seen
    }

    fn list(&self, path: &str) -> Vec<String> {
        list(&self.view, path)
    }

    /// A view that knew the catalog as it is before it failed.
    fn degraded(&self) -> Degraded {
        let place = tempfile::tempdir().expect("a directory");
        let here = place.path().join("catalog.db");
        copy_catalog(self.place.path(), place.path());
        let view = view(&here, &self.blobs(), &self.hands);
        view.refresh().expect("readable");
        for path in [here.clone(), here.with_extension("db-wal")] {
            fs::write(path, "").expect("damaged");
        }
        for _ in 0..2 {
            view.version().expect_err("damaged");
        }
        assert!(view.is_degraded());
        Degraded { view, _place: place }
    }
}

struct Degraded {
    view: View,
    _place: TempDir,
}

fn view(catalog: &Path, blobs: &Path, hands: &Arc<AtomicI64>) -> View {
    let blobs = BlobStore::open(blobs, None).expect("opens");
    let hands = Arc::clone(hands);
    let clock = Clock::new(move || Timestamp::from_unix(hands.load(Ordering::SeqCst)));
    View::open(catalog.to_owned(), blobs, clock).expect("opens")
}

fn copy_catalog(from: &Path, to: &Path) {
    for file in ["catalog.db", "catalog.db-wal"] {
        fs::copy(from.join(file), to.join(file)).expect("copied");
    }
}

/// Walks from `current` to `path`.
fn see(view: &View, path: &str) -> io::Result<Seen> {
    let Some((door, dir, last)) = parent(view, path)? else {
        return Ok(Seen::Absent);
    };
    let Some(Found { node, lasts }) = view.child(door, dir, last.as_bytes())? else {
        return Ok(Seen::Absent);
    };
    let Node::File(file) = node else {
        return Ok(if lasts { Seen::OwnDirectory } else { Seen::LentDirectory });
    };
    let mut text = String::new();
    view.open(file.id.blob)?.read_to_string(&mut text)?;
    Ok(if lasts { Seen::Own(text) } else { Seen::Lent(text) })
}

/// The directory in which the last name of `path` is to be looked up.
fn parent<'a>(view: &View, path: &'a str) -> io::Result<Option<(Door, DirNo, &'a str)>> {
    let (_, row) = view.mirrors()?.remove(0);
    let pointers = view.pointers(row)?;
    let door = pointers
        .iter()
        .find(|named| *named.name == *b"current")
        .expect("is set")
        .door;
    let mut dir = view.door(door)?.expect("exists").root;
    let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
    for part in above.split('/').filter(|part| !part.is_empty()) {
        match view.child(door, dir, part.as_bytes())? {
            Some(Found {
                node: Node::Directory(below),
                ..
            }) => dir = below,
            _ => return Ok(None),
        }
    }
    Ok(Some((door, dir, last)))
}

fn list(view: &View, path: &str) -> Vec<String> {
    let below = format!("{path}/x");
    let (door, dir, _) = parent(view, below.trim_start_matches('/'))
        .expect("known")
        .expect("a directory");
    let children = view.children(door, dir).expect("known");
    children
        .iter()
        .map(|child| String::from_utf8(child.name.to_vec()).expect("UTF-8"))
        .collect()
}

/// Three publications: everything that only one of them has says so.
fn published() -> House {
    let mut house = House::new();
    for (hour, text) in [(10, "a"), (11, "b"), (12, "c")] {
        let (only, changed) = (format!("pool/{text}.deb"), format!("changed in {text}"));
        let packages = format!("Packages of {text}");
        let deep = format!("only-{text}/deep/{text}.deb");
        house.snapshot(
            text,
            &[
                ("dists/s/InRelease", text, RELEASE),
                ("dists/s/main/Packages", &packages, INDEX),
                (&format!("dists/s/only-{text}/Packages"), &packages, INDEX),
                (&only, text, POOL),
                (&deep, text, POOL),
                ("pool/changed.deb", &changed, POOL),
                ("pool/same.deb", "same", POOL),
            ],
        );
        house.publish(text, hour, false);
    }
    house
}

#[test]
fn what_the_target_lacks_is_lent_by_role() {
    let house = published();
    assert_eq!(house.see("dists/s/InRelease"), own("c"));
    assert_eq!(house.see("dists/s/main/Packages"), own("Packages of c"));
    assert_eq!(house.see("pool/changed.deb"), own("changed in c"), "the target wins");
    assert_eq!(house.see("pool/same.deb"), own("same"));
    for text in ["a", "b"] {
        let packages = format!("Packages of {text}");
        assert_eq!(house.see(&by_hash("dists/s/main", &packages)), lent(&packages));
        assert_eq!(house.see(&format!("pool/{text}.deb")), lent(text));
        let directory = format!("dists/s/only-{text}");
        assert_eq!(house.see(&directory), Seen::LentDirectory);
        assert_eq!(
            house.see(&format!("{directory}/Packages")),
            Seen::Absent,
            "an index at its plain name"
        );
        assert_eq!(house.see(&by_hash(&directory, &packages)), lent(&packages));
        assert_eq!(house.see(&format!("only-{text}/deep/{text}.deb")), lent(text));
    }
    assert_eq!(
        house.see(&by_hash("dists/s/main", "Packages of c")),
        own("Packages of c")
    );
    assert_eq!(house.see("pool/none.deb"), Seen::Absent);
    assert_eq!(house.see(&by_hash("dists/s/main", "none")), Seen::Absent);
}

#[test]
fn what_is_lent_is_not_listed() {
    let house = published();
    assert_eq!(house.list(""), ["dists", "only-c", "pool"]);
    assert_eq!(house.list("pool"), ["c.deb", "changed.deb", "same.deb"]);
    assert_eq!(house.list("dists/s/main/by-hash/SHA256").len(), 1);
    for directory in [
        "only-a",
        "only-a/deep",
        "dists/s/only-b",
        "dists/s/only-b/by-hash/SHA256",
    ] {
        assert_eq!(house.list(directory), Vec::<String>::new(), "{directory}");
    }
}

#[test]
fn a_snapshot_lends_nothing() {
    let house = published();
    let (_, row) = house.view.mirrors().expect("known").remove(0);
    let door = house.view.snapshot(row, b"c").expect("known").expect("exists");
    let root = house.view.door(door).expect("known").expect("exists").root;
    assert!(
        house
            .view
            .child(door, root, b"only-c")
            .expect("known")
            .expect("has it")
            .lasts
    );
    assert_eq!(house.view.child(door, root, b"only-a").expect("known"), None);
}

#[test]
fn the_newest_publication_that_has_a_name_lends_it() {
    let mut house = House::new();
    for (text, content) in [("a", "older"), ("b", "newer")] {
        house.snapshot(text, &[("pool/x.deb", content, POOL)]);
    }
    house.snapshot("c", &[("pool/y.deb", "y", POOL)]);
    for (hour, text) in [(10, "a"), (11, "b"), (12, "c")] {
        house.publish(text, hour, false);
    }
    assert_eq!(house.see("pool/x.deb"), lent("newer"));
}

#[test]
fn the_target_wins_also_where_a_file_stands_against_a_directory() {
    let mut house = House::new();
    house.snapshot(
        "a",
        &[("x/deep.deb", "deep", POOL), ("y", "a file", POOL), ("z/i", "z", INDEX)],
    );
    house.snapshot(
        "b",
        &[
            ("x", "a file", POOL),
            ("y/deep.deb", "deep", POOL),
            ("z", "index", INDEX),
        ],
    );
    house.publish("a", 1, false);
    house.publish("b", 1, false);
    assert_eq!(house.see("x"), own("a file"));
    assert_eq!(house.see("x/deep.deb"), Seen::Absent);
    assert_eq!(house.see("y"), Seen::OwnDirectory);
    assert_eq!(house.see("y/deep.deb"), own("deep"));
    // Between two that lend, the newer one wins; but it does not lend an index.
    house.snapshot("c", &[("other", "c", POOL)]);
    house.publish("c", 1, false);
    assert_eq!(house.see("x"), lent("a file"));
    assert_eq!(house.see("y/deep.deb"), lent("deep"));
    assert_eq!(house.see("z"), Seen::LentDirectory);
}

#[test]
fn what_is_lent_vanishes_when_its_time_is_over() {
    let house = published();
    // a was superseded at 11, b at 12; one publication is kept at any age.
    house.set_clock(13);
    assert_eq!(house.see("pool/a.deb"), Seen::Absent);
    assert_eq!(house.see("only-a"), Seen::Absent);
    assert_eq!(house.see("pool/b.deb"), lent("b"));
    house.set_clock(1_000);
    assert_eq!(house.see("pool/b.deb"), lent("b"));
}

#[test]
fn what_is_lent_vanishes_with_its_snapshot() {
    let mut house = published();
    assert_eq!(house.see("only-b/deep/b.deb"), lent("b"));
    house.delete("b");
    for path in [
        "only-b",
        "only-b/deep/b.deb",
        "pool/b.deb",
        &by_hash("dists/s/main", "Packages of b"),
    ] {
        assert_eq!(house.see(path), Seen::Absent, "{path}");
    }
    assert_eq!(house.see("pool/a.deb"), lent("a"), "the others stay");
    assert_eq!(house.see("pool/c.deb"), own("c"));
}

#[test]
fn what_is_taken_back_is_not_lent() {
    let mut house = published();
    house.publish("a", 12, true);
    assert_eq!(house.see("pool/a.deb"), own("a"));
    assert_eq!(house.see("pool/b.deb"), Seen::Absent);
    assert_eq!(house.see("pool/c.deb"), Seen::Absent);
}

#[test]
fn what_was_published_twice_and_taken_back_is_not_lent() {
    let mut house = published();
    // a, b and c, and c once more after b.
    house.publish("b", 13, false);
    house.publish("c", 13, false);
    assert_eq!(house.see("pool/b.deb"), lent("b"));
    house.publish("b", 14, true);
    assert_eq!(house.see("pool/b.deb"), own("b"));
    assert_eq!(house.see("pool/c.deb"), Seen::Absent);
    house.publish("c", 14, false);
    house.publish("b", 14, false);
    assert_eq!(house.see("pool/c.deb"), lent("c"), "it was published again");
}

#[test]
fn without_the_manifest_of_one_that_lends_nothing_is_denied() {
    let house = published();
    let degraded = house.degraded();
    let (reader, row) = (
        house.catalog.reader(),
        house.catalog.reader().mirror(&mirror()).expect("known"),
    );
    let newest = reader.pointer(row, &Pointer::Current).expect("reads").expect("set");
    let generations = reader.generations(row, &newest, at(12)).expect("reads");
    let chain = reader.manifest_chain(row, generations[0].seq).expect("reads");
    let hex = chain[0].to_string();
    let manifest = house.blobs().join(&hex[..2]).join(&hex);
    let good = fs::read(&manifest).expect("readable");
    fs::write(&manifest, "damaged").expect("damaged");
    // The target's manifest may be made of the same changes; where it is whole, what it has is still served.
    let see = |path| see(&degraded.view, path);
    for path in ["pool/b.deb", "pool/a.deb", "pool/none.deb", "only-a"] {
        see(path).expect_err("not known");
    }
    fs::write(&manifest, good).expect("repaired");
    assert_eq!(see("pool/b.deb").expect("known"), lent("b"));
    assert_eq!(see("pool/none.deb").expect("known"), Seen::Absent);
}

#[test]
fn a_target_that_is_whole_is_served_though_nothing_can_be_lent() {
    let mut house = House::new();
    house.snapshot("a", &[("pool/a.deb", "a", POOL)]);
    house.snapshot("b", &[("pool/b.deb", "b", POOL)]);
    // The other way round, so that the target's manifest is not made of the lender's.
    house.publish("b", 1, false);
    house.publish("a", 1, false);
    let degraded = house.degraded();
    let (reader, row) = (
        house.catalog.reader(),
        house.catalog.reader().mirror(&mirror()).expect("known"),
    );
    let newest = reader.pointer(row, &Pointer::Current).expect("reads").expect("set");
    let lender = reader.generations(row, &newest, at(1)).expect("reads").remove(0);
    let hex = reader.manifest_chain(row, lender.seq).expect("reads")[0].to_string();
    fs::remove_file(house.blobs().join(&hex[..2]).join(&hex)).expect("removed");
    assert_eq!(see(&degraded.view, "pool/a.deb").expect("known"), own("a"));
    see(&degraded.view, "pool/b.deb").expect_err("not known");
    see(&degraded.view, "pool/none.deb").expect_err("not known");
}

#[test]
fn learning_again_forgets_what_is_gone_and_keeps_what_lends() {
    let mut house = published();
    let targets = house.view.last_known.doors();
    house.view.refresh().expect("readable");
    assert_eq!(house.view.last_known.doors(), targets);
    assert_eq!(targets[0].1.lenders.len(), 2);
    house.delete("a");
    let left = house.view.last_known.doors();
    assert_eq!(left[0].1.lenders[..], targets[0].1.lenders[..1]);
}

#[test]
fn a_directory_knows_where_it_stands() {
    let house = published();
    let view = &house.view;
    let (door, below, _) = parent(view, "dists/s/x").expect("known").expect("a directory");
    let (_, above, _) = parent(view, "dists/x").expect("known").expect("a directory");
    let root = view.door(door).expect("known").expect("exists").root;
    let (_, mirror) = view.mirrors().expect("known").remove(0);
    let snapshot = view.snapshots(mirror).expect("known").remove(0).door;
    for (door, dir, expected) in [
        (door, below, Some(Parent::Directory(above))),
        (door, above, Some(Parent::Directory(root))),
        (door, root, Some(Parent::Pointers(mirror))),
        (snapshot, root, Some(Parent::Snapshots(mirror))),
        (Door(Door::MAX), root, None),
        (door, DirNo(DirNo::MAX), None),
    ] {
        assert_eq!(view.parent(door, dir).expect("known"), expected, "{door:?} {dir:?}");
    }
}

//! The mount's semantics against a model, without a kernel.
//!
//! Owns the comparison of [`Filesystem`] with plain maps of paths, over trees and histories made up at random. What the
//! kernel adds (its caches, and telling it) is the other test's matter.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, in its helpers too")]

#[expect(dead_code, reason = "what only the tests through the kernel need")]
mod common;
#[path = "common/model.rs"]
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::{Files, MemoryTree};
use fuser::{FileAttr, FileType};
use mirrorctl_mount::filesystem::{Filesystem, HiddenNames, Lookup, Room, SECRET_BYTES};
use mirrorctl_mount::ino::{Ino, ROOT};
use mirrorctl_mount::{FsError, Options};
use model::{Found, LINKS, MIRRORS, Model, POINTERS, SNAPSHOTS, Step};
use proptest::prelude::*;

/// Files of a snapshot: a few paths, none below another.
fn files() -> impl Strategy<Value = Files> {
    let path = prop_oneof!["dists/[ab]/(InRelease|Packages)", "pool/[abc]/[xyz]", "[mn]"];
    prop::collection::btree_map(path, prop::collection::vec(any::<u8>(), 0..50), 0..12)
        .prop_map(|files| files.into_iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    let mirror = 0..MIRRORS.len();
    let snapshot = 0..SNAPSHOTS.len();
    let pointer = 0..POINTERS.len();
    prop_oneof![
        3 => mirror.clone().prop_map(Step::AddMirror),
        1 => mirror.clone().prop_map(Step::RemoveMirror),
        6 => (mirror.clone(), snapshot.clone(), files()).prop_map(|(m, s, f)| Step::AddSnapshot(m, s, f)),
        2 => (mirror.clone(), snapshot.clone()).prop_map(|(m, s)| Step::RemoveSnapshot(m, s)),
        2 => (mirror.clone(), snapshot.clone(), snapshot.clone()).prop_map(|(m, a, b)| Step::RenameSnapshot(m, a, b)),
        6 => (mirror.clone(), pointer.clone(), snapshot).prop_map(|(m, p, s)| Step::Point(m, p, s)),
        1 => (mirror.clone(), pointer).prop_map(|(m, p)| Step::Unset(m, p)),
        4 => (mirror, 0..LINKS.len(), 0..SNAPSHOTS.len()).prop_map(|(m, l, s)| Step::Link(m, l, s)),
    ]
}

fn filesystem(tree: &Arc<MemoryTree>) -> Filesystem {
    let mut options = Options::new("model", 1);
    options.listing_cache_bytes = 300;
    Filesystem::new(Arc::clone(tree) as _, HiddenNames::new([7; SECRET_BYTES]), &options)
}

/// Walks from the root to `path`.
fn walk(filesystem: &Filesystem, path: &str) -> Result<FileAttr, FsError> {
    let mut attr = filesystem.attributes(ROOT)?.0;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        attr = match filesystem.lookup(attr.ino.0, name.as_bytes())? {
            Lookup::Present { attr, .. } => attr,
            Lookup::Absent { .. } => return Err(FsError::NotFound),
        };
    }
    Ok(attr)
}

/// Lists `directory` in pages of `page` entries and checks each entry against its look-up.
fn list(filesystem: &Filesystem, directory: u64, page: usize) -> BTreeSet<String> {
    let mut names = Vec::new();
    let mut offset = 0;
    loop {
        let mut taken = 0;
        let mut entries = Vec::new();
        filesystem
            .list(directory, offset, |entry| {
                if taken == page {
                    return Room::Full;
                }
                taken += 1;
                entries.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.attr));
                assert!(entry.next > offset, "offsets grow");
                offset = entry.next;
                Room::Left
            })
            .unwrap();
        if entries.is_empty() {
            break;
        }
        for (name, attr) in entries {
            if name != "." && name != ".." {
                let found = filesystem.lookup(directory, name.as_bytes()).unwrap();
                assert!(
                    matches!(found, Lookup::Present { attr: other, .. } if other == attr),
                    "{name}"
                );
                assert_eq!(filesystem.attributes(attr.ino.0).unwrap().0, attr, "{name}");
            }
            names.push(name);
        }
    }
    assert_eq!(names.iter().filter(|name| *name == "." || *name == "..").count(), 2);
    let plain: Vec<String> = names.into_iter().filter(|name| name != "." && name != "..").collect();
    let set: BTreeSet<String> = plain.iter().cloned().collect();
    assert_eq!(set.len(), plain.len(), "no name twice");
    set
}

/// Reads the file `ino` in pieces of `piece` bytes.
fn read(filesystem: &Filesystem, ino: u64, piece: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; piece];
    loop {
        let length = filesystem.read(ino, bytes.len() as u64, &mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..length]);
        if length < piece {
            return bytes;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_walk_finds_what_the_model_has(
        steps in prop::collection::vec(step(), 1..30),
        page in 1_usize..6,
        piece in 1_usize..60,
    ) {
        let tree = MemoryTree::new();
        let filesystem = filesystem(&tree);
        let mut model = Model::default();
        for step in &steps {
            model.take(&tree, step);
            let everything = model.everything();
            let mut places = BTreeMap::new();
            for (path, expected) in &everything {
                let attr = walk(&filesystem, path).unwrap_or_else(|error| panic!("{path}: {error}"));
                let found = match attr.kind {
                    FileType::Directory => Found::Directory(list(&filesystem, attr.ino.0, page)),
                    _ => Found::File(read(&filesystem, attr.ino.0, piece)),
                };
                prop_assert_eq!(&found, expected, "{}", path);
                if let Found::File(bytes) = &found {
                    prop_assert_eq!(attr.size, bytes.len() as u64);
                } else {
                    // A snapshot's directory may be asked for under one name only; so may every other.
                    prop_assert_eq!(places.insert(attr.ino.0, path.clone()), None, "one place: {}", path);
                }
            }
            for (path, leads_to) in model.links() {
                let link = walk(&filesystem, &path);
                let Some(snapshot) = leads_to else {
                    prop_assert!(matches!(link, Err(FsError::NotFound)), "{}", path);
                    continue;
                };
                let attr = link.unwrap_or_else(|error| panic!("{path}: {error}"));
                let target = String::from_utf8(filesystem.link_target(attr.ino.0).unwrap()).unwrap();
                let (_, below) = snapshot.split_once('/').unwrap();
                prop_assert_eq!(&target, &format!("../{below}"), "{}", &path);
                prop_assert_eq!((attr.kind, attr.size), (FileType::Symlink, target.len() as u64), "{}", &path);
                prop_assert_eq!(filesystem.attributes(attr.ino.0).unwrap().0, attr, "{}", path);
                prop_assert!(everything.contains_key(&snapshot));
            }
            for (path, found) in &everything {
                let absent = format!("{path}/absent");
                match (walk(&filesystem, &absent), found) {
                    (Err(FsError::NotFound), Found::Directory(_)) | (Err(FsError::NotADirectory), Found::File(_)) => {}
                    (other, _) => prop_assert!(false, "{}: {:?}", absent, other),
                }
            }
        }
    }

    #[test]
    fn no_number_and_no_name_makes_it_fail(number: u64, name in prop::collection::vec(1_u8.., 0..300), offset: u64) {
        let tree = MemoryTree::new();
        let mirror = tree.add_mirror("alpha");
        tree.add_snapshot(mirror, "s1", vec![("a/b".into(), vec![1])]);
        tree.point(mirror, "current", "s1");
        let filesystem = filesystem(&tree);
        let mut buffer = [0; 8];
        for number in [number, number >> 31, number >> 60, number | 1 << 63] {
            let _ = filesystem.lookup(number, &name);
            let _ = filesystem.attributes(number);
            let _ = filesystem.list(number, offset, |_| Room::Left);
            let _ = filesystem.read(number, offset, &mut buffer);
            let _ = filesystem.link_target(number);
            let _ = filesystem.extended_attribute(number, &name);
            let _ = filesystem.extended_attributes(number);
        }
    }
}

#[test]
fn superseded_doors_are_found_under_the_hidden_name_only() {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("alpha");
    tree.add_snapshot(mirror, "s1", vec![("a".into(), vec![])]);
    let old = tree.point(mirror, "current", "s1");
    let filesystem = filesystem(&tree);
    let before = walk(&filesystem, "alpha/current").unwrap();
    let hidden = format!("alpha/.doors.{}", "07".repeat(SECRET_BYTES));
    let aside = format!("{hidden}/{}", old.0);
    assert!(
        matches!(walk(&filesystem, &aside), Err(FsError::NotFound)),
        "not superseded yet"
    );
    let new = tree.point(mirror, "current", "s1");
    assert_eq!(walk(&filesystem, &aside).unwrap().ino, before.ino);
    assert!(matches!(
        walk(&filesystem, &format!("{hidden}/{}", new.0)),
        Err(FsError::NotFound)
    ));
    assert!(list(&filesystem, walk(&filesystem, &hidden).unwrap().ino.0, 10).is_empty());
    for guess in ["alpha/.doors", "alpha/.doors.", "alpha/.doors.0707"] {
        assert!(matches!(walk(&filesystem, guess), Err(FsError::NotFound)), "{guess}");
    }
}

#[test]
fn numbers_tell_what_they_stand_for() {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("alpha");
    tree.add_snapshot(
        mirror,
        "s1",
        vec![("dists/a".into(), vec![1]), ("pool/a".into(), vec![1])],
    );
    let door = tree.point(mirror, "current", "s1");
    let filesystem = filesystem(&tree);
    let at = |path: &str| Ino::from_number(walk(&filesystem, path).unwrap().ino.0).unwrap();
    assert_eq!(at("alpha"), Ino::Mirror(mirror));
    assert_eq!(at("alpha/snapshots"), Ino::Snapshots(mirror));
    assert_eq!(at("alpha/at"), Ino::At(mirror));
    assert!(matches!(at("alpha/current"), Ino::Directory(behind, _) if behind == door));
    assert!(matches!(at("alpha/current/dists/a"), Ino::File(file) if file.serial > 0));
    assert!(matches!(at("alpha/current/pool/a"), Ino::File(file) if file.serial == 0));
    assert_eq!(at("alpha/current/pool/a"), at("alpha/snapshots/s1/pool/a"));
}

#[test]
fn without_descriptors_blobs_are_closed_for_others() {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("alpha");
    tree.add_snapshot(mirror, "s1", (0..20).map(|n| (format!("f{n}"), vec![n])).collect());
    let filesystem = filesystem(&tree);
    let read_one = |n: u8| {
        let ino = walk(&filesystem, &format!("alpha/snapshots/s1/f{n}")).unwrap().ino.0;
        let mut buffer = [0; 4];
        filesystem
            .read(ino, 0, &mut buffer)
            .map(|length| buffer[..length].to_vec())
    };
    for n in 0..10 {
        assert_eq!(read_one(n).unwrap(), [n]);
    }
    assert_eq!(filesystem.held_blobs().len(), 10);
    tree.fail_opens(1);
    assert_eq!(read_one(10).unwrap(), [10]);
    assert_eq!(filesystem.held_blobs().len(), 6, "half were closed, one opened");
    tree.fail_opens(2);
    assert_eq!(i32::from(read_one(11).unwrap_err().errno()), libc::EMFILE);
    assert_eq!(
        read_one(11).unwrap(),
        [11],
        "and it works again when there are descriptors"
    );
}

//! What a rebuilt catalog has to be: the same, but for its generation and what nothing names.
//!
//! Owns the comparison of a catalog with the one that is made from its ledger and manifests, which the random histories of
//! this room use too, and the damage that such a making has to bear.

use std::path::PathBuf;

use super::super::ledger::{self, LOGGED};
use super::super::tests::{House, act, at, check_rows, entry, listing, mirror_id, repo_path, snapshot_name};
use super::super::{
    Act, Catalog, CatalogReader, Ledger, MirrorRow, PointerTarget, RequestedMove, Seq, TestRun, Unsetting,
};
use super::*;
use crate::model::{Digest, HashType, HashTypes, ListingBuilder, MoveTerms, Pointer, Role};

/// What every listing shows, with all numbers, whichever listings are gone.
const SHOWN: &str = "
    SELECT listing.mirror_id || ' ' || seq || ' ' || dir_id || ' ' || entry.name || ' ' || coalesce(child_dir, '-') || ' '
           || coalesce(blob_id, '-') || ' ' || coalesce(role, '-') || ' ' || by_hash
    FROM listing JOIN entry ON entry.mirror_id = listing.mirror_id AND from_seq <= seq AND to_seq > seq ORDER BY 1";

/// The directories that any listing shows.
const DIRECTORIES: &str = "
    SELECT DISTINCT dir.id || ' ' || parent_id || ' ' || dir.name
    FROM listing JOIN entry ON entry.mirror_id = listing.mirror_id AND from_seq <= seq AND to_seq > seq
    JOIN dir ON dir.id = child_dir ORDER BY 1";

/// The blobs that any listing shows.
const BLOBS: &str = "
    SELECT DISTINCT id || ' ' || hex(sha256) || ' ' || size || ' ' || mtime
    FROM listing JOIN entry ON entry.mirror_id = listing.mirror_id AND from_seq <= seq AND to_seq > seq
    JOIN blob ON blob.id = blob_id ORDER BY 1";

/// The hashes under which any listing shows them.
const HASHES: &str = "
    SELECT DISTINCT entry.blob_id || ' ' || kind || ' ' || hex(value)
    FROM listing JOIN entry ON entry.mirror_id = listing.mirror_id AND from_seq <= seq AND to_seq > seq
    JOIN blob_hash ON blob_hash.blob_id = entry.blob_id AND kind & by_hash <> 0 ORDER BY 1";

/// The manifests that listings have, with those that they build on.
const MANIFESTS: &str = "
    WITH RECURSIVE chain (blob_id) AS (
        SELECT manifest_id FROM listing UNION SELECT base_id FROM chain JOIN manifest USING (blob_id) WHERE base_id IS NOT NULL)
    SELECT hex(mine.sha256) || ' ' || coalesce(hex(base.sha256), '-') || ' ' || depth || ' ' || bytes
    FROM chain JOIN manifest USING (blob_id) JOIN blob AS mine ON mine.id = blob_id LEFT JOIN blob AS base ON base.id = base_id
    ORDER BY 1";

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut query = connection.prepare(sql).expect("prepares");
    let rows = query.query_map([], |row| row.get(0)).expect("runs");
    rows.collect::<Result<_, _>>().expect("reads")
}

fn table(connection: &Connection, name: &str) -> Vec<String> {
    let columns = ledger::columns(connection, name).expect("reads");
    let columns: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
    texts(
        connection,
        &format!("SELECT {} FROM {name} ORDER BY 1", columns.join(" || ' ' || ")),
    )
}

/// Makes a catalog from what `house` has beside its own.
fn rebuild(house: &House) -> (Making, Rebuilt) {
    let ledger = ledger::read(&house.path).expect("reads").expect("is there");
    assert_eq!(ledger.damaged_lines, 0);
    let mut load = |digest: Digest| house.manifests.get(&digest).cloned();
    Making::from_ledger(None, &house.path, &ledger, &mut load).expect("makes")
}

fn sequence(connection: &Connection, table: &str) -> i64 {
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0)";
    connection.query_row(sql, [table], |row| row.get(0)).expect("reads")
}

/// Asserts that the catalog that is made of ledger and manifests says what the present one does.
pub(in crate::catalog) fn check_rebuilt(house: &House) {
    let (making, done) = rebuild(house);
    assert_eq!((&done.lost[..], done.left_out), (&[][..], 0));
    let (before, after) = (house.sql(), &making.connection);
    for logged in &LOGGED {
        assert_eq!(table(after, logged.name), table(before, logged.name), "{}", logged.name);
        if logged.is_numbered {
            assert!(
                sequence(after, logged.name) >= sequence(before, logged.name),
                "{}",
                logged.name
            );
        }
    }
    for sql in [SHOWN, DIRECTORIES, BLOBS, HASHES, MANIFESTS] {
        assert_eq!(texts(after, sql), texts(before, sql), "{sql}");
    }
    assert_eq!(texts(after, "SELECT change FROM ledger"), [""; 0]);
    assert!(sequence(after, "ledger") >= sequence(before, "ledger"));
    assert_ne!(
        making.generation().expect("reads"),
        house.catalog.reader().generation().expect("reads")
    );
    same_replacements(house, &making);
}

/// What a move replaces is asked of two listings; how it is noted depends on which others there were.
fn same_replacements(house: &House, making: &Making) {
    let listings = "SELECT mirror_id, seq FROM listing ORDER BY 1, 2";
    let mut query = house.sql().prepare(listings).expect("prepares");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("runs");
    let listings: Vec<(MirrorRow, Seq)> = rows.collect::<Result<_, _>>().expect("reads");
    let elsewhere = tempfile::tempdir().expect("temporary directory");
    let copied = elsewhere.path().join("catalog.db");
    let target = copied.to_str().expect("text");
    making.connection.execute("VACUUM INTO ?", [target]).expect("copies");
    let rebuilt = CatalogReader::open(&copied).expect("opens");
    for (mirror, now) in &listings {
        for (_, before) in listings.iter().filter(|(other, _)| other == mirror) {
            let replaced = |reader: &CatalogReader| reader.replaced(*mirror, *now, *before, &[]).expect("reads");
            assert_eq!(
                replaced(&rebuilt),
                replaced(house.catalog.reader()),
                "{now:?} {before:?}"
            );
        }
    }
}

fn wish(pointer: Pointer, name: &str) -> RequestedMove {
    RequestedMove {
        mirror: mirror_id("debian"),
        pointer,
        target: PointerTarget::Snapshot(snapshot_name(name)),
        expect: None,
        terms: MoveTerms::default(),
    }
}

/// A mirror with indices, pool files and three snapshots, in whose life everything has happened that can.
fn lived_in() -> House {
    let mut house = House::new();
    let indexed = |content: &str| {
        let mut builder = ListingBuilder::new();
        let kinds: HashTypes = [HashType::Md5Sum, HashType::Sha256].into_iter().collect();
        for (path, entry) in [
            ("dists/a/Release", entry(content, Role::Release, HashTypes::NONE)),
            (
                "dists/a/main/Packages",
                entry(&format!("index {content}"), Role::Index, kinds),
            ),
            ("pool/x", entry(content, Role::Pool, HashTypes::NONE)),
        ] {
            builder.add(repo_path(path), entry).expect("no clash");
        }
        builder.build().expect("no clash")
    };
    for (time, name) in (0..).zip(["one", "two", "three"]) {
        house
            .sync("debian", &indexed(name), name, &[Pointer::Staging], at(time))
            .expect("records");
    }
    house
        .sync("other", &listing(&[("pool/x", "one")]), "one", &[], at(9))
        .expect("records");
    house
        .sync("gone", &listing(&[("a", "gone")]), "one", &[], at(9))
        .expect("records");
    let debian = mirror_id("debian");
    let catalog = &mut house.catalog;
    let qa: Pointer = "qa".parse().expect("valid");
    for (pointer, name, time) in [
        (Pointer::Current, "one", 10),
        (qa.clone(), "two", 11),
        (Pointer::Current, "three", 12),
    ] {
        let because = Act {
            message: Some("a \"reason\"\nof two lines"),
            ..act("publish", at(time))
        };
        catalog.move_pointers(&[wish(pointer, name)], because).expect("moves");
    }
    let taken_out = Unsetting {
        mirror: debian.clone(),
        pointer: qa,
        expect: None,
    };
    catalog
        .unset_pointers(&[taken_out], act("unpublish", at(13)))
        .expect("unset");
    let tags = ["x", "y"].map(|tag| tag.parse().expect("a tag"));
    catalog
        .tag_snapshot(&debian, &snapshot_name("one"), &tags, false)
        .expect("tags");
    catalog
        .tag_snapshot(&debian, &snapshot_name("one"), &tags[..1], true)
        .expect("untags");
    let note = "\u{e4} note".parse().expect("a note");
    catalog
        .note_snapshot(&debian, &snapshot_name("three"), Some(&note))
        .expect("notes");
    catalog
        .protect_snapshots(&debian, &[snapshot_name("three")], true)
        .expect("protects");
    let row = catalog.reader().mirror(&debian).expect("is known");
    let three = catalog
        .reader()
        .snapshot_named(row, &snapshot_name("three"))
        .expect("reads")
        .expect("is there");
    let run = TestRun {
        started_at: at(20),
        ended_at: at(21),
        actor: "tester".to_owned(),
        passed: true,
        report: "{\"checks\":[]}".to_owned(),
        company: vec![(mirror_id("other"), None)],
    };
    catalog
        .record_test(three, (&debian, &snapshot_name("three")), &run)
        .expect("records");
    catalog
        .rename_snapshot(&debian, &snapshot_name("one"), &snapshot_name("first"))
        .expect("renames");
    catalog
        .delete_snapshots(&debian, &[snapshot_name("two")], true, at(30))
        .expect("deletes");
    catalog.forget_mirror(&mirror_id("gone"), true).expect("forgets");
    house.sweep_all(at(40));
    house
}

#[test]
fn everything_that_can_happen_is_in_the_rebuilt_catalog() {
    let mut house = lived_in();
    check_rebuilt(&house);
    house.catalog.clear_forgotten().expect("clears");
    check_rebuilt(&house);
}

#[test]
fn chains_of_manifests_whose_listings_are_gone_still_make_the_others() {
    let mut house = House::new();
    for n in 0..70 {
        let (path, content, release) = (
            format!("pool/{}", n % 9),
            format!("content {n}"),
            format!("release {n}"),
        );
        let files = [("dists/Release", release.as_str()), (path.as_str(), content.as_str())];
        house
            .sync("debian", &listing(&files), &format!("s{n}"), &[], at(n))
            .expect("records");
    }
    let gone: Vec<_> = (0..69)
        .filter(|n| n % 31 != 3)
        .map(|n| snapshot_name(&format!("s{n}")))
        .collect();
    house
        .catalog
        .delete_snapshots(&mirror_id("debian"), &gone, false, at(99))
        .expect("deletes");
    house.sweep_all(at(100));
    check_rebuilt(&house);
}

/// Puts the catalog that is made in the place of the house's own.
fn move_in(house: &mut House) -> Rebuilt {
    let ledger = ledger::read(&house.path).expect("reads").expect("is there");
    let new = house.path.with_extension("db.new");
    let mut load = |digest: Digest| house.manifests.get(&digest).cloned();
    let (making, done) = Making::from_ledger(Some(&new), &house.path, &ledger, &mut load).expect("makes");
    making.finish().expect("finishes");
    let other = House::new();
    house.catalog = other.catalog;
    for log in ["catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(house.path.with_file_name(log));
    }
    std::fs::rename(&new, &house.path).expect("takes its place");
    house.catalog = Catalog::open(&house.path).expect("opens");
    done
}

#[test]
fn life_goes_on_in_a_rebuilt_catalog_and_it_can_be_rebuilt_again() {
    let mut house = lived_in();
    let newest = |house: &House, table: &str| sequence(house.sql(), table);
    let before = ["blob", "dir", "move", "snapshot"].map(|table| newest(&house, table));
    let done = move_in(&mut house);
    assert_eq!((done.mirrors, done.snapshots, done.left_out), (2, 3, 0));
    check_rows(&house);
    check_rebuilt(&house);
    let files = [("dists/b/Release", "four"), ("pool/x", "four"), ("pool/y/z", "five")];
    let moves = house
        .sync("debian", &listing(&files), "four", &[Pointer::Current], at(50))
        .expect("records");
    for (table, before) in ["blob", "dir", "move", "snapshot"].into_iter().zip(before) {
        assert!(newest(&house, table) > before, "{table}");
    }
    assert!(moves.moves[0].now.serial_mtime >= at(50));
    check_rows(&house);
    check_rebuilt(&house);
    move_in(&mut house);
    check_rebuilt(&house);
    // A process that had the old one open writes to neither.
    let mut old = Catalog::open(&house.path).expect("opens");
    let aside = house.path.with_file_name("aside.db");
    std::fs::rename(&house.path, &aside).expect("moves");
    std::fs::copy(&aside, &house.path).expect("copies");
    let refused = old.move_pointers(&[wish(Pointer::Current, "first")], act("publish", at(60)));
    assert!(matches!(refused, Err(CatalogError::Replaced)), "{refused:?}");
}

#[test]
fn a_listing_without_its_manifest_is_named_and_the_others_are_made() {
    let mut house = lived_in();
    let row = house.row("debian");
    let chain = |house: &House, seq| house.catalog.reader().manifest_chain(row, Seq(seq)).expect("reads");
    let newest = chain(&house, 3)[0];
    let whole = house.manifests.remove(&newest).expect("is there");
    let (making, done) = rebuild(&house);
    let lost = LostListing {
        mirror: "debian".to_owned(),
        snapshots: vec!["three".to_owned()],
        pointers: vec!["current".to_owned(), "staging".to_owned()],
        why: format!("its manifest {newest} is missing or damaged"),
    };
    assert_eq!((done.lost, done.left_out), (vec![lost], 0));
    let names = "SELECT name FROM snapshot ORDER BY id";
    assert_eq!(texts(&making.connection, names), ["first", "one"]);
    let gone = "SELECT count(*) FROM snapshot_gone WHERE mirror_id = 1 AND created_at IN (1, 2)";
    assert_eq!(
        making
            .connection
            .query_row(gone, [], |row| row.get::<_, i64>(0))
            .expect("counts"),
        2
    );
    assert_eq!(
        table(&making.connection, "move"),
        table(house.sql(), "move"),
        "the past is what it was"
    );
    // Damage is as good as absence, and what builds on it is lost with it.
    let mut damaged = whole;
    damaged[20] ^= 1;
    house.manifests.insert(newest, damaged);
    assert_eq!(rebuild(&house).1.lost.len(), 1);
    let first = chain(&house, 1)[0];
    house.manifests.remove(&first);
    assert_eq!(rebuild(&house).1.lost.len(), 2);
}

#[test]
fn a_damaged_line_costs_what_it_says_and_no_more() {
    let house = lived_in();
    let path = house.path.with_file_name("ledger.log");
    let text = std::fs::read(&path).expect("readable");
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for nth in 0..lines.len() {
        let mut damaged: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
        damaged[nth][20] ^= 2;
        let ledger = Ledger::parse(&damaged.concat());
        assert_eq!(ledger.damaged_lines, 1, "{nth}");
        let mut load = |digest: Digest| house.manifests.get(&digest).cloned();
        let made = Making::from_ledger(None, &house.path, &ledger, &mut load);
        made.unwrap_or_else(|error| panic!("{nth}: {error:?}"));
    }
}

#[test]
fn examination_tells_what_is_wrong() {
    let house = lived_in();
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("catalog.db");
    let nothing = examine(&path).expect("looks");
    assert!(matches!(nothing, Health::Nothing), "{nothing:?}");
    house
        .sql()
        .execute("VACUUM INTO ?", [path.to_str().expect("text")])
        .expect("copies");
    assert!(matches!(examine(&path), Ok(Health::Sound)));
    let ledger = place.path().join("ledger.log");
    std::fs::copy(house.path.with_file_name("ledger.log"), &ledger).expect("copies");
    assert!(matches!(examine(&path), Ok(Health::Sound)));
    let good = std::fs::read(&path).expect("readable");
    let mut flipped = good.clone();
    flipped[good.len() / 2..good.len() / 2 + 4096].fill(0x5a);
    for (how, bytes) in [
        ("zeros", vec![0; good.len()]),
        ("flipped", flipped),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
    ] {
        std::fs::write(&path, bytes).expect("writes");
        let health = examine(&path).expect("looks");
        assert!(matches!(health, Health::Damaged(_)), "{how}: {health:?}");
    }
    std::fs::remove_file(&path).expect("removes");
    assert!(matches!(examine(&path), Ok(Health::Damaged(CatalogError::Lost { .. }))));
    // A count that is wrong, in a structure that is not.
    std::fs::write(&path, &good).expect("writes");
    let wrong = Connection::open(&path).expect("opens");
    wrong
        .execute("UPDATE blob SET refs = refs + 1 WHERE id = 1", [])
        .expect("changes");
    drop(wrong);
    assert!(matches!(examine(&path), Ok(Health::Damaged(CatalogError::Unsound(_)))));
    // A newer program's is not ours to judge.
    let newer = Connection::open(&path).expect("opens");
    newer.pragma_update(None, "user_version", 99).expect("changes");
    drop(newer);
    assert!(matches!(examine(&path), Err(CatalogError::Newer { .. })));
}

#[test]
fn a_copy_takes_the_place_with_another_generation_and_later_numbers() {
    let mut house = lived_in();
    let copy = house.path.with_file_name("copy.db");
    house.catalog.back_up(&copy).expect("copies");
    house
        .sync("debian", &listing(&[("later", "later")]), "later", &[], at(70))
        .expect("records");
    let ledger = ledger::read(&house.path).expect("reads").expect("is there");
    let new: PathBuf = house.path.with_extension("db.new");
    let making = Making::from_copy(&new, &house.path, &copy, Some(&ledger)).expect("makes");
    assert_ne!(
        making.generation().expect("reads"),
        house.catalog.reader().generation().expect("reads")
    );
    let names = "SELECT name FROM snapshot ORDER BY id";
    assert_eq!(texts(&making.connection, names), ["first", "three", "one"]);
    for table in ["snapshot", "move", "ledger"] {
        assert!(
            sequence(&making.connection, table) >= sequence(house.sql(), table),
            "{table}"
        );
    }
    making.finish().expect("finishes");
    for bad in [b"no database".to_vec(), Vec::new()] {
        std::fs::write(&copy, bad).expect("writes");
        assert!(Making::from_copy(&new, &house.path, &copy, None).is_err());
    }
}

//! Checks of a small cache: how far they come, and what they make of files that nothing needs.
//!
//! Owns the fixture: a state directory with blobs that no listing names. What becomes of files that are needed is tested with
//! the whole program, in `tests/suite/verify.rs`.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::model::{BlobFacts, Fault, UNITS};

const NOW: Timestamp = Timestamp::from_unix(1_750_000_000);

struct House {
    place: tempfile::TempDir,
    state: StateDir,
    catalog: Catalog,
    blobs: BlobStore,
}

/// Counts what was checked, in bytes: every blob has some hundred.
#[derive(Default)]
struct Counting(AtomicU64);

impl Watch for Counting {
    fn begin(&self, _: u64, _: u64) {}
    fn bytes(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::SeqCst);
    }
    fn end(&self) {}
}

fn deep() -> Wish {
    Wish {
        deep: true,
        part: Part::WHOLE,
        mirrors: None,
        rate: None,
        threads: 2,
        mend: false,
    }
}

impl House {
    fn with(blobs: u32) -> Self {
        let place = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::open_to_change(&place.path().join("state")).expect("opens");
        let mut house = Self {
            catalog: Catalog::open(&state.catalog()).expect("opens"),
            blobs: BlobStore::open(&state.blobs(), None).expect("opens"),
            state,
            place,
        };
        house.add((0..blobs).map(|number| format!("{number:0100}")));
        house
    }

    fn add(&mut self, contents: impl Iterator<Item = String>) {
        let inbox = self
            .blobs
            .inbox(&self.state.incoming_root().join("debian"))
            .expect("opens");
        let mut facts = Vec::new();
        for content in contents {
            let mut incoming = inbox.begin(content.len() as u64, None).expect("begins");
            incoming.write(content.as_bytes()).expect("fits");
            let mut arrived = incoming.finish(None, NOW).expect("arrives");
            self.blobs.place([&mut arrived]).expect("places");
            facts.push(BlobFacts {
                digest: arrived.digest(),
                size: arrived.size(),
                mtime: NOW,
            });
        }
        self.catalog.add_blobs(&facts).expect("adds");
    }

    fn run(&mut self, wish: &Wish, stop_after: u64) -> Result<Verified, VerifyError> {
        self.run_at(wish, stop_after, NOW)
    }

    fn run_at(&mut self, wish: &Wish, stop_after: u64, now: Timestamp) -> Result<Verified, VerifyError> {
        let run_dir = self.place.path().join("run");
        let counting = Counting::default();
        let stop = || counting.0.load(Ordering::SeqCst) >= stop_after;
        let mut stores = Stores {
            state: &self.state,
            catalog: &mut self.catalog,
            blobs: &self.blobs,
            run: &run_dir,
        };
        run(&mut stores, wish, &Clock::new(move || now), &counting, &stop)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.state.blobs().join(&hex[..2]).join(hex)
    }
}

/// The digest of the blob with this number.
fn digest(number: u32) -> Digest {
    Digest::of(format!("{number:0100}").as_bytes())
}

#[test]
fn a_run_that_was_stopped_is_gone_on_with() {
    let mut house = House::with(300);
    let first = house.run(&deep(), 100 * 100).expect("runs");
    assert!(first.stopped && first.went_on.is_none(), "{first:?}");
    assert!((90..=110).contains(&first.checked.blobs), "{first:?}");
    assert!(house.catalog.reader().rehashed().expect("reads").units > 0);
    // Another part, or mirrors, or a quick look, have nothing to do with it.
    let quick = Wish { deep: false, ..deep() };
    assert_eq!(house.run(&quick, u64::MAX).expect("runs").checked.blobs, 300);
    let later = NOW.plus(60);
    let second = house.run_at(&deep(), u64::MAX, later).expect("runs");
    assert_eq!((second.stopped, second.went_on), (false, Some(NOW)));
    let done = first.checked.blobs + second.checked.blobs;
    assert!(
        (300..=310).contains(&done),
        "{done}: little is done twice, and nothing left out"
    );
    let rehashed = house.catalog.reader().rehashed().expect("reads");
    assert_eq!((rehashed.units, rehashed.oldest), (UNITS, Some(NOW)));
    let third = house.run_at(&deep(), u64::MAX, later).expect("runs");
    assert_eq!(
        (third.went_on, third.checked.blobs),
        (None, 300),
        "that one had come to its end"
    );
    assert_eq!(house.catalog.reader().rehashed().expect("reads").oldest, Some(later));
}

#[test]
fn what_was_begun_long_ago_is_begun_anew() {
    let mut house = House::with(100);
    for later in [40 * 86_400, -1] {
        assert!(house.run(&deep(), 5_000).expect("runs").stopped);
        let anew = house.run_at(&deep(), u64::MAX, NOW.plus(later)).expect("runs");
        assert_eq!((anew.went_on, anew.checked.blobs), (None, 100));
    }
}

#[test]
fn parts_together_are_everything() {
    let mut house = House::with(300);
    let mut checked = 0;
    for nth in 1..=7 {
        let part = format!("{nth}/7").parse().expect("a part");
        checked += house
            .run(&Wish { part, ..deep() }, u64::MAX)
            .expect("runs")
            .checked
            .blobs;
    }
    assert_eq!(checked, 300);
    assert_eq!(house.catalog.reader().rehashed().expect("reads").units, UNITS);
}

#[test]
fn unused_files_are_marked_when_they_are_bad_and_forgotten_when_they_are_gone() {
    let mut house = House::with(20);
    let (gone, bad) = (digest(0), digest(1));
    fs::remove_file(house.path(gone)).expect("removes");
    fs::remove_file(house.path(bad)).expect("removes");
    fs::write(house.path(bad), format!("{:0100}", 7)).expect("writes");
    let found = house.run(&deep(), u64::MAX).expect("runs").found;
    let found: Vec<_> = found.iter().map(|suspect| (suspect.digest, suspect.fault)).collect();
    assert_eq!(found, [(bad, Fault::Altered)]);
    assert!(house.state.quarantine().join(bad.to_string()).exists() && !house.path(bad).exists());
    let again = house.run(&deep(), u64::MAX).expect("runs");
    assert_eq!(again.found, []);
}

#[test]
fn a_marked_blob_that_is_whole_again_loses_its_mark_at_any_look() {
    let mut house = House::with(20);
    let (first, path) = (digest(0), house.path(digest(0)));
    fs::rename(&path, house.place.path().join("kept")).expect("moves");
    fs::write(&path, "bad").expect("writes");
    assert_eq!(house.run(&deep(), u64::MAX).expect("runs").found.len(), 1);
    fs::rename(house.place.path().join("kept"), &path).expect("moves");
    let quick = Wish { deep: false, ..deep() };
    assert_eq!(house.run(&quick, u64::MAX).expect("runs").healed, [first]);
    assert_eq!(house.catalog.reader().damaged().expect("reads"), []);
}

/// As after a kill between the mark and the move, and between the move and the mark.
#[test]
fn a_mark_without_a_move_and_a_move_without_a_mark_are_healed() {
    let mut house = House::with(20);
    let (first, path) = (digest(0), house.path(digest(0)));
    fs::rename(&path, house.place.path().join("whole")).expect("moves");
    fs::write(&path, "bad").expect("writes");
    let row = house.catalog.reader().stored(&(0..UNITS)).expect("reads");
    let row = row.iter().find(|blob| blob.digest == first).expect("a blob").row;
    let suspects = [Suspect {
        row,
        digest: first,
        fault: Fault::Length,
    }];
    let marked = house
        .catalog
        .mark_damaged(&suspects, NOW, |_| crate::catalog::Aside::Nothing);
    assert_eq!(marked.expect("marks").len(), 1);
    let quick = Wish { deep: false, ..deep() };
    assert_eq!(house.run(&quick, u64::MAX).expect("runs").found, [], "known");
    let known = house.catalog.reader().damaged().expect("reads").remove(0);
    assert_eq!(known.aside, Some(first.to_string()));
    assert!(!path.exists());
}

#[test]
fn strays_are_told_and_left_alone() {
    let mut house = House::with(3);
    let directory = house.path(digest(0)).parent().expect("has one").to_owned();
    let foreign = Digest::of(b"foreign");
    let stray = house.path(foreign);
    fs::create_dir_all(stray.parent().expect("has one")).expect("makes");
    let mirror = house
        .catalog
        .adopt_mirror(&"debian".parse().expect("valid"))
        .expect("adopts");
    let leased = Digest::of(b"leased");
    house.catalog.lease(mirror, &[leased], NOW).expect("leases");
    fs::create_dir_all(house.path(leased).parent().expect("has one")).expect("makes");
    let others = [directory.join("notes"), house.state.blobs().join("README"), stray];
    for path in others.iter().chain([&house.path(leased)]) {
        fs::write(path, "foreign").expect("writes");
    }
    let quick = Wish { deep: false, ..deep() };
    let mut strays = house.run(&quick, u64::MAX).expect("runs").strays;
    strays.sort();
    let below = |path: &PathBuf| {
        path.strip_prefix(house.state.blobs())
            .expect("below")
            .display()
            .to_string()
    };
    let mut expected: Vec<String> = others.iter().map(below).collect();
    expected.sort();
    assert_eq!(strays, expected);
    assert!(others.iter().all(|path| path.exists()));
    let mut by_parts = 0;
    for nth in 1..=5 {
        let part = format!("{nth}/5").parse().expect("a part");
        by_parts += house
            .run(&Wish { part, ..quick.clone() }, u64::MAX)
            .expect("runs")
            .strays
            .len();
    }
    assert_eq!(by_parts, 3);
}

#[test]
fn a_cache_that_is_not_there_marks_nothing() {
    let mut house = House::with(3);
    let blobs = house.state.blobs();
    fs::rename(&blobs, house.place.path().join("elsewhere")).expect("moves");
    fs::create_dir(&blobs).expect("makes");
    house.blobs = BlobStore::open(&blobs, None).expect("opens");
    let refused = house.run(&deep(), u64::MAX);
    assert!(matches!(refused, Err(VerifyError::NoBlobs { blobs: 3 })), "{refused:?}");
    assert_eq!(house.catalog.reader().damaged().expect("reads"), []);
}

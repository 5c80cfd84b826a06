//! Time travel: which snapshot a name in a mirror's directory `at` stands for.
//!
//! Owns the rule that only times which have come have a tree. How times are spelt is `model`'s, which snapshot was the
//! newest the catalog's.

use std::io;

use mirrorctl_mount::tree::{Door, MirrorNo};

use super::{View, doors, mirror_row};
use crate::model::Timestamp;

impl View {
    /// The snapshot that was the newest at the time that `name` spells. A catalog that cannot be read leaves unknown what
    /// it would have said, but not that a name is no time or that a time has not come.
    pub(super) fn newest_at(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<Option<Door>> {
        let Some(time) = std::str::from_utf8(name).ok().and_then(Timestamp::from_spelling) else {
            return Ok(None);
        };
        if time > self.clock.now() {
            return Ok(None);
        }
        let row = self
            .readers
            .read(|reader| reader.snapshot_at(mirror_row(mirror), time))?;
        row.map(doors::of_snapshot).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use mirrorctl_mount::tree::Tree as _;
    use tempfile::TempDir;

    use super::*;
    use crate::blobs::BlobStore;
    use crate::catalog::{Act, Catalog, Recording};
    use crate::model::{BlobFacts, Clock, Digest, ListingBuilder, MirrorId, MoveTerms, SnapshotName};

    /// 2026-03-01T00:00:00Z, when the mirror was first synced.
    const MARCH: i64 = 1_772_323_200;
    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn mirror() -> MirrorId {
        "debian".parse().expect("valid")
    }

    fn name(text: &str) -> SnapshotName {
        text.parse().expect("valid")
    }

    /// A catalog with one snapshot, and a view of it by a clock that the test sets.
    struct House {
        place: TempDir,
        catalog: Catalog,
        view: View,
        hands: Arc<AtomicI64>,
    }

    impl House {
        fn new() -> Self {
            let place = tempfile::tempdir().expect("a directory");
            let path = place.path().join("catalog.db");
            fs::write(&path, "").expect("written");
            fs::create_dir(place.path().join("blobs")).expect("made");
            let mut catalog = Catalog::open(&path).expect("made");
            record(&mut catalog, "march", at(MARCH));
            let hands = Arc::new(AtomicI64::new(MARCH));
            let view = view(place.path(), &hands);
            Self {
                place,
                catalog,
                view,
                hands,
            }
        }

        /// Makes another snapshot, at a time that becomes the time of day.
        fn create(&mut self, text: &str, now: i64) {
            self.hands.store(now, Ordering::SeqCst);
            let act = Act {
                command: "create",
                actor: "tester",
                message: None,
                now: at(now),
                in_turn: false,
                force: false,
                retracts: false,
            };
            self.catalog
                .create_snapshot(&mirror(), &name(text), false, &[], MoveTerms::default(), act)
                .expect("creates");
            self.view.refresh().expect("readable");
        }

        /// The name of the snapshot to which `link` leads.
        fn led_to(&self, link: &str) -> Option<String> {
            look(&self.view, link).expect("can be known")
        }
    }

    fn look(view: &View, link: &str) -> io::Result<Option<String>> {
        let Some(door) = view.snapshot_at(MirrorNo(1), link.as_bytes())? else {
            return Ok(None);
        };
        let facts = view.door(door)?.expect("a snapshot that is there");
        Ok(Some(String::from_utf8(facts.snapshot.to_vec()).expect("text")))
    }

    fn view(place: &Path, hands: &Arc<AtomicI64>) -> View {
        let hands = Arc::clone(hands);
        let clock = Clock::new(move || at(hands.load(Ordering::SeqCst)));
        let blobs = BlobStore::open(&place.join("blobs"), None).expect("opens");
        View::open(place.join("catalog.db"), blobs, clock).expect("opens")
    }

    /// Records a state without files.
    fn record(catalog: &mut Catalog, text: &str, now: Timestamp) {
        catalog.adopt_mirror(&mirror()).expect("known");
        let listing = ListingBuilder::new().build().expect("no clash");
        let prepared = catalog.prepare(&mirror(), &listing, now).expect("prepares");
        let manifest = BlobFacts {
            digest: Digest::of(prepared.manifest()),
            size: prepared.manifest().len() as u64,
            mtime: now,
        };
        catalog.add_blobs(&[manifest]).expect("adds");
        let called = name(text);
        let what = Recording::plain(manifest.digest, &called, now);
        catalog.record(&prepared, &what).expect("records");
    }

    #[test]
    fn a_time_that_has_not_come_has_no_tree() {
        let mut house = House::new();
        let march = Some("march".to_owned());
        for link in ["20260301T000000Z", "2026-03-01T00:00:00Z", "2026-03-01"] {
            assert_eq!(house.led_to(link), march, "{link}");
        }
        let future = ["20260301T000001Z", "2026-03-02", "2026-03-03", "9999-01-01"];
        for link in future
            .into_iter()
            .chain(["2026-02-28", "20260228T235959Z", "0001-01-01"])
        {
            assert_eq!(house.led_to(link), None, "{link}");
        }
        house.hands.store(MARCH + DAY, Ordering::SeqCst);
        assert_eq!(
            future.map(|link| house.led_to(link)),
            [march.clone(), march.clone(), None, None]
        );
        house.create("later", MARCH + 2 * DAY);
        let later = Some("later".to_owned());
        assert_eq!(
            future.map(|link| house.led_to(link)),
            [march.clone(), march, later, None]
        );
        // The clock is set back: what was there is of the future now.
        house.hands.store(MARCH + DAY, Ordering::SeqCst);
        assert_eq!(house.led_to("2026-03-03"), None);
    }

    #[test]
    fn a_time_whose_snapshot_is_gone_has_no_tree() {
        let mut house = House::new();
        house.create("later", MARCH + DAY);
        house.create("last", MARCH + 2 * DAY);
        let deleted = house
            .catalog
            .delete_snapshots(&mirror(), &[name("later")], false, at(MARCH + 3 * DAY));
        deleted.expect("deletes");
        house.view.refresh().expect("readable");
        let found = ["2026-03-01", "2026-03-02", "2026-03-03"].map(|link| house.led_to(link));
        assert_eq!(found, [Some("march".to_owned()), None, Some("last".to_owned())]);
    }

    #[test]
    fn names_that_are_no_times_are_absent_and_mirrors_are_apart() {
        let house = House::new();
        for link in ["20260301", "march", "2026-02-30", "", "latest", "20260301T000000Z/"] {
            assert_eq!(house.led_to(link), None, "{link}");
        }
        let not_text = house.view.snapshot_at(MirrorNo(1), b"2026-03-\xff1");
        assert_eq!(not_text.expect("known"), None);
        let other = house.view.snapshot_at(MirrorNo(2), b"2026-03-01");
        assert_eq!(other.expect("known"), None);
    }

    #[test]
    fn a_catalog_that_cannot_be_read_is_no_absence() {
        let house = House::new();
        drop(house.catalog);
        for file in ["catalog.db", "catalog.db-wal"] {
            let path = house.place.path().join(file);
            if path.exists() {
                fs::write(path, "").expect("damaged");
            }
        }
        // Connections that were there before may remember what they read; none of this view's survives a look.
        house.view.version().expect_err("noticed");
        house.view.version().expect_err("and its connections are given up");
        look(&house.view, "2026-03-01").expect_err("cannot know");
        assert_eq!(look(&house.view, "2026-03-02").expect("known"), None, "not come yet");
        assert_eq!(look(&house.view, "nonsense").expect("known"), None);
    }
}

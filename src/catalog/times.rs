//! Which snapshot of a mirror was the newest at a time.
//!
//! Owns the order of snapshots by time: by when they were made, as the clock of that moment said; of those that say the
//! same second, the later row is the newer one. What was made by a clock that was wrong counts at the time it said. Deleted
//! snapshots keep their place in that order, so that no time ever gets an older tree than it had.

use rusqlite::{OptionalExtension as _, params};

use super::sql_types::Sql;
use super::{CatalogError, CatalogReader, MirrorRow, SnapshotRow};
use crate::model::Timestamp;

/// One probe of an index for those that are there, one for those that are gone. The rows of both are numbered alike.
const NEWEST: &str = "
    SELECT id, gone FROM (
        SELECT * FROM (SELECT id, created_at, 0 AS gone FROM snapshot
                       WHERE mirror_id = ?1 AND created_at <= ?2 ORDER BY created_at DESC, id DESC LIMIT 1)
        UNION ALL
        SELECT * FROM (SELECT id, created_at, 1 AS gone FROM snapshot_gone
                       WHERE mirror_id = ?1 AND created_at <= ?2 ORDER BY created_at DESC, id DESC LIMIT 1))
    ORDER BY created_at DESC, id DESC LIMIT 1";

impl CatalogReader {
    /// The snapshot that was the newest of `mirror` at `time`, held ones included; `None` before the first one, and when
    /// that snapshot is gone.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn snapshot_at(&self, mirror: MirrorRow, time: Timestamp) -> Result<Option<SnapshotRow>, CatalogError> {
        let mut query = self.connection.prepare_cached(NEWEST)?;
        let found = query.query_row(params![mirror, Sql(time)], |row| {
            Ok((row.get::<_, SnapshotRow>(0)?, row.get::<_, bool>(1)?))
        });
        Ok(found
            .optional()?
            .and_then(|(snapshot, gone)| (!gone).then_some(snapshot)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::*;
    use crate::model::MoveTerms;

    /// A house with the mirrors `debian` and `other`, each with one snapshot `first`, made at 0.
    fn house() -> House {
        let mut house = House::new();
        for mirror in ["debian", "other"] {
            house
                .sync(mirror, &listing(&[("a", "x")]), "first", &[], at(0))
                .expect("records");
        }
        house
    }

    /// Makes a snapshot, in place of the one that has the name.
    fn create(house: &mut House, mirror: &str, name: &str, seconds: i64) -> SnapshotRow {
        let (mirror, name) = (mirror_id(mirror), snapshot_name(name));
        let act = act("stage", at(seconds));
        house
            .catalog
            .create_snapshot(&mirror, &name, true, &[], MoveTerms::default(), act)
            .expect("creates");
        let row = house.row(mirror.as_str());
        let found = house.catalog.reader().snapshot_named(row, &name);
        found.expect("reads").expect("is there")
    }

    fn delete(house: &mut House, mirror: &str, name: &str) {
        let names = [snapshot_name(name)];
        let deleted = house.catalog.delete_snapshots(&mirror_id(mirror), &names, false, at(0));
        deleted.expect("deletes");
    }

    fn newest(house: &House, mirror: &str, seconds: i64) -> Option<SnapshotRow> {
        let row = house.row(mirror);
        house.catalog.reader().snapshot_at(row, at(seconds)).expect("reads")
    }

    #[test]
    fn a_time_keeps_its_tree_or_has_none() {
        let mut house = house();
        let ten = create(&mut house, "debian", "ten", 10);
        let twenty = create(&mut house, "debian", "twenty", 20);
        let first = newest(&house, "debian", 0).expect("is there");
        for (seconds, expected) in [
            (-1, None),
            (9, Some(first)),
            (10, Some(ten)),
            (19, Some(ten)),
            (20, Some(twenty)),
        ] {
            assert_eq!(newest(&house, "debian", seconds), expected, "{seconds}");
        }
        delete(&mut house, "debian", "ten");
        for (seconds, expected) in [(9, Some(first)), (10, None), (19, None), (i64::MAX, Some(twenty))] {
            assert_eq!(
                newest(&house, "debian", seconds),
                expected,
                "{seconds} after the deletion"
            );
        }
        // One that is replaced is gone, and the other takes its own place.
        let again = create(&mut house, "debian", "twenty", 30);
        assert_eq!(newest(&house, "debian", 29), None);
        assert_eq!(newest(&house, "debian", 30), Some(again));
        assert_ne!(newest(&house, "other", 30), Some(again), "mirrors have their own times");
    }

    #[test]
    fn of_one_second_the_later_row_counts() {
        let mut house = house();
        create(&mut house, "debian", "a", 10);
        let b = create(&mut house, "debian", "b", 10);
        assert_eq!(newest(&house, "debian", 10), Some(b));
        delete(&mut house, "debian", "a");
        assert_eq!(newest(&house, "debian", 10), Some(b), "it was not the newest");
        create(&mut house, "debian", "c", 10);
        delete(&mut house, "debian", "c");
        assert_eq!(newest(&house, "debian", 10), None, "it was the newest");
        // A clock that was set back: each counts at the time that it said.
        let back = create(&mut house, "debian", "back", 5);
        assert_eq!(newest(&house, "debian", 5), Some(back));
        assert_eq!(newest(&house, "debian", 10), None);
    }

    #[test]
    fn another_snapshot_of_the_same_state_does_not_stand_in() {
        let mut house = house();
        // Both name the last synced state.
        let ten = create(&mut house, "debian", "ten", 10);
        create(&mut house, "debian", "twenty", 20);
        delete(&mut house, "debian", "twenty");
        assert_eq!(newest(&house, "debian", 20), None);
        assert_eq!(newest(&house, "debian", 19), Some(ten));
    }

    #[test]
    fn a_held_snapshot_counts() {
        let mut house = house();
        let ten = create(&mut house, "debian", "ten", 10);
        house
            .sql()
            .execute("UPDATE listing SET held_against = 9", [])
            .expect("holds");
        assert_eq!(newest(&house, "debian", 10), Some(ten));
    }

    #[test]
    fn whatever_their_number_two_probes_find_it() {
        let mut house = house();
        for n in 1..=600 {
            create(&mut house, "debian", &format!("s{n}"), n * 10);
            if n % 3 == 0 {
                delete(&mut house, "debian", &format!("s{n}"));
            }
        }
        for n in 1..=600 {
            assert_eq!(newest(&house, "debian", n * 10 + 9).is_some(), n % 3 != 0, "{n}");
        }
        let plan = format!("EXPLAIN QUERY PLAN {NEWEST}");
        let mut plan = house.sql().prepare(&plan).expect("prepares");
        let steps = plan.query_map([1, 100], |row| row.get::<_, String>(3)).expect("plans");
        let steps: Vec<String> = steps.collect::<rusqlite::Result<_>>().expect("plans");
        for index in ["snapshot_by_time", "snapshot_gone_by_time"] {
            let probe = format!("INDEX {index} (mirror_id=? AND created_at<?)");
            assert!(steps.iter().any(|step| step.ends_with(&probe)), "{steps:#?}");
        }
        let sorts = steps.iter().filter(|step| step.contains("TEMP B-TREE")).count();
        assert_eq!(sorts, 1, "of the two rows that were found: {steps:#?}");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Create(usize, usize, i64),
        Delete(usize, usize),
    }

    const MIRRORS: [&str; 2] = ["debian", "other"];
    const NAMES: [&str; 5] = ["first", "a", "b", "c", "d"];

    fn step() -> impl Strategy<Value = Step> {
        let place = || (0..MIRRORS.len(), 0..NAMES.len());
        prop_oneof![
            3 => (place(), -3..12_i64).prop_map(|((mirror, name), time)| Step::Create(mirror, name, time)),
            2 => place().prop_map(|(mirror, name)| Step::Delete(mirror, name)),
        ]
    }

    /// Everything that ever was, in the order in which it was made.
    struct Made {
        mirror: usize,
        name: usize,
        row: SnapshotRow,
        time: i64,
        is_there: bool,
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_the_last_that_was_made_by_then(steps in prop::collection::vec(step(), 1..25)) {
            let mut house = house();
            let mut made: Vec<Made> = Vec::new();
            for (mirror, name) in MIRRORS.into_iter().enumerate() {
                let row = newest(&house, name, 0).expect("is there");
                made.push(Made { mirror, name: 0, row, time: 0, is_there: true });
            }
            for step in steps {
                let (Step::Create(mirror, name, _) | Step::Delete(mirror, name)) = step;
                let old = made.iter_mut().find(|one| (one.mirror, one.name, one.is_there) == (mirror, name, true));
                let was_there = old.map(|old| old.is_there = false).is_some();
                match step {
                    Step::Create(_, _, time) => {
                        let row = create(&mut house, MIRRORS[mirror], NAMES[name], time);
                        made.push(Made { mirror, name, row, time, is_there: true });
                    }
                    Step::Delete(..) if was_there => delete(&mut house, MIRRORS[mirror], NAMES[name]),
                    Step::Delete(..) => {}
                }
                for (mirror, id) in MIRRORS.into_iter().enumerate() {
                    for time in -4..13 {
                        let by_then = made.iter().filter(|one| one.mirror == mirror && one.time <= time);
                        // Of equals, the last in the order of making.
                        let last = by_then.max_by_key(|one| one.time);
                        let expected = last.filter(|one| one.is_there).map(|one| one.row);
                        prop_assert_eq!(newest(&house, id, time), expected, "{} at {}", id, time);
                    }
                }
            }
        }
    }
}

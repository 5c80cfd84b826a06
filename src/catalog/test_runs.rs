//! What became of tests of snapshots.
//!
//! Owns tables `test_run` and `test_company`. The newest run of a snapshot is the one that counts, in the company that
//! `standing` asks for; what is tested, and whether that passed, others decide.

use rusqlite::{OptionalExtension as _, params};

use super::sql_types::Sql;
use super::{Catalog, CatalogError, CatalogReader, SnapshotRow, standing};
use crate::model::{MirrorId, SnapshotName, Timestamp};

/// A run of the checks on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRun {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Who ran it.
    pub actor: String,
    /// Whether every check passed that was made.
    pub passed: bool,
    /// What each check found, as JSON.
    pub report: String,
    /// The companions, sorted by their names, and the snapshot of each that was there; `None` for nothing.
    pub company: Vec<(MirrorId, Option<SnapshotRow>)>,
}

impl CatalogReader {
    /// The newest run of a snapshot's checks; `None` when there was none.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn last_test(&self, snapshot: SnapshotRow) -> Result<Option<TestRun>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT started_at, ended_at, actor, passed, report, id FROM test_run
             WHERE snapshot_id = ? ORDER BY id DESC LIMIT 1",
        )?;
        let run = query.query_row([snapshot], |row| {
            let (Sql(started_at), Sql(ended_at)) = (row.get(0)?, row.get(1)?);
            let run = TestRun {
                started_at,
                ended_at,
                actor: row.get(2)?,
                passed: row.get(3)?,
                report: row.get(4)?,
                company: Vec::new(),
            };
            Ok((run, row.get(5)?))
        });
        let Some((mut run, id)) = run.optional()? else {
            return Ok(None);
        };
        run.company = standing::company(&self.connection, id)?;
        Ok(Some(run))
    }
}

impl Catalog {
    /// Records a run of the checks on the snapshot `row`, called `name` when it began.
    ///
    /// # Errors
    /// When the snapshot was deleted meanwhile, and with it the reason to remember; or the catalog cannot be written.
    pub fn record_test(
        &mut self,
        row: SnapshotRow,
        (mirror, name): (&MirrorId, &SnapshotName),
        run: &TestRun,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let there = "SELECT 1 FROM snapshot WHERE id = ?";
            if !transaction.prepare_cached(there)?.exists([row])? {
                return Err(CatalogError::UnknownSnapshot {
                    mirror: mirror.clone(),
                    name: name.clone(),
                });
            }
            transaction.execute(
                "INSERT INTO test_run (snapshot_id, started_at, ended_at, actor, passed, report)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    row,
                    Sql(run.started_at),
                    Sql(run.ended_at),
                    run.actor,
                    run.passed,
                    run.report
                ],
            )?;
            let id = transaction.last_insert_rowid();
            let insert = "INSERT INTO test_company (run_id, companion, snapshot_id) VALUES (?, ?, ?)";
            let mut insert = transaction.prepare_cached(insert)?;
            for (companion, snapshot) in &run.company {
                insert.execute(params![id, Sql(companion), snapshot])?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::super::{Lacking, PointerTarget, RequestedMove};
    use super::*;
    use crate::model::{MoveTerms, Pointer};

    fn run(passed: bool, time: i64) -> TestRun {
        TestRun {
            started_at: at(time),
            ended_at: at(time + 5),
            actor: "tester".to_owned(),
            passed,
            report: format!("{{\"n\":{time}}}"),
            company: Vec::new(),
        }
    }

    /// Points production at the snapshot `one`, which must have passed its checks.
    fn publish(house: &mut House, force: bool) -> Result<Option<bool>, CatalogError> {
        let wish = RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name("one")),
            expect: None,
            terms: MoveTerms {
                must_have_passed: true,
                ..MoveTerms::default()
            },
        };
        let mut act = act("publish", at(9));
        act.force = force;
        let moved = house.catalog.move_pointers(&[wish], act)?;
        assert_eq!(moved[0].now.forced, force);
        Ok(moved[0].now.passed)
    }

    #[test]
    fn the_newest_run_counts_and_goes_with_its_snapshot() {
        let mut house = House::new();
        for name in ["one", "two"] {
            house
                .sync("debian", &listing(&[("a", name)]), name, &[], at(0))
                .expect("records");
        }
        let (mirror, name) = (mirror_id("debian"), snapshot_name("one"));
        let row = house.row("debian");
        let snapshot = house
            .catalog
            .reader()
            .snapshot_named(row, &name)
            .expect("reads")
            .expect("exists");
        assert_eq!(house.catalog.reader().last_test(snapshot).expect("reads"), None);
        let untested = publish(&mut house, false);
        assert!(
            matches!(&untested, Err(CatalogError::Untested(all)) if all[0].why == Lacking::Untested),
            "{untested:?}"
        );

        let record = |house: &mut House, run: &TestRun| house.catalog.record_test(snapshot, (&mirror, &name), run);
        record(&mut house, &run(true, 1)).expect("records");
        record(&mut house, &run(false, 2)).expect("records");
        assert_eq!(
            house.catalog.reader().last_test(snapshot).expect("reads"),
            Some(run(false, 2))
        );
        let failed = publish(&mut house, false);
        assert!(
            matches!(&failed, Err(CatalogError::Untested(all)) if all[0].why == Lacking::Failed),
            "{failed:?}"
        );
        record(&mut house, &run(true, 3)).expect("records");
        assert_eq!(publish(&mut house, false).expect("moves"), Some(true));

        // Another takes its place, and it goes.
        let wish = RequestedMove {
            mirror: mirror.clone(),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name("two")),
            expect: None,
            terms: MoveTerms::default(),
        };
        house
            .catalog
            .move_pointers(&[wish], act("publish", at(10)))
            .expect("moves");
        house
            .catalog
            .delete_snapshots(&mirror, std::slice::from_ref(&name), true, at(11))
            .expect("deletes");
        assert_eq!(house.catalog.reader().last_test(snapshot).expect("reads"), None);
        let gone = record(&mut house, &run(true, 4));
        assert!(matches!(gone, Err(CatalogError::UnknownSnapshot { .. })), "{gone:?}");
        assert_eq!(house.number("SELECT count(*) FROM test_run"), 0);
    }

    #[test]
    fn force_moves_to_what_has_not_passed_and_is_recorded() {
        let mut house = House::new();
        house
            .sync("debian", &listing(&[("a", "1")]), "one", &[], at(0))
            .expect("records");
        assert_eq!(publish(&mut house, true).expect("moves"), None);
    }
}

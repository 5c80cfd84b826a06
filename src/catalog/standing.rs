//! What the tests of a snapshot count for when a pointer is to move there.
//!
//! Owns the conditions under which a pass holds. A test says that a snapshot is fit together with what its companions had;
//! it says nothing of other company. What is tested, others decide.

use std::collections::HashMap;
use std::fmt;

use rusqlite::{Connection, OptionalExtension as _};

use super::pointers::{RequestedMove, newest};
use super::snapshots::{self, Target};
use super::sql_types::Sql;
use super::{CatalogError, CatalogReader, SnapshotRow, tree, wishes};
use crate::model::{MirrorId, Pointer, SnapshotName};

/// Why no test of a snapshot counts for a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lacking {
    /// There was none.
    Untested,
    /// The newest has failed.
    Failed,
    /// It passed together with something else than a companion's production would be.
    Company {
        /// The companion.
        companion: MirrorId,
        /// What of it was there then; `None` where that is gone, or it had nothing.
        tested: Option<SnapshotName>,
    },
}

impl fmt::Display for Lacking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untested => formatter.write_str("has not been checked"),
            Self::Failed => formatter.write_str("has failed its checks"),
            Self::Company {
                companion,
                tested: Some(tested),
            } => write!(
                formatter,
                "has passed its checks together with snapshot {tested} of {companion}, which production would not have"
            ),
            Self::Company {
                companion,
                tested: None,
            } => write!(
                formatter,
                "has passed its checks together with something else of {companion} than production would have"
            ),
        }
    }
}

impl CatalogReader {
    /// What each of `wishes` lacks to be fit for production, when all of them are fulfilled together; `None` for nothing.
    ///
    /// # Errors
    /// When a wish means no snapshot, or the catalog cannot be read.
    pub fn lacking(&self, wishes: &[RequestedMove]) -> Result<Vec<Option<Lacking>>, CatalogError> {
        let production = Production::after(&self.connection, wishes);
        let each = wishes.iter().map(|wish| {
            let (_, target) = wishes::resolve(&self.connection, wish)?;
            lacking(&self.connection, &target, &production)
        });
        each.collect()
    }
}

/// Where production leads after an act, as far as the act moves it.
#[derive(Debug, Default)]
pub(super) struct Production(HashMap<MirrorId, SnapshotRow>);

impl Production {
    /// Production after `wishes` are fulfilled. Of a wish that means nothing, whoever fulfils it will say so.
    pub(super) fn after(connection: &Connection, wishes: &[RequestedMove]) -> Self {
        let of_production = wishes.iter().filter(|wish| wish.pointer == Pointer::Current);
        let moves = of_production.filter_map(|wish| {
            let (_, target) = wishes::resolve(connection, wish).ok()?;
            Some((wish.mirror.clone(), target.row))
        });
        Self(moves.collect())
    }

    fn of(&self, connection: &Connection, mirror: &MirrorId) -> Result<Option<SnapshotRow>, CatalogError> {
        if let Some(moved) = self.0.get(mirror) {
            return Ok(Some(*moved));
        }
        let row = match tree::mirror_row(connection, mirror) {
            Err(CatalogError::UnknownMirror(_)) => return Ok(None),
            found => found?,
        };
        Ok(newest(connection, row, &Pointer::Current)?.map(|there| there.snapshot_row))
    }
}

/// What `target` lacks to be fit for `production`; `None` when its newest test counts for it.
pub(super) fn lacking(
    connection: &Connection,
    target: &Target,
    production: &Production,
) -> Result<Option<Lacking>, CatalogError> {
    let sql = "SELECT id, passed FROM test_run WHERE snapshot_id = ? ORDER BY id DESC LIMIT 1";
    let newest = connection
        .prepare_cached(sql)?
        .query_row([target.row], |row| Ok((row.get(0)?, row.get::<_, bool>(1)?)));
    let Some((run, passed)) = newest.optional()? else {
        return Ok(Some(Lacking::Untested));
    };
    if !passed {
        return Ok(Some(Lacking::Failed));
    }
    for (companion, tested) in company(connection, run)? {
        if production.of(connection, &companion)? != tested {
            let tested = match tested {
                Some(row) => snapshots::of_row(connection, row)?.map(|found| found.name),
                None => None,
            };
            return Ok(Some(Lacking::Company { companion, tested }));
        }
    }
    Ok(None)
}

/// The companions of a run, and what of each was there.
pub(super) fn company(connection: &Connection, run: i64) -> Result<Vec<(MirrorId, Option<SnapshotRow>)>, CatalogError> {
    let sql = "SELECT companion, snapshot_id FROM test_company WHERE run_id = ? ORDER BY companion";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([run], |row| {
        let Sql(companion) = row.get(0)?;
        Ok((companion, row.get(1)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::super::{PointerTarget, TestRun};
    use super::*;
    use crate::model::MoveTerms;

    fn house() -> House {
        let mut house = House::new();
        for mirror in ["apps", "base"] {
            for name in ["one", "two"] {
                house
                    .sync(mirror, &listing(&[("a", name)]), name, &[], at(0))
                    .expect("records");
            }
        }
        house
    }

    fn row(house: &House, mirror: &str, name: &str) -> SnapshotRow {
        let found = house
            .catalog
            .reader()
            .snapshot_named(house.row(mirror), &snapshot_name(name));
        found.expect("reads").expect("exists")
    }

    fn wish(mirror: &str, name: &str, must_have_passed: bool) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id(mirror),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name(name)),
            expect: None,
            terms: MoveTerms {
                must_have_passed,
                ..MoveTerms::default()
            },
        }
    }

    /// Records that snapshot `two` of `apps` has passed together with `company`.
    fn pass(house: &mut House, company: Vec<(MirrorId, Option<SnapshotRow>)>) {
        let run = TestRun {
            started_at: at(1),
            ended_at: at(2),
            actor: "tester".to_owned(),
            passed: true,
            report: "{}".to_owned(),
            company,
        };
        let apps = row(house, "apps", "two");
        let recorded = house
            .catalog
            .record_test(apps, (&mirror_id("apps"), &snapshot_name("two")), &run);
        recorded.expect("records");
        assert_eq!(house.catalog.reader().last_test(apps).expect("reads"), Some(run));
    }

    #[test]
    fn a_pass_counts_in_the_company_it_was_earned_in() {
        let mut house = house();
        let base = |house: &mut House, name: &str| {
            let wishes = [wish("base", name, false)];
            house
                .catalog
                .move_pointers(&wishes, act("publish", at(3)))
                .expect("moves");
        };
        let apps = [wish("apps", "two", true)];
        let lacks = |house: &House, wishes: &[RequestedMove]| house.catalog.reader().lacking(wishes).expect("reads");
        assert_eq!(lacks(&house, &apps), [Some(Lacking::Untested)]);

        let nothing = (mirror_id("base"), None);
        pass(&mut house, vec![nothing, (mirror_id("never-synced"), None)]);
        assert_eq!(lacks(&house, &apps), [None]);
        base(&mut house, "one");
        let other = |tested: Option<&str>| Lacking::Company {
            companion: mirror_id("base"),
            tested: tested.map(snapshot_name),
        };
        assert_eq!(lacks(&house, &apps), [Some(other(None))]);

        let with = (mirror_id("base"), Some(row(&house, "base", "two")));
        pass(&mut house, vec![with]);
        assert_eq!(lacks(&house, &apps), [Some(other(Some("two")))]);
        let refused = house.catalog.move_pointers(&apps, act("promote", at(4)));
        assert!(
            matches!(&refused, Err(CatalogError::Untested { why, .. }) if *why == other(Some("two"))),
            "{refused:?}"
        );
        // In one step with what it was tested with, in whichever order.
        for wishes in [
            [wish("base", "two", false), apps[0].clone()],
            [apps[0].clone(), wish("base", "two", false)],
        ] {
            assert!(lacks(&house, &wishes).contains(&None));
        }
        let unasked = [wish("apps", "two", false)];
        let moved = house.catalog.move_pointers(&unasked, act("promote", at(5)));
        assert_eq!(moved.expect("moves")[0].now.passed, None, "no test counts");
        house
            .catalog
            .move_pointers(&[wish("apps", "one", false)], act("publish", at(6)))
            .expect("moves");
        let together = [apps[0].clone(), wish("base", "two", false)];
        let moved = house.catalog.move_pointers(&together, act("promote", at(7)));
        let passed: Vec<_> = moved.expect("moves").iter().map(|moved| moved.now.passed).collect();
        assert_eq!(passed, [Some(true), None]);
    }
}

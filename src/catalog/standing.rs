//! What the tests of a snapshot count for when a pointer is to move there.
//!
//! Owns the conditions under which a pass holds. A test says that a snapshot is fit together with what its companions had,
//! at its time; it says nothing of other company, nor of a day on which clients do not believe its Release files any more.
//! What is tested, others decide.

use std::collections::HashMap;
use std::fmt;

use rusqlite::{Connection, OptionalExtension as _};

use super::pointers::{RequestedMove, newest};
use super::snapshots::{self, Target};
use super::sql_types::Sql;
use super::{CatalogError, CatalogReader, MirrorRow, SnapshotRow, releases, tree, wishes};
use crate::model::{MirrorId, MoveTerms, Pointer, SnapshotName, Suite, Timestamp};

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
    /// It passed, and clients have refused the Release file of a suite since.
    Expired {
        /// The suite.
        suite: Suite,
        /// Its Valid-Until.
        until: Timestamp,
    },
    /// It passed, and clients will refuse the Release file of a suite sooner than the terms of the move allow.
    Expiring {
        /// The suite.
        suite: Suite,
        /// Its Valid-Until.
        until: Timestamp,
    },
}

/// A snapshot to which a pointer was asked to move, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The mirror.
    pub mirror: MirrorId,
    /// The snapshot.
    pub name: SnapshotName,
    /// What it lacks.
    pub why: Lacking,
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mirror, name, why } = self;
        write!(formatter, "snapshot {name} of {mirror} {why}")
    }
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
            Self::Expired { suite, until } => write!(
                formatter,
                "has passed its checks, but clients have refused its Release file of {suite} since {until}"
            ),
            Self::Expiring { suite, until } => write!(
                formatter,
                "has passed its checks, but its Release file of {suite} is valid until {until}, which is too soon"
            ),
        }
    }
}

impl CatalogReader {
    /// What each of `wishes` lacks to be fit for production, when all of them are fulfilled together `now`; `None` for
    /// nothing.
    ///
    /// # Errors
    /// When a wish means no snapshot, or the catalog cannot be read.
    pub fn lacking(&self, wishes: &[RequestedMove], now: Timestamp) -> Result<Vec<Option<Lacking>>, CatalogError> {
        let production = Production::after(&self.connection, wishes);
        let each = wishes.iter().map(|wish| {
            let (mirror, target) = wishes::resolve(&self.connection, wish)?;
            lacking(&self.connection, (mirror, &target), &production, (wish.terms, now))
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

/// What `target` lacks to be fit for `production` on these terms; `None` when its newest test counts for it.
pub(super) fn lacking(
    connection: &Connection,
    (mirror, target): (MirrorRow, &Target),
    production: &Production,
    (terms, now): (MoveTerms, Timestamp),
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
    let aged = aged(connection, (mirror, target), terms, now)?;
    if aged.is_some() {
        return Ok(aged);
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

/// What has become of the Release files of `target` since its test, if clients do not believe one for long enough any more:
/// by the rule that the check `valid-until` has, too.
fn aged(
    connection: &Connection,
    (mirror, target): (MirrorRow, &Target),
    terms: MoveTerms,
    now: Timestamp,
) -> Result<Option<Lacking>, CatalogError> {
    let Some((suite, until)) = releases::first_to_expire(connection, mirror, target.seq)? else {
        return Ok(None);
    };
    let least = i64::try_from(terms.min_validity.as_secs()).unwrap_or(i64::MAX);
    Ok(if until <= now {
        Some(Lacking::Expired { suite, until })
    } else if until.unix().saturating_sub(now.unix()) < least {
        Some(Lacking::Expiring { suite, until })
    } else {
        None
    })
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
        let lacks =
            |house: &House, wishes: &[RequestedMove]| house.catalog.reader().lacking(wishes, at(4)).expect("reads");
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
            matches!(&refused, Err(CatalogError::Untested(all)) if all[0].why == other(Some("two"))),
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

    #[test]
    fn a_pass_holds_as_long_as_clients_believe_the_release_files() {
        let mut house = house();
        pass(&mut house, Vec::new());
        let sql = "INSERT INTO release (mirror_id, seq, suite, valid_until, signers)
                   SELECT mirror_id, seq, ?, ?, '' FROM snapshot JOIN mirror ON mirror.id = mirror_id
                   WHERE snapshot.name = 'two' AND mirror.name = 'apps'";
        for (suite, until) in [("stable", Some(at(100))), ("updates", Some(at(90))), ("old", None)] {
            let until = until.map(Sql);
            house
                .sql()
                .execute(sql, rusqlite::params![suite, until])
                .expect("inserts");
        }
        let lacks = |house: &House, least: u64, now: i64| {
            let mut wish = wish("apps", "two", true);
            wish.terms.min_validity = std::time::Duration::from_secs(least);
            let told = house.catalog.reader().lacking(&[wish], at(now));
            told.expect("reads").remove(0)
        };
        let (suite, until) = ("updates".parse::<Suite>().expect("valid"), at(90));
        let expiring = Lacking::Expiring {
            suite: suite.clone(),
            until,
        };
        let expired = Lacking::Expired { suite, until };
        assert_eq!(lacks(&house, 0, 89), None);
        assert_eq!(lacks(&house, 10, 80), None);
        assert_eq!(lacks(&house, 10, 81), Some(expiring));
        assert_eq!(lacks(&house, 10, 90), Some(expired.clone()));
        assert_eq!(lacks(&house, 0, 90), Some(expired.clone()));

        let wishes = [wish("apps", "two", true)];
        let late = house.catalog.move_pointers(&wishes, act("promote", at(90)));
        assert!(
            matches!(&late, Err(CatalogError::Untested(all)) if all[0].why == expired),
            "{late:?}"
        );
        let moved = house
            .catalog
            .move_pointers(&[wish("apps", "two", false)], act("publish", at(91)));
        assert_eq!(moved.expect("moves")[0].now.passed, None, "no test counts");
    }

    #[test]
    fn a_refusal_names_everything_that_lacks_a_pass() {
        let mut house = house();
        pass(&mut house, Vec::new());
        house
            .sync("more", &listing(&[("a", "1")]), "two", &[], at(0))
            .expect("records");
        let wishes = ["more", "apps", "base"].map(|mirror| wish(mirror, "two", true));
        let refused = house.catalog.move_pointers(&wishes, act("promote", at(4)));
        let Err(CatalogError::Untested(unfit)) = &refused else {
            panic!("{refused:?}")
        };
        let told: Vec<String> = unfit.iter().map(ToString::to_string).collect();
        let expected = ["more", "base"].map(|mirror| format!("snapshot two of {mirror} has not been checked"));
        assert_eq!(told, expected);
        assert_eq!(house.number("SELECT count(*) FROM move"), 0, "all or none");
        let foretold = house.catalog.reader().foresee(&wishes, act("promote", at(4)));
        assert_eq!(
            foretold.expect_err("refused").to_string(),
            refused.expect_err("refused").to_string()
        );
    }
}

//! Earlier publications: which of them a pointer still lends files from, and which one was before.
//!
//! Owns the rules over a pointer's moves, as functions of the moves, and the reading of what they need. It moves nothing.

use std::collections::BTreeSet;
use std::fmt;

use rusqlite::Connection;

use super::pointers::{self, MoveRecord, moves_of};
use super::{CatalogError, CatalogReader, MirrorRow, Seq, SnapshotRow, snapshots};
use crate::model::{Pointer, SnapshotName, Timestamp};

/// An earlier publication whose files are still reachable below a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its snapshot.
    pub snapshot_row: SnapshotRow,
    /// That snapshot's name now.
    pub snapshot: SnapshotName,
    /// That snapshot's listing.
    pub seq: Seq,
    /// When another publication took its place.
    pub superseded_at: Timestamp,
    /// Until when it is reachable by its age; it may have gone past that.
    pub until: Timestamp,
    /// After how many further publications it is no longer reachable by their number; 0 when only its age keeps it.
    pub publications_left: u32,
}

impl Generation {
    /// Whether it is reachable at the time `now`.
    #[must_use]
    pub fn is_reachable(&self, now: Timestamp) -> bool {
        self.publications_left > 0 || is_young(self.superseded_at, self.until, now)
    }

    /// How long it is reachable from the time `now` on.
    #[must_use]
    pub fn reach(&self, now: Timestamp) -> Reach {
        Reach {
            publications: self.publications_left,
            until: is_young(self.superseded_at, self.until, now).then_some(self.until),
        }
    }
}

/// How long a publication stays reachable: until both ends have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Until so many more publications.
    pub publications: u32,
    /// Until this time; `None` when its age does not keep it.
    pub until: Option<Timestamp>,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.publications == 1 { "" } else { "s" };
        match (self.publications, self.until) {
            (0, Some(until)) => write!(f, "until {until}"),
            (more, None) => write!(f, "until {more} more publication{s}"),
            (more, Some(until)) => write!(f, "until {more} more publication{s}, and until {until} at least"),
        }
    }
}

/// Whether what was superseded at one time and is reachable by its age until another is so still. Where age does not
/// count the two are the same, and then a clock that was set back makes no difference.
fn is_young(superseded_at: Timestamp, until: Timestamp, now: Timestamp) -> bool {
    superseded_at < until && now < until
}

/// The earlier publications from which a mirror's pointers lend files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lenders {
    /// The pointer.
    pub pointer: Pointer,
    /// What lends to it, newest first.
    pub generations: Vec<Generation>,
}

/// A publication that lends, as the moves alone tell.
#[derive(Debug, PartialEq, Eq)]
struct Lender {
    snapshot_row: SnapshotRow,
    superseded_at: Timestamp,
    until: Timestamp,
    publications_left: u32,
}

impl CatalogReader {
    /// The earlier publications from which the pointer that `moved` was the newest move of lends files at the time `now`,
    /// newest first. Those whose snapshot is gone are not among them.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn generations(
        &self,
        mirror: MirrorRow,
        moved: &MoveRecord,
        now: Timestamp,
    ) -> Result<Vec<Generation>, CatalogError> {
        generations(&self.connection, mirror, moved, now)
    }

    /// What every pointer of a mirror lends from at the time `now`, sorted by their names.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn lenders(&self, mirror: MirrorRow, now: Timestamp) -> Result<Vec<Lenders>, CatalogError> {
        of_mirror(&self.connection, mirror, now)
    }
}

/// What every pointer of a mirror lends from at the time `now`, sorted by their names.
pub(super) fn of_mirror(
    connection: &Connection,
    mirror: MirrorRow,
    now: Timestamp,
) -> Result<Vec<Lenders>, CatalogError> {
    let pointers = pointers::pointers(connection, mirror)?.into_iter();
    let lenders = pointers.map(|there| {
        Ok(Lenders {
            generations: generations(connection, mirror, &there, now)?,
            pointer: there.pointer,
        })
    });
    lenders.collect()
}

fn generations(
    connection: &Connection,
    mirror: MirrorRow,
    moved: &MoveRecord,
    now: Timestamp,
) -> Result<Vec<Generation>, CatalogError> {
    let mut moves = moves_of(connection, mirror, &moved.pointer)?;
    moves.retain(|one| one.row <= moved.row);
    let mut generations = Vec::new();
    for lender in lenders(&moves, now) {
        if let Some(target) = snapshots::of_row(connection, lender.snapshot_row)? {
            generations.push(Generation {
                snapshot_row: target.row,
                snapshot: target.name,
                seq: target.seq,
                superseded_at: lender.superseded_at,
                until: lender.until,
                publications_left: lender.publications_left,
            });
        }
    }
    Ok(generations)
}

/// Those of `moves` (of one pointer, newest first) that lend to the newest, by the terms of the newest.
fn lenders(moves: &[MoveRecord], now: Timestamp) -> Vec<Lender> {
    let Some(newest) = moves.first() else {
        return Vec::new();
    };
    let lending = newest.lending;
    let within = i64::try_from(lending.within.as_secs()).unwrap_or(i64::MAX);
    let mut seen = BTreeSet::from([newest.snapshot_row]);
    let mut lenders = Vec::new();
    for (at, superseded_at) in published(moves) {
        let row = moves[at].snapshot_row;
        if !seen.insert(row) {
            continue;
        }
        let rank = u32::try_from(seen.len() - 1).unwrap_or(u32::MAX);
        let until = superseded_at.plus(within);
        let publications_left = (lending.generations + 1).saturating_sub(rank);
        if publications_left > 0 || is_young(superseded_at, until, now) {
            lenders.push(Lender {
                snapshot_row: row,
                superseded_at,
                until,
                publications_left,
            });
        }
    }
    lenders
}

/// The moves before the newest that may lend, newest first, each with the time at which the pointer left its target.
///
/// What a later move has taken back may not, and no older move to the same snapshot either: it is the snapshot that is
/// unwanted, however often it was published. One that was published again after that may.
fn published(moves: &[MoveRecord]) -> Vec<(usize, Timestamp)> {
    let mut published = Vec::new();
    let mut unwanted = BTreeSet::new();
    for (at, moved) in moves.iter().enumerate() {
        if at > 0 && !unwanted.contains(&moved.snapshot_row) {
            published.push((at, moves[at - 1].moved_at));
        }
        if moved.retracts {
            unwanted.extend(taken_back(moved, &moves[at + 1..]));
        }
    }
    published
}

/// The snapshots that `moved` takes back, of the moves `before` it (newest first): those that came after its target's own
/// publication. A move back to the target is none.
fn taken_back<'a>(moved: &'a MoveRecord, before: &'a [MoveRecord]) -> impl Iterator<Item = SnapshotRow> + 'a {
    let since = before
        .iter()
        .take_while(|earlier| earlier.snapshot_row != moved.snapshot_row || earlier.act == ROLLBACK);
    since
        .map(|earlier| earlier.snapshot_row)
        .filter(|row| *row != moved.snapshot_row)
}

/// Whether a move that takes back what came after `target`, to which the newest of `moves` leads, would keep anything from
/// lending that may lend now.
pub(super) fn has_something_to_take_back(moves: &[MoveRecord], target: SnapshotRow) -> bool {
    let Some(newest) = moves.first() else { return false };
    let may_lend = |moves: &[MoveRecord]| -> BTreeSet<SnapshotRow> {
        let rows = published(moves).into_iter().map(|(at, _)| moves[at].snapshot_row);
        rows.filter(|row| *row != target).collect()
    };
    let retracting = MoveRecord {
        act: ROLLBACK.to_owned(),
        retracts: true,
        snapshot_row: target,
        ..newest.clone()
    };
    !may_lend(moves).is_subset(&may_lend(&preceded_by(retracting, moves)))
}

/// The snapshots, by their names now, whose files are reachable after the newest of `moves` and not after `next`, newest
/// publication first.
pub(super) fn unreachable_after(
    connection: &Connection,
    moves: &[MoveRecord],
    next: MoveRecord,
) -> Result<Vec<SnapshotName>, CatalogError> {
    let (now, target) = (next.moved_at, next.snapshot_row);
    let Some(newest) = moves.first() else {
        return Ok(Vec::new());
    };
    let reached = lenders(moves, now).into_iter().map(|lender| lender.snapshot_row);
    let reached: Vec<SnapshotRow> = std::iter::once(newest.snapshot_row).chain(reached).collect();
    let moves = preceded_by(next, moves);
    let mut kept: BTreeSet<SnapshotRow> = lenders(&moves, now).iter().map(|lender| lender.snapshot_row).collect();
    kept.insert(target);
    let mut unreachable = Vec::new();
    for row in reached.into_iter().filter(|row| !kept.contains(row)) {
        unreachable.extend(snapshots::of_row(connection, row)?.map(|target| target.name));
    }
    Ok(unreachable)
}

fn preceded_by(next: MoveRecord, moves: &[MoveRecord]) -> Vec<MoveRecord> {
    std::iter::once(next).chain(moves.iter().cloned()).collect()
}

/// The move that led to where the pointer was before it came to where it is. A move back, by whichever command, undoes
/// the moves since the one it goes back to, so going back twice goes back two steps.
pub(super) fn before(moves: &[MoveRecord]) -> Option<&MoveRecord> {
    let mut path: Vec<&MoveRecord> = Vec::new();
    for moved in moves.iter().rev() {
        let back = (moved.act == ROLLBACK)
            .then(|| {
                path.iter()
                    .rposition(|earlier| earlier.snapshot_row == moved.snapshot_row)
            })
            .flatten();
        match back {
            Some(at) => path.truncate(at + 1),
            None => path.push(moved),
        }
    }
    let (_, before) = path.split_last()?;
    before.last().copied()
}

/// The command that goes back.
const ROLLBACK: &str = "rollback";

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::super::{PointerTarget, RequestedMove};
    use super::*;
    use crate::model::{Leads, Lending, MoveTerms};

    const HOUR: i64 = 3_600;

    /// The mirror `debian` with the snapshots `a` to `e`.
    fn house() -> House {
        let mut house = House::new();
        for name in ["a", "b", "c", "d", "e"] {
            house
                .sync("debian", &listing(&[("file", name)]), name, &[], at(0))
                .expect("records");
        }
        house
    }

    /// Moves `current` at the time `hour`, by terms that keep the last and those of two hours.
    fn lead(
        house: &mut House,
        command: &'static str,
        target: PointerTarget,
        hour: i64,
    ) -> Result<String, CatalogError> {
        let wish = RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target,
            expect: None,
            terms: MoveTerms {
                lending: Lending {
                    generations: 1,
                    within: std::time::Duration::from_hours(2),
                },
                ..MoveTerms::default()
            },
        };
        let moved = house.catalog.move_pointers(&[wish], act(command, at(hour * HOUR)))?;
        Ok(moved[0].now.snapshot.to_string())
    }

    fn publish(house: &mut House, name: &str, hour: i64) {
        lead(house, "publish", PointerTarget::Snapshot(snapshot_name(name)), hour).expect("moves");
    }

    fn roll_back(house: &mut House, hour: i64) -> Result<String, CatalogError> {
        lead(house, "rollback", PointerTarget::Previous, hour)
    }

    /// The snapshots that lend at the time `hour`.
    fn lending(house: &House, hour: i64) -> Vec<String> {
        let (reader, row) = (house.catalog.reader(), house.row("debian"));
        let newest = reader.pointer(row, &Pointer::Current).expect("reads").expect("set");
        let generations = reader.generations(row, &newest, at(hour * HOUR)).expect("reads");
        generations.iter().map(|one| one.snapshot.to_string()).collect()
    }

    #[test]
    fn the_last_publications_lend_and_those_that_ended_lately() {
        let mut house = house();
        publish(&mut house, "a", 0);
        assert!(lending(&house, 0).is_empty());
        for (name, hour) in [("b", 10), ("c", 11), ("d", 12)] {
            publish(&mut house, name, hour);
        }
        // a ended at 10, b at 11, c at 12.
        assert_eq!(lending(&house, 11), ["c", "b", "a"]);
        assert_eq!(lending(&house, 12), ["c", "b"]);
        assert_eq!(lending(&house, 13), ["c"], "the last one lends at any age");
        assert_eq!(lending(&house, 1_000), ["c"]);
        let newest = house.catalog.reader();
        let row = house.row("debian");
        let moved = newest.pointer(row, &Pointer::Current).expect("reads").expect("set");
        let first = &newest.generations(row, &moved, at(12 * HOUR)).expect("reads")[0];
        assert_eq!((first.superseded_at, first.until), (at(12 * HOUR), at(14 * HOUR)));
        assert_eq!(first.publications_left, 1);
        let reach = |hour| first.reach(at(hour * HOUR)).to_string();
        let both = "until 1 more publication, and until 1970-01-01T14:00:00Z at least";
        assert_eq!([reach(13), reach(14)], [both, "until 1 more publication"]);
        let second = Generation {
            publications_left: 0,
            ..first.clone()
        };
        assert_eq!(second.reach(at(13 * HOUR)).to_string(), "until 1970-01-01T14:00:00Z");
        assert_eq!([13, 14].map(|hour| second.is_reachable(at(hour * HOUR))), [true, false]);
    }

    /// That production leads to `name` and lends on these terms.
    fn wish(name: &str, generations: u32, within: std::time::Duration) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name(name)),
            expect: None,
            terms: MoveTerms {
                lending: Lending { generations, within },
                ..MoveTerms::default()
            },
        }
    }

    #[test]
    fn where_age_does_not_count_a_clock_that_was_set_back_changes_nothing() {
        let mut house = house();
        for (name, hour) in [("a", 10), ("b", 11)] {
            let wish = wish(name, 0, std::time::Duration::ZERO);
            house
                .catalog
                .move_pointers(&[wish], act("publish", at(hour * HOUR)))
                .expect("moves");
        }
        assert!(lending(&house, 9).is_empty());
    }

    #[test]
    fn what_lends_goes_by_force_only_and_says_to_which_pointer_and_until_when() {
        let mut house = house();
        for (name, hour) in [("a", 1), ("b", 2), ("c", 3)] {
            publish(&mut house, name, hour);
        }
        let delete = |house: &mut House, name, force, hour| {
            let names = [snapshot_name(name)];
            house
                .catalog
                .delete_snapshots(&mirror_id("debian"), &names, force, at(hour * HOUR))
        };
        let error = delete(&mut house, "a", false, 3).expect_err("it lends");
        assert_eq!(
            error.to_string(),
            "debian/current lends files of snapshot a until 1970-01-01T04:00:00Z"
        );
        let replaced = house.catalog.create_snapshot(
            &mirror_id("debian"),
            &snapshot_name("b"),
            true,
            &[],
            MoveTerms::default(),
            act("create", at(3 * HOUR)),
        );
        assert!(matches!(replaced, Err(CatalogError::Lends { .. })));
        let lenders = house.catalog.reader().lenders(house.row("debian"), at(3 * HOUR));
        let lenders = lenders.expect("reads");
        assert_eq!((lenders.len(), lenders[0].generations.len()), (1, 2));
        delete(&mut house, "a", false, 4).expect("its time is over");
        delete(&mut house, "b", false, 1_000).expect_err("it is the last one");
        delete(&mut house, "b", true, 1_000).expect("force");
        delete(&mut house, "c", true, 1_000).expect_err("a pointer leads to it");
    }

    #[test]
    fn a_snapshot_that_is_published_again_does_not_lend_to_itself() {
        let mut house = house();
        for (name, hour) in [("a", 1), ("b", 2), ("a", 3)] {
            publish(&mut house, name, hour);
        }
        assert_eq!(lending(&house, 3), ["b"]);
    }

    #[test]
    fn what_is_gone_lends_nothing() {
        let mut house = house();
        publish(&mut house, "a", 1);
        publish(&mut house, "b", 2);
        house
            .catalog
            .delete_snapshots(&mirror_id("debian"), &[snapshot_name("a")], true, at(2))
            .expect("deletes");
        assert!(lending(&house, 2).is_empty());
    }

    #[test]
    fn going_back_twice_goes_back_two_steps() {
        let mut house = house();
        for (name, hour) in [("a", 1), ("b", 2), ("c", 3)] {
            publish(&mut house, name, hour);
        }
        assert_eq!(roll_back(&mut house, 4).expect("goes back"), "b");
        assert_eq!(lending(&house, 4), ["c"], "those who saw it still find its files");
        assert_eq!(roll_back(&mut house, 5).expect("goes back"), "a");
        assert!(matches!(roll_back(&mut house, 6), Err(CatalogError::NoPrevious { .. })));
        publish(&mut house, "d", 7);
        assert_eq!(roll_back(&mut house, 8).expect("goes back"), "a");
    }

    #[test]
    fn what_is_taken_back_lends_nothing() {
        let mut house = house();
        for (name, hour) in [("a", 1), ("b", 2), ("c", 3)] {
            publish(&mut house, name, hour);
        }
        let wish = RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name("a")),
            expect: Some(Leads::To(snapshot_name("c"))),
            terms: MoveTerms::default(),
        };
        let retracting = super::super::Act {
            retracts: true,
            ..act("rollback", at(4 * HOUR))
        };
        let wishes = std::slice::from_ref(&wish);
        house.catalog.move_pointers(wishes, retracting).expect("moves");
        assert!(lending(&house, 4).is_empty(), "neither b nor c");
        let error = house.catalog.move_pointers(
            &[RequestedMove {
                target: PointerTarget::Snapshot(snapshot_name("b")),
                ..wish
            }],
            retracting,
        );
        assert!(
            matches!(error, Err(CatalogError::Unexpected { .. })),
            "c is not there any more"
        );
    }

    /// Goes back to `name`, and takes back what came after; whether that was a move.
    fn retract(house: &mut House, name: &str, hour: i64) -> bool {
        let wish = wish(name, 9, std::time::Duration::from_hours(99));
        let retracting = super::super::Act {
            retracts: true,
            ..act("rollback", at(hour * HOUR))
        };
        house.catalog.move_pointers(&[wish], retracting).expect("moves")[0].changed()
    }

    #[test]
    fn what_is_taken_back_does_not_lend_through_an_older_publication() {
        // (published before, taken back to, what lends then)
        for (published, to, lenders) in [
            (&["b", "a", "b"][..], "a", &[][..]),
            (&["a", "b", "a", "b"], "a", &[]),
            (&["b", "c", "a", "b"], "a", &["c"]),
            (&["b", "c", "b", "a"], "a", &["b"]),
            (&["b", "a", "c", "b"], "a", &[]),
        ] {
            let mut house = house();
            for (hour, name) in (1..).zip(published) {
                publish(&mut house, name, hour);
            }
            retract(&mut house, to, 10);
            assert_eq!(lending(&house, 10), lenders, "{published:?}");
            assert!(!retract(&mut house, to, 11), "{published:?}: once is enough");
        }
    }

    #[test]
    fn what_is_taken_back_lends_again_once_it_is_published_again() {
        let mut house = house();
        for (hour, name) in [(1, "b"), (2, "a"), (3, "b")] {
            publish(&mut house, name, hour);
        }
        assert!(retract(&mut house, "a", 4));
        publish(&mut house, "b", 5);
        publish(&mut house, "c", 6);
        assert_eq!(lending(&house, 6), ["b", "a"]);
        assert!(retract(&mut house, "a", 7), "b came after it again, and c did");
        assert!(lending(&house, 7).is_empty());
    }

    #[test]
    fn what_was_taken_back_stays_so_when_that_was_taken_back_itself() {
        let mut house = house();
        for (hour, name) in [(1, "a"), (2, "d"), (3, "b"), (4, "c")] {
            publish(&mut house, name, hour);
        }
        assert!(retract(&mut house, "a", 5));
        assert!(retract(&mut house, "b", 6));
        assert!(
            lending(&house, 6).is_empty(),
            "d was taken back though it is older than b's own publication"
        );
    }

    #[test]
    fn going_back_can_be_followed_by_taking_back_whatever_the_order() {
        for published in [&["b", "a", "b"][..], &["a", "b", "a", "b"]] {
            let mut house = house();
            for (hour, name) in (1..).zip(published) {
                publish(&mut house, name, hour);
            }
            roll_back(&mut house, 5).expect("goes back");
            assert_eq!(lending(&house, 5), ["b"]);
            assert!(retract(&mut house, "a", 6), "b lends");
            assert!(lending(&house, 6).is_empty(), "{published:?}");
            assert!(!retract(&mut house, "a", 7));
        }
    }
}

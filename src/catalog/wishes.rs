//! What a wish to move a pointer comes to, and what stands against it.
//!
//! Owns the meaning of [`PointerTarget`] and the conditions of a move. It changes nothing: the same answers are given to those
//! who only want to know and to the act that moves pointers, so that what is foretold is what happens.

use rusqlite::Connection;

use super::pointers::{MoveRecord, PointerTarget, RequestedMove, moves_of, newest};
use super::snapshots::{self, Target};
use super::standing::{self, Lacking, Production, Unfit};
use super::{Act, CatalogError, CatalogReader, MirrorRow, Seq, damage, generations, tree};
use crate::model::{Leads, MirrorId, MoveTerms, Pointer, SnapshotName};

/// What fulfilling a wish would come to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The mirror.
    pub mirror: MirrorRow,
    /// Where the pointer leads.
    pub before: Option<MoveRecord>,
    /// The snapshot that it would lead to.
    pub snapshot: SnapshotName,
    /// That snapshot's listing.
    pub seq: Seq,
    /// Whether anything would be recorded.
    pub changes: bool,
    /// The snapshots whose files are reachable now and would not be any more.
    pub unreachable: Vec<SnapshotName>,
}

impl CatalogReader {
    /// What each of `wishes` would come to if `act` fulfilled all of them.
    ///
    /// # Errors
    /// Those with which the act would fail.
    pub fn foresee(&self, wishes: &[RequestedMove], act: Act<'_>) -> Result<Vec<Foreseen>, CatalogError> {
        let connection = &self.connection;
        let production = Production::after(connection, wishes);
        require_checks(connection, wishes, &production, act)?;
        wishes
            .iter()
            .map(|wish| {
                let (mirror, target) = resolve(connection, wish)?;
                let before = newest(connection, mirror, &wish.pointer)?;
                let changes = !is_there(connection, before.as_ref(), &target, act)?;
                if changes {
                    judge(
                        connection,
                        (mirror, &wish.mirror),
                        &target,
                        (wish.terms, &production),
                        act,
                    )?;
                }
                let unreachable = match &before {
                    Some(before) if changes => unreachable(connection, mirror, before, &target, wish, act)?,
                    _ => Vec::new(),
                };
                Ok(Foreseen {
                    mirror,
                    unreachable,
                    before,
                    snapshot: target.name,
                    seq: target.seq,
                    changes,
                })
            })
            .collect()
    }
}

/// The snapshot that `wish` means, if its pointer leads where it is expected to.
pub(super) fn resolve(connection: &Connection, wish: &RequestedMove) -> Result<(MirrorRow, Target), CatalogError> {
    let mirror = tree::mirror_row(connection, &wish.mirror)?;
    expect(connection, mirror, (&wish.mirror, &wish.pointer), wish.expect.as_ref())?;
    let target = match &wish.target {
        PointerTarget::Snapshot(name) => snapshots::find(connection, mirror, &wish.mirror, name)?,
        PointerTarget::SameAs(pointer) => target_of(connection, mirror, &wish.mirror, pointer)?,
        PointerTarget::Previous => previous(connection, mirror, wish)?,
    };
    Ok((mirror, target))
}

/// Whether a pointer whose newest move is `before` needs no move to lead to `target`. A move that takes back what came
/// after its target is more than the way there, so it is one where the pointer is there already, as long as anything of that
/// may lend.
pub(super) fn is_there(
    connection: &Connection,
    before: Option<&MoveRecord>,
    target: &Target,
    act: Act<'_>,
) -> Result<bool, CatalogError> {
    let Some(there) = before.filter(|there| there.snapshot_row == target.row) else {
        return Ok(false);
    };
    if !act.retracts {
        return Ok(true);
    }
    let mirror = tree::mirror_row(connection, &there.mirror)?;
    let moves = moves_of(connection, mirror, &there.pointer)?;
    Ok(!generations::has_something_to_take_back(&moves, target.row))
}

/// The snapshots whose files are reachable now and not once the wish is fulfilled.
fn unreachable(
    connection: &Connection,
    mirror: MirrorRow,
    before: &MoveRecord,
    target: &Target,
    wish: &RequestedMove,
    act: Act<'_>,
) -> Result<Vec<SnapshotName>, CatalogError> {
    let next = MoveRecord {
        snapshot_row: target.row,
        moved_at: act.now,
        act: act.command.to_owned(),
        lending: wish.terms.lending,
        retracts: act.retracts,
        ..before.clone()
    };
    let moves = moves_of(connection, mirror, &before.pointer)?;
    generations::unreachable_after(connection, &moves, next)
}

/// Makes sure that a pointer leads where it is expected to.
pub(super) fn expect(
    connection: &Connection,
    mirror: MirrorRow,
    (id, pointer): (&MirrorId, &Pointer),
    expected: Option<&Leads>,
) -> Result<(), CatalogError> {
    let Some(expected) = expected else { return Ok(()) };
    let found = Leads::of(newest(connection, mirror, pointer)?.map(|there| there.snapshot));
    if found == *expected {
        return Ok(());
    }
    Err(CatalogError::Unexpected {
        mirror: id.clone(),
        pointer: pointer.clone(),
        expected: expected.clone(),
        found,
    })
}

fn target_of(
    connection: &Connection,
    mirror: MirrorRow,
    id: &MirrorId,
    pointer: &Pointer,
) -> Result<Target, CatalogError> {
    match newest(connection, mirror, pointer)? {
        Some(there) => Ok(Target {
            row: there.snapshot_row,
            name: there.snapshot,
            seq: there.seq,
        }),
        None => Err(CatalogError::NotSet {
            mirror: id.clone(),
            pointer: pointer.clone(),
        }),
    }
}

fn previous(connection: &Connection, mirror: MirrorRow, wish: &RequestedMove) -> Result<Target, CatalogError> {
    // Refuses a pointer that is not set.
    target_of(connection, mirror, &wish.mirror, &wish.pointer)?;
    let moves = moves_of(connection, mirror, &wish.pointer)?;
    let before = generations::before(&moves).ok_or_else(|| CatalogError::NoPrevious {
        mirror: wish.mirror.clone(),
        pointer: wish.pointer.clone(),
    })?;
    snapshots::of_row(connection, before.snapshot_row)?.ok_or_else(|| CatalogError::UnknownSnapshot {
        mirror: wish.mirror.clone(),
        name: before.snapshot.clone(),
    })
}

/// What the rules say of a target that they let pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    /// Whether the target is held, which a move ends.
    pub(super) held: bool,
    /// Whether it had passed its checks; `None` where no test of it counts.
    pub(super) passed: Option<bool>,
    /// Whether a rule was against it.
    pub(super) forced: bool,
}

/// Refuses an act without force of which any target lacks the checks that it needs, and names all of them: whoever moves
/// several mirrors wants to know everything that is left to do. What is held is left to [`judge`].
pub(super) fn require_checks(
    connection: &Connection,
    wishes: &[RequestedMove],
    production: &Production,
    act: Act<'_>,
) -> Result<(), CatalogError> {
    let mut unfit = Vec::new();
    for wish in wishes.iter().filter(|wish| wish.terms.must_have_passed && !act.force) {
        let (mirror, target) = resolve(connection, wish)?;
        let before = newest(connection, mirror, &wish.pointer)?;
        let stays = is_there(connection, before.as_ref(), &target, act)?;
        if stays || snapshots::held(connection, mirror, target.seq)?.is_some() {
            continue;
        }
        let why = standing::lacking(connection, (mirror, &target), production, (wish.terms, act.now))?;
        unfit.extend(why.map(|why| Unfit {
            mirror: wish.mirror.clone(),
            name: target.name,
            why,
        }));
    }
    if unfit.is_empty() {
        return Ok(());
    }
    Err(CatalogError::Untested(unfit))
}

/// Refuses a target that is held, has damaged files or lacks the checks it needs, unless the act has force.
pub(super) fn judge(
    connection: &Connection,
    (row, mirror): (MirrorRow, &MirrorId),
    target: &Target,
    (terms, production): (MoveTerms, &Production),
    act: Act<'_>,
) -> Result<Verdict, CatalogError> {
    let held = snapshots::held(connection, row, target.seq)?;
    if let Some(shrink) = held.filter(|_| !act.force) {
        return Err(CatalogError::Held {
            mirror: mirror.clone(),
            name: target.name.clone(),
            shrink,
        });
    }
    let damaged = damage::damaged_files(connection, row, target.seq)?;
    if damaged > 0 && !act.force {
        return Err(CatalogError::Damaged {
            mirror: mirror.clone(),
            name: target.name.clone(),
            files: damaged,
        });
    }
    let lacking = standing::lacking(connection, (row, target), production, (terms, act.now))?;
    let passed = match &lacking {
        None => Some(true),
        Some(Lacking::Failed) => Some(false),
        Some(Lacking::Untested | Lacking::Company { .. } | Lacking::Expired { .. } | Lacking::Expiring { .. }) => None,
    };
    let lacking = lacking.filter(|_| terms.must_have_passed);
    let forced = held.is_some() || damaged > 0 || lacking.is_some();
    if let Some(why) = lacking.filter(|_| !act.force) {
        return Err(CatalogError::Untested(vec![Unfit {
            mirror: mirror.clone(),
            name: target.name.clone(),
            why,
        }]));
    }
    Ok(Verdict {
        held: held.is_some(),
        passed,
        forced,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::*;

    /// The mirror `debian` with the snapshots `a` and `b`, of which `b` is published after `a`.
    fn house() -> House {
        let mut house = House::new();
        for name in ["a", "b"] {
            house
                .sync("debian", &listing(&[("file", name)]), name, &[], at(0))
                .expect("records");
        }
        for (name, time) in [("a", 1), ("b", 2)] {
            let wish = wish(PointerTarget::Snapshot(snapshot_name(name)));
            house
                .catalog
                .move_pointers(&[wish], act("publish", at(time)))
                .expect("moves");
        }
        house
    }

    fn wish(target: PointerTarget) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target,
            expect: None,
            terms: MoveTerms::default(),
        }
    }

    #[test]
    fn what_is_foretold_happens() {
        let mut house = house();
        let must_pass = RequestedMove {
            terms: MoveTerms {
                must_have_passed: true,
                ..MoveTerms::default()
            },
            ..wish(PointerTarget::Previous)
        };
        let expecting = |name: &str| RequestedMove {
            expect: Some(Leads::To(snapshot_name(name))),
            ..wish(PointerTarget::Previous)
        };
        for (wish, force) in [
            (wish(PointerTarget::SameAs(Pointer::Staging)), false),
            (wish(PointerTarget::Snapshot(snapshot_name("nine"))), false),
            (expecting("a"), false),
            (must_pass.clone(), false),
            (wish(PointerTarget::Snapshot(snapshot_name("b"))), false),
            (must_pass, true),
            (expecting("a"), false),
            (wish(PointerTarget::Previous), false),
        ] {
            let act = Act {
                force,
                ..act("rollback", at(3))
            };
            let rows = house.number("SELECT count(*) FROM move");
            let told = house.catalog.reader().foresee(std::slice::from_ref(&wish), act);
            assert_eq!(
                house.number("SELECT count(*) FROM move"),
                rows,
                "telling changes nothing"
            );
            match (told, house.catalog.move_pointers(std::slice::from_ref(&wish), act)) {
                (Ok(told), Ok(moved)) => {
                    let (told, moved) = (&told[0], &moved[0]);
                    assert_eq!(
                        (&told.before, &told.snapshot, told.seq, told.changes),
                        (&moved.before, &moved.now.snapshot, moved.now.seq, moved.changed()),
                        "{wish:?}"
                    );
                }
                (Err(told), Err(happened)) => assert_eq!(told.to_string(), happened.to_string()),
                (told, happened) => panic!("{wish:?}: {told:?}, and then {happened:?}"),
            }
        }
    }

    #[test]
    fn what_came_after_can_be_taken_back_later_and_once() {
        let mut house = house();
        let back = |house: &mut House, retracts: bool, time: i64| {
            let act = Act {
                retracts,
                ..act("rollback", at(time))
            };
            let wish = wish(PointerTarget::Snapshot(snapshot_name("a")));
            let moved = house.catalog.move_pointers(&[wish], act).expect("moves");
            let reader = house.catalog.reader();
            let row = house.row("debian");
            let lending = reader.generations(row, &moved[0].now, at(time)).expect("reads");
            (moved[0].changed(), lending.len())
        };
        assert_eq!(back(&mut house, false, 3), (true, 1), "b lends");
        assert_eq!(back(&mut house, false, 4), (false, 1));
        assert_eq!(back(&mut house, true, 5), (true, 0), "another door, and b is gone");
        assert_eq!(back(&mut house, true, 6), (false, 0));
        assert_eq!(back(&mut house, false, 7), (false, 0));
    }
}

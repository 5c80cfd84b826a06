//! Moving pointers, and making changes visible.
//!
//! Owns the acts *stage*, *publish*, *promote*, *rollback*, *unpublish* and *migrate*, each one transaction however many mirrors it moves, and
//! the telling of running mounts. It touches no network and no blob: the commit is the switch.

use std::path::Path;

use crate::catalog::{
    Act, Catalog, CatalogError, CatalogReader, Foreseen, Lacking, MoveRecord, Moved, PointerTarget, ReleaseFacts,
    RequestedMove, UNPUBLISH, Unsetting, in_turn,
};
use crate::control::{self, ControlError, LiveMount, Request};
use crate::model::{Clock, Leads, Lending, MirrorId, MoveTerms, Pointer, SnapshotName, Suite, Timestamp};

/// Who moves pointers, and when.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// The user's name, for the history.
    pub actor: &'a str,
    /// Why, in their words.
    pub message: Option<&'a str>,
    /// The time of day, by which pointers wait for their turn.
    pub clock: &'a Clock,
    /// Whether rules that stand against it are overridden.
    pub force: bool,
}

impl<'a> By<'a> {
    fn act(self, command: &'a str) -> Act<'a> {
        Act {
            command,
            actor: self.actor,
            message: self.message,
            now: self.clock.now(),
            in_turn: false,
            force: self.force,
            retracts: false,
        }
    }
}

/// A mirror of which a pointer shall move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mover {
    /// The mirror.
    pub mirror: MirrorId,
    /// On which terms.
    pub terms: MoveTerms,
    /// Where the pointer must lead at that moment; `None` for anywhere.
    pub expect: Option<Leads>,
}

impl Mover {
    fn wish(&self, pointer: &Pointer, target: PointerTarget) -> RequestedMove {
        RequestedMove {
            mirror: self.mirror.clone(),
            pointer: pointer.clone(),
            target,
            expect: self.expect.clone(),
            terms: self.terms,
        }
    }
}

/// Points `staging` of each mirror at the snapshot beside it: all of them in one transaction, or none.
///
/// # Errors
/// When there is no such snapshot, a rule forbids one, a pointer is not where it is expected, or the catalog cannot be
/// written.
pub fn stage(catalog: &mut Catalog, aims: &[(Mover, SnapshotName)], by: By<'_>) -> Result<Vec<Moved>, CatalogError> {
    move_pointers(catalog, &named(&Pointer::Staging, aims), by.act("stage"), by.clock)
}

/// Points `pointer` of each mirror at the snapshot beside it, past the pointers before it: all of them in one
/// transaction, or none.
///
/// # Errors
/// As those of [`stage`].
pub fn publish(
    catalog: &mut Catalog,
    pointer: &Pointer,
    aims: &[(Mover, SnapshotName)],
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    move_pointers(catalog, &named(pointer, aims), by.act("publish"), by.clock)
}

fn named(pointer: &Pointer, aims: &[(Mover, SnapshotName)]) -> Vec<RequestedMove> {
    let wish = |(mover, name): &(Mover, SnapshotName)| mover.wish(pointer, PointerTarget::Snapshot(name.clone()));
    aims.iter().map(wish).collect()
}

/// Points `to` of every one of `movers` where its pointer `from` leads: all of them in one transaction, or none.
///
/// # Errors
/// When `from` of one leads nowhere, and as those of [`stage`].
pub fn promote(
    catalog: &mut Catalog,
    from: &Pointer,
    to: &Pointer,
    movers: &[Mover],
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    let wish = |mover: &Mover| mover.wish(to, PointerTarget::SameAs(from.clone()));
    let wishes: Vec<_> = movers.iter().map(wish).collect();
    move_pointers(catalog, &wishes, by.act("promote"), by.clock)
}

/// Points `current` of each mirror at the snapshot beside it, which must have passed its checks, whatever staging leads to
/// by now: all of them in one transaction, or none.
///
/// # Errors
/// As those of [`stage`].
pub fn promote_tested(
    catalog: &mut Catalog,
    aims: &[(Mover, SnapshotName)],
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    let mut wishes = named(&Pointer::Current, aims);
    for wish in &mut wishes {
        wish.terms.must_have_passed = true;
    }
    move_pointers(catalog, &wishes, by.act("promote"), by.clock)
}

/// What each snapshot of `aims` lacks for [`promote_tested`] to take all of them `now`; `None` for nothing.
///
/// # Errors
/// When there is no such snapshot, or the catalog cannot be read.
pub fn lacking(
    reader: &CatalogReader,
    aims: &[(Mover, SnapshotName)],
    now: Timestamp,
) -> Result<Vec<Option<Lacking>>, CatalogError> {
    let mut wishes = named(&Pointer::Current, aims);
    for wish in &mut wishes {
        wish.expect = None;
    }
    reader.lacking(&wishes, now)
}

/// What a rollback would do, which is all that it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// The way back of each mirror.
    pub ways: Vec<WayBack>,
    /// Whether nothing of what was published after the targets stays reachable.
    pub retracts: bool,
    wishes: Vec<RequestedMove>,
}

/// The way back of one mirror's pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBack {
    /// The mirror.
    pub mirror: MirrorId,
    /// Where the pointer leads before.
    pub from: SnapshotName,
    /// Where it leads then.
    pub to: SnapshotName,
    /// Whether anything is recorded: not where the pointer is there already.
    pub changes: bool,
    /// On which terms files of earlier publications stay reachable.
    pub lending: Lending,
    /// The snapshots whose files are reachable before and not after: those that the terms leave out, and those that are
    /// retracted.
    pub unreachable: Vec<SnapshotName>,
    /// The suites of either snapshot, sorted.
    pub suites: Vec<Redated>,
}

/// Dates of a suite's Release file on both sides of a move; `None` where a snapshot has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redated {
    /// The suite.
    pub suite: Suite,
    /// What clients may have seen.
    pub from: Option<Timestamp>,
    /// What they are shown then.
    pub to: Option<Timestamp>,
}

/// Where `pointer` of each of `movers` would go: to the snapshot `to`, or to where it led before. Nothing is changed.
///
/// # Errors
/// Those with which [`rollback`] would fail.
pub fn plan_rollback(
    reader: &CatalogReader,
    pointer: &Pointer,
    movers: &[Mover],
    to: Option<&SnapshotName>,
    retracts: bool,
    by: By<'_>,
) -> Result<Rollback, CatalogError> {
    let target = to.map_or(PointerTarget::Previous, |name| PointerTarget::Snapshot(name.clone()));
    let wishes = movers.iter().map(|mover| mover.wish(pointer, target.clone()));
    let act = Act {
        retracts,
        ..by.act("rollback")
    };
    let mut plan = Rollback {
        ways: Vec::new(),
        retracts,
        wishes: wishes.collect(),
    };
    reader.at_once(|reader| {
        for wish in &mut plan.wishes {
            wish.terms.must_have_passed &= !was_there(reader, wish)?;
            if retracts {
                says_what_to_retract(reader, wish, by.act("rollback"))?;
            }
        }
        let foreseen = reader.foresee(&plan.wishes, act)?;
        for (wish, foreseen) in plan.wishes.iter_mut().zip(foreseen) {
            let way = WayBack::of(reader, wish, foreseen)?;
            // What is done is what was planned, even if somebody moves the pointer meanwhile.
            wish.expect = Some(Leads::To(way.from.clone()));
            wish.target = PointerTarget::Snapshot(way.to.clone());
            plan.ways.push(way);
        }
        Ok(())
    })?;
    Ok(plan)
}

/// Whether the pointer has led to the target before, and no rule had to be overridden for that: what clients have lived with needs no test now, when production is to
/// be saved.
fn was_there(reader: &CatalogReader, wish: &RequestedMove) -> Result<bool, CatalogError> {
    let PointerTarget::Snapshot(name) = &wish.target else {
        return Ok(true);
    };
    let mirror = reader.mirror(&wish.mirror)?;
    let snapshot = reader.snapshot_named(mirror, name)?;
    let moves = reader.history(mirror)?;
    let leads_there =
        |moved: &MoveRecord| moved.pointer == wish.pointer && Some(moved.snapshot_row) == snapshot && !moved.forced;
    Ok(moves.iter().any(|moved| leads_there(moved) && !moved.ends))
}

/// Refuses to guess what is to be retracted from where a rollback has led: what it left is what somebody wants to be gone
/// then, and another step could lead just there.
fn says_what_to_retract(reader: &CatalogReader, wish: &RequestedMove, act: Act<'_>) -> Result<(), CatalogError> {
    if wish.target != PointerTarget::Previous {
        return Ok(());
    }
    let newest = reader.pointer(reader.mirror(&wish.mirror)?, &wish.pointer)?;
    let Some(there) = newest.filter(|newest| newest.act == act.command) else {
        return Ok(());
    };
    let further = reader.foresee(std::slice::from_ref(wish), act).ok();
    let further = further.and_then(|further| Some(further.into_iter().next()?.snapshot));
    Err(CatalogError::WentBack {
        mirror: wish.mirror.clone(),
        pointer: wish.pointer.clone(),
        at: there.snapshot,
        further,
    })
}

/// Goes the ways back of `plan`: all of them in one transaction, or none.
///
/// # Errors
/// When a pointer was moved since the plan was made, a target has gone, or the catalog cannot be written.
pub fn rollback(catalog: &mut Catalog, plan: &Rollback, by: By<'_>) -> Result<Vec<Moved>, CatalogError> {
    let act = Act {
        retracts: plan.retracts,
        ..by.act("rollback")
    };
    move_pointers(catalog, &plan.wishes, act, by.clock)
}

impl WayBack {
    fn of(reader: &CatalogReader, wish: &RequestedMove, foreseen: Foreseen) -> Result<Self, CatalogError> {
        let before = foreseen.before.ok_or_else(|| CatalogError::NotSet {
            mirror: wish.mirror.clone(),
            pointer: wish.pointer.clone(),
        })?;
        let seen = reader.releases(foreseen.mirror, before.seq)?;
        let shown = reader.releases(foreseen.mirror, foreseen.seq)?;
        Ok(Self {
            mirror: wish.mirror.clone(),
            from: before.snapshot,
            to: foreseen.snapshot,
            changes: foreseen.changes,
            lending: wish.terms.lending,
            unreachable: foreseen.unreachable,
            suites: redated(&seen, &shown),
        })
    }
}

/// The dates of both sides, suite by suite.
fn redated(seen: &[ReleaseFacts], shown: &[ReleaseFacts]) -> Vec<Redated> {
    let mut suites: Vec<&Suite> = seen.iter().chain(shown).map(|release| &release.suite).collect();
    suites.sort();
    suites.dedup();
    let date = |releases: &[ReleaseFacts], suite: &Suite| {
        let found = releases.iter().find(|release| release.suite == *suite);
        found.and_then(|release| release.date)
    };
    let redated = suites.into_iter().map(|suite| Redated {
        suite: suite.clone(),
        from: date(seen, suite),
        to: date(shown, suite),
    });
    redated.collect()
}

/// Points those pointers that lead nowhere yet at the snapshots that an earlier installation had there, all of them in
/// one transaction. A pointer that leads somewhere was moved by somebody since, and stays.
///
/// # Errors
/// When a mirror or snapshot does not exist, or the catalog cannot be read or written.
pub fn adopt(
    catalog: &mut Catalog,
    targets: &[(MirrorId, Pointer, SnapshotName)],
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    let mut wishes = Vec::new();
    for (mirror, pointer, name) in targets {
        let row = catalog.reader().mirror(mirror)?;
        if catalog.reader().pointer(row, pointer)?.is_none() {
            let target = PointerTarget::Snapshot(name.clone());
            let mover = Mover {
                mirror: mirror.clone(),
                terms: MoveTerms::default(),
                expect: None,
            };
            wishes.push(mover.wish(pointer, target));
        }
    }
    move_pointers(catalog, &wishes, by.act("migrate"), by.clock)
}

/// Takes pointers out, so that they lead nowhere: all of them in one transaction, or none. Answers for each where it led;
/// `None` where it led nowhere already.
///
/// # Errors
/// When a mirror was never synced, a pointer is not where it is expected, or the catalog cannot be written.
pub fn unpublish(
    catalog: &mut Catalog,
    wishes: &[Unsetting],
    by: By<'_>,
) -> Result<Vec<Option<MoveRecord>>, CatalogError> {
    catalog.unset_pointers(wishes, by.act(UNPUBLISH))
}

/// Makes the moves of `act` as soon as it is their turn, at the time that `clock` tells then.
fn move_pointers(
    catalog: &mut Catalog,
    wishes: &[RequestedMove],
    act: Act<'_>,
    clock: &Clock,
) -> Result<Vec<Moved>, CatalogError> {
    in_turn(clock, |now, in_turn| {
        catalog.move_pointers(wishes, Act { now, in_turn, ..act })
    })
}

/// A mount that has not confirmed that it shows the newest state.
#[derive(Debug)]
pub struct Unseen {
    /// The mount.
    pub mount: LiveMount,
    /// Why not.
    pub error: ControlError,
}

/// Tells every mount of the state directory `state` that the catalog changed, and returns when each of them answers
/// nothing old any more. The mounts that did not confirm it in time are the answer.
///
/// # Errors
/// When it cannot be known which mounts there are.
pub fn make_visible(run: &Path, state: &Path) -> Result<Vec<Unseen>, ControlError> {
    let told = control::tell_all(run, state, Request::Reconcile, control::DEADLINE)?;
    Ok(told
        .into_iter()
        .filter_map(|(mount, outcome)| outcome.err().map(|error| Unseen { mount, error }))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Recording;
    use crate::model::{BlobFacts, Digest, ListingBuilder};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn name(text: &str) -> SnapshotName {
        text.parse().expect("valid")
    }

    fn debian() -> MirrorId {
        "debian".parse().expect("valid")
    }

    /// A catalog in `place` with the snapshots `one` and `two` of the mirror `debian`, both of nothing.
    fn catalog(place: &Path) -> Catalog {
        let path = place.join("catalog.db");
        std::fs::write(&path, "").expect("makes a file");
        let mut catalog = Catalog::open(&path).expect("opens");
        catalog.adopt_mirror(&debian()).expect("adopts");
        let listing = ListingBuilder::new().build().expect("no clash");
        let prepared = catalog.prepare(&debian(), &listing, at(0)).expect("prepares");
        let manifest = BlobFacts {
            digest: Digest::of(prepared.manifest()),
            size: prepared.manifest().len() as u64,
            mtime: at(0),
        };
        catalog.add_blobs(&[manifest]).expect("adds");
        let called = name("one");
        let what = Recording::plain(manifest.digest, &called, at(0));
        catalog.record(&prepared, &what).expect("records");
        let clock = clock(0);
        let act = by(&clock).act("stage");
        catalog
            .create_snapshot(&debian(), &name("two"), false, &[], MoveTerms::default(), act)
            .expect("creates");
        catalog
    }

    /// A clock that stands still.
    fn clock(now: i64) -> Clock {
        Clock::new(move || at(now))
    }

    fn by(clock: &Clock) -> By<'_> {
        By {
            actor: "tester",
            message: Some("why"),
            clock,
            force: false,
        }
    }

    fn mover(expect: &str) -> Mover {
        Mover {
            mirror: debian(),
            terms: MoveTerms::default(),
            expect: Some(Leads::To(name(expect))),
        }
    }

    #[test]
    fn a_rollback_does_what_was_planned_or_nothing() {
        let place = tempfile::tempdir().expect("temporary directory");
        let mut catalog = catalog(place.path());
        let times = [0, 1, 2, 3, 4].map(clock);
        let movers = [Mover {
            expect: None,
            ..mover("one")
        }];
        for (snapshot, time) in [("one", 1), ("two", 2)] {
            publish(
                &mut catalog,
                &Pointer::Current,
                &[(movers[0].clone(), name(snapshot))],
                by(&times[time]),
            )
            .expect("moves");
        }
        let plan = |catalog: &Catalog| {
            plan_rollback(catalog.reader(), &Pointer::Current, &movers, None, false, by(&times[3])).expect("plans")
        };
        let (mine, theirs) = (plan(&catalog), plan(&catalog));
        assert_eq!(
            rollback(&mut catalog, &mine, by(&times[3])).expect("moves")[0]
                .now
                .snapshot,
            name("one")
        );
        // Without the plan it would be another step back.
        let error = rollback(&mut catalog, &theirs, by(&times[4])).expect_err("somebody else moved it");
        assert!(matches!(error, CatalogError::Unexpected { .. }), "{error}");
    }
}

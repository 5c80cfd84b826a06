//! `mirrorctl sync --promote-if-tested`: what comes after the syncs.
//!
//! Owns the decision which mirrors are tested, and which of these go to production together. A mirror whose companion of
//! this run does not go stays too: it was tested together with that.

use std::collections::BTreeSet;

use super::moves::Moves;
use super::replaced::{Replaced, replaced};
use super::sync::Run;
use super::test_report::Test;
use super::testing::{Testing, pointed};
use crate::catalog::{Catalog, Lacking, Moved, SnapshotRecord};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::config::MirrorSettings;
use crate::model::{Leads, MirrorId, Pointer, SnapshotName};
use crate::publish::{self, Mover};

/// What became of the mirrors.
#[derive(Default)]
pub(super) struct Promotion<'a> {
    /// The tests that were made.
    pub(super) tests: Vec<Test>,
    /// The moves of production.
    pub(super) moves: Vec<Moved>,
    /// What they replaced.
    pub(super) replaced: Vec<Replaced>,
    /// The mirrors that stay where they are though they have something new, and why.
    pub(super) failures: Vec<(&'a MirrorSettings, Failure)>,
}

/// A mirror whose staging is not in production.
struct Candidate<'a> {
    mirror: &'a MirrorSettings,
    staged: SnapshotRecord,
    production: Option<SnapshotRecord>,
}

impl Candidate<'_> {
    fn aim(&self) -> (Mover, SnapshotName) {
        let mover = Mover {
            mirror: self.mirror.id.clone(),
            terms: self.mirror.terms(&Pointer::Current),
            // What was tested was compared with this.
            expect: Some(Leads::of(
                self.production.as_ref().map(|production| production.name.clone()),
            )),
        };
        (mover, self.staged.name.clone())
    }
}

/// Tests what is staged of `mirrors` and not in production, and promotes what has passed, all of it in one step.
pub(super) fn promote<'a>(run: &Run<'_>, context: &Context, mirrors: &[&'a MirrorSettings]) -> Promotion<'a> {
    let mut promotion = Promotion::default();
    // Of its own: tests take their time, and `run`'s is for the syncs.
    let mut catalog = match Catalog::open(&run.state.catalog()) {
        Ok(catalog) => catalog,
        Err(error) => {
            let failure = Failure::from(error);
            promotion
                .failures
                .extend(mirrors.iter().map(|mirror| (*mirror, failure.clone())));
            return promotion;
        }
    };
    let mut candidates = Vec::new();
    for mirror in mirrors {
        match candidate(&mut catalog, context, mirror) {
            Ok(found) => candidates.extend(found),
            Err(failure) => promotion.failures.push((*mirror, failure)),
        }
    }
    let ids: BTreeSet<&MirrorId> = candidates.iter().map(|candidate| &candidate.mirror.id).collect();
    let testing = Testing {
        context,
        blobs: run.store.blobs(),
        deep: false,
        staged: &|companion| ids.contains(companion),
        stop: &|| run.interrupt.came(),
    };
    let aims: Vec<_> = candidates.iter().map(Candidate::aim).collect();
    let mut fit = Vec::new();
    for (at, candidate) in candidates.iter().enumerate() {
        match promotion.test(&testing, &mut catalog, candidate, (&aims, at)) {
            Ok(()) => fit.push(candidate),
            Err(failure) => promotion.failures.push((candidate.mirror, failure)),
        }
        if run.interrupt.came() {
            return promotion;
        }
    }
    promotion.keep_companions_together(&mut fit);
    promotion.move_all(&mut catalog, context, &fit);
    promotion
}

/// What is to be tested of a mirror; `None` when production has it already.
fn candidate<'a>(
    catalog: &mut Catalog,
    context: &Context,
    mirror: &'a MirrorSettings,
) -> Result<Option<Candidate<'a>>, Failure> {
    let staged = match pointed(catalog.reader(), &mirror.id, &Pointer::Staging)? {
        Some(staged) => staged,
        None => match stage_newest(catalog, context, mirror)? {
            Some(staged) => staged,
            None => return Ok(None),
        },
    };
    let production = pointed(catalog.reader(), &mirror.id, &Pointer::Current)?;
    let is_there = production
        .as_ref()
        .is_some_and(|production| production.row == staged.row);
    Ok((!is_there).then_some(Candidate {
        mirror,
        staged,
        production,
    }))
}

/// Stages the newest snapshot of a mirror that has nothing staged; `None` when it has no snapshot.
fn stage_newest(
    catalog: &mut Catalog,
    context: &Context,
    mirror: &MirrorSettings,
) -> Result<Option<SnapshotRecord>, Failure> {
    let snapshots = catalog.reader().snapshots(catalog.reader().mirror(&mirror.id)?)?;
    let Some(newest) = snapshots.first() else {
        return Ok(None);
    };
    let mover = Mover {
        mirror: mirror.id.clone(),
        terms: mirror.terms(&Pointer::Staging),
        expect: None,
    };
    let moved = publish::stage(catalog, &[(mover, newest.name.clone())], context.by(false))?;
    Moves::log(&moved);
    context.conclude(&moved)?;
    Ok(pointed(catalog.reader(), &mirror.id, &Pointer::Staging)?)
}

impl<'a> Promotion<'a> {
    /// Makes sure that a candidate has passed its checks: by an earlier test, in the company it goes to production with, or
    /// by one now. It is the one at `at` of all `aims`.
    fn test(
        &mut self,
        testing: &Testing<'_>,
        catalog: &mut Catalog,
        candidate: &Candidate<'a>,
        (aims, at): (&[(Mover, SnapshotName)], usize),
    ) -> Result<(), Failure> {
        let Candidate { mirror, staged, .. } = candidate;
        let lacking = publish::lacking(catalog.reader(), aims, testing.context.clock.now())?.swap_remove(at);
        match lacking {
            None => {
                tracing::info!("Snapshot {} of {} has passed its checks before", staged.name, mirror.id);
                return Ok(());
            }
            Some(Lacking::Untested) => {}
            Some(
                why @ (Lacking::Failed | Lacking::Company { .. } | Lacking::Expired { .. } | Lacking::Expiring { .. }),
            ) => {
                tracing::info!("Snapshot {} of {} {why}: it is tested again", staged.name, mirror.id);
            }
        }
        let Some(test) = testing.test(catalog, mirror, staged)? else {
            let what = format!("interrupted: no result is recorded for snapshot {}", staged.name);
            return Err(Failure::new(Kind::Interrupted, what));
        };
        let failure = test.failure();
        self.tests.push(test);
        failure.map_or(Ok(()), Err)
    }

    /// Takes out those that were tested together with one that stays, until there are none.
    fn keep_companions_together(&mut self, fit: &mut Vec<&Candidate<'a>>) {
        loop {
            let stays = |companion: &&MirrorId| self.failures.iter().any(|(mirror, _)| mirror.id == **companion);
            let torn = fit.iter().enumerate().find_map(|(at, candidate)| {
                let companion = candidate.mirror.test.companions.iter().find(stays)?;
                Some((at, companion.clone()))
            });
            let Some((at, companion)) = torn else { return };
            let mirror = fit.remove(at).mirror;
            let message = format!(
                "{} stays as it is, because {companion} does, with which it was tested",
                mirror.id
            );
            self.failures.push((mirror, Failure::new(Kind::Refused, message)));
        }
    }

    fn move_all(&mut self, catalog: &mut Catalog, context: &Context, fit: &[&Candidate<'a>]) {
        if fit.is_empty() {
            return;
        }
        let aims: Vec<_> = fit.iter().map(|candidate| candidate.aim()).collect();
        let outcome = match publish::promote_tested(catalog, &aims, context.by(false)) {
            Ok(moved) => {
                Moves::log(&moved);
                let visible = context.make_visible();
                self.replaced = replaced(&moved, context);
                context.after_moves(&moved);
                self.moves = moved;
                visible
            }
            Err(error) => Err(error.into()),
        };
        if let Err(failure) = outcome {
            let failed = fit.iter().map(|candidate| (candidate.mirror, failure.clone()));
            self.failures.extend(failed);
        }
    }
}

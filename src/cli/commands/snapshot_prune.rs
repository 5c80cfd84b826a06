//! The command `mirrorctl snapshot prune`.
//!
//! Owns the step from flags and settings to a policy, and the report of what stays and goes.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;

use crate::catalog::{Catalog, CatalogError, Freed, Marked};
use crate::cli::args::PruneArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::cli::stores::synced;
use crate::cli::text::{size, span};
use crate::config::{MirrorSettings, PruneSettings};
use crate::retention::freeing::row;
use crate::retention::policy::{self, Decision, DropReason, PrunePolicy};
use crate::retention::{self, Pruned};

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    mirrors: Vec<Mirror>,
    /// What becomes unused, by all that would be deleted together; known of a dry run only.
    #[serde(skip_serializing_if = "Option::is_none")]
    frees: Option<Amount>,
    unused_files: u64,
    unused_bytes: u64,
    /// How long unused files stay once they were found to be so.
    grace_seconds: u64,
}

#[derive(Serialize)]
struct Amount {
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Mirror {
    mirror: String,
    snapshots: Vec<Verdict>,
    refused: Option<String>,
}

#[derive(Serialize)]
struct Verdict {
    name: String,
    deleted: bool,
    kept_because: Vec<String>,
    deleted_because: Vec<String>,
    /// What no other snapshot that stays has; known of a dry run only.
    #[serde(skip_serializing_if = "Option::is_none")]
    only_here: Option<Amount>,
}

/// Deletes the snapshots that retention does not keep, or says which those are.
pub(in crate::cli) fn run(arguments: &PruneArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let named = context.mirrors(&arguments.mirrors)?;
    let (pruned, freed, failure) = if arguments.dry_run {
        let reader = context.reader()?;
        let (pruned, failure) = prune_each(&named, arguments, |mirror, policy| {
            synced(&reader, &mirror.id)?
                .map(|_| retention::plan_prune(&reader, &mirror.id, policy, context.now))
                .transpose()
        });
        let freed = retention::freed(&reader, &pruned)?;
        (pruned, Some(freed), failure)
    } else {
        let state = context.existing_state()?;
        let mut catalog = Catalog::open(&state.catalog())?;
        let (pruned, failure) = prune_each(&named, arguments, |mirror, policy| {
            synced(catalog.reader(), &mirror.id)?
                .map(|_| retention::prune(&mut catalog, &mirror.id, policy, context.now))
                .transpose()
        });
        context.look_after(&state, &mut catalog);
        (pruned, None, failure)
    };
    let unused = pruned.last().map(|pruned| pruned.unused).unwrap_or_default();
    let mirrors: Vec<Mirror> = pruned.iter().map(|pruned| Mirror::of(pruned, freed.as_ref())).collect();
    let refusal = mirrors.iter().find_map(|mirror| mirror.refused.clone());
    output.done(&Report {
        dry_run: arguments.dry_run,
        mirrors,
        frees: freed.map(|freed| Amount::of(freed.total)),
        unused_files: unused.blobs,
        unused_bytes: unused.bytes,
        grace_seconds: context.settings.gc.grace.as_secs(),
    });
    if !arguments.dry_run {
        context.make_visible()?;
    }
    match (failure, refusal) {
        (Some(failure), _) => Err(failure),
        (None, Some(refusal)) => Err(Failure::new(Kind::Refused, refusal).hint("correct the clock, then prune again")),
        (None, None) => Ok(()),
    }
}

/// Prunes each mirror until one fails: what was done until then is reported all the same.
fn prune_each(
    mirrors: &[&MirrorSettings],
    arguments: &PruneArgs,
    mut prune: impl FnMut(&MirrorSettings, &PrunePolicy) -> Result<Option<Pruned>, CatalogError>,
) -> (Vec<Pruned>, Option<Failure>) {
    let mut done = Vec::new();
    for mirror in mirrors {
        let policy = policy(&PruneSettings {
            keep_last: arguments.keep_last.unwrap_or(mirror.prune.keep_last),
            keep_within: arguments.keep_within.unwrap_or(mirror.prune.keep_within),
            keep_daily: arguments.keep_daily.unwrap_or(mirror.prune.keep_daily),
            keep_weekly: arguments.keep_weekly.unwrap_or(mirror.prune.keep_weekly),
            keep_monthly: arguments.keep_monthly.unwrap_or(mirror.prune.keep_monthly),
        });
        match prune(mirror, &policy) {
            Ok(pruned) => done.extend(pruned),
            Err(error) => return (done, Some(error.into())),
        }
    }
    (done, None)
}

/// The policy that settings ask for.
pub(in crate::cli) fn policy(settings: &PruneSettings) -> PrunePolicy {
    PrunePolicy {
        keep_last: NonZeroUsize::new(settings.keep_last).unwrap_or(NonZeroUsize::MIN),
        keep_within: Some(settings.keep_within.as_secs()),
        keep_daily: settings.keep_daily,
        keep_weekly: settings.keep_weekly,
        keep_monthly: settings.keep_monthly,
    }
}

/// Why no rule keeps a snapshot.
fn why(reason: &DropReason) -> String {
    match reason {
        DropReason::NotNewest(1) => "not the newest".to_owned(),
        DropReason::NotNewest(keep) => format!("not among the newest {keep}"),
        DropReason::Old(keep) => format!("not younger than {}", span(Duration::from_secs(*keep))),
        DropReason::NewerOf(period) => format!("not the newest of its {}", period.name()),
        DropReason::BeforeTheLast(1, period) => format!("not of the last {}", period.name()),
        DropReason::BeforeTheLast(keep, period) => format!("not of the last {keep} {}s", period.name()),
    }
}

impl Amount {
    fn of(marked: Marked) -> Self {
        Self {
            files: marked.blobs,
            bytes: marked.bytes,
        }
    }

    fn sentence(&self) -> String {
        format!("{} files ({})", self.files, size(self.bytes))
    }
}

impl Mirror {
    fn of(pruned: &Pruned, freed: Option<&Freed>) -> Self {
        let only_here = |verdict: &policy::Verdict| {
            let own = |freed: &Freed| freed.each.get(&row(verdict)).copied().unwrap_or_default();
            freed.map(|freed| Amount::of(own(freed)))
        };
        let verdict = |verdict: &policy::Verdict| {
            let (kept_because, deleted_because) = match &verdict.decision {
                Decision::Delete(reasons) => (Vec::new(), reasons.iter().map(why).collect()),
                Decision::Keep(reasons) => (reasons.iter().map(ToString::to_string).collect(), Vec::new()),
            };
            Verdict {
                name: verdict.name.to_string(),
                deleted: verdict.decision.is_delete(),
                kept_because,
                deleted_because,
                only_here: only_here(verdict),
            }
        };
        Self {
            mirror: pruned.mirror.to_string(),
            snapshots: pruned.plan.verdicts.iter().map(verdict).collect(),
            refused: pruned.plan.refusal.as_ref().map(ToString::to_string),
        }
    }
}

impl Verdict {
    fn sentence(&self, dry_run: bool) -> String {
        let own = self
            .only_here
            .as_ref()
            .filter(|own| own.files > 0)
            .map(Amount::sentence);
        let why = self.deleted_because.join(", ");
        match (self.deleted, own) {
            (true, _) if !dry_run => format!("is deleted: {why}"),
            (true, Some(own)) => format!("would be deleted: {why}; {own} are in none that stays"),
            (true, None) => format!("would be deleted: {why}; all its files are needed elsewhere"),
            (false, own) => {
                let own = own
                    .map(|own| format!("; {own} are in no other that stays"))
                    .unwrap_or_default();
                format!("stays: {}{own}", self.kept_because.join(", "))
            }
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        for mirror in &self.mirrors {
            for verdict in &mirror.snapshots {
                let what = verdict.sentence(self.dry_run);
                page.line(format!("{}: snapshot {} {what}", mirror.mirror, verdict.name));
            }
        }
        let grace = span(Duration::from_secs(self.grace_seconds));
        if let Some(frees) = self.frees.as_ref().filter(|frees| frees.files > 0) {
            page.line(format!(
                "this would free {}, {grace} after the next sync or gc has found them unused",
                frees.sentence()
            ));
        }
        if self.unused_files > 0 {
            let (files, bytes) = (self.unused_files, size(self.unused_bytes));
            page.line(format!(
                "{files} files ({bytes}) are unused and go {grace} after they became so"
            ));
        }
    }
}

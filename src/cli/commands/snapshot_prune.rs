//! The command `mirrorctl snapshot prune`.
//!
//! Owns the step from flags and settings to a policy, and the report of what stays and goes.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;

use crate::catalog::CatalogError;
use crate::cli::args::PruneArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::cli::stores::synced;
use crate::cli::text::{size, span};
use crate::config::{MirrorSettings, PruneSettings};
use crate::retention::policy::{Decision, PrunePolicy};
use crate::retention::{self, Pruned};

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    mirrors: Vec<Mirror>,
    unused_files: u64,
    unused_bytes: u64,
    #[serde(skip)]
    grace: Duration,
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
}

/// Deletes the snapshots that retention does not keep, or says which those are.
pub(in crate::cli) fn run(arguments: &PruneArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let named = context.mirrors(&arguments.mirrors)?;
    let pruned = if arguments.dry_run {
        let reader = context.reader()?;
        prune_each(&named, arguments, |mirror, policy| {
            synced(&reader, &mirror.id)?
                .map(|_| retention::plan_prune(&reader, &mirror.id, policy, context.now))
                .transpose()
        })
    } else {
        let mut catalog = context.catalog()?;
        prune_each(&named, arguments, |mirror, policy| {
            synced(catalog.reader(), &mirror.id)?
                .map(|_| retention::prune(&mut catalog, &mirror.id, policy, context.now))
                .transpose()
        })
    };
    let (pruned, failure) = pruned;
    let unused = pruned.last().map(|pruned| pruned.unused).unwrap_or_default();
    let mirrors: Vec<Mirror> = pruned.iter().map(Mirror::of).collect();
    let refusal = mirrors.iter().find_map(|mirror| mirror.refused.clone());
    output.done(&Report {
        dry_run: arguments.dry_run,
        mirrors,
        unused_files: unused.blobs,
        unused_bytes: unused.bytes,
        grace: context.settings.gc.grace,
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
    }
}

impl Mirror {
    fn of(pruned: &Pruned) -> Self {
        let verdict = |verdict: &crate::retention::policy::Verdict| {
            let (deleted, reasons) = match &verdict.decision {
                Decision::Delete => (true, Vec::new()),
                Decision::Keep(reasons) => (false, reasons.iter().map(ToString::to_string).collect()),
            };
            Verdict {
                name: verdict.name.to_string(),
                deleted,
                kept_because: reasons,
            }
        };
        Self {
            mirror: pruned.mirror.to_string(),
            snapshots: pruned.plan.verdicts.iter().map(verdict).collect(),
            refused: pruned.plan.refusal.as_ref().map(ToString::to_string),
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        for mirror in &self.mirrors {
            for verdict in &mirror.snapshots {
                let what = match (verdict.deleted, self.dry_run) {
                    (true, true) => "would be deleted".to_owned(),
                    (true, false) => "is deleted".to_owned(),
                    (false, _) => format!("stays: {}", verdict.kept_because.join(", ")),
                };
                page.line(format!("{}: snapshot {} {what}", mirror.mirror, verdict.name));
            }
        }
        if self.unused_files > 0 {
            let (files, bytes, grace) = (self.unused_files, size(self.unused_bytes), span(self.grace));
            page.line(format!(
                "{files} files ({bytes}) are unused and go {grace} after they became so"
            ));
        }
    }
}

//! The command `mirrorctl gc`.
//!
//! Owns the step from flags and settings to a garbage collection, and its report.

use std::time::Duration;

use serde::Serialize;

use crate::catalog::{Catalog, Marked};
use crate::cli::args::GcArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Human, Output, Page};
use crate::cli::text::{size, span};
use crate::config::GcSettings;
use crate::retention::{self, Collected, GcPolicy};

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    removed: Amount,
    waiting: Amount,
    held_open: Amount,
    /// Of failed syncs, or of syncs that run.
    unfinished: Amount,
    #[serde(skip)]
    grace: Duration,
    #[serde(skip)]
    keep_partial: Duration,
}

#[derive(Serialize)]
struct Amount {
    files: u64,
    bytes: u64,
}

/// Deletes files that nothing needs any more.
pub(in crate::cli) fn run(arguments: &GcArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mut policy = policy(&context.settings.gc, u64::MAX);
    if arguments.now {
        policy.grace = 0;
    }
    let collected = if arguments.dry_run {
        retention::plan_collect(&context.state_to_read()?, &context.reader()?, &policy, context.now)?
    } else {
        let state = context.existing_state()?;
        let lock = state.lock_gc()?;
        let (mut catalog, blobs) = (Catalog::open(&state.catalog())?, Context::blobs(&state)?);
        retention::collect(
            &state,
            &mut catalog,
            &blobs,
            &context.run_dir,
            &policy,
            context.now,
            &lock,
        )
        .inspect(|_| context.look_after(&state, &mut catalog))?
    };
    output.done(&Report::of(&collected, arguments.dry_run, &context.settings.gc));
    Ok(())
}

/// The policy that settings ask for, removing `at_most` so many files.
pub(in crate::cli) fn policy(settings: &GcSettings, at_most: u64) -> GcPolicy {
    let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    GcPolicy {
        grace: seconds(settings.grace),
        keep_partial: seconds(settings.keep_partial),
        at_most,
    }
}

impl Report {
    fn of(collected: &Collected, dry_run: bool, settings: &GcSettings) -> Self {
        let amount = |marked: Marked| Amount {
            files: marked.blobs,
            bytes: marked.bytes,
        };
        Self {
            dry_run,
            removed: amount(collected.removed()),
            waiting: amount(collected.waiting),
            held_open: amount(collected.held),
            unfinished: amount(collected.unfinished),
            grace: settings.grace,
            keep_partial: settings.keep_partial,
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let said = |amount: &Amount| format!("{} files ({})", amount.files, size(amount.bytes));
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        page.line(format!("{} {verb}", said(&self.removed)));
        if self.waiting.files > 0 {
            page.line(format!(
                "{} unused, removed {} after they became so",
                said(&self.waiting),
                span(self.grace)
            ));
        }
        if self.held_open.files > 0 {
            page.line(format!("{} unused but open at a mount", said(&self.held_open)));
        }
        if self.unfinished.files > 0 {
            page.line(format!(
                "{} of unfinished syncs, kept {} for the next one",
                said(&self.unfinished),
                span(self.keep_partial)
            ));
        }
    }
}

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
use crate::cli::text::{size, span, utc};
use crate::config::GcSettings;
use crate::retention::{self, Collected, GcPolicy, Wipe};

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    removed: Amount,
    /// Found to be unused for the first time.
    marked: Amount,
    waiting: Amount,
    /// When the grace of the first of the waiting ends.
    next_at: Option<String>,
    /// When that of all of them has ended.
    all_at: Option<String>,
    held_open: Amount,
    /// Of failed syncs, or of syncs that run.
    unfinished: Amount,
    /// Whether it would be refused without force; what was done was not.
    needs_force: bool,
    #[serde(skip)]
    wipe: Option<Wipe>,
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
    policy.force = arguments.force;
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
        force: false,
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
            marked: amount(collected.marked),
            waiting: amount(collected.waiting),
            next_at: collected.waits_until.map(|(first, _)| utc(first)),
            all_at: collected.waits_until.map(|(_, last)| utc(last)),
            held_open: amount(collected.held),
            unfinished: amount(collected.unfinished),
            needs_force: collected.wipe.is_some(),
            wipe: collected.wipe,
            grace: settings.grace,
            keep_partial: settings.keep_partial,
        }
    }

    /// When what waits goes, as the end of a sentence.
    fn ends(&self) -> String {
        match (&self.next_at, &self.all_at) {
            (Some(next), Some(all)) if next == all => format!(": at {all}"),
            (Some(next), Some(all)) => format!(": from {next} to {all}"),
            _ => String::new(),
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let said = |amount: &Amount| format!("{} files ({})", amount.files, size(amount.bytes));
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        page.line(format!("{} {verb}", said(&self.removed)));
        if let Some(Wipe { all, .. }) = &self.wipe {
            page.line(format!(
                "that is more than half of the {} files ({}) in the cache, and needs --force",
                all.blobs,
                size(all.bytes)
            ));
        }
        if self.marked.files > 0 {
            let verb = if self.dry_run { "would be found" } else { "were found" };
            page.line(format!("{} {verb} to be unused now", said(&self.marked)));
        }
        if self.waiting.files > 0 {
            page.line(format!(
                "{} unused, removed {} after they became so{}",
                said(&self.waiting),
                span(self.grace),
                self.ends()
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

//! The command `mirrorctl verify`.
//!
//! Owns the step from flags to a check of everything stored, the fetching of what is damaged with `--repair`, and the
//! order of the two.

use std::num::NonZeroU64;

use super::verify_repair::{self, Fetched};
use super::verify_report::{Asked, Known, REBUILD, Report};
use crate::blobs::{BlobStore, Quarantine};
use crate::catalog::Catalog;
use crate::cli::args::VerifyArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::progress;
use crate::cli::stopping::Stopping;
use crate::model::{MirrorId, Part};
use crate::state::StateDir;
use crate::verify::{self, Stores, Verified, Wish};

/// Checks that everything stored is whole.
pub(in crate::cli) fn run(arguments: &VerifyArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let wish = wish(arguments, context)?;
    let state = context.existing_state()?;
    let (mut catalog, blobs) = (open(&state)?, Context::blobs(&state)?);
    let stopping = Stopping::listen();
    let mut verified = check(&state, (&mut catalog, &blobs), &wish, context, (output, &stopping))?;
    let before = Known::read(catalog.reader(), wish.mirrors.as_deref())?;
    let fetched = if arguments.repair && !verified.stopped && !verified.soundness.is_broken {
        let fetched = verify_repair::fetch(state.clone(), &before, context, output)?;
        if !fetched.whole.is_empty() {
            verified.unseen = verify::tell(&context.run_dir, state.root())?;
        }
        fetched
    } else {
        Fetched::default()
    };
    let asked = Asked {
        wish: &wish,
        repair: arguments.repair,
        interrupted: (verified.stopped || fetched.interrupted)
            .then(|| stopping.failure("what was checked is recorded, and what is damaged is marked")),
    };
    let after = Known::read(catalog.reader(), wish.mirrors.as_deref())?;
    let rehashed = catalog.reader().rehashed()?;
    let aside = Quarantine::open(&state.quarantine())?.contents()?;
    let report = Report::of(&asked, &verified, (&before, &after), &fetched, (rehashed, aside));
    output.done(&report);
    report.conclude(asked, &verified)
}

/// The catalog. That it is damaged is an answer here.
fn open(state: &StateDir) -> Result<Catalog, Failure> {
    Catalog::open(&state.catalog()).map_err(|error| {
        if error.is_damage() {
            Failure::caused(Kind::Damaged, &error).hint(REBUILD)
        } else {
            error.into()
        }
    })
}

fn wish(arguments: &VerifyArgs, context: &Context) -> Result<Wish, Failure> {
    let mirrors = if arguments.mirrors.is_empty() {
        None
    } else {
        let mirrors = context.mirrors(&arguments.mirrors)?.into_iter();
        let mut ids: Vec<MirrorId> = mirrors.map(|mirror| mirror.id.clone()).collect();
        ids.sort();
        Some(ids)
    };
    Ok(Wish {
        deep: arguments.deep,
        part: arguments.part.unwrap_or(Part::WHOLE),
        mirrors,
        rate: arguments.max_rate.and_then(NonZeroU64::new),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        mend: arguments.repair,
    })
}

fn check(
    state: &StateDir,
    (catalog, blobs): (&mut Catalog, &BlobStore),
    wish: &Wish,
    context: &Context,
    (output, stopping): (&Output, &Stopping),
) -> Result<Verified, Failure> {
    let mut stores = Stores {
        state,
        catalog,
        blobs,
        run: &context.run_dir,
    };
    let watch = progress::of_check(output);
    Ok(verify::run(&mut stores, wish, &context.clock, &*watch, &|| {
        stopping.came()
    })?)
}

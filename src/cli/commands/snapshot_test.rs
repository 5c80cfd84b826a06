//! The command `mirrorctl snapshot test`.
//!
//! Owns the choice of the snapshot that is meant, and whether it is tested or its last test is shown. How it is tested is in
//! `testing`.

use super::test_report::{Shown, Test};
use super::testing::{Testing, pointed};
use super::{each, naming};
use crate::catalog::{Catalog, CatalogError, CatalogReader, SnapshotRecord};
use crate::cli::args::TestArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::stopping::Stopping;
use crate::config::MirrorSettings;
use crate::model::{Pointer, SnapshotName};

/// Tests a snapshot of a mirror, or of each in a group; or shows what the last test of each has found.
pub(in crate::cli) fn run(arguments: &TestArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    if arguments.show {
        show(arguments, context, output)
    } else {
        test(arguments, context, output)
    }
}

fn show(arguments: &TestArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let reader = context.reader()?;
    each::answer(&arguments.mirror, context, output, |mirror| {
        let shown = meant(arguments.snapshot.as_deref(), mirror, &reader)
            .and_then(|snapshot| Shown::of(&reader, mirror, &snapshot));
        match shown {
            Ok(shown) => (Some(shown), Ok(())),
            Err(failure) => (None, Err(failure)),
        }
    })
}

fn test(arguments: &TestArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    context.mirrors(std::slice::from_ref(&arguments.mirror))?;
    let state = context.existing_state()?;
    let mut catalog = Catalog::open(&state.catalog())?;
    let blobs = Context::blobs(&state)?;
    let stopping = Stopping::listen();
    let testing = Testing {
        context,
        blobs: &blobs,
        deep: arguments.deep,
        staged: &|_| arguments.staged_companions,
        stop: &|| stopping.came(),
    };
    let word = arguments.snapshot.as_deref();
    each::answer(&arguments.mirror, context, output, |mirror| {
        match tested(&testing, &mut catalog, mirror, word) {
            Ok(Ok(test)) => {
                let failure = test.failure();
                (Some(test), failure.map_or(Ok(()), Err))
            }
            Ok(Err(what)) => (None, Err(stopping.failure(&what))),
            Err(failure) => (None, Err(failure)),
        }
    })
}

/// A test; or, when somebody stopped it, what was left undone.
fn tested(
    testing: &Testing<'_>,
    catalog: &mut Catalog,
    mirror: &MirrorSettings,
    word: Option<&str>,
) -> Result<Result<Test, String>, Failure> {
    if (testing.stop)() {
        return Ok(Err(format!("{} is not tested", mirror.id)));
    }
    let snapshot = meant(word, mirror, catalog.reader())?;
    let test = testing.test(catalog, mirror, &snapshot)?;
    Ok(test.ok_or_else(|| format!("no result is recorded for snapshot {} of {}", snapshot.name, mirror.id)))
}

/// The snapshot that is meant: by the name of a pointer, or its own.
fn meant(word: Option<&str>, mirror: &MirrorSettings, reader: &CatalogReader) -> Result<SnapshotRecord, Failure> {
    let word = word.unwrap_or(Pointer::Staging.name());
    if let Some(pointer) = naming::pointer(mirror, word) {
        let found = pointed(reader, &mirror.id, &pointer)?;
        return found.ok_or_else(|| {
            let error = CatalogError::NotSet {
                mirror: mirror.id.clone(),
                pointer,
            };
            error.into()
        });
    }
    let name: SnapshotName = word
        .parse()
        .map_err(|error| Failure::caused(Kind::Usage, &error).hint("name a snapshot, or a pointer such as staging"))?;
    let snapshots = reader.snapshots(reader.mirror(&mirror.id)?)?;
    if let Some(found) = snapshots.into_iter().find(|snapshot| snapshot.name == name) {
        return Ok(found);
    }
    let mirror_id = mirror.id.clone();
    let unknown = CatalogError::UnknownSnapshot {
        mirror: mirror_id,
        name,
    };
    Err(naming::with_what_there_is(unknown.into(), mirror, reader, word)?)
}

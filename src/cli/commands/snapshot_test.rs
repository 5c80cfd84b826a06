//! The command `mirrorctl snapshot test`.
//!
//! Owns the choice of the snapshot that is meant. How it is tested is in `testing`.

use serde::Serialize;

use super::testing::{Test, Testing, pointed};
use super::{each, naming};
use crate::catalog::{Catalog, CatalogError, CatalogReader, SnapshotRecord};
use crate::cli::args::TestArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::cli::stopping::Stopping;
use crate::config::MirrorSettings;
use crate::model::{Pointer, SnapshotName};

/// A test alone.
#[derive(Serialize)]
#[serde(transparent)]
struct Report(Test);

impl Human for Report {
    fn human(&self, page: &mut Page) {
        self.0.tell(page);
    }
}

/// Tests a snapshot of a mirror, or of each in a group.
pub(in crate::cli) fn run(arguments: &TestArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirrors = context.mirrors(std::slice::from_ref(&arguments.mirror))?;
    let state = context.existing_state()?;
    let mut catalog = Catalog::open(&state.catalog())?;
    let blobs = Context::blobs(&state)?;
    // Without commands there is nothing to end, and a signal ends this process, whatever it does.
    let has_commands = mirrors.iter().any(|mirror| !mirror.test.commands.is_empty());
    let stopping = has_commands.then(Stopping::listen);
    let testing = Testing {
        context,
        blobs: &blobs,
        deep: arguments.deep,
        staged: &|_| arguments.staged_companions,
        stop: &|| stopping.as_ref().is_some_and(Stopping::came),
    };
    let word = arguments.snapshot.as_deref();
    each::answer(&arguments.mirror, context, output, |mirror| {
        match tested(&testing, &mut catalog, mirror, word) {
            Ok(Ok(test)) => {
                let failure = test.failure();
                (Some(Report(test)), failure.map_or(Ok(()), Err))
            }
            Ok(Err(what)) => (None, Err(stopped(stopping.as_ref(), &what))),
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

fn stopped(stopping: Option<&Stopping>, what: &str) -> Failure {
    stopping.map_or_else(
        || Failure::new(Kind::Interrupted, what),
        |stopping| stopping.failure(what),
    )
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

//! The command `mirrorctl snapshot test`.
//!
//! Owns the choice of the snapshot that is meant. How it is tested is in `testing`.

use serde::Serialize;

use super::testing::{Test, Testing, pointed};
use crate::catalog::{CatalogError, CatalogReader, SnapshotRecord};
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

/// Tests a snapshot.
pub(in crate::cli) fn run(arguments: &TestArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirror = context.mirror(&arguments.mirror)?;
    let state = context.existing_state()?;
    let mut catalog = crate::catalog::Catalog::open(&state.catalog())?;
    let snapshot = meant(arguments, mirror, catalog.reader())?;
    let blobs = Context::blobs(&state)?;
    // Without commands there is nothing to end, and a signal ends this process, whatever it does.
    let stopping = (!mirror.test.commands.is_empty()).then(Stopping::listen);
    let testing = Testing {
        context,
        blobs: &blobs,
        deep: arguments.deep,
        staged: &|_| arguments.staged_companions,
        stop: &|| stopping.as_ref().is_some_and(Stopping::came),
    };
    match (testing.test(&mut catalog, mirror, &snapshot)?, stopping) {
        (Some(test), _) => {
            let failure = test.failure();
            output.answer(&Report(test));
            failure.map_or(Ok(()), Err)
        }
        (None, stopping) => {
            let what = format!("no result is recorded for snapshot {} of {}", snapshot.name, mirror.id);
            Err(stopping.map_or_else(|| Failure::new(Kind::Interrupted, what.as_str()), |s| s.failure(&what)))
        }
    }
}

/// The snapshot that is meant: by the name of a pointer, or its own.
fn meant(arguments: &TestArgs, mirror: &MirrorSettings, reader: &CatalogReader) -> Result<SnapshotRecord, Failure> {
    let word = arguments.snapshot.as_deref().unwrap_or(Pointer::Staging.name());
    let pointers = Pointer::ALWAYS.iter().chain(&mirror.environments);
    if let Some(pointer) = pointers.into_iter().find(|pointer| pointer.name() == word) {
        let found = pointed(reader, &mirror.id, pointer)?;
        return found.ok_or_else(|| {
            let error = CatalogError::NotSet {
                mirror: mirror.id.clone(),
                pointer: pointer.clone(),
            };
            error.into()
        });
    }
    let name: SnapshotName = word
        .parse()
        .map_err(|error| Failure::caused(Kind::Usage, &error).hint("name a snapshot, or a pointer such as staging"))?;
    let snapshots = reader.snapshots(reader.mirror(&mirror.id)?)?;
    let found = snapshots.into_iter().find(|snapshot| snapshot.name == name);
    found.ok_or_else(|| {
        let mirror = mirror.id.clone();
        CatalogError::UnknownSnapshot { mirror, name }.into()
    })
}

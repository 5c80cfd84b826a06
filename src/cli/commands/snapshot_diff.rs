//! The command `mirrorctl snapshot diff`.
//!
//! Owns which two sides are compared: what a name on the command line means, and what is meant where none is given.

use serde_json::json;

use super::diff_report::Report;
use super::{each, naming};
use crate::blobs::BlobStore;
use crate::catalog::{CatalogError, CatalogReader};
use crate::cli::args::DiffArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::compare::{self, Side};
use crate::config::MirrorSettings;
use crate::model::{Pointer, SnapshotName};

/// Says what leads from one side to the other, of a mirror or of each in a group. That nothing does is no failure.
pub(in crate::cli) fn run(arguments: &DiffArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    // Before anything is opened: nothing there is of one that is not configured.
    context.mirrors(std::slice::from_ref(&arguments.mirror))?;
    let state = context.state_to_read()?;
    let reader = CatalogReader::open(&state.catalog())?;
    let blobs = Context::blobs(&state)?;
    each::answer(&arguments.mirror, context, output, |mirror| {
        match difference(arguments, mirror, &reader, &blobs) {
            Ok(report) => (Some(report), Ok(())),
            Err(failure) => (None, Err(failure)),
        }
    })
}

fn difference(
    arguments: &DiffArgs,
    mirror: &MirrorSettings,
    reader: &CatalogReader,
    blobs: &BlobStore,
) -> Result<Report, Failure> {
    // One name alone is what production could become.
    let (from, to) = match (&arguments.first, &arguments.second) {
        (Some(from), Some(to)) => (from.as_str(), to.as_str()),
        (Some(to), None) => (Pointer::Current.name(), to.as_str()),
        (None, _) => (Pointer::Current.name(), Pointer::Staging.name()),
    };
    let (from, to) = (side(reader, mirror, from)?, side(reader, mirror, to)?);
    Ok(Report {
        difference: compare::compare(reader, blobs, &mirror.id, &from, &to, arguments.files)?,
        all: arguments.all,
    })
}

/// What `text` names: one of the mirror's pointers, or else a snapshot.
fn side(reader: &CatalogReader, mirror: &MirrorSettings, text: &str) -> Result<Side, Failure> {
    if let Some(pointer) = naming::pointer(mirror, text) {
        return Side::pointed(reader, &mirror.id, &pointer).map_err(|error| match error {
            CatalogError::NotSet { .. } => unset(mirror, &pointer),
            error => error.into(),
        });
    }
    let name: SnapshotName = text
        .parse()
        .map_err(|error| Failure::caused(Kind::Usage, &error).problem(format!("{text:?} is none"), json!(text)))?;
    match Side::named(reader, &mirror.id, &name) {
        Ok(side) => Ok(side),
        Err(error @ CatalogError::UnknownSnapshot { .. }) => {
            Err(naming::with_what_there_is(error.into(), mirror, reader, text)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The failure to compare with a pointer that leads nowhere yet.
fn unset(mirror: &MirrorSettings, pointer: &Pointer) -> Failure {
    let id = &mirror.id;
    let message = format!("{id}/{pointer} leads nowhere yet, so there is nothing to compare with");
    let next = match pointer {
        Pointer::Staging => format!("mirrorctl snapshot stage {id} <name> stages one"),
        Pointer::Current => {
            format!("the first publication changes nothing for anybody: mirrorctl snapshot publish {id} <name>")
        }
        Pointer::Environment(_) => format!("point it somewhere first, or leave {pointer} out"),
    };
    Failure::new(Kind::Refused, message).hint(next).hint(format!(
        "any two snapshots can be compared: mirrorctl snapshot list {id} shows what there is"
    ))
}

//! The command `mirrorctl snapshot rename`.
//!
//! Owns nothing but the step from its arguments to the catalog, and the report.

use serde::Serialize;

use crate::catalog::CatalogError;
use crate::cli::args::RenameArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::moving::is_no_environment;
use crate::cli::output::{Human, Output, Page};

#[derive(Serialize)]
struct Report {
    mirror: String,
    from: String,
    to: String,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        page.line(format!(
            "{}: snapshot {} is called {} now",
            self.mirror, self.from, self.to
        ));
    }
}

/// Gives a snapshot another name.
pub(in crate::cli) fn run(arguments: &RenameArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let RenameArgs { mirror, name, new } = arguments;
    is_no_environment(context.mirror(mirror)?, new)?;
    context
        .catalog()?
        .rename_snapshot(mirror, name, new)
        .map_err(|error| match error {
            CatalogError::SnapshotExists { .. } => Failure::caused(Kind::Refused, &error)
                .hint("choose another name, or delete or rename the snapshot that has it"),
            other => other.into(),
        })?;
    tracing::info!("Snapshot renamed: {mirror} {name} -> {new}");
    output.done(&Report {
        mirror: mirror.to_string(),
        from: name.to_string(),
        to: new.to_string(),
    });
    context.make_visible()
}

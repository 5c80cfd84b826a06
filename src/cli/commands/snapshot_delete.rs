//! The command `mirrorctl snapshot delete`.
//!
//! Owns nothing but the step from its arguments to the catalog, and the report.

use serde::Serialize;

use crate::cli::args::DeleteArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Human, Output, Page};

#[derive(Serialize)]
struct Report {
    mirror: String,
    deleted: Vec<String>,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        self.deleted
            .iter()
            .for_each(|name| page.line(format!("{}: snapshot {name} is deleted", self.mirror)));
    }
}

/// Deletes snapshots of one mirror: all that are named, or none.
pub(in crate::cli) fn run(arguments: &DeleteArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    context.mirror(&arguments.mirror)?;
    context
        .catalog()?
        .delete_snapshots(&arguments.mirror, &arguments.names, arguments.force, context.now)?;
    output.done(&Report {
        mirror: arguments.mirror.to_string(),
        deleted: arguments.names.iter().map(ToString::to_string).collect(),
    });
    context.make_visible()
}

//! The command `mirrorctl snapshot protect`.
//!
//! Owns nothing but the step from its arguments to the catalog, and the report.

use serde::Serialize;

use crate::cli::args::ProtectArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Human, Output, Page};

#[derive(Serialize)]
struct Report {
    mirror: String,
    snapshots: Vec<String>,
    protected: bool,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let what = if self.protected {
            "is protected"
        } else {
            "is not protected"
        };
        self.snapshots
            .iter()
            .for_each(|name| page.line(format!("{}: snapshot {name} {what}", self.mirror)));
    }
}

/// Protects snapshots of one mirror, or ends that: all that are named, or none.
pub(in crate::cli) fn run(arguments: &ProtectArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    context.mirror(&arguments.mirror)?;
    let protected = !arguments.remove;
    context
        .catalog()?
        .protect_snapshots(&arguments.mirror, &arguments.names, protected)?;
    output.done(&Report {
        mirror: arguments.mirror.to_string(),
        snapshots: arguments.names.iter().map(ToString::to_string).collect(),
        protected,
    });
    Ok(())
}

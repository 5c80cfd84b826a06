//! The command `mirrorctl snapshot tag`.
//!
//! Owns nothing but the step from its arguments to the catalog, and the report.

use serde::Serialize;

use crate::cli::args::TagArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Human, Output, Page};

#[derive(Serialize)]
struct Report {
    mirror: String,
    snapshot: String,
    /// All that it has now.
    tags: Vec<String>,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let Self { mirror, snapshot, tags } = self;
        page.line(match tags.as_slice() {
            [] => format!("{mirror}: snapshot {snapshot} has no tags"),
            tags => format!("{mirror}: snapshot {snapshot} is tagged {}", tags.join(", ")),
        });
    }
}

/// Gives tags to a snapshot, or takes them away.
pub(in crate::cli) fn run(arguments: &TagArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    context.mirror(&arguments.mirror)?;
    let mut catalog = context.catalog()?;
    let tags = catalog.tag_snapshot(&arguments.mirror, &arguments.name, &arguments.tags, arguments.remove)?;
    output.done(&Report {
        mirror: arguments.mirror.to_string(),
        snapshot: arguments.name.to_string(),
        tags: tags.iter().map(ToString::to_string).collect(),
    });
    Ok(())
}

//! The command `mirrorctl snapshot promote`.
//!
//! Owns nothing but the step from its arguments to `publish::promote`.

use super::moves::Moves;
use super::replaced;
use crate::cli::args::PromoteArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::model::Pointer;
use crate::publish;

/// Points production where staging points, for all named mirrors at once.
pub(in crate::cli) fn run(arguments: &PromoteArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirrors: Vec<_> = context
        .mirrors(&arguments.mirrors)?
        .iter()
        .map(|mirror| (mirror.id.clone(), mirror.terms(&Pointer::Current)))
        .collect();
    for (mirror, _) in &mirrors {
        tracing::info!("Promoting staging snapshot to production for {mirror}");
    }
    let moved = publish::promote(&mut context.catalog()?, &mirrors, context.by(arguments.force))?;
    Moves::log(&moved);
    replaced::conclude(&moved, context, output)
}

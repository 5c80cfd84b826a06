//! The command `mirrorctl snapshot publish`.
//!
//! Owns nothing but the step from its arguments to `publish::publish`.

use super::moves::Moves;
use super::replaced;
use crate::cli::args::PublishArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::publish;

/// Points production or another environment at a snapshot, for all named mirrors at once.
pub(in crate::cli) fn run(arguments: &PublishArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let PublishArgs { aims, to, moving } = arguments;
    let aims = context.aimed(aims, to, moving)?;
    let moved = publish::publish(&mut context.catalog()?, to, &aims, context.by_moving(moving))?;
    Moves::log(&moved);
    replaced::conclude(&moved, context, output)
}

//! The command `mirrorctl snapshot stage`.
//!
//! Owns nothing but the step from its arguments to `publish::stage`.

use super::moves::Moves;
use super::replaced;
use crate::cli::args::StageArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::model::Pointer;
use crate::publish;

/// Points staging at a snapshot, for all named mirrors at once.
pub(in crate::cli) fn run(arguments: &StageArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let StageArgs { aims, moving } = arguments;
    let aims = context.aimed(aims, &Pointer::Staging, moving)?;
    let moved = publish::stage(&mut context.catalog()?, &aims, context.by_moving(moving))?;
    Moves::log(&moved);
    replaced::conclude(&moved, context, output)
}

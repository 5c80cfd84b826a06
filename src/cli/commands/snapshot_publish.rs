//! The command `mirrorctl snapshot publish`.
//!
//! Owns nothing but the step from its arguments to `publish::publish`.

use super::moves::Moves;
use super::replaced;
use crate::cli::args::PointArgs;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::model::Pointer;
use crate::publish;

/// Points production at a snapshot, past staging.
pub(in crate::cli) fn run(arguments: &PointArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirror = context.mirror(&arguments.mirror)?;
    let moved = publish::publish(
        &mut context.catalog()?,
        &arguments.mirror,
        &arguments.name,
        mirror.terms(&Pointer::Current),
        context.by(arguments.force),
    )?;
    Moves::log(&moved);
    replaced::conclude(&moved, context, output)
}

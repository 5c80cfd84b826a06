//! The command `mirrorctl snapshot promote`.
//!
//! Owns nothing but the step from its arguments to `publish::promote`.

use super::moves::Moves;
use super::replaced;
use crate::cli::args::PromoteArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::moving::has_environment;
use crate::cli::output::Output;
use crate::model::Pointer;
use crate::publish;

/// Points one environment where another one points, for all named mirrors at once.
pub(in crate::cli) fn run(arguments: &PromoteArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let PromoteArgs {
        mirrors,
        from,
        to,
        moving,
    } = arguments;
    if from == to {
        let failure = Failure::new(Kind::Usage, format!("{from} cannot be promoted to itself"));
        let from = format!("--from ENVIRONMENT says whose snapshot {to} shall get");
        return Err(match to {
            Pointer::Staging => failure.hint(format!(
                "{from}; mirrorctl snapshot stage <mirror> <name> points it at any snapshot"
            )),
            Pointer::Current | Pointer::Environment(_) => failure.hint(from),
        });
    }
    for mirror in context.mirrors(mirrors)? {
        has_environment(mirror, from)?;
    }
    let movers = context.movers(mirrors, to, moving)?;
    let mut catalog = context.catalog()?;
    for mover in &movers {
        let to = if *to == Pointer::Current {
            "production"
        } else {
            to.name()
        };
        tracing::info!("Promoting {from} snapshot to {to} for {}", mover.mirror);
    }
    let moved = publish::promote(&mut catalog, from, to, &movers, context.by_moving(moving))?;
    Moves::log(&moved);
    replaced::conclude(&moved, context, output)
}

//! The command `mirrorctl snapshot unpublish`.
//!
//! Owns which environments can be taken out of the mount: none of those that every mirror has, and one that is configured
//! still by force only.

use super::moves::{Move, Moves};
use crate::catalog::{Catalog, CatalogReader, Unsetting};
use crate::cli::args::UnpublishArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::stores::synced;
use crate::config::{MirrorSettings, nearest};
use crate::model::Pointer;
use crate::publish::{self, By};

/// Takes an environment out of the mount, for all named mirrors at once.
pub(in crate::cli) fn run(arguments: &UnpublishArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let UnpublishArgs { of, force, .. } = arguments;
    if Pointer::ALWAYS.contains(of) {
        let message = format!("every mirror has {of}, which cannot be taken out");
        let hint = format!("mirrorctl snapshot publish <mirror> <name> --to {of} points it elsewhere");
        return Err(Failure::new(Kind::Usage, message).hint(hint));
    }
    let mirrors = context.mirrors(&arguments.mirrors)?;
    let expected = context.expected(&mirrors, &arguments.expect)?;
    if let Some(mirror) = mirrors.iter().find(|mirror| !force && mirror.pointers().contains(of)) {
        let message = format!(
            "{of} is an environment of {} still, and clients may be reading it",
            mirror.id
        );
        let hint = "remove it from the mirror's environments first; --force takes it out all the same";
        return Err(Failure::new(Kind::Refused, message).hint(hint));
    }
    let mut catalog = context.catalog()?;
    require_known(catalog.reader(), &mirrors, of)?;
    let mut wishes = Vec::new();
    for mirror in &mirrors {
        // Never synced, hence never set.
        if synced(catalog.reader(), &mirror.id)?.is_some() {
            wishes.push(Unsetting {
                mirror: mirror.id.clone(),
                pointer: of.clone(),
                expect: expected.get(&mirror.id).cloned(),
            });
        }
    }
    // Where it is configured no more, no rule is against it.
    let forced = mirrors.iter().any(|mirror| mirror.pointers().contains(of));
    let by = By {
        message: arguments.message.as_deref(),
        ..context.by(forced)
    };
    output.done(&take_out(&mut catalog, &wishes, by)?);
    context.make_visible()
}

fn take_out(catalog: &mut Catalog, wishes: &[Unsetting], by: By<'_>) -> Result<Moves, Failure> {
    let led = publish::unpublish(catalog, wishes, by)?;
    let moves = wishes.iter().zip(led).map(|(Unsetting { mirror, pointer, .. }, led)| {
        if let Some(led) = &led {
            tracing::info!("{pointer} taken out: {mirror}, which led to {}", led.snapshot);
        }
        Move::taken_out(mirror, pointer, led.map(|led| led.snapshot))
    });
    Ok(Moves { moves: moves.collect() })
}

/// Refuses an environment that none of `mirrors` has or ever had.
fn require_known(reader: &CatalogReader, mirrors: &[&MirrorSettings], of: &Pointer) -> Result<(), Failure> {
    let mut known: Vec<Pointer> = mirrors.iter().flat_map(|mirror| mirror.pointers()).collect();
    for mirror in mirrors {
        if let Some(row) = synced(reader, &mirror.id)? {
            known.extend(reader.history(row)?.into_iter().map(|moved| moved.pointer));
        }
    }
    if known.contains(of) {
        return Ok(());
    }
    let whose = match mirrors {
        [only] => only.id.to_string(),
        several => format!("any of {} mirrors", several.len()),
    };
    let failure = Failure::new(Kind::Usage, format!("{of} is and was no environment of {whose}"));
    Err(match nearest(of.name(), known.iter().map(Pointer::name)) {
        Some(near) => failure.hint(format!("did you mean {near:?}?")),
        None => failure.hint("mirrorctl status shows which there are"),
    })
}

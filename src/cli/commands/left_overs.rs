//! What a change of the configuration has left behind in the catalog, as `mirrorctl check config` warns of it.
//!
//! Owns the words. It changes nothing, and is silent where there is no catalog to look into.

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::stores::{left_over, synced};
use crate::config::MirrorSettings;

/// What of a mirror the configuration has left behind or got in the way of. Whether the catalog can be read is another
/// command's question.
pub(super) fn left_overs(context: &Context, mirror: &MirrorSettings) -> Vec<String> {
    stored(context, mirror).unwrap_or_default()
}

fn stored(context: &Context, mirror: &MirrorSettings) -> Result<Vec<String>, Failure> {
    let reader = context.reader()?;
    let Some(row) = synced(&reader, &mirror.id)? else {
        return Ok(Vec::new());
    };
    let known = mirror.pointers();
    let set = reader.pointers(row)?.into_iter().map(|there| there.pointer);
    let left = set
        .filter(|pointer| !known.contains(pointer))
        .map(|pointer| format!("{pointer} {}", left_over(mirror.id.as_str(), pointer.name())));
    let names = reader.snapshot_names(row)?.into_iter().map(|(name, _)| name);
    let hidden = names.filter(|name| mirror.has_environment_called(name)).map(|name| {
        format!(
            "{name} is an environment and also a snapshot, which commands take for the environment; \
             mirrorctl snapshot rename {} {name} <new> tells them apart",
            mirror.id
        )
    });
    Ok(left.chain(hidden).collect())
}

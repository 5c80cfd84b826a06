//! The command `mirrorctl status`.
//!
//! Owns the report of what is mounted, where the pointers lead, and how old upstream is. Works for any local user.

mod lending;
mod mirrors;
mod mounts;

use std::path::Path;

use serde::Serialize;

use super::verify_report::HashedAgain;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Align, Human, Output, Page, Table};
use crate::cli::stores::unconfigured_hint;
use crate::cli::text::size;
use crate::retention;
use mirrors::{Mirror, Suite};
use mounts::Mount;

#[derive(Serialize)]
struct Report {
    mounts: Vec<Mount>,
    /// `None` while the catalog cannot be read.
    mirrors: Option<Vec<Mirror>>,
    cache: Option<Cache>,
}

#[derive(Serialize)]
struct Cache {
    files: u64,
    bytes: u64,
    unused_files: u64,
    unused_bytes: u64,
    /// On their way into the cache, by syncs that run or have failed.
    unfinished_files: u64,
    unfinished_bytes: u64,
    /// Beside the cache.
    inventory_files: u64,
    inventory_bytes: u64,
    /// Blobs that are missing or not what they should be.
    damaged_files: u64,
    hashed_again: HashedAgain,
}

/// Says what is mounted, what each pointer names, and how old upstream is.
pub(in crate::cli) fn run(context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mounts = mounts::mounts(context)?;
    let (content, failure) = match Content::read(context) {
        Ok(content) => (Some(content), None),
        // What is mounted can be said all the same, and is what matters then.
        Err(failure) => (None, Some(failure)),
    };
    let (mirrors, cache) = content.map_or((None, None), |content| (Some(content.mirrors), content.cache));
    output.answer(&Report { mounts, mirrors, cache });
    failure.map_or(Ok(()), Err)
}

/// What the catalog says.
struct Content {
    mirrors: Vec<Mirror>,
    cache: Option<Cache>,
}

impl Content {
    fn read(context: &Context) -> Result<Self, Failure> {
        let mirrors = context.settings.mirrors.values();
        // Before the first sync there is no catalog, and still something to say.
        if is_missing(&context.settings.state.join("catalog.db")) {
            return Ok(Self {
                mirrors: mirrors.map(Mirror::unsynced).collect(),
                cache: None,
            });
        }
        let state = context.state_to_read()?;
        let (unfinished, inventories) = (retention::unfinished(&state)?, retention::inventories(&state)?);
        Ok(context.reader()?.at_once(|reader| {
            let configured = mirrors.map(|mirror| Mirror::read(reader, mirror, context.now));
            let mut mirrors = configured.collect::<Result<Vec<_>, _>>()?;
            for id in context.unconfigured(reader)? {
                mirrors.push(Mirror::read_unconfigured(reader, &id, context.now)?);
            }
            let ((files, bytes), unused) = (reader.blob_totals()?, reader.unused()?);
            let cache = Cache {
                files,
                bytes,
                unused_files: unused.blobs,
                unused_bytes: unused.bytes,
                unfinished_files: unfinished.blobs,
                unfinished_bytes: unfinished.bytes,
                inventory_files: inventories.blobs,
                inventory_bytes: inventories.bytes,
                damaged_files: reader.damaged()?.iter().filter(|damaged| damaged.is_needed).count() as u64,
                hashed_again: HashedAgain::of(reader.rehashed()?),
            };
            Ok(Self {
                mirrors,
                cache: Some(cache),
            })
        })?)
    }
}

/// Whether `path` certainly does not exist, which is something else than that it cannot be seen.
fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        if self.mounts.is_empty() {
            page.line("nothing is mounted");
        }
        self.mounts.iter().for_each(|mount| page.line(mount.sentence()));
        let Some(mirrors) = &self.mirrors else { return };
        let headings = ["MIRROR", "CURRENT", "STAGING", "SNAPSHOTS", "LAST CHECK", "UPSTREAM"];
        let mut table = Table::new(&headings.map(|heading| (heading, Align::Left)));
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        for mirror in mirrors {
            table.row([
                mirror.label(),
                or_dash(&mirror.current),
                or_dash(&mirror.staging),
                mirror.snapshots.to_string(),
                mirror.checked.clone().unwrap_or_else(|| "never".to_owned()),
                mirror.suites.iter().map(Suite::sentence).collect::<Vec<_>>().join("; "),
            ]);
        }
        page.table(&table);
        for mirror in mirrors {
            let places = mirror.pointers.iter().filter_map(|place| place.sentence(mirror));
            places.for_each(|place| page.line(place));
        }
        for mirror in mirrors.iter().filter(|mirror| !mirror.configured) {
            page.line(unconfigured_hint(&mirror.mirror));
        }
        for (mirror, held) in mirrors
            .iter()
            .filter_map(|mirror| Some((mirror, mirror.held.as_ref()?)))
        {
            page.line(format!("{}: the last synced state is held: {held}", mirror.mirror));
        }
        for mirror in mirrors {
            for sentence in lending::sentences(&mirror.mirror, &mirror.reachable) {
                page.line(sentence);
            }
        }
        for mirror in mirrors.iter().filter(|mirror| mirror.absent_files > 0) {
            page.line(format!(
                "{}: {} files that its indices list are absent: the filters leave them out",
                mirror.mirror, mirror.absent_files
            ));
        }
        if let Some(cache) = &self.cache {
            page.line(format!(
                "cache: {} files, {}; unused: {} files, {}",
                cache.files,
                size(cache.bytes),
                cache.unused_files,
                size(cache.unused_bytes)
            ));
            if cache.damaged_files > 0 {
                page.line(format!(
                    "{} files of the cache are damaged, and reading them fails: mirrorctl verify --repair fetches them again",
                    cache.damaged_files
                ));
            }
            page.line(cache.hashed_again.sentence());
            if cache.unfinished_files > 0 {
                page.line(format!(
                    "on their way into the cache, by syncs that run or have failed: {} files, {}",
                    cache.unfinished_files,
                    size(cache.unfinished_bytes)
                ));
            }
            if cache.inventory_files > 0 {
                page.line(format!(
                    "inventories of indices, for comparing: {} files, {}",
                    cache.inventory_files,
                    size(cache.inventory_bytes)
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_not_missing() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("catalog.db");
        assert!(is_missing(&path));
        // As good as no permission, which root always has.
        std::os::unix::fs::symlink("catalog.db", &path).expect("links");
        assert!(!path.exists() && !is_missing(&path));
    }
}

//! Whether the cache has what a snapshot lists.
//!
//! Owns the check `cache`. It repairs nothing.

use std::collections::{HashMap, HashSet};

use super::halt::{Halt, Stop};
use super::report::{Check, Problems};
use super::tree::Tree;
use crate::model::Digest;

/// Looks each file of the snapshot up in the cache, of which `damaged` are known to be no good; with `deep`, reads and
/// hashes it again.
///
/// # Errors
/// When the test is to stop.
pub(super) fn check(tree: &Tree<'_>, damaged: &HashSet<Digest>, deep: bool, stop: Stop<'_>) -> Result<Check, Halt> {
    let mut contents: HashMap<Digest, (u64, &str)> = HashMap::new();
    for (path, file) in &tree.files {
        let known = contents.entry(file.digest).or_insert((file.size, path));
        // The same of several names at every run.
        known.1 = known.1.min(path);
    }
    let mut wrong = Vec::new();
    for (digest, (size, path)) in &contents {
        stop.look()?;
        if damaged.contains(digest) {
            wrong.push((*path, "is damaged; mirrorctl verify --repair fetches it again"));
        } else if !tree.blobs.has(*digest, *size) {
            wrong.push((*path, "is not in the cache with its size"));
        } else if deep && !tree.blobs.is_whole(*digest, *size) {
            wrong.push((*path, "is damaged"));
        }
    }
    wrong.sort_unstable();
    let mut problems = Problems::default();
    for (path, what) in wrong {
        problems.add(format!("{path} {what}"));
    }
    let how = if deep { ", read and hashed again" } else { "" };
    let text = match problems.count() {
        0 => format!("{} files are in the cache{how}", tree.files.len()),
        n => format!(
            "{n} contents of {} files are not in the cache as they should be",
            tree.files.len()
        ),
    };
    Ok(Check::of("cache", text, problems))
}

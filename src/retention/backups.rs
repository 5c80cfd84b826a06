//! Copies of the catalog: when one is due, and which of them go.
//!
//! Owns the directory `backups/` and the names in it. How a catalog is copied, `catalog` knows. Files with other names
//! are left alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::RetentionError;
use crate::catalog::{Catalog, CatalogError};
use crate::model::Timestamp;
use crate::state::StateDir;

/// What stands around the time in a copy's name.
const NAME: (&str, &str) = ("catalog-", ".db");

/// How often a copy is made, and how many stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupPolicy {
    /// Seconds after which the next copy is due.
    pub every: i64,
    /// The newest so many stay; with 0 none is made.
    pub keep: usize,
}

/// Copies the catalog if that is due, and removes the copies that are too many. Answers where the new one is.
///
/// # Errors
/// When it cannot be copied or is damaged; then every copy stays that there was.
pub fn back_up(
    state: &StateDir,
    catalog: &Catalog,
    policy: BackupPolicy,
    now: Timestamp,
) -> Result<Option<PathBuf>, RetentionError> {
    let directory = state.backups();
    let read = |error| beside("read", &directory, error);
    let copies = copies(&directory).map_err(read)?;
    let newest = copies.last().map(|(time, _)| *time);
    // One that was made by a clock which was ahead is no reason to make none for years.
    let is_due = newest.is_none_or(|newest| newest > now || newest.plus(policy.every) <= now);
    if policy.keep == 0 || !is_due {
        return Ok(None);
    }
    let copy = directory.join(name(now));
    catalog.back_up(&copy)?;
    let mut all: Vec<PathBuf> = copies
        .into_iter()
        .map(|(_, path)| path)
        .filter(|path| *path != copy)
        .collect();
    let too_many = (all.len() + 1).saturating_sub(policy.keep);
    for old in all.drain(..too_many) {
        fs::remove_file(&old).map_err(|error| beside("remove", &old, error))?;
    }
    Ok(Some(copy))
}

fn beside(action: &'static str, path: &Path, source: io::Error) -> RetentionError {
    let path = path.to_owned();
    CatalogError::Beside { action, path, source }.into()
}

/// The name of the copy that is made at `time`: `catalog-20260301T000000Z.db`.
fn name(time: Timestamp) -> String {
    let spelled = time.to_string().replace(['-', ':'], "");
    format!("{}{spelled}{}", NAME.0, NAME.1)
}

/// The copies that are there, oldest first.
fn copies(directory: &Path) -> io::Result<Vec<(Timestamp, PathBuf)>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let time = entry.file_name().to_str().and_then(time_in);
        if let Some(time) = time
            && entry.file_type()?.is_file()
        {
            copies.push((time, entry.path()));
        }
    }
    copies.sort();
    Ok(copies)
}

/// The time in the name of a copy.
fn time_in(file: &str) -> Option<Timestamp> {
    let spelled = file.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?;
    let time = Timestamp::from_spelling(spelled)?;
    (name(time) == file).then_some(time)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_unix(1_700_000_000).plus(days * DAY)
    }

    fn state() -> (tempfile::TempDir, StateDir, Catalog) {
        let place = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::open_to_change(&place.path().join("state")).expect("opens");
        let catalog = Catalog::open(&state.catalog()).expect("opens");
        (place, state, catalog)
    }

    fn names(state: &StateDir) -> Vec<String> {
        let entries = fs::read_dir(state.backups()).expect("exists");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("readable").file_name().into_string().expect("text");
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_copy_is_made_when_the_newest_is_old_and_the_newest_stay() {
        let (_place, state, catalog) = state();
        let policy = BackupPolicy { every: DAY, keep: 3 };
        fs::write(state.backups().join("notes"), "").expect("writes");
        fs::write(state.backups().join("catalog-today.db"), "").expect("writes");
        for day in 0..5 {
            let copy = back_up(&state, &catalog, policy, at(day))
                .expect("copies")
                .expect("is due");
            let mode = fs::metadata(&copy).expect("made").permissions().mode();
            assert_eq!(mode & 0o777, 0o664);
            let soon = at(day).plus(DAY - 1);
            assert_eq!(back_up(&state, &catalog, policy, soon).expect("looks"), None);
        }
        let kept = [2, 3, 4].map(|day| name(at(day)));
        let expected: Vec<_> = kept
            .iter()
            .map(String::as_str)
            .chain(["catalog-today.db", "notes"])
            .collect();
        assert_eq!(names(&state), expected);
        // A clock that was set back.
        assert!(back_up(&state, &catalog, policy, at(1)).expect("copies").is_some());
        let none = BackupPolicy { keep: 0, ..policy };
        assert_eq!(back_up(&state, &catalog, none, at(99)).expect("looks"), None);
    }

    #[test]
    fn a_damaged_catalog_takes_the_place_of_no_copy() {
        let (_place, state, catalog) = state();
        let policy = BackupPolicy { every: DAY, keep: 1 };
        back_up(&state, &catalog, policy, at(0))
            .expect("copies")
            .expect("is due");
        let before = names(&state);
        drop(catalog);
        let catalog = Catalog::open(&state.catalog()).expect("opens");
        let mut bytes = fs::read(state.catalog()).expect("readable");
        bytes.chunks_mut(4096).skip(2).for_each(|page| page[0] ^= 0x55);
        fs::write(state.catalog(), bytes).expect("damages");
        back_up(&state, &catalog, policy, at(9)).expect_err("is damaged");
        let after: Vec<_> = names(&state)
            .into_iter()
            .filter(|name| time_in(name).is_some())
            .collect();
        assert_eq!(after, before);
    }
}

//! Putting a catalog that was made in the place of the one that is there.
//!
//! Owns the order of renames: at every moment there is a catalog that is whole, or one of which its ledger tells that it is not.
//! The one that is replaced is kept aside as it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Making;
use crate::catalog::{Catalog, CatalogError, beside};
use crate::model::Timestamp;

/// The endings of the names of the database's own log and its index.
const LOGS: [&str; 2] = ["-wal", "-shm"];

impl Making {
    /// Makes the catalog complete, and lets it take the place of the one at `path`, which is moved aside under the time `now`;
    /// answers to where, unless there was nothing in it. Its ledger is written anew. Nobody may write to either catalog meanwhile.
    ///
    /// # Errors
    /// When a file cannot be written or named. What was there is then in its place, or aside.
    pub fn take_place(self, path: &Path, now: Timestamp) -> Result<Option<PathBuf>, CatalogError> {
        let new = self.path().expect("what is made in memory takes no place").to_owned();
        self.finish()?;
        let at = |action, path: &Path| {
            let path = path.to_owned();
            move |source| CatalogError::Beside { action, path, source }
        };
        let aside = free_name(path, now);
        let kept = keep(path, &aside).map_err(at("move aside", path))?;
        // Without its log the old catalog is of an earlier time; with the new one, that log would be applied to it.
        for log in LOGS {
            let (from, to) = (with_ending(path, log), with_ending(&aside, log));
            if kept {
                move_if_there(&from, &to).map_err(at("move aside", &from))?;
            } else {
                beside::remove(&from).map_err(at("remove", &from))?;
            }
        }
        beside::put(&new, path).map_err(at("put in place", path))?;
        // With its log and index, which readers cannot make; and with its ledger.
        drop(Catalog::open(path)?);
        Ok(kept.then_some(aside))
    }
}

/// Gives what is at `path` a second name; whether there was anything. What is no file is moved there.
fn keep(path: &Path, aside: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Ok(facts) if facts.is_file() && facts.len() == 0 => Ok(false),
        Ok(facts) if facts.is_file() => fs::hard_link(path, aside).map(|()| true),
        Ok(_) => fs::rename(path, aside).map(|()| true),
        Err(error) => Err(error),
    }
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A name beside `path` that tells the time and that nothing has.
fn free_name(path: &Path, now: Timestamp) -> PathBuf {
    let ending = format!(".damaged-{now}").replace(':', "-");
    let names = (1..).map(|n| match n {
        1 => with_ending(path, &ending),
        n => with_ending(path, &format!("{ending}-{n}")),
    });
    let mut free = names.filter(|name| fs::symlink_metadata(name).is_err());
    free.next().expect("there is always another number")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

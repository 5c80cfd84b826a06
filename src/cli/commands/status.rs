//! The command `mirrorctl status`.
//!
//! Owns the report of what is mounted, where the pointers lead, and how old upstream is. Works for any local user.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::catalog::CatalogReader;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{Align, Human, Output, Page, Table};
use crate::cli::stores::synced;
use crate::cli::text::{size, span, utc};
use crate::control;
use crate::model::{Pointer, Timestamp};

#[derive(Serialize)]
struct Report {
    mounts: Vec<Mount>,
    mirrors: Vec<Mirror>,
    cache: Option<Cache>,
}

#[derive(Serialize)]
struct Mount {
    mountpoint: Option<String>,
    pid: u32,
    version: Option<String>,
    since: Option<String>,
}

#[derive(Serialize)]
struct Mirror {
    mirror: String,
    staging: Option<String>,
    current: Option<String>,
    snapshots: usize,
    checked: Option<String>,
    suites: Vec<Suite>,
}

#[derive(Serialize)]
struct Suite {
    suite: String,
    release_date: Option<String>,
    release_age_seconds: Option<i64>,
    valid_until: Option<String>,
    expired: bool,
}

#[derive(Serialize)]
struct Cache {
    files: u64,
    bytes: u64,
    unused_files: u64,
    unused_bytes: u64,
}

/// Says what is mounted, what each pointer names, and how old upstream is.
pub(in crate::cli) fn run(context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mounts = control::mounts_of(&context.run_dir, &context.settings.state)?;
    let mounts = mounts.iter().map(Mount::of).collect();
    // Before the first sync there is no catalog, and still something to say.
    let report = match context.reader() {
        Ok(reader) => reader.at_once(|reader| {
            let mirrors = context.settings.mirrors.keys();
            let mirrors = mirrors
                .map(|id| Mirror::read(reader, id, context.now))
                .collect::<Result<_, _>>()?;
            let ((files, bytes), unused) = (reader.blob_totals()?, reader.unused()?);
            let cache = Cache {
                files,
                bytes,
                unused_files: unused.blobs,
                unused_bytes: unused.bytes,
            };
            Ok(Report {
                mounts,
                mirrors,
                cache: Some(cache),
            })
        })?,
        Err(_) if is_missing(&context.settings.state.join("catalog.db")) => {
            let mirrors = context.settings.mirrors.keys().map(Mirror::unsynced).collect();
            Report {
                mounts,
                mirrors,
                cache: None,
            }
        }
        Err(failure) => return Err(failure),
    };
    output.answer(&report);
    Ok(())
}

/// Whether `path` certainly does not exist, which is something else than that it cannot be seen.
fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

impl Mount {
    fn of(mount: &control::LiveMount) -> Self {
        let facts = mount.facts.as_ref();
        Self {
            mountpoint: facts.map(|facts| facts.mountpoint.display().to_string()),
            pid: mount.pid,
            version: facts.map(|facts| facts.version.clone()),
            since: facts.map(|facts| utc(facts.started)),
        }
    }
}

impl Mirror {
    fn unsynced(id: &crate::model::MirrorId) -> Self {
        let (staging, current, checked) = (None, None, None);
        Self {
            mirror: id.to_string(),
            staging,
            current,
            snapshots: 0,
            checked,
            suites: Vec::new(),
        }
    }

    fn read(
        reader: &CatalogReader,
        id: &crate::model::MirrorId,
        now: Timestamp,
    ) -> Result<Self, crate::catalog::CatalogError> {
        let Some(row) = synced(reader, id)? else {
            return Ok(Self::unsynced(id));
        };
        let at = |pointer| {
            Ok::<_, crate::catalog::CatalogError>(reader.pointer(row, pointer)?.map(|m| m.snapshot.to_string()))
        };
        let state = reader.last_state(row)?;
        let releases = state
            .as_ref()
            .map(|state| state.releases.as_slice())
            .unwrap_or_default();
        Ok(Self {
            mirror: id.to_string(),
            staging: at(Pointer::Staging)?,
            current: at(Pointer::Current)?,
            snapshots: reader.snapshot_names(row)?.len(),
            checked: state.as_ref().and_then(|state| state.checked_at).map(utc),
            suites: releases
                .iter()
                .map(|release| Suite {
                    suite: release.suite.to_string(),
                    release_date: release.date.map(utc),
                    release_age_seconds: release.date.map(|date| now.unix() - date.unix()),
                    valid_until: release.valid_until.map(utc),
                    expired: release.valid_until.is_some_and(|until| until < now),
                })
                .collect(),
        })
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        if self.mounts.is_empty() {
            page.line("nothing is mounted");
        }
        for mount in &self.mounts {
            let place = mount
                .mountpoint
                .as_deref()
                .unwrap_or("somewhere (another version of mirrorctl)");
            let since = mount
                .since
                .as_deref()
                .map(|since| format!(" since {since}"))
                .unwrap_or_default();
            page.line(format!("mounted at {place} by process {}{since}", mount.pid));
        }
        let headings = ["MIRROR", "CURRENT", "STAGING", "SNAPSHOTS", "LAST CHECK", "UPSTREAM"];
        let mut table = Table::new(&headings.map(|heading| (heading, Align::Left)));
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        for mirror in &self.mirrors {
            table.row([
                mirror.mirror.clone(),
                or_dash(&mirror.current),
                or_dash(&mirror.staging),
                mirror.snapshots.to_string(),
                mirror.checked.clone().unwrap_or_else(|| "never".to_owned()),
                mirror.suites.iter().map(Suite::sentence).collect::<Vec<_>>().join("; "),
            ]);
        }
        page.table(&table);
        if let Some(cache) = &self.cache {
            page.line(format!(
                "cache: {} files, {}; unused: {} files, {}",
                cache.files,
                size(cache.bytes),
                cache.unused_files,
                size(cache.unused_bytes)
            ));
        }
    }
}

impl Suite {
    fn sentence(&self) -> String {
        let age = match self.release_age_seconds.map(u64::try_from) {
            None => "of unknown age".to_owned(),
            Some(Ok(age)) => format!("{} old", span(Duration::from_secs(age - age % 60))),
            Some(Err(_)) => "from the future".to_owned(),
        };
        let expired = if self.expired { ", EXPIRED" } else { "" };
        format!("{} {age}{expired}", self.suite)
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

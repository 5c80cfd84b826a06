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
use crate::control::{self, ControlError, LiveMount, Reply, Request};
use crate::model::{Pointer, Timestamp};

/// How long a mount may take to say how it is; one that works needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Report {
    mounts: Vec<Mount>,
    /// `None` while the catalog cannot be read.
    mirrors: Option<Vec<Mirror>>,
    cache: Option<Cache>,
}

#[derive(Serialize)]
struct Mount {
    mountpoint: Option<String>,
    pid: Option<u32>,
    version: Option<String>,
    since: Option<String>,
    /// `None` when the user may not ask it.
    state: Option<State>,
}

/// How a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Serving,
    /// It cannot read the catalog, and shows what was published last.
    Degraded,
    /// Its process lives and does not answer.
    Silent,
    /// Its process has gone, and everything below the mount point fails.
    Dead,
    /// Its process has not registered where this command looks, so that it is not told of changes.
    Unregistered,
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
    let mounts = mounts(context)?;
    let (content, failure) = match Content::read(context) {
        Ok(content) => (Some(content), None),
        // What is mounted can be said all the same, and is what matters then.
        Err(failure) => (None, Some(failure)),
    };
    let (mirrors, cache) = content.map_or((None, None), |content| (Some(content.mirrors), content.cache));
    output.answer(&Report { mounts, mirrors, cache });
    failure.map_or(Ok(()), Err)
}

/// The mounts of the state directory, and what stands at the mount point.
fn mounts(context: &Context) -> Result<Vec<Mount>, Failure> {
    let dir = &context.settings.dir;
    let dir = mirrorctl_mount::resolve(dir).unwrap_or_else(|_| dir.clone());
    let live = control::mounts_of(&context.run_dir, &context.settings.state)?;
    let asked = control::tell_each(live, Request::Status, PATIENCE)?;
    let mut mounts: Vec<Mount> = asked.iter().map(|(mount, told)| Mount::of(mount, told)).collect();
    let known = control::mounts_in(&context.run_dir)?;
    let here = |mount: &LiveMount| mount.facts.as_ref().is_some_and(|facts| facts.mountpoint == dir);
    if !known.iter().any(here) {
        mounts.extend(Mount::without_process(&dir));
    }
    Ok(mounts)
}

/// What the catalog says.
struct Content {
    mirrors: Vec<Mirror>,
    cache: Option<Cache>,
}

impl Content {
    fn read(context: &Context) -> Result<Self, Failure> {
        let mirrors = context.settings.mirrors.keys();
        // Before the first sync there is no catalog, and still something to say.
        if is_missing(&context.settings.state.join("catalog.db")) {
            return Ok(Self {
                mirrors: mirrors.map(Mirror::unsynced).collect(),
                cache: None,
            });
        }
        Ok(context.reader()?.at_once(|reader| {
            let mirrors = mirrors.map(|id| Mirror::read(reader, id, context.now));
            let mirrors = mirrors.collect::<Result<_, _>>()?;
            let ((files, bytes), unused) = (reader.blob_totals()?, reader.unused()?);
            let cache = Cache {
                files,
                bytes,
                unused_files: unused.blobs,
                unused_bytes: unused.bytes,
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

impl Mount {
    fn of(mount: &LiveMount, told: &Result<Reply, ControlError>) -> Self {
        let facts = mount.facts.as_ref();
        Self {
            mountpoint: facts.map(|facts| facts.mountpoint.display().to_string()),
            pid: Some(mount.pid),
            version: facts.map(|facts| facts.version.clone()),
            since: facts.map(|facts| utc(facts.started)),
            state: State::of(told),
        }
    }

    /// A mount of ours at `dir` that nobody has registered.
    fn without_process(dir: &Path) -> Option<Self> {
        let existing = mirrorctl_mount::existing(dir).ok()??;
        let state = if existing.dead {
            State::Dead
        } else {
            State::Unregistered
        };
        existing.ours.then(|| Self {
            mountpoint: Some(dir.display().to_string()),
            pid: None,
            version: None,
            since: None,
            state: Some(state),
        })
    }

    fn sentence(&self) -> String {
        let place = self
            .mountpoint
            .as_deref()
            .unwrap_or("somewhere (another version of mirrorctl)");
        let process = self.pid.map(|pid| format!(" by process {pid}")).unwrap_or_default();
        let since = self
            .since
            .as_ref()
            .map(|since| format!(" since {since}"))
            .unwrap_or_default();
        let state = self.state.map_or("", State::sentence);
        format!("mounted at {place}{process}{since}{state}")
    }
}

impl State {
    fn of(told: &Result<Reply, ControlError>) -> Option<Self> {
        match told {
            Ok(Reply::Status(status)) if status.counters.get(control::DEGRADED).is_some_and(|&count| count > 0) => {
                Some(Self::Degraded)
            }
            Ok(_) | Err(ControlError::Busy) => Some(Self::Serving),
            Err(ControlError::Timeout) => Some(Self::Silent),
            Err(_) => None,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Serving => "",
            Self::Degraded => "; it cannot read the catalog and shows what was published last",
            Self::Silent => "; it does not answer",
            Self::Dead => "; its process has gone (mirrorctl mount replaces it, mirrorctl unmount takes it away)",
            Self::Unregistered => "; it has registered elsewhere and is not told of changes (MIRRORCTL_RUN_DIR)",
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
        self.mounts.iter().for_each(|mount| page.line(mount.sentence()));
        let Some(mirrors) = &self.mirrors else { return };
        let headings = ["MIRROR", "CURRENT", "STAGING", "SNAPSHOTS", "LAST CHECK", "UPSTREAM"];
        let mut table = Table::new(&headings.map(|heading| (heading, Align::Left)));
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        for mirror in mirrors {
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

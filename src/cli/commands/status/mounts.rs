//! What is mounted, as `mirrorctl status` says it.
//!
//! Owns the question to each running mount and the words for its state. It reads no catalog.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::text::utc;
use crate::control::{self, ControlError, LiveMount, Reply, Request};
use crate::model::Timestamp;

/// How long a mount may take to say how it is; one that works needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// A mount, or what is left of one.
#[derive(Serialize)]
pub(super) struct Mount {
    mountpoint: Option<String>,
    /// The process that holds it.
    pid: Option<u32>,
    version: Option<String>,
    since: Option<String>,
    /// The process that serves it; this and what follows is known only where it answers.
    worker: Option<u64>,
    worker_since: Option<String>,
    /// How many served it before.
    restarts: Option<u64>,
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

/// The mounts of the state directory, and what stands at the mount point.
pub(super) fn mounts(context: &Context) -> Result<Vec<Mount>, Failure> {
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

impl Mount {
    fn of(mount: &LiveMount, told: &Result<Reply, ControlError>) -> Self {
        let facts = mount.facts.as_ref();
        let figure = |name: &str| match told {
            Ok(Reply::Status(status)) => status.counters.get(name).copied(),
            _ => None,
        };
        let worker_since = figure(control::WORKER_SINCE).and_then(|since| i64::try_from(since).ok());
        Self {
            mountpoint: facts.map(|facts| facts.mountpoint.display().to_string()),
            pid: Some(mount.pid),
            version: facts.map(|facts| facts.version.clone()),
            since: facts.map(|facts| utc(facts.started)),
            worker: figure(control::WORKER),
            worker_since: worker_since.map(|since| utc(Timestamp::from_unix(since))),
            restarts: figure(control::RESTARTS),
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
            worker: None,
            worker_since: None,
            restarts: None,
            state: Some(state),
        })
    }

    /// As people read it.
    pub(super) fn sentence(&self) -> String {
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
        format!("mounted at {place}{process}{since}{}{state}", self.restarted())
    }
}

impl Mount {
    /// Whether other processes served it before.
    fn restarted(&self) -> String {
        match (self.restarts, self.worker, &self.worker_since) {
            (Some(restarts @ 1..), Some(worker), Some(since)) => {
                let times = if restarts == 1 {
                    "once".to_owned()
                } else {
                    format!("{restarts} times")
                };
                format!("; the process that serves it was replaced {times}, and is {worker} since {since}")
            }
            _ => String::new(),
        }
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

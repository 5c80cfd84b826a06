//! What `mirrorctl mount` starts to serve the mount: `mirrorctl mount --serve`, which nobody else runs.
//!
//! Owns the plan, in which the holder says all that the configuration said when the mount began. Nothing else is read: a
//! configuration that was broken meanwhile must not end a mount that runs.

use std::io;
use std::os::fd::AsFd as _;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use mirrorctl_mount::{DataPath, Labels, MountError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::Catalog;
use crate::cli::args::Global;
use crate::cli::context::{self, Context};
use crate::cli::failure::{Failure, Kind};
use crate::cli::{logging, sys};
use crate::config::{LogFormat, LogLevel, LogSettings, MountData};
use crate::daemon::{self, DaemonError, Mounting};
use crate::holder::Duty;
use crate::model::Clock;
use crate::state::StateDir;

/// A thread that answers one command; a panic costs the answer.
const ANSWERS_A_COMMAND: &str = "control-peer";

/// What to serve, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    dir: PathBuf,
    state: PathBuf,
    run: PathBuf,
    /// The data path's own word; `None` for the best one.
    data: Option<String>,
    memory: u64,
    /// SELinux labels, with the names that they have as options.
    labels: Vec<(String, String)>,
    level: String,
    format: String,
    quiet: bool,
}

/// Why the mount could not be served, for who started this.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// As in JSON reports.
    pub(super) error: Value,
    /// Whether something lies at the mount point.
    pub(super) occupied: bool,
}

impl Plan {
    /// As it is configured.
    pub(super) fn new(context: &Context, flags: &Global, mut labels: Labels) -> Self {
        let settings = &context.settings;
        let labels = labels.named().into_iter();
        Self {
            dir: settings.dir.clone(),
            state: settings.state.clone(),
            run: context.run_dir.clone(),
            data: data_path(settings.mount.data).map(|data| data.name().to_owned()),
            memory: settings.mount.memory,
            labels: labels
                .filter_map(|(name, label)| Some((name.to_owned(), label.take()?)))
                .collect(),
            level: settings.log.level.name().to_owned(),
            format: settings.log.format.name().to_owned(),
            quiet: flags.quiet,
        }
    }

    /// As the holder passes it on.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub(super) fn text(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| Failure::caused(Kind::Failed, &error))
    }

    /// The mount point.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts the log, as far as what is to be logged is understood.
    pub(super) fn start_log(&self) {
        logging::start(self.log().unwrap_or_default(), self.quiet);
    }

    fn mounting(&self) -> Option<Mounting> {
        Some(Mounting {
            mountpoint: self.dir.clone(),
            state: self.state.clone(),
            run: self.run.clone(),
            data: self.data.as_deref().map(str::parse).transpose().ok()?,
            // More than there can be is as much as there can be.
            memory: usize::try_from(self.memory).unwrap_or(usize::MAX),
            labels: self.labels()?,
            now: context::now(),
            clock: Clock::new(context::now),
        })
    }

    fn labels(&self) -> Option<Labels> {
        let mut labels = Labels::default();
        for (name, label) in &self.labels {
            let (_, place) = labels.named().into_iter().find(|(known, _)| known == name)?;
            *place = Some(label.clone());
        }
        Some(labels)
    }

    fn log(&self) -> Option<LogSettings> {
        Some(LogSettings {
            level: self.level.parse::<LogLevel>().ok()?,
            format: self.format.parse::<LogFormat>().ok()?,
        })
    }
}

/// The mount's own word for how files are read.
fn data_path(configured: MountData) -> Option<DataPath> {
    match configured {
        MountData::Auto => None,
        MountData::NoOpen => Some(DataPath::NoOpen),
        MountData::KeepCache => Some(DataPath::KeepCache),
        MountData::Passthrough => Some(DataPath::Passthrough),
    }
}

/// Serves the mount that the process at the other end of standard input holds.
pub(in crate::cli) fn run() -> Result<(), Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::caused(Kind::Failed, error);
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| failed(&error))?;
    let Duty { plan, kept, line } = Duty::take(socket).map_err(|error| failed(&error))?;
    let other_version = || Failure::new(Kind::Failed, "the process that holds the mount is of another version");
    let plan: Plan = serde_json::from_str(&plan).map_err(|_| other_version())?;
    let mounting = plan.mounting().ok_or_else(other_version)?;
    plan.start_log();
    end_with_the_first_panic();
    let first = line.restarts == 0;
    let served = begin(&mounting, first).and_then(|()| {
        let served = daemon::serve(&mounting, &line, kept);
        served.map_err(|error| {
            let occupied = matches!(error, DaemonError::Mount(MountError::NotEmpty { .. }));
            (Failure::from(error), occupied)
        })
    });
    let Err((failure, occupied)) = served else {
        return Ok(());
    };
    let error = failure.json();
    let refusal = serde_json::to_string(&Refusal { error, occupied });
    let told = refusal
        .map_err(io::Error::from)
        .and_then(|refusal| line.failed(refusal));
    // Whom it cannot be told, it is told in the log.
    if told.is_ok() { Ok(()) } else { Err(failure) }
}

/// A mount may come before the first sync. But what was there and is gone must not be taken for what never was: clients would
/// be told that nothing exists.
fn begin(mounting: &Mounting, first: bool) -> Result<(), (Failure, bool)> {
    if !first || mounting.state.join("catalog.db").exists() {
        return Ok(());
    }
    sys::share_with_group();
    let of = |failure: Failure| (failure, false);
    let state = StateDir::open_to_change(&mounting.state).map_err(|error| of(error.into()))?;
    Catalog::open(&state.catalog()).map_err(|error| of(error.into()))?;
    Ok(())
}

/// Lets a panic end the process, except where it costs a request only: a process without one of its threads would serve on
/// without noticing changes, or signals, or that the mount was taken away. Another takes its place.
fn end_with_the_first_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        let contained = mirrorctl_mount::answers_a_request() || thread::current().name() == Some(ANSWERS_A_COMMAND);
        if !contained {
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_arrives_as_it_was_made() {
        let plan = Plan {
            dir: "/srv/apt".into(),
            state: "/var/lib/mirrorctl".into(),
            run: "/run/mirrorctl".into(),
            data: Some("keep-cache".into()),
            memory: 1 << 20,
            labels: vec![("context".into(), "a:b:c:s0".into())],
            level: "debug".into(),
            format: "json".into(),
            quiet: true,
        };
        let read: Plan = serde_json::from_str(&plan.text().expect("words")).expect("a plan");
        let mounting = read.mounting().expect("a mount");
        assert_eq!(mounting.data, Some(DataPath::KeepCache));
        assert_eq!((mounting.mountpoint, mounting.memory), (plan.dir.clone(), 1 << 20));
        assert_eq!(mounting.labels.context.as_deref(), Some("a:b:c:s0"));
        let log = read.log().expect("a log");
        assert_eq!((log.level, log.format), (LogLevel::Debug, LogFormat::Json));
        let other = Plan {
            data: Some("telepathy".into()),
            ..plan
        };
        assert!(other.mounting().is_none());
    }
}

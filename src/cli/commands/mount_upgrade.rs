//! The command `mirrorctl mount --upgrade`.
//!
//! Owns the wish for another process, and the wait until it serves. Everything between is done by the mount itself.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::control::{self, ControlError, LiveMount, Reply, Request, Status};

/// How long the next process may take to serve. It takes a fraction of a second, and several attempts some.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked for.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Serialize)]
struct Report {
    mountpoint: String,
    pid: u32,
    before: Process,
    after: Process,
}

/// A process that serves or served.
#[derive(Serialize)]
struct Process {
    version: String,
    worker: Option<u64>,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        page.line(format!(
            "{} is served by {} now, before by {}",
            self.mountpoint, self.after, self.before
        ));
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.worker {
            Some(worker) => write!(f, "version {} (process {worker})", self.version),
            None => write!(f, "version {}", self.version),
        }
    }
}

impl From<&Status> for Process {
    fn from(status: &Status) -> Self {
        Self {
            version: status.facts.version.clone(),
            worker: status.counters.get(control::WORKER).copied(),
        }
    }
}

/// Has another process serve the mount, by the program as it is now.
pub(in crate::cli) fn run(context: &Context, output: &mut Output) -> Result<(), Failure> {
    let dir = &context.settings.dir;
    let dir = mirrorctl_mount::resolve(dir).unwrap_or_else(|_| dir.clone());
    let mut live = control::mounts_of(&context.run_dir, &context.settings.state)?;
    live.retain(|mount| mount.is_at(&dir));
    let Some(mount) = live.pop() else {
        let message = format!("nothing of mirrorctl is mounted at {}", dir.display());
        return Err(Failure::new(Kind::Failed, message).hint("mirrorctl mount mounts it"));
    };
    let before = status(&mount)?;
    match ask(&mount, Request::Upgrade) {
        // Its process may have gone before it could answer.
        Ok(_) | Err(ControlError::Closed | ControlError::Connection(_)) => {}
        Err(error) => return Err(failed(&mount, &error)),
    }
    let after = successor(&mount, &before, &dir)?;
    output.done(&Report {
        mountpoint: context.settings.dir.display().to_string(),
        pid: mount.pid,
        before: (&before).into(),
        after: (&after).into(),
    });
    Ok(())
}

/// How the mount is, once another process serves it.
fn successor(mount: &LiveMount, before: &Status, dir: &Path) -> Result<Status, Failure> {
    let worker = |status: &Status| status.counters.get(control::WORKER).copied();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Ok(now) = status(mount)
            && worker(&now) != worker(before)
        {
            return Ok(now);
        }
        if mount.is_gone()? {
            let message = format!("the mount at {} has ended", dir.display());
            return Err(Failure::new(Kind::Failed, message).hint("mirrorctl mount mounts it again"));
        }
        thread::sleep(LOOK);
    }
    let message = format!(
        "no other process serves {} after {} s",
        dir.display(),
        PATIENCE.as_secs()
    );
    Err(Failure::new(Kind::Failed, message)
        .hint("the log of the mount says why")
        .hint("mirrorctl status says who serves it"))
}

fn status(mount: &LiveMount) -> Result<Status, Failure> {
    match ask(mount, Request::Status) {
        Ok(Reply::Status(status)) => Ok(status),
        Ok(_) => Err(Failure::new(
            Kind::Failed,
            format!("{mount} gave no answer to the question"),
        )),
        Err(error) => Err(failed(mount, &error)),
    }
}

fn ask(mount: &LiveMount, request: Request) -> Result<Reply, ControlError> {
    let mut told = control::tell_each(vec![mount.clone()], request, control::DEADLINE)?;
    // One that has gone is left out.
    told.pop().map_or(Err(ControlError::Closed), |(_, outcome)| outcome)
}

fn failed(mount: &LiveMount, error: &ControlError) -> Failure {
    Failure::new(Kind::Failed, format!("{mount}: {error}"))
}

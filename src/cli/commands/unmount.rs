//! The command `mirrorctl unmount`.
//!
//! Owns the way to take a mount away: by asking its process, or, where none lives, from the kernel.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::control::{self, LiveMount, Request};

/// How long a mount that was taken away may take to be forgotten. Who still uses it does not hold that up.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Report {
    unmounted: String,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        page.line(format!("{} is unmounted", self.unmounted));
    }
}

/// Takes the mount away.
pub(in crate::cli) fn run(context: &Context, output: &mut Output) -> Result<(), Failure> {
    // As the mount has announced it. Where there is no such place, nothing is mounted.
    let dir = mirrorctl_mount::resolve(&context.settings.dir).unwrap_or_else(|_| context.settings.dir.clone());
    let here = |mount: &control::LiveMount| mount.facts.as_ref().is_some_and(|facts| facts.mountpoint == dir);
    let mut live = control::mounts_of(&context.run_dir, &context.settings.state)?;
    live.retain(here);
    if live.is_empty() {
        take_dead_one_away(&dir, context)?;
    } else {
        stop(live, &dir)?;
    }
    output.done(&Report {
        unmounted: context.settings.dir.display().to_string(),
    });
    Ok(())
}

/// Asks processes to end the mounts that they serve, and waits until they have.
fn stop(live: Vec<LiveMount>, dir: &Path) -> Result<(), Failure> {
    let by_force = |failure: Failure| failure.hint(format!("umount -l {} forces it", dir.display()));
    for (mount, outcome) in control::tell_each(live, Request::Stop, control::DEADLINE)? {
        if let Err(error) = outcome {
            return Err(by_force(Failure::new(Kind::Failed, format!("{mount}: {error}"))));
        }
        if !mount.wait_until_gone(PATIENCE)? {
            let message = format!("the mount {mount} did not end in {} s", PATIENCE.as_secs());
            return Err(by_force(Failure::new(Kind::Failed, message)));
        }
    }
    Ok(())
}

/// Detaches a mount of ours whose process has gone. One that lives is somebody's, though not known here.
fn take_dead_one_away(dir: &Path, context: &Context) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::caused(Kind::Failed, &error);
    let existing = match mirrorctl_mount::existing(dir) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(failed(error));
        }
        found => found.ok().flatten(),
    };
    match existing {
        Some(existing) if existing.dead => mirrorctl_mount::detach(dir).map_err(failed),
        Some(existing) if !existing.ours => {
            let (theirs, kind) = (existing.fsname.display(), existing.kind);
            let message = format!("what is mounted at {} is {theirs} ({kind})", dir.display());
            Err(Failure::new(Kind::Refused, message).hint("it is not mirrorctl's to take away: use umount"))
        }
        Some(existing) => Err(not_known_here(dir, &existing.fsname, context)),
        None => {
            let message = format!("nothing of mirrorctl is mounted at {}", dir.display());
            Err(Failure::new(Kind::Failed, message))
        }
    }
}

/// Says what is mounted at `dir` by a live process that is not one of this state in this run directory.
fn not_known_here(dir: &Path, fsname: &OsStr, context: &Context) -> Failure {
    let message = format!(
        "{} shows {}, and its process is not among the mounts of {} in {}",
        dir.display(),
        fsname.display(),
        context.settings.state.display(),
        context.run_dir.display()
    );
    Failure::new(Kind::Refused, message)
        .hint("use the configuration and the MIRRORCTL_RUN_DIR that it was mounted with")
        .hint(format!("umount {} takes it away all the same", dir.display()))
}

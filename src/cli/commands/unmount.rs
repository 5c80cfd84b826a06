//! The command `mirrorctl unmount`.
//!
//! Owns the way to take a mount away: by asking its process, or, where none lives, from the kernel.

use std::time::Duration;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::control::{self, Request};

/// How long a mount may take to end. Open files do not hold it up.
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
    let dir = &context.settings.dir;
    let here = |mount: &control::LiveMount| mount.facts.as_ref().is_some_and(|facts| facts.mountpoint == *dir);
    let live: Vec<_> = control::mounts_of(&context.run_dir, &context.settings.state)?
        .into_iter()
        .filter(here)
        .collect();
    if !live.is_empty() {
        let told = control::tell_all(
            &context.run_dir,
            &context.settings.state,
            Request::Stop,
            control::DEADLINE,
        )?;
        if let Some((_, Err(error))) = told
            .into_iter()
            .find(|(mount, outcome)| here(mount) && outcome.is_err())
        {
            return Err(Failure::caused(Kind::Failed, &error).hint(format!("umount -l {} forces it", dir.display())));
        }
        for mount in &live {
            if !mount.wait_until_gone(PATIENCE)? {
                let message = format!("the mount {mount} did not end in {} s", PATIENCE.as_secs());
                return Err(Failure::new(Kind::Failed, message).hint(format!("umount -l {} forces it", dir.display())));
            }
        }
    } else if !take_dead_one_away(dir)? {
        return Err(Failure::new(
            Kind::Failed,
            format!("nothing of mirrorctl is mounted at {}", dir.display()),
        ));
    }
    output.done(&Report {
        unmounted: dir.display().to_string(),
    });
    Ok(())
}

/// Detaches a mount of ours that no live process registered; `false` when there is none.
fn take_dead_one_away(dir: &std::path::Path) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::caused(Kind::Failed, &error);
    match mirrorctl_mount::existing(dir) {
        Ok(Some(existing)) if existing.ours => {
            mirrorctl_mount::detach(dir).map_err(failed)?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

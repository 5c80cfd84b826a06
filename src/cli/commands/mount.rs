//! The command `mirrorctl mount`.
//!
//! Owns the choice between foreground and background. In the background, this program starts itself once more, waits
//! until the mount is there, and leaves it running. In the foreground, it holds the mount, which another process serves
//! (`mount_serve`).

#![expect(clippy::disallowed_types, reason = "starts itself in the background")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use mirrorctl_mount::Labels;
use serde::Serialize;
use serde_json::Value;

use super::mount_serve::{Plan, Refusal};
use crate::cli::args::{Global, MountArgs};
use crate::cli::context::Context;
use crate::cli::errors::OWN_RUN_DIRECTORY;
use crate::cli::failure::{self, Failure, Kind};
use crate::cli::output::{Human, Output, Page};
use crate::cli::sys;
use crate::control;
use crate::holder::{self, End, HANDOVER, Handover, HolderError, Orders};
use crate::legacy;
use crate::model::SelinuxLabel;

/// How long the log of mounts may be when one more starts. The run directory is in memory, as a rule.
const LONGEST_LOG: u64 = 1 << 20;

/// How the process is started that serves.
const SERVE: &[&str] = &["mount", "--serve"];

#[derive(Serialize)]
struct Report {
    mountpoint: String,
    pid: u32,
    for_others: bool,
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        page.line(format!("mounted at {} by process {}", self.mountpoint, self.pid));
        if !self.for_others {
            page.line("only you can see what is in it: a web server of another user is refused, and so is root");
            page.line("to let others in, root adds the line user_allow_other to /etc/fuse.conf; then mount again");
        }
    }
}

/// Serves the mirrors as a file system.
pub(in crate::cli) fn run(
    arguments: &MountArgs,
    flags: &Global,
    context: &Context,
    output: &mut Output,
) -> Result<(), Failure> {
    if let Some(directory) = &arguments.for_fstab
        && is_as_the_table_says(directory, context)?
    {
        return Ok(());
    }
    if arguments.background {
        return in_background(arguments, flags, context, output);
    }
    if arguments.detached {
        sys::leave_the_terminal();
    }
    let program = std::env::current_exe();
    let program = program.map_err(|error| Failure::new(Kind::Failed, format!("cannot find this program: {error}")))?;
    let orders = Orders {
        program: &program,
        arguments: SERVE,
        plan: Plan::new(context, flags, labels(&arguments.label, context)?).text()?,
        watchdog: context.settings.mount.watchdog,
    };
    let report = || Report {
        mountpoint: context.settings.dir.display().to_string(),
        pid: std::process::id(),
        for_others: mirrorctl_mount::ownership(&context.settings.dir).is_ok_and(|ownership| ownership.for_others),
    };
    let end = holder::hold(
        &orders,
        || output.report_now(&report()),
        || take_away(&context.settings.dir),
    );
    match end.map_err(|error| Failure::caused(Kind::Failed, &error))? {
        End::TakenAway => Ok(()),
        End::Died(how) => {
            let message = format!("the process that was to serve the mount {how}");
            Err(Failure::new(Kind::Failed, message))
        }
        End::Refused(why) => Err(refusal(&why, context)),
    }
}

/// Goes on holding a mount, as the program that this process has become. What it holds lies behind the descriptor `number`.
pub(in crate::cli) fn go_on(number: i32) -> Result<(), Failure> {
    let failed = |error: HolderError| Failure::caused(Kind::Failed, &error);
    let handover = Handover::take(number).map_err(failed)?;
    let plan: Plan = serde_json::from_str(&handover.plan).map_err(|_| failed(HolderError::OtherVersion))?;
    plan.start_log();
    let program = handover.program.clone();
    let orders = Orders {
        program: &program,
        arguments: SERVE,
        plan: handover.plan.clone(),
        watchdog: handover.watchdog,
    };
    holder::hold_on(&orders, handover, || take_away(plan.dir())).map_err(failed)?;
    Ok(())
}

/// Says whether this program can go on with a mount that hands over in this `version`.
pub(in crate::cli) fn understands(version: u32) -> Result<(), Failure> {
    if version == HANDOVER {
        return Ok(());
    }
    let message = format!("a mount that hands over in version {version} cannot be gone on with, but in {HANDOVER}");
    Err(Failure::new(Kind::Failed, message))
}

/// Takes a mount of ours away that nobody serves.
fn take_away(mountpoint: &Path) {
    let detached = match mirrorctl_mount::stands_at(mountpoint) {
        Ok(true) => mirrorctl_mount::detach(mountpoint),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = detached {
        tracing::error!(%error, "the mount could not be taken away");
    }
}

/// The failure that the serving process has put into words.
fn refusal(why: &str, context: &Context) -> Failure {
    let words: Refusal = serde_json::from_str(why).unwrap_or_default();
    let failure = failure::from_json(&words.error).unwrap_or_else(|| {
        Failure::new(
            Kind::Failed,
            "the process that was to serve the mount is of another version",
        )
    });
    if words.occupied && has_old_mirrors(context) {
        failure.hint("the mirrors of an earlier mirrorctl are there: mirrorctl migrate takes them over")
    } else {
        failure
    }
}

/// The labels that `options` of mount(8) give; for what they leave out, the configured one.
fn labels(options: &[String], context: &Context) -> Result<Labels, Failure> {
    let mut labels = Labels::default();
    for option in options {
        let (name, text) = option.split_once('=').unwrap_or((option, ""));
        let label: Result<SelinuxLabel, _> = text.parse();
        let label = label.map_err(|error| Failure::new(Kind::Failed, format!("the option {option}: {error}")))?;
        let known = labels.named().into_iter().find(|(known, _)| *known == name);
        let unknown = || Failure::new(Kind::Failed, format!("the option {option} is not known"));
        let (_, place) = known.ok_or_else(unknown)?;
        *place = Some(label.to_string());
    }
    let configured = context.settings.mount.context.as_ref();
    labels.context = labels.context.or(configured.map(ToString::to_string));
    Ok(labels)
}

/// Whether a mount of ours is at `directory` already, so that mounting everything twice is no failure.
fn is_as_the_table_says(directory: &Path, context: &Context) -> Result<bool, Failure> {
    let settings = &context.settings;
    // What does not exist is for mounting to say.
    let resolved = |path: &Path| mirrorctl_mount::resolve(path).unwrap_or_else(|_| path.to_owned());
    let (wanted, configured) = (resolved(directory), resolved(&settings.dir));
    if wanted != configured {
        let (wanted, configured) = (directory.display(), settings.dir.display());
        let message = format!("the mount point is {wanted}, but dir in the configuration is {configured}");
        return Err(Failure::new(Kind::Failed, message).hint("make /etc/fstab and the configuration say the same"));
    }
    let live = control::mounts_of(&context.run_dir, &settings.state)?;
    let mut places = live.iter().filter_map(|mount| mount.facts.as_ref());
    Ok(places.any(|facts| facts.mountpoint == wanted))
}

/// Whether the earlier mirrorctl left mirrors at the mount point.
fn has_old_mirrors(context: &Context) -> bool {
    let settings = &context.settings;
    let found = legacy::find(&settings.dir, &settings.state, settings.mirrors.keys());
    found.is_ok_and(|found| !found.is_empty())
}

fn in_background(arguments: &MountArgs, flags: &Global, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let failed = |action: &str, error: io::Error| Failure::new(Kind::Failed, format!("cannot {action}: {error}"));
    let log_path = context.run_dir.join("mount.log");
    control::make_run_directory(&context.run_dir)?;
    let (log, written) = open_log(&log_path).map_err(|error| {
        let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
        let failure = failed("open the log of the mount", error);
        if forbidden {
            failure.hint(OWN_RUN_DIRECTORY)
        } else {
            failure
        }
    })?;
    let program = std::env::current_exe().map_err(|error| failed("find this program", error))?;
    let mut child = Command::new(program)
        // Not the name that this one may have been called by.
        .arg0("mirrorctl")
        .arg("--json")
        .arg("--config")
        .arg(&flags.config)
        .args(flags.log_level.map(|level| format!("--log-level={}", level.name())))
        .args(["mount", "--detached"])
        .args(arguments.label.iter().map(|label| format!("--label={label}")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| failed("start the mount", error))?;
    let mut line = String::new();
    let pipe = child.stdout.take().expect("the output is a pipe");
    // One line, when the mount is there or when there will be none.
    BufReader::new(pipe)
        .read_line(&mut line)
        .map_err(|error| failed("wait for the mount", error))?;
    let told: Value = serde_json::from_str(&line).unwrap_or_default();
    if told["pid"].is_u64() {
        output.done(&Report {
            mountpoint: context.settings.dir.display().to_string(),
            pid: child.id(),
            for_others: told["for_others"] == true,
        });
        return Ok(());
    }
    Err(failure::from_json(&told["error"]).unwrap_or_else(|| {
        // It died of something that it could not tell.
        let said = fs::read(&log_path).unwrap_or_default();
        let said = said.get(usize::try_from(written).unwrap_or(0)..).unwrap_or_default();
        let said = String::from_utf8_lossy(said).into_owned();
        let failure = Failure::new(Kind::Failed, "the mount could not be started");
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.fold(failure, |failure, line| failure.problem(line, line.into()))
    }))
}

/// The log at `path`, to be appended to, and its length. One that has become too long begins anew.
fn open_log(path: &Path) -> io::Result<(File, u64)> {
    let log = OpenOptions::new().create(true).append(true).open(path)?;
    if log.metadata()?.len() > LONGEST_LOG {
        log.set_len(0)?;
    }
    let written = log.metadata()?.len();
    Ok((log, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_begins_anew_when_it_has_become_too_long() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("mount.log");
        for (length, kept) in [(0, 0), (LONGEST_LOG, LONGEST_LOG), (LONGEST_LOG + 1, 0)] {
            File::create(&path)
                .and_then(|log| log.set_len(length))
                .expect("written");
            let (log, written) = open_log(&path).expect("opened");
            assert_eq!((written, log.metadata().expect("open").len()), (kept, kept), "{length}");
        }
    }
}

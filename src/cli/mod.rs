//! The command line: from arguments to one use-case call and its rendering.
//!
//! Owns everything between the process and the use cases: arguments, environment, clock, exit codes, output and log.
//! It decides nothing about mirrors. `args` says what can be typed, `context` what a command works with, `commands`
//! has one file for each command, `output` prints, `failure` has the exit codes, and `logging` starts the log.

pub mod args;
mod commands;
pub mod context;
mod disk;
mod errors;
pub mod failure;
mod fstab;
mod hooks;
mod interrupt;
pub mod logging;
mod moving;
pub mod output;
mod progress;
mod security;
mod stopping;
mod stores;
mod sys;
pub mod text;
pub mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use args::{Arguments, CheckCommand, Command, Global, MountArgs, SnapshotCommand};
use context::{Context, Environment};
use failure::{Failure, Kind};
use hooks::Attempt;
use output::{Mode, Output};

use crate::config::Keyrings;
use crate::model::Pointer;

/// Runs the command that `arguments` ask for (the first is the program's own name), and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    sys::wait_for_children();
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let output = Output::of_process(mode(&arguments));
    match fstab::call(&arguments) {
        None => {}
        Some(Ok(fstab::Call::Mount(words))) => arguments = words,
        Some(Ok(fstab::Call::Nothing)) => return ExitCode::SUCCESS,
        Some(Err(message)) => return output.finish(Err(Failure::new(Kind::Usage, message)), false).into(),
    }
    match Arguments::try_parse_from(&arguments) {
        Ok(arguments) => {
            if only_prints(&arguments.command) {
                sys::die_of_broken_pipes();
            }
            execute(arguments, &Environment::of_process(), output)
        }
        Err(error) => explain(&error, output),
    }
    .into()
}

/// The form of output that was asked for, also where the rest of the command line cannot be understood.
fn mode(arguments: &[OsString]) -> Mode {
    let mut flags = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    if flags.any(|argument| argument == "--json") {
        Mode::Json
    } else {
        Mode::Human
    }
}

/// Whether a command writes to nothing but standard output and error.
fn only_prints(command: &Command) -> bool {
    matches!(
        command,
        Command::Version
            | Command::Completion(_)
            | Command::Check(_)
            | Command::Snapshot(SnapshotCommand::List(_) | SnapshotCommand::History(_) | SnapshotCommand::Diff(_))
    )
}

fn execute(arguments: Arguments, environment: &Environment, mut output: Output) -> u8 {
    let Arguments { global, command } = arguments;
    if global.quiet {
        output.be_quiet();
    }
    let outcome = dispatch(command, &global, environment, &mut output);
    let outcome = outcome.map_err(|failure| explained(failure, &global, environment));
    output.finish(outcome, global.verbose_errors)
}

/// The failure with what there is to say about a trouble of this machine that it goes back to.
fn explained(failure: Failure, flags: &Global, environment: &Environment) -> Failure {
    if !failure.has_trouble() {
        return failure;
    }
    match Context::load(flags, environment, Keyrings::NotLookedAt) {
        Ok(context) => disk::explain(failure, &context.settings.state),
        Err(_) => failure,
    }
}

fn dispatch(command: Command, flags: &Global, environment: &Environment, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Version => {
            commands::version::run(output);
            Ok(())
        }
        Command::Completion(completion) => {
            commands::completion::run(&completion, output);
            Ok(())
        }
        Command::Check(CheckCommand::Config) => {
            let context = configured_to_connect(flags, environment, Keyrings::MustBeReadable)?;
            commands::check_config::run(&context, output);
            Ok(())
        }
        Command::Check(CheckCommand::Tls(check)) => {
            let context = configured_to_connect(flags, environment, Keyrings::NotLookedAt)?;
            commands::check_tls::run(&check, &context, output)
        }
        Command::Sync(sync) => {
            let context = configured_to_connect(flags, environment, keyrings(sync.no_pgp_check))?;
            if sync.dry_run {
                commands::sync_dry_run::run(&sync, &context, output)
            } else {
                commands::sync::run(&sync, &context, output)
            }
        }
        Command::Import(import) => {
            let context = configured(flags, environment, keyrings(import.no_pgp_check))?;
            commands::import::run(&import, &context, output)
        }
        Command::Migrate(migrate) => {
            let context = configured(flags, environment, keyrings(migrate.no_pgp_check))?;
            commands::migrate::run(&migrate, &context, output)
        }
        Command::Demo(demo) => commands::demo::run(&demo, output),
        // Has been told everything by who started it.
        Command::Mount(MountArgs { serve: true, .. }) => commands::mount_serve::run(),
        Command::Mount(MountArgs { held: Some(number), .. }) => commands::mount::go_on(number),
        Command::Mount(MountArgs {
            holds: Some(version), ..
        }) => commands::mount::understands(version),
        Command::Mount(mount) if mount.upgrade => {
            let context = configured(flags, environment, Keyrings::NotLookedAt)?;
            commands::mount_upgrade::run(&context, output)
        }
        Command::Mount(mount) => {
            let context = configured(flags, environment, Keyrings::NotLookedAt)?;
            commands::mount::run(&mount, flags, &context, output)
        }
        Command::Unmount => commands::unmount::run(&configured(flags, environment, Keyrings::NotLookedAt)?, output),
        Command::Status => commands::status::run(&configured(flags, environment, Keyrings::NotLookedAt)?, output),
        Command::Gc(gc) => commands::gc::run(&gc, &configured(flags, environment, Keyrings::NotLookedAt)?, output),
        Command::Verify(verify) => {
            let context = if verify.repair {
                configured_to_connect(flags, environment, Keyrings::NotLookedAt)?
            } else {
                configured(flags, environment, Keyrings::NotLookedAt)?
            };
            commands::verify::run(&verify, &context, output)
        }
        Command::Forget(forget) => {
            let context = configured(flags, environment, Keyrings::NotLookedAt)?;
            commands::forget::run(&forget, &context, output)
        }
        Command::Snapshot(snapshot) => dispatch_snapshot(snapshot, flags, environment, output),
        Command::Repair(repair) => {
            let context = configured(flags, environment, Keyrings::NotLookedAt)?;
            commands::repair::run(&repair, &context, output)
        }
    }
}

fn dispatch_snapshot(
    command: SnapshotCommand,
    flags: &Global,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let context = || configured(flags, environment, Keyrings::NotLookedAt);
    match command {
        SnapshotCommand::Create(create) => commands::snapshot_create::run(&create, &context()?, output),
        SnapshotCommand::List(list) => commands::snapshot_list::run(&list, &context()?, output),
        SnapshotCommand::Stage(stage) => {
            let context = context()?;
            let attempt = Attempt::of("stage", Some(&Pointer::Staging)).because(stage.moving.message.as_ref());
            let outcome = commands::snapshot_stage::run(&stage, &context, output);
            context.or_tell(attempt, &stage.aims.mirrors(), outcome)
        }
        SnapshotCommand::Publish(publish) => {
            let context = context()?;
            let attempt = Attempt::of("publish", Some(&publish.to)).because(publish.moving.message.as_ref());
            let outcome = commands::snapshot_publish::run(&publish, &context, output);
            context.or_tell(attempt, &publish.aims.mirrors(), outcome)
        }
        SnapshotCommand::Promote(promote) => {
            let context = context()?;
            let attempt = Attempt::of("promote", Some(&promote.to)).because(promote.moving.message.as_ref());
            let outcome = commands::snapshot_promote::run(&promote, &context, output);
            context.or_tell(attempt, &promote.mirrors, outcome)
        }
        SnapshotCommand::Unpublish(unpublish) => {
            let context = context()?;
            let attempt = Attempt::of("unpublish", Some(&unpublish.of)).because(unpublish.message.as_ref());
            let outcome = commands::snapshot_unpublish::run(&unpublish, &context, output);
            context.or_tell(attempt, &unpublish.mirrors, outcome)
        }
        SnapshotCommand::Delete(delete) => commands::snapshot_delete::run(&delete, &context()?, output),
        SnapshotCommand::Prune(prune) => commands::snapshot_prune::run(&prune, &context()?, output),
        SnapshotCommand::History(history) => commands::snapshot_history::run(&history, &context()?, output),
        SnapshotCommand::Rollback(rollback) => {
            let context = context()?;
            let attempt = Attempt::of("rollback", Some(&rollback.of)).because(rollback.moving.message.as_ref());
            let outcome = commands::snapshot_rollback::run(&rollback, &context, output);
            if rollback.dry_run {
                outcome
            } else {
                context.or_tell(attempt, &rollback.mirrors, outcome)
            }
        }
        SnapshotCommand::Tag(tag) => commands::snapshot_tag::run(&tag, &context()?, output),
        SnapshotCommand::Note(note) => commands::snapshot_note::run(&note, &context()?, output),
        SnapshotCommand::Protect(protect) => commands::snapshot_protect::run(&protect, &context()?, output),
        SnapshotCommand::Rename(rename) => commands::snapshot_rename::run(&rename, &context()?, output),
        SnapshotCommand::Diff(diff) => commands::snapshot_diff::run(&diff, &context()?, output),
        SnapshotCommand::Test(test) => {
            let context = configured(flags, environment, Keyrings::MustBeReadable)?;
            let outcome = commands::snapshot_test::run(&test, &context, output);
            context.or_tell(Attempt::of("test", None), &[test.mirror], outcome)
        }
    }
}

/// What a command that checks signatures, unless told not to, needs of the keyrings.
fn keyrings(no_pgp_check: bool) -> Keyrings {
    if no_pgp_check {
        Keyrings::NotLookedAt
    } else {
        Keyrings::MustBeReadable
    }
}

/// Loads the configuration and starts the log: the first step of every command about mirrors.
fn configured(flags: &Global, environment: &Environment, keyrings: Keyrings) -> Result<Context, Failure> {
    Ok(logged(Context::load(flags, environment, keyrings)?, flags))
}

/// As [`configured`] for commands that connect to upstreams, or judge whether that can be done.
fn configured_to_connect(flags: &Global, environment: &Environment, keyrings: Keyrings) -> Result<Context, Failure> {
    Ok(logged(Context::load_to_connect(flags, environment, keyrings)?, flags))
}

fn logged(context: Context, flags: &Global) -> Context {
    logging::start(context.settings.log, flags.quiet);
    context
}

/// Prints the help or version that was asked for, or what is wrong with the command line. Returns the exit code.
fn explain(error: &clap::Error, mut output: Output) -> u8 {
    let text = error.render().to_string();
    let outcome = match error.kind() {
        ErrorKind::DisplayHelp => {
            commands::help::run(text, &mut output);
            Ok(())
        }
        ErrorKind::DisplayVersion => {
            commands::version::run(&mut output);
            Ok(())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Err(usage("error: no command given", &text))
        }
        _ => Err(usage(&text, &text)),
    };
    output.finish(outcome, false)
}

/// The failure that clap describes: its first paragraph as the message, its tips and its usage line as hints.
fn usage(complaint: &str, text: &str) -> Failure {
    let paragraph = complaint
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim);
    let message = paragraph.collect::<Vec<_>>().join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    let usages = text.lines().filter(|line| line.starts_with("Usage: "));
    let failure = Failure::new(Kind::Usage, message);
    let failure = tips.fold(failure, Failure::hint);
    let failure = usages.fold(failure, |failure, line| {
        failure.hint(line.replacen("Usage: ", "usage: ", 1))
    });
    failure.hint("--help says more")
}

#[cfg(test)]
mod man_pages;
#[cfg(test)]
mod tests;

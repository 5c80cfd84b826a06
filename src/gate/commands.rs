//! The operator's own tests.
//!
//! Owns what their commands are told: where the snapshot can be read, and what it is. They are run by `operator`; a
//! command passes when it ends with 0 and the snapshot was in that place all the while.

use std::path::Path;
use std::time::Duration;

use super::Subject;
use super::report::{Check, Outcome, Problems, in_one_line};
use crate::operator::{self, End, Program};

/// Most bytes of a command's output that are kept with the result.
const KEEP: usize = 16 << 10;

/// The commands of a mirror, and where they find things.
#[derive(Clone, Copy)]
pub struct Commands<'a> {
    /// Each is a line for `/bin/sh -c`.
    pub lines: &'a [String],
    /// How long each may take.
    pub limit: Duration,
    /// Where the snapshot can be read; or why not.
    pub path: Result<&'a Path, &'a str>,
    /// Makes sure that the snapshot has been in that place ever since, whatever is there now; or says what has become of it
    /// and what to do.
    pub is_there: &'a dyn Fn() -> Result<(), String>,
    /// The home directory of whoever tests.
    pub home: Option<&'a str>,
    /// The file with what leads from production to the snapshot, if there is one.
    pub difference: Option<&'a Path>,
    /// Whether the caller wishes to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// Runs each command, whatever became of those before.
pub(super) fn check(subject: &Subject<'_>, commands: &Commands<'_>) -> Vec<Check> {
    let checks = commands.lines.iter().zip(1..).map(|(line, number)| {
        let name = format!("command {number}");
        let path = commands.path.map_err(str::to_owned);
        match path.and_then(|path| (commands.is_there)().map(|()| path)) {
            Ok(path) => run(subject, commands, path, &name, line),
            Err(why) => {
                let mut problems = Problems::default();
                problems.add(why);
                Check::of(&name, format!("{line}: was not run"), problems)
            }
        }
    });
    checks.collect()
}

fn run(subject: &Subject<'_>, commands: &Commands<'_>, path: &Path, name: &str, line: &str) -> Check {
    let path = path.to_string_lossy();
    let production = subject.production.map(|snapshot| snapshot.name.as_str());
    let mut environment = vec![
        ("LC_ALL", "C.UTF-8"),
        ("MIRRORCTL_MIRROR", subject.mirror.as_str()),
        ("MIRRORCTL_SNAPSHOT", subject.snapshot.name.as_str()),
        ("MIRRORCTL_PATH", &path),
        ("MIRRORCTL_PRODUCTION", production.unwrap_or_default()),
    ];
    environment.extend(commands.home.map(|home| ("HOME", home)));
    let difference = commands.difference.map(Path::to_string_lossy);
    environment.push(("MIRRORCTL_DIFF", difference.as_deref().unwrap_or_default()));
    let program = Program {
        argv: &["/bin/sh", "-c", line],
        environment: &environment,
        directory: Path::new("/"),
        input: &[],
        limit: commands.limit,
        keep: KEEP,
    };
    tracing::info!("Running {line}");
    let ended = match operator::run(&program, commands.stop) {
        Ok(ended) => ended,
        Err(error) => {
            let mut problems = Problems::default();
            problems.add(in_one_line(&error));
            return Check::of(name, format!("{line}: cannot be run"), problems);
        }
    };
    let how = match ended.end {
        End::Exited(0) => "succeeded".to_owned(),
        End::Exited(code) => format!("ended with code {code}"),
        End::Killed(signal) => format!("was ended by signal {signal}"),
        End::TimedOut => format!("was ended, as it took more than {} seconds", commands.limit.as_secs()),
        End::Stopped => "was interrupted".to_owned(),
    };
    let output = String::from_utf8_lossy(&ended.output);
    let mut check = Check {
        name: name.to_owned(),
        outcome: if ended.succeeded() {
            Outcome::Passed
        } else {
            Outcome::Failed
        },
        text: format!("{line}: {how}"),
        details: output.lines().map(str::to_owned).collect(),
        more: ended.forgotten.lines,
    };
    if let Err(why) = (commands.is_there)() {
        let name = &subject.snapshot.name;
        let why = format!("it may have read something else than snapshot {name}: {why}");
        check.outcome = Outcome::Failed;
        check.text.push_str(", and counts for nothing");
        check.details.insert(0, why);
    }
    check
}

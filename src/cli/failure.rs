//! How a command fails: kind, cause and hints, and the exit code of each kind.
//!
//! Owns [`Kind`], the documented table of exit codes (`docs/cli.md`), and [`Failure`] with both of its renderings. It
//! prints nothing (see `output`).

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use super::disk::Trouble;
use super::text::visible;
use crate::config::{ConfigError, LoadError, Origin};
use crate::model::MirrorId;

/// Most problems that are listed to people, who correct them from the top; programs get all.
const MOST_LISTED: usize = 20;

/// What kind of failure; each has its exit code. Success is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything that has no kind of its own.
    Failed,
    /// The command line cannot be understood, or names what the configuration does not have.
    Usage,
    /// Somebody else holds a lock that is needed.
    Busy,
    /// A rule forbids it, such as one that protects production.
    Refused,
    /// What upstream serves cannot be verified.
    Unverifiable,
    /// Some of several mirrors failed, the others are done.
    Partial,
    /// A move is recorded, but a running mount has not confirmed it.
    NotVisible,
    /// Upstream cannot be reached or has trouble: the same command may well succeed later.
    Unavailable,
    /// Something stored is damaged.
    Damaged,
    /// Ended by Ctrl-C (SIGINT), or with its terminal (SIGHUP).
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

impl Kind {
    /// Every kind, in the order of the exit codes.
    pub const ALL: [Self; 11] = [
        Self::Failed,
        Self::Usage,
        Self::Busy,
        Self::Refused,
        Self::Unverifiable,
        Self::Partial,
        Self::NotVisible,
        Self::Unavailable,
        Self::Damaged,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The exit code. 1 and 2 are everybody's; 130 and 143 are 128 + the number of the signal, as in shells.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Busy => 3,
            Self::Refused => 4,
            Self::Unverifiable => 5,
            Self::Partial => 6,
            Self::NotVisible => 7,
            Self::Unavailable => 8,
            Self::Damaged => 9,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The kind with this word in JSON.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The word for it in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Unverifiable => "unverifiable",
            Self::Partial => "partial",
            Self::NotVisible => "not-visible",
            Self::Unavailable => "unavailable",
            Self::Damaged => "damaged",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }
}

/// Why a command failed, and what its user can do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    problems: Vec<Problem>,
    hints: Vec<String>,
    /// What of this machine it goes back to, until that is explained.
    trouble: Option<Trouble>,
}

/// One of several things that went wrong in one command.
#[derive(Debug, Clone, PartialEq)]
struct Problem {
    text: String,
    detail: Value,
}

impl Failure {
    /// A failure that `message` says all about.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            problems: Vec::new(),
            hints: Vec::new(),
            trouble: None,
        }
    }

    /// A failure with an error's message, and the errors it goes back to as causes.
    #[must_use]
    pub fn caused(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        Self {
            causes: causes.map(ToString::to_string).collect(),
            trouble: Trouble::behind(error),
            ..Self::new(kind, error.to_string())
        }
    }

    /// This failure with a further hint: what to do, in the imperative.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// This failure with a further cause, behind those that it has.
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// This failure as one of another kind.
    pub(super) fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Whether it goes back to a trouble of this machine that was not explained yet.
    pub(super) fn has_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// The trouble of this machine that it goes back to, for whoever explains it.
    pub(super) fn take_trouble(&mut self) -> Option<Trouble> {
        self.trouble.take()
    }

    /// This failure with one of several things that went wrong: `text` for people, `detail` for programs.
    #[must_use]
    pub fn problem(mut self, text: impl Into<String>, detail: Value) -> Self {
        self.problems.push(Problem {
            text: text.into(),
            detail,
        });
        self
    }

    /// Success, or the first failure, with what else went wrong. That somebody stopped the command goes first.
    ///
    /// # Errors
    /// When there is a failure.
    pub fn of_several(failures: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        let mut failures: Vec<Self> = failures.into_iter().collect();
        failures.sort_by_key(|failure| !matches!(failure.kind, Kind::Interrupted | Kind::Terminated));
        let mut failures = failures.into_iter();
        let Some(first) = failures.next() else {
            return Ok(());
        };
        Err(failures.fold(first, |first, further| {
            first.problem(further.in_one_line(), further.json())
        }))
    }

    /// This failure with a message that names the mirror it is about.
    #[must_use]
    pub fn about(mut self, mirror: &MirrorId) -> Self {
        let of_no_id = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !self.message.split(of_no_id).any(|word| word == mirror.as_str()) {
            self.message.insert_str(0, &format!("{mirror}: "));
        }
        self
    }

    /// What failed, without causes and hints.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What failed and why, in one line.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        std::iter::once(&self.message)
            .chain(&self.causes)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(": ")
    }

    /// What its user can do.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The text for people, made visible. With `detailed`, also what a report of the failure needs.
    pub(super) fn human(&self, detailed: bool) -> String {
        let mut text = format!("error: {}\n", visible(&self.message));
        let mut line = |label: &str, line: &str| {
            writeln!(text, "  {label}{}", visible(line)).expect("a String takes all");
        };
        let listed = match self.problems.len() {
            // One line more takes no more place than saying that there is one.
            all if all <= MOST_LISTED + 1 => all,
            _ => MOST_LISTED,
        };
        self.problems[..listed]
            .iter()
            .for_each(|problem| line("", &problem.text));
        if let more @ 1.. = self.problems.len() - listed {
            line("", &format!("and {more} more (--json lists all)"));
        }
        self.causes.iter().for_each(|cause| line("caused by: ", cause));
        self.hints.iter().for_each(|hint| line("hint: ", hint));
        if detailed {
            line("kind: ", self.kind.name());
            line("exit code: ", &self.kind.exit_code().to_string());
            line("version: ", env!("CARGO_PKG_VERSION"));
        }
        text
    }

    /// The object for programs.
    pub(in crate::cli) fn json(&self) -> Value {
        let mut object = json!({
            "kind": self.kind.name(),
            "exit_code": self.kind.exit_code(),
            "message": self.message,
            "causes": self.causes,
            "hints": self.hints,
        });
        if !self.problems.is_empty() {
            object["problems"] = self.problems.iter().map(|problem| problem.detail.clone()).collect();
        }
        object
    }
}

/// Reads what [`Failure::json`] wrote, in another process of this program; `None` for anything else.
pub(super) fn from_json(error: &Value) -> Option<Failure> {
    let texts = |member: &str| -> Option<Vec<String>> {
        let texts = error[member].as_array()?.iter();
        texts.map(|text| text.as_str().map(str::to_owned)).collect()
    };
    Some(Failure {
        causes: texts("causes")?,
        hints: texts("hints")?,
        ..Failure::new(Kind::named(error["kind"].as_str()?)?, error["message"].as_str()?)
    })
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let failure = Self::caused(Kind::Failed, &error);
        match error {
            LoadError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                failure.hint("write it, or name another file with -c")
            }
            LoadError::Unreadable { .. } | LoadError::TooLarge { .. } => failure.hint("name another file with -c"),
            LoadError::Invalid(errors) => errors.errors.iter().fold(failure, |failure, error| {
                failure.problem(error.to_string(), detail(error))
            }),
        }
    }
}

fn detail(error: &ConfigError) -> Value {
    let mut detail = json!({ "key": error.key, "message": error.message, "hint": error.hint });
    match &error.origin {
        Origin::File { path, line, column } => {
            detail["file"] = path.to_string_lossy().into();
            detail["line"] = (*line).into();
            detail["column"] = (*column).into();
        }
        Origin::Variable(name) => detail["variable"] = (*name).into(),
    }
    detail
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_own_code_and_name() {
        let codes: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.exit_code()).collect();
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!((codes.len(), names.len()), (Kind::ALL.len(), Kind::ALL.len()));
        assert!(!codes.contains(&0));
    }

    #[test]
    fn the_documentation_has_the_table() {
        let documentation = include_str!("../../docs/cli.md");
        for kind in Kind::ALL {
            let row = format!("| {} | `{}` |", kind.exit_code(), kind.name());
            assert!(documentation.contains(&row), "{row}");
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the catalog")]
    struct Outer(#[source] io::Error);

    #[test]
    fn both_renderings_have_causes_and_hints() {
        let error = Outer(io::Error::other("disk on fire"));
        let failure = Failure::caused(Kind::Busy, &error).hint("wait");
        assert_eq!(
            failure.human(false),
            "error: cannot open the catalog\n  caused by: disk on fire\n  hint: wait\n"
        );
        assert_eq!(
            failure.human(true).lines().skip(3).collect::<Vec<_>>(),
            [
                "  kind: busy".to_owned(),
                "  exit code: 3".to_owned(),
                format!("  version: {}", env!("CARGO_PKG_VERSION"))
            ]
        );
        assert_eq!(
            failure.json(),
            json!({
                "kind": "busy", "exit_code": 3, "message": "cannot open the catalog",
                "causes": ["disk on fire"], "hints": ["wait"],
            })
        );
    }

    #[test]
    fn a_failure_survives_the_way_between_processes() {
        for kind in Kind::ALL {
            let error = Outer(io::Error::other("disk on fire"));
            let failure = Failure::caused(kind, &error).hint("wait").hint("or go");
            assert_eq!(from_json(&failure.json()), Some(failure));
        }
        for other in [
            json!({}),
            json!(null),
            json!({ "kind": "odd", "message": "m", "causes": [], "hints": [] }),
        ] {
            assert_eq!(from_json(&other), None, "{other}");
        }
    }

    #[test]
    fn a_failure_names_its_mirror_once() {
        let about = |message: &str| Failure::new(Kind::Failed, message).about(&"a-b".parse().expect("valid"));
        assert_eq!(about("a file is missing").message(), "a-b: a file is missing");
        assert_eq!(about("no a-b-c").message(), "a-b: no a-b-c");
        assert_eq!(
            about("snapshot x of a-b is held").message(),
            "snapshot x of a-b is held"
        );
    }

    #[test]
    fn problems_are_listed() {
        let failure = Failure::new(Kind::Partial, "2 mirrors failed")
            .problem("a: gone", json!({ "mirror": "a" }))
            .problem("b: gone", json!({ "mirror": "b" }));
        assert_eq!(failure.human(false), "error: 2 mirrors failed\n  a: gone\n  b: gone\n");
        assert_eq!(failure.json()["problems"][1]["mirror"], "b");
    }

    #[test]
    fn people_get_the_first_of_many_problems_and_programs_all() {
        for (count, lines) in [(20, 20), (21, 21), (22, 21), (30_000, 21)] {
            let failure = (0..count).fold(Failure::new(Kind::Failed, "broken"), |failure, n| {
                failure.problem(format!("no. {n}"), json!(n))
            });
            let human = failure.human(false);
            assert_eq!(human.lines().count(), 1 + lines, "{count}");
            assert!(human.contains("  no. 19\n"));
            let rest = format!("  and {} more (--json lists all)\n", count.max(20) - 20);
            assert_eq!(human.ends_with(&rest), count > 21, "{human}");
            assert_eq!(failure.json()["problems"].as_array().map(Vec::len), Some(count));
        }
    }
}

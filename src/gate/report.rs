//! What a test found.
//!
//! Owns the values that a report is made of, and the limit of what it tells in detail. They are kept as JSON with the
//! snapshot, so their members are a format (`docs/cli.md`).

use serde::{Deserialize, Serialize};

/// Most details of one check that are told; the rest is counted. Whoever mends fifty has others to look at anew.
const MOST_DETAILS: usize = 50;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Passed,
    /// Something is not.
    Failed,
    /// It was not made, and the text says why.
    Skipped,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it found, in one sentence.
    pub text: String,
    /// Each thing that is wrong, or the output of a command.
    pub details: Vec<String>,
    /// Number of further details that are not told: the last ones, but the first ones of a command's output.
    pub more: u64,
}

impl Check {
    /// A check that found what is in `problems`: none means that it passed.
    pub(super) fn of(name: &str, text: impl Into<String>, problems: Problems) -> Self {
        Self {
            name: name.to_owned(),
            outcome: if problems.total == 0 {
                Outcome::Passed
            } else {
                Outcome::Failed
            },
            text: text.into(),
            more: problems.total - problems.told.len() as u64,
            details: problems.told,
        }
    }

    /// A check that was not made.
    pub(super) fn skipped(name: &str, why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Skipped,
            ..Self::of(name, why, Problems::default())
        }
    }
}

/// Things that are wrong, of which the first are told.
#[derive(Debug, Clone, Default)]
pub(super) struct Problems {
    told: Vec<String>,
    total: u64,
}

impl Problems {
    pub(super) fn add(&mut self, problem: impl Into<String>) {
        self.total += 1;
        if self.told.len() < MOST_DETAILS {
            self.told.push(problem.into());
        }
    }

    /// Adds all of `others`.
    pub(super) fn append(&mut self, others: Self) {
        self.total += others.total;
        self.told.extend(others.told);
        self.told.truncate(MOST_DETAILS);
    }

    pub(super) fn count(&self) -> u64 {
        self.total
    }
}

/// An error with all that caused it, in one line.
pub(super) fn in_one_line(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What a test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every file was read and hashed again.
    pub deep: bool,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether no check failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.outcome != Outcome::Failed)
    }

    /// Names of the checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        let failed = self.checks.iter().filter(|check| check.outcome == Outcome::Failed);
        failed.map(|check| check.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_is_counted() {
        let mut problems = Problems::default();
        assert_eq!(Check::of("a", "text", Problems::default()).outcome, Outcome::Passed);
        for number in 0..60 {
            problems.add(format!("{number}"));
        }
        let check = Check::of("a", "text", problems);
        assert_eq!(
            (check.outcome, check.details.len(), check.more),
            (Outcome::Failed, 50, 10)
        );
        let skipped = Check::skipped("b", "why");
        let report = |checks: Vec<Check>| Report { deep: false, checks };
        assert!(report(vec![skipped.clone()]).passed());
        let failed = report(vec![skipped, check]);
        assert!(!failed.passed());
        assert_eq!(failed.failed().collect::<Vec<_>>(), ["a"]);
    }
}

//! What a test of a snapshot found: as it is told, as it is kept, and as it is shown again.
//!
//! Owns the form of the report for people and for programs, and the version of what is kept with the snapshot. It tests
//! nothing.

use serde::{Deserialize, Serialize};

use crate::catalog::{CatalogReader, SnapshotRecord, TestRun};
use crate::cli::context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Align, Human, Page, Table};
use crate::cli::text::utc;
use crate::config::MirrorSettings;
use crate::gate::{Check, Outcome, Report};
use crate::model::Pointer;
use crate::publish::{self, Mover};

/// The version of what is kept with a snapshot.
const VERSION: u32 = 1;

/// A test, as it is told.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Test {
    pub(super) mirror: String,
    pub(super) snapshot: String,
    production: Option<String>,
    started: String,
    ended: String,
    actor: String,
    pub(super) passed: bool,
    deep: bool,
    checks: Vec<Check>,
}

/// What is kept of a test beside what the catalog knows of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    /// The snapshot that was in production; not known of older tests.
    #[serde(default)]
    production: Option<String>,
    deep: bool,
    checks: Vec<Check>,
}

impl Kept {
    pub(super) fn of(report: Report, production: Option<&SnapshotRecord>) -> Self {
        Self {
            version: VERSION,
            production: production.map(|production| production.name.to_string()),
            deep: report.deep,
            checks: report.checks,
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("lists and texts can be written")
    }

    /// Reads what [`Kept::json`] wrote.
    fn parse(text: &str) -> Result<Self, String> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let in_words = |error: serde_json::Error| error.to_string();
        match serde_json::from_str(text).map_err(in_words)? {
            Version { version: VERSION } => serde_json::from_str(text).map_err(in_words),
            Version { version } => Err(format!("it has version {version}, and this mirrorctl knows {VERSION}")),
        }
    }
}

impl Test {
    /// The test that is recorded as `run`, of which `kept` is kept.
    pub(super) fn of(snapshot: &SnapshotRecord, run: TestRun, kept: Kept) -> Self {
        Self {
            mirror: snapshot.mirror.to_string(),
            snapshot: snapshot.name.to_string(),
            production: kept.production,
            started: utc(run.started_at),
            ended: utc(run.ended_at),
            actor: run.actor,
            passed: run.passed,
            deep: kept.deep,
            checks: kept.checks,
        }
    }

    /// The failure that it is, unless everything passed.
    pub(super) fn failure(&self) -> Option<Failure> {
        let Self { mirror, snapshot, .. } = self;
        let failed = self.checks.iter().filter(|check| check.outcome == Outcome::Failed);
        let failed: Vec<&str> = failed.map(|check| check.name.as_str()).collect();
        (!self.passed).then(|| {
            let message = format!("snapshot {snapshot} of {mirror} has not passed: {}", failed.join(", "));
            Failure::new(Kind::Refused, message).hint("production is as it was; the report says what is wrong")
        })
    }
}

impl Human for Test {
    fn human(&self, page: &mut Page) {
        let verdict = if self.passed { "passed" } else { "failed" };
        page.line(format!("{}: snapshot {} has {verdict}", self.mirror, self.snapshot));
        let mut table = Table::bare(&[Align::Left, Align::Left, Align::Left]);
        for check in &self.checks {
            table.row([check.outcome.name().to_owned(), check.name.clone(), check.text.clone()]);
        }
        page.table(&table);
        for check in self.checks.iter().filter(|check| check.outcome == Outcome::Failed) {
            for detail in &check.details {
                page.line(format!("{}: {detail}", check.name));
            }
            if check.more > 0 {
                page.line(format!("{}: {} more are not told", check.name, check.more));
            }
        }
    }
}

/// The last test of a snapshot, as it is shown again.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    test: Test,
    /// What the snapshot lacks to be promoted now, by itself.
    lacking: Option<String>,
}

impl Shown {
    /// What is recorded of the last test of `snapshot`.
    ///
    /// # Errors
    /// When there was none, or it cannot be read.
    pub(super) fn of(
        reader: &CatalogReader,
        mirror: &MirrorSettings,
        snapshot: &SnapshotRecord,
    ) -> Result<Self, Failure> {
        let what = format!("snapshot {} of {}", snapshot.name, mirror.id);
        let again = format!("run mirrorctl snapshot test {} {}", mirror.id, snapshot.name);
        let Some(run) = reader.last_test(snapshot.row)? else {
            return Err(Failure::new(Kind::Failed, format!("{what} has not been tested")).hint(again));
        };
        let kept = Kept::parse(&run.report).map_err(|why| {
            let message = format!("what the last test of {what} found cannot be read: {why}");
            Failure::new(Kind::Failed, message).hint(again)
        })?;
        let mover = Mover {
            mirror: mirror.id.clone(),
            terms: mirror.terms(&Pointer::Current),
            expect: None,
        };
        let aims = [(mover, snapshot.name.clone())];
        let lacking = publish::lacking(reader, &aims, context::now())?.swap_remove(0);
        Ok(Self {
            test: Test::of(snapshot, run, kept),
            lacking: lacking.map(|lacking| lacking.to_string()),
        })
    }
}

impl Human for Shown {
    fn human(&self, page: &mut Page) {
        self.test.human(page);
        let Test { started, actor, .. } = &self.test;
        page.line(format!("tested at {started} by {actor}"));
        if let Some(lacking) = self.lacking.as_ref().filter(|_| self.test.passed) {
            page.line(format!("it counts for nothing now: the snapshot {lacking}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_newer_is_not_guessed() {
        let older = r#"{"version":1,"deep":true,"checks":[{"name":"a","outcome":"skipped","text":"t","details":["d"],"more":2}]}"#;
        let kept = Kept::parse(older).expect("valid");
        assert_eq!((kept.production.as_deref(), kept.deep), (None, true));
        assert_eq!((kept.checks[0].outcome, kept.checks[0].more), (Outcome::Skipped, 2));
        assert_eq!(Kept::parse(&kept.json()).expect("valid").checks, kept.checks);
        for (text, why) in [
            (r#"{"version":2}"#, "it has version 2, and this mirrorctl knows 1"),
            (r#"{"version":1}"#, "missing field"),
            ("", "EOF"),
        ] {
            let error = Kept::parse(text).err().expect("is refused");
            assert!(error.contains(why), "{error}");
        }
    }
}

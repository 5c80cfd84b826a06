//! Testing a snapshot, as `snapshot test` and `sync --promote-if-tested` do it.
//!
//! Owns the step from settings to a test, its recording, and the form of its report for people and for programs. What is
//! checked is `gate`'s.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::blobs::BlobStore;
use crate::catalog::{Catalog, CatalogError, CatalogReader, SnapshotRecord, SnapshotRow, TestRun};
use crate::cli::context::{self, Context};
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Align, Page, Table};
use crate::cli::security;
use crate::cli::text::utc;
use crate::compare::{self, Side};
use crate::config::{MirrorSettings, TestSettings};
use crate::control;
use crate::gate::{self, Check, Commands, Companion, Outcome, Rules, Subject, Trust};
use crate::model::{MirrorId, Pointer};
use crate::signature::Signer;

/// The version of the report that is kept with a snapshot.
const VERSION: u32 = 1;

/// How to test.
pub(super) struct Testing<'a> {
    pub(super) context: &'a Context,
    pub(super) blobs: &'a BlobStore,
    /// Whether every file is read and hashed again.
    pub(super) deep: bool,
    /// The companions that are read as they are staged; the others as they are in production.
    pub(super) staged: &'a dyn Fn(&MirrorId) -> bool,
    /// Whether the operator wishes to stop.
    pub(super) stop: &'a dyn Fn() -> bool,
}

/// A test, as it is told.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Test {
    pub(super) mirror: String,
    pub(super) snapshot: String,
    production: Option<String>,
    started: String,
    ended: String,
    pub(super) passed: bool,
    deep: bool,
    checks: Vec<Check>,
}

impl Testing<'_> {
    /// Tests a snapshot of a mirror, and records the result with it; `None` when it was stopped before its end, of which
    /// nothing is recorded.
    pub(super) fn test(
        &self,
        catalog: &mut Catalog,
        mirror: &MirrorSettings,
        snapshot: &SnapshotRecord,
    ) -> Result<Option<Test>, Failure> {
        tracing::info!("Testing snapshot {} of {}", snapshot.name, mirror.id);
        let started = context::now();
        let production = current(catalog.reader(), &mirror.id)?;
        let subject = Subject {
            mirror: &mirror.id,
            snapshot,
            production: production.as_ref(),
            trust: trust(mirror)?,
            rules: rules(&mirror.test),
            companions: self.companions(catalog.reader(), &mirror.test)?,
            deep: self.deep,
            now: started,
        };
        let mut report = gate::check(&subject, catalog.reader(), self.blobs)?;
        if !mirror.test.commands.is_empty() {
            let difference = difference(catalog.reader(), self.blobs, &subject);
            self.run_commands(&subject, &mirror.test, difference.as_ref(), &mut report);
        }
        if (self.stop)() {
            return Ok(None);
        }
        let ended = context::now();
        let kept = json!({ "version": VERSION, "deep": report.deep, "checks": report.checks });
        let run = TestRun {
            started_at: started,
            ended_at: ended,
            actor: self.context.actor.clone(),
            passed: report.passed(),
            report: kept.to_string(),
            company: company(&subject.companions),
        };
        catalog.record_test(snapshot.row, (&mirror.id, &snapshot.name), &run)?;
        Ok(Some(Test {
            mirror: mirror.id.to_string(),
            snapshot: snapshot.name.to_string(),
            production: production.map(|production| production.name.to_string()),
            started: utc(started),
            ended: utc(ended),
            passed: run.passed,
            deep: report.deep,
            checks: report.checks,
        }))
    }

    fn companions(&self, reader: &CatalogReader, settings: &TestSettings) -> Result<Vec<Companion>, CatalogError> {
        let companion = |mirror: &MirrorId| {
            let pointer = if (self.staged)(mirror) {
                Pointer::Staging
            } else {
                Pointer::Current
            };
            Companion::at(reader, mirror, &pointer)
        };
        settings.companions.iter().map(companion).collect()
    }

    fn run_commands(
        &self,
        subject: &Subject<'_>,
        settings: &TestSettings,
        difference: Option<&NamedTempFile>,
        report: &mut gate::Report,
    ) {
        let place = self.place(subject.mirror, subject.snapshot);
        let home = self.context.home.as_deref().and_then(Path::to_str);
        let commands = Commands {
            lines: &settings.commands,
            limit: settings.timeout,
            path: place.as_deref().map_err(String::as_str),
            home,
            difference: difference.map(NamedTempFile::path),
            stop: self.stop,
        };
        gate::run_commands(subject, &commands, report);
    }

    /// Where the snapshot can be read; or why not.
    fn place(&self, mirror: &MirrorId, snapshot: &SnapshotRecord) -> Result<PathBuf, String> {
        let Context { settings, run_dir, .. } = self.context;
        let dir = mirrorctl_mount::resolve(&settings.dir).unwrap_or_else(|_| settings.dir.clone());
        let live = control::mounts_of(run_dir, &settings.state).map_err(|error| error.to_string())?;
        if !live.iter().any(|mount| mount.is_at(&dir)) {
            return Err(format!(
                "nothing is mounted at {}, where the command would find the snapshot: run mirrorctl mount",
                dir.display()
            ));
        }
        let of_mirror = settings.dir.join(mirror.as_str());
        Ok(if snapshot.is_staged() {
            of_mirror.join("staging")
        } else {
            of_mirror.join("snapshots").join(snapshot.name.as_str())
        })
    }
}

/// What there was of the companions, as it is recorded.
fn company(companions: &[Companion]) -> Vec<(MirrorId, Option<SnapshotRow>)> {
    let row = |companion: &Companion| companion.there.as_ref().map(|there| there.snapshot_row);
    let of = |companion: &Companion| (companion.mirror.clone(), row(companion));
    let company: BTreeMap<_, _> = companions.iter().map(of).collect();
    company.into_iter().collect()
}

/// A file with what leads from production to the snapshot, as `snapshot diff --files` tells it; `None` without production.
/// An archive that cannot be compared has failed already.
fn difference(reader: &CatalogReader, blobs: &BlobStore, subject: &Subject<'_>) -> Option<NamedTempFile> {
    let production = subject.production?;
    let written = || -> Result<NamedTempFile, Failure> {
        let side = |snapshot: &SnapshotRecord| Side::named(reader, subject.mirror, &snapshot.name);
        let (from, to) = (side(production)?, side(subject.snapshot)?);
        let difference = compare::compare(reader, blobs, subject.mirror, &from, &to, true)?;
        let file = NamedTempFile::new().and_then(|file| {
            serde_json::to_writer(BufWriter::new(&file), &difference)?;
            Ok(file)
        });
        file.map_err(|error| Failure::new(Kind::Failed, format!("it cannot be written: {error}")))
    };
    match written() {
        Ok(file) => Some(file),
        Err(failure) => {
            tracing::warn!("Commands get no difference from production: {}", failure.in_one_line());
            None
        }
    }
}

/// The snapshot that `pointer` of a mirror leads to.
pub(super) fn pointed(
    reader: &CatalogReader,
    mirror: &MirrorId,
    pointer: &Pointer,
) -> Result<Option<SnapshotRecord>, CatalogError> {
    let row = reader.mirror(mirror)?;
    let leads_there = |snapshot: &SnapshotRecord| snapshot.pointers.contains(pointer);
    Ok(reader.snapshots(row)?.into_iter().find(leads_there))
}

fn current(reader: &CatalogReader, mirror: &MirrorId) -> Result<Option<SnapshotRecord>, CatalogError> {
    pointed(reader, mirror, &Pointer::Current)
}

/// Whose signatures count for what a mirror serves: its own, where it signs rebuilt indices.
fn trust(mirror: &MirrorSettings) -> Result<Trust, Failure> {
    if let Some(key) = &mirror.filters.signing_key {
        let signer = Signer::load(key, context::now())?;
        return Ok(Trust::Keyring(Arc::new(signer.keyring()?)));
    }
    if mirror.no_pgp_check {
        return Ok(Trust::Unchecked);
    }
    Ok(Trust::Keyring(Arc::new(security::keyring(mirror)?)))
}

fn rules(settings: &TestSettings) -> Rules {
    Rules {
        min_packages: settings.min_packages,
        max_shrink: settings.max_shrink,
        min_validity: settings.min_validity,
    }
}

impl Test {
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

    /// Writes it for people.
    pub(super) fn tell(&self, page: &mut Page) {
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
                page.line(format!("{}: and {} more", check.name, check.more));
            }
        }
    }
}

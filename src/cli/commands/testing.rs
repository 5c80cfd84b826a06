//! Testing a snapshot, as `snapshot test` and `sync --promote-if-tested` do it.
//!
//! Owns the step from settings to a test, and its recording. What is checked is `gate`'s, and the form of what was found
//! `test_report`'s.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::place::Place;
use super::test_report::{Kept, Test};
use crate::blobs::BlobStore;
use crate::catalog::{Catalog, CatalogError, CatalogReader, SnapshotRecord, SnapshotRow, TestRun};
use crate::cli::context::{self, Context};
use crate::cli::failure::{Failure, Kind};
use crate::cli::security;
use crate::compare::{self, Side};
use crate::config::{MirrorSettings, TestSettings};
use crate::gate::{self, Commands, Companion, Rules, Subject, Trust};
use crate::model::{MirrorId, Pointer};
use crate::signature::Signer;

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
            suites: &mirror.suites,
            rules: rules(&mirror.test),
            companions: self.companions(catalog.reader(), &mirror.test)?,
            deep: self.deep,
            now: started,
        };
        let Some(mut report) = gate::check(&subject, catalog.reader(), self.blobs, self.stop)? else {
            return Ok(None);
        };
        if !mirror.test.commands.is_empty() {
            self.run_commands(&subject, &mirror.test, catalog.reader(), &mut report);
        }
        if (self.stop)() {
            return Ok(None);
        }
        let passed = report.passed();
        let kept = Kept::of(report, production.as_ref());
        let run = TestRun {
            started_at: started,
            ended_at: context::now(),
            actor: self.context.actor.clone(),
            passed,
            report: kept.json(),
            company: company(&subject.companions),
        };
        record(catalog, snapshot, &run)?;
        Ok(Some(Test::of(snapshot, run, kept)))
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
        reader: &CatalogReader,
        report: &mut gate::Report,
    ) {
        let difference = difference(reader, self.blobs, subject);
        let place = Place::find(self.context, reader, subject.snapshot);
        let is_there = || place.as_ref().map_or(Ok(()), |place| place.is_still_there(reader));
        let commands = Commands {
            lines: &settings.commands,
            limit: settings.timeout,
            path: place.as_ref().map(|place| place.path.as_path()).map_err(String::as_str),
            is_there: &is_there,
            home: self.context.home.as_deref().and_then(Path::to_str),
            difference: difference.as_ref().map(NamedTempFile::path),
            stop: self.stop,
        };
        gate::run_commands(subject, &commands, report);
    }
}

/// Records a run with the snapshot that was tested, whatever it is called by now.
fn record(catalog: &mut Catalog, snapshot: &SnapshotRecord, run: &TestRun) -> Result<(), Failure> {
    match catalog.record_test(snapshot.row, (&snapshot.mirror, &snapshot.name), run) {
        Err(CatalogError::UnknownSnapshot { mirror, name }) => {
            let message = format!("snapshot {name} of {mirror} was deleted while it was tested");
            Err(Failure::new(Kind::Failed, message).hint("no result is recorded"))
        }
        outcome => Ok(outcome?),
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

//! The gate before production: whether a snapshot is fit for it.
//!
//! Owns the checks, their order and their words. A check looks at one snapshot as it lies in the catalog and the cache, and
//! where that tells more, at production beside it; then come the operator's own commands. It moves no pointer and repairs
//! nothing: what follows from a result is for `catalog` and `publish`, which ask for it when a pointer moves.

mod commands;
mod counts;
mod files;
mod indices;
mod installable;
mod releases;
mod report;
mod tree;

use std::sync::Arc;
use std::time::Duration;

pub use commands::Commands;
pub use report::{Check, Outcome, Report};

use crate::blobs::BlobStore;
use crate::catalog::{CatalogError, CatalogReader, MirrorRow, MoveRecord, Seq, SnapshotRecord};
use crate::model::{MirrorId, Percent, Pointer, Suite, Timestamp};
use crate::signature::Keyring;
use indices::Packages;
use installable::{Archive, Comparison};
use report::Problems;
use tree::Tree;

/// A snapshot, and by what it is judged.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// Its mirror.
    pub mirror: &'a MirrorId,
    /// The snapshot.
    pub snapshot: &'a SnapshotRecord,
    /// What is in production, if anything.
    pub production: Option<&'a SnapshotRecord>,
    /// Whose signatures count.
    pub trust: Trust,
    /// The rules of the mirror.
    pub rules: Rules,
    /// The mirrors that clients use together with this one.
    pub companions: Vec<Companion>,
    /// Whether every file is read and hashed again.
    pub deep: bool,
    /// The time of day.
    pub now: Timestamp,
}

/// Whose signatures on Release files count.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those by a key of this keyring.
    Keyring(Arc<Keyring>),
    /// Nobody's: the operator switched the check off.
    Unchecked,
}

/// By what numbers a snapshot is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Fewest packages.
    pub min_packages: u64,
    /// Largest share of production's pool files that may be gone.
    pub max_shrink: Percent,
    /// How long clients must go on believing its Release files.
    pub min_validity: Duration,
}

/// A mirror that clients use together with another, and what there is of it: the same for a whole test, wherever its
/// pointers go meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// The mirror.
    pub mirror: MirrorId,
    /// What the snapshot is looked at with: nothing before the mirror was ever published.
    pub there: Option<MoveRecord>,
    /// What production is looked at with.
    pub production: Option<MoveRecord>,
}

impl Companion {
    /// The companion as `pointer` shows it, or as production does, where that leads nowhere.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn at(reader: &CatalogReader, mirror: &MirrorId, pointer: &Pointer) -> Result<Self, CatalogError> {
        let mut companion = Self {
            mirror: mirror.clone(),
            there: None,
            production: None,
        };
        let row = match reader.mirror(mirror) {
            Err(CatalogError::UnknownMirror(_)) => return Ok(companion),
            found => found?,
        };
        companion.production = reader.pointer(row, &Pointer::Current)?;
        let there = reader.pointer(row, pointer)?;
        companion.there = there.or_else(|| companion.production.clone());
        Ok(companion)
    }

    fn is_as_in_production(&self) -> bool {
        let seq = |there: &Option<MoveRecord>| there.as_ref().map(|there| there.seq);
        seq(&self.there) == seq(&self.production)
    }
}

/// Makes the checks that mirrorctl has itself.
///
/// # Errors
/// When the catalog cannot be read. Whatever is wrong with the snapshot is in the report.
pub fn check(subject: &Subject<'_>, reader: &CatalogReader, blobs: &BlobStore) -> Result<Report, CatalogError> {
    let mirror = reader.mirror(subject.mirror)?;
    let tree = Tree::of(reader, blobs, (mirror, subject.snapshot.seq))?;
    let suites = suites(reader, (mirror, subject.snapshot.seq))?;
    let (releases, signatures) = releases::check(subject, &tree, &suites);
    let validity = releases::validity(&releases, subject.rules.min_validity, subject.now);
    let what = (subject.deep, subject.snapshot.absent);
    let (packages, [indices, listing]) = indices::check(&releases, &tree, reader, what)?;
    let cache = files::check(&tree, subject.deep);
    let counts = counts(subject, reader, mirror, packages.listed)?;
    let installability = installability(subject, reader, blobs, packages)?;
    Ok(Report {
        deep: subject.deep,
        checks: vec![signatures, validity, indices, listing, cache, counts, installability],
    })
}

/// Runs the operator's commands, and adds what became of them to `report`.
pub fn run_commands(subject: &Subject<'_>, commands: &Commands<'_>, report: &mut Report) {
    report.checks.extend(commands::check(subject, commands));
}

fn suites(reader: &CatalogReader, (mirror, seq): (MirrorRow, Seq)) -> Result<Vec<Suite>, CatalogError> {
    let releases = reader.releases(mirror, seq)?;
    Ok(releases.into_iter().map(|facts| facts.suite).collect())
}

fn counts(
    subject: &Subject<'_>,
    reader: &CatalogReader,
    mirror: MirrorRow,
    packages: u64,
) -> Result<Check, CatalogError> {
    let files = reader.pool_files(mirror, subject.snapshot.seq)?;
    let production = subject
        .production
        .map(|snapshot| reader.pool_files(mirror, snapshot.seq));
    Ok(counts::check(packages, files, production.transpose()?, &subject.rules))
}

fn installability(
    subject: &Subject<'_>,
    reader: &CatalogReader,
    blobs: &BlobStore,
    packages: Packages,
) -> Result<Check, CatalogError> {
    let name = "installability";
    let Some(production) = subject.production else {
        return Ok(Check::skipped(name, "nothing is in production to compare with"));
    };
    if production.seq == subject.snapshot.seq && subject.companions.iter().all(Companion::is_as_in_production) {
        return Ok(Check::skipped(name, "it is what production has"));
    }
    let mut unreadable = Problems::default();
    let now = archives(
        (reader, blobs),
        packages,
        subject,
        |companion| &companion.there,
        &mut unreadable,
    )?;
    let broken = now.each_ref().map(Archive::broken);
    let mut comparisons = Vec::new();
    if broken.iter().any(|broken| !broken.is_empty()) {
        // Most snapshots are no worse than production: it is looked at only if need be.
        let mirror = reader.mirror(subject.mirror)?;
        let of = (subject.mirror, (mirror, production.seq));
        let before = packages_of((reader, blobs), of, &mut unreadable)?;
        let before = archives(
            (reader, blobs),
            before,
            subject,
            |companion| &companion.production,
            &mut unreadable,
        )?;
        for ((now, broken), before) in now.iter().zip(broken).zip(&before) {
            comparisons.push(Comparison::of(now, broken, before));
        }
    }
    if unreadable.count() > 0 {
        let text = "what the snapshot is compared with cannot be read";
        return Ok(Check::of(name, text, unreadable));
    }
    Ok(Comparison::check(comparisons))
}

/// `own` packages with those that companions have `at` some place: the ordinary ones, and those of the installer.
fn archives(
    (reader, blobs): (&CatalogReader, &BlobStore),
    own: Packages,
    subject: &Subject<'_>,
    at: impl Fn(&Companion) -> &Option<MoveRecord>,
    unreadable: &mut Problems,
) -> Result<[Archive; 2], CatalogError> {
    let mut archives = [own.binaries, own.of_installer].map(Archive::new);
    for companion in &subject.companions {
        let Some(there) = at(companion) else { continue };
        let mirror = reader.mirror(&companion.mirror)?;
        let of = (&companion.mirror, (mirror, there.seq));
        let found = packages_of((reader, blobs), of, unreadable)?;
        archives[0].packages.extend(found.binaries);
        archives[1].packages.extend(found.of_installer);
    }
    Ok(archives)
}

/// The packages of a listing of the mirror `id`; what of it cannot be read is added to `unreadable`.
fn packages_of(
    (reader, blobs): (&CatalogReader, &BlobStore),
    (id, (mirror, seq)): (&MirrorId, (MirrorRow, Seq)),
    unreadable: &mut Problems,
) -> Result<Packages, CatalogError> {
    let tree = Tree::of(reader, blobs, (mirror, seq))?;
    let releases = releases::read(&tree, &suites(reader, (mirror, seq))?);
    Ok(indices::packages(&releases, &tree, |what| {
        unreadable.add(format!("{id}: {what}"));
    }))
}

#[cfg(test)]
mod tests;

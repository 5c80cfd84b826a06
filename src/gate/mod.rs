//! The gate before production: whether a snapshot is fit for it.
//!
//! Owns the checks, their order and their words. A check looks at one snapshot as it lies in the catalog and the cache, and
//! where that tells more, at production beside it; then come the operator's own commands. It moves no pointer and repairs
//! nothing: what follows from a result is for `catalog` and `publish`, which ask for it when a pointer moves.

mod commands;
mod counts;
mod files;
mod halt;
mod indices;
mod installable;
mod releases;
mod report;
mod suites;
mod tree;

use std::sync::Arc;
use std::time::Duration;

pub use commands::Commands;
pub use report::{Check, Outcome, Report};

use crate::blobs::BlobStore;
use crate::catalog::{CatalogError, CatalogReader, MirrorRow, MoveRecord, Seq, SnapshotRecord};
use crate::model::{MirrorId, Percent, Pointer, Suite, Timestamp};
use crate::signature::Keyring;
use halt::{Halt, Stop};
use indices::{Binaries, Packages};
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
    /// The suites that the mirror is configured with.
    pub suites: &'a [Suite],
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
    /// Largest share of production's packages that may be gone.
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

/// Makes the checks that mirrorctl has itself; `None` when `stop` said so before their end.
///
/// # Errors
/// When the catalog cannot be read. Whatever is wrong with the snapshot is in the report.
pub fn check(
    subject: &Subject<'_>,
    reader: &CatalogReader,
    blobs: &BlobStore,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Report>, CatalogError> {
    let stores = Stores {
        reader,
        blobs,
        stop: Stop(stop),
    };
    match stores.check(subject) {
        Ok(report) => Ok(Some(report)),
        Err(Halt::Stopped) => Ok(None),
        Err(Halt::Catalog(error)) => Err(error),
    }
}

/// Runs the operator's commands, and adds what became of them to `report`.
pub fn run_commands(subject: &Subject<'_>, commands: &Commands<'_>, report: &mut Report) {
    report.checks.extend(commands::check(subject, commands));
}

/// What production has, as far as a snapshot is compared with it.
struct Before {
    seq: Seq,
    suites: Vec<Suite>,
    packages: Packages,
    /// What of its packages cannot be read.
    unreadable: Problems,
}

/// Where snapshots are read from, until somebody wishes to stop.
struct Stores<'a> {
    reader: &'a CatalogReader,
    blobs: &'a BlobStore,
    stop: Stop<'a>,
}

impl Stores<'_> {
    fn check(&self, subject: &Subject<'_>) -> Result<Report, Halt> {
        let Self { reader, blobs, stop } = *self;
        let mirror = reader.mirror(subject.mirror)?;
        let tree = Tree::of(reader, blobs, (mirror, subject.snapshot.seq))?;
        let suites = self.suites(mirror, subject.snapshot.seq)?;
        let (releases, signatures) = releases::check(subject, &tree, &suites);
        let validity = releases::validity(&releases, subject.rules.min_validity, subject.now);
        let what = (subject.deep, subject.snapshot.absent);
        let (packages, [indices, listing]) = indices::check(&releases, &tree, reader, what, stop)?;
        let cache = files::check(&tree, &reader.damaged_digests()?, subject.deep, stop)?;
        let before = subject
            .production
            .map(|production| self.before(subject, mirror, production));
        let before = before.transpose()?;
        let production = before.as_ref().map(|before| before.suites.as_slice());
        let suites = suites::check(&suites, production, subject.suites);
        let counts = counts::check(packages.count(), before.as_ref().map(Before::count), &subject.rules);
        let installability = self.installability(subject, packages, before)?;
        Ok(Report {
            deep: subject.deep,
            checks: vec![
                signatures,
                validity,
                suites,
                indices,
                listing,
                cache,
                counts,
                installability,
            ],
        })
    }

    fn before(&self, subject: &Subject<'_>, mirror: MirrorRow, production: &SnapshotRecord) -> Result<Before, Halt> {
        let mut unreadable = Problems::default();
        let of = (subject.mirror, (mirror, production.seq));
        Ok(Before {
            seq: production.seq,
            suites: self.suites(mirror, production.seq)?,
            packages: self.packages_of(of, &mut unreadable)?,
            unreadable,
        })
    }

    fn suites(&self, mirror: MirrorRow, seq: Seq) -> Result<Vec<Suite>, CatalogError> {
        let releases = self.reader.releases(mirror, seq)?;
        Ok(releases.into_iter().map(|facts| facts.suite).collect())
    }

    fn installability(&self, subject: &Subject<'_>, packages: Packages, before: Option<Before>) -> Result<Check, Halt> {
        let name = "installability";
        let Some(before) = before else {
            return Ok(Check::skipped(name, "nothing is in production to compare with"));
        };
        if before.seq == subject.snapshot.seq && subject.companions.iter().all(Companion::is_as_in_production) {
            return Ok(Check::skipped(name, "it is what production has"));
        }
        let mut unreadable = Problems::default();
        let now = self.archives(packages, subject, |companion| &companion.there, &mut unreadable)?;
        let mut doubtful = Vec::new();
        for archive in &now {
            doubtful.push(archive.doubtful(self.stop)?);
        }
        let mut comparisons = Vec::new();
        if doubtful.iter().any(|doubtful| !doubtful.is_empty()) {
            // Most snapshots are no worse than production: its companions are looked at only if need be.
            unreadable.append(before.unreadable);
            let before = self.archives(
                before.packages,
                subject,
                |companion| &companion.production,
                &mut unreadable,
            )?;
            for ((now, doubtful), before) in now.iter().zip(doubtful).zip(&before) {
                comparisons.push(Comparison::of(now, &doubtful, before, self.stop)?);
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
        &self,
        own: Packages,
        subject: &Subject<'_>,
        at: impl Fn(&Companion) -> &Option<MoveRecord>,
        unreadable: &mut Problems,
    ) -> Result<[Archive; 2], Halt> {
        let mut others = [Binaries::default(), Binaries::default()];
        for companion in &subject.companions {
            let Some(there) = at(companion) else { continue };
            let mirror = self.reader.mirror(&companion.mirror)?;
            let found = self.packages_of((&companion.mirror, (mirror, there.seq)), unreadable)?;
            others[0].append(found.binaries);
            others[1].append(found.of_installer);
        }
        let [others, of_installer] = others;
        Ok([
            Archive::of(own.binaries, others),
            Archive::of(own.of_installer, of_installer),
        ])
    }

    /// The packages of a listing of the mirror `id`; what of it cannot be read is added to `unreadable`.
    fn packages_of(
        &self,
        (id, (mirror, seq)): (&MirrorId, (MirrorRow, Seq)),
        unreadable: &mut Problems,
    ) -> Result<Packages, Halt> {
        let tree = Tree::of(self.reader, self.blobs, (mirror, seq))?;
        let releases = releases::read(&tree, &self.suites(mirror, seq)?);
        indices::packages(&releases, &tree, self.stop, |what| {
            unreadable.add(format!("{id}: {what}"));
        })
    }
}

impl Before {
    /// Number of its packages; or what of them cannot be read.
    fn count(&self) -> Result<u64, Problems> {
        if self.unreadable.count() > 0 {
            return Err(self.unreadable.clone());
        }
        Ok(self.packages.count())
    }
}

#[cfg(test)]
mod tests;

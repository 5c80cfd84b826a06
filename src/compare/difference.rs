//! The outcome of a comparison, and its form for programs.
//!
//! Owns [`Difference`] and what it consists of. The names that `Serialize` gives are described in `docs/cli.md`; the
//! command line and whoever hands a difference to an operator's program write the same.

use std::fmt;

use serde::{Serialize, Serializer};

use super::indices::Key;
use super::packages::Change;
use crate::apt::inventory::Build;
use crate::catalog::{FileChange, ReleaseFacts, Seq};
use crate::model::{MirrorId, Pointer, Role, SnapshotName, Suite, Timestamp};

/// What leads from one listing of a mirror to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The mirror.
    #[serde(serialize_with = "text")]
    pub mirror: MirrorId,
    /// Where it starts.
    pub from: Side,
    /// Where it leads.
    pub to: Side,
    /// Whether every file is the same.
    pub identical: bool,
    /// The packages of all suites, by what became of them.
    pub packages: Counts,
    /// The suites of either side, also unchanged ones: those for security first, then by name.
    pub suites: Vec<SuiteDifference>,
    /// The files.
    pub files: Files,
}

/// One of two listings that are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The snapshot.
    #[serde(serialize_with = "text")]
    pub snapshot: SnapshotName,
    /// The pointer by which it was named, if it was.
    #[serde(serialize_with = "optional_text")]
    pub pointer: Option<Pointer>,
    /// When it was made.
    #[serde(serialize_with = "text")]
    pub created: Timestamp,
    /// Its listing.
    #[serde(skip)]
    pub seq: Seq,
}

/// What differs in one suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SuiteDifference {
    /// The suite.
    #[serde(serialize_with = "text")]
    pub suite: Suite,
    /// Whether it is for security: `security` occurs in its path or in its Release file's Suite, Codename or Label.
    pub security: bool,
    /// What became of it.
    #[serde(rename = "change")]
    pub kind: SuiteKind,
    /// Date of its Release file on the first side.
    #[serde(serialize_with = "optional_text")]
    pub date_from: Option<Timestamp>,
    /// Date of its Release file on the second side.
    #[serde(serialize_with = "optional_text")]
    pub date_to: Option<Timestamp>,
    /// Number of its packages that differ.
    #[serde(flatten)]
    pub packages_by_kind: Counts,
    /// Bytes of its packages' files that the first side does not have at their paths.
    pub new_bytes: u64,
    /// Bytes of its packages' files that the second side does not have at their paths.
    pub gone_bytes: u64,
    /// Indices that only the second side has, such as `main/binary-arm64`.
    pub new_indices: Vec<String>,
    /// Indices that only the first side has.
    pub gone_indices: Vec<String>,
    /// The packages that differ: rebuilt, downgraded, removed, upgraded, added; in each by name.
    pub packages: Vec<Package>,
}

/// What became of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SuiteKind {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// Its packages differ.
    Changed,
    /// Its packages are the same; its Release file may be another one.
    Unchanged,
}

/// What became of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageKind {
    /// The same version has other content.
    Rebuilt,
    /// An older version took its place.
    Downgraded,
    /// A version is gone, and none took its place.
    Removed,
    /// A newer version took its place.
    Upgraded,
    /// A version came, and took no other's place.
    Added,
}

impl PackageKind {
    /// Every kind, in the order in which packages are listed: what may surprise first.
    pub const ALL: [Self; 5] = [
        Self::Rebuilt,
        Self::Downgraded,
        Self::Removed,
        Self::Upgraded,
        Self::Added,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rebuilt => "rebuilt",
            Self::Downgraded => "downgraded",
            Self::Removed => "removed",
            Self::Upgraded => "upgraded",
            Self::Added => "added",
        }
    }
}

/// A number of packages of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Same version, other content.
    pub rebuilt: u64,
    /// An older version now.
    pub downgraded: u64,
    /// Gone.
    pub removed: u64,
    /// A newer version now.
    pub upgraded: u64,
    /// New.
    pub added: u64,
}

impl Counts {
    /// The number of one kind.
    #[must_use]
    pub const fn of(&self, kind: PackageKind) -> u64 {
        match kind {
            PackageKind::Rebuilt => self.rebuilt,
            PackageKind::Downgraded => self.downgraded,
            PackageKind::Removed => self.removed,
            PackageKind::Upgraded => self.upgraded,
            PackageKind::Added => self.added,
        }
    }

    pub(super) fn with(mut self, kind: PackageKind) -> Self {
        match kind {
            PackageKind::Rebuilt => self.rebuilt += 1,
            PackageKind::Downgraded => self.downgraded += 1,
            PackageKind::Removed => self.removed += 1,
            PackageKind::Upgraded => self.upgraded += 1,
            PackageKind::Added => self.added += 1,
        }
        self
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            rebuilt: self.rebuilt + other.rebuilt,
            downgraded: self.downgraded + other.downgraded,
            removed: self.removed + other.removed,
            upgraded: self.upgraded + other.upgraded,
            added: self.added + other.added,
        }
    }
}

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// What became of it.
    #[serde(rename = "change")]
    pub kind: PackageKind,
    /// Its name.
    #[serde(rename = "package")]
    pub name: Box<str>,
    /// Its component; `None` in a flat repository.
    pub component: Option<Box<str>>,
    /// Whether it is a source package.
    pub source: bool,
    /// The architectures in whose indices this happened, sorted; of a source package and in a flat repository, none.
    pub architectures: Vec<Box<str>>,
    /// What the first side has.
    pub from: Option<Version>,
    /// What the second side has instead.
    pub to: Option<Version>,
    /// The newest other version of the package that both sides have.
    pub beside: Option<Box<str>>,
}

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version {
    /// The version.
    pub version: Box<str>,
    /// The architecture that it says it is for.
    pub architecture: Box<str>,
    /// Length of its files.
    pub bytes: u64,
    /// Their paths.
    pub files: Box<[Box<str>]>,
}

impl Package {
    pub(super) fn of(change: Change, key: &Key) -> Self {
        Self {
            kind: change.kind,
            name: change.name,
            component: key.component.clone(),
            source: key.of_sources,
            architectures: key.architecture.iter().cloned().collect(),
            from: change.before.map(Version::of),
            to: change.after.map(Version::of),
            beside: change.beside,
        }
    }

    /// What sorts packages, and what those of different indices have in common when they are one.
    fn identity(&self) -> impl Ord + '_ {
        let (component, beside) = (self.component.as_deref(), self.beside.as_deref());
        (
            self.kind,
            &*self.name,
            component,
            self.source,
            &self.from,
            &self.to,
            beside,
        )
    }
}

impl Version {
    fn of(build: Build) -> Self {
        Self {
            version: build.version,
            architecture: build.architecture,
            bytes: build.size,
            files: build.paths,
        }
    }
}

/// What differs in files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Files {
    /// Paths that only the second side has.
    pub added: u64,
    /// Paths that only the first side has.
    pub removed: u64,
    /// Paths that have other content on the second side.
    pub changed: u64,
    /// Bytes of the contents that only the second side has, each counted once.
    pub new_bytes: u64,
    /// Bytes of the contents that only the first side has, each counted once. They become free once nothing else has them.
    pub gone_bytes: u64,
    /// Those of the changed paths that indices name: such a file should never change, as clients may have one half of it.
    pub replaced: Vec<Box<str>>,
    /// Every path, sorted, if they were asked for.
    pub paths: Option<Vec<Path>>,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Path {
    /// The path, relative to the archive root.
    pub path: Box<str>,
    /// What became of it.
    #[serde(rename = "change")]
    pub kind: FileKind,
    /// Length of the file on the first side.
    pub bytes_from: Option<u64>,
    /// Length of the file on the second side.
    pub bytes_to: Option<u64>,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// It has other content.
    Changed,
}

impl Path {
    pub(super) fn of(change: FileChange) -> Self {
        Self {
            kind: file_kind(&change),
            bytes_from: change.before,
            bytes_to: change.after,
            path: change.path,
        }
    }
}

pub(super) fn file_kind(change: &FileChange) -> FileKind {
    match (change.before, change.after) {
        (None, _) => FileKind::Added,
        (_, None) => FileKind::Removed,
        (Some(_), Some(_)) => FileKind::Changed,
    }
}

/// Whether the change is one that no archive should make: another content under the name of a package's file.
pub(super) fn is_replaced(change: &FileChange) -> bool {
    change.role == Role::Pool && file_kind(change) == FileKind::Changed
}

/// Whether a suite is one of security updates, by what it is called.
pub(super) fn is_for_security(facts: &ReleaseFacts) -> bool {
    let named = [&facts.suite_field, &facts.codename, &facts.label];
    let names = named.into_iter().flatten().map(String::as_str);
    names
        .chain([facts.suite.as_str()])
        .any(|name| name.to_ascii_lowercase().contains("security"))
}

/// `packages` sorted, each once: one for all architectures is listed in the index of each.
pub(super) fn together(mut packages: Vec<Package>) -> Vec<Package> {
    packages.sort_by(|a, b| a.identity().cmp(&b.identity()));
    packages.dedup_by(|next, first| {
        let same = next.identity() == first.identity();
        if same {
            first.architectures.append(&mut next.architectures);
        }
        same
    });
    for package in &mut packages {
        package.architectures.sort_unstable();
    }
    packages
}

fn text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn optional_text<T: fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

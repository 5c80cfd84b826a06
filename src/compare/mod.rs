//! What differs between two recorded listings of one mirror: packages, files and bytes.
//!
//! Owns the comparison from catalog and blobs to a [`Difference`], whose `Serialize` is its one form for programs,
//! whoever writes it. It changes nothing and judges nothing. What cannot be read makes it fail with the object named: a
//! difference that is empty for want of an index would be taken for none.
//!
//! Indices that both listings have with the same text are not read at all, so that the cost follows what changed; and of the
//! others usually the stored inventory alone, which a sync or an earlier comparison has left. Where there is none, it is
//! made and left for the next time: the one thing that is written here, and nothing depends on it.

mod difference;
mod indices;
mod packages;
mod reading;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::panic::resume_unwind;
use std::thread;

pub use difference::{
    Counts, Difference, FileKind, Files, Package, PackageKind, Path, Side, SuiteDifference, SuiteKind, Version,
};

use crate::apt::ParseError;
use crate::apt::inventory::Inventory;
use crate::blobs::{BlobError, BlobStore};
use crate::catalog::{CatalogError, CatalogReader, FileChanges, ReleaseFacts};
use crate::model::{MirrorId, Pointer, SnapshotName, Suite};
use difference::{file_kind, is_for_security};
use indices::{Index, Indices, Key};

/// Why two listings could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The catalog cannot be read, or does not have what was asked for.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A suite was recorded, and none of its indices of packages.
    #[error("suite {suite} has no index of packages in snapshot {snapshot}")]
    NoIndex {
        /// The suite.
        suite: Suite,
        /// The snapshot.
        snapshot: SnapshotName,
    },
    /// The bytes of an index are not in the cache.
    #[error("the index {path} of snapshot {snapshot} is missing from the cache")]
    Missing {
        /// The index.
        path: String,
        /// The snapshot.
        snapshot: SnapshotName,
    },
    /// An index cannot be opened.
    #[error("the index {path} of snapshot {snapshot} cannot be opened")]
    Blob {
        /// The index.
        path: String,
        /// The snapshot.
        snapshot: SnapshotName,
        /// Why.
        source: BlobError,
    },
    /// An index cannot be decompressed or read to its end.
    #[error("the index {path} of snapshot {snapshot} cannot be read")]
    Read {
        /// The index.
        path: String,
        /// The snapshot.
        snapshot: SnapshotName,
        /// Why.
        source: io::Error,
    },
    /// An index has other bytes than when it was recorded.
    #[error("the index {path} of snapshot {snapshot} is damaged: it does not have the bytes that were recorded")]
    Damaged {
        /// The index.
        path: String,
        /// The snapshot.
        snapshot: SnapshotName,
    },
    /// An index does not list packages.
    #[error("the index {path} of snapshot {snapshot} cannot be understood")]
    Parse {
        /// The index.
        path: String,
        /// The snapshot.
        snapshot: SnapshotName,
        /// Why.
        source: ParseError,
    },
}

impl Side {
    /// The snapshot called `name`.
    ///
    /// # Errors
    /// When there is none, or the catalog cannot be read.
    pub fn named(reader: &CatalogReader, mirror: &MirrorId, name: &SnapshotName) -> Result<Self, CatalogError> {
        let row = reader.mirror(mirror)?;
        let unknown = || CatalogError::UnknownSnapshot {
            mirror: mirror.clone(),
            name: name.clone(),
        };
        let snapshot = reader.snapshot_named(row, name)?.ok_or_else(unknown)?;
        let (_, snapshot, seq, created) = reader.snapshot_row(snapshot)?.ok_or_else(unknown)?;
        Ok(Self {
            snapshot,
            pointer: None,
            created,
            seq,
        })
    }

    /// The snapshot that `pointer` leads to.
    ///
    /// # Errors
    /// When it leads nowhere, or the catalog cannot be read.
    pub fn pointed(reader: &CatalogReader, mirror: &MirrorId, pointer: &Pointer) -> Result<Self, CatalogError> {
        let not_set = || CatalogError::NotSet {
            mirror: mirror.clone(),
            pointer: pointer.clone(),
        };
        let moved = reader.pointer(reader.mirror(mirror)?, pointer)?.ok_or_else(not_set)?;
        // Its name may be another one now.
        let found = reader.snapshot_row(moved.snapshot_row)?;
        let (_, snapshot, seq, created) = found.ok_or_else(not_set)?;
        Ok(Self {
            snapshot,
            pointer: Some(pointer.clone()),
            created,
            seq,
        })
    }
}

/// What the catalog knows of one side.
struct Recorded {
    releases: Vec<ReleaseFacts>,
    indices: Indices,
}

/// What leads from one side to the other of `mirror`. The paths of single files are told `with_paths` only; what they come to
/// is told in any case.
///
/// # Errors
/// When the catalog or an index that is needed cannot be read.
pub fn compare(
    reader: &CatalogReader,
    blobs: &BlobStore,
    mirror: &MirrorId,
    from: &Side,
    to: &Side,
    with_paths: bool,
) -> Result<Difference, CompareError> {
    let (before, after, changes) = reader.at_once(|reader| {
        let row = reader.mirror(mirror)?;
        let recorded = |side: &Side| -> Result<Recorded, CatalogError> {
            let releases = reader.releases(row, side.seq)?;
            let indices = indices::find(reader, row, side.seq, &releases)?;
            Ok(Recorded { releases, indices })
        };
        Ok((recorded(from)?, recorded(to)?, reader.changes(row, from.seq, to.seq)?))
    })?;
    indices::check(blobs, from, &before.releases, &before.indices)?;
    indices::check(blobs, to, &after.releases, &after.indices)?;
    let bytes = Bytes::of(&changes);
    let mut suites = Vec::new();
    for (suite, facts) in by_suite(&before, &after) {
        let packages = packages_of(blobs, suite, (from, &before.indices), (to, &after.indices))?;
        suites.push(suite_difference(suite, facts, (&before, &after), packages, &bytes));
    }
    suites.sort_by_key(|suite| !suite.security);
    Ok(Difference {
        mirror: mirror.clone(),
        from: from.clone(),
        to: to.clone(),
        identical: changes.files.is_empty(),
        packages: suites
            .iter()
            .fold(Counts::default(), |sum, suite| sum.plus(suite.packages_by_kind)),
        suites,
        files: files(changes, with_paths),
    })
}

/// What the Release files of a suite said, on either side.
type Facts<'a> = (Option<&'a ReleaseFacts>, Option<&'a ReleaseFacts>);

/// The suites of both sides, sorted by name.
fn by_suite<'a>(before: &'a Recorded, after: &'a Recorded) -> BTreeMap<&'a Suite, Facts<'a>> {
    let mut suites: BTreeMap<&Suite, Facts<'_>> = BTreeMap::new();
    for facts in &before.releases {
        suites.entry(&facts.suite).or_default().0 = Some(facts);
    }
    for facts in &after.releases {
        suites.entry(&facts.suite).or_default().1 = Some(facts);
    }
    suites
}

/// The packages of one suite that differ, sorted: what may surprise first.
fn packages_of(
    blobs: &BlobStore,
    suite: &Suite,
    (from, before): (&Side, &Indices),
    (to, after): (&Side, &Indices),
) -> Result<Vec<Package>, CompareError> {
    let keys: BTreeSet<&Key> = before
        .keys()
        .chain(after.keys())
        .filter(|key| key.suite == *suite)
        .collect();
    let mut found = Vec::new();
    for key in keys {
        let (one, two) = (before.get(key), after.get(key));
        if let (Some(one), Some(two)) = (one, two)
            && one.has_text_of(two)
        {
            continue;
        }
        let by_architecture = key.architecture.is_none() && !key.of_sources;
        let (one, two) = read_both(blobs, key, (from, one), (to, two))?;
        let changes = packages::changes(by_architecture, &one, &two);
        found.extend(changes.into_iter().map(|change| Package::of(change, key)));
    }
    Ok(difference::together(found))
}

/// The inventories of both sides, of which one may lack the index. They are read at the same time: where an index has to be
/// decompressed, that is nearly all of the work.
fn read_both(
    blobs: &BlobStore,
    key: &Key,
    (from, one): (&Side, Option<&Index>),
    (to, two): (&Side, Option<&Index>),
) -> Result<(Inventory, Inventory), CompareError> {
    let read = |side, index: Option<&Index>| match index {
        Some(index) => reading::inventory(blobs, side, key, index),
        None => Ok(Inventory::default()),
    };
    thread::scope(|scope| {
        let after = scope.spawn(|| read(to, two));
        let before = read(from, one)?;
        let after = after.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok((before, after))
    })
}

fn suite_difference(
    suite: &Suite,
    facts: Facts<'_>,
    (before, after): (&Recorded, &Recorded),
    packages: Vec<Package>,
    bytes: &Bytes<'_>,
) -> SuiteDifference {
    let of_suite = |indices: &Indices| -> BTreeSet<String> {
        let keys = indices.keys().filter(|key| key.suite == *suite);
        keys.map(Key::name).collect()
    };
    let (old, new) = (of_suite(&before.indices), of_suite(&after.indices));
    let kind = match facts {
        (None, _) => SuiteKind::Added,
        (_, None) => SuiteKind::Removed,
        _ if packages.is_empty() && old == new => SuiteKind::Unchanged,
        _ => SuiteKind::Changed,
    };
    let paths =
        |side: fn(&Package) -> Option<&Version>| packages.iter().filter_map(side).flat_map(|version| &version.files);
    SuiteDifference {
        suite: suite.clone(),
        security: [facts.0, facts.1].into_iter().flatten().any(is_for_security),
        kind,
        date_from: facts.0.and_then(|facts| facts.date),
        date_to: facts.1.and_then(|facts| facts.date),
        packages_by_kind: packages
            .iter()
            .fold(Counts::default(), |sum, package| sum.with(package.kind)),
        new_bytes: Bytes::sum(&bytes.new, paths(|package| package.to.as_ref())),
        gone_bytes: Bytes::sum(&bytes.gone, paths(|package| package.from.as_ref())),
        new_indices: new.difference(&old).cloned().collect(),
        gone_indices: old.difference(&new).cloned().collect(),
        packages,
    }
}

/// The lengths of files that only one side has at their path, or has with other content there.
struct Bytes<'a> {
    new: HashMap<&'a str, u64>,
    gone: HashMap<&'a str, u64>,
}

impl<'a> Bytes<'a> {
    fn of(changes: &'a FileChanges) -> Self {
        let files = || changes.files.iter();
        Self {
            new: files().filter_map(|file| Some((&*file.path, file.after?))).collect(),
            gone: files().filter_map(|file| Some((&*file.path, file.before?))).collect(),
        }
    }

    /// Bytes of those of `paths` that are among `lengths`, each counted once.
    fn sum<'p>(lengths: &HashMap<&str, u64>, paths: impl Iterator<Item = &'p Box<str>>) -> u64 {
        let paths: BTreeSet<&str> = paths.map(|path| &**path).collect();
        paths.into_iter().filter_map(|path| lengths.get(path)).sum()
    }
}

fn files(changes: FileChanges, with_paths: bool) -> Files {
    let mut files = Files {
        new_bytes: changes.new_bytes,
        gone_bytes: changes.gone_bytes,
        ..Files::default()
    };
    let mut paths = Vec::new();
    for change in changes.files {
        match file_kind(&change) {
            FileKind::Added => files.added += 1,
            FileKind::Removed => files.removed += 1,
            FileKind::Changed => files.changed += 1,
        }
        if difference::is_replaced(&change) {
            files.replaced.push(change.path.clone());
        }
        if with_paths {
            paths.push(Path::of(change));
        }
    }
    files.paths = with_paths.then_some(paths);
    files
}

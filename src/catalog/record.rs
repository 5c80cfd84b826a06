//! From a listing to a recorded snapshot.
//!
//! Owns the comparison of a new listing with the last synced state and the one transaction that records what
//! changed. Preparing and recording are two steps because the manifest made by the first has to be a durable blob
//! before the second names it.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Transaction, params};

use super::leases::find_blob;
use super::manifest::{Manifest, ManifestFile};
use super::pointers::{Appender, Moved};
use super::releases::{self, Source};
use super::snapshots::{self, drop_unneeded};
use super::sql_types::{OPEN, Sql, stored};
use super::{BlobRow, Catalog, CatalogError, DirRow, MirrorRow, ROOT_DIR, Seq, SnapshotRow};
use crate::model::{
    Digest, Entry, HashType, HashTypes, Listing, MirrorId, Pointer, RepoPath, Role, SnapshotName, Timestamp,
};

/// Longest chain of manifests that only hold changes: bounds what reading the oldest one costs.
const LONGEST_CHAIN: i64 = 32;

/// A listing compared with the last synced state, not recorded yet.
#[derive(Debug)]
#[must_use = "a prepared listing is nothing until it is recorded"]
pub struct Prepared {
    mirror: MirrorId,
    row: MirrorRow,
    previous: Option<Seq>,
    changes: Vec<Change>,
    hashes: Vec<(BlobRow, HashType, Vec<u8>)>,
    files: u64,
    bytes: u64,
    base: Option<(BlobRow, i64)>,
    manifest: Vec<u8>,
}

impl Prepared {
    /// The manifest: the caller makes it a blob before recording.
    #[must_use]
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Whether the listing is that of the last synced state.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.previous.is_some() && self.changes.is_empty()
    }

    /// Number of rows that recording will add or end.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes.len()
    }
}

/// What to record besides the listing.
#[derive(Debug)]
pub struct Recording<'a> {
    /// The manifest's digest, whose blob is recorded already.
    pub manifest: Digest,
    /// Name of the snapshot.
    pub name: &'a SnapshotName,
    /// Where the listing came from.
    pub source: Source<'a>,
    /// Pointers that move to the snapshot in the same transaction.
    pub pointers: &'a [Pointer],
    /// Who syncs.
    pub actor: &'a str,
    /// The time of recording.
    pub now: Timestamp,
}

/// A snapshot that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its row.
    pub row: SnapshotRow,
    /// Its listing.
    pub seq: Seq,
    /// Entry rows added or ended.
    pub changes: usize,
    /// Pointers moved to it.
    pub moves: Vec<Moved>,
}

/// What a name leads to, in comparable form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Directory(DirRow),
    File {
        blob: BlobRow,
        digest: Digest,
        role: Role,
        by_hash: HashTypes,
    },
}

/// One name of one directory that changed: what ended and what began.
#[derive(Debug)]
struct Change {
    dir: DirRow,
    name: Box<str>,
    ends: bool,
    begins: Option<Target>,
}

type Names = HashMap<Box<str>, Target>;

impl Catalog {
    /// Compares `listing` with the last synced state of `mirror` and makes its manifest. Interns new directories,
    /// which is invisible; nothing else is written.
    ///
    /// # Errors
    /// When a blob of the listing is not recorded, or the catalog cannot be read or written.
    pub fn prepare(&mut self, mirror: &MirrorId, listing: &Listing, now: Timestamp) -> Result<Prepared, CatalogError> {
        let generation = self.reader.generation()?;
        self.write(|transaction| {
            let row = super::tree::mirror_row(transaction, mirror)?;
            let newest = "SELECT max(seq) FROM listing WHERE mirror_id = ?";
            let previous: Option<Seq> = transaction.query_row(newest, [row], |found| found.get(0))?;
            let mut comparison = Comparison::begin(transaction, row)?;
            for (path, entry) in listing.iter() {
                comparison.add(path, entry)?;
            }
            let comparison = comparison.finish();
            let base = chain_to_continue(transaction, row, previous)?;
            let seq = Seq(previous.map_or(1, |seq| seq.number() + 1));
            let manifest = Manifest {
                generation,
                mirror: mirror.to_string(),
                seq,
                recorded_at: now,
                base: base.map(|(_, digest, _)| digest),
                files: if base.is_some() {
                    comparison.delta
                } else {
                    whole(listing, &comparison.rows)
                },
                dirs: if base.is_some() {
                    comparison.new_dirs
                } else {
                    comparison.dirs
                },
            };
            let manifest = manifest.encode().map_err(|source| CatalogError::Manifest {
                mirror: mirror.clone(),
                source,
            })?;
            Ok(Prepared {
                mirror: mirror.clone(),
                row,
                previous,
                changes: comparison.changes,
                hashes: comparison.hashes,
                files: listing.len() as u64,
                bytes: listing.size(),
                base: base.map(|(blob, _, depth)| (blob, depth)),
                manifest,
            })
        })
    }

    /// Records the listing as the mirror's last synced state, names it, moves pointers to it and gives up the
    /// mirror's leases: all in one transaction.
    ///
    /// # Errors
    /// When another process recorded meanwhile, the name is taken, or the catalog cannot be written.
    pub fn record(&mut self, prepared: &Prepared, what: &Recording<'_>) -> Result<Recorded, CatalogError> {
        self.write(|transaction| {
            let mirror = prepared.row;
            let newest = "SELECT max(seq) FROM listing WHERE mirror_id = ?";
            let previous: Option<Seq> = transaction.query_row(newest, [mirror], |found| found.get(0))?;
            if previous != prepared.previous {
                return Err(CatalogError::Overtaken(prepared.mirror.clone()));
            }
            let seq = Seq(previous.map_or(1, |seq| seq.number() + 1));
            insert_listing(transaction, prepared, what, seq)?;
            apply_changes(transaction, prepared, seq)?;
            releases::insert(transaction, mirror, seq, what.source.releases)?;
            if snapshots::find(transaction, mirror, &prepared.mirror, what.name).is_ok() {
                return Err(CatalogError::SnapshotExists {
                    mirror: prepared.mirror.clone(),
                    name: what.name.clone(),
                });
            }
            let target = snapshots::insert(transaction, mirror, what.name, seq, what.now)?;
            let mut append = Appender {
                transaction,
                act: "sync",
                actor: what.actor,
                now: what.now,
                act_row: None,
            };
            let moves = what
                .pointers
                .iter()
                .map(|pointer| append.lead(mirror, *pointer, &target))
                .collect::<Result<_, _>>()?;
            transaction.execute("DELETE FROM lease WHERE mirror_id = ?", [mirror])?;
            transaction.execute(
                "UPDATE mirror SET checked_at = ? WHERE id = ?",
                params![Sql(what.now), mirror],
            )?;
            drop_unneeded(transaction, mirror)?;
            Ok(Recorded {
                row: target.row,
                seq,
                changes: prepared.changes.len(),
                moves,
            })
        })
    }
}

/// What a finished comparison found.
struct Compared {
    changes: Vec<Change>,
    hashes: Vec<(BlobRow, HashType, Vec<u8>)>,
    rows: HashMap<Digest, BlobRow>,
    delta: BTreeMap<RepoPath, Option<ManifestFile>>,
    dirs: BTreeMap<RepoPath, DirRow>,
    new_dirs: BTreeMap<RepoPath, DirRow>,
}

/// Walks a listing beside the open rows of the last synced state.
struct Comparison<'a> {
    transaction: &'a Transaction<'a>,
    /// Names of the last synced state that the listing has not confirmed yet.
    open: HashMap<DirRow, Names>,
    /// Directories of the new listing, with what it has confirmed or changed.
    dirs: HashMap<RepoPath, DirRow>,
    found: Compared,
}

impl<'a> Comparison<'a> {
    fn begin(transaction: &'a Transaction<'a>, mirror: MirrorRow) -> Result<Self, CatalogError> {
        let mut open: HashMap<DirRow, Names> = HashMap::new();
        let mut rows = HashMap::new();
        let mut query = transaction.prepare_cached(
            "SELECT dir_id, name, child_dir, blob_id, sha256, role, by_hash
             FROM entry LEFT JOIN blob ON blob.id = blob_id WHERE mirror_id = ? AND to_seq = ?",
        )?;
        let mut found = query.query(params![mirror, OPEN])?;
        while let Some(row) = found.next()? {
            let target = match row.get(2)? {
                Some(dir) => Target::Directory(dir),
                None => {
                    let (blob, Sql(digest), Sql(role)) = (row.get(3)?, row.get(4)?, row.get(5)?);
                    rows.insert(digest, blob);
                    Target::File {
                        blob,
                        digest,
                        role,
                        by_hash: HashTypes::from_bits(row.get(6)?),
                    }
                }
            };
            let name = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            open.entry(row.get(0)?).or_default().insert(name.into(), target);
        }
        let found = Compared {
            changes: Vec::new(),
            hashes: Vec::new(),
            rows,
            delta: BTreeMap::new(),
            dirs: BTreeMap::new(),
            new_dirs: BTreeMap::new(),
        };
        Ok(Self {
            transaction,
            open,
            dirs: HashMap::new(),
            found,
        })
    }

    /// Takes in the next file of the listing.
    fn add(&mut self, path: &RepoPath, entry: &Entry) -> Result<(), CatalogError> {
        let parent = path.parent();
        let dir = self.directory(parent.as_ref())?;
        let blob = self.blob(entry.blob.digest)?;
        let by_hash: HashTypes = entry.by_hash.iter().map(|hash| hash.kind).collect();
        let target = Target::File {
            blob,
            digest: entry.blob.digest,
            role: entry.role,
            by_hash,
        };
        if self.confirm(dir, path.file_name(), target) {
            let file = ManifestFile {
                row: blob,
                blob: entry.blob,
                role: entry.role,
                by_hash: entry.by_hash.clone(),
            };
            self.found.delta.insert(path.clone(), Some(file));
        }
        for hash in &entry.by_hash {
            self.by_hash_directory(parent.as_ref(), hash.kind)?;
            if hash.kind != HashType::Sha256
                && let Some(value) = hex_bytes(&hash.hex)
            {
                self.found.hashes.push((blob, hash.kind, value));
            }
        }
        Ok(())
    }

    /// Everything that the listing did not confirm has ended.
    fn finish(mut self) -> Compared {
        let paths: HashMap<DirRow, &RepoPath> = self.dirs.iter().map(|(path, row)| (*row, path)).collect();
        let mut ended_files: Vec<RepoPath> = Vec::new();
        for (dir, names) in &self.open {
            for (name, target) in names {
                self.found.changes.push(Change {
                    dir: *dir,
                    name: name.clone(),
                    ends: true,
                    begins: None,
                });
                if matches!(target, Target::File { .. }) {
                    ended_files.extend(full_path(self.transaction, &paths, *dir, name));
                }
            }
        }
        self.found
            .delta
            .extend(ended_files.into_iter().map(|path| (path, None)));
        self.found.dirs = self.dirs.into_iter().collect();
        self.found
    }

    /// Notes that `name` leads to `target` in the new listing; answers whether that is a change.
    fn confirm(&mut self, dir: DirRow, name: &str, target: Target) -> bool {
        let before = self.open.get_mut(&dir).and_then(|names| names.remove(name));
        if before == Some(target) {
            return false;
        }
        let change = Change {
            dir,
            name: name.into(),
            ends: before.is_some(),
            begins: Some(target),
        };
        self.found.changes.push(change);
        true
    }

    /// The row of a directory of the listing, noting it and its ancestors as confirmed.
    fn directory(&mut self, path: Option<&RepoPath>) -> Result<DirRow, CatalogError> {
        let Some(path) = path else { return Ok(ROOT_DIR) };
        if let Some(row) = self.dirs.get(path) {
            return Ok(*row);
        }
        let parent = self.directory(path.parent().as_ref())?;
        let name = path.file_name();
        let known = self.open.get(&parent).and_then(|names| names.get(name));
        let row = match known {
            Some(Target::Directory(row)) => *row,
            Some(Target::File { .. }) => {
                self.found.delta.insert(path.clone(), None);
                intern(self.transaction, parent, name)?
            }
            None => intern(self.transaction, parent, name)?,
        };
        if self.confirm(parent, name, Target::Directory(row)) {
            self.found.new_dirs.insert(path.clone(), row);
        }
        self.dirs.insert(path.clone(), row);
        Ok(row)
    }

    fn by_hash_directory(&mut self, parent: Option<&RepoPath>, kind: HashType) -> Result<(), CatalogError> {
        let text = parent.map_or_else(
            || format!("by-hash/{kind}"),
            |parent| format!("{parent}/by-hash/{kind}"),
        );
        // A directory deeper than paths may be is left out: by-hash is an offer, the plain name stays.
        if let Ok(path) = text.parse() {
            self.directory(Some(&path))?;
        }
        Ok(())
    }

    fn blob(&mut self, digest: Digest) -> Result<BlobRow, CatalogError> {
        if let Some(row) = self.found.rows.get(&digest) {
            return Ok(*row);
        }
        let found = find_blob(self.transaction, digest)?.ok_or(CatalogError::NoBlob(digest))?;
        self.found.rows.insert(digest, found.row);
        Ok(found.row)
    }
}

fn whole(listing: &Listing, rows: &HashMap<Digest, BlobRow>) -> BTreeMap<RepoPath, Option<ManifestFile>> {
    let file = |entry: &Entry| ManifestFile {
        row: rows[&entry.blob.digest],
        blob: entry.blob,
        role: entry.role,
        by_hash: entry.by_hash.clone(),
    };
    listing
        .iter()
        .map(|(path, entry)| (path.clone(), Some(file(entry))))
        .collect()
}

/// The manifest of the last synced state, when a further delta may be chained to it: row, digest and length of the
/// chain so far.
fn chain_to_continue(
    transaction: &Transaction<'_>,
    mirror: MirrorRow,
    previous: Option<Seq>,
) -> Result<Option<(BlobRow, Digest, i64)>, CatalogError> {
    let Some(previous) = previous else { return Ok(None) };
    let (row, Sql(digest), depth) = transaction.query_row(
        "SELECT blob.id, sha256, depth FROM listing
         JOIN blob ON blob.id = manifest_id JOIN manifest ON manifest.blob_id = manifest_id
         WHERE mirror_id = ? AND seq = ?",
        params![mirror, previous],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    Ok((depth < LONGEST_CHAIN).then_some((row, digest, depth)))
}

fn insert_listing(
    transaction: &Transaction<'_>,
    prepared: &Prepared,
    what: &Recording<'_>,
    seq: Seq,
) -> Result<(), CatalogError> {
    let manifest = find_blob(transaction, what.manifest)?.ok_or(CatalogError::NoBlob(what.manifest))?;
    let depth = prepared.base.map_or(0, |(_, depth)| depth + 1);
    transaction.execute(
        "INSERT INTO manifest (blob_id, base_id, depth, bytes) VALUES (?, ?, ?, ?) ON CONFLICT (blob_id) DO NOTHING",
        params![
            manifest.row,
            prepared.base.map(|(row, _)| row),
            depth,
            stored(manifest.facts.size)
        ],
    )?;
    transaction.execute(
        "INSERT INTO listing (mirror_id, seq, recorded_at, files, bytes, url, selection, manifest_id)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            prepared.row,
            seq,
            Sql(what.now),
            stored(prepared.files),
            stored(prepared.bytes),
            what.source.url,
            what.source.selection,
            manifest.row
        ],
    )?;
    Ok(())
}

fn apply_changes(transaction: &Transaction<'_>, prepared: &Prepared, seq: Seq) -> Result<(), CatalogError> {
    let mut end = transaction
        .prepare_cached("UPDATE entry SET to_seq = ? WHERE mirror_id = ? AND dir_id = ? AND name = ? AND to_seq = ?")?;
    let mut begin = transaction.prepare_cached(
        "INSERT INTO entry (mirror_id, dir_id, name, from_seq, to_seq, child_dir, blob_id, role, by_hash)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for change in &prepared.changes {
        if change.ends {
            end.execute(params![seq, prepared.row, change.dir, change.name, OPEN])?;
        }
        let (dir, blob, role, by_hash) = match change.begins {
            None => continue,
            Some(Target::Directory(dir)) => (Some(dir), None, None, 0),
            Some(Target::File {
                blob, role, by_hash, ..
            }) => (None, Some(blob), Some(Sql(role)), by_hash.bits()),
        };
        begin.execute(params![
            prepared.row,
            change.dir,
            change.name,
            seq,
            OPEN,
            dir,
            blob,
            role,
            by_hash
        ])?;
    }
    let mut hash =
        transaction.prepare_cached("INSERT OR IGNORE INTO blob_hash (blob_id, kind, value) VALUES (?, ?, ?)")?;
    for (blob, kind, value) in &prepared.hashes {
        hash.execute(params![blob, HashTypes::NONE.with(*kind).bits(), value])?;
    }
    Ok(())
}

/// The row of directory `name` in `parent`, made when there is none.
fn intern(transaction: &Transaction<'_>, parent: DirRow, name: &str) -> Result<DirRow, CatalogError> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO dir (parent_id, name) VALUES (?, ?)")?
        .execute(params![parent, name])?;
    let mut query = transaction.prepare_cached("SELECT id FROM dir WHERE parent_id = ? AND name = ?")?;
    Ok(query.query_row(params![parent, name], |row| row.get(0))?)
}

/// The path of a name that ended, whose directory may have ended with it. `None` cannot happen for a catalog that is
/// whole; such a file is then missing from a delta, which the next whole manifest mends.
fn full_path(
    transaction: &Transaction<'_>,
    known: &HashMap<DirRow, &RepoPath>,
    dir: DirRow,
    name: &str,
) -> Option<RepoPath> {
    let mut text = name.to_owned();
    let mut at = dir;
    while at != ROOT_DIR {
        if let Some(path) = known.get(&at) {
            return path.join(&text).ok();
        }
        let mut query = transaction
            .prepare_cached("SELECT parent_id, name FROM dir WHERE id = ?")
            .ok()?;
        let (parent, name): (DirRow, String) = query.query_row([at], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
        text = format!("{name}/{text}");
        at = parent;
    }
    text.parse().ok()
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    digits
        .chunks(2)
        .map(|pair| Some(value(pair[0])? << 4 | value(*pair.get(1)?)?))
        .collect()
}

//! From a listing to a recorded snapshot.
//!
//! Owns the comparison of a new listing with the last synced state and the one transaction that records what
//! changed. Preparing and recording are two steps because the manifest made by the first has to be a durable blob
//! before the second names it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use rusqlite::{Connection, Transaction, params};

use super::leases::find_blob;
use super::manifest::{Manifest, ManifestFile};
use super::pointers::{Act, Appender, Moved};
use super::releases::{self, Source};
use super::replaced;
use super::snapshots::{self, drop_unneeded};
use super::sql_types::{OPEN, Sql, stored};
use super::{BlobRow, Catalog, CatalogError, DirRow, MirrorRow, ROOT_DIR, Seq, SnapshotRow};
use crate::model::{
    Digest, Entry, HashType, HashTypes, Listing, MirrorId, MoveTerms, Pointer, RepoPath, Role, Shrink, SnapshotName,
    Timestamp,
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
    pool_files: u64,
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

    /// Number of pool files.
    #[must_use]
    pub fn pool_files(&self) -> u64 {
        self.pool_files
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
    /// Why the listing is held: then no pointer moves.
    pub held: Option<Shrink>,
    /// Number of files that its indices name and a filter has left out.
    pub absent: u64,
    /// Pointers that move to the snapshot in the same transaction, unless it is held.
    pub pointers: &'a [Pointer],
    /// On which terms they move.
    pub terms: MoveTerms,
    /// Who syncs.
    pub actor: &'a str,
    /// The date of the snapshot.
    pub created_at: Timestamp,
    /// The time of recording.
    pub now: Timestamp,
    /// As that of an [`Act`].
    pub in_turn: bool,
}

#[cfg(test)]
impl<'a> Recording<'a> {
    /// A recording at `now` of which nothing but its manifest and name matters.
    pub(crate) fn plain(manifest: Digest, name: &'a SnapshotName, now: Timestamp) -> Self {
        Self {
            manifest,
            name,
            source: Source {
                url: "http://h/",
                selection: "everything",
                releases: &[],
            },
            held: None,
            absent: 0,
            pointers: &[],
            terms: MoveTerms::default(),
            actor: "tester",
            created_at: now,
            now,
            in_turn: false,
        }
    }
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
            let base = chain_to_continue(transaction, row, previous)?;
            let mut comparison = Comparison::begin(transaction, row, listing.len(), base.is_none())?;
            for (path, entry) in listing.iter() {
                comparison.add(path, entry)?;
            }
            let compared = comparison.finish()?;
            let manifest = Manifest {
                generation,
                mirror: mirror.to_string(),
                seq: Seq(previous.map_or(1, |seq| seq.number() + 1)),
                recorded_at: now,
                base: base.map(|(_, digest, _)| digest),
                files: compared.files,
                dirs: compared.dirs,
            };
            let manifest = manifest.encode().map_err(|source| CatalogError::Manifest {
                mirror: mirror.clone(),
                source,
            })?;
            Ok(Prepared {
                mirror: mirror.clone(),
                row,
                previous,
                changes: compared.changes,
                hashes: compared.hashes,
                files: listing.len() as u64,
                bytes: compared.bytes,
                pool_files: compared.pool_files,
                base: base.map(|(blob, _, depth)| (blob, depth)),
                manifest,
            })
        })
    }

    /// Records the listing as the mirror's last synced state, names it, moves pointers to it and gives up the
    /// mirror's leases: all in one transaction.
    ///
    /// # Errors
    /// When another process recorded meanwhile, the name is taken, it is not a pointer's turn yet, or the catalog cannot be
    /// written.
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
            let target = snapshots::insert(transaction, mirror, what.name, seq, what.created_at)?;
            let act = Act {
                command: "sync",
                actor: what.actor,
                message: None,
                now: what.now,
                in_turn: what.in_turn,
                force: false,
                retracts: false,
            };
            let mut append = Appender::begin(transaction, act);
            let pointers = what.pointers.iter().filter(|_| what.held.is_none());
            let moves = pointers
                .map(|pointer| append.lead(mirror, &prepared.mirror, pointer, &target, what.terms))
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

/// What a comparison found.
#[derive(Default)]
struct Compared {
    changes: Vec<Change>,
    hashes: Vec<(BlobRow, HashType, Vec<u8>)>,
    /// Sum of the files' sizes.
    bytes: u64,
    pool_files: u64,
    /// What the manifest holds: all files, or those that changed.
    files: BTreeMap<RepoPath, Option<ManifestFile>>,
    /// What the manifest holds: all directories, or those that are new.
    dirs: BTreeMap<RepoPath, DirRow>,
}

/// A name of the last synced state.
struct OpenRow {
    /// Where it stands in the text of all names.
    name: Range<usize>,
    target: Target,
    /// Whether the listing has it too, with this target or another.
    met: bool,
}

/// The last synced state in memory: one row after the other, sorted by directory and name, as the index yields them.
/// An archive has tens of thousands of small directories, so there is one text for all names and no map for each.
#[derive(Default)]
struct LastState {
    names: String,
    rows: Vec<OpenRow>,
    directories: Vec<OpenDirectory>,
    /// The directory that was looked for last.
    looked_for: usize,
}

/// The rows of one directory.
struct OpenDirectory {
    row: DirRow,
    rows: Range<usize>,
    /// The row after the last one that was found: most often the one that is asked for next.
    next: usize,
}

/// A directory of the listing.
#[derive(Clone, Copy)]
struct Place {
    row: DirRow,
    /// Its index among those of the last synced state, when it was there.
    before: Option<usize>,
}

impl LastState {
    /// The last synced state of `mirror`, with room for about `rows` rows.
    fn read(transaction: &Transaction<'_>, mirror: MirrorRow, rows: usize) -> Result<Self, CatalogError> {
        // The index holds all columns of open rows and none of rows that ended; left alone, SQLite would read both.
        let mut query = transaction.prepare_cached(
            "SELECT dir_id, name, child_dir, blob_id, sha256, role, by_hash
             FROM entry INDEXED BY entry_open LEFT JOIN blob ON blob.id = blob_id
             WHERE mirror_id = ? AND to_seq = 2147483647 ORDER BY dir_id, name",
        )?;
        let mut found = query.query([mirror])?;
        let mut state = Self {
            rows: Vec::with_capacity(rows),
            ..Self::default()
        };
        while let Some(row) = found.next()? {
            let target = if let Some(dir) = row.get(2)? {
                Target::Directory(dir)
            } else {
                let (Sql(digest), Sql(role)) = (row.get(4)?, row.get(5)?);
                Target::File {
                    blob: row.get(3)?,
                    digest,
                    role,
                    by_hash: HashTypes::from_bits(row.get(6)?),
                }
            };
            state.push(
                row.get(0)?,
                row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
                target,
            );
        }
        Ok(state)
    }

    fn push(&mut self, dir: DirRow, name: &str, target: Target) {
        let (row, start) = (self.rows.len(), self.names.len());
        self.names.push_str(name);
        self.rows.push(OpenRow {
            name: start..self.names.len(),
            target,
            met: false,
        });
        match self.directories.last_mut() {
            Some(last) if last.row == dir => last.rows.end = row + 1,
            _ => self.directories.push(OpenDirectory {
                row: dir,
                rows: row..row + 1,
                next: row,
            }),
        }
    }

    /// Looks a directory up. Rows were mostly given out in the order in which paths are walked, so the one after the last
    /// is tried first.
    fn place(&mut self, row: DirRow) -> Place {
        let after = self.looked_for + 1;
        let before = match self.directories.get(after) {
            Some(directory) if directory.row == row => Some(after),
            Some(_) | None => self
                .directories
                .binary_search_by_key(&row, |directory| directory.row)
                .ok(),
        };
        self.looked_for = before.unwrap_or(self.looked_for);
        Place { row, before }
    }

    /// What `name` led to, noting that the listing has the name too.
    fn meet(&mut self, place: Place, name: &str) -> Option<Target> {
        let directory = &mut self.directories[place.before?];
        let name_of = |row: &OpenRow| &self.names[row.name.clone()];
        let index = if directory.next < directory.rows.end && name_of(&self.rows[directory.next]) == name {
            directory.next
        } else {
            let found = self.rows[directory.rows.clone()].binary_search_by(|row| name_of(row).cmp(name));
            directory.rows.start + found.ok()?
        };
        directory.next = index + 1;
        let row = &mut self.rows[index];
        row.met = true;
        Some(row.target)
    }

    /// The names that the listing does not have, with their directories.
    fn ended(&self) -> impl Iterator<Item = (DirRow, &str, Target)> {
        self.directories.iter().flat_map(|directory| {
            let ended = self.rows[directory.rows.clone()].iter().filter(|row| !row.met);
            ended.map(|row| (directory.row, &self.names[row.name.clone()], row.target))
        })
    }
}

/// Walks a listing beside the last synced state.
struct Comparison<'a> {
    transaction: &'a Transaction<'a>,
    before: LastState,
    /// The path of the directory in which the walk is. A listing is sorted: a directory that was left never comes back.
    place: String,
    /// That directory and those around it, outermost first, each with the length of the path outside of it.
    way: Vec<(usize, Place)>,
    root: Place,
    /// For directories that were met, `by-hash` in it and the types met there.
    by_hash: HashMap<DirRow, (Place, HashTypes)>,
    /// Whether the manifest holds everything.
    whole: bool,
    found: Compared,
}

impl<'a> Comparison<'a> {
    /// Begins to compare a listing of so many `files`.
    fn begin(
        transaction: &'a Transaction<'a>,
        mirror: MirrorRow,
        files: usize,
        whole: bool,
    ) -> Result<Self, CatalogError> {
        // An archive has about half as many directories as files.
        let mut before = LastState::read(transaction, mirror, files + files / 2)?;
        Ok(Self {
            transaction,
            root: before.place(ROOT_DIR),
            before,
            place: String::new(),
            way: Vec::new(),
            by_hash: HashMap::new(),
            whole,
            found: Compared::default(),
        })
    }

    /// Takes in the next file of the listing.
    fn add(&mut self, path: &RepoPath, entry: &Entry) -> Result<(), CatalogError> {
        let (parent, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        let place = self.go_to(parent)?;
        let before = self.before.meet(place, name);
        let blob = self.blob(before, entry.blob.digest)?;
        let target = Target::File {
            blob,
            digest: entry.blob.digest,
            role: entry.role,
            by_hash: entry.by_hash.iter().map(|hash| hash.kind).collect(),
        };
        self.found.bytes = self.found.bytes.saturating_add(entry.blob.size);
        self.found.pool_files += u64::from(entry.role == Role::Pool);
        if self.note(place.row, name, before, target) || self.whole {
            let file = ManifestFile {
                row: blob,
                blob: entry.blob,
                role: entry.role,
                by_hash: entry.by_hash.clone(),
            };
            self.found.files.insert(path.clone(), Some(file));
        }
        for hash in &entry.by_hash {
            self.by_hash_directory(place, hash.kind)?;
            if hash.kind != HashType::Sha256
                && let Some(value) = hex_bytes(&hash.hex)
            {
                self.found.hashes.push((blob, hash.kind, value));
            }
        }
        Ok(())
    }

    /// Everything that the listing did not have has ended.
    fn finish(mut self) -> Result<Compared, CatalogError> {
        let mut paths = HashMap::from([(ROOT_DIR, String::new())]);
        for (dir, name, target) in self.before.ended() {
            self.found.changes.push(Change {
                dir,
                name: name.into(),
                ends: true,
                begins: None,
            });
            if !self.whole && matches!(target, Target::File { .. }) {
                let path = below(&path_of(self.transaction, &mut paths, dir)?, name);
                self.found.files.insert(recorded_path(&path)?, None);
            }
        }
        Ok(self.found)
    }

    /// Notes that `name` led to `before` and leads to `target` now; answers whether that is a change.
    fn note(&mut self, dir: DirRow, name: &str, before: Option<Target>, target: Target) -> bool {
        if before == Some(target) {
            return false;
        }
        self.found.changes.push(Change {
            dir,
            name: name.into(),
            ends: before.is_some(),
            begins: Some(target),
        });
        true
    }

    /// Walks to the directory `path`, noting those that are entered on the way.
    fn go_to(&mut self, path: &str) -> Result<Place, CatalogError> {
        while !is_at_or_below(path, &self.place) {
            let (outside, _) = self.way.pop().expect("every path is below the root");
            self.place.truncate(outside);
        }
        let rest = &path[self.place.len()..];
        for name in rest.split('/').filter(|name| !name.is_empty()) {
            let outside = self.place.len();
            let mut inside = std::mem::take(&mut self.place);
            if outside > 0 {
                inside.push('/');
            }
            inside.push_str(name);
            let place = self.enter(self.here(), name, &inside)?;
            self.place = inside;
            self.way.push((outside, place));
        }
        Ok(self.here())
    }

    fn here(&self) -> Place {
        self.way.last().map_or(self.root, |(_, place)| *place)
    }

    /// Notes that the listing has the directory `name` in `parent`.
    fn enter(&mut self, parent: Place, name: &str, path: &str) -> Result<Place, CatalogError> {
        let before = self.before.meet(parent, name);
        let row = match before {
            Some(Target::Directory(row)) => row,
            Some(Target::File { .. }) | None => intern(self.transaction, parent.row, name)?,
        };
        if matches!(before, Some(Target::File { .. })) && !self.whole {
            self.found.files.insert(recorded_path(path)?, None);
        }
        if self.note(parent.row, name, before, Target::Directory(row)) || self.whole {
            self.found.dirs.insert(recorded_path(path)?, row);
        }
        Ok(self.before.place(row))
    }

    /// Notes that the listing has a directory `by-hash/<kind>` in `place`, where the walk is.
    fn by_hash_directory(&mut self, place: Place, kind: HashType) -> Result<(), CatalogError> {
        let met = self.by_hash.get(&place.row).copied();
        if met.is_some_and(|(_, kinds)| kinds.contains(kind)) {
            return Ok(());
        }
        let by_hash = below(&self.place, "by-hash");
        let path = below(&by_hash, kind.name());
        // A directory deeper than paths may be is left out: by-hash is an offer, the plain name stays.
        if path.len() <= RepoPath::LONGEST {
            let (inside, kinds) = match met {
                Some(met) => met,
                None => (self.enter(place, "by-hash", &by_hash)?, HashTypes::NONE),
            };
            self.enter(inside, kind.name(), &path)?;
            self.by_hash.insert(place.row, (inside, kinds.with(kind)));
        }
        Ok(())
    }

    /// The row of the bytes that a name leads to now, having led to `before`.
    fn blob(&self, before: Option<Target>, wanted: Digest) -> Result<BlobRow, CatalogError> {
        match before {
            Some(Target::File { blob, digest, .. }) if digest == wanted => Ok(blob),
            _ => Ok(find_blob(self.transaction, wanted)?
                .ok_or(CatalogError::NoBlob(wanted))?
                .row),
        }
    }
}

/// Whether `path` is the directory `dir` or lies in it; the root is the empty text.
fn is_at_or_below(path: &str, dir: &str) -> bool {
    let rest = path.strip_prefix(dir);
    dir.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path of `name` in `dir`, which is empty for the root.
pub(super) fn below(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

/// A path put together from names that the catalog recorded.
pub(super) fn recorded_path(text: &str) -> Result<RepoPath, CatalogError> {
    text.parse().map_err(|error| {
        let damaged = rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
        CatalogError::Sql(damaged)
    })
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
    let continues = depth < LONGEST_CHAIN && is_chain_whole(transaction, row)?;
    Ok(continues.then_some((row, digest, depth)))
}

/// Whether none of the manifests that a chain ends with is damaged: nothing new is to depend on one that is.
fn is_chain_whole(transaction: &Transaction<'_>, last: BlobRow) -> Result<bool, CatalogError> {
    let mut query = transaction.prepare_cached(
        "WITH RECURSIVE chain (blob_id) AS (
             SELECT ?1 UNION SELECT base_id FROM chain JOIN manifest USING (blob_id) WHERE base_id IS NOT NULL)
         SELECT 1 FROM chain JOIN damaged USING (blob_id)",
    )?;
    Ok(!query.exists([last])?)
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
        "INSERT INTO listing (mirror_id, seq, recorded_at, files, bytes, url, selection, manifest_id, pool_files,
                              held_against, absent)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            prepared.row,
            seq,
            Sql(what.now),
            stored(prepared.files),
            stored(prepared.bytes),
            what.source.url,
            what.source.selection,
            manifest.row,
            stored(prepared.pool_files),
            what.held.map(|shrink| stored(shrink.before)),
            stored(what.absent)
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
            }) => {
                if role == Role::Pool && prepared.previous.is_some() {
                    replaced::note(transaction, prepared.row, seq, (change.dir, &change.name), blob)?;
                }
                (None, Some(blob), Some(Sql(role)), by_hash.bits())
            }
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

/// The path of a directory, which may have ended. `known` holds those that were asked for, and the root.
pub(super) fn path_of(
    connection: &Connection,
    known: &mut HashMap<DirRow, String>,
    dir: DirRow,
) -> Result<String, CatalogError> {
    if let Some(path) = known.get(&dir) {
        return Ok(path.clone());
    }
    let mut query = connection.prepare_cached("SELECT parent_id, name FROM dir WHERE id = ?")?;
    let (parent, name): (DirRow, String) = query.query_row([dir], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let path = below(&path_of(connection, known, parent)?, &name);
    known.insert(dir, path.clone());
    Ok(path)
}

pub(super) fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::{House, at, check_rows, facts, listing, mirror_id, snapshot_name};
    use super::*;

    fn prepare(house: &mut House, files: &[(&str, &str)]) -> Prepared {
        let id = mirror_id("debian");
        house.catalog.adopt_mirror(&id).expect("adopts");
        let contents: Vec<_> = files.iter().map(|(_, content)| *content).collect();
        house.add(&contents);
        house.catalog.prepare(&id, &listing(files), at(0)).expect("prepares")
    }

    fn record(house: &mut House, prepared: &Prepared, name: &str) -> Result<Recorded, CatalogError> {
        let row = house.row("debian");
        let manifest = house.store_manifest(row, prepared, at(0))?;
        let name = snapshot_name(name);
        let what = Recording::plain(manifest, &name, at(0));
        house.catalog.record(prepared, &what)
    }

    #[test]
    fn what_did_not_change_costs_no_row() {
        let mut house = House::new();
        let files = [("dists/a/Release", "r"), ("pool/x", "x"), ("pool/y", "y")];
        let first = house
            .sync("debian", &listing(&files), "one", &[], at(0))
            .expect("records");
        assert_eq!(first.changes, 6, "three files and three directories");
        let again = house
            .sync("debian", &listing(&files), "two", &[], at(1))
            .expect("records");
        assert_eq!(again.changes, 0);
        let one = [("dists/a/Release", "r"), ("pool/x", "other"), ("pool/y", "y")];
        let changed = house
            .sync("debian", &listing(&one), "three", &[], at(2))
            .expect("records");
        assert_eq!(changed.changes, 1);
        assert_eq!(house.number("SELECT count(*) FROM entry"), 7);
    }

    #[test]
    fn a_listing_prepared_against_an_older_state_is_refused() {
        let mut house = House::new();
        let slow = prepare(&mut house, &[("a", "slow")]);
        let quick = prepare(&mut house, &[("a", "quick")]);
        record(&mut house, &quick, "quick").expect("records");
        assert!(matches!(
            record(&mut house, &slow, "slow"),
            Err(CatalogError::Overtaken(_))
        ));
        assert!(matches!(
            record(&mut house, &quick, "twice"),
            Err(CatalogError::Overtaken(_))
        ));
        check_rows(&house);
    }

    #[test]
    fn no_listing_names_a_blob_that_went_after_it_was_prepared() {
        let mut house = House::new();
        let prepared = prepare(&mut house, &[("a", "x"), ("b", "y")]);
        house.catalog.forget_unused_blob(facts("y").digest).expect("forgets");
        record(&mut house, &prepared, "one").expect_err("a hole is worse than a failed sync");
        check_rows(&house);
        assert_eq!(house.number("SELECT count(*) FROM entry"), 0);
    }

    #[test]
    fn a_manifest_must_be_a_blob_first() {
        let mut house = House::new();
        let prepared = prepare(&mut house, &[("a", "x")]);
        let name = snapshot_name("one");
        let what = Recording::plain(Digest::of(prepared.manifest()), &name, at(0));
        assert!(matches!(
            house.catalog.record(&prepared, &what),
            Err(CatalogError::NoBlob(_))
        ));
    }

    #[test]
    fn an_unknown_mirror_or_blob_cannot_be_prepared() {
        let mut house = House::new();
        let id = mirror_id("debian");
        let files = listing(&[("a", "x")]);
        assert!(matches!(
            house.catalog.prepare(&id, &files, at(0)),
            Err(CatalogError::UnknownMirror(_))
        ));
        house.catalog.adopt_mirror(&id).expect("adopts");
        let error = house.catalog.prepare(&id, &files, at(0)).expect_err("no blob");
        assert!(matches!(error, CatalogError::NoBlob(digest) if digest == facts("x").digest));
    }
}

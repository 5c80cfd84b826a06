//! The making of a catalog in a file of its own, or in memory to see what would come of it.
//!
//! Owns the order in which rows come into it, and what is said of those that cannot. Nothing of it is durable or in place
//! before [`Making::finish`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params, params_from_iter};
use serde_json::{Map, Value};

use super::tree::{Change, Expected, Manifests, Standing, Tree};
use super::{require_copy, require_sound};
use crate::catalog::ledger::{self, LISTING, LOGGED, Ledger};
use crate::catalog::sql_types::{OPEN, Sql, stored};
use crate::catalog::{CatalogError, ManifestFile, backup, beside, computed, connect, leases, record, schema};
use crate::model::{BlobFacts, Digest, HashType, HashTypes, Sha512};

/// What came of making a catalog from the ledger and manifests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rebuilt {
    /// Mirrors that have a listing.
    pub mirrors: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Moves of pointers.
    pub moves: u64,
    /// Blobs, the manifests among them.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Listings that could not be had from their manifests.
    pub lost: Vec<LostListing>,
    /// Rows that refer to what the ledger lacks: part of it is damaged.
    pub left_out: u64,
}

/// A listing that could not be had from its manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostListing {
    /// The mirror, as the ledger has it.
    pub mirror: String,
    /// The snapshots of it.
    pub snapshots: Vec<String>,
    /// The pointers that lead to one of them.
    pub pointers: Vec<String>,
    /// Why.
    pub why: String,
}

/// A catalog that is being made.
#[derive(Debug)]
pub struct Making {
    pub(super) connection: Connection,
    /// The file; `None` in memory.
    path: Option<PathBuf>,
}

impl Making {
    /// Makes a catalog from `ledger` and the manifests that `load` gives, which need not be checked: in the file `path`,
    /// with the owner and mode of the file `like`, or in memory.
    ///
    /// # Errors
    /// When it cannot be written, or contradicts itself.
    pub fn from_ledger(
        path: Option<&Path>,
        like: &Path,
        ledger: &Ledger,
        load: &mut dyn FnMut(Digest) -> Option<Vec<u8>>,
    ) -> Result<(Self, Rebuilt), CatalogError> {
        let mut making = Self::begin(path, like)?;
        let transaction = making.connection.transaction()?;
        let mut rebuilding = Rebuilding {
            transaction: &transaction,
            manifests: Manifests::new(load),
            blobs: HashMap::new(),
            dirs: HashMap::new(),
            done: Rebuilt::default(),
        };
        rebuilding.run(ledger)?;
        let done = rebuilding.done;
        transaction.commit()?;
        require_sound(&making.connection)?;
        Ok((making, done))
    }

    /// Makes a catalog from the copy at `copy`, in the file `path` with the owner and mode of the file `like`.
    /// `newest` is what is known of the one that it takes the place of.
    ///
    /// # Errors
    /// When the copy is none of a catalog, is damaged or of a newer program, or the file cannot be written.
    pub fn from_copy(path: &Path, like: &Path, copy: &Path, newest: Option<&Ledger>) -> Result<Self, CatalogError> {
        require_copy(copy)?;
        backup::copy_to(copy, path, like).map_err(|source| CatalogError::BackUp {
            copy: path.to_owned(),
            source,
        })?;
        let mut making = Self::open(path)?;
        schema::migrate(&mut making.connection, like)?;
        let transaction = making.connection.transaction()?;
        transaction.execute("UPDATE catalog SET generation = randomblob(16)", [])?;
        transaction.execute("DELETE FROM ledger", [])?;
        if let Some(ledger) = newest {
            go_on_after(&transaction, &ledger.sequences)?;
            go_on_after(&transaction, &BTreeMap::from([("ledger".to_owned(), ledger.n)]))?;
        }
        transaction.commit()?;
        require_sound(&making.connection)?;
        Ok(making)
    }

    fn begin(path: Option<&Path>, like: &Path) -> Result<Self, CatalogError> {
        let mut making = match path {
            Some(path) => {
                beside::create(path, like).map_err(beside_error("make", path))?;
                Self::open(path)?
            }
            None => Self {
                connection: connect(Path::new(":memory:"), rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?,
                path: None,
            },
        };
        schema::migrate(&mut making.connection, like)?;
        Ok(making)
    }

    fn open(path: &Path) -> Result<Self, CatalogError> {
        let connection = connect(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Whatever is cut short is made again from the beginning.
        connection.pragma_update(None, "journal_mode", "memory")?;
        connection.pragma_update(None, "synchronous", "off")?;
        Ok(Self {
            connection,
            path: Some(path.to_owned()),
        })
    }

    /// Hands every blob that something names to `each`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn needed_blobs(&self, mut each: impl FnMut(Digest, u64)) -> Result<(), CatalogError> {
        let mut query = self
            .connection
            .prepare("SELECT sha256, size FROM blob WHERE refs > 0")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let Sql(digest) = row.get(0)?;
            each(digest, row.get::<_, i64>(1)?.cast_unsigned());
        }
        Ok(())
    }

    /// The snapshots, as mirror and name, that name any of these blobs; sorted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn snapshots_with(&self, digests: &[Digest]) -> Result<BTreeSet<(String, String)>, CatalogError> {
        let mut snapshots = BTreeSet::new();
        let mut query = self.connection.prepare(
            "SELECT DISTINCT mirror.name, snapshot.name FROM entry
             JOIN snapshot ON snapshot.mirror_id = entry.mirror_id AND seq >= from_seq AND seq < to_seq
             JOIN mirror ON mirror.id = entry.mirror_id
             WHERE blob_id = ?",
        )?;
        let rows: Vec<i64> = digests
            .iter()
            .map(|digest| Ok(leases::find_blob(&self.connection, *digest)?.map(|found| found.row.number())))
            .collect::<Result<Vec<_>, CatalogError>>()?
            .into_iter()
            .flatten()
            .collect();
        for row in rows {
            let found = query.query_map([row], |row| Ok((row.get(0)?, row.get(1)?)))?;
            for snapshot in found {
                snapshots.insert(snapshot?);
            }
        }
        Ok(snapshots)
    }

    /// Takes files up that the cache has and nothing names, so that they are used again or collected.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn take_up(&mut self, found: &[(BlobFacts, Option<Sha512>)]) -> Result<(), CatalogError> {
        let transaction = self.connection.transaction()?;
        for (blob, sha512) in found {
            if leases::find_blob(&transaction, blob.digest)?.is_none() {
                insert_blob(&transaction, None, blob)?;
            }
            if let Some(hash) = sha512 {
                computed::add_sha512(&transaction, &[(blob.digest, *hash)])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// The generation of the new catalog.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn generation(&self) -> Result<String, CatalogError> {
        let sql = "SELECT lower(hex(generation)) FROM catalog";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// The file that it is made in.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Makes the file complete and durable: all of it in one file, as the catalog that it is to be.
    pub(super) fn finish(self) -> Result<(), CatalogError> {
        let Some(path) = self.path else { return Ok(()) };
        let mode: String = self
            .connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(CatalogError::NoLog(mode));
        }
        self.connection.close().map_err(|(_, error)| error)?;
        for log in ["-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(log);
            let log = PathBuf::from(name);
            beside::remove(&log).map_err(beside_error("remove", &log))?;
        }
        let sync = || beside::open(&path)?.sync_all();
        sync().map_err(beside_error("sync", &path))?;
        Ok(())
    }
}

fn beside_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CatalogError {
    let path = path.to_owned();
    move |source| CatalogError::Beside { action, path, source }
}

/// Lets numbered tables go on after these numbers.
fn go_on_after(transaction: &Transaction<'_>, newest: &BTreeMap<String, i64>) -> Result<(), CatalogError> {
    for (table, number) in newest {
        let raise = "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
        if transaction.execute(raise, params![table, number])? == 0 {
            let begin = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
            transaction.execute(begin, params![table, number])?;
        }
    }
    Ok(())
}

fn insert_blob(transaction: &Transaction<'_>, row: Option<i64>, blob: &BlobFacts) -> Result<i64, CatalogError> {
    transaction
        .prepare_cached("INSERT INTO blob (id, sha256, size, mtime) VALUES (?, ?, ?, ?)")?
        .execute(params![row, Sql(blob.digest), stored(blob.size), Sql(blob.mtime)])?;
    Ok(transaction.last_insert_rowid())
}

/// The key of a listing.
type Listing = (i64, i64);

struct Rebuilding<'a, 't> {
    transaction: &'t Transaction<'t>,
    manifests: Manifests<'a>,
    /// Blobs that have a row.
    blobs: HashMap<i64, Digest>,
    /// Directories that have a row, each by its number.
    dirs: HashMap<i64, Box<str>>,
    done: Rebuilt,
}

impl Rebuilding<'_, '_> {
    fn run(&mut self, ledger: &Ledger) -> Result<(), CatalogError> {
        let mut lost: BTreeMap<Listing, String> = BTreeMap::new();
        for table in &LOGGED {
            match table.name {
                LISTING => lost = self.listings(ledger)?,
                name => self.rows(ledger, name, &lost)?,
            }
        }
        self.manifest_rows()?;
        self.transaction.execute_batch(REPLACEMENTS)?;
        self.report_lost(ledger, lost);
        self.count()?;
        self.seed(ledger)
    }

    /// The listings that can be had, with their entries; why each of the others cannot.
    fn listings(&mut self, ledger: &Ledger) -> Result<BTreeMap<Listing, String>, CatalogError> {
        let mut lost = BTreeMap::new();
        let (mut mirror, mut tree) = (0, Tree::default());
        for row in ledger.rows(LISTING) {
            let key = (number(row, "mirror_id"), number(row, "seq"));
            if key.0 != mirror {
                (mirror, tree) = (key.0, Tree::default());
            }
            if !self.has("mirror", mirror)? {
                self.done.left_out += 1;
                lost.insert(key, "the ledger lacks its mirror".to_owned());
                continue;
            }
            let Some(expected) = expected(row) else {
                lost.insert(key, "the ledger does not say which manifest it has".to_owned());
                continue;
            };
            match tree.go_to(&expected, &mut self.manifests) {
                Ok(changes) => self.listing(key, row, &expected, (&tree, &changes))?,
                Err(error) => {
                    lost.insert(key, error.to_string());
                }
            }
        }
        Ok(lost)
    }

    fn listing(
        &mut self,
        (mirror, seq): Listing,
        row: &Map<String, Value>,
        expected: &Expected,
        (tree, changes): (&Tree, &[Change]),
    ) -> Result<(), CatalogError> {
        let read = self.manifests.read[&expected.manifest];
        let blob = BlobFacts {
            digest: expected.manifest,
            size: read.size,
            mtime: read.recorded_at,
        };
        self.blob(number(row, "manifest_id"), &blob)?;
        self.insert(LISTING, row)?;
        for change in changes {
            self.change((mirror, seq), tree, change)?;
        }
        Ok(())
    }

    fn change(&mut self, (mirror, seq): Listing, tree: &Tree, change: &Change) -> Result<(), CatalogError> {
        let (parent, name) = change.path.rsplit_once('/').unwrap_or(("", &change.path));
        let dir = self.dir(tree, parent)?;
        if change.ends {
            let sql = "UPDATE entry SET to_seq = ? WHERE mirror_id = ? AND dir_id = ? AND name = ? AND to_seq = ?";
            self.transaction
                .prepare_cached(sql)?
                .execute(params![seq, mirror, dir, name, OPEN])?;
        }
        let (child, file) = match &change.begins {
            None => return Ok(()),
            Some(Standing::Directory) => (Some(self.dir(tree, &change.path)?), None),
            Some(Standing::File(file)) => {
                self.blob(file.row.number(), &file.blob)?;
                self.hashes(file)?;
                (None, Some(file))
            }
        };
        let kinds: HashTypes = file
            .iter()
            .flat_map(|file| &file.by_hash)
            .map(|hash| hash.kind)
            .collect();
        let sql = "INSERT INTO entry (mirror_id, dir_id, name, from_seq, to_seq, child_dir, blob_id, role, by_hash)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        self.transaction.prepare_cached(sql)?.execute(params![
            mirror,
            dir,
            name,
            seq,
            OPEN,
            child,
            file.map(|file| file.row),
            file.map(|file| Sql(file.role)),
            kinds.bits()
        ])?;
        Ok(())
    }

    /// The row of a directory, which is made, and those around it, when there is none.
    fn dir(&mut self, tree: &Tree, path: &str) -> Result<i64, CatalogError> {
        let unsound = |error: super::tree::Unreadable| CatalogError::Unsound(error.to_string());
        let row = tree.number(path).map_err(unsound)?.number();
        if path.is_empty() {
            return Ok(row);
        }
        match self.dirs.get(&row) {
            Some(known) if **known == *path => return Ok(row),
            Some(known) => return Err(CatalogError::Unsound(format!("{known} and {path} have one number"))),
            None => {}
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.dir(tree, parent)?;
        self.transaction
            .prepare_cached("INSERT INTO dir (id, parent_id, name) VALUES (?, ?, ?)")?
            .execute(params![row, parent, name])?;
        self.dirs.insert(row, path.into());
        Ok(row)
    }

    /// Makes sure that a blob has this row.
    fn blob(&mut self, row: i64, blob: &BlobFacts) -> Result<(), CatalogError> {
        match self.blobs.get(&row) {
            Some(digest) if *digest == blob.digest => Ok(()),
            Some(digest) => Err(CatalogError::Unsound(format!(
                "{digest} and {} have one number",
                blob.digest
            ))),
            None => {
                insert_blob(self.transaction, Some(row), blob)?;
                self.blobs.insert(row, blob.digest);
                Ok(())
            }
        }
    }

    fn hashes(&self, file: &ManifestFile) -> Result<(), CatalogError> {
        let sql = "INSERT OR IGNORE INTO blob_hash (blob_id, kind, value) VALUES (?, ?, ?)";
        let mut insert = self.transaction.prepare_cached(sql)?;
        for hash in file.by_hash.iter().filter(|hash| hash.kind != HashType::Sha256) {
            if let Some(value) = record::hex_bytes(&hash.hex) {
                insert.execute(params![file.row, HashTypes::NONE.with(hash.kind).bits(), value])?;
            }
        }
        Ok(())
    }

    /// The rows of manifests: those of listings, and those that they build on, which get blobs of their own.
    fn manifest_rows(&mut self) -> Result<(), CatalogError> {
        go_on_after(
            self.transaction,
            &BTreeMap::from([("blob".to_owned(), self.manifests.newest.1)]),
        )?;
        let mut query = self
            .transaction
            .prepare("SELECT DISTINCT sha256 FROM listing JOIN blob ON blob.id = manifest_id")?;
        let named = query.query_map([], |row| row.get(0).map(|Sql(digest)| digest))?;
        for digest in named.collect::<rusqlite::Result<Vec<Digest>>>()? {
            self.manifest_row(digest)?;
        }
        Ok(())
    }

    /// Row and depth of a manifest.
    fn manifest_row(&mut self, digest: Digest) -> Result<(i64, i64), CatalogError> {
        let read = self.manifests.read[&digest];
        let row = match leases::find_blob(self.transaction, digest)? {
            Some(found) => found.row.number(),
            None => {
                let blob = BlobFacts {
                    digest,
                    size: read.size,
                    mtime: read.recorded_at,
                };
                insert_blob(self.transaction, None, &blob)?
            }
        };
        let known = "SELECT depth FROM manifest WHERE blob_id = ?";
        let depth = self
            .transaction
            .prepare_cached(known)?
            .query_row([row], |row| row.get(0));
        if let Some(depth) = depth.optional()? {
            return Ok((row, depth));
        }
        let base = read.base.map(|base| self.manifest_row(base)).transpose()?;
        let depth = base.map_or(0, |(_, depth)| depth + 1);
        self.transaction
            .prepare_cached("INSERT INTO manifest (blob_id, base_id, depth, bytes) VALUES (?, ?, ?, ?)")?
            .execute(params![row, base.map(|(row, _)| row), depth, stored(read.size)])?;
        Ok((row, depth))
    }

    /// The rows of one table, but for those of listings that are lost and for what refers to rows that are not there.
    fn rows(&mut self, ledger: &Ledger, table: &str, lost: &BTreeMap<Listing, String>) -> Result<(), CatalogError> {
        for row in ledger.rows(table) {
            let listing = (number(row, "mirror_id"), number(row, "seq"));
            match table {
                "snapshot" if lost.contains_key(&listing) => self.gone(row)?,
                "release" if lost.contains_key(&listing) => {}
                "snapshot" | "release" if !self.has_listing(listing)? => self.done.left_out += 1,
                "snapshot_tag" | "test_run" if !self.has("snapshot", number(row, "snapshot_id"))? => {
                    self.done.left_out += u64::from(lost.is_empty());
                }
                "test_company" if !self.has("test_run", number(row, "run_id"))? => {
                    self.done.left_out += u64::from(lost.is_empty());
                }
                "move" if !self.has("pointer", number(row, "pointer"))? => self.done.left_out += 1,
                "move" | "snapshot_gone" if !self.has("mirror", listing.0)? => self.done.left_out += 1,
                _ => self.insert(table, row)?,
            }
        }
        Ok(())
    }

    /// Notes that a snapshot is gone: its time must not get an older tree.
    fn gone(&self, snapshot: &Map<String, Value>) -> Result<(), CatalogError> {
        let of = |column: &str| number(snapshot, column);
        self.transaction.execute(
            "INSERT OR IGNORE INTO snapshot_gone (id, mirror_id, created_at)
             SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM mirror WHERE id = ?2)",
            params![of("id"), of("mirror_id"), of("created_at")],
        )?;
        Ok(())
    }

    fn has(&self, table: &str, id: i64) -> Result<bool, CatalogError> {
        let sql = format!("SELECT 1 FROM {table} WHERE id = ?");
        Ok(self.transaction.prepare_cached(&sql)?.exists([id])?)
    }

    fn has_listing(&self, (mirror, seq): Listing) -> Result<bool, CatalogError> {
        let sql = "SELECT 1 FROM listing WHERE mirror_id = ? AND seq = ?";
        Ok(self.transaction.prepare_cached(sql)?.exists([mirror, seq])?)
    }

    /// Puts a row into its table, with those of its columns that the table has. Others have their defaults.
    fn insert(&self, table: &str, row: &Map<String, Value>) -> Result<(), CatalogError> {
        let mut columns = ledger::columns(self.transaction, table)?;
        columns.retain(|column| row.contains_key(column));
        let places = vec!["?"; columns.len()].join(", ");
        // The two pointers of every catalog are there already.
        let or = if table == "pointer" { "OR REPLACE" } else { "" };
        let sql = format!("INSERT {or} INTO {table} ({}) VALUES ({places})", columns.join(", "));
        let values = columns.iter().map(|column| sql_value(&row[column]));
        let values: Vec<SqlValue> = values
            .collect::<Option<_>>()
            .ok_or_else(|| CatalogError::Unsound(format!("a row of {table} has what no column can hold")))?;
        self.transaction
            .prepare_cached(&sql)?
            .execute(params_from_iter(values))?;
        Ok(())
    }

    fn report_lost(&mut self, ledger: &Ledger, lost: BTreeMap<Listing, String>) {
        let mut pointed: HashMap<(i64, i64), i64> = HashMap::new();
        for row in ledger.rows("move") {
            // In the order of their numbers: the last one counts.
            let snapshot = match row.get("act").and_then(Value::as_str) {
                Some(super::super::unset::UNPUBLISH) => 0,
                _ => number(row, "snapshot_id"),
            };
            pointed.insert((number(row, "mirror_id"), number(row, "pointer")), snapshot);
        }
        let name_of = |table: &str, id: i64| {
            let row = ledger.rows(table).find(|row| number(row, "id") == id);
            row.and_then(|row| row.get("name")?.as_str()).unwrap_or("?").to_owned()
        };
        for (listing, why) in lost {
            let snapshots = ledger.rows("snapshot");
            let snapshots: Vec<_> = snapshots
                .filter(|row| (number(row, "mirror_id"), number(row, "seq")) == listing)
                .collect();
            let rows: BTreeSet<i64> = snapshots.iter().map(|row| number(row, "id")).collect();
            let mut pointers: Vec<String> = pointed
                .iter()
                .filter(|((mirror, _), snapshot)| *mirror == listing.0 && rows.contains(snapshot))
                .map(|((_, pointer), _)| name_of("pointer", *pointer))
                .collect();
            pointers.sort();
            let name = |row: &&Map<String, Value>| row.get("name").and_then(Value::as_str).unwrap_or("?").to_owned();
            self.done.lost.push(LostListing {
                mirror: name_of("mirror", listing.0),
                snapshots: snapshots.iter().map(name).collect(),
                pointers,
                why,
            });
        }
    }

    fn count(&mut self) -> Result<(), CatalogError> {
        let count = |sql: &str| -> Result<u64, CatalogError> {
            let number: i64 = self.transaction.query_row(sql, [], |row| row.get(0))?;
            Ok(number.cast_unsigned())
        };
        self.done.mirrors = count("SELECT count(DISTINCT mirror_id) FROM listing")?;
        self.done.snapshots = count("SELECT count(*) FROM snapshot")?;
        self.done.moves = count("SELECT count(*) FROM move")?;
        self.done.blobs = count("SELECT count(*) FROM blob")?;
        self.done.bytes = count("SELECT coalesce(sum(size), 0) FROM blob")?;
        Ok(())
    }

    /// Lets every number go on after those that were ever given out, as far as is known; and the ledger after its last change.
    fn seed(&self, ledger: &Ledger) -> Result<(), CatalogError> {
        go_on_after(self.transaction, &ledger.sequences)?;
        let (dir, blob) = self.manifests.newest;
        let newest = [("dir", dir), ("blob", blob), ("ledger", ledger.n)];
        go_on_after(
            self.transaction,
            &newest.map(|(table, number)| (table.to_owned(), number)).into(),
        )?;
        // What was noted while the rows came in.
        self.transaction.execute("DELETE FROM ledger", [])?;
        Ok(())
    }
}

/// As syncs note them one by one.
const REPLACEMENTS: &str = "
    INSERT INTO replacement (mirror_id, seq, dir_id, name)
    SELECT mirror_id, from_seq, dir_id, name FROM entry AS now
    WHERE role = 2
      AND EXISTS (SELECT 1 FROM entry AS before
                  WHERE before.mirror_id = now.mirror_id AND before.dir_id = now.dir_id AND before.name = now.name
                    AND before.from_seq < now.from_seq AND before.blob_id <> now.blob_id)";

fn expected(row: &Map<String, Value>) -> Option<Expected> {
    Some(Expected {
        seq: number(row, "seq"),
        manifest: row.get("manifest")?.as_str()?.parse().ok()?,
        files: number(row, "files").cast_unsigned(),
        bytes: number(row, "bytes").cast_unsigned(),
    })
}

/// The number in a column, or one that no row has.
fn number(row: &Map<String, Value>, column: &str) -> i64 {
    row.get(column).and_then(Value::as_i64).unwrap_or(-1)
}

fn sql_value(value: &Value) -> Option<SqlValue> {
    match value {
        Value::Null => Some(SqlValue::Null),
        Value::Number(number) => number.as_i64().map(SqlValue::Integer),
        Value::String(text) => Some(SqlValue::Text(text.clone())),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

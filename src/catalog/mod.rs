//! The metadata database: which snapshots exist, what each holds, and where the pointers lead.
//!
//! The only room with SQL. Owns the file `catalog.db`, its schema and every statement on it; design in
//! `docs/formats.md`. It never touches blobs' bytes and never decides policy: it records what the use cases decided.
//!
//! - [`Catalog`] writes, [`CatalogReader`] reads; the second has no method that changes anything, so holding it is
//!   proof that a caller cannot move a pointer. Both serve one thread at a time; threads open their own.
//! - Every visible change is one IMMEDIATE transaction. A commit that reports an error may still have happened: `commits`
//!   finds out, and the error says what is.
//! - A listing's rows live from the listing that brought them to the one that ended them, so an unchanged file costs
//!   nothing in a new listing, whatever the size of the archive.

#![expect(clippy::disallowed_types, reason = "the one room with SQL")]

mod backup;
mod beside;
mod changes;
mod commits;
mod computed;
mod damage;
mod files;
mod forgotten;
mod freed;
mod generations;
mod leases;
mod ledger;
mod live;
mod manifest;
mod pointers;
mod rebuild;
mod record;
mod rehash;
mod releases;
mod remarks;
mod replaced;
mod schema;
mod snapshots;
mod soundness;
mod sql_types;
mod standing;
mod sys;
mod test_runs;
#[cfg(test)]
mod tests;
mod times;
mod traceless;
mod tree;
mod turns;
mod unneeded;
mod unset;
mod whereabouts;
mod wishes;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

pub use backup::BackUpError;
pub use changes::{FileChange, FileChanges};
pub use computed::Uncompressed;
pub use damage::{Aside, Damaged, Suspect};
pub use files::ListedFile;
pub use freed::Freed;
pub use generations::{Generation, Lenders, Reach};
pub use leases::Claim;
pub use ledger::{Ledger, read as read_ledger};
pub use live::{Condemned, Marked};
pub use manifest::{Manifest, ManifestError, ManifestFile};
pub use pointers::{Act, MoveRecord, Moved, PointerTarget, RequestedMove};
pub use rebuild::{Health, Held, LostListing, Making, Rebuilt, examine};
pub use record::{Prepared, Recorded, Recording};
pub use rehash::{Begun, Rehashed, Stored};
pub use releases::{ReleaseFacts, Source, SyncedState};
pub use snapshots::SnapshotRecord;
pub use soundness::Soundness;
pub use sql_types::{BlobRow, DirRow, MirrorRow, MoveRow, ROOT_DIR, Seq, SnapshotRow};
pub use standing::{Lacking, Unfit};
pub use test_runs::TestRun;
pub use tree::{FileRow, TreeNode};
pub use turns::in_turn;
pub use unneeded::Unneeded;
pub use unset::{UNPUBLISH, Unsetting};
pub use whereabouts::{ListedAs, Whereabouts};
pub use wishes::Foreseen;

use crate::model::{Digest, Leads, MirrorId, NameError, Pointer, Shrink, SnapshotName, Timestamp};

/// The oldest SQLite without the bug by which processes that share a write-ahead log can corrupt it (fixed in 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// Bytes of the write-ahead log that stay allocated between commits. The log of a first sync is larger than the
/// database; without a limit it would keep that size for ever. When the last connection closes, it shrinks to nothing.
const LARGEST_IDLE_LOG: i64 = 4 << 20;

/// KiB of database pages that a writer may keep in memory. A sync looks every file of the archive up; with SQLite's
/// 2 MiB it would read the same pages again and again.
const WRITER_CACHE: i64 = 64 << 10;

/// KiB of database pages that a reader may keep in memory; a mount has several readers.
const READER_CACHE: i64 = 8 << 10;

/// How long a statement waits for another process's transaction. Ours last milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before what SQLite does not wait for is tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Why the catalog could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database file could not be opened.
    #[error("cannot open the catalog {path}")]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The linked SQLite can corrupt databases shared by processes.
    #[error("SQLite {0} can corrupt a database that processes share; 3.51.3 or newer is needed")]
    OldSqlite(&'static str),
    /// The file system cannot carry a write-ahead log.
    #[error("the catalog's journal mode is {0}, not wal: the file system of the state directory cannot be used")]
    NoLog(String),
    /// The file has no tables yet.
    #[error("the catalog is empty: nothing was synced here yet")]
    Empty,
    /// The file is a database of another program.
    #[error("the file is not a catalog of mirrorctl")]
    Foreign,
    /// The catalog was written by a newer program.
    #[error("the catalog has format {found}, and this program knows up to {known}; it is left untouched")]
    Newer {
        /// The file's format.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// The catalog is older and this command may not change it.
    #[error("the catalog has the older format {found}; the next sync brings it to {known}")]
    Older {
        /// The file's format.
        found: u32,
        /// This program's format.
        known: u32,
    },
    /// The catalog has to be migrated and could not be copied before.
    #[error("the older catalog was not changed, because it could not be copied to {} first", copy.display())]
    BackUp {
        /// Where the copy belongs.
        copy: PathBuf,
        /// Why it could not be made.
        source: BackUpError,
    },
    /// There was a catalog, by the ledger beside it, and it is empty or missing.
    #[error("the catalog is lost: there is a ledger of one in {}", ledger.display())]
    Lost {
        /// The ledger.
        ledger: PathBuf,
    },
    /// The ledger beside it has changes that the catalog has not: it was put back to an earlier time, or lost its log.
    #[error("the catalog is of an earlier time: {changes} changes are missing that its ledger has")]
    Stale {
        /// Number of the changes.
        changes: i64,
    },
    /// Another catalog has taken the place of the one that is open.
    #[error("the catalog was replaced by another one meanwhile")]
    Replaced,
    /// A catalog made anew contradicts itself.
    #[error("the catalog that was made is not sound: {0}")]
    Unsound(String),
    /// A file beside the catalog could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Beside {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A statement failed; nothing was changed.
    #[error("the catalog could not be read or written")]
    Sql(#[from] rusqlite::Error),
    /// A commit reported an error, and the change is not there and never will be.
    #[error("the catalog could not write the change, and it is not recorded")]
    NotRecorded(#[source] rusqlite::Error),
    /// A commit reported an error, and the change is there, as far as anybody can see.
    #[error("the change is recorded, but the disk did not confirm it: a power cut could take it back")]
    Undurable(#[source] rusqlite::Error),
    /// A commit reported an error, the change is not there, and nothing can be written that would make that final.
    #[error("the catalog could not write the change, and whoever reads it now does not find it there")]
    NotSeen(#[source] rusqlite::Error),
    /// A commit reported an error, and whether the change is there cannot be found out.
    #[error("the catalog could not confirm the change; it may or may not be recorded")]
    CommitUnknown(#[source] rusqlite::Error),
    /// No mirror of this id was ever synced.
    #[error("mirror {0} has never been synced")]
    UnknownMirror(MirrorId),
    /// No such snapshot.
    #[error("mirror {mirror} has no snapshot {name}")]
    UnknownSnapshot {
        /// The mirror.
        mirror: MirrorId,
        /// The name asked for.
        name: SnapshotName,
    },
    /// Its listing is held, so that no pointer moves there.
    #[error("snapshot {name} of {mirror} is held: it has {shrink}")]
    Held {
        /// The mirror.
        mirror: MirrorId,
        /// The snapshot.
        name: SnapshotName,
        /// Why it is held.
        shrink: Shrink,
    },
    /// Files of it are damaged, so that no pointer moves there.
    #[error("{files} files of snapshot {name} of {mirror} are damaged, and reading them fails")]
    Damaged {
        /// The mirror.
        mirror: MirrorId,
        /// The snapshot.
        name: SnapshotName,
        /// Number of files, by their names.
        files: u64,
    },
    /// The name is taken.
    #[error("mirror {mirror} already has a snapshot {name}")]
    SnapshotExists {
        /// The mirror.
        mirror: MirrorId,
        /// The name asked for.
        name: SnapshotName,
    },
    /// A pointer leads to the snapshot, so it cannot go.
    #[error("{mirror}/{pointer} leads to snapshot {name}")]
    Pointed {
        /// The mirror.
        mirror: MirrorId,
        /// The pointer.
        pointer: Pointer,
        /// The snapshot.
        name: SnapshotName,
    },
    /// A pointer lends files of the snapshot.
    #[error("{mirror}/{pointer} lends files of snapshot {name} {reach}")]
    Lends {
        /// The mirror.
        mirror: MirrorId,
        /// The pointer.
        pointer: Pointer,
        /// The snapshot.
        name: SnapshotName,
        /// For how long.
        reach: Reach,
    },
    /// The snapshot is protected.
    #[error("snapshot {name} of {mirror} is protected")]
    Protected {
        /// The mirror.
        mirror: MirrorId,
        /// The snapshot.
        name: SnapshotName,
    },
    /// Clients may be reading the mirror, so it cannot go without force.
    #[error("clients may be reading {mirror}: {mirror}/{pointer} leads to snapshot {name}")]
    InUse {
        /// The mirror.
        mirror: MirrorId,
        /// A pointer other than `staging`.
        pointer: Pointer,
        /// The snapshot.
        name: SnapshotName,
    },
    /// The pointer is not set.
    #[error("{mirror}/{pointer} leads nowhere yet")]
    NotSet {
        /// The mirror.
        mirror: MirrorId,
        /// The pointer.
        pointer: Pointer,
    },
    /// The pointer leads elsewhere than was expected.
    #[error("{mirror}/{pointer} leads {found}, not {expected}")]
    Unexpected {
        /// The mirror.
        mirror: MirrorId,
        /// The pointer.
        pointer: Pointer,
        /// Where it was expected to lead.
        expected: Leads,
        /// Where it leads.
        found: Leads,
    },
    /// The pointer moved a moment ago. Moved again now, it would show a time that is to come.
    #[error("{mirror}/{pointer} moved a moment ago, and moves again at {until}")]
    TooSoon {
        /// The mirror.
        mirror: MirrorId,
        /// The pointer.
        pointer: Pointer,
        /// When it can move again.
        until: Timestamp,
    },
    /// The pointer has only ever led to where it leads.
    #[error("{mirror}/{pointer} was nowhere before")]
    NoPrevious {
        /// The mirror.
        mirror: MirrorId,
        /// The pointer.
        pointer: Pointer,
    },
    /// The pointer went back last, so what was published after where it would go next is not what it left.
    #[error("{mirror}/{pointer} went back to {at} already, so what is to be retracted has to be said")]
    WentBack {
        /// The mirror.
        mirror: MirrorId,
        /// The pointer.
        pointer: Pointer,
        /// Where it leads.
        at: SnapshotName,
        /// Where another step back would lead, if there is one.
        further: Option<SnapshotName>,
    },
    /// Snapshots must pass their checks before pointers move to them; at least one.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Untested(Vec<Unfit>),
    /// A generated name and all its numbered forms are taken.
    #[error("no free snapshot name like {name} is left")]
    NoFreeName {
        /// The generated name.
        name: SnapshotName,
        /// Why the next form is none.
        source: NameError,
    },
    /// The mirror's last synced state changed between preparing and recording.
    #[error("mirror {0} was synced by another process meanwhile")]
    Overtaken(MirrorId),
    /// A listing names bytes that the catalog has no blob for.
    #[error("no blob {0} is recorded")]
    NoBlob(Digest),
    /// A manifest could not be written or read.
    #[error("the manifest of {mirror} cannot be made")]
    Manifest {
        /// The mirror.
        mirror: MirrorId,
        /// Why.
        source: ManifestError,
    },
}

/// Reads the catalog. Cannot change anything.
#[derive(Debug)]
pub struct CatalogReader {
    connection: Connection,
}

/// Reads and writes the catalog.
#[derive(Debug)]
pub struct Catalog {
    reader: CatalogReader,
    path: PathBuf,
    /// Which file that was when it was opened.
    file: Option<(u64, u64)>,
    ledger: ledger::Writing,
}

impl CatalogReader {
    /// Opens the existing catalog at `path` for reading. Works for any user who can read the file.
    ///
    /// # Errors
    /// When it is missing, empty, or of another format.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        if identity(path).is_none() {
            ledger::refuse_lost(path)?;
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.pragma_update(None, "query_only", true)?;
        schema::require_current(&connection).map_err(|error| ledger::or_lost(error, path))?;
        ledger::refuse_stale(&connection, path)?;
        connection.pragma_update(None, "cache_size", -READER_CACHE)?;
        Ok(Self { connection })
    }

    /// The random id of this catalog's life: another one means that row ids may denote other things.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn generation(&self) -> Result<String, CatalogError> {
        let sql = "SELECT lower(hex(generation)) FROM catalog";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// A number that changes whenever another connection has committed to the catalog.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn data_version(&self) -> Result<i64, CatalogError> {
        Ok(self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    /// Runs `read` over one unchanging state of the catalog.
    ///
    /// # Errors
    /// Whatever `read` returns, or that the state cannot be read.
    pub fn at_once<T>(&self, read: impl FnOnce(&Self) -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        let transaction = self.connection.unchecked_transaction()?;
        let answer = read(self)?;
        transaction.finish()?;
        Ok(answer)
    }
}

impl Catalog {
    /// Opens the catalog at `path`, creating or migrating it as needed. The file must exist (it may be empty), so
    /// that whoever made it decided on its owner and mode.
    ///
    /// # Errors
    /// When it cannot be opened or has a newer format.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let file = identity(path);
        let mut connection = Self::connect(path)?;
        schema::migrate(&mut connection, path)?;
        // What a killed process has left to be written; all of it where there is no ledger of this catalog yet.
        let mut ledger = ledger::Writing::beside(path);
        ledger.follow(&mut connection, path);
        Ok(Self {
            reader: CatalogReader { connection },
            path: path.to_owned(),
            file,
            ledger,
        })
    }

    /// A connection that may write, to a catalog of whatever version.
    fn connect(path: &Path) -> Result<Connection, CatalogError> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // The log stays on close, as users who may not write could not read a database without it.
        sys::keep_log_on_close(&connection)?;
        // Before anything below can change a file that is not ours or not of our time.
        match schema::refuse_unknown(&connection)? {
            0 => ledger::refuse_lost(path)?,
            schema::LEDGER_SINCE.. => ledger::refuse_stale(&connection, path)?,
            _ => {}
        }
        // WAL lets readers go on while we write; FULL makes an acknowledged commit survive a power cut, which NORMAL
        // does not in WAL mode.
        let mode = keep_a_log(&connection)?;
        if mode != "wal" {
            return Err(CatalogError::NoLog(mode));
        }
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "journal_size_limit", LARGEST_IDLE_LOG)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE)?;
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        Ok(connection)
    }

    /// The reading half.
    #[must_use]
    pub fn reader(&self) -> &CatalogReader {
        &self.reader
    }

    /// A reader of its own for another thread.
    ///
    /// # Errors
    /// When the catalog cannot be opened once more.
    pub fn another_reader(&self) -> Result<CatalogReader, CatalogError> {
        CatalogReader::open(&self.path)
    }

    /// Shortens the ledger where what was added to it is longer than what it began with.
    ///
    /// # Errors
    /// When the catalog cannot be read. A ledger that cannot be written stays as it is.
    pub fn tidy_ledger(&mut self) -> Result<(), CatalogError> {
        self.ledger.tidy(&mut self.reader.connection, &self.path)
    }

    /// Runs `change` in one IMMEDIATE transaction and commits it, or leaves everything as it was. When the commit reports an
    /// error, what became of it is found out. Then brings the ledger to what was committed.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let before = self.ledger.before();
        let transaction = self
            .reader
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Whoever puts another catalog in the place of this one has held the lock that we have now.
        if identity(&self.path) != self.file {
            return Err(CatalogError::Replaced);
        }
        before.settle(&transaction)?;
        let changes = transaction.total_changes();
        let outcome = change(&transaction)?;
        if transaction.total_changes() == changes {
            transaction.commit()?;
            return Ok(outcome);
        }
        let mark = commits::mark(&transaction)?;
        if let Err(error) = transaction.commit() {
            self.settle(&mark, error)?;
        }
        self.ledger.follow(&mut self.reader.connection, &self.path);
        Ok(outcome)
    }
}

/// Which file is at `path`; `None` when there is none.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let facts = std::fs::symlink_metadata(path).ok()?;
    Some((facts.dev(), facts.ino()))
}

impl CatalogError {
    /// Whether another process kept the catalog locked for too long.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.code().is_some_and(says_busy)
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.code() == Some(ErrorCode::DiskFull)
    }

    /// Whether the file system takes no changes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.code() == Some(ErrorCode::ReadOnly)
    }

    /// Whether the file system reported an error while it read or wrote: a damaged disk, or one that is full, which SQLite
    /// does not always tell apart. It also calls a database damaged that could not be read.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt)
        )
    }

    /// Whether a file of the catalog could not be opened.
    #[must_use]
    pub fn cannot_open(&self) -> bool {
        self.code() == Some(ErrorCode::CannotOpen)
    }

    /// Whether the catalog itself is damaged, so that it has to be made anew.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Stale { .. } | Self::Foreign | Self::Unsound(_) => true,
            Self::Sql(error) | Self::CommitUnknown(error) | Self::Open { source: error, .. } => says_damaged(error),
            _ => false,
        }
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sql(error)
            | Self::NotRecorded(error)
            | Self::NotSeen(error)
            | Self::Undurable(error)
            | Self::CommitUnknown(error)
            | Self::Open { source: error, .. } => error.sqlite_error_code(),
            _ => None,
        }
    }
}

/// Has the database keep a write-ahead log. Answers with what it keeps now.
///
/// Several processes that do so at once to a new database refuse each other, which SQLite does not wait for by itself.
fn keep_a_log(connection: &Connection) -> rusqlite::Result<String> {
    let begun = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)) {
            Err(error) if error.sqlite_error_code().is_some_and(says_busy) && begun.elapsed() < BUSY_TIMEOUT => {
                thread::sleep(BETWEEN_TRIES);
            }
            answer => return answer,
        }
    }
}

/// Whether a code says that another process has a lock. It is `FileLockingProtocolFailed` where that process was stopped while
/// it was changing the index of the log, whose locks SQLite does not wait for by its time-out.
fn says_busy(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed
    )
}

/// Whether an error can only come from a database that is damaged.
fn says_damaged(error: &rusqlite::Error) -> bool {
    let is_of_a_value = matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
    );
    // A file ends where its index says that there is more.
    let is_short = error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ);
    let code = error.sqlite_error_code();
    is_of_a_value || is_short || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, CatalogError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(CatalogError::OldSqlite(rusqlite::version()));
    }
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        sys::fill_shared_memory(&connection);
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(64);
        // Without it, SQLite prepares most statements anew for each value that is bound to them, in the hope of a better
        // plan: three quarters of the processor time that a walk over directories not seen before takes the mount.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    open().map_err(|source| CatalogError::Open {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod opening_tests {
    use rusqlite::{StatementStatus, params};

    use super::tests::{House, SAME, at, listing, mirror_id};
    use super::*;
    use crate::model::MoveTerms;

    #[test]
    fn the_log_stays_when_the_last_writer_leaves() {
        let House { catalog, path, .. } = &mut House::new();
        catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        let fresh = Catalog::open(path).expect("opens");
        drop(std::mem::replace(catalog, fresh));
        drop(Catalog::open(path).expect("opens"));
        for log in ["catalog.db-wal", "catalog.db-shm"] {
            assert!(path.with_file_name(log).exists(), "{log}");
        }
    }

    #[test]
    fn a_statement_is_prepared_once_whatever_is_bound_to_it() {
        let house = House::new();
        let sql = "SELECT name FROM entry WHERE mirror_id = ? AND dir_id = ? AND from_seq <= ? AND to_seq > ?";
        let prepared_again = || {
            let statement = house.sql().prepare_cached(sql).expect("a query");
            statement.get_status(StatementStatus::RePrepare)
        };
        for number in 0..10 {
            let mut query = house.sql().prepare_cached(sql).expect("a query");
            let found = query.exists(params![1, number, number, number]).expect("reads");
            assert!(!found, "the catalog is empty");
        }
        assert_eq!(prepared_again(), 0);
    }

    #[test]
    fn the_log_of_a_large_change_does_not_keep_its_size() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("catalog.db");
        std::fs::write(&path, "").expect("makes a file");
        let mut catalog = Catalog::open(&path).expect("opens");
        let row = catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        let digests: Vec<_> = (0..120_000_u32).map(|n| Digest::of(&n.to_le_bytes())).collect();
        catalog.lease(row, &digests, at(0)).expect("leases");
        let log = || {
            std::fs::metadata(path.with_file_name("catalog.db-wal"))
                .expect("exists")
                .len()
        };
        assert!(
            log() > LARGEST_IDLE_LOG.cast_unsigned(),
            "the change was large: {}",
            log()
        );
        catalog.note_unchanged(row, &SAME, at(1)).expect("notes");
        catalog.note_unchanged(row, &SAME, at(2)).expect("notes");
        let reader = CatalogReader::open(&path).expect("opens");
        drop(catalog);
        drop(reader);
        drop(Catalog::open(&path).expect("opens"));
        assert_eq!(log(), 0);
    }

    #[test]
    fn commits_survive_a_power_cut_in_every_mode_we_open() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("catalog.db");
        std::fs::write(&path, "").expect("makes a file");
        let catalog = Catalog::open(&path).expect("opens");
        let connection = &catalog.reader.connection;
        let text = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        assert_eq!(text("journal_mode").expect("reads"), "wal");
        assert_eq!(number("synchronous").expect("reads"), 2, "FULL");
        assert_eq!(number("foreign_keys").expect("reads"), 1);
        assert_eq!(number("trusted_schema").expect("reads"), 0);
    }

    #[test]
    fn a_reader_cannot_write() {
        let house = House::new();
        let reader = house.catalog.another_reader().expect("opens");
        for sql in [
            "INSERT INTO mirror (name) VALUES ('x')",
            "DELETE FROM dir",
            "PRAGMA user_version = 9",
            "DROP TABLE move",
            "CREATE TABLE theirs (x)",
        ] {
            assert!(reader.connection.execute_batch(sql).is_err(), "{sql}");
        }
        reader
            .connection
            .pragma_update(None, "query_only", false)
            .expect("a pragma");
        assert!(
            reader.connection.execute("DELETE FROM dir", []).is_err(),
            "nor when it tries hard"
        );
    }

    #[test]
    fn a_reader_sees_that_something_was_committed() {
        let mut house = House::new();
        let reader = house.catalog.another_reader().expect("opens");
        let before = reader.data_version().expect("reads");
        assert_eq!(reader.data_version().expect("reads"), before, "nothing happened");
        house.catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        let after = reader.data_version().expect("reads");
        assert_ne!(after, before);
        let row = house.row("debian");
        house
            .catalog
            .create_snapshot(
                &mirror_id("debian"),
                &tests::snapshot_name("x"),
                false,
                &[],
                MoveTerms::default(),
                tests::act("stage", at(0)),
            )
            .expect_err("was never synced");
        assert_eq!(
            reader.data_version().expect("reads"),
            after,
            "what failed changed nothing"
        );
        house.catalog.note_unchanged(row, &SAME, at(1)).expect("notes");
        assert_ne!(reader.data_version().expect("reads"), after);
    }

    #[test]
    fn one_state_is_read_while_another_is_committed() {
        let mut house = House::new();
        let files = listing(&[("a", "x")]);
        house
            .sync("debian", &files, "one", &[Pointer::Current], at(0))
            .expect("records");
        let row = house.row("debian");
        let reader = house.catalog.another_reader().expect("opens");
        let newest = |reader: &CatalogReader| Ok(reader.pointer(row, &Pointer::Current)?.map(|moved| moved.snapshot));
        let (before, after) = reader
            .at_once(|reader| {
                let before = newest(reader)?;
                house.sync("debian", &files, "two", &[Pointer::Current], at(1))?;
                Ok((before, newest(reader)?))
            })
            .expect("reads");
        assert_eq!(before, after);
        assert_ne!(newest(&reader).expect("reads"), before);
        let failed: Result<(), _> = reader.at_once(|_| Err(CatalogError::Empty));
        assert!(matches!(failed, Err(CatalogError::Empty)));
        reader.at_once(newest).expect("a failed reading leaves nothing open");
    }
}

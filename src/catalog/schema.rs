//! The versions of the catalog's schema and the way from each to the next.
//!
//! Owns the list of migrations, which is only ever appended to, the copy of a catalog before it is migrated, and the
//! refusal of a newer format. The number of applied migrations is SQLite's `user_version`.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::backup::back_up;
use super::{CatalogError, ledger};

/// `application_id` of a catalog, "MRCT" in ASCII, so that `file` and we can tell it from any other database.
const APPLICATION_ID: i32 = 0x4d52_4354;

/// Every migration, oldest first. A released one is never edited.
const MIGRATIONS: [&str; 9] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
    include_str!("migrations/0009.sql"),
];

/// The format that this program reads and writes.
pub(super) const KNOWN: u32 = 9;
const _: () = assert!(KNOWN as usize == MIGRATIONS.len(), "one migration for each format");

/// The first format whose catalogs have a ledger.
pub(super) const LEDGER_SINCE: u32 = 8;

/// Refuses what this program must not touch: a newer catalog, or anything else than a catalog. The number of applied
/// migrations is 0 for what is no catalog yet.
pub(super) fn refuse_unknown(connection: &Connection) -> Result<u32, CatalogError> {
    check(connection)
}

/// Brings the database at `path` to this program's version, in one transaction. A catalog that has a version already
/// is copied first, by the same transaction's lock exactly as it is, to `catalog-v<version>.db` beside it.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), CatalogError> {
    if version(connection)? == Some(KNOWN) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let applied = check(&transaction)?;
    if applied == KNOWN {
        // Another process was faster.
        return Ok(());
    }
    if applied > 0 {
        let copy = path.with_file_name(format!("catalog-v{applied}.db"));
        back_up(path, &copy).map_err(|source| CatalogError::BackUp { copy, source })?;
    }
    for migration in &MIGRATIONS[applied as usize..] {
        transaction.execute_batch(migration)?;
    }
    if applied == 0 {
        transaction.execute("INSERT INTO catalog (id, generation) VALUES (1, randomblob(16))", [])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    } else if applied < LEDGER_SINCE && ledger::is_beside(path) {
        // It was put back to before it had a ledger, and has given out numbers a second time.
        transaction.execute("UPDATE catalog SET generation = randomblob(16)", [])?;
    }
    ledger::install(&transaction)?;
    transaction.pragma_update(None, "user_version", KNOWN)?;
    transaction.commit()?;
    Ok(())
}

/// Makes sure that the database has exactly this program's version, without changing it.
pub(super) fn require_current(connection: &Connection) -> Result<(), CatalogError> {
    match check(connection)? {
        KNOWN => Ok(()),
        0 => Err(CatalogError::Empty),
        found => Err(CatalogError::Older { found, known: KNOWN }),
    }
}

/// The number of applied migrations; refuses what this program must not touch.
fn check(connection: &Connection) -> Result<u32, CatalogError> {
    match version(connection)? {
        None => Err(CatalogError::Foreign),
        Some(found) if found > KNOWN => Err(CatalogError::Newer { found, known: KNOWN }),
        Some(found) => Ok(found),
    }
}

/// The number of applied migrations; `None` for what is no catalog. One statement reads all three facts, so that they
/// are of one state even while another process makes the tables.
fn version(connection: &Connection) -> Result<Option<u32>, CatalogError> {
    let sql = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
               FROM pragma_application_id, pragma_user_version";
    let facts = connection.query_row(sql, [], |row| {
        Ok((row.get::<_, i32>(0)?, row.get::<_, u32>(1)?, row.get::<_, i64>(2)?))
    });
    match facts {
        Ok((APPLICATION_ID, version, _)) => Ok(Some(version)),
        Ok((0, 0, 0)) => Ok(Some(0)),
        Ok(_) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::super::tests::House;
    use super::super::{Catalog, CatalogReader};
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("catalog.db");
        (place, path)
    }

    /// A database that `sql` makes, with everything in its one file.
    fn database(path: &Path, sql: &str) -> Vec<u8> {
        let connection = Connection::open(path).expect("opens");
        connection.execute_batch(sql).expect("runs");
        drop(connection);
        fs::read(path).expect("reads")
    }

    #[test]
    fn an_empty_file_becomes_a_catalog_and_stays_the_same_one() {
        let (_place, path) = place();
        fs::write(&path, "").expect("makes a file");
        assert!(matches!(CatalogReader::open(&path), Err(CatalogError::Empty)));
        let catalog = Catalog::open(&path).expect("opens");
        let generation = catalog.reader().generation().expect("reads");
        assert_eq!(generation.len(), 32);
        drop(catalog);
        let again = Catalog::open(&path).expect("opens again");
        assert_eq!(again.reader().generation().expect("reads"), generation);
        assert_eq!(
            CatalogReader::open(&path).expect("opens").generation().expect("reads"),
            generation
        );
        assert_ne!(House::new().catalog.reader().generation().expect("reads"), generation);
        let pragma = |name| {
            again
                .reader()
                .connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
        };
        assert_eq!(pragma("application_id").expect("reads"), i64::from(APPLICATION_ID));
        assert_eq!(pragma("user_version").expect("reads"), i64::from(KNOWN));
    }

    #[test]
    fn a_newer_catalog_is_refused_and_left_alone() {
        let (_place, path) = place();
        fs::write(&path, "").expect("makes a file");
        drop(Catalog::open(&path).expect("opens"));
        let before = database(&path, &format!("PRAGMA user_version = {}", KNOWN + 1));
        let newer = |error| matches!(error, CatalogError::Newer { found, known: KNOWN } if found == KNOWN + 1);
        assert!(newer(Catalog::open(&path).expect_err("too new")));
        assert!(newer(CatalogReader::open(&path).expect_err("too new")));
        assert_eq!(fs::read(&path).expect("reads"), before);
        for log in ["catalog.db-wal", "catalog.db-shm"] {
            assert!(
                path.with_file_name(log).exists(),
                "{log} stays for users who may not write"
            );
        }
    }

    /// A catalog of version 1 with a listing and a snapshot.
    const VERSION_1: &str = "
        INSERT INTO catalog (id, generation) VALUES (1, x'000102030405060708090a0b0c0d0e0f');
        INSERT INTO mirror (name) VALUES ('debian');
        INSERT INTO blob (sha256, size, mtime) VALUES (zeroblob(32), 1, 0);
        INSERT INTO manifest (blob_id, depth, bytes) VALUES (1, 0, 1);
        INSERT INTO listing VALUES (1, 1, 7, 3, 9, 'http://h/', 'main', 1);
        INSERT INTO snapshot (mirror_id, name, seq, created_at) VALUES (1, 'one', 1, 7);
        PRAGMA application_id = 0x4d524354;
        PRAGMA user_version = 1;";

    #[test]
    fn an_older_catalog_is_copied_and_brought_up_to_date() {
        let (place, path) = place();
        database(&path, &(MIGRATIONS[0].to_owned() + VERSION_1));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).expect("own file");
        assert!(matches!(
            CatalogReader::open(&path),
            Err(CatalogError::Older { found: 1, known: KNOWN })
        ));
        // What an attempt left behind that was killed.
        fs::write(place.path().join("catalog-v1.db.new"), "half a copy").expect("writes");
        let catalog = Catalog::open(&path).expect("migrates");
        let reader = catalog.reader();
        assert_eq!(reader.generation().expect("reads"), "000102030405060708090a0b0c0d0e0f");
        let row = reader.mirror(&"debian".parse().expect("valid")).expect("kept");
        let state = reader.last_state(row).expect("reads").expect("kept");
        assert_eq!((state.files, state.bytes, state.absent), (3, 9, 0));
        assert_eq!(reader.snapshots(row).expect("reads")[0].absent, 0);

        let copy = place.path().join("catalog-v1.db");
        assert_eq!(fs::metadata(&copy).expect("made").permissions().mode() & 0o777, 0o664);
        let copied = Connection::open(&copy).expect("opens");
        assert_eq!(version(&copied).expect("reads"), Some(1));
        let snapshots: i64 = copied
            .query_row("SELECT count(*) FROM snapshot", [], |row| row.get(0))
            .expect("reads");
        assert_eq!(snapshots, 1);
        let files: Vec<_> = fs::read_dir(place.path()).expect("reads").collect();
        assert!(
            files
                .iter()
                .flatten()
                .all(|file| !file.file_name().to_string_lossy().ends_with(".new"))
        );
        // Nothing is copied again.
        fs::write(&copy, "").expect("writes");
        drop(Catalog::open(&path).expect("opens"));
        assert_eq!(fs::metadata(&copy).expect("stays").len(), 0);
    }

    #[test]
    fn a_catalog_that_cannot_be_copied_is_not_migrated() {
        let (place, path) = place();
        database(&path, &(MIGRATIONS[0].to_owned() + VERSION_1));
        fs::create_dir(place.path().join("catalog-v1.db.new")).expect("makes");
        let refused = Catalog::open(&path).expect_err("no copy");
        assert!(matches!(refused, CatalogError::BackUp { .. }), "{refused:?}");
        let connection = Connection::open(&path).expect("opens");
        assert_eq!(version(&connection).expect("reads"), Some(1));
    }

    #[test]
    fn what_is_no_catalog_is_refused_and_left_alone() {
        let (_place, path) = place();
        for sql in [
            "CREATE TABLE theirs (x)",
            "PRAGMA application_id = 7",
            "PRAGMA user_version = 1",
            "PRAGMA journal_mode = wal; CREATE TABLE theirs (x)",
        ] {
            let _ = fs::remove_file(&path);
            let before = database(&path, sql);
            assert!(matches!(Catalog::open(&path), Err(CatalogError::Foreign)), "{sql}");
            assert!(
                matches!(CatalogReader::open(&path), Err(CatalogError::Foreign)),
                "{sql}"
            );
            assert_eq!(fs::read(&path).expect("reads"), before, "{sql}");
        }
        let text = "no database at all".repeat(100);
        fs::write(&path, &text).expect("writes");
        assert!(matches!(Catalog::open(&path), Err(CatalogError::Foreign)));
        assert!(matches!(CatalogReader::open(&path), Err(CatalogError::Foreign)));
        assert_eq!(fs::read_to_string(&path).expect("reads"), text);
    }

    #[test]
    fn a_file_that_is_missing_or_a_link_is_not_opened() {
        let (place, path) = place();
        assert!(matches!(Catalog::open(&path), Err(CatalogError::Open { .. })));
        assert!(matches!(CatalogReader::open(&path), Err(CatalogError::Open { .. })));
        assert!(!path.exists(), "opening makes no file");
        let real = place.path().join("real.db");
        fs::write(&real, "").expect("makes a file");
        std::os::unix::fs::symlink(&real, &path).expect("links");
        assert!(Catalog::open(&path).is_err());
    }

    #[test]
    fn processes_that_make_the_catalog_together_agree_on_it() {
        let (_place, path) = place();
        fs::write(&path, "").expect("makes a file");
        let generations: Vec<String> = std::thread::scope(|scope| {
            let open = || {
                Catalog::open(&path)
                    .expect("opens")
                    .reader()
                    .generation()
                    .expect("reads")
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("does not panic"))
                .collect()
        });
        assert!(
            generations.iter().all(|generation| *generation == generations[0]),
            "{generations:?}"
        );
    }

    #[test]
    fn a_catalog_of_version_1_is_brought_up_to_date_with_what_it_holds() {
        let (_place, path) = place();
        let first = MIGRATIONS[0];
        database(
            &path,
            &format!(
                "{first};
                 INSERT INTO catalog VALUES (1, randomblob(16));
                 INSERT INTO mirror (name) VALUES ('debian');
                 INSERT INTO blob (sha256, size, mtime) VALUES (randomblob(32), 1, 0);
                 INSERT INTO listing VALUES (1, 1, 0, 3, 3, 'http://h/', 'all', 1), (1, 2, 0, 2, 2, 'http://h/', 'all', 1);
                 INSERT INTO entry (mirror_id, dir_id, name, from_seq, to_seq, blob_id, role)
                 VALUES (1, 1, 'Release', 1, 2147483647, 1, 0), (1, 1, 'a', 1, 2, 1, 2), (1, 1, 'b', 1, 2147483647, 1, 2);
                 PRAGMA application_id = {APPLICATION_ID};
                 PRAGMA user_version = 1"
            ),
        );
        assert!(matches!(
            CatalogReader::open(&path),
            Err(CatalogError::Older { found: 1, known: KNOWN })
        ));
        drop(Catalog::open(&path).expect("migrates"));
        let connection = Connection::open(&path).expect("opens");
        let mut query = connection
            .prepare("SELECT pool_files, held_against FROM listing ORDER BY seq")
            .expect("prepares");
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("runs");
        let rows: Vec<(i64, Option<i64>)> = rows.collect::<Result<_, _>>().expect("reads");
        assert_eq!(rows, [(2, None), (1, None)]);
    }
}

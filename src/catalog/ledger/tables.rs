//! Which tables stand in the ledger, and how their changes come to be written down.
//!
//! Owns the list of those tables and the triggers on them. Every table of the catalog is either in that list, or made anew
//! from manifests, or can be lost; a test holds that.

use rusqlite::{Connection, Transaction};

/// A table whose rows stand in the ledger.
#[derive(Debug)]
pub(in crate::catalog) struct Logged {
    /// Its name.
    pub(in crate::catalog) name: &'static str,
    /// The columns that tell its rows apart.
    pub(in crate::catalog) key: &'static [&'static str],
    /// Whether rows are numbered and no number is used twice.
    pub(in crate::catalog) is_numbered: bool,
}

const fn numbered(name: &'static str) -> Logged {
    Logged {
        name,
        key: &["id"],
        is_numbered: true,
    }
}

const fn keyed(name: &'static str, key: &'static [&'static str]) -> Logged {
    Logged {
        name,
        key,
        is_numbered: false,
    }
}

/// The listings, each with the digest of its manifest.
pub(in crate::catalog) const LISTING: &str = "listing";

/// The tables, in an order in which no row comes before one that it refers to.
pub(in crate::catalog) const LOGGED: [Logged; 10] = [
    numbered("mirror"),
    numbered("pointer"),
    keyed(LISTING, &["mirror_id", "seq"]),
    keyed("release", &["mirror_id", "seq", "suite"]),
    numbered("snapshot"),
    keyed("snapshot_tag", &["snapshot_id", "tag"]),
    keyed("snapshot_gone", &["id"]),
    numbered("move"),
    numbered("test_run"),
    keyed("test_company", &["run_id", "companion"]),
];

/// Tables whose numbers are never used twice, and whose rows come from manifests.
pub(in crate::catalog) const NUMBERED_BY_MANIFESTS: [&str; 2] = ["dir", "blob"];

/// What the triggers' names begin with.
const TRIGGERS: &str = "ledger_";

/// The table called `name`, if it stands in the ledger.
pub(super) fn find(name: &str) -> Option<&'static Logged> {
    LOGGED.iter().find(|table| table.name == name)
}

/// Makes the triggers anew, of the columns that the tables have now: to be called after the tables have changed.
pub(in crate::catalog) fn install(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, length(?1)) = ?1";
    let mut query = transaction.prepare(sql)?;
    let old: Vec<String> = query
        .query_map([TRIGGERS], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for trigger in old {
        transaction.execute_batch(&format!("DROP TRIGGER {trigger}"))?;
    }
    for table in &LOGGED {
        let columns = columns(transaction, table.name)?;
        transaction.execute_batch(&triggers(table, &columns))?;
    }
    Ok(())
}

/// The columns of a table, in their order.
pub(in crate::catalog) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut query = connection.prepare_cached("SELECT name FROM pragma_table_info(?) ORDER BY cid")?;
    query.query_map([table], |row| row.get(0))?.collect()
}

fn triggers(table: &Logged, columns: &[String]) -> String {
    let name = table.name;
    let put = put(table, columns, "NEW");
    let key = object(table.key.iter().copied(), "OLD");
    format!(
        "CREATE TRIGGER {TRIGGERS}{name}_begins AFTER INSERT ON {name}
         BEGIN INSERT INTO ledger (change) VALUES ({put}); END;
         CREATE TRIGGER {TRIGGERS}{name}_changes AFTER UPDATE ON {name}
         BEGIN INSERT INTO ledger (change) VALUES ({put}); END;
         CREATE TRIGGER {TRIGGERS}{name}_ends AFTER DELETE ON {name}
         BEGIN INSERT INTO ledger (change) VALUES (json_object('drop', '{name}', 'row', {key})); END;"
    )
}

/// The expression for the change that puts the row `of` in the place of the one with its key.
fn put(table: &Logged, columns: &[String], of: &str) -> String {
    let row = object(columns.iter().map(String::as_str), of);
    if table.name != LISTING {
        return format!("json_object('put', '{}', 'row', {row})", table.name);
    }
    // Row numbers of blobs mean nothing where the blobs' rows are lost too.
    let manifest = format!("(SELECT lower(hex(sha256)) FROM blob WHERE id = {of}.manifest_id)");
    format!("json_object('put', '{LISTING}', 'row', json_insert({row}, '$.manifest', {manifest}))")
}

fn object<'a>(columns: impl Iterator<Item = &'a str>, of: &str) -> String {
    let members: Vec<String> = columns.map(|column| format!("'{column}', {of}.{column}")).collect();
    format!("json_object({})", members.join(", "))
}

/// Every row of the tables, each as the change that puts it there.
pub(super) fn all_rows(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut changes = Vec::new();
    for table in &LOGGED {
        let columns = columns(connection, table.name)?;
        let put = put(table, &columns, table.name);
        let key = table.key.join(", ");
        let mut query = connection.prepare(&format!("SELECT {put} FROM {} ORDER BY {key}", table.name))?;
        for change in query.query_map([], |row| row.get(0))? {
            changes.push(change?);
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::House;
    use super::*;

    /// Tables that manifests hold, tables that say what this very database is, and tables that can be lost: leases, which the
    /// next sync takes anew, damage, which the next check finds again, and marks of commits that nobody waits for.
    const OTHERS: [&str; 14] = [
        "blob",
        "blob_hash",
        "catalog",
        "commit_mark",
        "damaged",
        "dir",
        "entry",
        "lease",
        "ledger",
        "manifest",
        "rehash_run",
        "rehashed",
        "replacement",
        "sqlite_sequence",
    ];

    #[test]
    fn every_table_is_accounted_for() {
        let house = House::new();
        let mut query = house
            .sql()
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            .expect("prepares");
        let tables: Vec<String> = query
            .query_map([], |row| row.get(0))
            .expect("runs")
            .collect::<Result<_, _>>()
            .expect("reads");
        let mut known: Vec<&str> = LOGGED.iter().map(|table| table.name).chain(OTHERS).collect();
        known.sort_unstable();
        let unknown: Vec<_> = tables.iter().filter(|table| !known.contains(&table.as_str())).collect();
        assert!(
            unknown.is_empty(),
            "is a rebuilt catalog to have {unknown:?}, and from where?"
        );
        assert_eq!(tables.len(), known.len());
    }

    #[test]
    fn keys_are_the_tables_own() {
        let house = House::new();
        for table in &LOGGED {
            let sql = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk";
            let mut query = house.sql().prepare(sql).expect("prepares");
            let key: Vec<String> = query
                .query_map([table.name], |row| row.get(0))
                .expect("runs")
                .collect::<Result<_, _>>()
                .expect("reads");
            assert_eq!(key, table.key, "{}", table.name);
            let sql = "SELECT sql LIKE '%AUTOINCREMENT%' FROM sqlite_schema WHERE name = ?";
            let numbered: bool = house
                .sql()
                .query_row(sql, [table.name], |row| row.get(0))
                .expect("reads");
            assert_eq!(numbered, table.is_numbered, "{}", table.name);
        }
    }
}

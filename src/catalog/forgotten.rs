//! Mirrors that leave the catalog.
//!
//! Owns the statements by which a mirror is forgotten. One transaction takes away all by which it is seen: what is left
//! then is rows that nobody reads, cleared some at a time, by whoever comes next if need be. Whether a mirror may go is
//! the caller's to say, but for what has to be known in that very transaction. It never touches a blob's bytes.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Catalog, CatalogError, CatalogReader, DirRow, Marked, MirrorRow, Seq, pointers, tree};
use crate::model::{MirrorId, Pointer};

/// Rows cleared in one transaction: some milliseconds, so that no command waits noticeably.
const AT_ONCE: u32 = 1_000;

/// The row whose mirror was forgotten and not cleared yet. Its name is none that a mirror can have, which frees the id
/// for a new mirror with a new row. `0` is the character after the slash.
const FORGOTTEN: &str = "SELECT id FROM mirror WHERE name >= 'forgotten/' AND name < 'forgotten0' LIMIT 1";

/// The blobs, with their sizes, that would be unused if the mirror with the row `?1` were not there.
const ITS_ALONE: &str = "
    WITH RECURSIVE
    chain (blob_id) AS (
        SELECT manifest_id FROM listing WHERE mirror_id = ?1
        UNION SELECT base_id FROM chain JOIN manifest USING (blob_id) WHERE base_id IS NOT NULL),
    named (blob_id, times) AS (
        SELECT blob_id, 1 FROM entry WHERE mirror_id = ?1 AND blob_id IS NOT NULL
        UNION ALL SELECT manifest_id, 1 FROM listing WHERE mirror_id = ?1
        UNION ALL SELECT base_id, 1 FROM chain JOIN manifest USING (blob_id) WHERE base_id IS NOT NULL
        UNION ALL SELECT blob.id, 0 FROM lease
            JOIN blob ON substr(blob.sha256, 1, 8) = substr(lease.sha256, 1, 8) AND blob.sha256 = lease.sha256
            WHERE lease.mirror_id = ?1)
    SELECT size FROM (SELECT blob_id, sum(times) AS times FROM named GROUP BY blob_id) JOIN blob ON id = blob_id
    WHERE refs = times
      AND NOT EXISTS (
          SELECT 1 FROM mirror CROSS JOIN lease ON lease.mirror_id = mirror.id AND lease.sha256 = blob.sha256
          WHERE mirror.id <> ?1)";

impl CatalogReader {
    /// What nothing would need any more if `mirror` were forgotten, besides what nothing needs now.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn needed_by_it_alone(&self, mirror: MirrorRow) -> Result<Marked, CatalogError> {
        let sql = format!("SELECT count(*), coalesce(sum(size), 0) FROM ({ITS_ALONE})");
        Ok(self.connection.query_row(&sql, [mirror], |row| {
            Ok(Marked {
                blobs: row.get::<_, i64>(0)?.cast_unsigned(),
                bytes: row.get::<_, i64>(1)?.cast_unsigned(),
            })
        })?)
    }
}

impl Catalog {
    /// Takes `mirror` away in one transaction: its snapshots, its pointers with their history, and its id, which is free
    /// from then on. What else is stored of it is for [`Catalog::clear_forgotten`]. `force` overrides that a
    /// pointer other than `staging` leads somewhere, and protection.
    ///
    /// # Errors
    /// When there is no such mirror, it needs force and there is none, or the catalog cannot be written; then nothing is changed.
    pub fn forget_mirror(&mut self, mirror: &MirrorId, force: bool) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let row = tree::mirror_row(transaction, mirror)?;
            if !force {
                refuse_needed(transaction, row, mirror)?;
            }
            // Snapshots that go leave a row in the next table.
            for table in ["snapshot", "snapshot_gone", "listing", "move"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE mirror_id = ?"), [row])?;
            }
            transaction.execute("UPDATE mirror SET name = 'forgotten/' || id WHERE id = ?", [row])?;
            Ok(())
        })
    }

    /// Removes what is left of forgotten mirrors, a little in each of many transactions.
    ///
    /// # Errors
    /// When the catalog cannot be written; what is cleared until then stays so.
    pub fn clear_forgotten(&mut self) -> Result<(), CatalogError> {
        while self.clear_some(AT_ONCE)? {}
        Ok(())
    }

    /// Removes about `rows` rows of a forgotten mirror; answers whether there was one.
    fn clear_some(&mut self, rows: u32) -> Result<bool, CatalogError> {
        // Most often there is none, which a reader can tell without keeping writers waiting.
        if !self.reader.connection.prepare_cached(FORGOTTEN)?.exists([])? {
            return Ok(false);
        }
        self.write(|transaction| {
            let Some(mirror) = transaction.query_row(FORGOTTEN, [], |row| row.get(0)).optional()? else {
                return Ok(false);
            };
            let cleared = clear_entries(transaction, mirror, rows)?
                + clear_leases(transaction, mirror, rows)?
                + clear_replacements(transaction, mirror, rows)?;
            if cleared == 0 {
                transaction.execute("DELETE FROM mirror WHERE id = ?", [mirror])?;
            }
            Ok(true)
        })
    }
}

/// Refuses to forget what clients may be reading, or an operator has protected.
fn refuse_needed(transaction: &Transaction<'_>, row: MirrorRow, mirror: &MirrorId) -> Result<(), CatalogError> {
    let mut leading = pointers::pointers(transaction, row)?;
    leading.retain(|there| there.pointer != Pointer::Staging);
    // Production first, if it is among them.
    leading.sort_by_key(|there| there.pointer != Pointer::Current);
    if let Some(there) = leading.into_iter().next() {
        return Err(CatalogError::InUse {
            mirror: mirror.clone(),
            pointer: there.pointer,
            name: there.snapshot,
        });
    }
    let protected = "SELECT name FROM snapshot WHERE mirror_id = ? AND protected ORDER BY id DESC LIMIT 1";
    let name = transaction.query_row(protected, [row], |found| found.get(0));
    match name.optional()? {
        None => Ok(()),
        Some(super::sql_types::Sql(name)) => Err(CatalogError::Protected {
            mirror: mirror.clone(),
            name,
        }),
    }
}

/// Deletes the first `rows` of the mirror's entries. By range, because one directory may hold all of them.
fn clear_entries(transaction: &Transaction<'_>, mirror: MirrorRow, rows: u32) -> Result<usize, CatalogError> {
    let next: Option<(DirRow, String, Seq)> = transaction
        .prepare_cached(
            "SELECT dir_id, name, from_seq FROM entry WHERE mirror_id = ? ORDER BY dir_id, name, from_seq LIMIT 1 OFFSET ?",
        )?
        .query_row(params![mirror, rows], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let cleared = match next {
        None => transaction.execute("DELETE FROM entry WHERE mirror_id = ?", [mirror]),
        Some((dir, name, from)) => transaction.execute(
            "DELETE FROM entry WHERE mirror_id = ? AND (dir_id, name, from_seq) < (?, ?, ?)",
            params![mirror, dir, name, from],
        ),
    };
    Ok(cleared?)
}

fn clear_leases(transaction: &Transaction<'_>, mirror: MirrorRow, rows: u32) -> Result<usize, CatalogError> {
    Ok(transaction.execute(
        "DELETE FROM lease WHERE (mirror_id, sha256) IN (SELECT mirror_id, sha256 FROM lease WHERE mirror_id = ? LIMIT ?)",
        params![mirror, rows],
    )?)
}

fn clear_replacements(transaction: &Transaction<'_>, mirror: MirrorRow, rows: u32) -> Result<usize, CatalogError> {
    Ok(transaction.execute(
        "DELETE FROM replacement WHERE mirror_id = ?1 AND (seq, dir_id, name) IN
             (SELECT seq, dir_id, name FROM replacement WHERE mirror_id = ?1 LIMIT ?2)",
        params![mirror, rows],
    )?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, check_rows, facts, listing, mirror_id, snapshot_name};
    use super::super::{PointerTarget, ROOT_DIR, RequestedMove};
    use super::*;
    use crate::model::MoveTerms;

    /// Mirrors `old` and `other`, which share the file `same`; each has two snapshots, and `old` a few directories.
    fn house() -> House {
        let mut house = House::new();
        let old = [("a/same", "same"), ("a/x", "old x"), ("b/y", "old y"), ("c", "old c")];
        for (mirror, name, files) in [
            ("old", "one", &old[..]),
            ("other", "one", &[("same", "same"), ("z", "other z")]),
            ("old", "two", &old[..3]),
            ("other", "two", &[("same", "same")]),
        ] {
            house.sync(mirror, &listing(files), name, &[], at(0)).expect("records");
        }
        house
    }

    fn forget(house: &mut House, force: bool) -> Result<(), CatalogError> {
        house.catalog.forget_mirror(&mirror_id("old"), force)
    }

    fn publish(house: &mut House) {
        let wish = RequestedMove {
            mirror: mirror_id("old"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name("one")),
            expect: None,
            terms: MoveTerms::default(),
        };
        house
            .catalog
            .move_pointers(&[wish], act("publish", at(1)))
            .expect("moves");
    }

    /// What `other` shows, in its newest and its oldest listing.
    fn shown_by_other(house: &House) -> Vec<Vec<(String, super::super::TreeNode)>> {
        let (reader, row) = (house.catalog.reader(), house.row("other"));
        let children = |seq| reader.children(row, Seq(seq), ROOT_DIR).expect("reads");
        [1, 2].map(children).into()
    }

    #[test]
    fn a_mirror_is_gone_at_once_and_cleared_bit_by_bit() {
        let mut house = house();
        let changed = listing(&[("a/same", "same"), ("a/x", "new x"), ("b/y", "old y")]);
        house.sync("old", &changed, "three", &[], at(0)).expect("records");
        let leased = ["fetched", "not yet"].map(|content| facts(content).digest);
        house.add(&["fetched"]);
        let old = house.row("old");
        house.catalog.lease(old, &leased, at(1)).expect("leases");
        let other = shown_by_other(&house);

        forget(&mut house, false).expect("forgets");
        let is_gone = |house: &House| {
            let reader = house.catalog.reader();
            assert!(matches!(
                reader.mirror(&mirror_id("old")),
                Err(CatalogError::UnknownMirror(_))
            ));
            assert_eq!(reader.known_mirrors().expect("reads"), [mirror_id("other")]);
            assert_eq!(reader.mirrors().expect("reads").len(), 1);
            assert_eq!(reader.snapshots(old).expect("reads"), []);
            assert_eq!(shown_by_other(house), other);
        };
        is_gone(&house);
        let rows = |house: &House, table: &str| {
            house.number(&format!(
                "SELECT count(*) FROM {table} WHERE mirror_id = {}",
                old.number()
            ))
        };
        let mut left = ["entry", "lease", "replacement"].map(|table| rows(&house, table));
        assert_eq!(
            left,
            [7, 2, 1],
            "four files and one that changed, two directories; two leases"
        );
        // A process may die after each.
        while house.catalog.clear_some(1).expect("clears") {
            house.catalog = Catalog::open(&house.path).expect("opens");
            is_gone(&house);
            let now = ["entry", "lease", "replacement"].map(|table| rows(&house, table));
            assert!(
                left.iter().zip(now).all(|(left, now)| left - now <= 1),
                "{left:?} {now:?}"
            );
            left = now;
        }
        assert_eq!(house.number("SELECT count(*) FROM mirror"), 1);
        check_rows(&house);
    }

    #[test]
    fn what_it_alone_needs_is_what_becomes_unused() {
        let mut house = house();
        let (old, other) = (house.row("old"), house.row("other"));
        // Manifests that only a chain needs.
        let names = [snapshot_name("one")];
        house
            .catalog
            .delete_snapshots(&mirror_id("old"), &names, false, at(1))
            .expect("deletes");
        house.add(&["its own", "of both", "of nobody"]);
        let its = ["its own", "of both"].map(|content| facts(content).digest);
        house.catalog.lease(old, &its, at(1)).expect("leases");
        house.catalog.lease(other, &its[1..], at(1)).expect("leases");

        let plan = house.catalog.reader().needed_by_it_alone(old).expect("reads");
        let blobs = |house: &House| Marked {
            blobs: house.number("SELECT count(*) FROM blob").cast_unsigned(),
            bytes: house.number("SELECT sum(size) FROM blob").cast_unsigned(),
        };
        house.sweep_all(at(2));
        let before = blobs(&house);
        forget(&mut house, false).expect("forgets");
        house.catalog.clear_forgotten().expect("clears");
        house.sweep_all(at(3));
        let after = blobs(&house);
        assert_eq!(
            (plan.blobs, plan.bytes),
            (before.blobs - after.blobs, before.bytes - after.bytes)
        );
        assert!(
            plan.blobs >= 5,
            "two files, what is leased, and two manifests: {plan:?}"
        );
        check_rows(&house);
    }

    #[test]
    fn production_and_protection_need_force() {
        let mut house = house();
        house
            .sql()
            .execute("UPDATE snapshot SET protected = 1 WHERE name = 'two'", [])
            .expect("protects");
        let refused = forget(&mut house, false).expect_err("protected");
        assert!(matches!(refused, CatalogError::Protected { name, .. } if name == snapshot_name("two")));
        publish(&mut house);
        let refused = forget(&mut house, false).expect_err("in production");
        assert!(matches!(refused, CatalogError::InUse { name, .. } if name == snapshot_name("one")));
        assert_eq!(house.number("SELECT count(*) FROM snapshot"), 4, "nothing is gone");
        forget(&mut house, true).expect("forgets");
        assert!(matches!(forget(&mut house, true), Err(CatalogError::UnknownMirror(_))));
        assert_eq!(house.number("SELECT count(*) FROM move"), 0);
    }

    #[test]
    fn the_same_id_begins_anew_with_other_numbers() {
        let mut house = house();
        publish(&mut house);
        let newest = |house: &House, table: &str| house.number(&format!("SELECT max(id) FROM {table}"));
        let before = ["mirror", "snapshot", "move"].map(|table| newest(&house, table));
        forget(&mut house, true).expect("forgets");
        house.catalog.clear_some(1).expect("clears a little");
        let recorded = house
            .sync(
                "old",
                &listing(&[("a/x", "old x"), ("a/new", "new")]),
                "one",
                &[],
                at(5),
            )
            .expect("records");
        assert_eq!(
            (recorded.seq, recorded.changes),
            (Seq(1), 3),
            "nothing of before is left in it"
        );
        publish(&mut house);
        house.catalog.clear_forgotten().expect("clears");
        check_rows(&house);
        for (table, before) in ["mirror", "snapshot", "move"].into_iter().zip(before) {
            let row = house.row("old").number();
            let column = if table == "mirror" { "id" } else { "mirror_id" };
            let first = house.number(&format!("SELECT min(id) FROM {table} WHERE {column} = {row}"));
            assert!(first > before, "{table}: {first} {before}");
        }
        let names = house
            .catalog
            .reader()
            .children(house.row("old"), Seq(1), ROOT_DIR)
            .expect("reads");
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn a_chunk_of_one_large_directory_is_found_by_range() {
        let house = House::new();
        let sql = "EXPLAIN QUERY PLAN DELETE FROM entry WHERE mirror_id = 1 AND (dir_id, name, from_seq) < (2, 'x', 3)";
        let plan: String = house.sql().query_row(sql, [], |row| row.get(3)).expect("plans");
        assert!(
            plan.contains("mirror_id=? AND (dir_id,name,from_seq)<(?,?,?)"),
            "{plan}"
        );
    }
}

//! Pool files that have other bytes than before under the same path.
//!
//! Owns the table `replacement`, which recording adds to, and the question of what a pointer's move replaces. It is asked at
//! every move, so it reads what changed between the listings and never one of them whole.

use std::collections::BTreeSet;

use rusqlite::{Row, Transaction, params};

use super::changes::Paths;
use super::sql_types::Sql;
use super::{BlobRow, CatalogError, CatalogReader, DirRow, MirrorRow, Seq};
use crate::model::Role;

/// The spans of the files that changed under their names after listing `?2` of mirror `?1` and up to `?3`. Joined in this order, or
/// the whole listing would be read.
const SPANS: &str = "SELECT dir_id, name, from_seq, to_seq, blob_id, role
    FROM (SELECT DISTINCT dir_id, name FROM replacement WHERE mirror_id = ?1 AND seq > ?2 AND seq <= ?3)
    CROSS JOIN entry USING (dir_id, name)
    WHERE mirror_id = ?1 AND blob_id IS NOT NULL
    ORDER BY dir_id, name";

/// A file while it has the same bytes: from one listing on and before another.
struct Span {
    dir: DirRow,
    name: Box<str>,
    from: Seq,
    to: Seq,
    blob: BlobRow,
    role: Role,
}

impl Span {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let Sql(role) = row.get(5)?;
        Ok(Self {
            dir: row.get(0)?,
            name: row.get(1)?,
            from: row.get(2)?,
            to: row.get(3)?,
            blob: row.get(4)?,
            role,
        })
    }

    fn is_of_the_same_file(&self, other: &Self) -> bool {
        (self.dir, &self.name) == (other.dir, &other.name)
    }
}

impl CatalogReader {
    /// The paths of the pool files of the listing `now` that have other bytes in the listing `before` or, where that does not
    /// have them, in one of `lenders`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn replaced(
        &self,
        mirror: MirrorRow,
        now: Seq,
        before: Seq,
        lenders: &[Seq],
    ) -> Result<BTreeSet<Box<str>>, CatalogError> {
        let all = || lenders.iter().copied().chain([now, before]);
        let (first, last) = (all().min(), all().max());
        let mut query = self.connection.prepare_cached(SPANS)?;
        let spans = query.query_map(params![mirror, first, last], Span::read)?;
        let spans: Vec<Span> = spans.collect::<Result<_, _>>()?;
        let mut paths = Paths::begin(self)?;
        let mut replaced = BTreeSet::new();
        for file in spans.chunk_by(Span::is_of_the_same_file) {
            if is_replaced(file, now, before, lenders) {
                let Span { dir, name, .. } = &file[0];
                replaced.insert(format!("{}{name}", paths.of(*dir)?).into());
            }
        }
        Ok(replaced)
    }
}

/// Whether the file with these spans is a pool file in the listing `now`, and had other bytes before.
fn is_replaced(file: &[Span], now: Seq, before: Seq, lenders: &[Seq]) -> bool {
    let at = |seq: &Seq| file.iter().find(|span| span.from <= *seq && *seq < span.to);
    let Some(present) = at(&now).filter(|span| span.role == Role::Pool) else {
        return false;
    };
    let is_other = |span: &Span| span.blob != present.blob;
    match at(&before) {
        Some(past) => is_other(past),
        None => lenders.iter().filter_map(at).any(is_other),
    }
}

/// Notes that the listing `seq` has the pool file `name` with the bytes `blob`, if it ever had others.
pub(super) fn note(
    transaction: &Transaction<'_>,
    mirror: MirrorRow,
    seq: Seq,
    (dir, name): (DirRow, &str),
    blob: BlobRow,
) -> Result<(), CatalogError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO replacement (mirror_id, seq, dir_id, name)
         SELECT ?1, ?2, ?3, ?4
         WHERE EXISTS (SELECT 1 FROM entry WHERE mirror_id = ?1 AND dir_id = ?3 AND name = ?4 AND blob_id <> ?5)",
    )?;
    insert.execute(params![mirror, seq, dir, name, blob])?;
    Ok(())
}

/// Drops what no two listings of the mirror have between them any more.
pub(super) fn drop_unneeded(transaction: &Transaction<'_>, mirror: MirrorRow) -> Result<(), CatalogError> {
    let mut delete = transaction.prepare_cached(
        "DELETE FROM replacement
         WHERE mirror_id = ?1 AND seq <= (SELECT min(seq) FROM listing WHERE mirror_id = ?1)",
    )?;
    delete.execute([mirror])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::Catalog;
    use super::super::tests::{House, at, listing, mirror_id};
    use super::*;
    use crate::model::Listing;

    const PATHS: [&str; 4] = ["pool/a/x", "pool/a/y", "pool/b/x", "pool/b"];
    const CONTENTS: [&str; 4] = ["", "1", "2", "3"];

    /// The contents of some paths, where 0 is none; `pool/b` cannot be a file and a directory.
    fn made_of(contents: &[usize]) -> BTreeMap<&'static str, &'static str> {
        let is_file = |(path, content): &(&str, &usize)| **content > 0 && (*path != "pool/b" || contents[2] == 0);
        let files = PATHS.into_iter().zip(contents).filter(is_file);
        files.map(|(path, content)| (path, CONTENTS[*content])).collect()
    }

    fn recorded(files: &BTreeMap<&str, &str>) -> Listing {
        let pool: Vec<_> = files.iter().map(|(path, content)| (*path, *content)).collect();
        listing(&pool)
    }

    /// What [`CatalogReader::replaced`] answers, found by comparing everything.
    fn compared(
        now: &BTreeMap<&str, &str>,
        before: &BTreeMap<&str, &str>,
        lender: &BTreeMap<&str, &str>,
    ) -> BTreeSet<Box<str>> {
        let past = |path: &str| before.get(path).or_else(|| lender.get(path));
        let is_other = |(path, content): &(&&str, &&str)| past(path).is_some_and(|past| past != *content);
        now.iter().filter(is_other).map(|(path, _)| (*path).into()).collect()
    }

    /// Syncs the listings one after the other, as `s0`, `s1` and so on.
    fn synced(history: &[Vec<usize>]) -> House {
        let mut house = House::new();
        for (turn, contents) in history.iter().enumerate() {
            let turn = i64::try_from(turn).expect("few");
            let listing = recorded(&made_of(contents));
            house
                .sync("debian", &listing, &format!("s{turn}"), &[], at(turn))
                .expect("records");
        }
        house
    }

    fn histories() -> impl Strategy<Value = Vec<Vec<usize>>> {
        prop::collection::vec(prop::collection::vec(0_usize..4, PATHS.len()), 2..6)
    }

    proptest! {
        // Each makes a catalog on disk and asks for up to 125 triples.
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_a_move_replaces_is_what_a_comparison_finds(
            history in histories(),
            deleted in prop::collection::vec(any::<bool>(), 6),
        ) {
            let mut house = synced(&history);
            let row = house.row("debian");
            let doomed = (0..history.len()).filter(|turn| deleted[*turn]).map(|turn| format!("s{turn}").parse().expect("a name"));
            house.catalog.delete_snapshots(&mirror_id("debian"), &doomed.collect::<Vec<_>>(), false, at(9)).expect("deletes");
            let reader = house.catalog.reader();
            let snapshots = reader.snapshots(row).expect("reads");
            let contents = |name: &str| made_of(&history[name[1..].parse::<usize>().expect("a number")]);
            for now in &snapshots {
                for before in &snapshots {
                    for lender in &snapshots {
                        let [one, two, three] = [now, before, lender].map(|snapshot| contents(snapshot.name.as_str()));
                        let found = reader.replaced(row, now.seq, before.seq, &[lender.seq]).expect("reads");
                        prop_assert_eq!(found, compared(&one, &two, &three));
                    }
                }
            }
        }

        #[test]
        fn a_catalog_from_before_it_was_noted_is_migrated_to_the_same(history in histories()) {
            let house = synced(&history);
            let rows = |catalog: &Catalog| -> Vec<String> {
                let sql = "SELECT mirror_id || ' ' || seq || ' ' || dir_id || ' ' || name FROM replacement ORDER BY 1";
                let mut query = catalog.reader.connection.prepare(sql).expect("a query");
                let rows = query.query_map([], |row| row.get(0)).expect("reads");
                rows.collect::<Result<_, _>>().expect("reads")
            };
            let noted = rows(&house.catalog);
            let back = "DROP TABLE ledger; DROP TABLE commit_mark; DROP TABLE replacement; DROP INDEX entry_by_hash;
                        DROP INDEX blob_by_listed_hash; DROP TABLE damaged; DROP TABLE rehashed;
                        DROP TABLE rehash_run; PRAGMA user_version = 4";
            house.sql().execute_batch(back).expect("goes back");
            prop_assert_eq!(rows(&Catalog::open(&house.path).expect("migrates")), noted);
        }
    }

    #[test]
    fn what_no_two_listings_have_between_them_is_not_kept() {
        let mut house = synced(&[vec![1, 1, 0, 0], vec![2, 1, 0, 0], vec![2, 2, 0, 0]]);
        assert_eq!(house.number("SELECT count(*) FROM replacement"), 2);
        let oldest = ["s0".parse().expect("a name")];
        house
            .catalog
            .delete_snapshots(&mirror_id("debian"), &oldest, false, at(9))
            .expect("deletes");
        assert_eq!(house.number("SELECT count(*) FROM replacement"), 1);
    }

    #[test]
    fn no_listing_is_read_whole() {
        let house = synced(&[vec![1, 1, 1, 0], vec![2, 1, 1, 0]]);
        let mut query = house
            .sql()
            .prepare(&format!("EXPLAIN QUERY PLAN {SPANS}"))
            .expect("a query");
        let plan = query
            .query_map([1, 1, 2], |row| row.get::<_, String>("detail"))
            .expect("reads");
        let plan = plan.collect::<Result<Vec<_>, _>>().expect("reads").join("; ");
        assert!(
            plan.contains("SEARCH entry USING PRIMARY KEY (mirror_id=? AND dir_id=? AND name=?)"),
            "{plan}"
        );
    }
}

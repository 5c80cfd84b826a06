//! Whether the catalog is what it should be.
//!
//! Owns the statements of what must hold among its rows: of those that SQLite cannot hold by itself. It changes nothing and
//! looks at no file; it reads everything once, in a few seconds for a million entries.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::sql_types::Sql;
use super::{CatalogError, CatalogReader, MirrorRow, Seq, says_damaged};
use crate::model::MirrorId;

/// Most complaints of SQLite's own check that are told: damage to one page brings many.
const MOST_TOLD: u32 = 20;

/// What must not be, as the rows that would be it. Mirrors with a slash in their names are half forgotten.
const NEVER: [(&str, &str); 9] = [
    ("rows name others that are not there", "pragma_foreign_key_check"),
    (
        "blobs have the same digest",
        "(SELECT sha256 FROM blob GROUP BY sha256 HAVING count(*) > 1)",
    ),
    (
        "blobs are named by another number of rows than is counted",
        "blob LEFT JOIN (
             SELECT blob_id, sum(times) AS times FROM (
                 SELECT blob_id, count(*) AS times FROM entry WHERE blob_id IS NOT NULL GROUP BY blob_id
                 UNION ALL SELECT manifest_id, count(*) FROM listing GROUP BY manifest_id
                 UNION ALL SELECT base_id, count(*) FROM manifest WHERE base_id IS NOT NULL GROUP BY base_id)
             GROUP BY blob_id) AS named ON named.blob_id = blob.id
         WHERE refs <> coalesce(times, 0)",
    ),
    (
        "names lead to blobs that are not there",
        "entry WHERE blob_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE blob.id = blob_id)",
    ),
    (
        "listings have no manifest",
        "listing WHERE NOT EXISTS (SELECT 1 FROM manifest WHERE blob_id = manifest_id)",
    ),
    (
        "manifests have no bytes",
        "manifest WHERE NOT EXISTS (SELECT 1 FROM blob WHERE blob.id = blob_id)
             OR base_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE blob.id = base_id)",
    ),
    (
        "pointers lead to snapshots that are not complete",
        "move WHERE id IN (SELECT max(id) FROM move GROUP BY mirror_id, pointer) AND act <> 'unpublish'
             AND NOT EXISTS (
                 SELECT 1 FROM snapshot JOIN listing
                 ON listing.mirror_id = snapshot.mirror_id AND listing.seq = snapshot.seq
                 WHERE snapshot.id = snapshot_id AND snapshot.mirror_id = move.mirror_id AND snapshot.seq = move.seq)",
    ),
    (
        "moves of pointers have a time that is not after that of the move before",
        "(SELECT serial_mtime, lag(serial_mtime) OVER (PARTITION BY mirror_id, pointer ORDER BY id) AS before
          FROM move WHERE act <> 'unpublish') WHERE serial_mtime <= before",
    ),
    (
        "moves of pointers belong to an act that came after them",
        "move WHERE act_id > id",
    ),
];

/// What a look at the whole catalog found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Soundness {
    /// Whether SQLite itself finds its file damaged. Then nothing else was looked at, and nothing can be believed.
    pub is_broken: bool,
    /// What is wrong, in words; nothing, most likely.
    pub complaints: Vec<String>,
}

/// What a listing says of its files, or what they come to: their number, their bytes, and the number of those of the pool.
type Sums = (i64, i64, i64);

impl CatalogReader {
    /// What is wrong with the catalog.
    ///
    /// # Errors
    /// When the catalog cannot be read for another reason than that it is damaged.
    pub fn soundness(&self) -> Result<Soundness, CatalogError> {
        let broken = |complaints| Soundness {
            is_broken: true,
            complaints,
        };
        let looked = self.at_once(|reader| {
            let damage = broken_pages(&reader.connection)?;
            if !damage.is_empty() {
                return Ok(broken(damage));
            }
            Ok(Soundness {
                is_broken: false,
                complaints: reader.complaints()?,
            })
        });
        match looked {
            Err(CatalogError::Sql(error)) if says_damaged(&error) => Ok(broken(vec![error.to_string()])),
            looked => looked,
        }
    }

    fn complaints(&self) -> Result<Vec<String>, CatalogError> {
        let mut unsound = Vec::new();
        for (what, rows) in NEVER {
            let sql = format!("SELECT count(*) FROM {rows}");
            let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
            if count > 0 {
                unsound.push(format!("{count} {what}"));
            }
        }
        unsound.extend(self.wrong_sums()?);
        Ok(unsound)
    }

    /// Listings that say something else of their files than their entries do.
    fn wrong_sums(&self) -> Result<Vec<String>, CatalogError> {
        let mut steps = self.steps()?;
        let mut query = self.connection.prepare(
            "SELECT mirror_id, seq, files, bytes, pool_files, mirror.name FROM listing
             JOIN mirror ON mirror.id = mirror_id WHERE instr(mirror.name, '/') = 0 ORDER BY mirror_id, seq",
        )?;
        let mut sums: HashMap<MirrorRow, Sums> = HashMap::new();
        let mut wrong = Vec::new();
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (mirror, seq): (MirrorRow, Seq) = (row.get(0)?, row.get(1)?);
            let sum = sums.entry(mirror).or_default();
            let later = steps.split_off(&(mirror, Seq(seq.number() + 1)));
            let until_here = std::mem::replace(&mut steps, later);
            for ((of, _), step) in until_here {
                if of == mirror {
                    *sum = (sum.0 + step.0, sum.1 + step.1, sum.2 + step.2);
                }
            }
            let said: Sums = (row.get(2)?, row.get(3)?, row.get(4)?);
            if *sum != said {
                let Sql(name): Sql<MirrorId> = row.get(5)?;
                wrong.push(format!(
                    "listing {} of {name} has {} files with {} bytes, {} of them in the pool, and should have {}, {} and {}",
                    seq.number(),
                    sum.0,
                    sum.1,
                    sum.2,
                    said.0,
                    said.1,
                    said.2
                ));
            }
        }
        Ok(wrong)
    }

    /// By how much each listing differs from the one before.
    fn steps(&self) -> Result<BTreeMap<(MirrorRow, Seq), Sums>, CatalogError> {
        let mut query = self.connection.prepare(
            "SELECT mirror_id, from_seq, to_seq, count(*), sum(size), sum(role = 2)
             FROM entry CROSS JOIN blob ON blob.id = blob_id GROUP BY mirror_id, from_seq, to_seq",
        )?;
        let mut steps: BTreeMap<(MirrorRow, Seq), Sums> = BTreeMap::new();
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let mirror = row.get(0)?;
            let (files, bytes, pool): Sums = (row.get(3)?, row.get(4)?, row.get(5)?);
            for (seq, sign) in [(row.get(1)?, 1), (row.get(2)?, -1)] {
                let step = steps.entry((mirror, seq)).or_default();
                *step = (step.0 + sign * files, step.1 + sign * bytes, step.2 + sign * pool);
            }
        }
        Ok(steps)
    }
}

/// What SQLite finds wrong with its file.
fn broken_pages(connection: &Connection) -> Result<Vec<String>, CatalogError> {
    let mut query = connection.prepare(&format!("PRAGMA quick_check({MOST_TOLD})"))?;
    let rows = query.query_map([], |row| row.get::<_, String>(0))?;
    let mut found: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
    found.retain(|line| line != "ok");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;
    use super::super::tests::{House, at, listing, mirror_id, snapshot_name};
    use super::*;
    use crate::model::Pointer;

    fn house() -> House {
        let mut house = House::new();
        for (turn, name) in ["one", "two", "three"].iter().enumerate() {
            let now = at(i64::try_from(turn).expect("few"));
            let files = listing(&[("a", name), ("pool/b", "same"), ("pool/c", "same")]);
            house
                .sync("debian", &files, name, &[Pointer::Current], now)
                .expect("records");
            house.sync("other", &files, name, &[], now).expect("records");
        }
        let one = [snapshot_name("one")];
        house
            .catalog
            .delete_snapshots(&mirror_id("debian"), &one, true, at(99))
            .expect("deletes");
        house
    }

    fn unsound(house: &House) -> Vec<String> {
        let found = house.catalog.reader().soundness().expect("looks");
        assert!(!found.is_broken);
        found.complaints
    }

    #[test]
    fn a_good_catalog_is_sound_also_while_a_mirror_is_being_forgotten() {
        assert_eq!(unsound(&House::new()), [""; 0]);
        let mut house = house();
        assert_eq!(unsound(&house), [""; 0]);
        house.catalog.forget_mirror(&mirror_id("other"), true).expect("forgets");
        assert_eq!(unsound(&house), [""; 0]);
        house.catalog.clear_forgotten().expect("clears");
        assert_eq!(unsound(&house), [""; 0]);
    }

    #[test]
    fn whatever_must_not_be_is_told() {
        for (spoil, words) in [
            (
                "UPDATE blob SET refs = refs + 1 WHERE id = 1",
                "1 blobs are named by another number of rows",
            ),
            (
                "INSERT INTO blob (sha256, size, mtime) SELECT sha256, 1, 1 FROM blob LIMIT 1",
                "have the same digest",
            ),
            (
                "UPDATE entry SET blob_id = 999 WHERE name = 'a'",
                "names lead to blobs that are not there",
            ),
            (
                "UPDATE listing SET files = files + 1 WHERE mirror_id = 2 AND seq = 2",
                "listing 2 of other has 3 files",
            ),
            (
                "UPDATE listing SET pool_files = 7 WHERE mirror_id = 1 AND seq = 3",
                "listing 3 of debian has",
            ),
            (
                "UPDATE listing SET manifest_id = 999 WHERE seq = 2",
                "listings have no manifest",
            ),
            (
                "UPDATE move SET snapshot_id = 999 WHERE id = 3",
                "1 pointers lead to snapshots that are not complete",
            ),
            ("UPDATE move SET snapshot_id = 999 WHERE id = 2", ""),
            (
                "UPDATE move SET serial_mtime = 0 WHERE id = 2",
                "not after that of the move before",
            ),
            (
                "UPDATE move SET act_id = 9 WHERE id = 2",
                "1 moves of pointers belong to an act",
            ),
            (
                "PRAGMA foreign_keys = off; UPDATE snapshot SET seq = 99 WHERE name = 'two'",
                "rows name others",
            ),
        ] {
            let house = house();
            house.sql().execute_batch(spoil).expect(spoil);
            let told = unsound(&house);
            let said = told.iter().any(|line| line.contains(words));
            assert_eq!(said, !words.is_empty(), "{spoil}: {told:?}");
        }
    }

    #[test]
    fn damaged_pages_are_told_and_nothing_else() {
        let mut house = house();
        // Everything into the one file.
        let fresh = Catalog::open(&house.path).expect("opens");
        house.number("PRAGMA wal_checkpoint(TRUNCATE)");
        let page =
            house.number("SELECT (rootpage - 1) * page_size FROM sqlite_schema, pragma_page_size WHERE name = 'move'");
        drop(std::mem::replace(&mut house.catalog, fresh));
        let page = usize::try_from(page).expect("a small file");
        let mut bytes = std::fs::read(&house.path).expect("reads");
        bytes[page..page + 4096].fill(0xa5);
        std::fs::write(&house.path, bytes).expect("writes");
        let told = CatalogReader::open(&house.path).expect("its head is good").soundness();
        let told = told.expect("looks");
        assert!(told.is_broken && !told.complaints.is_empty(), "{told:?}");
    }
}

//! How far the cache was hashed again, and which blobs there are to hash.
//!
//! Owns tables `rehashed` and `rehash_run`. Progress is kept by units, not by blobs, so that it costs a few rows whatever the
//! size of the cache. It reads no file.

use std::collections::HashSet;
use std::ops::Range;

use rusqlite::{OptionalExtension as _, params};

use super::sql_types::Sql;
use super::{BlobRow, Catalog, CatalogError, CatalogReader, MirrorRow};
use crate::model::{Digest, Part, Timestamp, UNITS};

/// A blob as the catalog has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its row.
    pub row: BlobRow,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Their length.
    pub size: u64,
    /// Whether any row names it.
    pub is_needed: bool,
    /// Whether it is marked as damaged.
    pub is_damaged: bool,
}

/// How much of the cache was ever hashed again, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehashed {
    /// Number of units of which all was; all of them are [`UNITS`].
    pub units: u16,
    /// When the one was whose turn it is next; `None` when none ever was.
    pub oldest: Option<Timestamp>,
}

/// A run that has not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// When it was begun.
    pub at: Timestamp,
    /// The first unit that is left to do.
    pub next: u16,
}

/// The first eight bytes of the smallest digest of a unit; of the one after the last, more than of any digest.
fn first_of(unit: u16) -> [u8; 9] {
    if unit >= UNITS {
        return [0xff; 9];
    }
    let [first, second] = (unit << 4).to_be_bytes();
    [first, second, 0, 0, 0, 0, 0, 0, 0]
}

/// As bytes to compare the index's with: those of a digest are eight.
fn bounds(units: &Range<u16>) -> (Vec<u8>, Vec<u8>) {
    let from = first_of(units.start)[..8].to_vec();
    let until = first_of(units.end);
    let until = if units.end >= UNITS { &until[..] } else { &until[..8] };
    (from, until.to_vec())
}

impl CatalogReader {
    /// The blobs of `units`, in the order of their digests.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn stored(&self, units: &Range<u16>) -> Result<Vec<Stored>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT blob.id, sha256, size, refs > 0, damaged.id IS NOT NULL
             FROM blob INDEXED BY blob_by_digest LEFT JOIN damaged ON damaged.blob_id = blob.id
             WHERE substr(sha256, 1, 8) >= ?1 AND substr(sha256, 1, 8) < ?2 ORDER BY substr(sha256, 1, 8)",
        )?;
        let (from, until) = bounds(units);
        let rows = query.query_map(params![from, until], |row| {
            let Sql(digest) = row.get(1)?;
            Ok(Stored {
                row: row.get(0)?,
                digest,
                size: row.get::<_, i64>(2)?.cast_unsigned(),
                is_needed: row.get(3)?,
                is_damaged: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Number of blobs of `units`, and their bytes.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn stored_totals(&self, units: &Range<u16>) -> Result<(u64, u64), CatalogError> {
        let (from, until) = bounds(units);
        let sql = "SELECT count(*), coalesce(sum(size), 0) FROM blob INDEXED BY blob_by_digest
                   WHERE substr(sha256, 1, 8) >= ?1 AND substr(sha256, 1, 8) < ?2";
        Ok(self.connection.query_row(sql, params![from, until], |row| {
            Ok((
                row.get::<_, i64>(0)?.cast_unsigned(),
                row.get::<_, i64>(1)?.cast_unsigned(),
            ))
        })?)
    }

    /// The digests of `units` that blobs have or that a sync has leased: all whose files may be there.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn known_digests(&self, units: &Range<u16>) -> Result<HashSet<Digest>, CatalogError> {
        let (from, until) = bounds(units);
        let mut query = self.connection.prepare_cached(
            "SELECT sha256 FROM blob INDEXED BY blob_by_digest
             WHERE substr(sha256, 1, 8) >= ?1 AND substr(sha256, 1, 8) < ?2
             UNION ALL SELECT sha256 FROM mirror CROSS JOIN lease
                 ON lease.mirror_id = mirror.id AND sha256 >= ?1 AND sha256 < ?2",
        )?;
        let rows = query.query_map(params![from, until], |row| row.get(0).map(|Sql(digest)| digest))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The blobs that a mirror's listings name, and the manifests that these are made of.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn blobs_of(&self, mirror: MirrorRow) -> Result<HashSet<BlobRow>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "WITH RECURSIVE chain (blob_id) AS (
                 SELECT manifest_id FROM listing WHERE mirror_id = ?1
                 UNION SELECT base_id FROM chain JOIN manifest USING (blob_id) WHERE base_id IS NOT NULL)
             SELECT blob_id FROM entry WHERE mirror_id = ?1 AND blob_id IS NOT NULL UNION SELECT blob_id FROM chain",
        )?;
        let rows = query.query_map([mirror], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// How much of the cache was ever hashed again.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn rehashed(&self) -> Result<Rehashed, CatalogError> {
        let sql = "SELECT count(*), min(at) FROM rehashed";
        Ok(self.connection.query_row(sql, [], |row| {
            let oldest: Option<Sql<Timestamp>> = row.get(1)?;
            Ok(Rehashed {
                units: row.get(0)?,
                oldest: oldest.map(|Sql(time)| time),
            })
        })?)
    }

    /// The run over `part` of what `scope` means that has not come to its end, if there is one.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn rehash_begun(&self, scope: &str, part: Part) -> Result<Option<Begun>, CatalogError> {
        let sql = "SELECT begun_at, next_unit FROM rehash_run WHERE scope = ? AND part = ? AND parts = ?";
        let mut query = self.connection.prepare_cached(sql)?;
        let found = query.query_row(params![scope, part.nth(), part.of()], |row| {
            let Sql(at) = row.get(0)?;
            Ok(Begun { at, next: row.get(1)? })
        });
        Ok(found.optional()?)
    }
}

impl Catalog {
    /// Records that a run over `part` of what `scope` means, begun at `begun`, has done all units before `next`. Those of
    /// `done` are complete now, unless the run is limited to some mirrors. At its end, the run is forgotten.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn note_rehashed(
        &mut self,
        (scope, part): (&str, Part),
        begun: Timestamp,
        done: Range<u16>,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            if scope.is_empty() {
                let mut note = transaction.prepare_cached(
                    "INSERT INTO rehashed (unit, at) VALUES (?, ?) ON CONFLICT (unit) DO UPDATE SET at = excluded.at",
                )?;
                for unit in done.clone() {
                    note.execute(params![unit, Sql(now)])?;
                }
            }
            if done.end >= part.units().end {
                transaction.execute(
                    "DELETE FROM rehash_run WHERE scope = ? AND part = ? AND parts = ?",
                    params![scope, part.nth(), part.of()],
                )?;
                return Ok(());
            }
            transaction.execute(
                "INSERT INTO rehash_run (scope, part, parts, begun_at, next_unit) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (scope, part, parts)
                 DO UPDATE SET begun_at = excluded.begun_at, next_unit = excluded.next_unit",
                params![scope, part.nth(), part.of(), Sql(begun), done.end],
            )?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, at, facts, listing, mirror_id};
    use super::*;
    use crate::model::unit_of;

    #[test]
    fn every_blob_is_in_its_unit_and_in_no_other() {
        let mut house = House::new();
        let contents: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        house.add(&contents.iter().map(String::as_str).collect::<Vec<_>>());
        let leased = facts("leased").digest;
        let row = house.catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        house.catalog.lease(row, &[leased], at(0)).expect("leases");
        let reader = house.catalog.reader();
        let mut found = 0;
        for of in 1..=3 {
            for nth in 1..=of {
                let part: Part = format!("{nth}/{of}").parse().expect("a part");
                let blobs = reader.stored(&part.units()).expect("reads");
                assert!(blobs.iter().all(|blob| part.units().contains(&unit_of(blob.digest))));
                assert!(blobs.is_sorted_by_key(|blob| blob.digest));
                let bytes = blobs.iter().map(|blob| blob.size).sum();
                let totals = reader.stored_totals(&part.units()).expect("counts");
                assert_eq!(totals, (blobs.len() as u64, bytes));
                let mut known: HashSet<Digest> = blobs.iter().map(|blob| blob.digest).collect();
                known.extend(part.units().contains(&unit_of(leased)).then_some(leased));
                assert_eq!(reader.known_digests(&part.units()).expect("reads"), known);
                found += blobs.len();
            }
        }
        assert_eq!(found, 3 * 300);
    }

    #[test]
    fn a_mirror_has_its_files_and_manifests() {
        let mut house = House::new();
        for (turn, name) in ["one", "two"].iter().enumerate() {
            let now = at(i64::try_from(turn).expect("few"));
            house
                .sync("debian", &listing(&[("a", name), ("b", "same")]), name, &[], now)
                .expect("records");
        }
        house
            .sync("other", &listing(&[("a", "else")]), "one", &[], at(3))
            .expect("records");
        let reader = house.catalog.reader();
        let of = |mirror: &str| reader.blobs_of(house.row(mirror)).expect("reads").len();
        assert_eq!((of("debian"), of("other")), (3 + 2, 1 + 1));
    }

    #[test]
    fn a_run_is_remembered_until_its_end() {
        let mut house = House::new();
        let part: Part = "2/2".parse().expect("a part");
        let begun = |house: &House, scope: &str| house.catalog.reader().rehash_begun(scope, part).expect("reads");
        assert_eq!(begun(&house, ""), None);
        house
            .catalog
            .note_rehashed(("", part), at(5), 2048..3000, at(6))
            .expect("notes");
        let some = Begun { at: at(5), next: 3000 };
        assert_eq!(begun(&house, ""), Some(some));
        assert_eq!(begun(&house, "debian"), None);
        house
            .catalog
            .note_rehashed(("debian", part), at(7), 2048..2049, at(7))
            .expect("notes");
        let before = Rehashed {
            units: 952,
            oldest: Some(at(6)),
        };
        assert_eq!(house.catalog.reader().rehashed().expect("reads"), before);
        house
            .catalog
            .note_rehashed(("", part), at(5), 3000..UNITS, at(9))
            .expect("notes");
        assert_eq!(begun(&house, ""), None);
        house
            .catalog
            .note_rehashed(("", Part::WHOLE), at(20), 0..2500, at(20))
            .expect("notes");
        let after = Rehashed {
            units: UNITS,
            oldest: Some(at(6)),
        };
        assert_eq!(house.catalog.reader().rehashed().expect("reads"), after);
    }
}

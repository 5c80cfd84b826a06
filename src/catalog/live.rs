//! Which blobs nothing needs any more: marking them and forgetting them.
//!
//! Owns the statements of garbage collection. It decides nothing about grace periods, which the callers pass as
//! points in time, and removes no file itself: the caller's function does, inside the transaction that re-checked.

use rusqlite::{OptionalExtension as _, params};

use super::leases::UNUSED;
use super::sql_types::Sql;
use super::{BlobRow, Catalog, CatalogError, CatalogReader};
use crate::model::{Digest, MirrorId, Timestamp};

/// A blob that no listing and no lease needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condemned {
    /// Its row, by which mounts know it.
    pub row: BlobRow,
    /// Its bytes' digest.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Since when nothing needs it.
    pub since: Timestamp,
}

/// What one marking found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marked {
    /// Number of blobs that are condemned now, newly or before.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl CatalogReader {
    /// Blobs condemned at or before `until` that still are unused, longest condemned first, at most `limit`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn condemned(&self, until: Timestamp, limit: u32) -> Result<Vec<Condemned>, CatalogError> {
        let mut query = self.connection.prepare_cached(&format!(
            "SELECT id, sha256, size, condemned_at FROM blob
             WHERE condemned_at <= ? AND {UNUSED} ORDER BY condemned_at, id LIMIT ?"
        ))?;
        let rows = query.query_map(params![Sql(until), limit], |row| {
            let (Sql(digest), Sql(since)) = (row.get(1)?, row.get(3)?);
            Ok(Condemned {
                row: row.get(0)?,
                digest,
                size: row.get::<_, i64>(2)?.cast_unsigned(),
                since,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// How much is unused now, condemned or not: what sweeping could free in the end.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn unused(&self) -> Result<Marked, CatalogError> {
        let sql = format!("SELECT count(*), coalesce(sum(size), 0) FROM blob WHERE {UNUSED}");
        let counted = self.connection.query_row(&sql, [], |row| {
            Ok(Marked {
                blobs: row.get::<_, i64>(0)?.cast_unsigned(),
                bytes: row.get::<_, i64>(1)?.cast_unsigned(),
            })
        })?;
        Ok(counted)
    }
}

impl Catalog {
    /// Drops leases taken before `until`, except those of the mirrors in `syncing`: a sync that still runs keeps its
    /// leases, however long it takes.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn expire_leases(&mut self, until: Timestamp, syncing: &[MirrorId]) -> Result<usize, CatalogError> {
        let kept: Vec<&str> = syncing.iter().map(MirrorId::as_str).collect();
        self.write(|transaction| {
            let mut old = transaction.prepare(
                "SELECT DISTINCT mirror_id, mirror.name FROM lease JOIN mirror ON mirror.id = mirror_id
                 WHERE leased_at < ?",
            )?;
            let mirrors: Vec<(i64, String)> = old
                .query_map([Sql(until)], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let mut dropped = 0;
            for (row, _) in mirrors.iter().filter(|(_, name)| !kept.contains(&name.as_str())) {
                let sql = "DELETE FROM lease WHERE mirror_id = ? AND leased_at < ?";
                dropped += transaction.execute(sql, params![row, Sql(until)])?;
            }
            Ok(dropped)
        })
    }

    /// Takes what happened after `now` for what happens now: the clock was ahead then, and nothing would end in time.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn correct_times(&mut self, now: Timestamp) -> Result<(), CatalogError> {
        self.write(|transaction| {
            for sql in [
                "UPDATE blob SET condemned_at = ?1 WHERE condemned_at > ?1 AND refs = 0",
                "UPDATE lease SET leased_at = ?1 WHERE leased_at > ?1",
            ] {
                transaction.execute(sql, [Sql(now)])?;
            }
            Ok(())
        })
    }

    /// Condemns every unused blob as of `now`, and reports how much is condemned.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn condemn_unused(&mut self, now: Timestamp) -> Result<Marked, CatalogError> {
        self.write(|transaction| {
            let sql = format!("UPDATE blob SET condemned_at = ? WHERE condemned_at IS NULL AND {UNUSED}");
            transaction.execute(&sql, [Sql(now)])?;
            Ok(())
        })?;
        self.reader.unused()
    }

    /// Forgets each of `candidates` that is still unused and was condemned at or before `until`, after `unlink` has
    /// removed its file. All happens in one transaction, so no sync can take a blob up again in between. Returns what
    /// was forgotten.
    ///
    /// # Errors
    /// When `unlink` fails, what it removed before is forgotten; the blob it failed for and those after it keep their
    /// rows. When the catalog cannot be written, files already removed have rows that nothing needs, which the next
    /// sweep forgets.
    pub fn sweep<E: From<CatalogError>>(
        &mut self,
        candidates: &[Condemned],
        until: Timestamp,
        mut unlink: impl FnMut(Digest) -> Result<(), E>,
    ) -> Result<Marked, E> {
        let mut failure = None;
        let swept = self.write(|transaction| {
            let mut still = transaction.prepare_cached(&format!(
                "SELECT 1 FROM blob WHERE id = ? AND condemned_at <= ? AND {UNUSED}"
            ))?;
            let mut forget = transaction.prepare_cached("DELETE FROM blob WHERE id = ?")?;
            let mut swept = Marked::default();
            for blob in candidates {
                if still
                    .query_row(params![blob.row, Sql(until)], |_| Ok(()))
                    .optional()?
                    .is_none()
                {
                    continue;
                }
                if let Err(error) = unlink(blob.digest) {
                    failure = Some(error);
                    break;
                }
                forget.execute([blob.row])?;
                swept.blobs += 1;
                swept.bytes += blob.size;
            }
            Ok(swept)
        })?;
        match failure {
            Some(error) => Err(error),
            None => Ok(swept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, SweepFailure, at, check_rows, facts, listing, mirror_id, snapshot_name};
    use super::*;

    fn digests(found: &[Condemned]) -> Vec<Digest> {
        found.iter().map(|found| found.digest).collect()
    }

    #[test]
    fn the_longest_condemned_come_first_and_no_more_than_asked_for() {
        let mut house = House::new();
        for (content, now) in [("b", 5), ("a", 6), ("c", 3)] {
            house.add(&[content]);
            house.catalog.condemn_unused(at(now)).expect("marks");
        }
        let all = ["c", "b", "a"].map(|content| facts(content).digest);
        let found = |until, limit| house.catalog.reader().condemned(at(until), limit).expect("lists");
        assert_eq!(digests(&found(6, 9)), all);
        assert_eq!(digests(&found(6, 2)), all[..2]);
        assert_eq!(digests(&found(5, 9)), all[..2]);
        assert_eq!(found(2, 9), []);
        assert_eq!(found(9, 0), []);
        assert_eq!(
            house.catalog.reader().unused().expect("counts"),
            Marked { blobs: 3, bytes: 3 }
        );
    }

    #[test]
    fn a_file_that_cannot_be_removed_keeps_its_row_and_so_do_those_after_it() {
        let mut house = House::new();
        house.add(&["a", "b", "c"]);
        house.catalog.condemn_unused(at(0)).expect("marks");
        let candidates = house.catalog.reader().condemned(at(0), 9).expect("lists");
        let mut removed = Vec::new();
        let outcome = house.catalog.sweep(&candidates, at(0), |digest| {
            if removed.len() == 1 {
                return Err(SweepFailure::Unlink);
            }
            removed.push(digest);
            Ok(())
        });
        assert!(matches!(outcome, Err(SweepFailure::Unlink)));
        assert_eq!(removed, [facts("a").digest]);
        let left = house.catalog.reader().condemned(at(0), 9).expect("lists");
        assert_eq!(
            left,
            candidates[1..],
            "what was removed is forgotten, the rest is as it was"
        );
    }

    #[test]
    fn when_the_rows_cannot_go_the_next_sweep_heals_it() {
        let mut house = House::new();
        house.add(&["a", "b"]);
        house.catalog.condemn_unused(at(0)).expect("marks");
        let candidates = house.catalog.reader().condemned(at(0), 9).expect("lists");
        let spoil = "CREATE TEMP TRIGGER spoil BEFORE DELETE ON main.blob WHEN OLD.id = 2
                     BEGIN SELECT RAISE(ABORT, 'no'); END";
        house.sql().execute_batch(spoil).expect("makes a trigger");
        let outcome = house.catalog.sweep(&candidates, at(0), |_| Ok::<_, SweepFailure>(()));
        assert!(matches!(outcome, Err(SweepFailure::Catalog)));
        assert_eq!(
            house.catalog.reader().condemned(at(0), 9).expect("lists"),
            candidates,
            "both rows are there"
        );
        house.sql().execute_batch("DROP TRIGGER spoil").expect("drops it");
        let swept = house.catalog.sweep(&candidates, at(0), |_| Ok::<_, SweepFailure>(()));
        assert_eq!(swept.expect("sweeps"), Marked { blobs: 2, bytes: 2 });
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nothing_for_ever() {
        let mut house = House::new();
        let row = house.catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        house.add(&["a", "b"]);
        house
            .catalog
            .lease(row, &[facts("b").digest], at(1_000))
            .expect("leases");
        house.catalog.condemn_unused(at(1_000)).expect("marks");
        house.catalog.correct_times(at(5)).expect("corrects");
        let since = |house: &House| house.catalog.reader().condemned_after(at(0)).expect("reads");
        assert_eq!(since(&house), Some((at(5), at(5))));
        house.catalog.correct_times(at(7)).expect("corrects");
        assert_eq!(since(&house), Some((at(5), at(5))), "what is past stays");
        assert_eq!(house.catalog.expire_leases(at(6), &[]).expect("expires"), 1);
    }

    #[test]
    fn a_swept_blob_leaves_its_number_to_nobody() {
        let mut house = House::new();
        let newest = "SELECT max(id) FROM blob";
        house.add(&["a"]);
        let before = house.number(newest);
        house.sweep_all(at(0));
        house.add(&["a"]);
        assert!(house.number(newest) > before);
    }

    #[test]
    fn a_blob_in_any_snapshot_of_any_mirror_is_needed() {
        let mut house = House::new();
        let shared = listing(&[("a", "shared")]);
        house.sync("debian", &shared, "one", &[], at(0)).expect("records");
        house.sync("other", &shared, "one", &[], at(0)).expect("records");
        house
            .sync("debian", &listing(&[("a", "new")]), "two", &[], at(1))
            .expect("records");
        let delete = |house: &mut House, mirror: &str| {
            house
                .catalog
                .delete_snapshots(&mirror_id(mirror), &[snapshot_name("one")], false, at(9))
                .expect("deletes");
            house.sweep_all(at(2));
            check_rows(house);
            house
                .catalog
                .reader()
                .blob(facts("shared").digest)
                .expect("reads")
                .is_some()
        };
        assert!(delete(&mut house, "debian"), "the other mirror needs it");
        assert!(
            delete(&mut house, "other"),
            "its last synced state stays without a name"
        );
        house.sync("other", &listing(&[]), "two", &[], at(3)).expect("records");
        house.sweep_all(at(4));
        check_rows(&house);
        assert_eq!(
            house.catalog.reader().blob(facts("shared").digest).expect("reads"),
            None
        );
    }
}

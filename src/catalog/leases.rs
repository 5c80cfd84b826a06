//! Blobs on their way into a listing: leases and blob rows.
//!
//! Owns the rows that keep fetched bytes from being swept before a listing names them. A lease belongs to a mirror,
//! not to a process, so the mirror's next sync takes over what a dead one had fetched.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::sql_types::{Sql, stored};
use super::{BlobRow, Catalog, CatalogError, CatalogReader, MirrorRow, computed, damage};
use crate::model::{BlobFacts, Digest, MirrorId, Sha512, Timestamp};

/// What the catalog knows of wanted bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The mirror's last synced state has them.
    Held(BlobFacts),
    /// The cache has them, for whatever reason; a lease keeps them now.
    Leased(BlobFacts),
    /// They have to be fetched: the cache has never had them, or what it has is damaged.
    Absent,
}

/// The row of the blob with the digest that is the first parameter. The index holds the first bytes only: half the
/// size, and still one row for each value, unless somebody went to great lengths.
const BY_DIGEST: &str = "substr(sha256, 1, 8) = substr(?1, 1, 8) AND sha256 = ?1";

/// Leases stand in the order of their mirrors, which are few.
macro_rules! unleased {
    () => {
        "NOT EXISTS (
            SELECT 1 FROM mirror CROSS JOIN lease ON lease.mirror_id = mirror.id AND lease.sha256 = blob.sha256)"
    };
}

/// That no sync holds a row of `blob`.
pub(super) const UNLEASED: &str = unleased!();

/// That nothing needs a row of `blob`: no row names it and no sync holds it.
pub(super) const UNUSED: &str = concat!("refs = 0 AND ", unleased!());

/// When a blob was condemned last.
const LAST_CONDEMNED: &str = "SELECT max(condemned_at) FROM blob INDEXED BY blob_unused WHERE refs = 0";

/// Rows of the last state that are read in the time in which one digest is looked up and leased: about 1 µs each
/// against 4 µs for the look-up and as much again, or more, for writing the lease.
const ROWS_FOR_ONE: u64 = 16;

/// Rows of the last state that are read at any rate, in about a millisecond: a lease less to write is worth that.
const ROWS_ANYWAY: u64 = 1_000;

impl CatalogReader {
    /// The blob of these bytes, when the cache has it.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn blob(&self, digest: Digest) -> Result<Option<BlobFacts>, CatalogError> {
        Ok(find_blob(&self.connection, digest)?.map(|found| found.facts))
    }

    /// Digests that `mirror` has leased and that no blob is recorded for: their files may be there all the same.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn leased_without_row(&self, mirror: MirrorRow) -> Result<Vec<Digest>, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT sha256 FROM lease WHERE mirror_id = ? ORDER BY sha256")?;
        let rows = query.query_map([mirror], |row| row.get(0).map(|Sql(digest)| digest))?;
        let leased: Vec<Digest> = rows.collect::<rusqlite::Result<_>>()?;
        let mut absent = Vec::new();
        for digest in leased {
            if find_blob(&self.connection, digest)?.is_none() {
                absent.push(digest);
            }
        }
        Ok(absent)
    }
}

impl Catalog {
    /// The row of `mirror`, which is made when there is none.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn adopt_mirror(&mut self, mirror: &MirrorId) -> Result<MirrorRow, CatalogError> {
        if let Ok(row) = self.reader.mirror(mirror) {
            return Ok(row);
        }
        self.write(|transaction| {
            transaction.execute("INSERT OR IGNORE INTO mirror (name) VALUES (?)", [Sql(mirror)])?;
            let sql = "SELECT id FROM mirror WHERE name = ?";
            Ok(transaction.query_row(sql, [Sql(mirror)], |row| row.get(0))?)
        })
    }

    /// Looks each of `digests` up and makes sure that none that is found can be swept before `mirror` records its
    /// next listing: those outside the mirror's last synced state get a lease and lose their condemnation. Few digests
    /// are not compared with a large state, and leased whether it has them or not.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn claim(&mut self, mirror: MirrorRow, digests: &[Digest], now: Timestamp) -> Result<Vec<Claim>, CatalogError> {
        self.write(|transaction| {
            let held = if is_worth_a_pass(transaction, mirror, digests.len() as u64)? {
                blobs_of_last_state(transaction, mirror)?
            } else {
                HashMap::new()
            };
            let damaged = damage::digests(transaction)?;
            digests
                .iter()
                .map(|digest| claim_one(transaction, mirror, *digest, (&held, &damaged), now))
                .collect()
        })
    }

    /// Records, before the bytes get their final names, that `mirror` will need them.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn lease(&mut self, mirror: MirrorRow, digests: &[Digest], now: Timestamp) -> Result<(), CatalogError> {
        // Neighbours in the table one after the other: in any other order each goes to a page of its own.
        let mut digests = digests.to_vec();
        digests.sort_unstable();
        self.write(|transaction| {
            let some_are_condemned = is_any_condemned(transaction)?;
            digests.iter().try_for_each(|digest| {
                write_lease(transaction, mirror, *digest, now)?;
                if some_are_condemned {
                    acquit(transaction, *digest)?;
                }
                Ok(())
            })
        })
    }

    /// Records blobs whose bytes are whole and durable at their final names. Knowing one already is fine; if it was damaged,
    /// it is not any more.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn add_blobs(&mut self, blobs: &[BlobFacts]) -> Result<(), CatalogError> {
        self.add_hashed_blobs(blobs, &[])
    }

    /// As [`Catalog::add_blobs`], and records SHA-512 hashes of some of these bytes, which must have been computed from
    /// them: archives that list no other hash find their files by them.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn add_hashed_blobs(&mut self, blobs: &[BlobFacts], hashes: &[(Digest, Sha512)]) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached("INSERT INTO blob (sha256, size, mtime) VALUES (?, ?, ?)")?;
            for blob in blobs {
                match find_blob(transaction, blob.digest)? {
                    Some(found) => {
                        acquit(transaction, blob.digest)?;
                        damage::clear(transaction, found.row)?;
                    }
                    None => {
                        insert.execute(params![Sql(blob.digest), stored(blob.size), Sql(blob.mtime)])?;
                    }
                }
            }
            computed::add_sha512(transaction, hashes)
        })
    }

    /// Forgets the row of a blob that no listing names, as if a sweep had come in between.
    #[cfg(test)]
    pub(super) fn forget_unused_blob(&mut self, digest: Digest) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let sql = format!("DELETE FROM blob WHERE {BY_DIGEST} AND refs = 0");
            transaction.execute(&sql, [Sql(digest)])?;
            Ok(())
        })
    }
}

pub(super) struct FoundBlob {
    pub(super) row: BlobRow,
    pub(super) facts: BlobFacts,
}

pub(super) fn find_blob(connection: &rusqlite::Connection, digest: Digest) -> Result<Option<FoundBlob>, CatalogError> {
    let mut query = connection.prepare_cached(&format!("SELECT id, size, mtime FROM blob WHERE {BY_DIGEST}"))?;
    let found = query.query_row([Sql(digest)], |row| {
        let Sql(mtime) = row.get(2)?;
        let facts = BlobFacts {
            digest,
            size: row.get::<_, i64>(1)?.cast_unsigned(),
            mtime,
        };
        Ok(FoundBlob {
            row: row.get(0)?,
            facts,
        })
    });
    Ok(found.optional()?)
}

/// Whether reading the mirror's whole last state costs less than looking up `wanted` digests. Stops counting where that
/// is clear, and steps through an index only: a small part of the time that a pass takes.
fn is_worth_a_pass(transaction: &Transaction<'_>, mirror: MirrorRow, wanted: u64) -> Result<bool, CatalogError> {
    let most = wanted.saturating_mul(ROWS_FOR_ONE).saturating_add(ROWS_ANYWAY);
    let mut query = transaction.prepare_cached(
        "SELECT 1 FROM entry INDEXED BY entry_open WHERE mirror_id = ? AND to_seq = 2147483647 LIMIT 1 OFFSET ?",
    )?;
    Ok(!query.exists(params![mirror, stored(most)])?)
}

/// The blobs that the mirror's last synced state names: nothing can sweep them while its sync runs. For many digests,
/// one pass over it is several times quicker than looking each up.
fn blobs_of_last_state(
    transaction: &Transaction<'_>,
    mirror: MirrorRow,
) -> Result<HashMap<Digest, BlobFacts>, CatalogError> {
    let mut query = transaction.prepare_cached(
        "SELECT sha256, size, mtime FROM entry INDEXED BY entry_open CROSS JOIN blob ON blob.id = blob_id
         WHERE mirror_id = ? AND to_seq = 2147483647",
    )?;
    let rows = query.query_map([mirror], |row| {
        let (Sql(digest), size, Sql(mtime)) = (row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get(2)?);
        Ok((digest, BlobFacts { digest, size, mtime }))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn claim_one(
    transaction: &Transaction<'_>,
    mirror: MirrorRow,
    digest: Digest,
    (held, damaged): (&HashMap<Digest, BlobFacts>, &HashSet<Digest>),
    now: Timestamp,
) -> Result<Claim, CatalogError> {
    if damaged.contains(&digest) {
        return Ok(Claim::Absent);
    }
    if let Some(facts) = held.get(&digest) {
        return Ok(Claim::Held(*facts));
    }
    let Some(found) = find_blob(transaction, digest)? else {
        return Ok(Claim::Absent);
    };
    lease(transaction, mirror, digest, now)?;
    Ok(Claim::Leased(found.facts))
}

/// A blob that is leased is needed: should the lease end unused, its grace begins anew.
fn lease(transaction: &Transaction<'_>, mirror: MirrorRow, digest: Digest, now: Timestamp) -> Result<(), CatalogError> {
    write_lease(transaction, mirror, digest, now)?;
    acquit(transaction, digest)
}

fn write_lease(
    transaction: &Transaction<'_>,
    mirror: MirrorRow,
    digest: Digest,
    now: Timestamp,
) -> Result<(), CatalogError> {
    transaction
        .prepare_cached(
            "INSERT INTO lease (mirror_id, sha256, leased_at) VALUES (?, ?, ?)
             ON CONFLICT (mirror_id, sha256) DO UPDATE SET leased_at = excluded.leased_at",
        )?
        .execute(params![mirror, Sql(digest), Sql(now)])?;
    Ok(())
}

/// Whether any blob is condemned: only those that nothing refers to are. One step in the index.
fn is_any_condemned(transaction: &Transaction<'_>) -> Result<bool, CatalogError> {
    let mut query = transaction.prepare_cached(LAST_CONDEMNED)?;
    Ok(query.query_row([], |row| row.get::<_, Option<i64>>(0))?.is_some())
}

/// Ends the condemnation of a blob.
fn acquit(transaction: &Transaction<'_>, digest: Digest) -> Result<(), CatalogError> {
    let sql = format!("UPDATE blob SET condemned_at = NULL WHERE {BY_DIGEST} AND condemned_at IS NOT NULL");
    transaction.prepare_cached(&sql)?.execute([Sql(digest)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Prepared;
    use super::super::tests::{House, SAME, at, facts, listing, mirror_id};
    use super::*;

    /// Digests of what would be swept at `now` without any grace.
    fn sweepable(house: &mut House, now: i64) -> Vec<Digest> {
        house.catalog.condemn_unused(at(now)).expect("marks");
        let found = house.catalog.reader().condemned(at(now), 100).expect("lists");
        found.into_iter().map(|found| found.digest).collect()
    }

    fn prepare(house: &mut House, content: &str) -> Result<Prepared, CatalogError> {
        house
            .catalog
            .prepare(&mirror_id("debian"), &listing(&[("a", content)]), at(5))
    }

    #[test]
    fn what_a_failed_sync_fetched_is_kept_until_the_next_good_one() {
        let mut house = House::new();
        let row = house.catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        house
            .catalog
            .lease(row, &[facts("x").digest, facts("y").digest], at(0))
            .expect("leases");
        house.add(&["x", "y"]);
        assert_eq!(
            sweepable(&mut house, 1_000_000),
            [],
            "the sync died, its leases did not"
        );
        let found = house
            .catalog
            .claim(row, &[facts("x").digest, facts("z").digest], at(1))
            .expect("claims");
        assert_eq!(
            found,
            [Claim::Leased(facts("x")), Claim::Absent],
            "nothing is fetched twice"
        );
        house
            .sync("debian", &listing(&[("a", "x")]), "one", &[], at(2))
            .expect("records");
        assert_eq!(
            sweepable(&mut house, 3),
            [facts("y").digest],
            "what the listing does not name is free now"
        );
    }

    #[test]
    fn a_failed_attempt_to_record_keeps_what_was_fetched() {
        let mut house = House::new();
        house
            .sync("debian", &listing(&[("a", "x")]), "one", &[], at(0))
            .expect("records");
        let refused = house.sync("debian", &listing(&[("a", "y")]), "one", &[], at(1));
        assert!(matches!(refused, Err(CatalogError::SnapshotExists { .. })));
        assert_eq!(sweepable(&mut house, 2), []);
    }

    #[test]
    fn what_was_leased_and_never_recorded_is_known() {
        let mut house = House::new();
        let rows = ["debian", "other"].map(|mirror| house.catalog.adopt_mirror(&mirror_id(mirror)).expect("adopts"));
        house.add(&["there"]);
        let digests = ["there", "cut", "short"].map(|content| facts(content).digest);
        house.catalog.lease(rows[0], &digests, at(0)).expect("leases");
        let mut absent = digests[1..].to_vec();
        absent.sort_unstable();
        let found = |row| house.catalog.reader().leased_without_row(row).expect("reads");
        assert_eq!(found(rows[0]), absent);
        assert_eq!(found(rows[1]), []);
    }

    #[test]
    fn a_digest_is_looked_up_by_the_index() {
        let house = House::new();
        for statement in [
            "SELECT 1 FROM blob",
            "DELETE FROM blob",
            "UPDATE blob SET condemned_at = NULL",
        ] {
            let sql = format!("EXPLAIN QUERY PLAN {statement} WHERE {BY_DIGEST}");
            let digest = Sql(facts("x").digest);
            let plan = house
                .sql()
                .query_row(&sql, [digest], |row| row.get::<_, String>(3))
                .expect("plans");
            assert!(
                plan.starts_with("SEARCH blob USING") && plan.contains("blob_by_digest"),
                "{plan}"
            );
        }
    }

    #[test]
    fn the_last_condemnation_is_found_by_the_index() {
        let house = House::new();
        let sql = format!("EXPLAIN {LAST_CONDEMNED}");
        let mut query = house.sql().prepare(&sql).expect("prepares");
        let steps = query.query_map([], |row| row.get::<_, String>(1)).expect("plans");
        let steps: Vec<String> = steps.collect::<Result<_, _>>().expect("reads");
        assert!(
            steps.iter().any(|step| step == "Last"),
            "from the end, not row by row: {steps:?}"
        );
    }

    #[test]
    fn leases_expire_unless_their_sync_still_runs() {
        let mut house = House::new();
        for (mirror, content, since) in [("old", "x", 0), ("old", "y", 10), ("running", "z", 0)] {
            let row = house.catalog.adopt_mirror(&mirror_id(mirror)).expect("adopts");
            house.add(&[content]);
            house
                .catalog
                .lease(row, &[facts(content).digest], at(since))
                .expect("leases");
        }
        let dropped = house
            .catalog
            .expire_leases(at(10), &[mirror_id("running")])
            .expect("expires");
        assert_eq!(dropped, 1, "a lease of exactly the age stays");
        assert_eq!(sweepable(&mut house, 20), [facts("x").digest]);
    }

    #[test]
    fn an_unchanged_upstream_ends_leases_of_its_mirror_only() {
        let mut house = House::new();
        let rows = ["debian", "other"].map(|mirror| house.catalog.adopt_mirror(&mirror_id(mirror)).expect("adopts"));
        house.add(&["x", "shared"]);
        house
            .catalog
            .lease(rows[0], &[facts("x").digest, facts("shared").digest], at(0))
            .expect("leases");
        house
            .catalog
            .lease(rows[1], &[facts("shared").digest], at(0))
            .expect("leases");
        house.catalog.note_unchanged(rows[0], &SAME, at(1)).expect("notes");
        assert_eq!(sweepable(&mut house, 2), [facts("x").digest]);
    }

    #[test]
    fn a_claim_ends_condemnation_and_its_grace_begins_anew() {
        let mut house = House::new();
        let row = house.catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        house.add(&["x", "y"]);
        assert_eq!(sweepable(&mut house, 0).len(), 2);
        let candidates = house.catalog.reader().condemned(at(0), 100).expect("lists");
        house.catalog.claim(row, &[facts("x").digest], at(1)).expect("claims");
        house.catalog.lease(row, &[facts("y").digest], at(1)).expect("leases");
        let unlink = |_| -> Result<(), CatalogError> { panic!("both are needed again") };
        assert_eq!(
            house.catalog.sweep(&candidates, at(0), unlink).expect("sweeps").blobs,
            0
        );
        house.catalog.note_unchanged(row, &SAME, at(2)).expect("notes");
        assert_eq!(house.catalog.reader().condemned(at(100), 100).expect("lists"), []);
        house.catalog.condemn_unused(at(3)).expect("marks");
        let since: Vec<_> = house
            .catalog
            .reader()
            .condemned(at(3), 9)
            .expect("lists")
            .iter()
            .map(|c| c.since)
            .collect();
        assert_eq!(since, [at(3), at(3)]);
    }

    #[test]
    fn what_the_last_state_holds_needs_no_lease() {
        let mut house = House::new();
        house
            .sync("debian", &listing(&[("a", "x")]), "one", &[], at(0))
            .expect("records");
        let row = house.row("debian");
        let found = house.catalog.claim(row, &[facts("x").digest], at(1)).expect("claims");
        assert_eq!(found, [Claim::Held(facts("x"))]);
        assert_eq!(house.number("SELECT count(*) FROM lease"), 0);
    }

    #[test]
    fn a_large_last_state_is_not_read_for_a_few_digests() {
        let mut house = House::new();
        let names: Vec<String> = (0..2_000).map(|n| format!("f{n:04}")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        house
            .sync("debian", &listing(&files), "one", &[], at(0))
            .expect("records");
        let row = house.row("debian");
        let digests: Vec<Digest> = names.iter().map(|name| facts(name).digest).collect();
        let found = house.catalog.claim(row, &digests, at(1)).expect("claims");
        assert!(found.iter().all(|claim| matches!(claim, Claim::Held(_))));
        assert_eq!(house.number("SELECT count(*) FROM lease"), 0, "many: one pass");

        let few = [facts("f0000").digest, facts("new").digest];
        let found = house.catalog.claim(row, &few, at(2)).expect("claims");
        assert_eq!(found, [Claim::Leased(facts("f0000")), Claim::Absent]);
        assert_eq!(house.number("SELECT count(*) FROM lease"), 1, "few: looked up");
        house.catalog.note_unchanged(row, &SAME, at(3)).expect("notes");
        assert_eq!(house.number("SELECT count(*) FROM lease"), 0);
        assert_eq!(sweepable(&mut house, 4), []);
    }

    #[test]
    fn the_size_of_the_last_state_is_found_in_the_index() {
        let mut house = House::new();
        let row = house.catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        let plan: String = house
            .sql()
            .query_row(
                "EXPLAIN QUERY PLAN SELECT 1 FROM entry INDEXED BY entry_open
                 WHERE mirror_id = ? AND to_seq = 2147483647 LIMIT 1 OFFSET 9",
                [row],
                |row| row.get(3),
            )
            .expect("plans");
        assert!(plan.contains("USING COVERING INDEX entry_open"), "{plan}");
    }

    #[test]
    fn a_blob_keeps_the_facts_of_its_first_arrival() {
        let mut house = House::new();
        let row = house.catalog.adopt_mirror(&mirror_id("debian")).expect("adopts");
        let (first, later) = (
            facts("x"),
            BlobFacts {
                mtime: at(9),
                ..facts("x")
            },
        );
        house.catalog.add_blobs(&[first]).expect("adds");
        house.catalog.add_blobs(&[later]).expect("adds");
        assert_eq!(
            house.catalog.claim(row, &[first.digest], at(0)).expect("claims"),
            [Claim::Leased(first)]
        );
        assert_eq!(house.catalog.reader().blob(first.digest).expect("reads"), Some(first));
    }

    #[test]
    fn only_a_blob_that_no_listing_names_can_be_forgotten() {
        let mut house = House::new();
        house
            .sync("debian", &listing(&[("a", "x")]), "one", &[], at(0))
            .expect("records");
        house.add(&["y"]);
        for content in ["x", "y"] {
            house
                .catalog
                .forget_unused_blob(facts(content).digest)
                .expect("forgets");
        }
        let known = |content: &str| {
            house
                .catalog
                .reader()
                .blob(facts(content).digest)
                .expect("reads")
                .is_some()
        };
        assert!(known("x") && !known("y"));
        let error = prepare(&mut house, "y").expect_err("is gone");
        assert!(matches!(error, CatalogError::NoBlob(digest) if digest == facts("y").digest));
    }
}

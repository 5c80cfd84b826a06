//! What a collection would find, told without changing anything.
//!
//! Owns these questions only. Marking and sweeping are `live`'s; what is done about an answer is for the use cases.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, params};

use super::leases::{UNLEASED, UNUSED};
use super::sql_types::Sql;
use super::{BlobRow, CatalogError, CatalogReader, Marked};
use crate::model::{Digest, MirrorId, Timestamp};

/// A blob that nothing needs, whether that was noticed already or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unneeded {
    /// Its row.
    pub row: BlobRow,
    /// Its bytes' digest.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Since when it is condemned; `None` when it is not yet.
    pub since: Option<Timestamp>,
}

impl CatalogReader {
    /// Every blob that nothing needs, once leases taken before `expired` have ended, other than those of the mirrors in
    /// `syncing`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn unneeded(&self, expired: Timestamp, syncing: &[MirrorId]) -> Result<Vec<Unneeded>, CatalogError> {
        let rows: Result<Vec<String>, CatalogError> = syncing
            .iter()
            .map(|mirror| Ok(self.mirror(mirror)?.0.to_string()))
            .collect();
        let mut query = self.connection.prepare(&format!(
            "SELECT id, sha256, size, condemned_at FROM blob
             WHERE refs = 0 AND NOT EXISTS (
                 SELECT 1 FROM mirror CROSS JOIN lease ON lease.mirror_id = mirror.id AND lease.sha256 = blob.sha256
                 WHERE (leased_at >= ? OR mirror_id IN ({})))
             ORDER BY id",
            rows?.join(", ")
        ))?;
        let found = query.query_map([Sql(expired)], |row| {
            let Sql(digest) = row.get(1)?;
            Ok(Unneeded {
                row: row.get(0)?,
                digest,
                size: row.get::<_, i64>(2)?.cast_unsigned(),
                since: row.get::<_, Option<Sql<Timestamp>>>(3)?.map(|Sql(since)| since),
            })
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// The manifests that nothing needs any more once `going` are gone: those that only these were based on, and so on.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn bases_freed_by(&self, going: &[Unneeded]) -> Result<Vec<Unneeded>, CatalogError> {
        let mut base_of = self.connection.prepare(&format!(
            "SELECT blob.id, refs, sha256, size FROM manifest JOIN blob ON blob.id = base_id
             WHERE blob_id = ? AND {UNLEASED}"
        ))?;
        let mut left = HashMap::new();
        let mut freed = Vec::new();
        let mut frontier: Vec<BlobRow> = going.iter().map(|blob| blob.row).collect();
        while let Some(row) = frontier.pop() {
            let base = base_of.query_row([row], |found| {
                let (Sql(digest), size) = (found.get(2)?, found.get::<_, i64>(3)?.cast_unsigned());
                let (row, since) = (found.get(0)?, None);
                let base = Unneeded {
                    row,
                    digest,
                    size,
                    since,
                };
                Ok((base, found.get::<_, i64>(1)?))
            });
            let Some((base, refs)) = base.optional()? else { continue };
            let left = left.entry(base.row).or_insert(refs);
            *left -= 1;
            if *left == 0 {
                frontier.push(base.row);
                freed.push(base);
            }
        }
        Ok(freed)
    }

    /// How much is unused and not condemned yet.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn unnoticed(&self) -> Result<Marked, CatalogError> {
        let sql = format!("SELECT count(*), coalesce(sum(size), 0) FROM blob WHERE condemned_at IS NULL AND {UNUSED}");
        Ok(self.connection.query_row(&sql, [], |row| {
            Ok(Marked {
                blobs: row.get::<_, i64>(0)?.cast_unsigned(),
                bytes: row.get::<_, i64>(1)?.cast_unsigned(),
            })
        })?)
    }

    /// When the first and the last of those blobs were condemned that are unused and were condemned after `until`; `None`
    /// when there are none.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn condemned_after(&self, until: Timestamp) -> Result<Option<(Timestamp, Timestamp)>, CatalogError> {
        let sql = format!("SELECT min(condemned_at), max(condemned_at) FROM blob WHERE condemned_at > ? AND {UNUSED}");
        let found = self.connection.query_row(&sql, params![Sql(until)], |row| {
            let first: Option<Sql<Timestamp>> = row.get(0)?;
            let last: Option<Sql<Timestamp>> = row.get(1)?;
            Ok(first.zip(last))
        })?;
        Ok(found.map(|(Sql(first), Sql(last))| (first, last)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, at, facts, listing, mirror_id, snapshot_name};
    use super::*;

    fn digests(found: &[Unneeded]) -> Vec<Digest> {
        found.iter().map(|found| found.digest).collect()
    }

    #[test]
    fn leases_that_will_have_ended_keep_nothing_unless_their_sync_runs() {
        let mut house = House::new();
        house.add(&["free", "old", "young", "running"]);
        for (mirror, content, since) in [("a", "old", 0), ("a", "young", 10), ("b", "running", 0)] {
            let row = house.catalog.adopt_mirror(&mirror_id(mirror)).expect("adopts");
            let digest = facts(content).digest;
            house.catalog.lease(row, &[digest], at(since)).expect("leases");
        }
        let reader = house.catalog.reader();
        let found = |expired, syncing: &[MirrorId]| reader.unneeded(at(expired), syncing).expect("reads");
        let of = |contents: &[&str]| contents.iter().map(|content| facts(content).digest).collect::<Vec<_>>();
        assert_eq!(digests(&found(0, &[])), of(&["free"]));
        assert_eq!(digests(&found(10, &[mirror_id("b")])), of(&["free", "old"]));
        assert_eq!(digests(&found(10, &[])), of(&["free", "old", "running"]));
        assert_eq!(reader.unnoticed().expect("counts"), Marked { blobs: 1, bytes: 4 });
        assert_eq!(reader.condemned_after(at(-1)).expect("reads"), None);
        house.catalog.condemn_unused(at(7)).expect("marks");
        let reader = house.catalog.reader();
        assert_eq!(reader.unnoticed().expect("counts"), Marked::default());
        let found = reader.unneeded(at(0), &[]).expect("reads");
        assert_eq!(found[0].since, Some(at(7)));
        assert_eq!(reader.condemned_after(at(6)).expect("reads"), Some((at(7), at(7))));
        assert_eq!(reader.condemned_after(at(7)).expect("reads"), None);
    }

    #[test]
    fn manifests_go_with_the_last_one_that_is_based_on_them() {
        let mut house = House::new();
        for (name, content) in [("one", "x"), ("two", "y"), ("three", "z")] {
            let files = listing(&[("a", content), ("b", "same")]);
            house.sync("debian", &files, name, &[], at(0)).expect("records");
        }
        let row = house.row("debian");
        assert_eq!(
            house
                .whole_manifest(row, house.catalog.reader().snapshots(row).expect("reads")[0].seq)
                .1,
            3
        );
        house
            .catalog
            .forget_mirror(&mirror_id("debian"), true)
            .expect("forgets");
        house.catalog.clear_forgotten().expect("clears");
        let reader = house.catalog.reader();
        let going = reader.unneeded(at(0), &[]).expect("reads");
        let bases = reader.bases_freed_by(&going).expect("reads");
        assert_eq!(
            bases.len(),
            2,
            "the newest manifest is unused, the two below it are not yet"
        );
        let foretold = going.len() + bases.len();
        let all = house.number("SELECT count(*) FROM blob");
        assert_eq!(i64::try_from(foretold).expect("few"), all);
        house.sweep_all(at(9));
        assert_eq!(house.number("SELECT count(*) FROM blob"), 0);
    }

    #[test]
    fn what_others_are_based_on_stays() {
        let mut house = House::new();
        for (name, content) in [("one", "x"), ("two", "y")] {
            house
                .sync("debian", &listing(&[("a", content)]), name, &[], at(0))
                .expect("records");
        }
        house
            .catalog
            .delete_snapshots(&mirror_id("debian"), &[snapshot_name("one")], true, at(1))
            .expect("deletes");
        let reader = house.catalog.reader();
        let going = reader.unneeded(at(0), &[]).expect("reads");
        assert_eq!(digests(&going), [facts("x").digest]);
        assert_eq!(reader.bases_freed_by(&going).expect("reads"), []);
    }
}

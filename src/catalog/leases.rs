//! Blobs on their way into a listing: leases and blob rows.
//!
//! Owns the rows that keep fetched bytes from being swept before a listing names them. A lease belongs to a mirror,
//! not to a process, so the mirror's next sync takes over what a dead one had fetched.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::sql_types::{Sql, stored};
use super::{BlobRow, Catalog, CatalogError, CatalogReader, MirrorRow};
use crate::model::{BlobFacts, Digest, MirrorId, Timestamp};

/// What the catalog knows of wanted bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The mirror's last synced state has them.
    Held(BlobFacts),
    /// The cache has them for another reason; a lease keeps them now.
    Leased(BlobFacts),
    /// They have to be fetched.
    Absent,
}

/// The row of the blob with the digest that is the first parameter. The index holds the first bytes only: half the
/// size, and still one row for each value, unless somebody went to great lengths.
const BY_DIGEST: &str = "substr(sha256, 1, 8) = substr(?1, 1, 8) AND sha256 = ?1";

impl CatalogReader {
    /// The blob of these bytes, when the cache has it.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn blob(&self, digest: Digest) -> Result<Option<BlobFacts>, CatalogError> {
        Ok(find_blob(&self.connection, digest)?.map(|found| found.facts))
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
    /// next listing: those outside the mirror's last synced state get a lease and lose their condemnation.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn claim(&mut self, mirror: MirrorRow, digests: &[Digest], now: Timestamp) -> Result<Vec<Claim>, CatalogError> {
        self.write(|transaction| {
            let held = blobs_of_last_state(transaction, mirror)?;
            digests
                .iter()
                .map(|digest| claim_one(transaction, mirror, *digest, &held, now))
                .collect()
        })
    }

    /// Records, before the bytes get their final names, that `mirror` will need them.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn lease(&mut self, mirror: MirrorRow, digests: &[Digest], now: Timestamp) -> Result<(), CatalogError> {
        self.write(|transaction| {
            digests
                .iter()
                .try_for_each(|digest| lease(transaction, mirror, *digest, now))
        })
    }

    /// Records blobs whose bytes are whole and durable at their final names. Knowing one already is fine.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn add_blobs(&mut self, blobs: &[BlobFacts]) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached("INSERT INTO blob (sha256, size, mtime) VALUES (?, ?, ?)")?;
            for blob in blobs {
                match find_blob(transaction, blob.digest)? {
                    Some(_) => acquit(transaction, blob.digest)?,
                    None => {
                        insert.execute(params![Sql(blob.digest), stored(blob.size), Sql(blob.mtime)])?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Forgets the row of a blob whose file turned out to be missing or damaged, so that it is fetched again. A blob
    /// that a listing names keeps its row.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn forget_unused_blob(&mut self, digest: Digest) -> Result<(), CatalogError> {
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

/// The blobs that the mirror's last synced state names: nothing can sweep them while its sync runs. One pass over it is
/// several times quicker than looking each digest up.
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
    held: &HashMap<Digest, BlobFacts>,
    now: Timestamp,
) -> Result<Claim, CatalogError> {
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
    transaction
        .prepare_cached(
            "INSERT INTO lease (mirror_id, sha256, leased_at) VALUES (?, ?, ?)
             ON CONFLICT (sha256, mirror_id) DO UPDATE SET leased_at = excluded.leased_at",
        )?
        .execute(params![mirror, Sql(digest), Sql(now)])?;
    acquit(transaction, digest)
}

/// Ends the condemnation of a blob.
fn acquit(transaction: &Transaction<'_>, digest: Digest) -> Result<(), CatalogError> {
    let sql = format!("UPDATE blob SET condemned_at = NULL WHERE {BY_DIGEST} AND condemned_at IS NOT NULL");
    transaction.prepare_cached(&sql)?.execute([Sql(digest)])?;
    Ok(())
}

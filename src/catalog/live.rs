//! Which blobs nothing needs any more: marking them and forgetting them.
//!
//! Owns the statements of garbage collection. It decides nothing about grace periods, which the callers pass as
//! points in time, and removes no file itself: the caller's function does, inside the transaction that re-checked.

use rusqlite::{OptionalExtension as _, params};

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

/// A blob that nothing needs: no row names it and no sync holds it.
const UNUSED: &str = "refs = 0 AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.sha256 = blob.sha256)";

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

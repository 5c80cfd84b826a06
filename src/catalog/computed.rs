//! What was computed from a blob's bytes and need not be computed again.
//!
//! Owns the rows of `blob_hash` that somebody here has computed, so that they are true of the bytes whoever asks: hashes
//! under which archives without SHA-256 look for their files, and what a compressed index decompresses to. They come and
//! go with their blobs.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::leases::find_blob;
use super::sql_types::Sql;
use super::{Catalog, CatalogError, CatalogReader};
use crate::model::{Digest, Sha512};

/// `kind` of a SHA-512 hash that was computed from the blob's bytes. Those of kind 8 are what some Release file says of
/// them, which a wicked one could say of any blob.
const SHA512: i64 = 16;

/// `kind` of what the blob decompresses to: its digest, and then its length in bytes, eight bytes long and the highest
/// first. A blob can be compressed in one way only, so this need not say in which.
const UNCOMPRESSED: i64 = 32;

/// What a compressed blob was found to decompress to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncompressed {
    /// The blob.
    pub blob: Digest,
    /// Digest of the decompressed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

impl CatalogReader {
    /// The digests of the blobs whose bytes have these SHA-512 hashes, as far as that was computed when they arrived.
    /// Reads all such hashes once: cheaper than an index on them, for the few archives that need any.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn digests_by_sha512(&self, wanted: &HashSet<Sha512>) -> Result<HashMap<Sha512, Digest>, CatalogError> {
        let mut known = HashMap::new();
        if wanted.is_empty() {
            return Ok(known);
        }
        let sql = "SELECT value, sha256 FROM blob_hash JOIN blob ON blob.id = blob_id WHERE kind = ?";
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query([SHA512])?;
        while let Some(row) = rows.next()? {
            let value = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            if let Some(hash) = Sha512::from_bytes(value).filter(|hash| wanted.contains(hash)) {
                let Sql(digest) = row.get(1)?;
                known.insert(hash, digest);
            }
        }
        Ok(known)
    }

    /// What a blob decompresses to, if anybody has found out.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn uncompressed(&self, blob: Digest) -> Result<Option<Uncompressed>, CatalogError> {
        let Some(found) = find_blob(&self.connection, blob)? else {
            return Ok(None);
        };
        let sql = "SELECT value FROM blob_hash WHERE blob_id = ? AND kind = ?";
        let mut query = self.connection.prepare_cached(sql)?;
        let value: Option<Vec<u8>> = query
            .query_row(params![found.row, UNCOMPRESSED], |row| row.get(0))
            .optional()?;
        Ok(value.and_then(|value| {
            let (digest, size) = value.split_at_checked(Digest::LENGTH)?;
            Some(Uncompressed {
                blob,
                digest: Digest::from_bytes(digest).ok()?,
                size: u64::from_be_bytes(size.try_into().ok()?),
            })
        }))
    }
}

impl Catalog {
    /// Records what blobs decompress to; those without a row are passed over.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn note_uncompressed(&mut self, findings: &[Uncompressed]) -> Result<(), CatalogError> {
        self.write(|transaction| {
            findings.iter().try_for_each(|found| {
                let value = [&found.digest.as_bytes()[..], &found.size.to_be_bytes()].concat();
                insert(transaction, found.blob, UNCOMPRESSED, &value)
            })
        })
    }
}

/// Records SHA-512 hashes of blobs; those without a row are passed over.
pub(super) fn add_sha512(transaction: &Transaction<'_>, hashes: &[(Digest, Sha512)]) -> Result<(), CatalogError> {
    let mut hashes = hashes.iter();
    hashes.try_for_each(|(blob, hash)| insert(transaction, *blob, SHA512, hash.as_bytes()))
}

fn insert(transaction: &Transaction<'_>, blob: Digest, kind: i64, value: &[u8]) -> Result<(), CatalogError> {
    if let Some(found) = find_blob(transaction, blob)? {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO blob_hash (blob_id, kind, value) VALUES (?, ?, ?)")?
            .execute(params![found.row, kind, value])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, facts};
    use super::*;

    #[test]
    fn blobs_are_found_by_hashes_that_were_computed_and_by_no_others() {
        let mut house = House::new();
        let hash = |byte: u8| Sha512::from_bytes(&[byte; 64]).expect("64 bytes");
        let (x, y) = (facts("x"), facts("y"));
        house
            .catalog
            .add_hashed_blobs(&[x, y], &[(x.digest, hash(1)), (facts("no row").digest, hash(3))])
            .expect("adds");
        // As a Release file would have it recorded.
        let said = "INSERT INTO blob_hash SELECT id, 8, ?2 FROM blob WHERE sha256 = ?1";
        let said = house.sql().execute(said, params![Sql(y.digest), hash(2).as_bytes()]);
        assert_eq!(said.expect("inserts"), 1);
        let wanted = HashSet::from([hash(1), hash(2), hash(3)]);
        let found = house.catalog.reader().digests_by_sha512(&wanted).expect("reads");
        assert_eq!(found, HashMap::from([(hash(1), x.digest)]));
    }

    #[test]
    fn what_a_blob_decompresses_to_is_known_as_long_as_the_blob() {
        let mut house = House::new();
        let packed = facts("packed");
        let finding = Uncompressed {
            blob: packed.digest,
            digest: facts("plain").digest,
            size: 5,
        };
        let known = |house: &House| house.catalog.reader().uncompressed(packed.digest).expect("reads");
        let note = |house: &mut House| house.catalog.note_uncompressed(&[finding]).expect("notes");
        note(&mut house);
        assert_eq!(known(&house), None, "it has no row");
        house.catalog.add_blobs(&[packed]).expect("adds");
        assert_eq!(known(&house), None);
        for _ in 0..2 {
            note(&mut house);
            assert_eq!(known(&house), Some(finding));
        }
        house.catalog.forget_unused_blob(packed.digest).expect("forgets");
        house.catalog.add_blobs(&[packed]).expect("adds");
        assert_eq!(known(&house), None);
    }
}

//! Every file of a listing at once.
//!
//! Owns the reading of a whole listing, for those who judge one as a whole. By-hash names, which have no rows, are not in
//! it: they are second names of files that are.

use std::collections::HashMap;

use rusqlite::params;

use super::sql_types::Sql;
use super::{CatalogError, CatalogReader, DirRow, MirrorRow, Seq};
use crate::model::{Digest, Role};

/// A file of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedFile {
    /// What the archive uses it for.
    pub role: Role,
    /// Its bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

impl CatalogReader {
    /// Every file of a listing, by its path relative to the archive root.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn files(&self, mirror: MirrorRow, seq: Seq) -> Result<HashMap<Box<str>, ListedFile>, CatalogError> {
        let directories = self.directories()?;
        let mut query = self.connection.prepare_cached(
            "SELECT dir_id, name, role, sha256, size FROM entry JOIN blob ON blob.id = blob_id
             WHERE mirror_id = ?1 AND from_seq <= ?2 AND to_seq > ?2",
        )?;
        let mut rows = query.query(params![mirror, seq])?;
        let mut files = HashMap::new();
        while let Some(row) = rows.next()? {
            let (Sql(role), Sql(digest)) = (row.get(2)?, row.get(3)?);
            let name = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let directory = directories.get(&row.get(0)?).map_or("", |path| path.as_str());
            let size = row.get::<_, i64>(4)?.cast_unsigned();
            files.insert(format!("{directory}{name}").into(), ListedFile { role, digest, size });
        }
        Ok(files)
    }

    /// Number of files of a listing that its indices name.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn pool_files(&self, mirror: MirrorRow, seq: Seq) -> Result<u64, CatalogError> {
        let sql = "SELECT pool_files FROM listing WHERE mirror_id = ? AND seq = ?";
        let mut query = self.connection.prepare_cached(sql)?;
        let number: i64 = query.query_row(params![mirror, seq], |row| row.get(0))?;
        Ok(number.cast_unsigned())
    }

    /// The path of every directory, with a slash at its end; of the root, nothing.
    fn directories(&self) -> Result<HashMap<DirRow, String>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "WITH RECURSIVE place (id, path) AS (
                 SELECT id, '' FROM dir WHERE id = parent_id
                 UNION ALL
                 SELECT dir.id, path || dir.name || '/' FROM place JOIN dir ON dir.parent_id = place.id
                 WHERE dir.id <> dir.parent_id)
             SELECT id, path FROM place",
        )?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::{House, at, listing};
    use super::*;

    #[test]
    fn a_listing_is_read_whole_and_as_it_was() {
        let mut house = House::new();
        let old = [
            ("top", "x"),
            ("pool/a/one", "y"),
            ("pool/a/b/two", "z"),
            ("pool/gone", "y"),
        ];
        let new = [("top", "changed"), ("pool/a/one", "y"), ("pool/a/b/three", "z")];
        for (name, files) in [("one", &old[..]), ("two", &new[..])] {
            house
                .sync("debian", &listing(files), name, &[], at(0))
                .expect("records");
        }
        house
            .sync("other", &listing(&[("pool/a/four", "4")]), "one", &[], at(0))
            .expect("records");
        let row = house.row("debian");
        let reader = house.catalog.reader();
        for (seq, expected) in [(1, &old[..]), (2, &new[..])] {
            let files = reader.files(row, Seq(seq)).expect("reads");
            let found: BTreeMap<&str, (Digest, u64)> = files
                .iter()
                .map(|(path, file)| (&**path, (file.digest, file.size)))
                .collect();
            let expected: BTreeMap<&str, (Digest, u64)> = expected
                .iter()
                .map(|(path, text)| (*path, (Digest::of(text.as_bytes()), text.len() as u64)))
                .collect();
            assert_eq!(found, expected);
            assert!(files.values().all(|file| file.role == Role::Pool));
            assert_eq!(reader.pool_files(row, Seq(seq)).expect("reads"), expected.len() as u64);
        }
    }
}

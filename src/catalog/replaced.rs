//! Pool files whose bytes differ between two listings though their paths are the same.
//!
//! Owns that one comparison. An archive must not do this: who has an older list refuses the newer file. What else differs
//! between listings is not its matter.

use std::collections::HashMap;

use rusqlite::params;

use super::record::{below, path_of, recorded_path};
use super::sql_types::Sql;
use super::{CatalogError, CatalogReader, DirRow, MirrorRow, ROOT_DIR, Seq};
use crate::model::{RepoPath, Role};

/// Pool files that have other bytes than before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replaced {
    /// How many.
    pub files: usize,
    /// The first of them, sorted.
    pub first: Vec<RepoPath>,
}

impl CatalogReader {
    /// Pool files that two listings of a mirror have under the same path with other bytes, and the paths of at most
    /// `limit` of them. Reads every entry of the mirror.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn replaced_files(
        &self,
        mirror: MirrorRow,
        one: Seq,
        other: Seq,
        limit: usize,
    ) -> Result<Replaced, CatalogError> {
        // What has not changed since the earlier one is one row for both.
        let mut query = self.connection.prepare_cached(
            "SELECT later.dir_id, later.name FROM entry AS later
             JOIN entry AS earlier ON earlier.mirror_id = later.mirror_id AND earlier.dir_id = later.dir_id
                 AND earlier.name = later.name AND earlier.from_seq <= ?2 AND earlier.to_seq > ?2
             WHERE later.mirror_id = ?1 AND later.from_seq > ?2 AND later.from_seq <= ?3 AND later.to_seq > ?3
                 AND later.role = ?4 AND earlier.role = ?4 AND earlier.blob_id <> later.blob_id",
        )?;
        let among = params![mirror, one.min(other), one.max(other), Sql(Role::Pool)];
        let rows = query.query_map(among, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found: Vec<(DirRow, String)> = rows.collect::<rusqlite::Result<_>>()?;
        let mut directories = HashMap::from([(ROOT_DIR, String::new())]);
        let mut paths = Vec::with_capacity(found.len());
        for (dir, name) in &found {
            let directory = path_of(&self.connection, &mut directories, *dir)?;
            paths.push(recorded_path(&below(&directory, name))?);
        }
        paths.sort_unstable();
        paths.truncate(limit);
        Ok(Replaced {
            files: found.len(),
            first: paths,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, at, entry, listing, repo_path};
    use super::*;
    use crate::model::{HashTypes, ListingBuilder};

    #[test]
    fn only_pool_files_with_other_bytes_count_and_either_way_round() {
        let mut house = House::new();
        let index = |content: &str, role| {
            let mut builder = ListingBuilder::new();
            for (path, content, role) in [
                ("dists/Packages", content, Role::Index),
                ("pool/was-an-index", content, role),
                ("pool/b/same", "same", Role::Pool),
                ("pool/b/changed", content, Role::Pool),
                ("a", content, Role::Pool),
                (
                    "pool/back",
                    if content == "two" { "other" } else { "first" },
                    Role::Pool,
                ),
            ] {
                let entry = entry(content, role, HashTypes::NONE);
                builder.add(repo_path(path), entry).expect("no clash");
            }
            builder.build().expect("no clash")
        };
        let mut seqs = Vec::new();
        for (name, content, role) in [
            ("one", "one", Role::Index),
            ("two", "two", Role::Pool),
            ("three", "three", Role::Pool),
        ] {
            let recorded = house.sync("debian", &index(content, role), name, &[], at(0));
            seqs.push(recorded.expect("records").seq);
        }
        let last = house.sync("debian", &listing(&[("pool", "a file")]), "four", &[], at(0));
        seqs.push(last.expect("records").seq);
        let row = house.row("debian");
        let replaced = |one: usize, other: usize, limit| {
            let reader = house.catalog.reader();
            let found = reader
                .replaced_files(row, seqs[one], seqs[other], limit)
                .expect("reads");
            let first: Vec<String> = found.first.iter().map(ToString::to_string).collect();
            (found.files, first.join(" "))
        };
        for (one, other, files, paths) in [
            (0, 1, 3, "a pool/b/changed pool/back"),
            (1, 2, 4, "a pool/b/changed pool/back pool/was-an-index"),
            (0, 2, 2, "a pool/b/changed"),
            (0, 0, 0, ""),
            (2, 3, 0, ""),
        ] {
            assert_eq!(replaced(one, other, 9), (files, paths.to_owned()), "{one} {other}");
            assert_eq!(replaced(other, one, 9), (files, paths.to_owned()), "{other} {one}");
        }
        assert_eq!(replaced(0, 1, 1), (3, "a".to_owned()));
        assert_eq!(replaced(0, 1, 0), (3, String::new()));
    }
}

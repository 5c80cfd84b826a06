//! Where damaged blobs are listed: under which names, and in which snapshots.
//!
//! Owns the search from bytes to names, which no index helps: it reads every entry once, for all damaged blobs together. It
//! decides nothing.

use std::collections::{BTreeMap, HashMap, hash_map};

use rusqlite::params;

use super::record::{below, path_of, recorded_path};
use super::sql_types::Sql;
use super::{BlobRow, CatalogError, CatalogReader, DirRow, MirrorRow, ROOT_DIR, Seq};
use crate::model::{HashTypes, MirrorId, RepoPath, Role, SnapshotName};

/// As what a mirror has a blob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListedAs {
    /// As a file of the archive.
    File {
        /// Its path.
        path: RepoPath,
        /// Whether upstream lists it by its SHA-256 hash, too.
        by_hash: bool,
        /// What the archive uses it for.
        role: Role,
    },
    /// As a manifest: the other form of listings, which mirrorctl made itself.
    Manifest,
}

/// A place where a damaged blob is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// The blob.
    pub blob: BlobRow,
    /// The mirror.
    pub mirror: MirrorId,
    /// As what the mirror has it.
    pub listed: ListedAs,
    /// The snapshots that have it so, oldest first; none when only the last synced state does.
    pub snapshots: Vec<SnapshotName>,
}

/// From which listing on and before which one.
type Spans = Vec<(Seq, Seq)>;

/// Places, with the mirror's row for the search of its snapshots.
type Places = BTreeMap<(BlobRow, MirrorId, ListedAs), (MirrorRow, Spans)>;

impl CatalogReader {
    /// Where the damaged blobs are listed, of mirrors that were not forgotten; sorted by blob, mirror and path.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn whereabouts(&self) -> Result<Vec<Whereabouts>, CatalogError> {
        let mut places = Places::new();
        self.as_files(&mut places)?;
        self.as_manifests(&mut places)?;
        let mut snapshots = HashMap::new();
        let mut found = Vec::new();
        for ((blob, mirror, listed), (row, spans)) in places {
            let all = match snapshots.entry(row) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(unknown) => unknown.insert(self.snapshots_by_listing(row)?),
            };
            let within = |seq: Seq| spans.iter().any(|(from, to)| (*from..*to).contains(&seq));
            let names = all.iter().filter(|(seq, _)| within(*seq)).map(|(_, name)| name.clone());
            found.push(Whereabouts {
                blob,
                mirror,
                listed,
                snapshots: names.collect(),
            });
        }
        Ok(found)
    }

    fn as_files(&self, places: &mut Places) -> Result<(), CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT entry.blob_id, mirror.name, mirror.id, dir_id, entry.name, role, by_hash, from_seq, to_seq
             FROM entry CROSS JOIN damaged ON damaged.blob_id = entry.blob_id
             CROSS JOIN mirror ON mirror.id = entry.mirror_id
             WHERE instr(mirror.name, '/') = 0",
        )?;
        let mut known: HashMap<DirRow, String> = HashMap::from([(ROOT_DIR, String::new())]);
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (Sql(mirror), Sql(role)) = (row.get(1)?, row.get(5)?);
            let directory = path_of(&self.connection, &mut known, row.get(3)?)?;
            let name = row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?;
            let types = HashTypes::from_bits(row.get(6)?);
            let listed = ListedAs::File {
                path: recorded_path(&below(&directory, name))?,
                by_hash: types.contains(crate::model::HashType::Sha256),
                role,
            };
            let place = places.entry((row.get(0)?, mirror, listed));
            let (_, spans) = place.or_insert((row.get(2)?, Spans::new()));
            spans.push((row.get(7)?, row.get(8)?));
        }
        Ok(())
    }

    fn as_manifests(&self, places: &mut Places) -> Result<(), CatalogError> {
        let mut query = self.connection.prepare_cached(
            "WITH RECURSIVE needs (base, blob_id) AS (
                 SELECT blob_id, blob_id FROM damaged JOIN manifest USING (blob_id)
                 UNION SELECT base, manifest.blob_id FROM needs JOIN manifest ON manifest.base_id = needs.blob_id)
             SELECT base, mirror.name, mirror.id, seq FROM needs JOIN listing ON manifest_id = blob_id
             JOIN mirror ON mirror.id = mirror_id WHERE instr(mirror.name, '/') = 0",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (Sql(mirror), seq): (_, Seq) = (row.get(1)?, row.get(3)?);
            let place = places.entry((row.get(0)?, mirror, ListedAs::Manifest));
            let (_, spans) = place.or_insert((row.get(2)?, Spans::new()));
            spans.push((seq, Seq(seq.number() + 1)));
        }
        Ok(())
    }

    fn snapshots_by_listing(&self, mirror: MirrorRow) -> Result<Vec<(Seq, SnapshotName)>, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT seq, name FROM snapshot WHERE mirror_id = ? ORDER BY id")?;
        let rows = query.query_map(params![mirror], |row| {
            Ok((row.get(0)?, row.get(1).map(|Sql(name)| name)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, at, facts, listing};
    use super::super::{Aside, Suspect};
    use super::*;
    use crate::model::{Digest, Fault};

    fn damage(house: &mut House, digest: Digest) {
        let sql = "SELECT id FROM blob WHERE sha256 = ?";
        let row = house
            .sql()
            .query_row(sql, [Sql(digest)], |row| row.get(0))
            .expect("a blob");
        let suspects = [Suspect {
            row,
            digest,
            fault: Fault::Missing,
        }];
        let marked = house.catalog.mark_damaged(&suspects, at(9), |_| Aside::Nothing);
        assert_eq!(marked.expect("marks").len(), 1);
    }

    /// As text: mirror, path, snapshots.
    fn found(house: &House) -> Vec<(String, String, Vec<String>)> {
        let places = house.catalog.reader().whereabouts().expect("reads");
        let place = |place: Whereabouts| {
            let path = match place.listed {
                ListedAs::File { path, .. } => path.to_string(),
                ListedAs::Manifest => "manifest".to_owned(),
            };
            let names = place.snapshots.iter().map(ToString::to_string);
            (place.mirror.to_string(), path, names.collect())
        };
        places.into_iter().map(place).collect()
    }

    fn place(mirror: &str, path: &str, snapshots: &[&str]) -> (String, String, Vec<String>) {
        let names = snapshots.iter().map(ToString::to_string);
        (mirror.to_owned(), path.to_owned(), names.collect())
    }

    #[test]
    fn every_name_of_a_damaged_blob_is_found_in_every_snapshot_that_has_it() {
        let mut house = House::new();
        let histories = [
            ("debian", "one", vec![("pool/a/x", "bad"), ("pool/b", "good")]),
            ("debian", "two", vec![("pool/a/x", "bad"), ("y", "bad")]),
            ("debian", "three", vec![("pool/b", "good")]),
            ("debian", "four", vec![("pool/a/x", "bad")]),
            ("other", "one", vec![("z", "bad")]),
            ("other", "two", vec![("z", "good")]),
        ];
        for (turn, (mirror, name, files)) in histories.iter().enumerate() {
            let now = at(i64::try_from(turn).expect("few"));
            house.sync(mirror, &listing(files), name, &[], now).expect("records");
        }
        assert_eq!(found(&house), []);
        damage(&mut house, facts("bad").digest);
        let expected = [
            place("debian", "pool/a/x", &["one", "two", "four"]),
            place("debian", "y", &["two"]),
            place("other", "z", &["one"]),
        ];
        assert_eq!(found(&house), expected);
    }

    #[test]
    fn a_manifest_belongs_to_every_snapshot_whose_chain_needs_it() {
        let mut house = House::new();
        for (turn, name) in ["one", "two", "three"].iter().enumerate() {
            let now = at(i64::try_from(turn).expect("few"));
            house
                .sync("debian", &listing(&[("a", name)]), name, &[], now)
                .expect("records");
        }
        let row = house.row("debian");
        let chain = house.catalog.reader().manifest_chain(row, Seq(3)).expect("reads");
        assert_eq!(chain.len(), 3);
        damage(&mut house, chain[1]);
        assert_eq!(found(&house), [place("debian", "manifest", &["two", "three"])]);
    }
}

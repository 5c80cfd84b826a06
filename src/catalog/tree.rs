//! What stands where in a listing: look-ups and directory contents.
//!
//! Owns the reading of `mirror`, `dir` and `entry`. `by-hash/<type>/` directories hold no rows: their names are made
//! here from the hashes that Release files list.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::sql_types::{OPEN, Sql};
use super::{BlobRow, CatalogError, CatalogReader, DirRow, MirrorRow, ROOT_DIR, Seq, SnapshotRow};
use crate::model::{Digest, HashType, HashTypes, MirrorId, RepoPath, Role, SnapshotName, Timestamp};

/// A file with what a reader needs to serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRow {
    /// Its bytes.
    pub blob: BlobRow,
    /// Length in bytes.
    pub size: u64,
    /// Modification time of the blob.
    pub mtime: Timestamp,
    /// What the archive uses it for; `None` for a name in a `by-hash` directory.
    pub role: Option<Role>,
}

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeNode {
    /// A directory.
    Directory(DirRow),
    /// A file.
    File(FileRow),
}

/// The entries of directory `?2` of mirror `?1` from the one of name `?4` that began with listing `?5` on, with what serving
/// those of listing `?3` needs. Bytes are looked up for these alone.
const ENTRIES: &str = "
    SELECT child_dir, blob_id, size, mtime, role, name, from_seq, from_seq <= ?3 AND to_seq > ?3, by_hash
    FROM entry LEFT JOIN blob ON blob.id = CASE WHEN from_seq <= ?3 AND to_seq > ?3 THEN blob_id END
    WHERE mirror_id = ?1 AND dir_id = ?2 AND (name, from_seq) >= (?4, ?5) ORDER BY name, from_seq";
/// Columns of [`ENTRIES`] after those of a node.
const NAME: usize = 5;
const FROM_SEQ: usize = 6;
const LIVES: usize = 7;
const BY_HASH: usize = 8;

/// So many entries of other listings, one after the other, are read before a look-up leaps over the next ones: it takes
/// about as long as reading so many.
const MOST_OTHERS: u32 = 8;

/// A directory in which a file is named by one of its hashes.
struct ByHash {
    kind: HashType,
    /// The directory of the files' plain names.
    of: DirRow,
}

impl CatalogReader {
    /// The row of a mirror.
    ///
    /// # Errors
    /// When it has never been synced or the catalog cannot be read.
    pub fn mirror(&self, mirror: &MirrorId) -> Result<MirrorRow, CatalogError> {
        mirror_row(&self.connection, mirror)
    }

    /// Every mirror that has a synced state, sorted by id.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn mirrors(&self) -> Result<Vec<(MirrorRow, MirrorId)>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT id, name FROM mirror
             WHERE EXISTS (SELECT 1 FROM listing WHERE mirror_id = mirror.id) ORDER BY name",
        )?;
        let rows = query.query_map([], |row| {
            let Sql(name) = row.get(1)?;
            Ok((row.get(0)?, name))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every mirror that a sync was ever begun for and that was not forgotten since, sorted by id.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn known_mirrors(&self) -> Result<Vec<MirrorId>, CatalogError> {
        // No id has a slash; the rows of forgotten mirrors do.
        let mut query = self
            .connection
            .prepare_cached("SELECT name FROM mirror WHERE instr(name, '/') = 0 ORDER BY name")?;
        let rows = query.query_map([], |row| row.get(0).map(|Sql(name)| name))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Digests of the manifests that a listing is made from: its own first, then each one's base.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn manifest_chain(&self, mirror: MirrorRow, seq: Seq) -> Result<Vec<Digest>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "WITH RECURSIVE chain (blob_id, base_id, depth) AS (
                 SELECT manifest.blob_id, base_id, depth FROM listing JOIN manifest ON manifest.blob_id = manifest_id
                 WHERE mirror_id = ? AND seq = ?
                 UNION ALL
                 SELECT manifest.blob_id, manifest.base_id, manifest.depth
                 FROM chain JOIN manifest ON manifest.blob_id = chain.base_id)
             SELECT sha256 FROM chain JOIN blob ON blob.id = blob_id ORDER BY depth DESC",
        )?;
        let rows = query.query_map(params![mirror, seq], |row| row.get(0).map(|Sql(digest)| digest))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Mirror, name, listing and creation time of a snapshot.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn snapshot_row(
        &self,
        row: SnapshotRow,
    ) -> Result<Option<(MirrorRow, SnapshotName, Seq, Timestamp)>, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT mirror_id, name, seq, created_at FROM snapshot WHERE id = ?")?;
        let found = query.query_row([row], |found| {
            let (Sql(name), Sql(created_at)) = (found.get(1)?, found.get(3)?);
            Ok((found.get(0)?, name, found.get(2)?, created_at))
        });
        Ok(found.optional()?)
    }

    /// Names and rows of a mirror's snapshots, sorted by name.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn snapshot_names(&self, mirror: MirrorRow) -> Result<Vec<(SnapshotName, SnapshotRow)>, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT name, id FROM snapshot WHERE mirror_id = ? ORDER BY name")?;
        let rows = query.query_map([mirror], |row| {
            let Sql(name) = row.get(0)?;
            Ok((name, row.get(1)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The row of the snapshot called `name`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn snapshot_named(&self, mirror: MirrorRow, name: &SnapshotName) -> Result<Option<SnapshotRow>, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT id FROM snapshot WHERE mirror_id = ? AND name = ?")?;
        Ok(query
            .query_row(params![mirror, Sql(name)], |row| row.get(0))
            .optional()?)
    }

    /// What stands under `name` in directory `dir` of listing `seq`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn child(
        &self,
        mirror: MirrorRow,
        seq: Seq,
        dir: DirRow,
        name: &str,
    ) -> Result<Option<TreeNode>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT child_dir, blob_id, size, mtime, role, to_seq FROM entry LEFT JOIN blob ON blob.id = blob_id
             WHERE mirror_id = ? AND dir_id = ? AND name = ? AND from_seq <= ? ORDER BY from_seq DESC LIMIT 1",
        )?;
        let found = query
            .query_row(params![mirror, dir, name, seq], |row| {
                Ok((read_node(row)?, row.get::<_, Seq>(5)?))
            })
            .optional()?;
        match found {
            Some((node, until)) => Ok((until > seq).then_some(node)),
            None => self.child_by_hash(mirror, seq, dir, name),
        }
    }

    /// Digest of the file at `path` in listing `seq`; `None` when there is no file.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn digest_at(&self, mirror: MirrorRow, seq: Seq, path: &RepoPath) -> Result<Option<Digest>, CatalogError> {
        let mut dir = ROOT_DIR;
        for name in path.components() {
            match self.child(mirror, seq, dir, name)? {
                Some(TreeNode::Directory(row)) => dir = row,
                Some(TreeNode::File(file)) => return Ok(self.blob_row(file.blob)?.map(|(digest, _, _)| digest)),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Everything in directory `dir` of listing `seq`, sorted by name.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn children(&self, mirror: MirrorRow, seq: Seq, dir: DirRow) -> Result<Vec<(String, TreeNode)>, CatalogError> {
        let mut children = Vec::new();
        self.each_living(mirror, seq, dir, |row| {
            children.push((row.get(NAME)?, read_node(row)?));
            Ok(())
        })?;
        if !children.is_empty() {
            return Ok(children);
        }
        match self.by_hash(dir)? {
            Some(by_hash) => self.children_by_hash(mirror, seq, &by_hash),
            None => Ok(children),
        }
    }

    /// Gives each entry of directory `dir` in listing `seq` to `take`, sorted by name, as a row of [`ENTRIES`]. Where a name has
    /// had many entries, those of other listings are leapt over: an index has one for every listing.
    fn each_living(
        &self,
        mirror: MirrorRow,
        seq: Seq,
        dir: DirRow,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), CatalogError> {
        let mut entries = self.connection.prepare_cached(ENTRIES)?;
        let mut next = Some((String::new(), Seq::from_number(0)));
        while let Some((name, from)) = next.take() {
            let mut rows = entries.query(params![mirror, dir, seq, name, from])?;
            let mut others = 0;
            while let Some(row) = rows.next()? {
                if row.get(LIVES)? {
                    take(row)?;
                    others = 0;
                    continue;
                }
                others += 1;
                if others > MOST_OTHERS {
                    let here = (row.get(NAME)?, row.get(FROM_SEQ)?);
                    next = Some(self.next_candidate(mirror, seq, dir, here)?);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Where to go on after the entry of that name that began with listing `from`: at the one entry of the name that may be of
    /// listing `seq`, or behind all of them.
    fn next_candidate(
        &self,
        mirror: MirrorRow,
        seq: Seq,
        dir: DirRow,
        (name, from): (String, Seq),
    ) -> Result<(String, Seq), CatalogError> {
        let mut newest = self.connection.prepare_cached(
            "SELECT max(from_seq) FROM entry WHERE mirror_id = ? AND dir_id = ? AND name = ? AND from_seq <= ?",
        )?;
        let newest: Option<Seq> = newest.query_row(params![mirror, dir, name, seq], |row| row.get(0))?;
        Ok((name, newest.filter(|newest| *newest > from).unwrap_or(OPEN)))
    }

    /// Size and modification time of a blob.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn blob_row(&self, blob: BlobRow) -> Result<Option<(Digest, u64, Timestamp)>, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT sha256, size, mtime FROM blob WHERE id = ?")?;
        let found = query.query_row([blob], |row| {
            let (Sql(digest), Sql(mtime)) = (row.get(0)?, row.get(2)?);
            Ok((digest, row.get::<_, i64>(1)?.cast_unsigned(), mtime))
        });
        Ok(found.optional()?)
    }

    /// Number of blobs and their bytes.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn blob_totals(&self) -> Result<(u64, u64), CatalogError> {
        let sql = "SELECT count(*), coalesce(sum(size), 0) FROM blob";
        Ok(self.connection.query_row(sql, [], |row| {
            Ok((
                row.get::<_, i64>(0)?.cast_unsigned(),
                row.get::<_, i64>(1)?.cast_unsigned(),
            ))
        })?)
    }

    /// The directory in which `dir` stands, whether any listing has it or not; the root stands in itself. `None` when there is no
    /// such row.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn parent(&self, dir: DirRow) -> Result<Option<DirRow>, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT parent_id FROM dir WHERE id = ?")?;
        Ok(query.query_row([dir], |row| row.get(0)).optional()?)
    }

    /// Whether `dir` is a `by-hash/<type>` directory.
    fn by_hash(&self, dir: DirRow) -> Result<Option<ByHash>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT kind.name, by_hash.parent_id FROM dir AS kind JOIN dir AS by_hash ON by_hash.id = kind.parent_id
             WHERE kind.id = ? AND by_hash.name = 'by-hash'",
        )?;
        let found: Option<(String, DirRow)> = query
            .query_row([dir], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(found.and_then(|(name, of)| {
            Some(ByHash {
                kind: HashType::from_name(name.as_bytes())?,
                of,
            })
        }))
    }

    fn child_by_hash(
        &self,
        mirror: MirrorRow,
        seq: Seq,
        dir: DirRow,
        name: &str,
    ) -> Result<Option<TreeNode>, CatalogError> {
        let lower_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if !name.bytes().all(lower_hex) {
            return Ok(None);
        }
        let Some(by_hash) = self.by_hash(dir)?.filter(|found| found.kind.hex_length() == name.len()) else {
            return Ok(None);
        };
        let mut query = self.connection.prepare_cached(&find_by_hash(by_hash.kind))?;
        let bit = HashTypes::NONE.with(by_hash.kind).bits();
        let found = query.query_row(params![mirror, by_hash.of, seq, bit, name], read_node);
        Ok(found.optional()?)
    }

    fn children_by_hash(
        &self,
        mirror: MirrorRow,
        seq: Seq,
        by_hash: &ByHash,
    ) -> Result<Vec<(String, TreeNode)>, CatalogError> {
        let hashes = match by_hash.kind {
            HashType::Sha256 => "SELECT lower(hex(sha256)) FROM blob WHERE id = ?1 AND ?2 = ?2",
            HashType::Md5Sum | HashType::Sha1 | HashType::Sha512 => {
                "SELECT lower(hex(value)) FROM blob_hash WHERE blob_id = ?1 AND kind = ?2"
            }
        };
        let mut hashes = self.connection.prepare_cached(hashes)?;
        let bit = HashTypes::NONE.with(by_hash.kind).bits();
        let mut children = BTreeMap::new();
        self.each_living(mirror, seq, by_hash.of, |row| {
            if row.get::<_, i64>(BY_HASH)? & i64::from(bit) != 0
                && let TreeNode::File(file) = read_node(row)?
            {
                let node = TreeNode::File(FileRow { role: None, ..file });
                for name in hashes.query_map(params![file.blob, bit], |hash| hash.get(0))? {
                    children.insert(name?, node);
                }
            }
            Ok(())
        })?;
        Ok(children.into_iter().collect())
    }
}

/// The entry of directory `?2` of mirror `?1` in listing `?3` whose hash of the type `?4` is `?5`. From the bytes to the entry, or
/// the entries of every listing would be read.
fn find_by_hash(kind: HashType) -> String {
    let bytes = match kind {
        HashType::Sha256 => "blob WHERE substr(sha256, 1, 8) = substr(unhex(?5), 1, 8) AND sha256 = unhex(?5)",
        HashType::Md5Sum | HashType::Sha1 | HashType::Sha512 => {
            "blob_hash JOIN blob ON blob.id = blob_hash.blob_id
             WHERE kind IN (1, 2, 8) AND kind = ?4 AND value = unhex(?5)"
        }
    };
    format!(
        "SELECT NULL, entry.blob_id, found.size, found.mtime, NULL
         FROM (SELECT blob.id, size, mtime FROM {bytes}) AS found
         CROSS JOIN entry INDEXED BY entry_by_hash ON entry.blob_id = found.id
         WHERE mirror_id = ?1 AND dir_id = ?2 AND from_seq <= ?3 AND to_seq > ?3 AND by_hash <> 0 AND by_hash & ?4 <> 0
         LIMIT 1"
    )
}

pub(super) fn mirror_row(connection: &Connection, mirror: &MirrorId) -> Result<MirrorRow, CatalogError> {
    connection
        .prepare_cached("SELECT id FROM mirror WHERE name = ?")?
        .query_row([Sql(mirror)], |row| row.get(0))
        .optional()?
        .ok_or_else(|| CatalogError::UnknownMirror(mirror.clone()))
}

/// Reads a node from the columns `child_dir, blob_id, size, mtime, role`.
fn read_node(row: &Row<'_>) -> rusqlite::Result<TreeNode> {
    if let Some(dir) = row.get(0)? {
        return Ok(TreeNode::Directory(dir));
    }
    let Sql(mtime) = row.get(3)?;
    Ok(TreeNode::File(FileRow {
        blob: row.get(1)?,
        size: row.get::<_, i64>(2)?.cast_unsigned(),
        mtime,
        role: row.get::<_, Option<Sql<Role>>>(4)?.map(|Sql(role)| role),
    }))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::tests::{House, at, entry, repo_path};
    use super::*;
    use crate::model::ListingBuilder;

    #[test]
    fn what_is_found_by_hash_is_found_in_its_listings_alone() {
        let mut house = House::new();
        let all: HashTypes = HashType::ALL.into_iter().collect();
        let contents = ["one", "two", "one"];
        for (turn, content) in (0..).zip(contents) {
            let mut builder = ListingBuilder::new();
            let index = entry(content, Role::Index, all);
            builder.add(repo_path("dists/s/Packages"), index).expect("no clash");
            let listing = builder.build().expect("no clash");
            house
                .sync("debian", &listing, &format!("s{turn}"), &[], at(turn))
                .expect("records");
        }
        let (mirror, reader) = (house.row("debian"), house.catalog.reader());
        for snapshot in reader.snapshots(mirror).expect("reads") {
            let of = contents[snapshot.name.as_str()[1..].parse::<usize>().expect("a number")];
            for kind in HashType::ALL {
                for content in ["one", "two", "three"] {
                    let hash = entry(content, Role::Index, all).by_hash;
                    let hash = hash.iter().find(|hash| hash.kind == kind).expect("all types");
                    let path = format!("dists/s/by-hash/{}/{}", kind.name(), hash.hex);
                    let found = reader
                        .digest_at(mirror, snapshot.seq, &repo_path(&path))
                        .expect("reads");
                    let expected = (content == of).then(|| Digest::of(content.as_bytes()));
                    assert_eq!(found, expected, "{path} in {}", snapshot.name);
                }
            }
        }
    }

    /// Indices in the root of an archive that are all new in each turn, and one whose name is, too, or comes and goes.
    fn all_new(turn: i64) -> Vec<(String, String)> {
        let new = (0..20).map(|index| (format!("{index:02}"), format!("{index} of {turn}")));
        let fleeting = match turn % 2 {
            0 => "even".to_owned(),
            _ => format!("only-{turn:02}"),
        };
        new.chain([(fleeting, format!("the last of {turn}"))]).collect()
    }

    #[test]
    fn a_directory_is_listed_without_reading_its_history() {
        const TURNS: i64 = 60;
        let mut house = House::new();
        let sha256 = HashTypes::NONE.with(HashType::Sha256);
        for turn in 0..TURNS {
            let mut builder = ListingBuilder::new();
            for (name, content) in all_new(turn) {
                let index = entry(&content, Role::Index, sha256);
                builder.add(repo_path(&name), index).expect("no clash");
            }
            let listing = builder.build().expect("no clash");
            house
                .sync("debian", &listing, &format!("s{turn}"), &[], at(turn))
                .expect("records");
        }
        let (mirror, reader) = (house.row("debian"), house.catalog.reader());
        let directory = |seq, of, name| match reader.child(mirror, seq, of, name).expect("reads") {
            Some(TreeNode::Directory(row)) => row,
            other => panic!("{name}: {other:?}"),
        };
        let names = |seq, dir| -> Vec<String> {
            let children = reader.children(mirror, seq, dir).expect("reads");
            children.into_iter().map(|(name, _)| name).collect()
        };
        for (turn, seq) in (0..TURNS).zip(1..).map(|(turn, seq)| (turn, Seq::from_number(seq))) {
            let files = all_new(turn);
            let mut plain: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
            plain.push("by-hash");
            plain.sort_unstable();
            assert_eq!(names(seq, ROOT_DIR), plain, "{turn}");
            let mut by_hash: Vec<String> = files
                .iter()
                .map(|(_, content)| Digest::of(content.as_bytes()).to_string())
                .collect();
            by_hash.sort_unstable();
            let kinds = directory(seq, ROOT_DIR, "by-hash");
            assert_eq!(names(seq, directory(seq, kinds, "SHA256")), by_hash, "{turn}");
        }
        let steps = || {
            let entries = reader.connection.prepare_cached(ENTRIES).expect("a query");
            entries.reset_status(StatementStatus::VmStep)
        };
        let listed = steps();
        let mut entries = reader.connection.prepare_cached(ENTRIES).expect("a query");
        let all = entries.query_map(params![mirror, ROOT_DIR, TURNS, "", 0], |_| Ok(()));
        assert!(all.expect("reads").count() > 20 * 60, "the history is long");
        drop(entries);
        let (once, listings) = (i64::from(steps()), 2 * TURNS);
        assert!(
            i64::from(listed) < once * listings / 2,
            "{listed} steps, {once} for all"
        );
    }

    #[test]
    fn looking_up_by_hash_reads_no_other_entry() {
        let house = House::new();
        for kind in HashType::ALL {
            let mut query = house
                .sql()
                .prepare(&format!("EXPLAIN QUERY PLAN {}", find_by_hash(kind)))
                .expect("a query");
            let rows = query.query_map(params![1, 1, 1, 1, "00"], |row| row.get::<_, String>("detail"));
            let plan: Vec<String> = rows.expect("reads").collect::<Result<_, _>>().expect("reads");
            let plan = plan.join("; ");
            assert!(
                plan.contains("USING COVERING INDEX entry_by_hash (mirror_id=? AND dir_id=? AND blob_id=?")
                    && !plan.contains("SCAN"),
                "{plan}"
            );
        }
    }
}

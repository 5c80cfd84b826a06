//! What differs between two listings of one mirror.
//!
//! Owns the comparison of entries by their lifetimes: files that both listings have are never loaded. Directories
//! `by-hash` have no entries, so what Release files find by hash is not told twice.

use std::collections::{HashMap, HashSet};

use rusqlite::{CachedStatement, params};

use super::sql_types::Sql;
use super::{BlobRow, CatalogError, CatalogReader, DirRow, MirrorRow, ROOT_DIR, Seq};
use crate::model::Role;

/// A path at which two listings have different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The path, relative to the archive root.
    pub path: Box<str>,
    /// What the archive uses the file for; of one that both have, in the second.
    pub role: Role,
    /// Length in the first listing; `None` where it has no such file.
    pub before: Option<u64>,
    /// Length in the second listing; `None` where it has no such file.
    pub after: Option<u64>,
}

/// What differs between two listings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileChanges {
    /// The paths, sorted.
    pub files: Vec<FileChange>,
    /// Bytes of the contents that only the second listing has, each counted once.
    pub new_bytes: u64,
    /// Bytes of the contents that only the first listing has, each counted once.
    pub gone_bytes: u64,
}

/// A file of one of the listings, and not of both.
struct Found {
    role: Role,
    blob: BlobRow,
    size: u64,
}

impl CatalogReader {
    /// What leads from the listing `from` to the listing `to`, whichever is the older.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn changes(&self, mirror: MirrorRow, from: Seq, to: Seq) -> Result<FileChanges, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT dir_id, name, role, blob_id, size, from_seq <= ?2 AND to_seq > ?2
             FROM entry JOIN blob ON blob.id = blob_id
             WHERE mirror_id = ?1 AND (from_seq <= ?2 AND to_seq > ?2) <> (from_seq <= ?3 AND to_seq > ?3)",
        )?;
        let mut rows = query.query(params![mirror, from, to])?;
        let mut found: HashMap<(DirRow, Box<str>), [Option<Found>; 2]> = HashMap::new();
        while let Some(row) = rows.next()? {
            let Sql(role) = row.get(2)?;
            let file = Found {
                role,
                blob: row.get(3)?,
                size: row.get::<_, i64>(4)?.cast_unsigned(),
            };
            let sides = found.entry((row.get(0)?, row.get(1)?)).or_default();
            sides[usize::from(!row.get::<_, bool>(5)?)] = Some(file);
        }
        let [gone_bytes, new_bytes] = self.bytes_of_one_side(mirror, (from, to), &found)?;
        // Both have the same where only what is known of the file has changed, or where it changed and changed back.
        found.retain(|_, sides| !matches!(sides, [Some(before), Some(after)] if before.blob == after.blob));
        let mut paths = Paths::begin(self)?;
        let mut files = Vec::with_capacity(found.len());
        for ((dir, name), [before, after]) in found {
            let role = after.as_ref().or(before.as_ref()).map(|file| file.role);
            files.push(FileChange {
                path: format!("{}{name}", paths.of(dir)?).into(),
                role: role.expect("a row was found"),
                before: before.map(|file| file.size),
                after: after.map(|file| file.size),
            });
        }
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(FileChanges {
            files,
            new_bytes,
            gone_bytes,
        })
    }

    /// Bytes of the contents among `found` that the first and that the second listing alone has: a file that was moved or
    /// copied within the archive is in neither.
    fn bytes_of_one_side(
        &self,
        mirror: MirrorRow,
        (from, to): (Seq, Seq),
        found: &HashMap<(DirRow, Box<str>), [Option<Found>; 2]>,
    ) -> Result<[u64; 2], CatalogError> {
        let of_side = |side: usize| {
            let files = found.values().filter_map(move |sides| sides[side].as_ref());
            files.map(|file| (file.blob, file.size)).collect::<HashMap<_, _>>()
        };
        let mut sides = [of_side(0), of_side(1)];
        let in_both: HashSet<BlobRow> = sides[0]
            .keys()
            .filter(|blob| sides[1].contains_key(blob))
            .copied()
            .collect();
        for side in &mut sides {
            side.retain(|blob, _| !in_both.contains(blob));
        }
        if sides.iter().any(|side| !side.is_empty()) {
            let mut kept = self.connection.prepare_cached(
                "SELECT blob_id FROM entry WHERE mirror_id = ? AND blob_id IS NOT NULL AND from_seq <= ? AND to_seq > ?",
            )?;
            let mut rows = kept.query(params![mirror, from.min(to), from.max(to)])?;
            while let Some(row) = rows.next()? {
                let blob: BlobRow = row.get(0)?;
                for side in &mut sides {
                    side.remove(&blob);
                }
            }
        }
        Ok(sides.map(|side| side.values().sum()))
    }
}

/// The paths of directories, each read once.
pub(super) struct Paths<'a> {
    query: CachedStatement<'a>,
    known: HashMap<DirRow, Box<str>>,
}

impl<'a> Paths<'a> {
    pub(super) fn begin(reader: &'a CatalogReader) -> Result<Self, CatalogError> {
        let query = reader
            .connection
            .prepare_cached("SELECT parent_id, name FROM dir WHERE id = ?")?;
        let known = HashMap::from([(ROOT_DIR, "".into())]);
        Ok(Self { query, known })
    }

    /// The path of `dir` with a slash at its end; of the root, nothing.
    pub(super) fn of(&mut self, dir: DirRow) -> Result<&str, CatalogError> {
        let mut above = Vec::new();
        let mut at = dir;
        while !self.known.contains_key(&at) {
            let (parent, name): (DirRow, String) = self.query.query_row([at], |row| Ok((row.get(0)?, row.get(1)?)))?;
            above.push((at, name));
            at = parent;
        }
        let mut path = String::from(&*self.known[&at]);
        for (row, name) in above.into_iter().rev() {
            path = format!("{path}{name}/");
            self.known.insert(row, path.as_str().into());
        }
        Ok(&self.known[&dir])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::tests::{House, at, entry, listing, repo_path};
    use super::*;
    use crate::model::{BlobFacts, HashType, HashTypes, Listing, ListingBuilder};

    /// What a comparison of two whole listings in memory finds.
    fn compared(before: &Listing, after: &Listing) -> FileChanges {
        let files = |listing: &Listing| -> BTreeMap<String, _> {
            let files = listing.iter();
            files
                .map(|(path, entry)| (path.to_string(), (entry.role, entry.blob)))
                .collect()
        };
        let (before, after) = (files(before), files(after));
        let paths = before.keys().chain(after.keys()).collect::<BTreeSet<_>>();
        let changed = paths.into_iter().filter_map(|path| {
            let (one, two) = (before.get(path), after.get(path));
            if one.map(|file| file.1.digest) == two.map(|file| file.1.digest) {
                return None;
            }
            Some(FileChange {
                path: path.as_str().into(),
                role: two.or(one)?.0,
                before: one.map(|file| file.1.size),
                after: two.map(|file| file.1.size),
            })
        });
        let only = |one: &BTreeMap<String, _>, two: &BTreeMap<String, (Role, BlobFacts)>| {
            let blobs = |side: &BTreeMap<String, (Role, BlobFacts)>| {
                side.values()
                    .map(|file| (file.1.digest, file.1.size))
                    .collect::<BTreeMap<_, _>>()
            };
            let (mut own, others) = (blobs(one), blobs(two));
            own.retain(|digest, _| !others.contains_key(digest));
            own.values().sum::<u64>()
        };
        FileChanges {
            files: changed.collect(),
            new_bytes: only(&after, &before),
            gone_bytes: only(&before, &after),
        }
    }

    const CONTENTS: [&str; 4] = ["", "1", "22", "333"];

    /// A listing from the content of each of some paths; 0 is none.
    fn made_of(contents: &[usize]) -> Listing {
        let paths = ["a", "pool/a/x", "pool/a/y", "pool/b/x", "dists/s/Release", "pool/a/z/x"];
        let files = paths.iter().zip(contents).filter(|(_, content)| **content > 0);
        let files: Vec<_> = files.map(|(path, content)| (*path, CONTENTS[*content])).collect();
        listing(&files)
    }

    proptest! {
        // Each makes a catalog on disk and compares up to sixteen pairs.
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_two_listings_compare_as_in_memory(
            history in prop::collection::vec(prop::collection::vec(0_usize..4, 6), 2..5),
        ) {
            let mut house = House::new();
            for (turn, contents) in history.iter().enumerate() {
                let turn = i64::try_from(turn).expect("few");
                house.sync("debian", &made_of(contents), &format!("s{turn}"), &[], at(turn)).expect("records");
            }
            let row = house.row("debian");
            let snapshots = house.catalog.reader().snapshots(row).expect("reads");
            for one in &snapshots {
                for two in &snapshots {
                    let contents = |name: &str| made_of(&history[name[1..].parse::<usize>().expect("a number")]);
                    let expected = compared(&contents(one.name.as_str()), &contents(two.name.as_str()));
                    prop_assert_eq!(house.catalog.reader().changes(row, one.seq, two.seq).expect("reads"), expected);
                }
            }
        }
    }

    #[test]
    fn a_file_of_which_only_more_is_known_has_not_changed() {
        let mut house = House::new();
        let with = |kinds| {
            let mut builder = ListingBuilder::new();
            builder
                .add(repo_path("dists/s/Packages"), entry("x", Role::Index, kinds))
                .expect("no clash");
            builder.build().expect("no clash")
        };
        let all = HashType::ALL.into_iter().collect();
        house
            .sync("debian", &with(HashTypes::NONE), "one", &[], at(0))
            .expect("records");
        house.sync("debian", &with(all), "two", &[], at(1)).expect("records");
        let row = house.row("debian");
        let seqs: Vec<Seq> = house
            .catalog
            .reader()
            .snapshots(row)
            .expect("reads")
            .iter()
            .map(|s| s.seq)
            .collect();
        assert_ne!(seqs[0], seqs[1]);
        assert_eq!(
            house.catalog.reader().changes(row, seqs[1], seqs[0]).expect("reads"),
            FileChanges::default()
        );
    }
}

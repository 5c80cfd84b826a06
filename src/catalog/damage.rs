//! Blobs that are damaged: the marks, from when damage is noticed until whole bytes are there again.
//!
//! Owns table `damaged`. A marked blob keeps its row and its number, as listings name it, but nobody may take it for
//! present. It looks at no file: whether one is damaged, and where it goes, is for the caller's function, which runs inside
//! the transaction that marks, so that no sweep and no sync comes in between.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::sql_types::Sql;
use super::{BlobRow, Catalog, CatalogError, CatalogReader, MirrorRow, Seq};
use crate::model::{Digest, Fault, Timestamp};

/// A blob that is marked as damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its row.
    pub row: BlobRow,
    /// The number of the mark: another one for each time that the blob is found damaged.
    pub mark: i64,
    /// The digest that its bytes should have.
    pub digest: Digest,
    /// The length that they should have, in bytes.
    pub size: u64,
    /// Its modification time.
    pub mtime: Timestamp,
    /// What is wrong.
    pub fault: Fault,
    /// Since when that is known.
    pub since: Timestamp,
    /// The name that the bad file has in the quarantine; `None` where there was none.
    pub aside: Option<String>,
    /// Whether any listing names it, or a manifest that one needs.
    pub is_needed: bool,
}

/// A blob that looked damaged a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// Its row.
    pub row: BlobRow,
    /// The digest that its bytes should have.
    pub digest: Digest,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What became of the file of a [`Suspect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aside {
    /// It was not the one that looked damaged: somebody has replaced it.
    Replaced,
    /// There is none to be put aside, or it cannot be.
    Nothing,
    /// It has this name in the quarantine now.
    As(String),
}

impl CatalogReader {
    /// The blobs that are damaged, in the order in which they were found.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn damaged(&self) -> Result<Vec<Damaged>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT blob.id, damaged.id, sha256, size, mtime, fault, found_at, aside, refs > 0
             FROM damaged JOIN blob ON blob.id = blob_id ORDER BY damaged.id",
        )?;
        let rows = query.query_map([], |row| {
            let (Sql(digest), Sql(mtime), Sql(fault), Sql(since)) =
                (row.get(2)?, row.get(4)?, row.get(5)?, row.get(6)?);
            Ok(Damaged {
                row: row.get(0)?,
                mark: row.get(1)?,
                digest,
                size: row.get::<_, i64>(3)?.cast_unsigned(),
                mtime,
                fault,
                since,
                aside: row.get(7)?,
                is_needed: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether a blob is damaged.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn is_damaged(&self, blob: BlobRow) -> Result<bool, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT 1 FROM damaged WHERE blob_id = ?")?;
        Ok(query.exists([blob])?)
    }

    /// The digests of all blobs that are damaged.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn damaged_digests(&self) -> Result<HashSet<Digest>, CatalogError> {
        digests(&self.connection)
    }

    /// The damaged blobs, each with the number of its mark.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn marks(&self) -> Result<Vec<(BlobRow, i64)>, CatalogError> {
        let mut query = self.connection.prepare_cached("SELECT blob_id, id FROM damaged")?;
        let marks = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(marks.collect::<rusqlite::Result<_>>()?)
    }

    /// The damaged blobs that any listing has as Release files or indices: as files that are shown with the times of
    /// pointers. Reads every entry.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn damaged_indices(&self) -> Result<HashSet<BlobRow>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT DISTINCT entry.blob_id FROM entry CROSS JOIN damaged ON damaged.blob_id = entry.blob_id
             WHERE role < 2",
        )?;
        let indices = query.query_map([], |row| row.get(0))?;
        Ok(indices.collect::<rusqlite::Result<_>>()?)
    }

    /// Every time that Release files and indices were ever shown with below any pointer.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn serial_times(&self) -> Result<Vec<Timestamp>, CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT DISTINCT serial_mtime FROM move")?;
        let rows = query.query_map([], |row| row.get(0).map(|Sql(time)| time))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether any file of the mirror's last synced state is damaged.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn is_last_state_damaged(&self, mirror: MirrorRow) -> Result<bool, CatalogError> {
        let newest = "SELECT max(seq) FROM listing WHERE mirror_id = ?";
        let newest: Option<Seq> = self
            .connection
            .prepare_cached(newest)?
            .query_row([mirror], |row| row.get(0))?;
        newest.map_or(Ok(false), |seq| Ok(self.damaged_files(mirror, seq)? > 0))
    }

    /// Number of files of a listing, by their names, that are damaged.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn damaged_files(&self, mirror: MirrorRow, seq: Seq) -> Result<u64, CatalogError> {
        damaged_files(&self.connection, mirror, seq)
    }
}

impl Catalog {
    /// Marks each of `suspects` that is still there and still damaged: `put_aside` looks again, and moves the bad file away. All
    /// happens in one transaction, so no sweep can remove the blob in between, and no sync can record it anew. Returns those
    /// that were marked now.
    ///
    /// # Errors
    /// When the catalog cannot be written. Files may have been moved without a mark then: they are missing at the next look.
    pub fn mark_damaged(
        &mut self,
        suspects: &[Suspect],
        now: Timestamp,
        mut put_aside: impl FnMut(&Suspect) -> Aside,
    ) -> Result<Vec<Suspect>, CatalogError> {
        self.write(|transaction| {
            let mut marked = Vec::new();
            for suspect in suspects {
                if !has_row(transaction, suspect)? {
                    continue;
                }
                let aside = match put_aside(suspect) {
                    Aside::Replaced => continue,
                    Aside::Nothing => None,
                    Aside::As(name) => Some(name),
                };
                if mark(transaction, suspect, aside.as_deref(), now)? {
                    marked.push(*suspect);
                }
            }
            Ok(marked)
        })
    }

    /// Ends the marks of blobs whose file is whole.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub fn mark_whole(&mut self, blobs: &[BlobRow]) -> Result<(), CatalogError> {
        self.write(|transaction| blobs.iter().try_for_each(|blob| clear(transaction, *blob)))
    }
}

fn has_row(transaction: &Transaction<'_>, suspect: &Suspect) -> Result<bool, CatalogError> {
    let mut query = transaction.prepare_cached("SELECT 1 FROM blob WHERE id = ? AND sha256 = ?")?;
    Ok(query.exists(params![suspect.row, Sql(suspect.digest)])?)
}

/// Marks a blob; `false` when it had a mark already, which stays, but learns where the file is.
fn mark(
    transaction: &Transaction<'_>,
    suspect: &Suspect,
    aside: Option<&str>,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO damaged (blob_id, found_at, fault, aside) VALUES (?, ?, ?, ?) ON CONFLICT (blob_id) DO NOTHING",
    )?;
    if insert.execute(params![suspect.row, Sql(now), suspect.fault.name(), aside])? > 0 {
        return Ok(true);
    }
    transaction
        .prepare_cached("UPDATE damaged SET aside = coalesce(?2, aside) WHERE blob_id = ?1")?
        .execute(params![suspect.row, aside])?;
    Ok(false)
}

/// Ends the mark of a blob, if it has one.
pub(super) fn clear(transaction: &Transaction<'_>, blob: BlobRow) -> Result<(), CatalogError> {
    let mut delete = transaction.prepare_cached("DELETE FROM damaged WHERE blob_id = ?")?;
    delete.execute([blob])?;
    Ok(())
}

/// The digests of all blobs that are damaged: none, almost always.
pub(super) fn digests(connection: &Connection) -> Result<HashSet<Digest>, CatalogError> {
    let mut query = connection.prepare_cached("SELECT sha256 FROM damaged JOIN blob ON blob.id = blob_id")?;
    let rows = query.query_map([], |row| row.get(0).map(|Sql(digest)| digest))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Number of files of a listing, by their names, that are damaged.
pub(super) fn damaged_files(connection: &Connection, mirror: MirrorRow, seq: Seq) -> Result<u64, CatalogError> {
    // Looking through a listing takes its time, and almost always nothing is damaged.
    let mut any = connection.prepare_cached("SELECT 1 FROM damaged LIMIT 1")?;
    if any.query_row([], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    let mut query = connection.prepare_cached(
        "SELECT count(*) FROM entry CROSS JOIN damaged ON damaged.blob_id = entry.blob_id
         WHERE mirror_id = ?1 AND from_seq <= ?2 AND to_seq > ?2",
    )?;
    let count: i64 = query.query_row(params![mirror, seq], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, entry, facts, listing, mirror_id, repo_path, snapshot_name};
    use super::super::{Claim, PointerTarget, RequestedMove};
    use super::*;
    use crate::model::{HashTypes, ListingBuilder, MoveTerms, Pointer, Role};

    fn suspect(house: &House, content: &str) -> Suspect {
        let digest = facts(content).digest;
        let sql = "SELECT id FROM blob WHERE sha256 = ?";
        let row = house.sql().query_row(sql, [Sql(digest)], |row| row.get(0));
        Suspect {
            row: row.expect("a blob"),
            digest,
            fault: Fault::Altered,
        }
    }

    fn mark(house: &mut House, content: &str, aside: &Aside) -> Vec<Suspect> {
        let suspects = [suspect(house, content)];
        let marked = house.catalog.mark_damaged(&suspects, at(7), |_| aside.clone());
        marked.expect("marks")
    }

    fn house() -> House {
        let mut house = House::new();
        house
            .sync("debian", &listing(&[("a", "x"), ("b", "y")]), "one", &[], at(0))
            .expect("records");
        house
    }

    #[test]
    fn a_damaged_blob_is_absent_for_syncs_until_whole_bytes_come() {
        let mut house = house();
        let (row, x, y) = (house.row("debian"), facts("x"), facts("y"));
        assert_eq!(mark(&mut house, "x", &Aside::As("q".to_owned())).len(), 1);
        let found = house.catalog.reader().damaged().expect("reads");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].digest, found[0].fault, found[0].since),
            (x.digest, Fault::Altered, at(7))
        );
        assert_eq!((found[0].aside.as_deref(), found[0].is_needed), (Some("q"), true));
        // However many digests are claimed together: a state is read whole for many, and each is looked up for few.
        for many in [0, 2_000_u32] {
            let mut digests = vec![x.digest, y.digest];
            digests.extend((0..many).map(|n| Digest::of(&n.to_le_bytes())));
            let claims = house.catalog.claim(row, &digests, at(8)).expect("claims");
            assert_eq!(claims[0], Claim::Absent, "{many}");
            assert!(matches!(claims[1], Claim::Held(blob) | Claim::Leased(blob) if blob == y));
        }
        house.catalog.add_blobs(&[y]).expect("adds");
        assert_eq!(
            house.catalog.reader().damaged().expect("reads").len(),
            1,
            "another blob"
        );
        house.catalog.add_blobs(&[x]).expect("adds");
        assert_eq!(house.catalog.reader().damaged().expect("reads"), []);
    }

    #[test]
    fn only_what_is_there_and_still_damaged_is_marked() {
        let mut house = house();
        assert_eq!(mark(&mut house, "x", &Aside::Replaced), []);
        let gone = Suspect {
            row: BlobRow(999),
            ..suspect(&house, "x")
        };
        let marked = house
            .catalog
            .mark_damaged(&[gone], at(7), |_| panic!("nothing to look at"));
        assert_eq!(marked.expect("looks"), []);
        assert_eq!(house.catalog.reader().damaged().expect("reads"), []);

        assert_eq!(mark(&mut house, "x", &Aside::Nothing).len(), 1);
        let first = house.catalog.reader().marks().expect("reads");
        assert_eq!(mark(&mut house, "x", &Aside::As("q".to_owned())), [], "known already");
        assert_eq!(house.catalog.reader().marks().expect("reads"), first);
        let found = house.catalog.reader().damaged().expect("reads").remove(0);
        assert_eq!(found.aside.as_deref(), Some("q"));
        house.catalog.mark_whole(&[found.row]).expect("ends");
        assert!(!house.catalog.reader().is_damaged(found.row).expect("reads"));
        mark(&mut house, "x", &Aside::Nothing);
        assert_ne!(house.catalog.reader().marks().expect("reads"), first, "another mark");
    }

    #[test]
    fn indices_are_known_with_every_time_that_they_were_shown_with() {
        let mut house = House::new();
        for (turn, name) in ["one", "two"].iter().enumerate() {
            let mut files = ListingBuilder::new();
            for (path, content, role) in [
                ("dists/a/Release", "r", Role::Release),
                ("dists/a/Packages", name, Role::Index),
                ("pool/x", "x", Role::Pool),
            ] {
                let file = entry(content, role, HashTypes::NONE);
                files.add(repo_path(path), file).expect("no clash");
            }
            let (files, now) = (
                files.build().expect("no clash"),
                at(10 * i64::try_from(turn).expect("few")),
            );
            house
                .sync("debian", &files, name, &[Pointer::Current], now)
                .expect("records");
        }
        for content in ["r", "one", "x"] {
            mark(&mut house, content, &Aside::Nothing);
        }
        let indices = ["r", "one"].map(|content| suspect(&house, content).row);
        let reader = house.catalog.reader();
        assert_eq!(reader.damaged_indices().expect("reads"), HashSet::from(indices));
        assert_eq!(reader.serial_times().expect("reads"), [at(0), at(10)]);
    }

    #[test]
    fn a_mark_goes_with_its_blob() {
        let mut house = House::new();
        house.add(&["x"]);
        mark(&mut house, "x", &Aside::Nothing);
        assert!(!house.catalog.reader().damaged().expect("reads")[0].is_needed);
        house.sweep_all(at(9));
        assert_eq!(house.number("SELECT count(*) FROM damaged"), 0);
    }

    #[test]
    fn no_pointer_moves_to_a_snapshot_with_damaged_files_without_force() {
        let mut house = house();
        mark(&mut house, "x", &Aside::Nothing);
        assert_eq!(
            house
                .catalog
                .reader()
                .damaged_files(house.row("debian"), Seq(1))
                .expect("counts"),
            1
        );
        let wish = RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name("one")),
            expect: None,
            terms: MoveTerms::default(),
        };
        let mut act = act("publish", at(8));
        let refused = house.catalog.move_pointers(std::slice::from_ref(&wish), act);
        assert!(
            matches!(refused, Err(CatalogError::Damaged { files: 1, .. })),
            "{refused:?}"
        );
        act.force = true;
        let moved = house.catalog.move_pointers(&[wish], act).expect("moves");
        assert!(moved[0].now.forced);
    }
}

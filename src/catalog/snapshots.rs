//! Names given to listings.
//!
//! Owns table `snapshot`, and the forgetting of listings and entries that no snapshot needs any more. It refuses to
//! forget what a pointer leads to; which snapshots should go is `retention`'s to say.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::pointers::{self, Act, Appender, Moved};
use super::sql_types::Sql;
use super::{Catalog, CatalogError, CatalogReader, Lenders, MirrorRow, Seq, SnapshotRow, generations, remarks, tree};
use crate::model::{MirrorId, MoveTerms, Note, Pointer, Shrink, SnapshotName, Tag, Timestamp};

/// A snapshot and what there is to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its row; greater is newer.
    pub row: SnapshotRow,
    /// The mirror.
    pub mirror: MirrorId,
    /// Its name.
    pub name: SnapshotName,
    /// The listing it names.
    pub seq: Seq,
    /// When it was made.
    pub created_at: Timestamp,
    /// Number of files.
    pub files: u64,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
    /// Why no pointer moves to it without force.
    pub held: Option<Shrink>,
    /// Number of files that its indices name and a filter has left out.
    pub absent: u64,
    /// Whether only force deletes it.
    pub protected: bool,
    /// What the operator wrote about it.
    pub note: Option<Note>,
    /// The words that the operator gave it, sorted.
    pub tags: Vec<Tag>,
    /// The pointers that lead to it, sorted by their names.
    pub pointers: Vec<Pointer>,
}

impl SnapshotRecord {
    /// Whether `staging` leads to it.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.pointers.contains(&Pointer::Staging)
    }

    /// Whether `current` leads to it.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.pointers.contains(&Pointer::Current)
    }

    /// Whether the pointer of an environment beside those two leads to it.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        let further = |pointer: &Pointer| !Pointer::ALWAYS.contains(pointer);
        self.pointers.iter().any(further)
    }
}

/// What a pointer can lead to.
pub(super) struct Target {
    pub(super) row: SnapshotRow,
    pub(super) name: SnapshotName,
    pub(super) seq: Seq,
}

impl CatalogReader {
    /// The snapshots of a mirror, newest first.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn snapshots(&self, mirror: MirrorRow) -> Result<Vec<SnapshotRecord>, CatalogError> {
        let mut query = self.connection.prepare_cached(
            "SELECT snapshot.id, mirror.name, snapshot.name, snapshot.seq, created_at, files, bytes, protected,
                    pool_files, held_against, absent, note
             FROM snapshot
             JOIN mirror ON mirror.id = snapshot.mirror_id
             JOIN listing ON listing.mirror_id = snapshot.mirror_id AND listing.seq = snapshot.seq
             WHERE snapshot.mirror_id = ?1 ORDER BY snapshot.id DESC",
        )?;
        let rows = query.query_map([mirror], read_snapshot)?;
        let mut snapshots: Vec<SnapshotRecord> = rows.collect::<rusqlite::Result<_>>()?;
        let mut tags = remarks::tags_of(&self.connection, mirror)?;
        for snapshot in &mut snapshots {
            snapshot.tags = tags.remove(&snapshot.row).unwrap_or_default();
        }
        for there in pointers::pointers(&self.connection, mirror)? {
            let led_to = snapshots.iter_mut().find(|snapshot| snapshot.row == there.snapshot_row);
            if let Some(snapshot) = led_to {
                snapshot.pointers.push(there.pointer);
            }
        }
        Ok(snapshots)
    }

    /// The first of `wanted`, `wanted-2`, `wanted-3` … that is not taken.
    ///
    /// # Errors
    /// When the catalog cannot be read or the numbered name grows too long.
    pub fn free_name(&self, mirror: MirrorRow, wanted: &SnapshotName) -> Result<SnapshotName, CatalogError> {
        let mut name = wanted.clone();
        let mut query = self
            .connection
            .prepare_cached("SELECT 1 FROM snapshot WHERE mirror_id = ? AND name = ?")?;
        for n in 2.. {
            if !query.exists(params![mirror, Sql(&name)])? {
                break;
            }
            name = wanted.with_suffix(n).map_err(|source| CatalogError::NoFreeName {
                name: wanted.clone(),
                source,
            })?;
        }
        Ok(name)
    }
}

impl Catalog {
    /// Names the mirror's last synced state, and moves `pointers` there in the same transaction. With `replace`, a
    /// snapshot of that name gives way unless it is pointed to, protected, or lends files to a pointer.
    ///
    /// # Errors
    /// When the mirror has no synced state, the name is taken and may not be replaced, the state is held and the act
    /// has no force, or the catalog cannot be written.
    pub fn create_snapshot(
        &mut self,
        mirror: &MirrorId,
        name: &SnapshotName,
        replace: bool,
        pointers: &[Pointer],
        terms: MoveTerms,
        act: Act<'_>,
    ) -> Result<Vec<Moved>, CatalogError> {
        self.write(|transaction| {
            let row = tree::mirror_row(transaction, mirror)?;
            let newest_listing = "SELECT max(seq) FROM listing WHERE mirror_id = ?";
            let seq: Option<Seq> = transaction.query_row(newest_listing, [row], |found| found.get(0))?;
            let seq = seq.ok_or_else(|| CatalogError::UnknownMirror(mirror.clone()))?;
            match find(transaction, row, mirror, name) {
                Err(CatalogError::UnknownSnapshot { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) if !replace => {
                    return Err(CatalogError::SnapshotExists {
                        mirror: mirror.clone(),
                        name: name.clone(),
                    });
                }
                Ok(old) => {
                    let lenders = generations::of_mirror(transaction, row, act.now)?;
                    remove(transaction, row, mirror, &old, Some((&lenders, act.now)))?;
                }
            }
            let target = insert(transaction, row, name, seq, act.now)?;
            drop_unneeded(transaction, row)?;
            let mut append = Appender::begin(transaction, act);
            pointers
                .iter()
                .map(|pointer| append.lead(row, mirror, pointer, &target, terms))
                .collect()
        })
    }

    /// Forgets snapshots of one mirror, all in one transaction. Blobs stay: sweeping them is garbage collection's
    /// part. `force` overrides protection, and that a pointer lends files of them at the time `now`, never a pointer.
    ///
    /// # Errors
    /// When one does not exist, is pointed to or protected, lends files to a pointer, or the catalog cannot be written;
    /// then none is gone.
    pub fn delete_snapshots(
        &mut self,
        mirror: &MirrorId,
        names: &[SnapshotName],
        force: bool,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let row = tree::mirror_row(transaction, mirror)?;
            let lenders = generations::of_mirror(transaction, row, now)?;
            let respected = (!force).then_some((&lenders[..], now));
            let each: BTreeSet<&SnapshotName> = names.iter().collect();
            for name in each {
                let target = find(transaction, row, mirror, name)?;
                remove(transaction, row, mirror, &target, respected)?;
            }
            drop_unneeded(transaction, row)
        })
    }
}

pub(super) fn find(
    connection: &rusqlite::Connection,
    row: MirrorRow,
    mirror: &MirrorId,
    name: &SnapshotName,
) -> Result<Target, CatalogError> {
    connection
        .prepare_cached("SELECT id, seq FROM snapshot WHERE mirror_id = ? AND name = ?")?
        .query_row(params![row, Sql(name)], |found| {
            Ok(Target {
                row: found.get(0)?,
                name: name.clone(),
                seq: found.get(1)?,
            })
        })
        .optional()?
        .ok_or_else(|| CatalogError::UnknownSnapshot {
            mirror: mirror.clone(),
            name: name.clone(),
        })
}

/// What the snapshot of this row is now; `None` when it is gone.
pub(super) fn of_row(connection: &rusqlite::Connection, row: SnapshotRow) -> Result<Option<Target>, CatalogError> {
    let mut query = connection.prepare_cached("SELECT name, seq FROM snapshot WHERE id = ?")?;
    let found = query.query_row([row], |found| {
        let Sql(name) = found.get(0)?;
        Ok(Target {
            row,
            name,
            seq: found.get(1)?,
        })
    });
    Ok(found.optional()?)
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    mirror: MirrorRow,
    name: &SnapshotName,
    seq: Seq,
    now: Timestamp,
) -> Result<Target, CatalogError> {
    transaction
        .prepare_cached("INSERT INTO snapshot (mirror_id, name, seq, created_at) VALUES (?, ?, ?, ?)")?
        .execute(params![mirror, Sql(name), seq, Sql(now)])?;
    Ok(Target {
        row: SnapshotRow(transaction.last_insert_rowid()),
        name: name.clone(),
        seq,
    })
}

/// Removes a snapshot that no pointer leads to. Without force, `respected` is what lends to the mirror's pointers at a
/// time; that and protected ones stay.
fn remove(
    transaction: &Transaction<'_>,
    row: MirrorRow,
    mirror: &MirrorId,
    target: &Target,
    respected: Option<(&[Lenders], Timestamp)>,
) -> Result<(), CatalogError> {
    let leading = pointers::pointers(transaction, row)?
        .into_iter()
        .find(|there| there.snapshot_row == target.row);
    if let Some(there) = leading {
        return Err(CatalogError::Pointed {
            mirror: mirror.clone(),
            pointer: there.pointer,
            name: target.name.clone(),
        });
    }
    if let Some((lenders, now)) = respected {
        respect(transaction, mirror, target, lenders, now)?;
    }
    transaction.execute("DELETE FROM snapshot WHERE id = ?", [target.row])?;
    Ok(())
}

/// Refuses to let a snapshot go that is protected or lends files to a pointer.
fn respect(
    transaction: &Transaction<'_>,
    mirror: &MirrorId,
    target: &Target,
    lenders: &[Lenders],
    now: Timestamp,
) -> Result<(), CatalogError> {
    let is_protected = "SELECT protected FROM snapshot WHERE id = ?";
    if transaction.query_row(is_protected, [target.row], |found| found.get(0))? {
        return Err(CatalogError::Protected {
            mirror: mirror.clone(),
            name: target.name.clone(),
        });
    }
    for Lenders { pointer, generations } in lenders {
        if let Some(lends) = generations.iter().find(|one| one.snapshot_row == target.row) {
            return Err(CatalogError::Lends {
                mirror: mirror.clone(),
                pointer: pointer.clone(),
                name: target.name.clone(),
                reach: lends.reach(now),
            });
        }
    }
    Ok(())
}

/// Forgets listings that neither a snapshot nor the last synced state needs, and entries that lived only in those.
pub(super) fn drop_unneeded(transaction: &Transaction<'_>, mirror: MirrorRow) -> Result<(), CatalogError> {
    let dropped = transaction
        .prepare_cached(
            "DELETE FROM listing
             WHERE mirror_id = ?1
               AND seq < (SELECT max(seq) FROM listing WHERE mirror_id = ?1)
               AND NOT EXISTS (SELECT 1 FROM snapshot
                               WHERE snapshot.mirror_id = ?1 AND snapshot.seq = listing.seq)",
        )?
        .execute([mirror])?;
    if dropped > 0 {
        transaction
            .prepare_cached(
                "DELETE FROM entry
                 WHERE mirror_id = ?1
                   AND NOT EXISTS (SELECT 1 FROM listing
                                   WHERE mirror_id = ?1 AND seq >= from_seq AND seq < to_seq)",
            )?
            .execute([mirror])?;
        super::replaced::drop_unneeded(transaction, mirror)?;
    }
    Ok(())
}

/// What a listing is held for, if it is.
pub(super) fn held(
    connection: &rusqlite::Connection,
    mirror: MirrorRow,
    seq: Seq,
) -> Result<Option<Shrink>, CatalogError> {
    let sql = "SELECT pool_files, held_against FROM listing WHERE mirror_id = ? AND seq = ?";
    let mut query = connection.prepare_cached(sql)?;
    Ok(query.query_row(params![mirror, seq], |row| read_shrink(row, 0))?)
}

/// Reads `pool_files` and `held_against`, which stand side by side.
fn read_shrink(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Shrink>> {
    let (now, against): (i64, Option<i64>) = (row.get(at)?, row.get(at + 1)?);
    Ok(against.map(|before| Shrink {
        before: before.cast_unsigned(),
        now: now.cast_unsigned(),
    }))
}

fn read_snapshot(row: &Row<'_>) -> rusqlite::Result<SnapshotRecord> {
    let (Sql(mirror), Sql(name), Sql(created_at)) = (row.get(1)?, row.get(2)?, row.get(4)?);
    Ok(SnapshotRecord {
        row: row.get(0)?,
        mirror,
        name,
        seq: row.get(3)?,
        created_at,
        files: row.get::<_, i64>(5)?.cast_unsigned(),
        bytes: row.get::<_, i64>(6)?.cast_unsigned(),
        absent: row.get::<_, i64>(10)?.cast_unsigned(),
        protected: row.get(7)?,
        held: read_shrink(row, 8)?,
        note: row.get::<_, Option<Sql<Note>>>(11)?.map(|Sql(note)| note),
        tags: Vec::new(),
        pointers: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::*;

    fn house() -> House {
        let mut house = House::new();
        for (name, content) in [("one", "x"), ("two", "y")] {
            house
                .sync("debian", &listing(&[("a", content)]), name, &[], at(0))
                .expect("records");
        }
        house
    }

    fn delete(house: &mut House, names: &[&str], force: bool) -> Result<(), CatalogError> {
        let names: Vec<_> = names.iter().map(|name| snapshot_name(name)).collect();
        house
            .catalog
            .delete_snapshots(&mirror_id("debian"), &names, force, at(1))
    }

    fn create(house: &mut House, name: &str, replace: bool, pointers: &[Pointer]) -> Result<Vec<Moved>, CatalogError> {
        house.catalog.create_snapshot(
            &mirror_id("debian"),
            &snapshot_name(name),
            replace,
            pointers,
            MoveTerms::default(),
            act("stage", at(1)),
        )
    }

    #[test]
    fn force_overrides_protection_and_never_a_pointer() {
        let mut house = house();
        house
            .sql()
            .execute("UPDATE snapshot SET protected = 1", [])
            .expect("protects");
        assert!(matches!(
            delete(&mut house, &["one"], false),
            Err(CatalogError::Protected { .. })
        ));
        assert!(matches!(
            create(&mut house, "one", true, &[]),
            Err(CatalogError::Protected { .. })
        ));
        delete(&mut house, &["one"], true).expect("deletes");
        create(&mut house, "three", false, &[Pointer::Staging]).expect("creates");
        assert!(matches!(
            delete(&mut house, &["three"], true),
            Err(CatalogError::Pointed {
                pointer: Pointer::Staging,
                ..
            })
        ));
        assert!(matches!(
            create(&mut house, "three", true, &[]),
            Err(CatalogError::Pointed { .. })
        ));
    }

    #[test]
    fn several_go_together_or_none_goes() {
        let mut house = house();
        assert!(matches!(
            delete(&mut house, &["one", "nine"], false),
            Err(CatalogError::UnknownSnapshot { .. })
        ));
        assert_eq!(house.number("SELECT count(*) FROM snapshot"), 2);
        delete(&mut house, &["one", "two"], false).expect("deletes");
        assert_eq!(house.number("SELECT count(*) FROM snapshot"), 0);
        assert_eq!(
            house.number("SELECT count(*) FROM listing"),
            1,
            "the last synced state stays"
        );
    }

    #[test]
    fn a_replaced_snapshot_is_another_one() {
        let mut house = house();
        let row = house.row("debian");
        let find = |house: &House, name: &str| house.catalog.reader().snapshot_named(row, &snapshot_name(name));
        let before = find(&house, "one").expect("reads").expect("exists");
        create(&mut house, "one", true, &[]).expect("replaces");
        let after = find(&house, "one").expect("reads").expect("exists");
        assert!(after > before);
        let reader = house.catalog.reader();
        assert_eq!(reader.snapshot_row(before).expect("reads"), None);
        let (mirror, name, seq, created_at) = reader.snapshot_row(after).expect("reads").expect("exists");
        assert_eq!((mirror, name.as_str(), seq, created_at), (row, "one", Seq(2), at(1)));
        let names: Vec<_> = reader
            .snapshot_names(row)
            .expect("reads")
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, [snapshot_name("one"), snapshot_name("two")]);
    }

    #[test]
    fn a_taken_name_gets_the_first_free_number() {
        let mut house = house();
        let row = house.row("debian");
        let free = |house: &House, name: &str| house.catalog.reader().free_name(row, &snapshot_name(name));
        assert_eq!(free(&house, "nine").expect("is free").as_str(), "nine");
        assert_eq!(free(&house, "one").expect("is free").as_str(), "one-2");
        for name in ["one-2", "one-4"] {
            create(&mut house, name, false, &[]).expect("creates");
        }
        assert_eq!(free(&house, "one").expect("is free").as_str(), "one-3");
        let longest = "x".repeat(128);
        create(&mut house, &longest, false, &[]).expect("creates");
        assert!(matches!(free(&house, &longest), Err(CatalogError::NoFreeName { .. })));
    }
}

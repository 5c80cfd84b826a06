//! What operators say of snapshots: their names, tags, notes and protection.
//!
//! Owns table `snapshot_tag`, and the changes of a snapshot that leave its files, its row and whoever points to it as they
//! are. What a word means, only operators know.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};

use super::sql_types::Sql;
use super::{Catalog, CatalogError, MirrorRow, SnapshotRow, snapshots, tree};
use crate::model::{MirrorId, Note, SnapshotName, Tag};

impl Catalog {
    /// Gives the snapshot `old` the name `new`. Pointers lead to it as before; what was recorded of the past keeps the
    /// name of that time.
    ///
    /// # Errors
    /// When there is no such snapshot, the new name is taken, or the catalog cannot be written.
    pub fn rename_snapshot(
        &mut self,
        mirror: &MirrorId,
        old: &SnapshotName,
        new: &SnapshotName,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let row = tree::mirror_row(transaction, mirror)?;
            let target = snapshots::find(transaction, row, mirror, old)?;
            match snapshots::find(transaction, row, mirror, new) {
                Err(CatalogError::UnknownSnapshot { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    return Err(CatalogError::SnapshotExists {
                        mirror: mirror.clone(),
                        name: new.clone(),
                    });
                }
            }
            let sql = "UPDATE snapshot SET name = ? WHERE id = ?";
            transaction.execute(sql, params![Sql(new), target.row])?;
            Ok(())
        })
    }

    /// Gives tags to a snapshot, or takes them away. Returns all that it has then, sorted. To give what is there, and to
    /// take what is not, changes nothing.
    ///
    /// # Errors
    /// When there is no such snapshot, or the catalog cannot be written.
    pub fn tag_snapshot(
        &mut self,
        mirror: &MirrorId,
        name: &SnapshotName,
        tags: &[Tag],
        remove: bool,
    ) -> Result<Vec<Tag>, CatalogError> {
        let sql = if remove {
            "DELETE FROM snapshot_tag WHERE snapshot_id = ? AND tag = ?"
        } else {
            "INSERT OR IGNORE INTO snapshot_tag (snapshot_id, tag) VALUES (?, ?)"
        };
        self.write(|transaction| {
            let row = tree::mirror_row(transaction, mirror)?;
            let target = snapshots::find(transaction, row, mirror, name)?;
            for tag in tags {
                transaction
                    .prepare_cached(sql)?
                    .execute(params![target.row, Sql(tag)])?;
            }
            Ok(tags_of(transaction, row)?.remove(&target.row).unwrap_or_default())
        })
    }

    /// Puts a note on a snapshot, in place of the one before; `None` takes it away.
    ///
    /// # Errors
    /// When there is no such snapshot, or the catalog cannot be written.
    pub fn note_snapshot(
        &mut self,
        mirror: &MirrorId,
        name: &SnapshotName,
        note: Option<&Note>,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let row = tree::mirror_row(transaction, mirror)?;
            let target = snapshots::find(transaction, row, mirror, name)?;
            let sql = "UPDATE snapshot SET note = ? WHERE id = ?";
            transaction.execute(sql, params![note.map(Note::as_str), target.row])?;
            Ok(())
        })
    }

    /// Protects snapshots of one mirror from being deleted without force, or ends that; all of them or none.
    ///
    /// # Errors
    /// When one does not exist, or the catalog cannot be written.
    pub fn protect_snapshots(
        &mut self,
        mirror: &MirrorId,
        names: &[SnapshotName],
        protected: bool,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let row = tree::mirror_row(transaction, mirror)?;
            names
                .iter()
                .try_for_each(|name| protect(transaction, (row, mirror), name, protected))
        })
    }
}

fn protect(
    transaction: &Transaction<'_>,
    (row, mirror): (MirrorRow, &MirrorId),
    name: &SnapshotName,
    protected: bool,
) -> Result<(), CatalogError> {
    let target = snapshots::find(transaction, row, mirror, name)?;
    let sql = "UPDATE snapshot SET protected = ? WHERE id = ?";
    transaction.execute(sql, params![protected, target.row])?;
    Ok(())
}

/// The tags of a mirror's snapshots, each snapshot's sorted.
pub(super) fn tags_of(
    connection: &Connection,
    mirror: MirrorRow,
) -> Result<HashMap<SnapshotRow, Vec<Tag>>, CatalogError> {
    let mut query = connection.prepare_cached(
        "SELECT snapshot_id, tag FROM snapshot_tag JOIN snapshot ON snapshot.id = snapshot_id
         WHERE mirror_id = ? ORDER BY snapshot_id, tag",
    )?;
    let mut rows = query.query([mirror])?;
    let mut tags: HashMap<SnapshotRow, Vec<Tag>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let Sql(tag) = row.get(1)?;
        tags.entry(row.get(0)?).or_default().push(tag);
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::super::{CatalogReader, PointerTarget, RequestedMove, SnapshotRecord};
    use super::*;
    use crate::model::{Leads, MoveTerms, Pointer};

    /// The mirror `debian` with the snapshots `one` and `two`; `current` leads to `one`.
    fn house() -> House {
        let mut house = House::new();
        for (name, pointers) in [("one", &[Pointer::Current][..]), ("two", &[])] {
            house
                .sync("debian", &listing(&[("a", name)]), name, pointers, at(0))
                .expect("records");
        }
        house
    }

    fn tags(words: &[&str]) -> Vec<Tag> {
        words.iter().map(|word| word.parse().expect("a tag")).collect()
    }

    fn record(house: &House, name: &str) -> SnapshotRecord {
        let snapshots = house.catalog.reader().snapshots(house.row("debian")).expect("reads");
        let found = snapshots.into_iter().find(|snapshot| snapshot.name.as_str() == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    fn rename(house: &mut House, old: &str, new: &str) -> Result<(), CatalogError> {
        let (old, new) = (snapshot_name(old), snapshot_name(new));
        house.catalog.rename_snapshot(&mirror_id("debian"), &old, &new)
    }

    #[test]
    fn a_renamed_snapshot_is_the_same_one() {
        let mut house = house();
        let before = record(&house, "one");
        rename(&mut house, "one", "first").expect("renames");
        let after = record(&house, "first");
        assert_eq!(
            after,
            SnapshotRecord {
                name: snapshot_name("first"),
                ..before
            }
        );
        assert!(matches!(
            rename(&mut house, "one", "x"),
            Err(CatalogError::UnknownSnapshot { .. })
        ));
        for taken in ["two", "first"] {
            let error = rename(&mut house, "first", taken).expect_err("taken");
            assert!(matches!(error, CatalogError::SnapshotExists { .. }), "{error}");
        }
    }

    #[test]
    fn pointers_go_by_the_new_name_and_history_keeps_the_old() {
        let mut house = house();
        rename(&mut house, "one", "first").expect("renames");
        let row = house.row("debian");
        let names = |reader: &CatalogReader| {
            let now = reader.pointer(row, &Pointer::Current).expect("reads").expect("set");
            let then = reader.history(row).expect("reads");
            (now.snapshot.to_string(), then[0].snapshot_then.to_string())
        };
        assert_eq!(names(house.catalog.reader()), ("first".to_owned(), "one".to_owned()));
        // A condition is about the name of now.
        let wish = |expect: &str| RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name("two")),
            expect: Some(Leads::To(snapshot_name(expect))),
            terms: MoveTerms::default(),
        };
        let mut moves = |expect| house.catalog.move_pointers(&[wish(expect)], act("publish", at(1)));
        assert!(matches!(moves("one"), Err(CatalogError::Unexpected { .. })));
        let moved = moves("first").expect("moves").remove(0);
        assert_eq!(moved.before.expect("was set").snapshot, snapshot_name("first"));
        // Of what is gone, the name of then is all that is known.
        let gone = [snapshot_name("first")];
        house
            .catalog
            .delete_snapshots(&mirror_id("debian"), &gone, true, at(9))
            .expect("deletes");
        let history = house.catalog.reader().history(row).expect("reads");
        assert_eq!(history[1].snapshot, snapshot_name("one"));
    }

    #[test]
    fn tags_come_and_go_with_their_snapshot() {
        let mut house = house();
        let mirror = mirror_id("debian");
        let mut tag = |name: &str, words: &[&str], remove| {
            let all = house
                .catalog
                .tag_snapshot(&mirror, &snapshot_name(name), &tags(words), remove);
            all.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(tag("one", &["b", "a", "b"], false).expect("tags"), ["a", "b"]);
        assert_eq!(tag("two", &["a"], false).expect("tags"), ["a"]);
        assert_eq!(tag("one", &["a", "c"], true).expect("tags"), ["b"]);
        assert!(matches!(
            tag("nine", &["a"], false),
            Err(CatalogError::UnknownSnapshot { .. })
        ));
        assert_eq!(
            (record(&house, "one").tags, record(&house, "two").tags),
            (tags(&["b"]), tags(&["a"]))
        );
        let gone = [snapshot_name("two")];
        house
            .catalog
            .delete_snapshots(&mirror, &gone, false, at(9))
            .expect("deletes");
        assert_eq!(house.number("SELECT count(*) FROM snapshot_tag"), 1);
    }

    #[test]
    fn notes_and_protection_can_be_taken_back() {
        let mut house = house();
        let (mirror, one) = (mirror_id("debian"), snapshot_name("one"));
        let note: Note = "before the upgrade".parse().expect("a note");
        house.catalog.note_snapshot(&mirror, &one, Some(&note)).expect("notes");
        assert_eq!(record(&house, "one").note, Some(note));
        house.catalog.note_snapshot(&mirror, &one, None).expect("notes");
        assert_eq!(record(&house, "one").note, None);
        let both = [one, snapshot_name("two")];
        let mut protect = |names: &[SnapshotName], yes| house.catalog.protect_snapshots(&mirror, names, yes);
        protect(&both, true).expect("protects");
        assert!(protect(&[both[0].clone(), snapshot_name("nine")], false).is_err());
        assert!(record(&house, "one").protected, "all or none");
        house
            .catalog
            .protect_snapshots(&mirror, &both[..1], false)
            .expect("ends it");
        assert_eq!(
            [record(&house, "one").protected, record(&house, "two").protected],
            [false, true]
        );
    }
}

//! What deleting snapshots would free: the blobs that nothing else needs then.
//!
//! Owns that reckoning, which reads and changes nothing. It is exact for blobs that nothing needs any more as soon as the
//! snapshots are gone; manifests that only other manifests are based on become free later and are not counted.
//!
//! What the last synced state has stays in any case, so only entries that have ended are looked at: the cost grows with what
//! has changed over the life of the snapshots, not with their size or their number.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::params;

use super::leases::UNLEASED;
use super::sql_types::OPEN;
use super::{BlobRow, CatalogError, CatalogReader, Marked, MirrorRow, Seq, SnapshotRow};

/// What deleting some snapshots would free.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freed {
    /// All of them together.
    pub total: Marked,
    /// For each snapshot of the mirrors that has any: what it needs and no snapshot that stays needs besides it. Of one that
    /// goes, its share, which it can have in common with others that go; of one that stays, what would be free as well if it
    /// went too.
    pub each: HashMap<SnapshotRow, Marked>,
}

/// The snapshots that name a listing, by mirror and listing.
type Names = BTreeMap<(MirrorRow, Seq), Vec<SnapshotRow>>;

/// What refers to a blob among the ended entries and the listings that have a successor.
struct Referred {
    size: u64,
    /// How many rows of the whole catalog refer to it.
    refs: i64,
    /// From which listing on and before which one, for each row that was found.
    found: Vec<(MirrorRow, Seq, Seq)>,
}

impl CatalogReader {
    /// What would become free if the snapshots `going`, all of these `mirrors`, were deleted together.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn freed(&self, mirrors: &[MirrorRow], going: &HashSet<SnapshotRow>) -> Result<Freed, CatalogError> {
        let mut reckoning = Reckoning::default();
        let mut blobs = HashMap::new();
        for mirror in mirrors {
            self.names_of(*mirror, going, &mut reckoning)?;
            self.referred_by_entries(*mirror, &mut blobs)?;
            self.referred_by_listings(*mirror, &mut blobs)?;
        }
        // Rows elsewhere refer to it too: of other mirrors, or of the last synced state.
        blobs.retain(|_, blob| i64::try_from(blob.found.len()) == Ok(blob.refs));
        for blob in blobs.values_mut() {
            reckoning.count(blob);
        }
        Ok(reckoning.finish())
    }

    fn names_of(
        &self,
        mirror: MirrorRow,
        going: &HashSet<SnapshotRow>,
        reckoning: &mut Reckoning,
    ) -> Result<(), CatalogError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT seq, id FROM snapshot WHERE mirror_id = ?")?;
        let mut rows = query.query([mirror])?;
        while let Some(row) = rows.next()? {
            let snapshot = row.get(1)?;
            let names = if going.contains(&snapshot) {
                &mut reckoning.going
            } else {
                &mut reckoning.staying
            };
            names.entry((mirror, row.get(0)?)).or_default().push(snapshot);
        }
        Ok(())
    }

    fn referred_by_entries(
        &self,
        mirror: MirrorRow,
        blobs: &mut HashMap<BlobRow, Referred>,
    ) -> Result<(), CatalogError> {
        let sql = format!(
            "SELECT blob.id, size, refs, from_seq, to_seq FROM entry JOIN blob ON blob.id = blob_id
             WHERE mirror_id = ?1 AND to_seq < ?2 AND {UNLEASED}"
        );
        self.referred(&sql, mirror, blobs)
    }

    fn referred_by_listings(
        &self,
        mirror: MirrorRow,
        blobs: &mut HashMap<BlobRow, Referred>,
    ) -> Result<(), CatalogError> {
        let sql = format!(
            "SELECT blob.id, size, refs, seq, seq + 1 FROM listing JOIN blob ON blob.id = manifest_id
             WHERE mirror_id = ?1 AND seq < (SELECT max(seq) FROM listing WHERE mirror_id = ?1) AND seq < ?2
               AND {UNLEASED}"
        );
        self.referred(&sql, mirror, blobs)
    }

    fn referred(
        &self,
        sql: &str,
        mirror: MirrorRow,
        blobs: &mut HashMap<BlobRow, Referred>,
    ) -> Result<(), CatalogError> {
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query(params![mirror, OPEN])?;
        while let Some(row) = rows.next()? {
            let (size, refs): (i64, i64) = (row.get(1)?, row.get(2)?);
            let blob = blobs.entry(row.get(0)?).or_insert_with(|| Referred {
                size: size.cast_unsigned(),
                refs,
                found: Vec::new(),
            });
            blob.found.push((mirror, row.get(3)?, row.get(4)?));
        }
        Ok(())
    }
}

/// The sums, while the blobs are counted.
#[derive(Default)]
struct Reckoning {
    staying: Names,
    going: Names,
    freed: Freed,
    /// By how much what is freed of a listing differs from what is freed of the one before: blobs and bytes.
    steps: BTreeMap<(MirrorRow, Seq), (i64, i64)>,
}

impl Reckoning {
    /// Counts a blob that only snapshots need.
    fn count(&mut self, blob: &mut Referred) {
        let ranges = merged(&mut blob.found);
        let mut staying = ranges
            .iter()
            .flat_map(|(mirror, from, to)| self.staying.range((*mirror, *from)..(*mirror, *to)))
            .flat_map(|(_, snapshots)| snapshots);
        match (staying.next(), staying.next()) {
            (None, _) => {
                add(&mut self.freed.total, blob.size);
                for (mirror, from, to) in ranges {
                    self.step((mirror, from), 1, blob.size.cast_signed());
                    self.step((mirror, to), -1, -blob.size.cast_signed());
                }
            }
            (Some(only), None) => add(self.freed.each.entry(*only).or_default(), blob.size),
            (Some(_), Some(_)) => {}
        }
    }

    fn step(&mut self, at: (MirrorRow, Seq), blobs: i64, bytes: i64) {
        let step = self.steps.entry(at).or_default();
        step.0 += blobs;
        step.1 += bytes;
    }

    /// Adds the steps up. Those of one mirror come to nothing in the end.
    fn finish(mut self) -> Freed {
        let mut steps = self.steps.into_iter().peekable();
        let mut sum = Marked::default();
        for (at, snapshots) in self.going {
            while let Some((_, (blobs, bytes))) = steps.next_if(|(step, _)| *step <= at) {
                sum.blobs = sum.blobs.wrapping_add_signed(blobs);
                sum.bytes = sum.bytes.wrapping_add_signed(bytes);
            }
            if sum.blobs > 0 {
                let each = snapshots.into_iter().map(|snapshot| (snapshot, sum));
                self.freed.each.extend(each);
            }
        }
        self.freed
    }
}

/// The same listings without saying one twice: a blob can have several names in one.
fn merged(found: &mut [(MirrorRow, Seq, Seq)]) -> Vec<(MirrorRow, Seq, Seq)> {
    found.sort_unstable();
    let mut ranges: Vec<(MirrorRow, Seq, Seq)> = Vec::with_capacity(found.len());
    for (mirror, from, to) in found.iter().copied() {
        match ranges.last_mut() {
            Some(last) if last.0 == mirror && from <= last.2 => last.2 = last.2.max(to),
            _ => ranges.push((mirror, from, to)),
        }
    }
    ranges
}

fn add(sum: &mut Marked, size: u64) {
    sum.blobs += 1;
    sum.bytes += size;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SnapshotRecord;
    use super::super::tests::{House, at, listing, mirror_id};
    use super::*;
    use crate::model::Listing;

    /// A listing from the content of each of some paths; 0 is none.
    fn made_of(contents: &[usize]) -> Listing {
        const CONTENTS: [&str; 5] = ["", "1", "22", "4444", "88888888"];
        let paths = ["a", "pool/a/x", "pool/a/y", "pool/b/x"];
        let files = paths.iter().zip(contents).filter(|(_, content)| **content > 0);
        let files: Vec<_> = files.map(|(path, content)| (*path, CONTENTS[*content])).collect();
        listing(&files)
    }

    fn snapshots(house: &House, mirror: &str) -> Vec<SnapshotRecord> {
        house.catalog.reader().snapshots(house.row(mirror)).expect("reads")
    }

    /// How much more is unused when these snapshots are deleted than before; taken back at once.
    fn really_freed(house: &House, going: &HashSet<SnapshotRow>) -> Marked {
        let transaction = house.sql().unchecked_transaction().expect("begins");
        let unused = || house.catalog.reader().unused().expect("counts");
        let before = unused();
        for snapshot in going {
            transaction
                .execute("DELETE FROM snapshot WHERE id = ?", [snapshot])
                .expect("deletes");
        }
        for (mirror, _) in house.catalog.reader().mirrors().expect("reads") {
            super::super::snapshots::drop_unneeded(&transaction, mirror).expect("drops");
        }
        let after = unused();
        transaction.rollback().expect("takes it back");
        Marked {
            blobs: after.blobs - before.blobs,
            bytes: after.bytes - before.bytes,
        }
    }

    /// Two mirrors with these histories; a snapshot for each listing, and a second name for each fourth one.
    fn house(histories: &[Vec<Vec<usize>>; 2]) -> House {
        let mut house = House::new();
        for (mirror, history) in ["debian", "other"].iter().zip(histories) {
            for (turn, contents) in history.iter().enumerate() {
                let now = at(i64::try_from(turn).expect("few"));
                house
                    .sync(mirror, &made_of(contents), &format!("s{turn}"), &[], now)
                    .expect("records");
                if turn % 4 == 3 {
                    let again = format!("t{turn}").parse().expect("a name");
                    let act = super::super::tests::act("stage", now);
                    let terms = crate::model::MoveTerms::default();
                    house
                        .catalog
                        .create_snapshot(&mirror_id(mirror), &again, false, &[], terms, act)
                        .expect("creates");
                }
            }
        }
        house
    }

    fn any_history() -> impl Strategy<Value = Vec<Vec<usize>>> {
        prop::collection::vec(prop::collection::vec(0_usize..5, 4), 1..7)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_foretold_is_what_becomes_unused(
            histories in [any_history(), any_history()],
            goes in prop::collection::vec(any::<bool>(), 20),
        ) {
            let house = house(&histories);
            let all: Vec<SnapshotRow> = ["debian", "other"]
                .iter()
                .flat_map(|mirror| snapshots(&house, mirror))
                .map(|snapshot| snapshot.row)
                .collect();
            let chosen = all.iter().zip(goes.into_iter().cycle()).filter(|(_, goes)| *goes);
            let going: HashSet<SnapshotRow> = chosen.map(|(row, _)| *row).collect();
            let mirrors = [house.row("debian"), house.row("other")];
            let freed = house.catalog.reader().freed(&mirrors, &going).expect("reckons");
            prop_assert_eq!(freed.total, really_freed(&house, &going));
            for snapshot in all {
                let alone = freed.each.get(&snapshot).copied().unwrap_or_default();
                let (mut with, mut without) = (going.clone(), going.clone());
                with.insert(snapshot);
                without.remove(&snapshot);
                // What others that go have too is in its share: it would stay if this one stayed.
                let (with, without) = (really_freed(&house, &with), really_freed(&house, &without));
                let difference = Marked { blobs: with.blobs - without.blobs, bytes: with.bytes - without.bytes };
                prop_assert_eq!(alone, difference);
            }
        }
    }

    #[test]
    fn what_a_sync_holds_is_not_freed() {
        let once = || vec![vec![1, 0, 0, 0]];
        let mut house = house(&[vec![vec![4, 1, 0, 0], vec![0, 1, 0, 0]], once()]);
        let (row, going) = (house.row("debian"), HashSet::from([snapshots(&house, "debian")[1].row]));
        let freed = |house: &House| house.catalog.reader().freed(&[row], &going).expect("reckons").total;
        let before = freed(&house);
        let digest = super::super::tests::facts("88888888").digest;
        house.catalog.lease(row, &[digest], at(9)).expect("leases");
        assert_eq!(before.bytes - freed(&house).bytes, 8);
        // As far as one mirror goes, what another one has stays.
        assert_eq!(
            house.catalog.reader().freed(&[], &going).expect("reckons"),
            Freed::default()
        );
    }
}

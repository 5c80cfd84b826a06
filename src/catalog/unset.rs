//! Pointers that are taken out: they lead nowhere from then on.
//!
//! Owns that act. Like a move it is one appended row, so that the history keeps it, and what was published before it lends
//! nothing to whatever the pointer leads to later. Which pointers may be taken out is the caller's to say.

use super::pointers::{Appender, MoveRecord, newest};
use super::{Act, Catalog, CatalogError, tree, wishes};
use crate::model::{Leads, MirrorId, Pointer};

/// The command of this act, as moves are recorded with it; `pointers` knows them by it.
pub const UNPUBLISH: &str = "unpublish";

/// A wish that a pointer leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsetting {
    /// The mirror.
    pub mirror: MirrorId,
    /// The pointer.
    pub pointer: Pointer,
    /// Where the pointer must lead at that moment; `None` for anywhere.
    pub expect: Option<Leads>,
}

impl Catalog {
    /// Makes pointers lead nowhere, all in one transaction. Answers for each where it led, in the order of the wishes: `None`
    /// where it led nowhere already. The act's command counts as [`UNPUBLISH`].
    ///
    /// # Errors
    /// When a mirror does not exist, a pointer does not lead where it is expected to, or the catalog cannot be written.
    pub fn unset_pointers(
        &mut self,
        wishes: &[Unsetting],
        act: Act<'_>,
    ) -> Result<Vec<Option<MoveRecord>>, CatalogError> {
        let act = Act {
            command: UNPUBLISH,
            retracts: false,
            ..act
        };
        self.write(|transaction| {
            let mut append = Appender::begin(transaction, act);
            let unset = wishes.iter().map(|wish| {
                let mirror = tree::mirror_row(transaction, &wish.mirror)?;
                let place = (&wish.mirror, &wish.pointer);
                wishes::expect(transaction, mirror, place, wish.expect.as_ref())?;
                let there = newest(transaction, mirror, &wish.pointer)?;
                if let Some(there) = &there {
                    append.end(mirror, there)?;
                }
                Ok(there)
            });
            unset.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::super::{Moved, PointerTarget, RequestedMove};
    use super::*;
    use crate::model::MoveTerms;

    fn qa() -> Pointer {
        "qa".parse().expect("valid")
    }

    /// The mirrors `debian` and `other` with the snapshots `one` and `two`, which `qa` has led to one after the other.
    fn house() -> House {
        let mut house = House::new();
        for mirror in ["debian", "other"] {
            for (name, content) in [("one", "x"), ("two", "y")] {
                house
                    .sync(mirror, &listing(&[("a", content)]), name, &[], at(0))
                    .expect("records");
            }
            publish(&mut house, mirror, "one", 1);
            publish(&mut house, mirror, "two", 2);
        }
        house
    }

    fn wish(mirror: &str, target: PointerTarget) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id(mirror),
            pointer: qa(),
            target,
            expect: None,
            terms: MoveTerms::default(),
        }
    }

    fn publish(house: &mut House, mirror: &str, name: &str, now: i64) -> Moved {
        let wish = wish(mirror, PointerTarget::Snapshot(snapshot_name(name)));
        let moved = house.catalog.move_pointers(&[wish], act("publish", at(now)));
        moved.expect("moves").remove(0)
    }

    fn unset(house: &mut House, mirrors: &[&str], expect: Option<&Leads>) -> Result<Vec<Option<String>>, CatalogError> {
        let wish = |mirror: &&str| Unsetting {
            mirror: mirror_id(mirror),
            pointer: qa(),
            expect: expect.cloned(),
        };
        let wishes: Vec<_> = mirrors.iter().map(wish).collect();
        let unset = house.catalog.unset_pointers(&wishes, act(UNPUBLISH, at(3)))?;
        let name = |there: Option<MoveRecord>| there.map(|there| there.snapshot.to_string());
        Ok(unset.into_iter().map(name).collect())
    }

    #[test]
    fn a_pointer_that_is_taken_out_leads_nowhere_and_holds_nothing() {
        let mut house = house();
        let two = Some("two".to_owned());
        let both = ["debian", "other"];
        assert_eq!(unset(&mut house, &both, None).expect("unset"), [two.clone(), two]);
        let row = house.row("debian");
        let reader = house.catalog.reader();
        assert_eq!(reader.pointer(row, &qa()).expect("reads"), None);
        assert_eq!(reader.pointers(row).expect("reads"), []);
        assert_eq!(reader.lenders(row, at(4)).expect("reads"), []);
        let history = reader.history(row).expect("reads");
        let told = |moved: &MoveRecord| (moved.act.clone(), moved.snapshot.to_string(), moved.ends);
        assert_eq!(told(&history[0]), ("unpublish".to_owned(), "two".to_owned(), true));
        assert_eq!(history.iter().filter(|moved| moved.ends).count(), 1);
        let others = reader.history(house.row("other")).expect("reads");
        assert_eq!(history[0].act_row, others[0].act_row, "one act");
        let names = ["one", "two"].map(snapshot_name);
        let deleted = house
            .catalog
            .delete_snapshots(&mirror_id("debian"), &names, false, at(4));
        deleted.expect("nothing leads there, and nothing lends it");
    }

    #[test]
    fn again_is_no_act_and_a_condition_holds_for_all() {
        let mut house = house();
        assert_eq!(unset(&mut house, &["debian"], None).expect("unset").len(), 1);
        let rows = house.number("SELECT count(*) FROM move");
        assert_eq!(unset(&mut house, &["debian"], None).expect("is so already"), [None]);
        let to_two = Leads::To(snapshot_name("two"));
        let error = unset(&mut house, &["other", "debian"], Some(&to_two)).expect_err("one is nowhere");
        assert_eq!(error.to_string(), "debian/qa leads nowhere, not to two");
        unset(&mut house, &["other", "unknown"], None).expect_err("no such mirror");
        assert_eq!(house.number("SELECT count(*) FROM move"), rows);
    }

    #[test]
    fn whatever_it_leads_to_later_is_a_beginning_with_a_later_time() {
        let mut house = house();
        let last = publish(&mut house, "debian", "one", 50).now.serial_mtime;
        unset(&mut house, &["debian"], None).expect("unset");
        let row = house.row("debian");
        // The clock was set back.
        let moved = publish(&mut house, "debian", "two", 10);
        assert_eq!((moved.before, moved.now.serial_mtime), (None, last.plus(1)));
        let lenders = house.catalog.reader().lenders(row, at(11)).expect("reads");
        assert!(
            lenders.iter().all(|lenders| lenders.generations.is_empty()),
            "{lenders:?}"
        );
        let back = wish("debian", PointerTarget::Previous);
        let error = house.catalog.move_pointers(&[back], act("rollback", at(12)));
        assert!(matches!(error, Err(CatalogError::NoPrevious { .. })), "{error:?}");
    }
}

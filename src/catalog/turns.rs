//! Turns: when a pointer that moved a moment ago can move again.
//!
//! Owns the wait for the second in which a pointer's serial time is not ahead of the clock. Servers that compare times take
//! one that is to come for the present one, so that two states would look alike to them for the rest of a second. What has
//! to be done then is the caller's; this file waits by the clock that it is given, and by no other.

use std::time::Duration;

use super::CatalogError;
use crate::model::{Clock, Timestamp};

/// How often the clock is looked at. It tells whole seconds, so that a wait ends so much too late at most.
const BREATH: Duration = Duration::from_millis(20);

/// Longest wait for one turn, in seconds. It comes within one.
const LONGEST: i64 = 2;

/// The longest wait for one turn in breaths: counted, as a clock that is set back meanwhile would never be there.
const BREATHS: u32 = 100;

/// Does `attempt` at a time when every pointer has its turn. It gets the time of day, and whether it shall refuse with
/// [`CatalogError::TooSoon`]: the last time it is done whatever the time, because a clock that was set back may take hours to
/// come to a pointer's turn. A turn that somebody else takes is no reason for that: then there is the next one.
///
/// # Errors
/// Those of `attempt`.
pub fn in_turn<T>(
    clock: &Clock,
    mut attempt: impl FnMut(Timestamp, bool) -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    let (mut breaths, mut awaited) = (BREATHS, None);
    loop {
        let now = clock.now();
        let until = match attempt(now, true) {
            Err(CatalogError::TooSoon { until, .. }) => until,
            outcome => return outcome,
        };
        if until > now.plus(LONGEST) {
            break;
        }
        if awaited.replace(until) != Some(until) {
            breaths = BREATHS;
        }
        while clock.now() < until && breaths > 0 {
            clock.pause(BREATH);
            breaths -= 1;
        }
        if breaths == 0 {
            break;
        }
    }
    attempt(clock.now(), false)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::super::tests::{House, act, at, listing, mirror_id, snapshot_name};
    use super::super::{Act, Moved, PointerTarget, RequestedMove};
    use super::*;
    use crate::model::{MoveTerms, Pointer};

    /// A clock in milliseconds, which goes on when somebody waits by it, and only then; with how much was waited.
    fn clock(start: i64) -> (Clock, Arc<AtomicI64>) {
        let hands = Arc::new(AtomicI64::new(start));
        let (shown, moved) = (Arc::clone(&hands), Arc::clone(&hands));
        let clock = Clock::with_pauses(
            move || at(shown.load(Ordering::SeqCst).div_euclid(1_000)),
            move |length| {
                moved.fetch_add(i64::try_from(length.as_millis()).expect("short"), Ordering::SeqCst);
            },
        );
        (clock, hands)
    }

    fn house() -> House {
        let mut house = House::new();
        for (name, content) in [("one", "x"), ("two", "y"), ("three", "z")] {
            house
                .sync("debian", &listing(&[("a", content)]), name, &[], at(0))
                .expect("records");
        }
        house
    }

    /// That production leads to `name`.
    fn wish(name: &str) -> RequestedMove {
        RequestedMove {
            mirror: mirror_id("debian"),
            pointer: Pointer::Current,
            target: PointerTarget::Snapshot(snapshot_name(name)),
            expect: None,
            terms: MoveTerms::default(),
        }
    }

    fn publish(house: &mut House, name: &str, clock: &Clock) -> Moved {
        let wish = wish(name);
        let moved = in_turn(clock, |now, in_turn| {
            let act = Act {
                in_turn,
                ..act("publish", now)
            };
            house.catalog.move_pointers(std::slice::from_ref(&wish), act)
        });
        moved.expect("moves").remove(0)
    }

    #[test]
    fn nobody_waits_who_need_not() {
        let mut house = house();
        let (clock, hands) = clock(100_300);
        publish(&mut house, "one", &clock);
        publish(&mut house, "one", &clock);
        assert_eq!(hands.load(Ordering::SeqCst), 100_300, "it was there already");
        hands.store(101_000, Ordering::SeqCst);
        let moved = publish(&mut house, "two", &clock);
        assert_eq!(hands.load(Ordering::SeqCst), 101_000);
        assert_eq!(moved.now.serial_mtime, at(101));
    }

    #[test]
    fn a_pointer_that_moved_a_moment_ago_moves_in_the_next_second() {
        let mut house = house();
        let (clock, hands) = clock(100_300);
        for (second, name) in (100..110).zip(["one", "two"].into_iter().cycle()) {
            let moved = publish(&mut house, name, &clock);
            assert_eq!((moved.now.serial_mtime, moved.now.moved_at), (at(second), at(second)));
        }
        assert!((109_000..109_020).contains(&hands.load(Ordering::SeqCst)));
    }

    #[test]
    fn turns_that_others_take_are_waited_for_again() {
        let mut house = house();
        let (clock, hands) = clock(100_900);
        publish(&mut house, "one", &clock);
        let mut others = (101..106).zip(["three", "one"].into_iter().cycle()).peekable();
        let outcome = in_turn(&clock, |now, in_turn| {
            if let Some((second, name)) = others.next_if(|(second, _)| now >= at(*second)) {
                let (another, _) = self::clock(second * 1_000);
                publish(&mut house, name, &another);
            }
            let act = Act {
                in_turn,
                ..act("publish", now)
            };
            house.catalog.move_pointers(&[wish("two")], act)
        });
        assert_eq!(outcome.expect("moves")[0].now.serial_mtime, at(106));
        assert!((106_000..106_020).contains(&hands.load(Ordering::SeqCst)));
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nobody() {
        let mut house = house();
        let (clock, hands) = clock(100_000);
        publish(&mut house, "one", &clock);
        // By hours, before the command: waiting would be in vain.
        hands.store(50_000, Ordering::SeqCst);
        assert_eq!(publish(&mut house, "two", &clock).now.serial_mtime, at(101));
        assert_eq!(hands.load(Ordering::SeqCst), 50_000);
        // It stands still, or goes back while somebody waits.
        hands.store(101_500, Ordering::SeqCst);
        let standing = Clock::new(|| at(101));
        assert_eq!(publish(&mut house, "one", &standing).now.serial_mtime, at(102));
        let hands = Arc::new(AtomicI64::new(102));
        let shown = Arc::clone(&hands);
        let back = Clock::with_pauses(
            move || at(shown.load(Ordering::SeqCst)),
            move |_| {
                hands.fetch_sub(100, Ordering::SeqCst);
            },
        );
        let moved = publish(&mut house, "two", &back).now;
        assert_eq!(moved.serial_mtime, at(103));
        assert!(moved.moved_at < at(0), "{:?}", moved.moved_at);
    }
}

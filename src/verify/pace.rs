//! How fast is read.
//!
//! Owns the limit that `--max-rate` sets, and the waiting by it. All threads share one.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait without asking whether to go on: somebody at a prompt wants to see an end.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// A limit of bytes a second, or none.
pub(super) struct Pace {
    rate: Option<NonZeroU64>,
    /// When everything read so far will have been allowed.
    paid: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        Self {
            rate,
            paid: Mutex::new(Instant::now()),
        }
    }

    /// Counts bytes that were read, and waits until more may be, or `stop` says so.
    pub(super) fn pass(&self, bytes: u64, stop: &dyn Fn() -> bool) {
        let Some(rate) = self.rate else { return };
        let until = {
            // A panic elsewhere cannot leave an instant half changed.
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            // Nothing is saved up: a disk that others need gets no bursts.
            *paid = paid.max(Instant::now()) + costs(rate, bytes);
            *paid
        };
        while !stop() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(LONGEST_WAIT));
        }
    }
}

/// How long `bytes` take at a rate.
fn costs(rate: NonZeroU64, bytes: u64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cost_their_time() {
        let rate = |rate| NonZeroU64::new(rate).expect("not zero");
        assert_eq!(costs(rate(1_000), 250), Duration::from_millis(250));
        assert_eq!(costs(rate(u64::MAX), 1 << 30), Duration::ZERO);
        assert!(costs(rate(1), u64::MAX) > Duration::from_hours(1));
    }

    #[test]
    fn whoever_stops_does_not_wait() {
        let pace = Pace::new(NonZeroU64::new(1));
        let begun = Instant::now();
        pace.pass(1_000_000, &|| true);
        assert!(begun.elapsed() < Duration::from_mins(1));
        let begun = Instant::now();
        Pace::new(None).pass(u64::MAX, &|| false);
        assert!(begun.elapsed() < Duration::from_mins(1));
    }
}

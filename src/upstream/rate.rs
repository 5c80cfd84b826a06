//! How many bytes a second may come.
//!
//! Owns the token bucket, as a pure function of the time, and the waiting by it. A bucket is shared by all connections
//! that its limit is for.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// What a limit allows at once after a pause, as a time at its rate: short, so that the line stays usable for others.
const BURST: Duration = Duration::from_millis(250);

/// A limit, and how far it is used up. Times are those since any fixed moment.
#[derive(Debug)]
struct Bucket {
    rate: NonZeroU64,
    /// When everything taken so far will have been allowed.
    paid: Duration,
}

impl Bucket {
    /// Takes `bytes` at the time `now`, and answers how long to wait before the next.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let costs = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.paid = self.paid.max(now.saturating_sub(BURST)).saturating_add(costs);
        self.paid.saturating_sub(now)
    }
}

/// A limit of bytes a second.
#[derive(Debug)]
pub struct Throttle {
    start: Instant,
    bucket: Mutex<Bucket>,
}

impl Throttle {
    /// A limit of `rate` bytes a second.
    #[must_use]
    pub fn new(rate: NonZeroU64) -> Self {
        Self {
            start: Instant::now(),
            bucket: Mutex::new(Bucket {
                rate,
                paid: Duration::ZERO,
            }),
        }
    }

    /// Counts bytes that came, and waits until more may come.
    pub(super) async fn pass(&self, bytes: u64) {
        let wait = {
            // A panic elsewhere cannot leave the bucket half changed.
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(self.start.elapsed(), bytes)
        };
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: u64) -> Bucket {
        Bucket {
            rate: NonZeroU64::new(rate).expect("not zero"),
            paid: Duration::ZERO,
        }
    }

    #[test]
    fn whoever_waits_as_told_keeps_to_the_rate() {
        for (rate, piece) in [(1_000_000, 16_384), (1_000_000, 1), (10, 16_384), (u64::MAX, 1 << 30)] {
            let begin = Duration::from_secs(5);
            let (mut bucket, mut now) = (bucket(rate), begin);
            let mut bytes = 0_u128;
            for _ in 0..1_000 {
                bytes += u128::from(piece);
                now += bucket.take(now, piece);
            }
            let allowed = (now.saturating_sub(begin) + BURST).as_nanos() * u128::from(rate) / 1_000_000_000;
            assert!(bytes <= allowed + 1_000, "{rate} {piece}: {bytes} of {allowed}");
            let busy = now.saturating_sub(begin + BURST).as_nanos();
            assert!(
                bytes * 1_000_000_000 / u128::from(rate) + 1_000 >= busy,
                "no longer than needed"
            );
        }
    }

    #[test]
    fn a_pause_saves_up_a_burst_and_no_more() {
        let mut bucket = bucket(1_000);
        assert_eq!(bucket.take(Duration::from_hours(1), 250), Duration::ZERO);
        assert_eq!(bucket.take(Duration::from_hours(1), 100), Duration::from_millis(100));
        let two_share = Duration::from_hours(1) + Duration::from_millis(50);
        assert_eq!(bucket.take(two_share, 100), Duration::from_millis(150));
    }

    #[test]
    fn no_amount_overflows() {
        let mut bucket = bucket(1);
        let wait = bucket.take(Duration::ZERO, u64::MAX);
        assert!(bucket.take(Duration::ZERO, u64::MAX) >= wait);
    }
}

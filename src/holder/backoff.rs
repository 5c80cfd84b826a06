//! How long to wait before the next worker, and when to give the mount up.
//!
//! Owns these numbers. It starts nothing and tells no time.

use std::time::Duration;

/// A worker that served for so long has not died of its start, nor of a request that the kernel asks each worker again.
const LONG_LIFE: Duration = Duration::from_secs(1);

/// The wait before the second attempt after short lives; each further one is twice as long. There is none before the first.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait. Who asks for a file waits as long, and a restart by hand would not be quicker.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// After so many short lives on end, whoever waits for an answer is told that there is none: about five seconds, in which
/// nothing that passes by itself is cured more often than not.
const HOPELESS: u32 = 6;

/// The lives of a holder's workers, as far as they matter for the next.
#[derive(Debug, Default)]
pub(super) struct Lives {
    short: u32,
    /// Workers on end that never served.
    stillborn: u32,
}

impl Lives {
    /// A worker has died after it had served for `served`; zero when it never was ready.
    pub(super) fn ended(&mut self, served: Duration) {
        if served >= LONG_LIFE {
            self.short = 0;
        }
        self.short = self.short.saturating_add(1);
        self.stillborn = if served.is_zero() {
            self.stillborn.saturating_add(1)
        } else {
            0
        };
    }

    /// Whether the next one is to be of the holder's own program, not of the one that is installed: that may be broken, or not
    /// understand this holder. Every other time, since the fault may lie elsewhere and the cure be installed meanwhile.
    pub(super) fn suggest_ourselves(&self) -> bool {
        self.stillborn % 2 == 1
    }

    /// How long to wait before the next start.
    pub(super) fn wait(&self) -> Duration {
        match self.short {
            0 | 1 => Duration::ZERO,
            more => FIRST_WAIT.saturating_mul(1 << (more - 2).min(16)).min(LONGEST_WAIT),
        }
    }

    /// Whether it is time to let go of the mount, so that nobody waits for what does not come.
    pub(super) fn are_hopeless(&self) -> bool {
        self.short == HOPELESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_death_costs_no_time_and_many_cost_ever_more_up_to_a_limit() {
        let mut lives = Lives::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            lives.ended(Duration::ZERO);
            waits.push(lives.wait().as_millis());
        }
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        lives.ended(LONG_LIFE);
        assert_eq!(lives.wait(), Duration::ZERO);
    }

    #[test]
    fn what_never_serves_is_tried_in_turn_with_what_did() {
        let mut lives = Lives::default();
        let mut ourselves = Vec::new();
        for served in [LONG_LIFE, Duration::ZERO, Duration::ZERO, Duration::ZERO, LONG_LIFE / 2] {
            lives.ended(served);
            ourselves.push(lives.suggest_ourselves());
        }
        assert_eq!(ourselves, [false, true, false, true, false]);
    }

    #[test]
    fn the_mount_is_given_up_once_and_not_by_deaths_that_lie_apart() {
        let mut lives = Lives::default();
        for _ in 0..100 {
            lives.ended(LONG_LIFE * 2);
            assert!(!lives.are_hopeless());
        }
        let mut hopeless = 0;
        for _ in 0..100 {
            lives.ended(Duration::ZERO);
            hopeless += u32::from(lives.are_hopeless());
        }
        assert_eq!(hopeless, 1);
    }
}

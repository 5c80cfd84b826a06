//! Archives that lost much of their pool at once.
//!
//! Owns the comparison and its words. What becomes of such an archive is not decided here.

use std::fmt;

/// A share of the whole in percent, at most 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// A half.
    pub const HALF: Self = Self(50);

    /// `share` percent; `None` above 100.
    #[must_use]
    pub const fn new(share: u8) -> Option<Self> {
        if share <= 100 { Some(Self(share)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A loss of more pool files than is believed without a second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shrink {
    /// Number of pool files that it is measured against.
    pub before: u64,
    /// Number of pool files now.
    pub now: u64,
}

impl Shrink {
    /// What `now` pool files are where there were `before`, if more than `limit` of them are gone.
    #[must_use]
    pub fn beyond(limit: Percent, before: u64, now: u64) -> Option<Self> {
        let lost = u128::from(before.saturating_sub(now));
        (lost * 100 > u128::from(before) * u128::from(limit.number())).then_some(Self { before, now })
    }
}

impl fmt::Display for Shrink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pool files where there were {}", self.now, self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loss_beyond_the_limit_counts() {
        let cases = [
            (50, 100, 50, false),
            (50, 100, 49, true),
            (50, 3, 2, false),
            (50, 3, 1, true),
            (50, 0, 0, false),
            (50, 10, 20, false),
            (0, 10, 9, true),
            (0, 10, 10, false),
            (100, 10, 0, false),
            (99, 1, 0, true),
            (50, u64::MAX, u64::MAX / 2, true),
        ];
        for (limit, before, now, is) in cases {
            let limit = Percent::new(limit).expect("at most 100");
            assert_eq!(
                Shrink::beyond(limit, before, now).is_some(),
                is,
                "{limit:?} {before} {now}"
            );
        }
        assert_eq!(Percent::new(101), None);
    }
}

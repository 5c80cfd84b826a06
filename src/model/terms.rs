//! On which terms pointers move.
//!
//! Owns the values of that policy. Which publications it covers at a time is the catalog's knowledge.

use std::time::Duration;

/// Which earlier publications of a pointer lend it their files: those that satisfy either rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lending {
    /// The last so many before the present one.
    pub generations: u32,
    /// Those that were the present one less than so long ago.
    pub within: Duration,
}

impl Lending {
    /// What applies when nothing is configured: the last 3, and 48 hours.
    pub const DEFAULT: Self = Self {
        generations: 3,
        within: Duration::from_hours(48),
    };
}

impl Default for Lending {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The terms on which a pointer of a mirror moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoveTerms {
    /// What of the publications before stays reachable.
    pub lending: Lending,
    /// Whether the snapshot must have passed its checks.
    pub must_have_passed: bool,
    /// How long clients must go on believing its Release files for a pass to count.
    pub min_validity: Duration,
}

//! Points in time, in whole seconds.
//!
//! Owns [`Timestamp`]. It never asks a clock: the time of day enters the program in `cli` and is passed down.

use std::fmt;

/// Seconds since 1970-01-01T00:00:00Z, without leap seconds. What catalogs, file times and Release dates hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `seconds` after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// This time moved by `seconds`, stopping at the ends of the range.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

impl fmt::Display for Timestamp {
    /// As `2025-10-14T15:45:30Z`; a time that no calendar has as `@` and its seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

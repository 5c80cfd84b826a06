//! Points in time, in whole seconds.
//!
//! Owns [`Timestamp`]. It never asks a clock: the time of day enters the program in `cli` and is passed down.

use std::fmt;

use jiff::tz::Offset;

/// Seconds of a day, which has no leap seconds here.
const DAY: i64 = 86_400;

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

    /// The number of its day in UTC: 0 is 1970-01-01.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(DAY)
    }

    /// The number of its week in UTC, from Monday to Sunday as ISO 8601 has it: 0 is the week of 1970-01-01.
    #[must_use]
    pub const fn week(self) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.day() + 3).div_euclid(7)
    }

    /// The number of its month in UTC, counted from January of the year 0. Times that no calendar has count as the first
    /// or the last that it has.
    #[must_use]
    pub fn month(self) -> i64 {
        let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let time = jiff::Timestamp::from_second(self.0).unwrap_or(if self.0 < 0 { first } else { last });
        let date = Offset::UTC.to_datetime(time);
        i64::from(date.year()) * 12 + i64::from(date.month()) - 1
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().expect("a time");
        Timestamp::from_unix(time.as_second())
    }

    #[test]
    fn days_weeks_and_months_are_those_of_the_calendar() {
        assert_eq!(
            ["1970-01-01T23:59:59Z", "1969-12-31T00:00:00Z"].map(|text| at(text).day()),
            [0, -1]
        );
        // Of week 1 of 1970, of the Sunday before, of the Monday after.
        let week = |text: &str| at(text).week();
        assert_eq!(week("1970-01-01T00:00:00Z"), 0);
        assert_eq!([week("1969-12-28T23:59:59Z"), week("1969-12-29T00:00:00Z")], [-1, 0]);
        assert_eq!([week("1970-01-04T23:59:59Z"), week("1970-01-05T00:00:00Z")], [0, 1]);
        // The ISO week goes over the end of the year, the month does not.
        assert_eq!(week("2024-12-30T00:00:00Z"), week("2025-01-05T23:00:00Z"));
        let month = |text: &str| at(text).month();
        assert_eq!(month("2025-01-01T00:00:00Z") - month("2024-12-31T23:59:59Z"), 1);
        assert_eq!(month("2024-02-01T00:00:00Z"), month("2024-02-29T23:59:59Z"));
        assert_eq!(month("1970-01-01T00:00:00Z"), 1970 * 12);
    }

    #[test]
    fn the_ends_of_time_have_days_weeks_and_months() {
        for end in [i64::MIN, i64::MAX] {
            let end = Timestamp::from_unix(end);
            assert!(end.day().signum() == end.unix().signum() && end.week().signum() == end.unix().signum());
            assert_eq!(end.month(), if end.unix() < 0 { -9999 * 12 } else { 9999 * 12 + 11 });
        }
    }
}

//! Dates of Release files.
//!
//! Owns the reading of "Sat, 09 Aug 2025 11:02:33 UTC" and its near relatives. It knows no clock.

use jiff::civil;
use jiff::tz::TimeZone;

use crate::model::Timestamp;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The moment that `text` names: an optional day of the week, day, month, year, time, and zone (`UTC`, `GMT`, `Z` or
/// `+hhmm`). The day of the week is not compared with the date, as APT does not compare it either.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = match text.split_once(',') {
        Some((weekday, rest)) if weekday.bytes().all(|c| c.is_ascii_alphabetic()) => rest,
        Some(_) => return None,
        None => text,
    };
    let mut words = text.split_ascii_whitespace();
    let day = digits(words.next()?, 1, 2)?;
    let name = words.next()?;
    let month = MONTHS.iter().zip(1_i8..).find(|(month, _)| **month == name)?.1;
    let year = digits(words.next()?, 4, 4)?;
    let mut clock = words.next()?.split(':').map(|part| digits(part, 1, 2));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let east = seconds_east(words.next()?)?;
    if clock.next().is_some() || words.next().is_some() {
        return None;
    }
    let date = civil::Date::new(year, month, i8::try_from(day).ok()?).ok()?;
    let time = civil::Time::new(
        i8::try_from(hour).ok()?,
        i8::try_from(minute).ok()?,
        i8::try_from(second).ok()?,
        0,
    )
    .ok()?;
    let moment = TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()?;
    Some(Timestamp::from_unix(moment.as_second() - east))
}

/// The number written with `shortest` to `longest` decimal digits and nothing else.
fn digits(text: &str, shortest: usize, longest: usize) -> Option<i16> {
    let fits = (shortest..=longest).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    fits.then(|| text.parse().ok())?
}

fn seconds_east(zone: &str) -> Option<i64> {
    if matches!(zone, "UTC" | "GMT" | "UT" | "Z") {
        return Some(0);
    }
    let (sign, offset) = match zone.split_at_checked(1)? {
        ("+", offset) => (1, offset),
        ("-", offset) => (-1, offset),
        _ => return None,
    };
    let hhmm = i64::from(digits(offset, 4, 4)?);
    let (hours, minutes) = (hhmm / 100, hhmm % 100);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_archives_are_read() {
        for (text, unix) in [
            ("Sat, 09 Aug 2025 11:02:33 UTC", 1_754_737_353),
            ("Sat,  9 Aug 2025 11:02:33 GMT", 1_754_737_353),
            ("09 Aug 2025 11:02:33 Z", 1_754_737_353),
            ("Sat, 09 Aug 2025 13:02:33 +0200", 1_754_737_353),
            ("Sat, 09 Aug 2025 06:32:33 -0430", 1_754_737_353),
            ("Sat, 09 Aug 2025 8:02:33 -0300", 1_754_737_353),
            ("Thu, 01 Jan 1970 00:00:00 +0000", 0),
            ("Thu, 29 Feb 2024 00:00:00 UTC", 1_709_164_800),
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_unix(unix)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for bad in [
            "",
            "yesterday",
            "Sat, 09 Aug 2025 11:02:33",
            "Sat, 09 Aug 2025 11:02 UTC",
            "Sat, 09 Aug 2025 11:02:33:00 UTC",
            "Sat, 09 Aug 2025 11:02:33 UTC UTC",
            "Sat, 31 Feb 2025 11:02:33 UTC",
            "Sat, 09 Aug 2025 25:02:33 UTC",
            "Sat, 09 Aug 25 11:02:33 UTC",
            "Sat, 09 Aug 2025 11:02:33 CEST",
            "Sat, 09 Aug 2025 11:02:33 +2500",
            "Sat, 09 Aug 2025 11:02:33 +é00",
            "Sat, +9 Aug 2025 11:02:33 UTC",
            "2025-08-09T11:02:33Z",
            "1, 2, 3",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

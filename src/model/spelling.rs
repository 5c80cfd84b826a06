//! Points in time as names of directories: `20260301T000000Z`.
//!
//! Owns the spellings by which clients ask for the tree of a time. They are plain path parts, in UTC, and strict: of all
//! the ways to write a time, few are accepted, so that caches between see few names of one tree.

use jiff::civil;
use jiff::tz::TimeZone;

use super::Timestamp;

/// The accepted shapes, `0` standing for any digit. The first is the canonical one: it is what APT's own snapshot ids
/// look like.
const SHAPES: [&str; 3] = ["00000000T000000Z", "0000-00-00", "0000-00-00T00:00:00Z"];

/// How many digits stand for year, month, day, hour, minute and second.
const FIELDS: [usize; 6] = [4, 2, 2, 2, 2, 2];

impl Timestamp {
    /// The time that `text` spells: `20260301T000000Z`, the same as `2026-03-01T00:00:00Z`, or `2026-03-01`, which is the
    /// first moment of that day. `None` for any other spelling, and for what no calendar or clock has.
    #[must_use]
    pub fn from_spelling(text: &str) -> Option<Self> {
        SHAPES.iter().any(|shape| has_shape(text, shape)).then_some(())?;
        let digits: Vec<i16> = text
            .bytes()
            .filter(u8::is_ascii_digit)
            .map(|c| i16::from(c - b'0'))
            .collect();
        let mut rest = &digits[..];
        let [year, month, day, hour, minute, second] = FIELDS.map(|length| {
            // A date alone has no digits left for the time, which is then midnight.
            let (field, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            field.iter().fold(0, |number, digit| number * 10 + digit)
        });
        let small = |field: i16| i8::try_from(field).ok();
        let date = civil::Date::new(year, small(month)?, small(day)?).ok()?;
        let time = civil::Time::new(small(hour)?, small(minute)?, small(second)?, 0).ok()?;
        let moment = TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()?;
        Some(Self::from_unix(moment.as_second()))
    }
}

fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(c, expected): (u8, u8)| match expected {
        b'0' => c.is_ascii_digit(),
        fixed => c == fixed,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_spellings() {
        let march = 1_772_323_200;
        for (text, seconds) in [
            ("20260301T000000Z", march),
            ("2026-03-01", march),
            ("2026-03-01T00:00:00Z", march),
            ("20260301T235959Z", march + 86_399),
            ("2026-03-01T23:59:59Z", march + 86_399),
            ("20240229T120000Z", 1_709_208_000),
            ("2000-02-29", 951_782_400),
            ("19700101T000000Z", 0),
            ("1969-12-31", -86_400),
            ("0001-01-01", -62_135_596_800),
            ("9999-12-30T00:00:00Z", 253_402_128_000),
        ] {
            assert_eq!(
                Timestamp::from_spelling(text),
                Some(Timestamp::from_unix(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_else_is_a_time() {
        for text in [
            "",
            "20260301",
            "2026",
            "2026-03",
            "20260301T0000Z",
            "20260301T000000",
            "20260301t000000z",
            "20260301T000000Z ",
            " 20260301T000000Z",
            "20260301T000000+0000",
            "20260301T00:00:00Z",
            "2026-03-01T000000Z",
            "2026-03-01 00:00:00Z",
            "2026-03-01T00:00:00",
            "2026-03-01T00:00:00.0Z",
            "2026-03-01T00:00:00+00:00",
            "2026-3-1",
            "2026/03/01",
            "+026-03-01",
            "-026-03-01",
            "2026-02-29",
            "1900-02-29",
            "2026-04-31",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "20260301T240000Z",
            "20260301T006000Z",
            "20260301T000060Z",
            "20261231T235960Z",
            "２０２６-03-01",
            "latest",
            ".",
            "..",
        ] {
            assert_eq!(Timestamp::from_spelling(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_displayed_is_read(seconds in -62_135_596_800_i64..253_402_128_000) {
            let time = Timestamp::from_unix(seconds);
            let shown = time.to_string();
            proptest::prop_assert_eq!(Timestamp::from_spelling(&shown), Some(time), "{}", &shown);
            let canonical = shown.replace(['-', ':'], "");
            proptest::prop_assert_eq!(Timestamp::from_spelling(&canonical), Some(time), "{}", &canonical);
            let day = Timestamp::from_unix(seconds - seconds.rem_euclid(86_400));
            proptest::prop_assert_eq!(Timestamp::from_spelling(&shown[..10]), Some(day), "{}", &shown);
        }

        #[test]
        fn no_text_makes_it_fail(text in "[0-9TZ:-]{0,21}", any in ".*") {
            for text in [text, any] {
                if let Some(time) = Timestamp::from_spelling(&text) {
                    let digits = |text: &str| text.replace(|c: char| !c.is_ascii_digit(), "");
                    proptest::prop_assert!(digits(&time.to_string()).starts_with(&digits(&text)), "{}", text);
                }
            }
        }
    }
}

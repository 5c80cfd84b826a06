//! How generated snapshot names are made from the time of a sync: Go's reference-time layouts, in UTC.
//!
//! Owns [`NameFormat`] and the table of layout elements. It never asks a clock. The elements are those of Go's
//! package `time`: a layout shows what Monday, 2 January 2006, 15:04:05 would look like, and everything that is no
//! part of that time stands for itself.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::model::{NameError, SnapshotName, Timestamp};

/// A layout that makes a snapshot name of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFormat {
    layout: String,
    pieces: Vec<Piece>,
}

/// A layout that does not make snapshot names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameFormatError {
    /// The name it makes of some time breaks the rule of snapshot names.
    #[error("makes names such as {example:?}, but {reason}")]
    Name {
        /// The name made of a sample time.
        example: String,
        /// The rule it breaks.
        reason: NameError,
    },
    /// The time is outside of the years a calendar has.
    #[error("cannot name a time outside of the years -9999 to 9999")]
    Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Element(Element),
}

/// One element of a layout, named after what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    LongYear,
    Year,
    LongMonth,
    Month,
    NumberMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    UpperHalf,
    LowerHalf,
    /// A time zone, whose text is constant because the zone is always UTC.
    Zone(&'static str),
}

/// The elements and their spellings. Of two that begin alike, the longer stands first.
const ELEMENTS: [(&str, Element); 33] = [
    ("January", Element::LongMonth),
    ("Jan", Element::Month),
    ("Monday", Element::LongWeekday),
    ("Mon", Element::Weekday),
    ("MST", Element::Zone("UTC")),
    ("002", Element::ZeroYearDay),
    ("01", Element::ZeroMonth),
    ("02", Element::ZeroDay),
    ("03", Element::ZeroHour12),
    ("04", Element::ZeroMinute),
    ("05", Element::ZeroSecond),
    ("06", Element::Year),
    ("15", Element::Hour),
    ("1", Element::NumberMonth),
    ("2006", Element::LongYear),
    ("2", Element::Day),
    ("__2", Element::UnderYearDay),
    ("_2", Element::UnderDay),
    ("3", Element::Hour12),
    ("4", Element::Minute),
    ("5", Element::Second),
    ("PM", Element::UpperHalf),
    ("pm", Element::LowerHalf),
    ("-07:00:00", Element::Zone("+00:00:00")),
    ("-070000", Element::Zone("+000000")),
    ("-07:00", Element::Zone("+00:00")),
    ("-0700", Element::Zone("+0000")),
    ("-07", Element::Zone("+00")),
    ("Z07:00:00", Element::Zone("Z")),
    ("Z070000", Element::Zone("Z")),
    ("Z07:00", Element::Zone("Z")),
    ("Z0700", Element::Zone("Z")),
    ("Z07", Element::Zone("Z")),
];

/// Times with one-digit and with two-digit parts, and with the longest names of weekday and month, of all months and
/// of those whose number has two digits: if their names are good, so are all. 2006-01-02T03:04:05Z, and the Wednesdays
/// 2026-09-30T22:58:59Z and 2026-12-30T22:58:59Z.
const SAMPLES: [Timestamp; 3] = [
    Timestamp::from_unix(1_136_171_045),
    Timestamp::from_unix(1_790_809_139),
    Timestamp::from_unix(1_798_671_539),
];

impl NameFormat {
    /// The layout used when none is configured.
    pub const DEFAULT: &str = "2006-01-02T15-04-05Z";

    /// The layout as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.layout
    }

    /// The name of a snapshot that is made at `time`.
    ///
    /// # Errors
    /// [`NameFormatError::Time`] far outside of human history; [`NameFormatError::Name`] never for a format that was
    /// parsed and a year of four digits.
    pub fn name_at(&self, time: Timestamp) -> Result<SnapshotName, NameFormatError> {
        let instant = jiff::Timestamp::from_second(time.unix()).map_err(|_| NameFormatError::Time)?;
        let text = self.render(TimeZone::UTC.to_datetime(instant));
        text.parse()
            .map_err(|reason| NameFormatError::Name { example: text, reason })
    }

    fn render(&self, time: DateTime) -> String {
        let mut text = String::with_capacity(self.layout.len() + 8);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Element(element) => element.render(time, &mut text),
            }
        }
        text
    }
}

impl Default for NameFormat {
    fn default() -> Self {
        Self::DEFAULT.parse().expect("the default layout makes snapshot names")
    }
}

impl FromStr for NameFormat {
    type Err = NameFormatError;

    fn from_str(layout: &str) -> Result<Self, NameFormatError> {
        let format = Self {
            layout: layout.to_owned(),
            pieces: pieces(layout),
        };
        SAMPLES
            .into_iter()
            .try_for_each(|time| format.name_at(time).map(drop))?;
        Ok(format)
    }
}

impl fmt::Display for NameFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.layout)
    }
}

/// Takes a layout apart, from left to right.
fn pieces(layout: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = layout;
    while let Some(next) = rest.chars().next() {
        if let Some((element, tail)) = split_element(rest) {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Element(element));
            rest = tail;
        } else if let Some((fraction, tail)) = split_fraction(rest) {
            literal.push_str(fraction);
            rest = tail;
        } else {
            literal.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

/// The element that `text` begins with, and what follows it.
fn split_element(text: &str) -> Option<(Element, &str)> {
    // "_2006" is an underscore and a year, not a padded day and "006".
    if text.starts_with("_2006") {
        return None;
    }
    ELEMENTS.iter().find_map(|(spelling, element)| {
        let tail = text.strip_prefix(spelling)?;
        // The short names are elements only where no longer word goes on: "Mon" is one, "Month" is not.
        let short = matches!(element, Element::Month | Element::Weekday);
        let goes_on = tail.starts_with(|c: char| c.is_ascii_lowercase());
        (!(short && goes_on)).then_some((*element, tail))
    })
}

/// The fraction of a second that `text` begins with, as it shows whole seconds, and what follows it: zeros are all
/// shown (`.000`), nines only where they are not zero (`.999` shows nothing). With a digit behind it, it is none.
fn split_fraction(text: &str) -> Option<(&str, &str)> {
    let digits = text.strip_prefix(['.', ','])?;
    let digit = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let tail = digits.trim_start_matches(digit);
    if tail.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let shown = if digit == '0' {
        &text[..text.len() - tail.len()]
    } else {
        ""
    };
    Some((shown, tail))
}

impl Element {
    fn render(self, time: DateTime, text: &mut String) {
        let hour12 = match time.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let half = if time.hour() < 12 { "am" } else { "pm" };
        let written = match self {
            Self::LongYear => write!(text, "{:04}", time.year()),
            Self::Year => write!(text, "{:02}", time.year().rem_euclid(100)),
            Self::LongMonth => write!(text, "{}", time.strftime("%B")),
            Self::Month => write!(text, "{}", time.strftime("%b")),
            Self::NumberMonth => write!(text, "{}", time.month()),
            Self::ZeroMonth => write!(text, "{:02}", time.month()),
            Self::LongWeekday => write!(text, "{}", time.strftime("%A")),
            Self::Weekday => write!(text, "{}", time.strftime("%a")),
            Self::Day => write!(text, "{}", time.day()),
            Self::UnderDay => write!(text, "{:2}", time.day()),
            Self::ZeroDay => write!(text, "{:02}", time.day()),
            Self::UnderYearDay => write!(text, "{:3}", time.date().day_of_year()),
            Self::ZeroYearDay => write!(text, "{:03}", time.date().day_of_year()),
            Self::Hour => write!(text, "{:02}", time.hour()),
            Self::Hour12 => write!(text, "{hour12}"),
            Self::ZeroHour12 => write!(text, "{hour12:02}"),
            Self::Minute => write!(text, "{}", time.minute()),
            Self::ZeroMinute => write!(text, "{:02}", time.minute()),
            Self::Second => write!(text, "{}", time.second()),
            Self::ZeroSecond => write!(text, "{:02}", time.second()),
            Self::UpperHalf => write!(text, "{}", half.to_uppercase()),
            Self::LowerHalf => text.write_str(half),
            Self::Zone(zone) => text.write_str(zone),
        };
        written.expect("writing to a String does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(layout: &str, time: DateTime) -> String {
        let format = NameFormat {
            layout: layout.to_owned(),
            pieces: pieces(layout),
        };
        format.render(time)
    }

    /// The results are those of Go's `time.Time.Format` in UTC.
    #[test]
    fn every_element_shows_what_go_shows() {
        let early = jiff::civil::date(2009, 2, 4).at(5, 7, 9, 0);
        for (layout, shown) in [
            ("2006-01-02T15-04-05Z", "2009-02-04T05-07-09Z"),
            ("20060102", "20090204"),
            ("06.1.2", "09.2.4"),
            ("Monday, 2 January 2006", "Wednesday, 4 February 2009"),
            ("Mon Jan _2 15:04:05 MST 2006", "Wed Feb  4 05:07:09 UTC 2009"),
            ("Month", "Month"),
            ("Janus", "Janus"),
            ("JanMon", "FebWed"),
            ("3:4:5PM", "5:7:9AM"),
            ("03:04:05pm", "05:07:09am"),
            ("2006-002", "2009-035"),
            ("__2", " 35"),
            ("x_2006", "x_2009"),
            ("15h", "05h"),
            ("-0700 -07:00 -07", "+0000 +00:00 +00"),
            ("-070000 -07:00:00", "+000000 +00:00:00"),
            ("Z0700 Z07:00 Z07 Z070000 Z07:00:00 Z", "Z Z Z Z Z Z"),
            ("05.000", "09.000"),
            ("05,00", "09,00"),
            ("05.999", "09"),
            ("05.0001", "09.0002"),
            ("debian-ü", "debian-ü"),
        ] {
            assert_eq!(rendered(layout, early), shown, "{layout}");
        }
        let late = jiff::civil::date(2025, 12, 31).at(0, 30, 59, 0);
        for (layout, shown) in [
            ("3PM", "12AM"),
            ("03pm", "12am"),
            ("_2", "31"),
            ("__2", "365"),
            ("1", "12"),
        ] {
            assert_eq!(rendered(layout, late), shown, "{layout}");
        }
        assert_eq!(rendered("3PM", late.with().hour(12).build().expect("valid")), "12PM");
        assert_eq!(rendered("3PM", late.with().hour(23).build().expect("valid")), "11PM");
    }

    #[test]
    fn names_are_in_utc() {
        let name = NameFormat::default().name_at(Timestamp::from_unix(1_760_456_730));
        assert_eq!(name.expect("valid").as_str(), "2025-10-14T15-45-30Z");
    }

    #[test]
    fn the_samples_are_what_their_comment_says() {
        let names = SAMPLES.map(|time| NameFormat::default().name_at(time).expect("valid").to_string());
        assert_eq!(
            names,
            ["2006-01-02T03-04-05Z", "2026-09-30T22-58-59Z", "2026-12-30T22-58-59Z"]
        );
    }

    #[test]
    fn a_layout_makes_names_in_every_month() {
        let (fits, too_long) = ("1".repeat(64), "1".repeat(65));
        assert!(fits.parse::<NameFormat>().is_ok());
        // Good until October.
        assert!(too_long.parse::<NameFormat>().is_err());
    }

    #[test]
    fn a_layout_must_make_snapshot_names() {
        for good in ["2006-01-02T15-04-05Z", "Monday-2-January", "daily", "20060102.150405"] {
            assert!(good.parse::<NameFormat>().is_ok(), "{good}");
        }
        for (bad, example) in [
            ("", ""),
            ("2006-01-02 15:04", "2006-01-02 03:04"),
            ("2006/01", "2006/01"),
            ("a_2", "a 2"),
            ("-2006", "-2006"),
            ("current", "current"),
            ("x-07:00", "x+00:00"),
        ] {
            let error = bad.parse::<NameFormat>().expect_err(bad);
            assert!(
                matches!(&error, NameFormatError::Name { example: e, .. } if e == example),
                "{bad}: {error}"
            );
        }
        assert!(matches!(
            NameFormat::default().name_at(Timestamp::from_unix(i64::MAX)),
            Err(NameFormatError::Time)
        ));
    }
}

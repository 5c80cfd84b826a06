//! Lengths of time as operators write them: `30d`, `2w`, `168h`, and Go durations such as `2h30m`.
//!
//! Owns their grammar, for the configuration and for flags. Knows no calendar: a day is 24 hours.

use std::time::Duration;

/// Text that is not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The grammar is broken.
    #[error("not a duration such as \"30d\", \"2w\", \"168h\" or \"2h30m\"")]
    Syntax,
    /// A number stands without its unit.
    #[error("a duration needs a unit (w, d, h, m, s), as in \"30d\"")]
    Unit,
    /// The length is below zero.
    #[error("a duration cannot be negative")]
    Negative,
    /// The length does not fit.
    #[error("a duration cannot exceed 292 years")]
    TooLong,
}

/// The units, in nanoseconds. The longer spelling of two with one beginning stands first.
const UNITS: [(&str, u64); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
    ("w", 7 * 86_400 * 1_000_000_000),
];

/// The longest length, in nanoseconds: that of Go's durations, about 292 years.
const LONGEST: u64 = i64::MAX.unsigned_abs();

/// Reads a length of time: numbers with units, added up (`1d12h`, `1.5h`), or a plain `0`.
///
/// # Errors
/// The part of the grammar that is broken, or [`DurationError::TooLong`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    if text.is_empty() {
        return Err(DurationError::Syntax);
    }
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let (nanoseconds, tail) = parse_part(rest)?;
        total = total.checked_add(nanoseconds).ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    (total <= LONGEST)
        .then(|| Duration::from_nanos(total))
        .ok_or(DurationError::TooLong)
}

/// One number with its unit, in nanoseconds, and what follows it.
fn parse_part(text: &str) -> Result<(u64, &str), DurationError> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Syntax);
    }
    if rest.is_empty() {
        return Err(DurationError::Unit);
    }
    let (unit, rest) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((*unit, rest.strip_prefix(name)?)))
        .ok_or(DurationError::Syntax)?;
    let nanoseconds = scaled(whole, unit)?
        .checked_add(scaled_fraction(fraction, unit))
        .ok_or(DurationError::TooLong)?;
    Ok((nanoseconds, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn scaled(digits: &str, unit: u64) -> Result<u64, DurationError> {
    if digits.is_empty() {
        return Ok(0);
    }
    let number: u64 = digits.parse().map_err(|_| DurationError::TooLong)?;
    number.checked_mul(unit).ok_or(DurationError::TooLong)
}

/// The digits after the point as a part of `unit`; what is below a nanosecond is dropped.
fn scaled_fraction(digits: &str, unit: u64) -> u64 {
    let (mut sum, mut place) = (0, unit);
    for digit in digits.bytes() {
        place /= 10;
        sum += place * u64::from(digit - b'0');
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_understood() {
        const HOUR: u64 = 3_600;
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("30d", 30 * 24 * HOUR),
            ("2w", 14 * 24 * HOUR),
            ("168h", 168 * HOUR),
            ("2h30m", 2 * HOUR + 1_800),
            ("1.5h", HOUR + 1_800),
            (".5m", 30),
            ("1d12h", 36 * HOUR),
            ("1h0m1s", HOUR + 1),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("3us2ns"), Ok(Duration::from_nanos(3_002)));
        assert_eq!(parse_duration("3µs"), Ok(Duration::from_micros(3)));
    }

    #[test]
    fn anything_else_is_refused() {
        use DurationError as E;
        for (text, why) in [
            ("", E::Syntax),
            ("d", E::Syntax),
            (".", E::Syntax),
            (".h", E::Syntax),
            ("1y", E::Syntax),
            ("1 d", E::Syntax),
            (" 1d", E::Syntax),
            ("1d ", E::Syntax),
            ("+1d", E::Syntax),
            ("1D", E::Syntax),
            ("30", E::Unit),
            ("1h30", E::Unit),
            ("-1h", E::Negative),
            ("293y", E::Syntax),
            ("106752d", E::TooLong),
            ("99999999999999999999d", E::TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(why), "{text:?}");
        }
        assert!(parse_duration("106751d").is_ok());
    }
}

//! A part of the cache, for work that is spread over several runs.
//!
//! Owns the division of all digests into units of the same size, and [`Part`], so many of them one after the other. Digests
//! are random, so parts of the same size have about the same work.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::Digest;

/// Number of units: the values of the first twelve bits of a digest. A unit of a large cache (a million files) has 250
/// files, which are read in less than a second, and a table of all of them is small.
pub const UNITS: u16 = 4096;

/// The unit that a digest belongs to.
#[must_use]
pub fn unit_of(digest: Digest) -> u16 {
    let [first, second, ..] = *digest.as_bytes();
    u16::from(first) << 4 | u16::from(second) >> 4
}

/// The part `nth` of `of`, such as 3/30. All parts of one number together are everything, and no two have anything in
/// common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    nth: u16,
    of: u16,
}

/// Text that is no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a part such as 3/30: two numbers, the first from 1 to the second, which is {UNITS} at most")]
pub struct PartError;

impl Part {
    /// Everything.
    pub const WHOLE: Self = Self { nth: 1, of: 1 };

    /// The number of the part, from 1.
    #[must_use]
    pub fn nth(self) -> u16 {
        self.nth
    }

    /// Of how many.
    #[must_use]
    pub fn of(self) -> u16 {
        self.of
    }

    /// Its units.
    #[must_use]
    pub fn units(self) -> Range<u16> {
        let before = |parts: u16| {
            let units = u32::from(parts) * u32::from(UNITS) / u32::from(self.of);
            u16::try_from(units).expect("at most all units")
        };
        before(self.nth - 1)..before(self.nth)
    }
}

impl FromStr for Part {
    type Err = PartError;

    fn from_str(text: &str) -> Result<Self, PartError> {
        let (nth, of) = text.split_once('/').ok_or(PartError)?;
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or(PartError)
        };
        let (nth, of) = (number(nth)?, number(of)?);
        if (1..=of).contains(&nth) && of <= UNITS {
            Ok(Self { nth, of })
        } else {
            Err(PartError)
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.nth, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_together_are_everything_once() {
        for of in [1, 2, 3, 7, 30, 365, UNITS] {
            let mut next = 0;
            for nth in 1..=of {
                let part: Part = format!("{nth}/{of}").parse().expect("a part");
                assert_eq!(part.to_string(), format!("{nth}/{of}"));
                let units = part.units();
                assert_eq!(units.start, next, "{part}");
                assert!(!units.is_empty(), "{part}");
                next = units.end;
            }
            assert_eq!(next, UNITS);
        }
        assert_eq!(Part::WHOLE.units(), 0..UNITS);
    }

    #[test]
    fn every_digest_has_a_unit() {
        let digest = |text: &str| text.repeat(64 / text.len()).parse().expect("a digest");
        assert_eq!(unit_of(digest("0")), 0);
        assert_eq!(unit_of(digest("f")), UNITS - 1);
        assert_eq!(unit_of(digest("abcd")), 0xabc);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", "1", "/", "0/3", "4/3", "1/0", "1/4097", "+1/3", "1/3/3", "a/b", " 1/3",
        ] {
            assert_eq!(text.parse::<Part>(), Err(PartError), "{text:?}");
        }
    }
}

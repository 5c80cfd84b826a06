//! Sizes as operators write them: `500GiB`, `2TB`, `1048576`.
//!
//! Owns the grammar: a whole number and a unit, by powers of 1024 (`KiB`, `MiB`, `GiB`, `TiB`) or of 1000 (`kB`, `MB`,
//! `GB`, `TB`); without a unit, bytes.

/// Units and how many bytes each has.
const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// Text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a size such as 500GiB or 2TB, greater than 0")]
pub struct SizeError;

/// The number of bytes that `text` stands for; greater than 0.
///
/// # Errors
/// [`SizeError`].
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
        .ok_or(SizeError)?;
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes));
    size.filter(|size| *size > 0).ok_or(SizeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_units() {
        for (text, bytes) in [
            ("1", 1),
            ("7B", 7),
            ("3 GiB", 3 << 30),
            ("2TB", 2_000_000_000_000),
            ("5kB", 5_000),
            ("5KB", 5_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "GiB",
            "0",
            "0GiB",
            "-1",
            "1.5GiB",
            "1gib",
            "1G",
            "99999999TiB",
            "1 GiB x",
            "٣",
        ] {
            assert_eq!(parse_size(text), Err(SizeError), "{text}");
        }
    }
}

//! Checksums and sizes as archives write them.
//!
//! Owns the strict reading of both, and which hash a file is checked against. MD5 and SHA-1 are read because `by-hash` names are made of them; nothing is ever
//! verified with them.

use crate::model::{Checksum, HashType, IndexHash, Sha512};

/// The hash of type `kind` that `text` spells, in lower case; upper case is accepted because some archives write
/// it. `None` for any other length or digit.
pub(super) fn hash(kind: HashType, text: &str) -> Option<IndexHash> {
    let fits = text.len() == kind.hex_length() && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    fits.then(|| IndexHash {
        kind,
        hex: text.to_ascii_lowercase().into(),
    })
}

/// What a file with these hashes is checked against; `None` when there is none that is trusted.
pub(super) fn trusted(hashes: &[IndexHash]) -> Option<Checksum> {
    let of = |kind| hashes.iter().find(|hash| hash.kind == kind).map(|hash| &*hash.hex);
    let sha256 = of(HashType::Sha256).and_then(|hex| hex.parse().ok().map(Checksum::Sha256));
    sha256.or_else(|| of(HashType::Sha512).and_then(Sha512::from_hex).map(Checksum::Sha512))
}

/// The size in bytes that `text` spells: decimal digits only (no sign, exponent or prefix), below 2^63, which is more
/// than a file can have.
pub(super) fn size(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let size = text.iter().try_fold(0_i64, |size, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        size.checked_mul(10)?.checked_add(digit)
    });
    size.map(i64::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_and_nothing_else() {
        for (text, value) in [
            ("0", 0),
            ("00042", 42),
            ("9223372036854775807", i64::MAX.cast_unsigned()),
        ] {
            assert_eq!(size(text.as_bytes()), Some(value), "{text}");
        }
        for bad in [
            "",
            "-1",
            "+5",
            "1e9",
            "0x10",
            "1 ",
            "1_000",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999",
        ] {
            assert_eq!(size(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn sha256_is_preferred_and_nothing_weaker_is_trusted() {
        let of = |kinds: &[HashType]| {
            let hashes: Vec<_> = kinds
                .iter()
                .map(|kind| hash(*kind, &"0".repeat(kind.hex_length())).expect("right length"))
                .collect();
            trusted(&hashes)
        };
        assert!(matches!(of(&HashType::ALL), Some(Checksum::Sha256(_))));
        assert!(matches!(
            of(&[HashType::Sha1, HashType::Sha512]),
            Some(Checksum::Sha512(_))
        ));
        assert_eq!(of(&[HashType::Md5Sum, HashType::Sha1]), None);
    }

    #[test]
    fn hashes_have_the_digits_of_their_type() {
        for kind in HashType::ALL {
            let digits = "Ab".repeat(kind.hex_length() / 2);
            let hash = hash(kind, &digits).expect("right length");
            assert_eq!((hash.kind, &*hash.hex), (kind, digits.to_lowercase().as_str()));
            assert_eq!(super::hash(kind, &digits[2..]), None);
            assert_eq!(super::hash(kind, &digits.replace('b', "g")), None);
        }
    }
}

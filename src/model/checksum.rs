//! The hashes that a file's bytes may be checked against.
//!
//! Owns [`Sha512`], for archives that list nothing else, [`Checksum`], which is what a list of files says of one of
//! them, and [`ContentHasher`], which computes in one pass what both need. MD5 and SHA-1 have no place here: nothing is
//! verified with them. Blobs are named by SHA-256 alone.

use std::fmt;

use sha2::Digest as _;

use super::{Digest, Hasher};

/// A SHA-512 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha512([u8; Sha512::LENGTH]);

impl Sha512 {
    /// Length in bytes.
    pub const LENGTH: usize = 64;

    /// The hash that `text` spells in hexadecimal digits, in whatever case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != Self::LENGTH * 2 {
            return None;
        }
        let mut bytes = [0; Self::LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(nibble(pair[0])? << 4 | nibble(pair[1])?).ok()?;
        }
        Some(Self(bytes))
    }

    /// The hash with these bytes; `None` unless there are 64.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl fmt::Display for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha512({self})")
    }
}

/// What the bytes of a listed file are checked against: the one hash that the list has and we trust. Where it has both,
/// that is SHA-256, because blobs are named by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checksum {
    /// A SHA-256 hash, which tells the blob, too.
    Sha256(Digest),
    /// A SHA-512 hash. Which blob it is shows when the bytes are there.
    Sha512(Sha512),
}

impl Checksum {
    /// The digest of the bytes, where it can be told without them.
    #[must_use]
    pub fn digest(self) -> Option<Digest> {
        match self {
            Self::Sha256(digest) => Some(digest),
            Self::Sha512(_) => None,
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(f, "SHA-256 {digest}"),
            Self::Sha512(hash) => write!(f, "SHA-512 {hash}"),
        }
    }
}

/// The hashes of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHashes {
    /// Their digest.
    pub digest: Digest,
    /// Their SHA-512 hash, if it was asked for.
    pub sha512: Option<Sha512>,
}

impl ContentHashes {
    /// Whether the bytes are those that `checksum` is of. A hash that was not computed matches nothing.
    #[must_use]
    pub fn fit(&self, checksum: Checksum) -> bool {
        match checksum {
            Checksum::Sha256(digest) => self.digest == digest,
            Checksum::Sha512(hash) => self.sha512 == Some(hash),
        }
    }
}

/// Computes [`ContentHashes`] from bytes that arrive in pieces.
#[derive(Clone)]
pub struct ContentHasher {
    sha256: Hasher,
    sha512: Option<sha2::Sha512>,
}

impl ContentHasher {
    /// A hasher that computes what comparing with `checksum` needs; without one, the digest alone.
    #[must_use]
    pub fn comparing_with(checksum: Option<Checksum>) -> Self {
        Self {
            sha256: Hasher::new(),
            sha512: matches!(checksum, Some(Checksum::Sha512(_))).then(sha2::Sha512::new),
        }
    }

    /// A hasher that computes every hash.
    #[must_use]
    pub fn of_everything() -> Self {
        Self {
            sha256: Hasher::new(),
            sha512: Some(sha2::Sha512::new()),
        }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// The hashes of everything taken in.
    #[must_use]
    pub fn finish(self) -> ContentHashes {
        ContentHashes {
            digest: self.sha256.finish(),
            sha512: self.sha512.map(|hasher| Sha512(hasher.finalize().into())),
        }
    }
}

impl fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of no bytes, from FIPS 180-4's example values.
    const EMPTY: &str = "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
                         47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";

    #[test]
    fn text_and_value_agree() {
        let hash = Sha512::from_hex(EMPTY).expect("valid");
        assert_eq!(hash.to_string(), EMPTY);
        assert_eq!(Sha512::from_hex(&EMPTY.to_uppercase()), Some(hash));
        assert_eq!(Sha512::from_bytes(hash.as_bytes()), Some(hash));
        for bad in ["", &EMPTY[1..], &EMPTY.replace('c', "g"), &EMPTY.replace("cf", "é")] {
            assert_eq!(Sha512::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_was_not_computed_fits_nothing() {
        let sha512 = Checksum::Sha512(Sha512::from_hex(EMPTY).expect("valid"));
        let sha256 = Checksum::Sha256(Digest::of(b""));
        let hashes = |hasher: ContentHasher| hasher.finish();
        assert!(hashes(ContentHasher::comparing_with(Some(sha512))).fit(sha512));
        assert!(hashes(ContentHasher::of_everything()).fit(sha512));
        assert!(!hashes(ContentHasher::comparing_with(Some(sha256))).fit(sha512));
        assert!(!hashes(ContentHasher::comparing_with(None)).fit(sha512));
        assert!(hashes(ContentHasher::comparing_with(None)).fit(sha256));
        let mut other = ContentHasher::of_everything();
        other.update(b"x");
        let other = hashes(other);
        assert!(!other.fit(sha256) && !other.fit(sha512));
    }
}

//! SHA-256 digests, the identity of every blob.
//!
//! Owns [`Digest`], its hexadecimal text and the incremental [`Hasher`].

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// The SHA-256 digest of some bytes: the name of a blob in the cache.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Digest::LENGTH]);

/// Text or bytes that are not a SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// A SHA-256 digest has 64 hexadecimal digits (32 bytes).
    #[error("a SHA-256 digest has 64 hexadecimal digits, not {0}")]
    Length(usize),
    /// Something other than `0-9`, `a-f`, `A-F` occurs.
    #[error("a SHA-256 digest consists of hexadecimal digits only")]
    NotHexadecimal,
}

impl Digest {
    /// Length of a digest in bytes.
    pub const LENGTH: usize = 32;

    /// Digest of `bytes`, in one step.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The 32 raw bytes, as the catalog stores them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// A digest from its 32 raw bytes.
    ///
    /// # Errors
    /// [`DigestError::Length`] when there are not exactly 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DigestError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| DigestError::Length(bytes.len() * 2))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    /// Reads 64 hexadecimal digits; upper case is accepted because some archives write it.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.as_bytes();
        if digits.len() != Self::LENGTH * 2 {
            return Err(DigestError::Length(digits.len()));
        }
        let mut bytes = [0; Self::LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(DigestError::NotHexadecimal),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::LENGTH * 2];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Computes a [`Digest`] from bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A hasher that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_and_value_agree() {
        let digest: Digest = EMPTY.parse().expect("valid digest");
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(EMPTY.to_uppercase().parse(), Ok(digest));
        assert_eq!(Digest::from_bytes(digest.as_bytes()), Ok(digest));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!("".parse::<Digest>(), Err(DigestError::Length(0)));
        assert_eq!(EMPTY[1..].parse::<Digest>(), Err(DigestError::Length(63)));
        assert_eq!(
            EMPTY.replace('e', "g").parse::<Digest>(),
            Err(DigestError::NotHexadecimal)
        );
        assert_eq!(Digest::from_bytes(&[0; 31]), Err(DigestError::Length(62)));
    }
}

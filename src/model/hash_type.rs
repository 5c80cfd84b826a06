//! The hash types a Release file can list, and the `by-hash` directory name of each.
//!
//! Owns the enumeration and a small set of it. Says nothing of trust: which types may *verify* anything is decided
//! where files are verified (only SHA-256 is).

use std::fmt;

/// A hash type of the Debian repository format, as named by the fields of a Release file and by the directories
/// below `by-hash/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashType {
    /// Field and directory `MD5Sum`.
    Md5Sum,
    /// Field and directory `SHA1`.
    Sha1,
    /// Field and directory `SHA256`.
    Sha256,
    /// Field and directory `SHA512`.
    Sha512,
}

impl HashType {
    /// Every type, weakest first.
    pub const ALL: [Self; 4] = [Self::Md5Sum, Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name that the Release field and the `by-hash` directory share.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5Sum => "MD5Sum",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// The type whose name is exactly `name`.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// Number of hexadecimal digits of a hash of this type.
    #[must_use]
    pub const fn hex_length(self) -> usize {
        match self {
            Self::Md5Sum => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Md5Sum => 1,
            Self::Sha1 => 2,
            Self::Sha256 => 4,
            Self::Sha512 => 8,
        }
    }
}

impl fmt::Display for HashType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of hash types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct HashTypes(u8);

impl HashTypes {
    /// The set without members.
    pub const NONE: Self = Self(0);

    /// This set with `kind` added.
    #[must_use]
    pub const fn with(self, kind: HashType) -> Self {
        Self(self.0 | kind.bit())
    }

    /// Whether `kind` is a member.
    #[must_use]
    pub const fn contains(self, kind: HashType) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether the set has no members.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, weakest first.
    pub fn iter(self) -> impl Iterator<Item = HashType> {
        HashType::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }

    /// The set as the number stored in the catalog: bit 0 `MD5Sum`, 1 `SHA1`, 2 `SHA256`, 3 `SHA512`.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set that [`HashTypes::bits`] described; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b1111)
    }
}

impl FromIterator<HashType> for HashTypes {
    fn from_iter<I: IntoIterator<Item = HashType>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let set: HashTypes = [HashType::Sha512, HashType::Md5Sum].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [HashType::Md5Sum, HashType::Sha512]);
        assert_eq!(HashTypes::from_bits(set.bits()), set);
        assert!(!set.contains(HashType::Sha256));
        assert!(HashTypes::NONE.is_empty());
    }

    #[test]
    fn names_are_those_of_the_format() {
        for kind in HashType::ALL {
            assert_eq!(HashType::from_name(kind.name().as_bytes()), Some(kind));
        }
        assert_eq!(HashType::from_name(b"sha256"), None);
    }
}

//! What can be wrong with the file of a blob.
//!
//! Owns [`Fault`] and its words. How a fault is found is for `blobs` and `verify` to say, and what follows from it for
//! others.

use std::fmt;

/// What is wrong with the file of a blob, so that none of its bytes may be shown to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// There is none.
    Missing,
    /// Something else stands in its place: a link, a directory, a fifo.
    NoFile,
    /// It has more or fewer bytes than were recorded.
    Length,
    /// It has other bytes than its digest says.
    Altered,
    /// The disk gives its bytes no more.
    Unreadable,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] = [
        Self::Missing,
        Self::NoFile,
        Self::Length,
        Self::Altered,
        Self::Unreadable,
    ];

    /// The word for it in the catalog and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NoFile => "no-file",
            Self::Length => "length",
            Self::Altered => "altered",
            Self::Unreadable => "unreadable",
        }
    }

    /// The fault with this word.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

impl fmt::Display for Fault {
    /// What is to be said of the file: "… is missing".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "is missing",
            Self::NoFile => "is no regular file any more",
            Self::Length => "has another length than was recorded",
            Self::Altered => "has other bytes than were recorded",
            Self::Unreadable => "cannot be read from the disk",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_faults_agree() {
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Some(fault));
        }
        assert_eq!(Fault::named("Missing"), None);
    }
}

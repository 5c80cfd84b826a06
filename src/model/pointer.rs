//! Pointers: the named doors through which clients enter a mirror.
//!
//! Owns [`Pointer`] and its text. Who points where is the catalog's knowledge.

use std::fmt;
use std::str::FromStr;

/// A pointer of a mirror: a directory of the served tree whose target an operator moves between snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pointer {
    /// `staging`: what test systems read.
    Staging,
    /// `current`: what production reads.
    Current,
}

/// Text that names no pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no pointer; there are \"staging\" and \"current\"")]
pub struct PointerError(pub String);

impl Pointer {
    /// Every pointer, in the order of the workflow.
    pub const ALL: [Self; 2] = [Self::Staging, Self::Current];

    /// The directory's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Current => "current",
        }
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        Self::ALL
            .into_iter()
            .find(|pointer| pointer.name() == text)
            .ok_or_else(|| PointerError(text.to_owned()))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

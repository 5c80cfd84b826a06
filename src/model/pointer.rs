//! Pointers: the named doors through which clients enter a mirror.
//!
//! Owns [`Pointer`] and [`Leads`], and their texts. Who points where is the catalog's knowledge.

use std::fmt;
use std::str::FromStr;

use super::{EnvironmentName, NameError, SnapshotName};

/// A pointer of a mirror: a directory of the served tree whose target an operator moves between snapshots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pointer {
    /// `staging`: what test systems read.
    Staging,
    /// `current`: what production reads.
    Current,
    /// A further environment that the configuration names.
    Environment(EnvironmentName),
}

impl Pointer {
    /// The pointers that every mirror has, in the order of the workflow.
    pub const ALWAYS: [Self; 2] = [Self::Staging, Self::Current];

    /// The directory's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Staging => "staging",
            Self::Current => "current",
            Self::Environment(name) => name.as_str(),
        }
    }
}

impl FromStr for Pointer {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match Self::ALWAYS.into_iter().find(|pointer| pointer.name() == text) {
            Some(pointer) => Ok(pointer),
            None => text.parse().map(Self::Environment),
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a pointer leads, or has to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// To this snapshot.
    To(SnapshotName),
    /// Nowhere: it was never set, or was taken out.
    Nowhere,
}

impl Leads {
    /// What stands for nowhere. No name of a snapshot begins with it.
    pub const NOWHERE: &str = "-";

    /// Where a pointer leads that leads to `snapshot`.
    #[must_use]
    pub fn of(snapshot: Option<SnapshotName>) -> Self {
        snapshot.map_or(Self::Nowhere, Self::To)
    }
}

impl FromStr for Leads {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == Self::NOWHERE {
            return Ok(Self::Nowhere);
        }
        text.parse().map(Self::To)
    }
}

/// As the end of a sentence: "to 2026-03-01", "nowhere".
impl fmt::Display for Leads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(name) => write!(f, "to {name}"),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nowhere_is_no_snapshot() {
        assert_eq!("-".parse(), Ok(Leads::Nowhere));
        "-".parse::<SnapshotName>().expect_err("no name");
        let to = |text: &str| text.parse::<Leads>().map(|leads| leads.to_string());
        assert_eq!(to("nowhere"), Ok("to nowhere".to_owned()), "a name like others");
        for text in ["", "--", "-a", "current"] {
            to(text).expect_err(text);
        }
    }

    #[test]
    fn names_and_pointers_agree() {
        for name in ["staging", "current", "qa", "dev-2"] {
            let pointer: Pointer = name.parse().expect("valid");
            assert_eq!((pointer.name(), pointer.to_string()), (name, name.to_owned()));
        }
        assert_eq!("current".parse(), Ok(Pointer::Current));
        for name in ["snapshots", "at", ".doors", "", "QA", "a/b", "-a"] {
            name.parse::<Pointer>().expect_err(name);
        }
    }
}

//! What operators say of snapshots: tags and notes.
//!
//! Owns one type for each, and its rule. What they mean is the operator's own knowledge.

use std::fmt;
use std::str::FromStr;

/// A word that an operator gave to snapshots, to find them by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

/// Longest tag, in bytes: some of them fit on a line.
const LONGEST_TAG: usize = 64;

/// A text that is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tag starts with a letter or digit and goes on with letters, digits, \".\", \"_\" and \"-\", {LONGEST_TAG} \
     characters at most"
)]
pub struct TagError;

impl Tag {
    /// The word as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let rest = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        match text.as_bytes() {
            [head, tail @ ..] if head.is_ascii_alphanumeric() && tail.len() < LONGEST_TAG && tail.iter().all(rest) => {
                Ok(Self(text.into()))
            }
            _ => Err(TagError),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an operator wrote about a snapshot. Not empty, without blanks around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note(Box<str>);

/// Longest note, in bytes: it is a remark in a list, not a document.
const LONGEST_NOTE: usize = 4096;

/// A text that is no note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// There is nothing in it.
    #[error("a note is not empty")]
    Empty,
    /// It is too long.
    #[error("a note has {LONGEST_NOTE} bytes at most, and this has {0}")]
    TooLong(usize),
}

impl Note {
    /// The note as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        match text.trim() {
            "" => Err(NoteError::Empty),
            long if long.len() > LONGEST_NOTE => Err(NoteError::TooLong(long.len())),
            text => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_plain_words() {
        for good in ["release-12.8", "A", "0", "a_b", &"x".repeat(64)] {
            assert_eq!(good.parse::<Tag>().expect(good).as_str(), good);
        }
        for bad in ["", "-x", ".x", "a b", "a,b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(bad.parse::<Tag>(), Err(TagError), "{bad:?}");
        }
    }

    #[test]
    fn notes_say_something_and_not_too_much() {
        assert_eq!(" a\nb ".parse::<Note>().expect("a note").as_str(), "a\nb");
        for empty in ["", " ", "\n\t"] {
            assert_eq!(empty.parse::<Note>(), Err(NoteError::Empty));
        }
        assert!("ä".repeat(LONGEST_NOTE / 2).parse::<Note>().is_ok());
        let long = "ä".repeat(LONGEST_NOTE / 2 + 1);
        assert_eq!(long.parse::<Note>(), Err(NoteError::TooLong(LONGEST_NOTE + 2)));
    }
}

//! Paths inside an archive.
//!
//! Owns [`RepoPath`], the only path type that may come from upstream, and the rule that keeps it inside the
//! archive root. It never touches a file system.

use std::fmt;
use std::str::FromStr;

/// A path relative to an archive root: normal, printable, and unable to leave the root.
///
/// Components are separated by single `/`; none is empty, `.` or `..`, none is longer than 255 bytes, and the whole
/// is at most 1024 bytes. Control characters, backslashes and bidirectional controls are refused; `%` has no special
/// meaning and is kept as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(Box<str>);

/// Text that is not a [`RepoPath`]. Displays which part of the rule it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RepoPathError {
    /// The path is empty, absolute, or has an empty component.
    #[error("path is empty, absolute, or has an empty component")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("path has a \".\" or \"..\" component")]
    DotComponent,
    /// A component exceeds 255 bytes or the path 1024.
    #[error("path has a component over 255 bytes or is over 1024 bytes")]
    TooLong,
    /// A control character, a backslash or a bidirectional control occurs.
    #[error("path has a control character, a backslash or a text-direction control")]
    BadCharacter,
}

impl RepoPath {
    /// Longest component in bytes: the name limit of Linux file systems.
    pub const LONGEST_COMPONENT: usize = 255;
    /// Longest path in bytes; the longest in Debian's archive is near 200.
    pub const LONGEST: usize = 1024;

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The path without its last component; `None` when it has one component only.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// This path followed by `tail`, which is checked like any path.
    ///
    /// # Errors
    /// The part of the rule that the whole breaks.
    pub fn join(&self, tail: &str) -> Result<Self, RepoPathError> {
        format!("{}/{tail}", self.0).parse()
    }
}

impl FromStr for RepoPath {
    type Err = RepoPathError;

    fn from_str(text: &str) -> Result<Self, RepoPathError> {
        if text.len() > Self::LONGEST {
            return Err(RepoPathError::TooLong);
        }
        if text.chars().any(is_refused) {
            return Err(RepoPathError::BadCharacter);
        }
        text.split('/').try_for_each(|component| match component {
            "" => Err(RepoPathError::EmptyComponent),
            "." | ".." => Err(RepoPathError::DotComponent),
            long if long.len() > Self::LONGEST_COMPONENT => Err(RepoPathError::TooLong),
            _ => Ok(()),
        })?;
        Ok(Self(text.into()))
    }
}

/// Characters that would deceive a reader of a listing or a terminal.
fn is_refused(c: char) -> bool {
    c.is_control()
        || c == '\\'
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for RepoPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        for good in [
            "dists/sid/Release",
            "pool/f/foo_1.0..2-1+b1~x.deb",
            "a/%2e%2e%2f/b",
            "ä/ü",
            "a b",
        ] {
            assert!(good.parse::<RepoPath>().is_ok(), "{good}");
        }
    }

    #[test]
    fn paths_that_leave_or_deceive_are_refused() {
        use RepoPathError as E;
        let long = "x".repeat(256);
        let deep = "abcdefghi/".repeat(103) + "x";
        for (bad, why) in [
            ("", E::EmptyComponent),
            ("/abs", E::EmptyComponent),
            ("a//b", E::EmptyComponent),
            ("a/", E::EmptyComponent),
            ("../../etc/passwd", E::DotComponent),
            ("a/../../b", E::DotComponent),
            ("./a", E::DotComponent),
            ("a\\b", E::BadCharacter),
            ("a\nb", E::BadCharacter),
            ("a\0b", E::BadCharacter),
            ("a\u{7f}b", E::BadCharacter),
            ("a\u{202e}b", E::BadCharacter),
            (&long, E::TooLong),
            (&deep, E::TooLong),
        ] {
            assert_eq!(bad.parse::<RepoPath>(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn parts_are_those_of_the_text() {
        let path: RepoPath = "dists/sid/Release".parse().expect("valid");
        assert_eq!(path.file_name(), "Release");
        assert_eq!(path.parent().expect("has a parent").as_str(), "dists/sid");
        assert_eq!(path.components().count(), 3);
        assert_eq!(path.parent().and_then(|p| p.parent()).and_then(|p| p.parent()), None);
        assert!(path.join("..").is_err());
    }
}

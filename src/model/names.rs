//! Names of mirrors, snapshots, suites, components and architectures.
//!
//! Owns one type per kind of name and the rule of each. A name of one kind cannot be passed for another:
//!
//! ```compile_fail
//! use mirrorctl::model::{MirrorId, SnapshotName};
//! fn stage(_: &MirrorId, _: &SnapshotName) {}
//! let mirror: MirrorId = "debian".parse().unwrap();
//! stage(&mirror, &mirror);
//! ```

use std::fmt;
use std::str::FromStr;

use super::RepoPath;

/// A name that breaks the rule of its kind. Displays the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a mirror id.
    #[error("a mirror id starts with a-z or 0-9 and goes on with a-z, 0-9, \"_\" and \"-\", 128 characters at most")]
    MirrorId,
    /// Not a snapshot name.
    #[error(
        "a snapshot name starts with a letter or digit and goes on with letters, digits, \".\", \"_\" and \"-\", \
         128 characters at most"
    )]
    SnapshotName,
    /// A name the served tree uses itself.
    #[error("{0:?} is a name the served tree uses itself (current, staging, snapshots, at, .doors)")]
    Reserved(String),
    /// Not an environment.
    #[error("an environment starts with a-z or 0-9 and goes on with a-z, 0-9, \"_\" and \"-\", 128 characters at most")]
    Environment,
    /// Not a suite.
    #[error(
        "a suite is a distribution path such as \"bookworm\" or \"bookworm/updates\", or the directory of a flat \
         repository, which ends in \"/\", such as \"./\" or \"stable/\""
    )]
    Suite,
    /// Not a component.
    #[error("a component is a path such as \"main\" or \"main/debian-installer\"")]
    Component,
    /// Not an architecture.
    #[error("an architecture consists of a-z, 0-9 and \"-\", such as \"amd64\"")]
    Architecture,
    /// Not a language.
    #[error("a language is written as in the names of Translation files, such as \"en\", \"pt_BR\" or \"sr@latin\"")]
    Language,
}

/// Names that cannot be given to mirrors or snapshots because the served tree uses them itself.
const RESERVED: [&str; 5] = ["current", "staging", "snapshots", "at", ".doors"];

/// Longest mirror id or snapshot name, in bytes: well below the 255 of file systems, so that suffixes fit.
const LONGEST_NAME: usize = 128;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Ok(Self($check(text)?.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type! {
    /// The id of one configured upstream, as in `[mirrors.ID]` and as the first directory of the served tree.
    MirrorId, check_mirror_id
}
name_type! {
    /// The name of a snapshot, unique within its mirror.
    SnapshotName, check_snapshot_name
}
name_type! {
    /// The name of a further pointer beside `staging` and `current`, such as `qa`.
    EnvironmentName, check_environment
}
name_type! {
    /// A distribution path: the directory below `dists/` that holds a Release file, which may contain `/`. Or the directory
    /// of a flat repository, relative to the archive root: it ends in `/`, and the root itself is `./`.
    Suite, check_suite
}
name_type! {
    /// A component of a suite, such as `main`. May contain `/`.
    Component, check_component
}
name_type! {
    /// A Debian architecture, such as `amd64` or `all`.
    Architecture, check_architecture
}

name_type! {
    /// A language, as the names of Translation files end: `en`, `pt_BR`, `sr@latin`.
    Language, check_language
}

impl Suite {
    /// Whether it is a flat repository: one without `dists/`, components and architectures.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.0.ends_with('/')
    }
}

impl SnapshotName {
    /// This name with `-n` appended, for a generated name that is taken.
    ///
    /// # Errors
    /// [`NameError::SnapshotName`] when the result is too long.
    pub fn with_suffix(&self, n: u32) -> Result<Self, NameError> {
        format!("{self}-{n}").parse()
    }
}

fn check_mirror_id(text: &str) -> Result<&str, NameError> {
    let lower = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    check_shape(text, lower, |c| lower(c) || c == b'_' || c == b'-', NameError::MirrorId)
}

fn check_environment(text: &str) -> Result<&str, NameError> {
    check_mirror_id(text).map_err(|error| match error {
        NameError::MirrorId => NameError::Environment,
        other => other,
    })
}

fn check_snapshot_name(text: &str) -> Result<&str, NameError> {
    let first = |c: u8| c.is_ascii_alphanumeric();
    check_shape(
        text,
        first,
        |c| first(c) || matches!(c, b'.' | b'_' | b'-'),
        NameError::SnapshotName,
    )
}

fn check_shape(
    text: &str,
    first: impl Fn(u8) -> bool,
    rest: impl Fn(u8) -> bool,
    otherwise: NameError,
) -> Result<&str, NameError> {
    if RESERVED.contains(&text) {
        return Err(NameError::Reserved(text.to_owned()));
    }
    match text.as_bytes() {
        [head, tail @ ..] if tail.len() < LONGEST_NAME && first(*head) && tail.iter().all(|c| rest(*c)) => Ok(text),
        _ => Err(otherwise),
    }
}

/// The directory of a flat repository has one spelling, so that no mirror can have it twice.
fn check_suite(text: &str) -> Result<String, NameError> {
    let Some(directory) = text.strip_suffix('/') else {
        return check_path_like(text).map(str::to_owned).ok_or(NameError::Suite);
    };
    match directory.strip_prefix("./").unwrap_or(directory) {
        "" | "." => Ok("./".to_owned()),
        below => match check_path_like(below) {
            Some(below) => Ok(format!("{below}/")),
            None => Err(NameError::Suite),
        },
    }
}

fn check_component(text: &str) -> Result<&str, NameError> {
    check_path_like(text).ok_or(NameError::Component)
}

fn check_path_like(text: &str) -> Option<&str> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b'+' | b'~' | b'/');
    (text.bytes().all(plain) && text.parse::<RepoPath>().is_ok()).then_some(text)
}

fn check_architecture(text: &str) -> Result<&str, NameError> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let fits = !text.is_empty() && !text.starts_with('-') && text.len() <= LONGEST_NAME && text.bytes().all(plain);
    fits.then_some(text).ok_or(NameError::Architecture)
}

fn check_language(text: &str) -> Result<&str, NameError> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'@' | b'.');
    let letter = text.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
    let fits = letter && text.len() <= LONGEST_NAME && text.bytes().all(plain);
    fits.then_some(text).ok_or(NameError::Language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_ids_follow_their_rule() {
        for good in ["debian", "ubuntu-noble", "0ad_x", &"a".repeat(128)] {
            assert!(good.parse::<MirrorId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "Debian",
            "-x",
            "_x",
            "a/b",
            "../x",
            "a b",
            "ä",
            "a\n",
            &"a".repeat(129),
        ] {
            assert_eq!(bad.parse::<MirrorId>(), Err(NameError::MirrorId), "{bad}");
        }
        for reserved in ["current", "staging", "snapshots", "at", ".doors"] {
            assert_eq!(reserved.parse::<MirrorId>(), Err(NameError::Reserved(reserved.into())));
        }
    }

    #[test]
    fn snapshot_names_follow_their_rule() {
        for good in ["2025-10-14T15-45-30Z", "v1.0_rc-2", "A"] {
            assert!(good.parse::<SnapshotName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".x",
            "-x",
            "a/b",
            "a b",
            "e\u{301}",
            "a\0",
            &"a".repeat(129),
        ] {
            assert_eq!(bad.parse::<SnapshotName>(), Err(NameError::SnapshotName), "{bad}");
        }
        assert!(matches!("current".parse::<SnapshotName>(), Err(NameError::Reserved(_))));
    }

    #[test]
    fn suites_components_and_architectures_follow_theirs() {
        assert!("bookworm/updates".parse::<Suite>().is_ok());
        assert!("main/debian-installer".parse::<Component>().is_ok());
        assert!("kfreebsd-amd64".parse::<Architecture>().is_ok());
        for bad in ["", "/x", "a//b", "../x", "a b", "a\u{202e}b"] {
            assert_eq!(bad.parse::<Suite>(), Err(NameError::Suite), "{bad}");
            assert_eq!(bad.parse::<Component>(), Err(NameError::Component), "{bad}");
            assert_eq!(bad.parse::<Architecture>(), Err(NameError::Architecture), "{bad}");
        }
    }

    #[test]
    fn flat_repositories_have_one_spelling() {
        let suite = |text: &str| text.parse::<Suite>();
        for root in ["./", "/", "././"] {
            let root = suite(root).expect("the root");
            assert_eq!((root.as_str(), root.is_flat()), ("./", true));
        }
        assert_eq!(suite("./a/b/").expect("valid").as_str(), "a/b/");
        assert!(suite("stable/").expect("valid").is_flat());
        assert!(!suite("bookworm/updates").expect("valid").is_flat());
        for bad in ["///", "../", "a/../", "/a/", "a//"] {
            assert_eq!(suite(bad), Err(NameError::Suite), "{bad}");
        }
    }

    #[test]
    fn languages_follow_their_rule() {
        for good in ["en", "pt_BR", "sr@latin", "zh-Hans"] {
            assert!(good.parse::<Language>().is_ok(), "{good}");
        }
        for bad in ["", "*", "e n", "../en", "en/x", "@x"] {
            assert_eq!(bad.parse::<Language>(), Err(NameError::Language), "{bad}");
        }
    }

    #[test]
    fn a_taken_name_gets_a_suffix() {
        let name: SnapshotName = "daily".parse().expect("valid");
        assert_eq!(name.with_suffix(2).expect("valid").as_str(), "daily-2");
    }
}

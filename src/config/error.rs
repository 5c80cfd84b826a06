//! What can be wrong with a configuration, and where.
//!
//! Owns [`ConfigError`] with its rendering, and `Notes`, in which the other files of this room collect all errors
//! before any is reported. It never repeats a URL, which may hold a password.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened or read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration {} is larger than 1 MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// What it says, or what the environment says over it, breaks rules.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

/// Everything that is wrong with a configuration, in the order of the file, then of the environment. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration {} has {}", path.display(), counted(errors.len()))]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// The errors.
    pub errors: Vec<ConfigError>,
}

fn counted(errors: usize) -> String {
    match errors {
        1 => "an error".to_owned(),
        n => format!("{n} errors"),
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it stands.
    pub origin: Origin,
    /// The key it is about, dotted, such as `mirrors.debian.url`; `None` for faults of the file's syntax.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ConfigError {
    /// `mirror.toml:12:3: mirrors.debian.suits: unknown key; did you mean "suites"?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Where a value came from, before offsets become lines. Sorts in the order of reporting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// An offset into the file's text, in bytes.
    Byte(usize),
    /// An environment variable.
    Variable(&'static str),
}

/// A value with its key and the place it came from, so that whoever finds fault with it can say where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) key: String,
    pub(super) spot: Spot,
}

impl<T> Located<T> {
    /// Another value from the same place.
    pub(super) fn with<U>(&self, value: U) -> Located<U> {
        Located {
            value,
            key: self.key.clone(),
            spot: self.spot,
        }
    }
}

#[derive(Debug, PartialEq)]
struct Note {
    spot: Spot,
    key: Option<String>,
    message: String,
    hint: Option<String>,
}

/// The errors found so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: Vec<Note>,
    gaps_expected: bool,
}

impl Notes {
    /// Notes that `value` breaks a rule.
    pub(super) fn fault<T>(&mut self, value: &Located<T>, message: impl Into<String>) {
        self.add(value.spot, Some(value.key.clone()), message, None);
    }

    /// As [`Notes::fault`], with what to do about it.
    pub(super) fn fault_with_hint<T>(&mut self, value: &Located<T>, message: impl Into<String>, hint: &str) {
        self.add(value.spot, Some(value.key.clone()), message, Some(hint.to_owned()));
    }

    /// Notes an error at a place.
    pub(super) fn add(&mut self, spot: Spot, key: Option<String>, message: impl Into<String>, hint: Option<String>) {
        let note = Note {
            spot,
            key,
            message: message.into(),
            hint,
        };
        // What several mirrors inherit is judged with each of them.
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// From now on, missing keys are not noted: a table that occurs twice hides the keys of one of the two.
    pub(super) fn expect_gaps(&mut self) {
        self.gaps_expected = true;
    }

    /// Notes that a required key is missing, unless something was noted about it already.
    pub(super) fn missing(&mut self, key: String, spot: Spot) {
        let known = self.notes.iter().any(|note| note.key.as_ref() == Some(&key));
        if !known && !self.gaps_expected {
            self.add(spot, Some(key), "is required", None);
        }
    }

    /// The errors with lines and columns of the file `path`, whose contents are `text`.
    pub(super) fn into_errors(mut self, path: &Path, text: &str) -> ConfigErrors {
        self.notes.sort_by_key(|note| note.spot);
        let errors = self.notes.into_iter().map(|note| ConfigError {
            origin: note.spot.origin(path, text),
            key: note.key,
            message: note.message,
            hint: note.hint,
        });
        ConfigErrors {
            path: path.to_owned(),
            errors: errors.collect(),
        }
    }
}

impl Spot {
    fn origin(self, path: &Path, text: &str) -> Origin {
        match self {
            Self::Variable(name) => Origin::Variable(name),
            Self::Byte(offset) => {
                let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
                let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
                Origin::File {
                    path: path.to_owned(),
                    line: before.matches('\n').count() + 1,
                    column: before[line_start..].chars().count() + 1,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str, offset: usize) -> String {
        Spot::Byte(offset).origin(Path::new("f"), text).to_string()
    }

    #[test]
    fn offsets_become_lines_and_columns() {
        for (text, offset, shown) in [
            ("", 0, "f:1:1"),
            ("abc", 2, "f:1:3"),
            ("a\nb", 1, "f:1:2"),
            ("a\nb", 2, "f:2:1"),
            ("a\r\nbc", 4, "f:2:2"),
            ("ü = x", 5, "f:1:5"),
            ("ü", 1, "f:1:1"),
            ("a\n", 99, "f:2:1"),
        ] {
            assert_eq!(origin(text, offset), shown, "{text:?} {offset}");
        }
    }

    #[test]
    fn errors_are_in_the_order_of_the_file_then_of_the_environment() {
        let mut notes = Notes::default();
        notes.add(Spot::Variable("MIRRORCTL_DIR"), Some("dir".into()), "third", None);
        notes.add(
            Spot::Byte(2),
            Some("log.level".into()),
            "second",
            Some("do this".into()),
        );
        notes.add(Spot::Byte(0), None, "first", None);
        notes.missing("dir".into(), Spot::Byte(0));
        let errors = notes.into_errors(Path::new("m.toml"), "a\nb");
        let shown: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "m.toml:1:1: first",
                "m.toml:2:1: log.level: second; do this",
                "MIRRORCTL_DIR: dir: third"
            ]
        );
        assert_eq!(errors.to_string(), "the configuration m.toml has 3 errors");
    }
}

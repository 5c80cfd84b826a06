//! What can be wrong with a configuration, and where.
//!
//! Owns [`ConfigError`] with its rendering, and `Notes`, in which the other files of this room collect all errors
//! before any is reported. It never repeats a URL, which may hold a password.

use std::collections::{BTreeMap, BTreeSet};
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
    /// In the order of reporting. A wrong file makes many, so that looking through them all each time would take long.
    notes: BTreeMap<Spot, Vec<Note>>,
    /// The keys that they are about.
    keys: BTreeSet<String>,
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
        self.keys.extend(key.clone());
        let note = Note {
            spot,
            key,
            message: message.into(),
            hint,
        };
        let here = self.notes.entry(spot).or_default();
        // What several mirrors inherit is judged with each of them.
        if !here.contains(&note) {
            here.push(note);
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
        if !self.keys.contains(&key) && !self.gaps_expected {
            self.add(spot, Some(key), "is required", None);
        }
    }

    /// The errors with lines and columns of the file `path`, whose contents are `text`.
    pub(super) fn into_errors(self, path: &Path, text: &str) -> ConfigErrors {
        let mut place = Place::start_of(text);
        let errors = self.notes.into_values().flatten().map(|note| ConfigError {
            origin: note.spot.origin(path, &mut place),
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
    /// Where it is in the file `path`, in whose text `place` is not behind it yet.
    fn origin(self, path: &Path, place: &mut Place<'_>) -> Origin {
        match self {
            Self::Variable(name) => Origin::Variable(name),
            Self::Byte(offset) => {
                place.advance(offset);
                Origin::File {
                    path: path.to_owned(),
                    line: place.line,
                    column: place.column,
                }
            }
        }
    }
}

/// A place in a text that only moves on, so that all errors together cost one walk through the file.
#[derive(Debug)]
struct Place<'t> {
    text: &'t str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'t> Place<'t> {
    fn start_of(text: &'t str) -> Self {
        Self {
            text,
            offset: 0,
            line: 1,
            column: 1,
        }
    }

    /// Moves on to the character at the byte `offset`, or to the end.
    fn advance(&mut self, offset: usize) {
        let end = self.text.floor_char_boundary(offset.min(self.text.len()));
        let passed = &self.text[self.offset..end.max(self.offset)];
        match passed.rfind('\n') {
            Some(newline) => {
                self.line += passed.matches('\n').count();
                self.column = passed[newline + 1..].chars().count() + 1;
            }
            None => self.column += passed.chars().count(),
        }
        self.offset += passed.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str, offset: usize) -> String {
        let mut place = Place::start_of(text);
        Spot::Byte(offset).origin(Path::new("f"), &mut place).to_string()
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
    fn one_walk_finds_every_place() {
        let text = "a = ü\n\nbc\r\nd";
        let mut place = Place::start_of(text);
        for offset in (0..text.len()).flat_map(|offset| [offset, offset]) {
            let walked = Spot::Byte(offset).origin(Path::new("f"), &mut place);
            assert_eq!(walked.to_string(), origin(text, offset), "{offset}");
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

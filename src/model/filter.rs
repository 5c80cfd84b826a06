//! Which packages of an archive a mirror keeps: the rules, as an operator states them.
//!
//! Owns [`Filter`] and the values it is made of. What the rules mean for a given set of packages is worked out where
//! packages are read.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};

/// Largest compiled pattern, in bytes: far above any that somebody writes, far below what would hurt.
const LARGEST_PATTERN: usize = 1 << 20;

/// The rules. The default keeps everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Packages whose names match one of these are left out, whatever the other rules say.
    pub exclude: Vec<NamePattern>,
    /// When there are any, only packages whose names match one of these are kept.
    pub include: Vec<NamePattern>,
    /// When there are any, only packages of these sections (of `Section`, such as `libs`) are kept.
    pub sections: Vec<String>,
    /// When there are any, only packages of these priorities are kept.
    pub priorities: Vec<Priority>,
    /// Packages that are kept with everything they depend on, whatever `include`, `sections` and `priorities` say.
    pub packages: Vec<PackageName>,
    /// Follow `Recommends` of `packages` too.
    pub recommends: bool,
    /// Keep essential and required packages as if `packages` named them.
    pub required: bool,
    /// The newest so many versions of each name and architecture are kept; 0 keeps all.
    pub keep_versions: usize,
}

impl Filter {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exclude.is_empty() && !self.restricts() && !self.follows() && self.keep_versions == 0
    }

    /// Whether a package has to be of a certain kind to be kept.
    #[must_use]
    pub fn restricts(&self) -> bool {
        !self.include.is_empty() || !self.sections.is_empty() || !self.priorities.is_empty()
    }

    /// Whether packages are kept because others depend on them.
    #[must_use]
    pub fn follows(&self) -> bool {
        !self.packages.is_empty() || self.required
    }

    /// The rules as a text that is the same for the same rules, and another for others.
    #[must_use]
    pub fn canonical(&self) -> String {
        fn add<T: fmt::Display>(text: &mut String, key: &str, values: &[T]) {
            let mut values: Vec<String> = values.iter().map(ToString::to_string).collect();
            values.sort_unstable();
            for value in values {
                writeln!(text, "{key}\t{value}").expect("a String takes all");
            }
        }
        let mut text = String::new();
        add(&mut text, "exclude", &self.exclude);
        add(&mut text, "include", &self.include);
        add(&mut text, "section", &self.sections);
        add(&mut text, "priority", &self.priorities);
        add(&mut text, "package", &self.packages);
        let (recommends, required, versions) = (self.recommends, self.required, self.keep_versions);
        write!(text, "recommends {recommends} required {required} versions {versions}").expect("a String takes all");
        text
    }
}

/// A regular expression that is searched in the names of packages.
#[derive(Debug, Clone)]
pub struct NamePattern(Regex);

/// A text that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a regular expression ({reason})")]
pub struct PatternError {
    text: String,
    reason: String,
    /// The regular expression that was probably meant.
    meant: Option<String>,
}

impl PatternError {
    /// The regular expression that was probably meant, when the text looks like a shell's pattern.
    #[must_use]
    pub fn meant(&self) -> Option<&str> {
        self.meant.as_deref()
    }
}

impl NamePattern {
    /// The text of the expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is found in `name`.
    #[must_use]
    pub fn is_in(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }

    /// When the expression looks like a shell's pattern (`linux-*`, which as an expression means `linux` and any
    /// number of hyphens): the expression that was probably meant.
    #[must_use]
    pub fn meant(&self) -> Option<String> {
        glob_as_regex(self.as_str())
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        // Names of packages are ASCII, so no tables of other scripts are needed.
        let built = RegexBuilder::new(text)
            .unicode(false)
            .size_limit(LARGEST_PATTERN)
            .build();
        built.map(Self).map_err(|error| PatternError {
            text: text.to_owned(),
            reason: reason(&error),
            meant: glob_as_regex(text),
        })
    }
}

/// The last line of the library's message, which shows the text again before it.
fn reason(error: &regex::Error) -> String {
    let message = error.to_string();
    let last = message.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for NamePattern {}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The expression for what `text` means to a shell, when it looks as if it was written for one: a star that follows
/// nothing, or a letter, digit or hyphen, and nothing else that expressions have and shells do not.
fn glob_as_regex(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '_' | '.' | '*' | '?');
    let starred = |(star, _): (usize, &str)| {
        let before = text[..star].chars().next_back();
        before.is_none_or(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*'))
    };
    if !text.chars().all(plain) || text.contains(".*") || !text.match_indices('*').any(starred) {
        return None;
    }
    let mut regex = String::new();
    for c in text.trim_matches('*').chars() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '.' | '+' => regex.extend(['\\', c]),
            _ => regex.push(c),
        }
    }
    let (start, end) = (text.starts_with('*'), text.ends_with('*'));
    Some(format!(
        "{}{regex}{}",
        if start { "" } else { "^" },
        if end { "" } else { "$" }
    ))
}

/// The name of a binary package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(Box<str>);

/// A text that is no name of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a package's name starts with a letter or digit and goes on with letters, digits, \"+\", \"-\", \".\" and \"_\""
)]
pub struct PackageNameError;

impl PackageName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageName {
    type Err = PackageNameError;

    fn from_str(text: &str) -> Result<Self, PackageNameError> {
        let good = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.' | b'_'));
        if good {
            Ok(Self(text.into()))
        } else {
            Err(PackageNameError)
        }
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How much a system needs a package, by its field `Priority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Nothing works without it.
    Required,
    /// Expected on any system.
    Important,
    /// Part of a reasonable system.
    Standard,
    /// Everything else.
    Optional,
    /// An older word for everything else.
    Extra,
}

/// A word that is no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a priority is required, important, standard, optional or extra")]
pub struct PriorityError;

impl Priority {
    /// Every priority, most needed first.
    pub const ALL: [Self; 5] = [
        Self::Required,
        Self::Important,
        Self::Standard,
        Self::Optional,
        Self::Extra,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Important => "important",
            Self::Standard => "standard",
            Self::Optional => "optional",
            Self::Extra => "extra",
        }
    }
}

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(word: &str) -> Result<Self, PriorityError> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.name() == word)
            .ok_or(PriorityError)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> NamePattern {
        text.parse().expect("an expression")
    }

    #[test]
    fn patterns_are_searched_in_names() {
        assert!(pattern("-dbg$").is_in("libc6-dbg") && !pattern("-dbg$").is_in("libc6-dbgsym"));
        assert!(pattern("dbg").is_in("libc6-dbgsym"));
        assert!(pattern(r"^linux-\d").is_in("linux-6.1") && pattern(r"^g\+\+").is_in("g++-12"));
        assert!(pattern("").is_in("anything"));
    }

    #[test]
    fn what_was_written_for_a_shell_is_told_with_what_was_meant() {
        for (text, meant) in [
            ("linux-*", Some("^linux-")),
            ("lib*-dev", Some("^lib.*-dev$")),
            ("python3.11*", Some(r"^python3\.11")),
            ("g++*", None),
            (".*-dbg$", None),
            ("-dbg$", None),
            ("^a[bc]*$", None),
            ("lib(a|b)*", None),
            ("dbg", None),
        ] {
            assert_eq!(pattern(text).meant().as_deref(), meant, "{text}");
        }
        for (text, meant) in [("*-dbg", "-dbg$"), ("*dbg*", "dbg"), ("*-dev?", "-dev.$"), ("**", "")] {
            let error = text.parse::<NamePattern>().expect_err("no expression");
            assert_eq!(error.meant(), Some(meant), "{text}");
        }
        let error = "a(".parse::<NamePattern>().expect_err("no expression");
        assert_eq!(
            (error.meant(), error.to_string().as_str()),
            (None, "\"a(\" is not a regular expression (unclosed group)")
        );
    }

    #[test]
    fn the_canonical_text_is_that_of_the_rules() {
        let filter = Filter {
            exclude: vec![pattern("b"), pattern("a")],
            keep_versions: 2,
            ..Filter::default()
        };
        let mut other = filter.clone();
        other.exclude.reverse();
        assert_eq!(filter.canonical(), other.canonical());
        other.keep_versions = 1;
        assert_ne!(filter.canonical(), other.canonical());
        let moved = Filter {
            include: filter.exclude.clone(),
            exclude: Vec::new(),
            ..filter.clone()
        };
        assert_ne!(filter.canonical(), moved.canonical());
        assert!(Filter::default().is_empty() && !filter.is_empty());
    }

    #[test]
    fn names_and_priorities_are_checked() {
        assert!("libstdc++6".parse::<PackageName>().is_ok());
        for bad in ["", "-a", "a b", "a/b", "a*"] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
        for priority in Priority::ALL {
            assert_eq!(priority.name().parse(), Ok(priority));
        }
        assert!("Required".parse::<Priority>().is_err());
    }
}

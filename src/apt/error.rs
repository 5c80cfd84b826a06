//! What can be wrong with the text of an archive.
//!
//! Owns [`ParseError`]. Every text of upstream that a message repeats is shortened and escaped, so that it can
//! neither fill a log nor steer a terminal.

use crate::model::{HashType, HashTypes, RepoPath, RepoPathError};

/// Text that is not a Release file or an index. Says which line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text breaks the stanza format that Release files and indices share.
    #[error("line {line}: {fault}")]
    Syntax {
        /// Line number.
        line: u64,
        /// What is wrong with it.
        fault: SyntaxFault,
    },
    /// A field has a value it cannot have.
    #[error("line {line}: field {field} is \"{value}\", which is not {expected}")]
    Value {
        /// Line number.
        line: u64,
        /// Name of the field.
        field: &'static str,
        /// Its value, escaped.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A file name cannot be a path inside an archive.
    #[error("line {line}: the file name \"{path}\" is refused")]
    Path {
        /// Line number.
        line: u64,
        /// The name, escaped.
        path: String,
        /// The rule it breaks.
        source: RepoPathError,
    },
    /// A line of a Release file's checksum section is not "hash size path".
    #[error("line {line}: \"{text}\" is not a {kind} hash, a size and a path")]
    Checksum {
        /// Line number.
        line: u64,
        /// The section.
        kind: HashType,
        /// The line, escaped.
        text: String,
    },
    /// A Release file says two different things of one file.
    #[error("line {line}: {path} is listed twice with different {what}")]
    Conflict {
        /// Line number of the second one.
        line: u64,
        /// The file.
        path: RepoPath,
        /// What differs.
        what: &'static str,
    },
    /// A Release file lists no hashes that are trusted.
    #[error(
        "the Release file has neither a SHA256 nor a SHA512 section (it has {}); weaker hashes are not trusted",
        names(*found)
    )]
    NoTrustedHash {
        /// The sections it has.
        found: HashTypes,
    },
    /// A Release file has more than one stanza.
    #[error("line {line}: a Release file has one stanza, and here a second one starts")]
    SecondStanza {
        /// Line number.
        line: u64,
    },
    /// A line of a list of checksums is not "hash name".
    #[error("line {line}: \"{text}\" is not a SHA-256 hash and a file name")]
    Sum {
        /// Line number.
        line: u64,
        /// The line, escaped.
        text: String,
    },
    /// A source package has a file that no trusted hash is given for.
    #[error(
        "source package \"{package}\" in the stanza that ends at line {line} gives no trusted hash for its file {file}"
    )]
    Unverifiable {
        /// Line number of the stanza's end.
        line: u64,
        /// The package, escaped.
        package: String,
        /// The file, escaped.
        file: String,
    },
    /// A stanza of an index lacks a field that it must have.
    #[error("package \"{package}\" in the stanza that ends at line {line} has no field {field}")]
    MissingField {
        /// Line number of the stanza's end.
        line: u64,
        /// Value of its field `Package`, escaped; empty when that is what it lacks.
        package: String,
        /// The field.
        field: &'static str,
    },
}

/// How text breaks the stanza format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxFault {
    /// A line is too long to be meant.
    #[error("a line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The text has more stanzas than are read.
    #[error("more than {limit} stanzas")]
    TooManyStanzas {
        /// The most that are read.
        limit: u64,
    },
    /// A stanza has too many fields to be meant.
    #[error("a stanza has more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// A stanza has a field twice.
    #[error("the field {0} occurs twice in one stanza")]
    DuplicateField(String),
    /// A stanza starts with a continuation line.
    #[error("a stanza starts with a continuation line")]
    ContinuationFirst,
    /// A line is neither "Name: value", nor a continuation, nor empty.
    #[error("\"{0}\" is not \"Name: value\"")]
    NotAField(String),
}

/// Longest piece of upstream's text that a message repeats, in characters: enough for a path of the pool.
const LONGEST_EXCERPT: usize = 120;

/// `bytes` as they may be shown: escaped, and cut where they get long.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(LONGEST_EXCERPT * 4)];
    let text = String::from_utf8_lossy(head);
    let mut shown: String = text
        .chars()
        .take(LONGEST_EXCERPT)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LONGEST_EXCERPT).is_some() {
        shown.push('…');
    }
    shown
}

fn names(kinds: HashTypes) -> String {
    if kinds.is_empty() {
        return "no section of hashes at all".to_owned();
    }
    kinds.iter().map(HashType::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_harmless_and_short() {
        assert_eq!(excerpt(b"pool/a.deb"), "pool/a.deb");
        assert_eq!(excerpt(b"\x1b[2J\n"), "\\u{1b}[2J\\n");
        assert_eq!(excerpt("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(excerpt(&b"x".repeat(5000)).chars().count(), LONGEST_EXCERPT + 1);
    }

    #[test]
    fn missing_hashes_say_what_there_is() {
        let found = [HashType::Md5Sum, HashType::Sha1].into_iter().collect();
        let text = ParseError::NoTrustedHash { found }.to_string();
        assert!(text.contains("(it has MD5Sum, SHA1)"), "{text}");
    }
}

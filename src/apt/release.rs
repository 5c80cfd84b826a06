//! Release files: what a suite says of itself, and the files it lists.
//!
//! Owns [`Release`], which is made of verified text only. What the dates mean for a sync is decided there.

use std::collections::BTreeMap;
use std::collections::btree_map;

use super::checksum;
use super::date;
use super::deb822::{Scanner, Sink};
use super::error::{ParseError, excerpt};
use crate::model::{
    Architecture, Checksum, Component, HashType, HashTypes, IndexHash, RepoPath, Timestamp, VerifiedText,
};

/// A Release file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// Who publishes the archive.
    pub origin: Option<String>,
    /// What the publisher calls it.
    pub label: Option<String>,
    /// The suite's name by its role, such as `stable`.
    pub suite: Option<String>,
    /// The suite's name for life, such as `bookworm`.
    pub codename: Option<String>,
    /// When the file was made.
    pub date: Option<Timestamp>,
    /// When clients stop believing it.
    pub valid_until: Option<Timestamp>,
    /// Whether indices are offered under their hashes too.
    pub acquire_by_hash: bool,
    /// Whether clients take nothing from it unless they are told to (`NotAutomatic`), as from backports.
    pub not_automatic: bool,
    /// Whether the packages for architecture `all` are in the index of every architecture, so that no client asks for an
    /// index of `all` (`No-Support-for-Architecture-all: Packages`, as Debian says).
    pub all_is_everywhere: bool,
    /// Architectures it names. Empty when it names none, as some archives do; names that no configuration could
    /// ask for are left out.
    pub architectures: Vec<Architecture>,
    /// Components it names, as it writes them (some archives put the suite's path before them). As for
    /// architectures, there may be none.
    pub components: Vec<Component>,
    /// Every file listed with a SHA-256 or SHA-512 hash, by its path relative to the Release file's directory. Files that
    /// only weaker sections list are left out, because nothing could tell whether their bytes are the right ones.
    pub files: BTreeMap<RepoPath, ReleaseFile>,
}

/// What a Release file says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFile {
    /// Length in bytes.
    pub size: u64,
    /// What its bytes are checked against.
    pub checksum: Checksum,
    /// All listed hashes, that one included, sorted by type: its names in `by-hash`.
    pub hashes: Vec<IndexHash>,
}

impl Release {
    /// Reads a Release file.
    ///
    /// # Errors
    /// The first thing that is wrong with it. Files with unusable names, sizes or hashes are never skipped.
    pub fn parse(text: &VerifiedText) -> Result<Self, ParseError> {
        let mut builder = Builder::default();
        let mut scanner = Scanner::default();
        scanner.push(text.text().as_bytes(), &mut builder)?;
        scanner.finish(&mut builder)?;
        builder.finish()
    }
}

/// Reads a file of the form of a Release file's checksum sections that an index of a Release file is: the files it lists
/// with a trusted hash, by their paths relative to its directory. Its own bytes are taken to be verified.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse_file_list(text: &[u8]) -> Result<BTreeMap<RepoPath, ReleaseFile>, ParseError> {
    let mut builder = Builder::default();
    let mut scanner = Scanner::default();
    scanner.push(text, &mut builder)?;
    scanner.finish(&mut builder)?;
    Ok(files(builder.listed))
}

fn files(listed: BTreeMap<RepoPath, Listed>) -> BTreeMap<RepoPath, ReleaseFile> {
    let files = listed.into_iter();
    files.filter_map(|(path, file)| Some((path, file.finish()?))).collect()
}

/// A file of which the sections read so far tell.
#[derive(Debug)]
struct Listed {
    size: u64,
    hashes: Vec<IndexHash>,
}

#[derive(Debug, Default)]
struct Builder {
    release: Release,
    listed: BTreeMap<RepoPath, Listed>,
    /// The checksum section whose lines are being read.
    section: Option<HashType>,
    sections: HashTypes,
    complete: bool,
}

impl Builder {
    fn finish(self) -> Result<Release, ParseError> {
        if ![HashType::Sha256, HashType::Sha512]
            .iter()
            .any(|kind| self.sections.contains(*kind))
        {
            return Err(ParseError::NoTrustedHash { found: self.sections });
        }
        let mut release = self.release;
        release.files = files(self.listed);
        Ok(release)
    }

    fn list(&mut self, line: u64, kind: HashType, text: &str) -> Result<(), ParseError> {
        let refused = || ParseError::Checksum {
            line,
            kind,
            text: excerpt(text.as_bytes()),
        };
        let mut words = text.split_ascii_whitespace();
        let (Some(hash), Some(size), Some(path), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(refused());
        };
        let hash = checksum::hash(kind, hash).ok_or_else(refused)?;
        let size = checksum::size(size.as_bytes()).ok_or_else(refused)?;
        let path: RepoPath = path.parse().map_err(|source| ParseError::Path {
            line,
            path: excerpt(path.as_bytes()),
            source,
        })?;
        match self.listed.entry(path) {
            btree_map::Entry::Vacant(place) => {
                let hashes = vec![hash];
                place.insert(Listed { size, hashes });
            }
            btree_map::Entry::Occupied(mut place) => {
                if let Err(what) = place.get_mut().add(size, hash) {
                    let path = place.key().clone();
                    return Err(ParseError::Conflict { line, path, what });
                }
            }
        }
        Ok(())
    }
}

impl Listed {
    /// Adds what one more line says, or tells what contradicts.
    fn add(&mut self, size: u64, hash: IndexHash) -> Result<(), &'static str> {
        if size != self.size {
            return Err("sizes");
        }
        match self.hashes.iter().find(|known| known.kind == hash.kind) {
            Some(known) if *known != hash => Err("hashes"),
            Some(_) => Ok(()),
            None => {
                self.hashes.push(hash);
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Option<ReleaseFile> {
        self.hashes.sort_unstable();
        let checksum = checksum::trusted(&self.hashes)?;
        Some(ReleaseFile {
            size: self.size,
            checksum,
            hashes: self.hashes,
        })
    }
}

impl Sink for Builder {
    fn field(&mut self, line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        if self.complete {
            return Err(ParseError::SecondStanza { line });
        }
        // Verified text is UTF-8, which no other list needs to be for its hashes and names; and names and values are cut at ASCII characters.
        let value = std::str::from_utf8(value).unwrap_or_default();
        self.section = Field::from_name(name).and_then(Field::section);
        match Field::from_name(name) {
            Some(Field::Section(kind)) => {
                self.sections = self.sections.with(kind);
                if !value.is_empty() {
                    self.list(line, kind, value)?;
                }
            }
            Some(Field::Origin) => self.release.origin = Some(value.to_owned()),
            Some(Field::Label) => self.release.label = Some(value.to_owned()),
            Some(Field::Suite) => self.release.suite = Some(value.to_owned()),
            Some(Field::Codename) => self.release.codename = Some(value.to_owned()),
            Some(Field::Date) => self.release.date = Some(moment(line, "Date", value)?),
            Some(Field::ValidUntil) => self.release.valid_until = Some(moment(line, "Valid-Until", value)?),
            Some(Field::AcquireByHash) => self.release.acquire_by_hash = value.eq_ignore_ascii_case("yes"),
            Some(Field::NotAutomatic) => self.release.not_automatic = value.eq_ignore_ascii_case("yes"),
            Some(Field::NoSupportForAll) => {
                self.release.all_is_everywhere = value.split_ascii_whitespace().any(|what| what == "Packages");
            }
            Some(Field::Architectures) => self.release.architectures = usable_names(value),
            Some(Field::Components) => self.release.components = usable_names(value),
            None => {}
        }
        Ok(())
    }

    fn continuation(&mut self, line: u64, text: &[u8]) -> Result<(), ParseError> {
        match self.section {
            Some(kind) => self.list(line, kind, std::str::from_utf8(text).unwrap_or_default()),
            None => Ok(()),
        }
    }

    fn end(&mut self, _line: u64) -> Result<(), ParseError> {
        self.complete = true;
        Ok(())
    }
}

/// The fields that mirrorctl reads.
#[derive(Debug, Clone, Copy)]
enum Field {
    Origin,
    Label,
    Suite,
    Codename,
    Date,
    ValidUntil,
    AcquireByHash,
    NotAutomatic,
    NoSupportForAll,
    Architectures,
    Components,
    Section(HashType),
}

impl Field {
    /// The field called `name`, in whatever case.
    fn from_name(name: &[u8]) -> Option<Self> {
        let known: [(&str, Self); 11] = [
            ("Origin", Self::Origin),
            ("Label", Self::Label),
            ("Suite", Self::Suite),
            ("Codename", Self::Codename),
            ("Date", Self::Date),
            ("Valid-Until", Self::ValidUntil),
            ("Acquire-By-Hash", Self::AcquireByHash),
            ("NotAutomatic", Self::NotAutomatic),
            ("No-Support-for-Architecture-all", Self::NoSupportForAll),
            ("Architectures", Self::Architectures),
            ("Components", Self::Components),
        ];
        let sections = HashType::ALL.map(|kind| (kind.name(), Self::Section(kind)));
        let mut fields = known.into_iter().chain(sections);
        fields
            .find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes()))
            .map(|(_, field)| field)
    }

    fn section(self) -> Option<HashType> {
        match self {
            Self::Section(kind) => Some(kind),
            _ => None,
        }
    }
}

fn moment(line: u64, field: &'static str, value: &str) -> Result<Timestamp, ParseError> {
    date::parse(value).ok_or_else(|| ParseError::Value {
        line,
        field,
        value: excerpt(value.as_bytes()),
        expected: "a date such as \"Sat, 09 Aug 2025 11:02:33 UTC\"",
    })
}

/// The words of `value` that are names. Others are advertising for somebody else: no configuration can ask for
/// them, so they need not stop a sync.
fn usable_names<T: std::str::FromStr>(value: &str) -> Vec<T> {
    value
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RepoPathError;

    fn parse(text: &str) -> Result<Release, ParseError> {
        Release::parse(&VerifiedText::vouched(text.to_owned(), Vec::new()))
    }

    fn hex(kind: HashType) -> String {
        "aB".repeat(kind.hex_length() / 2)
    }

    /// A section of `kind` that lists `files` ("size path").
    fn section(kind: HashType, files: &[&str]) -> String {
        let lines = files.iter().map(|file| format!(" {} {file}\n", hex(kind)));
        format!("{kind}:\n{}", lines.collect::<String>())
    }

    fn sha256(files: &[&str]) -> String {
        section(HashType::Sha256, files)
    }

    #[test]
    fn a_release_file_is_read() {
        let head = "Origin: Debian\nLabel: Debian\nSuite: stable\nVersion: 12.11\nCodename: bookworm\n\
            Changelogs: https://x/@CHANGEPATH@_changelog\nDate: Sat, 09 Aug 2025 11:02:33 UTC\n\
            Valid-Until: Sat, 16 Aug 2025 11:02:33 UTC\nAcquire-By-Hash: yes\nNotAutomatic: yes\n\
            Architectures: all amd64 x86_64\nComponents: main contrib\nDescription: Debian x\n second line\n";
        let files = ["7 main/binary-amd64/Packages", "0 main/binary-all/Packages"];
        let md5 = section(HashType::Md5Sum, &[files[0], "1 only/md5"]);
        let release = parse(&(head.to_owned() + &md5 + &sha256(&files) + "No-Support: x\n\n")).expect("valid");
        assert_eq!(release.origin.as_deref(), Some("Debian"));
        assert_eq!(release.label.as_deref(), Some("Debian"));
        assert_eq!(release.suite.as_deref(), Some("stable"));
        assert_eq!(release.codename.as_deref(), Some("bookworm"));
        assert_eq!(release.date, Some(Timestamp::from_unix(1_754_737_353)));
        assert_eq!(release.valid_until, Some(Timestamp::from_unix(1_755_342_153)));
        assert!(release.acquire_by_hash && release.not_automatic);
        let architectures: Vec<_> = release.architectures.iter().map(Architecture::as_str).collect();
        assert_eq!(architectures, ["all", "amd64"]);
        let components: Vec<_> = release.components.iter().map(Component::as_str).collect();
        assert_eq!(components, ["main", "contrib"]);

        let paths: Vec<_> = release.files.keys().map(RepoPath::as_str).collect();
        assert_eq!(paths, ["main/binary-all/Packages", "main/binary-amd64/Packages"]);
        let file = &release.files[&"main/binary-amd64/Packages".parse().expect("valid")];
        assert_eq!(
            (file.size, file.checksum.to_string()),
            (7, format!("SHA-256 {}", hex(HashType::Sha256).to_lowercase()))
        );
        let kinds: Vec<_> = file.hashes.iter().map(|hash| hash.kind).collect();
        assert_eq!(kinds, [HashType::Md5Sum, HashType::Sha256]);
    }

    #[test]
    fn everything_but_sha256_may_be_missing() {
        let release = parse(sha256(&["1 a"]).trim_end()).expect("valid");
        assert_eq!(release.files.len(), 1);
        assert_eq!(
            Release {
                files: BTreeMap::new(),
                ..release
            },
            Release::default()
        );
    }

    #[test]
    fn a_release_without_trusted_hashes_is_refused() {
        let none = HashTypes::NONE;
        assert_eq!(parse(""), Err(ParseError::NoTrustedHash { found: none }));
        for kind in [HashType::Md5Sum, HashType::Sha1] {
            let found = none.with(kind);
            assert_eq!(
                parse(&section(kind, &["1 a"])),
                Err(ParseError::NoTrustedHash { found })
            );
        }
    }

    #[test]
    fn sha512_alone_will_do() {
        let sha1 = section(HashType::Sha1, &["1 a", "1 weak"]);
        let release = parse(&(sha1 + &section(HashType::Sha512, &["1 a"]))).expect("valid");
        let (path, file) = release.files.first_key_value().expect("one file");
        assert_eq!((path.as_str(), release.files.len()), ("a", 1));
        assert!(matches!(file.checksum, Checksum::Sha512(_)));
        let kinds: Vec<_> = file.hashes.iter().map(|hash| hash.kind).collect();
        assert_eq!(kinds, [HashType::Sha1, HashType::Sha512]);
    }

    #[test]
    fn a_list_of_files_has_those_that_can_be_verified() {
        let names = |text: &str| -> Result<Vec<String>, ParseError> {
            Ok(parse_file_list(text.as_bytes())?
                .into_keys()
                .map(|path| path.to_string())
                .collect())
        };
        let weak = section(HashType::Sha1, &["1 Translation-de.bz2"]);
        assert_eq!(names(&weak), Ok(Vec::new()));
        assert_eq!(
            names(&(weak + &sha256(&["1 Translation-en.xz"]))),
            Ok(vec!["Translation-en.xz".to_owned()])
        );
        assert!(names(&sha256(&["1 ../x"])).is_err());
        assert_eq!(names(""), Ok(Vec::new()));
    }

    #[test]
    fn names_that_leave_or_deceive_are_refused() {
        for (path, why) in [
            ("../../etc/passwd", RepoPathError::DotComponent),
            ("/abs", RepoPathError::EmptyComponent),
            ("./Packages", RepoPathError::DotComponent),
            ("a//b", RepoPathError::EmptyComponent),
            ("a\u{7f}b", RepoPathError::BadCharacter),
        ] {
            let refused = parse(&sha256(&["1 good", &format!("1 {path}")]));
            let path = excerpt(path.as_bytes());
            let source = why;
            assert_eq!(refused, Err(ParseError::Path { line: 3, path, source }));
        }
    }

    #[test]
    fn lines_that_are_not_hash_size_path_are_refused() {
        let good = hex(HashType::Sha256);
        for bad in [
            format!("{good} -1 a"),
            format!("{good} +5 a"),
            format!("{good} 1e9 a"),
            format!("{good} 0x10 a"),
            format!("{good} 18446744073709551616 a"),
            format!("{good} 1"),
            format!("{good} 1 a b"),
            format!("{} 1 a", &good[1..]),
            format!("{} 1 a", good.replace('a', "g")),
            String::new(),
        ] {
            let refused = parse(&format!("SHA256:\n {bad}\n"));
            assert!(
                matches!(refused, Err(ParseError::Checksum { line: 2, .. })),
                "{bad}: {refused:?}"
            );
        }
    }

    #[test]
    fn contradictions_are_refused_and_repetitions_are_not() {
        assert!(parse(&sha256(&["1 a", "1 a"])).is_ok());
        let other = format!(" {} 1 a\n", "cd".repeat(32));
        for (text, what) in [
            (sha256(&["1 a", "2 a"]), "sizes"),
            (sha256(&["1 a"]) + &section(HashType::Sha1, &["2 a"]), "sizes"),
            (sha256(&["1 a"]) + &other, "hashes"),
        ] {
            let refused = parse(&text);
            assert!(
                matches!(refused, Err(ParseError::Conflict { what: w, .. }) if w == what),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn bad_dates_and_second_stanzas_are_refused() {
        let files = sha256(&["1 a"]);
        for field in ["Date", "Valid-Until"] {
            let refused = parse(&format!("{field}: soon\n{files}"));
            assert!(matches!(refused, Err(ParseError::Value { field: f, .. }) if f == field));
        }
        let refused = parse(&format!("{files}\nSuite: other\n"));
        assert_eq!(refused, Err(ParseError::SecondStanza { line: 4 }));
    }
}

//! The stanzas of an index, as a selection sees them, and their copying.
//!
//! Owns [`CandidateReader`], which reads of each stanza what the rules need and no more, and [`Copier`], which copies
//! kept stanzas byte for byte. Both are fed an index in pieces and count its stanzas alike.

use memchr::memchr;

use super::super::deb822::{Scanner, Sink, field_named};
use super::super::error::{ParseError, excerpt};
use super::{Lists, passes};
use crate::model::{Filter, Priority};

/// What the rules need to know of one stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the package.
    pub name: Box<str>,
    /// Its version.
    pub version: Box<str>,
    /// The architecture it is for; for a source package, whatever it says.
    pub architecture: Box<str>,
    /// The source it was built from, where that has another name or version.
    pub built_from: Option<Box<(Box<str>, Box<str>)>>,
    /// The files it names, relative to the archive root.
    pub paths: Vec<Box<str>>,
    /// Whether it is out whatever else holds.
    pub excluded: bool,
    /// Whether it is of a kind that is kept.
    pub chosen: bool,
    /// How much a system needs it.
    pub priority: Option<Priority>,
    /// Whether every system needs it.
    pub essential: bool,
    /// Whether packages of other architectures may depend on it (`Multi-Arch: allowed`).
    pub allowed: bool,
    /// What it needs and provides; read only when dependencies are followed.
    pub links: Option<Box<Links>>,
}

/// Fields about other packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// `Pre-Depends`, `Depends` and, where they are followed, `Recommends`.
    pub needs: Vec<Box<str>>,
    /// `Provides`.
    pub provides: Box<str>,
}

impl Candidate {
    /// Name and version of the source package that it was built from.
    #[must_use]
    pub fn source(&self) -> (&str, &str) {
        let own = (&*self.name, &*self.version);
        self.built_from.as_ref().map_or(own, |source| (&*source.0, &*source.1))
    }
}

/// Reads the candidates of an index that arrives in pieces.
#[derive(Debug)]
pub struct CandidateReader<'f> {
    scanner: Scanner,
    sink: Stanzas<'f>,
}

impl<'f> CandidateReader<'f> {
    /// A reader for an index of that kind which has seen nothing yet.
    #[must_use]
    pub fn new(filter: &'f Filter, lists: &Lists) -> Self {
        Self {
            scanner: Scanner::default(),
            sink: Stanzas {
                filter,
                of_sources: *lists == Lists::Sources,
                fields: Fields::default(),
                latest: None,
                candidates: Vec::new(),
            },
        }
    }

    /// Takes the next piece of the uncompressed index in.
    ///
    /// # Errors
    /// What is wrong with the index.
    pub fn push(&mut self, text: &[u8]) -> Result<(), ParseError> {
        self.scanner.push(text, &mut self.sink)
    }

    /// States that the index is complete, and gives its candidates.
    ///
    /// # Errors
    /// As [`CandidateReader::push`].
    pub fn finish(mut self) -> Result<Vec<Candidate>, ParseError> {
        self.scanner.finish(&mut self.sink)?;
        Ok(self.sink.candidates)
    }
}

/// The fields that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Package,
    Version,
    Architecture,
    Source,
    Section,
    Priority,
    Essential,
    MultiArch,
    PreDepends,
    Depends,
    Recommends,
    Provides,
    Filename,
    Directory,
    /// The checksum sections of a source package, which name its files.
    Files,
}

impl Field {
    const ALL: [(&'static str, Self); 17] = [
        ("Package", Self::Package),
        ("Version", Self::Version),
        ("Architecture", Self::Architecture),
        ("Source", Self::Source),
        ("Section", Self::Section),
        ("Priority", Self::Priority),
        ("Essential", Self::Essential),
        ("Multi-Arch", Self::MultiArch),
        ("Pre-Depends", Self::PreDepends),
        ("Depends", Self::Depends),
        ("Recommends", Self::Recommends),
        ("Provides", Self::Provides),
        ("Filename", Self::Filename),
        ("Directory", Self::Directory),
        ("Files", Self::Files),
        ("Checksums-Sha256", Self::Files),
        ("Checksums-Sha512", Self::Files),
    ];

    fn from_name(name: &[u8]) -> Option<Self> {
        field_named(&Self::ALL, name)
    }
}

/// What the stanza being read has said so far, in buffers for all stanzas.
#[derive(Debug, Default)]
struct Fields {
    package: String,
    version: String,
    architecture: String,
    source: String,
    section: String,
    priority: Option<Priority>,
    essential: bool,
    allowed: bool,
    needs: Vec<String>,
    provides: String,
    directory: String,
    files: Vec<String>,
}

#[derive(Debug)]
struct Stanzas<'f> {
    filter: &'f Filter,
    of_sources: bool,
    fields: Fields,
    /// The field that a continuation line would belong to.
    latest: Option<Field>,
    candidates: Vec<Candidate>,
}

impl Sink for Stanzas<'_> {
    fn field(&mut self, _line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        self.latest = Field::from_name(name);
        let Some(field) = self.latest else { return Ok(()) };
        let value = String::from_utf8_lossy(value);
        let Fields { needs, .. } = &mut self.fields;
        match field {
            Field::Package => self.fields.package = value.into(),
            Field::Version => self.fields.version = value.into(),
            Field::Architecture => self.fields.architecture = value.into(),
            Field::Source => self.fields.source = value.into(),
            Field::Section => self.fields.section = value.into(),
            Field::Priority => self.fields.priority = value.parse().ok(),
            Field::Essential => self.fields.essential = value == "yes",
            Field::MultiArch => self.fields.allowed = value == "allowed",
            Field::PreDepends | Field::Depends if self.filter.follows() => needs.push(value.into()),
            Field::Recommends if self.filter.follows() && self.filter.recommends => needs.push(value.into()),
            Field::Provides if self.filter.follows() => self.fields.provides = value.into(),
            Field::PreDepends | Field::Depends | Field::Recommends | Field::Provides => self.latest = None,
            Field::Filename => self.fields.files.push(value.into()),
            Field::Directory => self.fields.directory = value.into(),
            Field::Files => {}
        }
        Ok(())
    }

    fn continuation(&mut self, _line: u64, text: &[u8]) -> Result<(), ParseError> {
        let text = String::from_utf8_lossy(text);
        match self.latest {
            Some(Field::PreDepends | Field::Depends | Field::Recommends) => {
                self.fields.needs.last_mut().expect("the field began").push_str(&text);
            }
            Some(Field::Provides) => self.fields.provides.push_str(&text),
            Some(Field::Files) if self.of_sources => {
                let name = text.split_ascii_whitespace().nth(2).unwrap_or_default();
                if !self.fields.files.iter().any(|known| known == name) {
                    self.fields.files.push(name.to_owned());
                }
            }
            // The others have one line, which the reading of pool files insists on where it matters.
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, line: u64) -> Result<(), ParseError> {
        let fields = std::mem::take(&mut self.fields);
        for (field, value) in [("Package", &fields.package), ("Version", &fields.version)] {
            if value.is_empty() {
                let package = excerpt(fields.package.as_bytes());
                return Err(ParseError::MissingField { line, package, field });
            }
        }
        let candidate = fields.candidate(self.filter, self.of_sources);
        self.candidates.push(candidate);
        Ok(())
    }
}

impl Fields {
    fn candidate(self, filter: &Filter, is_source: bool) -> Candidate {
        let paths = self.files.iter().map(|file| self.path(file, is_source)).collect();
        let links = filter.follows().then(|| {
            Box::new(Links {
                needs: self.needs.iter().map(|field| field.as_str().into()).collect(),
                provides: self.provides.as_str().into(),
            })
        });
        Candidate {
            excluded: !is_source && filter.exclude.iter().any(|pattern| pattern.is_in(&self.package)),
            chosen: false,
            built_from: self.built_from(),
            paths,
            priority: self.priority,
            essential: self.essential,
            allowed: self.allowed,
            links,
            architecture: self.architecture.as_str().into(),
            version: self.version.as_str().into(),
            name: self.package.as_str().into(),
        }
        .chosen_by(filter, &self.section)
    }

    /// Where the file lies: what an index calls "./name" is "name", and a directory may end in "/". This is the path that
    /// the reading of pool files finds.
    fn path(&self, file: &str, is_source: bool) -> Box<str> {
        let bare = |text: &str| text.strip_prefix("./").unwrap_or(text).to_owned();
        let directory = self.directory.strip_suffix('/').unwrap_or(&self.directory);
        match bare(directory).as_str() {
            directory if is_source && !matches!(directory, "" | ".") => format!("{directory}/{file}").into(),
            _ => bare(file).into(),
        }
    }

    /// "Source: name" or "Source: name (version)".
    fn built_from(&self) -> Option<Box<(Box<str>, Box<str>)>> {
        if self.source.is_empty() {
            return None;
        }
        let (name, version) = match self.source.split_once('(') {
            Some((name, version)) => (name.trim(), version.trim_end_matches(')').trim()),
            None => (self.source.as_str(), self.version.as_str()),
        };
        Some(Box::new((name.into(), version.into())))
    }
}

impl Candidate {
    fn chosen_by(self, filter: &Filter, section: &str) -> Self {
        let chosen = !self.excluded && passes(filter, &self.name, section, self.priority);
        Self { chosen, ..self }
    }
}

/// Copies the kept stanzas of an index that arrives in pieces, byte for byte, each with one empty line after it.
#[derive(Debug)]
pub struct Copier<'k> {
    kept: std::slice::Iter<'k, bool>,
    /// The line whose end has not arrived yet.
    line: Vec<u8>,
    /// Whether the stanza being read is kept; `None` between stanzas.
    inside: Option<bool>,
}

impl<'k> Copier<'k> {
    /// A copier of the stanzas that `kept` says, in their order.
    #[must_use]
    pub fn new(kept: &'k [bool]) -> Self {
        Self {
            kept: kept.iter(),
            line: Vec::new(),
            inside: None,
        }
    }

    /// Takes the next piece in, and appends what is kept of it to `output`.
    pub fn push(&mut self, mut text: &[u8], output: &mut Vec<u8>) {
        while let Some(end) = memchr(b'\n', text) {
            self.line.extend_from_slice(&text[..=end]);
            text = &text[end + 1..];
            self.end_line(output);
        }
        self.line.extend_from_slice(text);
    }

    /// States that the index is complete.
    pub fn finish(mut self, output: &mut Vec<u8>) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            self.end_line(output);
        }
        self.line.push(b'\n');
        self.end_line(output);
    }

    fn end_line(&mut self, output: &mut Vec<u8>) {
        let kept = match (self.line.as_slice(), self.inside) {
            (b"\n" | b"\r\n", None) => false,
            (b"\n" | b"\r\n", Some(kept)) => {
                self.inside = None;
                kept
            }
            (_, Some(kept)) => kept,
            (_, None) => {
                let kept = self.kept.next().copied().unwrap_or(false);
                *self.inside.insert(kept)
            }
        };
        if kept {
            output.extend_from_slice(&self.line);
        }
        self.line.clear();
    }
}

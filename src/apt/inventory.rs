//! What an index offers: each package with its version, its size and what tells its content.
//!
//! Owns [`InventoryReader`], which is fed a Packages or Sources index in pieces like the readers of pool files and keeps
//! nothing of it. It is for indices that were taken in already: which files may be believed is not asked here again.

use super::checksum;
use super::deb822::{Scanner, Sink};
use super::error::{ParseError, excerpt};
use crate::model::{Digest, HashType, Hasher};

/// A package of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: Box<str>,
    /// One build of it.
    pub build: Build,
}

/// One build of a package: a version for an architecture. Of a source package, one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: Box<str>,
    /// What it is for, such as `amd64` or `all`. A source package tells all that it can be built for.
    pub architecture: Box<str>,
    /// Length of its files in bytes.
    pub size: u64,
    /// What tells its content from others.
    pub content: Fingerprint,
    /// The paths of its files, relative to the archive root and as the index writes them but for a leading `./`; sorted.
    pub paths: Box<[Box<str>]>,
}

impl Build {
    /// Whether the index tells of no difference in content. Hashes of two types cannot be compared; then sizes decide.
    #[must_use]
    pub fn has_content_of(&self, other: &Self) -> bool {
        let comparable = self.content.kind == other.content.kind;
        self.size == other.size && (!comparable || self.content == other.content)
    }
}

/// What an index says of the content of a package's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The type of the hashes that it was made from.
    kind: HashType,
    digest: Digest,
}

/// Reads the packages of an index that arrives in pieces, and hands each to `F`.
///
/// ```
/// use mirrorctl::apt::inventory::InventoryReader;
///
/// let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// let index = format!("Package: x\nVersion: 1\nFilename: pool/x.deb\nSize: 0\nSHA256: {digest}\n");
/// let mut packages = Vec::new();
/// let mut reader = InventoryReader::of_packages(|package| packages.push(package));
/// reader.push(index.as_bytes())?;
/// reader.finish()?;
/// assert_eq!((&*packages[0].name, &*packages[0].build.version), ("x", "1"));
/// # Ok::<(), mirrorctl::apt::ParseError>(())
/// ```
#[derive(Debug)]
pub struct InventoryReader<F> {
    scanner: Scanner,
    stanzas: Stanzas<F>,
}

impl<F: FnMut(Package)> InventoryReader<F> {
    /// A reader for an index of binary packages.
    #[must_use]
    pub fn of_packages(each: F) -> Self {
        Self::new(each, false)
    }

    /// A reader for an index of source packages.
    #[must_use]
    pub fn of_sources(each: F) -> Self {
        Self::new(each, true)
    }

    fn new(each: F, of_sources: bool) -> Self {
        Self {
            scanner: Scanner::default(),
            stanzas: Stanzas {
                each,
                of_sources,
                fields: Fields::default(),
                list: None,
            },
        }
    }

    /// Takes the next piece of the uncompressed index in.
    ///
    /// # Errors
    /// What is wrong with the index.
    pub fn push(&mut self, text: &[u8]) -> Result<(), ParseError> {
        self.scanner.push(text, &mut self.stanzas)
    }

    /// States that the index is complete.
    ///
    /// # Errors
    /// As [`InventoryReader::push`].
    pub fn finish(mut self) -> Result<(), ParseError> {
        self.scanner.finish(&mut self.stanzas)
    }
}

/// What the stanza being read has said so far.
#[derive(Debug, Default)]
struct Fields {
    package: String,
    version: String,
    architecture: String,
    size: Option<u64>,
    filename: String,
    directory: String,
    sha256: String,
    sha512: String,
    /// The lines of a source package's lists of files.
    files_sha256: Vec<File>,
    files_sha512: Vec<File>,
}

/// A line of a list of files, in the order in which they are compared.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    name: String,
    hash: String,
    size: u64,
}

#[derive(Debug)]
struct Stanzas<F> {
    each: F,
    of_sources: bool,
    fields: Fields,
    /// The list whose lines are being read.
    list: Option<HashType>,
}

impl<F: FnMut(Package)> Sink for Stanzas<F> {
    fn field(&mut self, line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        self.list = if self.of_sources { list_called(name) } else { None };
        if let Some(kind) = self.list {
            return if value.is_empty() {
                Ok(())
            } else {
                self.file(line, kind, value)
            };
        }
        let fields = &mut self.fields;
        let Some(field) = fields.called(name) else {
            if !self.of_sources && name.eq_ignore_ascii_case(b"Size") {
                fields.size = Some(checksum::size(value).ok_or_else(|| bad_size(line, value))?);
            }
            return Ok(());
        };
        field.clear();
        field.push_str(&String::from_utf8_lossy(value));
        Ok(())
    }

    fn continuation(&mut self, line: u64, text: &[u8]) -> Result<(), ParseError> {
        match self.list {
            Some(kind) => self.file(line, kind, text),
            None => Ok(()),
        }
    }

    fn end(&mut self, line: u64) -> Result<(), ParseError> {
        self.list = None;
        let fields = std::mem::take(&mut self.fields);
        let package = excerpt(fields.package.as_bytes());
        let found = fields.package(self.of_sources);
        (self.each)(found.map_err(|field| ParseError::MissingField { line, package, field })?);
        Ok(())
    }
}

impl<F> Stanzas<F> {
    fn file(&mut self, line: u64, kind: HashType, text: &[u8]) -> Result<(), ParseError> {
        let file = File::parse(kind, text).ok_or_else(|| ParseError::Checksum {
            line,
            kind,
            text: excerpt(text),
        })?;
        match kind {
            HashType::Sha256 => self.fields.files_sha256.push(file),
            HashType::Sha512 => self.fields.files_sha512.push(file),
            HashType::Md5Sum | HashType::Sha1 => {}
        }
        Ok(())
    }
}

impl Fields {
    /// The place of the field called `name`, if it is one of those whose text is kept.
    fn called(&mut self, name: &[u8]) -> Option<&mut String> {
        // Lengths differ, so that most of the fields that are not kept cost one comparison.
        let (known, place) = match name.len() {
            6 if name.eq_ignore_ascii_case(b"SHA512") => ("SHA512", &mut self.sha512),
            6 => ("SHA256", &mut self.sha256),
            7 if name.eq_ignore_ascii_case(b"Version") => ("Version", &mut self.version),
            7 => ("Package", &mut self.package),
            8 => ("Filename", &mut self.filename),
            9 => ("Directory", &mut self.directory),
            12 => ("Architecture", &mut self.architecture),
            _ => return None,
        };
        name.eq_ignore_ascii_case(known.as_bytes()).then_some(place)
    }

    /// The package of the stanza, or the field that it lacks.
    fn package(self, is_source: bool) -> Result<Package, &'static str> {
        if self.package.is_empty() {
            return Err("Package");
        }
        if self.version.is_empty() {
            return Err("Version");
        }
        let (size, content, paths) = if is_source { self.source()? } else { self.binary()? };
        Ok(Package {
            name: self.package.into(),
            build: Build {
                version: self.version.into(),
                architecture: self.architecture.into(),
                size,
                content,
                paths,
            },
        })
    }

    fn binary(&self) -> Result<Contents, &'static str> {
        let size = self.size.ok_or("Size")?;
        if self.filename.is_empty() {
            return Err("Filename");
        }
        let (kind, hash) = match (self.sha256.as_str(), self.sha512.as_str()) {
            ("", "") => return Err("SHA256"),
            ("", hash) => (HashType::Sha512, hash),
            (hash, _) => (HashType::Sha256, hash),
        };
        let digest = Digest::of(hash.to_ascii_lowercase().as_bytes());
        let paths = [relative(&self.filename).into()].into();
        Ok((size, Fingerprint { kind, digest }, paths))
    }

    fn source(&self) -> Result<Contents, &'static str> {
        let (kind, files) = if self.files_sha256.is_empty() {
            (HashType::Sha512, &self.files_sha512)
        } else {
            (HashType::Sha256, &self.files_sha256)
        };
        if files.is_empty() {
            return Err("Checksums-Sha256");
        }
        let mut files: Vec<&File> = files.iter().collect();
        files.sort_unstable();
        let mut hasher = Hasher::new();
        for File { name, hash, size } in &files {
            hasher.update(format!("{name} {hash} {size}\n").as_bytes());
        }
        let size = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
        let digest = hasher.finish();
        let paths = files.iter().map(|file| self.beside(&file.name).into()).collect();
        Ok((size, Fingerprint { kind, digest }, paths))
    }

    /// The path of a source package's file. Tools that index a directory write ".", "./" or nothing for the directory.
    fn beside(&self, name: &str) -> String {
        match relative(self.directory.strip_suffix('/').unwrap_or(&self.directory)) {
            "" | "." => name.to_owned(),
            directory => format!("{directory}/{name}"),
        }
    }
}

/// Size, content and paths of a package's files.
type Contents = (u64, Fingerprint, Box<[Box<str>]>);

impl File {
    fn parse(kind: HashType, text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
        let (hash, size, name) = (words.next()?, words.next()?, words.next()?);
        Some(Self {
            name: name.to_owned(),
            hash: checksum::hash(kind, hash)?.hex.into(),
            size: checksum::size(size.as_bytes())?,
        })
    }
}

/// The list of files with trusted hashes that the field `name` is.
fn list_called(name: &[u8]) -> Option<HashType> {
    let lists: [(&[u8], HashType); 2] = [
        (b"Checksums-Sha256", HashType::Sha256),
        (b"Checksums-Sha512", HashType::Sha512),
    ];
    let mut lists = lists.into_iter();
    lists
        .find(|(list, _)| name.eq_ignore_ascii_case(list))
        .map(|(_, kind)| kind)
}

/// `path` without the "./" that tools write which index a directory.
fn relative(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

fn bad_size(line: u64, value: &[u8]) -> ParseError {
    ParseError::Value {
        line,
        field: "Size",
        value: excerpt(value),
        expected: "a decimal number of bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(index: &str, of_sources: bool, piece: usize) -> Result<Vec<Package>, ParseError> {
        let mut found = Vec::new();
        let mut reader = InventoryReader::new(|package| found.push(package), of_sources);
        for piece in index.as_bytes().chunks(piece) {
            reader.push(piece)?;
        }
        reader.finish()?;
        Ok(found)
    }

    fn binary(version: &str, hash: &str, size: &str) -> String {
        format!(
            "Package: a\nVersion: {version}\nArchitecture: all\nFilename: ./pool/a.deb\nDescription: x\n y\nSize: {size}\n{hash}\n\n"
        )
    }

    fn sha256(content: &str) -> String {
        format!("SHA256: {}", Digest::of(content.as_bytes()))
    }

    #[test]
    fn binary_packages_are_read_whole_and_in_pieces() {
        let index = binary("1", &sha256("x"), "7") + "\n" + &binary("2", &sha256("y"), "8");
        let whole = read(&index, false, 1000).expect("good");
        for piece in [1, 7, 64] {
            assert_eq!(read(&index, false, piece).expect("good"), whole);
        }
        let [one, two] = &whole[..] else { panic!("{whole:?}") };
        assert_eq!(
            (&*one.name, &*one.build.version, &*one.build.architecture),
            ("a", "1", "all")
        );
        assert_eq!((one.build.size, &*one.build.paths), (7, &["pool/a.deb".into()][..]));
        assert!(!one.build.has_content_of(&two.build));
    }

    #[test]
    fn content_is_the_same_in_whatever_case_and_order_it_is_told() {
        let build = |hash: &str| read(&binary("1", hash, "7"), false, 99).expect("good").remove(0).build;
        let upper = sha256("x").to_uppercase();
        assert!(build(&sha256("x")).has_content_of(&build(&upper)));
        assert!(!build(&sha256("x")).has_content_of(&build(&sha256("y"))));
        let sha512 = format!("SHA512: {}", "ab".repeat(64));
        assert!(build(&sha256("x")).has_content_of(&build(&sha512)), "not comparable");
        assert!(build(&format!("{sha512}\n{}", sha256("x"))).has_content_of(&build(&sha256("x"))));
    }

    #[test]
    fn source_packages_are_told_by_all_their_files() {
        let line =
            |content: &str, name: &str| format!(" {} {} {name}\n", Digest::of(content.as_bytes()), content.len());
        let stanza = |directory: &str, files: &[String]| {
            let files = files.concat();
            format!("Package: s\nVersion: 1-1\nDirectory: {directory}\nChecksums-Sha256:\n{files}\n")
        };
        let (dsc, tar) = (line("dsc", "s_1.dsc"), line("tar!", "s_1.tar.xz"));
        let build = |text: &str| read(text, true, 50).expect("good").remove(0).build;
        let one = build(&stanza("pool/s", &[dsc.clone(), tar.clone()]));
        assert_eq!(one.size, 7);
        assert_eq!(&*one.paths, ["pool/s/s_1.dsc".into(), "pool/s/s_1.tar.xz".into()]);
        assert_eq!(build(&stanza("pool/s", &[tar.clone(), dsc.clone()])), one);
        let other = build(&stanza("pool/s", &[dsc, line("ta!r", "s_1.tar.xz")]));
        assert!(!other.has_content_of(&one));
        for root in [".", "./", ""] {
            assert_eq!(
                &*build(&stanza(root, std::slice::from_ref(&tar))).paths,
                ["s_1.tar.xz".into()]
            );
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = binary("1", &sha256("x"), "7");
        for field in ["Package", "Version", "Filename", "Size", "SHA256"] {
            let kept: Vec<&str> = whole.lines().filter(|line| !line.starts_with(field)).collect();
            let refused = read(&kept.join("\n"), false, 99).expect_err(field).to_string();
            assert!(refused.ends_with(&format!("has no field {field}")), "{refused}");
        }
        let listless = read("Package: s\nVersion: 1\nChecksums-Sha1:\n x 1 y\n", true, 99);
        assert!(matches!(
            listless,
            Err(ParseError::MissingField {
                field: "Checksums-Sha256",
                ..
            })
        ));
        assert!(read("Package: s\nVersion: 1\nChecksums-Sha256:\n x 1 y\n", true, 99).is_err());
        assert!(read(&binary("1", &sha256("x"), "-7"), false, 99).is_err());
    }
}

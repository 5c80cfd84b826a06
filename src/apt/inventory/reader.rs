//! From the text of an index to its inventory.
//!
//! Owns which fields of a stanza count. The inventory is taken by [`InventoryReader`], or beside another reader of the same
//! text by [`Stock`], so that the text is split into fields once.

use super::records::{Draft, Head};
use super::stored::LONGEST;
use super::{Fingerprint, Inventory};
use crate::apt::checksum;
use crate::apt::deb822::{Scanner, Sink};
use crate::apt::error::{ParseError, excerpt};
use crate::model::{Digest, HashType, Hasher};

/// Takes the inventory of an index that arrives in pieces.
///
/// ```
/// use mirrorctl::apt::inventory::InventoryReader;
///
/// let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// let index = format!("Package: x\nVersion: 1\nFilename: pool/x.deb\nSize: 0\nSHA256: {digest}\n");
/// let mut reader = InventoryReader::of_packages();
/// reader.push(index.as_bytes())?;
/// let inventory = reader.finish()?;
/// let package = inventory.groups().next().expect("one");
/// assert_eq!((&*package.name(), &*package.builds()[0].version), ("x", "1"));
/// # Ok::<(), mirrorctl::apt::ParseError>(())
/// ```
#[derive(Debug)]
pub struct InventoryReader {
    scanner: Scanner,
    stanzas: Stanzas,
}

impl InventoryReader {
    /// A reader for an index of binary packages.
    #[must_use]
    pub fn of_packages() -> Self {
        Self::new(false)
    }

    /// A reader for an index of source packages.
    #[must_use]
    pub fn of_sources() -> Self {
        Self::new(true)
    }

    fn new(of_sources: bool) -> Self {
        Self {
            scanner: Scanner::default(),
            stanzas: Stanzas::new(of_sources),
        }
    }

    /// Takes the next piece of the uncompressed index in.
    ///
    /// # Errors
    /// What is wrong with the index.
    pub fn push(&mut self, text: &[u8]) -> Result<(), ParseError> {
        self.scanner.push(text, &mut self.stanzas)
    }

    /// The inventory of the index, which is complete.
    ///
    /// # Errors
    /// As [`InventoryReader::push`].
    pub fn finish(mut self) -> Result<Inventory, ParseError> {
        self.scanner.finish(&mut self.stanzas)?;
        Ok(self.stanzas.draft.finish())
    }
}

/// An inventory that is taken while somebody else reads the index. What stands against it ends it, and nothing else: the
/// other reader may not need what is missing.
#[derive(Debug)]
pub(in crate::apt) struct Stock(Option<Stanzas>);

impl Stock {
    pub(in crate::apt) fn of_packages() -> Self {
        Self(Some(Stanzas::new(false)))
    }

    pub(in crate::apt) fn of_sources() -> Self {
        Self(Some(Stanzas::new(true)))
    }

    /// No inventory.
    pub(in crate::apt) fn none() -> Self {
        Self(None)
    }

    /// A sink that tells `sink` all, and takes stock of what that has accepted.
    pub(in crate::apt) fn beside<'a, S: Sink>(&'a mut self, sink: &'a mut S) -> Beside<'a, S> {
        Beside { sink, stock: self }
    }

    /// The inventory of the index, which is complete.
    pub(in crate::apt) fn finish(self) -> Option<Inventory> {
        self.0.map(|stanzas| stanzas.draft.finish())
    }

    fn tell(&mut self, part: impl FnOnce(&mut Stanzas) -> Result<(), ParseError>) {
        let Some(stanzas) = &mut self.0 else { return };
        if part(stanzas).is_err() || stanzas.draft.length() > LONGEST {
            self.0 = None;
        }
    }
}

/// A sink, and the stock that is taken beside it.
pub(in crate::apt) struct Beside<'a, S> {
    sink: &'a mut S,
    stock: &'a mut Stock,
}

impl<S: Sink> Sink for Beside<'_, S> {
    fn field(&mut self, line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        self.sink.field(line, name, value)?;
        self.stock.tell(|stanzas| stanzas.field(line, name, value));
        Ok(())
    }

    fn continuation(&mut self, line: u64, text: &[u8]) -> Result<(), ParseError> {
        self.sink.continuation(line, text)?;
        self.stock.tell(|stanzas| stanzas.continuation(line, text));
        Ok(())
    }

    fn end(&mut self, line: u64) -> Result<(), ParseError> {
        self.sink.end(line)?;
        self.stock.tell(|stanzas| stanzas.end(line));
        Ok(())
    }
}

/// What the stanza being read has said so far; in the same memory for all stanzas.
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
struct Stanzas {
    draft: Draft,
    of_sources: bool,
    fields: Fields,
    /// The list whose lines are being read.
    list: Option<HashType>,
}

impl Sink for Stanzas {
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
        let added = self.fields.add_to(&mut self.draft, self.of_sources);
        let added = added.map_err(|field| ParseError::MissingField {
            line,
            package: excerpt(self.fields.package.as_bytes()),
            field,
        });
        self.fields.clear();
        added
    }
}

impl Stanzas {
    fn new(of_sources: bool) -> Self {
        Self {
            draft: Draft::default(),
            of_sources,
            fields: Fields::default(),
            list: None,
        }
    }

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

    fn clear(&mut self) {
        for text in [
            &mut self.package,
            &mut self.version,
            &mut self.architecture,
            &mut self.filename,
            &mut self.directory,
            &mut self.sha256,
            &mut self.sha512,
        ] {
            text.clear();
        }
        self.size = None;
        self.files_sha256.clear();
        self.files_sha512.clear();
    }

    /// Adds the package of the stanza, or answers which field it lacks.
    fn add_to(&self, draft: &mut Draft, is_source: bool) -> Result<(), &'static str> {
        if self.package.is_empty() {
            return Err("Package");
        }
        if self.version.is_empty() {
            return Err("Version");
        }
        let head = |size, content| Head {
            name: &self.package,
            version: &self.version,
            architecture: &self.architecture,
            size,
            content,
        };
        if is_source {
            let (size, content, paths) = self.source()?;
            draft.add(&head(size, content), &paths);
        } else {
            let (size, content, path) = self.binary()?;
            draft.add(&head(size, content), &[path]);
        }
        Ok(())
    }

    fn binary(&self) -> Result<(u64, Fingerprint, &str), &'static str> {
        let size = self.size.ok_or("Size")?;
        if self.filename.is_empty() {
            return Err("Filename");
        }
        let (kind, hash) = match (self.sha256.as_str(), self.sha512.as_str()) {
            ("", "") => return Err("SHA256"),
            ("", hash) => (HashType::Sha512, hash),
            (hash, _) => (HashType::Sha256, hash),
        };
        let own = (kind == HashType::Sha256).then(|| hash.parse().ok()).flatten();
        let digest = own.unwrap_or_else(|| Digest::of(hash.to_ascii_lowercase().as_bytes()));
        Ok((size, Fingerprint { kind, digest }, relative(&self.filename)))
    }

    fn source(&self) -> Result<(u64, Fingerprint, Vec<String>), &'static str> {
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
        let paths = files.iter().map(|file| self.beside(&file.name)).collect();
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
    use crate::apt::inventory::Build;

    /// The builds of an index, by name.
    fn read(index: &str, of_sources: bool, piece: usize) -> Result<Vec<(Box<str>, Build)>, ParseError> {
        let mut reader = InventoryReader::new(of_sources);
        for piece in index.as_bytes().chunks(piece) {
            reader.push(piece)?;
        }
        let inventory = reader.finish()?;
        let builds = inventory.groups().map(|group| (group.name(), group.builds()));
        Ok(builds
            .flat_map(|(name, builds)| builds.into_iter().map(move |build| (name.clone(), build)))
            .collect())
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
        assert_eq!((&*one.0, &*one.1.version, &*one.1.architecture), ("a", "1", "all"));
        assert_eq!((one.1.size, &*one.1.paths), (7, &["pool/a.deb".into()][..]));
        assert!(!one.1.has_content_of(&two.1));
    }

    #[test]
    fn content_is_the_same_in_whatever_case_and_order_it_is_told() {
        let build = |hash: &str| read(&binary("1", hash, "7"), false, 99).expect("good").remove(0).1;
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
        let build = |text: &str| read(text, true, 50).expect("good").remove(0).1;
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

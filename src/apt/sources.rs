//! Sources indices: the files of source packages.
//!
//! Owns [`SourcesReader`], which is fed an index in pieces like [`PackagesReader`](super::PackagesReader). A package
//! names a directory, and its files in several lists of checksums; only those with a trusted hash count, and every file
//! must be in one.

use std::collections::BTreeMap;

use super::checksum;
use super::deb822::{Scanner, Sink};
use super::error::{ParseError, excerpt};
use super::inventory::{Inventory, Stock};
use super::packages::{PoolFile, path};
use crate::model::{Checksum, HashType, IndexHash, RepoPath};

/// Reads a Sources index that arrives in pieces, and hands each file it names to `F`.
///
/// ```
/// use mirrorctl::apt::SourcesReader;
///
/// let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// let index = format!("Package: x\nDirectory: pool/x\nChecksums-Sha256:\n {digest} 0 x_1.dsc\n");
/// let mut files = Vec::new();
/// let mut reader = SourcesReader::new(|file| files.push(file));
/// reader.push(index.as_bytes())?;
/// assert_eq!(reader.finish()?, 1);
/// assert_eq!(files[0].path.as_str(), "pool/x/x_1.dsc");
/// # Ok::<(), mirrorctl::apt::ParseError>(())
/// ```
#[derive(Debug)]
pub struct SourcesReader<F> {
    scanner: Scanner,
    stanza: Stanza<F>,
    stock: Stock,
}

impl<F: FnMut(PoolFile)> SourcesReader<F> {
    /// A reader that has seen nothing yet.
    #[must_use]
    pub fn new(each: F) -> Self {
        Self {
            scanner: Scanner::default(),
            stanza: Stanza {
                each,
                package: Vec::new(),
                directory: None,
                list: None,
                files: BTreeMap::new(),
                packages: 0,
            },
            stock: Stock::none(),
        }
    }

    /// The same, for who wants the [inventory](Inventory) as well.
    #[must_use]
    pub fn taking_stock(mut self) -> Self {
        self.stock = Stock::of_sources();
        self
    }

    /// Takes the next piece of the uncompressed index in.
    ///
    /// # Errors
    /// What is wrong with the index. The reader is of no use afterwards, and the files handed out so far are part
    /// of a bad index.
    pub fn push(&mut self, text: &[u8]) -> Result<(), ParseError> {
        self.scanner.push(text, &mut self.stock.beside(&mut self.stanza))
    }

    /// States that the index is complete, and tells how many packages it had.
    ///
    /// # Errors
    /// As [`SourcesReader::push`].
    pub fn finish(mut self) -> Result<u64, ParseError> {
        self.scanner.finish(&mut self.stock.beside(&mut self.stanza))?;
        Ok(self.stanza.packages)
    }

    /// As `finish`; answers the inventory, where it was asked for and the index tells enough of every package.
    ///
    /// # Errors
    /// As `push`.
    pub fn finish_with_inventory(mut self) -> Result<Option<Inventory>, ParseError> {
        self.scanner.finish(&mut self.stock.beside(&mut self.stanza))?;
        Ok(self.stock.finish())
    }
}

/// Where the files of a package lie.
#[derive(Debug)]
enum Directory {
    Root,
    Below(RepoPath),
}

/// What the lists of a stanza say of one file.
#[derive(Debug)]
struct Listed {
    size: u64,
    hashes: Vec<IndexHash>,
}

/// What the stanza being read has said so far.
#[derive(Debug)]
struct Stanza<F> {
    each: F,
    /// Value of `Package`; kept for messages only, in one buffer for all stanzas.
    package: Vec<u8>,
    directory: Option<Directory>,
    /// The list whose lines are being read.
    list: Option<HashType>,
    /// The files, by name.
    files: BTreeMap<String, Listed>,
    packages: u64,
}

impl<F: FnMut(PoolFile)> Stanza<F> {
    fn list(&mut self, line: u64, kind: HashType, text: &[u8]) -> Result<(), ParseError> {
        let bad = || ParseError::Checksum {
            line,
            kind,
            text: excerpt(text),
        };
        let words = std::str::from_utf8(text).map_err(|_| bad())?;
        let mut words = words.split_ascii_whitespace();
        let (Some(hash), Some(size), Some(name), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad());
        };
        let hash = checksum::hash(kind, hash).ok_or_else(bad)?;
        let size = checksum::size(size.as_bytes()).ok_or_else(bad)?;
        if name.contains('/') {
            return Err(bad());
        }
        let file = self.files.entry(name.to_owned()).or_insert(Listed {
            size,
            hashes: Vec::new(),
        });
        let known = file.hashes.iter().find(|known| known.kind == kind);
        let other = known.is_some_and(|known| *known != hash);
        if other || file.size != size {
            return Err(ParseError::Conflict {
                line,
                path: path(line, name.as_bytes())?,
                what: if other { "hashes" } else { "sizes" },
            });
        }
        if known.is_none() {
            file.hashes.push(hash);
        }
        Ok(())
    }

    fn missing(&self, line: u64, field: &'static str) -> ParseError {
        ParseError::MissingField {
            line,
            package: excerpt(&self.package),
            field,
        }
    }
}

impl<F: FnMut(PoolFile)> Sink for Stanza<F> {
    fn field(&mut self, line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        self.list = list_called(name);
        if let Some(kind) = self.list {
            return if value.is_empty() {
                Ok(())
            } else {
                self.list(line, kind, value)
            };
        }
        if name.eq_ignore_ascii_case(b"Package") {
            self.package.clear();
            self.package.extend_from_slice(value);
        } else if name.eq_ignore_ascii_case(b"Directory") {
            self.directory = Some(directory(line, value)?);
        }
        Ok(())
    }

    fn continuation(&mut self, line: u64, text: &[u8]) -> Result<(), ParseError> {
        match self.list {
            Some(kind) => self.list(line, kind, text),
            None => Ok(()),
        }
    }

    fn end(&mut self, line: u64) -> Result<(), ParseError> {
        self.list = None;
        if self.package.is_empty() {
            return Err(self.missing(line, "Package"));
        }
        // Tools that index the root leave the field out, and APT takes that as it is meant.
        let directory = self.directory.take().unwrap_or(Directory::Root);
        if self.files.is_empty() {
            return Err(self.missing(line, "Checksums-Sha256"));
        }
        for (name, file) in std::mem::take(&mut self.files) {
            let unverifiable = || ParseError::Unverifiable {
                line,
                package: excerpt(&self.package),
                file: excerpt(name.as_bytes()),
            };
            let checksum: Checksum = checksum::trusted(&file.hashes).ok_or_else(unverifiable)?;
            let path = match &directory {
                Directory::Root => name.parse(),
                Directory::Below(directory) => directory.join(&name),
            };
            let path = path.map_err(|source| ParseError::Path {
                line,
                path: excerpt(name.as_bytes()),
                source,
            })?;
            let size = file.size;
            (self.each)(PoolFile { path, size, checksum });
        }
        self.package.clear();
        self.packages += 1;
        Ok(())
    }
}

/// The list of files that the field `name` is.
fn list_called(name: &[u8]) -> Option<HashType> {
    let lists: [(&[u8], HashType); 4] = [
        (b"Files", HashType::Md5Sum),
        (b"Checksums-Sha1", HashType::Sha1),
        (b"Checksums-Sha256", HashType::Sha256),
        (b"Checksums-Sha512", HashType::Sha512),
    ];
    let mut lists = lists.into_iter();
    lists
        .find(|(list, _)| name.eq_ignore_ascii_case(list))
        .map(|(_, kind)| kind)
}

/// Tools that index a directory write ".", "./" or nothing for the directory itself.
fn directory(line: u64, value: &[u8]) -> Result<Directory, ParseError> {
    match value.strip_suffix(b"/").unwrap_or(value) {
        b"" | b"." => Ok(Directory::Root),
        below => path(line, below).map(Directory::Below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(index: &str, piece: usize) -> Result<Vec<PoolFile>, ParseError> {
        let mut files = Vec::new();
        let mut reader = SourcesReader::new(|file| files.push(file));
        for piece in index.as_bytes().chunks(piece) {
            reader.push(piece)?;
        }
        reader.finish()?;
        Ok(files)
    }

    fn line(kind: HashType, digits: &str, rest: &str) -> String {
        format!(" {} {rest}\n", digits.repeat(kind.hex_length() / 2))
    }

    fn list(kind: HashType, files: &[&str]) -> String {
        let name = match kind {
            HashType::Md5Sum => "Files",
            HashType::Sha1 => "Checksums-Sha1",
            HashType::Sha256 => "Checksums-Sha256",
            HashType::Sha512 => "Checksums-Sha512",
        };
        let lines: String = files.iter().map(|file| line(kind, "ab", file)).collect();
        format!("{name}:\n{lines}")
    }

    fn stanza(directory: &str, lists: &[String]) -> String {
        let format = "Format: 3.0 (quilt)\nBinary: a,\n b\n";
        format!(
            "Package: a\n{format}Directory: {directory}\n{}Section: x\n\n",
            lists.concat()
        )
    }

    #[test]
    fn every_file_of_a_package_is_read_once() {
        let files = ["3 a_1.dsc", "4 a_1.tar.xz"];
        let lists = [HashType::Md5Sum, HashType::Sha256, HashType::Sha512].map(|kind| list(kind, &files));
        let index = stanza("pool/a", &lists) + &stanza("./src", &[list(HashType::Sha512, &["5 b_1.dsc"])]);
        for piece in [1, 7, 10_000] {
            let read = read(&index, piece).expect("valid");
            let seen: Vec<_> = read.iter().map(|file| (file.path.as_str(), file.size)).collect();
            assert_eq!(
                seen,
                [("pool/a/a_1.dsc", 3), ("pool/a/a_1.tar.xz", 4), ("src/b_1.dsc", 5)]
            );
            assert!(matches!(read[0].checksum, Checksum::Sha256(_)));
            assert!(matches!(read[2].checksum, Checksum::Sha512(_)));
        }
    }

    #[test]
    fn the_directory_may_be_the_root() {
        for root in ["", ".", "./"] {
            let files = read(&stanza(root, &[list(HashType::Sha256, &["3 a.dsc"])]), 100).expect("valid");
            assert_eq!(files[0].path.as_str(), "a.dsc", "{root:?}");
        }
        let without = stanza("x", &[list(HashType::Sha256, &["3 a.dsc"])]).replace("Directory: x\n", "");
        // The directory of one package is not that of the next.
        let both = stanza("pool/a", &[list(HashType::Sha256, &["3 a.dsc"])]) + &without;
        assert_eq!(read(&both, 100).expect("valid")[1].path.as_str(), "a.dsc");
    }

    #[test]
    fn a_file_without_a_trusted_hash_is_refused() {
        let only_md5 = stanza("pool/a", &[list(HashType::Md5Sum, &["3 a.dsc"])]);
        assert!(matches!(read(&only_md5, 100), Err(ParseError::Unverifiable { .. })));
        let one_only = [
            list(HashType::Md5Sum, &["3 a.dsc", "4 a.tar"]),
            list(HashType::Sha256, &["3 a.dsc"]),
        ];
        let refused = read(&stanza("pool/a", &one_only), 100).expect_err("a hole").to_string();
        assert!(refused.ends_with("no trusted hash for its file a.tar"), "{refused}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let good = stanza("pool/a", &[list(HashType::Sha256, &["3 a.dsc"])]);
        let refused = read(&good.replace("Package: a\n", ""), 100);
        assert!(matches!(
            refused,
            Err(ParseError::MissingField { field: "Package", .. })
        ));
        let refused = read("Package: a\nDirectory: x\n", 100);
        assert!(matches!(
            refused,
            Err(ParseError::MissingField {
                field: "Checksums-Sha256",
                ..
            })
        ));
    }

    #[test]
    fn contradictions_and_bad_names_are_refused() {
        let sizes = [
            list(HashType::Md5Sum, &["3 a.dsc"]),
            list(HashType::Sha256, &["4 a.dsc"]),
        ];
        assert!(matches!(
            read(&stanza("x", &sizes), 100),
            Err(ParseError::Conflict { what: "sizes", .. })
        ));
        let twice = list(HashType::Sha256, &["3 a.dsc"]) + &line(HashType::Sha256, "cd", "3 a.dsc");
        assert!(matches!(
            read(&stanza("x", &[twice]), 100),
            Err(ParseError::Conflict { what: "hashes", .. })
        ));
        for bad in ["3 ../a.dsc", "3 sub/a.dsc", "3 a b", "-3 a.dsc", "3"] {
            let refused = read(&stanza("x", &[list(HashType::Sha256, &[bad])]), 100);
            assert!(
                matches!(refused, Err(ParseError::Checksum { .. })),
                "{bad}: {refused:?}"
            );
        }
        for bad in ["../x", "/x", "x//"] {
            let refused = read(&stanza(bad, &[list(HashType::Sha256, &["3 a.dsc"])]), 100);
            assert!(matches!(refused, Err(ParseError::Path { .. })), "{bad}: {refused:?}");
        }
        let dots = read(&stanza("x", &[list(HashType::Sha256, &["3 .."])]), 100);
        assert!(matches!(dots, Err(ParseError::Path { .. })));
    }
}

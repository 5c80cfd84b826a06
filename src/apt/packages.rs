//! Packages indices: the pool files they name.
//!
//! Owns [`PackagesReader`], which is fed an index in pieces and keeps nothing of it. Only the fields that tell a
//! file's place and content are read.

use super::checksum;
use super::deb822::{Scanner, Sink};
use super::error::{ParseError, excerpt};
use super::inventory::{Inventory, Stock};
use crate::model::{Checksum, RepoPath, Sha512};

/// A file that an index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFile {
    /// Its path, relative to the archive root.
    pub path: RepoPath,
    /// Length in bytes.
    pub size: u64,
    /// What its bytes are checked against.
    pub checksum: Checksum,
}

/// Reads a Packages index that arrives in pieces, and hands each file it names to `F`.
///
/// ```
/// use mirrorctl::apt::PackagesReader;
///
/// let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// let index = format!("Package: x\nFilename: pool/x.deb\nSize: 0\nSHA256: {digest}\n");
/// let mut files = Vec::new();
/// let mut reader = PackagesReader::new(|file| files.push(file));
/// for piece in index.as_bytes().chunks(10) {
///     reader.push(piece)?;
/// }
/// assert_eq!(reader.finish()?, 1);
/// assert_eq!(files[0].path.as_str(), "pool/x.deb");
/// # Ok::<(), mirrorctl::apt::ParseError>(())
/// ```
#[derive(Debug)]
pub struct PackagesReader<F> {
    scanner: Scanner,
    stanza: Stanza<F>,
    stock: Stock,
}

impl<F: FnMut(PoolFile)> PackagesReader<F> {
    /// A reader that has seen nothing yet.
    #[must_use]
    pub fn new(each: F) -> Self {
        Self {
            scanner: Scanner::default(),
            stanza: Stanza {
                each,
                package: Vec::new(),
                path: None,
                size: None,
                checksum: None,
                in_read_field: false,
                packages: 0,
            },
            stock: Stock::none(),
        }
    }

    /// The same, for who wants the [inventory](Inventory) as well.
    #[must_use]
    pub fn taking_stock(mut self) -> Self {
        self.stock = Stock::of_packages();
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
    /// As [`PackagesReader::push`].
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

/// What the stanza being read has said so far.
#[derive(Debug)]
struct Stanza<F> {
    each: F,
    /// Value of `Package`; kept for messages only, in one buffer for all stanzas.
    package: Vec<u8>,
    path: Option<RepoPath>,
    size: Option<u64>,
    checksum: Option<Checksum>,
    /// Whether the latest field is one of those read, none of which may go on over lines.
    in_read_field: bool,
    packages: u64,
}

impl<F: FnMut(PoolFile)> Sink for Stanza<F> {
    fn field(&mut self, line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        self.in_read_field = true;
        // Lengths differ, so that most of the fields that are not read cost one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"Size") => {
                let size = checksum::size(value);
                self.size = Some(size.ok_or_else(|| refused(line, "Size", value, "a decimal number of bytes"))?);
            }
            6 if name.eq_ignore_ascii_case(b"SHA256") => {
                let digest = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                let digest = digest.ok_or_else(|| refused(line, "SHA256", value, "64 hexadecimal digits"))?;
                self.checksum = Some(Checksum::Sha256(digest));
            }
            // Read where nothing better is known yet: most indices that have both give it last.
            6 if self.checksum.is_none() && name.eq_ignore_ascii_case(b"SHA512") => {
                let hash = std::str::from_utf8(value).ok().and_then(Sha512::from_hex);
                let hash = hash.ok_or_else(|| refused(line, "SHA512", value, "128 hexadecimal digits"))?;
                self.checksum = Some(Checksum::Sha512(hash));
            }
            7 if name.eq_ignore_ascii_case(b"Package") => {
                self.package.clear();
                self.package.extend_from_slice(value);
            }
            8 if name.eq_ignore_ascii_case(b"Filename") => self.path = Some(path(line, value)?),
            _ => self.in_read_field = false,
        }
        Ok(())
    }

    fn continuation(&mut self, line: u64, text: &[u8]) -> Result<(), ParseError> {
        if self.in_read_field {
            let expected = "allowed: Package, Filename, Size, SHA256 and SHA512 have one line each";
            return Err(refused(line, "continuation", text.trim_ascii(), expected));
        }
        Ok(())
    }

    fn end(&mut self, line: u64) -> Result<(), ParseError> {
        let (path, size, checksum) = (self.path.take(), self.size.take(), self.checksum.take());
        let missing = |field| ParseError::MissingField {
            line,
            package: excerpt(&self.package),
            field,
        };
        if self.package.is_empty() {
            return Err(missing("Package"));
        }
        let file = PoolFile {
            path: path.ok_or_else(|| missing("Filename"))?,
            size: size.ok_or_else(|| missing("Size"))?,
            checksum: checksum.ok_or_else(|| missing("SHA256"))?,
        };
        self.package.clear();
        self.packages += 1;
        (self.each)(file);
        Ok(())
    }
}

/// The path that `value` names. Tools that index a directory write "./name", which is the same as "name".
pub(super) fn path(line: u64, value: &[u8]) -> Result<RepoPath, ParseError> {
    let Ok(text) = std::str::from_utf8(value) else {
        return Err(refused(line, "Filename", value, "UTF-8 text"));
    };
    text.strip_prefix("./")
        .unwrap_or(text)
        .parse()
        .map_err(|source| ParseError::Path {
            line,
            path: excerpt(value),
            source,
        })
}

fn refused(line: u64, field: &'static str, value: &[u8], expected: &'static str) -> ParseError {
    let value = excerpt(value);
    ParseError::Value {
        line,
        field,
        value,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RepoPathError;

    const DIGEST: &str = "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(index: &[u8], piece: usize) -> Result<(Vec<PoolFile>, u64), ParseError> {
        let mut files = Vec::new();
        let mut reader = PackagesReader::new(|file| files.push(file));
        for piece in index.chunks(piece) {
            reader.push(piece)?;
        }
        let packages = reader.finish()?;
        Ok((files, packages))
    }

    fn stanza(package: &str, filename: &str, size: &str, sha256: &str) -> String {
        format!(
            "Package: {package}\nVersion: 1\nDescription: first\n second\n .\n third\nFilename: {filename}\n\
             Size: {size}\nMD5sum: x\nSHA256: {sha256}\n\n"
        )
    }

    #[test]
    fn the_files_of_an_index_are_read() {
        let index = stanza("a", "pool/a_1%3a1.deb", "12", DIGEST) + "\n" + &stanza("b", "./b.deb", "0", DIGEST);
        let file = |path: &str, size| PoolFile {
            path: path.parse().expect("valid"),
            size,
            checksum: Checksum::Sha256(DIGEST.parse().expect("valid")),
        };
        let expected = vec![file("pool/a_1%3a1.deb", 12), file("b.deb", 0)];
        for piece in [1, 7, 64, 10_000] {
            assert_eq!(read(index.as_bytes(), piece), Ok((expected.clone(), 2)), "{piece}");
        }
        assert_eq!(read(index.trim_end().as_bytes(), 5), Ok((expected, 2)));
        assert_eq!(read(b"", 1), Ok((Vec::new(), 0)));
    }

    #[test]
    fn sha512_counts_where_there_is_no_sha256() {
        let sha512 = "ab".repeat(64);
        let head = "Package: a\nFilename: a.deb\nSize: 1\n";
        let checksum = |tail: &str| {
            let (files, _) = read(format!("{head}{tail}").as_bytes(), 100)?;
            Ok::<_, ParseError>(files[0].checksum)
        };
        assert!(matches!(
            checksum(&format!("SHA512: {sha512}\n")),
            Ok(Checksum::Sha512(_))
        ));
        for both in [
            format!("SHA512: {sha512}\nSHA256: {DIGEST}\n"),
            format!("SHA256: {DIGEST}\nSHA512: {sha512}\n"),
        ] {
            assert!(matches!(checksum(&both), Ok(Checksum::Sha256(_))), "{both}");
        }
        for bad in ["SHA512: ab\n", "MD5sum: d41d8cd98f00b204e9800998ecf8427e\n"] {
            assert!(checksum(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stanza_without_a_needed_field_is_refused_by_name() {
        let whole = stanza("a", "pool/a.deb", "12", DIGEST);
        for field in ["Filename", "Size", "SHA256"] {
            let kept: Vec<_> = whole.lines().filter(|line| !line.starts_with(field)).collect();
            let index = kept.join(
                "
",
            );
            let refused = read(index.as_bytes(), 100).expect_err("incomplete").to_string();
            assert!(refused.contains("package \"a\""), "{refused}");
            assert!(refused.ends_with(&format!("has no field {field}")), "{refused}");
        }
        let nameless = read(b"Size: 1\n", 100);
        assert!(matches!(
            nameless,
            Err(ParseError::MissingField { field: "Package", .. })
        ));
        // Nothing of one stanza may complete the next.
        let second = read((whole + "Package: b\nFilename: pool/b.deb\n").as_bytes(), 100);
        assert!(matches!(second, Err(ParseError::MissingField { field: "Size", .. })));
    }

    #[test]
    fn names_that_leave_or_deceive_are_refused() {
        for (name, why) in [
            ("../../etc/passwd", RepoPathError::DotComponent),
            ("././a", RepoPathError::DotComponent),
            (".//a", RepoPathError::EmptyComponent),
            ("/abs", RepoPathError::EmptyComponent),
            ("pool/", RepoPathError::EmptyComponent),
            ("./", RepoPathError::EmptyComponent),
            ("", RepoPathError::EmptyComponent),
            ("pool/a\u{1b}[2J", RepoPathError::BadCharacter),
        ] {
            let refused = read(stanza("a", name, "1", DIGEST).as_bytes(), 100);
            let path = excerpt(name.as_bytes());
            assert_eq!(
                refused,
                Err(ParseError::Path {
                    line: 7,
                    path,
                    source: why
                })
            );
        }
        let refused = read(b"Package: a\nFilename: \xff\n", 100);
        assert!(matches!(refused, Err(ParseError::Value { field: "Filename", .. })));
    }

    #[test]
    fn bad_sizes_and_digests_are_refused() {
        for size in ["-1", "+5", "1e9", "0x10", "18446744073709551616", ""] {
            let refused = read(stanza("a", "b", size, DIGEST).as_bytes(), 100);
            assert!(
                matches!(refused, Err(ParseError::Value { field: "Size", .. })),
                "{size}"
            );
        }
        for digest in ["", &DIGEST[1..], &DIGEST.replace('b', "g")] {
            let refused = read(stanza("a", "b", "1", digest).as_bytes(), 100);
            assert!(
                matches!(refused, Err(ParseError::Value { field: "SHA256", .. })),
                "{digest}"
            );
        }
        let folded = read(b"Package: a\nFilename: pool/a\n .deb\n", 100);
        assert!(matches!(
            folded,
            Err(ParseError::Value {
                field: "continuation",
                ..
            })
        ));
    }
}

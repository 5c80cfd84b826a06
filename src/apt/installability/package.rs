//! Binary packages as far as others matter to them.
//!
//! Owns [`BinaryReader`], which reads of each stanza of a Packages index what decides whether the package can be
//! installed. It judges nothing.

use super::super::deb822::{Scanner, Sink, field_named};
use super::super::error::{ParseError, excerpt};

/// What packages of other architectures may make of a package (`Multi-Arch`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultiArch {
    /// Nothing.
    #[default]
    No,
    /// Builds for several architectures can be installed together.
    Same,
    /// It satisfies packages of every architecture.
    Foreign,
    /// It satisfies packages of every architecture that say `:any`.
    Allowed,
}

/// A binary package.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BinaryPackage {
    /// Its name.
    pub name: Box<str>,
    /// Its version.
    pub version: Box<str>,
    /// The architecture it is for, or `all`.
    pub architecture: Box<str>,
    /// What packages of other architectures may make of it.
    pub multi_arch: MultiArch,
    /// Whether every system has it.
    pub essential: bool,
    /// `Pre-Depends` and `Depends`, as one field.
    pub needs: Box<str>,
    /// `Provides`.
    pub provides: Box<str>,
    /// `Conflicts` and `Breaks`, as one field.
    pub excludes: Box<str>,
}

/// Reads the packages of an index that arrives in pieces, and hands each to `F`.
///
/// ```
/// use mirrorctl::apt::installability::BinaryReader;
///
/// let mut packages = Vec::new();
/// let mut reader = BinaryReader::new(|package| packages.push(package));
/// reader.push(b"Package: x\nVersion: 1\nArchitecture: amd64\nDepends: y,\n z (>= 2)\n")?;
/// reader.finish()?;
/// assert_eq!(&*packages[0].needs, "y, z (>= 2)");
/// # Ok::<(), mirrorctl::apt::ParseError>(())
/// ```
#[derive(Debug)]
pub struct BinaryReader<F> {
    scanner: Scanner,
    stanzas: Stanzas<F>,
}

impl<F: FnMut(BinaryPackage)> BinaryReader<F> {
    /// A reader that has seen nothing yet.
    #[must_use]
    pub fn new(each: F) -> Self {
        Self {
            scanner: Scanner::default(),
            stanzas: Stanzas {
                each,
                fields: Fields::default(),
                latest: None,
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
    /// As [`BinaryReader::push`].
    pub fn finish(mut self) -> Result<(), ParseError> {
        self.scanner.finish(&mut self.stanzas)
    }
}

/// The fields that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Package,
    Version,
    Architecture,
    MultiArch,
    Essential,
    Needs,
    Provides,
    Excludes,
}

impl Field {
    const ALL: [(&'static str, Self); 10] = [
        ("Package", Self::Package),
        ("Version", Self::Version),
        ("Architecture", Self::Architecture),
        ("Multi-Arch", Self::MultiArch),
        ("Essential", Self::Essential),
        ("Pre-Depends", Self::Needs),
        ("Depends", Self::Needs),
        ("Provides", Self::Provides),
        ("Conflicts", Self::Excludes),
        ("Breaks", Self::Excludes),
    ];

    fn from_name(name: &[u8]) -> Option<Self> {
        field_named(&Self::ALL, name)
    }
}

/// What the stanza being read has said so far.
#[derive(Debug, Default)]
struct Fields {
    package: String,
    version: String,
    architecture: String,
    multi_arch: String,
    essential: String,
    needs: String,
    provides: String,
    excludes: String,
}

impl Fields {
    fn of(&mut self, field: Field) -> &mut String {
        match field {
            Field::Package => &mut self.package,
            Field::Version => &mut self.version,
            Field::Architecture => &mut self.architecture,
            Field::MultiArch => &mut self.multi_arch,
            Field::Essential => &mut self.essential,
            Field::Needs => &mut self.needs,
            Field::Provides => &mut self.provides,
            Field::Excludes => &mut self.excludes,
        }
    }
}

#[derive(Debug)]
struct Stanzas<F> {
    each: F,
    fields: Fields,
    /// The field that a continuation line would belong to.
    latest: Option<Field>,
}

impl<F: FnMut(BinaryPackage)> Sink for Stanzas<F> {
    fn field(&mut self, _line: u64, name: &[u8], value: &[u8]) -> Result<(), ParseError> {
        self.latest = Field::from_name(name);
        if let Some(field) = self.latest {
            let text = self.fields.of(field);
            if !text.is_empty() {
                // Two fields that mean the same here.
                text.push_str(", ");
            }
            text.push_str(&String::from_utf8_lossy(value));
        }
        Ok(())
    }

    fn continuation(&mut self, _line: u64, text: &[u8]) -> Result<(), ParseError> {
        if let Some(field) = self.latest {
            self.fields.of(field).push_str(&String::from_utf8_lossy(text));
        }
        Ok(())
    }

    fn end(&mut self, line: u64) -> Result<(), ParseError> {
        let fields = std::mem::take(&mut self.fields);
        self.latest = None;
        for (field, value) in [("Package", &fields.package), ("Version", &fields.version)] {
            if value.is_empty() {
                let package = excerpt(fields.package.as_bytes());
                return Err(ParseError::MissingField { line, package, field });
            }
        }
        (self.each)(BinaryPackage {
            name: fields.package.into(),
            version: fields.version.into(),
            architecture: fields.architecture.into(),
            multi_arch: match fields.multi_arch.as_str() {
                "same" => MultiArch::Same,
                "foreign" => MultiArch::Foreign,
                "allowed" => MultiArch::Allowed,
                _ => MultiArch::No,
            },
            essential: fields.essential == "yes",
            needs: fields.needs.into(),
            provides: fields.provides.into(),
            excludes: fields.excludes.into(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_read_and_nothing_else() {
        let index = "Package: a\nVersion: 1:2\nArchitecture: amd64\nMulti-Arch: same\nEssential: yes\n\
                     Pre-Depends: p\nDepends: b (>= 1),\n c | d\nRecommends: no\n and no\nProvides: v (= 3)\nConflicts: x\n\
                     Breaks: y (<< 2)\nDescription: text\n more\n\nPackage: b\nVersion: 1\nArchitecture: all\n";
        for piece in [1, 7, 10_000] {
            let mut packages = Vec::new();
            let mut reader = BinaryReader::new(|package| packages.push(package));
            index
                .as_bytes()
                .chunks(piece)
                .for_each(|piece| reader.push(piece).expect("valid"));
            reader.finish().expect("valid");
            let [a, b] = &packages[..] else { panic!("{packages:?}") };
            assert_eq!((&*a.name, &*a.version, &*a.architecture), ("a", "1:2", "amd64"));
            assert_eq!((a.multi_arch, a.essential), (MultiArch::Same, true));
            assert_eq!((&*a.needs, &*a.provides), ("p, b (>= 1), c | d", "v (= 3)"));
            assert_eq!(&*a.excludes, "x, y (<< 2)");
            let plain = BinaryPackage {
                name: "b".into(),
                version: "1".into(),
                architecture: "all".into(),
                ..BinaryPackage::default()
            };
            assert_eq!(*b, plain);
        }
        let mut reader = BinaryReader::new(|_| ());
        reader.push(b"Package: a\n").expect("a field");
        assert!(matches!(
            reader.finish(),
            Err(ParseError::MissingField { field: "Version", .. })
        ));
    }
}

//! Debian binary packages, made in memory.
//!
//! Owns [`Deb`]: from a name, a version and some files to the bytes of a `.deb` that dpkg installs. The same input
//! always gives the same bytes. It runs no program, asks no clock and touches no file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::ArchiveError;
use crate::model::{Architecture, RepoPath};

/// The time that every file of a package carries: 2024-01-01T00:00:00Z, so that packages are reproducible and tar
/// does not warn of an implausibly old time.
const FILE_TIME: u64 = 1_704_067_200;

/// A binary package to be built. Names and paths are checked when it is built.
#[derive(Debug, Clone)]
pub struct Deb {
    name: String,
    version: String,
    architecture: String,
    fields: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
}

/// What [`Deb::build`] gives: the package, and its description for an index.
#[derive(Debug, Clone)]
pub(super) struct BuiltDeb {
    pub(super) name: String,
    pub(super) architecture: Architecture,
    /// Name of the file, without the epoch, as archives write it.
    pub(super) file_name: String,
    /// The control stanza, each line ended by a newline.
    pub(super) control: String,
    pub(super) bytes: Vec<u8>,
}

impl Deb {
    /// A package without files, dependencies or scripts.
    pub fn new(name: &str, version: &str, architecture: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            fields: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Adds the control field `Depends`, in Debian's syntax: `libc6 (>= 2.36), foo | bar`.
    #[must_use]
    pub fn depends(self, relation: &str) -> Self {
        self.field("Depends", relation)
    }

    /// Adds a control field. The value is one line.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a file, mode 0644 and owned by root, at `path` relative to the root directory: `usr/share/doc/foo/README`.
    #[must_use]
    pub fn file(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), contents.into()));
        self
    }

    /// The bytes of the `.deb`.
    ///
    /// # Errors
    /// [`ArchiveError::Package`] for a name, version or field that would break the control file, and
    /// [`ArchiveError::Path`] for a file outside the root directory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArchiveError> {
        self.build().map(|built| built.bytes)
    }

    pub(super) fn build(&self) -> Result<BuiltDeb, ArchiveError> {
        let control = self.control()?;
        let mut bytes = b"!<arch>\n".to_vec();
        append_member(&mut bytes, "debian-binary", b"2.0\n");
        append_member(&mut bytes, "control.tar.gz", &control_tar(&control)?);
        append_member(&mut bytes, "data.tar.gz", &data_tar(&self.files)?);
        let version = self.version.rsplit(':').next().unwrap_or_default();
        Ok(BuiltDeb {
            name: self.name.clone(),
            architecture: self.architecture.parse()?,
            file_name: format!("{}_{version}_{}.deb", self.name, self.architecture),
            control,
            bytes,
        })
    }

    fn control(&self) -> Result<String, ArchiveError> {
        let name_fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(&c);
        let version_fits = |c: u8| c.is_ascii_alphanumeric() || b".+-~:".contains(&c);
        let lines_fit = self
            .fields
            .iter()
            .all(|(name, value)| !name.is_empty() && !name.contains([':', '\n']) && !value.contains('\n'));
        if self.name.len() < 2
            || !self.name.bytes().all(name_fits)
            || !self.version.starts_with(|c: char| c.is_ascii_digit())
            || !self.version.bytes().all(version_fits)
            || !lines_fit
        {
            return Err(ArchiveError::Package(format!("{} {}", self.name, self.version)));
        }
        let mut control = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {}\nSection: misc\n\
             Priority: optional\n",
            self.name,
            self.version,
            self.architecture,
            self.installed_kibibytes(),
        );
        for (name, value) in &self.fields {
            writeln!(control, "{name}: {value}").expect("a string takes all that is written");
        }
        writeln!(control, "Description: package {} of a made-up archive", self.name)
            .expect("a string takes all that is written");
        Ok(control)
    }

    /// Debian's estimate: each file rounded up to whole KiB.
    fn installed_kibibytes(&self) -> usize {
        self.files
            .iter()
            .map(|(_, contents)| contents.len().div_ceil(1024))
            .sum()
    }
}

const MAINTAINER: &str = "Archive Maker <archive@example.org>";

/// Appends one member of an `ar` archive: a 60-byte header of space-padded decimal fields, the data, and a newline
/// where the length is odd.
fn append_member(archive: &mut Vec<u8>, name: &str, data: &[u8]) {
    writeln!(
        archive,
        "{name:<16}{FILE_TIME:<12}{:<6}{:<6}{:<8}{:<10}`",
        0,
        0,
        100_644,
        data.len()
    )
    .expect("memory takes all that is written");
    archive.extend_from_slice(data);
    if data.len() % 2 == 1 {
        archive.push(b'\n');
    }
}

fn control_tar(control: &str) -> Result<Vec<u8>, ArchiveError> {
    data_tar(&[("control".to_owned(), control.as_bytes().to_vec())])
}

/// A gzip-compressed tar of `files` with every parent directory before its contents, as dpkg wants it.
fn data_tar(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ArchiveError> {
    const MEMORY: &str = "memory takes all that is written";
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    let mut made = BTreeSet::new();
    append_entry(&mut tar, "./", EntryType::Directory, &[])?;
    for (path, contents) in files {
        let parsed: RepoPath = path.parse().map_err(|source| ArchiveError::Path {
            path: path.clone(),
            source,
        })?;
        let mut parents: Vec<RepoPath> = std::iter::successors(parsed.parent(), RepoPath::parent).collect();
        parents.reverse();
        for parent in parents {
            if made.insert(parent.clone()) {
                append_entry(&mut tar, &format!("./{parent}/"), EntryType::Directory, &[])?;
            }
        }
        append_entry(&mut tar, &format!("./{parsed}"), EntryType::Regular, contents)?;
    }
    let gzip = tar.into_inner().expect(MEMORY);
    Ok(gzip.finish().expect(MEMORY))
}

fn append_entry(
    tar: &mut tar::Builder<impl std::io::Write>,
    path: &str,
    kind: EntryType,
    contents: &[u8],
) -> Result<(), ArchiveError> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    for set_name in [Header::set_username, Header::set_groupname] {
        set_name(&mut header, "root").expect("short enough for a GNU header");
    }
    header.set_mtime(FILE_TIME);
    header.set_size(contents.len() as u64);
    // `Header::set_path` normalises "./" away, which dpkg needs for the root entry; the name field is plain bytes.
    let name = &mut header.as_gnu_mut().expect("made as a GNU header").name;
    if path.len() > name.len() {
        return Err(ArchiveError::Package(format!(
            "{path}: longer than the {} bytes of a tar name",
            name.len()
        )));
    }
    name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(&header, contents).expect("memory takes all that is written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_package_is_the_same_bytes() {
        let deb = || {
            Deb::new("hello", "1:2.10-1", "amd64")
                .depends("libc6")
                .file("usr/share/hello/text", "hi")
        };
        let bytes = deb().to_bytes().expect("builds");
        assert_eq!(bytes, deb().to_bytes().expect("builds"));
        assert!(bytes.starts_with(b"!<arch>\ndebian-binary   1704067200  0     0     100644  4         `\n2.0\n"));
        let built = deb().build().expect("builds");
        assert_eq!(built.file_name, "hello_2.10-1_amd64.deb");
        assert!(built.control.contains("\nDepends: libc6\n"), "{}", built.control);
    }

    #[test]
    fn what_would_break_the_package_is_refused() {
        for (name, version) in [
            ("", "1"),
            ("x", "1"),
            ("Hello", "1"),
            ("hello", ""),
            ("hello", "1\nX: y"),
            ("hello", "a"),
        ] {
            let made = Deb::new(name, version, "amd64").to_bytes();
            assert!(matches!(made, Err(ArchiveError::Package(_))), "{name:?} {version:?}");
        }
        let hello = Deb::new("hello", "1", "amd64");
        assert!(matches!(
            hello.clone().field("A", "b\nC: d").to_bytes(),
            Err(ArchiveError::Package(_))
        ));
        assert!(matches!(
            hello.clone().file("../etc/passwd", "x").to_bytes(),
            Err(ArchiveError::Path { .. })
        ));
        assert!(matches!(
            hello.file(&"a".repeat(101), "x").to_bytes(),
            Err(ArchiveError::Package(_))
        ));
        assert!(matches!(
            Deb::new("hello", "1", "AMD").to_bytes(),
            Err(ArchiveError::Name(_))
        ));
    }

    #[test]
    fn directories_come_before_their_files() {
        let bytes =
            data_tar(&[("usr/bin/a".into(), b"x".to_vec()), ("usr/bin/b".into(), b"y".to_vec())]).expect("builds");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        let names: Vec<String> = tar
            .entries()
            .expect("is a tar")
            .map(|entry| String::from_utf8(entry.expect("is an entry").path_bytes().into_owned()).expect("is text"))
            .collect();
        assert_eq!(names, ["./", "./usr/", "./usr/bin/", "./usr/bin/a", "./usr/bin/b"]);
    }
}

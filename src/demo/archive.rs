//! A signed archive on disk.
//!
//! Owns [`ArchiveBuilder`], which says what an archive holds, and [`Archive`], which writes it below one directory
//! (`pool/`, `dists/`) and writes it again when it has changed. Files are replaced by rename, the Release files last.
//! It asks for no time: the caller says when an archive is published.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::{Compression, GzBuilder};
use sequoia_openpgp::types::HashAlgorithm;

use super::deb::BuiltDeb;
use super::{Deb, SigningKey};
use crate::model::{Architecture, Component, Digest, HashType, HashTypes, NameError, RepoPathError, Suite, Timestamp};

/// Why an archive could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A suite, component or architecture has no valid name.
    #[error("the archive names something invalid")]
    Name(#[from] NameError),
    /// A package has a name, version or field that no control file can hold.
    #[error("package {0:?} cannot be written as a control file")]
    Package(String),
    /// A package has a file outside the root directory.
    #[error("a package cannot hold the file {path:?}")]
    Path {
        /// The path as it was given.
        path: String,
        /// What is wrong with it.
        source: RepoPathError,
    },
    /// The archive has no such suite.
    #[error("the archive has no suite {0:?}")]
    NoSuite(String),
    /// The suite has no such component.
    #[error("suite {suite} has no component {component:?}")]
    NoComponent {
        /// The suite.
        suite: Suite,
        /// The component as it was given.
        component: String,
    },
    /// A time that a Release file or a signature cannot express, in seconds since 1970.
    #[error("{0} seconds since 1970 is not a time that can be signed")]
    Time(i64),
    /// The OpenPGP library refused. It has no error type of its own, so its words are kept.
    #[error("{act} failed: {reason}")]
    Signing {
        /// What was being done.
        act: &'static str,
        /// The library's words.
        reason: String,
    },
    /// A file could not be written or removed.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ArchiveError {
    pub(super) fn signing(act: &'static str, error: &sequoia_openpgp::anyhow::Error) -> Self {
        Self::Signing {
            act,
            reason: format!("{error:#}"),
        }
    }
}

/// Which Release files a suite offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// `InRelease`, `Release` and `Release.gpg`, as Debian does.
    All,
    /// `InRelease` alone.
    InRelease,
    /// `Release` and `Release.gpg`.
    Detached,
    /// `Release` without any signature.
    Unsigned,
}

/// A form in which an index file can be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// Uncompressed.
    Plain,
    /// `.gz`.
    Gzip,
    /// `.xz`.
    Xz,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Gzip, Self::Xz];

    const fn extension(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
        }
    }

    fn encode(self, plain: &[u8]) -> Vec<u8> {
        const MEMORY: &str = "memory takes all that is written";
        match self {
            Self::Plain => plain.to_vec(),
            Self::Gzip => {
                let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
                gzip.write_all(plain).expect(MEMORY);
                gzip.finish().expect(MEMORY)
            }
            Self::Xz => {
                // Preset 1: the indices are small, and made anew at each publication.
                let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
                xz.write_all(plain).expect(MEMORY);
                xz.finish().expect(MEMORY)
            }
        }
    }
}

/// What one suite holds and how it is offered. Names are checked when the archive is created.
#[derive(Debug, Clone)]
pub struct SuiteSpec {
    name: String,
    components: Vec<String>,
    architectures: Vec<String>,
    signing: Signing,
    hashes: HashTypes,
    valid_for: Option<i64>,
    by_hash: bool,
    listed: Vec<Variant>,
    served: Vec<Variant>,
    origin: String,
    label: String,
    packages: Vec<(String, Deb)>,
    pool_hashes: HashTypes,
    indices: BTreeMap<String, Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    unlisted: BTreeMap<String, Vec<u8>>,
}

impl SuiteSpec {
    /// A suite as Debian has it: component `main`, architecture `amd64`, all three Release files, every hash type,
    /// `by-hash`, and an uncompressed index that is listed but not served.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            components: vec!["main".to_owned()],
            architectures: vec!["amd64".to_owned()],
            signing: Signing::All,
            hashes: HashType::ALL.into_iter().collect(),
            valid_for: None,
            by_hash: true,
            listed: Variant::ALL.to_vec(),
            served: vec![Variant::Gzip, Variant::Xz],
            origin: "Example".to_owned(),
            label: "Example".to_owned(),
            packages: Vec::new(),
            pool_hashes: [HashType::Md5Sum, HashType::Sha256].into_iter().collect(),
            indices: BTreeMap::new(),
            files: BTreeMap::new(),
            unlisted: BTreeMap::new(),
        }
    }

    /// A flat repository in `directory`, which ends in `/` (`./` is the root): one index for everything, beside the
    /// packages. Components and architectures mean nothing; packages are given to component `main`.
    pub fn flat(directory: &str) -> Self {
        Self::new(directory)
    }

    /// The hash types that the stanzas of Packages give, instead of MD5 and SHA-256.
    #[must_use]
    pub fn pool_hashes(mut self, hashes: impl IntoIterator<Item = HashType>) -> Self {
        self.pool_hashes = hashes.into_iter().collect();
        self
    }

    /// Adds an index at `path` in the suite's directory, listed and served in the same variants as Packages. In place of
    /// one that was added before.
    #[must_use]
    pub fn index(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.indices.insert(path.to_owned(), contents.into());
        self
    }

    /// Adds a file at `path` in the suite's directory, listed and served just as it is.
    #[must_use]
    pub fn file(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), contents.into());
        self
    }

    /// Adds a file at `path` in the suite's directory that Release does not list.
    #[must_use]
    pub fn unlisted(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.unlisted.insert(path.to_owned(), contents.into());
        self
    }

    /// The components, instead of `main`.
    #[must_use]
    pub fn components(mut self, components: &[&str]) -> Self {
        self.components = components.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// The architectures, instead of `amd64`. Packages for `all` are in the index of each of them; name `all` too for
    /// an index of its own.
    #[must_use]
    pub fn architectures(mut self, architectures: &[&str]) -> Self {
        self.architectures = architectures.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Which Release files are written.
    #[must_use]
    pub fn signing(mut self, signing: Signing) -> Self {
        self.signing = signing;
        self
    }

    /// The hash types that Release lists, and `by-hash` has.
    #[must_use]
    pub fn hashes(mut self, hashes: impl IntoIterator<Item = HashType>) -> Self {
        self.hashes = hashes.into_iter().collect();
        self
    }

    /// Writes `Valid-Until`, so many seconds after each publication (a negative number: already past).
    #[must_use]
    pub fn valid_for(mut self, seconds: i64) -> Self {
        self.valid_for = Some(seconds);
        self
    }

    /// Whether Release promises `Acquire-By-Hash` and the directories exist.
    #[must_use]
    pub fn by_hash(mut self, offered: bool) -> Self {
        self.by_hash = offered;
        self
    }

    /// The variants that Release lists.
    #[must_use]
    pub fn listed(mut self, variants: &[Variant]) -> Self {
        self.listed = variants.to_vec();
        self
    }

    /// The variants that exist as files.
    #[must_use]
    pub fn served(mut self, variants: &[Variant]) -> Self {
        self.served = variants.to_vec();
        self
    }

    /// The fields `Origin` and `Label`.
    #[must_use]
    pub fn origin(mut self, origin: &str, label: &str) -> Self {
        origin.clone_into(&mut self.origin);
        label.clone_into(&mut self.label);
        self
    }

    /// Puts a package in a component.
    #[must_use]
    pub fn package(mut self, component: &str, deb: Deb) -> Self {
        self.packages.push((component.to_owned(), deb));
        self
    }
}

/// Says what an archive holds.
#[derive(Debug, Default)]
pub struct ArchiveBuilder {
    suites: Vec<SuiteSpec>,
    key: Option<SigningKey>,
}

impl ArchiveBuilder {
    /// An archive without suites.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a suite.
    #[must_use]
    pub fn suite(mut self, suite: SuiteSpec) -> Self {
        self.suites.push(suite);
        self
    }

    /// Signs with `key` instead of a key made for this archive.
    #[must_use]
    pub fn key(mut self, key: SigningKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Writes the archive below `root`, which is created if need be, dated `now`.
    ///
    /// # Errors
    /// Whatever is wrong with the names and packages given, or the file that could not be written.
    pub fn create(self, root: &Path, now: Timestamp) -> Result<Archive, ArchiveError> {
        // A day old, so that a client whose clock is a little behind does not take the key for one of the future.
        let key = self
            .key
            .map_or_else(|| SigningKey::generate(OWNER, now.plus(-86_400)), Ok)?;
        let mut archive = Archive {
            root: root.to_owned(),
            key,
            suites: BTreeMap::new(),
        };
        for mut spec in self.suites {
            let packages = std::mem::take(&mut spec.packages);
            let (name, suite) = (spec.name.clone(), PublishedSuite::new(spec)?);
            archive.suites.insert(name.clone(), suite);
            for (component, deb) in packages {
                archive.add(&name, &component, &deb)?;
            }
        }
        archive.publish(now)?;
        Ok(archive)
    }
}

/// Owner of the keys made here.
const OWNER: &str = "Archive Maker <archive@example.org>";

/// An archive on disk. Changes are kept in memory until [`Archive::publish`].
#[derive(Debug)]
pub struct Archive {
    root: PathBuf,
    key: SigningKey,
    suites: BTreeMap<String, PublishedSuite>,
}

impl Archive {
    /// The directory that holds `dists/` and `pool/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Signs with another key from the next publication on; every suite counts as changed.
    pub fn set_key(&mut self, key: SigningKey) {
        self.key = key;
        for suite in self.suites.values_mut() {
            suite.changed = true;
        }
    }

    /// Adds a package, in place of the one with the same name and architecture in that component.
    ///
    /// # Errors
    /// When there is no such suite or component, or the package cannot be built.
    pub fn add(&mut self, suite: &str, component: &str, deb: &Deb) -> Result<(), ArchiveError> {
        let suite = self.suite_mut(suite)?;
        let component = suite.component(component)?;
        let stored = suite.stored(component, deb.build()?);
        suite.debs.retain(|old| {
            (&old.name, &old.architecture, &old.component) != (&stored.name, &stored.architecture, &stored.component)
        });
        suite.debs.push(stored);
        suite.changed = true;
        Ok(())
    }

    /// Adds a package beside those of the same name, as archives do that keep several versions.
    ///
    /// # Errors
    /// As [`Archive::add`].
    pub fn add_version(&mut self, suite: &str, component: &str, deb: &Deb) -> Result<(), ArchiveError> {
        let suite = self.suite_mut(suite)?;
        let component = suite.component(component)?;
        let stored = suite.stored(component, deb.build()?);
        suite.debs.push(stored);
        suite.changed = true;
        Ok(())
    }

    /// Removes every package called `name` from a suite.
    ///
    /// # Errors
    /// [`ArchiveError::NoSuite`].
    pub fn remove(&mut self, suite: &str, name: &str) -> Result<(), ArchiveError> {
        let suite = self.suite_mut(suite)?;
        suite.debs.retain(|deb| deb.name != name);
        suite.changed = true;
        Ok(())
    }

    /// Changes how a suite is offered. Packages that the specification itself carries are not added.
    ///
    /// # Errors
    /// When there is no such suite, or the new specification names something invalid.
    pub fn alter(&mut self, suite: &str, change: impl FnOnce(SuiteSpec) -> SuiteSpec) -> Result<(), ArchiveError> {
        let old = self.suite_mut(suite)?;
        let mut new = PublishedSuite::new(change(old.spec.clone()))?;
        new.debs = std::mem::take(&mut old.debs);
        *old = new;
        Ok(())
    }

    /// Lets the next publication write a suite again, with a new date, though nothing in it has changed.
    ///
    /// # Errors
    /// [`ArchiveError::NoSuite`].
    pub fn refresh(&mut self, suite: &str) -> Result<(), ArchiveError> {
        self.suite_mut(suite)?.changed = true;
        Ok(())
    }

    /// Writes every suite that has changed, dated `now`: pool files first, then indices, the Release files last. Pool
    /// files that no suite lists any more are removed afterwards; `by-hash` files stay.
    ///
    /// # Errors
    /// [`ArchiveError::Write`] and [`ArchiveError::Signing`].
    pub fn publish(&mut self, now: Timestamp) -> Result<(), ArchiveError> {
        let out = Writer {
            root: &self.root,
            time: file_time(now)?,
        };
        for suite in self.suites.values_mut() {
            for deb in &mut suite.debs {
                if let Some(bytes) = &deb.unwritten {
                    out.put(&deb.path, bytes)?;
                    deb.unwritten = None;
                }
            }
        }
        for suite in self.suites.values_mut().filter(|suite| suite.changed) {
            let release = suite.write_indices(&out, now)?;
            suite.write_release(&out, &release, &self.key, now)?;
            suite.changed = false;
        }
        let listed: BTreeSet<&str> = self
            .suites
            .values()
            .flat_map(|suite| &suite.debs)
            .map(|deb| deb.path.as_str())
            .collect();
        out.remove_unlisted("pool", &listed)
    }

    /// Paths of all pool files that the suites list, relative to the root, sorted.
    pub fn pool_paths(&self) -> Vec<&str> {
        let paths: BTreeSet<&str> = self
            .suites
            .values()
            .flat_map(|suite| &suite.debs)
            .map(|deb| deb.path.as_str())
            .collect();
        paths.into_iter().collect()
    }

    fn suite_mut(&mut self, name: &str) -> Result<&mut PublishedSuite, ArchiveError> {
        self.suites
            .get_mut(name)
            .ok_or_else(|| ArchiveError::NoSuite(name.to_owned()))
    }
}

/// A suite with its names checked and its packages built.
#[derive(Debug)]
struct PublishedSuite {
    spec: SuiteSpec,
    name: Suite,
    components: Vec<Component>,
    architectures: Vec<Architecture>,
    debs: Vec<StoredDeb>,
    changed: bool,
}

impl PublishedSuite {
    fn new(spec: SuiteSpec) -> Result<Self, ArchiveError> {
        Ok(Self {
            name: spec.name.parse()?,
            components: spec
                .components
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()?,
            architectures: spec
                .architectures
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()?,
            debs: Vec::new(),
            changed: true,
            spec,
        })
    }

    fn component(&self, name: &str) -> Result<Component, ArchiveError> {
        let known = self.components.iter().find(|known| known.as_str() == name).cloned();
        known.ok_or_else(|| ArchiveError::NoComponent {
            suite: self.name.clone(),
            component: name.to_owned(),
        })
    }

    /// The path of a file in the suite's directory, relative to the root.
    fn at(&self, file: &str) -> String {
        if self.name.is_flat() {
            format!("{}{file}", self.flat_directory())
        } else {
            format!("dists/{}/{file}", self.name)
        }
    }

    /// The directory of a flat repository as the start of a path.
    fn flat_directory(&self) -> &str {
        match self.name.as_str() {
            "./" => "",
            directory => directory,
        }
    }

    fn stored(&self, component: Component, built: BuiltDeb) -> StoredDeb {
        let path = if self.name.is_flat() {
            format!("{}{}", self.flat_directory(), built.file_name)
        } else {
            let prefix = pool_prefix(&built.name);
            format!("pool/{component}/{prefix}/{}/{}", built.name, built.file_name)
        };
        // Those who index the directory they are in write it like this.
        let shown = if self.name.as_str() == "./" { "./" } else { "" };
        StoredDeb::new(component, built, path, shown, self.spec.pool_hashes)
    }

    /// Every index with its text, by its path in the suite's directory.
    fn indices(&self) -> Vec<(String, Vec<u8>)> {
        let mut indices = Vec::new();
        if self.name.is_flat() {
            let stanzas: Vec<&str> = self.debs.iter().map(|deb| deb.stanza.as_str()).collect();
            indices.push(("Packages".to_owned(), stanzas.join("\n").into_bytes()));
        } else {
            for component in &self.components {
                for architecture in &self.architectures {
                    let path = format!("{component}/binary-{architecture}/Packages");
                    indices.push((path, self.packages(component, architecture).into_bytes()));
                }
            }
        }
        let further = self.spec.indices.iter();
        indices.extend(further.map(|(path, text)| (path.clone(), text.clone())));
        indices
    }

    /// Writes each index in its served variants, and gives the Release text that lists them.
    fn write_indices(&self, out: &Writer, now: Timestamp) -> Result<String, ArchiveError> {
        let mut sections: BTreeMap<HashType, String> =
            self.spec.hashes.iter().map(|kind| (kind, String::new())).collect();
        for (path, plain) in self.indices() {
            for variant in Variant::ALL {
                let (listed, served) = (self.spec.listed.contains(&variant), self.spec.served.contains(&variant));
                if listed || served {
                    let path = format!("{path}{}", variant.extension());
                    let (list, bytes) = (listed.then_some(&mut sections), variant.encode(&plain));
                    self.write_listed(out, &path, &bytes, list, served)?;
                }
            }
        }
        for (path, bytes) in &self.spec.files {
            self.write_listed(out, path, bytes, Some(&mut sections), true)?;
        }
        for (path, bytes) in &self.spec.unlisted {
            out.put(&self.at(path), bytes)?;
        }
        self.release(&sections, now)
    }

    /// Writes a file, if it is served, and its lines in `sections`, if it is listed.
    fn write_listed(
        &self,
        out: &Writer,
        path: &str,
        bytes: &[u8],
        sections: Option<&mut BTreeMap<HashType, String>>,
        served: bool,
    ) -> Result<(), ArchiveError> {
        let directory = path.rfind('/').map_or("", |slash| &path[..=slash]);
        if served && self.spec.by_hash {
            for kind in self.spec.hashes.iter() {
                let name = format!("{directory}by-hash/{kind}/{}", hash_hex(kind, bytes));
                out.put(&self.at(&name), bytes)?;
            }
        }
        for (&kind, section) in sections.into_iter().flatten() {
            writeln!(section, " {} {:>8} {path}", hash_hex(kind, bytes), bytes.len()).expect(TEXT);
        }
        out.put_or_remove(&self.at(path), served.then_some(bytes))
    }

    /// The index of one component and architecture: its own packages and those for all architectures.
    fn packages(&self, component: &Component, architecture: &Architecture) -> String {
        let wanted = |deb: &&StoredDeb| {
            deb.component == *component && (deb.architecture == *architecture || deb.architecture.as_str() == "all")
        };
        let stanzas: Vec<&str> = self.debs.iter().filter(wanted).map(|deb| deb.stanza.as_str()).collect();
        stanzas.join("\n")
    }

    fn release(&self, sections: &BTreeMap<HashType, String>, now: Timestamp) -> Result<String, ArchiveError> {
        let mut text = format!("Origin: {}\nLabel: {}\n", self.spec.origin, self.spec.label);
        // What a flat repository calls itself has nothing to do with its place.
        let codename = if self.name.is_flat() {
            "vendor"
        } else {
            self.name.as_str()
        };
        write!(text, "Suite: {codename}\nCodename: {codename}\n").expect(TEXT);
        writeln!(text, "Date: {}", release_date(now)?).expect(TEXT);
        if let Some(seconds) = self.spec.valid_for {
            writeln!(text, "Valid-Until: {}", release_date(now.plus(seconds))?).expect(TEXT);
        }
        if self.spec.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
        }
        writeln!(text, "Architectures: {}", self.spec.architectures.join(" ")).expect(TEXT);
        if !self.name.is_flat() {
            writeln!(text, "Components: {}", self.spec.components.join(" ")).expect(TEXT);
        }
        text.push_str("Description: A made-up archive\n");
        for (kind, section) in sections {
            write!(text, "{kind}:\n{section}").expect(TEXT);
        }
        Ok(text)
    }

    fn write_release(&self, out: &Writer, text: &str, key: &SigningKey, now: Timestamp) -> Result<(), ArchiveError> {
        let signing = self.spec.signing;
        let detached = matches!(signing, Signing::All | Signing::Detached).then(|| key.sign_detached(text, now));
        let inline = matches!(signing, Signing::All | Signing::InRelease).then(|| key.sign_inline(text, now));
        let plain = (signing != Signing::InRelease).then_some(text.as_bytes());
        let at = |file: &str| self.at(file);
        out.put_or_remove(&at("Release.gpg"), detached.transpose()?.as_deref())?;
        out.put_or_remove(&at("Release"), plain)?;
        out.put_or_remove(&at("InRelease"), inline.transpose()?.as_deref())
    }
}

/// A package that is, or at the next publication will be, in the pool.
#[derive(Debug)]
struct StoredDeb {
    name: String,
    component: Component,
    architecture: Architecture,
    /// Relative to the root of the archive.
    path: String,
    /// Its part of an index, each line ended by a newline.
    stanza: String,
    /// The bytes, until they are on disk.
    unwritten: Option<Vec<u8>>,
}

impl StoredDeb {
    /// `shown` stands before the path in the index.
    fn new(component: Component, built: BuiltDeb, path: String, shown: &str, hashes: HashTypes) -> Self {
        let mut stanza = format!(
            "{}Filename: {shown}{path}\nSize: {}\n",
            built.control,
            built.bytes.len()
        );
        for kind in hashes.iter() {
            let field = match kind {
                HashType::Md5Sum => "MD5sum",
                HashType::Sha1 | HashType::Sha256 | HashType::Sha512 => kind.name(),
            };
            writeln!(stanza, "{field}: {}", hash_hex(kind, &built.bytes)).expect(TEXT);
        }
        Self {
            name: built.name,
            component,
            architecture: built.architecture,
            path,
            stanza,
            unwritten: Some(built.bytes),
        }
    }
}

/// Debian's pool subdirectory: `libf` for `libfoo`, `f` for `foo`.
fn pool_prefix(name: &str) -> &str {
    let length = if name.starts_with("lib") && name.len() > 3 {
        4
    } else {
        1
    };
    name.get(..length).unwrap_or(name)
}

const TEXT: &str = "a string takes all that is written";

fn hash_hex(kind: HashType, bytes: &[u8]) -> String {
    let algorithm = match kind {
        HashType::Sha256 => return Digest::of(bytes).to_string(),
        HashType::Md5Sum => HashAlgorithm::MD5,
        HashType::Sha1 => HashAlgorithm::SHA1,
        HashType::Sha512 => HashAlgorithm::SHA512,
    };
    let mut context = algorithm
        .context()
        .expect("the library has every hash of the format")
        .for_digest();
    context.update(bytes);
    let digest = context
        .into_digest()
        .expect("a digest of the algorithm's own length fits");
    digest.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect(TEXT);
        hex
    })
}

/// `time` as Release files write it: `Sat, 09 Nov 2024 10:00:00 UTC`.
fn release_date(time: Timestamp) -> Result<String, ArchiveError> {
    Ok(httpdate::fmt_http_date(file_time(time)?).replace("GMT", "UTC"))
}

fn file_time(time: Timestamp) -> Result<SystemTime, ArchiveError> {
    let seconds = u64::try_from(time.unix()).ok().filter(|&seconds| seconds < LATEST);
    seconds
        .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .ok_or(ArchiveError::Time(time.unix()))
}

/// The year 9999, after which the date of a Release file has no four-digit year.
const LATEST: u64 = 253_370_764_800;

/// Puts files below one root, all with the same modification time.
struct Writer<'a> {
    root: &'a Path,
    time: SystemTime,
}

impl Writer<'_> {
    /// Writes beside the file and renames, so that a reader sees the old bytes or the new ones.
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        let path = self.root.join(path);
        let failed = |source| ArchiveError::Write {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(path.parent().expect("every file is below the root")).map_err(failed)?;
        // A name that a server on this directory is never asked for.
        let mut beside = path.clone().into_os_string();
        beside.push(".incoming");
        let mut file = fs::File::create(&beside).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.set_modified(self.time).map_err(failed)?;
        fs::rename(&beside, &path).map_err(failed)
    }

    fn put_or_remove(&self, path: &str, bytes: Option<&[u8]>) -> Result<(), ArchiveError> {
        match bytes {
            Some(bytes) => self.put(path, bytes),
            None => remove(&self.root.join(path)),
        }
    }

    /// Removes the files below `directory` that are not in `listed` (paths relative to the root).
    fn remove_unlisted(&self, directory: &str, listed: &BTreeSet<&str>) -> Result<(), ArchiveError> {
        let path = self.root.join(directory);
        let failed = |source| ArchiveError::Write {
            path: path.clone(),
            source,
        };
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let below = format!("{directory}/{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(failed)?.is_dir() {
                self.remove_unlisted(&below, listed)?;
            } else if !listed.contains(below.as_str()) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), ArchiveError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ArchiveError::Write {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_750_000_000);

    fn hello(version: &str) -> Deb {
        Deb::new("hello", version, "amd64").file("usr/share/hello/version", version)
    }

    fn archive(suite: SuiteSpec) -> (tempfile::TempDir, Archive) {
        let root = tempfile::tempdir().expect("a directory");
        let archive = ArchiveBuilder::new()
            .suite(suite)
            .create(root.path(), NOW)
            .expect("an archive");
        (root, archive)
    }

    fn text(archive: &Archive, path: &str) -> String {
        fs::read_to_string(archive.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn exists(archive: &Archive, path: &str) -> bool {
        archive.root().join(path).exists()
    }

    #[test]
    fn a_release_lists_what_is_there_and_what_is_not_served() {
        let suite = SuiteSpec::new("sid").package("main", hello("1")).valid_for(86_400);
        let (_root, archive) = archive(suite);
        let release = text(&archive, "dists/sid/Release");
        assert!(
            release.contains("\nDate: Sun, 15 Jun 2025 15:06:40 UTC\nValid-Until: Mon, 16 Jun 2025 15:06:40 UTC\n"),
            "{release}"
        );
        assert!(release.contains("\nAcquire-By-Hash: yes\n"));
        for kind in HashType::ALL {
            assert!(release.contains(&format!("\n{kind}:\n ")), "{kind} in {release}");
        }
        let xz = fs::read(archive.root().join("dists/sid/main/binary-amd64/Packages.xz")).expect("served");
        let line = format!(" {} {:>8} main/binary-amd64/Packages.xz\n", Digest::of(&xz), xz.len());
        assert!(release.contains(&line), "{line} in {release}");
        assert!(release.contains(" main/binary-amd64/Packages\n"));
        assert!(!exists(&archive, "dists/sid/main/binary-amd64/Packages"));
        let by_hash = format!(
            "dists/sid/main/binary-amd64/by-hash/SHA512/{}",
            hash_hex(HashType::Sha512, &xz)
        );
        assert!(exists(&archive, &by_hash));
        assert!(text(&archive, "dists/sid/InRelease").contains(&release));
    }

    #[test]
    fn only_the_asked_for_release_files_exist() {
        for (signing, files) in [
            (Signing::All, [true, true, true]),
            (Signing::InRelease, [true, false, false]),
            (Signing::Detached, [false, true, true]),
            (Signing::Unsigned, [false, true, false]),
        ] {
            let (_root, mut archive) = archive(SuiteSpec::new("sid"));
            archive.alter("sid", |suite| suite.signing(signing)).expect("a suite");
            archive.publish(NOW).expect("publishes");
            let found =
                ["InRelease", "Release", "Release.gpg"].map(|file| exists(&archive, &format!("dists/sid/{file}")));
            assert_eq!(found, files, "{signing:?}");
        }
    }

    #[test]
    fn a_change_shows_at_the_next_publication_only() {
        let (_root, mut archive) = archive(SuiteSpec::new("sid").served(&Variant::ALL).package("main", hello("1")));
        archive.add("sid", "main", &hello("2")).expect("a package");
        let index = "dists/sid/main/binary-amd64/Packages";
        assert!(text(&archive, index).contains("\nVersion: 1\n"));
        archive.publish(NOW.plus(60)).expect("publishes");
        let packages = text(&archive, index);
        assert!(
            packages.contains("\nVersion: 2\n") && !packages.contains("\nVersion: 1\n"),
            "{packages}"
        );
        assert!(exists(&archive, "pool/main/h/hello/hello_2_amd64.deb"));
        assert!(!exists(&archive, "pool/main/h/hello/hello_1_amd64.deb"));
        archive.add_version("sid", "main", &hello("3")).expect("a package");
        archive.publish(NOW.plus(120)).expect("publishes");
        assert_eq!(
            archive.pool_paths(),
            [
                "pool/main/h/hello/hello_2_amd64.deb",
                "pool/main/h/hello/hello_3_amd64.deb"
            ]
        );
        archive.remove("sid", "hello").expect("a suite");
        archive.publish(NOW.plus(180)).expect("publishes");
        assert_eq!(text(&archive, index), "");
    }

    #[test]
    fn a_suite_without_changes_is_left_alone() {
        let root = tempfile::tempdir().expect("a directory");
        let builder = ArchiveBuilder::new()
            .suite(SuiteSpec::new("a"))
            .suite(SuiteSpec::new("b/updates"));
        let mut archive = builder.create(root.path(), NOW).expect("an archive");
        let before = (
            text(&archive, "dists/a/InRelease"),
            text(&archive, "dists/b/updates/InRelease"),
        );
        archive.refresh("b/updates").expect("a suite");
        archive.publish(NOW.plus(1)).expect("publishes");
        assert_eq!(text(&archive, "dists/a/InRelease"), before.0);
        assert_ne!(text(&archive, "dists/b/updates/InRelease"), before.1);
    }

    #[test]
    fn architectures_have_their_own_packages_and_those_for_all() {
        let suite = SuiteSpec::new("sid")
            .architectures(&["amd64", "arm64", "all"])
            .served(&Variant::ALL)
            .package("main", hello("1"))
            .package("main", Deb::new("docs", "1", "all"));
        let (_root, archive) = archive(suite);
        let names = |architecture: &str| {
            let packages = text(&archive, &format!("dists/sid/main/binary-{architecture}/Packages"));
            packages
                .lines()
                .filter_map(|line| line.strip_prefix("Package: ").map(str::to_owned))
                .collect::<Vec<_>>()
        };
        assert_eq!(names("amd64"), ["hello", "docs"]);
        assert_eq!(names("arm64"), ["docs"]);
        assert_eq!(names("all"), ["docs"]);
    }

    #[test]
    fn mistakes_are_named() {
        let root = tempfile::tempdir().expect("a directory");
        let create = |suite: SuiteSpec| ArchiveBuilder::new().suite(suite).create(root.path(), NOW).map(|_| ());
        assert!(matches!(
            create(SuiteSpec::new("../x")),
            Err(ArchiveError::Name(NameError::Suite))
        ));
        assert!(matches!(
            create(SuiteSpec::new("sid").package("contrib", hello("1"))),
            Err(ArchiveError::NoComponent { .. })
        ));
        let (_root, mut archive) = archive(SuiteSpec::new("sid"));
        assert!(matches!(archive.remove("bookworm", "x"), Err(ArchiveError::NoSuite(_))));
        assert!(matches!(
            archive.publish(Timestamp::from_unix(-1)),
            Err(ArchiveError::Time(-1))
        ));
    }

    #[test]
    fn hashes_are_those_of_the_format() {
        let empty = [
            "d41d8cd98f00b204e9800998ecf8427e",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
             47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ];
        for (kind, hex) in HashType::ALL.into_iter().zip(empty) {
            assert_eq!(hash_hex(kind, b""), hex, "{kind}");
        }
    }
}

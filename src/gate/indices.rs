//! The indices of a snapshot: whether they are what Release files list, and whether all they name is there.
//!
//! Owns the checks `indices` and `listing`, and the reading of packages for those that follow. Variants that were not there
//! when the snapshot was made are absent and no fault.

use std::collections::{BTreeMap, HashSet};

use super::halt::{Halt, Stop};
use super::releases::SuiteRelease;
use super::report::{Check, Problems, in_one_line};
use super::tree::{Text, Tree};
use crate::apt::installability::{BinaryPackage, BinaryReader};
use crate::apt::layout::in_suite;
use crate::apt::{
    Compression, LONGEST_LIST, LONGEST_UNLISTED_INDEX, PackagesReader, ParseError, PoolFile, Release, ReleaseFile,
    SourcesReader, parse_sums,
};
use crate::catalog::{CatalogError, CatalogReader, ListedFile};
use crate::model::{Checksum, ContentHashes, RepoPath, Suite};

/// What an index lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lists {
    /// Binary packages, perhaps of the installer.
    Binaries { installer: bool },
    /// Source packages.
    Sources,
    /// Images of the installer.
    Images,
    /// Nothing that is looked into.
    Other,
}

impl Lists {
    /// What the index with the uncompressed path `plain` lists.
    fn of(plain: &str) -> Self {
        match plain.rsplit('/').next() {
            Some("Packages") => Self::Binaries {
                installer: format!("/{plain}").contains("/debian-installer/"),
            },
            Some("Sources") => Self::Sources,
            Some("SHA256SUMS") => Self::Images,
            Some(_) | None => Self::Other,
        }
    }
}

/// One index of a suite, with those of its forms that are there.
struct Index<'a> {
    /// Path of the uncompressed form, relative to the archive root.
    plain: RepoPath,
    lists: Lists,
    /// Whether clients take nothing from its suite unless they are told to.
    not_automatic: bool,
    /// What the Release file says of the uncompressed form.
    listed: Option<&'a ReleaseFile>,
    /// Cheapest to read first; at least one.
    forms: Vec<Form<'a>>,
}

struct Form<'a> {
    path: RepoPath,
    compression: Compression,
    listed: &'a ReleaseFile,
    file: &'a ListedFile,
}

/// The packages that indices list.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// Number of source packages.
    sources: u64,
    /// Binary packages.
    pub(super) binaries: Binaries,
    /// Those of the installer, which never have to do with the others.
    pub(super) of_installer: Binaries,
}

/// Binary packages, by whether clients take them unless they are told to.
#[derive(Debug, Default)]
pub(super) struct Binaries {
    /// Those that they take.
    pub(super) automatic: Vec<BinaryPackage>,
    /// Those of suites that say `NotAutomatic`.
    pub(super) on_request: Vec<BinaryPackage>,
}

impl Binaries {
    pub(super) fn append(&mut self, others: Self) {
        self.automatic.extend(others.automatic);
        self.on_request.extend(others.on_request);
    }
}

impl Packages {
    /// Number of packages. One that several indices list, as those for all architectures are, is one package.
    pub(super) fn count(&self) -> u64 {
        let of = |binaries: &Binaries| {
            let all = binaries.automatic.iter().chain(&binaries.on_request);
            let names = all.map(|package| (&*package.name, &*package.version, &*package.architecture));
            names.collect::<HashSet<_>>().len() as u64
        };
        self.sources + of(&self.binaries) + of(&self.of_installer)
    }
}

/// A look at the indices under way.
struct Look<'a> {
    tree: &'a Tree<'a>,
    reader: &'a CatalogReader,
    deep: bool,
    stop: Stop<'a>,
    packages: Packages,
    indices: u64,
    wrong: Problems,
    /// Number of times that a file is named and is there.
    there: u64,
    /// Files that are named and not there.
    absent: HashSet<Box<str>>,
    /// Files that are there and not what is named.
    strange: Problems,
}

/// Checks the indices of every suite, and all that they name. `absent` is the number of files that filters have left out.
///
/// # Errors
/// When the catalog cannot be read, or the test is to stop.
pub(super) fn check(
    releases: &[SuiteRelease],
    tree: &Tree<'_>,
    reader: &CatalogReader,
    (deep, absent): (bool, u64),
    stop: Stop<'_>,
) -> Result<(Packages, [Check; 2]), Halt> {
    let mut look = Look {
        tree,
        reader,
        deep,
        stop,
        packages: Packages::default(),
        indices: 0,
        wrong: Problems::default(),
        there: 0,
        absent: HashSet::new(),
        strange: Problems::default(),
    };
    for suite in releases {
        match suite.release.as_ref() {
            Ok(release) => {
                for index in indices(tree, &suite.suite, release) {
                    look.at(&index)?;
                }
            }
            Err(why) => look.wrong.add(format!("{}: {why}", suite.suite)),
        }
    }
    let indices = Check::of(
        "indices",
        format!("{} indices were compared with Release files", look.indices),
        look.wrong,
    );
    let listing = listing(look.there, look.absent, absent, look.strange);
    Ok((look.packages, [indices, listing]))
}

/// The check of what indices name: files are left out by filters, or are missing.
fn listing(there: u64, not_there: HashSet<Box<str>>, left_out: u64, strange: Problems) -> Check {
    let missing = not_there.len() as u64;
    let mut problems = strange;
    let mut text = format!("{there} files that indices name are there");
    if missing > left_out {
        text = format!("{missing} files that indices name are not there, and filters leave {left_out} out");
        let mut paths: Vec<Box<str>> = not_there.into_iter().collect();
        paths.sort_unstable();
        let mut absent = Problems::default();
        for path in paths {
            absent.add(format!("{path} is not there"));
        }
        problems.append(absent);
    } else if missing > 0 {
        text = format!("{text}; {missing} more are not, because the filters leave them out");
    }
    Check::of("listing", text, problems)
}

/// The packages of a snapshot that another is compared with. What cannot be read is told to `unreadable`.
///
/// # Errors
/// When the test is to stop.
pub(super) fn packages(
    releases: &[SuiteRelease],
    tree: &Tree<'_>,
    stop: Stop<'_>,
    mut unreadable: impl FnMut(String),
) -> Result<Packages, Halt> {
    let mut packages = Packages::default();
    for suite in releases {
        let release = match suite.release.as_ref() {
            Ok(release) => release,
            Err(why) => {
                unreadable(format!("the Release file of {} cannot be read: {why}", suite.suite));
                continue;
            }
        };
        for index in indices(tree, &suite.suite, release) {
            stop.look()?;
            let read = match index.lists {
                Lists::Binaries { .. } => index.read_binaries(tree, &mut packages, |_| ()),
                Lists::Sources => index.read_sources(tree, &mut packages, |_| ()),
                Lists::Images | Lists::Other => continue,
            };
            if let Err(why) = read {
                unreadable(format!("{} cannot be read: {why}", index.forms[0].path));
            }
        }
    }
    Ok(packages)
}

/// The indices of a suite of which any form is there.
fn indices<'a>(tree: &'a Tree<'_>, suite: &Suite, release: &'a Release) -> Vec<Index<'a>> {
    let listed = &release.files;
    let mut found: BTreeMap<&str, Vec<Form<'a>>> = BTreeMap::new();
    for (path, file) in listed {
        let Ok(place) = in_suite(suite, path.as_str()) else {
            continue;
        };
        let Some(there) = tree.files.get(place.as_str()) else {
            continue;
        };
        let (plain, compression) = Compression::plain_form(path.as_str());
        found.entry(plain).or_default().push(Form {
            path: place,
            compression,
            listed: file,
            file: there,
        });
    }
    let index = |(plain, mut forms): (&str, Vec<Form<'a>>)| {
        forms.sort_by_key(|form| form.compression);
        Some(Index {
            plain: in_suite(suite, plain).ok()?,
            lists: Lists::of(plain),
            not_automatic: release.not_automatic,
            listed: plain.parse().ok().and_then(|plain: RepoPath| listed.get(&plain)),
            forms,
        })
    };
    found.into_iter().filter_map(index).collect()
}

impl Index<'_> {
    /// The longest text that is read.
    fn cap(&self) -> u64 {
        self.listed.map_or(LONGEST_UNLISTED_INDEX, |listed| listed.size)
    }

    fn expected(&self) -> Option<Checksum> {
        self.listed.map(|listed| listed.checksum)
    }

    fn read_form(
        &self,
        tree: &Tree<'_>,
        form: &Form<'_>,
        each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Text, String> {
        tree.read_text(form.file, form.compression, (self.cap(), self.expected()), each)
    }

    /// Reads the packages from the cheapest form, and hands each file that they name to `each`.
    fn read_binaries(
        &self,
        tree: &Tree<'_>,
        packages: &mut Packages,
        each: impl FnMut(PoolFile),
    ) -> Result<Text, String> {
        let of = match self.lists {
            Lists::Binaries { installer: true } => &mut packages.of_installer,
            Lists::Binaries { installer: false } | Lists::Sources | Lists::Images | Lists::Other => {
                &mut packages.binaries
            }
        };
        let of = if self.not_automatic {
            &mut of.on_request
        } else {
            &mut of.automatic
        };
        let (mut files, mut binaries) = (PackagesReader::new(each), BinaryReader::new(|package| of.push(package)));
        let text = self.read_form(tree, &self.forms[0], |piece| {
            files.push(piece).and_then(|()| binaries.push(piece)).map_err(told)
        })?;
        files.finish().map_err(told)?;
        binaries.finish().map_err(told)?;
        Ok(text)
    }

    /// Counts the source packages, and hands each file that they name to `each`.
    fn read_sources(
        &self,
        tree: &Tree<'_>,
        packages: &mut Packages,
        each: impl FnMut(PoolFile),
    ) -> Result<Text, String> {
        let mut files = SourcesReader::new(each);
        let text = self.read_form(tree, &self.forms[0], |piece| files.push(piece).map_err(told))?;
        packages.sources += files.finish().map_err(told)?;
        Ok(text)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn told(error: ParseError) -> String {
    in_one_line(&error)
}

impl Look<'_> {
    fn at(&mut self, index: &Index<'_>) -> Result<(), Halt> {
        self.stop.look()?;
        self.indices += 1;
        // What cannot be read is told once, as what it is.
        match self.read(index) {
            Ok(text) => self.compare(index, text),
            Err(why) => {
                self.wrong.add(format!("{}: {why}", index.forms[0].path));
                Ok(())
            }
        }
    }

    /// Reads an index that says what else there must be; `None` for one that does not.
    fn read(&mut self, index: &Index<'_>) -> Result<Option<Text>, String> {
        let mut named = Vec::new();
        let text = match index.lists {
            Lists::Binaries { .. } => index.read_binaries(self.tree, &mut self.packages, |file| named.push(file))?,
            Lists::Sources => index.read_sources(self.tree, &mut self.packages, |file| named.push(file))?,
            Lists::Images => return self.read_images(index).map(Some),
            Lists::Other => return Ok(None),
        };
        for file in named {
            self.look_for(file.path.as_str(), Some(file.size), file.checksum);
        }
        Ok(Some(text))
    }

    fn read_images(&mut self, index: &Index<'_>) -> Result<Text, String> {
        let mut list = Vec::new();
        let text = index.read_form(self.tree, &index.forms[0], |piece| {
            list.extend_from_slice(piece);
            (list.len() as u64 <= LONGEST_LIST)
                .then_some(())
                .ok_or_else(|| "it is too long".to_owned())
        })?;
        let directory = index.plain.parent();
        for image in parse_sums(&list).map_err(told)? {
            let path = match &directory {
                Some(directory) => directory.join(image.path.as_str()).map_err(|error| error.to_string())?,
                None => image.path,
            };
            self.look_for(path.as_str(), None, image.checksum);
        }
        Ok(text)
    }

    /// Makes sure that a file which an index names is there and is the one that it means.
    fn look_for(&mut self, path: &str, size: Option<u64>, checksum: Checksum) {
        let Some(there) = self.tree.files.get(path) else {
            self.absent.insert(path.into());
            return;
        };
        self.there += 1;
        let same_size = size.is_none_or(|size| size == there.size);
        // Archives that have SHA-512 alone: whether the bytes fit was checked when they came, and the name tells no more.
        let same = checksum.digest().is_none_or(|digest| digest == there.digest);
        if !(same_size && same) {
            self.strange.add(format!("{path} is another file than its index names"));
        }
    }

    /// Makes sure that every form is the file that Release lists, and that all of them have the text that it lists.
    fn compare(&mut self, index: &Index<'_>, read: Option<Text>) -> Result<(), Halt> {
        let mut first: Option<Text> = None;
        for (number, form) in index.forms.iter().enumerate() {
            self.stop.look()?;
            match self.is_listed(form) {
                Ok(true) => {}
                Ok(false) => {
                    self.wrong
                        .add(format!("{} is another file than Release lists", form.path));
                    continue;
                }
                Err(why) => {
                    self.wrong.add(format!("{}: {why}", form.path));
                    continue;
                }
            }
            let text = match read.filter(|_| number == 0) {
                Some(text) => Ok(text),
                None => self.text(index, form)?,
            };
            let text = match text {
                Ok(text) => text,
                Err(why) => {
                    self.wrong.add(format!("{}: {why}", form.path));
                    continue;
                }
            };
            let as_listed = index
                .listed
                .is_none_or(|plain| text.size == plain.size && text.hashes.fit(plain.checksum));
            let as_first = first.is_none_or(|first| first.hashes.digest == text.hashes.digest);
            if !as_listed {
                self.wrong
                    .add(format!("{} does not decompress to what Release lists", form.path));
            } else if !as_first {
                self.wrong
                    .add(format!("{} is another index than its other forms", form.path));
            }
            first = first.or(Some(text));
        }
        Ok(())
    }

    /// Whether the file is the one that Release lists.
    fn is_listed(&self, form: &Form<'_>) -> Result<bool, String> {
        if form.listed.size != form.file.size {
            return Ok(false);
        }
        match form.listed.checksum {
            Checksum::Sha256(digest) => Ok(digest == form.file.digest),
            expected @ Checksum::Sha512(_) => {
                let what = (form.listed.size, Some(expected));
                let bytes = self.tree.read_text(form.file, Compression::None, what, |_| Ok(()))?;
                Ok(bytes.hashes.fit(expected))
            }
        }
    }

    /// The text of a form: from the catalog, where an earlier reading of the same bytes has left it there and that is enough.
    fn text(&self, index: &Index<'_>, form: &Form<'_>) -> Result<Result<Text, String>, CatalogError> {
        let wants_sha512 = matches!(index.expected(), Some(Checksum::Sha512(_)));
        if !self.deep && !wants_sha512 {
            let whole = |digest, size| {
                let hashes = ContentHashes { digest, sha512: None };
                Ok(Ok(Text { hashes, size }))
            };
            if form.compression == Compression::None {
                return whole(form.file.digest, form.file.size);
            }
            if let Some(known) = self.reader.uncompressed(form.file.digest)? {
                return whole(known.digest, known.size);
            }
        }
        Ok(index.read_form(self.tree, form, |_| Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_known_by_their_paths() {
        for (path, plain, compression, lists) in [
            (
                "main/binary-amd64/Packages.xz",
                "main/binary-amd64/Packages",
                Compression::Xz,
                Lists::Binaries { installer: false },
            ),
            (
                "Packages",
                "Packages",
                Compression::None,
                Lists::Binaries { installer: false },
            ),
            (
                "main/debian-installer/binary-all/Packages.gz",
                "main/debian-installer/binary-all/Packages",
                Compression::Gzip,
                Lists::Binaries { installer: true },
            ),
            (
                "main/source/Sources.zst",
                "main/source/Sources",
                Compression::Zstd,
                Lists::Sources,
            ),
            (
                "main/installer-amd64/current/images/SHA256SUMS",
                "main/installer-amd64/current/images/SHA256SUMS",
                Compression::None,
                Lists::Images,
            ),
            (
                "main/i18n/Translation-en.bz2",
                "main/i18n/Translation-en",
                Compression::Bzip2,
                Lists::Other,
            ),
        ] {
            assert_eq!(Compression::plain_form(path), (plain, compression), "{path}");
            assert_eq!(Lists::of(plain), lists, "{path}");
        }
    }
}

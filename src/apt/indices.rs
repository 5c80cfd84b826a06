//! Which files of a Release file a selection needs.
//!
//! Pure: from a Release file and a selection to the wanted indices with their listed variants. Which variants
//! upstream really offers is found out by whoever fetches them. What is not wanted here is not in the served tree: that
//! includes the differences between two indices (`Packages.diff`), instead of which clients then take the index.

use std::collections::{BTreeMap, BTreeSet};

use super::compression::Compression;
use super::release::{Release, ReleaseFile};
use crate::model::{Architecture, Component, Content, RepoPath, Translations};

/// What is wanted of a suite.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Whether the suite is a flat repository, which has neither components nor architectures.
    pub flat: bool,
    /// The components.
    pub components: &'a [Component],
    /// The architectures of each.
    pub architectures: &'a [Architecture],
    /// What else.
    pub content: &'a Content,
}

/// What an index lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexKind {
    /// Binary packages.
    Packages,
    /// Source packages.
    Sources,
    /// Files below its own directory, as `sha256sum` lists them: images of the installer.
    Sums,
    /// Translations beside it, in archives whose Release files do not list them.
    TranslationList,
    /// Nothing that is mirrored because of it: it is served as it is.
    Plain,
    /// As [`IndexKind::Plain`], and no client asks for it.
    Aside,
}

impl IndexKind {
    /// Whether the index names the files of the pool, without which there is nothing to install.
    #[must_use]
    pub fn names_pool(self) -> bool {
        match self {
            Self::Packages | Self::Sources => true,
            Self::Sums | Self::Plain | Self::TranslationList | Self::Aside => false,
        }
    }

    /// Whether clients ask for such indices.
    fn is_asked_for(self) -> bool {
        match self {
            Self::Packages | Self::Sources | Self::Sums | Self::Plain => true,
            Self::TranslationList | Self::Aside => false,
        }
    }
}

/// One index that a selection needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedIndex {
    /// What it lists.
    pub kind: IndexKind,
    /// Path of the uncompressed index, relative to the Release file's directory; clients derive the others from it.
    pub plain: RepoPath,
    /// The listed variants that mirrorctl can read, cheapest to parse first; at least one.
    pub variants: Vec<Variant>,
    /// What the Release file says of the uncompressed index, which archives list even where they do not serve it.
    pub plain_file: Option<ReleaseFile>,
    /// Whether a mirror without the index would fail its clients: APT updates nothing of a source of which it cannot have
    /// an index that it asks for and Release lists.
    pub required: bool,
}

/// One compressed form of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its path, relative to the Release file's directory.
    pub path: RepoPath,
    /// How it is compressed.
    pub compression: Compression,
    /// What the Release file says of it.
    pub file: ReleaseFile,
}

/// A selection that the archive does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// The Release file lists no index for a component.
    #[error("the Release file has no component {component}; it has {}", named(available))]
    Component {
        /// What was asked for.
        component: Component,
        /// Components with indices.
        available: Vec<String>,
    },
    /// The Release file lists no index for an architecture of a component.
    #[error(
        "component {component} has no architecture {architecture}; it has {}",
        named(available)
    )]
    Architecture {
        /// The component.
        component: Component,
        /// What was asked for.
        architecture: Architecture,
        /// Architectures of that component with indices.
        available: Vec<String>,
    },
    /// The Release file lists no index of source packages.
    #[error("the Release file has no source packages: it does not list {index}, which mirror_source asks for")]
    Sources {
        /// The uncompressed index's path.
        index: String,
    },
    /// The Release file of a flat repository lists no index of packages.
    #[error("the Release file does not list the Packages index that a flat repository has beside it")]
    NoPackages,
    /// An index is listed only in forms that mirrorctl cannot read.
    #[error(
        "{index} is listed only in forms that cannot be read; readable are none, {}",
        readable()
    )]
    Unreadable {
        /// The uncompressed index's path.
        index: String,
    },
}

/// The indices that `selection` needs: for each component, for each architecture, the packages, and then the sources;
/// after these everything else, sorted by path.
///
/// Architecture `all` is wanted wherever the Release file lists it, whether or not it is among the architectures, and
/// missed nowhere: most archives list such packages with every architecture instead. Those that do both say so, and then
/// a mirror of theirs that has the other indices only is as good an upstream. Whether something exists is
/// judged by the listed files and not by the fields `Components` and `Architectures`, which some archives leave out,
/// and others fill with names that their paths do not have.
///
/// # Errors
/// What the archive does not have, with what it has instead.
pub fn wanted(release: &Release, selection: &Selection<'_>) -> Result<Vec<WantedIndex>, WantedError> {
    let listed = Listed::of(release);
    let mut indices = if selection.flat {
        flat(&listed, selection)?
    } else {
        packages(&listed, selection)?
    };
    let choice = Choice {
        selection,
        listed: &listed,
    };
    for plain in listed.forms.keys() {
        if let Some(kind) = choice.kind(plain) {
            indices.push(listed.required(kind, plain)?);
        }
    }
    Ok(indices)
}

/// The indices of packages of every component.
fn packages(listed: &Listed<'_>, selection: &Selection<'_>) -> Result<Vec<WantedIndex>, WantedError> {
    let offered = Offered::of(listed.release);
    let configured = selection.architectures.iter().any(|name| name.as_str() == ALL);
    let needs_all = configured || clients_ask_for_all(listed.release);
    let mut indices = Vec::new();
    for component in selection.components {
        if !offered.has_component(component) {
            let (component, available) = (component.clone(), offered.components());
            return Err(WantedError::Component { component, available });
        }
        for architecture in with_all(selection.architectures) {
            if offered.has(component, architecture) {
                let plain = format!("{component}/binary-{architecture}/{PACKAGES}");
                let mut index = listed.required(IndexKind::Packages, &plain)?;
                index.required = architecture != ALL || needs_all;
                indices.push(index);
            } else if architecture != ALL {
                return Err(offered.missing(component, architecture));
            }
        }
        if selection.content.sources && parent_of_udebs(component).is_none() {
            indices.push(listed.sources(&format!("{component}/source/{SOURCES}"))?);
        }
    }
    Ok(indices)
}

/// Whether APT asks for indices of `all` that a Release file lists: not where the packages in them are in those of every
/// architecture as well, nor where `all` is not among the architectures, as in Debian's security archive.
fn clients_ask_for_all(release: &Release) -> bool {
    let named = &release.architectures;
    !release.all_is_everywhere && (named.is_empty() || named.iter().any(|name| name.as_str() == ALL))
}

/// The indices of packages of a flat repository.
fn flat(listed: &Listed<'_>, selection: &Selection<'_>) -> Result<Vec<WantedIndex>, WantedError> {
    if !listed.has_any_form(PACKAGES) {
        return Err(WantedError::NoPackages);
    }
    let mut indices = vec![listed.required(IndexKind::Packages, PACKAGES)?];
    if selection.content.sources {
        indices.push(listed.sources(SOURCES)?);
    }
    Ok(indices)
}

const PACKAGES: &str = "Packages";
const SOURCES: &str = "Sources";

/// The architecture of packages that fit every architecture.
const ALL: &str = "all";

/// The given architectures, `all` among them exactly once and last.
fn with_all(architectures: &[Architecture]) -> impl Iterator<Item = &str> {
    let given = architectures
        .iter()
        .map(Architecture::as_str)
        .filter(|name| *name != ALL);
    given.chain([ALL])
}

/// For a component of packages for the installer (udebs), the component it belongs to.
fn parent_of_udebs(component: &Component) -> Option<&str> {
    component.as_str().strip_suffix("/debian-installer")
}

/// The files of a Release file that can be read, each with the forms in which it is listed.
struct Listed<'a> {
    release: &'a Release,
    /// By the path of the uncompressed file.
    forms: BTreeMap<&'a str, Vec<Compression>>,
}

impl<'a> Listed<'a> {
    fn of(release: &'a Release) -> Self {
        let mut forms: BTreeMap<&str, Vec<Compression>> = BTreeMap::new();
        for path in release.files.keys() {
            let (plain, compression) = Compression::plain_form(path.as_str());
            forms.entry(plain).or_default().push(compression);
        }
        for forms in forms.values_mut() {
            forms.sort_unstable();
        }
        Self { release, forms }
    }

    /// Whether the index at `plain` is listed in any form, be it one that cannot be read.
    fn has_any_form(&self, plain: &str) -> bool {
        let mut paths = self.release.files.keys();
        paths.any(|path| is_form_of(path.as_str(), plain))
    }

    fn sources(&self, plain: &str) -> Result<WantedIndex, WantedError> {
        if !self.has_any_form(plain) {
            return Err(WantedError::Sources {
                index: plain.to_owned(),
            });
        }
        self.required(IndexKind::Sources, plain)
    }

    fn required(&self, kind: IndexKind, plain: &str) -> Result<WantedIndex, WantedError> {
        let unreadable = || WantedError::Unreadable {
            index: plain.to_owned(),
        };
        let forms = self.forms.get(plain).ok_or_else(unreadable)?;
        let variant = |compression: Compression| {
            let path: RepoPath = format!("{plain}{}", compression.suffix()).parse().ok()?;
            let file = self.release.files.get(&path)?.clone();
            Some(Variant {
                path,
                compression,
                file,
            })
        };
        let plain: RepoPath = plain.parse().map_err(|_| unreadable())?;
        Ok(WantedIndex {
            kind,
            required: kind.is_asked_for(),
            variants: forms.iter().copied().filter_map(variant).collect(),
            plain_file: self.release.files.get(&plain).cloned(),
            plain,
        })
    }
}

/// Whether `path` is a form of the index at `plain`, be it one that cannot be read.
fn is_form_of(path: &str, plain: &str) -> bool {
    let suffix = path.strip_prefix(plain);
    suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('.') && !suffix.contains('/'))
}

/// Tells of a path whether it is wanted besides the indices of packages.
struct Choice<'a> {
    selection: &'a Selection<'a>,
    listed: &'a Listed<'a>,
}

impl Choice<'_> {
    /// What the file whose uncompressed form has the path `plain` is, if it is wanted.
    fn kind(&self, plain: &str) -> Option<IndexKind> {
        if self.selection.flat {
            return self.is_flat_translation(plain).then_some(IndexKind::Plain);
        }
        if !plain.contains('/') {
            return self.wants_contents(plain, None).then_some(IndexKind::Plain);
        }
        self.selection.components.iter().find_map(|component| {
            // The contents of udebs lie beside those of packages.
            let parent = parent_of_udebs(component).unwrap_or(component.as_str());
            if below(plain, parent).is_some_and(|name| self.wants_contents(name, Some(component))) {
                return Some(IndexKind::Plain);
            }
            self.kind_in(component, below(plain, component.as_str())?)
        })
    }

    /// In a flat repository, a translation has the name of its language.
    fn is_flat_translation(&self, plain: &str) -> bool {
        match &self.selection.content.translations {
            Translations::Of(languages) => languages.iter().any(|language| language.as_str() == plain),
            Translations::All => is_called_like_a_language(plain),
        }
    }

    /// What the file `name` of `component` is, if it is wanted.
    fn kind_in(&self, component: &Component, name: &str) -> Option<IndexKind> {
        let content = self.selection.content;
        let (directory, file) = name.split_once('/')?;
        let wanted = match (directory, file) {
            ("i18n", "Index") => {
                let wanted = self.wants_translation_list(component);
                return wanted.then_some(IndexKind::TranslationList);
            }
            ("i18n", _) => {
                let language = file.strip_prefix("Translation-");
                language.is_some_and(|language| content.translations.include(language))
            }
            ("dep11", _) => content.appstream && self.is_appstream(file),
            ("cnf", _) => content.command_not_found && self.has_architecture(file.strip_prefix("Commands-")),
            (_, "Release") => {
                let is_ours = directory == "source" && content.sources
                    || self.has_architecture(directory.strip_prefix("binary-"));
                return is_ours.then_some(IndexKind::Aside);
            }
            _ if self.has_architecture(directory.strip_prefix("installer-")) => {
                let is_sums = file == "SHA256SUMS" || file.ends_with("/SHA256SUMS");
                let kind = if is_sums { IndexKind::Sums } else { IndexKind::Aside };
                return content.installer.then_some(kind);
            }
            _ => false,
        };
        wanted.then_some(IndexKind::Plain)
    }

    /// Whether `name` tells which files are in the packages of `component`, or of all components together.
    fn wants_contents(&self, name: &str, component: Option<&Component>) -> bool {
        let content = self.selection.content;
        let Some(of) = name.strip_prefix("Contents-").filter(|_| content.contents) else {
            return false;
        };
        let are_udebs = |component: &Component| parent_of_udebs(component).is_some();
        let components = self.selection.components;
        let has_udebs = component.map_or_else(|| components.iter().any(are_udebs), are_udebs);
        let has_debs = !component.is_some_and(are_udebs);
        let of_debs = self.has_architecture(Some(of)) || content.sources && of == "source";
        has_debs && of_debs || has_udebs && self.has_architecture(of.strip_prefix("udeb-"))
    }

    /// Whether the list of translations is wanted: it is for archives whose Release files do not name these.
    fn wants_translation_list(&self, component: &Component) -> bool {
        let none = Translations::Of(Vec::new());
        let prefix = format!("{component}/i18n/Translation-");
        let mut following = self.listed.forms.range(prefix.as_str()..);
        let listed = following.next().is_some_and(|(plain, _)| plain.starts_with(&prefix));
        self.selection.content.translations != none && !listed
    }

    fn is_appstream(&self, file: &str) -> bool {
        let components = file.strip_prefix("Components-");
        let components = components.and_then(|file| file.strip_suffix(".yml"));
        let icons = file.strip_prefix("icons-");
        self.has_architecture(components) || icons.is_some_and(|file| file.strip_suffix(".tar").is_some())
    }

    fn has_architecture(&self, name: Option<&str>) -> bool {
        name.is_some_and(|name| with_all(self.selection.architectures).any(|known| known == name))
    }
}

/// `path` without the directory that it starts with.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    path.strip_prefix(directory)?.strip_prefix('/')
}

/// The components and architectures that a Release file has indices for.
struct Offered<'a>(BTreeSet<(&'a str, &'a str)>);

impl<'a> Offered<'a> {
    fn of(release: &'a Release) -> Self {
        Self(release.files.keys().filter_map(component_and_architecture).collect())
    }

    fn has_component(&self, component: &Component) -> bool {
        self.0.iter().any(|(name, _)| *name == component.as_str())
    }

    fn has(&self, component: &Component, architecture: &str) -> bool {
        self.0.contains(&(component.as_str(), architecture))
    }

    fn components(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.0.iter().map(|(component, _)| *component).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn missing(&self, component: &Component, architecture: &str) -> WantedError {
        let of_component = self.0.iter().filter(|(name, _)| *name == component.as_str());
        WantedError::Architecture {
            component: component.clone(),
            architecture: architecture.parse().expect("came from an architecture"),
            available: of_component
                .map(|(_, architecture)| (*architecture).to_owned())
                .collect(),
        }
    }
}

/// What `path` is the Packages index of, in whatever form.
fn component_and_architecture(path: &RepoPath) -> Option<(&str, &str)> {
    let (directory, name) = path.as_str().rsplit_once('/')?;
    let (component, architecture) = directory.rsplit_once("/binary-")?;
    (is_form_of(name, PACKAGES) && !architecture.contains('/')).then_some((component, architecture))
}

fn named(names: &[String]) -> String {
    if names.is_empty() {
        return "no Packages index at all".to_owned();
    }
    names.join(", ")
}

fn readable() -> String {
    let suffixes: Vec<_> = Compression::ALL
        .into_iter()
        .map(Compression::suffix)
        .filter(|s| !s.is_empty())
        .collect();
    suffixes.join(", ")
}

/// Whether a file name is that of a locale's language, as in `de`, `pt_BR` and `sr@latin`: where any file could be a
/// translation, only such names are taken for one.
fn is_called_like_a_language(name: &str) -> bool {
    let (name, variant) = name.split_once('@').unwrap_or((name, "x"));
    let (language, country) = name.split_once('_').unwrap_or((name, "XX"));
    (2..=3).contains(&language.len())
        && language.bytes().all(|c| c.is_ascii_lowercase())
        && country.len() == 2
        && country.bytes().all(|c| c.is_ascii_uppercase())
        && !variant.is_empty()
        && variant.bytes().all(|c| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_from_other_files() {
        for name in ["en", "pt_BR", "sr@latin", "ast", "ca_ES@valencia"] {
            assert!(is_called_like_a_language(name), "{name}");
        }
        for name in [
            "", "e", "Packages", "other", "pt_br", "en_", "sr@", "EN", "a.b", "@latin",
        ] {
            assert!(!is_called_like_a_language(name), "{name}");
        }
    }

    use crate::model::{Checksum, Digest};

    fn release(paths: &[&str]) -> Release {
        let file = |path: &&str| {
            let file = ReleaseFile {
                size: 1,
                checksum: Checksum::Sha256(Digest::of(path.as_bytes())),
                hashes: Vec::new(),
            };
            (path.parse().expect("valid path"), file)
        };
        Release {
            files: paths.iter().map(file).collect(),
            ..Release::default()
        }
    }

    fn wants(paths: &[&str], components: &[&str], architectures: &[&str]) -> Result<Vec<WantedIndex>, WantedError> {
        wants_with(paths, components, architectures, &Content::default())
    }

    fn wants_with(
        paths: &[&str],
        components: &[&str],
        architectures: &[&str],
        content: &Content,
    ) -> Result<Vec<WantedIndex>, WantedError> {
        let components: Vec<_> = components.iter().map(|name| name.parse().expect("valid")).collect();
        let architectures: Vec<_> = architectures.iter().map(|name| name.parse().expect("valid")).collect();
        let selection = Selection {
            flat: components.is_empty(),
            components: &components,
            architectures: &architectures,
            content,
        };
        wanted(&release(paths), &selection)
    }

    /// What of `extra` is wanted beside the packages of components main and main/debian-installer for amd64.
    fn chosen<'a>(extra: &[&'a str], content: &Content) -> Vec<(&'a str, IndexKind)> {
        let packages = [
            "main/binary-amd64/Packages",
            "main/debian-installer/binary-amd64/Packages",
        ];
        let paths = [&packages[..], &["main/source/Sources.xz"], extra].concat();
        let wanted = wants_with(&paths, &["main", "main/debian-installer"], &["amd64"], content).expect("listed");
        let found = |path: &&'a str| {
            let index = wanted
                .iter()
                .find(|index| index.variants.iter().any(|v| v.path.as_str() == *path));
            index.map(|index| (*path, index.kind))
        };
        extra.iter().filter_map(found).collect()
    }

    fn paths_of<'a>(chosen: &[(&'a str, IndexKind)]) -> Vec<&'a str> {
        chosen.iter().map(|(path, _)| *path).collect()
    }

    const OFF: Content = Content {
        sources: false,
        translations: Translations::Of(Vec::new()),
        contents: false,
        appstream: false,
        command_not_found: false,
        installer: false,
    };

    fn plain_paths(indices: &[WantedIndex]) -> Vec<&str> {
        indices.iter().map(|index| index.plain.as_str()).collect()
    }

    #[test]
    fn every_readable_variant_is_wanted_cheapest_first() {
        let paths = ["", ".bz2", ".diff/Index", ".gz", ".lz4", ".lzma", ".lzo", ".xz", ".zst"]
            .map(|suffix| format!("main/binary-amd64/Packages{suffix}"));
        let indices = wants(&paths.each_ref().map(String::as_str), &["main"], &["amd64"]).expect("listed");
        assert_eq!(indices.len(), 1);
        let names: Vec<_> = indices[0]
            .variants
            .iter()
            .map(|variant| variant.path.file_name())
            .collect();
        let expected = ["", ".lz4", ".zst", ".gz", ".xz", ".lzma", ".bz2"].map(|suffix| format!("Packages{suffix}"));
        assert_eq!(names, expected);
        assert_eq!(indices[0].plain_file.as_ref(), Some(&indices[0].variants[0].file));
    }

    #[test]
    fn the_uncompressed_index_need_not_be_listed() {
        let indices = wants(&["main/binary-amd64/Packages.gz"], &["main"], &["amd64"]).expect("listed");
        assert_eq!(plain_paths(&indices), ["main/binary-amd64/Packages"]);
        assert_eq!(indices[0].plain_file, None);
        assert_eq!(indices[0].variants.len(), 1);
    }

    #[test]
    fn architecture_all_is_wanted_where_it_is_listed() {
        let paths = [
            "main/binary-amd64/Packages",
            "main/binary-all/Packages",
            "contrib/binary-amd64/Packages",
            "main/debian-installer/binary-amd64/Packages",
        ];
        let components = ["main", "contrib", "main/debian-installer"];
        let expected = [paths[0], paths[1], paths[2], paths[3]];
        for architectures in [&["amd64"][..], &["amd64", "all"], &["all", "amd64"]] {
            let indices = wants(&paths, &components, architectures).expect("listed");
            assert_eq!(plain_paths(&indices), expected, "{architectures:?}");
        }
    }

    #[test]
    fn an_index_of_all_that_repeats_the_others_is_not_required() {
        let paths = ["main/binary-amd64/Packages", "main/binary-all/Packages"];
        let named = |names: &[&str]| -> Vec<Architecture> {
            let names = names.iter().map(|name| name.parse().expect("valid"));
            names.collect()
        };
        for (architectures, everywhere, offered, required) in [
            (&["amd64"][..], false, &[][..], true),
            (&["amd64"], false, &["amd64", "all"], true),
            (&["amd64"], true, &["amd64", "all"], false),
            (&["amd64"], false, &["amd64"], false),
            (&["amd64", "all"], true, &["amd64"], true),
        ] {
            let mut release = release(&paths);
            (release.all_is_everywhere, release.architectures) = (everywhere, named(offered));
            let architectures = named(architectures);
            let selection = Selection {
                flat: false,
                components: &["main".parse().expect("valid")],
                architectures: &architectures,
                content: &OFF,
            };
            let indices = wanted(&release, &selection).expect("listed");
            let found: Vec<_> = indices
                .iter()
                .map(|index| (index.plain.as_str(), index.required))
                .collect();
            assert_eq!(
                found,
                [(paths[0], true), (paths[1], required)],
                "{architectures:?} of {offered:?}"
            );
        }
    }

    #[test]
    fn what_the_archive_lacks_is_named_with_what_it_has() {
        let paths = [
            "main/binary-amd64/Packages.xz",
            "main/binary-arm64/Packages.xz",
            "contrib/i18n/Index",
        ];
        let text = |result: Result<_, WantedError>| result.expect_err("not listed").to_string();
        assert_eq!(
            text(wants(&paths, &["contrib"], &["amd64"])),
            "the Release file has no component contrib; it has main"
        );
        assert_eq!(
            text(wants(&paths, &["main"], &["amd64", "i386"])),
            "component main has no architecture i386; it has amd64, arm64"
        );
        assert_eq!(
            text(wants(&["x"], &["main"], &["amd64"])),
            "the Release file has no component main; it has no Packages index at all"
        );
        assert!(matches!(
            wants(&["main/binary-amd64/Packages.lzo"], &["main"], &["amd64"]),
            Err(WantedError::Unreadable { .. })
        ));
    }

    #[test]
    fn prefixed_components_are_found_by_their_files() {
        let mut release = release(&["main/binary-amd64/Packages.gz"]);
        release.components = vec!["updates/main".parse().expect("valid")];
        let (main, amd64) = ("main".parse().expect("valid"), "amd64".parse().expect("valid"));
        let selection = Selection {
            flat: false,
            components: &[main],
            architectures: &[amd64],
            content: &OFF,
        };
        assert_eq!(wanted(&release, &selection).map(|indices| indices.len()), Ok(1));
    }

    #[test]
    fn each_kind_of_index_has_its_switch() {
        let translations = ["main/i18n/Translation-en.bz2", "main/i18n/Translation-en"];
        let appstream = ["main/dep11/Components-amd64.yml.gz", "main/dep11/icons-64x64@2.tar.gz"];
        let commands = ["main/cnf/Commands-amd64.xz"];
        let contents = [
            "main/Contents-amd64.gz",
            "main/Contents-all.gz",
            "main/Contents-udeb-amd64.gz",
            "Contents-amd64.gz",
            "Contents-udeb-amd64.gz",
        ];
        let installer = [
            "main/installer-amd64/current/images/SHA256SUMS",
            "main/installer-amd64/current/images/MD5SUMS",
            "main/installer-amd64/SHA256SUMS",
        ];
        let releases = [
            "main/binary-amd64/Release",
            "main/debian-installer/binary-amd64/Release",
        ];
        let never = [
            "main/binary-amd64/Packages.diff/Index",
            "main/binary-arm64/Release",
            "main/binary-amd64/Packages.lzo",
            "main/i18n/Translation-de.bz2",
            "main/i18n/Index",
            "main/dep11/Components-arm64.yml.gz",
            "main/dep11/CID-Index-amd64.json.gz",
            "main/cnf/Commands-arm64.xz",
            "main/Contents-arm64.gz",
            "main/installer-arm64/current/images/SHA256SUMS",
            "contrib/i18n/Translation-en.xz",
            "contrib/Contents-amd64.gz",
            "Contents-arm64.gz",
            "main/signed/linux/SHA256SUMS",
        ];
        let all: Vec<&str> = [
            &translations[..],
            &appstream,
            &commands,
            &contents,
            &installer,
            &releases,
            &never,
            &["main/source/Release", "main/Contents-source.gz"],
        ]
        .concat();
        let with = |change: fn(&mut Content)| {
            let mut content = OFF;
            change(&mut content);
            let mut paths = paths_of(&chosen(&all, &content));
            paths.retain(|path| !releases.contains(path));
            paths
        };
        assert_eq!(paths_of(&chosen(&all, &OFF)), releases);
        assert_eq!(
            with(|content| content.translations = Translations::Of(vec!["en".parse().expect("valid")])),
            translations
        );
        assert_eq!(with(|content| content.appstream = true), appstream);
        assert_eq!(with(|content| content.command_not_found = true), commands);
        assert_eq!(with(|content| content.contents = true), contents);
        assert_eq!(with(|content| content.installer = true), installer);
        assert_eq!(with(|content| content.sources = true), ["main/source/Release"]);
        let both = with(|content| (content.sources, content.contents) = (true, true));
        assert!(both.contains(&"main/Contents-source.gz"));
        let kinds: Vec<_> = chosen(&installer, &Content { installer: true, ..OFF });
        assert_eq!(
            kinds,
            [
                (installer[0], IndexKind::Sums),
                (installer[1], IndexKind::Aside),
                (installer[2], IndexKind::Sums)
            ]
        );
    }

    #[test]
    fn any_language_can_be_asked_for() {
        let paths = ["main/i18n/Translation-de.xz", "main/i18n/Translation-pt_BR.xz"];
        let of = |translations| paths_of(&chosen(&paths, &Content { translations, ..OFF }));
        assert_eq!(of(Translations::All), paths);
        assert_eq!(of(Translations::Of(vec!["pt_BR".parse().expect("valid")])), [paths[1]]);
        assert_eq!(of(Translations::default()), paths);
        assert!(of(Translations::Of(vec!["en".parse().expect("valid")])).is_empty());
    }

    #[test]
    fn the_list_of_translations_is_for_archives_that_list_no_others() {
        let content = Content::default();
        let index = [("main/i18n/Index", IndexKind::TranslationList)];
        assert_eq!(chosen(&["main/i18n/Index"], &content), index);
        assert!(chosen(&["main/i18n/Index"], &OFF).is_empty());
        let others = ["main/i18n/Index", "main/i18n/Translation-de.xz"];
        assert_eq!(paths_of(&chosen(&others, &content)), others[1..]);
    }

    #[test]
    fn source_packages_are_missed_where_they_are_asked_for() {
        let content = Content { sources: true, ..OFF };
        let packages = "main/binary-amd64/Packages";
        let wants = |paths: &[&str]| wants_with(paths, &["main"], &["amd64"], &content);
        let found = wants(&[packages, "main/source/Sources.gz"]).expect("listed");
        assert_eq!((found.len(), found[1].kind), (2, IndexKind::Sources));
        assert!(matches!(wants(&[packages]), Err(WantedError::Sources { .. })));
        let unreadable = wants(&[packages, "main/source/Sources.lzo"]);
        assert!(matches!(unreadable, Err(WantedError::Unreadable { .. })));
    }

    #[test]
    fn a_flat_repository_has_its_indices_beside_the_release_file() {
        let content = Content {
            sources: true,
            ..Content::default()
        };
        let paths = [
            "Packages.gz",
            "Packages",
            "Sources.xz",
            "en.gz",
            "de.gz",
            "main/binary-amd64/Packages",
            "x.deb",
        ];
        let found = wants_with(&paths, &[], &[], &content).expect("listed");
        let kinds: Vec<_> = found.iter().map(|index| (index.plain.as_str(), index.kind)).collect();
        let expected = [
            ("Packages", IndexKind::Packages),
            ("Sources", IndexKind::Sources),
            ("de", IndexKind::Plain),
            ("en", IndexKind::Plain),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(wants_with(&["Sources"], &[], &[], &OFF), Err(WantedError::NoPackages));
        assert!(matches!(
            wants_with(&["Packages"], &[], &[], &content),
            Err(WantedError::Sources { .. })
        ));
    }
}

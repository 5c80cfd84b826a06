//! Which indices a selection of components and architectures needs.
//!
//! Pure: from a Release file and a selection to the wanted indices with their listed variants. Which variants
//! upstream really offers is found out by whoever fetches them.

use std::collections::BTreeSet;

use super::compression::Compression;
use super::release::{Release, ReleaseFile};
use crate::model::{Architecture, Component, RepoPath};

/// What an index lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexKind {
    /// Binary packages.
    Packages,
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
    #[error("the Release file has no component {component}; it has {}", listed(available))]
    Component {
        /// What was asked for.
        component: Component,
        /// Components with indices.
        available: Vec<String>,
    },
    /// The Release file lists no index for an architecture of a component.
    #[error(
        "component {component} has no architecture {architecture}; it has {}",
        listed(available)
    )]
    Architecture {
        /// The component.
        component: Component,
        /// What was asked for.
        architecture: Architecture,
        /// Architectures of that component with indices.
        available: Vec<String>,
    },
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

/// The indices that `components` and `architectures` need, in that order.
///
/// Architecture `all` is wanted wherever the Release file lists it, whether or not it is among `architectures`, and
/// missed nowhere: most archives list such packages with every architecture instead. Whether something exists is
/// judged by the listed files and not by the fields `Components` and `Architectures`, which some archives leave out,
/// and others fill with names that their paths do not have.
///
/// # Errors
/// What the archive does not have, with what it has instead.
pub fn wanted(
    release: &Release,
    components: &[Component],
    architectures: &[Architecture],
) -> Result<Vec<WantedIndex>, WantedError> {
    let offered = Offered::of(release);
    let mut indices = Vec::new();
    for component in components {
        if !offered.has_component(component) {
            let (component, available) = (component.clone(), offered.components());
            return Err(WantedError::Component { component, available });
        }
        for architecture in with_all(architectures) {
            if offered.has(component, architecture) {
                indices.push(index(release, component, architecture)?);
            } else if architecture != ALL {
                return Err(offered.missing(component, architecture));
            }
        }
    }
    Ok(indices)
}

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

fn index(release: &Release, component: &Component, architecture: &str) -> Result<WantedIndex, WantedError> {
    let text = format!("{component}/binary-{architecture}/Packages");
    let unreadable = || WantedError::Unreadable { index: text.clone() };
    let variants: Vec<_> = Compression::ALL
        .into_iter()
        .filter_map(|compression| {
            let path: RepoPath = format!("{text}{}", compression.suffix()).parse().ok()?;
            let file = release.files.get(&path)?.clone();
            Some(Variant {
                path,
                compression,
                file,
            })
        })
        .collect();
    let plain: RepoPath = text.parse().map_err(|_| unreadable())?;
    if variants.is_empty() {
        return Err(unreadable());
    }
    Ok(WantedIndex {
        kind: IndexKind::Packages,
        plain_file: release.files.get(&plain).cloned(),
        plain,
        variants,
    })
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
    let is_packages = name == "Packages" || name.starts_with("Packages.") && name != "Packages.diff";
    (is_packages && !architecture.contains('/')).then_some((component, architecture))
}

fn listed(names: &[String]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn release(paths: &[&str]) -> Release {
        let file = |path: &&str| {
            let file = ReleaseFile {
                size: 1,
                sha256: Digest::of(path.as_bytes()),
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
        let components: Vec<_> = components.iter().map(|name| name.parse().expect("valid")).collect();
        let architectures: Vec<_> = architectures.iter().map(|name| name.parse().expect("valid")).collect();
        wanted(&release(paths), &components, &architectures)
    }

    fn plain_paths(indices: &[WantedIndex]) -> Vec<&str> {
        indices.iter().map(|index| index.plain.as_str()).collect()
    }

    #[test]
    fn every_readable_variant_is_wanted_cheapest_first() {
        let paths = ["", ".bz2", ".diff/Index", ".gz", ".lz4", ".lzma", ".xz", ".zst"]
            .map(|suffix| format!("main/binary-amd64/Packages{suffix}"));
        let indices = wants(&paths.each_ref().map(String::as_str), &["main"], &["amd64"]).expect("listed");
        assert_eq!(indices.len(), 1);
        let names: Vec<_> = indices[0]
            .variants
            .iter()
            .map(|variant| variant.path.file_name())
            .collect();
        let expected = ["", ".zst", ".gz", ".xz", ".lzma", ".bz2"].map(|suffix| format!("Packages{suffix}"));
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
            wants(&["main/binary-amd64/Packages.lz4"], &["main"], &["amd64"]),
            Err(WantedError::Unreadable { .. })
        ));
    }

    #[test]
    fn prefixed_components_are_found_by_their_files() {
        let mut release = release(&["main/binary-amd64/Packages.gz"]);
        release.components = vec!["updates/main".parse().expect("valid")];
        let main = "main".parse().expect("valid");
        let amd64 = "amd64".parse().expect("valid");
        assert_eq!(wanted(&release, &[main], &[amd64]).map(|indices| indices.len()), Ok(1));
    }
}

//! What a cell must be.
//!
//! Owns the checks: the served tree against upstream, and what apt, debmirror and aptly make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mirrorctl::demo::Signing;
use mirrorctl::model::Digest;
use mirrorctl_testkit::{AptRoot, AptlyClient, Config, Debmirror, Mirror, MountGuard, Nginx, TestEnv, Upstream};

use super::archives::name;
use super::{Beside, Cell};
use crate::site::{Item, Tree, tree};

impl Cell {
    /// The mirror's settings.
    fn mirror(&self, upstream: &Upstream, key: &Path) -> Mirror {
        let mirror = Mirror::new("site", &upstream.url())
            .suites(self.suites())
            .sections(self.components())
            .architectures(self.architectures)
            .key(key)
            .publish_to_production(true);
        let translations = match self.translations {
            Beside::Left => "[]",
            Beside::Absent | Beside::Mirrored => "[\"*\"]",
        };
        mirror
            .set("mirror_source", &(self.sources == Beside::Mirrored).to_string())
            .set("content.contents", &(self.contents == Beside::Mirrored).to_string())
            .set("content.translations", translations)
    }

    /// The suites that are mirrored.
    fn suites(&self) -> &'static [&'static str] {
        if self.part { &self.suites[..1] } else { self.suites }
    }

    /// The components that are mirrored.
    fn components(&self) -> &'static [&'static str] {
        if self.part {
            &self.components[..1]
        } else {
            self.components
        }
    }

    /// Whether a file is of a suite and a component that are mirrored, or of none.
    fn mirrors(&self, path: &Path) -> bool {
        let all = self.suites.iter().map(|suite| Path::new("dists").join(suite));
        let below = |directory: &Path| path.starts_with(directory);
        let other_suite = all.clone().skip(self.suites().len()).any(|suite| below(&suite));
        let mut others = self.components.iter().skip(self.components().len());
        let other_component = others
            .any(|name| below(&Path::new("pool").join(name)) || all.clone().any(|suite| below(&suite.join(name))));
        !other_suite && !other_component
    }

    /// Whether a file of upstream, by-hash apart, must be served.
    fn wants(&self, path: &Path) -> bool {
        let mirrored = self.mirrors(path);
        let path = path.to_str().expect("UTF-8");
        let name = path.rsplit('/').next().unwrap_or_default();
        let source = path.contains("/source/") || name.contains(".dsc") || name.contains(".tar.");
        mirrored
            && !(self.sources != Beside::Mirrored && source
                || self.contents != Beside::Mirrored && name.starts_with("Contents-")
                || self.translations != Beside::Mirrored && name.starts_with("Translation-"))
    }
}

/// A mirror of an archive that is mounted and served.
pub(super) struct Site {
    env: TestEnv,
    nginx: Nginx,
    pub(super) key: PathBuf,
    _upstream: Upstream,
    _mount: MountGuard,
}

impl Site {
    pub(super) fn new(root: &Path, key: &Path, mirror: impl FnOnce(&Upstream, &Path) -> Mirror) -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let upstream = Upstream::serve(root);
        env.configure(Config::new().mirror(mirror(&upstream, key)));
        env.mirrorctl(&["sync"]).success();
        Self {
            _mount: MountGuard::mount(&env),
            nginx: Nginx::serve(&env.mount_dir()),
            env,
            key: key.to_owned(),
            _upstream: upstream,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("{}/site/current", self.nginx.url())
    }

    pub(super) fn served(&self) -> Tree {
        tree(&self.env.served("site/current"))
    }

    pub(super) fn lines(&self, suites: &[&str], components: &[&str], sources: bool) -> Vec<String> {
        let deb = |suite: &&str| AptRoot::source_line(&self.url(), suite, components, &self.key);
        let mut lines: Vec<String> = suites.iter().map(deb).collect();
        if sources {
            let line: Vec<String> = lines.iter().map(|line| line.replacen("deb", "deb-src", 1)).collect();
            lines.extend(line);
        }
        lines
    }
}

/// Says which cell comes now. It shows where a test fails.
#[expect(
    clippy::print_stderr,
    reason = "a failure shows what its test has said, of which the last cell failed"
)]
pub(super) fn announce(cell: &str) {
    eprintln!("cell: {cell}");
}

/// Runs every check on a cell.
pub(super) fn check(cell: &Cell) {
    announce(&format!("{:?}: {}", cell.maker, cell.name));
    let made = cell.make();
    let site = Site::new(&made.root, &made.key, |upstream, key| cell.mirror(upstream, key));
    let served = site.served();
    serves_what_is_wanted(cell, &archive_tree(&made.root), &served);
    apt_uses_it(cell, &site);
    if cell.mirrors {
        // debmirror wants a Release file, whatever else there is.
        if cell.signing != Signing::InRelease {
            debmirror_copies_it(cell, &site, &served);
        }
        aptly_copies_it(cell, &site, &served);
    }
}

/// The archive below a root, without what its maker keeps there for itself.
fn archive_tree(root: &Path) -> Tree {
    let mut all = tree(root);
    all.retain(|path, _| path.starts_with("dists") || path.starts_with("pool"));
    all
}

/// The files of a tree that `kept` holds true for.
pub(super) fn files(tree: &Tree, kept: impl Fn(&Path) -> bool) -> BTreeMap<PathBuf, Digest> {
    let file = |(path, item): (&PathBuf, &Item)| match item {
        Item::File(digest) if kept(path) => Some((path.clone(), *digest)),
        Item::File(_) | Item::Directory => None,
    };
    tree.iter().filter_map(file).collect()
}

pub(super) fn is_by_hash(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "by-hash")
}

/// Asserts that two trees have the same files with the same bytes, and names those that differ.
#[track_caller]
pub(super) fn same_files(found: &BTreeMap<PathBuf, Digest>, expected: &BTreeMap<PathBuf, Digest>) {
    let differing: Vec<String> = found
        .keys()
        .chain(expected.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter_map(|path| match (found.get(path), expected.get(path)) {
            (Some(_), None) => Some(format!("not expected: {}", path.display())),
            (None, Some(_)) => Some(format!("missing: {}", path.display())),
            (found, expected) => (found != expected).then(|| format!("other bytes: {}", path.display())),
        })
        .collect();
    assert!(!expected.is_empty(), "there is something to compare");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Compares `current` with upstream: plain names exactly, and each name by hash of upstream whose plain file is wanted.
fn serves_what_is_wanted(cell: &Cell, upstream: &Tree, served: &Tree) {
    let plain = files(upstream, |path| !is_by_hash(path) && cell.wants(path));
    same_files(&files(served, |path| !is_by_hash(path)), &plain);

    let beside: BTreeSet<(&Path, Digest)> = plain
        .iter()
        .filter_map(|(path, digest)| Some((path.parent()?, *digest)))
        .collect();
    is_as_the_cell_says(cell, &files(upstream, |path| !is_by_hash(path)));
    let hex = |path: &Path| path.extension().is_none() && path.file_name().is_some_and(|name| name.len() >= 32);
    let by_hash = files(upstream, |path| is_by_hash(path) && hex(path));
    assert_eq!(by_hash.is_empty(), !cell.by_hash, "the archive is as the cell says");
    for (path, digest) in by_hash {
        let directory = path.ancestors().nth(3).expect("below a directory of indices");
        if beside.contains(&(directory, digest)) {
            assert_eq!(served.get(&path), Some(&Item::File(digest)), "{}", path.display());
        }
    }
    for (path, digest) in files(served, |path| {
        path.parent().is_some_and(|kind| kind.ends_with("by-hash/SHA256"))
    }) {
        assert!(path.ends_with(digest.to_string()), "{}", path.display());
    }
}

/// Asserts that the maker made what it was told to.
fn is_as_the_cell_says(cell: &Cell, upstream: &BTreeMap<PathBuf, Digest>) {
    let names: BTreeSet<String> = upstream.keys().map(|path| path.display().to_string()).collect();
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    for (beside, part) in [
        (cell.sources, ".dsc"),
        (cell.contents, "/Contents-"),
        (cell.translations, "/Translation-"),
    ] {
        assert_eq!(has(part), beside != Beside::Absent, "{part}: {names:#?}");
    }
    for architecture in ["amd64", "all"] {
        let part = format!("/binary-{architecture}/");
        assert_eq!(
            has(&part),
            cell.architectures.contains(&architecture),
            "{part}: {names:#?}"
        );
    }
    let packages = names.iter().filter_map(|name| name.rsplit_once("/Packages"));
    let forms: BTreeSet<&str> = packages.map(|(_, form)| form.trim_start_matches('.')).collect();
    assert_eq!(forms, cell.forms.iter().copied().collect());
    let signing = |file: &str| names.contains(&format!("dists/stable/{file}"));
    let expected = match cell.signing {
        Signing::All => [true, true, true],
        Signing::InRelease => [true, false, false],
        Signing::Detached => [false, true, true],
        Signing::Unsigned => [false, true, false],
    };
    assert_eq!(["InRelease", "Release", "Release.gpg"].map(signing), expected);
}

/// What `apt-file` tells apt to fetch.
const CONTENTS: &str = r#"
Acquire::IndexTargets::deb::Contents-deb {
  MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)";
  ShortDescription "Contents-$(ARCHITECTURE)"; Description "$(RELEASE)/$(COMPONENT) Contents";
};
"#;

fn apt_uses_it(cell: &Cell, site: &Site) {
    let apt = AptRoot::new();
    apt.sources(&site.lines(cell.suites(), cell.components(), cell.sources == Beside::Mirrored));
    let languages = match cell.translations {
        Beside::Mirrored => "\"en\"",
        Beside::Absent | Beside::Left => "\"none\"",
    };
    let mut settings = format!("Acquire::Languages {{ {languages}; }};\n");
    if cell.contents == Beside::Mirrored {
        settings += CONTENTS;
    }
    fs::write(apt.path().join("etc/apt/apt.conf.d/50matrix"), settings).expect("own directory");
    apt.update().success();
    let names: Vec<String> = cell.components().iter().map(|component| name(component)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    apt.install(&names).success();
    for name in &names {
        // The highest, whatever the order of the index.
        assert_eq!(apt.installed(name).as_deref(), Some("10"), "{name}");
        let version = fs::read_to_string(apt.path().join(format!("usr/share/{name}/version")));
        assert_eq!(version.expect("installed"), "10", "{name}");
        if cell.translations != Beside::Left {
            apt.show(name).success().stdout_has("of the tests");
        }
        let offered: BTreeSet<String> = apt.policy(name).versions.into_iter().collect();
        assert_eq!(
            offered,
            cell.versions.iter().map(|&version| version.to_owned()).collect(),
            "{name}"
        );
        if cell.sources == Beside::Mirrored {
            apt.apt_get(&["source", "--download-only", name]).run().success();
            assert!(apt.path().join(format!("{name}_10.dsc")).is_file(), "{name}");
        }
    }
    if cell.contents == Beside::Mirrored {
        apt_reads_contents(cell, &apt);
    }
}

fn apt_reads_contents(cell: &Cell, apt: &AptRoot) {
    let targets = apt.apt_get(&["indextargets", "--format", "$(FILENAME)", "Created-By: Contents-deb"]);
    let lists: String = targets
        .run()
        .success()
        .stdout
        .lines()
        .map(|file| fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}")))
        .collect();
    for component in cell.components() {
        let name = name(component);
        assert!(lists.contains(&format!("usr/share/{name}/version")), "{name}: {lists}");
    }
}

fn debmirror_copies_it(cell: &Cell, site: &Site, served: &Tree) {
    let debmirror = Debmirror::new();
    // It is told what there is, as apt is.
    let options = [
        (cell.sources == Beside::Mirrored).then_some("--source"),
        (cell.sources != Beside::Mirrored).then_some("--nosource"),
        (cell.contents == Beside::Mirrored).then_some("--getcontents"),
        (cell.translations == Beside::Mirrored).then_some("--i18n"),
        (cell.translations == Beside::Left).then_some("--exclude=/i18n/Translation-"),
    ];
    let options: Vec<&str> = options.into_iter().flatten().collect();
    let mirrored = debmirror.mirror(
        &site.url(),
        cell.suites(),
        cell.components(),
        cell.architectures,
        &site.key,
        &options,
    );
    mirrored.success();
    let copy = tree(&debmirror.root());
    let pool = |path: &Path| path.starts_with("pool");
    same_files(&files(&copy, pool), &files(served, pool));
    // Of indices it takes the forms that it likes.
    let copied = files(&copy, |path| path.starts_with("dists"));
    let all = files(served, |path| copied.contains_key(path));
    same_files(&copied, &all);
    for beside in ["Contents-", "Translation-"] {
        let has = |files: &BTreeMap<PathBuf, Digest>| files.keys().any(|path| path.to_string_lossy().contains(beside));
        assert_eq!(has(&copied), has(&files(served, |_| true)), "{beside}");
    }
}

fn aptly_copies_it(cell: &Cell, site: &Site, served: &Tree) {
    let aptly = AptlyClient::new();
    for suite in cell.suites() {
        let sources = cell.sources == Beside::Mirrored;
        aptly.mirror(&site.url(), suite, cell.components(), sources, &site.key);
    }
    same_packages(&aptly, served);
}

/// Asserts that aptly has the bytes of every package file that is served, and no other.
#[track_caller]
pub(super) fn same_packages(aptly: &AptlyClient, served: &Tree) {
    let is_package = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !is_by_hash(path) && (name.ends_with(".deb") || name.contains(".dsc") || name.contains(".tar."))
    };
    let bytes = |tree: &Tree| files(tree, is_package).into_values().collect::<BTreeSet<_>>();
    assert_eq!(bytes(&tree(&aptly.pool())), bytes(served));
}

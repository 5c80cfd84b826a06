//! Archives made by Debian's own tools, so that mirrorctl is not judged by archives of its own making alone.
//!
//! Owns [`DpkgArchive`] and [`FlatArchive`] (`dpkg-deb`, `apt-ftparchive`, `gpg`), and [`RepreproArchive`] (`reprepro`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mirrorctl::demo::Signing;

use crate::{GpgHome, GpgKey, Program, Scratch};

/// A package, to be built by `dpkg-deb`.
#[derive(Debug, Clone)]
pub struct Package {
    name: String,
    version: String,
    architecture: String,
    depends: Option<String>,
    files: Vec<(String, String)>,
}

impl Package {
    /// A package without files and dependencies.
    pub fn new(name: &str, version: &str, architecture: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            depends: None,
            files: Vec::new(),
        }
    }

    /// Its dependencies.
    #[must_use]
    pub fn depends(mut self, relation: &str) -> Self {
        self.depends = Some(relation.to_owned());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, contents: &str) -> Self {
        self.files.push((path.to_owned(), contents.to_owned()));
        self
    }

    /// Builds a source package of the same name in `directory`, whose one file is its own changelog, and gives the path
    /// of the `.dsc`.
    pub fn build_source(&self, directory: &Path) -> PathBuf {
        let Self { name, version, .. } = self;
        let tree = Scratch::new();
        let owner = "Test <test@example.org>";
        tree.file("debian/source/format", "3.0 (native)\n");
        tree.file(
            "debian/changelog",
            format!("{name} ({version}) unstable; urgency=low\n\n  * Made.\n\n -- {owner}  Sat, 09 Aug 2025 11:02:33 +0000\n"),
        );
        tree.file(
            "debian/control",
            format!(
                "Source: {name}\nSection: misc\nPriority: optional\nMaintainer: {owner}\nStandards-Version: 4.6.2\n\n\
                 Package: {name}\nArchitecture: all\nDescription: package {name}\n"
            ),
        );
        let dpkg_source = Program::new("dpkg-source", "dpkg-dev")
            .directory(directory)
            .arg("--build");
        dpkg_source.arg(tree.path()).run().success();
        directory.join(format!("{name}_{version}.dsc"))
    }

    /// Builds it in `directory` and gives the path of the `.deb`.
    pub fn build(&self, directory: &Path) -> PathBuf {
        let tree = Scratch::new();
        for (path, contents) in &self.files {
            tree.file(path, contents);
        }
        let depends = self
            .depends
            .as_ref()
            .map_or_else(String::new, |relation| format!("Depends: {relation}\n"));
        tree.file(
            "DEBIAN/control",
            format!(
                "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Test <test@example.org>\nSection: misc\n\
                 Priority: optional\n{depends}Description: package {}\n of the tests\n",
                self.name, self.version, self.architecture, self.name
            ),
        );
        let dpkg_deb = Program::new("dpkg-deb", "dpkg").args(["--root-owner-group", "--build"]);
        dpkg_deb.arg(tree.path()).arg(directory).run().success();
        let version = self.version.rsplit(':').next().unwrap_or_default();
        directory.join(format!("{}_{version}_{}.deb", self.name, self.architecture))
    }
}

/// An archive of one suite with component `main`, as a small vendor would make it by hand: no by-hash, and the
/// uncompressed index is served.
#[derive(Debug)]
pub struct DpkgArchive {
    scratch: Scratch,
    home: GpgHome,
    key: GpgKey,
    suite: String,
    architectures: Vec<String>,
    /// Pool paths by package name and architecture.
    packages: BTreeMap<(String, String), PathBuf>,
    signing: Signing,
}

impl DpkgArchive {
    /// An archive without packages, not yet published.
    pub fn new(suite: &str, architectures: &[&str]) -> Self {
        let home = GpgHome::new();
        let key = home.key("Vendor <vendor@example.org>");
        let scratch = Scratch::new();
        home.export(&key, &scratch.path().join("vendor.gpg"));
        Self {
            scratch,
            home,
            key,
            suite: suite.to_owned(),
            architectures: architectures.iter().map(|&name| name.to_owned()).collect(),
            packages: BTreeMap::new(),
            signing: Signing::All,
        }
    }

    /// The archive root.
    pub fn root(&self) -> PathBuf {
        self.scratch.directory("archive")
    }

    /// The file with its public key, as bare packets.
    pub fn key_file(&self) -> PathBuf {
        self.scratch.path().join("vendor.gpg")
    }

    /// The GnuPG home and key that sign.
    pub fn signer(&self) -> (&GpgHome, &GpgKey) {
        (&self.home, &self.key)
    }

    /// Which Release files the next publication writes; all three at first.
    pub fn set_signing(&mut self, signing: Signing) {
        self.signing = signing;
    }

    /// Adds a package, or replaces the one of the same name and architecture. Shows at the next publication.
    pub fn add(&mut self, package: &Package) {
        let directory = self.scratch.directory(&format!("archive/pool/main/{}", package.name));
        let built = package.build(&directory);
        let replaced = self
            .packages
            .insert((package.name.clone(), package.architecture.clone()), built.clone());
        if let Some(old) = replaced.filter(|old| *old != built) {
            fs::remove_file(old).expect("own file");
        }
    }

    /// Removes the packages called `name`, files included. Shows at the next publication.
    pub fn remove(&mut self, name: &str) {
        self.packages.retain(|(known, _), file| {
            let kept = known != name;
            if !kept {
                fs::remove_file(file).expect("own file");
            }
            kept
        });
    }

    /// Writes the indices and signs the Release file.
    pub fn publish(&self) {
        for architecture in &self.architectures {
            self.write_index(architecture);
        }
        let suite = self.scratch.directory(&format!("archive/dists/{}", self.suite));
        for file in ["Release", "Release.gpg", "InRelease"] {
            // A Release file must not list itself; the first time, none is there.
            drop(fs::remove_file(suite.join(file)));
        }
        let field = |name: &str, value: &str| format!("APT::FTPArchive::Release::{name}={value}");
        let release = Program::new("apt-ftparchive", "apt-utils")
            .args(["-o", &field("Origin", "Vendor")])
            .args(["-o", &field("Label", "Vendor")])
            .args(["-o", &field("Suite", &self.suite)])
            .args(["-o", &field("Codename", &self.suite)])
            .args(["-o", &field("Architectures", &self.architectures.join(" "))])
            .args(["-o", &field("Components", "main")])
            .arg("release")
            .arg(&suite)
            .run()
            .success();
        fs::write(suite.join("Release"), release.stdout).expect("own directory");
        self.home.sign_release(&self.key, &suite);
        leave(self.signing, &suite);
    }

    fn write_index(&self, architecture: &str) {
        let index = format!("archive/dists/{}/main/binary-{architecture}", self.suite);
        let index = self.scratch.directory(&index);
        let packages = Program::new("apt-ftparchive", "apt-utils")
            .directory(&self.root())
            .args(["--arch", architecture, "packages", "pool"])
            .run()
            .success();
        fs::write(index.join("Packages"), packages.stdout).expect("own directory");
        for (program, package) in [("gzip", "gzip"), ("xz", "xz-utils")] {
            let compressor = Program::new(program, package).args(["--keep", "--force"]);
            compressor.arg(index.join("Packages")).run().success();
        }
    }
}

/// Of the Release files that a tool has written to `directory`, leaves those that `signing` has.
///
/// # Panics
/// When one that goes is not there.
pub fn leave(signing: Signing, directory: &Path) {
    let unwanted: &[&str] = match signing {
        Signing::All => &[],
        Signing::Unsigned => &["Release.gpg", "InRelease"],
        Signing::InRelease => &["Release", "Release.gpg"],
        Signing::Detached => &["InRelease"],
    };
    for file in unwanted {
        fs::remove_file(directory.join(file)).expect("just written");
    }
}

/// A flat repository as a small vendor would make it by hand, with one index and one key.
#[derive(Debug)]
pub struct FlatArchive {
    scratch: Scratch,
    home: GpgHome,
    key: GpgKey,
    directory: String,
}

impl FlatArchive {
    /// A repository in `directory` (`./` or `stable/`), not yet published.
    pub fn new(directory: &str) -> Self {
        let home = GpgHome::new();
        let key = home.key("Vendor <vendor@example.org>");
        let scratch = Scratch::new();
        home.export(&key, &scratch.path().join("vendor.gpg"));
        scratch.directory("archive");
        fs::create_dir_all(scratch.path().join("archive").join(directory)).expect("own directory");
        Self {
            scratch,
            home,
            key,
            directory: directory.to_owned(),
        }
    }

    /// The archive root.
    pub fn root(&self) -> PathBuf {
        self.scratch.directory("archive")
    }

    /// The file with its public key, as bare packets.
    pub fn key_file(&self) -> PathBuf {
        self.scratch.path().join("vendor.gpg")
    }

    /// Adds a package and its source package. Shows at the next publication.
    pub fn add(&self, package: &Package) {
        package.build(&self.place());
        package.build_source(&self.place());
    }

    /// Writes the indices and signs the Release file.
    pub fn publish(&self) {
        for (command, index) in [("packages", "Packages"), ("sources", "Sources")] {
            let said = self.ftparchive(&[command, &self.directory]);
            fs::write(self.place().join(index), said).expect("own directory");
            let gzip = Program::new("gzip", "gzip").args(["--keep", "--force"]);
            gzip.arg(self.place().join(index)).run().success();
        }
        for file in ["Release", "Release.gpg", "InRelease"] {
            // A Release file must not list itself; the first time, none is there.
            drop(fs::remove_file(self.place().join(file)));
        }
        let release = self.ftparchive(&["release", &self.directory]);
        fs::write(self.place().join("Release"), release).expect("own directory");
        self.home.sign_release(&self.key, &self.place());
    }

    fn place(&self) -> PathBuf {
        self.root().join(self.directory.trim_start_matches("./"))
    }

    fn ftparchive(&self, arguments: &[&str]) -> String {
        let ftparchive = Program::new("apt-ftparchive", "apt-utils").directory(&self.root());
        ftparchive.args(arguments).run().success().stdout
    }
}

/// An archive of one suite, managed by reprepro.
#[derive(Debug)]
pub struct RepreproArchive {
    scratch: Scratch,
    home: GpgHome,
    suites: Vec<String>,
}

impl RepreproArchive {
    /// An archive of one suite without packages, exported once.
    pub fn new(suite: &str, components: &[&str], architectures: &[&str]) -> Self {
        Self::with(&[suite], components, architectures, "")
    }

    /// An archive without packages, exported once. Each of its suites has `fields` besides, such as
    /// `Contents: . .gz`, a line each, and gets every package.
    pub fn with(suites: &[&str], components: &[&str], architectures: &[&str], fields: &str) -> Self {
        let home = GpgHome::new();
        let key = home.key("Reprepro <reprepro@example.org>");
        let scratch = Scratch::new();
        home.export(&key, &scratch.path().join("reprepro.gpg"));
        let distribution = |suite: &&str| {
            format!(
                "Origin: Vendor\nLabel: Vendor\nSuite: {suite}\nCodename: {suite}\nArchitectures: {}\nComponents: {}\n\
                 Description: made by reprepro\nSignWith: {}\n{fields}\n",
                architectures.join(" "),
                components.join(" "),
                key.fingerprint
            )
        };
        let distributions: String = suites.iter().map(distribution).collect();
        scratch.file("archive/conf/distributions", distributions);
        let archive = Self {
            scratch,
            home,
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
        };
        archive.reprepro().arg("export").run().success();
        archive
    }

    /// The archive root.
    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("archive")
    }

    /// The file with its public key, as bare packets.
    pub fn key_file(&self) -> PathBuf {
        self.scratch.path().join("reprepro.gpg")
    }

    /// Adds a package, or a newer version of it, to a component. Published at once.
    pub fn add(&self, component: &str, package: &Package) {
        let incoming = Scratch::new();
        let built = package.build(incoming.path());
        self.include("includedeb", component, &built);
    }

    /// Adds the source package of the same name. `source` must be among the architectures. Published at once.
    pub fn add_source(&self, component: &str, package: &Package) {
        let incoming = Scratch::new();
        let built = package.build_source(incoming.path());
        self.include("includedsc", component, &built);
    }

    /// Removes the packages called `name`. Published at once; reprepro deletes the files.
    pub fn remove(&self, name: &str) {
        for suite in &self.suites {
            self.reprepro().args(["remove", suite, name]).run().success();
        }
    }

    fn include(&self, command: &str, component: &str, built: &Path) {
        for suite in &self.suites {
            let reprepro = self.reprepro().args(["--component", component, command, suite]);
            reprepro.arg(built).run().success();
        }
    }

    fn reprepro(&self) -> Program {
        let reprepro = Program::new("reprepro", "reprepro").env("GNUPGHOME", self.home.path());
        // Without HOME it says so, at each call.
        reprepro
            .env("HOME", self.scratch.path())
            .arg("--basedir")
            .arg(self.root())
    }
}

//! aptly, as a maker of archives and as a client of ours.
//!
//! Owns [`AptlyArchive`] (`aptly publish`) and [`AptlyClient`] (`aptly mirror`), each with a database and a GnuPG home of its
//! own.

use std::path::{Path, PathBuf};

use crate::{GpgHome, Package, Program, Scratch};

/// An archive published by aptly.
#[derive(Debug)]
pub struct AptlyArchive {
    aptly: Aptly,
    components: Vec<String>,
}

/// A private aptly that mirrors an archive.
#[derive(Debug)]
pub struct AptlyClient(Aptly);

/// aptly with its database and GnuPG home.
#[derive(Debug)]
struct Aptly {
    scratch: Scratch,
    home: GpgHome,
}

impl AptlyArchive {
    /// An archive without packages, not yet published.
    pub fn new(components: &[&str]) -> Self {
        let aptly = Aptly::new();
        let key = aptly.home.key("Aptly <aptly@example.org>");
        aptly.home.export(&key, &aptly.scratch.path().join("aptly.gpg"));
        let archive = Self {
            aptly,
            components: components.iter().map(|&name| name.to_owned()).collect(),
        };
        for component in components {
            let create = archive.aptly.command(&["repo", "create", "-component", component]);
            create.arg(repository(component)).run().success();
        }
        archive
    }

    /// The archive root.
    pub fn root(&self) -> PathBuf {
        self.aptly.scratch.path().join("aptly/public")
    }

    /// The file with its public key, as bare packets.
    pub fn key_file(&self) -> PathBuf {
        self.aptly.scratch.path().join("aptly.gpg")
    }

    /// Adds a package, or another version of it. Shows in what is published from then on.
    pub fn add(&self, component: &str, package: &Package) {
        let incoming = Scratch::new();
        self.include(component, &package.build(incoming.path()));
    }

    /// Adds the source package of the same name. Shows in what is published from then on.
    pub fn add_source(&self, component: &str, package: &Package) {
        let incoming = Scratch::new();
        self.include(component, &package.build_source(incoming.path()));
    }

    /// Publishes all that was added as `suite`, with the further `options` of `aptly publish repo`.
    pub fn publish(&self, suite: &str, architectures: &[&str], options: &[&str]) {
        // A comma for each component but the first: each repository's own is taken.
        let commas = ",".repeat(self.components.len().saturating_sub(1));
        let publish = self.aptly.command(&["publish", "repo", "-batch"]);
        let publish = publish
            .args(["-origin=Vendor", "-label=Vendor"])
            .args([
                format!("-distribution={suite}"),
                format!("-component={commas}"),
                format!("-architectures={}", architectures.join(",")),
            ])
            .args(options)
            .args(self.components.iter().map(|component| repository(component)));
        publish.run().success();
    }

    fn include(&self, component: &str, built: &Path) {
        let add = self.aptly.command(&["repo", "add", &repository(component)]);
        add.arg(built).run().success();
    }
}

/// The name of the local repository for a component. Names have no slashes.
fn repository(component: &str) -> String {
    component.replace('/', "-")
}

impl AptlyClient {
    /// An aptly without mirrors.
    pub fn new() -> Self {
        Self(Aptly::new())
    }

    /// `aptly mirror create` and `update` of one suite at `url`, with all components and architectures that Release lists
    /// unless some are given. A flat repository's suite is its directory.
    ///
    /// # Panics
    /// When aptly fails, with what it said.
    #[track_caller]
    pub fn mirror(&self, url: &str, suite: &str, components: &[&str], sources: bool, key: &Path) {
        let name = format!("copy-{}", suite.replace(['/', '.'], "-"));
        let keyring = format!("-keyring={}", key.display());
        let sources = format!("-with-sources={sources}");
        let create = self
            .0
            .command(&["mirror", "create", &keyring, &sources, &name, url, suite]);
        create.args(components).run().success();
        let update = self.0.command(&["mirror", "update", &keyring, &name]);
        update.run().success();
    }

    /// Where it keeps the files of packages, below names of its own.
    pub fn pool(&self) -> PathBuf {
        self.0.scratch.path().join("aptly/pool")
    }
}

impl Default for AptlyClient {
    fn default() -> Self {
        Self::new()
    }
}

impl Aptly {
    fn new() -> Self {
        let scratch = Scratch::new();
        let root = scratch.directory("aptly");
        let settings = serde_json::json!({ "rootDir": root, "gpgProvider": "gpg" });
        scratch.file("aptly.conf", settings.to_string());
        Self {
            scratch,
            home: GpgHome::new(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Program {
        let settings = format!("-config={}", self.scratch.path().join("aptly.conf").display());
        Program::new("aptly", "aptly")
            .env("GNUPGHOME", self.home.path())
            .env("HOME", self.scratch.path())
            .arg(settings)
            .args(arguments)
    }
}

//! Whole archives made by `apt-ftparchive generate`, the way in which a distribution's archive is made.
//!
//! Owns [`FtpArchive`]: several suites over one pool, every compression, by-hash, `Contents` and translations. Archives as
//! small vendors make them by hand are `DpkgArchive` and `FlatArchive`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mirrorctl::demo::Signing;

use crate::debian::leave;
use crate::{GpgHome, GpgKey, Package, Program, Scratch};

/// An archive whose suites all have the same components, architectures and packages.
#[derive(Debug)]
pub struct FtpArchive {
    scratch: Scratch,
    home: GpgHome,
    key: GpgKey,
    suites: Vec<String>,
    components: Vec<String>,
    architectures: Vec<String>,
    /// As apt-ftparchive calls them; `.` is the plain one.
    compressions: Vec<&'static str>,
    by_hash: bool,
    contents: bool,
    translations: bool,
}

impl FtpArchive {
    /// An archive without packages, not yet published. `source` among the architectures gives it an index of sources.
    pub fn new(suites: &[&str], components: &[&str], architectures: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let home = GpgHome::new();
        let key = home.key("Distribution <distribution@example.org>");
        let scratch = Scratch::new();
        home.export(&key, &scratch.path().join("distribution.gpg"));
        let archive = Self {
            scratch,
            home,
            key,
            suites: owned(suites),
            components: owned(components),
            architectures: owned(architectures),
            compressions: vec![".", "gzip"],
            by_hash: false,
            contents: false,
            translations: false,
        };
        for component in components {
            archive.pool(component);
        }
        archive
    }

    /// What is behind the names of indices: nothing, `gz`, `bz2`, `xz`, `zst`, `lz4` or `lzma`; at first nothing and `gz`.
    /// Without the plain form, it is listed but not there, as in Debian: apt overlooks an index whose plain form is not
    /// listed.
    ///
    /// # Panics
    /// With anything else.
    #[must_use]
    pub fn forms(mut self, suffixes: &[&str]) -> Self {
        let program = |suffix: &&str| match *suffix {
            "" => ".",
            "gz" => "gzip",
            "bz2" => "bzip2",
            "xz" => "xz",
            "zst" => "zstd",
            "lz4" => "lz4",
            "lzma" => "lzma",
            unknown => panic!("apt-ftparchive is not told to make .{unknown}"),
        };
        self.compressions = suffixes.iter().map(program).collect();
        self
    }

    /// Whether indices have names by their hashes too.
    #[must_use]
    pub fn by_hash(mut self, yes: bool) -> Self {
        self.by_hash = yes;
        self
    }

    /// Whether each component has lists of the files in its packages.
    #[must_use]
    pub fn contents(mut self, yes: bool) -> Self {
        self.contents = yes;
        self
    }

    /// Whether long descriptions are in `Translation-en` instead of `Packages`.
    #[must_use]
    pub fn translations(mut self, yes: bool) -> Self {
        self.translations = yes;
        self
    }

    /// The archive root.
    pub fn root(&self) -> PathBuf {
        self.scratch.directory("archive")
    }

    /// The file with its public key, as bare packets.
    pub fn key_file(&self) -> PathBuf {
        self.scratch.path().join("distribution.gpg")
    }

    /// Adds a package, or another version of it. Shows at the next publication.
    pub fn add(&self, component: &str, package: &Package) {
        package.build(&self.pool(component));
    }

    /// Adds the source package of the same name. Shows at the next publication.
    pub fn add_source(&self, component: &str, package: &Package) {
        package.build_source(&self.pool(component));
    }

    /// Writes the indices of all suites and signs their Release files.
    pub fn publish(&self, signing: Signing) {
        for suite in &self.suites {
            for component in &self.components {
                let tree = format!("archive/dists/{suite}/{component}");
                for architecture in self.binary_architectures() {
                    self.scratch.directory(&format!("{tree}/binary-{architecture}"));
                }
                for directory in ["source", "i18n"] {
                    self.scratch.directory(&format!("{tree}/{directory}"));
                }
            }
        }
        self.scratch.directory("cache");
        let settings = self.scratch.file("generate.conf", self.settings());
        let generate = self.ftparchive().arg("generate").arg(settings);
        // It succeeds with half an archive.
        generate.run().success().stderr_lacks("E: ");
        for suite in &self.suites {
            self.write_release(suite, signing);
        }
    }

    fn write_release(&self, suite: &str, signing: Signing) {
        let directory = self.scratch.directory(&format!("archive/dists/{suite}"));
        for file in ["Release", "Release.gpg", "InRelease"] {
            // A Release file must not list itself; the first time, none is there.
            drop(fs::remove_file(directory.join(file)));
        }
        let architectures: Vec<&str> = self.binary_architectures().collect();
        let fields = [
            ("Release::Origin", "Distribution"),
            ("Release::Label", "Distribution"),
            ("Release::Suite", suite),
            ("Release::Codename", suite),
            ("Release::Architectures", &architectures.join(" ")),
            ("Release::Components", &self.components.join(" ")),
            ("DoByHash", if self.by_hash { "true" } else { "false" }),
        ];
        let options = fields.map(|(name, value)| format!("-oAPT::FTPArchive::{name}={value}"));
        let release = self
            .ftparchive()
            .args(options)
            .arg("release")
            .arg(&directory)
            .run()
            .success();
        fs::write(directory.join("Release"), release.stdout).expect("own directory");
        self.home.sign_release(&self.key, &directory);
        leave(signing, &directory);
        if !self.has_plain() {
            remove_plain(&directory);
        }
    }

    fn settings(&self) -> String {
        let plain = if self.has_plain() { "" } else { ". " };
        let compressions = format!("{plain}{}", self.compressions.join(" "));
        let translation = "$(DIST)/$(SECTION)/i18n/Translation-en";
        let (long, translation) = if self.translations {
            ("false", format!("Translation \"{translation}\"; "))
        } else {
            ("true", String::new())
        };
        // A blank name stands for none. The one of a cache of sources would have the slashes of components.
        let contents = if self.contents {
            "$(DIST)/$(SECTION)/Contents-$(ARCH)"
        } else {
            " "
        };
        let mut settings = format!(
            "Dir {{ ArchiveDir \"archive\"; CacheDir \"cache\"; }};\n\
             Default {{ LongDescription \"{long}\"; Packages::Compress \"{compressions}\"; Sources::Compress \"{compressions}\"; \
             Contents::Compress \"{compressions}\"; Translation::Compress \"{compressions}\"; }};\n\
             TreeDefault {{ Directory \"pool/$(SECTION)\"; SrcDirectory \"pool/$(SECTION)\"; SrcCacheDB \" \"; {translation}\
             Contents \"{contents}\"; }};\n"
        );
        for suite in &self.suites {
            let (components, architectures) = (self.components.join(" "), self.architectures.join(" "));
            writeln!(
                settings,
                "Tree \"dists/{suite}\" {{ Sections \"{components}\"; Architectures \"{architectures}\"; }};"
            )
            .expect("a string takes all that is written");
        }
        settings
    }

    fn has_plain(&self) -> bool {
        self.compressions.contains(&".")
    }

    fn binary_architectures(&self) -> impl Iterator<Item = &str> {
        let names = self.architectures.iter().map(String::as_str);
        names.filter(|&name| name != "source")
    }

    fn pool(&self, component: &str) -> PathBuf {
        self.scratch.directory(&format!("archive/pool/{component}"))
    }

    fn ftparchive(&self) -> Program {
        Program::new("apt-ftparchive", "apt-utils").directory(self.scratch.path())
    }
}

/// Removes the uncompressed indices below a directory, and their names by hash, so that they are listed and not there.
fn remove_plain(directory: &Path) {
    let entries = || {
        let entries = fs::read_dir(directory).expect("own directory");
        entries.map(|entry| entry.expect("own directory").path())
    };
    for path in entries().filter(|path| path.is_dir() && !path.ends_with("by-hash")) {
        remove_plain(&path);
    }
    for path in entries().filter(|path| path.is_file() && is_plain_index(path)) {
        let index = fs::read(&path).expect("own file");
        fs::remove_file(&path).expect("own file");
        for kind in ["MD5Sum", "SHA1", "SHA256", "SHA512"] {
            let Ok(names) = fs::read_dir(directory.join("by-hash").join(kind)) else {
                continue;
            };
            let mut names = names.map(|name| name.expect("own directory").path());
            if let Some(name) = names.find(|name| fs::read(name).is_ok_and(|bytes| bytes == index)) {
                fs::remove_file(name).expect("own file");
            }
        }
    }
}

fn is_plain_index(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.extension().is_none()
        && ["Packages", "Sources", "Contents-", "Translation-"]
            .iter()
            .any(|start| name.starts_with(start))
}

//! A private apt, which trusts and installs nothing of the machine that runs the tests.
//!
//! Owns [`AptRoot`]: real `apt-get` and `dpkg` on a root directory of their own, with apt's defaults wherever a test
//! would otherwise prove less than it seems to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Program, Ran, Scratch};

/// A root directory with an apt and dpkg state of its own, architecture amd64. Installing needs root.
#[derive(Debug)]
pub struct AptRoot {
    scratch: Scratch,
}

/// What `apt-cache policy` says of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The installed version.
    pub installed: Option<String>,
    /// The version that would be installed.
    pub candidate: Option<String>,
    /// Every version that the sources offer, best first.
    pub versions: Vec<String>,
}

impl AptRoot {
    /// A root without sources and packages.
    pub fn new() -> Self {
        let root = Self {
            scratch: Scratch::new(),
        };
        for directory in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "var/cache/apt/archives/partial",
            "var/lib/apt/lists/partial",
            "var/lib/dpkg/info",
            "var/lib/dpkg/triggers",
            "var/lib/dpkg/updates",
            "var/log/apt",
        ] {
            root.scratch.directory(directory);
        }
        root.scratch.file("var/lib/dpkg/status", "");
        root.scratch.file("apt.conf", configuration(root.path()));
        root
    }

    /// The directory, into which packages are installed.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Uses the archive at `url` alone: one suite, these components, signed by the keys in the file `key`.
    pub fn source(&self, url: &str, suite: &str, components: &[&str], key: &Path) {
        self.sources(&[source_line(url, suite, components, key)]);
    }

    /// Uses several archives, as lines of `sources.list` that [`source_line`](AptRoot::source_line) makes.
    pub fn sources(&self, lines: &[String]) {
        self.scratch.file("etc/apt/sources.list", lines.concat());
    }

    /// A line of `sources.list`.
    pub fn source_line(url: &str, suite: &str, components: &[&str], key: &Path) -> String {
        source_line(url, suite, components, key)
    }

    /// `apt-get update`. Exits with 100 when any index could not be had, as it is told to take warnings for errors.
    pub fn update(&self) -> Ran {
        self.apt_get(&["update", "--error-on=any"]).run()
    }

    /// `apt-get install`: downloads, and unpacks and configures below [`AptRoot::path`].
    pub fn install(&self, packages: &[&str]) -> Ran {
        self.apt_get(&["install", "--yes"]).args(packages).run()
    }

    /// `apt-get upgrade`.
    pub fn upgrade(&self) -> Ran {
        self.apt_get(&["upgrade", "--yes"]).run()
    }

    /// Downloads a package into the cache of this root without installing it: `apt-get install --download-only`.
    pub fn download(&self, packages: &[&str]) -> Ran {
        self.apt_get(&["install", "--yes", "--download-only"])
            .args(packages)
            .run()
    }

    /// Any `apt-get` command, for further changes before it runs.
    pub fn apt_get(&self, arguments: &[&str]) -> Program {
        self.program("apt-get", "apt").args(arguments)
    }

    /// `apt-cache policy`.
    pub fn policy(&self, package: &str) -> Policy {
        let said = self
            .program("apt-cache", "apt")
            .args(["policy", package])
            .run()
            .success();
        Policy::parse(&said.stdout)
    }

    /// `apt-cache show`: what the lists say of a package.
    pub fn show(&self, package: &str) -> Ran {
        self.program("apt-cache", "apt").args(["show", package]).run()
    }

    /// The installed version of a package, according to dpkg.
    pub fn installed(&self, package: &str) -> Option<String> {
        let admin = self.path().join("var/lib/dpkg");
        let query = self.program("dpkg-query", "dpkg").arg("--admindir").arg(admin);
        let said = query
            .args(["--show", "--showformat", "${db:Status-Abbrev}${Version}", package])
            .run();
        said.stdout.strip_prefix("ii ").map(str::to_owned)
    }

    /// Every installed package with its version, according to dpkg.
    pub fn all_installed(&self) -> BTreeMap<String, String> {
        let admin = self.path().join("var/lib/dpkg");
        let query = self.program("dpkg-query", "dpkg").arg("--admindir").arg(admin);
        let format = "${db:Status-Abbrev}${Package} ${Version}\n";
        let said = query.args(["--show", "--showformat", format]).run();
        let installed = said.stdout.lines().filter_map(|line| line.strip_prefix("ii "));
        installed
            .filter_map(|line| line.split_once(' '))
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect()
    }

    /// Files in the download cache, sorted.
    pub fn downloaded(&self) -> Vec<PathBuf> {
        let directory = fs::read_dir(self.path().join("var/cache/apt/archives")).expect("own directory");
        let mut files: Vec<PathBuf> = directory.map(|entry| entry.expect("own directory").path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
        files.sort();
        files
    }

    /// Forgets every downloaded package and list.
    pub fn forget(&self) {
        for directory in ["var/lib/apt/lists", "var/cache/apt/archives"] {
            fs::remove_dir_all(self.path().join(directory)).expect("own directory");
            self.scratch.directory(&format!("{directory}/partial"));
        }
    }

    fn program(&self, name: &str, package: &str) -> Program {
        Program::new(name, package)
            .env("APT_CONFIG", self.path().join("apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .directory(self.path())
    }
}

impl Default for AptRoot {
    fn default() -> Self {
        Self::new()
    }
}

fn source_line(url: &str, suite: &str, components: &[&str], key: &Path) -> String {
    format!(
        "deb [signed-by={}] {url} {suite} {}\n",
        key.display(),
        components.join(" ")
    )
}

/// Only places and the absent sandbox user differ from apt's defaults, and no retries: a fault shall show at once. What is
/// installed need not survive a power cut.
fn configuration(root: &Path) -> String {
    let root = root.display();
    format!(
        "Dir \"{root}\";
Dir::State::status \"{root}/var/lib/dpkg/status\";
APT::Architecture \"amd64\";
APT::Architectures {{ \"amd64\"; }};
APT::Sandbox::User \"root\";
Acquire::Retries \"0\";
Acquire::http::Proxy \"DIRECT\";
DPkg::Options {{ \"--root={root}\"; \"--force-not-root\"; \"--force-script-chrootless\"; \"--force-unsafe-io\"; \"--log={root}/var/log/dpkg.log\"; }};
"
    )
}

impl Policy {
    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(name))?.trim();
            (value != "(none)").then(|| value.to_owned())
        };
        // Below "Version table:", each version stands five columns in (or after "***"), its sources further.
        let table = text.split_once("Version table:").map_or("", |(_, table)| table);
        let versions = table.lines().filter_map(|line| {
            let version = line.strip_prefix("     ").or_else(|| line.strip_prefix(" *** "))?;
            let word = version.split(' ').next()?;
            (!word.is_empty()).then(|| word.to_owned())
        });
        Self {
            installed: field("Installed:"),
            candidate: field("Candidate:"),
            versions: versions.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read() {
        let text = "hello:
  Installed: 1
  Candidate: 2-1
  Version table:
     2-1 500
        500 http://127.0.0.1:1 sid/main amd64 Packages
 *** 1 100
        100 /var/lib/dpkg/status
";
        let expected = Policy {
            installed: Some("1".into()),
            candidate: Some("2-1".into()),
            versions: vec!["2-1".into(), "1".into()],
        };
        assert_eq!(Policy::parse(text), expected);
        assert_eq!(
            Policy::parse(""),
            Policy {
                installed: None,
                candidate: None,
                versions: Vec::new()
            }
        );
    }
}

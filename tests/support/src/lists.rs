//! The indices of Debian's archive that APT has on this machine.
//!
//! Owns where they are and how they are read: whatever compression APT keeps them in, APT reads them. Nothing is fetched
//! here; `tests/run` does that.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Program;

/// Where APT keeps them.
const LISTS: &str = "/var/lib/apt/lists";

/// Reads them.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// How the name of a packages index of `main` goes on after its suite.
const OF_MAIN: &str = "_main_binary-";

/// The index of the binary packages of a suite's `main`.
#[derive(Debug, Clone)]
pub struct AptList {
    path: PathBuf,
    /// The suite, as in the archive's path.
    pub suite: String,
}

impl AptList {
    /// All of them, sorted by the name of their file.
    ///
    /// # Panics
    /// When there is none, with the command that fetches them.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir(LISTS).unwrap_or_else(|error| panic!("{LISTS}: {error}"));
        let paths = entries.map(|entry| entry.expect("a readable directory").path());
        let mut lists: Vec<Self> = paths.filter_map(|path| Self::at(&path)).collect();
        assert!(
            !lists.is_empty(),
            "APT has no index of main in {LISTS}: \"apt-get update\" as root fetches what its sources name"
        );
        lists.sort_by(|one, other| one.path.cmp(&other.path));
        lists
    }

    /// `None` for a file that is none: signed Releases, other components, translations.
    fn at(path: &Path) -> Option<Self> {
        let (site, rest) = path.file_name()?.to_str()?.split_once(OF_MAIN)?;
        let (_, suite) = site.rsplit_once("_dists_")?;
        rest.contains("_Packages").then(|| Self {
            path: path.to_owned(),
            suite: suite.to_owned(),
        })
    }

    /// What it says, a stanza for each package.
    pub fn text(&self) -> String {
        let helper = Program::new(HELPER, "apt").arg("cat-file");
        helper.arg(&self.path).run().success().stdout
    }

    /// Writes what they say to a file, one after the other, without holding it in memory.
    pub fn write<'l>(lists: impl IntoIterator<Item = &'l Self>, file: &Path) {
        // An empty line ends the last stanza of each.
        let script = "for list; do \"$helper\" cat-file \"$list\" && echo || exit; done > \"$file\"";
        let shell = Program::new("sh", "dash").args(["-euc", script, "sh"]);
        let shell = shell.env("helper", HELPER).env("file", file);
        let paths = lists.into_iter().map(|list| &list.path);
        shell.args(paths).run().success();
    }
}

/// The architecture of this machine, as Debian names it.
pub fn native_architecture() -> String {
    let dpkg = Program::new("dpkg", "dpkg").arg("--print-architecture");
    dpkg.run().success().stdout.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_main_are_known_by_their_names() {
        let suite = |name: &str| AptList::at(Path::new(name)).map(|list| list.suite);
        let archive = "/lists/deb.debian.org_debian-security_dists_bookworm-security_main";
        for ending in ["", ".lz4", ".xz"] {
            let found = suite(&format!("{archive}_binary-amd64_Packages{ending}"));
            assert_eq!(found.as_deref(), Some("bookworm-security"));
        }
        for other in ["_i18n_Translation-en", "_source_Sources"] {
            assert_eq!(suite(&format!("{archive}{other}")), None);
        }
        assert_eq!(suite("/lists/x_dists_sid_contrib_binary-amd64_Packages"), None);
        assert_eq!(suite("/lists/x_dists_sid_InRelease"), None);
    }
}

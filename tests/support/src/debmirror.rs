//! debmirror, as a client of ours.
//!
//! Owns [`Debmirror`], which trusts one key and keeps its copy in a directory of its own.

use std::path::{Path, PathBuf};

use crate::{Program, Ran, Scratch};

/// A private debmirror with its copy of an archive.
#[derive(Debug, Default)]
pub struct Debmirror(Scratch);

impl Debmirror {
    /// A debmirror that has copied nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies the archive at `url`, which is `http://HOST:PORT/PATH`, with further `options` such as `--getcontents`.
    pub fn mirror(
        &self,
        url: &str,
        suites: &[&str],
        components: &[&str],
        architectures: &[&str],
        key: &Path,
        options: &[&str],
    ) -> Ran {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, root) = rest.split_once('/').unwrap_or((rest, ""));
        Program::new("debmirror", "debmirror")
            .env("HOME", self.0.path())
            .env("GNUPGHOME", self.0.directory("gnupg"))
            .args(["--method=http", "--rsync-extra=none", "--diff=none"])
            .args(options)
            .arg(format!("--host={host}"))
            .arg(format!("--root={root}"))
            .arg(format!("--dist={}", suites.join(",")))
            .arg(format!("--section={}", components.join(",")))
            .arg(format!("--arch={}", architectures.join(",")))
            .arg(format!("--keyring={}", key.display()))
            .arg(self.root())
            .run()
    }

    /// Its copy.
    pub fn root(&self) -> PathBuf {
        self.0.directory("copy")
    }
}

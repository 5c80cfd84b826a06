//! A private installation of mirrorctl.
//!
//! Owns [`TestEnv`]: one temporary directory with a state directory, a mount point, a run directory and a
//! configuration file, and the real binary run in it with an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::mount::{detach, mounted_below};
use crate::{Config, Program, Ran, Running, Scratch};

/// A private installation. Whatever is still mounted in it when it is dropped is detached.
#[derive(Debug)]
pub struct TestEnv {
    scratch: Scratch,
    binary: PathBuf,
}

impl TestEnv {
    /// A user in the group `mirrorctl`, made by `tests/run`; for [`Program::user`].
    pub const MEMBER: &str = "mirrorctl-test-member";
    /// A user with no rights, made by `tests/run`; for [`Program::user`].
    pub const OTHER: &str = "mirrorctl-test-other";

    /// An empty installation of the binary at `path`: `env!("CARGO_BIN_EXE_mirrorctl")`.
    pub fn new(binary: impl AsRef<Path>) -> Self {
        let env = Self {
            scratch: Scratch::new(),
            binary: binary.as_ref().to_owned(),
        };
        for directory in ["srv", "run", "home"] {
            env.scratch.directory(directory);
        }
        env
    }

    /// The directory that holds it all, and where tests may put things of their own.
    pub fn root(&self) -> &Path {
        self.scratch.path()
    }

    /// Where state lives (`[snapshot] path`). mirrorctl creates it.
    pub fn state_dir(&self) -> PathBuf {
        self.root().join("state")
    }

    /// The mount point (`dir`).
    pub fn mount_dir(&self) -> PathBuf {
        self.root().join("srv")
    }

    /// Where mounts register (`MIRRORCTL_RUN_DIR`).
    pub fn run_dir(&self) -> PathBuf {
        self.root().join("run")
    }

    /// The configuration file, which [`TestEnv::configure`] writes.
    pub fn config_path(&self) -> PathBuf {
        self.root().join("mirror.toml")
    }

    /// The binary under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Writes the configuration, with `dir` and `[snapshot] path` added, and with retries that come soon: an upstream that
    /// fails on purpose needs no time to recover. A mount that a test freezes is left frozen.
    pub fn configure(&self, config: Config) {
        let quoted = |path: PathBuf| format!("\"{}\"", path.display());
        let config = config
            .set("dir", &quoted(self.mount_dir()))
            .set_in("snapshot", "path", &quoted(self.state_dir()))
            .default_in("http", "backoff", "\"1ms\"")
            .default_in("mount", "watchdog", "\"10m\"");
        self.configure_with(&config.to_toml());
    }

    /// Writes the configuration exactly as given.
    pub fn configure_with(&self, toml: &str) {
        self.scratch.file("mirror.toml", toml);
    }

    /// Writes a keyring and gives its path.
    pub fn key(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.scratch.file(&format!("keys/{name}"), bytes)
    }

    /// The binary with its configuration and run directory and these arguments, for further changes before it runs.
    pub fn command(&self, arguments: &[&str]) -> Program {
        Program::at(&self.binary)
            .arg("--config")
            .arg(self.config_path())
            .args(arguments)
            .env("MIRRORCTL_RUN_DIR", self.run_dir())
            .env("HOME", self.root().join("home"))
            .env("RUST_BACKTRACE", "1")
            .directory(self.root())
    }

    /// Runs the binary to its end: `env.mirrorctl(&["sync", "debian"]).success()`.
    pub fn mirrorctl(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).run()
    }

    /// Starts the binary, to be killed or watched.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        self.command(arguments).spawn()
    }

    /// A path in the mounted tree: `env.served("debian/current/dists")`.
    pub fn served(&self, path: &str) -> PathBuf {
        self.mount_dir().join(path)
    }

    /// The text of a file in the mounted tree.
    ///
    /// # Panics
    /// When it cannot be read.
    #[track_caller]
    pub fn read_served(&self, path: &str) -> String {
        let path = self.served(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        for mounted in mounted_below(self.root()) {
            detach(&mounted);
        }
    }
}

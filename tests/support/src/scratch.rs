//! Temporary directories, free ports, the time of day, and who runs the tests.
//!
//! Owns the facts about this machine that every fixture starts from. Nothing here starts a program.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mirrorctl::model::Timestamp;
use tempfile::TempDir;

/// A directory that is removed with this value and that every user may enter, so that the worker of a web server can
/// read below it.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// An empty directory.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("mirrorctl-")
            .tempdir()
            .expect("a temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("own directory");
        Self(directory)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Creates a directory in it, parents included.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes a file in it, parents included.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("own directory");
        fs::write(&path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A TCP port of 127.0.0.1 on which nothing listens at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "tests are where the time of day comes from")]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("the clock is after 1970");
    Timestamp::from_unix(i64::try_from(since.as_secs()).expect("the clock is before the year 292277026596"))
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").expect("procfs").uid() == 0
}

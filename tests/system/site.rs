//! A mirrored archive that changes, for the tests of the mount.
//!
//! Owns [`Site`]: upstream archives, a configuration that names them, and the shortest way to another snapshot; and
//! plain ways of looking at a served tree. It asserts nothing about what is served.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mirrorctl::model::{Digest, Timestamp};
use mirrorctl_testkit::{
    Archive, ArchiveBuilder, Config, Deb, Dice, Mirror, MountGuard, Ran, SuiteSpec, TestEnv, Upstream, now,
};

/// The suite that every archive has.
pub(crate) const SUITE: &str = "stable";

/// A package file that is the same in every version of an archive.
pub(crate) const COMMON: &str = "pool/main/c/common/common_1_amd64.deb";

/// The Release file, different in every version of an archive.
pub(crate) const RELEASE: &str = "dists/stable/Release";

/// Bytes of the file in the large packages: more than a reader takes at once, and incompressible, so that the package
/// is as large.
const LARGE: usize = 300_000;

/// The package file that only version `number` of an archive has.
pub(crate) fn only(number: usize) -> String {
    format!("pool/main/o/only{number}/only{number}_1_amd64.deb")
}

/// How long before now the archives were made, in seconds: Last-Modified must not be the time of the sync.
const AGE: i64 = 1_000_000;

/// A file or directory of a tree, by what a copy of it would have. Bytes stand as their digest, so that a failed
/// comparison can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    Directory,
    File(Digest),
}

/// A whole tree, by path.
pub(crate) type Tree = BTreeMap<PathBuf, Item>;

/// One upstream archive that a mirror of the same name follows.
pub(crate) struct Source {
    pub(crate) mirror: String,
    pub(crate) archive: Archive,
    upstream: Upstream,
    key: PathBuf,
    version: i64,
    made: Timestamp,
}

/// An installation with its upstream archives.
pub(crate) struct Site {
    pub(crate) env: TestEnv,
    pub(crate) sources: Vec<Source>,
}

impl Site {
    /// An installation that mirrors an archive for each of `mirrors`. Nothing is synced yet.
    pub(crate) fn new(mirrors: &[&str]) -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let sources = mirrors.iter().map(|mirror| Source::new(&env, mirror)).collect();
        let site = Self { env, sources };
        site.configure(mirrors.len());
        site
    }

    /// One mirror, `debian`, and so many snapshots of it, each different. Their names, oldest first.
    pub(crate) fn with_snapshots(count: usize) -> (Self, Vec<String>) {
        let mut site = Self::new(&["debian"]);
        let names = (0..count).map(|_| site.next_snapshot("debian")).collect();
        (site, names)
    }

    /// Writes a configuration with the first `count` of the mirrors.
    pub(crate) fn configure(&self, count: usize) {
        self.env.configure(self.config(count));
    }

    /// A configuration with the first `count` of the mirrors.
    pub(crate) fn config(&self, count: usize) -> Config {
        let mirrors = self.sources.iter().take(count).map(Source::settings);
        mirrors.fold(Config::new(), Config::mirror)
    }

    pub(crate) fn source(&mut self, mirror: &str) -> &mut Source {
        let found = self.sources.iter_mut().find(|source| source.mirror == mirror);
        found.unwrap_or_else(|| panic!("no mirror {mirror}"))
    }

    /// Changes upstream, syncs, and gives the new snapshot's name.
    pub(crate) fn next_snapshot(&mut self, mirror: &str) -> String {
        self.source(mirror).change();
        self.sync(mirror)
    }

    /// Syncs, and gives the name of the snapshot that this made.
    pub(crate) fn sync(&self, mirror: &str) -> String {
        let ran = self.env.mirrorctl(&["--json", "sync", mirror]).success();
        let name = ran.json()["mirrors"][0]["snapshot"]["name"].clone();
        name.as_str().unwrap_or_else(|| panic!("no snapshot: {ran}")).to_owned()
    }

    pub(crate) fn mount(&self) -> MountGuard {
        MountGuard::mount(&self.env)
    }

    pub(crate) fn publish(&self, mirror: &str, name: &str) -> Ran {
        self.env.mirrorctl(&["snapshot", "publish", mirror, name]).success()
    }

    pub(crate) fn stage(&self, mirror: &str, name: &str) -> Ran {
        self.env.mirrorctl(&["snapshot", "stage", mirror, name]).success()
    }

    pub(crate) fn served(&self, path: &str) -> PathBuf {
        self.env.served(path)
    }
}

impl Source {
    fn new(env: &TestEnv, mirror: &str) -> Self {
        let made = now().plus(-AGE);
        let common = Deb::new("common", "1", "amd64").file("usr/share/common/data", noise(LARGE));
        let archive = ArchiveBuilder::new()
            .suite(SuiteSpec::new(SUITE).package("main", common))
            .create(&env.root().join("upstream").join(mirror), made)
            .expect("an archive");
        let public = archive.key().public_armored().expect("a key");
        Self {
            mirror: mirror.to_owned(),
            upstream: Upstream::serve(archive.root()),
            key: env.key(&format!("{mirror}.asc"), &public),
            archive,
            version: 0,
            made,
        }
    }

    /// The mirror's table of the configuration: each new snapshot is staged by hand.
    pub(crate) fn settings(&self) -> Mirror {
        Mirror::new(&self.mirror, &self.upstream.url())
            .suites(&[SUITE])
            .key(&self.key)
    }

    /// The file with the key that signs the archive.
    pub(crate) fn key(&self) -> &Path {
        &self.key
    }

    /// Publishes another version: a package that changes, one that is new and one that has gone.
    pub(crate) fn change(&mut self) {
        self.version += 1;
        let number = self.version;
        let named = |number: i64| format!("only{number}");
        let mut data = noise(LARGE);
        data[..8].copy_from_slice(&number.to_be_bytes());
        for deb in [
            Deb::new("changing", &number.to_string(), "amd64"),
            Deb::new(&named(number), "1", "amd64").file("usr/share/only/data", data),
        ] {
            self.archive.add(SUITE, "main", &deb).expect("a package");
        }
        if number > 1 {
            self.archive.remove(SUITE, &named(number - 1)).expect("a suite");
        }
        self.publish();
    }

    /// Runs `hook` just before the next request that matches is answered.
    pub(crate) fn before(&self, pattern: &str, hook: impl FnOnce() + Send + 'static) {
        self.upstream.before(pattern, hook);
    }

    /// Writes the archive as it is now, a minute after the last time.
    pub(crate) fn publish(&mut self) {
        self.made = self.made.plus(60);
        self.archive.publish(self.made).expect("published");
    }
}

/// Bytes without repetition, the same at every call.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    Dice(1).noise(length)
}

/// The tree below `root`, read whole.
#[track_caller]
pub(crate) fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        for name in names(&root.join(&directory)) {
            let path = directory.join(name);
            let full = root.join(&path);
            let item = if stat(&full).is_dir() {
                waiting.push(path.clone());
                Item::Directory
            } else {
                Item::File(Digest::of(&read(&full)))
            };
            found.insert(path, item);
        }
    }
    found
}

/// The names in a directory, sorted.
#[track_caller]
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        entry.file_name().into_string().expect("UTF-8")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

#[track_caller]
pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
pub(crate) fn stat(path: &Path) -> fs::Metadata {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
pub(crate) fn inode(path: &Path) -> u64 {
    stat(path).ino()
}

#[track_caller]
pub(crate) fn mtime(path: &Path) -> i64 {
    stat(path).mtime()
}

/// Looks again until `done` says so; whether it did before a generous time was over.
pub(crate) fn comes_true(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if done() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! One archive, its upstream, and an installation that mirrors it.
//!
//! Owns the common ground of this suite: [`Site`], and the look into a state directory without a mount, through the
//! library's own readers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use mirrorctl::catalog::{CatalogReader, DirRow, MirrorRow, ROOT_DIR, Seq, TreeNode};
use mirrorctl::model::{Digest, MirrorId, Timestamp};
use mirrorctl_testkit::{
    Archive, ArchiveBuilder, Config, Deb, Mirror, Ran, Recorded, SuiteSpec, TestEnv, Upstream, now,
};
use serde_json::Value;

/// The suite that most tests have.
pub(crate) const SUITE: &str = "bookworm";

/// Whatever a state directory shows of one snapshot: path to digest and size.
pub(crate) type Files = BTreeMap<String, (Digest, u64)>;

/// An archive, its upstream, and an installation with the mirror `debian` of it.
pub(crate) struct Site {
    pub(crate) env: TestEnv,
    pub(crate) archive: Archive,
    pub(crate) upstream: Upstream,
    /// When the archive was published last. Publications are a minute apart, all of them in the past.
    published: Timestamp,
}

/// A package with a file of `size` bytes that no other version has.
pub(crate) fn deb(name: &str, version: &str, size: usize) -> Deb {
    let line = format!("{name} {version}\n");
    let contents = line.bytes().cycle().take(size).collect::<Vec<u8>>();
    Deb::new(name, version, "amd64").file(&format!("usr/share/{name}/data"), contents)
}

/// A suite with three small packages: `aa`, `bb` and `cc`, in this order.
pub(crate) fn three() -> SuiteSpec {
    let suite = SuiteSpec::new(SUITE);
    ["aa", "bb", "cc"]
        .iter()
        .fold(suite, |suite, name| suite.package("main", deb(name, "1", 2_000)))
}

/// The moves that the history has, newest first.
pub(crate) fn history(site: &Site) -> Vec<Value> {
    let history = site.json("snapshot history");
    history["moves"].as_array().expect("a list").clone()
}

/// Asserts that a command line is refused with this code, with these words, and that nothing has moved.
#[track_caller]
pub(crate) fn refused(site: &Site, line: &str, code: i32, words: &[&str]) {
    let before = history(site);
    let ran = site.run(line).code(code);
    for word in words {
        assert!(ran.stderr.contains(word), "no {word:?} in {ran}");
    }
    assert_eq!(history(site), before, "{line} moved something");
}

impl Site {
    /// A site whose archive has `suites`; the mirror `debian` has them all.
    pub(crate) fn new(suites: impl IntoIterator<Item = SuiteSpec>) -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let published = now().plus(-36_000);
        let builder = suites.into_iter().fold(ArchiveBuilder::new(), ArchiveBuilder::suite);
        let archive = builder
            .create(&env.root().join("archive"), published)
            .expect("an archive");
        let upstream = Upstream::serve(archive.root());
        let site = Self {
            env,
            archive,
            upstream,
            published,
        };
        site.configure(|mirror| mirror);
        site
    }

    /// A site with the suite [`three`].
    pub(crate) fn small() -> Self {
        Self::new([three()])
    }

    /// The mirror `id` of the suites in the archive's `dists`, as far as there are any.
    pub(crate) fn mirror(&self, id: &str) -> Mirror {
        // Flat repositories are nowhere in particular.
        let mut suites: Vec<String> = fs::read_dir(self.archive.root().join("dists"))
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        suites.sort();
        let suites: Vec<&str> = suites.iter().map(String::as_str).collect();
        let key = self.archive.key().public_armored().expect("a key");
        Mirror::new(id, &self.upstream.url())
            .suites(&suites)
            .key(&self.env.key("archive.asc", &key))
    }

    /// Configures the mirror `debian`, changed by `change`.
    pub(crate) fn configure(&self, change: impl FnOnce(Mirror) -> Mirror) {
        self.configure_all(Config::new().mirror(change(self.mirror("debian"))));
    }

    /// Configures anything.
    pub(crate) fn configure_all(&self, config: Config) {
        self.env.configure(config);
    }

    /// Runs `mirrorctl` with these words.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.env.mirrorctl(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `mirrorctl --json` with these words, which must succeed, and gives its document.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        self.run(&format!("--json {line}")).success().json()
    }

    /// Syncs all mirrors, which must succeed, and gives the report's part about the first.
    #[track_caller]
    pub(crate) fn sync(&self) -> Value {
        self.json("sync")["mirrors"][0].take()
    }

    /// Publishes what was changed in the archive.
    pub(crate) fn publish(&mut self) {
        self.published = self.published.plus(60);
        self.archive.publish(self.published).expect("publishes");
    }

    /// Adds a package to the suite [`SUITE`] and publishes it.
    pub(crate) fn add(&mut self, deb: &Deb) {
        self.archive.add(SUITE, "main", deb).expect("a package");
        self.publish();
    }

    /// Names of `mirror`'s snapshots, newest first.
    pub(crate) fn snapshots(&self, mirror: &str) -> Vec<String> {
        let listed = self.run(&format!("--json snapshot list {mirror}"));
        if listed.status.code() != Some(0) {
            // Before the first sync there is nothing to list.
            assert!(!self.env.state_dir().join("catalog.db").exists(), "{listed}");
            return Vec::new();
        }
        let listed = listed.json();
        let snapshots = listed["snapshots"].as_array().expect("a list").iter();
        snapshots.map(|snapshot| text(&snapshot["name"])).collect()
    }

    /// Where `pointer` of `mirror` leads, by `mirrorctl status`.
    pub(crate) fn pointer(&self, mirror: &str, pointer: &str) -> Option<String> {
        let status = self.json("status");
        let mirrors = status["mirrors"].as_array().expect("a list");
        let found = mirrors.iter().find(|found| found["mirror"] == mirror);
        found.expect("a configured mirror")[pointer].as_str().map(str::to_owned)
    }

    /// Everything that anybody can see of the mirrors: snapshots, and the moves of pointers.
    pub(crate) fn visible(&self) -> (String, String) {
        let document = |line: &str| self.run(&format!("--json {line}")).stdout;
        (document("snapshot list --detailed"), document("snapshot history"))
    }

    /// Successful answers to requests that match, each as path and number of times.
    pub(crate) fn fetched(requests: &[Recorded], prefix: &str) -> BTreeMap<String, usize> {
        let mut fetched = BTreeMap::new();
        for request in requests {
            if request.status == 200 && request.path.starts_with(prefix) {
                *fetched.entry(request.path.clone()).or_default() += 1;
            }
        }
        fetched
    }

    /// The pool path of a package's file in the archive.
    pub(crate) fn pool(&self, package: &str) -> String {
        let paths = self.archive.pool_paths();
        let found = paths.iter().find(|path| path.contains(&format!("/{package}_")));
        (*found.unwrap_or_else(|| panic!("no {package} in {paths:?}"))).to_owned()
    }

    /// The catalog, for reading.
    pub(crate) fn catalog(&self) -> CatalogReader {
        CatalogReader::open(&self.env.state_dir().join("catalog.db")).expect("a catalog")
    }

    /// Whether the cache has a row and whole bytes for the file at `path` of the archive.
    pub(crate) fn has_cached(&self, path: &str) -> bool {
        let bytes = fs::read(self.archive.root().join(path)).expect("a file of the archive");
        let digest = Digest::of(&bytes);
        // A first sync may just be making the catalog.
        let known = CatalogReader::open(&self.env.state_dir().join("catalog.db"))
            .is_ok_and(|catalog| matches!(catalog.blob(digest), Ok(Some(_))));
        known && fs::read(self.blob(digest)).is_ok_and(|cached| cached == bytes)
    }

    /// Where the blob of `digest` lies.
    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.env.state_dir().join("blobs").join(&hex[..2]).join(hex)
    }

    /// The files of a snapshot, by-hash names included, straight from the catalog.
    #[track_caller]
    pub(crate) fn files(&self, mirror: &str, snapshot: &str) -> Files {
        let catalog = self.catalog();
        let row = catalog.mirror(&id(mirror)).expect("a synced mirror");
        let records = catalog.snapshots(row).expect("readable");
        let record = records.iter().find(|record| record.name.as_str() == snapshot);
        let record = record.unwrap_or_else(|| panic!("no snapshot {snapshot}"));
        let mut files = Files::new();
        walk(&catalog, (row, record.seq), ROOT_DIR, "", &mut files);
        files
    }

    /// The files of the mirror `debian`'s newest snapshot.
    #[track_caller]
    pub(crate) fn newest(&self) -> Files {
        self.files("debian", &self.snapshots("debian")[0])
    }

    /// Asserts that every snapshot is complete: a blob with the listed bytes, read-only, for every file; and that each
    /// pointer leads to a snapshot that exists.
    #[track_caller]
    pub(crate) fn assert_whole(&self) {
        let mut checked = BTreeMap::new();
        for (_, mirror) in self.catalog().mirrors().expect("readable") {
            let snapshots = self.snapshots(mirror.as_str());
            for snapshot in &snapshots {
                for (path, (digest, size)) in self.files(mirror.as_str(), snapshot) {
                    let whole = *checked.entry(digest).or_insert_with(|| self.is_whole(digest, size));
                    assert!(whole, "{mirror} {snapshot}: {path} ({digest}) is damaged");
                }
            }
            for pointer in ["staging", "current"] {
                if let Some(name) = self.pointer(mirror.as_str(), pointer) {
                    assert!(snapshots.contains(&name), "{mirror}/{pointer} leads to {name}");
                }
            }
        }
    }

    fn is_whole(&self, digest: Digest, size: u64) -> bool {
        let path = self.blob(digest);
        let facts = fs::symlink_metadata(&path).expect("a blob");
        let bytes = fs::read(&path).expect("a readable blob");
        facts.is_file()
            && facts.permissions().mode() & 0o7777 == 0o444
            && bytes.len() as u64 == size
            && Digest::of(&bytes) == digest
    }

    /// Files that syncs left on their way in.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        below(&self.env.state_dir().join("tmp"))
    }

    /// What was put into the quarantine.
    pub(crate) fn quarantined(&self) -> Vec<PathBuf> {
        below(&self.env.state_dir().join("quarantine"))
    }

    /// Every blob file.
    pub(crate) fn blobs(&self) -> Vec<PathBuf> {
        below(&self.env.state_dir().join("blobs"))
    }
}

/// Every file below `directory`, sorted; none when it does not exist.
pub(crate) fn below(directory: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.append(&mut below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn walk(catalog: &CatalogReader, at: (MirrorRow, Seq), dir: DirRow, prefix: &str, files: &mut Files) {
    for (name, node) in catalog.children(at.0, at.1, dir).expect("readable") {
        let path = format!("{prefix}{name}");
        match node {
            TreeNode::Directory(dir) => walk(catalog, at, dir, &format!("{path}/"), files),
            TreeNode::File(file) => {
                let (digest, size, _) = catalog.blob_row(file.blob).expect("readable").expect("a blob");
                files.insert(path, (digest, size));
            }
        }
    }
}

/// A mirror's id.
pub(crate) fn id(mirror: &str) -> MirrorId {
    mirror.parse().expect("a valid id")
}

/// A JSON string.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

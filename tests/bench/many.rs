//! A catalog with many snapshots, for the benchmarks that need one.
//!
//! Owns how it is made: each snapshot has newer versions of a few packages than the one before, spread over the archive, one of
//! them under its old name. Only the files of [`HOT`] and that with the snapshot's name have bytes in the cache; of the others the catalog alone
//! knows. It measures nothing.

use std::collections::BTreeMap;

use mirrorctl::model::{BlobFacts, Digest, Entry, Listing, ListingBuilder, Role, Timestamp};
use mirrorctl_testkit::{Config, Mirror, TestEnv, now};

use crate::stores::Stores;

/// The mirror.
pub(crate) const MIRROR: &str = "archive";
/// A file that holds the name of its snapshot.
pub(crate) const NAME_FILE: &str = "dists/stable/Release";
/// The directory of files that all snapshots have alike, and their number and length: what clients always ask for.
pub(crate) const HOT: &str = "pool/main/hot";
const HOT_FILES: usize = 200;
const HOT_BYTES: usize = 100_000;

/// How much is recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Snapshots in the catalog.
    pub(crate) snapshots: usize,
    /// Files in the pool of each of them.
    pub(crate) files: usize,
    /// Files of a snapshot that are not those of the one before.
    pub(crate) changed: usize,
}

impl Scale {
    /// The scale that performance is held to; the words `SNAPSHOTS FILES` at the end of the command line make it another one.
    pub(crate) fn wanted() -> Self {
        let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
        let (snapshots, files) = match numbers[..] {
            [snapshots, files] => (snapshots, files),
            _ => (500, 60_000),
        };
        Self {
            snapshots,
            files,
            changed: 30,
        }
    }

    /// The scale in words.
    pub(crate) fn sentence(self) -> String {
        let Self {
            snapshots,
            files,
            changed,
        } = self;
        format!("{snapshots} snapshots of {files} files, {changed} of them new in each")
    }
}

/// The name of a snapshot, from 0.
pub(crate) fn snapshot_name(number: usize) -> String {
    format!("snapshot-{number}")
}

/// A configured installation with that many snapshots.
pub(crate) fn installation(scale: Scale) -> TestEnv {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let mirror = Mirror::new(MIRROR, "http://127.0.0.1:9/").suites(&["stable"]);
    env.configure(Config::new().mirror(mirror));
    let mut stores = Stores::open(&env, MIRROR);
    let hot: Vec<Vec<u8>> = (0..HOT_FILES)
        .map(|file| format!("hot {file} ").into_bytes().repeat(HOT_BYTES / 8))
        .collect();
    // So long ago that retention by age keeps none of them.
    let begun = now().plus(-400 * 86_400);
    let hot = stores.keep(&hot, begun);
    let mut pool = BTreeMap::new();
    let step = (scale.files / scale.changed).max(1);
    for number in 0..scale.snapshots {
        let time = begun.plus(60 * i64::try_from(number).expect("a small number"));
        let changed = if number == 0 { 1 } else { step };
        let new = (number % changed..scale.files).step_by(changed);
        let new: Vec<(usize, Package)> = new
            .map(|file| {
                let blob = unseen(file, number, time);
                let version = if file < step { 0 } else { number };
                (file, Package { version, blob })
            })
            .collect();
        stores.know(new.iter().map(|(_, package)| package.blob));
        pool.extend(new);
        let name_file = stores.keep(&[snapshot_name(number)], time)[0];
        stores.record(&listing(&pool, &hot, name_file), &snapshot_name(number), time);
    }
    env
}

/// The `file`th file as it is since the snapshot `number`: no bytes.
fn unseen(file: usize, number: usize, time: Timestamp) -> BlobFacts {
    BlobFacts {
        digest: Digest::of(format!("file {file}, {number}").as_bytes()),
        size: 123_456,
        mtime: time,
    }
}

/// A package of the pool.
struct Package {
    /// What its name tells of its content.
    version: usize,
    blob: BlobFacts,
}

fn listing(pool: &BTreeMap<usize, Package>, hot: &[BlobFacts], name_file: BlobFacts) -> Listing {
    let mut listing = ListingBuilder::new();
    let mut add = |path: &str, role, blob| {
        // Names for by-hash are nobody's business here.
        let by_hash = Vec::new();
        let path = path.parse().expect("a path");
        listing.add(path, Entry { role, blob, by_hash }).expect("no clash");
    };
    add(NAME_FILE, Role::Release, name_file);
    for (file, blob) in hot.iter().enumerate() {
        add(&format!("{HOT}/hot-{file}.deb"), Role::Pool, *blob);
    }
    for (file, Package { version, blob }) in pool {
        let source = file / 2;
        let path = format!("pool/main/{}/source-{source}/package-{file}_{version}.deb", source % 40);
        add(&path, Role::Pool, *blob);
    }
    listing.build().expect("no clash")
}

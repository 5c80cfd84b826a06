//! The archive that is served, and the snapshots of it.
//!
//! Owns what stands where: some tens of thousands of small package files in as many directories as a pool has, a few larger ones,
//! one very large one, and indices that are new in every snapshot, by hash too. All that the newest snapshot holds has its bytes in the
//! cache; of what only older ones hold, the catalog alone knows. It measures nothing.

use std::sync::mpsc::sync_channel;
use std::thread;

use mirrorctl::model::{
    BlobFacts, Digest, Entry, HashType, IndexHash, Listing, ListingBuilder, RepoPath, Role, Timestamp,
};
use mirrorctl_testkit::{Config, Dice, Mirror, TestEnv, now};

use crate::stores::Stores;

/// The mirror.
pub(super) const MIRROR: &str = "archive";
/// What every client asks for first: 150 KB, as that of a Debian suite.
pub(super) const IN_RELEASE: &str = "dists/stable/InRelease";
const IN_RELEASE_BYTES: usize = 150_000;
/// A small file that is always the same.
pub(super) const HOT: &str = "pool/main/h/hot/hot.deb";
/// The largest file.
pub(super) const HUGE: &str = "pool/main/h/huge/huge.deb";
pub(super) const HUGE_BYTES: usize = 128 << 20;
const LARGE_FILES: usize = 20;
const LARGE_BYTES: usize = 4_000_000;
/// Indices of one directory, all of them new in every snapshot.
const INDICES: usize = 100;
/// Where they stand.
const INDEX_DIRECTORY: &str = "dists/stable/main/i18n";
/// Where they stand by hash.
pub(super) const BY_HASH: &str = "dists/stable/main/i18n/by-hash/SHA256";
/// Bytes of an index and of a small package.
pub(super) const SMALL_BYTES: usize = 2_048;
/// Small packages of a snapshot that are not those of the one before.
const CHANGED: usize = 30;
/// Publications, the newest snapshots in turn, so that the last one has something to lend.
const PUBLISHED: usize = 3;

/// How much there is to serve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) snapshots: usize,
    /// Small package files in each of them.
    pub(super) files: usize,
    /// Rounds in which everything is measured.
    pub(super) rounds: usize,
}

impl Scale {
    /// The scale that performance is held to; the words `SNAPSHOTS FILES ROUNDS` at the end of the command line make it
    /// another one.
    pub(super) fn wanted() -> Self {
        let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
        let (snapshots, files, rounds) = match numbers[..] {
            [snapshots, files, rounds] => (snapshots, files, rounds),
            _ => (2_000, 60_000, 5),
        };
        Self {
            snapshots,
            files,
            rounds,
        }
    }

    pub(super) fn sentence(self) -> String {
        format!(
            "{} snapshots of {} files, {CHANGED} of them and all {INDICES} indices of one directory new in each",
            self.snapshots, self.files
        )
    }

    pub(super) fn newest(self) -> String {
        snapshot_name(self.snapshots - 1)
    }

    /// Of so many files, one changes in a snapshot.
    fn step(self) -> usize {
        (self.files / CHANGED).max(1)
    }

    /// The files that snapshot `number` has others of than the one before.
    fn changed_in(self, number: usize) -> impl Iterator<Item = usize> {
        let (first, step) = match number {
            0 => (0, 1),
            _ => (number % self.step(), self.step()),
        };
        (first..self.files).step_by(step)
    }

    /// Whether no snapshot after `number` changes what that one has changed.
    fn is_last_change(self, number: usize, file: usize) -> bool {
        let first_again = match number {
            // The snapshot 0 has them all; the next that has this one is the first of its turn.
            0 if !file.is_multiple_of(self.step()) => file % self.step(),
            _ => number + self.step(),
        };
        first_again >= self.snapshots
    }
}

/// The name of a snapshot, from 0.
pub(super) fn snapshot_name(number: usize) -> String {
    format!("snapshot-{number}")
}

/// The `file`th small package.
pub(super) fn package(file: usize) -> String {
    let source = file / 2;
    format!("pool/main/{}/source-{source}/package-{file}.deb", source % 40)
}

/// A configured installation with all that, whose newest snapshot is published.
pub(super) fn installation(scale: Scale) -> TestEnv {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let mirror = Mirror::new(MIRROR, "http://127.0.0.1:9/").suites(&["stable"]);
    env.configure(Config::new().mirror(mirror));
    record(&mut Stores::open(&env, MIRROR), scale);
    for number in scale.snapshots.saturating_sub(PUBLISHED)..scale.snapshots {
        env.mirrorctl(&["snapshot", "publish", MIRROR, &snapshot_name(number)])
            .success();
    }
    env
}

/// Records every snapshot. Listings are made by another thread meanwhile, which takes as long.
fn record(stores: &mut Stores, scale: Scale) {
    // So long ago that retention by age keeps none of them.
    let begun = now().plus(-400 * 86_400);
    let kept = Kept::store(stores, scale, begun);
    let (made, listings) = sync_channel(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let made = made;
            let mut packages = vec![None; scale.files];
            let paths: Vec<RepoPath> = (0..scale.files).map(|file| path(&package(file))).collect();
            for number in 0..scale.snapshots {
                let (state, unseen) = kept.state(scale, number, &paths, &mut packages);
                if made.send((number, state, unseen)).is_err() {
                    break;
                }
            }
        });
        for (number, state, unseen) in listings {
            let time = begun.plus(60 * i64::try_from(number).expect("a small number"));
            stores.know(unseen.into_iter());
            stores.record(&state, &snapshot_name(number), time);
        }
    });
}

/// All that has bytes.
struct Kept {
    packages: Vec<BlobFacts>,
    indices: Vec<BlobFacts>,
    /// What is the same in all snapshots.
    others: Vec<(RepoPath, Role, BlobFacts)>,
}

impl Kept {
    fn store(stores: &mut Stores, scale: Scale, time: Timestamp) -> Self {
        let noise = |seed: usize, length| Dice(seed as u64).noise(length);
        // No two contents alike, so each kind has seeds of its own.
        let packages = stores.keep((0..scale.files).map(|file| noise(file, SMALL_BYTES)), time);
        let seeds = scale.files..;
        let indices = stores.keep(seeds.clone().take(INDICES).map(|seed| noise(seed, SMALL_BYTES)), time);
        let mut others = vec![
            (IN_RELEASE.to_owned(), Role::Release, IN_RELEASE_BYTES),
            (HOT.to_owned(), Role::Pool, SMALL_BYTES),
            (HUGE.to_owned(), Role::Pool, HUGE_BYTES),
        ];
        let large = |file| (format!("pool/main/l/large/large-{file}.deb"), Role::Pool, LARGE_BYTES);
        others.extend((0..LARGE_FILES).map(large));
        let contents = others.iter().zip(seeds.skip(INDICES));
        let blobs = stores.keep(contents.map(|((_, _, length), seed)| noise(seed, *length)), time);
        let others = others.into_iter().zip(blobs);
        Self {
            packages,
            indices,
            others: others
                .map(|((name, role, _), blob)| (path(&name), role, blob))
                .collect(),
        }
    }

    /// The snapshot `number`, made of the one before, and what it holds that has no bytes and was in none before.
    fn state(
        &self,
        scale: Scale,
        number: usize,
        paths: &[RepoPath],
        packages: &mut [Option<BlobFacts>],
    ) -> (Listing, Vec<BlobFacts>) {
        let mut unseen = Vec::new();
        let mut blob = |is_last, kept: &[BlobFacts], kind: &str, file: usize| {
            if is_last {
                return kept[file];
            }
            let digest = Digest::of(format!("{kind} {file}, {number}").as_bytes());
            let blob = BlobFacts { digest, ..kept[file] };
            unseen.push(blob);
            blob
        };
        for file in scale.changed_in(number) {
            packages[file] = Some(blob(
                scale.is_last_change(number, file),
                &self.packages,
                "package",
                file,
            ));
        }
        let is_newest = number + 1 == scale.snapshots;
        let indices: Vec<BlobFacts> = (0..INDICES)
            .map(|index| blob(is_newest, &self.indices, "index", index))
            .collect();

        let mut listing = ListingBuilder::new();
        let mut add = |path: RepoPath, role, blob: BlobFacts| {
            let by_hash = (role == Role::Index).then(|| IndexHash {
                kind: HashType::Sha256,
                hex: blob.digest.to_string().into(),
            });
            let by_hash = by_hash.into_iter().collect();
            listing.add(path, Entry { role, blob, by_hash }).expect("no clash");
        };
        for (path, role, blob) in &self.others {
            add(path.clone(), *role, *blob);
        }
        for (index, blob) in indices.into_iter().enumerate() {
            add(
                path(&format!("{INDEX_DIRECTORY}/Translation-{index}")),
                Role::Index,
                blob,
            );
        }
        for (path, blob) in paths.iter().zip(packages) {
            add(path.clone(), Role::Pool, blob.expect("the first snapshot has them all"));
        }
        (listing.build().expect("no clash"), unseen)
    }
}

fn path(text: &str) -> RepoPath {
    text.parse().expect("a path")
}

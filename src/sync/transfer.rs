//! From network to disk: many files at once, each streamed, hashed and capped, and committed in batches.
//!
//! The only place where a network byte becomes a disk byte, and where asynchronous code hands work to blocking code.
//! Downloads go on while a batch is being made durable. What arrived is kept whatever happens afterwards: a transfer
//! that is dropped commits what is complete. It does not decide what is wanted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{self, JoinSet};

use super::adopt::Damage;
use super::batch::Batches;
use super::download::{Downloaded, Downloads, Trouble};
use super::error::FileError;
use super::fit;
use super::indices::Missing;
use super::local;
use super::plan::{self, Aliases, Want};
use super::report::{Progress, Transferred};
use super::store::{Dated, Store, arrive};
use super::{Job, SyncError};
use crate::blobs::Sharing;
use crate::catalog::{Claim, MirrorRow};
use crate::model::{BlobFacts, Checksum, Digest, RepoPath, Timestamp};
use crate::state::SyncLock;
use crate::upstream::Archive;

/// After so many files have failed, no further ones are begun: the rest would most likely fail alike.
const ENOUGH_FAILURES: usize = 10;

/// The way of one sync's files into the store.
pub(super) struct Transfer {
    shared: Arc<Shared>,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.shared.batches.end();
    }
}

struct Shared {
    downloads: Downloads,
    batches: Batches,
    store: Arc<Store>,
    mirror: MirrorRow,
    /// Keeps the inbox ours until the committer is done with it.
    _lock: Arc<SyncLock>,
    connections: usize,
    now: Timestamp,
    progress: Arc<dyn Progress>,
    files: AtomicU64,
    bytes: AtomicU64,
    reused: AtomicU64,
    /// What is wrong with files that were to be noted only.
    damage: Damage,
    /// A batch could not be kept: nothing more needs to come.
    failed: AtomicBool,
}

impl Shared {
    /// Counts a file of so many bytes that came over the network.
    fn count(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A file that is in memory.
pub(super) struct Made<'a> {
    /// Where it is served.
    pub(super) path: RepoPath,
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) mtime: Timestamp,
    /// Whether it came over the network.
    pub(super) fetched: bool,
}

impl Made<'_> {
    /// What the cache keeps of it if it does not have it yet.
    pub(super) fn facts(&self) -> BlobFacts {
        BlobFacts {
            digest: Digest::of(&self.bytes),
            size: self.bytes.len() as u64,
            mtime: self.mtime,
        }
    }
}

impl Transfer {
    /// Begins, once what an earlier sync of the mirror left finished is kept, so that nothing is fetched twice.
    pub(super) async fn begin(
        job: &Job,
        lock: &Arc<SyncLock>,
        archive: &Arc<Archive>,
        store: &Arc<Store>,
        mirror: MirrorRow,
        progress: &Arc<dyn Progress>,
    ) -> Result<Self, SyncError> {
        let shared = Arc::new(Shared {
            downloads: Downloads {
                archive: Arc::clone(archive),
                inbox: Arc::new(store.inbox(&job.mirror)?),
                store: Arc::clone(store),
                progress: Arc::clone(progress),
                sharing: job.adoption.map_or(Sharing::Never, |adoption| adoption.sharing),
                now: job.now,
            },
            batches: Batches::default(),
            store: Arc::clone(store),
            mirror,
            _lock: Arc::clone(lock),
            connections: local::workers(job),
            damage: Damage::default(),
            now: job.now,
            progress: Arc::clone(progress),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        });
        let committer = Committer {
            shared: Arc::clone(&shared),
            failure: None,
        };
        // Not joined here: the runtime waits for it when it ends, also after an interruption.
        drop(task::spawn_blocking(move || committer.run()));
        let transfer = Self { shared };
        transfer.shared.batches.flush().await?;
        Ok(transfer)
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// What is wrong with the file of this digest that was there and is not what is listed.
    pub(super) fn damage(&self, file: Checksum) -> Option<String> {
        self.shared.damage.of(file)
    }

    /// Removes what is left of files that were given up, now that nothing is missing.
    pub(super) fn discard_incomplete(&self) {
        self.shared.downloads.inbox.discard_incomplete();
    }

    /// What has come over the network so far.
    pub(super) fn transferred(&self) -> Transferred {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Transferred {
            files: count(&self.shared.files),
            bytes: count(&self.shared.bytes),
            reused: count(&self.shared.reused),
        }
    }

    /// Makes sure that the cache has every want, and answers each one's blob, or `None` where upstream lacks it.
    pub(super) async fn fetch(&self, wants: &[Want], missing: Missing) -> Result<Vec<Option<BlobFacts>>, SyncError> {
        let contents = plan::contents(wants);
        let store = &self.shared.store;
        let aliases = self.aliases(&contents)?;
        let digests = contents
            .iter()
            .filter_map(|want| plan::digest_of(want.checksum, &aliases));
        let digests: Vec<Digest> = digests.collect();
        let claims = store.catalog().claim(self.shared.mirror, &digests, self.shared.now)?;
        let claims: HashMap<Digest, Claim> = digests.into_iter().zip(claims).collect();
        let plan = plan::plan(&contents, &claims, &aliases, |blob| {
            store.blobs().has(blob.digest, blob.size)
        })
        .map_err(|(first, error)| failed(1, wants.len(), first, FileError::Content(error)))?;
        self.shared.reused.fetch_add(plan.have.len() as u64, Ordering::Relaxed);
        let mut blobs = plan.have;
        if missing != Missing::Allowed {
            fit::into_room(&self.shared.downloads.in_need_of_room(&plan.fetch)?, store.room()?)?;
        }
        if !plan.fetch.is_empty() {
            blobs.extend(self.download(plan.fetch, missing).await?);
        }
        Ok(wants.iter().map(|want| blobs.get(&want.checksum).copied()).collect())
    }

    /// The digests of wants that are listed with SHA-512 hashes only, as far as their bytes have arrived before.
    fn aliases(&self, contents: &[&Want]) -> Result<Aliases, SyncError> {
        let hashes = contents.iter().filter_map(|want| match want.checksum {
            Checksum::Sha512(hash) => Some(hash),
            Checksum::Sha256(_) => None,
        });
        Ok(self
            .shared
            .store
            .catalog()
            .reader()
            .digests_by_sha512(&hashes.collect())?)
    }

    /// As [`Transfer::fetch`] for pool files, none of which may be missing: every path with its blob.
    pub(super) async fn fetch_pool(&self, pool: &[Want]) -> Result<Vec<(RepoPath, BlobFacts)>, SyncError> {
        let blobs = self.fetch(pool, Missing::Refused).await?;
        let with_path = |(want, blob): (&Want, Option<BlobFacts>)| Some((want.paths[0].clone(), blob?));
        Ok(pool.iter().zip(blobs).filter_map(with_path).collect())
    }

    /// Keeps files that are in memory, in their order. What the cache has already stays as it is.
    pub(super) async fn keep_made(&self, made: &[Made<'_>]) -> Result<Vec<(RepoPath, BlobFacts)>, SyncError> {
        let facts: Vec<BlobFacts> = made.iter().map(Made::facts).collect();
        let digests: Vec<Digest> = facts.iter().map(|blob| blob.digest).collect();
        let store = &self.shared.store;
        let claims = store.catalog().claim(self.shared.mirror, &digests, self.shared.now)?;
        let mut kept = Vec::new();
        for ((file, new), claim) in made.iter().zip(facts).zip(claims) {
            let known = match claim {
                Claim::Held(blob) | Claim::Leased(blob) => Some(blob),
                Claim::Absent => None,
            };
            let known = known.filter(|blob| store.blobs().has(blob.digest, blob.size));
            if known.is_none() {
                self.shared
                    .batches
                    .add((arrive(&self.shared.downloads.inbox, &file.bytes, new.mtime)?, new.mtime))?;
                if file.fetched {
                    self.shared.count(new.size);
                }
            }
            kept.push((file.path.clone(), known.unwrap_or(new)));
        }
        self.shared.batches.flush().await?;
        Ok(kept)
    }

    /// Fetches all of `wants`, several at a time, and answers what came.
    async fn download(&self, wants: Vec<Want>, missing: Missing) -> Result<HashMap<Checksum, BlobFacts>, SyncError> {
        let bytes = wants
            .iter()
            .fold(0_u64, |sum, want| sum.saturating_add(want.size.unwrap_or(0)));
        self.shared.progress.begin(wants.len() as u64, bytes);
        let round = Arc::new(Round {
            wants,
            next: AtomicUsize::new(0),
            missing,
            outcome: Mutex::new(RoundOutcome::default()),
        });
        let mut workers = JoinSet::new();
        for _ in 0..self.shared.connections.min(round.wants.len()) {
            let (shared, round) = (Arc::clone(&self.shared), Arc::clone(&round));
            workers.spawn(async move { round.work(&shared).await });
        }
        while let Some(outcome) = workers.join_next().await {
            outcome.map_err(|_| SyncError::Worker)??;
        }
        self.shared.progress.end();
        self.shared.batches.flush().await?;
        let outcome = std::mem::take(&mut *round.outcome());
        match outcome.first_failure {
            None => Ok(outcome.blobs),
            Some((first, error)) => Err(failed(outcome.failures, round.wants.len(), first, error)),
        }
    }
}

fn failed(failed: usize, wanted: usize, first: RepoPath, error: FileError) -> SyncError {
    SyncError::Files {
        failed,
        wanted,
        first,
        source: Box::new(error),
    }
}

/// Files that several workers fetch together.
struct Round {
    wants: Vec<Want>,
    next: AtomicUsize,
    missing: Missing,
    outcome: Mutex<RoundOutcome>,
}

#[derive(Default)]
struct RoundOutcome {
    blobs: HashMap<Checksum, BlobFacts>,
    failures: usize,
    first_failure: Option<(RepoPath, FileError)>,
}

impl Round {
    fn outcome(&self) -> std::sync::MutexGuard<'_, RoundOutcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches one want after the other until none is left.
    async fn work(&self, shared: &Shared) -> Result<(), SyncError> {
        while let Some(want) = self.wants.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.outcome().failures >= ENOUGH_FAILURES || shared.failed.load(Ordering::Relaxed) {
                break;
            }
            match shared.downloads.fetch(want, self.missing).await {
                Ok(Some(Downloaded { file, bytes })) => {
                    let mtime = file.1;
                    let blob = BlobFacts {
                        digest: file.0.digest(),
                        size: file.0.size(),
                        mtime,
                    };
                    self.outcome().blobs.insert(want.checksum, blob);
                    shared.batches.add(file)?;
                    shared.count(bytes);
                    shared.progress.file();
                }
                Ok(None) if self.missing != Missing::Refused => shared.progress.file(),
                Ok(None) => self.note_failure(want, FileError::Missing),
                Err(Trouble::File(error)) if self.missing == Missing::Noted => {
                    shared.damage.note(want.checksum, &error);
                }
                Err(Trouble::File(error)) => self.note_failure(want, error),
                Err(Trouble::Local(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn note_failure(&self, want: &Want, error: FileError) {
        let path = want.paths.last().expect("a want has a path").clone();
        tracing::warn!(%path, error = &error as &dyn std::error::Error, "a file could not be fetched");
        let mut outcome = self.outcome();
        outcome.failures += 1;
        outcome.first_failure.get_or_insert((path, error));
    }
}

/// Makes arrived files durable, batch by batch, on a thread of its own.
struct Committer {
    shared: Arc<Shared>,
    failure: Option<SyncError>,
}

impl Committer {
    /// Works until nothing more comes. Begins with what a dead sync left finished.
    fn run(mut self) {
        let left = self.shared.downloads.inbox.adopted();
        self.commit(left);
        while let Some(batch) = self.shared.batches.next() {
            self.commit(batch.files);
            for answer in batch.waiting {
                // Whoever asked may have been interrupted meanwhile.
                let _ = answer.send(self.failure.take().map_or(Ok(()), Err));
            }
        }
        if let Some(error) = &self.failure {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the last files could not be kept"
            );
        }
    }

    fn commit(&mut self, batch: Vec<Dated>) {
        if self.failure.is_some() {
            return batch.into_iter().for_each(|(arrived, _)| arrived.leave());
        }
        if batch.is_empty() {
            return;
        }
        let Shared { store, mirror, now, .. } = &*self.shared;
        self.failure = store.commit(*mirror, batch, *now).err();
        self.shared.failed.store(self.failure.is_some(), Ordering::Relaxed);
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.batches.abandon();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::blobs::BlobStore;
    use crate::catalog::Catalog;
    use crate::model::{Clock, Content, MirrorId, MoveTerms, Percent};
    use crate::state::StateDir;
    use crate::sync::{Acceptance, Filtering, Trust};
    use crate::upstream::{Client, ClientOptions};

    struct Silent;

    impl Progress for Silent {
        fn stage(&self, _: &MirrorId, _: &str) {}
        fn begin(&self, _: u64, _: u64) {}
        fn bytes(&self, _: u64) {}
        fn file(&self) {}
        fn end(&self) {}
    }

    const NOW: Timestamp = Timestamp::from_unix(1_700_000_000);

    fn job() -> Job {
        Job {
            mirror: "debian".parse().expect("valid"),
            urls: vec!["http://127.0.0.1:9/".parse().expect("valid")],
            suites: Vec::new(),
            components: Vec::new(),
            architectures: Vec::new(),
            content: Content::default(),
            filtering: Filtering::default(),
            trust: Trust::Unchecked,
            name: "1".parse().expect("valid"),
            pointers: Vec::new(),
            terms: MoveTerms::default(),
            force: false,
            accept: Acceptance::default(),
            max_shrink: Percent::HALF,
            max_size: None,
            adoption: None,
            connections: 1,
            actor: "somebody".to_owned(),
            now: NOW,
            clock: Clock::new(|| NOW),
        }
    }

    /// The stores of the state directory at `root`, as one process opens them.
    fn open(root: &std::path::Path) -> (StateDir, Arc<Store>) {
        let state = StateDir::open_to_change(root).expect("opens");
        let catalog = Catalog::open(&state.catalog()).expect("opens");
        let blobs = BlobStore::open(&state.blobs(), None).expect("opens");
        let store = Store::new(catalog, blobs, state.incoming_root());
        (state, Arc::new(store))
    }

    #[tokio::test]
    async fn what_a_killed_sync_finished_is_not_fetched_again() {
        let place = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(place.path().join("disk")).expect("makes");
        // Below a link, which SQLite alone would refuse.
        symlink(place.path().join("disk"), place.path().join("link")).expect("links");
        let root = place.path().join("link").join("state");
        let job = job();
        let mtime = Timestamp::from_unix(1_600_000_000);
        let want = Want {
            paths: vec!["pool/a".parse().expect("valid")],
            checksum: Checksum::Sha256(Digest::of(b"hello")),
            size: Some(5),
            date: job.now,
        };
        {
            let (_, store) = open(&root);
            let inbox = store.inbox(&job.mirror).expect("opens");
            // A killed process drops nothing.
            std::mem::forget(arrive(&inbox, b"hello", mtime).expect("arrives"));
        }
        let (state, store) = open(&root);
        let lock = Arc::new(state.lock_sync(&job.mirror).expect("free"));
        let client = Client::new(&ClientOptions::new(1)).expect("sets up");
        let mirror = store.catalog().adopt_mirror(&job.mirror).expect("adopts");
        let progress: Arc<dyn Progress> = Arc::new(Silent);
        let archive = Arc::new(Archive::new(client, job.urls.clone()));
        let transfer = Transfer::begin(&job, &lock, &archive, &store, mirror, &progress)
            .await
            .expect("begins");
        // Nothing listens at the mirror's address.
        let blobs = transfer.fetch(&[want], Missing::Refused).await.expect("has it");
        let kept = BlobFacts {
            digest: Digest::of(b"hello"),
            size: 5,
            mtime,
        };
        assert_eq!(blobs, [Some(kept)]);
        assert_eq!(transfer.transferred().bytes, 0);
        assert_eq!(transfer.transferred().reused, 1);
        assert!(store.blobs().is_whole(kept.digest, kept.size));
    }
}

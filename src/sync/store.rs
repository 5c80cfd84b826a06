//! Catalog and blobs together, as a sync uses them.
//!
//! Owns the order in which bytes and rows become durable (`docs/formats.md`): bytes, lease, name, row. A row never
//! names bytes that a power cut could take.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SyncError;
use crate::blobs::{Arrived, BlobStore, Inbox};
use crate::catalog::{Catalog, MirrorRow, Seq};
use crate::model::{BlobFacts, Digest, MirrorId, RepoPath, Timestamp};
use crate::state::Room;

/// The stores of one state directory.
#[derive(Debug)]
pub struct Store {
    catalog: Mutex<Catalog>,
    blobs: BlobStore,
    incoming: PathBuf,
}

/// A file that arrived, and the modification time to serve it with.
pub(super) type Dated = (Arrived, Timestamp);

impl Store {
    /// The stores of a state directory; `incoming` is the directory below which each mirror's sync writes files that
    /// have no name yet.
    #[must_use]
    pub fn new(catalog: Catalog, blobs: BlobStore, incoming: PathBuf) -> Self {
        Self {
            catalog: Mutex::new(catalog),
            blobs,
            incoming,
        }
    }

    /// The catalog, for one statement or transaction at a time.
    pub fn catalog(&self) -> MutexGuard<'_, Catalog> {
        // A panic cannot leave a transaction half done: SQLite rolls it back.
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blobs.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// Gives rows to files that a batch of an earlier sync has placed and not recorded: it was killed in between.
    pub(super) fn take_up_leased(&self, mirror: MirrorRow) -> Result<(), SyncError> {
        let leased = self.catalog().reader().leased_without_row(mirror)?;
        let mut found = Vec::new();
        let mut hashes = Vec::new();
        for (blob, sha512) in leased.into_iter().filter_map(|digest| self.blobs.find(digest)) {
            found.push(blob);
            hashes.extend(sha512.map(|hash| (blob.digest, hash)));
        }
        if !found.is_empty() {
            self.blobs.sync()?;
            self.catalog().add_hashed_blobs(&found, &hashes)?;
        }
        Ok(())
    }

    /// The room on the file system of the blobs.
    pub(super) fn room(&self) -> Result<Room, SyncError> {
        Ok(Room::at(&self.incoming)?)
    }

    pub(super) fn inbox(&self, mirror: &MirrorId) -> Result<Inbox, SyncError> {
        Ok(self.blobs.inbox(&self.incoming.join(mirror.as_str()))?)
    }

    /// Makes a batch of arrived files durable blobs of the catalog, leased by the mirror. A batch that cannot be is left
    /// in the inbox, for the mirror's next sync.
    pub(super) fn commit(
        &self,
        mirror: MirrorRow,
        mut batch: Vec<Dated>,
        now: Timestamp,
    ) -> Result<Vec<BlobFacts>, SyncError> {
        let outcome = self.try_commit(mirror, &mut batch, now);
        if outcome.is_err() {
            for (arrived, _) in batch {
                arrived.leave();
            }
        }
        outcome
    }

    fn try_commit(&self, mirror: MirrorRow, batch: &mut [Dated], now: Timestamp) -> Result<Vec<BlobFacts>, SyncError> {
        let facts: Vec<BlobFacts> = batch
            .iter()
            .map(|(arrived, mtime)| BlobFacts {
                digest: arrived.digest(),
                size: arrived.size(),
                mtime: *mtime,
            })
            .collect();
        let digests: Vec<Digest> = facts.iter().map(|blob| blob.digest).collect();
        let hashes = batch
            .iter()
            .filter_map(|(arrived, _)| Some((arrived.digest(), arrived.sha512()?)));
        let hashes: Vec<_> = hashes.collect();
        // The bytes are durable before they get a name, or a power cut could leave a wrong file under a right name.
        self.blobs.sync()?;
        // The lease comes before the name, or a sweep could take the file between its name and its row.
        self.catalog().lease(mirror, &digests, now)?;
        // A file that gets its name and no row is found by its lease.
        self.blobs.place(batch.iter_mut().map(|(arrived, _)| arrived))?;
        // The names are durable before a row relies on them; ext4 would forgive leaving this out, btrfs does not.
        self.blobs.sync()?;
        self.catalog().add_hashed_blobs(&facts, &hashes)?;
        Ok(facts)
    }

    /// Keeps a manifest as a blob.
    pub(super) fn keep_manifest(
        &self,
        mirror: MirrorRow,
        id: &MirrorId,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Digest, SyncError> {
        let inbox = self.inbox(id)?;
        let arrived = arrive(&inbox, bytes, now)?;
        let digest = arrived.digest();
        self.commit(mirror, vec![(arrived, now)], now)?;
        Ok(digest)
    }

    /// The bytes of the file at `path` in a recorded listing; `None` when it has none or they cannot be read whole.
    pub(super) fn recorded_file(
        &self,
        mirror: MirrorRow,
        seq: Seq,
        path: &RepoPath,
    ) -> Result<Option<Vec<u8>>, SyncError> {
        let Some(digest) = self.catalog().reader().digest_at(mirror, seq, path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = self
            .blobs
            .read(digest)
            .ok()
            .map(|mut file| file.read_to_end(&mut bytes));
        Ok(matches!(read, Some(Ok(_)) if Digest::of(&bytes) == digest).then_some(bytes))
    }
}

/// Puts bytes that are in memory into the inbox.
pub(super) fn arrive(inbox: &Inbox, bytes: &[u8], mtime: Timestamp) -> Result<Arrived, SyncError> {
    let mut incoming = inbox.begin(bytes.len() as u64, None)?;
    incoming.write(bytes)?;
    Ok(incoming.finish(Some(bytes.len() as u64), mtime)?)
}

//! A catalog and a cache that a benchmark fills by itself.
//!
//! Owns the way from bytes and listings to blobs and snapshots without a sync, so that thousands of snapshots take minutes. What
//! they hold is decided by whoever calls.

use std::path::PathBuf;

use mirrorctl::blobs::{Arrived, BlobStore};
use mirrorctl::catalog::Catalog;
use mirrorctl::model::{BlobFacts, Listing, MirrorId, Timestamp};
use mirrorctl::state::StateDir;
use mirrorctl_testkit::{TestEnv, recording};

/// Files that get their places together: few enough to be open at once.
const TOGETHER: usize = 500;

/// Where snapshots of one mirror are recorded.
pub(crate) struct Stores {
    catalog: Catalog,
    blobs: BlobStore,
    incoming: PathBuf,
    mirror: MirrorId,
}

impl Stores {
    /// The catalog and the cache of `env`, with nothing but a mirror in them.
    pub(crate) fn open(env: &TestEnv, mirror: &str) -> Self {
        let state = StateDir::open_to_change(&env.state_dir()).expect("a state directory");
        let mut stores = Self {
            catalog: Catalog::open(&state.catalog()).expect("a catalog"),
            blobs: BlobStore::open(&state.blobs(), state.owner().ids()).expect("a store"),
            incoming: state.incoming_root().join(mirror),
            mirror: mirror.parse().expect("a name"),
        };
        stores.catalog.adopt_mirror(&stores.mirror).expect("a mirror");
        stores
    }

    /// Makes the catalog know of blobs.
    pub(crate) fn know(&mut self, blobs: impl Iterator<Item = BlobFacts>) {
        let blobs: Vec<BlobFacts> = blobs.collect();
        self.catalog.add_blobs(&blobs).expect("records");
    }

    /// Makes blobs of `contents`.
    pub(crate) fn keep(&mut self, contents: impl IntoIterator<Item: AsRef<[u8]>>, time: Timestamp) -> Vec<BlobFacts> {
        let inbox = self.blobs.inbox(&self.incoming).expect("an inbox");
        let arrive = |bytes: &[u8]| {
            let size = bytes.len() as u64;
            let mut incoming = inbox.begin(size, None).expect("a file");
            incoming.write(bytes).expect("writes");
            incoming.finish(Some(size), time).expect("complete")
        };
        let mut contents = contents.into_iter();
        let mut kept = Vec::new();
        loop {
            let next = contents.by_ref().take(TOGETHER);
            let mut arrived: Vec<Arrived> = next.map(|bytes| arrive(bytes.as_ref())).collect();
            if arrived.is_empty() {
                break;
            }
            self.blobs.place(&mut arrived).expect("have a place");
            kept.extend(arrived.iter().map(|arrived| BlobFacts {
                digest: arrived.digest(),
                size: arrived.size(),
                mtime: time,
            }));
        }
        self.know(kept.iter().copied());
        kept
    }

    /// Records `listing` as the snapshot `name`.
    pub(crate) fn record(&mut self, listing: &Listing, name: &str, time: Timestamp) {
        let prepared = self.catalog.prepare(&self.mirror, listing, time).expect("prepares");
        let manifest = self.keep([prepared.manifest()], time)[0].digest;
        let called = name.parse().expect("a name");
        let what = recording(manifest, &called, time);
        self.catalog.record(&prepared, &what).expect("records");
    }
}

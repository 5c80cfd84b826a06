//! What the mount remembers of the tree: listings of directories, and the facts of doors.
//!
//! Owns the two caches and their bounds. Both hold only what never changes, so nothing here ever needs to be
//! invalidated; the exception among the facts, the snapshot's name, is never taken from here. No lock is held while the
//! tree is asked.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::listing::Listing;
use crate::tree::{DirNo, Door, DoorFacts};

/// How many doors' facts are kept: some hundred bytes each, and one for every snapshot of a large archive's mount.
const DOORS_KEPT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Listings of directories, least recently used ones given up first.
#[derive(Debug)]
pub(crate) struct Listings {
    budget: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    listings: LruCache<(Door, DirNo), Arc<Listing>>,
    bytes: usize,
}

impl Listings {
    /// A cache of `budget` bytes.
    pub(crate) fn new(budget: usize) -> Self {
        let kept = Kept {
            listings: LruCache::unbounded(),
            bytes: 0,
        };
        Self {
            budget,
            kept: Mutex::new(kept),
        }
    }

    /// The listing of `dir` behind `door`, if it is kept.
    pub(crate) fn get(&self, door: Door, dir: DirNo) -> Option<Arc<Listing>> {
        lock(&self.kept).listings.get(&(door, dir)).cloned()
    }

    /// Bytes that the listings take: no more than the budget, or one listing.
    pub(crate) fn bytes(&self) -> usize {
        lock(&self.kept).bytes
    }

    /// Keeps `listing`. The newest one is kept even if it exceeds the budget alone: a huge directory is read in
    /// thousands of pages, and asking the tree for all of it for every page would be quadratic.
    pub(crate) fn keep(&self, door: Door, dir: DirNo, listing: Arc<Listing>) {
        let mut kept = lock(&self.kept);
        kept.bytes += listing.bytes();
        if let Some(old) = kept.listings.put((door, dir), listing) {
            kept.bytes -= old.bytes();
        }
        let mut given_up = Vec::new();
        while kept.bytes > self.budget && kept.listings.len() > 1 {
            if let Some((_, old)) = kept.listings.pop_lru() {
                kept.bytes -= old.bytes();
                given_up.push(old);
            }
        }
        // Giving memory back may take its time: not under the lock.
        drop(kept);
        drop(given_up);
    }
}

/// Facts of doors, least recently used ones given up first.
#[derive(Debug)]
pub(crate) struct Doors(Mutex<LruCache<Door, Arc<DoorFacts>>>);

impl Doors {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(DOORS_KEPT)))
    }

    /// The facts of `door`, if they are kept.
    pub(crate) fn get(&self, door: Door) -> Option<Arc<DoorFacts>> {
        lock(&self.0).get(&door).cloned()
    }

    /// Keeps `facts`.
    pub(crate) fn keep(&self, door: Door, facts: &Arc<DoorFacts>) {
        lock(&self.0).put(door, Arc::clone(facts));
    }
}

/// Locks `mutex`. A panic under one of this crate's locks leaves at worst a cache that counts its bytes wrongly, and
/// one bad request must not stop the mount: so a poisoned lock is used on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Child, Node};

    fn listing(entries: u32) -> Arc<Listing> {
        let children = (0..entries).map(|n| Child {
            name: format!("{n:08}").into_bytes().into(),
            node: Node::Directory(DirNo(n)),
        });
        Arc::new(Listing::new(&children.collect::<Vec<_>>()).unwrap())
    }

    #[test]
    fn the_least_recently_used_listing_goes_first() {
        let listings = Listings::new(3 * listing(10).bytes());
        for dir in 0..3 {
            listings.keep(Door(1), DirNo(dir), listing(10));
        }
        assert!(listings.get(Door(1), DirNo(0)).is_some());
        listings.keep(Door(1), DirNo(3), listing(10));
        assert!(listings.get(Door(1), DirNo(1)).is_none(), "the oldest use was given up");
        for dir in [0, 2, 3] {
            assert!(listings.get(Door(1), DirNo(dir)).is_some(), "{dir}");
        }
        assert!(
            listings.get(Door(2), DirNo(0)).is_none(),
            "another door is another directory"
        );
    }

    #[test]
    fn the_newest_listing_is_kept_whatever_its_size() {
        let listings = Listings::new(1);
        listings.keep(Door(1), DirNo(1), listing(1000));
        listings.keep(Door(1), DirNo(2), listing(2000));
        assert!(listings.get(Door(1), DirNo(1)).is_none());
        assert_eq!(listings.get(Door(1), DirNo(2)).unwrap().iter_from(0).count(), 2000);
        assert_eq!(listings.bytes(), listing(2000).bytes(), "bytes are counted");
    }

    #[test]
    fn keeping_a_listing_twice_counts_it_once() {
        let listings = Listings::new(1 << 20);
        for _ in 0..5 {
            listings.keep(Door(1), DirNo(1), listing(10));
        }
        assert_eq!(listings.bytes(), listing(10).bytes());
    }
}

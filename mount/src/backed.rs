//! Blobs that the kernel reads by itself (passthrough): the numbers under which their files were named to it.
//!
//! Owns the count of who has each blob open. The kernel wants every opening of a file that is open to name the same
//! number, so one is made for the first and given up after the last; nothing is kept for a blob that nobody has open, and
//! so a blob that was repaired is read anew. No lock is held while a blob is opened or a number made or given up.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::cache::lock;
use crate::error::FsError;
use crate::tree::BlobNo;

/// The blobs that are open, each with its number: an `Id` that gives the number up when it is dropped.
#[derive(Debug)]
pub(crate) struct Backed<Id>(Mutex<HashMap<BlobNo, Open<Id>>>);

#[derive(Debug)]
struct Open<Id> {
    id: Arc<Id>,
    /// Openings that have not been released. Never 0.
    times: u64,
    /// Whether the file that the number stands for is not the blob any more.
    spoilt: bool,
}

impl<Id> Default for Backed<Id> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Id> Backed<Id> {
    /// Opens `blob` once more: by the number it has, or by one that `name` makes.
    pub(crate) fn open(&self, blob: BlobNo, name: impl FnOnce() -> Result<Id, FsError>) -> Result<Arc<Id>, FsError> {
        if let Some(open) = lock(&self.0).get_mut(&blob) {
            if open.spoilt {
                return Err(FsError::Damaged);
            }
            open.times += 1;
            return Ok(Arc::clone(&open.id));
        }
        let made = Arc::new(name()?);
        let mut all = lock(&self.0);
        let open = all.entry(blob).or_insert_with(|| Open {
            id: Arc::clone(&made),
            times: 0,
            spoilt: false,
        });
        open.times += 1;
        let id = Arc::clone(&open.id);
        drop(all);
        // Where another thread was first, its number is taken and the one made here given up, now that nothing is locked.
        drop(made);
        Ok(id)
    }

    /// Releases one opening of `blob`.
    pub(crate) fn release(&self, blob: BlobNo) {
        let mut all = lock(&self.0);
        let Some(open) = all.get_mut(&blob) else { return };
        open.times -= 1;
        let last = if open.times == 0 { all.remove(&blob) } else { None };
        drop(all);
        drop(last);
    }

    /// Notes that these blobs are not what they were. Who has one open reads on in the old file, which nothing can keep the
    /// kernel from, and nobody else can open it until they have closed it: the kernel takes no other number meanwhile.
    pub(crate) fn spoil(&self, blobs: &HashSet<BlobNo>) {
        let mut all = lock(&self.0);
        for (_, open) in all.iter_mut().filter(|(blob, _)| blobs.contains(*blob)) {
            open.spoilt = true;
        }
    }

    /// The blobs that are open.
    pub(crate) fn blobs(&self) -> Vec<BlobNo> {
        lock(&self.0).keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::*;

    #[test]
    fn all_openings_share_a_number_which_goes_with_the_last() {
        let backed = Backed::default();
        let made = Cell::new(0);
        let name = || {
            made.set(made.get() + 1);
            Ok(made.get())
        };
        for _ in 0..3 {
            assert_eq!(*backed.open(BlobNo(7), name).unwrap(), 1);
        }
        assert_eq!(*backed.open(BlobNo(8), name).unwrap(), 2);
        for _ in 0..2 {
            backed.release(BlobNo(7));
            assert_eq!(backed.blobs().len(), 2);
        }
        backed.release(BlobNo(7));
        assert_eq!(backed.blobs(), [BlobNo(8)]);
        assert_eq!(*backed.open(BlobNo(7), name).unwrap(), 3, "opened anew");
    }

    #[test]
    fn what_is_spoilt_is_opened_anew_once_nobody_has_it_open() {
        let backed = Backed::default();
        for _ in 0..2 {
            backed.open(BlobNo(7), || Ok("old")).unwrap();
        }
        backed.spoil(&HashSet::from([BlobNo(7), BlobNo(8)]));
        assert!(matches!(backed.open(BlobNo(7), || Ok("new")), Err(FsError::Damaged)));
        assert_eq!(*backed.open(BlobNo(8), || Ok("other")).unwrap(), "other");
        backed.release(BlobNo(7));
        assert!(backed.open(BlobNo(7), || Ok("new")).is_err(), "one is left");
        backed.release(BlobNo(7));
        assert_eq!(*backed.open(BlobNo(7), || Ok("new")).unwrap(), "new");
    }

    #[test]
    fn what_cannot_be_opened_is_not_open() {
        let backed = Backed::<u32>::default();
        let error = backed.open(BlobNo(7), || Err(FsError::Damaged)).unwrap_err();
        assert!(matches!(error, FsError::Damaged));
        assert_eq!(backed.blobs(), []);
        backed.release(BlobNo(7));
        let name = || Err(io::Error::from_raw_os_error(libc::EPERM).into());
        assert!(backed.open(BlobNo(7), name).is_err());
    }

    #[test]
    fn who_opens_at_the_same_time_gets_the_same_number() {
        let backed = Backed::default();
        let first = backed.open(BlobNo(7), || {
            // While this one is opened, another thread is faster.
            assert_eq!(*backed.open(BlobNo(7), || Ok("faster")).unwrap(), "faster");
            Ok("slower")
        });
        assert_eq!(*first.unwrap(), "faster");
        backed.release(BlobNo(7));
        assert_eq!(backed.blobs(), [BlobNo(7)]);
        backed.release(BlobNo(7));
        assert_eq!(backed.blobs(), []);
    }
}

//! Files of an upstream on this machine, on their way into the inbox.
//!
//! Owns the crossing from the transfer to the thread that clones, links or copies one file. It decides neither what is
//! wanted nor what becomes of a file that is not what is listed.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use tokio::task;

use super::error::FileError;
use super::plan::Want;
use super::report::Progress;
use super::store::{Dated, Store};
use super::wanted::Wanted;
use super::{Job, SyncError};
use crate::blobs::{Expected, Inbox, Sharing};
use crate::model::{BaseUrl, Timestamp};
use crate::upstream::LocalFile;

/// Where a taken file goes, and how.
pub(super) struct Taking {
    pub(super) inbox: Arc<Inbox>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) sharing: Sharing,
    pub(super) now: Timestamp,
}

/// Number of files on their way at the same time. Those of this machine need a processor each, and no connection.
pub(super) fn workers(job: &Job) -> usize {
    if job.urls.iter().all(|url| url.directory().is_some()) {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        job.connections
    }
}

/// Whether pool files come without bytes of their own: the cache can have them together with the tree.
pub(super) fn takes_no_room(sharing: Sharing, url: &BaseUrl, store: &Store) -> bool {
    let tree = url.directory().and_then(|tree| std::fs::metadata(tree).ok());
    sharing == Sharing::Links && tree.is_some_and(|tree| Some(tree.dev()) == store.device())
}

/// Takes `file` as `want`. The outer error is one of our own disk. Ends early when nobody waits for it any more.
pub(super) async fn take(
    taking: Taking,
    want: &Want,
    file: LocalFile,
) -> Result<Result<Option<Dated>, FileError>, SyncError> {
    let wanted = Wanted::new();
    let still = wanted.asked();
    let mtime = file.modified().min(taking.now);
    let expected = Expected {
        size: want.size,
        checksum: want.checksum,
        mtime,
    };
    let taken = task::spawn_blocking(move || {
        let heard = |bytes| {
            taking.progress.bytes(bytes);
            still()
        };
        taking.inbox.take(file.file(), expected, taking.sharing, heard)
    });
    match taken.await.map_err(|_| SyncError::Worker)? {
        Ok(arrived) => Ok(Ok(Some((arrived, mtime)))),
        Err(error) if error.is_local() => Err(error.into()),
        Err(error) => Ok(Err(FileError::Content(error))),
    }
}

//! Files of an upstream on this machine, on their way into the inbox.
//!
//! Owns the crossing from the transfer to the thread that clones, links or copies one file. It decides neither what is
//! wanted nor what becomes of a file that is not what is listed.

use std::io;
use std::sync::Arc;

use tokio::task;

use super::error::FileError;
use super::plan::Want;
use super::report::Progress;
use super::store::Dated;
use super::wanted::Wanted;
use super::{Job, SyncError};
use crate::blobs::{Expected, Inbox, Sharable, Sharing};
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

/// Whether the file comes without bytes of its own: the cache can have it together with the tree at `url`, or that lacks
/// it.
pub(super) fn takes_no_room(sharable: &Sharable, url: &BaseUrl, want: &Want) -> bool {
    let Some(tree) = url.directory() else { return false };
    want.paths
        .iter()
        .all(|path| match std::fs::metadata(tree.join(path.as_str())) {
            Ok(facts) => sharable.covers(&facts),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::blobs::BlobStore;
    use crate::model::{Checksum, Digest};

    #[test]
    fn a_file_needs_room_unless_it_can_be_shared_or_is_not_there() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| place.path().join(name);
        for directory in ["blobs", "tree"] {
            fs::create_dir(path(directory)).expect("makes");
        }
        fs::write(path("tree/file"), "hello").expect("writes");
        let store = BlobStore::open(&path("blobs"), None).expect("opens");
        let sharable = store.inbox(&path("tmp")).and_then(|inbox| inbox.sharable());
        let sharable = sharable.expect("looks");
        let want = |name: &str| Want {
            paths: vec![name.parse().expect("valid")],
            checksum: Checksum::Sha256(Digest::of(b"hello")),
            size: Some(5),
            date: Timestamp::from_unix(0),
        };
        let url = |text: String| text.parse::<BaseUrl>().expect("valid");
        let tree = url(format!("file://{}", path("tree").display()));
        let facts = fs::metadata(path("tree/file")).expect("is there");
        assert_eq!(takes_no_room(&sharable, &tree, &want("file")), sharable.covers(&facts));
        assert!(takes_no_room(&sharable, &tree, &want("missing")));
        // Another file system than any that a state directory can be on.
        let proc = url("file:///proc".to_owned());
        assert!(!takes_no_room(&sharable, &proc, &want("version")));
        assert!(!takes_no_room(
            &sharable,
            &url("http://example.org/".to_owned()),
            &want("file")
        ));
    }
}

//! The read-only mount of mirrorctl: a tree of doors, shown by the kernel.
//!
//! Owns everything about being a file system, and nothing about what is shown: that is asked of a [`Tree`] which
//! whoever mounts brings along. It knows no database, no network and no asynchronous code.
//!
//! ```text
//! /<mirror>/current/…             what the pointer `current` leads to now
//! /<mirror>/staging/…             what the pointer `staging` leads to now
//! /<mirror>/snapshots/<name>/…    every snapshot
//! /<mirror>/at/<name>             a link to one of them, found by names that the tree knows and nobody lists
//! ```
//!
//! # What is promised
//! - **One snapshot per walk.** A pointer's directory is a *door*, a new one with every move, and the directories behind
//!   a door are its own. Whoever stands in one, or holds it open, stays in the tree it belongs to.
//! - **Told changes.** When [`Session::reconcile`] has returned, no walk begun later sees a pointer, snapshot or mirror
//!   as it was. The kernel remembers everything else for ever, so that what is in use is served without asking; but
//!   names that the tree finds without listing them are asked for at every walk.
//! - **Numbers that stay.** The inode number of a file is its content (and, for an index below a pointer, the time of the
//!   pointer's move), whatever path leads to it, so that all paths share one copy in memory. That of a directory
//!   is its one path behind its one door. A restart changes neither.
//! - **Read-only**, in the mount's options and once more in the answers. Everybody may read: modes 0444 and 0555.
//! - **Nothing made up.** A listed file whose bytes are missing or of the wrong length is an input/output error; so is
//!   whatever cannot be known at the moment. "No such file" is said only of what is known not to exist.
//! - **A mount can outlive its process.** Whoever holds what [`Session::held`] gives can let another process [`adopt()`] the
//!   mount: its users have waited, and nothing has failed.
//! - **One way to the bytes.** Every file of a mount is read in the same [`DataPath`], from its beginning to its end.
//! - **One bad request stops nothing.** A panic while a request is answered costs that request.
//!
//! # How it is arranged
//! [`tree`] is the port. [`ino`] makes numbers, [`attr`] attributes and times to live, [`error`] error numbers;
//! [`filesystem`] has the semantics, without requests or replies, and [`links`] its part about links. `adapter` connects it to the kernel, `reconcile` tells
//! the kernel what changed, `session` mounts and unmounts, `unprivileged` for ordinary users. `transport` shakes hands with the kernel, `threads` answer it, `record` is what outlives the process,
//! `adopt` goes on from there, and `replace` mounts anew where that cannot be. [`data`](DataPath) is how bytes are read: `blobs` has those that this process reads, `backed` those that the
//! kernel reads by itself.

mod adapter;
mod adopt;
pub mod attr;
mod backed;
mod blobs;
mod cache;
mod data;
pub mod error;
pub mod filesystem;
mod handed;
pub mod ino;
mod kernel;
mod labels;
pub mod links;
mod listing;
mod mount_error;
mod mount_table;
mod peer;
mod reconcile;
mod record;
mod replace;
mod session;
mod sys;
mod threads;
mod transport;
pub mod tree;
mod unprivileged;

use std::ffi::OsString;
use std::num::NonZeroUsize;

pub use adapter::answers_a_request;
pub use adopt::{AdoptError, adopt};
pub use data::{DataPath, NoSuchPath, Unfit};
pub use error::FsError;
pub use labels::Labels;
pub use mount_error::MountError;
pub use mount_table::{Existing, FILE_SYSTEM_TYPE, Ownership, existing, ownership, resolve, stands_at};
#[doc(hidden)]
pub use peer::answer_peer;
pub use replace::replace;
pub use session::{Held, Session, Unmounter, detach, mount};
pub use tree::Tree;

/// The ways in which the kernel can be told that a pointer has moved (docs/adr/0009).
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    /// The old door is moved aside, with all that is remembered below it.
    MovingAside,
    /// The pointer's name is dropped, and all that is remembered below it.
    Forgetting,
    /// The pointer's name is to be asked for again, by whoever comes first. Linux 6.2.
    Expiring,
}

/// How to mount.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the table of mounts shows as mounted: the state directory.
    pub fsname: OsString,
    /// Modification time of the directories that are the mount's own (the root, a mirror's, `snapshots`, `at`), in seconds
    /// since 1970.
    pub own_time: i64,
    /// Threads that serve requests. More than one, so that a read from disk does not make look-ups wait.
    pub threads: NonZeroUsize,
    /// Bytes that cached listings of directories may take. The one read last is kept even if it takes more alone.
    pub listing_cache_bytes: usize,
    /// Blobs held open at most; fewer where this process may not have so many descriptors.
    pub open_blobs: NonZeroUsize,
    /// How files' bytes reach their readers; `None` for the best way that the kernel offers and another process can adopt.
    pub data: Option<DataPath>,
    /// How far the kernel reads ahead, in KiB.
    pub read_ahead_kib: u32,
    /// What SELinux shall take the mount for.
    pub labels: Labels,
    /// Whether telling a change waits for answers in flight. Only the test that proves the need of it says no.
    #[doc(hidden)]
    pub barrier: bool,
    /// How the kernel is told that a pointer has moved. Only the measurement that compares them takes another than the first.
    #[doc(hidden)]
    pub told_by: ToldBy,
    /// Whether adopting a mount makes the kernel ask again what was not answered. Only the test that proves the need of it
    /// says no.
    #[doc(hidden)]
    pub ask_again: bool,
}

impl Options {
    /// The usual way to mount: `fsname` and `own_time` as in the fields of those names.
    pub fn new(fsname: impl Into<OsString>, own_time: i64) -> Self {
        Self {
            fsname: fsname.into(),
            own_time,
            threads: NonZeroUsize::new(4).expect("not zero"),
            listing_cache_bytes: 24 << 20,
            open_blobs: NonZeroUsize::new(1024).expect("not zero"),
            data: None,
            read_ahead_kib: 4096,
            labels: Labels::default(),
            barrier: true,
            told_by: ToldBy::MovingAside,
            ask_again: true,
        }
    }
}

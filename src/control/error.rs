//! What can go wrong between a command and a mount.
//!
//! Owns [`ControlError`]. Errors of one request do not name the mount: they travel in a pair with its
//! [`LiveMount`](super::LiveMount), which does.

use std::io;
use std::path::{Path, PathBuf};

/// Why a mount could not be announced, found or told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A file of the run directory, or the state directory, cannot be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A live mount has the same state directory and process number.
    #[error("{} is held by a live mount", path.display())]
    AlreadyAnnounced {
        /// Its lock file.
        path: PathBuf,
    },
    /// The facts of a mount have no JSON form, because a path in them is not UTF-8.
    #[error("the facts of the mount cannot be written down")]
    Facts(#[source] serde_json::Error),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The caller is neither root, nor the owner of the state directory, nor in its group.
    #[error("needs the group mirrorctl or sudo")]
    Refused,
    /// The deadline passed: the mount is stopped, overloaded or at work.
    #[error("no answer in time")]
    Timeout,
    /// The mount closed the connection without an answer, though it lives.
    #[error("the connection was closed without an answer")]
    Closed,
    /// The connection failed.
    #[error("the connection failed")]
    Connection(#[source] io::Error),
    /// The mount is of a version that speaks another protocol; it has to be started anew.
    #[error(
        "the mount speaks version {theirs} of the protocol, not {}; start it anew",
        super::PROTOCOL
    )]
    OtherProtocol {
        /// The version the mount speaks.
        theirs: u32,
    },
    /// The answer is longer than any answer can be.
    #[error("the answer is too long")]
    TooLong,
    /// The answer is no answer.
    #[error("the answer is not understood")]
    Malformed(#[source] serde_json::Error),
    /// The mount serves as many requests as it takes at once.
    #[error("the mount has too many requests at once")]
    Busy,
    /// The mount understood the request and could not do it, or did not understand it; the text is the mount's own.
    #[error("the mount answered: {0}")]
    Failed(String),
}

impl ControlError {
    /// For `map_err`: a failure to `operation` the file at `path`.
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }
}

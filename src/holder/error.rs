//! What can go wrong between a holder and its worker.
//!
//! Owns [`HolderError`]. What goes wrong with the mount itself is the worker's to say.

use std::io;

/// Why a mount cannot be held, or a worker not do its duty.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// The operating system refused something.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// What came over the line is nothing that this program says.
    #[error("the process at the other end is of another version")]
    OtherVersion,
    /// Nobody is at the other end.
    #[error("this is started by mirrorctl mount and by nobody else")]
    NoHolder,
}

impl HolderError {
    /// For `map_err`: a failure to do `action`.
    pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            action,
            source: source.into(),
        }
    }
}

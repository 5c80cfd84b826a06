//! Ctrl-C and SIGTERM while a program of the operator runs.
//!
//! Owns the translation of the two signals into a wish, so that whoever runs the program can end it, too: it is not in the
//! terminal's process group. Commands that fetch have their own way to be stopped (`interrupt`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::failure::{Failure, Kind};

/// No signal has come.
const NONE: usize = 0;

/// A wish to stop, which may come.
#[derive(Debug)]
pub(super) struct Stopping(Arc<AtomicUsize>);

impl Stopping {
    /// Listens from now on, for as long as the process lives.
    pub(super) fn listen() -> Self {
        let came = Arc::new(AtomicUsize::new(NONE));
        for signal in [SIGINT, SIGTERM] {
            let number = usize::try_from(signal).expect("signals have small numbers");
            if let Err(error) = signal_hook::flag::register_usize(signal, Arc::clone(&came), number) {
                tracing::warn!(
                    "signals cannot be listened to ({error}): a program that runs will not be ended by them"
                );
            }
        }
        Self(came)
    }

    /// Whether it came.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::SeqCst) != NONE
    }

    /// The failure of a command that was stopped, after which nothing of `what` is recorded.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let is_term = i32::try_from(self.0.load(Ordering::SeqCst)) == Ok(SIGTERM);
        let kind = if is_term { Kind::Terminated } else { Kind::Interrupted };
        Failure::new(kind, format!("interrupted: {what}"))
    }
}

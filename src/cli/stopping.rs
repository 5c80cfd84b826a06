//! Ctrl-C, SIGTERM and the end of the terminal while a program of the operator runs.
//!
//! Owns the translation of these signals into a wish, so that whoever runs the program can end it, too: it is not in the
//! terminal's process group. A second signal ends this process at once. Commands that fetch have their own way to be stopped
//! (`interrupt`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::failure::{Failure, Kind};
use super::sys;

/// No signal has come.
const NONE: usize = 0;

/// A wish to stop, which may come.
#[derive(Debug)]
pub(super) struct Stopping(Arc<AtomicUsize>);

impl Stopping {
    /// Listens from now on, for as long as the process lives.
    pub(super) fn listen() -> Self {
        let (came, again) = (Arc::new(AtomicUsize::new(NONE)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            // By nohup, say: whoever started this does not want it to hear of that.
            if signal == SIGHUP && sys::is_ignored(signal) {
                continue;
            }
            if let Err(error) = listen_to(signal, &came, &again) {
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
        let signal = i32::try_from(self.0.load(Ordering::SeqCst)).unwrap_or(SIGINT);
        Failure::new(kind(signal), format!("interrupted: {what}"))
    }
}

/// What kind of failure a signal makes of a command.
fn kind(signal: i32) -> Kind {
    if signal == SIGTERM {
        Kind::Terminated
    } else {
        Kind::Interrupted
    }
}

/// Notes in `came` that the signal came, and ends the process when any has come before.
fn listen_to(signal: i32, came: &Arc<AtomicUsize>, again: &Arc<AtomicBool>) -> io::Result<()> {
    let number = usize::try_from(signal).expect("signals have small numbers");
    // In the order in which they are done: whether there was one before is asked before it is noted that there is one.
    flag::register_conditional_shutdown(signal, kind(signal).exit_code().into(), Arc::clone(again))?;
    flag::register(signal, Arc::clone(again))?;
    flag::register_usize(signal, Arc::clone(came), number)?;
    Ok(())
}

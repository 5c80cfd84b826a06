//! The sign of life that the holder of a mount waits for.
//!
//! Owns one thread. It asks the mount as any user would, and tells the holder only once there is an answer: a process that is
//! stopped, and one whose serving threads wait for each other, both say nothing.

use std::sync::{OnceLock, Weak};
use std::thread;
use std::time::Duration;

use super::{DaemonError, Serving};
use crate::holder::Line;

/// How often.
const BEAT: Duration = Duration::from_secs(1);

/// Starts the signs of life of `serving`, which end with it.
pub(super) fn start(serving: Weak<OnceLock<Serving>>, line: &Line) -> Result<(), DaemonError> {
    let line = line.clone();
    let started = thread::Builder::new().name("pulse".into()).spawn(move || {
        while let Some(alive) = serving.upgrade() {
            match alive.wait().session.ask() {
                // Whoever kept this mount is gone, and with it the sense of serving it.
                Ok(()) if line.beat().is_err() => std::process::exit(1),
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "the mount does not answer as it should"),
            }
            drop(alive);
            thread::sleep(BEAT);
        }
    });
    started.map(drop).map_err(|source| DaemonError::System {
        action: "start a thread",
        source,
    })
}

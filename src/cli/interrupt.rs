//! Stopping a running sync from outside: Ctrl-C, SIGTERM and the end of the terminal.
//!
//! Owns the translation of these signals into a wish to stop. A second signal ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::failure::{Failure, Kind};
use super::sys;
use crate::model::MirrorId;

/// The wish to stop, once it came.
#[derive(Debug)]
pub(super) struct Interrupt {
    stop: watch::Receiver<bool>,
    terminated: Arc<AtomicBool>,
}

impl Interrupt {
    /// Becomes true with the first signal.
    pub(super) fn receiver(&self) -> &watch::Receiver<bool> {
        &self.stop
    }

    /// Whether it came.
    pub(super) fn came(&self) -> bool {
        *self.stop.borrow()
    }

    /// The failure of a command that was stopped in the sync of `mirror`.
    pub(super) fn failure(&self, mirror: &MirrorId) -> Failure {
        let kind = if self.terminated.load(Ordering::SeqCst) {
            Kind::Terminated
        } else {
            Kind::Interrupted
        };
        Failure::new(
            kind,
            format!(
                "interrupted in the sync of {mirror}: it changed nothing that is published, and every finished file is kept"
            ),
        )
        .hint("run the sync again to go on")
    }
}

/// Listens on `runtime` from now on.
pub(super) fn listen(runtime: &Runtime) -> Interrupt {
    let (sender, stop) = watch::channel(false);
    let terminated = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&terminated);
    runtime.spawn(async move {
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            tracing::warn!("signals cannot be listened to: a stopped sync will end at once");
            return;
        };
        let mut hang_up = hang_up();
        loop {
            let kind = tokio::select! {
                _ = interrupt.recv() => Kind::Interrupted,
                _ = terminate.recv() => Kind::Terminated,
                () = came(&mut hang_up) => Kind::Interrupted,
            };
            noted.store(kind == Kind::Terminated, Ordering::SeqCst);
            if sender.send_replace(true) {
                std::process::exit(kind.exit_code().into());
            }
            tracing::warn!("Stopping; finished files are kept");
        }
    });
    Interrupt { stop, terminated }
}

/// The end of the terminal; `None` for who was started, by nohup, say, not to hear of it.
fn hang_up() -> Option<Signal> {
    let kind = SignalKind::hangup();
    let listened_to = (!sys::is_ignored(kind.as_raw_value())).then(|| signal(kind));
    listened_to.and_then(Result::ok)
}

async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

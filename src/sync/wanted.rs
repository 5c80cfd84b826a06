//! Work in other threads that nobody may wait for any more.
//!
//! Owns the flag between a future and the thread that works for it: an interruption drops the future, and the thread
//! must not go on reading a large file. It stops nothing itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Held by a future for as long as it waits; what it gives out says false from its end on.
pub(super) struct Wanted(Arc<AtomicBool>);

impl Wanted {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Whether the work is still wanted, for the thread to ask now and then.
    pub(super) fn asked(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let still = Arc::clone(&self.0);
        move || still.load(Ordering::Relaxed)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_wanted_until_nobody_waits() {
        let wanted = Wanted::new();
        let still = wanted.asked();
        assert!(still());
        drop(wanted);
        assert!(!still());
    }
}

//! The time of day, for work that takes long or has to wait.
//!
//! Owns [`Clock`], a question that whoever made it answers: this room asks no real clock, and does not sleep.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Timestamp;

/// Tells the time of day each time it is asked. What is judged by the time must be judged by that of the moment: a sync
/// may take hours, and what upstream signs meanwhile is not of the future.
#[derive(Clone)]
pub struct Clock {
    time: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pause: Arc<dyn Fn(Duration) + Send + Sync>,
}

impl Clock {
    /// A clock that answers what `time` does, and by which nobody can wait.
    #[must_use]
    pub fn new(time: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::with_pauses(time, |_| {})
    }

    /// A clock that answers what `time` does, and waits as `pause` does.
    #[must_use]
    pub fn with_pauses(
        time: impl Fn() -> Timestamp + Send + Sync + 'static,
        pause: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self {
        Self {
            time: Arc::new(time),
            pause: Arc::new(pause),
        }
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.time)()
    }

    /// Lets about so much time pass.
    pub fn pause(&self, length: Duration) {
        (self.pause)(length);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

//! The time of day, for work that takes long.
//!
//! Owns [`Clock`], a question that whoever made it answers: this room asks no real clock.

use std::fmt;
use std::sync::Arc;

use super::Timestamp;

/// Tells the time of day each time it is asked. What is judged by the time must be judged by that of the moment: a sync
/// may take hours, and what upstream signs meanwhile is not of the future.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that answers what `time` does.
    #[must_use]
    pub fn new(time: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(time))
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

//! Killed at any moment: the next run finishes, and nothing published has changed.

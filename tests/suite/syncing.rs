//! Syncs from an upstream that behaves, and from one that does not.

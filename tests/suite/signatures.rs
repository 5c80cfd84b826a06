//! What a sync believes, and what it refuses.

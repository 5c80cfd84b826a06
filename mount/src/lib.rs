//! The read-only mount of mirrorctl.

pub mod tree;

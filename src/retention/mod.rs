//! What is kept and what may go: which snapshots are forgotten, and which blobs are then deleted.
//!
//! Decides in [`policy`], which is pure, so that `--dry-run` prints the very plan that is applied.

pub mod policy;

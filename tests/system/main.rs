//! Tests of the whole: the real program, the real mount, real nginx and apt.
//!
//! Owns what needs `/dev/fuse`, root and Debian's programs. Where one is missing these tests fail; they are never
//! skipped.

mod adopt;
mod clients;
mod data_paths;
mod demo;
mod filters;
mod forgetting;
mod gate;
mod holder;
mod installability;
mod keeping;
mod kinds;
mod matrix;
mod mounting;
mod moves;
mod mutations;
mod operators;
mod ordinary;
mod overlay;
mod page_cache;
mod promoting;
mod races;
mod rebuilding;
mod site;
mod small_disks;
mod soak;
mod stopping;
mod testing;
mod tls;
mod travel;
mod users;
mod verify;
mod walkthrough;

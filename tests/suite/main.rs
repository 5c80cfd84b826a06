//! Tests of the program without a mount: syncs from hostile upstreams, crashes, retention, output.
//!
//! Owns what any user can run: it needs no `/dev/fuse` and no right to mount.

mod adopt;
mod attack;
mod catalogue;
mod check_tls;
mod collecting;
mod corpora;
mod crash;
mod diff;
mod disk_faults;
mod fetching;
mod filters;
mod forgetting;
mod gate;
mod hints;
mod hostile;
mod hostile_indices;
mod hostile_packages;
mod hostile_signatures;
mod hostile_transport;
mod inventories;
mod keeping;
mod kinds;
mod lending;
mod moves;
mod operators;
mod output;
mod publishing;
mod rebuilding;
mod regressions;
mod rollback;
mod signatures;
mod site;
mod standing;
mod syncing;
mod time;
mod tls;
mod transport;
mod trust;
mod verify;

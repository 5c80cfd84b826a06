//! How a command tells the running mounts of a state directory what changed, and asks what they hold.
//!
//! Owns the run directory (`/run/mirrorctl`), in which every mount has two files named after the state directory it
//! shows and its process:
//!
//! ```text
//! <16 hex digits of the state directory's path>-<pid>.lock   facts as JSON, readable by all; locked while it lives
//! <16 hex digits of the state directory's path>-<pid>.sock   Unix socket, for the owner and the group of the state
//! ```
//!
//! A mount lives exactly as long as the kernel holds its lock: never a matter of times or process numbers. Whoever holds
//! the lock and the socket keeps it alive for commands, and what these say waits until a process goes on with them. A mount
//! opens the catalog, announces itself ([`Registration`]) and takes requests ([`Server`]), mounts, and reads the
//! catalog anew *after* that. A change committed before the announcement is seen by that reading; one committed later
//! is told, and the request waits until there is a mount to tell. A command commits first and tells second
//! ([`tell_all`]); whoever is then live and has not answered is named to the user.
//!
//! Must never: read the catalog, know what a request means, change anything a mount shows, or wait without a limit.
//! What is said is in `protocol.rs`, who may say it in `access.rs`.

mod access;
mod client;
mod error;
mod line;
mod protocol;
mod registration;
mod roster;
mod server;
mod sys;

pub use client::{DEADLINE, Told, tell_all, tell_each};
pub use error::ControlError;
pub use protocol::{DEGRADED, PROTOCOL, RESTARTS, Reply, Request, Status, WORKER, WORKER_SINCE};
pub use registration::{Facts, Registration, make_run_directory};
pub use roster::{LiveMount, RUN_DIRECTORY, mounts_in, mounts_of};
pub use server::{Handler, Server};

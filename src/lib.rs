//! mirrorctl keeps local mirrors of APT repositories and moves staging and production between snapshots.
//!
//! The house, and who may import whom (arrows go right only; `tests/boundaries.rs` holds them):
//!
//! ```text
//! cli ──► demo · daemon ──► view
//!  │
//!  └────► sync · publish · retention · rebuild · compare · gate · hooks · verify · view ──► catalog · blobs · state · upstream · signature · apt · control · holder · operator ──► model
//!                                                                          └────► mirrorctl-mount
//! cli ──► config · legacy ──► model
//! ```
//!
//! - [`model`] is the vocabulary; it is pure and knows nobody.
//! - [`state`] owns the state directory: its layout, owners and locks.
//! - [`catalog`] is the only room with SQL, [`upstream`] the only one with a network, [`signature`] the only one that
//!   knows OpenPGP, [`blobs`] owns the content-addressed files, [`apt`] reads the Debian repository format, and
//!   [`control`] is how a command tells running mounts what changed, [`holder`] keeps a mount while one process after the other serves it, and [`operator`] runs the operator's programs. None of these imports another.
//! - [`sync`], [`publish`], [`retention`], [`rebuild`], [`compare`], [`gate`], [`hooks`], [`verify`], [`view`] and [`daemon`] are the use cases: only they
//!   combine the rooms above.
//! - [`legacy`] knows the layout of the earlier program.
//! - [`config`] turns `mirror.toml` into settings, [`cli`] turns arguments into one use-case call and a rendering,
//!   and [`demo`] makes the small signed archive of `mirrorctl demo`.
//!
//! The mount itself is the crate `mirrorctl-mount`, which depends on nothing of this one.

pub mod apt;
pub mod blobs;
pub mod catalog;
pub mod cli;
pub mod compare;
pub mod config;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod gate;
pub mod holder;
pub mod hooks;
pub mod legacy;
pub mod model;
pub mod operator;
pub mod publish;
pub mod rebuild;
pub mod retention;
pub mod signature;
pub mod state;
pub mod sync;
pub mod upstream;
pub mod verify;
pub mod view;

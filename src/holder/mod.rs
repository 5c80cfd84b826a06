//! The process that keeps a mount while others serve it.
//!
//! Owns the holder's life ([`hold`]), and the line between it and the process that serves, the *worker* ([`Duty`]). The holder
//! starts the worker, keeps what must outlive it, and starts another when it dies or hangs. It never reads the kernel's
//! device, opens no file of the state, and does not know what the text means that it hands from one worker to the next:
//! so there is nothing in it that could fail with a worker.
//!
//! ```text
//! holder ── task: what to serve, and what the last worker left ──► worker
//!        ◄── hold: descriptors and a note for the next one ──
//!        ◄── ready · beat, beat, beat … · ended, failed or replace ──
//! ```
//!
//! The worker is always the program as it is installed when one is started, and this one's own where that does not work. When
//! somebody wishes ([`Line::replace`]), the holder itself becomes the program that is installed, too ([`Handover`]).
//!
//! Both ways are messages over one socket, which is the worker's standard input. What a worker leaves are four descriptors: the kernel's end
//! of the mount and the record of what the kernel was told (see the mount crate), and the lock and the listening socket by which
//! commands find the mount. As the holder has the latter, too, commands find the mount while nobody serves it, and what
//! they say waits for the next worker.

mod backoff;
mod channel;
mod duty;
mod error;
mod handover;
mod keep;
mod sys;
mod worker;

pub use channel::{KEPT, Kept};
pub use duty::{Duty, Line};
pub use error::HolderError;
pub use handover::{HANDOVER, Handover};
pub use keep::{End, Orders, hold, hold_on};

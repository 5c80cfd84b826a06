//! The network: files of an upstream archive over http and https, or from a directory of this machine.
//!
//! The only room that opens connections to elsewhere. Owns requests, redirects, deadlines, the limit of connections to
//! one host, and what may be told of an upstream (never its password). It believes nothing that it receives: sizes and
//! digests are checked by whoever asked.

#![expect(clippy::disallowed_types, reason = "the one room with a network")]

mod certificate;
mod client;
mod error;
mod fetch;
mod inspect;
mod local;
mod tls;
mod validators;

pub use certificate::Certificate;
pub use client::{Answer, Body, Client, ClientOptions};
pub use error::UpstreamError;
pub use fetch::fetch_capped;
pub use inspect::{Connection, ConnectionFailure, InspectError, Inspection, Offer, Protocol, inspect};
pub use local::LocalFile;
pub use tls::{CertificateFault, TlsFailure, TlsFileError, check_tls_files, exposed_key};
pub use validators::Validators;

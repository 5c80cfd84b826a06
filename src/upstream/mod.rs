//! The network: files of an upstream archive over http and https, or from a directory of this machine.
//!
//! The only room that opens connections to elsewhere. Owns requests, redirects, deadlines, retries, rates, proxies, credentials, the
//! limit of connections to one host, and what may be told of an upstream (never its password). It believes nothing that it receives: sizes and
//! digests are checked by whoever asked.

#![expect(clippy::disallowed_types, reason = "the one room with a network")]

mod archive;
mod certificate;
mod client;
mod credentials;
mod error;
mod fetch;
mod hosts;
mod inspect;
mod local;
mod proxies;
mod range;
mod rate;
mod retry;
mod scope;
mod tls;
mod validators;

pub use archive::{Archive, Place, Small};
pub use certificate::Certificate;
pub use client::{Answer, Ask, Body, Client, ClientOptions};
pub use credentials::{Credentials, CredentialsError};
pub use error::{ShownUrl, UpstreamError};
pub use fetch::fetch_capped;
pub use inspect::{Connection, ConnectionFailure, InspectError, Inspection, Offer, Protocol, inspect};
pub use local::LocalFile;
pub use proxies::Proxies;
pub use rate::Throttle;
pub use retry::Retry;
pub use tls::{CertificateFault, SystemAuthorities, TlsFailure, TlsFileError, check_tls_files, exposed_key};
pub use validators::Validators;

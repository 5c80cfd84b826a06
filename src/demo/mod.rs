//! A small signed archive and a web server for it, made by the program itself.
//!
//! Owns what `mirrorctl demo` shows mirrorctl on, and what the test kit builds its upstreams from: packages
//! ([`Deb`]), a signed archive on disk that can change ([`Archive`]), and an HTTP server on loopback ([`WebServer`],
//! [`FileService`]). Nothing here is used by a sync of a real mirror, runs a program, or asks for the time.

mod archive;
mod deb;
mod http;
mod key;
mod server;

pub use archive::{Archive, ArchiveBuilder, ArchiveError, Signing, SuiteSpec, Variant};
pub use deb::Deb;
pub use http::{After, Body, Request, Response, Service, WebServer};
pub use key::SigningKey;
pub use server::{FileService, ServedCounts};

//! The vocabulary of mirrorctl: the values every other room speaks in.
//!
//! Owns the types for digests, names, paths, listings and pointers. Pure: it does no I/O, knows no file format and
//! no SQL, and imports nothing else of this crate. A value that exists here is valid; text becomes a value only by
//! a fallible `parse`.

mod base_url;
mod checksum;
mod clock;
mod content;
mod digest;
mod fault;
mod filter;
mod hash_type;
mod listing;
mod names;
mod part;
mod pointer;
mod proxy_url;
mod remarks;
mod repo_path;
mod selinux;
mod shrink;
mod spelling;
mod terms;
mod timestamp;
mod tls;
mod verified;

pub use base_url::{BaseUrl, BaseUrlError};
pub use checksum::{Checksum, ContentHasher, ContentHashes, Sha512};
pub use clock::Clock;
pub use content::{Content, Translations};
pub use digest::{Digest, DigestError, Hasher};
pub use fault::Fault;
pub use filter::{Filter, NamePattern, PackageName, PackageNameError, PatternError, Priority, PriorityError};
pub use hash_type::{HashType, HashTypes};
pub use listing::{BlobFacts, Entry, IndexHash, Listing, ListingBuilder, ListingError, Role};
pub use names::{Architecture, Component, EnvironmentName, Language, MirrorId, NameError, SnapshotName, Suite};
pub use part::{Part, PartError, UNITS, unit_of};
pub use pointer::{Leads, Pointer};
pub use proxy_url::{ProxyUrl, ProxyUrlError};
pub use remarks::{Note, NoteError, Tag, TagError};
pub use repo_path::{RepoPath, RepoPathError};
pub use selinux::{NoLabel, SelinuxLabel};
pub use shrink::{Percent, Shrink};
pub use terms::{Lending, MoveTerms};
pub use timestamp::Timestamp;
pub use tls::{
    CipherSuite, CipherSuiteError, ClientIdentity, HostName, HostNameError, TlsFile, TlsSettings, TlsVersion,
    TlsVersionError,
};
pub use verified::VerifiedText;

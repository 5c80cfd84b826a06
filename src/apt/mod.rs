//! The Debian repository format: text to values.
//!
//! Owns the reading of Release files and indices, the choice of the indices a selection needs, decompression, and
//! the path rules of `dists/` and `by-hash/`. It never opens a file or a socket, and it trusts nothing: a value
//! that comes out of here has the right shape, whether its bytes are the right ones is checked where they arrive.

mod checksum;
pub mod compression;
mod date;
mod deb822;
mod error;
pub mod indices;
pub mod installability;
pub mod inventory;
pub mod layout;
pub mod packages;
pub mod rebuild;
pub mod relation;
mod release;
pub mod selection;
pub mod sources;
mod sums;
pub mod version;

pub use compression::{Compression, Decompressed, decompress, read_pieces};
pub use error::{ParseError, SyntaxFault};
pub use indices::{IndexKind, Selection, Variant, WantedError, WantedIndex};
pub use packages::{PackagesReader, PoolFile};
pub use release::{Release, ReleaseFile, parse_file_list};
pub use sources::SourcesReader;
pub use sums::{SummedFile, parse_sums};

/// Longest Release file that is read, in bytes; Debian's unstable has the largest, at about 2 MB.
pub const LONGEST_RELEASE: u64 = 16 << 20;

/// Longest decompressed index whose uncompressed form the Release file does not list, in bytes: ten times Debian's.
pub const LONGEST_UNLISTED_INDEX: u64 = 1 << 30;

/// Longest list that is read whole, in bytes; those of Debian's installer have some ten kilobytes.
pub const LONGEST_LIST: u64 = 16 << 20;

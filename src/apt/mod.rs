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

pub use compression::{Compression, Decompressed, decompress};
pub use error::{ParseError, SyntaxFault};
pub use indices::{IndexKind, Selection, Variant, WantedError, WantedIndex};
pub use packages::{PackagesReader, PoolFile};
pub use release::{Release, ReleaseFile, parse_file_list};
pub use sources::SourcesReader;
pub use sums::{SummedFile, parse_sums};

//! What an index offers: each package with its version, its size and what tells its content.
//!
//! Owns [`Inventory`] and the ways to one: [`InventoryReader`], which is fed a Packages or Sources index in pieces and
//! keeps only what is asked about, and the form in which an inventory is stored so that its index need not be read again.
//! It is for indices that were taken in already: which files may be believed is not asked here.

mod reader;
mod records;
mod stored;

pub use reader::InventoryReader;
pub(super) use reader::Stock;
pub use records::{Group, Groups, Inventory};
pub use stored::LONGEST_STORED;

use crate::model::{Digest, HashType};

/// One build of a package: a version for an architecture. Of a source package, one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: Box<str>,
    /// What it is for, such as `amd64` or `all`. A source package tells all that it can be built for.
    pub architecture: Box<str>,
    /// Length of its files in bytes.
    pub size: u64,
    /// What tells its content from others.
    pub content: Fingerprint,
    /// The paths of its files, relative to the archive root and as the index writes them but for a leading `./`; sorted.
    pub paths: Box<[Box<str>]>,
}

impl Build {
    /// Whether the index tells of no difference in content. Hashes of two types cannot be compared; then sizes decide.
    #[must_use]
    pub fn has_content_of(&self, other: &Self) -> bool {
        let comparable = self.content.kind == other.content.kind;
        self.size == other.size && (!comparable || self.content == other.content)
    }
}

/// What an index says of the content of a package's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The type of the hashes that it was made from.
    kind: HashType,
    digest: Digest,
}

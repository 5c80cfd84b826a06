//! From a digest to the place of its bytes.
//!
//! Owns the fan-out: 256 directories named by the first two digits.

use crate::model::Digest;

/// Where a blob lies below the root: the directory `ab` and the name `abcdef…` in it.
pub(super) struct Place {
    hex: String,
}

impl Place {
    pub(super) fn of(digest: Digest) -> Self {
        Self {
            hex: digest.to_string(),
        }
    }

    /// Name of the directory.
    pub(super) fn directory(&self) -> &str {
        &self.hex[..2]
    }

    /// Name in the directory.
    pub(super) fn name(&self) -> &str {
        &self.hex
    }
}

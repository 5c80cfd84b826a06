//! From a digest to the place of its bytes.
//!
//! Owns the fan-out: 256 directories named by the first two digits.

use std::path::{Path, PathBuf};

use crate::model::Digest;

/// `<root>/ab/abcdef…`.
pub(super) fn path(root: &Path, digest: Digest) -> PathBuf {
    let hex = digest.to_string();
    root.join(&hex[..2]).join(hex)
}

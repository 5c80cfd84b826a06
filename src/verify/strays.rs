//! What lies among the blobs and is none.
//!
//! Owns the search for it. It is told and left alone, whatever it is: mirrorctl deletes only what it made.

use super::VerifyError;
use crate::blobs::BlobStore;
use crate::catalog::CatalogReader;
use crate::model::{Part, unit_of};

/// Units that share one directory of blobs.
const UNITS_OF_DIRECTORY: u16 = 16;

/// Everything in the directories of blobs, as far as they belong to `part`, that neither a row nor a lease names. A sync leases
/// before it gives a file its name, and a collection removes a file before its row; so the names are read before the rows.
pub(super) fn find(reader: &CatalogReader, blobs: &BlobStore, part: Part) -> Result<Vec<String>, VerifyError> {
    let units = part.units();
    let mut strays = Vec::new();
    if units.start == 0 {
        strays.extend(blobs.names_beside()?);
    }
    for first in 0..=u8::MAX {
        let start = u16::from(first) * UNITS_OF_DIRECTORY;
        let all = start..start + UNITS_OF_DIRECTORY;
        if all.end <= units.start || all.start >= units.end {
            continue;
        }
        let names = blobs.names(first)?;
        let known = reader.known_digests(&all)?;
        for (path, digest) in names {
            let unit = digest.map_or(start, unit_of);
            let is_known = digest.is_some_and(|digest| known.contains(&digest));
            if units.contains(&unit) && !is_known && is_still_there(blobs, digest) {
                strays.push(path);
            }
        }
    }
    Ok(strays)
}

/// Whether a file is still there that has the name of a blob: a collection may have removed it since it was listed.
fn is_still_there(blobs: &BlobStore, digest: Option<crate::model::Digest>) -> bool {
    digest.is_none_or(|digest| !matches!(blobs.sight(digest), Ok(None)))
}

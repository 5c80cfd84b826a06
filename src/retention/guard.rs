//! The guard against wiping the cache.
//!
//! Owns the judgement whether a collection goes too far. Pure: sums in, verdict out. What is needed never goes, whatever it
//! says; it is there for what the catalog does not know to be needed, because it lost something or an operator erred.

use crate::catalog::Marked;

/// So few files never count as a wipe, whatever part of the cache they are: they are fetched again in a minute.
const FEW_FILES: u64 = 1_000;

/// So few bytes neither.
const FEW_BYTES: u64 = 1 << 30;

/// A collection that goes too far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wipe {
    /// What would go.
    pub going: Marked,
    /// What there is.
    pub all: Marked,
}

impl Wipe {
    /// The wipe that removing `going` of `all` would be, if it is one: more than half of the files, or of their bytes.
    #[must_use]
    pub fn of(going: Marked, all: Marked) -> Option<Self> {
        let files = going.blobs > FEW_FILES && going.blobs > all.blobs / 2;
        let bytes = going.bytes > FEW_BYTES && going.bytes > all.bytes / 2;
        (files || bytes).then_some(Self { going, all })
    }

    /// Whether removing `going` is none, whatever there is.
    #[must_use]
    pub fn is_little(going: Marked) -> bool {
        going.blobs <= FEW_FILES && going.bytes <= FEW_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_is_a_wipe_unless_it_is_little() {
        const GIB: u64 = 1 << 30;
        for (going, all, wipe) in [
            ((0, 0), (0, 0), false),
            ((1_000, 1), (1_000, 1), false),
            ((1_001, 1), (2_001, 100), true),
            ((1_001, 1), (2_002, 100), false),
            ((3, GIB), (3, GIB), false),
            ((3, GIB + 1), (4_000, 2 * GIB + 1), true),
            ((3, GIB + 1), (4_000, 2 * GIB + 2), false),
        ] {
            let marked = |(blobs, bytes)| Marked { blobs, bytes };
            let found = Wipe::of(marked(going), marked(all));
            assert_eq!(found.is_some(), wipe, "{going:?} of {all:?}");
            assert!(!wipe || !Wipe::is_little(marked(going)), "{going:?}");
        }
    }
}

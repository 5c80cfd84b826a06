//! The wish to stop, in the middle of a test.
//!
//! Owns how a check finds out about it and passes it on. Whoever stops a test learns nothing from it.

use crate::catalog::CatalogError;

/// Why a test has no result.
#[derive(Debug)]
pub(super) enum Halt {
    /// The caller wished to stop.
    Stopped,
    /// The catalog cannot be read.
    Catalog(CatalogError),
}

impl From<CatalogError> for Halt {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// Whether the caller wishes to stop; to be asked before everything that takes its time.
#[derive(Clone, Copy)]
pub(super) struct Stop<'a>(pub(super) &'a dyn Fn() -> bool);

impl Stop<'_> {
    /// # Errors
    /// When the test is to stop.
    pub(super) fn look(self) -> Result<(), Halt> {
        if (self.0)() { Err(Halt::Stopped) } else { Ok(()) }
    }
}

//! `mirrorctl version`: the version of the program
//!
//! Owns the report of the program's version.

use serde::Serialize;

use crate::cli::output::{Human, Output, Page};

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

impl Human for Version {
    fn human(&self, page: &mut Page) {
        page.line(format!("mirrorctl {}", self.version));
    }
}

/// Prints the version.
pub(in crate::cli) fn run(output: &mut Output) {
    output.answer(&Version {
        version: env!("CARGO_PKG_VERSION"),
    });
}

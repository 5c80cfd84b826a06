//! `mirrorctl help`, and `--help` of every command: the help texts
//!
//! Owns the report of the help texts, which `args` has.

use serde::Serialize;

use crate::cli::output::{Human, Output, Page};

#[derive(Serialize)]
struct Help {
    help: String,
}

impl Human for Help {
    fn human(&self, page: &mut Page) {
        page.verbatim(&self.help);
    }
}

/// Prints a help text.
pub(in crate::cli) fn run(help: String, output: &mut Output) {
    output.answer(&Help { help });
}

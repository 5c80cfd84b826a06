//! `mirrorctl completion SHELL`: completion scripts for shells
//!
//! Owns the report of the completion scripts, which are made from `args`.

use clap::CommandFactory as _;
use serde::Serialize;

use crate::cli::args::{Arguments, CompletionArgs};
use crate::cli::output::{Human, Output, Page};

#[derive(Serialize)]
struct Completion {
    shell: String,
    script: String,
}

impl Human for Completion {
    fn human(&self, page: &mut Page) {
        page.verbatim(&self.script);
    }
}

/// Prints the completion script of a shell.
pub(in crate::cli) fn run(arguments: &CompletionArgs, output: &mut Output) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "mirrorctl", &mut script);
    output.answer(&Completion {
        shell: arguments.shell.to_string(),
        script: String::from_utf8(script).expect("scripts are made of text"),
    });
}

//! The program `mirrorctl`: hands its arguments to [`mirrorctl::cli`] and exits with what comes back.

fn main() {}

//! The commands, one file each: take the arguments, make one use-case call, render its report.
//!
//! Owns nothing but these files. A command decides nothing about mirrors and prints only through `output`.

pub(super) mod check_config;
pub(super) mod completion;
pub(super) mod help;
pub(super) mod version;

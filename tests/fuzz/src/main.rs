//! The one program of coverage-guided fuzzing: libFuzzer around the target that `MIRRORCTL_FUZZ` names.
//!
//! Owns nothing but the choice; `tests/fuzz/run` builds and starts it. Targets are in the table of
//! `tests/support/src/fuzzed/mod.rs`.
#![no_main]

use std::sync::LazyLock;

use mirrorctl_testkit::fuzzed::{Property, property};

static CHOSEN: LazyLock<Property> = LazyLock::new(|| {
    let name = std::env::var("MIRRORCTL_FUZZ").expect("MIRRORCTL_FUZZ names a target");
    property(&name).expect("a target of the table")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| CHOSEN(data));

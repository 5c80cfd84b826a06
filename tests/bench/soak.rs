//! The soak of the tests, for as long as is wanted: `cargo bench --bench soak -- 600` runs it for ten minutes.
//!
//! Owns nothing but how long, and the figures' way to the terminal.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[expect(dead_code, reason = "what only other benchmarks need")]
mod common;
#[path = "../system/site.rs"]
#[expect(dead_code, reason = "what only tests need")]
mod site;
#[path = "../system/soak.rs"]
mod soak;

use std::time::Duration;

use common::{is_wanted, machine};
use mirrorctl_testkit::Scratch;

/// How long where nothing is said, in seconds.
const USUAL: u64 = 60;

fn main() {
    if !is_wanted() {
        return;
    }
    let seconds = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(USUAL);
    println!("{}", machine(&Scratch::new()));
    let counts = soak::soak(Duration::from_secs(seconds));
    println!("{seconds} s\n{counts}");
    assert!(counts.is_clean(), "something was wrong");
}

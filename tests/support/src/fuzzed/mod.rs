//! What must hold for any bytes whatever: the properties that fuzzing looks for counterexamples to.
//!
//! Owns the table of targets, one line each, and the checks that several of them share. A property panics when it does
//! not hold; it may also be found by its cost in time or memory. The table serves `tests/fuzz`, which invents inputs,
//! and the test that replays `tests/fuzz/corpus/<target>`, so a target here without a corpus there fails.

mod compression;
mod control;
mod indices;
mod names;
mod release;
mod requests;
mod settings;
mod signed;
mod stored;

use std::path::{Component, Path, PathBuf};

/// What must hold for every input.
pub type Property = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: &[(&str, Property)] = &[
    ("base-url", names::base_url),
    ("compression", compression::compression),
    ("config", settings::config),
    ("control-answer", control::answer),
    ("control-request", control::request),
    ("digest", names::digest),
    ("duration", settings::duration),
    ("fuse-request", requests::request),
    ("inrelease", signed::in_release),
    ("keyring", signed::keyring),
    ("manifest", stored::manifest),
    ("name-format", settings::name_format),
    ("names", names::names),
    ("packages", indices::packages),
    ("release", release::release),
    ("release-gpg", signed::release_gpg),
    ("repo-path", names::repo_path),
    ("sources", indices::sources),
    ("sums", indices::sums),
];

/// The property of the target called `name`.
pub fn property(name: &str) -> Option<Property> {
    let (_, property) = TARGETS.iter().find(|(known, _)| *known == name)?;
    Some(*property)
}

/// `data` in pieces whose lengths are derived from it, so that an input that fails in pieces does so every time: many
/// short ones, some of 1 byte, and some far longer.
fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    // FNV-1a, and then the steps of a linear congruential generator: spread well enough and always the same.
    let mut state = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rest = data;
    std::iter::from_fn(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let longest = if state >> 62 == 0 { 4096 } else { 24 };
        let length = usize::try_from(state >> 32).expect("32 bits") % longest + 1;
        let (piece, tail) = rest.split_at(length.min(rest.len()));
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Asserts that a message which may repeat upstream's text can neither fill a log nor steer a terminal.
fn assert_harmless(error: &dyn std::error::Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let bad = text.chars().find(|c| c.is_control() || is_bidirectional(*c));
        assert_eq!(bad, None, "a message with a control character: {text:?}");
        assert!(text.len() < 16 * 1024, "a message of {} bytes", text.len());
        next = error.source();
    }
}

/// Asserts that [`unsafe_because`] has nothing against a path.
fn assert_safe_path(text: &str) {
    assert_eq!(unsafe_because(text), None, "{text:?}");
}

/// What is wrong with `text` as a path below a directory: where it may lead, or what a person who reads it may be led to
/// believe. It repeats the rule in other words than the product does.
fn unsafe_because(text: &str) -> Option<&'static str> {
    let parts: Vec<_> = Path::new(text).components().collect();
    if parts.is_empty() {
        return Some("it is empty");
    }
    if parts.iter().any(|part| !matches!(part, Component::Normal(_))) {
        return Some("it leads elsewhere");
    }
    if parts.iter().any(|part| part.as_os_str().len() > 255) || text.len() > 1024 {
        return Some("it is too long");
    }
    // What is left of "a//b", "a/./b" and "a/" by taking it apart is another text.
    if parts.iter().collect::<PathBuf>().to_str() != Some(text) {
        return Some("it is not in its normal form");
    }
    let deceives = |c: char| c.is_control() || c == '\\' || is_bidirectional(c);
    text.contains(deceives).then_some("it deceives")
}

/// Whether `c` makes terminals show text in another order than it has.
fn is_bidirectional(c: char) -> bool {
    matches!(u32::from(c), 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole() {
        for length in [0, 1, 30, 100_000] {
            let data: Vec<u8> = (0..=255).cycle().take(length).collect();
            assert_eq!(pieces(&data).collect::<Vec<_>>().concat(), data);
        }
        assert!(pieces(&vec![7; 100_000]).count() > 50);
    }

    #[test]
    fn names_are_sorted_and_known_once() {
        assert!(TARGETS.is_sorted_by(|(one, _), (next, _)| one < next));
        assert!(property("packages").is_some());
        assert!(property("nothing").is_none());
    }

    #[test]
    fn bad_paths_and_messages_are_caught() {
        assert_eq!(unsafe_because("pool/f/foo_1.0..2.deb"), None);
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "./a",
            "a/./b",
            "../a",
            "a/..",
            "a\0b",
            "a\\b",
            "a\u{202e}b",
            &"x".repeat(256),
        ] {
            assert!(unsafe_because(bad).is_some(), "{bad:?}");
        }
        let error = |text: &str| std::io::Error::other(text.to_owned());
        assert_harmless(&error("plain"));
        for bad in ["\u{1b}[2J", "a\nb", "\u{202e}", &"x".repeat(1 << 20)] {
            assert!(std::panic::catch_unwind(|| assert_harmless(&error(bad))).is_err());
        }
    }
}

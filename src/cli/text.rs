//! Values as text, for people and for programs.
//!
//! Owns how sizes, times and lengths of time are written, and what makes foreign text safe to show. It prints nothing.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use crate::model::Timestamp;

/// `text` with everything visible: control characters, and characters that change the direction of text, become
/// escapes such as `\u{1b}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let deceives = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(deceives) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => shown.extend(c.escape_default()),
            c if deceives(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// A number of bytes for people: `0 B`, `999 B`, `1.5 KiB`, `12.0 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In tenths of the unit, rounded, so that no floating point is needed; and 1023.95 KiB is 1.0 MiB.
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for next in UNITS {
        tenths = (tenths + 512) / 1024;
        unit = next;
        if tenths < 10_240 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// A time, in UTC: `2025-10-14T15:45:30Z`. The same for people and programs.
#[must_use]
pub fn utc(time: Timestamp) -> String {
    time.to_string()
}

/// A length of time as the configuration would have it, to the second: `30d`, `2h30m`, `0`.
#[must_use]
pub fn span(length: Duration) -> String {
    let mut rest = length.as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= seconds {
            write!(text, "{}{unit}", rest / seconds).expect("a String takes all");
            rest %= seconds;
        }
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_becomes_visible() {
        assert!(matches!(visible("plain, ä, 日本"), Cow::Borrowed(_)));
        for (text, shown) in [
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\tb\r\n", "a\\tb\\r\\n"),
            ("\0\u{7f}\u{9b}", "\\u{0}\\u{7f}\\u{9b}"),
            ("x\u{202e}gnp.exe", "x\\u{202e}gnp.exe"),
            ("a\u{200b}b", "a\\u{200b}b"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn sizes_times_and_lengths_are_short() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (12 << 30, "12.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(utc(Timestamp::from_unix(1_760_456_730)), "2025-10-14T15:45:30Z");
        assert_eq!(utc(Timestamp::from_unix(i64::MAX)), "@9223372036854775807");
        for (seconds, shown) in [
            (0, "0"),
            (59, "59s"),
            (9_000, "2h30m"),
            (2_592_000, "30d"),
            (90_001, "1d1h1s"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }
}

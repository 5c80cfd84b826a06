//! The order of Debian versions.
//!
//! Owns the comparison that decides which of two versions is newer, as dpkg makes it: epoch, upstream version,
//! revision; digits by value, letters before everything else, and `~` before even the end. Any text can be compared;
//! whether it is a good version is nobody's question here.

use std::cmp::Ordering;

/// Compares two versions; the greater one is newer.
///
/// ```
/// use mirrorctl::apt::version::compare;
/// use std::cmp::Ordering;
///
/// assert_eq!(compare("1:0.9-1", "2.0-1"), Ordering::Greater);
/// assert_eq!(compare("1.0~rc1", "1.0"), Ordering::Less);
/// assert_eq!(compare("1.0-0", "1.0"), Ordering::Equal);
/// ```
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    by_number(a.epoch, b.epoch)
        .then_with(|| by_runs(a.upstream, b.upstream))
        .then_with(|| by_runs(a.revision, b.revision))
}

/// The parts of a version. A missing epoch or revision is empty, which compares like 0.
struct Parts<'a> {
    epoch: &'a [u8],
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let version = version.trim();
        let (epoch, rest) = match version.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|c| c.is_ascii_digit()) => (epoch, rest),
            _ => ("", version),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self {
            epoch: epoch.as_bytes(),
            upstream: upstream.as_bytes(),
            revision: revision.as_bytes(),
        }
    }
}

/// Compares runs of other characters and runs of digits by turns.
fn by_runs(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (words, numbers) = (word(a), word(b));
        let order = by_characters(&a[..words], &b[..numbers]);
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[words..], &b[numbers..]);
        let (digits, others) = (number(a), number(b));
        let order = by_number(&a[..digits], &b[..others]);
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[digits..], &b[others..]);
    }
    Ordering::Equal
}

/// Length of the run without digits that `text` begins with.
fn word(text: &[u8]) -> usize {
    text.iter().take_while(|c| !c.is_ascii_digit()).count()
}

/// Length of the run of digits that `text` begins with.
fn number(text: &[u8]) -> usize {
    text.iter().take_while(|c| c.is_ascii_digit()).count()
}

/// Compares character by character, the end of a run counting as a character between `~` and the letters.
fn by_characters(a: &[u8], b: &[u8]) -> Ordering {
    let weights = |run: &[u8], at: usize| run.get(at).map_or(0, |c| weight(*c));
    (0..a.len().max(b.len()))
        .map(|at| weights(a, at).cmp(&weights(b, at)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn weight(c: u8) -> i16 {
    match c {
        b'~' => -1,
        letter if letter.is_ascii_alphabetic() => i16::from(letter),
        other => i16::from(other) + 256,
    }
}

/// Compares digits by value, however many there are: a build date may have more than fit a machine word.
fn by_number(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().take_while(|c| **c == b'0').count();
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ascending = [
            "0~~", "0~~a", "0~", "0", "0a", "0+", "0.1", "1~rc1-1", "1-1", "1-1+b1", "1-1.1", "1-2", "1-10", "1a",
            "1+dfsg", "1.0~~1", "1.0.1", "1.2", "1.10", "2:0.1~a", "2:0.1", "10:0",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [
            ("0:1", "1"),
            ("1-0", "1"),
            ("1.01", "1.1"),
            ("1-00", "1-0"),
            (" 1 ", "1"),
            ("00000000000000000000000000000000000001", "1"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
        assert_eq!(
            compare("20250101000000000000000000000001", "20250101000000000000000000000000"),
            Ordering::Greater
        );
        // Not a version, and ordered all the same.
        assert_eq!(compare("a:1", "a:2"), Ordering::Less);
    }

    fn version() -> impl Strategy<Value = String> {
        let upstream = "[0-9]{1,3}([.+~a-z0-9]|[0-9]{2}){0,5}";
        (
            proptest::option::of(0_u8..3),
            upstream,
            proptest::option::of("[0-9a-z+.~]{1,4}"),
        )
            .prop_map(|(epoch, upstream, revision)| {
                let epoch = epoch.map(|n| format!("{n}:")).unwrap_or_default();
                let revision = revision.map(|text| format!("-{text}")).unwrap_or_default();
                format!("{epoch}{upstream}{revision}")
            })
    }

    /// A version, and one that often differs from it in one place only.
    fn pair() -> impl Strategy<Value = (String, String)> {
        let near = (version(), "[~+.0-9a]{0,2}").prop_map(|(version, more)| (version.clone(), version + &more));
        prop_oneof![(version(), version()), near]
    }

    proptest! {
        #[test]
        fn the_order_is_total((a, b) in pair(), c in version()) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            let mut sorted = [a, b, c];
            sorted.sort_by(|a, b| compare(a, b));
            prop_assert!(compare(&sorted[0], &sorted[2]).is_le());
        }
    }
}

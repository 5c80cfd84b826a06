//! Asking for the rest of a file.
//!
//! Owns the headers of a request for the end of a file, and the check that the answer is that end. A part counts only
//! as what it says it is; whoever joins the parts checks the whole.

use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderName, IF_RANGE, RANGE};

use super::Validators;

/// The headers that ask for what follows the first `from` bytes: of the version `of`, where upstream has marked that
/// strongly, else of whatever is there.
pub(super) fn headers(from: u64, of: Option<&Validators>) -> impl Iterator<Item = (HeaderName, String)> {
    let version = of.and_then(Validators::strong).map(|tag| (IF_RANGE, tag.to_owned()));
    version.into_iter().chain([(RANGE, format!("bytes={from}-"))])
}

/// The length of the whole file, when the answer says that its body is what follows the first `from` bytes of it.
pub(super) fn whole_length(headers: &HeaderMap, from: u64) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (part, whole) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last, whole): (u64, u64, u64) = (number(first)?, number(last)?, number(whole)?);
    (first == from && last.checked_add(1) == Some(whole)).then_some(whole)
}

/// Digits only: the standard parser would take a sign, too.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(etag: Option<&str>) -> Vec<(String, String)> {
        let of = Validators {
            etag: etag.map(str::to_owned),
            last_modified: Some("then".into()),
        };
        let headers = headers(5, Some(&of));
        headers.map(|(name, value)| (name.to_string(), value)).collect()
    }

    #[test]
    fn only_a_strong_mark_names_a_version() {
        let range = ("range".to_owned(), "bytes=5-".to_owned());
        assert_eq!(
            asked(Some("\"a\"")),
            [("if-range".into(), "\"a\"".into()), range.clone()]
        );
        for weak in [Some("W/\"a\""), None] {
            assert_eq!(asked(weak), std::slice::from_ref(&range));
        }
    }

    #[test]
    fn a_part_counts_only_when_it_is_the_one_asked_for() {
        for (header, whole) in [
            ("bytes 5-9/10", Some(10)),
            ("bytes 4-9/10", None),
            ("bytes 0-9/10", None),
            ("bytes 5-8/10", None),
            ("bytes 5-9/*", None),
            ("bytes 5-10/10", None),
            ("bytes */10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-18446744073709551615/18446744073709551615", None),
            ("items 5-9/10", None),
            ("5-9/10", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, header.parse().expect("a header"))]);
            assert_eq!(whole_length(&headers, 5), whole, "{header}");
        }
        assert_eq!(whole_length(&HeaderMap::new(), 5), None);
    }
}

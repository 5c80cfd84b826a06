//! The keys `url` and `urls` of a mirror: where its archive is.
//!
//! Owns the rule that exactly one of the two is there, and that a list names each place once. It opens no connection.

use super::error::Notes;
use super::file::RawMirror;
use super::resolve::{base_url, missing_in};
use crate::model::BaseUrl;

/// Where the archive is: `url`, or the list `urls` in the order to try.
pub(super) fn urls(raw: &RawMirror, notes: &mut Notes) -> Option<Vec<BaseUrl>> {
    match (&raw.url, &raw.urls) {
        (None, None) => missing_in(&raw.id, "url", notes),
        (Some(url), None) => base_url(url, notes).map(|url| vec![url]),
        (Some(_), Some(urls)) => {
            let hint = "list every place in urls, and leave url out";
            notes.fault_with_hint(urls, "stands beside url: only one of the two can be", hint);
            None
        }
        (None, Some(raw)) => {
            if raw.value.is_empty() {
                notes.fault(raw, "must name at least one");
            }
            let mut urls = Vec::new();
            for item in &raw.value {
                match base_url(item, notes) {
                    Some(url) if urls.contains(&url) => notes.fault(item, format!("names {url} twice")),
                    found => urls.extend(found),
                }
            }
            (!urls.is_empty() && urls.len() == raw.value.len()).then_some(urls)
        }
    }
}

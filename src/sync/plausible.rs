//! Whether a verified Release file can be believed: a good signature on an old or foreign file is still a trap.
//!
//! Owns the comparison with the clock and with what the same suite said before. Pure: it fetches and verifies nothing.

use std::fmt;

use super::SyncError;
use crate::apt::Release;
use crate::catalog::ReleaseFacts;
use crate::model::{Suite, Timestamp};

/// How far in the future a Release file may be dated, in seconds: clocks differ, time zones are confused.
const AHEAD: i64 = 24 * 3600;

/// What an operator accepts, this once, that a sync refuses otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Acceptance {
    /// A Release file that is older than the one before.
    pub rollback: bool,
    /// A Release file that calls its archive differently than before.
    pub release_info: bool,
}

/// A field that clients pin packages by, and that therefore must not change unnoticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedField {
    /// Its name.
    pub field: &'static str,
    /// What it said before; `None` when it was not there.
    pub before: Option<String>,
    /// What it says now.
    pub now: Option<String>,
}

impl fmt::Display for ChangedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| {
            value
                .as_ref()
                .map_or("nothing".to_owned(), |value| format!("{value:?}"))
        };
        write!(f, "{} from {} to {}", self.field, shown(&self.before), shown(&self.now))
    }
}

/// Makes sure that `release` of `suite` can be what upstream published after `last`.
///
/// # Errors
/// When it has no date, one of tomorrow or one before that of `last`, or when its names are not those that `last` had
/// or that `suite` lets expect.
pub(super) fn check(
    suite: &Suite,
    release: &Release,
    last: Option<&ReleaseFacts>,
    now: Timestamp,
    accept: Acceptance,
) -> Result<(), SyncError> {
    let date = release.date.ok_or_else(|| SyncError::NoDate(suite.clone()))?;
    if date > now.plus(AHEAD) {
        return Err(SyncError::FromTheFuture {
            suite: suite.clone(),
            date,
        });
    }
    match last {
        None => expected_name(suite, release, accept),
        Some(last) => {
            not_older(suite, date, last, accept)?;
            same_names(suite, release, last, accept)
        }
    }
}

fn not_older(suite: &Suite, date: Timestamp, last: &ReleaseFacts, accept: Acceptance) -> Result<(), SyncError> {
    match last.date {
        Some(before) if date < before && accept.rollback => {
            tracing::warn!("The Release file of {suite} is older than the one before ({date} < {before}): accepted");
            Ok(())
        }
        Some(before) if date < before => Err(SyncError::Rollback {
            suite: suite.clone(),
            date,
            before,
        }),
        Some(_) | None => Ok(()),
    }
}

fn same_names(suite: &Suite, release: &Release, last: &ReleaseFacts, accept: Acceptance) -> Result<(), SyncError> {
    let fields = [
        ("Origin", &last.origin, &release.origin),
        ("Label", &last.label, &release.label),
        ("Suite", &last.suite_field, &release.suite),
        ("Codename", &last.codename, &release.codename),
    ];
    let changed = fields.into_iter().filter(|(_, before, now)| before != now);
    let changed: Vec<_> = changed
        .map(|(field, before, now)| ChangedField {
            field,
            before: before.clone(),
            now: now.clone(),
        })
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    if accept.release_info {
        tracing::warn!("The Release file of {suite} has changed {}: accepted", listed(&changed));
        return Ok(());
    }
    Err(SyncError::Renamed {
        suite: suite.clone(),
        changed,
    })
}

/// A Release file that was never seen before calls itself what it was asked for, by its suite or by its codename. One
/// that says neither is believed, and so is that of a flat repository, which is asked for by its place alone.
fn expected_name(suite: &Suite, release: &Release, accept: Acceptance) -> Result<(), SyncError> {
    let names: Vec<_> = [&release.suite, &release.codename].into_iter().flatten().collect();
    if suite.is_flat() || names.is_empty() || names.iter().any(|name| is_name_of(name, suite)) {
        return Ok(());
    }
    let names: Vec<_> = names.into_iter().cloned().collect();
    if accept.release_info {
        tracing::warn!(
            "The Release file of {suite} calls itself {}: accepted",
            names.join(" and ")
        );
        return Ok(());
    }
    Err(SyncError::OtherSuite {
        suite: suite.clone(),
        names,
    })
}

/// Whether `name` is how a Release file may call the suite at the path `suite`: by all of it, or, as Debian's security
/// archive did with `bookworm/updates` and vendors do with `bookworm/product`, by its first part.
fn is_name_of(name: &str, suite: &Suite) -> bool {
    let path = suite.as_str().trim_end_matches('/');
    let first = path.split('/').next().unwrap_or(path);
    // A flat archive's directory is no name.
    suite.as_str().ends_with('/') || name == path || name == first
}

/// Changes in one line.
pub(super) fn listed(changed: &[ChangedField]) -> String {
    let texts: Vec<_> = changed.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_700_000_000);

    fn release(date: Option<i64>, suite: Option<&str>, codename: Option<&str>) -> Release {
        Release {
            date: date.map(|ago| NOW.plus(-ago)),
            suite: suite.map(str::to_owned),
            codename: codename.map(str::to_owned),
            ..Release::default()
        }
    }

    fn facts(of: &Release, suite: &str) -> ReleaseFacts {
        ReleaseFacts {
            suite: suite.parse().expect("valid"),
            date: of.date,
            valid_until: None,
            origin: of.origin.clone(),
            label: of.label.clone(),
            suite_field: of.suite.clone(),
            codename: of.codename.clone(),
            signers: Vec::new(),
            etag: None,
            last_modified: None,
        }
    }

    fn judge(suite: &str, now: &Release, before: Option<&Release>, accept: Acceptance) -> Result<(), SyncError> {
        let last = before.map(|before| facts(before, suite));
        check(&suite.parse().expect("valid"), now, last.as_ref(), NOW, accept)
    }

    const ACCEPT_NOTHING: Acceptance = Acceptance {
        rollback: false,
        release_info: false,
    };

    #[test]
    fn a_date_is_needed_and_not_of_tomorrow() {
        let at = |date| judge("s", &release(date, None, None), None, ACCEPT_NOTHING);
        assert!(matches!(at(None), Err(SyncError::NoDate(_))));
        assert!(at(Some(-AHEAD)).is_ok(), "clocks differ");
        assert!(matches!(at(Some(-AHEAD - 1)), Err(SyncError::FromTheFuture { .. })));
        assert!(at(Some(1_000_000_000)).is_ok(), "age alone is no fault");
    }

    #[test]
    fn time_goes_forward_unless_it_was_accepted() {
        let (old, new) = (release(Some(20), None, None), release(Some(10), None, None));
        assert!(judge("s", &new, Some(&old), ACCEPT_NOTHING).is_ok());
        assert!(judge("s", &new, Some(&new), ACCEPT_NOTHING).is_ok());
        assert!(matches!(
            judge("s", &old, Some(&new), ACCEPT_NOTHING),
            Err(SyncError::Rollback { .. })
        ));
        let accept = Acceptance {
            rollback: true,
            ..ACCEPT_NOTHING
        };
        assert!(judge("s", &old, Some(&new), accept).is_ok());
        let other = Acceptance {
            release_info: true,
            ..ACCEPT_NOTHING
        };
        assert!(
            judge("s", &old, Some(&new), other).is_err(),
            "each is accepted by itself"
        );
    }

    #[test]
    fn names_stay_unless_the_change_was_accepted() {
        let before = release(Some(20), Some("stable"), Some("bookworm"));
        let now = release(Some(10), Some("oldstable"), Some("bookworm"));
        let text = |result: Result<(), SyncError>| result.expect_err("refused").to_string();
        assert_eq!(
            text(judge("bookworm", &now, Some(&before), ACCEPT_NOTHING)),
            "the Release file of suite bookworm has changed Suite from \"stable\" to \"oldstable\""
        );
        let accept = Acceptance {
            release_info: true,
            ..ACCEPT_NOTHING
        };
        assert!(judge("bookworm", &now, Some(&before), accept).is_ok());
        let gone = Release {
            label: Some("Debian".to_owned()),
            ..before.clone()
        };
        assert_eq!(
            text(judge("bookworm", &before, Some(&gone), ACCEPT_NOTHING)),
            "the Release file of suite bookworm has changed Label from \"Debian\" to nothing"
        );
    }

    #[test]
    fn a_first_release_file_is_that_of_the_suite() {
        for (suite, field, codename, good) in [
            ("trixie", Some("testing"), Some("trixie"), true),
            ("testing", Some("testing"), Some("trixie"), true),
            ("trixie", Some("unstable"), Some("sid"), false),
            ("bookworm/updates", Some("oldstable"), Some("bookworm"), true),
            ("bookworm/mongodb-org/7.0", Some("bookworm"), None, true),
            (
                "bookworm-security",
                Some("stable-security"),
                Some("bookworm-security"),
                true,
            ),
            ("nodistro", None, None, true),
            ("trixie", None, Some("sid"), false),
        ] {
            let now = release(Some(0), field, codename);
            let outcome = judge(suite, &now, None, ACCEPT_NOTHING);
            assert_eq!(outcome.is_ok(), good, "{suite} {field:?} {codename:?}");
            let accept = Acceptance {
                release_info: true,
                ..ACCEPT_NOTHING
            };
            assert!(judge(suite, &now, None, accept).is_ok());
        }
    }
}

//! When a failed request is made again.
//!
//! Owns the policy, as pure functions: how often, and after which wait. Which failures are temporary is said by the
//! error itself. It waits for nothing.

use std::time::Duration;

/// The longest wait is so many times the first one: 10 s after the usual half second.
const LONGEST: u32 = 20;

/// No wait is longer, however the first one is configured.
const LONGEST_STEP: Duration = Duration::from_mins(10);

/// Longest wait that a server may ask for (`Retry-After`). One that wants more is asked again all the same, and fails
/// the file when it still refuses.
pub(super) const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// How often a temporary failure is tried again, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Most further attempts at one file.
    pub retries: u32,
    /// Wait before the first of them; each further wait is twice as long, up to twenty times this.
    pub first: Duration,
}

impl Retry {
    /// Ten retries, the first after half a second: a server that fails three of ten requests spoils one file in half a
    /// million, and one that is gone is given up after half a minute.
    pub const DEFAULT: Self = Self {
        retries: 10,
        first: Duration::from_millis(500),
    };

    /// The wait after so many failures in a row; `None` when it is enough. `jitter`, between 0 and 1, spreads those who
    /// failed together: half of the wait is theirs for certain, the other half by chance.
    #[must_use]
    pub fn wait(&self, failures: u32, jitter: f64) -> Option<Duration> {
        (failures <= self.retries).then(|| (self.step(failures) / 2).mul_f64(1.0 + jitter.clamp(0.0, 1.0)))
    }

    /// The wait after so many failures, without chance.
    pub(super) fn step(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1)).min(LONGEST);
        self.first.saturating_mul(factor).min(LONGEST_STEP)
    }
}

/// The wait that a `Retry-After` header asks for, in seconds or as a date seen from `now`.
pub(super) fn asked_wait(header: &str, now: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(LONGEST_ASKED));
    }
    // A date is told by the server's own clock, so it is read against the `Date` of the same answer.
    let date = |text: &str| httpdate::parse_http_date(text.trim()).ok();
    let wait = date(header)?.duration_since(date(now?)?).unwrap_or_default();
    Some(wait.min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_end() {
        let retry = Retry {
            retries: 7,
            first: Duration::from_secs(1),
        };
        let waits: Vec<_> = (1..=9).map(|n| retry.wait(n, 1.0).map(|wait| wait.as_secs())).collect();
        let seconds = [1, 2, 4, 8, 16, 20, 20].map(Some);
        assert_eq!(waits, [&seconds[..], &[None, None]].concat());
        for failures in 1..=7 {
            assert_eq!(
                retry.wait(failures, 0.0).map(|wait| wait * 2),
                retry.wait(failures, 1.0),
                "chance decides about half of it"
            );
        }
        let never = Retry { retries: 0, ..retry };
        assert_eq!(never.wait(1, 0.5), None);
        assert!(
            Retry {
                retries: u32::MAX,
                first: Duration::MAX
            }
            .wait(u32::MAX, 1.0)
            .is_some()
        );
    }

    #[test]
    fn servers_may_ask_for_a_wait_within_reason() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (header, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("86400", Some(60)),
            ("18446744073709551615", Some(60)),
            ("Sun, 06 Nov 1994 08:49:57 GMT", Some(20)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:07 GMT", Some(60)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(
                asked_wait(header, date).map(|wait| wait.as_secs()),
                seconds,
                "{header:?}"
            );
        }
        assert_eq!(asked_wait("Sun, 06 Nov 1994 08:49:57 GMT", None), None);
    }
}

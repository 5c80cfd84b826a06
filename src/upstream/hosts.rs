//! What is known of each host: how many connections it has, and whether it wants to be left alone.
//!
//! Owns the limit of connections to one host, and the pause that follows when a host says that it is overloaded: all
//! connections keep it together, and do not come back in one moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use url::Url;

use super::retry::{LONGEST_ASKED, Retry};

/// Those who kept a pause come back within this part of it afterwards, each at its own time.
const SPREAD: u32 = 4;

/// The hosts of a client.
#[derive(Debug)]
pub(super) struct Hosts {
    limit: usize,
    retry: Retry,
    start: Instant,
    known: Mutex<HashMap<String, Arc<Host>>>,
}

#[derive(Debug)]
struct Host {
    slots: Arc<Semaphore>,
    pause: Mutex<Pause>,
}

/// Since when and how long a host is left alone. Times are those since any fixed moment.
#[derive(Debug, Default)]
struct Pause {
    until: Duration,
    length: Duration,
    /// How often in a row it has said that it is overloaded.
    strikes: u32,
}

impl Pause {
    /// The host has said that it is overloaded, and for how long it wants to be left alone. Requests that were under way
    /// when the pause began say nothing new.
    fn begin(&mut self, now: Duration, asked: Option<Duration>, retry: &Retry) {
        if now < self.until && asked.is_none() {
            return;
        }
        if now >= self.until {
            self.strikes = self.strikes.saturating_add(1);
        }
        let length = asked.unwrap_or_else(|| retry.step(self.strikes)).min(LONGEST_ASKED);
        if now + length > self.until {
            (self.until, self.length) = (now + length, length);
        }
    }

    /// The host has answered well. During a pause, that was a request from before it.
    fn end(&mut self, now: Duration) {
        if self.strikes > 0 && now >= self.until {
            *self = Self::default();
        }
    }

    /// How long to wait before the next request; `jitter` is between 0 and 1.
    fn left(&self, now: Duration, jitter: f64) -> Duration {
        match self.until.checked_sub(now) {
            None | Some(Duration::ZERO) => Duration::ZERO,
            Some(left) => left + (self.length / SPREAD).mul_f64(jitter),
        }
    }
}

/// The right to one connection to a host.
#[derive(Debug)]
pub(super) struct Visit {
    host: Arc<Host>,
    retry: Retry,
    start: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Hosts {
    pub(super) fn new(limit: usize, retry: Retry) -> Self {
        Self {
            limit,
            retry,
            start: Instant::now(),
            known: Mutex::default(),
        }
    }

    /// Waits for a connection to the URL's host, and for the end of the pause it may want.
    pub(super) async fn enter(&self, url: &Url) -> Visit {
        let host = self.host(url);
        let slot = Arc::clone(&host.slots).acquire_owned().await;
        let visit = Visit {
            host,
            retry: self.retry,
            start: self.start,
            _slot: slot.expect("the limits are never closed"),
        };
        loop {
            let wait = visit.pause().left(self.start.elapsed(), fastrand::f64());
            if wait.is_zero() {
                return visit;
            }
            sleep(wait).await;
        }
    }

    fn host(&self, url: &Url) -> Arc<Host> {
        let name = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or_default()
        );
        // A panic elsewhere cannot leave the map half changed.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let host = known.entry(name).or_insert_with(|| {
            Arc::new(Host {
                slots: Arc::new(Semaphore::new(self.limit)),
                pause: Mutex::default(),
            })
        });
        Arc::clone(host)
    }
}

impl Visit {
    /// The host has said that it is overloaded.
    pub(super) fn overloaded(&self, asked: Option<Duration>) {
        self.pause().begin(self.start.elapsed(), asked, &self.retry);
    }

    /// The host has answered well.
    pub(super) fn answered(&self) {
        self.pause().end(self.start.elapsed());
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.host.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        retries: 9,
        first: Duration::from_secs(1),
    };

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn many_refusals_at_once_are_one_pause() {
        let mut pause = Pause::default();
        assert_eq!(pause.left(s(0), 1.0), s(0));
        for _ in 0..10 {
            pause.begin(s(100), None, &RETRY);
        }
        assert_eq!(pause.left(s(100), 0.0), s(1));
        assert_eq!(pause.left(s(100), 1.0), s(1) + s(1) / 4, "not all in the same moment");
        assert_eq!(pause.left(s(101), 1.0), s(0));
    }

    #[test]
    fn pauses_grow_until_the_host_answers_well() {
        let mut pause = Pause::default();
        for (now, expected) in [(100, 1), (101, 2), (103, 4), (107, 8), (115, 16), (131, 20), (151, 20)] {
            pause.begin(s(now), None, &RETRY);
            assert_eq!(pause.left(s(now), 0.0), s(expected));
        }
        pause.end(s(151));
        assert_eq!(pause.left(s(151), 0.0), s(20), "an answer from before the pause");
        pause.end(s(171));
        pause.begin(s(172), None, &RETRY);
        assert_eq!(pause.left(s(172), 0.0), s(1));
    }

    #[test]
    fn a_host_is_given_the_time_it_asks_for() {
        let mut pause = Pause::default();
        pause.begin(s(100), Some(s(30)), &RETRY);
        assert_eq!(pause.left(s(100), 0.0), s(30));
        pause.begin(s(110), Some(s(5)), &RETRY);
        assert_eq!(pause.left(s(110), 0.0), s(20), "no shorter than asked before");
        pause.begin(s(110), Some(s(9_999)), &RETRY);
        assert_eq!(pause.left(s(110), 0.0), LONGEST_ASKED);
    }

    #[tokio::test]
    async fn each_host_has_its_own_limit_and_pause() {
        let long = Retry {
            first: Duration::from_hours(1),
            ..RETRY
        };
        let hosts = Hosts::new(1, long);
        let urls = ["http://a/x", "http://a:81/x"].map(|url| url.parse::<Url>().expect("a URL"));
        let enters = async |url: &Url| {
            tokio::time::timeout(Duration::from_millis(50), hosts.enter(url))
                .await
                .ok()
        };
        let visit = enters(&urls[0]).await.expect("free");
        assert!(enters(&urls[0]).await.is_none(), "the limit");
        assert!(enters(&urls[1]).await.is_some(), "another host");
        visit.answered();
        drop(visit);
        enters(&urls[0]).await.expect("free again").overloaded(None);
        assert!(enters(&urls[0]).await.is_none(), "the pause");
        assert!(enters(&urls[1]).await.is_some(), "another host");
    }
}

//! One archive, at all the places that have it.
//!
//! Owns the order of the places: one that fails goes to the end for the rest of the run, so that the next file does not
//! wait for it again. It also owns the retries of small files, and the waits between attempts at large ones. What is
//! fetched, and whether it is what was meant, is for whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::sleep;

use super::{Answer, Ask, Client, Retry, UpstreamError, Validators, fetch_capped};
use crate::model::{BaseUrl, RepoPath, Timestamp};

/// Retries at a place when there are others to go to.
const RETRIES_BESIDE_OTHERS: u32 = 3;

/// One archive, at all the places that have it.
#[derive(Debug)]
pub struct Archive {
    client: Client,
    urls: Vec<BaseUrl>,
    order: Mutex<Order>,
}

/// The places in the order to try, and those that failed.
#[derive(Debug, Default)]
struct Order {
    places: Vec<Place>,
    failed: Vec<Place>,
}

/// One of an archive's places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

/// What a place says to a request for a small file.
#[derive(Debug)]
pub enum Small {
    /// The version that the request told of is still the newest.
    Unchanged,
    /// There is no such file.
    Missing,
    /// The file.
    File {
        /// All of it.
        bytes: Vec<u8>,
        /// What a later conditional request needs.
        validators: Validators,
        /// When upstream says the file was last changed.
        last_modified: Option<Timestamp>,
    },
}

impl Archive {
    /// An archive at `urls`, of which there is at least one, in the order to try.
    #[must_use]
    pub fn new(client: Client, urls: Vec<BaseUrl>) -> Self {
        let order = Mutex::new(Order {
            places: (0..urls.len()).map(Place).collect(),
            failed: Vec::new(),
        });
        Self { client, urls, order }
    }

    /// The places, in the order to try now.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.order().places.clone()
    }

    /// Where a place is.
    #[must_use]
    pub fn url(&self, place: Place) -> &BaseUrl {
        &self.urls[place.0]
    }

    /// The place failed: the others go before it from now on.
    pub fn put_last(&self, place: Place) {
        let mut order = self.order();
        if !order.failed.contains(&place) {
            order.failed.push(place);
        }
        if order.places.len() > 1 && order.places.last() != Some(&place) {
            order.places.retain(|known| *known != place);
            order.places.push(place);
            tracing::warn!(
                "{} has trouble: other URLs of the mirror go first from now on",
                self.url(place)
            );
        }
    }

    /// The place is what this run goes by: it comes first from now on.
    pub fn put_first(&self, place: Place) {
        let mut order = self.order();
        order.places.retain(|known| *known != place);
        order.places.insert(0, place);
    }

    /// Whether the place was ever put last in this run.
    #[must_use]
    pub fn has_failed(&self, place: Place) -> bool {
        self.order().failed.contains(&place)
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        // A panic elsewhere cannot leave the order half changed.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a place once for the file at `path`.
    ///
    /// # Errors
    /// When no usable answer comes in time.
    pub async fn get(&self, place: Place, path: &RepoPath, ask: Ask<'_>) -> Result<Answer, UpstreamError> {
        self.client.get(self.url(place), path, ask).await
    }

    /// Waits before another attempt, after so many failed ones; `false`, at once, when it is enough.
    pub async fn wait(&self, failures: u32) -> bool {
        Self::wait_by(self.client.retry(), failures).await
    }

    async fn wait_by(retry: Retry, failures: u32) -> bool {
        let Some(wait) = retry.wait(failures, fastrand::f64()) else {
            return false;
        };
        sleep(wait).await;
        true
    }

    /// The file at `path`, of at most `cap` bytes, whole and in memory; with `known`, only another version than that.
    /// Temporary failures are tried again: fewer times when the caller can `go_elsewhere`.
    ///
    /// # Errors
    /// When no usable answer comes in time.
    pub async fn small(
        &self,
        place: Place,
        path: &RepoPath,
        (known, cap): (Option<&Validators>, u64),
        go_elsewhere: bool,
    ) -> Result<Small, UpstreamError> {
        let mut retry = self.client.retry();
        if go_elsewhere {
            retry.retries = retry.retries.min(RETRIES_BESIDE_OTHERS);
        }
        let mut failures = 0;
        loop {
            match self.small_once(place, path, known, cap).await {
                Err(error) if error.is_temporary() => {
                    failures += 1;
                    tracing::debug!(%path, failures, error = &error as &dyn std::error::Error, "a request failed");
                    if !Self::wait_by(retry, failures).await {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    async fn small_once(
        &self,
        place: Place,
        path: &RepoPath,
        known: Option<&Validators>,
        cap: u64,
    ) -> Result<Small, UpstreamError> {
        match self.get(place, path, known.map_or(Ask::Whole, Ask::Changed)).await? {
            Answer::Unchanged => Ok(Small::Unchanged),
            Answer::Missing => Ok(Small::Missing),
            Answer::Local(file) => Ok(Small::File {
                bytes: file.read_capped(cap)?,
                validators: Validators::default(),
                last_modified: Some(file.modified()),
            }),
            Answer::Body(mut body) => {
                body.limit_time(cap);
                let (validators, last_modified) = (body.validators(), body.last_modified());
                Ok(Small::File {
                    bytes: fetch_capped(body, cap).await?,
                    validators,
                    last_modified,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::ClientOptions;

    #[test]
    fn a_place_that_fails_goes_last() {
        let client = Client::new(&ClientOptions::new(1)).expect("sets up");
        let urls = ["http://a/", "http://b/", "http://c/"].map(|url| url.parse().expect("a URL"));
        let archive = Archive::new(client, urls.to_vec());
        let order = || -> Vec<String> {
            let places = archive.places();
            places.iter().map(|place| archive.url(*place).to_string()).collect()
        };
        let [a, b, c] = archive.places()[..] else {
            panic!("three places")
        };
        archive.put_last(a);
        assert_eq!(order(), ["http://b/", "http://c/", "http://a/"]);
        archive.put_last(a);
        archive.put_last(b);
        assert_eq!([a, b, c].map(|place| archive.has_failed(place)), [true, true, false]);
        assert_eq!(order(), ["http://c/", "http://a/", "http://b/"]);
        archive.put_first(b);
        assert_eq!(order(), ["http://b/", "http://c/", "http://a/"]);
        archive.put_first(c);
        assert_eq!(order(), ["http://c/", "http://b/", "http://a/"]);
    }
}

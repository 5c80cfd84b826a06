//! The bytes of an answer, as they come in.
//!
//! Owns the deadlines of a body and its rate. It keeps the right to its connection until the last byte.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::ClientOptions;
use crate::model::Timestamp;
use crate::upstream::error::ShownUrl;
use crate::upstream::hosts::Visit;
use crate::upstream::{UpstreamError, Validators};

/// Every file may take this long, however small it is.
const LEAST_TIME: Duration = Duration::from_mins(10);

/// Over a whole file, a peer has to be this many times as fast as it may be for a minute.
const FASTER: u32 = 2;

/// A file that is coming in, or a part of one.
#[derive(Debug)]
pub struct Body {
    url: ShownUrl,
    response: Response,
    options: Arc<ClientOptions>,
    pace: Pace,
    begins: u64,
    whole: Option<u64>,
    deadline: Option<Duration>,
    _visit: Visit,
}

/// Bytes that came in some time of waiting for them. The time that our own side takes does not count.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
    /// Of all windows.
    waited_in_all: Duration,
}

impl Body {
    pub(super) fn new(
        url: ShownUrl,
        response: Response,
        (begins, whole): (u64, Option<u64>),
        options: Arc<ClientOptions>,
        visit: Visit,
    ) -> Self {
        Self {
            url,
            response,
            options,
            pace: Pace::default(),
            begins,
            whole,
            deadline: None,
            _visit: visit,
        }
    }

    /// How many bytes of the file come before this body: 0 for the whole file.
    #[must_use]
    pub fn begins(&self) -> u64 {
        self.begins
    }

    /// Length of the whole file that the answer announced, in bytes.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.whole
    }

    /// When upstream says the file was last changed.
    #[must_use]
    pub fn last_modified(&self) -> Option<Timestamp> {
        let text = self.validators().last_modified?;
        let time = httpdate::parse_http_date(&text).ok()?;
        let seconds = time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        Some(Timestamp::from_unix(seconds.cast_signed()))
    }

    /// What a later conditional request needs.
    #[must_use]
    pub fn validators(&self) -> Validators {
        Validators::of(self.response.headers())
    }

    /// Where the bytes come from, for messages.
    #[must_use]
    pub fn url(&self) -> &ShownUrl {
        &self.url
    }

    /// Gives the peer as much time as so many bytes may take.
    pub fn limit_time(&mut self, bytes: u64) {
        self.deadline = deadline(&self.options, bytes);
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks, or too little comes for too long.
    pub async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, UpstreamError> {
        let asked = Instant::now();
        let via = |response: &Response| {
            let proxy = self.options.proxies.on_the_way_to(response.url());
            proxy.cloned().map(Box::new)
        };
        let chunk = match timeout(self.options.stall, self.response.chunk()).await {
            Err(_) => {
                return Err(UpstreamError::Stalled {
                    url: self.url.clone(),
                    via: via(&self.response),
                    after: self.options.stall,
                });
            }
            Ok(Err(source)) => {
                return Err(UpstreamError::Transport {
                    url: self.url.clone(),
                    via: via(&self.response),
                    source: source.without_url(),
                });
            }
            Ok(Ok(chunk)) => chunk,
        };
        let Some(bytes) = &chunk else {
            return Ok(None);
        };
        self.keep_pace(bytes.len() as u64, asked.elapsed())?;
        for throttle in &self.options.throttles {
            throttle.pass(bytes.len() as u64).await;
        }
        Ok(chunk)
    }

    /// Counts `bytes` that came after so long.
    fn keep_pace(&mut self, bytes: u64, waited: Duration) -> Result<(), UpstreamError> {
        self.pace.bytes += bytes;
        self.pace.waited += waited;
        self.pace.waited_in_all += waited;
        if let Some(after) = self.deadline.filter(|deadline| self.pace.waited_in_all > *deadline) {
            let url = self.url.clone();
            return Err(UpstreamError::Deadline { url, after });
        }
        if self.pace.waited >= self.options.window {
            if self.pace.bytes < self.options.least {
                let (least, within) = (self.options.least, self.options.window);
                return Err(UpstreamError::TooSlow {
                    url: self.url.clone(),
                    least,
                    within,
                });
            }
            (self.pace.waited, self.pace.bytes) = (Duration::ZERO, 0);
        }
        Ok(())
    }
}

/// How long so many bytes may take in all; `None` where any rate will do.
fn deadline(options: &ClientOptions, bytes: u64) -> Option<Duration> {
    if options.least == 0 {
        return None;
    }
    let windows = u128::from(bytes) / (u128::from(options.least) * u128::from(FASTER)).max(1);
    let windows = u32::try_from(windows).unwrap_or(u32::MAX);
    Some(LEAST_TIME.saturating_add(options.window.saturating_mul(windows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_have_more_time() {
        let options = ClientOptions::new(1);
        let hours = |bytes: u64| deadline(&options, bytes).expect("a limit").as_secs() / 3_600;
        assert_eq!(deadline(&options, 0), Some(LEAST_TIME));
        assert_eq!(hours(100 << 20), 14);
        // 4 GiB at the slowest rate that is taken for long: a month.
        assert_eq!(hours(4 << 30), 582);
        assert!(deadline(&options, u64::MAX).is_some());
        let patient = ClientOptions { least: 0, ..options };
        assert_eq!(deadline(&patient, 1), None);
    }
}

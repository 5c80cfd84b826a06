//! Requests and answers.
//!
//! Owns the HTTP client and its rules: HTTP/1.1 (several connections beat one of HTTP/2 in throughput), TLS as
//! configured (see `tls`), redirects that we follow ourselves because only then credentials surely stay where they belong,
//! and deadlines, without which a silent peer would hold a sync for ever.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode, redirect};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use url::Url;

use super::error::{SetupError, ShownUrl};
use super::tls::{Alias, SystemAuthorities, client_config};
use super::{LocalFile, UpstreamError, Validators, local};
use crate::model::{BaseUrl, RepoPath, Timestamp, TlsSettings};

/// Most redirections followed for one file. Download redirectors use one or two.
const MOST_REDIRECTS: usize = 5;

/// How patient a client is, and how many connections it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOptions {
    /// Connections to one host at the same time.
    pub connections: usize,
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the next bytes.
    pub stall: Duration,
    /// Within this time …
    pub window: Duration,
    /// … at least so many bytes have to come.
    pub least: u64,
}

impl ClientOptions {
    /// The usual patience: 30 s for a connection, 60 s for the next bytes, and 1 KiB/s over a minute.
    #[must_use]
    pub const fn new(connections: usize) -> Self {
        Self {
            connections,
            connect: Duration::from_secs(30),
            stall: Duration::from_mins(1),
            window: Duration::from_mins(1),
            least: 60 << 10,
        }
    }
}

/// Fetches files. Clones share their connections and limits.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    alias: Option<Arc<Alias>>,
    authorities: SystemAuthorities,
    options: ClientOptions,
    hosts: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// What an upstream says to a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is received")]
pub enum Answer {
    /// The version that the request told of is still the newest.
    Unchanged,
    /// There is no such file.
    Missing,
    /// The file.
    Body(Body),
    /// The file, which is on this machine.
    Local(LocalFile),
}

impl Client {
    /// A client that trusts the system's certificate authorities.
    ///
    /// # Errors
    /// [`UpstreamError::Setup`].
    pub fn new(options: &ClientOptions) -> Result<Self, UpstreamError> {
        let authorities = SystemAuthorities::default();
        let http = build(options, &TlsSettings::DEFAULT, &authorities, None).map_err(UpstreamError::Setup)?;
        Ok(Self {
            http,
            alias: None,
            authorities,
            options: *options,
            hosts: Arc::default(),
        })
    }

    /// A client for the archive at `base` that secures its connections by `tls`, and shares the limits of this one.
    ///
    /// # Errors
    /// [`UpstreamError::Setup`].
    pub fn secured(&self, base: &BaseUrl, tls: &TlsSettings) -> Result<Self, UpstreamError> {
        if *tls == TlsSettings::DEFAULT {
            return Ok(self.clone());
        }
        let alias = tls.server_name.as_ref().map(|name| Arc::new(Alias::new(base, name)));
        let http = build(&self.options, tls, &self.authorities, alias.as_ref()).map_err(UpstreamError::Setup)?;
        Ok(Self {
            http,
            alias,
            ..self.clone()
        })
    }

    /// Asks for the file at `path` of the archive at `base`; with `known`, only for another version than that.
    ///
    /// # Errors
    /// When no usable answer comes in time.
    pub async fn get(
        &self,
        base: &BaseUrl,
        path: &RepoPath,
        known: Option<&Validators>,
    ) -> Result<Answer, UpstreamError> {
        if let Some(root) = base.directory() {
            return look(root, path.clone()).await;
        }
        let mut url = base.file(path);
        let permit = self.permit(&url).await;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(&url, known).await?;
            match response.status() {
                StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Answer::Unchanged),
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Missing),
                StatusCode::OK => return self.body(&url, response, permit),
                status if status.is_redirection() && response.headers().contains_key(LOCATION) => {
                    url = target(base, &url, &response)?;
                }
                status => {
                    return Err(UpstreamError::Status {
                        url: ShownUrl::of(&url),
                        status: status.as_u16(),
                    });
                }
            }
        }
        Err(UpstreamError::Redirect {
            url: ShownUrl::of(&url),
            why: "more than five times",
        })
    }

    /// Sends a request; once more at once when a kept connection turns out to have been closed by the server.
    async fn send(&self, url: &Url, known: Option<&Validators>) -> Result<Response, UpstreamError> {
        match self.send_once(url, known).await {
            Err(UpstreamError::Transport { source, .. }) if was_dropped(&source) => self.send_once(url, known).await,
            outcome => outcome,
        }
    }

    async fn send_once(&self, url: &Url, known: Option<&Validators>) -> Result<Response, UpstreamError> {
        let aliased = self.alias.as_ref().and_then(|alias| alias.apply(url));
        let mut request = match aliased {
            Some((asked, host)) => self.http.get(asked).header(HOST, host),
            None => self.http.get(url.clone()),
        };
        request = request.header(ACCEPT_ENCODING, "identity");
        for (name, value) in known.into_iter().flat_map(Validators::conditions) {
            request = request.header(name, value);
        }
        let after = self.options.connect + self.options.stall;
        match timeout(after, request.send()).await {
            Err(_) => Err(UpstreamError::Stalled {
                url: ShownUrl::of(url),
                after,
            }),
            Ok(outcome) => outcome.map_err(|source| UpstreamError::transport(url, source)),
        }
    }

    fn body(&self, url: &Url, response: Response, permit: OwnedSemaphorePermit) -> Result<Answer, UpstreamError> {
        let encoding = response
            .headers()
            .get(CONTENT_ENCODING)
            .filter(|encoding| *encoding != "identity");
        if let Some(encoding) = encoding {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Err(UpstreamError::Encoded {
                url: ShownUrl::of(url),
                encoding,
            });
        }
        let pace = Pace::default();
        Ok(Answer::Body(Body {
            url: ShownUrl::of(url),
            response,
            options: self.options,
            pace,
            _permit: permit,
        }))
    }

    /// The right to one of the connections to the URL's host.
    async fn permit(&self, url: &Url) -> OwnedSemaphorePermit {
        let host = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or_default()
        );
        let limit = {
            // A panic elsewhere cannot leave the map half changed.
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(
                hosts
                    .entry(host)
                    .or_insert_with(|| Arc::new(Semaphore::new(self.options.connections))),
            )
        };
        limit.acquire_owned().await.expect("the limits are never closed")
    }
}

/// Looks for a file of an archive on this machine. It is always read anew: a request costs nothing there.
async fn look(root: PathBuf, path: RepoPath) -> Result<Answer, UpstreamError> {
    let found = tokio::task::spawn_blocking(move || local::open(&root, &path)).await;
    let found = found.map_err(|_| UpstreamError::Worker)??;
    Ok(found.map_or(Answer::Missing, Answer::Local))
}

/// A file that is coming in.
#[derive(Debug)]
pub struct Body {
    url: ShownUrl,
    response: Response,
    options: ClientOptions,
    pace: Pace,
    _permit: OwnedSemaphorePermit,
}

/// Bytes that came in some time of waiting for them. The time that our own side takes does not count.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Body {
    /// Length that the answer announced, in bytes.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
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

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks, or too little comes for too long.
    pub async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, UpstreamError> {
        let asked = Instant::now();
        let chunk = match timeout(self.options.stall, self.response.chunk()).await {
            Err(_) => {
                return Err(UpstreamError::Stalled {
                    url: self.url.clone(),
                    after: self.options.stall,
                });
            }
            Ok(Err(source)) => {
                return Err(UpstreamError::Transport {
                    url: self.url.clone(),
                    source: source.without_url(),
                });
            }
            Ok(Ok(chunk)) => chunk,
        };
        self.pace.bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        self.pace.waited += asked.elapsed();
        if self.pace.waited >= self.options.window {
            if self.pace.bytes < self.options.least && chunk.is_some() {
                let (least, within) = (self.options.least, self.options.window);
                return Err(UpstreamError::TooSlow {
                    url: self.url.clone(),
                    least,
                    within,
                });
            }
            self.pace = Pace::default();
        }
        Ok(chunk)
    }
}

/// Whether a connection ended before an answer began, as kept ones do when the server has closed them meanwhile.
fn was_dropped(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

/// Where a redirection leads, if it may be followed. Whatever upstream writes there, credentials are those of the
/// configuration, and go to its host only.
fn target(base: &BaseUrl, from: &Url, response: &Response) -> Result<Url, UpstreamError> {
    let refused = |why| UpstreamError::Redirect {
        url: ShownUrl::of(from),
        why,
    };
    let location = response
        .headers()
        .get(LOCATION)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    // Parsers of URLs drop tabs and the like, which hide what is meant.
    let location = std::str::from_utf8(location)
        .ok()
        .filter(|text| !text.chars().any(char::is_control));
    let location = location.ok_or_else(|| refused("to something unreadable"))?;
    let mut to = from
        .join(location)
        .map_err(|_| refused("to something that is no URL"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => return Err(refused("from https to http")),
        (_, "http" | "https") => {}
        _ => return Err(refused("to something other than http or https")),
    }
    let configured = base.with_credentials();
    let ours = to.origin() == configured.origin();
    let (user, password) = if ours {
        (configured.username(), configured.password())
    } else {
        ("", None)
    };
    // Neither fails for a URL of http or https.
    let (_, _) = (to.set_username(user), to.set_password(password));
    Ok(to)
}

fn build(
    options: &ClientOptions,
    tls: &TlsSettings,
    authorities: &SystemAuthorities,
    alias: Option<&Arc<Alias>>,
) -> Result<reqwest::Client, SetupError> {
    let mut http = reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(tls, authorities)?)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(options.connect)
        .redirect(redirect::Policy::none())
        .referer(false)
        .pool_max_idle_per_host(options.connections)
        .user_agent(concat!("mirrorctl/", env!("CARGO_PKG_VERSION")));
    if let Some(alias) = alias {
        http = http.dns_resolver(Arc::clone(alias));
    }
    Ok(http.build()?)
}

#[cfg(test)]
mod tests;

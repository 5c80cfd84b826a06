//! Requests and answers.
//!
//! Owns the HTTP client and its rules: HTTP/1.1 (several connections beat one of HTTP/2 in throughput), TLS as
//! configured (see `tls`), redirects that we follow ourselves because only then credentials surely stay where they belong,
//! and deadlines, without which a silent peer would hold a sync for ever.

mod body;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, DATE, HOST, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, redirect};
use rustls::ClientConfig;
use tokio::time::timeout;
use url::Url;

use super::error::{SetupError, ShownUrl};
use super::hosts::{Hosts, Visit};
use super::retry::asked_wait;
use super::scope::{RedirectResolver, Scope};
use super::tls::{Alias, SystemAuthorities, client_config};
use super::{Credentials, LocalFile, Proxies, Retry, Throttle, UpstreamError, Validators, local, range};
use crate::model::{BaseUrl, RepoPath, TlsSettings};

pub use body::Body;

/// Most redirections followed for one file. Download redirectors use one or two.
const MOST_REDIRECTS: usize = 5;

/// How patient a client is, how many connections it opens, and by which way.
#[derive(Debug, Clone)]
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
    /// When failed requests are made again.
    pub retry: Retry,
    /// The limits of bytes a second, all of which hold.
    pub throttles: Vec<Arc<Throttle>>,
    /// The way to upstream.
    pub proxies: Proxies,
    /// What servers are told where the URL says nothing.
    pub credentials: Arc<Credentials>,
    /// Whom connections are judged by where the mirror names nobody.
    pub authorities: SystemAuthorities,
}

impl ClientOptions {
    /// The usual patience: 30 s for a connection, 60 s for the next bytes, and 1 KiB/s over a minute.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        Self {
            connections,
            connect: Duration::from_secs(30),
            stall: Duration::from_mins(1),
            window: Duration::from_mins(1),
            least: 60 << 10,
            retry: Retry::DEFAULT,
            throttles: Vec::new(),
            proxies: Proxies::default(),
            credentials: Arc::default(),
            authorities: SystemAuthorities::default(),
        }
    }
}

/// Fetches files. Clones share their connections and limits.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    options: Arc<ClientOptions>,
    hosts: Arc<Hosts>,
    /// As connections are secured, but telling nobody who the client is.
    anonymous: ClientConfig,
    /// For hosts that are asked under another name.
    aliased: Arc<Vec<Aliased>>,
    /// For what redirections lead to, by the scope of the server that redirects.
    elsewhere: Arc<Mutex<HashMap<Scope, reqwest::Client>>>,
}

/// What is asked of an upstream.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// The whole file.
    Whole,
    /// The whole file, if it is another version than this.
    Changed(&'a Validators),
    /// What follows the first bytes of the file.
    Rest {
        /// How many bytes are there already.
        from: u64,
        /// The version they are of, where that is known: of another one, the whole file comes.
        of: Option<&'a Validators>,
    },
}

/// What an upstream says to a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is received")]
pub enum Answer {
    /// The version that the request told of is still the newest.
    Unchanged,
    /// There is no such file.
    Missing,
    /// The file, or what was asked for of it.
    Body(Body),
    /// The file, which is on this machine.
    Local(LocalFile),
}

/// A place whose host is asked under another name.
#[derive(Debug)]
struct Aliased {
    base: BaseUrl,
    alias: Alias,
    http: reqwest::Client,
}

/// A request on its way through redirections.
struct Hop<'a> {
    base: &'a BaseUrl,
    alias: Option<&'a Alias>,
    url: Url,
    ask: Ask<'a>,
    /// What the connection is made with.
    http: reqwest::Client,
}

impl Hop<'_> {
    /// Whether the mirror's own server is asked: no other is told credentials.
    fn is_at_home(&self) -> bool {
        self.url.origin() == self.base.with_credentials().origin()
    }
}

impl Client {
    /// A client that trusts the system's certificate authorities.
    ///
    /// # Errors
    /// [`UpstreamError::Setup`].
    pub fn new(options: &ClientOptions) -> Result<Self, UpstreamError> {
        let tls = client_config(&TlsSettings::DEFAULT, &options.authorities).map_err(UpstreamError::Setup)?;
        Ok(Self {
            http: build(options, &tls, None::<RedirectResolver>).map_err(UpstreamError::Setup)?,
            hosts: Arc::new(Hosts::new(options.connections, options.retry)),
            options: Arc::new(options.clone()),
            anonymous: tls,
            aliased: Arc::default(),
            elsewhere: Arc::default(),
        })
    }

    /// A client for the archive at `places` that secures its connections by `tls`, and shares the limits of this one.
    ///
    /// # Errors
    /// [`UpstreamError::Setup`].
    pub fn secured(&self, places: &[BaseUrl], tls: &TlsSettings) -> Result<Self, UpstreamError> {
        if *tls == TlsSettings::DEFAULT {
            return Ok(self.clone());
        }
        self.try_secured(places, tls).map_err(UpstreamError::Setup)
    }

    fn try_secured(&self, places: &[BaseUrl], tls: &TlsSettings) -> Result<Self, SetupError> {
        let config = client_config(tls, &self.options.authorities)?;
        let mut aliased = Vec::new();
        if let Some(name) = &tls.server_name {
            for base in places.iter().filter(|base| base.directory().is_none()) {
                let alias = Alias::new(base, name);
                let http = build(&self.options, &config, Some(alias.clone()))?;
                let base = base.clone();
                aliased.push(Aliased { base, alias, http });
            }
        }
        let anonymous = TlsSettings {
            identity: None,
            ..tls.clone()
        };
        Ok(Self {
            http: build(&self.options, &config, None::<RedirectResolver>)?,
            anonymous: client_config(&anonymous, &self.options.authorities)?,
            aliased: Arc::new(aliased),
            elsewhere: Arc::default(),
            ..self.clone()
        })
    }

    /// When failed requests are to be made again.
    pub(super) fn retry(&self) -> Retry {
        self.options.retry
    }

    /// Asks once for the file at `path` of the archive at `base`.
    ///
    /// # Errors
    /// When no usable answer comes in time.
    pub async fn get(&self, base: &BaseUrl, path: &RepoPath, ask: Ask<'_>) -> Result<Answer, UpstreamError> {
        if let Some(root) = base.directory() {
            return look(root, path.clone()).await;
        }
        let aliased = self.aliased.iter().find(|aliased| aliased.base == *base);
        let mut hop = Hop {
            base,
            alias: aliased.map(|aliased| &aliased.alias),
            url: base.file(path),
            ask,
            http: aliased.map_or(&self.http, |aliased| &aliased.http).clone(),
        };
        for _ in 0..=MOST_REDIRECTS {
            let visit = self.hosts.enter(&hop.url).await;
            let response = self.send(&hop).await?;
            note(&response, &visit);
            match response.status() {
                StatusCode::NOT_MODIFIED if matches!(ask, Ask::Changed(_)) => return Ok(Answer::Unchanged),
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Missing),
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return self.body(&hop, response, visit),
                StatusCode::RANGE_NOT_SATISFIABLE if matches!(ask, Ask::Rest { .. }) => {
                    let url = ShownUrl::of(&hop.url);
                    return Err(UpstreamError::WrongRange { url });
                }
                status if status.is_redirection() && response.headers().contains_key(LOCATION) => {
                    hop = self.follow(hop, &response)?;
                }
                status => {
                    return Err(UpstreamError::Status {
                        url: ShownUrl::of(&hop.url),
                        status: status.as_u16(),
                        elsewhere: !hop.is_at_home(),
                    });
                }
            }
        }
        Err(UpstreamError::Redirect {
            url: ShownUrl::of(&hop.url),
            why: "redirects more than five times",
        })
    }

    /// The request that a redirection asks for.
    fn follow<'a>(&self, hop: Hop<'a>, response: &Response) -> Result<Hop<'a>, UpstreamError> {
        let url = target(hop.base, &hop.url, response.headers().get(LOCATION))?;
        // The mirror's own host is the operator's choice, whatever its address.
        let ours = hop.base.with_credentials().host();
        if url.host() == ours && hop.url.host() == ours {
            return Ok(Hop { url, ..hop });
        }
        // A proxy looks names up itself, and its own address says nothing of the server behind it.
        let proxied = self.options.proxies.may_cover(hop.url.scheme());
        let address = response.remote_addr().filter(|_| !proxied);
        let from = address.map_or_else(|| Scope::of_host(&hop.url), |address| Scope::of(address.ip()));
        if !from.may_lead_to(Scope::of_host(&url)) {
            return Err(UpstreamError::Redirect {
                url: ShownUrl::of(&hop.url),
                why: "redirects to an address of this machine or site",
            });
        }
        let http = self.elsewhere(from).map_err(UpstreamError::Setup)?;
        Ok(Hop {
            alias: None,
            url,
            http,
            ..hop
        })
    }

    /// What connections to elsewhere are made with, when a server of scope `from` redirects there. Like the mirror's
    /// password, its client certificate is none of their business.
    fn elsewhere(&self, from: Scope) -> Result<reqwest::Client, SetupError> {
        // A panic elsewhere cannot leave the map half changed.
        let mut known = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = known.get(&from) {
            return Ok(http.clone());
        }
        let proxies = self.options.proxies.hosts();
        let http = build(&self.options, &self.anonymous, Some(RedirectResolver { from, proxies }))?;
        known.insert(from, http.clone());
        Ok(http)
    }

    /// Sends a request; once more at once when a kept connection turns out to have been closed by the server.
    async fn send(&self, hop: &Hop<'_>) -> Result<Response, UpstreamError> {
        match self.send_once(hop).await {
            Err(UpstreamError::Transport { source, .. }) if was_dropped(&source) => self.send_once(hop).await,
            outcome => outcome,
        }
    }

    async fn send_once(&self, hop: &Hop<'_>) -> Result<Response, UpstreamError> {
        let aliased = hop.alias.and_then(|alias| alias.apply(&hop.url));
        let mut request = match aliased {
            Some((asked, host)) => hop.http.get(asked).header(HOST, host),
            None => hop.http.get(hop.url.clone()),
        };
        request = request.header(ACCEPT_ENCODING, "identity");
        match hop.ask {
            Ask::Whole => {}
            Ask::Changed(known) => {
                for (name, value) in known.conditions() {
                    request = request.header(name, value);
                }
            }
            Ask::Rest { from, of } => {
                for (name, value) in range::headers(from, of) {
                    request = request.header(name, value);
                }
            }
        }
        let configured = hop.base.with_credentials();
        if configured.username().is_empty()
            && configured.password().is_none()
            && hop.is_at_home()
            && let Some(login) = self.options.credentials.find(&hop.url)
        {
            request = request.basic_auth(&login.user, Some(&login.password));
        }
        let after = self.options.connect + self.options.stall;
        match timeout(after, request.send()).await {
            Err(_) => Err(UpstreamError::Stalled {
                url: ShownUrl::of(&hop.url),
                via: self.options.proxies.on_the_way_to(&hop.url).cloned().map(Box::new),
                after,
            }),
            Ok(outcome) => outcome.map_err(|source| UpstreamError::transport(&hop.url, &self.options.proxies, source)),
        }
    }

    fn body(&self, hop: &Hop<'_>, response: Response, visit: Visit) -> Result<Answer, UpstreamError> {
        let url = ShownUrl::of(&hop.url);
        let encoding = response
            .headers()
            .get(CONTENT_ENCODING)
            .filter(|encoding| *encoding != "identity");
        if let Some(encoding) = encoding {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Err(UpstreamError::Encoded { url, encoding });
        }
        let part = response.status() == StatusCode::PARTIAL_CONTENT;
        let (begins, whole) = match hop.ask {
            _ if !part => (0, response.content_length()),
            Ask::Rest { from, .. } => match range::whole_length(response.headers(), from) {
                Some(whole) => (from, Some(whole)),
                None => return Err(UpstreamError::WrongRange { url }),
            },
            // Nobody asked for a part.
            Ask::Whole | Ask::Changed(_) => return Err(UpstreamError::WrongRange { url }),
        };
        Ok(Answer::Body(Body::new(
            url,
            response,
            (begins, whole),
            Arc::clone(&self.options),
            visit,
        )))
    }
}

/// Looks for a file of an archive on this machine. It is always read anew: a request costs nothing there.
async fn look(root: PathBuf, path: RepoPath) -> Result<Answer, UpstreamError> {
    let found = tokio::task::spawn_blocking(move || local::open(&root, &path)).await;
    let found = found.map_err(|_| UpstreamError::Worker)??;
    Ok(found.map_or(Answer::Missing, Answer::Local))
}

/// What an answer says of how its host is doing.
fn note(response: &Response, visit: &Visit) {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let header = |name| {
                response
                    .headers()
                    .get(name)
                    .and_then(|value: &HeaderValue| value.to_str().ok())
            };
            visit.overloaded(header(RETRY_AFTER).and_then(|asked| asked_wait(asked, header(DATE))));
        }
        status if status.is_server_error() => {}
        _ => visit.answered(),
    }
}

/// Whether a connection ended before an answer began, as kept ones do when the server has closed them meanwhile.
fn was_dropped(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

/// Where a redirection leads, if it may be followed. Whatever upstream writes there, credentials are those of the
/// configuration, and go to its host only.
fn target(base: &BaseUrl, from: &Url, location: Option<&HeaderValue>) -> Result<Url, UpstreamError> {
    let refused = |why| UpstreamError::Redirect {
        url: ShownUrl::of(from),
        why,
    };
    let location = location.map(HeaderValue::as_bytes).unwrap_or_default();
    // Parsers of URLs drop tabs and the like, which hide what is meant.
    let location = std::str::from_utf8(location)
        .ok()
        .filter(|text| !text.chars().any(char::is_control));
    let location = location.ok_or_else(|| refused("redirects to something unreadable"))?;
    let mut to = from
        .join(location)
        .map_err(|_| refused("redirects to something that is no URL"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => return Err(refused("redirects from https to http")),
        (_, "http" | "https") => {}
        _ => return Err(refused("redirects to something other than http or https")),
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

/// What connections are made with, where names are looked up by `resolver` if there is one.
fn build(
    options: &ClientOptions,
    tls: &ClientConfig,
    resolver: Option<impl Resolve + 'static>,
) -> Result<reqwest::Client, SetupError> {
    let mut http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(options.connect)
        .redirect(redirect::Policy::none())
        .referer(false)
        .pool_max_idle_per_host(options.connections)
        .user_agent(concat!("mirrorctl/", env!("CARGO_PKG_VERSION")));
    if let Some(resolver) = resolver {
        http = http.dns_resolver(Arc::new(resolver));
    }
    Ok(options.proxies.configure(http)?.build()?)
}

#[cfg(test)]
mod tests;

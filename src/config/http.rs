//! The tables `[http]` and `[mirrors.ID.http]`: how patient a fetch is, how fast, and by which way it goes.
//!
//! Owns these keys with their defaults, what a mirror inherits, and the proxies that the environment names. It opens
//! no connection and reads no credentials.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Located, Notes, Spot};
use super::file::RawHttp;
use super::size::parse_size;
use super::{Keyrings, Surroundings, TlsFiles, resolve};
use crate::model::{ProxyUrl, ProxyUrlError};

/// How files are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the next bytes.
    pub read_timeout: Duration,
    /// Fewest bytes a second, over a minute, that a peer has to send; 0 for any.
    pub min_rate: u64,
    /// How often a temporary failure is tried again.
    pub retries: u32,
    /// The wait before the first of these; each further one is twice as long.
    pub backoff: Duration,
    /// Most bytes a second: of all mirrors together in the global table, of one mirror in its own.
    pub max_rate: Option<NonZeroU64>,
    /// The way to upstream.
    pub proxy: ProxySettings,
    /// The file with credentials; `None` means the one of APT.
    pub auth_conf: Option<PathBuf>,
}

impl HttpSettings {
    /// What applies when nothing is configured.
    #[must_use]
    pub fn defaults() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_mins(1),
            min_rate: 1 << 10,
            retries: 10,
            backoff: Duration::from_millis(500),
            max_rate: None,
            proxy: ProxySettings::default(),
            auth_conf: None,
        }
    }
}

/// The proxies to use, by the scheme of what is fetched. Without one, connections are direct.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxySettings {
    /// For `http:` URLs.
    pub http: Option<ProxyUrl>,
    /// For `https:` URLs.
    pub https: Option<ProxyUrl>,
    /// Hosts to which connections are direct, as in the variable `NO_PROXY`.
    pub except: Option<String>,
}

/// The word for direct connections, whatever the environment says.
const DIRECT: &str = "none";

/// Most retries: with the longest wait between them, this is hours.
const MOST_RETRIES: i64 = 100;

/// What `raw` says over `inherited`. The rate is not inherited: that of the global table holds for all mirrors together.
pub(super) fn settings(
    raw: &RawHttp,
    inherited: &HttpSettings,
    surroundings: &Surroundings<'_>,
    notes: &mut Notes,
) -> HttpSettings {
    let auth_conf = raw.auth_conf.as_ref();
    HttpSettings {
        connect_timeout: wait(raw.connect_timeout.as_ref(), notes).unwrap_or(inherited.connect_timeout),
        read_timeout: wait(raw.read_timeout.as_ref(), notes).unwrap_or(inherited.read_timeout),
        min_rate: rate(raw.min_rate.as_ref(), notes).unwrap_or(inherited.min_rate),
        retries: retries(raw.retries.as_ref(), notes).unwrap_or(inherited.retries),
        backoff: wait(raw.backoff.as_ref(), notes).unwrap_or(inherited.backoff),
        max_rate: rate(raw.max_rate.as_ref(), notes).and_then(NonZeroU64::new),
        proxy: proxy(raw.proxy.as_ref(), notes).unwrap_or_else(|| inherited.proxy.clone()),
        auth_conf: auth_conf
            .and_then(|path| resolve::absolute(path, surroundings, notes))
            .or_else(|| inherited.auth_conf.clone()),
    }
}

/// A length of time that is worth waiting.
fn wait(raw: Option<&Located<String>>, notes: &mut Notes) -> Option<Duration> {
    let found = resolve::duration(raw, notes)?;
    if found.is_zero() {
        notes.fault(raw?, "must be longer than 0");
        return None;
    }
    Some(found)
}

/// An amount of bytes a second; `0` means that there is no such limit.
fn rate(raw: Option<&Located<String>>, notes: &mut Notes) -> Option<u64> {
    let raw = raw?;
    let text = raw.value.strip_suffix("/s").unwrap_or(&raw.value);
    match if text == "0" { Ok(0) } else { parse_size(text) } {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            notes.fault(raw, format!("{error}, but is {:?}", raw.value));
            None
        }
    }
}

fn retries(raw: Option<&Located<i64>>, notes: &mut Notes) -> Option<u32> {
    let raw = raw?;
    let number = u32::try_from(raw.value).ok().filter(|_| raw.value <= MOST_RETRIES);
    if number.is_none() {
        notes.fault(
            raw,
            format!("must be between 0 and {MOST_RETRIES}, but is {}", raw.value),
        );
    }
    number
}

/// The proxy of a `proxy` key, for both schemes.
fn proxy(raw: Option<&Located<String>>, notes: &mut Notes) -> Option<ProxySettings> {
    let raw = raw?;
    if raw.value == DIRECT {
        return Some(ProxySettings::default());
    }
    let url: Result<ProxyUrl, _> = raw.value.parse();
    match url {
        Ok(url) => Some(ProxySettings {
            http: Some(url.clone()),
            https: Some(url),
            except: None,
        }),
        Err(error) => {
            let hint = "write \"none\" for direct connections";
            notes.fault_with_hint(raw, error.to_string(), hint);
            None
        }
    }
}

/// The proxies that the environment names, as other programs read it: in lower case first. Only commands that fetch or
/// connect look, so that a wrong one keeps nobody from mounting.
pub(super) fn proxies_of_environment(surroundings: &Surroundings<'_>, notes: &mut Notes) -> ProxySettings {
    match (surroundings.keyrings, surroundings.tls_files) {
        (Keyrings::NotLookedAt, TlsFiles::NotLookedAt) => return ProxySettings::default(),
        (Keyrings::MustBeReadable, _) | (_, TlsFiles::JudgedBy(_)) => {}
    }
    let all = variable(["all_proxy", "ALL_PROXY"], surroundings, notes);
    let mut of = |names| variable(names, surroundings, notes).or_else(|| all.clone());
    let (http, https) = (of(["http_proxy", "HTTP_PROXY"]), of(["https_proxy", "HTTPS_PROXY"]));
    let except = ["no_proxy", "NO_PROXY"]
        .into_iter()
        .find_map(|name| (surroundings.variable)(name).filter(|value| !value.is_empty()));
    ProxySettings {
        http,
        https,
        except: except.map(|value| value.to_string_lossy().into_owned()),
    }
}

fn variable(names: [&'static str; 2], surroundings: &Surroundings<'_>, notes: &mut Notes) -> Option<ProxyUrl> {
    let (name, value) = names.into_iter().find_map(|name| {
        let value = (surroundings.variable)(name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })?;
    let url = value.to_str().map_or(Err(ProxyUrlError::Characters), str::parse);
    url.map_err(|error| {
        let hint = "correct or unset the variable, or set the key proxy in [http]".to_owned();
        notes.add(Spot::Variable(name), None, error.to_string(), Some(hint));
    })
    .ok()
}

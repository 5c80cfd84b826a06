//! Where a proxy is: the URL of an HTTP or SOCKS proxy.
//!
//! Owns [`ProxyUrl`], which keeps credentials out of everything that is shown. It opens no connection.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The schemes of proxies: how mirrorctl speaks with the proxy, not what it fetches through it.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Port of a SOCKS proxy that names none (the one registered for SOCKS).
const SOCKS_PORT: u16 = 1080;

/// The URL of a proxy. Shown without user name and password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProxyUrl(Url);

/// Text that is not the URL of a proxy. Never repeats the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// Not a URL.
    #[error("is not the URL of a proxy, such as \"http://proxy.example:3128\"")]
    Syntax(#[source] url::ParseError),
    /// A scheme that no proxy of ours speaks.
    #[error("has the scheme {0:?}, which is not one of http, https, socks4, socks4a, socks5, socks5h")]
    Scheme(String),
    /// No host.
    #[error("names no host")]
    Host,
    /// A path, query or fragment, which a proxy has no use for.
    #[error("has something after the host and port")]
    Tail,
    /// Blanks or control characters, which URL parsers drop.
    #[error("has blanks or control characters")]
    Characters,
}

impl ProxyUrl {
    /// The complete URL with credentials: for the room with the network, never for output.
    #[must_use]
    pub fn with_credentials(&self) -> &Url {
        &self.0
    }

    /// The host that connections to the proxy go to.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    /// Reads a URL; `host:port` alone means an HTTP proxy, as in the environment of other programs.
    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(ProxyUrlError::Characters);
        }
        let bare = !text.contains("://");
        let url = if bare {
            Url::parse(&format!("http://{text}"))
        } else {
            Url::parse(text)
        };
        let mut url = url.map_err(ProxyUrlError::Syntax)?;
        if !SCHEMES.contains(&url.scheme()) {
            return Err(ProxyUrlError::Scheme(url.scheme().to_owned()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(ProxyUrlError::Host);
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyUrlError::Tail);
        }
        if url.scheme().starts_with("socks") && url.port().is_none() {
            url.set_port(Some(SOCKS_PORT)).map_err(|()| ProxyUrlError::Host)?;
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // Both fail only for URLs that cannot have credentials.
        let (_, _) = (shown.set_username(""), shown.set_password(None));
        f.pad(shown.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_understood_and_shown_without_secrets() {
        for (text, shown) in [
            ("http://p:3128", "http://p:3128"),
            ("p:3128", "http://p:3128"),
            ("10.0.0.1:3128/", "http://10.0.0.1:3128"),
            ("http://bob:secret@p:3128/", "http://p:3128"),
            ("https://p", "https://p"),
            ("socks5://p", "socks5://p:1080"),
            ("socks5h://bob:secret@[::1]:9050", "socks5h://[::1]:9050"),
        ] {
            let url: ProxyUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("secret"));
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        use ProxyUrlError as E;
        for text in ["ftp://p", "gopher://p:70", "javascript://x", "file:///etc/passwd"] {
            assert!(matches!(text.parse::<ProxyUrl>(), Err(E::Scheme(_))), "{text}");
        }
        for text in ["http://", "", "p:99999", "http://a b"] {
            assert!(text.parse::<ProxyUrl>().is_err(), "{text}");
        }
        for text in ["p:1\r\nX: y", "p:1\t", " p:1", "http://p\u{0}"] {
            assert_eq!(text.parse::<ProxyUrl>(), Err(E::Characters), "{text:?}");
        }
        for text in ["http://p/path", "http://p/?q", "socks5://p/#f"] {
            assert_eq!(text.parse::<ProxyUrl>(), Err(E::Tail), "{text}");
        }
    }
}

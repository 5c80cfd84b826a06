//! The way to upstream: direct, or through proxies.
//!
//! Owns which proxy is used for which scheme. That a host is reached directly in spite of a proxy is decided by the
//! list in the form of `NO_PROXY`.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, NoProxy, Proxy};
use url::Url;

use crate::model::{BaseUrl, ProxyUrl};

/// The proxies to use; none means direct connections, whatever the environment says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// For `http:` URLs.
    pub http: Option<ProxyUrl>,
    /// For `https:` URLs.
    pub https: Option<ProxyUrl>,
    /// Hosts to which connections are direct, as in the variable `NO_PROXY`.
    pub except: Option<String>,
}

impl Proxies {
    /// Whether URLs of `scheme` may go through a proxy: then it is the proxy who looks their names up.
    pub(super) fn may_cover(&self, scheme: &str) -> bool {
        self.for_scheme(scheme).is_some()
    }

    fn for_scheme(&self, scheme: &str) -> Option<&ProxyUrl> {
        match scheme {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }
    }

    /// The proxy that files of the archive at `base` are fetched through.
    #[must_use]
    pub fn before(&self, base: &BaseUrl) -> Option<&ProxyUrl> {
        self.on_the_way_to(base.with_credentials())
    }

    /// The proxy that `url` is fetched through.
    pub(super) fn on_the_way_to(&self, url: &Url) -> Option<&ProxyUrl> {
        let proxy = self.for_scheme(url.scheme())?;
        // The rules of the HTTP client, which does not tell what came of them.
        let rules = Matcher::builder()
            .all("http://any")
            .no(self.except.clone().unwrap_or_default());
        let asked = url.as_str().parse().ok()?;
        rules.build().intercept(&asked).map(|_| proxy)
    }

    /// The hosts of the proxies.
    pub(super) fn hosts(&self) -> Vec<String> {
        let both = self.http.iter().chain(&self.https);
        both.map(|proxy| proxy.host().to_owned()).collect()
    }

    /// Makes a client use them, and nothing else.
    pub(super) fn configure(&self, builder: ClientBuilder) -> Result<ClientBuilder, reqwest::Error> {
        let except = self.except.as_deref().and_then(NoProxy::from_string);
        // Also keeps the library from looking at the environment itself.
        let mut builder = builder.no_proxy();
        if let Some(proxy) = &self.http {
            let proxy = Proxy::http(proxy.with_credentials().clone())?;
            builder = builder.proxy(proxy.no_proxy(except.clone()));
        }
        if let Some(proxy) = &self.https {
            let proxy = Proxy::https(proxy.with_credentials().clone())?;
            builder = builder.proxy(proxy.no_proxy(except));
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_on_the_way_is_known() {
        let proxies = Proxies {
            http: Some("socks5h://bob:secret@h".parse().expect("a proxy")),
            https: Some("http://s:3128".parse().expect("a proxy")),
            except: Some("intern.example, 10.0.0.0/8".to_owned()),
        };
        let way = |proxies: &Proxies, url: &str| {
            let url = url.parse().expect("a URL");
            proxies.on_the_way_to(&url).map(ToString::to_string)
        };
        for (url, proxy) in [
            ("http://archive.example/a?b#c", Some("socks5h://h:1080")),
            ("https://archive.example/", Some("http://s:3128")),
            ("https://[2001:db8::1]/", Some("http://s:3128")),
            ("http://mirror.intern.example/", None),
            ("https://10.1.2.3:8443/", None),
        ] {
            assert_eq!(way(&proxies, url).as_deref(), proxy, "{url}");
            assert_eq!(way(&Proxies::default(), url), None);
        }
    }
}

//! The way to upstream: direct, or through proxies.
//!
//! Owns which proxy is used for which scheme. That a host is reached directly in spite of a proxy is decided by the
//! list in the form of `NO_PROXY`.

use reqwest::{ClientBuilder, NoProxy, Proxy};

use crate::model::ProxyUrl;

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
        match scheme {
            "https" => self.https.is_some(),
            _ => self.http.is_some(),
        }
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

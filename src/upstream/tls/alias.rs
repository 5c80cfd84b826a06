//! A host that is asked under another name than its URL's.
//!
//! Owns `server_name`: the HTTP library takes the name for TLS from the URL, so requests go to a URL with the other name,
//! that name leads to the configured host's addresses, and the header `Host` stays what it was. Hosts that upstream
//! redirects to keep their own names.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use url::Url;

use crate::model::{BaseUrl, HostName};

/// The name under which a mirror's https host is asked.
#[derive(Debug, Clone)]
pub(in crate::upstream) struct Alias {
    /// The host of the mirror's URL.
    configured: Url,
    name: HostName,
}

impl Alias {
    /// Has the host of `base` answer to `name`.
    pub(in crate::upstream) fn new(base: &BaseUrl, name: &HostName) -> Self {
        Self {
            configured: base.with_credentials().clone(),
            name: name.clone(),
        }
    }

    /// The URL to ask instead of `url`, and the value of `Host`; `None` where the URL's own name counts.
    pub(in crate::upstream) fn apply(&self, url: &Url) -> Option<(Url, HeaderValue)> {
        let same_host = url.host_str() == self.configured.host_str();
        if url.scheme() != "https" || !same_host {
            return None;
        }
        let host = url.host_str()?;
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let mut asked = url.clone();
        asked.set_host(Some(self.name.as_str())).ok()?;
        Some((asked, HeaderValue::from_str(&host).ok()?))
    }

    /// The host whose addresses `name` has.
    fn host_behind(&self, name: &str) -> String {
        let configured = self.configured.host_str().unwrap_or_default();
        if name.eq_ignore_ascii_case(self.name.as_str()) {
            configured.trim_matches(['[', ']']).to_owned()
        } else {
            name.to_owned()
        }
    }
}

impl Resolve for Alias {
    fn resolve(&self, name: Name) -> Resolving {
        let host = self.host_behind(name.as_str());
        Box::pin(async move {
            // The HTTP library puts the URL's port in the place of this one.
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(base: &str) -> Alias {
        let base = base.parse().expect("a URL");
        Alias::new(&base, &"mirror.example".parse().expect("a name"))
    }

    fn asked(base: &str, url: &str) -> Option<(String, String)> {
        let (url, host) = alias(base).apply(&Url::parse(url).expect("a URL"))?;
        Some((url.to_string(), host.to_str().expect("text").to_owned()))
    }

    #[test]
    fn only_the_configured_host_answers_to_the_other_name() {
        let base = "https://bob:secret@10.0.0.5:8443/debian";
        assert_eq!(
            asked(base, "https://bob:secret@10.0.0.5:8443/debian/x"),
            Some((
                "https://bob:secret@mirror.example:8443/debian/x".into(),
                "10.0.0.5:8443".into()
            ))
        );
        for other in ["http://10.0.0.5:8443/x", "https://elsewhere/x"] {
            assert_eq!(asked(base, other), None, "{other}");
        }
        assert_eq!(
            asked("https://[::1]/d", "https://[::1]/d/x"),
            Some(("https://mirror.example/d/x".into(), "[::1]".into()))
        );
    }

    #[test]
    fn the_other_name_leads_to_the_configured_host() {
        let alias = alias("https://[::1]:1/d");
        assert_eq!(alias.host_behind("Mirror.Example"), "::1");
        assert_eq!(alias.host_behind("elsewhere"), "elsewhere");
    }
}

//! How far an address reaches, and where a redirection may lead.
//!
//! Owns the rule that keeps an upstream from using mirrorctl against its neighbours: a redirection leads to a public
//! address, or to one of the same scope as that of the server which redirects. Names are judged by the addresses that
//! connections are then made to, so that a name that changes its mind gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// Anywhere.
    Public,
    /// A site: RFC 1918, carriers' NAT (RFC 6598), unique local IPv6, benchmarks and documentation.
    Private,
    /// One link, on which cloud machines keep their metadata services.
    Link,
    /// This machine, in all the ways of writing it.
    Loopback,
}

impl Scope {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            // "This network": Linux connects 0.0.0.0 to the machine itself.
            [0 | 127, ..] => Self::Loopback,
            [169, 254, ..] => Self::Link,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Self::Private,
            // Benchmarks, protocol assignments, documentation, multicast and what is reserved: nobody's archive.
            [198, 18..=19, ..] | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => {
                Self::Private
            }
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let [first, second, ..] = address.segments();
        let embedded = |high: u16, low: u16| {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Self::Loopback,
            // Ways to write an IPv4 address: compatible, NAT64, 6to4.
            [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                embedded(high, low)
            }
            _ if first & 0xffc0 == 0xfe80 => Self::Link,
            _ if first & 0xfe00 == 0xfc00 || first & 0xff00 == 0xff00 => Self::Private,
            _ if first & 0xffc0 == 0xfec0 || (first, second) == (0x2001, 0xdb8) => Self::Private,
            _ => Self::Public,
        }
    }

    /// What can be told of a URL's host without asking anybody; a name may still lead anywhere.
    pub(super) fn of_host(url: &Url) -> Self {
        match url.host() {
            Some(Host::Ipv4(address)) => Self::of(address.into()),
            Some(Host::Ipv6(address)) => Self::of(address.into()),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                if name == "localhost" || name.ends_with(".localhost") {
                    Self::Loopback
                } else {
                    Self::Public
                }
            }
            None => Self::Loopback,
        }
    }

    /// Whether a server of this scope may redirect to `other`.
    pub(super) fn may_lead_to(self, other: Self) -> bool {
        other == Self::Public || other == self
    }
}

/// A name with no address that a redirection may lead to.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to an address of this machine or site")]
pub(super) struct Forbidden;

/// Looks names up for connections that redirections lead to.
#[derive(Debug)]
pub(super) struct RedirectResolver {
    /// The scope of the server that redirects.
    pub(super) from: Scope,
    /// The hosts of proxies, which the operator chose.
    pub(super) proxies: Vec<String>,
}

impl Resolve for RedirectResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let chosen = self
            .proxies
            .iter()
            .any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        let from = self.from;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let usable = usable(found, |scope| chosen || from.may_lead_to(scope));
            if usable.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

fn usable(found: impl Iterator<Item = SocketAddr>, may: impl Fn(Scope) -> bool) -> Vec<SocketAddr> {
    found.filter(|address| may(Scope::of(address.ip()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_scope_however_they_are_written() {
        use Scope as S;
        for (address, scope) in [
            ("1.1.1.1", S::Public),
            ("172.32.0.1", S::Public),
            ("100.128.0.1", S::Public),
            ("2606:4700::1111", S::Public),
            ("10.0.0.1", S::Private),
            ("172.16.0.1", S::Private),
            ("172.31.255.255", S::Private),
            ("192.168.1.1", S::Private),
            ("100.64.0.1", S::Private),
            ("224.0.0.1", S::Private),
            ("255.255.255.255", S::Private),
            ("fd00::1", S::Private),
            ("ff02::1", S::Private),
            ("169.254.169.254", S::Link),
            ("fe80::1", S::Link),
            ("127.0.0.1", S::Loopback),
            ("127.8.8.8", S::Loopback),
            ("0.0.0.0", S::Loopback),
            ("::", S::Loopback),
            ("::1", S::Loopback),
            ("::ffff:127.0.0.1", S::Loopback),
            ("::127.0.0.1", S::Loopback),
            ("::ffff:10.0.0.1", S::Private),
            ("64:ff9b::a9fe:a9fe", S::Link),
            ("2002:7f00:1::", S::Loopback),
            ("2002:101:101::", S::Public),
        ] {
            assert_eq!(Scope::of(address.parse().expect("an address")), scope, "{address}");
        }
        for (url, scope) in [
            ("http://2130706433/", S::Loopback),
            ("http://0x7f.1/", S::Loopback),
            ("http://0177.0.0.1/", S::Loopback),
            ("http://[::ffff:a9fe:a9fe]/", S::Link),
            ("http://LOCALHOST./", S::Loopback),
            ("http://a.localhost/", S::Loopback),
            ("http://example.org/", S::Public),
        ] {
            assert_eq!(Scope::of_host(&url.parse().expect("a URL")), scope, "{url}");
        }
    }

    #[test]
    fn redirections_lead_outward_or_stay() {
        let all = [Scope::Public, Scope::Private, Scope::Link, Scope::Loopback];
        for from in all {
            for to in all {
                assert_eq!(
                    from.may_lead_to(to),
                    to == Scope::Public || from == to,
                    "{from:?} {to:?}"
                );
            }
        }
    }

    #[test]
    fn only_addresses_that_may_be_used_are_left() {
        let found: Vec<SocketAddr> = ["10.0.0.1:0", "1.1.1.1:0", "[::1]:0"]
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect();
        let kept = |from: Scope| usable(found.iter().copied(), |scope| from.may_lead_to(scope));
        assert_eq!(kept(Scope::Public), [found[1]]);
        assert_eq!(kept(Scope::Private), found[..2]);
        assert_eq!(kept(Scope::Loopback), found[1..]);
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_found_for_itself_and_its_proxies_only() {
        let lookup = |from, proxies| async move {
            let resolver = RedirectResolver { from, proxies };
            let name = "localhost".parse().expect("a name");
            resolver.resolve(name).await.map(Iterator::count)
        };
        let refused = lookup(Scope::Public, Vec::new()).await.expect_err("refused");
        assert!(refused.is::<Forbidden>(), "{refused}");
        assert!(lookup(Scope::Private, Vec::new()).await.is_err());
        assert!(lookup(Scope::Loopback, Vec::new()).await.is_ok());
        assert!(lookup(Scope::Public, vec!["LocalHost".into()]).await.is_ok());
    }
}

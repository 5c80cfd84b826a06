//! What a certificate says.
//!
//! Owns the reading of X.509 for people. Whether a certificate is to be believed is judged elsewhere: everything here is
//! what its holder claims.

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::model::Timestamp;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for, such as `CN=mirror.example.org`. May be empty.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// The names and addresses of hosts that it is for.
    pub hosts: Vec<String>,
    /// It is valid from this time on …
    pub not_before: Timestamp,
    /// … to this time.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads a certificate in DER; `None` when it is none.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        // The lenient profile: an odd serial number is no reason not to show the rest.
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let facts = certificate.tbs_certificate();
        let time = |time: &x509_cert::time::Time| {
            let since_epoch = time.to_unix_duration().as_secs();
            Timestamp::from_unix(i64::try_from(since_epoch).unwrap_or(i64::MAX))
        };
        let hosts = facts.get_extension::<SubjectAltName>().ok().flatten();
        Some(Self {
            subject: facts.subject().to_string(),
            issuer: facts.issuer().to_string(),
            hosts: hosts.map_or_else(Vec::new, |(_, names)| names.0.iter().filter_map(host).collect()),
            not_before: time(&facts.validity().not_before),
            not_after: time(&facts.validity().not_after),
        })
    }

    /// The first of its hosts, or its subject where it names none.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.hosts.first().unwrap_or(&self.subject)
    }

    /// Whole days from `now` to its end; negative when that has passed.
    #[must_use]
    pub fn days_left(&self, now: Timestamp) -> i64 {
        self.not_after
            .unix()
            .saturating_sub(now.unix())
            .div_euclid(24 * 60 * 60)
    }
}

fn host(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            let sixteen = <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            four.or(sixteen).ok()
        }
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

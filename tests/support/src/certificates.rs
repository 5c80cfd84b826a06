//! Certificates for tests, good and bad.
//!
//! Owns [`Authority`] and [`Certified`]. All keys are made for the occasion and trusted by nobody else.

use mirrorctl::model::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::now;

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The certificate in PEM.
    pub certificate: String,
    /// Its key in PEM.
    pub key: String,
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy)]
pub enum Validity {
    /// It was valid for a day, and expired so many days ago.
    ExpiredDaysAgo(i64),
    /// It is valid since yesterday, for so many days from now.
    DaysFromNow(i64),
    /// It will be valid from tomorrow on.
    FromTomorrow,
}

/// Seconds of a day.
const DAY: i64 = 86_400;

impl Validity {
    fn limits(self) -> (Timestamp, Timestamp) {
        let day = |days: i64| now().plus(days * DAY);
        match self {
            Self::ExpiredDaysAgo(days) => (day(-days - 1), day(-days)),
            // An hour more, so that the number of whole days holds for the length of a test.
            Self::DaysFromNow(days) => (day(-1), day(days).plus(3_600)),
            Self::FromTomorrow => (day(1), day(10)),
        }
    }
}

impl Authority {
    /// An authority called `name`.
    pub fn new(name: &str) -> Self {
        let mut params = params(name, &[], Validity::DaysFromNow(3_650));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key();
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names and addresses of hosts.
    pub fn issue(&self, hosts: &[&str], validity: Validity) -> Certified {
        let key = key();
        let name = hosts.first().copied().unwrap_or("nobody");
        let certificate = params(name, hosts, validity).signed_by(&key, &self.issuer);
        Certified {
            certificate: certificate.expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Certified {
    /// A certificate that signed itself; with `authority`, as one that says it may sign others, which is what
    /// `openssl req -x509` makes.
    pub fn self_signed(hosts: &[&str], validity: Validity, authority: bool) -> Self {
        let key = key();
        let mut params = params(hosts[0], hosts, validity);
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Self {
            certificate: params.self_signed(&key).expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(name: &str, hosts: &[&str], validity: Validity) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let since_1970 = |time: Timestamp| std::time::Duration::from_secs(time.unix().unsigned_abs());
    let (from, to) = validity.limits();
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(from);
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(to);
    params
}

//! Why a connection could not be secured, in words an operator can act on.
//!
//! Owns the translation from the TLS library's errors.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a connection could not be secured.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsFailure {
    /// Upstream's certificate is not to be believed.
    #[error("its certificate cannot be trusted: {0}")]
    Certificate(CertificateFault),
    /// Upstream lets only clients in that show a certificate.
    #[error("it lets in only clients with a certificate that it knows")]
    ClientCertificate,
    /// Upstream and the settings have no version of TLS in common.
    #[error("it speaks no version of TLS that the settings allow")]
    Version,
    /// Upstream and the settings have no cipher suite in common.
    #[error("it has no cipher suite that the settings allow")]
    CipherSuite,
    /// Anything else.
    #[error("TLS failed")]
    Other(#[source] Error),
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CertificateFault {
    /// Its time is over.
    #[error("it expired{}", on(*.0))]
    Expired(Option<UnixTime>),
    /// Its time has not come.
    #[error("it is not valid yet{}", from(*.0))]
    NotYetValid(Option<UnixTime>),
    /// Nobody who is trusted vouches for it.
    #[error("no trusted authority issued it")]
    UnknownIssuer,
    /// It is somebody else's.
    #[error("it is not for the host that was asked{}", holders(.0))]
    OtherName(Vec<String>),
    /// Anything else.
    #[error("{0}")]
    Other(CertificateError),
}

fn on(time: Option<UnixTime>) -> String {
    time.map_or_else(String::new, |time| format!(" on {}", date(time)))
}

fn from(time: Option<UnixTime>) -> String {
    time.map_or_else(String::new, |time| format!(", but from {} on", date(time)))
}

fn holders(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(", but for {}", names.join(", ")),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("@{seconds}"), |time| time.to_string())
}

/// The DNS name in what the TLS library says of a name: `DnsName("mirror.example")`.
fn dns_name(described: &str) -> Option<String> {
    let name = described.strip_prefix("DnsName(")?.strip_suffix(')')?;
    Some(name.trim_matches('"').to_owned())
}

impl TlsFailure {
    /// What an error of the TLS library means.
    pub(in crate::upstream) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(fault) => Self::Certificate(CertificateFault::of(fault)),
            Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::BadCertificate) => {
                Self::ClientCertificate
            }
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::Version,
            Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity)
            | Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => Self::CipherSuite,
            error => Self::Other(error.clone()),
        }
    }

    /// The TLS failure among the causes of `error`, if there is one.
    pub(in crate::upstream) fn among_causes(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(error) = cause.downcast_ref::<Error>() {
                return Some(Self::of(error));
            }
            // An I/O error shows only the causes of what it carries, not that itself.
            let carried = cause
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref)
                .map(|carried| carried as &(dyn std::error::Error + 'static));
            next = carried.or_else(|| cause.source());
        }
        None
    }
}

impl CertificateFault {
    fn of(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired => Self::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(Some(*not_after)),
            CertificateError::NotValidYet => Self::NotYetValid(None),
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYetValid(Some(*not_before)),
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::OtherName(presented.iter().filter_map(|name| dns_name(name)).collect())
            }
            error => Self::Other(error.clone()),
        }
    }
}

//! Whether upstream's certificate is to be believed.
//!
//! Owns whose word counts: the system's authorities, or those of a file in their place. They are read when the first
//! certificate has to be judged, not before: a system has some 140 of them, and most syncs open no TLS connection. A
//! certificate that is itself in that file counts as it stands, also one that signed itself.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use super::files;
use crate::model::TlsSettings;
use crate::upstream::certificate::Certificate;

/// The system's certificate authorities, read when the first certificate is judged by them, and once by all clones.
#[derive(Debug, Clone, Default)]
pub struct SystemAuthorities(Arc<OnceLock<Arc<RootCertStore>>>);

impl SystemAuthorities {
    fn get(&self) -> Arc<RootCertStore> {
        let load = || {
            let mut roots = RootCertStore::empty();
            // Certificates that cannot be read are missing then, which shows as an unknown issuer.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        };
        Arc::clone(self.0.get_or_init(load))
    }
}

/// The system has no authority that could vouch for anybody.
#[derive(Debug, thiserror::Error)]
#[error("this system has no certificate authorities: install ca-certificates, or set ca_cert_file")]
struct NoAuthorities;

/// Judges certificates.
#[derive(Debug)]
pub(in crate::upstream) struct Trust {
    whom: Whom,
    ready: OnceLock<Result<Judge, Error>>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Whom {
    Anybody,
    System(SystemAuthorities),
    File(PathBuf),
}

#[derive(Debug, Clone)]
struct Judge {
    authorities: Arc<WebPkiServerVerifier>,
    /// The certificates of the configured file.
    pinned: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Judges as `tls` asks for.
    pub(in crate::upstream) fn new(tls: &TlsSettings, system: &SystemAuthorities) -> Arc<Self> {
        if tls.insecure_skip_verify {
            Self::of(Whom::Anybody)
        } else {
            Self::strict(tls, system)
        }
    }

    /// Judges by the authorities that `tls` names, also where it asks for none to be heard.
    pub(in crate::upstream) fn strict(tls: &TlsSettings, system: &SystemAuthorities) -> Arc<Self> {
        Self::of(match &tls.ca_file {
            Some(path) => Whom::File(path.clone()),
            None => Whom::System(system.clone()),
        })
    }

    fn of(whom: Whom) -> Arc<Self> {
        Arc::new(Self {
            whom,
            ready: OnceLock::new(),
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        })
    }

    /// The judge; `None` where anybody is believed.
    fn judge(&self) -> Result<Option<&Judge>, Error> {
        let (roots, pinned) = match &self.whom {
            Whom::Anybody => return Ok(None),
            Whom::System(_) | Whom::File(_) if self.ready.get().is_some() => (None, Vec::new()),
            Whom::System(system) => (Some(Ok(system.get())), Vec::new()),
            Whom::File(path) => match files::authorities(path) {
                Ok(found) => (Some(files::roots(path, &found).map(Arc::new)), found),
                Err(error) => (Some(Err(error)), Vec::new()),
            },
        };
        let ready = self.ready.get_or_init(|| {
            let roots = roots.expect("read above where there is no judge yet").map_err(other)?;
            if roots.is_empty() {
                return Err(other(NoAuthorities));
            }
            let provider = Arc::new(aws_lc_rs::default_provider());
            let authorities = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            Ok(Judge {
                authorities: authorities.map_err(other)?,
                pinned,
            })
        });
        ready.as_ref().map(Some).map_err(Clone::clone)
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(OtherError(Arc::new(error)))
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(judge) = self.judge()? else {
            return Ok(ServerCertVerified::assertion());
        };
        if judge.pinned.iter().any(|pinned| pinned == end_entity) {
            return in_person(end_entity, name, now);
        }
        let verdict = judge
            .authorities
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        verdict.map_err(|error| plainer(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The verdict on a certificate that is trusted itself: its name and its dates have to be right all the same.
fn in_person(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    let facts = Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let second = |time: crate::model::Timestamp| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(time.unix().max(0).cast_unsigned()))
    };
    let (not_before, not_after) = (second(facts.not_before), second(facts.not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    Ok(ServerCertVerified::assertion())
}

/// The library refuses certificates that signed themselves for a technicality. What counts is that nobody vouches for
/// them.
fn plainer(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let technical = matches!(error, Error::InvalidCertificate(CertificateError::Other(_)));
    let signed_itself = || Certificate::parse(certificate).is_some_and(|facts| facts.subject == facts.issuer);
    if technical && signed_itself() {
        CertificateError::UnknownIssuer.into()
    } else {
        error
    }
}

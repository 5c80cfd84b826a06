//! How connections are secured.
//!
//! Owns the way from [`TlsSettings`] to a configuration of the TLS library: `files` reads what they name, `trust` judges
//! upstream's certificate, `alias` has a host answer under another name, and `failure` says why it came to nothing. What
//! the settings ask for is done or an error; nothing falls back to a default.

mod alias;
mod failure;
mod files;
mod trust;

use std::sync::Arc;

use rustls::client::{ResolvesClientCert, WantsClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ConfigBuilder, SupportedProtocolVersion, version};

use super::error::SetupError;
use crate::model::{CipherSuite, TlsSettings, TlsVersion};

pub(super) use alias::Alias;
pub use failure::{CertificateFault, TlsFailure};
pub(super) use files::identity;
pub use files::{TlsFileError, check_tls_files, exposed_key};
pub use trust::SystemAuthorities;
pub(super) use trust::Trust;

/// The configuration for connections that `tls` secures.
pub(super) fn client_config(tls: &TlsSettings, system: &SystemAuthorities) -> Result<ClientConfig, SetupError> {
    let builder = builder(tls, Trust::new(tls, system))?;
    Ok(match &tls.identity {
        Some(files) => builder.with_client_cert_resolver(Arc::new(Identity(Arc::new(identity(files)?)))),
        None => builder.with_no_client_auth(),
    })
}

/// As [`client_config`], up to who the client is, with a judge of certificates of the caller's.
pub(super) fn builder(
    tls: &TlsSettings,
    judge: Arc<dyn rustls::client::danger::ServerCertVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, SetupError> {
    let versions: Vec<&SupportedProtocolVersion> = TlsVersion::ALL
        .into_iter()
        .filter(|version| tls.speaks(*version))
        .map(|version| match version {
            TlsVersion::V1_2 => &version::TLS12,
            TlsVersion::V1_3 => &version::TLS13,
        })
        .collect();
    Ok(ClientConfig::builder_with_provider(Arc::new(provider(tls)))
        .with_protocol_versions(&versions)?
        .dangerous()
        .with_custom_certificate_verifier(judge))
}

/// The cryptography that `tls` allows.
fn provider(tls: &TlsSettings) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|supported| {
        let code = u16::from(supported.suite());
        CipherSuite::ALL
            .iter()
            .any(|suite| suite.code() == code && tls.offers(*suite))
    });
    provider
}

/// The client's certificate and key, for every upstream that asks.
#[derive(Debug)]
pub(super) struct Identity(pub(super) Arc<rustls::sign::CertifiedKey>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], schemes: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;

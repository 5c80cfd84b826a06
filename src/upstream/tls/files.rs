//! The files that TLS settings name: certificates and keys in PEM.
//!
//! Owns what has to be in them. It writes nothing, and never shows what a key file holds.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::model::{ClientIdentity, TlsFile, TlsSettings};

/// Far above any bundle of authorities (that of a system has 250 KiB), and little memory.
const LARGEST_FILE: u64 = 8 << 20;

/// The bit of a file's mode that lets everybody read it.
const WORLD_READABLE: u32 = 0o004;

/// What is wrong with a file that TLS settings name.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which of the files.
        file: TlsFile,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not PEM.
    #[error("{} is damaged: it is not PEM", path.display())]
    Damaged {
        /// Which of the files.
        file: TlsFile,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// What it should hold is not there.
    #[error("{} holds no {}", path.display(), wanted(*file))]
    Empty {
        /// Which of the files.
        file: TlsFile,
        /// Where it is.
        path: PathBuf,
    },
    /// What it holds cannot be used.
    #[error("{} holds a {} that cannot be used", path.display(), wanted(*file))]
    Unusable {
        /// Which of the files.
        file: TlsFile,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// The key is not that of the certificate.
    #[error("{} is not the key of the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// File with the key.
        key: PathBuf,
        /// File with the certificate.
        certificate: PathBuf,
    },
}

impl TlsFileError {
    /// Which of the files is at fault.
    #[must_use]
    pub fn file(&self) -> TlsFile {
        match self {
            Self::Unreadable { file, .. }
            | Self::Damaged { file, .. }
            | Self::Empty { file, .. }
            | Self::Unusable { file, .. } => *file,
            Self::Mismatch { .. } => TlsFile::Key,
        }
    }
}

fn wanted(file: TlsFile) -> &'static str {
    match file {
        TlsFile::Authorities | TlsFile::Certificate => "certificate in PEM",
        TlsFile::Key => "private key in PEM that is not encrypted",
    }
}

/// What is wrong with the files that `tls` names; empty when they are good.
#[must_use]
pub fn check_tls_files(tls: &TlsSettings) -> Vec<TlsFileError> {
    let authorities = tls
        .ca_file
        .as_deref()
        .and_then(|path| authorities(path).and_then(|found| roots(path, &found)).err());
    let identity = tls.identity.as_ref().and_then(|files| identity(files).err());
    authorities.into_iter().chain(identity).collect()
}

/// The file with the client's key, if everybody on this machine may read it.
#[must_use]
pub fn exposed_key(tls: &TlsSettings) -> Option<&Path> {
    let key = tls.identity.as_ref()?.key.as_path();
    let mode = key.metadata().ok()?.mode();
    (mode & WORLD_READABLE != 0).then_some(key)
}

/// The authorities in the file `path`.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    certificates(path, TlsFile::Authorities)
}

/// Authorities as the TLS library wants them.
pub(super) fn roots(path: &Path, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let added = roots.add(authority.clone());
        added.map_err(|source| TlsFileError::Unusable {
            file: TlsFile::Authorities,
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

/// The client's certificate and key, which belong together.
pub(in crate::upstream) fn identity(files: &ClientIdentity) -> Result<CertifiedKey, TlsFileError> {
    let certificates = certificates(&files.certificate, TlsFile::Certificate)?;
    let unusable = |file, path: &Path, source| TlsFileError::Unusable {
        file,
        path: path.to_owned(),
        source,
    };
    let bytes = read(&files.key, TlsFile::Key)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| faulty(error, &files.key, TlsFile::Key))?;
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|source| unusable(TlsFile::Key, &files.key, source))?;
    let identity = CertifiedKey::new(certificates, Arc::clone(&key));
    match identity.keys_match() {
        // An opaque key cannot be compared; none is opaque that was read from a file.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsFileError::Mismatch {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
        }),
        Err(source) => Err(unusable(TlsFile::Certificate, &files.certificate, source)),
    }
}

fn certificates(path: &Path, file: TlsFile) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let bytes = read(path, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| faulty(error, path, file))?;
    if found.is_empty() {
        return Err(faulty(pem::Error::NoItemsFound, path, file));
    }
    Ok(found)
}

fn faulty(error: pem::Error, path: &Path, file: TlsFile) -> TlsFileError {
    let path = path.to_owned();
    if matches!(error, pem::Error::NoItemsFound) {
        TlsFileError::Empty { file, path }
    } else {
        TlsFileError::Damaged {
            file,
            path,
            source: error,
        }
    }
}

fn read(path: &Path, file: TlsFile) -> Result<Vec<u8>, TlsFileError> {
    let mut bytes = Vec::new();
    let read = || -> io::Result<()> {
        // Looked at before it is opened: opening a named pipe would wait for somebody to write to it.
        if !path.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 8 MiB"));
        }
        Ok(())
    };
    let mut read = read;
    read().map_err(|source| TlsFileError::Unreadable {
        file,
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}

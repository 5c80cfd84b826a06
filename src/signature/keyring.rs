//! Keyrings: the keys that may sign a mirror's Release files.
//!
//! Owns the reading of key files in every form that APT's users have them. It judges no key; a key that has expired
//! or was revoked is read like any other, and refused when it signs.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use memchr::memmem;
use sequoia_openpgp as openpgp;

use openpgp::cert::{Cert, CertParser};
use openpgp::parse::Parse;
use openpgp::{Fingerprint, KeyHandle, armor};

const PUBLIC: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
const PUBLIC_END: &[u8] = b"-----END PGP PUBLIC KEY BLOCK-----";
const PRIVATE: &[u8] = b"-----BEGIN PGP PRIVATE KEY BLOCK-----";

/// Public keys whose signatures are believed.
#[derive(Debug, Clone, Default)]
pub struct Keyring(BTreeMap<Fingerprint, Cert>);

/// A file that is no usable keyring.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There are no keys.
    #[error("there is no key in it")]
    Empty,
    /// It holds a private key, which has no business on a mirror.
    #[error("it holds a private key; export the public key instead (gpg --export) and remove this file")]
    PrivateKey,
    /// It is neither armored nor binary keys, or a key is damaged.
    #[error("it is not a file of OpenPGP public keys: {reason}")]
    Malformed {
        /// What the OpenPGP library says.
        reason: String,
    },
    /// A keyring cannot be read.
    #[error("cannot read the keyring {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A keyring has no usable content.
    #[error("cannot use the keyring {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        source: Box<KeyringError>,
    },
    /// APT itself trusts no key.
    #[error("APT trusts no key: there is none in trusted.gpg or trusted.gpg.d below {}; set pgp_key_path", etc_apt.display())]
    NoneTrusted {
        /// APT's configuration directory.
        etc_apt: PathBuf,
    },
}

impl Keyring {
    /// Reads keys: armored (one block or several, with or without text around them) or binary, one key or many.
    ///
    /// # Errors
    /// When there is no key, a private key, or something that is not a key.
    pub fn parse(file: &[u8]) -> Result<Self, KeyringError> {
        if file.trim_ascii().is_empty() {
            return Err(KeyringError::Empty);
        }
        if memmem::find(file, PRIVATE).is_some() {
            return Err(KeyringError::PrivateKey);
        }
        let mut keyring = Self::default();
        if memmem::find(file, b"-----BEGIN PGP").is_some() {
            for block in armored_blocks(file)? {
                keyring.add_binary(&dearmor(block)?)?;
            }
        } else {
            keyring.add_binary(file)?;
        }
        if keyring.0.is_empty() {
            return Err(KeyringError::Empty);
        }
        Ok(keyring)
    }

    /// Reads the keyring in the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or has no usable content.
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let file = fs::read(path).map_err(|source| KeyringError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&file).map_err(|source| KeyringError::File {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Reads the keys that APT trusts for every archive, below `etc_apt` (on a running system, `/etc/apt`):
    /// `trusted.gpg`, and `trusted.gpg.d/*.gpg` and `*.asc`. As APT does, it warns of a file that it cannot use, and
    /// goes on with the others.
    ///
    /// # Errors
    /// When no file has a key, or the directory cannot be read.
    pub fn load_apt_trusted(etc_apt: &Path) -> Result<Self, KeyringError> {
        let mut keyring = Self::default();
        for path in apt_trusted_files(etc_apt)? {
            match Self::load(&path) {
                Ok(more) => more.0.into_values().for_each(|cert| keyring.add(cert)),
                Err(error) => warn_of(&error),
            }
        }
        if keyring.0.is_empty() {
            return Err(KeyringError::NoneTrusted {
                etc_apt: etc_apt.to_owned(),
            });
        }
        Ok(keyring)
    }

    /// The keys that `handles` may mean.
    pub(super) fn find(&self, handles: &[KeyHandle]) -> Vec<Cert> {
        let wanted = |cert: &&Cert| cert.keys().key_handles(handles.iter()).next().is_some();
        self.0.values().filter(wanted).cloned().collect()
    }

    fn add_binary(&mut self, file: &[u8]) -> Result<(), KeyringError> {
        for cert in CertParser::from_bytes(file).map_err(malformed)? {
            let cert = cert.map_err(malformed)?;
            if cert.is_tsk() {
                return Err(KeyringError::PrivateKey);
            }
            self.add(cert);
        }
        Ok(())
    }

    /// Adds a key. One that is there already takes in what the other copy knows, such as a revocation.
    fn add(&mut self, cert: Cert) {
        match self.0.entry(cert.fingerprint()) {
            btree_map::Entry::Vacant(place) => {
                place.insert(cert);
            }
            btree_map::Entry::Occupied(mut place) => {
                let merged = place.get().clone().merge_public(cert);
                place.insert(merged.expect("two certificates of one fingerprint merge"));
            }
        }
    }
}

/// The armored blocks of public keys in `file`.
fn armored_blocks(file: &[u8]) -> Result<Vec<&[u8]>, KeyringError> {
    memmem::find_iter(file, PUBLIC)
        .map(|start| match memmem::find(&file[start..], PUBLIC_END) {
            Some(length) => Ok(&file[start..start + length + PUBLIC_END.len()]),
            None => Err(KeyringError::Malformed {
                reason: "an armored block does not end".to_owned(),
            }),
        })
        .collect()
}

fn dearmor(block: &[u8]) -> Result<Vec<u8>, KeyringError> {
    let mode = armor::ReaderMode::Tolerant(Some(armor::Kind::PublicKey));
    let mut binary = Vec::new();
    let mut reader = armor::Reader::from_bytes(block, mode);
    reader
        .read_to_end(&mut binary)
        .map_err(|error| KeyringError::Malformed {
            reason: error.to_string(),
        })?;
    Ok(binary)
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn malformed(error: openpgp::anyhow::Error) -> KeyringError {
    KeyringError::Malformed {
        reason: error.to_string(),
    }
}

fn apt_trusted_files(etc_apt: &Path) -> Result<Vec<PathBuf>, KeyringError> {
    let single = etc_apt.join("trusted.gpg");
    let directory = etc_apt.join("trusted.gpg.d");
    let mut files: Vec<_> = single.exists().then_some(single).into_iter().collect();
    let unreadable = |source| KeyringError::Read {
        path: directory.clone(),
        source,
    };
    match fs::read_dir(&directory) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(unreadable)?.path();
                if path.extension().is_some_and(|ext| ext == "gpg" || ext == "asc") {
                    files.push(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(error)),
    }
    files.sort();
    Ok(files)
}

fn warn_of(error: &KeyringError) {
    match error {
        // An empty trusted.gpg is what APT's own tools used to leave behind.
        KeyringError::File { source, .. } if matches!(**source, KeyringError::Empty) => {}
        KeyringError::File { source, .. } => tracing::warn!("{error}: {source}"),
        KeyringError::Read { source, .. } => tracing::warn!("{error}: {source}"),
        _ => tracing::warn!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::fixture::{armored, key, public};
    use openpgp::serialize::SerializeInto;

    fn fingerprints(keyring: &Keyring) -> Vec<String> {
        keyring.0.keys().map(Fingerprint::to_hex).collect()
    }

    fn sorted(certs: &[&Cert]) -> Vec<String> {
        let mut all: Vec<_> = certs.iter().map(|cert| cert.fingerprint()).collect();
        all.sort();
        all.iter().map(Fingerprint::to_hex).collect()
    }

    #[test]
    fn keys_are_read_in_every_form() {
        let (a, b) = (key("a"), key("b"));
        let both = sorted(&[&a, &b]);
        let many_binary = [public(&a), public(&b)].concat();
        let many_armored = [armored(&a), b"some words\r\n".to_vec(), armored(&b)].concat();
        for file in [many_binary, many_armored.clone()] {
            assert_eq!(fingerprints(&Keyring::parse(&file).unwrap()), both);
        }
        let one = sorted(&[&a]);
        for file in [public(&a), armored(&a), [armored(&a), armored(&a)].concat()] {
            assert_eq!(fingerprints(&Keyring::parse(&file).unwrap()), one);
        }
        let with_cr = String::from_utf8(many_armored)
            .unwrap()
            .replace("\r\n", "\n")
            .replace('\n', "\r\n");
        assert_eq!(fingerprints(&Keyring::parse(with_cr.as_bytes()).unwrap()), both);
    }

    #[test]
    fn what_is_no_keyring_is_refused() {
        let a = key("a");
        assert!(matches!(Keyring::parse(b""), Err(KeyringError::Empty)));
        assert!(matches!(Keyring::parse(b" \n"), Err(KeyringError::Empty)));
        let private = a.as_tsk().to_vec().unwrap();
        assert!(matches!(Keyring::parse(&private), Err(KeyringError::PrivateKey)));
        let private = a.as_tsk().armored().to_vec().unwrap();
        assert!(matches!(Keyring::parse(&private), Err(KeyringError::PrivateKey)));
        let armored = armored(&a);
        for bad in [
            b"just some text".as_slice(),
            &armored[..armored.len() - 20],
            &public(&a)[..40],
        ] {
            assert!(matches!(Keyring::parse(bad), Err(KeyringError::Malformed { .. })));
        }
        let other_armor = b"-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n";
        assert!(matches!(Keyring::parse(other_armor), Err(KeyringError::Empty)));
    }

    #[test]
    fn errors_of_files_name_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.gpg");
        assert!(Keyring::load(&path).unwrap_err().to_string().contains("key.gpg"));
        fs::write(&path, "").unwrap();
        assert!(Keyring::load(&path).unwrap_err().to_string().contains("key.gpg"));
    }

    #[test]
    fn the_keys_that_apt_trusts_are_collected() {
        let (a, b) = (key("a"), key("b"));
        let etc = tempfile::tempdir().unwrap();
        let etc = etc.path();
        assert!(matches!(
            Keyring::load_apt_trusted(etc),
            Err(KeyringError::NoneTrusted { .. })
        ));
        fs::create_dir(etc.join("trusted.gpg.d")).unwrap();
        fs::write(etc.join("trusted.gpg"), "").unwrap();
        fs::write(etc.join("trusted.gpg.d/broken.gpg"), "x").unwrap();
        fs::write(etc.join("trusted.gpg.d/ignored.txt"), public(&key("c"))).unwrap();
        let refused = Keyring::load_apt_trusted(etc).unwrap_err().to_string();
        assert!(refused.contains("pgp_key_path"), "{refused}");
        fs::write(etc.join("trusted.gpg.d/a.gpg"), public(&a)).unwrap();
        fs::write(etc.join("trusted.gpg.d/b.asc"), armored(&b)).unwrap();
        assert_eq!(
            fingerprints(&Keyring::load_apt_trusted(etc).unwrap()),
            sorted(&[&a, &b])
        );
    }
}

//! Signatures of our own, on Release files that a mirror rebuilds.
//!
//! Owns [`Signer`]: a secret key that was found fit to sign before anything is signed with it. The secret stays in
//! here; what leaves is signatures and the public certificate.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::armor::Kind;
use openpgp::cert::Cert;
use openpgp::crypto::KeyPair;
use openpgp::parse::Parse as _;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto as _;
use openpgp::serialize::stream::{Armorer, Message, Signer as MessageSigner};
use openpgp::types::{HashAlgorithm, RevocationStatus};

use super::keyring::Keyring;
use crate::model::Timestamp;

/// Permissions that would let others than the owner and its group read the key.
const FOR_OTHERS: u32 = 0o007;

/// A secret key that may sign.
#[derive(Clone)]
pub struct Signer {
    cert: Cert,
    pair: KeyPair,
}

/// Why a key cannot sign, or did not.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file cannot be read.
    #[error("cannot read the signing key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody can read the file.
    #[error("the signing key {} is open to everybody (mode {mode:03o})", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key is of no use.
    #[error("cannot sign with the key in {}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Unfit,
    },
    /// The OpenPGP library could not sign.
    #[error("signing failed: {reason}")]
    Failed {
        /// What it says.
        reason: String,
    },
}

/// Why a key is of no use for signing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no key, or there are several.
    #[error("it is not a file with one OpenPGP key: {0}")]
    Malformed(String),
    /// It is a public key.
    #[error("it holds no secret key; export one with gpg --export-secret-keys")]
    Public,
    /// The key may not be used now: it has expired, or is too weak, or not valid yet.
    #[error("key {key} may not be used: {reason}")]
    Invalid {
        /// Its fingerprint.
        key: String,
        /// What the OpenPGP library says.
        reason: String,
    },
    /// It was revoked.
    #[error("key {0} was revoked")]
    Revoked(String),
    /// It has no part that may sign and is neither expired nor revoked.
    #[error("key {0} has no part that may sign now")]
    NoSigningKey(String),
    /// A passphrase protects it, and nobody is there to type it.
    #[error("key {0} is protected by a passphrase; export it without one, readable for its owner alone")]
    Encrypted(String),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.fingerprint())
    }
}

impl Signer {
    /// Reads the secret key in the file at `path`, armored or binary, and makes sure that it may sign at `now`.
    ///
    /// # Errors
    /// When it cannot be read, others can read it, or it may not sign.
    pub fn load(path: &Path, now: Timestamp) -> Result<Self, SigningError> {
        Self::check_mode(path)?;
        let bytes = fs::read(path).map_err(|source| SigningError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&bytes, now).map_err(|source| SigningError::Unfit {
            path: path.to_owned(),
            source,
        })
    }

    fn check_mode(path: &Path) -> Result<(), SigningError> {
        let unreadable = |source| SigningError::Read {
            path: path.to_owned(),
            source,
        };
        let facts = fs::metadata(path).map_err(unreadable)?;
        let mode = facts.permissions().mode() & 0o777;
        if !facts.is_file() {
            return Err(unreadable(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            )));
        }
        if mode & FOR_OTHERS != 0 {
            let path = path.to_owned();
            return Err(SigningError::Open { path, mode });
        }
        Ok(())
    }

    fn parse(bytes: &[u8], now: Timestamp) -> Result<Self, Unfit> {
        let cert = Cert::from_bytes(bytes).map_err(|error| Unfit::Malformed(error.to_string()))?;
        if !cert.is_tsk() {
            return Err(Unfit::Public);
        }
        let pair = pair(&cert, now)?;
        Ok(Self { cert, pair })
    }

    /// The fingerprint of the key, in upper-case hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.cert.fingerprint().to_hex()
    }

    /// The public certificate in ASCII armour, for clients to trust.
    ///
    /// # Errors
    /// When it cannot be written out.
    pub fn public_armored(&self) -> Result<String, SigningError> {
        let public = self.cert.clone().strip_secret_key_material();
        let bytes = public.armored().to_vec().map_err(|error| failed(&error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A keyring of the public certificate alone.
    ///
    /// # Errors
    /// When it cannot be written out.
    pub fn keyring(&self) -> Result<Keyring, SigningError> {
        let malformed = |error: super::KeyringError| SigningError::Failed {
            reason: error.to_string(),
        };
        Keyring::parse(self.public_armored()?.as_bytes()).map_err(malformed)
    }

    /// `text` framed by its signature: the contents of `InRelease`.
    ///
    /// # Errors
    /// When the OpenPGP library cannot sign.
    pub fn sign_inline(&self, text: &str, now: Timestamp) -> Result<Vec<u8>, SigningError> {
        let mut signed = Vec::new();
        self.signer(Message::new(&mut signed), now)
            // The newline before the signature does not belong to the signed text; GnuPG leaves it out likewise.
            .and_then(|signer| write_signed(signer.cleartext(), text.strip_suffix('\n').unwrap_or(text)))
            .map_err(|error| failed(&error))?;
        Ok(signed)
    }

    /// An armored signature of `text` apart from it: the contents of `Release.gpg`.
    ///
    /// # Errors
    /// When the OpenPGP library cannot sign.
    pub fn sign_detached(&self, text: &str, now: Timestamp) -> Result<Vec<u8>, SigningError> {
        let mut signature = Vec::new();
        Armorer::new(Message::new(&mut signature))
            .kind(Kind::Signature)
            .build()
            .and_then(|armored| write_signed(self.signer(armored, now)?.detached(), text))
            .map_err(|error| failed(&error))?;
        Ok(signature)
    }

    fn signer<'a>(&self, sink: Message<'a>, now: Timestamp) -> openpgp::Result<MessageSigner<'a>> {
        Ok(MessageSigner::new(sink, self.pair.clone())?
            .hash_algo(HashAlgorithm::SHA512)?
            .creation_time(system_time(now)))
    }
}

/// The newest part of the key that may sign at `now`.
fn pair(cert: &Cert, now: Timestamp) -> Result<KeyPair, Unfit> {
    let policy = StandardPolicy::new();
    let key = cert.fingerprint().to_hex();
    let invalid = |error: openpgp::anyhow::Error| Unfit::Invalid {
        key: cert.fingerprint().to_hex(),
        reason: std::iter::successors(Some(&*error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": "),
    };
    let valid = cert.with_policy(&policy, system_time(now)).map_err(invalid)?;
    if let RevocationStatus::Revoked(_) = valid.revocation_status() {
        return Err(Unfit::Revoked(key));
    }
    valid.alive().map_err(invalid)?;
    let usable = valid.keys().supported().alive().revoked(false).for_signing().secret();
    let mut usable: Vec<_> = usable.map(|part| part.key().clone()).collect();
    if usable.is_empty() {
        return Err(Unfit::NoSigningKey(key));
    }
    usable.retain(openpgp::packet::Key::has_unencrypted_secret);
    usable.sort_by_key(openpgp::packet::Key::creation_time);
    let newest = usable.pop().ok_or(Unfit::Encrypted(key))?;
    newest.into_keypair().map_err(invalid)
}

fn write_signed(signer: MessageSigner, text: &str) -> openpgp::Result<()> {
    let mut message = signer.build()?;
    message.write_all(text.as_bytes())?;
    message.finalize()
}

fn failed(error: &openpgp::anyhow::Error) -> SigningError {
    SigningError::Failed {
        reason: error.to_string(),
    }
}

/// OpenPGP's times are 32 bits of seconds; a clock beyond them signs at their end, which no key is good for.
fn system_time(time: Timestamp) -> SystemTime {
    let seconds = u32::try_from(time.unix().max(0)).unwrap_or(u32::MAX);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use openpgp::cert::CertBuilder;
    use openpgp::types::KeyFlags;

    use super::*;
    use crate::signature::fixture::{DAY, NOW, armored, key, key_that_may_not_sign, key_with, revoked, weak_key};
    use crate::signature::{verify_detached, verify_inline};

    const TEXT: &str = "Origin: Test\nDescription: x\n - dash\nSHA256:\n 00 1 a\n";

    fn secret(cert: &Cert) -> Vec<u8> {
        cert.as_tsk().armored().to_vec().unwrap()
    }

    fn unfit(cert: &Cert) -> Unfit {
        Signer::parse(&secret(cert), NOW).expect_err("unfit")
    }

    #[test]
    fn what_is_signed_verifies_with_the_public_half() {
        let subkey = key_with(|builder: CertBuilder<'_>| {
            builder
                .set_primary_key_flags(KeyFlags::empty().set_certification())
                .add_signing_subkey()
        });
        for cert in [key("a"), subkey] {
            let signer = Signer::parse(&secret(&cert), NOW).unwrap();
            let keyring = signer.keyring().unwrap();
            let inline = signer.sign_inline(TEXT, NOW).unwrap();
            let verified = verify_inline(&inline, &keyring, NOW).unwrap();
            assert_eq!(verified.text().trim_end(), TEXT.trim_end());
            let detached = signer.sign_detached(TEXT, NOW).unwrap();
            assert!(verify_detached(TEXT.as_bytes(), &detached, &keyring, NOW).is_ok());
            let public = signer.public_armored().unwrap();
            assert!(
                public.contains("BEGIN PGP PUBLIC KEY BLOCK") && !public.contains("PRIVATE"),
                "{public}"
            );
            assert_eq!(signer.fingerprint(), cert.fingerprint().to_hex());
        }
    }

    #[test]
    fn keys_that_may_not_sign_are_told_apart() {
        let a = key("a");
        assert_eq!(Signer::parse(&armored(&a), NOW).unwrap_err(), Unfit::Public);
        assert!(matches!(Signer::parse(b"some text", NOW), Err(Unfit::Malformed(_))));
        assert!(matches!(unfit(&revoked(&a)), Unfit::Revoked(_)));
        let short = key_with(|builder| builder.set_validity_period(Duration::from_secs(30 * DAY.unsigned_abs())));
        assert!(matches!(unfit(&short), Unfit::Invalid { .. }));
        assert!(matches!(unfit(&key_that_may_not_sign()), Unfit::NoSigningKey(_)));
        assert!(matches!(
            unfit(&weak_key()),
            Unfit::Invalid { .. } | Unfit::NoSigningKey(_)
        ));
        let locked = key_with(|builder| builder.set_password(Some("secret".into())));
        assert!(matches!(unfit(&locked), Unfit::Encrypted(_)), "{:?}", unfit(&locked));
        let before = NOW.plus(-400 * DAY);
        assert!(matches!(Signer::parse(&secret(&a), before), Err(Unfit::Invalid { .. })));
        let both = [a.as_tsk().to_vec().unwrap(), key("b").as_tsk().to_vec().unwrap()].concat();
        assert!(matches!(Signer::parse(&both, NOW), Err(Unfit::Malformed(_))));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("secret.asc");
        assert!(matches!(Signer::load(&path, NOW), Err(SigningError::Read { .. })));
        assert!(matches!(
            Signer::load(place.path(), NOW),
            Err(SigningError::Read { .. })
        ));
        fs::write(&path, secret(&key("a"))).unwrap();
        for (mode, good) in [
            (0o600, true),
            (0o640, true),
            (0o400, true),
            (0o644, false),
            (0o602, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let loaded = Signer::load(&path, NOW);
            assert_eq!(loaded.is_ok(), good, "{mode:o}");
            assert!(good || matches!(loaded, Err(SigningError::Open { mode: told, .. }) if told == mode));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(Signer::load(&path, NOW).unwrap_err().to_string().contains("secret.asc"));
    }
}

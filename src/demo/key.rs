//! The key that signs a made-up archive.
//!
//! Owns [`SigningKey`]: an Ed25519 OpenPGP key that exists in memory only, and the two forms of signature an archive
//! carries. It knows nothing of Release files, verifies nothing, and writes no file.

use std::fmt;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use sequoia_openpgp::Profile;
use sequoia_openpgp::armor::Kind;
use sequoia_openpgp::cert::{Cert, CertBuilder, CipherSuite};
use sequoia_openpgp::crypto::KeyPair;
use sequoia_openpgp::serialize::SerializeInto as _;
use sequoia_openpgp::serialize::stream::{Armorer, Message, Signer};
use sequoia_openpgp::types::{HashAlgorithm, KeyFlags};

use super::ArchiveError;
use crate::model::Timestamp;

/// A key of its own for one archive. The secret half never leaves memory.
#[derive(Clone)]
pub struct SigningKey {
    cert: Cert,
    pair: KeyPair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.fingerprint())
    }
}

impl SigningKey {
    /// Makes a key that belongs to `owner` (`Name <address>`), is valid from `created` on, and never expires.
    ///
    /// Version 4 and Ed25519, because the gpgv of every supported Debian release accepts it and it is made in no time.
    ///
    /// # Errors
    /// [`ArchiveError::Signing`] when the key cannot be made, for example for a time outside OpenPGP's range.
    pub fn generate(owner: &str, created: Timestamp) -> Result<Self, ArchiveError> {
        let failed = |error: sequoia_openpgp::anyhow::Error| ArchiveError::signing("making a key", &error);
        let (cert, _revocation) = CertBuilder::new()
            .set_profile(Profile::RFC4880)
            .map_err(failed)?
            .set_cipher_suite(CipherSuite::Cv25519)
            .set_creation_time(system_time(created)?)
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .add_userid(owner)
            .generate()
            .map_err(failed)?;
        let key = cert.primary_key().key().clone();
        let pair = key
            .parts_into_secret()
            .and_then(sequoia_openpgp::packet::Key::into_keypair)
            .map_err(failed)?;
        Ok(Self { cert, pair })
    }

    /// The fingerprint in upper-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.cert.fingerprint().to_hex()
    }

    /// The public half in ASCII armour, as `signed-by` files that end in `.asc` hold it.
    ///
    /// # Errors
    /// [`ArchiveError::Signing`] when it cannot be written out.
    pub fn public_armored(&self) -> Result<Vec<u8>, ArchiveError> {
        let public = self.cert.clone().strip_secret_key_material();
        public
            .armored()
            .to_vec()
            .map_err(|error| ArchiveError::signing("exporting a key", &error))
    }

    /// The public half as bare OpenPGP packets, as `signed-by` files that end in `.gpg` hold it.
    ///
    /// # Errors
    /// [`ArchiveError::Signing`] when it cannot be written out.
    pub fn public_binary(&self) -> Result<Vec<u8>, ArchiveError> {
        let public = self.cert.clone().strip_secret_key_material();
        public
            .to_vec()
            .map_err(|error| ArchiveError::signing("exporting a key", &error))
    }

    /// An armored signature of `text` apart from it: the contents of `Release.gpg`.
    ///
    /// # Errors
    /// [`ArchiveError::Signing`] when `now` is outside OpenPGP's range.
    pub fn sign_detached(&self, text: &str, now: Timestamp) -> Result<Vec<u8>, ArchiveError> {
        let now = system_time(now)?;
        let mut signature = Vec::new();
        Armorer::new(Message::new(&mut signature))
            .kind(Kind::Signature)
            .build()
            .and_then(|armored| write_signed(self.signer(armored, now)?.detached(), text))
            .map_err(|error| ArchiveError::signing("signing a Release file", &error))?;
        Ok(signature)
    }

    /// `text` framed by its own signature: the contents of `InRelease`.
    ///
    /// # Errors
    /// [`ArchiveError::Signing`] when `now` is outside OpenPGP's range.
    pub fn sign_inline(&self, text: &str, now: Timestamp) -> Result<Vec<u8>, ArchiveError> {
        let now = system_time(now)?;
        let mut signed = Vec::new();
        self.signer(Message::new(&mut signed), now)
            // The newline before the signature does not belong to the signed text; GnuPG leaves it out likewise.
            .and_then(|signer| write_signed(signer.cleartext(), text.strip_suffix('\n').unwrap_or(text)))
            .map_err(|error| ArchiveError::signing("signing an InRelease file", &error))?;
        Ok(signed)
    }

    fn signer<'a>(&self, sink: Message<'a>, now: SystemTime) -> sequoia_openpgp::Result<Signer<'a>> {
        Ok(Signer::new(sink, self.pair.clone())?
            .hash_algo(HashAlgorithm::SHA512)?
            .creation_time(now))
    }
}

fn write_signed(signer: Signer, text: &str) -> sequoia_openpgp::Result<()> {
    let mut message = signer.build()?;
    message.write_all(text.as_bytes())?;
    message.finalize()
}

/// OpenPGP's times are 32 bits of seconds.
fn system_time(time: Timestamp) -> Result<SystemTime, ArchiveError> {
    let seconds = u32::try_from(time.unix()).map_err(|_| ArchiveError::Time(time.unix()))?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_750_000_000);

    #[test]
    fn both_forms_of_signature_are_framed_as_archives_do() {
        let key = SigningKey::generate("Test <test@example.org>", NOW).expect("a key");
        let inline = String::from_utf8(key.sign_inline("Suite: sid\n", NOW).expect("signs")).expect("text");
        assert!(
            inline.starts_with(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSuite: sid\n-----BEGIN PGP SIGNATURE-----\n"
            ),
            "{inline}"
        );
        let detached = String::from_utf8(key.sign_detached("Suite: sid\n", NOW).expect("signs")).expect("text");
        assert!(detached.starts_with("-----BEGIN PGP SIGNATURE-----\n"), "{detached}");
    }

    #[test]
    fn the_public_key_holds_no_secret() {
        let key = SigningKey::generate("Test <test@example.org>", NOW).expect("a key");
        let armored = String::from_utf8(key.public_armored().expect("exports")).expect("text");
        assert!(armored.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"), "{armored}");
        assert!(!armored.contains("PRIVATE"));
        // Packet type 6 (public key) in the old or the new header format.
        assert!(matches!(key.public_binary().expect("exports")[0], 0x98 | 0x99 | 0xc6));
        assert_eq!(key.fingerprint().len(), 40);
    }

    #[test]
    fn a_time_outside_openpgp_is_refused() {
        for seconds in [-1, i64::from(u32::MAX) + 1] {
            let made = SigningKey::generate("x", Timestamp::from_unix(seconds));
            assert!(matches!(made, Err(ArchiveError::Time(at)) if at == seconds));
        }
    }
}

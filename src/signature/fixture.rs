//! Keys and signatures for the tests of this room.
//!
//! Everything is dated relative to [`NOW`], so that no test depends on the clock.

use std::io::Write;
use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::cert::{Cert, CertBuilder};
use openpgp::crypto::KeyPair;
use openpgp::packet::key::{Key4, PrimaryRole};
use openpgp::packet::signature::SignatureBuilder;
use openpgp::packet::{Key, UserID};
use openpgp::serialize::SerializeInto;
use openpgp::serialize::stream::{Armorer, LiteralWriter, Message, Signer};
use openpgp::types::{HashAlgorithm, KeyFlags, ReasonForRevocation, SignatureType};
use openpgp::{Fingerprint, Packet, armor};

use crate::model::Timestamp;

/// The time of all tests: 2025-06-15T15:06:40Z.
pub(super) const NOW: Timestamp = Timestamp::from_unix(1_750_000_000);

/// Seconds in a day.
pub(super) const DAY: i64 = 86_400;

/// The time `seconds` after [`NOW`].
pub(super) fn at(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.plus(seconds).unix().unsigned_abs())
}

/// A key made a year ago.
pub(super) fn key(name: &str) -> Cert {
    key_with(|builder| builder.add_userid(name))
}

/// A key made a year ago, otherwise as `change` makes it.
pub(super) fn key_with(change: impl FnOnce(CertBuilder<'_>) -> CertBuilder<'_>) -> Cert {
    let builder = CertBuilder::new()
        .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
        .set_creation_time(at(-365 * DAY));
    change(builder).generate().unwrap().0
}

/// `cert`, revoked yesterday because it was compromised.
pub(super) fn revoked(cert: &Cert) -> Cert {
    let mut signer = key_pair(cert);
    let revocation = openpgp::cert::CertRevocationBuilder::new()
        .set_reason_for_revocation(ReasonForRevocation::KeyCompromised, b"")
        .unwrap()
        .set_signature_creation_time(at(-DAY))
        .unwrap()
        .build(&mut signer, cert, None)
        .unwrap();
    cert.clone().insert_packets(revocation).unwrap().0
}

/// A key of 1024 bits.
pub(super) fn weak_key() -> Cert {
    let mut primary: Key<_, PrimaryRole> = Key4::generate_rsa(1024).unwrap().into();
    primary.set_creation_time(at(-365 * DAY)).unwrap();
    bound(primary, KeyFlags::empty().set_certification().set_signing())
}

/// A key that may certify other keys, and nothing else.
pub(super) fn key_that_may_not_sign() -> Cert {
    let mut primary: Key<_, PrimaryRole> = Key4::generate_ed25519().unwrap().into();
    primary.set_creation_time(at(-365 * DAY)).unwrap();
    bound(primary, KeyFlags::empty().set_certification())
}

fn bound(primary: Key<openpgp::packet::key::SecretParts, PrimaryRole>, flags: KeyFlags) -> Cert {
    let mut signer = primary.clone().into_keypair().unwrap();
    let cert = Cert::try_from(Packet::SecretKey(primary)).unwrap();
    let user = UserID::from("bound");
    let binding = SignatureBuilder::new(SignatureType::PositiveCertification)
        .set_key_flags(flags)
        .unwrap()
        .set_signature_creation_time(at(-365 * DAY))
        .unwrap();
    let binding = user.bind(&mut signer, &cert, binding).unwrap();
    cert.insert_packets([Packet::from(user), binding.into()]).unwrap().0
}

/// The public key in binary.
pub(super) fn public(cert: &Cert) -> Vec<u8> {
    cert.to_vec().unwrap()
}

/// The public key in armor.
pub(super) fn armored(cert: &Cert) -> Vec<u8> {
    cert.armored().to_vec().unwrap()
}

/// The fingerprint of the key that signs for `cert`.
pub(super) fn signing_key(cert: &Cert) -> Fingerprint {
    cert.fingerprint()
}

fn key_pair(cert: &Cert) -> KeyPair {
    let primary = cert.primary_key().key().clone().parts_into_secret().unwrap();
    primary.into_keypair().unwrap()
}

/// Where a signature stands.
#[derive(Clone, Copy)]
enum Shape {
    Inline,
    Detached,
}

/// How a text is signed.
pub(super) struct Signing {
    keys: Vec<KeyPair>,
    created: i64,
    valid_for: Option<i64>,
    hash: HashAlgorithm,
}

impl Signing {
    /// By `keys`, a second ago.
    pub(super) fn by(keys: &[&Cert]) -> Self {
        Self {
            keys: keys.iter().map(|cert| key_pair(cert)).collect(),
            created: -1,
            valid_for: None,
            hash: HashAlgorithm::SHA512,
        }
    }

    /// The same, dated `seconds` after [`NOW`].
    pub(super) fn dated(self, seconds: i64) -> Self {
        Self {
            created: seconds,
            ..self
        }
    }

    /// The same, valid for so many seconds.
    pub(super) fn valid_for(self, seconds: i64) -> Self {
        Self {
            valid_for: Some(seconds),
            ..self
        }
    }

    /// The same with another hash.
    pub(super) fn hashed(self, hash: HashAlgorithm) -> Self {
        Self { hash, ..self }
    }

    /// A clear-signed file.
    pub(super) fn inline(&self, text: &str) -> Vec<u8> {
        self.write(text, false, Shape::Inline)
    }

    /// A detached signature in binary.
    pub(super) fn detached(&self, text: &str) -> Vec<u8> {
        self.write(text, false, Shape::Detached)
    }

    /// A detached signature in armor.
    pub(super) fn detached_armored(&self, text: &str) -> Vec<u8> {
        self.write(text, true, Shape::Detached)
    }

    /// A binary message that brings its text along.
    pub(super) fn message(&self, text: &str) -> Vec<u8> {
        let mut file = Vec::new();
        let signer = self.signer(Message::new(&mut file));
        let mut writer = LiteralWriter::new(signer.build().unwrap()).build().unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        writer.finalize().unwrap();
        file
    }

    fn write(&self, text: &str, armored: bool, shape: Shape) -> Vec<u8> {
        let mut file = Vec::new();
        let message = Message::new(&mut file);
        let message = if armored {
            Armorer::new(message).kind(armor::Kind::Signature).build().unwrap()
        } else {
            message
        };
        let signer = self.signer(message);
        let signer = match shape {
            Shape::Inline => signer.cleartext(),
            Shape::Detached => signer.detached(),
        };
        let mut writer = signer.build().unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        writer.finalize().unwrap();
        file
    }

    fn signer<'m>(&self, message: Message<'m>) -> Signer<'m> {
        let template = SignatureBuilder::new(SignatureType::Text);
        let template = match self.valid_for {
            None => template,
            Some(seconds) => {
                let period = Duration::from_secs(seconds.unsigned_abs());
                template.set_signature_validity_period(period).unwrap()
            }
        };
        let (first, others) = self.keys.split_first().unwrap();
        let signer = Signer::with_template(message, first.clone(), template).unwrap();
        let signer = signer.creation_time(at(self.created)).hash_algo(self.hash).unwrap();
        others
            .iter()
            .fold(signer, |signer, key| signer.add_signer(key.clone()).unwrap())
    }
}

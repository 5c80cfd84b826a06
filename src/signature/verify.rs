//! The verdict: which text was signed by a key that may sign it.
//!
//! Owns the policy. It holds no keys and asks no clock: both are given, so that the same call checks bytes that have
//! just arrived and bytes that were stored long ago.

use std::fmt;
use std::io::Read;
use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::cert::Cert;
use openpgp::cert::amalgamation::ValidAmalgamation as _;
use openpgp::packet::Signature;
use openpgp::parse::Parse;
use openpgp::parse::stream::{
    DetachedVerifierBuilder, GoodChecksum, MessageLayer, MessageStructure, VerificationError, VerificationHelper,
    VerifierBuilder,
};
use openpgp::policy::StandardPolicy;
use openpgp::types::{HashAlgorithm, RevocationStatus};
use openpgp::{Fingerprint, KeyHandle, armor};

use super::framing::{self, FramingError};
use super::keyring::Keyring;
use crate::model::{Timestamp, VerifiedText};

/// How far the signer's clock may run ahead of ours, in seconds, before its signature counts as made in the future.
/// Mirrors fetch a Release file moments after it was signed; clocks that are kept in time differ by less.
const CLOCK_SKEW: i64 = 300;

/// Text that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The file is not framed as it must be.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The detached signature is not framed as it must be.
    #[error("the detached signature is unusable")]
    Detached(#[source] FramingError),
    /// What should be signatures cannot be read.
    #[error("the signature is damaged: {reason}")]
    Malformed {
        /// What the OpenPGP library says.
        reason: String,
    },
    /// There are no signatures.
    #[error("it carries no signature")]
    NoSignature,
    /// No signature is good.
    #[error("no good signature by a key of the keyring: {}", joined(.0))]
    Refused(Vec<Refusal>),
    /// The OpenPGP library and the frame disagree on what was signed.
    #[error("it can be read in two ways, and only one of them is signed")]
    Ambiguous,
}

/// Why one signature does not count. Keys are named by their fingerprint, or by the key id where the signature has
/// no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key is not in the keyring.
    #[error("signed by key {key}, which is not in the keyring")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// The key has expired.
    #[error("key {key} expired on {on}")]
    KeyExpired {
        /// The key.
        key: String,
        /// The day.
        on: String,
    },
    /// The key was revoked.
    #[error("key {key} was revoked")]
    KeyRevoked {
        /// The key.
        key: String,
    },
    /// The key's owner does not let it sign.
    #[error("key {key} is not meant for signing")]
    KeyNotForSigning {
        /// The key.
        key: String,
    },
    /// The key breaks the policy in another way, such as being too short.
    #[error("key {key} is not acceptable: {reason}")]
    KeyUnusable {
        /// The key.
        key: String,
        /// What the OpenPGP library says.
        reason: String,
    },
    /// The signature has expired.
    #[error("the signature by key {key} expired on {on}")]
    SignatureExpired {
        /// The key.
        key: String,
        /// The day.
        on: String,
    },
    /// The signature is from the future.
    #[error("the signature by key {key} is dated in the future, on {on}; is the clock right?")]
    SignatureInFuture {
        /// The key.
        key: String,
        /// The day.
        on: String,
    },
    /// The signature was made with a hash that can be forged.
    #[error("the signature by key {key} uses {hash}, which is not safe any more")]
    WeakHash {
        /// The key.
        key: String,
        /// The hash algorithm.
        hash: String,
    },
    /// The signature is not of this text.
    #[error("the signature by key {key} does not match the text")]
    Mismatch {
        /// The key.
        key: String,
    },
    /// The signature breaks the policy in another way.
    #[error("the signature by key {key} is not acceptable: {reason}")]
    Unacceptable {
        /// The key.
        key: String,
        /// What the OpenPGP library says.
        reason: String,
    },
    /// The signature cannot be read.
    #[error("a signature is damaged: {reason}")]
    Damaged {
        /// What the OpenPGP library says.
        reason: String,
    },
}

/// Verifies a clear-signed file such as `InRelease`. The text comes without the line end before the signature.
///
/// One good signature by a key of `keyring` is enough, whatever the others are. Good means: it matches the text, was
/// not made in the future, has not expired, uses no hash that can be forged; and its key is acceptable, meant for
/// signing, and at `now` neither expired nor revoked.
///
/// # Errors
/// Why the text must not be used; with every signature's fault when none is good.
pub fn verify_inline(file: &[u8], keyring: &Keyring, now: Timestamp) -> Result<VerifiedText, SignatureError> {
    let framed = framing::signed_text(file)?;
    let policy = policy_at(now);
    let judge = Judge::new(keyring, &policy, now);
    let mut verifier = VerifierBuilder::from_bytes(file)
        .and_then(|builder| builder.with_policy(&policy, judge.latest(), judge))
        .map_err(malformed)?;
    let mut text = String::with_capacity(framed.len());
    verifier
        .read_to_string(&mut text)
        .map_err(|error| SignatureError::Malformed {
            reason: error.to_string(),
        })?;
    let signers = verifier.into_helper().verdict()?;
    if text != framed {
        return Err(SignatureError::Ambiguous);
    }
    Ok(VerifiedText::vouched(text, signers))
}

/// Verifies `text`, such as `Release`, with the detached `signature`, such as `Release.gpg`: armored or binary. What
/// is good, and the errors, are those of [`verify_inline`].
///
/// # Errors
/// Why the text must not be used.
pub fn verify_detached(
    text: &[u8],
    signature: &[u8],
    keyring: &Keyring,
    now: Timestamp,
) -> Result<VerifiedText, SignatureError> {
    let framed = framing::plain_text(text)?;
    let signature = match framing::detached_blocks(signature).map_err(SignatureError::Detached)? {
        Some(blocks) => dearmor(&blocks)?,
        None => signature.to_vec(),
    };
    let policy = policy_at(now);
    let judge = Judge::new(keyring, &policy, now);
    let mut verifier = DetachedVerifierBuilder::from_bytes(&signature)
        .and_then(|builder| builder.with_policy(&policy, judge.latest(), judge))
        .map_err(malformed)?;
    verifier.verify_bytes(framed).map_err(malformed)?;
    let signers = verifier.into_helper().verdict()?;
    Ok(VerifiedText::vouched(framed.to_owned(), signers))
}

/// The text of a clear-signed file whose signature is not looked at, because the operator switched the check off. The
/// frame must be right all the same.
///
/// # Errors
/// What is wrong with the frame.
pub fn without_check_inline(file: &[u8]) -> Result<VerifiedText, SignatureError> {
    let text = framing::signed_text(file)?;
    Ok(VerifiedText::vouched(text, Vec::new()))
}

/// Plain text whose signature is not looked at, because the operator switched the check off.
///
/// # Errors
/// When it is no plain text.
pub fn without_check(text: &[u8]) -> Result<VerifiedText, SignatureError> {
    let text = framing::plain_text(text)?;
    Ok(VerifiedText::vouched(text.to_owned(), Vec::new()))
}

/// The binary signatures of armored blocks, one after the other.
fn dearmor(blocks: &[&str]) -> Result<Vec<u8>, SignatureError> {
    let mut binary = Vec::new();
    for block in blocks {
        let mode = armor::ReaderMode::Tolerant(Some(armor::Kind::Signature));
        let mut reader = armor::Reader::from_bytes(block.as_bytes(), mode);
        reader
            .read_to_end(&mut binary)
            .map_err(|error| SignatureError::Malformed {
                reason: error.to_string(),
            })?;
    }
    Ok(binary)
}

/// What algorithms and key sizes are good enough at `now`. MD5, SHA-1 and its contemporary are refused at any time:
/// the library's calendar would accept them if our clock stood far in the past.
fn policy_at(now: Timestamp) -> StandardPolicy<'static> {
    let mut policy = StandardPolicy::at(system_time(now));
    for hash in [HashAlgorithm::MD5, HashAlgorithm::SHA1, HashAlgorithm::RipeMD] {
        policy.reject_hash(hash);
    }
    policy
}

/// `time` within the range that OpenPGP can express, which starts in 1970 and ends in 2106.
fn system_time(time: Timestamp) -> SystemTime {
    let seconds = u32::try_from(time.unix().max(0)).unwrap_or(u32::MAX);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
}

/// Collects the verdict on each signature while the library reads a file.
struct Judge<'a> {
    keyring: &'a Keyring,
    policy: &'a StandardPolicy<'static>,
    now: Timestamp,
    signers: Vec<String>,
    refusals: Vec<Refusal>,
}

impl<'a> Judge<'a> {
    fn new(keyring: &'a Keyring, policy: &'a StandardPolicy<'static>, now: Timestamp) -> Self {
        Self {
            keyring,
            policy,
            now,
            signers: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// The latest date that a signature may have.
    fn latest(&self) -> SystemTime {
        system_time(self.now.plus(CLOCK_SKEW))
    }

    /// The keys of the good signatures.
    fn verdict(self) -> Result<Vec<String>, SignatureError> {
        if !self.signers.is_empty() {
            return Ok(self.signers);
        }
        if self.refusals.is_empty() {
            return Err(SignatureError::NoSignature);
        }
        Err(SignatureError::Refused(self.refusals))
    }

    /// A matching signature by a key of the keyring: whether both are still in order now.
    fn matching(&self, good: &GoodChecksum<'_>) -> Result<String, Refusal> {
        let fingerprint = good.ka.key().fingerprint();
        match self.fault_of_signature(good.sig, &fingerprint) {
            Some(refusal) => Err(refusal),
            None => self
                .fault_of_key(good.ka.cert(), &fingerprint)
                .map_or(Ok(fingerprint.to_hex()), Err),
        }
    }

    fn refusal(&self, error: &VerificationError<'_>) -> Refusal {
        match error {
            VerificationError::MissingKey { sig } => Refusal::UnknownKey { key: issuer(sig) },
            VerificationError::UnboundKey { sig, cert, error } => {
                let (key, reason) = (issuer(sig), error.to_string());
                let fault = self.fault_of_key(cert, &cert.fingerprint());
                fault.unwrap_or(Refusal::KeyUnusable { key, reason })
            }
            VerificationError::BadKey { sig, ka, error } => {
                let (key, reason) = (issuer(sig), error.to_string());
                let fault = self.fault_of_key(ka.cert(), &ka.key().fingerprint());
                fault.unwrap_or(Refusal::KeyUnusable { key, reason })
            }
            VerificationError::BadSignature { sig, ka, error } => {
                let fingerprint = ka.key().fingerprint();
                let fault = self.fault_of_signature(sig, &fingerprint);
                fault.unwrap_or_else(|| bad_signature(sig, fingerprint.to_hex(), error))
            }
            VerificationError::MalformedSignature { error, .. } => Refusal::Damaged {
                reason: error.to_string(),
            },
            VerificationError::UnknownSignature { sig } => Refusal::Damaged {
                reason: sig.error().to_string(),
            },
            unknown => Refusal::Damaged {
                reason: unknown.to_string(),
            },
        }
    }

    /// What is wrong with the time of `signature`.
    fn fault_of_signature(&self, signature: &Signature, key: &Fingerprint) -> Option<Refusal> {
        let key = key.to_hex();
        if let Some(expired) = signature
            .signature_expiration_time()
            .filter(|at| *at <= system_time(self.now))
        {
            let on = day(expired);
            return Some(Refusal::SignatureExpired { key, on });
        }
        let future = signature.signature_creation_time().filter(|at| *at > self.latest())?;
        let on = day(future);
        Some(Refusal::SignatureInFuture { key, on })
    }

    /// What is wrong now with the key `fingerprint` of `cert`.
    fn fault_of_key(&self, cert: &Cert, fingerprint: &Fingerprint) -> Option<Refusal> {
        let key = fingerprint.to_hex();
        let unusable = |key, reason: String| Some(Refusal::KeyUnusable { key, reason });
        let valid = match cert.with_policy(self.policy, system_time(self.now)) {
            Ok(valid) => valid,
            Err(error) => return unusable(key, error.to_string()),
        };
        if matches!(valid.revocation_status(), RevocationStatus::Revoked(_)) {
            return Some(Refusal::KeyRevoked { key });
        }
        if let Err(error) = valid.alive() {
            return Some(expired(key, valid.primary_key().key_expiration_time(), &error));
        }
        let Some(part) = valid.keys().find(|part| part.key().fingerprint() == *fingerprint) else {
            return unusable(key, "its owner's signature on it is not acceptable".to_owned());
        };
        if matches!(part.revocation_status(), RevocationStatus::Revoked(_)) {
            return Some(Refusal::KeyRevoked { key });
        }
        if let Err(error) = part.alive() {
            return Some(expired(key, part.key_expiration_time(), &error));
        }
        (!part.for_signing()).then_some(Refusal::KeyNotForSigning { key })
    }
}

impl VerificationHelper for Judge<'_> {
    fn get_certs(&mut self, ids: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(self.keyring.find(ids))
    }

    /// Never fails: the verdict is asked for once everything was read.
    fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
        for layer in structure {
            let MessageLayer::SignatureGroup { results } = layer else {
                continue;
            };
            for result in results {
                let judged = match result {
                    Ok(good) => self.matching(&good),
                    Err(error) => Err(self.refusal(&error)),
                };
                match judged {
                    Ok(signer) if self.signers.contains(&signer) => {}
                    Ok(signer) => self.signers.push(signer),
                    Err(refusal) => self.refusals.push(refusal),
                }
            }
        }
        Ok(())
    }
}

fn bad_signature(signature: &Signature, key: String, error: &openpgp::anyhow::Error) -> Refusal {
    match error.downcast_ref() {
        // The arithmetic of RSA has an error of its own, which says no more than those.
        Some(openpgp::Error::BadSignature(_) | openpgp::Error::ManipulatedMessage) | None => Refusal::Mismatch { key },
        Some(openpgp::Error::PolicyViolation(..) | openpgp::Error::UnsupportedHashAlgorithm(_)) => Refusal::WeakHash {
            key,
            hash: signature.hash_algo().to_string(),
        },
        Some(_) => Refusal::Unacceptable {
            key,
            reason: error.to_string(),
        },
    }
}

fn expired(key: String, at: Option<SystemTime>, error: &openpgp::anyhow::Error) -> Refusal {
    match (error.downcast_ref(), at) {
        (Some(openpgp::Error::Expired(_)), Some(at)) => Refusal::KeyExpired { key, on: day(at) },
        _ => Refusal::KeyUnusable {
            key,
            reason: error.to_string(),
        },
    }
}

/// The key that `signature` says it was made with.
fn issuer(signature: &Signature) -> String {
    let issuers = signature.get_issuers();
    let fingerprint = issuers
        .iter()
        .find(|handle| matches!(handle, KeyHandle::Fingerprint(_)));
    fingerprint
        .or(issuers.first())
        .map_or("without a name".to_owned(), KeyHandle::to_hex)
}

fn day(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or("an impossible day".to_owned(), |time| {
        time.strftime("%Y-%m-%d").to_string()
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn malformed(error: openpgp::anyhow::Error) -> SignatureError {
    SignatureError::Malformed {
        reason: error.to_string(),
    }
}

fn joined(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Debug for Judge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("now", &self.now).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::fixture::{
        DAY, NOW, Signing, key, key_that_may_not_sign, key_with, public, revoked, weak_key,
    };

    const TEXT: &str = "Origin: x\n-dash\nFrom me\n\nSuite: y";

    fn ring(certs: &[&Cert]) -> Keyring {
        let file: Vec<u8> = certs.iter().flat_map(|cert| public(cert)).collect();
        Keyring::parse(&file).unwrap()
    }

    fn signing_key(cert: &Cert) -> String {
        crate::signature::fixture::signing_key(cert).to_hex()
    }

    /// Verifies one signature in both forms, which must agree, and returns what is wrong with it.
    fn refusals(signing: &Signing, keyring: &Keyring) -> Vec<Refusal> {
        let inline = verify_inline(&signing.inline(TEXT), keyring, NOW);
        let detached = verify_detached(TEXT.as_bytes(), &signing.detached(TEXT), keyring, NOW);
        assert_eq!(inline, detached);
        match inline {
            Ok(_) => Vec::new(),
            Err(SignatureError::Refused(refusals)) => refusals,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_good_signature_vouches_for_the_text() {
        let (a, b, c) = (key("a"), key("b"), key("c"));
        for (keyring, what) in [(ring(&[&a]), "the key alone"), (ring(&[&b, &a, &c]), "one key of many")] {
            let signing = Signing::by(&[&a]);
            let verified = verify_inline(&signing.inline(TEXT), &keyring, NOW).expect(what);
            assert_eq!(verified.text(), TEXT);
            assert_eq!(verified.signers(), [signing_key(&a)]);
            let verified = verify_detached(TEXT.as_bytes(), &signing.detached(TEXT), &keyring, NOW).expect(what);
            assert_eq!(verified.text(), TEXT);
            assert_eq!(verified.signers(), [signing_key(&a)]);
            let armored = signing.detached_armored(TEXT);
            assert!(verify_detached(TEXT.as_bytes(), &armored, &keyring, NOW).is_ok());
        }
    }

    #[test]
    fn bad_signatures_are_refused_for_their_reason() {
        let good = key("good");
        let unknown = key("unknown");
        let expired = key_with(|builder| builder.set_validity_period(Duration::from_secs(100 * DAY.unsigned_abs())));
        let revoked = revoked(&key("revoked"));
        let weak = weak_key();
        let mute = key_that_may_not_sign();
        let keyring = ring(&[&good, &expired, &revoked, &weak, &mute]);
        let id = |cert| signing_key(cert);
        let by = |cert| Signing::by(&[cert]);

        let found = refusals(&by(&unknown), &keyring);
        assert_eq!(found, [Refusal::UnknownKey { key: id(&unknown) }]);

        // Made while the key was alive, and presented now.
        let found = refusals(&by(&expired).dated(-300 * DAY), &keyring);
        let on = "2024-09-23".to_owned();
        assert_eq!(
            found,
            [Refusal::KeyExpired {
                key: id(&expired),
                on: on.clone()
            }]
        );
        // Made when it had expired already.
        let found = refusals(&by(&expired), &keyring);
        assert_eq!(found, [Refusal::KeyExpired { key: id(&expired), on }]);

        for dated in [-300 * DAY, -1] {
            let found = refusals(&by(&revoked).dated(dated), &keyring);
            assert_eq!(found, [Refusal::KeyRevoked { key: id(&revoked) }], "{dated}");
        }

        let found = refusals(&by(&weak), &keyring);
        assert!(
            matches!(&found[..], [Refusal::KeyUnusable { key, .. }] if *key == id(&weak)),
            "{found:?}"
        );

        let found = refusals(&by(&mute), &keyring);
        assert_eq!(found, [Refusal::KeyNotForSigning { key: id(&mute) }]);

        let found = refusals(&by(&good).dated(CLOCK_SKEW + 1), &keyring);
        assert_eq!(
            found,
            [Refusal::SignatureInFuture {
                key: id(&good),
                on: "2025-06-15".to_owned()
            }]
        );
        assert!(refusals(&by(&good).dated(CLOCK_SKEW), &keyring).is_empty());

        let found = refusals(&by(&good).dated(-3 * DAY).valid_for(2 * DAY), &keyring);
        assert_eq!(
            found,
            [Refusal::SignatureExpired {
                key: id(&good),
                on: "2025-06-14".to_owned()
            }]
        );
        assert!(refusals(&by(&good).dated(-3 * DAY).valid_for(4 * DAY), &keyring).is_empty());

        for hash in [HashAlgorithm::SHA1, HashAlgorithm::RipeMD] {
            let found = refusals(&by(&good).hashed(hash), &keyring);
            let hash = hash.to_string();
            assert_eq!(found, [Refusal::WeakHash { key: id(&good), hash }]);
        }
    }

    #[test]
    fn changed_text_is_refused() {
        let a = key("a");
        let (keyring, signing) = (ring(&[&a]), Signing::by(&[&a]));
        let mismatch = Err(SignatureError::Refused(vec![Refusal::Mismatch {
            key: signing_key(&a),
        }]));
        let inline = String::from_utf8(signing.inline(TEXT)).unwrap();
        let changed = inline.replace("Origin: x", "Origin: y");
        assert_eq!(verify_inline(changed.as_bytes(), &keyring, NOW), mismatch);
        let changed = TEXT.replace("Origin: x", "Origin: y");
        assert_eq!(
            verify_detached(changed.as_bytes(), &signing.detached(TEXT), &keyring, NOW),
            mismatch
        );
        let of_another = signing.detached("Origin: another Release");
        assert_eq!(verify_detached(TEXT.as_bytes(), &of_another, &keyring, NOW), mismatch);
    }

    #[test]
    fn one_good_signature_is_enough_and_else_all_are_reported() {
        let (a, b, c) = (key("a"), key("b"), key("c"));
        let three = Signing::by(&[&b, &a, &c]);
        assert!(refusals(&three, &ring(&[&a])).is_empty());
        let two_good = verify_inline(&three.inline(TEXT), &ring(&[&a, &c]), NOW).unwrap();
        assert_eq!(two_good.signers().len(), 2);
        let once = Signing::by(&[&a]).detached(TEXT);
        let twice = verify_detached(TEXT.as_bytes(), &[&once[..], &once[..]].concat(), &ring(&[&a]), NOW).unwrap();
        assert_eq!(twice.signers(), [signing_key(&a)]);
        let mut unknown: Vec<_> = refusals(&three, &ring(&[&key("d")]))
            .iter()
            .map(ToString::to_string)
            .collect();
        unknown.sort();
        let mut expected: Vec<_> = [&a, &b, &c]
            .map(|cert| Refusal::UnknownKey { key: signing_key(cert) }.to_string())
            .into();
        expected.sort();
        assert_eq!(unknown, expected);
    }

    #[test]
    fn a_stored_text_is_judged_by_todays_date() {
        let a = key_with(|builder| builder.set_validity_period(Duration::from_secs(400 * DAY.unsigned_abs())));
        let (keyring, file) = (ring(&[&a]), Signing::by(&[&a]).inline(TEXT));
        assert!(verify_inline(&file, &keyring, NOW).is_ok());
        assert!(verify_inline(&file, &keyring, NOW.plus(34 * DAY)).is_ok());
        let later = verify_inline(&file, &keyring, NOW.plus(36 * DAY));
        assert!(matches!(&later, Err(SignatureError::Refused(why)) if matches!(why[..], [Refusal::KeyExpired { .. }])));
        assert!(verify_inline(&file, &ring(&[&revoked(&a)]), NOW).is_err());
        // A clock that was never set must neither pass nor crash.
        for wrong in [i64::MIN, -1, 0, i64::MAX] {
            assert!(
                verify_inline(&file, &keyring, Timestamp::from_unix(wrong)).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_carries_no_signature_is_refused() {
        let a = key("a");
        let keyring = ring(&[&a]);
        let file = String::from_utf8(Signing::by(&[&a]).inline(TEXT)).unwrap();
        let body = file.find("-----BEGIN PGP SIGNATURE").unwrap();
        let nonsense = format!(
            "{}-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n",
            &file[..body]
        );
        assert!(verify_inline(nonsense.as_bytes(), &keyring, NOW).is_err());
        let wrapped = format!("Origin: evil\n{file}");
        assert_eq!(
            verify_inline(wrapped.as_bytes(), &keyring, NOW),
            Err(SignatureError::Framing(FramingError::TextBefore(2)))
        );
        // A complete message where a detached signature belongs brings its own text along.
        for payload in [
            file.as_bytes(),
            &Signing::by(&[&a]).message("Origin: evil"),
            b"",
            b"\xc2\x01",
        ] {
            assert!(verify_detached(TEXT.as_bytes(), payload, &keyring, NOW).is_err());
        }
        let key_block = public(&a);
        assert!(verify_detached(TEXT.as_bytes(), &key_block, &keyring, NOW).is_err());
    }

    #[test]
    fn several_blocks_of_detached_signatures_count() {
        let (a, b) = (key("a"), key("b"));
        let blocks = [
            Signing::by(&[&a]).detached_armored(TEXT),
            Signing::by(&[&b]).detached_armored(TEXT),
        ]
        .concat();
        for cert in [&a, &b] {
            let verified = verify_detached(TEXT.as_bytes(), &blocks, &ring(&[cert]), NOW).expect("one is good");
            assert_eq!(verified.signers(), [signing_key(cert)]);
        }
    }

    #[test]
    fn unchecked_text_is_framed_all_the_same() {
        let file = Signing::by(&[&key("a")]).inline(TEXT);
        let unchecked = without_check_inline(&file).unwrap();
        assert_eq!((unchecked.text(), unchecked.signers().len()), (TEXT, 0));
        assert!(without_check_inline(TEXT.as_bytes()).is_err());
        assert_eq!(without_check(TEXT.as_bytes()).unwrap().text(), TEXT);
        assert!(without_check(&file).is_err());
    }
}

//! Signatures of Release files: the only room that knows OpenPGP, and the only one that vouches for text.
//!
//! Owns the strict framing of signed files, the keyrings, and the verdict. A text leaves here as a
//! [`VerifiedText`](crate::model::VerifiedText) or not at all. The exit code of a verifying program is not enough
//! for that: such programs accept text around the signed block, line ends and blanks that nobody signed, and keys
//! that were revoked since. So the frame is checked here first, byte for byte; the text is the one that the verifier
//! returns; and the key must be in order now, not only when it signed.

#[cfg(test)]
mod fixture;
mod framing;
mod keyring;
mod sign;
mod verify;

pub use framing::FramingError;
pub use keyring::{Keyring, KeyringError};
pub use sign::{Signer, SigningError, Unfit};
pub use verify::{Refusal, SignatureError, verify_detached, verify_inline, without_check, without_check_inline};

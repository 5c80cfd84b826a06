//! Whom a mirror trusts, and what an operator should know about how its connections are secured.
//!
//! Owns the choice of keyring, and those warnings, the same for every command that connects. It decides nothing.

use std::path::Path;

use crate::config::MirrorSettings;
use crate::signature::{Keyring, KeyringError};
use crate::upstream::exposed_key;

/// Where APT keeps the keyrings that it trusts itself.
const APT_CONFIGURATION: &str = "/etc/apt";

/// The keys whose signatures count for a mirror's upstream.
pub(super) fn keyring(mirror: &MirrorSettings) -> Result<Keyring, KeyringError> {
    match &mirror.keyring {
        Some(path) => Keyring::load(path),
        None => Keyring::load_apt_trusted(Path::new(APT_CONFIGURATION)),
    }
}

/// Everything that is dubious in the TLS settings of a mirror, one sentence each.
pub(super) fn warnings(mirror: &MirrorSettings) -> Vec<String> {
    let mut warnings = Vec::new();
    if mirror.tls.insecure_skip_verify {
        warnings.push(format!(
            "The certificate of {}'s upstream is NOT verified (insecure_skip_verify): anybody in between can pose as it",
            mirror.id
        ));
    }
    if let Some(key) = exposed_key(&mirror.tls) {
        let key = key.display();
        warnings.push(format!(
            "Everybody on this machine can read the client key {key} of {}: chmod o-r it",
            mirror.id
        ));
    }
    warnings
}

/// Logs the warnings about a mirror.
pub(super) fn warn(mirror: &MirrorSettings) {
    for warning in warnings(mirror) {
        tracing::warn!("{warning}");
    }
}

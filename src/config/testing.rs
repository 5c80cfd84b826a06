//! `[mirrors.ID.test]`: what a snapshot must be like to be fit for production.
//!
//! Owns the meaning of those keys. It must never look at anything but the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MirrorSettings;
use super::error::{Located, Notes};
use super::file::{RawGroup, RawMirror, RawTest};
use super::resolve::{commands, duration, is_set, names, percent};
use crate::model::{MirrorId, Percent};

/// What a snapshot must be like to be fit for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestSettings {
    /// Production moves to no snapshot that has not passed its checks.
    pub required: bool,
    /// The operator's own tests: lines for a shell, in their order.
    pub commands: Vec<String>,
    /// How long each of them may take.
    pub timeout: Duration,
    /// Fewest packages.
    pub min_packages: u64,
    /// Largest share of production's packages that may be gone.
    pub max_shrink: Percent,
    /// How long clients must go on believing the Release files.
    pub min_validity: Duration,
    /// The mirrors that clients use together with this one; none twice, and not itself.
    pub companions: Vec<MirrorId>,
}

/// How long a command may take when nothing is configured: enough to install a system.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);

/// Fewest packages when nothing is configured: an archive without any is no archive.
const DEFAULT_MIN_PACKAGES: u64 = 1;

/// The settings of a mirror, a snapshot of which is held when it lost more than `max_shrink`.
pub(super) fn settings(raw: &RawMirror, max_shrink: Percent, notes: &mut Notes) -> TestSettings {
    let test = &raw.test;
    if let Some(required) = test.required.as_ref().filter(|required| required.value)
        && is_set(raw.publish_to_production.as_ref())
    {
        let message =
            "cannot be together with publish_to_production = true, which moves production before anything is tested";
        let hint = "leave publish_to_production out, and run mirrorctl sync --promote-if-tested";
        notes.fault_with_hint(required, message, hint);
    }
    TestSettings {
        required: is_set(test.required.as_ref()),
        commands: commands(test.commands.as_ref(), notes).unwrap_or_default(),
        timeout: timeout(test.timeout.as_ref(), notes).unwrap_or(DEFAULT_TIMEOUT),
        min_packages: min_packages(test.min_packages.as_ref(), notes),
        max_shrink: percent(test.max_shrink.as_ref(), notes).unwrap_or(max_shrink),
        min_validity: duration(test.min_validity.as_ref(), notes).unwrap_or_default(),
        companions: companions(test, notes),
    }
}

/// A length of time in which something can be done.
pub(super) fn timeout(raw: Option<&Located<String>>, notes: &mut Notes) -> Option<Duration> {
    let limit = duration(raw, notes)?;
    if let Some(raw) = raw.filter(|_| limit.is_zero()) {
        notes.fault(raw, "must be longer than 0");
    }
    Some(limit)
}

fn min_packages(raw: Option<&Located<i64>>, notes: &mut Notes) -> u64 {
    let Some(raw) = raw else { return DEFAULT_MIN_PACKAGES };
    u64::try_from(raw.value).unwrap_or_else(|_| {
        notes.fault(raw, format!("must be 0 or more, but is {}", raw.value));
        DEFAULT_MIN_PACKAGES
    })
}

fn companions(raw: &RawTest, notes: &mut Notes) -> Vec<MirrorId> {
    match &raw.companions {
        Some(raw) if !raw.value.is_empty() => names(raw, notes).unwrap_or_default(),
        Some(_) | None => Vec::new(),
    }
}

/// Notes companions that are no other mirrors, and no groups of any.
pub(super) fn check_companions(mirrors: &[RawMirror], groups: &[RawGroup], notes: &mut Notes) {
    for mirror in mirrors {
        for companion in mirror.test.companions.iter().flat_map(|raw| &raw.value) {
            if companion.value == mirror.id.value {
                notes.fault(companion, "is the mirror itself");
            } else if let Some((_, members)) = groups.iter().find(|(name, _)| name.value == companion.value) {
                if members.value.iter().all(|member| member.value == mirror.id.value) {
                    notes.fault(companion, "is a group of no other mirror");
                }
            } else if !mirrors.iter().any(|other| other.id.value == companion.value) {
                let message = format!("{:?} is no mirror", companion.value);
                notes.fault_with_hint(
                    companion,
                    message,
                    "companions are ids of mirrors, as in [mirrors.ID], or groups",
                );
            }
        }
    }
}

/// Puts the members of groups in the place of these among the companions, each once, and no mirror among its own.
pub(super) fn put_members_for_groups(
    mirrors: &mut BTreeMap<MirrorId, MirrorSettings>,
    groups: &BTreeMap<MirrorId, Vec<MirrorId>>,
) {
    for mirror in mirrors.values_mut() {
        let named = std::mem::take(&mut mirror.test.companions);
        let members = |name: MirrorId| groups.get(&name).cloned().unwrap_or_else(|| vec![name]);
        for companion in named.into_iter().flat_map(members) {
            if companion != mirror.id && !mirror.test.companions.contains(&companion) {
                mirror.test.companions.push(companion);
            }
        }
    }
}

//! `[publish]`, `[groups]` and `environments`: through which pointers snapshots pass, and what stays reachable.
//!
//! Owns the meaning of those keys. It must never look at anything but the configuration.

use std::collections::BTreeMap;

use super::error::{Located, Notes};
use super::file::{RawGroup, RawPublish};
use super::resolve::{duration, names};
use crate::model::{Lending, MirrorId, Pointer};

/// What of earlier publications stays reachable.
pub(super) fn lending(raw: &RawPublish, inherited: Lending, notes: &mut Notes) -> Lending {
    let generations = raw.keep_generations.as_ref().and_then(|raw| {
        let number = u32::try_from(raw.value).ok();
        if number.is_none() {
            notes.fault(raw, format!("must be 0 or more, but is {}", raw.value));
        }
        number
    });
    Lending {
        generations: generations.unwrap_or(inherited.generations),
        within: duration(raw.keep_for.as_ref(), notes).unwrap_or(inherited.within),
    }
}

/// The pointers in the order of the workflow.
pub(super) fn environments(raw: Option<&Located<Vec<Located<String>>>>, notes: &mut Notes) -> Vec<Pointer> {
    raw.and_then(|raw| names(raw, notes))
        .unwrap_or_else(|| Pointer::ALWAYS.to_vec())
}

/// The groups, whose names are no mirrors' and whose members are mirrors.
pub(super) fn groups(
    raw: &[RawGroup],
    is_mirror: impl Fn(&str) -> bool,
    notes: &mut Notes,
) -> BTreeMap<MirrorId, Vec<MirrorId>> {
    let mut groups = BTreeMap::new();
    for (name, members) in raw {
        if is_mirror(&name.value) {
            notes.fault(name, "is a mirror already: a group needs a name of its own");
        }
        for member in members.value.iter().filter(|member| !is_mirror(&member.value)) {
            let message = format!("{:?} is no mirror", member.value);
            notes.fault_with_hint(member, message, "a group has the ids of mirrors, as in [mirrors.ID]");
        }
        match name.value.parse() {
            Ok(id) => drop(groups.insert(id, names(members, notes).unwrap_or_default())),
            Err(error) => notes.fault(name, format!("cannot be the name of a group: {error}")),
        }
    }
    groups
}

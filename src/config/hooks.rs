//! `[hooks]`: what is run when something has happened.
//!
//! Owns the meaning of those keys. It must never look at anything but the configuration.

use std::time::Duration;

use super::error::Notes;
use super::file::RawHooks;
use super::resolve::commands;
use super::testing::timeout;

/// What is run when something has happened: lines for a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// After a sync that recorded a snapshot.
    pub after_sync: Vec<String>,
    /// After `staging` moved.
    pub after_stage: Vec<String>,
    /// After production, or another pointer than `staging`, moved.
    pub after_promote: Vec<String>,
    /// After a pointer went back.
    pub after_rollback: Vec<String>,
    /// After a sync, a test or a move failed.
    pub on_failure: Vec<String>,
    /// How long each command may take.
    pub timeout: Duration,
}

impl HookSettings {
    /// What applies when nothing is configured: nothing is run.
    pub const NONE: Self = Self {
        after_sync: Vec::new(),
        after_stage: Vec::new(),
        after_promote: Vec::new(),
        after_rollback: Vec::new(),
        on_failure: Vec::new(),
        // Enough to tell somebody; the command that ran it waits.
        timeout: Duration::from_mins(1),
    };
}

/// The hooks that `raw` names, and those of `inherited` for keys that it does not have.
pub(super) fn settings(raw: &RawHooks, inherited: &HookSettings, notes: &mut Notes) -> HookSettings {
    let mut list =
        |raw: &Option<_>, inherited: &Vec<String>| commands(raw.as_ref(), notes).unwrap_or_else(|| inherited.clone());
    HookSettings {
        after_sync: list(&raw.after_sync, &inherited.after_sync),
        after_stage: list(&raw.after_stage, &inherited.after_stage),
        after_promote: list(&raw.after_promote, &inherited.after_promote),
        after_rollback: list(&raw.after_rollback, &inherited.after_rollback),
        on_failure: list(&raw.on_failure, &inherited.on_failure),
        timeout: timeout(raw.timeout.as_ref(), notes).unwrap_or(inherited.timeout),
    }
}

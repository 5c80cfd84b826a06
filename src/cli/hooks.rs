//! Which hooks are run for what a command has done.
//!
//! Owns the step from what happened to events, and from settings to the hooks that get them. Mirrors with the same hooks
//! share one event, so that one act is told once. A hook that fails is a warning: what is done stays done.

use std::ffi::OsStr;

use super::context::{self, Context};
use super::failure::{Failure, Kind};
use super::stopping::Stopping;
use crate::catalog::Moved;
use crate::config::{HookSettings, MirrorSettings};
use crate::hooks::{self, Concerned, Event, Occasion};
use crate::model::{MirrorId, Pointer};
use crate::sync::{Outcome, SyncReport};

/// The lines that `settings` have for an occasion.
fn lines(settings: &HookSettings, occasion: Occasion) -> &[String] {
    match occasion {
        Occasion::AfterSync => &settings.after_sync,
        Occasion::AfterStage => &settings.after_stage,
        Occasion::AfterPromote => &settings.after_promote,
        Occasion::AfterRollback => &settings.after_rollback,
        Occasion::OnFailure => &settings.on_failure,
    }
}

/// For what hooks a move is.
fn occasion(moved: &Moved) -> Occasion {
    match &moved.now.pointer {
        _ if moved.now.act == "rollback" => Occasion::AfterRollback,
        Pointer::Staging => Occasion::AfterStage,
        Pointer::Current | Pointer::Environment(_) => Occasion::AfterPromote,
    }
}

/// What was done, or was to be done when it failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// The command, as the history has it.
    pub(super) command: &'a str,
    /// The pointer that was to move; `None` where none was.
    pub(super) pointer: Option<&'a Pointer>,
    /// Why, in the operator's words.
    pub(super) message: Option<&'a str>,
}

impl<'a> Attempt<'a> {
    /// A sync.
    pub(super) const SYNC: Self = Self::of("sync", None);

    /// What nobody gave a reason for.
    pub(super) const fn of(command: &'a str, pointer: Option<&'a Pointer>) -> Self {
        Self {
            command,
            pointer,
            message: None,
        }
    }

    /// With the reason that may have been given.
    pub(super) fn because(self, message: Option<&'a String>) -> Self {
        Self {
            message: message.map(String::as_str),
            ..self
        }
    }
}

impl Context {
    /// Tells mounts, and then hooks, of pointers that were asked to move.
    ///
    /// # Errors
    /// When a mount did not confirm it in time: what was recorded stays recorded.
    pub(super) fn conclude(&self, moved: &[Moved]) -> Result<(), Failure> {
        let seen = self.make_visible();
        self.after_moves(moved);
        seen
    }

    /// Runs the hooks for those pointers that moved; to be called once mounts were told.
    pub(super) fn after_moves(&self, moved: &[Moved]) {
        for kind in [Occasion::AfterStage, Occasion::AfterPromote, Occasion::AfterRollback] {
            let of_kind = moved.iter().filter(|moved| moved.changed() && occasion(moved) == kind);
            let of_kind: Vec<&Moved> = of_kind.collect();
            let Some(first) = of_kind.first() else { continue };
            let act = Attempt {
                command: &first.now.act,
                pointer: None,
                message: first.now.message.as_deref(),
            };
            let concerned = of_kind.iter().map(|moved| Concerned {
                mirror: moved.now.mirror.clone(),
                snapshot: Some(moved.now.snapshot.clone()),
                pointer: Some(moved.now.pointer.clone()),
                from: moved.before.as_ref().map(|before| before.snapshot.clone()),
            });
            self.run_hooks(kind, act, concerned.collect(), None);
        }
    }

    /// Runs the hooks for a sync, if it recorded a snapshot, and for the pointers that it moved.
    pub(super) fn after_sync(&self, done: &SyncReport) {
        let Outcome::Recorded { snapshot, moves, .. } = &done.outcome else {
            return;
        };
        let concerned = Concerned {
            mirror: done.mirror.clone(),
            snapshot: Some(snapshot.clone()),
            pointer: None,
            from: None,
        };
        self.run_hooks(Occasion::AfterSync, Attempt::SYNC, vec![concerned], None);
        self.after_moves(moves);
    }

    /// Runs the hooks for a failure in what was to be done with mirrors; not for a wish that cannot be understood, and not
    /// for one that was taken back.
    pub(super) fn on_failure(&self, attempt: Attempt<'_>, mirrors: &[&MirrorId], failure: &Failure) {
        match failure.kind() {
            Kind::Usage | Kind::Interrupted | Kind::Terminated => return,
            Kind::Failed
            | Kind::Busy
            | Kind::Refused
            | Kind::Unverifiable
            | Kind::Partial
            | Kind::NotVisible
            | Kind::Unavailable
            | Kind::Damaged => {}
        }
        let concerned = |mirror: &&MirrorId| Concerned {
            mirror: (*mirror).clone(),
            snapshot: None,
            pointer: attempt.pointer.cloned(),
            from: None,
        };
        let concerned = mirrors.iter().map(concerned).collect();
        self.run_hooks(Occasion::OnFailure, attempt, concerned, Some(failure));
    }

    /// `outcome`, of which hooks are told where it is a failure. Groups count as the mirrors in them.
    pub(super) fn or_tell(
        &self,
        attempt: Attempt<'_>,
        named: &[MirrorId],
        outcome: Result<(), Failure>,
    ) -> Result<(), Failure> {
        if let Err(failure) = &outcome
            && let Ok(mirrors) = self.mirrors(named)
        {
            let ids: Vec<&MirrorId> = mirrors.iter().map(|mirror| &mirror.id).collect();
            self.on_failure(attempt, &ids, failure);
        }
        outcome
    }

    fn run_hooks(&self, kind: Occasion, attempt: Attempt<'_>, concerned: Vec<Concerned>, failure: Option<&Failure>) {
        let mut together: Vec<(&HookSettings, Vec<Concerned>)> = Vec::new();
        for one in concerned {
            let Some(MirrorSettings { hooks, .. }) = self.settings.mirrors.get(&one.mirror) else {
                continue;
            };
            let same = |known: &&mut (&HookSettings, Vec<Concerned>)| {
                lines(known.0, kind) == lines(hooks, kind) && known.0.timeout == hooks.timeout
            };
            match together.iter_mut().find(same) {
                Some((_, others)) => others.push(one),
                None => together.push((hooks, vec![one])),
            }
        }
        for (settings, mirrors) in together {
            let lines = lines(settings, kind);
            if lines.is_empty() {
                continue;
            }
            let event = Event {
                occasion: kind,
                command: attempt.command,
                time: context::now(),
                actor: &self.actor,
                message: attempt.message,
                mirrors,
                error: failure.map(Failure::json),
            };
            let home = self.home.as_deref().and_then(|home| OsStr::to_str(home.as_os_str()));
            let stopping = Stopping::listen();
            for trouble in hooks::run(lines, &event, (settings.timeout, home), &|| stopping.came()) {
                tracing::warn!("The {} hook {:?} failed: {}", kind.name(), trouble.line, trouble.why);
            }
        }
    }
}

//! `mirrorctl migrate`: the snapshots of the earlier mirrorctl become ours
//!
//! Owns the order: every old tree is taken over as an import of its own, oldest first; what was published and staged is
//! pointed at in one transaction, unless a pointer leads somewhere already; and nothing of the old installation is
//! removed. So a run that was interrupted, or could not verify everything, is simply repeated.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::import::{sharing, tree};
use super::migrate_report::{self as report, Mirror, Report, Snapshot, Unset};
use super::moves::{Move, Moves};
use super::sync::{Run, Terms};
use super::sync_dry_run::{look, scratch};
use crate::catalog::{CatalogReader, SnapshotRecord};
use crate::cli::args::MigrateArgs;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::moving::is_no_environment;
use crate::cli::output::Output;
use crate::cli::stores::synced;
use crate::config::MirrorSettings;
use crate::legacy::{self, OldMirror, OldTree};
use crate::model::{Pointer, SnapshotName};
use crate::publish;
use crate::state::{StateDir, SyncLock};
use crate::sync::{self, Acceptance, Adoption, Job, Outcome, SyncError};
use crate::upstream::Client;

/// Takes the snapshots of the earlier mirrorctl over.
pub(in crate::cli) fn run(arguments: &MigrateArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let old = find(context)?;
    let terms = Terms {
        force: true,
        // These are states of the past, whatever was synced since.
        accept: Acceptance {
            rollback: true,
            release_info: true,
        },
        no_pgp_check: arguments.no_pgp_check,
        promote_if_tested: false,
    };
    let scratch = arguments.dry_run.then(scratch).transpose()?;
    let state = match &scratch {
        Some(place) => StateDir::open_to_change(place.path())?,
        None => context.state()?,
    };
    let run = Run::on(state, terms, context, output)?;
    let migration = Migration {
        arguments,
        context,
        client: run.client_of_trees()?,
        run,
    };
    let (mut mirrors, mut failures) = (Vec::new(), Vec::new());
    for old in &old {
        mirrors.push(migration.take_mirror(old, &mut failures)?);
        if migration.run.interrupt.came() {
            return Err(migration.run.interrupt.failure(&old.id));
        }
    }
    let moves = if arguments.dry_run {
        Vec::new()
    } else {
        migration.point(&mirrors)?
    };
    let unset = migration.unset(&old, &mirrors)?;
    let count = old.iter().map(|old| old.trees.len()).sum();
    output.answer(&Report::of(context, arguments.dry_run, &old, mirrors, (moves, unset)));
    if !arguments.dry_run {
        context.make_visible()?;
    }
    conclude(&failures, count, arguments.dry_run)
}

fn find(context: &Context) -> Result<Vec<OldMirror>, Failure> {
    let settings = &context.settings;
    let old = legacy::find(&settings.dir, &settings.state, settings.mirrors.keys());
    let old = old.map_err(|error| Failure::caused(Kind::Failed, &error))?;
    if old.is_empty() {
        let message = format!("no mirrors of an earlier mirrorctl are at {}", settings.dir.display());
        return Err(Failure::new(Kind::Failed, message)
            .hint("dir has to be that of the earlier configuration, and its mirrors have to be configured"));
    }
    Ok(old)
}

/// A snapshot that could not be taken over, as `mirror/name`, and why.
type Failed = (String, Failure);

struct Migration<'a> {
    arguments: &'a MigrateArgs,
    context: &'a Context,
    client: Client,
    run: Run<'a>,
}

impl Migration<'_> {
    /// Takes the trees of one mirror over, oldest first. One that cannot be verified does not stop the others.
    fn take_mirror(&self, old: &OldMirror, failures: &mut Vec<Failed>) -> Result<Mirror, Failure> {
        let settings = &self.context.settings.mirrors[&old.id];
        let lock = Arc::new(self.run.state.lock_sync(&old.id)?);
        let known = self.known(old)?;
        let mut mirror = Mirror {
            mirror: old.id.to_string(),
            snapshots: Vec::new(),
            current: None,
            staging: None,
        };
        for tree in &old.trees {
            if self.run.interrupt.came() {
                break;
            }
            let outcome = self.take_tree(settings, &lock, &known, tree);
            let (snapshot, failure) = Snapshot::of(tree, outcome);
            if let Some(failure) = failure {
                tracing::error!("Snapshot not taken over: {} {}", old.id, snapshot.name);
                failures.push((format!("{}/{}", old.id, snapshot.name), failure));
            } else {
                let leads = |target: &Option<_>| (target.as_ref() == Some(&tree.path)).then(|| snapshot.name.clone());
                mirror.current = leads(&old.current).or(mirror.current);
                mirror.staging = leads(&old.staging).or(mirror.staging);
            }
            mirror.snapshots.push(snapshot);
        }
        Ok(mirror)
    }

    /// The snapshots that the mirror has already.
    fn known(&self, old: &OldMirror) -> Result<Vec<SnapshotRecord>, Failure> {
        if self.arguments.dry_run {
            return match look(self.context)? {
                Some(known) => snapshots(&known.catalog, old),
                None => Ok(Vec::new()),
            };
        }
        snapshots(self.run.store.catalog().reader(), old)
    }

    fn take_tree(
        &self,
        settings: &MirrorSettings,
        lock: &Arc<SyncLock>,
        known: &[SnapshotRecord],
        old: &OldTree,
    ) -> Result<(SnapshotName, &'static str), Failure> {
        let name = name(settings, old)?;
        // A name of our own may have got a number.
        let same_name = |known: &&SnapshotRecord| match &old.name {
            Some(_) => known.name == name,
            None => known.name.as_str().starts_with(name.as_str()),
        };
        if let Some(known) = known
            .iter()
            .filter(same_name)
            .find(|known| known.created_at == old.made)
        {
            return Ok((known.name.clone(), "present"));
        }
        if old.name.is_some() && known.iter().any(|known| known.name == name) {
            return Err(
                Failure::new(Kind::Refused, format!("another snapshot is called {name} already"))
                    .hint("delete one of them, or rename the old directory"),
            );
        }
        let job = self.job(settings, old, &name)?;
        if self.arguments.dry_run {
            let dates = sync::release_dates(&job, &self.client);
            self.run.runtime.block_on(dates).map_err(explained)?;
            return Ok((name, "would be taken"));
        }
        let Run {
            store,
            progress,
            interrupt,
            ..
        } = &self.run;
        let done = sync::run(&job, lock, &self.client, store, progress, interrupt.receiver());
        match self.run.runtime.block_on(done) {
            Err(SyncError::Interrupted) => Err(interrupt.failure(&settings.id)),
            Err(error) => Err(explained(error)),
            Ok(done) => {
                let name = match done.outcome {
                    Outcome::Recorded { snapshot, .. } => snapshot,
                    Outcome::Unchanged => name,
                };
                tracing::info!("Snapshot taken over: {} {name}", settings.id);
                Ok((name, "taken"))
            }
        }
    }

    fn job(&self, settings: &MirrorSettings, old: &OldTree, name: &SnapshotName) -> Result<Job, Failure> {
        Ok(Job {
            urls: vec![tree(&old.path)?],
            name: name.clone(),
            // Where the pointers led is known only when every tree was looked at.
            pointers: Vec::new(),
            adoption: Some(Adoption {
                sharing: sharing(self.arguments.copy),
                created_at: Some(old.made),
            }),
            ..self.run.job(settings)?
        })
    }

    /// Points the pointers that lead nowhere yet where the old links led.
    fn point(&self, mirrors: &[Mirror]) -> Result<Vec<Move>, Failure> {
        let wishes: Vec<_> = mirrors.iter().flat_map(Mirror::pointers).collect();
        let moved = publish::adopt(&mut self.run.store.catalog(), &wishes, self.context.by(false))?;
        Moves::log(&moved);
        Ok(moved.iter().map(Move::of).collect())
    }

    /// The pointers that do not lead where the old links led.
    fn unset(&self, old: &[OldMirror], mirrors: &[Mirror]) -> Result<Vec<Unset>, Failure> {
        let mut unset = Vec::new();
        for (old, mirror) in old.iter().zip(mirrors) {
            let pointers = [
                (Pointer::Current, &old.current, &mirror.current),
                (Pointer::Staging, &old.staging, &mirror.staging),
            ];
            for (pointer, target, taken) in pointers {
                let Some(target) = target else { continue };
                let leads = self.leads(old, &pointer)?;
                if let Some(why) = report::why_unset(taken.as_ref(), leads.as_deref(), self.arguments.dry_run) {
                    unset.push(Unset {
                        mirror: mirror.mirror.clone(),
                        pointer: pointer.to_string(),
                        old: target.display().to_string(),
                        leads,
                        why,
                    });
                }
            }
        }
        Ok(unset)
    }

    /// The snapshot that a pointer leads to now.
    fn leads(&self, old: &OldMirror, pointer: &Pointer) -> Result<Option<String>, Failure> {
        let lead = |reader: &CatalogReader| -> Result<_, Failure> {
            let Some(row) = synced(reader, &old.id)? else {
                return Ok(None);
            };
            Ok(reader.pointer(row, pointer)?.map(|led| led.snapshot.to_string()))
        };
        if self.arguments.dry_run {
            return look(self.context)?.map_or(Ok(None), |known| lead(&known.catalog));
        }
        lead(self.run.store.catalog().reader())
    }
}

/// The name that a tree's snapshot gets. What the last sync fetched gets one of its time.
fn name(settings: &MirrorSettings, old: &OldTree) -> Result<SnapshotName, Failure> {
    match &old.name {
        None => Ok(settings
            .generated_name(old.made)
            .map_err(|error| Failure::caused(Kind::Failed, &error))?),
        Some(name) => {
            let name = name.parse().map_err(|error| {
                Failure::caused(Kind::Failed, &error).hint("rename the old directory, and repeat mirrorctl migrate")
            })?;
            is_no_environment(settings, &name)?;
            Ok(name)
        }
    }
}

fn snapshots(reader: &CatalogReader, old: &OldMirror) -> Result<Vec<SnapshotRecord>, Failure> {
    match synced(reader, &old.id)? {
        Some(row) => Ok(reader.snapshots(row)?),
        None => Ok(Vec::new()),
    }
}

/// An error of a sync in the words of a migration: its upstream is a tree that nobody changes any more.
fn explained(error: SyncError) -> Failure {
    match &error {
        SyncError::Unsigned(_) | SyncError::Signature { .. } => Failure::caused(Kind::Unverifiable, &error).hint(
            "the earlier mirrorctl left out signatures: if that is why, mirrorctl migrate --no-pgp-check takes them without",
        ),
        SyncError::Incomplete(incomplete) => {
            let damaged = incomplete.damaged() > 0;
            let kind = if damaged { Kind::Unverifiable } else { Kind::Partial };
            Failure::caused(kind, &error).hint(
                "a tree that lacks files is no snapshot: mirrorctl import tells which; put them there, and repeat mirrorctl migrate",
            )
        }
        SyncError::IndexMismatch { .. } | SyncError::VariantsDiffer(..) | SyncError::Decompress { .. } => {
            Failure::caused(Kind::Unverifiable, &error)
                .hint("an index of the tree is damaged: put the right one there, and repeat mirrorctl migrate")
        }
        SyncError::NoRelease(_) | SyncError::NoVariant(_) => Failure::caused(Kind::Failed, &error)
            .hint("a tree has not what the mirror's configuration names: correct suites and sections, and repeat mirrorctl migrate"),
        _ => error.into(),
    }
}

fn conclude(failures: &[Failed], of: usize, dry_run: bool) -> Result<(), Failure> {
    if failures.is_empty() {
        return Ok(());
    }
    let (was, were) = if dry_run {
        ("would not be", "would be")
    } else if failures.len() == 1 {
        ("was not", "were")
    } else {
        ("were not", "were")
    };
    let others = if failures.len() == of {
        String::new()
    } else {
        format!("; the others {were}")
    };
    let message = match failures.len() {
        1 => format!("1 snapshot {was} taken over{others}"),
        n => format!("{n} snapshots {was} taken over{others}"),
    };
    let mut failure = Failure::new(Kind::Partial, message);
    let mut told = BTreeSet::new();
    for (what, why) in failures {
        let mut detail = why.json();
        detail["snapshot"] = what.as_str().into();
        failure = failure.problem(format!("{what}: {}", why.in_one_line()), detail);
        for hint in why.hints().iter().filter(|hint| told.insert(hint.as_str())) {
            failure = failure.hint(hint);
        }
    }
    Err(failure.hint("keep the trees of these snapshots: nobody else has what is in them"))
}

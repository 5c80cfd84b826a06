//! `mirrorctl migrate`: the snapshots of the earlier mirrorctl become ours
//!
//! Owns the order: every old tree is taken over as an import of its own, oldest first; what was published and staged is
//! pointed at in one transaction, unless a pointer leads somewhere already; and nothing of the old installation is
//! removed. So a run that was interrupted, or could not verify everything, is simply repeated.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::import::{sharing, tree};
use super::moves::{Move, Moves};
use super::sync::Run;
use super::sync_dry_run::{look, scratch};
use crate::catalog::{CatalogReader, SnapshotRecord};
use crate::cli::args::{MigrateArgs, SyncArgs};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Align, Human, Output, Page, Table};
use crate::cli::stores::synced;
use crate::cli::text::utc;
use crate::config::MirrorSettings;
use crate::legacy::{self, OldMirror, OldTree};
use crate::model::{MirrorId, Pointer, SnapshotName};
use crate::publish;
use crate::state::{StateDir, SyncLock};
use crate::sync::{self, Adoption, Job, Outcome, SyncError};

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    mirrors: Vec<Mirror>,
    moves: Vec<Move>,
    paths: Vec<Moved>,
    next: Vec<String>,
}

#[derive(Serialize)]
struct Mirror {
    mirror: String,
    snapshots: Vec<Snapshot>,
    current: Option<String>,
    staging: Option<String>,
}

#[derive(Serialize)]
struct Snapshot {
    name: String,
    path: String,
    created: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
}

/// What is found at another path afterwards.
#[derive(Serialize)]
struct Moved {
    old: String,
    new: String,
}

/// Takes the snapshots of the earlier mirrorctl over.
pub(in crate::cli) fn run(arguments: &MigrateArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let old = find(context)?;
    let as_sync = SyncArgs {
        force: true,
        no_pgp_check: arguments.no_pgp_check,
        // These are states of the past, whatever was synced since.
        accept_rollback: true,
        accept_release_info: true,
        ..SyncArgs::default()
    };
    let scratch = arguments.dry_run.then(scratch).transpose()?;
    let state = match &scratch {
        Some(place) => StateDir::open_to_change(place.path())?,
        None => context.state()?,
    };
    let migration = Migration {
        arguments,
        context,
        run: Run::on(state, &as_sync, context, output)?,
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
    output.answer(&Report::of(context, arguments.dry_run, &old, mirrors, moves));
    if !arguments.dry_run {
        context.make_visible()?;
    }
    conclude(&failures)
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
            let dates = sync::release_dates(&job, &self.run.client);
            self.run.runtime.block_on(dates)?;
            return Ok((name, "would be taken"));
        }
        let Run {
            client,
            store,
            progress,
            interrupt,
            ..
        } = &self.run;
        let done = sync::run(&job, lock, client, store, progress, interrupt.receiver());
        match self.run.runtime.block_on(done) {
            Err(SyncError::Interrupted) => Err(interrupt.failure(&settings.id)),
            Err(error) => Err(error.into()),
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
}

/// The name that a tree's snapshot gets. What the last sync fetched gets one of its time.
fn name(settings: &MirrorSettings, old: &OldTree) -> Result<SnapshotName, Failure> {
    match &old.name {
        None => Ok(settings
            .name_format
            .name_at(old.made)
            .map_err(|error| Failure::caused(Kind::Failed, &error))?),
        Some(name) => name.parse().map_err(|error| {
            Failure::caused(Kind::Failed, &error).hint("rename the old directory, and repeat mirrorctl migrate")
        }),
    }
}

fn snapshots(reader: &CatalogReader, old: &OldMirror) -> Result<Vec<SnapshotRecord>, Failure> {
    match synced(reader, &old.id)? {
        Some(row) => Ok(reader.snapshots(row)?),
        None => Ok(Vec::new()),
    }
}

fn conclude(failures: &[Failed]) -> Result<(), Failure> {
    if failures.is_empty() {
        return Ok(());
    }
    let message = match failures.len() {
        1 => "1 snapshot was not taken over; the others were".to_owned(),
        n => format!("{n} snapshots were not taken over; the others were"),
    };
    let failure = failures
        .iter()
        .fold(Failure::new(Kind::Partial, message), |failure, (what, why)| {
            let mut detail = why.json();
            detail["snapshot"] = what.as_str().into();
            failure.problem(format!("{what}: {}", why.in_one_line()), detail)
        });
    Err(failure
        .hint("the earlier mirrorctl left out signatures: unsigned snapshots are taken with --no-pgp-check only"))
}

impl Snapshot {
    fn of(tree: &OldTree, outcome: Result<(SnapshotName, &'static str), Failure>) -> (Self, Option<Failure>) {
        let unnamed = || tree.name.clone().unwrap_or_else(|| "(the last sync)".to_owned());
        let (name, outcome, failure) = match outcome {
            Ok((name, outcome)) => (name.to_string(), outcome, None),
            Err(failure) => (unnamed(), "refused", Some(failure)),
        };
        let snapshot = Self {
            name,
            path: tree.path.display().to_string(),
            created: utc(tree.made),
            outcome,
            error: failure.as_ref().map(Failure::json),
        };
        (snapshot, failure)
    }
}

impl Mirror {
    /// Where its pointers led.
    fn pointers(&self) -> impl Iterator<Item = (MirrorId, Pointer, SnapshotName)> {
        let targets = [(Pointer::Staging, &self.staging), (Pointer::Current, &self.current)];
        targets.into_iter().filter_map(|(pointer, target)| {
            let name = target.as_ref()?.parse().expect("it is a snapshot's name");
            Some((self.mirror.parse().expect("it is a mirror's id"), pointer, name))
        })
    }
}

impl Report {
    fn of(context: &Context, dry_run: bool, old: &[OldMirror], mirrors: Vec<Mirror>, moves: Vec<Move>) -> Self {
        let dir = &context.settings.dir;
        let below = |path: String| dir.join(path).display().to_string();
        let paths = old.iter().flat_map(|old| {
            let id = &old.id;
            [
                Moved {
                    old: below(format!("{id}/dists")),
                    new: below(format!("{id}/current/dists")),
                },
                Moved {
                    old: below(format!("{id}-staging/dists")),
                    new: below(format!("{id}/staging/dists")),
                },
            ]
        });
        Self {
            dry_run,
            mirrors,
            moves,
            paths: paths.collect(),
            next: next(dir, old),
        }
    }
}

/// The commands by which the mount takes the place of the old tree, and those that remove that.
fn next(dir: &Path, old: &[OldMirror]) -> Vec<String> {
    let aside = dir.with_file_name(format!("{}.old", dir.file_name().unwrap_or_default().to_string_lossy()));
    let (dir_word, aside_word) = (word(dir), word(&aside));
    let mut commands = vec![
        format!("mv {dir_word} {aside_word} && mkdir {dir_word}"),
        "mirrorctl mount --background".to_owned(),
        format!("rm -r {aside_word}"),
    ];
    let snapshots = old.iter().flat_map(|old| &old.trees).filter(|tree| tree.name.is_some());
    let places: BTreeSet<_> = snapshots.filter_map(|tree| tree.path.parent()).collect();
    commands.extend(places.into_iter().map(|place| format!("rm -r {}", word(place))));
    commands
}

/// A path as a word of a shell.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        let mut table = Table::new(&[
            ("MIRROR", Align::Left),
            ("SNAPSHOT", Align::Left),
            ("CREATED", Align::Left),
            ("OUTCOME", Align::Left),
            ("POINTERS", Align::Left),
        ]);
        for mirror in &self.mirrors {
            for snapshot in &mirror.snapshots {
                let leads = |target: &Option<String>| target.as_ref() == Some(&snapshot.name);
                let pointers = [("current", leads(&mirror.current)), ("staging", leads(&mirror.staging))];
                let pointers: Vec<_> = pointers
                    .iter()
                    .filter(|(_, leads)| *leads)
                    .map(|(name, _)| *name)
                    .collect();
                table.row([
                    mirror.mirror.clone(),
                    snapshot.name.clone(),
                    snapshot.created.clone(),
                    snapshot.outcome.to_owned(),
                    pointers.join(", "),
                ]);
            }
        }
        page.table(&table);
        self.moves.iter().for_each(|moved| page.line(moved.sentence()));
        page.line("");
        page.line("What the web server has at other paths then:");
        let mut table = Table::bare(&[Align::Left, Align::Left, Align::Left]);
        for moved in &self.paths {
            table.row([format!("  {}", moved.old), "->".to_owned(), moved.new.clone()]);
        }
        page.table(&table);
        page.line("");
        page.line("The old tree was left as it is. To serve the new one in its place, and then to remove the old:");
        self.next.iter().for_each(|command| page.line(format!("  {command}")));
    }
}

//! The command `mirrorctl sync`.
//!
//! Owns the run over several mirrors: each gets its lock, its sync, its pruning and its place in the report, and one
//! that fails does not stop the others. It starts the only asynchronous runtime of the program.

use std::sync::Arc;

use serde::Serialize;
use tokio::runtime::Runtime;

use super::moves::{Move, Moves};
use super::replaced::{Replaced, replaced, tell};
use super::sync_promote;
use super::test_report::Test;
use super::{gc, snapshot_prune};
use crate::catalog::Catalog;
use crate::cli::args::SyncArgs;
use crate::cli::context::{self, Context};
use crate::cli::failure::{Failure, Kind};
use crate::cli::hooks::Attempt;
use crate::cli::interrupt::{self, Interrupt};
use crate::cli::output::{Human, Output, Page};
use crate::cli::text::{size, utc};
use crate::cli::{disk, progress, security};
use crate::config::{FilterSettings, MirrorSettings};
use crate::model::{Pointer, Suite, Timestamp};
use crate::retention;
use crate::signature::Signer;
use crate::state::StateDir;
use crate::sync::{self, Acceptance, Filtering, Job, Outcome, Progress, Store, SyncReport, Trust};
use crate::upstream::{Client, ClientOptions, Credentials, Proxies, Retry, SystemAuthorities, Throttle};

/// Most files a sync's closing sweep removes: about a second of unlinking. The next sync goes on.
const SWEEP_AT_MOST: u64 = 10_000;

#[derive(Serialize)]
struct Report {
    mirrors: Vec<Mirror>,
    /// With `--promote-if-tested`.
    #[serde(skip_serializing_if = "Option::is_none")]
    promotion: Option<Promotion>,
}

/// What came of testing and promoting.
#[derive(Serialize)]
struct Promotion {
    tests: Vec<Test>,
    moves: Vec<Move>,
    replaced: Vec<Replaced>,
}

#[derive(Serialize)]
struct Mirror {
    mirror: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot>,
    releases: Vec<Release>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Snapshot {
    held: Option<String>,
    name: String,
    files: u64,
    bytes: u64,
    changes: usize,
    /// Files that its indices list and a filter has left out.
    absent_files: u64,
    fetched_files: u64,
    fetched_bytes: u64,
    moves: Vec<Move>,
    replaced: Vec<Replaced>,
}

impl Release {
    /// One item for each suite.
    pub(super) fn each(releases: &[(Suite, Option<Timestamp>)]) -> Vec<Self> {
        let release = |(suite, date): &(Suite, Option<Timestamp>)| Self {
            suite: suite.to_string(),
            date: date.map(utc),
        };
        releases.iter().map(release).collect()
    }
}

#[derive(Serialize)]
pub(super) struct Release {
    suite: String,
    date: Option<String>,
}

/// What the operator takes that is refused otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    /// A snapshot although nothing is new, and one that shrank.
    pub(super) force: bool,
    /// Release files that are implausible.
    pub(super) accept: Acceptance,
    /// Metadata without a good signature.
    pub(super) no_pgp_check: bool,
    /// Whether production moves only once the snapshot has passed its checks, whatever the configuration says.
    pub(super) promote_if_tested: bool,
}

impl Terms {
    /// Those of `sync`.
    pub(super) fn of(arguments: &SyncArgs) -> Self {
        Self {
            force: arguments.force,
            accept: Acceptance {
                rollback: arguments.accept_rollback,
                release_info: arguments.accept_release_info,
            },
            no_pgp_check: arguments.no_pgp_check,
            promote_if_tested: arguments.promote_if_tested,
        }
    }
}

/// What every mirror's sync in this run shares.
pub(super) struct Run<'a> {
    terms: Terms,
    context: &'a Context,
    pub(super) state: StateDir,
    pub(super) store: Arc<Store>,
    authorities: SystemAuthorities,
    rate: Option<Arc<Throttle>>,
    pub(super) runtime: Runtime,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) interrupt: Interrupt,
}

/// Syncs the named mirrors, or all.
pub(in crate::cli) fn run(arguments: &SyncArgs, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let mirrors = context.mirrors(&arguments.mirrors)?;
    let run = Run::begin(Terms::of(arguments), context, output).inspect_err(|failure| {
        let ids: Vec<_> = mirrors.iter().map(|mirror| &mirror.id).collect();
        context.on_failure(Attempt::SYNC, &ids, failure);
    })?;
    let (mut report, mut failures, mut good) = (Vec::new(), Vec::new(), Vec::new());
    for mirror in &mirrors {
        match run.sync(mirror) {
            Ok(done) => {
                let (replaced, followed) = run.follow_up(mirror, &done);
                let trouble = followed.err().or_else(|| held(&done));
                report.push(Mirror::done(&done, replaced, trouble.as_ref()));
                match trouble {
                    Some(trouble) => {
                        context.on_failure(Attempt::SYNC, &[&mirror.id], &trouble);
                        failures.push((*mirror, trouble));
                    }
                    None => good.push(*mirror),
                }
            }
            Err(failure) => {
                let failure = disk::explain(failure, &context.settings.state);
                tracing::error!("Sync failed for {}", mirror.id);
                context.on_failure(Attempt::SYNC, &[&mirror.id], &failure);
                report.push(Mirror::failed(mirror, &failure));
                failures.push((*mirror, failure));
                if run.interrupt.came() {
                    break;
                }
            }
        }
    }
    let promotion = (arguments.promote_if_tested && !run.interrupt.came()).then(|| run.promote(&good, &mut failures));
    output.done(&Report {
        mirrors: report,
        promotion,
    });
    if !run.interrupt.came() {
        run.sweep();
        context.look_after(&run.state, &mut run.store.catalog());
    }
    conclude(failures, mirrors.len(), &run.interrupt)
}

impl<'a> Run<'a> {
    pub(super) fn begin(terms: Terms, context: &'a Context, output: &Output) -> Result<Self, Failure> {
        Self::on(context.state()?, terms, context, output)
    }

    /// A run that works in `state`.
    pub(super) fn on(state: StateDir, terms: Terms, context: &'a Context, output: &Output) -> Result<Self, Failure> {
        let catalog = Catalog::open(&state.catalog())?;
        let store = Store::new(catalog, Context::blobs(&state)?, state.incoming_root());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Failure::new(Kind::Failed, format!("cannot start threads: {error}")))?;
        Ok(Self {
            terms,
            context,
            state,
            store: Arc::new(store),
            authorities: SystemAuthorities::default(),
            rate: context.settings.http.max_rate.map(|rate| Arc::new(Throttle::new(rate))),
            interrupt: interrupt::listen(&runtime),
            runtime,
            progress: progress::of(output),
        })
    }

    /// A client for trees that are directories of this machine.
    pub(super) fn client_of_trees(&self) -> Result<Client, Failure> {
        Ok(Client::new(&ClientOptions::new(self.context.settings.max_conns))?)
    }

    /// The client for a mirror's upstream, which secures its connections as the mirror's settings ask for.
    pub(super) fn client_of(&self, mirror: &MirrorSettings) -> Result<Client, Failure> {
        security::warn(mirror);
        let client = Client::new(&self.client_options(mirror)?)?;
        Ok(client.secured(&mirror.urls, &mirror.tls)?)
    }

    fn sync(&self, mirror: &MirrorSettings) -> Result<SyncReport, Failure> {
        let lock = Arc::new(self.state.lock_sync(&mirror.id)?);
        tracing::info!("Starting sync for mirror: {}", mirror.id);
        let job = self.job(mirror)?;
        let stop = self.interrupt.receiver();
        let client = self.client_of(mirror)?;
        let sync = sync::run(&job, &lock, &client, &self.store, &self.progress, stop);
        let done = self.runtime.block_on(sync)?;
        match &done.outcome {
            Outcome::Unchanged => tracing::info!("Nothing new upstream for {}: no snapshot was made", mirror.id),
            Outcome::Recorded { snapshot, moves, .. } => {
                tracing::info!("Snapshot created: {} {snapshot}", mirror.id);
                Moves::log(moves);
            }
        }
        tracing::info!("Sync completed successfully for {}", mirror.id);
        Ok(done)
    }

    /// What comes after a recorded snapshot, which stays recorded whatever becomes of this: mounts are told before
    /// anything is pruned, so that nobody is led to a snapshot that is gone. What its moves replaced is known until then.
    fn follow_up(&self, mirror: &MirrorSettings, done: &SyncReport) -> (Vec<Replaced>, Result<(), Failure>) {
        let Outcome::Recorded { moves, .. } = &done.outcome else {
            return (Vec::new(), Ok(()));
        };
        let seen = self.context.make_visible();
        let replaced = replaced(moves, self.context);
        self.context.after_sync(done);
        (replaced, seen.and_then(|()| self.prune_visibly(mirror)))
    }

    fn prune_visibly(&self, mirror: &MirrorSettings) -> Result<(), Failure> {
        if self.prune(mirror)? {
            self.context.make_visible()
        } else {
            Ok(())
        }
    }

    /// Tests what is staged of `mirrors`, and promotes what has passed.
    fn promote<'m>(
        &self,
        mirrors: &[&'m MirrorSettings],
        failures: &mut Vec<(&'m MirrorSettings, Failure)>,
    ) -> Promotion {
        let promotion = sync_promote::promote(self, self.context, mirrors);
        for (mirror, failure) in promotion.failures {
            let attempt = Attempt::of("promote", Some(&Pointer::Current));
            self.context.on_failure(attempt, &[&mirror.id], &failure);
            failures.push((mirror, failure));
        }
        Promotion {
            tests: promotion.tests,
            moves: promotion.moves.iter().map(Move::of).collect(),
            replaced: promotion.replaced,
        }
    }

    pub(super) fn job(&self, mirror: &MirrorSettings) -> Result<Job, Failure> {
        // Other mirrors of this run may have taken hours.
        let now = context::now();
        let name = mirror.generated_name(now);
        let tested = self.terms.promote_if_tested;
        let pointers = [
            (mirror.publish_to_staging || tested, Pointer::Staging),
            (mirror.publish_to_production && !tested, Pointer::Current),
        ];
        Ok(Job {
            mirror: mirror.id.clone(),
            urls: mirror.urls.clone(),
            suites: mirror.suites.clone(),
            components: mirror.components.clone(),
            architectures: mirror.architectures.clone(),
            content: mirror.content.clone(),
            filtering: Self::filtering(mirror)?,
            trust: self.trust(mirror)?,
            name: name.map_err(|error| Failure::caused(Kind::Failed, &error))?,
            pointers: pointers
                .into_iter()
                .filter_map(|(wanted, pointer)| wanted.then_some(pointer))
                .collect(),
            // Production moves with a sync only where no test is required.
            terms: mirror.terms(&Pointer::Staging),
            force: self.terms.force,
            accept: self.terms.accept,
            max_shrink: mirror.max_shrink,
            max_size: mirror.max_size,
            adoption: None,
            connections: self.context.settings.max_conns,
            actor: self.context.actor.clone(),
            now,
            clock: self.context.clock.clone(),
        })
    }

    fn client_options(&self, mirror: &MirrorSettings) -> Result<ClientOptions, Failure> {
        let http = &mirror.http;
        let own_rate = http.max_rate.map(|rate| Arc::new(Throttle::new(rate)));
        let netrc = self.context.home.as_deref().map(|home| home.join(".netrc"));
        let options = ClientOptions::new(self.context.settings.max_conns);
        Ok(ClientOptions {
            connect: http.connect_timeout,
            stall: http.read_timeout,
            least: http.min_rate.saturating_mul(options.window.as_secs()),
            retry: Retry {
                retries: http.retries,
                first: http.backoff,
            },
            throttles: self.rate.iter().cloned().chain(own_rate).collect(),
            proxies: proxies(mirror),
            credentials: Arc::new(Credentials::load(http.auth_conf.as_deref(), netrc.as_deref())?),
            authorities: self.authorities.clone(),
            ..options
        })
    }

    fn filtering(mirror: &MirrorSettings) -> Result<Filtering, Failure> {
        let FilterSettings {
            filter, signing_key, ..
        } = &mirror.filters;
        let signer = signing_key.as_deref().map(|path| Signer::load(path, context::now()));
        Ok(Filtering {
            filter: Arc::new(filter.clone()),
            signer: signer.transpose()?.map(Arc::new),
        })
    }

    fn trust(&self, mirror: &MirrorSettings) -> Result<Trust, Failure> {
        if mirror.no_pgp_check || self.terms.no_pgp_check {
            tracing::warn!("Signatures of {} are not checked", mirror.id);
            return Ok(Trust::Unchecked);
        }
        Ok(Trust::Keyring(Arc::new(security::keyring(mirror)?)))
    }

    /// Prunes the mirror's snapshots, and answers whether any went.
    fn prune(&self, mirror: &MirrorSettings) -> Result<bool, Failure> {
        let policy = snapshot_prune::policy(&mirror.prune);
        let pruned = retention::prune(&mut self.store.catalog(), &mirror.id, &policy, context::now())?;
        for verdict in pruned.plan.deleted() {
            tracing::info!("Snapshot pruned: {} {}", mirror.id, verdict.name);
        }
        if let Some(refusal) = &pruned.plan.refusal {
            tracing::warn!("Nothing was pruned of {}: {refusal}", mirror.id);
        }
        Ok(pruned.plan.deleted().next().is_some())
    }

    /// The closing sweep. The syncs are done, whatever becomes of it: trouble is logged and left to the next one.
    fn sweep(&self) {
        if !self.context.settings.gc.auto {
            return;
        }
        let sweep = || -> Result<retention::Collected, Failure> {
            let lock = self.state.lock_gc()?;
            let policy = gc::policy(&self.context.settings.gc, SWEEP_AT_MOST);
            let (run, now) = (&self.context.run_dir, context::now());
            let mut catalog = self.store.catalog();
            Ok(retention::collect(
                &self.state,
                &mut catalog,
                self.store.blobs(),
                run,
                &policy,
                now,
                &lock,
            )?)
        };
        match sweep() {
            Ok(collected) if collected.removed().blobs > 0 => {
                let (files, bytes) = (collected.removed().blobs, size(collected.removed().bytes));
                tracing::info!("Removed {files} files ({bytes}) that nothing needed any more");
            }
            Ok(_) => {}
            Err(failure) if failure.kind() == Kind::Refused => {
                tracing::warn!("Unused files were not removed: {}", failure.message());
                failure.hints().iter().for_each(|hint| tracing::warn!("{hint}"));
            }
            Err(failure) => tracing::warn!("Unused files were not removed: {}", failure.in_one_line()),
        }
    }
}

/// The way to the mirror's upstream.
pub(super) fn proxies(mirror: &MirrorSettings) -> Proxies {
    let proxy = &mirror.http.proxy;
    Proxies {
        http: proxy.http.clone(),
        https: proxy.https.clone(),
        except: proxy.except.clone(),
    }
}

/// The failure that a held state is, until somebody looks at it: nothing else would tell of it.
pub(super) fn held(done: &SyncReport) -> Option<Failure> {
    let shrink = done.held?;
    let which = match &done.outcome {
        Outcome::Recorded { snapshot, .. } => format!("snapshot {snapshot} of {}", done.mirror),
        Outcome::Unchanged => format!("the last synced state of {}", done.mirror),
    };
    let failure = Failure::new(
        Kind::Refused,
        format!("{which} is held, and no pointer moves to it: it has {shrink}"),
    );
    Some(failure.hint(format!(
        "look at what is missing; if it is meant to be so, run mirrorctl snapshot stage or publish --force {} <name>",
        done.mirror
    )))
}

/// The failure of the whole run: that of the only mirror, or one that names every mirror that failed.
pub(super) fn conclude(
    failures: Vec<(&MirrorSettings, Failure)>,
    mirrors: usize,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    if let Some((stopped, _)) = failures.last().filter(|_| interrupt.came()) {
        return Err(interrupt.failure(&stopped.id));
    }
    let mut failures = failures;
    match failures.len() {
        0 => Ok(()),
        1 if mirrors == 1 => {
            let (mirror, failure) = failures.remove(0);
            Err(failure.about(&mirror.id))
        }
        failed => {
            let same = failures
                .iter()
                .all(|(_, failure)| failure.kind() == failures[0].1.kind());
            let kind = match failures[0].1.kind() {
                kind if failed == mirrors && same => kind,
                _ => Kind::Partial,
            };
            let summary = Failure::new(kind, format!("{failed} of {mirrors} mirrors had trouble"));
            Err(failures.iter().fold(summary, |summary, (mirror, failure)| {
                let mut detail = failure.json();
                detail["mirror"] = mirror.id.as_str().into();
                summary.problem(format!("{}: {}", mirror.id, failure.in_one_line()), detail)
            }))
        }
    }
}

impl Mirror {
    fn done(done: &SyncReport, replaced: Vec<Replaced>, trouble: Option<&Failure>) -> Self {
        let (outcome, snapshot) = match &done.outcome {
            Outcome::Unchanged => ("unchanged", None),
            Outcome::Recorded {
                snapshot,
                files,
                bytes,
                changes,
                absent,
                fetched,
                moves,
            } => {
                let snapshot = Snapshot {
                    held: done.held.map(|shrink| shrink.to_string()),
                    name: snapshot.to_string(),
                    files: *files,
                    bytes: *bytes,
                    changes: *changes,
                    absent_files: *absent,
                    fetched_files: fetched.files,
                    fetched_bytes: fetched.bytes,
                    moves: moves.iter().map(Move::of).collect(),
                    replaced,
                };
                ("recorded", Some(snapshot))
            }
        };
        let releases = Release::each(&done.releases);
        Self {
            mirror: done.mirror.to_string(),
            outcome,
            snapshot,
            releases,
            error: trouble.map(Failure::json),
        }
    }

    fn failed(mirror: &MirrorSettings, failure: &Failure) -> Self {
        let (mirror, error) = (mirror.id.to_string(), Some(failure.json()));
        Self {
            mirror,
            outcome: "failed",
            snapshot: None,
            releases: Vec::new(),
            error,
        }
    }
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        for Mirror {
            mirror,
            outcome,
            snapshot,
            ..
        } in &self.mirrors
        {
            let Some(snapshot) = snapshot else {
                page.line(format!("{mirror}: {outcome}"));
                continue;
            };
            let Snapshot {
                name,
                files,
                bytes,
                absent_files,
                fetched_files,
                fetched_bytes,
                moves,
                replaced,
                ..
            } = snapshot;
            let (bytes, fetched) = (size(*bytes), size(*fetched_bytes));
            page.line(format!(
                "{mirror}: snapshot {name}, {files} files ({bytes}), {fetched_files} fetched ({fetched})"
            ));
            if *absent_files > 0 {
                page.line(format!(
                    "{mirror}: its indices list {absent_files} files more, which the filters leave out"
                ));
            }
            tell(moves, replaced, page);
        }
        if let Some(Promotion { tests, moves, replaced }) = &self.promotion {
            for test in tests {
                test.human(page);
            }
            tell(moves, replaced, page);
        }
    }
}

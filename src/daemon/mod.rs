//! The life of one mount: from mounting to unmounting, told of changes and noticing those nobody told.
//!
//! Owns the order of starting (known to commands first, mounted then, so that no change can fall between), the watch
//! over the catalog, and the end. What is shown is `view`'s, how it is shown the mount crate's. How a mount is gone on with that an
//! earlier process served is in `succession`, the sign of life in `pulse`.

mod pulse;
mod succession;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use mirrorctl_mount::tree::BlobNo;
use mirrorctl_mount::{AdoptError, DataPath, Labels, MountError, Options, Session, Unmounter};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::blobs::{BlobError, BlobStore};
use crate::catalog::{CatalogError, CatalogReader};
use crate::control::{self, ControlError, Facts, Registration, Reply, Request, Server, Status};
use crate::holder::{Kept, Line};
use crate::model::{Clock, Timestamp};
use crate::state::{StateDir, StateError};
use crate::view::{Version, View};
use succession::{Legacy, Note};

/// How often the catalog is looked at for commits that nobody announced.
const WATCH: Duration = Duration::from_secs(1);

/// How long a mount that was taken away goes on for who still has files open in it: enough for a web server to finish
/// small answers, short enough for whoever waits for the end.
const LAST_READERS: Duration = Duration::from_secs(1);

/// Why there is no mount, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Mounting failed.
    #[error("cannot mount")]
    Mount(#[from] MountError),
    /// The mount that an earlier process served cannot be gone on with.
    #[error("cannot go on with the mount")]
    Adopt(#[from] AdoptError),
    /// What an earlier process has left cannot be understood.
    #[error("the process that served the mount was of another version")]
    Legacy(#[source] serde_json::Error),
    /// A mount of ours stands there, served by a live process.
    #[error("{mountpoint} is already served by process {pid}")]
    AlreadyServed {
        /// Where.
        mountpoint: PathBuf,
        /// The process.
        pid: u32,
    },
    /// The state directory cannot be used.
    #[error("the state directory cannot be used")]
    State(#[from] StateError),
    /// The catalog cannot be used.
    #[error("the catalog cannot be used")]
    Catalog(#[from] CatalogError),
    /// The blobs cannot be used.
    #[error("the blobs cannot be used")]
    Blobs(#[from] BlobError),
    /// The mount cannot be made known to commands.
    #[error("the mount cannot be made known to commands")]
    Control(#[from] ControlError),
    /// Something else the operating system refused.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Mounting {
    /// The mount point.
    pub mountpoint: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// Where running mounts register.
    pub run: PathBuf,
    /// How the bytes of files reach their readers; `None` for the best way that the kernel offers.
    pub data: Option<DataPath>,
    /// Bytes that cached listings of directories may take.
    pub memory: usize,
    /// What SELinux shall take the mount for.
    pub labels: Labels,
    /// The time of day at the start.
    pub now: Timestamp,
    /// What tells the time of day from then on.
    pub clock: Clock,
}

/// Why a mount stopped being served.
enum Ended {
    /// It was unmounted.
    Unmounted,
    /// The catalog is another one now, whose numbers mean other things. The mount stands until the next one takes its place.
    OtherCatalog(Arc<OnceLock<Serving>>),
}

/// Mounts, or goes on with the mount that an earlier process has left with the holder (`kept`), tells the holder over `line` as soon as look-ups
/// work, and serves until the mount is taken away by `mirrorctl unmount`, `umount` or a signal. A catalog that was replaced
/// meanwhile gets a fresh mount.
///
/// # Errors
/// When the mount cannot be made or breaks.
pub fn serve(mounting: &Mounting, line: &Line, kept: Option<Kept>) -> Result<(), DaemonError> {
    let current = Arc::new(Current::default());
    stop_on_signals(&current)?;
    let legacy = kept.map(Legacy::open).transpose()?;
    let mounting = match &legacy {
        // Nobody answers there now, so that nothing may be asked.
        Some(legacy) => legacy.note.apply_to(mounting),
        None => make_room(mounting)?,
    };
    let mut before = legacy.map_or(Before::Nothing, Before::Elsewhere);
    loop {
        match serve_once(&mounting, line, before, &current)? {
            Ended::Unmounted => return Ok(()),
            Ended::OtherCatalog(serving) => {
                tracing::warn!("the catalog was replaced: mounting afresh");
                before = Before::Here(serving);
            }
        }
    }
}

/// Takes a dead mount of ours away, and refuses to cover a live one. Returns what to do with a mount point that has no
/// links in its path, so that whoever compares it with another path to the same directory finds it equal.
fn make_room(mounting: &Mounting) -> Result<Mounting, DaemonError> {
    let mut mounting = mounting.clone();
    // Whatever is wrong with the place, mounting says so in its own words.
    let Ok(mountpoint) = mirrorctl_mount::resolve(&mounting.mountpoint) else {
        return Ok(mounting);
    };
    mounting.mountpoint.clone_from(&mountpoint);
    let here = |mount: &control::LiveMount| mount.facts.as_ref().is_some_and(|facts| facts.mountpoint == mountpoint);
    // Asked first: a process that lives but hangs would not answer the question whether it is dead.
    if let Some(live) = control::mounts_in(&mounting.run)?.into_iter().find(here) {
        let pid = live.pid;
        return Err(DaemonError::AlreadyServed { mountpoint, pid });
    }
    if let Ok(Some(existing)) = mirrorctl_mount::existing(&mountpoint)
        && existing.dead
    {
        tracing::warn!(mountpoint = %mountpoint.display(), "taking a dead mount away");
        mirrorctl_mount::detach(&mountpoint).map_err(|source| DaemonError::System {
            action: "take a dead mount away",
            source,
        })?;
    }
    Ok(mounting)
}

/// What a mount is made of, once it is there.
struct Serving {
    view: Arc<View>,
    session: Session,
    catalog: CatalogFile,
}

/// The mount that is being served now, for the thread that waits for signals.
#[derive(Default)]
struct Current {
    unmounter: Mutex<Option<Unmounter>>,
    stopping: AtomicBool,
}

/// What was served until now.
enum Before {
    Nothing,
    /// A mount of a process that has died.
    Elsewhere(Legacy),
    /// One of this process, of another catalog.
    Here(Arc<OnceLock<Serving>>),
}

/// The same, once commands know of what comes next.
enum Taken {
    Nothing,
    Elsewhere(succession::LegacyMount),
    Here(Arc<OnceLock<Serving>>),
}

/// Mounts, in the place of the mount `before` or going on with that if there is one, and serves.
fn serve_once(mounting: &Mounting, line: &Line, before: Before, current: &Arc<Current>) -> Result<Ended, DaemonError> {
    let state = StateDir::open_to_read(&mounting.state)?;
    let catalog = CatalogFile::at(&state.catalog())?;
    let blobs = BlobStore::open(&state.blobs(), None)?;
    let view = Arc::new(View::open(state.catalog(), blobs, mounting.clock.clone())?);
    view.refresh().map_err(unreadable)?;

    // Commands can tell us from here on, and wait until there is something to tell.
    let serving: Arc<OnceLock<Serving>> = Arc::default();
    let facts = facts(mounting, line.holder, view.generation().to_owned());
    let note = Note::new(mounting, &view, &catalog);
    let (registration, before) = match before {
        Before::Elsewhere(legacy) => {
            let (registration, mount) = legacy.resume(&mounting.run, &facts)?;
            (registration, Taken::Elsewhere(mount))
        }
        Before::Here(old) => (Registration::announce(&mounting.run, &facts)?, Taken::Here(old)),
        Before::Nothing => (Registration::announce(&mounting.run, &facts)?, Taken::Nothing),
    };
    let (told, shared) = (Arc::clone(&serving), Arc::clone(&serving));
    let (teller, since) = (line.clone(), mounting.clock.now());
    let handler = Arc::new(move |request| answer(told.wait(), request, &facts, &teller, since));
    let server = Server::serve(registration, handler)?;

    let options = Options {
        data: mounting.data,
        listing_cache_bytes: mounting.memory,
        labels: mounting.labels.clone(),
        ..Options::new(OsString::from(&mounting.state), mounting.now.unix())
    };
    let session = match before {
        Taken::Nothing => Some(mount(&view, &mounting.mountpoint, &options)?),
        Taken::Elsewhere(mount) => mount.go_on(&view, &note, &options)?,
        // Who has files open in the old mount is served from the old catalog, as far as that goes, until they close them.
        Taken::Here(old) => {
            let old = old.get().expect("it was served");
            Some(old.give_way(&view, &mounting.mountpoint, &options)?)
        }
    };
    let Some(session) = session else {
        // Taken away while nobody served it.
        server.registration().give_up();
        drop(server);
        line.ended().map_err(no_holder)?;
        return Ok(Ended::Unmounted);
    };
    note.leave(line, &session, server.registration())?;
    current.set(session.unmounter());
    let alive = Arc::downgrade(&serving);
    let serving = serving.get_or_init(|| Serving { view, session, catalog });
    // What was committed between opening the catalog and mounting is the first change to be noticed.
    let mut shown = None;
    serving.watch(&mut shown);
    pulse::start(alive, line)?;
    line.ready().map_err(no_holder)?;
    while !serving.is_taken_away_within(WATCH)? {
        if serving.is_of_another_catalog() {
            server.registration().give_up();
            return Ok(Ended::OtherCatalog(shared));
        }
        serving.watch(&mut shown);
    }
    // Nothing is to be told any more, and the place is free for another mount.
    server.registration().give_up();
    drop(server);
    line.ended().map_err(no_holder)?;
    if !serving.ends_within(LAST_READERS)? {
        tracing::warn!("the mount was taken away from under open files, which end now");
    }
    Ok(Ended::Unmounted)
}

/// Mounts where nothing is mounted.
fn mount(view: &Arc<View>, mountpoint: &Path, options: &Options) -> Result<Session, DaemonError> {
    let beneath = File::open(mountpoint);
    let session = mirrorctl_mount::mount(Arc::clone(view) as Arc<_>, mountpoint, options)?;
    close_to_others(beneath, mountpoint);
    Ok(session)
}

fn no_holder(source: io::Error) -> DaemonError {
    DaemonError::System {
        action: "tell the process that holds the mount",
        source,
    }
}

/// Takes every right to the directory beneath the mount away. A web server then answers "forbidden" while nothing is mounted
/// there: "not found" would make apt and caches believe that files are gone. An ordinary user keeps his own rights, without which
/// he could not mount there again.
fn close_to_others(beneath: io::Result<File>, mountpoint: &Path) {
    let by_root = mirrorctl_mount::ownership(mountpoint).is_ok_and(|ownership| ownership.user == 0);
    let mode = if by_root { 0o000 } else { 0o700 };
    let closed = beneath.and_then(|directory| directory.set_permissions(Permissions::from_mode(mode)));
    if let Err(error) = closed {
        tracing::warn!(
            mountpoint = %mountpoint.display(),
            %error,
            "a web server will answer \"not found\" while nothing is mounted: the directory beneath cannot be closed"
        );
    }
}

impl Serving {
    /// Lets a mount of `view` take the place of this one. Nobody sees a moment without a mount, where the kernel can do that.
    fn give_way(&self, view: &Arc<View>, mountpoint: &Path, options: &Options) -> Result<Session, DaemonError> {
        match self.session.replaced_by(Arc::clone(view) as Arc<_>, options) {
            Ok(session) => Ok(session),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the mount is taken away for a moment"
                );
                self.session.unmount().map_err(|source| DaemonError::System {
                    action: "take the mount away",
                    source,
                })?;
                mount(view, mountpoint, options)
            }
        }
    }

    /// Waits until the mount has been taken away, at most so long; whether it has.
    fn is_taken_away_within(&self, limit: Duration) -> Result<bool, DaemonError> {
        let waited = self.session.wait_until_taken_away(limit);
        waited.map_err(|source| DaemonError::System {
            action: "serve the mount",
            source,
        })
    }

    /// Waits for the end of the mount and of all its users, at most so long; whether it came.
    fn ends_within(&self, limit: Duration) -> Result<bool, DaemonError> {
        let ended = self.session.wait_at_most(limit);
        let ended = ended.map_err(|source| DaemonError::System {
            action: "serve the mount",
            source,
        })?;
        Ok(ended.is_some())
    }

    /// Makes commits that nobody announced visible, if there are any since `shown`.
    fn watch(&self, shown: &mut Option<Version>) {
        // Unreadable for now: the view goes on with what it knows, and the log has the reason.
        let Ok(version) = self.view.version() else { return };
        if shown.as_ref() == Some(&version) {
            return;
        }
        match self.make_current() {
            Ok(()) => *shown = Some(version),
            Err(error) => tracing::error!(%error, "a change could not be made visible yet"),
        }
    }

    /// Brings the kernel in line with the catalog.
    fn make_current(&self) -> io::Result<()> {
        self.view.refresh()?;
        let told = self.session.reconcile();
        self.forget_damage().and(told)
    }

    /// Makes the kernel forget the bytes of blobs that were found damaged since the last time, and of those repaired.
    fn forget_damage(&self) -> io::Result<()> {
        self.view.damage(|files| self.session.forget_files(files))
    }

    /// Whether there is a sound catalog whose numbers are not those of this mount: another file has taken the name, or
    /// the generation changed. One that cannot be read is no reason to stop showing what is known.
    fn is_of_another_catalog(&self) -> bool {
        if self.catalog.was_replaced() {
            return CatalogReader::open(&self.catalog.path).is_ok();
        }
        let now = self.view.version();
        now.is_ok_and(|now| now.generation != self.view.generation())
    }
}

fn unreadable(source: io::Error) -> DaemonError {
    DaemonError::System {
        action: "read the catalog",
        source,
    }
}

fn answer(serving: &Serving, request: Request, facts: &Facts, line: &Line, since: Timestamp) -> Result<Reply, String> {
    match request {
        Request::Reconcile if serving.is_of_another_catalog() => {
            Err("the catalog was replaced, and is about to be mounted afresh".to_owned())
        }
        Request::Reconcile => {
            serving.make_current().map_err(|error| error.to_string())?;
            Ok(Reply::Done)
        }
        Request::Damage => {
            serving.forget_damage().map_err(|error| error.to_string())?;
            Ok(Reply::Done)
        }
        Request::HeldBlobs => Ok(Reply::HeldBlobs(
            serving.session.held_blobs().into_iter().map(|BlobNo(n)| n).collect(),
        )),
        Request::Status => Ok(Reply::Status(Status {
            facts: facts.clone(),
            counters: counters(serving, line, since),
        })),
        Request::Upgrade => {
            line.replace().map_err(|error| error.to_string())?;
            Ok(Reply::Done)
        }
        Request::Stop => {
            serving.session.unmount().map_err(|error| error.to_string())?;
            Ok(Reply::Done)
        }
    }
}

fn counters(serving: &Serving, line: &Line, since: Timestamp) -> BTreeMap<String, u64> {
    BTreeMap::from([
        (control::WORKER.to_owned(), std::process::id().into()),
        (
            control::WORKER_SINCE.to_owned(),
            u64::try_from(since.unix()).unwrap_or_default(),
        ),
        (control::RESTARTS.to_owned(), line.restarts),
        (
            "cached_listing_bytes".to_owned(),
            serving.session.cached_listing_bytes() as u64,
        ),
        ("open_blobs".to_owned(), serving.session.held_blobs().len() as u64),
        (control::DEGRADED.to_owned(), u64::from(serving.view.is_degraded())),
    ])
}

fn facts(mounting: &Mounting, holder: u32, generation: String) -> Facts {
    Facts {
        pid: holder,
        mountpoint: mounting.mountpoint.clone(),
        state: mounting.state.clone(),
        generation,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: mounting.now,
    }
}

impl Current {
    fn set(&self, unmounter: Unmounter) {
        let mut place = self.unmounter.lock().unwrap_or_else(PoisonError::into_inner);
        // A signal that came while there was nothing to unmount.
        if self.stopping.load(Ordering::SeqCst) {
            take_away(&unmounter);
        }
        *place = Some(unmounter);
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let place = self.unmounter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unmounter) = &*place {
            take_away(unmounter);
        }
    }
}

fn take_away(unmounter: &Unmounter) {
    if let Err(error) = unmounter.unmount() {
        tracing::error!(%error, "the mount could not be taken away");
    }
}

fn stop_on_signals(current: &Arc<Current>) -> Result<(), DaemonError> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|source| DaemonError::System {
        action: "listen for signals",
        source,
    })?;
    let current = Arc::clone(current);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(|_| current.stop()))
        .map_err(|source| DaemonError::System {
            action: "start a thread",
            source,
        })?;
    Ok(())
}

/// Which file the catalog is, to notice that another one has taken its name: a restored backup.
struct CatalogFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl CatalogFile {
    fn at(path: &Path) -> Result<Self, DaemonError> {
        let identity = identity(path).map_err(|source| DaemonError::System {
            action: "look at the catalog",
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            identity,
        })
    }

    fn was_replaced(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found != self.identity)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

//! The life of one mount: from mounting to unmounting, told of changes and noticing those nobody told.
//!
//! Owns the order of starting (known to commands first, mounted then, so that no change can fall between), the watch
//! over the catalog, and the end. What is shown is `view`'s, how it is shown the mount crate's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use mirrorctl_mount::tree::BlobNo;
use mirrorctl_mount::{MountError, Options, Session, Unmounter};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::blobs::{BlobError, BlobStore};
use crate::catalog::{CatalogError, CatalogReader};
use crate::control::{self, ControlError, Facts, Registration, Reply, Request, Server, Status};
use crate::model::Timestamp;
use crate::state::{StateDir, StateError};
use crate::view::View;

/// How often the catalog is looked at for commits that nobody announced.
const WATCH: Duration = Duration::from_secs(1);

/// How long a mount that was taken away goes on for who still uses it: enough to finish a small answer, and short for
/// whoever waits for the end of the process.
const LAST_READERS: Duration = Duration::from_secs(1);

/// Why there is no mount, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Mounting failed.
    #[error("cannot mount")]
    Mount(#[from] MountError),
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
    /// The time of day.
    pub now: Timestamp,
}

/// Why a mount stopped being served.
enum Ended {
    /// It was unmounted.
    Unmounted,
    /// The catalog is another one now, whose numbers mean other things.
    OtherCatalog,
}

/// Mounts, calls `ready` once look-ups work, and serves until the mount is taken away by `mirrorctl unmount`,
/// `umount` or a signal. A catalog that was replaced meanwhile gets a fresh mount at once; whoever still uses the old one
/// is served from the old catalog, as far as that goes, until they leave or this process ends.
///
/// # Errors
/// When the mount cannot be made or breaks.
pub fn serve(mounting: &Mounting, ready: impl FnOnce()) -> Result<(), DaemonError> {
    let mounting = &make_room(mounting)?;
    let current = Arc::new(Current::default());
    stop_on_signals(&current)?;
    let mut ready = Some(ready);
    let mut ready_once = || ready.take().into_iter().for_each(|ready| ready());
    loop {
        match serve_once(mounting, &current, &mut ready_once)? {
            Ended::Unmounted => return Ok(()),
            Ended::OtherCatalog => tracing::warn!("the catalog was replaced: mounting afresh"),
        }
    }
}

/// Takes a dead mount of ours away, and refuses to cover a live one. Returns what to do with a mount point that has no
/// links in its path, as others will compare it.
fn make_room(mounting: &Mounting) -> Result<Mounting, DaemonError> {
    let mut mounting = mounting.clone();
    // Whatever is wrong with the place, mounting says so in its own words.
    let Ok(mountpoint) = mirrorctl_mount::resolve(&mounting.mountpoint) else {
        return Ok(mounting);
    };
    mounting.mountpoint.clone_from(&mountpoint);
    // First of all: a process that is stopped would not answer the question whether it is there.
    let live = control::mounts_in(&mounting.run)?;
    if let Some(live) = live.iter().find(|live| live.is_at(&mountpoint)) {
        let pid = live.pid;
        return Err(DaemonError::AlreadyServed { mountpoint, pid });
    }
    let inspect = |source| DaemonError::System {
        action: "look at the mount point",
        source,
    };
    if mirrorctl_mount::existing(&mountpoint)
        .map_err(inspect)?
        .is_some_and(|existing| existing.dead)
    {
        tracing::warn!(mountpoint = %mountpoint.display(), "taking a dead mount away");
        mirrorctl_mount::detach(&mountpoint).map_err(inspect)?;
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

fn serve_once(mounting: &Mounting, current: &Arc<Current>, ready: &mut impl FnMut()) -> Result<Ended, DaemonError> {
    let state = StateDir::open_to_read(&mounting.state)?;
    let catalog = state.catalog();
    let file = identity(&catalog).map_err(unreadable)?;
    let view = Arc::new(View::open(state.catalog(), BlobStore::open(&state.blobs(), None)?)?);
    let (generation, mut version) = view.catalog_version().map_err(unreadable)?;

    // Commands can tell us from here on, and wait until there is something to tell.
    let serving: Arc<OnceLock<Serving>> = Arc::default();
    let facts = facts(mounting, generation.clone());
    let registration = Registration::announce(&mounting.run, &facts)?;
    let told = Arc::clone(&serving);
    let handler = Arc::new(move |request| answer(told.wait(), request, &facts));
    let server = Server::serve(registration, handler)?;

    let options = Options::new(OsString::from(&mounting.state), mounting.now.unix());
    let session = mirrorctl_mount::mount(Arc::clone(&view) as Arc<_>, &mounting.mountpoint, &options)?;
    current.set(session.unmounter());
    let catalog = CatalogFile {
        path: catalog,
        file,
        generation,
    };
    let serving = serving.get_or_init(|| Serving { view, session, catalog });
    // What was committed between opening the catalog and mounting.
    make_current(serving);
    ready();
    let broken = |source| DaemonError::System {
        action: "serve the mount",
        source,
    };
    while !serving.session.wait_until_taken_away(WATCH).map_err(broken)? {
        if serving.catalog.was_replaced(&serving.view) {
            serving.session.unmount().map_err(|source| DaemonError::System {
                action: "take the mount away",
                source,
            })?;
            return Ok(Ended::OtherCatalog);
        }
        match serving.view.catalog_version() {
            Ok((_, found)) if found != version => {
                version = found;
                make_current(serving);
            }
            // Unreadable for now: the view goes on with what it knows, and the log has the reason.
            Ok(_) | Err(_) => {}
        }
    }
    // The place is free for another mount, and nothing is to be told any more.
    drop(server);
    if serving.session.wait_at_most(LAST_READERS).map_err(broken)?.is_none() {
        tracing::warn!("somebody still uses what was mounted, and gets errors from now on");
    }
    Ok(Ended::Unmounted)
}

fn unreadable(source: io::Error) -> DaemonError {
    DaemonError::System {
        action: "read the catalog",
        source,
    }
}

/// Brings the kernel in line with the catalog.
fn make_current(serving: &Serving) {
    serving.view.refresh();
    if let Err(error) = serving.session.reconcile() {
        tracing::error!(%error, "a change could not be made visible yet");
    }
}

fn answer(serving: &Serving, request: Request, facts: &Facts) -> Result<Reply, String> {
    match request {
        // Whoever asks must not take the old tree for the new one.
        Request::Reconcile if serving.catalog.was_replaced(&serving.view) => {
            Err("the catalog was replaced, and is about to be mounted afresh".to_owned())
        }
        Request::Reconcile => {
            serving.view.refresh();
            serving.session.reconcile().map_err(|error| error.to_string())?;
            Ok(Reply::Done)
        }
        Request::HeldBlobs => Ok(Reply::HeldBlobs(
            serving.session.held_blobs().into_iter().map(|BlobNo(n)| n).collect(),
        )),
        Request::Status => Ok(Reply::Status(Status {
            facts: facts.clone(),
            counters: counters(serving),
        })),
        Request::Stop => {
            serving.session.unmount().map_err(|error| error.to_string())?;
            Ok(Reply::Done)
        }
    }
}

fn counters(serving: &Serving) -> BTreeMap<String, u64> {
    BTreeMap::from([("open_blobs".to_owned(), serving.session.held_blobs().len() as u64)])
}

fn facts(mounting: &Mounting, generation: String) -> Facts {
    Facts {
        pid: std::process::id(),
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

/// Which catalog is shown, to notice that another one has taken its place: a restored backup, or one that was rebuilt.
struct CatalogFile {
    path: PathBuf,
    file: (u64, u64),
    generation: String,
}

impl CatalogFile {
    /// Whether there is a sound catalog whose numbers are not those of the shown one. One that cannot be read is no reason
    /// to stop showing what is known.
    fn was_replaced(&self, view: &View) -> bool {
        let other = |found: io::Result<String>| found.is_ok_and(|generation| generation != self.generation);
        match identity(&self.path) {
            Ok(found) if found != self.file => CatalogReader::open(&self.path).is_ok(),
            _ => other(view.catalog_version().map(|(generation, _)| generation)),
        }
    }
}

/// Device and number of the file at `path`.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

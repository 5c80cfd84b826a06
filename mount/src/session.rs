//! The life of a mount: checks, mounting, serving threads, readiness, unmounting.
//!
//! Owns [`mount`] and [`Session`]. It knows nothing of what is shown. Serving a
//! mount that an earlier process made is `adopt`'s.
//!
//! Two descriptors must not keep a mount alive that everybody else has left. The root's is of a nameless second mount
//! of the same file system, so that a plain `umount` does not find ours busy; and a thread watches the table of
//! mounts and lets go of it when the mount has left the table. When its last user has left, the kernel ends the
//! connection, the serving threads return, and [`Session::wait`] with them.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read as _, Seek as _};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fuser::BackingId;

use crate::adapter::Adapter;
use crate::cache::lock;
use crate::data::{DataPath, Unfit};
use crate::filesystem::{Filesystem, HiddenNames, SECRET_BYTES};
use crate::ino::{Ino, ROOT};
use crate::kernel::Kernel;
use crate::mount_error::MountError;
use crate::mount_table::{self, FILE_SYSTEM_TYPE};
use crate::reconcile::{Manner, reconcile};
use crate::record::{Begun, Record};
use crate::replace;
use crate::sys;
use crate::threads::Threads;
use crate::transport;
use crate::tree::{BlobNo, FileId, Tree};
use crate::unprivileged;
use crate::{Options, ToldBy};

/// The kernel's end of a mount of this kind.
pub(crate) const DEVICE: &str = "/dev/fuse";

/// Descriptors left to everything but open blobs: the tree's own files, sockets, the serving threads.
const DESCRIPTORS_LEFT: u64 = 128;

/// Fewest open blobs that are of use.
const LEAST_OPEN_BLOBS: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// A mount being served. Dropping it unmounts.
#[derive(Debug)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
}

/// What keeps a mount alive without serving it: whoever holds these two descriptors, in whatever process, can let another process
/// [`adopt`](crate::adopt()) the mount when the one that serves it has died. Until then its users wait. To let go of a mount, drop them.
#[derive(Debug)]
pub struct Held {
    /// The kernel's end of the mount. To be held, not read.
    pub device: OwnedFd,
    /// What a process must know to serve it: how it was begun, and which names the kernel may remember. A file in memory.
    pub record: OwnedFd,
}

/// Unmounts a [`Session`] from anywhere.
#[derive(Debug, Clone)]
pub struct Unmounter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// Absolute and without links.
    mountpoint: PathBuf,
    /// `major:minor` of the mounted file system, which tells it from any other mounted at the same place.
    device: Mutex<Option<String>>,
    filesystem: Arc<Filesystem>,
    kernel: Kernel,
    data: DataPath,
    held: Held,
    with_barriers: bool,
    told_by: ToldBy,
    /// Held while changes are told: one telling must not meet another's half-done moves. No serving thread takes it.
    telling: Mutex<()>,
    serving: Mutex<Serving>,
    serving_ended: Condvar,
}

#[derive(Debug)]
enum Serving {
    Goes,
    Ended(Result<(), String>),
}

/// Mounts what `tree` shows at `mountpoint` and serves it from threads of its own. Returns once the mount answers.
///
/// # Errors
/// When the mount point is unfit, or the kernel or the system refuses; nothing is left mounted then.
pub fn mount(tree: Arc<dyn Tree>, mountpoint: &Path, options: &Options) -> Result<Session, MountError> {
    let mountpoint = fit_mountpoint(mountpoint)?;
    let mut options = options.clone();
    options.open_blobs = affordable(options.open_blobs)?;
    let secret = secret().map_err(|source| MountError::System {
        what: "read random bytes",
        source,
    })?;
    let device = mounted_device(&mountpoint, &options)?;
    let filesystem = Arc::new(Filesystem::new(tree, HiddenNames::new(secret), &options));
    begin(filesystem, device, secret, (&mountpoint, Standing::There), &options).map_err(|source| {
        // The mount has no device yet by which it could be told from others, but nobody else has had it either.
        if let Err(error) = unprivileged::detach(&mountpoint) {
            tracing::warn!(%error, "a mount that does not answer could not be taken away");
        }
        not_begun(mountpoint, source)
    })
}

/// Where a mount stands when it begins to be served.
pub(crate) enum Standing<'a> {
    /// At its mount point already.
    There,
    /// Nowhere: it takes the place of another one as soon as it answers.
    Beneath {
        /// Its root.
        root: File,
        /// The other one.
        over: &'a Shared,
    },
    /// Nowhere: it takes the place of one that nobody serves any more, as soon as it answers.
    InPlaceOfDead {
        /// Its root.
        root: File,
    },
}

/// Why a file system could not be served that the kernel would have mounted.
pub(crate) fn not_begun(mountpoint: PathBuf, source: io::Error) -> MountError {
    let unfit = source.get_ref().and_then(|error| error.downcast_ref::<Unfit>());
    if unfit.is_some() {
        MountError::DataPath { source }
    } else {
        MountError::NotReady { mountpoint, source }
    }
}

/// The mount whose place a new one takes.
enum Old<'a> {
    None,
    Served(&'a Shared),
    Dead,
}

/// Shakes hands with the kernel, writes down what another process would have to know, and serves.
pub(crate) fn begin(
    filesystem: Arc<Filesystem>,
    device: File,
    secret: [u8; SECRET_BYTES],
    (mountpoint, standing): (&Path, Standing<'_>),
    options: &Options,
) -> io::Result<Session> {
    let number = match &standing {
        Standing::There => mount_table::at(mountpoint)?.ok_or(io::ErrorKind::NotFound)?.device,
        // Nobody answers for it yet.
        Standing::Beneath { root, .. } | Standing::InPlaceOfDead { root } => sys::device_number(root.as_fd())?,
    };
    let adapter = Adapter::new(Arc::clone(&filesystem), options.data);
    let chosen = adapter.chosen();
    let (session, negotiated) = transport::negotiate(adapter.clone(), &device)?;
    let threads = Threads::new(session, adapter, negotiated.clone(), options)?;
    let data = *chosen.get().ok_or(io::ErrorKind::Other)?;
    try_out(data, &device)?;
    let record = Record::new(&Begun {
        secret,
        mount: number,
        negotiated,
    })?;
    let held = Held {
        device: device.into(),
        record: record.descriptor()?,
    };
    filesystem.handed().write_to(record);
    serve(threads, filesystem, (data, held), (mountpoint, standing), options)
}

/// Whether files can be read in the way that was agreed on. The kernel offers passthrough to everybody, and refuses it file by file
/// to who lacks the right to it.
fn try_out(data: DataPath, device: &File) -> io::Result<()> {
    match data {
        DataPath::NoOpen | DataPath::KeepCache => Ok(()),
        DataPath::Passthrough => {
            let file = sys::memory_file(c"mirrorctl-passthrough")?;
            let refused = |source| io::Error::new(io::ErrorKind::Unsupported, data.refused(source));
            let number = BackingId::create_raw(device, file).map_err(refused)?;
            sys::close_backing(device.as_fd(), number)
        }
    }
}

/// Takes whatever is mounted topmost at `mountpoint` away, at once for new users; who has files open there keeps them.
/// For a dead mount of an earlier process; a [`Session`]'s own is taken away by [`Session::unmount`].
///
/// # Errors
/// When nothing is mounted there, or the kernel refuses.
pub fn detach(mountpoint: &Path) -> io::Result<()> {
    unprivileged::detach(&mount_table::resolve(mountpoint)?)
}

impl Session {
    /// Asks the mount something that only who serves it can answer, the way its users ask, and returns when there is an
    /// answer: never, should serving hang. A mount that has been taken away is not asked.
    ///
    /// # Errors
    /// When the answer is wrong.
    pub fn ask(&self) -> io::Result<()> {
        match self.shared.kernel.root() {
            Some(root) => is_absent(root.as_fd(), &self.shared.filesystem),
            None => Ok(()),
        }
    }

    /// What must be held for the mount to outlive this process.
    ///
    /// # Errors
    /// When this process can have no more descriptors.
    pub fn held(&self) -> io::Result<Held> {
        self.shared.held.try_clone()
    }

    /// Where the mount is: absolute, without links.
    pub fn mountpoint(&self) -> &Path {
        &self.shared.mountpoint
    }

    /// Brings the kernel in line with the tree as it is now: when this has returned, no walk that begins later sees a
    /// pointer, snapshot or mirror as it was before. To be called after every change of those; repeating it is
    /// safe. Calls from several threads wait for each other. Must not be called from a method of the [`Tree`].
    ///
    /// Returns at once when the mount has ended.
    ///
    /// # Errors
    /// When the tree cannot be asked or the kernel does not follow. Some names may then still lead where they did.
    pub fn reconcile(&self) -> io::Result<()> {
        let _turn = lock(&self.shared.telling);
        if !self.shared.kernel.is_served() {
            return Ok(());
        }
        let shared = &self.shared;
        let manner = Manner {
            with_barriers: shared.with_barriers,
            told_by: shared.told_by,
            device: shared.held.device.as_fd(),
        };
        reconcile(&shared.filesystem, &shared.kernel, manner)
    }

    /// Makes this process and the kernel forget the bytes of `files`: when this has returned, reading one asks the tree to open
    /// its blob again, whoever had it open or mapped. For blobs that turned out to be damaged, or were repaired; the tree
    /// must answer so before this is called. A file is known by each of its numbers. Must not be called from a method of the
    /// [`Tree`].
    ///
    /// Returns at once when the mount has ended.
    ///
    /// # Errors
    /// When the kernel does not follow. It may still show some of the bytes then.
    pub fn forget_files(&self, files: &[FileId]) -> io::Result<()> {
        let _turn = lock(&self.shared.telling);
        if !self.shared.kernel.is_served() {
            return Ok(());
        }
        self.shared.filesystem.forget_bytes(files);
        for file in files {
            let Some(number) = Ino::File(*file).number() else {
                continue;
            };
            self.shared.kernel.forget_content(number)?;
        }
        Ok(())
    }

    /// How the bytes of files reach their readers.
    pub fn data_path(&self) -> DataPath {
        self.shared.data
    }

    /// Bytes that cached listings of directories take: no more than [`Options::listing_cache_bytes`], or one listing.
    pub fn cached_listing_bytes(&self) -> usize {
        self.shared.filesystem.cached_listing_bytes()
    }

    /// The blobs held open: those read last, which somebody may go on reading.
    pub fn held_blobs(&self) -> Vec<BlobNo> {
        self.shared.filesystem.held_blobs()
    }

    /// Takes the mount away, at once for new users. Who has files open in it keeps them, as long as this process lives.
    ///
    /// # Errors
    /// When the kernel refuses, or something else has been mounted over it.
    pub fn unmount(&self) -> io::Result<()> {
        self.shared.unmount()
    }

    /// Whether the mount has been taken away, by us or somebody else. It is served on until its last user has left.
    pub fn is_taken_away(&self) -> bool {
        self.shared.kernel.has_left()
    }

    /// Waits until the mount has been taken away or has ended, at most for `limit`; whether it has.
    ///
    /// # Errors
    /// When serving ended because of an error.
    pub fn wait_until_taken_away(&self, limit: Duration) -> io::Result<bool> {
        let goes = |serving: &mut Serving| matches!(serving, Serving::Goes) && !self.is_taken_away();
        let serving = lock(&self.shared.serving);
        let waited = self.shared.serving_ended.wait_timeout_while(serving, limit, goes);
        let serving = waited.unwrap_or_else(PoisonError::into_inner).0;
        serving.result()?;
        Ok(matches!(*serving, Serving::Ended(_)) || self.is_taken_away())
    }

    /// Something that unmounts from another thread, such as one that waits for signals.
    pub fn unmounter(&self) -> Unmounter {
        Unmounter {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Waits until the mount has ended: it was taken away, by us or somebody else, and its last user has left.
    ///
    /// # Errors
    /// When serving ended because of an error.
    pub fn wait(&self) -> io::Result<()> {
        let ended = lock(&self.shared.serving);
        let goes = |serving: &mut Serving| matches!(serving, Serving::Goes);
        let ended = self
            .shared
            .serving_ended
            .wait_while(ended, goes)
            .unwrap_or_else(PoisonError::into_inner);
        ended.result()
    }

    /// Like [`Session::wait`], but at most for `limit`; `None` if the mount has not ended by then.
    ///
    /// # Errors
    /// When serving ended because of an error.
    pub fn wait_at_most(&self, limit: Duration) -> io::Result<Option<()>> {
        let until = Instant::now() + limit;
        let mut serving = lock(&self.shared.serving);
        while matches!(*serving, Serving::Goes) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.shared.serving_ended.wait_timeout(serving, left);
            serving = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        serving.result().map(Some)
    }
}

impl Held {
    /// The same, once more.
    ///
    /// # Errors
    /// When this process can have no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            device: self.device.try_clone()?,
            record: self.record.try_clone()?,
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.shared.unmount() {
            tracing::warn!(mountpoint = %self.shared.mountpoint.display(), %error, "cannot unmount");
        }
    }
}

impl Unmounter {
    /// As [`Session::unmount`].
    ///
    /// # Errors
    /// When the kernel refuses, or something else has been mounted over it.
    pub fn unmount(&self) -> io::Result<()> {
        self.shared.unmount()
    }
}

impl Serving {
    fn result(&self) -> io::Result<()> {
        match self {
            Self::Goes | Self::Ended(Ok(())) => Ok(()),
            Self::Ended(Err(text)) => Err(io::Error::other(text.clone())),
        }
    }
}

impl Shared {
    /// Where it is: absolute, without links.
    pub(crate) fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    fn unmount(&self) -> io::Result<()> {
        // Whoever unmounts next finds the mount gone: two must not take away two mounts.
        let mut place = lock(&self.device);
        let Some(device) = place.as_ref() else { return Ok(()) };
        match mount_table::at(&self.mountpoint)? {
            Some(entry) if entry.device == *device => unprivileged::detach(&self.mountpoint)?,
            Some(entry) if mount_table::lists(&fs::read(mount_table::TABLE)?, device) => {
                let over = format!("{} ({}) is mounted over it", entry.source.display(), entry.kind);
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, over));
            }
            Some(_) | None => {}
        }
        self.taken_away(&mut place);
        Ok(())
    }

    /// Lets go of a mount that has left the table, and tells who waits for that. The kernel may give the number of its
    /// device to the next mount as soon as the last user has left, so it must not be compared with any more.
    pub(crate) fn taken_away(&self, device: &mut Option<String>) {
        *device = None;
        self.kernel.release_root();
        // Whoever looked before this and found it mounted is waiting by now.
        drop(lock(&self.serving));
        self.serving_ended.notify_all();
    }

    fn serving_ended(&self, result: Result<(), String>) {
        self.kernel.end();
        *lock(&self.serving) = Serving::Ended(result);
        self.serving_ended.notify_all();
    }
}

/// Starts the serving threads and returns once they are seen to answer.
pub(crate) fn serve(
    threads: Threads,
    filesystem: Arc<Filesystem>,
    (data, held): (DataPath, Held),
    (mountpoint, standing): (&Path, Standing<'_>),
    options: &Options,
) -> io::Result<Session> {
    let shared = Arc::new(Shared {
        mountpoint: mountpoint.to_owned(),
        device: Mutex::default(),
        filesystem,
        kernel: Kernel::default(),
        data,
        held,
        with_barriers: options.barrier,
        told_by: options.told_by,
        telling: Mutex::default(),
        serving: Mutex::new(Serving::Goes),
        serving_ended: Condvar::new(),
    });
    shared.kernel.serve(threads.notifier());
    let started = start(&shared, threads, standing, options);
    if let Err(error) = started {
        shared.kernel.end();
        return Err(error);
    }
    Ok(Session { shared })
}

fn start(shared: &Arc<Shared>, threads: Threads, standing: Standing<'_>, options: &Options) -> io::Result<()> {
    let (stop, serving) = io::pipe()?;
    let runner = Arc::clone(shared);
    thread::Builder::new().name("mount".to_owned()).spawn(move || {
        let result = threads.run().map_err(|error| error.to_string());
        runner.serving_ended(result);
        // Hangs up on the thread that watches the table of mounts.
        drop(serving);
    })?;

    let (root, old) = match standing {
        Standing::There => (sys::open_directory(&shared.mountpoint)?, Old::None),
        Standing::Beneath { root, over } => (root, Old::Served(over)),
        Standing::InPlaceOfDead { root } => (root, Old::Dead),
    };
    let found = root.metadata()?;
    answers(&root, &found, &shared.filesystem)?;
    match old {
        Old::None => {}
        Old::Served(old) => replace::take_place(&root, old)?,
        Old::Dead => replace::take_place_of_dead(&root, &shared.mountpoint)?,
    }
    let device = format!("{}:{}", libc::major(found.dev()), libc::minor(found.dev()));
    set_read_ahead(&device, options.read_ahead_kib);
    *lock(&shared.device) = Some(device.clone());
    match sys::clone_mount(root.as_fd()) {
        Ok(nameless) => shared.kernel.hold_root(nameless),
        Err(error) => {
            tracing::debug!(%error, "the mount's root is looked for whenever a change is told");
            let device = (device.clone(), found.dev());
            shared.kernel.look_for_root(&shared.mountpoint, device);
        }
    }

    let watcher = Arc::clone(shared);
    thread::Builder::new().name("mount-watch".to_owned()).spawn(move || {
        if let Err(error) = watch(&watcher, &device, &stop) {
            tracing::warn!(%error, "an unmount by somebody else will not be noticed");
        }
    })?;
    Ok(())
}

/// Lets go of the root when no mount of `device` is listed any more; returns then, or when serving has ended.
fn watch(shared: &Shared, device: &str, stop: &PipeReader) -> io::Result<()> {
    let mut table = File::open(mount_table::TABLE)?;
    loop {
        let mut lines = Vec::new();
        table.rewind()?;
        table.read_to_end(&mut lines)?;
        if !mount_table::lists(&lines, device) {
            shared.taken_away(&mut lock(&shared.device));
            return Ok(());
        }
        if sys::mounts_changed_or_stopped(&table, stop)? {
            return Ok(());
        }
    }
}

/// Asks the mount two things: its root's attributes, which `found` answers, and a name that is not there.
fn answers(root: &File, found: &fs::Metadata, filesystem: &Filesystem) -> io::Result<()> {
    if found.ino() != ROOT {
        return Err(io::Error::other("another mount answers in its place"));
    }
    is_absent(root.as_fd(), filesystem)
}

/// Asks the mount for a name that is never there and that the kernel does not remember.
fn is_absent(root: BorrowedFd<'_>, filesystem: &Filesystem) -> io::Result<()> {
    match sys::inode_number(root, &filesystem.hidden().barrier) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("another mount answers in its place")),
    }
}

/// What else a mount is asked to be: `allow_other` lets everybody in. `default_permissions` is not among it, by which the kernel
/// would check the modes of every directory on the way: everything is there for everybody to read, and nothing to write.
const SWITCHES: [&str; 1] = ["allow_other"];

/// What the kernel is told of a mount. The root is a directory whatever the mount point's mode is.
fn values(device: &File) -> [(&'static str, String); 4] {
    let (user, group) = sys::effective_ids();
    [
        ("fd", device.as_raw_fd().to_string()),
        ("rootmode", "40555".to_owned()),
        ("user_id", user.to_string()),
        ("group_id", group.to_string()),
    ]
}

/// What a mount without a place is asked to be.
pub(crate) struct Wished {
    /// What is on.
    pub(crate) switches: Vec<CString>,
    /// Values with their keys.
    pub(crate) values: Vec<(CString, CString)>,
}

/// The same for a mount that has no place yet.
pub(crate) fn wished(device: &File, options: &Options) -> io::Result<Wished> {
    let (_, subtype) = FILE_SYSTEM_TYPE.split_once('.').unwrap_or_default();
    let own = [
        ("source", options.fsname.as_bytes().to_vec()),
        ("subtype", subtype.into()),
    ];
    let all = values(device)
        .into_iter()
        .chain(options.labels.wanted()?)
        .map(|(key, value)| (key, value.into_bytes()))
        .chain(own);
    let pair = |(key, value): (&str, Vec<u8>)| Ok((CString::new(key)?, CString::new(value)?));
    let switches = ["ro"].into_iter().chain(SWITCHES).map(CString::new);
    Ok(Wished {
        switches: switches.collect::<Result<_, _>>()?,
        values: all.map(pair).collect::<io::Result<_>>()?,
    })
}

/// The device of a mount, held so that nobody takes the mount away meanwhile.
pub(crate) fn lock_device(shared: &Shared) -> MutexGuard<'_, Option<String>> {
    lock(&shared.device)
}

/// The kernel's end of a new mount at `mountpoint`: by a call of our own, or through `fusermount3` for who may not make it.
fn mounted_device(mountpoint: &Path, options: &Options) -> Result<File, MountError> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE);
    let device = device.map_err(|source| MountError::Device { source });
    let mounted = device.and_then(|device| mount_device(&device, mountpoint, options).map(|()| device));
    match mounted {
        Err(refusal) if unprivileged::can_help_after(&refusal) => Ok(unprivileged::mount(mountpoint, options)?.into()),
        mounted => mounted,
    }
}

fn mount_device(device: &File, mountpoint: &Path, options: &Options) -> Result<(), MountError> {
    let refused = |source| MountError::Refused {
        mountpoint: mountpoint.to_owned(),
        source,
    };
    let name = CString::new(options.fsname.as_bytes()).map_err(|error| refused(error.into()))?;
    let kind = CString::new(FILE_SYSTEM_TYPE).expect("a constant without a zero byte");
    let values = values(device).into_iter().map(|(key, value)| format!("{key}={value}"));
    let data: Vec<String> = values.chain(SWITCHES.map(str::to_owned)).collect();
    let labels = options.labels.wanted().map_err(refused)?;
    // A label's level can have commas: `s0:c1,c2`.
    let labels = labels.into_iter().map(|(name, label)| format!("{name}=\"{label}\""));
    let data: Vec<String> = data.into_iter().chain(labels).collect();
    let data = CString::new(data.join(",")).expect("numbers, constants and labels have no zero byte");
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME;
    sys::mount(&name, mountpoint, &kind, flags, &data).map_err(refused)
}

/// `mountpoint` without links, if something can be mounted there.
fn fit_mountpoint(mountpoint: &Path) -> Result<PathBuf, MountError> {
    let inspect = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => MountError::Missing {
            mountpoint: mountpoint.to_owned(),
        },
        io::ErrorKind::NotADirectory => MountError::NotADirectory {
            mountpoint: mountpoint.to_owned(),
        },
        _ => MountError::Inspect {
            mountpoint: mountpoint.to_owned(),
            source,
        },
    };
    let place = mount_table::resolve(mountpoint).map_err(inspect)?;
    if let Some(existing) = mount_table::existing(&place).map_err(inspect)? {
        let (mountpoint, fsname) = (place, existing.fsname);
        return Err(match (existing.ours, existing.dead) {
            (true, true) => MountError::Dead { mountpoint, fsname },
            (true, false) => MountError::AlreadyServed { mountpoint, fsname },
            (false, _) => MountError::Foreign {
                mountpoint,
                kind: existing.kind,
                fsname,
            },
        });
    }
    if fs::read_dir(&place).map_err(inspect)?.next().is_some() {
        return Err(MountError::NotEmpty { mountpoint: place });
    }
    Ok(place)
}

/// As many open blobs as wanted, or as many as this process's limit on descriptors leaves room for.
pub(crate) fn affordable(wanted: NonZeroUsize) -> Result<NonZeroUsize, MountError> {
    let limit = sys::descriptor_limit();
    let limit = limit.map_err(|source| MountError::System {
        what: "read the limit on open files",
        source,
    })?;
    let room = usize::try_from(limit.saturating_sub(DESCRIPTORS_LEFT)).unwrap_or(usize::MAX);
    Ok(NonZeroUsize::new(room)
        .unwrap_or(LEAST_OPEN_BLOBS)
        .max(LEAST_OPEN_BLOBS)
        .min(wanted))
}

/// Lets the kernel read ahead further than the 128 KiB that the protocol's own setting is capped at. Where it may not be
/// set, in a container mostly, big files are read a little more slowly.
fn set_read_ahead(device: &str, kib: u32) {
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = fs::write(&setting, kib.to_string()) {
        tracing::info!(%setting, %error, "the read-ahead stays at the kernel's default");
    }
}

pub(crate) fn secret() -> io::Result<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

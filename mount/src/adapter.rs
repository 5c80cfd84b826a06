//! The kernel's requests: each is decoded, asked of [`Filesystem`] in one call, and replied to.
//!
//! Owns the library's trait and nothing of the semantics. Two promises of the whole crate stand here. Whatever would
//! modify is refused, although the kernel refuses it before. And a panic in one request costs that request only: it
//! is caught, the dropped reply answers with an input/output error, and the thread serves on.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    Version, WriteFlags,
};

use crate::attr::{self, BLOCK_SIZE, NAME_MAX};
use crate::cache::lock;
use crate::data::DataPath;
use crate::error::FsError;
use crate::filesystem::{Filesystem, Lookup, Room};
use crate::tree::Totals;

/// A number stands for one thing for ever, so no second generation of it exists.
const GENERATION: Generation = Generation(0);

/// The oldest protocol served, that of Linux 5.10. Older kernels may take a size that no file can have for a good one,
/// and [`attr::name_only`] relies on its being refused.
const OLDEST: Version = Version(7, 32);

/// Requests the kernel may have waiting on its own account (read-ahead): with the default of 16, one big sequential
/// reader makes others wait.
const MAX_BACKGROUND: u16 = 64;

/// What is asked of the kernel, each only where it can: look-ups and listings of one directory side by side; listings
/// that bring attributes with them; directories without opening (it asks once and is told not to); handles by which files are found again
/// when nothing is remembered of them (an NFS server's; it looks up `.` and `..`).
const WANTED: [InitFlags; 4] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_EXPORT_SUPPORT,
];

/// The most bytes that the kernel asks for at once: what the library agrees on with it.
const LARGEST_READ: u32 = 16 << 20;

/// On how many file systems, one upon the other, the mount counts as lying when the kernel reads blobs by itself. One, so that blobs
/// must be on a plain file system, and an overlay file system can lie upon the mount.
const STACKED_UPON: u32 = 1;

/// Closing asks for nothing, so that nobody waits to close what nobody serves any more. Before Linux 5.16 it asks once in the life of
/// a mount.
const UNFLUSHED: FopenFlags = FopenFlags::FOPEN_NOFLUSH;

/// What stands for an opening: nothing, since reading and releasing name the file.
const NO_HANDLE: FileHandle = FileHandle(0);

thread_local! {
    /// Whether a request is being answered.
    static IS_SHIELDED: Cell<bool> = const { Cell::new(false) };

    /// Where a serving thread reads blobs into: as large as the largest read so far.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The kernel's side of a [`Filesystem`].
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    filesystem: Arc<Filesystem>,
    wanted: Option<DataPath>,
    /// What the handshake has led to.
    chosen: Arc<OnceLock<DataPath>>,
}

impl Adapter {
    /// Shows `filesystem`, read in the way that is `wanted`, or in the best one.
    pub(crate) fn new(filesystem: Arc<Filesystem>, wanted: Option<DataPath>) -> Self {
        Self {
            filesystem,
            wanted,
            chosen: Arc::default(),
        }
    }

    /// Where the handshake will say in which way files are read.
    pub(crate) fn chosen(&self) -> Arc<OnceLock<DataPath>> {
        Arc::clone(&self.chosen)
    }

    fn way(&self) -> DataPath {
        *self.chosen.get().expect("nothing is asked before the handshake")
    }

    /// Chooses how files are read, and asks the kernel for what that needs.
    fn choose(&self, config: &mut KernelConfig) -> io::Result<()> {
        let chosen = DataPath::choose(self.wanted, config.capabilities());
        let chosen = chosen.map_err(|unfit| io::Error::new(io::ErrorKind::Unsupported, unfit))?;
        let offered = config.add_capabilities(chosen.needs());
        offered.expect("chosen among what is offered");
        if chosen == DataPath::Passthrough {
            let allowed = config.set_max_stack_depth(STACKED_UPON);
            allowed.expect("less than the most that the kernel allows");
        }
        self.chosen.get_or_init(|| chosen);
        Ok(())
    }
}

/// Whether this thread is answering a request of the kernel, so that a panic in it costs that request and nothing else. For a panic
/// hook that ends the process in all other cases.
pub fn answers_a_request() -> bool {
    IS_SHIELDED.get()
}

/// Does `work` for one request. A panic in it ends here; the reply it held has answered by being dropped.
fn shielded(operation: &'static str, work: impl FnOnce()) {
    IS_SHIELDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_SHIELDED.set(false);
    if outcome.is_err() {
        tracing::error!(
            operation,
            "a request panicked; it was answered with an input/output error"
        );
    }
}

/// Troubles that are reported in a minute at most: enough to see what is wrong. A web server that goes on asking for what
/// cannot be had must not fill a disk.
const REPORTS_A_MINUTE: u32 = 10;

/// How many troubles have been reported since when.
#[derive(Debug)]
struct Reports(Mutex<Option<(Instant, u32)>>);

static REPORTS: Reports = Reports(Mutex::new(None));

/// Whether one more trouble may be reported now.
pub(crate) fn may_report() -> bool {
    REPORTS.admit(Instant::now())
}

impl Reports {
    /// Whether one more trouble may be reported at `now`.
    fn admit(&self, now: Instant) -> bool {
        let mut since = lock(&self.0);
        let (_, count) = match &mut *since {
            Some(minute) if now.saturating_duration_since(minute.0) < Duration::from_mins(1) => minute,
            outdated => outdated.insert((now, 0)),
        };
        *count = count.saturating_add(1);
        *count <= REPORTS_A_MINUTE
    }
}

/// The error number for `error`, which is reported if it is trouble.
fn refusal(operation: &'static str, ino: INodeNo, error: &FsError) -> Errno {
    if error.is_trouble() && may_report() {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(operation, inode = ino.0, cause, "{error}");
    }
    error.errno()
}

/// Replies with an extended attribute's `value` the way its asker wants it: first its size, then itself.
fn reply_extended(value: &[u8], room: u32, reply: ReplyXattr) {
    match u32::try_from(value.len()) {
        Ok(size) if room == 0 => reply.size(size),
        Ok(size) if size <= room => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

impl fuser::Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if config.kernel_abi() < OLDEST {
            let error = format!(
                "the kernel speaks version {} of the protocol, {OLDEST} is needed",
                config.kernel_abi()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, error));
        }
        for wanted in WANTED {
            if let Err(missing) = config.add_capabilities(wanted) {
                tracing::info!(?missing, "the kernel lacks something that would make the mount faster");
            }
        }
        config
            .set_max_background(MAX_BACKGROUND)
            .map_err(|least| io::Error::other(format!("at least {least} requests must be able to wait")))?;
        self.choose(config)
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        shielded("lookup", || match self.filesystem.lookup(parent.0, name.as_bytes()) {
            Ok(Lookup::Present { attr, ttl }) => {
                reply.entry_with_ttls(&attr::FOR_EVER, &ttl, &attr, GENERATION);
            }
            Ok(Lookup::Absent { ttl }) => reply.entry(&ttl, &attr::absent(), GENERATION),
            Err(error) => reply.error(refusal("lookup", parent, &error)),
        });
    }

    /// Numbers are computed, not kept: there is nothing to forget.
    fn forget(&self, _: &Request, _: INodeNo, _: u64) {}

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        shielded("getattr", || match self.filesystem.attributes(ino.0) {
            Ok((attr, ttl)) => reply.attr(&ttl, &attr),
            Err(error) => reply.error(refusal("getattr", ino, &error)),
        });
    }

    /// "Not implemented" makes the kernel stop asking: from then on files are opened without us and stay cached.
    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        shielded("open", || match self.way() {
            DataPath::NoOpen => reply.error(Errno::ENOSYS),
            DataPath::KeepCache => match self.filesystem.open(ino.0) {
                Ok(()) => reply.opened(NO_HANDLE, UNFLUSHED | FopenFlags::FOPEN_KEEP_CACHE),
                Err(error) => reply.error(refusal("open", ino, &error)),
            },
            // To keep what is remembered makes no sense where nothing is, and the kernel refuses it.
            DataPath::Passthrough => match self.filesystem.open_backed(ino.0, |file| reply.open_backing(file)) {
                Ok(id) => reply.opened_passthrough(NO_HANDLE, UNFLUSHED, &id),
                Err(error) => reply.error(refusal("open", ino, &error)),
            },
        });
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        shielded("release", || {
            match self.way() {
                DataPath::NoOpen | DataPath::KeepCache => {}
                DataPath::Passthrough => self.filesystem.release_backed(ino.0),
            }
            reply.ok();
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        shielded("read", || {
            if size > LARGEST_READ {
                return reply.error(Errno::EINVAL);
            }
            READ_BUFFER.with_borrow_mut(|buffer| {
                let size = usize::try_from(size).expect("32 bits fit");
                if buffer.len() < size {
                    buffer.resize(size, 0);
                }
                match self.filesystem.read(ino.0, offset, &mut buffer[..size]) {
                    Ok(length) => reply.data(&buffer[..length]),
                    Err(error) => reply.error(refusal("read", ino, &error)),
                }
            });
        });
    }

    /// Nothing was written that could be flushed; "not implemented" makes the kernel stop asking.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    /// As for files: and listings are then cached by the kernel.
    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        shielded("readdir", || {
            let listed = self.filesystem.list(ino.0, offset, |entry| {
                room(reply.add(
                    entry.attr.ino,
                    entry.next,
                    entry.attr.kind,
                    OsStr::from_bytes(entry.name),
                ))
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(refusal("readdir", ino, &error)),
            }
        });
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        shielded("readdirplus", || {
            let listed = self.filesystem.list(ino.0, offset, |entry| {
                let attr = if entry.counts_as_lookup {
                    entry.attr
                } else {
                    attr::name_only(entry.attr)
                };
                let name = OsStr::from_bytes(entry.name);
                room(reply.add(attr.ino, entry.next, name, &attr::FOR_EVER, &attr, GENERATION))
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(refusal("readdirplus", ino, &error)),
            }
        });
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        shielded("statfs", || match self.filesystem.totals() {
            Ok(Totals {
                bytes,
                free_bytes,
                files,
            }) => {
                let block = u64::from(BLOCK_SIZE);
                // Never 0 blocks: programs divide by it.
                let blocks = bytes.div_ceil(block).max(1);
                let free = (free_bytes / block).min(blocks);
                let longest = u32::try_from(NAME_MAX).expect("255 fits");
                reply.statfs(blocks, free, free, files, 0, BLOCK_SIZE, longest, BLOCK_SIZE);
            }
            Err(error) => reply.error(refusal("statfs", ino, &error)),
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        shielded("getxattr", || {
            match self.filesystem.extended_attribute(ino.0, name.as_bytes()) {
                Ok(value) => reply_extended(&value, size, reply),
                Err(error) => reply.error(refusal("getxattr", ino, &error)),
            }
        });
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        shielded("listxattr", || match self.filesystem.extended_attributes(ino.0) {
            Ok(names) => reply_extended(&names, size, reply),
            Err(error) => reply.error(refusal("listxattr", ino, &error)),
        });
    }

    /// Everybody may read everything, which "not implemented" says once for all. That nothing can be written or run, the kernel
    /// knows by itself, of a mount for reading and of modes.
    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        shielded("readlink", || match self.filesystem.link_target(ino.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(refusal("readlink", ino, &error)),
        });
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    /// "Not implemented" makes the kernel find holes and ends of files by itself.
    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(&self, _: &Request, _: INodeNo, _: &OsStr, _: INodeNo, _: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}

fn room(full: bool) -> Room {
    if full { Room::Full } else { Room::Left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_reported_a_few_times_a_minute() {
        let (reports, start) = (Reports(Mutex::new(None)), Instant::now());
        let admitted = |second| {
            let now = start + Duration::from_secs(second);
            (0..100).filter(|_| reports.admit(now)).count()
        };
        assert_eq!([admitted(0), admitted(59), admitted(60), admitted(61)], [10, 0, 10, 0]);
    }
}

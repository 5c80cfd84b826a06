//! The system calls that the standard library does not offer.
//!
//! Owns all of the crate's `unsafe`, one call per function, each turned into an ordinary result. It decides nothing.

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// `FUSE_DEV_IOC_BACKING_CLOSE` in linux/fuse.h.
const BACKING_CLOSE: libc::Ioctl = libc::_IOW::<u32>(229, 2);

/// Mounts `source` of the file system `kind` at `target`.
#[expect(unsafe_code, reason = "the standard library cannot mount")]
pub(crate) fn mount(source: &CStr, target: &Path, kind: &CStr, flags: libc::c_ulong, data: &CStr) -> io::Result<()> {
    let target = c_string(target.as_os_str().as_bytes())?;
    // SAFETY: all four pointers are to strings that end in a zero byte and outlive the call, which only reads them.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    };
    done(result)
}

/// Takes the topmost mount at `target` out of the tree at once; it ends when its last user leaves.
#[expect(unsafe_code, reason = "the standard library cannot unmount")]
pub(crate) fn detach(target: &Path) -> io::Result<()> {
    let target = c_string(target.as_os_str().as_bytes())?;
    // SAFETY: the pointer is to a string that ends in a zero byte and outlives the call, which only reads it.
    done(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) })
}

/// The directory at `path`, opened without asking who serves it for anything.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// A second, nameless mount of what `directory` shows. Holding it does not make the first one busy.
#[expect(unsafe_code, reason = "the standard library cannot clone a mount")]
pub(crate) fn clone_mount(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::c_long::from(libc::OPEN_TREE_CLONE)
        | libc::c_long::from(libc::OPEN_TREE_CLOEXEC)
        | libc::c_long::from(libc::AT_EMPTY_PATH);
    // SAFETY: the descriptor is open, and the path is an empty string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, directory.as_raw_fd(), c"".as_ptr(), flags) })
}

/// A mount that has no place, of our kind of file system, with these switches and values.
#[expect(unsafe_code, reason = "the standard library cannot mount")]
pub(crate) fn placeless_mount(switches: &[CString], values: &[(CString, CString)]) -> io::Result<OwnedFd> {
    const SET_FLAG: libc::c_uint = 0;
    const SET_STRING: libc::c_uint = 1;
    const CREATE: libc::c_uint = 6;
    // MOUNT_ATTR_RDONLY, _NOSUID, _NODEV, _NOEXEC and _NOATIME in linux/mount.h.
    const ATTRIBUTES: libc::c_uint = 0x1 | 0x2 | 0x4 | 0x8 | 0x10;
    const CLOSE_ON_EXEC: libc::c_uint = 1;
    // SAFETY: the pointer is to a string that ends in a zero byte and outlives the call, which only reads it.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"fuse".as_ptr(), CLOSE_ON_EXEC) })?;
    let configure = |command: libc::c_uint, key: Option<&CStr>, value: Option<&CStr>| {
        let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
        let (key, value) = (pointer(key), pointer(value));
        // SAFETY: the descriptor is open; both pointers are null or to strings that end in a zero byte and outlive the
        // call, which only reads them.
        let result = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    for (key, value) in values {
        configure(SET_STRING, Some(key), Some(value))?;
    }
    for switch in switches {
        configure(SET_FLAG, Some(switch), None)?;
    }
    configure(CREATE, None, None)?;
    // SAFETY: the descriptor is open; the call touches no memory of ours.
    let mounted = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOSE_ON_EXEC, ATTRIBUTES) };
    descriptor(mounted)
}

/// Puts the mount of `root`, which has no place, beneath the topmost one at `place`.
pub(crate) fn move_beneath(root: BorrowedFd<'_>, place: &Path) -> io::Result<()> {
    /// `MOVE_MOUNT_BENEATH` in linux/mount.h.
    const BENEATH: libc::c_uint = 0x200;
    move_placeless(root, place, BENEATH)
}

/// Puts the mount of `root`, which has no place, at `place`, over whatever is mounted there.
pub(crate) fn move_over(root: BorrowedFd<'_>, place: &Path) -> io::Result<()> {
    move_placeless(root, place, 0)
}

#[expect(unsafe_code, reason = "the standard library cannot mount")]
fn move_placeless(root: BorrowedFd<'_>, place: &Path, flags: libc::c_uint) -> io::Result<()> {
    /// `MOVE_MOUNT_F_EMPTY_PATH` in linux/mount.h.
    const NAMELESS: libc::c_uint = 0x4;
    let place = c_string(place.as_os_str().as_bytes())?;
    // SAFETY: the descriptor is open; both pointers are to strings that end in a zero byte and outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            root.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            place.as_ptr(),
            NAMELESS | flags,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `major:minor` of the file system that `root` is of, without asking whoever serves it.
#[expect(unsafe_code, reason = "the standard library asks who serves a file system")]
pub(crate) fn device_number(root: BorrowedFd<'_>) -> io::Result<String> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::uninit();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the descriptor is open, the path is an empty string, and `found` has room for what the call writes.
    done(unsafe {
        libc::statx(
            root.as_raw_fd(),
            c"".as_ptr(),
            flags,
            libc::STATX_TYPE,
            found.as_mut_ptr(),
        )
    })?;
    // SAFETY: the call has succeeded, so it has filled `found`.
    let found = unsafe { found.assume_init() };
    Ok(format!("{}:{}", found.stx_dev_major, found.stx_dev_minor))
}

/// What a call that makes a descriptor has answered.
#[expect(unsafe_code, reason = "a new descriptor is a number")]
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Makes the directory `path` below `directory`.
#[expect(unsafe_code, reason = "the standard library has no calls relative to a descriptor")]
pub(crate) fn make_directory(directory: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: the descriptor is open; the pointer is to a string that ends in a zero byte and outlives the call.
    done(unsafe { libc::mkdirat(directory.as_raw_fd(), path.as_ptr(), 0o555) })
}

/// The inode number of `path` below `directory`, links not followed.
#[expect(unsafe_code, reason = "the standard library has no calls relative to a descriptor")]
pub(crate) fn inode_number(directory: BorrowedFd<'_>, path: &[u8]) -> io::Result<u64> {
    let path = c_string(path)?;
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the descriptor is open, the path ends in a zero byte, and `found` has room for what the call writes.
    done(unsafe { libc::fstatat(directory.as_raw_fd(), path.as_ptr(), found.as_mut_ptr(), flags) })?;
    // SAFETY: the call has succeeded, so it has filled `found`.
    Ok(unsafe { found.assume_init() }.st_ino)
}

/// How many descriptors this process may have open.
#[expect(unsafe_code, reason = "the standard library does not know resource limits")]
pub(crate) fn descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a value of the type that the call writes.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok(limit.rlim_cur)
}

/// The user and group this process acts as.
#[expect(unsafe_code, reason = "the standard library does not tell who we are")]
pub(crate) fn effective_ids() -> (u32, u32) {
    // SAFETY: the two calls take nothing, touch no memory of ours and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Waits until the table of mounts behind `mounts` changes, or `stop` is hung up, and tells whether it was `stop`.
#[expect(unsafe_code, reason = "the standard library cannot wait for two things")]
pub(crate) fn mounts_changed_or_stopped(mounts: impl AsFd, stop: impl AsFd) -> io::Result<bool> {
    let wait_for = |fd: BorrowedFd<'_>, events| libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    let mut waited = [wait_for(mounts.as_fd(), libc::POLLPRI), wait_for(stop.as_fd(), 0)];
    // SAFETY: the pointer and the count describe `waited`, whose descriptors stay open during the call.
    let result = unsafe { libc::poll(waited.as_mut_ptr(), 2, -1) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok(false)
        } else {
            Err(error)
        };
    }
    Ok(waited[1].revents != 0)
}

/// Lets the number of `place` stand for what `descriptor` is, closing what it stood for. Nobody may be using it.
#[expect(
    unsafe_code,
    reason = "the standard library cannot replace what a descriptor stands for"
)]
pub(crate) fn put_in_place_of(place: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open, and whoever owns `place` owns an open descriptor afterwards as before.
    let result = unsafe { libc::dup3(descriptor.as_raw_fd(), place.as_raw_fd(), libc::O_CLOEXEC) };
    done(result.min(0))
}

/// A file without a name that lives in memory.
#[expect(unsafe_code, reason = "the standard library has no files in memory")]
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the pointer is to a string that ends in a zero byte and outlives the call, which only reads it.
    let descriptor = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    done(descriptor.min(0))?;
    // SAFETY: the call has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Gives the number `backing` of a file that the kernel reads by itself up again. `device` is the kernel's end of the mount.
#[expect(unsafe_code, reason = "the standard library has no ioctl")]
pub(crate) fn close_backing(device: BorrowedFd<'_>, backing: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the pointer is to a number that outlives the call, which only reads it.
    done(unsafe { libc::ioctl(device.as_raw_fd(), BACKING_CLOSE, &raw const backing) })
}

/// Gives the memory of `length` bytes of `file` from `offset` on back to the system; they read as zeros then.
#[expect(unsafe_code, reason = "the standard library cannot make holes in files")]
pub(crate) fn give_back(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let offset = libc::off64_t::try_from(offset).map_err(io::Error::other)?;
    let length = libc::off64_t::try_from(length).map_err(io::Error::other)?;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the descriptor is open; the call touches no memory of ours.
    done(unsafe { libc::fallocate64(file.as_raw_fd(), mode, offset, length) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::from)
}

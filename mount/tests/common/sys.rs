//! What the tests through the kernel need of libc.
//!
//! Owns the unsafe calls of these tests and nothing else.

#![expect(unsafe_code, reason = "libc calls without a safe form in std")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

pub(crate) fn get_attribute(path: &Path, name: &str) -> Result<Vec<u8>, i32> {
    let (path, name, mut value) = (c_path(path), CString::new(name).unwrap(), vec![0_u8; 256]);
    // SAFETY: both strings end in a zero byte, and the buffer has the length that is passed.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap())?;
    value.truncate(length);
    Ok(value)
}

pub(crate) fn list_attributes(path: &Path) -> Vec<u8> {
    let (path, mut names) = (c_path(path), vec![0_u8; 256]);
    // SAFETY: the string ends in a zero byte, and the buffer has the length that is passed.
    let length = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).unwrap());
    names
}

pub(crate) fn set_attribute(path: &Path) -> Option<i32> {
    let path = c_path(path);
    // SAFETY: the strings end in a zero byte, and the value has the length that is passed.
    let result = unsafe { libc::setxattr(path.as_ptr(), c"user.x".as_ptr(), c"y".as_ptr().cast(), 1, 0) };
    (result != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap())
}

pub(crate) fn truncate(path: &Path) -> Option<i32> {
    let path = c_path(path);
    // SAFETY: the string ends in a zero byte.
    let result = unsafe { libc::truncate(path.as_ptr(), 0) };
    (result != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap())
}

pub(crate) fn mapped(file: &File, length: usize) -> Vec<u8> {
    // SAFETY: a new shared mapping for reading of `length` bytes; the kernel chooses the place.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    // SAFETY: the mapping has `length` bytes, which nobody changes.
    let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) }.to_vec();
    // SAFETY: the mapping is not used any more.
    assert_eq!(unsafe { libc::munmap(start, length) }, 0);
    bytes
}

pub(crate) fn sizes(path: &Path) -> libc::statvfs {
    let path = c_path(path);
    let mut sizes = std::mem::MaybeUninit::uninit();
    // SAFETY: the string ends in a zero byte, and `sizes` has room for what is written.
    assert_eq!(unsafe { libc::statvfs(path.as_ptr(), sizes.as_mut_ptr()) }, 0);
    // SAFETY: the call has succeeded, so it has filled `sizes`.
    unsafe { sizes.assume_init() }
}

pub(crate) fn unmount_plainly(path: &Path) -> io::Result<()> {
    let path = c_path(path);
    // SAFETY: the string ends in a zero byte.
    if unsafe { libc::umount2(path.as_ptr(), 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(crate) fn mount_other(kind: &str, path: &Path) {
    let (kind, path) = (CString::new(kind).unwrap(), c_path(path));
    // SAFETY: the strings end in a zero byte; no data is passed.
    let result = unsafe { libc::mount(c"other".as_ptr(), path.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Makes the kernel forget every name of the mount at `path` that nobody uses, as it does when memory is short: mounting
/// anew what is mounted, with the same flags, does that to this one mount.
pub(crate) fn forget_names(path: &Path) -> io::Result<()> {
    let path = c_path(path);
    let flags =
        libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME;
    // SAFETY: the string ends in a zero byte; a source, a type and data are not looked at.
    let result = unsafe {
        libc::mount(
            std::ptr::null(),
            path.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks for the attributes of `path`, which the kernel must not answer by itself.
pub(crate) fn ask_attributes(path: &Path) {
    let path = c_path(path);
    let mut found = std::mem::MaybeUninit::uninit();
    let (flags, wanted) = (libc::AT_STATX_FORCE_SYNC, libc::STATX_BASIC_STATS);
    // SAFETY: the string ends in a zero byte, and `found` has room for what is written.
    let result = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, wanted, found.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Writes everything to disk that anybody has written so far.
pub(crate) fn settle() {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::sync() };
}

/// Makes the kernel forget the bytes of `file` that it has cached.
pub(crate) fn forget_bytes(file: &File) {
    // SAFETY: the descriptor is open; the rest are numbers.
    let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(result, 0);
}

/// Opens files as another user from now on, in this thread only.
pub(crate) fn open_files_as(user: libc::uid_t) {
    // SAFETY: changes only as whom this thread opens files.
    unsafe { libc::setfsuid(user) };
    // SAFETY: the same call asks whether the first has had effect.
    assert_eq!(u32::try_from(unsafe { libc::setfsuid(user) }), Ok(user));
}

/// A descriptor of what `number` is in the process `pid`.
pub(crate) fn descriptor_of(pid: u32, number: i32) -> OwnedFd {
    // SAFETY: the call takes two numbers.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(process >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the call has just made this descriptor, so nothing else owns it.
    let process = unsafe { OwnedFd::from_raw_fd(i32::try_from(process).unwrap()) };
    // SAFETY: the descriptor is open; the rest are numbers.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    assert!(copy >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the call has just made this descriptor, so nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(copy).unwrap()) }
}

/// Reads the beginning of the file at `path`, which the kernel must not take from its memory.
pub(crate) fn read_directly(path: &Path) {
    // Its address has to be as aligned as a page.
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let mut page = Page([0; 4096]);
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .unwrap();
    assert!(file.read(&mut page.0).unwrap() > 0);
}

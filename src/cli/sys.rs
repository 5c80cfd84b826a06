//! What the command line needs of the system and std does not offer.
//!
//! Owns those calls. The only file of this room with unsafe code.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Lets a broken pipe end the process silently, as it does other programs: `mirrorctl snapshot list | head -1`.
///
/// For commands that only print. Whoever also writes to sockets would die of a peer that hangs up.
pub(super) fn die_of_broken_pipes() {
    #[expect(unsafe_code, reason = "std sets SIGPIPE aside and has no way to bring it back")]
    // SAFETY: SIG_DFL is a disposition that every signal accepts; no handler of ours is replaced.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Lets ended children be waited for: whoever started us may have ignored SIGCHLD, and then the kernel forgets them at once, ours
/// as well as those of the programs that we start.
pub(super) fn wait_for_children() {
    #[expect(unsafe_code, reason = "std has no way to set what a signal does")]
    // SAFETY: SIG_DFL is a disposition that every signal accepts; no handler of ours is replaced.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// Makes this process the leader of a session without a terminal, so that closing one does not end it.
pub(super) fn leave_the_terminal() {
    #[expect(unsafe_code, reason = "std has no setsid")]
    // SAFETY: setsid has no preconditions. It fails only for a process that leads a group, which then is as detached
    // as it can be.
    unsafe {
        libc::setsid();
    }
}

/// Whether this process may do what root may.
pub(super) fn is_root() -> bool {
    #[expect(unsafe_code, reason = "std has no geteuid")]
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe {
        libc::geteuid() == 0
    }
}

/// Name of the user that this process runs as; the number where it has no name.
pub(super) fn user_name() -> String {
    #[expect(unsafe_code, reason = "std has no users")]
    // SAFETY: the record is read at once, before any other call could overwrite it, while the program has one thread;
    // pw_name is a C string.
    let (id, name) = unsafe {
        let id = libc::getuid();
        let record = libc::getpwuid(id).as_ref();
        (
            id,
            record.map(|record| CStr::from_ptr(record.pw_name).to_string_lossy().into_owned()),
        )
    };
    name.unwrap_or_else(|| id.to_string())
}

/// Lets files that this process makes be written by its group: several operators share one state directory.
pub(super) fn share_with_group() {
    #[expect(unsafe_code, reason = "std has no umask")]
    // SAFETY: umask has no preconditions and cannot fail.
    unsafe {
        libc::umask(0o002);
    }
}

/// Whether this process was started not to hear of a signal, and has not asked for it since.
pub(super) fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    #[expect(unsafe_code, reason = "std has no signals")]
    // SAFETY: without a new action, sigaction only writes the present one to the place that it is given; zeros are a value
    // of that type, should it fail.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// The value of an extended attribute of `path`, as text.
pub(super) fn attribute(path: &Path, name: &CStr) -> io::Result<String> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // Snapshot names have at most 128 bytes.
    let mut value = [0_u8; 256];
    #[expect(unsafe_code, reason = "std has no extended attributes")]
    // SAFETY: both names are C strings, and value has the length that is passed.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(String::from_utf8_lossy(&value[..length]).into_owned())
}

//! What the state directory needs of libc.
//!
//! Owns the unsafe calls of this room and nothing else.

#![expect(unsafe_code, reason = "libc calls without a safe form in std")]

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether this process may do what root may.
pub(super) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether this process may write to `path`, going by its effective ids.
pub(super) fn may_change(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: path is a C string that outlives the call.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) == 0 }
}

/// Ids of the user and of the group called `name`, when both exist.
pub(super) fn user_and_group(name: &CStr) -> Option<(u32, u32)> {
    // SAFETY: name is a C string; the returned records are read at once, before any other call could overwrite them,
    // and no other thread of a starting command looks users up.
    unsafe {
        let user = libc::getpwnam(name.as_ptr()).as_ref()?.pw_uid;
        let group = libc::getgrnam(name.as_ptr()).as_ref()?.gr_gid;
        Some((user, group))
    }
}

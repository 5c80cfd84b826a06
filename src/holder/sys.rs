//! What a holder needs of the system and std does not offer.
//!
//! Owns the taking over of descriptors by number, and the holding back of signals. The only file of this room with unsafe code.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// The first descriptor after the three that programs start with.
const FIRST: RawFd = 3;

/// The descriptor `number`, which the program that this process was before has left open for this one. It is closed again for
/// programs that are started from now on.
pub(super) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[expect(unsafe_code, reason = "std does not take descriptors by number")]
    // SAFETY: setting a flag of a descriptor that is not open is an error without consequences.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "std does not take descriptors by number")]
    // SAFETY: it is open, and nothing else in this program owns it: the program that this process was before left it for
    // this call, which is made once for each number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets the signals that end a mount wait from now on, or come again. What waits outlives the change to another program.
pub(super) fn hold_signals_back(yes: bool) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let how = if yes { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    #[expect(unsafe_code, reason = "std has no signals")]
    // SAFETY: the first call fills the set, which the others change and read; the signals exist, so that none of them fails.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut());
    }
}

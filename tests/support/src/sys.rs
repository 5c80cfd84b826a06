//! What the standard library has no safe call for: signals to a child, what a child has used, connections that are
//! not taken or end in a reset, and what of a file is in memory.
//!
//! Owns every `unsafe` block of the test kit.

#![expect(
    unsafe_code,
    reason = "kill(2), wait4(2), listen(2), setsockopt(2), mmap(2) and mincore(2) have no safe form in the standard library"
)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// A signal that tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The terminal was closed.
    HangUp,
    /// The polite request to end.
    Terminate,
    /// The end, at once.
    Kill,
    /// Freeze.
    Stop,
    /// Go on after [`Signal::Stop`].
    Continue,
}

impl Signal {
    /// The number of the signal, as an exit status shows it.
    pub const fn number(self) -> i32 {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::HangUp => libc::SIGHUP,
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
        }
    }
}

/// Sends `signal` to a process. One that has not been waited for cannot have given its number to another.
pub(crate) fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill takes two integers and touches no memory of ours.
    match unsafe { libc::kill(pid, signal.number()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a process and those it waited for have used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    /// Bytes.
    pub(crate) peak: u64,
}

/// Waits for the end of a child that nothing else waits for.
#[expect(clippy::needless_pass_by_value, reason = "nothing can be done with it afterwards")]
pub(crate) fn wait(child: Child) -> io::Result<(ExitStatus, Cost)> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::uninit());
    // SAFETY: both pointers lead to live locals of the types that wait4 fills.
    while unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: the call succeeded, so it has filled the structure.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.cast_unsigned()) + Duration::from_micros(time.tv_usec.cast_unsigned())
    };
    let cost = Cost {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak: usage.ru_maxrss.cast_unsigned() * 1024,
    };
    Ok((ExitStatus::from_raw(status), cost))
}

/// Lets no connection wait for being accepted, but one.
pub(crate) fn refuse_to_queue(listener: &TcpListener) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and listen takes two integers.
    match unsafe { libc::listen(listener.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the last close of `stream` send a reset instead of an orderly end.
pub(crate) fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let length = libc::socklen_t::try_from(size_of_val(&linger)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the length of the call, and the pointer and length describe a live local.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How many pages of the file at `path` the kernel has in memory, and how many the file has. Nothing is read by asking. The
/// kernel tells only those who might write the file, and root.
///
/// # Panics
/// When the file cannot be opened or mapped, or is empty.
pub fn pages_in_memory(path: &Path) -> (usize, usize) {
    const PAGE: usize = 4096;
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let length = usize::try_from(file.metadata().expect("open").len()).expect("fits");
    // SAFETY: a new shared mapping for reading; the kernel chooses the place.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(map, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    let mut pages = vec![0_u8; length.div_ceil(PAGE)];
    // SAFETY: the mapping has `length` bytes, and there is a byte for each of its pages.
    let asked = unsafe { libc::mincore(map, length, pages.as_mut_ptr()) };
    let error = io::Error::last_os_error();
    // SAFETY: the mapping is this function's, and nothing leads into it.
    unsafe { libc::munmap(map, length) };
    assert_eq!(asked, 0, "{error}");
    (pages.iter().filter(|page| **page & 1 == 1).count(), pages.len())
}

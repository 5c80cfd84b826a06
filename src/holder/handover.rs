//! A holder that becomes another program without letting go of anything.
//!
//! Owns what the old program leaves to the new one, and the check that the new one understands it. The process stays the
//! same, with its number, its children and the descriptors that it has been told to keep.

#![expect(clippy::disallowed_types, reason = "becomes this program as it is installed now")]

use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};

use super::channel::{KEPT, Kept};
use super::worker::NAME;
use super::{HolderError, sys};

/// Version of what is handed over; raised when it changes its form.
pub const HANDOVER: u32 = 1;

/// How long the new program may take to say whether it understands. It takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What the new program needs to go on.
#[derive(Debug)]
pub struct Handover {
    /// What to serve, as the holder was told.
    pub plan: String,
    /// The file of the program.
    pub program: PathBuf,
    /// As in [`Orders`](super::Orders).
    pub watchdog: Duration,
    pub(super) restarts: u64,
    /// The process that serves, to be replaced.
    pub(super) worker: i32,
    pub(super) kept: Kept,
}

/// Its form.
#[derive(Serialize, Deserialize)]
struct Form {
    plan: String,
    program: PathBuf,
    watchdog: Duration,
    restarts: u64,
    worker: i32,
    note: String,
    descriptors: [RawFd; KEPT],
}

/// Whether `program` says that it understands what is handed over. What else it may be is left alone.
pub(super) fn is_understood_by(program: &Path) -> bool {
    let started = Command::new(program)
        .arg0(NAME)
        .args(["mount", "--holds", &HANDOVER.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = started else { return false };
    let until = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < until => thread::sleep(LOOK),
            Ok(None) | Err(_) => {
                // It may just have ended.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

impl Handover {
    /// Lets this process become the program, which goes on with all of this. Returns only if that fails.
    pub(super) fn become_program(handover: &HandoverOf<'_>) -> io::Error {
        let kept = handover.kept;
        let form = Form {
            plan: handover.plan.to_owned(),
            program: handover.program.to_owned(),
            watchdog: handover.watchdog,
            restarts: handover.restarts,
            worker: handover.worker,
            note: kept.note.clone(),
            descriptors: kept.descriptors.each_ref().map(AsRawFd::as_raw_fd),
        };
        let file = match written(&form) {
            Ok(file) => file,
            Err(error) => return error,
        };
        let descriptors = || kept.descriptors.iter().chain([&file]);
        for descriptor in descriptors() {
            if let Err(error) = fcntl_setfd(descriptor, FdFlags::empty()) {
                return error.into();
            }
        }
        // One that comes between the two programs waits for the second, and would otherwise end the process.
        sys::hold_signals_back(true);
        let error = Command::new(handover.program)
            .arg0(NAME)
            .args(["mount", "--held", &file.as_raw_fd().to_string()])
            .exec();
        sys::hold_signals_back(false);
        for descriptor in descriptors() {
            // What it was made of it stays, should the process live on and start others.
            let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
        }
        error
    }

    /// Takes over what lies behind the descriptor `number`, in the program that the process has become.
    ///
    /// # Errors
    /// When nothing of the kind lies there.
    pub fn take(number: RawFd) -> Result<Self, HolderError> {
        let file = sys::inherited(number).map_err(|_| HolderError::NoHolder)?;
        let mut text = String::new();
        let read = std::fs::File::from(file).read_to_string(&mut text);
        let form: Option<Form> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
        let form = form.ok_or(HolderError::NoHolder)?;
        let mut descriptors = Vec::new();
        for number in form.descriptors {
            descriptors.push(sys::inherited(number).map_err(HolderError::system("go on with a mount"))?);
        }
        let descriptors: [OwnedFd; KEPT] = descriptors.try_into().map_err(|_| HolderError::OtherVersion)?;
        Ok(Self {
            plan: form.plan,
            program: form.program,
            watchdog: form.watchdog,
            restarts: form.restarts,
            worker: form.worker,
            kept: Kept {
                note: form.note,
                descriptors,
            },
        })
    }
}

/// What the old program hands over.
#[derive(Debug)]
pub(super) struct HandoverOf<'a> {
    pub(super) plan: &'a str,
    pub(super) program: &'a Path,
    pub(super) watchdog: Duration,
    pub(super) restarts: u64,
    pub(super) worker: i32,
    pub(super) kept: &'a Kept,
}

fn written(form: &Form) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("mirrorctl-handover", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(form)?)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn what_is_handed_over_is_what_is_taken() {
        let (pipe, _writer) = io::pipe().expect("a pipe");
        // Numbers that a new program would own.
        let owned = || {
            let copy = pipe.as_fd().try_clone_to_owned().expect("copied");
            std::os::fd::IntoRawFd::into_raw_fd(copy)
        };
        let form = Form {
            plan: "a plan".into(),
            program: "/usr/bin/mirrorctl".into(),
            watchdog: Duration::from_secs(7),
            restarts: 3,
            worker: 42,
            note: "a note".into(),
            descriptors: [owned(), owned(), owned(), owned()],
        };
        let file = written(&form).expect("memory");
        let taken = Handover::take(std::os::fd::IntoRawFd::into_raw_fd(file)).expect("handed over");
        assert_eq!((taken.plan.as_str(), taken.kept.note.as_str()), ("a plan", "a note"));
        assert_eq!((taken.watchdog.as_secs(), taken.restarts, taken.worker), (7, 3, 42));
        for number in [0, 99_999] {
            assert!(Handover::take(number).is_err(), "{number}");
        }
    }

    #[test]
    fn only_who_says_so_understands() {
        for (program, understands) in [("/bin/true", true), ("/bin/false", false), ("/nowhere", false)] {
            assert_eq!(is_understood_by(Path::new(program)), understands, "{program}");
        }
    }
}

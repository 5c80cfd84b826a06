//! The worker's end of the line: what it is to do, and what it tells.
//!
//! Owns the taking over of a task, and that a worker never outlives its holder: without one, nobody would notice its death, and
//! nobody could start the next.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::HolderError;
use super::channel::{self, KEPT, Kept, PROTOCOL, Task, Word};

/// What a worker is to do.
#[derive(Debug)]
pub struct Duty {
    /// What to serve, as the holder was told.
    pub plan: String,
    /// What the last worker left; `None` when there is no mount to go on with.
    pub kept: Option<Kept>,
    /// To the holder.
    pub line: Line,
}

/// To the holder.
#[derive(Debug, Clone)]
pub struct Line {
    socket: Arc<OwnedFd>,
    /// The holder's process, by whose number the mount is known.
    pub holder: u32,
    /// How many workers there were before this one.
    pub restarts: u64,
}

impl Duty {
    /// Takes the task that the holder has sent over `socket`. From now on, this process is killed when the holder dies.
    ///
    /// # Errors
    /// When there is no holder, or one of another version.
    pub fn take(socket: OwnedFd) -> Result<Self, HolderError> {
        let received = channel::receive::<Task>(&socket, true);
        let received = received.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => HolderError::OtherVersion,
            _ => HolderError::NoHolder,
        })?;
        let (task, descriptors) = received.ok_or(HolderError::NoHolder)?;
        if task.protocol != PROTOCOL {
            return Err(HolderError::OtherVersion);
        }
        let kept = task.note.map(|note| {
            let descriptors: Result<[OwnedFd; KEPT], _> = descriptors.try_into();
            descriptors.map(|descriptors| Kept { note, descriptors })
        });
        let kept = kept.transpose().map_err(|_| HolderError::OtherVersion)?;
        die_with(task.holder)?;
        Ok(Self {
            plan: task.plan,
            kept,
            line: Line {
                socket: Arc::new(socket),
                holder: task.holder,
                restarts: task.restarts,
            },
        })
    }
}

/// Lets this process be killed with its parent, the process `holder`.
fn die_with(holder: u32) -> Result<(), HolderError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(HolderError::system("ask for the end of the holder"))?;
    // It may have died before.
    let parent = getppid().map(Pid::as_raw_nonzero);
    let lives = parent.is_some_and(|parent| u32::try_from(parent.get()) == Ok(holder));
    lives.then_some(()).ok_or(HolderError::NoHolder)
}

impl Line {
    /// Has the holder keep these descriptors and this note for the next worker, instead of what it kept before.
    ///
    /// # Errors
    /// When there is no holder any more.
    pub fn hold(&self, note: String, descriptors: [BorrowedFd<'_>; KEPT]) -> io::Result<()> {
        channel::send(self.socket.as_fd(), &Word::Hold(note), &descriptors)
    }

    /// Tells that the mount is served.
    ///
    /// # Errors
    /// When there is no holder any more.
    pub fn ready(&self) -> io::Result<()> {
        self.say(&Word::Ready)
    }

    /// Tells that it is still. A holder that is slow to hear it has heard enough.
    ///
    /// # Errors
    /// When there is no holder any more.
    pub fn beat(&self) -> io::Result<()> {
        match channel::send_now(self.socket.as_fd(), &Word::Beat) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            told => told,
        }
    }

    /// Tells that the mount was taken away, so that no other worker is needed.
    ///
    /// # Errors
    /// When there is no holder any more.
    pub fn ended(&self) -> io::Result<()> {
        self.say(&Word::Ended)
    }

    /// Tells why the mount cannot be served.
    ///
    /// # Errors
    /// When there is no holder any more.
    pub fn failed(&self, why: String) -> io::Result<()> {
        self.say(&Word::Failed(why))
    }

    /// Asks for another worker in the place of this one, by the program as it is now. This one is killed soon.
    ///
    /// # Errors
    /// When there is no holder any more.
    pub fn replace(&self) -> io::Result<()> {
        self.say(&Word::Replace)
    }

    fn say(&self, word: &Word) -> io::Result<()> {
        channel::send(self.socket.as_fd(), word, &[])
    }
}

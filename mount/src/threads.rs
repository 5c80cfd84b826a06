//! The threads that answer the kernel's requests.
//!
//! Owns how they begin, and that none of them is lost. The library ends a thread which is sent a request that makes no sense, or
//! which panics while it makes sense of one; the others would go on, fewer each time, and nobody would know. So each thread has a
//! session of its own, which takes part in the one handshake (see `transport`), and one that has ended is begun anew.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

use fuser::{Notifier, Session};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Options;
use crate::adapter::{Adapter, may_report};
use crate::transport::{self, Negotiated, RepeatError};

/// Sessions of one mount, all alike.
#[derive(Debug)]
pub(crate) struct Threads {
    first: Session<Adapter>,
    others: Others,
    count: NonZeroUsize,
}

/// What another session is made of.
#[derive(Debug)]
struct Others {
    adapter: Adapter,
    device: OwnedFd,
    negotiated: Negotiated,
}

impl Threads {
    /// As many as `options` say, of which `first` has shaken hands and got what was `negotiated`.
    pub(crate) fn new(
        first: Session<Adapter>,
        adapter: Adapter,
        negotiated: Negotiated,
        options: &Options,
    ) -> io::Result<Self> {
        let others = Others {
            adapter,
            device: first.as_fd().try_clone_to_owned()?,
            negotiated,
        };
        Ok(Self {
            first,
            others,
            count: options.threads,
        })
    }

    /// By which the kernel is told of changes.
    pub(crate) fn notifier(&self) -> Notifier {
        self.first.notifier()
    }

    /// Answers requests until the mount has ended.
    ///
    /// # Errors
    /// When a thread can neither go on nor be begun anew; the others have ended by then as well.
    pub(crate) fn run(self) -> io::Result<()> {
        let Self { first, others, count } = self;
        thread::scope(|scope| {
            let serve = || others.session().and_then(|session| others.serve(session));
            let more: io::Result<Vec<_>> = (1..count.get())
                .map(|number| {
                    thread::Builder::new()
                        .name(format!("mount-{number}"))
                        .spawn_scoped(scope, serve)
                })
                .collect();
            let mut result = others.serve(first);
            for thread in more? {
                let ended = thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a serving thread panicked")));
                result = result.and(ended);
            }
            result
        })
    }
}

impl Others {
    fn session(&self) -> io::Result<Session<Adapter>> {
        let adapter = self.adapter.clone();
        let session = transport::repeat(adapter, self.device.as_fd(), &self.negotiated);
        session.map_err(|error| match error {
            RepeatError::OtherChoice => io::Error::other("the handshake did not end as before"),
            RepeatError::Failed(source) => source,
        })
    }

    /// Answers by one thread until the mount has ended.
    fn serve(&self, mut session: Session<Adapter>) -> io::Result<()> {
        loop {
            match session.run() {
                Ok(()) => return Ok(()),
                // The system does not let it read.
                Err(error) if error.raw_os_error().is_some() => return Err(error),
                Err(_) if self.has_ended()? => return Ok(()),
                Err(error) => {
                    if may_report() {
                        tracing::error!(%error, "a request made no sense and was passed over");
                    }
                    session = self.session()?;
                }
            }
        }
    }

    /// Whether nothing will be asked any more.
    fn has_ended(&self) -> io::Result<bool> {
        let mut asked = [PollFd::new(&self.device, PollFlags::empty())];
        poll(&mut asked, Some(&Timespec::default()))?;
        Ok(asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
    }
}

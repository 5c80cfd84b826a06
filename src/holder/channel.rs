//! What holder and worker say to each other, and how it is sent: one message each time, with descriptors.
//!
//! Owns the messages and their form. It decides nothing, and must not know what descriptors are of.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Number of descriptors that a worker leaves.
pub const KEPT: usize = 4;

/// Version of the messages; raised when one changes its meaning.
pub(super) const PROTOCOL: u32 = 1;

/// Longest message. A task has two paths and some words.
const LONGEST: usize = 64 << 10;

/// What a worker leaves to the next.
#[derive(Debug)]
pub struct Kept {
    /// What the worker wrote for the next one.
    pub note: String,
    /// In the order in which the worker handed them over.
    pub descriptors: [OwnedFd; KEPT],
}

/// The first and only message of a holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) protocol: u32,
    /// The holder's process.
    pub(super) holder: u32,
    /// What to serve, in words that the holder does not understand.
    pub(super) plan: String,
    /// How many workers there were before.
    pub(super) restarts: u64,
    /// The note that comes with the descriptors of the last worker, if there are any.
    pub(super) note: Option<String>,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// Keep the descriptors that come with this, instead of all earlier ones, and this note.
    Hold(String),
    /// The mount is served.
    Ready,
    /// It is still.
    Beat,
    /// The mount was taken away, as it should be: no other worker is needed.
    Ended,
    /// The mount cannot be served, for this reason.
    Failed(String),
    /// Somebody wishes another worker in the place of this one.
    Replace,
}

/// Sends one message, and waits for room if need be.
pub(super) fn send(to: impl AsFd, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(to.as_fd(), message, descriptors, SendFlags::NOSIGNAL)
}

/// Sends one message, or fails for want of room.
pub(super) fn send_now(to: impl AsFd, message: &impl Serialize) -> io::Result<()> {
    send_with(to.as_fd(), message, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn send_with(
    to: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KEPT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(to, &[IoSlice::new(&text)], &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next message, and what came with it; `None` when the other end has closed. With `wait`, waits for one.
pub(super) fn receive<T: DeserializeOwned>(from: impl AsFd, wait: bool) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut text = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KEPT))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut text)];
        match recvmsg(&from, &mut parts, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(rustix::io::Errno::INTR) => {}
            // The other end was closed with something unread in it.
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&text[..received.bytes])?, descriptors)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair")
    }

    #[test]
    fn messages_arrive_in_turn_with_what_belongs_to_them() {
        let (here, there) = pair();
        let (reader, writer) = io::pipe().expect("a pipe");
        send(&here, &Word::Ready, &[]).expect("sent");
        send(&here, &Word::Hold("a note".into()), &[reader.as_fd(), reader.as_fd()]).expect("sent");
        drop((reader, here));
        let next = || receive::<Word>(&there, true).expect("received");
        assert!(matches!(next(), Some((Word::Ready, with)) if with.is_empty()));
        let Some((Word::Hold(note), mut with)) = next() else {
            panic!("no message")
        };
        assert_eq!((note.as_str(), with.len()), ("a note", 2));
        io::Write::write_all(&mut &writer, b"through").expect("written");
        drop(writer);
        let mut text = String::new();
        File::from(with.remove(1)).read_to_string(&mut text).expect("readable");
        assert_eq!(text, "through");
        assert!(next().is_none(), "the end is told");
    }

    #[test]
    fn nobody_waits_who_does_not_want_to() {
        let (here, there) = pair();
        let nothing = receive::<Word>(&there, false).map(drop).expect_err("nothing is there");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        let full = loop {
            if let Err(error) = send_now(&here, &Word::Beat) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        drop(there);
        let nobody = send(&here, &Word::Beat, &[]).expect_err("nobody").kind();
        assert!(matches!(nobody, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (here, there) = pair();
        send(&here, &"fly", &[]).expect("sent");
        assert!(receive::<Word>(&there, true).is_err());
    }
}

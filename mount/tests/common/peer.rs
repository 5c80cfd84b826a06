//! The kernel, played over a socket: it sends any bytes, and judges what it gets.
//!
//! Owns the frames of the protocol as far as tests send them (linux/fuse.h), and the rule for answers: one message each, as long as
//! it says, with an error number or none. It is written by the protocol, not by the library that serves.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mirrorctl_mount::{Options, Tree, answer_peer};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

/// Operations, by their numbers.
pub(crate) const LOOKUP: u32 = 1;
pub(crate) const FORGET: u32 = 2;
pub(crate) const GETATTR: u32 = 3;
pub(crate) const READ: u32 = 15;
pub(crate) const INIT: u32 = 26;
pub(crate) const READDIR: u32 = 28;
pub(crate) const DESTROY: u32 = 38;
pub(crate) const READDIRPLUS: u32 = 44;

/// The number of the root directory.
pub(crate) const ROOT: u64 = 1;

/// Bytes of a request's header, and of an answer's.
pub(crate) const REQUEST_HEADER: usize = 40;
const ANSWER_HEADER: usize = 16;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first of the numbers of those requests whose answers are waited for. Others have smaller ones, or any at random.
const FIRST_ASKED: u64 = 1 << 62;

/// Every flag that linux/fuse.h knows in the first word, and in the second.
pub(crate) const ALL_FLAGS: (u32, u32) = (u32::MAX, u32::MAX);

/// What a request was answered with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 0, or the error's number.
    pub(crate) error: i32,
    /// What stands after the header.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The number at `offset` of the body, which has as many bytes as the type.
    pub(crate) fn word(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.body[offset..][..4].try_into().expect("4 bytes"))
    }

    pub(crate) fn long(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.body[offset..][..8].try_into().expect("8 bytes"))
    }
}

/// Who plays the kernel.
pub(crate) struct Peer {
    socket: OwnedFd,
    next: u64,
}

/// Who serves it.
pub(crate) type Server = JoinHandle<io::Result<()>>;

impl Peer {
    /// Lets `tree` be served, and has not shaken hands yet.
    pub(crate) fn new(tree: Arc<dyn Tree>, options: Options) -> (Self, Server) {
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a pair of sockets");
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).expect("a new socket");
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).expect("a new socket");
        let server = thread::spawn(move || answer_peer(tree, theirs, &options));
        let peer = Self {
            socket,
            next: FIRST_ASKED,
        };
        (peer, server)
    }

    /// Sends any bytes as one message.
    pub(crate) fn send(&self, frame: &[u8]) {
        let sent = send(&self.socket, frame, SendFlags::NOSIGNAL).expect("somebody serves, and takes it in time");
        assert_eq!(sent, frame.len());
    }

    /// The next answer, and the number of its request.
    fn receive(&self) -> (u64, Answer) {
        let mut message = vec![0; 2 << 20];
        let received = loop {
            match recv(&self.socket, &mut message[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => panic!("no answer in {PATIENCE:?}"),
                received => break received.expect("somebody serves").1,
            }
        };
        message.truncate(received);
        assert!(received >= ANSWER_HEADER, "an answer of {received} bytes");
        let length = u32::from_ne_bytes(message[..4].try_into().expect("4 bytes"));
        assert_eq!(length as usize, received, "the length that an answer says");
        let error = i32::from_ne_bytes(message[4..8].try_into().expect("4 bytes"));
        assert!((-4095..=0).contains(&error), "error {error}");
        assert!(
            error == 0 || received == ANSWER_HEADER,
            "an error with {received} bytes"
        );
        let number = u64::from_ne_bytes(message[8..16].try_into().expect("8 bytes"));
        let body = message.split_off(ANSWER_HEADER);
        (number, Answer { error: -error, body })
    }

    /// Sends a request that makes sense, and waits for its answer. Others that come before are judged by their form only.
    pub(crate) fn ask(&mut self, operation: u32, node: u64, body: &[u8]) -> Answer {
        let number = self.next;
        self.next += 1;
        self.send(&frame(operation, number, node, body));
        loop {
            let (answered, answer) = self.receive();
            if answered == number {
                return answer;
            }
        }
    }

    /// Shakes hands as a kernel that speaks 7.`minor` and offers these flags, in the form of its time.
    pub(crate) fn shake_hands(&mut self, minor: u32, flags: (u32, u32)) -> Answer {
        self.ask(INIT, 0, &offer(minor, flags))
    }

    /// As [`Peer::shake_hands`], without waiting for an answer.
    pub(crate) fn offer(&self, minor: u32, flags: (u32, u32)) {
        self.send(&frame(INIT, FIRST_ASKED, 0, &offer(minor, flags)));
    }

    /// The number of `name` in `directory`.
    pub(crate) fn look_up(&mut self, directory: u64, name: &str) -> u64 {
        let found = self.ask(LOOKUP, directory, &terminated(name));
        assert_eq!(found.error, 0, "{name}");
        found.long(0)
    }

    /// The bytes of `file` from `offset` on, `size` at most.
    pub(crate) fn read(&mut self, file: u64, offset: u64, size: u32) -> Vec<u8> {
        let read = self.ask(READ, file, &reading(offset, size));
        assert_eq!(read.error, 0);
        read.body
    }
}

/// The body of the first request.
fn offer(minor: u32, (flags, more): (u32, u32)) -> Vec<u8> {
    let mut words = vec![7, minor, 128 << 10, flags];
    if minor >= 36 {
        words.push(more);
        words.resize(16, 0);
    }
    numbers(&words)
}

/// A request, with the header that belongs before it.
pub(crate) fn frame(operation: u32, number: u64, node: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(REQUEST_HEADER + body.len()).expect("short");
    let mut frame = [
        &numbers(&[length, operation])[..],
        &number.to_ne_bytes(),
        &node.to_ne_bytes(),
    ]
    .concat();
    // A user, a group, a process, and what is reserved.
    frame.extend(numbers(&[1000, 1000, 4321, 0]));
    frame.extend(body);
    frame
}

pub(crate) fn numbers(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(crate) fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// The body of a request to read, of files and of directories.
pub(crate) fn reading(offset: u64, size: u32) -> Vec<u8> {
    let rest = [0; 5];
    [
        &0_u64.to_ne_bytes()[..],
        &offset.to_ne_bytes(),
        &numbers(&[size]),
        &numbers(&rest),
    ]
    .concat()
}

//! The mount behind somebody who plays the kernel, and does what no kernel does.
//!
//! Owns the handshakes of old kernels, and requests that make no sense: stored ones, and such as are made up at random. A failure
//! names its seed, which `MIRRORCTL_SEED` repeats. Nothing is mounted here.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, in its helpers too")]
#![expect(clippy::disallowed_methods, reason = "a seed is told by the environment")]
#![expect(clippy::print_stdout, reason = "a failure needs its seed")]

#[expect(dead_code, reason = "what only other tests need")]
mod common;
#[path = "common/peer.rs"]
mod peer;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use common::{Files, MemoryTree};
use fastrand::Rng;
use mirrorctl_mount::{DataPath, Options};
use peer::{
    ALL_FLAGS, Answer, DESTROY, FORGET, GETATTR, LOOKUP, Peer, READ, READDIR, READDIRPLUS, REQUEST_HEADER, ROOT,
    Server, frame, numbers, reading, terminated,
};

/// Requests that are made up.
const MADE_UP: usize = 6_000;
/// The stored ones.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/fuse-request");
/// The number of whatever is sent without being waited for.
const UNASKED: u64 = 7;

const PACKAGE: &[u8] = b"a package file";

struct Played {
    peer: Peer,
    server: Server,
    tree: Arc<MemoryTree>,
    threads: usize,
}

impl Played {
    /// One mirror with a snapshot that is current, served by some threads.
    fn new(data: Option<DataPath>, threads: usize) -> Self {
        let tree = MemoryTree::new();
        let mirror = tree.add_mirror("debian");
        let files: Files = vec![
            ("dists/stable/InRelease".to_owned(), b"signed".to_vec()),
            ("pool/package.deb".to_owned(), PACKAGE.to_vec()),
        ];
        tree.add_snapshot(mirror, "one", files);
        tree.point(mirror, "current", "one");
        let options = Options {
            data,
            threads: NonZeroUsize::new(threads).unwrap(),
            ..Options::new("state", 1_500_000_000)
        };
        let (peer, server) = Peer::new(Arc::clone(&tree) as _, options);
        Self {
            peer,
            server,
            tree,
            threads,
        }
    }

    /// As a kernel that offers everything.
    fn ready(data: Option<DataPath>, threads: usize) -> Self {
        let mut played = Self::new(data, threads);
        assert_eq!(played.peer.shake_hands(40, ALL_FLAGS).error, 0);
        played
    }

    /// Looks everything up, lists it and reads it.
    fn all_is_well(&mut self) {
        let peer = &mut self.peer;
        let mirror = peer.look_up(ROOT, "debian");
        let current = peer.look_up(mirror, "current");
        let pool = peer.look_up(current, "pool");
        let package = peer.look_up(pool, "package.deb");
        assert_eq!(peer.read(package, 0, 4096), PACKAGE);
        assert_eq!(peer.read(package, 2, 7), b"package");
        assert_eq!(peer.ask(GETATTR, package, &[0; 16]).error, 0);
        let listed = peer.ask(READDIR, pool, &reading(0, 4096)).body;
        assert!(listed.windows(11).any(|part| part == b"package.deb"));
    }

    /// Every thread is there: all but one are held back, and the one answers.
    fn every_thread_answers(&mut self) {
        for _ in 1..self.threads {
            let mirror = self.peer.look_up(ROOT, "debian");
            self.tree.hold_next_answer();
            self.peer.send(&frame(LOOKUP, UNASKED, mirror, &terminated("current")));
            self.tree.wait_for_held_answer();
        }
        self.all_but_held_answer();
        self.tree.release_answer();
        self.all_is_well();
    }

    fn all_but_held_answer(&mut self) {
        assert_eq!(self.peer.ask(GETATTR, ROOT, &[0; 16]).error, 0);
    }

    /// The kernel goes away; who served ends well.
    fn ends(self) {
        drop(self.peer);
        self.server.join().unwrap().unwrap();
    }
}

/// A kernel: its version of the protocol, and the flags of its first request.
struct Kernel {
    name: &'static str,
    minor: u32,
    flags: (u32, u32),
}

/// Bits of the flags in linux/fuse.h.
const EXPORT: u32 = 1 << 4;
const READDIRPLUS_ALWAYS: u32 = 1 << 13;
const READDIRPLUS_AUTO: u32 = 1 << 14;
const WRITEBACK: u32 = 1 << 16;
const NO_OPEN: u32 = 1 << 17;
const PARALLEL: u32 = 1 << 18;
const MAX_PAGES: u32 = 1 << 22;
const NO_OPENDIR: u32 = 1 << 24;
const EXTENDED: u32 = 1 << 30;
const PASSTHROUGH: u32 = 1 << (37 - 32);

/// What `fuse_send_init` offers: all the bits up to 25 but that of `FUSE_FILE_OPS`; then what came with each version.
const LINUX_5_10: u32 = 0x03ff_ffff & !(1 << 2);
const LINUX_5_15: u32 = LINUX_5_10 | 1 << 28 | 1 << 29;

const KERNELS: [Kernel; 6] = [
    Kernel {
        name: "5.10",
        minor: 32,
        flags: (LINUX_5_10, 0),
    },
    Kernel {
        name: "5.15",
        minor: 34,
        flags: (LINUX_5_15, 0),
    },
    // The security context of what is created.
    Kernel {
        name: "6.1",
        minor: 37,
        flags: (LINUX_5_15 | EXTENDED, 1),
    },
    // Expiring without forgetting, supplementary groups, shared maps of what is read directly.
    Kernel {
        name: "6.6",
        minor: 39,
        flags: (LINUX_5_15 | EXTENDED, 0b1_1101),
    },
    // Passthrough, and asking again.
    Kernel {
        name: "6.12",
        minor: 41,
        flags: (LINUX_5_15 | EXTENDED, 0b1111_1101 | 1 << 8),
    },
    Kernel {
        name: "one to come",
        minor: 99,
        flags: ALL_FLAGS,
    },
];

/// The flags of an answer to a handshake.
fn chosen(answer: &Answer) -> (u32, u32) {
    let more = if answer.word(12) & EXTENDED == 0 {
        0
    } else {
        answer.word(32)
    };
    (answer.word(12), more)
}

#[test]
fn each_kernel_gets_what_it_supports() {
    for kernel in KERNELS {
        let name = kernel.name;
        for data in [None, Some(DataPath::NoOpen), Some(DataPath::KeepCache)] {
            let mut played = Played::new(data, 2);
            let answer = played.peer.shake_hands(kernel.minor, kernel.flags);
            assert_eq!((answer.error, answer.word(0)), (0, 7), "{name}");
            let (flags, more) = chosen(&answer);
            assert_eq!(
                (flags & !kernel.flags.0, more & !kernel.flags.1),
                (0, 0),
                "{name}: not offered"
            );
            for wanted in [EXPORT, READDIRPLUS_ALWAYS, PARALLEL, NO_OPENDIR, MAX_PAGES] {
                assert_ne!(flags & wanted, 0, "{name}: {wanted:#x}");
            }
            assert_eq!(flags & (READDIRPLUS_AUTO | WRITEBACK), 0, "{name}");
            assert_eq!(more & PASSTHROUGH, 0, "{name}: only when it is asked for");
            let expected = data != Some(DataPath::KeepCache);
            assert_eq!(flags & NO_OPEN != 0, expected, "{name} {data:?}");
            played.all_is_well();
            played.ends();
        }
        let mut played = Played::new(Some(DataPath::Passthrough), 2);
        if kernel.flags.1 & PASSTHROUGH == 0 {
            played.peer.offer(kernel.minor, kernel.flags);
            let error = played.server.join().unwrap().unwrap_err();
            assert!(error.to_string().contains("passthrough"), "{name}: {error}");
        } else {
            let answer = played.peer.shake_hands(kernel.minor, kernel.flags);
            assert_ne!(chosen(&answer).1 & PASSTHROUGH, 0, "{name}");
            played.ends();
        }
    }
}

#[test]
fn a_kernel_that_lacks_everything_is_served_by_what_is_left() {
    let mut played = Played::new(None, 2);
    let answer = played.peer.shake_hands(34, (0, 0));
    assert_eq!((answer.error, chosen(&answer)), (0, (0, 0)));
    played.all_is_well();
    played.ends();
}

#[test]
fn kernels_that_are_too_old_are_refused() {
    for minor in [6, 23, 31] {
        let played = Played::new(None, 2);
        played.peer.offer(minor, (LINUX_5_10, 0));
        assert!(played.server.join().unwrap().is_err(), "7.{minor}");
    }
}

#[test]
fn what_begins_with_nonsense_is_ended_and_not_waited_for() {
    for first in [
        &b""[..],
        b"x",
        &[0; REQUEST_HEADER],
        &frame(LOOKUP, 1, ROOT, b"debian\0"),
    ] {
        let played = Played::new(None, 2);
        played.peer.send(first);
        assert!(played.server.join().unwrap().is_err());
    }
}

#[test]
fn stored_requests_that_make_no_sense_hold_nobody_up() {
    let mut files: Vec<_> = fs::read_dir(CORPUS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "the stored requests");
    for data in [DataPath::NoOpen, DataPath::KeepCache] {
        let mut played = Played::ready(Some(data), 2);
        for file in &files {
            println!("{}", file.display());
            played.peer.send(&fs::read(file).unwrap());
            played.all_is_well();
        }
        played.every_thread_answers();
        played.ends();
    }
}

#[test]
fn requests_made_up_at_random_hold_nobody_up() {
    let seed = std::env::var("MIRRORCTL_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("MIRRORCTL_SEED={seed}");
    let mut dice = Rng::with_seed(seed);
    let mut played = Played::ready(None, 2);
    for _ in 0..MADE_UP {
        let request = made_up(&mut dice);
        played.peer.send(&request);
        if dice.u8(..) == 0 {
            played.all_is_well();
        } else {
            played.all_but_held_answer();
        }
    }
    played.every_thread_answers();
    played.ends();
}

#[test]
fn no_answer_is_longer_than_was_asked_for() {
    let mut played = Played::ready(None, 2);
    let mirror = played.peer.look_up(ROOT, "debian");
    let current = played.peer.look_up(mirror, "current");
    let pool = played.peer.look_up(current, "pool");
    let package = played.peer.look_up(pool, "package.deb");
    for size in (0..300).chain([4096, 1 << 20, 16 << 20]) {
        for (operation, node) in [
            (READ, package),
            (READDIR, ROOT),
            (READDIR, pool),
            (READDIRPLUS, current),
        ] {
            for offset in [0, 1, 2, 3, u64::MAX] {
                let answer = played.peer.ask(operation, node, &reading(offset, size));
                assert!(
                    answer.body.len() <= size as usize,
                    "{operation} of {size} from {offset}"
                );
            }
        }
    }
    // More than was agreed on.
    for size in [(16 << 20) + 1, u32::MAX] {
        assert_eq!(played.peer.ask(READ, package, &reading(0, size)).error, libc::EINVAL);
    }
    assert_eq!(played.peer.read(package, 0, 100), PACKAGE);
    played.ends();
}

/// The control: the one request that ends serving is the one that says so, once each thread has got it.
#[test]
fn control_the_kernel_ends_it() {
    let mut played = Played::ready(None, 2);
    for _ in 0..2 {
        assert_eq!(played.peer.ask(DESTROY, ROOT, &[]).error, 0);
    }
    played.server.join().unwrap().unwrap();
}

/// Bodies of every operation, in form.
fn in_form(dice: &mut Rng) -> (u32, Vec<u8>) {
    let name = ["debian", "current", "pool", "snapshots", "at", ".", "..", "", "nothing"][dice.usize(..9)];
    let (size, offset) = (dice.u32(..5000), dice.u64(..100));
    let random = |dice: &mut Rng, length: usize| (0..length).map(|_| dice.u8(..)).collect::<Vec<u8>>();
    let long = u64::to_ne_bytes;
    match dice.u32(..20) {
        0 => (LOOKUP, terminated(name)),
        1 => (FORGET, long(1).to_vec()),
        2 => (GETATTR, vec![0; 16]),
        3 => (READ, reading(offset, size)),
        4 => (READDIR, reading(offset, size)),
        5 => (READDIRPLUS, reading(offset, size)),
        // setattr: times at random.
        6 => (4, random(dice, 88)),
        // open, release, opendir, releasedir, statfs, readlink, access
        7 => ([14, 18, 27, 29, 17, 5, 34][dice.usize(..7)], random(dice, 24)),
        // mknod and mkdir, create
        8 => (8, [&random(dice, 16)[..], &terminated(name)].concat()),
        9 => (9, [&random(dice, 8)[..], &terminated(name)].concat()),
        10 => (35, [&random(dice, 16)[..], &terminated(name)].concat()),
        // rename, rename2, symlink
        11 => (12, [&long(ROOT)[..], &terminated(name), &terminated(name)].concat()),
        12 => (
            45,
            [&long(ROOT)[..], &random(dice, 8), &terminated(name), &terminated(name)].concat(),
        ),
        13 => (6, [terminated(name), terminated("target")].concat()),
        // getxattr, listxattr, setxattr
        14 => (
            22,
            [&numbers(&[size, 0])[..], &terminated("user.mirrorctl.snapshot")].concat(),
        ),
        15 => (23, numbers(&[size, 0])),
        16 => (21, [&numbers(&[3, 0])[..], &terminated("user.x"), b"abc"].concat()),
        // forget of several: how many is not to be believed.
        17 => (
            42,
            [
                &numbers(&[[0, 1, 2, u32::MAX][dice.usize(..4)], 0])[..],
                &random(dice, 32),
            ]
            .concat(),
        ),
        // ioctl, poll, fallocate, lseek, copy_file_range, statx
        18 => ([39, 40, 43, 46, 47, 52][dice.usize(..6)], random(dice, 56)),
        // locks, bmap, interrupt, notify's reply, a handshake that comes too late
        _ => ([31, 32, 33, 37, 36, 41, peer::INIT][dice.usize(..7)], random(dice, 64)),
    }
}

/// Something that is no request, or hardly one. Whatever it is, its number is not that of one which is waited for.
fn made_up(dice: &mut Rng) -> Vec<u8> {
    let (operation, mut body) = in_form(dice);
    let node = [ROOT, 0, 2, dice.u64(..), u64::MAX][dice.usize(..5)];
    let mut request = match dice.u32(..12) {
        0 => return (0..dice.usize(..200)).map(|_| dice.u8(..)).take(39).collect(),
        // A length that is not its own.
        1 => {
            let mut request = frame(operation, UNASKED, node, &body);
            let length = [0, 39, 40, u32::MAX, dice.u32(..200)][dice.usize(..5)];
            request[..4].copy_from_slice(&length.to_ne_bytes());
            request
        }
        // Operations that nobody knows.
        2 => frame(
            [0, 7, 19, 49, 100, 4096, dice.u32(..)][dice.usize(..7)],
            UNASKED,
            node,
            &body,
        ),
        // Cut short, in its header or behind it.
        3 | 4 => {
            let mut request = frame(operation, UNASKED, node, &body);
            let left = dice.usize(..request.len());
            request.truncate(left);
            if dice.bool() && left >= 4 {
                let length = u32::try_from(left).unwrap();
                request[..4].copy_from_slice(&length.to_ne_bytes());
            }
            request
        }
        // Names without an end, and huge ones.
        5 => frame(operation, UNASKED, node, &vec![b'n'; dice.usize(..70_000)]),
        6 => {
            body.retain(|byte| *byte != 0);
            frame(operation, UNASKED, node, &body)
        }
        // Anything behind a sound header.
        7 => {
            let body: Vec<u8> = (0..dice.usize(..300)).map(|_| dice.u8(..)).collect();
            frame(operation, UNASKED, node, &body)
        }
        // Numbers at their limits.
        8 | 9 => {
            for byte in &mut body {
                *byte = [0, 0x7f, 0x80, 0xff][dice.usize(..4)];
            }
            frame(operation, UNASKED, node, &body)
        }
        // Some bits the other way.
        10 => {
            let mut request = frame(operation, UNASKED, node, &body);
            for _ in 0..dice.usize(1..9) {
                let place = dice.usize(..request.len());
                request[place] ^= 1 << dice.u32(..8);
            }
            request
        }
        _ => frame(operation, UNASKED, node, &body),
    };
    // The one request that ends a thread by right.
    if request.get(4..8) == Some(&DESTROY.to_ne_bytes()) {
        request[4] = 0;
    }
    request
}

/// The stored requests are written anew with `MIRRORCTL_WRITE_REQUESTS`; they are what this says.
#[test]
fn the_stored_requests_are_what_they_are_called() {
    let long = u64::to_ne_bytes;
    let asked = |operation, body: &[u8]| frame(operation, UNASKED, ROOT, body);
    let wrong_length = |length: u32| {
        let mut request = asked(LOOKUP, b"debian\0");
        request[..4].copy_from_slice(&length.to_ne_bytes());
        request
    };
    let stored: Vec<(&str, Vec<u8>)> = vec![
        ("lookup", asked(LOOKUP, b"debian\0")),
        ("read", asked(READ, &reading(0, 4096))),
        ("readdirplus", asked(READDIRPLUS, &reading(0, 4096))),
        ("header-empty", Vec::new()),
        ("header-of-39-bytes", asked(LOOKUP, b"")[..39].to_vec()),
        ("length-0", wrong_length(0)),
        ("length-of-header", wrong_length(40)),
        ("length-too-long", wrong_length(u32::MAX)),
        ("length-one-short", wrong_length(46)),
        ("operation-0", asked(0, b"")),
        ("operation-unknown", asked(7777, &[0; 100])),
        ("operation-of-devices", asked(4096, &[0; 16])),
        ("handshake-too-late", asked(peer::INIT, &numbers(&[7, 40, 0, u32::MAX]))),
        ("name-without-end", asked(LOOKUP, b"debian")),
        ("name-empty", asked(LOOKUP, b"\0")),
        ("name-missing", asked(LOOKUP, b"")),
        ("name-huge", asked(LOOKUP, &[&[b'n'; 5000][..], b"\0"].concat())),
        ("name-with-slash", asked(LOOKUP, b"debian/current\0")),
        ("name-not-text", asked(LOOKUP, b"\xff\xfe\0")),
        ("read-cut-short", asked(READ, &reading(0, 4096)[..20])),
        ("read-of-4-gib", asked(READ, &reading(0, u32::MAX))),
        ("read-from-the-last-byte", asked(READ, &reading(u64::MAX, 4096))),
        ("readdir-of-4-gib", asked(READDIR, &reading(0, u32::MAX))),
        ("readdir-from-the-end", asked(READDIR, &reading(u64::MAX, 4096))),
        (
            "forget-too-many",
            asked(42, &[&numbers(&[u32::MAX, 0])[..], &long(1), &long(1)].concat()),
        ),
        ("forget-cut-short", asked(FORGET, &[1, 2, 3])),
        ("setattr-times-beyond-all", asked(4, &[0xff; 88])),
        (
            "setattr-before-1970",
            asked(4, &[&numbers(&[0x30, 0])[..], &[0x80; 80]].concat()),
        ),
        ("rename-one-name", asked(12, &[&long(ROOT)[..], b"debian\0"].concat())),
        (
            "setxattr-size-too-large",
            asked(21, &[&numbers(&[u32::MAX, 0])[..], b"user.x\0abc"].concat()),
        ),
        ("ioctl-input-too-long", asked(39, &[0xff; 32])),
        ("write-length-too-long", asked(16, &[0xff; 40])),
        ("interrupt-of-nothing", asked(36, &long(u64::MAX))),
        ("node-0", frame(LOOKUP, UNASKED, 0, b"debian\0")),
        ("node-beyond-all", frame(GETATTR, UNASKED, u64::MAX, &[0; 16])),
    ];
    if std::env::var("MIRRORCTL_WRITE_REQUESTS").is_ok() {
        fs::create_dir_all(CORPUS).unwrap();
        for (name, request) in &stored {
            fs::write(Path::new(CORPUS).join(name), request).unwrap();
        }
    }
    for (name, request) in stored {
        assert!(fs::read(Path::new(CORPUS).join(name)).unwrap() == request, "{name}");
    }
}

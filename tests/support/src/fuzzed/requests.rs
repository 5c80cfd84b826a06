//! Properties of what the mount answers to the kernel: one request of any bytes costs itself at most.
//!
//! Owns a served tree behind a socket, at whose other end inputs are sent. The tree and the other end are those of the mount's own tests.

use std::panic;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use mirrorctl_mount::Options;

use peer::{ALL_FLAGS, DESTROY, GETATTR, Peer, REQUEST_HEADER, ROOT};
use tree::MemoryTree;

#[path = "../../../../mount/tests/common/peer.rs"]
#[expect(dead_code, reason = "what only the mount's tests need")]
mod peer;
#[path = "../../../../mount/tests/common/mod.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "what only the mount's tests need, and tests may fail"
)]
mod tree;

/// Far longer than any request, and as long as a socket takes in one piece.
const LONGEST: usize = 100_000;

const PACKAGE: &[u8] = b"a package file";

/// A peer to whom a tree with one file is served.
static PLAYED: LazyLock<Mutex<Peer>> = LazyLock::new(|| {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    tree.add_snapshot(mirror, "one", vec![("package.deb".to_owned(), PACKAGE.to_vec())]);
    tree.point(mirror, "current", "one");
    let (mut peer, _serving) = Peer::new(tree, Options::new("state", 1_500_000_000));
    assert_eq!(peer.shake_hands(40, ALL_FLAGS).error, 0);
    // A panic of a serving thread is what is to be survived; libFuzzer would end the process at it.
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let serves = thread::current().name().is_some_and(|name| name.starts_with("fuser-"));
        if !serves {
            others(panic);
        }
    }));
    Mutex::new(peer)
});

/// After it, requests that make sense are answered, and rightly.
pub(super) fn request(data: &[u8]) {
    // What ends serving by right is no input.
    let ends = data.get(4..8) == Some(&DESTROY.to_ne_bytes());
    if data.len() > LONGEST || ends {
        return;
    }
    let mut peer = PLAYED.lock().unwrap_or_else(PoisonError::into_inner);
    peer.send(data);
    assert_eq!(peer.ask(GETATTR, ROOT, &[0; 16]).error, 0);
    if data.len() % 16 == REQUEST_HEADER % 16 {
        let mirror = peer.look_up(ROOT, "debian");
        let current = peer.look_up(mirror, "current");
        let package = peer.look_up(current, "package.deb");
        assert_eq!(peer.read(package, 0, 100), PACKAGE);
    }
}

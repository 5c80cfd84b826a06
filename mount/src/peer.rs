//! Serving somebody who plays the kernel.
//!
//! Owns [`answer_peer`], by which tests send what no kernel sends. It is the code that serves a mount, but for the mount.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::Options;
use crate::adapter::Adapter;
use crate::filesystem::{Filesystem, HiddenNames, SECRET_BYTES};
use crate::threads::Threads;
use crate::transport;
use crate::tree::Tree;

/// Answers the requests that come over `peer`, a socket that keeps messages apart (`SOCK_SEQPACKET`), from `tree`, until the other
/// end is closed. The first is a handshake.
///
/// # Errors
/// When the handshake fails, or serving comes to an end before.
pub fn answer_peer(tree: Arc<dyn Tree>, peer: OwnedFd, options: &Options) -> io::Result<()> {
    let hidden = HiddenNames::new([0; SECRET_BYTES]);
    let adapter = Adapter::new(Arc::new(Filesystem::new(tree, hidden, options)), options.data);
    let peer = File::from(peer);
    let (session, negotiated) = transport::negotiate(adapter.clone(), &peer)?;
    // One that is held open here would never be seen to be closed.
    drop(peer);
    Threads::new(session, adapter, negotiated, options)?.run()
}

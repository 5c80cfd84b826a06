//! What the command line needs of the system and std does not offer.
//!
//! Owns one call. The only file of this room with unsafe code.

/// Lets a broken pipe end the process silently, as it does other programs: `mirrorctl snapshot list | head -1`.
///
/// For commands that only print. Whoever also writes to sockets would die of a peer that hangs up.
pub(super) fn die_of_broken_pipes() {
    #[expect(unsafe_code, reason = "std sets SIGPIPE aside and has no way to bring it back")]
    // SAFETY: SIG_DFL is a disposition that every signal accepts; no handler of ours is replaced.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

//! The questions about a socket's peer that the standard library cannot ask.
//!
//! Owns this room's only `unsafe`: a call of `getsockopt`. It decides nothing.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::access::Peer;

/// Room for supplementary groups at the first try; users have a handful, and the kernel names the right size.
const GROUPS_AT_FIRST: usize = 64;

/// Who connected to `stream`, as the kernel recorded it at that time.
pub(super) fn peer(stream: &UnixStream) -> io::Result<Peer> {
    // `struct ucred` of unix(7): process, effective user, effective group, each of 32 bits.
    let mut credentials = [0; 3];
    match option(stream, libc::SO_PEERCRED, &mut credentials)? {
        3 => Ok(Peer {
            user: credentials[1],
            group: credentials[2],
            groups: groups(stream)?,
        }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0; GROUPS_AT_FIRST];
    loop {
        let count = option(stream, libc::SO_PEERGROUPS, &mut groups)?;
        let complete = count <= groups.len();
        groups.resize(count, 0);
        if complete {
            return Ok(groups);
        }
    }
}

/// Reads the socket option `name` into `values`. Returns how many values it has; when that is more than there is room
/// for, none was read.
fn option(stream: &UnixStream, name: libc::c_int, values: &mut [u32]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(size_of_val(values)).map_err(|_| io::ErrorKind::InvalidInput)?;
    #[expect(unsafe_code, reason = "the standard library does not tell a peer's user and groups")]
    // SAFETY: the descriptor is open while `stream` is borrowed; the kernel writes at most `length` bytes, which is
    // the size of `values`, and then the number it has to `length`; any bytes are valid `u32`s.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let count = length as usize / size_of::<u32>();
    if status == 0 {
        return Ok(count);
    }
    match io::Error::last_os_error() {
        // The kernel put the size it needs into `length`.
        error if error.raw_os_error() == Some(libc::ERANGE) && count > values.len() => Ok(count),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (here, _there) = UnixStream::pair().expect("a pair");
        let peer = peer(&here).expect("credentials");
        let me = fs::metadata("/proc/self").expect("proc is mounted");
        assert_eq!((peer.user, peer.group), (me.uid(), me.gid()));
    }

    #[test]
    fn supplementary_groups_are_those_of_the_process() {
        let (here, _there) = UnixStream::pair().expect("a pair");
        let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Groups:"))
            .expect("listed");
        let mut expected: Vec<u32> = line
            .split_whitespace()
            .map(|group| group.parse().expect("a number"))
            .collect();
        let mut found = groups(&here).expect("groups");
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn without_room_the_right_size_is_learnt() {
        let (here, _there) = UnixStream::pair().expect("a pair");
        let count = groups(&here).expect("groups").len();
        assert_eq!(option(&here, libc::SO_PEERGROUPS, &mut []).expect("a socket"), count);
    }
}

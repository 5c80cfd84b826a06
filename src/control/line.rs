//! Lines over a Unix socket, with a limit on their length and one deadline for the whole.
//!
//! Owns the two loops that move bytes between a mount and a command. A deadline is kept over all reads or writes
//! together, so a peer that sends a byte now and then gains nothing. It knows nothing of what a line means.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Why there is no line.
#[derive(Debug)]
pub(super) enum LineError {
    /// The deadline passed first.
    Timeout,
    /// More bytes than the limit came without an end of line.
    TooLong,
    /// The peer closed the connection first.
    Closed,
    /// The socket failed.
    Socket(io::Error),
}

impl LineError {
    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            // The kernel reports an expired socket timeout as WouldBlock.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Socket(error),
        }
    }
}

/// Reads up to the first end of line, which is left out; what follows it is dropped.
pub(super) fn read_line(mut stream: &UnixStream, limit: usize, until: Instant) -> Result<Vec<u8>, LineError> {
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero());
        stream
            .set_read_timeout(Some(left.ok_or(LineError::Timeout)?))
            .map_err(LineError::Socket)?;
        let count = match stream.read(&mut chunk) {
            Ok(0) => return Err(LineError::Closed),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(LineError::from_io(error)),
        };
        let end = chunk[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&chunk[..end.unwrap_or(count)]);
        if line.len() > limit {
            return Err(LineError::TooLong);
        }
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// Writes all of `line`.
pub(super) fn write_line(mut stream: &UnixStream, line: &[u8], until: Instant) -> Result<(), LineError> {
    let mut rest = line;
    while !rest.is_empty() {
        let left = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero());
        stream
            .set_write_timeout(Some(left.ok_or(LineError::Timeout)?))
            .map_err(LineError::Socket)?;
        match stream.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LineError::from_io(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    #[test]
    fn a_line_in_pieces_is_one_line() {
        let (here, there) = UnixStream::pair().expect("a pair");
        for piece in ["ab", "", "c\nrest"] {
            write_line(&there, piece.as_bytes(), soon()).expect("room");
        }
        assert_eq!(read_line(&here, 3, soon()).expect("a line"), b"abc");
    }

    #[test]
    fn a_longer_line_than_allowed_is_refused() {
        let (here, there) = UnixStream::pair().expect("a pair");
        write_line(&there, b"abcd\n", soon()).expect("room");
        assert!(matches!(read_line(&here, 3, soon()), Err(LineError::TooLong)));
    }

    #[test]
    fn a_silent_peer_costs_the_deadline_only() {
        let (here, there) = UnixStream::pair().expect("a pair");
        assert!(matches!(read_line(&here, 9, soon()), Err(LineError::Timeout)));
        drop(there);
        assert!(matches!(read_line(&here, 9, soon()), Err(LineError::Closed)));
        assert!(matches!(write_line(&here, b"x", soon()), Err(LineError::Closed)));
    }

    #[test]
    fn a_trickling_peer_gains_no_time() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let trickle = thread::spawn(move || {
            while write_line(&there, b"x", soon()).is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        });
        let start = Instant::now();
        assert!(matches!(read_line(&here, 9999, soon()), Err(LineError::Timeout)));
        assert!(start.elapsed() < Duration::from_secs(2));
        drop(here);
        trickle.join().expect("no panic");
    }

    #[test]
    fn a_peer_that_does_not_read_costs_the_deadline_only() {
        let (here, _there) = UnixStream::pair().expect("a pair");
        let much = vec![b'x'; 8 * 1024 * 1024];
        assert!(matches!(write_line(&here, &much, soon()), Err(LineError::Timeout)));
    }
}

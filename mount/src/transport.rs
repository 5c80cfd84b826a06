//! The way between the kernel's device and the library that speaks its protocol.
//!
//! Owns the handshake, so that a session can begin twice: once with the kernel, and again in every process that adopts
//! it later. It serves nothing and decides nothing about what is negotiated; that is the adapter's.
//!
//! The library shakes hands on the descriptor it is given, before it serves. The kernel does so once in the life of a mount. So the
//! library is given one end of a socket, over which the kernel's request reaches it; what it replies there is passed on to the
//! kernel, or, in a later process, compared with what was passed on then. After that the device takes the
//! socket's place under the number of the library's descriptor. Both messages fit the socket's queue, so nobody has to
//! stand by: the request lies there before the library asks for it, and the reply until it is fetched.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fuser::{Config, SessionACL};

use crate::adapter::Adapter;
use crate::sys;

/// What the kernel refuses to be read with less of (`FUSE_MIN_READ_BUFFER` in linux/fuse.h). The handshake's messages
/// have some hundred bytes.
const BUFFER_BYTES: usize = 8192;

/// The message that makes the kernel ask again whatever was asked and not answered: a header (its length, a code, no request's
/// number) with `FUSE_NOTIFY_RESEND`, 7 in linux/fuse.h since Linux 6.9.
const ASK_AGAIN: (u32, i32, u64) = (16, 7, 0);

/// The message about a name (`FUSE_NOTIFY_INVAL_ENTRY`, 3): the length of what is before the name, a code, no request's number. With
/// the flag `FUSE_EXPIRE_ONLY` (since Linux 6.2) the name is not dropped at once.
const EXPIRE: (u32, i32, u64) = (32, 3, 0);
const EXPIRE_ONLY: u32 = 1;

/// The one handshake that a mount has: what the kernel offered, and what was chosen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// The kernel's request, header and all.
    pub(crate) request: Vec<u8>,
    /// The reply it got.
    pub(crate) reply: Vec<u8>,
}

/// Why a handshake could not be repeated.
#[derive(Debug)]
pub(crate) enum RepeatError {
    /// This program would choose something else than the kernel goes by.
    OtherChoice,
    /// The handshake failed.
    Failed(io::Error),
}

/// Shakes hands with the kernel behind `device`, which has just been mounted.
pub(crate) fn negotiate(adapter: Adapter, device: &File) -> io::Result<(fuser::Session<Adapter>, Negotiated)> {
    let request = receive(device)?;
    let (session, reply) = answered(adapter, &request)?;
    sys::put_in_place_of(session.as_fd(), device.as_fd())?;
    send(device, &reply)?;
    Ok((session, Negotiated { request, reply }))
}

/// Begins to serve `device`, on which an earlier process has shaken hands.
pub(crate) fn repeat(
    adapter: Adapter,
    device: BorrowedFd<'_>,
    negotiated: &Negotiated,
) -> Result<fuser::Session<Adapter>, RepeatError> {
    let (session, reply) = answered(adapter, &negotiated.request).map_err(RepeatError::Failed)?;
    // The request is the same, its number too, so the reply is the same to the last byte.
    if reply != negotiated.reply {
        return Err(RepeatError::OtherChoice);
    }
    sys::put_in_place_of(session.as_fd(), device).map_err(RepeatError::Failed)?;
    Ok(session)
}

/// Makes the kernel ask again whatever it asked a process that has died before it answered.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] from a kernel that cannot.
pub(crate) fn ask_again(device: &File) -> io::Result<()> {
    let (length, code, number) = ASK_AGAIN;
    let message = [
        &length.to_ne_bytes()[..],
        &code.to_ne_bytes()[..],
        &number.to_ne_bytes()[..],
    ];
    send(device, &message.concat())
}

/// Makes the kernel ask anew for `name` in `directory` when somebody next walks there. What it remembers stays until then.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it remembers no such name.
pub(crate) fn expire_name(device: BorrowedFd<'_>, directory: u64, name: &[u8]) -> io::Result<()> {
    let (header, code, number) = EXPIRE;
    let name_length = u32::try_from(name.len()).map_err(io::Error::other)?;
    let message = [
        // The name ends with a zero byte.
        &(header + name_length + 1).to_ne_bytes()[..],
        &code.to_ne_bytes()[..],
        &number.to_ne_bytes(),
        &directory.to_ne_bytes(),
        &name_length.to_ne_bytes(),
        &EXPIRE_ONLY.to_ne_bytes(),
        name,
        b"\0",
    ];
    send(&File::from(device.try_clone_to_owned()?), &message.concat())
}

/// A session that has been offered `request`, and its reply to that.
fn answered(adapter: Adapter, request: &[u8]) -> io::Result<(fuser::Session<Adapter>, Vec<u8>)> {
    let (ours, theirs) = UnixDatagram::pair()?;
    ours.set_nonblocking(true)?;
    ours.send(request)?;
    // Should the library ask for more than the one request, it finds the end of the connection instead of waiting.
    theirs.shutdown(Shutdown::Read)?;
    let config = config();
    // It panics at some requests that make no sense.
    let begin = || fuser::Session::from_fd(adapter, theirs.into(), config.acl, config);
    let begun = catch_unwind(AssertUnwindSafe(begin));
    let session = begun.map_err(|_| io::Error::new(ErrorKind::InvalidData, "the handshake makes no sense"))??;
    let mut reply = vec![0; BUFFER_BYTES];
    let length = ours.recv(&mut reply)?;
    reply.truncate(length);
    Ok((session, reply))
}

fn config() -> Config {
    let mut config = Config::default();
    // Everybody may read (the kernel checks the modes); without this only who mounted could.
    config.acl = SessionACL::All;
    // Each thread has a session of its own.
    config.n_threads = Some(1);
    // No clones of the device. What is taken from one is lost when the process
    // dies, since nobody else holds that one.
    config.clone_fd = false;
    config
}

fn receive(mut device: &File) -> io::Result<Vec<u8>> {
    let mut request = vec![0; BUFFER_BYTES];
    loop {
        match device.read(&mut request) {
            Ok(length) => {
                request.truncate(length);
                return Ok(request);
            }
            // "Not found" is a request that was withdrawn before it was read.
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The device takes a message in one piece or not at all.
fn send(mut device: &File, message: &[u8]) -> io::Result<()> {
    let length = device.write(message)?;
    if length == message.len() {
        Ok(())
    } else {
        Err(ErrorKind::WriteZero.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Options;
    use crate::data::DataPath;
    use crate::filesystem::{Filesystem, HiddenNames, SECRET_BYTES};
    use crate::tree::{
        BlobNo, Child, DirNo, Door, DoorFacts, FileId, FileNode, Found, MirrorNo, NamedDoor, Parent, Totals, Tree,
    };

    /// Nothing of a tree is asked in a handshake.
    struct NoTree;

    fn unasked<T>() -> io::Result<T> {
        unreachable!("a handshake asks nothing of the tree")
    }

    impl Tree for NoTree {
        fn mirrors(&self) -> io::Result<Vec<(Box<[u8]>, MirrorNo)>> {
            unasked()
        }
        fn pointers(&self, _: MirrorNo) -> io::Result<Vec<NamedDoor>> {
            unasked()
        }
        fn snapshots(&self, _: MirrorNo) -> io::Result<Vec<NamedDoor>> {
            unasked()
        }
        fn snapshot(&self, _: MirrorNo, _: &[u8]) -> io::Result<Option<Door>> {
            unasked()
        }
        fn snapshot_at(&self, _: MirrorNo, _: &[u8]) -> io::Result<Option<Door>> {
            unasked()
        }
        fn superseded(&self, _: MirrorNo, _: Door) -> io::Result<bool> {
            unasked()
        }
        fn door(&self, _: Door) -> io::Result<Option<DoorFacts>> {
            unasked()
        }
        fn parent(&self, _: Door, _: DirNo) -> io::Result<Option<Parent>> {
            unasked()
        }
        fn child(&self, _: Door, _: DirNo, _: &[u8]) -> io::Result<Option<Found>> {
            unasked()
        }
        fn children(&self, _: Door, _: DirNo) -> io::Result<Arc<[Child]>> {
            unasked()
        }
        fn file(&self, _: FileId) -> io::Result<Option<FileNode>> {
            unasked()
        }
        fn open(&self, _: BlobNo) -> io::Result<File> {
            unasked()
        }
        fn totals(&self) -> io::Result<Totals> {
            unasked()
        }
    }

    /// A first request (opcode 26, number 1) of a kernel that speaks version `major`.`minor` and offers all of the first flags.
    fn request(major: u32, minor: u32) -> Vec<u8> {
        offer(major, minor, u32::MAX, 0)
    }

    fn offer(major: u32, minor: u32, flags: u32, more_flags: u32) -> Vec<u8> {
        let mut fields = vec![
            104_u32,
            26,
            1,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            major,
            minor,
            128 << 10,
            flags,
            more_flags,
        ];
        fields.resize(26, 0);
        fields.iter().flat_map(|field| field.to_ne_bytes()).collect()
    }

    fn handshake(request: &[u8]) -> io::Result<Vec<u8>> {
        handshake_for(request, None)
    }

    fn handshake_for(request: &[u8], data: Option<DataPath>) -> io::Result<Vec<u8>> {
        let options = Options {
            data,
            ..Options::new("state", 0)
        };
        let hidden = HiddenNames::new([0; SECRET_BYTES]);
        let filesystem = Filesystem::new(Arc::new(NoTree), hidden, &options);
        answered(Adapter::new(Arc::new(filesystem), options.data), request).map(|(_, reply)| reply)
    }

    #[test]
    fn the_same_offer_gets_the_same_reply() {
        let reply = handshake(&request(7, 45)).unwrap();
        assert_eq!(reply[8..16], [1, 0, 0, 0, 0, 0, 0, 0], "of the request's number");
        assert_eq!(reply[4..8], [0; 4], "no error");
        assert_eq!(handshake(&request(7, 45)).unwrap(), reply);
        assert_ne!(handshake(&request(7, 32)).unwrap().len(), 0);
    }

    #[test]
    fn each_data_path_is_agreed_on_where_it_is_offered_and_only_there() {
        /// Bits of the flags in linux/fuse.h: no-open, and that there are more flags; among those, passthrough.
        const NO_OPEN: u32 = 1 << 17;
        const MORE: u32 = 1 << 30;
        const PASSTHROUGH: u32 = 1 << (37 - 32);
        // Where they stand in the reply: the flags and further flags, and how many file systems the mount may count as lying upon.
        let word = |reply: &[u8], number: usize| u32::from_ne_bytes(reply[number * 4..][..4].try_into().unwrap());
        let agreed = |reply: &[u8]| [word(reply, 7) & NO_OPEN, word(reply, 12) & PASSTHROUGH, word(reply, 13)];

        let (old, new) = (offer(7, 34, NO_OPEN, 0), offer(7, 45, NO_OPEN | MORE, PASSTHROUGH));
        for (kernel, wanted, expected) in [
            (&old, None, [NO_OPEN, 0, 0]),
            (&new, None, [NO_OPEN, 0, 0]),
            (&old, Some(DataPath::KeepCache), [0; 3]),
            (&new, Some(DataPath::KeepCache), [0; 3]),
            (&new, Some(DataPath::Passthrough), [0, PASSTHROUGH, 1]),
        ] {
            let reply = handshake_for(kernel, wanted).unwrap();
            assert_eq!(agreed(&reply), expected, "{wanted:?}");
        }
        let refused = handshake_for(&old, Some(DataPath::Passthrough)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        let unfit = refused.get_ref().and_then(|error| error.downcast_ref::<crate::Unfit>());
        assert!(unfit.is_some());
    }

    #[test]
    fn a_handshake_that_fails_does_not_wait() {
        for bad in [request(8, 0), request(7, 31), request(6, 0), vec![0; 10], Vec::new()] {
            assert!(handshake(&bad).is_err(), "{} bytes", bad.len());
        }
    }
}

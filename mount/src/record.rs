//! What must outlive the process that serves a mount: a file in memory, kept by whoever holds a descriptor of it.
//!
//! Owns the form of that file: how the mount was begun, then a journal of frames. It knows nothing of the
//! frames' meaning. A process may be killed at any moment: a frame that was not wholly written counts as never written, and a
//! record that cannot be trusted is emptied, never believed.
//!
//! ```text
//! magic, 8 bytes | start, 8 bytes | four frames: how the mount was begun | … | start: the journal's frames
//! frame: length, 4 bytes | as many bytes            all numbers little-endian
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use crate::filesystem::SECRET_BYTES;
use crate::sys;
use crate::transport::Negotiated;

/// Another form of this file gets another number.
const MAGIC: [u8; 8] = *b"mctlrec1";

/// Where the journal's start is written.
const START_AT: u64 = 8;

/// The first frame.
const FRAMES_AT: u64 = 16;

/// Bytes within which the first frames end: the handshake's messages have some hundred.
const HEAD_MAX: usize = 64 << 10;

/// Size from which on the journal is written anew when most of it is outdated.
const COMPACT_FROM: u64 = 1 << 20;

/// How a mount was begun: what every process that serves it must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    /// What the hidden names are made of.
    pub(crate) secret: [u8; SECRET_BYTES],
    /// `major:minor` of the mounted file system.
    pub(crate) mount: String,
    /// The handshake.
    pub(crate) negotiated: Negotiated,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    /// Where the journal starts.
    start: u64,
    /// Where it ends.
    end: u64,
    /// Size from which on it is to be written anew.
    compact_from: u64,
}

impl Record {
    /// A new record with an empty journal.
    pub(crate) fn new(begun: &Begun) -> io::Result<Self> {
        let file = File::from(sys::memory_file(c"mirrorctl-mount")?);
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend([0; 8]);
        for part in [
            &begun.secret[..],
            begun.mount.as_bytes(),
            &begun.negotiated.request,
            &begun.negotiated.reply,
        ] {
            frame(&mut head, part);
        }
        file.write_all_at(&head, 0)?;
        let start = head.len() as u64;
        file.write_all_at(&start.to_le_bytes(), START_AT)?;
        Ok(Self {
            file,
            start,
            end: start,
            compact_from: start + COMPACT_FROM,
        })
    }

    /// The record that an earlier process kept in `file`: how the mount was begun, and the frames of the journal.
    ///
    /// # Errors
    /// When it is no such record, or an earlier process could not keep it.
    pub(crate) fn read(file: OwnedFd) -> io::Result<(Self, Begun, Vec<Vec<u8>>)> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no usable record of a mount");
        let file = File::from(file);
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut prefix = [0; 16];
        file.read_exact_at(&mut prefix, 0).map_err(|_| invalid())?;
        let (magic, start) = prefix.split_at(MAGIC.len());
        let start = u64::from_le_bytes(start.try_into().expect("8 of 16 bytes"));
        if *magic != MAGIC || start < FRAMES_AT {
            return Err(invalid());
        }
        let journal_at = usize::try_from(start).map_err(io::Error::other)?;
        // The first frames are short, and what follows them has been given back to the system.
        let mut head = vec![0; HEAD_MAX.min(journal_at).min(length) - prefix.len()];
        file.read_exact_at(&mut head, FRAMES_AT)?;
        let mut rest = &head[..];
        let mut part = || split(&mut rest).map(<[u8]>::to_vec).ok_or_else(invalid);
        let begun = Begun {
            secret: part()?.try_into().map_err(|_| invalid())?,
            mount: String::from_utf8(part()?).map_err(|_| invalid())?,
            negotiated: Negotiated {
                request: part()?,
                reply: part()?,
            },
        };
        let mut journal = vec![0; length.checked_sub(journal_at).ok_or_else(invalid)?];
        file.read_exact_at(&mut journal, start)?;
        let mut rest = &journal[..];
        let mut frames = Vec::new();
        while let Some(frame) = split(&mut rest) {
            frames.push(frame.to_vec());
        }
        let end = start + (journal.len() - rest.len()) as u64;
        // What was cut short must not be taken for the rest of what is written next.
        file.set_len(end)?;
        let record = Self {
            file,
            start,
            end,
            compact_from: end + COMPACT_FROM,
        };
        Ok((record, begun, frames))
    }

    /// A descriptor of the file, for whoever keeps it.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Adds a frame. When this has returned, it outlives the process.
    ///
    /// # Errors
    /// When there is no room; the record is then empty and of no use to anybody.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written = Vec::with_capacity(bytes.len() + 4);
        frame(&mut written, bytes);
        self.write(&written)
    }

    /// Whether most of the journal may be outdated.
    pub(crate) fn is_long(&self) -> bool {
        self.end > self.compact_from
    }

    /// Replaces the journal by `frames`. Killed in between, a process leaves either the old one or the new one.
    ///
    /// # Errors
    /// As for [`Record::append`].
    pub(crate) fn compact(&mut self, frames: &[Vec<u8>]) -> io::Result<()> {
        let (old, start) = (self.start, self.end);
        let mut written = Vec::new();
        for bytes in frames {
            frame(&mut written, bytes);
        }
        self.write(&written)?;
        if let Err(error) = self.file.write_all_at(&start.to_le_bytes(), START_AT) {
            return self.spoil(error);
        }
        self.start = start;
        self.compact_from = self.end + COMPACT_FROM.max(2 * written.len() as u64);
        // Whole pages are given back; that they are is of no weight for anything but memory.
        if let Err(error) = sys::give_back(self.file.as_fd(), old, start - old) {
            tracing::debug!(%error, "the memory of an outdated journal could not be given back");
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.end) {
            return self.spoil(error);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Empties a record that misses something. Making a file shorter needs no room.
    fn spoil(&self, error: io::Error) -> io::Result<()> {
        self.file.set_len(0)?;
        Err(error)
    }
}

fn frame(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("names and handshakes are short");
    to.extend(length.to_le_bytes());
    to.extend(bytes);
}

/// Takes the first frame off `rest`, if it is whole.
fn split<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (frame, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Begun {
        Begun {
            secret: [7; SECRET_BYTES],
            mount: "0:42".to_owned(),
            negotiated: Negotiated {
                request: vec![1; 104],
                reply: vec![2; 80],
            },
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_kept() {
        let mut record = Record::new(&begun()).unwrap();
        record.append(b"one").unwrap();
        record.append(b"").unwrap();
        let (mut read, head, frames) = Record::read(record.descriptor().unwrap()).unwrap();
        assert_eq!(head, begun());
        assert_eq!(frames, [b"one".to_vec(), Vec::new()]);
        read.append(b"two").unwrap();
        let (_, _, frames) = Record::read(record.descriptor().unwrap()).unwrap();
        assert_eq!(frames.len(), 3);
    }

    #[test]
    fn a_frame_cut_short_counts_as_never_written() {
        let long = [b'l'; 27];
        for cut in 0..4 + long.len() as u64 {
            let mut record = Record::new(&begun()).unwrap();
            record.append(b"kept").unwrap();
            let whole = record.end;
            record.append(&long).unwrap();
            record.file.set_len(whole + cut).unwrap();
            let (mut read, _, frames) = Record::read(record.descriptor().unwrap()).unwrap();
            assert_eq!(frames, [b"kept".to_vec()]);
            read.append(b"next").unwrap();
            let (_, _, frames) = Record::read(record.descriptor().unwrap()).unwrap();
            assert_eq!(frames, [b"kept".to_vec(), b"next".to_vec()]);
        }
    }

    #[test]
    fn a_long_journal_is_written_anew_and_its_memory_given_back() {
        use std::os::unix::fs::MetadataExt as _;
        let mut record = Record::new(&begun()).unwrap();
        while !record.is_long() {
            record.append(&[3; 1000]).unwrap();
        }
        record.compact(&[b"state".to_vec()]).unwrap();
        assert!(!record.is_long());
        record.append(b"more").unwrap();
        let (_, head, frames) = Record::read(record.descriptor().unwrap()).unwrap();
        assert_eq!(head, begun());
        assert_eq!(frames, [b"state".to_vec(), b"more".to_vec()]);
        assert!(record.file.metadata().unwrap().blocks() * 512 < 64 << 10);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in [
            &b""[..],
            b"mctlrec1",
            b"mctlrec1\0\0\0\0\0\0\0\0",
            b"mctlrec1\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"mctlrec0aaaaaaaabbbb",
        ] {
            let file = File::from(sys::memory_file(c"test").unwrap());
            file.write_all_at(bytes, 0).unwrap();
            let error = Record::read(file.into()).map(drop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        let record = Record::new(&begun()).unwrap();
        assert!(record.spoil(io::ErrorKind::StorageFull.into()).is_err());
        assert!(Record::read(record.descriptor().unwrap()).is_err());
    }
}

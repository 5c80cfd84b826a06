//! The pipes to and from a running program.
//!
//! Owns the exchange that never blocks on either of them, and the bounded memory of what came. It knows no process.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::AsFd;
use std::process::ChildStdin;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Bytes read at a time: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// What came and was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Number of bytes.
    pub bytes: u64,
    /// Number of lines that were forgotten, one of them perhaps in part.
    pub lines: u64,
    /// Whether the last of these lines goes on.
    is_within_line: bool,
}

impl Forgotten {
    fn take(&mut self, bytes: impl Iterator<Item = u8>) {
        for byte in bytes {
            self.bytes += 1;
            self.lines += u64::from(!self.is_within_line);
            self.is_within_line = byte != b'\n';
        }
    }
}

/// Both directions.
pub(super) struct Pipes<'a> {
    /// `None` once everybody has closed the other end.
    output: Option<PipeReader>,
    /// `None` once everything is written or nobody reads it.
    input: Option<ChildStdin>,
    unwritten: &'a [u8],
    kept: VecDeque<u8>,
    keep: usize,
    forgotten: Forgotten,
}

impl<'a> Pipes<'a> {
    pub(super) fn new(output: PipeReader, input: Option<ChildStdin>, bytes: &'a [u8], keep: usize) -> io::Result<Self> {
        do_not_block(&output)?;
        input.as_ref().map(do_not_block).transpose()?;
        Ok(Self {
            output: Some(output),
            input,
            unwritten: bytes,
            kept: VecDeque::new(),
            keep,
            forgotten: Forgotten::default(),
        })
    }

    /// Whether more output may come.
    pub(super) fn are_open(&self) -> bool {
        self.output.is_some()
    }

    /// Waits at most `patience` for something to read or to be read, and exchanges it.
    pub(super) fn exchange(&mut self, patience: Duration) -> io::Result<()> {
        let patience = Timespec::try_from(patience).expect("a short time");
        let output = self.output.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let input = self.input.iter().map(|pipe| PollFd::new(pipe, PollFlags::OUT));
        match poll(&mut output.chain(input).collect::<Vec<_>>(), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.write();
        self.read()
    }

    /// Writes what fits. A program need not read its input.
    fn write(&mut self) {
        let Some(pipe) = &mut self.input else { return };
        match pipe.write(self.unwritten) {
            Ok(written) => self.unwritten = &self.unwritten[written..],
            Err(error) if is_for_later(&error) => return,
            Err(_) => self.unwritten = &[],
        }
        if self.unwritten.is_empty() {
            self.input = None;
        }
    }

    /// Reads one piece: a program that writes without end must not keep its caller from looking at the clock.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.output else { return Ok(()) };
        let mut buffer = vec![0; CHUNK];
        match pipe.read(&mut buffer) {
            Ok(0) => self.output = None,
            Ok(length) => self.take(&buffer[..length]),
            Err(error) if is_for_later(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let superfluous = self.kept.len().saturating_sub(self.keep);
        self.forgotten.take(self.kept.drain(..superfluous));
    }

    /// What was kept, and what came before that.
    pub(super) fn into_output(self) -> (Vec<u8>, Forgotten) {
        (self.kept.into(), self.forgotten)
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn do_not_block(pipe: &impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(pipe)?;
    Ok(fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?)
}

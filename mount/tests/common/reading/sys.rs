//! All the ways in which a program can read a file, and what the kernel keeps of it.
//!
//! Owns the unsafe calls for that and nothing else.

#![expect(unsafe_code, reason = "libc calls without a safe form in std")]

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::thread;

/// What direct reads must be aligned to, everywhere.
const PAGE: usize = 4096;

/// Pages that are read directly at once.
const AT_ONCE: usize = 3;

/// Tells [`map_as_told`] which file to map, and where its bytes shall go.
const MAP_FROM: &str = "MIRRORCTL_TEST_MAP_FROM";
const MAP_TO: &str = "MIRRORCTL_TEST_MAP_TO";

/// A way to read all of a file: its name, and what it reads.
pub(crate) type Reading = (&'static str, fn(&Path) -> io::Result<Vec<u8>>);

/// Every way to read all of a file.
pub(crate) const READINGS: [Reading; 6] = [
    ("read", |path| std::fs::read(path)),
    ("mmap", by_map),
    ("O_DIRECT", directly),
    ("sendfile", |path| sent(&File::open(path)?)),
    ("splice", |path| spliced(&File::open(path)?)),
    ("copy_file_range", |path| copied(&File::open(path)?)),
];

fn result(length: isize) -> io::Result<usize> {
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

fn length(file: &File) -> io::Result<usize> {
    usize::try_from(file.metadata()?.len()).map_err(io::Error::other)
}

/// A place where `length` bytes can be read to directly: with room for one read beyond the end, and for less than a page before the first
/// aligned byte.
fn aligned(length: usize) -> Vec<[u8; PAGE]> {
    vec![[0; PAGE]; length.div_ceil(PAGE) + AT_ONCE + 1]
}

/// Past the page cache, in pieces as aligned as disks want them.
pub(crate) fn directly(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(path)?;
    let mut bytes = aligned(length(&file)?);
    let place = bytes.as_mut_ptr().cast::<u8>();
    let misaligned = place.align_offset(PAGE);
    let mut done = 0;
    loop {
        let offset = libc::off_t::try_from(done).expect("small");
        assert!(
            misaligned + done + AT_ONCE * PAGE <= bytes.len() * PAGE,
            "the file has grown"
        );
        // SAFETY: what is read fits the place, as was just checked.
        let got = unsafe {
            libc::pread(
                file.as_raw_fd(),
                place.add(misaligned + done).cast(),
                AT_ONCE * PAGE,
                offset,
            )
        };
        match result(got)? {
            0 => break,
            got => done += got,
        }
        if done % PAGE != 0 {
            break;
        }
    }
    Ok(bytes.as_flattened()[misaligned..misaligned + done].to_vec())
}

/// By a map, in another process: the kernel holds a lock of the process's memory while it waits for a page, which whoever serves
/// the mount needs.
fn by_map(path: &Path) -> io::Result<Vec<u8>> {
    let copy = tempfile::NamedTempFile::new()?;
    let child = Command::new(std::env::current_exe()?)
        .args(["--exact", "maps_a_file"])
        .env(MAP_FROM, path)
        .env(MAP_TO, copy.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    match child.signal() {
        Some(libc::SIGBUS) => Err(io::Error::from_raw_os_error(libc::EIO)),
        _ if child.success() => std::fs::read(copy.path()),
        _ => Err(io::Error::from_raw_os_error(
            std::fs::read_to_string(copy.path())?
                .parse()
                .map_err(io::Error::other)?,
        )),
    }
}

/// What the other process of [`by_map`] does: copies one file to another through a map, or says there by its number why it cannot open it.
pub(crate) fn map_as_told() {
    let (Some(from), Some(to)) = (std::env::var_os(MAP_FROM), std::env::var_os(MAP_TO)) else {
        return;
    };
    let file = match File::open(from) {
        Ok(file) => file,
        Err(error) => {
            std::fs::write(to, error.raw_os_error().unwrap().to_string()).unwrap();
            panic!("{error}");
        }
    };
    let length = length(&file).unwrap();
    if length > 0 {
        let map = Map::new(&file, length).unwrap();
        // SAFETY: the mapping has `length` bytes, which nobody changes while they are copied.
        let bytes = unsafe { std::slice::from_raw_parts(map.start.cast::<u8>(), map.length) };
        // Copied first: a call that writes from the map would fail where touching it is a signal.
        let bytes = bytes.to_vec();
        std::fs::write(to, &bytes).unwrap();
    }
}

fn sent(file: &File) -> io::Result<Vec<u8>> {
    let (ours, theirs) = UnixStream::pair()?;
    received(theirs, || {
        loop {
            // SAFETY: both descriptors are open, and no offset is passed.
            let sent = unsafe { libc::sendfile(ours.as_raw_fd(), file.as_raw_fd(), null_mut(), 1 << 20) };
            if result(sent)? == 0 {
                drop(ours);
                return Ok(());
            }
        }
    })
}

fn spliced(file: &File) -> io::Result<Vec<u8>> {
    let (reader, writer) = io::pipe()?;
    received(reader, || {
        loop {
            // SAFETY: both descriptors are open, and no offsets are passed.
            let moved =
                unsafe { libc::splice(file.as_raw_fd(), null_mut(), writer.as_raw_fd(), null_mut(), 1 << 20, 0) };
            if result(moved)? == 0 {
                drop(writer);
                return Ok(());
            }
        }
    })
}

/// What arrives at `end` while `send` sends.
fn received(mut end: impl io::Read + Send, send: impl FnOnce() -> io::Result<()>) -> io::Result<Vec<u8>> {
    thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut bytes = Vec::new();
            end.read_to_end(&mut bytes).map(|_| bytes)
        });
        let sent = send();
        let bytes = receiver.join().expect("does not panic")?;
        sent.map(|()| bytes)
    })
}

fn copied(file: &File) -> io::Result<Vec<u8>> {
    let mut copy = tempfile::tempfile()?;
    loop {
        // SAFETY: both descriptors are open, and no offsets are passed.
        let copied =
            unsafe { libc::copy_file_range(file.as_raw_fd(), null_mut(), copy.as_raw_fd(), null_mut(), 1 << 20, 0) };
        match result(copied) {
            Ok(0) => break,
            Ok(_) => {}
            // What the kernel says between file systems of two kinds: programs copy in another way then.
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
                io::copy(&mut &*file, &mut copy)?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    copy.rewind()?;
    let mut bytes = Vec::new();
    copy.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a file in this process's memory.
struct Map {
    start: *mut libc::c_void,
    length: usize,
}

impl Map {
    fn new(file: &File, length: usize) -> io::Result<Self> {
        // SAFETY: a new shared mapping for reading; the kernel chooses the place.
        let start = unsafe {
            libc::mmap(
                null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start, length })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's and not used any more.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

/// How many pages of the file at `path` are in memory, and how many it has.
pub(crate) fn resident(path: &Path) -> (usize, usize) {
    let file = File::open(path).unwrap();
    let length = length(&file).unwrap();
    let map = Map::new(&file, length).unwrap();
    let mut pages = vec![0_u8; length.div_ceil(PAGE)];
    // SAFETY: the mapping has `length` bytes, and there is a byte for each of its pages.
    let asked = unsafe { libc::mincore(map.start, map.length, pages.as_mut_ptr()) };
    assert_eq!(asked, 0, "{}", io::Error::last_os_error());
    (pages.iter().filter(|page| **page & 1 == 1).count(), pages.len())
}

/// Makes the kernel give up what it has in memory of the file at `path`.
pub(crate) fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_data().unwrap();
    // SAFETY: the descriptor is open; the rest are numbers.
    let done = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(done, 0);
}

/// Where the kernel finds the next data or hole from `offset` on.
pub(crate) fn seek(file: &File, offset: i64, whence: libc::c_int) -> io::Result<i64> {
    // SAFETY: the descriptor is open; the rest are numbers.
    match unsafe { libc::lseek(file.as_raw_fd(), offset, whence) } {
        found @ 0.. => Ok(found),
        _ => Err(io::Error::last_os_error()),
    }
}

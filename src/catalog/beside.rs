//! Files beside the catalog: made with its owner and mode, and put in their place whole.
//!
//! Owns those steps. What the files say is for others to know. The directory is writable for a group and root works in
//! it, so no link is followed and nothing of somebody else's is written to.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

/// The catalog's mode: the group writes, everybody reads.
const MODE: u32 = 0o664;

/// Makes an empty file at `path`, in the place of what an earlier attempt left there, with owner and mode of the file
/// `like`; where that is missing, of the directory, as the catalog itself.
pub(super) fn create(path: &Path, like: &Path) -> io::Result<File> {
    remove(path)?;
    // Made here and not by SQLite, so that it is no link of somebody else's.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let (owner, mode) = match fs::symlink_metadata(like) {
        Ok(facts) if facts.is_file() => (facts.clone(), facts.mode() & 0o777),
        _ => (fs::metadata(directory(path))?, MODE),
    };
    // Only root can give files away; for anybody else the group comes from the directory.
    if rustix::process::geteuid().is_root() {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Gives the finished file at `from` the name `to`, durably: its bytes first, then its name.
pub(super) fn put(from: &Path, to: &Path) -> io::Result<()> {
    open(from)?.sync_all()?;
    fs::rename(from, to)?;
    sync_directory(to)
}

/// Opens a regular file for reading, never what a link leads to, and without waiting at a fifo.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

/// Removes a file; that there is none is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes what was named or removed beside `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

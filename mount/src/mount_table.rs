//! The kernel's table of mounts, as far as a mount point is concerned.
//!
//! Owns the reading of `/proc/self/mountinfo` and the judgement of what a mount point carries. It changes nothing.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Where the kernel shows the mounts this process can see (proc(5)).
pub(crate) const TABLE: &str = "/proc/self/mountinfo";

/// The file system type under which our mounts are listed: FUSE, with a name of its own after the point.
pub const FILE_SYSTEM_TYPE: &str = "fuse.mirrorctl";

/// A name that no mount of ours has and none lets the kernel remember, so that asking for it reaches whoever serves.
const ABSENT_NAME: &str = ".mirrorctl-is-anybody-there";

/// How long a mount may take to show that somebody serves it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whose a mount of ours is, and who can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The number of the user who mounted it.
    pub user: u32,
    /// Whether other users can see what is in it; otherwise not even root can.
    pub for_others: bool,
}

/// A mount that a mount point carries already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Whether it is one of this program's.
    pub ours: bool,
    /// Whether it is one of ours whose serving process has gone, so that everything below it fails.
    pub dead: bool,
    /// What is mounted: for one of ours the name given with [`crate::Options::fsname`].
    pub fsname: OsString,
    /// The file system type.
    pub kind: String,
}

/// What `mountpoint` carries, or `None` when nothing is mounted exactly there.
///
/// Whether one of ours is dead is found out by asking it. One that does not answer for two seconds lives and hangs:
/// whoever can ask the process otherwise should do so first.
///
/// # Errors
/// When the table of mounts cannot be read, or there is no `mountpoint`.
pub fn existing(mountpoint: &Path) -> io::Result<Option<Existing>> {
    let place = resolve(mountpoint)?;
    let Some(entry) = at(&place)? else { return Ok(None) };
    let ours = entry.kind == FILE_SYSTEM_TYPE;
    let dead = ours && nobody_serves(&place);
    Ok(Some(Existing {
        ours,
        dead,
        fsname: entry.source,
        kind: entry.kind,
    }))
}

/// The absolute path of `mountpoint` without links. A dead mount cannot be asked for anything, its parent can.
///
/// # Errors
/// When there is no such place.
pub fn resolve(mountpoint: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(mountpoint) {
        Err(error) if says_dead(&error) => resolve_without_asking(mountpoint),
        other => other,
    }
}

/// The absolute path of `mountpoint` without links, found without asking a mount that stands there for anything. The mount point
/// itself is not taken for a link.
pub(crate) fn resolve_without_asking(mountpoint: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(mountpoint)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        (None, _) | (Some(_), None) => Ok(absolute),
    }
}

/// Whether a mount of this program's stands topmost at `mountpoint`, found without asking that mount for anything.
///
/// # Errors
/// When the table of mounts cannot be read, or there is no place for a mount point.
pub fn stands_at(mountpoint: &Path) -> io::Result<bool> {
    let standing = at(&resolve_without_asking(mountpoint)?)?;
    Ok(standing.is_some_and(|standing| standing.kind == FILE_SYSTEM_TYPE))
}

/// Whose the topmost mount at `mountpoint` is, and who can see it. A mount that does not answer is not asked.
///
/// # Errors
/// When the table of mounts cannot be read, or nothing is mounted there.
pub fn ownership(mountpoint: &Path) -> io::Result<Ownership> {
    let standing = at(&resolve_without_asking(mountpoint)?)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(standing.ownership())
}

/// The topmost mount at `place`, an absolute path without links.
pub(crate) fn at(place: &Path) -> io::Result<Option<Entry>> {
    let table = fs::read(TABLE)?;
    // Later lines are mounted over earlier ones.
    Ok(entries(&table).filter(|entry| entry.place == place).last())
}

/// Whether any mount in `table` is of `device`.
pub(crate) fn lists(table: &[u8], device: &str) -> bool {
    entries(table).any(|entry| entry.device == device)
}

fn nobody_serves(place: &Path) -> bool {
    // The attributes of the root may be remembered, even of a dead mount: a name must be looked up.
    let name = place.join(ABSENT_NAME);
    let (sender, answer) = mpsc::channel();
    // Not joined: a process that hangs lets it wait as long.
    let asking = thread::Builder::new().name("anybody-there".to_owned()).spawn(move || {
        let dead = fs::symlink_metadata(name).is_err_and(|error| says_dead(&error));
        // Nobody listens any more once the patience is over.
        let _ = sender.send(dead);
    });
    // The kernel answers for the dead at once.
    asking.is_ok() && answer.recv_timeout(PATIENCE).unwrap_or(false)
}

fn says_dead(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED))
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `major:minor` of the mounted file system.
    pub(crate) device: String,
    /// Where it is mounted.
    pub(crate) place: PathBuf,
    /// The file system type.
    pub(crate) kind: String,
    /// What is mounted.
    pub(crate) source: OsString,
    /// The options of the file system.
    pub(crate) options: String,
}

impl Entry {
    /// Whose it is, by what a FUSE file system shows of that.
    pub(crate) fn ownership(&self) -> Ownership {
        let mut options = self.options.split(',');
        let user = options.clone().find_map(|option| option.strip_prefix("user_id="));
        Ownership {
            user: user.and_then(|number| number.parse().ok()).unwrap_or(0),
            for_others: options.any(|option| option == "allow_other"),
        }
    }
}

fn entries(table: &[u8]) -> impl Iterator<Item = Entry> {
    table.split(|byte| *byte == b'\n').filter_map(parse)
}

/// A line: id, parent, device, root, place, options, any number of optional fields, "-", type, source, options.
fn parse(line: &[u8]) -> Option<Entry> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = 6 + fields.get(6..)?.iter().position(|field| *field == b"-")?;
    Some(Entry {
        device: String::from_utf8(fields.get(2)?.to_vec()).ok()?,
        place: PathBuf::from(unescape(fields.get(4)?)),
        kind: OsStr::from_bytes(fields.get(separator + 1)?)
            .to_string_lossy()
            .into_owned(),
        source: unescape(fields.get(separator + 2)?),
        options: String::from_utf8_lossy(fields.get(separator + 3)?).into_owned(),
    })
}

/// Undoes the kernel's writing of blanks, line ends and backslashes as a backslash with three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| after.get(..3)).flatten().and_then(octal);
        plain.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(plain)
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
        40 22 0:35 / /srv/apt ro,nosuid - fuse.mirrorctl /var/lib/mirrorctl ro,user_id=0\n\
        41 22 0:36 / /srv/with\\040blank rw shared:2 master:1 - tmpfs back\\134slash rw\n\
        42 40 0:37 / /srv/apt rw - tmpfs over rw\n\
        garbage\n";

    #[test]
    fn lines_are_read_whatever_their_optional_fields() {
        let entries: Vec<Entry> = entries(SAMPLE).collect();
        assert_eq!(entries.len(), 4);
        assert_eq!(entries[1].device, "0:35");
        assert_eq!(entries[1].place, Path::new("/srv/apt"));
        assert_eq!(entries[1].kind, FILE_SYSTEM_TYPE);
        assert_eq!(entries[1].source, OsStr::new("/var/lib/mirrorctl"));
        assert_eq!(entries[2].place, Path::new("/srv/with blank"));
        assert_eq!(entries[2].source, OsStr::new("back\\slash"));
    }

    #[test]
    fn an_owner_is_known_by_the_options() {
        let owners: Vec<Ownership> = entries(SAMPLE).map(|entry| entry.ownership()).collect();
        let private = |user| Ownership {
            user,
            for_others: false,
        };
        assert_eq!(owners[..2], [private(0), private(0)]);
        let line = b"40 22 0:35 / /m ro - fuse.mirrorctl s rw,user_id=1000,group_id=5,default_permissions,allow_other";
        let shared = Ownership {
            user: 1000,
            for_others: true,
        };
        assert_eq!(parse(line).unwrap().ownership(), shared);
    }

    #[test]
    fn devices_are_found_wherever_they_are_mounted() {
        assert!(lists(SAMPLE, "0:36"));
        assert!(!lists(SAMPLE, "0:3"));
    }

    #[test]
    fn what_only_looks_like_an_escape_is_kept() {
        for (escaped, plain) in [
            ("a\\040b", "a b"),
            ("a\\04", "a\\04"),
            ("\\999", "\\999"),
            ("\\", "\\"),
            ("", ""),
        ] {
            assert_eq!(unescape(escaped.as_bytes()), OsStr::new(plain), "{escaped:?}");
        }
    }
}

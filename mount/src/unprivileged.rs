//! Mounting and unmounting for users to whom the kernel does not grant it: through the setuid program `fusermount3`.
//!
//! Owns the conversation with that program. It opens the device, mounts it, and sends its descriptor over a socket of which it is
//! told the number. What it may mount, and for whom, is its own judgement; root never comes here.

#![expect(clippy::disallowed_types, reason = "ordinary users mount through a setuid program")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::Options;
use crate::mount_error::MountError;
use crate::mount_table::FILE_SYSTEM_TYPE;
use crate::sys;

/// The program, of Debian's package `fuse3`. It belongs to root and acts as root for whoever starts it.
const PROGRAM: &str = "fusermount3";

/// The variable that tells it the number of the socket over which it sends the device (libfuse's `_FUSE_COMMFD`), and the number:
/// a child's standard input is the one descriptor that is handed over without further ado.
const SOCKET: (&str, &str) = ("_FUSE_COMMFD", "0");

/// Its configuration, and the line there by which root lets users show their mounts to others (mount.fuse3(8)).
const CONFIGURATION: &str = "/etc/fuse.conf";
const OTHERS_ALLOWED: &str = "user_allow_other";

/// Whether `refusal` means that this process may not mount by itself, and as a user to whom `fusermount3` may help.
pub(crate) fn can_help_after(refusal: &MountError) -> bool {
    let (user, _) = sys::effective_ids();
    let forbidden = |source: &io::Error| source.kind() == io::ErrorKind::PermissionDenied;
    match refusal {
        MountError::Refused { source, .. } | MountError::Device { source } => user != 0 && forbidden(source),
        _ => false,
    }
}

/// Mounts at `mountpoint`, which has no links, and gives the kernel's end.
pub(crate) fn mount(mountpoint: &Path, options: &Options) -> Result<OwnedFd, MountError> {
    if let Some((label, _)) = options.labels.given().into_iter().next() {
        return Err(MountError::LabelsNeedRoot { label });
    }
    let failed = |source| MountError::Helper { source };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut command = Command::new(PROGRAM);
    command.stdin(OwnedFd::from(theirs)).env(SOCKET.0, SOCKET.1);
    command
        .arg("-o")
        .arg(mount_options(&options.fsname, others_are_allowed()));
    let output = run(command, mountpoint).map_err(failed)?;
    if !output.status.success() {
        return Err(MountError::HelperRefused {
            mountpoint: mountpoint.to_owned(),
            said: said(&output),
        });
    }
    // It lies in the socket's queue by now.
    received(&ours).map_err(failed)
}

/// Takes the topmost mount at `mountpoint` away, at once for new users.
pub(crate) fn detach(mountpoint: &Path) -> io::Result<()> {
    let (user, _) = sys::effective_ids();
    match sys::detach(mountpoint) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && user != 0 => {}
        done => return done,
    }
    let mut command = Command::new(PROGRAM);
    command.args(["-u", "-z"]).stdin(Stdio::null());
    let output = run(command, mountpoint)?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, said(&output)))
}

/// Whether root lets users show their mounts to others. Judged as `fusermount3` judges it.
fn others_are_allowed() -> bool {
    let configuration = fs::read_to_string(CONFIGURATION).unwrap_or_default();
    says_that_others_are_allowed(&configuration)
}

fn says_that_others_are_allowed(configuration: &str) -> bool {
    let lines = configuration
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines.map(str::trim).any(|line| line == OTHERS_ALLOWED)
}

/// What is asked of `fusermount3`, the same as [`crate::mount()`] asks of the kernel.
fn mount_options(fsname: &OsStr, for_others: bool) -> OsString {
    let (_, subtype) = FILE_SYSTEM_TYPE.split_once('.').expect("a constant with a point");
    let mut options = format!("ro,nosuid,nodev,noexec,noatime,subtype={subtype},").into_bytes();
    if for_others {
        options.extend(b"allow_other,");
    }
    options.extend(b"fsname=");
    for byte in fsname.as_bytes() {
        // It ends an option at a comma, unless there is a backslash before it.
        if matches!(byte, b',' | b'\\') {
            options.push(b'\\');
        }
        options.push(*byte);
    }
    OsString::from_vec(options)
}

/// Runs `command`, whose last word is `mountpoint`, to its end.
fn run(mut command: Command, mountpoint: &Path) -> io::Result<Output> {
    let command = command.arg("--").arg(mountpoint).env("LC_ALL", "C");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.spawn()?.wait_with_output()?;
    Ok(output)
}

/// Its own words, without its name before them.
fn said(output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    let lines = words.lines().map(|line| {
        let line = line.trim();
        line.strip_prefix(PROGRAM)
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or(line)
    });
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        output.status.to_string()
    } else {
        lines.join("; ")
    }
}

/// The descriptor that comes with the one message in `socket`.
fn received(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.next().and_then(|mut descriptors| descriptors.next());
    descriptor.ok_or_else(|| io::Error::other(format!("{PROGRAM} did not send the device")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_option_whatever_is_in_it() {
        let options = |name| mount_options(OsStr::new(name), false).into_string().unwrap();
        assert!(options("/var/lib/m").ends_with("noatime,subtype=mirrorctl,fsname=/var/lib/m"));
        assert!(options("a,allow_other\\").ends_with(",fsname=a\\,allow_other\\\\"));
    }

    #[test]
    fn others_are_let_in_only_where_root_allows_it() {
        let options = |others| mount_options(OsStr::new("x"), others).into_string().unwrap();
        assert!(!options(false).contains("allow_other"));
        assert!(options(true).contains(",allow_other,"));
        for (configuration, allowed) in [
            ("", false),
            ("#user_allow_other\n", false),
            ("mount_max = 1000\n user_allow_other # for mirrors\n", true),
            ("user_allow_other", true),
            ("user_allow_others\n", false),
        ] {
            assert_eq!(
                says_that_others_are_allowed(configuration),
                allowed,
                "{configuration:?}"
            );
        }
    }

    #[test]
    fn only_a_want_of_rights_is_helped() {
        let refused = |number| MountError::Device {
            source: io::Error::from_raw_os_error(number),
        };
        let (user, _) = sys::effective_ids();
        assert!(!can_help_after(&refused(libc::ENOENT)));
        assert_eq!(can_help_after(&refused(libc::EACCES)), user != 0);
    }
}

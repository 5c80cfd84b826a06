//! Why there is no mount, and how that is said.
//!
//! Owns [`MountError`] and its texts. It decides nothing.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::session::DEVICE;

/// Why there is no mount.
#[derive(Debug)]
#[non_exhaustive]
pub enum MountError {
    /// The mount point does not exist.
    Missing {
        /// Where.
        mountpoint: PathBuf,
    },
    /// The mount point is no directory.
    NotADirectory {
        /// Where.
        mountpoint: PathBuf,
    },
    /// The mount point has files of its own, which the mount would hide.
    NotEmpty {
        /// Where.
        mountpoint: PathBuf,
    },
    /// A mount of this program's stands there already.
    AlreadyServed {
        /// Where.
        mountpoint: PathBuf,
        /// What it shows.
        fsname: OsString,
    },
    /// A mount of this program's stands there whose process has gone: [`detach`](crate::detach) it first.
    Dead {
        /// Where.
        mountpoint: PathBuf,
        /// What it showed.
        fsname: OsString,
    },
    /// Something else is mounted there.
    Foreign {
        /// Where.
        mountpoint: PathBuf,
        /// Its file system type.
        kind: String,
        /// What it is.
        fsname: OsString,
    },
    /// The mount point cannot be looked at.
    Inspect {
        /// Where.
        mountpoint: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel's device for such mounts cannot be opened.
    Device {
        /// Why.
        source: io::Error,
    },
    /// The kernel refused to mount.
    Refused {
        /// Where.
        mountpoint: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `fusermount3`, which mounts for ordinary users, cannot be run, or does not do what it is for.
    Helper {
        /// Why.
        source: io::Error,
    },
    /// `fusermount3` refused to mount.
    HelperRefused {
        /// Where.
        mountpoint: PathBuf,
        /// Its words.
        said: String,
    },
    /// Only root can give a mount SELinux labels.
    LabelsNeedRoot {
        /// The option.
        label: &'static str,
    },
    /// Files cannot be read in the way that was asked for.
    DataPath {
        /// Which, and why; an [`Unfit`](crate::Unfit) within.
        source: io::Error,
    },
    /// The mount was made but does not answer.
    NotReady {
        /// Where.
        mountpoint: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something a mount needs from the system is not to be had.
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { mountpoint } => write!(f, "the mount point {} does not exist", mountpoint.display()),
            Self::NotADirectory { mountpoint } => {
                write!(f, "the mount point {} is not a directory", mountpoint.display())
            }
            Self::NotEmpty { mountpoint } => {
                write!(
                    f,
                    "the mount point {} is not empty: a mount would hide what is in it",
                    mountpoint.display()
                )
            }
            Self::AlreadyServed { mountpoint, fsname } => {
                write!(f, "{} already shows {}", mountpoint.display(), fsname.display())
            }
            Self::Dead { mountpoint, fsname } => {
                write!(
                    f,
                    "{} is a dead mount of {}: its process has gone",
                    mountpoint.display(),
                    fsname.display()
                )
            }
            Self::Foreign {
                mountpoint,
                kind,
                fsname,
            } => {
                write!(
                    f,
                    "{} is already the mount point of {} ({kind})",
                    mountpoint.display(),
                    fsname.display()
                )
            }
            Self::Inspect { mountpoint, .. } => write!(f, "cannot look at the mount point {}", mountpoint.display()),
            Self::Device { .. } => {
                write!(
                    f,
                    "cannot open {DEVICE}: it needs the kernel's fuse module and the right to use it"
                )
            }
            Self::Refused { mountpoint, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "the kernel refused to mount at {}: mounting needs root",
                    mountpoint.display()
                )
            }
            Self::Refused { mountpoint, .. } => write!(f, "the kernel refused to mount at {}", mountpoint.display()),
            Self::Helper { source } if source.kind() == io::ErrorKind::NotFound => {
                f.write_str("fusermount3 is missing, through which ordinary users mount")
            }
            Self::Helper { .. } => f.write_str("cannot mount through fusermount3, as ordinary users do"),
            Self::HelperRefused { mountpoint, said } => {
                write!(f, "fusermount3 refused to mount at {}: {said}", mountpoint.display())
            }
            Self::LabelsNeedRoot { label } => {
                write!(f, "only root can mount with the SELinux option {label}")
            }
            Self::DataPath { .. } => f.write_str("files cannot be read in the way that was asked for"),
            Self::NotReady { mountpoint, .. } => write!(f, "the mount at {} does not answer", mountpoint.display()),
            Self::System { what, .. } => write!(f, "cannot {what}"),
        }
    }
}

impl std::error::Error for MountError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inspect { source, .. }
            | Self::Device { source }
            | Self::Refused { source, .. }
            | Self::Helper { source }
            | Self::DataPath { source }
            | Self::NotReady { source, .. }
            | Self::System { source, .. } => Some(source),
            Self::Missing { .. }
            | Self::NotADirectory { .. }
            | Self::NotEmpty { .. }
            | Self::AlreadyServed { .. }
            | Self::Dead { .. }
            | Self::Foreign { .. }
            | Self::HelperRefused { .. }
            | Self::LabelsNeedRoot { .. } => None,
        }
    }
}

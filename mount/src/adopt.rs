//! Serving a mount that another process made and does not serve any more.
//!
//! Owns [`adopt`] and what can go wrong with it. It mounts nothing and unmounts nothing: whatever fails here leaves the
//! mount as it was, for the next attempt or for somebody to take away.
//!
//! The kernel goes on with what it negotiated and remembers with the process that died. So the handshake is
//! repeated and must end as it did; the hidden names stay what they were; and what was handed out is read from
//! the [`Record`], since the kernel must be told of changes to it. Inode numbers need no care: they are computed.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::data::DataPath;
use crate::filesystem::{Filesystem, HiddenNames};
use crate::handed::HandedOut;
use crate::mount_table;
use crate::record::Record;
use crate::session::{Held, Session, Standing, affordable, serve};
use crate::threads::Threads;
use crate::transport::{self, RepeatError};
use crate::tree::Tree;
use crate::{MountError, Options};

/// Why a mount cannot be adopted.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdoptError {
    /// The mount that is held does not stand (topmost) at the mount point.
    NotThere {
        /// Where it was expected.
        mountpoint: PathBuf,
    },
    /// What the mount's process wrote down cannot be used: it is of another version, or there was no room for it.
    Record {
        /// Why.
        source: io::Error,
    },
    /// This program would have agreed with the kernel on something else than what the kernel goes by.
    OtherChoice,
    /// Files of the mount are read in a way that only the process that began it can go on with: mount anew.
    Unadoptable {
        /// Which.
        data: DataPath,
    },
    /// The kernel cannot ask again what was asked of the process that died (before Linux 6.9): who waits for such an answer would
    /// wait for ever. Mount anew.
    NoResend {
        /// Why.
        source: io::Error,
    },
    /// The mount has ended.
    Ended,
    /// The mount was taken over but does not answer. Serving threads may have been started: end this process before the next attempt.
    NotReady {
        /// Where.
        mountpoint: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is not to be had from the system.
    System(MountError),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere { mountpoint } => {
                write!(f, "the mount to take over does not stand at {}", mountpoint.display())
            }
            Self::Record { .. } => f.write_str("what the mount's earlier process wrote down cannot be used"),
            Self::OtherChoice => {
                f.write_str("the mount was begun with other settings of the protocol than this program's: mount anew")
            }
            Self::Unadoptable { data } => write!(
                f,
                "the mount's files are read by the data path {data}, which ends with the process that began it: mount anew"
            ),
            Self::NoResend { .. } => {
                f.write_str("this kernel cannot repeat the requests that were lost (Linux 6.9 can): mount anew")
            }
            Self::Ended => f.write_str("the mount to take over has ended"),
            Self::NotReady { mountpoint, .. } => {
                write!(f, "the mount taken over at {} does not answer", mountpoint.display())
            }
            Self::System(error) => error.fmt(f),
        }
    }
}

impl AdoptError {
    /// Whether the mount has ended, so that there is nothing to serve.
    pub fn says_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Whether no process will ever adopt the mount, so that one made anew has to [take its place](crate::replace()).
    pub fn asks_for_a_new_mount(&self) -> bool {
        match self {
            Self::Record { .. } | Self::OtherChoice | Self::Unadoptable { .. } | Self::NoResend { .. } => true,
            Self::NotThere { .. } | Self::Ended | Self::NotReady { .. } | Self::System(_) => false,
        }
    }
}

impl std::error::Error for AdoptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Record { source } | Self::NoResend { source } | Self::NotReady { source, .. } => Some(source),
            Self::System(error) => error.source(),
            Self::NotThere { .. } | Self::OtherChoice | Self::Unadoptable { .. } | Self::Ended => None,
        }
    }
}

/// Serves the mount that is `held` and stands at `mountpoint`, showing `tree`, whose numbers must be those of the tree it
/// showed before. Returns once the mount answers; requests that have waited are answered meanwhile. The process that
/// served it must have died.
///
/// What changed while nobody served is told with the next [`Session::reconcile`]: call that first of all.
///
/// # Errors
/// When the mount cannot be served as it was begun; it is then as it was.
pub fn adopt(tree: Arc<dyn Tree>, held: Held, mountpoint: &Path, options: &Options) -> Result<Session, AdoptError> {
    let mut options = options.clone();
    options.open_blobs = affordable(options.open_blobs).map_err(AdoptError::System)?;
    let system = |what| move |source| AdoptError::System(MountError::System { what, source });
    let unusable = |source| AdoptError::Record { source };

    let copy = held.try_clone().map_err(system("copy a descriptor"))?;
    let (record, begun, frames) = Record::read(copy.record).map_err(unusable)?;
    let mountpoint = standing_at(mountpoint, &begun.mount)?;
    let handed = HandedOut::from_frames(&frames).map_err(unusable)?;
    handed.write_to(record);
    let hidden = HiddenNames::new(begun.secret);
    let filesystem = Arc::new(Filesystem::resumed(tree, hidden, handed, &options));

    let adapter = Adapter::new(Arc::clone(&filesystem), options.data);
    let chosen = adapter.chosen();
    let session = transport::repeat(adapter.clone(), held.device.as_fd(), &begun.negotiated);
    let session = session.map_err(|error| match error {
        RepeatError::OtherChoice => AdoptError::OtherChoice,
        RepeatError::Failed(source) => system("repeat the handshake")(source),
    })?;
    let threads = Threads::new(session, adapter, begun.negotiated, &options).map_err(system("copy a descriptor"))?;
    let data = *chosen.get().ok_or(AdoptError::OtherChoice)?;
    if !data.is_adoptable() {
        return Err(AdoptError::Unadoptable { data });
    }
    if options.ask_again {
        transport::ask_again(&File::from(copy.device)).map_err(not_asked_again)?;
    }
    serve(
        threads,
        filesystem,
        (data, held),
        (&mountpoint, Standing::There),
        &options,
    )
    .map_err(|source| AdoptError::NotReady { mountpoint, source })
}

/// `mountpoint` without links, if the file system numbered `device` stands there.
fn standing_at(mountpoint: &Path, device: &str) -> Result<PathBuf, AdoptError> {
    let inspect = |source| {
        AdoptError::System(MountError::Inspect {
            mountpoint: mountpoint.to_owned(),
            source,
        })
    };
    // By its parent: nobody answers at the mount point itself.
    let place = mount_table::resolve_without_asking(mountpoint).map_err(inspect)?;
    match mount_table::at(&place).map_err(inspect)? {
        Some(entry) if entry.device == device => Ok(place),
        Some(_) | None => Err(AdoptError::NotThere { mountpoint: place }),
    }
}

fn not_asked_again(source: io::Error) -> AdoptError {
    match source.raw_os_error() {
        Some(libc::EINVAL) => AdoptError::NoResend { source },
        // What the kernel says of a mount that has ended, or was never begun.
        Some(libc::ENODEV | libc::EPERM | libc::ENOTCONN | libc::ECONNABORTED) => AdoptError::Ended,
        _ => AdoptError::System(MountError::System {
            what: "make the kernel ask again",
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_ask_again_is_told_from_a_mount_that_has_ended() {
        let error = |number| not_asked_again(io::Error::from_raw_os_error(number));
        assert!(matches!(error(libc::EINVAL), AdoptError::NoResend { .. }));
        assert!(matches!(error(libc::ENODEV), AdoptError::Ended));
        assert!(matches!(error(libc::EIO), AdoptError::System(_)));
    }
}

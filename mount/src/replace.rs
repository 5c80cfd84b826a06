//! A mount that takes the place of another one, of which nobody sees an end or a beginning.
//!
//! Owns [`Session::replaced_by`], and [`replace`] for a mount that nobody serves any more. The new mount is made and answers before it has a place; then it is put beneath the old
//! one, which is taken away from over it. Whoever has something open in the old mount keeps that, as after any unmount.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use crate::Options;
use crate::filesystem::{Filesystem, HiddenNames};
use crate::mount_error::MountError;
use crate::mount_table::{self, FILE_SYSTEM_TYPE};
use crate::session::{DEVICE, Session, Shared, Standing, affordable, begin, lock_device, not_begun, secret, wished};
use crate::sys;
use crate::tree::Tree;

/// Serves `tree` at `mountpoint`, in the place of a mount of this program's that stands topmost there and whose process has gone.
/// When it returns, every walk that begins shows the new tree. Who is inside the old mount, or waits there, gets errors once
/// nobody holds it any more.
///
/// # Errors
/// When no mount of this program's stands there, or the kernel or the system refuses; the old one is then as it was, unless
/// nothing could be put into its place after it had been taken away.
pub fn replace(tree: Arc<dyn Tree>, mountpoint: &Path, options: &Options) -> Result<Session, MountError> {
    let inspect = |source| MountError::Inspect {
        mountpoint: mountpoint.to_owned(),
        source,
    };
    // By its parent: nobody answers at the mount point itself.
    let place = mount_table::resolve_without_asking(mountpoint).map_err(inspect)?;
    let standing = mount_table::at(&place).map_err(inspect)?;
    if standing.is_none_or(|standing| standing.kind != FILE_SYSTEM_TYPE) {
        return Err(inspect(io::Error::other("no mount of this program's stands there")));
    }
    let mut options = options.clone();
    options.open_blobs = affordable(options.open_blobs)?;
    let secret = secret().map_err(|source| MountError::System {
        what: "read random bytes",
        source,
    })?;
    let device = OpenOptions::new().read(true).write(true).open(DEVICE);
    let device = device.map_err(|source| MountError::Device { source })?;
    let root = placeless(&device, &options).map_err(|source| MountError::Refused {
        mountpoint: place.clone(),
        source,
    })?;
    let filesystem = Arc::new(Filesystem::new(tree, HiddenNames::new(secret), &options));
    let standing = Standing::InPlaceOfDead { root: root.into() };
    begin(filesystem, device, secret, (&place, standing), &options).map_err(|source| not_begun(place, source))
}

/// Puts the mount of `root` in the place of the topmost one at `mountpoint`, which nobody serves. Where the kernel cannot put it
/// beneath that, nothing is mounted for a moment.
pub(crate) fn take_place_of_dead(root: &File, mountpoint: &Path) -> io::Result<()> {
    match sys::move_beneath(root.as_fd(), mountpoint) {
        // The old one is topmost still.
        Ok(()) => sys::detach(mountpoint),
        Err(error) => {
            tracing::info!(%error, "nothing is mounted for a moment: the kernel cannot put a mount beneath another there");
            sys::detach(mountpoint)?;
            sys::move_over(root.as_fd(), mountpoint)
        }
    }
}

impl Session {
    /// Serves `tree` in the place of what this session serves: when it returns, every walk that begins shows the new tree, and
    /// none that began before has failed for it. This session then is as after [`Session::unmount`].
    ///
    /// # Errors
    /// When the new mount cannot be made, or this kernel cannot put one mount beneath another (Linux 6.5 can); this session goes
    /// on as before.
    pub fn replaced_by(&self, tree: Arc<dyn Tree>, options: &Options) -> Result<Session, MountError> {
        let mut options = options.clone();
        options.open_blobs = affordable(options.open_blobs)?;
        let system = |what| move |source| MountError::System { what, source };
        let mountpoint = self.mountpoint().to_owned();
        let secret = secret().map_err(system("read random bytes"))?;
        let device = OpenOptions::new().read(true).write(true).open(DEVICE);
        let device = device.map_err(|source| MountError::Device { source })?;
        let root = placeless(&device, &options).map_err(|source| MountError::Refused {
            mountpoint: mountpoint.clone(),
            source,
        })?;
        let filesystem = Arc::new(Filesystem::new(tree, HiddenNames::new(secret), &options));
        let standing = Standing::Beneath {
            root: File::from(root),
            over: &self.shared,
        };
        begin(filesystem, device, secret, (&mountpoint, standing), &options)
            .map_err(|source| MountError::NotReady { mountpoint, source })
    }
}

/// A mount without a place.
fn placeless(device: &File, options: &Options) -> io::Result<OwnedFd> {
    let wished = wished(device, options)?;
    sys::placeless_mount(&wished.switches, &wished.values)
}

/// Puts the mount of `root` in the place of that of `old`.
pub(crate) fn take_place(root: &File, old: &Shared) -> io::Result<()> {
    let mut place = lock_device(old);
    let mountpoint = old.mountpoint();
    match (place.as_ref(), mount_table::at(mountpoint)?) {
        (Some(device), Some(entry)) if entry.device == *device => {}
        (Some(_) | None, _) => {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the old mount has left its place",
            ));
        }
    }
    sys::move_beneath(root.as_fd(), mountpoint)?;
    sys::detach(mountpoint)?;
    old.taken_away(&mut place);
    Ok(())
}

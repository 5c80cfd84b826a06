//! What can be asked of and told to the kernel about a mount of ours, beside answering its requests.
//!
//! Owns the descriptor of the mount's root, the notifications, and the fact that both come to an end. Everything here
//! may wait for a serving thread, so it must be called neither on one nor with a lock held that one needs.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fuser::{INodeNo, Notifier};

use crate::cache::lock;
use crate::mount_table;
use crate::sys;

/// The kernel's side of one mount.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// The mount's root. `None` once the mount has left this process's view.
    root: Mutex<Option<Root>>,
    /// `None` once nobody serves any more.
    notifier: Mutex<Option<Notifier>>,
}

/// How the mount's root is come by. A walk never begins with a path: whatever is mounted where meanwhile, it ends in our mount.
#[derive(Debug, Clone)]
enum Root {
    /// By a descriptor that does not keep the mount busy.
    Held(Arc<OwnedFd>),
    /// By a look at its place for each walk, as holding it would keep the mount busy: ordinary users have no other descriptor.
    Placed {
        /// The mount point, without links.
        at: PathBuf,
        /// `major:minor` of our file system, and the same as one number.
        device: (String, u64),
    },
}

impl Root {
    /// A descriptor of the root, if that is what stands topmost at its place.
    fn open(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Self::Held(root) => Some(Arc::clone(root)),
            Self::Placed { at, device } => {
                // By the table first: another mount there might not answer.
                let standing = mount_table::at(at).ok()??;
                if standing.device != device.0 {
                    return None;
                }
                let root = sys::open_directory(at).ok()?;
                let is_ours = root.metadata().is_ok_and(|found| found.dev() == device.1);
                is_ours.then(|| Arc::new(root.into()))
            }
        }
    }
}

impl Kernel {
    pub(crate) fn serve(&self, notifier: Notifier) {
        *lock(&self.notifier) = Some(notifier);
    }

    pub(crate) fn hold_root(&self, root: OwnedFd) {
        *lock(&self.root) = Some(Root::Held(Arc::new(root)));
    }

    /// As [`Kernel::hold_root`] where the root cannot be held: it is looked for `at` its place, by its `device`.
    pub(crate) fn look_for_root(&self, at: &Path, device: (String, u64)) {
        *lock(&self.root) = Some(Root::Placed {
            at: at.to_owned(),
            device,
        });
    }

    /// Whether the mount has left this process's view.
    pub(crate) fn has_left(&self) -> bool {
        lock(&self.root).is_none()
    }

    /// Lets go of the root, so that the kernel can end the mount when its last user leaves.
    pub(crate) fn release_root(&self) {
        let root = lock(&self.root).take();
        drop(root);
    }

    /// Lets go of everything: nobody serves any more.
    pub(crate) fn end(&self) {
        self.release_root();
        let notifier = lock(&self.notifier).take();
        drop(notifier);
    }

    /// The mount's root, where a walk can begin now.
    pub(crate) fn root(&self) -> Option<Arc<OwnedFd>> {
        let root = lock(&self.root).clone();
        root?.open()
    }

    pub(crate) fn is_served(&self) -> bool {
        lock(&self.notifier).is_some()
    }

    /// Waits until no look-up and no listing is in flight in the directory at `path` (numbered `directory`).
    ///
    /// The kernel processes an answer under a shared lock of the directory. Making a directory takes that lock for
    /// itself alone, even where it is then refused because nothing can be made in a read-only mount. `name` must
    /// be one that never exists. Where the walk fails, a notification about that name takes the same lock.
    pub(crate) fn barrier(&self, path: &[u8], directory: u64, name: &[u8]) -> io::Result<()> {
        if let Some(root) = self.root() {
            let refused = sys::make_directory(root.as_fd(), &join(path, name));
            if refused.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem) {
                return Ok(());
            }
        }
        self.forget_name(directory, name)
    }

    /// Makes the kernel forget where `name` in `directory` leads, and what it knows below.
    pub(crate) fn forget_name(&self, directory: u64, name: &[u8]) -> io::Result<()> {
        self.notifier()?
            .inval_entry(INodeNo(directory), OsStr::from_bytes(name))
    }

    /// Makes the kernel forget the listing and the attributes of `directory`.
    pub(crate) fn forget_listing(&self, directory: u64) -> io::Result<()> {
        // From offset 0 to the end, which a length of 0 means.
        self.notifier()?.inval_inode(INodeNo(directory), 0, 0)
    }

    /// Makes the kernel forget the bytes and the attributes of the file `number`, also where it is mapped into memory. Waits
    /// for reads of it that are in flight.
    pub(crate) fn forget_content(&self, number: u64) -> io::Result<()> {
        // From offset 0 to the end, which a length of 0 means.
        self.notifier()?.inval_inode(INodeNo(number), 0, 0)
    }

    fn notifier(&self) -> io::Result<Notifier> {
        lock(&self.notifier)
            .clone()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }
}

/// The path of `name` in the directory at `path`, which is empty for the root.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        name.to_vec()
    } else {
        [path, name].join(&b'/')
    }
}

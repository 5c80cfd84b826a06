//! Whom files in the state directory belong to.
//!
//! Owns [`Owner`]. Decides nothing about who may run which command: modes and groups do.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use super::{StateError, sys};

/// The user and group of the state directory's files. Only root can give files away; for anybody else the group comes
/// from the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    ids: Option<(u32, u32)>,
}

impl Owner {
    /// New files belong to whoever makes them.
    #[must_use]
    pub const fn unchanged() -> Self {
        Self { ids: None }
    }

    /// User and group to give new files to; `None` when they belong to whoever makes them.
    #[must_use]
    pub fn ids(self) -> Option<(u32, u32)> {
        self.ids
    }

    /// The owner of the existing directory `root`, when this process is root and so can give files to it.
    pub(super) fn of(root: &Path) -> Result<Self, StateError> {
        let found = fs::metadata(root).map_err(|source| super::refused_or("read", root, source))?;
        Ok(Self {
            ids: sys::is_root().then_some((found.uid(), found.gid())),
        })
    }

    /// The user and group called `mirrorctl`, when this process is root and both exist.
    pub(super) fn for_new_state() -> Self {
        let ids = sys::is_root().then(|| sys::user_and_group(c"mirrorctl")).flatten();
        Self { ids }
    }

    /// Gives what is open as `file`, and was at `path`, to this owner and sets its mode, whatever the umask was. By
    /// path, somebody could have put another file in its place meanwhile.
    pub(super) fn give(self, file: &File, path: &Path, mode: u32) -> Result<(), StateError> {
        let io = |source| StateError::Io {
            action: "set owner and mode of",
            path: path.to_owned(),
            source,
        };
        if let Some((user, group)) = self.ids {
            fchown(file, Some(user), Some(group)).map_err(io)?;
        }
        // After fchown, which clears the set-group-id bit.
        file.set_permissions(Permissions::from_mode(mode)).map_err(io)
    }
}

//! The grace overlay: names that a pointer's target lacks and that an earlier publication lends.
//!
//! Owns which files are lent, and in which order the publications are asked. It lists nothing and reads nothing: whoever
//! asks brings the look-up in one listing along.

use super::doors::DoorTarget;
use crate::catalog::{Seq, TreeNode};
use crate::model::{Clock, Role};

/// What stands under a name behind a door, and who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The target has it, for as long as the door exists.
    Own(TreeNode),
    /// An earlier publication lends it, for as long as it does.
    Lent(TreeNode),
}

/// What `child` finds in the listing behind a door, else in those of the publications that lend at the time, newest first.
///
/// # Errors
/// When a listing that has to be asked does not answer: an older one might have another file under the name.
pub(super) fn look_up<E>(
    target: &DoorTarget,
    clock: &Clock,
    mut child: impl FnMut(Seq) -> Result<Option<TreeNode>, E>,
) -> Result<Option<Standing>, E> {
    if let Some(own) = child(target.seq)? {
        return Ok(Some(Standing::Own(own)));
    }
    if target.lenders.is_empty() {
        return Ok(None);
    }
    let now = clock.now();
    for lender in target.lenders.iter().filter(|lender| lender.is_reachable(now)) {
        if let Some(lent) = child(lender.seq)?.filter(is_lent) {
            return Ok(Some(Standing::Lent(lent)));
        }
    }
    Ok(None)
}

/// Whether names of this kind are lent: those that say by themselves which bytes they stand for (by hash, or by an index
/// that the client has), and directories, as the way to them. Release files and indices at their plain names are the
/// target's alone.
fn is_lent(node: &TreeNode) -> bool {
    match node {
        TreeNode::Directory(_) => true,
        TreeNode::File(file) => match file.role {
            Some(Role::Pool) | None => true,
            Some(Role::Release | Role::Index) => false,
        },
    }
}

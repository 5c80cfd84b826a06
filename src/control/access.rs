//! Who may ask a mount for what.
//!
//! Owns the decision, as a pure function over the numbers the kernel vouches for. It reads no socket and no file;
//! the socket's mode is a second, independent fence around it.

use super::Request;

/// The user who drops all questions.
const ROOT: u32 = 0;

/// The process at the other end of a socket, as the kernel recorded it when it connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// Effective user.
    pub(super) user: u32,
    /// Effective group.
    pub(super) group: u32,
    /// Supplementary groups.
    pub(super) groups: Vec<u32>,
}

/// The owner and the group of a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// Owning user.
    pub(super) user: u32,
    /// Owning group: `mirrorctl` in an installed system.
    pub(super) group: u32,
}

/// Whether `peer` may make `request` of a mount whose state directory belongs to `owner`.
///
/// To look is free for anyone who reached the socket; whatever acts or learns what clients read is for root, the
/// owner, and members of the group.
pub(super) fn may(peer: &Peer, owner: Owner, request: Request) -> bool {
    match request {
        Request::Status => true,
        Request::Reconcile | Request::Damage | Request::HeldBlobs | Request::Stop | Request::Upgrade => {
            peer.user == ROOT
                || peer.user == owner.user
                || peer.group == owner.group
                || peer.groups.contains(&owner.group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_owner_and_the_group_may_act_and_all_may_look() {
        let owner = Owner { user: 500, group: 600 };
        let peer = |user, group, groups: &[u32]| Peer {
            user,
            group,
            groups: groups.to_vec(),
        };
        for (peer, allowed) in [
            (peer(0, 0, &[]), true),
            (peer(0, 7, &[8]), true),
            (peer(500, 7, &[]), true),
            (peer(1000, 600, &[]), true),
            (peer(1000, 1000, &[4, 600, 27]), true),
            (peer(1000, 1000, &[]), false),
            (peer(1000, 1000, &[4, 27]), false),
            // The numbers of users and of groups are not mixed up.
            (peer(600, 500, &[500]), false),
            // Root's group is a group like any other.
            (peer(1000, 0, &[0]), false),
        ] {
            for request in [Request::Reconcile, Request::HeldBlobs, Request::Stop, Request::Upgrade] {
                assert_eq!(may(&peer, owner, request), allowed, "{peer:?} {request:?}");
            }
            assert!(may(&peer, owner, Request::Status), "{peer:?}");
        }
    }
}

//! What is kept and what may go: which snapshots are forgotten, and which blobs are then deleted.
//!
//! Decides in [`policy`], which is pure, so that `--dry-run` prints the very plan that is applied; acts in `sweep`.

mod backups;
mod forget;
pub mod freeing;
mod guard;
mod inventories;
pub mod leftovers;
mod planning;
pub mod policy;
mod sweep;

pub use backups::{BackupPolicy, back_up};
pub use forget::{Forgetting, forget, plan_forget};
pub use freeing::freed;
pub use guard::Wipe;
pub use inventories::inventories;
pub use leftovers::unfinished;
pub use planning::plan_collect;
pub use sweep::{Collected, GcPolicy, Pruned, RetentionError, collect, plan_prune, prune};

//! The commands, one file each: take the arguments, make one use-case call, render its report.
//!
//! Owns nothing but these files. A command decides nothing about mirrors and prints only through `output`.

pub(super) mod check_config;
pub(super) mod check_tls;
pub(super) mod completion;
pub(super) mod demo;
mod diff_report;
mod each;
mod filter_report;
pub(super) mod forget;
pub(super) mod gc;
pub(super) mod help;
pub(super) mod import;
mod left_overs;
pub(super) mod migrate;
mod migrate_report;
pub(super) mod mount;
mod moves;
mod naming;
mod place;
pub(super) mod repair;
mod replaced;
pub(super) mod snapshot_create;
pub(super) mod snapshot_delete;
pub(super) mod snapshot_diff;
pub(super) mod snapshot_history;
pub(super) mod snapshot_list;
pub(super) mod snapshot_note;
pub(super) mod snapshot_promote;
pub(super) mod snapshot_protect;
pub(super) mod snapshot_prune;
pub(super) mod snapshot_publish;
pub(super) mod snapshot_rename;
pub(super) mod snapshot_rollback;
pub(super) mod snapshot_stage;
pub(super) mod snapshot_tag;
pub(super) mod snapshot_test;
pub(super) mod snapshot_unpublish;
pub(super) mod status;
pub(super) mod sync;
pub(super) mod sync_dry_run;
mod sync_promote;
mod test_report;
mod testing;
pub(super) mod unmount;
pub(super) mod version;

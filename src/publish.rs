//! Moving pointers, and making changes visible.
//!
//! Owns the acts *stage*, *publish*, *promote* and *migrate*, each one transaction however many mirrors it moves, and the telling
//! of running mounts. It touches no network and no blob: the commit is the switch. When a commit's outcome is unknown
//! it looks again and reports what is.

use std::path::Path;

use crate::catalog::{Act, Catalog, CatalogError, Moved, PointerTarget, RequestedMove};
use crate::control::{self, ControlError, LiveMount, Request};
use crate::model::{MirrorId, MoveTerms, Pointer, SnapshotName, Timestamp};

/// Who moves pointers, and when.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// The user's name, for the history.
    pub actor: &'a str,
    /// Why, in their words.
    pub message: Option<&'a str>,
    /// The time of day.
    pub now: Timestamp,
    /// Whether rules that stand against it are overridden.
    pub force: bool,
}

/// Points `staging` of `mirror` at the snapshot `name`.
///
/// # Errors
/// When there is no such snapshot, it is held, or the catalog cannot be written.
pub fn stage(
    catalog: &mut Catalog,
    mirror: &MirrorId,
    name: &SnapshotName,
    terms: MoveTerms,
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    let target = PointerTarget::Snapshot(name.clone());
    let wish = wish(mirror, Pointer::Staging, target, terms);
    move_pointers(catalog, &[wish], "stage", by)
}

/// Points `current` of `mirror` at the snapshot `name`, past `staging`.
///
/// # Errors
/// When there is no such snapshot, it is held, or the catalog cannot be written.
pub fn publish(
    catalog: &mut Catalog,
    mirror: &MirrorId,
    name: &SnapshotName,
    terms: MoveTerms,
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    let target = PointerTarget::Snapshot(name.clone());
    let wish = wish(mirror, Pointer::Current, target, terms);
    move_pointers(catalog, &[wish], "publish", by)
}

/// Points `current` of every one of `mirrors` where its `staging` leads: all of them in one transaction, or none.
///
/// # Errors
/// When one has nothing staged, or what is staged is held, or the catalog cannot be written.
pub fn promote(
    catalog: &mut Catalog,
    mirrors: &[(MirrorId, MoveTerms)],
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    let staged = || PointerTarget::SameAs(Pointer::Staging);
    let wishes = mirrors
        .iter()
        .map(|(mirror, terms)| wish(mirror, Pointer::Current, staged(), *terms));
    let wishes: Vec<_> = wishes.collect();
    move_pointers(catalog, &wishes, "promote", by)
}

/// Points those pointers that lead nowhere yet at the snapshots that an earlier installation had there, all of them in
/// one transaction. A pointer that leads somewhere was moved by somebody since, and stays.
///
/// # Errors
/// When a mirror or snapshot does not exist, or the catalog cannot be read or written.
pub fn adopt(
    catalog: &mut Catalog,
    targets: &[(MirrorId, Pointer, SnapshotName)],
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    let mut wishes = Vec::new();
    for (mirror, pointer, name) in targets {
        let row = catalog.reader().mirror(mirror)?;
        if catalog.reader().pointer(row, pointer)?.is_none() {
            let target = PointerTarget::Snapshot(name.clone());
            wishes.push(wish(mirror, pointer.clone(), target, MoveTerms::default()));
        }
    }
    move_pointers(catalog, &wishes, "migrate", by)
}

fn wish(mirror: &MirrorId, pointer: Pointer, target: PointerTarget, terms: MoveTerms) -> RequestedMove {
    RequestedMove {
        mirror: mirror.clone(),
        pointer,
        target,
        expect: None,
        terms,
    }
}

fn move_pointers(
    catalog: &mut Catalog,
    wishes: &[RequestedMove],
    command: &str,
    by: By<'_>,
) -> Result<Vec<Moved>, CatalogError> {
    let act = Act {
        command,
        actor: by.actor,
        message: by.message,
        now: by.now,
        force: by.force,
        retracts: false,
    };
    match catalog.move_pointers(wishes, act) {
        // Wishing again is safe: what was recorded is found in place, what was not is recorded now.
        Err(CatalogError::CommitUnknown(_)) => catalog.move_pointers(wishes, act),
        outcome => outcome,
    }
}

/// A mount that has not confirmed that it shows the newest state.
#[derive(Debug)]
pub struct Unseen {
    /// The mount.
    pub mount: LiveMount,
    /// Why not.
    pub error: ControlError,
}

/// Tells every mount of the state directory `state` that the catalog changed, and returns when each of them answers
/// nothing old any more. The mounts that did not confirm it in time are the answer.
///
/// # Errors
/// When it cannot be known which mounts there are.
pub fn make_visible(run: &Path, state: &Path) -> Result<Vec<Unseen>, ControlError> {
    let told = control::tell_all(run, state, Request::Reconcile, control::DEADLINE)?;
    Ok(told
        .into_iter()
        .filter_map(|(mount, outcome)| outcome.err().map(|error| Unseen { mount, error }))
        .collect())
}

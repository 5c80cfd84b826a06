//! What each room's errors mean to the user: kind, and what to do next.
//!
//! Owns one conversion for each error type of the library, each an exhaustive match, so that a new error cannot be
//! forgotten. It prints nothing.

use std::io::ErrorKind;
use std::path::Path;

use mirrorctl_mount::MountError;

use super::failure::{Failure, Kind};
use super::text::size;
use crate::blobs::BlobError;
use crate::catalog::{BackUpError, CatalogError, Lacking, Unfit};
use crate::compare::CompareError;
use crate::control::ControlError;
use crate::daemon::DaemonError;
use crate::model::{MirrorId, Pointer};
use crate::rebuild::RebuildError;
use crate::retention::{RetentionError, Wipe};
use crate::signature::{KeyringError, SigningError};
use crate::state::{Room, StateError};
use crate::sync::{self, FileError, Load, SyncError};
use crate::upstream::{CredentialsError, TlsFailure, UpstreamError};
use crate::verify::VerifyError;

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match &error {
            StateError::SyncBusy { .. } | StateError::GcBusy { .. } => {
                Self::caused(Kind::Busy, &error).hint("wait for it, or stop that process")
            }
            StateError::Missing(_) => Self::caused(Kind::Failed, &error).hint("run mirrorctl sync"),
            StateError::NotPermitted(_) | StateError::Io { .. } => Self::caused(Kind::Failed, &error),
            StateError::Unfit { .. } => Self::caused(Kind::Refused, &error).hint(
                "put [snapshot] path on a local disk; [snapshot] any_file_system = true takes this one, at your own risk",
            ),
            StateError::WritableByAll(path) => Self::caused(Kind::Refused, &error)
                .hint(format!("see what others have put there, then run chmod o-w {}", path.display())),
            StateError::NotAFile(_) => Self::caused(Kind::Refused, &error)
                .hint("remove what is there if it is not yours; the catalog itself has to be a plain file in the state directory"),
        }
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        catalog(&error, Self::caused)
    }
}

/// The failure that a catalog error is, told by `told`: as the error itself, or as one that it caused.
fn catalog<'e>(
    error: &'e CatalogError,
    told: impl Fn(Kind, &'e (dyn std::error::Error + 'static)) -> Failure,
) -> Failure {
    match error {
        error if error.is_damage() => told(Kind::Failed, error).hint(REBUILD),
        CatalogError::UnknownMirror(mirror) => told(Kind::Failed, error).hint(format!("run mirrorctl sync {mirror}")),
        CatalogError::Empty => told(Kind::Failed, error).hint("run mirrorctl sync"),
        CatalogError::UnknownSnapshot { mirror, .. } => {
            told(Kind::Failed, error).hint(format!("mirrorctl snapshot list {mirror} shows what there is"))
        }
        CatalogError::SnapshotExists { .. } => {
            told(Kind::Refused, error).hint("choose another name, or replace it with --force")
        }
        CatalogError::Pointed { mirror, pointer, .. } => {
            told(Kind::Refused, error).hint(format!("point it elsewhere first: {}", lead(mirror, pointer)))
        }
        CatalogError::Held { .. } => told(Kind::Refused, error)
            .hint("look at what is missing; if it is meant to be so, --force moves there and ends the hold"),
        CatalogError::Damaged { .. } => told(Kind::Refused, error).hint(
            "mirrorctl verify --repair fetches them again; --force moves there all the same, and history shows it",
        ),
        CatalogError::InUse { .. } => {
            told(Kind::Refused, error).hint("see that no client reads it any more; --force forgets it all the same")
        }
        CatalogError::Lends { .. } => told(Kind::Refused, error).hint(
            "clients that updated before the pointer moved still need them; snapshot delete --force takes them away",
        ),
        CatalogError::Protected { .. } => told(Kind::Refused, error).hint("--force overrides protection"),
        CatalogError::NotSet { mirror, pointer } => {
            told(Kind::Refused, error).hint(format!("run {} first", lead(mirror, pointer)))
        }
        CatalogError::Unexpected { .. } => told(Kind::Refused, error)
            .hint("somebody else moved it: look again with mirrorctl snapshot history, then decide"),
        CatalogError::NoPrevious { mirror, .. } => told(Kind::Refused, error).hint(format!(
            "name the snapshot with --to; mirrorctl snapshot list {mirror} shows what there is"
        )),
        CatalogError::Untested(unfit) => {
            let failure = unfit
                .iter()
                .fold(told(Kind::Refused, error), |failure, unfit| failure.hint(remedy(unfit)));
            failure.hint("--force moves there all the same, and history shows it")
        }
        CatalogError::WentBack {
            mirror,
            pointer,
            at,
            further,
        } => {
            let of = if *pointer == Pointer::Current {
                String::new()
            } else {
                format!(" --of {pointer}")
            };
            let line = |to| format!("mirrorctl snapshot rollback {mirror}{of} --to {to} --retract");
            let stay = format!("to stay there and retract what came after: {}", line(at));
            let further = further.as_ref().map(|to| format!("; to go further back: {}", line(to)));
            told(Kind::Refused, error).hint(stay + &further.unwrap_or_default())
        }
        CatalogError::Overtaken(_) | CatalogError::TooSoon { .. } => {
            told(Kind::Busy, error).hint("run the command again")
        }
        CatalogError::Newer { .. } => told(Kind::Failed, error).hint("use the newer mirrorctl that wrote it"),
        CatalogError::NotRecorded(_) => told(Kind::Failed, error).hint("everything is as it was before this change"),
        CatalogError::CommitUnknown(_) | CatalogError::NotSeen(_) | CatalogError::Undurable(_) => {
            told(Kind::Failed, error).hint("mirrorctl status and snapshot list show what is recorded")
        }
        CatalogError::NoBlob(_) => told(Kind::Failed, error).hint("run the sync again: it fetches what is missing"),
        CatalogError::Open { .. } | CatalogError::Sql(_) if error.is_busy() => {
            told(Kind::Busy, error).hint("another process is writing to the catalog: run the command again")
        }
        CatalogError::Replaced => told(Kind::Busy, error).hint("run the command again"),
        CatalogError::BackUp {
            source: BackUpError::Damaged(_),
            ..
        } => told(Kind::Failed, error).hint(REBUILD),
        CatalogError::BackUp { .. } | CatalogError::Beside { .. } => {
            told(Kind::Failed, error).hint("see that the state directory has space and is yours")
        }
        CatalogError::NoLog(_) => told(Kind::Failed, error).hint("put [snapshot] path on a local disk"),
        CatalogError::Open { .. }
        | CatalogError::OldSqlite(_)
        | CatalogError::Foreign
        | CatalogError::Lost { .. }
        | CatalogError::Stale { .. }
        | CatalogError::Unsound(_)
        | CatalogError::Older { .. }
        | CatalogError::Sql(_)
        | CatalogError::NoFreeName { .. }
        | CatalogError::Manifest { .. } => told(Kind::Failed, error),
    }
}

/// What to do about a catalog that is damaged.
const REBUILD: &str =
    "mirrorctl repair --rebuild makes it anew, without upstream; a mount that runs goes on with what is published";

/// What makes a snapshot fit for production.
fn remedy(unfit: &Unfit) -> String {
    let Unfit { mirror, name, why } = unfit;
    let test = format!("run mirrorctl snapshot test {mirror} {name}");
    match why {
        Lacking::Untested => test,
        Lacking::Failed => {
            format!("mirrorctl snapshot test {mirror} {name} --show says why; once that is mended, {test}")
        }
        Lacking::Company { companion, .. } => {
            format!("{test}, or move both in one step, as with mirrorctl snapshot promote {mirror} {companion}")
        }
        Lacking::Expired { .. } | Lacking::Expiring { .. } => {
            format!("run mirrorctl sync {mirror}: upstream may have Release files that are valid for longer")
        }
    }
}

/// The command that makes a pointer lead somewhere.
fn lead(mirror: &MirrorId, pointer: &Pointer) -> String {
    match pointer {
        Pointer::Staging => format!("mirrorctl snapshot stage {mirror} <name>"),
        Pointer::Current => format!("mirrorctl snapshot publish {mirror} <name>"),
        Pointer::Environment(name) => format!("mirrorctl snapshot publish {mirror} <name> --to {name}"),
    }
}

impl From<RebuildError> for Failure {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Catalog(error) if error.is_damage() => {
                Self::caused(Kind::Failed, &error).hint("mirrorctl repair --restore takes a copy of the catalog")
            }
            RebuildError::Catalog(error) => error.into(),
            RebuildError::State(error) => error.into(),
            RebuildError::Blobs(_) | RebuildError::Ledger(_) => Self::caused(Kind::Failed, &error),
            RebuildError::NoLedger(_) => Self::caused(Kind::Failed, &error).hint(
                "mirrorctl repair --restore takes a copy of the catalog, such as the newest in backups/ of the state directory",
            ),
            RebuildError::Nothing(_) => Self::caused(Kind::Failed, &error).hint("run mirrorctl sync"),
        }
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        Self::caused(Kind::Failed, &error)
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        upstream(&error, |kind| Self::caused(kind, &error))
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        Self::caused(Kind::Failed, &error)
            .hint("correct auth_conf in [http], or run the command as whoever may read it")
    }
}

/// The failure that an upstream's error is, told by `told`.
fn upstream(error: &UpstreamError, told: impl Fn(Kind) -> Failure) -> Failure {
    if error.is_temporary() {
        return told(Kind::Unavailable)
            .hint("this may pass: run the sync again later; what was fetched is kept and continued");
    }
    match error {
        UpstreamError::Tls { source, .. } => match source {
            TlsFailure::Certificate(_) => told(Kind::Unverifiable)
                .hint("mirrorctl check tls <mirror> shows the certificates; nothing of this sync is visible"),
            TlsFailure::ClientCertificate => told(Kind::Failed).hint("set client_cert_file and client_key_file"),
            TlsFailure::Version | TlsFailure::CipherSuite | TlsFailure::Other(_) => {
                told(Kind::Failed).hint("mirrorctl check tls <mirror> shows what upstream offers")
            }
        },
        UpstreamError::Status { status: 401 | 403, elsewhere: true, .. } => told(Kind::Failed).hint(
            "upstream redirects there, and credentials go to the mirror's own host only: if that server wants them, make it the mirror's url; what was fetched is kept",
        ),
        UpstreamError::Status { status: 401 | 403, .. } => told(Kind::Failed).hint(
            "put user name and password for this host into /etc/apt/auth.conf.d/, or correct those there; what was fetched is kept",
        ),
        UpstreamError::Setup(_) | UpstreamError::Worker => told(Kind::Failed),
        UpstreamError::NoDirectory { .. }
        | UpstreamError::OutsideDirectory { .. }
        | UpstreamError::NotAFile { .. }
        | UpstreamError::Unreadable { .. }
        | UpstreamError::FileTooLong { .. } => told(Kind::Failed)
            .hint("correct the mirror's url, or what lies there on this machine (is its disk mounted?); what was fetched is kept"),
        UpstreamError::Transport { .. }
        | UpstreamError::Stalled { .. }
        | UpstreamError::TooSlow { .. }
        | UpstreamError::Deadline { .. }
        | UpstreamError::Short { .. }
        | UpstreamError::WrongRange { .. }
        | UpstreamError::Status { .. }
        | UpstreamError::Redirect { .. }
        | UpstreamError::Encoded { .. }
        | UpstreamError::TooLong { .. } => told(Kind::Failed)
            .hint("correct the mirror's url, or ask who runs that server; what was fetched is kept"),
    }
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        Self::caused(Kind::Failed, &error).hint("set pgp_key_path to a file with the archive's public keys")
    }
}

impl From<SigningError> for Failure {
    fn from(error: SigningError) -> Self {
        let failure = Self::caused(Kind::Failed, &error);
        match &error {
            SigningError::Open { path, .. } => failure.hint(format!("chmod 600 {}", path.display())),
            SigningError::Read { .. } | SigningError::Unfit { .. } => failure
                .hint("set filters.signing_key_path to a file with one secret key (gpg --armor --export-secret-keys)"),
            SigningError::Failed { .. } => failure,
        }
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        let caused = |kind| Self::caused(kind, &error);
        match &error {
            SyncError::Unsigned(_) | SyncError::Signature { .. } => caused(Kind::Unverifiable)
                .hint("check pgp_key_path; nothing of this sync is visible, and what was published stays"),
            SyncError::Disagreement(_)
            | SyncError::IndexMismatch { .. }
            | SyncError::VariantsDiffer(..)
            | SyncError::Decompress { .. } => {
                caused(Kind::Unverifiable).hint("upstream may be publishing just now: try again later")
            }
            SyncError::Expired { .. } => caused(Kind::Unverifiable)
                .hint("upstream, or something between, serves an outdated archive; check the clock of this machine"),
            SyncError::FromTheFuture { .. } => {
                caused(Kind::Unverifiable).hint("check the clock of this machine; what was published stays")
            }
            SyncError::NoDate(_) => caused(Kind::Unverifiable).hint("ask whoever keeps upstream to publish a Date"),
            SyncError::Rollback { .. } => caused(Kind::Unverifiable).hint(
                "upstream, or something between, serves an outdated archive; --accept-rollback takes it this once",
            ),
            SyncError::Renamed { .. } | SyncError::OtherSuite { .. } => caused(Kind::Unverifiable)
                .hint("clients pin packages by these names; --accept-release-info takes them this once"),
            SyncError::Unsteady(..) => {
                caused(Kind::Failed).hint("upstream is publishing: try again later; what was fetched is kept")
            }
            SyncError::Files { source, .. } => match &**source {
                FileError::Content(_) => caused(Kind::Unverifiable)
                    .hint("upstream may be publishing just now: try again later; what was fetched is kept"),
                FileError::Missing => caused(Kind::Failed).hint("run the sync again: what was fetched is kept"),
                FileError::Upstream(source) => upstream(source, caused),
            },
            SyncError::Wanted { .. } => caused(Kind::Failed).hint("correct sections, architectures or mirror_source of the mirror"),
            SyncError::NoVariant(_) => caused(Kind::Failed).hint(
                "upstream may be publishing just now: try again later; what clients do not ask for can be switched off in the \
                 mirror's table content",
            ),
            SyncError::NoRoom { load, room } => Self::new(Kind::Refused, no_room(load, room)).hint(
                "free space or inodes, put [snapshot] path on a larger file system, or mirror less of the archive",
            ),
            SyncError::TooLarge { bytes, max } => {
                let (bytes, max) = (size(*bytes), size(*max));
                Self::new(
                    Kind::Refused,
                    format!("the mirror would have {bytes}, and its max_size allows {max}"),
                )
                .hint("raise max_size, or mirror less of the archive; nothing was downloaded but its indices")
            }
            SyncError::Incomplete(incomplete) => {
                let kind = if incomplete.damaged() > 0 {
                    Kind::Unverifiable
                } else {
                    Kind::Partial
                };
                caused(kind).hint("run mirrorctl sync: it fetches these files only, what was found is kept")
            }
            SyncError::NoRelease(_) => caused(Kind::Failed).hint("correct url or suites of the mirror"),
            SyncError::NothingKept { .. } => {
                caused(Kind::Refused).hint("correct the mirror's filters; what was published stays")
            }
            SyncError::Signing { .. } => {
                caused(Kind::Failed).hint("check filters.signing_key_path; what was published stays")
            }
            SyncError::Interrupted => caused(Kind::Interrupted),
            SyncError::Catalog(source) => catalog(source, |kind, _| Self::caused(kind, &error)),
            // What of this machine is behind it, and what to do about that, is said in any case.
            SyncError::Blobs(BlobError::Io { .. }) => caused(Kind::Failed),
            SyncError::Upstream(source) => upstream(source, caused),
            SyncError::Parse { .. } | SyncError::Listing(_) | SyncError::Path { .. } => caused(Kind::Unverifiable)
                .hint("upstream's metadata cannot be believed: ask whoever keeps it; what was published stays"),
            SyncError::Rebuild { .. } => caused(Kind::Failed)
                .hint("leave filters.reindex off, or ask whoever keeps upstream; what was published stays"),
            SyncError::Blobs(_) | SyncError::State(_) | SyncError::Worker => {
                caused(Kind::Failed).hint("run the sync again: what was fetched is kept")
            }
        }
    }
}

/// The sentence about files that do not fit.
fn no_room(load: &Load, room: &Room) -> String {
    let inodes = room
        .inodes
        .map(|free| format!(" and {free} inodes"))
        .unwrap_or_default();
    format!(
        "{} files with {} are to be fetched, and there are {}{inodes} free, of which {} stay free",
        load.files,
        size(load.occupied),
        size(room.free),
        size(sync::reserve(room)),
    )
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Catalog(error) => error.into(),
            CompareError::NoIndex { .. }
            | CompareError::Missing { .. }
            | CompareError::Blob { .. }
            | CompareError::Read { .. }
            | CompareError::Damaged { .. }
            | CompareError::Parse { .. } => Self::caused(Kind::Failed, &error).hint(
                "the difference is not known; compare with another snapshot, or publish none that has this index",
            ),
        }
    }
}

impl From<RetentionError> for Failure {
    fn from(error: RetentionError) -> Self {
        let failure = Self::caused(Kind::Failed, &error);
        match &error {
            RetentionError::Forget(source) => catalog(source, Self::caused),
            RetentionError::SilentMount { .. } => {
                failure.hint("see whether that mount hangs; stop it, or run gc again later")
            }
            RetentionError::Wipe(wipe) => Self::new(Kind::Refused, would_wipe(wipe)).hint(
                "see whether the catalog and the configuration are as they should be (mirrorctl status, snapshot list); if this is \
                 meant to be so, mirrorctl gc --force removes them",
            ),
            RetentionError::Catalog(source) if source.is_damage() => failure.hint(REBUILD),
            RetentionError::Catalog(source) if source.is_busy() => Self::caused(Kind::Busy, &error).hint(REST),
            RetentionError::Catalog(_) | RetentionError::Blobs(_) => failure.hint(REST),
            RetentionError::WrongAnswer(_) | RetentionError::State(_) | RetentionError::Mounts(_) => failure,
        }
    }
}

/// What holds after a collection that failed half-way.
const REST: &str = "what was removed until then is gone, and everything that is needed is there; the next gc goes on";

/// The sentence about a collection that goes too far.
fn would_wipe(wipe: &Wipe) -> String {
    let Wipe { going, all } = wipe;
    format!(
        "more than half of the cache would be removed: {} of {} files, {} of {}; nothing was removed",
        going.blobs,
        all.blobs,
        size(going.bytes),
        size(all.bytes)
    )
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match &error {
            VerifyError::Catalog(source) => catalog(source, |kind, _| Self::caused(kind, &error)),
            VerifyError::NoBlobs { .. } => Self::caused(Kind::Damaged, &error)
                .hint("see whether the file system of [snapshot] path is mounted; nothing was marked as damaged"),
            VerifyError::Look { .. } | VerifyError::Blobs(_) | VerifyError::Mounts(_) => {
                Self::caused(Kind::Failed, &error)
                    .hint("what was found until then is marked, and a deep check goes on where it stopped")
            }
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let failure = Self::caused(Kind::Failed, &error);
        if is_another_users(&error) {
            failure.hint(OWN_RUN_DIRECTORY)
        } else {
            failure
        }
    }
}

/// What an ordinary user does who may not write where mounts register.
pub(super) const OWN_RUN_DIRECTORY: &str = "without root, set MIRRORCTL_RUN_DIR to a directory of your own, such as \
    $XDG_RUNTIME_DIR/mirrorctl, for this and all later commands";

/// Whether it is rights that the run directory cannot be used for.
fn is_another_users(error: &ControlError) -> bool {
    matches!(error, ControlError::File { source, .. } if source.kind() == ErrorKind::PermissionDenied)
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Mount(error) => error.into(),
            DaemonError::State(error) => error.into(),
            DaemonError::Catalog(error) => error.into(),
            DaemonError::AlreadyServed { .. } => {
                Self::caused(Kind::Busy, &error).hint("mirrorctl unmount takes it away")
            }
            DaemonError::Control(ref refused) if is_another_users(refused) => {
                Self::caused(Kind::Failed, &error).hint(OWN_RUN_DIRECTORY)
            }
            DaemonError::Adopt(_)
            | DaemonError::Legacy(_)
            | DaemonError::Blobs(_)
            | DaemonError::Control(_)
            | DaemonError::System { .. } => Self::caused(Kind::Failed, &error),
        }
    }
}

fn own_mountpoint(mountpoint: &Path) -> String {
    let place = mountpoint.display();
    format!("the mount point must be yours and writable: sudo install -d -m 700 -o \"$USER\" {place}")
}

/// What helps against a refusal of `fusermount3`, by its own words.
fn helper_hint(mountpoint: &Path, said: &str) -> String {
    let knows = |word: &str| said.contains(word);
    if knows("/dev/fuse") || knows("device not found") {
        "load the module (modprobe fuse); users must be able to open the device, as the package fuse3 arranges it: chmod 666 \
         /dev/fuse; in a container, give it /dev/fuse"
            .to_owned()
    } else if knows("Operation not permitted") {
        "fusermount3 must belong to root and be setuid (mode 4755), which a container, or a service with no_new_privs, forbids: \
         mount as root, or set NoNewPrivileges=no"
            .to_owned()
    } else if knows("no write access") || knows("chdir") || knows("not owned by user") || knows("bad mount point") {
        own_mountpoint(mountpoint)
    } else if knows("too many") {
        "root allows more mounts by mount_max in /etc/fuse.conf".to_owned()
    } else {
        "mount as root, or see fusermount3(1)".to_owned()
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        let caused = |kind| Self::caused(kind, &error);
        match &error {
            MountError::Missing { mountpoint } => {
                caused(Kind::Failed).hint(format!("make it: mkdir -p {}", mountpoint.display()))
            }
            MountError::Inspect { mountpoint, source } if source.kind() == ErrorKind::PermissionDenied => {
                caused(Kind::Failed).hint(own_mountpoint(mountpoint))
            }
            MountError::NotEmpty { .. } => caused(Kind::Failed).hint("empty it, or configure another dir"),
            MountError::AlreadyServed { .. } | MountError::Dead { .. } => {
                caused(Kind::Busy).hint("mirrorctl unmount takes it away")
            }
            MountError::Foreign { .. } => caused(Kind::Refused).hint("unmount that, or configure another dir"),
            MountError::Device { .. } => caused(Kind::Failed).hint(
                "run it as root; load the module (modprobe fuse); in a container, give it /dev/fuse and CAP_SYS_ADMIN",
            ),
            MountError::Helper { .. } => caused(Kind::Failed).hint("install the package fuse3, or mount as root"),
            MountError::HelperRefused { mountpoint, said } => {
                caused(Kind::Failed).hint(helper_hint(mountpoint, said))
            }
            MountError::LabelsNeedRoot { .. } => {
                caused(Kind::Refused).hint("mount as root, or leave it out and let the policy say what may be read")
            }
            MountError::DataPath { .. } => caused(Kind::Failed)
                .hint("set [mount] data to \"auto\", or leave it out: that takes what this kernel and this process's rights allow"),
            // The enumeration may grow with the mount crate.
            _ => caused(Kind::Failed),
        }
    }
}

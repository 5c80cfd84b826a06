//! Why a sync did not end in a snapshot.
//!
//! Owns the error's words. Which exit code each is belongs to `cli`.

use super::adopt::Incomplete;
use super::fit::Load;
use super::plausible::{ChangedField, listed};
use crate::apt::{ParseError, WantedError};
use crate::blobs::BlobError;
use crate::catalog::CatalogError;
use crate::model::{ListingError, RepoPath, RepoPathError, Suite, Timestamp};
use crate::signature::{SignatureError, SigningError};
use crate::state::{Room, StateError};
use crate::upstream::UpstreamError;

/// Why a sync did not end in a snapshot. Whatever it is, nothing that was published has changed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Upstream did not answer as it should.
    #[error("upstream failed")]
    Upstream(#[from] UpstreamError),
    /// A suite has no Release file of any form.
    #[error("upstream has no Release file for suite {0}: neither InRelease nor Release exists")]
    NoRelease(Suite),
    /// A suite's Release file has no signature.
    #[error("suite {0} is not signed: it has a Release file but neither InRelease nor Release.gpg")]
    Unsigned(Suite),
    /// A suite's signature is no good.
    #[error("the signature of suite {suite} cannot be accepted ({file})")]
    Signature {
        /// The suite.
        suite: Suite,
        /// The file that carries the signature.
        file: &'static str,
        /// Why not.
        source: SignatureError,
    },
    /// `InRelease` and `Release` of one suite say different things, however often they are asked for.
    #[error("InRelease and Release of suite {0} do not say the same")]
    Disagreement(Suite),
    /// A suite's Release file is too old to be believed.
    #[error("the Release file of suite {suite} expired: it was valid until {until}")]
    Expired {
        /// The suite.
        suite: Suite,
        /// Its `Valid-Until`.
        until: Timestamp,
    },
    /// A suite's Release file does not say when it was made.
    #[error("the Release file of suite {0} has no Date, which APT insists on")]
    NoDate(Suite),
    /// A suite's Release file was made in the future.
    #[error("the Release file of suite {suite} is of the future: its Date is {date}")]
    FromTheFuture {
        /// The suite.
        suite: Suite,
        /// Its `Date`.
        date: Timestamp,
    },
    /// A suite's Release file is older than the one that was synced last.
    #[error("the Release file of suite {suite} is of {date}, older than the last one, of {before}")]
    Rollback {
        /// The suite.
        suite: Suite,
        /// Its `Date`.
        date: Timestamp,
        /// The `Date` of the last one.
        before: Timestamp,
    },
    /// A suite's Release file has other names than the one that was synced last.
    #[error("the Release file of suite {suite} has changed {}", listed(changed))]
    Renamed {
        /// The suite.
        suite: Suite,
        /// What has changed.
        changed: Vec<ChangedField>,
    },
    /// The first Release file of a suite is that of another suite.
    #[error("the Release file of suite {suite} is one of another suite: it calls itself {}", names.join(" and "))]
    OtherSuite {
        /// The suite.
        suite: Suite,
        /// What it calls itself.
        names: Vec<String>,
    },
    /// Upstream published again and again while it was synced.
    #[error("upstream changed {0} times during the sync")]
    Unsteady(u32, #[source] Box<SyncError>),
    /// A file of upstream cannot be parsed.
    #[error("{path} cannot be read")]
    Parse {
        /// The file.
        path: RepoPath,
        /// Why not.
        source: ParseError,
    },
    /// The selection and the suite do not fit.
    #[error("suite {suite} does not have what is configured")]
    Wanted {
        /// The suite.
        suite: Suite,
        /// What is missing.
        source: WantedError,
    },
    /// No variant of an index can be had.
    #[error("upstream lists {0} but offers it in no form")]
    NoVariant(RepoPath),
    /// An index is not what its Release file says when it is decompressed.
    #[error("{path} decompresses to something other than the Release file lists for {plain}")]
    IndexMismatch {
        /// The variant.
        path: RepoPath,
        /// The uncompressed index.
        plain: RepoPath,
    },
    /// Two variants of one index are different indices.
    #[error("{0} and {1} decompress to different indices")]
    VariantsDiffer(RepoPath, RepoPath),
    /// An index cannot be decompressed.
    #[error("{path} cannot be decompressed")]
    Decompress {
        /// The variant.
        path: RepoPath,
        /// Why not.
        source: std::io::Error,
    },
    /// The filters leave nothing.
    #[error("the filters leave out all {listed} packages that upstream has")]
    NothingKept {
        /// Number of packages.
        listed: usize,
    },
    /// An index cannot be written anew.
    #[error("{path} cannot be rebuilt")]
    Rebuild {
        /// The uncompressed index.
        path: RepoPath,
        /// Why not.
        source: std::io::Error,
    },
    /// A rebuilt Release file cannot be signed.
    #[error("the rebuilt Release file of suite {suite} cannot be signed")]
    Signing {
        /// The suite.
        suite: Suite,
        /// Why not.
        source: SigningError,
    },
    /// Files cannot be had; the first of them says why.
    #[error("{} of {wanted} files could not be fetched; the first is {first}", failed)]
    Files {
        /// Number of files that failed.
        failed: usize,
        /// Number of files that were to be fetched.
        wanted: usize,
        /// The first that failed.
        first: RepoPath,
        /// Why.
        source: Box<FileError>,
    },
    /// A tree that was to be taken over has holes.
    #[error("{} of {} listed files are missing, and {} are damaged", .0.absent.len() - .0.damaged(), .0.listed, .0.damaged())]
    Incomplete(Box<Incomplete>),
    /// The file system of the cache is too small for what is to be fetched.
    #[error("{} more bytes in {} files do not fit: {} are free, of which {} stay so", load.occupied, load.files, room.free, super::reserve(room))]
    NoRoom {
        /// What was to be fetched.
        load: Load,
        /// The room there is.
        room: Room,
    },
    /// What upstream has is more than the configuration allows.
    #[error("the mirror would have {bytes} bytes, and max_size allows {max}")]
    TooLarge {
        /// Bytes that a snapshot would have.
        bytes: u64,
        /// Bytes that are allowed.
        max: u64,
    },
    /// The file system of the cache does not tell how much room there is.
    #[error("the state directory failed")]
    State(#[from] StateError),
    /// The listed files cannot stand in one tree.
    #[error("the listed files cannot stand in one tree")]
    Listing(#[from] ListingError),
    /// A path that upstream's names add up to is no valid path.
    #[error("suite {suite} has a path that cannot be mirrored: {path}")]
    Path {
        /// The suite.
        suite: Suite,
        /// The text.
        path: String,
        /// Why not.
        source: RepoPathError,
    },
    /// Bytes could not be stored or read.
    #[error("the blob store failed")]
    Blobs(#[from] BlobError),
    /// The catalog failed.
    #[error("the catalog failed")]
    Catalog(#[from] CatalogError),
    /// The operator stopped it.
    #[error("interrupted; every file that was complete is kept")]
    Interrupted,
    /// A part of the program stopped unexpectedly.
    #[error("a worker of the sync stopped unexpectedly")]
    Worker,
}

/// Why one file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Upstream lists the file and does not have it.
    #[error("upstream lists it but does not have it")]
    Missing,
    /// Upstream did not answer as it should.
    #[error("upstream failed")]
    Upstream(#[source] UpstreamError),
    /// What came is not what is listed.
    #[error("what upstream sent is not what it lists")]
    Content(#[source] BlobError),
}

impl SyncError {
    /// Whether an upstream that publishes at this moment can be the cause: files are gone, or are not what is listed.
    pub(super) fn may_come_from_publishing(&self) -> bool {
        match self {
            Self::NoVariant(_) | Self::IndexMismatch { .. } | Self::VariantsDiffer(..) | Self::Decompress { .. } => {
                true
            }
            Self::Files { source, .. } => match **source {
                FileError::Missing | FileError::Content(_) => true,
                FileError::Upstream(_) => false,
            },
            Self::Upstream(_)
            | Self::NoRelease(_)
            | Self::Unsigned(_)
            | Self::Signature { .. }
            | Self::Disagreement(_)
            | Self::Expired { .. }
            | Self::NoDate(_)
            | Self::FromTheFuture { .. }
            | Self::Rollback { .. }
            | Self::Renamed { .. }
            | Self::OtherSuite { .. }
            | Self::Unsteady(..)
            | Self::Parse { .. }
            | Self::Wanted { .. }
            | Self::Incomplete(_)
            | Self::NoRoom { .. }
            | Self::TooLarge { .. }
            | Self::State(_)
            | Self::NothingKept { .. }
            | Self::Rebuild { .. }
            | Self::Signing { .. }
            | Self::Listing(_)
            | Self::Path { .. }
            | Self::Blobs(_)
            | Self::Catalog(_)
            | Self::Interrupted
            | Self::Worker => false,
        }
    }
}

impl FileError {
    /// Whether the same file may well come later, without anybody's doing.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Upstream(error) => error.is_temporary(),
            Self::Missing | Self::Content(_) => false,
        }
    }
}

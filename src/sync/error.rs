//! Why a sync did not end in a snapshot.
//!
//! Owns the error's words. Which exit code each is belongs to `cli`.

use crate::apt::{ParseError, WantedError};
use crate::blobs::BlobError;
use crate::catalog::CatalogError;
use crate::model::{ListingError, RepoPath, RepoPathError, Suite, Timestamp};
use crate::signature::SignatureError;
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
    #[error("the Release file of suite {suite} expired: it was valid until {}", when(*until))]
    Expired {
        /// The suite.
        suite: Suite,
        /// Its `Valid-Until`.
        until: Timestamp,
    },
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

fn when(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.unix()).map_or_else(|_| format!("{} s", time.unix()), |time| time.to_string())
}

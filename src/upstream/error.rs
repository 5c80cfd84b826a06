//! Why an upstream did not give a file.
//!
//! Owns the error's words. URLs in it never carry a user name or password.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::tls::{TlsFailure, TlsFileError};

/// Why an upstream did not give a file.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The program's side of connections could not be set up.
    #[error("cannot set up connections")]
    Setup(#[source] SetupError),
    /// No connection, or it broke.
    #[error("cannot fetch {url}")]
    Transport {
        /// What was fetched.
        url: ShownUrl,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The connection could not be secured as the mirror's settings ask for. Asking again does not help.
    #[error("{url} cannot be fetched securely")]
    Tls {
        /// What was fetched.
        url: ShownUrl,
        /// Why not.
        source: TlsFailure,
    },
    /// Nothing came for too long.
    #[error("{url} sent nothing for {} s", after.as_secs())]
    Stalled {
        /// What was fetched.
        url: ShownUrl,
        /// How long was waited.
        after: Duration,
    },
    /// Too little came for too long.
    #[error("{url} sent less than {least} bytes in {} s", within.as_secs())]
    TooSlow {
        /// What was fetched.
        url: ShownUrl,
        /// Least bytes expected in that time.
        least: u64,
        /// That time.
        within: Duration,
    },
    /// Upstream refused.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was fetched.
        url: ShownUrl,
        /// The HTTP status.
        status: u16,
    },
    /// A redirection leads where it must not.
    #[error("{url} redirects {why}")]
    Redirect {
        /// What was fetched.
        url: ShownUrl,
        /// Why it is not followed.
        why: &'static str,
    },
    /// The answer is encoded although nobody asked for it.
    #[error("{url} came with the content encoding {encoding:?}, which was not asked for")]
    Encoded {
        /// What was fetched.
        url: ShownUrl,
        /// The encoding.
        encoding: String,
    },
    /// The file is longer than it may be.
    #[error("{url} is longer than {cap} bytes")]
    TooLong {
        /// What was fetched.
        url: ShownUrl,
        /// Most bytes taken.
        cap: u64,
    },
    /// The directory of an archive on this machine is not there.
    #[error("the archive's directory {path} cannot be found")]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A symbolic link leads out of the directory of an archive on this machine.
    #[error("{path} leads out of the archive's directory")]
    OutsideDirectory {
        /// The file that was wanted.
        path: PathBuf,
    },
    /// What lies on this machine under the name of a file is none.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// What lies there.
        path: PathBuf,
    },
    /// A file on this machine cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file on this machine is longer than it may be.
    #[error("{path} is longer than {cap} bytes")]
    FileTooLong {
        /// The file.
        path: PathBuf,
        /// Most bytes taken.
        cap: u64,
    },
    /// A part of the program stopped unexpectedly.
    #[error("a thread that opens files stopped unexpectedly")]
    Worker,
}

/// Why connections could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// TLS could not be configured.
    #[error("TLS cannot be configured")]
    Tls(#[from] rustls::Error),
    /// A file that TLS needs is not good.
    #[error("a file that TLS needs is not good")]
    TlsFile(#[from] TlsFileError),
    /// The HTTP client could not be configured.
    #[error("HTTP cannot be configured")]
    Http(#[from] reqwest::Error),
}

/// A URL as it may be shown: without user name, password and query, which can hold a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownUrl(String);

impl ShownUrl {
    pub(super) fn of(url: &Url) -> Self {
        let mut url = url.clone();
        // Both fail only for URLs that cannot have credentials.
        let (_, _) = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        Self(url.into())
    }
}

impl fmt::Display for ShownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl UpstreamError {
    pub(super) fn transport(url: &Url, source: reqwest::Error) -> Self {
        let url = ShownUrl::of(url);
        match TlsFailure::among_causes(&source) {
            Some(source) => Self::Tls { url, source },
            // The library's own text would repeat the URL, credentials included.
            None => Self::Transport {
                url,
                source: source.without_url(),
            },
        }
    }
}

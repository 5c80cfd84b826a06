//! Why an upstream did not give a file.
//!
//! Owns the error's words. URLs in it never carry a user name or password.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::Proxies;
use super::scope::Forbidden;
use super::tls::{TlsFailure, TlsFileError};
use crate::model::ProxyUrl;

/// Why an upstream did not give a file.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The program's side of connections could not be set up.
    #[error("cannot set up connections")]
    Setup(#[source] SetupError),
    /// No connection, or it broke.
    #[error("cannot fetch {url}{}", through(via.as_deref()))]
    Transport {
        /// What was fetched.
        url: ShownUrl,
        /// The proxy on the way there.
        via: Option<Box<ProxyUrl>>,
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
    #[error("{url} sent nothing for {} s{}", after.as_secs(), through(via.as_deref()))]
    Stalled {
        /// What was fetched.
        url: ShownUrl,
        /// The proxy on the way there, which may well be who is silent.
        via: Option<Box<ProxyUrl>>,
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
    /// The whole file took too long, although something came all the time.
    #[error("{url} was not complete after {} s", after.as_secs())]
    Deadline {
        /// What was fetched.
        url: ShownUrl,
        /// How long was waited for bytes of it.
        after: Duration,
    },
    /// The file ended before its end.
    #[error("{url} ended after {got} of {expected} bytes")]
    Short {
        /// What was fetched.
        url: ShownUrl,
        /// Its length in bytes.
        expected: u64,
        /// How many there are.
        got: u64,
    },
    /// Another part of the file came than was asked for.
    #[error("{url} sent another part of the file than was asked for")]
    WrongRange {
        /// What was fetched.
        url: ShownUrl,
    },
    /// Upstream refused.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was fetched.
        url: ShownUrl,
        /// The HTTP status.
        status: u16,
        /// Whether a redirection led there, to another server than the mirror's: it is told no credentials.
        elsewhere: bool,
    },
    /// A redirection leads where it must not.
    #[error("{url} {why}")]
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

impl UpstreamError {
    /// Whether the same request may well succeed later, without anybody's doing.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Transport { .. }
            | Self::Stalled { .. }
            | Self::TooSlow { .. }
            | Self::Short { .. }
            | Self::WrongRange { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Setup(_)
            | Self::Tls { .. }
            | Self::Deadline { .. }
            | Self::Redirect { .. }
            | Self::Encoded { .. }
            | Self::TooLong { .. }
            | Self::NoDirectory { .. }
            | Self::OutsideDirectory { .. }
            | Self::NotAFile { .. }
            | Self::Unreadable { .. }
            | Self::FileTooLong { .. }
            | Self::Worker => false,
        }
    }

    /// Whether upstream will not say if it has the file: object stores answer so for what they do not have when nobody may
    /// list them. Whoever wants the same content under another name may go on as if there was no such file.
    #[must_use]
    pub fn is_evasive(&self) -> bool {
        matches!(self, Self::Status { status: 403, .. })
    }
}

fn through(proxy: Option<&ProxyUrl>) -> String {
    proxy
        .map(|proxy| format!(" through the proxy {proxy}"))
        .unwrap_or_default()
}

/// Whether `error` is or wraps an `E`. What an I/O error carries inside is no source of it, only the source of that is.
fn goes_back_to<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<E>()
        || carried.is_some_and(|carried| goes_back_to::<E>(carried))
        || error.source().is_some_and(goes_back_to::<E>)
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
    pub(super) fn transport(url: &Url, proxies: &Proxies, source: reqwest::Error) -> Self {
        if goes_back_to::<Forbidden>(&source) {
            return Self::Redirect {
                url: ShownUrl::of(url),
                why: "is where a redirection led, but its name belongs to an address of this machine or site",
            };
        }
        let via = proxies.on_the_way_to(url).cloned().map(Box::new);
        let url = ShownUrl::of(url);
        match TlsFailure::among_causes(&source) {
            Some(source) => Self::Tls { url, source },
            // The library's own text would repeat the URL, credentials included.
            None => Self::Transport {
                url,
                via,
                source: source.without_url(),
            },
        }
    }
}

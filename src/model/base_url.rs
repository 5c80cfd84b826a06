//! Where an upstream archive is: the URL of its root.
//!
//! Owns [`BaseUrl`], which keeps credentials out of everything that is shown. It opens no connection.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::RepoPath;

/// The URL of an archive root, over http or https or in a directory of this machine (`file:`). Shown without user name and password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl(Url);

/// Text that is not the URL of an archive root. Never repeats the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// Not a URL.
    #[error("not a URL")]
    Syntax(#[source] url::ParseError),
    /// A scheme mirrorctl has no transport for.
    #[error("the scheme {0:?} is not one of http, https, file")]
    Scheme(String),
    /// A query or fragment cannot be continued by a path.
    #[error("an archive root has no \"?\" or \"#\" part")]
    QueryOrFragment,
    /// A `file:` URL that does not name a directory of this machine by its absolute path.
    #[error("a file: URL names a directory of this machine by its absolute path, as in file:///srv/mirror")]
    NotLocal,
}

impl BaseUrl {
    /// The URL of the archive root in the directory `path`, which must be absolute.
    ///
    /// # Errors
    /// [`BaseUrlError::NotLocal`].
    pub fn of_directory(path: &Path) -> Result<Self, BaseUrlError> {
        Url::from_directory_path(path)
            .map(Self)
            .map_err(|()| BaseUrlError::NotLocal)
    }

    /// The directory of a `file:` URL, with `%20` and the like decoded, as APT does; `None` for others.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        (self.0.scheme() == "file").then(|| self.0.to_file_path().expect("checked when it was parsed"))
    }

    /// The complete URL with credentials: for the room with the network, never for output.
    #[must_use]
    pub fn with_credentials(&self) -> &Url {
        &self.0
    }

    /// The complete URL, with credentials, of the file at `path` below this root; every byte of the path that has a
    /// meaning in URLs is percent-encoded.
    #[must_use]
    pub fn file(&self, path: &RepoPath) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut()
            .expect("such URLs have path segments")
            .clear()
            .extend(path.components());
        // Not appended segment by segment, which would lose a slash of a root such as "http://h//".
        let root = self.0.path();
        let complete = format!("{}{}", root.strip_suffix('/').unwrap_or(root), url.path());
        url.set_path(&complete);
        url
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let url = Url::parse(text).map_err(BaseUrlError::Syntax)?;
        if !matches!(url.scheme(), "http" | "https" | "file") {
            return Err(BaseUrlError::Scheme(url.scheme().to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::QueryOrFragment);
        }
        if url.scheme() == "file" && !is_local(text, &url) {
            return Err(BaseUrlError::NotLocal);
        }
        Ok(Self(url))
    }
}

/// Whether a `file:` URL names a path of this machine that is absolute as it is written.
fn is_local(text: &str, url: &Url) -> bool {
    let path = text.trim_start().get("file:".len()..).unwrap_or_default();
    let decoded = url.to_file_path().ok();
    path.starts_with('/') && decoded.is_some_and(|path| !path.as_os_str().as_encoded_bytes().contains(&0))
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // Both fail only for URLs that cannot have credentials.
        let (_, _) = (shown.set_username(""), shown.set_password(None));
        f.pad(shown.as_str())
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(base: &str, path: &str) -> String {
        let base: BaseUrl = base.parse().expect("valid URL");
        base.file(&path.parse().expect("valid path")).to_string()
    }

    #[test]
    fn paths_continue_the_root() {
        assert_eq!(file("http://h/debian", "dists/x"), "http://h/debian/dists/x");
        assert_eq!(file("http://h/debian/", "dists/x"), "http://h/debian/dists/x");
        assert_eq!(file("http://h", "a"), "http://h/a");
        assert_eq!(file("http://h//", "a"), "http://h//a");
        assert_eq!(file("http://h//x//", "a"), "http://h//x//a");
    }

    #[test]
    fn meaningful_bytes_are_encoded() {
        assert_eq!(file("http://h", "a/%2e%2e?#b"), "http://h/a/%252e%252e%3F%23b");
        assert_eq!(file("http://h", "g++_1:2~x.deb"), "http://h/g++_1:2~x.deb");
    }

    #[test]
    fn credentials_are_never_shown() {
        let url: BaseUrl = "https://bob:secret@h/x".parse().expect("valid URL");
        assert_eq!(url.to_string(), "https://h/x");
        assert_eq!(format!("{url:?}"), "BaseUrl(https://h/x)");
        assert_eq!(url.with_credentials().password(), Some("secret"));
    }

    #[test]
    fn directories_of_this_machine_have_urls_too() {
        let directory = |text: &str| text.parse::<BaseUrl>().map(|url| url.directory());
        for (text, path) in [
            ("file:///srv/mirror", "/srv/mirror"),
            ("file:/srv/mirror/", "/srv/mirror/"),
            ("file://localhost/srv", "/srv"),
            ("file:///srv/a%20b%25c", "/srv/a b%c"),
        ] {
            assert_eq!(directory(text), Ok(Some(PathBuf::from(path))), "{text}");
        }
        assert_eq!(directory("http://h/srv"), Ok(None));
        for text in ["file:srv", "file://host/srv", "file:", "file:///a%00b"] {
            assert_eq!(directory(text), Err(BaseUrlError::NotLocal), "{text}");
        }
        let odd = Path::new("/srv/50% of \u{fc}/a?b#c");
        let url = BaseUrl::of_directory(odd).expect("absolute");
        assert_eq!(url.directory().as_deref().map(Path::components), Some(odd.components()));
        assert_eq!(url.to_string().parse(), Ok(url));
        assert_eq!(BaseUrl::of_directory(Path::new("srv")), Err(BaseUrlError::NotLocal));
        assert_eq!(file("file:///srv/x", "pool/a"), "file:///srv/x/pool/a");
    }

    #[test]
    fn what_cannot_be_a_root_is_refused() {
        assert!(matches!("ftp://h/".parse::<BaseUrl>(), Err(BaseUrlError::Scheme(_))));
        assert!(matches!("nonsense".parse::<BaseUrl>(), Err(BaseUrlError::Syntax(_))));
        assert_eq!("http://h/?x".parse::<BaseUrl>(), Err(BaseUrlError::QueryOrFragment));
    }
}

//! User names and passwords from `auth.conf` and `.netrc`.
//!
//! Owns their grammar and which entry a URL gets (`apt_auth.conf(5)`). Nothing of an entry is ever shown.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

/// Where APT keeps credentials; the directory with `.d` after the name belongs to it.
const APT_FILE: &str = "/etc/apt/auth.conf";

/// A file with credentials that was named and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the credentials in {}", path.display())]
pub struct CredentialsError {
    path: PathBuf,
    source: io::Error,
}

/// Entries of all files, in the order in which they are looked at.
#[derive(Clone, Default)]
pub struct Credentials {
    entries: Vec<Entry>,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Entry {
    /// `None` means https.
    scheme: Option<String>,
    host: String,
    port: Option<u16>,
    /// With the leading `/`; empty for any.
    path: String,
    login: Login,
}

/// What a server is told.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} entries)", self.entries.len())
    }
}

impl Credentials {
    /// Reads `auth_conf` (else that of APT), the files `*.conf` in the directory of the same name with `.d`, and
    /// `netrc`. Those that nobody named may be missing, or private to somebody else.
    ///
    /// # Errors
    /// [`CredentialsError`] when `auth_conf` cannot be read.
    pub fn load(auth_conf: Option<&Path>, netrc: Option<&Path>) -> Result<Self, CredentialsError> {
        let mut entries = Vec::new();
        let main = auth_conf.unwrap_or(Path::new(APT_FILE));
        match fs::read_to_string(main) {
            Ok(text) => entries.extend(parse(&text)),
            Err(source) if auth_conf.is_some() => {
                let path = main.to_owned();
                return Err(CredentialsError { path, source });
            }
            Err(error) => note_unread(main, &error),
        }
        for path in parts(main).iter().map(PathBuf::as_path).chain(netrc) {
            match fs::read_to_string(path) {
                Ok(text) => entries.extend(parse(&text)),
                Err(error) => note_unread(path, &error),
            }
        }
        Ok(Self { entries })
    }

    /// What the server of `url` is told, if anything: the first entry that matches counts.
    pub(super) fn find(&self, url: &Url) -> Option<&Login> {
        let found = self.entries.iter().find(|entry| entry.matches(url));
        found.map(|entry| &entry.login)
    }
}

impl Entry {
    /// An entry without a scheme is for https: a password is not sent in the clear unless its owner says so.
    fn matches(&self, url: &Url) -> bool {
        self.scheme.as_deref().unwrap_or("https") == url.scheme()
            && url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
            && url.path().starts_with(&self.path)
    }

    /// The entry that a `machine` token begins; `None` when nothing can ever match it.
    fn machine(token: &str) -> Option<Self> {
        let (scheme, rest) = match token.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, token),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        (!host.is_empty()).then(|| Self {
            scheme,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            login: Login::default(),
        })
    }
}

/// The files `*.conf` beside `main`, in the order of their names. Hidden ones do not count.
fn parts(main: &Path) -> Vec<PathBuf> {
    let mut directory = main.as_os_str().to_owned();
    directory.push(".d");
    let Ok(found) = fs::read_dir(Path::new(&directory)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = found
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some(OsStr::new("conf")))
        .filter(|path| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| !name.starts_with('.'))
        })
        .collect();
    paths.sort();
    paths
}

fn note_unread(path: &Path, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        tracing::warn!(path = %path.display(), "Credentials cannot be read, and are not used: {error}");
    }
}

/// The entries of one file. Words that mean nothing here are passed over, as APT does.
fn parse(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    let mut current: Option<Entry> = None;
    while let Some(word) = words.next() {
        match word {
            "machine" => {
                entries.extend(current.take());
                current = words.next().and_then(Entry::machine);
            }
            // What follows is for any host, which is too many.
            "default" => entries.extend(current.take()),
            "login" | "password" => {
                let value = words.next().unwrap_or_default().to_owned();
                if let Some(entry) = &mut current {
                    match word {
                        "login" => entry.login.user = value,
                        _ => entry.login.password = value,
                    }
                }
            }
            _ => {}
        }
    }
    entries.extend(current);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str, url: &str) -> Option<String> {
        let credentials = Credentials { entries: parse(text) };
        let login = credentials.find(&url.parse().expect("a URL"))?;
        Some(format!("{}:{}", login.user, login.password))
    }

    #[test]
    fn entries_match_by_scheme_host_port_and_path() {
        let url = "https://example.org/debian/dists/sid/InRelease";
        for (machine, matches) in [
            ("example.org", true),
            ("EXAMPLE.org", true),
            ("example.org/deb", true),
            ("example.org/debian", true),
            ("example.org/debian/", true),
            ("example.org:443", true),
            ("https://example.org", true),
            ("https://example.org:443/debian", true),
            ("example.org/ubuntu", false),
            ("example.org:8443", false),
            ("http://example.org", false),
            ("example.com", false),
            ("www.example.org", false),
            ("ample.org", false),
            ("example.org:x", false),
            ("://", false),
        ] {
            let text = format!("machine {machine} login bob password secret");
            assert_eq!(user(&text, url).is_some(), matches, "{machine}");
        }
    }

    #[test]
    fn nothing_is_sent_in_the_clear_unless_the_entry_says_so() {
        let (plain, http) = (
            "machine h login bob password x",
            "machine http://h:8080 login eve password y",
        );
        assert_eq!(user(plain, "http://h/"), None);
        assert_eq!(user(plain, "https://h:8080/").as_deref(), Some("bob:x"));
        assert_eq!(user(http, "http://h:8080/").as_deref(), Some("eve:y"));
        assert_eq!(user(http, "http://h/"), None);
        assert_eq!(user(http, "https://h:8080/"), None);
        let v6 = "machine http://[::1]:8080/x login bob password x";
        assert_eq!(user(v6, "http://[::1]:8080/x/y").as_deref(), Some("bob:x"));
        assert_eq!(
            user("machine http://[::1] login bob", "http://[::1]:9/").as_deref(),
            Some("bob:")
        );
    }

    #[test]
    fn words_stand_on_one_line_or_on_several() {
        let text = "# machine h login no password no\nmachine a\n\tlogin bob\n  password se#cret\n\
                    default login any password any\n\
                    machine b account x macdef y password p login l machine a login second password z\nmachine";
        assert_eq!(
            user(text, "https://a/").as_deref(),
            Some("bob:se#cret"),
            "the first counts"
        );
        assert_eq!(user(text, "https://b/").as_deref(), Some("l:p"));
        assert_eq!(user(text, "https://h/"), None);
        assert_eq!(user("login x password y", "https://h/"), None);
    }

    #[test]
    fn files_are_read_in_the_order_of_apt() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| place.path().join(name);
        let (main, netrc) = (path("auth.conf"), path("netrc"));
        fs::create_dir(path("auth.conf.d")).expect("makes");
        for (name, user) in [
            ("auth.conf.d/20.conf", "twenty"),
            ("auth.conf.d/10.conf", "ten"),
            ("auth.conf.d/00.conf.bak", "backup"),
            ("auth.conf.d/.00.conf", "hidden"),
            ("netrc", "netrc"),
        ] {
            fs::write(
                path(name),
                format!("machine {user} login {user}\nmachine h login {user}"),
            )
            .expect("writes");
        }
        fs::write(&main, "machine main login main").expect("writes");
        let found = Credentials::load(Some(&main), Some(&netrc)).expect("loads");
        let user = |host: &str| {
            let url = format!("https://{host}/").parse().expect("a URL");
            found.find(&url).map(|login| login.user.clone())
        };
        assert_eq!(user("h").as_deref(), Some("ten"));
        for host in ["main", "twenty", "netrc"] {
            assert_eq!(user(host).as_deref(), Some(host));
        }
        assert_eq!((user("backup"), user("hidden")), (None, None));
        assert_eq!(format!("{found:?}"), "Credentials(7 entries)");

        let error = Credentials::load(Some(&path("nothing")), None).expect_err("named, and not there");
        assert!(error.to_string().contains("nothing"));
        assert!(Credentials::load(None, Some(&path("nothing"))).is_ok());
    }
}

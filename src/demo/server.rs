//! Files over HTTP.
//!
//! Owns [`FileService`]: which answer a request for a file below a directory gets, with conditional requests, and how
//! many it gave. It knows nothing of archives, and never leaves its directory except through symbolic links in it.

use std::fs::{File, Metadata};
use std::io::{self, Seek as _, SeekFrom};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::http::{After, Body, Request, Response, Service};
use crate::model::RepoPath;

/// Serves the files below one directory.
#[derive(Debug)]
pub struct FileService {
    root: PathBuf,
    requests: AtomicU64,
    not_modified: AtomicU64,
    body_bytes: AtomicU64,
}

/// What a [`FileService`] has answered so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedCounts {
    /// All requests.
    pub requests: u64,
    /// Those answered with "not modified".
    pub not_modified: u64,
    /// Bytes of bodies sent.
    pub body_bytes: u64,
}

impl FileService {
    /// Serves what is below `root`, as it is at each request.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            requests: AtomicU64::new(0),
            not_modified: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
        }
    }

    /// What was answered so far.
    pub fn counts(&self) -> ServedCounts {
        ServedCounts {
            requests: self.requests.load(Ordering::Relaxed),
            not_modified: self.not_modified.load(Ordering::Relaxed),
            body_bytes: self.body_bytes.load(Ordering::Relaxed),
        }
    }

    /// The answer to `request`, not yet sent.
    pub fn respond(&self, request: &Request) -> Response {
        let response = self.find(request);
        self.requests.fetch_add(1, Ordering::Relaxed);
        if response.status == 304 {
            self.not_modified.fetch_add(1, Ordering::Relaxed);
        } else if request.method != "HEAD" {
            self.body_bytes.fetch_add(response.body.len(), Ordering::Relaxed);
        }
        response
    }

    fn find(&self, request: &Request) -> Response {
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Response::status(405).header("Allow", "GET, HEAD");
        }
        let Ok(path) = request.path.parse::<RepoPath>() else {
            return Response::status(404);
        };
        let opened = File::open(self.root.join(path.as_str())).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((facts, file)) if facts.is_file() => answer_with(file, &facts, request),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Response::status(403),
            _ => Response::status(404),
        }
    }
}

impl Service for FileService {
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<After> {
        self.respond(request).send(request, stream)
    }
}

fn answer_with(file: File, facts: &Metadata, request: &Request) -> Response {
    let tag = entity_tag(facts);
    let modified = facts.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let unchanged = match request.header("if-none-match") {
        Some(known) => known
            .split(',')
            .any(|known| matches!(known.trim(), "*") || known.trim() == tag),
        None => request
            .header("if-modified-since")
            .and_then(|since| httpdate::parse_http_date(since).ok())
            .is_some_and(|since| modified < since + Duration::from_secs(1)),
    };
    let response = if unchanged {
        Response {
            status: 304,
            headers: Vec::new(),
            body: Body::Bytes(Vec::new()),
        }
    } else {
        let of_this = request.header("if-range").is_none_or(|version| version == tag);
        let start = request.header("range").filter(|_| of_this).and_then(start_of_rest);
        whole_or_rest(file, facts.len(), start)
    };
    response
        .header("Accept-Ranges", "bytes")
        .header("Last-Modified", httpdate::fmt_http_date(modified))
        .header("ETag", tag)
}

/// Where the rest begins that a request asks for. Other ranges may be answered with the whole file.
fn start_of_rest(range: &str) -> Option<u64> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// The file of `length` bytes, or what of it begins at `start`.
fn whole_or_rest(mut file: File, length: u64, start: Option<u64>) -> Response {
    let (status, headers, body) = match start {
        Some(start) if start >= length => {
            let headers = vec![("Content-Range".to_owned(), format!("bytes */{length}"))];
            (416, headers, Body::Bytes(Vec::new()))
        }
        Some(start) if file.seek(SeekFrom::Start(start)).is_ok() => {
            let range = format!("bytes {start}-{}/{length}", length - 1);
            let headers = vec![("Content-Range".to_owned(), range)];
            (206, headers, Body::File(file, length - start))
        }
        _ => (200, Vec::new(), Body::File(file, length)),
    };
    Response { status, headers, body }
}

/// Made of the time of the last change to the inode, not of the modification time: an archive that is published twice
/// with the same date, or whose files come with times of their own, still has another tag.
fn entity_tag(facts: &Metadata) -> String {
    format!(
        "\"{:x}-{:x}-{:x}-{:x}\"",
        facts.ino(),
        facts.ctime(),
        facts.ctime_nsec(),
        facts.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            method: "GET".to_owned(),
            target: format!("/{path}"),
            path: path.to_owned(),
            headers: headers
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            keep_alive: true,
        }
    }

    fn value<'a>(response: &'a Response, name: &str) -> &'a str {
        let found = response.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn directory() -> (tempfile::TempDir, FileService) {
        let root = tempfile::tempdir().expect("a directory");
        let file = File::create(root.path().join("file")).expect("a file");
        file.set_len(5).expect("a length");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000))
            .expect("a time");
        let service = FileService::new(root.path());
        (root, service)
    }

    #[test]
    fn a_file_is_served_once_and_then_confirmed() {
        let (_root, service) = directory();
        let first = service.respond(&get("file", &[]));
        assert_eq!((first.status, first.body.len()), (200, 5));
        assert_eq!(value(&first, "Last-Modified"), "Sun, 15 Jun 2025 15:06:40 GMT");
        for (name, known, status) in [
            ("if-none-match", value(&first, "ETag"), 304),
            ("if-none-match", "\"other\"", 200),
            ("if-none-match", "*", 304),
            ("if-modified-since", "Sun, 15 Jun 2025 15:06:40 GMT", 304),
            ("if-modified-since", "Sun, 15 Jun 2025 15:06:39 GMT", 200),
            ("if-modified-since", "nonsense", 200),
        ] {
            assert_eq!(
                service.respond(&get("file", &[(name, known)])).status,
                status,
                "{name}: {known}"
            );
        }
        let counts = ServedCounts {
            requests: 7,
            not_modified: 3,
            body_bytes: 20,
        };
        assert_eq!(service.counts(), counts);
    }

    #[test]
    fn a_replaced_file_has_another_tag_though_time_and_size_agree() {
        let (root, service) = directory();
        let tag = || value(&service.respond(&get("file", &[])), "ETag").to_owned();
        let before = tag();
        let other = root.path().join("other");
        std::fs::copy(root.path().join("file"), &other).expect("copies");
        std::fs::rename(&other, root.path().join("file")).expect("renames");
        assert_ne!(tag(), before);
    }

    #[test]
    fn nothing_but_files_below_the_root_is_found() {
        let (root, service) = directory();
        std::fs::create_dir(root.path().join("directory")).expect("a directory");
        for path in ["", "missing", "directory", "../etc/passwd", "/etc/passwd", "file/x"] {
            assert_eq!(service.respond(&get(path, &[])).status, 404, "{path}");
        }
        let post = Request {
            method: "POST".to_owned(),
            ..get("file", &[])
        };
        assert_eq!(service.respond(&post).status, 405);
    }
}

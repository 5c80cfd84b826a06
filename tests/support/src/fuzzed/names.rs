//! Properties of the short texts that name something: paths, names, digests, URLs.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use mirrorctl::model::{
    Architecture, BaseUrl, Component, Digest, Hasher, MirrorId, NameError, RepoPath, SnapshotName, Suite,
};

use super::{assert_harmless, assert_safe_path, pieces, unsafe_because};

/// A path: accepted exactly when it is safe, and its parts are those of the text.
pub(super) fn repo_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path: RepoPath = match text.parse() {
        Ok(path) => path,
        Err(error) => {
            assert_harmless(&error);
            return assert!(unsafe_because(text).is_some(), "{text:?} is refused: {error}");
        }
    };
    assert_safe_path(text);
    assert_eq!((path.as_str(), path.to_string().as_str()), (text, text));
    let components: Vec<_> = path.components().collect();
    assert_eq!(components.join("/"), text);
    assert_eq!(components.last(), Some(&path.file_name()));
    match path.parent() {
        None => assert_eq!(components.len(), 1),
        Some(parent) => {
            assert_safe_path(parent.as_str());
            assert_eq!(parent.join(path.file_name()), Ok(path.clone()));
        }
    }
    for tail in ["..", ".", "", "/x", "a/../../b"] {
        assert!(path.join(tail).is_err(), "{tail}");
    }
}

/// The names that configurations and commands give: each is one text, and as safe as its place needs.
pub(super) fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let one_component = |text: &str| {
        assert_safe_path(text);
        assert!(
            !text.contains('/') && !text.starts_with(['-', '.']) && text.is_ascii(),
            "{text:?}"
        );
    };
    if let Some(id) = same::<MirrorId>(text) {
        one_component(&id);
        assert_eq!(id, id.to_lowercase());
    }
    if let Some(architecture) = same::<Architecture>(text) {
        one_component(&architecture);
    }
    if let Some(name) = same::<SnapshotName>(text) {
        one_component(&name);
        assert!(!["current", "staging", "snapshots", "at"].contains(&name.as_str()));
        let name: SnapshotName = name.parse().expect("was parsed before");
        if let Ok(second) = name.with_suffix(2) {
            assert_eq!(second.as_str(), format!("{text}-2"));
        }
    }
    if let Some(component) = same::<Component>(text) {
        assert_safe_path(&component);
        assert!(!component.contains(char::is_whitespace), "{component:?}");
    }
    match text.parse::<Suite>() {
        Ok(suite) => assert_suite(&suite, text),
        Err(error) => assert_harmless(&error),
    }
}

/// A suite has one spelling, and is a safe path, also where it is a flat repository and thus ends in a slash.
fn assert_suite(suite: &Suite, text: &str) {
    assert_eq!(suite.as_str().parse().as_ref(), Ok(suite));
    assert_eq!(suite.is_flat(), text.ends_with('/'));
    assert!(!suite.as_str().contains(char::is_whitespace), "{suite}");
    match suite.as_str().strip_suffix('/') {
        Some(".") => {}
        Some(directory) => assert_safe_path(directory),
        None => {
            assert_eq!(suite.as_str(), text);
            assert_safe_path(text);
        }
    }
}

/// The name that `text` is, shown, which must be `text`.
fn same<T: FromStr<Err = NameError> + Display + Debug + PartialEq>(text: &str) -> Option<String> {
    match text.parse::<T>() {
        Ok(name) => {
            assert_eq!(name.to_string(), text);
            Some(name.to_string())
        }
        Err(error) => {
            assert_harmless(&error);
            None
        }
    }
}

/// A digest: of 64 hexadecimal digits, shown in lower case, and of bytes the same in pieces.
pub(super) fn digest(data: &[u8]) {
    let is_hex = data.len() == 64 && data.iter().all(u8::is_ascii_hexdigit);
    let parsed = std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.parse::<Digest>().ok());
    assert_eq!(parsed.is_some(), is_hex);
    if let Some(digest) = parsed {
        assert_eq!(digest.to_string().as_bytes(), data.to_ascii_lowercase());
        assert_eq!(Digest::from_bytes(digest.as_bytes()), Ok(digest));
    }
    assert_eq!(Digest::from_bytes(data).is_ok(), data.len() == Digest::LENGTH);
    let mut hasher = Hasher::new();
    pieces(data).for_each(|piece| hasher.update(piece));
    assert_eq!(hasher.finish(), Digest::of(data));
}

/// A URL in the first line, a path in the second: the URL shows no credentials, and the file's lies below it.
pub(super) fn base_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (text, path) = text.split_once('\n').unwrap_or((text, "dists/x/InRelease"));
    let base: BaseUrl = match text.parse() {
        Ok(base) => base,
        Err(error) => return assert_harmless(&error),
    };
    let complete = base.with_credentials();
    match base.directory() {
        Some(directory) => assert!(complete.scheme() == "file" && directory.is_absolute(), "{base}"),
        None => assert!(matches!(complete.scheme(), "http" | "https") && complete.has_host()),
    }
    let shown: url::Url = base.to_string().parse().expect("what is shown is a URL");
    assert_eq!((shown.username(), shown.password()), ("", None), "{base}");
    assert_eq!(format!("{base:?}"), format!("BaseUrl({base})"));
    assert_eq!(
        (shown.host(), shown.port(), shown.path()),
        (complete.host(), complete.port(), complete.path())
    );
    assert_eq!(complete.as_str().parse::<BaseUrl>().as_ref(), Ok(&base));

    let Ok(path) = path.parse::<RepoPath>() else {
        return;
    };
    // Directories are read by their paths; as URLs, some of their names are drives.
    if base.directory().is_some() {
        return;
    }
    let file = base.file(&path);
    assert_eq!(file[..url::Position::BeforePath], complete[..url::Position::BeforePath]);
    assert_eq!((file.query(), file.fragment()), (None, None), "{file}");
    let tail = file
        .path()
        .strip_prefix(complete.path().strip_suffix('/').unwrap_or(complete.path()));
    let tail = tail
        .and_then(|tail| tail.strip_prefix('/'))
        .unwrap_or_else(|| panic!("{file} is not below {base}"));
    let decoded: Vec<_> = tail.split('/').map(decoded).collect();
    assert_eq!(
        decoded,
        path.components()
            .map(|part| part.as_bytes().to_vec())
            .collect::<Vec<_>>()
    );
    // A server that takes the URL apart again finds the same one.
    assert_eq!(url::Url::parse(file.as_str()).as_ref(), Ok(&file));
}

/// `text` with each `%XX` as the byte it stands for.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail.split_at_checked(2)) {
            (b'%', Some((hex, tail))) => {
                let hex = std::str::from_utf8(hex).expect("URLs are ASCII");
                bytes.push(u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
                rest = tail;
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

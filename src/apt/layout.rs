//! Where an archive keeps what: the path rules of `dists/`, of flat repositories and of `by-hash/`.
//!
//! Pure arithmetic on paths. Whether a file exists at a path is not known here.

use crate::model::{IndexHash, RepoPath, RepoPathError, Suite};

/// The path of `name` in the directory of the Release file of `suite`: below `dists/`, or, for a flat repository, the
/// directory that the suite names.
///
/// # Errors
/// What makes the whole no path.
pub fn in_suite(suite: &Suite, name: &str) -> Result<RepoPath, RepoPathError> {
    match suite.as_str() {
        "./" => name.parse(),
        flat if suite.is_flat() => format!("{flat}{name}").parse(),
        suite => format!("dists/{suite}/{name}").parse(),
    }
}

/// The name of the index at `index` in the `by-hash` directory beside it.
///
/// # Errors
/// [`RepoPathError::TooLong`] when `index` is nearly as long as a path may be.
pub fn by_hash(index: &RepoPath, hash: &IndexHash) -> Result<RepoPath, RepoPathError> {
    let name = format!("by-hash/{}/{}", hash.kind, hash.hex);
    match index.parent() {
        Some(directory) => directory.join(&name),
        None => name.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashType;

    fn by_hash_of(index: &str) -> Result<String, RepoPathError> {
        let hash = IndexHash {
            kind: HashType::Md5Sum,
            hex: "00".into(),
        };
        let index: RepoPath = index.parse()?;
        by_hash(&index, &hash).map(|path| path.to_string())
    }

    #[test]
    fn paths_follow_the_format() {
        for (suite, path) in [
            ("bookworm/updates", "dists/bookworm/updates/x/y"),
            ("./", "x/y"),
            ("stable/", "stable/x/y"),
            ("a/b/", "a/b/x/y"),
        ] {
            let suite: Suite = suite.parse().expect("valid suite");
            assert_eq!(in_suite(&suite, "x/y").expect("short").as_str(), path);
            assert_eq!(in_suite(&suite, "../y"), Err(RepoPathError::DotComponent));
        }
        assert_eq!(
            by_hash_of("dists/x/main/binary-amd64/Packages.xz").as_deref(),
            Ok("dists/x/main/binary-amd64/by-hash/MD5Sum/00")
        );
        assert_eq!(by_hash_of("Packages").as_deref(), Ok("by-hash/MD5Sum/00"));
    }

    #[test]
    fn too_long_is_an_error() {
        assert_eq!(
            by_hash_of(&"abcdefghi/".repeat(102)),
            Err(RepoPathError::EmptyComponent)
        );
        assert_eq!(
            by_hash_of(&("abcdefghi/".repeat(102) + "x")),
            Err(RepoPathError::TooLong)
        );
    }
}

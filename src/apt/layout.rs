//! Where an archive keeps what: the path rules of `dists/` and `by-hash/`.
//!
//! Pure arithmetic on paths. Whether a file exists at a path is not known here.

use crate::model::{IndexHash, RepoPath, RepoPathError, Suite};

/// The directory of the Release file of `suite`.
///
/// # Errors
/// [`RepoPathError::TooLong`] when the suite's name is as long as a path may be.
pub fn dists(suite: &Suite) -> Result<RepoPath, RepoPathError> {
    format!("dists/{suite}").parse()
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
        let suite: Suite = "bookworm/updates".parse().expect("valid suite");
        assert_eq!(dists(&suite).expect("short").as_str(), "dists/bookworm/updates");
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

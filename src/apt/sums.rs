//! Lists of checksums as `sha256sum` writes them: the images of the installer.
//!
//! Owns [`parse_sums`]. The lists are small and read whole. They tell no sizes.

use super::error::{ParseError, excerpt};
use crate::model::{Checksum, RepoPath};

/// A file that a list of checksums names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummedFile {
    /// Its path, relative to the list's directory.
    pub path: RepoPath,
    /// What its bytes are checked against.
    pub checksum: Checksum,
}

/// Reads a list of SHA-256 hashes (`SHA256SUMS`): on each line a hash, blanks, perhaps `*` for "binary", and a
/// name, perhaps with `./` before it.
///
/// # Errors
/// The first line that is not of this form, or whose name cannot be a path.
pub fn parse_sums(text: &[u8]) -> Result<Vec<SummedFile>, ParseError> {
    let lines = text.split(|byte| *byte == b'\n').zip(1..);
    let lines = lines.filter(|(line, _)| !line.trim_ascii().is_empty());
    lines.map(|(text, line)| summed(line, text)).collect()
}

fn summed(line: u64, text: &[u8]) -> Result<SummedFile, ParseError> {
    let bad = || ParseError::Sum {
        line,
        text: excerpt(text),
    };
    let words = std::str::from_utf8(text.trim_ascii()).map_err(|_| bad())?;
    let (hash, name) = words.split_once([' ', '\t']).ok_or_else(bad)?;
    let checksum = Checksum::Sha256(hash.parse().map_err(|_| bad())?);
    let name = name.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    let path = name
        .strip_prefix("./")
        .unwrap_or(name)
        .parse()
        .map_err(|source| ParseError::Path {
            line,
            path: excerpt(name.as_bytes()),
            source,
        })?;
    Ok(SummedFile { path, checksum })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn the_lines_of_sha256sum_are_read() {
        let digest = Digest::of(b"x");
        let text = format!("{digest}  ./netboot/mini.iso\n\n{digest} *boot.img.gz\n{digest}\tudeb.list");
        let files = parse_sums(text.as_bytes()).expect("valid");
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["netboot/mini.iso", "boot.img.gz", "udeb.list"]);
        assert!(files.iter().all(|file| file.checksum == Checksum::Sha256(digest)));
    }

    #[test]
    fn anything_else_is_refused() {
        let digest = Digest::of(b"x");
        for bad in [format!("{digest}"), "abc  name".to_owned(), format!("{digest}x  name")] {
            let refused = parse_sums(bad.as_bytes());
            assert!(matches!(refused, Err(ParseError::Sum { line: 1, .. })), "{bad}");
        }
        for bad in ["../x", "/etc/passwd", "a/../b"] {
            let refused = parse_sums(format!("{digest}  {bad}\n").as_bytes());
            assert!(matches!(refused, Err(ParseError::Path { .. })), "{bad}");
        }
        assert!(parse_sums(format!("{}  a", "ab".repeat(16)).as_bytes()).is_err());
    }
}

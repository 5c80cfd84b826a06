//! The texts of a reindexed archive: compressed indices and the Release file that lists them.
//!
//! Owns what of upstream's Release file is still said and what is not. Pure and deterministic: the same input gives
//! the same bytes, so that an archive that did not change stays as it is. Signing is done elsewhere.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::model::{ContentHasher, HashType, IndexHash, RepoPath};

/// How hard xz tries. Its default takes four times as long and saves a twentieth.
const XZ_LEVEL: u32 = 2;

/// How hard gzip tries: its usual default.
const GZIP_LEVEL: u32 = 6;

/// Bytes that compressors are given at a time. What gzip makes depends on that, and shall depend on the text alone.
const BLOCK: usize = 64 << 10;

/// A file as a Release file lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its path, relative to the Release file's directory.
    pub path: RepoPath,
    /// Length in bytes.
    pub size: u64,
    /// Its hashes.
    pub hashes: Vec<IndexHash>,
}

/// A rebuilt index in every form that is served or listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltIndex {
    /// The uncompressed text as it is listed. It is not served, as Debian does not either: every client takes a
    /// compressed form.
    pub plain: Listed,
    /// The forms that are served, with their bytes.
    pub served: Vec<(Listed, Vec<u8>)>,
}

/// Compresses an index whose text arrives in pieces.
pub struct IndexBuilder {
    hasher: ContentHasher,
    size: u64,
    /// The start of a block that is not full yet.
    block: Vec<u8>,
    gzip: flate2::write::GzEncoder<Vec<u8>>,
    xz: liblzma::write::XzEncoder<Vec<u8>>,
}

impl std::fmt::Debug for IndexBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexBuilder")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Default for IndexBuilder {
    fn default() -> Self {
        Self {
            hasher: ContentHasher::of_everything(),
            size: 0,
            block: Vec::with_capacity(BLOCK),
            gzip: flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL)),
            xz: liblzma::write::XzEncoder::new(Vec::new(), XZ_LEVEL),
        }
    }
}

impl IndexBuilder {
    /// Takes the next piece of the text in.
    ///
    /// # Errors
    /// When a compressor finds no memory.
    pub fn push(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            let (now, later) = text.split_at(text.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            text = later;
            if self.block.len() == BLOCK {
                self.compress()?;
            }
        }
        Ok(())
    }

    fn compress(&mut self) -> io::Result<()> {
        self.hasher.update(&self.block);
        self.size += self.block.len() as u64;
        self.gzip.write_all(&self.block)?;
        self.xz.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    /// The index, whose uncompressed form is called `plain`.
    ///
    /// # Errors
    /// When a compressor finds no memory, or the path is too long for a suffix.
    pub fn finish(mut self, plain: &RepoPath) -> io::Result<RebuiltIndex> {
        self.compress()?;
        let forms = [(".gz", self.gzip.finish()?), (".xz", self.xz.finish()?)];
        let mut served = Vec::new();
        for (suffix, bytes) in forms {
            let path = format!("{plain}{suffix}").parse().map_err(io::Error::other)?;
            served.push((list(path, &bytes), bytes));
        }
        let plain = Listed {
            path: plain.clone(),
            size: self.size,
            hashes: hashes(self.hasher),
        };
        Ok(RebuiltIndex { plain, served })
    }
}

fn list(path: RepoPath, bytes: &[u8]) -> Listed {
    let mut hasher = ContentHasher::of_everything();
    hasher.update(bytes);
    Listed {
        path,
        size: bytes.len() as u64,
        hashes: hashes(hasher),
    }
}

/// The hashes that are listed, sorted by type.
fn hashes(hasher: ContentHasher) -> Vec<IndexHash> {
    let hashes = hasher.finish();
    let list = |kind, hex: String| IndexHash { kind, hex: hex.into() };
    let sha512 = hashes.sha512.map(|hash| list(HashType::Sha512, hash.to_string()));
    let sha256 = list(HashType::Sha256, hashes.digest.to_string());
    std::iter::once(sha256).chain(sha512).collect()
}

/// The hash types that are listed; the others prove nothing any more.
const LISTED: [HashType; 2] = [HashType::Sha256, HashType::Sha512];

/// The Release file that says what `upstream` says, and lists `files` instead of its files.
///
/// Everything else stays as it is, above all `Date`, which clients never let go back, and `Valid-Until`. Left out is
/// `Signed-By`: it would bind clients to upstream's keys, which do not sign this file.
#[must_use]
pub fn release(upstream: &str, mut files: Vec<Listed>) -> String {
    files.sort();
    let mut text = String::new();
    let mut copied = false;
    for line in upstream.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if !line.starts_with([' ', '\t']) {
            copied = line.split_once(':').is_some_and(|(name, _)| is_copied(name));
        }
        if copied {
            text.push_str(line);
            text.push('\n');
        }
    }
    for kind in LISTED {
        writeln!(text, "{kind}:").expect("a String takes all");
        for Listed { path, size, hashes } in &files {
            if let Some(hash) = hashes.iter().find(|hash| hash.kind == kind) {
                writeln!(text, " {} {size:>8} {path}", hash.hex).expect("a String takes all");
            }
        }
    }
    text
}

fn is_copied(field: &str) -> bool {
    let dropped = HashType::ALL.map(HashType::name);
    !dropped
        .iter()
        .chain(&["Signed-By"])
        .any(|name| name.eq_ignore_ascii_case(field))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::apt::{Compression, Release, decompress};
    use crate::model::{Digest, VerifiedText};

    fn index(text: &[u8], piece: usize) -> RebuiltIndex {
        let mut builder = IndexBuilder::default();
        text.chunks(piece)
            .for_each(|piece| builder.push(piece).expect("takes it"));
        let plain = "main/binary-amd64/Packages".parse().expect("valid");
        builder.finish(&plain).expect("compresses")
    }

    #[test]
    fn indices_are_compressed_alike_and_listed_in_every_form() {
        let text: Vec<u8> = (0..50_000_u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
        let made = index(&text, 1000);
        assert_eq!(made, index(&text, 7), "the same text gives the same bytes");
        for ((listed, bytes), compression) in made.served.iter().zip([Compression::Gzip, Compression::Xz]) {
            assert!(listed.path.as_str().ends_with(compression.suffix()));
            assert_eq!(listed.size, bytes.len() as u64);
            let mut read = Vec::new();
            let mut reader = decompress(compression, &bytes[..], text.len() as u64).expect("sets up");
            reader.read_to_end(&mut read).expect("reads");
            assert_eq!(read, text);
        }
        assert_eq!(made.plain.size, text.len() as u64);
        assert_eq!(&*made.plain.hashes[0].hex, Digest::of(&text).to_string());
        assert_eq!(index(b"", 1).plain.size, 0);
    }

    #[test]
    fn a_release_file_says_what_upstream_says_of_everything_but_files() {
        let upstream = "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: trixie\nVersion: 13.1\n\
            Date: Sat, 09 Aug 2025 11:02:33 UTC\nValid-Until: Sat, 16 Aug 2025 11:02:33 UTC  \nNotAutomatic: yes\n\
            Acquire-By-Hash: yes\nArchitectures: all amd64 arm64\nComponents: main contrib\nDescription: x\n second line\n\
            MD5Sum:\n 00 1 a\nsigned-by: ABCD,\n EF01\nSHA256:\n 00 1 a\n 00 1 b\nNo-Support: x\n";
        let made = index(b"Package: x\n\n", 100);
        let files: Vec<Listed> = made
            .served
            .iter()
            .map(|(listed, _)| listed.clone())
            .chain([made.plain])
            .collect();
        let text = release(upstream, files.clone());
        let head = "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: trixie\nVersion: 13.1\n\
            Date: Sat, 09 Aug 2025 11:02:33 UTC\nValid-Until: Sat, 16 Aug 2025 11:02:33 UTC\nNotAutomatic: yes\n\
            Acquire-By-Hash: yes\nArchitectures: all amd64 arm64\nComponents: main contrib\nDescription: x\n second line\n\
            No-Support: x\nSHA256:\n";
        assert!(text.starts_with(head), "{text}");
        let parsed = Release::parse(&VerifiedText::vouched(text.clone(), Vec::new())).expect("valid");
        assert_eq!(parsed.files.len(), 3);
        for file in &files {
            let entry = &parsed.files[&file.path];
            assert_eq!((entry.size, &entry.hashes), (file.size, &file.hashes), "{}", file.path);
        }
        let reversed = files.into_iter().rev().collect();
        assert_eq!(release(upstream, reversed), text);
    }
}

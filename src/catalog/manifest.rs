//! The other form of a listing: a manifest, kept as a blob beside the database.
//!
//! Owns the manifest's text format (`docs/formats.md`) and its compression. A manifest holds a listing whole or as
//! changes to another manifest, and carries the catalog's own numbers, so that a mount can answer from it what it
//! answered before. Pure: it reads and writes byte strings, never files or the database.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

use serde::{Deserialize, Serialize};

use super::{BlobRow, DirRow, Seq};
use crate::model::{BlobFacts, Digest, HashType, IndexHash, RepoPath, Role, Timestamp};

/// First line of every manifest, before its header.
const MAGIC: &str = "mirrorctl-manifest 1";

/// zstd's default level: about a tenth of the text, at hundreds of megabytes a second.
const COMPRESSION_LEVEL: i32 = 3;

/// Longest text a manifest may expand to: ten million files at about 200 bytes each.
const LONGEST_TEXT: u64 = 2 << 30;

/// Bytes that are no manifest, or text that cannot be compressed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Compression or decompression failed.
    #[error("a manifest could not be compressed or expanded")]
    Compression(#[source] std::io::Error),
    /// The header line could not be read or written.
    #[error("a manifest has a damaged header")]
    Header(#[source] serde_json::Error),
    /// The bytes are no manifest of this format.
    #[error("these bytes are no manifest of format 1")]
    Magic,
    /// A line does not follow the format.
    #[error("line {0} of a manifest is damaged")]
    Line(usize),
    /// A delta was applied to something other than its base.
    #[error("a manifest was applied to another base than {0}")]
    Base(Digest),
}

/// A file as a manifest holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// The catalog's row of the bytes.
    pub row: BlobRow,
    /// The bytes.
    pub blob: BlobFacts,
    /// What the archive uses the file for.
    pub role: Role,
    /// The hashes under which it is found by hash.
    pub by_hash: Vec<IndexHash>,
}

/// A listing, or the changes from another one to it, with what `repair` and a mount need to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Generation of the catalog whose numbers it carries.
    pub generation: String,
    /// The mirror.
    pub mirror: String,
    /// The listing.
    pub seq: Seq,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The manifest that this one changes; `None` when it is whole.
    pub base: Option<Digest>,
    /// Files that are new or different; `None` for those that ended.
    pub files: BTreeMap<RepoPath, Option<ManifestFile>>,
    /// Directories and their rows: all of them, or those that are new.
    pub dirs: BTreeMap<RepoPath, DirRow>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    generation: String,
    mirror: String,
    seq: i64,
    recorded_at: i64,
    base: Option<String>,
}

impl Manifest {
    /// The compressed bytes, to be kept as a blob.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let header = Header {
            generation: self.generation.clone(),
            mirror: self.mirror.clone(),
            seq: self.seq.number(),
            recorded_at: self.recorded_at.unix(),
            base: self.base.map(|digest| digest.to_string()),
        };
        let mut text = format!(
            "{MAGIC}\n{}\n",
            serde_json::to_string(&header).map_err(ManifestError::Header)?
        );
        for (path, row) in &self.dirs {
            writeln!(text, "d\t{path}\t{}", row.number()).expect("writing to a String cannot fail");
        }
        for (path, file) in &self.files {
            write_file(&mut text, path, file.as_ref());
        }
        let compress = || -> std::io::Result<Vec<u8>> {
            let mut encoder = zstd::Encoder::new(Vec::new(), COMPRESSION_LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.write_all(text.as_bytes())?;
            encoder.finish()
        };
        compress().map_err(ManifestError::Compression)
    }

    /// Reads what [`Manifest::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are no manifest.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut text = String::new();
        let expand = |text: &mut String| zstd::Decoder::new(bytes)?.take(LONGEST_TEXT).read_to_string(text);
        expand(&mut text).map_err(ManifestError::Compression)?;
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, line)| line != MAGIC) {
            return Err(ManifestError::Magic);
        }
        let header = lines.next().map_or("", |(_, line)| line);
        let header: Header = serde_json::from_str(header).map_err(ManifestError::Header)?;
        let mut manifest = Self {
            generation: header.generation,
            mirror: header.mirror,
            seq: Seq(header.seq),
            recorded_at: Timestamp::from_unix(header.recorded_at),
            base: header
                .base
                .map(|text| text.parse())
                .transpose()
                .map_err(|_| ManifestError::Line(2))?,
            files: BTreeMap::new(),
            dirs: BTreeMap::new(),
        };
        for (index, line) in lines {
            manifest.read_line(line).ok_or(ManifestError::Line(index + 1))?;
        }
        Ok(manifest)
    }

    /// Turns a delta into the whole listing, given its whole base and the base's digest.
    ///
    /// # Errors
    /// When `base` is not the manifest that this one changes.
    pub fn onto(mut self, base_digest: Digest, base: Self) -> Result<Self, ManifestError> {
        match self.base {
            Some(wanted) if wanted != base_digest || base.base.is_some() => return Err(ManifestError::Base(wanted)),
            None => return Ok(self),
            Some(_) => {}
        }
        let (mut files, mut dirs) = (base.files, base.dirs);
        for (path, file) in std::mem::take(&mut self.files) {
            match file {
                Some(file) => files.insert(path, Some(file)),
                None => files.remove(&path),
            };
        }
        dirs.append(&mut self.dirs);
        Ok(Self {
            base: None,
            files,
            dirs,
            ..self
        })
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let mut fields = line.split('\t');
        let kind = fields.next()?;
        let path: RepoPath = fields.next()?.parse().ok()?;
        match kind {
            "d" => {
                self.dirs.insert(path, DirRow(fields.next()?.parse().ok()?));
            }
            "-" => {
                self.files.insert(path, None);
            }
            "+" => {
                let file = read_file(&mut fields)?;
                self.files.insert(path, Some(file));
            }
            _ => return None,
        }
        fields.next().is_none().then_some(())
    }
}

fn write_file(text: &mut String, path: &RepoPath, file: Option<&ManifestFile>) {
    let Some(file) = file else {
        writeln!(text, "-\t{path}").expect("writing to a String cannot fail");
        return;
    };
    let role = match file.role {
        Role::Release => 'r',
        Role::Index => 'i',
        Role::Pool => 'p',
    };
    let by_hash: Vec<String> = file
        .by_hash
        .iter()
        .map(|hash| format!("{}:{}", hash.kind, hash.hex))
        .collect();
    let BlobFacts { digest, size, mtime } = file.blob;
    writeln!(
        text,
        "+\t{path}\t{row}\t{digest}\t{size}\t{mtime}\t{role}\t{by_hash}",
        row = file.row.number(),
        mtime = mtime.unix(),
        by_hash = by_hash.join(","),
    )
    .expect("writing to a String cannot fail");
}

fn read_file<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<ManifestFile> {
    let row = BlobRow(fields.next()?.parse().ok()?);
    let digest = fields.next()?.parse().ok()?;
    let size = fields.next()?.parse().ok()?;
    let mtime = Timestamp::from_unix(fields.next()?.parse().ok()?);
    let role = match fields.next()? {
        "r" => Role::Release,
        "i" => Role::Index,
        "p" => Role::Pool,
        _ => return None,
    };
    let by_hash = fields
        .next()?
        .split(',')
        .filter(|text| !text.is_empty())
        .map(read_hash)
        .collect::<Option<_>>()?;
    Some(ManifestFile {
        row,
        blob: BlobFacts { digest, size, mtime },
        role,
        by_hash,
    })
}

fn read_hash(text: &str) -> Option<IndexHash> {
    let (kind, hex) = text.split_once(':')?;
    let kind = HashType::from_name(kind.as_bytes())?;
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let fits = hex.len() == kind.hex_length() && hex.bytes().all(is_digit);
    fits.then(|| IndexHash { kind, hex: hex.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> ManifestFile {
        let blob = BlobFacts {
            digest: Digest::of(content),
            size: content.len() as u64,
            mtime: Timestamp::from_unix(7),
        };
        let by_hash = vec![IndexHash {
            kind: HashType::Md5Sum,
            hex: "00".repeat(16).into(),
        }];
        ManifestFile {
            row: BlobRow(3),
            blob,
            role: Role::Index,
            by_hash,
        }
    }

    fn manifest(base: Option<Digest>, files: &[(&str, Option<ManifestFile>)]) -> Manifest {
        let path = |text: &str| text.parse().expect("valid path");
        Manifest {
            generation: "00ff".into(),
            mirror: "debian".into(),
            seq: Seq(4),
            recorded_at: Timestamp::from_unix(9),
            base,
            files: files.iter().map(|(name, file)| (path(name), file.clone())).collect(),
            dirs: BTreeMap::from([(path("dists"), DirRow(2))]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let whole = manifest(None, &[("dists/a b", Some(file(b"x"))), ("pool/c", Some(file(b"y")))]);
        let delta = manifest(Some(Digest::of(b"base")), &[("pool/c", None)]);
        for manifest in [whole, delta] {
            assert_eq!(
                Manifest::decode(&manifest.encode().expect("encodes")).expect("decodes"),
                manifest
            );
        }
    }

    #[test]
    fn a_delta_applies_to_its_base_only() {
        let base = manifest(None, &[("a", Some(file(b"1"))), ("b", Some(file(b"2")))]);
        let delta = manifest(Some(Digest::of(b"base")), &[("a", None), ("c", Some(file(b"3")))]);
        let whole = delta.clone().onto(Digest::of(b"base"), base.clone()).expect("its base");
        assert_eq!(whole.files.keys().map(RepoPath::as_str).collect::<Vec<_>>(), ["b", "c"]);
        assert!(matches!(
            delta.onto(Digest::of(b"other"), base),
            Err(ManifestError::Base(_))
        ));
    }

    #[test]
    fn a_hash_is_digits_of_its_length() {
        let digits = "0f".repeat(16);
        assert!(read_hash(&format!("MD5Sum:{digits}")).is_some());
        for bad in [
            "",
            &digits[2..],
            &digits.to_uppercase(),
            &format!("../{}", &digits[3..]),
        ] {
            assert_eq!(read_hash(&format!("MD5Sum:{bad}")), None, "{bad}");
        }
    }

    #[test]
    fn damage_is_noticed() {
        let good = manifest(None, &[("a", Some(file(b"1")))]).encode().expect("encodes");
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        assert!(Manifest::decode(&flipped).is_err());
        assert!(Manifest::decode(&good[..good.len() - 1]).is_err());
        assert!(Manifest::decode(b"").is_err());
    }
}

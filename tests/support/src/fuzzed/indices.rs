//! Properties of the indices in which an archive lists the files of its pool.

use mirrorctl::apt::{PackagesReader, ParseError, PoolFile, SourcesReader, parse_sums};
use mirrorctl::model::{Checksum, RepoPath};

use super::{assert_harmless, assert_safe_path, pieces};

/// Longest line and most fields of a stanza that are taken, as documented where stanzas are read.
const LONGEST_LINE: usize = 1 << 20;
const MOST_FIELDS: usize = 512;

/// A Packages index: read in pieces and in one, the files are those that a simpler reading finds, or none does.
pub(super) fn packages(data: &[u8]) {
    let whole = read_packages([data].into_iter());
    assert_eq!(read_packages(pieces(data)), whole, "in pieces");
    match whole {
        Ok((files, packages)) => {
            assert_eq!(files.len() as u64, packages);
            assert_sound(&files);
            let simple = simple_packages(data).expect("accepted, though a simple reading refuses it");
            assert_eq!(files.iter().map(shown).collect::<Vec<_>>(), simple);
            let printed: String = files.iter().map(stanza).collect();
            assert_eq!(
                read_packages([printed.as_bytes()].into_iter()),
                Ok((files, packages)),
                "printed"
            );
        }
        Err(error) => {
            assert_harmless(&error);
            assert_eq!(simple_packages(data), None, "refused, because: {error}");
        }
    }
}

type Files = Result<(Vec<PoolFile>, u64), ParseError>;

fn read_packages<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Files {
    let mut files = Vec::new();
    let mut reader = PackagesReader::new(|file| files.push(file));
    for piece in pieces {
        reader.push(piece)?;
    }
    let packages = reader.finish()?;
    Ok((files, packages))
}

fn assert_sound(files: &[PoolFile]) {
    for file in files {
        assert_safe_path(file.path.as_str());
        assert!(i64::try_from(file.size).is_ok(), "no file has {} bytes", file.size);
    }
}

type Shown = (String, u64, String);

fn shown(file: &PoolFile) -> Shown {
    let hash = match file.checksum {
        Checksum::Sha256(digest) => digest.to_string(),
        Checksum::Sha512(hash) => hash.to_string(),
    };
    (file.path.to_string(), file.size, hash)
}

fn stanza(file: &PoolFile) -> String {
    // "./" in front, as a path that begins with it otherwise would lose its own.
    let (path, size, hash) = shown(file);
    let kind = if hash.len() == 64 { "SHA256" } else { "SHA512" };
    format!("Package: x\nFilename: ./{path}\nSize: {size}\n{kind}: {hash}\n\n")
}

/// The files of a Packages index, found without regard to speed, memory or messages.
fn simple_packages(index: &[u8]) -> Option<Vec<Shown>> {
    let mut files = Vec::new();
    let mut fields: Vec<(String, &[u8])> = Vec::new();
    // The empty line behind the last one ends the last stanza.
    for line in index.split(|byte| *byte == b'\n').chain([&b""[..]]) {
        if line.len() > LONGEST_LINE {
            return None;
        }
        match line {
            [] | [b'\r'] if fields.is_empty() => {}
            [] | [b'\r'] => files.push(simple_file(&std::mem::take(&mut fields))?),
            [b' ' | b'\t', ..] => {
                let (latest, _) = fields.last()?;
                let read = ["package", "filename", "size", "sha256"].contains(&latest.as_str());
                if read || latest == "sha512" && reads_sha512(&fields) {
                    return None;
                }
            }
            [b'#' | b'-' | b':', ..] => return None,
            _ => {
                let colon = line.iter().position(|byte| *byte == b':')?;
                let (name, value) = line.split_at(colon);
                let name = name
                    .iter()
                    .all(u8::is_ascii_graphic)
                    .then(|| name.to_ascii_lowercase())?;
                let name = String::from_utf8(name).expect("ASCII");
                if fields.len() == MOST_FIELDS || fields.iter().any(|(known, _)| *known == name) {
                    return None;
                }
                fields.push((name, value[1..].trim_ascii()));
            }
        }
    }
    Some(files)
}

fn simple_file(fields: &[(String, &[u8])]) -> Option<Shown> {
    let text = |name: &str| {
        let (_, value) = fields.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    };
    // Its text is never looked at, so it may be any bytes.
    fields
        .iter()
        .find(|(name, value)| name == "package" && !value.is_empty())?;
    let filename = text("filename")?;
    let path: RepoPath = filename.strip_prefix("./").unwrap_or(filename).parse().ok()?;
    let size = text("size").filter(|size| !size.is_empty() && size.bytes().all(|digit| digit.is_ascii_digit()))?;
    let size = size.parse::<i64>().ok()?;
    let hash = |name: &str, length: usize| {
        let hex = text(name).filter(|hex| hex.len() == length && hex.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        Some(hex.to_ascii_lowercase())
    };
    let has = |name: &str| fields.iter().any(|(known, _)| known == name);
    if has("sha512") && reads_sha512(fields) {
        hash("sha512", 128)?;
    }
    let hash = if has("sha256") {
        hash("sha256", 64)?
    } else {
        hash("sha512", 128)?
    };
    Some((path.to_string(), size.cast_unsigned(), hash))
}

/// Whether the field SHA512 counts: it does where no SHA256 stands before it.
fn reads_sha512(fields: &[(String, &[u8])]) -> bool {
    fields
        .iter()
        .find(|(name, _)| name.starts_with("sha256") || name.starts_with("sha512"))
        .is_some_and(|(name, _)| name == "sha512")
}

/// A Sources index: in pieces as in one, and printed and read again the same.
pub(super) fn sources(data: &[u8]) {
    let whole = read_sources([data].into_iter());
    assert_eq!(read_sources(pieces(data)), whole, "in pieces");
    match whole {
        Ok((files, packages)) => {
            assert!(files.len() as u64 >= packages);
            assert_sound(&files);
            let printed: String = files.iter().map(source_stanza).collect();
            let again = read_sources([printed.as_bytes()].into_iter()).expect("well-formed");
            assert_eq!(again, (files.clone(), files.len() as u64), "printed");
        }
        Err(error) => assert_harmless(&error),
    }
}

fn read_sources<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Files {
    let mut files = Vec::new();
    let mut reader = SourcesReader::new(|file| files.push(file));
    for piece in pieces {
        reader.push(piece)?;
    }
    let packages = reader.finish()?;
    Ok((files, packages))
}

/// A package with one file.
fn source_stanza(file: &PoolFile) -> String {
    let (_, size, hash) = shown(file);
    let kind = if hash.len() == 64 { "Sha256" } else { "Sha512" };
    let name = file.path.file_name();
    let directory = file
        .path
        .parent()
        .map_or_else(|| ".".to_owned(), |parent| format!("./{parent}"));
    format!("Package: x\nDirectory: {directory}\nChecksums-{kind}:\n {hash} {size} {name}\n\n")
}

/// A list as `sha256sum` writes it: of safe paths, and printed and read again the same.
pub(super) fn sums(data: &[u8]) {
    match parse_sums(data) {
        Ok(files) => {
            let mut printed = Vec::new();
            for file in &files {
                assert_safe_path(file.path.as_str());
                let digest = file.checksum.digest().expect("SHA-256");
                printed.push(format!("{digest} *./{}\n", file.path));
            }
            assert_eq!(parse_sums(printed.concat().as_bytes()), Ok(files), "printed");
        }
        Err(error) => assert_harmless(&error),
    }
}

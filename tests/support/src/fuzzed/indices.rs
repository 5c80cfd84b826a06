//! Properties of the texts in which an archive lists its files, and of their compressed forms.

use std::collections::BTreeSet;
use std::io::{BufReader, Read as _};

use mirrorctl::apt::{Compression, PackagesReader, ParseError, PoolFile, Release, decompress, indices, layout};
use mirrorctl::model::{Architecture, Component, HashType, RepoPath};
use mirrorctl::signature::without_check;

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
            for file in &files {
                assert_safe_path(file.path.as_str());
                assert!(i64::try_from(file.size).is_ok(), "no file has {} bytes", file.size);
            }
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

type Packages = Result<(Vec<PoolFile>, u64), ParseError>;

fn read_packages<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Packages {
    let mut files = Vec::new();
    let mut reader = PackagesReader::new(|file| files.push(file));
    for piece in pieces {
        reader.push(piece)?;
    }
    let packages = reader.finish()?;
    Ok((files, packages))
}

type Shown = (String, u64, String);

fn shown(file: &PoolFile) -> Shown {
    (file.path.to_string(), file.size, file.sha256.to_string())
}

fn stanza(file: &PoolFile) -> String {
    // "./" in front, as a path that begins with it otherwise would lose its own.
    let (path, size, sha256) = shown(file);
    format!("Package: x\nFilename: ./{path}\nSize: {size}\nSHA256: {sha256}\n\n")
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
            [] if fields.is_empty() => {}
            [] => files.push(simple_file(&std::mem::take(&mut fields))?),
            [b' ' | b'\t', ..] => {
                let (latest, _) = fields.last()?;
                if ["package", "filename", "size", "sha256"].contains(&latest.as_str()) {
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
    let sha256 = text("sha256").filter(|hex| hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    Some((path.to_string(), size.cast_unsigned(), sha256.to_ascii_lowercase()))
}

/// A Release file: what it lists is safe and consistent, what it offers can be asked for, and printed it is the same.
pub(super) fn release(data: &[u8]) {
    let text = match without_check(data) {
        Ok(text) => text,
        Err(error) => return assert_harmless(&error),
    };
    let release = match Release::parse(&text) {
        Ok(release) => release,
        Err(error) => return assert_harmless(&error),
    };
    for (path, file) in &release.files {
        assert_safe_path(path.as_str());
        assert!(i64::try_from(file.size).is_ok(), "no file has {} bytes", file.size);
        assert!(
            file.hashes.is_sorted_by(|one, next| one.kind < next.kind),
            "{:?}",
            file.hashes
        );
        let sha256 = file.hashes.iter().find(|hash| hash.kind == HashType::Sha256);
        assert_eq!(sha256.map(|hash| &*hash.hex), Some(file.sha256.to_string().as_str()));
        for hash in &file.hashes {
            let lower = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
            assert!(
                hash.hex.len() == hash.kind.hex_length() && hash.hex.bytes().all(lower),
                "{hash:?}"
            );
            if let Ok(name) = layout::by_hash(path, hash) {
                assert_safe_path(name.as_str());
                assert_eq!(name.file_name(), &*hash.hex);
            }
        }
    }
    wants(&release);
    if let Some(printed) = print(&release) {
        let printed = without_check(printed.as_bytes()).expect("printable text");
        assert_eq!(Release::parse(&printed), Ok(release), "printed");
    }
}

/// Asks for everything that the files of `release` suggest, and for what its fields name.
fn wants(release: &Release) {
    let directories: BTreeSet<_> = release.files.keys().filter_map(RepoPath::parent).collect();
    let offers = directories
        .iter()
        .filter_map(|directory| directory.as_str().rsplit_once("/binary-"));
    let offers = offers.filter_map(|(component, architecture)| {
        let pair: (Component, Architecture) = (component.parse().ok()?, architecture.parse().ok()?);
        Some((vec![pair.0], vec![pair.1]))
    });
    for (components, architectures) in offers
        .take(8)
        .chain([(release.components.clone(), release.architectures.clone())])
    {
        match indices::wanted(release, &components, &architectures) {
            Ok(indices) => {
                for index in indices {
                    assert!(!index.variants.is_empty());
                    for variant in index.variants {
                        assert_eq!(release.files.get(&variant.path), Some(&variant.file));
                        assert!(variant.path.as_str().starts_with(index.plain.as_str()));
                    }
                }
            }
            Err(error) => drop(error.to_string()),
        }
    }
}

/// `None` when a date is in a year that is not written with four digits; its zone may have brought it there.
fn print(release: &Release) -> Option<String> {
    let mut text = String::new();
    for (name, value) in [
        ("Origin", &release.origin),
        ("Label", &release.label),
        ("Suite", &release.suite),
        ("Codename", &release.codename),
    ] {
        text.extend(value.iter().map(|value| format!("{name}: {value}\n")));
    }
    for (name, moment) in [("Date", release.date), ("Valid-Until", release.valid_until)] {
        if let Some(moment) = moment {
            text += &format!("{name}: {}\n", rfc_2822(moment.unix())?);
        }
    }
    if release.acquire_by_hash {
        text.push_str("Acquire-By-Hash: yes\n");
    }
    let joined = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(" ");
    let architectures = joined(&mut release.architectures.iter().map(Architecture::as_str));
    let components = joined(&mut release.components.iter().map(Component::as_str));
    text += &format!("Architectures: {architectures}\nComponents: {components}\n");
    for kind in HashType::ALL {
        let files = release
            .files
            .iter()
            .flat_map(|(path, file)| file.hashes.iter().map(move |hash| (path, file, hash)));
        let lines = files.filter(|(_, _, hash)| hash.kind == kind);
        let lines: String = lines
            .map(|(path, file, hash)| format!(" {} {} {path}\n", hash.hex, file.size))
            .collect();
        if kind == HashType::Sha256 || !lines.is_empty() {
            text += &format!("{kind}:\n{lines}");
        }
    }
    Some(text)
}

/// The date as archives write it, by counting days: nothing of what reads it again is used.
fn rfc_2822(unix: i64) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // From 1 March of the year 0 on, leap days come last in their years.
    let (days, second) = (unix.div_euclid(86_400) + 719_468, unix.rem_euclid(86_400));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let january_on = i64::from(month >= 10);
    let name = MONTHS[usize::try_from((month + 2) % 12).expect("below 12")];
    let year = era * 400 + year + january_on;
    let clock = format!("{}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    (0..=9999)
        .contains(&year)
        .then(|| format!("{day} {name} {year:04} {clock} UTC"))
}

/// The first byte chooses a form: what comes out is never more than the cap, and the same in pieces.
pub(super) fn compression(data: &[u8]) {
    /// Enough for an input of a few kilobytes to reach it, and little work when it does.
    const CAP: u64 = 1 << 16;
    let Some((form, packed)) = data.split_first() else {
        return;
    };
    let form = Compression::ALL[usize::from(*form) % Compression::ALL.len()];
    let read = |buffer: usize| {
        let mut output = Vec::new();
        let mut reader = decompress(form, BufReader::with_capacity(buffer, packed), CAP)?;
        let outcome = reader.read_to_end(&mut output);
        assert!(output.len() as u64 <= CAP, "{} bytes came out", output.len());
        outcome.map(|_| output)
    };
    let (whole, pieces) = (read(1 << 16), read(1));
    assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} {pieces:?}");
    assert_eq!(whole.ok(), pieces.ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_printed_right() {
        for (unix, text) in [
            (0, "1 Jan 1970 0:00:00 UTC"),
            (1_709_164_800, "29 Feb 2024 0:00:00 UTC"),
            (1_754_737_353, "9 Aug 2025 11:02:33 UTC"),
            (-62_167_219_200, "1 Jan 0000 0:00:00 UTC"),
        ] {
            assert_eq!(rfc_2822(unix).as_deref(), Some(text));
        }
        assert_eq!(rfc_2822(-62_167_219_201), None);
    }
}

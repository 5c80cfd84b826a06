//! Properties of Release files, and of what is asked of an archive because of them.

use std::collections::BTreeSet;

use mirrorctl::apt::{Release, ReleaseFile, Selection, indices, layout, parse_file_list};
use mirrorctl::model::{Architecture, Checksum, Component, Content, HashType, RepoPath};
use mirrorctl::signature::without_check;

use super::{assert_harmless, assert_safe_path};

/// A Release file: what it lists is safe and consistent, what it offers can be asked for, and printed it is the same.
pub(super) fn release(data: &[u8]) {
    if let Ok(files) = parse_file_list(data) {
        for path in files.keys() {
            assert_safe_path(path.as_str());
        }
    }
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
        let sha512 = file.hashes.iter().find(|hash| hash.kind == HashType::Sha512);
        let expected = match file.checksum {
            Checksum::Sha256(digest) => (sha256, digest.to_string()),
            Checksum::Sha512(hash) => (sha256.or(sha512), hash.to_string()),
        };
        assert_eq!(expected.0.map(|hash| &*hash.hex), Some(expected.1.as_str()));
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
        for (flat, sources) in [(false, false), (false, true), (true, false)] {
            let content = Content {
                sources,
                contents: true,
                installer: true,
                ..Content::default()
            };
            let selection = Selection {
                flat,
                components: &components,
                architectures: &architectures,
                content: &content,
            };
            assert_offered(release, &selection);
        }
    }
}

fn assert_offered(release: &Release, selection: &Selection<'_>) {
    match indices::wanted(release, selection) {
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

/// `None` when a date is in a year that is not written with four digits; its zone may have brought it there.
fn print(release: &Release) -> Option<String> {
    let mut lines = Vec::new();
    for (name, value) in [
        ("Origin", &release.origin),
        ("Label", &release.label),
        ("Suite", &release.suite),
        ("Codename", &release.codename),
    ] {
        lines.extend(value.iter().map(|value| format!("{name}: {value}\n")));
    }
    for (name, moment) in [("Date", release.date), ("Valid-Until", release.valid_until)] {
        if let Some(moment) = moment {
            lines.push(format!("{name}: {}\n", rfc_2822(moment.unix())?));
        }
    }
    if release.acquire_by_hash {
        lines.push("Acquire-By-Hash: yes\n".to_owned());
    }
    let joined = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(" ");
    let architectures = joined(&mut release.architectures.iter().map(Architecture::as_str));
    let components = joined(&mut release.components.iter().map(Component::as_str));
    lines.push(format!("Architectures: {architectures}\nComponents: {components}\n"));
    for kind in HashType::ALL {
        let hashes = |(path, file): (&RepoPath, &ReleaseFile)| {
            let hash = file.hashes.iter().find(|hash| hash.kind == kind)?;
            Some(format!(" {} {} {path}\n", hash.hex, file.size))
        };
        let mut section: Vec<_> = release.files.iter().filter_map(hashes).collect();
        // A Release file without a section that is trusted is none, even where it lists nothing.
        if kind == HashType::Sha256 || !section.is_empty() {
            lines.push(format!("{kind}:\n"));
            lines.append(&mut section);
        }
    }
    Some(lines.concat())
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

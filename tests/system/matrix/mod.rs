//! Kinds of archives, by the tools that make them and the options these have, through the whole of mirrorctl to the tools
//! that read them.
//!
//! Owns a table of cells. Each is an archive made by `apt-ftparchive`, reprepro or aptly that is synced and served by nginx
//! from the mount. Then `current` has the files of upstream that are wanted, byte for byte, and no other; apt updates,
//! installs, gets sources, reads `Contents` and translations; and debmirror and aptly mirror what is served, and get the
//! same files.
//!
//! The full product of the options would be some thousand cells. The table is pairwise instead: any two options that one
//! tool can combine are together in at least one cell, which a test of its own asserts. Left out of that are compressions
//! and translations, as each tool has its own, flat archives, which have few options, and how much of an archive is mirrored.

mod archives;
mod checks;

use std::collections::BTreeSet;
use std::fmt::Debug;

use mirrorctl::demo::Signing;
use mirrorctl_testkit::{AptRoot, AptlyClient, FlatArchive, Mirror, Package, leave};

use crate::site::tree;
use checks::{Site, announce, check, files, is_by_hash, same_files, same_packages};

/// What makes an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    AptFtparchive,
    Reprepro,
    Aptly,
}

/// What becomes of something that archives may have beside `Packages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Upstream does not have it.
    Absent,
    /// Upstream has it, and it is mirrored.
    Mirrored,
    /// Upstream has it, and it is not mirrored.
    Left,
}

/// One archive, and how it is mirrored.
#[derive(Debug, Clone, Copy)]
struct Cell {
    name: &'static str,
    maker: Maker,
    signing: Signing,
    /// Whether upstream has names by hash. What is served always has.
    by_hash: bool,
    /// What is behind the names of indices: nothing, `gz` and so on. aptly has no choice.
    forms: &'static [&'static str],
    sources: Beside,
    contents: Beside,
    /// Only `apt-ftparchive` makes them.
    translations: Beside,
    /// They share the pool.
    suites: &'static [&'static str],
    components: &'static [&'static str],
    architectures: &'static [&'static str],
    versions: &'static [&'static str],
    /// Whether the first suite and component alone are mirrored.
    part: bool,
    /// Whether debmirror and aptly read such archives at all.
    mirrors: bool,
}

const ONE: &[&str] = &["main"];
const TWO: &[&str] = &["main", "contrib"];
const SLASH: &[&str] = &["main", "updates/main"];
const NEW: &[&str] = &["10"];
const MANY: &[&str] = &["2", "10", "9"];

/// What most cells have, to be written down where it differs.
const USUAL: Cell = Cell {
    name: "",
    maker: Maker::AptFtparchive,
    signing: Signing::All,
    by_hash: false,
    forms: &["", "gz", "bz2"],
    sources: Beside::Absent,
    contents: Beside::Absent,
    translations: Beside::Absent,
    suites: &["stable"],
    components: ONE,
    architectures: &["amd64"],
    versions: NEW,
    part: false,
    mirrors: true,
};

const APT_FTPARCHIVE: [Cell; 5] = [
    Cell {
        name: "every form, by hash, contents, translations, many versions",
        by_hash: true,
        forms: &["", "gz", "bz2", "xz", "zst", "lz4", "lzma"],
        contents: Beside::Mirrored,
        translations: Beside::Mirrored,
        components: TWO,
        versions: MANY,
        ..USUAL
    },
    Cell {
        name: "xz alone, all, sources, component with a slash",
        by_hash: true,
        forms: &["xz"],
        sources: Beside::Mirrored,
        contents: Beside::Left,
        translations: Beside::Left,
        components: SLASH,
        architectures: &["amd64", "all"],
        ..USUAL
    },
    Cell {
        name: "zst alone, Release and Release.gpg, one of two suites and components",
        signing: Signing::Detached,
        by_hash: true,
        forms: &["zst"],
        translations: Beside::Mirrored,
        suites: &["stable", "testing"],
        components: SLASH,
        // Neither reads zst, and debmirror wants gz or xz.
        mirrors: false,
        part: true,
        ..USUAL
    },
    Cell {
        name: "nothing compressed, InRelease alone, two suites",
        signing: Signing::InRelease,
        forms: &[""],
        contents: Beside::Left,
        suites: &["stable", "testing"],
        architectures: &["amd64", "all"],
        versions: MANY,
        ..USUAL
    },
    Cell {
        name: "gz and bz2, Release and Release.gpg, nothing but all",
        signing: Signing::Detached,
        forms: &["gz", "bz2"],
        sources: Beside::Left,
        contents: Beside::Mirrored,
        components: SLASH,
        architectures: &["all"],
        versions: MANY,
        ..USUAL
    },
];

const REPREPRO: [Cell; 3] = [
    Cell {
        name: "as it comes, one of two suites and components",
        maker: Maker::Reprepro,
        forms: &["", "gz"],
        sources: Beside::Left,
        contents: Beside::Left,
        suites: &["stable", "testing"],
        components: TWO,
        part: true,
        ..USUAL
    },
    Cell {
        name: "InRelease alone, gz and xz, sources and contents",
        maker: Maker::Reprepro,
        signing: Signing::InRelease,
        forms: &["gz", "xz"],
        sources: Beside::Mirrored,
        contents: Beside::Mirrored,
        suites: &["stable", "testing"],
        ..USUAL
    },
    Cell {
        name: "Release and Release.gpg, bz2 and xz, component with a slash",
        maker: Maker::Reprepro,
        signing: Signing::Detached,
        forms: &["bz2", "xz"],
        components: SLASH,
        ..USUAL
    },
];

const APTLY: [Cell; 6] = [
    Cell {
        name: "nothing but all, sources, many versions",
        maker: Maker::Aptly,
        sources: Beside::Mirrored,
        architectures: &["all"],
        versions: MANY,
        ..USUAL
    },
    Cell {
        name: "InRelease alone, by hash, contents, all, one of two components",
        maker: Maker::Aptly,
        signing: Signing::InRelease,
        by_hash: true,
        sources: Beside::Left,
        contents: Beside::Mirrored,
        components: TWO,
        architectures: &["amd64", "all"],
        part: true,
        ..USUAL
    },
    Cell {
        name: "Release and Release.gpg, by hash, nothing but all, one of two suites",
        maker: Maker::Aptly,
        signing: Signing::Detached,
        by_hash: true,
        sources: Beside::Mirrored,
        contents: Beside::Left,
        suites: &["stable", "testing"],
        components: TWO,
        architectures: &["all"],
        part: true,
        ..USUAL
    },
    Cell {
        name: "InRelease alone, component with a slash, nothing but all",
        maker: Maker::Aptly,
        signing: Signing::InRelease,
        components: SLASH,
        architectures: &["all"],
        ..USUAL
    },
    Cell {
        name: "Release and Release.gpg, by hash, many versions",
        maker: Maker::Aptly,
        signing: Signing::Detached,
        by_hash: true,
        sources: Beside::Left,
        architectures: &["amd64", "all"],
        versions: MANY,
        ..USUAL
    },
    Cell {
        name: "InRelease alone, by hash, sources, two suites",
        maker: Maker::Aptly,
        signing: Signing::InRelease,
        by_hash: true,
        sources: Beside::Mirrored,
        suites: &["stable", "testing"],
        components: TWO,
        ..USUAL
    },
];

#[test]
fn archives_made_by_apt_ftparchive() {
    APT_FTPARCHIVE.iter().for_each(check);
}

#[test]
fn archives_made_by_reprepro() {
    REPREPRO.iter().for_each(check);
}

#[test]
fn archives_made_by_aptly() {
    APTLY.iter().for_each(check);
}

#[test]
fn flat_archives() {
    for (directory, signing) in [
        ("./", Signing::All),
        ("./", Signing::InRelease),
        ("stable/", Signing::Detached),
    ] {
        announce(&format!("flat: {directory}, {signing:?}"));
        let archive = FlatArchive::new(directory);
        for version in MANY {
            archive.add(&Package::new("hello", version, "amd64").file("usr/share/hello/version", version));
        }
        archive.publish();
        leave(signing, &archive.root().join(directory));
        let site = Site::new(&archive.root(), &archive.key_file(), |upstream, key| {
            Mirror::new("site", &upstream.url())
                .suites(&[directory])
                .without("sections")
                .without("architectures")
                .key(key)
                .publish_to_production(true)
                .set("mirror_source", "true")
        });
        let served = site.served();
        let upstream = tree(&archive.root());
        same_files(&files(&served, |path| !is_by_hash(path)), &files(&upstream, |_| true));

        let apt = AptRoot::new();
        apt.sources(&site.lines(&[directory], &[], true));
        apt.update().success();
        apt.install(&["hello"]).success();
        assert_eq!(apt.installed("hello").as_deref(), Some("10"));
        apt.apt_get(&["source", "--download-only", "hello=9"]).run().success();
        assert!(apt.path().join("hello_9.dsc").is_file());
        // debmirror does not know flat archives.
        let aptly = AptlyClient::new();
        aptly.mirror(&site.url(), directory, &[], true, &site.key);
        same_packages(&aptly, &served);
    }
}

/// An option and its value in a cell.
type Choice = (&'static str, String);

fn choices(cell: &Cell) -> Vec<Choice> {
    let all: [(&str, &dyn Debug); 9] = [
        ("maker", &cell.maker),
        ("signing", &cell.signing),
        ("by-hash", &cell.by_hash),
        ("sources", &cell.sources),
        ("contents", &cell.contents),
        ("suites", &cell.suites.len()),
        ("components", &cell.components),
        ("architectures", &cell.architectures),
        ("versions", &cell.versions),
    ];
    all.map(|(option, value)| (option, format!("{value:?}"))).to_vec()
}

#[test]
fn any_two_options_meet_in_a_cell() {
    let cells: Vec<Vec<Choice>> = [&APT_FTPARCHIVE[..], &REPREPRO, &APTLY]
        .concat()
        .iter()
        .map(choices)
        .collect();
    let all: BTreeSet<&Choice> = cells.iter().flatten().collect();
    // reprepro has no names by hash, one version of each package, and no index of `all` alone.
    let fixed = ["by-hash", "architectures", "versions"];
    let usual = choices(&USUAL);
    let impossible = |a: &Choice, b: &Choice| a.1 == "Reprepro" && fixed.contains(&b.0) && !usual.contains(b);
    let mut missing = Vec::new();
    for (a, b) in all.iter().flat_map(|&a| all.iter().map(move |&b| (a, b))) {
        let meet = cells.iter().any(|cell| cell.contains(a) && cell.contains(b));
        if a.0 != b.0 && !meet && !impossible(a, b) && !impossible(b, a) {
            missing.push((a, b));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

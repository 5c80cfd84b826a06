//! Packages and names that are meant for whoever unpacks, mounts or prints them.
//!
//! Owns the tests of what mirrorctl does not do with what it mirrors: it unpacks nothing, takes no name of an archive for
//! one of its own, and shows nobody's characters as they are.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mirrorctl::model::Digest;
use mirrorctl_testkit::{Fault, sign};
use tar::{EntryType, Header};

use crate::attack::{Attack, forgeable};
use crate::kinds::compressed;
use crate::site::{SUITE, id};

/// A stanza of the package `name` with a file of these bytes at `path`.
fn stanza(name: &str, path: &str, bytes: &[u8]) -> String {
    format!(
        "\nPackage: {name}\nVersion: 1\nArchitecture: amd64\nFilename: {path}\nSize: {}\nSHA256: {}\n",
        bytes.len(),
        Digest::of(bytes)
    )
}

/// Puts the file into the archive.
fn put(attack: &Attack, path: &str, bytes: &[u8]) {
    let to = attack.site.archive.root().join(path);
    fs::create_dir_all(to.parent().expect("below the archive")).expect("own directory");
    fs::write(to, bytes).expect("own directory");
}

/// A member of an `ar` archive, of which a .deb is made.
fn member(name: &str, length: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n", 0, 0, 0, 100_644);
    [head.as_bytes(), data].concat()
}

/// A .deb with these members in the data.
fn package(entries: &[(&str, EntryType, Option<&str>, u64)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (path, kind, target, size) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(*size);
        // The library would refuse these names.
        header.as_gnu_mut().expect("made so").name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(target) = target {
            header.set_link_name_literal(target).expect("short");
        }
        if kind.is_character_special() || kind.is_block_special() {
            header.set_device_major(1).expect("small");
            header.set_device_minor(1).expect("small");
        }
        header.set_cksum();
        data.write_all(header.as_bytes()).expect("memory");
    }
    let data = compressed("gz", &data);
    let parts = [
        b"!<arch>\n".to_vec(),
        member("debian-binary", "4", b"2.0\n"),
        member("data.tar.gz", &data.len().to_string(), &data),
    ];
    parts.concat()
}

/// Asserts that below `directory` lie regular files and directories of nobody's choosing but ours.
fn assert_plain(directory: &Path) {
    for entry in fs::read_dir(directory).expect("readable") {
        let entry = entry.expect("an entry");
        let facts = entry.metadata().expect("readable");
        assert!(facts.is_dir() || facts.is_file(), "{}", entry.path().display());
        assert_eq!(facts.mode() & 0o4000, 0, "{}", entry.path().display());
        if facts.is_dir() {
            assert_plain(&entry.path());
        }
    }
}

/// Nothing is unpacked: packages with links, devices, names that lead out, lengths that lie, or that are no packages at
/// all, are bytes with a digest (U63).
#[test]
fn what_is_in_a_package_is_nobodys_business() {
    let attack = Attack::on(forgeable());
    let bomb = compressed("gz", &vec![0; 16 << 20]).repeat(8);
    let huge = member("data.tar", "9999999999", b"little");
    let evil = [
        (
            "link",
            package(&[
                ("x", EntryType::Symlink, Some("/etc/passwd"), 0),
                ("x/y", EntryType::Regular, None, 0),
            ]),
        ),
        (
            "hard-link",
            package(&[("x", EntryType::Link, Some("../../../etc/shadow"), 0)]),
        ),
        (
            "device",
            package(&[("mem", EntryType::Char, None, 0), ("disk", EntryType::Block, None, 0)]),
        ),
        ("fifo", package(&[("pipe", EntryType::Fifo, None, 0)])),
        (
            "outside",
            package(&[
                ("../../../escaped", EntryType::Regular, None, 0),
                ("/escaped", EntryType::Regular, None, 0),
            ]),
        ),
        ("huge", package(&[("big", EntryType::Regular, None, 0o77_777_777_777)])),
        ("lying", [b"!<arch>\n".to_vec(), huge].concat()),
        ("bomb", bomb),
        ("page", b"<html>no package</html>".to_vec()),
        ("empty", Vec::new()),
    ];
    let mut index = attack.index();
    for (name, bytes) in &evil {
        let path = format!("pool/{name}_1_amd64.deb");
        put(&attack, &path, bytes);
        index += &stanza(name, &path, bytes);
    }
    attack.serve_index(index.as_bytes());
    attack.site.sync();
    let files = attack.site.newest();
    for (name, bytes) in &evil {
        let (digest, size) = files[&format!("pool/{name}_1_amd64.deb")];
        assert_eq!((digest, size), (Digest::of(bytes), bytes.len() as u64), "{name}");
        assert_eq!(&fs::read(attack.site.blob(digest)).expect("a blob"), bytes, "{name}");
    }
    attack.site.assert_whole();
    assert_plain(&attack.site.env.state_dir());
    assert!(!Path::new("/escaped").exists());
    attack.ends();
}

/// Names of ours in an archive are names of files of the archive: what they stand for is decided by where they stand (U9).
#[test]
fn names_of_ours_are_an_archives_to_use() {
    let attack = Attack::on(forgeable());
    let (bytes, good) = (b"an ordinary file", attack.index());
    let names = [
        "current",
        "staging",
        ".mounted",
        ".doors/1/x",
        "snapshots/one/dists/bookworm/InRelease",
        "at/2024-01-01/x",
        "debian/current/x",
        "dists/bookworm/main/current",
        "catalog.db",
        "blobs/ab/x",
        "tmp/x",
        ".hidden",
        "-rf",
        "nul",
        "~",
    ];
    // One name has a meaning in archives, and is refused where an index claims it.
    let by_hash = "pool/by-hash/SHA256/x";
    attack.serve_index((attack.index() + &stanza("odd", by_hash, bytes)).as_bytes());
    attack.is_refused("by-hash", 5, &[by_hash]);
    let mut index = good;
    for name in names {
        put(&attack, name, bytes);
        index += &stanza("odd", name, bytes);
    }
    attack.serve_index(index.as_bytes());
    let newest = attack.site.sync()["snapshot"]["name"]
        .as_str()
        .expect("recorded")
        .to_owned();
    let files = attack.site.newest();
    for name in names {
        assert_eq!(
            files.get(name),
            Some(&(Digest::of(bytes), bytes.len() as u64)),
            "{name}"
        );
    }
    for pointer in ["staging", "current"] {
        assert_eq!(attack.site.pointer("debian", pointer).as_deref(), Some(newest.as_str()));
    }
    assert_eq!(
        attack.site.catalog().mirrors().expect("readable"),
        [(
            attack.site.catalog().mirror(&id("debian")).expect("the only one"),
            id("debian")
        )]
    );
    attack.site.assert_whole();
    attack.ends();
}

/// Characters that steer a terminal, from wherever upstream may write them, reach nobody's terminal (U64).
#[test]
fn no_terminal_is_steered_by_what_upstream_writes() {
    let attack = Attack::on(forgeable());
    let directory = attack.site.archive.root().join("dists").join(SUITE);
    let release = fs::read_to_string(directory.join("Release")).expect("a Release file");
    let steers = |text: &str| {
        let steering = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        text.contains(steering)
    };
    let evil = "\u{202e}Evil\u{9b}31m\u{2066}";
    let with = |value: &str| release.replacen("Origin: Example", &format!("Origin: {value}"), 1);
    // In a field that changes, and is told of.
    sign(&attack.site.archive, SUITE, &with(evil));
    let ran = attack.is_refused("a new origin", 5, &["Origin", "Evil"]);
    assert!(!steers(&ran.stderr), "{ran:?}");
    // ASCII controls are no text of a Release file at all.
    sign(&attack.site.archive, SUITE, &with("\u{1b}]0;owned\u{7}"));
    let ran = attack.is_refused("an escape", 5, &["control character"]);
    assert!(!steers(&ran.stderr), "{ran:?}");
    // In what HTTP says.
    sign(&attack.site.archive, SUITE, &with("Other"));
    for fault in [
        Fault::Raw(format!("HTTP/1.1 500 {evil}\r\nContent-Length: 0\r\n\r\n").into_bytes()),
        Fault::Raw(b"HTTP/1.1 500 \x1b[31mred\r\nContent-Length: 0\r\n\r\n".to_vec()),
        Fault::Raw(format!("HTTP/1.1 200 OK\r\nContent-Encoding: {evil}\r\nContent-Length: 0\r\n\r\n").into_bytes()),
        Fault::Redirect(format!("/{evil}")),
        Fault::Redirect(format!("http://{evil}/")),
        Fault::Body(evil.as_bytes().to_vec()),
        Fault::Body(b"-----BEGIN PGP SIGNED MESSAGE-----\n\x1b[2J\n".to_vec()),
    ] {
        attack.site.upstream.fault("dists/*/InRelease", fault.clone());
        attack.site.configure_all(
            mirrorctl_testkit::Config::new()
                .mirror(attack.site.mirror("debian"))
                .set_in("http", "retries", "0"),
        );
        let ran = attack.site.run("sync").failure();
        assert!(!steers(&ran.stderr) && !steers(&ran.stdout), "{fault:?}: {ran:?}");
        let ran = attack.site.run("--json -l debug sync").failure();
        assert!(!steers(&ran.stderr), "{fault:?}: {ran:?}");
        ran.json();
        attack.changed_nothing(&format!("{fault:?}"));
        attack.site.upstream.clear_faults();
    }
    // In a field that was accepted, everywhere it is shown.
    sign(&attack.site.archive, SUITE, &with(evil));
    attack.site.run("sync --accept-release-info").success();
    for line in [
        "status",
        "snapshot list --detailed",
        "snapshot history",
        "sync --dry-run",
        "check config",
    ] {
        let ran = attack.site.run(line).success();
        assert!(!steers(&ran.stdout) && !steers(&ran.stderr), "{line}: {ran:?}");
    }
}

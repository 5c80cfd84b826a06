//! Indices and Release files with good signatures that are too large, broken, or packed to be either.
//!
//! Owns the tests of limits: of lines, fields, stanzas, files, and of the memory that decompressing may take. That the
//! limits hold is shown by running the program with little memory.

use std::fs;
use std::io::Write as _;

use mirrorctl_testkit::{Fault, Ran, sign};

use crate::attack::{Attack, INDEX, forgeable, serve};
use crate::kinds::{FORMS, compressed};
use crate::site::{SUITE, Site};

/// More memory of its own than a sync of the largest archive takes; far less than any of the bombs wants.
const LITTLE_MEMORY: u64 = 256 << 20;

fn sync_with(memory: u64, site: &Site) -> Ran {
    site.env.command(&["sync"]).memory(memory).run()
}

/// Broken and endless text in the one index, by its own words (U22, U24, U27).
#[test]
fn indices_that_no_archive_makes_are_refused() {
    let attack = Attack::on(forgeable());
    let index = attack.index();
    let with = |field: &str| index.replacen("\nFilename:", &format!("\n{field}\nFilename:"), 1);
    let fields: Vec<String> = (0..1_000_000).map(|n| format!("X-{n}: y")).collect();
    let long = "x".repeat(2 << 20);
    for (what, text, says) in [
        (
            "a line of 2 MiB",
            with(&format!("Depends: {long}")),
            "longer than 1048576 bytes",
        ),
        (
            "a continued line of 2 MiB",
            with(&format!("Depends:\n {long}")),
            "longer than 1048576 bytes",
        ),
        ("a name of 2 MiB", with(&long), "longer than 1048576 bytes"),
        ("a line without end", long.clone(), "longer than 1048576 bytes"),
        ("a million fields", with(&fields.join("\n")), "more than 512 fields"),
        ("a field twice", with("Size: 1"), "the field Size occurs twice"),
        ("a field twice, in another case", with("sIZE: 1"), "occurs twice"),
        (
            "a continuation at the beginning",
            format!(" x\n{index}"),
            "starts with a continuation line",
        ),
        ("no field", with("nothing"), "is not \"Name: value\""),
        (
            "a page",
            "<html><body>Log in</body></html>".into(),
            "is not \"Name: value\"",
        ),
        ("a NUL", with("\0: x"), "is not \"Name: value\""),
        (
            "no file name",
            index.replacen("\nFilename:", "\nFilenam:", 1),
            "Filename",
        ),
    ] {
        attack.serve_index(text.as_bytes());
        attack.is_refused(what, 5, &[INDEX, says]);
    }
    // What only looks odd is an index: no line end at the end, many between stanzas, digests in capitals.
    let capitals = |line: &str| match line.strip_prefix("SHA256: ") {
        Some(digest) => format!("SHA256: {}\n", digest.to_uppercase()),
        None => format!("{line}\n"),
    };
    let odd: String = index.lines().map(capitals).collect();
    attack.serve_index(odd.replace("\n\n", "\n\n\n\n").trim_end().as_bytes());
    attack.site.sync();
    attack.ends();
}

/// Release files that are too long in every direction (U21, U22, U24).
#[test]
fn release_files_beyond_any_measure_are_refused() {
    let attack = Attack::on(forgeable());
    let directory = attack.site.archive.root().join("dists").join(SUITE);
    let release = fs::read_to_string(directory.join("Release")).expect("a Release file");
    let before_files = |text: &str| release.replacen("SHA256:\n", &format!("{text}\nSHA256:\n"), 1);
    let fields: Vec<String> = (0..600).map(|n| format!("X-{n}: y")).collect();
    let digest = "0".repeat(64);
    let beside = |line: &str| format!("{release} {line}\n");
    for (what, text, says) in [
        (
            "a line of 2 MiB",
            before_files(&format!("X: {}", "x".repeat(2 << 20))),
            "longer than 1048576 bytes",
        ),
        ("many fields", before_files(&fields.join("\n")), "more than 512 fields"),
        (
            "a field twice",
            before_files("Suite: other"),
            "the field Suite occurs twice",
        ),
        ("two stanzas", before_files(""), "a second one starts"),
        ("no hash", beside("1 main/x"), "is not a SHA256 hash"),
        (
            "a short hash",
            beside(&format!("{} 1 main/x", &digest[1..])),
            "is not a SHA256 hash",
        ),
        (
            "a negative size",
            beside(&format!("{digest} -1 main/x")),
            "is not a SHA256 hash",
        ),
        (
            "a size beyond 64 bits",
            beside(&format!("{digest} 18446744073709551616 main/x")),
            "is not a SHA256 hash",
        ),
        (
            "a name that leads out",
            beside(&format!("{digest} 1 ../../../etc/passwd")),
            "etc/passwd",
        ),
        (
            "two sizes of a file",
            beside(&format!("{digest} 1 {INDEX}")),
            "different sizes",
        ),
        (
            "weak hashes alone",
            release.replacen("SHA256:\n", "SHA256-Old:\n", 1),
            "SHA256",
        ),
    ] {
        sign(&attack.site.archive, SUITE, &text);
        attack.is_refused(what, 5, &[SUITE, says]);
    }
    // Longer than a Release file may be, signed or not: not even read to its end.
    for pattern in ["dists/*/InRelease", "dists/*Release*"] {
        attack.site.upstream.fault(pattern, Fault::Body(vec![b'x'; 17 << 20]));
        attack.is_refused(pattern, 1, &["InRelease", "longer than 16777216 bytes"]);
        attack.site.upstream.clear_faults();
    }
    attack.ends();
}

/// What no disk has room for is refused before it is fetched: packages by their listed sizes, alone or together, and an
/// index as soon as upstream begins to send it (U17).
#[test]
fn sizes_beyond_any_disk_are_refused_before_they_are_fetched() {
    let attack = Attack::on(forgeable());
    // Other files than those that the cache has.
    let other = |line: &str| match line.strip_prefix("SHA256: ") {
        Some(digest) => format!("SHA256: {}\n", digest.chars().rev().collect::<String>()),
        None => format!("{line}\n"),
    };
    let genuine = attack.index();
    let index: String = genuine.lines().map(other).collect();
    let petabyte = "1000000000000000";
    let sizes: Vec<&str> = index.lines().filter(|line| line.starts_with("Size: ")).collect();
    let all = |size: &str| {
        let sized = |text: String, from: &&str| text.replacen(*from, &format!("Size: {size}"), 1);
        sizes.iter().fold(index.clone(), sized)
    };
    for (what, text) in [
        ("one", index.replacen(sizes[0], &format!("Size: {petabyte}"), 1)),
        ("all", all(petabyte)),
        ("more than 64 bits together", all("9223372036854775807")),
    ] {
        attack.serve_index(text.as_bytes());
        attack.site.upstream.take_requests();
        attack.is_refused(what, 4, &["are to be fetched"]);
        assert_eq!(attack.site.upstream.hits("pool/*"), 0, "{what}");
    }
    attack.serve_index(format!("{genuine}\n").as_bytes());
    let directory = attack.site.archive.root().join("dists").join(SUITE);
    let release = fs::read_to_string(directory.join("Release")).expect("a Release file");
    let listed = release
        .lines()
        .find(|line| line.ends_with(&format!(" {INDEX}")))
        .expect("listed");
    let digest = listed.split_whitespace().next().expect("a digest");
    let huge = format!(" {digest} {petabyte} {INDEX}");
    sign(&attack.site.archive, SUITE, &release.replacen(listed, &huge, 1));
    attack.site.upstream.fault(&format!("*/{INDEX}"), Fault::Endless);
    attack.is_refused("an index", 4, &["are to be fetched"]);
    // One that is not offered takes no room.
    let packed = format!("{INDEX}.gz");
    serve(
        &attack.site,
        INDEX,
        &[(&packed, &compressed("gz", genuine.as_bytes()))],
        &[(INDEX, genuine.as_bytes())],
    );
    let release = fs::read_to_string(directory.join("Release")).expect("a Release file");
    let of_another = format!("{release} {digest} {petabyte} main/binary-amd64/Packages.xz\n");
    sign(&attack.site.archive, SUITE, &of_another);
    attack.site.upstream.clear_faults();
    attack.site.sync();
    attack.ends();
}

/// The stanza of an index, in a thousand pieces of a thousand each, without ever being in memory whole.
fn many_stanzas(thousands: usize, stanza: impl Fn(usize) -> String) -> Vec<u8> {
    let mut packed = Vec::new();
    for thousand in 0..thousands {
        let stanzas: String = (0..1_000).map(|n| stanza(thousand * 1_000 + n)).collect();
        packed.extend(compressed("gz", stanzas.as_bytes()));
    }
    packed
}

/// An index of ten million stanzas ends at the first beyond a million, in little memory (U23).
#[test]
fn an_index_with_millions_of_stanzas_is_refused_in_little_memory() {
    let attack = Attack::on(forgeable());
    let packed = format!("{INDEX}.gz");
    let piece = many_stanzas(1, |_| "Package: aa\n\n".to_owned());
    let no_files = piece.repeat(10_000);
    let digest = "0".repeat(64);
    let other_files = many_stanzas(1_100, |n| {
        format!("Package: p\nFilename: p/{n}\nSize: 1\nSHA256: {digest}\n\n")
    });
    let same_file =
        many_stanzas(1, |_| format!("Package: p\nFilename: p\nSize: 1\nSHA256: {digest}\n\n")).repeat(10_000);
    for (what, bytes, says) in [
        ("stanzas without files", no_files, "Filename"),
        ("as many files", other_files, "more than 1048576 stanzas"),
        ("the same file", same_file, "more than 1048576 stanzas"),
    ] {
        serve(&attack.site, INDEX, &[(&packed, &bytes)], &[]);
        let ran = sync_with(LITTLE_MEMORY, &attack.site);
        attack.was_refused(what, ran, 5, &[&packed, says]);
    }
    attack.ends();
}

/// So many bytes of zeros, packed: one part, packed once, again and again, which every form takes for one file.
fn zeros(form: &str, bytes: usize) -> Vec<u8> {
    const PART: usize = 16 << 20;
    compressed(form, &vec![0; PART]).repeat(bytes / PART)
}

/// Little that unpacks to half a gigabyte ends at what the Release file lists, or at the first line that is none (U26).
#[test]
fn bombs_go_off_in_little_memory_in_every_form() {
    let attack = Attack::on(forgeable());
    for form in FORMS {
        let (packed, bomb) = (format!("{INDEX}.{form}"), zeros(form, 512 << 20));
        assert!(bomb.len() < 8 << 20, "{form}: {}", bomb.len());
        for (listed, says) in [
            (
                &[(INDEX, &[b'\n'; 1_000][..])][..],
                "longer than the expected 1000 bytes",
            ),
            (&[], "longer than 1048576 bytes"),
        ] {
            serve(&attack.site, INDEX, &[(&packed, &bomb)], listed);
            let ran = sync_with(LITTLE_MEMORY, &attack.site);
            attack.was_refused(form, ran, 5, &[&packed, says]);
        }
    }
    // A sync that takes more than it may have dies of it, so the limit is one.
    let ran = sync_with(1 << 20, &attack.site);
    assert!(ran.status.code().is_none_or(|code| code != 5), "{ran}");
    attack.ends();
}

/// An xz file whose head asks for a dictionary of 4 GiB.
fn greedy_xz() -> Vec<u8> {
    let mut file = compressed("xz", b"Package: aa\n");
    // Behind the head of the stream: the size of the block's head in words but one, its flags, the filter's number and the
    // length of its properties, then the dictionary's size as a power of two, which goes up to 40.
    assert_eq!(file[14..16], [0x21, 1], "one filter, LZMA2");
    file[16] = 40;
    let end = 12 + (usize::from(file[12]) + 1) * 4;
    let mut check = flate2::Crc::new();
    check.update(&file[12..end - 4]);
    file[end - 4..end].copy_from_slice(&check.sum().to_le_bytes());
    file
}

/// An lzma file whose head asks for a dictionary of 4 GiB.
fn greedy_lzma() -> Vec<u8> {
    let mut file = compressed("lzma", b"Package: aa\n");
    file[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    file
}

/// A zstd file whose head asks for a window of 2 GiB.
fn greedy_zstd() -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.write_all(b"Package: aa\n").expect("memory");
    let mut file = encoder.finish().expect("memory");
    assert_eq!(file[4] & 0b10_0000, 0, "a window is told");
    // Ten more than the upper five bits, as a power of two.
    file[5] = (31 - 10) << 3;
    file
}

/// A dictionary or window of gigabytes is refused by what the head says, before anything of it is taken (U26).
#[test]
fn dictionaries_of_gigabytes_are_refused_in_little_memory() {
    let attack = Attack::on(forgeable());
    for (form, bytes) in [("xz", greedy_xz()), ("lzma", greedy_lzma()), ("zst", greedy_zstd())] {
        let packed = format!("{INDEX}.{form}");
        serve(&attack.site, INDEX, &[(&packed, &bytes)], &[(INDEX, b"Package: aa\n")]);
        let ran = sync_with(LITTLE_MEMORY, &attack.site);
        attack.was_refused(form, ran, 5, &[&packed]);
    }
    attack.ends();
}

/// Damage to packed indices, each with the right hash in the Release file (U25).
#[test]
fn damaged_packed_indices_are_refused_in_every_form() {
    let attack = Attack::on(forgeable());
    let index = attack.index();
    for form in FORMS {
        let packed = format!("{INDEX}.{form}");
        let good = compressed(form, index.as_bytes());
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 0x10;
        for (what, bytes) in [
            ("cut off", good[..good.len() - 5].to_vec()),
            ("hardly begun", good[..3].to_vec()),
            ("empty", Vec::new()),
            ("a bit flipped", flipped),
            (
                "followed by something else",
                [&good[..], b"garbage garbage garbage"].concat(),
            ),
            ("not packed at all", index.clone().into_bytes()),
        ] {
            serve(&attack.site, INDEX, &[(&packed, &bytes)], &[(INDEX, index.as_bytes())]);
            attack.is_refused(&format!("{form}: {what}"), 5, &[&packed]);
        }
    }
    attack.ends();
}

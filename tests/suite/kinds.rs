//! Syncs of every kind of archive and of every kind of index.
//!
//! Owns what is mirrored: which files of an archive come, how each is verified, and that none of them is fetched twice.
//! The archives are our own and well-behaved but for the one thing that each test says.

use std::fs;
use std::io::Write as _;

use mirrorctl::model::{Digest, HashType};
use mirrorctl_testkit::{Config, Deb, Fault, Mirror, Signing, SuiteSpec, TestEnv, Variant, sign};

use crate::site::{Files, SUITE, Site, deb, three};

const INDEX: &str = "dists/bookworm/main/binary-amd64/Packages";

/// A suite with one small package.
fn one() -> SuiteSpec {
    SuiteSpec::new(SUITE).package("main", deb("aa", "1", 2_000))
}

/// The paths below `prefix`, without it and without names by hash.
fn below<'a>(files: &'a Files, prefix: &str) -> Vec<&'a str> {
    let paths = files.keys().filter(|path| !path.contains("/by-hash/"));
    paths.filter_map(|path| path.strip_prefix(prefix)).collect()
}

/// A mirror of flat repositories.
fn flat(mirror: Mirror, suites: &[&str]) -> Mirror {
    mirror.suites(suites).without("sections").without("architectures")
}

// ---- Indices besides Packages ---------------------------------------------------------------------------------------

/// A suite with every index that mirrorctl knows.
fn everything() -> SuiteSpec {
    let sums = format!("{}  ./netboot/mini.iso\n", Digest::of(b"image"));
    one()
        .architectures(&["amd64", "arm64"])
        .index("main/i18n/Translation-en", "Package: aa\n")
        .index("main/i18n/Translation-de", "Package: aa\nDescription-de: x\n")
        .index("main/dep11/Components-amd64.yml", "File: DEP-11\n")
        .index("main/dep11/Components-arm64.yml", "File: DEP-11\nx\n")
        .index("main/dep11/icons-64x64.tar", "icons")
        .index("main/cnf/Commands-amd64", "suite: x\n")
        .index("main/Contents-amd64", "usr/bin/aa aa\n")
        .index("Contents-amd64", "usr/bin/aa main/aa\n")
        .file("main/binary-amd64/Release", "Archive: x\n")
        .file("main/binary-amd64/Packages.diff/Index", "SHA256-Current: x\n")
        .file("main/installer-amd64/current/images/SHA256SUMS", sums)
        .unlisted("main/installer-amd64/current/images/netboot/mini.iso", "image")
}

#[test]
fn what_clients_ask_for_comes_by_default_and_nothing_else() {
    let site = Site::new([everything()]);
    site.configure(|mirror| mirror);
    site.sync();
    let files = site.newest();
    let others: Vec<&str> = below(&files, "dists/bookworm/")
        .into_iter()
        .filter(|path| !path.starts_with("main/binary-amd64/Packages."))
        .collect();
    let expected = [
        "InRelease",
        "Release",
        "Release.gpg",
        "main/binary-amd64/Release",
        "main/cnf/Commands-amd64.gz",
        "main/cnf/Commands-amd64.xz",
        "main/dep11/Components-amd64.yml.gz",
        "main/dep11/Components-amd64.yml.xz",
        "main/dep11/icons-64x64.tar.gz",
        "main/dep11/icons-64x64.tar.xz",
        "main/i18n/Translation-de.gz",
        "main/i18n/Translation-de.xz",
        "main/i18n/Translation-en.gz",
        "main/i18n/Translation-en.xz",
    ];
    assert_eq!(others, expected);
    // Everything that Release lists is found by hash too.
    let by_hash = files
        .keys()
        .filter(|path| path.starts_with("dists/bookworm/main/i18n/by-hash/"));
    assert_eq!(by_hash.count(), 4 * HashType::ALL.len());
    // A difference between indices is not even asked for.
    assert_eq!(site.upstream.hits("*Packages.diff*"), 0);
    site.assert_whole();
}

#[test]
fn each_kind_of_index_can_be_switched() {
    let site = Site::new([everything()]);
    let with = |keys: &[(&str, &str)]| {
        let mirror = keys
            .iter()
            .fold(site.mirror("debian"), |mirror, (key, value)| mirror.set(key, value));
        site.configure_all(Config::new().mirror(mirror));
        site.sync();
        site.newest()
    };
    let files = with(&[
        ("content.contents", "true"),
        ("content.installer", "true"),
        ("content.translations", "[\"*\"]"),
        ("content.appstream", "false"),
        ("content.command_not_found", "false"),
    ]);
    let has = |path: &str| files.contains_key(&format!("dists/bookworm/{path}"));
    for path in [
        "Contents-amd64.gz",
        "main/Contents-amd64.xz",
        "main/i18n/Translation-de.xz",
        "main/i18n/Translation-en.xz",
        "main/installer-amd64/current/images/SHA256SUMS",
        "main/installer-amd64/current/images/netboot/mini.iso",
    ] {
        assert!(has(path), "{path}: {files:?}");
    }
    for path in ["main/cnf/Commands-amd64.xz", "main/dep11/Components-amd64.yml.gz"] {
        assert!(!has(path), "{path}");
    }
    site.assert_whole();
    // Another choice is a new snapshot though upstream has nothing new.
    let none = with(&[("content.translations", "[]")]);
    assert!(below(&none, "dists/bookworm/main/i18n/").is_empty());
    assert_eq!(site.snapshots("debian").len(), 2);
}

#[test]
fn an_index_that_clients_ask_for_must_be_there_and_one_that_none_asks_for_need_not() {
    let suite = one()
        .index("main/i18n/Translation-en", "Package: aa\n")
        .file("main/binary-amd64/Release", "Archive: x\n");
    let site = Site::new([suite]);
    for (pattern, status) in [
        ("*Translation-en*", 404),
        ("*i18n/by-hash*", 410),
        ("*binary-amd64/Release", 404),
        ("*binary-amd64/by-hash/*", 404),
    ] {
        site.upstream.fault(pattern, Fault::Status(status));
    }
    let said = site.run("sync").failure();
    said.stderr_has("dists/bookworm/main/i18n/Translation-en")
        .stderr_has("table content");
    assert!(site.snapshots("debian").is_empty());
    site.configure(|mirror| mirror.set("content.translations", "[]"));
    let said = site.run("sync").success();
    said.stderr_has("main/binary-amd64/Release").stderr_has("left out");
    assert!(!site.newest().contains_key("dists/bookworm/main/binary-amd64/Release"));
    site.assert_whole();
}

#[test]
fn an_index_that_is_there_must_be_right_whatever_it_is_for() {
    let path = "dists/bookworm/main/i18n/Translation-en.xz";
    for fault in [Fault::Status(500), Fault::WrongByte] {
        let site = Site::new([one().by_hash(false).index("main/i18n/Translation-en", "Package: aa\n")]);
        site.upstream.fault(path, fault);
        site.run("sync").failure().stderr_has(path);
        assert!(site.snapshots("debian").is_empty());
    }
    // A form that says something else.
    let suite = one()
        .file("main/i18n/Translation-en", "Package: aa\n")
        .file("main/i18n/Translation-en.gz", compressed("gz", b"Package: xx\n"));
    let site = Site::new([suite]);
    site.run("sync").code(5).stderr_has("Translation-en.gz");
    assert!(site.snapshots("debian").is_empty());
}

#[test]
fn images_of_the_installer_are_what_their_list_says() {
    let list = "main/installer-amd64/current/images/SHA256SUMS";
    let site_of = |sums: String| {
        let spec = one()
            .file(list, sums)
            .unlisted("main/installer-amd64/current/images/a.img", "image");
        let site = Site::new([spec]);
        site.configure(|mirror| mirror.set("content.installer", "true"));
        site
    };
    let good = format!("{}  ./a.img\n", Digest::of(b"image"));
    let wrong = format!("{}  ./a.img\n", Digest::of(b"other"));
    let absent = format!("{good}{}  ./b.img\n", Digest::of(b"x"));
    let leaving = format!("{good}{}  ../../../../../a.img\n", Digest::of(b"x"));
    for (sums, why) in [
        (wrong, "a.img"),
        (absent, "b.img"),
        (leaving, "SHA256SUMS"),
        ("x\n".to_owned(), "SHA256SUMS"),
    ] {
        let site = site_of(sums);
        site.run("sync").failure().stderr_has(why);
        assert!(site.snapshots("debian").is_empty());
    }
    let site = site_of(good);
    site.sync();
    assert_eq!(
        below(&site.newest(), "dists/bookworm/main/installer-amd64/current/images/"),
        ["SHA256SUMS", "a.img"]
    );
    assert_eq!(site.sync()["outcome"], "unchanged");
}

#[test]
fn translations_that_only_an_index_lists_are_found() {
    let text = b"Package: aa\n";
    let lines = |kind: &str, hash: &str| format!("{kind}:\n {hash} {} Translation-en\n", text.len());
    let strong = lines("SHA1", &"ab".repeat(20)) + &lines("SHA256", &Digest::of(text).to_string());
    let weak = lines("SHA1", &"ab".repeat(20));
    for (index, found) in [(strong, &["Index", "Translation-en"][..]), (weak, &["Index"])] {
        let site = Site::new([one()
            .file("main/i18n/Index", index)
            .unlisted("main/i18n/Translation-en", *text)]);
        let said = site.run("sync").success();
        if found.len() == 1 {
            said.stderr_has("weak hashes");
        }
        assert_eq!(below(&site.newest(), "dists/bookworm/main/i18n/"), found);
        site.assert_whole();
    }
}

// ---- Sources and components -----------------------------------------------------------------------------------------

/// The stanza of a source package with one file below `directory`.
fn source(directory: &str, file: &str, bytes: &[u8]) -> String {
    let (digest, size) = (Digest::of(bytes), bytes.len());
    format!(
        "Package: src\nBinary: aa\nVersion: 1\nDirectory: {directory}\nFiles:\n {} {size} {file}\nChecksums-Sha256:\n \
         {digest} {size} {file}\n",
        "ab".repeat(16)
    )
}

#[test]
fn source_packages_come_with_all_their_files() {
    let bytes = b"the source";
    let site = Site::new([one().index("main/source/Sources", source("src/s", "s_1.dsc", bytes))]);
    let place = site.archive.root().join("src/s/s_1.dsc");
    fs::create_dir_all(place.parent().expect("has one")).expect("makes");
    fs::write(&place, bytes).expect("writes");
    site.sync();
    assert!(below(&site.newest(), "src/").is_empty(), "it was not asked for");
    site.configure(|mirror| mirror.set("mirror_source", "true"));
    site.sync();
    let files = site.newest();
    assert_eq!(below(&files, "src/"), ["s/s_1.dsc"]);
    assert_eq!(
        below(&files, "dists/bookworm/main/source/"),
        ["Sources.gz", "Sources.xz"]
    );
    site.assert_whole();

    // The same number of other bytes, for somebody who does not have the file yet.
    fs::write(&place, b"another so").expect("writes");
    let fresh = TestEnv::new(site.env.binary());
    fresh.configure(Config::new().mirror(site.mirror("other").set("mirror_source", "true")));
    fresh.mirrorctl(&["sync"]).code(5).stderr_has("src/s/s_1.dsc");
}

#[test]
fn source_packages_that_cannot_be_had_are_an_error() {
    let site = Site::new([one()]);
    site.configure(|mirror| mirror.set("mirror_source", "true"));
    site.run("sync")
        .code(1)
        .stderr_has("main/source/Sources")
        .stderr_has("mirror_source");
    let weak = "Package: src\nDirectory: src\nFiles:\n 00000000000000000000000000000000 1 s.dsc\n";
    let site = Site::new([one().index("main/source/Sources", weak)]);
    site.configure(|mirror| mirror.set("mirror_source", "true"));
    site.run("sync").code(5).stderr_has("s.dsc").stderr_has("trusted hash");
    assert!(Site::fetched(&site.upstream.requests(), "pool/").is_empty());
}

#[test]
fn components_and_suites_may_have_slashes() {
    let suite = SuiteSpec::new("bookworm/updates")
        .components(&["main", "main/debian-installer"])
        .architectures(&["amd64", "all"])
        .package("main", deb("aa", "1", 100))
        .package("main", Deb::new("data", "1", "all"))
        .package("main/debian-installer", deb("udeb", "1", 100))
        .index("main/Contents-amd64", "usr/bin/aa aa\n")
        .index("main/Contents-udeb-amd64", "usr/bin/udeb udeb\n");
    let site = Site::new([suite]);
    let mirror = |sections: &[&str]| {
        let mirror = site.mirror("debian").suites(&["bookworm/updates"]).sections(sections);
        Config::new().mirror(mirror.set("content.contents", "true"))
    };
    site.configure_all(mirror(&["main", "main/debian-installer"]));
    site.sync();
    let files = site.newest();
    for path in [
        "InRelease",
        "main/binary-amd64/Packages.xz",
        "main/binary-all/Packages.xz",
        "main/debian-installer/binary-amd64/Packages.xz",
        "main/Contents-amd64.xz",
        "main/Contents-udeb-amd64.xz",
    ] {
        assert!(files.contains_key(&format!("dists/bookworm/updates/{path}")), "{path}");
    }
    assert_eq!(below(&files, "pool/").len(), 3);
    // Some archives write the suite's directory before their components; the paths are what counts.
    site.configure_all(mirror(&["updates/main"]));
    site.run("sync")
        .code(1)
        .stderr_has("it has main, main/debian-installer");
}

#[test]
fn an_index_of_all_that_repeats_the_others_may_be_absent() {
    let tree_of = |says: &str| {
        let suite = three().architectures(&["amd64", "all"]);
        let site = Site::new([suite]);
        let directory = site.archive.root().join("dists").join(SUITE);
        let release = fs::read_to_string(directory.join("Release")).expect("a Release file");
        sign(
            &site.archive,
            SUITE,
            &release.replace("SHA256:\n", &format!("{says}SHA256:\n")),
        );
        // As debmirror and apt-mirror leave it out when they are told of amd64 alone.
        fs::remove_dir_all(directory.join("main/binary-all")).expect("removes");
        site
    };
    let debian = "No-Support-for-Architecture-all: Packages\n";
    tree_of("").run("sync").code(1).stderr_has("binary-all/Packages");
    let site = tree_of(debian);
    site.run("sync").success().stderr_has("binary-all/Packages");
    let files = site.newest();
    assert_eq!(below(&files, "pool/").len(), 3);
    assert!(below(&files, "dists/bookworm/main/binary-all/").is_empty());
    site.assert_whole();
    assert_eq!(site.sync()["outcome"], "unchanged");

    let site = tree_of(debian);
    let tree = site.archive.root().display().to_string();
    site.run(&format!("import debian {tree}")).success();
    assert_eq!(below(&site.newest(), "pool/").len(), 3);
}

#[test]
fn every_version_of_a_package_comes() {
    let mut site = Site::small();
    for version in ["2", "3", "4~rc1"] {
        let deb = deb("aa", version, 500);
        site.archive.add_version(SUITE, "main", &deb).expect("a package");
    }
    site.publish();
    site.sync();
    let versions = below(&site.newest(), "pool/main/a/aa/").len();
    assert_eq!(versions, 4);
}

// ---- Compression ----------------------------------------------------------------------------------------------------

/// `bytes` in the compressed form with this suffix.
pub(crate) fn compressed(suffix: &str, bytes: &[u8]) -> Vec<u8> {
    match suffix {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        }
        "bz2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        }
        "xz" | "lzma" => {
            let options = liblzma::stream::LzmaOptions::new_preset(1).expect("a preset");
            let stream = if suffix == "xz" {
                liblzma::stream::Stream::new_easy_encoder(1, liblzma::stream::Check::Crc64)
            } else {
                liblzma::stream::Stream::new_lzma_encoder(&options)
            };
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream.expect("an encoder"));
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        }
        "zst" => zstd::encode_all(bytes, 3).expect("memory"),
        "lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        }
        other => panic!("no form is called {other}"),
    }
}

pub(crate) const FORMS: [&str; 6] = ["lz4", "zst", "gz", "xz", "lzma", "bz2"];

#[test]
fn an_index_may_have_any_form() {
    for form in FORMS {
        let site = Site::new([three().served(&[Variant::Plain])]);
        let plain = fs::read(site.archive.root().join(INDEX)).expect("an index");
        let site = Site::new([three()
            .listed(&[Variant::Plain])
            .served(&[])
            .file(&format!("main/binary-amd64/Packages.{form}"), compressed(form, &plain))]);
        site.sync();
        let files = site.newest();
        assert_eq!(below(&files, "pool/").len(), 3, "{form}");
        assert_eq!(below(&files, INDEX), [format!(".{form}")]);
        site.assert_whole();
    }
}

#[test]
fn an_index_may_have_the_line_ends_of_windows() {
    let site = Site::new([three().served(&[Variant::Plain])]);
    let plain = fs::read_to_string(site.archive.root().join(INDEX)).expect("an index");
    let text = compressed("gz", plain.replace('\n', "\r\n").as_bytes());
    let site = Site::new([three()
        .listed(&[])
        .served(&[])
        .file("main/binary-amd64/Packages.gz", text)]);
    site.sync();
    assert_eq!(below(&site.newest(), "pool/").len(), 3);
    site.assert_whole();
}

#[test]
fn a_form_that_is_not_the_listed_index_is_refused_whatever_it_is() {
    for form in FORMS {
        let path = format!("main/binary-amd64/Packages.{form}");
        let bomb = compressed(form, &vec![b'\n'; 8 << 20]);
        let mut damaged = compressed(form, b"Package: aa\n");
        damaged.truncate(damaged.len() - 4);
        for bytes in [bomb, damaged] {
            let site = Site::new([three().listed(&[Variant::Plain]).served(&[]).file(&path, bytes)]);
            site.run("sync").failure().stderr_has(&path);
            assert!(Site::fetched(&site.upstream.requests(), "pool/").is_empty(), "{form}");
        }
    }
}

#[test]
fn what_an_index_decompresses_to_is_found_out_once() {
    let text = b"Package: aa\n";
    let mut site = Site::new([three().index("main/i18n/Translation-en", *text)]);
    site.sync();
    for form in ["gz", "xz"] {
        let (digest, size) = site.newest()[&format!("dists/bookworm/main/i18n/Translation-en.{form}")];
        let known = site.catalog().uncompressed(digest).expect("readable").expect("known");
        assert_eq!((known.digest, known.size), (Digest::of(text), text.len() as u64));
        // Whoever decompressed this again would fail.
        let blob = site.blob(digest);
        fs::remove_file(&blob).expect("removes");
        fs::write(&blob, vec![0; usize::try_from(size).expect("small")]).expect("writes");
    }
    site.archive.refresh(SUITE).expect("a suite");
    site.publish();
    assert_eq!(site.sync()["outcome"], "recorded");
}

// ---- Flat repositories ----------------------------------------------------------------------------------------------

#[test]
fn flat_repositories_are_mirrored_wherever_they_are() {
    for (suite, prefix) in [("./", ""), ("stable/", "stable/"), ("a/b/", "a/b/")] {
        let mut site = Site::new([SuiteSpec::flat(suite).package("main", deb("aa", "1", 2_000))]);
        site.configure_all(Config::new().mirror(flat(site.mirror("debian"), &[suite])));
        assert_eq!(site.sync()["outcome"], "recorded");
        let files = site.newest();
        let names = [
            "InRelease",
            "Packages.gz",
            "Packages.xz",
            "Release",
            "Release.gpg",
            "aa_1_amd64.deb",
        ];
        let expected: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
        let mut found = below(&files, "");
        found.retain(|path| !path.starts_with("by-hash/"));
        assert_eq!(found, expected, "{suite}");
        assert_eq!(files.keys().filter(|path| path.contains("by-hash/SHA256/")).count(), 2);
        site.assert_whole();
        assert_eq!(site.sync()["outcome"], "unchanged");
        site.archive.add(suite, "main", &deb("bb", "1", 10)).expect("a package");
        site.publish();
        assert_eq!(site.sync()["outcome"], "recorded");
        assert!(site.newest().contains_key(&format!("{prefix}bb_1_amd64.deb")));
    }
}

#[test]
fn flat_repositories_may_have_everything_or_next_to_nothing() {
    let bytes = b"the source";
    let spec = SuiteSpec::flat("./")
        .by_hash(false)
        .signing(Signing::Detached)
        .package("main", deb("aa", "1", 10))
        .index("Sources", source(".", "s_1.dsc", bytes))
        .index("en", "Package: aa\n");
    let site = Site::new([spec]);
    fs::write(site.archive.root().join("s_1.dsc"), bytes).expect("writes");
    let mirror = |mirror| flat(mirror, &["./"]);
    site.configure_all(Config::new().mirror(mirror(site.mirror("debian")).set("mirror_source", "true")));
    site.sync();
    let files = site.newest();
    for path in [
        "Release",
        "Release.gpg",
        "Sources.xz",
        "en.gz",
        "s_1.dsc",
        "aa_1_amd64.deb",
    ] {
        assert!(files.contains_key(path), "{path}: {files:?}");
    }
    assert!(!files.contains_key("InRelease"));

    let site = Site::new([SuiteSpec::flat("./").listed(&[]).served(&[]).file("other", "x")]);
    site.configure_all(Config::new().mirror(mirror(site.mirror("debian"))));
    site.run("sync")
        .code(1)
        .stderr_has("Packages")
        .stderr_has("flat repository");
}

#[test]
fn several_flat_repositories_make_one_mirror() {
    let spec = |name: &str, package| SuiteSpec::flat(name).package("main", deb(package, "1", 10));
    let site = Site::new([spec("./", "aa"), spec("extra/", "bb")]);
    site.configure_all(Config::new().mirror(flat(site.mirror("debian"), &["./", "extra/"])));
    site.sync();
    let files = site.newest();
    for path in ["InRelease", "aa_1_amd64.deb", "extra/InRelease", "extra/bb_1_amd64.deb"] {
        assert!(files.contains_key(path), "{path}");
    }
}

// ---- Hashes ---------------------------------------------------------------------------------------------------------

#[test]
fn sha512_alone_is_enough_and_nothing_is_fetched_twice() {
    for (release, pool) in [
        (&[HashType::Sha512][..], &[HashType::Sha512][..]),
        (&[HashType::Sha1, HashType::Sha512], &[HashType::Sha256]),
        (&[HashType::Sha256], &[HashType::Md5Sum, HashType::Sha512]),
    ] {
        let spec = three()
            .hashes(release.iter().copied())
            .pool_hashes(pool.iter().copied());
        let mut site = Site::new([spec]);
        site.sync();
        site.assert_whole();
        assert_eq!(Site::fetched(&site.upstream.take_requests(), "pool/").len(), 3);
        let strongest = release.last().expect("one");
        let files = site.newest();
        assert!(
            files
                .keys()
                .any(|path| path.contains(&format!("/by-hash/{strongest}/")))
        );

        site.add(&deb("dd", "1", 30));
        site.sync();
        let fetched = Site::fetched(&site.upstream.take_requests(), "pool/");
        assert_eq!(fetched.keys().collect::<Vec<_>>(), [&site.pool("dd")]);
        // Neither for another mirror, nor where an index stayed as it is.
        site.archive.refresh(SUITE).expect("a suite");
        site.publish();
        site.configure_all(Config::new().mirror(site.mirror("debian")).mirror(site.mirror("other")));
        site.json("sync");
        let fetched = Site::fetched(&site.upstream.take_requests(), "");
        assert!(
            fetched
                .keys()
                .all(|path| path.ends_with("Release") || path.ends_with("Release.gpg")),
            "{fetched:?}"
        );
        site.assert_whole();
    }
}

#[test]
fn bytes_that_sha512_does_not_fit_are_refused() {
    let sha512 = || three().hashes([HashType::Sha512]).pool_hashes([HashType::Sha512]);
    let site = Site::new([sha512().by_hash(false)]);
    site.upstream.fault(&site.pool("bb"), Fault::WrongByte);
    site.run("sync")
        .code(5)
        .stderr_has(&site.pool("bb"))
        .stderr_has("SHA-512");
    assert!(site.snapshots("debian").is_empty());
    // What did arrive is kept by the hash it is listed with.
    site.upstream.clear_faults();
    site.upstream.take_requests();
    site.sync();
    let fetched = Site::fetched(&site.upstream.requests(), "pool/");
    assert!(
        fetched.contains_key(&site.pool("bb")) && !fetched.contains_key(&site.pool("aa")),
        "{fetched:?}"
    );

    let site = Site::new([sha512().by_hash(false)]);
    site.upstream.fault(&format!("{INDEX}.xz"), Fault::WrongByte);
    site.run("sync").code(5).stderr_has("Packages.xz");
}

#[test]
fn weak_hashes_alone_are_refused() {
    let weak = [HashType::Md5Sum, HashType::Sha1];
    let site = Site::new([three().hashes(weak)]);
    site.run("sync")
        .code(5)
        .stderr_has("neither a SHA256 nor a SHA512 section");
    let site = Site::new([three().pool_hashes([HashType::Md5Sum])]);
    site.run("sync").code(5).stderr_has("no field SHA256");
    assert!(Site::fetched(&site.upstream.requests(), "pool/").is_empty());
}

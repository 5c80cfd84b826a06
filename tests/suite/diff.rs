//! What `snapshot diff` tells of two states of an archive.
//!
//! Owns the proof that whoever reads a difference before promoting learns everything that clients will notice, and never
//! takes what could not be read for no difference.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mirrorctl::model::Digest;
use mirrorctl_testkit::{Config, Deb, GpgHome, Mirror, SuiteSpec};
use serde_json::Value;

use crate::site::{SUITE, Site, deb, text, three};

/// Syncs what the archive has now, under the name of a snapshot.
#[track_caller]
fn snapshot(site: &Site, name: &str) {
    site.sync();
    site.run(&format!("snapshot create debian {name}")).success();
}

/// The difference between two snapshots.
#[track_caller]
fn diff(site: &Site, line: &str) -> Value {
    let document = site.json(&format!("snapshot diff debian {line}"));
    assert_eq!(document["mirror"], "debian");
    document
}

/// What became of packages, in short: `upgraded aa 1 -> 2 [amd64]`.
fn told(difference: &Value) -> Vec<String> {
    let suites = difference["suites"].as_array().expect("a list").iter();
    let packages = suites.flat_map(|suite| suite["packages"].as_array().expect("a list"));
    let told = packages.map(|package| {
        let version = |side: &str| package[side]["version"].as_str().unwrap_or("-").to_owned();
        let architectures: Vec<String> = package["architectures"]
            .as_array()
            .expect("a list")
            .iter()
            .map(text)
            .collect();
        let source = if package["source"] == true { " source" } else { "" };
        let (kind, name) = (text(&package["change"]), text(&package["package"]));
        let (from, to) = (version("from"), version("to"));
        format!("{kind} {name} {from} -> {to} [{}]{source}", architectures.join(","))
    });
    told.collect()
}

/// Members of the difference's `files`.
fn files(difference: &Value, names: [&str; 5]) -> [u64; 5] {
    names.map(|name| difference["files"][name].as_u64().expect("a number"))
}

const COUNTS: [&str; 5] = ["rebuilt", "downgraded", "removed", "upgraded", "added"];

fn size_of(site: &Site, path: &str) -> u64 {
    fs::metadata(site.archive.root().join(path)).expect("a file").len()
}

#[test]
fn upgrades_downgrades_additions_and_removals() {
    let mut site = Site::small();
    let old = site.pool("cc");
    let (gone, old_aa) = (size_of(&site, &old), size_of(&site, &site.pool("aa")));
    let old_bb = size_of(&site, &site.pool("bb"));
    snapshot(&site, "one");
    site.archive.remove(SUITE, "cc").expect("a package");
    for package in [deb("aa", "1.10", 3_000), deb("bb", "1~rc1", 100), deb("dd", "1", 5)] {
        site.archive.add(SUITE, "main", &package).expect("a package");
    }
    site.publish();
    snapshot(&site, "two");

    let difference = diff(&site, "one two --files");
    let expected = [
        "downgraded bb 1 -> 1~rc1 [amd64]",
        "removed cc 1 -> - [amd64]",
        "upgraded aa 1 -> 1.10 [amd64]",
        "added dd - -> 1 [amd64]",
    ];
    assert_eq!(told(&difference), expected);
    assert_eq!(difference["identical"], false);
    let suite = &difference["suites"][0];
    assert_eq!((&suite["suite"], &suite["change"]), (&SUITE.into(), &"changed".into()));
    for counts in [suite, &difference["packages"]] {
        assert_eq!(
            COUNTS.map(|kind| counts[kind].as_u64().expect("a number")),
            [0, 1, 1, 1, 1]
        );
    }
    let new: u64 = ["aa", "bb", "dd"]
        .iter()
        .map(|name| size_of(&site, &site.pool(name)))
        .sum();
    assert_eq!(suite["new_bytes"], new, "what clients fetch, no less and no more");
    assert_eq!(suite["gone_bytes"], gone + old_aa + old_bb);
    let aa = &suite["packages"][2];
    assert_eq!(aa["to"]["bytes"], size_of(&site, &site.pool("aa")));
    assert_eq!(aa["to"]["files"][0], site.pool("aa"));
    assert_eq!(
        (&aa["component"], &aa["from"]["architecture"]),
        (&"main".into(), &"amd64".into())
    );

    // The files are those that the two snapshots have, by-hash names apart.
    let listed = difference["files"]["paths"].as_array().expect("asked for");
    let found: Vec<(String, String)> = listed
        .iter()
        .map(|path| (text(&path["path"]), text(&path["change"])))
        .collect();
    let (one, two) = (site.files("debian", "one"), site.files("debian", "two"));
    let mut paths: Vec<&String> = one
        .keys()
        .chain(two.keys())
        .filter(|path| !path.contains("/by-hash/"))
        .collect();
    paths.sort();
    paths.dedup();
    let changed = paths
        .into_iter()
        .filter_map(|path| match (one.get(path), two.get(path)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(_), Some(_)) => Some((path.clone(), "changed".to_owned())),
            (Some(_), None) => Some((path.clone(), "removed".to_owned())),
            (None, _) => Some((path.clone(), "added".to_owned())),
        });
    assert_eq!(found, changed.collect::<Vec<_>>());
    // Three Release files and two forms of the index changed.
    assert_eq!(
        files(&difference, ["added", "removed", "changed", "added", "removed"])[..3],
        [3, 3, 5]
    );
    assert!(difference["files"]["new_bytes"].as_u64().expect("a number") > new);
    assert_eq!(diff(&site, "one two")["files"]["paths"], Value::Null);

    let human = site.run("snapshot diff debian one two").success();
    let position = |text: &str| {
        human
            .stdout
            .find(text)
            .unwrap_or_else(|| panic!("no {text:?} in {human}"))
    };
    let order = [
        "one -> two",
        "SUITE",
        SUITE,
        "downgraded:",
        "1 -> 1~rc1",
        "removed:",
        "upgraded:",
        "added:",
        "files: ",
    ];
    let positions = order.map(position);
    assert!(positions.is_sorted(), "{human}");
}

#[test]
fn the_way_back_is_told_the_other_way_round() {
    let mut site = Site::small();
    snapshot(&site, "one");
    site.add(&deb("aa", "2", 10));
    snapshot(&site, "two");
    assert_eq!(told(&diff(&site, "one two")), ["upgraded aa 1 -> 2 [amd64]"]);
    assert_eq!(told(&diff(&site, "two one")), ["downgraded aa 2 -> 1 [amd64]"]);
    site.run("snapshot diff debian two one").success().stdout_has("OLDER");
}

#[test]
fn other_content_under_the_same_name_is_told_first() {
    let mut site = Site::small();
    snapshot(&site, "one");
    let pool = site.pool("bb");
    site.archive.add(SUITE, "main", &deb("aa", "2", 10)).expect("a package");
    site.add(&deb("bb", "1", 2_001));
    assert_eq!(site.pool("bb"), pool);
    snapshot(&site, "two");
    let difference = diff(&site, "one two");
    assert_eq!(
        told(&difference),
        ["rebuilt bb 1 -> 1 [amd64]", "upgraded aa 1 -> 2 [amd64]"]
    );
    assert_eq!(difference["files"]["replaced"], serde_json::json!([pool]));
    let human = site.run("snapshot diff debian one two").success();
    let warning = human
        .stdout
        .find("warning: 1 file of packages have other content")
        .expect("a warning");
    assert!(
        warning < human.stdout.find("upgraded:").expect("the upgrade"),
        "{human}"
    );
    assert!(
        human.stdout.contains("rebuilt (same version, other content):"),
        "{human}"
    );
}

#[test]
fn several_versions_stand_beside_each_other() {
    let mut site = Site::small();
    let version = |site: &mut Site, version: &str| {
        let package = deb("aa", version, 10);
        site.archive.add_version(SUITE, "main", &package).expect("a package");
        site.publish();
    };
    version(&mut site, "2");
    snapshot(&site, "one");
    version(&mut site, "3");
    snapshot(&site, "two");
    let difference = diff(&site, "one two");
    assert_eq!(told(&difference), ["added aa - -> 3 [amd64]"]);
    assert_eq!(difference["suites"][0]["packages"][0]["beside"], "2");
    site.run("snapshot diff debian one two")
        .success()
        .stdout_has("3 (beside 2)");
}

#[test]
fn nothing_differs_from_itself() {
    let mut site = Site::small();
    snapshot(&site, "one");
    site.run("snapshot create debian again").success();
    for line in ["one one", "one again"] {
        let difference = diff(&site, line);
        assert_eq!(
            (&difference["identical"], told(&difference)),
            (&true.into(), Vec::new())
        );
        site.run(&format!("snapshot diff debian {line}"))
            .success()
            .stdout_has("are the same");
    }
    // Signed anew, with the same packages.
    site.archive.refresh(SUITE).expect("a suite");
    site.publish();
    snapshot(&site, "two");
    let difference = diff(&site, "one two");
    assert_eq!(
        (&difference["identical"], &difference["suites"][0]["change"]),
        (&false.into(), &"unchanged".into())
    );
    assert_ne!(difference["suites"][0]["date_from"], difference["suites"][0]["date_to"]);
    site.run("snapshot diff debian one two")
        .success()
        .stdout_has("no package differs");
}

#[test]
fn suites_come_and_go_and_security_comes_first() {
    let by_label = SuiteSpec::new("zz-updates").origin("Debian", "Debian-Security");
    let suites = [
        three(),
        SuiteSpec::new("bookworm-security").package("main", deb("sec", "1", 10)),
        by_label.package("main", deb("lab", "1", 10)),
        SuiteSpec::new("aa-other").package("main", deb("other", "1", 10)),
    ];
    let mut site = Site::new(suites);
    let with = |site: &Site, suites: &[&str]| site.configure(|mirror| mirror.suites(suites));
    with(&site, &["bookworm", "aa-other", "bookworm-security"]);
    snapshot(&site, "one");
    site.archive
        .add("bookworm-security", "main", &deb("sec", "2", 10))
        .expect("a package");
    site.add(&deb("aa", "2", 10));
    with(&site, &["bookworm", "bookworm-security", "zz-updates"]);
    snapshot(&site, "two");
    let difference = diff(&site, "one two");
    let suites = difference["suites"].as_array().expect("a list");
    let suites: Vec<_> = suites
        .iter()
        .map(|suite| (text(&suite["suite"]), suite["security"] == true, text(&suite["change"])))
        .collect();
    let expected = [
        ("bookworm-security", true, "changed"),
        ("zz-updates", true, "added"),
        ("aa-other", false, "removed"),
        ("bookworm", false, "changed"),
    ];
    assert_eq!(
        suites,
        expected.map(|(suite, security, change)| (suite.to_owned(), security, change.to_owned()))
    );
    let expected = [
        "upgraded sec 1 -> 2 [amd64]",
        "added lab - -> 1 [amd64]",
        "removed other 1 -> - [amd64]",
        "upgraded aa 1 -> 2 [amd64]",
    ];
    assert_eq!(told(&difference), expected);
    let human = site.run("snapshot diff debian one two").success();
    for remark in ["new suite", "suite is gone", "security"] {
        assert!(human.stdout.contains(remark), "{human}");
    }
}

#[test]
fn a_suite_inside_another_keeps_its_own() {
    let suites = [
        three(),
        SuiteSpec::new("bookworm/updates").package("main", deb("up", "1", 10)),
    ];
    let mut site = Site::new(suites);
    site.configure(|mirror| mirror.suites(&["bookworm", "bookworm/updates"]));
    snapshot(&site, "one");
    site.archive
        .add("bookworm/updates", "main", &deb("up", "2", 10))
        .expect("a package");
    site.publish();
    snapshot(&site, "two");
    let difference = diff(&site, "one two");
    assert_eq!(told(&difference), ["upgraded up 1 -> 2 [amd64]"]);
    let changes = [0, 1].map(|at| text(&difference["suites"][at]["change"]));
    assert_eq!(changes, ["unchanged", "changed"]);
}

#[test]
fn a_package_for_all_architectures_is_one_and_a_new_architecture_is_told() {
    let suite = SuiteSpec::new(SUITE).architectures(&["amd64", "arm64"]);
    let suite = suite
        .package("main", deb("aa", "1", 10))
        .package("main", Deb::new("data", "1", "all"));
    let mut site = Site::new([suite.package("main", Deb::new("aa", "1", "arm64"))]);
    let both = ["amd64", "arm64"];
    site.configure(|mirror| mirror.architectures(&["amd64"]));
    snapshot(&site, "one");
    site.configure(|mirror| mirror.architectures(&both));
    snapshot(&site, "two");
    let difference = diff(&site, "one two");
    assert_eq!(
        told(&difference),
        ["added aa - -> 1 [arm64]", "added data - -> 1 [arm64]"]
    );
    let suite = &difference["suites"][0];
    assert_eq!(suite["new_indices"], serde_json::json!(["main/binary-arm64"]));
    let arm = site
        .archive
        .pool_paths()
        .into_iter()
        .find(|path| path.contains("arm64"))
        .expect("a path");
    assert_eq!(
        suite["new_bytes"],
        size_of(&site, arm),
        "the package for all was there before"
    );
    site.run("snapshot diff debian one two")
        .success()
        .stdout_has("new indices: main/binary-arm64");

    for package in [
        Deb::new("data", "2", "all"),
        Deb::new("aa", "2", "arm64"),
        deb("aa", "2", 20),
    ] {
        site.archive.add(SUITE, "main", &package).expect("a package");
    }
    site.publish();
    snapshot(&site, "three");
    let expected = [
        "upgraded aa 1 -> 2 [amd64]",
        "upgraded aa 1 -> 2 [arm64]",
        "upgraded data 1 -> 2 [amd64,arm64]",
    ];
    assert_eq!(told(&diff(&site, "two three")), expected);
    // People get one line for both.
    let human = site.run("snapshot diff debian two three").success();
    assert_eq!(human.stdout.matches("amd64,arm64").count(), 2, "{human}");
}

#[test]
fn flat_repositories_are_compared_by_architecture() {
    let suite = SuiteSpec::flat("./").package("main", deb("aa", "1", 10));
    let mut site = Site::new([suite.package("main", Deb::new("aa", "1", "arm64"))]);
    let flat = |mirror: Mirror| mirror.suites(&["./"]).without("sections").without("architectures");
    site.configure_all(Config::new().mirror(flat(site.mirror("debian"))));
    snapshot(&site, "one");
    site.archive
        .add("./", "main", &Deb::new("aa", "2", "arm64"))
        .expect("a package");
    site.publish();
    snapshot(&site, "two");
    let difference = diff(&site, "one two");
    assert_eq!(told(&difference), ["upgraded aa 1 -> 2 []"]);
    let package = &difference["suites"][0]["packages"][0];
    assert_eq!(
        (&package["component"], &package["to"]["architecture"]),
        (&Value::Null, &"arm64".into())
    );
    site.run("snapshot diff debian one two").success().stdout_has("arm64");
}

#[test]
fn source_packages_are_compared_by_all_their_files() {
    let sources = |version: &str, content: &str| {
        let line = format!(
            " {} {} s_{version}.tar\n",
            Digest::of(content.as_bytes()),
            content.len()
        );
        format!("Package: s\nVersion: {version}\nDirectory: src/s\nChecksums-Sha256:\n{line}")
    };
    let mut site = Site::new([three().index("main/source/Sources", sources("1", "one"))]);
    let place = site.archive.root().join("src/s");
    fs::create_dir_all(&place).expect("makes");
    let publish = |site: &mut Site, version: &str, content: &str| {
        fs::write(place.join(format!("s_{version}.tar")), content).expect("writes");
        let index = sources(version, content);
        site.archive
            .alter(SUITE, |suite| suite.index("main/source/Sources", index))
            .expect("a suite");
        site.publish();
    };
    publish(&mut site, "1", "one");
    site.configure(|mirror| mirror.set("mirror_source", "true"));
    snapshot(&site, "one");
    publish(&mut site, "2", "seven..");
    snapshot(&site, "two");
    publish(&mut site, "2", "7 bytes");
    snapshot(&site, "three");
    let difference = diff(&site, "one two");
    assert_eq!(told(&difference), ["upgraded s 1 -> 2 [] source"]);
    assert_eq!(difference["suites"][0]["new_bytes"], 7);
    let difference = diff(&site, "two three");
    assert_eq!(told(&difference), ["rebuilt s 2 -> 2 [] source"]);
    assert_eq!(difference["files"]["replaced"], serde_json::json!(["src/s/s_2.tar"]));
}

#[test]
fn a_reindexed_mirror_is_compared_by_its_own_indices() {
    let mut site = Site::small();
    let gpg = GpgHome::new();
    let secret = site.env.key(
        "secret.asc",
        &gpg.secret_armored(&gpg.key("Mirror <mirror@example.org>")),
    );
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("own file");
    let configure = |site: &Site, exclude: &str| {
        let filters = [
            ("exclude_patterns", exclude.to_owned()),
            ("reindex", "true".to_owned()),
            ("signing_key_path", format!("{:?}", secret.display().to_string())),
        ];
        let config = Config::new().mirror(site.mirror("debian"));
        let with = |config: Config, (key, value): &(&str, String)| config.set_in("mirrors.debian.filters", key, value);
        site.configure_all(filters.iter().fold(config, with));
    };
    configure(&site, "[\"cc\"]");
    snapshot(&site, "one");
    site.archive.add(SUITE, "main", &deb("cc", "2", 10)).expect("a package");
    site.add(&deb("aa", "2", 10));
    snapshot(&site, "two");
    assert_eq!(told(&diff(&site, "one two")), ["upgraded aa 1 -> 2 [amd64]"]);
    configure(&site, "[\"bb\"]");
    snapshot(&site, "three");
    assert_eq!(
        told(&diff(&site, "two three")),
        ["removed bb 1 -> - [amd64]", "added cc - -> 2 [amd64]"]
    );
}

#[test]
fn without_names_it_says_what_promoting_would_change() {
    let mut site = Site::small();
    site.configure(|mirror| {
        mirror
            .publish_to_staging(true)
            .set("environments", "[\"staging\", \"qa\", \"current\"]")
    });
    site.sync();
    let name = site.snapshots("debian").remove(0);
    // Nothing was ever published.
    let refused = site.run("snapshot diff debian").code(4);
    for words in [
        "debian/current leads nowhere yet",
        "snapshot publish debian",
        "snapshot list debian",
    ] {
        assert!(refused.stderr.contains(words), "{refused}");
    }
    site.run("snapshot diff debian qa staging")
        .code(4)
        .stderr_has("debian/qa leads nowhere yet");
    site.run("snapshot promote debian").success();
    assert_eq!(diff(&site, "")["identical"], true);
    site.add(&deb("aa", "2", 10));
    site.sync();
    let difference = diff(&site, "");
    assert_eq!(told(&difference), ["upgraded aa 1 -> 2 [amd64]"]);
    let sides = ["from", "to"].map(|side| text(&difference[side]["pointer"]));
    assert_eq!(sides, ["current", "staging"]);
    assert_eq!(difference["from"]["snapshot"], name);
    let newer = site.snapshots("debian").remove(0);
    // One name is what production could become.
    assert_eq!(diff(&site, &newer)["suites"], difference["suites"]);
    assert_eq!(diff(&site, &format!("{name} {newer}"))["to"]["pointer"], Value::Null);
    site.run("snapshot diff debian")
        .success()
        .stdout_has(&format!("{name} (current) -> {newer} (staging)"));
}

#[test]
fn unknown_names_are_told_with_the_nearest() {
    let site = Site::small();
    site.run("snapshot diff debian")
        .code(1)
        .stderr_has("run mirrorctl sync");
    snapshot(&site, "before-update");
    site.run("snapshot diff debian before-updaet before-update")
        .code(1)
        .stderr_has("mirror debian has no snapshot before-updaet")
        .stderr_has("did you mean \"before-update\"?");
    site.run("snapshot diff debian stagin before-update")
        .code(1)
        .stderr_has("did you mean \"staging\"?");
    site.run("snapshot diff debian a/b before-update")
        .code(2)
        .stderr_has("\"a/b\"");
    site.run("snapshot diff debain")
        .code(2)
        .stderr_has("did you mean \"debian\"?");
    site.run("snapshot diff").code(2);
}

#[test]
fn an_index_that_cannot_be_read_is_never_no_difference() {
    let mut site = Site::small();
    snapshot(&site, "one");
    site.add(&deb("aa", "2", 10));
    snapshot(&site, "two");
    // As long as there is no inventory of it, the cheapest form is read.
    fs::remove_dir_all(site.env.state_dir().join("inventories")).expect("removes");
    let index = format!("dists/{SUITE}/main/binary-amd64/Packages.gz");
    let (digest, size) = site.files("debian", "two")[&index];
    let blob = site.blob(digest);
    let whole = fs::read(&blob).expect("a blob");
    let replace = |bytes: &[u8]| {
        fs::remove_file(&blob).expect("removes");
        fs::write(&blob, bytes).expect("writes");
    };
    let refused = |words: &str| {
        let refused = site.run("--json snapshot diff debian one two").code(1);
        let document = refused.json();
        let message = format!(
            "{} {}",
            text(&document["error"]["message"]),
            document["error"]["causes"]
        );
        assert!(
            message.contains(&index) && message.contains("two") && message.contains(words),
            "{refused}"
        );
        assert_eq!(
            document.as_object().expect("an object").len(),
            1,
            "nothing but the error: {refused}"
        );
    };
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    replace(&flipped);
    refused("cannot be");
    // The other state's index, made as long as this one: good in itself.
    let (other, _) = site.files("debian", "one")[&index];
    let mut stale = fs::read(site.blob(other)).expect("a blob");
    stale.resize(usize::try_from(size).expect("small"), 0);
    replace(&stale);
    refused("");
    replace(&whole[..whole.len() - 1]);
    refused("missing");
    fs::remove_file(&blob).expect("removes");
    refused("missing");
    fs::write(&blob, &whole).expect("writes");
    assert_eq!(told(&diff(&site, "one two")), ["upgraded aa 1 -> 2 [amd64]"]);
}

#[test]
fn long_lists_are_shortened_unless_all_is_asked_for() {
    let many = (0..25).fold(three(), |suite, n| {
        suite.package("main", deb(&format!("many{n:02}"), "1", 10))
    });
    let mut site = Site::new([many]);
    snapshot(&site, "one");
    for n in 0..25 {
        site.archive
            .add(SUITE, "main", &deb(&format!("many{n:02}"), "2", 10))
            .expect("a package");
    }
    site.publish();
    snapshot(&site, "two");
    let short = site.run("snapshot diff debian one two").success();
    assert!(short.stdout.contains("and 5 more (--all shows them)"), "{short}");
    assert!(!short.stdout.contains("many24"), "{short}");
    let long = site.run("snapshot diff debian one two --all --files").success();
    assert!(
        long.stdout.contains("many24") && !long.stdout.contains(" more "),
        "{long}"
    );
    assert_eq!(told(&diff(&site, "one two")).len(), 25, "programs get everything");
}

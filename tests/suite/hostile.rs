//! Metadata with good signatures that is odd, endless or old.
//!
//! Owns the tests of what a signed index or Release file may ask for. What makes a Release file implausible is tested in
//! `trust`, what breaks sizes, hashes and paths in `syncing`.

use std::fs;

use mirrorctl::model::HashType;
use mirrorctl_testkit::{SuiteSpec, Variant, forge};

use crate::site::{SUITE, Site, deb, three};

/// The package index, relative to the Release file.
const INDEX: &str = "main/binary-amd64/Packages";

/// A suite whose one index can be forged.
fn forgeable() -> SuiteSpec {
    let variants = [Variant::Plain];
    let suite = three().hashes([HashType::Sha256]).by_hash(false);
    suite.listed(&variants).served(&variants)
}

/// Gives the site's archive the index that `change` makes of the one it has.
fn forge_index(site: &Site, change: impl FnOnce(&str) -> String) {
    let path = site.archive.root().join("dists").join(SUITE).join(INDEX);
    let index = fs::read_to_string(path).expect("an index");
    forge(&site.archive, SUITE, &[(INDEX, change(&index).as_bytes())]);
}

#[test]
fn names_that_differ_in_case_only_are_two_files() {
    let mut site = Site::new([SuiteSpec::new(SUITE).package("main", deb("aa", "1.A", 100))]);
    let other = deb("aa", "1.a", 100);
    site.archive.add_version(SUITE, "main", &other).expect("a package");
    site.publish();
    site.sync();
    let files = site.newest();
    let names: Vec<_> = files
        .keys()
        .filter(|path| path.to_lowercase().ends_with("aa_1.a_amd64.deb"))
        .collect();
    assert_eq!(names.len(), 2, "{files:?}");
    assert_ne!(files[names[0]], files[names[1]]);
    site.assert_whole();
}

#[test]
fn endless_and_repeated_fields_are_refused() {
    let fields: Vec<String> = (0..100_000).map(|n| format!("X-{n}: y")).collect();
    let fields = fields.join("\n") + "\n";
    for (what, says) in [
        (fields, "more than 512 fields"),
        ("Size: 1\n".to_owned(), "the field Size occurs twice"),
    ] {
        let site = Site::new([forgeable()]);
        forge_index(&site, |index| {
            index.replacen("\nFilename:", &format!("\n{what}Filename:"), 1)
        });
        site.run("sync").code(5).stderr_has(INDEX).stderr_has(says);
        assert!(site.snapshots("debian").is_empty());
        assert!(Site::fetched(&site.upstream.requests(), "pool/").is_empty());
    }
}

#[test]
fn status_tells_of_release_files_that_are_too_old() {
    let site = Site::small();
    // It was published ten hours ago.
    for (max_age, old) in [("\"1h\"", true), ("\"30d\"", false)] {
        site.configure(|mirror| mirror.set("max_age", max_age));
        site.sync();
        let status = site.json("status");
        assert_eq!(status["mirrors"][0]["suites"][0]["old"], old, "{max_age}");
        let told = site.run("status").success();
        assert_eq!(told.stdout.contains(", OLD"), old, "{told}");
    }
}

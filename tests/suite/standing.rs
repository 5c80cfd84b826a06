//! What a pass is worth, through the program: when it no longer counts, what it is a pass of, and how it is read again.
//!
//! Owns what needs no mount and no other time of day; a pass that expires by itself is tested in `catalog`.

use mirrorctl_testkit::{Config, Deb, SuiteSpec};
use serde_json::{Value, json};

use crate::site::{Site, text};

/// Sets the archive's mirrors `ids` up, each staged by itself and with these further keys of its test.
fn configure(site: &Site, ids: &[&str], keys: &[(&str, &str)]) {
    let mut config = Config::new();
    for id in ids {
        config = config.mirror(site.mirror(id).publish_to_staging(true));
        for (key, value) in keys {
            config = config.set_in(&format!("mirrors.{id}.test"), key, value);
        }
    }
    site.configure_all(config);
}

fn check<'t>(test: &'t Value, name: &str) -> &'t Value {
    let checks = test["checks"].as_array().expect("a list").iter();
    checks
        .clone()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {test:#}"))
}

#[test]
fn a_pass_ends_with_the_release_file_that_it_was_given_to() {
    let mut site = Site::new([SuiteSpec::new("bookworm")
        .package("main", Deb::new("aa", "1", "amd64"))
        .valid_for(36_000 + 86_400)]);
    configure(&site, &["debian"], &[("required", "true")]);
    site.sync();
    site.run("snapshot test debian").success();
    // What is wanted of it now is more than it has left.
    configure(&site, &["debian"], &[("required", "true"), ("min_validity", "\"2d\"")]);
    let refused = site.run("snapshot promote debian").code(4);
    for expected in [
        "has passed its checks",
        "bookworm",
        "valid until",
        "run mirrorctl sync debian",
    ] {
        assert!(refused.stderr.contains(expected), "{expected}: {refused}");
    }
    let again = site.run("--json sync --promote-if-tested").code(4).json();
    assert_eq!(
        check(&again["promotion"]["tests"][0], "valid-until")["outcome"],
        "failed"
    );
    configure(&site, &["debian"], &[("required", "true"), ("min_validity", "\"1h\"")]);
    site.run("snapshot promote debian").code(4);
    site.run("snapshot test debian").success();
    site.run("snapshot promote debian").success();
    let moves = site.json("snapshot history")["moves"].take();
    assert_eq!(moves[0]["passed"], true);
    site.add(&Deb::new("bb", "1", "amd64"));
}

#[test]
fn a_refusal_names_every_mirror_that_lacks_a_pass() {
    let site = Site::small();
    configure(&site, &["one", "two", "three"], &[("required", "true")]);
    site.sync();
    site.run("snapshot test three").success();
    configure(
        &site,
        &["one", "two", "three"],
        &[("required", "true"), ("min_packages", "9")],
    );
    site.run("snapshot test two").code(4);
    let refused = site.run("snapshot promote one two three").code(4);
    let name = |mirror: &str| site.pointer(mirror, "staging").expect("is staged");
    for expected in [
        format!("snapshot {} of one has not been checked", name("one")),
        format!("snapshot {} of two has failed its checks", name("two")),
        format!("run mirrorctl snapshot test one {}", name("one")),
        format!("mirrorctl snapshot test two {}", name("two")),
    ] {
        assert!(refused.stderr.contains(&expected), "{expected}: {refused}");
    }
    assert!(!refused.stderr.contains("of three"), "{refused}");
    assert_eq!(site.pointer("three", "current"), None, "all or none");
    site.run("snapshot promote three").success();
    site.run("snapshot promote one two three --force").success();
}

#[test]
fn a_suite_that_vanished_fails_as_long_as_it_is_wanted() {
    let suite = |name: &str| SuiteSpec::new(name).package("main", Deb::new(&format!("of-{name}"), "1", "amd64"));
    let mut site = Site::new([suite("bookworm"), suite("updates")]);
    let with = |site: &Site, suites: &[&str]| {
        let mirror = site.mirror("debian").suites(suites).publish_to_staging(true);
        let config = Config::new().mirror(mirror);
        site.configure_all(config.set_in("mirrors.debian.test", "max_shrink", "100"));
    };
    with(&site, &["bookworm", "updates"]);
    site.sync();
    let first = site.json("snapshot test debian");
    assert_eq!(
        check(&first, "suites")["outcome"],
        "skipped",
        "nothing is in production"
    );
    site.run("snapshot promote debian").success();

    with(&site, &["bookworm"]);
    site.sync();
    let test = site.json("snapshot test debian");
    assert_eq!(
        check(&test, "suites")["text"],
        "1 of the 2 suites in production are there; not configured any more: updates"
    );
    // Somebody took it away by mistake, and puts it back: what was made without it is not fit.
    with(&site, &["bookworm", "updates"]);
    let test = site.run("--json snapshot test debian").code(4).json();
    let told = check(&test, "suites");
    assert_eq!(told["outcome"], "failed");
    assert_eq!(
        told["details"],
        json!(["updates: production has it, the configuration names it, and this snapshot does not have it"])
    );
    site.add(&Deb::new("dd", "1", "amd64"));
    site.sync();
    let test = site.json("snapshot test debian");
    assert_eq!(check(&test, "suites")["outcome"], "passed");
}

#[test]
fn packages_are_counted_and_not_their_files() {
    // A source has more files than packages, and a package for all architectures is listed in each of their indices.
    let suite = |count: usize| {
        (0..count).fold(
            SuiteSpec::new("bookworm").architectures(&["amd64", "arm64"]),
            |suite, n| suite.package("main", Deb::new(&format!("p{n}"), "1", "all")),
        )
    };
    let mut site = Site::new([suite(10)]);
    let with = |site: &Site, max_shrink: &str| {
        let mirror = site
            .mirror("debian")
            .architectures(&["amd64", "arm64"])
            .publish_to_staging(true);
        let config = Config::new().mirror(mirror);
        let config = config.set_in("mirrors.debian", "max_shrink", "100");
        site.configure_all(config.set_in("mirrors.debian.test", "max_shrink", max_shrink));
    };
    with(&site, "30");
    site.sync();
    site.run("snapshot promote debian").success();
    for n in 0..3 {
        site.archive.remove("bookworm", &format!("p{n}")).expect("a suite");
    }
    site.publish();
    site.sync();
    let test = site.json("snapshot test debian");
    assert_eq!(check(&test, "counts")["text"], "7 packages, of which production has 10");
    with(&site, "29");
    let test = site.run("--json snapshot test debian").code(4).json();
    assert_eq!(
        check(&test, "counts")["details"],
        json!(["it has 7 packages where there were 10, and max_shrink is 29"])
    );
}

#[test]
fn what_a_test_has_found_can_be_read_again() {
    let mut site = Site::small();
    configure(&site, &["debian"], &[]);
    site.sync();
    let none = site.run("snapshot test debian --show").code(1);
    let name = site.pointer("debian", "staging").expect("is staged");
    for expected in [
        format!("snapshot {name} of debian has not been tested"),
        format!("hint: run mirrorctl snapshot test debian {name}"),
    ] {
        assert!(none.stderr.contains(&expected), "{none}");
    }
    let mut told = site.json("snapshot test debian");
    let mut shown = site.json("snapshot test debian --show");
    let members = shown.as_object_mut().expect("an object");
    assert_eq!(members.remove("lacking"), Some(Value::Null), "it can be promoted");
    assert_eq!(shown, told);
    site.run("snapshot promote debian").success();
    site.add(&Deb::new("aa", "2", "amd64").depends("gone"));
    site.sync();
    let ran = site.run("snapshot test debian").code(4);
    let shown = site.run("snapshot test debian --show").success();
    assert!(
        shown.stdout.starts_with(&ran.stdout) && shown.stdout.contains("aa 2 on amd64: needs gone"),
        "{shown}"
    );
    assert_eq!(site.json("snapshot test debian --show")["production"], json!(name));
    // That of the other is still there, by its name and by that of the pointer.
    told = site.json(&format!("snapshot test debian {name} --show"));
    assert_eq!(told, site.json("snapshot test debian current --show"));
    assert_eq!(text(&told["snapshot"]), name);
    site.run("snapshot test debian --show --deep").code(2);
}

#[test]
fn backports_mend_nothing_for_clients_that_do_not_take_them() {
    let deb = |name: &str, version: &str| Deb::new(name, version, "amd64");
    let release = SuiteSpec::new("bookworm")
        .package("main", deb("app", "1").depends("lib"))
        .package("main", deb("lib", "1"));
    // A line of its own in the Release file.
    let backports = SuiteSpec::new("backports").origin("Example", "Backports\nNotAutomatic: yes");
    let updates = SuiteSpec::new("updates").package("main", deb("other", "1"));
    let mut site = Site::new([release, backports.package("main", deb("lib", "2")), updates]);
    configure(&site, &["debian"], &[]);
    site.sync();
    site.run("snapshot promote debian").success();
    site.archive.remove("bookworm", "lib").expect("a suite");
    site.publish();
    site.sync();
    let test = site.run("--json snapshot test debian").code(4).json();
    assert_eq!(
        check(&test, "installability")["details"],
        json!(["app 1 on amd64: needs lib, which nothing satisfies"])
    );
    // Any other suite of the mirror is for everybody.
    site.archive.add("updates", "main", &deb("lib", "3")).expect("a suite");
    site.publish();
    site.sync();
    let test = site.json("snapshot test debian");
    assert_eq!(check(&test, "installability")["outcome"], "passed");
}

//! Release files with a good signature that must not be believed all the same, upstreams that publish in the middle of
//! a sync, and archives that shrink.
//!
//! Owns the tests of what a signature cannot tell. Those of signatures are in `signatures`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mirrorctl::model::Digest;
use mirrorctl_testkit::{Fault, Program, SuiteSpec, now, sign};
use serde_json::Value;

use crate::site::{SUITE, Site, deb, text, three};

/// The archive's Release text, changed by `change` and signed again.
fn rewrite(site: &Site, change: impl FnOnce(&str) -> String) {
    let path = site.archive.root().join("dists").join(SUITE).join("Release");
    let release = fs::read_to_string(path).expect("a Release file");
    sign(&site.archive, SUITE, &change(&release));
}

/// The text with the value of a field replaced, or the field removed.
fn with_field(release: &str, field: &str, value: Option<&str>) -> String {
    let begins = format!("{field}: ");
    assert!(release.contains(&begins), "{release}");
    let lines = release
        .lines()
        .filter_map(|line| match (line.starts_with(&begins), value) {
            (false, _) => Some(line.to_owned()),
            (true, Some(value)) => Some(format!("{begins}{value}")),
            (true, None) => None,
        });
    lines.map(|line| line + "\n").collect()
}

/// A date as Release files write it.
fn date(ago: i64) -> String {
    let time = jiff::Timestamp::from_second(now().plus(-ago).unix()).expect("a date");
    time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

/// Asserts that a sync is refused with these words, and that nothing came of it.
#[track_caller]
fn refused(site: &Site, line: &str, code: i32, says: &[&str]) {
    let before = site.visible();
    let ran = site.run(line).code(code);
    says.iter().fold(ran, |ran, text| ran.stderr_has(text));
    assert_eq!(site.visible(), before);
}

#[test]
fn a_release_file_without_date_is_refused() {
    let site = Site::small();
    site.sync();
    rewrite(&site, |release| with_field(release, "Date", None));
    refused(&site, "sync", 5, &["has no Date"]);
}

#[test]
fn a_release_file_of_the_future_is_refused() {
    let site = Site::small();
    site.sync();
    rewrite(&site, |release| with_field(release, "Date", Some(&date(-2 * 86_400))));
    refused(&site, "sync", 5, &["of the future", "clock"]);
    rewrite(&site, |release| with_field(release, "Date", Some(&date(-3_600))));
    assert_eq!(site.sync()["outcome"], "recorded", "clocks differ");
}

#[test]
fn an_older_release_file_is_refused_unless_it_is_accepted_this_once() {
    let mut site = Site::small();
    site.sync();
    let old = site.archive.root().with_file_name("old");
    copy(site.archive.root(), &old);
    site.add(&deb("dd", "1", 100));
    site.sync();
    site.run("snapshot list");
    site.upstream.switch_to(&old);
    refused(&site, "sync", 5, &["older than the last one", "--accept-rollback"]);
    refused(&site, "sync --accept-release-info", 5, &["older than the last one"]);
    let accepted = site.run("--json sync --accept-rollback").success();
    assert!(accepted.stderr.contains("accepted"), "it is logged: {accepted}");
    assert_eq!(accepted.json()["mirrors"][0]["outcome"], "recorded");
    // What was accepted is what counts from now on, and the next step back is refused again.
    site.run("sync").success().stdout_has("unchanged");
    site.upstream.switch_to(site.archive.root());
    assert_eq!(site.sync()["outcome"], "recorded");
    site.upstream.switch_to(&old);
    refused(&site, "sync", 5, &["older than the last one"]);
}

#[test]
fn a_replay_is_seen_though_the_selection_has_changed() {
    let mut site = Site::new([three().architectures(&["amd64", "arm64"])]);
    site.sync();
    let old = site.archive.root().with_file_name("old");
    copy(site.archive.root(), &old);
    site.add(&deb("dd", "1", 100));
    site.sync();
    site.upstream.switch_to(&old);
    site.configure(|mirror| mirror.architectures(&["amd64", "arm64"]));
    refused(&site, "sync", 5, &["older than the last one"]);
}

#[test]
fn other_names_are_refused_unless_they_are_accepted() {
    for (field, value) in [
        ("Suite", "oldstable"),
        ("Codename", "trixie"),
        ("Origin", "Evil"),
        ("Label", "Evil"),
    ] {
        let mut site = Site::new([three().origin("Debian", "Debian")]);
        site.sync();
        site.add(&deb("dd", "1", 100));
        rewrite(&site, |release| with_field(release, field, Some(value)));
        refused(&site, "sync", 5, &[field, value, "--accept-release-info"]);
        refused(&site, "sync --accept-rollback", 5, &[field]);
        site.run("sync --accept-release-info").success().stderr_has("accepted");
        site.run("sync").success().stdout_has("unchanged");
    }
}

#[test]
fn another_suite_in_the_place_of_the_one_asked_for_is_refused() {
    let site = Site::new([SuiteSpec::new("sid").package("main", deb("aa", "1", 100))]);
    symlink("sid", site.archive.root().join("dists/trixie")).expect("links");
    site.configure(|mirror| mirror.suites(&["trixie"]));
    site.run("sync")
        .code(5)
        .stderr_has("one of another suite: it calls itself sid");
    assert!(site.snapshots("debian").is_empty());
    site.run("sync --accept-release-info").success();
    site.run("sync").success().stdout_has("unchanged");
}

// ---- Upstream publishes during the sync ------------------------------------------------------------------------------

/// Publishes a new version of package `bb`, with no trace of the old one left, and another one of `cc`.
fn publish_anew(site: &mut Site, version: &str) {
    for name in ["bb", "cc"] {
        site.archive.remove(SUITE, name).expect("removes");
        site.archive
            .add(SUITE, "main", &deb(name, version, 3_000))
            .expect("adds");
    }
    site.publish();
}

#[test]
fn a_sync_begins_anew_when_upstream_publishes_meanwhile() {
    for (by_hash, when) in [
        (true, "*/by-hash/*"),
        (false, "*Packages.gz"),
        (false, "pool/*"),
        (true, "pool/*"),
    ] {
        let mut site = Site::new([three().by_hash(by_hash)]);
        // The archive at the URL is replaced by the next state, in which the old files are gone.
        let old = site.archive.root().with_file_name("old");
        copy(site.archive.root(), &old);
        publish_anew(&mut site, "2");
        site.upstream.switch_to(&old);
        let (upstream, new) = (site.upstream.switch(), site.archive.root().to_owned());
        site.upstream.before(when, move || upstream.to(&new));
        let done = site.run("--json sync").success();
        assert!(done.stderr.contains("starting again"), "{by_hash} {when}: {done}");
        let files = site.newest();
        for (path, (digest, _)) in &files {
            if !path.contains("/by-hash/") {
                let bytes = fs::read(site.archive.root().join(path)).expect("upstream's new state has it");
                assert_eq!(Digest::of(&bytes), *digest, "{path}");
            }
        }
        assert!(files.keys().any(|path| path.contains("bb_2")));
        site.assert_whole();
    }
}

#[test]
fn an_upstream_that_never_stands_still_is_given_up_after_three_attempts() {
    let mut site = Site::small();
    let states: Vec<_> = (0..5)
        .map(|n| {
            publish_anew(&mut site, &format!("1.{n}"));
            let state = site.archive.root().with_file_name(format!("state-{n}"));
            copy(site.archive.root(), &state);
            state
        })
        .collect();
    site.upstream.switch_to(&states[0]);
    let upstream = Arc::new(site.upstream.switch());
    let hooks = Arc::new(Mutex::new(0));
    // Each time the pool is asked for a version, the archive has moved on to the next.
    for n in 0..4 {
        let (upstream, hooks, next) = (Arc::clone(&upstream), Arc::clone(&hooks), states[n + 1].clone());
        site.upstream.before(&format!("pool/*_1.{n}_*"), move || {
            upstream.to(&next);
            *hooks.lock().expect("counts") += 1;
        });
    }
    site.run("sync")
        .code(1)
        .stderr_has("upstream changed 3 times during the sync")
        .stderr_has("what was fetched is kept");
    assert_eq!(*hooks.lock().expect("counts"), 3);
    assert!(site.snapshots("debian").is_empty());
    // Standing still, it is synced, and the unchanged package is not fetched again.
    site.upstream.take_requests();
    site.sync();
    assert_eq!(site.upstream.hits("pool/*/aa_*"), 0);
}

#[test]
fn a_fault_of_an_upstream_that_stands_still_is_final() {
    let site = Site::small();
    site.upstream.fault("pool/*/bb_*", Fault::Status(404));
    site.run("sync")
        .code(1)
        .stderr_has("bb_1")
        .stderr_lacks("starting again");
    assert_eq!(site.upstream.hits("pool/*/bb_*"), 1);
}

// ---- Archives that shrink --------------------------------------------------------------------------------------------

/// A site of ten packages, staged and published by each sync.
fn ten() -> Site {
    let suite = (0..10).fold(SuiteSpec::new(SUITE), |suite, n| {
        suite.package("main", deb(&format!("p{n}"), "1", 100))
    });
    let site = Site::new([suite]);
    site.configure(|mirror| mirror.publish_to_staging(true).publish_to_production(true));
    site.sync();
    site
}

/// Takes packages away upstream.
fn lose(site: &mut Site, numbers: std::ops::Range<usize>) {
    for n in numbers {
        site.archive.remove(SUITE, &format!("p{n}")).expect("removes");
    }
    site.publish();
}

fn status_of(site: &Site, snapshot: &str) -> Vec<Value> {
    let listed = site.json("snapshot list debian");
    let mut found = listed["snapshots"].as_array().expect("a list").iter();
    let found = found.find(|found| found["name"] == snapshot).expect("listed");
    found["status"].as_array().expect("a list").clone()
}

#[test]
fn a_snapshot_that_shrank_is_held_until_somebody_insists() {
    let mut site = ten();
    let good = site.pointer("debian", "current").expect("published");
    lose(&mut site, 0..6);
    let ran = site.run("--json sync").code(4);
    let report = ran.json();
    let mirror = &report["mirrors"][0];
    assert_eq!(mirror["outcome"], "recorded");
    assert_eq!(mirror["snapshot"]["held"], "4 pool files where there were 10");
    assert_eq!(mirror["error"]["kind"], "refused");
    let held = text(&mirror["snapshot"]["name"]);
    assert_eq!(status_of(&site, &held), ["held"]);
    for pointer in ["staging", "current"] {
        assert_eq!(site.pointer("debian", pointer).as_deref(), Some(good.as_str()));
    }
    // It stays held, is told of again, and every way of moving a pointer there is closed.
    site.run("sync")
        .code(4)
        .stderr_has("the last synced state of debian is held");
    site.run("status").success().stdout_has("is held: 4 pool files");
    for line in [
        format!("snapshot stage debian {held}"),
        format!("snapshot publish debian {held}"),
        "snapshot create debian other --stage".to_owned(),
    ] {
        site.run(&line).code(4).stderr_has("held").stderr_has("--force");
    }
    site.run("snapshot create debian other").success();
    site.run("snapshot publish debian other").code(4).stderr_has("held");
    // Another sync of the shrunken archive is measured against the last good one.
    lose(&mut site, 6..7);
    site.run("sync").code(4).stderr_has("3 pool files where there were 10");
    // Force moves, ends the hold of that state, and is written down.
    site.run(&format!("snapshot stage debian {held} --force")).success();
    assert_eq!(status_of(&site, &held), ["staging"]);
    let history = site.json("snapshot history debian");
    assert_eq!(history["moves"][0]["forced"], true);
    assert_eq!(history["moves"][1]["forced"], false);
    site.run("snapshot promote debian").success();
    // From now on, four is what there was.
    site.add(&deb("dd", "1", 100));
    assert_eq!(site.sync()["outcome"], "recorded");
}

#[test]
fn force_and_the_configured_limit_let_a_mirror_shrink() {
    let mut site = ten();
    lose(&mut site, 0..5);
    assert_eq!(site.sync()["outcome"], "recorded", "half is not more than half");
    lose(&mut site, 5..8);
    let done = site.json("sync --force");
    assert_eq!(done["mirrors"][0]["snapshot"]["held"], Value::Null);
    let name = text(&done["mirrors"][0]["snapshot"]["name"]);
    assert_eq!(site.pointer("debian", "current"), Some(name));
    site.configure(|mirror| mirror.set("max_shrink", "100"));
    lose(&mut site, 8..10);
    assert_eq!(site.sync()["outcome"], "recorded");

    let mut site = ten();
    site.configure(|mirror| mirror.set("max_shrink", "0"));
    lose(&mut site, 0..1);
    site.run("sync").code(4).stderr_has("9 pool files where there were 10");
    site.run("sync --force").success();
    site.run("sync").success().stdout_has("unchanged");
}

#[test]
fn a_smaller_selection_is_no_shrink() {
    let suite = (0..6).fold(three().components(&["main", "extra"]), |suite, n| {
        suite.package("extra", deb(&format!("e{n}"), "1", 100))
    });
    let site = Site::new([suite]);
    site.configure(|mirror| mirror.sections(&["main", "extra"]));
    site.sync();
    site.configure(|mirror| mirror.sections(&["main"]));
    let done = site.sync();
    assert_eq!(
        (&done["outcome"], &done["snapshot"]["held"]),
        (&"recorded".into(), &Value::Null)
    );
}

/// Makes `to` a copy of the directory `from`.
pub(crate) fn copy(from: &Path, to: &Path) {
    Program::new("cp", "coreutils")
        .args(["-a".as_ref(), from.as_os_str(), to.as_os_str()])
        .run()
        .success();
}

//! Mirrors that were taken out of the configuration, and then are forgotten.
//!
//! Owns the tests of `mirrorctl forget` without a mount.

use std::time::{Duration, Instant};

use mirrorctl_testkit::{Config, Fault, Signal, SuiteSpec};
use serde_json::{Value, json};

use crate::site::{SUITE, Site, deb, text, three};

/// A suite that only the mirror `old` has.
const OTHER: &str = "buster";

/// The mirrors `debian` and `old`, of which `old` has a suite more. Both are synced, and `old` is in production.
fn site() -> Site {
    let site = Site::new([three(), SuiteSpec::new(OTHER).package("main", deb("dd", "1", 50_000))]);
    configure_both(&site);
    site.sync();
    let name = site.snapshots("old")[0].clone();
    site.run(&format!("snapshot publish old {name}")).success();
    site
}

fn configure_both(site: &Site) {
    let mirrors = [site.mirror("debian").suites(&[SUITE]), site.mirror("old")];
    site.configure_all(mirrors.into_iter().fold(Config::new(), Config::mirror));
}

fn configure_one(site: &Site) {
    site.configure_all(Config::new().mirror(site.mirror("debian").suites(&[SUITE])));
}

/// What `status` says of the mirror `old`.
fn status_of_old(site: &Site) -> Option<Value> {
    let status = site.json("status");
    let mirrors = status["mirrors"].as_array().expect("a list");
    mirrors.iter().find(|mirror| mirror["mirror"] == "old").cloned()
}

#[test]
fn what_is_left_over_is_shown_as_such_until_it_is_forgotten() {
    let site = site();
    assert_eq!(status_of_old(&site).expect("is there")["configured"], true);
    configure_one(&site);
    let name = text(&status_of_old(&site).expect("still there")["current"]);
    assert_eq!(status_of_old(&site).expect("still there")["configured"], false);
    site.run("status")
        .success()
        .stdout_has("old (not configured)")
        .stdout_has("mirrorctl forget old");
    for line in ["snapshot list", "snapshot list old", "snapshot list old debian"] {
        let listed = site.json(line);
        let snapshots = listed["snapshots"].as_array().expect("a list");
        let old = snapshots.iter().find(|snapshot| snapshot["mirror"] == "old");
        assert_eq!(
            old.expect("listed")["status"],
            json!(["current", "unconfigured"]),
            "{line}"
        );
        assert_eq!(
            snapshots.len(),
            if line == "snapshot list old" { 1 } else { 2 },
            "{line}"
        );
        site.run(line).success().stdout_has("mirrorctl forget old");
    }
    let debian = site.json("snapshot list debian");
    assert_eq!(debian["snapshots"][0]["status"], json!([]));
    site.run("snapshot list ould").code(2).stderr_has("ould");

    site.run("forget old").code(4).stderr_has(&name).stderr_has("--force");
    site.run("forget old --force")
        .success()
        .stdout_has("old is forgotten, with 1 snapshot\n");
    assert_eq!(status_of_old(&site), None);
    site.run("status").success().stdout_lacks("forget old");
    site.run("snapshot list old").code(2);
    site.assert_whole();
}

#[test]
fn what_must_not_be_forgotten_stays() {
    let site = site();
    let before = site.visible();
    site.run("forget old --force")
        .code(4)
        .stderr_has("is configured")
        .stderr_has("remove its section [mirrors.old] first");
    let answer = site.run("--json forget odl").code(2).json();
    assert_eq!(answer["error"]["problems"][0]["nearest"], "old");

    // A sync of it that began before its section was removed.
    site.upstream.fault("dists/*Release*", Fault::Silent);
    site.upstream.take_requests();
    let running = site.env.spawn(&["sync", "old"]);
    site.upstream.wait_for("dists/*Release*");
    configure_one(&site);
    let pid = running.pid().to_string();
    site.run("forget old --force").code(3).stderr_has(&pid);
    running.kill();
    site.upstream.clear_faults();

    let refused = site.run("--json forget old").code(4).json();
    assert_eq!(refused["error"]["kind"], "refused");
    configure_both(&site);
    assert_eq!(site.visible(), before);
    site.assert_whole();
}

#[test]
fn a_dry_run_says_what_would_go_and_its_files_go_after_their_grace() {
    let site = site();
    let configured = site.json("forget old --dry-run");
    assert_eq!(configured["configured"], true);
    configure_one(&site);
    let before = site.blobs();
    let plan = site.json("forget old --dry-run");
    assert_eq!((&plan["dry_run"], &plan["needs_force"]), (&true.into(), &true.into()));
    let leads = json!([{ "pointer": "current", "to": plan["snapshots"][0] }]);
    assert_eq!(plan["pointers"], leads);
    site.run("forget old --dry-run")
        .success()
        .stdout_has("would be forgotten")
        .stdout_has("it needs --force");
    assert!(status_of_old(&site).is_some(), "nothing was changed");

    let mut done = site.json("forget old --force");
    assert_eq!(done["dry_run"], false);
    done["dry_run"] = true.into();
    assert_eq!(done, plan);
    assert_eq!(site.blobs(), before, "readers have them open");
    site.run("gc").success();
    assert_eq!(site.blobs(), before, "and may have, for a while");
    site.run("gc --now").success();
    let files = plan["files"].as_u64().expect("a number");
    assert_eq!((before.len() - site.blobs().len()) as u64, files);
    // The package, the indices, the Release file of the suite that it had alone, and its manifest.
    assert!(files >= 5, "{plan}");
    assert!(plan["bytes"].as_u64().is_some_and(|bytes| bytes > 2_000), "{plan}");
    site.assert_whole();
}

#[test]
fn a_mirror_that_comes_back_begins_anew() {
    let site = site();
    let files = |site: &Site| site.files("old", &site.snapshots("old")[0]);
    let before = files(&site);
    configure_one(&site);
    site.run("forget old --force").success();
    configure_both(&site);
    site.upstream.take_requests();
    let report = site.json("sync old");
    assert_eq!(report["mirrors"][0]["outcome"], "recorded", "{report}");
    assert_eq!(files(&site), before);
    assert_eq!(site.pointer("old", "current"), None, "nobody published it");
    assert_eq!(site.json("snapshot history old")["moves"], json!([]));
    let fetched = Site::fetched(&site.upstream.requests(), "pool/");
    assert!(fetched.is_empty(), "the files were still in the cache: {fetched:?}");
    site.assert_whole();
}

#[test]
fn killed_at_any_moment_it_leaves_the_mirror_whole_or_gone() {
    const ROUNDS: u32 = 16;
    let site = site();
    let files = site.files("old", &site.snapshots("old")[0]);
    configure_one(&site);
    let started = Instant::now();
    site.run("forget old --force").success();
    let usual = started.elapsed();
    let mut gone = 0;
    for round in 0..ROUNDS {
        configure_both(&site);
        if status_of_old(&site).is_none_or(|old| old["snapshots"] == 0) {
            site.run("sync old").success();
        }
        configure_one(&site);
        let mut running = site.env.spawn(&["forget", "old", "--force"]);
        running.ends_within(usual * round / ROUNDS);
        running.signal(Signal::Kill);
        running.wait();
        if let Some(old) = status_of_old(&site) {
            assert_eq!(old["snapshots"], 1, "{old}");
            assert_eq!(site.files("old", &site.snapshots("old")[0]), files);
        } else {
            gone += 1;
        }
        site.run("gc").success();
        site.assert_whole();
    }
    assert!(
        gone < ROUNDS || usual < Duration::from_millis(1),
        "every kill came too late"
    );
    if status_of_old(&site).is_some() {
        site.run("forget old --force").success();
    }
    site.run("gc --now").success();
    site.assert_whole();
    assert_eq!(site.json("gc --dry-run")["waiting"]["files"], 0);
}

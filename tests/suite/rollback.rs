//! Release files that are older than others were: what an operator accepts, and what that changes for later.
//!
//! Owns the rule that an accepted step back is where upstream stands from then on, and that nothing else moves that
//! point back: no failed sync, no import, no selection that left the suite out for a while, no URL that lags behind.

use std::path::{Path, PathBuf};

use mirrorctl_testkit::{Fault, Ran, SuiteSpec, Upstream};

use crate::site::{SUITE, Site, deb, three};
use crate::trust::copy;

/// What is said of an older Release file.
const OLDER: &str = "older than the last one";

/// A site that has synced the newest of three states of its archive, and the three of them, the oldest first.
fn three_states() -> (Site, [PathBuf; 3]) {
    let mut site = Site::small();
    let states = ["dd", "ee", "ff"].map(|name| {
        site.add(&deb(name, "1", 500));
        let state = site.env.root().join(format!("state-{name}"));
        copy(site.archive.root(), &state);
        state
    });
    site.upstream.switch_to(&states[2]);
    site.sync();
    (site, states)
}

#[track_caller]
fn sync_at(site: &Site, state: &Path, flags: &str) -> Ran {
    site.upstream.switch_to(state);
    site.run(&format!("--json sync {flags}"))
}

#[track_caller]
fn is_recorded(ran: Ran) -> Ran {
    let ran = ran.success();
    assert_eq!(ran.json()["mirrors"][0]["outcome"], "recorded", "{ran}");
    ran
}

#[track_caller]
fn is_refused(site: &Site, ran: Ran) {
    ran.code(5).stdout_has(OLDER).stdout_has("--accept-rollback");
    site.assert_whole();
}

#[test]
fn an_accepted_step_back_is_where_upstream_stands() {
    let (site, [first, second, third]) = three_states();
    is_refused(&site, sync_at(&site, &first, ""));
    is_refused(&site, sync_at(&site, &first, "--dry-run"));
    is_recorded(sync_at(&site, &first, "--accept-rollback")).stderr_has("accepted");
    // The same again is nothing new, and no step back.
    let again = sync_at(&site, &first, "").success();
    assert_eq!(again.json()["mirrors"][0]["outcome"], "unchanged");
    // From there on, time goes forward, also through what was there before.
    is_recorded(sync_at(&site, &second, ""));
    is_refused(&site, sync_at(&site, &first, ""));
    is_recorded(sync_at(&site, &third, ""));
    is_refused(&site, sync_at(&site, &second, ""));
}

#[test]
fn what_was_accepted_and_failed_counts_for_nothing() {
    let (site, [first, second, _]) = three_states();
    site.run("gc --now").success();
    site.upstream.fault("dists/*/Packages*", Fault::Status(404));
    site.upstream.fault("dists/*/by-hash/*", Fault::Status(404));
    sync_at(&site, &first, "--accept-rollback").failure();
    site.upstream.clear_faults();
    is_refused(&site, sync_at(&site, &second, ""));
    sync_at(&site, &first, "--accept-rollback --dry-run").success();
    is_refused(&site, sync_at(&site, &second, ""));
}

#[test]
fn an_imported_tree_of_the_past_says_nothing_of_upstream() {
    let (site, [first, second, third]) = three_states();
    let import = |tree: &Path| site.run(&format!("import debian {} --accept-rollback", tree.display()));
    import(&first).success();
    for line in ["", "--dry-run"] {
        is_refused(&site, sync_at(&site, &second, line));
    }
    is_recorded(sync_at(&site, &third, ""));
    // A tree that is newer than what upstream had does say something.
    let (site, [_, second, third]) = three_states();
    is_recorded(sync_at(&site, &second, "--accept-rollback"));
    site.run(&format!("import debian {}", third.display())).success();
    is_refused(&site, sync_at(&site, &second, ""));
    is_recorded(sync_at(&site, &third, "--force"));
}

#[test]
fn a_suite_that_was_left_out_for_a_while_is_remembered() {
    let mut site = Site::new([three(), SuiteSpec::new("sid").package("main", deb("xx", "1", 100))]);
    let old = site.env.root().join("state-old");
    copy(site.archive.root(), &old);
    site.add(&deb("dd", "1", 500));
    site.archive
        .add("sid", "main", &deb("yy", "1", 100))
        .expect("a package");
    site.publish();
    site.sync();
    site.configure(|mirror| mirror.suites(&["sid"]));
    site.sync();
    site.configure(|mirror| mirror.suites(&[SUITE]));
    is_refused(&site, sync_at(&site, &old, ""));
    is_recorded(sync_at(&site, site.archive.root(), ""));
}

/// Configures the mirror with these URLs.
fn with_urls(site: &Site, upstreams: &[&Upstream]) {
    let urls: Vec<String> = upstreams.iter().map(|upstream| upstream.url()).collect();
    site.configure(|mirror| mirror.without("url").set("urls", &format!("{urls:?}")));
}

#[test]
fn of_several_urls_a_newer_one_is_taken_whatever_is_accepted() {
    let (mut site, [first, ..]) = three_states();
    let lagging = Upstream::serve(&first);
    site.add(&deb("gg", "1", 500));
    site.upstream.switch_to(site.archive.root());
    with_urls(&site, &[&lagging, &site.upstream]);
    let ran = is_recorded(site.run("--json sync --accept-rollback"));
    assert!(!ran.stderr.contains("accepted"), "{ran}");
    assert!(site.newest().keys().any(|path| path.contains("/gg_")));
    assert!(lagging.hits("dists/*") > 0);
}

#[test]
fn of_several_old_urls_the_least_old_is_accepted() {
    let (site, [first, second, _]) = three_states();
    let (most, less) = (Upstream::serve(&first), Upstream::serve(&second));
    with_urls(&site, &[&most, &less]);
    is_refused(&site, site.run("--json sync"));
    is_recorded(site.run("--json sync --accept-rollback")).stderr_has("accepted");
    let files = site.newest();
    let has = |name: &str| files.keys().any(|path| path.contains(name));
    assert!(has("/ee_") && !has("/ff_"), "{files:?}");

    // One that is down has nothing newer to offer.
    let (site, [first, ..]) = three_states();
    let old = Upstream::serve(&first);
    site.upstream.fault("*", Fault::Status(404));
    with_urls(&site, &[&old, &site.upstream]);
    site.run("--json sync").code(1);
    is_recorded(site.run("--json sync --accept-rollback")).stderr_has("accepted");
}

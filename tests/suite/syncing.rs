//! Syncs from an upstream that behaves, and from one that does not.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use mirrorctl::catalog::Catalog;
use mirrorctl::model::{Digest, HashType};
use mirrorctl_testkit::{Config, Fault, Signal, Signing, SigningKey, SuiteSpec, Upstream, Variant, forge, now};
use serde_json::Value;

use crate::site::{SUITE, Site, below, deb, text, three};

/// Longest time in which a sync may end after a signal.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The package index of [`SUITE`].
const INDEX: &str = "dists/bookworm/main/binary-amd64/Packages";

// ---- What is fetched ------------------------------------------------------------------------------------------------

#[test]
fn listed_variants_that_upstream_lacks_are_normal() {
    for (served, by_hash) in [
        (&[Variant::Xz][..], true),
        (&[Variant::Xz], false),
        (&[Variant::Gzip], false),
    ] {
        let site = Site::new([three().served(served).by_hash(by_hash)]);
        assert_eq!(site.sync()["outcome"], "recorded");
        let files = site.newest();
        for variant in Variant::ALL {
            let suffix = match variant {
                Variant::Plain => "",
                Variant::Gzip => ".gz",
                Variant::Xz => ".xz",
            };
            let listed = files.contains_key(&format!("{INDEX}{suffix}"));
            assert_eq!(listed, served.contains(&variant), "{variant:?} of {served:?}");
        }
        assert_eq!(files.keys().filter(|path| path.starts_with("pool/")).count(), 3);
        // What is absent is absent by hash, too; what is there has a name for every hash that Release lists, whether or
        // not upstream has such names.
        let by_hash = files.keys().filter(|path| path.contains("/by-hash/"));
        assert_eq!(by_hash.count(), HashType::ALL.len() * served.len(), "{files:?}");
        site.assert_whole();
    }
}

#[test]
fn gone_is_as_absent_as_not_found_and_a_refusal_is_neither() {
    let site = Site::new([three().by_hash(false)]);
    site.upstream.fault(&format!("{INDEX}.gz"), Fault::Status(403));
    site.run("sync").code(1).stderr_has("Packages.gz").stderr_has("403");
    assert!(site.snapshots("debian").is_empty());
    site.upstream.fault(&format!("{INDEX}.gz"), Fault::Status(410));
    site.sync();
    assert!(!site.newest().contains_key(&format!("{INDEX}.gz")));
}

#[test]
fn a_refusal_of_one_name_leaves_the_others_that_clients_would_try() {
    let release_files = |site: &Site| -> Vec<String> {
        let files = site.newest().into_keys();
        files
            .filter_map(|path| Some(path.strip_prefix("dists/bookworm/")?.to_owned()))
            .filter(|name| !name.contains('/'))
            .collect()
    };
    for (patterns, kept) in [
        (&["*/by-hash/*"][..], &["InRelease", "Release", "Release.gpg"][..]),
        (&["*/Release.gpg"], &["InRelease", "Release"]),
        (&["*/Release", "*/Release.gpg"], &["InRelease"]),
    ] {
        let site = Site::small();
        for pattern in patterns {
            site.upstream.fault(pattern, Fault::Status(403));
        }
        assert_eq!(site.sync()["outcome"], "recorded", "{patterns:?}");
        assert_eq!(release_files(&site), kept);
        site.assert_whole();
        assert_eq!(site.sync()["outcome"], "unchanged", "{patterns:?}");
    }
    // What nothing stands in for.
    for patterns in [&["dists/*"][..], &["*/InRelease"]] {
        let site = Site::small();
        for pattern in patterns {
            site.upstream.fault(pattern, Fault::Status(403));
        }
        let said = site.run("sync").code(1);
        said.stderr_has("403").stderr_has("auth.conf").stderr_has("Release");
        assert!(site.snapshots("debian").is_empty());
    }
}

#[test]
fn an_index_without_any_variant_fails_the_sync() {
    let site = Site::new([three().served(&[])]);
    site.run("sync").code(1).stderr_has(INDEX);
    assert!(site.snapshots("debian").is_empty());
    assert!(Site::fetched(&site.upstream.requests(), "pool/").is_empty());
}

#[test]
fn by_hash_is_used_where_it_is_offered_and_the_plain_name_where_it_is_not() {
    let site = Site::small();
    site.sync();
    let fetched = Site::fetched(&site.upstream.take_requests(), INDEX.trim_end_matches("/Packages"));
    let by_hash = |path: &str| path.contains("/by-hash/SHA512/");
    assert_eq!(fetched.len(), 2, "{fetched:?}");
    assert!(fetched.keys().all(|path| by_hash(path)), "{fetched:?}");

    // Promised, and not there: the bytes are checked all the same, so the plain name is as good.
    let site = Site::small();
    site.upstream.fault("*/by-hash/*", Fault::Status(404));
    site.sync();
    let fetched = Site::fetched(&site.upstream.requests(), INDEX);
    let names: Vec<&str> = fetched
        .keys()
        .map(|path| path.rsplit('/').next().expect("a name"))
        .collect();
    assert_eq!(names, ["Packages.gz", "Packages.xz"]);
    assert_eq!(
        site.newest().keys().filter(|path| path.contains("/by-hash/")).count(),
        8
    );

    let site = Site::new([three().by_hash(false)]);
    site.sync();
    assert_eq!(site.upstream.hits("*/by-hash/*"), 0);
}

#[test]
fn suites_that_share_a_file_fetch_and_store_it_once() {
    let shared = deb("shared", "1", 5_000);
    let suite = |name| SuiteSpec::new(name).package("main", shared.clone());
    let site = Site::new([suite("sid").package("main", deb("own", "1", 10)), suite("trixie")]);
    assert_eq!(site.sync()["outcome"], "recorded");
    let pool = site.pool("shared");
    assert_eq!(Site::fetched(&site.upstream.requests(), "pool/")[&pool], 1);
    let files = site.newest();
    assert!(files.contains_key("dists/sid/InRelease") && files.contains_key("dists/trixie/InRelease"));
    assert_eq!(files.keys().filter(|path| path.starts_with("pool/")).count(), 2);
}

#[test]
fn mirrors_that_share_a_file_fetch_and_store_it_once() {
    let shared = deb("shared", "1", 5_000);
    let suite = |name| SuiteSpec::new(name).package("main", shared.clone());
    let other = SuiteSpec::new("without").package("main", deb("other", "1", 10));
    let site = Site::new([suite("sid"), suite("trixie"), other]);
    let configure = |of_one: &str| {
        let config = Config::new()
            .mirror(site.mirror("one").suites(&[of_one]))
            .mirror(site.mirror("two").suites(&["trixie"]));
        site.configure_all(config);
    };
    configure("sid");
    site.json("sync");
    let pool = site.pool("shared");
    assert_eq!(Site::fetched(&site.upstream.requests(), "pool/")[&pool], 1);
    let (one, two) = (&site.snapshots("one")[0], &site.snapshots("two")[0]);
    let digest = site.files("one", one)[&pool].0;
    assert_eq!(site.files("two", two)[&pool].0, digest);

    // What one of them forgets stays as long as the other needs it.
    configure("without");
    site.json("sync one");
    site.run(&format!("snapshot delete one {one}")).success();
    site.run("gc --now").success();
    assert!(site.blob(digest).exists());
    site.assert_whole();
}

#[test]
fn no_more_connections_than_configured_are_used() {
    let names: Vec<String> = (0..12).map(|n| format!("pkg{n:02}")).collect();
    let add = |suite: SuiteSpec, name: &String| suite.package("main", deb(name, "1", 10));
    let site = Site::new([names.iter().fold(SuiteSpec::new(SUITE), add)]);
    let config = Config::new().mirror(site.mirror("debian")).set("max_conns", "3");
    site.configure_all(config);
    // Nobody is answered, so whoever may ask has asked.
    site.upstream.fault("pool/*", Fault::Silent);
    let mut sync = site.env.spawn(&["sync"]);
    sync.wait_until("three requests", |_| site.upstream.hits("pool/*") >= 3);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(site.upstream.hits("pool/*"), 3);
    sync.signal(Signal::Interrupt);
    sync.wait().code(130);
}

// ---- Unchanged ------------------------------------------------------------------------------------------------------

/// Path, whether the request was conditional, and status.
type Asked = (String, bool, u16);

fn asked(site: &Site) -> Vec<Asked> {
    let requests = site.upstream.take_requests();
    requests
        .into_iter()
        .map(|request| (request.path, request.conditional, request.status))
        .collect()
}

#[test]
fn an_unchanged_upstream_costs_one_conditional_request_for_each_suite() {
    let in_release = |suite: &str| (format!("dists/{suite}/InRelease"), true, 304);
    let detached = |suite: &str| {
        [
            (format!("dists/{suite}/InRelease"), false, 404),
            (format!("dists/{suite}/Release"), true, 304),
        ]
    };
    let suite = |name: &str, signing| {
        let suite = SuiteSpec::new(name).signing(signing);
        suite.package("main", deb("aa", "1", 10))
    };
    for (suites, expected) in [
        (vec![suite("sid", Signing::All)], vec![in_release("sid")]),
        (vec![suite("sid", Signing::InRelease)], vec![in_release("sid")]),
        (vec![suite("sid", Signing::Detached)], detached("sid").to_vec()),
        (
            vec![suite("sid", Signing::All), suite("trixie", Signing::Detached)],
            [&[in_release("sid")][..], &detached("trixie")].concat(),
        ),
    ] {
        let site = Site::new(suites);
        assert_eq!(site.sync()["outcome"], "recorded");
        let visible = site.visible();
        for _ in 0..2 {
            site.upstream.take_requests();
            let report = site.sync();
            assert_eq!(report["outcome"], "unchanged", "{report}");
            assert_eq!(report.get("snapshot"), None, "{report}");
            assert_eq!(asked(&site), expected);
        }
        assert_eq!(site.visible(), visible);
        site.run("sync").success().stdout_has("debian: unchanged");
    }
}

#[test]
fn a_server_that_ignores_conditions_makes_no_snapshot_either() {
    for (signing, names) in [
        (Signing::All, &["InRelease"][..]),
        (Signing::Detached, &["InRelease", "Release", "Release.gpg"]),
    ] {
        let site = Site::new([three().signing(signing)]);
        site.sync();
        site.upstream.fault("dists/*Release*", Fault::Unconditional);
        site.upstream.take_requests();
        assert_eq!(site.sync()["outcome"], "unchanged");
        let paths: Vec<String> = asked(&site).into_iter().map(|(path, ..)| path).collect();
        let expected: Vec<String> = names.iter().map(|name| format!("dists/{SUITE}/{name}")).collect();
        assert_eq!(paths, expected);
        assert_eq!(site.snapshots("debian").len(), 1);
    }
}

#[test]
fn an_unchanged_upstream_is_checked_against_the_keyring_of_today() {
    for signing in [Signing::All, Signing::Detached] {
        let site = Site::new([three().signing(signing)]);
        site.sync();
        let visible = site.visible();
        let other = SigningKey::generate("Other <other@example.org>", now().plus(-60)).expect("a key");
        let good = site.env.key("archive.asc", &other.public_armored().expect("a key"));
        site.upstream.take_requests();
        site.run("sync")
            .code(5)
            .stderr_has(SUITE)
            .stderr_has("not in the keyring");
        assert!(
            asked(&site)
                .iter()
                .any(|(_, conditional, status)| *conditional && *status == 304)
        );
        assert_eq!(site.visible(), visible);
        fs::write(good, site.archive.key().public_armored().expect("a key")).expect("own file");
        assert_eq!(site.sync()["outcome"], "unchanged");
    }
}

#[test]
fn an_unchanged_upstream_that_has_expired_is_refused() {
    // As long as the first sync may take, beginning with less than it will ever need.
    for seconds in [1, 2, 4, 8, 16, 32] {
        let mut site = Site::new([three().valid_for(seconds)]);
        site.archive.refresh(SUITE).expect("a suite");
        site.archive.publish(now()).expect("publishes");
        if site.run("sync").status.code() == Some(5) {
            assert!(site.snapshots("debian").is_empty());
            continue;
        }
        let visible = site.visible();
        std::thread::sleep(Duration::from_secs(seconds.unsigned_abs() + 1));
        site.upstream.take_requests();
        site.run("sync").code(5).stderr_has(SUITE).stderr_has("expired");
        assert_eq!(asked(&site), [(format!("dists/{SUITE}/InRelease"), true, 304)]);
        assert_eq!(site.visible(), visible);
        return;
    }
    panic!("no sync ended within half a minute");
}

#[test]
fn a_changed_selection_is_synced_although_upstream_is_unchanged() {
    let arm = deb("arm", "1", 10);
    let suite = three()
        .architectures(&["amd64", "arm64"])
        .components(&["main", "contrib"]);
    let site = Site::new([suite.package("contrib", arm)]);
    site.sync();
    let pools = |site: &Site| site.newest().keys().filter(|path| path.starts_with("pool/")).count();
    assert_eq!(pools(&site), 3);
    site.upstream.take_requests();
    site.configure(|mirror| mirror.architectures(&["amd64", "arm64"]));
    assert_eq!(site.sync()["outcome"], "recorded");
    assert!(site.newest().keys().any(|path| path.contains("binary-arm64")));
    site.configure(|mirror| mirror.architectures(&["amd64", "arm64"]).sections(&["main", "contrib"]));
    assert_eq!(site.sync()["outcome"], "recorded");
    assert_eq!(pools(&site), 4);
    site.configure(|mirror| mirror);
    assert_eq!(site.sync()["outcome"], "recorded");
    assert_eq!(pools(&site), 3);
    // Nothing that the cache had was fetched again.
    let again = Site::fetched(&site.upstream.take_requests(), "pool/");
    assert_eq!(again.keys().collect::<Vec<_>>(), [&site.pool("arm")]);
    assert_eq!(site.sync()["outcome"], "unchanged");
}

// ---- Interrupted and failed -----------------------------------------------------------------------------------------

/// A site that fetches one file after the other, so that all before the last, `cc`, have arrived when that is asked for.
fn one_by_one(last: Fault) -> Site {
    let site = Site::small();
    let config = Config::new().mirror(site.mirror("debian")).set("max_conns", "1");
    site.configure_all(config);
    site.upstream.fault("pool/*/cc_*", last);
    site
}

/// Collects garbage without grace, syncs again, and asserts that no index and no pool file came twice.
#[track_caller]
fn assert_nothing_is_fetched_twice(site: &Site) {
    site.run("gc --now").success();
    site.upstream.clear_faults();
    let report = site.sync();
    assert_eq!(report["outcome"], "recorded", "{report}");
    let mut fetched = Site::fetched(&site.upstream.requests(), "");
    // The Release files of a suite are what a sync has to ask for anew: they say what else is needed.
    fetched.retain(|path, _| !path.contains("Release"));
    assert_eq!(fetched.len(), 5, "{fetched:?}");
    assert!(fetched.values().all(|times| *times == 1), "{fetched:?}");
    assert!(site.leftovers().is_empty());
    site.assert_whole();
}

#[test]
fn what_a_failed_sync_fetched_is_kept() {
    let site = one_by_one(Fault::Status(404));
    site.run("sync").code(1).stderr_has(&site.pool("cc")).stderr_has("kept");
    assert!(site.snapshots("debian").is_empty());
    assert_nothing_is_fetched_twice(&site);
}

#[test]
fn what_an_interrupted_sync_fetched_is_kept() {
    for (signal, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
        let site = one_by_one(Fault::Silent);
        let mut sync = site.env.spawn(&["sync"]);
        site.upstream.wait_for("pool/*/cc_*");
        sync.signal(signal);
        assert!(sync.ends_within(END_LIMIT), "{}", sync.stderr());
        sync.wait().code(code).stderr_has("kept");
        assert!(site.leftovers().is_empty());
        assert_nothing_is_fetched_twice(&site);
    }
}

#[test]
fn what_a_killed_sync_had_finished_is_kept() {
    for committed in [false, true] {
        let site = one_by_one(Fault::Silent);
        let mut sync = site.env.spawn(&["sync"]);
        site.upstream.wait_for("pool/*/cc_*");
        if committed {
            sync.wait_until("commit", |_| {
                ["aa", "bb"].iter().all(|name| site.has_cached(&site.pool(name)))
            });
        }
        sync.kill().killed_by(Signal::Kill);
        assert_nothing_is_fetched_twice(&site);
    }
}

#[test]
fn partial_files_are_kept_no_longer_than_configured() {
    let site = one_by_one(Fault::Status(404));
    site.run("sync").code(1);
    let kept = site.blobs().len();
    site.run("gc --now").success();
    assert_eq!(site.blobs().len(), kept);
    let config = Config::new()
        .mirror(site.mirror("debian"))
        .set_in("gc", "keep_partial", "\"1s\"");
    site.configure_all(config);
    std::thread::sleep(Duration::from_millis(2_100));
    let report = site.json("gc --now");
    // And the inventory of the index.
    assert_eq!(report["removed"]["files"], kept + 1, "{report}");
    assert!(site.blobs().is_empty());
    site.upstream.clear_faults();
    site.sync();
    site.assert_whole();
}

#[test]
fn a_sync_that_hangs_ends_at_once_when_it_is_told() {
    for (pattern, fault, signal, code) in [
        ("dists/*/InRelease", Fault::Silent, Signal::Interrupt, 130),
        ("dists/*/InRelease", Fault::Stalled(10), Signal::Terminate, 143),
        ("dists/*/Packages*", Fault::Silent, Signal::Terminate, 143),
        ("*/by-hash/*", Fault::Stalled(10), Signal::Interrupt, 130),
        ("pool/*", Fault::Silent, Signal::Interrupt, 130),
        ("pool/*", Fault::Stalled(100), Signal::Terminate, 143),
    ] {
        let site = Site::new([three().by_hash(pattern.contains("by-hash"))]);
        site.upstream.fault(pattern, fault.clone());
        let mut sync = site.env.spawn(&["--json", "sync"]);
        site.upstream.wait_for(pattern);
        sync.signal(signal);
        assert!(sync.ends_within(END_LIMIT), "{pattern} {fault:?}");
        let ended = sync.wait().code(code);
        let report = ended.json();
        assert_eq!(report["error"]["exit_code"], code, "{report}");
        assert!(site.snapshots("debian").is_empty());
        assert!(site.leftovers().is_empty(), "{pattern} {fault:?}");
    }
}

#[test]
fn one_sync_of_a_mirror_at_a_time() {
    let site = Site::small();
    let config = Config::new().mirror(site.mirror("debian")).mirror(site.mirror("other"));
    site.configure_all(config);
    site.upstream.fault("pool/*", Fault::Silent);
    let mut first = site.env.spawn(&["sync", "debian"]);
    site.upstream.wait_for("pool/*");
    let pid = first.pid().to_string();
    let mut second = site.env.spawn(&["sync", "debian"]);
    assert!(second.ends_within(Duration::from_secs(10)));
    second.wait().code(3).stderr_has(&pid).stderr_has("debian");
    let report = site.run("--json sync debian").code(3).json();
    assert_eq!(report["error"]["kind"], "busy");
    // Neither the other mirror nor a collection has to wait for it.
    site.upstream.clear_faults();
    site.run("sync other").success();
    site.run("gc --now").success();
    // Nor does a killed one block anybody.
    first.signal(Signal::Kill);
    assert!(first.ends_within(END_LIMIT));
    site.run("sync debian").success();
    site.assert_whole();
}

// ---- Bad upstreams --------------------------------------------------------------------------------------------------

/// A fault at a kind of file, the exit code, and what the message says besides the file.
type Case = (&'static str, Fault, i32, &'static str);

fn bad_answers() -> Vec<Case> {
    let page = || Fault::Body(b"<html>Please log in</html>".to_vec());
    vec![
        ("InRelease", page(), 5, "web page"),
        ("InRelease", Fault::Endless, 1, "longer than"),
        ("InRelease", Fault::Status(500), 8, "500"),
        ("InRelease", Fault::Truncated(100), 8, "InRelease"),
        (
            "InRelease",
            Fault::Redirect("file:///etc/passwd".into()),
            1,
            "other than http",
        ),
        ("Packages.gz", page(), 5, "not what it lists"),
        ("Packages.gz", Fault::WrongByte, 5, "SHA-256"),
        ("Packages.gz", Fault::Extra(vec![0; 9]), 5, "more than the expected"),
        ("Packages.xz", Fault::Endless, 5, "more than the expected"),
        ("Packages.xz", Fault::Truncated(7), 8, "Packages.xz"),
        ("cc_", page(), 5, "only 26 of"),
        ("cc_", Fault::WrongByte, 5, "SHA-256"),
        ("cc_", Fault::Extra(vec![0; 9]), 5, "more than the expected"),
        ("cc_", Fault::Endless, 5, "more than the expected"),
        ("cc_", Fault::Truncated(100), 8, "cc_1"),
        ("cc_", Fault::Reset(100), 8, "cc_1"),
        ("cc_", Fault::Status(404), 1, "does not have it"),
        ("cc_", Fault::Status(410), 1, "does not have it"),
        ("cc_", Fault::Status(503), 8, "503"),
        ("cc_", Fault::Redirect("cc_9_amd64.deb".into()), 1, "five times"),
    ]
}

#[test]
fn a_bad_answer_fails_the_sync_and_leaves_everything_as_it_was() {
    let mut site = Site::new([three().by_hash(false)]);
    site.configure(|mirror| mirror.publish_to_staging(true).publish_to_production(true));
    site.sync();
    let (visible, before) = (site.visible(), site.newest());
    for (round, (file, fault, code, reason)) in bad_answers().into_iter().enumerate() {
        // Other bytes for each: what a failed sync fetched is kept, and not asked for again.
        site.add(&deb("cc", &format!("1.{round}"), 3_000 + round));
        site.upstream.fault(&format!("*/{file}*"), fault.clone());
        let ran = site.run("sync");
        assert_eq!(ran.status.code(), Some(code), "{file} {fault:?}: {ran}");
        let ran = ran.stderr_has(file).stderr_has(reason);
        assert_eq!(site.visible(), visible, "{ran}");
        assert_eq!(site.newest(), before);
        assert!(site.leftovers().is_empty(), "{:?}", site.leftovers());
        site.upstream.clear_faults();
    }
    assert_eq!(site.sync()["outcome"], "recorded");
    assert_eq!(site.snapshots("debian").len(), 2);
    site.assert_whole();
}

#[test]
fn a_peer_that_is_longer_than_listed_is_not_listened_to_for_long() {
    let site = Site::small();
    site.upstream.fault("pool/*/aa_*", Fault::Extra(vec![7; 64 << 20]));
    site.run("sync").code(5).stderr_has("more than the expected");
    let written: u64 = below(&site.env.state_dir())
        .iter()
        .map(|path| fs::metadata(path).map_or(0, |facts| facts.len()))
        .sum();
    assert!(written < 16 << 20, "{written} bytes in the state directory");
}

#[test]
fn an_upstream_that_is_not_there_fails_the_sync() {
    let site = Site::small();
    site.sync();
    let visible = site.visible();
    let gone = site.env.root().join("nothing");
    fs::create_dir(&gone).expect("own directory");
    site.upstream.switch_to(&gone);
    site.run("sync").code(1).stderr_has(SUITE).stderr_has("no Release file");
    let address = {
        let upstream = Upstream::serve(&gone);
        upstream.url()
    };
    site.configure(|mirror| mirror.set("url", &format!("\"{address}\"")));
    site.run("sync").code(8).stderr_has("cannot fetch");
    assert_eq!(site.visible(), visible);
}

#[test]
fn what_the_archive_does_not_have_is_refused_by_name() {
    let site = Site::small();
    for (change, named) in [
        (("sections", "[\"main\", \"universe\"]"), "universe"),
        (("architectures", "[\"amd64\", \"s390x\"]"), "s390x"),
        (("suites", "[\"trixie\"]"), "trixie"),
    ] {
        site.configure(|mirror| mirror.set(change.0, change.1));
        site.run("sync").code(1).stderr_has(named);
        assert!(site.snapshots("debian").is_empty());
    }
}

#[test]
fn one_mirror_that_fails_does_not_stop_the_others() {
    let bad = SuiteSpec::new("bad").package("main", deb("broken", "1", 10));
    let site = Site::new([three(), bad]);
    let mirrors = [("first", SUITE), ("middle", "bad"), ("last", SUITE)];
    let config = mirrors.iter().fold(Config::new(), |config, (id, suite)| {
        config.mirror(site.mirror(id).suites(&[suite]))
    });
    site.configure_all(config);
    site.upstream.fault("pool/*/broken_*", Fault::Status(404));
    let report = site.run("--json sync").code(6).json();
    let outcomes: BTreeMap<String, String> = report["mirrors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|mirror| (text(&mirror["mirror"]), text(&mirror["outcome"])))
        .collect();
    let expected = [("first", "recorded"), ("last", "recorded"), ("middle", "failed")];
    assert_eq!(
        outcomes,
        expected.map(|(id, outcome)| (id.into(), outcome.into())).into()
    );
    let failed = report["mirrors"].as_array().expect("a list").iter();
    let failed: Vec<&Value> = failed.filter(|mirror| mirror["mirror"] == "middle").collect();
    assert_eq!(failed[0]["error"]["exit_code"], 1);
    assert!(
        failed[0]["error"].to_string().contains(&site.pool("broken")),
        "{report}"
    );
    assert_eq!(
        (&report["error"]["kind"], &report["error"]["exit_code"]),
        (&"partial".into(), &6.into())
    );
    let problems = report["error"]["problems"].as_array().expect("a list");
    assert_eq!((problems.len(), &problems[0]["mirror"]), (1, &"middle".into()));
    assert_eq!(problems[0]["exit_code"], 1);
    site.run("sync")
        .code(6)
        .stderr_has("1 of 3 mirrors")
        .stderr_has("middle: ")
        .stdout_has("first: unchanged");
    // Alone, it fails for its own reason; so do several that all fail alike.
    site.run("sync middle").code(1);
    site.upstream
        .fault("dists/*/InRelease", Fault::Body(b"<html>".to_vec()));
    let report = site.run("--json sync").code(5).json();
    assert_eq!(report["error"]["problems"].as_array().expect("a list").len(), 3);
    site.run("sync first last").code(5);
}

// ---- Names from upstream --------------------------------------------------------------------------------------------

/// A suite that [`forge`] can change: an uncompressed index, SHA-256 alone, no by-hash.
fn forgeable() -> SuiteSpec {
    let variants = [Variant::Plain, Variant::Gzip];
    three()
        .hashes([HashType::Sha256])
        .by_hash(false)
        .listed(&variants)
        .served(&variants[..1])
}

/// The index of `site`, with `change` made.
fn forge_index(site: &Site, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let index = fs::read(site.archive.root().join(INDEX)).expect("an index");
    let changed = change(index.clone());
    assert_ne!(changed, index);
    forge(&site.archive, SUITE, &[("main/binary-amd64/Packages", &changed)]);
}

fn replaced(text: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    let from = from.as_bytes();
    let at = text.windows(from.len()).position(|window| window == from);
    let at = at.expect("the text is there");
    [&text[..at], to, &text[at + from.len()..]].concat()
}

#[test]
fn names_that_lead_astray_are_refused() {
    let long_component = format!("pool/{}.deb", "x".repeat(252));
    let long_path = format!("pool/{}x.deb", "abcdefghi/".repeat(103));
    let cases: Vec<(&[u8], &str)> = vec![
        (b"../../etc/passwd", "../../etc/passwd"),
        (b"../escaped.deb", "../escaped.deb"),
        (b"/escaped.deb", "/escaped.deb"),
        (b"pool/../../escaped.deb", "pool/../../escaped.deb"),
        (b"pool/./escaped.deb", "pool/./escaped.deb"),
        (b"pool//escaped.deb", "pool//escaped.deb"),
        (b"pool/escaped/", "pool/escaped/"),
        (b"..", ".."),
        (b"", "file name \"\""),
        (b"pool/a\0b.deb", "pool/a"),
        (b"pool/a\tb.deb", "pool/a"),
        (b"pool/a\x7fb.deb", "pool/a"),
        (b"pool/a\x1b[31mb.deb", "pool/a"),
        (b"pool\\escaped.deb", "escaped.deb"),
        (b"pool/\xff\xfe.deb", "Filename"),
        ("pool/a\u{202e}bed.deb".as_bytes(), "pool/a"),
        (long_component.as_bytes(), "xxx"),
        (long_path.as_bytes(), "abcdefghi"),
        (b"pool/by-hash/SHA256/x.deb", "pool/by-hash/SHA256/x.deb"),
    ];
    let site = Site::new([forgeable()]);
    let genuine = format!("Filename: {}", site.pool("bb"));
    let index = fs::read(site.archive.root().join(INDEX)).expect("an index");
    let outside = || {
        let mut files = below(site.env.root());
        let ours = [
            site.env.state_dir(),
            site.archive.root().to_owned(),
            site.env.root().join("run"),
        ];
        files.retain(|path| !ours.iter().any(|ours| path.starts_with(ours)));
        files
    };
    let before = outside();
    for (name, shown) in cases {
        forge_index(&site, |_| replaced(&index, &genuine, &[b"Filename: ", name].concat()));
        let said = site.run("sync").failure().stderr_has(shown);
        assert!(
            !said.stderr.contains(['\u{1b}', '\0', '\u{202e}', '\u{7f}', '\t']),
            "{said}"
        );
        assert!(site.snapshots("debian").is_empty(), "{said}");
        assert_eq!(outside(), before, "{said}");
    }
    assert!(!std::path::Path::new("/escaped.deb").exists());
    // What only looks dangerous is a name like any other, and nothing in it is decoded.
    let harmless = "pool/%2e%2e%2f%00/foo_1.0..2~x+b1_amd64.deb";
    let bytes = fs::read(site.archive.root().join(site.pool("bb"))).expect("a package");
    let to = site.archive.root().join(harmless);
    fs::create_dir_all(to.parent().expect("below the archive")).expect("own directory");
    fs::write(to, bytes).expect("own directory");
    forge_index(&site, |_| {
        replaced(&index, &genuine, format!("Filename: {harmless}").as_bytes())
    });
    site.sync();
    assert!(site.newest().contains_key(harmless));
    assert_eq!(outside(), before);
}

#[test]
fn files_that_cannot_stand_in_one_tree_are_refused() {
    let site = Site::new([forgeable()]);
    let index = fs::read(site.archive.root().join(INDEX)).expect("an index");
    let (aa, bb) = (site.pool("aa"), site.pool("bb"));
    let (of_aa, of_bb) = (format!("Filename: {aa}"), format!("Filename: {bb}"));
    let below_aa = format!("Filename: {aa}/x.deb");
    let release = format!("Filename: dists/{SUITE}/InRelease");
    for (named, to) in [(&aa, &of_aa), (&aa, &below_aa), (&"InRelease".to_owned(), &release)] {
        // Upstream has the file there, so that only the clash is wrong.
        forge_index(&site, |_| replaced(&index, &of_bb, to.as_bytes()));
        let bytes = fs::read(site.archive.root().join(&bb)).expect("a package");
        site.upstream.fault(&format!("{aa}/x.deb"), Fault::Body(bytes));
        site.upstream.take_requests();
        site.run("sync").failure().stderr_has(named);
        assert!(site.snapshots("debian").is_empty());
        // Decided before anything is fetched for it.
        assert_eq!(
            Site::fetched(&site.upstream.take_requests(), "pool/"),
            BTreeMap::new(),
            "{to}"
        );
        site.upstream.clear_faults();
    }
    // The same file twice is the same file.
    let twice = [&index[..], b"\n", &index].concat();
    forge_index(&site, |_| twice);
    site.sync();
    assert_eq!(site.newest().keys().filter(|path| path.starts_with("pool/")).count(), 3);
}

#[test]
fn sizes_and_hashes_that_cannot_be_are_refused() {
    let site = Site::new([forgeable()]);
    let index = fs::read(site.archive.root().join(INDEX)).expect("an index");
    let bytes = fs::read(site.archive.root().join(site.pool("aa"))).expect("a package");
    let size = format!("Size: {}", bytes.len());
    let digest = format!("SHA256: {}", Digest::of(&bytes));
    let no_number = ["-1", "+5", "1e9", "0x10", "18446744073709551617", "", "5 5"];
    let no_digest = ["", "xyz", "d41d8cd98f00b204e9800998ecf8427e"];
    let sizes = no_number.map(|value| (&size, format!("Size: {value}"), "Size"));
    let digests = no_digest.map(|value| (&digest, format!("SHA256: {value}"), "SHA256"));
    let missing = [
        (&size, "Other: 1".to_owned(), "Size"),
        (&digest, "Other: 1".to_owned(), "SHA256"),
    ];
    for (from, to, named) in sizes.into_iter().chain(digests).chain(missing) {
        forge_index(&site, |_| replaced(&index, from, to.as_bytes()));
        site.run("sync").code(5).stderr_has(named).stderr_has("Packages");
        assert!(site.snapshots("debian").is_empty(), "{to}");
    }
    // Numbers that could be, and are not.
    for (to, reason) in [
        ("Size: 1", "more than the expected 1 "),
        ("Size: 999999", "of 999999 bytes"),
    ] {
        forge_index(&site, |_| replaced(&index, &size, to.as_bytes()));
        site.run("sync").code(5).stderr_has(&site.pool("aa")).stderr_has(reason);
        assert!(site.snapshots("debian").is_empty(), "{to}");
    }
}

#[test]
fn indices_that_say_different_things_are_refused() {
    // Each variant is what Release lists, but they are not the same index.
    let both = [Variant::Gzip, Variant::Xz];
    let spec = |name: &str| {
        let suite = SuiteSpec::new(SUITE).package("main", deb(name, "1", 10));
        suite.hashes([HashType::Sha256]).by_hash(false)
    };
    let other = Site::new([spec("other")]);
    let of_other = |name: &str| fs::read(other.archive.root().join(format!("{INDEX}{name}"))).expect("an index");
    for (listed, served, changed) in [
        (&Variant::ALL[..], &both[..], ".gz"),
        (&Variant::ALL, &both, ".xz"),
        (&Variant::ALL, &both[..1], ".gz"),
        (&both, &both, ".xz"),
        (&Variant::ALL, &Variant::ALL, ".xz"),
    ] {
        let site = Site::new([spec("aa").listed(listed).served(served)]);
        let path = format!("main/binary-amd64/Packages{changed}");
        forge(&site.archive, SUITE, &[(&path, &of_other(changed))]);
        site.run("sync").code(5).stderr_has(&format!("Packages{changed}"));
        assert!(site.snapshots("debian").is_empty(), "{listed:?} {served:?} {changed}");
    }
    // Damaged ones, too.
    for garbage in [&b"\x1f\x8b\x08\0garbage"[..], b"not gzip", b""] {
        let site = Site::new([spec("aa").served(&both[..1])]);
        forge(&site.archive, SUITE, &[("main/binary-amd64/Packages.gz", garbage)]);
        site.run("sync").code(5).stderr_has("Packages.gz");
        assert!(site.snapshots("debian").is_empty());
    }
}

// ---- Names, flags, pointers -----------------------------------------------------------------------------------------

/// Configures a name format that does not depend on the time.
fn name_all(site: &Site, name: &str) {
    let format = format!("\"{name}\"");
    let config = Config::new()
        .mirror(site.mirror("debian"))
        .set_in("snapshot", "default_name_format", &format);
    site.configure_all(config);
}

#[test]
fn a_generated_name_that_is_taken_gets_a_number() {
    let mut site = Site::small();
    name_all(&site, "nightly");
    for version in ["2", "3", "4"] {
        site.sync();
        site.add(&deb("aa", version, 10));
    }
    assert_eq!(site.snapshots("debian"), ["nightly-3", "nightly-2", "nightly"]);
    // A gap is filled; names given by hand count, too.
    site.run("snapshot delete debian nightly-2").success();
    assert_eq!(site.sync()["snapshot"]["name"], "nightly-2");
    site.run("snapshot create debian").success().stdout_has("nightly-4");
    site.run("snapshot create debian nightly-5").success();
    site.run("sync --force").success();
    assert_eq!(site.snapshots("debian")[0], "nightly-6");
}

#[test]
fn a_name_is_decided_before_the_download() {
    let mut site = Site::small();
    // So long that no number fits behind it.
    name_all(&site, &"x".repeat(128));
    site.sync();
    site.add(&deb("aa", "2", 10));
    site.upstream.take_requests();
    site.run("sync").code(1).stderr_has("no free snapshot name");
    assert_eq!(asked(&site), []);
    assert_eq!(site.snapshots("debian").len(), 1);
}

#[test]
fn a_name_that_is_taken_during_the_download_is_avoided() {
    let mut site = Site::small();
    name_all(&site, "nightly");
    site.sync();
    site.add(&deb("aa", "2", 10));
    let command = site.env.command(&["snapshot", "create", "debian", "nightly-2"]);
    site.upstream
        .before("pool/*/aa_2*", move || drop(command.run().success()));
    assert_eq!(site.sync()["snapshot"]["name"], "nightly-3");
    assert_eq!(site.snapshots("debian"), ["nightly-3", "nightly-2", "nightly"]);
}

#[test]
fn force_records_what_is_unchanged() {
    let site = Site::small();
    site.sync();
    site.upstream.take_requests();
    let report = site.json("sync --force")["mirrors"][0].take();
    assert_eq!(report["outcome"], "recorded");
    assert_eq!(
        (&report["snapshot"]["changes"], &report["snapshot"]["fetched_files"]),
        (&0.into(), &0.into())
    );
    assert_eq!(Site::fetched(&site.upstream.requests(), "pool/"), BTreeMap::new());
    let snapshots = site.snapshots("debian");
    assert_eq!(snapshots.len(), 2);
    assert_eq!(site.files("debian", &snapshots[0]), site.files("debian", &snapshots[1]));
}

#[test]
fn only_a_snapshot_that_nobody_reads_is_replaced() {
    let mut site = Site::small();
    site.sync();
    let old = site.newest();
    site.run("snapshot create debian spare").success();
    site.run("snapshot create debian weekly").success();
    site.run("snapshot create debian weekly").code(4).stderr_has("--force");
    site.add(&deb("aa", "2", 10));
    site.sync();
    assert_eq!(site.files("debian", "weekly"), old);
    site.run("snapshot create debian weekly --force").success();
    assert_ne!(site.files("debian", "weekly"), old);
    for (command, pointer) in [("stage", "staging"), ("publish", "current")] {
        site.run(&format!("snapshot {command} debian weekly")).success();
        let visible = site.visible();
        site.run("snapshot create debian weekly --force")
            .code(4)
            .stderr_has(pointer);
        site.run("snapshot delete debian weekly").code(4).stderr_has(pointer);
        site.run("snapshot delete debian weekly --force")
            .code(4)
            .stderr_has(pointer);
        site.run("snapshot delete debian spare weekly --force")
            .code(4)
            .stderr_has("weekly");
        assert_eq!(site.visible(), visible, "all or none");
        // Elsewhere first, then it may go.
        let other = site
            .snapshots("debian")
            .into_iter()
            .find(|name| name != "weekly")
            .expect("another");
        site.run(&format!("snapshot {command} debian {other}")).success();
    }
    // Clients that saw it there may still need its files.
    site.run("snapshot delete debian weekly")
        .code(4)
        .stderr_has("lends files");
    site.run("snapshot delete debian weekly --force").success();
    site.assert_whole();
}

#[test]
fn new_snapshots_go_where_the_configuration_says() {
    for (staging, production) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut site = Site::small();
        site.configure(|mirror| mirror.publish_to_staging(staging).publish_to_production(production));
        for round in 1..=2 {
            let report = site.sync();
            let newest = site.snapshots("debian").swap_remove(0);
            let expected = |wanted: bool| wanted.then(|| newest.clone());
            assert_eq!(site.pointer("debian", "staging"), expected(staging));
            assert_eq!(site.pointer("debian", "current"), expected(production));
            let moves = report["snapshot"]["moves"].as_array().expect("a list").len();
            assert_eq!(moves, usize::from(staging) + usize::from(production), "{report}");
            // An unchanged upstream moves nothing, and a failed sync neither.
            site.sync();
            site.add(&deb("aa", &format!("1.{round}"), 10));
            site.upstream.fault("pool/*", Fault::Status(500));
            site.run("sync").code(8);
            site.upstream.clear_faults();
            assert_eq!(site.pointer("debian", "staging"), expected(staging));
            assert_eq!(site.pointer("debian", "current"), expected(production));
        }
        let history = site.json("snapshot history");
        let moves = history["moves"].as_array().expect("a list");
        assert_eq!(moves.len(), 2 * (usize::from(staging) + usize::from(production)));
        assert!(moves.iter().all(|entry| entry["command"] == "sync"), "{history}");
    }
}

// ---- Retention ------------------------------------------------------------------------------------------------------

/// Keeps the newest two snapshots and what pointers name.
fn keep_two(site: &Site, auto: bool) {
    let config = Config::new()
        .mirror(site.mirror("debian"))
        .set_in("snapshot.prune", "keep_last", "2")
        .set_in("snapshot.prune", "keep_within", "\"0\"")
        .set_in("gc", "auto", &auto.to_string());
    site.configure_all(config);
}

#[test]
fn each_new_snapshot_is_followed_by_pruning() {
    let mut site = Site::small();
    keep_two(&site, true);
    let first = text(&site.sync()["snapshot"]["name"]);
    site.run(&format!("snapshot publish debian {first}")).success();
    let mut names = vec![first];
    for version in ["2", "3", "4"] {
        site.add(&deb("aa", version, 10));
        names.insert(0, text(&site.sync()["snapshot"]["name"]));
        let mut expected: Vec<String> = names.iter().take(2).cloned().collect();
        if names.len() > 2 {
            // What production points at stays whatever its age.
            expected.extend(names.last().cloned());
        }
        assert_eq!(site.snapshots("debian"), expected);
    }
    // Nothing new, nothing pruned.
    let newest = &names[0];
    site.run(&format!("snapshot publish debian {newest}")).success();
    assert_eq!(site.sync()["outcome"], "unchanged");
    assert_eq!(site.snapshots("debian").len(), 3);
    site.assert_whole();
}

#[test]
fn each_sync_ends_with_a_sweep() {
    let mut site = Site::small();
    keep_two(&site, false);
    site.sync();
    let blob = site.blob(site.newest()[&site.pool("aa")].0);
    for version in ["2", "3"] {
        site.add(&deb("aa", version, 10));
        site.sync();
    }
    // Its snapshot is pruned; as if that had been longer ago than the time of grace.
    let mut catalog = Catalog::open(&site.env.state_dir().join("catalog.db")).expect("a catalog");
    let condemned = catalog.condemn_unused(now().plus(-25 * 3_600)).expect("writable");
    drop(catalog);
    assert!(condemned.blobs > 0);
    let blobs = site.blobs().len() as u64;
    assert_eq!(site.sync()["outcome"], "unchanged");
    assert!(blob.exists(), "nobody asked for a sweep");
    keep_two(&site, true);
    assert_eq!(site.sync()["outcome"], "unchanged");
    assert!(!blob.exists());
    assert_eq!(site.blobs().len() as u64, blobs - condemned.blobs);
    site.assert_whole();

    // What becomes unused now stays for the time of grace, unless somebody is in a hurry.
    let blob = site.blob(site.newest()[&site.pool("bb")].0);
    for version in ["2", "3"] {
        site.add(&deb("bb", version, 10));
        site.sync();
    }
    assert!(blob.exists());
    site.run("gc").success();
    assert!(blob.exists());
    site.run("gc --now").success();
    assert!(!blob.exists());
    site.assert_whole();
}

//! How files are fetched: retries, resumption, several URLs, proxies, credentials.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mirrorctl_testkit::{Config, Deb, Dice, Fault, Mirror, Proxy, Ran, Recorded, Signal, SuiteSpec, Upstream};

use crate::site::{SUITE, Site, deb, three};

/// Length of the file in [`large`]: more than is kept for the next sync, and more than the buffers of a connection.
const LARGE: usize = 6_000_000;

/// A site with one package, `big`, of a good [`LARGE`] bytes.
fn large() -> Site {
    // Bytes that do not get smaller in a package.
    let noise = Dice(1).noise(LARGE);
    let big = Deb::new("big", "1", "amd64").file("usr/share/big/data", noise);
    Site::new([SuiteSpec::new(SUITE).package("main", big)])
}

/// Configures the mirror `debian` with further keys in `[http]`.
fn with_http(site: &Site, keys: &[(&str, &str)], change: impl FnOnce(Mirror) -> Mirror) {
    let config = Config::new().mirror(change(site.mirror("debian")));
    let set = |config: Config, (key, value): &(&str, &str)| config.set_in("http", key, value);
    site.configure_all(keys.iter().fold(config, set));
}

fn urls(urls: &[&str]) -> String {
    format!("{urls:?}")
}

fn header<'a>(request: &'a Recorded, name: &str) -> Option<&'a str> {
    let found = request.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// The requests for the file of `big`, each as what it asked for and what it got.
fn asked_for_big(upstream: &Upstream) -> Vec<(Option<String>, bool, u16)> {
    let requests = upstream.take_requests().into_iter();
    let of_big = requests.filter(|request| request.path.contains("/big_"));
    of_big
        .map(|request| {
            let range = header(&request, "range").map(str::to_owned);
            (range, header(&request, "if-range").is_some(), request.status)
        })
        .collect()
}

fn with_environment(site: &Site, variables: &[(&str, &str)], line: &str) -> Ran {
    let words: Vec<&str> = line.split_whitespace().collect();
    let set = |program: mirrorctl_testkit::Program, (name, value): &(&str, &str)| program.env(name, value);
    variables.iter().fold(site.env.command(&words), set).run()
}

/// The URL of a port on which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

// ---- Retries --------------------------------------------------------------------------------------------------------

#[test]
fn an_upstream_that_fails_three_times_of_ten_gives_the_same_result() {
    let packages = |suite: SuiteSpec, n: usize| suite.package("main", deb(&format!("pkg{n:02}"), "1", 3_000 + n));
    for fault in [Fault::Status(500), Fault::Truncated(1_000), Fault::Reset(700)] {
        let site = Site::new([(0..30).fold(SuiteSpec::new(SUITE), packages)]);
        site.upstream.fault("*", Fault::Sometimes(30, Box::new(fault.clone())));
        let report = site.sync();
        assert_eq!(report["outcome"], "recorded", "{fault:?}");
        site.upstream.clear_faults();
        assert_eq!(
            site.newest().keys().filter(|path| path.starts_with("pool/")).count(),
            30
        );
        site.assert_whole();
        assert!(site.leftovers().is_empty());
        assert_eq!(site.sync()["outcome"], "unchanged");
    }
}

#[test]
fn only_temporary_failures_are_tried_again_and_as_often_as_configured() {
    for (fault, requests, code) in [
        (Fault::Status(500), 3, 8),
        (Fault::Status(503), 3, 8),
        (Fault::Status(429), 3, 8),
        (Fault::Status(408), 3, 8),
        (Fault::Truncated(9), 3, 8),
        (Fault::Reset(9), 3, 8),
        (Fault::Status(403), 1, 1),
        (Fault::Status(401), 1, 1),
        (Fault::Status(404), 1, 1),
        (Fault::WrongByte, 1, 5),
    ] {
        let site = Site::small();
        with_http(&site, &[("retries", "2")], |mirror| mirror);
        site.upstream.fault("pool/*/cc_*", fault.clone());
        let ran = site.run("--json sync").code(code);
        assert_eq!(site.upstream.hits("pool/*/cc_*"), requests, "{fault:?}");
        let report = ran.json();
        let kind = if code == 8 {
            "unavailable"
        } else {
            report["error"]["kind"].as_str().expect("text")
        };
        assert_eq!(report["error"]["kind"], kind);
        assert!(
            report["error"]["causes"].to_string().contains("cc_") || code != 8,
            "{report}"
        );
        assert!(report["error"]["hints"].to_string().contains("kept"), "{report}");
        assert_eq!(report["mirrors"][0]["mirror"], "debian");
        site.upstream.clear_faults();
        site.sync();
        site.assert_whole();
    }
}

#[test]
fn a_host_that_asks_for_a_pause_gets_it() {
    let packages = |suite: SuiteSpec, n: usize| suite.package("main", deb(&format!("pkg{n:02}"), "1", 500));
    let site = Site::new([(0..20).fold(SuiteSpec::new(SUITE), packages)]);
    let busy = |seconds: &str| Fault::StatusWith(429, vec![("Retry-After".into(), seconds.into())]);
    site.upstream.fault_times("pool/*", 5, busy("1"));
    site.sync();
    // Those under way when it asked, and each file once.
    assert_eq!(site.upstream.hits("pool/*"), 25);
    site.assert_whole();
}

// ---- Resumption -----------------------------------------------------------------------------------------------------

#[test]
fn a_file_that_breaks_off_goes_on_where_it_ended() {
    for fault in [Fault::Truncated(2_000_000), Fault::Reset(4_000_000)] {
        let site = large();
        site.upstream.fault_times("pool/*", 1, fault);
        site.sync();
        let asked = asked_for_big(&site.upstream);
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert_eq!((&asked[0].0, asked[0].2), (&None, 200));
        assert!(asked[1].0.is_some() && asked[1].1, "{asked:?}");
        assert_eq!(asked[1].2, 206);
        site.assert_whole();
    }
}

#[test]
fn what_does_not_continue_the_file_begins_it_again() {
    for (second, expected) in [
        (Some(Fault::NoRanges), &[200, 200][..]),
        (Some(Fault::WrongRange), &[200, 206, 200]),
        (Some(Fault::Status(416)), &[200, 416, 200]),
        (None, &[200, 200]),
    ] {
        let site = large();
        let path = site.archive.root().join(site.pool("big"));
        // The rule set last goes first.
        match &second {
            Some(fault) => site.upstream.fault_times("pool/*", 1, fault.clone()),
            // Another version, by its mark.
            None => {
                let bytes = fs::read(&path).expect("a package");
                let rewrite = move || fs::write(&path, bytes).expect("own file");
                site.upstream.before_nth("pool/*", 2, rewrite);
            }
        }
        site.upstream.fault_times("pool/*", 1, Fault::Truncated(2_000_000));
        site.sync();
        let statuses: Vec<u16> = asked_for_big(&site.upstream).into_iter().map(|asked| asked.2).collect();
        assert_eq!(statuses, expected, "{second:?}");
        site.assert_whole();
    }
}

/// What there is of `big` on its way in.
fn partial(site: &Site) -> Option<PathBuf> {
    let found = site.leftovers();
    assert!(found.len() <= 1, "{found:?}");
    found.into_iter().next()
}

/// Begins a sync that does not get beyond the first two thirds of `big`, and ends it by `signal`.
fn stop_halfway(site: &Site, signal: Signal) -> PathBuf {
    site.upstream.fault("pool/*", Fault::Stalled(4_000_000));
    let mut sync = site.env.spawn(&["sync"]);
    sync.wait_until("most of the file", |_| {
        let written = |path: &PathBuf| fs::metadata(path).map_or(0, |facts| facts.len());
        site.leftovers().iter().any(|path| written(path) > 3_000_000)
    });
    sync.signal(signal);
    sync.wait();
    site.upstream.clear_faults();
    site.upstream.take_requests();
    partial(site).expect("a part of the file")
}

#[test]
fn the_next_sync_goes_on_with_a_large_file() {
    for signal in [Signal::Kill, Signal::Interrupt, Signal::Terminate] {
        let site = large();
        stop_halfway(&site, signal);
        let report = site.sync();
        let asked = asked_for_big(&site.upstream);
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].0.is_some());
        assert_eq!(asked[0].2, 206);
        let fetched = report["snapshot"]["fetched_bytes"].as_u64().expect("a number");
        assert!(fetched < 3_500_000, "{report}");
        assert_eq!(partial(&site), None);
        site.assert_whole();
    }
}

#[test]
fn a_part_that_does_not_fit_costs_one_more_request_and_never_a_wrong_file() {
    for damage in [b"garbage".to_vec(), vec![0; LARGE + 100_000]] {
        let site = large();
        let part = stop_halfway(&site, Signal::Kill);
        fs::write(part, damage).expect("own file");
        site.sync();
        let statuses: Vec<u16> = asked_for_big(&site.upstream).into_iter().map(|asked| asked.2).collect();
        assert!(matches!(statuses[..], [206, 200] | [200]), "{statuses:?}");
        assert_eq!(partial(&site), None);
        site.assert_whole();
    }
    // A whole one needs no request at all.
    let site = large();
    let part = stop_halfway(&site, Signal::Kill);
    fs::copy(site.archive.root().join(site.pool("big")), part).expect("own file");
    site.sync();
    assert_eq!(asked_for_big(&site.upstream), []);
    site.assert_whole();
}

#[test]
fn a_part_that_nobody_wants_any_more_is_removed() {
    let mut site = large();
    stop_halfway(&site, Signal::Kill);
    site.add(&deb("big", "2", 10));
    site.sync();
    assert_eq!(partial(&site), None);
    site.assert_whole();
}

#[test]
fn what_a_mirror_left_that_is_configured_no_more_is_collected_in_time() {
    let site = large();
    let part = stop_halfway(&site, Signal::Kill);
    let (size, blobs) = (fs::metadata(&part).expect("exists").len(), site.blobs().len());
    assert!(blobs > 0, "the indices came before");
    let other = || Config::new().mirror(site.mirror("other"));
    site.configure_all(other());
    let foreign = part.with_file_name("notes");
    fs::write(&foreign, "the operator's").expect("own directory");

    let report = site.json("gc --now");
    assert_eq!(
        (&report["removed"]["files"], &report["unfinished"]["files"]),
        (&0.into(), &1.into())
    );
    assert_eq!(report["unfinished"]["bytes"], size, "{report}");
    site.run("gc --now").success().stdout_has("1 files (");
    assert!(part.exists(), "it is kept for the next sync");
    let cache = &site.json("status")["cache"];
    assert_eq!(
        (&cache["unfinished_files"], &cache["unfinished_bytes"]),
        (&1.into(), &size.into())
    );

    site.configure_all(other().set_in("gc", "keep_partial", "\"1s\""));
    std::thread::sleep(Duration::from_millis(2_100));
    let planned = site.json("gc --now --dry-run");
    assert_eq!(planned["unfinished"]["files"], 0);
    assert!(planned["removed"]["bytes"].as_u64() > Some(size), "{planned}");
    assert!(part.exists());
    let report = site.json("gc --now");
    assert_eq!(report["removed"], planned["removed"]);
    // Its leases have ended as well, and the inventory of its index goes with that.
    assert_eq!(report["removed"]["files"], 2 + blobs, "{report}");
    assert!(!part.exists() && foreign.exists() && site.blobs().is_empty());
    assert_eq!(site.json("status")["cache"]["unfinished_files"], 0);
}

#[test]
fn the_part_of_a_file_that_is_being_fetched_is_never_collected() {
    let site = large();
    let config = Config::new().mirror(site.mirror("debian"));
    site.configure_all(config.set_in("gc", "keep_partial", "\"0s\""));
    site.upstream.fault("pool/*", Fault::Stalled(4_000_000));
    let mut sync = site.env.spawn(&["sync"]);
    sync.wait_until("a part of the file", |_| !site.leftovers().is_empty());
    std::thread::sleep(Duration::from_millis(1_100));
    for command in ["gc --now --dry-run", "gc --now"] {
        let report = site.json(command);
        assert_eq!(
            (&report["removed"]["files"], &report["unfinished"]["files"]),
            (&0.into(), &1.into()),
            "{command}"
        );
    }
    assert!(partial(&site).is_some());
    sync.signal(Signal::Kill);
    sync.wait();
    std::thread::sleep(Duration::from_millis(1_100));
    site.run("gc --now").success();
    assert_eq!(partial(&site), None);
}

// ---- Several URLs ---------------------------------------------------------------------------------------------------

#[test]
fn what_one_url_lacks_or_spoils_another_has() {
    for (fault, hits) in [
        (Fault::Status(404), 1),
        (Fault::Status(403), 1),
        (Fault::WrongByte, 1),
        (Fault::Body(b"<html>".to_vec()), 1),
        (Fault::Status(500), 1),
        (Fault::Reset(10), 1),
    ] {
        let site = Site::small();
        let other = Upstream::serve(site.archive.root());
        let both = urls(&[&site.upstream.url(), &other.url()]);
        with_http(&site, &[], |mirror| mirror.without("url").set("urls", &both));
        site.upstream.fault("pool/*/cc_*", fault.clone());
        site.sync();
        assert_eq!(site.upstream.hits("pool/*/cc_*"), hits, "{fault:?}");
        assert_eq!(other.hits("pool/*/cc_*"), 1, "{fault:?}");
        assert_eq!(
            other.hits("dists/*Release*"),
            0,
            "the Release files decide from one URL"
        );
        site.assert_whole();
    }
    // What no URL has is missing.
    let site = Site::small();
    let other = Upstream::serve(site.archive.root());
    let both = urls(&[&site.upstream.url(), &other.url()]);
    with_http(&site, &[], |mirror| mirror.without("url").set("urls", &both));
    for upstream in [&site.upstream, &other] {
        upstream.fault("pool/*/cc_*", Fault::Status(404));
    }
    site.run("sync")
        .code(1)
        .stderr_has("cc_")
        .stderr_has("does not have it");
}

#[test]
fn a_url_that_fails_goes_last_for_the_rest_of_the_run() {
    for (pattern, fault) in [
        ("*", Fault::Status(503)),
        ("dists/*Release*", Fault::Status(404)),
        ("pool/*", Fault::Status(500)),
    ] {
        let site = Site::small();
        let other = Upstream::serve(site.archive.root());
        let config = Config::new().set("max_conns", "1").mirror(
            site.mirror("debian")
                .without("url")
                .set("urls", &urls(&[&site.upstream.url(), &other.url()])),
        );
        site.configure_all(config);
        site.upstream.fault(pattern, fault.clone());
        site.run("sync")
            .success()
            .stderr_has("other URLs of the mirror go first");
        assert!(site.upstream.hits("pool/*") <= 1, "{pattern}");
        assert_eq!(other.hits("pool/*"), 3, "{pattern}");
        site.assert_whole();
    }
    let site = Site::small();
    let (gone, url) = (nobody(), site.upstream.url());
    with_http(&site, &[], |mirror| {
        mirror.without("url").set("urls", &urls(&[&gone, &url]))
    });
    site.sync();
    site.assert_whole();
}

#[test]
fn changes_are_asked_of_the_url_that_gave_the_release_files() {
    let site = Site::small();
    let other = Upstream::serve(site.archive.root());
    let both = urls(&[&site.upstream.url(), &other.url()]);
    with_http(&site, &[], |mirror| mirror.without("url").set("urls", &both));
    let conditional = |upstream: &Upstream| -> Vec<bool> {
        let requests = upstream.take_requests().into_iter();
        let of_release = requests.filter(|request| request.path.ends_with("InRelease"));
        of_release.map(|request| request.conditional).collect()
    };
    site.sync();
    site.upstream.take_requests();
    assert_eq!(site.sync()["outcome"], "unchanged");
    assert_eq!((conditional(&site.upstream), conditional(&other)), (vec![true], vec![]));
    site.upstream.fault("*", Fault::Status(404));
    assert_eq!(site.sync()["outcome"], "unchanged");
    assert_eq!(conditional(&other), [false], "another URL has other marks");
    site.upstream.take_requests();
    assert_eq!(site.sync()["outcome"], "unchanged");
    assert_eq!(
        (conditional(&site.upstream), conditional(&other)),
        (vec![false], vec![true])
    );
}

#[test]
fn a_url_that_cannot_be_verified_is_not_passed_over() {
    let site = Site::small();
    let other = Upstream::serve(site.archive.root());
    let both = urls(&[&site.upstream.url(), &other.url()]);
    with_http(&site, &[], |mirror| mirror.without("url").set("urls", &both));
    site.upstream
        .fault("dists/*/InRelease", Fault::Body(b"<html>Log in</html>".to_vec()));
    site.run("sync").code(5).stderr_has("web page");
    assert_eq!(other.hits("*"), 0);
}

/// A site whose upstream has published since the last sync, and another upstream that still has what was there before.
fn with_a_lagging_upstream() -> (Site, Upstream) {
    let mut site = Site::small();
    let old = site.env.root().join("lagging");
    copy(site.archive.root(), &old);
    let lagging = Upstream::serve(&old);
    site.add(&deb("dd", "1", 1_000));
    site.sync();
    site.upstream.take_requests();
    (site, lagging)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a file");
        }
    }
}

#[test]
fn a_url_that_lags_behind_is_passed_over() {
    let (mut site, lagging) = with_a_lagging_upstream();
    let both = urls(&[&lagging.url(), &site.upstream.url()]);
    site.add(&deb("ee", "1", 1_000));
    with_http(&site, &[], |mirror| mirror.without("url").set("urls", &both));
    let ran = site.run("--json sync").success().stderr_has("older than the last one");
    assert_eq!(ran.json()["mirrors"][0]["outcome"], "recorded");
    assert!(site.newest().keys().any(|path| path.contains("/ee_")));
    assert!(lagging.hits("dists/*") > 0);
    site.assert_whole();
}

#[test]
fn lagging_is_told_only_where_no_url_fails_otherwise() {
    let (site, lagging) = with_a_lagging_upstream();
    let before = site.visible();
    for (pattern, fault, code, said) in [
        ("dists/*Release*", Some(Fault::Status(404)), 1, "has no Release file"),
        ("*", Some(Fault::Status(503)), 8, "status 503"),
        ("", None, 5, "older than the last one"),
    ] {
        for first in [true, false] {
            let (here, there) = (site.upstream.url(), lagging.url());
            let both = match (&fault, first) {
                (None, _) => vec![there.as_str()],
                (Some(_), true) => vec![here.as_str(), &there],
                (Some(_), false) => vec![there.as_str(), &here],
            };
            let both = urls(&both);
            with_http(&site, &[("retries", "1")], |mirror| {
                mirror.without("url").set("urls", &both)
            });
            if let Some(fault) = &fault {
                site.upstream.fault(pattern, fault.clone());
            }
            let error = site.run("--json sync").code(code).json()["error"].take();
            assert!(error.to_string().contains(said), "{both}: {error}");
            assert_eq!(site.visible(), before);
            site.upstream.clear_faults();
        }
    }
}

#[test]
fn an_expired_url_is_passed_over() {
    let (site, expired) = (Site::small(), Site::new([three().valid_for(60)]));
    let keys = [&site, &expired].map(|site| site.archive.key().public_armored().expect("a key"));
    let keys = site.env.key("both.asc", &keys.concat());
    let both = urls(&[&expired.upstream.url(), &site.upstream.url()]);
    with_http(&site, &[], |mirror| mirror.without("url").set("urls", &both).key(&keys));
    site.run("sync").success().stderr_has("expired: it was valid until");
    assert!(expired.upstream.hits("dists/*") > 0);
    with_http(&site, &[], |mirror| {
        mirror.set("url", &format!("{:?}", expired.upstream.url())).key(&keys)
    });
    site.run("sync").code(5).stderr_has("expired: it was valid until");
}

// ---- Proxies --------------------------------------------------------------------------------------------------------

/// A name that no resolver has.
const NAME: &str = "archive.mirror.invalid";

fn of_name(mirror: Mirror) -> Mirror {
    mirror.set("url", &format!("\"http://{NAME}/\""))
}

#[test]
fn http_and_socks_proxies_are_used() {
    for proxy in [Proxy::http(), Proxy::socks()] {
        let site = Site::small();
        proxy.knows(&format!("{NAME}:80"), &site.upstream.url());
        let url = format!("\"{}\"", proxy.url_for("bob", "hunter2"));
        with_http(&site, &[("proxy", &url)], of_name);
        site.run("sync").success().stderr_lacks("hunter2");
        site.assert_whole();
        let asked = proxy.asked();
        assert!(
            asked.iter().all(|asked| asked.target == format!("{NAME}:80")),
            "{asked:?}"
        );
        let login = asked[0].login.as_deref();
        assert!(
            matches!(login, Some("bob:hunter2" | "Basic Ym9iOmh1bnRlcjI=")),
            "{login:?}"
        );
        site.run("--json check config").success().stdout_lacks("hunter2");
        site.run("check config")
            .success()
            .stdout_has("the proxy")
            .stdout_lacks("hunter2");
    }
}

#[test]
fn https_goes_through_a_tunnel() {
    let site = Site::small();
    let proxy = Proxy::http();
    proxy.knows(&format!("{NAME}:443"), &site.upstream.url());
    let url = format!("\"{}\"", proxy.url());
    with_http(&site, &[("proxy", &url), ("retries", "0")], |mirror| {
        mirror.set("url", &format!("\"https://{NAME}/\""))
    });
    // Whoever is at the end of the tunnel speaks no TLS: nothing is fetched, but the way was right.
    site.run("sync").failure().stderr_has(NAME);
    assert_eq!(proxy.asked()[0].target, format!("{NAME}:443"));
    assert_eq!(site.upstream.hits("*"), 0);
}

#[test]
fn the_environment_names_proxies_and_the_configuration_goes_over_it() {
    let (site, proxy) = (Site::small(), Proxy::http());
    proxy.knows(&format!("{NAME}:80"), &site.upstream.url());
    with_http(&site, &[("retries", "0")], of_name);
    for variable in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        let before = proxy.asked().len();
        with_environment(&site, &[(variable, &proxy.url())], "sync --force").success();
        assert!(proxy.asked().len() > before, "{variable}");
    }
    let before = proxy.asked().len();
    let url = proxy.url();
    let except = [("http_proxy", url.as_str()), ("no_proxy", ".mirror.invalid")];
    with_environment(&site, &except, "sync --force").code(8);
    with_environment(&site, &[("https_proxy", &url)], "sync --force").code(8);
    with_http(&site, &[("retries", "0"), ("proxy", "\"none\"")], of_name);
    with_environment(&site, &[("http_proxy", &url)], "sync --force").code(8);
    assert_eq!(proxy.asked().len(), before);
    with_http(&site, &[("proxy", &format!("{url:?}"))], of_name);
    with_environment(&site, &[("http_proxy", &nobody())], "sync --force").success();
}

#[test]
fn a_hostile_environment_is_refused_by_name_where_it_matters() {
    let site = Site::small();
    site.sync();
    for value in [
        "javascript:alert(1)//x",
        "file:///etc/passwd",
        "http://",
        "ftp://bob:hunter2@h/",
        "http://bob:hunter2@h:1/\u{1b}[31m",
        "http://h:99999",
    ] {
        let variables = [("HTTPS_PROXY", value)];
        for line in ["sync", "check config", "--json sync"] {
            let ran = with_environment(&site, &variables, line).code(1);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(
                said.contains("HTTPS_PROXY") && !said.contains("hunter2"),
                "{value:?}: {said}"
            );
        }
        with_environment(&site, &variables, "snapshot list").success();
    }
}

// ---- Credentials ----------------------------------------------------------------------------------------------------

/// `bob:hunter2`, as a server sees it.
const BASIC: &str = "Basic Ym9iOmh1bnRlcjI=";

#[test]
fn credentials_come_from_files_and_go_nowhere_else() {
    let site = Site::small();
    let elsewhere = Upstream::serve(site.archive.root());
    let address = site.upstream.url();
    let entry = format!("machine {address}/ login bob password hunter2\n");
    let home = site.env.root().join("home");
    let auth_conf = site.env.root().join("auth.conf");
    for (file, netrc) in [(&home.join(".netrc"), true), (&auth_conf, false)] {
        fs::write(file, &entry).expect("own file");
        let key = [("auth_conf", format!("{auth_conf:?}"))];
        let keys: Vec<(&str, &str)> = key.iter().map(|(key, value)| (*key, value.as_str())).collect();
        with_http(&site, if netrc { &[] } else { &keys }, |mirror| mirror);
        site.upstream.fault(
            "pool/*/cc_*",
            Fault::Redirect(format!("{}/{}", elsewhere.url(), site.pool("cc"))),
        );
        site.upstream.fault("pool/*/aa_*", Fault::Status(403));
        let ran = site.run("-l debug --json sync").code(1);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2"), "{ran}");
        assert!(!ran.stderr.contains("Ym9iOmh1bnRlcjI"), "{ran}");
        let asked = site.upstream.take_requests();
        assert!(
            asked
                .iter()
                .all(|request| header(request, "authorization") == Some(BASIC)),
            "{asked:?}"
        );
        let asked = elsewhere.take_requests();
        assert!(netrc != asked.is_empty(), "fetched once");
        assert!(
            asked.iter().all(|request| header(request, "authorization").is_none()),
            "{asked:?}"
        );
        fs::remove_file(file).expect("own file");
    }
    // Without a scheme an entry is for https.
    let entry = format!(
        "machine {} login bob password hunter2\n",
        address.trim_start_matches("http://")
    );
    fs::write(home.join(".netrc"), entry).expect("own file");
    site.configure(|mirror| mirror);
    site.upstream.clear_faults();
    site.sync();
    let asked = site.upstream.take_requests();
    assert!(
        asked.iter().all(|request| header(request, "authorization").is_none()),
        "{asked:?}"
    );
}

#[test]
fn credentials_in_a_url_are_shown_nowhere() {
    let site = Site::small();
    let url = site.upstream.url().replace("http://", "http://bob:hunter2@");
    site.configure(|mirror| mirror.set("url", &format!("{url:?}")));
    site.upstream.fault("pool/*/cc_*", Fault::Status(401));
    for line in [
        "-l debug sync",
        "--json sync",
        "check config",
        "--json check config",
        "status",
    ] {
        let ran = site.run(line);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2"), "{ran}");
    }
    site.run("sync").code(1).stderr_has("401").stderr_has("auth.conf");
    assert!(
        site.upstream
            .requests()
            .iter()
            .all(|request| header(request, "authorization") == Some(BASIC))
    );
}

#[test]
fn a_named_file_with_credentials_has_to_be_there() {
    let site = Site::small();
    with_http(&site, &[("auth_conf", "\"/nonexistent/auth.conf\"")], |mirror| mirror);
    site.run("sync")
        .code(1)
        .stderr_has("/nonexistent/auth.conf")
        .stderr_has("hint");
}

// ---- Rate -----------------------------------------------------------------------------------------------------------

#[test]
fn a_rate_changes_nothing_but_the_time() {
    let site = Site::new([three().package("main", deb("big", "1", 300_000))]);
    let config = Config::new()
        .set_in("http", "max_rate", "\"2MB/s\"")
        .set_in("mirrors.debian.http", "max_rate", "\"1MiB\"")
        .mirror(site.mirror("debian"));
    site.configure_all(config);
    site.sync();
    site.assert_whole();
    site.run("check config")
        .success()
        .stdout_has("at most 1.0 MiB a second");
}

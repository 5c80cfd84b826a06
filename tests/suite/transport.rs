//! What an upstream can do wrong below the level of files: connections, heads, lengths, redirections.
//!
//! Owns the table of bad transports. Whatever happens, the sync says what and where, nothing that anybody can see
//! changes, nothing is left behind, and the next good sync succeeds.

use std::net::TcpListener;
use std::time::Duration;

use mirrorctl_testkit::{Config, Fault, Mirror, Proxy, Ran, Upstream};

use crate::site::{Site, deb};

/// Little patience, for an upstream that will not do better.
const IMPATIENT: [(&str, &str); 3] = [
    ("retries", "1"),
    ("read_timeout", "\"400ms\""),
    ("connect_timeout", "\"400ms\""),
];

fn configure(site: &Site, change: impl FnOnce(Mirror) -> Mirror) {
    let config = Config::new().mirror(change(site.mirror("debian")));
    let set = |config: Config, (key, value): &(&str, &str)| config.set_in("http", key, value);
    site.configure_all(IMPATIENT.iter().fold(config, set));
}

fn raw(text: &str) -> Fault {
    Fault::Raw(text.as_bytes().to_vec())
}

/// Asserts what holds after every failure.
#[track_caller]
fn assert_harmless(site: &Site, before: &(String, String), ran: &Ran) {
    assert_eq!(&site.visible(), before, "{ran}");
    assert!(site.leftovers().is_empty(), "{ran}");
}

#[test]
fn bad_answers_are_told_and_harmless() {
    let header = "x".repeat(2 << 20);
    let cases = [
        // Heads that never end, or are none.
        (Fault::Silent, 8, "sent nothing"),
        (
            Fault::RawForever {
                head: Vec::new(),
                piece: b"HTTP/1.1 200 OK\r\n".to_vec(),
                pause: Duration::ZERO,
            },
            8,
            "cannot fetch",
        ),
        (
            raw(&format!("HTTP/1.1 200 OK\r\nX: {header}\r\n\r\n")),
            8,
            "cannot fetch",
        ),
        (
            raw(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(100_000))),
            8,
            "cannot fetch",
        ),
        (raw("SSH-2.0-OpenSSH_9.2\r\n"), 8, "cannot fetch"),
        (raw(""), 8, "cannot fetch"),
        // Bodies that stop.
        (Fault::Stalled(100), 8, "sent nothing"),
        (Fault::Truncated(100), 8, "cc_1"),
        (Fault::Reset(100), 8, "cc_1"),
        (raw("HTTP/1.1 200 OK\r\n\r\nshort"), 8, "ended after 5 of"),
        // Lengths that cannot be, or are not.
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            8,
            "cannot fetch",
        ),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
            8,
            "cannot fetch",
        ),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            8,
            "cannot fetch",
        ),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 5, "only 5 of"),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nhello"),
            5,
            "more than the expected",
        ),
        (Fault::Endless, 5, "more than the expected"),
        // Chunks that are none.
        (
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n"),
            8,
            "cc_1",
        ),
        (
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello"),
            8,
            "cc_1",
        ),
        (
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
            8,
            "cc_1",
        ),
        // Encodings and parts that nobody asked for.
        (
            raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
            1,
            "content encoding",
        ),
        (
            raw("HTTP/1.1 206 Part\r\nContent-Range: bytes 0-0/1\r\nContent-Length: 1\r\n\r\nx"),
            8,
            "another part",
        ),
        (raw("HTTP/1.1 304 Not Modified\r\n\r\n"), 1, "304"),
        // Redirections astray.
        (Fault::Redirect("file:///etc/passwd".into()), 1, "other than http"),
        (Fault::Redirect("ftp://127.0.0.1/x".into()), 1, "other than http"),
        (Fault::Redirect("data:text/plain,x".into()), 1, "other than http"),
        (Fault::Redirect("http://".into()), 1, "no URL"),
        (
            Fault::Redirect("/pool/main/c/cc/cc_9_amd64.deb".into()),
            1,
            "five times",
        ),
        (
            raw("HTTP/1.1 302 Found\r\nLocation: /a\tb\r\nContent-Length: 0\r\n\r\n"),
            1,
            "unreadable",
        ),
        (
            raw("HTTP/1.1 302 Found\r\nLocation: /\u{e9}\u{1}\r\nContent-Length: 0\r\n\r\n"),
            8,
            "cannot fetch",
        ),
    ];
    let mut site = Site::small();
    configure(&site, |mirror| mirror.publish_to_production(true));
    site.sync();
    let before = site.visible();
    for (round, (fault, code, said)) in cases.into_iter().enumerate() {
        site.add(&deb("cc", &format!("1.{round}"), 3_000 + round));
        site.upstream.fault("pool/*/cc_*", fault.clone());
        let ran = site.run("sync");
        let shown: String = format!("{fault:?}").chars().take(200).collect();
        assert_eq!(ran.status.code(), Some(code), "{shown}: {ran}");
        assert!(
            ran.stderr.contains(said) && ran.stderr.contains("cc_1"),
            "{shown}: {ran}"
        );
        assert!(ran.stderr.contains("kept"), "{shown}: {ran}");
        assert_harmless(&site, &before, &ran);
        site.upstream.clear_faults();
    }
    site.sync();
    site.assert_whole();
}

#[test]
fn an_upstream_that_cannot_be_reached_is_told_and_harmless() {
    let site = Site::small();
    configure(&site, |mirror| mirror);
    site.sync();
    let before = site.visible();
    // Nobody listens; no such name; somebody takes the connection and says nothing, as a proxy or at once.
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("bound"))
    };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("bound");
    let silent_listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hole = silent_listener.local_addr().expect("bound");
    for (url, proxy) in [
        (closed, "none".to_owned()),
        ("http://archive.mirror.invalid".to_owned(), "none".to_owned()),
        (format!("http://{hole}"), "none".to_owned()),
        ("http://archive.mirror.invalid".to_owned(), format!("socks5h://{hole}")),
        ("http://archive.mirror.invalid".to_owned(), format!("http://{silent}")),
    ] {
        configure(&site, |mirror| {
            mirror
                .set("url", &format!("{url:?}"))
                .set("http.proxy", &format!("{proxy:?}"))
        });
        let ran = site.run("sync").code(8).stderr_has(&url);
        assert_harmless(&site, &before, &ran);
    }
}

#[test]
fn redirections_do_not_lead_into_the_neighbourhood() {
    // Who redirects is at 127.0.0.1: what else is there may be its business, the site's other machines are not.
    let site = Site::small();
    for to in [
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://192.168.1.1:8080/x",
        "http://172.16.0.1/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://0xa9fea9fe/",
    ] {
        configure(&site, |mirror| mirror);
        site.upstream.fault("dists/*/InRelease", Fault::Redirect(to.to_owned()));
        site.run("sync").code(1).stderr_has("address of this machine or site");
    }
    let beside = Upstream::serve(site.archive.root());
    site.upstream.fault(
        "*/InRelease",
        Fault::Redirect(format!("{}/dists/bookworm/InRelease", beside.url())),
    );
    site.sync();
    assert_eq!(beside.hits("*"), 1);
}

#[test]
fn a_public_upstream_does_not_lead_to_this_machine() {
    let (site, proxy) = (Site::small(), Proxy::http());
    let victim = Upstream::serve(site.archive.root());
    proxy.knows("archive.mirror.invalid:80", &site.upstream.url());
    configure(&site, |mirror| {
        mirror
            .set("url", "\"http://archive.mirror.invalid/\"")
            .set("http.proxy", &format!("{:?}", proxy.url()))
    });
    let port = victim.url().rsplit_once(':').expect("a port").1.to_owned();
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "[::1]",
        "0.0.0.0",
        "2130706433",
        "0177.1",
    ] {
        let to = format!("http://{host}:{port}/dists/bookworm/InRelease");
        site.upstream.fault("dists/*/InRelease", Fault::Redirect(to));
        site.run("sync").code(1).stderr_has("address of this machine or site");
    }
    assert_eq!(victim.hits("*"), 0);
    assert!(site.snapshots("debian").is_empty());
    site.upstream.clear_faults();
    site.sync();
    site.assert_whole();
}

#[test]
fn connections_to_a_host_are_limited_behind_redirections_too() {
    let site = Site::new([(0..12).fold(crate::site::three(), |suite, n| {
        suite.package("main", deb(&format!("pkg{n:02}"), "1", 10))
    })]);
    let there = Upstream::serve(site.archive.root());
    let config = Config::new().mirror(site.mirror("debian")).set("max_conns", "3");
    site.configure_all(config);
    for path in site.archive.pool_paths() {
        site.upstream
            .fault(path, Fault::Redirect(format!("{}/{path}", there.url())));
    }
    // Nobody is answered, so whoever may ask has asked.
    there.fault("pool/*", Fault::Silent);
    let mut sync = site.env.spawn(&["sync"]);
    sync.wait_until("three requests", |_| there.hits("pool/*") >= 3);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(there.hits("pool/*"), 3);
    sync.kill();
    there.clear_faults();
    site.sync();
    site.assert_whole();
}

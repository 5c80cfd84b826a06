//! Servers, proxies and names that want a sync to wait, to go astray, or to take something for what it is not.
//!
//! Owns what needs more than one answer to go wrong: heads and bodies that never end, hosts that swallow connections,
//! chains of redirections, names that lead elsewhere than they look. Single bad answers are in `transport`.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use mirrorctl::model::Clock;
use mirrorctl::upstream::{ClientOptions, Retry};
use mirrorctl_testkit::{Blackhole, Config, Fault, Mirror, Program, Proxy, Upstream, now};

use crate::attack::Attack;
use crate::site::{Site, deb, three};
use crate::time::sync_by;
use crate::tls::Secured;

/// Little patience, for an upstream that will not do better. Good answers come within it on a busy machine too.
const IMPATIENT: [(&str, &str); 3] = [
    ("retries", "0"),
    ("read_timeout", "\"500ms\""),
    ("connect_timeout", "\"300ms\""),
];

fn configure(site: &Site, change: impl FnOnce(Mirror) -> Mirror) {
    let mirror = site.mirror("debian").publish_to_production(true);
    let config = Config::new().mirror(change(mirror));
    let set = |config: Config, (key, value): &(&str, &str)| config.set_in("http", key, value);
    site.configure_all(IMPATIENT.iter().fold(config, set));
}

/// An upstream with a new package `cc` that was not fetched yet.
fn attack() -> Attack {
    let mut attack = Attack::on(three());
    configure(&attack.site, |mirror| mirror);
    attack.site.add(&deb("cc", "2", 3_000));
    attack
}

fn raw(text: &str) -> Fault {
    Fault::Raw(text.as_bytes().to_vec())
}

/// `piece` again and again after `head`, as fast as it is taken or, with a pause, just often enough to seem alive.
fn forever(head: &str, piece: &str, pause: u64) -> Fault {
    Fault::RawForever {
        head: head.as_bytes().to_vec(),
        piece: piece.as_bytes().to_vec(),
        pause: Duration::from_millis(pause),
    }
}

fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// The first line of a good answer.
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// Where faults are, and the file that is told of.
const PLACES: [(&str, &str); 2] = [("pool/*/cc_*", "cc_2"), ("dists/*/InRelease", "InRelease")];

/// Heads and frames of bodies without end, fast and slow, at a package and at the Release file (T3, T4, T5).
#[test]
fn answers_without_end_are_ended() {
    let attack = attack();
    let ok = OK;
    let megabyte = "x".repeat(1 << 20);
    let faults = [
        ("a head, line by line", forever(ok, "X: y\r\n", 20)),
        ("a head, line upon line", forever(ok, "X: y\r\n", 0)),
        ("a header, byte by byte", forever(&format!("{ok}X: "), "y", 20)),
        (
            "a header, byte upon byte",
            forever(&format!("{ok}X: "), "yyyyyyyyyyyyyyyy", 0),
        ),
        ("a header of a MiB", raw(&format!("{ok}X: {megabyte}\r\n\r\n"))),
        ("a status line, byte by byte", forever("HTTP/1.1 200 ", "O", 20)),
        ("preliminary answers", forever("", "HTTP/1.1 100 Continue\r\n\r\n", 0)),
        (
            "preliminary answers, one by one",
            forever("", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n", 20),
        ),
        ("nothing", forever("", "\r\n", 20)),
        ("an extension of a chunk", forever(&chunked("5;x="), "y", 0)),
        ("trailers", forever(&chunked("5\r\nhello\r\n0\r\n"), "X: y\r\n", 0)),
        ("the digits of a length", forever(&chunked("0"), "0", 0)),
        ("silence", Fault::Silent),
        ("silence in the body", Fault::Stalled(100)),
    ];
    // One place for each: all in both would take as long again.
    for ((what, fault), (pattern, name)) in faults.into_iter().zip(PLACES.into_iter().cycle()) {
        attack.site.upstream.fault(pattern, fault);
        attack.is_refused(&format!("{what} at {name}"), 8, &[name, "kept"]);
        attack.site.upstream.clear_faults();
    }
    attack.ends();
}

/// A body is read to what was listed, or to what a Release file may have, and not further (T7).
#[test]
fn bodies_without_end_are_left_where_they_should_end() {
    let attack = attack();
    let ok = OK;
    let zeros = "\0".repeat(1 << 16);
    for (what, fault) in [
        ("without a length", Fault::Endless),
        (
            "with a length",
            forever(&format!("{ok}Content-Length: 99999999999\r\n\r\n"), &zeros, 0),
        ),
        ("in chunks", forever(&chunked(""), &format!("10000\r\n{zeros}\r\n"), 0)),
    ] {
        let verdicts = [(5, "more than the expected"), (1, "longer than 16777216 bytes")];
        for ((pattern, name), (code, says)) in PLACES.into_iter().zip(verdicts) {
            attack.site.upstream.fault(pattern, fault.clone());
            attack.is_refused(&format!("{what} at {name}"), code, &[name, says, "kept"]);
            attack.site.upstream.clear_faults();
        }
    }
    attack.ends();
}

/// Lengths and chunks that two readers would take for different things (T8, T9).
#[test]
fn lengths_that_can_be_read_in_two_ways_are_refused() {
    let attack = attack();
    let length = |value: &str| raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\nhello"));
    let package = attack.site.archive.root().join(attack.site.pool("cc"));
    let size = fs::read(package).expect("a package").len();
    let both = |body: &str| {
        raw(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ))
    };
    let lengths = [
        "5, 6",
        "+5",
        "-1",
        "0x5",
        "5 5",
        "5;",
        "",
        "five",
        "18446744073709551616",
    ];
    let chunks = [
        "-5\r\nhello",
        "0x5\r\nhello",
        "5 5\r\nhello",
        "\r\nhello",
        "5\nhello",
        "5\r\nhelloworld\r\n0\r\n\r\n",
    ];
    let lengths = lengths.map(|value| (format!("the length {value:?}"), length(value), 8));
    let chunks = chunks.map(|body| (format!("the chunk {body:?}"), raw(&chunked(body)), 8));
    let more = [
        ("twice the same length", length("5\r\nContent-Length: 5"), 5),
        ("a length and chunks", both("5\r\nhello\r\n0\r\n\r\n"), 8),
        ("a length and no chunks", both("hello"), 8),
        (
            "another encoding of transfer",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello"),
            8,
        ),
        (
            "chunks that are no last encoding",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
            8,
        ),
        (
            "an answer of a page, with the right length",
            Fault::Body(vec![b'<'; size]),
            5,
        ),
    ];
    let more = more.map(|(what, fault, code)| (what.to_owned(), fault, code));
    for (what, fault, code) in lengths.into_iter().chain(chunks).chain(more) {
        attack.site.upstream.fault("pool/*/cc_*", fault);
        let ran = attack.site.run("sync");
        let found = ran.status.code().unwrap_or_default();
        assert!(found == code || (found, code) == (5, 8), "{what}: {ran}");
        attack.was_refused(&what, ran, found, &["cc_2", "kept"]);
        attack.site.upstream.clear_faults();
    }
    // One page for everything, as of a portal.
    attack
        .site
        .upstream
        .fault("*", Fault::Body(b"<html>Log in</html>".to_vec()));
    attack.is_refused("a portal", 5, &["InRelease", "web page"]);
    attack.ends();
}

/// Hosts that swallow connections, as upstream and as every kind of proxy: the wait has an end, another URL is gone to,
/// and whoever is silent is named (T2, and proxies that take a connection and say nothing).
#[test]
fn silent_hosts_are_named_and_passed_over() {
    let attack = attack();
    let hole = Blackhole::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute = silent.local_addr().expect("bound");
    let name = "archive.mirror.invalid";
    for (what, url, proxy) in [
        ("upstream", format!("http://{}", hole.address()), None),
        ("upstream by https", format!("https://{}", hole.address()), None),
        (
            "a proxy that is not there",
            format!("http://{name}"),
            Some(format!("http://{}", hole.address())),
        ),
        (
            "a proxy that is not there, by socks",
            format!("http://{name}"),
            Some(format!("socks5h://{}", hole.address())),
        ),
        (
            "a silent proxy",
            format!("http://{name}"),
            Some(format!("http://{mute}")),
        ),
        (
            "a silent proxy before https",
            format!("https://{name}"),
            Some(format!("http://{mute}")),
        ),
        (
            "a silent proxy by socks",
            format!("http://{name}"),
            Some(format!("socks5h://{mute}")),
        ),
    ] {
        configure(&attack.site, |mirror| {
            let proxy = proxy.as_deref().unwrap_or("none");
            mirror
                .set("url", &format!("{url:?}"))
                .set("http.proxy", &format!("{proxy:?}"))
        });
        let through = proxy.map(|proxy| format!("through the proxy {proxy}"));
        attack.is_refused(what, 8, &[&url, through.as_deref().unwrap_or_default(), "kept"]);
    }
    configure(&attack.site, |mirror| {
        let urls = [format!("http://{}", hole.address()), attack.site.upstream.url()];
        mirror.without("url").set("urls", &format!("{urls:?}"))
    });
    attack.site.run("sync").success().stderr_has("going to the next URL");
    attack.ends();
}

/// A byte now and then keeps no sync waiting for ever: less than the least rate over its window ends the file (T6). The
/// window is a minute for users; it is shorter here.
#[test]
fn a_peer_that_sends_byte_after_byte_is_given_up() {
    let site = Site::small();
    let options = ClientOptions {
        window: Duration::from_millis(400),
        least: 400,
        retry: Retry {
            retries: 1,
            first: Duration::from_millis(1),
        },
        ..ClientOptions::new(2)
    };
    for pattern in ["*/InRelease", "*/Packages*", "pool/*/cc_*"] {
        let one_by_one = Fault::Slow {
            piece: 1,
            pause: Duration::from_millis(20),
        };
        site.upstream.fault(pattern, one_by_one);
        site.upstream.fault("*/by-hash/*", Fault::Status(404));
        let error = sync_by(&site, now(), Clock::new(now), &options).expect_err("too slow");
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let told: Vec<String> = causes.map(ToString::to_string).collect();
        assert!(told.join(": ").contains("sent less than 400 bytes"), "{told:?}");
        assert!(site.snapshots("debian").is_empty());
        site.upstream.clear_faults();
    }
    sync_by(&site, now(), Clock::new(now), &options).expect("as fast as before");
    site.assert_whole();
}

/// Redirections that go round, on and on, into less safety, or to what is no place (T12, T14, T15, T16).
#[test]
fn redirections_astray_are_refused() {
    let attack = attack();
    let upstream = &attack.site.upstream;
    let path = format!("/{}", attack.site.pool("cc"));
    let location = |value: &[u8]| {
        let head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ";
        Fault::Raw([&head[..], value, b"\r\n\r\n"].concat())
    };
    for (what, value, says) in [
        ("to itself", path.as_bytes(), "five times"),
        ("to itself, by a fragment", format!("{path}#x").as_bytes(), "five times"),
        ("to a file", b"file:///etc/passwd", "other than http"),
        ("to a file, in capitals", b"FILE:///etc/passwd", "other than http"),
        ("to a program", b"javascript:alert(1)", "other than http"),
        ("to ftp", b"ftp://127.0.0.1/x", "other than http"),
        ("to data", b"data:text/plain,x", "other than http"),
        ("to no host", b"http://", "no URL"),
        ("to no port", b"http://127.0.0.1:99999/", "no URL"),
        ("with a tab", b"/a\tb", "unreadable"),
        ("with a tab in the scheme", b"fi\tle:///etc/passwd", "unreadable"),
        ("not in UTF-8", b"/\xff\xfe", "unreadable"),
        ("with C1 controls", "/\u{9b}31m".as_bytes(), "unreadable"),
    ] {
        upstream.fault("pool/*/cc_*", location(value));
        attack.is_refused(what, 1, &["cc_2", says, "kept"]);
        upstream.clear_faults();
    }
    // Control characters that HTTP has no room for end the answer.
    for (what, value) in [
        ("NUL", &b"/a\0b"[..]),
        ("escape", b"/a\x1b[31mb"),
        ("DEL", b"/a\x7fb"),
        ("a lone CR", b"/a\rb"),
    ] {
        upstream.fault("pool/*/cc_*", location(value));
        let ran = attack.site.run("sync").failure();
        let code = ran.status.code().unwrap_or_default();
        attack.was_refused(what, ran, code, &["cc_2", "kept"]);
        upstream.clear_faults();
    }
    // What is encoded stays so, and is the name of a file that is not there.
    upstream.fault("pool/*/cc_*", location(b"/%0d%0aX-Injected:%20y/%2e%2e/%00"));
    attack.is_refused("encoded", 1, &["cc_2", "does not have it"]);
    upstream.clear_faults();
    // Two that point to each other, and a chain of one more than is followed.
    let hops = |count: usize| {
        for hop in 0..count {
            upstream.fault(&format!("hop/{hop}"), Fault::Redirect(format!("/hop/{}", hop + 1)));
        }
    };
    upstream.fault("pool/*/cc_*", Fault::Redirect("/hop/0".into()));
    upstream.fault("hop/0", Fault::Redirect(path.clone()));
    attack.is_refused("round in two", 1, &["five times"]);
    upstream.fault("hop/0", Fault::Redirect("/hop/1".into()));
    hops(5);
    upstream.take_requests();
    attack.is_refused("six in a row", 1, &["five times"]);
    assert_eq!(upstream.hits("hop/*"), 5);
    let bytes = fs::read(attack.site.archive.root().join(attack.site.pool("cc"))).expect("a package");
    upstream.fault("hop/4", Fault::Body(bytes));
    attack.site.run("sync").success();
    attack.ends();
}

/// No redirection leads from https to http, whoever's it is (T14).
#[test]
fn redirections_never_leave_https() {
    let secured = Secured::new();
    let front = secured.front();
    secured.configure(&front.url(), &[("ca_cert_file", &secured.trusted())]);
    let plain = Upstream::serve(secured.site.archive.root());
    for to in [plain.url(), secured.site.upstream.url()] {
        for path in ["dists/bookworm/InRelease".to_owned(), secured.site.pool("cc")] {
            secured
                .site
                .upstream
                .fault(&path, Fault::Redirect(format!("{to}/{path}")));
            let ran = secured.site.run("sync").code(1);
            ran.stderr_has("redirects from https to http").stderr_has(&path);
            assert!(secured.site.snapshots("debian").is_empty());
            secured.site.upstream.clear_faults();
        }
    }
    assert_eq!(plain.hits("*"), 0);
    secured.site.sync();
    secured.site.assert_whole();
}

/// Names that lead to this machine and do not say so, from the file that resolvers read first.
fn names_of_this_machine() -> Vec<String> {
    let hosts = fs::read_to_string("/etc/hosts").expect("a file of every Debian machine");
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let names = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: std::net::IpAddr = words.next()?.parse().ok()?;
        address
            .is_loopback()
            .then(|| words.map(str::to_owned).collect::<Vec<_>>())
    });
    let mut names: Vec<String> = names.flatten().collect();
    names.retain(|name| name != "localhost" && !name.ends_with(".localhost"));
    assert!(
        !names.is_empty(),
        "/etc/hosts names this machine by nothing but localhost"
    );
    names
}

/// What counts is the address that a connection is made to, not what the name looks like: a public upstream cannot lead
/// to a name of this machine (T13, as by DNS rebinding).
#[test]
fn a_redirection_to_a_name_of_this_machine_is_refused_by_its_address() {
    let (attack, proxy) = (attack(), Proxy::http());
    let victim = Upstream::serve(attack.site.archive.root());
    let public = "archive.mirror.invalid";
    proxy.knows(&format!("{public}:80"), &attack.site.upstream.url());
    configure(&attack.site, |mirror| {
        mirror.set("url", &format!("\"http://{public}/\""))
    });
    // The proxy is for http only, so that mirrorctl itself looks the name of an https URL up.
    let sync = || -> Program { attack.site.env.command(&["sync"]).env("http_proxy", proxy.url()) };
    let port = victim.url().rsplit_once(':').expect("a port").1.to_owned();
    for name in names_of_this_machine() {
        let to = format!("https://{name}:{port}/dists/bookworm/InRelease");
        attack.site.upstream.fault("dists/*/InRelease", Fault::Redirect(to));
        let ran = sync().run();
        attack.was_refused(
            &name,
            ran,
            1,
            &["its name belongs to an address of this machine or site"],
        );
    }
    assert_eq!(victim.hits("*"), 0);
    // The same name is good where nobody but the operator chose it.
    let own = names_of_this_machine().swap_remove(0);
    let port = attack
        .site
        .upstream
        .url()
        .rsplit_once(':')
        .expect("a port")
        .1
        .to_owned();
    attack.site.upstream.clear_faults();
    configure(&attack.site, |mirror| {
        mirror.set("url", &format!("\"http://{own}:{port}/\""))
    });
    attack.site.run("sync").success();
    configure(&attack.site, |mirror| mirror);
    attack.ends();
}

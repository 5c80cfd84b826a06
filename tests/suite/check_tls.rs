//! `mirrorctl check tls`: what it sees of upstreams good and bad, and what its exit code says.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use mirrorctl_testkit::{Authority, Config, Program, TlsFront, TlsVersions, Validity, free_port};
use serde_json::Value;

use crate::site::text;
use crate::tls::{GOOD, Secured};

/// The report on the mirror `debian`, which ends with `code`: that on its only URL, with what is said of the mirror.
#[track_caller]
fn check(secured: &Secured, code: i32) -> Value {
    let mut report = secured.site.run("--json check tls debian").code(code).json();
    let seen = report.pointer_mut("/urls/0").map(Value::take);
    let mut url = seen.unwrap_or_else(|| serde_json::json!({}));
    for member in ["mirror", "error"] {
        if let Some(value) = report.get(member) {
            url[member] = value.clone();
        }
    }
    let of_settings = report.get("warnings").and_then(Value::as_array);
    let of_settings = of_settings.into_iter().flatten().cloned();
    let of_url = url
        .get("warnings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .cloned();
    url["warnings"] = of_settings.chain(of_url).collect();
    url
}

/// The report on a mirror behind `front` that trusts the test's authority.
#[track_caller]
fn check_front(secured: &Secured, front: &TlsFront, code: i32) -> Value {
    secured.configure(&front.url(), &[("ca_cert_file", &secured.trusted())]);
    check(secured, code)
}

/// The versions that were accepted.
fn accepted(report: &Value) -> Vec<String> {
    let versions = report["versions"].as_array().expect("a list").iter();
    let accepted = versions.filter(|version| version["accepted"] == true);
    accepted.map(|version| text(&version["version"])).collect()
}

fn warnings(report: &Value) -> Vec<String> {
    report["warnings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(text)
        .collect()
}

#[test]
fn a_good_upstream_is_described() {
    let secured = Secured::new();
    let certified = secured
        .authority
        .issue(&["127.0.0.1", "mirror.example"], Validity::DaysFromNow(90));
    let front = TlsFront::new(&secured.site.upstream, &certified);
    let report = check_front(&secured, &front, 0);
    assert_eq!(accepted(&report), ["1.2", "1.3"]);
    assert_eq!(report["mirror"], "debian");
    assert_eq!(report["server_name"], "127.0.0.1");
    assert_eq!(report["versions"][0]["version"], "1.0");
    assert!(
        text(&report["versions"][3]["cipher_suite"]).starts_with("TLS_AES_"),
        "{report}"
    );
    assert!(
        text(&report["versions"][2]["cipher_suite"]).starts_with("TLS_ECDHE_ECDSA_"),
        "{report}"
    );
    assert_eq!(report["negotiated"]["version"], "1.3");
    assert_eq!(
        (&report["verified"], &report["not_verified_because"]),
        (&true.into(), &Value::Null)
    );
    assert_eq!(report["asks_for_client_certificate"], false);
    let link = &report["chain"][0];
    assert_eq!(
        (&link["subject"], &link["issuer"]),
        (&"CN=127.0.0.1".into(), &"CN=Test Authority".into())
    );
    assert_eq!(link["hosts"], serde_json::json!(["127.0.0.1", "mirror.example"]));
    assert_eq!(link["days_left"], 90);
    assert_eq!(warnings(&report), [""; 0]);
    assert!(report.get("error").is_none());

    let human = secured.site.run("check tls debian").success();
    let human = human
        .stdout_has("TLS 1.0  refused")
        .stdout_has("TLS 1.3  accepted")
        .stdout_has("The certificate is verified by the authorities in ")
        .stdout_has("90 days left");
    assert!(!human.stdout.contains("warning"), "{human}");
    // It fetches nothing of the archive.
    assert!(
        secured
            .site
            .upstream
            .requests()
            .iter()
            .all(|request| request.method == "HEAD")
    );
}

#[test]
fn certificates_that_a_sync_refuses_are_code_5() {
    let secured = Secured::new();
    for (certified, why) in secured.bad_certificates() {
        let front = TlsFront::new(&secured.site.upstream, &certified);
        let report = check_front(&secured, &front, 5);
        assert_eq!(report["verified"], false);
        assert!(text(&report["not_verified_because"]).contains(why), "{report}");
        assert!(text(&report["error"]["message"]).contains(why), "{report}");
        assert_eq!(report["chain"].as_array().map(Vec::len), Some(1));
        assert!(
            front.asked().is_empty(),
            "nothing is said to a server that is not trusted"
        );
        // As a sync would: what takes any certificate ends well, and says loudly why.
        secured.configure(&front.url(), &[("insecure_skip_verify", "true")]);
        let report = check(&secured, 0);
        assert_eq!(report["verified"], false);
        assert!(
            warnings(&report)[0].contains("NOT verified (insecure_skip_verify)"),
            "{report}"
        );
    }
}

#[test]
fn an_expired_certificate_says_since_when() {
    let secured = Secured::new();
    let certified = secured.authority.issue(&["127.0.0.1"], Validity::ExpiredDaysAgo(3));
    let front = TlsFront::new(&secured.site.upstream, &certified);
    let report = check_front(&secured, &front, 5);
    // An expired day is a whole one: three days ago is in the fourth.
    assert!(
        matches!(report["chain"][0]["days_left"].as_i64(), Some(-4..=-3)),
        "{report}"
    );
    secured.site.run("check tls debian").code(5).stdout_has("EXPIRED");
}

#[test]
fn certificates_that_expire_soon_are_warned_of() {
    let secured = Secured::new();
    for (days, warned) in [(29, true), (0, true), (30, false)] {
        let certified = secured.authority.issue(&["127.0.0.1"], Validity::DaysFromNow(days));
        let report = check_front(&secured, &TlsFront::new(&secured.site.upstream, &certified), 0);
        let warning = format!("The certificate of 127.0.0.1 expires in {days} days");
        assert_eq!(warnings(&report).contains(&warning), warned, "{report}");
    }
}

#[test]
fn versions_are_told_apart() {
    let secured = Secured::new();
    let certified = secured.authority.issue(&["127.0.0.1"], GOOD);
    for (versions, name, key, value) in [
        (TlsVersions::Only12, "1.2", "min_version", "\"1.3\""),
        (TlsVersions::Only13, "1.3", "max_version", "\"1.2\""),
    ] {
        let front = TlsFront::start(&secured.site.upstream, &certified, versions, None);
        let report = check_front(&secured, &front, 0);
        assert_eq!(accepted(&report), [name]);
        assert_eq!(report["negotiated"]["version"], name);
        secured.configure(&front.url(), &[("ca_cert_file", &secured.trusted()), (key, value)]);
        let report = check(&secured, 1);
        assert_eq!(accepted(&report), [name]);
        assert!(
            report["negotiated"].is_null() && report["verified"].is_null(),
            "{report}"
        );
        assert!(
            text(&report["error"]["message"]).contains("no version of TLS"),
            "{report}"
        );
    }
}

#[test]
fn upstreams_that_ask_for_a_client_certificate_are_known() {
    let secured = Secured::new();
    let clients = Authority::new("Clients");
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        let certified = secured.authority.issue(&["127.0.0.1"], GOOD);
        let front = TlsFront::start(&secured.site.upstream, &certified, versions, Some(&clients));
        let report = check_front(&secured, &front, 1);
        assert_eq!(report["asks_for_client_certificate"], true);
        assert_eq!(report["verified"], true);
        assert!(
            text(&report["error"]["message"]).contains("only clients with a certificate"),
            "{report}"
        );
        let (certificate, key) = secured.files("client", &clients.issue(&["this-client"], GOOD));
        let trusted = secured.trusted();
        let keys = [
            ("ca_cert_file", trusted.as_str()),
            ("client_cert_file", &certificate),
            ("client_key_file", &key),
        ];
        secured.configure(&front.url(), &keys);
        let report = check(&secured, 0);
        assert_eq!(report["shows_client_certificate"], true);
    }
}

#[test]
fn another_name_is_asked_for_and_verified() {
    let secured = Secured::new();
    let certified = secured.authority.issue(&["mirror.example"], GOOD);
    let front = TlsFront::new(&secured.site.upstream, &certified);
    let trusted = secured.trusted();
    let keys = [
        ("ca_cert_file", trusted.as_str()),
        ("server_name", "\"mirror.example\""),
    ];
    secured.configure(&front.url(), &keys);
    let report = check(&secured, 0);
    assert_eq!(report["server_name"], "mirror.example");
    assert_eq!(front.asked()[0].0.as_deref(), Some("mirror.example"));
}

#[test]
fn what_cannot_be_looked_at_says_why() {
    let secured = Secured::new();
    secured.configure(&secured.site.upstream.url(), &[]);
    let report = check(&secured, 2);
    assert!(text(&report["error"]["message"]).contains("without TLS"), "{report}");
    secured.configure(&format!("https://127.0.0.1:{}", free_port()), &[]);
    let report = check(&secured, 1);
    assert!(
        text(&report["error"]["message"]).contains("cannot connect to 127.0.0.1"),
        "{report}"
    );
    secured.configure("https://nowhere.invalid/debian", &[]);
    let report = check(&secured, 1);
    assert!(
        text(&report["error"]["message"]).contains("cannot find the address of nowhere.invalid"),
        "{report}"
    );
    secured
        .site
        .run("check tls debain")
        .code(2)
        .stderr_has("did you mean \"debian\"?");
    secured.site.run("check tls").code(2);

    // A plain web server on the other side.
    let plain = secured.site.upstream.url().replace("http:", "https:");
    secured.configure(&plain, &[]);
    let report = check(&secured, 1);
    assert_eq!(accepted(&report), [""; 0]);
    assert!(report["chain"].as_array().is_some_and(Vec::is_empty), "{report}");
}

#[test]
fn credentials_are_neither_sent_nor_shown() {
    let secured = Secured::new();
    let front = secured.front();
    let url = front.url().replace("https://", "https://bob:secret@");
    secured.configure(&url, &[("ca_cert_file", &secured.trusted())]);
    let ran = secured.site.run("--verbose-errors check tls debian").success();
    assert!(
        !ran.stdout.contains("secret") && !ran.stderr.contains("secret"),
        "{ran}"
    );
    let requests = secured.site.upstream.requests();
    let authorized = requests
        .iter()
        .any(|request| request.headers.iter().any(|(name, _)| name == "authorization"));
    assert!(!requests.is_empty() && !authorized, "{requests:?}");
}

/// A server that takes whatever version and suite is offered, and goes. Answers `connections` of them.
fn takes_everything(connections: usize) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let mut stream = stream.expect("a client");
            let mut hello = [0; 4096];
            let count = stream.read(&mut hello).unwrap_or_default();
            if count < 11 {
                continue;
            }
            let mut body = hello[9..11].to_vec();
            body.extend([0; 33]);
            body.extend([0xc0, 0x14, 0]);
            let mut answer = vec![22, 3, 1, 0, 42, 2, 0, 0, 38];
            answer.extend(body);
            // The client may have gone.
            drop(stream.write_all(&answer));
        }
    });
    port
}

#[test]
fn old_versions_are_warned_of() {
    let secured = Secured::new();
    // One connection to find the address, four hellos, one handshake.
    let port = takes_everything(6);
    secured.configure(&format!("https://127.0.0.1:{port}"), &[]);
    let report = check(&secured, 1);
    assert_eq!(accepted(&report), ["1.0", "1.1", "1.2"]);
    assert_eq!(
        report["versions"][0]["cipher_suite"],
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"
    );
    let warned: Vec<bool> = ["1.0", "1.1", "1.2"]
        .map(|version| warnings(&report).contains(&format!("Upstream accepts TLS {version}, which is broken")))
        .into();
    assert_eq!(warned, [true, true, false]);
}

#[test]
fn only_the_named_mirror_is_looked_at() {
    let secured = Secured::new();
    let front = secured.front();
    let good = secured.site.mirror("good").set("url", &format!("{:?}", front.url()));
    let bad = secured.site.mirror("bad").set("url", "\"https://nowhere.invalid/\"");
    let config = Config::new().mirror(good).mirror(bad);
    secured
        .site
        .configure_all(config.set_in("tls", "ca_cert_file", &secured.trusted()));
    secured.site.run("check tls good").success();
}

#[test]
fn every_https_url_is_looked_at() {
    let secured = Secured::new();
    let good = secured.front();
    let expired = secured.authority.issue(&["127.0.0.1"], Validity::ExpiredDaysAgo(3));
    let expired = TlsFront::new(&secured.site.upstream, &expired);
    let plain = secured.site.upstream.url();
    let closed = format!("https://127.0.0.1:{}", free_port());
    let configure = |urls: &[&str]| {
        let mirror = secured.site.mirror("debian").without("url");
        let mirror = mirror.set("urls", &format!("{urls:?}"));
        let config = Config::new().mirror(mirror);
        secured
            .site
            .configure_all(config.set_in("tls", "ca_cert_file", &secured.trusted()));
    };
    let run = |code| secured.site.run("--json check tls debian").code(code).json();
    let looked_at = |report: &Value| -> Vec<String> {
        let urls = report["urls"].as_array().expect("a list").iter();
        urls.map(|seen| text(&seen["url"]).trim_end_matches('/').to_owned())
            .collect()
    };

    configure(&[&plain, &good.url()]);
    let report = run(0);
    assert_eq!(looked_at(&report), [good.url()]);
    assert_eq!(report["without_tls"], serde_json::json!([format!("{plain}/")]));
    let human = secured.site.run("check tls debian").success();
    human
        .stdout_has(&good.url())
        .stdout_has(&format!("{plain}/ is fetched without TLS"));

    configure(&[&good.url(), &expired.url()]);
    let report = run(5);
    assert_eq!(looked_at(&report), [good.url(), expired.url()]);
    assert_eq!(
        (&report["urls"][0]["verified"], &report["urls"][1]["verified"]),
        (&true.into(), &false.into())
    );
    assert!(text(&report["error"]["message"]).contains(&expired.url()), "{report}");
    assert!(report["error"].get("problems").is_none(), "{report}");

    configure(&[&closed, &good.url(), &expired.url()]);
    let report = run(1);
    assert_eq!(looked_at(&report), [good.url(), expired.url()]);
    assert!(text(&report["error"]["message"]).contains("cannot connect"), "{report}");
    let problem = &report["error"]["problems"][0];
    assert_eq!(problem["kind"], "unverifiable", "{report}");
    assert!(text(&problem["message"]).contains(&expired.url()), "{report}");
}

#[test]
fn a_proxy_that_a_sync_goes_through_is_told_of() {
    let secured = Secured::new();
    let front = secured.front();
    secured.configure(&front.url(), &[("ca_cert_file", &secured.trusted())]);
    let told = "A sync goes through the proxy http://proxy.mirror.invalid:3128";
    let check = |variables: &[(&str, &str)], words: &[&str]| {
        let command = secured.site.env.command(words);
        let set = |command: Program, (name, value): &(&str, &str)| command.env(name, value);
        variables.iter().fold(command, set).run()
    };
    let proxied = [("https_proxy", "http://bob:hunter2@proxy.mirror.invalid:3128")];
    let ran = check(&proxied, &["check", "tls", "debian"]).success();
    let ran = ran.stdout_has(told).stdout_has("past it").stdout_has("is verified by");
    assert!(
        !ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"),
        "{ran}"
    );
    let report = check(&proxied, &["--json", "check", "tls", "debian"]).success().json();
    let proxy = &report["urls"][0]["looked_past_proxy"];
    assert_eq!(proxy, "http://proxy.mirror.invalid:3128");
    // A proxy for another scheme, or for other hosts, is not on the way.
    let direct = [
        &[][..],
        &[("http_proxy", "http://proxy.mirror.invalid:3128")],
        &[proxied[0], ("no_proxy", "127.0.0.1")],
    ];
    for variables in direct {
        check(variables, &["check", "tls", "debian"])
            .success()
            .stdout_lacks("proxy");
        let report = check(variables, &["--json", "check", "tls", "debian"]).success().json();
        assert_eq!(report["urls"][0]["looked_past_proxy"], Value::Null);
    }
    // Where only the proxy leads out, there is nothing to see, and it says so.
    secured.configure(&format!("https://127.0.0.1:{}", free_port()), &[]);
    let ran = check(&proxied, &["check", "tls", "debian"]).code(1);
    ran.stderr_has("connects directly")
        .stderr_has("a sync goes through the proxy http://proxy.mirror.invalid:3128")
        .stderr_lacks("hunter2");
}

#[test]
fn a_group_is_looked_at_mirror_by_mirror() {
    let secured = Secured::new();
    let certified = |name: &str| secured.authority.issue(&[name], GOOD);
    let good = TlsFront::new(&secured.site.upstream, &certified("127.0.0.1"));
    let bad = TlsFront::new(&secured.site.upstream, &certified("elsewhere.example"));
    let trusted = secured.trusted();
    let mirrors = [("one", good.url()), ("two", bad.url()), ("three", good.url())];
    let config = mirrors.iter().fold(Config::new(), |config, (id, url)| {
        let mirror = secured.site.mirror(id).set("url", &format!("\"{url}\""));
        config
            .mirror(mirror)
            .set_in(&format!("mirrors.{id}.tls"), "ca_cert_file", &trusted)
    });
    secured
        .site
        .configure_all(config.set_in("groups", "some", "[\"one\", \"two\"]"));
    let report = secured.site.run("--json check tls some").code(5).json();
    let looked: Vec<_> = report["mirrors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|mirror| (text(&mirror["mirror"]), mirror["urls"][0]["verified"].clone()))
        .collect();
    let expected = [("one", true), ("two", false)].map(|(id, good)| (id.to_owned(), Value::from(good)));
    assert_eq!(looked, expected, "of the group's members alone");
    let message = text(&report["error"]["message"]);
    assert!(message.contains(&bad.url()), "{message}");
    let told = secured.site.run("check tls some").code(5);
    assert!(
        told.stdout.contains("elsewhere.example") && told.stdout.contains("one"),
        "{told}"
    );
}

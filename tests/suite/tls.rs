//! Upstreams over TLS: what a sync takes, what it refuses, and that it never falls back to less than was asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use mirrorctl_testkit::{Authority, Certified, Config, Fault, TlsFront, TlsVersions, Upstream, Validity};
use serde_json::Value;

use crate::site::{Site, text};

/// A certificate that is good for a while.
pub(crate) const GOOD: Validity = Validity::DaysFromNow(90);

/// A site whose upstream is behind TLS, with an authority whose certificate is in a file.
pub(crate) struct Secured {
    pub(crate) site: Site,
    pub(crate) authority: Authority,
    ca_file: PathBuf,
}

impl Secured {
    pub(crate) fn new() -> Self {
        let site = Site::small();
        let authority = Authority::new("Test Authority");
        let ca_file = site.env.key("ca.pem", authority.pem().as_bytes());
        Self {
            site,
            authority,
            ca_file,
        }
    }

    /// A server with a certificate for 127.0.0.1.
    pub(crate) fn front(&self) -> TlsFront {
        TlsFront::new(&self.site.upstream, &self.authority.issue(&["127.0.0.1"], GOOD))
    }

    /// Configures the mirror `debian` of `url` with these keys of its table `tls`.
    pub(crate) fn configure(&self, url: &str, keys: &[(&str, &str)]) {
        let mirror = self.site.mirror("debian").set("url", &format!("{url:?}"));
        let config = keys.iter().fold(Config::new().mirror(mirror), |config, (key, value)| {
            config.set_in("mirrors.debian.tls", key, value)
        });
        self.site.configure_all(config);
    }

    /// The value of `ca_cert_file`.
    pub(crate) fn trusted(&self) -> String {
        quoted(&self.ca_file)
    }

    /// Writes a certificate and its key to files, and gives the values for the configuration.
    pub(crate) fn files(&self, name: &str, certified: &Certified) -> (String, String) {
        let certificate = self
            .site
            .env
            .key(&format!("{name}.pem"), certified.certificate.as_bytes());
        let key = self.site.env.key(&format!("{name}.key"), certified.key.as_bytes());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("own file");
        (quoted(&certificate), quoted(&key))
    }

    /// Certificates that nobody may accept, with what is said of each.
    pub(crate) fn bad_certificates(&self) -> [(Certified, &'static str); 5] {
        let issue = |hosts: &[&str], validity| self.authority.issue(hosts, validity);
        [
            (issue(&["127.0.0.1"], Validity::ExpiredDaysAgo(3)), "it expired on"),
            (issue(&["127.0.0.1"], Validity::FromTomorrow), "it is not valid yet"),
            (
                issue(&["mirror.example"], GOOD),
                "it is not for the host that was asked, but for mirror.example",
            ),
            (
                Certified::self_signed(&["127.0.0.1"], GOOD, false),
                "no trusted authority issued it",
            ),
            (
                Certified::self_signed(&["127.0.0.1"], GOOD, true),
                "no trusted authority issued it",
            ),
        ]
    }

    /// Asserts that a sync fails with `code` and says `why`, that it asked upstream for nothing, and changed nothing.
    #[track_caller]
    fn refused(&self, code: i32, why: &str) {
        self.site.upstream.take_requests();
        let visible = || {
            (
                self.site.snapshots("debian"),
                self.site.run("--json snapshot history").json()["moves"].take(),
            )
        };
        let nothing = |moves: &Value| moves.as_array().is_none_or(Vec::is_empty);
        let before = visible();
        for line in ["sync --dry-run debian", "sync debian"] {
            self.site
                .run(line)
                .code(code)
                .stderr_has("cannot be fetched securely")
                .stderr_has(why);
        }
        assert!(
            self.site.upstream.requests().is_empty(),
            "{:?}",
            self.site.upstream.requests()
        );
        let after = visible();
        assert_eq!(after.0, before.0);
        assert!(nothing(&after.1) && nothing(&before.1), "{after:?}");
    }
}

fn quoted(path: &std::path::Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[test]
fn an_upstream_of_a_configured_authority_is_mirrored() {
    let secured = Secured::new();
    let front = secured.front();
    secured.configure(&front.url(), &[("ca_cert_file", &secured.trusted())]);
    assert_eq!(secured.site.sync()["outcome"], "recorded");
    secured.site.assert_whole();
    assert_eq!(secured.site.sync()["outcome"], "unchanged");
    assert!(front.asked().len() > 5);
}

#[test]
fn the_systems_authorities_do_not_vouch_for_everybody_nor_do_those_of_a_file() {
    let secured = Secured::new();
    let front = secured.front();
    secured.configure(&front.url(), &[]);
    secured.refused(5, "no trusted authority issued it");
    let other = secured
        .site
        .env
        .key("other.pem", Authority::new("Other").pem().as_bytes());
    secured.configure(&front.url(), &[("ca_cert_file", &quoted(&other))]);
    secured.refused(5, "no trusted authority issued it");
    // Afterwards a good run succeeds.
    secured.configure(&front.url(), &[("ca_cert_file", &secured.trusted())]);
    assert_eq!(secured.site.sync()["outcome"], "recorded");
}

#[test]
fn bad_certificates_are_refused() {
    let secured = Secured::new();
    for (certified, why) in secured.bad_certificates() {
        let front = TlsFront::new(&secured.site.upstream, &certified);
        secured.configure(&front.url(), &[("ca_cert_file", &secured.trusted())]);
        secured.refused(5, why);
        assert!(front.asked().is_empty());
    }
}

#[test]
fn a_certificate_that_signed_itself_is_trusted_where_it_is_configured() {
    let secured = Secured::new();
    for authority in [false, true] {
        for (hosts, validity, why) in [
            ("127.0.0.1", GOOD, None),
            ("127.0.0.1", Validity::ExpiredDaysAgo(1), Some("it expired on")),
            ("127.0.0.1", Validity::FromTomorrow, Some("it is not valid yet")),
            ("mirror.example", GOOD, Some("it is not for the host that was asked")),
        ] {
            let certified = Certified::self_signed(&[hosts], validity, authority);
            let file = secured.site.env.key("own.pem", certified.certificate.as_bytes());
            let front = TlsFront::new(&secured.site.upstream, &certified);
            secured.configure(&front.url(), &[("ca_cert_file", &quoted(&file))]);
            match why {
                Some(why) => secured.refused(5, why),
                None => {
                    secured.site.run("sync --force debian").success();
                }
            }
        }
    }
}

#[test]
fn verification_can_be_switched_off_loudly_for_one_mirror() {
    let secured = Secured::new();
    let expired = secured
        .authority
        .issue(&["elsewhere.example"], Validity::ExpiredDaysAgo(9));
    let front = TlsFront::new(&secured.site.upstream, &expired);
    secured.configure(&front.url(), &[("insecure_skip_verify", "true")]);
    for _ in 0..2 {
        secured
            .site
            .run("sync")
            .success()
            .stderr_has("NOT verified (insecure_skip_verify)");
    }
    // The mirror's own key goes over the global one.
    let mirror = secured.site.mirror("debian").set("url", &format!("{:?}", front.url()));
    let config = Config::new()
        .mirror(mirror)
        .set_in("tls", "insecure_skip_verify", "true")
        .set_in("mirrors.debian.tls", "insecure_skip_verify", "false");
    secured.site.configure_all(config);
    let ran = secured.site.run("sync").code(5);
    assert!(!ran.stderr.contains("NOT verified"), "{ran}");
}

#[test]
fn versions_outside_of_the_settings_are_not_spoken() {
    let secured = Secured::new();
    let certified = secured.authority.issue(&["127.0.0.1"], GOOD);
    let trusted = secured.trusted();
    for (versions, key, value) in [
        (TlsVersions::Only12, "min_version", "\"1.3\""),
        (TlsVersions::Only13, "max_version", "\"1.2\""),
    ] {
        let front = TlsFront::start(&secured.site.upstream, &certified, versions, None);
        secured.configure(&front.url(), &[("ca_cert_file", &trusted), (key, value)]);
        secured.refused(1, "no version of TLS that the settings allow");
        secured.configure(&front.url(), &[("ca_cert_file", &trusted)]);
        secured.site.run("sync --force").success();
    }
}

#[test]
fn only_the_named_cipher_suites_are_offered() {
    let secured = Secured::new();
    // The certificate's key is for ECDSA, so that a suite for RSA alone finds no common ground.
    let front = TlsFront::start(
        &secured.site.upstream,
        &secured.authority.issue(&["127.0.0.1"], GOOD),
        TlsVersions::Only12,
        None,
    );
    let trusted = secured.trusted();
    let suites = |names: &str| {
        secured.configure(&front.url(), &[("ca_cert_file", &trusted), ("cipher_suites", names)]);
    };
    suites("[\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]");
    secured.refused(1, "no cipher suite that the settings allow");
    suites("[\"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]");
    secured.site.run("sync").success();
}

#[test]
fn clients_show_their_certificate_to_upstreams_that_ask() {
    let secured = Secured::new();
    let clients = Authority::new("Clients");
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        let certified = secured.authority.issue(&["127.0.0.1"], GOOD);
        let front = TlsFront::start(&secured.site.upstream, &certified, versions, Some(&clients));
        let trusted = secured.trusted();
        secured.configure(&front.url(), &[("ca_cert_file", &trusted)]);
        secured.refused(1, "only clients with a certificate");

        let (certificate, key) = secured.files("client", &clients.issue(&["this-client"], GOOD));
        let keys = [
            ("ca_cert_file", trusted.as_str()),
            ("client_cert_file", &certificate),
            ("client_key_file", &key),
        ];
        secured.configure(&front.url(), &keys);
        let ran = secured.site.run("sync --force").success();
        assert!(!ran.stderr.contains("can read the client key"), "{ran}");
    }
    let key = secured.site.env.root().join("keys/client.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("own file");
    let ran = secured.site.run("sync");
    assert!(ran.stderr.contains("can read the client key"), "{ran}");
    secured
        .site
        .run("check config")
        .success()
        .stdout_has("can read the client key");
}

#[test]
fn another_name_can_be_asked_for() {
    let secured = Secured::new();
    let certified = secured.authority.issue(&["mirror.example"], GOOD);
    let front = TlsFront::new(&secured.site.upstream, &certified);
    let trusted = secured.trusted();
    let url = front.url();
    secured.configure(&url, &[("ca_cert_file", &trusted)]);
    secured.refused(5, "but for mirror.example");
    secured.configure(
        &url,
        &[("ca_cert_file", &trusted), ("server_name", "\"mirror.example\"")],
    );
    assert_eq!(secured.site.sync()["outcome"], "recorded");
    let host = url.trim_start_matches("https://").to_owned();
    for asked in front.asked() {
        assert_eq!(asked, (Some("mirror.example".to_owned()), host.clone()));
    }
    // It is that name that must be in the certificate, and no other.
    secured.configure(
        &url,
        &[("ca_cert_file", &trusted), ("server_name", "\"other.example\"")],
    );
    secured.refused(5, "but for mirror.example");
}

#[test]
fn redirects_to_https_are_verified_too() {
    let secured = Secured::new();
    let front = secured.front();
    let plain = secured.site.upstream.url();
    let to = format!("{}/dists/bookworm/InRelease", front.url());
    secured
        .site
        .upstream
        .fault_times("dists/bookworm/InRelease", 1, Fault::Redirect(to.clone()));
    secured.configure(&plain, &[]);
    secured
        .site
        .run("sync")
        .code(5)
        .stderr_has("no trusted authority issued it");
    secured
        .site
        .upstream
        .fault_times("dists/bookworm/InRelease", 1, Fault::Redirect(to));
    secured.configure(&plain, &[("ca_cert_file", &secured.trusted())]);
    assert_eq!(secured.site.sync()["outcome"], "recorded");
    assert_eq!(front.asked().len(), 1);
}

#[test]
fn redirects_do_not_lead_the_client_certificate_elsewhere() {
    let secured = Secured::new();
    let clients = Authority::new("Clients");
    let certified = secured.authority.issue(&["127.0.0.1", "localhost"], GOOD);
    let own = TlsFront::start(&secured.site.upstream, &certified, TlsVersions::Both, Some(&clients));
    let beside = Upstream::serve(secured.site.archive.root());
    let elsewhere = TlsFront::curious(&beside, &certified, &clients);
    let to = format!("{}/dists/bookworm/InRelease", elsewhere.url_of("localhost"));
    secured
        .site
        .upstream
        .fault("dists/bookworm/InRelease", Fault::Redirect(to));
    let (certificate, key) = secured.files("client", &clients.issue(&["this-client"], GOOD));
    let trusted = secured.trusted();
    let keys = [
        ("ca_cert_file", trusted.as_str()),
        ("client_cert_file", &certificate),
        ("client_key_file", &key),
    ];
    secured.configure(&own.url(), &keys);
    assert_eq!(secured.site.sync()["outcome"], "recorded");
    assert!(own.shown().len() > 5 && own.shown().iter().all(|shown| *shown));
    assert_eq!(elsewhere.shown(), [false]);
    // One that is asked as the mirror's own host gets it.
    secured.configure(&elsewhere.url(), &keys);
    secured.site.run("sync --force").success();
    let shown = elsewhere.shown();
    assert!(shown.len() > 1 && shown[1..].iter().all(|shown| *shown), "{shown:?}");
}

#[test]
fn files_that_are_no_good_are_errors_of_the_configuration() {
    let secured = Secured::new();
    let env = &secured.site.env;
    let front = secured.front();
    let one = secured.authority.issue(&["a"], GOOD);
    let two = secured.authority.issue(&["b"], GOOD);
    let (certificate, key) = secured.files("one", &one);
    let (_, other_key) = secured.files("two", &two);
    let empty = quoted(&env.key("empty", b""));
    let damaged = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let damaged = quoted(&env.key("damaged", damaged.as_bytes()));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let nonsense = quoted(&env.key("nonsense", nonsense.as_bytes()));
    let directory = quoted(env.root());
    for (keys, key, why) in [
        (
            vec![("ca_cert_file", "\"/no/such\"")],
            "ca_cert_file",
            "cannot read /no/such",
        ),
        (vec![("ca_cert_file", &*empty)], "ca_cert_file", "holds no certificate"),
        (vec![("ca_cert_file", &*damaged)], "ca_cert_file", "is not PEM"),
        (
            vec![("ca_cert_file", &*nonsense)],
            "ca_cert_file",
            "that cannot be used",
        ),
        (
            vec![("ca_cert_file", &*directory)],
            "ca_cert_file",
            "not a regular file",
        ),
        (vec![("ca_cert_file", &*key)], "ca_cert_file", "holds no certificate"),
        (
            vec![("client_cert_file", &*certificate)],
            "client_cert_file",
            "is nothing without client_key_file",
        ),
        (
            vec![("client_key_file", &*key)],
            "client_key_file",
            "is nothing without client_cert_file",
        ),
        (
            vec![("client_cert_file", &*certificate), ("client_key_file", &*other_key)],
            "client_key_file",
            "is not the key of the certificate",
        ),
        (
            vec![("client_cert_file", &*certificate), ("client_key_file", &*certificate)],
            "client_key_file",
            "holds no private key",
        ),
        (
            vec![("client_cert_file", &*key), ("client_key_file", &*key)],
            "client_cert_file",
            "holds no certificate",
        ),
    ] {
        secured.configure(&front.url(), &keys);
        for line in ["sync", "check config", "check tls debian"] {
            let ran = secured.site.run(&format!("--json {line}")).code(1);
            let problems = ran.json()["error"]["problems"].take();
            let problem = &problems[0];
            assert_eq!(problem["key"], format!("mirrors.debian.tls.{key}"), "{ran}");
            assert!(text(&problem["message"]).contains(why), "{why}: {ran}");
            assert!(problem["line"].as_u64().is_some_and(|line| line > 1), "{ran}");
            assert_eq!(problems.as_array().map(Vec::len), Some(1), "{ran}");
        }
        // Who does not connect needs none of them.
        if !why.contains("is nothing without") {
            let listed = secured.site.run("--json snapshot history");
            assert!(!listed.stdout.contains("tls"), "{listed}");
        }
    }
    assert!(secured.site.upstream.requests().is_empty());
}

#[test]
fn what_is_set_globally_counts_for_every_mirror_and_is_judged_once() {
    let secured = Secured::new();
    let front = secured.front();
    let mirror = |id: &str| secured.site.mirror(id).set("url", &format!("{:?}", front.url()));
    let config = |file: &str| {
        Config::new()
            .mirror(mirror("one"))
            .mirror(mirror("two"))
            .set_in("tls", "ca_cert_file", file)
    };
    secured.site.configure_all(config(&secured.trusted()));
    secured.site.run("sync").success();
    secured.site.configure_all(config("\"/no/such\""));
    let ran = secured.site.run("--json sync").code(1);
    let problems: Value = ran.json()["error"]["problems"].take();
    assert_eq!(problems.as_array().map(Vec::len), Some(1), "{problems}");
    assert_eq!(problems[0]["key"], "tls.ca_cert_file");
    // The environment goes over the file.
    let ran = secured
        .site
        .env
        .command(&["sync"])
        .env("MIRRORCTL_TLS_CA_CERT_FILE", &secured.ca_file)
        .run();
    ran.success();
}

//! `check tls` against OpenSSL, which still speaks the versions of TLS that nobody should.

use std::net::TcpStream;

use mirrorctl_testkit::{Certified, Config, Mirror, Program, Running, TestEnv, Validity, free_port};
use serde_json::Value;

/// A server of OpenSSL that speaks what `flags` say. The mirror `debian` trusts it.
fn openssl(env: &TestEnv, flags: &[&str]) -> Running {
    let certified = Certified::self_signed(&["127.0.0.1"], Validity::DaysFromNow(90), true);
    let certificate = env.key("server.pem", certified.certificate.as_bytes());
    let key = env.key("server.key", certified.key.as_bytes());
    let port = free_port();
    let mut running = Program::new("openssl", "openssl")
        .args(["s_server", "-www", "-quiet", "-cipher", "ALL:@SECLEVEL=0"])
        .args(flags)
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .arg("-cert")
        .arg(&certificate)
        .arg("-key")
        .arg(&key)
        // The system's configuration may forbid what is tested here.
        .env("OPENSSL_CONF", "/dev/null")
        .spawn();
    running.wait_until("it listens", |_| TcpStream::connect(("127.0.0.1", port)).is_ok());
    env.configure(
        Config::new()
            .mirror(Mirror::new("debian", &format!("https://127.0.0.1:{port}")).suites(&["bookworm"]))
            .set_in(
                "tls",
                "ca_cert_file",
                &format!("{:?}", certificate.display().to_string()),
            ),
    );
    running
}

fn accepted(report: &Value) -> Vec<&str> {
    let versions = report["versions"].as_array().expect("a list").iter();
    let accepted = versions.filter(|version| version["accepted"] == true);
    accepted.filter_map(|version| version["version"].as_str()).collect()
}

#[test]
fn every_version_is_found_out() {
    for (flags, versions, code) in [
        (&["-tls1"][..], &["1.0"][..], 1),
        (&["-tls1_1"], &["1.1"], 1),
        (&["-tls1_2"], &["1.2"], 0),
        (&["-tls1_3"], &["1.3"], 0),
        (&[], &["1.0", "1.1", "1.2", "1.3"], 0),
    ] {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let _running = openssl(&env, flags);
        let report = env.mirrorctl(&["--json", "check", "tls", "debian"]).code(code).json()["urls"][0].take();
        assert_eq!(accepted(&report), versions, "{report}");
        for version in ["1.0", "1.1"] {
            let warning = format!("Upstream accepts TLS {version}, which is broken");
            let warned = report["warnings"].as_array().expect("a list").contains(&warning.into());
            assert_eq!(warned, versions.contains(&version), "{report}");
        }
    }
}

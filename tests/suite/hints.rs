//! What a failed sync tells its user to look at.
//!
//! Owns the cases in which the obvious advice would be wrong: proxies, redirections, and archives on this machine; and
//! those in which there is too much to tell.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use mirrorctl_testkit::{Config, Fault, Upstream};

use crate::site::Site;

/// The URL of an HTTP proxy that nobody runs, with credentials.
fn no_proxy() -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    (format!("http://bob:hunter2@{address}"), format!("http://{address}"))
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let site = Site::small();
    let (proxy, shown) = no_proxy();
    let sync = |url: &str, exceptions: &str| {
        let mirror = site.mirror("debian").set("url", &format!("{url:?}"));
        site.configure_all(Config::new().mirror(mirror).set_in("http", "retries", "0"));
        let sync = site.env.command(&["sync"]).env("all_proxy", &proxy);
        sync.env("no_proxy", exceptions).run().code(8).stderr_has(url)
    };
    for url in ["http://archive.mirror.invalid", "https://archive.mirror.invalid"] {
        sync(url, "")
            .stderr_has(&format!("through the proxy {shown}"))
            .stderr_lacks("hunter2");
        sync(url, ".mirror.invalid").stderr_lacks("proxy");
    }
}

#[test]
fn credentials_are_not_asked_for_where_they_would_not_be_sent() {
    let site = Site::small();
    let elsewhere = Upstream::serve(site.archive.root());
    for status in [401, 403] {
        elsewhere.fault("pool/*", Fault::Status(status));
        let to = format!("{}/{}", elsewhere.url(), site.pool("cc"));
        site.upstream.fault("pool/*/cc_*", Fault::Redirect(to));
        site.run("sync")
            .code(1)
            .stderr_has(&elsewhere.url())
            .stderr_has("upstream redirects there")
            .stderr_lacks("auth.conf");
        site.upstream.clear_faults();
        site.upstream.fault("pool/*/cc_*", Fault::Status(status));
        site.run("sync")
            .code(1)
            .stderr_has("auth.conf")
            .stderr_lacks("redirects");
        site.upstream.clear_faults();
        elsewhere.clear_faults();
    }
}

#[test]
fn nobody_runs_an_archive_on_this_machine() {
    let site = Site::small();
    let root = site.archive.root();
    let configure = |root: &std::path::Path| {
        let url = format!("\"file://{}\"", root.display());
        site.configure(|mirror| mirror.set("url", &url));
    };
    let advice = "what lies there on this machine";
    configure(&site.env.root().join("not/mounted"));
    site.run("sync").code(1).stderr_has(advice).stderr_lacks("server");
    configure(root);
    let file = root.join(site.pool("cc"));
    let bytes = fs::read(&file).expect("a package");
    fs::remove_file(&file).expect("own file");
    site.run("sync").code(1).stderr_has("cc_1").stderr_lacks("server");
    symlink("/etc/passwd", &file).expect("own directory");
    site.run("sync").code(1).stderr_has(advice).stderr_lacks("server");
    fs::remove_file(&file).expect("own file");
    fs::create_dir(&file).expect("own directory");
    site.run("sync").code(1).stderr_has(advice).stderr_lacks("server");
    fs::remove_dir(&file).expect("own directory");
    fs::write(&file, bytes).expect("own file");
    site.sync();
    site.assert_whole();
}

#[test]
fn of_many_faults_of_a_configuration_the_first_are_printed() {
    let site = Site::small();
    let good = fs::read_to_string(site.env.config_path()).expect("a configuration");
    let faults: Vec<String> = (0..5_000).map(|n| format!("unknown_{n} = 1\n")).collect();
    site.env.configure_with(&(faults.concat() + &good));
    for line in ["sync", "check config", "snapshot list"] {
        let ran = site.run(line).code(1);
        assert!(ran.stderr.lines().count() < 30, "{ran}");
        ran.stderr_has("5000 errors")
            .stderr_has("unknown_0:")
            .stderr_has("and 4980 more (--json lists all)");
        let all = site.run(&format!("--json {line}")).code(1).json();
        assert_eq!(all["error"]["problems"].as_array().map(Vec::len), Some(5_000));
    }
}

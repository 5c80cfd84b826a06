//! The gate before production, with a mount and apt.
//!
//! Owns the proof that an operator's test finds the snapshot where it is told to, and that nothing reaches production that
//! such a test refuses.

use std::fs;
use std::path::PathBuf;

use mirrorctl_testkit::{AptRoot, Deb, MountGuard, Signal};
use serde_json::Value;

use crate::site::{SUITE, Site, comes_true};

/// A site with a mount, whose operator tests with apt: it must be able to install `changing` from the snapshot.
struct Tested {
    site: Site,
    apt: AptRoot,
    _mount: MountGuard,
}

impl Tested {
    fn new() -> Self {
        let site = Site::new(&["debian"]);
        let apt = AptRoot::new();
        let tested = Self {
            _mount: site.mount(),
            apt,
            site,
        };
        let script = tested.script();
        let key = tested.site.env.root().join("keys/debian.asc");
        let text = format!(
            "#!/bin/sh\nset -e\necho \"deb [signed-by={}] file:$MIRRORCTL_PATH {SUITE} main\" > {root}/etc/apt/sources.list\n\
             export APT_CONFIG={root}/apt.conf\napt-get update --error-on=any\n\
             apt-get install --yes --download-only changing\ntest -z \"$MIRRORCTL_DIFF\" || grep -o '\"upgraded\":[0-9]*' $MIRRORCTL_DIFF | head -1\n\
             echo tested $MIRRORCTL_MIRROR $MIRRORCTL_SNAPSHOT for ${{MIRRORCTL_PRODUCTION:-nothing}}\n",
            key.display(),
            root = tested.apt.path().display(),
        );
        fs::write(&script, text).expect("writes");
        let config = tested
            .site
            .config(1)
            .set_in(
                "mirrors.debian.test",
                "commands",
                &format!("[\"sh {}\"]", script.display()),
            )
            .set_in("mirrors.debian.test", "required", "true");
        tested.site.env.configure(config);
        tested
    }

    fn script(&self) -> PathBuf {
        self.site.env.root().join("test-with-apt")
    }

    /// `sync --promote-if-tested`: its report, and its code.
    fn go(&self) -> (Value, Option<i32>) {
        let ran = self.site.env.mirrorctl(&["--json", "sync", "--promote-if-tested"]);
        (ran.json(), ran.status.code())
    }

    fn pointer(&self, name: &str) -> Option<String> {
        let status = self.site.env.mirrorctl(&["--json", "status"]).success().json();
        status["mirrors"][0][name].as_str().map(str::to_owned)
    }
}

/// The last line of the output of the only command.
fn last_words(test: &Value) -> &str {
    let lines = test["checks"][8]["details"].as_array().expect("a list");
    lines.last().and_then(Value::as_str).expect("a line")
}

#[test]
fn what_apt_cannot_install_stays_out_of_production() {
    let mut tested = Tested::new();
    tested.site.source("debian").change();
    let (report, code) = tested.go();
    assert_eq!(code, Some(0), "{report}");
    let first = tested.pointer("current").expect("is promoted");
    assert_eq!(
        last_words(&report["promotion"]["tests"][0]),
        format!("tested debian {first} for nothing")
    );

    // Something that only a client notices: the built-in checks count what was never installable as no worse.
    let source = tested.site.source("debian");
    source.change();
    let worse = Deb::new("changing", "9", "amd64").depends("only9");
    source.archive.add(SUITE, "main", &worse).expect("a package");
    source.publish();
    let (report, code) = tested.go();
    assert_eq!(code, Some(4), "{report}");
    let checks = report["promotion"]["tests"][0]["checks"].as_array().expect("a list");
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| check["outcome"] == "failed")
        .filter_map(|check| check["name"].as_str())
        .collect();
    assert_eq!(failed, ["installability", "command 1"]);
    assert_eq!(tested.pointer("current").as_deref(), Some(first.as_str()));
    let bad = tested.pointer("staging").expect("is staged");
    assert_ne!(bad, first);

    let env = &tested.site.env;
    let refused = env.mirrorctl(&["snapshot", "promote", "debian"]).code(4);
    assert!(
        refused
            .stderr
            .contains(&format!("snapshot {bad} of debian has failed its checks")),
        "{refused}"
    );
    env.mirrorctl(&["snapshot", "publish", "debian", &bad]).code(4);
    // By its name, apart from staging, and again.
    tested.site.stage("debian", &first);
    let test = env
        .mirrorctl(&["--json", "snapshot", "test", "debian", &bad])
        .code(4)
        .json();
    let said = test["checks"][8]["details"].to_string();
    assert!(said.contains(&format!("snapshots/{bad}")), "{said}");
    env.mirrorctl(&["snapshot", "promote", "debian"]).success();

    let source = tested.site.source("debian");
    let mended = Deb::new("changing", "10", "amd64");
    source.archive.add(SUITE, "main", &mended).expect("a package");
    source.publish();
    let (report, code) = tested.go();
    assert_eq!(code, Some(0), "{report}");
    let last = tested.pointer("current").expect("is promoted");
    assert_eq!(
        last_words(&report["promotion"]["tests"][0]),
        format!("tested debian {last} for {first}")
    );
    let said = report["promotion"]["tests"][0]["checks"][8]["details"].to_string();
    assert!(said.contains("\\\"upgraded\\\":1"), "{said}");

    tested
        .site
        .env
        .mirrorctl(&["snapshot", "publish", "debian", &bad, "--force"])
        .success();
    let history = tested
        .site
        .env
        .mirrorctl(&["--json", "snapshot", "history"])
        .success()
        .json();
    assert_eq!(history["moves"][0]["forced"], true);
}

#[test]
fn a_test_that_is_stopped_takes_its_command_along_and_leaves_no_result() {
    let mut site = Site::new(&["debian"]);
    let _mount = site.mount();
    let pid = site.env.root().join("pid");
    let line = format!("[\"echo $$ > {}; exec sleep 1000\"]", pid.display());
    let config = site.config(1).set_in("mirrors.debian.test", "commands", &line);
    site.env
        .configure(config.set_in("mirrors.debian.test", "required", "true"));
    let name = site.next_snapshot("debian");
    let mut test = site.env.spawn(&["snapshot", "test", "debian", &name]);
    let command = || fs::read_to_string(&pid).unwrap_or_default().trim().to_owned();
    assert!(comes_true(|| !command().is_empty()));
    test.signal(Signal::Terminate);
    let ran = test.wait().code(143);
    assert!(ran.stderr.contains("no result is recorded"), "{ran}");
    let is_gone = || fs::read_to_string(format!("/proc/{}/stat", command())).map_or(true, |stat| stat.contains(") Z "));
    assert!(comes_true(is_gone));
    let refused = site.env.mirrorctl(&["snapshot", "publish", "debian", &name]).code(4);
    assert!(refused.stderr.contains("has not been checked"), "{refused}");
}

#[test]
fn hooks_find_what_has_changed_and_have_their_limits() {
    let mut site = Site::new(&["debian"]);
    let _mount = site.mount();
    let seen = site.env.root().join("seen");
    let hooks = [
        format!(
            "cat {}/debian/current/dists/{SUITE}/Release > {}",
            site.env.mount_dir().display(),
            seen.display()
        ),
        "head -c 5000000 /dev/zero; echo; echo failed at last; exit 1".to_owned(),
        "trap '' TERM; while :; do sleep 1; done".to_owned(),
    ];
    let list = serde_json::to_string(&hooks).expect("JSON");
    let config = site.config(1).set_in("hooks", "after_promote", &list);
    site.env.configure(config.set_in("hooks", "timeout", "\"1s\""));
    let name = site.next_snapshot("debian");
    let ran = site.publish("debian", &name);
    let release = format!("debian/current/dists/{SUITE}/Release");
    assert_eq!(
        fs::read_to_string(&seen).expect("written"),
        site.env.read_served(&release)
    );
    assert!(ran.stderr.contains("it ended with code 1: failed at last"), "{ran}");
    assert!(ran.stderr.contains("it was ended, as it took more than 1 s"), "{ran}");
}

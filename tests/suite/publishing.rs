//! What surrounds the moves of pointers: environments that are taken out, conditions of unattended promotion, and what
//! operators and their hooks are told.
//!
//! Owns what needs no mount.

use std::fs;
use std::path::PathBuf;

use mirrorctl_testkit::{Config, Deb, SuiteSpec};
use serde_json::{Value, json};

use crate::site::{SUITE, Site, history, refused, text};

/// Two mirrors of one archive, `debian` and `vendor`, in the group `both`, each with the environments `environments` and the
/// snapshots `one` and `two`.
fn site(environments: &str) -> Site {
    let suite = SuiteSpec::new(SUITE).package("main", Deb::new("aa", "1", "amd64"));
    let mut site = Site::new([suite]);
    site.configure_all(config(&site, environments));
    for name in ["one", "two"] {
        site.run("sync").success();
        for mirror in ["debian", "vendor"] {
            site.run(&format!("snapshot create {mirror} {name}")).success();
        }
        site.add(&Deb::new("changing", name.len().to_string().as_str(), "amd64"));
    }
    site
}

fn config(site: &Site, environments: &str) -> Config {
    let mirror = |id: &str| site.mirror(id).set("environments", environments);
    let mirrors = Config::new().mirror(mirror("debian")).mirror(mirror("vendor"));
    mirrors.set_in("groups", "both", "[\"debian\", \"vendor\"]")
}

const WITH_QA: &str = "[\"qa\", \"staging\", \"current\"]";
const WITHOUT: &str = "[\"staging\", \"current\"]";

/// The pointers of a mirror that lead somewhere, by `status`.
fn places(site: &Site, mirror: &str) -> Vec<(String, String)> {
    let status = site.json("status");
    let mirrors = status["mirrors"].as_array().expect("a list");
    let found = mirrors.iter().find(|found| found["mirror"] == mirror).expect("known");
    let places = found["pointers"].as_array().expect("a list").iter();
    let set = places.filter(|place| !place["snapshot"].is_null());
    set.map(|place| (text(&place["pointer"]), text(&place["snapshot"])))
        .collect()
}

#[test]
fn an_environment_that_is_configured_no_more_can_be_taken_out() {
    let site = site(WITH_QA);
    site.run("snapshot publish both one --to qa").success();
    site.run("snapshot publish both two --to qa").success();
    site.run("snapshot unpublish both --of qa")
        .code(4)
        .stderr_has("qa is an environment of debian still");
    site.configure_all(config(&site, WITHOUT));
    let told = "qa is not configured any more, and served all the same; mirrorctl snapshot unpublish debian --of qa";
    site.run("status")
        .success()
        .stdout_has("debian/qa -> two; it is not configured any more");
    site.run("check config").success().stdout_has(told);
    let checked = site.json("check config");
    assert!(
        text(&checked["mirrors"][0]["warnings"][0]).starts_with(told),
        "{checked}"
    );
    site.run("snapshot delete debian one")
        .code(4)
        .stderr_has("debian/qa lends");

    for (line, code, words) in [
        (
            "snapshot unpublish both --of current",
            2,
            &["every mirror has current"][..],
        ),
        ("snapshot unpublish both --of qaa", 2, &["did you mean \"qa\""]),
        (
            "snapshot unpublish both --of qa --expect debian=two --expect vendor=one",
            4,
            &["vendor/qa leads to two, not to one"],
        ),
        ("snapshot unpublish both --of qa --expect two", 2, &["of 2 mirrors"]),
        ("snapshot unpublish nosuch --of qa", 2, &["no mirror nosuch"]),
    ] {
        refused(&site, line, code, words);
    }
    let done = site.json("snapshot unpublish both --of qa --expect both=two --message gone");
    let taken = |mirror: &str| json!({ "mirror": mirror, "pointer": "qa", "from": "two", "to": null, "changed": true });
    assert_eq!(done["moves"], json!([taken("debian"), taken("vendor")]));
    assert_eq!(places(&site, "debian"), []);
    site.run("check config")
        .success()
        .stdout_lacks("not configured any more");
    site.run("snapshot delete debian one two").success();
    let newest = &history(&site)[0];
    let told = ["command", "from", "to", "message", "forced"].map(|key| newest[key].clone());
    assert_eq!(
        told,
        [
            json!("unpublish"),
            json!("two"),
            json!(null),
            json!("gone"),
            json!(false)
        ]
    );
    site.run("snapshot history").success().stdout_has("unpublish");

    let again = site.run("snapshot unpublish both --of qa").success();
    assert!(again.stdout.contains("debian/qa leads nowhere already"), "{again}");
    assert_eq!(&history(&site)[0], newest, "nothing is recorded");
}

#[test]
fn an_environment_that_is_configured_needs_force_and_begins_anew() {
    let site = site(WITH_QA);
    site.run("snapshot publish debian one --to qa").success();
    site.run("snapshot publish debian two --to qa").success();
    site.run("snapshot unpublish debian --of qa --force").success();
    assert_eq!(history(&site)[0]["forced"], true);
    site.run("snapshot rollback debian --of qa")
        .code(4)
        .stderr_has("debian/qa leads nowhere yet");
    site.run("snapshot publish debian one --to qa --expect -").success();
    assert_eq!(history(&site)[0]["from"], json!(null));
    assert_eq!(places(&site, "debian"), [("qa".to_owned(), "one".to_owned())]);
    site.run("snapshot rollback debian --of qa")
        .code(4)
        .stderr_has("was nowhere before");
}

/// What was tested with no production to compare it with does not take the place of one that came meanwhile.
#[test]
fn what_is_tested_unattended_takes_the_place_of_nothing_that_came_meanwhile() {
    let site = site(WITHOUT);
    // Runs when `vendor` is staged, after it was seen that `debian` has no production.
    let meddle = format!(
        "[\"'{}' --config '{}' snapshot publish debian one\"]",
        env!("CARGO_BIN_EXE_mirrorctl"),
        site.env.config_path().display()
    );
    site.run("snapshot list").success();
    site.configure_all(config(&site, WITHOUT).set_in("mirrors.vendor.hooks", "after_stage", &meddle));
    site.run("sync --force").success();
    let ran = site.run("sync --promote-if-tested").code(4);
    assert!(ran.stderr.contains("debian/current leads to one, not nowhere"), "{ran}");
    assert_eq!(site.pointer("debian", "current").as_deref(), Some("one"));
    assert_eq!(site.pointer("vendor", "current"), None);
}

/// A directory in which hooks leave their events, one a line.
struct Told(PathBuf);

impl Told {
    fn new(site: &Site) -> Self {
        Self(site.env.root().join("events"))
    }

    fn hook(&self) -> String {
        format!("[\"cat >> {}\"]", self.0.display())
    }

    /// The one event since the last look.
    fn event(&self) -> Value {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        drop(fs::remove_file(&self.0));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

const HOOKS: [&str; 5] = [
    "after_sync",
    "after_stage",
    "after_promote",
    "after_rollback",
    "on_failure",
];

#[test]
fn hooks_are_told_which_command_and_which_pointer() {
    let site = site(WITH_QA);
    let told = Told::new(&site);
    let with_hooks = HOOKS.iter().fold(config(&site, WITH_QA), |config, key| {
        config.set_in("hooks", key, &told.hook())
    });
    site.configure_all(with_hooks);
    for (line, event, command, pointer) in [
        ("snapshot stage debian one", "after_stage", "stage", Some("staging")),
        (
            "snapshot promote debian --to qa",
            "after_promote",
            "promote",
            Some("qa"),
        ),
        (
            "snapshot publish debian two --to qa",
            "after_promote",
            "publish",
            Some("qa"),
        ),
        (
            "snapshot rollback debian --of qa",
            "after_rollback",
            "rollback",
            Some("qa"),
        ),
        ("snapshot stage debian nine", "on_failure", "stage", Some("staging")),
        (
            "snapshot publish debian nine --to qa -m why",
            "on_failure",
            "publish",
            Some("qa"),
        ),
        (
            "snapshot promote debian --from current",
            "on_failure",
            "promote",
            Some("current"),
        ),
        (
            "snapshot promote debian --from current --to qa",
            "on_failure",
            "promote",
            Some("qa"),
        ),
        (
            "snapshot rollback debian --of current",
            "on_failure",
            "rollback",
            Some("current"),
        ),
        (
            "snapshot unpublish debian --of qa",
            "on_failure",
            "unpublish",
            Some("qa"),
        ),
        ("snapshot test debian nine", "on_failure", "test", None),
    ] {
        let ran = site.run(line);
        if line.ends_with("--from current") {
            // Not to be understood, which is nobody's but the operator's business.
            ran.code(2);
            continue;
        }
        let told = told.event();
        assert_eq!(
            (&told["event"], &told["command"], &told["mirrors"][0]["pointer"]),
            (&json!(event), &json!(command), &json!(pointer)),
            "{line}: {told}"
        );
        assert_eq!(
            told["message"],
            if line.ends_with("-m why") {
                json!("why")
            } else {
                json!(null)
            }
        );
        if event == "on_failure" {
            assert_eq!(told["mirrors"][0]["to"], json!(null), "{line}");
        }
    }
    site.upstream.fault("*", mirrorctl_testkit::Fault::Status(404));
    site.run("sync debian --force").failure();
    let told = told.event();
    let of = ["event", "command"].map(|key| told[key].clone());
    assert_eq!(of, [json!("on_failure"), json!("sync")]);
    assert_eq!(told["mirrors"][0]["pointer"], json!(null));
}

#[test]
fn what_leads_nowhere_is_told_how_it_is_meant() {
    let site = site(WITH_QA);
    for (line, hint) in [
        (
            "snapshot promote debian --to staging",
            "mirrorctl snapshot stage <mirror> <name>",
        ),
        ("snapshot promote debian --to staging", "--from ENVIRONMENT"),
        ("snapshot promote debian --from qa --to qa", "--from ENVIRONMENT"),
    ] {
        site.run(line).code(2).stderr_has(hint);
    }
}

#[test]
fn an_environment_that_a_snapshot_is_called_like_is_pointed_out() {
    let site = site(WITHOUT);
    site.run("snapshot rename debian one qa").success();
    site.run("check config").success().stdout_lacks("qa is an environment");
    site.configure_all(config(&site, WITH_QA));
    site.run("check config")
        .success()
        .stdout_has("qa is an environment and also a snapshot")
        .stdout_has("mirrorctl snapshot rename debian qa <new>");
    site.run("snapshot rename debian qa one").success();
    site.run("check config").success().stdout_lacks("qa is an environment");
}

#[test]
fn every_command_tells_how_to_forget_a_mirror_that_is_configured_no_more() {
    let site = site(WITHOUT);
    site.configure(|mirror| mirror);
    for line in [
        "tag vendor one x",
        "note vendor one",
        "protect vendor one",
        "rename vendor one three",
        "delete vendor one",
        "create vendor",
        "stage vendor one",
        "publish vendor one",
        "promote vendor",
        "rollback vendor",
        "diff vendor one two",
        "test vendor one",
        "prune vendor",
        "history vendor",
        "unpublish vendor --of qa",
    ] {
        site.run(&format!("snapshot {line}"))
            .code(2)
            .stderr_has("vendor is not configured any more; mirrorctl forget vendor");
    }
    site.run("sync vendor").code(2).stderr_has("mirrorctl forget vendor");
    let ran = site.run("snapshot tag vendr one x").code(2);
    assert!(!ran.stderr.contains("forget"), "{ran}");
}

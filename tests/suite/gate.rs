//! The gate before production, through the program: tests of snapshots, promotion of what has passed, and hooks.
//!
//! Owns what needs no mount; each check by itself is tested where it is written.

use std::fs;
use std::path::PathBuf;

use mirrorctl_testkit::{Config, Deb, Fault, Ran, SuiteSpec};
use serde_json::{Value, json};

use crate::site::{Site, text};

/// A site whose mirror is staged by itself, with these further keys, each as table and line.
fn site(keys: &[(&str, &str, &str)]) -> Site {
    let site = Site::small();
    configure(&site, keys);
    site
}

fn configure(site: &Site, keys: &[(&str, &str, &str)]) {
    let config = Config::new().mirror(site.mirror("debian").publish_to_staging(true));
    let set = |config: Config, (table, key, value): &(&str, &str, &str)| config.set_in(table, key, value);
    site.configure_all(keys.iter().fold(config, set));
}

const TEST: &str = "mirrors.debian.test";

/// Adds a package whose dependency nothing satisfies, in place of one that production has without any.
fn break_it(site: &mut Site) {
    site.add(&Deb::new("aa", "2", "amd64").depends("gone"));
}

fn mend_it(site: &mut Site) {
    site.add(&Deb::new("aa", "3", "amd64"));
}

fn checks(test: &Value) -> Vec<(String, String)> {
    let checks = test["checks"].as_array().expect("a list").iter();
    checks
        .map(|check| (text(&check["name"]), text(&check["outcome"])))
        .collect()
}

fn failed(test: &Value) -> Vec<String> {
    let failed = checks(test).into_iter().filter(|(_, outcome)| outcome == "failed");
    failed.map(|(name, _)| name).collect()
}

fn history(site: &Site) -> Vec<(String, String, bool)> {
    let history = site.json("snapshot history");
    let moves = history["moves"].as_array().expect("a list").iter();
    moves
        .map(|moved| {
            (
                text(&moved["pointer"]),
                text(&moved["command"]),
                moved["forced"] == true,
            )
        })
        .collect()
}

#[test]
fn production_moves_to_what_has_passed_or_by_force() {
    let mut site = site(&[(TEST, "required", "true")]);
    site.sync();
    let refused = site.run("snapshot promote debian").code(4);
    assert!(refused.stderr.contains("has not been checked"), "{refused}");
    assert!(
        refused.stderr.contains("hint: run mirrorctl snapshot test debian"),
        "{refused}"
    );

    let test = site.json("snapshot test debian");
    assert_eq!(
        (&test["passed"], &test["production"], &test["deep"]),
        (&json!(true), &json!(null), &json!(false))
    );
    let outcomes = checks(&test);
    let names: Vec<&str> = outcomes.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "signatures",
        "valid-until",
        "suites",
        "indices",
        "listing",
        "cache",
        "counts",
        "installability",
    ];
    assert_eq!(names, expected);
    let skipped: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome == "skipped").collect();
    assert!(
        outcomes.iter().all(|(_, outcome)| outcome != "failed") && skipped.len() == 2,
        "{skipped:?}"
    );
    site.run("snapshot promote debian").success();

    break_it(&mut site);
    site.sync();
    let ran = site.run("--json snapshot test debian staging --deep").code(4);
    let test = ran.json();
    assert_eq!(failed(&test), ["installability"]);
    assert_eq!(
        test["checks"][7]["details"],
        json!(["aa 2 on amd64: needs gone, which nothing satisfies; production has 1"])
    );
    assert_eq!(
        (&test["error"]["kind"], &test["deep"]),
        (&json!("refused"), &json!(true))
    );
    let refused = site.run("snapshot promote debian").code(4);
    assert!(refused.stderr.contains("has failed its checks"), "{refused}");
    // The one in production goes on passing, whatever is staged.
    site.run("snapshot test debian current").success();
    site.run("snapshot promote debian --force").success();
    let moves = history(&site)
        .into_iter()
        .filter(|(pointer, ..)| pointer == "current")
        .collect::<Vec<_>>();
    // What clients have had needs no test to come back, whatever became of it since.
    site.run("snapshot rollback debian").success();
    site.run("snapshot rollback debian").code(4);
    // Unless it was only ever there by force.
    let forced = site.pointer("debian", "staging").expect("is staged");
    let refused = site.run(&format!("snapshot rollback debian --to {forced}")).code(4);
    assert!(refused.stderr.contains("has failed its checks"), "{refused}");
    let promoted = |forced| ("current".to_owned(), "promote".to_owned(), forced);
    assert_eq!(moves, [promoted(true), promoted(false)]);
}

#[test]
fn people_read_what_is_wrong() {
    let mut site = site(&[(TEST, "min_packages", "5")]);
    site.sync();
    site.run("snapshot promote debian").success();
    break_it(&mut site);
    site.sync();
    let ran = site.run("snapshot test debian").code(4);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        lines[0].starts_with("debian: snapshot ") && lines[0].ends_with(" has failed"),
        "{ran}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("passed  signatures ")),
        "{ran}"
    );
    assert!(lines.contains(&"counts: min_packages is 5"), "{ran}");
    assert!(ran.stderr.contains("has not passed: counts, installability"), "{ran}");
    for (line, code) in [
        ("snapshot test debian nosuch", 1),
        ("snapshot test debian a/b", 2),
        ("snapshot test nosuch", 2),
    ] {
        site.run(line).code(code);
    }
    configure(
        &site,
        &[("mirrors.debian", "environments", "[\"qa\", \"staging\", \"current\"]")],
    );
    site.run("snapshot test debian qa").code(4);
}

#[test]
fn a_command_needs_a_mount() {
    let site = site(&[(TEST, "commands", "[\"true\"]")]);
    site.sync();
    let test = site.run("--json snapshot test debian").code(4).json();
    assert_eq!(failed(&test), ["command 1"]);
    let check = &test["checks"][8];
    assert_eq!(check["text"], "true: was not run");
    let mount = site.env.mount_dir();
    let why = format!(
        "nothing is mounted at {}, where the command would find the snapshot: run mirrorctl mount",
        mount.display()
    );
    assert_eq!(check["details"], json!([why]));
}

/// Where `current` of `debian` leads, and what staging does.
fn pointers(site: &Site) -> (Option<String>, Option<String>) {
    (site.pointer("debian", "current"), site.pointer("debian", "staging"))
}

#[test]
fn one_command_goes_all_the_way_and_stops_at_what_has_not_passed() {
    let mut site = Site::small();
    // Neither is staged by the configuration, nor is a test required: the command asks for both.
    let go = |site: &Site| site.run("--json sync --promote-if-tested");
    let first = go(&site).success().json();
    let (current, staging) = pointers(&site);
    assert_eq!(current, staging);
    let promotion = &first["promotion"];
    assert_eq!(
        (
            promotion["tests"].as_array().map(Vec::len),
            &promotion["tests"][0]["passed"]
        ),
        (Some(1), &json!(true))
    );
    assert_eq!(promotion["moves"][0]["to"], json!(current));

    let again = go(&site).success().json();
    assert_eq!(
        again["promotion"],
        json!({ "tests": [], "moves": [], "replaced": [] }),
        "there is nothing to do"
    );

    break_it(&mut site);
    for round in 0..2 {
        let bad = go(&site).code(4).json();
        assert_eq!(
            bad["mirrors"][0]["outcome"],
            if round == 0 { "recorded" } else { "unchanged" }
        );
        assert_eq!(failed(&bad["promotion"]["tests"][0]), ["installability"]);
        assert_eq!(bad["promotion"]["moves"], json!([]));
        let (still, staged) = pointers(&site);
        assert!(still == current && staged != current, "{round}");
    }
    mend_it(&mut site);
    go(&site).success();
    let (now, staged) = pointers(&site);
    assert!(now == staged && now != current);

    // What somebody has tested already is promoted without another test.
    site.add(&Deb::new("dd", "1", "amd64"));
    configure(&site, &[]);
    site.sync();
    site.run("snapshot test debian").success();
    let promoted = go(&site).success().json();
    assert_eq!(promoted["promotion"]["tests"], json!([]));
    assert_eq!(promoted["promotion"]["moves"][0]["changed"], true);
    site.assert_whole();
}

#[test]
fn the_flag_goes_over_publish_to_production() {
    let mut site = Site::small();
    site.configure(|mirror| mirror.publish_to_production(true));
    site.run("sync --promote-if-tested").success();
    let before = site.pointer("debian", "current");
    break_it(&mut site);
    site.run("sync --promote-if-tested").code(4);
    assert_eq!(site.pointer("debian", "current"), before);
    site.run("sync --promote-if-tested --dry-run").code(2);
}

#[test]
fn mirrors_go_together_with_their_companions_or_stay() {
    let mut site = Site::small();
    let config = |site: &Site, further: &str| {
        let mirrors = ["apps", "base", "other"].map(|id| site.mirror(id));
        let config = mirrors.into_iter().fold(Config::new(), Config::mirror);
        let config = config.set_in("mirrors.apps.test", "companions", "[\"base\"]");
        site.configure_all(config.set_in("mirrors.base.test", "min_packages", further));
    };
    config(&site, "1");
    let first = site.json("sync --promote-if-tested");
    let moves = first["promotion"]["moves"].as_array().expect("a list");
    assert_eq!(moves.len(), 3);
    let acts: Vec<Value> = site.json("snapshot history")["moves"].as_array().expect("a list")[..3]
        .iter()
        .map(|moved| moved["act"].clone())
        .collect();
    assert!(acts.iter().all(|act| *act == acts[0]), "all in one step: {acts:?}");

    site.add(&Deb::new("dd", "1", "amd64"));
    config(&site, "100");
    let second = site.run("--json sync --promote-if-tested").json();
    let moves = second["promotion"]["moves"].as_array().expect("a list");
    assert_eq!((moves.len(), &moves[0]["mirror"]), (1, &json!("other")));
    let problems = second["error"]["problems"].as_array().expect("a list");
    let told: Vec<(String, String)> = problems
        .iter()
        .map(|problem| (text(&problem["mirror"]), text(&problem["message"])))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .any(|(mirror, why)| mirror == "base" && why.contains("has not passed: counts")),
        "{told:?}"
    );
    let stays = "apps stays as it is, because base does, with which it was tested";
    assert!(told.contains(&("apps".to_owned(), stays.to_owned())), "{told:?}");
    config(&site, "1");
    let third = site.json("sync --promote-if-tested");
    assert_eq!(third["promotion"]["moves"].as_array().map(Vec::len), Some(2));
}

/// A site with the mirrors `base` and `apps`, each of its own suite: `app` needs `lib` in the same version, or a newer one.
/// Both are in production with version 1, and have version 2 upstream.
struct Pair(Site);

impl Pair {
    fn new() -> Self {
        let suites = [
            SuiteSpec::new("apps").package("main", Deb::new("app", "1", "amd64").depends("lib (>= 1)")),
            SuiteSpec::new("base").package("main", Deb::new("lib", "1", "amd64")),
        ];
        let mut pair = Self(Site::new(suites));
        pair.configure("1");
        pair.0.run("sync --promote-if-tested").success();
        let app = Deb::new("app", "2", "amd64").depends("lib (>= 2)");
        pair.0.archive.add("apps", "main", &app).expect("a package");
        pair.0
            .archive
            .add("base", "main", &Deb::new("lib", "2", "amd64"))
            .expect("a package");
        pair.0.publish();
        pair
    }

    fn configure(&self, least_of_base: &str) {
        let mirrors = ["apps", "base"].map(|id| self.0.mirror(id).suites(&[id]).publish_to_staging(true));
        let config = mirrors.into_iter().fold(Config::new(), Config::mirror);
        let config = config.set_in("mirrors.apps.test", "companions", "[\"base\"]").set_in(
            "mirrors.apps.test",
            "required",
            "true",
        );
        self.0
            .configure_all(config.set_in("mirrors.base.test", "min_packages", least_of_base));
    }
}

#[test]
fn what_passed_with_a_staged_companion_does_not_go_without_it() {
    let pair = Pair::new();
    let site = &pair.0;
    let before = site.pointer("apps", "current");
    pair.configure("100");
    let first = site.run("--json sync --promote-if-tested").code(4).json();
    let tests = first["promotion"]["tests"].as_array().expect("a list");
    let passed: Vec<_> = tests.iter().map(|test| (&test["mirror"], &test["passed"])).collect();
    assert_eq!(
        passed,
        [(&json!("apps"), &json!(true)), (&json!("base"), &json!(false))],
        "apps passes with base as it is staged"
    );

    site.upstream.fault("dists/base/*", Fault::Status(404));
    let second = site.run("--json sync --promote-if-tested").json();
    let tests = second["promotion"]["tests"].as_array().expect("a list");
    assert_eq!((tests.len(), failed(&tests[0])), (1, vec!["installability".to_owned()]));
    assert_eq!(site.pointer("apps", "current"), before);

    site.upstream.clear_faults();
    pair.configure("1");
    let third = site.json("sync --promote-if-tested");
    assert_eq!(third["promotion"]["moves"].as_array().map(Vec::len), Some(2));
    site.assert_whole();
}

#[test]
fn promote_takes_companions_along_or_wants_another_test() {
    let pair = Pair::new();
    let site = &pair.0;
    site.sync();
    site.run("snapshot test apps --staged-companions").success();
    let base = site.pointer("base", "staging").expect("is staged");
    let refused = site.run("snapshot promote apps").code(4);
    for expected in [
        format!("passed its checks together with snapshot {base} of base, which production would not have"),
        "run mirrorctl snapshot test apps".to_owned(),
        "mirrorctl snapshot promote apps base".to_owned(),
    ] {
        assert!(refused.stderr.contains(&expected), "{refused}");
    }
    site.run("snapshot test apps").code(4);
    site.run("snapshot test apps --staged-companions").success();
    site.run("snapshot promote apps base").success();

    // Of the same in production a pass may have told before it was there.
    site.run("snapshot rollback apps").success();
    site.run("snapshot promote apps").success();
}

/// A directory in which hooks leave their events, one a line.
struct Told(PathBuf);

impl Told {
    fn new(site: &Site) -> Self {
        Self(site.env.root().join("events"))
    }

    /// The configuration's list with the hook that leaves its events.
    fn hook(&self) -> String {
        format!("[\"cat >> {}\"]", self.0.display())
    }

    /// The events since the last look.
    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        drop(fs::remove_file(&self.0));
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// Names of events.
fn names(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event"].as_str().expect("a name"))
        .collect()
}

const EVERY: [&str; 5] = [
    "after_sync",
    "after_stage",
    "after_promote",
    "after_rollback",
    "on_failure",
];

#[test]
fn hooks_are_told_what_has_happened() {
    let mut site = Site::small();
    let told = Told::new(&site);
    let hook = told.hook();
    let all: Vec<_> = EVERY.iter().map(|key| ("hooks", *key, hook.as_str())).collect();
    configure(&site, &all);
    site.run("sync --dry-run").success();
    assert_eq!(told.events(), [json!(null); 0]);
    site.sync();
    let first = site.pointer("debian", "staging");
    let events = told.events();
    assert_eq!(names(&events), ["after_sync", "after_stage"]);
    let concerned = |pointer: Value, to: Value| json!([{ "mirror": "debian", "snapshot": first, "pointer": pointer, "from": null, "to": to }]);
    assert_eq!(events[0]["mirrors"], concerned(json!(null), json!(null)));
    assert_eq!(events[1]["mirrors"], concerned(json!("staging"), json!(first)));
    assert_eq!((&events[0]["version"], &events[0]["error"]), (&json!(1), &json!(null)));
    assert!(text(&events[0]["time"]).ends_with('Z') && !text(&events[0]["actor"]).is_empty());

    site.sync();
    assert_eq!(told.events(), [json!(null); 0], "nothing has changed");
    site.run("snapshot promote debian").success();
    site.run("snapshot promote debian").success();
    let events = told.events();
    assert_eq!(
        (names(&events), &events[0]["mirrors"]),
        (vec!["after_promote"], &concerned(json!("current"), json!(first)))
    );

    break_it(&mut site);
    site.run("sync --promote-if-tested").code(4);
    let events = told.events();
    assert_eq!(names(&events), ["after_sync", "after_stage", "on_failure"]);
    let bad = site.pointer("debian", "staging").expect("is staged");
    site.run(&format!("snapshot publish debian {bad}")).success();
    site.run("snapshot rollback debian --dry-run").success();
    site.run("snapshot rollback debian --message wrong").success();
    let moves = told.events();
    assert_eq!(names(&moves), ["after_promote", "after_rollback"]);
    assert_eq!(
        (&moves[1]["message"], &moves[1]["mirrors"][0]["from"]),
        (&json!("wrong"), &json!(bad))
    );
    assert_eq!(events[2]["error"]["kind"], "refused");
    site.run("snapshot publish debian nosuch").code(1);
    site.run("snapshot publish nosuch x").code(2);
    let events = told.events();
    assert_eq!(
        (names(&events), &events[0]["mirrors"][0]["mirror"]),
        (vec!["on_failure"], &json!("debian"))
    );
}

#[test]
fn a_sync_that_cannot_begin_is_told_once() {
    let site = Site::small();
    let told = Told::new(&site);
    configure(&site, &[("hooks", "on_failure", &told.hook())]);
    site.sync();
    fs::write(site.env.state_dir().join("catalog.db"), "no catalog").expect("writes");
    site.run("sync").code(1);
    let events = told.events();
    assert_eq!(names(&events), ["on_failure"]);
    assert_eq!(events[0]["mirrors"][0]["mirror"], "debian");
}

#[test]
fn mirrors_that_move_together_make_one_event_for_each_list_of_hooks() {
    let site = Site::small();
    let told = Told::new(&site);
    let config = ["a", "b", "c"].iter().fold(Config::new(), |config, id| {
        config.mirror(site.mirror(id).publish_to_staging(true))
    });
    let config = config.set_in("hooks", "after_promote", &told.hook());
    site.configure_all(config.set_in("mirrors.b.hooks", "after_promote", "[]"));
    site.sync();
    site.run("snapshot promote a b c").success();
    let events = told.events();
    assert_eq!(events.len(), 1);
    let mirrors = events[0]["mirrors"].as_array().expect("a list").iter();
    assert_eq!(
        mirrors.map(|mirror| text(&mirror["mirror"])).collect::<Vec<_>>(),
        ["a", "c"]
    );
}

#[test]
fn a_hook_that_fails_is_a_warning() {
    let site = site(&[
        (
            "hooks",
            "after_stage",
            "[\"echo nobody answers; exit 9\", \"yes\", \"sleep 1000\"]",
        ),
        ("hooks", "timeout", "\"1s\""),
    ]);
    let ran: Ran = site.run("sync").success();
    for expected in [
        "The after_stage hook \"echo nobody answers; exit 9\" failed: it ended with code 9: nobody answers",
        "The after_stage hook \"yes\" failed: it was ended, as it took more than 1 s: y",
        "The after_stage hook \"sleep 1000\" failed: it was ended, as it took more than 1 s",
    ] {
        assert!(ran.stderr.contains(expected), "{expected}\n{ran}");
    }
}

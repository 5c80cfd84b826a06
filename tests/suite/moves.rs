//! Moves of pointers by commands: several mirrors as one, conditions, environments, the way back, and the history.
//!
//! Owns what the catalog shows of it; what the mount shows is the system tests'.

use std::thread;

use mirrorctl_testkit::{Config, Deb, SuiteSpec};
use serde_json::{Value, json};

use crate::site::{SUITE, Site, history, refused, text};

/// Two mirrors of one archive, `debian` and `vendor`, in the group `both`, with the environments `qa` and `dev` of the first
/// and `qa` of the second; and a snapshot of each for each of `names`, in this order.
fn site(names: &[&str]) -> Site {
    let suite = SuiteSpec::new(SUITE).package("main", Deb::new("aa", "1", "amd64"));
    let mut site = Site::new([suite]);
    site.configure_all(config(&site, "[\"dev\", \"qa\", \"staging\", \"current\"]"));
    for (number, name) in names.iter().enumerate() {
        if number > 0 {
            site.add(&Deb::new("changing", &number.to_string(), "amd64"));
        }
        site.run("sync").success();
        for mirror in ["debian", "vendor"] {
            site.run(&format!("snapshot create {mirror} {name}")).success();
        }
    }
    site
}

fn config(site: &Site, environments: &str) -> Config {
    let mirrors = Config::new()
        .mirror(site.mirror("debian").set("environments", environments))
        .mirror(site.mirror("vendor").set("environments", "[\"qa\", \"current\"]"));
    mirrors.set_in("groups", "both", "[\"debian\", \"vendor\"]")
}

/// Where `current` of both mirrors leads.
fn current(site: &Site) -> [Option<String>; 2] {
    ["debian", "vendor"].map(|mirror| site.pointer(mirror, "current"))
}

fn both(name: &str) -> [Option<String>; 2] {
    [Some(name.to_owned()), Some(name.to_owned())]
}

#[test]
fn several_mirrors_move_in_one_act() {
    let site = site(&["one", "two"]);
    for (line, to) in [
        ("snapshot publish both one", ["one", "one"]),
        ("snapshot publish debian=two vendor=one", ["two", "one"]),
        ("snapshot publish both=two", ["two", "two"]),
        ("snapshot stage debian=one vendor=two", ["one", "two"]),
        ("snapshot promote both", ["one", "two"]),
        ("snapshot stage both two", ["two", "two"]),
        ("snapshot promote vendor debian", ["two", "two"]),
    ] {
        let report = site.json(line);
        let moves = report["moves"].as_array().expect("a list");
        let led: Vec<&Value> = moves.iter().map(|moved| &moved["to"]).collect();
        assert_eq!(led, to, "{line}: {report}");
        let acts: Vec<i64> = history(&site)
            .iter()
            .take(moves.iter().filter(|moved| moved["changed"] == true).count())
            .filter_map(|moved| moved["act"].as_i64())
            .collect();
        assert!(acts.windows(2).all(|pair| pair[0] == pair[1]), "{line} is one act");
    }
    assert_eq!(current(&site), both("two"));
    for (line, code, words) in [
        ("snapshot publish debian=one vendor=nine", 1, &["no snapshot nine"][..]),
        ("snapshot publish both nine", 1, &["no snapshot nine"]),
        (
            "snapshot publish both=one debian=two",
            2,
            &["two snapshots, one and two"],
        ),
        (
            "snapshot publish debian vendor one",
            2,
            &["MIRROR=NAME", "usage: <MIRROR> <NAME>"],
        ),
        ("snapshot publish bth=one", 2, &["did you mean \"both\""]),
        ("snapshot create both x", 2, &["both is a group of debian, vendor"]),
    ] {
        refused(&site, line, code, words);
    }
}

#[test]
fn a_condition_must_hold_for_all() {
    let site = site(&["one", "two"]);
    site.run("snapshot publish both one").success();
    site.run("snapshot stage both two").success();
    for (line, code, words) in [
        (
            "snapshot promote debian --expect two",
            4,
            &["debian/current leads to one, not to two"][..],
        ),
        (
            "snapshot promote both --expect vendor=two",
            4,
            &["vendor/current leads to one, not to two"],
        ),
        (
            "snapshot publish both two --expect debian=one --expect vendor=two",
            4,
            &["vendor/current"],
        ),
        (
            "snapshot stage debian one --expect one",
            4,
            &["debian/staging leads to two, not to one"],
        ),
        (
            "snapshot publish debian two --to qa --expect two",
            4,
            &["debian/qa leads nowhere, not to two"],
        ),
        ("snapshot rollback debian --to two --expect two", 4, &["leads to one"]),
        (
            "snapshot promote both --expect one",
            2,
            &["of 2 mirrors", "--expect debian=one"],
        ),
        (
            "snapshot promote debian --expect vendor=one",
            2,
            &["vendor, which is not to be moved"],
        ),
        (
            "snapshot promote debian --expect one --expect debian=two",
            2,
            &["debian is expected to lead to one and to two"],
        ),
        (
            "snapshot promote debian --expect debain=one",
            2,
            &["did you mean \"debian\""],
        ),
    ] {
        refused(&site, line, code, words);
    }
    site.run("snapshot promote both --expect both=one").success();
    site.run("snapshot publish debian one --expect two").success();
    assert_eq!(current(&site), [Some("one".to_owned()), Some("two".to_owned())]);
}

#[test]
fn a_pointer_can_be_expected_to_lead_nowhere() {
    let site = site(&["one", "two"]);
    site.run("snapshot publish debian one --expect -").success();
    let already = "debian/current leads to one, not nowhere";
    refused(&site, "snapshot publish debian two --expect -", 4, &[already]);
    let publish = "snapshot publish both two --expect debian=- --expect vendor=-";
    refused(&site, publish, 4, &[already]);
    refused(
        &site,
        "snapshot publish both two --expect -",
        2,
        &["of 2 mirrors", "--expect debian=-"],
    );
    refused(
        &site,
        "snapshot publish both=- --to qa",
        2,
        &["a snapshot name starts with"],
    );
    let publish = "snapshot publish both two --expect debian=one --expect vendor=-";
    site.run(publish).success();
    assert_eq!(current(&site), [Some("two".to_owned()), Some("two".to_owned())]);
}

#[test]
fn of_two_that_expect_the_same_one_wins() {
    let site = site(&["one", "two"]);
    site.run("snapshot publish both one").success();
    for (from, to) in [("one", "two"), ("two", "one"), ("one", "two"), ("two", "one")] {
        site.run(&format!("snapshot stage both {to}")).success();
        let promote = format!("snapshot promote both --expect both={from}");
        let mut codes = thread::scope(|scope| {
            let racers = [(); 2].map(|()| scope.spawn(|| site.run(&promote).status.code()));
            racers.map(|racer| racer.join().expect("no panic"))
        });
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(4)]);
        assert_eq!(current(&site), both(to));
    }
    let moves = history(&site);
    let promoted = moves.iter().filter(|moved| moved["command"] == "promote").count();
    assert_eq!(promoted, 8, "each promotion moved both mirrors once");
}

#[test]
fn snapshots_pass_through_environments() {
    let site = site(&["one", "two"]);
    site.run("snapshot publish debian one --to dev")
        .success()
        .stdout_has("debian/dev -> one");
    site.run("snapshot publish vendor two --to qa").success();
    site.run("snapshot promote debian --from dev --to qa").success();
    site.run("snapshot promote both --from qa --to staging").success();
    site.run("snapshot promote both")
        .success()
        .stdout_has("vendor/current -> two");
    assert_eq!(current(&site), [Some("one".to_owned()), Some("two".to_owned())]);
    for (line, code, words) in [
        (
            "snapshot promote both --from dev --to qa",
            2,
            &["dev is no environment of vendor"][..],
        ),
        (
            "snapshot promote debian --from staging --to curent",
            2,
            &["did you mean \"current\""],
        ),
        (
            "snapshot publish debian one --to prod",
            2,
            &["prod is no environment of debian", "dev, qa, staging, current"],
        ),
        ("snapshot promote debian --from qa --to qa", 2, &["itself"]),
        (
            "snapshot rollback vendor --of dev",
            2,
            &["dev is no environment of vendor"],
        ),
        ("snapshot delete debian one", 4, &["point it elsewhere first"]),
    ] {
        refused(&site, line, code, words);
    }
    let listed = site.json("snapshot list debian");
    let status = |name: &str| {
        let snapshots = listed["snapshots"].as_array().expect("a list");
        let found = snapshots.iter().find(|snapshot| snapshot["name"] == name);
        found.expect("it exists")["status"].clone()
    };
    assert_eq!(status("one"), json!(["current", "staging", "dev", "qa"]));
    assert_eq!(status("two"), json!([]));
    let pointers = |site: &Site| site.json("status")["mirrors"][0]["pointers"].take();
    let place = |pointer: &str, snapshot: Option<&str>, configured: bool| json!({ "pointer": pointer, "snapshot": snapshot, "configured": configured });
    let one = Some("one");
    assert_eq!(
        pointers(&site),
        json!([
            place("dev", one, true),
            place("qa", one, true),
            place("staging", one, true),
            place("current", one, true)
        ])
    );
    site.run("status").success().stdout_has("debian/dev -> one\n");
    // One that is not configured any more is shown as what it is.
    site.configure_all(config(&site, "[\"qa\", \"late\"]"));
    assert_eq!(
        pointers(&site),
        json!([
            place("qa", one, true),
            place("late", None, true),
            place("staging", one, true),
            place("current", one, true),
            place("dev", one, false),
        ])
    );
    site.run("status")
        .success()
        .stdout_has("debian/late -> -\n")
        .stdout_has("debian/dev -> one; it is not configured any more");
    refused(
        &site,
        "snapshot promote debian --from dev --to qa",
        2,
        &["dev is no environment"],
    );
    refused(
        &site,
        "snapshot promote debian --from late --to qa",
        4,
        &["leads nowhere yet", "--to late"],
    );
}

#[test]
fn no_snapshot_is_called_like_an_environment() {
    let site = site(&["one"]);
    refused(
        &site,
        "snapshot create debian qa",
        2,
        &["qa is an environment of debian"],
    );
    site.run("snapshot create vendor dev").success();
    let root = site.archive.root().display().to_string();
    site.run(&format!("import debian {root} --name dev"))
        .code(2)
        .stderr_has("dev is an environment of debian");
    // Generated names get a number.
    let layout = |mirror| {
        site.mirror(mirror)
            .set("environments", "[\"qa\", \"qa-2\"]")
            .set("snapshot", "{ default_name_format = \"qa\" }")
    };
    site.configure_all(Config::new().mirror(layout("debian")));
    for made in ["qa-3", "qa-3-2"] {
        assert_eq!(site.json("snapshot create debian")["snapshot"], made);
    }
    assert_eq!(site.json("sync --force")["mirrors"][0]["snapshot"]["name"], "qa-3-3");
}

#[test]
fn going_back_says_what_it_means_and_does_just_that() {
    let site = site(&["one", "two", "three"]);
    refused(
        &site,
        "snapshot rollback debian",
        4,
        &["leads nowhere yet", "snapshot publish debian"],
    );
    for name in ["one", "two", "three"] {
        site.run(&format!("snapshot publish both {name}")).success();
    }
    let before = site.visible();
    let told = site.run("snapshot rollback both --dry-run").success();
    assert_eq!(site.visible(), before, "a dry run changes nothing");
    let planned = site.json("snapshot rollback both --dry-run");
    let done = site.run("snapshot rollback both").success();
    let rest = told
        .stdout
        .strip_prefix("dry run: nothing is moved\n")
        .expect("it says so");
    assert_eq!(rest, done.stdout, "what was foretold is what happened");
    let shown = done
        .stdout_has("debian/current: three -> two\n")
        .stdout_has("vendor/current: three -> two\n")
        .stdout_has("clients that updated from three keep its lists")
        .stdout_has("which stay reachable for 2d, and in any case until there were 3 further publications");
    assert_eq!(current(&site), both("two"));
    assert_eq!(
        (&planned["dry_run"], &planned["retract"]),
        (&json!(true), &json!(false))
    );
    for mirror in planned["mirrors"].as_array().expect("a list") {
        let release = &mirror["releases"][0];
        let (from, to) = (text(&release["from_date"]), text(&release["to_date"]));
        assert_eq!(release["suite"], SUITE);
        assert!(to < from, "{planned}");
        assert!(
            shown
                .stdout
                .contains(&format!("  {SUITE}: Release of {from} -> {to}\n")),
            "{shown}"
        );
    }
    // Twice is two steps, and then there is nothing before.
    let report = site.json("snapshot rollback debian vendor --message again");
    assert_eq!(
        (&report["moves"][0]["from"], &report["moves"][1]["to"]),
        (&json!("two"), &json!("one"))
    );
    assert_eq!(current(&site), both("one"));
    refused(&site, "snapshot rollback both", 4, &["was nowhere before", "--to"]);
    refused(&site, "snapshot rollback both --dry-run", 4, &["was nowhere before"]);
    refused(&site, "snapshot rollback both --to nine", 1, &["no snapshot nine"]);
    let moves = history(&site);
    assert!(
        moves[..4]
            .iter()
            .all(|moved| moved["command"] == "rollback" && moved["retracts"] == false)
    );
    assert!(
        moves[..2]
            .iter()
            .all(|moved| moved["act"] == moves[0]["act"] && moved["message"] == "again")
    );
}

#[test]
fn one_that_cannot_go_back_keeps_all() {
    let site = site(&["one", "two"]);
    site.run("snapshot publish both one").success();
    site.run("snapshot publish debian two").success();
    refused(
        &site,
        "snapshot rollback both",
        4,
        &["vendor/current was nowhere before"],
    );
    site.run("snapshot delete vendor two").success();
    refused(
        &site,
        "snapshot rollback both --to two",
        1,
        &["vendor has no snapshot two"],
    );
    // The way back leads to what was deleted.
    site.run("snapshot publish debian one").success();
    site.run("snapshot delete debian two --force").success();
    refused(&site, "snapshot rollback debian", 1, &["no snapshot two"]);
}

/// What lends files to production of `debian`, by what `status` says.
fn lending(site: &Site) -> Vec<String> {
    let status = site.json("status");
    let mirrors = status["mirrors"].as_array().expect("a list");
    let debian = mirrors
        .iter()
        .find(|mirror| mirror["mirror"] == "debian")
        .expect("it is configured");
    let reachable = debian["reachable"].as_array().expect("a list");
    reachable.iter().map(|one| text(&one["snapshot"])).collect()
}

#[test]
fn what_was_published_twice_is_retracted_as_a_whole() {
    for published in [&["two", "one", "two"][..], &["one", "two", "one", "two"]] {
        for line in ["snapshot rollback debian --retract", "snapshot rollback debian"] {
            let site = site(&["one", "two"]);
            for name in published {
                site.run(&format!("snapshot publish debian {name}")).success();
            }
            assert_eq!(lending(&site), ["one"]);
            let done = site.run(line).success();
            if line.ends_with("--retract") {
                done.stdout_has("which are not reachable any more: what only two has fails with 404 until");
            } else {
                done.stdout_has("which stay reachable for 2d");
                assert_eq!(lending(&site), ["two"]);
                site.run("snapshot rollback debian --to one --retract")
                    .success()
                    .stdout_has("clients stay with one; what only two has is not found any more");
            }
            assert!(lending(&site).is_empty(), "{published:?}: {line}");
            let again = site.json("snapshot rollback debian --to one --retract");
            assert_eq!(again["moves"][0]["changed"], false);
            assert_eq!(again["mirrors"][0]["unreachable"], json!([]));
        }
    }
}

#[test]
fn what_is_retracted_after_going_back_has_to_be_said() {
    let site = site(&["one", "two", "three"]);
    // Production never was at `one` before, so that a step back would lead to `two` again.
    site.run("snapshot publish debian two").success();
    site.run("snapshot rollback debian --to one").success();
    let stay = "mirrorctl snapshot rollback debian --to one --retract";
    for line in [
        "snapshot rollback debian --retract",
        "snapshot rollback debian --retract --dry-run",
    ] {
        let further = "to go further back: mirrorctl snapshot rollback debian --to two --retract";
        refused(&site, line, 4, &["went back to one already", stay, further]);
    }
    assert_eq!(lending(&site), ["two"]);
    site.run(&stay["mirrorctl ".len()..]).success();
    assert!(lending(&site).is_empty());
    // Without a step before there is none to be named.
    for name in ["one", "two"] {
        site.run(&format!("snapshot publish vendor {name} --to qa")).success();
    }
    site.run("snapshot rollback vendor --of qa").success();
    let line = "snapshot rollback vendor --of qa --retract";
    let stay = "mirrorctl snapshot rollback vendor --of qa --to one --retract";
    refused(&site, line, 4, &[stay]);
    let said = site.run(line).code(4).stderr;
    assert!(!said.contains("further back"), "{said}");
    // Nothing has to be said where something was published since.
    site.run("snapshot publish vendor three --to qa").success();
    site.run(line).success().stdout_has("three -> one");
}

#[test]
fn what_was_published_can_be_retracted_also_afterwards() {
    let site = site(&["one", "two"]);
    site.run("snapshot publish both one").success();
    site.run("snapshot publish both two").success();
    site.run("snapshot rollback debian --to one --retract")
        .success()
        .stdout_has("which are not reachable any more: what only two has fails with 404 until");
    site.run("snapshot rollback vendor").success();
    let report = site.json("snapshot rollback vendor --to one --retract --message leak");
    assert_eq!(
        (&report["retract"], &report["moves"][0]["changed"]),
        (&json!(true), &json!(true))
    );
    let again = site.json("snapshot rollback both --to one --retract");
    assert_eq!(again["moves"][0]["changed"], false);
    assert_eq!(again["mirrors"][0]["clients"], "nothing changes for clients");
    let moves = history(&site);
    let retracted: Vec<_> = moves.iter().filter(|moved| moved["retracts"] == true).collect();
    assert_eq!(retracted.len(), 2);
    assert_eq!(
        (&retracted[0]["from"], &retracted[0]["to"]),
        (&json!("one"), &json!("one"))
    );
    site.run("snapshot history vendor")
        .success()
        .stdout_has("rollback --retract");
    // The catalog lends nothing any more.
    let catalog = site.catalog();
    for mirror in ["debian", "vendor"] {
        let row = catalog.mirror(&crate::site::id(mirror)).expect("synced");
        let newest = catalog
            .pointer(row, &mirrorctl::model::Pointer::Current)
            .expect("reads")
            .expect("set");
        let lending = catalog.generations(row, &newest, newest.moved_at).expect("reads");
        assert_eq!(lending, [], "{mirror}");
    }
}

#[test]
fn an_environment_can_go_back_too() {
    let site = site(&["one", "two"]);
    for name in ["one", "two"] {
        site.run(&format!("snapshot publish debian {name} --to qa")).success();
    }
    site.run("snapshot rollback debian --of qa")
        .success()
        .stdout_has("debian/qa: two -> one");
    assert_eq!(site.pointer("debian", "current"), None);
}

#[test]
fn history_says_who_moved_what_and_why() {
    let site = site(&["one", "two"]);
    let message = "urgent:\u{1b}[2J fix\nof \u{202e}CVE";
    let say = |words: &[&str]| site.env.mirrorctl(&[words, &["--message", message]].concat()).success();
    say(&["snapshot", "stage", "debian", "one"]);
    say(&["snapshot", "promote", "debian"]);
    say(&["snapshot", "publish", "debian", "two"]);
    say(&["snapshot", "rollback", "debian"]);
    say(&["snapshot", "create", "debian", "three", "--stage"]);
    site.run("snapshot publish debian three").success();
    let moves = history(&site);
    let commands: Vec<_> = moves.iter().map(|moved| text(&moved["command"])).collect();
    assert_eq!(
        commands,
        ["publish", "stage", "rollback", "publish", "promote", "stage"]
    );
    assert_eq!(moves[0]["message"], Value::Null);
    for moved in &moves[1..] {
        assert_eq!(moved["message"], message, "programs get every character");
        assert_eq!((&moved["forced"], &moved["passed"]), (&json!(false), &Value::Null));
        assert!(!text(&moved["actor"]).is_empty());
    }
    let shown = site.run("snapshot history").success();
    assert!(
        shown.stdout.contains("urgent:\\u{1b}[2J fix\\nof \\u{202e}CVE"),
        "{shown}"
    );
    assert_eq!(
        shown.stdout.lines().count(),
        7,
        "a line each, and the headings: {shown}"
    );
    assert_eq!(site.json("snapshot history --limit 2")["moves"], json!(moves[..2]));
    site.run("snapshot stage debian one --message").code(2);
    let empty = site
        .env
        .mirrorctl(&["snapshot", "stage", "debian", "one", "--message", ""]);
    empty.code(2).stderr_has("--message");
}

#[test]
fn a_group_is_tested_and_compared_mirror_by_mirror() {
    let site = site(&["one", "two"]);
    site.run("snapshot publish both one").success();
    site.run("snapshot stage both two").success();
    let members = |report: &Value| -> Vec<Value> {
        let reports = report["mirrors"].as_array().expect("a list");
        reports.iter().map(|report| report["mirror"].clone()).collect()
    };

    let differences = site.json("snapshot diff both");
    assert_eq!(members(&differences), ["debian", "vendor"]);
    assert_eq!(differences["mirrors"][1], site.json("snapshot diff vendor"));
    site.run("snapshot diff both one two")
        .success()
        .stdout_has("debian: one -> two")
        .stdout_has("\n\nvendor: one -> two");

    let tests = site.json("snapshot test both");
    assert_eq!(members(&tests), ["debian", "vendor"]);
    assert_eq!(tests["mirrors"][0]["snapshot"], "two");
    site.run("snapshot test both one").success();

    // One that cannot be looked at does not hide the others.
    site.run("snapshot publish debian one --to qa").success();
    let ran = site.run("--json snapshot test both qa").code(4);
    assert_eq!(members(&ran.json()), ["debian"]);
    assert!(
        ran.json()["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("vendor"))
    );
    let ran = site.run("--json snapshot diff both qa").code(4);
    assert_eq!(members(&ran.json()), ["debian"]);
    assert!(
        ran.json()["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("vendor/qa"))
    );
}

#[test]
fn where_one_mirror_is_meant_a_group_is_refused_with_its_members() {
    let site = site(&["one"]);
    for line in [
        "snapshot create both two",
        "snapshot delete both one",
        "snapshot rename both one two",
        "snapshot protect both one",
        "snapshot tag both one good",
        "snapshot note both one",
        "forget both",
        "forget both --dry-run",
    ] {
        refused(
            &site,
            line,
            2,
            &["both is a group of debian, vendor, and this command takes one mirror"],
        );
    }
}

#[test]
fn a_word_that_names_nothing_is_told_what_there_is() {
    let site = site(&["one"]);
    site.run("snapshot publish debian one").success();
    let environments = "the environments of debian are dev, qa, staging, current";
    for line in [
        "snapshot test debian qaa",
        "snapshot diff debian qaa",
        "snapshot diff debian one qaa",
    ] {
        refused(
            &site,
            line,
            1,
            &["no snapshot qaa", "did you mean \"qa\"?", environments],
        );
    }
    refused(&site, "snapshot test debian production", 1, &[environments]);
}

#[test]
fn what_was_understood_of_groups_environments_and_lending_is_shown() {
    let site = site(&[]);
    site.configure_all(
        config(&site, "[\"dev\", \"qa\"]")
            .set_in("publish", "keep_generations", "7")
            .set_in("mirrors.vendor.publish", "keep_for", "\"2h\""),
    );
    let report = site.json("check config");
    assert_eq!(report["groups"], json!({ "both": ["debian", "vendor"] }));
    let [debian, vendor] = [0, 1].map(|at| &report["mirrors"][at]);
    assert_eq!(debian["environments"], json!(["dev", "qa", "staging", "current"]));
    assert_eq!(vendor["environments"], json!(["qa", "current", "staging"]));
    assert_eq!(debian["publish"], json!({ "keep_generations": 7, "keep_for": "2d" }));
    assert_eq!(vendor["publish"], json!({ "keep_generations": 7, "keep_for": "2h" }));
    let checked = site.run("check config").success();
    for line in [
        "group both",
        "debian vendor",
        "dev qa staging current",
        "the last 7 publications, and those of the last 2h",
    ] {
        assert!(checked.stdout.contains(line), "no {line:?} in {checked}");
    }
}

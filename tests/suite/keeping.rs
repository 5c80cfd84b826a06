//! What operators say of snapshots, and which of them are kept.
//!
//! Owns names, tags, notes and protection, the calendar's rules of retention, and what a dry run of pruning foretells.

use mirrorctl::catalog::{Act, Catalog, PointerTarget, RequestedMove};
use mirrorctl::model::{MoveTerms, Pointer, SnapshotName, Timestamp};
use mirrorctl_testkit::{Config, now};
use serde_json::{Value, json};

use crate::site::{Site, deb, id, text};

/// A site with the snapshots `one`, `two` and `three`, each with a package of its own; the newest has a further name.
fn three_snapshots() -> Site {
    let mut site = Site::small();
    for name in ["one", "two", "three"] {
        site.add(&deb(name, "1", 30_000));
        let made = text(&site.sync()["snapshot"]["name"]);
        site.run(&format!("snapshot rename debian {made} {name}")).success();
        // Only the newest version of the archive has it.
        site.archive.remove(crate::site::SUITE, name).expect("a suite");
    }
    site
}

/// The member `key` of the snapshot `name`, as listed.
fn listed(site: &Site, name: &str, key: &str) -> Value {
    let list = site.json("snapshot list debian");
    let snapshots = list["snapshots"].as_array().expect("a list");
    let found = snapshots.iter().find(|snapshot| snapshot["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}"))[key].clone()
}

fn catalog(site: &Site) -> Catalog {
    Catalog::open(&site.env.state_dir().join("catalog.db")).expect("opens")
}

fn act(command: &'static str, now: Timestamp) -> Act<'static> {
    Act {
        command,
        actor: "tester",
        message: None,
        now,
        in_turn: false,
        force: false,
        retracts: false,
    }
}

#[test]
fn tags_and_notes_are_listed_until_they_are_taken_away() {
    let site = three_snapshots();
    let plain = site.run("snapshot list").success();
    plain.stdout_lacks("TAGS").stdout_lacks("NOTE");
    let tagged = site.json("snapshot tag debian one release-12.8 base");
    assert_eq!(tagged["tags"], json!(["base", "release-12.8"]));
    site.run("snapshot tag debian two base").success();
    assert_eq!(listed(&site, "one", "tags"), json!(["base", "release-12.8"]));
    let names = |line: &str| -> Vec<String> {
        let list = site.json(line);
        let snapshots = list["snapshots"].as_array().expect("a list");
        snapshots.iter().map(|snapshot| text(&snapshot["name"])).collect()
    };
    assert_eq!(names("snapshot list --tag base"), ["two", "one"]);
    assert_eq!(names("snapshot list --tag base --tag release-12.8"), ["one"]);
    assert!(names("snapshot list --tag nothing").is_empty());
    site.run("snapshot list").success().stdout_has("base,release-12.8");

    let note = |words: &[&str]| {
        site.env
            .mirrorctl(&[&["--json", "snapshot", "note", "debian"], words].concat())
    };
    let said = note(&["one", "before the\n\u{1b}[2Jupgrade "]).success().json();
    assert_eq!(said["note"], "before the\n\u{1b}[2Jupgrade");
    assert_eq!(note(&["one"]).success().json(), said, "without a text, it is told");
    assert_eq!(listed(&site, "one", "note"), said["note"]);
    site.run("snapshot list")
        .success()
        .stdout_has("before the\\n\\u{1b}[2Jupgrade");
    note(&["one", &"x".repeat(5_000)]).code(2).stdout_has("4096");
    note(&["nine"]).code(1);
    for words in [&["one", " "][..], &["two", "--remove"]] {
        assert_eq!(note(words).success().json()["note"], Value::Null);
    }
    assert_eq!(listed(&site, "one", "note"), Value::Null);

    let left = site.json("snapshot tag debian one base nothing --remove");
    assert_eq!(left["tags"], json!(["release-12.8"]));
    site.run("snapshot tag debian nine x")
        .code(1)
        .stderr_has("no snapshot nine");
}

#[test]
fn a_protected_snapshot_goes_by_force_only() {
    let site = three_snapshots();
    site.run("snapshot protect debian one two").success();
    assert_eq!(listed(&site, "one", "status"), json!(["protected"]));
    site.run("snapshot prune --keep-last 1 --keep-within 0s")
        .success()
        .stdout_has("snapshot one stays: protected");
    assert_eq!(site.snapshots("debian"), ["three", "two", "one"]);
    site.run("snapshot delete debian one").code(4).stderr_has("protected");
    site.run("snapshot create debian one --force").code(4);
    site.run("snapshot protect debian two nine --remove").code(1);
    assert_eq!(listed(&site, "two", "status"), json!(["protected"]), "all or none");
    site.run("snapshot protect debian two --remove").success();
    site.run("snapshot prune --keep-last 1 --keep-within 0s").success();
    assert_eq!(site.snapshots("debian"), ["three", "one"]);
    site.run("snapshot delete debian one --force").success();
    assert_eq!(site.snapshots("debian"), ["three"]);
    site.assert_whole();
}

#[test]
fn a_renamed_snapshot_keeps_its_pointers_and_its_past() {
    let site = three_snapshots();
    site.run("snapshot tag debian one x").success();
    site.run("snapshot stage debian one").success();
    site.run("snapshot promote debian").success();
    let before = (site.files("debian", "one"), site.json("snapshot history"));
    let report = site.json("snapshot rename debian one first");
    assert_eq!(report, json!({ "mirror": "debian", "from": "one", "to": "first" }));
    assert_eq!(site.files("debian", "first"), before.0);
    // The history has the name of now, by which it can be found, and that of the time.
    let mut expected = before.1;
    for moved in expected["moves"].as_array_mut().expect("a list") {
        assert_eq!((&moved["to"], &moved["to_then"]), (&json!("one"), &json!("one")));
        moved["to"] = json!("first");
    }
    assert_eq!(site.json("snapshot history"), expected);
    site.run("snapshot history").success().stdout_has("first (then one)");
    assert_eq!(site.snapshots("debian"), ["three", "two", "first"]);
    assert_eq!(listed(&site, "first", "tags"), json!(["x"]));
    assert_eq!(listed(&site, "first", "status"), json!(["current", "staging"]));
    for pointer in ["staging", "current"] {
        assert_eq!(site.pointer("debian", pointer).as_deref(), Some("first"));
    }
    // A pointer that is there already is there by the new name; the next move tells where it came from.
    let moved = site.json("snapshot publish debian first")["moves"][0].take();
    assert_eq!((&moved["changed"], &moved["to"]), (&json!(false), &json!("first")));
    let moved = site.json("snapshot publish debian two")["moves"][0].take();
    assert_eq!((&moved["from"], &moved["to"]), (&json!("first"), &json!("two")));
    site.run("snapshot delete debian first").code(4).stderr_has("staging");

    let environments =
        |mirror: mirrorctl_testkit::Mirror| mirror.set("environments", "[\"qa\", \"staging\", \"current\"]");
    site.configure(environments);
    let tree = site.archive.root().display().to_string();
    for (line, code, said) in [
        (
            "snapshot rename debian two three".to_owned(),
            4,
            "already has a snapshot three",
        ),
        ("snapshot rename debian two two".to_owned(), 4, "already"),
        ("snapshot rename debian nine x".to_owned(), 1, "no snapshot nine"),
        (
            "snapshot rename debian two snapshots".to_owned(),
            2,
            "the served tree uses itself",
        ),
        (
            "snapshot rename debian two qa".to_owned(),
            2,
            "qa is an environment of debian",
        ),
        ("snapshot create debian qa".to_owned(), 2, "qa is an environment"),
        (format!("import debian {tree} --name qa"), 2, "qa is an environment"),
    ] {
        site.run(&line).code(code).stderr_has(said);
    }
    assert_eq!(site.snapshots("debian"), ["three", "two", "first"]);
}

#[test]
fn what_an_environment_has_is_not_pruned() {
    let site = three_snapshots();
    let wish = RequestedMove {
        mirror: id("debian"),
        pointer: "qa".parse::<Pointer>().expect("an environment"),
        target: PointerTarget::Snapshot("one".parse().expect("a name")),
        expect: None,
        terms: MoveTerms::default(),
    };
    catalog(&site)
        .move_pointers(&[wish], act("publish", now()))
        .expect("moves");
    site.run("snapshot prune --keep-last 1 --keep-within 0s")
        .success()
        .stdout_has("snapshot one stays: in another environment");
    assert_eq!(site.snapshots("debian"), ["three", "one"]);
    assert_eq!(listed(&site, "one", "status"), json!(["qa"]));
}

#[test]
fn what_a_dry_run_foretells_happens() {
    let site = three_snapshots();
    let line = "snapshot prune debian --keep-last 1 --keep-within 0s";
    let report = site.json(&format!("{line} --dry-run"));
    let verdicts = report["mirrors"][0]["snapshots"].as_array().expect("a list").clone();
    let shape: Vec<_> = verdicts
        .iter()
        .map(|one| (&one["name"], &one["kept_because"], &one["deleted_because"]))
        .collect();
    assert_eq!(
        shape,
        [
            (&json!("three"), &json!(["among the newest"]), &json!([])),
            (&json!("two"), &json!([]), &json!(["not the newest"])),
            (&json!("one"), &json!([]), &json!(["not the newest"]))
        ]
    );
    // Each has its package and its indices for itself; the newest is the last synced state too, which always stays.
    for verdict in &verdicts[1..] {
        assert!(verdict["only_here"]["bytes"].as_u64() > Some(1_000), "{verdict}");
    }
    assert_eq!(verdicts[0]["only_here"], json!({ "files": 0, "bytes": 0 }));
    assert_eq!(report["grace_seconds"], 86_400);
    let human = site.run(&format!("{line} --dry-run")).success();
    let human = human.stdout_has("two would be deleted: not the newest; ");
    let other = format!("{line} --keep-daily 1 --dry-run");
    let reasons = "one would be deleted: not the newest, not the newest of its day; ";
    site.run(&other).success().stdout_has(reasons);
    human
        .stdout_has("1d after the next sync or gc")
        .stdout_has("this would free");
    assert_eq!(site.snapshots("debian").len(), 3, "it changes nothing");

    let unused = |report: &Value| (report["unused_files"].as_u64(), report["unused_bytes"].as_u64());
    let add = |key: &str, sum: Option<u64>| Some(report["frees"][key].as_u64()? + sum?);
    let (files, bytes) = unused(&report);
    let done = site.json(line);
    assert_eq!(unused(&done), (add("files", files), add("bytes", bytes)));
    assert_eq!(
        (&done["frees"], &done["mirrors"][0]["snapshots"][1]["only_here"]),
        (&Value::Null, &Value::Null)
    );
    // What is foretold of one that stays: it is what its deletion frees as well.
    let empty = site.json(&format!("{line} --dry-run"));
    assert_eq!(empty["frees"], json!({ "files": 0, "bytes": 0 }));
    site.run("gc --now").success();
    assert_eq!(unused(&site.json(&format!("{line} --dry-run"))), (Some(0), Some(0)));
    site.assert_whole();
}

#[test]
fn the_calendar_keeps_what_was_recorded_on_its_days() {
    let site = Site::small();
    let made = text(&site.sync()["snapshot"]["name"]);
    site.run(&format!("snapshot delete debian {made}")).success();
    // 2025-01-06 is a Monday.
    let monday = 1_736_121_600;
    for (name, day) in [
        ("a-mo", 0),
        ("b-su", 6),
        ("c-mo", 7),
        ("d-th", 10),
        ("e-th", 10),
        ("f-feb", 30),
    ] {
        let name: SnapshotName = name.parse().expect("a name");
        let recorded = act("stage", Timestamp::from_unix(monday + day * 86_400));
        let terms = MoveTerms::default();
        let mut catalog = catalog(&site);
        catalog
            .create_snapshot(&id("debian"), &name, false, &[], terms, recorded)
            .expect("creates");
    }
    let kept = |flags: &str| {
        let line = format!("snapshot prune --dry-run --keep-last 1 --keep-within 0s {flags}");
        let report = site.json(&line);
        let verdicts = report["mirrors"][0]["snapshots"].as_array().expect("a list").clone();
        let stays = verdicts.iter().filter(|one| one["deleted"] == false);
        stays.map(|one| text(&one["name"])[..1].to_owned()).collect::<String>()
    };
    assert_eq!(kept(""), "f");
    assert_eq!(kept("--keep-daily 3"), "fec");
    assert_eq!(kept("--keep-weekly 3"), "feb");
    assert_eq!(kept("--keep-monthly 2"), "fe");
    assert_eq!(kept("--keep-monthly 12 --keep-daily 4"), "fecb");
    // As configured, and the flags go over it.
    let config = Config::new()
        .mirror(site.mirror("debian"))
        .set_in("snapshot.prune", "keep_weekly", "3")
        .set_in("mirrors.debian.snapshot.prune", "keep_monthly", "1");
    site.configure_all(config);
    assert_eq!(kept(""), "feb");
    assert_eq!(kept("--keep-weekly 0"), "f");
    site.run("check config").success().stdout_has(
        "the newest of each of the last 3 weeks that have one, and the newest of each of the last 1 months",
    );
    site.run("snapshot prune --keep-last 1 --keep-within 0s")
        .success()
        .stdout_has("snapshot b-su stays: the newest of its week");
    assert_eq!(site.snapshots("debian"), ["f-feb", "e-th", "b-su"]);
}

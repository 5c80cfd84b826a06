//! What commands print and how they exit.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mirrorctl::model::{Digest, HashType};
use mirrorctl_testkit::{Config, Fault, Mirror, Ran, SuiteSpec, TestEnv, Variant, forge};
use serde_json::Value;

use crate::site::{SUITE, Site, deb, three};

const DOCUMENTATION: &str = include_str!("../../docs/cli.md");

/// The one document that a command with `--json` printed, which says the exit code it ended with.
#[track_caller]
fn document(ran: &Ran, code: i32) -> Value {
    assert_eq!(ran.status.code(), Some(code), "{ran}");
    assert_eq!(ran.stdout.matches('\n').count(), 1, "one line: {ran}");
    assert!(ran.stdout.ends_with('\n'), "{ran}");
    let document = ran.json();
    assert!(document.is_object(), "{ran}");
    assert!(!ran.stderr.contains("error: "), "the failure is in the document: {ran}");
    match document.get("error") {
        None => assert_eq!(code, 0, "{ran}"),
        Some(error) => {
            assert_ne!(code, 0, "{ran}");
            assert_eq!(error["exit_code"], code, "{ran}");
            let row = format!("| {code} | `{}` |", error["kind"].as_str().expect("a kind"));
            assert!(DOCUMENTATION.contains(&row), "not documented: {row}");
            assert!(
                error["message"].as_str().is_some_and(|message| !message.is_empty()),
                "{ran}"
            );
            assert!(error["causes"].is_array() && error["hints"].is_array(), "{ran}");
        }
    }
    document
}

/// Runs every line, with `--json` before it and behind it, and gives what its first run printed.
fn documents(env: &TestEnv, lines: &[(&str, i32)]) -> Vec<Value> {
    lines
        .iter()
        .map(|(line, code)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let before = env.mirrorctl(&[&["--json"], &words[..]].concat());
            // A command that did something need not be able to do it twice.
            if *code != 0 {
                document(&env.mirrorctl(&[&words[..], &["--json"]].concat()), *code);
            }
            document(&before, *code)
        })
        .collect()
}

/// Commands that work on mirrors, in an order in which each can succeed.
const ON_MIRRORS: [&str; 27] = [
    "check config",
    "sync --dry-run",
    "sync",
    "snapshot create debian one",
    "snapshot create debian two --stage",
    "snapshot tag debian one first",
    "snapshot note debian one text",
    "snapshot note debian one",
    "snapshot protect debian one",
    "snapshot rename debian two three",
    "snapshot rename debian three two",
    "snapshot list --detailed",
    "snapshot diff debian one two --files",
    "snapshot publish debian one",
    "snapshot stage debian one",
    "snapshot test debian",
    "snapshot promote debian",
    "snapshot delete debian two --force",
    "snapshot prune",
    "snapshot prune --dry-run --keep-last 1 --keep-within 0",
    "snapshot history",
    "status",
    "gc --dry-run",
    "gc --now",
    "verify --deep",
    "forget debian --dry-run",
    "repair --rebuild --force",
];

#[test]
fn a_wrong_command_line_gives_one_document() {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    env.configure(Config::new().mirror(Mirror::new("debian", "http://127.0.0.1:1").suites(&[SUITE])));
    let wrong = [
        "",
        "snapshot",
        "check",
        "synch",
        "sync --bogus",
        "sync ../x",
        "sync Debian",
        "snapshot create",
        "snapshot create debian a/b",
        "snapshot stage debian",
        "snapshot publish debian .",
        "snapshot promote",
        "snapshot delete debian",
        "forget",
        "snapshot prune --keep-last 0",
        "snapshot prune --keep-within soon",
        "snapshot prune --keep-daily few",
        "snapshot list --tag -x",
        "snapshot tag debian one",
        "snapshot tag debian one a,b",
        "snapshot note debian one text --remove",
        "snapshot protect debian",
        "snapshot rename debian one current",
        "status -l loud",
        "completion tcsh",
        "status --config",
    ];
    documents(&env, &wrong.map(|line| (line, 2)));
    // Mirrors that are not configured.
    for line in [
        "sync debain",
        "snapshot list debain",
        "snapshot create debain x",
        "snapshot stage debain x",
        "snapshot publish debain x",
        "snapshot promote debian debain",
        "snapshot delete debain x",
        "snapshot prune debain",
        "snapshot history debain",
        "snapshot diff debain",
        "snapshot tag debain x y",
        "snapshot note debain x",
        "snapshot protect debain x",
        "snapshot rename debain x y",
    ] {
        let answer = &documents(&env, &[(line, 2)])[0]["error"];
        let problem = &answer["problems"][0];
        assert_eq!(
            (&problem["mirror"], &problem["nearest"]),
            (&"debain".into(), &"debian".into()),
            "{answer}"
        );
    }
    assert!(!env.state_dir().exists(), "a command that was refused makes nothing");
}

#[test]
fn commands_without_mirrors_give_one_document() {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let answers = documents(
        &env,
        &[
            ("version", 0),
            ("completion zsh", 0),
            ("help", 0),
            ("help sync", 0),
            ("--help", 0),
        ],
    );
    assert_eq!(answers[0]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_bad_configuration_gives_one_document() {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let lines: Vec<(&str, i32)> = ON_MIRRORS
        .into_iter()
        .chain(["mount", "mount --background", "unmount"])
        .chain(["sync --dry-run", "import debian /srv", "migrate", "migrate --dry-run"])
        .map(|line| (line, 1))
        .collect();
    for missing in documents(&env, &lines) {
        assert!(
            missing["error"]["causes"].to_string().contains("No such file"),
            "{missing}"
        );
    }
    env.configure_with("dir = 1\n[mirror.debian]\nurl = 'x'\n");
    for bad in documents(&env, &lines) {
        let problems = bad["error"]["problems"].as_array().expect("a list");
        assert_eq!(problems.len(), 2, "{bad}");
        assert_eq!(
            (&problems[0]["line"], &problems[0]["key"]),
            (&1.into(), &"dir".into()),
            "{bad}"
        );
    }
    env.configure_with("this is no TOML");
    documents(&env, &lines);
}

#[test]
fn commands_before_the_first_sync_give_one_document() {
    let site = Site::small();
    let state = site.env.state_dir();
    let answers = documents(
        &site.env,
        &[
            ("status", 0),
            ("check config", 0),
            ("snapshot list", 1),
            ("snapshot history", 1),
            ("snapshot stage debian x", 1),
            ("snapshot publish debian x", 1),
            ("snapshot promote debian", 1),
            ("snapshot delete debian x", 1),
            ("snapshot create debian x", 1),
            ("snapshot prune", 1),
            ("snapshot prune --dry-run", 1),
            ("snapshot tag debian x y", 1),
            ("snapshot note debian x", 1),
            ("snapshot protect debian x", 1),
            ("snapshot rename debian x y", 1),
            ("gc", 1),
            ("gc --dry-run", 1),
            ("unmount", 1),
        ],
    );
    for answer in &answers[2..17] {
        let hints = answer["error"]["hints"].to_string();
        assert!(hints.contains("mirrorctl sync"), "{answer}");
    }
    assert!(!state.exists(), "only a sync begins a state");
    fs::remove_dir(site.env.mount_dir()).expect("own directory");
    documents(&site.env, &[("mount", 1), ("mount --background", 1)]);
}

#[test]
fn failures_of_syncs_give_one_document() {
    let site = Site::small();
    site.configure_all(Config::new().mirror(site.mirror("one")).mirror(site.mirror("two")));
    site.upstream.fault("pool/*", Fault::Status(404));
    let failed = documents(&site.env, &[("sync", 1), ("sync one", 1)]);
    assert_eq!(failed[0]["mirrors"].as_array().map(Vec::len), Some(2));
    site.upstream.fault("dists/*", Fault::Body(b"<html>".to_vec()));
    documents(&site.env, &[("sync", 5), ("sync two", 5)]);
    site.upstream.clear_faults();
    documents(&site.env, &[("sync one", 0), ("snapshot promote one two", 4)]);
    site.upstream.fault("dists/*", Fault::Status(500));
    documents(&site.env, &[("sync two", 8), ("snapshot create two x", 1)]);
    site.upstream.clear_faults();
    let lines = [
        ("sync", 0),
        ("snapshot create one x --stage", 0),
        ("snapshot create one x", 4),
        ("snapshot create one x --force", 4),
        ("snapshot delete one x", 4),
        ("snapshot stage one nosuch", 1),
    ];
    documents(&site.env, &lines);
}

/// Adds the name of every member of `value` to `names`; what is below `error` is described elsewhere.
fn members(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                names.insert(name.clone());
                if name != "error" {
                    members(value, names);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| members(value, names)),
        _ => {}
    }
}

/// The row about the members of what `command` (with its flags) prints.
fn documented(command: &str) -> String {
    let (_, table) = DOCUMENTATION
        .split_once("| command | members |")
        .expect("the table of members");
    let names = |line: &&str| {
        let cell = line.split('|').nth(1).unwrap_or_default();
        let mut names = cell.split('`').skip(1).step_by(2);
        names.any(|name| command == name || command.starts_with(&format!("{name} ")))
    };
    table
        .lines()
        // A command with a flag that has a row of its own comes after the command.
        .rfind(names)
        .unwrap_or_else(|| panic!("{command} has no row"))
        .to_owned()
}

/// A check that finds something of everything, and can repair one file of two.
#[test]
fn every_member_of_a_check_is_documented() {
    let site = Site::small();
    site.sync();
    let blob = |name: &str| {
        let bytes = fs::read(site.archive.root().join(site.pool(name))).expect("a file");
        site.blob(Digest::of(&bytes))
    };
    for name in ["aa", "bb"] {
        fs::remove_file(blob(name)).expect("removes");
    }
    site.upstream.fault("*bb_1*", Fault::Status(404));
    fs::set_permissions(blob("cc"), fs::Permissions::from_mode(0o644)).expect("sets");
    let line = "verify --repair";
    let mut answer = document(&site.run(&format!("--json {line}")), 9);
    answer.as_object_mut().expect("an object").remove("error");
    assert_described(line, &answer);
}

/// Asserts that the documentation describes every member of what `line` printed, and no other.
#[track_caller]
fn assert_described(line: &str, answer: &Value) {
    let of_move = DOCUMENTATION.lines().skip_while(|line| !line.contains("A *move* has"));
    let of_move = of_move.take(3).collect::<Vec<_>>().join("\n");
    let row = documented(line);
    let mut names = BTreeSet::new();
    members(answer, &mut names);
    for name in &names {
        let quoted = format!("`{name}`");
        let known = row.contains(&quoted) || row.contains("`moves`") && of_move.contains(&quoted);
        // What the configuration holds is described with the configuration.
        assert!(known || line == "check config", "{line}: {name} is not in {row}");
    }
    // And what is documented is there. Without a mount, nothing is said of one.
    let row = row.split_once("`since`;").map_or(&row[..], |(_, rest)| rest);
    let row = format!("| |{}", row.rsplit('|').nth(1).expect("a cell"));
    let plain = row.split('|').nth(2).expect("a cell").split('`').skip(1).step_by(2);
    let values = [
        "unconfigured",
        "recorded",
        "changed",
        "unchanged",
        "failed",
        "staging",
        "current",
        "protected",
        "error",
        "null",
        "--detailed",
        "snapshot",
        "--files",
        "main/binary-arm64",
    ];
    for name in plain.filter(|name| !values.contains(name)) {
        assert!(names.contains(name), "{line}: {name} is documented and not in {answer}");
    }
}

#[test]
fn every_member_of_every_document_is_documented() {
    let mut site = Site::small();
    site.configure(|mirror| mirror.publish_to_staging(true));
    let mut lines: Vec<&str> = vec!["version", "completion bash", "--help"];
    lines.extend(ON_MIRRORS);
    // One that finds no difference has no packages to describe, and one that finds nothing wrong no files.
    lines.retain(|line| !line.starts_with("snapshot diff") && !line.starts_with("verify"));
    for line in lines {
        let answer = document(&site.run(&format!("--json {line}")), 0);
        assert_described(line, &answer);
    }
    // A difference with something of everything.
    site.add(&deb("bb", "2", 10));
    site.sync();
    let line = format!("snapshot diff debian one {} --files", site.snapshots("debian")[0]);
    assert_described(&line, &document(&site.run(&format!("--json {line}")), 0));
    // A tree with a hole, and no earlier installation to migrate.
    fs::remove_file(site.archive.root().join(site.pool("aa"))).expect("removes");
    let other = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    other.configure(Config::new().mirror(site.mirror("debian")));
    let tree = site.archive.root().to_string_lossy().into_owned();
    let mut answer = document(&other.mirrorctl(&["--json", "import", "debian", &tree]), 6);
    answer.as_object_mut().expect("an object").remove("error");
    let mut names = BTreeSet::new();
    members(&answer, &mut names);
    let row = documented("import");
    for name in &names {
        assert!(row.contains(&format!("`{name}`")), "import: {name} is not in {row}");
    }
    // The other forms of the same: a sync that finds nothing, and one that fails.
    site.add(&deb("aa", "2", 10));
    site.upstream.fault("pool/*", Fault::Status(404));
    for (line, code) in [("sync", 1), ("sync --force", 1)] {
        let answer = document(&site.run(&format!("--json {line}")), code);
        assert_eq!(answer["mirrors"][0]["outcome"], "failed");
        assert_eq!(answer["mirrors"][0]["error"]["exit_code"], 1);
    }
}

#[test]
fn people_get_words_and_tables() {
    let site = Site::small();
    site.configure(|mirror| mirror.publish_to_staging(true));
    site.run("sync")
        .success()
        .stdout_has("debian: snapshot ")
        .stdout_has("debian/staging -> ")
        .stderr_has("INFO  Starting sync for mirror: debian\n")
        .stderr_has("INFO  Sync completed successfully for debian\n");
    site.run("snapshot create debian release").success();
    site.run("snapshot publish debian release")
        .success()
        .stdout_has("debian/current -> release\n");
    site.run("snapshot publish debian release")
        .success()
        .stdout_has("is at release already\n");
    let list = site.run("snapshot list").success();
    let mut rows = list.stdout.lines();
    let heading: Vec<&str> = rows
        .next()
        .expect("a heading")
        .split("  ")
        .filter(|cell| !cell.is_empty())
        .map(str::trim)
        .collect();
    assert_eq!(
        heading,
        ["MIRROR", "SNAPSHOT NAME", "CREATED", "SIZE", "FILES", "STATUS"]
    );
    let newest: Vec<&str> = rows.next().expect("a row").split_whitespace().collect();
    assert_eq!(
        (newest[0], newest[1], newest.last()),
        ("debian", "release", Some(&"current"))
    );
    site.run("status")
        .success()
        .stdout_has("nothing is mounted\n")
        .stdout_has("release");
    site.run("snapshot history")
        .success()
        .stdout_has("publish")
        .stdout_has("sync");
}

#[test]
fn quiet_commands_print_answers_and_errors_only() {
    let mut site = Site::small();
    let said = |ran: Ran| (ran.stdout.clone(), ran.stderr);
    for line in [
        "sync",
        "snapshot create debian one --stage",
        "snapshot promote debian",
        "snapshot create debian two",
        "snapshot publish debian two",
        "snapshot stage debian two",
        "snapshot tag debian one first",
        "snapshot note debian one text",
        "snapshot rename debian two three",
        "snapshot rename debian three two",
        "snapshot protect debian one",
        "snapshot protect debian one --remove",
        "snapshot delete debian one --force",
        "snapshot prune",
        "gc",
        "gc --now",
        "sync --no-pgp-check",
    ] {
        let ran = site.run(&format!("--quiet {line}")).success();
        assert_eq!(said(ran), (String::new(), String::new()), "{line}");
    }
    for line in [
        "snapshot list",
        "snapshot history",
        "status",
        "check config",
        "version",
        "completion fish",
    ] {
        let ran = site.run(&format!("{line} -q")).success();
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran}");
        assert_eq!(ran.stdout, site.run(line).success().stdout, "{line}");
    }
    // Programs get their document.
    site.add(&deb("aa", "2", 10));
    assert_eq!(
        site.run("-q --json sync").success().json()["mirrors"][0]["outcome"],
        "recorded"
    );
    site.upstream.fault("dists/*", Fault::Status(500));
    let failed = site.run("-q sync").code(8).stderr_has("error: ");
    assert!(
        failed.stdout.is_empty() && !failed.stderr.contains("INFO") && !failed.stderr.contains("WARN"),
        "{failed}"
    );
}

#[test]
fn logs_stay_apart_from_documents() {
    let site = Site::small();
    let config = Config::new()
        .mirror(site.mirror("debian"))
        .set_in("log", "format", "\"json\"");
    site.configure_all(config);
    let ran = site.run("--json sync").success();
    document(&ran, 0);
    assert!(ran.stderr.lines().count() > 3, "{ran}");
    for line in ran.stderr.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(event["level"], "INFO");
    }
    let ran = site.run("--json --log-level error sync").success();
    assert_eq!(ran.stderr, "");
    let verbose = site.run("--verbose-errors snapshot stage debian nosuch").code(1);
    verbose
        .stderr_has("kind: failed")
        .stderr_has("exit code: 1")
        .stderr_has("version: ");
}

/// Commands to a terminal, and characters that change what a reader sees.
const EVIL: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}\u{200b}\u{9b}1m";

/// Puts [`EVIL`], or a part of it, into an index.
type Attack = fn(&Site, String) -> String;

#[test]
fn nothing_that_upstream_wrote_reaches_a_terminal_as_a_command() {
    let variants = [Variant::Plain];
    let suite = || {
        let suite = three().hashes([HashType::Sha256]).by_hash(false);
        suite.listed(&variants).served(&variants)
    };
    let index = |site: &Site| {
        let index = site
            .archive
            .root()
            .join("dists")
            .join(SUITE)
            .join("main/binary-amd64/Packages");
        fs::read_to_string(index).expect("an index")
    };
    let harmless = |ran: &Ran| {
        let shown = [&ran.stdout[..], &ran.stderr].concat();
        let deceives = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{200b}' | '\u{202e}');
        assert!(!shown.contains(deceives), "{shown:?}");
    };
    // In a field that a message quotes, in a name, in a name that is allowed, in a header, in a Release file.
    let attacks: [(&str, Attack, i32); 4] = [
        (
            "a package's name",
            |_, index| {
                index
                    .replacen("Package: aa", &format!("Package: aa{EVIL}"), 1)
                    .replacen("Filename:", "Other:", 1)
            },
            5,
        ),
        (
            "a size",
            |_, index| index.replacen("\nSize: ", &format!("\nSize: {EVIL}"), 1),
            5,
        ),
        (
            "a file's name",
            |site, index| index.replacen(&site.pool("aa"), &format!("pool/{EVIL}.deb"), 1),
            5,
        ),
        (
            "an allowed name",
            |site, index| index.replacen(&site.pool("aa"), "pool/aa\u{200b}.deb", 1),
            1,
        ),
    ];
    for (what, attack, code) in attacks {
        let site = Site::new([suite()]);
        let forged = attack(&site, index(&site));
        assert_ne!(forged, index(&site));
        forge(
            &site.archive,
            SUITE,
            &[("main/binary-amd64/Packages", forged.as_bytes())],
        );
        for line in ["sync", "--verbose-errors sync", "-l debug sync"] {
            let ran = site.run(line).code(code);
            assert!(ran.stderr.contains("\\u{"), "{what} is not shown: {ran}");
            harmless(&ran);
        }
        // For programs it is escaped as JSON has it, and nothing is lost.
        let ran = site.run("--json sync");
        harmless(&Ran {
            stdout: ran.stdout.replace(['\u{200b}', '\u{202e}', '\u{9b}', '\u{7f}'], ""),
            ..ran.clone()
        });
        document(&ran, code);
    }
    let site = Site::new([SuiteSpec::new(SUITE)
        .origin(&format!("Evil{EVIL}"), "x")
        .package("main", deb("aa", "1", 10))]);
    let ran = site.run("sync").code(5).stderr_has("control character");
    harmless(&ran);
    site.upstream
        .fault("dists/*/InRelease", Fault::Redirect("http://127.0.0.1:1/\u{7f}".into()));
    harmless(&site.run("sync").failure());
}

//! Tests of snapshots while the world goes on: pointers move, snapshots get other names or go, and the program is ended.
//!
//! Owns the proof that a command's result counts only for the snapshot that it was told to look at, and that no command
//! outlives the test it is part of.

use std::fs;
use std::path::PathBuf;

use mirrorctl_testkit::{MountGuard, Program, Running, Signal};
use serde_json::Value;

use crate::site::{Site, comes_true};

/// A site with a mount and the snapshots `one` and `two`, of which `one` is staged. Production takes only what has passed.
struct World {
    site: Site,
    _mount: MountGuard,
}

impl World {
    fn new() -> Self {
        let mut site = Site::new(&["debian"]);
        let mount = site.mount();
        for name in ["one", "two"] {
            let made = site.next_snapshot("debian");
            site.env
                .mirrorctl(&["snapshot", "rename", "debian", &made, name])
                .success();
        }
        site.stage("debian", "one");
        Self { site, _mount: mount }
    }

    /// Tests with these commands, in which `WAIT` waits until the test of the test lets it go on.
    fn configure(&self, commands: &[&str]) {
        let wait = format!(
            "touch {}; until test -e {}; do sleep 0.05; done",
            self.place("begun").display(),
            self.place("go").display()
        );
        let lines: Vec<String> = commands.iter().map(|line| line.replace("WAIT", &wait)).collect();
        let lines = serde_json::to_string(&lines).expect("JSON");
        let config = self.site.config(1).set_in("mirrors.debian.test", "commands", &lines);
        self.site
            .env
            .configure(config.set_in("mirrors.debian.test", "required", "true"));
    }

    fn place(&self, name: &str) -> PathBuf {
        self.site.env.root().join(name)
    }

    fn run(&self, line: &str) -> mirrorctl_testkit::Ran {
        self.site.env.mirrorctl(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Starts a test, and comes back when its command waits.
    fn begin(&self, line: &str) -> Running {
        self.begun(self.site.env.command(&line.split_whitespace().collect::<Vec<_>>()))
    }

    fn begun(&self, program: Program) -> Running {
        for name in ["begun", "go"] {
            let _ = fs::remove_file(self.place(name));
        }
        let test = program.spawn();
        assert!(comes_true(|| self.place("begun").exists()));
        test
    }

    /// The test of what is staged, started by another program.
    fn by(&self, other: &[&str]) -> Program {
        let env = &self.site.env;
        let config = env.config_path();
        Program::new(other[0], "coreutils")
            .args(&other[1..])
            .arg(env.binary())
            .args(["-c", config.to_str().expect("text"), "snapshot", "test", "debian"])
            .env("MIRRORCTL_RUN_DIR", env.run_dir())
    }

    /// What a test says during whose command these are run; its code must be this one.
    #[track_caller]
    fn tested_during(&self, line: &str, meanwhile: &[&str], code: i32) -> Value {
        let test = self.begin(&format!("--json {line}"));
        for line in meanwhile {
            self.run(line).success();
        }
        fs::write(self.place("go"), "").expect("writes");
        test.wait().code(code).json()
    }

    /// The process whose number a command has written to `name`.
    fn process(&self, name: &str) -> Option<String> {
        let pid = fs::read_to_string(self.place(name)).ok()?;
        (!pid.trim().is_empty()).then(|| pid.trim().to_owned())
    }

    /// Whether that process goes; it was ended, and a zombie counts as gone.
    fn goes(&self, name: &str) -> bool {
        let stat = format!("/proc/{}/stat", self.process(name).expect("a number"));
        comes_true(|| fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")))
    }
}

/// Each command's outcome, and the first thing that is told of it.
fn commands(test: &Value) -> Vec<(String, String)> {
    let checks = test["checks"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let commands = checks.filter(|check| text(&check["name"]).starts_with("command"));
    commands
        .map(|check| (text(&check["outcome"]), text(&check["details"][0])))
        .collect()
}

fn passed() -> (String, String) {
    ("passed".to_owned(), String::new())
}

const MOVED: &str = "it may have read something else than snapshot one: staging was moved, and leads to snapshot ";

#[test]
fn what_was_read_while_staging_moved_counts_for_nothing() {
    let world = World::new();
    world.configure(&["true", "WAIT; ls $MIRRORCTL_PATH/dists/stable/Release", "true"]);
    let test = world.tested_during("snapshot test debian", &["snapshot stage debian two"], 4);
    let told = commands(&test);
    assert_eq!((told.len(), &told[0]), (3, &passed()), "{test:#}");
    assert_eq!((&*told[1].0, &*told[2].0), ("failed", "failed"), "{test:#}");
    for expected in [
        format!("{MOVED}two now"),
        "mirrorctl snapshot test debian one".to_owned(),
    ] {
        assert!(told[1].1.contains(&expected), "{told:?}");
    }
    let third = &test["checks"].as_array().expect("a list").last().expect("ran")["text"];
    assert_eq!(third, "true: was not run");
    let refused = world.run("snapshot publish debian one").code(4);
    assert!(refused.stderr.contains("has failed its checks"), "{refused}");

    // There and back again is no better: nobody knows what was read.
    world.site.stage("debian", "one");
    let back = ["snapshot stage debian two", "snapshot stage debian one"];
    let test = world.tested_during("snapshot test debian", &back, 4);
    assert!(commands(&test)[1].1.contains(&format!("{MOVED}one now")), "{test:#}");

    // By its name it has a directory of its own, whatever is staged; and what leads elsewhere is of no matter.
    world.site.stage("debian", "two");
    let meanwhile = ["snapshot stage debian one", "snapshot publish debian one --force"];
    let test = world.tested_during("snapshot test debian one", &meanwhile, 0);
    assert_eq!(commands(&test)[0], passed());
}

#[test]
fn a_snapshot_can_get_another_name_or_go_while_it_is_tested() {
    let world = World::new();
    world.configure(&["WAIT", "ls $MIRRORCTL_PATH/dists/stable/Release"]);
    // Staging leads to it by whatever name.
    let test = world.tested_during("snapshot test debian", &["snapshot rename debian one first"], 0);
    assert_eq!(test["passed"], true);
    world.run("snapshot publish debian first").success();

    // Its own directory is another one then, or another snapshot's.
    let renamed = ["snapshot rename debian two second", "snapshot create debian two"];
    let test = world.tested_during("snapshot test debian two", &renamed, 4);
    let told = commands(&test);
    assert!(
        told[0].1.contains("snapshot two has another name now, second"),
        "{test:#}"
    );
    assert_eq!(told[1].0, "failed", "{test:#}");
    let refused = world.run("snapshot publish debian second").code(4);
    assert!(refused.stderr.contains("has failed its checks"), "{refused}");

    let test = world.tested_during("snapshot test debian second", &["snapshot delete debian second"], 1);
    let message = test["error"]["message"].as_str().expect("a text");
    assert!(
        message.contains("snapshot second of debian was deleted while it was tested"),
        "{message}"
    );
}

#[test]
fn no_command_outlives_its_test() {
    let world = World::new();
    let line = |name: &str| format!("echo $$ > {}", world.place(name).display());
    let helper = format!("sleep 1000 & echo $! > {}", world.place("helper").display());
    let command = format!("{}; {helper}; WAIT; sleep 1000", line("leader"));
    world.configure(&[&command]);
    for (signal, code) in [
        (Signal::HangUp, 130),
        (Signal::Interrupt, 130),
        (Signal::Terminate, 143),
    ] {
        let mut test = world.begun(world.by(&["env", "--default-signal=HUP"]));
        test.signal(signal);
        let ran = test.wait().code(code);
        assert!(ran.stderr.contains("no result is recorded"), "{ran}");
        assert!(world.goes("leader") && world.goes("helper"), "{signal:?}");
    }
    // Nobody is left to end it, and it is ended.
    world.begin("snapshot test debian").kill();
    assert!(world.goes("leader") && world.goes("helper"));
    // Whoever shall not hear of the terminal's end does not.
    world.configure(&["WAIT"]);
    let mut test = world.begun(world.by(&["nohup"]));
    test.signal(Signal::HangUp);
    fs::write(world.place("go"), "").expect("writes");
    test.wait().success();
}

#[test]
fn whoever_ignores_the_end_of_children_can_test() {
    let world = World::new();
    world.configure(&["true", "false"]);
    let ran = world.by(&["env", "--ignore-signal=CHLD"]).run().code(4);
    assert!(ran.stderr.contains("has not passed: command 2"), "{ran}");
}

#[test]
fn what_is_left_out_of_an_output_is_counted() {
    let world = World::new();
    world.configure(&["seq 1 10000", "true"]);
    let test = world.run("--json snapshot test debian").success().json();
    let check = test["checks"].as_array().expect("a list").iter();
    let check = check.clone().find(|check| check["name"] == "command 1").expect("ran");
    let told = check["details"].as_array().expect("a list");
    let more = check["more"].as_u64().expect("a number");
    assert_eq!(told.last().and_then(Value::as_str), Some("10000"));
    // One line may be told in part.
    assert!(
        more > 5000 && (10_000..=10_001).contains(&(more + told.len() as u64)),
        "{more}"
    );
}

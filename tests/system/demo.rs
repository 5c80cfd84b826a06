//! The demonstration, run as the README says: its story is true, it fails when it is not, and it leaves nothing behind.
//!
//! Owns the tests of `mirrorctl demo`. What it shows of syncs and mounts is tested where those are.

use std::fs;
use std::path::{Path, PathBuf};

use mirrorctl_testkit::{Program, Running, Signal, TestEnv, mounted_below};

/// `mirrorctl demo`, which works below `place`.
fn demo(place: &Path) -> Program {
    Program::at(Path::new(env!("CARGO_BIN_EXE_mirrorctl"))).env("TMPDIR", place)
}

/// A directory for a demonstration to work in, and what it lies in.
fn place() -> (TestEnv, PathBuf) {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let place = env.root().join("place");
    fs::create_dir(&place).expect("made");
    (env, place)
}

fn is_empty(place: &Path) -> bool {
    fs::read_dir(place).expect("a directory").next().is_none()
}

#[test]
fn the_story_is_told_and_nothing_is_left() {
    let (_env, place) = place();
    let told = demo(&place).arg("demo").run().success();
    let told = told
        .stdout_has("current does not exist yet")
        .stdout_has("staging offers hello 2.0")
        .stdout_has("apt-get has fetched and verified hello_2.0_all.deb");
    let order = [
        "offers hello 1.0",
        "snapshot promote demo",
        "offers hello 2.0",
        "Roll back",
    ];
    let places: Vec<_> = order.iter().map(|text| told.stdout.find(text)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}");
    let end = told.stdout.rfind("current offers hello 1.0");
    assert!(end > told.stdout.find("Roll back"), "production went back");
    assert!(mounted_below(&place).is_empty());
    assert!(is_empty(&place));
}

#[test]
fn programs_get_the_story_as_one_document() {
    let (_env, place) = place();
    let told = demo(&place).args(["--json", "demo"]).run().success().json();
    let titles: Vec<_> = told["steps"].as_array().expect("steps").iter().collect();
    assert!(titles.len() > 5, "{told}");
    assert!(
        titles
            .iter()
            .all(|step| step["title"].is_string() && step["lines"].is_array())
    );
}

#[test]
fn what_was_promised_and_does_not_hold_fails_it() {
    let (env, place) = place();
    // An apt-get that says it is there and fetches nothing.
    let programs = env.root().join("programs");
    fs::create_dir(&programs).expect("made");
    fs::write(programs.join("apt-get"), "#!/bin/sh\nexit 0\n").expect("written");
    Program::new("chmod", "coreutils")
        .args(["755".as_ref(), programs.join("apt-get").as_os_str()])
        .run()
        .success();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    demo(&place)
        .arg("demo")
        .env("PATH", path)
        .run()
        .code(1)
        .stderr_has("apt-get did not fetch hello_2.0_all.deb");
    assert!(mounted_below(&place).is_empty());
    assert!(is_empty(&place));
}

#[test]
fn kept_it_works_until_it_is_told_to_end() {
    let (_env, place) = place();
    let mut kept = demo(&place).args(["demo", "--keep"]).spawn();
    kept.wait_until("that it is kept", |kept| kept.stdout().contains("Press Ctrl-C"));
    let inside = place_of(&kept);
    let release = fs::read_to_string(inside.join("apt/demo/current/dists/stable/Release")).expect("served");
    assert!(release.contains("Suite: stable"), "{release}");
    Program::at(Path::new(env!("CARGO_BIN_EXE_mirrorctl")))
        .env("MIRRORCTL_RUN_DIR", inside.join("run"))
        .args(["-c".as_ref(), inside.join("mirror.toml").as_os_str()])
        .args(["sync", "demo"])
        .run()
        .success()
        .stdout_has("unchanged");
    kept.signal(Signal::Interrupt);
    kept.wait().success();
    assert!(mounted_below(&place).is_empty());
    assert!(is_empty(&place));
}

/// The directory that a kept demonstration says it works in.
fn place_of(kept: &Running) -> PathBuf {
    let said = kept.stdout();
    let line = said.lines().find_map(|line| line.trim().strip_prefix("configuration"));
    let configuration = PathBuf::from(line.expect("it names its configuration").trim());
    configuration.parent().expect("a directory").to_owned()
}

//! Mirrors that belong together.
//!
//! Owns race R7: packages of `security` need packages of `base`, and production of both moves.

use mirrorctl_testkit::{AptRoot, Config, Deb, SuiteSpec};

use super::world::{Ours, Plain, SUITE, World, begin_update};

const BOTH: [&str; 2] = ["base", "security"];

fn specs() -> [(&'static str, SuiteSpec); 2] {
    BOTH.map(|mirror| (mirror, SuiteSpec::new(SUITE)))
}

/// Another state of both, ready to be moved to: `fix` of security needs `lib` of base in the same version, and the other
/// way round.
fn next(world: &mut dyn World, version: &str) {
    let needs = |name: &str| format!("{name} (= {version})");
    let lib = Deb::new("lib", version, "amd64").depends(&needs("fix"));
    let fix = Deb::new("fix", version, "amd64").depends(&needs("lib"));
    world.next_with("base", &[lib]);
    world.next_with("security", &[fix]);
}

fn versions(apt: &AptRoot) -> [Option<String>; 2] {
    ["lib", "fix"].map(|name| apt.installed(name))
}

fn both(version: &str) -> [Option<String>; 2] {
    [Some(version.to_owned()), Some(version.to_owned())]
}

#[test]
fn r7_after_one_command_a_client_sees_both_and_before_it_none() {
    let mut world = Ours::of(&specs(), Config::new(), "");
    next(&mut world, "1");
    world.switch(&BOTH);
    let apt = world.client_of(&BOTH);
    apt.update().success();
    apt.install(&["fix"]).success();
    for version in ["2", "3"] {
        let before = versions(&apt);
        next(&mut world, version);
        apt.update().success();
        apt.upgrade().success();
        assert_eq!(versions(&apt), before, "prepared, not moved");
        world.switch(&BOTH);
        apt.update().success();
        apt.upgrade().success();
        assert_eq!(versions(&apt), both(version));
    }
}

#[test]
fn r7_a_command_moves_both_or_none() {
    let [base, _] = specs();
    let mut world = Ours::of(&[base, ("unsynced", SuiteSpec::new(SUITE))], Config::new(), "");
    world.advance("base");
    world.next("base");
    let before = world.snapshot("base/current");
    assert_ne!(world.snapshot("base/staging"), before);
    for other in ["unsynced", "unknown"] {
        for order in [["base", other], [other, "base"]] {
            let promote = [&["snapshot", "promote"][..], &order].concat();
            world.env.mirrorctl(&promote).failure();
            assert_eq!(world.snapshot("base/current"), before, "with {order:?}");
        }
    }
    world.switch(&["base"]);
    assert_ne!(world.snapshot("base/current"), before);
}

#[test]
fn r7_control_between_two_commands_no_client_can_install() {
    for world in [
        &mut Plain::of(&specs()) as &mut dyn World,
        &mut Ours::of(&specs(), Config::new(), ""),
    ] {
        next(world, "1");
        world.switch(&["base"]);
        world.switch(&["security"]);
        next(world, "2");
        world.switch(&["base"]);
        let apt = world.client_of(&BOTH);
        for _ in 0..2 {
            apt.update().success();
            apt.install(&["fix"]).code(100).stdout_has("unmet dependencies");
        }
        world.switch(&["security"]);
        apt.update().success();
        apt.install(&["fix"]).success();
        assert_eq!(versions(&apt), both("2"));
    }
}

/// What no server can prevent: one client's two requests, with a move between them. Nothing breaks, and the next update
/// puts it right.
#[test]
fn r7_a_client_that_is_caught_between_the_two_keeps_what_it_has() {
    let mut world = Ours::of(&specs(), Config::new(), "");
    next(&mut world, "1");
    world.switch(&BOTH);
    let apt = world.client_of(&BOTH);
    apt.update().success();
    apt.install(&["fix"]).success();
    next(&mut world, "2");
    let held = world.gate().hold("security/*/InRelease");
    let update = begin_update(&apt);
    held.arrived();
    world.switch(&BOTH);
    held.let_go();
    update.wait().success();
    apt.upgrade().success();
    assert_eq!(versions(&apt), both("1"), "what cannot be upgraded yet stays");
    apt.update().success();
    apt.upgrade().success();
    assert_eq!(versions(&apt), both("2"));
}

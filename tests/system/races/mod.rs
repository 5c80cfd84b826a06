//! Clients in the middle of something while production moves.
//!
//! Owns the proof of what `docs/serving.md` promises: every race that a move of production can lose is forced with a gate
//! that holds a client's request while the move happens, with real apt and nginx. Each race has a control: the same steps
//! against a symlink over plain directories, or without what mirrorctl keeps reachable, end badly. Nothing here waits for
//! a time to pass.

mod conditional;
mod crowd;
mod pairs;
mod world;

use std::fs;

use mirrorctl_testkit::{AptRoot, Config, Deb, Ran, Signing, SuiteSpec, fetch, fetch_with};

use crate::site::{names, noise, tree};
use world::{ONE, OPEN_FILE_CACHE, Ours, Plain, SUITE, World, begin_update, candidate, lists, no_grace, package};

/// Bytes of the file in a large package: far more than the socket buffers between nginx and a client hold.
const LARGE: usize = 16 << 20;

/// R1: a client reads `InRelease` before the move and the index after it. Gives the update.
fn an_update_across_a_move(world: &mut dyn World) -> (AptRoot, Ran) {
    world.advance(ONE);
    let apt = world.client();
    let held = world.gate().hold("*/main/binary-amd64/*");
    let update = begin_update(&apt);
    held.arrived();
    world.advance(ONE);
    held.let_go();
    (apt, update.wait())
}

#[test]
fn r1_an_index_is_found_after_the_move() {
    let mut world = Ours::by_default();
    let (apt, update) = an_update_across_a_move(&mut world);
    update.success();
    assert_eq!(candidate(&apt), 1, "the update is of the state in which it began");
    apt.update().success();
    assert_eq!(candidate(&apt), 2, "and the next one of the new state");
}

#[test]
fn r1_control_without_help_the_update_fails() {
    let spec = SuiteSpec::new(SUITE).by_hash(false);
    let (_, update) = an_update_across_a_move(&mut Plain::of(&[(ONE, spec)]));
    update.code(100);
    let (_, update) = an_update_across_a_move(&mut Ours::without_grace());
    update.code(100);
}

#[test]
fn r1_without_by_hash_a_client_keeps_its_lists_and_the_next_update_succeeds() {
    let spec = SuiteSpec::new(SUITE).by_hash(false);
    let mut world = Ours::of(&[(ONE, spec)], Config::new(), "");
    world.advance(ONE);
    let apt = world.client();
    apt.update().success();
    let old = lists(&apt);
    world.advance(ONE);
    for (option, code) in [("Acquire::By-Hash=yes", 100), ("Acquire::By-Hash=force", 0)] {
        let held = world.gate().hold("*/main/binary-amd64/*");
        let update = apt.apt_get(&["update", "--error-on=any", "-o", option]).spawn();
        held.arrived();
        world.advance(ONE);
        held.let_go();
        update.wait().code(code);
        assert_eq!(lists(&apt) == old, code != 0, "{option}");
    }
    apt.update().success();
    assert_eq!(candidate(&apt), 4);
    apt.install(&["changing"]).success();
}

/// R2: as R1, but the old index is found. Gives the installation after it.
fn an_installation_after_such_an_update(world: &mut dyn World) -> (AptRoot, Ran) {
    let (apt, update) = an_update_across_a_move(world);
    update.success();
    assert_eq!(candidate(&apt), 1);
    let install = apt.install(&["changing"]);
    (apt, install)
}

#[test]
fn r2_what_such_an_update_promised_is_installed() {
    let (apt, install) = an_installation_after_such_an_update(&mut Ours::by_default());
    install.success();
    for package in ["changing", "partner"] {
        assert_eq!(apt.installed(package).as_deref(), Some("1"), "{package}");
    }
}

#[test]
fn r2_control_old_indices_alone_are_not_enough() {
    // This upstream keeps by-hash files for a while, as Debian does, and so does a copy of it.
    let (_, install) = an_installation_after_such_an_update(&mut Plain::new());
    install.code(100).stderr_has("404");
}

/// R3: a client updates, production moves so many times, and then the client installs.
fn an_installation_long_after(world: &mut dyn World, moves: usize) -> (AptRoot, Ran) {
    world.advance(ONE);
    let apt = world.client();
    apt.update().success();
    for _ in 0..moves {
        world.advance(ONE);
    }
    let install = apt.install(&["changing"]);
    (apt, install)
}

#[test]
fn r3_what_was_promised_before_some_moves_is_installed() {
    let mut world = Ours::by_default();
    let (apt, install) = an_installation_long_after(&mut world, 5);
    install.success();
    assert_eq!(apt.installed("changing").as_deref(), Some("1"));
    let beside = world.root().join(ONE).join("current/pool/main/c/changing");
    assert_eq!(names(&beside), ["changing_6_amd64.deb"], "looked up, never listed");
    let frozen = format!(
        "{}/{ONE}/snapshots/{}",
        world.nginx().url(),
        world.snapshot("site/current")
    );
    let answer = fetch(&format!("{frozen}/{}", package(1))).expect("an answer");
    assert_eq!(answer.status, 404, "the snapshot itself has it no more");
}

#[test]
fn r3_control_without_help_it_is_not_found() {
    for world in [&mut Plain::new() as &mut dyn World, &mut Ours::without_grace()] {
        an_installation_long_after(world, 1).1.code(100).stderr_has("404");
    }
}

/// R4: a client reads Release before the move and Release.gpg after it, because there is no `InRelease`.
fn a_signature_after_the_move(world: &mut dyn World) {
    world.advance(ONE);
    let apt = world.client();
    apt.update().success();
    let old = lists(&apt);
    world.advance(ONE);
    let held = world.gate().hold("*/Release.gpg");
    let update = begin_update(&apt);
    held.arrived();
    world.advance(ONE);
    held.let_go();
    update.wait().code(100);
    assert!(lists(&apt) == old, "the client keeps what it had");
    assert_eq!(candidate(&apt), 1);
    apt.update().success();
    assert_eq!(candidate(&apt), 3);
    apt.install(&["changing"]).success();
}

#[test]
fn r4_a_signature_of_another_state_is_refused_once() {
    let spec = SuiteSpec::new(SUITE).signing(Signing::Detached);
    a_signature_after_the_move(&mut Ours::of(&[(ONE, spec.clone())], Config::new(), ""));
    // No server can do better: it does not know which two requests belong together.
    a_signature_after_the_move(&mut Plain::of(&[(ONE, spec)]));
}

#[test]
fn r4_does_not_arise_where_upstream_has_an_in_release() {
    let mut world = Ours::by_default();
    world.advance(ONE);
    let apt = world.client();
    let held = world.gate().hold("*/dists/stable/*Release*");
    let update = begin_update(&apt);
    held.arrived();
    world.advance(ONE);
    held.let_go();
    update.wait().success();
    assert_eq!(candidate(&apt), 2);
    let passed = world.gate().take_passed();
    let signed: Vec<&str> = passed
        .iter()
        .filter_map(|passed| passed.path.rsplit('/').next())
        .collect();
    assert_eq!(signed[0], "InRelease");
    assert!(
        !signed.contains(&"Release") && !signed.contains(&"Release.gpg"),
        "{signed:?}"
    );
}

/// R5: a client sees the new state, production goes back, and the client installs what it saw.
fn an_installation_after_a_rollback(world: &mut dyn World) -> (AptRoot, Ran) {
    world.advance(ONE);
    world.advance(ONE);
    let apt = world.client();
    apt.update().success();
    world.back(ONE);
    apt.update().success();
    assert_eq!(candidate(&apt), 2, "apt takes an older Release file for none");
    let install = apt.install(&["changing"]);
    (apt, install)
}

#[test]
fn r5_clients_that_saw_the_newer_state_keep_working_after_a_rollback() {
    let mut world = Ours::by_default();
    let (apt, install) = an_installation_after_a_rollback(&mut world);
    install.success();
    assert_eq!(apt.installed("changing").as_deref(), Some("2"));
    let fresh = world.client();
    fresh.update().success();
    assert_eq!(candidate(&fresh), 1, "whoever comes later gets the older state");
    fresh.install(&["changing"]).success();
    // Forward again, to a state that is newer than both.
    world.advance(ONE);
    for apt in [apt, fresh] {
        apt.update().success();
        apt.upgrade().success();
        assert_eq!(apt.installed("changing").as_deref(), Some("3"));
    }
}

#[test]
fn r5_an_update_across_a_rollback_succeeds() {
    let mut world = Ours::by_default();
    world.advance(ONE);
    world.advance(ONE);
    let apt = world.client();
    let held = world.gate().hold("*/by-hash/*");
    let update = begin_update(&apt);
    held.arrived();
    world.back(ONE);
    held.let_go();
    update.wait().success();
    assert_eq!(candidate(&apt), 2);
    apt.install(&["changing"]).success();
}

/// What the operator can choose instead, knowing this.
#[test]
fn r5_what_is_retracted_is_gone_until_production_is_newer_again() {
    let mut world = Ours::by_default();
    world.advance(ONE);
    world.advance(ONE);
    let apt = world.client();
    apt.update().success();
    world
        .env
        .mirrorctl(&["snapshot", "rollback", ONE, "--retract"])
        .success();
    apt.update().success();
    apt.install(&["changing"]).code(100).stderr_has("404");
    let fresh = world.client();
    fresh.update().success();
    fresh.install(&["changing"]).success();
    assert_eq!(fresh.installed("changing").as_deref(), Some("1"));
    world.advance(ONE);
    apt.update().success();
    apt.install(&["changing"]).success();
    assert_eq!(apt.installed("changing").as_deref(), Some("3"));
}

#[test]
fn r5_control_without_help_what_they_saw_is_gone() {
    for world in [&mut Plain::new() as &mut dyn World, &mut Ours::without_grace()] {
        an_installation_after_a_rollback(world).1.code(100).stderr_has("404");
    }
}

/// R6: a client has read half of a file when production moves to a state that has other bytes at the same path.
/// `act` moves it. Gives the download.
fn a_download_across_a_move<W: World>(world: &mut W, act: impl FnOnce(&mut W)) -> (AptRoot, Ran) {
    world.next_with(ONE, &[large(1)]);
    world.switch(&[ONE]);
    let apt = world.client();
    apt.update().success();
    let path = "pool/main/l/large/large_1_amd64.deb";
    let held = world.gate().hold_answer(&format!("*/{path}"), 100_000);
    let download = apt.apt_get(&["install", "--yes", "--download-only", "large"]).spawn();
    held.arrived();
    let open = world
        .root()
        .join(ONE)
        .join("current")
        .canonicalize()
        .expect("production");
    assert!(world.nginx().has_open(&open.join(path)), "nginx is in the middle of it");
    world.next_with(ONE, &[large(2)]);
    act(world);
    held.let_go();
    (apt, download.wait())
}

/// The same version of a package with other bytes, as a careless vendor might build it again.
fn large(seed: u8) -> Deb {
    let mut data = noise(LARGE);
    for byte in &mut data {
        *byte ^= seed;
    }
    Deb::new("large", "1", "amd64").file("usr/share/large/data", data)
}

#[test]
fn r6_a_file_that_is_half_read_stays_what_it_was() {
    let mut world = Ours::by_default();
    let (apt, download) = a_download_across_a_move(&mut world, |world| world.switch(&[ONE]));
    // apt has compared the digest.
    download.success();
    assert_eq!(apt.downloaded().len(), 1);
    apt.forget();
    apt.update().success();
    apt.install(&["large"]).success();
}

#[test]
fn r6_control_a_file_that_is_written_over_is_spoilt() {
    let write_over = |world: &mut Plain| {
        let path = "pool/main/l/large/large_1_amd64.deb";
        fs::copy(world.state(ONE, 2).join(path), world.state(ONE, 1).join(path)).expect("own files");
    };
    let (_, download) = a_download_across_a_move(&mut Plain::new(), write_over);
    download.code(100);
}

/// R8: production moves to a state whose `InRelease` has the size and the time of the old one, while a client that has the
/// old one asks whether it changed. Gives the number of the new state.
fn an_update_between_twins(world: &mut dyn World) -> (AptRoot, i64) {
    world.advance(ONE);
    let apt = world.client();
    apt.update().success();
    // Signatures differ by a few bytes now and then.
    let stock = world.stock(ONE);
    let size = stock.size();
    stock.pace = 0;
    stock.publish_until(|stock| stock.size() == size);
    let number = stock.number();
    world.prepare(ONE);
    let held = world.gate().hold("*/InRelease");
    let update = begin_update(&apt);
    held.arrived();
    world.switch(&[ONE]);
    held.let_go();
    update.wait().success();
    (apt, number)
}

#[test]
fn r8_a_state_of_the_same_size_and_time_is_never_not_modified() {
    let mut world = Ours::by_default();
    let (apt, number) = an_update_between_twins(&mut world);
    assert_eq!(candidate(&apt), number);
    apt.install(&["changing"]).success();
    let statuses: Vec<u16> = releases(&world);
    assert_eq!(statuses, [200, 200], "both updates got an InRelease");
    apt.update().success();
    assert_eq!(releases(&world), [304], "and now it is really not modified");
}

/// How `InRelease` was answered since the last call.
fn releases(world: &dyn World) -> Vec<u16> {
    let passed = world.gate().take_passed();
    let releases = passed.iter().filter(|passed| passed.path.ends_with("/InRelease"));
    releases.map(|passed| passed.status).collect()
}

#[test]
fn r8_control_without_help_the_client_stays_where_it_was() {
    let mut world = Plain::new();
    let (apt, _) = an_update_between_twins(&mut world);
    assert_eq!(releases(&world), [200, 304]);
    for _ in 0..2 {
        apt.update().success();
        assert_eq!(candidate(&apt), 1, "for ever");
    }
}

/// Reads everything in production, so that the kernel has all it can cache, and what the next state has and this one
/// has not.
fn warm(world: &Ours, next: i64) {
    let current = world.root().join(ONE).join("current");
    for path in tree(&current).keys() {
        let answer = fetch(&world.url(&path.to_string_lossy())).expect("an answer");
        assert!(matches!(answer.status, 200 | 301 | 403), "{}", path.display());
    }
    assert!(!current.join(package(next)).exists());
    assert_eq!(fetch(&world.url(&package(next))).expect("an answer").status, 404);
}

#[test]
fn r9_warm_kernel_caches_answer_nothing_old() {
    let mut world = Ours::by_default();
    world.advance(ONE);
    let apt = world.client();
    apt.update().success();
    for next in 2..6 {
        let release = world.url(&format!("dists/{SUITE}/InRelease"));
        let old = fetch(&release).expect("an answer");
        warm(&world, next);
        world.next(ONE);
        world.switch(&[ONE]);
        let known = old.header("last-modified").expect("nginx sends it");
        let new = fetch_with(&release, &[("If-Modified-Since", known)]).expect("an answer");
        assert_eq!(new.status, 200);
        assert!(new.text().contains("BEGIN PGP SIGNED MESSAGE") && new.body != old.body);
        assert_eq!(fetch(&world.url(&package(next))).expect("an answer").status, 200);
        apt.update().success();
        assert_eq!(candidate(&apt), next);
        apt.install(&["changing"]).success();
        assert_eq!(apt.installed("changing"), Some(next.to_string()));
    }
}

/// R9 with an nginx that keeps descriptors: it goes on giving the old `InRelease`. Gives the installation of what that
/// promises, by a client that comes after the move.
fn an_installation_from_what_nginx_kept(config: Config) -> (i64, Ran) {
    let mut world = Ours::of(&[(ONE, SuiteSpec::new(SUITE))], config, OPEN_FILE_CACHE);
    world.advance(ONE);
    let release = world.url(&format!("dists/{SUITE}/InRelease"));
    let early = world.client();
    early.update().success();
    let old = fetch(&release).expect("an answer").body;
    world.advance(ONE);
    // This is how stale it looks, and why the other test can be believed.
    assert!(fetch(&release).expect("an answer").body == old, "nginx kept it");
    let late = world.client();
    late.update().success();
    let seen = candidate(&late);
    (seen, late.install(&["changing"]))
}

#[test]
fn r9_what_nginx_keeps_is_old_but_whole() {
    let (seen, install) = an_installation_from_what_nginx_kept(Config::new());
    assert_eq!(seen, 1);
    install.success();
}

#[test]
fn r9_control_without_help_what_nginx_keeps_cannot_be_installed() {
    let (seen, install) = an_installation_from_what_nginx_kept(no_grace());
    assert_eq!(seen, 1);
    install.code(100).stderr_has("404");
}

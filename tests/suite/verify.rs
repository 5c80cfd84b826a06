//! Damage to what is stored: found, kept from readers, and repaired.
//!
//! Owns the attacks on single files of the cache (L14 to L19 of `docs/reliability.md`), and what becomes of each. What readers of a
//! mount see of it is tested in `tests/system/verify.rs`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use mirrorctl::model::Digest;
use mirrorctl_testkit::{Config, Fault, Mirror, Program, Signal, Upstream};
use serde_json::Value;

use crate::site::{SUITE, Site, deb, refused};

/// The exit code of damage.
const DAMAGED: i32 = 9;

/// A synced site, with its snapshot in production.
fn site() -> Site {
    let site = Site::small();
    site.sync();
    let name = site.snapshots("debian").remove(0);
    site.run(&format!("snapshot publish debian {name}")).success();
    site
}

/// The path of a package in the archive, and its blob.
fn package(site: &Site, name: &str) -> (String, PathBuf) {
    let path = site.pool(name);
    let bytes = fs::read(site.archive.root().join(&path)).expect("a file");
    (path, site.blob(Digest::of(&bytes)))
}

/// Changes a byte in the middle of a file, which keeps its length and mode.
fn rot(blob: &Path) {
    let mut bytes = fs::read(blob).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    rewrite(blob, &bytes);
}

fn rewrite(blob: &Path, bytes: &[u8]) {
    fs::set_permissions(blob, fs::Permissions::from_mode(0o644)).expect("sets");
    fs::write(blob, bytes).expect("writes");
    fs::set_permissions(blob, fs::Permissions::from_mode(0o444)).expect("sets");
}

/// Asserts that `line` finds exactly this damage, and gives the report's part about it.
#[track_caller]
fn finds(site: &Site, line: &str, path: &str, fault: &str) -> Value {
    let ran = site.run(&format!("--json {line}")).code(DAMAGED);
    let document = ran.json();
    assert_eq!(document["error"]["kind"], "damaged", "{ran}");
    let damaged = document["damaged"].as_array().expect("a list");
    assert_eq!(damaged.len(), 1, "{ran}");
    let (found, snapshot) = (&damaged[0], &site.snapshots("debian")[0]);
    assert_eq!(
        (found["fault"].as_str(), found["files"][0]["path"].as_str()),
        (Some(fault), Some(path)),
        "{ran}"
    );
    assert_eq!(found["files"][0]["mirror"], "debian");
    let snapshots = found["files"][0]["snapshots"].as_array().expect("a list");
    assert!(snapshots.iter().any(|name| name == snapshot), "{ran}");
    assert_eq!(site.json("status")["cache"]["damaged_files"], 1);
    found.clone()
}

/// Asserts that nothing is wrong any more.
#[track_caller]
fn is_whole(site: &Site) {
    let report = site.json("verify --deep");
    assert_eq!(report["damaged"], serde_json::json!([]));
    assert_eq!(site.json("status")["cache"]["damaged_files"], 0);
    site.assert_whole();
}

/// Carries out an attack on the blob of a package, and has it found and repaired in each way that there is.
#[track_caller]
fn attack(line: &str, fault: &str, goes_aside: bool, spoil: impl Fn(&Path)) {
    // Repaired by itself, by a sync, and found by the very run that repairs.
    for repair in ["verify --repair", "sync", "verify --deep --repair"] {
        let site = site();
        let (path, blob) = package(&site, "bb");
        spoil(&blob);
        if repair != "verify --deep --repair" {
            let found = finds(&site, line, &path, fault);
            assert_eq!(found["aside"].is_string(), goes_aside, "{found}");
            // A second look says the same, and moves nothing more.
            finds(&site, line, &path, fault);
        }
        let ran = site.run(repair).success();
        if repair == "verify --repair" {
            assert!(
                ran.stdout
                    .contains(&format!("debian: {path} is whole again, fetched from")),
                "{ran}"
            );
        }
        assert_eq!(site.quarantined().len(), usize::from(goes_aside), "bad files are kept");
        is_whole(&site);
    }
}

#[test]
fn a_truncated_file_is_found_and_repaired() {
    attack("verify", "length", true, |blob| {
        let bytes = fs::read(blob).expect("a blob");
        rewrite(blob, &bytes[..bytes.len() - 1]);
    });
}

#[test]
fn a_rotted_file_is_found_and_repaired() {
    attack("verify --deep", "altered", true, rot);
    // A look at sizes alone does not see it.
    let site = site();
    rot(&package(&site, "bb").1);
    site.run("verify").success();
}

#[test]
fn a_deleted_file_is_found_and_repaired() {
    attack("verify", "missing", false, |blob| {
        fs::remove_file(blob).expect("removes");
    });
}

#[test]
fn whatever_has_taken_the_place_of_a_file_is_found_and_never_followed() {
    let elsewhere = tempfile::tempdir().expect("temporary directory");
    let target = elsewhere.path().join("target");
    attack("verify", "no-file", true, |blob| {
        fs::copy(blob, &target).expect("copies");
        fs::remove_file(blob).expect("removes");
        symlink(&target, blob).expect("links");
    });
    assert!(target.exists());
    attack("verify", "no-file", true, |blob| {
        fs::remove_file(blob).expect("removes");
        fs::create_dir(blob).expect("makes");
        fs::write(blob.join("within"), "").expect("writes");
    });
    attack("verify", "no-file", true, |blob| {
        fs::remove_file(blob).expect("removes");
        Program::new("mkfifo", "coreutils").arg(blob).run().success();
    });
}

#[test]
fn a_wrong_mode_is_told_and_mended_once_the_bytes_are_seen_to_be_right() {
    let site = site();
    let (_, blob) = package(&site, "bb");
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o666)).expect("sets");
    let ran = site.run("verify").code(DAMAGED);
    assert!(ran.stderr.contains("has a mode that it should not have"), "{ran}");
    assert_eq!(site.json("status")["cache"]["damaged_files"], 0, "its bytes are right");
    site.run("verify --repair").success();
    is_whole(&site);
    // Whoever could write to it may have: then the bytes are looked at, however quick the check.
    let mut bytes = fs::read(&blob).expect("a blob");
    bytes[0] ^= 1;
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o666)).expect("sets");
    fs::write(&blob, bytes).expect("writes");
    let (path, _) = package(&site, "bb");
    finds(&site, "verify", &path, "altered");
    site.run("verify --repair").success();
    is_whole(&site);
}

#[test]
fn what_is_nobodys_is_told_and_left_alone() {
    let site = site();
    let blobs = site.env.state_dir().join("blobs");
    let stray = site.blob(Digest::of(b"foreign"));
    fs::create_dir_all(stray.parent().expect("has one")).expect("makes");
    for path in [&stray, &blobs.join("notes")] {
        fs::write(path, "foreign").expect("writes");
    }
    let ran = site.run("verify").success();
    assert!(
        ran.stdout.contains("2 among the blobs are nobody's, and left alone"),
        "{ran}"
    );
    for line in ["verify --deep --repair", "gc --now"] {
        site.run(line).success();
        assert!(stray.exists() && blobs.join("notes").exists(), "{line}");
    }
}

#[test]
fn nothing_is_promoted_that_has_damaged_files_unless_somebody_insists() {
    let mut site = site();
    let old = site.snapshots("debian").remove(0);
    site.add(&deb("dd", "1", 2_000));
    site.sync();
    let new = site.snapshots("debian").remove(0);
    let (path, blob) = package(&site, "dd");
    rot(&blob);
    site.run("verify --deep").code(DAMAGED);
    let words = ["1 files of snapshot", "are damaged", "mirrorctl verify --repair"];
    refused(&site, &format!("snapshot publish debian {new}"), 4, &words);
    refused(&site, &format!("snapshot stage debian {new}"), 4, &words);
    let ran = site.run("snapshot create debian copy").success();
    assert!(ran.stdout.contains("1 files of it are damaged"), "{ran}");
    let tested = site.run(&format!("snapshot test debian {new}")).code(4);
    assert!(tested.stdout.contains(&format!("cache: {path} is damaged")), "{tested}");
    // What production has is whole, and can be moved to.
    site.run(&format!("snapshot stage debian {old}")).success();
    site.run(&format!("snapshot publish debian {new} --force")).success();
    site.run("verify --repair").success();
    site.run(&format!("snapshot stage debian {new}")).success();
    is_whole(&site);
}

/// Reading is by content: what the wanted bytes were called, and by which mirror they are listed, does not matter.
#[test]
fn bytes_come_from_whichever_mirror_has_them() {
    let mut site = site();
    let (path, blob) = package(&site, "bb");
    let other = Upstream::serve(site.archive.root());
    let key = site
        .env
        .key("again.asc", &site.archive.key().public_armored().expect("a key"));
    let second = Mirror::new("second", &other.url()).suites(&[SUITE]).key(&key);
    site.configure_all(Config::new().mirror(site.mirror("debian")).mirror(second));
    site.run("sync second").success();
    // Both have new lists by now, without the package.
    let file = site.archive.root().join(&path);
    let bytes = fs::read(&file).expect("a file");
    site.archive.remove(SUITE, "bb").expect("a suite");
    site.publish();
    fs::create_dir_all(file.parent().expect("has one")).expect("makes");
    fs::write(&file, bytes).expect("writes");
    site.upstream.fault("pool/*", Fault::Status(404));
    rot(&blob);
    other.take_requests();
    let report = site.json("verify --deep --repair");
    assert_eq!(report["repaired"][0]["from"], "second");
    assert_eq!(report["repaired"][0]["files"][0]["path"], path.as_str());
    assert_eq!(other.requests().len(), 1, "nothing but the file was asked for");
    is_whole(&site);
}

#[test]
fn an_index_is_asked_for_by_its_hash_first_as_its_name_has_other_bytes_by_now() {
    let mut site = site();
    let index = "dists/bookworm/main/binary-amd64/Packages.xz";
    let bytes = fs::read(site.archive.root().join(index)).expect("an index");
    let blob = site.blob(Digest::of(&bytes));
    site.add(&deb("dd", "1", 2_000));
    rot(&blob);
    finds(&site, "verify --deep", index, "altered");
    site.upstream.take_requests();
    site.run("verify --repair").success();
    let asked = site.upstream.requests().remove(0).path;
    assert!(asked.contains("/by-hash/SHA256/"), "{asked}");
    is_whole(&site);
}

#[test]
fn what_upstream_has_no_more_is_told_with_the_snapshots_that_need_it() {
    let mut site = site();
    let old = site.snapshots("debian").remove(0);
    let (path, blob) = package(&site, "bb");
    site.archive.remove(SUITE, "bb").expect("a suite");
    site.publish();
    site.upstream.fault("*bb_1*", Fault::Status(404));
    site.sync();
    let new = site.snapshots("debian").remove(0);
    fs::remove_file(&blob).expect("removes");
    let ran = site.run("verify --repair").code(DAMAGED);
    for words in [
        &*format!("debian: {path} is missing (in snapshot {old}); debian: upstream has it no more"),
        "mirrorctl snapshot delete",
    ] {
        assert!(ran.stderr.contains(words), "no {words:?} in {ran}");
    }
    // As it says: the snapshot goes, and nothing is damaged any more.
    site.run(&format!("snapshot publish debian {new}")).success();
    site.run(&format!("snapshot delete debian {old} --force")).success();
    site.run("verify").success();
    site.run("gc --now").success();
    is_whole(&site);
}

#[test]
fn a_damaged_manifest_is_outlived() {
    let mut site = site();
    let files: std::collections::BTreeSet<PathBuf> = site
        .newest()
        .into_values()
        .map(|(digest, _)| site.blob(digest))
        .collect();
    let manifest = site
        .blobs()
        .into_iter()
        .find(|blob| !files.contains(blob))
        .expect("a manifest");
    rot(&manifest);
    let ran = site.run("verify --deep --repair").code(DAMAGED);
    assert!(
        ran.stderr.contains("debian: a manifest") && ran.stderr.contains("sync --force"),
        "{ran}"
    );
    let old = site.snapshots("debian").remove(0);
    site.add(&deb("dd", "1", 2_000));
    site.run("sync").success();
    let new = site.snapshots("debian").remove(0);
    site.run(&format!("snapshot publish debian {new}")).success();
    site.run(&format!("snapshot delete debian {old} --force")).success();
    site.run("gc --now").success();
    is_whole(&site);
}

#[test]
fn only_the_mirrors_that_are_named_are_checked() {
    let site = site();
    let (path, blob) = package(&site, "bb");
    let second = Mirror::new("second", &site.upstream.url())
        .suites(&[SUITE])
        .set("no_pgp_check", "true");
    site.configure_all(Config::new().mirror(site.mirror("debian")).mirror(second));
    rot(&blob);
    let report = site.json("verify second --deep");
    assert_eq!(
        (&report["checked_files"], &report["mirrors"][0]),
        (&0.into(), &"second".into())
    );
    finds(&site, "verify debian --deep", &path, "altered");
    site.run("verify second").success();
    site.run("verify nosuch").code(2);
}

#[test]
fn a_deep_check_that_was_stopped_goes_on_where_it_stopped() {
    let site = site();
    let all = site.blobs().len();
    for signal in [Signal::Interrupt, Signal::Kill] {
        let mut running = site.env.spawn(&["--json", "verify", "--deep", "--max-rate", "2KiB"]);
        let begun = || site.json("status")["cache"]["hashed_again"]["oldest"].is_string();
        running.wait_until("some files are done", |_| begun());
        running.signal(signal);
        let ran = running.wait();
        if signal == Signal::Interrupt {
            assert_eq!(ran.status.code(), Some(130), "{ran}");
            assert_eq!(ran.json()["complete"], false, "{ran}");
        }
    }
    let report = site.json("verify --deep");
    assert!(report["went_on"].is_string(), "{report}");
    assert!(
        report["checked_files"].as_u64().expect("a number") < all as u64,
        "{report}"
    );
    assert_eq!(report["hashed_again"]["percent"], 100);
    assert_eq!(site.json("status")["cache"]["hashed_again"], report["hashed_again"]);
    let report = site.json("verify --deep");
    assert_eq!(
        (&report["went_on"], &report["checked_files"]),
        (&Value::Null, &all.into())
    );
}

/// Each of these may be at any step while the others are.
#[test]
fn checks_run_beside_syncs_and_collections() {
    let mut site = site();
    for round in 0..6 {
        for name in ["aa", "bb", "cc"] {
            let changed = deb(name, &format!("2.{round}"), 2_000);
            site.archive.add(SUITE, "main", &changed).expect("a package");
        }
        site.publish();
        let (_, blob) = package(&site, if round % 2 == 0 { "aa" } else { "bb" });
        if blob.exists() {
            rot(&blob);
        }
        let lines = [
            &["sync"][..],
            &["verify", "--deep"],
            &["gc", "--now"],
            &["verify", "--deep", "--repair"],
        ];
        let running: Vec<_> = lines.iter().map(|line| site.env.spawn(line)).collect();
        for (running, line) in running.into_iter().zip(lines) {
            let ran = running.wait();
            let code = ran.status.code().expect("no signal");
            // Syncs and repairs may find the mirror busy; a collection the lock of another's.
            assert!([0, 3, DAMAGED].contains(&code), "{line:?}: {ran}");
        }
        site.sync();
        site.run("verify --deep --repair").success();
        is_whole(&site);
        assert!(site.leftovers().is_empty(), "{:?}", site.leftovers());
    }
}

#[test]
fn who_may_only_read_is_told_so_and_a_state_that_is_not_there_is_named() {
    let site = Site::small();
    let ran = site.run("verify").code(1);
    assert!(ran.stderr.contains("nothing was synced yet"), "{ran}");
}

//! Collections of garbage: what they foretell, and how far they go.
//!
//! Owns the tests of `mirrorctl gc` by itself. What it does beside other commands is `operators`'s.

use std::fs;
use std::path::PathBuf;

use mirrorctl::catalog::Catalog;
use mirrorctl::model::{BlobFacts, Digest};
use mirrorctl_testkit::now;
use serde_json::{Value, json};

use crate::site::{Site, deb, text};

/// A site with one snapshot, and a deleted one whose package nothing else has.
fn site() -> Site {
    let mut site = Site::small();
    site.add(&deb("old", "1", 50_000));
    let old = text(&site.sync()["snapshot"]["name"]);
    site.archive.remove(crate::site::SUITE, "old").expect("a suite");
    site.add(&deb("new", "1", 3_000));
    site.configure_all(
        mirrorctl_testkit::Config::new()
            .mirror(site.mirror("debian"))
            .set_in("gc", "auto", "false"),
    );
    site.sync();
    site.run(&format!("snapshot delete debian {old}")).success();
    site
}

/// Puts so many blobs that nothing needs into the cache, each of so many bytes; sparse, so that they take no room.
fn add_unneeded(site: &Site, count: u64, size: u64) -> Vec<PathBuf> {
    let facts = |n: u64| BlobFacts {
        digest: Digest::of(format!("unneeded {size} {n}").as_bytes()),
        size,
        mtime: now(),
    };
    let blobs: Vec<BlobFacts> = (0..count).map(facts).collect();
    let paths: Vec<PathBuf> = blobs.iter().map(|blob| site.blob(blob.digest)).collect();
    for path in &paths {
        fs::create_dir_all(path.parent().expect("has one")).expect("makes");
        fs::File::create(path)
            .and_then(|file| file.set_len(size))
            .expect("writes");
    }
    let mut catalog = Catalog::open(&site.env.state_dir().join("catalog.db")).expect("opens");
    catalog.add_blobs(&blobs).expect("adds");
    paths
}

fn files(report: &Value, member: &str) -> u64 {
    report[member]["files"].as_u64().expect("a number")
}

#[test]
fn what_a_dry_run_foretells_happens() {
    let site = site();
    let before = site.blobs();
    // Nobody has noticed anything yet.
    let told = site.json("gc --dry-run");
    let (marked, bytes) = (files(&told, "marked"), &told["marked"]["bytes"]);
    assert!(marked >= 2 && bytes.as_u64() > Some(1_000), "{told}");
    assert_eq!((files(&told, "removed"), &told["waiting"]), (0, &told["marked"]));
    assert_eq!(told["needs_force"], false);
    assert_eq!(told["all_at"], text(&told["next_at"]));
    site.run("gc --dry-run")
        .success()
        .stdout_has("would be found to be unused now")
        .stdout_has("removed 1d after they became so: at 20");

    let at_once = site.json("gc --now --dry-run");
    assert!(files(&at_once, "removed") >= marked, "{at_once}");
    assert_eq!((files(&at_once, "waiting"), &at_once["next_at"]), (0, &Value::Null));
    assert_eq!(site.blobs(), before, "it changes nothing");
    assert_eq!(site.json("gc --now --dry-run"), at_once);

    let done = site.json("gc");
    assert_eq!((&done["marked"], &done["waiting"]), (&told["marked"], &told["waiting"]));
    assert_eq!((files(&done, "removed"), &done["needs_force"]), (0, &json!(false)));
    let again = site.json("gc --dry-run");
    assert_eq!((files(&again, "marked"), &again["waiting"]), (0, &told["waiting"]));
    assert_eq!(again["all_at"], done["all_at"], "its grace goes on");

    let inventories = fs::read_dir(site.env.state_dir().join("inventories"))
        .expect("exists")
        .count();
    let done = site.json("gc --now");
    assert_eq!(done["removed"], at_once["removed"]);
    let left = fs::read_dir(site.env.state_dir().join("inventories"))
        .expect("exists")
        .count();
    let gone = before.len() - site.blobs().len() + inventories - left;
    assert_eq!(files(&done, "removed"), gone as u64);
    assert_eq!(
        site.json("gc --now --dry-run")["removed"],
        json!({ "files": 0, "bytes": 0 })
    );
    site.assert_whole();
}

#[test]
fn more_than_half_of_the_cache_goes_by_force_only() {
    for (count, size) in [(1_001, 1), (2, (1 << 29) + 1)] {
        let mut site = site();
        site.run("gc --now").success();
        let unneeded = add_unneeded(&site, count, size);
        let there = || unneeded.iter().filter(|path| path.exists()).count() as u64;
        let told = site.json("gc --now --dry-run");
        assert_eq!((files(&told, "removed"), &told["needs_force"]), (count, &json!(true)));
        site.run("gc --now --dry-run").success().stdout_has("needs --force");
        let refused = site.run("--json gc --now").code(4).json();
        assert_eq!(refused["error"]["kind"], "refused");
        let message = text(&refused["error"]["message"]);
        assert!(
            message.contains(&format!("{count} of ")) && message.contains("nothing was removed"),
            "{message}"
        );
        site.run("gc --now").code(4).stderr_has("mirrorctl gc --force");
        // The sweep of a sync finds them when their grace has ended. It leaves them and says so, and the sync is good.
        condemn_long_ago(&site);
        site.configure(|mirror| mirror);
        site.add(&deb("another", "1", 1_000));
        site.run("sync")
            .success()
            .stderr_has("Unused files were not removed: more than half of the cache")
            .stderr_has("mirrorctl gc --force");
        site.run("gc").code(4);
        // What is not the cache's is no reason, nor is it touched by a refusal.
        assert_eq!(there(), count);
        assert_eq!(files(&site.json("gc --force"), "removed"), count);
        assert_eq!(there(), 0);
        site.assert_whole();
    }
}

/// Has everything that nothing needs be condemned two days ago.
fn condemn_long_ago(site: &Site) {
    let mut catalog = Catalog::open(&site.env.state_dir().join("catalog.db")).expect("opens");
    catalog.correct_times(now().plus(-200_000)).expect("corrects");
    catalog.condemn_unused(now().plus(-200_000)).expect("marks");
}

#[test]
fn half_of_the_cache_is_not_too_much_and_little_never_is() {
    let site = site();
    site.run("gc --now").success();
    // All that nothing needs, by far the most of it, and still little.
    add_unneeded(&site, 1_000, 1);
    assert_eq!(files(&site.json("gc --now"), "removed"), 1_000);
    site.assert_whole();
}

#[test]
fn only_what_mirrorctl_made_is_removed() {
    let site = site();
    let state = site.env.state_dir();
    let digest = Digest::of(b"somebody's").to_string();
    let strays = [
        state.join("notes"),
        state.join("blobs/notes"),
        state.join("blobs/00/notes"),
        state.join(format!("blobs/{}/{digest}", &digest[..2])),
        state.join("blobs/zz/file"),
        state.join("tmp/notes"),
        state.join("inventories/notes"),
        state.join("locks/notes"),
    ];
    for stray in &strays {
        fs::create_dir_all(stray.parent().expect("has one")).expect("makes");
        fs::write(stray, "somebody's").expect("writes");
    }
    site.run("gc --now --force").success();
    for stray in &strays {
        assert_eq!(fs::read(stray).expect("is there"), b"somebody's", "{}", stray.display());
    }
    site.assert_whole();
}

#[test]
fn deleting_and_pruning_remove_no_file() {
    let mut site = Site::small();
    for name in ["one", "two", "three"] {
        site.add(&deb(name, "1", 5_000));
        site.sync();
    }
    let before = site.blobs();
    let oldest = site.snapshots("debian").pop().expect("three");
    site.run(&format!("snapshot delete debian {oldest}")).success();
    site.run("snapshot prune --keep-last 1 --keep-within 0").success();
    assert_eq!((site.snapshots("debian").len(), site.blobs()), (1, before));
}

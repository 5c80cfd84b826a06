//! What operators do while programs read the mount.
//!
//! Owns what needs a mount; commands that race for the same rows are the suite's.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::site::{Site, only};

fn run(site: &Site, line: &str) -> mirrorctl_testkit::Ran {
    site.env.mirrorctl(&line.split_whitespace().collect::<Vec<_>>())
}

/// L25: whoever reads a file of a snapshot that is deleted, and collected at once, reads it to its end; whoever comes later finds
/// nothing.
#[test]
fn files_of_a_deleted_snapshot_are_read_to_their_end() {
    let (site, names) = Site::with_snapshots(3);
    let mount = site.mount();
    site.publish("debian", &names[2]);
    let path = site.served(&format!("debian/snapshots/{}/{}", names[0], only(1)));
    let whole = fs::read(&path).expect("is served");
    let mut open = File::open(&path).expect("is served");
    let mut begun = vec![0; 1_000];
    open.read_exact(&mut begun).expect("reads");
    run(&site, &format!("snapshot delete debian {}", names[0])).success();
    let gone = File::open(&path).expect_err("is gone");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    // The mount holds it, whatever the grace.
    let collected = site.env.mirrorctl(&["--json", "gc", "--now"]).success().json();
    assert_ne!(collected["removed"]["files"], 0, "{collected}");
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).expect("reads on");
    begun.append(&mut rest);
    assert!(begun == whole, "other bytes");
    drop(open);
    mount.stop().success();
    let collected = site.env.mirrorctl(&["--json", "gc", "--now"]).success().json();
    assert_eq!(collected["held_open"]["files"], 0, "{collected}");
}

/// L13.
#[test]
fn a_state_that_others_could_have_made_is_refused() {
    let (site, _) = Site::with_snapshots(1);
    let state = site.env.state_dir();
    let catalog = state.join("catalog.db");
    let mode = |bits: u32| fs::set_permissions(&state, fs::Permissions::from_mode(bits)).expect("own directory");
    mode(0o2777);
    for line in ["sync", "gc", "snapshot create debian x"] {
        run(&site, line)
            .code(4)
            .stderr_has("can be written by every user")
            .stderr_has("chmod o-w");
    }
    run(&site, "snapshot list").success();
    mode(0o2775);
    let elsewhere = site.env.root().join("elsewhere.db");
    fs::rename(&catalog, &elsewhere).expect("moves");
    symlink(&elsewhere, &catalog).expect("links");
    for line in ["sync", "gc", "snapshot create debian x"] {
        run(&site, line).code(4).stderr_has("is not a plain file");
    }
    run(&site, "snapshot list").failure();
    fs::remove_file(&catalog).expect("is there");
    fs::rename(&elsewhere, &catalog).expect("moves");
    run(&site, "sync").success();
}

//! What the kernel has in memory of mounted files: one copy, whatever path leads to it, which a promote leaves alone.
//!
//! Owns the proof by mincore(2), which tells of pages without reading any, and by what the daemon has read meanwhile.

use std::fs;

use mirrorctl_testkit::{Nginx, fetch, pages_in_memory};

use crate::site::{COMMON, RELEASE, Site, only, read};

/// More than the requests take that reach the daemon while names are looked up, and far less than a package.
const LITTLE: u64 = 30_000;

/// Bytes that a process has read by system calls.
fn read_by(process: u32) -> u64 {
    let counters = fs::read_to_string(format!("/proc/{process}/io")).expect("a running child");
    let read = counters.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|number| number.parse().ok()).expect("a counter")
}

#[test]
fn pointers_and_snapshots_share_one_copy_which_a_promote_leaves_alone() {
    let (site, names) = Site::with_snapshots(3);
    let [old, new, other] = &names[..] else {
        panic!("three snapshots")
    };
    site.publish("debian", old);
    site.stage("debian", new);
    let mut mount = site.mount();
    let daemon = mount.worker();
    let doors = ["current".to_owned(), "staging".to_owned()].into_iter();
    let doors: Vec<String> = doors
        .chain(names.iter().map(|name| format!("snapshots/{name}")))
        .collect();
    let in_memory = |door: &str, file: &str| pages_in_memory(&site.served(&format!("debian/{door}/{file}")));
    let (_, pages) = in_memory("current", COMMON);
    assert!(pages > 70, "large enough to mean something: {pages}");
    let everywhere = || doors.iter().map(|door| in_memory(door, COMMON)).collect::<Vec<_>>();
    assert_eq!(everywhere(), [(0, pages); 5], "the control: nobody has read it");

    let before = read_by(daemon);
    let bytes = read(&site.served(&format!("debian/snapshots/{other}/{COMMON}")));
    let took = read_by(daemon) - before;
    assert!(
        took >= bytes.len() as u64,
        "the control: a read by the daemon is seen ({took})"
    );
    assert_eq!(everywhere(), [(pages, pages); 5], "read in one snapshot");

    let nginx = Nginx::serve(&site.env.mount_dir());
    let served_from_memory = |when: &str| {
        let before = read_by(daemon);
        for pointer in ["current", "staging"] {
            let answer = fetch(&format!("{}/debian/{pointer}/{COMMON}", nginx.url())).expect("an answer");
            assert!(answer.status == 200 && answer.body == bytes, "{pointer} {when}");
        }
        let took = read_by(daemon) - before;
        assert!(took < LITTLE, "{when}: the daemon read {took} bytes");
    };
    served_from_memory("before the promote");
    // What differs between the snapshots is its own file in each.
    read(&site.served(&format!("debian/current/{RELEASE}")));
    read(&site.served(&format!("debian/current/{}", only(1))));
    site.env.mirrorctl(&["snapshot", "promote", "debian"]).success();
    assert_eq!(everywhere(), [(pages, pages); 5], "after the promote");
    served_from_memory("after the promote");
    assert_eq!(in_memory("current", RELEASE).0, 0, "the new Release file");
    assert_eq!(
        in_memory("current", &only(2)).0,
        0,
        "a package that the promote brought"
    );
    let kept = in_memory(&format!("snapshots/{old}"), &only(1));
    assert_eq!(kept.0, kept.1, "what production had shows in its snapshot");
}

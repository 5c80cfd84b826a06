//! Snapshots that get another name while they are served.
//!
//! Owns what readers of the mount see of it: the new name at once, nothing of the old one, and the same tree.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use mirrorctl_testkit::Program;

use crate::site::{RELEASE, Site, inode, names, read, tree};

/// The snapshot's name, as the directory at `path` says.
fn attribute(site: &Site, path: &str) -> String {
    let getfattr = Program::new("getfattr", "attr").args(["--only-values", "--name", "user.mirrorctl.snapshot"]);
    getfattr.arg(site.served(path)).run().success().stdout
}

/// S6, S18 and S19.
#[test]
fn a_renamed_snapshot_is_found_by_its_new_name_at_once() {
    let (site, made) = Site::with_snapshots(2);
    let _mount = site.mount();
    site.publish("debian", &made[0]);
    let place = |name: &str| site.served(&format!("debian/snapshots/{name}"));
    let is_absent = |name: &str| {
        let found = std::fs::symlink_metadata(place(name));
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    // Everything is known to the kernel by its old name, and to be absent by the new ones.
    let (whole, door, current) = (
        tree(&place(&made[0])),
        inode(&place(&made[0])),
        inode(&site.served("debian/current")),
    );
    assert_eq!(names(&site.served("debian/snapshots")), made);
    assert!(["release", "aa", "zz"].iter().all(|name| is_absent(name)));
    assert_eq!(attribute(&site, "debian/current"), made[0]);
    let held = File::open(place(&made[0])).expect("a directory");

    let mut name = made[0].clone();
    for new in ["release", "aa", "zz", "release"] {
        site.env
            .mirrorctl(&["snapshot", "rename", "debian", &name, new])
            .success();
        let mut expected = vec![new.to_owned(), made[1].clone()];
        expected.sort();
        assert_eq!(names(&site.served("debian/snapshots")), expected);
        assert!(is_absent(&name), "{name} after {new}");
        assert_eq!(inode(&place(new)), door, "it is the same door");
        for path in ["debian/current", &format!("debian/snapshots/{new}")] {
            assert_eq!(attribute(&site, path), new, "{path}");
        }
        new.clone_into(&mut name);
    }
    assert_eq!(tree(&place("release")), whole);
    assert_eq!(inode(&site.served("debian/current")), current, "no pointer has moved");
    let within = format!("/proc/self/fd/{}/{RELEASE}", held.as_raw_fd());
    assert_eq!(read(within.as_ref()), read(&place("release").join(RELEASE)));

    // Two that change their names are never taken for each other.
    let second = tree(&place(&made[1]));
    for (from, to) in [("release", "other"), (&made[1], "release"), ("other", &made[1])] {
        site.env
            .mirrorctl(&["snapshot", "rename", "debian", from, to])
            .success();
    }
    assert_eq!((tree(&place("release")), tree(&place(&made[1]))), (second, whole));
    assert_eq!(attribute(&site, "debian/current"), made[1]);
}

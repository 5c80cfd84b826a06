//! Each data path, set by an operator and served by the program itself.
//!
//! Owns what holds for all of them from the outside: the same bytes, promotes that show at once, and damage that is an error. What the
//! kernel does with each is the mount crate's matter.

use mirrorctl_testkit::{Nginx, Program, fetch};

use crate::site::{RELEASE, Site, names, read, tree};

#[test]
fn every_data_path_serves_the_same_and_follows_promotes() {
    let (site, snapshots) = Site::with_snapshots(2);
    let [old, new] = &snapshots[..] else {
        panic!("two snapshots")
    };
    site.publish("debian", old);
    let expected = {
        let _mount = site.mount();
        [old, new].map(|name| tree(&site.served(&format!("debian/snapshots/{name}"))))
    };
    assert_ne!(expected[0], expected[1]);
    for data in ["auto", "no-open", "keep-cache", "passthrough"] {
        let config = site.config(1).set_in("mount", "data", &format!("\"{data}\""));
        site.env.configure(config.set_in("mount", "memory", "\"1MiB\""));
        let checked = site.env.mirrorctl(&["check", "config"]).success();
        assert!(
            checked.stdout.contains(&format!("read by {data}, listings in up to 1")),
            "{checked}"
        );
        let mount = site.mount();
        let nginx = Nginx::serve(&site.env.mount_dir());
        for (name, expected) in [new, old].into_iter().zip([&expected[1], &expected[0]]) {
            let current = site.served("debian/current");
            tree(&current);
            site.publish("debian", name);
            assert!(tree(&current) == *expected, "{data} {name}");
            let release = fetch(&format!("{}/debian/current/{RELEASE}", nginx.url())).expect("an answer");
            assert!(release.body == read(&current.join(RELEASE)), "{data} {name}");
        }
        drop(nginx);
        mount.stop().success();
    }
}

/// The kernel offers passthrough to everybody who may mount, and refuses it to who has that right among his own only.
#[test]
fn a_data_path_that_is_not_allowed_is_refused_and_no_other_taken_in_its_place() {
    let site = Site::new(&["debian"]);
    site.env
        .configure(site.config(1).set_in("mount", "data", "\"passthrough\""));
    Program::new("unshare", "util-linux")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(site.env.binary())
        .arg("--config")
        .arg(site.env.config_path())
        .args(["mount", "--background"])
        .env("MIRRORCTL_RUN_DIR", site.env.run_dir())
        .run()
        .code(1)
        .stderr_has("the kernel refuses the data path passthrough")
        .stderr_has("set [mount] data to \"auto\"");
    assert_eq!(names(&site.env.mount_dir()), [""; 0], "nothing is left mounted");
    assert_eq!(names(&site.env.run_dir()), ["mount.log"]);
}

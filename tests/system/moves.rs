//! Environments, moves of several mirrors, and the way back, as the mount and APT see them.
//!
//! Owns what readers see of these commands; what is recorded of them is the other suite's. That no reader is disturbed by a move
//! is tested in `promoting`.

use std::path::Path;

use mirrorctl_testkit::{AptRoot, Config, Nginx, Program};

use crate::site::{COMMON, RELEASE, SUITE, Site, inode, mtime, names, only, read, tree};

/// The name of the snapshot behind a directory.
fn snapshot(directory: &Path) -> String {
    let getfattr = Program::new("getfattr", "attr").args(["--only-values", "--name", "user.mirrorctl.snapshot"]);
    getfattr.arg(directory).run().success().stdout
}

/// A site of these mirrors in the group `all`, each with the environment `qa` and two snapshots, the names of which come
/// oldest first.
fn site(mirrors: &[&str]) -> (Site, Vec<Vec<String>>) {
    let mut site = Site::new(mirrors);
    let settings = site
        .sources
        .iter()
        .map(|source| source.settings().set("environments", "[\"qa\"]"));
    let config = settings.fold(Config::new(), Config::mirror);
    let members = serde_json::Value::from(mirrors).to_string();
    site.env.configure(config.set_in("groups", "all", &members));
    let snapshots = mirrors
        .iter()
        .map(|mirror| vec![site.next_snapshot(mirror), site.next_snapshot(mirror)])
        .collect();
    (site, snapshots)
}

#[test]
fn an_environment_is_a_directory_like_the_others() {
    let (site, snapshots) = site(&["debian"]);
    let [old, new] = &snapshots[0][..] else { panic!("two") };
    let _mount = site.mount();
    let of = |name: &str| tree(&site.served(&format!("debian/snapshots/{name}")));
    let (mirror, qa) = (site.served("debian"), site.served("debian/qa"));
    let run = |line: &str| {
        site.env
            .mirrorctl(&line.split_whitespace().collect::<Vec<_>>())
            .success()
    };
    assert!(!qa.exists(), "and the kernel remembers that");
    run(&format!("snapshot publish debian {old} --to qa"));
    assert_eq!(names(&mirror), ["at", "qa", "snapshots"]);
    assert_eq!((tree(&qa), snapshot(&qa)), (of(old), old.clone()));
    let (door, time) = (inode(&qa), mtime(&qa.join(RELEASE)));
    run(&format!("snapshot publish debian {new} --to qa"));
    assert_eq!((tree(&qa), snapshot(&qa)), (of(new), new.clone()));
    assert_ne!(inode(&qa), door, "each move is a door of its own");
    assert!(mtime(&qa.join(RELEASE)) > time, "a serial time, as below every pointer");
    run("snapshot promote debian --from qa --to staging");
    run("snapshot promote debian");
    assert_eq!(tree(&site.served("debian/current")), of(new));
    run("snapshot rollback debian --of qa");
    assert_eq!(tree(&qa), of(old));
    assert_eq!(tree(&site.served("debian/current")), of(new), "the others stay");
    assert_eq!(
        inode(&qa.join(COMMON)),
        inode(&site.served("debian/current").join(COMMON))
    );
    // Not configured any more, and there all the same.
    site.configure(1);
    run("status").stdout_has("not configured any more");
    assert_eq!(tree(&qa), of(old));
}

#[test]
fn several_mirrors_go_back_as_one() {
    let mirrors = ["debian", "ubuntu", "vendor"];
    let (site, snapshots) = site(&mirrors);
    let _mount = site.mount();
    for number in 0..2 {
        let aims = mirrors
            .iter()
            .zip(&snapshots)
            .map(|(mirror, names)| format!("{mirror}={}", names[number]));
        let aims: Vec<String> = aims.collect();
        let words = ["snapshot", "publish"]
            .into_iter()
            .chain(aims.iter().map(String::as_str));
        site.env.mirrorctl(&words.collect::<Vec<_>>()).success();
    }
    let current = mirrors.map(|mirror| site.served(&format!("{mirror}/current")));
    let state = || {
        current
            .each_ref()
            .map(|place| (inode(place), mtime(&place.join(RELEASE))))
    };
    let before = state();
    site.env
        .mirrorctl(&["snapshot", "rollback", "all", "--dry-run"])
        .success();
    assert_eq!(state(), before);
    site.env.mirrorctl(&["snapshot", "rollback", "all"]).success();
    for ((mirror, place), names) in mirrors.iter().zip(&current).zip(&snapshots) {
        assert_eq!(snapshot(place), names[0]);
        let old = site.served(&format!("{mirror}/snapshots/{}", names[0]));
        assert_eq!(read(&place.join(RELEASE)), read(&old.join(RELEASE)));
    }
    for (now, before) in state().iter().zip(&before) {
        assert!(
            now.0 != before.0 && now.1 > before.1,
            "the time does not go back with the files"
        );
    }
    let moved = state();
    site.env.mirrorctl(&["snapshot", "rollback", "all"]).code(4);
    assert_eq!(state(), moved);
}

#[test]
fn a_rollback_that_is_not_visible_is_told_again_and_not_done_again() {
    let (site, snapshots) = site(&["debian"]);
    let mut mount = site.mount();
    for name in &snapshots[0] {
        site.publish("debian", name);
    }
    let current = site.served("debian/current");
    assert_eq!(snapshot(&current), snapshots[0][1]);
    mount.freeze();
    let again = format!("mirrorctl snapshot publish --to current debian={}", snapshots[0][0]);
    let ran = site.env.mirrorctl(&["snapshot", "rollback", "debian"]).code(7);
    ran.stdout_has("debian/current: ")
        .stderr_has("recorded, not yet visible")
        .stderr_has("do not roll back again")
        .stderr_has(&again)
        .stderr_lacks("repeating the command is safe");
    mount.thaw();
    let words: Vec<&str> = again.split(' ').skip(1).collect();
    site.env.mirrorctl(&words).success().stdout_has("already");
    assert_eq!(snapshot(&current), snapshots[0][0]);
}

#[test]
fn apt_does_as_the_rollback_says() {
    let (mut site, snapshots) = site(&["debian"]);
    let _mount = site.mount();
    for name in &snapshots[0] {
        site.publish("debian", name);
    }
    let nginx = Nginx::serve(&site.env.mount_dir());
    // APT wants a key's bare packets.
    let key = site.env.key(
        "debian.gpg",
        &site.sources[0].archive.key().public_binary().expect("a key"),
    );
    let machine = || {
        let apt = AptRoot::new();
        apt.source(&format!("{}/debian/current", nginx.url()), SUITE, &["main"], &key);
        apt.update().success();
        apt
    };
    let candidate = |apt: &AptRoot| apt.policy("changing").candidate;
    let apt = machine();
    assert_eq!(candidate(&apt).as_deref(), Some("2"));
    let back = site
        .env
        .mirrorctl(&["snapshot", "rollback", "debian", "--retract"])
        .success();
    back.stdout_has("keep its lists")
        .stdout_has("go on asking for its files, which are not reachable any more")
        .stdout_has("fails with 404 until a Release file newer than");
    apt.update().success();
    assert_eq!(candidate(&apt).as_deref(), Some("2"), "the newer lists stay");
    apt.download(&["changing"]).code(100).stderr_has("404");
    assert_eq!(
        candidate(&machine()).as_deref(),
        Some("1"),
        "who never saw them is not concerned"
    );
    let next = site.next_snapshot("debian");
    site.publish("debian", &next);
    apt.update().success();
    assert_eq!(candidate(&apt).as_deref(), Some("3"));
    apt.download(&["changing"]).success();
}

#[test]
fn an_environment_that_is_taken_out_is_gone_for_all_who_come_and_stays_for_who_is_inside() {
    let (site, snapshots) = site(&["debian", "other"]);
    let _mount = site.mount();
    let run = |line: &str| {
        site.env
            .mirrorctl(&line.split_whitespace().collect::<Vec<_>>())
            .success()
    };
    for (mirror, names) in ["debian", "other"].iter().zip(&snapshots) {
        for name in names {
            run(&format!("snapshot publish {mirror} {name} --to qa"));
        }
    }
    let qa = site.served("debian/qa");
    let lent = qa.join(only(1));
    // Everything is in the kernel's memory, and somebody has an open file and stands inside.
    let before = tree(&qa);
    assert!(lent.exists(), "of the publication before");
    let inside = std::fs::File::open(qa.join("dists")).expect("a directory");
    let release = std::fs::read(qa.join(RELEASE)).expect("readable");
    let time = mtime(&qa.join(RELEASE));
    run("snapshot unpublish all --of qa --force");
    for mirror in ["debian", "other"] {
        assert!(!site.served(&format!("{mirror}/qa")).exists(), "{mirror}");
        assert_eq!(names(&site.served(mirror)), ["at", "snapshots"]);
    }
    assert!(!qa.join(RELEASE).exists() && !lent.exists());
    let below = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&inside).to_string());
    assert_eq!(
        std::fs::read(below.join("stable/Release")).expect("who is inside stays"),
        release
    );
    // Set again, it is a new beginning: nothing of before is lent, and its time is later.
    let newest = &snapshots[0][1];
    run(&format!("snapshot publish debian {newest} --to qa"));
    assert_eq!(tree(&qa), before);
    assert!(mtime(&qa.join(RELEASE)) > time);
    assert!(!lent.exists());
    assert_eq!(names(&site.served("debian")), ["at", "qa", "snapshots"]);
}

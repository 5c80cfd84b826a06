//! The grace overlay through the real mount: what a pointer's earlier publications lend, and that it ends.
//!
//! Owns the tests of single files below pointers across moves, prunes and failures, without clients. Whatever is judged by
//! the time is judged by what `status` says of it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mirrorctl::model::Digest;
use mirrorctl_testkit::{
    ArchiveBuilder, Config, Deb, Mirror, MountGuard, Program, SuiteSpec, TestEnv, Upstream, Variant, forge, now,
};
use serde_json::Value;

use crate::site::{Item, RELEASE, SUITE, Site, Tree, inode, names, only, read, stat, tree};

/// Three snapshots, the first two of them published one after the other.
fn published_twice() -> (Site, Vec<String>) {
    let (site, snapshots) = Site::with_snapshots(3);
    site.publish("debian", &snapshots[0]);
    site.publish("debian", &snapshots[1]);
    (site, snapshots)
}

/// Whether a name was found by hash, or is that of a package.
fn is_lent(path: &Path) -> bool {
    path.starts_with("pool") || path.components().any(|part| part.as_os_str() == "by-hash")
}

/// The files of `old` that are lent below a pointer whose target has the tree `new`.
fn lent(old: &Tree, new: &Tree) -> Tree {
    let mut lent = old.clone();
    lent.retain(|path, item| *item != Item::Directory && is_lent(path) && !new.contains_key(path));
    lent
}

fn is_absent(path: &Path) -> bool {
    matches!(fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Makes sure that each file of `lent` is found below `place` with its bytes, and is in no listing.
#[track_caller]
fn check_lent(place: &Path, lent: &Tree) {
    for (path, item) in lent {
        let there = place.join(path);
        assert_eq!(Item::File(Digest::of(&read(&there))), *item, "{}", there.display());
        assert_eq!(u64::try_from(read(&there).len()).ok(), Some(stat(&there).len()));
        let directory = there.parent().expect("a file has one");
        let name = there.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(!names(directory).contains(&name), "{} is listed", there.display());
    }
}

/// What `status` says of the publications that lend to a pointer.
fn lending(env: &TestEnv, pointer: &str) -> Vec<Value> {
    let report = env.mirrorctl(&["--json", "status"]).success().json();
    let lenders = report["mirrors"][0]["reachable"].as_array();
    let lenders = lenders.unwrap_or_else(|| panic!("{report}")).iter();
    lenders.filter(|one| one["pointer"] == pointer).cloned().collect()
}

fn lending_names(env: &TestEnv, pointer: &str) -> Vec<String> {
    let name = |one: &Value| one["snapshot"].as_str().expect("a name").to_owned();
    lending(env, pointer).iter().map(name).collect()
}

#[test]
fn what_was_published_before_is_found_and_not_listed() {
    let (site, snapshots) = Site::with_snapshots(4);
    let _mount = site.mount();
    let trees: Vec<Tree> = snapshots
        .iter()
        .map(|name| tree(&site.served(&format!("debian/snapshots/{name}"))))
        .collect();
    for (pointer, command) in [("current", "publish"), ("staging", "stage")] {
        let place = site.served(&format!("debian/{pointer}"));
        let lead = |name: &str| site.env.mirrorctl(&["snapshot", command, "debian", name]).success();
        lead(&snapshots[0]);
        // An absence that the kernel remembers must not outlive the door.
        assert!(is_absent(&place.join(only(2))), "not yet");
        for at in 1..snapshots.len() {
            lead(&snapshots[at]);
            for before in 0..at {
                let lent = lent(&trees[before], &trees[at]);
                assert!(lent.contains_key(Path::new(&only(before + 1))), "{lent:?}");
                assert!(lent.len() > 3, "{lent:?}");
                check_lent(&place, &lent);
            }
            assert_eq!(tree(&place), trees[at], "{pointer}: what is listed is the target's");
        }
        // Back: who saw the newer one still finds its files.
        lead(&snapshots[0]);
        check_lent(&place, &lent(&trees[3], &trees[0]));
        assert_eq!(tree(&place), trees[0]);
        // Where a file has its bytes is one place, whatever name leads to it.
        let lent = place.join(only(4));
        let listed = site.served(&format!("debian/snapshots/{}/{}", snapshots[3], only(4)));
        assert_eq!(inode(&lent), inode(&listed));
        for absent in [only(9), "no/such/file".to_owned()] {
            assert!(is_absent(&place.join(&absent)), "{absent}");
        }
    }
    let door = site.served(&format!("debian/snapshots/{}", snapshots[0]));
    assert!(is_absent(&door.join(only(2))), "a snapshot lends nothing");
}

#[test]
fn directories_that_only_earlier_ones_had_are_found_and_empty() {
    let (site, _) = published_twice();
    let _mount = site.mount();
    let current = site.served("debian/current");
    let path = PathBuf::from(only(1));
    let directory = path.parent().expect("a directory");
    assert!(!names(&current.join("pool/main/o")).contains(&"only1".to_owned()));
    assert!(stat(&current.join(directory)).is_dir());
    assert_eq!(names(&current.join(directory)), Vec::<String>::new());
    assert!(!read(&current.join(&path)).is_empty());
    assert!(is_absent(&current.join(directory).join("other")));
    let found = Program::new("find", "findutils").arg(&current).run().success();
    assert!(!found.stdout.contains("only1"), "{found}");
}

#[test]
fn what_is_lent_ends_with_its_snapshot_at_once() {
    let (site, snapshots) = published_twice();
    let _mount = site.mount();
    let current = site.served("debian/current");
    let first = tree(&site.served(&format!("debian/snapshots/{}", snapshots[0])));
    let lent = lent(&first, &tree(&current));
    check_lent(&current, &lent);
    let path = current.join(only(1));
    let directory = path.parent().expect("a directory");
    let held = File::open(directory).expect("a directory");
    let mut open = File::open(&path).expect("lent");
    let mut head = vec![0; 1000];
    open.read_exact(&mut head).expect("readable");

    let delete = ["snapshot", "delete", "debian", &snapshots[0]];
    let refused = site.env.mirrorctl(&delete).code(4);
    refused
        .stderr_has(&format!("debian/current lends files of snapshot {}", snapshots[0]))
        .stderr_has("until 3 more publications, and until")
        .stderr_has("--force");
    check_lent(&current, &lent);

    let mut delete = delete.to_vec();
    delete.push("--force");
    site.env.mirrorctl(&delete).success();
    for path in lent.keys() {
        assert!(is_absent(&current.join(path)), "{}", path.display());
    }
    assert!(is_absent(directory));
    let within = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    assert!(
        is_absent(&within.join("only1_1_amd64.deb")),
        "also for who stands there"
    );
    site.env.mirrorctl(&["gc", "--now"]).success();
    let mut tail = Vec::new();
    open.read_to_end(&mut tail).expect("readable");
    let on_disk = first[Path::new(&only(1))];
    assert_eq!(Item::File(Digest::of(&[head, tail].concat())), on_disk, "an open file");
    assert_eq!(lending_names(&site.env, "current"), Vec::<String>::new());
}

#[test]
fn what_is_lent_is_neither_pruned_nor_swept() {
    let (mut site, snapshots) = published_twice();
    let newest = site.next_snapshot("debian");
    let _mount = site.mount();
    let current = site.served("debian/current");
    let lent = lent(
        &tree(&site.served(&format!("debian/snapshots/{}", snapshots[0]))),
        &tree(&current),
    );
    // A second, so that all are older than what is kept by age.
    thread::sleep(Duration::from_millis(1100));
    let prune = ["--json", "snapshot", "prune", "--keep-last", "1", "--keep-within", "1s"];
    let verdicts = |more: &[&str]| {
        let report = site.env.mirrorctl(&[&prune[..], more].concat()).success().json();
        let verdicts = report["mirrors"][0]["snapshots"].as_array().expect("verdicts");
        let verdict = |one: &Value| {
            (
                one["name"].as_str().expect("a name").to_owned(),
                one["kept_because"][0].clone(),
            )
        };
        verdicts.iter().map(verdict).collect::<Vec<_>>()
    };
    let expected = [
        (newest, "among the newest".into()),
        (snapshots[2].clone(), Value::Null),
        (snapshots[1].clone(), "current".into()),
        (snapshots[0].clone(), "within the grace overlay".into()),
    ];
    assert_eq!(verdicts(&["--dry-run"]), expected);
    assert_eq!(verdicts(&[]), expected);
    site.env.mirrorctl(&["gc", "--now"]).success();
    check_lent(&current, &lent);
    assert!(is_absent(&current.join(only(3))), "never published, and gone");

    // By other terms from the next move on.
    site.env.configure(site.config(1).lending_nothing());
    check_lent(&current, &lent);
    site.publish("debian", &expected[0].0);
    assert!(is_absent(&current.join(only(1))), "at once");
    assert!(is_absent(&current.join(only(2))), "at once");
    let left: Vec<Value> = verdicts(&[]).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(left, [Value::from("current"), Value::Null, Value::Null]);
    let gone = site.env.mirrorctl(&["--json", "gc", "--now"]).success().json();
    let files = |what: &str| gone[what]["files"].as_u64().expect("a number");
    assert!(files("removed") + files("held_open") > 3, "{gone}");
    assert!(tree(&current).contains_key(Path::new(&only(4))));
}

#[test]
fn what_is_lent_ends_with_its_time() {
    let (site, snapshots) = Site::with_snapshots(2);
    let terms = site.config(1).set_in("publish", "keep_generations", "0");
    site.env.configure(terms.set_in("publish", "keep_for", "\"4s\""));
    let _mount = site.mount();
    site.publish("debian", &snapshots[0]);
    site.publish("debian", &snapshots[1]);
    let path = site.served("debian/current").join(only(1));
    let one = lending(&site.env, "current").remove(0);
    assert_eq!(
        (one["snapshot"].as_str(), one["publications_left"].as_u64()),
        (Some(snapshots[0].as_str()), Some(0)),
        "{one}"
    );
    let until = one["until"].as_str().expect("a time").to_owned();
    site.env
        .mirrorctl(&["status"])
        .success()
        .stdout_has(&format!("debian/current lends files of {} until {until}", snapshots[0]));
    // Text of one shape sorts as the times do.
    let mut looks = 0;
    loop {
        let before = now().to_string();
        let absent = is_absent(&path);
        if before >= until {
            assert!(absent, "found at {before}");
            break;
        }
        if now().to_string() < until {
            assert!(!absent, "absent at {before}");
            looks += 1;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(looks > 0, "nothing was seen");
    assert_eq!(lending(&site.env, "current"), Vec::<Value>::new());
}

#[test]
fn packages_below_dists_are_lent_and_indices_are_not() {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    let suite = SuiteSpec::new(SUITE)
        .by_hash(false)
        .hashes([mirrorctl::model::HashType::Sha256])
        .listed(&[Variant::Plain])
        .served(&[Variant::Plain])
        .package("main", Deb::new("engine", "1", "amd64"));
    let made = now().plus(-1000);
    let mut archive = ArchiveBuilder::new()
        .suite(suite)
        .create(&env.root().join("upstream"), made)
        .expect("an archive");
    let key = env.key("archive.asc", &archive.key().public_armored().expect("a key"));
    let upstream = Upstream::serve(archive.root());
    let mirror = Mirror::new("docker", &upstream.url()).suites(&[SUITE]).key(&key);
    env.configure(Config::new().mirror(mirror.publish_to_production(true)));
    let _mount = MountGuard::mount(&env);
    let package = |version: usize| format!("dists/{SUITE}/pool/stable/amd64/engine_{version}_amd64.deb");
    let current = env.served("docker/current");
    let mut bytes = Vec::new();
    let mut packages = Vec::new();
    for version in 1..=2 {
        if version > 1 {
            archive
                .add(SUITE, "main", &Deb::new("engine", &version.to_string(), "amd64"))
                .expect("a package");
            archive.publish(made.plus(60)).expect("published");
        }
        let path = archive.pool_paths()[0].to_owned();
        let place = archive.root().join(package(version));
        fs::create_dir_all(place.parent().expect("a directory")).expect("made");
        fs::copy(archive.root().join(&path), &place).expect("copied");
        let index = format!("dists/{SUITE}/main/binary-amd64/Packages");
        let text = fs::read_to_string(archive.root().join(index)).expect("an index");
        let text = text.replace(&path, &package(version));
        forge(&archive, SUITE, &[("main/binary-amd64/Packages", text.as_bytes())]);
        env.mirrorctl(&["sync"]).success();
        bytes.push(read(&current.join(package(version))));
        packages.push(text);
    }
    assert_eq!(read(&current.join(package(1))), bytes[0], "lent");
    assert_eq!(read(&current.join(package(2))), bytes[1]);
    let directory = current.join(package(1));
    assert_eq!(names(directory.parent().expect("a directory")), ["engine_2_amd64.deb"]);
    let index = current.join(format!("dists/{SUITE}/main/binary-amd64"));
    assert_eq!(read(&index.join("Packages")), packages[1].as_bytes());
    for text in &packages {
        let by_hash = format!("by-hash/SHA256/{}", Digest::of(text.as_bytes()));
        assert_eq!(read(&index.join(by_hash)), text.as_bytes());
    }
}

#[test]
fn what_is_lent_outlives_the_catalog() {
    let (mut site, snapshots) = published_twice();
    // What lends to nobody.
    site.next_snapshot("debian");
    let mut mount = site.mount();
    let current = site.served("debian/current");
    let first = tree(&site.served(&format!("debian/snapshots/{}", snapshots[0])));
    let (target, lent) = (tree(&current), lent(&first, &tree(&current)));
    mount.stop().success();
    mount = site.mount();
    // One that was looked up before, with the number that it must keep.
    let before = inode(&current.join(only(1)));
    let files = ["catalog.db", "catalog.db-wal"].map(|name| site.env.state_dir().join(name));
    let good = files.each_ref().map(|path| read(path));
    for path in &files {
        fs::write(path, "").expect("damaged");
    }
    // For longer than the mount may go on with what its connections remember of the catalog.
    thread::sleep(Duration::from_secs(2));
    check_lent(&current, &lent);
    assert_eq!(inode(&current.join(only(1))), before);
    assert_eq!(tree(&current), target);
    assert!(is_absent(&current.join(only(4))), "that is known");
    mount.stop().success();
    for (path, bytes) in files.iter().zip(&good).rev() {
        fs::write(path, bytes).expect("restored");
    }
    let _mount = site.mount();
    check_lent(&current, &lent);
    assert_eq!(inode(&current.join(only(1))), before, "after a restart");
    assert_ne!(read(&current.join(RELEASE)), Vec::<u8>::new());
}

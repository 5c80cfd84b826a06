//! What readers of the mount see when a mirror is forgotten.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use mirrorctl_testkit::Program;

use crate::site::{COMMON, Item, RELEASE, Site, inode, names, only, read, tree};

/// What `ls` in a process of its own lists.
fn ls(directory: &Path) -> Vec<String> {
    let listed = Program::new("ls", "coreutils").arg(directory).run().success();
    listed.stdout.lines().map(str::to_owned).collect()
}

#[track_caller]
fn is_absent(path: &Path) {
    let error = fs::symlink_metadata(path).expect_err("nothing is there");
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}", path.display());
}

/// Numbers of the directories by which a mirror's snapshot is entered.
fn doors(site: &Site, name: &str) -> [u64; 4] {
    [
        "old".into(),
        "old/current".into(),
        "old/snapshots".into(),
        format!("old/snapshots/{name}"),
    ]
    .map(|path: String| inode(&site.served(&path)))
}

#[test]
fn a_forgotten_mirror_is_gone_at_once_and_open_files_are_read_to_their_end() {
    let mut site = Site::new(&["debian", "old"]);
    let debian = site.next_snapshot("debian");
    let name = site.next_snapshot("old");
    site.publish("debian", &debian);
    site.publish("old", &name);
    let _mount = site.mount();

    // Everything that can be looked up and remembered, is.
    assert_eq!(ls(&site.served("")), ["debian", "old"]);
    let (old, kept) = (tree(&site.served("old")), tree(&site.served("debian")));
    is_absent(&site.served("nothing"));
    let before = doors(&site, &name);
    let (package, release) = (
        site.served("old/current").join(only(1)),
        site.served("old/current").join(RELEASE),
    );
    let bytes = read(&package);
    let mut slow = File::open(&package).expect("opens");
    let mut first = [0; 100];
    slow.read_exact(&mut first).expect("reads");
    let unread = File::open(site.served(&format!("old/snapshots/{name}")).join(RELEASE)).expect("opens");
    let release = read(&release);

    site.configure(1);
    site.env.mirrorctl(&["forget", "old"]).code(4).stderr_has(&name);
    assert_eq!(tree(&site.served("old")), old, "a refusal takes nothing away");
    let report = site
        .env
        .mirrorctl(&["--json", "forget", "old", "--force"])
        .success()
        .json();
    assert_eq!(report["mirror"], "old");

    assert_eq!(ls(&site.served("")), ["debian"]);
    assert_eq!(names(&site.served("")), ["debian"]);
    for path in ["old", "old/current", "old/snapshots", &format!("old/current/{COMMON}")] {
        is_absent(&site.served(path));
    }
    assert_eq!(tree(&site.served("debian")), kept);
    // Collecting leaves the grace to those who still read.
    site.env.mirrorctl(&["gc"]).success();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).expect("reads on");
    assert_eq!([&first[..], &rest].concat(), bytes);
    let mut buffer = vec![0; release.len()];
    unread.read_exact_at(&mut buffer, 0).expect("reads");
    assert_eq!(buffer, release);
    assert_eq!(slow.metadata().expect("facts").size(), bytes.len() as u64);

    // The same id, the same archive: another mirror, whose names were looked up while they were absent.
    site.configure(2);
    let again = site.sync("old");
    assert_eq!(ls(&site.served("")), ["debian", "old"]);
    is_absent(&site.served("old/current"));
    site.publish("old", &again);
    let after = doors(&site, &again);
    assert!(
        before.iter().zip(&after).all(|(before, after)| before != after),
        "{before:?} {after:?}"
    );
    let served = tree(&site.served("old/current"));
    assert!(matches!(served.get(Path::new(COMMON)), Some(Item::File(_))));
    assert_eq!(read(&site.served("old/current").join(only(1))), bytes);
}

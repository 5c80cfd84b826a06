//! Links to snapshots, asked for through the kernel.
//!
//! Owns the tests of the directory `at`, which need `/dev/fuse` and the right to mount; without them they fail, they are
//! never skipped. Which names there are is made up here: the mount knows nothing of times.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, in its helpers too")]
#![expect(
    clippy::disallowed_types,
    reason = "what find, ls and stat make of links is asked here"
)]

#[expect(dead_code, reason = "what only other tests need")]
mod common;

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Files, MemoryTree, SERIAL_TIME};
use mirrorctl_mount::tree::{Door, MirrorNo};
use mirrorctl_mount::{Options, Session, mount};
use tempfile::TempDir;

const THEN: &str = "debian/at/20260301T000000Z";

struct Mounted {
    session: Session,
    tree: Arc<MemoryTree>,
    mirror: MirrorNo,
    one: Door,
    place: TempDir,
}

impl Mounted {
    /// One mirror `debian` with the snapshots `one` and `two`, and a link to `one` at [`THEN`].
    fn new() -> Self {
        let tree = MemoryTree::new();
        let mirror = tree.add_mirror("debian");
        let one = tree.add_snapshot(mirror, "one", archive("one"));
        tree.add_snapshot(mirror, "two", archive("two"));
        tree.link(mirror, "20260301T000000Z", "one");
        let place = tempfile::tempdir().unwrap();
        let session = mount(
            Arc::clone(&tree) as _,
            place.path(),
            &Options::new("state", 1_500_000_000),
        );
        Self {
            session: session.expect("these tests need to mount"),
            tree,
            mirror,
            one,
            place,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    fn lstat(&self, path: &str) -> Metadata {
        fs::symlink_metadata(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn target(&self, path: &str) -> PathBuf {
        fs::read_link(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn is_absent(&self, path: &str) -> bool {
        matches!(fs::symlink_metadata(self.path(path)), Err(error) if error.kind() == ErrorKind::NotFound)
    }

    fn release(&self, archive: &str) -> String {
        let path = format!("{archive}/dists/stable/InRelease");
        fs::read_to_string(self.path(&path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn link(&self, name: &str, snapshot: &str) {
        self.tree.link(self.mirror, name, snapshot);
    }
}

fn archive(snapshot: &str) -> Files {
    vec![
        ("dists/stable/InRelease".to_owned(), snapshot.into()),
        ("pool/p.deb".to_owned(), b"package".to_vec()),
    ]
}

fn errno(result: io::Result<impl Sized>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// What a command prints.
fn printed(program: &str, arguments: &[&OsStr]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_link_leads_to_its_snapshot() {
    let mounted = Mounted::new();
    let stat = mounted.lstat(THEN);
    let target = "../snapshots/one";
    let shown = (
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.nlink(),
        stat.size(),
        stat.blocks(),
    );
    assert_eq!(shown, (libc::S_IFLNK | 0o777, 0, 0, 1, target.len() as u64, 0));
    let time = i64::try_from(SERIAL_TIME).unwrap() + i64::from(mounted.one.0);
    assert_eq!(stat.mtime(), time, "the snapshot's own");
    assert_eq!(mounted.target(THEN), Path::new(target));
    assert_eq!(mounted.release(THEN), "one");
    let through = fs::metadata(mounted.path(THEN)).unwrap();
    assert_eq!(through.ino(), mounted.lstat("debian/snapshots/one").ino());
    assert_eq!(
        fs::canonicalize(mounted.path(THEN)).unwrap(),
        fs::canonicalize(mounted.path("debian/snapshots/one")).unwrap()
    );
    // Another name of the same link.
    mounted.link("2026-03-01", "one");
    assert_eq!(mounted.lstat("debian/at/2026-03-01").ino(), stat.ino());
    let no_follow = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(mounted.path(THEN));
    assert_eq!(errno(no_follow), Some(libc::ELOOP));
    assert_eq!(
        errno(fs::symlink_metadata(mounted.path(THEN).join("x"))),
        Some(libc::ENOENT)
    );
    assert_eq!(errno(fs::read_link(mounted.path("debian/at"))), Some(libc::EINVAL));
    assert_eq!(errno(fs::remove_file(mounted.path(THEN))), Some(libc::EROFS));
    assert_eq!(
        errno(std::os::unix::fs::symlink("x", mounted.path("debian/at/new"))),
        Some(libc::EROFS)
    );
}

#[test]
fn links_are_found_and_never_listed() {
    let mounted = Mounted::new();
    for _ in 0..2 {
        let mut listed = fs::read_dir(mounted.path("debian/at")).unwrap();
        assert!(listed.next().is_none());
        assert!(mounted.lstat(THEN).is_symlink(), "the kernel knows of it, and still");
    }
    let at = mounted.lstat("debian/at");
    assert_eq!(
        (at.mode(), at.nlink(), at.mtime()),
        (libc::S_IFDIR | 0o555, 1, 1_500_000_000)
    );
    let root = mounted.place.path().as_os_str();
    let found = printed(
        "find",
        &[
            root,
            "-mindepth".as_ref(),
            "1".as_ref(),
            "-path".as_ref(),
            "*/snapshots/*".as_ref(),
            "-prune".as_ref(),
            "-o".as_ref(),
            "-print".as_ref(),
        ],
    );
    let mut found: Vec<&str> = found.lines().map(|line| &line[root.len() + 1..]).collect();
    found.sort_unstable();
    assert_eq!(found, ["debian", "debian/at", "debian/snapshots"]);
    let line = printed("ls", &["-l".as_ref(), mounted.path(THEN).as_os_str()]);
    assert!(line.starts_with("lrwxrwxrwx 1 root root 16 "), "{line}");
    assert!(line.ends_with("20260301T000000Z -> ../snapshots/one\n"), "{line}");
    let followed = printed("ls", &["-L".as_ref(), mounted.path(THEN).as_os_str()]);
    assert_eq!(followed, "dists\npool\n");
    let size = printed("stat", &["-c%s %F %N".as_ref(), mounted.path("debian/at").as_os_str()]);
    assert!(size.starts_with("0 directory"), "{size}");
}

#[test]
fn names_have_every_length() {
    let mounted = Mounted::new();
    for length in 1..=255 {
        let name = "9".repeat(length);
        assert!(mounted.is_absent(&format!("debian/at/{name}")), "{length}");
        mounted.link(&name, "two");
        assert_eq!(
            mounted.target(&format!("debian/at/{name}")),
            Path::new("../snapshots/two")
        );
    }
    for length in [256, 1000] {
        let path = mounted.path("debian/at").join("9".repeat(length));
        assert_eq!(errno(fs::symlink_metadata(path)), Some(libc::ENAMETOOLONG), "{length}");
    }
    // The longest name that a snapshot can have fits.
    let long = "s".repeat(255);
    mounted.tree.add_snapshot(mounted.mirror, &long, archive("long"));
    mounted.link("long", &long);
    assert_eq!(
        mounted.lstat("debian/at/long").size(),
        255 + "../snapshots/".len() as u64
    );
    assert_eq!(mounted.release("debian/at/long"), "long");
}

/// Nothing is told in this test: links are asked for at every walk.
#[test]
fn every_change_shows_at_once() {
    let mounted = Mounted::new();
    let later = "debian/at/later";
    for _ in 0..3 {
        assert!(mounted.is_absent(later));
    }
    mounted.link("later", "one");
    assert_eq!(mounted.release(later), "one", "an absence is not remembered");
    mounted.link("later", "two");
    assert_eq!(mounted.release(later), "two");
    assert_eq!(mounted.release(THEN), "one");
    mounted.tree.rename_snapshot(mounted.mirror, "one", "renamed");
    assert_eq!(mounted.lstat(THEN).size(), "../snapshots/renamed".len() as u64);
    assert_eq!(mounted.target(THEN), Path::new("../snapshots/renamed"));
    assert_eq!(mounted.release(THEN), "one");
    mounted.tree.remove_snapshot(mounted.mirror, "renamed");
    assert!(mounted.is_absent(THEN));
    assert!(!mounted.path(THEN).exists());
    // The other links and the directory itself are as they were.
    assert_eq!(mounted.release(later), "two");
}

#[test]
fn a_deletion_that_is_told_leaves_who_is_inside_alone() {
    let mounted = Mounted::new();
    let mut file = File::open(mounted.path(THEN).join("dists/stable/InRelease")).unwrap();
    let at = File::open(mounted.path("debian/at")).unwrap();
    mounted.tree.remove_snapshot(mounted.mirror, "one");
    mounted.session.reconcile().unwrap();
    assert!(mounted.is_absent(THEN));
    let mut bytes = String::new();
    file.read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "one");
    let place = fs::read_link(format!("/proc/self/fd/{}", at.as_raw_fd())).unwrap();
    assert_eq!(place, mounted.path("debian/at"), "still at its place");
}

#[test]
fn not_knowing_is_an_error_and_not_an_absence() {
    let mounted = Mounted::new();
    assert!(mounted.lstat(THEN).is_symlink());
    mounted.tree.fail_links(true);
    for path in [THEN, "debian/at/other"] {
        assert_eq!(
            errno(fs::symlink_metadata(mounted.path(path))),
            Some(libc::EIO),
            "{path}"
        );
    }
    assert!(mounted.lstat("debian/at").is_dir());
    mounted.tree.fail_links(false);
    assert_eq!(mounted.release(THEN), "one");
    assert!(mounted.is_absent("debian/at/other"));
}

#[test]
fn whoever_walks_while_a_link_changes_sees_one_snapshot_or_the_other() {
    let mounted = Mounted::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let seen = mounted.release(THEN);
                    assert!(seen == "one" || seen == "two", "{seen:?}");
                }
            });
        }
        for turn in 0..300 {
            let snapshot = ["one", "two"][turn % 2];
            mounted.link("20260301T000000Z", snapshot);
            assert_eq!(
                mounted.release(THEN),
                snapshot,
                "a walk that begins later sees the change"
            );
            if turn % 50 == 0 {
                mounted.session.reconcile().unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}

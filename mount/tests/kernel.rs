//! The mount's promises, asked through the kernel.
//!
//! Owns the tests that need `/dev/fuse` and the right to mount; without them they fail, they are never skipped. Every
//! promise that rests on telling the kernel has a *control* beside it that leaves the telling out and must see the
//! stale answer: a test whose control sees none proves nothing.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, in its helpers too")]

#[expect(dead_code, reason = "what only the test against the model needs")]
mod common;
#[path = "common/ordinary.rs"]
mod ordinary;
#[path = "common/sys.rs"]
#[expect(dead_code, reason = "what only the tests of adopting need")]
mod sys;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{BLOB_TIME, Files, MemoryTree, SERIAL_TIME};
use mirrorctl_mount::tree::{Door, MirrorNo};
use mirrorctl_mount::{Existing, MountError, Options, Session, ToldBy, detach, existing, mount};
use sys::{
    get_attribute, list_attributes, mapped, mount_other, open_files_as, set_attribute, sizes, truncate, unmount_plainly,
};
use tempfile::TempDir;

const OWN_TIME: i64 = 1_500_000_000;

/// A mount of a tree in memory, taken away when dropped.
struct Mounted {
    session: Session,
    tree: Arc<MemoryTree>,
    place: TempDir,
}

impl Mounted {
    fn new(tree: Arc<MemoryTree>) -> Self {
        Self::with(tree, &options())
    }

    fn with(tree: Arc<MemoryTree>, options: &Options) -> Self {
        let place = tempfile::tempdir().unwrap();
        let session = mount(Arc::clone(&tree) as _, place.path(), options).expect("these tests need to mount");
        Self { session, tree, place }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn stat(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn is_absent(&self, path: &str) -> bool {
        matches!(fs::symlink_metadata(self.path(path)), Err(error) if error.kind() == ErrorKind::NotFound)
    }

    fn list(&self, path: &str) -> Vec<String> {
        list(&self.path(path))
    }

    fn reconcile(&self) {
        self.session.reconcile().unwrap();
    }
}

fn options() -> Options {
    Options::new("/var/lib/mirrorctl with, comma", OWN_TIME)
}

fn list(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// An archive that says in every file below `dists` which snapshot it belongs to; its pool is the same in all.
fn archive(snapshot: &str) -> Files {
    let mut files = vec![
        ("dists/stable/InRelease".to_owned(), snapshot.as_bytes().to_vec()),
        (
            "dists/stable/main/binary-amd64/Packages".to_owned(),
            snapshot.as_bytes().to_vec(),
        ),
        (format!("only/{snapshot}"), b"x".to_vec()),
    ];
    for package in 0..20 {
        files.push((
            format!("pool/main/p{package}/p{package}.deb"),
            format!("package {package}").into_bytes(),
        ));
    }
    files
}

/// One mirror `debian` with the snapshots `one` and `two`, `current` pointing at `one`.
fn two_snapshots() -> (Arc<MemoryTree>, MirrorNo) {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    tree.add_snapshot(mirror, "one", archive("one"));
    tree.add_snapshot(mirror, "two", archive("two"));
    tree.point(mirror, "current", "one");
    (tree, mirror)
}

fn errno(result: io::Result<impl Sized>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn mirrors_pointers_and_snapshots_are_shown() {
    let (tree, _) = two_snapshots();
    tree.add_mirror("security");
    let mounted = Mounted::new(tree);
    assert_eq!(mounted.list(""), ["debian", "security"]);
    assert_eq!(mounted.list("debian"), ["at", "current", "snapshots"]);
    assert_eq!(mounted.list("security"), ["at", "snapshots"]);
    assert_eq!(mounted.list("debian/snapshots"), ["one", "two"]);
    assert_eq!(mounted.list("security/snapshots"), [""; 0]);
    assert_eq!(mounted.list("debian/current"), ["dists", "only", "pool"]);
    assert_eq!(mounted.list("debian/snapshots/two/only"), ["two"]);
    assert_eq!(mounted.list("debian/current/pool/main").len(), 20);
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "one");
    assert_eq!(mounted.read("debian/snapshots/two/dists/stable/InRelease"), "two");
    for absent in [
        "debian/staging",
        "nothing",
        "debian/snapshots/three",
        "debian/current/pool/x",
        "debian/at/2026-03-01",
    ] {
        assert!(mounted.is_absent(absent), "{absent}");
    }
}

#[test]
fn a_mount_takes_the_place_of_another_and_nobody_finds_none() {
    let (tree, mirror) = two_snapshots();
    let mut mounted = Mounted::new(tree);
    let (other, _) = two_snapshots();
    other.point(mirror, "current", "two");
    let path = mounted.path("debian/current/dists/stable/InRelease");
    let mut open = File::open(&path).unwrap();
    let (stop, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let old = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut was = "one".to_owned();
                    while !stop.load(Ordering::SeqCst) {
                        let is = fs::read_to_string(&path).map_err(|error| error.to_string())?;
                        if is != was && is != "two" {
                            return Err(is);
                        }
                        was = is;
                        seen.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(())
                })
            })
            .collect();
        let read_more = || {
            let now = seen.load(Ordering::SeqCst);
            while seen.load(Ordering::SeqCst) < now + 20 && !readers.iter().any(thread::ScopedJoinHandle::is_finished) {
                thread::yield_now();
            }
        };
        read_more();
        let next = mounted.session.replaced_by(other, &options());
        read_more();
        stop.store(true, Ordering::SeqCst);
        let complaints: Vec<String> = readers
            .into_iter()
            .filter_map(|reader| reader.join().unwrap().err())
            .collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        std::mem::replace(&mut mounted.session, next.unwrap())
    });
    assert!(old.is_taken_away());
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "two");
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one", "who has it open keeps it");
    drop((open, old));
    assert_eq!(mounted.read("debian/current/only/two"), "x");
    let place = format!(" {} ", mounted.place.path().display());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lines: Vec<&str> = table.lines().filter(|line| line.contains(&place)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for words in [" ro,nosuid,nodev,noexec,noatime ", " fuse.mirrorctl ", "allow_other"] {
        assert!(lines[0].contains(words), "{words}: {}", lines[0]);
    }
    mounted.session.unmount().unwrap();
    assert!(mounted.is_absent("debian"));
}

#[test]
fn attributes_are_those_of_a_tree_nobody_can_write() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    for directory in [
        "",
        "debian",
        "debian/snapshots",
        "debian/current",
        "debian/snapshots/one/pool",
    ] {
        let stat = mounted.stat(directory);
        let shown = (stat.mode(), stat.uid(), stat.gid(), stat.nlink());
        assert_eq!(shown, (libc::S_IFDIR | 0o555, 0, 0, 1), "{directory}");
    }
    assert_eq!(mounted.stat("debian").mtime(), OWN_TIME);
    let stat = mounted.stat("debian/snapshots/one/pool/main/p3/p3.deb");
    let shown = (
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.nlink(),
        stat.size(),
        stat.blocks(),
        stat.mtime(),
    );
    assert_eq!(shown, (libc::S_IFREG | 0o444, 0, 0, 1, 9, 1, BLOB_TIME));
}

/// The kernel is not asked to check modes (`default_permissions`), and whoever asks is told the same.
#[test]
fn strangers_may_read_everything_and_write_or_run_nothing() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    let script = r#"
allowed() { "$@" >/dev/null || { echo "refused: $*" >&2; exit 1; }; }
refused() { ! "$@" 2>/dev/null || { echo "allowed: $*" >&2; exit 1; }; }
allowed cd "$1"
allowed ls -R .
file=debian/current/pool/main/p3/p3.deb
for path in . debian debian/current debian/current/pool; do
    allowed test -r $path
    allowed test -x $path
    refused test -w $path
    refused touch $path/new
    refused mkdir $path/new
    refused rm -r $path
done
allowed cat $file
allowed test -r $file
refused test -w $file
refused test -x $file
refused chmod 777 $file
refused ./$file
refused truncate --size 0 $file
"#;
    ordinary::strangers_succeed(script, mounted.place.path());
}

#[test]
fn sizes_are_sane_and_names_have_a_limit() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    let sizes = sizes(mounted.place.path());
    assert_eq!(sizes.f_namemax, 255);
    assert_eq!(sizes.f_blocks * sizes.f_frsize, 1 << 30);
    assert_eq!(sizes.f_bavail * sizes.f_frsize, 1 << 29);
    for directory in ["", "debian", "debian/current", "debian/snapshots"] {
        for length in [256, 1000] {
            let path = mounted.path(directory).join("n".repeat(length));
            assert_eq!(
                errno(fs::metadata(path)),
                Some(libc::ENAMETOOLONG),
                "{directory:?} {length}"
            );
        }
        assert_eq!(
            errno(fs::metadata(mounted.path(directory).join("n".repeat(255)))),
            Some(libc::ENOENT)
        );
    }
}

#[test]
fn the_root_of_a_door_names_its_snapshot() {
    const NAME: &str = "user.mirrorctl.snapshot";
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    for (path, expected) in [
        ("debian/current", Ok(b"one".to_vec())),
        ("debian/snapshots/two", Ok(b"two".to_vec())),
        ("debian/current/dists", Err(libc::ENODATA)),
        ("debian/current/dists/stable/InRelease", Err(libc::ENODATA)),
        ("debian", Err(libc::ENODATA)),
        ("", Err(libc::ENODATA)),
    ] {
        assert_eq!(get_attribute(&mounted.path(path), NAME), expected, "{path}");
        let listed = if expected.is_ok() {
            format!("{NAME}\0").into_bytes()
        } else {
            Vec::new()
        };
        assert_eq!(list_attributes(&mounted.path(path)), listed, "{path}");
    }
    assert_eq!(
        get_attribute(&mounted.path("debian/current"), "user.other"),
        Err(libc::ENODATA)
    );
    mounted.tree.rename_snapshot(mirror, "one", "first");
    mounted.reconcile();
    for path in ["debian/current", "debian/snapshots/first"] {
        assert_eq!(
            get_attribute(&mounted.path(path), NAME),
            Ok(b"first".to_vec()),
            "{path}"
        );
    }
}

#[test]
fn whatever_would_modify_is_refused() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    let file = mounted.path("debian/current/dists/stable/InRelease");
    let directory = mounted.path("debian/current/dists");
    let new = directory.join("new");
    let attempts = [
        ("create", errno(File::create(&new))),
        ("open to write", errno(OpenOptions::new().write(true).open(&file))),
        ("open to append", errno(OpenOptions::new().append(true).open(&file))),
        (
            "open and empty",
            errno(OpenOptions::new().write(true).truncate(true).open(&file)),
        ),
        (
            "nameless file",
            errno(
                OpenOptions::new()
                    .write(true)
                    .custom_flags(libc::O_TMPFILE)
                    .open(&directory),
            ),
        ),
        ("truncate", truncate(&file)),
        ("mkdir", errno(fs::create_dir(&new))),
        ("mkdir in the root", errno(fs::create_dir(mounted.path("new")))),
        ("unlink", errno(fs::remove_file(&file))),
        ("rmdir", errno(fs::remove_dir(&directory))),
        ("rename", errno(fs::rename(&file, &new))),
        ("link", errno(fs::hard_link(&file, &new))),
        ("symlink", errno(std::os::unix::fs::symlink("x", &new))),
        (
            "chmod",
            errno(fs::set_permissions(&file, fs::Permissions::from_mode(0o666))),
        ),
        ("chown", errno(std::os::unix::fs::chown(&file, Some(1), Some(1)))),
        (
            "set times",
            errno(File::open(&file).unwrap().set_modified(std::time::UNIX_EPOCH)),
        ),
        ("setxattr", set_attribute(&file)),
    ];
    for (attempt, refused) in attempts {
        assert_eq!(refused, Some(libc::EROFS), "{attempt}");
    }
}

#[test]
fn the_mount_is_listed_with_its_options() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = mounted.place.path().to_str().unwrap();
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(4) == Some(place))
        .expect("the mount is listed");
    for part in ["ro,nosuid,nodev,noexec", "fuse.mirrorctl", "allow_other"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let found = existing(mounted.place.path()).unwrap();
    let fsname = "/var/lib/mirrorctl with, comma".into();
    assert_eq!(
        found,
        Some(Existing {
            ours: true,
            dead: false,
            fsname,
            kind: "fuse.mirrorctl".to_owned()
        })
    );
    assert_eq!(
        existing(&mounted.path("debian")).unwrap(),
        None,
        "nothing is mounted on the directory below"
    );
}

#[test]
fn bytes_are_the_blobs_however_they_are_read() {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    let big: Vec<u8> = (0..3_333_333_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    tree.add_snapshot(
        mirror,
        "one",
        vec![("big".into(), big.clone()), ("empty".into(), Vec::new())],
    );
    let mounted = Mounted::new(tree);
    let path = mounted.path("debian/snapshots/one/big");
    assert_eq!(fs::read(mounted.path("debian/snapshots/one/empty")).unwrap(), b"");

    let mut file = File::open(&path).unwrap();
    let mut copied = tempfile::tempfile().unwrap();
    assert_eq!(
        io::copy(&mut file, &mut copied).unwrap(),
        big.len() as u64,
        "copy_file_range or sendfile"
    );
    copied.rewind().unwrap();
    let mut bytes = Vec::new();
    copied.read_to_end(&mut bytes).unwrap();
    assert!(bytes == big, "copied");
    assert!(fs::read(&path).unwrap() == big, "read");
    assert!(mapped(&file, big.len()) == big, "mapped");

    let mut part = vec![0; 70_000];
    for offset in [0_usize, 1, 4095, 1 << 20, 3_263_333] {
        file.read_exact_at(&mut part, offset as u64).unwrap();
        assert!(part == big[offset..offset + part.len()], "at {offset}");
    }
    for offset in [big.len() as u64, 1 << 40, u64::try_from(i64::MAX).unwrap() - 1_000_000] {
        assert_eq!(file.read_at(&mut part, offset).unwrap(), 0, "at {offset}");
    }
    assert_eq!(file.read_at(&mut part, big.len() as u64 - 7).unwrap(), 7);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), big.len() as u64);

    let mut socket = std::os::unix::net::UnixStream::pair().unwrap();
    let expected = big.clone();
    let reader = thread::spawn(move || {
        let mut sent = Vec::new();
        socket.1.read_to_end(&mut sent).unwrap();
        assert!(sent == expected, "sent");
    });
    file.rewind().unwrap();
    io::copy(&mut file, &mut socket.0).unwrap();
    drop(socket.0);
    reader.join().unwrap();
}

#[test]
fn what_is_warm_is_served_without_asking() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    let path = "debian/current/dists/stable/InRelease";
    for _ in 0..2 {
        assert_eq!(mounted.read(path), "one");
        mounted.list("debian/current/pool/main");
    }
    let before = mounted.tree.asked();
    for _ in 0..10 {
        assert_eq!(mounted.read(path), "one");
        assert_eq!(mounted.stat(path).size(), 3);
        assert_eq!(mounted.list("debian/current/pool/main").len(), 20);
    }
    assert_eq!(mounted.tree.asked(), before);
}

#[test]
fn a_listing_behind_a_door_brings_its_attributes_with_it() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    mounted.list("debian/current/pool/main");
    let before = mounted.tree.asked();
    for package in 0..20 {
        mounted.stat(&format!("debian/current/pool/main/p{package}"));
    }
    assert_eq!(mounted.tree.asked(), before);
}

#[test]
fn a_listing_of_what_can_change_looks_nothing_up() {
    let (tree, _) = two_snapshots();
    tree.add_mirror("security");
    let mounted = Mounted::new(tree);
    for (directory, name) in [("", "security"), ("debian", "current"), ("debian/snapshots", "one")] {
        assert!(mounted.list(directory).contains(&name.to_owned()));
        let before = mounted.tree.asked();
        fs::metadata(mounted.path(directory).join(name)).unwrap();
        assert!(mounted.tree.asked() > before, "{directory:?}: {name} was not asked for");
    }
    for entry in fs::read_dir(mounted.path("debian/snapshots")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.ino(),
            entry.metadata().unwrap().ino(),
            "the listing shows the number all the same"
        );
        assert!(entry.file_type().unwrap().is_dir());
    }
}

#[test]
fn an_absence_is_remembered_behind_doors_only() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    for (directory, remembered) in [
        ("debian/snapshots/one/pool", true),
        ("debian/current/pool", true),
        ("debian", false),
        ("debian/snapshots", false),
        ("", false),
    ] {
        let path = format!("{directory}/absent");
        let path = path.trim_start_matches('/');
        assert!(mounted.is_absent(path));
        let before = mounted.tree.asked();
        assert!(mounted.is_absent(path));
        assert_eq!(mounted.tree.asked() == before, remembered, "{path}");
    }
}

/// A mount where `current` leads to `two` and finds what only `one` has as well.
fn lending() -> (Mounted, Door) {
    let (tree, mirror) = two_snapshots();
    let lender = tree.snapshot_door(mirror, "one");
    let door = tree.point(mirror, "current", "two");
    tree.lend(door, Some(lender));
    (Mounted::new(tree), door)
}

#[test]
fn what_does_not_last_is_found_unlisted_and_asked_for_every_time() {
    let (mounted, door) = lending();
    let lent = "debian/current/only/one";
    for listed_before in [false, true] {
        if listed_before {
            assert_eq!(mounted.list("debian/current/only"), ["two"]);
        }
        assert_eq!(mounted.read(lent), "x");
        let before = mounted.tree.asked();
        assert_eq!(mounted.stat(lent).size(), 1);
        assert_eq!(
            mounted.tree.asked(),
            before + 1,
            "one question, attributes and bytes stay"
        );
        assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "two");
    }
    assert_eq!(
        mounted.stat(lent).ino(),
        mounted.stat("debian/snapshots/one/only/one").ino(),
        "the same file under all its names"
    );
    let mut held = File::open(mounted.path(lent)).unwrap();
    mounted.tree.lend(door, None);
    assert!(mounted.is_absent(lent), "at once, with nothing told");
    assert_eq!(io::read_to_string(&mut held).unwrap(), "x", "who has it open reads on");
    let before = mounted.tree.asked();
    assert!(mounted.is_absent(lent));
    assert_eq!(mounted.tree.asked(), before, "that lasts");
}

#[test]
fn a_directory_that_does_not_last_is_found_empty_and_vanishes_with_all_below() {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    let lender = tree.add_snapshot(mirror, "one", vec![("old/deep/file".to_owned(), b"f".to_vec())]);
    tree.add_snapshot(mirror, "two", archive("two"));
    let door = tree.point(mirror, "current", "two");
    tree.lend(door, Some(lender));
    let mounted = Mounted::new(tree);
    assert!(!mounted.list("debian/current").contains(&"old".to_owned()));
    for path in ["debian/current/old", "debian/current/old/deep"] {
        assert!(mounted.stat(path).is_dir());
        assert_eq!(mounted.list(path), Vec::<String>::new(), "{path}");
    }
    assert_eq!(mounted.read("debian/current/old/deep/file"), "f");
    let held = File::open(mounted.path("debian/current/old/deep")).unwrap();
    let within = PathBuf::from(format!("/proc/self/fd/{}/file", held.as_raw_fd()));
    assert_eq!(fs::read(&within).unwrap(), b"f");
    mounted.tree.lend(door, None);
    for path in ["old/deep/file", "old/deep", "old"] {
        assert!(mounted.is_absent(&format!("debian/current/{path}")), "{path}");
    }
    assert_eq!(errno(fs::read(&within)), Some(libc::ENOENT));
}

#[test]
fn control_what_lasts_is_not_asked_for() {
    let (mounted, door) = lending();
    let path = "debian/current/only/two";
    assert_eq!(mounted.read(path), "x");
    mounted.tree.lend(door, None);
    let before = mounted.tree.asked();
    assert_eq!(mounted.read(path), "x");
    assert_eq!(mounted.tree.asked(), before);
}

#[test]
fn pointer_moves_show_at_once_and_whole() {
    const FLIPS: u32 = 300;
    let (tree, mirror) = two_snapshots();
    tree.point(mirror, "staging", "two");
    let mounted = Arc::new(Mounted::new(tree));
    let stop = Arc::new(AtomicBool::new(false));
    let walks = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (mounted, stop, walks) = (Arc::clone(&mounted), Arc::clone(&stop), Arc::clone(&walks));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match reader {
                        0 => drop(mounted.stat("debian/current/dists/stable/InRelease")),
                        1 => drop(mounted.read("debian/current/dists/stable/main/binary-amd64/Packages")),
                        _ => {
                            let held = File::open(mounted.path("debian/current")).unwrap();
                            let held = format!("/proc/self/fd/{}", held.as_raw_fd());
                            let release = fs::read_to_string(format!("{held}/dists/stable/InRelease")).unwrap();
                            assert_eq!(list(Path::new(&format!("{held}/only"))), [release]);
                        }
                    }
                    walks.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut longest = Duration::ZERO;
    for flip in 0..FLIPS {
        let (target, other) = if flip % 2 == 0 { ("two", "one") } else { ("one", "two") };
        mounted.tree.point(mirror, "current", target);
        mounted.tree.point(mirror, "staging", other);
        let begun = std::time::Instant::now();
        mounted.reconcile();
        longest = longest.max(begun.elapsed());
        assert_eq!(
            mounted.read("debian/current/dists/stable/InRelease"),
            target,
            "flip {flip}"
        );
        assert_eq!(
            mounted.read("debian/staging/dists/stable/InRelease"),
            other,
            "flip {flip}"
        );
        assert_eq!(mounted.list("debian/current/only"), [target], "flip {flip}");
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.join().expect("no reader met an error or a mixed tree");
    }
    let walks = walks.load(Ordering::SeqCst);
    assert!(walks > u64::from(FLIPS), "the readers hardly ran: {walks} walks");
    writeln!(
        io::stderr(),
        "{FLIPS} flips, {walks} walks, longest telling {longest:?}"
    )
    .unwrap();
}

/// What the benchmark compares are ways to the same end.
#[test]
fn each_way_of_telling_a_move_shows_it() {
    for told_by in [ToldBy::MovingAside, ToldBy::Forgetting, ToldBy::Expiring] {
        let (tree, mirror) = two_snapshots();
        let mounted = Mounted::with(tree, &Options { told_by, ..options() });
        for target in ["one", "two", "one", "two"] {
            mounted.tree.point(mirror, "current", target);
            mounted.reconcile();
            let release = mounted.read("debian/current/dists/stable/InRelease");
            assert_eq!(release, target, "{told_by:?}");
            assert_eq!(mounted.list("debian/current/only"), [target], "{told_by:?}");
        }
    }
}

#[test]
fn control_an_untold_move_stays_unseen() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "one");
    mounted.tree.point(mirror, "current", "two");
    assert_eq!(
        mounted.read("debian/current/dists/stable/InRelease"),
        "one",
        "the kernel remembers"
    );
    mounted.reconcile();
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "two");
}

#[test]
fn a_held_directory_stays_in_its_tree_and_stays_warm() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    let held = File::open(mounted.path("debian/current")).unwrap();
    let through = |path: &str| PathBuf::from(format!("/proc/self/fd/{}/{path}", held.as_raw_fd()));
    let release = || fs::read_to_string(through("dists/stable/InRelease")).unwrap();
    assert_eq!(release(), "one");
    mounted.tree.point(mirror, "current", "two");
    mounted.reconcile();
    let before = mounted.tree.asked();
    assert_eq!(release(), "one");
    assert_eq!(mounted.tree.asked(), before, "nothing warm was dropped");
    assert_eq!(list(&through("only")), ["one"]);
    let now = fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).unwrap();
    let parent = now.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        parent.starts_with(".doors.") && parent.len() == 39,
        "moved aside to {}",
        now.display()
    );
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "two");
    assert_eq!(
        fs::read_to_string(through("../../current/dists/stable/InRelease")).unwrap(),
        "two"
    );
    // Back to the first snapshot: another door, so another directory.
    mounted.tree.point(mirror, "current", "one");
    mounted.reconcile();
    assert_ne!(held.metadata().unwrap().ino(), mounted.stat("debian/current").ino());
}

#[test]
fn doors_are_hidden() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    let held = File::open(mounted.path("debian/current")).unwrap();
    let old = held.metadata().unwrap().ino() >> 32;
    mounted.tree.point(mirror, "current", "two");
    mounted.reconcile();
    for path in [
        ".doors".to_owned(),
        format!(".doors/{old}"),
        ".doors.".to_owned(),
        ".barrier".to_owned(),
    ] {
        assert!(mounted.is_absent(&format!("debian/{path}")), "{path}");
    }
    assert_eq!(mounted.list("debian"), ["at", "current", "snapshots"]);
    // Who is in an old tree sees the hidden name; it leads to superseded doors only, and lists none.
    let aside = fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).unwrap();
    let hidden = aside.parent().unwrap();
    assert_eq!(list(hidden), [""; 0]);
    let current = mounted.stat("debian/current").ino() >> 32;
    assert_eq!(
        errno(fs::metadata(hidden.join(current.to_string()))),
        Some(libc::ENOENT),
        "not superseded"
    );
    assert_eq!(errno(fs::metadata(hidden.join("4000000"))), Some(libc::ENOENT));
    assert_eq!(errno(fs::metadata(hidden.join(format!("0{old}")))), Some(libc::ENOENT));
}

/// Lets `look` be answered before and processed after `change` is told. Returns whether telling waited for it.
fn answer_in_flight(mounted: &Mounted, look: &str, change: impl FnOnce()) -> bool {
    mounted.tree.hold_next_answer();
    thread::scope(|scope| {
        let walk = scope.spawn(|| fs::symlink_metadata(mounted.path(look)).map(drop));
        mounted.tree.wait_for_held_answer();
        change();
        let telling = scope.spawn(|| mounted.reconcile());
        thread::sleep(Duration::from_millis(200));
        let waited = !telling.is_finished();
        if !waited {
            telling.join().unwrap();
        }
        mounted.tree.release_answer();
        walk.join().unwrap().expect("the walk itself began before the change");
        waited
    })
}

#[test]
fn a_move_waits_for_answers_in_flight() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    mounted.stat("debian");
    let tree = Arc::clone(&mounted.tree);
    let waited = answer_in_flight(&mounted, "debian/current", || {
        tree.point(mirror, "current", "two");
    });
    assert!(waited);
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "two");
}

#[test]
fn control_without_the_barrier_an_answer_in_flight_brings_the_old_tree_back() {
    let (tree, mirror) = two_snapshots();
    let mut without = options();
    without.barrier = false;
    let mounted = Mounted::with(tree, &without);
    mounted.stat("debian");
    let tree = Arc::clone(&mounted.tree);
    let waited = answer_in_flight(&mounted, "debian/current", || {
        tree.point(mirror, "current", "two");
    });
    assert!(!waited);
    assert_eq!(
        mounted.read("debian/current/dists/stable/InRelease"),
        "one",
        "the race this test is about is gone"
    );
}

#[test]
fn a_deletion_waits_for_answers_in_flight() {
    for barrier in [true, false] {
        let (tree, mirror) = two_snapshots();
        let mut options = options();
        options.barrier = barrier;
        let mounted = Mounted::with(tree, &options);
        mounted.stat("debian/snapshots");
        let tree = Arc::clone(&mounted.tree);
        let waited = answer_in_flight(&mounted, "debian/snapshots/one", || tree.remove_snapshot(mirror, "one"));
        assert_eq!(waited, barrier);
        assert_eq!(
            mounted.is_absent("debian/snapshots/one"),
            barrier,
            "with the barrier: {barrier}"
        );
    }
}

#[test]
fn a_listing_in_flight_is_not_kept() {
    for barrier in [true, false] {
        let (tree, mirror) = two_snapshots();
        let mut options = options();
        options.barrier = barrier;
        let mounted = Mounted::with(tree, &options);
        mounted.stat("debian/snapshots");
        mounted.tree.hold_next_answer();
        thread::scope(|scope| {
            let listing = scope.spawn(|| mounted.list("debian/snapshots"));
            mounted.tree.wait_for_held_answer();
            mounted.tree.remove_snapshot(mirror, "one");
            let telling = scope.spawn(|| mounted.reconcile());
            thread::sleep(Duration::from_millis(200));
            assert_eq!(telling.is_finished(), !barrier);
            mounted.tree.release_answer();
            assert_eq!(listing.join().unwrap(), ["one", "two"], "begun before the change");
            telling.join().unwrap();
        });
        let kept = mounted.list("debian/snapshots").len() == 2;
        assert_eq!(kept, !barrier, "with the barrier: {barrier}");
    }
}

#[test]
fn snapshots_come_and_go_at_once() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    let snapshots = || mounted.list("debian/snapshots");
    let release = |name: &str| mounted.read(&format!("debian/snapshots/{name}/dists/stable/InRelease"));
    assert!(
        mounted.is_absent("debian/snapshots/three"),
        "looked up before it exists"
    );
    assert_eq!(snapshots(), ["one", "two"]);

    mounted.tree.add_snapshot(mirror, "three", archive("three"));
    mounted.reconcile();
    assert_eq!(release("three"), "three");
    assert_eq!(snapshots(), ["one", "three", "two"]);

    let held = File::open(mounted.path("debian/snapshots/one/dists/stable/InRelease")).unwrap();
    assert_eq!(release("one"), "one");
    mounted.tree.remove_snapshot(mirror, "one");
    mounted.reconcile();
    assert!(mounted.is_absent("debian/snapshots/one"));
    assert_eq!(snapshots(), ["three", "two"]);
    let mut bytes = [0; 3];
    held.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"one", "an open file of a deleted snapshot goes on");

    mounted.tree.rename_snapshot(mirror, "two", "second");
    mounted.reconcile();
    assert!(mounted.is_absent("debian/snapshots/two"));
    assert_eq!(release("second"), "two");
    assert_eq!(snapshots(), ["second", "three"]);

    mounted.tree.remove_snapshot(mirror, "three");
    mounted.tree.add_snapshot(mirror, "three", archive("replaced"));
    mounted.reconcile();
    assert_eq!(release("three"), "replaced");
}

#[test]
fn control_an_untold_deletion_stays_unseen() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    mounted.stat("debian/snapshots/one");
    assert_eq!(mounted.list("debian/snapshots"), ["one", "two"]);
    mounted.tree.remove_snapshot(mirror, "one");
    assert!(!mounted.is_absent("debian/snapshots/one"));
    assert_eq!(mounted.list("debian/snapshots"), ["one", "two"]);
}

#[test]
fn mirrors_come_and_go_at_once() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    assert!(mounted.is_absent("security"));
    assert_eq!(mounted.list(""), ["debian"]);
    let security = mounted.tree.add_mirror("security");
    mounted.tree.add_snapshot(security, "s", archive("s"));
    mounted.tree.point(security, "current", "s");
    mounted.reconcile();
    assert_eq!(mounted.list(""), ["debian", "security"]);
    assert_eq!(mounted.read("security/current/dists/stable/InRelease"), "s");
    mounted.tree.remove_mirror("security");
    mounted.reconcile();
    assert!(mounted.is_absent("security"));
    assert_eq!(mounted.list(""), ["debian"]);
    let again = mounted.tree.add_mirror("security");
    mounted.tree.add_snapshot(again, "t", archive("t"));
    mounted.tree.point(again, "current", "t");
    mounted.reconcile();
    assert_eq!(mounted.read("security/current/dists/stable/InRelease"), "t");
}

#[test]
fn a_pointer_can_be_set_and_unset() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    assert!(mounted.is_absent("debian/staging"));
    mounted.tree.point(mirror, "staging", "two");
    mounted.reconcile();
    assert_eq!(mounted.list("debian"), ["at", "current", "snapshots", "staging"]);
    assert_eq!(mounted.read("debian/staging/dists/stable/InRelease"), "two");
    mounted.tree.unset(mirror, "staging");
    mounted.reconcile();
    assert!(mounted.is_absent("debian/staging"));
    assert_eq!(mounted.list("debian"), ["at", "current", "snapshots"]);
    mounted.reconcile();
    assert_eq!(
        mounted.read("debian/current/dists/stable/InRelease"),
        "one",
        "telling twice is safe"
    );
}

#[test]
fn many_mirrors_move_at_once() {
    let tree = MemoryTree::new();
    let mirrors: Vec<MirrorNo> = (0..25).map(|n| tree.add_mirror(&format!("mirror{n}"))).collect();
    for mirror in &mirrors {
        for snapshot in 0..40 {
            tree.add_snapshot(*mirror, &format!("s{snapshot}"), archive(&format!("s{snapshot}")));
        }
        tree.point(*mirror, "current", "s0");
    }
    let mounted = Mounted::new(tree);
    let shown = |n: usize| mounted.read(&format!("mirror{n}/current/dists/stable/InRelease"));
    for snapshot in 1..20 {
        for n in 0..mirrors.len() {
            shown(n);
        }
        for mirror in &mirrors {
            mounted.tree.point(*mirror, "current", &format!("s{snapshot}"));
        }
        mounted.reconcile();
        for n in 0..mirrors.len() {
            assert_eq!(shown(n), format!("s{snapshot}"), "mirror{n}");
        }
    }
    assert_eq!(mounted.list("mirror7/snapshots").len(), 40);
}

#[test]
fn telling_from_several_threads_is_safe() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for flip in 0..50 {
                    let target = if flip % 2 == 0 { "two" } else { "one" };
                    mounted.tree.point(mirror, "current", target);
                    mounted.reconcile();
                    mounted.read("debian/current/dists/stable/InRelease");
                }
            });
        }
    });
    mounted.tree.point(mirror, "current", "two");
    mounted.reconcile();
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "two");
}

#[test]
fn numbers_and_times_are_what_a_cache_may_rely_on() {
    let (tree, mirror) = two_snapshots();
    tree.point(mirror, "staging", "one");
    let pool = "pool/main/p3/p3.deb";
    let index = "dists/stable/InRelease";
    let seen: Vec<Vec<(u64, i64)>> = (0..2)
        .map(|_| {
            let mounted = Mounted::new(Arc::clone(&tree));
            let mut seen = Vec::new();
            for door in [
                "debian/current",
                "debian/staging",
                "debian/snapshots/one",
                "debian/snapshots/two",
            ] {
                for path in ["", "dists", pool, index] {
                    let stat = mounted.stat(&format!("{door}/{path}"));
                    seen.push((stat.ino(), stat.mtime()));
                }
            }
            seen
        })
        .collect();
    assert_eq!(seen[0], seen[1], "a restart changes nothing");
    let at = |door: usize, path: usize| seen[0][door * 4 + path];
    for door in 1..4 {
        assert_eq!(at(0, 2), at(door, 2), "a package is one file behind every door");
        for path in [0, 1] {
            assert_ne!(at(0, path).0, at(door, path).0, "a directory has one place");
        }
    }
    let serial = |door: usize| at(door, 3).1;
    assert!(serial(0) >= i64::try_from(SERIAL_TIME).unwrap());
    assert!(serial(1) > serial(0), "an index carries the time of the pointer's move");
    assert_ne!(at(0, 3).0, at(1, 3).0);
    assert_eq!(serial(2), BLOB_TIME, "and its blob's own in a snapshot");
    let mounted = Mounted::new(Arc::clone(&tree));
    let before = mounted.stat("debian/current/dists/stable/InRelease").mtime();
    tree.point(mirror, "current", "one");
    mounted.reconcile();
    assert!(mounted.stat("debian/current/dists/stable/InRelease").mtime() > before);
}

#[test]
fn a_large_directory_is_listed_whole() {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    let files: Files = (0..20_000)
        .map(|n| (format!("pool/{n:05}-a-name-of-usual-length.deb"), vec![]))
        .collect();
    let expected: Vec<String> = files.iter().map(|(path, _)| path["pool/".len()..].to_owned()).collect();
    tree.add_snapshot(mirror, "one", files);
    let mounted = Mounted::new(tree);
    let mut doors = vec!["debian/snapshots/one/pool".to_owned()];
    mounted.tree.point(mirror, "current", "one");
    doors.push("debian/current/pool".to_owned());
    for door in doors {
        for _ in 0..2 {
            assert_eq!(mounted.list(&door), expected, "{door}");
        }
    }
    // A listing under way when its pointer moves stays in its tree.
    let mut listing = fs::read_dir(mounted.path("debian/current/pool")).unwrap();
    let mut names: Vec<_> = listing
        .by_ref()
        .take(50)
        .map(|entry| entry.unwrap().file_name())
        .collect();
    mounted.tree.add_snapshot(mirror, "empty", vec![("x".into(), vec![])]);
    mounted.tree.point(mirror, "current", "empty");
    mounted.reconcile();
    names.extend(listing.map(|entry| entry.unwrap().file_name()));
    names.sort();
    assert_eq!(names, expected.iter().map(OsStr::new).collect::<Vec<_>>());
}

#[test]
fn listings_take_the_memory_they_may_and_no_more() {
    const BUDGET: usize = 1 << 20;
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    let names = |directory: usize| {
        (0..100).map(move |n| format!("{directory:03}-{n:03}-a-name-of-usual-length_1.0-1_amd64.deb"))
    };
    let files: Files = (0..300)
        .flat_map(|directory| names(directory).map(move |name| (format!("pool/{directory:03}/{name}"), vec![])))
        .collect();
    tree.add_snapshot(mirror, "one", files);
    tree.point(mirror, "current", "one");
    let mut options = options();
    options.listing_cache_bytes = BUDGET;
    let mounted = Mounted::with(tree, &options);
    for door in ["debian/snapshots/one", "debian/current"] {
        for directory in 0..300 {
            let listed = mounted.list(&format!("{door}/pool/{directory:03}"));
            assert!(listed.iter().eq(&names(directory).collect::<Vec<_>>()), "{directory}");
            let bytes = mounted.session.cached_listing_bytes();
            assert!(bytes <= BUDGET, "{bytes} after {directory}");
        }
    }
    let bytes = mounted.session.cached_listing_bytes();
    assert!(
        bytes > BUDGET * 9 / 10,
        "the control: {bytes} are kept of what would take six times as much"
    );
}

#[test]
fn many_snapshots_are_listed_whole_while_others_come_and_go() {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    for n in 0..1500 {
        tree.add_snapshot(mirror, &format!("stays-{n:04}"), vec![("x".into(), vec![])]);
        tree.add_snapshot(mirror, &format!("goes-{n:04}"), vec![("x".into(), vec![])]);
    }
    let mounted = Mounted::new(tree);
    assert_eq!(mounted.list("debian/snapshots").len(), 3000);
    mounted.reconcile();
    let mut listing = fs::read_dir(mounted.path("debian/snapshots")).unwrap();
    let mut names: Vec<_> = listing
        .by_ref()
        .take(10)
        .map(|entry| entry.unwrap().file_name())
        .collect();
    for n in 0..1500 {
        mounted.tree.remove_snapshot(mirror, &format!("goes-{n:04}"));
        mounted
            .tree
            .add_snapshot(mirror, &format!("comes-{n:04}"), vec![("x".into(), vec![])]);
    }
    mounted.reconcile();
    names.extend(listing.map(|entry| entry.unwrap().file_name()));
    names.retain(|name| name.as_bytes().starts_with(b"stays-"));
    names.sort();
    let expected: Vec<String> = (0..1500).map(|n| format!("stays-{n:04}")).collect();
    assert_eq!(
        names,
        expected.iter().map(OsStr::new).collect::<Vec<_>>(),
        "no name that stays is missed or doubled"
    );
    assert_eq!(mounted.list("debian/snapshots").len(), 3000);
}

#[test]
fn bytes_that_cannot_be_trusted_are_not_served() {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    let files = [
        ("short", "was longer"),
        ("long", "was shorter"),
        ("gone", "was there"),
        ("good", "is good"),
    ];
    let whole = files.map(|(path, bytes)| (path.to_owned(), bytes.as_bytes().to_vec()));
    tree.add_snapshot(mirror, "one", whole.to_vec());
    fs::write(tree.blob_path(b"was longer"), "short").unwrap();
    fs::write(tree.blob_path(b"was shorter"), "was shorter?").unwrap();
    fs::remove_file(tree.blob_path(b"was there")).unwrap();
    let mounted = Mounted::new(tree);
    for path in ["short", "long", "gone"] {
        let path = mounted.path("debian/snapshots/one").join(path);
        assert_eq!(errno(fs::read(&path)), Some(libc::EIO), "{}", path.display());
        assert!(fs::metadata(&path).is_ok(), "it is listed all the same");
    }
    assert_eq!(mounted.read("debian/snapshots/one/good"), "is good");
    fs::write(mounted.tree.blob_path(b"was longer"), "was longer").unwrap();
    assert_eq!(mounted.read("debian/snapshots/one/short"), "was longer", "repaired");
}

#[test]
fn a_panic_costs_one_request() {
    let (tree, _) = two_snapshots();
    let mut options = options();
    options.threads = NonZeroUsize::new(2).unwrap();
    let mounted = Mounted::with(tree, &options);
    mounted.stat("debian");
    mounted.tree.panic(true);
    for _ in 0..10 {
        assert_eq!(errno(fs::metadata(mounted.path("debian/current"))), Some(libc::EIO));
    }
    mounted.tree.panic(false);
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "one");
}

#[test]
fn open_blobs_are_few_and_known() {
    let (tree, _) = two_snapshots();
    let mut options = options();
    options.open_blobs = NonZeroUsize::new(8).unwrap();
    let mounted = Mounted::with(tree, &options);
    for package in 0..20 {
        mounted.read(&format!("debian/current/pool/main/p{package}/p{package}.deb"));
    }
    let held = mounted.session.held_blobs();
    assert_eq!(held.len(), 8);
    assert!(held.contains(&mounted.tree.blob_number(b"package 19")));
    assert!(!held.contains(&mounted.tree.blob_number(b"package 0")));
}

#[test]
fn everybody_may_read() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    fs::set_permissions(
        mounted.place.path().parent().unwrap(),
        fs::Permissions::from_mode(0o1777),
    )
    .ok();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let place = File::open(mounted.place.path()).unwrap();
            open_files_as(65534);
            let path = format!(
                "/proc/self/fd/{}/debian/current/dists/stable/InRelease",
                place.as_raw_fd()
            );
            fs::read_to_string(path)
        });
        assert_eq!(reader.join().unwrap().unwrap(), "one");
    });
}

#[test]
fn an_unfit_mount_point_is_refused() {
    let (tree, _) = two_snapshots();
    let attempt = |place: &Path| mount(Arc::clone(&tree) as _, place, &options()).map(drop).unwrap_err();
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("missing");
    assert!(matches!(attempt(&missing), MountError::Missing { .. }));
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(
        matches!(attempt(&file), MountError::NotADirectory { .. }),
        "{:?}",
        attempt(&file)
    );
    assert!(matches!(attempt(&file.join("below")), MountError::NotADirectory { .. }));
    assert!(matches!(attempt(place.path()), MountError::NotEmpty { .. }));

    let foreign = tempfile::tempdir().unwrap();
    mount_other("tmpfs", foreign.path());
    let error = attempt(foreign.path());
    detach(foreign.path()).unwrap();
    assert!(
        matches!(&error, MountError::Foreign { kind, .. } if kind == "tmpfs"),
        "{error}"
    );

    let mounted = Mounted::new(Arc::clone(&tree));
    let error = attempt(mounted.place.path());
    assert!(matches!(&error, MountError::AlreadyServed { .. }), "{error}");
    assert_eq!(
        mounted.read("debian/current/dists/stable/InRelease"),
        "one",
        "and is served on"
    );
}

#[test]
fn a_dead_mount_is_known_and_can_be_taken_away() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    mounted.read("debian/current/dists/stable/InRelease");
    let connections = tempfile::tempdir().unwrap();
    mount_other("fusectl", connections.path());
    let minor = libc::minor(fs::metadata(mounted.place.path()).unwrap().dev());
    fs::write(connections.path().join(minor.to_string()).join("abort"), "1").unwrap();
    detach(connections.path()).unwrap();

    mounted.session.wait().unwrap();
    mounted.session.reconcile().expect("nobody can see anything old");
    let place = mounted.place.path();
    assert!(existing(place).unwrap().is_some_and(|found| found.ours && found.dead));
    let (other, _) = two_snapshots();
    let error = mount(Arc::clone(&other) as _, place, &options()).map(drop).unwrap_err();
    assert!(matches!(&error, MountError::Dead { .. }), "{error}");
    detach(place).unwrap();
    assert_eq!(existing(place).unwrap(), None);
    let again = mount(other, place, &options()).unwrap();
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "one");
    drop(again);
}

#[test]
fn unmounting_ends_serving() {
    type Way = (&'static str, fn(&Mounted) -> io::Result<()>);
    const SOON: Duration = Duration::from_secs(10);
    let (tree, _) = two_snapshots();
    let ways: [Way; 3] = [
        ("our own", |mounted| mounted.session.unmounter().unmount()),
        ("a plain umount", |mounted| unmount_plainly(mounted.place.path())),
        ("a lazy umount", |mounted| detach(mounted.place.path())),
    ];
    for (way, unmount) in ways {
        let mounted = Mounted::new(Arc::clone(&tree));
        mounted.read("debian/current/dists/stable/InRelease");
        assert_eq!(mounted.session.wait_at_most(Duration::ZERO).unwrap(), None, "{way}");
        unmount(&mounted).unwrap();
        assert_eq!(mounted.session.wait_at_most(SOON).unwrap(), Some(()), "{way}");
        mounted.session.wait().unwrap();
        mounted.session.unmount().expect("unmounting twice is safe");
        mounted.session.reconcile().expect("nobody can see anything old");
        assert_eq!(existing(mounted.place.path()).unwrap(), None, "{way}");
    }
}

#[test]
fn a_busy_mount_goes_on_for_who_is_in_it() {
    let (tree, mirror) = two_snapshots();
    let mounted = Mounted::new(tree);
    let held = File::open(mounted.path("debian")).unwrap();
    let through = format!("/proc/self/fd/{}/current/dists/stable/InRelease", held.as_raw_fd());
    assert_eq!(errno(unmount_plainly(mounted.place.path())), Some(libc::EBUSY));
    assert!(!mounted.session.is_taken_away());
    mounted.session.unmount().unwrap();
    assert!(mounted.session.is_taken_away());
    assert_eq!(existing(mounted.place.path()).unwrap(), None);
    assert_eq!(fs::read_to_string(&through).unwrap(), "one");
    // The root is out of reach now, so changes are told by notifications alone.
    mounted.tree.point(mirror, "current", "two");
    mounted.reconcile();
    assert_eq!(fs::read_to_string(&through).unwrap(), "two");
    assert_eq!(mounted.session.wait_at_most(Duration::from_millis(50)).unwrap(), None);
    drop(held);
    assert_eq!(mounted.session.wait_at_most(Duration::from_secs(10)).unwrap(), Some(()));
}

#[test]
fn only_the_own_mount_is_taken_away() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    mount_other("tmpfs", mounted.place.path());
    let refused = mounted.session.unmount();
    detach(mounted.place.path()).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ResourceBusy);
    assert_eq!(mounted.read("debian/current/dists/stable/InRelease"), "one");
}

#[test]
fn reading_ahead_is_as_far_as_asked() {
    let (tree, _) = two_snapshots();
    let mounted = Mounted::new(tree);
    let minor = libc::minor(fs::metadata(mounted.place.path()).unwrap().dev());
    let setting = fs::read_to_string(format!("/sys/class/bdi/0:{minor}/read_ahead_kb")).unwrap();
    assert_eq!(setting.trim(), "4096");
}

/// They have no descriptor of the root that would not keep the mount busy.
#[test]
fn ordinary_users_are_promised_the_same() {
    ordinary::succeed_for_ordinary_users(&[
        "a_deletion_waits_for_answers_in_flight",
        "a_held_directory_stays_in_its_tree_and_stays_warm",
        "a_listing_in_flight_is_not_kept",
        "a_move_waits_for_answers_in_flight",
        "a_pointer_can_be_set_and_unset",
        "bytes_are_the_blobs_however_they_are_read",
        "control_without_the_barrier_an_answer_in_flight_brings_the_old_tree_back",
        "many_mirrors_move_at_once",
        "mirrors_come_and_go_at_once",
        "mirrors_pointers_and_snapshots_are_shown",
        "pointer_moves_show_at_once_and_whole",
        "snapshots_come_and_go_at_once",
        "telling_from_several_threads_is_safe",
        "what_is_warm_is_served_without_asking",
        "whatever_would_modify_is_refused",
    ]);
}

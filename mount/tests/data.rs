//! The ways to the bytes of files, each asked the same through the kernel.
//!
//! Owns the tests of [`DataPath`]: what holds must hold for every one of them. They need `/dev/fuse`, the right to mount and Linux 6.9;
//! without them they fail, they are never skipped. What differs between them on purpose is said where it does.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, in its helpers too")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "another process reads by a map, and is told what"
)]

#[expect(dead_code, reason = "what only other tests need")]
mod common;
#[path = "common/mapping/sys.rs"]
mod mapping;
#[path = "common/reading/sys.rs"]
mod reading;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{Files, MemoryTree};
use mapping::Mapped;
use mirrorctl_mount::tree::{FileId, MirrorNo};
use mirrorctl_mount::{DataPath, Options, Session, mount};
use reading::{READINGS, directly, forget, resident, seek};
use tempfile::TempDir;

const RELEASE: &str = "dists/stable/InRelease";
const PACKAGE: &str = "pool/package.deb";

/// Length of the package: many pages, and a part of one.
const LENGTH: usize = 1_222_222;

struct Mounted {
    session: Session,
    tree: Arc<MemoryTree>,
    mirror: MirrorNo,
    place: TempDir,
}

impl Mounted {
    /// One mirror `debian` with the snapshots `one` and `two`, which differ in their Release file only; `current` points at
    /// `one` and `staging` at `two`.
    fn new(data: Option<DataPath>) -> Self {
        let tree = MemoryTree::new();
        let mirror = tree.add_mirror("debian");
        for snapshot in ["one", "two"] {
            tree.add_snapshot(mirror, snapshot, archive(snapshot));
        }
        tree.point(mirror, "current", "one");
        tree.point(mirror, "staging", "two");
        let place = tempfile::tempdir().unwrap();
        let options = Options {
            data,
            ..Options::new("state", 1_500_000_000)
        };
        let session = mount(Arc::clone(&tree) as _, place.path(), &options).expect("these tests need to mount");
        Self {
            session,
            tree,
            mirror,
            place,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path().join("debian").join(path)
    }
}

fn package() -> Vec<u8> {
    (0_u32..)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .take(LENGTH)
        .collect()
}

fn archive(snapshot: &str) -> Files {
    vec![
        (RELEASE.to_owned(), snapshot.repeat(5000).into_bytes()),
        (PACKAGE.to_owned(), package()),
        ("pool/damaged.deb".to_owned(), b"was longer".repeat(2000)),
        ("pool/small.deb".to_owned(), b"small".to_vec()),
        ("pool/empty.deb".to_owned(), Vec::new()),
    ]
}

/// Does `test` with a mount for each way to the bytes.
fn with_each(test: impl Fn(DataPath, &Mounted)) {
    for data in DataPath::ALL {
        let mounted = Mounted::new(Some(data));
        assert_eq!(mounted.session.data_path(), data);
        test(data, &mounted);
    }
}

fn errno(result: io::Result<impl Sized>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// The other process that reads by a map.
#[test]
fn maps_a_file() {
    reading::map_as_told();
}

/// The other process that has a file mapped.
#[test]
fn holds_a_map() {
    mapping::hold_as_told();
}

#[test]
fn the_way_chosen_unasked_is_one_that_another_process_can_go_on_with() {
    let mounted = Mounted::new(None);
    assert_eq!(mounted.session.data_path(), DataPath::NoOpen);
}

#[test]
fn every_way_of_reading_gives_the_blobs_bytes() {
    let package = package();
    with_each(|data, mounted| {
        for door in ["current", "staging", "snapshots/one"] {
            for (name, read) in READINGS {
                let read = |file: &str| read(&mounted.path(door).join(file));
                assert!(read(PACKAGE).unwrap() == package, "{data} {name} {door}");
                assert_eq!(read("pool/empty.deb").unwrap(), b"", "{data} {name} {door}");
                assert_eq!(read("pool/small.deb").unwrap(), b"small", "{data} {name} {door}");
                let snapshot = if door == "staging" { "two" } else { "one" };
                let release = read(RELEASE).unwrap();
                assert!(release == snapshot.repeat(5000).as_bytes(), "{data} {name} {door}");
            }
        }
    });
}

#[test]
fn every_offset_and_every_end_is_right() {
    let package = package();
    with_each(|data, mounted| {
        let file = File::open(mounted.path("current").join(PACKAGE)).unwrap();
        let mut part = vec![0; 70_000];
        for offset in [0_usize, 1, 4095, 1 << 20, LENGTH - part.len()] {
            file.read_exact_at(&mut part, offset as u64).unwrap();
            assert!(part == package[offset..offset + part.len()], "{data} at {offset}");
        }
        let end = LENGTH as u64;
        for offset in [end, 1 << 40, u64::try_from(i64::MAX).unwrap() - 1_000_000] {
            assert_eq!(file.read_at(&mut part, offset).unwrap(), 0, "{data} at {offset}");
        }
        assert_eq!(file.read_at(&mut part, end - 7).unwrap(), 7, "{data}");
        assert_eq!(file.read_at(&mut [], 0).unwrap(), 0, "{data}");

        let signed_end = i64::try_from(LENGTH).unwrap();
        for (from, whence, found) in [
            (0, libc::SEEK_DATA, 0),
            (4097, libc::SEEK_DATA, 4097),
            (0, libc::SEEK_HOLE, signed_end),
            (signed_end - 1, libc::SEEK_HOLE, signed_end),
        ] {
            assert_eq!(seek(&file, from, whence).unwrap(), found, "{data} from {from}");
        }
        for whence in [libc::SEEK_DATA, libc::SEEK_HOLE] {
            assert_eq!(errno(seek(&file, signed_end, whence)), Some(libc::ENXIO), "{data}");
        }
    });
}

#[test]
fn what_did_not_change_stays_in_memory_across_a_promote_and_is_shared_by_all_doors() {
    with_each(|data, mounted| {
        let doors = ["current", "staging", "snapshots/one", "snapshots/two"];
        let blob = mounted.tree.blob_path(&package());
        for forgotten in [mounted.path("current").join(PACKAGE), blob] {
            forget(&forgotten);
        }
        let kept = || doors.map(|door| resident(&mounted.path(door).join(PACKAGE)));
        let pages = LENGTH.div_ceil(4096);
        assert_eq!(kept(), [(0, pages); 4], "{data}: the control");

        fs::read(mounted.path("current").join(PACKAGE)).unwrap();
        assert_eq!(kept(), [(pages, pages); 4], "{data}: one copy for all doors");
        for (snapshot, flip) in [("two", 1), ("one", 2)] {
            mounted.tree.point(mounted.mirror, "current", snapshot);
            mounted.session.reconcile().unwrap();
            let release = fs::read_to_string(mounted.path("current").join(RELEASE)).unwrap();
            assert!(release.starts_with(snapshot), "{data} {flip}");
            assert_eq!(kept(), [(pages, pages); 4], "{data} after {flip} promotes");
        }
        assert!(fs::read(mounted.path("current").join(PACKAGE)).unwrap() == package());
    });
}

#[test]
fn what_was_read_in_a_snapshot_is_read_below_pointers_without_the_mounts_process() {
    let (package, release) = (package(), "one".repeat(5000).into_bytes());
    for data in [DataPath::NoOpen, DataPath::KeepCache] {
        let mounted = Mounted::new(Some(data));
        let blobs = [&package, &release].map(|bytes| mounted.tree.blob_path(bytes));
        for file in [PACKAGE, RELEASE] {
            fs::read(mounted.path("snapshots/one").join(file)).unwrap();
        }
        // Should the mount's process read a blob again, its pages are back.
        for blob in &blobs {
            forget(blob);
        }
        let unread = || blobs.iter().all(|blob| resident(blob).0 == 0);
        assert!(unread(), "{data}: the control");
        let pages = LENGTH.div_ceil(4096);
        let shared = |when: &str| {
            for door in ["current", "staging", "snapshots/two"] {
                let path = mounted.path(door).join(PACKAGE);
                assert_eq!(resident(&path), (pages, pages), "{data} {door} {when}");
                assert!(fs::read(path).unwrap() == package, "{data} {door} {when}");
            }
            assert!(unread(), "{data}: nothing was read of the blobs {when}");
        };
        shared("before the promote");
        mounted.tree.point(mounted.mirror, "current", "two");
        mounted.session.reconcile().unwrap();
        shared("after the promote");
        // What the promote changed is nowhere yet; and the same bytes at a plain name below a pointer are a file of their own.
        mounted.tree.point(mounted.mirror, "staging", "one");
        mounted.session.reconcile().unwrap();
        for door in ["current", "staging"] {
            assert_eq!(resident(&mounted.path(door).join(RELEASE)).0, 0, "{data} {door}");
        }
        assert!(fs::read(mounted.path("staging").join(RELEASE)).unwrap() == release);
        assert!(!unread(), "{data}: the control that a read is seen");
    }
}

#[test]
fn damage_is_an_error_in_every_way_of_reading_until_it_is_repaired() {
    with_each(|data, mounted| {
        let whole = b"was longer".repeat(2000);
        let (blob, path) = (mounted.tree.blob_path(&whole), mounted.path("current/pool/damaged.deb"));
        let shorter = &whole[..whole.len() - 1];
        let longer = [&whole[..], b"!"].concat();
        for damaged in [Some(shorter), Some(&longer), Some(&[]), None] {
            fs::remove_file(&blob).unwrap_or_default();
            if let Some(bytes) = damaged {
                fs::write(&blob, bytes).unwrap();
            }
            for (name, read) in READINGS {
                let error = read(&path).map(|_| ()).unwrap_err().raw_os_error();
                assert_eq!(error, Some(libc::EIO), "{data} {name}");
            }
            // Where opening is asked for, it says so before a web server has promised a length.
            assert_eq!(File::open(&path).is_ok(), data == DataPath::NoOpen, "{data}");
        }
        fs::write(&blob, &whole).unwrap();
        for (name, read) in READINGS {
            assert!(read(&path).unwrap() == whole, "{data} {name}");
        }
    });
}

/// With files that are hot, open and mapped, of which the kernel needs no bytes from anybody.
#[test]
fn bytes_that_were_forgotten_are_shown_to_nobody_until_they_are_whole() {
    with_each(|data, mounted| {
        let whole = b"was longer".repeat(2000);
        let (blob, path) = (mounted.tree.blob_path(&whole), mounted.path("current/pool/damaged.deb"));
        let (open, mut mapped) = (File::open(&path).unwrap(), Mapped::of(&path));
        assert!(
            mapped.bytes().unwrap() == whole && fs::read(&path).unwrap() == whole,
            "{data}"
        );
        // The tree knows that it is damaged.
        fs::remove_file(&blob).unwrap();
        assert!(mapped.bytes().unwrap() == whole, "{data}: hot");
        let file = FileId {
            blob: mounted.tree.blob_number(&whole),
            serial: 0,
        };
        mounted.session.forget_files(&[file]).unwrap();
        for (name, read) in READINGS {
            let error = read(&path).map(|_| ()).unwrap_err().raw_os_error();
            assert_eq!(error, Some(libc::EIO), "{data} {name}");
        }
        let mut bytes = vec![0; whole.len()];
        let (held, seen) = (open.read_exact_at(&mut bytes, 0), mapped.bytes());
        if data == DataPath::Passthrough {
            // The kernel has the old file itself, as long as anybody has it open.
            assert!(held.is_ok() && bytes == whole && seen.unwrap() == whole);
        } else {
            assert_eq!(held.unwrap_err().raw_os_error(), Some(libc::EIO), "{data}");
            assert_eq!(seen, None, "{data}");
        }
        fs::write(&blob, &whole).unwrap();
        mounted.session.forget_files(&[file]).unwrap();
        if data == DataPath::Passthrough {
            assert!(File::open(&path).is_err(), "no other file while the old one is open");
            drop((mapped, open));
            // Closing is told a little later than it is done.
            let opens = |_| {
                thread::sleep(Duration::from_millis(10));
                File::open(&path).is_ok()
            };
            assert!((0..1_000).any(opens), "nobody has the old file open any more");
        } else {
            open.read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes == whole, "{data}");
        }
        assert!(fs::read(&path).unwrap() == whole, "{data}");
        assert!(Mapped::of(&path).bytes().unwrap() == whole, "{data}");
    });
}

#[test]
fn who_has_a_file_open_reads_on_when_its_blob_is_deleted() {
    with_each(|data, mounted| {
        let mut open = File::open(mounted.path("current").join(PACKAGE)).unwrap();
        let mut bytes = vec![0; 10];
        open.read_exact(&mut bytes).unwrap();
        let number = mounted.tree.blob_number(&package());
        assert!(mounted.session.held_blobs().contains(&number), "{data}");
        fs::remove_file(mounted.tree.blob_path(&package())).unwrap();
        mounted.tree.point(mounted.mirror, "current", "two");
        mounted.session.reconcile().unwrap();
        open.read_to_end(&mut bytes).unwrap();
        assert!(bytes == package(), "{data}");
    });
}

#[test]
fn files_that_the_kernel_reads_are_held_from_the_first_opening_to_the_last_closing() {
    let mounted = Mounted::new(Some(DataPath::Passthrough));
    let numbers = || mounted.session.held_blobs();
    let small = mounted.tree.blob_number(b"small");
    assert_eq!(numbers(), []);
    // Through all doors it is one inode, and each opening must name the same number.
    let doors = ["current", "staging", "snapshots/one", "snapshots/two"];
    let open = doors.map(|door| File::open(mounted.path(door).join("pool/small.deb")).unwrap());
    assert_eq!(numbers(), [small]);
    for (left, file) in open.into_iter().enumerate().rev() {
        assert_eq!(io::read_to_string(&file).unwrap(), "small");
        drop(file);
        if left > 0 {
            assert_eq!(numbers(), [small], "{left} left");
        }
    }
    // The kernel tells of the last closing when it comes to it.
    while !numbers().is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(fs::read(mounted.path("current/pool/small.deb")).unwrap(), b"small");
}

#[test]
fn many_threads_open_and_close_one_file() {
    with_each(|data, mounted| {
        let release = "one".repeat(5000);
        // The Release file has an inode for each pointer, all of one blob.
        mounted.tree.point(mounted.mirror, "staging", "one");
        mounted.session.reconcile().unwrap();
        thread::scope(|scope| {
            for door in ["current", "staging", "snapshots/one", "current"] {
                let (path, release) = (mounted.path(door).join(RELEASE), &release);
                scope.spawn(move || {
                    for round in 0..50 {
                        if round % 10 == 0 {
                            assert!(directly(&path).unwrap() == release.as_bytes(), "{data}");
                        }
                        let read = fs::read(&path).unwrap_or_else(|error| panic!("{data} {door} {round}: {error}"));
                        assert!(read == release.as_bytes(), "{data}");
                    }
                });
            }
        });
    });
}

#[test]
fn without_openings_nobody_is_asked_for_what_is_in_memory() {
    with_each(|data, mounted| {
        let path = mounted.path("current/pool/small.deb");
        for _ in 0..2 {
            fs::read(&path).unwrap();
        }
        let before = mounted.tree.asked();
        for _ in 0..10 {
            fs::read(&path).unwrap();
        }
        let asked = mounted.tree.asked() - before;
        match data {
            // The opening finds the blob open.
            DataPath::NoOpen | DataPath::KeepCache => assert_eq!(asked, 0, "{data}"),
            DataPath::Passthrough => assert!(asked >= 10, "{data}: {asked}"),
        }
    });
}

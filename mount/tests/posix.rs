//! What programs may expect of a file system besides names and bytes, asked through the kernel.
//!
//! Owns the rows of docs/reliability.md about positions in listings, names of every length, handles, locks and requests that make no sense
//! here. They need `/dev/fuse` and the right to mount; without them they fail, they are never skipped.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, in its helpers too")]
#![expect(clippy::disallowed_types, reason = "another process waits, and is killed")]

#[path = "common/calls/sys.rs"]
mod calls;
#[expect(dead_code, reason = "what only other tests need")]
mod common;
#[path = "common/sys.rs"]
#[expect(dead_code, reason = "what only other tests need")]
mod sys;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use calls::{Directory, Handle, locks_of_all_kinds, unknown_ioctl};
use common::{Files, MemoryTree};
use mirrorctl_mount::tree::MirrorNo;
use mirrorctl_mount::{Options, Session, mount};
use tempfile::TempDir;

struct Mounted {
    session: Option<Session>,
    tree: Arc<MemoryTree>,
    mirror: MirrorNo,
    place: TempDir,
}

impl Mounted {
    /// One mirror `debian` whose `current` leads to the snapshot `one` of `files`; there is also `two`, which is empty but for one file.
    fn new(files: Files) -> Self {
        let tree = MemoryTree::new();
        let mirror = tree.add_mirror("debian");
        tree.add_snapshot(mirror, "one", files);
        tree.add_snapshot(mirror, "two", vec![("x".to_owned(), b"x".to_vec())]);
        tree.point(mirror, "current", "one");
        let place = tempfile::tempdir().unwrap();
        let mut mounted = Self {
            session: None,
            tree,
            mirror,
            place,
        };
        mounted.mount();
        mounted
    }

    fn mount(&mut self) {
        let options = Options::new("state", 1_500_000_000);
        let session = mount(Arc::clone(&self.tree) as _, self.place.path(), &options);
        self.session = Some(session.expect("these tests need to mount"));
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path().join("debian").join(path)
    }

    fn reconcile(&self) {
        self.session.as_ref().unwrap().reconcile().unwrap();
    }
}

fn errno(result: io::Result<impl Sized>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_huge_directory_is_listed_once_from_any_position_and_across_a_promote() {
    const ENTRIES: usize = 200_000;
    let name = |n: usize| format!("{n:06}-package_1.0-1_amd64.deb");
    let mounted = Mounted::new((0..ENTRIES).map(|n| (format!("pool/{}", name(n)), vec![])).collect());
    let mut directory = Directory::open(&mounted.path("current/pool"));
    let mut positions = Vec::new();
    let mut seen = HashSet::with_capacity(ENTRIES);
    let mut count = 0;
    loop {
        // Positions all over the listing, to come back to.
        if count % 9973 == 0 {
            positions.push((directory.tell(), count));
        }
        let Some(entry) = directory.next() else { break };
        if count == ENTRIES / 2 {
            mounted.tree.point(mounted.mirror, "current", "two");
            mounted.reconcile();
            assert_eq!(fs::read_dir(mounted.path("current")).unwrap().count(), 1);
        }
        count += 1;
        assert!(seen.insert(entry), "no name comes twice");
    }
    assert_eq!(count, ENTRIES + 2, "with . and ..");
    assert!(
        (0..ENTRIES).all(|n| seen.contains(name(n).as_bytes())),
        "no name is missed"
    );

    // Backwards, so that each is a jump.
    for (position, passed) in positions.into_iter().rev() {
        directory.seek(position);
        let next = directory.next();
        if let Some(number) = passed.checked_sub(2).filter(|number| *number < ENTRIES) {
            assert_eq!(next.unwrap(), name(number).as_bytes(), "at {passed}");
        }
    }
    directory.rewind();
    assert_eq!(std::iter::from_fn(|| directory.next()).count(), ENTRIES + 2);
}

#[test]
fn names_of_every_length_and_kind_are_found_byte_for_byte() {
    let mut names: Vec<String> = (1..=255).map(|length| "n".repeat(length)).collect();
    names.extend(
        [
            "with space",
            "per%20cent",
            "a+b~c:d=e",
            "naïve-日本語",
            "-dash",
            "new\u{85}line",
            "ünïcode".repeat(25).as_str(),
        ]
        .map(str::to_owned),
    );
    let mounted = Mounted::new(
        names
            .iter()
            .map(|name| (format!("pool/{name}"), name.clone().into_bytes()))
            .collect(),
    );
    let mut listed: Vec<String> = fs::read_dir(mounted.path("current/pool"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in &names {
        assert_eq!(
            fs::read(mounted.path("current/pool").join(name)).unwrap(),
            name.as_bytes(),
            "{name}"
        );
    }
    names.sort();
    listed.sort();
    assert_eq!(listed, names);
    for length in [256, 1000, 4000] {
        let longer = mounted.path("current/pool").join("n".repeat(length));
        assert_eq!(errno(fs::metadata(longer)), Some(libc::ENAMETOOLONG), "{length}");
    }
    let no_text = mounted.path("current/pool").join(OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(fs::metadata(no_text).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn locks_hold_among_the_programs_of_this_machine() {
    let mounted = Mounted::new(vec![("dists/stable/InRelease".to_owned(), b"one".to_vec())]);
    locks_of_all_kinds(&mounted.path("current/dists/stable/InRelease"));
}

#[test]
fn what_makes_no_sense_here_is_refused_plainly() {
    let mounted = Mounted::new(vec![("file".to_owned(), b"one".to_vec())]);
    for path in ["current/file", "current"] {
        let file = File::open(mounted.path(path)).unwrap();
        assert_eq!(unknown_ioctl(&file), Some(libc::ENOTTY), "{path}");
    }
    assert_eq!(
        fs::read(mounted.path("current/file")).unwrap(),
        b"one",
        "and nothing stops"
    );
}

#[test]
fn who_is_killed_while_waiting_for_an_answer_holds_nobody_up() {
    let mounted = Mounted::new(vec![("file".to_owned(), b"one".to_vec())]);
    mounted.tree.hold_next_answer();
    let mut asking = Command::new("stat")
        .arg(mounted.path("snapshots/one"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    mounted.tree.wait_for_held_answer();
    asking.kill().unwrap();
    assert_eq!(
        fs::read(mounted.path("current/file")).unwrap(),
        b"one",
        "others are served"
    );
    mounted.tree.release_answer();
    assert!(!asking.wait().unwrap().success());
    assert!(
        fs::metadata(mounted.path("snapshots/one")).unwrap().is_dir(),
        "and so is the same question"
    );
}

#[test]
fn handles_lead_to_files_and_directories_after_names_were_dropped_and_after_a_restart() {
    let mut mounted = Mounted::new(vec![
        ("dists/stable/InRelease".to_owned(), b"release".to_vec()),
        ("pool/main/p.deb".to_owned(), b"package".to_vec()),
    ]);
    let of = |mounted: &Mounted, path: &str| Handle::of(&mounted.path(path));
    let files = [
        ("current/dists/stable/InRelease", "release"),
        ("snapshots/one/pool/main/p.deb", "package"),
    ];
    let directories = [
        "current/pool/main",
        "current",
        "snapshots/one",
        "snapshots/one/dists/stable",
        "snapshots",
    ];
    let file_handles = files.map(|(path, bytes)| (of(&mounted, path), bytes));
    let directory_handles = directories.map(|path| (of(&mounted, path), path));
    let check = |mounted: &Mounted, when: &str| {
        let root = File::open(mounted.place.path()).unwrap();
        for (handle, bytes) in &file_handles {
            let opened = handle
                .open(&root)
                .unwrap_or_else(|error| panic!("{bytes} {when}: {error}"));
            assert_eq!(io::read_to_string(opened).unwrap(), *bytes, "{when}");
        }
        for (handle, path) in &directory_handles {
            let opened = handle
                .open(&root)
                .unwrap_or_else(|error| panic!("{path} {when}: {error}"));
            let there = fs::metadata(mounted.path(path)).unwrap();
            assert_eq!(opened.metadata().unwrap().ino(), there.ino(), "{path} {when}");
        }
    };
    check(&mounted, "warm");
    let before = mounted.tree.asked();
    fs::metadata(mounted.path("current/pool/main")).unwrap();
    assert_eq!(mounted.tree.asked(), before, "the control: it is remembered");
    sys::forget_names(mounted.place.path()).unwrap();
    check(&mounted, "after names were dropped");
    assert!(mounted.tree.asked() > before, "they were");
    mounted.session = None;
    mounted.mount();
    check(&mounted, "after a restart, with nothing remembered");

    // What is gone is stale, and never something else.
    let doomed = of(&mounted, "snapshots/one/pool/main");
    mounted.tree.point(mounted.mirror, "current", "two");
    mounted.tree.remove_snapshot(mounted.mirror, "one");
    mounted.reconcile();
    mounted.session = None;
    mounted.mount();
    let root = File::open(mounted.place.path()).unwrap();
    assert_eq!(errno(doomed.open(&root)), Some(libc::ESTALE));
}

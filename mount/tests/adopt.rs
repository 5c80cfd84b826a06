//! A mount that outlives the process that serves it.
//!
//! Owns the tests in which that process is killed. It is this test program, started again to run [`serves_until_killed`]
//! only; the test holds what keeps the mount, and adopts it. The *control* leaves out the asking again and must see a
//! request hang.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, in its helpers too")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the process that is killed is started, told where to mount, and says what it does"
)]

#[expect(dead_code, reason = "what only the other tests need")]
mod common;
#[expect(dead_code, reason = "what only the tests of the kernel need")]
#[path = "common/ordinary.rs"]
mod ordinary;
#[path = "common/sys.rs"]
#[expect(dead_code, reason = "what only the other tests need")]
mod sys;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::{Files, MemoryTree};
use mirrorctl_mount::tree::MirrorNo;
use mirrorctl_mount::{
    AdoptError, DataPath, Held, Options, Session, adopt, detach, existing, mount, replace, stands_at,
};
use tempfile::TempDir;

/// Tells [`serves_until_killed`] where to mount, and by which data path.
const PLACE: &str = "MIRRORCTL_TEST_ADOPT_PLACE";
const DATA: &str = "MIRRORCTL_TEST_ADOPT_DATA";

/// Longer than anything here takes on a machine that is busy with other things.
const LONG: Duration = Duration::from_mins(1);

/// How long an answer that never comes is waited for.
const SHORT: Duration = Duration::from_secs(2);

/// What a page cache is read past with.
const PAGE: usize = 4096;

fn options() -> Options {
    Options::new("/var/lib/mirrorctl", 1_500_000_000)
}

fn options_with(data: Option<DataPath>) -> Options {
    Options { data, ..options() }
}

fn archive(snapshot: &str) -> Files {
    let package = ("pool/p.deb".to_owned(), vec![b'p'; 3 * PAGE]);
    let release = ("dists/stable/InRelease".to_owned(), snapshot.repeat(PAGE).into_bytes());
    vec![release, package]
}

/// The tree that every process of these tests makes anew, number for number.
fn tree() -> (Arc<MemoryTree>, MirrorNo) {
    let tree = MemoryTree::new();
    let mirror = tree.add_mirror("debian");
    for snapshot in ["one", "two", "doomed"] {
        tree.add_snapshot(mirror, snapshot, archive(snapshot));
    }
    tree.point(mirror, "current", "one");
    tree.point(mirror, "staging", "two");
    (tree, mirror)
}

/// The other process: mounts, tells the numbers of the descriptors to hold, and holds answers back when told to.
#[test]
fn serves_until_killed() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let (tree, _) = tree();
    let data = std::env::var(DATA).ok().map(|word| word.parse().unwrap());
    let options = options_with(data);
    let session = mount(Arc::clone(&tree) as _, Path::new(&place), &options).expect("these tests need to mount");
    let held = session.held().unwrap();
    println!("\nheld {} {}", held.device.as_raw_fd(), held.record.as_raw_fd());
    for line in io::stdin().lines() {
        assert_eq!(line.unwrap(), "hold");
        tree.hold_next_answer();
        println!("\nwilling");
        tree.wait_for_held_answer();
        println!("\nholding");
    }
}

/// A mount served by another process, which is killed at the end at the latest; then the mount is taken away.
struct Other {
    process: Child,
    orders: ChildStdin,
    says: BufReader<ChildStdout>,
    held: Held,
    place: TempDir,
}

impl Other {
    fn new() -> Self {
        Self::by(None)
    }

    /// One whose files are read by `data`.
    fn by(data: Option<DataPath>) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serves_until_killed", "--nocapture"])
            .env(PLACE, place.path())
            .envs(data.map(|data| (DATA, data.name())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let mut says = BufReader::new(process.stdout.take().unwrap());
        let numbers = said(&mut says, "held ");
        let mut numbers = numbers.split(' ').map(|number| number.parse().unwrap());
        let mut descriptor = || sys::descriptor_of(process.id(), numbers.next().unwrap());
        let held = Held {
            device: descriptor(),
            record: descriptor(),
        };
        Self {
            process,
            orders,
            says,
            held,
            place,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    fn stat(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Asks for `path` from a thread; returns when the other process has worked out the answer and does not send it.
    fn ask_without_answer(&mut self, path: &str) -> mpsc::Receiver<io::Result<u64>> {
        self.orders.write_all(b"hold\n").unwrap();
        said(&mut self.says, "willing");
        let (sender, answer) = mpsc::channel();
        let path = self.path(path);
        thread::spawn(move || sender.send(fs::symlink_metadata(path).map(|found| found.ino())));
        said(&mut self.says, "holding");
        answer
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Keeps the mount no longer.
    fn let_go(&mut self) {
        let nothing = || File::open("/dev/null").unwrap().into();
        self.held = Held {
            device: nothing(),
            record: nothing(),
        };
    }

    fn adopt(&self, tree: &Arc<MemoryTree>, options: &Options) -> Result<Session, AdoptError> {
        adopt(
            Arc::clone(tree) as _,
            self.held.try_clone().unwrap(),
            self.place.path(),
            options,
        )
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Each may have been done already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = detach(self.place.path());
    }
}

/// What the line that begins with `word` says after it.
fn said(says: &mut BufReader<ChildStdout>, word: &str) -> String {
    let mut line = String::new();
    while says.read_line(&mut line).unwrap() > 0 {
        if let Some(rest) = line.trim_end().strip_prefix(word) {
            return rest.to_owned();
        }
        line.clear();
    }
    panic!("the other process has ended without saying {word:?}");
}

/// Reads past the page cache, so that whoever serves is asked.
fn open_directly(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)
}

/// Opens and reads `path` again and again until told to stop, and hands back what went wrong.
fn reader(
    path: PathBuf,
    expected: Vec<u8>,
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut wrong = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let mut bytes = Vec::new();
            match open_directly(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
                Ok(_) if bytes == expected => {}
                Ok(_) => wrong.push("other bytes".to_owned()),
                Err(error) => wrong.push(error.to_string()),
            }
            rounds.fetch_add(1, Ordering::SeqCst);
        }
        wrong
    })
}

/// What holds for a mount that another process adopts, whatever the data path.
fn nothing_fails_when_adopted(data: Option<DataPath>) {
    let options = || options_with(data);
    let mut other = Other::by(data);
    let release = other.path("debian/current/dists/stable/InRelease");
    let open = open_directly(&release).unwrap();
    let directory = File::open(other.path("debian/current")).unwrap();
    let inside = PathBuf::from(format!(
        "/proc/self/fd/{}/dists/stable/InRelease",
        directory.as_raw_fd()
    ));
    let package = other.stat("debian/current/pool/p.deb").ino();
    let current = other.stat("debian/current").ino();

    let (rounds, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = [
        "debian/current/pool/p.deb",
        "debian/staging/pool/p.deb",
        "debian/current/pool/p.deb",
    ]
    .map(|path| {
        reader(
            other.path(path),
            vec![b'p'; 3 * PAGE],
            Arc::clone(&rounds),
            Arc::clone(&stop),
        )
    })
    .into();
    let in_flight = other.ask_without_answer("debian/snapshots/two");
    other.kill();
    let (tree, mirror) = tree();
    let session = other.adopt(&tree, &options()).unwrap();
    session.reconcile().unwrap();

    let expected = tree.snapshot_door(mirror, "two");
    let found = in_flight
        .recv_timeout(LONG)
        .expect("the request was asked again")
        .unwrap();
    assert_eq!(found >> 32, u64::from(expected.0));
    let after = rounds.load(Ordering::SeqCst);
    while rounds.load(Ordering::SeqCst) < after + 30 {
        thread::yield_now();
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), [""; 0]);
    }
    let mut bytes = vec![0; PAGE];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.starts_with(b"oneone"));
    assert!(fs::read(&inside).unwrap().starts_with(b"oneone"));
    assert_eq!(other.stat("debian/current").ino(), current);
    assert_eq!(
        other.stat("debian/snapshots/one/pool/p.deb").ino(),
        package,
        "asked of the new process"
    );

    tree.point(mirror, "current", "two");
    session.reconcile().unwrap();
    assert!(fs::read(&release).unwrap().starts_with(b"twotwo"));
    assert!(
        fs::read(&inside).unwrap().starts_with(b"oneone"),
        "who stands in the old tree stays there"
    );
    assert!(
        existing(other.place.path())
            .unwrap()
            .is_some_and(|found| found.ours && !found.dead)
    );
    drop((open, directory));
    session.unmount().unwrap();
    assert!(
        session.wait_at_most(LONG).unwrap().is_some(),
        "the mount ends although it is held"
    );
}

#[test]
fn nothing_fails_when_the_serving_process_is_killed_and_another_adopts_the_mount() {
    nothing_fails_when_adopted(None);
}

#[test]
fn nothing_fails_either_where_each_opening_is_asked_for() {
    nothing_fails_when_adopted(Some(DataPath::KeepCache));
}

#[test]
fn a_mount_whose_files_the_kernel_reads_is_not_adopted_and_who_reads_reads_on() {
    let by = |data| options_with(Some(data));
    let mut other = Other::by(Some(DataPath::Passthrough));
    let package = other.path("debian/current/pool/p.deb");
    let mut open = File::open(&package).unwrap();
    let mut first = [0];
    open.read_exact(&mut first).unwrap();
    other.kill();
    let (tree, _) = tree();
    let error = other.adopt(&tree, &by(DataPath::Passthrough)).unwrap_err();
    assert!(matches!(error, AdoptError::Unadoptable { .. }), "{error}");
    for choice in [options(), by(DataPath::NoOpen), by(DataPath::KeepCache)] {
        let error = other.adopt(&tree, &choice).unwrap_err();
        assert!(matches!(error, AdoptError::OtherChoice), "{error}");
    }
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 3 * PAGE - 1, "nobody needs the process for that");
}

/// What holds where a mount is made anew in the place of one by `data`, with an answer missing there.
fn who_comes_after_finds_a_new_mount_in_the_place(data: Option<DataPath>) {
    let mut other = Other::by(data);
    let waiting = other.ask_without_answer("debian/snapshots/two");
    let (device, shown) = (other.stat("").dev(), other.stat("debian/current").ino());
    let inside = File::open(other.path("debian")).unwrap();
    other.kill();
    let (tree, mirror) = tree();
    let session = replace(Arc::clone(&tree) as _, other.place.path(), &options_with(data)).unwrap();
    assert_ne!(other.stat("").dev(), device);
    assert_eq!(other.stat("debian/current").ino(), shown, "numbers are computed");
    let place = other.place.path().to_str().unwrap().to_owned();
    let mounted = || {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let lines = table.lines().map(str::to_owned);
        lines
            .filter(|line| line.split(' ').nth(4) == Some(place.as_str()))
            .collect::<Vec<_>>()
    };
    let lines = mounted();
    assert_eq!(lines.len(), 1, "the old one is off: {lines:?}");
    let usual = " ro,nosuid,nodev,noexec,noatime ";
    assert!(lines[0].contains(usual), "{}", lines[0]);
    let shown_as = " - fuse.mirrorctl /var/lib/mirrorctl ro,user_id=0,group_id=0,allow_other";
    assert!(lines[0].ends_with(shown_as), "{}", lines[0]);

    // It is told of changes, and can be adopted in its turn.
    tree.point(mirror, "current", "two");
    session.reconcile().unwrap();
    let release = other.path("debian/current/dists/stable/InRelease");
    assert!(fs::read(&release).unwrap().starts_with(b"twotwo"));
    assert!(session.ask().is_ok());

    // Who waits in the old one waits as long as it is held, and then gets an error.
    assert_eq!(
        waiting.recv_timeout(SHORT / 4).map(drop),
        Err(mpsc::RecvTimeoutError::Timeout)
    );
    other.let_go();
    let refused = waiting.recv_timeout(LONG).expect("freed").unwrap_err();
    assert!(
        matches!(refused.raw_os_error(), Some(libc::ECONNABORTED | libc::ENOTCONN)),
        "{refused}"
    );
    let within = format!("/proc/self/fd/{}/nothing", inside.as_raw_fd());
    assert!(fs::symlink_metadata(within).is_err_and(|error| error.kind() != ErrorKind::NotFound));
    drop(inside);
    session.unmount().unwrap();
    assert_eq!(mounted(), [""; 0]);
    assert!(session.wait_at_most(LONG).unwrap().is_some());
}

#[test]
fn a_mount_that_cannot_be_adopted_is_replaced_by_a_new_one() {
    who_comes_after_finds_a_new_mount_in_the_place(None);
    who_comes_after_finds_a_new_mount_in_the_place(Some(DataPath::Passthrough));
}

#[test]
fn only_a_mount_of_ours_is_replaced() {
    let place = tempfile::tempdir().unwrap();
    let (tree, _) = tree();
    let replaced = || replace(Arc::clone(&tree) as _, place.path(), &options()).map(drop);
    replaced().unwrap_err();
    sys::mount_other("tmpfs", place.path());
    replaced().unwrap_err();
    detach(place.path()).unwrap();
    assert!(!stands_at(place.path()).unwrap());
    // One that lives is replaced without a failed walk; who is inside is served on by the old one.
    let first = mount(Arc::clone(&tree) as _, place.path(), &options()).unwrap();
    assert!(stands_at(place.path()).unwrap());
    let inside = File::open(place.path().join("debian")).unwrap();
    let (stop, path) = (Arc::new(AtomicBool::new(false)), place.path().join("debian/snapshots"));
    let walking = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut wrong = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                wrong.extend(fs::metadata(&path).err());
            }
            wrong
        })
    };
    let sessions: Vec<_> = (0..10)
        .map(|_| replace(Arc::clone(&tree) as _, place.path(), &options()).unwrap())
        .collect();
    stop.store(true, Ordering::SeqCst);
    assert!(walking.join().unwrap().is_empty());
    let within = format!("/proc/self/fd/{}/nothing", inside.as_raw_fd());
    let absent = fs::symlink_metadata(within).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound, "the first one answers");
    drop((inside, sessions, first));
    assert!(!stands_at(place.path()).unwrap());
}

#[test]
fn control_without_asking_again_a_request_in_flight_hangs() {
    let mut other = Other::new();
    let in_flight = other.ask_without_answer("debian/snapshots/two");
    other.kill();
    let (tree, _) = tree();
    let mut silent = options();
    silent.ask_again = false;
    let session = other.adopt(&tree, &silent).unwrap();
    assert_eq!(other.stat("debian/snapshots/one").mode() & 0o777, 0o555, "it serves");
    assert_eq!(
        in_flight.recv_timeout(SHORT).map(drop),
        Err(mpsc::RecvTimeoutError::Timeout)
    );

    let again = other.adopt(&tree, &options()).unwrap();
    in_flight.recv_timeout(LONG).expect("asking again frees it").unwrap();
    drop((session, again));
}

#[test]
fn what_changed_while_nobody_served_is_told() {
    let mut other = Other::new();
    for path in [
        "debian/current",
        "debian/staging",
        "debian/snapshots/doomed",
        "debian/snapshots/one",
    ] {
        fs::read_dir(other.path(path)).unwrap().for_each(drop);
    }
    other.kill();
    let (tree, mirror) = tree();
    let untold = other.adopt(&tree, &options()).unwrap();
    tree.point(mirror, "current", "two");
    tree.unset(mirror, "staging");
    tree.remove_snapshot(mirror, "doomed");
    tree.add_mirror("security");
    let release = other.path("debian/current/dists/stable/InRelease");
    assert!(
        fs::read(&release).unwrap().starts_with(b"one"),
        "the kernel still leads to the old tree"
    );
    assert!(other.path("debian/snapshots/doomed").exists());

    untold.reconcile().unwrap();
    assert!(fs::read(&release).unwrap().starts_with(b"two"));
    for gone in ["debian/staging", "debian/snapshots/doomed"] {
        let error = fs::symlink_metadata(other.path(gone)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{gone}");
    }
    assert!(other.path("security/snapshots").is_dir());
    assert!(other.path("debian/snapshots/one/pool/p.deb").exists());

    // What this process has handed out is on record for the next.
    fs::read_dir(other.path("debian/current/dists")).unwrap().for_each(drop);
    let next = other.adopt(&tree, &options()).unwrap();
    tree.point(mirror, "current", "one");
    next.reconcile().unwrap();
    assert!(fs::read(&release).unwrap().starts_with(b"one"));
    drop((untold, next));
}

#[test]
fn a_mount_is_adopted_only_where_it_stands_and_as_it_was_begun() {
    let mut other = Other::new();
    other.kill();
    let (tree, _) = tree();
    let elsewhere = tempfile::tempdir().unwrap();
    let held = || other.held.try_clone().unwrap();
    let error = adopt(Arc::clone(&tree) as _, held(), elsewhere.path(), &options()).unwrap_err();
    assert!(matches!(error, AdoptError::NotThere { .. }), "{error}");

    let record = Held {
        record: File::open("/dev/null").unwrap().into(),
        ..held()
    };
    let error = adopt(Arc::clone(&tree) as _, record, other.place.path(), &options()).unwrap_err();
    assert!(matches!(error, AdoptError::Record { .. }), "{error}");

    // Another choice in the reply: the size of the largest write, 40 bytes before the end of the last frame of the head.
    let record = File::from(held().record);
    let mut start = [0; 8];
    record.read_exact_at(&mut start, 8).unwrap();
    let chosen = u64::from_le_bytes(start) - 44;
    let mut byte = [0];
    record.read_exact_at(&mut byte, chosen).unwrap();
    record.write_all_at(&[!byte[0]], chosen).unwrap();
    let error = other.adopt(&tree, &options()).unwrap_err();
    assert!(matches!(error, AdoptError::OtherChoice), "{error}");
    record.write_all_at(&byte, chosen).unwrap();

    let error = other
        .adopt(&tree, &options_with(Some(DataPath::KeepCache)))
        .unwrap_err();
    assert!(matches!(error, AdoptError::OtherChoice), "{error}");

    let session = other
        .adopt(&tree, &options())
        .expect("refusals leave the mount as it was");
    assert!(other.path("debian/current/pool/p.deb").exists());
    drop(session);
}

#[test]
fn mounts_of_ordinary_users_are_adopted_as_well() {
    ordinary::succeed_for_ordinary_users(&[
        "nothing_fails_when_the_serving_process_is_killed_and_another_adopts_the_mount",
        "what_changed_while_nobody_served_is_told",
        "a_mount_is_adopted_only_where_it_stands_and_as_it_was_begun",
    ]);
}

//! A mount whose serving process dies, hangs, is replaced, or cannot be gone on with.
//!
//! Owns the tests of the holder. Each is run under load that the kernel cannot answer by itself; in the *control* nobody
//! starts another process, and the same load must see failures.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mirrorctl_testkit::{MountGuard, Nginx, Program, Running, Signal, fetch, mounted_below};
use serde_json::Value;

use crate::site::{COMMON, RELEASE, Site, comes_true, names, only, read, stat};

/// Longer than anything here takes on a machine that is busy with other things.
const LONG: Duration = Duration::from_mins(1);

/// In which time a waiting user must be answered, whatever has happened.
const FREED: Duration = Duration::from_secs(30);

/// From Linux's asm-generic/fcntl.h, for this machine: reads go past the page cache.
const O_DIRECT: i32 = if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
    0o200_000
} else {
    0o40_000
};

/// "Transport endpoint is not connected", "Software caused connection abort": nobody serves.
const NOBODY: [i32; 2] = [107, 103];

/// Users of a mount, at work until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    users: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Users that read files past the page cache, look up names that nobody remembers, list what changes, and fetch through
    /// a web server.
    fn begin(site: &Site, nginx: &Nginx) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            rounds: Arc::default(),
            users: Vec::new(),
        };
        let debian = site.served("debian");
        for path in [COMMON.to_owned(), only(2)] {
            let file = debian.join("staging").join(path);
            let whole = read(&file);
            load.user(move || match read_directly(&file) {
                Ok(bytes) if bytes == whole => Ok(()),
                Ok(_) => Err("other bytes".to_owned()),
                Err(error) => Err(format!("read: {error}")),
            });
        }
        let absent = debian.join("absent");
        load.user(move || match fs::symlink_metadata(&absent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!("stat: {error}")),
            Ok(_) => Err("something is there".to_owned()),
        });
        let snapshots = debian.join("snapshots");
        let count = names(&snapshots).len();
        load.user(move || match fs::read_dir(&snapshots).map(Iterator::count) {
            Ok(found) if found == count => Ok(()),
            Ok(found) => Err(format!("{found} snapshots")),
            Err(error) => Err(format!("list: {error}")),
        });
        for (path, expected) in [
            (format!("debian/current/{RELEASE}"), 200),
            (format!("debian/staging/{COMMON}"), 200),
            ("debian/nothing".to_owned(), 404),
        ] {
            let url = format!("{}/{path}", nginx.url());
            load.user(move || match fetch(&url) {
                Ok(answer) if answer.status == expected && answer.complete => Ok(()),
                Ok(answer) => Err(format!("HTTP {}, complete: {}", answer.status, answer.complete)),
                Err(error) => Err(format!("HTTP: {error}")),
            });
        }
        load
    }

    fn user(&mut self, mut once: impl FnMut() -> Result<(), String> + Send + 'static) {
        let (stop, rounds) = (Arc::clone(&self.stop), Arc::clone(&self.rounds));
        self.users.push(thread::spawn(move || {
            let mut wrong = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                wrong.extend(once().err());
                rounds.fetch_add(1, Ordering::SeqCst);
                // Leaves the two processors of a small machine to who serves.
                thread::sleep(Duration::from_millis(2));
            }
            wrong
        }));
    }

    /// Waits until every user has had answers since.
    fn goes_on(&self) {
        let before = self.rounds.load(Ordering::SeqCst);
        assert!(
            comes_true(|| self.rounds.load(Ordering::SeqCst) > before + 30),
            "users are served"
        );
    }

    /// What the users could not do, and how much they did.
    fn end(self) -> (Vec<String>, u64) {
        self.stop.store(true, Ordering::SeqCst);
        let users = self.users.into_iter();
        let wrong = users.flat_map(|user| user.join().expect("no panic")).collect();
        (wrong, self.rounds.load(Ordering::SeqCst))
    }
}

fn read_directly(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    OpenOptions::new()
        .read(true)
        .custom_flags(O_DIRECT)
        .open(path)?
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Two snapshots, of which production shows the first and staging the second.
fn site() -> (Site, Vec<String>) {
    let (site, snapshots) = Site::with_snapshots(2);
    site.publish("debian", &snapshots[0]);
    site.stage("debian", &snapshots[1]);
    (site, snapshots)
}

fn configured(site: &Site, key: &str, value: &str) {
    site.env
        .configure(site.config(1).set_in("mount", key, &format!("{value:?}")));
}

/// The one mount of `mirrorctl status --json`.
fn status(site: &Site) -> Value {
    site.env.mirrorctl(&["--json", "status"]).json()["mounts"][0].clone()
}

/// Waits until another process than `before` serves.
fn successor(mount: &mut MountGuard, before: u32) -> u32 {
    assert!(
        comes_true(|| mount.worker() != before),
        "nobody took over from {before}"
    );
    mount.worker()
}

/// Whether the process has gone, or is waited for by whoever started it.
fn has_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

fn is_mounted(site: &Site) -> bool {
    mounted_below(&site.env.mount_dir()).contains(&site.env.mount_dir())
}

/// A shell that stands in `directory`, until it is dropped.
fn shell_in(directory: &Path) -> Running {
    let script = "echo ready && while sleep 0.05; do :; done";
    let mut shell = Program::new("sh", "dash")
        .args(["-c", script])
        .directory(directory)
        .spawn();
    shell.wait_until("its start", |shell| shell.stdout().contains("ready"));
    shell
}

/// Asks for something that only who serves can answer, from a thread.
fn ask(site: &Site) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let path = site.served(&format!("debian/staging/{COMMON}"));
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || sender.send(read_directly(&path)));
    answer
}

#[test]
fn killed_ten_times_under_load_nothing_fails() {
    let (site, snapshots) = site();
    let mut mount = site.mount();
    let nginx = Nginx::serve(&site.env.mount_dir());
    let release = site.served(&format!("debian/current/{RELEASE}"));
    let expected = [0, 1].map(|at| read(&site.served(&format!("debian/snapshots/{}/{RELEASE}", snapshots[at]))));
    let device = stat(&site.served("debian")).dev();
    let open = File::open(site.served(&format!("debian/staging/{COMMON}"))).expect("listed");
    let directory = File::open(site.served("debian/current")).expect("listed");
    let held = PathBuf::from(format!("/proc/self/fd/{}/{RELEASE}", directory.as_raw_fd()));
    let shell = shell_in(&site.served("debian/current/dists"));
    let package = stat(&site.served(&format!("debian/staging/{COMMON}"))).ino();
    let load = Load::begin(&site, &nginx);

    for round in 1..=10 {
        load.goes_on();
        let worker = mount.signal_worker(Signal::Kill);
        // A move right after it waits for the next process, and is seen by who walks after the command.
        site.publish("debian", &snapshots[round % 2]);
        assert!(read(&release) == expected[round % 2], "round {round}");
        successor(&mut mount, worker);
        let known = status(&site);
        assert_eq!(
            (&known["state"], &known["restarts"]),
            (&"serving".into(), &round.into()),
            "{known}"
        );
        assert_eq!(known["pid"], mount.daemon().pid(), "{known}");
        assert_eq!(known["worker"], mount.worker(), "{known}");
        // Longer than the life of a process that dies of its start.
        thread::sleep(Duration::from_millis(1100));
    }
    let (wrong, rounds) = load.end();
    assert_eq!(wrong.first(), None, "and {} more of {rounds}", wrong.len());
    assert!(rounds > 1000, "{rounds}");
    assert_eq!(stat(&site.served("debian")).dev(), device, "the mount is the same");
    assert_eq!(stat(&site.served(&format!("debian/staging/{COMMON}"))).ino(), package);
    let mut bytes = vec![0; 1000];
    open.read_exact_at(&mut bytes, 200_000).expect("an open file goes on");
    assert!(read(&held) == expected[0], "who holds a directory stays in its tree");
    let inside = format!("/proc/{}/cwd/stable/Release", shell.pid());
    assert!(read(Path::new(&inside)) == expected[0], "who stands in one, too");
    drop((open, directory, shell));
    site.env.mirrorctl(&["unmount"]).success();
    mount.stop().success();
}

#[test]
fn control_when_nobody_starts_another_process_the_same_load_fails() {
    let (site, _) = site();
    let mut mount = site.mount();
    let nginx = Nginx::serve(&site.env.mount_dir());
    let load = Load::begin(&site, &nginx);
    load.goes_on();
    mount.kill();
    load.goes_on();
    let (wrong, _) = load.end();
    for kind in ["HTTP 500", "read: ", "stat: "] {
        assert!(
            wrong.iter().any(|what| what.starts_with(kind)),
            "{kind} is not among {} failures",
            wrong.len()
        );
    }
}

#[test]
fn a_process_that_hangs_is_replaced_and_who_waits_is_answered() {
    let (site, _) = site();
    configured(&site, "watchdog", "2s");
    let mut mount = site.mount();
    let nginx = Nginx::serve(&site.env.mount_dir());
    let load = Load::begin(&site, &nginx);
    load.goes_on();
    let worker = mount.worker();
    mount.freeze();
    let frozen = Instant::now();
    let waiting = ask(&site);
    let answer = waiting.recv_timeout(FREED).expect("freed in time");
    assert_eq!(
        answer.expect("answered").len(),
        read(&site.served(&format!("debian/staging/{COMMON}"))).len()
    );
    assert!(frozen.elapsed() < FREED);
    successor(&mut mount, worker);
    load.goes_on();
    let (wrong, rounds) = load.end();
    assert_eq!(wrong.first(), None, "and {} more of {rounds}", wrong.len());
    assert!(comes_true(|| has_gone(worker)));
    assert!(mount.daemon().stderr().contains("did not answer"));
    mount.stop().success();
}

#[test]
fn a_short_stop_is_no_reason_to_replace_anything() {
    let (site, _) = site();
    configured(&site, "watchdog", "3s");
    let mut mount = site.mount();
    let worker = mount.worker();
    // The holder stands still, too, as when a whole session is stopped: its own pause does not count.
    mount.daemon().signal(Signal::Stop);
    mount.freeze();
    thread::sleep(Duration::from_secs(5));
    mount.daemon().signal(Signal::Continue);
    mount.thaw();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(mount.worker(), worker);
    mount.stop().success();
}

/// A copy of the program that a test may replace.
struct Installed {
    path: PathBuf,
    /// Where each start of a replacement leaves a line.
    starts: PathBuf,
}

impl Installed {
    fn new(site: &Site) -> Self {
        let directory = site.env.root().join("bin");
        fs::create_dir(&directory).expect("made");
        let path = directory.join("mirrorctl");
        fs::copy(site.env.binary(), &path).expect("copied");
        let starts = site.env.root().join("starts");
        Self { path, starts }
    }

    /// Puts a script in the program's place, as a package manager does: by a rename. It leaves a line and does `then`.
    fn replace(&self, then: &str) {
        let new = self.path.with_extension("new");
        let script = format!("#!/bin/sh\necho started >> {}\n{then}\n", self.starts.display());
        fs::write(&new, script).expect("written");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("set");
        fs::rename(&new, &self.path).expect("renamed");
    }

    fn starts(&self) -> usize {
        fs::read_to_string(&self.starts).unwrap_or_default().lines().count()
    }

    fn mount(&self, site: &Site) -> MountGuard {
        let command = Program::at(&self.path)
            .arg("--config")
            .arg(site.env.config_path())
            .arg("mount")
            .env("MIRRORCTL_RUN_DIR", site.env.run_dir());
        MountGuard::start(&site.env, command)
    }
}

#[test]
fn an_upgrade_under_load_fails_nothing() {
    let (site, snapshots) = site();
    let installed = Installed::new(&site);
    let mut mount = installed.mount(&site);
    let nginx = Nginx::serve(&site.env.mount_dir());
    let device = stat(&site.served("debian")).dev();
    let load = Load::begin(&site, &nginx);
    for round in 1..=3 {
        load.goes_on();
        let (holder, worker) = (mount.daemon().pid(), mount.worker());
        installed.replace(&format!("exec {} \"$@\"", site.env.binary().display()));
        let report = site.env.mirrorctl(&["--json", "mount", "--upgrade"]).success().json();
        // Asked whether it understands, as the holder, as the process that serves.
        assert_eq!(installed.starts(), 3 * round, "the program that is there now");
        let running = fs::read_link(format!("/proc/{holder}/exe")).expect("it lives");
        assert_eq!(running, site.env.binary(), "the holder, too");
        assert_eq!(
            (&report["pid"], &report["before"]["worker"]),
            (&holder.into(), &worker.into()),
            "{report}"
        );
        assert_ne!(report["after"]["worker"], worker, "{report}");
        assert_eq!(report["after"]["version"], env!("CARGO_PKG_VERSION"), "{report}");
        assert_eq!(mount.worker(), report["after"]["worker"], "{report}");
        site.publish("debian", &snapshots[round % 2]);
    }
    let (wrong, rounds) = load.end();
    assert_eq!(wrong.first(), None, "and {} more of {rounds}", wrong.len());
    assert_eq!(stat(&site.served("debian")).dev(), device);
    let told = site.env.mirrorctl(&["mount", "--upgrade"]).success();
    told.stdout_has("is served by version").stdout_has("before by version");
    site.env.mirrorctl(&["unmount"]).success();
    mount.stop().success();
    let nothing = site.env.mirrorctl(&["mount", "--upgrade"]).code(1);
    nothing
        .stderr_has("nothing of mirrorctl is mounted")
        .stderr_has("hint: mirrorctl mount");
}

#[test]
fn a_broken_program_is_not_upgraded_to_and_ends_nothing() {
    let (site, snapshots) = site();
    let installed = Installed::new(&site);
    let mut mount = installed.mount(&site);
    let nginx = Nginx::serve(&site.env.mount_dir());
    let load = Load::begin(&site, &nginx);
    load.goes_on();
    installed.replace("exit 3");
    // It is asked whether it understands, and then left alone.
    let worker = mount.worker();
    assert!(comes_true(|| {
        let mut upgrade = site.env.command(&["mount", "--upgrade"]).spawn();
        let refused = comes_true(|| mount.daemon().stderr().contains("not upgraded"));
        upgrade.signal(Signal::Kill);
        refused
    }));
    assert_eq!(mount.worker(), worker);
    // Should the process die now, the next one is of the program that holds the mount.
    mount.signal_worker(Signal::Kill);
    assert!(comes_true(|| status(&site)["worker"]
        .as_u64()
        .is_some_and(|now| now != u64::from(worker))));
    site.publish("debian", &snapshots[1]);
    load.goes_on();
    let (wrong, rounds) = load.end();
    assert_eq!(wrong.first(), None, "and {} more of {rounds}", wrong.len());
    mount.stop().success();
}

#[test]
fn processes_that_die_of_their_start_are_started_ever_more_rarely_and_nobody_waits_for_ever() {
    let (site, _) = site();
    let mut mount = site.mount();
    let (state, aside) = (site.env.state_dir(), site.env.root().join("aside"));
    fs::rename(&state, &aside).expect("moved");
    let worker = mount.signal_worker(Signal::Kill);
    let waiting = ask(&site);
    let freed = waiting.recv_timeout(FREED).expect("freed in time");
    let error = freed.expect_err("there is nobody to answer");
    assert!(
        error.raw_os_error().is_some_and(|number| NOBODY.contains(&number)),
        "{error}"
    );
    let attempts = |mount: &mut MountGuard| mount.daemon().stderr().matches("was to serve the mount cannot").count();
    let tried = attempts(&mut mount);
    assert!((4..=6).contains(&tried), "{tried}");
    thread::sleep(Duration::from_secs(4));
    let further = attempts(&mut mount) - tried;
    assert!(further <= 3, "{further}");
    assert!(mount.daemon().is_running());
    assert!(!state.exists(), "nothing is made anew that was there");

    // The cure is at hand: the next attempt mounts anew.
    fs::rename(&aside, &state).expect("moved back");
    assert!(
        comes_true(|| fs::read_dir(site.served("debian")).is_ok()),
        "{}",
        mount.daemon().stderr()
    );
    assert!(mount.worker() != worker && status(&site)["state"] == "serving");
    assert_eq!(mounted_below(&site.env.mount_dir()).len(), 1);
    site.env.mirrorctl(&["unmount"]).success();
    mount.stop().success();
}

#[test]
fn a_holder_that_is_killed_takes_all_with_it_and_is_replaced_within_two_seconds() {
    let (site, _) = site();
    let mut mount = site.mount();
    let worker = mount.worker();
    mount.kill();
    assert!(has_gone(worker));
    let refused = fs::symlink_metadata(site.served("debian/absent")).expect_err("nobody serves");
    assert!(
        refused.raw_os_error().is_some_and(|number| NOBODY.contains(&number)),
        "{refused}"
    );
    let begun = Instant::now();
    let again = site.mount();
    assert_eq!(names(&site.served("debian")), ["at", "current", "snapshots", "staging"]);
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(2) || load_is_high(), "{taken:?}");
    assert_eq!(mounted_below(&site.env.mount_dir()).len(), 1);
    again.stop().success();
}

/// Whether more wants to run than this machine has processors for, so that no time says anything.
fn load_is_high() -> bool {
    let load = fs::read_to_string("/proc/loadavg").expect("procfs");
    let running: f64 = load
        .split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .expect("a number");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    running > f64::from(u32::try_from(processors).expect("few"))
}

#[test]
fn what_cannot_be_gone_on_with_is_mounted_anew_beneath_and_nobody_new_notices() {
    let (site, snapshots) = site();
    configured(&site, "data", "passthrough");
    let mut mount = site.mount();
    let place = site.served("debian");
    let release = site.served(&format!("debian/current/{RELEASE}"));
    let package = site.served(&format!("debian/staging/{COMMON}"));
    let whole = read(&package);
    let mut open = File::open(&package).expect("listed");
    let mut head = vec![0; 1000];
    open.read_exact(&mut head).expect("readable");
    let inside = File::open(&place).expect("listed");
    for round in 1..=2 {
        let device = stat(&place).dev();
        let worker = mount.signal_worker(Signal::Kill);
        let killed = Instant::now();
        successor(&mut mount, worker);
        assert!(comes_true(
            || fs::symlink_metadata(&place).is_ok_and(|found| found.dev() != device)
        ));
        assert!(
            killed.elapsed() < Duration::from_secs(2) || load_is_high(),
            "{:?}",
            killed.elapsed()
        );
        assert_eq!(names(&place), ["at", "current", "snapshots", "staging"]);
        // The command waits for the new one, which is known by the same process number.
        site.publish("debian", &snapshots[round % 2]);
        let expected = read(&site.served(&format!("debian/snapshots/{}/{RELEASE}", snapshots[round % 2])));
        assert!(read(&release) == expected, "round {round}");
        assert_eq!(mounted_below(&site.env.mount_dir()).len(), 1, "the old one is off");
        assert_eq!(status(&site)["state"], "serving");
        thread::sleep(Duration::from_millis(1100));
    }
    // What is lost: who stood in the old mount gets errors for what is not known there yet; files that the kernel reads go on.
    let within = PathBuf::from(format!("/proc/self/fd/{}/absent", inside.as_raw_fd()));
    let refused = fs::symlink_metadata(within).expect_err("nobody serves the old one");
    assert!(
        refused.raw_os_error().is_some_and(|number| NOBODY.contains(&number)),
        "{refused}"
    );
    let mut tail = Vec::new();
    open.read_to_end(&mut tail).expect("readable");
    assert!([head, tail].concat() == whole);
    assert!(
        mount.daemon().stderr().contains("mount anew"),
        "{}",
        mount.daemon().stderr()
    );
    drop((open, inside));
    site.env.mirrorctl(&["unmount"]).success();
    mount.stop().success();
}

#[test]
fn a_mount_that_is_replaced_under_load_is_there_all_the_time() {
    let (site, _) = site();
    configured(&site, "data", "passthrough");
    let mut mount = site.mount();
    let place = site.env.mount_dir();
    let below = fs::metadata(site.env.root()).expect("exists").dev();
    let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let looking = {
        let (stop, looks, place) = (Arc::clone(&stop), Arc::clone(&looks), place.clone());
        thread::spawn(move || {
            // By the table of mounts alone, which asks nobody.
            let mut without = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                without += u64::from(mounted_below(&place).is_empty());
                looks.fetch_add(1, Ordering::SeqCst);
            }
            without
        })
    };
    for _ in 0..3 {
        let worker = mount.signal_worker(Signal::Kill);
        successor(&mut mount, worker);
        assert!(comes_true(
            || fs::metadata(&place).is_ok_and(|found| found.dev() != below)
        ));
        thread::sleep(Duration::from_millis(1100));
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(
        looking.join().expect("no panic"),
        0,
        "of {} looks",
        looks.load(Ordering::SeqCst)
    );
    mount.stop().success();
}

#[test]
fn a_restored_catalog_is_not_shown_by_the_old_numbers() {
    let (site, snapshots) = site();
    let mut mount = site.mount();
    let device = stat(&site.served("debian")).dev();
    let catalog = site.env.state_dir().join("catalog.db");
    // While nobody looks, another file takes the catalog's name.
    mount.freeze();
    let copy = catalog.with_extension("copy");
    fs::copy(&catalog, &copy).expect("copied");
    fs::rename(&copy, &catalog).expect("renamed");
    let worker = mount.signal_worker(Signal::Kill);
    successor(&mut mount, worker);
    assert!(comes_true(
        || fs::symlink_metadata(site.served("debian")).is_ok_and(|found| found.dev() != device)
    ));
    assert_eq!(names(&site.served("debian/snapshots")).len(), snapshots.len());
    assert_eq!(status(&site)["state"], "serving");
    mount.stop().success();
}

#[test]
fn whatever_ends_the_mount_ends_both_processes() {
    let (site, _) = site();
    for way in [
        "unmount",
        "holder",
        "worker",
        "umount",
        "umount -l",
        "frozen",
        "between",
    ] {
        let mut mount = site.mount();
        let worker = mount.worker();
        match way {
            "unmount" => drop(site.env.mirrorctl(&["unmount"]).success()),
            "holder" => mount.daemon().signal(Signal::Terminate),
            "worker" => drop(mount.signal_worker(Signal::Terminate)),
            "frozen" => {
                // Nobody is left who could take it away in good order.
                mount.freeze();
                mount.daemon().signal(Signal::Terminate);
            }
            "between" => {
                // Taken away at a moment when nobody serves it.
                mount.daemon().signal(Signal::Stop);
                mount.signal_worker(Signal::Kill);
                drop(
                    Program::new("umount", "mount")
                        .arg("-l")
                        .arg(site.env.mount_dir())
                        .run()
                        .success(),
                );
                mount.daemon().signal(Signal::Continue);
            }
            way => {
                let umount = Program::new("umount", "mount").args(way.split(' ').skip(1));
                drop(umount.arg(site.env.mount_dir()).run().success());
            }
        }
        assert!(mount.daemon().ends_within(LONG), "{way}");
        assert!(comes_true(|| has_gone(worker)), "{way}");
        assert!(!is_mounted(&site), "{way}");
        assert_eq!(status(&site), Value::Null, "{way}");
        mount.stop().success();
    }
}

#[test]
fn the_holder_is_small() {
    let (site, _) = site();
    let mut mount = site.mount();
    let status = fs::read_to_string(format!("/proc/{}/status", mount.daemon().pid())).expect("procfs");
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect("procfs")
    };
    assert_eq!(
        field("Threads:"),
        1,
        "one thread, so that who serves lives exactly as long as the holder"
    );
    let own = field("RssAnon:");
    assert!(own < 4096, "{own} KiB of its own");
    mount.stop().success();
}

#[test]
fn what_is_missing_for_a_mount_is_named() {
    let (site, _) = site();
    let without = |program: &str, package: &str, arguments: &[&str]| {
        let program = Program::new(program, package).args(arguments).arg(site.env.binary());
        let program = program.arg("--config").arg(site.env.config_path()).arg("mount");
        program.env("MIRRORCTL_RUN_DIR", site.env.run_dir()).run()
    };
    let nodes = "mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9";
    let script = format!("mount -t tmpfs none /dev && {nodes} && exec \"$@\"");
    let device = without("unshare", "util-linux", &["--mount", "sh", "-c", &script, "sh"]);
    device
        .code(1)
        .stderr_has("cannot open /dev/fuse")
        .stderr_has("hint: run it as root");
    let right = without(
        "setpriv",
        "util-linux",
        &["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"],
    );
    right
        .code(1)
        .stderr_has("the kernel refused to mount")
        .stderr_has("mounting needs root");
    assert!(!is_mounted(&site));
    assert_eq!(names(&site.env.run_dir()), Vec::<String>::new());
}

#[test]
fn nobody_but_a_mount_starts_a_process_that_serves() {
    let (site, _) = site();
    let alone = site.env.mirrorctl(&["mount", "--serve"]).code(1);
    alone.stderr_has("started by mirrorctl mount and by nobody else");
    assert!(!is_mounted(&site));
}

//! The life of a mount: starting, being told, stopping, dying; and what it shows when something below it fails.
//!
//! Owns the tests of `mount`, `unmount` and `status`, of numbers and times, and of a catalog or blobs that fail. What
//! readers see while pointers move is in `promoting`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mirrorctl::model::Digest;
use mirrorctl_testkit::{MountGuard, Nginx, Program, Running, Signal, TestEnv, fetch, mounted_below, now};

use crate::site::{COMMON, Item, RELEASE, Site, Tree, comes_true, inode, mtime, names, only, read, stat, tree};

/// "Input/output error".
const EIO: i32 = 5;
/// "Read-only file system".
const EROFS: i32 = 30;
/// "Transport endpoint is not connected": what a mount without its process answers.
const ENOTCONN: i32 = 107;

/// The error number of a refusal.
#[track_caller]
fn errno(outcome: io::Result<impl Sized>) -> i32 {
    let error = outcome.err().expect("a refusal");
    error.raw_os_error().unwrap_or_else(|| panic!("{error}"))
}

/// Whether something is mounted at the site's mount point.
fn is_mounted(env: &TestEnv) -> bool {
    mounted_below(&env.mount_dir()).contains(&env.mount_dir())
}

/// The mounts in `mirrorctl status --json`: mount point, process and state.
fn mounts(env: &TestEnv) -> Vec<(PathBuf, Option<u64>, String)> {
    let report = env.mirrorctl(&["--json", "status"]).json();
    let mounts = report["mounts"].as_array().unwrap_or_else(|| panic!("{report}"));
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_else(|| panic!("{report}")).to_owned();
    let mount = |mount: &serde_json::Value| {
        let place = text(&mount["mountpoint"]).into();
        (place, mount["pid"].as_u64(), text(&mount["state"]))
    };
    mounts.iter().map(mount).collect()
}

/// A second configuration of the same installation, with a mount point of its own.
struct Second<'a> {
    env: &'a TestEnv,
    directory: PathBuf,
}

impl<'a> Second<'a> {
    fn new(site: &'a Site) -> Self {
        let env = &site.env;
        let directory = env.root().join("srv2");
        fs::create_dir(&directory).expect("made");
        let text = fs::read_to_string(env.config_path()).expect("a configuration");
        let quoted = |path: &Path| format!("dir = \"{}\"", path.display());
        let text = text.replace(&quoted(&env.mount_dir()), &quoted(&directory));
        fs::write(env.root().join("second.toml"), text).expect("written");
        Self { env, directory }
    }

    fn command(&self, arguments: &[&str]) -> Program {
        let program = Program::at(self.env.binary())
            .arg("--config")
            .arg(self.env.root().join("second.toml"));
        program.args(arguments).env("MIRRORCTL_RUN_DIR", self.env.run_dir())
    }

    fn mount(&self) -> MountGuard {
        MountGuard::start_at(&self.directory, self.command(&["mount"]))
    }
}

/// A shell that works below `directory`, with a file of it open, until it is dropped.
fn shell_in(directory: &Path) -> Running {
    let script = "exec 9<Release && echo ready && while sleep 0.05; do :; done";
    let mut shell = Program::new("sh", "dash")
        .args(["-c", script])
        .directory(directory)
        .spawn();
    shell.wait_until("its start", |shell| shell.stdout().contains("ready"));
    shell
}

fn published() -> (Site, Vec<String>) {
    let (site, snapshots) = Site::with_snapshots(2);
    site.publish("debian", &snapshots[0]);
    site.stage("debian", &snapshots[1]);
    (site, snapshots)
}

#[test]
fn a_mount_lives_until_it_is_told_to_end() {
    let (site, _) = published();
    let nothing: [(PathBuf, Option<u64>, String); 0] = [];
    assert_eq!(mounts(&site.env), nothing);
    site.env
        .mirrorctl(&["status"])
        .success()
        .stdout_has("nothing is mounted");
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let mut mount = site.mount();
        let pid = mount.daemon().pid();
        let line = format!("mounted at {} by process {pid}", site.env.mount_dir().display());
        mount
            .daemon()
            .wait_until("its report", |daemon| daemon.stdout().contains(&line));
        assert_eq!(names(&site.served("debian")), ["at", "current", "snapshots", "staging"]);
        let serving = (site.env.mount_dir(), Some(pid.into()), "serving".to_owned());
        assert_eq!(mounts(&site.env), [serving]);
        site.env.mirrorctl(&["status"]).success().stdout_has(&line);
        mount.daemon().signal(signal);
        mount.daemon().wait_until_ended();
        mount.stop().success();
        assert!(!is_mounted(&site.env), "{signal:?}");
        assert_eq!(mounts(&site.env), nothing);
        assert_eq!(names(&site.env.run_dir()), Vec::<String>::new());
    }
    site.env
        .mirrorctl(&["unmount"])
        .code(1)
        .stderr_has("nothing of mirrorctl is mounted");
}

#[test]
fn what_is_not_mounted_is_forbidden_and_never_absent() {
    let (site, _) = published();
    let mount = site.mount();
    let nginx = Nginx::serve(&site.env.mount_dir());
    let there = format!("/debian/current/{RELEASE}");
    let paths = [&there, "/debian/current/nothing", "/"];
    let answers = || paths.map(|path| fetch(&format!("{}{path}", nginx.url())).expect("an answer").status);
    assert_eq!(answers()[..2], [200, 404], "mounted");
    mount.stop().success();
    assert_eq!(answers(), [403; 3], "unmounted");
    let mut again = site.mount();
    assert_eq!(answers()[..2], [200, 404], "mounted again");
    again.kill();
    // The kernel may remember some of it.
    assert_ne!(answers()[0], 404, "nobody serves");
    site.env.mirrorctl(&["unmount"]).success();
    assert_eq!(answers(), [403; 3], "taken away");
}

/// What a shell runs that has the names of places (`$1` this program, `$2` a table of mounts, `$3` the mount point) and mounts
/// of its own, so that nobody else's `/usr/sbin` changes. `sh -e` ends with the first command that fails.
const AS_BOOTING_DOES: &str = r#"
mount -t tmpfs none /usr/sbin
ln -s "$1" /usr/sbin/mount.mirrorctl
mount -T "$2" "$3"
ls "$3/debian"
findmnt -n -o FSTYPE,VFS-OPTIONS "$3"
mount -T "$2" -a
echo mounted twice
umount "$3"
test -z "$(ls "$3")"
sed -i 's/ ro,/ ro,uid=33,/' "$2"
mount -T "$2" "$3" && exit 1
sed -i -e 's/ ro,uid=33,/ ro,/' -e "s| $3 | $4 |" "$2"
mount -T "$2" "$4" && exit 1
echo refused both
"#;

#[test]
fn a_line_of_fstab_mounts() {
    let (site, _) = published();
    let (table, elsewhere) = (site.env.root().join("fstab"), site.env.root().join("elsewhere"));
    fs::create_dir(&elsewhere).expect("made");
    let (config, place) = (site.env.config_path(), site.env.mount_dir());
    let line = format!("{} {} mirrorctl ro,nofail 0 0\n", config.display(), place.display());
    fs::write(&table, line).expect("written");
    let booted = Program::new("unshare", "util-linux")
        .args(["--mount", "sh", "-e", "-c", AS_BOOTING_DOES, "sh"])
        .args([site.env.binary(), &table, &place, &elsewhere])
        .env("MIRRORCTL_RUN_DIR", site.env.run_dir())
        .run()
        .success()
        .stdout_has("at\ncurrent\nsnapshots\nstaging\n")
        .stdout_has("fuse.mirrorctl ro,nosuid,nodev,noexec,noatime")
        .stdout_has("mounted twice\nrefused both");
    booted
        .stderr_has("the option uid=33 means nothing here")
        .stderr_has(&format!("the mount point is {}, but dir in", elsewhere.display()));
    assert!(
        comes_true(|| names(&site.env.run_dir()) == ["mount.log"]),
        "the process has gone"
    );
}

#[test]
fn a_label_for_selinux_reaches_the_kernel_or_is_said_to_be_ignored() {
    let (site, _) = published();
    let label = "system_u:object_r:httpd_sys_content_t:s0";
    site.env
        .configure(site.config(1).set_in("mount", "context", &format!("\"{label}\"")));
    let checked = site.env.mirrorctl(&["check", "config"]).success();
    checked.stdout_has(&format!("labelled {label}"));
    let mount = site.mount();
    assert_eq!(names(&site.served("debian")), ["at", "current", "snapshots", "staging"]);
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let place = format!(" {} ", site.env.mount_dir().display());
    let line = table
        .lines()
        .find(|line| line.contains(&place))
        .expect("mounted")
        .to_owned();
    let said = mount.stop().success();
    if Path::new("/sys/fs/selinux/enforce").exists() {
        assert!(line.contains(&format!("context={label}")), "{line}");
    } else {
        said.stderr_has("context is ignored: SELinux is not in use")
            .stderr_has(label);
        assert!(!line.contains("context="), "{line}");
    }
}

#[test]
fn a_mount_in_the_background_is_there_when_the_command_returns() {
    let (site, _) = published();
    let report = site
        .env
        .mirrorctl(&["--json", "mount", "--background"])
        .success()
        .json();
    assert_eq!(names(&site.served("debian")), ["at", "current", "snapshots", "staging"]);
    let serving = (site.env.mount_dir(), report["pid"].as_u64(), "serving".to_owned());
    assert_eq!(mounts(&site.env), [serving]);
    let already = format!("already served by process {}", report["pid"]);
    for command in [&["mount"][..], &["mount", "--background"]] {
        site.env.mirrorctl(command).code(3).stderr_has(&already);
    }
    let refused = site.env.mirrorctl(&["--json", "mount", "--background"]).code(3).json();
    assert_eq!(refused["error"]["kind"], "busy", "{refused}");
    site.env.mirrorctl(&["unmount"]).success().stdout_has("is unmounted");
    assert!(!is_mounted(&site.env));
    assert!(mounts(&site.env).is_empty());
    // It can be done again, and the failure to do it is told in the command's own words.
    site.env
        .mirrorctl(&["mount", "--background"])
        .success()
        .stdout_has("mounted at");
    site.env.mirrorctl(&["unmount"]).success();
    fs::write(site.served("in the way"), "").expect("written");
    site.env
        .mirrorctl(&["mount", "--background"])
        .code(1)
        .stderr_has("is not empty")
        .stderr_has("hint: empty it");
}

#[test]
fn a_second_mount_is_refused_whatever_the_first_one_does() {
    let (site, _) = published();
    let mut mount = site.mount();
    let already = format!("is already served by process {}", mount.daemon().pid());
    site.env.mirrorctl(&["mount"]).code(3).stderr_has(&already);
    // By another path to the same directory.
    let link = site.env.root().join("link");
    symlink(site.env.mount_dir(), &link).expect("made");
    let by_link = |arguments: &[&str]| site.env.command(arguments).env("MIRRORCTL_DIR", &link).run();
    by_link(&["mount"]).code(3).stderr_has(&already);
    // A command that looks for mounts elsewhere finds one that it cannot tell of changes.
    let elsewhere = site.env.root().join("elsewhere");
    let elsewhere = |arguments: &[&str]| site.env.command(arguments).env("MIRRORCTL_RUN_DIR", &elsewhere).run();
    let report = elsewhere(&["--json", "status"]).success().json();
    assert_eq!(report["mounts"][0]["state"], "unregistered", "{report}");
    elsewhere(&["mount"]).code(3).stderr_has("already shows");
    // A process that does not answer is not asked.
    mount.freeze();
    site.env.mirrorctl(&["mount"]).code(3).stderr_has(&already);
    mount.thaw();
    assert_eq!(names(&site.served("debian")), ["at", "current", "snapshots", "staging"]);
    by_link(&["unmount"]).success();
    assert!(!is_mounted(&site.env));
    mount.stop().success();
}

#[test]
fn unmounting_does_not_wait_for_who_is_inside() {
    let (site, _) = published();
    let suite = site.served("debian/current/dists/stable");
    for way in ["unmount", "signal", "umount -l"] {
        let mut mount = site.mount();
        let shell = shell_in(&suite);
        match way {
            "unmount" => drop(site.env.mirrorctl(&["unmount"]).success()),
            "signal" => mount.daemon().signal(Signal::Terminate),
            _ => drop(
                Program::new("umount", "mount")
                    .arg("-l")
                    .arg(site.env.mount_dir())
                    .run()
                    .success(),
            ),
        }
        assert!(comes_true(|| !is_mounted(&site.env)), "{way}");
        mount.stop().success();
        assert_eq!(names(&site.env.mount_dir()), Vec::<String>::new());
        assert!(mounts(&site.env).is_empty(), "{way}");
        // While the shell still is where it was, the next one can be mounted.
        let mount = site.mount();
        assert_eq!(names(&site.served("debian")), ["at", "current", "snapshots", "staging"]);
        mount.stop().success();
        drop(shell);
    }
}

#[test]
fn a_dead_mount_is_known_replaced_and_taken_away() {
    let (site, _) = published();
    let kill = |mount: &mut MountGuard| {
        mount.kill();
        assert_eq!(errno(fs::symlink_metadata(site.served("debian/nothing"))), ENOTCONN);
        assert_eq!(mounts(&site.env), [(site.env.mount_dir(), None, "dead".to_owned())]);
        site.env
            .mirrorctl(&["status"])
            .success()
            .stdout_has("its process has gone");
    };
    let mut first = site.mount();
    let shell = shell_in(&site.served("debian/current/dists/stable"));
    kill(&mut first);
    let mut second = site.mount();
    assert_eq!(names(&site.served("debian")), ["at", "current", "snapshots", "staging"]);
    assert_eq!(mounted_below(&site.env.mount_dir()).len(), 1);
    assert_eq!(mounts(&site.env).len(), 1);
    kill(&mut second);
    site.env.mirrorctl(&["unmount"]).success();
    assert!(!is_mounted(&site.env));
    assert!(mounts(&site.env).is_empty());
    site.env.mirrorctl(&["unmount"]).code(1);
    drop((first, second, shell));
}

#[test]
fn the_mounts_of_others_are_left_alone() {
    let (site, _) = published();
    let dir = site.env.mount_dir();
    Program::new("mount", "mount")
        .args(["-t", "tmpfs", "theirs"])
        .arg(&dir)
        .run()
        .success();
    site.env
        .mirrorctl(&["mount"])
        .code(4)
        .stderr_has("mount point of theirs (tmpfs)");
    site.env.mirrorctl(&["unmount"]).code(4).stderr_has("theirs (tmpfs)");
    assert!(is_mounted(&site.env));
    assert!(mounts(&site.env).is_empty());
}

#[test]
fn an_unfit_mount_point_is_named() {
    let (site, _) = published();
    let with_dir = |path: &Path| site.env.command(&["mount"]).env("MIRRORCTL_DIR", path).run();
    let root = site.env.root();
    let missing = root.join("missing");
    with_dir(&missing)
        .code(1)
        .stderr_has("does not exist")
        .stderr_has("mkdir -p");
    assert!(!missing.exists());
    let file = root.join("file");
    fs::write(&file, "").expect("written");
    with_dir(&file).code(1).stderr_has("is not a directory");
    with_dir(&file.join("below")).code(1).stderr_has("is not a directory");
    with_dir(&root.join("keys")).code(1).stderr_has("is not empty");
    assert_eq!(mounted_below(root), Vec::<PathBuf>::new());
}

#[test]
fn two_mounts_of_one_state_are_told_alike_and_end_alone() {
    let (site, snapshots) = published();
    let second = Second::new(&site);
    let (mut here, mut there) = (site.mount(), second.mount());
    let places = [site.env.mount_dir(), second.directory.clone()];
    let release = |place: &Path| read(&place.join(format!("debian/current/{RELEASE}")));
    for name in snapshots.iter().cycle().skip(1).take(4) {
        site.publish("debian", name);
        let expected = read(&places[0].join(format!("debian/snapshots/{name}/{RELEASE}")));
        assert_eq!(places.each_ref().map(|place| release(place) == expected), [true, true]);
    }
    let inodes = places
        .each_ref()
        .map(|place| inode(&place.join("debian/current").join(COMMON)));
    assert_eq!(inodes[0], inodes[1], "numbers are the same in every process");
    let mut known = mounts(&site.env);
    known.sort();
    let serving = |place: &PathBuf, guard: &mut MountGuard| {
        (
            place.clone(),
            Some(u64::from(guard.daemon().pid())),
            "serving".to_owned(),
        )
    };
    assert_eq!(known, [serving(&places[0], &mut here), serving(&places[1], &mut there)]);

    second.command(&["unmount"]).run().success();
    assert_eq!(mounted_below(site.env.root()), [site.env.mount_dir()]);
    assert_eq!(mounts(&site.env), [serving(&places[0], &mut here)]);
    site.publish("debian", &snapshots[0]);
    assert_eq!(names(&site.served("debian")), ["at", "current", "snapshots", "staging"]);
    there.stop().success();
    here.stop().success();
}

#[test]
fn a_mount_that_does_not_answer_is_named_and_catches_up() {
    let (site, snapshots) = published();
    let second = Second::new(&site);
    let (mut stopped, _there) = (site.mount(), second.mount());
    let release = |place: &Path, name: &str| read(&place.join("debian").join(name).join(RELEASE));
    let here = site.env.mount_dir();
    let old = release(&here, "current");
    let new = release(&here, &format!("snapshots/{}", snapshots[1]));
    stopped.freeze();

    let promote = ["--json", "snapshot", "promote", "debian"];
    let report = site.env.mirrorctl(&promote).code(7).json();
    let told = format!(
        "recorded, not yet visible at {} (pid {})",
        here.display(),
        stopped.daemon().pid()
    );
    assert_eq!(report["error"]["message"], told, "{report}");
    assert_eq!(
        (&report["moves"][0]["to"], &report["moves"][0]["changed"]),
        (&snapshots[1].clone().into(), &true.into())
    );
    assert_eq!(release(&second.directory, "current"), new, "the other one was told");
    let history = site
        .env
        .mirrorctl(&["--json", "snapshot", "history", "debian"])
        .success()
        .json();
    assert_eq!(
        (&history["moves"][0]["to"], &history["moves"][0]["command"]),
        (&snapshots[1].clone().into(), &"promote".into())
    );
    let states: BTreeMap<PathBuf, String> = mounts(&site.env)
        .into_iter()
        .map(|(place, _, state)| (place, state))
        .collect();
    assert_eq!(
        (states[&here].as_str(), states[&second.directory].as_str()),
        ("silent", "serving")
    );
    site.env.mirrorctl(&["status"]).success().stdout_has("does not answer");
    // What the kernel remembers it answers by itself, and that is still the old target.
    assert_eq!(release(&here, "current"), old);

    stopped.thaw();
    let report = site.env.mirrorctl(&promote).success().json();
    assert_eq!(report["moves"][0]["changed"], false, "{report}");
    for place in [&here, &second.directory] {
        assert_eq!(release(place, "current"), new, "{}", place.display());
    }
    assert!(mounts(&site.env).iter().all(|(_, _, state)| state == "serving"));
}

/// What `stat` says of everything below a directory: inode, time, size.
fn facts(root: &Path) -> BTreeMap<PathBuf, (u64, i64, u64)> {
    let facts = |path: &PathBuf| {
        let found = stat(&root.join(path));
        (found.ino(), found.mtime(), found.size())
    };
    tree(root).keys().map(|path| (path.clone(), facts(path))).collect()
}

/// Whether a path of an archive is the plain name of a Release file or an index.
fn is_plain_name(path: &Path) -> bool {
    path.starts_with("dists") && !path.components().any(|part| part.as_os_str() == "by-hash")
}

#[test]
fn numbers_and_times_are_what_a_web_server_may_rely_on() {
    let (site, snapshots) = published();
    let mut mount = site.mount();
    let debian = site.served("debian");
    let archive = site.sources[0].archive.root().to_owned();
    let snapshot = |at: usize| debian.join("snapshots").join(&snapshots[at]);

    // The second snapshot is what upstream has now: the times are those of its files.
    let second = tree(&snapshot(1));
    let files = || {
        second
            .iter()
            .filter(|(_, item)| matches!(item, Item::File(_)))
            .map(|(path, _)| path)
    };
    assert!(files().count() > 10, "{second:?}");
    for path in files() {
        let time = mtime(&snapshot(1).join(path));
        assert_eq!(time, mtime(&archive.join(path)), "{}", path.display());
        assert!(time < now().unix() - 900_000);
    }
    // Staging has the same files, and its own time at the plain names.
    let staged = debian.join("staging");
    let serial = mtime(&staged.join(RELEASE));
    for path in files() {
        let (here, there) = (stat(&staged.join(path)), stat(&snapshot(1).join(path)));
        if is_plain_name(path) {
            assert_eq!(here.mtime(), serial, "{}", path.display());
            assert_ne!(here.ino(), there.ino(), "{}", path.display());
        } else {
            assert_eq!(
                (here.ino(), here.mtime()),
                (there.ino(), there.mtime()),
                "{}",
                path.display()
            );
        }
    }
    // One file is one inode behind every door, a directory one for each door.
    let doors = [debian.join("current"), staged.clone(), snapshot(0), snapshot(1)];
    let inodes = |path: &str| doors.each_ref().map(|door| inode(&door.join(path)));
    assert_eq!(inodes(COMMON), [inodes(COMMON)[0]; 4]);
    for directory in [
        "",
        "pool",
        "dists/stable",
        "dists/stable/main/binary-amd64/by-hash/SHA256",
    ] {
        let distinct: std::collections::BTreeSet<u64> = inodes(directory).into_iter().collect();
        assert_eq!(distinct.len(), 4, "{directory}");
    }

    // The serial time grows with every move, also back, and however quickly they follow each other.
    let current = debian.join("current");
    let mut last = mtime(&current.join(RELEASE));
    for at in [1, 0, 1, 0, 0] {
        let before = (inode(&current), last);
        site.publish("debian", &snapshots[at]);
        let time = mtime(&current.join(RELEASE));
        if at == 0 && last == time {
            // No move: it leads there already.
            assert_eq!((inode(&current), time), before);
            continue;
        }
        assert!(time > last && inode(&current) > before.0, "{time} after {last}");
        let plain = facts(&current).into_iter().filter(|(path, _)| is_plain_name(path));
        plain.for_each(|(path, (_, found, _))| assert_eq!(found, time, "{}", path.display()));
        last = time;
    }

    let all = |site: &Site| facts(&site.served("debian"));
    let before = all(&site);
    mount.daemon().signal(Signal::Terminate);
    mount.stop().success();
    let mut mount = site.mount();
    let own = ["current", "staging", "snapshots", "at"].map(PathBuf::from);
    let without_own_times = |mut facts: BTreeMap<PathBuf, (u64, i64, u64)>| {
        // The mount's own directories have the time at which the mount began.
        for directory in &own[2..] {
            facts.get_mut(directory).expect("listed").1 = 0;
        }
        facts
    };
    assert_eq!(without_own_times(all(&site)), without_own_times(before));
    mount.daemon().signal(Signal::Terminate);
    mount.stop().success();
}

#[test]
fn a_slow_reader_gets_its_file_though_it_is_deleted_and_collected() {
    let mut site = Site::new(&["debian"]);
    let snapshot = site.next_snapshot("debian");
    let on_disk = read(&site.sources[0].archive.root().join(only(1)));
    let next = site.next_snapshot("debian");
    let mount = site.mount();
    let path = site.served(&format!("debian/snapshots/{snapshot}/{}", only(1)));
    let digest = Digest::of(&on_disk).to_string();
    let blob = site.env.state_dir().join("blobs").join(&digest[..2]).join(&digest);
    assert!(blob.exists(), "{}", blob.display());

    let mut open = File::open(&path).expect("listed");
    let mut head = vec![0; 1000];
    open.read_exact(&mut head).expect("readable");
    site.env
        .mirrorctl(&["snapshot", "delete", "debian", &snapshot])
        .success();
    assert!(!path.exists());
    let collect = || site.env.mirrorctl(&["--json", "gc", "--now"]).success().json();
    let report = collect();
    assert_eq!(report["held_open"]["files"], 1, "{report}");
    assert!(report["removed"]["files"].as_u64() > Some(3), "{report}");
    assert!(blob.exists(), "it is held open");
    // What the kernel has kept of the file goes, so that the rest comes from the mount.
    let held = format!("if=/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
    Program::new("dd", "coreutils")
        .args([&held, "iflag=nocache", "count=0"])
        .run()
        .success();
    let mut tail = Vec::new();
    open.read_to_end(&mut tail).expect("readable");
    assert!([head, tail].concat() == on_disk, "the bytes of the deleted file");

    drop(open);
    mount.stop().success();
    let _mount = site.mount();
    let report = collect();
    assert_eq!(
        (&report["held_open"]["files"], &report["removed"]["files"]),
        (&0.into(), &1.into()),
        "{report}"
    );
    assert!(!blob.exists());
    assert!(tree(&site.served(&format!("debian/snapshots/{next}"))).len() > 10);
}

/// Overwrites a file of the catalog in place, as a broken disk does.
fn damage(path: &Path, how: &str) {
    let length = fs::metadata(path).expect("exists").len();
    let file = OpenOptions::new().write(true).open(path).expect("writable");
    match how {
        "truncated" => file.set_len(0).expect("truncated"),
        _ => {
            let garbage = crate::site::noise(usize::try_from(length).expect("fits"));
            std::os::unix::fs::FileExt::write_all_at(&file, &garbage, 0).expect("written");
        }
    }
}

#[test]
fn what_is_published_outlives_the_catalog() {
    for how in ["truncated", "garbage"] {
        let (mut site, snapshots) = published();
        let pool = files_of(tree(&site.sources[0].archive.root().join("pool")));
        let third = site.next_snapshot("debian");
        // Before the failure, the mount is asked for one directory only, whose files' bytes are not read.
        let mut mount = site.mount();
        assert_eq!(names(&site.served("debian/current/pool/main/c/common")).len(), 1);

        let files = ["catalog.db", "catalog.db-wal"].map(|name| site.env.state_dir().join(name));
        let good = files.each_ref().map(|path| read(path));
        for path in &files {
            damage(path, how);
        }

        let place = |name: &str| site.served(&format!("debian/{name}"));
        // What is not known is not denied.
        for name in [third.as_str(), "no-such-snapshot"] {
            let refused = errno(fs::symlink_metadata(place("snapshots").join(name)));
            assert_eq!(refused, EIO, "{how}: {name}");
        }
        assert_eq!(errno(names_or_error(&place("snapshots"))), EIO, "{how}");
        // For longer than the mount may go on with what its connections remember of the catalog.
        thread::sleep(Duration::from_secs(2));
        assert_eq!(mounts(&site.env)[0].2, "degraded", "{how}");
        // A file that the kernel knows by name already: the mount is asked for its bytes alone.
        let common = Item::File(Digest::of(&read(&place("current").join(COMMON))));
        assert_eq!(
            Some(&common),
            pool.get(Path::new(COMMON).strip_prefix("pool").expect("a package")),
            "{how}"
        );
        assert_eq!(names(&site.served("")), ["debian"]);
        assert_eq!(names(&place("")), ["at", "current", "snapshots", "staging"]);
        let staged = tree(&place("staging"));
        assert_eq!(files_of(subtree(&staged, "pool")), pool, "{how}");
        let during = ["current", "staging"].map(|name| facts(&place(name)));
        assert!(
            during[1]
                .keys()
                .any(|path| path.to_string_lossy().contains("by-hash/SHA256/")),
            "{during:?}"
        );
        site.env
            .mirrorctl(&["status"])
            .failure()
            .stdout_has("it cannot read the catalog");
        site.env.mirrorctl(&["snapshot", "promote", "debian"]).failure();
        Program::new("df", "coreutils")
            .arg(site.env.mount_dir())
            .run()
            .success();

        // The log first: without it, the other file is the catalog of an earlier time.
        for (path, bytes) in files.iter().zip(&good).rev() {
            fs::write(path, bytes).expect("restored");
        }
        assert!(comes_true(|| mounts(&site.env)[0].2 == "serving"), "{how}");
        assert_eq!(names(&place("snapshots")).len(), 3, "{how}");
        assert_eq!(
            ["current", "staging"].map(|name| facts(&place(name))),
            during,
            "{how}: the same numbers"
        );
        assert_eq!(tree(&place(&format!("snapshots/{}", snapshots[1]))), staged, "{how}");
        site.env.mirrorctl(&["snapshot", "promote", "debian"]).success();
        assert_eq!(tree(&place("current")), staged, "{how}");
        assert!(mount.daemon().is_running());
        mount.stop().success();
        // And a mount that has never known the failure answers the same.
        let _mount = site.mount();
        assert_eq!(facts(&place("staging")), during[1], "{how}: after a restart");
    }
}

/// The part of a tree below `directory`.
fn subtree(whole: &Tree, directory: &str) -> Tree {
    let below = |(path, item): (&PathBuf, &Item)| {
        let path = path
            .strip_prefix(directory)
            .ok()
            .filter(|path| *path != Path::new(""))?;
        Some((path.to_owned(), *item))
    };
    whole.iter().filter_map(below).collect()
}

fn files_of(mut whole: Tree) -> Tree {
    whole.retain(|_, item| *item != Item::Directory);
    whole
}

#[test]
fn another_catalog_gets_a_fresh_mount() {
    let (site, snapshots) = published();
    let mut mount = site.mount();
    let place = |name: &str| site.served(&format!("debian/{name}"));
    let (device, old) = (
        stat(&place("")).dev(),
        tree(&place(&format!("snapshots/{}", snapshots[0]))),
    );
    let held = File::open(place("current")).expect("a directory");
    let within = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    let catalog = site.env.state_dir().join("catalog.db");
    let replace_by = |file: &Path| fs::rename(file, &catalog).expect("put in place");

    // Something that is no catalog takes its name: nothing changes for readers, and commands fail.
    let [other, aside] = ["other.db", "aside.db"].map(|name| site.env.root().join(name));
    fs::write(&other, crate::site::noise(100_000)).expect("written");
    let log = site.env.state_dir().join("catalog.db-wal");
    let logged = read(&log);
    damage(&log, "truncated");
    fs::rename(&catalog, &aside).expect("moved");
    replace_by(&other);
    site.env
        .mirrorctl(&["snapshot", "publish", "debian", &snapshots[1]])
        .failure();
    thread::sleep(Duration::from_secs(2));
    assert!(mount.daemon().is_running());
    assert!(tree(&place("current")) == old);
    assert_eq!(stat(&place("")).dev(), device, "the same mount");
    replace_by(&aside);
    fs::write(&log, logged).expect("restored");
    assert!(comes_true(|| names_or_error(&place("snapshots")).is_ok()));

    // The catalog of another installation, with its blobs: the same names and numbers mean other things.
    let (theirs, their_snapshots) = published_elsewhere();
    Program::new("cp", "coreutils")
        .args(["-a", "--no-clobber"])
        .arg(theirs.env.state_dir().join("blobs"))
        .arg(site.env.state_dir())
        .run()
        .success();
    fs::copy(theirs.env.state_dir().join("catalog.db"), &other).expect("copied");
    for name in ["catalog.db-wal", "catalog.db-shm"] {
        fs::remove_file(site.env.state_dir().join(name)).expect("removed");
    }
    replace_by(&other);
    assert!(comes_true(
        || fs::symlink_metadata(place("")).is_ok_and(|found| found.dev() != device)
    ));
    assert_eq!(files_of(subtree(&tree(&place("current")), "pool")), their_pool(&theirs));
    assert_eq!(names(&place("snapshots")), their_snapshots);
    assert_eq!(mounts(&site.env).len(), 1);
    // Who holds a directory of the old mount reads what it held, or nothing; never other bytes. So do many at once.
    let reads_as_before = |from: usize| {
        for (path, item) in old.iter().cycle().skip(from).take(old.len()) {
            let Item::File(digest) = item else { continue };
            match fs::read(within.join(path)) {
                Ok(bytes) => assert_eq!(Digest::of(&bytes), *digest, "{}", path.display()),
                Err(error) => assert_eq!(error.raw_os_error(), Some(EIO), "{}", path.display()),
            }
        }
    };
    thread::scope(|scope| {
        for from in (0..old.len()).step_by(3) {
            scope.spawn(move || reads_as_before(from));
        }
    });
    site.env.mirrorctl(&["snapshot", "promote", "debian"]).success();
    assert_eq!(
        read(&place("current").join(RELEASE)),
        read(&place("staging").join(RELEASE))
    );
    drop(held);
    site.env.mirrorctl(&["unmount"]).success();
    mount.stop().success();
}

fn names_or_error(directory: &Path) -> io::Result<usize> {
    fs::read_dir(directory)?.try_fold(0, |count, entry| entry.map(|_| count + 1))
}

/// Another installation, whose archive has other packages. Nothing is mounted there.
fn published_elsewhere() -> (Site, Vec<String>) {
    let mut site = Site::new(&["debian"]);
    (0..5).for_each(|_| site.source("debian").change());
    let mut snapshots: Vec<String> = (0..2).map(|_| site.next_snapshot("debian")).collect();
    site.publish("debian", &snapshots[1]);
    site.stage("debian", &snapshots[0]);
    snapshots.sort();
    (site, snapshots)
}

fn their_pool(site: &Site) -> Tree {
    files_of(tree(&site.sources[0].archive.root().join("pool")))
}

#[test]
fn nothing_can_be_changed() {
    let (site, _) = published();
    let _mount = site.mount();
    let before = tree(&site.served("debian/staging"));
    let directories = [
        "",
        "debian",
        "debian/current",
        "debian/snapshots",
        "debian/current/dists/stable",
    ];
    for directory in directories.map(|path| site.served(path)) {
        let new = directory.join("new");
        let refused = [
            ("create", errno(File::create(&new))),
            ("mkdir", errno(fs::create_dir(&new))),
            ("symlink", errno(symlink("target", &new))),
            (
                "chmod",
                errno(fs::set_permissions(&directory, Permissions::from_mode(0o755))),
            ),
            ("chown", errno(chown(&directory, Some(1), Some(1)))),
        ];
        for (what, error) in refused {
            assert_eq!(error, EROFS, "{what} in {}", directory.display());
        }
        let pipe = Program::new("mkfifo", "coreutils").arg(&new).run();
        pipe.failure().stderr_has("Read-only file system");
    }
    let (file, other) = (
        site.served(&format!("debian/current/{RELEASE}")),
        site.served("debian/current/Release"),
    );
    let directory = site.served("debian/current/pool");
    let refused = [
        ("write", errno(OpenOptions::new().write(true).open(&file))),
        ("append", errno(OpenOptions::new().append(true).open(&file))),
        (
            "truncate",
            errno(OpenOptions::new().write(true).truncate(true).open(&file)),
        ),
        ("unlink", errno(fs::remove_file(&file))),
        ("rmdir", errno(fs::remove_dir(&directory))),
        ("rename", errno(fs::rename(&file, &other))),
        ("rename a directory", errno(fs::rename(&directory, &other))),
        ("link", errno(fs::hard_link(&file, &other))),
        (
            "chmod",
            errno(fs::set_permissions(&file, Permissions::from_mode(0o644))),
        ),
        ("chown", errno(chown(&file, Some(1), Some(1)))),
    ];
    for (what, error) in refused {
        assert_eq!(error, EROFS, "{what}");
    }
    let read_only = |program: Program| program.arg(&file).run().failure().stderr_has("Read-only file system");
    read_only(Program::new("touch", "coreutils").arg("-m"));
    read_only(Program::new("setfattr", "attr").args(["-n", "user.note", "-v", "x"]));
    assert_eq!(tree(&site.served("debian/staging")), before);
}

#[test]
fn sizes_are_those_of_the_disk_below() {
    let (site, _) = published();
    let _mount = site.mount();
    let sizes = |place: &Path| -> Vec<u64> {
        let format = "--output=size,avail,itotal";
        let ran = Program::new("df", "coreutils")
            .args(["-B1", format])
            .arg(place)
            .run()
            .success();
        let line = ran.stdout.lines().nth(1).expect("a line").to_owned();
        line.split_whitespace()
            .map(|field| field.parse().expect("a number"))
            .collect()
    };
    let (ours, disk) = (sizes(&site.env.mount_dir()), sizes(&site.env.state_dir()));
    assert_eq!(ours[0], disk[0], "size");
    assert!(
        ours[1] <= ours[0] && ours[1].abs_diff(disk[1]) < disk[0] / 4,
        "{ours:?} and {disk:?}"
    );
    let status = site.env.mirrorctl(&["--json", "status"]).success().json();
    assert_eq!(status["cache"]["files"].as_u64(), Some(ours[2]), "{status}");
    Program::new("df", "coreutils")
        .arg("-i")
        .arg(site.env.mount_dir())
        .run()
        .success();
}

/// What has become of a blob on disk, given its path and its bytes.
type Damage = (&'static str, fn(&Path, &[u8]));

#[test]
fn a_damaged_blob_is_an_error_and_never_other_bytes() {
    const DAMAGES: [Damage; 8] = [
        ("shortened", |path, bytes| put(path, &bytes[..bytes.len() - 1])),
        ("emptied", |path, _| put(path, b"")),
        ("grown", |path, bytes| put(path, &[bytes, b"x"].concat())),
        ("deleted", |_, _| {}),
        ("a link", |path, _| symlink("/etc/passwd", path).expect("made")),
        ("a link to its own bytes", |path, bytes| {
            let copy = path.with_extension("copy");
            put(&copy, bytes);
            symlink(copy, path).expect("made");
        }),
        ("a directory", |path, _| fs::create_dir(path).expect("made")),
        ("a pipe", |path, _| {
            Program::new("mkfifo", "coreutils").arg(path).run().success();
        }),
    ];
    let (site, _) = published();
    let path = site.served(&format!("debian/staging/{}", only(2)));
    let bytes = read(&site.sources[0].archive.root().join(only(2)));
    let digest = Digest::of(&bytes).to_string();
    let blob = site.env.state_dir().join("blobs").join(&digest[..2]).join(&digest);
    let aside = site.env.root().join("aside");
    fs::rename(&blob, &aside).expect("moved");
    for (how, damage) in DAMAGES {
        // A mount that has neither the file open nor its bytes in memory.
        let mount = site.mount();
        damage(&blob, &bytes);
        assert_eq!(stat(&path).len(), bytes.len() as u64, "{how}: it is listed");
        for _ in 0..2 {
            assert_eq!(errno(fs::read(&path)), EIO, "{how}");
        }
        assert!(
            read(&site.served(&format!("debian/staging/{COMMON}"))).len() > 1000,
            "{how}: others are served"
        );
        if blob.is_dir() && !blob.is_symlink() {
            fs::remove_dir(&blob).expect("removed");
        } else {
            fs::remove_file(&blob).ok();
        }
        // Whole again, it is served again, without a restart.
        fs::copy(&aside, &blob).expect("restored");
        assert!(read(&path) == bytes, "{how}: repaired");
        fs::remove_file(&blob).expect("removed");
        mount.stop().success();
    }
}

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_blob_that_is_cut_while_it_is_open_is_an_error() {
    let (site, _) = published();
    let _mount = site.mount();
    let path = site.served(&format!("debian/staging/{}", only(2)));
    let bytes = read(&site.sources[0].archive.root().join(only(2)));
    let digest = Digest::of(&bytes).to_string();
    let blob = site.env.state_dir().join("blobs").join(&digest[..2]).join(&digest);
    let mut open = File::open(&path).expect("listed");
    let mut head = vec![0; 1000];
    open.read_exact(&mut head).expect("readable");
    // Root may write to a blob, whatever its mode.
    OpenOptions::new()
        .write(true)
        .open(&blob)
        .expect("opened")
        .set_len(2000)
        .expect("cut");
    let held = format!("if=/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
    Program::new("dd", "coreutils")
        .args([&held, "iflag=nocache", "count=0"])
        .run()
        .success();
    assert_eq!(errno(fs::read(&path)), EIO);
    let mut tail = Vec::new();
    assert_eq!(errno(open.read_to_end(&mut tail)), EIO);
    assert!(bytes[1000..].starts_with(&tail), "no byte that was not there");
}

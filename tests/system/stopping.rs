//! How mounts end, and how they share a machine: what `unmount` takes away and what it leaves alone, signals, users who
//! stay inside, a catalog that is replaced, and the traces in the run directory.
//!
//! Owns the tests of the end of a mount. What a living one shows is tested in `mounting`.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mirrorctl_testkit::{
    ArchiveBuilder, Config, Deb, Mirror, MountGuard, Program, Running, Signal, SuiteSpec, TestEnv, Upstream,
    mounted_below, now,
};

/// Far longer than anything here takes, and shorter than the kit's patience: a hanging command is what is tested for.
const LIMIT: Duration = Duration::from_secs(30);

/// A Release file of the served archive.
const RELEASE: &str = "debian/current/dists/stable/Release";

/// An installation whose `current` shows a small archive with this version of its one package.
fn installation(version: &str) -> TestEnv {
    let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
    sync(&env, version);
    env
}

/// Syncs from an upstream that has this version.
fn sync(env: &TestEnv, version: &str) {
    let suite = SuiteSpec::new("stable").package("main", Deb::new("hello", version, "amd64"));
    let root = env.root().join(format!("upstream-{version}"));
    let archive = ArchiveBuilder::new()
        .suite(suite)
        .create(&root, now())
        .expect("an archive");
    let upstream = Upstream::serve(archive.root());
    let key = env.key("archive.asc", &archive.key().public_armored().expect("a key"));
    let mirror = Mirror::new("debian", &upstream.url())
        .suites(&["stable"])
        .key(&key)
        .publish_to_production(true);
    env.configure(Config::new().mirror(mirror));
    env.mirrorctl(&["sync", "debian"]).success();
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

/// What `shell` reads from the directory where it stands.
fn read_by(shell: &Running, name: &str) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{}/cwd/{name}", shell.pid()))
}

/// The mount points at or below the installation, sorted.
fn mounted(env: &TestEnv) -> Vec<PathBuf> {
    let mut found = mounted_below(env.root());
    found.sort();
    found
}

/// The names in the run directory that registrations leave.
fn registered(env: &TestEnv) -> usize {
    let entries = fs::read_dir(env.run_dir()).expect("listable");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".lock")).count()
}

#[test]
fn unmount_ends_the_mount_at_its_own_dir_only() {
    let env = installation("1");
    let other = env.root().join("other");
    fs::create_dir(&other).expect("made");
    let at_other = |arguments: &[&str]| env.command(arguments).env("MIRRORCTL_DIR", &other);
    let mut here = MountGuard::mount(&env);
    let mut there = at_other(&["mount"]).spawn();
    there.wait_until("mount", |_| other.join(RELEASE).exists());
    assert_eq!(mounted(&env), [other.clone(), env.mount_dir()]);

    at_other(&["unmount"]).run().success();
    assert_eq!(mounted(&env), [env.mount_dir()]);
    assert!(there.ends_within(LIMIT));
    assert!(here.daemon().is_running());
    assert_eq!(registered(&env), 1);
    at_other(&["unmount"])
        .run()
        .code(1)
        .stderr_has("nothing of mirrorctl is mounted");
    // By another path to the same directory.
    let link = env.root().join("link");
    symlink(env.mount_dir(), &link).expect("made");
    env.command(&["unmount"]).env("MIRRORCTL_DIR", &link).run().success();
    assert_eq!(mounted(&env), Vec::<PathBuf>::new());
    here.stop().success();
}

#[test]
fn a_live_mount_that_is_not_known_here_is_left_alone() {
    let env = installation("1");
    let mut mount = MountGuard::mount(&env);
    let state = env.state_dir();
    let shows = format!("{} shows {}", env.mount_dir().display(), state.display());
    let elsewhere = || {
        let unmount = env
            .command(&["unmount"])
            .env("MIRRORCTL_RUN_DIR", env.root().join("run2"));
        unmount.limit(LIMIT)
    };
    let refused = elsewhere().run().code(4).stderr_has(&shows);
    refused
        .stderr_has("run2")
        .stderr_has("hint: use the configuration and the MIRRORCTL_RUN_DIR");
    let text = fs::read_to_string(env.config_path()).expect("a configuration");
    let state2 = env.root().join("state2");
    let text = text.replace(&state.display().to_string(), &state2.display().to_string());
    fs::write(env.root().join("second.toml"), text).expect("written");
    let second = Program::at(env.binary())
        .arg("--config")
        .arg(env.root().join("second.toml"));
    let unmount = second.arg("unmount").env("MIRRORCTL_RUN_DIR", env.run_dir());
    unmount.run().code(4).stderr_has(&shows).stderr_has("state2");
    // One that does not answer lives all the same.
    mount.freeze();
    elsewhere().run().code(4).stderr_has(&shows);
    mount.thaw();
    assert_eq!(mounted(&env), [env.mount_dir()]);
    assert!(fs::read(env.served(RELEASE)).is_ok());
    // A dead one is nobody's.
    mount.kill();
    elsewhere().run().success();
    assert_eq!(mounted(&env), Vec::<PathBuf>::new());
}

#[test]
fn whoever_is_inside_does_not_hold_up_the_end() {
    let env = installation("1");
    for way in ["unmount", "SIGTERM", "SIGHUP", "umount -l"] {
        let mut mount = MountGuard::mount(&env);
        let shell = shell_in(&env.served("debian/current/dists/stable"));
        match way {
            "unmount" => {
                env.command(&["unmount"]).limit(LIMIT).run().success();
                assert_eq!((mounted(&env).len(), registered(&env)), (0, 0));
            }
            "SIGTERM" => mount.daemon().signal(Signal::Terminate),
            "SIGHUP" => mount.daemon().signal(Signal::HangUp),
            _ => drop(
                Program::new("umount", "mount")
                    .arg("-l")
                    .arg(env.mount_dir())
                    .run()
                    .success(),
            ),
        }
        assert!(mount.daemon().ends_within(LIMIT), "{way}");
        assert_eq!((mounted(&env).len(), registered(&env)), (0, 0), "{way}");
        mount.stop().success();
        assert!(read_by(&shell, "by-hash").is_err(), "{way}: there is nobody to answer");
        // The place is free, whoever still stands in what was there.
        MountGuard::mount(&env).stop().success();
        drop(shell);
    }
}

#[test]
fn a_closed_terminal_unmounts() {
    let env = installation("1");
    let mut mount = MountGuard::mount(&env);
    mount.daemon().signal(Signal::HangUp);
    assert!(mount.daemon().ends_within(LIMIT));
    assert_eq!(mounted(&env), Vec::<PathBuf>::new());
    mount.stop().success();
}

#[test]
fn a_stopped_process_keeps_its_place_and_nobody_waiting() {
    let env = installation("1");
    let mut mount = MountGuard::mount(&env);
    let already = format!("is already served by process {}", mount.daemon().pid());
    let link = env.root().join("link");
    symlink(env.mount_dir(), &link).expect("made");
    mount.freeze();
    for dir in [&env.mount_dir(), &link] {
        for command in [&["mount"][..], &["mount", "--background"]] {
            let command = env.command(command).env("MIRRORCTL_DIR", dir).limit(LIMIT);
            command.run().failure().stderr_has(&already);
        }
    }
    mount.thaw();
    mount.stop().success();
}

#[test]
fn a_replaced_catalog_gets_a_fresh_mount_at_once() {
    let env = installation("1");
    let catalog = env.state_dir().join("catalog.db");
    let backup = env.state_dir().join("backup.db");
    // Nothing has it open, so the file is all of it.
    fs::copy(&catalog, &backup).expect("copied");
    let read = || env.read_served(RELEASE);
    let mut mount = MountGuard::mount(&env);
    let before = read();
    sync(&env, "2");
    let later = read();
    assert_ne!(later, before);
    let shell = shell_in(&env.served("debian/current/dists/stable"));
    let device = |place: &Path| fs::metadata(place).map(|found| found.dev());
    let old = device(&env.mount_dir()).expect("mounted");

    let copy = backup.to_str().expect("text");
    env.mirrorctl(&["repair", "--restore", copy]).success();
    assert_eq!(read(), before);
    assert!(device(&env.mount_dir()).is_ok_and(|now| now != old));
    assert_eq!(registered(&env), 1);
    // The old mount goes on for who is inside, also for what they had not asked for before.
    assert_eq!(read_by(&shell, "Release").expect("served"), later);
    assert!(read_by(&shell, "InRelease").expect("served").contains("SIGNED"));
    assert_eq!(mounted(&env), [env.mount_dir()]);
    // The fresh one is told of changes.
    sync(&env, "3");
    assert!(![&before, &later].contains(&&read()));
    assert_eq!(read_by(&shell, "Release").expect("served"), later);

    env.command(&["unmount"]).limit(LIMIT).run().success();
    assert!(mount.daemon().ends_within(LIMIT));
    assert_eq!((mounted(&env).len(), registered(&env)), (0, 0));
    drop(shell);
    mount.stop().success();
}

#[test]
fn the_run_directory_is_for_all_whatever_the_umask() {
    let env = installation("1");
    let run = env.root().join("made/run");
    let background = |umask: &str| {
        let script = format!("umask {umask} && exec \"$@\"");
        let mirrorctl = Program::new("sh", "dash").args(["-c", &script, "sh"]).arg(env.binary());
        mirrorctl
            .arg("--config")
            .arg(env.config_path())
            .args(["mount", "--background"])
            .env("MIRRORCTL_RUN_DIR", &run)
    };
    let unmount = || env.command(&["unmount"]).env("MIRRORCTL_RUN_DIR", &run).run().success();
    background("077").run().success();
    assert_eq!(fs::metadata(&run).expect("made").permissions().mode() & 0o7777, 0o755);
    unmount();
    // The log of many lives does not fill the memory that the directory is in.
    let log = run.join("mount.log");
    fs::write(&log, vec![b'\n'; (1 << 20) + 1]).expect("written");
    background("022").run().success();
    assert!(fs::metadata(&log).expect("a log").len() < 1 << 20);
    unmount();
}

#[test]
fn a_catalog_that_fails_is_logged_when_it_begins_and_when_it_ends() {
    let env = installation("1");
    let mut mount = MountGuard::mount(&env);
    // Something is committed that the mount has not seen, so that it reads from the files and not from memory.
    mount.freeze();
    let create = env.command(&["snapshot", "create", "debian", "named"]);
    create.env("MIRRORCTL_RUN_DIR", env.root().join("run2")).run().success();
    let files = ["catalog.db", "catalog.db-wal"].map(|name| {
        let path = env.state_dir().join(name);
        let file = fs::File::options().write(true).open(&path).expect("writable");
        (file, fs::read(&path).expect("readable"))
    });
    for (file, whole) in &files {
        file.write_all_at(&vec![0xa5; whole.len()], 0).expect("overwritten");
    }
    mount.thaw();
    let lines = |daemon: &Running, text: &str| daemon.stderr().lines().filter(|line| line.contains(text)).count();
    for number in 0..60 {
        let refused = fs::metadata(env.served(&format!("debian/snapshots/no-{number}")));
        assert_ne!(refused.expect_err("refused").kind(), io::ErrorKind::NotFound);
    }
    // The watch goes on failing too.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(lines(mount.daemon(), "the catalog cannot be read"), 1);
    let all = mount.daemon().stderr();
    assert!(all.lines().count() < 30, "{all}");

    for (file, whole) in &files {
        file.write_all_at(whole, 0).expect("mended");
    }
    mount
        .daemon()
        .wait_until("its recovery", |daemon| lines(daemon, "can be read again") == 1);
    assert!(fs::metadata(env.served("debian/snapshots/named")).is_ok());
    let missing = fs::metadata(env.served("debian/snapshots/none")).expect_err("missing");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    mount.stop().success();
}

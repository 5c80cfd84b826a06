//! A user without rights mounts mirrors of his own, through the real `fusermount3`.
//!
//! Owns what holds for such a mount: who sees it, how it ends, and what is said when it cannot be. Each test runs in a table of
//! mounts of its own, with a device and an `/etc/fuse.conf` there, so that nothing of the machine is changed. Where `fusermount3` may not act as
//! root, these tests fail.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mirrorctl_testkit::{
    Archive, ArchiveBuilder, Config, Deb, Mirror, Program, Ran, Running, Scratch, Signal, SuiteSpec, TestEnv, Upstream,
    now,
};

use crate::site::comes_true;

/// What the room is made of: `$1` a directory for the device, `$2` the configuration of `fusermount3`.
const FURNISH: &str = r#"
mount -t tmpfs -o mode=755 none "$1"
mknod "$1/fuse" c 10 229
chmod 666 "$1/fuse"
mount --bind "$1/fuse" /dev/fuse
mount --bind "$2" /etc/fuse.conf
echo furnished
exec sleep infinity
"#;

/// Who mounts, and another one.
const USER: &str = TestEnv::OTHER;
const STRANGER: &str = TestEnv::MEMBER;

/// An installation of a user's, in a table of mounts that others do not see.
struct Room {
    env: TestEnv,
    archive: Archive,
    _upstream: Upstream,
    // Whoever holds the table; the program where the user can execute it.
    holder: Running,
    _place: Scratch,
}

impl Room {
    /// With this text as `/etc/fuse.conf`.
    fn new(fuse_conf: &str) -> Self {
        let place = Scratch::new();
        let binary = place.path().join("mirrorctl");
        fs::copy(env!("CARGO_BIN_EXE_mirrorctl"), &binary).expect("a copy of the program");
        let archive = ArchiveBuilder::new()
            .suite(SuiteSpec::new("stable").package("main", hello("1")))
            .create(&place.directory("archive"), now().plus(-3600))
            .expect("an archive");
        let upstream = Upstream::serve(archive.root());
        let env = TestEnv::new(&binary);
        let key = env.key("archive.asc", &archive.key().public_armored().expect("a key"));
        let mirror = Mirror::new("site", &upstream.url()).suites(&["stable"]).key(&key);
        env.configure(Config::new().mirror(mirror.publish_to_staging(true)));
        fs::create_dir(env.state_dir()).expect("own directory");
        for directory in [env.state_dir(), env.mount_dir(), env.run_dir(), env.root().join("home")] {
            let chown = Program::new("chown", "coreutils").arg(format!("{USER}:"));
            chown.arg(directory).run().success();
        }
        let conf = place.file("fuse.conf", fuse_conf);
        let mut holder = Program::new("unshare", "util-linux")
            .args(["--mount", "sh", "-e", "-c", FURNISH, "sh"])
            .args([&place.directory("dev"), &conf])
            .spawn();
        holder.wait_until("the room", |holder| holder.stdout().contains("furnished"));
        Self {
            env,
            archive,
            _upstream: upstream,
            holder,
            _place: place,
        }
    }

    /// A program of `user` in this room.
    fn program(&self, user: &str, words: &[&str]) -> Program {
        let program = Program::new("nsenter", "util-linux")
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.pid()))
            .args(["setpriv", "--init-groups"])
            .args([format!("--reuid={user}"), format!("--regid={user}"), "--".to_owned()]);
        program
            .args(words)
            .env("MIRRORCTL_RUN_DIR", self.env.run_dir())
            .env("HOME", self.env.root().join("home"))
    }

    fn run(&self, user: &str, words: &[&str]) -> Ran {
        self.program(user, words).run()
    }

    /// The program under test, as its user calls it.
    fn mirrorctl(&self, arguments: &[&str]) -> Program {
        let (binary, config) = (text(self.env.binary()), text(&self.env.config_path()));
        self.program(USER, &[&[&binary, "--config", &config][..], arguments].concat())
    }

    /// What `user` sees of the package's version in a pointer.
    fn version(&self, user: &str, pointer: &str) -> Option<String> {
        let list = self.run(
            user,
            &[
                "ls",
                &text(&self.env.served(&format!("site/{pointer}/pool/main/h/hello"))),
            ],
        );
        let package = list.stdout.lines().next()?.strip_prefix("hello_")?;
        package.strip_suffix("_amd64.deb").map(str::to_owned)
    }

    /// The line of the table of mounts about the mount point.
    fn table(&self) -> Option<String> {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.holder.pid())).expect("a running child");
        let place = format!(" {} ", self.env.mount_dir().display());
        table.lines().find(|line| line.contains(&place)).map(str::to_owned)
    }

    fn upstream_publishes(&mut self, version: &str) {
        self.archive.add("stable", "main", &hello(version)).expect("a package");
        self.archive.publish(now().plus(-1800)).expect("publishes");
    }
}

fn hello(version: &str) -> Deb {
    Deb::new("hello", version, "amd64").file("usr/share/hello/version", version)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn fusermount_may_act_as_root_here() {
    let place = Program::new("sh", "dash").args(["-c", "command -v fusermount3"]);
    let path = place.run().success().stdout;
    let mode = fs::metadata(path.trim())
        .expect("the package fuse3")
        .permissions()
        .mode();
    assert_eq!(mode & 0o4000, 0o4000, "{path} is not setuid");
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    assert!(
        status.contains("NoNewPrivs:\t0"),
        "setuid programs are switched off here"
    );
}

#[test]
fn a_user_mounts_what_is_his_and_nobody_else_sees_it() {
    let mut room = Room::new("# user_allow_other\n");
    room.mirrorctl(&["sync"]).run().success();
    let mut mount = room.mirrorctl(&["mount"]).spawn();
    mount.wait_until("the mount", |mount| mount.stdout().contains("mounted at"));
    mount.wait_until("who sees it", |mount| mount.stdout().contains("only you can see"));
    assert!(mount.stdout().contains("user_allow_other to /etc/fuse.conf"));
    let line = room.table().expect("mounted");
    for part in [" ro,nosuid,nodev,noexec,noatime ", " - fuse.mirrorctl "] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("allow_other"), "{line}");
    assert_eq!(room.version(USER, "staging").as_deref(), Some("1"));
    for stranger in [STRANGER, "root"] {
        let refused = room.run(stranger, &["ls", &text(&room.env.mount_dir())]).failure();
        refused.stderr_has("Permission denied");
    }

    // Commands are seen at once, as with a mount of root's.
    room.mirrorctl(&["snapshot", "promote", "site"]).run().success();
    assert_eq!(room.version(USER, "current").as_deref(), Some("1"));
    room.upstream_publishes("2");
    room.mirrorctl(&["sync"]).run().success();
    assert_eq!(room.version(USER, "staging").as_deref(), Some("2"));
    room.mirrorctl(&["snapshot", "promote", "site"]).run().success();
    assert_eq!(room.version(USER, "current").as_deref(), Some("2"));
    room.mirrorctl(&["snapshot", "rollback", "site"]).run().success();
    assert_eq!(room.version(USER, "current").as_deref(), Some("1"));

    // The end by a signal.
    mount.signal(Signal::Terminate);
    mount.wait().success();
    assert_eq!(room.table(), None);
    // Unserved, it is forbidden to others, and its owner can mount there again.
    let unserved = room.run(STRANGER, &["ls", &text(&room.env.mount_dir())]).failure();
    unserved.stderr_has("Permission denied");
    assert!(
        room.run(USER, &["ls", &text(&room.env.mount_dir())])
            .success()
            .stdout
            .is_empty()
    );
}

#[test]
fn others_see_a_users_mount_where_root_allows_it() {
    let room = Room::new("user_allow_other\n");
    room.mirrorctl(&["sync"]).run().success();
    let report = room
        .mirrorctl(&["--json", "mount", "--background"])
        .run()
        .success()
        .json();
    assert_eq!(report["for_others"], true, "{report}");
    assert!(room.table().expect("mounted").contains(",allow_other"));
    for user in [USER, STRANGER, "root"] {
        assert_eq!(room.version(user, "staging").as_deref(), Some("1"), "{user}");
    }
    room.mirrorctl(&["mount"]).run().code(3).stderr_has("is already served");
    room.mirrorctl(&["unmount"]).run().success().stdout_has("is unmounted");
    assert_eq!(room.table(), None);
}

#[test]
fn a_users_mount_is_taken_away_in_every_usual_manner() {
    let room = Room::new("");
    room.mirrorctl(&["sync"]).run().success();
    let place = text(&room.env.mount_dir());
    // By the user's own program, while it is served.
    let mut mount = room.mirrorctl(&["mount"]).spawn();
    mount.wait_until("the mount", |mount| mount.stdout().contains("mounted at"));
    room.run(USER, &["fusermount3", "-u", &place]).success();
    mount.wait().success();
    assert_eq!(room.table(), None);
    // What a process that was killed has left is cleared away by the next one.
    let mut mount = room.mirrorctl(&["mount"]).spawn();
    mount.wait_until("the mount", |mount| mount.stdout().contains("mounted at"));
    mount.signal(Signal::Kill);
    mount.wait().killed_by(Signal::Kill);
    assert!(room.table().is_some(), "dead");
    assert_eq!(room.version(USER, "staging"), None);
    let report = room
        .mirrorctl(&["--json", "mount", "--background"])
        .run()
        .success()
        .json();
    assert_eq!(report["for_others"], false, "{report}");
    assert_eq!(room.version(USER, "staging").as_deref(), Some("1"));
    room.mirrorctl(&["unmount"]).run().success();
    assert!(comes_true(|| room.table().is_none()));
}

#[test]
fn what_keeps_a_user_from_mounting_is_said() {
    let room = Room::new("");
    room.mirrorctl(&["sync"]).run().success();
    let place = text(&room.env.mount_dir());
    let refused = |program: Program, said: &str, hint: &str| {
        let refused = program.run().failure().stderr_has(said);
        refused.stderr_has(hint).stderr_lacks("panicked");
        assert_eq!(room.table(), None, "{said}");
    };
    let as_root = |words: &[&str]| room.run("root", words).success();

    as_root(&["chown", "root:", &place]);
    as_root(&["chmod", "755", &place]);
    refused(
        room.mirrorctl(&["mount"]),
        "user has no write access",
        "the mount point must be yours",
    );
    as_root(&["chmod", "0", &place]);
    refused(
        room.mirrorctl(&["mount"]),
        "cannot look at the mount point",
        "the mount point must be yours",
    );
    as_root(&["chown", &format!("{USER}:"), &place]);
    as_root(&["chmod", "700", &place]);

    let (binary, config) = (text(room.env.binary()), text(&room.env.config_path()));
    let nowhere = format!("PATH={elsewhere}", elsewhere = room.env.root().join("home").display());
    let without = room.program(USER, &["env", &nowhere, &binary, "--config", &config, "mount"]);
    refused(without, "fusermount3 is missing", "install the package fuse3");

    let bound = ["setpriv", "--no-new-privs", &binary, "--config", &config, "mount"];
    refused(
        room.program(USER, &bound),
        "Operation not permitted",
        "must belong to root and be setuid",
    );

    as_root(&["chown", "root:", &text(&room.env.run_dir())]);
    refused(
        room.mirrorctl(&["mount"]),
        "cannot be made known",
        "set MIRRORCTL_RUN_DIR",
    );
    as_root(&["chown", &format!("{USER}:"), &text(&room.env.run_dir())]);

    let labelled = room.mirrorctl(&["mount", "--label", "context=u:r:t"]);
    refused(
        labelled,
        "only root can mount with the SELinux option context",
        "mount as root",
    );

    as_root(&["chmod", "600", "/dev/fuse"]);
    refused(room.mirrorctl(&["mount"]), "/dev/fuse", "chmod 666");
    // A machine without the device.
    as_root(&["mount", "-t", "tmpfs", "none", "/dev"]);
    for (device, minor) in [("/dev/null", "3"), ("/dev/urandom", "9")] {
        as_root(&["mknod", "-m", "666", device, "c", "1", minor]);
    }
    refused(room.mirrorctl(&["mount"]), "cannot open /dev/fuse", "modprobe fuse");
}

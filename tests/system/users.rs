//! Who may do what: three users of one machine.
//!
//! Owns the promises about rights: everybody looks, root and the group `mirrorctl` act, nobody else changes a byte, and
//! what one of those who act has made is never in the other's way, whatever the umask was. `tests/run` makes the users.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use mirrorctl::model::Digest;
use mirrorctl_testkit::{
    Archive, ArchiveBuilder, Config, Deb, Fault, Mirror, MountGuard, Program, Ran, Running, Scratch, Signal, SuiteSpec,
    TestEnv, Upstream, now,
};

/// The group whose members may act.
const GROUP: &str = "mirrorctl";

/// The commands that read, for whom they must work.
const LOOKS: [&[&str]; 7] = [
    &["snapshot", "list"],
    &["snapshot", "list", "--detailed"],
    &["snapshot", "history"],
    &["status"],
    &["check", "config"],
    &["gc", "--dry-run"],
    &["snapshot", "prune", "--dry-run"],
];

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    Member,
    Other,
}

impl User {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Member => TestEnv::MEMBER,
            Self::Other => TestEnv::OTHER,
        }
    }

    fn id(self) -> u32 {
        number(&["-u", self.name()])
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn number(arguments: &[&str]) -> u32 {
    let said = Program::new("id", "coreutils").args(arguments).run().success();
    said.stdout.trim().parse().expect("a number")
}

/// Number of the group, which is one of the member's.
fn group_id() -> u32 {
    let said = Program::new("getent", "libc-bin")
        .args(["group", GROUP])
        .run()
        .success();
    let number = said.stdout.split(':').nth(2).expect("a line of the group file");
    number.parse().expect("a number")
}

/// An installation as a package of a distribution would leave it: a state directory of the group's, empty.
struct Machine {
    env: TestEnv,
    upstream: Upstream,
    archive: Archive,
    /// Owner of the state directory.
    owner: u32,
    // Holds the program where all three can execute it, and the archive.
    _place: Scratch,
}

impl Machine {
    /// Every command, of whatever user, runs with the umask `umask`.
    fn new(umask: &str) -> Self {
        let place = Scratch::new();
        let binary = place.path().join("mirrorctl");
        let built = Path::new(env!("CARGO_BIN_EXE_mirrorctl"));
        if fs::hard_link(built, &binary).is_err() {
            fs::copy(built, &binary).expect("a copy of the program");
        }
        let script = format!("#!/bin/sh\numask {umask}\nexec {} \"$@\"\n", binary.display());
        let script = place.file("with-umask", script);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("own file");

        let suite = SuiteSpec::new("stable").package("main", hello("1"));
        let root = place.path().join("archive");
        let archive = ArchiveBuilder::new()
            .suite(suite)
            .create(&root, now().plus(-3600))
            .expect("an archive");
        let upstream = Upstream::serve(archive.root());
        let env = TestEnv::new(&script);
        let key = env.key("archive.asc", &archive.key().public_armored().expect("a key"));
        let mirror = Mirror::new("site", &upstream.url()).suites(&["stable"]).key(&key);
        env.configure(
            Config::new()
                .set_in("snapshot.prune", "keep_within", "\"1h\"")
                .mirror(mirror.publish_to_staging(true)),
        );
        // Made by the first mount, like the directory below /run.
        fs::remove_dir(env.run_dir()).expect("empty");
        fs::create_dir(env.state_dir()).expect("own directory");
        let user = Program::new("id", "coreutils").args(["-u", GROUP]).run();
        let owner = if user.status.success() { GROUP } else { "root" };
        let chown = Program::new("chown", "coreutils").arg(format!("{owner}:{GROUP}"));
        chown.arg(env.state_dir()).run().success();
        fs::set_permissions(env.state_dir(), fs::Permissions::from_mode(0o2775)).expect("own directory");
        Self {
            env,
            upstream,
            archive,
            owner: number(&["-u", owner]),
            _place: place,
        }
    }

    fn command(&self, user: User, arguments: &[&str]) -> Program {
        let command = self.env.command(arguments);
        if user == User::Root {
            command
        } else {
            command.user(user.name())
        }
    }

    fn run(&self, user: User, arguments: &[&str]) -> Ran {
        self.command(user, arguments).run()
    }

    fn spawn(&self, user: User, arguments: &[&str]) -> Running {
        self.command(user, arguments).spawn()
    }

    /// Upstream has another version of its package.
    fn upstream_publishes(&mut self, version: u32) {
        self.archive
            .add("stable", "main", &hello(&version.to_string()))
            .expect("a package");
        self.archive
            .publish(now().plus(-1800 + i64::from(version)))
            .expect("publishes");
    }

    /// The state directory and everything in it.
    fn state(&self) -> Vec<(PathBuf, fs::Metadata)> {
        walk(&self.env.state_dir())
    }

    /// Everything in the state directory that says anything, with owner and mode.
    fn fingerprint(&self) -> BTreeMap<PathBuf, (u32, u32, u32, u64, Option<Digest>)> {
        let entries = self.state().into_iter().map(|(path, facts)| {
            // The index of the log has marks of readers.
            let says = facts.is_file() && !path.to_string_lossy().ends_with("-shm");
            let digest = says.then(|| Digest::of(&fs::read(&path).expect("readable by root")));
            (path, (facts.mode(), facts.uid(), facts.gid(), facts.len(), digest))
        });
        entries.collect()
    }

    /// Mode, group and owner of everything in the state directory are right, whoever made it.
    fn modes_are_right(&self, after: &str) {
        let (group, member) = (group_id(), User::Member.id());
        let root = self.env.state_dir();
        let mut seen = BTreeMap::<&str, usize>::new();
        for (path, facts) in self.state() {
            let inside = path
                .strip_prefix(&root)
                .expect("below it")
                .to_string_lossy()
                .into_owned();
            // Whether others may read a lock file is nobody's business but the program's; its group needs both.
            let (kind, modes) = match inside.as_str() {
                _ if facts.is_dir() => ("directory", &[0o2775][..]),
                "catalog.db" | "catalog.db-wal" | "catalog.db-shm" => ("catalog", &[0o664][..]),
                "ledger.log" => ("ledger", &[0o664][..]),
                _ if inside.starts_with("backups/") => ("copy", &[0o664][..]),
                _ if inside.starts_with("locks/") => ("lock", &[0o660, 0o664][..]),
                _ if inside.starts_with("blobs/") => ("blob", &[0o444][..]),
                _ if inside.starts_with("inventories/") => ("inventory", &[0o444][..]),
                _ => panic!("after {after}: what is {inside}?"),
            };
            let mode = facts.mode() & 0o7777;
            assert!(
                modes.contains(&mode),
                "after {after}: {kind} {inside} has mode {mode:o}"
            );
            assert_eq!(facts.gid(), group, "after {after}: {kind} {inside}");
            // What root makes belongs to the owner of the state.
            let owners = [self.owner, member];
            assert!(
                owners.contains(&facts.uid()),
                "after {after}: {kind} {inside} is of {}",
                facts.uid()
            );
            *seen.entry(kind).or_default() += 1;
        }
        assert_eq!(seen.get("catalog"), Some(&3), "after {after}: {seen:?}");
        assert!(
            seen.contains_key("lock") && seen["blob"] > 4 && seen["directory"] > 4,
            "after {after}: {seen:?}"
        );
    }

    /// What `user` sees, with every command that reads; the answers are those that root gets.
    fn looks(&self, user: User, when: &str) {
        for look in LOOKS {
            let asked = |user| {
                let answer = self.run(user, &[look, &["--json"]].concat());
                assert!(answer.status.success() && answer.stderr.is_empty(), "{when}: {answer}");
                stable(answer.json())
            };
            let (theirs, roots) = (asked(user), asked(User::Root));
            assert_eq!(theirs, roots, "{when}: {look:?} of {user}");
        }
    }

    /// The version of the package that a pointer offers, read through the mount by anybody.
    fn served(&self, pointer: &str) -> Option<String> {
        let directory = self.env.served(&format!("site/{pointer}/pool/main/h/hello"));
        let listed = Program::new("ls", "coreutils")
            .user(User::Other.name())
            .arg(directory)
            .run();
        let version = listed
            .stdout
            .trim()
            .strip_prefix("hello_")?
            .strip_suffix("_amd64.deb")?;
        listed.status.success().then(|| version.to_owned())
    }

    /// The names of the snapshots, newest first.
    fn snapshots(&self) -> Vec<String> {
        let list = self.run(User::Root, &["snapshot", "list", "--json"]).success().json();
        let rows = list["snapshots"].as_array().expect("a list").iter();
        rows.map(|row| row["name"].as_str().expect("text").to_owned()).collect()
    }
}

/// An answer without what the passing of time changes, and without what only a mount itself can tell: its socket is for
/// root and the group.
fn stable(mut answer: serde_json::Value) -> serde_json::Value {
    for mount in answer["mounts"].as_array_mut().into_iter().flatten() {
        if let Some(mount) = mount.as_object_mut() {
            for told in ["state", "worker", "worker_since", "restarts"] {
                mount.remove(told);
            }
        }
    }
    for mirror in answer["mirrors"].as_array_mut().into_iter().flatten() {
        if let Some(mirror) = mirror.as_object_mut() {
            mirror.remove("example_name");
        }
        for suite in mirror["suites"].as_array_mut().into_iter().flatten() {
            if let Some(suite) = suite.as_object_mut() {
                suite.remove("release_age_seconds");
            }
        }
    }
    answer
}

/// `root` and everything below it, links not followed.
fn walk(root: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let facts = fs::symlink_metadata(root).expect("readable by root");
    let mut found = vec![(root.to_owned(), facts.clone())];
    if facts.is_dir() {
        let entries = fs::read_dir(root).expect("readable by root");
        found.extend(entries.flat_map(|entry| walk(&entry.expect("readable by root").path())));
    }
    found
}

fn hello(version: &str) -> Deb {
    Deb::new("hello", version, "amd64").file("usr/share/hello/version", version)
}

#[test]
fn anybody_may_look() {
    let mut machine = Machine::new("022");
    machine.run(User::Root, &["sync"]).success();
    machine.run(User::Member, &["snapshot", "promote", "site"]).success();
    for user in [User::Other, User::Member] {
        machine.looks(user, "nobody has the catalog open");
    }
    let mut mount = MountGuard::mount(&machine.env);
    machine.looks(User::Other, "mounted");
    let status = machine.run(User::Other, &["status"]).success();
    let pid = mount.daemon().pid();
    status.stdout_has(&format!("mounted at {} by process {pid}", mount.directory().display()));

    // A sync of the member's that stands in the middle.
    machine.upstream_publishes(2);
    machine.upstream.fault_times("pool/*", 1, Fault::Stalled(10));
    machine.upstream.take_requests();
    let mut sync = machine.spawn(User::Member, &["sync"]);
    machine.upstream.wait_for("pool/*");
    // What it has stored so far may change from one look to the next.
    for look in LOOKS {
        machine.run(User::Other, look).success();
    }
    // It dies without a word, and its log is not folded into the database by anybody.
    sync.signal(Signal::Kill);
    sync.wait().killed_by(Signal::Kill);
    machine.looks(User::Other, "a sync was killed");
    drop(mount);
    machine.looks(User::Other, "a sync was killed and nobody has the catalog open");
    // Root takes over what the member's sync left behind.
    machine.run(User::Root, &["sync"]).success();
    machine.modes_are_right("the sync after");
    machine.looks(User::Other, "all is done");
    machine
        .run(User::Other, &["snapshot", "history"])
        .success()
        .stdout_has(User::Member.name());
}

#[test]
fn looking_works_while_others_write() {
    let mut machine = Machine::new("022");
    machine.run(User::Root, &["sync"]).success();
    machine.upstream_publishes(2);
    machine.run(User::Root, &["sync"]).success();
    let names = machine.snapshots();
    let machine = &machine;
    thread::scope(|scope| {
        let moving = scope.spawn(move || {
            for round in 0..8 {
                let user = [User::Member, User::Root][round % 2];
                let name = &names[round / 2 % 2];
                machine.run(user, &["snapshot", "publish", "site", name]).success();
            }
        });
        let mut looks = LOOKS.iter().cycle();
        while !moving.is_finished() {
            machine.run(User::Other, looks.next().expect("without end")).success();
        }
        moving.join().expect("every move succeeds");
    });
    machine.modes_are_right("the moves");
}

#[test]
fn whoever_is_not_in_the_group_changes_nothing() {
    let mut machine = Machine::new("022");
    machine.run(User::Root, &["sync"]).success();
    machine.run(User::Root, &["snapshot", "promote", "site"]).success();
    machine
        .run(User::Root, &["snapshot", "create", "site", "spare"])
        .success();
    let mut mount = MountGuard::mount(&machine.env);
    machine.upstream_publishes(2);
    let before = machine.fingerprint();
    let served = [machine.served("current"), machine.served("staging")];
    assert_eq!(served, [Some("1".to_owned()), Some("1".to_owned())]);
    machine.upstream.take_requests();
    for act in [
        &["sync"][..],
        &["sync", "site", "--force"],
        &["snapshot", "create", "site"],
        &["snapshot", "create", "site", "spare", "--force", "--stage"],
        &["snapshot", "stage", "site", "spare"],
        &["snapshot", "publish", "site", "spare"],
        &["snapshot", "promote", "site"],
        &["snapshot", "delete", "site", "spare"],
        &["snapshot", "delete", "site", "spare", "--force"],
        &["snapshot", "prune", "--keep-last", "1", "--keep-within", "1s"],
        &["gc"],
        &["gc", "--now"],
        &["unmount"],
    ] {
        let refused = machine.run(User::Other, act).code(1);
        refused
            .stderr_has("needs the group mirrorctl or sudo")
            .stderr_lacks("panicked");
        let refused = machine.run(User::Other, &[act, &["--json"]].concat()).code(1).json();
        let message = refused["error"]["message"].as_str().expect("text").to_owned();
        assert!(
            message.contains("needs the group mirrorctl or sudo"),
            "{act:?}: {message}"
        );
        assert!(machine.fingerprint() == before, "{act:?} changed the state directory");
    }
    assert_eq!(machine.upstream.requests(), [], "upstream was not even asked");

    // The mode of the socket is one fence, what the kernel says of the peer another.
    let sockets: Vec<PathBuf> = walk(&machine.env.run_dir())
        .into_iter()
        .filter(|(_, facts)| facts.file_type().is_socket())
        .map(|(path, _)| path)
        .collect();
    assert_eq!(sockets.len(), 1);
    fs::set_permissions(&sockets[0], fs::Permissions::from_mode(0o666)).expect("own file");
    machine
        .run(User::Other, &["unmount"])
        .code(1)
        .stderr_has("needs the group mirrorctl or sudo");
    assert!(mount.daemon().is_running());
    assert_eq!([machine.served("current"), machine.served("staging")], served);
    // The control: with the group the same words do what they say.
    machine
        .run(User::Member, &["snapshot", "delete", "site", "spare"])
        .success();
    assert!(machine.fingerprint() != before);
    machine.run(User::Member, &["unmount"]).success();
    assert_eq!(machine.served("current"), None);
}

#[test]
fn whoever_may_only_look_compares_without_leaving_anything() {
    let mut machine = Machine::new("077");
    machine.run(User::Root, &["sync"]).success();
    machine.upstream_publishes(2);
    machine.run(User::Root, &["sync"]).success();
    let names = machine.snapshots();
    let diff = ["--json", "snapshot", "diff", "site", &names[1], &names[0]];
    let told = machine.run(User::Other, &diff).success().json();
    assert_eq!(told["packages"]["upgraded"], 1);
    let inventories = machine.env.state_dir().join("inventories");
    let stored = walk(&inventories);
    for user in [User::Other, User::Member, User::Root] {
        for (path, facts) in &stored {
            if facts.is_file() && path.exists() {
                fs::remove_file(path).expect("own state");
            }
        }
        let before = machine.fingerprint();
        let answer = machine.run(user, &diff).success();
        assert!(answer.json() == told && answer.stderr.is_empty(), "{answer}");
        // The others leave what was there, as the sync had.
        assert_eq!(machine.fingerprint() == before, user == User::Other, "{user}");
        assert_eq!(
            walk(&inventories).len(),
            if user == User::Other { 1 } else { stored.len() }
        );
        machine.modes_are_right(&format!("the comparison of {user}"));
    }
}

#[test]
fn a_mount_of_root_is_told_by_members() {
    let mut machine = Machine::new("077");
    machine.run(User::Member, &["sync"]).success();
    let mut mount = MountGuard::mount(&machine.env);
    let run = machine.env.run_dir();
    let mode = |path: &Path| fs::symlink_metadata(path).expect("there").mode() & 0o7777;
    assert_eq!(mode(&run), 0o755);
    for (path, facts) in walk(&run).into_iter().skip(1) {
        if facts.file_type().is_socket() {
            assert_eq!(
                (mode(&path), facts.uid(), facts.gid()),
                (0o660, machine.owner, group_id()),
                "{path:?}"
            );
        } else {
            // Held open by the mount, and read by whoever wants to know what is mounted.
            assert_eq!((mode(&path), facts.uid()), (0o644, 0), "{path:?}");
        }
    }
    machine.upstream_publishes(2);
    machine.run(User::Member, &["sync"]).success();
    assert_eq!(machine.served("staging").as_deref(), Some("2"));
    assert_eq!(machine.served("current"), None);
    let names = machine.snapshots();
    // Looked at at once after each command: a mount that was not told finds out by itself within a second or so.
    for round in 0..6 {
        let (name, version) = [(&names[1], "1"), (&names[0], "2")][round % 2];
        machine
            .run(User::Member, &["snapshot", "publish", "site", name])
            .success();
        assert_eq!(machine.served("current").as_deref(), Some(version), "round {round}");
    }
    machine
        .run(User::Member, &["snapshot", "stage", "site", &names[1]])
        .success();
    assert_eq!(machine.served("staging").as_deref(), Some("1"));
    machine.run(User::Member, &["snapshot", "promote", "site"]).success();
    assert_eq!(machine.served("current").as_deref(), Some("1"));
    let history = machine
        .run(User::Other, &["snapshot", "history", "--json"])
        .success()
        .json();
    let moves = history["moves"].as_array().expect("a list");
    assert!(
        moves.len() == 10 && moves.iter().all(|entry| entry["actor"] == User::Member.name()),
        "{moves:?}"
    );
    assert!(mount.daemon().is_running());
}

#[test]
fn root_and_members_work_on_each_others_files() {
    let mut machine = Machine::new("077");
    let mut mount = None;
    let mut version = 1;
    for round in 1..=3 {
        for user in [User::Member, User::Root] {
            let after = format!("round {round} of {user}");
            machine.upstream_publishes(version);
            machine.run(user, &["sync"]).success();
            machine.modes_are_right(&after);
            let mount = mount.get_or_insert_with(|| MountGuard::mount(&machine.env));
            let shown = version.to_string();
            assert_eq!(machine.served("staging"), Some(shown.clone()), "{after}");
            machine.run(user, &["snapshot", "promote", "site"]).success();
            assert_eq!(machine.served("current"), Some(shown), "{after}");
            // What the other one made last time goes: the snapshot first, then the files that only it had.
            let old: Vec<String> = machine.snapshots().split_off(1);
            if !old.is_empty() {
                let delete: Vec<&str> = old.iter().map(String::as_str).collect();
                machine
                    .run(
                        user,
                        &[&["snapshot", "delete", "--force", "site"], &delete[..]].concat(),
                    )
                    .success();
                let gone = machine.run(user, &["gc", "--now", "--json"]).success().json();
                assert!(
                    gone["removed"]["files"].as_u64().is_some_and(|files| files >= 4),
                    "{after}: {gone}"
                );
            }
            machine
                .run(
                    user,
                    &["snapshot", "create", "site", &format!("kept-{version}"), "--stage"],
                )
                .success();
            machine.run(user, &["snapshot", "prune", "site"]).success();
            machine.modes_are_right(&after);
            machine.looks(User::Other, &after);
            assert!(mount.daemon().is_running());
            version += 1;
        }
    }
}

#[test]
fn root_acts_for_whoever_called_sudo() {
    let machine = Machine::new("022");
    let sudo = |user: User, arguments: &[&str]| {
        machine
            .command(user, arguments)
            .env("SUDO_USER", "somebody")
            .run()
            .success()
    };
    sudo(User::Root, &["sync"]);
    sudo(User::Member, &["snapshot", "promote", "site"]);
    let history = machine
        .run(User::Other, &["snapshot", "history", "--json"])
        .success()
        .json();
    // A member is who the kernel says; root could be anybody and says who it is.
    assert_eq!(history["moves"][0]["actor"], User::Member.name());
    assert_eq!(history["moves"][1]["actor"], "somebody");
}

#[test]
fn a_mount_in_the_background_is_as_open_as_any() {
    let mut machine = Machine::new("077");
    machine.run(User::Member, &["sync"]).success();
    machine.run(User::Root, &["mount", "--background"]).success();
    let status = machine.run(User::Other, &["status"]).success();
    status.stdout_has(&format!("mounted at {} by", machine.env.mount_dir().display()));
    assert_eq!(machine.served("staging").as_deref(), Some("1"));
    machine.upstream_publishes(2);
    machine.run(User::Member, &["sync"]).success();
    assert_eq!(machine.served("staging").as_deref(), Some("2"));
    machine.run(User::Member, &["snapshot", "promote", "site"]).success();
    assert_eq!(machine.served("current").as_deref(), Some("2"));
    machine.run(User::Member, &["unmount"]).success();
    machine
        .run(User::Other, &["status"])
        .success()
        .stdout_has("nothing is mounted");
}

#[test]
fn a_mount_before_the_first_sync_leaves_the_state_to_the_group() {
    let machine = Machine::new("077");
    let mount = MountGuard::mount(&machine.env);
    machine.looks(User::Other, "nothing was synced");
    machine.run(User::Member, &["sync"]).success();
    assert_eq!(machine.served("staging").as_deref(), Some("1"));
    machine.run(User::Member, &["snapshot", "promote", "site"]).success();
    assert_eq!(machine.served("current").as_deref(), Some("1"));
    machine.modes_are_right("a mount that came first");
    mount.stop().success();
    machine.looks(User::Other, "the mount has ended");
}

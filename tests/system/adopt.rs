//! Trees that other programs made, taken over and served to real clients; and disks that are too small.
//!
//! Owns the proof that a tree which debmirror or wget made is served to apt after an import without a download, that a
//! migration ends in a mount that serves what was served before, and that a sync which does not fit changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mirrorctl_testkit::{
    AptRoot, Archive, ArchiveBuilder, Config, Deb, Mirror, MountGuard, Nginx, Program, SuiteSpec, TestEnv, Upstream,
    now,
};

/// The suite of every archive here.
const SUITE: &str = "stable";

/// An installation, and an archive that it mirrors.
struct Place {
    env: TestEnv,
    archive: Archive,
    upstream: Upstream,
    key: PathBuf,
}

impl Place {
    fn new() -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let contents: Vec<u8> = (0..400_000_u32)
            .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 8).to_le_bytes())
            .collect();
        let package = Deb::new("hello", "1", "all").file("usr/share/hello/data", contents);
        let suite = SuiteSpec::new(SUITE).package("main", package);
        let archive = ArchiveBuilder::new().suite(suite);
        let archive = archive
            .create(&env.root().join("web/site/archive"), now().plus(-10_000))
            .expect("an archive");
        let upstream = Upstream::serve(&env.root().join("web"));
        let key = env.key("archive.asc", &archive.key().public_armored().expect("a key"));
        let mirror = Mirror::new("debian", &format!("{}/site/archive", upstream.url()))
            .suites(&[SUITE])
            .key(&key);
        env.configure(Config::new().mirror(mirror));
        Self {
            env,
            archive,
            upstream,
            key,
        }
    }

    /// The archive's root.
    fn url(&self) -> String {
        format!("{}/site/archive", self.upstream.url())
    }

    fn run(&self, line: &str) -> mirrorctl_testkit::Ran {
        self.env.mirrorctl(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Has a real apt update from `path` of the mounted tree and install the package.
    fn assert_apt_installs_from(&self, path: &str) {
        let nginx = Nginx::serve(&self.env.mount_dir());
        let apt = AptRoot::new();
        apt.source(&format!("{}/{path}", nginx.url()), SUITE, &["main"], &self.key);
        apt.update().success();
        apt.install(&["hello"]).success();
        assert_eq!(apt.installed("hello").as_deref(), Some("1"));
    }
}

fn program(name: &str, package: &str, arguments: &[&str]) -> Program {
    Program::new(name, package).args(arguments)
}

#[test]
fn what_debmirror_and_wget_made_is_served_to_apt_without_a_download() {
    let place = Place::new();
    let root = place.env.root();
    let (by_debmirror, by_wget) = (root.join("debmirror"), root.join("wget"));
    let host = place.upstream.url().replace("http://", "");
    let keyring = root.join("keyring.gpg");
    program("gpg", "gnupg", &["--dearmor", "--output"])
        .arg(&keyring)
        .arg(&place.key)
        .run()
        .success();
    let debmirror = program(
        "debmirror",
        "debmirror",
        &["--method=http", "--root=site/archive", "--arch=amd64", "--section=main"],
    )
    .arg(format!("--dist={SUITE}"))
    .arg(format!("--host={host}"))
    .arg(format!("--keyring={}", keyring.display()))
    .args(["--nosource", "--i18n", "--diff=none", "--allow-dist-rename"])
    .arg(&by_debmirror);
    debmirror.env("HOME", root.join("home")).run().success();
    program(
        "wget",
        "wget",
        &[
            "--quiet",
            "--recursive",
            "--no-parent",
            "--no-host-directories",
            "--cut-dirs=2",
            "--directory-prefix",
        ],
    )
    .arg(&by_wget)
    .args(
        place
            .archive
            .pool_paths()
            .iter()
            .map(|path| format!("{}/{path}", place.url())),
    )
    .args(
        listed(place.archive.root())
            .iter()
            .map(|path| format!("{}/{path}", place.url())),
    )
    .run()
    .success();
    place.upstream.take_requests();

    for (number, tree) in [&by_debmirror, &by_wget].into_iter().enumerate() {
        place
            .run(&format!("import debian {} --name tree{number}", tree.display()))
            .success();
        place.run(&format!("snapshot publish debian tree{number}")).success();
    }
    assert_eq!(place.upstream.requests(), []);
    fs::remove_dir_all(&by_debmirror).expect("removes");
    fs::remove_dir_all(&by_wget).expect("removes");
    let mount = MountGuard::mount(&place.env);
    for path in ["debian/current", "debian/snapshots/tree0", "debian/snapshots/tree1"] {
        place.assert_apt_installs_from(path);
    }
    mount.stop().success();
}

/// The files below `dists` of the archive.
fn listed(root: &Path) -> Vec<String> {
    let found = program("find", "findutils", &["dists", "-type", "f"])
        .directory(root)
        .run()
        .success();
    found.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_mount_replaces_an_earlier_installation_after_its_migration() {
    let place = Place::new();
    let old = place.env.root().join(".snapshots/debian/2025-10-14T15-45-30Z");
    fs::create_dir_all(old.parent().expect("has a parent")).expect("makes");
    program("cp", "coreutils", &["--archive"])
        .arg(place.archive.root())
        .arg(&old)
        .run()
        .success();
    fs::remove_file(old.join("dists").join(SUITE).join("Release")).expect("removes");
    fs::remove_file(old.join("dists").join(SUITE).join("Release.gpg")).expect("removes");
    let link = place.env.mount_dir().join("debian");
    symlink(&old, &link).expect("links");

    place
        .run("mount")
        .failure()
        .stderr_has("mirrorctl migrate takes them over");
    place
        .run("mount --background")
        .failure()
        .stderr_has("mirrorctl migrate takes them over");
    let told = place.run("--json migrate").success().json();
    for command in told["next"].as_array().expect("a list").iter().take(1) {
        program("sh", "dash", &["-c"])
            .arg(command.as_str().expect("text"))
            .run()
            .success();
    }
    let mount = MountGuard::mount(&place.env);
    place.assert_apt_installs_from("debian/current");
    assert!(!place.env.served("debian/staging").exists());

    // With the mount in the place of the links, there is nothing to do any more, and nothing is undone.
    place.run("--json migrate").success();
    program("rm", "coreutils", &["-r"])
        .arg(place.env.root().join(".snapshots"))
        .run()
        .success();
    place.assert_apt_installs_from("debian/snapshots/2025-10-14T15-45-30Z");
    mount.stop().success();
}

/// A small file system in memory, taken away with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).expect("makes");
        let mount = program("mount", "mount", &["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path);
        mount.run().success();
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        program("umount", "mount", &["--lazy"]).arg(&self.0).run();
    }
}

#[test]
fn a_sync_that_does_not_fit_is_refused_before_it_fetches_a_package() {
    for options in ["size=1200k", "size=50m,nr_inodes=300"] {
        let place = Place::new();
        let disk = SmallDisk::at(place.env.state_dir(), options);
        let told = place.run("--json sync --dry-run").code(4).json();
        assert_eq!(told["fits"], false);
        place
            .run("sync")
            .code(4)
            .stderr_has("are to be fetched")
            .stderr_has("hint: free space or inodes");
        assert_eq!(place.upstream.hits("*/pool/*"), 0);
        drop(disk);

        let disk = SmallDisk::at(place.env.state_dir(), "size=50m");
        let told = place.run("--json sync --dry-run").success().json();
        assert_eq!(told["fits"], true);
        place.run("sync").success();
        drop(disk);
    }
}

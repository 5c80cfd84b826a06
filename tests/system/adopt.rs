//! Trees that other programs made, taken over and served to real clients; and disks that are too small.
//!
//! Owns the proof that a tree which debmirror, apt-mirror or wget made is served to apt after an import without a download, that a
//! migration ends in a mount that serves what was served before, and that a sync which does not fit changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mirrorctl_testkit::{
    AptRoot, Archive, ArchiveBuilder, Config, Deb, Mirror, MountGuard, Nginx, Program, Proxy, SuiteSpec, TestEnv,
    Upstream, now,
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

/// A tree that debmirror has made.
fn by_debmirror(place: &Place) -> PathBuf {
    let (tree, keyring) = (place.env.root().join("debmirror"), place.env.root().join("keyring.gpg"));
    program("gpg", "gnupg", &["--dearmor", "--output"])
        .arg(&keyring)
        .arg(&place.key)
        .run()
        .success();
    program(
        "debmirror",
        "debmirror",
        &["--method=http", "--root=site/archive", "--arch=amd64", "--section=main"],
    )
    .arg(format!("--dist={SUITE}"))
    .arg(format!("--host={}", place.upstream.url().replace("http://", "")))
    .arg(format!("--keyring={}", keyring.display()))
    .args(["--nosource", "--i18n", "--diff=none", "--allow-dist-rename"])
    .arg(&tree)
    .env("HOME", place.env.root().join("home"))
    .run()
    .success();
    tree
}

/// A tree that apt-mirror has made. It loses its way when a URL has a port.
fn by_apt_mirror(place: &Place) -> PathBuf {
    let base = place.env.root().join("apt-mirror");
    for directory in ["mirror", "skel", "var"] {
        fs::create_dir_all(base.join(directory)).expect("makes");
    }
    let proxy = Proxy::http();
    proxy.knows("archive.example:80", &place.upstream.url());
    let list = place.env.root().join("mirror.list");
    let text = format!(
        "set base_path {}\nset nthreads 2\nset _tilde 0\nset run_postmirror 0\n\
         deb [arch=amd64] http://archive.example/site/archive {SUITE} main\n",
        base.display()
    );
    fs::write(&list, text).expect("writes");
    program("apt-mirror", "apt-mirror", &[])
        .arg(&list)
        .env("http_proxy", proxy.url())
        .run()
        .success();
    base.join("mirror/archive.example/site/archive")
}

/// A tree that wget has made.
fn by_wget(place: &Place) -> PathBuf {
    let tree = place.env.root().join("wget");
    let mut paths = listed(place.archive.root());
    paths.extend(place.archive.pool_paths().into_iter().map(str::to_owned));
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
    .arg(&tree)
    .args(paths.iter().map(|path| format!("{}/{path}", place.url())))
    .run()
    .success();
    tree
}

#[test]
fn what_other_programs_made_is_served_to_apt_without_a_download() {
    let place = Place::new();
    let trees = [by_debmirror(&place), by_apt_mirror(&place), by_wget(&place)];
    place.upstream.take_requests();
    for (number, tree) in trees.iter().enumerate() {
        place
            .run(&format!("import debian {} --name tree{number}", tree.display()))
            .success();
        place.run(&format!("snapshot publish debian tree{number}")).success();
    }
    assert_eq!(place.upstream.requests(), []);
    for tree in trees {
        fs::remove_dir_all(tree).expect("removes");
    }
    let mount = MountGuard::mount(&place.env);
    for path in [
        "debian/current",
        "debian/snapshots/tree0",
        "debian/snapshots/tree1",
        "debian/snapshots/tree2",
    ] {
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
    for options in ["size=1200k,mode=0755", "size=50m,nr_inodes=300,mode=0755"] {
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

        let disk = SmallDisk::at(place.env.state_dir(), "size=50m,mode=0755");
        let told = place.run("--json sync --dry-run").success().json();
        assert_eq!(told["fits"], true);
        place.run("sync").success();
        drop(disk);
    }
}

#[test]
fn a_state_on_a_disk_that_is_read_only_is_told_apart_from_one_of_others() {
    let place = Place::new();
    let disk = SmallDisk::at(place.env.state_dir(), "size=50m,mode=0755");
    place.run("sync").success();
    let remount = program("mount", "mount", &["-o", "remount,ro"]);
    remount.arg(place.env.state_dir()).run().success();
    for line in ["sync", "gc", "snapshot create debian again"] {
        let told = place.run(line).code(1).stderr_has("Read-only file system");
        assert!(!told.stderr.contains("sudo"), "{told}");
    }
    // What only looks goes on.
    place.run("sync --dry-run").success();
    place.run("snapshot list").success().stdout_has("debian");
    drop(disk);
}

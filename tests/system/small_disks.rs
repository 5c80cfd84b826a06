//! Disks that are small, full, or take nothing any more.
//!
//! Owns the proof that a command without room fails in words, names what is missing, loses nothing, and succeeds once there is
//! room; on file systems of their own, which root can mount.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use mirrorctl::catalog::CatalogReader;
use mirrorctl::model::Digest;
use mirrorctl_testkit::{Program, Ran};
use serde_json::Value;

use crate::site::Site;

/// A file system that is taken away with the value.
struct Disk(PathBuf);

impl Disk {
    /// An ext4 of so many bytes and inodes, with blocks of 1 KiB, at `path`.
    fn ext4(path: PathBuf, bytes: u64, inodes: u32) -> Self {
        let image = path.with_extension("image");
        fs::create_dir_all(&path).expect("makes");
        File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .expect("makes");
        let made = Program::new("mkfs.ext4", "e2fsprogs").args(["-q", "-b", "1024", "-m", "0", "-N"]);
        made.arg(inodes.to_string()).arg(&image).run().success();
        let disk = Self(path);
        disk.mount();
        disk
    }

    fn mount(&self) {
        let mount = Program::new("mount", "mount").args(["-o", "loop,errors=remount-ro"]);
        mount.arg(self.0.with_extension("image")).arg(&self.0).run().success();
    }

    /// What makes the kernel find an error of an ext4 at `path`, when `1` is written to it.
    fn trigger(&self) -> PathBuf {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("procfs");
        let place = self.0.to_string_lossy();
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(&place))
            .expect("mounted");
        let device = line.split(' ').next().expect("has words");
        Path::new("/sys/fs/ext4")
            .join(device.trim_start_matches("/dev/"))
            .join("trigger_fs_error")
    }

    /// One in memory.
    fn tmpfs(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).expect("makes");
        let mount = Program::new("mount", "mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        mount.arg(&path).run().success();
        Self(path)
    }

    /// Fills it but for so many KiB.
    fn fill(&self, left: u64) {
        let mut file = File::create(self.filler()).expect("makes");
        let piece = [0x5a; 1024];
        while file.write_all(&piece).is_ok() {}
        file.sync_all().ok();
        let length = file.metadata().expect("open").len();
        file.set_len(length.saturating_sub(left * 1024)).expect("shrinks");
        file.sync_all().expect("syncs");
    }

    /// Uses its inodes up but for `left`.
    fn fill_inodes(&self, left: usize) {
        let place = self.filler();
        fs::create_dir_all(&place).expect("makes");
        let mut made = Vec::new();
        for number in 0.. {
            let path = place.join(number.to_string());
            match File::create(&path) {
                Ok(_) => made.push(path),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    break;
                }
            }
        }
        made.iter()
            .rev()
            .take(left)
            .for_each(|path| fs::remove_file(path).expect("is there"));
    }

    /// Gives the room back.
    fn empty(&self) {
        let filler = self.filler();
        if filler.is_dir() {
            fs::remove_dir_all(filler).expect("is there");
        } else if filler.exists() {
            fs::remove_file(filler).expect("is there");
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Program::new("umount", "mount").arg("--lazy").arg(&self.0).run();
    }
}

/// The state is a directory of the disk, so that the filler is none of its files.
fn configure(site: &Site, disk: &Path) {
    let config = site
        .config(1)
        .set("dir", &quoted(&site.env.mount_dir()))
        .lending_nothing();
    let config = config.set_in("snapshot", "path", &quoted(&disk.join("state")));
    let config = config.set_in("http", "retries", "0");
    site.env.configure_with(&config.to_toml());
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

fn run(site: &Site, line: &str) -> Ran {
    site.env.mirrorctl(&line.split_whitespace().collect::<Vec<_>>())
}

/// Asserts that every blob is what its name says, and that each snapshot that is listed has its files.
fn assert_whole(state: &Path, what: &Ran) {
    let reader = CatalogReader::open(&state.join("catalog.db")).unwrap_or_else(|error| panic!("{error}: {what}"));
    for (row, _) in reader.mirrors().expect("readable") {
        for snapshot in reader.snapshots(row).expect("readable") {
            for (path, file) in reader.files(row, snapshot.seq).expect("readable") {
                let hex = file.digest.to_string();
                let bytes = fs::read(state.join("blobs").join(&hex[..2]).join(&hex));
                let found = bytes.map(|bytes| Digest::of(&bytes)).ok();
                assert_eq!(found, Some(file.digest), "{path}: {what}");
            }
        }
    }
}

fn newest(site: &Site) -> String {
    let list = run(site, "--json snapshot list debian").success().json();
    list["snapshots"][0]["name"].as_str().expect("a name").to_owned()
}

/// Every command at every bit of room: whatever it comes to, it says it, and it comes right with room.
#[test]
fn a_full_disk_is_told_of_by_every_command_and_nothing_is_lost() {
    let mut site = Site::new(&["debian"]);
    let disk = Disk::ext4(site.env.root().join("disk"), 12 << 20, 3_000);
    let state = disk.0.join("state");
    configure(&site, &disk.0);
    site.next_snapshot("debian");
    let mut full = 0;
    for (round, left) in [0, 1, 4, 16, 40, 64, 100, 200].into_iter().enumerate() {
        site.source("debian").change();
        let name = newest(&site);
        let new = format!("round{round}");
        for line in [
            format!("snapshot publish debian {name}"),
            format!("snapshot create debian {new}"),
            format!("snapshot tag debian {name} tag{round}"),
            "sync".to_owned(),
            "gc --now".to_owned(),
            "status".to_owned(),
        ] {
            disk.empty();
            disk.fill(left);
            let ran = run(&site, &line);
            assert!(ran.status.code().is_some(), "a signal: {left} KiB left: {ran}");
            assert!(!ran.stderr.contains("panicked"), "{ran}");
            if ran.status.code() != Some(0) {
                full += 1;
                let told = ["df -h", "free space", "make room"]
                    .iter()
                    .any(|words| ran.stderr.contains(words));
                assert!(told, "{left} KiB left: {ran}");
            }
            disk.empty();
            assert_whole(&state, &ran);
            let done = line.contains("create") && ran.status.code() == Some(0);
            if !done {
                run(&site, &line).success();
            }
        }
    }
    assert!(full >= 8, "the disk was hardly ever full: {full}");
    disk.fill(0);
    drop(disk);
}

#[test]
fn a_disk_without_inodes_is_told_of_as_such() {
    let mut site = Site::new(&["debian"]);
    for kind in ["ext4", "tmpfs"] {
        let path = site.env.root().join(kind);
        let disk = match kind {
            "ext4" => Disk::ext4(path, 12 << 20, 900),
            _ => Disk::tmpfs(path, "size=12m,nr_inodes=900"),
        };
        configure(&site, &disk.0);
        site.next_snapshot("debian");
        let name = newest(&site);
        run(&site, &format!("snapshot publish debian {name}")).success();
        site.source("debian").change();
        for left in [0, 1, 3] {
            disk.fill_inodes(left);
            // Refused before anything is fetched.
            let refused = run(&site, "sync").failure().stderr_has("inodes");
            assert!(matches!(refused.status.code(), Some(1 | 4)), "{refused}");
            disk.empty();
            assert_whole(&disk.0.join("state"), &refused);
        }
        // It ends in the middle: what the first files took is all there was.
        let place = disk.filler();
        site.source("debian").before("pool/*", move || {
            fs::create_dir_all(&place).expect("makes");
            let mut number = 0;
            while File::create(place.join(number.to_string())).is_ok() {
                number += 1;
            }
        });
        let failed = run(&site, "sync");
        if failed.status.code() != Some(0) {
            failed.clone().code(1).stderr_has("inodes").stderr_has("df -i");
        }
        let status = run(&site, "--json status");
        assert_eq!(status.json()["mirrors"][0]["current"], Value::from(name), "{status}");
        disk.empty();
        assert_whole(&disk.0.join("state"), &failed);
        run(&site, "sync").success();
        assert_whole(&disk.0.join("state"), &failed);
    }
}

/// L5: the kernel takes the file system away from writers in the middle of a sync.
#[test]
fn a_disk_that_becomes_read_only_in_a_sync_is_told_of_and_loses_nothing() {
    let mut site = Site::new(&["debian"]);
    let disk = Disk::ext4(site.env.root().join("disk"), 12 << 20, 3_000);
    configure(&site, &disk.0);
    site.next_snapshot("debian");
    let name = newest(&site);
    run(&site, &format!("snapshot publish debian {name}")).success();
    site.source("debian").change();
    let trigger = disk.trigger();
    // As after an error of the disk: what is open stays so, and takes nothing any more.
    let hook = move || fs::write(&trigger, "1").expect("the kernel's ext4 has it");
    site.source("debian").before("pool/*", hook);
    let failed = run(&site, "sync").code(1).stderr_has("hint: ");
    let told = ["read-only", "dmesg"].iter().any(|words| failed.stderr.contains(words));
    assert!(told, "{failed}");
    let stage = format!("snapshot stage debian {name}");
    for line in ["snapshot create debian again", "gc", &stage] {
        let refused = run(&site, line).failure();
        assert!(
            refused.stderr.contains("read-only") || refused.stderr.contains("dmesg"),
            "{refused}"
        );
    }
    let umount = Program::new("umount", "mount").arg(&disk.0);
    umount.run().success();
    disk.mount();
    assert_whole(&disk.0.join("state"), &failed);
    run(&site, "sync").success();
    assert_whole(&disk.0.join("state"), &failed);
}

/// L12.
#[test]
fn state_on_a_file_system_of_another_process_is_refused() {
    let (site, _) = Site::with_snapshots(1);
    let mount = site.mount();
    let other = Site::new(&["debian"]);
    let state = site.served("debian/snapshots/state");
    let configure = |any: bool| {
        let config = other.config(1).set("dir", &quoted(&other.env.mount_dir()));
        let config = config.set_in("snapshot", "path", &quoted(&state));
        let config = config.set_in("snapshot", "any_file_system", &any.to_string());
        other.env.configure_with(&config.to_toml());
    };
    configure(false);
    run(&other, "sync")
        .code(4)
        .stderr_has("is on a FUSE file system")
        .stderr_has("any_file_system");
    configure(true);
    run(&other, "sync").code(1).stderr_lacks("FUSE").stderr_has("read-only");
    mount.stop().success();
}

/// L6: with too few files, it is said to be that.
#[test]
fn too_few_open_files_are_told_of_as_such() {
    let mut site = Site::new(&["debian"]);
    site.next_snapshot("debian");
    site.source("debian").change();
    let mut failed = 0;
    for most in [5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 28] {
        let binary = site.env.binary().to_owned();
        for line in [&["sync"][..], &["gc"], &["snapshot", "tag", "debian", "x", "y"]] {
            let limited = Program::new("prlimit", "util-linux")
                .arg(format!("--nofile={most}"))
                .arg("--")
                .arg(&binary)
                .arg("--config")
                .arg(site.env.config_path())
                .args(line)
                .env("MIRRORCTL_RUN_DIR", site.env.run_dir())
                .env("HOME", site.env.root());
            let ran = limited.run();
            assert!(ran.status.code().is_some(), "{most}: {ran}");
            if line == ["sync"] && ran.status.code() != Some(0) && ran.stderr.contains("error: ") {
                failed += 1;
                let told = ["ulimit -n", "Too many open files"]
                    .iter()
                    .any(|words| ran.stderr.contains(words));
                assert!(told, "{most}: {ran}");
            }
            assert_whole(&site.env.state_dir(), &ran);
        }
    }
    assert!(failed > 0, "never too few");
    run(&site, "sync").success();
}

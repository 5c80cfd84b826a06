//! Where the same tree stands: below the mount, in an ordinary file system, and in a squashfs of that.
//!
//! Owns how the three are made alike and unmade again: the copy, the image and its mount, and how far the kernel reads ahead
//! in each. It measures nothing but how long a mount takes to answer.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mirrorctl_testkit::{MountGuard, Program, Scratch, TestEnv};

use super::archive::MIRROR;
use crate::common::settle;

/// How far the kernel reads ahead everywhere, in KiB: as far as the mount lets it by itself.
const READ_AHEAD_KIB: u32 = 4096;

/// What the tree is found under in all places, so that all paths are equally long.
pub(super) fn tree() -> String {
    format!("{MIRROR}/current")
}

/// Forgets whatever the kernel has cached of any file system.
pub(super) fn drop_caches() {
    settle();
    fs::write("/proc/sys/vm/drop_caches", "3").expect("root may");
}

/// The mount of an installation, which can be started anew.
pub(super) struct Mount<'a> {
    env: &'a TestEnv,
    guard: Option<MountGuard>,
    /// The most memory that an earlier daemon had resident, in KiB.
    most: u64,
}

impl<'a> Mount<'a> {
    pub(super) fn of(env: &'a TestEnv) -> Self {
        let guard = Some(MountGuard::mount(env));
        Self { env, guard, most: 0 }
    }

    /// Ends it and starts it again: a daemon that remembers nothing. Gives the time from its start to its first answer.
    pub(super) fn restart(&mut self) -> Duration {
        self.most = self.resident().1;
        drop(self.guard.take());
        let begun = Instant::now();
        self.guard = Some(MountGuard::mount(self.env));
        begun.elapsed()
    }

    /// Memory that the daemon's serving process has resident, in KiB: now, and what it or an earlier one had at most.
    pub(super) fn resident(&mut self) -> (u64, u64) {
        let daemon = self.guard.as_mut().expect("always mounted").worker();
        let status = fs::read_to_string(format!("/proc/{daemon}/status")).expect("procfs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number.and_then(|number| number.parse().ok()).expect("procfs")
        };
        (field("VmRSS"), self.most.max(field("VmHWM")))
    }
}

/// Copies the tree that is mounted at `mount` to an ordinary directory of `scratch`, times and all.
pub(super) fn copy(mount: &Path, scratch: &Scratch) -> PathBuf {
    let root = scratch.directory("copy");
    let parent = scratch.directory(&format!("copy/{MIRROR}"));
    Program::new("cp", "coreutils")
        .arg("--archive")
        .arg(mount.join(tree()))
        .arg(parent)
        .limit(Duration::from_mins(10))
        .run()
        .success();
    settle();
    root
}

/// A mounted image. Taken away when dropped.
pub(super) struct Squashfs(PathBuf);

impl Squashfs {
    /// Makes an image of `copy` and mounts it, or says what is missing.
    pub(super) fn mount(copy: &Path, scratch: &Scratch) -> Result<Self, &'static str> {
        if !Program::is_installed("mksquashfs") {
            return Err("a squashfs, which needs mksquashfs of the package squashfs-tools");
        }
        let image = scratch.path().join("image.squashfs");
        Program::new("mksquashfs", "squashfs-tools")
            .args([copy, &image])
            .args(["-quiet", "-no-progress"])
            .limit(Duration::from_mins(10))
            .run()
            .success();
        settle();
        let place = scratch.directory("squashfs");
        let mount = Program::new("mount", "mount").args(["-t", "squashfs", "-o", "loop,ro"]);
        let mounted = mount.arg(image).arg(&place).run();
        if mounted.status.success() {
            Ok(Self(place))
        } else {
            Err("a squashfs, which needs a loop device and a kernel that has squashfs")
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Squashfs {
    fn drop(&mut self) {
        // Only its user can be in the way, and the image goes with its directory all the same.
        drop(Program::new("umount", "mount").arg("--lazy").arg(&self.0).run());
    }
}

/// How far the kernel reads ahead in one file system, until this is dropped: then as far as before.
pub(super) struct ReadAhead {
    setting: PathBuf,
    before: String,
}

impl ReadAhead {
    /// Sets it for the file system of `place`; `None` where that has no disk of its own.
    pub(super) fn set(place: &Path) -> Option<Self> {
        let device = fs::metadata(place).ok()?.dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let disk = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
        // A partition has it from its disk.
        let settings = ["queue/read_ahead_kb", "../queue/read_ahead_kb"].map(|setting| disk.join(setting));
        let setting = settings.into_iter().find(|setting| setting.exists())?;
        let before = fs::read_to_string(&setting).ok()?;
        fs::write(&setting, READ_AHEAD_KIB.to_string()).ok()?;
        Some(Self { setting, before })
    }

    /// As far as the system has it by itself, in KiB.
    pub(super) fn before(&self) -> &str {
        self.before.trim()
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        // Nothing depends on it but speed.
        drop(fs::write(&self.setting, &self.before));
    }
}

//! Tests that are run once more by a user without rights, through the real `fusermount3`, and what such a user does to a mount.
//!
//! Owns the room for it: a table of mounts of its own, in which users can open the device. Needs root and the package fuse3.

#![expect(clippy::disallowed_types, reason = "the tests are run once more by another user")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Makes the room and becomes the user: `$1` a directory, and what then follows the command to run.
const FURNISH: &str = r#"
room=$1
shift
mount -t tmpfs -o mode=755 none "$room"
mkdir -m 1777 "$room/tmp"
mknod "$room/fuse" c 10 229
chmod 666 "$room/fuse"
mount --bind "$room/fuse" /dev/fuse
export TMPDIR="$room/tmp"
exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
"#;

/// Runs those of this program's tests whose names begin with one of `tests` as user 65534, and expects them to succeed.
#[track_caller]
pub(crate) fn succeed_for_ordinary_users(tests: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The program may stand where such a user cannot go.
    let program = place.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let room = place.path().join("room");
    std::fs::create_dir(&room).unwrap();
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-e", "-c", FURNISH, "sh"])
        .args([&room, &program])
        .args(tests)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let count = format!("test result: ok. {} passed", tests.len());
    assert!(
        ran.status.success() && said.contains(&count),
        "{said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Runs a shell script with the argument `place` as user 65534, and expects it to succeed.
#[track_caller]
pub(crate) fn strangers_succeed(script: &str, place: &Path) {
    let ran = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(place)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

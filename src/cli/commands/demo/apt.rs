//! The part of the demonstration that apt-get plays, where there is one.
//!
//! Owns a root for apt to work in, apart from the system's. It reads production through the mount only.

#![expect(clippy::disallowed_types, reason = "runs apt-get, as a client of the mirror would")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::narrator::Narrator;
use super::scene::{ARCHITECTURE, Scene, failed, open_to_all};
use crate::cli::failure::{Failure, Kind};

/// Installs hello from production with apt-get, where there is one, into a root of its own.
pub(super) fn install(scene: &Scene, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    if Command::new("apt-get")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        narrator.say("(apt-get is not on this machine, so it is not asked)");
        return Ok(());
    }
    let root = scene.path("client");
    for directory in [
        "etc/apt/preferences.d",
        "etc/apt/apt.conf.d",
        "state/lists/partial",
        "cache/archives/partial",
    ] {
        fs::create_dir_all(root.join(directory)).map_err(failed("make a directory for apt"))?;
    }
    open_to_all(&root).map_err(failed("open a directory to all"))?;
    fs::write(root.join("status"), "").map_err(failed("write apt's state"))?;
    let place = scene.place().display();
    let source = format!("deb [signed-by={place}/archive-key.asc] file:{place}/apt/demo/current stable main\n");
    fs::write(root.join("etc/apt/sources.list"), &source).map_err(failed("write apt's sources"))?;
    narrator.say(&format!("apt's source: {}", source.trim()));
    for arguments in [
        &["update"][..],
        &["--print-uris", "--yes", "install", "hello"][..],
        &["download", "hello"][..],
    ] {
        apt_get(narrator, &root, arguments)?;
    }
    let fetched = fs::read_dir(&root).map_err(failed("look for the package"))?;
    let name = "hello_2.0_all.deb";
    let found = fetched.filter_map(Result::ok).any(|entry| entry.file_name() == *name);
    let upstream = fs::read(scene.path("upstream/pool/main/h/hello").join(name));
    if found && fs::read(root.join(name)).ok() == upstream.ok() {
        narrator.say(&format!(
            "apt-get has fetched and verified {name} from production, byte for byte upstream's"
        ));
        Ok(())
    } else {
        Err(Failure::new(Kind::Failed, format!("apt-get did not fetch {name}")))
    }
}

fn apt_get(narrator: &mut Narrator<'_>, root: &Path, arguments: &[&str]) -> Result<(), Failure> {
    narrator.say(&format!("$ apt-get {}", arguments.join(" ")));
    let option = |name: &str, value: &str| format!("-o{name}={value}");
    let in_root = |name: &str| root.join(name).display().to_string();
    let ran = Command::new("apt-get")
        .arg("-qq")
        .args([
            option("Dir::Etc", &in_root("etc/apt")),
            option("Dir::State", &in_root("state")),
            option("Dir::State::status", &in_root("status")),
            option("Dir::Cache", &in_root("cache")),
            option("APT::Architecture", ARCHITECTURE),
            option("APT::Architectures", ARCHITECTURE),
            option("APT::Sandbox::User", "root"),
        ])
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(failed("run apt-get"))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let failure = Failure::new(Kind::Failed, format!("apt-get {} failed", arguments.join(" ")));
    Err(said
        .lines()
        .fold(failure, |failure, line| failure.problem(line, line.into())))
}

//! The command `mirrorctl demo`.
//!
//! Owns a story told with real commands: a small signed archive is made and served on loopback, mirrored, mounted,
//! changed upstream, synced again, promoted and rolled back, and every claim is checked by reading through the mount.
//! It works in a temporary directory and runs this very program, so that each step is what a user would type.

mod apt;
mod narrator;
mod scene;

use std::fs;
use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::args::DemoArgs;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::sys;
use narrator::Narrator;
use scene::{Scene, failed};

/// Tells the story.
pub(in crate::cli) fn run(arguments: &DemoArgs, output: &mut Output) -> Result<(), Failure> {
    can_mount()?;
    let mut narrator = Narrator::new(output);
    let outcome = perform(arguments, &mut narrator);
    narrator.end();
    outcome
}

fn perform(arguments: &DemoArgs, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    let mut scene = Scene::begin(narrator)?;
    let told = tell(&mut scene, narrator);
    if arguments.keep && told.is_ok() {
        return keep(scene, narrator);
    }
    // What is left after a failure is taken away too; the failure is what counts then.
    let cleaned = scene.clean_up(narrator);
    told.and(cleaned)
}

/// Makes sure that this machine and user may mount, or says exactly what is missing.
fn can_mount() -> Result<(), Failure> {
    let missing =
        |what: &str, hint: &str| Failure::new(Kind::Failed, format!("the demonstration mounts: {what}")).hint(hint);
    match fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(missing(
                "/dev/fuse does not exist",
                "load the module (modprobe fuse), or give the container the device (--device /dev/fuse)",
            ));
        }
        Err(error) => {
            return Err(missing(
                &format!("/dev/fuse cannot be opened ({error})"),
                "run it as root",
            ));
        }
    }
    if sys::is_root() {
        Ok(())
    } else {
        Err(missing("mounting needs root", "run it with sudo"))
    }
}

fn tell(scene: &mut Scene, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    narrator.heading("Sync: upstream is verified, fetched and frozen as a snapshot, which is staged.");
    scene.mirrorctl(narrator, &["sync", "demo"])?;
    narrator.heading("Mount: every snapshot, staging and current are directories.");
    scene.mirrorctl(narrator, &["mount", "--background"])?;
    scene.expect(narrator, "staging", "hello", Some("1.0"))?;
    scene.expect(narrator, "current", "hello", None)?;

    narrator.heading("Promote: production moves only when told.");
    scene.mirrorctl(narrator, &["snapshot", "promote", "demo"])?;
    scene.expect(narrator, "current", "hello", Some("1.0"))?;
    let first = scene.snapshot_of("current")?;

    narrator.heading("Upstream publishes hello 2.0; a second sync stages it.");
    scene.release_hello("2.0")?;
    scene.mirrorctl(narrator, &["sync", "demo"])?;
    scene.expect(narrator, "staging", "hello", Some("2.0"))?;
    scene.expect(narrator, "current", "hello", Some("1.0"))?;
    scene.mirrorctl(narrator, &["snapshot", "list", "demo"])?;

    narrator.heading("Promote again: one transaction, and every later look sees the new tree.");
    scene.mirrorctl(narrator, &["snapshot", "promote", "demo"])?;
    scene.expect(narrator, "current", "hello", Some("2.0"))?;
    apt::install(scene, narrator)?;

    narrator.heading("Roll back: production points at the first snapshot again.");
    scene.mirrorctl(narrator, &["snapshot", "publish", "demo", &first])?;
    scene.expect(narrator, "current", "hello", Some("1.0"))?;
    scene.mirrorctl(narrator, &["snapshot", "history", "demo"])?;
    scene.mirrorctl(narrator, &["status"])
}

/// Leaves everything running until somebody presses Ctrl-C.
fn keep(scene: Scene, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    let place = scene.place().display().to_string();
    narrator.heading("Everything is left running:");
    narrator.say(&format!("upstream       {}/ ({place}/upstream)", scene.upstream()));
    narrator.say(&format!("configuration  {place}/mirror.toml"));
    narrator.say(&format!("mount          {place}/apt"));
    narrator.say(&format!(
        "commands       MIRRORCTL_RUN_DIR={place}/run mirrorctl -c {place}/mirror.toml status"
    ));
    narrator.say("Press Ctrl-C to end it and take it away.");
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed("listen for signals"))?;
    signals.forever().next();
    scene.clean_up(narrator)
}

//! The command `mirrorctl demo`.
//!
//! Owns a story told with real commands: a small signed archive is made and served on loopback, mirrored, mounted,
//! changed upstream, synced again, promoted and rolled back, and every claim is checked by reading through the mount.
//! It works in a temporary directory and runs this very program, so that each step is what a user would type.

#![expect(
    clippy::disallowed_types,
    reason = "runs this program, and apt-get where there is one"
)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::args::DemoArgs;
use crate::cli::context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::sys;
use crate::demo::{Archive, ArchiveBuilder, Deb, FileService, SuiteSpec, WebServer};

/// Age of the first Release file, so that the second has a later date.
const HOUR: i64 = 3600;

/// The architecture of the archive; its packages are for all.
const ARCHITECTURE: &str = "amd64";

/// Tells the story.
pub(in crate::cli) fn run(arguments: &DemoArgs, output: &mut Output) -> Result<(), Failure> {
    can_mount()?;
    let mut demo = Demo::begin(output)?;
    let told = demo.tell(output);
    if arguments.keep && told.is_ok() {
        return demo.keep(output);
    }
    // What is left after a failure is taken away too; the failure is what counts then.
    let cleaned = demo.clean_up(output);
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

struct Demo {
    place: tempfile::TempDir,
    archive: Archive,
    server: WebServer,
    program: PathBuf,
}

impl Demo {
    fn begin(output: &mut Output) -> Result<Self, Failure> {
        let place = tempfile::Builder::new()
            .prefix("mirrorctl-demo-")
            .tempdir()
            .map_err(failed("make a directory"))?;
        // Web servers and apt's own user come in from outside.
        open_to_all(place.path()).map_err(failed("open a directory to all"))?;
        output.say("A small signed archive, made and served by this process:");
        let suite = SuiteSpec::new("stable")
            .architectures(&[ARCHITECTURE])
            .package("main", hello("1.0"))
            .package(
                "main",
                Deb::new("tea", "1.0", "all").file("usr/share/tea/kind", "green\n"),
            );
        let root = place.path().join("upstream");
        let archive = ArchiveBuilder::new()
            .suite(suite)
            .create(&root, context::now().plus(-HOUR))
            .map_err(told)?;
        let key = archive.key().public_armored().map_err(told)?;
        fs::write(place.path().join("archive-key.asc"), key).map_err(failed("write the key"))?;
        let server = WebServer::start(Arc::new(FileService::new(&root))).map_err(failed("serve on loopback"))?;
        output.say(&format!(
            "  {}/ (suite stable, packages hello 1.0 and tea 1.0)",
            server.url()
        ));
        let program = std::env::current_exe().map_err(failed("find this program"))?;
        let demo = Self {
            place,
            archive,
            server,
            program,
        };
        demo.configure(output)?;
        Ok(demo)
    }

    fn configure(&self, output: &mut Output) -> Result<(), Failure> {
        let place = self.place.path().display();
        let text = format!(
            "dir = \"{place}/apt\"\n\n[snapshot]\npath = \"{place}/state\"\n\n[mirrors.demo]\nurl = \"{url}\"\n\
             suites = [\"stable\"]\nsections = [\"main\"]\narchitectures = [\"{ARCHITECTURE}\"]\n\
             pgp_key_path = \"{place}/archive-key.asc\"\npublish_to_staging = true\n",
            url = self.server.url(),
        );
        fs::create_dir(self.path("apt")).map_err(failed("make the mount point"))?;
        fs::write(self.path("mirror.toml"), &text).map_err(failed("write the configuration"))?;
        output.say("");
        output.say(&format!("Its configuration, {}:", self.path("mirror.toml").display()));
        text.lines().for_each(|line| output.say(&format!("  {line}")));
        Ok(())
    }

    fn tell(&mut self, output: &mut Output) -> Result<(), Failure> {
        Self::heading(
            output,
            "Sync: upstream is verified, fetched and frozen as a snapshot, which is staged.",
        );
        self.mirrorctl(output, &["sync", "demo"])?;
        Self::heading(output, "Mount: every snapshot, staging and current are directories.");
        self.mirrorctl(output, &["mount", "--background"])?;
        self.expect(output, "staging", "hello", Some("1.0"))?;
        self.expect(output, "current", "hello", None)?;

        Self::heading(output, "Promote: production moves only when told.");
        self.mirrorctl(output, &["snapshot", "promote", "demo"])?;
        self.expect(output, "current", "hello", Some("1.0"))?;
        let first = self.snapshot_of("current")?;

        Self::heading(output, "Upstream publishes hello 2.0; a second sync stages it.");
        self.archive.add("stable", "main", &hello("2.0")).map_err(told)?;
        self.archive.publish(context::now()).map_err(told)?;
        self.mirrorctl(output, &["sync", "demo"])?;
        self.expect(output, "staging", "hello", Some("2.0"))?;
        self.expect(output, "current", "hello", Some("1.0"))?;
        self.mirrorctl(output, &["snapshot", "list", "demo"])?;

        Self::heading(
            output,
            "Promote again: one transaction, and every later look sees the new tree.",
        );
        self.mirrorctl(output, &["snapshot", "promote", "demo"])?;
        self.expect(output, "current", "hello", Some("2.0"))?;
        self.install(output)?;

        Self::heading(output, "Roll back: production points at the first snapshot again.");
        self.mirrorctl(output, &["snapshot", "publish", "demo", &first])?;
        self.expect(output, "current", "hello", Some("1.0"))?;
        self.mirrorctl(output, &["snapshot", "history", "demo"])?;
        self.mirrorctl(output, &["status"])
    }

    /// Installs hello from production with apt-get, where there is one, into a root of its own.
    fn install(&self, output: &mut Output) -> Result<(), Failure> {
        if Command::new("apt-get")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            output.say("  (apt-get is not on this machine, so it is not asked)");
            return Ok(());
        }
        let root = self.path("client");
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
        let place = self.place.path().display();
        let source = format!("deb [signed-by={place}/archive-key.asc] file:{place}/apt/demo/current stable main\n");
        fs::write(root.join("etc/apt/sources.list"), &source).map_err(failed("write apt's sources"))?;
        output.say(&format!("  apt's source: {}", source.trim()));
        for arguments in [
            &["update"][..],
            &["--print-uris", "--yes", "install", "hello"][..],
            &["download", "hello"][..],
        ] {
            Self::apt_get(output, &root, arguments)?;
        }
        let fetched = fs::read_dir(&root).map_err(failed("look for the package"))?;
        let name = "hello_2.0_all.deb";
        let found = fetched.filter_map(Result::ok).any(|entry| entry.file_name() == *name);
        let upstream = fs::read(self.path("upstream/pool/main/h/hello").join(name));
        if found && fs::read(root.join(name)).ok() == upstream.ok() {
            output.say(&format!(
                "  apt-get has fetched and verified {name} from production, byte for byte upstream's"
            ));
            Ok(())
        } else {
            Err(Failure::new(Kind::Failed, format!("apt-get did not fetch {name}")))
        }
    }

    fn apt_get(output: &mut Output, root: &Path, arguments: &[&str]) -> Result<(), Failure> {
        output.say(&format!("  $ apt-get {}", arguments.join(" ")));
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

    /// Runs a command of this program as a user would, showing it and what it says.
    fn mirrorctl(&self, output: &mut Output, arguments: &[&str]) -> Result<(), Failure> {
        output.say(&format!(
            "  $ mirrorctl -c {} {}",
            self.path("mirror.toml").display(),
            arguments.join(" ")
        ));
        let ran = Command::new(&self.program)
            .arg("--config")
            .arg(self.path("mirror.toml"))
            .arg("--log-level=warn")
            .args(arguments)
            .env("MIRRORCTL_RUN_DIR", self.path("run"))
            .stdin(Stdio::null())
            .output()
            .map_err(failed("run this program"))?;
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        said.lines().for_each(|line| output.say(&format!("    {line}")));
        if ran.status.success() {
            Ok(())
        } else {
            let message = format!("mirrorctl {} failed ({})", arguments.join(" "), ran.status);
            let failure = Failure::new(Kind::Failed, message);
            Err(said
                .lines()
                .fold(failure, |failure, line| failure.problem(line, line.into())))
        }
    }

    /// Checks through the mount which version of a package a pointer offers; `None` for a pointer that is not set.
    fn expect(&self, output: &mut Output, pointer: &str, package: &str, version: Option<&str>) -> Result<(), Failure> {
        let directory = self.path("apt/demo").join(pointer);
        let shown = directory.display();
        let Some(version) = version else {
            return if directory.exists() {
                Err(Failure::new(
                    Kind::Failed,
                    format!("{shown} exists, though nothing was promoted"),
                ))
            } else {
                output.say(&format!("  {shown} does not exist yet"));
                Ok(())
            };
        };
        let packages = directory.join(format!("dists/stable/main/binary-{ARCHITECTURE}/Packages.gz"));
        let compressed = fs::read(&packages).map_err(failed("read through the mount"))?;
        let mut text = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&compressed[..]), &mut text)
            .map_err(failed("decompress an index read through the mount"))?;
        let stanza = text
            .split("\n\n")
            .find(|stanza| stanza.starts_with(&format!("Package: {package}\n")));
        let found = stanza.and_then(|stanza| stanza.lines().find_map(|line| line.strip_prefix("Version: ")));
        let pool = directory.join(format!(
            "pool/main/{}/{package}/{package}_{version}_all.deb",
            &package[..1]
        ));
        if found == Some(version) && pool.is_file() {
            output.say(&format!("  {shown} offers {package} {version}"));
            Ok(())
        } else {
            let found = found.unwrap_or("nothing");
            Err(Failure::new(
                Kind::Failed,
                format!("{shown} offers {package} {found}, and not {version}"),
            ))
        }
    }

    /// The snapshot that a pointer leads to, by the extended attribute that the mount gives it.
    fn snapshot_of(&self, pointer: &str) -> Result<String, Failure> {
        let directory = self.path("apt/demo").join(pointer);
        sys::attribute(&directory, c"user.mirrorctl.snapshot").map_err(failed("read an attribute through the mount"))
    }

    fn heading(output: &mut Output, text: &str) {
        output.say("");
        output.say(text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Leaves everything running until somebody presses Ctrl-C.
    fn keep(self, output: &mut Output) -> Result<(), Failure> {
        let place = self.place.path().display().to_string();
        Self::heading(output, "Everything is left running:");
        output.say(&format!("  upstream       {}/ ({place}/upstream)", self.server.url()));
        output.say(&format!("  configuration  {place}/mirror.toml"));
        output.say(&format!("  mount          {place}/apt"));
        output.say(&format!(
            "  commands       MIRRORCTL_RUN_DIR={place}/run mirrorctl -c {place}/mirror.toml status"
        ));
        output.say("Press Ctrl-C to end it and take it away.");
        let mut signals =
            signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(failed("listen for signals"))?;
        signals.forever().next();
        self.clean_up(output)
    }

    fn clean_up(self, output: &mut Output) -> Result<(), Failure> {
        Self::heading(output, "Clean up.");
        let mounted = mirrorctl_mount::existing(&self.path("apt")).ok().flatten().is_some();
        if mounted {
            self.mirrorctl(output, &["unmount"])?;
        }
        self.server.stop();
        self.place.close().map_err(failed("remove the temporary directory"))
    }
}

fn hello(version: &str) -> Deb {
    Deb::new("hello", version, "all")
        .depends("tea")
        .file("usr/share/hello/version", format!("{version}\n"))
}

fn open_to_all(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(Kind::Failed, format!("cannot {action}: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn told(error: crate::demo::ArchiveError) -> Failure {
    Failure::caused(Kind::Failed, &error)
}

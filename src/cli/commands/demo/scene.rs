//! Where the demonstration plays: an upstream on loopback, and this program beside it.
//!
//! Owns the temporary directory and what runs from it, and takes it away. What happens in which order is not decided
//! here.

#![expect(clippy::disallowed_types, reason = "runs this program, as a user would")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::narrator::Narrator;
use crate::cli::context;
use crate::cli::failure::{Failure, Kind};
use crate::cli::sys;
use crate::demo::{Archive, ArchiveBuilder, Deb, FileService, SuiteSpec, WebServer};

/// Age of the first Release file, so that the second has a later date.
const HOUR: i64 = 3600;

/// The architecture of the archive; its packages are for all.
pub(super) const ARCHITECTURE: &str = "amd64";

/// The place of the demonstration.
pub(super) struct Scene {
    place: tempfile::TempDir,
    archive: Archive,
    server: WebServer,
    program: PathBuf,
}

impl Scene {
    pub(super) fn begin(narrator: &mut Narrator<'_>) -> Result<Self, Failure> {
        let place = tempfile::Builder::new()
            .prefix("mirrorctl-demo-")
            .tempdir()
            .map_err(failed("make a directory"))?;
        // Web servers and apt's own user come in from outside.
        open_to_all(place.path()).map_err(failed("open a directory to all"))?;
        narrator.heading("A small signed archive, made and served by this process:");
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
        narrator.say(&format!(
            "{}/ (suite stable, packages hello 1.0 and tea 1.0)",
            server.url()
        ));
        let program = std::env::current_exe().map_err(failed("find this program"))?;
        let demo = Self {
            place,
            archive,
            server,
            program,
        };
        demo.configure(narrator)?;
        Ok(demo)
    }

    fn configure(&self, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
        let place = self.place.path().display();
        let text = format!(
            "dir = \"{place}/apt\"\n\n[snapshot]\npath = \"{place}/state\"\n\n[mirrors.demo]\nurl = \"{url}\"\n\
             suites = [\"stable\"]\nsections = [\"main\"]\narchitectures = [\"{ARCHITECTURE}\"]\n\
             pgp_key_path = \"{place}/archive-key.asc\"\npublish_to_staging = true\n",
            url = self.server.url(),
        );
        fs::create_dir(self.path("apt")).map_err(failed("make the mount point"))?;
        fs::write(self.path("mirror.toml"), &text).map_err(failed("write the configuration"))?;
        narrator.heading(&format!("Its configuration, {}:", self.path("mirror.toml").display()));
        text.lines().for_each(|line| narrator.say(line));
        Ok(())
    }

    /// Runs a command of this program as a user would, showing it and what it says.
    pub(super) fn mirrorctl(&self, narrator: &mut Narrator<'_>, arguments: &[&str]) -> Result<(), Failure> {
        narrator.say(&format!(
            "$ mirrorctl -c {} {}",
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
        said.lines().for_each(|line| narrator.say(&format!("  {line}")));
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
    pub(super) fn expect(
        &self,
        narrator: &mut Narrator<'_>,
        pointer: &str,
        package: &str,
        version: Option<&str>,
    ) -> Result<(), Failure> {
        let directory = self.path("apt/demo").join(pointer);
        let shown = directory.display();
        let Some(version) = version else {
            return if directory.exists() {
                Err(Failure::new(
                    Kind::Failed,
                    format!("{shown} exists, though nothing was promoted"),
                ))
            } else {
                narrator.say(&format!("{shown} does not exist yet"));
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
            narrator.say(&format!("{shown} offers {package} {version}"));
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
    pub(super) fn snapshot_of(&self, pointer: &str) -> Result<String, Failure> {
        let directory = self.path("apt/demo").join(pointer);
        sys::attribute(&directory, c"user.mirrorctl.snapshot").map_err(failed("read an attribute through the mount"))
    }

    /// Upstream publishes another version of the package `hello`.
    pub(super) fn release_hello(&mut self, version: &str) -> Result<(), Failure> {
        self.archive.add("stable", "main", &hello(version)).map_err(told)?;
        self.archive.publish(context::now()).map_err(told)
    }

    /// The temporary directory.
    pub(super) fn place(&self) -> &Path {
        self.place.path()
    }

    /// Upstream's address.
    pub(super) fn upstream(&self) -> String {
        self.server.url()
    }

    /// A path in the temporary directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(super) fn clean_up(self, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
        narrator.heading("Clean up.");
        let mounted = mirrorctl_mount::existing(&self.path("apt")).ok().flatten().is_some();
        if mounted {
            self.mirrorctl(narrator, &["unmount"])?;
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

/// Lets everybody read a directory.
pub(super) fn open_to_all(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// The failure of an action, for `map_err`.
pub(super) fn failed(action: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(Kind::Failed, format!("cannot {action}: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn told(error: crate::demo::ArchiveError) -> Failure {
    Failure::caused(Kind::Failed, &error)
}

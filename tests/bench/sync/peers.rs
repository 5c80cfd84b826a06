//! Who mirrors: this program, its peers, and a bare download.
//!
//! Owns how each of them is told what to mirror, as its manual has it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mirrorctl_testkit::{Config, Mirror, Program, TestEnv, Usage};

use super::runs::and_then;
use super::upstream::{Server, UpstreamStates};
use super::{CONNECTIONS, SUITE};

/// Who mirrors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Mirrorctl,
    Aptly,
    Debmirror,
    AptMirror,
    Curl,
}

/// A peer's own place, empty at first.
pub(super) struct Installation {
    env: TestEnv,
    url: String,
    keyring: PathBuf,
    archive: PathBuf,
}

impl Installation {
    pub(super) fn new(server: &Server, upstream: &UpstreamStates) -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let keyring = upstream.keyring();
        let mirror = Mirror::new("peer", &server.url()).suites(&[SUITE]).key(&keyring);
        env.configure(Config::new().set("max_conns", &CONNECTIONS.to_string()).mirror(mirror));
        Self {
            env,
            url: server.url(),
            keyring,
            archive: upstream.served(),
        }
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.env.root().join(name)
    }
}

/// Those who can do more than download once.
pub(super) fn syncing(installations: &[(Peer, Installation)]) -> impl Iterator<Item = &(Peer, Installation)> {
    installations.iter().filter(|(peer, _)| *peer != Peer::Curl)
}

impl Peer {
    pub(super) const ALL: [Self; 5] = [
        Self::Mirrorctl,
        Self::Aptly,
        Self::Debmirror,
        Self::AptMirror,
        Self::Curl,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mirrorctl => "mirrorctl sync",
            Self::Aptly => "aptly mirror update",
            Self::Debmirror => "debmirror",
            Self::AptMirror => "apt-mirror (verifies nothing)",
            Self::Curl => "curl --parallel (no mirror: the limit)",
        }
    }

    pub(super) fn is_there(self) -> bool {
        let program = match self {
            Self::Mirrorctl => return true,
            Self::Aptly => "aptly",
            Self::Debmirror => "debmirror",
            Self::AptMirror => "apt-mirror",
            Self::Curl => "curl",
        };
        let there = Program::is_installed(program);
        if !there {
            println!("MISSING: {program}; Debian's package {program} has it");
        }
        there
    }

    /// From nothing to a complete mirror.
    pub(super) fn first_sync(self, place: &Installation) -> Usage {
        match self {
            Self::Mirrorctl | Self::Debmirror | Self::AptMirror => self.next_sync(place),
            Self::Aptly => {
                place.write_aptly_configuration();
                let create = ["mirror", "create", "-architectures=amd64"];
                let keyring = format!("-keyring={}", place.keyring.display());
                let created = place
                    .aptly(&create)
                    .args([&keyring, "peer", &place.url, SUITE, "main"])
                    .measure();
                and_then(created, self.next_sync(place))
            }
            Self::Curl => place.curl().measure(),
        }
    }

    /// To what upstream has now.
    pub(super) fn next_sync(self, place: &Installation) -> Usage {
        match self {
            Self::Mirrorctl => place.env.command(&["sync", "peer"]).measure(),
            Self::Aptly => {
                let keyring = format!("-keyring={}", place.keyring.display());
                place.aptly(&["mirror", "update"]).args([&keyring, "peer"]).measure()
            }
            Self::Debmirror => place.debmirror().measure(),
            Self::AptMirror => place.apt_mirror().measure(),
            Self::Curl => unreachable!("curl knows nothing of mirrors"),
        }
    }
}

impl Installation {
    fn program(&self, name: &str) -> Program {
        Program::new(name, name)
            .env("HOME", self.directory("home"))
            .directory(self.env.root())
    }

    fn write_aptly_configuration(&self) {
        let root = serde_json::Value::from(self.directory("aptly").to_string_lossy());
        let text = format!("{{\"rootDir\": {root}, \"downloadConcurrency\": {CONNECTIONS}}}");
        fs::write(self.directory("aptly.conf"), text).expect("own directory");
    }

    fn aptly(&self, arguments: &[&str]) -> Program {
        let configuration = format!("-config={}", self.directory("aptly.conf").display());
        self.program("aptly").arg(configuration).args(arguments)
    }

    fn debmirror(&self) -> Program {
        let host = self.url.trim_start_matches("http://");
        self.program("debmirror")
            .args([
                "--method=http",
                "--root=/",
                "--section=main",
                "--arch=amd64",
                "--nosource",
            ])
            .args(["--rsync-extra=none", "--diff=none"])
            .arg(format!("--host={host}"))
            .arg(format!("--dist={SUITE}"))
            .arg(format!("--keyring={}", self.keyring.display()))
            .arg(self.directory("debmirror"))
    }

    fn apt_mirror(&self) -> Program {
        let base = self.directory("apt-mirror");
        for directory in ["mirror", "skel", "var"] {
            fs::create_dir_all(base.join(directory)).expect("own directory");
        }
        let text = format!(
            "set base_path {}\nset nthreads {CONNECTIONS}\nset _tilde 0\nset run_postmirror 0\n\
             deb [arch=amd64] {} {SUITE} main\n",
            base.display(),
            self.url
        );
        let list = self.directory("mirror.list");
        fs::write(&list, text).expect("own directory");
        self.program("apt-mirror").arg(list)
    }

    /// Fetches every file of the archive that is not a by-hash copy of another.
    fn curl(&self) -> Program {
        let mut list = String::new();
        let files = ["pool", "dists"]
            .into_iter()
            .flat_map(|top| files_below(&self.archive, top));
        for path in files {
            let path = path.display();
            writeln!(
                list,
                "url = \"{}/{path}\"\noutput = \"{}/{path}\"",
                self.url,
                self.directory("curl").display()
            )
            .expect("a string takes all that is written");
        }
        let file = self.directory("curl.list");
        fs::write(&file, list).expect("own directory");
        self.program("curl")
            .args(["--parallel", "--parallel-max", &CONNECTIONS.to_string()])
            .args(["--fail", "--silent", "--show-error", "--create-dirs", "--config"])
            .arg(file)
    }
}

/// Paths of the files below `directory`, relative to `root`, without those of `by-hash`.
fn files_below(root: &Path, directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(directory)).expect("a directory of the archive");
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.expect("a readable directory");
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if !entry.path().is_dir() {
            found.push(path.into());
        } else if entry.file_name() != "by-hash" {
            found.extend(files_below(root, &path));
        }
    }
    found
}

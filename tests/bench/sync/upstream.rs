//! What is mirrored, and who serves it.
//!
//! Owns the archive in its successive states and the server. Nothing of it is measured.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mirrorctl_testkit::{ArchiveBuilder, Deb, Dice, Nginx, Program, Scratch, SuiteSpec, Upstream, now};

use super::{MAKE, SUITE};

/// Bytes of data in each package, which do not compress.
pub(super) const DATA: usize = 2_048;

/// How large an archive is, and how often it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    /// Packages in the archive.
    pub(super) packages: usize,
    /// Rounds; each begins with empty directories, and sees one change.
    pub(super) rounds: usize,
}

impl Scale {
    /// Packages that change between a round's second and third sync: 1 %.
    pub(super) fn changed(self) -> usize {
        self.packages / 100
    }
}

/// The archive in every state that the rounds need, one of which is served.
pub(super) struct UpstreamStates {
    directory: PathBuf,
}

impl UpstreamStates {
    /// Lets another process write them: the memory this one has ever had counts for every program that it measures.
    pub(super) fn make(scratch: &Scratch, scale: Scale) -> Self {
        let directory = scratch.directory(&format!("upstream-{}", scale.packages));
        let program = std::env::current_exe().expect("a running program");
        Program::at(&program)
            .arg(MAKE)
            .arg(&directory)
            .args([scale.packages, scale.rounds].map(|number| number.to_string()))
            .limit(Duration::from_mins(20))
            .run()
            .success();
        let states = Self { directory };
        states.show(0);
        states
    }

    pub(super) fn served(&self) -> PathBuf {
        self.directory.join("served")
    }

    pub(super) fn keyring(&self) -> PathBuf {
        self.directory.join(KEYRING)
    }

    /// Serves another state from the next request on.
    pub(super) fn show(&self, state: usize) {
        let next = self.directory.join("next");
        symlink(state.to_string(), &next).expect("own directory");
        fs::rename(next, self.served()).expect("own directory");
    }
}

const KEYRING: &str = "key.gpg";

/// Writes the archive's states to directories named by their numbers: each has new versions of 1 % of the packages of
/// the state before.
pub(super) fn make_archive(directory: &Path, scale: Scale) {
    let begun = now().plus(-60);
    let root = directory.join("archive");
    let suite = SuiteSpec::new(SUITE).architectures(&["amd64", "all"]);
    let suite = (0..scale.packages).fold(suite, |suite, number| suite.package("main", package(number, 0)));
    let mut archive = ArchiveBuilder::new()
        .suite(suite)
        .create(&root, begun)
        .expect("an archive");
    let key = archive.key().public_binary().expect("a key");
    fs::write(directory.join(KEYRING), key).expect("own directory");
    for state in 0..=scale.rounds {
        if state > 0 {
            for number in (state..scale.packages).step_by(100) {
                archive.add(SUITE, "main", &package(number, state)).expect("a package");
            }
            // Seconds apart, in which file times and Release dates are counted.
            let time = begun.plus(i64::try_from(state).expect("a few states"));
            archive.publish(time).expect("a publication");
        }
        // Links will do: a publication replaces files and never writes into one.
        let copy = Program::new("cp", "coreutils").args(["--archive", "--link"]);
        copy.arg(&root).arg(directory.join(state.to_string())).run().success();
    }
}

/// A package that is the same in every run of the benchmark.
fn package(number: usize, version: usize) -> Deb {
    let letter = char::from(b'a' + u8::try_from(number % 26).expect("a letter"));
    let architecture = if number.is_multiple_of(3) { "all" } else { "amd64" };
    let name = format!("{letter}-package-{number}");
    let data = Dice((number * 16 + version) as u64).noise(DATA);
    Deb::new(&name, &(version + 1).to_string(), architecture).file(&format!("usr/share/{name}/data"), data)
}

/// What everybody downloads from, outside of what is measured.
pub(super) enum Server {
    Nginx(Nginx),
    Own(Upstream),
}

impl Server {
    pub(super) fn serve(root: &Path) -> Self {
        if Program::is_installed("nginx") {
            Self::Nginx(Nginx::serve(root))
        } else {
            Self::Own(Upstream::serve(root))
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Nginx(_) => "nginx",
            Self::Own(_) => "this process (nginx is not installed)",
        }
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Nginx(nginx) => nginx.url(),
            Self::Own(upstream) => upstream.url(),
        }
    }

    /// Requests answered so far.
    pub(super) fn requests(&self) -> usize {
        match self {
            Self::Nginx(nginx) => {
                // A request is logged when it is over, which its client knows first.
                thread::sleep(Duration::from_millis(50));
                nginx.access_log().lines().count()
            }
            Self::Own(upstream) => upstream.requests().len(),
        }
    }
}

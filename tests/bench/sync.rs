//! A sync beside its peers: the first one, one with nothing new, and one after 1 % of the packages changed.
//!
//! Owns the comparison of mirrorctl with aptly, debmirror and a bare parallel download, all from one loopback server,
//! in interleaved rounds. Nothing is asserted but that everybody fetched everything: figures are for people to judge.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use common::{is_wanted, machine, median, settle, table};
use mirrorctl_testkit::{
    ArchiveBuilder, Config, Deb, Mirror, Nginx, Program, Scratch, SuiteSpec, TestEnv, Upstream, Usage, now,
};

/// Packages in the archive.
const PACKAGES: usize = 5_000;
/// Bytes of data in each, which do not compress.
const DATA: usize = 2_048;
/// Packages that change between a round's second and third sync: 1 %.
const CHANGED: usize = PACKAGES / 100;
/// Rounds; each begins with empty directories.
const ROUNDS: usize = 3;
/// Syncs with nothing new in each round, which take so little that one says nothing.
const REPEATS: usize = 3;
/// Files fetched at the same time by those who can.
const CONNECTIONS: usize = 10;

const SUITE: &str = "stable";

/// The argument that makes this program write the archive's states instead, below the directory that follows.
const MAKE: &str = "--make-archive";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == MAKE) {
        make_archive(Path::new(&arguments[at + 1]));
    } else if is_wanted() {
        compare();
    }
}

fn compare() {
    let scratch = Scratch::new();
    println!("{}", machine(&scratch));
    let upstream = UpstreamStates::make(&scratch);
    let server = Server::serve(&upstream.served());
    println!(
        "{PACKAGES} packages of {DATA} bytes of data, one suite, amd64 and all, indices as gz and xz; served by {}",
        server.name()
    );
    println!(
        "medians of {ROUNDS} interleaved rounds, {CONNECTIONS} connections; memory is that of the largest process, and \
         cannot be measured below {}",
        megabytes(Program::new("true", "coreutils").measure().peak)
    );

    let mut peers: Vec<Peer> = Peer::ALL.into_iter().filter(|peer| peer.is_there()).collect();
    let (mut first, mut unchanged, mut changed) = (Runs::default(), Runs::default(), Runs::default());
    // Nothing is removed before the end: creating files costs more for a while after many were deleted, on some file
    // systems, and whoever comes next would pay.
    let mut done = Vec::new();
    for round in 0..ROUNDS {
        // Whoever comes first in one round comes last in the next.
        peers.rotate_left(1);
        let place = |peer: &Peer| (*peer, Installation::new(&server, &upstream));
        let places: Vec<(Peer, Installation)> = peers.iter().map(place).collect();
        for (peer, place) in &places {
            first.add(*peer, Run::of(&server, || peer.first_sync(place)), PACKAGES);
        }
        for _ in 0..REPEATS {
            for (peer, place) in syncing(&places) {
                unchanged.add(*peer, Run::of(&server, || peer.next_sync(place)), 1);
            }
        }
        upstream.show(round + 1);
        for (peer, place) in syncing(&places) {
            changed.add(*peer, Run::of(&server, || peer.next_sync(place)), CHANGED);
        }
        done.push(places);
    }
    print!("{}", first.table("first sync, into an empty directory"));
    print!("{}", unchanged.table("sync with nothing new"));
    print!("{}", changed.table(&format!("sync after {CHANGED} packages changed")));
}

/// The archive in every state that the rounds need, one of which is served.
struct UpstreamStates {
    directory: PathBuf,
}

impl UpstreamStates {
    /// Lets another process write them: the memory this one has ever had counts for every program that it measures.
    fn make(scratch: &Scratch) -> Self {
        let directory = scratch.directory("upstream");
        let program = std::env::current_exe().expect("a running program");
        Program::at(&program).arg(MAKE).arg(&directory).run().success();
        let states = Self { directory };
        states.show(0);
        states
    }

    fn served(&self) -> PathBuf {
        self.directory.join("served")
    }

    fn keyring(&self) -> PathBuf {
        self.directory.join(KEYRING)
    }

    /// Serves another state from the next request on.
    fn show(&self, state: usize) {
        let next = self.directory.join("next");
        symlink(state.to_string(), &next).expect("own directory");
        fs::rename(next, self.served()).expect("own directory");
    }
}

const KEYRING: &str = "key.gpg";

/// Writes the archive's states to directories named by their numbers: each has new versions of `CHANGED` packages of
/// the state before.
fn make_archive(directory: &Path) {
    let begun = now().plus(-60);
    let root = directory.join("archive");
    let suite = SuiteSpec::new(SUITE).architectures(&["amd64", "all"]);
    let suite = (0..PACKAGES).fold(suite, |suite, number| suite.package("main", package(number, 0)));
    let mut archive = ArchiveBuilder::new()
        .suite(suite)
        .create(&root, begun)
        .expect("an archive");
    let key = archive.key().public_binary().expect("a key");
    fs::write(directory.join(KEYRING), key).expect("own directory");
    for state in 0..=ROUNDS {
        if state > 0 {
            for number in (state..PACKAGES).step_by(PACKAGES / CHANGED) {
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
    let mut seed = (number * (ROUNDS + 1) + version) as u64;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        // A linear congruential generator: its high bits do not compress.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        seed.to_be_bytes()[0]
    })
    .take(DATA)
    .collect();
    Deb::new(&name, &(version + 1).to_string(), architecture).file(&format!("usr/share/{name}/data"), data)
}

/// Where Debian installs programs.
const PLACES: [&str; 5] = ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether a program is installed.
fn is_installed(program: &str) -> bool {
    PLACES.iter().any(|place| Path::new(place).join(program).exists())
}

/// What everybody downloads from, outside of what is measured.
enum Server {
    Nginx(Nginx),
    Own(Upstream),
}

impl Server {
    fn serve(root: &Path) -> Self {
        if is_installed("nginx") {
            Self::Nginx(Nginx::serve(root))
        } else {
            Self::Own(Upstream::serve(root))
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Nginx(_) => "nginx",
            Self::Own(_) => "this process (nginx is not installed)",
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Nginx(nginx) => nginx.url(),
            Self::Own(upstream) => upstream.url(),
        }
    }

    /// Requests answered so far.
    fn requests(&self) -> usize {
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

/// Who mirrors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Mirrorctl,
    Aptly,
    Debmirror,
    Curl,
}

/// A peer's own place, empty at first.
struct Installation {
    env: TestEnv,
    url: String,
    keyring: PathBuf,
    archive: PathBuf,
}

impl Installation {
    fn new(server: &Server, upstream: &UpstreamStates) -> Self {
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
fn syncing(installations: &[(Peer, Installation)]) -> impl Iterator<Item = &(Peer, Installation)> {
    installations.iter().filter(|(peer, _)| *peer != Peer::Curl)
}

impl Peer {
    const ALL: [Self; 4] = [Self::Mirrorctl, Self::Aptly, Self::Debmirror, Self::Curl];

    fn name(self) -> &'static str {
        match self {
            Self::Mirrorctl => "mirrorctl sync",
            Self::Aptly => "aptly mirror update",
            Self::Debmirror => "debmirror",
            Self::Curl => "curl --parallel (no mirror: the limit)",
        }
    }

    fn is_there(self) -> bool {
        let program = match self {
            Self::Mirrorctl => return true,
            Self::Aptly => "aptly",
            Self::Debmirror => "debmirror",
            Self::Curl => "curl",
        };
        let there = is_installed(program);
        if !there {
            println!("MISSING: {program}; Debian's package {program} has it");
        }
        there
    }

    /// From nothing to a complete mirror.
    fn first_sync(self, place: &Installation) -> Usage {
        match self {
            Self::Mirrorctl | Self::Debmirror => self.next_sync(place),
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
    fn next_sync(self, place: &Installation) -> Usage {
        match self {
            Self::Mirrorctl => place.env.command(&["sync", "peer"]).measure(),
            Self::Aptly => {
                let keyring = format!("-keyring={}", place.keyring.display());
                place.aptly(&["mirror", "update"]).args([&keyring, "peer"]).measure()
            }
            Self::Debmirror => place.debmirror().measure(),
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

/// One program after another, as one.
fn and_then(one: Usage, other: Usage) -> Usage {
    Usage {
        wall: one.wall + other.wall,
        cpu: one.cpu + other.cpu,
        peak: one.peak.max(other.peak),
    }
}

/// One sync.
#[derive(Debug, Clone, Copy)]
struct Run {
    usage: Usage,
    requests: usize,
}

impl Run {
    fn of(server: &Server, sync: impl FnOnce() -> Usage) -> Self {
        settle();
        let before = server.requests();
        let usage = sync();
        Self {
            usage,
            requests: server.requests() - before,
        }
    }
}

/// The runs of everybody.
#[derive(Debug, Default)]
struct Runs(Vec<(Peer, Run)>);

impl Runs {
    /// Adds a run that cannot have been what it claims with fewer than `least` requests.
    fn add(&mut self, peer: Peer, run: Run, least: usize) {
        assert!(run.requests >= least, "{}: only {} requests", peer.name(), run.requests);
        self.0.push((peer, run));
    }

    /// Medians of one peer: time, CPU time, memory, requests. `None` for one that did not run.
    fn medians(&self, peer: Peer) -> Option<(Duration, Duration, u64, usize)> {
        let runs: Vec<&Run> = self
            .0
            .iter()
            .filter(|(who, _)| *who == peer)
            .map(|(_, run)| run)
            .collect();
        (!runs.is_empty()).then(|| {
            let of =
                |time: fn(&Usage) -> Duration| median(&runs.iter().map(|run| time(&run.usage)).collect::<Vec<_>>());
            (
                of(|usage| usage.wall),
                of(|usage| usage.cpu),
                median(&runs.iter().map(|run| run.usage.peak).collect::<Vec<_>>()),
                median(&runs.iter().map(|run| run.requests).collect::<Vec<_>>()),
            )
        })
    }

    fn table(&self, title: &str) -> String {
        let head = ["", "wall", "ratio", "CPU", "ratio", "memory", "requests"];
        let (our_wall, our_cpu, ..) = self.medians(Peer::Mirrorctl).expect("mirrorctl always runs");
        let row = |peer: Peer| {
            let (wall, cpu, peak, requests) = self.medians(peer)?;
            Some(vec![
                peer.name().to_owned(),
                seconds(wall),
                ratio(wall, our_wall),
                seconds(cpu),
                ratio(cpu, our_cpu),
                megabytes(peak),
                requests.to_string(),
            ])
        };
        let rows: Vec<Vec<String>> = Peer::ALL.into_iter().filter_map(row).collect();
        table(title, &head, &rows)
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn ratio(time: Duration, ours: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() / ours.as_secs_f64())
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

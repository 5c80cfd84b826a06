//! Archives that change, served in two ways: by mirrorctl, and from plain directories behind a symlink.
//!
//! Owns [`World`], so that every race can be run against what mirrorctl does and against what it replaces. It
//! judges nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use mirrorctl::model::Timestamp;
use mirrorctl_testkit::{
    AptRoot, Archive, ArchiveBuilder, Config, Deb, Fault, Gate, Mirror, MountGuard, Nginx, Program, Running, Scratch,
    SuiteSpec, TestEnv, Upstream, now,
};

/// The suite of every archive here.
pub(super) const SUITE: &str = "stable";

/// Where the index of every archive here lies.
pub(super) const INDEX: &str = "dists/stable/main/binary-amd64/Packages";

/// The mirror, where there is one only.
pub(super) const ONE: &str = "site";

/// Another mirror, for those who move two in turns.
pub(super) const TWO: &str = "second";

/// How long before now the first state of an archive was made, in seconds. apt takes none from the future.
const AGE: i64 = 1_000_000;

/// The directives that make nginx keep descriptors and what it knows of files, for longer than any test takes.
pub(super) const OPEN_FILE_CACHE: &str = "open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h; \
                                          open_file_cache_min_uses 1; open_file_cache_errors off;";

/// The packages of an archive that change: in that of [`ONE`] they are `changing` and `partner`.
pub(super) fn pair_of(mirror: &str) -> [String; 2] {
    ["changing", "partner"].map(|name| match mirror {
        ONE => name.to_owned(),
        other => format!("{name}-{other}"),
    })
}

/// An upstream archive, whose [pair](pair_of) of packages has the number of the state as its version. Each
/// needs the other in the same version; files of the state before are gone.
pub(super) struct Stock {
    pub(super) archive: Archive,
    pair: [String; 2],
    key: PathBuf,
    number: i64,
    made: Timestamp,
    /// Between two states, in seconds.
    pub(super) pace: i64,
    _scratch: Scratch,
}

impl Stock {
    /// An archive for `mirror` that is offered as `spec` says, not yet at its first state.
    fn new(mirror: &str, spec: SuiteSpec) -> Self {
        let scratch = Scratch::new();
        let made = now().plus(-AGE);
        let archive = ArchiveBuilder::new()
            .suite(spec.package("main", Deb::new("steady", "1", "amd64")))
            .create(&scratch.path().join("archive"), made)
            .expect("an archive");
        let key = scratch.file("key.gpg", archive.key().public_binary().expect("a key"));
        Self {
            archive,
            pair: pair_of(mirror),
            key,
            number: 0,
            made,
            pace: 60,
            _scratch: scratch,
        }
    }

    /// The state that was published last.
    pub(super) const fn number(&self) -> i64 {
        self.number
    }

    /// The size of its `InRelease`.
    pub(super) fn size(&self) -> u64 {
        let path = self.archive.root().join(format!("dists/{SUITE}/InRelease"));
        fs::metadata(path).expect("a published archive").len()
    }

    /// Publishes one state after the other until `done` says so.
    pub(super) fn publish_until(&mut self, done: impl Fn(&Self) -> bool) {
        let first = self.number;
        loop {
            self.next(&[]);
            assert!(self.number < first + 60, "no such state");
            if done(self) {
                return;
            }
        }
    }

    fn next(&mut self, further: &[Deb]) {
        self.number += 1;
        let version = self.number.to_string();
        let [one, other] = &self.pair;
        let changing = Deb::new(one, &version, "amd64").file(&format!("usr/share/{one}/version"), version.as_bytes());
        let pair = [
            changing.depends(&format!("{other} (= {version})")),
            Deb::new(other, &version, "amd64").depends(&format!("{one} (= {version})")),
        ];
        for deb in pair.iter().chain(further) {
            self.archive.add(SUITE, "main", deb).expect("a package");
        }
        self.made = self.made.plus(self.pace);
        self.archive.publish(self.made).expect("publishes");
    }
}

/// The path of the package `changing` in a state.
pub(super) fn package(number: i64) -> String {
    format!("pool/main/c/changing/changing_{number}_amd64.deb")
}

/// Where archives are served, and how production moves.
pub(super) trait World {
    fn stock(&mut self, mirror: &str) -> &mut Stock;

    /// Makes what upstream has now ready to be moved to.
    fn prepare(&mut self, mirror: &str);

    /// Moves production of all of these to what was prepared last.
    fn switch(&mut self, mirrors: &[&str]);

    /// Moves production to a state that was prepared at some time.
    fn switch_to(&mut self, mirror: &str, number: i64);

    /// Moves production of this one back to where it was before the last switch.
    fn back(&mut self, mirror: &str);

    fn nginx(&self) -> &Nginx;

    fn gate(&self) -> &Gate;

    /// The directory that nginx serves.
    fn root(&self) -> PathBuf;

    /// Another state of an archive, and ready to be moved to, with further packages.
    fn next_with(&mut self, mirror: &str, further: &[Deb]) {
        self.stock(mirror).next(further);
        self.prepare(mirror);
    }

    fn next(&mut self, mirror: &str) {
        self.next_with(mirror, &[]);
    }

    /// Another state, to which production moves at once.
    fn advance(&mut self, mirror: &str) {
        self.next(mirror);
        self.switch(&[mirror]);
    }

    /// A new machine that reads production of these mirrors through the gate.
    fn client_of(&mut self, mirrors: &[&str]) -> AptRoot {
        let url = self.gate().url();
        self.client_at(&url, mirrors)
    }

    /// A new machine that reads production of these mirrors from the server at `url`.
    fn client_at(&mut self, url: &str, mirrors: &[&str]) -> AptRoot {
        let apt = AptRoot::new();
        let line = |mirror: &&str| {
            let url = format!("{url}/{mirror}/current");
            AptRoot::source_line(&url, SUITE, &["main"], &self.stock(mirror).key)
        };
        apt.sources(&mirrors.iter().map(line).collect::<Vec<String>>());
        apt
    }

    fn client(&mut self) -> AptRoot {
        self.client_of(&[ONE])
    }

    /// As [`World::client_of`], past the gate.
    fn direct_client(&mut self, mirrors: &[&str]) -> AptRoot {
        let url = self.nginx().url();
        self.client_at(&url, mirrors)
    }

    /// The URL of a path in production, past the gate.
    fn url(&self, path: &str) -> String {
        format!("{}/{ONE}/current/{path}", self.nginx().url())
    }
}

/// mirrorctl, its mount, and nginx.
pub(super) struct Ours {
    gate: Gate,
    nginx: Nginx,
    _mount: MountGuard,
    pub(super) env: TestEnv,
    stocks: BTreeMap<String, (Stock, Upstream)>,
    /// The snapshots of the states.
    names: BTreeMap<(String, i64), String>,
}

impl Ours {
    /// As mirrorctl is by default, over an archive as Debian's.
    pub(super) fn by_default() -> Self {
        Self::of(&[(ONE, SuiteSpec::new(SUITE))], Config::new(), "")
    }

    /// Told to keep nothing of earlier publications reachable.
    pub(super) fn without_grace() -> Self {
        Self::of(&[(ONE, SuiteSpec::new(SUITE))], no_grace(), "")
    }

    /// These mirrors, with further configuration, and further directives for nginx.
    pub(super) fn of(mirrors: &[(&str, SuiteSpec)], config: Config, directives: &str) -> Self {
        Self::set_up(mirrors, config, directives, true)
    }

    /// These mirrors as they are by default, of which nothing is staged until it is moved to.
    pub(super) fn unstaged(mirrors: &[(&str, SuiteSpec)]) -> Self {
        Self::set_up(mirrors, Config::new(), "", false)
    }

    fn set_up(mirrors: &[(&str, SuiteSpec)], config: Config, directives: &str, staged: bool) -> Self {
        let env = TestEnv::new(env!("CARGO_BIN_EXE_mirrorctl"));
        let mut stocks = BTreeMap::new();
        let mut config = config;
        for (mirror, spec) in mirrors {
            let stock = Stock::new(mirror, spec.clone());
            let upstream = Upstream::serve(stock.archive.root());
            // States may differ in nothing but their bytes.
            upstream.fault("*Release*", Fault::Unconditional);
            let settings = Mirror::new(mirror, &upstream.url()).suites(&[SUITE]).key(&stock.key);
            config = config.mirror(settings.publish_to_staging(staged));
            stocks.insert((*mirror).to_owned(), (stock, upstream));
        }
        env.configure(config);
        let mount = MountGuard::mount(&env);
        let nginx = Nginx::serve_alone(&env.mount_dir(), directives);
        Self {
            gate: Gate::before(&nginx.url()),
            nginx,
            _mount: mount,
            env,
            stocks,
            names: BTreeMap::new(),
        }
    }

    /// The snapshot that a pointer leads to.
    pub(super) fn snapshot(&self, pointer: &str) -> String {
        let getfattr = Program::new("getfattr", "attr").args(["--only-values", "--name", "user.mirrorctl.snapshot"]);
        getfattr.arg(self.env.served(pointer)).run().success().stdout
    }
}

/// Configuration that keeps nothing of earlier publications reachable.
pub(super) fn no_grace() -> Config {
    Config::new()
        .set_in("publish", "keep_generations", "0")
        .set_in("publish", "keep_for", "\"0s\"")
}

impl World for Ours {
    fn stock(&mut self, mirror: &str) -> &mut Stock {
        let found = self.stocks.get_mut(mirror);
        &mut found.unwrap_or_else(|| panic!("no mirror {mirror}")).0
    }

    fn prepare(&mut self, mirror: &str) {
        let synced = self.env.mirrorctl(&["--json", "sync", mirror]).success().json();
        let name = synced["mirrors"][0]["snapshot"]["name"]
            .as_str()
            .expect("a new snapshot");
        let number = self.stock(mirror).number();
        self.names.insert((mirror.to_owned(), number), name.to_owned());
    }

    fn switch(&mut self, mirrors: &[&str]) {
        let promote = [&["snapshot", "promote"], mirrors].concat();
        self.env.mirrorctl(&promote).success();
    }

    fn switch_to(&mut self, mirror: &str, number: i64) {
        let name = &self.names[&(mirror.to_owned(), number)];
        self.env.mirrorctl(&["snapshot", "stage", mirror, name]).success();
        self.switch(&[mirror]);
    }

    fn back(&mut self, mirror: &str) {
        self.env.mirrorctl(&["snapshot", "rollback", mirror]).success();
    }

    fn nginx(&self) -> &Nginx {
        &self.nginx
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn root(&self) -> PathBuf {
        self.env.mount_dir()
    }
}

/// A directory for each state of an archive, and a symlink that is removed and made anew.
pub(super) struct Plain {
    gate: Gate,
    nginx: Nginx,
    root: Scratch,
    stocks: BTreeMap<String, Stock>,
    /// The states to which production moved, oldest first.
    moves: BTreeMap<String, Vec<i64>>,
}

impl Plain {
    /// One archive as Debian's.
    pub(super) fn new() -> Self {
        Self::of(&[(ONE, SuiteSpec::new(SUITE))])
    }

    /// These archives.
    pub(super) fn of(mirrors: &[(&str, SuiteSpec)]) -> Self {
        let root = Scratch::new();
        let nginx = Nginx::serve_alone(root.path(), "");
        let stocks = mirrors.iter().map(|(mirror, spec)| {
            root.directory(mirror);
            ((*mirror).to_owned(), Stock::new(mirror, spec.clone()))
        });
        Self {
            stocks: stocks.collect(),
            gate: Gate::before(&nginx.url()),
            nginx,
            root,
            moves: BTreeMap::new(),
        }
    }

    /// The directory of a state.
    pub(super) fn state(&self, mirror: &str, number: i64) -> PathBuf {
        self.root.path().join(mirror).join(number.to_string())
    }

    fn lead_to(&self, mirror: &str, number: i64) {
        let place = self.root.path().join(mirror);
        let (current, next) = (place.join("current"), place.join("next"));
        if current.is_symlink() {
            fs::remove_file(&current).expect("own symlink");
        }
        symlink(number.to_string(), &next).expect("own directory");
        fs::rename(next, current).expect("own symlink");
    }
}

impl World for Plain {
    fn stock(&mut self, mirror: &str) -> &mut Stock {
        let found = self.stocks.get_mut(mirror);
        found.unwrap_or_else(|| panic!("no mirror {mirror}"))
    }

    fn prepare(&mut self, mirror: &str) {
        let stock = &self.stocks[mirror];
        let state = self.state(mirror, stock.number());
        let copy = Program::new("cp", "coreutils").args(["--archive", "--no-target-directory"]);
        copy.arg(stock.archive.root()).arg(state).run().success();
    }

    fn switch(&mut self, mirrors: &[&str]) {
        for mirror in mirrors {
            self.switch_to(mirror, self.stocks[*mirror].number());
        }
    }

    fn switch_to(&mut self, mirror: &str, number: i64) {
        self.lead_to(mirror, number);
        self.moves.entry(mirror.to_owned()).or_default().push(number);
    }

    fn back(&mut self, mirror: &str) {
        let moves = self.moves.get_mut(mirror).expect("a move");
        moves.pop();
        let number = *moves.last().expect("a move before");
        self.lead_to(mirror, number);
    }

    fn nginx(&self) -> &Nginx {
        &self.nginx
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn root(&self) -> PathBuf {
        self.root.path().to_owned()
    }
}

/// `apt-get update`, begun.
pub(super) fn begin_update(apt: &AptRoot) -> Running {
    apt.apt_get(&["update", "--error-on=any"]).spawn()
}

/// The version of `changing` that a client would install, according to its lists.
pub(super) fn candidate(apt: &AptRoot) -> i64 {
    let version = apt.policy("changing").candidate.expect("lists with the package");
    version.parse().expect("a number")
}

/// Everything that apt has stored of its sources.
pub(super) fn lists(apt: &AptRoot) -> BTreeMap<PathBuf, Vec<u8>> {
    let directory = fs::read_dir(apt.path().join("var/lib/apt/lists")).expect("apt's own");
    let paths = directory.map(|entry| entry.expect("readable").path());
    paths
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "lock"))
        .map(|path| (path.clone(), fs::read(&path).expect("readable")))
        .collect()
}

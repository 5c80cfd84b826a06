//! Which packages could be installed from production, and cannot from a snapshot.
//!
//! Owns the check `installability`: the comparison of two archives, each with its companions. How the question is answered
//! for one archive is `apt::installability`'s. What was broken before is no reason to keep an archive from production.
//!
//! Clients differ in what they take: packages of further architectures or not, and those of suites that APT takes nothing from
//! unless it is told to (backports) or not. So a package is judged on each kind of client that it could be installed on.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::halt::{Halt, Stop};
use super::indices::Binaries;
use super::report::{Check, Problems};
use crate::apt::installability::{BinaryPackage, System, Uninstallable, uninstallable};
use crate::apt::version;

/// The architecture of packages that fit every architecture.
const ALL: &str = "all";

/// An archive as clients see it.
#[derive(Debug, Default)]
pub(super) struct Archive {
    /// All packages; first those that clients take without being told to.
    packages: Vec<BinaryPackage>,
    /// How many these are.
    automatic: usize,
    /// Where the mirror's own packages are, and not those of its companions.
    own: [Range<usize>; 2],
}

/// What a client takes besides the packages for its architecture, from suites that it takes packages from anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Client {
    /// Packages of suites that say `NotAutomatic`.
    on_request: bool,
    /// Packages for the other architectures.
    foreign: bool,
}

/// Every kind of client; last the one that takes everything.
const CLIENTS: [Client; 4] = [
    Client::new(false, false),
    Client::new(false, true),
    Client::new(true, false),
    Client::new(true, true),
];

impl Client {
    const fn new(on_request: bool, foreign: bool) -> Self {
        Self { on_request, foreign }
    }
}

/// Packages of an archive that cannot be installed by clients that take nothing besides, for each architecture where there
/// are any, by their places.
pub(super) type Doubtful = Vec<(Box<str>, Vec<usize>)>;

impl Archive {
    /// An archive of a mirror's packages and of those of its companions.
    pub(super) fn of(own: Binaries, companions: Binaries) -> Self {
        let (mut packages, mut automatic, mut ranges) = (Vec::new(), 0, [0..0, 0..0]);
        let parts = [
            (own.automatic, companions.automatic),
            (own.on_request, companions.on_request),
        ];
        for (number, (own, companions)) in parts.into_iter().enumerate() {
            ranges[number] = packages.len()..packages.len() + own.len();
            packages.extend(own);
            packages.extend(companions);
            if number == 0 {
                automatic = packages.len();
            }
        }
        Self {
            packages,
            automatic,
            own: ranges,
        }
    }

    fn is_own(&self, at: usize) -> bool {
        self.own.iter().any(|own| own.contains(&at))
    }

    /// The places of the mirror's own packages that `client` takes.
    fn own(&self, client: Client) -> impl Iterator<Item = usize> {
        let visible = self.visible(client).len();
        self.own.clone().into_iter().flatten().filter(move |at| *at < visible)
    }

    /// The packages that `client` takes, as far as their architectures fit.
    fn visible(&self, client: Client) -> &[BinaryPackage] {
        if client.on_request {
            &self.packages
        } else {
            &self.packages[..self.automatic]
        }
    }

    fn has_on_request(&self) -> bool {
        self.automatic < self.packages.len()
    }

    /// The architectures that packages are for, but `all`.
    fn architectures(&self) -> impl Iterator<Item = &str> {
        let all = self.packages.iter().map(|package| &*package.architecture);
        all.filter(|architecture| *architecture != ALL)
    }

    /// The architectures of clients: those that the mirror has packages for; where it has none but for all, those that its
    /// companions have.
    fn natives(&self) -> BTreeSet<&str> {
        let own = self.own.iter().flat_map(|own| &self.packages[own.clone()]);
        let own = own.map(|package| &*package.architecture);
        let mut natives: BTreeSet<&str> = own.filter(|architecture| *architecture != ALL).collect();
        if natives.is_empty() {
            natives = self.architectures().collect();
        }
        if natives.is_empty() {
            natives.insert(ALL);
        }
        natives
    }

    /// Its own packages that cannot be installed by clients that take no more than they must to see them.
    ///
    /// # Errors
    /// When the test is to stop.
    pub(super) fn doubtful(&self, stop: Stop<'_>) -> Result<Doubtful, Halt> {
        let mut doubtful = Vec::new();
        for native in self.natives() {
            let mut places = Vec::new();
            for (own, on_request) in self.own.iter().zip([false, true]).filter(|(own, _)| !own.is_empty()) {
                stop.look()?;
                let broken = self.broken((native, &[]), Client::new(on_request, false), |at| own.contains(&at));
                places.extend(broken.into_iter().map(|broken| broken.at));
            }
            if !places.is_empty() {
                doubtful.push((native.into(), places));
            }
        }
        Ok(doubtful)
    }

    /// The wanted packages for `native`, or for all, that `client` sees and cannot install.
    fn broken(
        &self,
        (native, foreign): (&str, &[&str]),
        client: Client,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<Uninstallable> {
        let visible = self.visible(client);
        let system = System {
            native,
            foreign: if client.foreign { foreign } else { &[] },
        };
        let of_system = |at: usize| matches!(&*visible[at].architecture, own if own == native || own == ALL);
        uninstallable(visible, system, |at| of_system(at) && wanted(at))
    }
}

/// What became worse.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    worse: Problems,
    /// Packages of the snapshot that no client can install, and are no worse than before.
    as_before: u64,
}

impl Comparison {
    /// Compares what cannot be installed from `now` with what could be from `before`.
    ///
    /// # Errors
    /// When the test is to stop.
    pub(super) fn of(now: &Archive, doubtful: &Doubtful, before: &Archive, stop: Stop<'_>) -> Result<Self, Halt> {
        let mut comparison = Self::default();
        for (native, places) in doubtful {
            comparison.compare_on(native, (now, places), before, stop)?;
        }
        Ok(comparison)
    }

    /// The check that all comparisons together are.
    pub(super) fn check(all: impl IntoIterator<Item = Self>) -> Check {
        let (mut worse, mut as_before) = (Problems::default(), 0);
        for comparison in all {
            worse.append(comparison.worse);
            as_before += comparison.as_before;
        }
        let text = match worse.count() {
            0 => "whatever could be installed from production still can be".to_owned(),
            n => format!("{n} packages that could be installed from production cannot be any more"),
        };
        let before = match as_before {
            0 => String::new(),
            n => format!("; {n} others cannot either, as before or because they are new"),
        };
        Check::of("installability", format!("{text}{before}"), worse)
    }
}

/// A package as clients know it.
type Name<'a> = (&'a str, &'a str);

fn name(package: &BinaryPackage) -> Name<'_> {
    (&package.name, &package.architecture)
}

/// The newest version of each of an archive's own packages that `client` sees.
fn newest(archive: &Archive, client: Client) -> HashMap<Name<'_>, &str> {
    let mut newest: HashMap<Name<'_>, &str> = HashMap::new();
    for package in archive.own(client).map(|at| &archive.packages[at]) {
        let known = newest.entry(name(package)).or_insert(&package.version);
        if version::compare(&package.version, known) == Ordering::Greater {
            *known = &package.version;
        }
    }
    newest
}

impl Comparison {
    fn compare_on(
        &mut self,
        native: &str,
        (now, doubtful): (&Archive, &[usize]),
        before: &Archive,
        stop: Stop<'_>,
    ) -> Result<(), Halt> {
        let foreign: BTreeSet<&str> = now.architectures().chain(before.architectures()).collect();
        let foreign: Vec<&str> = foreign.into_iter().filter(|other| *other != native).collect();
        let differs = |client: &Client| {
            let on_request = now.has_on_request() || before.has_on_request();
            (!client.foreign || !foreign.is_empty()) && (!client.on_request || on_request)
        };
        // Of each package, the first kind of client that cannot install it any more is told: the one that takes least.
        let mut open: HashSet<usize> = doubtful.iter().copied().collect();
        let mut nowhere = 0;
        for client in CLIENTS.into_iter().filter(differs) {
            stop.look()?;
            let systems = (native, foreign.as_slice());
            let broken = now.broken(systems, client, |at| open.contains(&at));
            for worse in self.compare_for(client, systems, (now, &broken), before) {
                open.remove(&worse);
            }
            nowhere = broken.iter().filter(|broken| open.contains(&broken.at)).count();
        }
        self.as_before += nowhere as u64;
        Ok(())
    }

    /// Tells those of `broken` that such a client could install from `before`, and answers with their places.
    fn compare_for(
        &mut self,
        client: Client,
        (native, foreign): (&str, &[&str]),
        (now, broken): (&Archive, &[Uninstallable]),
        before: &Archive,
    ) -> Vec<usize> {
        if broken.is_empty() {
            return Vec::new();
        }
        let (newest_now, newest_before) = (newest(now, client), newest(before, client));
        let names: HashSet<Name<'_>> = broken.iter().map(|broken| name(&now.packages[broken.at])).collect();
        let asked = |at: usize| before.is_own(at) && names.contains(&name(&before.packages[at]));
        let broken_before = before.broken((native, foreign), client, asked);
        let broken_before: HashSet<usize> = broken_before.iter().map(|broken| broken.at).collect();
        let fine_before: HashSet<(Name<'_>, &str)> = before
            .own(client)
            .filter(|at| asked(*at) && !broken_before.contains(at))
            .map(|at| (name(&before.packages[at]), &*before.packages[at].version))
            .collect();
        let system = match (client.foreign, foreign) {
            (true, [_, ..]) => format!("{native} with {}", foreign.join(", ")),
            (true | false, _) => native.to_owned(),
        };
        let mut worse = Vec::new();
        for broken in broken {
            let package = &now.packages[broken.at];
            let (name, version) = (name(package), &*package.version);
            let was = newest_before.get(&name).copied().unwrap_or_default();
            // A client has this very version, or would come to it from the newest one of production.
            let is_next = newest_now.get(&name) == Some(&version) && fine_before.contains(&(name, was));
            let had_it = fine_before.contains(&(name, version));
            if had_it || is_next {
                let from = if had_it {
                    String::new()
                } else {
                    format!("; production has {was}")
                };
                self.worse
                    .add(format!("{} {version} on {system}: {}{from}", package.name, broken.why));
                worse.push(broken.at);
            }
        }
        worse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::installability::BinaryReader;
    use crate::gate::Outcome;

    /// Packages, each as name, version, architecture with `+foreign` or `+same` where it says so, and dependencies.
    fn packages(index: &str) -> Vec<BinaryPackage> {
        let mut packages = Vec::new();
        let mut reader = BinaryReader::new(|package| packages.push(package));
        for line in index.lines().filter(|line| !line.trim().is_empty()) {
            let [name, version, architecture, fields @ ..] = &line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let depends = if fields.is_empty() {
                String::new()
            } else {
                format!("Depends: {}\n", fields.join(" "))
            };
            let (architecture, multi_arch) = architecture.split_once('+').unwrap_or((architecture, "no"));
            let stanza = format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMulti-Arch: {multi_arch}\n{depends}\n"
            );
            reader.push(stanza.as_bytes()).expect("a stanza");
        }
        reader.finish().expect("an index");
        packages
    }

    fn binaries(automatic: &str, on_request: &str) -> Binaries {
        Binaries {
            automatic: packages(automatic),
            on_request: packages(on_request),
        }
    }

    fn archive(index: &str, companion: &str) -> Archive {
        Archive::of(binaries(index, ""), binaries(companion, ""))
    }

    fn judged(now: &Archive, before: &Archive) -> (Vec<String>, u64) {
        let go_on = Stop(&|| false);
        let doubtful = now.doubtful(go_on).expect("goes on");
        let comparison = Comparison::of(now, &doubtful, before, go_on).expect("goes on");
        let as_before = comparison.as_before;
        let check = Comparison::check([comparison]);
        assert_eq!(check.outcome == Outcome::Failed, !check.details.is_empty());
        (check.details, as_before)
    }

    #[test]
    fn only_what_was_fine_and_is_not_any_more_is_told() {
        let before = || {
            archive(
                "a 1 amd64 b\nb 1 amd64\nold 1 amd64 gone\nkeeps 1 amd64 b (= 1)\ntwo 1 amd64",
                "",
            )
        };
        let now = archive(
            "a 2 amd64 b (>= 3)\nb 2 amd64\nold 2 amd64 gone\nkeeps 1 amd64 b (= 1)\nnew 1 amd64 gone\n\
             two 1 amd64 gone\ntwo 2 amd64",
            "",
        );
        let (worse, as_before) = judged(&now, &before());
        assert_eq!(
            worse,
            [
                "a 2 on amd64: needs b (>= 3), which nothing satisfies; production has 1",
                "keeps 1 on amd64: needs b (= 1), which nothing satisfies",
                "two 1 on amd64: needs gone, which nothing satisfies",
            ]
        );
        assert_eq!(as_before, 2, "old was broken before, and new was not there");
        assert_eq!(judged(&before(), &before()), (Vec::new(), 1));
        assert_eq!(
            judged(&now, &Archive::default()).0,
            [""; 0],
            "nothing was there to become worse"
        );
    }

    #[test]
    fn companions_satisfy_and_are_not_judged_themselves() {
        let before = || archive("a 1 amd64 lib", "lib 1 amd64\nother 1 amd64");
        assert_eq!(
            judged(&archive("a 1 amd64 lib", "lib 2 amd64\nother 2 amd64 gone"), &before()).0,
            [""; 0]
        );
        let (worse, _) = judged(&archive("a 1 amd64 lib", ""), &before());
        assert_eq!(worse, ["a 1 on amd64: needs lib, which nothing satisfies"]);
    }

    #[test]
    fn each_architecture_is_a_system_of_its_own() {
        let before = || archive("a 1 all lib\nlib 1 amd64\nlib 1 arm64\nx 1 amd64 lib:arm64", "");
        let (worse, _) = judged(
            &archive("a 1 all lib\nlib 1 amd64\nx 1 amd64 lib:arm64\ny 1 arm64", ""),
            &before(),
        );
        assert_eq!(
            worse,
            [
                "x 1 on amd64 with arm64: needs lib:arm64, which nothing satisfies",
                "a 1 on arm64: needs lib, which nothing satisfies",
            ]
        );
        assert_eq!(judged(&before(), &before()), (Vec::new(), 0));
        // All packages of the other architecture go: with them goes what needs them.
        let (worse, _) = judged(&archive("lib 1 amd64\nx 1 amd64 lib:arm64", ""), &before());
        assert_eq!(
            worse,
            ["x 1 on amd64 with arm64: needs lib:arm64, which nothing satisfies"]
        );
    }

    #[test]
    fn a_foreign_package_mends_nothing_for_clients_that_take_none() {
        let both = "tool 1 amd64+foreign\ntool 1 i386+foreign\napp 1 amd64 tool";
        let (worse, as_before) = judged(
            &archive("tool 1 i386+foreign\napp 1 amd64 tool", ""),
            &archive(both, ""),
        );
        assert_eq!(worse, ["app 1 on amd64: needs tool, which nothing satisfies"]);
        assert_eq!(as_before, 0);
        // Where it was needed before, it goes on to satisfy those who take it, and its end is told.
        let only = || archive("tool 1 i386+foreign\napp 1 amd64 tool", "");
        assert_eq!(judged(&only(), &only()), (Vec::new(), 0));
        let (worse, _) = judged(&archive("tool 1 i386\napp 1 amd64 tool", ""), &only());
        assert_eq!(worse, ["app 1 on amd64 with i386: needs tool, which nothing satisfies"]);
        // A version that needs what the one before did not.
        let (worse, _) = judged(
            &archive("app 2 amd64 tool:i386\ntool 1 i386", ""),
            &archive("app 1 amd64", ""),
        );
        assert_eq!(
            worse,
            ["app 2 on amd64: needs tool:i386, which nothing satisfies; production has 1"]
        );
    }

    #[test]
    fn packages_for_all_architectures_alone_are_judged_where_companions_are() {
        let before = archive("app 1 all lib", "lib 1 amd64\nlib 1 arm64");
        let (worse, _) = judged(&archive("app 1 all lib", "lib 1 amd64\nother 1 arm64"), &before);
        assert_eq!(worse, ["app 1 on arm64: needs lib, which nothing satisfies"]);
        assert_eq!(judged(&archive("app 1 all", ""), &before), (Vec::new(), 0));
    }

    #[test]
    fn suites_of_a_mirror_satisfy_each_other_unless_apt_must_be_told_to() {
        let of = |own: (&str, &str), companion: (&str, &str)| {
            Archive::of(binaries(own.0, own.1), binaries(companion.0, companion.1))
        };
        let none = ("", "");
        // One index after the other, as those of `stable` and `stable-updates` are: one archive.
        let stable = "app 1 amd64 lib\nlib 1 amd64";
        let updates = of(("app 1 amd64 lib\nlib 2 amd64", ""), none);
        assert_eq!(judged(&updates, &of((stable, ""), none)), (Vec::new(), 0));
        // What only backports have now is nothing to clients without them, also where it is a companion that has it.
        let why = "app 1 on amd64: needs lib, which nothing satisfies";
        for (own, companion) in [
            (("app 1 amd64 lib", "lib 2 amd64"), none),
            (("app 1 amd64 lib", ""), ("", "lib 2 amd64")),
        ] {
            let (worse, _) = judged(&of(own, companion), &of((stable, ""), none));
            assert_eq!(worse, [why]);
            // Who needed backports before has them.
            assert_eq!(judged(&of(own, companion), &of(own, companion)), (Vec::new(), 0));
            let (worse, _) = judged(&of(("app 1 amd64 lib", ""), none), &of(own, companion));
            assert_eq!(worse, [why]);
        }
        // Backports themselves stand on everything.
        let before = of((stable, "new 1 amd64 lib"), none);
        assert_eq!(
            judged(&of((stable, "new 2 amd64 lib, more\nmore 1 amd64"), none), &before),
            (Vec::new(), 0)
        );
        let (worse, _) = judged(&of((stable, "new 2 amd64 lib (>= 2)"), none), &before);
        assert_eq!(
            worse,
            ["new 2 on amd64: needs lib (>= 2), which nothing satisfies; production has 1"]
        );
    }

    #[test]
    fn whoever_stops_waits_for_no_answer() {
        let broken = archive("a 1 amd64 gone", "");
        assert!(matches!(broken.doubtful(Stop(&|| true)), Err(Halt::Stopped)));
        let doubtful = broken.doubtful(Stop(&|| false)).expect("goes on");
        let stopped = Comparison::of(&broken, &doubtful, &broken, Stop(&|| true));
        assert!(matches!(stopped, Err(Halt::Stopped)));
    }
}

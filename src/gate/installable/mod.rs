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
use crate::apt::installability::{BinaryPackage, Essential, System, Uninstallable, Why, uninstallable};
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
                let system = System {
                    native,
                    foreign: &[],
                    essential: Essential::Required,
                };
                let broken = self.broken(system, Client::new(on_request, false), |at| own.contains(&at));
                places.extend(broken.into_iter().map(|broken| broken.at));
            }
            if !places.is_empty() {
                doubtful.push((native.into(), places));
            }
        }
        Ok(doubtful)
    }

    /// The wanted packages for the native architecture of `system`, or for all, that `client` sees and cannot install. It takes
    /// foreign packages only if it takes such packages at all.
    fn broken(&self, system: System<'_>, client: Client, wanted: impl Fn(usize) -> bool) -> Vec<Uninstallable> {
        let visible = self.visible(client);
        let system = System {
            foreign: if client.foreign { system.foreign } else { &[] },
            ..system
        };
        let of_system = |at: usize| matches!(&*visible[at].architecture, own if own == system.native || own == ALL);
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

/// Whether a package cannot be installed because no system can: the essential packages do not go together.
fn lacks_system(broken: &Uninstallable) -> bool {
    matches!(broken.why, Why::Essential(_))
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
            let system = System {
                native,
                foreign: &foreign,
                essential: Essential::Required,
            };
            let broken = now.broken(system, client, |at| open.contains(&at));
            let (worse, as_before) = self.compare_for(client, system, (now, broken), before);
            for worse in worse {
                open.remove(&worse);
            }
            nowhere = as_before;
        }
        self.as_before += nowhere as u64;
        Ok(())
    }

    /// Tells those of `broken` that such a client could install from `before`. Answers with their places, and with the number
    /// of the others.
    fn compare_for(
        &mut self,
        client: Client,
        system: System<'_>,
        (now, mut broken): (&Archive, Vec<Uninstallable>),
        before: &Archive,
    ) -> (Vec<usize>, usize) {
        if broken.is_empty() {
            return (Vec::new(), 0);
        }
        let (newest_now, newest_before) = (newest(now, client), newest(before, client));
        let names: HashSet<Name<'_>> = broken.iter().map(|broken| name(&now.packages[broken.at])).collect();
        let asked = |at: usize| before.is_own(at) && names.contains(&name(&before.packages[at]));
        let mut broken_before = before.broken(system, client, asked);
        if broken_before.iter().any(lacks_system) {
            // Production is part of a system, such as an archive of updates, and so is the snapshot.
            let part = System {
                essential: Essential::Ignored,
                ..system
            };
            broken_before = before.broken(part, client, asked);
            let still: HashSet<usize> = broken.iter().map(|broken| broken.at).collect();
            broken = now.broken(part, client, |at| still.contains(&at));
        }
        // What keeps the essential packages from systems comes before all that this breaks.
        broken.sort_by_key(lacks_system);
        let broken_before: HashSet<usize> = broken_before.iter().map(|broken| broken.at).collect();
        let fine_before: HashSet<(Name<'_>, &str)> = before
            .own(client)
            .filter(|at| asked(*at) && !broken_before.contains(at))
            .map(|at| (name(&before.packages[at]), &*before.packages[at].version))
            .collect();
        let System { native, foreign, .. } = system;
        let system = match (client.foreign, foreign) {
            (true, [_, ..]) => format!("{native} with {}", foreign.join(", ")),
            (true | false, _) => native.to_owned(),
        };
        let mut worse = Vec::new();
        for broken in &broken {
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
        let as_before = broken.len() - worse.len();
        (worse, as_before)
    }
}

#[cfg(test)]
mod tests;

//! Which packages could be installed from production, and cannot from a snapshot.
//!
//! Owns the check `installability`: the comparison of two archives, each with its companions. How the question is answered
//! for one archive is `apt::installability`'s. What was broken before is no reason to keep an archive from production.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::report::{Check, Problems};
use crate::apt::installability::{BinaryPackage, Essential, System, Uninstallable, Why, uninstallable};
use crate::apt::version;

/// The architecture of packages that fit every architecture.
const ALL: &str = "all";

/// An archive as a client sees it.
#[derive(Debug, Default)]
pub(super) struct Archive {
    /// The mirror's packages, and after them those of its companions.
    pub(super) packages: Vec<BinaryPackage>,
    /// How many of them are the mirror's own.
    own: usize,
}

/// The packages of an archive that cannot be installed, for each architecture where there are any.
pub(super) type Broken = Vec<(Box<str>, Vec<Uninstallable>)>;

impl Archive {
    /// An archive of one mirror's packages.
    pub(super) fn new(own: Vec<BinaryPackage>) -> Self {
        Self {
            own: own.len(),
            packages: own,
        }
    }

    /// Its own packages that cannot be installed.
    pub(super) fn broken(&self) -> Broken {
        let own = &self.packages[..self.own];
        let mut architectures: BTreeSet<&str> = own.iter().map(|package| &*package.architecture).collect();
        if architectures.len() > 1 {
            architectures.remove(ALL);
        }
        let broken = architectures.into_iter().map(|native| {
            (
                native.into(),
                broken(self, (native, Essential::Required), |at| at < self.own),
            )
        });
        broken.filter(|(_, broken)| !broken.is_empty()).collect()
    }
}

/// What became worse.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    worse: Problems,
    /// Packages of the snapshot that cannot be installed, and are no worse than before.
    as_before: u64,
}

impl Comparison {
    /// Compares what cannot be installed from `now` with what could be from `before`.
    pub(super) fn of(now: &Archive, broken: Broken, before: &Archive) -> Self {
        let mut comparison = Self::default();
        for (native, broken) in broken {
            comparison.compare_on(&native, (now, broken), before);
        }
        comparison
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

/// The wanted packages of `archive` that cannot be installed on systems of one architecture, whether or not these take
/// packages of the archive's other ones.
fn broken(
    archive: &Archive,
    (native, essential): (&str, Essential),
    wanted: impl Fn(usize) -> bool,
) -> Vec<Uninstallable> {
    let alone = System {
        native,
        foreign: &[],
        essential,
    };
    let of_system = |at: usize| matches!(&*archive.packages[at].architecture, own if own == native || own == ALL);
    let broken = uninstallable(&archive.packages, alone, |at| of_system(at) && wanted(at));
    let others: BTreeSet<&str> = archive.packages.iter().map(|package| &*package.architecture).collect();
    let foreign: Vec<&str> = others
        .into_iter()
        .filter(|other| *other != native && *other != ALL)
        .collect();
    if broken.is_empty() || foreign.is_empty() {
        return broken;
    }
    let broken: HashSet<usize> = broken.iter().map(|broken| broken.at).collect();
    let with_others = System {
        native,
        foreign: &foreign,
        essential,
    };
    uninstallable(&archive.packages, with_others, |at| broken.contains(&at))
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

/// The newest version of each of an archive's own packages.
fn newest(archive: &Archive) -> HashMap<Name<'_>, &str> {
    let mut newest: HashMap<Name<'_>, &str> = HashMap::new();
    for package in &archive.packages[..archive.own] {
        let known = newest.entry(name(package)).or_insert(&package.version);
        if version::compare(&package.version, known) == Ordering::Greater {
            *known = &package.version;
        }
    }
    newest
}

impl Comparison {
    fn compare_on(&mut self, native: &str, (now, mut broken_now): (&Archive, Vec<Uninstallable>), before: &Archive) {
        let (newest_now, newest_before) = (newest(now), newest(before));
        let names: HashSet<Name<'_>> = broken_now.iter().map(|broken| name(&now.packages[broken.at])).collect();
        let asked = |at: usize| at < before.own && names.contains(&name(&before.packages[at]));
        let mut broken_before = broken(before, (native, Essential::Required), asked);
        if broken_before.iter().any(lacks_system) {
            // Production is part of a system, such as an archive of updates, and so is the snapshot.
            broken_before = broken(before, (native, Essential::Ignored), asked);
            let still: HashSet<usize> = broken_now.iter().map(|broken| broken.at).collect();
            broken_now = broken(now, (native, Essential::Ignored), |at| still.contains(&at));
        }
        // What keeps the essential packages from systems comes before all that this breaks.
        broken_now.sort_by_key(lacks_system);
        let broken_before: HashSet<usize> = broken_before.iter().map(|broken| broken.at).collect();
        let fine_before: HashSet<(Name<'_>, &str)> = (0..before.own)
            .filter(|at| asked(*at) && !broken_before.contains(at))
            .map(|at| (name(&before.packages[at]), &*before.packages[at].version))
            .collect();
        for broken in broken_now {
            let package = &now.packages[broken.at];
            let (name, version) = (name(package), &*package.version);
            let was = newest_before.get(&name).copied().unwrap_or_default();
            // A client has this very version, or would come to it from the newest one of production.
            let is_next = newest_now.get(&name) == Some(&version) && fine_before.contains(&(name, was));
            if fine_before.contains(&(name, version)) {
                self.worse
                    .add(format!("{} {version} on {native}: {}", package.name, broken.why));
            } else if is_next {
                self.worse.add(format!(
                    "{} {version} on {native}: {}; production has {was}",
                    package.name, broken.why
                ));
            } else {
                self.as_before += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::installability::BinaryReader;
    use crate::gate::Outcome;

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
            let stanza = format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{depends}\n");
            reader.push(stanza.as_bytes()).expect("a stanza");
        }
        reader.finish().expect("an index");
        packages
    }

    fn archive(index: &str, companion: &str) -> Archive {
        let mut all = packages(index);
        let own = all.len();
        all.extend(packages(companion));
        Archive { packages: all, own }
    }

    fn judged(now: &Archive, before: &Archive) -> (Vec<String>, u64) {
        let comparison = Comparison::of(now, now.broken(), before);
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

    /// The archive with all packages of the `names` essential, and excluding what they say.
    fn with_essential(mut archive: Archive, names: &[(&str, &str)]) -> Archive {
        for package in &mut archive.packages {
            if let Some((_, excludes)) = names.iter().find(|(name, _)| **name == *package.name) {
                package.essential = true;
                package.excludes = (*excludes).into();
            }
        }
        archive
    }

    #[test]
    fn an_archive_that_is_no_whole_system_is_judged_without_one() {
        let of = |index: &str| with_essential(archive(index, ""), &[("base", "")]);
        let before = of("base 1 amd64 elsewhere\na 1 amd64 lib\nlib 1 amd64\nold 1 amd64 gone");
        let (worse, as_before) = judged(&of("base 2 amd64 elsewhere\na 1 amd64 lib\nold 1 amd64 gone"), &before);
        assert_eq!(worse, ["a 1 on amd64: needs lib, which nothing satisfies"]);
        assert_eq!(as_before, 2);
        let whole = of("base 2 amd64\na 1 amd64 lib\nold 1 amd64 gone");
        assert_eq!(judged(&whole, &before).0.len(), 1, "nor with what completes it");
    }

    #[test]
    fn a_system_that_cannot_be_installed_any_more_is_told_first() {
        let of = |index: &str, excludes: &str| with_essential(archive(index, ""), &[("base", ""), ("tool", excludes)]);
        let before = of("a 1 amd64\nbase 1 amd64\ntool 1 amd64", "");
        let (worse, _) = judged(&of("a 1 amd64\nbase 1 amd64\ntool 1 amd64", "base"), &before);
        let no_system = "needs the essential packages, which exclude each other";
        let all = ["a", "base", "tool"].map(|name| format!("{name} 1 on amd64: {no_system}"));
        assert_eq!(worse, all);
        let (worse, _) = judged(&of("a 1 amd64\nbase 1 amd64\ntool 2 amd64 gone", ""), &before);
        assert_eq!(
            worse,
            [
                "tool 2 on amd64: needs gone, which nothing satisfies; production has 1",
                "a 1 on amd64: needs tool, which is essential and cannot be installed itself",
                "base 1 on amd64: needs tool, which is essential and cannot be installed itself",
            ]
        );
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
                "x 1 on amd64: needs lib:arm64, which nothing satisfies",
                "a 1 on arm64: needs lib, which nothing satisfies",
            ]
        );
        assert_eq!(judged(&before(), &before()), (Vec::new(), 0));
    }
}

//! Packages and their relations, as numbers.
//!
//! Owns the meaning of each relation: which packages satisfy a dependency, and which exclude each other. What follows
//! from that together is `search`'s.

use std::collections::{HashMap, HashSet};

use super::super::relation::{self, Relation};
use super::{BinaryPackage, MultiArch, System};

/// The architecture of packages that fit every architecture.
const ALL: &str = "all";

/// A dependency: its text, and the packages that satisfy it, in the order of preference.
type Group<'a> = (&'a str, Vec<usize>);

/// The packages that a system sees.
pub(super) struct Universe<'a> {
    packages: Vec<&'a BinaryPackage>,
    /// Where each stands among all that were given.
    places: Vec<usize>,
    groups: Vec<Group<'a>>,
    /// For each package, the groups that it needs one of.
    needs: Vec<Vec<usize>>,
    /// For each package, those that cannot be installed with it.
    excludes: Vec<Vec<usize>>,
}

impl<'a> Universe<'a> {
    pub(super) fn of(packages: &'a [BinaryPackage], system: System<'_>) -> Self {
        let (mut seen, mut visible, mut places) = (HashSet::new(), Vec::new(), Vec::new());
        for (place, package) in packages.iter().enumerate() {
            let architecture = &*package.architecture;
            let fits = architecture == ALL || architecture == system.native || system.foreign.contains(&architecture);
            if fits && seen.insert((&*package.name, &*package.version, architecture)) {
                visible.push(package);
                places.push(place);
            }
        }
        let names = Names::of(&visible, system);
        let (groups, needs) = names.needs();
        let excludes = names.excludes();
        Self {
            packages: visible,
            places,
            groups,
            needs,
            excludes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.packages.len()
    }

    /// Where the package stands among all that were given.
    pub(super) fn place(&self, at: usize) -> usize {
        self.places[at]
    }

    pub(super) fn package(&self, at: usize) -> &'a BinaryPackage {
        self.packages[at]
    }

    /// Number of groups.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The text of a dependency.
    pub(super) fn text(&self, group: usize) -> &'a str {
        self.groups[group].0
    }

    /// The packages that satisfy a dependency, in the order of preference.
    pub(super) fn members(&self, group: usize) -> &[usize] {
        &self.groups[group].1
    }

    /// The dependencies of a package.
    pub(super) fn needs(&self, at: usize) -> &[usize] {
        &self.needs[at]
    }

    /// The packages that cannot be installed with this one.
    pub(super) fn excludes(&self, at: usize) -> &[usize] {
        &self.excludes[at]
    }
}

/// Whether two packages of one name can be installed together: builds of one version for two architectures.
fn can_be_together(one: &BinaryPackage, other: &BinaryPackage) -> bool {
    let same = |package: &BinaryPackage| package.multi_arch == MultiArch::Same;
    same(one) && same(other) && one.version == other.version && one.architecture != other.architecture
}

/// `numbers`, each once, in the order of their first places.
fn unique(numbers: Vec<usize>) -> Vec<usize> {
    let mut seen = HashSet::new();
    numbers.into_iter().filter(|number| seen.insert(*number)).collect()
}

/// Packages by the names that they have and provide.
struct Names<'a, 'p> {
    packages: &'p [&'a BinaryPackage],
    system: System<'p>,
    named: HashMap<&'a str, Vec<usize>>,
    /// Each with the version of the name that it says.
    provided: HashMap<&'a str, Vec<(usize, Option<&'a str>)>>,
}

impl<'a, 'p> Names<'a, 'p> {
    fn of(packages: &'p [&'a BinaryPackage], system: System<'p>) -> Self {
        let mut named: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut provided: HashMap<&str, Vec<_>> = HashMap::new();
        for (at, package) in packages.iter().enumerate() {
            named.entry(&package.name).or_default().push(at);
            for relation in relation::groups(&package.provides).filter_map(Relation::parse) {
                let version = relation.version.map(|(_, version)| version);
                provided.entry(relation.name).or_default().push((at, version));
            }
        }
        Self {
            packages,
            system,
            named,
            provided,
        }
    }

    /// Every dependency there is, and which of them each package has.
    fn needs(&self) -> (Vec<Group<'a>>, Vec<Vec<usize>>) {
        // Many packages need the same, in the same words.
        let mut known: HashMap<(&str, &str), usize> = HashMap::new();
        let (mut groups, mut needs) = (Vec::new(), Vec::new());
        for package in self.packages {
            let own = self.architecture(package);
            let mut needed = Vec::new();
            for text in relation::groups(&package.needs) {
                let group = *known.entry((text, own)).or_insert_with(|| {
                    let mut members = Vec::new();
                    for alternative in relation::alternatives(text) {
                        self.satisfying(&alternative, own, &mut members);
                    }
                    groups.push((text, unique(members)));
                    groups.len() - 1
                });
                if !needed.contains(&group) {
                    needed.push(group);
                }
            }
            needs.push(needed);
        }
        (groups, needs)
    }

    /// For each package, those that cannot be installed with it, sorted.
    fn excludes(&self) -> Vec<Vec<usize>> {
        let mut excludes = vec![Vec::new(); self.packages.len()];
        let mut exclude = |one: usize, other: usize| {
            excludes[one].push(other);
            excludes[other].push(one);
        };
        let mut known: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, package) in self.packages.iter().enumerate() {
            for text in relation::groups(&package.excludes) {
                let others = known.entry(text).or_insert_with(|| {
                    let mut others = Vec::new();
                    for relation in relation::alternatives(text) {
                        self.excluded(&relation, &mut others);
                    }
                    unique(others)
                });
                // Whoever provides what it excludes means every other provider. Of one name, below.
                let others = others
                    .iter()
                    .filter(|other| self.packages[**other].name != package.name);
                others.for_each(|other| exclude(at, *other));
            }
        }
        for together in self.named.values() {
            for (n, one) in together.iter().enumerate() {
                let others = together[n + 1..].iter();
                let others = others.filter(|other| !can_be_together(self.packages[*one], self.packages[**other]));
                others.for_each(|other| exclude(*one, *other));
            }
        }
        for excluded in &mut excludes {
            excluded.sort_unstable();
            excluded.dedup();
        }
        excludes
    }

    /// The architecture that a package counts as.
    fn architecture<'x>(&self, package: &'x BinaryPackage) -> &'x str
    where
        'p: 'x,
    {
        match &*package.architecture {
            ALL => self.system.native,
            other => other,
        }
    }

    /// Adds the packages that satisfy a dependency of a package for `own`: real ones first.
    fn satisfying(&self, relation: &Relation<'_>, own: &str, found: &mut Vec<usize>) {
        let fits = |at: &usize| {
            let package = self.packages[*at];
            let architecture = self.architecture(package);
            match relation.qualifier {
                None => architecture == own || package.multi_arch == MultiArch::Foreign,
                // Only those that allow it, of the system's own architecture too, as APT has it.
                Some("any") => package.multi_arch == MultiArch::Allowed,
                Some("native") => architecture == self.system.native,
                // What satisfies every architecture of the system satisfies this one, as APT has it.
                Some(qualifier) => {
                    let is_ours = qualifier == self.system.native || self.system.foreign.contains(&qualifier);
                    architecture == qualifier || is_ours && package.multi_arch == MultiArch::Foreign
                }
            }
        };
        found.extend(self.with_name(relation).filter(fits));
    }

    /// Adds the packages that a conflict is about: of whatever architecture, unless it names one.
    fn excluded(&self, relation: &Relation<'_>, found: &mut Vec<usize>) {
        let meant = |at: &usize| match relation.qualifier {
            None | Some("any") => true,
            Some("native") => self.architecture(self.packages[*at]) == self.system.native,
            Some(qualifier) => self.architecture(self.packages[*at]) == qualifier,
        };
        found.extend(self.with_name(relation).filter(meant));
    }

    /// The packages that have or provide the name in an allowed version.
    fn with_name<'r>(&'r self, relation: &'r Relation<'r>) -> impl Iterator<Item = usize> + 'r {
        let named = self.named.get(relation.name).into_iter().flatten().copied();
        let named = named.filter(|at| relation.allows(&self.packages[*at].version));
        let provided = self.provided.get(relation.name).into_iter().flatten();
        let provided = provided.filter(|(_, version)| relation.allows_provided(*version));
        named.chain(provided.map(|(at, _)| *at))
    }
}

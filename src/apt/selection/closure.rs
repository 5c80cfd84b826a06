//! Everything that named packages depend on.
//!
//! Owns the walk along `Depends`, `Pre-Depends` and `Recommends`, separately for each architecture, as a client of
//! that architecture would see the archive. The outcome depends on the indices and the rules alone, not on the order
//! of the walk: of several alternatives, it takes the one that a client prefers.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::relation::{self, Relation};
use super::{Candidate, Index, Lists, Place, newest};
use crate::model::{Filter, PackageName, Priority};

/// A dependency that nothing satisfies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsatisfied {
    /// The package that has it.
    pub package: String,
    /// The architecture of the client that would miss it.
    pub architecture: String,
    /// The dependency, with all its alternatives.
    pub dependency: String,
}

/// What a walk found.
pub(super) struct Closure {
    pub(super) taken: HashSet<Place>,
    pub(super) unknown: Vec<String>,
    pub(super) unsatisfied: Vec<Unsatisfied>,
}

/// Every package that `filter` names or requires, with what these need.
pub(super) fn follow(filter: &Filter, indices: &[Index]) -> Closure {
    let worlds = worlds(indices);
    let mut walk = Walk {
        filter,
        indices,
        worlds: &worlds,
        named: HashSet::new(),
        seen: HashSet::new(),
        open: Vec::new(),
        unsatisfied: BTreeSet::new(),
    };
    let mut found = HashSet::new();
    for world in 0..worlds.len() {
        walk.begin(world, &mut found);
    }
    walk.named = walk.seen.iter().map(|(_, place)| *place).collect();
    while let Some((world, place)) = walk.open.pop() {
        walk.take_needs(world, place);
    }
    let unknown = filter.packages.iter().map(PackageName::as_str);
    Closure {
        taken: walk.seen.into_iter().map(|(_, place)| place).collect(),
        unknown: unknown
            .filter(|name| !found.contains(name))
            .map(str::to_owned)
            .collect(),
        unsatisfied: walk.unsatisfied.into_iter().collect(),
    }
}

/// The packages that a client of one architecture sees.
struct World<'a> {
    architecture: &'a str,
    named: HashMap<&'a str, Vec<Place>>,
    /// Packages that provide a name, each with the version of the name that it says.
    provided: HashMap<&'a str, Vec<(Place, Option<&'a str>)>>,
}

/// One world for each architecture, and another for the installer of each.
fn worlds(indices: &[Index]) -> Vec<World<'_>> {
    let mut worlds = Vec::new();
    for for_installer in [false, true] {
        let of_world = |index: &&(usize, &Index)| {
            index.1.lists
                == Lists::Binaries {
                    installer: for_installer,
                }
        };
        let indices: Vec<(usize, &Index)> = indices.iter().enumerate().collect();
        let indices: Vec<(usize, &Index)> = indices.iter().filter(of_world).copied().collect();
        let all = || {
            indices.iter().flat_map(|(number, index)| {
                let candidates = index
                    .candidates
                    .iter()
                    .enumerate()
                    .filter(|(_, candidate)| !candidate.excluded);
                candidates.map(move |(at, candidate)| ((*number, at), candidate))
            })
        };
        let mut architectures: BTreeSet<&str> = all().map(|(_, candidate)| &*candidate.architecture).collect();
        if architectures.len() > 1 {
            architectures.remove("all");
        }
        for architecture in architectures {
            let seen = all().filter(|(_, c)| matches!(&*c.architecture, a if a == architecture || a == "all"));
            worlds.push(World::of(architecture, seen));
        }
    }
    worlds
}

impl<'a> World<'a> {
    fn of(architecture: &'a str, candidates: impl Iterator<Item = (Place, &'a Candidate)>) -> Self {
        let mut world = Self {
            architecture,
            named: HashMap::new(),
            provided: HashMap::new(),
        };
        for (place, candidate) in candidates {
            world.named.entry(&candidate.name).or_default().push(place);
            let provides = candidate.links.as_ref().map_or("", |links| &*links.provides);
            for relation in relation::groups(provides).filter_map(Relation::parse) {
                let version = relation.version.map(|(_, version)| version);
                world.provided.entry(relation.name).or_default().push((place, version));
            }
        }
        world
    }
}

/// A walk under way.
struct Walk<'a> {
    filter: &'a Filter,
    indices: &'a [Index],
    worlds: &'a [World<'a>],
    /// What the rules ask for themselves.
    named: HashSet<Place>,
    /// What was taken, by world and place.
    seen: HashSet<(usize, Place)>,
    /// What was taken and not looked at yet.
    open: Vec<(usize, Place)>,
    unsatisfied: BTreeSet<Unsatisfied>,
}

impl<'a> Walk<'a> {
    fn candidate(&self, place: Place) -> &'a Candidate {
        &self.indices[place.0].candidates[place.1]
    }

    /// Takes what the rules ask for themselves in one world, and notes the names that it has.
    fn begin(&mut self, world: usize, found: &mut HashSet<&'a str>) {
        for name in &self.filter.packages {
            let asked = Relation {
                name: name.as_str(),
                qualifier: None,
                version: None,
            };
            let places = self.satisfying(world, &asked);
            if !places.is_empty() {
                found.insert(name.as_str());
            }
            self.take(world, places);
        }
        if self.filter.required {
            let needed = |place: &Place| {
                let candidate = self.candidate(*place);
                candidate.essential || candidate.priority == Some(Priority::Required)
            };
            let all = self.worlds[world].named.values().flatten().copied();
            let places = newest(self.filter.keep_versions, self.indices, all.filter(needed).collect());
            self.take(world, places);
        }
    }

    fn take(&mut self, world: usize, places: Vec<Place>) {
        for place in places {
            if self.seen.insert((world, place)) {
                self.open.push((world, place));
            }
        }
    }

    /// Takes what the package at `place` needs in that world.
    fn take_needs(&mut self, world: usize, place: Place) {
        let candidate = self.candidate(place);
        let needs = candidate.links.as_ref().map_or(&[][..], |links| &links.needs);
        for group in needs.iter().flat_map(|field| relation::groups(field)) {
            if !self.take_group(world, group) {
                self.unsatisfied.insert(Unsatisfied {
                    package: candidate.name.to_string(),
                    architecture: self.worlds[world].architecture.to_owned(),
                    dependency: group.to_owned(),
                });
            }
        }
    }

    /// Takes one alternative of a group: none when the operator asked for one anyway, else the first that can be had.
    fn take_group(&mut self, world: usize, group: &str) -> bool {
        let mut first = None;
        for relation in relation::alternatives(group) {
            let (of_world, places) = self.anywhere(world, &relation);
            if places.iter().any(|place| self.named.contains(place)) {
                return true;
            }
            if first.is_none() && !places.is_empty() {
                first = Some((of_world, places));
            }
        }
        let Some((world, places)) = first else { return false };
        self.take(world, places);
        true
    }

    /// What satisfies a relation, and the world that it was found in: with a qualifier, that can be another.
    fn anywhere(&self, world: usize, relation: &Relation<'_>) -> (usize, Vec<Place>) {
        match relation.qualifier {
            None | Some("native") => (world, self.satisfying(world, relation)),
            Some("any") => {
                // APT takes none but those that allow it, of the client's own architecture either.
                let allowed = |world: usize| {
                    let mut places = self.satisfying(world, relation);
                    places.retain(|place| self.candidate(*place).allowed);
                    (world, places)
                };
                let worlds = std::iter::once(world).chain(0..self.worlds.len());
                let mut found = worlds.map(allowed).filter(|(_, places)| !places.is_empty());
                found.next().unwrap_or((world, Vec::new()))
            }
            Some(architecture) => {
                let other = self.worlds.iter().position(|world| world.architecture == architecture);
                other.map_or((world, Vec::new()), |other| (other, self.satisfying(other, relation)))
            }
        }
    }

    /// The packages of that name whose versions are allowed, or else the one that provides it best.
    fn satisfying(&self, world: usize, relation: &Relation<'_>) -> Vec<Place> {
        let World { named, provided, .. } = &self.worlds[world];
        let real = named.get(relation.name).into_iter().flatten().copied();
        let real: Vec<Place> = real
            .filter(|place| relation.allows(&self.candidate(*place).version))
            .collect();
        if !real.is_empty() {
            return newest(self.filter.keep_versions, self.indices, real);
        }
        let providers = provided.get(relation.name).into_iter().flatten();
        let providers = providers.filter(|(_, version)| relation.allows_provided(*version));
        let providers: Vec<Place> = providers.map(|(place, _)| *place).collect();
        // One is enough: what the operator names, else what systems need most, else the first by name.
        let rank = |place: &Place| {
            let candidate = self.candidate(*place);
            let priority = candidate.priority.unwrap_or(Priority::Extra);
            (!self.named.contains(place), priority, &*candidate.name)
        };
        let Some(best) = providers.iter().min_by_key(|place| rank(place)) else {
            return Vec::new();
        };
        let name = &self.candidate(*best).name;
        let best = providers.iter().filter(|place| self.candidate(**place).name == *name);
        newest(self.filter.keep_versions, self.indices, best.copied().collect())
    }
}

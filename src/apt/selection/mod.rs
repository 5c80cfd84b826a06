//! Which packages of an archive's indices a [`Filter`] keeps.
//!
//! Owns [`select`], a pure function of the rules and of what the indices say. It is told a little of each stanza
//! ([`Candidate`]) and answers by numbers of stanzas, so that an index is never in memory. How packages depend on each
//! other is followed in `closure`.

mod closure;
mod stanzas;

use std::collections::{HashMap, HashSet};

pub use closure::Unsatisfied;
pub use stanzas::{Candidate, CandidateReader, Copier};

use super::version;
use crate::model::{Filter, Priority};

/// One index of those that are selected from together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What it lists.
    pub lists: Lists,
    /// Its stanzas, in their order.
    pub candidates: Vec<Candidate>,
}

/// What an index lists, as far as the rules make a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lists {
    /// Binary packages.
    Binaries {
        /// Whether they are for the installer, whose packages and others never depend on each other.
        installer: bool,
    },
    /// Source packages.
    Sources,
}

/// A stanza: number of its index, and its own number in there.
type Place = (usize, usize);

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// For each index, whether each of its stanzas is kept.
    pub kept: Vec<Vec<bool>>,
    /// Names of `packages` that no index has.
    pub unknown: Vec<String>,
    /// Dependencies of kept packages that nothing in the indices satisfies.
    pub unsatisfied: Vec<Unsatisfied>,
}

impl Selection {
    /// Number of kept stanzas.
    #[must_use]
    pub fn held(&self) -> usize {
        self.kept.iter().flatten().filter(|kept| **kept).count()
    }

    /// The paths of files that stanzas left out name, and no kept one does.
    #[must_use]
    pub fn absent<'a>(&self, indices: &'a [Index]) -> HashSet<&'a str> {
        let paths = |wanted: bool| {
            let stanzas = indices
                .iter()
                .zip(&self.kept)
                .flat_map(|(index, kept)| index.candidates.iter().zip(kept));
            let of_kind = stanzas.filter(move |(_, kept)| **kept == wanted);
            of_kind.flat_map(|(candidate, _)| candidate.paths.iter().map(|path| &**path))
        };
        let mut absent: HashSet<&str> = paths(false).collect();
        for path in paths(true) {
            absent.remove(path);
        }
        absent
    }
}

/// What `filter` keeps of `indices`.
///
/// - A package that matches `exclude` is out, and nothing can depend on it.
/// - Any other is in when it passes each of `include`, `sections` and `priorities` that is set (without these, and
///   without `packages`, every package does), or when `packages` name it or need it.
/// - `keep_versions` counts within each index, by name and architecture: suites do not take each other's versions
///   away, and neither do architectures. It counts what the other rules leave, and a dependency's allowed versions.
/// - A source package is in when a kept binary package was built from it. One that no index has binaries of is in
///   unless packages have to be of a certain kind to be kept.
#[must_use]
pub fn select(filter: &Filter, indices: &[Index]) -> Selection {
    let mut selection = Selection {
        kept: indices
            .iter()
            .map(|index| vec![false; index.candidates.len()])
            .collect(),
        ..Selection::default()
    };
    let followed_only = filter.follows() && !filter.restricts();
    for (number, index) in indices.iter().enumerate() {
        if index.lists != Lists::Sources && !followed_only {
            let chosen = (0..index.candidates.len()).filter(|at| index.candidates[*at].chosen);
            keep_newest(filter, indices, chosen.map(|at| (number, at)).collect(), &mut selection);
        }
    }
    if filter.follows() {
        let closure = closure::follow(filter, indices);
        for (index, at) in closure.taken {
            selection.kept[index][at] = true;
        }
        (selection.unknown, selection.unsatisfied) = (closure.unknown, closure.unsatisfied);
    }
    keep_sources(filter, indices, &mut selection);
    selection
}

fn keep_newest(filter: &Filter, indices: &[Index], chosen: Vec<Place>, selection: &mut Selection) {
    for (index, at) in newest(filter.keep_versions, indices, chosen) {
        selection.kept[index][at] = true;
    }
}

/// Those of `places` that have one of the newest `count` versions of their name and architecture in their index; all
/// of them for 0.
fn newest(count: usize, indices: &[Index], places: Vec<Place>) -> Vec<Place> {
    if count == 0 {
        return places;
    }
    let candidate = |place: Place| &indices[place.0].candidates[place.1];
    let mut groups: HashMap<(usize, &str, &str), Vec<Place>> = HashMap::new();
    for place in places {
        let Candidate { name, architecture, .. } = candidate(place);
        groups.entry((place.0, name, architecture)).or_default().push(place);
    }
    let mut newest = Vec::new();
    for (_, mut group) in groups {
        let compare = |a: Place, b: Place| version::compare(&candidate(a).version, &candidate(b).version);
        group.sort_by(|a, b| compare(*b, *a));
        // Two stanzas of one version are one version.
        let versions = group.chunk_by(|a, b| compare(*a, *b).is_eq());
        newest.extend(versions.take(count).flatten().copied());
    }
    newest
}

fn keep_sources(filter: &Filter, indices: &[Index], selection: &mut Selection) {
    let binaries = || {
        let indices = indices
            .iter()
            .enumerate()
            .filter(|(_, index)| index.lists != Lists::Sources);
        indices.flat_map(|(number, index)| (0..index.candidates.len()).map(move |at| (number, at)))
    };
    let source_of = |(index, at): Place| indices[index].candidates[at].source();
    let listed: HashSet<(&str, &str)> = binaries().map(source_of).collect();
    let wanted = binaries().filter(|(index, at)| selection.kept[*index][*at]);
    let wanted: HashSet<(&str, &str)> = wanted.map(source_of).collect();
    let lone = !filter.restricts() && !filter.follows();
    for (index, kept) in indices.iter().zip(&mut selection.kept) {
        if index.lists != Lists::Sources {
            continue;
        }
        for (candidate, kept) in index.candidates.iter().zip(kept) {
            let source = (&*candidate.name, &*candidate.version);
            *kept = wanted.contains(&source) || (lone && !listed.contains(&source));
        }
    }
}

/// Whether `filter` lets a package of this kind in, apart from versions and dependencies.
fn passes(filter: &Filter, name: &str, section: &str, priority: Option<Priority>) -> bool {
    let named = filter.include.is_empty() || filter.include.iter().any(|pattern| pattern.is_in(name));
    // Outside main, sections are written with their component: contrib/libs.
    let bare = section.rsplit('/').next().unwrap_or(section);
    let of_section = filter.sections.is_empty() || filter.sections.iter().any(|s| s == section || s == bare);
    let needed = filter.priorities.is_empty() || priority.is_some_and(|priority| filter.priorities.contains(&priority));
    named && of_section && needed
}

#[cfg(test)]
mod tests;

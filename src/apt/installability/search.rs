//! The search for sets of packages that can be installed together.
//!
//! Owns the three ways to an answer, which `super` explains. The first never errs in what it rules out, the second
//! never in what it allows, and the third decides.

use std::collections::{BTreeMap, HashMap};

use batsat::{BasicSolver, Lit, SolverInterface, lbool};

use super::universe::Universe;
use super::{Essential, Why};

/// A round in which fewer packages than this find their place in the set shows that there are many which exclude each
/// other: each of them is cheaper to decide by itself.
const WORTH_A_ROUND: usize = 16;

/// A search under way.
pub(super) struct Search<'u, 'a> {
    universe: &'u Universe<'a>,
    /// Why packages are ruled out, whatever else is installed.
    ruled_out: Vec<Option<Why>>,
    /// The essential packages that are asked for: of each name, one version is on every system.
    essential: Vec<Vec<usize>>,
    /// Why there is no system, if there is none.
    no_system: Option<Why>,
    set: Set,
}

/// A set of packages that can be installed together, while it grows.
struct Set {
    has: Vec<bool>,
    /// In the order in which they came.
    members: Vec<usize>,
}

impl<'u, 'a> Search<'u, 'a> {
    pub(super) fn over(universe: &'u Universe<'a>, essential: Essential) -> Self {
        let mut search = Self {
            universe,
            ruled_out: vec![None; universe.len()],
            essential: Vec::new(),
            no_system: None,
            set: Set {
                has: vec![false; universe.len()],
                members: Vec::new(),
            },
        };
        search.rule_out();
        if essential == Essential::Required {
            search.require_essential();
        }
        search
    }

    /// Those of `asked` that cannot be installed.
    pub(super) fn uninstallable(&mut self, asked: Vec<usize>) -> Vec<(usize, Why)> {
        let (lacking, mut open): (Vec<_>, Vec<_>) = asked.into_iter().partition(|at| self.ruled_out[*at].is_some());
        let mut found: Vec<_> = lacking
            .into_iter()
            .filter_map(|at| Some((at, self.ruled_out[at].clone()?)))
            .collect();
        if let Some(why) = &self.no_system {
            found.extend(open.into_iter().map(|at| (at, why.clone())));
            return found;
        }
        let mut in_rounds = true;
        while let Some(first) = open.first().copied() {
            self.begin_set();
            if !self.set.has[first] && !self.add(first) && !self.decide(first) {
                found.push((first, Why::Conflict));
                self.begin_set();
            }
            let before = open.len();
            if in_rounds {
                open.retain(|at| *at != first && !self.set.has[*at] && !self.add(*at));
            } else {
                open.retain(|at| *at != first && !self.set.has[*at]);
            }
            in_rounds &= before - open.len() >= WORTH_A_ROUND;
        }
        found
    }

    /// Rules out what lacks something, and then what needs that, until nothing more follows.
    fn rule_out(&mut self) {
        let universe = self.universe;
        let mut left: Vec<usize> = (0..universe.groups())
            .map(|group| universe.members(group).len())
            .collect();
        let (mut users, mut groups_of) = (vec![Vec::new(); universe.groups()], vec![Vec::new(); universe.len()]);
        for at in 0..universe.len() {
            universe.needs(at).iter().for_each(|group| users[*group].push(at));
        }
        for group in 0..universe.groups() {
            universe.members(group).iter().for_each(|at| groups_of[*at].push(group));
        }
        let mut empty: Vec<usize> = (0..universe.groups()).filter(|group| left[*group] == 0).collect();
        while let Some(group) = empty.pop() {
            for user in &users[group] {
                if self.ruled_out[*user].is_some() {
                    continue;
                }
                let text = universe.text(group).to_owned();
                self.ruled_out[*user] = Some(if universe.members(group).is_empty() {
                    Why::Missing(text)
                } else {
                    Why::Broken(text)
                });
                for group in &groups_of[*user] {
                    left[*group] -= 1;
                    if left[*group] == 0 {
                        empty.push(*group);
                    }
                }
            }
        }
    }

    /// Puts the essential packages, by name, on every system; finds out whether there is one.
    fn require_essential(&mut self) {
        let mut names: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for at in 0..self.universe.len() {
            let package = self.universe.package(at);
            if package.essential {
                let versions = names.entry(&package.name).or_default();
                versions.extend(self.ruled_out[at].is_none().then_some(at));
            }
        }
        if let Some((name, _)) = names.iter().find(|(_, versions)| versions.is_empty()) {
            self.no_system = Some(Why::Essential(Some((*name).to_owned())));
            return;
        }
        self.essential = names.into_values().collect();
        if !self.begin_set() {
            self.no_system = Some(Why::Essential(None));
        }
    }

    /// Begins a set anew, with what every system has; whether there is such a set.
    fn begin_set(&mut self) -> bool {
        self.shrink_to(0);
        for n in 0..self.essential.len() {
            let there = self.essential[n].iter().any(|at| self.set.has[*at]);
            if !there && !(0..self.essential[n].len()).any(|version| self.add(self.essential[n][version])) {
                // This way leads nowhere; the solver may know another.
                self.shrink_to(0);
                return self.solve(None);
            }
        }
        true
    }

    fn shrink_to(&mut self, length: usize) {
        for at in self.set.members.drain(length..) {
            self.set.has[at] = false;
        }
    }

    /// Adds a package with what it needs to the set, taking the first alternative that fits; or changes nothing.
    fn add(&mut self, at: usize) -> bool {
        let length = self.set.members.len();
        let added = self.add_all(at);
        if !added {
            self.shrink_to(length);
        }
        added
    }

    fn add_all(&mut self, at: usize) -> bool {
        let universe = self.universe;
        let (mut forced, mut choices) = (vec![at], Vec::new());
        loop {
            while let Some(at) = forced.pop() {
                if self.set.has[at] {
                    continue;
                }
                if !self.fits(at) {
                    return false;
                }
                self.set.has[at] = true;
                self.set.members.push(at);
                for group in universe.needs(at) {
                    match universe.members(*group) {
                        [only] => forced.push(*only),
                        _ => choices.push(*group),
                    }
                }
            }
            // What is forced has been added: choices come last, as they may have been made by that.
            let Some(group) = choices.pop() else { return true };
            let members = universe.members(group);
            if members.iter().any(|at| self.set.has[*at]) {
                continue;
            }
            match members.iter().find(|at| self.fits(**at)) {
                Some(first) => forced.push(*first),
                None => return false,
            }
        }
    }

    /// Whether nothing in the set speaks against a package.
    fn fits(&self, at: usize) -> bool {
        self.ruled_out[at].is_none() && !self.universe.excludes(at).iter().any(|other| self.set.has[*other])
    }

    /// Whether a package can be installed; if so, the set is one with it.
    fn decide(&mut self, at: usize) -> bool {
        self.shrink_to(0);
        self.solve(Some(at))
    }

    /// Fills the empty set with a solution that has `wanted` and what every system has, if there is one.
    fn solve(&mut self, wanted: Option<usize>) -> bool {
        let reachable = self.reachable(wanted);
        let mut solver = BasicSolver::default();
        let mut literals: HashMap<usize, Lit> = HashMap::with_capacity(reachable.len());
        for at in &reachable {
            // A first guess of "not installed" keeps solutions small.
            let variable = solver.new_var(lbool::FALSE, true);
            literals.insert(*at, Lit::new(variable, true));
        }
        let mut clause = Vec::new();
        for at in &reachable {
            let own = literals[at];
            for group in self.universe.needs(*at) {
                clause.clear();
                clause.push(!own);
                clause.extend(
                    self.universe
                        .members(*group)
                        .iter()
                        .filter_map(|member| literals.get(member)),
                );
                solver.add_clause_reuse(&mut clause);
            }
            let later = self.universe.excludes(*at).iter().filter(|other| *other > at);
            for other in later.filter_map(|other| literals.get(other)) {
                clause.clear();
                clause.extend([!own, !*other]);
                solver.add_clause_reuse(&mut clause);
            }
        }
        let demanded = wanted.iter().copied().map(|at| vec![at]);
        for versions in self.essential.iter().cloned().chain(demanded) {
            clause.clear();
            clause.extend(versions.iter().filter_map(|at| literals.get(at)));
            solver.add_clause_reuse(&mut clause);
        }
        if solver.solve_limited(&[]) != lbool::TRUE {
            return false;
        }
        for at in reachable {
            if solver.value_lit(literals[&at]) == lbool::TRUE {
                self.set.has[at] = true;
                self.set.members.push(at);
            }
        }
        true
    }

    /// Everything that `wanted` and what every system has could need, whatever is chosen; sorted.
    fn reachable(&self, wanted: Option<usize>) -> Vec<usize> {
        let mut seen = vec![false; self.universe.len()];
        let mut open: Vec<usize> = self.essential.iter().flatten().copied().chain(wanted).collect();
        let mut seen_groups = vec![false; self.universe.groups()];
        let mut found = Vec::new();
        while let Some(at) = open.pop() {
            if self.ruled_out[at].is_some() || std::mem::replace(&mut seen[at], true) {
                continue;
            }
            found.push(at);
            for group in self.universe.needs(at) {
                if !std::mem::replace(&mut seen_groups[*group], true) {
                    open.extend(self.universe.members(*group));
                }
            }
        }
        found.sort_unstable();
        found
    }
}

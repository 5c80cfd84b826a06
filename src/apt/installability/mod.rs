//! Which packages can be installed.
//!
//! Owns [`uninstallable`], a pure function of what indices say: a package can be installed when there is a set of
//! packages with it, and with the essential ones if these are asked for, in which every `Depends` and `Pre-Depends` is
//! satisfied, no `Conflicts` and `Breaks` is hurt, and no package has two versions. Where the packages come from is not known
//! here.
//!
//! The question is the satisfiability of a formula, hard in general and easy in archives. So it is answered in the
//! cheapest of three ways that is sure: what lacks something cannot be installed; what fits into one large set with thousands
//! of others can; and only what is left of both is given to a solver, with as little of the archive as matters.

mod package;
mod search;
mod universe;

pub use package::{BinaryPackage, BinaryReader, MultiArch};

use search::Search;
use universe::Universe;

/// A system that packages are installed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System<'a> {
    /// Its architecture, which packages for `all` have too.
    pub native: &'a str,
    /// Further architectures of which it takes packages.
    pub foreign: &'a [&'a str],
    /// What the packages that say `Essential: yes` are to it.
    pub essential: Essential,
}

/// What the packages that say `Essential: yes` are to a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Essential {
    /// It has them, in one version of each name: what does not go together with them cannot be installed. Where they do not go
    /// together themselves, nothing can. This is how Debian's policy has it, and `dose-debcheck`.
    Required,
    /// They are packages like others, as with dose's `--deb-ignore-essential`: for an archive that has only a part of
    /// a system.
    Ignored,
}

/// A package that cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uninstallable {
    /// Its place among the packages that were asked about.
    pub at: usize,
    /// Why not.
    pub why: Why,
}

/// Why a package cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing satisfies this dependency.
    Missing(String),
    /// Whatever satisfies this dependency cannot be installed itself.
    Broken(String),
    /// Whatever it needs excludes something else that it needs.
    Conflict,
    /// The essential packages cannot be installed together: the name of one that cannot be installed at all, or none when
    /// they exclude each other.
    Essential(Option<String>),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(group) => write!(f, "needs {group}, which nothing satisfies"),
            Self::Broken(group) => write!(f, "needs {group}, which cannot be installed itself"),
            Self::Conflict => f.write_str("what it needs excludes each other"),
            Self::Essential(Some(name)) => write!(f, "needs {name}, which is essential and cannot be installed itself"),
            Self::Essential(None) => f.write_str("needs the essential packages, which exclude each other"),
        }
    }
}

/// Those of `packages` that are `wanted`, for an architecture of `system`, and cannot be installed there together with
/// nothing but others of `packages`; sorted by their places. Of packages with one name, version and architecture, the first
/// counts.
#[must_use]
pub fn uninstallable(
    packages: &[BinaryPackage],
    system: System<'_>,
    wanted: impl Fn(usize) -> bool,
) -> Vec<Uninstallable> {
    let universe = Universe::of(packages, system);
    let mut search = Search::over(&universe, system.essential);
    let asked = (0..universe.len()).filter(|at| wanted(universe.place(*at)));
    let found = search.uninstallable(asked.collect());
    let mut found: Vec<Uninstallable> = found
        .into_iter()
        .map(|(at, why)| Uninstallable {
            at: universe.place(at),
            why,
        })
        .collect();
    found.sort_unstable_by_key(|found| found.at);
    found
}

#[cfg(test)]
mod tests;

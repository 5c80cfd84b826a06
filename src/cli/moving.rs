//! From the words of a command that moves pointers to what the use cases need.
//!
//! Owns which mirrors a command moves, whether its environments are theirs, and where their pointers are expected to be. It
//! moves nothing.

use std::collections::BTreeMap;

use super::args::MoveArgs;
use super::context::Context;
use super::failure::{Failure, Kind};
use super::words::{Aims, Expectation};
use crate::config::{MirrorSettings, nearest};
use crate::model::{Leads, MirrorId, Pointer, SnapshotName};
use crate::publish::{By, Mover};

impl Context {
    /// Who moves pointers, and why.
    pub(super) fn by_moving<'a>(&'a self, moving: &'a MoveArgs) -> By<'a> {
        By {
            message: moving.message.as_deref(),
            ..self.by(moving.force)
        }
    }

    /// The mirrors that `named` means, whose `pointer` shall move.
    ///
    /// # Errors
    /// A [`Failure`] when one is not configured or has no such environment, or an expectation is about none of them.
    pub(super) fn movers(
        &self,
        named: &[MirrorId],
        pointer: &Pointer,
        moving: &MoveArgs,
    ) -> Result<Vec<Mover>, Failure> {
        let mirrors = self.mirrors(named)?;
        let expected = self.expected(&mirrors, &moving.expect)?;
        let mover = |mirror: &&MirrorSettings| {
            has_environment(mirror, pointer)?;
            Ok(Mover {
                mirror: mirror.id.clone(),
                terms: mirror.terms(pointer),
                expect: expected.get(&mirror.id).cloned(),
            })
        };
        mirrors.iter().map(mover).collect()
    }

    /// The mirrors that `aims` mean, whose `pointer` shall move, each with its snapshot.
    ///
    /// # Errors
    /// As those of [`Context::movers`], and when one mirror is given two snapshots.
    pub(super) fn aimed(
        &self,
        aims: &Aims,
        pointer: &Pointer,
        moving: &MoveArgs,
    ) -> Result<Vec<(Mover, SnapshotName)>, Failure> {
        let movers = self.movers(&aims.mirrors(), pointer, moving)?;
        let pairs = aims.0.iter().map(|aim| (&aim.mirror, &aim.name));
        let contradict = |id: &MirrorId, one: &SnapshotName, other: &SnapshotName| {
            format!("{id} is given two snapshots, {one} and {other}")
        };
        let mut names = self.each_once(pairs, contradict)?;
        let with_name = |mover: Mover| {
            let name = names.remove(&mover.mirror).expect("the movers are those of the aims");
            (mover, name)
        };
        Ok(movers.into_iter().map(with_name).collect())
    }

    /// Where the pointer of each of `mirrors` has to lead, as far as anything is expected.
    ///
    /// # Errors
    /// A [`Failure`] when an expectation is about another mirror, or it is not said about which, or two contradict.
    pub(super) fn expected(
        &self,
        mirrors: &[&MirrorSettings],
        expectations: &[Expectation],
    ) -> Result<BTreeMap<MirrorId, Leads>, Failure> {
        let mut pairs = Vec::new();
        for Expectation { mirror, leads } in expectations {
            match (mirror, mirrors) {
                (Some(mirror), _) => pairs.push((mirror, leads)),
                (None, [only]) => pairs.push((&only.id, leads)),
                (None, _) => {
                    let word = match leads {
                        Leads::To(name) => name.as_str(),
                        Leads::Nowhere => Leads::NOWHERE,
                    };
                    let message = format!("--expect {word} does not say of which of {} mirrors", mirrors.len());
                    let hint = format!("name it: --expect {}={word}", mirrors[0].id);
                    return Err(Failure::new(Kind::Usage, message).hint(hint));
                }
            }
        }
        let contradict =
            |id: &MirrorId, one: &Leads, other: &Leads| format!("{id} is expected to lead {one} and {other}");
        let expected = self.each_once(pairs, contradict)?;
        let moves = |id: &MirrorId| mirrors.iter().any(|mirror| mirror.id == *id);
        match expected.keys().find(|id| !moves(id)) {
            Some(other) => {
                let message = format!("--expect is about {other}, which is not to be moved");
                Err(Failure::new(Kind::Usage, message).hint("name it among the mirrors, or leave it out"))
            }
            None => Ok(expected),
        }
    }

    /// What is said of each mirror, with groups as their members; it is wrong to say two things of one, as `contradict` says.
    fn each_once<'p, T: Clone + PartialEq + 'p>(
        &self,
        pairs: impl IntoIterator<Item = (&'p MirrorId, &'p T)>,
        contradict: impl Fn(&MirrorId, &T, &T) -> String,
    ) -> Result<BTreeMap<MirrorId, T>, Failure> {
        let mut said = BTreeMap::new();
        for (named, one) in pairs {
            for mirror in self.mirrors(std::slice::from_ref(named))? {
                let other = said.insert(mirror.id.clone(), one.clone());
                if let Some(other) = other.filter(|other| other != one) {
                    return Err(Failure::new(Kind::Usage, contradict(&mirror.id, &other, one)));
                }
            }
        }
        Ok(said)
    }
}

/// Makes sure that `pointer` is an environment of `mirror`.
pub(super) fn has_environment(mirror: &MirrorSettings, pointer: &Pointer) -> Result<(), Failure> {
    let known = mirror.pointers();
    if known.contains(pointer) {
        return Ok(());
    }
    let failure = Failure::new(Kind::Usage, format!("{pointer} is no environment of {}", mirror.id));
    let names = || known.iter().map(Pointer::name);
    Err(match nearest(pointer.name(), names()) {
        Some(near) => failure.hint(format!("did you mean {near:?}?")),
        None => failure.hint(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
    })
}

/// Makes sure that a snapshot of `mirror` can be called `name`: everything that can be named by a directory of the mirror has
/// a name of its own.
pub(super) fn is_no_environment(mirror: &MirrorSettings, name: &SnapshotName) -> Result<(), Failure> {
    if !mirror.has_environment_called(name) {
        return Ok(());
    }
    let message = format!("{name} is an environment of {}, and no name for a snapshot", mirror.id);
    Err(Failure::new(Kind::Usage, message).hint("choose another name"))
}

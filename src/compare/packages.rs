//! What became of the packages of one index: a pure comparison of two sets.
//!
//! Owns the rule. Versions that both sides have with the same content are no difference. Of the rest, the same version
//! with other content is *rebuilt*; then the newest of one side is paired with the newest of the other, the second newest
//! with the second newest, and so on: *upgraded* or *downgraded* by Debian's order of versions. What has no partner is
//! *added* or *removed*. Only packages of one name are ever paired, and, in the one index of a flat repository, of one
//! architecture: elsewhere a package may well go from `amd64` to `all`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::difference::PackageKind;
use crate::apt::inventory::{self, Build, Inventory};
use crate::apt::version;

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) kind: PackageKind,
    pub(super) name: Box<str>,
    pub(super) before: Option<Build>,
    pub(super) after: Option<Build>,
    /// The newest version that both sides have.
    pub(super) beside: Option<Box<str>>,
}

/// What differs between two inventories, by name. `by_architecture`: whether packages of several architectures stand side by
/// side. Both are sorted, so that one walk over both finds who is alone, and what is the same is left behind as it stands.
pub(super) fn changes(by_architecture: bool, before: &Inventory, after: &Inventory) -> Vec<Change> {
    let (mut before, mut after) = (before.groups().peekable(), after.groups().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(two)) => one.sorted_by().cmp(two.sorted_by()),
        };
        let one = before.next_if(|_| order.is_le());
        let two = after.next_if(|_| order.is_ge());
        if one != two {
            changes.extend(changes_of(by_architecture, one, two));
        }
    }
}

/// What differs between the packages of one name, which one side may lack.
fn changes_of(
    by_architecture: bool,
    before: Option<inventory::Group<'_>>,
    after: Option<inventory::Group<'_>>,
) -> Vec<Change> {
    let name = before.or(after).map(|group| group.name()).unwrap_or_default();
    let builds = |side: Option<inventory::Group<'_>>| side.map(|group| group.builds()).unwrap_or_default();
    let mut groups: BTreeMap<Box<str>, Group> = BTreeMap::new();
    let place = |build: &Build| {
        if by_architecture {
            build.architecture.clone()
        } else {
            Box::default()
        }
    };
    for build in builds(before) {
        groups.entry(place(&build)).or_default().before.push((build, false));
    }
    for build in builds(after) {
        groups.entry(place(&build)).or_default().after(build);
    }
    let changes = groups.into_values().flat_map(|group| group.changes(&name));
    changes.collect()
}

/// The builds of one package.
#[derive(Debug, Default)]
struct Group {
    /// Those of the first side, and whether the second has them too.
    before: Vec<(Build, bool)>,
    /// Those that only the second side has.
    after: Vec<Build>,
}

impl Group {
    /// Takes a build of the second side in, when all of the first are there.
    fn after(&mut self, build: Build) {
        let same = |(known, matched): &&mut (Build, bool)| {
            let named = (&known.version, &known.architecture) == (&build.version, &build.architecture);
            !*matched && named && known.has_content_of(&build)
        };
        match self.before.iter_mut().find(same) {
            Some((_, matched)) => *matched = true,
            None => self.after.push(build),
        }
    }

    fn changes(self, name: &str) -> Vec<Change> {
        let (kept, before): (Vec<_>, Vec<_>) = self.before.into_iter().partition(|(_, matched)| *matched);
        let newest = kept.into_iter().map(|(build, _)| build.version);
        let beside = newest.max_by(|a, b| version::compare(a, b));
        let mut before: Vec<Build> = before.into_iter().map(|(build, _)| build).collect();
        let mut after = self.after;
        let mut changes = Vec::new();
        let mut change = |kind, before, after| {
            changes.push(Change {
                kind,
                name: name.into(),
                before,
                after,
                beside: beside.clone(),
            });
        };
        for (old, new) in take_rebuilt(&mut before, &mut after) {
            change(PackageKind::Rebuilt, Some(old), Some(new));
        }
        for side in [&mut before, &mut after] {
            side.sort_by(|a, b| compare(b, a).then_with(|| a.architecture.cmp(&b.architecture)));
        }
        let (mut before, mut after) = (before.into_iter(), after.into_iter());
        loop {
            match (before.next(), after.next()) {
                (None, None) => return changes,
                (Some(old), Some(new)) => change(kind_of_pair(&old, &new), Some(old), Some(new)),
                (Some(old), None) => change(PackageKind::Removed, Some(old), None),
                (None, Some(new)) => change(PackageKind::Added, None, Some(new)),
            }
        }
    }
}

fn compare(a: &Build, b: &Build) -> Ordering {
    version::compare(&a.version, &b.version)
}

fn kind_of_pair(old: &Build, new: &Build) -> PackageKind {
    match compare(old, new) {
        Ordering::Less => PackageKind::Upgraded,
        Ordering::Equal => PackageKind::Rebuilt,
        Ordering::Greater => PackageKind::Downgraded,
    }
}

/// Takes the pairs of one version out of both: first those of one architecture, as a package of several has them all.
fn take_rebuilt(before: &mut Vec<Build>, after: &mut Vec<Build>) -> Vec<(Build, Build)> {
    let mut pairs = Vec::new();
    for same_architecture in [true, false] {
        let mut at = 0;
        while let Some(new) = after.get(at) {
            let fits =
                |old: &Build| compare(old, new).is_eq() && (!same_architecture || old.architecture == new.architecture);
            match before.iter().position(fits) {
                Some(old) => pairs.push((before.remove(old), after.remove(at))),
                None => at += 1,
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::apt::inventory::InventoryReader;
    use crate::model::Digest;

    /// A package by name, version, architecture and a letter for its content.
    type Spec = (&'static str, &'static str, &'static str, u8);

    fn inventory(specs: &[Spec]) -> Inventory {
        let stanza = |(name, version, architecture, content): &Spec| {
            let digest = Digest::of(&[*content]);
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nSize: {content}\n\
                 Filename: pool/{name}_{version}_{architecture}.deb\nSHA256: {digest}\n\n"
            )
        };
        let mut reader = InventoryReader::of_packages();
        for spec in specs {
            reader.push(stanza(spec).as_bytes()).expect("good");
        }
        reader.finish().expect("good")
    }

    fn compared(by_architecture: bool, before: &[Spec], after: &[Spec]) -> Vec<Change> {
        changes(by_architecture, &inventory(before), &inventory(after))
    }

    /// Changes in short: "upgraded a 1 -> 2 beside 0".
    fn told(before: &[Spec], after: &[Spec]) -> Vec<String> {
        let told = |change: &Change| {
            let version = |build: &Option<Build>| build.as_ref().map_or("-".to_owned(), |b| b.version.to_string());
            let beside = change.beside.as_ref().map(|version| format!(" beside {version}"));
            let (from, to) = (version(&change.before), version(&change.after));
            let (kind, name) = (change.kind.name(), &change.name);
            format!("{kind} {name} {from} -> {to}{}", beside.unwrap_or_default())
        };
        let mut told: Vec<_> = compared(false, before, after).iter().map(told).collect();
        told.sort();
        told
    }

    fn a(version: &'static str) -> Spec {
        ("a", version, "amd64", 1)
    }

    #[test]
    fn versions_are_paired_by_debians_order() {
        assert_eq!(told(&[a("1.9")], &[a("1.10")]), ["upgraded a 1.9 -> 1.10"]);
        assert_eq!(told(&[a("1.0")], &[a("1.0~rc1")]), ["downgraded a 1.0 -> 1.0~rc1"]);
        assert_eq!(told(&[a("2")], &[a("1:1")]), ["upgraded a 2 -> 1:1"]);
        assert_eq!(told(&[], &[a("1")]), ["added a - -> 1"]);
        assert_eq!(told(&[a("1")], &[]), ["removed a 1 -> -"]);
        assert_eq!(told(&[a("1")], &[a("1")]), [""; 0]);
    }

    #[test]
    fn several_versions_of_one_name() {
        assert_eq!(
            told(&[a("1"), a("2")], &[a("2"), a("3")]),
            ["upgraded a 1 -> 3 beside 2"]
        );
        assert_eq!(
            told(&[a("1"), a("2")], &[a("1"), a("2"), a("3")]),
            ["added a - -> 3 beside 2"]
        );
        assert_eq!(told(&[a("1"), a("2")], &[a("2")]), ["removed a 1 -> - beside 2"]);
        let two = told(&[a("1"), a("2")], &[a("4"), a("3")]);
        assert_eq!(two, ["upgraded a 1 -> 3", "upgraded a 2 -> 4"]);
        let more = told(&[a("1"), a("2")], &[a("9")]);
        assert_eq!(more, ["removed a 1 -> -", "upgraded a 2 -> 9"]);
    }

    #[test]
    fn other_content_is_a_kind_of_its_own() {
        let other = |version| ("a", version, "amd64", 2);
        assert_eq!(told(&[a("1")], &[other("1")]), ["rebuilt a 1 -> 1"]);
        let both = told(&[a("1"), a("2")], &[other("2"), a("3")]);
        assert_eq!(both, ["rebuilt a 2 -> 2", "upgraded a 1 -> 3"]);
        assert_eq!(told(&[a("1.0")], &[other("1.0-0")]), ["rebuilt a 1.0 -> 1.0-0"]);
        // The same package twice is twice the same.
        assert_eq!(told(&[a("1"), a("1")], &[a("1"), a("1")]), [""; 0]);
    }

    #[test]
    fn architectures_are_apart_in_a_flat_index_only() {
        let before = [("a", "1", "amd64", 1), ("a", "1", "arm64", 2)];
        let after = [("a", "1", "arm64", 2), ("a", "2", "amd64", 3)];
        let flat = compared(true, &before, &after);
        let [change] = &flat[..] else { panic!("{flat:?}") };
        let architectures = [&change.before, &change.after].map(|build| build.as_ref().map(|b| &*b.architecture));
        assert_eq!(architectures, [Some("amd64"); 2]);
        let turned = ("a", "2", "all", 1);
        assert_eq!(told(&[a("1")], &[turned]), ["upgraded a 1 -> 2"]);
        assert_eq!(compared(true, &[a("1")], &[turned]).len(), 2);
    }

    const NAMES: [&str; 3] = ["a", "b", "c"];
    const VERSIONS: [&str; 6] = ["1.0~rc1", "1.0", "1.9", "1.10", "2-1", "1:0"];

    prop_compose! {
        fn spec()(name in 0..NAMES.len(), version in 0..VERSIONS.len(), content in 1..3_u8) -> Spec {
            (NAMES[name], VERSIONS[version], "amd64", content)
        }
    }

    proptest! {
        /// The oracle knows sets, and that VERSIONS is in order; it knows nothing of groups or pairs.
        #[test]
        fn random_sets_agree_with_set_differences(
            before in prop::collection::btree_set(spec(), 0..12),
            after in prop::collection::btree_set(spec(), 0..12),
        ) {
            let (left, right): (Vec<_>, Vec<_>) = (before.iter().copied().collect(), after.iter().copied().collect());
            let changes = compared(false, &left, &right);
            let rank = |version: &str| VERSIONS.iter().position(|known| *known == version).expect("known");
            let side = |build: fn(&Change) -> Option<&Build>| -> BTreeSet<(String, usize, u64)> {
                let of = |change: &Change| build(change).map(|b| (change.name.to_string(), rank(&b.version), b.size));
                changes.iter().filter_map(of).collect()
            };
            let only = |one: &BTreeSet<Spec>, two: &BTreeSet<Spec>| -> BTreeSet<(String, usize, u64)> {
                let specs = one.difference(two);
                specs.map(|(name, version, _, content)| ((*name).to_owned(), rank(version), u64::from(*content))).collect()
            };
            // Every package of one side alone is told exactly once, and no other.
            prop_assert_eq!(side(|change| change.before.as_ref()), only(&before, &after));
            prop_assert_eq!(side(|change| change.after.as_ref()), only(&after, &before));
            let told = changes.iter().map(|c| usize::from(c.before.is_some()) + usize::from(c.after.is_some())).sum::<usize>();
            prop_assert_eq!(told, before.symmetric_difference(&after).count());
            for change in &changes {
                let ranks = [&change.before, &change.after].map(|b| b.as_ref().map(|b| rank(&b.version)));
                let expected = match ranks {
                    [Some(old), Some(new)] if old == new => PackageKind::Rebuilt,
                    [Some(old), Some(new)] if old < new => PackageKind::Upgraded,
                    [Some(_), Some(_)] => PackageKind::Downgraded,
                    [Some(_), None] => PackageKind::Removed,
                    [None, _] => PackageKind::Added,
                };
                prop_assert_eq!(change.kind, expected);
                let both = before.intersection(&after).filter(|spec| spec.0 == &*change.name);
                prop_assert_eq!(change.beside.as_deref().map(rank), both.map(|spec| rank(spec.1)).max());
            }
            // Nothing is left alone on both sides: who has no partner has none to be had.
            for name in NAMES {
                let count = |kind| changes.iter().filter(|c| c.kind == kind && &*c.name == name).count();
                prop_assert!(count(PackageKind::Added) == 0 || count(PackageKind::Removed) == 0);
            }
            // The way back is the same the other way round.
            let back = compared(false, &right, &left);
            let mirrored = |kind| match kind {
                PackageKind::Added => PackageKind::Removed,
                PackageKind::Removed => PackageKind::Added,
                PackageKind::Upgraded => PackageKind::Downgraded,
                PackageKind::Downgraded => PackageKind::Upgraded,
                PackageKind::Rebuilt => PackageKind::Rebuilt,
            };
            for kind in PackageKind::ALL {
                let count = |changes: &[Change], kind| changes.iter().filter(|c| c.kind == kind).count();
                prop_assert_eq!(count(&back, mirrored(kind)), count(&changes, kind));
            }
        }
    }
}

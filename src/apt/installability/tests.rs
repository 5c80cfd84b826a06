//! What can be installed, in small archives whose answers are known, and against every set of packages tried in turn.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;

/// Packages from stanzas in short: `name version architecture`, then fields.
fn packages(index: &str) -> Vec<BinaryPackage> {
    let mut found = Vec::new();
    let mut reader = BinaryReader::new(|package| found.push(package));
    for stanza in index.trim().split("\n\n") {
        let (head, fields) = stanza.split_once('\n').unwrap_or((stanza, ""));
        let [name, version, architecture] = head.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{head}");
        };
        let text = format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{fields}\n\n");
        reader.push(text.as_bytes()).expect("a stanza");
    }
    reader.finish().expect("an index");
    found
}

const AMD64: System<'_> = System {
    native: "amd64",
    foreign: &[],
    essential: Essential::Required,
};

/// Any system for `amd64`, whatever is essential.
const PART: System<'_> = System {
    essential: Essential::Ignored,
    ..AMD64
};

fn both() -> System<'static> {
    System {
        native: "amd64",
        foreign: &["i386"],
        essential: Essential::Required,
    }
}

/// The names that cannot be installed, with their architectures and why.
fn broken_on(system: System<'_>, index: &str) -> Vec<String> {
    let packages = packages(index);
    let found = uninstallable(&packages, system, |_| true);
    let told = found.into_iter().map(|found| {
        let package = &packages[found.at];
        format!(
            "{}:{} {} {}",
            package.name, package.architecture, package.version, found.why
        )
    });
    told.collect()
}

fn broken(index: &str) -> Vec<String> {
    broken_on(AMD64, index)
}

const NONE: [&str; 0] = [];

#[test]
fn what_lacks_something_and_what_needs_that_is_named() {
    let index = "a 1 amd64\nDepends: b (>= 2), c | d\n\nb 1 amd64\n\nc 1 all\nPre-Depends: gone\n\nd 1 amd64\n\n\
                 e 1 amd64\nDepends: a\n\nf 1 amd64\nDepends: c | gone:any, d";
    assert_eq!(
        broken(index),
        [
            "a:amd64 1 needs b (>= 2), which nothing satisfies",
            "c:all 1 needs gone, which nothing satisfies",
            "e:amd64 1 needs a, which cannot be installed itself",
            "f:amd64 1 needs c | gone:any, which cannot be installed itself",
        ]
    );
    assert_eq!(broken("a 1 amd64\nDepends: b\n\nb 1 amd64\nDepends: a"), NONE);
}

#[test]
fn provided_names_count_with_their_versions() {
    let index = |needs: &str, provides: &str| {
        broken(&format!(
            "a 1 amd64\nDepends: {needs}\n\np 9 amd64\nProvides: {provides}"
        ))
        .is_empty()
    };
    assert!(index("v", "v") && index("v", "x, v (= 2)") && index("v (>= 2)", "v (= 2)"));
    assert!(!index("v (>= 2)", "v") && !index("v (>= 3)", "v (= 2)") && !index("v", "w"));
    // What a package provides itself counts for itself.
    assert_eq!(broken("a 1 amd64\nProvides: v\nDepends: v"), NONE);
}

#[test]
fn what_excludes_each_other_cannot_be_needed_together() {
    let index = "a 1 amd64\nDepends: b, c\n\nb 1 amd64\nConflicts: v\n\nc 1 amd64\nProvides: v\n\n\
                 d 1 amd64\nDepends: b, c | e\n\ne 1 amd64\nBreaks: c (<< 1)\n\nf 1 amd64\nDepends: e, c";
    assert_eq!(broken(index), ["a:amd64 1 what it needs excludes each other"]);
    // All of one name conflict with other providers of it, and not with themselves.
    let mta = "m 1 amd64\nProvides: mta\nConflicts: mta\n\nn 1 amd64\nProvides: mta\nConflicts: mta\n\n\
               o 1 amd64\nDepends: m, n\n\np 1 amd64\nDepends: mta";
    assert_eq!(broken(mta), ["o:amd64 1 what it needs excludes each other"]);
    let versions = "a 1 amd64\n\na 2 amd64\n\nb 1 amd64\nDepends: a (= 1), c\n\nc 1 amd64\nDepends: a (>= 2)";
    assert_eq!(broken(versions), ["b:amd64 1 what it needs excludes each other"]);
}

#[test]
fn essential_packages_are_on_every_system() {
    let index = "base 1 amd64\nEssential: yes\n\na 1 amd64\nConflicts: base\n\nb 1 amd64\nDepends: a | c\n\nc 1 amd64";
    assert_eq!(broken(index), ["a:amd64 1 what it needs excludes each other"]);
    assert_eq!(broken_on(PART, index), NONE);
    // One version of each name that is essential is enough, and only one that says so.
    let versions = |more: &str| {
        broken(&format!(
            "base 1 amd64\nEssential: yes\nDepends: gone\n\nbase 2 amd64\n{more}\n\na 1 amd64"
        ))
    };
    let lacking = "base:amd64 1 needs gone, which nothing satisfies";
    assert_eq!(versions("Essential: yes"), [lacking]);
    let no_base = "needs base, which is essential and cannot be installed itself";
    assert_eq!(
        versions("Essential: no"),
        [
            lacking,
            &format!("base:amd64 2 {no_base}"),
            &format!("a:amd64 1 {no_base}")
        ]
    );
}

/// As Debian's archive of security updates is by itself: essential packages without what these need, and packages of data
/// that need nothing.
#[test]
fn nothing_can_be_installed_where_the_essential_packages_cannot() {
    let part = "tool 1 amd64\nEssential: yes\n\nlibc-bin 1 amd64\nEssential: yes\nDepends: libc6\n\n\
                libc6 1 amd64\nDepends: libgcc-s1\n\nx-doc 1 all";
    let no_libc = "needs libc-bin, which is essential and cannot be installed itself";
    let (bin, libc) = (
        "libc-bin:amd64 1 needs libc6, which cannot be installed itself",
        "libc6:amd64 1 needs libgcc-s1, which nothing satisfies",
    );
    assert_eq!(
        broken(part),
        [
            &format!("tool:amd64 1 {no_libc}"),
            bin,
            libc,
            &format!("x-doc:all 1 {no_libc}")
        ]
    );
    assert_eq!(
        broken_on(PART, part),
        [bin, libc],
        "the rest is fine in part of a system"
    );
    // Each of them can be installed, but no system has both.
    let enemies = "x 1 amd64\nEssential: yes\n\ny 1 amd64\nEssential: yes\nConflicts: x\n\nz-doc 1 all";
    let no_system = "needs the essential packages, which exclude each other";
    let all = ["x:amd64", "y:amd64", "z-doc:all"].map(|name| format!("{name} 1 {no_system}"));
    assert_eq!(broken(enemies), all);
    assert_eq!(broken_on(PART, enemies), NONE);
}

#[test]
fn architectures_keep_to_themselves_unless_told_otherwise() {
    let one =
        |needs: &str, other: &str| broken_on(both(), &format!("a 1 amd64\nDepends: {needs}\n\n{other}")).is_empty();
    assert!(!one("b", "b 1 i386"));
    assert!(one("b", "b 1 i386\nMulti-Arch: foreign"));
    assert!(one("b", "b 1 all"));
    assert!(one("b:i386", "b 1 i386") && !one("b:i386", "b 1 amd64"));
    assert!(one("b:i386", "b 1 amd64\nMulti-Arch: foreign"));
    assert!(one("b:any", "b 1 i386\nMulti-Arch: allowed") && !one("b:any", "b 1 amd64"));
    assert!(!one("b", "b 1 i386\nMulti-Arch: allowed"));
    // A package for all counts as one of the system's own architecture.
    let all = "a 1 i386\nDepends: b\n\nb 1 all";
    assert_eq!(broken_on(both(), all), ["a:i386 1 needs b, which nothing satisfies"]);
    assert_eq!(broken(all), NONE, "nobody asked for i386");

    let together = |kind: &str, version: &str| {
        let index = format!(
            "x 1 amd64\nDepends: l:amd64, l:i386\n\nl 1 amd64\nMulti-Arch: {kind}\n\nl {version} i386\nMulti-Arch: {kind}"
        );
        broken_on(both(), &index).is_empty()
    };
    assert!(together("same", "1"));
    assert!(
        together("same\nProvides: v\nConflicts: v", "1"),
        "it excludes other providers only"
    );
    assert!(!together("same", "2") && !together("allowed", "1") && !together("no", "1"));
    assert!(together("foreign", "2"), "one of them is enough");
}

#[test]
fn only_what_is_wanted_is_told_and_the_first_of_equals_counts() {
    let packages = packages("a 1 amd64\nDepends: gone\n\nb 1 amd64\nDepends: gone\n\nb 1 amd64\nDepends: nowhere");
    let found = uninstallable(&packages, AMD64, |at| at > 0);
    let why = Why::Missing("gone".to_owned());
    assert_eq!(found, [Uninstallable { at: 1, why }]);
}

/// A small generator, the same at every run (a linear congruential one with Knuth's constants).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len())]
    }
}

/// An archive of a dozen packages with every kind of relation among a few names.
fn some_archive(dice: &mut Dice) -> Vec<BinaryPackage> {
    let name = |dice: &mut Dice| format!("p{}", dice.roll(7));
    let relation = |dice: &mut Dice| {
        let version = match dice.roll(4) {
            0 => format!(" (>= {})", 1 + dice.roll(3)),
            1 => format!(" (<< {})", 1 + dice.roll(3)),
            _ => String::new(),
        };
        let qualifier = dice.of(&["", "", "", ":any", ":i386"]);
        format!("{}{qualifier}{version}", name(dice))
    };
    let mut index = String::new();
    for _ in 0..11 {
        let architecture = dice.of(&["amd64", "amd64", "i386", "all"]);
        let mut line = |text: String| writeln!(index, "{text}").expect("a String takes all");
        line(format!("{} {} {architecture}", name(dice), 1 + dice.roll(2)));
        line(format!(
            "Multi-Arch: {}",
            dice.of(&["no", "no", "same", "foreign", "allowed"])
        ));
        line(format!(
            "Essential: {}",
            dice.of(&["no", "no", "no", "no", "no", "yes"])
        ));
        if dice.roll(3) > 0 {
            line(format!(
                "Depends: {} | {}, {}",
                relation(dice),
                relation(dice),
                relation(dice)
            ));
        }
        if dice.roll(3) == 0 {
            line(format!("Conflicts: {}", relation(dice).replace(":i386", "")));
        }
        if dice.roll(4) == 0 {
            let (one, other, version) = (dice.roll(7), dice.roll(7), 1 + dice.roll(3));
            line(format!("Provides: p{one}, p{other} (= {version})"));
        }
        index.push('\n');
    }
    packages(&index)
}

/// The places that are in no set of packages which go together: every set is tried.
fn by_force(packages: &[BinaryPackage], system: System<'_>) -> BTreeSet<usize> {
    let universe = Universe::of(packages, system);
    let n = universe.len();
    let goes_together = |set: u32| {
        let has = |at: &usize| set & (1 << at) != 0;
        (0..n).filter(has).all(|at| {
            universe
                .needs(at)
                .iter()
                .all(|group| universe.members(*group).iter().any(has))
                && !universe.excludes(at).iter().any(has)
        })
    };
    let good: Vec<u32> = (0..1_u32 << n).filter(|set| goes_together(*set)).collect();
    let mut names = std::collections::BTreeMap::<&str, u32>::new();
    let is_required = |at: &usize| system.essential == Essential::Required && universe.package(*at).essential;
    for at in (0..n).filter(is_required) {
        *names.entry(&universe.package(at).name).or_default() |= 1 << at;
    }
    let has_essential = |set: &&u32| names.values().all(|versions| *set & versions != 0);
    let systems: Vec<u32> = good.iter().filter(has_essential).copied().collect();
    let impossible = (0..n).filter(|at| !systems.iter().any(|set| set & (1 << at) != 0));
    impossible.map(|at| universe.place(at)).collect()
}

#[test]
fn random_archives_have_the_answers_that_trying_everything_gives() {
    let mut dice = Dice(7);
    let (mut conflicts, mut fine, mut systems) = (0, 0, 0);
    for round in 0..400 {
        let packages = some_archive(&mut dice);
        let both_in_part = System {
            essential: Essential::Ignored,
            ..both()
        };
        for system in [AMD64, PART, both(), both_in_part] {
            let found = uninstallable(&packages, system, |_| true);
            conflicts += found.iter().filter(|found| found.why == Why::Conflict).count();
            systems += usize::from(!found.iter().any(|found| matches!(found.why, Why::Essential(_))));
            let found: BTreeSet<usize> = found.into_iter().map(|found| found.at).collect();
            fine += packages.len() - found.len();
            assert_eq!(found, by_force(&packages, system), "round {round}: {packages:#?}");
        }
    }
    assert!(conflicts > 50 && fine > 500, "{conflicts} {fine}");
    assert!((900..1500).contains(&systems), "{systems} of 1600");
}

//! What can be installed of Debian's own packages after something was done to them, compared with `dose-debcheck`.
//!
//! Owns the mutations. The packages are those of the indices that APT has on this machine: of each seed some, with what they
//! need and with the essential ones.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use mirrorctl::apt::installability::{BinaryPackage, BinaryReader, MultiArch};
use mirrorctl::apt::relation::{Relation, alternatives, groups};
use mirrorctl_testkit::{AptList, Dice, native_architecture};

use crate::installability::Judged;

/// Packages of one archive, before mutations: enough that their relations meet.
const PACKAGES: usize = 300;
/// Mutations of one archive.
const MUTATIONS: usize = 60;
/// The other architecture.
const FOREIGN: &str = "i386";

/// All that Debian has.
struct Debian {
    native: String,
    packages: Vec<BinaryPackage>,
    /// Who has or provides a name: packages of that name first.
    providers: HashMap<String, Vec<usize>>,
    essential: Vec<usize>,
}

impl Debian {
    fn of_this_machine() -> Self {
        let mut packages: Vec<BinaryPackage> = Vec::new();
        for list in AptList::all() {
            let mut reader = BinaryReader::new(|package| packages.push(package));
            reader.push(list.text().as_bytes()).expect("an index");
            reader.finish().expect("an index");
        }
        let mut providers: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, package) in packages.iter().enumerate() {
            providers.entry(package.name.to_string()).or_default().push(at);
        }
        for (at, package) in packages.iter().enumerate() {
            for provided in alternatives_of(&package.provides) {
                providers.entry(provided.name.to_owned()).or_default().push(at);
            }
        }
        let essential = (0..packages.len()).filter(|at| packages[*at].essential).collect();
        Self {
            native: native_architecture(),
            packages,
            providers,
            essential,
        }
    }

    /// Some packages with what they need, in every version there is, after the essential ones with what these need.
    fn some(&self, mut dice: Dice) -> Mutant {
        let (mut seen, mut found, mut base) = (HashSet::new(), Vec::new(), None);
        let mut open = self.essential.clone();
        while found.len() < PACKAGES {
            let Some(at) = open.pop() else {
                base.get_or_insert(found.len());
                open.push(dice.roll(self.packages.len()));
                continue;
            };
            if !seen.insert(at) {
                continue;
            }
            found.push(self.packages[at].clone());
            open.extend(self.named(&self.packages[at].name));
            for group in groups(&self.packages[at].needs) {
                open.extend(
                    alternatives(group)
                        .next()
                        .and_then(|first| self.named(first.name).next()),
                );
            }
        }
        Mutant {
            base: base.expect("essential packages need less than all"),
            packages: found,
            dice,
        }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        self.providers.get(name).into_iter().flatten().copied()
    }
}

/// Every relation of a field, of whatever group.
fn alternatives_of(field: &str) -> impl Iterator<Item = Relation<'_>> {
    groups(field).flat_map(alternatives)
}

/// An archive to which things happen.
struct Mutant {
    packages: Vec<BinaryPackage>,
    /// The first so many are what every system has.
    base: usize,
    dice: Dice,
}

/// All that can happen to a package.
const KINDS: [fn(&mut Mutant, usize); 14] = [
    Mutant::exclude,
    Mutant::exclude,
    Mutant::need,
    Mutant::provide,
    Mutant::provide,
    Mutant::change_multi_arch,
    Mutant::qualify,
    Mutant::offer_another,
    Mutant::demand_version,
    Mutant::change_version,
    Mutant::add_version,
    Mutant::add_architecture,
    Mutant::need_both_architectures,
    Mutant::remove_or_require,
];

impl Mutant {
    fn mutate(&mut self) {
        // Where the base is broken, all packages have one answer: not too often.
        let first = if self.dice.roll(40) == 0 { 0 } else { self.base };
        let at = first + self.dice.roll(self.packages.len() - first);
        KINDS[self.dice.roll(KINDS.len())](self, at);
    }

    /// A name that there is, or that some package may provide.
    fn name(&mut self) -> String {
        if self.dice.roll(3) == 0 {
            return format!("virtual-{}", self.dice.roll(6));
        }
        let at = self.dice.roll(self.packages.len());
        self.packages[at].name.to_string()
    }

    /// A version of the name, or one close to it.
    fn version_of(&mut self, name: &str) -> String {
        let known = self.packages.iter().find(|package| *package.name == *name);
        let version = known.map_or("1", |package| &*package.version).to_owned();
        match self.dice.roll(4) {
            0 => format!("{version}~d1"),
            1 => format!("{version}+d1"),
            _ => version,
        }
    }

    fn relation(&mut self) -> String {
        let name = self.name();
        self.with_version(name)
    }

    /// A relation to a name, perhaps only to some versions.
    fn with_version(&mut self, name: String) -> String {
        if self.dice.roll(2) == 0 {
            return name;
        }
        let version = self.version_of(&name);
        format!("{name} ({} {version})", self.dice.of(&["<<", "<=", "=", ">=", ">>"]))
    }

    /// Excludes something, mostly what others need.
    fn exclude(&mut self, at: usize) {
        let other = self.dice.roll(self.packages.len());
        let needed = self.needed(other).filter(|name| *name != *self.packages[at].name);
        let relation = match needed {
            Some(name) if self.dice.roll(3) > 0 => self.with_version(name),
            _ => self.relation(),
        };
        append(&mut self.packages[at].excludes, &relation);
    }

    fn need(&mut self, at: usize) {
        let relations: Vec<String> = (0..=self.dice.roll(3)).map(|_| self.relation()).collect();
        append(&mut self.packages[at].needs, &relations.join(" | "));
    }

    fn provide(&mut self, at: usize) {
        let name = self.name();
        let provided = match self.dice.roll(3) {
            0 => name,
            _ => format!("{name} (= {})", self.version_of(&name)),
        };
        append(&mut self.packages[at].provides, &provided);
    }

    fn change_multi_arch(&mut self, at: usize) {
        let kinds = [MultiArch::No, MultiArch::Same, MultiArch::Foreign, MultiArch::Allowed];
        self.packages[at].multi_arch = kinds[self.dice.roll(kinds.len())];
    }

    /// Says of which architecture a dependency must be; what has the name may allow it.
    fn qualify(&mut self, at: usize) {
        let Some(name) = self.needed(at) else { return };
        let qualifier = self.dice.of(&["any", "any", "any", FOREIGN, "native"]);
        let allows = self.dice.roll(3) > 0;
        for package in self
            .packages
            .iter_mut()
            .filter(|package| *package.name == *name && allows)
        {
            package.multi_arch = MultiArch::Allowed;
        }
        self.replace(at, &name, &format!("{name}:{qualifier}"));
    }

    /// Gives a dependency another alternative, before it or after it.
    fn offer_another(&mut self, at: usize) {
        let Some(name) = self.needed(at) else { return };
        let other = self.relation();
        let both = match self.dice.roll(3) {
            0 => format!("{other} | {name}"),
            1 => format!("{name} | {other}"),
            _ => other,
        };
        self.replace(at, &name, &both);
    }

    fn demand_version(&mut self, at: usize) {
        let Some(name) = self.needed(at) else { return };
        let demanded = self.version_of(&name);
        let operator = self.dice.of(&["<<", "<=", "=", ">=", ">>"]);
        self.replace(at, &name, &format!("{name} ({operator} {demanded})"));
    }

    fn change_version(&mut self, at: usize) {
        let name = self.packages[at].name.clone();
        self.packages[at].version = self.version_of(&name).into();
    }

    fn add_version(&mut self, at: usize) {
        self.packages.push(self.packages[at].clone());
        self.change_version(self.packages.len() - 1);
    }

    fn add_architecture(&mut self, at: usize) {
        let mut package = self.packages[at].clone();
        if &*package.architecture != "all" {
            package.architecture = FOREIGN.into();
            self.packages.push(package);
        }
    }

    /// Needs two builds of a package, which go together or not.
    fn need_both_architectures(&mut self, at: usize) {
        let other = self.dice.roll(self.packages.len());
        let package = &self.packages[other];
        if &*package.architecture == "all" {
            return;
        }
        let both = format!("{0}:{1}, {0}:{FOREIGN}", package.name, package.architecture);
        if self.dice.roll(4) > 0 {
            self.packages[other].multi_arch = MultiArch::Same;
        }
        self.add_architecture(other);
        if self.dice.roll(4) == 0 {
            self.change_version(other);
        }
        append(&mut self.packages[at].needs, &both);
    }

    fn remove_or_require(&mut self, at: usize) {
        match self.dice.roll(4) {
            0 => self.packages[at].essential = true,
            _ => drop(self.packages.remove(at)),
        }
    }

    /// The name of a dependency, if the package has any.
    fn needed(&mut self, at: usize) -> Option<String> {
        let names: Vec<&str> = alternatives_of(&self.packages[at].needs)
            .map(|relation| relation.name)
            .collect();
        (!names.is_empty()).then(|| names[self.dice.roll(names.len())].to_owned())
    }

    /// Says something else instead of all dependencies on a name.
    fn replace(&mut self, at: usize, name: &str, text: &str) {
        let package = &mut self.packages[at];
        package.needs = each_relation(&package.needs, |relation, same| {
            if relation.name == name { text.to_owned() } else { same }
        });
    }

    /// Takes out what dose is known to read otherwise than APT and dpkg: `:any` of what does not allow it or in some versions
    /// only, and some conflicts of `Multi-Arch: same` packages with names that others provide.
    fn without_known_differences(&mut self) {
        let mut allowed: HashMap<String, bool> = HashMap::new();
        for package in &self.packages {
            let all = allowed.entry(package.name.to_string()).or_insert(true);
            *all &= package.multi_arch == MultiArch::Allowed;
        }
        let provides = |package: &BinaryPackage| -> HashSet<String> {
            alternatives_of(&package.provides)
                .map(|provided| provided.name.to_owned())
                .collect()
        };
        let provided: HashSet<String> = self.packages.iter().flat_map(provides).collect();
        for package in &mut self.packages {
            package.needs = each_relation(&package.needs, |relation, same| {
                let is_read_alike = relation.version.is_none() && allowed.get(relation.name) != Some(&false);
                if is_read_alike { same } else { same.replace(":any", "") }
            });
            if package.multi_arch == MultiArch::Same {
                let own = provides(package);
                let is_read_alike = |relation: &Relation<'_>| {
                    let is_own = *package.name == *relation.name || own.contains(relation.name);
                    !provided.contains(relation.name)
                        || !is_own && (relation.version.is_none() || allowed.contains_key(relation.name))
                };
                let kept = groups(&package.excludes)
                    .filter(|group| alternatives(group).all(|relation| is_read_alike(&relation)));
                package.excludes = kept.collect::<Vec<_>>().join(", ").into();
            }
        }
    }

    fn index(&self) -> String {
        let (mut text, mut seen) = (String::new(), HashSet::new());
        for (at, package) in self.packages.iter().enumerate() {
            if !seen.insert((&package.name, &package.version, &package.architecture)) {
                continue;
            }
            let mut line = |field: &str, value: &str| {
                if !value.is_empty() {
                    writeln!(text, "{field}: {value}").expect("a String takes all");
                }
            };
            line("Package", &package.name);
            line("Version", &package.version);
            line("Architecture", &package.architecture);
            let kind = match package.multi_arch {
                MultiArch::No => "no",
                MultiArch::Same => "same",
                MultiArch::Foreign => "foreign",
                MultiArch::Allowed => "allowed",
            };
            line("Multi-Arch", kind);
            line("Essential", if package.essential { "yes" } else { "" });
            line(["Depends", "Pre-Depends"][at % 2], &package.needs);
            line("Provides", &package.provides);
            line(["Conflicts", "Breaks"][at / 2 % 2], &package.excludes);
            text.push('\n');
        }
        text
    }
}

fn append(field: &mut Box<str>, text: &str) {
    *field = if field.is_empty() {
        text.into()
    } else {
        format!("{field}, {text}").into()
    };
}

/// A field with every relation written as `write` has it, which is given its text, too.
fn each_relation(field: &str, write: impl Fn(Relation<'_>, String) -> String) -> Box<str> {
    let one = |text: &str| {
        let text = text.trim();
        Relation::parse(text).map_or(text.to_owned(), |relation| write(relation, text.to_owned()))
    };
    let group = |group: &str| group.split('|').map(one).collect::<Vec<_>>().join(" | ");
    groups(field).map(group).collect::<Vec<_>>().join(", ").into()
}

#[test]
fn the_answers_to_mutations_of_debian_are_those_of_dose() {
    let debian = Debian::of_this_machine();
    let mut judged = Judged::default();
    for seed in 0..50 {
        let mut mutant = debian.some(Dice(seed));
        (0..MUTATIONS).for_each(|_| mutant.mutate());
        mutant.without_known_differences();
        judged.add(&mutant.index(), &debian.native, &format!("seed {seed}"));
    }
    judged.check();
}

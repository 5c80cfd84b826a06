//! What can be installed, compared with `dose-debcheck`, Debian's own judge.
//!
//! Owns the comparison of both answers, and archives made by dice, with every kind of relation. Mutations of Debian's own
//! packages are in `mutations`.

use std::fmt::Write as _;
use std::path::Path;

use mirrorctl::apt::installability::{BinaryPackage, BinaryReader, Essential, System, Why, uninstallable};
use mirrorctl_testkit::{Builds, Dice, Program, Scratch, broken_by_dose};

/// Number of names in an archive; about as many packages have them.
const NAMES: usize = 120;

/// The first so many names allow `:any`, in every build. dose takes whatever has the name for such a dependency, in every
/// version; APT does not, and neither do we. So nothing else is asked for in this way, and no version of it.
const ALLOWED: usize = 30;

/// The last so many names may be essential, which with their many relations they seldom can be all at once.
const ESSENTIAL: usize = 8;

/// An index of packages with relations of every kind among a few names.
fn index(dice: &mut Dice) -> String {
    let mut text = String::new();
    let essential = dice.roll(ESSENTIAL);
    for number in 0..NAMES {
        let goes_together = dice.roll(4) == 0;
        for (architecture, version) in builds(dice) {
            let mut line = |field: &str, value: &str| writeln!(text, "{field}: {value}").expect("a String takes all");
            line("Package", &format!("p{number}"));
            line("Version", version);
            line("Architecture", architecture);
            // Builds that can be installed together are the same in this.
            let multi_arch = match if goes_together { 0 } else { dice.roll(4) } {
                _ if number < ALLOWED => "allowed",
                0 => "same",
                1 => "foreign",
                _ => "no",
            };
            line("Multi-Arch", multi_arch);
            if number >= NAMES - essential {
                // Perhaps not in every build.
                line("Essential", dice.of(&["yes", "yes", "yes", "no"]));
            }
            if dice.roll(10) < 8 {
                let mut groups: Vec<String> = (0..=dice.roll(3)).map(|_| group(dice)).collect();
                if dice.roll(4) == 0 {
                    let both = ALLOWED + dice.roll(NAMES - ALLOWED);
                    groups.extend(["amd64", "i386"].map(|architecture| format!("p{both}:{architecture}")));
                }
                line(dice.of(&["Depends", "Pre-Depends"]), &groups.join(", "));
            }
            // What a package has alone with its other builds, and excludes in others, excludes none of them.
            let alone = dice.roll(4) == 0;
            let own = if alone { format!(", own{number}") } else { String::new() };
            if alone || dice.roll(3) == 0 {
                let (one, other, version) = (dice.roll(10), dice.roll(10), 1 + dice.roll(3));
                line("Provides", &format!("v{one}, v{other} (= {version}){own}"));
            }
            // dose forgets conflicts of packages for several architectures with names that others only provide.
            if alone || dice.roll(4) == 0 {
                let other = if multi_arch == "same" {
                    real(dice)
                } else {
                    relation(dice, false)
                };
                line(
                    dice.of(&["Conflicts", "Breaks"]),
                    &format!("{other}, {}{own}", real(dice)),
                );
            }
            text.push('\n');
        }
    }
    text
}

/// The architectures and versions in which there is a package.
fn builds(dice: &mut Dice) -> Vec<(&'static str, &'static str)> {
    match dice.roll(8) {
        0 => vec![("all", "2")],
        1 => vec![("i386", "1")],
        2 => vec![("amd64", "1"), ("amd64", "2")],
        3 => vec![("amd64", "2"), ("i386", "1")],
        4 | 5 => vec![("amd64", "2"), ("i386", "2")],
        _ => vec![("amd64", "1:0.9")],
    }
}

/// One dependency, perhaps with alternatives.
fn group(dice: &mut Dice) -> String {
    let alternatives: Vec<String> = (0..=dice.roll(3)).map(|_| relation(dice, true)).collect();
    alternatives.join(" | ")
}

fn relation(dice: &mut Dice, may_be_qualified: bool) -> String {
    if may_be_qualified && dice.roll(8) == 0 {
        return format!("p{}:any", dice.roll(ALLOWED));
    }
    if dice.roll(4) == 0 {
        return format!("v{}{}", dice.roll(12), version(dice));
    }
    let is_qualified = may_be_qualified && dice.roll(12) == 0;
    if is_qualified {
        format!("p{}:i386", dice.roll(NAMES))
    } else {
        real(dice)
    }
}

/// A relation to the name of a package, which there need not be.
fn real(dice: &mut Dice) -> String {
    format!("p{}{}", dice.roll(NAMES + 3), version(dice))
}

fn version(dice: &mut Dice) -> String {
    match dice.roll(4) {
        0 => format!(" ({} {})", dice.of(&[">=", "<=", "<<", ">>", "="]), 1 + dice.roll(3)),
        _ => String::new(),
    }
}

/// What we say, and for how many packages only because of what excludes each other.
fn ours(index: &str, system: System<'_>) -> (Builds, usize) {
    let mut packages: Vec<BinaryPackage> = Vec::new();
    let mut reader = BinaryReader::new(|package| packages.push(package));
    reader.push(index.as_bytes()).expect("an index");
    reader.finish().expect("an index");
    let broken = uninstallable(&packages, system, |_| true);
    let conflicts = broken.iter().filter(|broken| broken.why == Why::Conflict).count();
    let build = |package: &BinaryPackage| {
        (
            package.name.to_string(),
            package.version.to_string(),
            package.architecture.to_string(),
        )
    };
    let builds = broken.iter().map(|broken| build(&packages[broken.at]));
    (builds.collect(), conflicts)
}

/// What dose-debcheck says of the index in a file.
fn doses(index: &Path, system: System<'_>) -> Builds {
    let mut dose = Program::new("dose-debcheck", "dose-distcheck").arg("--failures");
    dose = dose.arg(format!("--deb-native-arch={}", system.native));
    if !system.foreign.is_empty() {
        dose = dose.arg(format!("--deb-foreign-archs={}", system.foreign.join(",")));
    }
    if system.essential == Essential::Ignored {
        dose = dose.arg("--deb-ignore-essential");
    }
    broken_by_dose(&dose.arg(index).run().stdout)
}

/// What cannot be installed from archives, by both judges.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Packages that were judged, once for each system.
    pub(crate) packages: usize,
    /// Those of them that cannot be installed.
    pub(crate) broken: usize,
    /// Those of these that lack nothing, but need what excludes each other.
    pub(crate) conflicts: usize,
    /// Systems that were judged.
    pub(crate) systems: usize,
    /// Those that cannot be, as the essential packages do not go together.
    pub(crate) impossible: usize,
}

impl Judged {
    /// Judges an archive for systems with one architecture and with two, with essential packages and without.
    ///
    /// # Panics
    /// When dose has another answer, with the archive and `what` it is.
    #[track_caller]
    pub(crate) fn add(&mut self, index: &str, native: &str, what: &str) {
        let scratch = Scratch::new();
        let file = scratch.file("Packages", index);
        for foreign in [&[][..], &["i386"]] {
            for essential in [Essential::Required, Essential::Ignored] {
                let system = System {
                    native,
                    foreign,
                    essential,
                };
                let ((ours, conflicts), doses) = (ours(index, system), doses(&file, system));
                let differ: Vec<_> = ours.symmetric_difference(&doses).collect();
                assert!(differ.is_empty(), "{what}, {system:?}: {differ:?}\n{index}");
                let has = |architecture: &str| {
                    architecture == "all" || architecture == native || foreign.contains(&architecture)
                };
                let architectures = index.lines().filter_map(|line| line.strip_prefix("Architecture: "));
                let packages = architectures.filter(|architecture| has(architecture)).count();
                self.packages += packages;
                self.broken += ours.len();
                self.conflicts += conflicts;
                self.systems += 1;
                self.impossible += usize::from(ours.len() == packages);
            }
        }
    }

    /// Checks that the archives were worth judging: that no answer was the rule.
    #[track_caller]
    pub(crate) fn check(&self) {
        let share = |part: usize, whole: usize| 100 * part / whole;
        assert!((10..90).contains(&share(self.broken, self.packages)), "{self:?}");
        assert!((5..50).contains(&share(self.impossible, self.systems)), "{self:?}");
        assert!(self.conflicts > self.systems, "{self:?}");
    }
}

#[test]
fn the_answers_are_those_of_dose() {
    let mut judged = Judged::default();
    for seed in 0..50 {
        judged.add(&index(&mut Dice(seed)), "amd64", &format!("seed {seed}"));
    }
    judged.check();
}

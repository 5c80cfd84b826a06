//! What can be installed of Debian's own archive: the answer, the time, and those of `dose-debcheck`.
//!
//! Run with `cargo bench --bench installability`; a number at the end of the command line is that of the rounds. Owns the
//! comparison on the indices that APT has on this machine: a release, its security updates by themselves, and both
//! together. Both judges are processes of their own that read the same file, and are measured in turns and in the same way. Fails
//! when an index is missing, or when the two name different packages.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::{is_wanted, machine, median, milliseconds, settle, table};
use mirrorctl::apt::installability::{BinaryPackage, BinaryReader, Essential, System, uninstallable};
use mirrorctl_testkit::{AptList, Builds, Program, Scratch, Usage, broken_by_dose, native_architecture};

/// Rounds for one figure, of which each takes dose minutes.
const ROUNDS: usize = 3;
/// The argument by which this program is one of the judges, followed by an architecture, the word for what essential packages
/// are, an index, and where to write.
const JUDGE: &str = "--judge";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, native, essential, index, answer] = arguments.as_slice()
        && word == JUDGE
    {
        judge(native, essential, Path::new(index), Path::new(answer));
        return ExitCode::SUCCESS;
    }
    if !is_wanted() {
        return ExitCode::SUCCESS;
    }
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok());
    let lists = AptList::all();
    let security: Vec<&AptList> = lists.iter().filter(|list| list.suite.ends_with("-security")).collect();
    let release: Vec<&AptList> = lists.iter().filter(|list| !list.suite.contains('-')).collect();
    if release.is_empty() || security.is_empty() {
        println!(
            "MISSING: the index of a release and that of its security updates: \"apt-get update\" as root fetches them when APT's \
             sources name the suites, such as bookworm and bookworm-security"
        );
        return ExitCode::FAILURE;
    }
    let bench = Bench {
        scratch: Scratch::new(),
        native: native_architecture(),
        rounds: rounds.unwrap_or(ROUNDS),
    };
    println!("{}", machine(&bench.scratch));
    let both = [release.clone(), security.clone()].concat();
    let cases = [
        ("main", release),
        ("security alone", security),
        ("main and security", both),
    ];
    let compared = cases.iter().flat_map(|(name, lists)| bench.compare(name, lists));
    let compared: Vec<Compared> = compared.collect();
    let rows: Vec<Vec<String>> = compared.iter().map(Compared::row).collect();
    let head = [
        "", "packages", "broken", "dose's", "wall", "dose's", "ratio", "CPU", "dose's", "ratio", "memory", "dose's",
    ];
    print!("{}", table("what cannot be installed", &head, &rows));
    if compared.iter().all(|compared| compared.ours == compared.doses) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A question about essential packages: the word by which [`judge`] is asked it, what the table calls it, and dose's option.
type Question = (&'static str, &'static str, &'static str);

const QUESTIONS: [Question; 2] = [
    ("required", "", ""),
    ("ignored", ", essential ignored", "--deb-ignore-essential"),
];

/// Writes what cannot be installed, a line for each.
fn judge(native: &str, essential: &str, index: &Path, answer: &Path) {
    let index = fs::read(index).expect("the index that was written");
    let mut packages: Vec<BinaryPackage> = Vec::new();
    let mut reader = BinaryReader::new(|package| packages.push(package));
    reader.push(&index).expect("an index");
    reader.finish().expect("an index");
    let system = System {
        native,
        foreign: &[],
        essential: if essential == QUESTIONS[0].0 {
            Essential::Required
        } else {
            Essential::Ignored
        },
    };
    let broken = uninstallable(&packages, system, |_| true).into_iter();
    let lines = broken.map(|broken| {
        let package = &packages[broken.at];
        format!("{}\t{}\t{}\n", package.name, package.version, package.architecture)
    });
    fs::write(answer, lines.collect::<String>()).expect("a scratch file");
}

struct Bench {
    scratch: Scratch,
    native: String,
    rounds: usize,
}

impl Bench {
    /// Asks both judges both questions about some indices together, and tells where they differ. Nothing large is kept in
    /// memory: the kernel would count it for the judges.
    fn compare(&self, name: &str, lists: &[&AptList]) -> Vec<Compared> {
        let index = self.scratch.path().join("Packages");
        AptList::write(lists.iter().copied(), &index);
        let packages = packages(&index);
        let suites: Vec<&str> = lists.iter().map(|list| list.suite.as_str()).collect();
        println!("{name}: {}", suites.join(", "));
        settle();
        let each = QUESTIONS.iter().map(|question| {
            let rounds: Vec<[(Builds, Usage); 2]> = (0..self.rounds)
                .map(|_| [self.ask_ours(question, &index), self.ask_dose(question, &index)])
                .collect();
            let usages = |of: usize| rounds.iter().map(|round| round[of].1).collect();
            let compared = Compared {
                name: format!("{name}{}", question.1),
                packages,
                ours: rounds[0][0].0.clone(),
                doses: rounds[0][1].0.clone(),
                our_usages: usages(0),
                dose_usages: usages(1),
            };
            for (name, version, architecture) in compared.ours.symmetric_difference(&compared.doses) {
                println!("DIFFERENT: {}: {name} {version} {architecture}", compared.name);
            }
            compared
        });
        each.collect()
    }

    fn ask_ours(&self, (word, ..): &Question, index: &Path) -> (Builds, Usage) {
        let itself = std::env::current_exe().expect("this program");
        let judge = Program::at(&itself).args([JUDGE, self.native.as_str(), word]);
        let answer = self.answer();
        let usage = judge.arg(index).arg(&answer).measure();
        (ours(&fs::read_to_string(&answer).expect("the answer")), usage)
    }

    fn ask_dose(&self, (_, _, option): &Question, index: &Path) -> (Builds, Usage) {
        // Its exit code says whether anything is broken; the summary in its answer, that it got to its end.
        let script = "dose-debcheck --failures --deb-native-arch=\"$1\" $2 \"$3\" > \"$4\" || true";
        let shell = Program::new("sh", "dash").args(["-c", script, "sh", &self.native, option]);
        let answer = self.answer();
        let usage = shell.arg(index).arg(&answer).measure();
        (broken_by_dose(&fs::read_to_string(&answer).expect("the answer")), usage)
    }

    fn answer(&self) -> PathBuf {
        self.scratch.path().join("answer")
    }
}

/// Both answers, and what they took.
struct Compared {
    name: String,
    packages: usize,
    ours: Builds,
    doses: Builds,
    our_usages: Vec<Usage>,
    dose_usages: Vec<Usage>,
}

impl Compared {
    fn row(&self) -> Vec<String> {
        let mut row = vec![
            self.name.clone(),
            self.packages.to_string(),
            self.ours.len().to_string(),
            self.doses.len().to_string(),
        ];
        for of in [|usage: &Usage| usage.wall, |usage: &Usage| usage.cpu] {
            let middle = |usages: &[Usage]| median(&usages.iter().map(of).collect::<Vec<_>>());
            let (ours, doses) = (middle(&self.our_usages), middle(&self.dose_usages));
            let ratio = doses.as_secs_f64() / ours.as_secs_f64();
            row.extend([milliseconds(ours), milliseconds(doses), format!("{ratio:.1}")]);
        }
        for usages in [&self.our_usages, &self.dose_usages] {
            let peak = median(&usages.iter().map(|usage| usage.peak).collect::<Vec<_>>());
            row.push(format!("{} MB", peak / 1_000_000));
        }
        row
    }
}

/// Number of packages in an index.
fn packages(index: &Path) -> usize {
    let lines = BufReader::new(fs::File::open(index).expect("the index")).lines();
    let lines = lines.map(|line| line.expect("text"));
    lines.filter(|line| line.starts_with("Package: ")).count()
}

/// The answer of [`judge`].
fn ours(answer: &str) -> Builds {
    let build = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut field = || fields.next().expect("three fields in a line");
        (field(), field(), field())
    };
    answer.lines().map(build).collect()
}

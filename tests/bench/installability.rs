//! What can be installed of Debian's own archive: the answer, the time, and those of `dose-debcheck`.
//!
//! Run with `cargo bench --bench installability`. Owns the comparison on the indices that APT has on this machine, all
//! together: what has packages of a release mended needs those of the release, essential ones among them. Both judges are processes of their own that read the same file, and are measured in the same way. Fails
//! when there is no index, or when the two name different packages.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use common::{is_wanted, machine, median, milliseconds, settle, table};
use mirrorctl::apt::installability::{BinaryPackage, BinaryReader, System, uninstallable};
use mirrorctl_testkit::{Builds, Program, Scratch, Usage, broken_by_dose};

/// Where APT keeps the indices.
const LISTS: &str = "/var/lib/apt/lists";
/// Runs of ours for one figure. dose takes minutes, and runs once.
const RUNS: usize = 3;
/// The argument by which this program is one of the judges, followed by an architecture, an index and where to write.
const JUDGE: &str = "--judge";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, native, index, answer] = arguments.as_slice()
        && word == JUDGE
    {
        judge(native, Path::new(index), Path::new(answer));
        return ExitCode::SUCCESS;
    }
    if !is_wanted() {
        return ExitCode::SUCCESS;
    }
    let lists = lists();
    if lists.is_empty() {
        println!("MISSING: no index of main in {LISTS}; apt-get update fetches some");
        return ExitCode::FAILURE;
    }
    let scratch = Scratch::new();
    let native = Program::new("dpkg", "dpkg").arg("--print-architecture").run().success();
    let native = native.stdout.trim();
    println!("{}", machine(&scratch));
    for list in &lists {
        println!("{}", name(list));
    }
    let texts: Vec<String> = lists.iter().map(|list| plain(list)).collect();
    let text = texts.join("\n");
    let compared = Compared::of(&scratch, native, &text);
    let differ: Vec<_> = compared.ours.symmetric_difference(&compared.doses).collect();
    for (name, version, architecture) in &differ {
        println!("DIFFERENT: {name} {version} {architecture}");
    }
    let head = [
        "", "packages", "broken", "dose's", "wall", "dose's", "ratio", "CPU", "dose's", "ratio",
    ];
    print!(
        "{}",
        table(
            "what cannot be installed",
            &head,
            &[compared.row("all together", &text)]
        )
    );
    if differ.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The indices of `main` that APT has, in whatever compression.
fn lists() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(LISTS) else {
        return Vec::new();
    };
    let files = entries.map(|entry| entry.expect("a readable directory").path());
    let mut lists: Vec<PathBuf> = files.filter(|path| is_index_of_main(&name(path))).collect();
    lists.sort();
    lists
}

fn is_index_of_main(name: &str) -> bool {
    let plain = ["", ".lz4", ".xz", ".gz", ".bz2", ".lzma", ".zst"]
        .iter()
        .any(|ending| name.ends_with(&format!("_Packages{ending}")));
    plain && name.contains("_main_binary-")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What an index says: APT reads whatever APT has written.
fn plain(list: &Path) -> String {
    let helper = Program::new("/usr/lib/apt/apt-helper", "apt").arg("cat-file").arg(list);
    helper.run().success().stdout
}

/// Writes what cannot be installed, a line for each.
fn judge(native: &str, index: &Path, answer: &Path) {
    let index = fs::read(index).expect("the index that was written");
    let mut packages: Vec<BinaryPackage> = Vec::new();
    let mut reader = BinaryReader::new(|package| packages.push(package));
    reader.push(&index).expect("an index");
    reader.finish().expect("an index");
    let system = System { native, foreign: &[] };
    let broken = uninstallable(&packages, system, |_| true).into_iter();
    let lines = broken.map(|broken| {
        let package = &packages[broken.at];
        format!("{}\t{}\t{}\n", package.name, package.version, package.architecture)
    });
    fs::write(answer, lines.collect::<String>()).expect("a scratch file");
}

/// Both answers, and what they took.
struct Compared {
    ours: Builds,
    doses: Builds,
    our_wall: Duration,
    our_cpu: Duration,
    dose: Usage,
}

impl Compared {
    fn of(scratch: &Scratch, native: &str, text: &str) -> Self {
        let index = scratch.file("Packages", text);
        let answer = scratch.path().join("answer");
        settle();
        let itself = std::env::current_exe().expect("this program");
        let run = || {
            let judge = Program::at(&itself).args([JUDGE, native]);
            judge.arg(&index).arg(&answer).measure()
        };
        let runs: Vec<Usage> = (0..RUNS).map(|_| run()).collect();
        let middle = |of: fn(&Usage) -> Duration| median(&runs.iter().map(of).collect::<Vec<_>>());
        let (our_wall, our_cpu) = (middle(|usage| usage.wall), middle(|usage| usage.cpu));
        let ours = ours(&fs::read_to_string(&answer).expect("the answer"));
        // Its exit code says whether anything is broken; the summary in its answer, that it got to its end.
        let script = "dose-debcheck --failures \"--deb-native-arch=$1\" \"$2\" > \"$3\" || true";
        let shell = Program::new("sh", "dash").args(["-c", script, "sh", native]);
        let dose = shell.arg(&index).arg(&answer).measure();
        let doses = broken_by_dose(&fs::read_to_string(&answer).expect("the answer"));
        Self {
            ours,
            doses,
            our_wall,
            our_cpu,
            dose,
        }
    }

    fn row(&self, name: &str, text: &str) -> Vec<String> {
        let packages = text.lines().filter(|line| line.starts_with("Package: ")).count();
        let ratio = |dose: Duration, ours: Duration| format!("{:.1}", dose.as_secs_f64() / ours.as_secs_f64());
        vec![
            name.to_owned(),
            packages.to_string(),
            self.ours.len().to_string(),
            self.doses.len().to_string(),
            milliseconds(self.our_wall),
            milliseconds(self.dose.wall),
            ratio(self.dose.wall, self.our_wall),
            milliseconds(self.our_cpu),
            milliseconds(self.dose.cpu),
            ratio(self.dose.cpu, self.our_cpu),
        ]
    }
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

//! What the whole room promises: every command line has its exit code, and one JSON document where that is asked for.

use std::ffi::OsString;
use std::io::Write as _;

use clap::CommandFactory as _;
use serde_json::Value;

use super::output::tests::Shared;
use super::*;

/// What a command line printed, and its exit code.
struct Ran {
    stdout: String,
    stderr: String,
    code: u8,
}

impl Ran {
    fn json(&self) -> Value {
        assert_eq!(self.stderr, "");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

fn ran(words: &[&str]) -> Ran {
    ran_in(words, &Environment::default())
}

fn ran_in(words: &[&str], environment: &Environment) -> Ran {
    let arguments: Vec<OsString> = std::iter::once("mirrorctl")
        .chain(words.iter().copied())
        .map(Into::into)
        .collect();
    let (stdout, stderr) = (Shared::default(), Shared::default());
    let output = Output::to(mode(&arguments), Box::new(stdout.clone()), Box::new(stderr.clone()));
    let code = match Arguments::try_parse_from(&arguments) {
        Ok(arguments) => execute(arguments, environment, output),
        Err(error) => explain(&error, output),
    };
    Ran {
        stdout: stdout.text(),
        stderr: stderr.text(),
        code,
    }
}

fn configuration(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

#[test]
fn the_version_is_told() {
    for words in [&["version"][..], &["--version"], &["-V"], &["version", "--quiet"]] {
        let ran = ran(words);
        assert_eq!(
            (ran.code, ran.stdout),
            (0, format!("mirrorctl {}\n", env!("CARGO_PKG_VERSION")))
        );
    }
    for words in [&["version", "--json"][..], &["--json", "--version"]] {
        assert_eq!(ran(words).json()["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn help_is_told() {
    let help = ran(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("Usage: mirrorctl"), "{}", help.stdout);
    assert!(
        !help.stdout.contains("__"),
        "what is for the program itself is not offered"
    );
    assert!(
        ran(&["sync", "--help", "--json"]).json()["help"]
            .as_str()
            .expect("text")
            .contains("--force")
    );
}

#[test]
fn wrong_command_lines_exit_with_2() {
    for (words, message) in [
        (&[][..], "no command given"),
        (&["snapshot"], "no command given"),
        (&["synch"], "unrecognized subcommand 'synch'"),
        (&["status", "--bogus"], "unexpected argument '--bogus' found"),
        (
            &["snapshot", "stage", "debian"],
            "the following required arguments were not provided: <NAME>",
        ),
        (
            &["sync", "Debian"],
            "invalid value 'Debian' for '[MIRROR]...': a mirror id starts with a-z or 0-9 and goes on with a-z, 0-9, \
             \"_\" and \"-\", 128 characters at most",
        ),
    ] {
        let human = ran(words);
        assert_eq!((human.code, human.stdout.as_str()), (2, ""), "{words:?}");
        assert!(
            human.stderr.starts_with(&format!("error: {message}\n")),
            "{words:?}: {}",
            human.stderr
        );
        let ran = ran(&[words, &["--json"]].concat());
        let error = &ran.json()["error"];
        assert_eq!(
            (error["message"].as_str(), error["exit_code"].as_u64()),
            (Some(message), Some(2))
        );
        assert_eq!((ran.code, error["kind"].as_str()), (2, Some("usage")));
    }
    let hints = ran(&["synch", "--json"]).json()["error"]["hints"].to_string();
    assert!(
        hints.contains("a similar subcommand exists: 'sync'") && hints.contains("usage: mirrorctl"),
        "{hints}"
    );
}

#[test]
fn completion_scripts_are_complete() {
    for (shell, part) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef mirrorctl"),
        ("fish", "complete -c mirrorctl"),
    ] {
        let script = ran(&["completion", shell]);
        assert_eq!(script.code, 0);
        assert!(
            script.stdout.contains(part) && script.stdout.contains("promote"),
            "{shell}"
        );
    }
    let report = ran(&["completion", "bash", "--json"]).json();
    assert_eq!(report["shell"], "bash");
    assert_eq!(report["script"], ran(&["completion", "bash"]).stdout);
}

const GOOD: &str = "dir = \"/srv/apt\"\n\
                    [mirrors.debian]\n\
                    url = \"https://bob:secret@deb.example/debian/\"\n\
                    suites = [\"sid\"]\n\
                    sections = [\"main\", \"contrib\"]\n\
                    architectures = [\"amd64\"]\n\
                    publish_to_staging = true\n";

#[test]
fn a_good_configuration_is_explained() {
    let file = configuration(GOOD);
    let path = file.path().to_str().expect("UTF-8");
    let human = ran(&["check", "config", "-c", path]);
    assert_eq!((human.code, human.stderr.as_str()), (0, ""));
    assert!(
        human.stdout.starts_with(&format!("{path} is good.\n")),
        "{}",
        human.stdout
    );
    for part in [
        "/srv/apt\n",
        "\nmirror debian\n",
        "main contrib\n",
        "the newest 5, and those younger than 30d\n",
    ] {
        assert!(human.stdout.contains(part), "{part}: {}", human.stdout);
    }
    assert!(!human.stdout.contains("secret"));
    let environment = [(OsString::from("MIRRORCTL_MAX_CONNS"), OsString::from("3"))];
    let ran = ran_in(
        &["check", "config", "-c", path, "--json"],
        &environment.into_iter().collect(),
    );
    let report = ran.json();
    assert_eq!(report["max_conns"], 3);
    assert_eq!(report["overridden_by"][0], "MIRRORCTL_MAX_CONNS");
    assert_eq!(report["mirrors"][0]["url"], "https://deb.example/debian/");
    assert_eq!(report["mirrors"][0]["prune"]["keep_within"], "30d");
}

#[test]
fn a_bad_configuration_is_explained() {
    let file = configuration("dir = \"srv\"\n[mirror.debian]\n");
    let path = file.path().to_str().expect("UTF-8");
    let human = ran(&["check", "config", "-c", path]);
    assert_eq!((human.code, human.stdout.as_str()), (1, ""));
    assert_eq!(
        human.stderr,
        format!(
            "error: the configuration {path} has 2 errors\n  \
             {path}:1:7: dir: must be an absolute path, but is \"srv\"\n  \
             {path}:2:2: mirror: unknown key; write [mirrors.debian]\n"
        )
    );
    let ran = ran(&["--json", "check", "config", "-c", path]);
    assert_eq!(ran.code, 1);
    let problem = &ran.json()["error"]["problems"][1];
    assert_eq!(
        (problem["line"].as_u64(), problem["column"].as_u64()),
        (Some(2), Some(2))
    );
    assert_eq!(
        (problem["key"].as_str(), problem["file"].as_str()),
        (Some("mirror"), Some(path))
    );
    assert_eq!(problem["hint"], "write [mirrors.debian]");
}

#[test]
fn a_missing_configuration_names_the_path_and_the_flag() {
    let missing = ran(&["check", "config", "-c", "/no/such/mirror.toml"]);
    assert_eq!(missing.code, 1);
    assert!(
        missing
            .stderr
            .starts_with("error: cannot read the configuration /no/such/mirror.toml\n")
    );
    assert!(
        missing.stderr.contains("name another file with -c"),
        "{}",
        missing.stderr
    );
    let verbose = ran(&["check", "config", "-c", "/no/such/mirror.toml", "--verbose-errors"]);
    assert!(verbose.stderr.contains("  exit code: 1\n"), "{}", verbose.stderr);
}

/// Every command that is offered, as it is typed, with the flags that are its own.
fn offered(command: &clap::Command, path: &str, into: &mut Vec<(String, Vec<String>)>) {
    let children: Vec<_> = command.get_subcommands().filter(|child| !child.is_hide_set()).collect();
    for child in &children {
        offered(child, &format!("{path} {}", child.get_name()), into);
    }
    if children.is_empty() {
        let own = command
            .get_arguments()
            .filter(|flag| !flag.is_hide_set() && !flag.is_global_set());
        let flags = own.filter_map(|flag| flag.get_long()).map(|flag| format!("--{flag}"));
        into.push((path.trim().to_owned(), flags.collect()));
    }
}

#[test]
fn the_documentation_has_every_command_and_flag() {
    let documentation = include_str!("../../docs/cli.md");
    let mut commands = Vec::new();
    offered(&Arguments::command(), "", &mut commands);
    assert!(commands.len() > 15, "{commands:?}");
    for (command, flags) in commands {
        let row = documentation
            .lines()
            .find(|line| line.starts_with(&format!("| `{command}")))
            .unwrap_or_else(|| panic!("{command} has no row"));
        for flag in flags {
            assert!(row.contains(&format!("`{flag}")), "{command} {flag}: {row}");
        }
    }
    for flag in Arguments::command().get_arguments().filter_map(clap::Arg::get_long) {
        assert!(documentation.contains(&format!("`--{flag}")), "--{flag}");
    }
}

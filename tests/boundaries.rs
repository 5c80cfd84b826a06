//! The rules of the house, read from the sources: who may import whom, which room holds which power, what every file has.
//!
//! Owns the tables of allowed arrows and places. Each rule is a plain function from a source text to its violations, so
//! that each is shown, further down, to catch what it forbids. It judges text only; what the compiler and clippy
//! can hold is left to them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rooms that import the vocabulary and never each other.
const MIDDLE: &[&str] = &[
    "apt",
    "blobs",
    "catalog",
    "control",
    "holder",
    "operator",
    "signature",
    "state",
    "upstream",
];

/// The rooms that combine the middle ones, and never each other.
const USE_CASES: &[&str] = &[
    "compare",
    "gate",
    "hooks",
    "publish",
    "rebuild",
    "retention",
    "sync",
    "verify",
    "view",
];

/// Every room of `src/`.
fn rooms() -> BTreeSet<&'static str> {
    let others = ["model", "config", "demo", "legacy", "daemon", "cli"];
    MIDDLE.iter().chain(USE_CASES).copied().chain(others).collect()
}

/// The rooms that `room` may import besides itself.
fn allowed(room: &str) -> BTreeSet<&'static str> {
    match room {
        "model" => BTreeSet::new(),
        "config" | "demo" | "legacy" => BTreeSet::from(["model"]),
        "cli" | "lib" | "main" => rooms(),
        middle if MIDDLE.contains(&middle) => BTreeSet::from(["model"]),
        // The life of a mount is that of the view it shows.
        "daemon" => MIDDLE.iter().copied().chain(["model", "view"]).collect(),
        use_case if USE_CASES.contains(&use_case) => MIDDLE.iter().copied().chain(["model"]).collect(),
        _ => BTreeSet::new(),
    }
}

/// Names that may occur in some places only: crates that give a power, and the function that makes trusted text. A place
/// is a file, or a folder or module with everything below it.
const POWERS: &[(&str, &[&str])] = &[
    ("batsat", &["src/apt/installability"]),
    ("clap", &["src/cli"]),
    ("clap_complete", &["src/cli"]),
    ("fuser", &["mount"]),
    (
        "mirrorctl_mount",
        &[
            "src/view",
            "src/daemon",
            "src/cli",
            "mount",
            "tests/support/src/fuzzed/requests",
            "tests/bench/telling",
        ],
    ),
    ("hyper_util", &["src/upstream"]),
    ("reqwest", &["src/upstream"]),
    // The test kit has servers and certificates for tests.
    ("rcgen", &["tests/support"]),
    ("rusqlite", &["src/catalog"]),
    ("rustls", &["src/upstream", "tests/support"]),
    ("rustls_native_certs", &["src/upstream"]),
    ("sequoia_openpgp", &["src/signature", "src/demo"]),
    ("sha2", &["src/model/digest", "src/model/checksum"]),
    (
        "tokio",
        &[
            "src/upstream",
            "src/sync",
            "src/cli/commands/sync",
            "src/cli/interrupt",
            // Runs a sync with a clock of its own, which the program has no option for.
            "tests/suite/time",
        ],
    ),
    ("vouched", &["src/signature", "src/model/verified"]),
    ("x509_cert", &["src/upstream"]),
];

/// Where programs may be run: those that an operator configures, in the one room for them; by the demonstration, to put a
/// mount into the background or to serve it, and by tests.
const RUNS_PROGRAMS: &[&str] = &[
    "src/operator",
    // Starts this program once more, to serve.
    "src/holder",
    "src/cli/commands/demo",
    "src/cli/commands/mount",
    // Ordinary users mount through a setuid program.
    "mount/src/unprivileged",
    "mount/tests",
    // Each mount that is measured is served by a process of its own.
    "mount/benches",
    "tests",
];

/// All that the mount may depend on.
const MOUNT_DEPENDENCIES: &[&str] = &["fuser", "libc", "lru", "rustix", "tracing"];

/// Words that mark unfinished work; in pieces, so that this file does not contain them.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// A source file, seen in the ways the rules need.
struct Source {
    /// Relative to the workspace: `src/apt/release.rs`.
    path: String,
    text: String,
    /// Identifiers and single punctuation characters, without comments and literals.
    tokens: Vec<String>,
    /// Those of [`Source::tokens`] outside `#[cfg(test)]` modules; none for a file of tests.
    product: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let is_test = path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs" | "benches"));
        let product = if is_test {
            Vec::new()
        } else {
            without_test_modules(&tokens)
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens,
            product,
        }
    }

    /// Whether the file belongs to `place`: is it, or lies below it.
    fn is_in(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
    }

    /// How many modules the file's own is below the root of its crate: 1 for `src/apt/mod.rs`, 2 for its siblings.
    fn depth(&self) -> usize {
        let folders = self.path.matches('/').count();
        if self.path.ends_with("/mod.rs") {
            folders - 1
        } else {
            folders
        }
    }

    /// The room of `src/` that the file belongs to; `None` outside `src/`.
    fn room(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/")?.split('/').next()?;
        Some(name.strip_suffix(".rs").unwrap_or(name))
    }
}

/// Splits Rust source into identifiers (numbers included) and single characters; comments, strings, characters and
/// lifetimes are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let word = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            let length = word.max(first.len_utf8());
            if !first.is_whitespace() {
                found.push(rest[..length].to_owned());
            }
            length
        });
        rest = &rest[length..];
    }
    found
}

/// Length of the comment, literal or lifetime that `text` begins with, if it does.
fn skipped(text: &str) -> Option<usize> {
    let until = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return Some(until(2, "\n"));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let body = text
        .strip_prefix('b')
        .or_else(|| text.strip_prefix('c'))
        .unwrap_or(text);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return Some(until(prefix + 1 + hashes + 1, &format!("\"{}", "#".repeat(hashes))));
        }
    }
    if body.starts_with('"') {
        return Some(prefix + quoted(body, '"'));
    }
    if let Some(after) = body.strip_prefix('\'') {
        let mut next = after.chars();
        let (first, second) = (next.next(), next.next());
        // 'a' is a character, 'a without the closing quote a lifetime.
        if first == Some('\\') || second == Some('\'') {
            return Some(prefix + quoted(body, '\''));
        }
        return Some(
            prefix
                + 1
                + after
                    .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .unwrap_or(after.len()),
        );
    }
    None
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match rest {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a literal between two `quote`s, in which `\` escapes one character.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// `tokens` without the modules behind `#[cfg(test)]`.
fn without_test_modules(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]", "mod"]) {
            at += item_length(&tokens[at..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Tokens up to the end of the first item: its `;`, or the brace that closes its body.
fn item_length(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return at + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn starts_with(tokens: &[String], expected: &[&str]) -> bool {
    tokens.len() >= expected.len() && tokens.iter().zip(expected).all(|(token, expected)| token == expected)
}

fn contains(tokens: &[String], expected: &[&str]) -> bool {
    tokens
        .windows(expected.len())
        .any(|window| starts_with(window, expected))
}

/// The first names of every path that begins with `prefix` and `::`: `crate::a::b` gives `a`, `crate::{a, b::c}` gives
/// `a` and `b`.
fn paths_below<'a>(tokens: &'a [String], prefix: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for at in 0..tokens.len() {
        if !starts_with(&tokens[at..], &[prefix, ":", ":"]) {
            continue;
        }
        let tail = &tokens[at + 3..];
        if !starts_with(tail, &["{"]) {
            found.extend(tail.first().map(String::as_str));
            continue;
        }
        let group = &tail[..item_length(tail)];
        let mut depth = 0;
        for pair in group.windows(2) {
            match pair[0].as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 1 && matches!(pair[0].as_str(), "{" | ",") && pair[1] != "}" {
                found.insert(&pair[1]);
            }
        }
    }
    found
}

/// The most modules that any `super::super::…` goes up.
fn longest_ascent(tokens: &[String]) -> usize {
    let ups = |at: usize| {
        tokens[at..]
            .chunks(3)
            .take_while(|step| starts_with(step, &["super", ":", ":"]))
            .count()
    };
    (0..tokens.len()).map(ups).max().unwrap_or_default()
}

/// Imports that the table of arrows does not have. Test modules may also use `demo`, which makes what they need.
fn wrong_arrows(source: &Source) -> Vec<String> {
    let Some(room) = source.room() else {
        return Vec::new();
    };
    let may = allowed(room);
    let check = |tokens: &[String], with_demo: bool| -> Vec<String> {
        let imported = paths_below(tokens, "crate");
        let known = imported
            .intersection(&rooms())
            .copied()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        known
            .into_iter()
            .filter(|name| name != room && !may.contains(name.as_str()) && !(with_demo && name == "demo"))
            .collect()
    };
    let mut wrong: BTreeSet<String> = check(&source.product, false).into_iter().collect();
    wrong.extend(check(&source.tokens, true));
    let mut violations: Vec<String> = wrong
        .iter()
        .map(|name| format!("{}: {room} may not import {name}", source.path))
        .collect();
    let depth = source.depth();
    // One deeper inside the test modules, which the first list does not hold.
    if longest_ascent(&source.product) >= depth || longest_ascent(&source.tokens) > depth {
        violations.push(format!("{}: write crate::… where super:: leaves the room", source.path));
    }
    violations
}

/// A file of `src/` that belongs to no room, so that no rule would hold for it.
fn unknown_room(source: &Source) -> Vec<String> {
    let known = |room: &str| rooms().contains(room) || matches!(room, "lib" | "main");
    let unknown = source.room().filter(|room| !known(room));
    unknown
        .map(|room| format!("{}: {room} is no room of the table", source.path))
        .into_iter()
        .collect()
}

/// Powers used outside the places that own them.
fn wrong_powers(source: &Source) -> Vec<String> {
    let misused = POWERS.iter().filter(|(name, places)| {
        // Parsers of trusted text are tested with text that a test vouches for.
        let tokens = if *name == "vouched" {
            &source.product
        } else {
            &source.tokens
        };
        tokens.iter().any(|token| token == name) && !places.iter().any(|place| source.is_in(place))
    });
    misused
        .map(|(name, places)| format!("{}: {name} belongs to {places:?}", source.path))
        .collect()
}

/// Programs run where none may be.
fn wrong_programs(source: &Source) -> Vec<String> {
    let runs = paths_below(&source.tokens, "process").contains("Command");
    let may = RUNS_PROGRAMS.iter().any(|place| source.is_in(place));
    (runs && !may)
        .then(|| format!("{}: may not run programs", source.path))
        .into_iter()
        .collect()
}

/// No header that says what the file is for.
fn missing_header(source: &Source) -> Vec<String> {
    let words = source.text.lines().next().and_then(|line| line.strip_prefix("//! "));
    let has = words.is_some_and(|words| words.split_whitespace().count() >= 3);
    (!has)
        .then(|| format!("{}: does not open with a //! header", source.path))
        .into_iter()
        .collect()
}

/// `unsafe` outside the one small file of each crate that is for it.
fn misplaced_unsafe(source: &Source) -> Vec<String> {
    let misplaced = source.tokens.iter().any(|token| token == "unsafe") && !source.path.ends_with("/sys.rs");
    misplaced
        .then(|| format!("{}: unsafe belongs to a file called sys.rs", source.path))
        .into_iter()
        .collect()
}

/// Marks of unfinished work, in comments too.
fn unfinished(source: &Source) -> Vec<String> {
    let words: BTreeSet<&str> = source.text.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let mut marks: Vec<&str> = UNFINISHED.iter().copied().filter(|mark| words.contains(mark)).collect();
    marks.extend(
        ["todo", "unimplemented"]
            .into_iter()
            .filter(|name| contains(&source.tokens, &[name, "!"])),
    );
    marks
        .into_iter()
        .map(|mark| format!("{}: {mark}", source.path))
        .collect()
}

/// Lints that are silenced for good; `#[expect(…, reason = "…")]` fails once it is not needed any more.
fn silenced_lints(source: &Source) -> Vec<String> {
    let opens = |before: &str| contains(&source.tokens, &[before, "allow", "("]);
    let silenced = opens("[") || (opens(",") && source.tokens.iter().any(|token| token == "cfg_attr"));
    silenced
        .then(|| format!("{}: use #[expect] instead of #[allow]", source.path))
        .into_iter()
        .collect()
}

/// Dependencies that the manifest of the mount may not have.
fn wrong_mount_dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let tables = [manifest.get("dependencies"), manifest.get("build-dependencies")];
    let mut wrong: Vec<String> = tables
        .into_iter()
        .flatten()
        .flat_map(|table| table.as_table().expect("dependencies are a table").keys())
        .filter(|name| !MOUNT_DEPENDENCIES.contains(&name.as_str()))
        .map(|name| format!("mount/Cargo.toml: the mount may not depend on {name}"))
        .collect();
    if manifest.contains_key("target") {
        wrong.push("mount/Cargo.toml: no dependencies by target".to_owned());
    }
    wrong
}

/// Every rule for a source file.
const RULES: &[fn(&Source) -> Vec<String>] = &[
    missing_header,
    misplaced_unsafe,
    silenced_lints,
    unfinished,
    unknown_room,
    wrong_arrows,
    wrong_powers,
    wrong_programs,
];

/// Every source file of the workspace.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "mount", "tests"] {
        collect(root, folder, &mut found);
    }
    found
}

fn collect(root: &Path, folder: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(root.join(folder)).expect("a folder of the workspace") {
        let entry = entry.expect("a readable folder");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("a readable entry").is_dir() {
            collect(root, &path, found);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(entry.path()).expect("sources are UTF-8");
            found.push(Source::new(&path, &text));
        }
    }
}

#[test]
fn the_house_keeps_its_rules() {
    let sources = sources();
    for expected in [
        "src/lib.rs",
        "mount/src/lib.rs",
        "tests/boundaries.rs",
        "tests/support/src/lib.rs",
    ] {
        assert!(
            sources.iter().any(|source| source.path == expected),
            "{expected} was not read"
        );
    }
    let violations: Vec<String> = RULES.iter().flat_map(|rule| sources.iter().flat_map(rule)).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn the_mount_depends_on_nothing_of_ours() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("mount/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the mount has a manifest");
    assert_eq!(wrong_mount_dependencies(&manifest), Vec::<String>::new());
}

/// Asserts that exactly the sources marked `true` break `rule`.
fn judge(rule: fn(&Source) -> Vec<String>, samples: &[(&str, &str, bool)]) {
    for (path, text, breaks) in samples {
        let violations = rule(&Source::new(path, text));
        assert_eq!(!violations.is_empty(), *breaks, "{path}: {text}\n{violations:?}");
    }
}

#[test]
fn wrong_arrows_are_caught() {
    judge(
        wrong_arrows,
        &[
            ("src/model/names.rs", "use crate::apt::Release;", true),
            ("src/model/names.rs", "use crate::model::RepoPath;", false),
            ("src/apt/release.rs", "use crate::model::{Digest, RepoPath};", false),
            ("src/apt/release.rs", "use crate::{model::Digest, catalog};", true),
            (
                "src/apt/release.rs",
                "use crate::{\n    model::{catalog, blobs},\n};",
                false,
            ),
            ("src/apt/release.rs", "fn f() { crate::upstream::get() }", true),
            (
                "src/apt/release.rs",
                "/// See [`crate::catalog`].\nfn f() { let _ = \"crate::catalog\"; }",
                false,
            ),
            ("src/apt/release.rs", "use super::super::catalog::X;", true),
            ("src/apt/release.rs", "use super::{Compression, layout::dists};", false),
            (
                "src/apt/release.rs",
                "#[cfg(test)] mod tests { use super::super::layout; }",
                false,
            ),
            (
                "src/apt/release.rs",
                "#[cfg(test)] mod tests { use super::super::super::catalog; }",
                true,
            ),
            ("src/apt/mod.rs", "use super::catalog::X;", true),
            ("src/view.rs", "use super::retention::X;", true),
            ("src/view.rs", "#[cfg(test)] mod tests { use super::*; }", false),
            ("src/signature.rs", "use crate::model::VerifiedText;", false),
            ("src/signature.rs", "use crate::apt::Release;", true),
            (
                "src/sync/mod.rs",
                "use crate::{apt, blobs, catalog, control, model, signature, upstream};",
                false,
            ),
            ("src/sync/mod.rs", "use crate::publish::stage;", true),
            ("src/sync/mod.rs", "use crate::config::Settings;", true),
            ("src/view.rs", "use crate::catalog::CatalogReader;", false),
            ("src/view.rs", "use crate::retention;", true),
            (
                "src/gate/mod.rs",
                "use crate::{apt, blobs, catalog, operator, signature};",
                false,
            ),
            ("src/gate/mod.rs", "use crate::publish;", true),
            ("src/operator/mod.rs", "use crate::catalog;", true),
            ("src/demo/archive.rs", "use crate::apt;", true),
            ("src/config/mod.rs", "use crate::cli::Context;", true),
            ("src/cli/commands/sync.rs", "use crate::{config, demo, sync};", false),
            (
                "src/blobs/mod.rs",
                "#[cfg(test)] mod tests { use crate::demo::Deb; }",
                false,
            ),
            (
                "src/blobs/mod.rs",
                "#[cfg(test)] mod tests { use crate::catalog::X; }",
                true,
            ),
            (
                "src/blobs/mod.rs",
                "#[cfg(test)] mod tests { fn f() {} } use crate::demo::Deb;",
                true,
            ),
            ("tests/suite/main.rs", "use mirrorctl::apt;", false),
        ],
    );
}

#[test]
fn rooms_without_rules_are_caught() {
    judge(
        unknown_room,
        &[
            ("src/extra/mod.rs", "", true),
            ("src/extra.rs", "", true),
            ("src/view.rs", "", false),
            ("src/lib.rs", "", false),
            ("mount/src/ino.rs", "", false),
        ],
    );
}

#[test]
fn wrong_powers_are_caught() {
    judge(
        wrong_powers,
        &[
            ("src/catalog/mod.rs", "use rusqlite::Connection;", false),
            ("src/publish.rs", "use rusqlite::Connection;", true),
            ("src/catalogue.rs", "use rusqlite::Connection;", true),
            (
                "src/publish.rs",
                "/// Unlike rusqlite.\nconst A: &str = \"rusqlite\";",
                false,
            ),
            ("src/upstream/client.rs", "let c = reqwest::Client::new();", false),
            ("src/sync/transfer.rs", "let c = reqwest::Client::new();", true),
            ("src/upstream/tls/mod.rs", "use rustls::ClientConfig;", false),
            ("src/config/tls.rs", "use rustls::ClientConfig;", true),
            ("src/cli/commands/check_tls.rs", "use x509_cert::Certificate;", true),
            ("src/signature/keyring.rs", "use sequoia_openpgp as openpgp;", false),
            ("src/demo/key.rs", "use sequoia_openpgp::Cert;", false),
            ("src/cli/mod.rs", "use sequoia_openpgp::Cert;", true),
            ("src/apt/installability/search.rs", "use batsat::Lit;", false),
            ("src/apt/selection/closure.rs", "use batsat::Lit;", true),
            ("mount/src/adapter.rs", "use fuser::Filesystem;", false),
            ("src/view.rs", "use fuser::Filesystem;", true),
            ("src/view.rs", "use mirrorctl_mount::Tree;", false),
            ("src/catalog/mod.rs", "use mirrorctl_mount::Tree;", true),
            ("src/cli/args.rs", "use clap::Parser;", false),
            ("src/config/mod.rs", "use clap::Parser;", true),
            ("src/model/digest.rs", "use sha2::Digest as _;", false),
            ("src/blobs/mod.rs", "use sha2::Sha256;", true),
            ("src/sync/transfer.rs", "tokio::spawn(x)", false),
            ("src/cli/commands/sync.rs", "tokio::runtime::Builder", false),
            ("src/cli/commands/mount.rs", "tokio::runtime::Builder", true),
            ("src/demo/http.rs", "tokio::spawn(x)", true),
            ("src/signature.rs", "VerifiedText::vouched(text, signers)", false),
            ("src/apt/release.rs", "VerifiedText::vouched(text, signers)", true),
            (
                "src/apt/release.rs",
                "#[cfg(test)] mod tests { fn f() { VerifiedText::vouched(a, b); } }",
                false,
            ),
        ],
    );
}

#[test]
fn programs_run_in_the_wrong_place_are_caught() {
    judge(
        wrong_programs,
        &[
            ("src/sync/mod.rs", "use std::process::Command;", true),
            ("src/sync/mod.rs", "use std::process::{self, Command};", true),
            ("src/sync/mod.rs", "let c = std::process::Command::new(\"sh\");", true),
            (
                "src/cli/args.rs",
                "use clap::Command; use std::process::ExitCode;",
                false,
            ),
            ("src/cli/commands/demo.rs", "use std::process::Command;", false),
            ("src/operator/mod.rs", "use std::process::{Child, Command};", false),
            ("src/gate/commands.rs", "use std::process::Command;", true),
            ("src/hooks.rs", "use std::process::Command;", true),
            ("tests/support/src/program.rs", "use std::process::Command;", false),
        ],
    );
}

#[test]
fn missing_headers_are_caught() {
    judge(
        missing_header,
        &[
            ("src/a.rs", "//! Owns this and that.\n", false),
            ("src/a.rs", "// Owns this and that.\n", true),
            ("src/a.rs", "\n//! Owns this and that.\n", true),
            ("src/a.rs", "//! (header)\n", true),
            ("src/a.rs", "", true),
        ],
    );
}

#[test]
fn misplaced_unsafe_is_caught() {
    judge(
        misplaced_unsafe,
        &[
            ("src/blobs/mod.rs", "fn f() { unsafe { g() } }", true),
            ("src/blobs/sys.rs", "fn f() { unsafe { g() } }", false),
            ("src/blobs/mod.rs", "// unsafe\n#![forbid(unsafe_code)]", false),
        ],
    );
}

#[test]
fn unfinished_work_is_caught() {
    for mark in UNFINISHED {
        judge(
            unfinished,
            &[
                ("src/a.rs", &format!("// {mark}: later"), true),
                ("src/a.rs", &format!("let name = \"{mark}{mark}\";"), false),
            ],
        );
    }
    judge(
        unfinished,
        &[
            ("src/a.rs", "fn f() { todo!() }", true),
            ("src/a.rs", "let todo = 1;", false),
        ],
    );
}

#[test]
fn silenced_lints_are_caught() {
    judge(
        silenced_lints,
        &[
            ("src/a.rs", "#[allow(dead_code)]", true),
            ("src/a.rs", "#![allow(dead_code)]", true),
            ("src/a.rs", "#[cfg_attr(test, allow(dead_code))]", true),
            (
                "src/a.rs",
                "#[expect(dead_code, reason = \"x\")] fn allow(x: u8) {}",
                false,
            ),
        ],
    );
}

#[test]
fn wrong_dependencies_of_the_mount_are_caught() {
    for (manifest, breaks) in [
        (
            "[dependencies]\nlibc.workspace = true\n[dev-dependencies]\nproptest = \"1\"",
            false,
        ),
        ("[dependencies]\nlibc = \"0.2\"\ntokio = \"1\"", true),
        ("[build-dependencies]\ncc = \"1\"", true),
        ("[target.'cfg(unix)'.dependencies]\nrusqlite = \"1\"", true),
    ] {
        assert_eq!(!wrong_mount_dependencies(manifest).is_empty(), breaks, "{manifest}");
    }
}

#[test]
fn only_code_becomes_tokens() {
    let text = r##"
        // line rusqlite
        /* block /* nested rusqlite */ rusqlite */
        let a = "rusqlite \" rusqlite"; let b = r#"rusqlite " rusqlite"#; let c = b"rusqlite";
        let d: &'static str = x; let e = '"'; let f = '\''; let g = 'r'; let h = b'\\';
        r_a::<'a, 1>(b)
    "##;
    let found = tokens(text).join(" ");
    assert_eq!(
        found,
        "let a = ; let b = ; let c = ; let d : & str = x ; let e = ; let f = ; let g = ; let h = ; r_a : : < , 1 > ( b )"
    );
}

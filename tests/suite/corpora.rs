//! Every input that fuzzing has kept, against its property: what was broken once stays mended.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use mirrorctl_testkit::fuzzed::TARGETS;

/// Far above what the corpora need, far below what would burden whoever clones the repository.
const LARGEST: u64 = 300 * 1024;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_input_keeps_its_property() {
    let mut broken = Vec::new();
    for (target, property) in TARGETS {
        let inputs = entries(&corpora().join(target));
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for input in inputs {
            let data = fs::read(&input).expect("readable");
            if catch_unwind(|| property(&data)).is_err() {
                broken.push(input);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_corpus_belongs_to_a_target_and_is_small() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    let mut bytes = 0;
    for corpus in entries(&corpora()) {
        let name = corpus.file_name().and_then(|name| name.to_str()).expect("a plain name");
        assert!(targets.contains(name), "{name} is no target");
        for input in entries(&corpus) {
            bytes += input.metadata().expect("readable").len();
        }
    }
    assert!(bytes <= LARGEST, "{bytes} bytes in all");
}

//! What `dose-debcheck`, of Debian's package `dose-distcheck`, answers.
//!
//! Owns the reading of its answer. Whoever wants one runs it.

use std::collections::BTreeSet;

/// Packages by name, version and architecture.
pub type Builds = BTreeSet<(String, String, String)>;

/// The packages that are broken, by an `answer` to `dose-debcheck --failures`.
///
/// # Panics
/// When the answer does not have its summary, so that it did not get to its end.
#[track_caller]
pub fn broken_by_dose(answer: &str) -> Builds {
    assert!(
        answer.contains("broken-packages:"),
        "dose-debcheck, of Debian's package dose-distcheck, gave no answer: {answer}"
    );
    let mut builds = Builds::new();
    let mut fields = [const { String::new() }; 3];
    for (field, value) in answer.lines().filter_map(|line| line.trim().split_once(": ")) {
        match field {
            "package" => value.clone_into(&mut fields[0]),
            "version" => value.clone_into(&mut fields[1]),
            "architecture" => value.clone_into(&mut fields[2]),
            "status" if value == "broken" => {
                let [name, version, architecture] = fields.clone();
                // With its architecture in front, where there are several.
                let name = name.rsplit(':').next().unwrap_or_default().to_owned();
                builds.insert((name, version, architecture));
            }
            _ => {}
        }
    }
    builds
}

//! Whether a snapshot has the suites that production has.
//!
//! Owns the check `suites`. Clients that have a suite in their sources fail when it is gone. An operator who takes a suite out
//! of the configuration wants just that, so it is told then and fails nothing.

use super::report::{Check, Problems};
use crate::model::Suite;

/// Compares the suites that a snapshot has with those of `production`, if there is anything. Those that the mirror is
/// configured with must not go.
pub(super) fn check(there: &[Suite], production: Option<&[Suite]>, configured: &[Suite]) -> Check {
    let name = "suites";
    let Some(production) = production else {
        return Check::skipped(name, "nothing is in production to compare with");
    };
    let gone: Vec<&Suite> = production.iter().filter(|suite| !there.contains(suite)).collect();
    let (wanted, unwanted): (Vec<&Suite>, Vec<&Suite>) = gone.iter().partition(|suite| configured.contains(suite));
    let mut problems = Problems::default();
    for suite in wanted {
        problems.add(format!(
            "{suite}: production has it, the configuration names it, and this snapshot does not have it"
        ));
    }
    let mut text = format!(
        "{} of the {} suites in production are there",
        production.len() - gone.len(),
        production.len()
    );
    if !unwanted.is_empty() {
        let names: Vec<String> = unwanted.iter().map(ToString::to_string).collect();
        text = format!("{text}; not configured any more: {}", names.join(", "));
    }
    Check::of(name, text, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Outcome;

    #[test]
    fn what_is_configured_must_stay() {
        let suites = |names: &str| -> Vec<Suite> {
            let names = names.split_whitespace();
            names.map(|name| name.parse().expect("valid")).collect()
        };
        for (there, production, configured, outcome, gone) in [
            ("a", None, "a b", Outcome::Skipped, ""),
            ("a b", Some("a b"), "a b", Outcome::Passed, ""),
            ("a b c", Some("a"), "a b c", Outcome::Passed, ""),
            ("a", Some("a"), "a new", Outcome::Passed, ""),
            ("a", Some("a b"), "a", Outcome::Passed, "; not configured any more: b"),
            ("a", Some("a b"), "a b", Outcome::Failed, ""),
            (
                "a",
                Some("a b c"),
                "a c",
                Outcome::Failed,
                "; not configured any more: b",
            ),
        ] {
            let production = production.map(suites);
            let check = check(&suites(there), production.as_deref(), &suites(configured));
            assert_eq!(check.outcome, outcome, "{there}: {check:?}");
            assert!(check.text.ends_with(gone), "{check:?}");
            assert_eq!(check.text.contains("not configured"), !gone.is_empty(), "{check:?}");
        }
    }
}

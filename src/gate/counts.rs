//! Whether a snapshot has about as many packages as it should.
//!
//! Owns the check `counts`.

use super::Rules;
use super::report::{Check, Problems};
use crate::model::{Percent, Shrink};

/// Compares the number of packages with what there must be, and with production's, where there is any; or tells what of that
/// cannot be read.
pub(super) fn check(packages: u64, production: Option<Result<u64, Problems>>, rules: &Rules) -> Check {
    let mut problems = Problems::default();
    if packages < rules.min_packages {
        problems.add(format!("min_packages is {}", rules.min_packages));
    }
    let text = match production {
        None => format!("{packages} packages; nothing is in production"),
        Some(Ok(before)) => {
            if Shrink::beyond(rules.max_shrink, before, packages).is_some() {
                problems.add(format!(
                    "it has {packages} packages where there were {before}, and max_shrink is {}",
                    rules.max_shrink.number()
                ));
            }
            format!("{packages} packages, of which production has {before}")
        }
        Some(Err(unreadable)) => {
            // Whoever lets every loss pass need not know how large it is.
            if Some(rules.max_shrink) != Percent::new(100) {
                problems.append(unreadable);
            }
            format!("{packages} packages; those of production cannot be counted")
        }
    };
    Check::of("counts", text, problems)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gate::Outcome;

    #[test]
    fn too_few_and_far_fewer_fail() {
        let rules = |max_shrink| Rules {
            min_packages: 10,
            max_shrink: Percent::new(max_shrink).expect("a percentage"),
            min_validity: Duration::ZERO,
        };
        for (packages, production, max_shrink, outcome) in [
            (10, None, 20, Outcome::Passed),
            (9, None, 20, Outcome::Failed),
            (80, Some(100), 20, Outcome::Passed),
            (79, Some(100), 20, Outcome::Failed),
            (79, Some(100), 21, Outcome::Passed),
            (200, Some(100), 20, Outcome::Passed),
        ] {
            let check = check(packages, production.map(Ok), &rules(max_shrink));
            assert_eq!(check.outcome, outcome, "{packages} {production:?}");
        }
        for (max_shrink, outcome) in [(99, Outcome::Failed), (100, Outcome::Passed)] {
            let mut unreadable = Problems::default();
            unreadable.add("an index cannot be read");
            let check = check(10, Some(Err(unreadable)), &rules(max_shrink));
            assert_eq!(check.outcome, outcome, "{max_shrink}");
        }
    }
}

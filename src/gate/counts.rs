//! Whether a snapshot has about as many packages as it should.
//!
//! Owns the check `counts`.

use super::Rules;
use super::report::{Check, Problems};
use crate::model::Shrink;

/// Compares the number of packages, and the number of their files with production's, where there is any.
pub(super) fn check(packages: u64, pool_files: u64, production: Option<u64>, rules: &Rules) -> Check {
    let mut problems = Problems::default();
    if packages < rules.min_packages {
        problems.add(format!("min_packages is {}", rules.min_packages));
    }
    let shrink = production.and_then(|before| Shrink::beyond(rules.max_shrink, before, pool_files));
    if let Some(shrink) = shrink {
        problems.add(format!(
            "it has {shrink}, and max_shrink is {}",
            rules.max_shrink.number()
        ));
    }
    let text = match production {
        Some(before) => format!("{packages} packages in {pool_files} files, of which production has {before}"),
        None => format!("{packages} packages in {pool_files} files; nothing is in production"),
    };
    Check::of("counts", text, problems)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gate::Outcome;
    use crate::model::Percent;

    #[test]
    fn too_few_and_far_fewer_fail() {
        let rules = Rules {
            min_packages: 10,
            max_shrink: Percent::new(20).expect("a percentage"),
            min_validity: Duration::ZERO,
        };
        for (packages, files, production, outcome) in [
            (10, 10, None, Outcome::Passed),
            (9, 9, None, Outcome::Failed),
            (10, 80, Some(100), Outcome::Passed),
            (10, 79, Some(100), Outcome::Failed),
            (10, 200, Some(100), Outcome::Passed),
        ] {
            let check = check(packages, files, production, &rules);
            assert_eq!(check.outcome, outcome, "{packages} {files} {production:?}");
        }
    }
}

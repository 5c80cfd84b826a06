//! The catalogue of attacks in `docs/reliability.md`.
//!
//! Owns the check that it is complete and names tests which exist, so that no row is a mere promise.

use std::fs;
use std::path::Path;

/// The first and the last row of each part.
const PARTS: [(char, usize, usize); 12] = [
    ('U', 1, 64),
    ('T', 1, 23),
    ('F', 1, 30),
    ('L', 1, 7),
    ('L', 12, 13),
    ('L', 20, 30),
    ('L', 14, 19),
    ('L', 8, 11),
    ('P', 16, 16),
    ('P', 5, 5),
    ('P', 10, 15),
    ('P', 17, 19),
];

/// Where the tests are that rows name.
const PLACES: [&str; 3] = ["tests/suite", "tests/system", "mount/tests"];

/// The rows as id and the tests they name.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let [id, _, _, tests] = cells[..] else { return None };
        let (part, number) = id.split_at_checked(1)?;
        let known = PARTS.iter().any(|(known, ..)| part == known.to_string());
        (known && number.parse::<usize>().is_ok()).then(|| {
            let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned);
            (id.to_owned(), tests.collect())
        })
    });
    rows.collect()
}

/// Whether `module::test` is a test.
fn is_test(name: &str) -> bool {
    let Some((module, test)) = name.split_once("::") else {
        return false;
    };
    PLACES.iter().any(|place| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{place}/{module}.rs"));
        fs::read_to_string(file).is_ok_and(|source| source.contains(&format!("#[test]\nfn {test}() {{")))
    })
}

#[test]
fn every_attack_of_the_catalogue_is_carried_out() {
    let page = include_str!("../../docs/reliability.md");
    let rows = rows(page);
    let expected = PARTS
        .iter()
        .flat_map(|(part, first, last)| (*first..=*last).map(move |n| format!("{part}{n}")));
    let ids: Vec<&String> = rows.iter().map(|(id, _)| id).collect();
    assert_eq!(ids, expected.collect::<Vec<_>>().iter().collect::<Vec<_>>());
    for (id, tests) in &rows {
        assert!(!tests.is_empty(), "{id} names no test");
        for test in tests {
            assert!(is_test(test), "{id}: there is no test {test}");
        }
    }
    assert!(!is_test("catalogue::nobody_wrote_this"));
}

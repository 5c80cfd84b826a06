//! What each pointer lends of earlier publications, as `mirrorctl status` says it.
//!
//! Owns the words for what is reachable and until when. Which publications those are is the catalog's knowledge.

use serde::Serialize;

use crate::catalog::{CatalogError, CatalogReader, Generation, MirrorRow, Reach};
use crate::cli::text::utc;
use crate::model::{Pointer, Timestamp};

/// Publications of one pointer that people are told of one by one; programs get all of them.
const TOLD: usize = 4;

/// An earlier publication whose files are reachable below a pointer.
#[derive(Debug, Serialize)]
pub(super) struct Reachable {
    pointer: String,
    snapshot: String,
    superseded_at: String,
    /// `None` when its age does not keep it.
    until: Option<String>,
    publications_left: u32,
    #[serde(skip)]
    reach: Reach,
}

impl Reachable {
    fn of(pointer: &Pointer, generation: &Generation, now: Timestamp) -> Self {
        let reach = generation.reach(now);
        Self {
            pointer: pointer.to_string(),
            snapshot: generation.snapshot.to_string(),
            superseded_at: utc(generation.superseded_at),
            until: reach.until.map(utc),
            publications_left: reach.publications,
            reach,
        }
    }
}

/// What the pointers of a mirror lend, newest first for each.
pub(super) fn read(reader: &CatalogReader, row: MirrorRow, now: Timestamp) -> Result<Vec<Reachable>, CatalogError> {
    let mut reachable = Vec::new();
    for lenders in reader.lenders(row, now)? {
        let generations = lenders.generations.iter();
        reachable.extend(generations.map(|generation| Reachable::of(&lenders.pointer, generation, now)));
    }
    Ok(reachable)
}

/// As people read it: a line for each of the newest, and one for the others of that pointer.
pub(super) fn sentences(mirror: &str, reachable: &[Reachable]) -> Vec<String> {
    let mut sentences = Vec::new();
    for of_pointer in reachable.chunk_by(|one, next| one.pointer == next.pointer) {
        let told = of_pointer.len().min(TOLD);
        for one in &of_pointer[..told] {
            let Reachable { pointer, snapshot, .. } = one;
            sentences.push(format!("{mirror}/{pointer} lends files of {snapshot} {}", one.reach));
        }
        if let Some(newest) = of_pointer.get(told) {
            let (pointer, count) = (&newest.pointer, of_pointer.len() - told);
            sentences.push(format!(
                "{mirror}/{pointer} lends files of {count} before those, of the newest {}",
                newest.reach
            ));
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reachable(pointer: &str, hour: i64) -> Reachable {
        let until = Timestamp::from_unix(hour * 3_600);
        let reach = Reach {
            publications: 0,
            until: Some(until),
        };
        Reachable {
            pointer: pointer.to_owned(),
            snapshot: format!("s{hour}"),
            superseded_at: utc(Timestamp::from_unix(0)),
            until: Some(utc(until)),
            publications_left: 0,
            reach,
        }
    }

    #[test]
    fn people_are_told_of_a_few() {
        let mut all: Vec<Reachable> = (1..=7).rev().map(|hour| reachable("current", hour)).collect();
        all.push(reachable("staging", 9));
        let said = sentences("debian", &all);
        assert_eq!(said.len(), TOLD + 2);
        assert_eq!(said[0], "debian/current lends files of s7 until 1970-01-01T07:00:00Z");
        assert_eq!(
            said[TOLD],
            "debian/current lends files of 3 before those, of the newest until 1970-01-01T03:00:00Z"
        );
        assert_eq!(
            said[TOLD + 1],
            "debian/staging lends files of s9 until 1970-01-01T09:00:00Z"
        );
    }
}

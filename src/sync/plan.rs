//! What has to be fetched, and what a listing is made of.
//!
//! Pure: wants and claims in, work and listings out. It asks no network, disk or catalog.

use std::collections::{HashMap, HashSet};

use super::SyncError;
use crate::blobs::BlobError;
use crate::catalog::Claim;
use crate::model::{BlobFacts, Digest, Entry, IndexHash, Listing, ListingBuilder, RepoPath, Role, Timestamp};

/// A file that a complete mirror needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    /// Where upstream may have it, in the order to try.
    pub(super) paths: Vec<RepoPath>,
    /// Its bytes.
    pub(super) digest: Digest,
    /// Its length in bytes.
    pub(super) size: u64,
    /// Modification time to serve when upstream does not tell one.
    pub(super) date: Timestamp,
}

/// An index variant that was obtained, at its plain path.
#[derive(Debug, Clone)]
pub(super) struct ObtainedIndex {
    pub(super) path: RepoPath,
    pub(super) blob: BlobFacts,
    pub(super) hashes: Vec<IndexHash>,
}

/// The wants whose bytes are not there yet, each content once, and the blobs of the others.
#[derive(Debug, Default)]
pub(super) struct SyncPlan {
    pub(super) fetch: Vec<Want>,
    pub(super) have: HashMap<Digest, BlobFacts>,
}

/// Each content of `wants` once, in the order of first mention.
pub(super) fn contents(wants: &[Want]) -> Vec<&Want> {
    let mut seen = HashSet::with_capacity(wants.len());
    let mut contents: Vec<&Want> = Vec::with_capacity(wants.len());
    for want in wants {
        if seen.insert(want.digest) {
            contents.push(want);
        }
    }
    contents
}

/// Wants minus what is there: `claims` are the catalog's answers for `contents`, and `intact` says of a known blob
/// whether the cache still has it, so that what was lost is fetched again.
///
/// # Errors
/// When a want's size is not that of the bytes with its digest, whose first path is then named.
pub(super) fn plan(
    contents: &[&Want],
    claims: Vec<Claim>,
    intact: impl Fn(&BlobFacts) -> bool,
) -> Result<SyncPlan, (RepoPath, BlobError)> {
    let mut plan = SyncPlan::default();
    for (want, claim) in contents.iter().zip(claims) {
        let facts = match claim {
            Claim::Held(facts) | Claim::Leased(facts) if intact(&facts) => facts,
            Claim::Held(_) | Claim::Leased(_) | Claim::Absent => {
                plan.fetch.push((*want).clone());
                continue;
            }
        };
        if facts.size != want.size {
            let error = BlobError::TooShort {
                expected: want.size,
                got: facts.size,
            };
            return Err((want.paths[0].clone(), error));
        }
        plan.have.insert(facts.digest, facts);
    }
    Ok(plan)
}

/// Makes sure, before the pool is fetched, that everything wanted can stand in one tree.
///
/// # Errors
/// When it cannot.
pub(super) fn check(
    release_files: Vec<(RepoPath, BlobFacts)>,
    indices: &[ObtainedIndex],
    pool: &[Want],
) -> Result<(), SyncError> {
    let expected = |want: &Want| BlobFacts {
        digest: want.digest,
        size: want.size,
        mtime: want.date,
    };
    let pool = pool.iter().map(|want| (want.paths[0].clone(), expected(want)));
    listing(release_files, indices.to_vec(), pool.collect()).map(drop)
}

/// The listing of everything a sync has obtained.
///
/// # Errors
/// When the files cannot stand in one tree.
pub(super) fn listing(
    release_files: Vec<(RepoPath, BlobFacts)>,
    indices: Vec<ObtainedIndex>,
    pool: Vec<(RepoPath, BlobFacts)>,
) -> Result<Listing, SyncError> {
    let mut builder = ListingBuilder::new();
    for (path, blob) in release_files {
        builder.add(
            path,
            Entry {
                role: Role::Release,
                blob,
                by_hash: Vec::new(),
            },
        )?;
    }
    for index in indices {
        builder.add(
            index.path,
            Entry {
                role: Role::Index,
                blob: index.blob,
                by_hash: index.hashes,
            },
        )?;
    }
    for (path, blob) in pool {
        builder.add(
            path,
            Entry {
                role: Role::Pool,
                blob,
                by_hash: Vec::new(),
            },
        )?;
    }
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(path: &str, content: &[u8]) -> Want {
        Want {
            paths: vec![path.parse().expect("valid path")],
            digest: Digest::of(content),
            size: content.len() as u64,
            date: Timestamp::from_unix(0),
        }
    }

    fn facts(want: &Want) -> BlobFacts {
        BlobFacts {
            digest: want.digest,
            size: want.size,
            mtime: want.date,
        }
    }

    #[test]
    fn each_content_is_fetched_once_and_only_when_it_is_not_there() {
        let wants = [
            want("a", b"1"),
            want("b", b"2"),
            want("c", b"1"),
            want("d", b"3"),
            want("e", b"4"),
        ];
        let contents = contents(&wants);
        assert_eq!(contents.len(), 4);
        let claims = vec![
            Claim::Absent,
            Claim::Held(facts(&wants[1])),
            Claim::Leased(facts(&wants[3])),
            Claim::Leased(facts(&wants[4])),
        ];
        let plan = plan(&contents, claims, |blob| blob.digest != wants[3].digest).expect("sizes agree");
        let fetched: Vec<_> = plan.fetch.iter().map(|want| want.paths[0].as_str()).collect();
        assert_eq!(fetched, ["a", "d"], "a leased blob whose file is gone is fetched again");
        assert_eq!(plan.have.len(), 2);
    }

    #[test]
    fn a_listed_size_that_the_bytes_do_not_have_is_refused() {
        let wants = [want("a", b"1")];
        let wrong = BlobFacts {
            size: 7,
            ..facts(&wants[0])
        };
        let refused = plan(&contents(&wants), vec![Claim::Held(wrong)], |_| true);
        assert!(matches!(refused, Err((_, BlobError::TooShort { expected: 1, got: 7 }))));
    }
}

//! What has to be fetched, and what a listing is made of.
//!
//! Pure: wants and claims in, work and listings out. It asks no network, disk or catalog.

use std::collections::{HashMap, HashSet};

use super::SyncError;
use crate::blobs::BlobError;
use crate::catalog::Claim;
use crate::model::{
    BlobFacts, Checksum, Digest, Entry, IndexHash, Listing, ListingBuilder, RepoPath, Role, Sha512, Timestamp,
};

/// A file that a complete mirror needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    /// Where upstream may have it, in the order to try.
    pub(super) paths: Vec<RepoPath>,
    /// What its bytes are checked against.
    pub(super) checksum: Checksum,
    /// Its length in bytes; `None` where no list tells it.
    pub(super) size: Option<u64>,
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

/// Digests of wants that are known by SHA-512 hashes only.
pub(super) type Aliases = HashMap<Sha512, Digest>;

/// The digest of the bytes that `checksum` is of, if anybody here has ever seen them.
pub(super) fn digest_of(checksum: Checksum, aliases: &Aliases) -> Option<Digest> {
    match checksum {
        Checksum::Sha256(digest) => Some(digest),
        Checksum::Sha512(hash) => aliases.get(&hash).copied(),
    }
}

/// The wants whose bytes are not there yet, each content once, and the blobs of the others.
#[derive(Debug, Default)]
pub(super) struct SyncPlan {
    pub(super) fetch: Vec<Want>,
    pub(super) have: HashMap<Checksum, BlobFacts>,
}

/// Each content of `wants` once, in the order of first mention.
pub(super) fn contents(wants: &[Want]) -> Vec<&Want> {
    let mut seen = HashSet::with_capacity(wants.len());
    let mut contents: Vec<&Want> = Vec::with_capacity(wants.len());
    for want in wants {
        if seen.insert(want.checksum) {
            contents.push(want);
        }
    }
    contents
}

/// Wants minus what is there: `claims` are the catalog's answers for the digests of `contents`, none where the digest is
/// not known; and `intact` says of a known blob whether the cache still has it, so that what was lost is fetched again.
///
/// # Errors
/// When a want's size is not that of the bytes with its checksum, whose first path is then named.
pub(super) fn plan(
    contents: &[&Want],
    claims: &HashMap<Digest, Claim>,
    aliases: &Aliases,
    intact: impl Fn(&BlobFacts) -> bool,
) -> Result<SyncPlan, (RepoPath, BlobError)> {
    let mut plan = SyncPlan::default();
    for want in contents {
        let claim = digest_of(want.checksum, aliases).and_then(|digest| claims.get(&digest));
        let facts = match claim {
            Some(Claim::Held(facts) | Claim::Leased(facts)) if intact(facts) => *facts,
            Some(Claim::Held(_) | Claim::Leased(_) | Claim::Absent) | None => {
                plan.fetch.push((*want).clone());
                continue;
            }
        };
        if let Some(expected) = want.size.filter(|size| *size != facts.size) {
            let got = facts.size;
            let error = if got > expected {
                BlobError::TooLong(expected)
            } else {
                BlobError::TooShort { expected, got }
            };
            return Err((want.paths[0].clone(), error));
        }
        plan.have.insert(want.checksum, facts);
    }
    Ok(plan)
}

/// Makes sure, before the pool is fetched, that everything wanted can stand in one tree. Files whose digests show only when
/// they have arrived are looked at then.
///
/// # Errors
/// When it cannot.
pub(super) fn check(
    release_files: Vec<(RepoPath, BlobFacts)>,
    indices: &[ObtainedIndex],
    pool: &[Want],
) -> Result<(), SyncError> {
    let expected = |want: &Want| {
        let blob = BlobFacts {
            digest: want.checksum.digest()?,
            size: want.size?,
            mtime: want.date,
        };
        Some((want.paths[0].clone(), blob))
    };
    let pool = pool.iter().filter_map(expected);
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
            checksum: Checksum::Sha256(Digest::of(content)),
            size: Some(content.len() as u64),
            date: Timestamp::from_unix(0),
        }
    }

    fn facts(content: &[u8]) -> BlobFacts {
        BlobFacts {
            digest: Digest::of(content),
            size: content.len() as u64,
            mtime: Timestamp::from_unix(0),
        }
    }

    fn sha512(byte: u8) -> Sha512 {
        Sha512::from_bytes(&[byte; 64]).expect("64 bytes")
    }

    fn held(blobs: &[BlobFacts]) -> HashMap<Digest, Claim> {
        blobs.iter().map(|blob| (blob.digest, Claim::Held(*blob))).collect()
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
        let mut claims = held(&[facts(b"2")]);
        claims.insert(Digest::of(b"1"), Claim::Absent);
        for leased in [facts(b"3"), facts(b"4")] {
            claims.insert(leased.digest, Claim::Leased(leased));
        }
        let plan = plan(&contents, &claims, &Aliases::new(), |blob| {
            blob.digest != Digest::of(b"3")
        });
        let plan = plan.expect("sizes agree");
        let fetched: Vec<_> = plan.fetch.iter().map(|want| want.paths[0].as_str()).collect();
        assert_eq!(fetched, ["a", "d"], "a leased blob whose file is gone is fetched again");
        assert_eq!(plan.have.len(), 2);
    }

    #[test]
    fn bytes_that_are_known_by_another_hash_are_not_fetched() {
        let wants = [1, 2].map(|byte| Want {
            checksum: Checksum::Sha512(sha512(byte)),
            size: None,
            ..want("a", b"")
        });
        let aliases = Aliases::from([(sha512(1), Digest::of(b"x"))]);
        let plan = plan(&contents(&wants), &held(&[facts(b"x")]), &aliases, |_| true).expect("no size is told");
        assert_eq!(plan.have, HashMap::from([(wants[0].checksum, facts(b"x"))]));
        assert_eq!(plan.fetch, [wants[1].clone()]);
    }

    #[test]
    fn a_listed_size_that_the_bytes_do_not_have_is_refused() {
        let wants = [want("a", b"1")];
        let wrong = BlobFacts { size: 7, ..facts(b"1") };
        let refused = plan(&contents(&wants), &held(&[wrong]), &Aliases::new(), |_| true);
        assert!(matches!(refused, Err((_, BlobError::TooLong(1)))));
        let wants = [want("a", b"123456789")];
        let wrong = BlobFacts {
            size: 7,
            ..facts(b"123456789")
        };
        let refused = plan(&contents(&wants), &held(&[wrong]), &Aliases::new(), |_| true);
        assert!(matches!(refused, Err((_, BlobError::TooShort { expected: 9, got: 7 }))));
    }
}

//! The Release files of the wanted suites: fetched, verified, and only then parsed.
//!
//! Owns what makes up one suite's `InRelease`, `Release` and `Release.gpg`, and the question whether upstream has
//! anything new. Metadata comes from verified text only, whichever file arrived first; files of one suite that do
//! not say the same are never kept together.

use super::indices::date_of;
use super::plausible;
use super::store::Store;
use super::{Acceptance, Job, SyncError, Trust};
use crate::apt::{self, LONGEST_RELEASE, Release};
use crate::catalog::{CatalogError, CatalogReader, MirrorRow, ReleaseFacts, SyncedState};
use crate::model::{BaseUrl, BlobFacts, Digest, RepoPath, Suite, Timestamp, VerifiedText};
use crate::signature::{self, SignatureError};
use crate::upstream::{Archive, Place, Small, Validators};

/// How often the files of one suite are fetched before their disagreement is final: upstream may be publishing.
const ATTEMPTS: u32 = 3;

/// One suite's verified Release.
#[derive(Debug)]
pub(super) struct SuiteRelease {
    pub(super) suite: Suite,
    /// What it says.
    pub(super) release: Release,
    /// The text that says so.
    pub(super) text: VerifiedText,
    /// What the catalog keeps of it.
    pub(super) facts: ReleaseFacts,
    /// The files as upstream has them, for the served tree.
    pub(super) files: Vec<ReleaseBytes>,
    /// Whether it differs from the mirror's last synced state.
    pub(super) changed: bool,
}

impl SuiteRelease {
    /// The files with what the cache keeps of each that it does not have yet.
    pub(super) fn blobs(&self, job: &Job) -> impl Iterator<Item = (&ReleaseBytes, BlobFacts)> {
        let (now, date) = (job.now, date_of(self, job));
        self.files.iter().map(move |file| {
            let blob = BlobFacts {
                digest: Digest::of(&file.bytes),
                size: file.bytes.len() as u64,
                mtime: file.last_modified.map_or(date, |time| time.min(now)),
            };
            (file, blob)
        })
    }
}

/// One of the files `InRelease`, `Release`, `Release.gpg`.
#[derive(Debug)]
pub(super) struct ReleaseBytes {
    pub(super) path: RepoPath,
    pub(super) bytes: Vec<u8>,
    pub(super) last_modified: Option<Timestamp>,
}

/// What upstream has of one suite.
struct Found {
    in_release: Option<ReleaseBytes>,
    release: Option<ReleaseBytes>,
    signature: Option<ReleaseBytes>,
    /// Of the file that a later conditional request will ask for.
    validators: Validators,
}

/// The Release files of every suite, all from one place.
#[derive(Debug)]
pub(super) struct Releases {
    pub(super) suites: Vec<SuiteRelease>,
    /// Where they come from.
    pub(super) url: BaseUrl,
    place: Place,
}

/// Where the Release files of one run come from.
#[derive(Clone, Copy)]
struct From<'a> {
    archive: &'a Archive,
    place: Place,
    /// Whether there are other places to go to when this one fails.
    go_elsewhere: bool,
    /// Whether it may have an older state than there was before.
    accept_rollback: bool,
}

impl From<'_> {
    /// What this run goes by, now that the place has proven good.
    fn settled_on(self, suites: Vec<SuiteRelease>) -> Releases {
        self.archive.put_first(self.place);
        Releases {
            suites,
            place: self.place,
            url: self.archive.url(self.place).clone(),
        }
    }
}

/// Fetches and verifies the Release files of every suite of `job`, all of them from one place: the first that has them
/// and does not lag behind. What cannot be verified is final, whatever another place might say.
pub(super) async fn fetch_all(
    job: &Job,
    archive: &Archive,
    store: &Store,
    mirror: MirrorRow,
) -> Result<Releases, SyncError> {
    let before = said_before(job, store.catalog().reader(), mirror)?;
    let last = store.catalog().reader().last_state(mirror)?;
    // Another selection makes everything new; the same one lets upstream say "not modified".
    let last = last.as_ref().filter(|last| last.selection == job.selection());
    first_place(job, archive, &before, last.map(|last| (store, mirror, last))).await
}

/// What the suites of `job` said last, as far as they were ever had. A tree that was taken over is a state of the past,
/// and says nothing of where upstream stands: what was synced before it still counts.
pub(super) fn said_before(
    job: &Job,
    catalog: &CatalogReader,
    mirror: MirrorRow,
) -> Result<Vec<ReleaseFacts>, CatalogError> {
    let own: Vec<String> = job.urls.iter().map(ToString::to_string).collect();
    let is_directory = |url: &str| url.parse::<BaseUrl>().is_ok_and(|url| url.directory().is_some());
    let is_upstream = |url: &str| own.iter().any(|own| own == url) || !is_directory(url);
    let said = job
        .suites
        .iter()
        .map(|suite| catalog.last_release(mirror, suite, is_upstream));
    said.filter_map(Result::transpose).collect()
}

/// As [`fetch_all`] without a catalog; `before` is what the suites said last, as far as that is known.
pub(super) async fn fetch_anew(job: &Job, archive: &Archive, before: &[ReleaseFacts]) -> Result<Releases, SyncError> {
    first_place(job, archive, before, None).await
}

/// The last synced state, and where it is recorded.
type Last<'a> = (&'a Store, MirrorRow, &'a SyncedState);

async fn first_place(
    job: &Job,
    archive: &Archive,
    before: &[ReleaseFacts],
    last: Option<Last<'_>>,
) -> Result<Releases, SyncError> {
    let places = archive.places();
    let mut why_not = None;
    // The place that lags behind least, by its date.
    let mut least_lagging: Option<(Timestamp, Place)> = None;
    for (at, place) in places.iter().enumerate() {
        let go_elsewhere = at + 1 < places.len();
        let from = From {
            archive,
            place: *place,
            go_elsewhere,
            // An older state is accepted only where no other place has a newer one.
            accept_rollback: job.accept.rollback && places.len() == 1,
        };
        match fetch_from(job, from, before, last).await {
            Err(error) if is_of_one_place(&error) => {
                if let SyncError::Rollback { date, .. } = error
                    && least_lagging.is_none_or(|(least, _)| date > least)
                {
                    least_lagging = Some((date, *place));
                }
                if go_elsewhere {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "{} is of no use now: going to the next URL", archive.url(*place));
                    archive.put_last(*place);
                }
                why_not = Some(match why_not {
                    // That a place lags is of interest only where nothing worse keeps the others from helping out.
                    Some(worse) if is_lagging(&error) => worse,
                    Some(_) | None => error,
                });
            }
            outcome => return Ok(from.settled_on(outcome?)),
        }
    }
    if let Some((_, place)) = least_lagging.filter(|_| job.accept.rollback) {
        let from = From {
            archive,
            place,
            go_elsewhere: false,
            accept_rollback: true,
        };
        return Ok(from.settled_on(fetch_from(job, from, before, last).await?));
    }
    Err(why_not.expect("an archive has a place"))
}

/// Whether another place may well do better.
fn is_of_one_place(error: &SyncError) -> bool {
    matches!(error, SyncError::Upstream(_) | SyncError::NoRelease(_)) || is_lagging(error)
}

/// Whether a place has good Release files, but old ones, as a mirror that is behind the others does.
fn is_lagging(error: &SyncError) -> bool {
    matches!(error, SyncError::Rollback { .. } | SyncError::Expired { .. })
}

async fn fetch_from(
    job: &Job,
    from: From<'_>,
    before: &[ReleaseFacts],
    last: Option<Last<'_>>,
) -> Result<Vec<SuiteRelease>, SyncError> {
    let url = from.archive.url(from.place).to_string();
    // Another upstream knows nothing of this one's marks, though its files may be the same.
    let same_url = last.is_some_and(|(_, _, last)| last.url == url);
    let mut releases = Vec::new();
    for suite in &job.suites {
        let recorded = last
            .map(|(store, mirror, last)| recorded(job, store, mirror, last, suite))
            .transpose()?
            .flatten();
        let fetched = fetch(job, from, suite, recorded, same_url).await?;
        let before = before.iter().find(|facts| facts.suite == *suite);
        let accept = Acceptance {
            rollback: from.accept_rollback,
            ..job.accept
        };
        plausible::check(suite, &fetched.release, before, job.clock.now(), accept)?;
        releases.push(fetched);
    }
    Ok(releases)
}

/// Whether upstream has published since `releases` were fetched. When it cannot be asked, nothing is known of it.
pub(super) async fn have_changed(archive: &Archive, releases: &Releases) -> bool {
    for release in &releases.suites {
        let file = release.files.first().expect("a suite has a Release file");
        let now = archive
            .small(releases.place, &file.path, (None, LONGEST_RELEASE), false)
            .await;
        if matches!(now, Ok(Small::File { bytes, .. }) if bytes != file.bytes) {
            return true;
        }
    }
    false
}

/// The files and validators of `suite` in the last synced state, when it has them whole.
fn recorded(
    job: &Job,
    store: &Store,
    mirror: MirrorRow,
    last: &SyncedState,
    suite: &Suite,
) -> Result<Option<Found>, SyncError> {
    let Some(facts) = last.releases.iter().find(|facts| facts.suite == *suite) else {
        return Ok(None);
    };
    let file = |name| -> Result<Option<ReleaseBytes>, SyncError> {
        let path = path_of(suite, name)?;
        let kept_as = path_of(suite, &job.filtering.recorded_name(name))?;
        let bytes = store.recorded_file(mirror, last.seq, &kept_as)?;
        Ok(bytes.map(|bytes| ReleaseBytes {
            path,
            bytes,
            last_modified: None,
        }))
    };
    let found = Found {
        in_release: file("InRelease")?,
        release: file("Release")?,
        signature: file("Release.gpg")?,
        validators: Validators {
            etag: facts.etag.clone(),
            last_modified: facts.last_modified.clone(),
        },
    };
    Ok((found.in_release.is_some() || found.release.is_some()).then_some(found))
}

async fn fetch(
    job: &Job,
    from: From<'_>,
    suite: &Suite,
    recorded: Option<Found>,
    same_url: bool,
) -> Result<SuiteRelease, SyncError> {
    let mut attempt = 1;
    loop {
        let found = ask(from, suite, recorded.as_ref(), same_url).await?;
        let Some(found) = found else {
            let recorded = recorded.expect("only what is recorded can be unmodified");
            return verify(job, suite, recorded, false);
        };
        let changed = recorded.as_ref().is_none_or(|recorded| !same_bytes(recorded, &found));
        match verify(job, suite, found, changed) {
            // Release and Release.gpg are two requests: upstream may have published between them.
            Err(
                SyncError::Disagreement(_)
                | SyncError::Signature {
                    file: "Release.gpg", ..
                },
            ) if attempt < ATTEMPTS => {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Asks upstream for the suite's Release files; `None` when what is recorded is still what upstream has.
async fn ask(
    from: From<'_>,
    suite: &Suite,
    recorded: Option<&Found>,
    same_url: bool,
) -> Result<Option<Found>, SyncError> {
    let known = |is_in_release| {
        recorded
            .filter(|found| same_url && found.in_release.is_some() == is_in_release)
            .map(|found| &found.validators)
    };
    let (in_release, release) = match get(from, suite, "InRelease", known(true)).await? {
        Got::Unchanged => return Ok(None),
        Got::File(file, validators) => (Some((file, validators)), None),
        Got::Nothing => match get(from, suite, "Release", known(false)).await? {
            Got::Unchanged => return Ok(None),
            Got::Nothing => return Err(SyncError::NoRelease(suite.clone())),
            Got::File(file, validators) => (None, Some((file, validators))),
        },
    };
    if let (Some((file, _)), Some(recorded)) = (&in_release, recorded)
        && recorded
            .in_release
            .as_ref()
            .is_some_and(|known| known.bytes == file.bytes)
    {
        // A server that ignores conditions: the same bytes are the same state.
        return Ok(None);
    }
    let (in_release, validators) = in_release.unzip();
    let (release, validators) = match (release, validators) {
        (Some((release, validators)), _) => (Some(release), validators),
        (None, validators) => (
            beside_in_release(from, suite, "Release").await?,
            validators.unwrap_or_default(),
        ),
    };
    let signature = match (&release, &in_release) {
        (Some(_), Some(_)) => beside_in_release(from, suite, "Release.gpg").await?,
        (Some(_), None) => get(from, suite, "Release.gpg", None).await?.file(),
        (None, _) => None,
    };
    Ok(Some(Found {
        in_release,
        release,
        signature,
        validators,
    }))
}

/// A file that APT does not ask for where there is `InRelease`.
async fn beside_in_release(
    from: From<'_>,
    suite: &Suite,
    name: &'static str,
) -> Result<Option<ReleaseBytes>, SyncError> {
    match get(from, suite, name, None).await {
        Err(SyncError::Upstream(refusal)) if refusal.is_evasive() => Ok(None),
        got => Ok(got?.file()),
    }
}

enum Got {
    Unchanged,
    Nothing,
    File(ReleaseBytes, Validators),
}

impl Got {
    fn file(self) -> Option<ReleaseBytes> {
        match self {
            Self::File(file, _) => Some(file),
            Self::Unchanged | Self::Nothing => None,
        }
    }
}

async fn get(from: From<'_>, suite: &Suite, name: &'static str, known: Option<&Validators>) -> Result<Got, SyncError> {
    let path = path_of(suite, name)?;
    let answer = from
        .archive
        .small(from.place, &path, (known, LONGEST_RELEASE), from.go_elsewhere)
        .await?;
    Ok(match answer {
        Small::Unchanged => Got::Unchanged,
        Small::Missing => Got::Nothing,
        Small::File {
            bytes,
            validators,
            last_modified,
        } => Got::File(
            ReleaseBytes {
                path,
                bytes,
                last_modified,
            },
            validators,
        ),
    })
}

/// Checks every signature that is there, and that all files say the same.
fn verify(job: &Job, suite: &Suite, found: Found, changed: bool) -> Result<SuiteRelease, SyncError> {
    let parse = |text: &VerifiedText| -> Result<Release, SyncError> {
        Release::parse(text).map_err(|source| SyncError::Parse {
            path: in_suite(suite, "Release"),
            source,
        })
    };
    let inline = found
        .in_release
        .as_ref()
        .map(|file| inline(job, suite, &file.bytes))
        .transpose()?;
    let detached = match (&found.release, &found.signature, &inline) {
        (Some(text), Some(signature), _) => Some(detached(job, suite, &text.bytes, &signature.bytes)?),
        (Some(text), None, Some(verified)) if says_the_same(&text.bytes, verified) => None,
        (Some(_), None, Some(_)) => return Err(SyncError::Disagreement(suite.clone())),
        (Some(text), None, None) => Some(unsigned(job, suite, &text.bytes)?),
        (None, _, _) => None,
    };
    let release = match (&inline, &detached) {
        (Some(inline), Some(detached)) => {
            let release = parse(inline)?;
            if release != parse(detached)? {
                return Err(SyncError::Disagreement(suite.clone()));
            }
            release
        }
        (Some(text), None) | (None, Some(text)) => parse(text)?,
        (None, None) => return Err(SyncError::NoRelease(suite.clone())),
    };
    // A tree that is taken over is as old as it is; its clients judge for themselves.
    let fresh = job.adoption.is_none();
    if let Some(until) = release.valid_until.filter(|until| fresh && *until < job.clock.now()) {
        return Err(SyncError::Expired {
            suite: suite.clone(),
            until,
        });
    }
    let text = inline.or(detached).expect("one of them was parsed");
    let facts = facts(suite, &release, text.signers().to_vec(), &found.validators);
    let files = [found.in_release, found.release, found.signature]
        .into_iter()
        .flatten()
        .collect();
    Ok(SuiteRelease {
        suite: suite.clone(),
        release,
        text,
        facts,
        files,
        changed,
    })
}

fn inline(job: &Job, suite: &Suite, bytes: &[u8]) -> Result<VerifiedText, SyncError> {
    let outcome = match &job.trust {
        Trust::Keyring(keyring) => signature::verify_inline(bytes, keyring, job.clock.now()),
        Trust::Unchecked => signature::without_check_inline(bytes),
    };
    outcome.map_err(refused(suite, "InRelease"))
}

fn detached(job: &Job, suite: &Suite, text: &[u8], signature: &[u8]) -> Result<VerifiedText, SyncError> {
    let outcome = match &job.trust {
        Trust::Keyring(keyring) => signature::verify_detached(text, signature, keyring, job.clock.now()),
        Trust::Unchecked => signature::without_check(text),
    };
    outcome.map_err(refused(suite, "Release.gpg"))
}

fn unsigned(job: &Job, suite: &Suite, text: &[u8]) -> Result<VerifiedText, SyncError> {
    match &job.trust {
        Trust::Keyring(_) => Err(SyncError::Unsigned(suite.clone())),
        Trust::Unchecked => signature::without_check(text).map_err(refused(suite, "Release")),
    }
}

fn refused(suite: &Suite, file: &'static str) -> impl FnOnce(SignatureError) -> SyncError {
    let suite = suite.clone();
    move |source| SyncError::Signature { suite, file, source }
}

/// Whether a Release file without a signature of its own is the text that `InRelease` signs. The two may differ in
/// blank space at the end only, which the signature of `InRelease` does not cover.
fn says_the_same(text: &[u8], verified: &VerifiedText) -> bool {
    text.trim_ascii_end() == verified.text().as_bytes().trim_ascii_end()
}

fn same_bytes(a: &Found, b: &Found) -> bool {
    let bytes = |file: &Option<ReleaseBytes>| file.as_ref().map(|file| file.bytes.clone());
    bytes(&a.in_release) == bytes(&b.in_release)
        && bytes(&a.release) == bytes(&b.release)
        && bytes(&a.signature) == bytes(&b.signature)
}

fn facts(suite: &Suite, release: &Release, signers: Vec<String>, validators: &Validators) -> ReleaseFacts {
    ReleaseFacts {
        suite: suite.clone(),
        date: release.date,
        valid_until: release.valid_until,
        origin: release.origin.clone(),
        label: release.label.clone(),
        suite_field: release.suite.clone(),
        codename: release.codename.clone(),
        signers,
        etag: validators.etag.clone(),
        last_modified: validators.last_modified.clone(),
    }
}

/// Path of a file in the suite's directory.
pub(super) fn path_of(suite: &Suite, name: &str) -> Result<RepoPath, SyncError> {
    apt::layout::in_suite(suite, name).map_err(|source| SyncError::Path {
        suite: suite.clone(),
        path: name.to_owned(),
        source,
    })
}

/// As [`path_of`], for messages about a file whose path was made before.
fn in_suite(suite: &Suite, name: &str) -> RepoPath {
    path_of(suite, name).expect("the path of a file that was fetched")
}

//! What a check of everything stored has found, as it is told.
//!
//! Owns the form of the report for people and for programs, and the failure that damage is. It looks at nothing but the
//! catalog.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::{Value, json};

use super::verify_repair::Fetched;
use crate::catalog::{BlobRow, CatalogError, CatalogReader, Damaged, ListedAs, Rehashed, Whereabouts};
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Human, Page};
use crate::cli::text::{size, utc};
use crate::model::{Digest, MirrorId, Role, SnapshotName, UNITS};
use crate::verify::{Verified, Wish};

/// What helps a catalog that is damaged.
pub(super) const REBUILD: &str = "mirrorctl repair --rebuild makes the catalog anew; a copy can take its place, too";

/// Snapshots, and things that are nobody's, of which people are told one by one; programs get all of them.
const TOLD: usize = 5;

/// What was asked, and whether somebody has stopped it.
pub(super) struct Asked<'a> {
    pub(super) wish: &'a Wish,
    pub(super) repair: bool,
    pub(super) interrupted: Option<Failure>,
}

/// What the catalog knows to be damaged, and where it is listed.
pub(super) struct Known {
    pub(super) damaged: Vec<Damaged>,
    places: Vec<Whereabouts>,
}

impl Known {
    /// Every damaged blob that anything needs; with `mirrors`, that one of them has.
    pub(super) fn read(reader: &CatalogReader, mirrors: Option<&[MirrorId]>) -> Result<Self, CatalogError> {
        reader.at_once(|reader| {
            let mut damaged = reader.damaged()?;
            if damaged.is_empty() {
                let places = Vec::new();
                return Ok(Self { damaged, places });
            }
            let places = reader.whereabouts()?;
            let is_of = |place: &Whereabouts| mirrors.is_none_or(|mirrors| mirrors.contains(&place.mirror));
            let meant: BTreeSet<BlobRow> = places
                .iter()
                .filter(|place| is_of(place))
                .map(|place| place.blob)
                .collect();
            damaged.retain(|damaged| damaged.is_needed && meant.contains(&damaged.row));
            Ok(Self { damaged, places })
        })
    }

    /// Where a blob is listed.
    pub(super) fn places(&self, blob: BlobRow) -> impl Iterator<Item = &Whereabouts> {
        // They are sorted by blob, and there may be as many as files.
        let first = self.places.partition_point(|place| place.blob < blob);
        self.places[first..].iter().take_while(move |place| place.blob == blob)
    }
}

#[derive(Serialize)]
pub(super) struct Report {
    deep: bool,
    part: String,
    /// `None` for the whole cache.
    mirrors: Option<Vec<String>>,
    /// When the run was begun that this one has gone on with.
    went_on: Option<String>,
    complete: bool,
    checked_files: u64,
    checked_bytes: u64,
    /// What is wrong with the catalog.
    catalog: Vec<String>,
    damaged: Vec<Bad>,
    repaired: Vec<Mended>,
    wrong_modes: Vec<WrongMode>,
    strays: Vec<String>,
    quarantine_files: u64,
    quarantine_bytes: u64,
    hashed_again: HashedAgain,
}

/// A blob that is damaged.
#[derive(Serialize)]
struct Bad {
    digest: String,
    fault: &'static str,
    since: String,
    /// Where the bad file is now, below the state directory.
    aside: Option<String>,
    files: Vec<Place>,
    /// Why it could not be fetched again.
    not_repaired: Vec<String>,
    #[serde(skip)]
    sentence: String,
    #[serde(skip)]
    is_manifest: bool,
}

/// A name of a blob.
#[derive(Serialize)]
struct Place {
    mirror: String,
    /// `None` for a manifest.
    path: Option<String>,
    snapshots: Vec<String>,
}

/// A blob that was damaged and is whole.
#[derive(Serialize)]
struct Mended {
    digest: String,
    /// The mirror whose upstream had it; `None` where the file was whole again by itself.
    from: Option<String>,
    files: Vec<Place>,
}

#[derive(Serialize)]
struct WrongMode {
    path: String,
    mended: bool,
}

/// How much of the cache was ever hashed again.
#[derive(Serialize)]
pub(in crate::cli) struct HashedAgain {
    percent: u8,
    oldest: Option<String>,
}

impl HashedAgain {
    pub(in crate::cli) fn of(rehashed: Rehashed) -> Self {
        let percent = u32::from(rehashed.units) * 100 / u32::from(UNITS);
        Self {
            percent: u8::try_from(percent).unwrap_or(100),
            oldest: rehashed.oldest.map(utc),
        }
    }

    /// As people read it.
    pub(in crate::cli) fn sentence(&self) -> String {
        match &self.oldest {
            None => "the cache was never hashed again (mirrorctl verify --deep)".to_owned(),
            Some(oldest) if self.percent == 100 => format!("all of the cache was hashed again, the oldest at {oldest}"),
            Some(oldest) => format!(
                "{} % of the cache was hashed again, the oldest at {oldest}",
                self.percent
            ),
        }
    }
}

impl Report {
    pub(super) fn of(
        asked: &Asked<'_>,
        verified: &Verified,
        (before, after): (&Known, &Known),
        fetched: &Fetched,
        (rehashed, aside): (Rehashed, (u64, u64)),
    ) -> Self {
        let wish = asked.wish;
        let mirrors = wish.mirrors.as_ref();
        let damaged = after.damaged.iter().map(|damaged| Bad::of(damaged, after, fetched));
        let rows = before.damaged.iter().map(|damaged| (damaged.digest, damaged.row));
        let rows: HashMap<Digest, BlobRow> = rows.collect();
        let whole = fetched.whole.iter().map(|(digest, from)| Mended {
            digest: digest.to_string(),
            from: Some(from.clone()),
            files: rows
                .get(digest)
                .map(|row| before.places(*row).map(Place::of).collect())
                .unwrap_or_default(),
        });
        let healed = verified.healed.iter().map(|digest| Mended {
            digest: digest.to_string(),
            from: None,
            files: Vec::new(),
        });
        Self {
            deep: wish.deep,
            part: wish.part.to_string(),
            mirrors: mirrors.map(|mirrors| mirrors.iter().map(ToString::to_string).collect()),
            went_on: verified.went_on.map(utc),
            complete: asked.interrupted.is_none() && !verified.soundness.is_broken,
            checked_files: verified.checked.blobs,
            checked_bytes: verified.checked.bytes,
            catalog: verified.soundness.complaints.clone(),
            damaged: damaged.collect(),
            repaired: whole.chain(healed).collect(),
            wrong_modes: verified
                .wrong_modes
                .iter()
                .map(|(digest, mended)| WrongMode {
                    path: path_of(*digest),
                    mended: *mended,
                })
                .collect(),
            strays: verified.strays.clone(),
            quarantine_files: aside.0,
            quarantine_bytes: aside.1,
            hashed_again: HashedAgain::of(rehashed),
        }
    }

    /// Success, or the failure that it is.
    pub(super) fn conclude(&self, asked: Asked<'_>, verified: &Verified) -> Result<(), Failure> {
        let hint = if asked.wish.deep {
            "the same command goes on where it stopped"
        } else {
            "run it again"
        };
        let interrupted = asked.interrupted.map(|failure| failure.hint(hint));
        let damage = self.damage(asked.repair);
        let unseen = unseen(verified, damage.is_some());
        Failure::of_several(interrupted.into_iter().chain(damage).chain(unseen))
    }

    /// The failure that anything damaged is.
    fn damage(&self, repair: bool) -> Option<Failure> {
        let modes: Vec<&WrongMode> = self.wrong_modes.iter().filter(|mode| !mode.mended).collect();
        let files = self.damaged.len() + modes.len();
        let message = match (self.catalog.is_empty(), files) {
            (true, 0) => return None,
            (false, 0) => "the catalog is not sound".to_owned(),
            (true, files) => format!(
                "{} not as {} should be",
                these(files),
                if files == 1 { "it" } else { "they" }
            ),
            (false, files) => format!("the catalog is not sound, and {} not as they should be", these(files)),
        };
        let mut failure = Failure::new(Kind::Damaged, message);
        for complaint in &self.catalog {
            failure = failure.problem(format!("catalog: {complaint}"), json!({ "catalog": complaint }));
        }
        for bad in &self.damaged {
            failure = failure.problem(bad.sentence.as_str(), bad.detail());
        }
        for mode in &modes {
            let text = format!("{} has a mode that it should not have", mode.path);
            failure = failure.problem(text, json!({ "path": mode.path, "fault": "mode" }));
        }
        Some(self.hints(failure, repair, !modes.is_empty()))
    }

    fn hints(&self, mut failure: Failure, repair: bool, has_modes: bool) -> Failure {
        if !self.catalog.is_empty() {
            failure = failure.hint(REBUILD);
        }
        let has_files = self.damaged.iter().any(|bad| !bad.is_manifest);
        if !repair && (has_files || has_modes) {
            failure = failure.hint("mirrorctl verify --repair fetches them again, from any mirror that has them");
        }
        if repair && has_files {
            failure = failure.hint(
                "sync the mirrors, which fetches what upstream still lists; of what is gone there, delete the snapshots that have \
                 it: mirrorctl snapshot delete",
            );
        }
        if self.damaged.iter().any(|bad| bad.is_manifest) {
            failure = failure.hint(
                "a manifest is only needed when the catalog fails; mirrorctl sync --force makes a snapshot that needs no \
                 damaged one, and deleting the snapshots that do ends it",
            );
        }
        failure
    }
}

/// So many files, with their verb.
fn these(files: usize) -> String {
    match files {
        1 => "1 file of the cache is".to_owned(),
        files => format!("{files} files of the cache are"),
    }
}

/// The failure that mounts may show damage still, or do not show yet that it was repaired.
fn unseen(verified: &Verified, is_damaged: bool) -> Option<Failure> {
    let first = verified.unseen.first()?;
    let what = if is_damaged {
        "may still show damaged bytes"
    } else {
        "may not show yet what was repaired"
    };
    let failure = Failure::new(Kind::NotVisible, format!("the mount at {} {what}", first.mount));
    let failure = verified.unseen.iter().fold(failure, |failure, unseen| {
        let detail = json!({ "mount": unseen.mount.to_string(), "error": unseen.error.to_string() });
        failure.problem(format!("{}: {}", unseen.mount, unseen.error), detail)
    });
    Some(failure.hint("a mount of this version follows within seconds of answering again; one of an older version has to be mounted anew"))
}

impl Bad {
    fn of(damaged: &Damaged, known: &Known, fetched: &Fetched) -> Self {
        let places: Vec<&Whereabouts> = known.places(damaged.row).collect();
        let not_repaired = fetched.failed.get(&damaged.digest).cloned().unwrap_or_default();
        let is_manifest = places.iter().all(|place| place.listed == ListedAs::Manifest);
        let mut sentence = sentence(damaged, &places);
        if !not_repaired.is_empty() {
            sentence.push_str("; ");
            sentence.push_str(&not_repaired.join("; "));
        }
        Self {
            digest: damaged.digest.to_string(),
            fault: damaged.fault.name(),
            since: utc(damaged.since),
            aside: damaged.aside.as_ref().map(|name| format!("quarantine/{name}")),
            files: places.into_iter().map(Place::of).collect(),
            not_repaired,
            sentence,
            is_manifest,
        }
    }

    fn detail(&self) -> Value {
        serde_json::to_value(self).expect("lists and texts can be written")
    }
}

impl Place {
    fn of(place: &Whereabouts) -> Self {
        let path = match &place.listed {
            ListedAs::File { path, .. } => Some(path.to_string()),
            ListedAs::Manifest => None,
        };
        Self {
            mirror: place.mirror.to_string(),
            path,
            snapshots: place.snapshots.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What people are told of a damaged blob: under its first name, with the snapshots that have it.
fn sentence(damaged: &Damaged, places: &[&Whereabouts]) -> String {
    let fault = damaged.fault;
    // What clients ask for by its plain name says more than a manifest.
    let first = places.iter().min_by_key(|place| match &place.listed {
        ListedAs::File { role: Role::Pool, .. } => 0,
        ListedAs::File { .. } => 1,
        ListedAs::Manifest => 2,
    });
    let Some(first) = first else {
        return format!("{} {fault}", path_of(damaged.digest));
    };
    let mirror = &first.mirror;
    let what = match &first.listed {
        ListedAs::File { path, .. } => format!("{mirror}: {path}"),
        ListedAs::Manifest => format!("{mirror}: a manifest ({})", path_of(damaged.digest)),
    };
    let others = match places.len() - 1 {
        0 => String::new(),
        more => format!(", known by {more} more names,"),
    };
    format!("{what}{others} {fault} ({})", in_snapshots(&first.snapshots))
}

fn in_snapshots(names: &[SnapshotName]) -> String {
    let told: Vec<&str> = names.iter().rev().take(TOLD).map(SnapshotName::as_str).collect();
    match names.len() {
        0 => "in no snapshot, only in the last synced state".to_owned(),
        1 => format!("in snapshot {}", told[0]),
        all if all <= TOLD => format!("in snapshots {}", told.join(", ")),
        all => format!("in {all} snapshots, of late {}", told.join(", ")),
    }
}

/// The place of a blob, below the state directory.
fn path_of(digest: Digest) -> String {
    let hex = digest.to_string();
    format!("blobs/{}/{hex}", &hex[..2])
}

impl Human for Report {
    fn human(&self, page: &mut Page) {
        if let Some(begun) = &self.went_on {
            page.line(format!("went on with what was begun at {begun}"));
        }
        let how = if self.deep { "hashed again" } else { "looked at" };
        let (files, bytes) = (self.checked_files, size(self.checked_bytes));
        page.line(format!("{files} files ({bytes}) {how}"));
        for mended in &self.repaired {
            let name = mended.files.first();
            let name = name.and_then(|file| Some(format!("{}: {}", file.mirror, file.path.as_ref()?)));
            let name = name.unwrap_or_else(|| mended.digest.clone());
            let from = mended
                .from
                .as_ref()
                .map(|from| format!(", fetched from upstream of {from}"));
            page.line(format!("{name} is whole again{}", from.unwrap_or_default()));
        }
        for mode in self.wrong_modes.iter().filter(|mode| mode.mended) {
            page.line(format!("{} has its mode again", mode.path));
        }
        if !self.strays.is_empty() {
            page.line(format!(
                "{} among the blobs are nobody's, and left alone:",
                self.strays.len()
            ));
            for stray in self.strays.iter().take(TOLD) {
                page.line(format!("  blobs/{stray}"));
            }
            if let more @ 1.. = self.strays.len().saturating_sub(TOLD) {
                page.line(format!("  and {more} more (--json lists all)"));
            }
        }
        if self.quarantine_files > 0 {
            page.line(format!(
                "quarantine: {} bad files ({}), which nothing needs",
                self.quarantine_files,
                size(self.quarantine_bytes)
            ));
        }
        page.line(self.hashed_again.sentence());
        let modes_are_right = self.wrong_modes.iter().all(|mode| mode.mended);
        if self.damaged.is_empty() && modes_are_right && self.catalog.is_empty() && self.complete {
            page.line("all is whole");
        }
    }
}

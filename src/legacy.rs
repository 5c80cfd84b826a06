//! The layout in which the earlier mirrorctl, written in Go, left its mirrors.
//!
//! Owns the knowledge of where that program put things, and reads names, links and dates of them; it opens no file and
//! changes nothing. A snapshot is a directory, complete with hard links; what is published and staged are symbolic
//! links to directories:
//!
//! ```text
//! <parent of dir>/.snapshots/<mirror>/<name>/    snapshots; of older releases, in <[snapshot] path>/<mirror>/<name>/
//! <dir>/<mirror>           -> production: a snapshot, or <dir>/.<mirror>.<time>/<mirror>, what the last sync fetched
//! <dir>/<mirror>-staging   -> staging
//! <dir>/<mirror>/{current,staging}, as its manual has it, mean the same
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::model::{MirrorId, Timestamp};

/// Directories of our own state, which older releases kept snapshots beside.
const OURS: &[&str] = &["blobs", "locks", "tmp"];

/// What cannot be read of an installation.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct LegacyError {
    path: PathBuf,
    source: io::Error,
}

/// One mirror of the earlier program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldMirror {
    /// Its id.
    pub id: MirrorId,
    /// Its trees, oldest first.
    pub trees: Vec<OldTree>,
    /// Which of them is in production.
    pub current: Option<PathBuf>,
    /// Which of them is staged.
    pub staging: Option<PathBuf>,
}

/// A complete archive root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldTree {
    /// The snapshot's name; `None` for what the last sync fetched, which had none.
    pub name: Option<String>,
    /// Where it is, without links.
    pub path: PathBuf,
    /// When it was made.
    pub made: Timestamp,
}

/// The mirrors of `ids` that the earlier program left at `dir`, with `state` as its `[snapshot] path`.
///
/// # Errors
/// When something that is there cannot be read.
pub fn find<'a>(
    dir: &Path,
    state: &Path,
    ids: impl IntoIterator<Item = &'a MirrorId>,
) -> Result<Vec<OldMirror>, LegacyError> {
    let mut mirrors = Vec::new();
    for id in ids {
        let mirror = find_mirror(dir, state, id)?;
        if !mirror.trees.is_empty() {
            mirrors.push(mirror);
        }
    }
    Ok(mirrors)
}

/// The directories in which snapshots of `id` may be.
fn places(dir: &Path, state: &Path, id: &MirrorId) -> Vec<PathBuf> {
    let beside = dir.parent().map(|parent| parent.join(".snapshots"));
    let within = Some(state.to_owned()).filter(|_| !OURS.contains(&id.as_str()));
    let roots = beside.into_iter().chain(within);
    roots.map(|root| root.join(id.as_str())).collect()
}

fn find_mirror(dir: &Path, state: &Path, id: &MirrorId) -> Result<OldMirror, LegacyError> {
    let mut trees = Vec::new();
    for place in places(dir, state, id) {
        trees.append(&mut snapshots(&place)?);
    }
    let own = dir.join(id.as_str());
    let current = first_target(&[own.clone(), own.join("current")])?;
    let staging = first_target(&[dir.join(format!("{id}-staging")), own.join("staging")])?;
    for target in [&current, &staging].into_iter().flatten() {
        if !trees.iter().any(|tree| tree.path == *target) {
            trees.push(OldTree {
                name: None,
                path: target.clone(),
                made: made(target)?,
            });
        }
    }
    trees.sort_by(|a, b| (a.made, &a.path).cmp(&(b.made, &b.path)));
    trees.dedup();
    Ok(OldMirror {
        id: id.clone(),
        trees,
        current,
        staging,
    })
}

/// The snapshots in the directory `place`, if there is one.
fn snapshots(place: &Path) -> Result<Vec<OldTree>, LegacyError> {
    let entries = match fs::read_dir(place) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        found => found.map_err(unreadable(place))?,
    };
    let mut trees = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable(place))?;
        let path = entry.path();
        if entry.file_type().map_err(unreadable(&path))?.is_dir() {
            let path = fs::canonicalize(&path).map_err(unreadable(&path))?;
            trees.push(OldTree {
                name: Some(entry.file_name().to_string_lossy().into_owned()),
                made: made(&path)?,
                path,
            });
        }
    }
    Ok(trees)
}

/// The directory that the first of `links` which is a link leads to.
fn first_target(links: &[PathBuf]) -> Result<Option<PathBuf>, LegacyError> {
    for link in links {
        let is_link = match fs::symlink_metadata(link) {
            Err(error) if is_absent(&error) => false,
            found => found.map_err(unreadable(link))?.is_symlink(),
        };
        if is_link {
            return match fs::canonicalize(link) {
                Err(error) if is_absent(&error) => Ok(None),
                found => found
                    .map_err(unreadable(link))
                    .map(|target| Some(target).filter(|target| target.is_dir())),
            };
        }
    }
    Ok(None)
}

/// When a tree was made: its directory changes when it is filled, and not again.
fn made(path: &Path) -> Result<Timestamp, LegacyError> {
    let found = fs::metadata(path).map_err(unreadable(path))?;
    Ok(Timestamp::from_unix(found.mtime()))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> LegacyError + use<> {
    let path = path.to_owned();
    move |source| LegacyError { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    struct Old(tempfile::TempDir);

    impl Old {
        fn new() -> Self {
            let place = tempfile::tempdir().expect("temporary directory");
            fs::create_dir(place.path().join("apt")).expect("makes");
            Self(place)
        }

        /// A tree that was made `at` seconds.
        fn tree(&self, path: &str, at: u64) -> PathBuf {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.join("dists")).expect("makes");
            let time = UNIX_EPOCH + Duration::from_secs(at);
            fs::File::open(&path)
                .and_then(|dir| dir.set_modified(time))
                .expect("dates");
            fs::canonicalize(path).expect("is there")
        }

        fn link(&self, target: &Path, link: &str) {
            symlink(target, self.0.path().join(link)).expect("links");
        }

        fn find(&self) -> Vec<OldMirror> {
            let ids: Vec<MirrorId> = ["debian", "tmp"].iter().map(|id| id.parse().expect("valid")).collect();
            let (dir, state) = (self.0.path().join("apt"), self.0.path().join("state"));
            find(&dir, &state, &ids).expect("reads")
        }
    }

    #[test]
    fn snapshots_and_pointers_are_recognised() {
        let old = Old::new();
        let two = old.tree(".snapshots/debian/two", 200);
        let one = old.tree("state/debian/one", 100);
        let live = old.tree("apt/.debian.20251014_154530/debian", 300);
        old.tree(".snapshots/unknown/one", 100);
        old.tree("state/tmp/debian", 100);
        old.link(&live, "apt/debian");
        old.link(&two, "apt/debian-staging");
        let found = old.find();
        assert_eq!(found.len(), 1);
        let names: Vec<_> = found[0]
            .trees
            .iter()
            .map(|tree| (tree.name.as_deref(), tree.made.unix()))
            .collect();
        assert_eq!(names, [(Some("one"), 100), (Some("two"), 200), (None, 300)]);
        assert_eq!(found[0].trees[0].path, one);
        assert_eq!(
            (found[0].current.as_ref(), found[0].staging.as_ref()),
            (Some(&live), Some(&two))
        );
    }

    #[test]
    fn the_layout_of_its_manual_is_recognised_too() {
        let old = Old::new();
        let one = old.tree(".snapshots/debian/one", 100);
        fs::create_dir(old.0.path().join("apt/debian")).expect("makes");
        old.link(&one, "apt/debian/current");
        old.link(Path::new("/nowhere"), "apt/debian/staging");
        let found = old.find();
        assert_eq!(
            (found[0].current.as_ref(), found[0].staging.as_ref()),
            (Some(&one), None)
        );
        assert_eq!(found[0].trees.len(), 1);
    }

    #[test]
    fn directories_of_others_are_no_installation() {
        let old = Old::new();
        assert_eq!(old.find(), []);
        // A directory that is no link, such as one of a running mount.
        old.tree("apt/debian/current", 100);
        old.tree("apt/debian-staging", 100);
        assert_eq!(old.find(), []);
    }
}

//! The mount against a model, through the kernel and all that it caches.
//!
//! Owns ten thousand operations made up at random: changes that are told, walks, listings, opens, reads at places that were
//! sought, mapped reads, directories and files that are held across changes, and a kernel that forgets. Each answer is compared with
//! plain maps of paths. A failure names its seed, which `MIRRORCTL_SEED` repeats.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, in its helpers too")]
#![expect(clippy::print_stdout, reason = "a failure needs its seed")]

#[expect(dead_code, reason = "what only other tests need")]
mod common;
#[path = "common/model.rs"]
mod model;
#[path = "common/sys.rs"]
#[expect(dead_code, reason = "what only other tests need")]
mod sys;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{BLOB_TIME, Files, MemoryTree};
use fastrand::Rng;
use mirrorctl_mount::{Options, Session, mount};
use model::{Found, LINKS, MIRRORS, Model, POINTERS, SNAPSHOTS, Step};
use tempfile::TempDir;

/// Operations of one run.
const OPERATIONS: usize = 10_000;
/// Files, and as many directories, that are held open at most.
const HELD: usize = 24;
/// Operations that a failure tells of, the last ones.
const TOLD: usize = 20;
/// Lengths of files: none, some, and those around a page and around what is read ahead at once.
const LENGTHS: [usize; 10] = [0, 1, 50, 50, 4095, 4096, 4097, 10_000, 131_077, 300_000];
/// Contents that files have; few enough that snapshots share most.
const CONTENTS: usize = 60;

/// What an operation found otherwise than the model has it.
type Divergence = String;

/// An open file, and its bytes.
struct HeldFile {
    file: File,
    bytes: Vec<u8>,
    position: u64,
}

/// An open directory, and everything that was below it when it was opened.
struct HeldDirectory {
    directory: File,
    below: BTreeMap<String, Found>,
}

struct Run {
    dice: Rng,
    place: TempDir,
    session: Session,
    tree: Arc<MemoryTree>,
    /// Whether the mount is told of changes.
    told: bool,
    contents: Vec<Vec<u8>>,
    model: Model,
    /// What the model has now.
    everything: BTreeMap<String, Found>,
    /// Paths that there were at any time.
    known: BTreeSet<String>,
    files: Vec<HeldFile>,
    directories: Vec<HeldDirectory>,
    /// The bytes of every file number ever met: a number never stands for other bytes.
    numbers: HashMap<u64, Vec<u8>>,
    history: VecDeque<String>,
}

/// Ten thousand operations, the first of which build something to look at.
fn run(seed: u64, told: bool) -> Result<(), Divergence> {
    println!("MIRRORCTL_SEED={seed}");
    let mut run = Run::new(seed, told);
    for _ in 0..20 {
        run.change();
    }
    for number in 0..OPERATIONS {
        run.operate()
            .map_err(|divergence| format!("seed {seed}, operation {number}: {divergence}\n{}", run.told_history()))?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "who looks into a failure says which one")]
fn seed() -> u64 {
    let wanted = std::env::var("MIRRORCTL_SEED").ok();
    wanted.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"))
}

#[test]
fn ten_thousand_operations_find_what_the_model_has() {
    if let Err(divergence) = run(seed(), true) {
        panic!("{divergence}");
    }
}

#[test]
fn control_changes_that_are_not_told_are_found_out() {
    let divergence = run(seed(), false);
    assert!(divergence.is_err(), "this way of looking can say no");
}

#[test]
fn control_what_is_forgotten_is_asked_for_again() {
    let run = Run::new(1, true);
    let (tree, bytes) = (&run.tree, vec![7; 10_000]);
    let mirror = tree.add_mirror("alpha");
    tree.add_snapshot(mirror, "s1", vec![("a/b".to_owned(), bytes.clone())]);
    let path = run.place.path().join("alpha/snapshots/s1/a/b");
    let names_asked = || {
        let before = tree.asked();
        let _found = fs::symlink_metadata(&path).unwrap();
        tree.asked() - before
    };
    assert!(names_asked() > 0, "for the first time");
    assert_eq!(names_asked(), 0, "the kernel knows");
    sys::forget_names(run.place.path()).unwrap();
    assert!(names_asked() > 0, "names were forgotten");

    let file = File::open(&path).unwrap();
    let first = || {
        let mut first = [0];
        file.read_exact_at(&mut first, 0).unwrap();
        first
    };
    assert_eq!(first(), [7]);
    fs::write(tree.blob_path(&bytes), vec![8; bytes.len()]).unwrap();
    assert_eq!(first(), [7], "the kernel knows");
    sys::forget_bytes(&file);
    assert_eq!(first(), [8], "bytes were forgotten");
}

impl Run {
    fn new(seed: u64, told: bool) -> Self {
        let mut dice = Rng::with_seed(seed);
        let contents = (0..CONTENTS).map(|_| {
            let length = *dice.choice(&LENGTHS[..]).unwrap();
            let mut bytes = vec![0; length];
            dice.fill(&mut bytes);
            bytes
        });
        let contents = contents.collect();
        let (tree, place) = (MemoryTree::new(), tempfile::tempdir().unwrap());
        let mut options = Options::new("model", 1);
        // So little that listings are given up all the time, and blobs closed.
        options.listing_cache_bytes = 20_000;
        options.open_blobs = 8.try_into().unwrap();
        let session = mount(Arc::clone(&tree) as _, place.path(), &options).expect("these tests need to mount");
        Self {
            dice,
            place,
            session,
            tree,
            told,
            contents,
            model: Model::default(),
            everything: Model::default().everything(),
            known: BTreeSet::new(),
            files: Vec::new(),
            directories: Vec::new(),
            numbers: HashMap::new(),
            history: VecDeque::new(),
        }
    }

    fn operate(&mut self) -> Result<(), Divergence> {
        match self.dice.u32(0..100) {
            0..6 => {
                self.change();
                Ok(())
            }
            6..26 => self.look(),
            26..36 => self.list(),
            36..46 => self.open(),
            46..60 => self.read_on(),
            60..68 => self.seek(),
            68..76 => self.read_at(),
            76..80 => self.map(),
            80..84 => self.hold(),
            84..92 => self.look_below(),
            92..96 => self.follow(),
            96..98 => {
                self.note("the kernel forgets names".to_owned());
                sys::forget_names(self.place.path()).map_err(|error| format!("forgetting names: {error}"))
            }
            _ => {
                self.forget_bytes();
                Ok(())
            }
        }
    }

    fn note(&mut self, what: String) {
        if self.history.len() == TOLD {
            self.history.pop_front();
        }
        self.history.push_back(what);
    }

    fn told_history(&self) -> String {
        self.history.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Takes a step, and tells the mount.
    fn change(&mut self) {
        let dice = &mut self.dice;
        let (mirror, snapshot) = (dice.usize(0..MIRRORS.len()), dice.usize(0..SNAPSHOTS.len()));
        let (pointer, link, other) = (
            dice.usize(0..POINTERS.len()),
            dice.usize(0..LINKS.len()),
            dice.usize(0..SNAPSHOTS.len()),
        );
        let step = match dice.u32(0..26) {
            0..3 => Step::AddMirror(mirror),
            3 => Step::RemoveMirror(mirror),
            4..11 => Step::AddSnapshot(mirror, snapshot, self.archive()),
            11..13 => Step::RemoveSnapshot(mirror, snapshot),
            13..15 => Step::RenameSnapshot(mirror, snapshot, other),
            15..22 => Step::Point(mirror, pointer, snapshot),
            22 => Step::Unset(mirror, pointer),
            _ => Step::Link(mirror, link, snapshot),
        };
        self.note(match &step {
            Step::AddSnapshot(mirror, snapshot, files) => {
                format!("AddSnapshot({mirror}, {snapshot}, {} files)", files.len())
            }
            other => format!("{other:?}"),
        });
        self.model.take(&self.tree, &step);
        self.everything = self.model.everything();
        self.known.extend(self.everything.keys().cloned());
        if self.told {
            self.session.reconcile().unwrap();
        }
    }

    /// The files of a snapshot, some of them those of others.
    fn archive(&mut self) -> Files {
        let mut paths = BTreeSet::new();
        for _ in 0..self.dice.usize(0..30) {
            let (one, two) = (self.dice.u32(0..4), self.dice.u32(0..4));
            paths.insert(match self.dice.u32(0..7) {
                0 => format!("dists/{one}/InRelease"),
                1 => format!("dists/{one}/main/Packages.{two}"),
                2 => format!("pool/{one}/{two}/file.deb"),
                3 => format!("pool/{one}/a/b/c/d/e/f/{two}"),
                4 => format!("top-{one}"),
                5 => format!("nämen/{} {two}", "n".repeat(250)),
                _ => format!("wide/{:03}", self.dice.u32(0..1000)),
            });
        }
        if self.dice.u32(0..10) == 0 {
            paths.extend((0..400).map(|number| format!("wide/{number:03}")));
        }
        let contents = paths.into_iter().map(|path| {
            let bytes = self.dice.choice(&self.contents).unwrap().clone();
            (path, bytes)
        });
        contents.collect()
    }

    /// A path that there is, or was, or never was.
    fn any_path(&mut self) -> String {
        let known = self.dice.usize(0..self.known.len());
        let known = self.known.iter().nth(known).expect("one of them").clone();
        match self.dice.u32(0..10) {
            0 => format!("{known}/absent"),
            1..3 => known,
            _ => self.path_of(|_, _| true).unwrap_or(known),
        }
    }

    /// A path of the model whose place and kind are `fit`.
    fn path_of(&mut self, fit: impl Fn(&str, &Found) -> bool) -> Option<String> {
        let fits = self.everything.iter().filter(|(path, found)| fit(path, found));
        let fits: Vec<&String> = fits.map(|(path, _)| path).collect();
        self.dice.choice(&fits).map(|path| (*path).clone())
    }

    fn look(&mut self) -> Result<(), Divergence> {
        let path = self.any_path();
        self.note(format!("look at {path:?}"));
        let at = self.place.path().join(&path);
        let expected = self.everything.get(&path);
        let is_below_pointer = POINTERS.iter().any(|pointer| path.split('/').nth(1) == Some(pointer));
        let shows_move = is_below_pointer && path.split('/').nth(2) == Some("dists");
        compare(&at, expected)?;
        if let Some(Found::File(bytes)) = expected {
            let found = fs::symlink_metadata(&at).unwrap();
            let same = self.numbers.entry(found.ino()).or_insert_with(|| bytes.clone());
            agree(
                &(same == bytes),
                &true,
                &format!("{path}: the bytes of number {}", found.ino()),
            )?;
            agree(
                &(found.mtime() == BLOB_TIME),
                &!shows_move,
                &format!("{path}: its time"),
            )?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(), Divergence> {
        let Some(path) = self.path_of(|_, found| matches!(found, Found::Directory(_))) else {
            return Ok(());
        };
        self.note(format!("list {path:?}"));
        compare_listing(&self.place.path().join(&path), &self.everything[&path])
    }

    fn open(&mut self) -> Result<(), Divergence> {
        let Some(path) = self.path_of(|_, found| matches!(found, Found::File(_))) else {
            return Ok(());
        };
        self.note(format!("open {path:?}"));
        let Found::File(bytes) = &self.everything[&path] else {
            unreachable!("only files were chosen")
        };
        let file = File::open(self.place.path().join(&path)).map_err(|error| format!("{path}: {error}"))?;
        let held = HeldFile {
            file,
            bytes: bytes.clone(),
            position: 0,
        };
        keep(&mut self.files, held, &mut self.dice);
        Ok(())
    }

    fn read_on(&mut self) -> Result<(), Divergence> {
        let length = self.dice.usize(0..70_000);
        self.note(format!("read {length} bytes of a held file"));
        let Some(held) = any(&mut self.files, &mut self.dice) else {
            return Ok(());
        };
        let mut bytes = vec![0; length];
        let got = held.file.read(&mut bytes).map_err(|error| format!("read: {error}"))?;
        let expected = held.expected(held.position, length);
        if bytes[..got] != *expected {
            return Err(format!("{got} bytes from {} on are others", held.position));
        }
        held.position += got as u64;
        Ok(())
    }

    fn seek(&mut self) -> Result<(), Divergence> {
        let (kind, by) = (self.dice.u32(0..3), self.dice.i64(-10_000..320_000));
        self.note(format!("seek by {by}, kind {kind}"));
        let Some(held) = any(&mut self.files, &mut self.dice) else {
            return Ok(());
        };
        let (to, from) = match kind {
            0 => (SeekFrom::Start(by.unsigned_abs()), None),
            1 => (SeekFrom::Current(by), Some(held.position)),
            _ => (SeekFrom::End(-by), Some(held.bytes.len() as u64)),
        };
        let expected = match from {
            None => Some(by.unsigned_abs()),
            Some(from) => from.checked_add_signed(if kind == 1 { by } else { -by }),
        };
        let found = held.file.seek(to).ok();
        held.position = found.unwrap_or(held.position);
        agree(&found, &expected, "a place that was sought")
    }

    fn read_at(&mut self) -> Result<(), Divergence> {
        let (offset, length) = (self.dice.u64(0..310_000), self.dice.usize(0..20_000));
        self.note(format!("read {length} bytes at {offset} of a held file"));
        let Some(held) = any(&mut self.files, &mut self.dice) else {
            return Ok(());
        };
        let mut bytes = vec![0; length];
        let got = held
            .file
            .read_at(&mut bytes, offset)
            .map_err(|error| format!("read: {error}"))?;
        if bytes[..got] == *held.expected(offset, length) {
            Ok(())
        } else {
            Err(format!("{got} bytes at {offset} are others"))
        }
    }

    fn map(&mut self) -> Result<(), Divergence> {
        self.note("map a held file".to_owned());
        let Some(held) = any(&mut self.files, &mut self.dice) else {
            return Ok(());
        };
        // Nothing can be mapped of an empty file.
        if held.bytes.is_empty() || sys::mapped(&held.file, held.bytes.len()) == held.bytes {
            Ok(())
        } else {
            Err("mapped bytes are others".to_owned())
        }
    }

    fn forget_bytes(&mut self) {
        self.note("the kernel forgets a held file's bytes".to_owned());
        if let Some(held) = any(&mut self.files, &mut self.dice) {
            sys::forget_bytes(&held.file);
        }
    }

    /// Opens a directory behind a door.
    fn hold(&mut self) -> Result<(), Divergence> {
        let is_behind_door = |path: &str, found: &Found| {
            let depth = match path.split('/').nth(1) {
                Some("at") | None => return false,
                Some("snapshots") => 3,
                Some(_) => 2,
            };
            matches!(found, Found::Directory(_)) && path.split('/').count() >= depth
        };
        let Some(path) = self.path_of(is_behind_door) else {
            return Ok(());
        };
        self.note(format!("hold {path:?}"));
        let directory = File::open(self.place.path().join(&path)).map_err(|error| format!("{path}: {error}"))?;
        let inside = format!("{path}/");
        let below = self.everything.iter().filter_map(|(at, found)| {
            let relative = if *at == path { "" } else { at.strip_prefix(&inside)? };
            Some((relative.to_owned(), found.clone()))
        });
        let held = HeldDirectory {
            directory,
            below: below.collect(),
        };
        keep(&mut self.directories, held, &mut self.dice);
        Ok(())
    }

    /// Looks for something below a held directory: it stays in the tree that it was in.
    fn look_below(&mut self) -> Result<(), Divergence> {
        let dice = &mut self.dice;
        let Some(held) = any(&mut self.directories, dice) else {
            return Ok(());
        };
        let paths: Vec<&String> = held.below.keys().collect();
        let path = (*dice.choice(&paths).unwrap()).clone();
        let at = PathBuf::from(format!("/proc/self/fd/{}", held.directory.as_raw_fd())).join(&path);
        let (absent, expected) = (at.join("absent"), &held.below[&path]);
        let answer = compare(&at, Some(expected)).and_then(|()| compare(&absent, None));
        let answer = answer.and_then(|()| match expected {
            Found::Directory(_) => compare_listing(&at, expected),
            Found::File(_) => Ok(()),
        });
        self.note(format!("look below a held directory at {path:?}"));
        answer
    }

    /// Reads the links.
    fn follow(&mut self) -> Result<(), Divergence> {
        self.note("read links".to_owned());
        for (path, leads_to) in self.model.links() {
            let expected = leads_to.map(|snapshot| {
                let (_, below) = snapshot.split_once('/').unwrap();
                PathBuf::from(format!("../{below}"))
            });
            let target = fs::read_link(self.place.path().join(&path)).ok();
            agree(&target, &expected, &path)?;
        }
        Ok(())
    }
}

impl HeldFile {
    /// The bytes that reading `length` of them at `offset` gives.
    fn expected(&self, offset: u64, length: usize) -> &[u8] {
        let from = usize::try_from(offset).unwrap().min(self.bytes.len());
        let until = from.saturating_add(length).min(self.bytes.len());
        &self.bytes[from..until]
    }
}

/// Compares what stands at `at` with what should stand there, its bytes too.
fn compare(at: &Path, expected: Option<&Found>) -> Result<(), Divergence> {
    let what = |text: &str| format!("{}: {text}", at.display());
    // Through a descriptor's link, which the last part of a path may be.
    let found = fs::metadata(at);
    let Some(expected) = expected else {
        let none = found.is_err_and(|error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)));
        return agree(&none, &true, &what("nothing is there"));
    };
    let found = found.map_err(|error| what(&error.to_string()))?;
    match expected {
        Found::Directory(_) => agree(&found.is_dir(), &true, &what("a directory")),
        Found::File(bytes) => {
            agree(
                &(found.is_file(), found.len()),
                &(true, bytes.len() as u64),
                &what("a file"),
            )?;
            let read = fs::read(at).map_err(|error| what(&error.to_string()))?;
            agree(&(read == *bytes), &true, &what("its bytes"))
        }
    }
}

fn compare_listing(at: &Path, expected: &Found) -> Result<(), Divergence> {
    let what = |text: &str| format!("{}: {text}", at.display());
    let Found::Directory(expected) = expected else {
        unreachable!("only directories are listed")
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(at).map_err(|error| what(&error.to_string()))? {
        let entry = entry.map_err(|error| what(&error.to_string()))?;
        names.push(entry.file_name().into_string().unwrap());
    }
    let found: BTreeSet<String> = names.iter().cloned().collect();
    agree(&found.len(), &names.len(), &what("no name twice"))?;
    agree(&found, expected, &what("its names"))
}

fn agree<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T, what: &str) -> Result<(), Divergence> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}"))
    }
}

/// Adds `new`, in the place of another when there are many.
fn keep<T>(held: &mut Vec<T>, new: T, dice: &mut Rng) {
    if held.len() == HELD {
        held.swap_remove(dice.usize(0..HELD));
    }
    held.push(new);
}

fn any<'a, T>(held: &'a mut [T], dice: &mut Rng) -> Option<&'a mut T> {
    let chosen = (!held.is_empty()).then(|| dice.usize(0..held.len()))?;
    held.get_mut(chosen)
}

//! A tree in memory, whose answers can be counted and delayed, for the tests of the mount.
//!
//! Owns a stand-in for what the program brings along: mirrors, snapshots, moves of pointers, blobs as files in a
//! temporary directory. It must stay simple enough to be seen to be right.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mirrorctl_mount::tree::{
    BlobNo, Child, DirNo, Door, DoorFacts, FileId, FileNode, Found, MirrorNo, NamedDoor, Node, Parent, Totals, Tree,
};
use tempfile::TempDir;

/// The blob's own modification time.
pub(crate) const BLOB_TIME: i64 = 1_600_000_000;

/// The serial time of the first move; each door adds a second.
pub(crate) const SERIAL_TIME: u64 = 1_700_000_000;

/// Files of one snapshot: path and bytes.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// A tree in memory.
pub(crate) struct MemoryTree {
    state: Mutex<State>,
    store: TempDir,
    /// Every question asked of the tree from a serving thread.
    asked: AtomicU64,
    gate: Gate,
    panics: AtomicBool,
    failing_opens: AtomicU64,
}

#[derive(Default)]
struct State {
    mirrors: BTreeMap<String, MirrorNo>,
    next_mirror: u32,
    pointers: BTreeMap<(MirrorNo, String), Door>,
    snapshots: BTreeMap<(MirrorNo, String), (Door, Files)>,
    superseded: BTreeSet<(MirrorNo, Door)>,
    /// Names in `at`, and whether asking for one fails.
    links: BTreeMap<(MirrorNo, String), Door>,
    links_fail: bool,
    doors: HashMap<Door, Behind>,
    /// The door whose files are found behind another one where that has none.
    lenders: HashMap<Door, Door>,
    next_door: u32,
    directories: HashMap<String, DirNo>,
    blobs: Vec<Vec<u8>>,
    numbers: HashMap<Vec<u8>, BlobNo>,
}

struct Behind {
    facts: DoorFacts,
    listings: HashMap<DirNo, Arc<[Child]>>,
}

/// Holds back the next answer of a serving thread after it has been worked out.
#[derive(Default)]
struct Gate {
    place: Mutex<Place>,
    moved: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    #[default]
    Open,
    Armed,
    Holding,
    Released,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the mount asks on behalf of the kernel, and not to tell a change.
fn on_serving_thread() -> bool {
    std::thread::current()
        .name()
        .is_some_and(|name| name.starts_with("fuser-"))
}

impl Gate {
    fn pass(&self) {
        if !on_serving_thread() {
            return;
        }
        let mut place = lock(&self.place);
        if *place != Place::Armed {
            return;
        }
        *place = Place::Holding;
        self.moved.notify_all();
        let place = self.moved.wait_while(place, |place| *place == Place::Holding);
        drop(place.unwrap_or_else(PoisonError::into_inner));
    }
}

impl MemoryTree {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            store: tempfile::tempdir().unwrap(),
            asked: AtomicU64::new(0),
            gate: Gate::default(),
            panics: AtomicBool::new(false),
            failing_opens: AtomicU64::new(0),
        })
    }

    pub(crate) fn add_mirror(&self, name: &str) -> MirrorNo {
        let mut state = lock(&self.state);
        let mirror = MirrorNo(state.next_mirror);
        state.next_mirror += 1;
        state.mirrors.insert(name.to_owned(), mirror);
        mirror
    }

    pub(crate) fn remove_mirror(&self, name: &str) {
        let mut state = lock(&self.state);
        let mirror = state.mirrors.remove(name).unwrap();
        state.pointers.retain(|(owner, _), _| *owner != mirror);
        state.snapshots.retain(|(owner, _), _| *owner != mirror);
    }

    pub(crate) fn add_snapshot(&self, mirror: MirrorNo, name: &str, files: Files) -> Door {
        let mut state = lock(&self.state);
        for (_, bytes) in &files {
            self.store_blob(&mut state, bytes);
        }
        let door = state.add_door(name, &files, 0);
        state.snapshots.insert((mirror, name.to_owned()), (door, files));
        door
    }

    pub(crate) fn snapshot_door(&self, mirror: MirrorNo, name: &str) -> Door {
        lock(&self.state).snapshots[&(mirror, name.to_owned())].0
    }

    pub(crate) fn remove_snapshot(&self, mirror: MirrorNo, name: &str) {
        lock(&self.state).snapshots.remove(&(mirror, name.to_owned())).unwrap();
    }

    /// Lets `name` in the directory `at` lead to `snapshot`.
    pub(crate) fn link(&self, mirror: MirrorNo, name: &str, snapshot: &str) {
        let mut state = lock(&self.state);
        let door = state.snapshots[&(mirror, snapshot.to_owned())].0;
        state.links.insert((mirror, name.to_owned()), door);
    }

    /// Makes every question about links fail, or not.
    pub(crate) fn fail_links(&self, fail: bool) {
        lock(&self.state).links_fail = fail;
    }

    pub(crate) fn rename_snapshot(&self, mirror: MirrorNo, old: &str, new: &str) {
        let mut state = lock(&self.state);
        let snapshot = state.snapshots.remove(&(mirror, old.to_owned())).unwrap();
        state.doors.get_mut(&snapshot.0).unwrap().facts.snapshot = new.as_bytes().into();
        state.snapshots.insert((mirror, new.to_owned()), snapshot);
        // Another mirror can have a snapshot of the same name.
        let pointers = state.pointers.iter().filter(|((of, _), _)| *of == mirror);
        let superseded = state.superseded.iter().filter(|(of, _)| *of == mirror);
        let doors = pointers.map(|(_, door)| *door).chain(superseded.map(|(_, door)| *door));
        for door in doors.collect::<Vec<_>>() {
            let behind = state.doors.get_mut(&door).unwrap();
            if *behind.facts.snapshot == *old.as_bytes() {
                behind.facts.snapshot = new.as_bytes().into();
            }
        }
    }

    /// Moves `pointer` to `snapshot`.
    pub(crate) fn point(&self, mirror: MirrorNo, pointer: &str, snapshot: &str) -> Door {
        let mut state = lock(&self.state);
        let files = state.snapshots[&(mirror, snapshot.to_owned())].1.clone();
        let serial = SERIAL_TIME + u64::from(state.next_door);
        let door = state.add_door(snapshot, &files, serial);
        if let Some(old) = state.pointers.insert((mirror, pointer.to_owned()), door) {
            state.superseded.insert((mirror, old));
        }
        door
    }

    /// Lets what stands behind `lender` be found behind `door` as well, or no longer.
    pub(crate) fn lend(&self, door: Door, lender: Option<Door>) {
        let lenders = &mut lock(&self.state).lenders;
        match lender {
            Some(lender) => lenders.insert(door, lender),
            None => lenders.remove(&door),
        };
    }

    pub(crate) fn unset(&self, mirror: MirrorNo, pointer: &str) {
        let mut state = lock(&self.state);
        if let Some(old) = state.pointers.remove(&(mirror, pointer.to_owned())) {
            state.superseded.insert((mirror, old));
        }
    }

    /// Where a blob with these bytes is kept.
    pub(crate) fn blob_path(&self, bytes: &[u8]) -> PathBuf {
        let blob = lock(&self.state).numbers[bytes];
        self.path(blob)
    }

    pub(crate) fn blob_number(&self, bytes: &[u8]) -> BlobNo {
        lock(&self.state).numbers[bytes]
    }

    /// How many questions serving threads have asked so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Makes every question panic, or not.
    pub(crate) fn panic(&self, panics: bool) {
        self.panics.store(panics, Ordering::SeqCst);
    }

    /// Makes the next `count` openings of blobs fail for want of descriptors.
    pub(crate) fn fail_opens(&self, count: u64) {
        self.failing_opens.store(count, Ordering::SeqCst);
    }

    /// Lets the next answer about a pointer, a snapshot, or a list of them be held back once it is worked out.
    pub(crate) fn hold_next_answer(&self) {
        *lock(&self.gate.place) = Place::Armed;
    }

    /// Waits until an answer is held back.
    pub(crate) fn wait_for_held_answer(&self) {
        let place = lock(&self.gate.place);
        drop(
            self.gate
                .moved
                .wait_while(place, |place| *place == Place::Armed)
                .unwrap(),
        );
    }

    /// Sends the answer that is held back.
    pub(crate) fn release_answer(&self) {
        *lock(&self.gate.place) = Place::Released;
        self.gate.moved.notify_all();
    }

    fn path(&self, blob: BlobNo) -> PathBuf {
        self.store.path().join(blob.0.to_string())
    }

    fn store_blob(&self, state: &mut State, bytes: &[u8]) {
        if !state.numbers.contains_key(bytes) {
            let blob = BlobNo(u32::try_from(state.blobs.len()).unwrap());
            fs::write(self.path(blob), bytes).unwrap();
            state.blobs.push(bytes.to_vec());
            state.numbers.insert(bytes.to_vec(), blob);
        }
    }

    fn question(&self) -> MutexGuard<'_, State> {
        if on_serving_thread() {
            self.asked.fetch_add(1, Ordering::SeqCst);
            assert!(!self.panics.load(Ordering::SeqCst), "this question panics");
        }
        lock(&self.state)
    }
}

impl State {
    fn directory(&mut self, path: &str) -> DirNo {
        let next = DirNo(u32::try_from(self.directories.len()).unwrap());
        *self.directories.entry(path.to_owned()).or_insert(next)
    }

    fn add_door(&mut self, snapshot: &str, files: &Files, serial: u64) -> Door {
        self.next_door += 1;
        let door = Door(self.next_door);
        let root = self.directory("");
        let mut listings: HashMap<DirNo, BTreeMap<Vec<u8>, Node>> = HashMap::from([(root, BTreeMap::new())]);
        for (path, bytes) in files {
            let blob = self.numbers[bytes];
            let size = bytes.len() as u64;
            let id = FileId {
                blob,
                serial: if path.starts_with("dists/") { serial } else { 0 },
            };
            let mut node = Node::File(file_node(id, size));
            let mut rest = path.as_str();
            loop {
                let (parent, name) = rest.rsplit_once('/').unwrap_or(("", rest));
                let parent_number = self.directory(parent);
                listings
                    .entry(parent_number)
                    .or_default()
                    .insert(name.as_bytes().to_vec(), node);
                if parent.is_empty() {
                    break;
                }
                node = Node::Directory(parent_number);
                rest = parent;
            }
        }
        let listings = listings.into_iter().map(|(dir, names)| {
            let children = names.into_iter().map(|(name, node)| Child {
                name: name.into(),
                node,
            });
            (dir, children.collect())
        });
        let mtime = i64::try_from(SERIAL_TIME).unwrap() + i64::from(door.0);
        let facts = DoorFacts {
            root,
            mtime,
            snapshot: snapshot.as_bytes().into(),
        };
        self.doors.insert(
            door,
            Behind {
                facts,
                listings: listings.collect(),
            },
        );
        door
    }
}

fn file_node(id: FileId, size: u64) -> FileNode {
    let mtime = if id.serial == 0 {
        BLOB_TIME
    } else {
        i64::try_from(id.serial).unwrap()
    };
    FileNode { id, size, mtime }
}

fn named(name: &str, door: Door) -> NamedDoor {
    NamedDoor {
        name: name.as_bytes().into(),
        door,
    }
}

impl Tree for MemoryTree {
    fn mirrors(&self) -> io::Result<Vec<(Box<[u8]>, MirrorNo)>> {
        let state = self.question();
        Ok(state
            .mirrors
            .iter()
            .map(|(name, mirror)| (name.as_bytes().into(), *mirror))
            .collect())
    }

    fn pointers(&self, mirror: MirrorNo) -> io::Result<Vec<NamedDoor>> {
        let state = self.question();
        let of_mirror = state.pointers.iter().filter(|((owner, _), _)| *owner == mirror);
        let answer = of_mirror.map(|((_, name), door)| named(name, *door)).collect();
        drop(state);
        self.gate.pass();
        Ok(answer)
    }

    fn snapshots(&self, mirror: MirrorNo) -> io::Result<Vec<NamedDoor>> {
        let state = self.question();
        let of_mirror = state.snapshots.iter().filter(|((owner, _), _)| *owner == mirror);
        let answer = of_mirror.map(|((_, name), (door, _))| named(name, *door)).collect();
        drop(state);
        self.gate.pass();
        Ok(answer)
    }

    fn snapshot(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<Option<Door>> {
        let name = String::from_utf8_lossy(name).into_owned();
        let answer = self.question().snapshots.get(&(mirror, name)).map(|(door, _)| *door);
        self.gate.pass();
        Ok(answer)
    }

    fn snapshot_at(&self, mirror: MirrorNo, name: &[u8]) -> io::Result<Option<Door>> {
        let name = String::from_utf8_lossy(name).into_owned();
        let state = self.question();
        if state.links_fail {
            return Err(io::Error::other("cannot know now"));
        }
        let snapshot = state.links.get(&(mirror, name)).copied();
        Ok(snapshot.filter(|door| {
            state
                .snapshots
                .iter()
                .any(|((owner, _), (known, _))| (*owner, known) == (mirror, door))
        }))
    }

    fn superseded(&self, mirror: MirrorNo, door: Door) -> io::Result<bool> {
        Ok(self.question().superseded.contains(&(mirror, door)))
    }

    fn door(&self, door: Door) -> io::Result<Option<DoorFacts>> {
        Ok(self.question().doors.get(&door).map(|behind| behind.facts.clone()))
    }

    fn parent(&self, door: Door, dir: DirNo) -> io::Result<Option<Parent>> {
        let state = self.question();
        let Some((path, _)) = state.directories.iter().find(|(_, number)| **number == dir) else {
            return Ok(None);
        };
        if let Some((parent, _)) = path.rsplit_once('/') {
            return Ok(Some(Parent::Directory(state.directories[parent])));
        }
        if !path.is_empty() {
            return Ok(Some(Parent::Directory(state.directories[""])));
        }
        let snapshot = state.snapshots.iter().find(|(_, (known, _))| *known == door);
        let pointer = state.pointers.iter().find(|(_, known)| **known == door);
        Ok(match (snapshot, pointer) {
            (Some(((mirror, _), _)), _) => Some(Parent::Snapshots(*mirror)),
            (_, Some(((mirror, _), _))) => Some(Parent::Pointers(*mirror)),
            (None, None) => None,
        })
    }

    fn child(&self, door: Door, dir: DirNo, name: &[u8]) -> io::Result<Option<Found>> {
        let state = self.question();
        let child = |door: &Door| {
            let listing = state.doors.get(door)?.listings.get(&dir)?;
            let found = listing.binary_search_by(|child| (*child.name).cmp(name)).ok()?;
            Some(listing[found].node)
        };
        let lent = || state.lenders.get(&door).and_then(child);
        Ok(match child(&door) {
            Some(node) => Some(Found { node, lasts: true }),
            None => lent().map(|node| Found { node, lasts: false }),
        })
    }

    fn children(&self, door: Door, dir: DirNo) -> io::Result<Arc<[Child]>> {
        let state = self.question();
        let listing = state.doors.get(&door).and_then(|behind| behind.listings.get(&dir));
        Ok(listing.cloned().unwrap_or_default())
    }

    fn file(&self, file: FileId) -> io::Result<Option<FileNode>> {
        let state = self.question();
        let number = usize::try_from(file.blob.0).unwrap();
        Ok(state.blobs.get(number).map(|bytes| file_node(file, bytes.len() as u64)))
    }

    fn open(&self, blob: BlobNo) -> io::Result<File> {
        drop(self.question());
        let fewer = |left: u64| left.checked_sub(1);
        if self
            .failing_opens
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer)
            .is_ok()
        {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        File::open(self.path(blob))
    }

    fn totals(&self) -> io::Result<Totals> {
        let files = self.question().blobs.len() as u64;
        Ok(Totals {
            bytes: 1 << 30,
            free_bytes: 1 << 29,
            files,
        })
    }
}

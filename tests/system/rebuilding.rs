//! A catalog that is damaged and made anew under a mount that is read all the time.
//!
//! Owns that test. What a mount shows without a catalog is in `mounting`, what `repair` does without a mount in
//! `tests/suite/rebuilding.rs`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use mirrorctl::model::Digest;
use mirrorctl_testkit::Program;

use crate::site::{Item, Site, Tree, comes_true, names, tree};

/// Who reads all the time, and what went wrong for them.
struct Readers<'a> {
    stop: &'a AtomicBool,
    reads: &'a AtomicU64,
    wrong: &'a Mutex<Vec<String>>,
}

/// Lets readers end, also when a test fails meanwhile.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Readers<'_> {
    /// Reads every file of a pointer again and again, each by its whole path.
    fn read(&self, root: &Path, files: &BTreeMap<PathBuf, Digest>) {
        while !self.stop.load(Ordering::SeqCst) {
            for (path, digest) in files {
                let complaint = match fs::read(root.join(path)) {
                    Ok(bytes) if Digest::of(&bytes) == *digest => None,
                    Ok(_) => Some("other bytes".to_owned()),
                    Err(error) => Some(error.to_string()),
                };
                self.reads.fetch_add(1, Ordering::SeqCst);
                if let Some(complaint) = complaint {
                    let mut wrong = self.wrong.lock().expect("nobody panics");
                    wrong.push(format!("{}: {complaint}", path.display()));
                }
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        }
    }
}

fn files(tree: &Tree) -> BTreeMap<PathBuf, Digest> {
    let file = |(path, item): (&PathBuf, &Item)| match item {
        Item::File(digest) => Some((path.clone(), *digest)),
        Item::Directory => None,
    };
    tree.iter().filter_map(file).collect()
}

/// What is wrong with a catalog, and how to make it so.
type Damage = (&'static str, fn(&Path));

/// The ways in which a catalog is damaged or lost while it is open.
const DAMAGES: [Damage; 6] = [
    ("zeros", |state| {
        write_over(&state.join("catalog.db"), |bytes| bytes.fill(0));
    }),
    ("flipped pages", |state| {
        write_over(&state.join("catalog.db"), |bytes| {
            bytes
                .chunks_mut(4096)
                .skip(1)
                .for_each(|page| page.iter_mut().for_each(|byte| *byte ^= 0xa5));
        });
    }),
    ("truncated", |state| {
        write_over(&state.join("catalog.db"), |bytes| bytes.truncate(2 * 4096));
    }),
    ("empty", |state| {
        for name in ["catalog.db-wal", "catalog.db"] {
            write_over(&state.join(name), Vec::clear);
        }
    }),
    ("without its log", |state| {
        fs::remove_file(state.join("catalog.db-wal")).expect("removes");
    }),
    ("missing", |state| {
        for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            fs::remove_file(state.join(name)).expect("removes");
        }
    }),
];

fn write_over(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    change(&mut bytes);
    let file = OpenOptions::new().write(true).open(path).expect("writable");
    file.write_all_at(&bytes, 0).expect("writes");
    file.set_len(bytes.len() as u64).expect("cuts");
}

/// How many mounts stand at the mount point.
fn mounts(site: &Site) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let at = format!(" {} ", site.env.mount_dir().display());
    table.lines().filter(|line| line.contains(&at)).count()
}

/// What the mount tells the world about itself: the generation of its catalog is part of that.
fn announced(site: &Site) -> String {
    let run = site.env.run_dir();
    let all = names(&run);
    let lock = all
        .iter()
        .find(|name| Path::new(name).extension() == Some("lock".as_ref()))
        .expect("a mount");
    fs::read_to_string(run.join(lock)).expect("readable")
}

fn state_of_mount(site: &Site) -> String {
    let report = site.env.mirrorctl(&["--json", "status"]).json();
    report["mounts"][0]["state"]
        .as_str()
        .unwrap_or_else(|| panic!("{report}"))
        .to_owned()
}

#[test]
fn readers_notice_nothing_of_a_catalog_that_is_damaged_and_made_anew() {
    let (mut site, snapshots) = Site::with_snapshots(2);
    site.publish("debian", &snapshots[0]);
    site.stage("debian", &snapshots[1]);
    let mut mount = site.mount();
    for (turn, (how, damage)) in DAMAGES.into_iter().enumerate() {
        // A change that is in the log alone, as the mount has the catalog open.
        site.env
            .mirrorctl(&["snapshot", "tag", "debian", &snapshots[0], &format!("t{turn}")])
            .success();
        let place = |name: &str| site.served(&format!("debian/{name}"));
        let roots = ["current", "staging"].map(place);
        let shown = roots.each_ref().map(|root| files(&tree(root)));
        let numbers = |root: &Path| -> Vec<u64> {
            let all = shown
                .iter()
                .flat_map(BTreeMap::keys)
                .filter_map(|path| fs::metadata(root.join(path)).ok());
            all.map(|facts| facts.ino()).collect()
        };
        let before = numbers(&roots[0]);
        let mounted = announced(&site);
        let list = site
            .env
            .mirrorctl(&["--json", "snapshot", "list", "--detailed"])
            .success()
            .stdout;
        let history = site.env.mirrorctl(&["--json", "snapshot", "history"]).success().stdout;
        let (stop, reads, wrong) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
        let readers = Readers {
            stop: &stop,
            reads: &reads,
            wrong: &wrong,
        };
        thread::scope(|scope| {
            let _ending = Ending(&stop);
            for (root, files) in roots.iter().zip(&shown) {
                scope.spawn(|| readers.read(root, files));
                scope.spawn(|| readers.read(root, files));
            }
            let some = |more: u64| {
                let now = reads.load(Ordering::SeqCst);
                comes_true(|| reads.load(Ordering::SeqCst) > now + more)
            };
            assert!(some(50));
            damage(&site.env.state_dir());
            assert!(some(50));
            let refused = site.env.mirrorctl(&["snapshot", "promote", "debian"]).failure();
            assert!(
                refused.stderr.contains("mirrorctl repair --rebuild"),
                "{how}: {refused}"
            );
            if !matches!(how, "without its log" | "missing") {
                assert!(comes_true(|| state_of_mount(&site) == "degraded"), "{how}");
                // What is not known is not denied.
                let known = fs::read_dir(place("snapshots").join(&snapshots[1])).map(drop);
                let errno = known.err().and_then(|error| error.raw_os_error());
                assert!(matches!(errno, None | Some(5)), "{how}: {errno:?}");
            }
            assert!(some(50));
            site.env.mirrorctl(&["repair", "--rebuild"]).success();
            assert!(some(100));
        });
        let wrong = wrong.into_inner().expect("nobody panicked");
        assert!(
            wrong.is_empty(),
            "{how}: {} of {}: {wrong:?}",
            wrong.len(),
            reads.load(Ordering::SeqCst)
        );
        // One mount stands there, and not the old one with the new one beneath.
        assert_eq!(mounts(&site), 1, "{how}");
        assert_ne!(announced(&site), mounted, "{how}: a mount of another catalog");
        assert_eq!(state_of_mount(&site), "serving", "{how}");
        assert_eq!(numbers(&roots[0]), before, "{how}: the same numbers");
        assert_eq!(roots.each_ref().map(|root| files(&tree(root))), shown, "{how}");
        assert_eq!(
            site.env.mirrorctl(&["--json", "snapshot", "list", "--detailed"]).stdout,
            list,
            "{how}"
        );
        assert_eq!(
            site.env.mirrorctl(&["--json", "snapshot", "history"]).stdout,
            history,
            "{how}"
        );
        assert_eq!(names(&place("snapshots")).len(), 2 + turn, "{how}");
        assert!(mount.daemon().is_running(), "{how}");
        // Life goes on, and the mount is told.
        let next = site.next_snapshot("debian");
        site.stage("debian", &next);
        site.env.mirrorctl(&["snapshot", "promote", "debian"]).success();
        site.stage("debian", &snapshots[1]);
        let current = site.served("debian/current");
        assert_eq!(
            files(&tree(&current)),
            files(&tree(&site.served(&format!("debian/snapshots/{next}")))),
            "{how}"
        );
    }
    mount.stop().success();
    let none = Program::new("findmnt", "util-linux").arg(site.env.mount_dir()).run();
    assert_ne!(none.status.code(), Some(0), "{none}");
}

//! Walks over a tree: `find`, and threads that ask for what they know.
//!
//! Owns the ways of walking. They run alike over any file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mirrorctl_testkit::Program;

/// Every file below `root` with its size, as `find` prints it.
pub(super) fn find(root: &Path) -> Duration {
    let find = Program::new("find", "findutils").arg(root);
    find.args(["-printf", "%s\\n"]).measure().wall
}

/// Looks at everything that stands in one directory.
pub(super) fn list(directory: &Path) -> (Duration, Vec<PathBuf>) {
    let begun = Instant::now();
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    look(&paths);
    (begun.elapsed(), paths)
}

/// Looks at each of `paths` from as many `threads`, which share them.
pub(super) fn stat(paths: &[PathBuf], threads: usize) -> Duration {
    let begun = Instant::now();
    thread::scope(|scope| {
        for part in paths.chunks(paths.len().div_ceil(threads)) {
            scope.spawn(|| look(part));
        }
    });
    begun.elapsed()
}

fn look(paths: &[PathBuf]) {
    for path in paths {
        let found = fs::symlink_metadata(path);
        let _found = found.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Reads each of `paths`, so that the kernel has it cached.
pub(super) fn read(paths: &[PathBuf]) {
    for path in paths {
        let read = fs::read(path);
        let _bytes = read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

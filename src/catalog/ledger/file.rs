//! The ledger as a file: its two ends, what is added to it, and putting a new one in its place.
//!
//! Owns `ledger.log`. Only who holds the catalog's write lock adds to it or replaces it, so it needs no lock of its own;
//! it is read at any time, and a line that is being written is not there yet.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::line::{self, Head};
use crate::catalog::beside;

/// Bytes that are read at first from each end, and so on twice as many: most lines are a few hundred bytes long.
const GLANCE: u64 = 4 << 10;

/// The name of the ledger, beside the catalog.
const NAME: &str = "ledger.log";

/// A ledger whose ends are sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sound {
    pub(super) head: Head,
    /// The number of the last change in it.
    pub(super) n: i64,
    /// Where its last whole line ends.
    pub(super) end: u64,
}

/// What stands where the ledger belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// No file.
    Nothing,
    /// A ledger.
    Sound(Sound),
    /// A file whose first or last line says nothing.
    Unusable,
}

/// The place of a ledger.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    /// What was found last, and of which state of the file.
    known: Option<(State, Found)>,
}

/// Changes whenever the file does: it only grows, or another takes its place.
type State = (u64, u64, u64);

/// The ledger's path, beside the catalog at `catalog`.
pub(super) fn path_beside(catalog: &Path) -> PathBuf {
    catalog.with_file_name(NAME)
}

impl LedgerFile {
    /// That of the catalog at `catalog`.
    pub(super) fn beside(catalog: &Path) -> Self {
        Self {
            path: path_beside(catalog),
            known: None,
        }
    }

    /// What is there now.
    pub(super) fn look(&mut self) -> io::Result<Found> {
        let facts = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            facts => facts?,
        };
        let state = (facts.dev(), facts.ino(), facts.len());
        match &self.known {
            Some((known, found)) if *known == state => Ok(found.clone()),
            _ => {
                let found = ends(&self.path)?;
                self.known = Some((state, found.clone()));
                Ok(found)
            }
        }
    }

    /// Writes `lines` behind the last whole line, durably.
    pub(super) fn append(&mut self, sound: &Sound, lines: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.path)?;
        let facts = file.metadata()?;
        if !facts.is_file() || facts.nlink() != 1 {
            return Err(io::Error::other("it is no file of the catalog's"));
        }
        if facts.len() > sound.end {
            // What a killed process began to write.
            file.set_len(sound.end)?;
        }
        self.known = None;
        file.write_all_at(lines, sound.end)?;
        file.sync_data()
    }

    /// Puts a ledger that says `text` in the place of the one that is there. One of another catalog is kept beside it.
    pub(super) fn replace(&mut self, catalog: &Path, text: &[u8], keep: bool) -> io::Result<()> {
        let unfinished = self.path.with_extension("new");
        let mut file = beside::create(&unfinished, catalog)?;
        file.write_all(text)?;
        file.sync_all()?;
        if keep {
            // A second name: whatever happens now, there is a ledger.
            let old = self.path.with_extension("old");
            beside::remove(&old)?;
            fs::hard_link(&self.path, old)?;
        }
        self.known = None;
        beside::put(&unfinished, &self.path)
    }
}

/// All of the ledger beside the catalog at `catalog`; `None` when there is none.
pub(super) fn read(catalog: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match beside::open(&path_beside(catalog)) {
        Ok(mut file) => io::copy(&mut file, &mut bytes).map(|_| Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn ends(path: &Path) -> io::Result<Found> {
    let file = match beside::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        file => file?,
    };
    let length = file.metadata()?.len();
    let Some(head) = first_line(&file, length)?.and_then(|line| line::head(&line)) else {
        return Ok(Found::Unusable);
    };
    let found = last_line(&file, length)?.and_then(|(line, end)| Some((line::number(&line)?, end)));
    Ok(found.map_or(Found::Unusable, |(n, end)| Found::Sound(Sound { head, n, end })))
}

fn first_line(file: &fs::File, length: u64) -> io::Result<Option<Vec<u8>>> {
    let mut glance = GLANCE;
    loop {
        let mut bytes = part(file, 0, glance.min(length))?;
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.truncate(end);
            return Ok(Some(bytes));
        }
        if glance >= length {
            return Ok(None);
        }
        glance *= 2;
    }
}

/// The last line that has an end, and where that is.
fn last_line(file: &fs::File, length: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
    let mut glance = GLANCE;
    loop {
        let from = length.saturating_sub(glance);
        let bytes = part(file, from, length - from)?;
        let newline = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        if let Some(end) = newline(&bytes) {
            let begin = newline(&bytes[..end]).map(|before| before + 1);
            if let Some(begin) = begin.or((from == 0).then_some(0)) {
                return Ok(Some((bytes[begin..end].to_vec(), from + end as u64 + 1)));
            }
        }
        if from == 0 {
            return Ok(None);
        }
        glance *= 2;
    }
}

fn part(file: &fs::File, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf, LedgerFile) {
        let place = tempfile::tempdir().expect("temporary directory");
        let catalog = place.path().join("catalog.db");
        fs::write(&catalog, "").expect("makes a file");
        let file = LedgerFile::beside(&catalog);
        (place, catalog, file)
    }

    fn sound(file: &mut LedgerFile) -> Sound {
        match file.look().expect("readable") {
            Found::Sound(sound) => sound,
            other => panic!("{other:?}"),
        }
    }

    fn change(length: usize) -> String {
        format!(
            "{{\"put\":\"mirror\",\"row\":{{\"id\":1,\"name\":\"{}\"}}}}",
            "x".repeat(length)
        )
    }

    #[test]
    fn both_ends_are_found_whatever_the_length_of_lines() {
        let (_place, catalog, mut file) = place();
        assert_eq!(file.look().expect("readable"), Found::Nothing);
        let text = line::whole("00", 3, BTreeMap::new(), &[]);
        file.replace(&catalog, &text, false).expect("writes");
        let mut all = text;
        for (n, length) in [(4, 10), (5, 100_000), (6, 4_000), (7, 4_096)] {
            let before = sound(&mut file);
            let line = line::step(n, &[change(length)]);
            file.append(&before, &line).expect("writes");
            all.extend(line);
            let now = sound(&mut file);
            assert_eq!((now.n, now.end), (n, all.len() as u64));
            assert_eq!(sound(&mut LedgerFile::beside(&catalog)), now);
        }
        assert_eq!(read(&catalog).expect("reads"), Some(all));
    }

    #[test]
    fn what_was_cut_short_is_written_over() {
        let (_place, catalog, mut file) = place();
        file.replace(&catalog, &line::whole("00", 3, BTreeMap::new(), &[]), false)
            .expect("writes");
        let before = sound(&mut file);
        let line = line::step(4, &[change(9_000)]);
        for cut in [1, 20, 8_999, line.len() - 1] {
            file.append(&before, &line[..cut]).expect("writes");
            assert_eq!(sound(&mut file), before, "{cut}");
        }
        let short = line::step(4, &[]);
        file.append(&before, &short).expect("writes");
        assert_eq!(sound(&mut file).n, 4);
        let length = fs::metadata(path_beside(&catalog)).expect("exists").len();
        assert_eq!(length, before.end + short.len() as u64);
    }

    #[test]
    fn a_damaged_end_is_no_ledger() {
        let (_place, catalog, mut file) = place();
        let mut text = line::whole("00", 3, BTreeMap::new(), &[]);
        text.extend(line::step(4, &[change(5)]));
        for at in [3, text.len() - 9] {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            file.replace(&catalog, &damaged, false).expect("writes");
            assert_eq!(file.look().expect("readable"), Found::Unusable, "{at}");
        }
        file.replace(&catalog, b"", false).expect("writes");
        assert_eq!(file.look().expect("readable"), Found::Unusable);
    }

    #[test]
    fn nothing_of_somebody_elses_is_written_to() {
        let (place, catalog, mut file) = place();
        let text = line::whole("00", 3, BTreeMap::new(), &[]);
        file.replace(&catalog, &text, false).expect("writes");
        let sound = sound(&mut file);
        let precious = place.path().join("precious");
        let ledger = path_beside(&catalog);
        for plant in [
            |from: &Path, to: &Path| symlink(from, to),
            |from: &Path, to: &Path| fs::hard_link(from, to),
        ] {
            fs::write(&precious, &text).expect("writes");
            fs::remove_file(&ledger).expect("removes");
            plant(&precious, &ledger).expect("plants");
            assert!(file.append(&sound, b"evil").is_err());
            assert_eq!(fs::read(&precious).expect("reads"), text);
        }
    }
}

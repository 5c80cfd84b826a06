//! Files between those who fetch them and the one who keeps them.
//!
//! Owns the batch that grows while the last one is being made durable, and when it is large or old enough. Whoever keeps
//! files is woken once a batch, not once a file: for small files, waking costs more than all else. It commits nothing.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::SyncError;
use super::store::Dated;

/// A batch is committed when it has a quarter as many files as all before it, but at least so many and at most so many:
/// digests are random, so that a batch touches every directory of blobs and most pages of the catalog's tables. When
/// batches grow with what is there, that stays a constant part of the work for each file.
const FEWEST_FILES: usize = 2_048;
const MOST_FILES: usize = 8_192;
/// Or when it has this many bytes …
const BYTES: u64 = 256 << 20;
/// … or is this old: so that a kill loses little, and a sync of small files few flushes.
const AGE: Duration = Duration::from_secs(2);

/// Tells whether everything that came before could be kept.
type Answer = oneshot::Sender<Result<(), SyncError>>;

/// What is to be kept next.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) files: Vec<Dated>,
    /// Who waits until they are kept.
    pub(super) waiting: Vec<Answer>,
}

/// The place where one batch grows.
#[derive(Default)]
pub(super) struct Batches {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    batch: Batch,
    bytes: u64,
    /// Files of all batches before.
    before: usize,
    /// When the batch is old enough.
    due: Option<Instant>,
    /// Nothing more comes.
    ended: bool,
    /// Nobody keeps anything any more.
    abandoned: bool,
}

impl State {
    /// How many files are enough for a batch.
    fn enough(&self) -> usize {
        (self.before / 4).clamp(FEWEST_FILES, MOST_FILES)
    }

    fn is_full(&self) -> bool {
        self.batch.files.len() >= self.enough() || self.bytes >= BYTES || !self.batch.waiting.is_empty()
    }
}

impl Batches {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single step, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// [`SyncError::Worker`] when nobody would keep it: it stays in the inbox, for the mirror's next sync.
    pub(super) fn add(&self, file: Dated) -> Result<(), SyncError> {
        let mut state = self.state();
        if state.abandoned {
            file.0.leave();
            return Err(SyncError::Worker);
        }
        state.bytes += file.0.size();
        state.batch.files.push(file);
        let is_first = state.due.is_none();
        state.due.get_or_insert_with(|| Instant::now() + AGE);
        let is_full = state.is_full();
        drop(state);
        if is_first || is_full {
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Waits until everything added before is durable.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn flush(&self) -> Result<(), SyncError> {
        let (answer, outcome) = oneshot::channel();
        self.ask(answer)?;
        outcome.await.map_err(|_| SyncError::Worker)?
    }

    fn ask(&self, answer: Answer) -> Result<(), SyncError> {
        let mut state = self.state();
        if state.abandoned {
            return Err(SyncError::Worker);
        }
        state.batch.waiting.push(answer);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Says that nothing more comes.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Says that nobody keeps anything any more.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        // Whoever waits learns it by losing the other end.
        state.batch.waiting.clear();
    }

    /// Waits for the next batch, which may have waiting ones alone; `None` when nothing more comes.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if state.is_full() || state.due.is_some_and(|due| due <= now) {
                break;
            }
            if state.ended {
                if state.batch.files.is_empty() {
                    return None;
                }
                break;
            }
            state = match state.due {
                Some(due) => {
                    let waited = self.changed.wait_timeout(state, due.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        (state.bytes, state.due) = (0, None);
        state.before += state.batch.files.len();
        Some(std::mem::take(&mut state.batch))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::blobs::{BlobStore, Inbox};
    use crate::model::Timestamp;
    use crate::sync::store::arrive;

    const MTIME: Timestamp = Timestamp::from_unix(1_600_000_000);

    fn inbox() -> (tempfile::TempDir, Inbox) {
        let place = tempfile::tempdir().expect("temporary directory");
        let blobs = BlobStore::open(place.path(), None).expect("opens");
        let inbox = blobs.inbox(&place.path().join("tmp")).expect("opens");
        (place, inbox)
    }

    fn file(inbox: &Inbox, text: &str) -> Dated {
        (arrive(inbox, text.as_bytes(), MTIME).expect("arrives"), MTIME)
    }

    #[test]
    fn a_batch_comes_when_it_is_full_and_the_rest_when_nothing_more_comes() {
        let (_place, inbox) = inbox();
        let batches = Batches::default();
        for number in 0..=FEWEST_FILES {
            batches
                .add(file(&inbox, &number.to_string()))
                .expect("somebody keeps it");
            if number + 1 == FEWEST_FILES {
                assert_eq!(batches.next().expect("a full batch").files.len(), FEWEST_FILES);
            }
        }
        batches.end();
        assert_eq!(batches.next().expect("the rest").files.len(), 1);
        assert!(batches.next().is_none());
    }

    #[test]
    fn batches_grow_with_what_came_before_up_to_a_limit() {
        let (_place, inbox) = inbox();
        let batches = Batches::default();
        batches.add(file(&inbox, "one")).expect("somebody keeps it");
        batches.end();
        assert_eq!(batches.next().expect("a batch").files.len(), 1);
        let enough = |before| {
            State {
                before,
                ..State::default()
            }
            .enough()
        };
        assert_eq!(batches.state().before, 1);
        assert_eq!([1, 20_000, 1_000_000].map(enough), [FEWEST_FILES, 5_000, MOST_FILES]);
    }

    #[test]
    fn a_single_file_is_not_left_waiting_for_others() {
        let (_place, inbox) = inbox();
        let batches = Arc::new(Batches::default());
        let keeper = Arc::clone(&batches);
        let kept = thread::spawn(move || keeper.next().map(|batch| batch.files.len()));
        batches.add(file(&inbox, "one")).expect("somebody keeps it");
        assert_eq!(kept.join().expect("ends"), Some(1));
    }

    #[tokio::test]
    async fn whoever_waits_is_answered_or_learns_that_nobody_answers() {
        let (place, inbox) = inbox();
        let batches = Arc::new(Batches::default());
        let keeper = Arc::clone(&batches);
        let kept = thread::spawn(move || {
            let batch = keeper.next().expect("a batch");
            for answer in batch.waiting {
                answer.send(Ok(())).expect("somebody waits");
            }
            keeper.next().map(|batch| batch.waiting.len())
        });
        batches.add(file(&inbox, "one")).expect("somebody keeps it");
        batches.flush().await.expect("kept");
        batches.flush().await.expect_err("given up");
        assert_eq!(kept.join().expect("ends"), Some(1));

        batches.abandon();
        batches.add(file(&inbox, "two")).expect_err("nobody is there");
        batches.flush().await.expect_err("nobody is there");
        let left = std::fs::read_dir(place.path().join("tmp")).expect("reads").count();
        assert_eq!(left, 1, "it is there for the next sync");
    }
}

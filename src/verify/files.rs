//! The files of all blobs, looked at by several threads.
//!
//! Owns the look at one file and what it means, the order of the work, and the recording: of what is damaged, batch by batch
//! as it is found, and of how far the run has come. Files are taken in the order of their digests, which is that of their
//! directories; so a run that was stopped goes on with the first unit that is not complete.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::{Stores, Verified, VerifyError, Watch, Wish, rows, scope, tell};
use crate::blobs::{BlobStore, Identity, Moved, Quarantine, Sight};
use crate::catalog::{Aside, BlobRow, CatalogError, CatalogReader, Stored, Suspect};
use crate::model::{Clock, Digest, Fault, Timestamp, unit_of};

/// Bytes that are read at a time: what a processor keeps near, and large enough for a disk.
const PIECE: usize = 256 << 10;

/// Most blobs that are marked in one transaction: each may move a file, and others wait meanwhile.
const BATCH: usize = 256;

/// How often what was found is recorded, and mounts are told: damage is to be seen soon, and a telling may take seconds.
const EVERY: Duration = Duration::from_secs(1);

/// A run that was begun so many seconds ago and not ended is not gone on with: its first files are due again.
const TOO_OLD: i64 = 30 * 86_400;

/// Whom to tell, and who may stop it.
type Around<'a> = (&'a dyn Watch, &'a (dyn Fn() -> bool + Sync));

/// What a look at a file came to.
enum Look {
    /// All is well.
    Whole,
    /// It was marked, and all is well.
    Healed,
    /// Its bytes are right and its mode is not; or its mode is not, and keeps this user from reading it.
    WrongMode,
    /// It is damaged.
    Bad(Fault, Option<Identity>),
    /// Nobody waits for the end of it.
    Stopped,
}

/// What a thread tells: of a blob, or that it cannot go on.
type Finding = Result<(Stored, Look), VerifyError>;

/// Looks at the file of every blob that `wish` means.
pub(super) fn check(
    stores: &mut Stores<'_>,
    quarantine: &Quarantine,
    wish: &Wish,
    clock: &Clock,
    (watch, stop): Around<'_>,
) -> Result<Verified, VerifyError> {
    let run = Progress::begin(stores.catalog.reader(), wish, clock.now())?;
    let of = of_mirrors(stores.catalog.reader(), wish)?;
    let (files, bytes) = totals(stores.catalog.reader(), &run.left, of.as_ref())?;
    let feed = Feed::new(stores.catalog.another_reader()?, run.left.clone(), of);
    let halted = AtomicBool::new(false);
    let halt = || halted.load(Ordering::Relaxed) || stop();
    let looker = Looker {
        blobs: stores.blobs,
        deep: wish.deep,
        pace: Pace::new(wish.rate),
        watch,
        stop: &halt,
    };
    let (sender, findings) = mpsc::channel();
    watch.begin(files, bytes);
    let mut keeper = Keeper::new(stores, quarantine, wish, clock, run);
    let outcome = thread::scope(|scope| {
        for _ in 0..wish.threads.max(1) {
            let (sender, looker, feed) = (sender.clone(), &looker, &feed);
            scope.spawn(move || looker.work(feed, &sender));
        }
        drop(sender);
        let kept = keeper.keep_all(&findings, &feed);
        // Where something fails, nobody needs what is left.
        halted.store(kept.is_err(), Ordering::Relaxed);
        kept
    });
    watch.end();
    outcome?;
    keeper.verified.stopped = stop() && !feed.is_done();
    Ok(keeper.verified)
}

/// The blobs of the mirrors that are meant; `None` for all.
fn of_mirrors(reader: &CatalogReader, wish: &Wish) -> Result<Option<HashSet<BlobRow>>, CatalogError> {
    let Some(mirrors) = &wish.mirrors else { return Ok(None) };
    let mut blobs = HashSet::new();
    for row in rows(reader, mirrors)? {
        blobs.extend(reader.blobs_of(row)?);
    }
    Ok(Some(blobs))
}

fn totals(
    reader: &CatalogReader,
    units: &Range<u16>,
    of: Option<&HashSet<BlobRow>>,
) -> Result<(u64, u64), CatalogError> {
    let Some(of) = of else {
        return reader.stored_totals(units);
    };
    let blobs = reader.stored(units)?;
    let meant = blobs.iter().filter(|blob| of.contains(&blob.row));
    Ok(meant.fold((0, 0), |(files, bytes), blob| (files + 1, bytes + blob.size)))
}

/// How far a run has come.
struct Progress {
    scope: String,
    begun: Timestamp,
    went_on: Option<Timestamp>,
    /// The units that are left to do.
    left: Range<u16>,
}

impl Progress {
    /// A new run, or what is left of one that was stopped.
    fn begin(reader: &CatalogReader, wish: &Wish, now: Timestamp) -> Result<Self, CatalogError> {
        let scope = scope(wish.mirrors.as_deref());
        let units = wish.part.units();
        let before = if wish.deep {
            reader.rehash_begun(&scope, wish.part)?
        } else {
            None
        };
        // A run of the future is one of a clock that was wrong.
        let before = before.filter(|begun| (0..TOO_OLD).contains(&now.unix().saturating_sub(begun.at.unix())));
        let before = before.filter(|begun| units.contains(&begun.next) && begun.next > units.start);
        Ok(Self {
            scope,
            begun: before.map_or(now, |begun| begun.at),
            went_on: before.map(|begun| begun.at),
            left: before.map_or(units.start, |begun| begun.next)..units.end,
        })
    }
}

/// Hands out the blobs, unit by unit, and knows which units are complete.
struct Feed {
    state: Mutex<Feeding>,
    of: Option<HashSet<BlobRow>>,
    until: u16,
}

struct Feeding {
    reader: CatalogReader,
    queue: VecDeque<Stored>,
    /// The first unit that was not read from the catalog yet.
    next: u16,
    /// Blobs of each unit that were handed out, or will be, and are not done.
    open: BTreeMap<u16, usize>,
}

impl Feed {
    fn new(reader: CatalogReader, units: Range<u16>, of: Option<HashSet<BlobRow>>) -> Self {
        Self {
            state: Mutex::new(Feeding {
                reader,
                queue: VecDeque::new(),
                next: units.start,
                open: BTreeMap::new(),
            }),
            of,
            until: units.end,
        }
    }

    fn state(&self) -> MutexGuard<'_, Feeding> {
        // A panic in another thread ends the whole check.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next blob; `None` when all were handed out.
    fn next(&self) -> Result<Option<Stored>, CatalogError> {
        let mut state = self.state();
        loop {
            if let Some(blob) = state.queue.pop_front() {
                return Ok(Some(blob));
            }
            if state.next >= self.until {
                return Ok(None);
            }
            let unit = state.next;
            let mut blobs = state.reader.stored(&(unit..unit + 1))?;
            blobs.retain(|blob| self.of.as_ref().is_none_or(|of| of.contains(&blob.row)));
            if !blobs.is_empty() {
                state.open.insert(unit, blobs.len());
            }
            state.queue = blobs.into();
            state.next += 1;
        }
    }

    /// A blob that was handed out is done.
    fn done(&self, blob: &Stored) {
        let mut state = self.state();
        let unit = unit_of(blob.digest);
        let Some(open) = state.open.get_mut(&unit) else { return };
        *open -= 1;
        if *open == 0 {
            state.open.remove(&unit);
        }
    }

    /// The first unit that is not complete.
    fn complete_until(&self) -> u16 {
        let state = self.state();
        state.open.keys().next().copied().unwrap_or(state.next)
    }

    fn is_done(&self) -> bool {
        self.complete_until() >= self.until
    }
}

/// Looks at single files.
struct Looker<'a> {
    blobs: &'a BlobStore,
    deep: bool,
    pace: Pace,
    watch: &'a dyn Watch,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Looker<'_> {
    /// Looks at one blob after the other until none is left, and tells of each.
    fn work(&self, feed: &Feed, sender: &Sender<Finding>) {
        let mut buffer = vec![0; PIECE];
        while !(self.stop)() {
            let blob = match feed.next() {
                Ok(Some(blob)) => blob,
                Ok(None) => return,
                // Nobody listens any more only when something else has failed before.
                Err(error) => return drop(sender.send(Err(error.into()))),
            };
            let look = self.look(&blob, &mut buffer).map_err(|source| VerifyError::Look {
                digest: blob.digest,
                source,
            });
            if matches!(look, Ok(Look::Stopped)) {
                return;
            }
            // Told before it is counted as done, so that what is recorded as done has been told.
            if sender.send(look.map(|look| (blob, look))).is_err() {
                return;
            }
            feed.done(&blob);
        }
    }

    fn look(&self, blob: &Stored, buffer: &mut [u8]) -> io::Result<Look> {
        let sight = match self.blobs.sight(blob.digest) {
            Ok(Some(sight)) => sight,
            Ok(None) => return Ok(Look::Bad(Fault::Missing, None)),
            Err(error) if is_of_the_disk(&error) => return Ok(Look::Bad(Fault::Unreadable, None)),
            Err(error) => return Err(error),
        };
        let bad = |fault| Ok(Look::Bad(fault, Some(sight.identity())));
        if !sight.is_file {
            return bad(Fault::NoFile);
        }
        if sight.size != blob.size {
            return bad(Fault::Length);
        }
        if !self.deep && sight.has_right_mode && !blob.is_damaged {
            self.watch.bytes(blob.size);
            return Ok(Look::Whole);
        }
        self.hash(blob, sight, buffer)
    }

    fn hash(&self, blob: &Stored, sight: Sight, buffer: &mut [u8]) -> io::Result<Look> {
        let hashed = self.blobs.rehash(blob.digest, buffer, |bytes| {
            self.watch.bytes(bytes);
            self.pace.pass(bytes, self.stop);
            !(self.stop)()
        });
        match hashed {
            Ok(None) => Ok(Look::Stopped),
            Ok(Some(digest)) if digest != blob.digest => Ok(Look::Bad(Fault::Altered, Some(sight.identity()))),
            Ok(Some(_)) if !sight.has_right_mode => Ok(Look::WrongMode),
            Ok(Some(_)) if blob.is_damaged => Ok(Look::Healed),
            Ok(Some(_)) => Ok(Look::Whole),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Look::Bad(Fault::Missing, None)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Look::WrongMode),
            Err(error) if is_of_the_disk(&error) => Ok(Look::Bad(Fault::Unreadable, Some(sight.identity()))),
            Err(error) => Err(error),
        }
    }
}

/// Whether an error says that the disk or its file system has lost something, and not that this process lacks something.
fn is_of_the_disk(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EUCLEAN | libc::EBADMSG | libc::ENODATA)
    )
}

/// Records what the threads find.
struct Keeper<'a, 's> {
    stores: &'a mut Stores<'s>,
    quarantine: &'a Quarantine,
    wish: &'a Wish,
    clock: &'a Clock,
    progress: Progress,
    suspects: Vec<Suspect>,
    identities: HashMap<Digest, Option<Identity>>,
    healed: Vec<(BlobRow, Digest)>,
    verified: Verified,
}

impl<'a, 's> Keeper<'a, 's> {
    fn new(
        stores: &'a mut Stores<'s>,
        quarantine: &'a Quarantine,
        wish: &'a Wish,
        clock: &'a Clock,
        progress: Progress,
    ) -> Self {
        Self {
            stores,
            quarantine,
            wish,
            clock,
            verified: Verified {
                went_on: progress.went_on,
                ..Verified::default()
            },
            progress,
            suspects: Vec::new(),
            identities: HashMap::new(),
            healed: Vec::new(),
        }
    }

    /// Records until the threads have ended.
    fn keep_all(&mut self, findings: &Receiver<Finding>, feed: &Feed) -> Result<(), VerifyError> {
        let mut due = Instant::now() + EVERY;
        loop {
            match findings.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(finding) => self.take(finding)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.suspects.len() >= BATCH || Instant::now() >= due {
                self.keep(findings, feed)?;
                due = Instant::now() + EVERY;
            }
        }
        self.keep(findings, feed)
    }

    fn take(&mut self, finding: Finding) -> Result<(), VerifyError> {
        let (blob, look) = finding?;
        self.verified.checked.blobs += 1;
        self.verified.checked.bytes += blob.size;
        match look {
            Look::Whole | Look::Stopped => {}
            Look::Healed => self.healed.push((blob.row, blob.digest)),
            Look::WrongMode => {
                let mended = self.wish.mend && self.stores.blobs.mend_mode(blob.digest).is_ok();
                self.verified.wrong_modes.push((blob.digest, mended));
                if blob.is_damaged && mended {
                    self.healed.push((blob.row, blob.digest));
                }
            }
            // Known, or what a killed collection left, which the next one forgets.
            Look::Bad(Fault::Missing, _) if blob.is_damaged || !blob.is_needed => {}
            Look::Bad(fault, identity) => {
                self.identities.insert(blob.digest, identity);
                self.suspects.push(Suspect {
                    row: blob.row,
                    digest: blob.digest,
                    fault,
                });
            }
        }
        Ok(())
    }

    /// Marks what was found, tells the mounts, and notes how far the run has come.
    fn keep(&mut self, findings: &Receiver<Finding>, feed: &Feed) -> Result<(), VerifyError> {
        let complete = feed.complete_until();
        // Whatever was found in complete units has been told by now.
        while let Ok(finding) = findings.try_recv() {
            self.take(finding)?;
        }
        let mut changed = self.mark_healed()?;
        while !self.suspects.is_empty() {
            let batch: Vec<Suspect> = self.suspects.drain(..self.suspects.len().min(BATCH)).collect();
            changed |= self.mark(&batch)?;
        }
        if changed {
            self.verified.unseen = tell(self.stores.run, self.stores.state.root())?;
        }
        if self.wish.deep && complete > self.progress.left.start {
            let done = self.progress.left.start..complete;
            let of = (self.progress.scope.as_str(), self.wish.part);
            self.stores
                .catalog
                .note_rehashed(of, self.progress.begun, done, self.clock.now())?;
            self.progress.left.start = complete;
        }
        Ok(())
    }

    fn mark_healed(&mut self) -> Result<bool, VerifyError> {
        if self.healed.is_empty() {
            return Ok(false);
        }
        let (rows, digests): (Vec<BlobRow>, Vec<Digest>) = self.healed.drain(..).unzip();
        self.stores.catalog.mark_whole(&rows)?;
        self.verified.healed.extend(digests);
        Ok(true)
    }

    fn mark(&mut self, batch: &[Suspect]) -> Result<bool, VerifyError> {
        let (blobs, quarantine, identities) = (self.stores.blobs, self.quarantine, &self.identities);
        let now = self.clock.now();
        let marked = self.stores.catalog.mark_damaged(batch, now, |suspect| {
            let identity = identities.get(&suspect.digest).copied().flatten();
            put_aside(blobs, quarantine, suspect, identity)
        })?;
        let any = !marked.is_empty();
        for suspect in &marked {
            tracing::error!(digest = %suspect.digest, "a file of the cache {}", suspect.fault);
        }
        self.verified.found.extend(marked);
        Ok(any)
    }
}

/// Looks at a suspect again and puts its file aside. One that cannot be is marked all the same: nobody is shown its bytes.
fn put_aside(blobs: &BlobStore, quarantine: &Quarantine, suspect: &Suspect, identity: Option<Identity>) -> Aside {
    let Some(identity) = identity else {
        return match blobs.sight(suspect.digest) {
            Ok(Some(_)) if suspect.fault == Fault::Missing => Aside::Replaced,
            Ok(_) | Err(_) => Aside::Nothing,
        };
    };
    match blobs.set_aside(suspect.digest, identity, quarantine) {
        Ok(Moved::To(name)) => Aside::As(name),
        Ok(Moved::Nothing) => Aside::Nothing,
        Ok(Moved::Replaced) => Aside::Replaced,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, digest = %suspect.digest, "a damaged file stays where it is");
            Aside::Nothing
        }
    }
}

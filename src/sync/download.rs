//! One file, from whichever place has it, through whatever happens on the way.
//!
//! Owns the attempts at a file: which place is asked next, what of an earlier attempt is continued, and when it is
//! enough. A file is known by its digest, so that parts of it may come from several places and from earlier syncs; the
//! whole is hashed in any case, and one that was joined wrongly is fetched again in one piece.

use std::sync::Arc;

use tokio::task;

use super::SyncError;
use super::error::FileError;
use super::fit;
use super::indices::Missing;
use super::local::{self, Taking};
use super::plan::Want;
use super::report::Progress;
use super::store::{Dated, Store};
use super::wanted::Wanted;
use crate::blobs::{BlobError, Inbox, Incoming, LEAST_CONTINUED, Sharing};
use crate::model::Timestamp;
use crate::upstream::{Answer, Archive, Ask, Body, Place, UpstreamError, Validators};

/// Longest file taken of which no list tells the size, in bytes: the images of installers have some hundred megabytes.
const LONGEST_UNSIZED: u64 = 8 << 30;

/// What downloads of one sync share.
pub(super) struct Downloads {
    pub(super) archive: Arc<Archive>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) store: Arc<Store>,
    pub(super) progress: Arc<dyn Progress>,
    /// Whether pool files of a tree on this machine may also be the cache's.
    pub(super) sharing: Sharing,
    pub(super) now: Timestamp,
}

/// Why a file did not come.
pub(super) enum Trouble {
    /// Upstream's doing: other files may well come.
    File(FileError),
    /// Our own disk's.
    Local(SyncError),
}

impl From<UpstreamError> for Trouble {
    fn from(error: UpstreamError) -> Self {
        Self::File(FileError::Upstream(error))
    }
}

impl From<BlobError> for Trouble {
    fn from(error: BlobError) -> Self {
        if error.is_local() {
            Self::Local(error.into())
        } else {
            Self::File(FileError::Content(error))
        }
    }
}

/// A file as far as it is there.
struct Growing {
    incoming: Incoming,
    /// Bytes that an earlier sync fetched.
    kept: u64,
    /// Where the bytes come from, and which version they are of; unknown for those of an earlier sync.
    from: Option<(Place, Validators)>,
    /// Whether they come from more than one place or time.
    joined: bool,
    mtime: Timestamp,
}

/// A complete file, and how many bytes of it came over the network now.
pub(super) struct Downloaded {
    pub(super) file: Dated,
    pub(super) bytes: u64,
}

impl Downloads {
    /// Those of `wants` that come with bytes of their own, for which there has to be room.
    pub(super) fn in_need_of_room<'w>(&self, wants: &'w [Want]) -> Result<Vec<&'w Want>, SyncError> {
        if wants.is_empty() || self.sharing == Sharing::Never {
            return Ok(wants.iter().collect());
        }
        let (sharable, places) = (self.inbox.sharable()?, self.archive.places());
        let shared = |want: &Want| {
            places
                .iter()
                .all(|place| local::takes_no_room(&sharable, self.archive.url(*place), want))
        };
        Ok(wants.iter().filter(|want| !shared(want)).collect())
    }

    /// Fetches one file; `None` when no place has it at any of its paths.
    pub(super) async fn fetch(&self, want: &Want, missing: Missing) -> Result<Option<Downloaded>, Trouble> {
        let mut file = None;
        let (mut failures, mut furthest) = (0, 0);
        loop {
            match self.ask_all(want, missing, &mut file).await {
                Ok(Some(taken)) => return Ok(Some(taken)),
                Ok(None) => return Ok(None),
                Err(Trouble::File(error)) if error.is_temporary() => {
                    let written = file.as_ref().map_or(0, |file| file.incoming.written());
                    // A line that breaks now and then brings a large file in the end. What counts is to get further
                    // than ever.
                    if written >= furthest + LEAST_CONTINUED {
                        failures = 0;
                    }
                    furthest = furthest.max(written);
                    failures += 1;
                    if !self.archive.wait(failures).await {
                        return Err(error.into());
                    }
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    async fn begin(&self, want: &Want) -> Result<Growing, Trouble> {
        let checksum = want.checksum;
        let incoming = if let Some(size) = want.size.filter(|size| *size >= LEAST_CONTINUED) {
            // What is left of an earlier attempt is read whole, unless this future ends before.
            let wanted = Wanted::new();
            let (inbox, still) = (Arc::clone(&self.inbox), wanted.asked());
            let begun = task::spawn_blocking(move || inbox.begin_or_continue(checksum, size, still));
            begun.await.map_err(|_| Trouble::Local(SyncError::Worker))??
        } else {
            self.inbox.begin(want.size.unwrap_or(LONGEST_UNSIZED), Some(checksum))?
        };
        let kept = incoming.written();
        self.progress.bytes(kept);
        Ok(Growing {
            incoming,
            kept,
            from: None,
            joined: kept > 0,
            mtime: want.date.min(self.now),
        })
    }

    /// Asks each place once, in their order, until one gives the whole file; `None` when none has it. Where a file may be
    /// missing, a place that works and lacks it is believed against one that does not work.
    async fn ask_all(
        &self,
        want: &Want,
        missing: Missing,
        file: &mut Option<Growing>,
    ) -> Result<Option<Downloaded>, Trouble> {
        let (mut temporary, mut lasting, mut absent) = (None, None, false);
        for place in self.archive.places() {
            if absent && self.archive.has_failed(place) {
                continue;
            }
            let came = if self.archive.url(place).directory().is_some() {
                self.take(place, want, missing).await
            } else {
                self.download(place, want, file).await
            };
            match came {
                Ok(Some(came)) => return Ok(Some(came)),
                Ok(None) => absent = missing == Missing::Allowed,
                Err(Trouble::File(error)) => {
                    let path = want.paths.last().expect("a want has a path");
                    tracing::debug!(%path, error = &error as &dyn std::error::Error, "an attempt failed");
                    if error.is_temporary() {
                        self.archive.put_last(place);
                        temporary = Some(error);
                    } else {
                        lasting = Some(error);
                    }
                }
                Err(local) => return Err(local),
            }
        }
        match temporary.filter(|_| !absent).or(lasting) {
            Some(error) => Err(error.into()),
            None => Ok(None),
        }
    }

    /// Takes the file from a place on this machine. Index files may be written anew in place: they are never shared.
    async fn take(&self, place: Place, want: &Want, missing: Missing) -> Result<Option<Downloaded>, Trouble> {
        for path in &want.paths {
            if let Answer::Local(found) = self.archive.get(place, path, Ask::Whole).await? {
                let taking = Taking {
                    inbox: Arc::clone(&self.inbox),
                    progress: Arc::clone(&self.progress),
                    sharing: match missing {
                        Missing::Allowed => Sharing::Never,
                        Missing::Refused | Missing::Noted => self.sharing,
                    },
                    now: self.now,
                };
                let taken = local::take(taking, want, found).await.map_err(Trouble::Local)?;
                return Ok(taken?.map(|file| Downloaded {
                    bytes: file.0.size(),
                    file,
                }));
            }
        }
        Ok(None)
    }

    /// Fetches the file from a place that is elsewhere, or what is missing of it.
    async fn download(
        &self,
        place: Place,
        want: &Want,
        file: &mut Option<Growing>,
    ) -> Result<Option<Downloaded>, Trouble> {
        let growing = match file {
            Some(growing) => growing,
            None => file.insert(self.begin(want).await?),
        };
        if !self.ask_at(place, want, growing).await? {
            return Ok(None);
        }
        let whole = file.take().expect("the file that has just come");
        whole.finish(want).map(Some)
    }

    /// Asks one place at each of the file's paths; `false` when it has the file at none.
    async fn ask_at(&self, place: Place, want: &Want, file: &mut Growing) -> Result<bool, Trouble> {
        let mut paths = want.paths.iter();
        let mut path = paths.next();
        while let Some(asked) = path {
            if want
                .size
                .is_some_and(|size| size > 0 && size == file.incoming.written())
                && file.is_right()?
            {
                return Ok(true);
            }
            match self.archive.get(place, asked, file.ask(place)).await {
                // Not the rest that was asked for: the whole file then, from the same path.
                Err(UpstreamError::WrongRange { .. }) if file.incoming.written() > 0 => file.restart()?,
                Err(error) if error.is_evasive() && paths.len() > 0 => path = paths.next(),
                Err(error) => return Err(error.into()),
                // Nobody asked conditionally: a server that calls the file unchanged has no bytes for us either. What is
                // on this machine is taken, not fetched.
                Ok(Answer::Missing | Answer::Unchanged | Answer::Local(_)) => path = paths.next(),
                Ok(Answer::Body(body)) => {
                    self.receive(place, want, file, body).await?;
                    if file.is_right()? {
                        return Ok(true);
                    }
                    // Joined wrongly, and empty again: now in one piece, from the same path.
                }
            }
        }
        Ok(false)
    }

    /// Makes sure that so many bytes more do not fill the disk. For little, what stays free anyway is enough.
    fn has_room_for(&self, bytes: u64) -> Result<(), Trouble> {
        if bytes < LEAST_CONTINUED {
            return Ok(());
        }
        let room = self.store.room().map_err(Trouble::Local)?;
        fit::file_into_room(bytes, room).map_err(Trouble::Local)
    }

    /// Takes what comes, up to the file's end.
    async fn receive(&self, place: Place, want: &Want, file: &mut Growing, mut body: Body) -> Result<(), Trouble> {
        if body.begins() != file.incoming.written() {
            file.restart()?;
        }
        if let (Some(expected), Some(got)) = (want.size, body.length())
            && got != expected
        {
            file.restart()?;
            return Err(Trouble::File(FileError::Content(if got > expected {
                BlobError::TooLong(expected)
            } else {
                BlobError::TooShort { expected, got }
            })));
        }
        let whole = want.size.or(body.length()).unwrap_or_default();
        self.has_room_for(whole.saturating_sub(file.incoming.written()))?;
        let longest = want.size.unwrap_or(LONGEST_UNSIZED);
        body.limit_time(longest.saturating_sub(body.begins()));
        file.comes_from(place, body.validators());
        file.mtime = body.last_modified().unwrap_or(want.date).min(self.now);
        while let Some(chunk) = body.chunk().await? {
            self.progress.bytes(chunk.len() as u64);
            if let Err(error) = file.incoming.write(&chunk) {
                file.restart()?;
                return Err(error.into());
            }
        }
        let got = file.incoming.written();
        match want.size {
            Some(expected) if got < expected => Err(Trouble::from(UpstreamError::Short {
                url: body.url().clone(),
                expected,
                got,
            })),
            _ => Ok(()),
        }
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl Growing {
    /// What to ask a place for.
    fn ask(&self, place: Place) -> Ask<'_> {
        let known = self.from.as_ref().filter(|(from, _)| *from == place);
        match self.incoming.written() {
            0 => Ask::Whole,
            from => Ask::Rest {
                from,
                of: known.map(|(_, version)| version),
            },
        }
    }

    /// What comes now comes from `place`, and is of this version.
    fn comes_from(&mut self, place: Place, version: Validators) {
        let new = Some((place, version));
        self.joined |= self.incoming.written() > 0 && (self.from != new || self.from.is_none());
        self.from = new;
    }

    fn restart(&mut self) -> Result<(), BlobError> {
        self.incoming.restart()?;
        (self.kept, self.from, self.joined) = (0, None, false);
        Ok(())
    }

    /// Whether the complete file is what was wanted. One that was joined wrongly begins again; any other that is wrong is
    /// an error.
    fn is_right(&mut self) -> Result<bool, Trouble> {
        let Err(wrong) = self.incoming.check() else {
            return Ok(true);
        };
        let joined = self.joined;
        self.restart()?;
        if joined { Ok(false) } else { Err(wrong.into()) }
    }

    fn finish(self, want: &Want) -> Result<Downloaded, Trouble> {
        let mtime = self.mtime;
        let arrived = self.incoming.finish(want.size, mtime)?;
        Ok(Downloaded {
            bytes: arrived.size() - self.kept,
            file: (arrived, mtime),
        })
    }
}

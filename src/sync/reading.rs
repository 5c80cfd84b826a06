//! One index, read once: from the cheapest of its forms that were obtained to the files it names.
//!
//! Owns the rule that every form decompresses to exactly what the Release file lists, and that no form is decompressed
//! again whose outcome the catalog knows. Text goes by in pieces; only short lists are ever in memory whole. It fetches
//! nothing.

use super::SyncError;
use super::plan::Want;
use super::store::Store;
use crate::apt::inventory::Inventory;
use crate::apt::{self, Compression, IndexKind, PackagesReader, ParseError, PoolFile, ReleaseFile, SourcesReader};
use crate::catalog::Uncompressed;
use crate::model::{BlobFacts, Checksum, ContentHasher, ContentHashes, RepoPath, Suite, Timestamp};

/// The files that indices name.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Files of packages.
    pub(super) pool: Vec<Want>,
    /// Files that lie below the index that names them and are as good as indices themselves.
    pub(super) further: Vec<Want>,
    /// What compressed forms were found to decompress to.
    pub(super) uncompressed: Vec<Uncompressed>,
}

/// One obtained form of an index.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) path: RepoPath,
    pub(super) blob: BlobFacts,
    pub(super) compression: Compression,
}

/// An index that can be read now.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) kind: IndexKind,
    pub(super) suite: Suite,
    /// The uncompressed index, which need not exist.
    pub(super) plain: RepoPath,
    pub(super) plain_file: Option<ReleaseFile>,
    /// The form that is cheapest to read.
    pub(super) form: Form,
    /// Clients choose among all of them, so all must be the same index.
    pub(super) others: Vec<Form>,
    pub(super) date: Timestamp,
    /// Whether the form will be served, so that somebody may want to know what changed in it.
    pub(super) served: bool,
}

/// What identifies the text of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Text {
    hashes: ContentHashes,
    size: u64,
}

impl Reading {
    /// Reads the index to its end and compares all its forms.
    pub(super) fn run(self, store: &Store) -> Result<Named, SyncError> {
        let (mut named, mut inventory) = (Named::default(), None);
        let text = match self.kind {
            IndexKind::Packages => Some(self.packages(store, &mut named.pool, &mut inventory)?),
            IndexKind::Sources => Some(self.sources(store, &mut named.pool, &mut inventory)?),
            IndexKind::Sums => Some(self.sums(store, &mut named.further)?),
            IndexKind::TranslationList => Some(self.translations(store, &mut named.further)?),
            IndexKind::Plain | IndexKind::Aside => self.plain_text(store)?,
        };
        if let Some(text) = text {
            self.compare(store, text)?;
            named.uncompressed = self.findings(text);
        }
        let digest = self.form.blob.digest;
        if let Some(stored) = inventory.and_then(|inventory| inventory.to_stored(digest)) {
            store.blobs().derived().keep(digest, &stored);
        }
        Ok(named)
    }

    /// Whether an inventory is to be taken of the index while it is read: comparing it costs far less then.
    fn lacks_inventory(&self, store: &Store) -> bool {
        let derived = store.blobs().derived();
        self.served && derived.may_keep() && !derived.has(self.form.blob.digest)
    }

    fn packages(
        &self,
        store: &Store,
        files: &mut Vec<Want>,
        inventory: &mut Option<Inventory>,
    ) -> Result<Text, SyncError> {
        let mut reader = PackagesReader::new(|file| files.push(self.want(file)));
        if self.lacks_inventory(store) {
            reader = reader.taking_stock();
        }
        let text = self.read(store, |piece| {
            reader.push(piece).map_err(|error| self.parse_error(error))
        })?;
        *inventory = reader
            .finish_with_inventory()
            .map_err(|error| self.parse_error(error))?;
        Ok(text)
    }

    fn sources(
        &self,
        store: &Store,
        files: &mut Vec<Want>,
        inventory: &mut Option<Inventory>,
    ) -> Result<Text, SyncError> {
        let mut reader = SourcesReader::new(|file| files.push(self.want(file)));
        if self.lacks_inventory(store) {
            reader = reader.taking_stock();
        }
        let text = self.read(store, |piece| {
            reader.push(piece).map_err(|error| self.parse_error(error))
        })?;
        *inventory = reader
            .finish_with_inventory()
            .map_err(|error| self.parse_error(error))?;
        Ok(text)
    }

    fn want(&self, file: PoolFile) -> Want {
        Want {
            paths: vec![file.path],
            checksum: file.checksum,
            size: Some(file.size),
            date: self.date,
        }
    }

    fn sums(&self, store: &Store, files: &mut Vec<Want>) -> Result<Text, SyncError> {
        let (text, list) = self.whole(store)?;
        let listed = apt::parse_sums(&list).map_err(|error| self.parse_error(error))?;
        for file in listed {
            files.push(self.want_beside(&file.path, file.checksum, None)?);
        }
        Ok(text)
    }

    fn translations(&self, store: &Store, files: &mut Vec<Want>) -> Result<Text, SyncError> {
        let (text, list) = self.whole(store)?;
        let listed = apt::parse_file_list(&list).map_err(|error| self.parse_error(error))?;
        if listed.is_empty() {
            tracing::warn!(list = %self.plain, "translations are left out: nothing but weak hashes is listed of them");
        }
        for (path, file) in listed {
            files.push(self.want_beside(&path, file.checksum, Some(file.size))?);
        }
        Ok(text)
    }

    /// A file in the index's own directory or below.
    fn want_beside(&self, name: &RepoPath, checksum: Checksum, size: Option<u64>) -> Result<Want, SyncError> {
        let path = match self.plain.parent() {
            Some(directory) => directory.join(name.as_str()),
            None => Ok(name.clone()),
        };
        let path = path.map_err(|source| SyncError::Path {
            suite: self.suite.clone(),
            path: name.to_string(),
            source,
        })?;
        Ok(Want {
            paths: vec![path],
            checksum,
            size,
            date: self.date,
        })
    }

    /// The text of an index that is not parsed; `None` when there is nothing to compare it with.
    fn plain_text(&self, store: &Store) -> Result<Option<Text>, SyncError> {
        if self.form.compression == Compression::None {
            return Ok(Some(self.form.as_text()));
        }
        let needs_sha512 = matches!(self.plain_checksum(), Some(Checksum::Sha512(_)));
        if !needs_sha512 && let Some(text) = self.form.known_text(store)? {
            return Ok(Some(text));
        }
        if self.plain_file.is_none() && self.others.is_empty() {
            return Ok(None);
        }
        self.read(store, |_| Ok(())).map(Some)
    }

    fn plain_checksum(&self) -> Option<Checksum> {
        self.plain_file.as_ref().map(|file| file.checksum)
    }

    /// Most bytes that the text may have.
    fn cap(&self) -> u64 {
        self.plain_file
            .as_ref()
            .map_or(apt::LONGEST_UNLISTED_INDEX, |plain| plain.size)
    }

    /// Hands the text of the cheapest form to `each`, in pieces.
    fn read(&self, store: &Store, each: impl FnMut(&[u8]) -> Result<(), SyncError>) -> Result<Text, SyncError> {
        self.form.read(store, self.cap(), self.plain_checksum(), each)
    }

    /// The text, and all of it in memory.
    fn whole(&self, store: &Store) -> Result<(Text, Vec<u8>), SyncError> {
        let mut whole = Vec::new();
        let cap = self.cap().min(apt::LONGEST_LIST);
        let text = self.form.read(store, cap, self.plain_checksum(), |piece| {
            whole.extend_from_slice(piece);
            Ok(())
        })?;
        Ok((text, whole))
    }

    /// Makes sure that `text`, which the cheapest form has, is what the Release file lists and every other form has.
    fn compare(&self, store: &Store, text: Text) -> Result<(), SyncError> {
        // An uncompressed form was compared with the very same entry when it arrived.
        if let Some(plain) = &self.plain_file
            && self.form.compression != Compression::None
            && !(text.hashes.fit(plain.checksum) && text.size == plain.size)
        {
            return Err(SyncError::IndexMismatch {
                path: self.form.path.clone(),
                plain: self.plain.clone(),
            });
        }
        for other in &self.others {
            if !other.has(store, text)? {
                let (other, first) = (other.path.clone(), self.form.path.clone());
                return Err(SyncError::VariantsDiffer(other, first));
            }
        }
        Ok(())
    }

    /// What is known of the compressed forms now: all of them have this text.
    fn findings(&self, text: Text) -> Vec<Uncompressed> {
        let forms = std::iter::once(&self.form).chain(&self.others);
        let compressed = forms.filter(|form| form.compression != Compression::None);
        let finding = |form: &Form| Uncompressed {
            blob: form.blob.digest,
            digest: text.hashes.digest,
            size: text.size,
        };
        compressed.map(finding).collect()
    }

    fn parse_error(&self, source: ParseError) -> SyncError {
        SyncError::Parse {
            path: self.form.path.clone(),
            source,
        }
    }
}

impl Form {
    /// The text of a form that is not compressed.
    fn as_text(&self) -> Text {
        let hashes = ContentHashes {
            digest: self.blob.digest,
            sha512: None,
        };
        let size = self.blob.size;
        Text { hashes, size }
    }

    /// The text, where an earlier reading of the same bytes has left it in the catalog.
    fn known_text(&self, store: &Store) -> Result<Option<Text>, SyncError> {
        let known = store.catalog().reader().uncompressed(self.blob.digest)?;
        Ok(known.map(|known| Text {
            hashes: ContentHashes {
                digest: known.digest,
                sha512: None,
            },
            size: known.size,
        }))
    }

    /// Whether its text has the digest and length of `text`.
    fn has(&self, store: &Store, text: Text) -> Result<bool, SyncError> {
        let own = if self.compression == Compression::None {
            self.as_text()
        } else if let Some(known) = self.known_text(store)? {
            known
        } else {
            self.read(store, text.size, None, |_| Ok(()))?
        };
        Ok(own.hashes.digest == text.hashes.digest && own.size == text.size)
    }

    /// Hands the text, of at most `cap` bytes, to `each` in pieces, and answers what identifies it; with the SHA-512 hash
    /// if that is what `expected` is.
    fn read(
        &self,
        store: &Store,
        cap: u64,
        expected: Option<Checksum>,
        mut each: impl FnMut(&[u8]) -> Result<(), SyncError>,
    ) -> Result<Text, SyncError> {
        let damaged = |source| SyncError::Decompress {
            path: self.path.clone(),
            source,
        };
        // The bytes of the blob were hashed when they arrived: only what they decompress to is new.
        let mut hasher = (self.compression != Compression::None).then(|| ContentHasher::comparing_with(expected));
        let file = store.blobs().read(self.blob.digest)?;
        let size = apt::read_pieces(self.compression, file, cap, damaged, |piece| {
            if let Some(hasher) = &mut hasher {
                hasher.update(piece);
            }
            each(piece)
        })?;
        let Some(hasher) = hasher else {
            return Ok(self.as_text());
        };
        let hashes = hasher.finish();
        Ok(Text { hashes, size })
    }
}

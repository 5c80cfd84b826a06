//! Damaged blobs, as the mount was last told of them.
//!
//! Owns the memory of which those were, so that what has changed since can be told to the kernel, also what nobody has
//! announced. What it is asked of a blob it answers only where the catalog cannot.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mirrorctl_mount::tree::{BlobNo, FileId};

use crate::catalog::{BlobRow, CatalogError, CatalogReader};
use crate::model::Timestamp;

/// The damaged blobs of some moment.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<Known>);

/// Each damaged blob with the number of its mark, and whether it is shown with the times of pointers.
type Known = BTreeMap<BlobNo, (i64, bool)>;

/// What the catalog says now: the damaged blobs, and the times that pointers were ever shown with.
pub(super) struct Now {
    known: Known,
    times: Vec<Timestamp>,
}

impl Damage {
    fn known(&self) -> MutexGuard<'_, Known> {
        // It is replaced as a whole, so a panic elsewhere leaves nothing half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, blob: BlobNo) -> bool {
        self.known().contains_key(&blob)
    }

    /// What is damaged now; `None` when that is what is known. Only a change is worth looking through all entries.
    pub(super) fn news(&self, reader: &CatalogReader) -> Result<Option<Now>, CatalogError> {
        let numbered = reader.marks()?.into_iter();
        let numbered =
            numbered.filter_map(|(row, mark)| Some((BlobNo(u32::try_from(row.number()).ok()?), (row, mark))));
        let marks: BTreeMap<BlobNo, (BlobRow, i64)> = numbered.collect();
        let is_known = {
            let known = self.known();
            let pairs = marks.iter().zip(&*known);
            known.len() == marks.len()
                && pairs
                    .into_iter()
                    .all(|((a, (_, new)), (b, (old, _)))| a == b && new == old)
        };
        if is_known {
            return Ok(None);
        }
        let indices = reader.damaged_indices()?;
        let known = marks.into_iter();
        Ok(Some(Now {
            known: known
                .map(|(blob, (row, mark))| (blob, (mark, indices.contains(&row))))
                .collect(),
            times: reader.serial_times()?,
        }))
    }

    /// Hands every number of every file to `forget` whose blob was found damaged or repaired since the last time that this
    /// succeeded.
    pub(super) fn change(&self, now: Now, forget: impl FnOnce(&[FileId]) -> io::Result<()>) -> io::Result<()> {
        let before = self.known().clone();
        let changed = |this: &Known, other: &Known| -> Vec<(BlobNo, bool)> {
            let differs = |blob: &BlobNo, mark: i64| other.get(blob).is_none_or(|(known, _)| *known != mark);
            let changed = this.iter().filter(|(blob, (mark, _))| differs(blob, *mark));
            changed.map(|(blob, (_, is_index))| (*blob, *is_index)).collect()
        };
        let mut blobs = changed(&now.known, &before);
        blobs.extend(changed(&before, &now.known));
        if !blobs.is_empty() {
            forget(&numbers(&blobs, &now.times))?;
        }
        *self.known() = now.known;
        Ok(())
    }
}

/// Every number that the files of `blobs` can have: their own, and for indices one for each time of a pointer.
fn numbers(blobs: &[(BlobNo, bool)], times: &[Timestamp]) -> Vec<FileId> {
    let serials: Vec<u64> = times
        .iter()
        .filter_map(|time| u64::try_from(time.unix()).ok())
        .collect();
    let mut files = Vec::new();
    for (blob, is_index) in blobs {
        files.push(FileId { blob: *blob, serial: 0 });
        if *is_index {
            files.extend(serials.iter().map(|serial| FileId {
                blob: *blob,
                serial: *serial,
            }));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(blobs: &[(u32, i64, bool)]) -> Now {
        let known = blobs.iter().map(|(blob, mark, index)| (BlobNo(*blob), (*mark, *index)));
        Now {
            known: known.collect(),
            times: vec![Timestamp::from_unix(100), Timestamp::from_unix(200)],
        }
    }

    fn told(damage: &Damage, blobs: &[(u32, i64, bool)]) -> Vec<(u32, u64)> {
        let mut told = Vec::new();
        let outcome = damage.change(now(blobs), |files| {
            told = files.iter().map(|file| (file.blob.0, file.serial)).collect();
            Ok(())
        });
        outcome.expect("told");
        told.sort_unstable();
        told
    }

    #[test]
    fn every_change_is_told_once_with_every_number() {
        let damage = Damage::default();
        assert_eq!(told(&damage, &[]), []);
        assert_eq!(told(&damage, &[(7, 1, false)]), [(7, 0)]);
        assert_eq!(told(&damage, &[(7, 1, false)]), []);
        assert!(damage.has(BlobNo(7)) && !damage.has(BlobNo(8)));
        let index = [(8, 0), (8, 100), (8, 200)];
        assert_eq!(told(&damage, &[(7, 1, false), (8, 2, true)]), index);
        assert_eq!(told(&damage, &[(7, 1, false)]), index, "repaired");
        assert_eq!(
            told(&damage, &[(7, 3, false)]),
            [(7, 0), (7, 0)],
            "repaired and damaged again"
        );
        assert_eq!(told(&damage, &[]), [(7, 0)]);
    }

    #[test]
    fn what_could_not_be_told_is_told_again() {
        let damage = Damage::default();
        let refused = damage.change(now(&[(7, 1, false)]), |_| Err(io::ErrorKind::Other.into()));
        assert!(refused.is_err());
        assert_eq!(told(&damage, &[(7, 1, false)]), [(7, 0)]);
    }
}

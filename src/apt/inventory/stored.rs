//! The form in which an inventory is stored (`docs/formats.md`).
//!
//! Owns the writing of it and the checks of what is read: whatever is not exactly what was written, of this very index and
//! in this version of the form, is as good as nothing, and never an error.

use std::io::{self, Read as _};

use super::Inventory;
use crate::apt::{Compression, decompress};
use crate::model::Digest;

/// The name of the form and its version, with which it begins.
const MAGIC: &str = "mirrorctl-inventory 1";

/// Longest inventory that is stored, in bytes: seven times that of Debian's largest index. What is read from a directory
/// that others may write to can never become more in memory.
pub(super) const LONGEST: usize = 64 << 20;

/// Longest file with an inventory, in bytes: somewhat more than that, for what zstd cannot make shorter.
pub const LONGEST_STORED: u64 = 65 << 20;

/// zstd's fastest: a tenth more bytes than with its usual effort, in half the time. Half of an inventory is digests, which
/// nothing makes shorter.
const COMPRESSION_LEVEL: i32 = 1;

impl Inventory {
    /// The inventory as it is stored, of the index file with the digest `of`; `None` for one that is too long.
    #[must_use]
    pub fn to_stored(&self, of: Digest) -> Option<Vec<u8>> {
        if self.records().len() > LONGEST {
            return None;
        }
        let compress = || -> io::Result<Vec<u8>> {
            let mut compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL)?;
            compressor.include_checksum(true)?;
            compressor.compress(self.records())
        };
        Some([header(of).as_bytes(), &compress().ok()?].concat())
    }

    /// The inventory of the index file with the digest `of`, which `stored` must be.
    #[must_use]
    pub fn from_stored(stored: &[u8], of: Digest) -> Option<Self> {
        let packed = stored.strip_prefix(header(of).as_bytes())?;
        // Of nothing, zstd makes nothing without complaint.
        if packed.is_empty() {
            return None;
        }
        let mut records = Vec::new();
        decompress(Compression::Zstd, packed, LONGEST as u64)
            .and_then(|mut text| text.read_to_end(&mut records))
            .ok()?;
        Self::checked(records)
    }
}

fn header(of: Digest) -> String {
    format!("{MAGIC} {of}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::inventory::InventoryReader;

    fn inventory(packages: u32) -> Inventory {
        let mut reader = InventoryReader::of_packages();
        for number in 0..packages {
            let digest = Digest::of(&number.to_le_bytes());
            let stanza = format!(
                "Package: p{number}\nVersion: 1\nArchitecture: all\nFilename: pool/p{number}.deb\nSize: 1\nSHA256: {digest}\n\n"
            );
            reader.push(stanza.as_bytes()).expect("a stanza");
        }
        reader.finish().expect("an index")
    }

    #[test]
    fn what_is_stored_comes_back() {
        let of = Digest::of(b"index");
        for packages in [0, 1, 1_000] {
            let inventory = inventory(packages);
            let stored = inventory.to_stored(of).expect("short enough");
            assert_eq!(Inventory::from_stored(&stored, of), Some(inventory));
        }
    }

    #[test]
    fn anything_else_is_as_good_as_nothing() {
        let of = Digest::of(b"index");
        for packages in [0, 3] {
            let stored = inventory(packages).to_stored(of).expect("short enough");
            assert_eq!(Inventory::from_stored(&stored, Digest::of(b"other")), None);
            for at in 0..stored.len() {
                assert_eq!(Inventory::from_stored(&stored[..at], of), None, "{at} bytes of it");
                let mut zeroed = stored.clone();
                zeroed[at..].fill(0);
                if zeroed != stored {
                    assert_eq!(Inventory::from_stored(&zeroed, of), None, "zeros from {at}");
                }
            }
            let longer = [&stored[..], b"x"].concat();
            assert_eq!(Inventory::from_stored(&longer, of), None);
        }
    }

    #[test]
    fn a_flipped_bit_is_never_believed() {
        let (of, inventory) = (Digest::of(b"index"), inventory(3));
        let stored = inventory.to_stored(of).expect("short enough");
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = Inventory::from_stored(&flipped, of);
            // A bit of zstd's own header may say nothing of the content.
            assert!(found.is_none() || found.as_ref() == Some(&inventory), "bit {bit}");
        }
    }

    #[test]
    fn nothing_becomes_longer_than_it_may() {
        let of = Digest::of(b"index");
        let bomb = zstd::encode_all(io::repeat(0).take(LONGEST as u64 + 1), 1).expect("compresses");
        let stored = [header(of).as_bytes(), &bomb].concat();
        assert_eq!(Inventory::from_stored(&stored, of), None);
        let older = header(of).replace(" 1 ", " 0 ");
        let packed = zstd::encode_all(&b""[..], 1).expect("compresses");
        assert_eq!(Inventory::from_stored(&[older.as_bytes(), &packed].concat(), of), None);
    }
}

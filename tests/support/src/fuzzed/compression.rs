//! Properties of the compressed forms of indices.

use std::io::{BufReader, Read as _};

use mirrorctl::apt::{Compression, decompress};

/// The first byte chooses a form: what comes out is never more than the cap, and the same in pieces.
pub(super) fn compression(data: &[u8]) {
    /// Enough for an input of a few kilobytes to reach it, and little work when it does.
    const CAP: u64 = 1 << 16;
    let Some((form, packed)) = data.split_first() else {
        return;
    };
    let form = Compression::ALL[usize::from(*form) % Compression::ALL.len()];
    let read = |buffer: usize| {
        let mut output = Vec::new();
        let mut reader = decompress(form, BufReader::with_capacity(buffer, packed), CAP)?;
        let outcome = reader.read_to_end(&mut output);
        assert!(output.len() as u64 <= CAP, "{} bytes came out", output.len());
        outcome.map(|_| output)
    };
    let (whole, pieces) = (read(1 << 16), read(1));
    assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} {pieces:?}");
    assert_eq!(whole.ok(), pieces.ok());
}

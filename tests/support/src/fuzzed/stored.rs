//! Properties of what the state directory holds.

use mirrorctl::catalog::Manifest;
use mirrorctl::model::Digest;

use super::{assert_harmless, assert_safe_path};

/// A manifest, as the text before compression and as the bytes after it: what is read is written again the same.
pub(super) fn manifest(data: &[u8]) {
    // Whatever the bytes are, they are mostly no frame of zstd; the text is where the format is.
    round_trip(data);
    round_trip(&zstd::encode_all(data, 1).expect("memory takes all"));
}

fn round_trip(bytes: &[u8]) {
    let manifest = match Manifest::decode(bytes) {
        Ok(manifest) => manifest,
        Err(error) => return drop(error.to_string()),
    };
    manifest
        .files
        .keys()
        .chain(manifest.dirs.keys())
        .for_each(|path| assert_safe_path(path.as_str()));
    for hash in manifest.files.values().flatten().flat_map(|file| &file.by_hash) {
        assert!(hash.hex.len() == hash.kind.hex_length(), "{hash:?}");
        let digits = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        assert!(hash.hex.bytes().all(digits), "{hash:?}");
    }
    let again = manifest.encode().expect("was decoded");
    assert_eq!(Manifest::decode(&again).expect("was encoded"), manifest);
    let elsewhere = Digest::of(b"another base");
    match manifest.clone().onto(elsewhere, manifest.clone()) {
        Ok(whole) => assert_eq!(
            (whole.base, manifest.base),
            (None, None),
            "changes to another base were applied"
        ),
        Err(error) => assert_harmless(&error),
    }
}

//! Every blob that lies in the cache, whoever knows of it.
//!
//! Owns the walk through the directories of blobs. It looks at names and lengths, and reads no bytes.

use std::collections::HashMap;
use std::io;

use super::{BlobError, BlobStore};
use crate::model::Digest;

impl BlobStore {
    /// The digests by which regular files lie in their places, each with the file's length. What else lies there is left out.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn present(&self) -> Result<HashMap<Digest, u64>, BlobError> {
        let mut present = HashMap::new();
        for first in 0..=u8::MAX {
            let name = format!("{first:02x}");
            let directory = match self.root.child(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                directory => directory.map_err(BlobError::io("open", &self.root.path().join(&name)))?,
            };
            let blob = |file: &str| {
                let digest: Digest = file.parse().ok()?;
                (file.starts_with(&name) && digest.to_string() == file).then_some(digest)
            };
            let files = directory.files(blob).map_err(BlobError::io("read", directory.path()))?;
            present.extend(files.into_iter().map(|(_, digest, size, _)| (digest, size)));
        }
        Ok(present)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn blobs_are_found_by_their_names_and_nothing_else_is() {
        let place = tempfile::tempdir().expect("temporary directory");
        let put = |directory: &str, name: &str, bytes: &[u8]| {
            let directory = place.path().join(directory);
            fs::create_dir_all(&directory).expect("makes");
            fs::write(directory.join(name), bytes).expect("writes");
        };
        let digest = Digest::of(b"blob");
        let name = digest.to_string();
        put(&name[..2], &name, b"blob");
        let other = Digest::of(b"other").to_string();
        assert_ne!(other[..2], name[..2]);
        put(&name[..2], &other, b"in another's directory");
        put(&other[..2], &other.to_uppercase(), b"in capitals");
        put(&other[..2], "notes", b"");
        put("zz", &other, b"nowhere");
        fs::create_dir(place.path().join(&other[..2]).join(&other)).expect("makes");
        let store = BlobStore::open(place.path(), None).expect("opens");
        assert_eq!(store.present().expect("reads"), HashMap::from([(digest, 4)]));
    }
}

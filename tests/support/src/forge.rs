//! Archives that say what no archive tool would: signed Release files over whatever the test puts there.
//!
//! Owns [`forge`]. The signatures are good; it is the content that lies.

use std::fs;

use mirrorctl::demo::Archive;
use mirrorctl::model::Digest;

use crate::now;

/// Replaces index files of `suite` (paths relative to the Release file) and lists their new sizes and digests in a
/// Release file that the archive's key signs in both forms.
///
/// # Panics
/// When the suite has no plain `Release`, lists other hashes than SHA-256, offers `by-hash`, or does not list one of
/// the files.
pub fn forge(archive: &Archive, suite: &str, changes: &[(&str, &[u8])]) {
    let directory = archive.root().join("dists").join(suite);
    let mut release = fs::read_to_string(directory.join("Release")).expect("a suite with a plain Release file");
    assert!(
        !["Acquire-By-Hash", "MD5Sum", "SHA1:", "SHA512"]
            .iter()
            .any(|field| release.contains(field)),
        "only suites without by-hash and with SHA-256 alone can be forged"
    );
    for (path, bytes) in changes {
        let line = |line: &str| {
            if line.ends_with(&format!(" {path}")) {
                format!(" {} {} {path}", Digest::of(bytes), bytes.len())
            } else {
                line.to_owned()
            }
        };
        let forged: Vec<String> = release.lines().map(line).collect();
        let forged = forged.join("\n") + "\n";
        assert!(release.contains(&format!(" {path}\n")), "{path} is not listed");
        release = forged;
        fs::write(directory.join(path), bytes).expect("own directory");
    }
    sign(archive, suite, &release);
}

/// Gives `suite` the text `release` for its Release file, signed by the archive's key in both forms.
pub fn sign(archive: &Archive, suite: &str, release: &str) {
    let directory = archive.root().join("dists").join(suite);
    let (key, at) = (archive.key(), now());
    let put = |name: &str, bytes: &[u8]| fs::write(directory.join(name), bytes).expect("own directory");
    put("Release", release.as_bytes());
    put("Release.gpg", &key.sign_detached(release, at).expect("signs"));
    put("InRelease", &key.sign_inline(release, at).expect("signs"));
}

//! A site in production whose upstream turns hostile.
//!
//! Owns [`Attack`], which holds what is true after every refusal, whatever was wrong: the exit code and the words of the
//! message, that nothing anybody can see has changed, that nothing is left behind, and that the next good sync succeeds.
//! What is wrong is for the tests to say.

use std::fs;
use std::path::PathBuf;

use mirrorctl::model::{Digest, HashType};
use mirrorctl_testkit::{Ran, SuiteSpec, Variant, sign};

use crate::site::{Files, SUITE, Site, three};

/// The package index, relative to the Release file.
pub(crate) const INDEX: &str = "main/binary-amd64/Packages";

/// A suite whose Release file can be written by hand: one uncompressed index, SHA-256 alone, no by-hash.
pub(crate) fn forgeable() -> SuiteSpec {
    let variants = [Variant::Plain];
    let suite = three().hashes([HashType::Sha256]).by_hash(false);
    suite.listed(&variants).served(&variants)
}

/// Puts files of an index beside the others, and lists them in the Release file instead of those there were: each with
/// its path relative to the Release file. The files `only_listed` are listed and not there.
pub(crate) fn serve(site: &Site, index: &str, files: &[(&str, &[u8])], only_listed: &[(&str, &[u8])]) {
    let directory = site.archive.root().join("dists").join(SUITE);
    let release = fs::read_to_string(directory.join("Release")).expect("a Release file");
    let mut lines: Vec<String> = release
        .lines()
        .filter(|line| !line.contains(&format!(" {index}")))
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.iter().filter(|line| line.ends_with("SHA256:")).count(), 1);
    assert!(
        lines
            .last()
            .is_some_and(|last| last.starts_with(' ') || last == "SHA256:")
    );
    for (path, bytes) in files.iter().chain(only_listed) {
        fs::write(directory.join(path), bytes).expect("own directory");
        lines.push(format!(" {} {} {path}", Digest::of(bytes), bytes.len()));
    }
    for (path, _) in only_listed {
        fs::remove_file(directory.join(path)).expect("just written");
    }
    sign(&site.archive, SUITE, &(lines.join("\n") + "\n"));
}

/// A site with a good snapshot in production.
pub(crate) struct Attack {
    pub(crate) site: Site,
    visible: (String, String),
    production: Files,
    /// Files of the installation that are not of the archive or of the state.
    outside: Vec<PathBuf>,
}

impl Attack {
    pub(crate) fn on(suite: SuiteSpec) -> Self {
        Self::with(Site::new([suite]))
    }

    /// Publishes what `site` has upstream.
    pub(crate) fn with(site: Site) -> Self {
        site.configure(|mirror| mirror.publish_to_staging(true).publish_to_production(true));
        site.sync();
        let (visible, production) = (site.visible(), site.newest());
        let outside = outside(&site);
        Self {
            site,
            visible,
            production,
            outside,
        }
    }

    /// The plain package index as the archive has it.
    pub(crate) fn index(&self) -> String {
        let path = self.site.archive.root().join("dists").join(SUITE).join(INDEX);
        fs::read_to_string(path).expect("an index")
    }

    /// Serves the plain package index with these bytes.
    pub(crate) fn serve_index(&self, bytes: &[u8]) {
        serve(&self.site, INDEX, &[(INDEX, bytes)], &[]);
    }

    /// Asserts that a sync fails with `code` and says all of `says`, and that it was harmless.
    #[track_caller]
    pub(crate) fn is_refused(&self, what: &str, code: i32, says: &[&str]) -> Ran {
        let ran = self.site.run("sync");
        self.was_refused(what, ran, code, says)
    }

    /// As [`Attack::is_refused`], of a sync that has run.
    #[track_caller]
    pub(crate) fn was_refused(&self, what: &str, ran: Ran, code: i32, says: &[&str]) -> Ran {
        assert_eq!(ran.status.code(), Some(code), "{what}: {ran}");
        for text in says {
            assert!(ran.stderr.contains(text), "{what}: no {text:?}: {ran}");
        }
        assert!(!ran.stderr.contains("panicked"), "{what}: {ran}");
        let told = ran.stderr.lines().any(|line| line.starts_with("error: "));
        assert!(told && ran.stderr.contains("debian"), "{what}: {ran}");
        assert!(ran.stderr.contains("hint: "), "{what}: what to do next: {ran}");
        let plain = |c: char| c == '\n' || !c.is_control();
        assert!(ran.stderr.chars().all(plain), "{what}: {ran:?}");
        self.changed_nothing(what);
        ran
    }

    /// Asserts that everything anybody can see is as it was, that production is whole, and that nothing lies around.
    #[track_caller]
    pub(crate) fn changed_nothing(&self, what: &str) {
        assert_eq!(self.site.visible(), self.visible, "{what}");
        assert_eq!(self.site.newest(), self.production, "{what}");
        assert!(self.site.leftovers().is_empty(), "{what}: {:?}", self.site.leftovers());
        assert_eq!(outside(&self.site), self.outside, "{what}");
        self.site.assert_whole();
    }

    /// Publishes something good, which must be taken: the end of the attack.
    #[track_caller]
    pub(crate) fn ends(mut self) {
        self.site.upstream.clear_faults();
        self.site.add(&crate::site::deb("zz", "1", 100));
        // What was taken meanwhile may have been larger.
        let report = self.site.json("sync --force");
        assert_eq!(report["mirrors"][0]["outcome"], "recorded");
        assert!(self.site.newest().keys().any(|path| path.contains("/zz_")));
        self.site.assert_whole();
    }
}

fn outside(site: &Site) -> Vec<PathBuf> {
    let ours = [
        site.env.state_dir(),
        site.archive.root().to_owned(),
        site.env.root().join("run"),
        site.env.root().join("keys"),
    ];
    let mut files = crate::site::below(site.env.root());
    files.retain(|path| !ours.iter().any(|ours| path.starts_with(ours)));
    files
}

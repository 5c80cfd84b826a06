//! The Release files of a snapshot: who signed them, and how long they hold.
//!
//! Owns the checks `signatures` and `valid-until`. What Release files lead to is `indices`'.

use std::time::Duration;

use super::report::{Check, Problems, in_one_line};
use super::tree::Tree;
use super::{Subject, Trust};
use crate::apt::layout::in_suite;
use crate::apt::{LONGEST_RELEASE, Release};
use crate::model::{Suite, Timestamp, VerifiedText};
use crate::signature::{self, Keyring, SignatureError};

/// A suite's Release file, as far as it can be read.
pub(super) struct SuiteRelease {
    pub(super) suite: Suite,
    /// What it says, or why that is not known. When its signature is not good, the text as it is: what it leads to can be
    /// checked all the same, and the snapshot has failed anyway.
    pub(super) release: Result<Release, String>,
}

/// Reads the Release files of `suites` and checks their signatures.
pub(super) fn check(subject: &Subject<'_>, tree: &Tree<'_>, suites: &[Suite]) -> (Vec<SuiteRelease>, Check) {
    let mut problems = Problems::default();
    let mut releases = Vec::new();
    for suite in suites {
        let trio = Trio::read(tree, suite);
        if let Trust::Keyring(keyring) = &subject.trust {
            match &trio {
                Ok(trio) => trio.check(suite, keyring, subject.now, &mut problems),
                Err(problem) => problems.add(format!("{suite}: {problem}")),
            }
        }
        releases.push(SuiteRelease {
            suite: suite.clone(),
            release: trio.and_then(|trio| trio.release()),
        });
    }
    let name = "signatures";
    let check = match &subject.trust {
        Trust::Unchecked => Check::skipped(name, "no_pgp_check is set: nobody's signature was looked at"),
        Trust::Keyring(_) if problems.count() > 0 => Check::of(name, "not every Release file is signed well", problems),
        Trust::Keyring(_) => Check::of(
            name,
            format!(
                "the Release files of {} suites are signed by keys of the keyring",
                suites.len()
            ),
            problems,
        ),
    };
    (releases, check)
}

/// Reads the Release files of `suites` and does not ask who signed them.
pub(super) fn read(tree: &Tree<'_>, suites: &[Suite]) -> Vec<SuiteRelease> {
    let read = |suite: &Suite| SuiteRelease {
        suite: suite.clone(),
        release: Trio::read(tree, suite).and_then(|trio| trio.release()),
    };
    suites.iter().map(read).collect()
}

/// The Release files of a suite, as they are served.
struct Trio {
    inline: Option<Vec<u8>>,
    plain: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
}

impl Trio {
    fn read(tree: &Tree<'_>, suite: &Suite) -> Result<Self, String> {
        let file = |name: &str| {
            let path = in_suite(suite, name).map_err(|error| error.to_string())?;
            tree.read(path.as_str(), LONGEST_RELEASE)
                .map_err(|why| format!("{name}: {why}"))
        };
        let trio = Self {
            inline: file("InRelease")?,
            plain: file("Release")?,
            signature: file("Release.gpg")?,
        };
        if trio.inline.is_none() && trio.plain.is_none() {
            return Err("there is no Release file".to_owned());
        }
        Ok(trio)
    }

    /// Adds what is wrong with the signatures, for whichever of the files a client takes.
    fn check(&self, suite: &Suite, keyring: &Keyring, now: Timestamp, problems: &mut Problems) {
        let mut judge = |file: &str, outcome: Result<VerifiedText, SignatureError>| {
            if let Err(error) = outcome {
                problems.add(format!("{suite}: {file}: {}", in_one_line(&error)));
            }
        };
        if let Some(inline) = &self.inline {
            judge("InRelease", signature::verify_inline(inline, keyring, now));
        }
        match (&self.plain, &self.signature) {
            (Some(plain), Some(signature)) => {
                judge(
                    "Release.gpg",
                    signature::verify_detached(plain, signature, keyring, now),
                );
            }
            // Clients take InRelease where there is one.
            (Some(_), None) if self.inline.is_none() => problems.add(format!("{suite}: Release is not signed")),
            (Some(_) | None, _) => {}
        }
        if self
            .texts()
            .is_ok_and(|texts| texts.windows(2).any(|pair| pair[0] != pair[1]))
        {
            problems.add(format!("{suite}: InRelease and Release do not say the same"));
        }
    }

    /// What each of the files says, signed or not.
    fn texts(&self) -> Result<Vec<Release>, String> {
        let inline = self.inline.as_deref().map(signature::without_check_inline);
        let plain = self.plain.as_deref().map(signature::without_check);
        let text = |text: Result<VerifiedText, SignatureError>| {
            let text = text.map_err(|error| in_one_line(&error))?;
            Release::parse(&text).map_err(|error| in_one_line(&error))
        };
        inline.into_iter().chain(plain).map(text).collect()
    }

    fn release(&self) -> Result<Release, String> {
        let first = self.texts()?.into_iter().next();
        first.ok_or_else(|| "there is no Release file".to_owned())
    }
}

/// Checks that clients will go on believing the Release files for at least `least`.
pub(super) fn validity(releases: &[SuiteRelease], least: Duration, now: Timestamp) -> Check {
    let mut problems = Problems::default();
    let mut first: Option<(Timestamp, &Suite)> = None;
    let least = i64::try_from(least.as_secs()).unwrap_or(i64::MAX);
    for release in releases {
        let until = release.release.as_ref().ok().and_then(|release| release.valid_until);
        let Some(until) = until else { continue };
        if first.is_none_or(|(earliest, _)| until < earliest) {
            first = Some((until, &release.suite));
        }
        if until <= now {
            problems.add(format!("{}: clients have refused it since {until}", release.suite));
        } else if until.unix().saturating_sub(now.unix()) < least {
            problems.add(format!("{}: valid until {until}, which is too soon", release.suite));
        }
    }
    let text = match first {
        Some((until, suite)) => format!("the first to expire is {suite}, at {until}"),
        None => "no Release file says until when it is valid".to_owned(),
    };
    Check::of("valid-until", text, problems)
}

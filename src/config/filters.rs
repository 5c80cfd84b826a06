//! The table `[mirrors.ID.filters]`: from raw values to rules.
//!
//! Owns what each of its keys means and which go together. A filter that leaves packages out without saying what
//! becomes of the indices is refused: clients would be told of files that are not there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::error::{Located, Notes};
use super::file::RawFilters;
use super::resolve::{absolute, is_set, names};
use super::{FilterSettings, Keyrings, Surroundings};
use crate::model::{Filter, NamePattern};

/// What to do about a filter whose indices would list what is not there.
const TWO_WAYS: &str = "set filters.reindex = true and filters.signing_key_path, and clients see an archive that is \
    complete; or set filters.allow_missing = true to serve upstream's indices as they are";

/// The rules that `raw` describes.
pub(super) fn resolve(raw: &RawFilters, surroundings: &Surroundings<'_>, notes: &mut Notes) -> FilterSettings {
    let settings = FilterSettings {
        filter: filter(raw, notes),
        allow_missing: is_set(raw.allow_missing.as_ref()),
        signing_key: signing_key(raw, surroundings, notes),
    };
    refuse_without_packages(raw, notes);
    let reindexes = is_set(raw.reindex.as_ref());
    if let (true, Some(reindex), true) = (settings.allow_missing, &raw.reindex, reindexes) {
        notes.fault(
            reindex,
            "and filters.allow_missing exclude each other: reindexed, nothing is missing",
        );
    }
    if !reindexes && !settings.allow_missing {
        refuse_filtering(raw, notes);
    }
    settings
}

fn filter(raw: &RawFilters, notes: &mut Notes) -> Filter {
    Filter {
        exclude: patterns(raw.exclude_patterns.as_ref(), notes),
        include: patterns(raw.include_patterns.as_ref(), notes),
        sections: optional(raw.sections.as_ref(), notes),
        priorities: optional(raw.priorities.as_ref(), notes),
        packages: optional(raw.packages.as_ref(), notes),
        recommends: is_set(raw.with_recommends.as_ref()),
        required: is_set(raw.with_required.as_ref()),
        keep_versions: raw.keep_versions.as_ref().map_or(0, |count| versions(count, notes)),
    }
}

fn versions(raw: &Located<i64>, notes: &mut Notes) -> usize {
    usize::try_from(raw.value).unwrap_or_else(|_| {
        notes.fault(
            raw,
            format!("must be 0, which keeps all, or more, but is {}", raw.value),
        );
        0
    })
}

/// The items of a list that may be missing or empty.
fn optional<T>(raw: Option<&Located<Vec<Located<String>>>>, notes: &mut Notes) -> Vec<T>
where
    T: std::str::FromStr + Ord + Clone,
    T::Err: std::fmt::Display,
{
    let given = raw.filter(|raw| !raw.value.is_empty());
    given.and_then(|raw| names(raw, notes)).unwrap_or_default()
}

fn patterns(raw: Option<&Located<Vec<Located<String>>>>, notes: &mut Notes) -> Vec<NamePattern> {
    let mut patterns = Vec::new();
    for item in raw.map_or(&[][..], |raw| &raw.value) {
        match item.value.parse::<NamePattern>() {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => {
                let message = error.to_string();
                match error.meant() {
                    Some(meant) => notes.fault_with_hint(item, message, &format!("did you mean {meant:?}?")),
                    None => notes.fault(item, message),
                }
            }
        }
    }
    patterns
}

/// The file with the key that signs what is reindexed.
fn signing_key(raw: &RawFilters, surroundings: &Surroundings<'_>, notes: &mut Notes) -> Option<PathBuf> {
    match (&raw.signing_key_path, &raw.reindex) {
        (None, Some(reindex)) if reindex.value => {
            let hint = "set filters.signing_key_path to a file with a secret key";
            notes.fault_with_hint(reindex, "needs a key to sign the rebuilt indices with", hint);
            None
        }
        (None, _) => None,
        (Some(path), reindex) if !is_set(reindex.as_ref()) => {
            notes.fault_with_hint(path, "signs nothing", "set filters.reindex = true, or leave it out");
            None
        }
        (Some(raw), _) => {
            let path = absolute(raw, surroundings, notes)?;
            if let (Keyrings::MustBeReadable, Err(reason)) = (surroundings.keyrings, private_file(&path)) {
                notes.fault(raw, format!("cannot use the key {}: {reason}", path.display()));
            }
            Some(path)
        }
    }
}

/// Whether there is a file at `path` that its owner and group alone can use. It is not opened: who checks a
/// configuration need not be able to read the keys.
fn private_file(path: &Path) -> io::Result<()> {
    let facts = fs::metadata(path)?;
    if !facts.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if facts.permissions().mode() & 0o007 != 0 {
        return Err(io::Error::other("it is open to everybody (chmod 600)"));
    }
    Ok(())
}

/// What is said about the packages named by `packages` says nothing without any.
fn refuse_without_packages(raw: &RawFilters, notes: &mut Notes) {
    let none = raw.packages.as_ref().is_none_or(|packages| packages.value.is_empty());
    let required = is_set(raw.with_required.as_ref());
    if let Some(recommends) = raw.with_recommends.as_ref().filter(|on| on.value && none && !required) {
        notes.fault_with_hint(
            recommends,
            "follows nothing",
            "name the packages to follow in filters.packages",
        );
    }
}

/// Refuses each rule that leaves something out.
fn refuse_filtering(raw: &RawFilters, notes: &mut Notes) {
    let lists = [
        &raw.exclude_patterns,
        &raw.include_patterns,
        &raw.sections,
        &raw.priorities,
        &raw.packages,
    ];
    let lists = lists.into_iter().flatten().filter(|list| !list.value.is_empty());
    let lists = lists.map(|list| list.with(()));
    let versions = raw
        .keep_versions
        .iter()
        .filter(|count| count.value > 0)
        .map(|count| count.with(()));
    let required = raw.with_required.iter().filter(|on| on.value).map(|on| on.with(()));
    let first = lists.chain(versions).chain(required).min_by_key(|rule| rule.spot);
    if let Some(rule) = first {
        notes.fault_with_hint(&rule, "leaves out files that upstream's signed indices list", TWO_WAYS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const MIRROR: &str = "dir = \"/a\"\n[mirrors.m]\nurl = \"http://h/\"\nsuites = [\"s\"]\nsections = [\"main\"]\n\
        architectures = [\"amd64\"]\n[mirrors.m.filters]\n";

    fn read(lines: &str, keyrings: Keyrings) -> Result<FilterSettings, Vec<String>> {
        let surroundings = Surroundings {
            variable: &|_| None,
            home: None,
            keyrings,
            tls_files: config::TlsFiles::NotLookedAt,
        };
        let parsed = config::parse(format!("{MIRROR}{lines}").as_bytes(), Path::new("m"), &surroundings);
        let texts = |errors: config::ConfigErrors| errors.errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let settings = parsed.map_err(texts)?;
        Ok(settings.mirrors.into_values().next().expect("one mirror").filters)
    }

    #[track_caller]
    fn good(lines: &str) -> FilterSettings {
        read(lines, Keyrings::NotLookedAt).expect("good")
    }

    #[track_caller]
    fn bad(lines: &str) -> Vec<String> {
        read(lines, Keyrings::NotLookedAt).expect_err("bad")
    }

    #[test]
    fn every_key_is_understood() {
        assert_eq!(good(""), FilterSettings::default());
        let all = good(
            "keep_versions = 2\nexclude_patterns = [\"-dbg$\"]\ninclude_patterns = [\"^a\", \"b\"]\nsections = [\"libs\"]\n\
             priorities = [\"required\"]\npackages = [\"g++\"]\nwith_recommends = true\nwith_required = true\n\
             reindex = true\nsigning_key_path = \"/k/./secret.asc\"",
        );
        let Filter {
            include,
            keep_versions,
            recommends,
            required,
            packages,
            ..
        } = &all.filter;
        assert_eq!(
            (include.len(), *keep_versions, *recommends, *required),
            (2, 2, true, true)
        );
        assert_eq!(packages[0].as_str(), "g++");
        assert_eq!(all.signing_key.as_deref(), Some(Path::new("/k/secret.asc")));
        assert!(good("exclude_patterns = [\"x\"]\nallow_missing = true").allow_missing);
        // Reindexing without a filter makes an archive that one's own key signs.
        assert!(good("reindex = true\nsigning_key_path = \"/k\"").filter.is_empty());
        good("keep_versions = 0\nexclude_patterns = []\npackages = []\nallow_missing = false\nreindex = false");
    }

    #[test]
    fn leaving_out_needs_a_word_on_the_indices() {
        for line in [
            "keep_versions = 1",
            "exclude_patterns = [\"x\"]",
            "include_patterns = [\"x\"]",
            "sections = [\"x\"]",
            "priorities = [\"extra\"]",
            "packages = [\"x\"]",
            "with_required = true",
        ] {
            let (key, _) = line.split_once(" = ").expect("a value");
            let column = key.len() + 4;
            let expected = format!(
                "m:8:{column}: mirrors.m.filters.{key}: leaves out files that upstream's signed indices list; {TWO_WAYS}"
            );
            assert_eq!(bad(line), [expected]);
            good(&format!("{line}\nallow_missing = true"));
        }
        let two = bad("keep_versions = 1\npackages = [\"x\"]");
        assert_eq!(two.len(), 1, "once is enough: {two:?}");
    }

    #[test]
    fn patterns_that_are_none_are_named_with_what_was_meant() {
        assert_eq!(
            bad("allow_missing = true\nexclude_patterns = [\n  \"*-dbg\",\n  \"a(\",\n]"),
            [
                "m:10:3: mirrors.m.filters.exclude_patterns: \"*-dbg\" is not a regular expression (repetition operator \
                 missing expression); did you mean \"-dbg$\"?",
                "m:11:3: mirrors.m.filters.exclude_patterns: \"a(\" is not a regular expression (unclosed group)",
            ]
        );
    }

    #[test]
    fn keys_that_do_not_go_together_are_refused() {
        for (lines, error) in [
            ("reindex = true", "needs a key to sign the rebuilt indices with"),
            ("signing_key_path = \"/k\"", "signs nothing"),
            (
                "reindex = true\nsigning_key_path = \"/k\"\nallow_missing = true",
                "exclude each other",
            ),
            ("with_recommends = true", "follows nothing"),
            ("keep_versions = -1", "must be 0, which keeps all, or more, but is -1"),
            (
                "allow_missing = true\npriorities = [\"high\"]",
                "a priority is required, important",
            ),
            ("allow_missing = true\npackages = [\"a b\"]", "a package's name starts"),
            ("allow_missing = true\npackages = [\"a\", \"a\"]", "twice"),
            ("reindex = true\nsigning_key_path = \"k\"", "must be an absolute path"),
        ] {
            let told = bad(lines);
            assert!(told.len() == 1 && told[0].contains(error), "{lines}: {told:?}");
        }
    }

    #[test]
    fn a_key_that_others_could_read_is_refused_where_keys_are_looked_at() {
        let place = tempfile::tempdir().expect("temporary directory");
        let key = place.path().join("secret.asc");
        let lines = format!("reindex = true\nsigning_key_path = {:?}", key.display().to_string());
        let look = || read(&lines, Keyrings::MustBeReadable);
        good(&lines);
        assert!(look().is_err_and(|told| told[0].contains("cannot use the key")));
        fs::write(&key, "anything").expect("writes");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("own file");
        assert!(look().is_err_and(|told| told[0].contains("open to everybody")));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("own file");
        assert!(look().is_ok());
    }
}

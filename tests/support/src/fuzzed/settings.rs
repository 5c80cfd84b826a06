//! Properties of what operators write: `mirror.toml` and the small languages in it.

use std::ffi::OsString;
use std::path::Path;

use mirrorctl::config::{
    ConfigErrors, Keyrings, NameFormat, Origin, Settings, Surroundings, TlsFiles, parse, parse_duration,
};
use mirrorctl::model::Timestamp;

use super::{assert_harmless, assert_safe_path, is_bidirectional};

const PATH: &str = "/etc/mirrorctl/mirror.toml";

/// A configuration: settings that keep the rules, or errors that say where in the file they are.
pub(super) fn config(data: &[u8]) {
    let outcome = load(data);
    match &outcome {
        Ok(settings) => assert_sound(settings),
        Err(errors) => assert_located(errors, data),
    }
    // A comment before the first line moves everything one line down and changes nothing else.
    if !data.starts_with("\u{feff}".as_bytes()) && !outcome.as_ref().is_err_and(is_about_depth) {
        let below = load(&[b"# comment\n", data].concat());
        assert_eq!(below.map_err(sorted), outcome.map_err(one_line_down).map_err(sorted));
    }
}

fn load(data: &[u8]) -> Result<Settings, ConfigErrors> {
    let surroundings = Surroundings {
        variable: &|_| None::<OsString>,
        home: Some(Path::new("/root")),
        keyrings: Keyrings::NotLookedAt,
        tls_files: TlsFiles::NotLookedAt,
    };
    parse(data, Path::new(PATH), &surroundings)
}

fn assert_sound(settings: &Settings) {
    for path in [&settings.dir, &settings.state] {
        let path = path.to_str().expect("TOML is UTF-8");
        let below_root = path.strip_prefix('/').expect("absolute");
        let parts = below_root.split('/').filter(|_| !below_root.is_empty());
        parts.for_each(|part| assert!(!matches!(part, "" | "." | ".."), "{path:?}"));
        assert!(!path.contains(char::is_control), "{path:?}");
    }
    let apart = !settings.dir.starts_with(&settings.state) && !settings.state.starts_with(&settings.dir);
    assert!(apart, "{} {}", settings.dir.display(), settings.state.display());
    assert!(settings.max_conns > 0);
    for (id, mirror) in &settings.mirrors {
        assert_eq!(*id, mirror.id);
        assert_safe_path(id.as_str());
        assert!(mirror.prune.keep_last > 0);
    }
}

fn assert_located(errors: &ConfigErrors, data: &[u8]) {
    assert!(!errors.errors.is_empty(), "refused, and nothing is wrong");
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').collect();
    let mut latest = (0, 0);
    for error in &errors.errors {
        let text = error.to_string();
        let bad = text.chars().find(|c| c.is_control() || is_bidirectional(*c));
        assert_eq!(bad, None, "a message with a control character: {text:?}");
        let Origin::File { path, line, column } = &error.origin else {
            panic!("there is no environment: {text}");
        };
        assert_eq!(path, Path::new(PATH));
        assert!((1..=lines.len()).contains(line), "{text}");
        let width = lines[line - 1].len();
        assert!((1..=width + 1).contains(column), "{text}");
        assert!((*line, *column) >= latest, "out of order: {text}");
        latest = (*line, *column);
    }
}

/// Whether a text nests deeper than the parser follows it, of which it does not say where, and after which its first
/// line hides what else is wrong there.
fn is_about_depth(errors: &ConfigErrors) -> bool {
    errors.errors.iter().any(|error| error.message == "recursion limit")
}

fn one_line_down(mut errors: ConfigErrors) -> ConfigErrors {
    for error in &mut errors.errors {
        // What is about no place in the file is told at its start.
        let nowhere = error.message == "is required" && error.key.as_deref() == Some("dir");
        if let Origin::File { line, .. } = &mut error.origin
            && !nowhere
        {
            *line += 1;
        }
    }
    errors
}

/// Those of one place may come in another order, as what is about no place stands between them.
fn sorted(mut errors: ConfigErrors) -> ConfigErrors {
    errors.errors.sort_by_key(ToString::to_string);
    errors
}

/// A layout of names after eight bytes of time: a layout that was accepted makes a name at any time.
pub(super) fn name_format(data: &[u8]) {
    /// 0000-01-01T00:00:00Z, and how many seconds there are until 9999-12-30T00:00:00Z: the last days of that year are
    /// in the next one somewhere on Earth, and no calendar of ours has them.
    const FIRST: i64 = -62_167_219_200;
    const SPAN: u64 = 315_569_347_200;
    let Some((seconds, layout)) = data.split_first_chunk() else {
        return;
    };
    let Ok(layout) = std::str::from_utf8(layout) else {
        return;
    };
    let format: NameFormat = match layout.parse() {
        Ok(format) => format,
        Err(error) => return assert_harmless(&error),
    };
    assert_eq!((format.as_str(), format.to_string().as_str()), (layout, layout));
    let seconds = i64::try_from(u64::from_le_bytes(*seconds) % SPAN).expect("far below the limit");
    let time = Timestamp::from_unix(FIRST + seconds);
    match format.name_at(time) {
        Ok(name) => assert_safe_path(name.as_str()),
        Err(error) => panic!("{layout:?} at {time}: {error}"),
    }
}

/// A length of time: never more than the documented limit, and adding up.
pub(super) fn duration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let duration = match parse_duration(text) {
        Ok(duration) => duration,
        Err(error) => return assert_harmless(&error),
    };
    let nanoseconds = duration.as_nanos();
    assert!(i64::try_from(nanoseconds).is_ok(), "{text:?} is {nanoseconds} ns");
    assert_eq!(parse_duration(&format!("{nanoseconds}ns")), Ok(duration), "printed");
    if text != "0" && nanoseconds < u128::from(u64::MAX / 4) {
        assert_eq!(parse_duration(&format!("{text}{text}")), Ok(duration * 2), "twice");
    }
}
